//! Two real processes on one book of customers with several subscriptions each, killed again and again: each cycle is in exactly one
//! payment, each payment is made once, and no customer is charged twice for a day.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use autopay::clock::TurnedClock;
use autopay::ports::{CatalogChange, ChargeFilter, Store};
use chrono::{TimeDelta, Utc};
use domain::charge::{SkipWhy, State};
use domain::plan::Plan;
use sandbox::{Behaviour, Faults, Options, Sandbox};

use crate::crash::{Moments, WallTime as _, configuration, rest, serve, storm};
use crate::postgres::TestDatabase;
use crate::world::{card, database_store, plan, subscriber};

const KILLS: u32 = 24;
const CUSTOMERS: u64 = 300;
/// Subscriptions of each customer.
const EACH: u64 = 3;

async fn backlog(store: &Arc<dyn Store>) {
    let now = Utc::now_of_the_test();
    let yesterday = (now - TimeDelta::days(1)).date_naive().to_string();
    let plans = [("storm", "10.00"), ("drizzle", "1.50")].map(|(id, price)| {
        let mut spec = plan(id, "1 month", "UTC", "00:00", price);
        spec.collect.consolidate = Some("customer_and_day".to_owned());
        (spec.clone(), Plan::from_spec(&spec, 0).unwrap())
    });
    let change = CatalogChange { plans: plans.to_vec(), policies: Vec::new() };
    store.apply(&change, "test", now).await.unwrap();
    let catalog = store.catalog().await.unwrap();
    let mut rows = Vec::new();
    for n in 0..EACH {
        for customer in 0..CUSTOMERS {
            let plan = if n == 0 { "storm" } else { "drizzle" };
            let behaviour = if customer % 10 == 0 { Behaviour::declines(1) } else { Behaviour::Pays };
            // Beside each other, so that two workers meet, or far apart.
            let id = if customer % 2 == 0 { format!("{customer:05}-{n}") } else { format!("z{n}-{customer:05}") };
            let mut row = subscriber(&id, plan, &yesterday, card(behaviour, customer));
            row.customer.enterprise_id = Some(customer.to_string());
            let (charge, _) = domain::agenda::planned(&catalog.plans[&row.plan], &row, 0).unwrap().unwrap();
            row.next_due_at = Some(charge.due_at);
            rows.push(row);
        }
    }
    store.import(&rows, "test", now).await.unwrap();
}

async fn killed(database: &str, processes: usize, salt: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut moments = Moments::seeded(salt);
    let options = Options { seed: moments.below(u64::MAX), faults: storm(0.03), ..Options::default() };
    let sandbox = sandbox::start(options).await.unwrap();
    let store = database_store(database, Arc::new(TurnedClock::new(Utc::now_of_the_test()))).await;
    backlog(&store).await;
    let more = "
[rate]
per_second = 40
burst = 5

[engine]
batch = 5
in_flight = 8
settle_wait_ms = 50

[testing]
lease_seconds = 8
quiesce_seconds = 3
ladder_seconds = [1, 2, 4, 6, 8, 10, 15, 20, 30, 60, 120, 240, 480]
window_seconds = 3600
";
    let configuration = configuration(folder.path(), database, &sandbox, more);
    let log = |n: usize| folder.path().join(format!("log-{n}"));
    let start = |n: usize| serve(&configuration, &log(n));
    let mut running: Vec<Child> = (0..processes).map(start).collect();
    for kill in 0..KILLS {
        rest(Duration::from_millis(80 + moments.below(400))).await;
        let n = usize::try_from(kill).unwrap() % processes;
        running[n].kill().unwrap();
        let status = running[n].wait().unwrap();
        let said = || std::fs::read_to_string(log(n)).unwrap();
        assert!(status.code().is_none(), "it ended by itself: {status}\n{}", said());
        running[n] = start(n);
    }
    let before = sandbox.ledger().success_count();
    sandbox.set_faults(Faults::none());
    done(&store, &mut running).await;
    for process in &mut running {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    agree(&store, &sandbox, before).await;
    sandbox.stop().await;
}

/// Waits until every cycle is recorded and every payment has an answer.
async fn done(store: &Arc<dyn Store>, running: &mut [Child]) {
    // A bound for a process that hangs, not a measure.
    for _ in 0..2_400 {
        rest(Duration::from_millis(250)).await;
        let totals = store.totals().await.unwrap();
        let count = |words: &[&str]| -> u64 {
            totals.iter().filter(|((word, _), _)| words.contains(&word.as_str())).map(|(_, (count, _))| count).sum()
        };
        let (recorded, open) =
            (totals.values().map(|(count, _)| count).sum::<u64>(), count(&["sending", "due", "outcome_unknown"]));
        if recorded == CUSTOMERS * EACH && open == 0 {
            return;
        }
        assert!(running.iter_mut().all(|process| process.try_wait().unwrap().is_none()), "it ended: {totals:?}");
    }
    panic!("not done in time: {:?}", store.totals().await.unwrap());
}

async fn agree(store: &Arc<dyn Store>, sandbox: &Sandbox, before: u64) {
    assert!(before < CUSTOMERS * 9 / 10, "the backlog was drained before the last kill: nothing was tested");
    let ledger = sandbox.ledger();
    let mut paid: BTreeMap<String, i64> = BTreeMap::new();
    for success in ledger.successes() {
        let customer = success.metadata["subscription"].split('-').find(|part| part.len() == 5).unwrap();
        assert!(paid.insert(customer.to_owned(), success.amount_minor).is_none(), "customer {customer} paid twice");
        assert_eq!(success.amount_minor, 1_300, "customer {customer} paid for a part");
    }
    assert_eq!(u64::try_from(paid.len()).unwrap(), CUSTOMERS * 9 / 10, "forgotten, or paid though declined");
    assert_eq!(ledger.keys_with_changed_bodies(), Vec::<String>::new());
    let charges = store.charges(&ChargeFilter::default(), &None, 1_000_000).await.unwrap();
    assert_eq!(u64::try_from(charges.len()).unwrap(), CUSTOMERS * EACH);
    let ids: Vec<_> = charges.iter().map(|charge| charge.id).collect();
    let mut carried = BTreeSet::new();
    for one in store.paid_together(&ids).await.unwrap() {
        assert!(carried.insert(one.part.charge), "carried twice: {one:?}");
    }
    for charge in &charges {
        let left = matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. });
        assert_eq!(left, carried.contains(&charge.id), "{charge:?}");
        assert_eq!(charge.carried.map(|carried| carried.parts), (!left).then_some(2), "{charge:?}");
        assert_eq!(charge.amount.minor(), if left { 150 } else { 1_300 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_on_sqlite_collects_each_cycle_in_one_payment() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("autopay.db").display());
    killed(&database, 1, 21).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_are_killed_on_postgresql_collect_each_cycle_in_one_payment() {
    let Some(database) = TestDatabase::create("together, killed").await else { return };
    killed(&database.url, 2, 22).await;
}
