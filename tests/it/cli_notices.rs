//! `autopay notices`, by the real binary.

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};

use crate::cli_support::{Bench, PLAN, roster};

fn bench() -> Bench {
    with(&format!("{PLAN}\n[collect]\nnotify_before = \"5 days\"\nnotice_template = \"heads-up\"\n"))
}

fn with(plan: &str) -> Bench {
    let bench = Bench::migrated();
    bench.write("plans/wellness.toml", plan);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.write("roster.csv", roster(&["sub-1", "sub-2"], "2099-03-15"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench
}

fn rows(bench: &Bench, arguments: &[&str]) -> Vec<serde_json::Value> {
    let said = bench.run(&[&["notices", "list", "-o", "json"], arguments].concat()).exits(0);
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn a_letter_is_marked_and_listed() {
    let bench = bench();
    let mark = ["notices", "mark", "--subscription", "sub-1", "--cycle", "0", "--delivered-at", "2026-01-10"];
    let said = bench.run(&[&mark[..], &["--dry-run"]].concat()).exits(0);
    assert!(said.err.contains("DRY RUN"), "{}", said.err);
    assert_eq!(rows(&bench, &[]).len(), 0);
    bench.run(&mark).exits(0);
    let listed = rows(&bench, &["--state", "delivered"]);
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["subscription"], &listed[0]["cycle"]), (&"sub-1".into(), &0.into()));
    assert_eq!((&listed[0]["amount"], &listed[0]["charge_on"]), (&"1079.00".into(), &"2099-03-15".into()));
    assert_eq!((&listed[0]["kind"], &listed[0]["delivered_by"]), (&"every_charge".into(), &"tester".into()));
    // Noon in Chicago: the day is what counts.
    assert_eq!(listed[0]["delivered_at"], "2026-01-10T18:00:00Z");
    assert_eq!(rows(&bench, &["--state", "missed"]).len(), 0);
    bench.run(&["notices", "mark", "--subscription", "nobody", "--cycle", "0"]).exits(5);
    bench.run(&["notices", "mark", "--subscription", "sub-1", "--cycle", "0", "--delivered-at", "2999-01-01"]).exits(2);
    bench.run(&["notices", "mark", "--subscription", "sub-1"]).exits(2);
    bench.run(&["notices", "mark"]).exits(2);
}

/// What is told on the morning of a day was told by now, not at a noon to come.
#[test]
fn a_letter_of_today_is_taken_before_noon() {
    let bench = bench();
    bench.run(&["notices", "mark", "--subscription", "sub-1", "--cycle", "0"]).exits(0);
    let now: DateTime<Utc> = rows(&bench, &[])[0]["delivered_at"].as_str().unwrap().parse().unwrap();
    // Somewhere it is morning, and will be for a while.
    let (zone, ahead) = match now.hour() {
        0..11 => ("UTC", 0),
        11..21 => ("Pacific/Honolulu", -10),
        _ => ("Asia/Tokyo", 9),
    };
    let today = (now + TimeDelta::hours(ahead)).date_naive();
    let plan = bench.read("plans/wellness.toml").replace("America/Chicago", zone);
    assert!(plan.contains(zone), "{plan}");
    let bench = with(&plan);
    let mark =
        |on: String| bench.run(&["notices", "mark", "--subscription", "sub-1", "--cycle", "0", "--delivered-at", &on]);
    mark((today + TimeDelta::days(1)).to_string()).exits(2).complains(&["lies in the future"]);
    mark(today.to_string()).exits(0);
    let told: DateTime<Utc> = rows(&bench, &[])[0]["delivered_at"].as_str().unwrap().parse().unwrap();
    assert!(told >= now && (told + TimeDelta::hours(ahead)).date_naive() == today, "{told}");
    bench.write("letters.csv", format!("subscription_id,cycle,delivered_at,amount\nsub-2,0,{today},1079.00\n"));
    bench.run(&["notices", "mark", "letters.csv"]).exits(0);
    assert_eq!(rows(&bench, &["--state", "delivered"]).len(), 2);
}

#[test]
fn notices_of_another_system_are_taken_in_once() {
    let bench = bench();
    bench.write(
        "sent.csv",
        "subscription_id,cycle,charge_on,delivered_at,amount,kind\n\
         sub-1,0,,2026-01-10,1079.00,\nsub-2,,2099-04-15,2026-01-11T08:00:00Z,1079.00,price_change\n",
    );
    let counts = |said: crate::said::Said| {
        let row = said.json();
        ["added", "changed", "unchanged"].map(|name| row[name].as_u64().unwrap())
    };
    assert_eq!(counts(bench.run(&["notices", "import", "sent.csv", "-n", "-o", "json"]).exits(0)), [2, 0, 0]);
    assert_eq!(rows(&bench, &[]).len(), 0);
    assert_eq!(counts(bench.run(&["notices", "import", "sent.csv", "-o", "json"]).exits(0)), [2, 0, 0]);
    assert_eq!(counts(bench.run(&["notices", "import", "sent.csv", "-o", "json"]).exits(0)), [0, 0, 2]);
    assert_eq!(counts(bench.run(&["notices", "mark", "sent.csv", "-o", "json"]).exits(0)), [0, 0, 2]);
    let listed = rows(&bench, &["--subscription", "sub-2"]);
    assert_eq!((&listed[0]["cycle"], &listed[0]["kind"]), (&1.into(), &"price_change".into()));
}

#[test]
fn one_bad_row_keeps_all_of_them_out_and_each_mistake_is_named() {
    let bench = bench();
    bench.write(
        "sent.csv",
        "subscription_id,cycle,charge_on,delivered_at,amount\n\
         sub-1,0,,2026-01-10,1079.00\nnobody,0,,2026-01-10,1.00\nsub-2,0,2099-03-16,2026-01-10,1079.00\n\
         sub-2,1,,2998-01-01,1079.00\nsub-2,,2099-03-20,2026-01-10,1079.00\nsub-2,0,,2026-01-10,lots\n",
    );
    let said = bench.run(&["notices", "import", "sent.csv", "--report", "back.csv"]).exits(6);
    for part in [
        "sent.csv:3",
        "is not in the book",
        "sent.csv:4",
        "is not the day of cycle 0",
        "sent.csv:5",
        "future",
        "sent.csv:6",
        "is no cycle",
        "sent.csv:7",
        "Nothing was changed",
    ] {
        assert!(said.err.contains(part), "{part} in {}", said.err);
    }
    assert_eq!(rows(&bench, &[]).len(), 0);
    let back = bench.read("back.csv");
    assert!(back.lines().nth(1).unwrap().contains("not_applied"), "{back}");
    assert!(back.lines().nth(2).unwrap().contains("unknown_subscription"), "{back}");
}
