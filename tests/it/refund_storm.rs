//! A thousand refunds whose answers are lost, and the real binary killed a hundred times while it sends refunds.
//!
//! Afterwards the sandbox's own ledger is asked, not autopay: no refund reached it twice or was executed twice, no payment gave
//! back more than it took, every cent that went back is accounted for here, and each refund is either resolved or in a person's
//! queue with its reason. `AUTOPAY_TEST_SEED` repeats a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use autopay::clock::TurnedClock;
use autopay::engine::{Engine, Refunds, Settings};
use autopay::gateway::CcgGateway;
use autopay::ports::refund::{RefundFilter, RefundRecord};
use autopay::ports::{ChargeFilter, Store};
use chrono::{TimeDelta, Utc};
use domain::charge::Limits;
use domain::id::Key;
use domain::money::{Currency, Money};
use domain::refund::{Reason, State, Wish};
use sandbox::{CallKind, Fault, Faults, Options, Sandbox};
use tokio_util::sync::CancellationToken;

use crate::crash::{Moments, WallTime as _, backlog, configuration, rest, serve};
use crate::postgres::TestDatabase;
use crate::world::{MERCHANT, client, database_store, settings};

/// Parts of 10.00 of each charge of 42.00.
const PARTS: usize = 4;
const KILLS: u32 = 100;

/// Every way in which the answer to a create can be lost, whether the refund is then made or not.
const LOSSES: [Fault; 8] = [
    Fault::CutAfterCommit,
    Fault::ErrorAfterCommit,
    Fault::TruncatedAnswer,
    Fault::Slow,
    Fault::LateCommit,
    Fault::CutBeforeCommit,
    Fault::ErrorBeforeCommit,
    Fault::WrongKey,
];
/// Ways in which a create provably does nothing.
const TURNED_AWAY: [Fault; 2] = [Fault::RateLimited, Fault::Unauthorized];

/// A book of paid charges on a store, their sandbox, and everything to refund them.
struct Storm {
    sandbox: Sandbox,
    store: Arc<dyn Store>,
    clock: Arc<TurnedClock>,
    refunds: Refunds,
}

impl Storm {
    /// `charges` of 42.00, of which eight in ten are paid.
    async fn brewed(database: &str, charges: u64) -> Self {
        let sandbox = sandbox::start(Options::default()).await.unwrap();
        let clock = Arc::new(TurnedClock::new(Utc::now_of_the_test()));
        let store = database_store(database, clock.clone()).await;
        backlog(&store, charges).await;
        let gateway = Arc::new(CcgGateway::new(impatient(&sandbox), MERCHANT));
        let settings = Settings { in_flight: 48, ..settings(&Limits::default()) };
        let engine = Engine::new(store.clone(), gateway.clone(), clock.clone(), settings);
        let paid = usize::try_from(charges * 8 / 10).unwrap();
        for _ in 0..200 {
            engine.run_once().await.unwrap();
            if store
                .totals()
                .await
                .unwrap()
                .get(&("paid".to_owned(), "USD".to_owned()))
                .is_some_and(|(n, _)| usize::try_from(*n).unwrap() == paid)
            {
                break;
            }
            rest(Duration::from_millis(20)).await;
            clock.advance(TimeDelta::minutes(1));
        }
        let refunds = Refunds::new(engine, gateway);
        Self { sandbox, store, clock, refunds }
    }

    /// Records every part of every paid charge.
    async fn record(&self) -> Vec<RefundRecord> {
        let ten = Wish::of(Money::new(1_000, Currency::USD), Reason::parse("storm").unwrap());
        let filter = ChargeFilter { words: vec!["paid".to_owned()], ..ChargeFilter::default() };
        for charge in self.store.charges(&filter, &None, 1_000_000).await.unwrap() {
            for _ in 0..PARTS {
                self.refunds.record(charge.id, &ten, "ann").await.unwrap();
            }
        }
        self.all().await
    }

    async fn all(&self) -> Vec<RefundRecord> {
        self.store.refunds(&RefundFilter::default(), &None, 1_000_000).await.unwrap()
    }

    async fn pass(&self) {
        self.refunds.run_once_until(CancellationToken::new()).await.unwrap();
    }

    /// Tells the events of half of the refunds that the gateway made, some twice, in an order of chance.
    async fn tell(&self, moments: &mut Moments) -> BTreeSet<String> {
        let mut events: Vec<(String, String)> = Vec::new();
        for (n, made) in self.sandbox.ledger().refunds().into_iter().enumerate() {
            if n % 2 == 0 {
                events.push((made.key.clone(), made.id.to_string()));
                if n % 3 == 0 {
                    events.push((made.key, made.id.to_string()));
                }
            }
        }
        for place in (1..events.len()).rev() {
            events.swap(place, usize::try_from(moments.below(u64::try_from(place).unwrap() + 1)).unwrap());
        }
        for (key, id) in &events {
            self.store.refund_learnt(key.parse::<Key>().unwrap(), id, Utc::now_of_the_test()).await.unwrap();
        }
        events.into_iter().map(|(key, _)| key).collect()
    }

    /// The two accounts, side by side. Returns how many refunds bear each word.
    async fn reconcile(&self) -> BTreeMap<&'static str, usize> {
        let ledger = self.sandbox.ledger();
        let mut received: BTreeMap<String, u64> = BTreeMap::new();
        for call in ledger.calls().into_iter().filter(|call| call.kind == CallKind::Refund) {
            *received.entry(call.subject).or_default() += 1;
        }
        let twice: Vec<_> = received.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "reached the gateway twice: {twice:?}");
        assert!(ledger.refund_successes_by_key().values().all(|count| *count == 1), "executed twice");
        let made: BTreeMap<String, _> = ledger.refunds().into_iter().map(|made| (made.key.clone(), made)).collect();
        let captured = ledger.captured_by_payment();
        let mut given: BTreeMap<_, i64> = BTreeMap::new();
        for one in made.values() {
            *given.entry(one.payment_id.unwrap()).or_default() += one.given_back_minor;
        }
        for (payment, sum) in &given {
            assert!(*sum <= captured[payment], "{payment} gave back {sum} of {}", captured[payment]);
        }
        let mut words: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut here: BTreeMap<_, i64> = BTreeMap::new();
        let records = self.all().await;
        for RefundRecord { refund, body, .. } in &records {
            *words.entry(refund.state.word()).or_default() += 1;
            *here.entry(refund.charge).or_default() += refund.may_have_moved().minor();
            let executed = made.get(&refund.key.to_string()).map_or(0, |made| made.given_back_minor);
            assert!(executed <= refund.may_have_moved().minor(), "{executed} went back unaccounted: {refund:?}");
            match &refund.state {
                State::Refunded { .. } => assert_eq!(executed, refund.amount.minor(), "{refund:?}"),
                // In a person's queue, with the reason.
                State::Parked { .. } => assert!(body.is_some() && !refund.sentence().is_empty(), "{refund:?}"),
                State::Failed { .. } => assert_eq!(executed, 0, "{refund:?}"),
                State::Recorded { .. }
                | State::Sending { .. }
                | State::Settling { .. }
                | State::Unknown { .. }
                | State::PartlyRefunded { .. } => panic!("neither resolved nor a person's: {refund:?}"),
            }
        }
        let keys: BTreeSet<String> = records.iter().map(|one| one.refund.key.to_string()).collect();
        assert!(received.keys().all(|key| keys.contains(key)), "the gateway knows a key that the book does not");
        assert!(here.values().all(|sum| *sum <= 4_200));
        words
    }
}

/// A client that gives up sooner than a slow answer comes.
fn impatient(sandbox: &Sandbox) -> ccg::Client {
    let config = ccg::Config {
        base_url: sandbox.url(),
        token_url: sandbox.token_url(),
        client_id: sandbox::DEFAULT_CLIENT_ID.to_owned(),
        client_secret: sandbox::DEFAULT_CLIENT_SECRET.to_owned().into(),
        merchant_id: sandbox::DEFAULT_MERCHANT,
        scope_prefix: "financial/commerce/nonprodcheckout".to_owned(),
        time_limit: Duration::from_secs(4),
        connect_timeout: Duration::from_secs(1),
        ..ccg::Config::default()
    };
    drop(client(sandbox));
    ccg::Client::new(config).unwrap()
}

async fn a_thousand_lost_answers(database: &str, salt: u64) {
    let mut moments = Moments::seeded(salt);
    // 256 paid charges, 1,024 refunds: 1,000 lose their answers, the rest are turned away.
    let storm = Storm::brewed(database, 320).await;
    let recorded = storm.record().await;
    assert_eq!(recorded.len(), 1_024);
    storm.sandbox.set_faults(Faults { slow_ms: 4_600, late_commit_ms: 1_500, ..Faults::none() });
    for (n, record) in recorded.iter().enumerate() {
        let fault = if n < 1_000 { LOSSES[n % LOSSES.len()] } else { TURNED_AWAY[n % TURNED_AWAY.len()] };
        storm.sandbox.fail_next_post_of(&record.refund.key.to_string(), fault);
    }
    while storm.store.refunds_open().await.unwrap().contains_key("due") {
        storm.pass().await;
        // The first events come while senders still wait for their answers.
        storm.tell(&mut moments).await;
        storm.clock.advance(TimeDelta::minutes(5));
    }
    // What was late is made by now.
    rest(Duration::from_secs(2)).await;
    let told = storm.tell(&mut moments).await;
    for _ in 0..40 {
        storm.pass().await;
        storm.clock.advance(TimeDelta::days(1));
    }
    let words = storm.reconcile().await;
    let count = |word: &str| words.get(word).copied().unwrap_or(0);
    assert_eq!(count("failed"), 24, "{words:?}");
    assert_eq!(count("refunded") + count("outcome_unknown"), 1_000, "{words:?}");
    for record in storm.all().await {
        let heard = told.contains(&record.refund.key.to_string());
        let word = record.refund.state.word();
        assert!(!heard || word == "refunded", "heard of and not resolved: {record:?}");
        assert!(heard || word != "refunded", "resolved by nothing: {record:?}");
    }
    assert!(count("refunded") > 300 && count("outcome_unknown") > 300, "the storm tested little: {words:?}");
    storm.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_refunds_whose_answers_are_lost_are_never_doubled_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    a_thousand_lost_answers(&format!("sqlite:{}", folder.path().join("autopay.db").display()), 21).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_refunds_whose_answers_are_lost_are_never_doubled_on_postgresql() {
    let Some(database) = TestDatabase::create("the refund storm").await else { return };
    a_thousand_lost_answers(&database.url, 22).await;
}

fn sent(sandbox: &Sandbox) -> usize {
    sandbox.ledger().calls().iter().filter(|call| call.kind == CallKind::Refund).count()
}

async fn killed_a_hundred_times(database: &str, salt: u64) {
    let mut moments = Moments::seeded(salt);
    let storm = Storm::brewed(database, 400).await;
    let recorded = storm.record().await.len();
    let rate = 0.04;
    storm.sandbox.set_faults(Faults {
        rate_limited: rate,
        error_after_commit: rate,
        cut_before_commit: rate,
        cut_after_commit: rate,
        truncated_answer: rate,
        late_commit: rate,
        late_commit_ms: 300,
        get_5xx: rate,
        ..Faults::none()
    });
    let folder = tempfile::tempdir().unwrap();
    let more = "
[rate]
per_second = 90
burst = 9

[engine]
in_flight = 4
settle_wait_ms = 20

[testing]
lease_seconds = 8
quiesce_seconds = 3
ladder_seconds = [1, 2, 4, 6, 8, 10, 15, 20]
window_seconds = 3600
";
    let configuration = configuration(folder.path(), database, &storm.sandbox, more);
    let log = folder.path().join("log");
    for kill in 0..KILLS {
        let before = sent(&storm.sandbox);
        let mut process = serve(&configuration, &log);
        // Bounded: after a 429 the shared rate may keep everybody waiting.
        for _ in 0..150 {
            if sent(&storm.sandbox) > before {
                break;
            }
            rest(Duration::from_millis(10)).await;
        }
        rest(Duration::from_millis(moments.below(120))).await;
        process.kill().unwrap();
        let status = process.wait().unwrap();
        assert!(status.code().is_none(), "it ended by itself: {status}\n{}", std::fs::read_to_string(&log).unwrap());
        if kill % 10 == 0 {
            storm.tell(&mut moments).await;
        }
    }
    let met = sent(&storm.sandbox);
    assert!(met >= usize::try_from(KILLS).unwrap(), "only {met} submissions met the kills: nothing was tested");
    assert!(met < recorded, "everything was sent before the last kill");
    storm.sandbox.set_faults(Faults::none());
    let mut process = serve(&configuration, &log);
    // A bound for a process that hangs, not a measure.
    for tick in 0..2_400 {
        if tick % 40 == 0 {
            storm.tell(&mut moments).await;
        }
        let open = storm.store.refunds_open().await.unwrap();
        let unknown = storm.all().await.iter().filter(|one| one.refund.state.next_at().is_some()).count();
        if unknown == 0 {
            break;
        }
        assert!(process.try_wait().unwrap().is_none(), "it ended: {}", std::fs::read_to_string(&log).unwrap());
        assert!(tick < 2_399, "not done in time: {open:?}");
        rest(Duration::from_millis(250)).await;
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let words = storm.reconcile().await;
    assert_eq!(words.values().sum::<usize>(), recorded);
    let count = |word: &str| words.get(word).copied().unwrap_or(0);
    assert!(count("refunded") > recorded / 2, "most were never touched by a kill: {words:?}");
    storm.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_a_hundred_times_while_refunding_it_sends_each_refund_once() {
    let folder = tempfile::tempdir().unwrap();
    killed_a_hundred_times(&format!("sqlite:{}", folder.path().join("autopay.db").display()), 31).await;
}
