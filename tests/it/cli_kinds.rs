//! Commands over plans of every kind: price lists that leave gaps, amounts out of bounds, missed cycles, late notices.

use autopay::clock::WallClock;
use autopay::ports::Clock as _;
use chrono::{Days, NaiveDate};
use sandbox::{Behaviour, Options, Sandbox, method_id};
use sea_orm::{ConnectionTrait as _, Database, Statement};

use crate::cli_support::{Bench, PLAN};

const LIST: &str =
    "effective_from,rating_area,age_band,amount\n2027-01-01,R1,21-29,312.40\n2027-01-01,R2,21-29,327.90\n";

fn listed() -> String {
    PLAN.replace("value = \"1079.00\"", "price_list = \"wellness.csv\"\nmatch_on = [\"rating_area\", \"age_band\"]")
}

#[test]
fn a_price_list_is_part_of_its_plan_and_may_leave_no_subscription_without_a_price() {
    let bench = Bench::migrated();
    bench.write("plans/wellness.toml", listed());
    bench.run(&["plans", "check", "plans"]).exits(6).complains(&[
        "plans/wellness.toml:14:14",
        "table_missing   price_list = \"wellness.csv\"",
        "there is no table plans/wellness.csv",
    ]);
    bench.write("plans/wellness.csv", LIST);
    bench.run(&["plans", "check", "plans"]).exits(0);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,rating_area,age_band,quantity\n";
    let row = |id: u8, area: &str, quantity: &str| {
        format!("s-{id},wellness,5a4db0c5-0000-8000-8000-{id:012x},card,C-{id},2099-01-05,{area},21-29,{quantity}\n")
    };
    bench.write("roster.csv", format!("{header}{}{}", row(1, "R9", ""), row(2, "R1", "")));
    let told = bench.run(&["subscriptions", "import", "roster.csv"]).exits(6);
    told.complains(&["roster.csv:2:", "price_gap", "rating_area R9, age_band 21-29", "Nothing was changed"]);
    bench.write("roster.csv", format!("{header}{}{}{}", row(1, "R1", "2"), row(2, "R2", ""), row(3, "R2", "")));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    assert_eq!(bench.run(&["subscriptions", "import", "roster.csv", "-o", "json"]).exits(0).json()["unchanged"], 3);
    let shown = bench.run(&["subscriptions", "show", "s-1", "-o", "json"]).exits(0).json();
    assert_eq!((&shown["quantity"], &shown["attributes"]), (&2.into(), &"age_band 21-29, rating_area R1".into()));
    // Another price is another version, though the plan's own file is as it was.
    bench.write("plans/wellness.csv", LIST.replace("312.40", "313.40"));
    assert_eq!(bench.run(&["plans", "apply", "plans", "-o", "json"]).exits(0).json()[0]["version"], 2);
    bench.write("plans/wellness.csv", LIST.replace("2027-01-01,R2,21-29,327.90\n", ""));
    for command in [&["plans", "apply", "plans", "--dry-run"][..], &["plans", "apply", "plans"]] {
        let told = bench.run(command).exits(6);
        told.complains(&[
            "plans/wellness.toml:14:14",
            "price_gap",
            "rating_area R2, age_band 21-29 (2 subscriptions need it)",
        ]);
    }
    assert_eq!(bench.run(&["plans", "list", "-o", "json"]).exits(0).json()[0]["version"], 2, "nothing was changed");
}

#[test]
fn a_new_price_whose_notice_comes_too_late_is_refused_at_its_place() {
    let bench = Bench::migrated();
    let today = WallClock.now().date_naive();
    let on = |days: u64| today.checked_add_days(Days::new(days)).unwrap();
    let steps = |days: u64, price: &str| {
        let from = on(days);
        let steps = format!(
            "[[amount.step]]\nfrom = 2026-01-01\nvalue = \"79.00\"\n[[amount.step]]\nfrom = {from}\nvalue = \"{price}\"\nnotice = \"30 days\"\n"
        );
        bench.write("plans/wellness.toml", PLAN.replace("value = \"1079.00\"\n", &steps));
    };
    steps(10, "84.00");
    let (latest, earliest) = (today.checked_sub_days(Days::new(20)).unwrap(), on(30));
    for command in [vec!["plans", "check", "plans"], vec!["plans", "apply", "plans"], vec!["plans", "diff", "plans"]] {
        bench.run(&command).exits(6).complains(&[
            "plans/wellness.toml:20:10",
            "notice_too_late   notice = \"30 days\"",
            &format!("that notice had to reach the payers by {latest}"),
            &format!("Fix: from = {earliest} or later, or notice = \"10 days\" or less"),
        ]);
    }
    bench.run(&["plans", "propose", "plans", "--reason", "x"]).exits(6).complains(&["notice_too_late"]);
    steps(40, "84.00");
    bench.run(&["plans", "check", "plans"]).exits(0).complains(&["0 errors in 1 file"]);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
}

/// A price that is in force with its notice owes nothing new, whatever else of the plan changes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_announced_already_keeps_no_other_change_back() {
    let bench = Bench::migrated();
    let from = WallClock.now().date_naive().checked_add_days(Days::new(30)).unwrap();
    let plan = |from: NaiveDate, price: &str, hour: &str| {
        let steps = format!(
            "[[amount.step]]\nfrom = 2026-01-01\nvalue = \"79.00\"\n[[amount.step]]\nfrom = {from}\nvalue = \"{price}\"\nnotice = \"30 days\"\n"
        );
        PLAN.replace("value = \"1079.00\"\n", &steps).replace("06:00:00", hour)
    };
    bench.write("plans/wellness.toml", plan(from, "84.00", "06:00:00"));
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    // As if it had been applied two weeks ago.
    let soon = from.checked_sub_days(Days::new(14)).unwrap();
    let database = Database::connect(format!("sqlite:{}", bench.path().join("autopay.db").display())).await.unwrap();
    let replace = format!("UPDATE plan_version SET spec = replace(spec, '{from}', '{soon}'), source = NULL");
    database.execute_unprepared(&replace).await.unwrap();
    database.close().await.unwrap();
    bench.write("plans/wellness.toml", plan(soon, "84.00", "07:00:00"));
    let said = bench.run(&["plans", "apply", "plans", "--dry-run", "-o", "json"]).exits(0);
    assert_eq!(said.json()[0]["result"], "would_change", "{}", said.out);
    bench.run(&["plans", "diff", "plans"]).exits(0);
    bench.write("plans/wellness.toml", plan(soon, "85.00", "07:00:00"));
    bench.run(&["plans", "apply", "plans"]).exits(6).complains(&["notice_too_late"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_installments_keep_their_total_and_their_parts() {
    let bench = Bench::migrated();
    let plan = PLAN.replace("\"recurring\"", "\"installments\"").replace("value = \"1079.00\"\n", "")
        + "[installments]\ntotal = \"from_subscription\"\ncount = \"from_subscription\"\nremainder = \"last\"\n";
    bench.write("plans/wellness.toml", &plan);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let roster = |total: &str, parts: &str, elsewhere: &str| {
        let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,total,installments,paid_elsewhere";
        let row =
            format!("s,wellness,5a4db0c5-0000-8000-8000-000000000001,card,C,2099-01-05,{total},{parts},{elsewhere}");
        bench.write("roster.csv", format!("{header}\n{row}\n"));
    };
    roster("1000.00", "6", "");
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    roster("900.00", "5", "");
    bench.run(&["subscriptions", "import", "roster.csv"]).exits(6).complains(&[
        "immutable_field",
        "its total is \"1000.00\"",
        "its installments is \"6\"",
    ]);
    roster("1000.00", "6", "200.00");
    assert_eq!(bench.run(&["subscriptions", "import", "roster.csv", "-o", "json"]).exits(0).json()["changed"], 1);
    // What was collected here was not paid elsewhere.
    let database = Database::connect(format!("sqlite:{}", bench.path().join("autopay.db").display())).await.unwrap();
    database.execute_unprepared("UPDATE installment_total SET taken_minor = 70000").await.unwrap();
    database.close().await.unwrap();
    roster("1000.00", "6", "300.01");
    let told = bench.run(&["subscriptions", "import", "roster.csv"]).exits(6);
    told.complains(&["collected_more", "700.00 were collected here or are under way", "write 300.00 or less"]);
    roster("1000.00", "6", "300.00");
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench.write("plans/wellness.toml", plan.replace("\"last\"", "\"spread\""));
    bench.run(&["plans", "apply", "plans"]).exits(6).complains(&[
        "rhythm_in_use",
        "installments.remainder is spread here and last in force",
        "leave last, and write a new plan",
    ]);
    let fixed = plan.replace("count = \"from_subscription\"", "count = 6");
    bench.write("plans/wellness.toml", fixed);
    bench
        .run(&["plans", "apply", "plans"])
        .exits(6)
        .complains(&["installments.count is 6 here and from_subscription in force"]);
}

/// A folder whose gateway is a sandbox, and a daily plan that is due by now.
pub(crate) async fn daily(amount: &str) -> (Bench, Sandbox) {
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let mut bench = Bench::migrated();
    let secret = bench.write("secret", sandbox::DEFAULT_CLIENT_SECRET);
    bench.env("AUTOPAY_GATEWAY_BASE_URL", sandbox.url());
    bench.env("AUTOPAY_GATEWAY_TOKEN_URL", sandbox.token_url());
    bench.env("AUTOPAY_GATEWAY_CLIENT_ID", sandbox::DEFAULT_CLIENT_ID);
    bench.env("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE", secret.display().to_string());
    let plan = PLAN
        .replace("1 month", "1 day")
        .replace("06:00:00", "00:00:00")
        .replace("America/Chicago", "Pacific/Kiritimati")
        .replace("value = \"1079.00\"", amount);
    bench.write("plans/wellness.toml", plan);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on";
    let row = format!("a,wellness,{},card,C-1,2026-01-01", method_id(Behaviour::Pays, 1));
    bench.write("roster.csv", format!("{header}\n{row}\n"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    (bench, sandbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_amount_is_decided_by_a_person_with_a_reason() {
    let (bench, sandbox) = daily("value = \"1079.00\"\nmaximum = \"100.00\"").await;
    let dry = bench.run(&["run", "once", "--dry-run"]).exits(0);
    dry.complains(&["1 item as of", "0 skipped, 0 without a method, 1 with an amount out of bounds, 0 waiting"]);
    let run = bench.run(&["run", "once", "-o", "json"]).exits(9).json();
    assert_eq!((&run["sent"], &run["parked"]), (&0.into(), &1.into()), "{run}");
    let listed = bench.run(&["charges", "list", "--state", "held", "-o", "json"]).exits(0).json();
    let id = listed[0]["id"].as_str().unwrap();
    let told = bench.run(&["charges", "explain", id]).exits(0).out;
    assert!(told.contains("USD 1,079.00 is above USD 100.00, the maximum of plan wellness"), "{told}");
    bench.run(&["charges", "decide", id, "--as", "charge"]).exits(2).complains(&["--reason"]);
    bench.run(&["charges", "decide", id, "--as", "charge", "--reason", "agreed"]).exits(2).complains(&["--confirm"]);
    let arguments = ["charges", "decide", id, "--as", "charge", "--reason", "agreed", "--confirm", "1079.00"];
    assert!(bench.run(&arguments).exits(0).out.contains("due"));
    bench.run(&arguments).exits(7).complains(&["minimum and maximum"]);
    bench
        .run(&["charges", "decide", "ch_00000000-0000-5000-8000-000000000000", "--as", "skip", "--reason", "x"])
        .exits(5);
    let run = bench.run(&["run", "once", "-o", "json"]).exits(0).json();
    assert_eq!((&run["sent"], &run["paid"]), (&1.into(), &1.into()), "{run}");
    assert!(
        bench.run(&["charges", "timeline", id]).exits(0).out.contains("charged all the same, USD 1,079.00: agreed")
    );
    assert_eq!(sandbox.ledger().total_collected("USD"), 107_900);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_cycles_are_charged_or_not_by_a_persons_word() {
    let (bench, sandbox) = daily("value = \"5.00\"").await;
    // As if nobody had run autopay for three days.
    let database = Database::connect(format!("sqlite:{}", bench.path().join("autopay.db").display())).await.unwrap();
    database.execute_unprepared("UPDATE subscription SET next_cycle = next_cycle - 3").await.unwrap();
    database.close().await.unwrap();
    let run = bench.run(&["run", "once", "-o", "json"]).exits(9).json();
    assert_eq!((&run["sent"], &run["quarantined"]), (&0.into(), &1.into()), "{run}");
    let shown = bench.run(&["subscriptions", "show", "a", "-o", "json"]).exits(0).json();
    assert!(shown["note"].as_str().unwrap().starts_with("3 cycles were missed since"), "{shown}");
    let told = bench.run(&["subscriptions", "resume", "a"]).exits(6);
    told.complains(&["3 cycles of subscription a were missed", "--with-missed", "--from-today"]);
    bench.run(&["subscriptions", "resume", "a", "--with-missed"]).exits(0);
    let run = bench.run(&["run", "once", "-o", "json"]).exits(0).json();
    assert_eq!((&run["sent"], &run["paid"]), (&4.into(), &4.into()), "{run}");
    assert_eq!(sandbox.ledger().total_collected("USD"), 2_000);
    sandbox.stop().await;
}

/// What the audit says about the amendments of a bench's book.
async fn audited(bench: &Bench, action: &str) -> Vec<String> {
    let database = Database::connect(format!("sqlite:{}", bench.path().join("autopay.db").display())).await.unwrap();
    let statement = Statement::from_sql_and_values(
        database.get_database_backend(),
        "SELECT detail FROM audit WHERE action = $1 ORDER BY id",
        [action.into()],
    );
    let rows = database.query_all_raw(statement).await.unwrap();
    let details = rows.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    database.close().await.unwrap();
    details
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_a_part_of_a_total_out_is_told_what_it_costs() {
    let bench = Bench::migrated();
    let plan = PLAN.replace("\"recurring\"", "\"installments\"").replace("value = \"1079.00\"\n", "")
        + "[installments]\ntotal = \"from_subscription\"\ncount = \"from_subscription\"\nremainder = \"last\"\n";
    for rule in ["latest", "forgive"] {
        bench.write("plans/wellness.toml", plan.replace("charge_at", &format!("catch_up = \"{rule}\"\ncharge_at")));
        let told = bench.run(&["plans", "check", "plans"]).exits(6);
        told.complains(&["catch_up_invalid", "catch_up does not go with installments", "write \"all\", or \"ask\""]);
        bench.run(&["plans", "apply", "plans"]).exits(6);
    }
    bench.write("plans/wellness.toml", &plan);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,total,installments";
    let row = "s,wellness,5a4db0c5-0000-8000-8000-000000000001,card,C,2099-01-05,1000.00,6";
    bench.write("roster.csv", format!("{header}\n{row}\n"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);

    let skip = ["subscriptions", "skip", "s", "--cycle", "2", "--reason", "hardship"];
    let cost = "With this change USD 166.66 of its total is not collected, and no later part makes up for it.";
    let whole = "Of the total, USD 1,000.00 to be collected here: USD 0.00 collected or under way, ";
    let less = format!("{whole}USD 833.34 to come, USD 166.66 not collected");
    bench.run(&[&skip[..], &["--dry-run"]].concat()).exits(0).complains(&[cost, &less]);
    let schedule = || bench.run(&["subscriptions", "schedule", "s"]).exits(0);
    schedule().complains(&[&format!("{whole}USD 1,000.00 to come.")]);
    bench.run(&skip).exits(0).complains(&[cost, &less]);
    assert_eq!(
        audited(&bench, "subscription.cycle_skipped").await,
        ["cycle 2 is left out; USD 166.66 of its total is not collected: hardship"]
    );
    let shown = schedule();
    shown.complains(&[&less]);
    let why = "not charged: left out by a person: hardship; USD 166.66 of its total is not collected";
    assert!(shown.out.contains(why), "{}", shown.out);
    let back = "With this change USD 166.66 more of its total is collected.";
    bench.run(&["subscriptions", "skip", "s", "--cycle", "2", "--clear"]).exits(0).complains(&[back]);
    let pause = bench.run(&["subscriptions", "pause", "s", "--until", "2099-03-01"]).exits(0);
    pause.complains(&["With this change USD 333.32 of its total is not collected", "USD 333.32 not collected"]);
    bench.run(&["subscriptions", "cancel", "s", "--dry-run"]).exits(0).complains(&["USD 1,000.00 not collected"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fell_due_in_a_pause_is_dropped_by_nobody_but_a_person_who_says_so() {
    let (mut bench, sandbox) = daily("value = \"5.00\"").await;
    bench.env("AUTOPAY_BRAKES_MODE", "off");
    let parts = std::fs::read_to_string(bench.path().join("plans/wellness.toml")).unwrap();
    let parts = parts.replace("\"recurring\"", "\"installments\"").replace("value = \"5.00\"\n", "");
    let parts = parts.replace("\"wellness\"", "\"parts\"").replace("Wellness", "Parts");
    bench.write("more/parts.toml", parts + "[installments]\ntotal = \"30.00\"\ncount = 3\n");
    bench.run(&["plans", "apply", "more", "-q"]).exits(0);
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on";
    let today = WallClock.now().date_naive();
    let row = |id: &str| format!("{id},parts,{},card,C-2,{today}", method_id(Behaviour::Pays, 2));
    bench.write("roster.csv", format!("{header}\n{}\n{}\n", row("b"), row("c")));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    for id in ["b", "c"] {
        bench.run(&["subscriptions", "pause", id]).exits(0);
    }
    // As if the pause had lasted two days.
    let database = Database::connect(format!("sqlite:{}", bench.path().join("autopay.db").display())).await.unwrap();
    let begun = today - Days::new(2);
    let sql = format!("UPDATE subscription SET start_on = '{begun}', next_cycle = 0 WHERE plan_id = 'parts'");
    database.execute_unprepared(&sql).await.unwrap();
    database.close().await.unwrap();
    let told = bench.run(&["subscriptions", "resume", "b"]).exits(6);
    told.complains(&["parts of the total of subscription b fell due meanwhile", "--with-missed", "--from-today"]);
    let shown = bench.run(&["subscriptions", "show", "b", "-o", "json"]).exits(0).json();
    assert_eq!((&shown["status"], &shown["next_cycle"]), (&"paused".into(), &0.into()));
    let dry = bench.run(&["subscriptions", "resume", "b", "--from-today", "-n", "-o", "json"]).exits(0);
    dry.complains(&["of its total is not collected, and no later part makes up for it"]);
    let row = &dry.json()[0];
    assert_eq!((&row["was"], &row["becomes"]), (&"not charged".into(), &"not charged".into()), "{row}");
    assert!(row["why"].as_str().unwrap().ends_with("is passed over"), "{row}");
    let dry = bench.run(&["subscriptions", "resume", "b", "--with-missed", "-n"]).exits(0);
    dry.complains(&["fell due already: the next run charges"]);
    assert_eq!(bench.run(&["subscriptions", "show", "b", "-o", "json"]).exits(0).json()["status"], "paused");
    let dropped = bench.run(&["subscriptions", "resume", "b", "--from-today"]).exits(0);
    dropped.complains(&["of its total is not collected, and no later part makes up for it", "not collected (left out"]);
    let kept = bench.run(&["subscriptions", "resume", "c", "--with-missed"]).exits(0);
    kept.complains(&["USD 0.00 collected or under way, USD 30.00 to come."]);
    assert!(!kept.err.contains("not collected"), "{}", kept.err);
    sandbox.stop().await;
}
