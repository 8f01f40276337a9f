//! What comes next, of one subscription and of the whole book, from the real binary over a live book.

use autopay::clock::WallClock;
use autopay::ports::Clock as _;
use chrono::Days;

use crate::cli_support::{Bench, PLAN, roster};

const CARD: &str = "5a4db0c5-0000-8000-8000-000000000001";

/// A plan with holidays, a price step and a free period, and subscriptions that begin in 2027 and far away.
fn bench() -> Bench {
    let bench = Bench::migrated();
    let plan = PLAN
        .replace("charge_at = 06:00:00", "charge_at = 06:00:00\nbusiness_days = \"next\"\ncalendar = \"us-federal-reserve\"")
        .replace("value = \"1079.00\"", "[[amount.step]]\nfrom = 2020-01-01\nvalue = \"79.00\"\n\n[[amount.step]]\nfrom = 2029-06-01\nvalue = \"84.00\"");
    bench.write("plans/wellness.toml", plan);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let row = |id: &str, method: &str, start: &str, end: &str| format!("{id},wellness,{method},C-1,{start},{end}\n");
    let card = format!("{CARD},card");
    let rows = [
        "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,end_on\n".to_owned(),
        row("long", &card, "2029-03-31", ""),
        row("bare", ",", "2029-02-05", ""),
        row("short", &card, "2029-04-02", "2029-05-31"),
    ];
    bench.write("roster.csv", rows.concat());
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench
}

#[test]
fn the_next_charges_of_a_subscription_say_when_how_much_for_what_and_why() {
    let bench = bench();
    let told = bench.run(&["subscriptions", "schedule", "long", "--until", "2029-09-30", "-o", "json"]).exits(0);
    let rows = told.json();
    let line = |row: &serde_json::Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        ["date", "submit_on", "charge_at", "amount", "period_from", "period_until", "why"].map(text).join(" ")
    };
    let lines: Vec<String> = rows.as_array().unwrap().iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "2029-03-31 2029-04-02 2029-04-02T11:00:00Z 79.00 2029-03-31 2029-04-30 2029-03-31 is a Saturday: submitted on 2029-04-02 by the rule next",
            "2029-04-30 2029-04-30 2029-04-30T11:00:00Z 79.00 2029-04-30 2029-05-31 the month has no day 31: its last day counts",
            "2029-05-31 2029-05-31 2029-05-31T11:00:00Z 79.00 2029-05-31 2029-06-30 -",
            "2029-06-30 2029-07-02 2029-07-02T11:00:00Z 84.00 2029-06-30 2029-07-31 USD 84.00 after USD 79.00 by the price from 2029-06-01 on; 2029-06-30 is a Saturday: submitted on 2029-07-02 by the rule next; the month has no day 31: its last day counts",
            "2029-07-31 2029-07-31 2029-07-31T11:00:00Z 84.00 2029-07-31 2029-08-31 -",
            "2029-08-31 2029-08-31 2029-08-31T11:00:00Z 84.00 2029-08-31 2029-09-30 -",
            "2029-09-30 2029-10-01 2029-10-01T11:00:00Z 84.00 2029-09-30 2029-10-31 2029-09-30 is a Sunday: submitted on 2029-10-01 by the rule next; the month has no day 31: its last day counts",
        ]
    );
    told.complains(&["There are more"]);
    let some = bench.run(&["subscriptions", "schedule", "long", "--count", "2", "-o", "csv"]).exits(0);
    assert_eq!(some.out.lines().count(), 3);
    assert_eq!(bench.run(&["subscriptions", "schedule", "long", "-o", "jsonl"]).exits(0).out.lines().count(), 12);
    let short = bench.run(&["subscriptions", "schedule", "short", "-o", "json"]).exits(0);
    assert_eq!(short.json().as_array().unwrap().len(), 2);
    assert_eq!(short.json()[1]["why"], "the last: the subscription ends on 2029-05-31");
    assert!(!short.err.contains("There are more"), "{}", short.err);
    let bare = bench.run(&["subscriptions", "schedule", "bare", "--count", "1", "-o", "json"]).exits(0);
    assert_eq!(bare.json()[0]["why"], "cannot be charged: the subscription has no payment method");
    bench.run(&["subscriptions", "schedule", "nobody"]).exits(5);
    bench.run(&["subscriptions", "schedule", "long", "--until", "soon"]).exits(2).complains(&["--until"]);
}

#[test]
fn what_stops_a_subscription_is_said_and_what_is_cancelled_has_nothing_to_come() {
    let bench = bench();
    bench.run(&["hold", "on", "--scope", "plan:wellness", "--reason", "audit"]).exits(0);
    bench
        .run(&["subscriptions", "schedule", "long"])
        .exits(0)
        .complains(&["Note: on hold by tester (plan:wellness): audit"]);
    bench.run(&["subscriptions", "cancel", "long"]).exits(0);
    let gone = bench.run(&["subscriptions", "schedule", "long", "-o", "json"]).exits(0);
    assert_eq!(gone.json(), serde_json::json!([]));
    gone.complains(&["cancelled: nothing is charged any more"]);
}

#[test]
fn the_next_of_the_whole_book_come_by_time() {
    let bench = bench();
    let told = bench.run(&["schedule", "next", "-o", "json"]).exits(0).json();
    let line = |row: &serde_json::Value| {
        format!("{} {}", row["charge_at"].as_str().unwrap(), row["subscription"].as_str().unwrap())
    };
    let lines: Vec<String> = told.as_array().unwrap().iter().map(line).collect();
    // 31 March is rolled to the very moment of the other's own day.
    assert_eq!(lines, ["2029-02-05T12:00:00Z bare", "2029-04-02T11:00:00Z long", "2029-04-02T11:00:00Z short"]);
    assert_eq!(told[1]["amount"], "79.00");
    let two = bench.run(&["schedule", "next", "--count", "2", "-o", "jsonl"]).exits(0);
    assert_eq!(two.out.lines().count(), 2);
}

#[test]
fn a_cycle_that_owes_a_notice_says_by_when_and_one_whose_notice_came_late_is_put_off() {
    let bench = Bench::migrated();
    bench.write("plans/wellness.toml", format!("{PLAN}\n[collect]\nnotify_before = \"40 days\"\n"));
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let today = WallClock.now().date_naive();
    let soon = today + Days::new(10);
    bench.write("roster.csv", roster(&["sub-1", "sub-2"], &soon.to_string()));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let rows = |id: &str| bench.run(&["subscriptions", "schedule", id, "--count", "3", "-o", "json"]).exits(0).json();
    let untold = rows("sub-1");
    let why = |row: &serde_json::Value| row["why"].as_str().unwrap_or_default().to_owned();
    assert!(why(&untold[0]).contains("notice not sent in time: it had to reach the payer by"), "{untold}");
    assert!(why(&untold[0]).contains("sent today, the charge can be made from"), "{untold}");
    assert!(why(&untold[2]).contains("owes a notice, which has to reach the payer by"), "{untold}");
    assert!(why(&untold[2]).contains("plan wellness: notify_before 40 days"), "{untold}");
    let next = bench.run(&["schedule", "next", "-o", "json"]).exits(0).json();
    assert!(why(&next[0]).contains("notice not sent in time"), "{next}");
    let noted = today - Days::new(1);
    let at = noted.to_string();
    bench.run(&["notices", "mark", "--subscription", "sub-2", "--cycle", "0", "--delivered-at", &at]).exits(0);
    let late = rows("sub-2");
    let day = noted + Days::new(40);
    assert!(why(&late[0]).contains(&format!("so the charge waits until {day}")), "{late}");
    assert_eq!((&late[0]["date"], &late[0]["submit_on"]), (&soon.to_string().into(), &day.to_string().into()));
    assert!(late[0]["charge_at"].as_str().unwrap().starts_with(&day.to_string()), "{late}");
}
