//! The real binary, killed with SIGKILL a hundred times while it captures through a faulty gateway.
//!
//! Every capture is ordered before the first kill. Afterwards the sandbox's own ledger is asked: each payment was captured once, for
//! exactly what was ordered, never above what was set aside; every order went out with one body. `AUTOPAY_TEST_SEED` repeats a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use autopay::clock::TurnedClock;
use autopay::engine::Engine;
use autopay::gateway::CcgGateway;
use autopay::ports::captures::OrderRecord;
use autopay::ports::{CatalogChange, ChargeFilter, Gateway as _, Store};
use chrono::Utc;
use domain::authorization::OrderKind;
use domain::charge::{Event, Limits, State};
use domain::money::{Currency, Money};
use domain::plan::Plan;
use sandbox::{Behaviour, Faults, Options, Sandbox};

use crate::crash::{Moments, WallTime as _, configuration, rest, serve, storm};
use crate::world::{MERCHANT, card, client, database_store, plan, settings, subscriber};

const KILLS: u32 = 100;
const BOXES: u64 = 900;

/// What one box's capture takes of 42.00.
fn ordered_of(n: u64) -> Money {
    let part = i64::try_from(n % 5).unwrap() * 1_000;
    Money::new(if part == 0 { 4_200 } else { part }, Currency::USD)
}

/// Sets money aside for every box and orders every capture: nothing of it is sent yet.
async fn prepared(store: &Arc<dyn Store>, clock: &Arc<TurnedClock>, sandbox: &Sandbox) -> BTreeMap<String, Money> {
    let now = Utc::now_of_the_test();
    let yesterday = (now - chrono::TimeDelta::days(1)).date_naive().to_string();
    let mut spec = plan("boxes", "1 month", "UTC", "00:00", "42.00");
    spec.collect.mode = Some("authorize".to_owned());
    let understood = Plan::from_spec(&spec, 0).unwrap();
    let change = CatalogChange { plans: vec![(spec, understood)], policies: Vec::new() };
    store.apply(&change, "test", now).await.unwrap();
    let plan = store.catalog().await.unwrap().plans.into_values().next().unwrap();
    let row = |n: u64| {
        let mut row = subscriber(&format!("sub-{n:05}"), "boxes", &yesterday, card(Behaviour::Pays, n));
        row.next_due_at = Some(domain::agenda::planned(&plan, &row, 0).unwrap().unwrap().0.due_at);
        row
    };
    store.import(&(0..BOXES).map(row).collect::<Vec<_>>(), "test", now).await.unwrap();
    let gateway = Arc::new(CcgGateway::new(client(sandbox), MERCHANT));
    let engine = Engine::new(store.clone(), gateway.clone(), clock.clone(), settings(&Limits::default()));
    let report = engine.run_once().await.unwrap();
    assert_eq!(report.authorized, BOXES);
    let mut orders = BTreeMap::new();
    let charges = store.charges(&ChargeFilter::default(), &None, 10_000).await.unwrap();
    for (n, charge) in (0_u64..).zip(charges) {
        let amount = ordered_of(n);
        let after = charge.clone().step(Event::Capture { amount }, now, &Limits::default()).unwrap();
        let body = gateway.compose_order(OrderKind::Capture, amount).unwrap();
        let (attempt, by) = (charge.tries.attempt, "test".to_owned());
        let order = OrderRecord { charge: charge.id, attempt, kind: OrderKind::Capture, amount, body, by, at: now };
        assert!(store.order_capture(&after, &order).await.unwrap());
        orders.insert(charge.id.to_string(), amount);
    }
    orders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_a_hundred_times_every_capture_is_made_once_and_never_above_what_was_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("autopay.db").display());
    let mut moments = Moments::seeded(0xca97);
    let options = Options { seed: moments.below(u64::MAX), ..Options::default() };
    let sandbox = sandbox::start(options).await.unwrap();
    let clock = Arc::new(TurnedClock::new(Utc::now_of_the_test()));
    let store = database_store(&database, clock.clone()).await;
    let orders = prepared(&store, &clock, &sandbox).await;
    sandbox.set_faults(storm(0.03));
    let more = "
[rate]
per_second = 300
burst = 30

[engine]
batch = 8
in_flight = 8
settle_wait_ms = 50

[testing]
lease_seconds = 8
quiesce_seconds = 3
ladder_seconds = [1, 2, 4, 6, 8, 10, 15, 20, 30, 60, 120, 240, 480]
window_seconds = 3600
";
    let configuration = configuration(folder.path(), &database, &sandbox, more);
    let log = folder.path().join("log");
    let received = || sandbox.ledger().calls().len();
    for _ in 0..KILLS {
        let before = received();
        let mut process = serve(&configuration, &log);
        if moments.below(4) == 0 {
            rest(Duration::from_millis(60 + moments.below(420))).await;
        } else {
            // Bounded: while the leases of the killed run, there may be nothing to send.
            for _ in 0..100 {
                if received() > before {
                    break;
                }
                rest(Duration::from_millis(10)).await;
            }
            rest(Duration::from_millis(moments.below(250))).await;
        }
        process.kill().unwrap();
        let status = process.wait().unwrap();
        assert!(status.code().is_none(), "it ended by itself: {status}\n{}", std::fs::read_to_string(&log).unwrap());
    }
    let killed_at = sandbox.ledger().captured_by_payment().len();
    assert!(received() >= usize::try_from(KILLS).unwrap(), "too few orders met the kills: nothing was tested");
    // The storm ends; one process finishes the work.
    sandbox.set_faults(Faults::none());
    let mut process = serve(&configuration, &log);
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        rest(Duration::from_millis(250)).await;
        let totals = store.totals().await.unwrap();
        if totals.get(&("paid".to_owned(), "USD".to_owned())).is_some_and(|(n, _)| *n == BOXES) {
            break;
        }
        assert!(process.try_wait().unwrap().is_none(), "it ended: {}", std::fs::read_to_string(&log).unwrap());
        assert!(Instant::now() < deadline, "not done in time: {totals:?}");
    }
    process.kill().unwrap();
    process.wait().unwrap();
    agree(&store, &sandbox, &orders, killed_at).await;
    sandbox.stop().await;
}

/// Three lists: what was ordered, the store's, the gateway's own.
async fn agree(store: &Arc<dyn Store>, sandbox: &Sandbox, orders: &BTreeMap<String, Money>, before: usize) {
    let ledger = sandbox.ledger();
    let captured = ledger.captured_by_payment();
    assert!(before < orders.len(), "everything was captured before the last kill: nothing was tested");
    let mut successes: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for success in ledger.successes() {
        let one = successes.entry(success.metadata["charge"].clone()).or_default();
        *one = (one.0 + 1, one.1 + success.amount_minor);
    }
    assert_eq!(successes.len(), orders.len());
    for charge in store.charges(&ChargeFilter::default(), &None, 10_000).await.unwrap() {
        let ordered = orders[&charge.id.to_string()];
        assert!(ordered.minor() <= charge.amount.minor());
        assert_eq!(successes[&charge.id.to_string()], (1, ordered.minor()), "{charge:?}");
        assert!(matches!(charge.state, State::Paid { collected, .. } if collected == ordered), "{charge:?}");
        let attempt = store.attempts(charge.id).await.unwrap().remove(0);
        let payment = attempt.payment_id.unwrap().parse().unwrap();
        assert_eq!(captured[&payment], ordered.minor());
    }
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    for call in ledger.calls() {
        let first = bodies.entry(call.subject).or_insert_with(|| call.sha256.clone());
        assert_eq!(*first, call.sha256, "an order went out with two bodies");
    }
    assert!(ledger.open_holds().is_empty());
}
