//! `subscriptions cancel` and `subscriptions change --now` in the middle of a paid period, with the real binary over a book that a
//! world filled until now.

use autopay::clock::WallClock;
use autopay::ports::Clock as _;
use chrono::{NaiveTime, TimeDelta, Timelike as _};
use domain::id::SubscriptionId;
use domain::mid_period::MidPeriodSpec;
use domain::plan::PlanSpec;
use sandbox::Behaviour;
use serde_json::{Value, json};

use crate::cli_support::{Bench, Said};
use crate::world::{Backend, World, card, plan, subscriber};

/// A zone in which no day begins or ends while a test runs.
fn zone() -> &'static str {
    if (6..18).contains(&WallClock.now().hour()) { "UTC" } else { "Etc/GMT-12" }
}

/// Plans of 30 days, and one of a week. The subscriptions have paid for 30 days, of which today is the 11th.
async fn book(test: &str) -> Option<World> {
    book_of(test, Behaviour::Pays).await
}

async fn book_of(test: &str, behaviour: Behaviour) -> Option<World> {
    let zone = zone();
    let ahead = if zone == "UTC" { TimeDelta::zero() } else { TimeDelta::hours(12) };
    let today = (WallClock.now() + ahead).date_naive();
    let begins = today - TimeDelta::days(10);
    let began = begins.and_time(NaiveTime::MIN).and_utc() - ahead - TimeDelta::hours(1);
    let world = World::begin(Backend::Sqlite, &began.to_rfc3339(), test).await?;
    let with = |id: &str, every: &str, price: &str, on_cancel: &str| {
        let mid_period = MidPeriodSpec { on_start: None, on_cancel: Some(on_cancel.to_owned()) };
        PlanSpec { mid_period: Some(mid_period), ..plan(id, every, zone, "00:00", price) }
    };
    let specs = [
        with("gold", "30 days", "90.00", "prorate_by_day"),
        with("silver", "30 days", "30.00", "prorate_by_day"),
        with("weekly", "1 week", "21.00", "prorate_by_day"),
        with("classes", "30 days", "60.00", "end_of_period"),
    ];
    world.apply(&specs).await;
    let rows = [("a", "gold"), ("b", "gold"), ("c", "classes")];
    let rows = (1..).zip(rows).map(|(n, (id, plan))| subscriber(id, plan, &begins.to_string(), card(behaviour, n)));
    world.enrol(rows.collect()).await;
    let now = WallClock.now();
    world.run_until(&now.to_rfc3339()).await;
    Some(world)
}

fn autopay(world: &World, arguments: &[&str]) -> Said {
    let mut bench = Bench::new();
    bench.env("AUTOPAY_DATABASE_URL", world.url());
    tokio::task::block_in_place(|| bench.run(arguments))
}

fn json_of(world: &World, arguments: &[&str]) -> Value {
    autopay(world, &[arguments, &["-o", "json"]].concat()).exits(0).json()
}

async fn charge_of(world: &World, id: &str) -> String {
    world.charges_of(id).await[0].id.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_shows_and_records_what_goes_back() {
    let Some(world) = book("a prorated end").await else { return };
    let charge = charge_of(&world, "a").await;
    let cancel = ["subscriptions", "cancel", "a"];
    let dry = autopay(&world, &[&cancel[..], &["--dry-run"]].concat()).exits(0);
    dry.complains(&[
        "DRY RUN",
        "Plan gold gives back what is paid and not used",
        "19 days are unused",
        "19/30 of USD 90.00 is USD 57.00.",
        &format!("USD 57.00 of charge {charge} goes back."),
    ]);
    assert_eq!(json_of(&world, &["refunds", "list"]), json!([]));
    assert_eq!(json_of(&world, &["subscriptions", "show", "a"])["status"], "active");
    // What waits is not forgotten in silence.
    json_of(&world, &["subscriptions", "credit", "a", "--amount", "5.00", "--reason", "late class"]);
    let done = autopay(&world, &[&cancel[..], &["--now", "--reason", "moved away", "-o", "json"]].concat()).exits(0);
    done.complains(&["Credit 1 has USD 5.00 left (late class)", "The refund is recorded."]);
    let said = done.json();
    assert_eq!((&said["to_refund"], &said["refunds"][0]["charge"]), (&json!("57.00"), &json!(charge)), "{said}");
    assert_eq!(said["refunds"][0]["reason"], "unused 19/30 days of cycle 0");
    let listed = json_of(&world, &["refunds", "list"]);
    assert_eq!((&listed[0]["amount"], &listed[0]["state"]), (&json!("57.00"), &json!("due")), "{listed}");
    assert_eq!(listed[0]["recorded_by"], "tester");
    // Once more is nothing more.
    let again = json_of(&world, &cancel);
    assert_eq!((&again["to_refund"], &again["refunds"]), (&Value::Null, &json!([])));
    assert_eq!(json_of(&world, &["refunds", "list"]).as_array().unwrap().len(), 1);
    let shown = json_of(&world, &["subscriptions", "show", "a"]);
    assert_eq!((&shown["status"], &shown["note"]), (&json!("cancelled"), &json!("cancelled by tester: moved away")));
    world.balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_says_how_a_plain_cancel_ends_and_a_person_may_say_otherwise() {
    let Some(world) = book("ends by rule").await else { return };
    let plain = autopay(&world, &["subscriptions", "cancel", "c"]).exits(0);
    plain.complains(&["Plan classes ends with the period (on_cancel = \"end_of_period\")", "--now ends it at once"]);
    let shown = json_of(&world, &["subscriptions", "show", "c"]);
    assert_eq!(shown["status"], "active");
    assert!(shown["last_on"].is_string(), "{shown}");
    autopay(&world, &["subscriptions", "cancel", "c"]).exits(7).complains(&["ends with this period already"]);
    let at_once = json_of(&world, &["subscriptions", "cancel", "c", "--now"]);
    assert_eq!(at_once["to_refund"], Value::Null);
    assert_eq!(json_of(&world, &["subscriptions", "show", "c"])["status"], "cancelled");
    // A refund that takes all that is left is typed back.
    let charge = charge_of(&world, "a").await;
    json_of(&world, &["charges", "refund", &charge, "--amount", "40.00", "--reason", "a complaint"]);
    let all = ["subscriptions", "cancel", "a", "--now"];
    autopay(&world, &all).exits(2).complains(&["--confirm 50.00"]);
    assert_eq!(json_of(&world, &["subscriptions", "show", "a"])["status"], "active");
    let done = autopay(&world, &[&all[..], &["--confirm", "50.00"]].concat()).exits(0);
    done.complains(&["no more than USD 50.00 was collected and has not gone back"]);
    // A charge whose money cannot go back stands in the way, until a person says that none shall.
    world.store.dispute(world.charges_of("b").await[0].id, "dp-1", true, world.now()).await.unwrap();
    autopay(&world, &["subscriptions", "cancel", "b"]).exits(7).complains(&["disputed", "--no-refund"]);
    assert_eq!(json_of(&world, &["subscriptions", "show", "b"])["status"], "active");
    let none = json_of(&world, &["subscriptions", "cancel", "b", "--no-refund"]);
    assert_eq!(none["refunds"], json!([]));
    assert_eq!(json_of(&world, &["subscriptions", "show", "b"])["status"], "cancelled");
    world.balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_changed_now_and_every_view_agrees() {
    let Some(world) = book("a plan changed now").await else { return };
    let change = |id: &str, more: &[&str]| {
        autopay(&world, &[&["subscriptions", "change", id, "--plan"], more, &["-o", "json"]].concat())
    };
    let dry = change("a", &["silver", "--now", "--dry-run"]).exits(0);
    dry.complains(&[
        "DRY RUN",
        "19 days are unused",
        "19/30 of USD 90.00 is USD 57.00.",
        "Plan silver asks for 19/30 of USD 30.00, USD 19.00.",
        "Together USD 38.00 less, from the next cycle on.",
    ]);
    // 30.00 + 19.00 - 57.00 reach into the cycle after.
    let rows = dry.json();
    assert_eq!((&rows[0]["becomes"], &rows[0]["why"]), (&json!("skipped"), &json!("nothing to pay")), "{rows}");
    assert_eq!(rows[1]["amount"], "22.00", "{rows}");
    assert_eq!(json_of(&world, &["subscriptions", "show", "a"])["plan"], "gold");
    change("a", &["silver", "--now", "--reason", "fewer classes"]).exits(0);
    let shown = json_of(&world, &["subscriptions", "show", "a"]);
    assert_eq!((&shown["plan"], &shown["adjustments"].as_array().unwrap().len()), (&json!("silver"), &2), "{shown}");
    let ahead = json_of(&world, &["subscriptions", "schedule", "a"]);
    let amounts: Vec<&Value> = ahead.as_array().unwrap().iter().map(|row| &row["amount"]).take(3).collect();
    assert_eq!(amounts, ["0.00", "22.00", "30.00"], "{ahead}");
    let listed = json_of(&world, &["subscriptions", "adjustments", "a"]);
    assert_eq!(
        (&listed[0]["reason"], &listed[1]["reason"]),
        (&json!("unused 19/30 days of cycle 0 under plan gold"), &json!("19/30 days of cycle 0 under plan silver"))
    );
    // An upgrade of another one costs more at once.
    change("b", &["gold", "--now"]).exits(2).complains(&["already"]);
    change("c", &["gold", "--now"]).exits(0).complains(&["Together USD 19.00 more, from the next cycle on."]);
    // Everything fired that should have, whatever plan a subscription is under by now.
    let from = world.charges_of("a").await[0].due_on;
    let (from, to) = (from.to_string(), (from + TimeDelta::days(60)).to_string());
    let audit = ["schedule", "audit", "--from", &from, "--to", &to, "-o", "json"];
    assert_eq!(autopay(&world, &audit).exits(0).json()["rows"], json!([]));
    // Wrong usage.
    change("a", &["gold"]).exits(2).complains(&["--at", "--now"]);
    change("a", &["gold", "--now", "--at", "next_cycle"]).exits(2);
    change("a", &["gold", "--at", "next_cycle", "--as", "a2"]).exits(2);
    change("a", &["nothing", "--now"]).exits(2).complains(&["does not exist"]);
    world.balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_another_rhythm_a_subscription_goes_over_under_a_new_id() {
    let Some(world) = book("another rhythm").await else { return };
    let change = |more: &[&str]| autopay(&world, &[&["subscriptions", "change", "a", "--plan"], more].concat());
    change(&["weekly", "--now"]).exits(2).complains(&["another rhythm", "--as NEW_ID"]);
    change(&["silver", "--now", "--as", "a2"]).exits(2).complains(&["leave out --as"]);
    change(&["weekly", "--now", "--as", "b"]).exits(2).complains(&["--as", "in the book already"]);
    change(&["weekly", "--now", "--as", "a2", "--amount", "5.00"]).exits(2).complains(&["leave out --amount"]);
    let dry = change(&["weekly", "--now", "--as", "a2", "--dry-run"]).exits(0);
    dry.complains(&["19/30 of USD 90.00 is USD 57.00.", "Subscription a2 follows under plan weekly from"]);
    autopay(&world, &["subscriptions", "show", "a2"]).exits(5);
    change(&["weekly", "--now", "--as", "a2", "--reason", "weekends only"]).exits(0).complains(&[
        "It begins with a credit of USD 57.00 (unused 19/30 days of cycle 0 of a).",
        "The next charge is cycle 2: USD 6.00",
    ]);
    assert_eq!(json_of(&world, &["subscriptions", "show", "a"])["status"], "cancelled");
    let new = world.store.subscription(&SubscriptionId::parse("a2").unwrap()).await.unwrap().unwrap().subscription;
    let old = world.charges_of("a").await.remove(0);
    assert_eq!(
        new.start_on - old.due_on,
        TimeDelta::days(11),
        "eleven days were used, the twelfth is the first new one"
    );
    let ahead = json_of(&world, &["subscriptions", "schedule", "a2"]);
    let amounts: Vec<&Value> = ahead.as_array().unwrap().iter().map(|row| &row["amount"]).take(4).collect();
    assert_eq!(amounts, ["0.00", "0.00", "6.00", "21.00"], "63.00 for three weeks, less 57.00: {ahead}");
    let audit =
        ["schedule", "audit", "--from", &old.due_on.to_string(), "--to", &(new.start_on).to_string(), "-o", "json"];
    assert_eq!(autopay(&world, &audit).exits(0).json()["rows"], json!([]));
    change(&["weekly", "--now", "--as", "a3"]).exits(7).complains(&["is cancelled"]);
    world.balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_period_that_is_not_paid_gives_nothing_back_and_changes_no_plan() {
    let behaviour = Behaviour::DeclinesWith(sandbox::DeclineCode::InsufficientFunds);
    let Some(world) = book_of("an unpaid period", behaviour).await else { return };
    autopay(&world, &["subscriptions", "change", "a", "--plan", "silver", "--now"])
        .exits(7)
        .complains(&["is failing: its days are not paid", "--at next_cycle"]);
    autopay(&world, &["subscriptions", "change", "a", "--plan", "weekly", "--now", "--as", "a2"])
        .exits(7)
        .complains(&["is failing: its days are not paid"]);
    let done = autopay(&world, &["subscriptions", "cancel", "a", "-o", "json"]).exits(0);
    done.complains(&[
        "is failing, not paid",
        "It ends with the subscription and is not tried again; nothing goes back.",
    ]);
    assert_eq!((&done.json()["skipped"], &done.json()["refunds"]), (&json!(1), &json!([])));
    world.balance().await;
}

#[test]
fn a_plan_file_says_what_a_cancellation_gives_back() {
    let bench = Bench::migrated();
    let text = crate::cli_support::PLAN.to_owned() + "\n[mid_period]\non_cancel = \"prorate_by_day\"\n";
    bench.write("plans/wellness.toml", &text);
    bench.run(&["plans", "check", "plans"]).exits(0);
    bench.run(&["plans", "fmt", "plans"]).exits(0);
    assert!(bench.read("plans/wellness.toml").contains("on_cancel = \"prorate_by_day\""));
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.run(&["plans", "export", "out"]).exits(0);
    assert_eq!(bench.read("out/wellness.toml"), bench.read("plans/wellness.toml"));
    bench.write("plans/wellness.toml", text.replace("prorate_by_day", "no_refund"));
    let diff = bench.run(&["plans", "diff", "plans", "-o", "json"]);
    assert!(diff.out.contains("on_cancel") && diff.out.contains("prorate_by_day"), "{}{}", diff.out, diff.err);
    bench.write("plans/wellness.toml", text.replace("prorate_by_day", "prorate"));
    bench.run(&["plans", "check", "plans"]).exits(6).complains(&["on_cancel", "prorate_by_day"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_with_the_next_cycle_changes_nothing_about_the_period_that_runs() {
    let Some(world) = book("the rule of the running period").await else { return };
    let change = |id: &str, plan: &str| {
        autopay(&world, &["subscriptions", "change", id, "--plan", plan, "--at", "next_cycle", "-q"]).exits(0);
    };
    change("a", "classes");
    change("c", "gold");
    let charge = charge_of(&world, "a").await;
    let dry = autopay(&world, &["subscriptions", "cancel", "a", "--dry-run"]).exits(0);
    dry.complains(&[
        "Plan gold gives back what is paid and not used",
        &format!("USD 57.00 of charge {charge} goes back."),
    ]);
    let done = json_of(&world, &["subscriptions", "cancel", "a", "--reason", "moved away"]);
    assert_eq!((&done["to_refund"], &done["refunds"][0]["charge"]), (&json!("57.00"), &json!(charge)), "{done}");
    // The period of c was charged under a plan that ends with it.
    let plain = autopay(&world, &["subscriptions", "cancel", "c"]).exits(0);
    plain.complains(&["Plan classes ends with the period (on_cancel = \"end_of_period\")"]);
    let at_once = json_of(&world, &["subscriptions", "cancel", "c", "--now"]);
    assert_eq!(at_once["to_refund"], Value::Null, "gold, which would give back, has charged nothing yet");
    world.balance().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_may_go_back_twice_is_said_before() {
    let Some(world) = book("twice").await else { return };
    json_of(&world, &["subscriptions", "change", "a", "--plan", "silver", "--now"]);
    let charge = charge_of(&world, "a").await;
    let refund = ["charges", "refund", &charge, "--amount", "5.00", "--reason", "a complaint"];
    let dry = autopay(&world, &[&refund[..], &["-n"]].concat()).exits(0);
    dry.complains(&["WARNING: credit 1 of USD 57.00 was given", "gives their money back twice"]);
    autopay(&world, &refund).exits(0).complains(&["WARNING: credit 1"]);
    let other = charge_of(&world, "b").await;
    let said = autopay(&world, &["charges", "refund", &other, "--amount", "5.00", "--reason", "a complaint"]).exits(0);
    assert!(!said.err.contains("WARNING"), "{}", said.err);
    let credit = ["subscriptions", "credit", "b", "--amount", "5.00", "--reason", "a complaint", "-n"];
    autopay(&world, &credit)
        .exits(0)
        .complains(&[&format!("WARNING: USD 5.00 of the latest charge {other} went back")]);
    let credit = ["subscriptions", "credit", "c", "--amount", "5.00", "--reason", "a complaint", "-n"];
    let said = autopay(&world, &credit).exits(0);
    assert!(!said.err.contains("WARNING"), "{}", said.err);
    world.balance().await;
}
