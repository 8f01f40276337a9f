//! `schedule audit` over books that an engine filled, with the very faults it is there to find put into the database.

use sandbox::{Behaviour, DeclineCode};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, Statement, Value};

use autopay::ports::Resume;
use chrono::TimeDelta;
use domain::agenda::{Scope, resume};
use domain::amendment::{Change, propose};
use domain::id::{PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::{AdjustmentKind, Subscription};

use crate::cli_support::{Bench, Said};
use crate::world::{Backend, World, at, card, day, plan, subscriber};

/// Changes rows behind autopay's back.
pub(crate) async fn vandalize(world: &World, sql: &str, values: Vec<Value>) {
    let mut options = ConnectOptions::new(world.url());
    options.max_connections(1).sqlx_logging(false);
    let database = Database::connect(options).await.unwrap();
    let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
    assert!(database.execute_raw(statement).await.unwrap().rows_affected() > 0, "{sql}");
    database.close().await.unwrap();
}

/// The real binary over the world's database.
pub(crate) fn autopay(world: &World, arguments: &[&str]) -> Said {
    let mut bench = Bench::new();
    bench.env("AUTOPAY_DATABASE_URL", world.url());
    tokio::task::block_in_place(|| bench.run(arguments))
}

const HALF_YEAR: [&str; 6] = ["schedule", "audit", "--from", "2025-01-01", "--to", "2025-07-01"];

fn audit(world: &World, more: &[&str]) -> Said {
    autopay(world, &[HALF_YEAR.as_slice(), &["-o", "json"], more].concat())
}

/// `subscription/cycle verdict reason`, in the order of the report.
fn rows(said: &Said) -> Vec<String> {
    let json = said.json();
    let word = |row: &serde_json::Value, name: &str| match &row[name] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |row| {
        format!("{}/{} {} {}", word(row, "subscription"), word(row, "cycle"), word(row, "verdict"), word(row, "reason"))
    };
    json["rows"].as_array().unwrap().iter().map(row).collect()
}

/// Counts of one plan: expected, done, done late, skipped, held, waiting, missed, odd.
fn counts(said: &Said, plan: &str) -> Vec<u64> {
    let json = said.json();
    let row = json["plans"].as_array().unwrap().iter().find(|row| row["plan"] == plan).unwrap().clone();
    let names = ["expected", "done", "done_late", "skipped", "held", "waiting", "missed", "odd"];
    names.iter().map(|name| row[name].as_u64().unwrap()).collect()
}

/// Monthly subscriptions on the 10th, one weekly, one that never pays; the world stands on 10 January 2025.
pub(crate) async fn begun(backend: Backend, test: &str) -> Option<World> {
    let world = World::begin(backend, "2025-01-08T00:00:00Z", test).await?;
    world
        .apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00"), plan("weekly", "1 week", "UTC", "05:00", "9.00")])
        .await;
    let mut all: Vec<_> = ["a", "b", "c", "d", "e"]
        .iter()
        .map(|id| subscriber(id, "gold", "2025-01-10", card(Behaviour::Pays, 1)))
        .collect();
    all.push(subscriber("w", "weekly", "2025-01-15", card(Behaviour::Pays, 2)));
    let stolen = card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 3);
    all.push(subscriber("p", "gold", "2025-01-10", stolen));
    world.enrol(all).await;
    Some(world)
}

/// What falls due is met to the minute; only what is held is looked at every six hours.
pub(crate) async fn live_until(world: &World, moment: &str) {
    world.live_until(at(moment), TimeDelta::hours(6)).await;
}

/// Nothing is wrong with a book that lived through an outage, a hold, a pause and a cancellation, and nothing is said to be.
async fn a_sound_book_has_no_missed_cycle(backend: Backend) {
    let Some(world) = begun(backend, "an audit of a sound book").await else { return };
    live_until(&world, "2025-02-20T00:00:00Z").await;
    // An outage over 10 March, a hold over 10 April.
    world.turn_to("2025-03-12T00:00:00Z");
    live_until(&world, "2025-04-01T00:00:00Z").await;
    let scope = Scope::Subscription(domain::id::SubscriptionId::parse("e").unwrap());
    world.store.hold(&scope, "address dispute", "M. Ortiz", world.now()).await.unwrap();
    live_until(&world, "2025-04-20T00:00:00Z").await;
    world.store.lift(&scope, "M. Ortiz", world.now()).await.unwrap();
    live_until(&world, "2025-05-01T00:00:00Z").await;
    world.store.cancel(&domain::id::SubscriptionId::parse("d").unwrap(), "test", world.now()).await.unwrap();
    // The one that never pays was paused in January; it goes on without the cycles since.
    let id = domain::id::SubscriptionId::parse("p").unwrap();
    let paused = world.store.subscription(&id).await.unwrap().unwrap().subscription;
    assert_eq!(paused.status.as_str(), "paused");
    let gold = &world.store.catalog().await.unwrap().plans[&paused.plan];
    let goes_on = resume(gold, &paused, true, world.now()).unwrap();
    let from = Resume { from_cycle: paused.next_cycle, goes_on, owed_until: None };
    assert!(world.store.resume(&id, &from, "test", world.now()).await.unwrap());
    live_until(&world, "2025-07-01T00:00:00Z").await;

    let said = audit(&world, &["--details"]).exits(0);
    // Five of six, six of six, four of four until the cancellation, and the one whose card was stolen: it was paused, and since it
    // goes on its cycles are held, because such a card is tried for nobody again.
    assert_eq!(
        rows(&said),
        [
            "a/2 done_late ",
            "b/2 done_late ",
            "c/2 done_late ",
            "d/2 done_late ",
            "e/2 done_late ",
            "e/3 done_late ",
            "p/1 skipped ",
            "p/2 skipped ",
            "p/3 skipped ",
            "p/4 held ",
            "p/5 held ",
            "w/6 done_late ",
            "w/7 done_late ",
        ]
    );
    assert_eq!(counts(&said, "gold"), [34, 23, 6, 3, 2, 0, 0, 0]);
    assert_eq!(counts(&said, "weekly"), [24, 22, 2, 0, 0, 0, 0, 0]);
    assert_eq!(counts(&said, "all plans")[0], 58);
    let csv = autopay(&world, &[HALF_YEAR.as_slice(), &["-o", "csv"]].concat()).exits(0);
    assert_eq!(csv.out, "plan,subscription,cycle,due_on,due_at,verdict,reason,charge,note\n");
    csv.complains(&["58 cycles expected: 45 done, 8 done late, 3 skipped by rule, 2 held, 0 waiting, 0 missed; 0 odd"]);
    world.balance().await;
}

/// The faults of the issue, put into the database one by one: exactly those are reported, by name.
async fn exactly_the_faults_are_found(backend: Backend) {
    let Some(world) = begun(backend, "an audit of a damaged book").await else { return };
    live_until(&world, "2025-04-15T00:00:00Z").await;
    live_until(&world, "2025-05-20T00:00:00Z").await;
    // Advanced without a charge.
    let july = at("2025-07-10T11:00:00Z");
    let sql = "UPDATE subscription SET next_cycle = next_cycle + 1, next_due_at = $1 WHERE id = 'b'";
    vandalize(&world, sql, vec![july.into()]).await;
    let far = at("2031-01-01T00:00:00Z");
    // The next moment lost, and the next moment moved away.
    vandalize(&world, "UPDATE subscription SET next_due_at = NULL WHERE id = 'd'", Vec::new()).await;
    vandalize(&world, "UPDATE subscription SET next_due_at = $1 WHERE id = 'e'", vec![far.into()]).await;
    live_until(&world, "2025-07-01T00:00:00Z").await;
    // As if somebody had claimed the subscription in May and never given it back.
    vandalize(&world, "DELETE FROM charge WHERE subscription_id = 'c' AND cycle >= 4", Vec::new()).await;
    let sql = "UPDATE subscription SET next_cycle = 4, next_due_at = $1, leased_until = $2 WHERE id = 'c'";
    vandalize(&world, sql, vec![at("2025-05-10T11:00:00Z").into(), far.into()]).await;
    // A charge row deleted, one of a subscription that goes with it, one dated otherwise, one set back.
    vandalize(&world, "DELETE FROM charge WHERE subscription_id = 'a' AND cycle = 2", Vec::new()).await;
    vandalize(&world, "DELETE FROM charge WHERE subscription_id = 'w' AND cycle IN (0, 23)", Vec::new()).await;
    let day: Value = "2025-02-12".parse::<chrono::NaiveDate>().unwrap().into();
    vandalize(&world, "UPDATE charge SET due_on = $1 WHERE subscription_id = 'a' AND cycle = 1", vec![day]).await;
    vandalize(&world, "DELETE FROM subscription WHERE id = 'p'", Vec::new()).await;
    let sql = "UPDATE subscription SET first_cycle = 1, next_cycle = 5 WHERE id = 'a'";
    vandalize(&world, sql, Vec::new()).await;

    let said = audit(&world, &[]).exits(10);
    assert_eq!(
        rows(&said),
        [
            "a/0 odd before_first_cycle",
            "a/1 odd other_date",
            "a/2 missed charge_gone",
            "a/5 odd not_advanced",
            "b/5 missed passed_over",
            "c/4 missed lease_stuck",
            "c/5 missed lease_stuck",
            "d/5 missed not_scheduled",
            "e/5 missed not_scheduled",
            "p/0 odd no_subscription",
            "w/0 missed charge_gone",
            "w/23 missed charge_gone",
        ]
    );
    // Of 5 × 6 monthly cycles one is before the first; 2 charges of nobody's and before the first are no expected cycles.
    assert_eq!(counts(&said, "gold"), [29, 21, 0, 0, 0, 0, 6, 4]);
    assert_eq!(counts(&said, "weekly"), [24, 22, 0, 0, 0, 0, 2, 0]);
    let table = autopay(&world, &HALF_YEAR).exits(10);
    assert!(table.out.contains("stands at cycle 6, and this one was never charged"), "{}", table.out);
    let february = autopay(&world, &["schedule", "audit", "--from", "2025-02-01", "--to", "2025-03-01", "-o", "jsonl"]);
    assert_eq!(february.exits(10).out.lines().count(), 1 + 3, "one row, two plans and their sum");
}

/// Rows that cannot be read are told, and their neighbours are audited.
async fn damaged_rows_hide_no_neighbour(backend: Backend) {
    let Some(world) = begun(backend, "an audit of damaged rows").await else { return };
    live_until(&world, "2025-07-01T00:00:00Z").await;
    vandalize(&world, "UPDATE subscription SET customer = 'x' WHERE id = 'b'", Vec::new()).await;
    vandalize(&world, "UPDATE charge SET currency = '??' WHERE subscription_id = 'c' AND cycle = 3", Vec::new()).await;
    vandalize(&world, "DELETE FROM charge WHERE subscription_id = 'd' AND cycle = 4", Vec::new()).await;
    let said = audit(&world, &[]).exits(10);
    let found = rows(&said);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "b/null odd unreadable");
    assert!(found[1].ends_with("odd unreadable"), "{found:?}");
    assert_eq!(found[2], "d/4 missed charge_gone");
}

pub(crate) async fn wish(world: &World, name: &str, change: Change) {
    let id = SubscriptionId::parse(name).unwrap();
    let row = world.store.subscription(&id).await.unwrap().unwrap().subscription;
    let catalog = world.store.catalog().await.unwrap();
    let (amendment, _) = propose(&catalog, &row, change, ("a wish", "ann"), world.now()).unwrap();
    assert!(world.store.amend(&amendment).await.unwrap().is_some(), "{name}");
}

/// What people changed, terms that end, amounts that wait and cycles that a plan forgives, over half a year.
async fn lived_with_wishes(backend: Backend, test: &str) -> Option<World> {
    let world = World::begin(backend, "2025-01-08T00:00:00Z", test).await?;
    let gold = plan("gold", "1 month", "UTC", "11:00", "79.00");
    let mut quarter = plan("quarter", "1 month", "UTC", "11:00", "20.00");
    quarter.schedule.cycles = Some("3".to_owned());
    let mut bounded = plan("bounded", "1 month", "UTC", "11:00", "79.00");
    bounded.amount.value = Some("from_subscription".to_owned());
    bounded.amount.maximum = Some("100.00".to_owned());
    let mut latest = plan("latest", "1 week", "UTC", "05:00", "9.00");
    latest.schedule.catch_up = Some("latest".to_owned());
    world.apply(&[gold, plan("silver", "1 month", "UTC", "20:00", "49.00"), quarter, bounded, latest]).await;
    let who = |id: &str, plan: &str| subscriber(id, plan, "2025-01-10", card(Behaviour::Pays, 1));
    let mut dear = who("h", "bounded");
    dear.amount = Some(Money::new(25_000, Currency::USD));
    let mut all: Vec<Subscription> = ["a", "b", "c", "d", "e", "f", "k"].map(|id| who(id, "gold")).into();
    all.extend([who("g", "quarter"), dear, who("i", "latest")]);
    world.enrol(all).await;
    live_until(&world, "2025-01-20T00:00:00Z").await;
    wish(&world, "a", Change::Skip { cycle: 2 }).await;
    wish(&world, "b", Change::Move { cycle: 1, to: day("2025-02-24") }).await;
    wish(&world, "b", Change::Move { cycle: 4, to: day("2025-05-02") }).await;
    wish(&world, "c", Change::Pause { until: Some(day("2025-03-20")) }).await;
    wish(&world, "f", Change::Pause { until: Some(day("2025-12-01")) }).await;
    // A pause that its own middle makes endless, and that ends with a cancellation.
    wish(&world, "k", Change::Pause { until: Some(day("2025-03-01")) }).await;
    live_until(&world, "2025-02-12T00:00:00Z").await;
    wish(&world, "k", Change::Pause { until: None }).await;
    live_until(&world, "2025-03-11T00:00:00Z").await;
    wish(&world, "d", Change::EndWithPeriod { last_on: None }).await;
    wish(&world, "e", Change::Plan { plan: PlanId::parse("silver").unwrap(), from: None }).await;
    let credit = Change::Adjust { kind: AdjustmentKind::Credit, amount: Money::new(10_000, Currency::USD) };
    wish(&world, "a", credit).await;
    live_until(&world, "2025-04-16T00:00:00Z").await;
    // Nobody runs for three weeks that are no month.
    world.turn_to("2025-05-08T06:00:00Z");
    live_until(&world, "2025-05-20T00:00:00Z").await;
    world.store.cancel(&SubscriptionId::parse("k").unwrap(), "test", world.now()).await.unwrap();
    live_until(&world, "2025-07-01T00:00:00Z").await;
    Some(world)
}

/// Whatever people and plans leave out, move, end or keep for somebody to decide: nothing of it is a fault.
async fn wishes_of_customers_are_no_faults(backend: Backend) {
    let Some(world) = lived_with_wishes(backend, "an audit of wishes").await else { return };
    let said = audit(&world, &["--details"]).exits(0);
    assert_eq!(
        rows(&said),
        [
            "a/2 skipped ",
            "a/3 skipped ",
            "b/4 done_late ",
            "c/1 skipped ",
            "c/2 skipped ",
            "f/1 skipped ",
            "f/2 skipped ",
            "f/3 skipped ",
            "f/4 skipped ",
            "f/5 skipped ",
            "h/0 held ",
            "h/1 held ",
            "h/2 held ",
            "h/3 held ",
            "h/4 held ",
            "h/5 held ",
            "i/14 skipped ",
            "i/15 skipped ",
            "i/16 done_late ",
            "k/1 skipped ",
            "k/2 skipped ",
            "k/3 skipped ",
            "k/4 skipped ",
        ]
    );
    // One changed its plan in March: each of its charges counts under the plan it was recorded under.
    assert_eq!(counts(&said, "gold"), [6 + 6 + 6 + 3 + 3 + 6 + 5, 21, 1, 13, 0, 0, 0, 0]);
    assert_eq!(counts(&said, "silver"), [3, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(counts(&said, "quarter"), [3, 3, 0, 0, 0, 0, 0, 0]);
    world.balance().await;
}

/// What is left out is recorded: where the record is gone, or money was taken, or a pause does not end, that is found.
async fn faults_among_wishes_are_found(backend: Backend) {
    let Some(world) = lived_with_wishes(backend, "an audit of damaged wishes").await else { return };
    for (name, cycle) in [("a", 2), ("b", 1), ("c", 2), ("e", 1), ("g", 2), ("h", 3), ("i", 15)] {
        let sql = "DELETE FROM charge WHERE subscription_id = $1 AND cycle = $2";
        vandalize(&world, sql, vec![name.into(), i64::from(cycle).into()]).await;
    }
    // The pause of one lost its next moment in May, and moved past a cycle of June.
    vandalize(&world, "DELETE FROM charge WHERE subscription_id = 'f' AND cycle >= 4", Vec::new()).await;
    let sql = "UPDATE subscription SET next_cycle = 5, next_due_at = NULL WHERE id = 'f'";
    vandalize(&world, sql, Vec::new()).await;
    // A charge beyond the period that was to be the last.
    let sql = "UPDATE charge SET subscription_id = 'd', cycle = 3 WHERE subscription_id = 'b' AND cycle = 3";
    vandalize(&world, sql, Vec::new()).await;
    // A cycle that was left out after it was charged.
    let sql = "INSERT INTO cycle_override (subscription_id, cycle, ruling, reason, ruled_by, at) \
               VALUES ('c', 4, 'skip', '', 'nobody', $1)";
    vandalize(&world, sql, vec![world.now().into()]).await;
    let said = audit(&world, &[]).exits(10);
    assert_eq!(
        rows(&said),
        [
            "a/2 missed charge_gone",
            "b/1 missed charge_gone",
            "b/3 missed charge_gone",
            "c/2 missed charge_gone",
            "c/4 odd charged_though_left_out",
            "d/3 odd beyond_the_end",
            "e/1 missed charge_gone",
            "f/4 missed charge_gone",
            "f/5 missed not_scheduled",
            "g/2 missed charge_gone",
            "h/3 missed charge_gone",
            "i/15 missed charge_gone",
        ]
    );
}

/// A plan that changed its hour and its price in March: what fired before is held against the version of that time.
async fn a_plan_that_changed_makes_no_earlier_cycle_late(backend: Backend) {
    let Some(world) = begun(backend, "an audit of a plan that changed").await else { return };
    live_until(&world, "2025-03-20T00:00:00Z").await;
    world.apply(&[plan("gold", "1 month", "UTC", "05:00", "84.00")]).await;
    live_until(&world, "2025-07-01T00:00:00Z").await;
    let said = audit(&world, &["--details"]).exits(0);
    let late: Vec<String> = rows(&said).into_iter().filter(|row| row.contains("late")).collect();
    // The first one after the change is taken at the moment that was stored before it.
    assert_eq!(late, ["a", "b", "c", "d", "e"].map(|id| format!("{id}/3 done_late ")));
}

/// Many subscriptions, each with its own gap: pages end anywhere, and none is lost at their edges.
async fn gaps_are_found_wherever_a_page_ends(backend: Backend) {
    let Some(world) = World::begin(backend, "2025-01-08T00:00:00Z", "an audit of many pages").await else { return };
    world.apply(&[plan("weekly", "1 week", "UTC", "05:00", "9.00")]).await;
    let ids: Vec<String> = (0..700).map(|n| format!("s-{n:04}")).collect();
    let many = ids.iter().map(|id| subscriber(id, "weekly", "2025-01-10", card(Behaviour::Pays, 1))).collect();
    world.enrol(many).await;
    live_until(&world, "2025-01-26T00:00:00Z").await;
    let mut expected = Vec::new();
    for (number, cycle) in [(0, 0), (249, 1), (250, 0), (499, 2), (500, 0), (500, 1), (699, 2)] {
        let sql = "DELETE FROM charge WHERE subscription_id = $1 AND cycle = $2";
        vandalize(&world, sql, vec![ids[number].clone().into(), i64::from(cycle).into()]).await;
        expected.push(format!("{}/{cycle} missed charge_gone", ids[number]));
    }
    let said = autopay(&world, &["schedule", "audit", "--from", "2025-01-01", "--to", "2025-01-25", "-o", "json"]);
    let said = said.exits(10);
    assert_eq!(rows(&said), expected);
    assert_eq!(counts(&said, "weekly"), [2_100, 2_093, 0, 0, 0, 0, 7, 0]);
}

macro_rules! told_of {
    ($($backend:ident $value:ident: $($sentence:ident),*;)*) => {
        $(mod $backend { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::$sentence(super::Backend::$value).await; })* })*
    };
}

told_of! {
    sqlite Sqlite: a_sound_book_has_no_missed_cycle, exactly_the_faults_are_found, damaged_rows_hide_no_neighbour,
        gaps_are_found_wherever_a_page_ends, wishes_of_customers_are_no_faults, faults_among_wishes_are_found,
        a_plan_that_changed_makes_no_earlier_cycle_late;
    postgresql Postgres: a_sound_book_has_no_missed_cycle, exactly_the_faults_are_found, damaged_rows_hide_no_neighbour,
        gaps_are_found_wherever_a_page_ends, wishes_of_customers_are_no_faults, faults_among_wishes_are_found,
        a_plan_that_changed_makes_no_earlier_cycle_late;
}

#[test]
fn a_span_that_ends_before_it_begins_is_refused() {
    let bench = Bench::with_plans();
    let said = bench.run(&["schedule", "audit", "--from", "2027-02-01", "--to", "2027-01-01"]).exits(2);
    said.complains(&["--to", "is not after --from"]);
    bench.run(&["schedule", "audit", "--from", "2027-02-30", "--to", "2027-03-01"]).exits(2).complains(&["--from"]);
    let empty = bench.run(&["schedule", "audit", "--from", "2027-01-01", "--to", "2027-02-01", "-o", "json"]).exits(0);
    assert_eq!(empty.json()["rows"], serde_json::json!([]));
    assert_eq!(empty.json()["plans"][0]["plan"], "all plans");
}
