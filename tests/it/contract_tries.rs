//! The contract of what networks count: one suite, told of the map, of SQLite and of PostgreSQL; and two replicas on one instrument.

use std::collections::BTreeSet;

use autopay::ports::{Committed, IntentBatch, Store};
use chrono::{DateTime, TimeDelta, Utc};
use domain::charge::State;
use domain::elsewhere::TriedElsewhere;
use domain::id::{ChargeId, PaymentMethodId, Purpose, SubscriptionId};
use domain::money::{Currency, Money};
use domain::rules::{Outcome, Permit};
use domain::verdict::DeclineClass;
use sandbox::Behaviour;
use sea_orm::{ConnectionTrait as _, Statement};

use crate::contract_store::{Bench, bench, due, id};
use crate::postgres::TestDatabase;
use crate::world::{Backend, Keep, MERCHANT, at, bank, database_store, everywhere};

everywhere! {
    a_try_made_elsewhere_counts_like_one_made_here;
    a_try_is_kept_once_and_never_changed;
    what_nobody_remembers_of_an_instrument_is_what_is_old_and_was_not_final;
    a_batch_records_no_more_tries_of_an_instrument_than_are_left;
    both_instruments_of_a_pair_are_counted;
    a_retry_that_is_one_too_many_stays_due;
    debits_and_their_returns_are_counted_by_code;
}

const FUNDS: Outcome = Outcome::Declined(DeclineClass::LaterFunds);

fn instrument(n: u128) -> PaymentMethodId {
    PaymentMethodId(uuid::Uuid::from_u128(n))
}

fn tried(reference: &str, method: PaymentMethodId, moment: DateTime<Utc>, became: Outcome) -> TriedElsewhere {
    TriedElsewhere {
        merchant: MERCHANT,
        reference: reference.to_owned(),
        method,
        at: moment,
        became,
        code: Some("insufficient_funds".to_owned()),
        amount: Money::new(7_900, Currency::USD),
        cycle: None,
    }
}

/// So many tries of an instrument an hour ago.
fn declined(count: usize, method: PaymentMethodId, now: DateTime<Utc>) -> Vec<TriedElsewhere> {
    let one = |n| tried(&format!("{}-{n}", method.0), method, now - TimeDelta::hours(1), FUNDS);
    (0..count).map(one).collect()
}

async fn permit(store: &dyn Store, method: PaymentMethodId, now: DateTime<Utc>) -> Permit {
    store.wallet(&[method]).await.unwrap().remove(&method).map_or(Permit::FREE, |known| known.permit(now))
}

/// The batch of these subscriptions, each of which tries this instrument.
async fn batch_on(b: &Bench, names: &[String], method: PaymentMethodId) -> IntentBatch {
    let rows: Vec<_> = names.iter().map(|name| due(name, b.now())).collect();
    b.import(&rows).await;
    let mut batch = b.batch(&b.claim(1_000).await).await;
    for new in &mut batch.new {
        new.intent.as_mut().unwrap().method = method;
    }
    batch
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n:02}")).collect()
}

fn recorded(committed: Committed) -> (BTreeSet<SubscriptionId>, usize) {
    match committed {
        Committed::Recorded { intents, lost } => {
            (intents.iter().map(|one| one.charge.subscription.clone()).collect(), lost)
        }
        other @ (Committed::HoldsChanged | Committed::DayIsFull) => panic!("{other:?}"),
    }
}

async fn a_try_made_elsewhere_counts_like_one_made_here(backend: Backend) {
    let Some(b) = bench(backend, "tries elsewhere").await else { return };
    let card = instrument(9);
    assert_eq!(b.store.keep_tries(&declined(9, card, b.now()), "test", b.now()).await.unwrap(), 9);
    assert_eq!(permit(&*b.store, card, b.now()).await, Permit::Tries { left: Some(1) });
    let never = tried("stolen", card, b.now() - TimeDelta::days(400), Outcome::Declined(DeclineClass::Never));
    b.store.keep_tries(&[never], "test", b.now()).await.unwrap();
    assert!(matches!(permit(&*b.store, card, b.now()).await, Permit::Never { .. }), "whenever that was");
    // A try of a cycle stands among the tries of its charge; one of no cycle among nobody's.
    let other = instrument(10);
    let of_cycle = TriedElsewhere {
        cycle: Some((id("sub-1"), 4)),
        ..tried("entry", other, b.now() - TimeDelta::days(2), Outcome::Returned(DeclineClass::LaterFunds))
    };
    let known = TriedElsewhere::clone(&of_cycle);
    b.store.keep_tries(&[of_cycle], "test", b.now()).await.unwrap();
    let wallet = b.store.wallet(&[other]).await.unwrap();
    let charge = ChargeId::of(MERCHANT, &id("sub-1"), 4, Purpose::Cycle);
    assert_eq!(wallet[&other].tried, [known.tried()]);
    assert_eq!(known.tried().charge, charge);
}

async fn a_try_is_kept_once_and_never_changed(backend: Backend) {
    let Some(b) = bench(backend, "tries once").await else { return };
    let card = instrument(9);
    let first = tried("T-1", card, b.now() - TimeDelta::hours(3), FUNDS);
    let other = tried("T-2", card, b.now() - TimeDelta::hours(2), Outcome::Open);
    assert_eq!(b.store.keep_tries(std::slice::from_ref(&first), "test", b.now()).await.unwrap(), 1);
    let twice = TriedElsewhere { amount: Money::new(1, Currency::USD), ..first.clone() };
    assert_eq!(b.store.keep_tries(&[twice, other.clone()], "test", b.now()).await.unwrap(), 1);
    assert_eq!(b.store.keep_tries(&[], "test", b.now()).await.unwrap(), 0);
    assert_eq!(b.store.tries_elsewhere(card, 10).await.unwrap(), [other.clone(), first.clone()], "the latest first");
    assert_eq!(b.store.tries_elsewhere(card, 1).await.unwrap(), [other]);
    let references = ["T-1".to_owned(), "T-3".to_owned()];
    assert_eq!(b.store.tries_known(MERCHANT, &references).await.unwrap(), [first]);
    if backend == Backend::Memory {
        return;
    }
    let database = b.database().await;
    for sql in ["UPDATE try_elsewhere SET amount_minor = 1", "DELETE FROM try_elsewhere"] {
        let refused = database.execute_raw(Statement::from_string(database.get_database_backend(), sql)).await;
        assert!(refused.unwrap_err().to_string().contains("written and never changed"), "{sql}");
    }
}

async fn what_nobody_remembers_of_an_instrument_is_what_is_old_and_was_not_final(backend: Backend) {
    let Some(b) = bench(backend, "tries of old").await else { return };
    let card = instrument(9);
    let old = tried("old", card, b.now() - TimeDelta::days(181), FUNDS);
    let late = tried("late", card, b.now() - TimeDelta::days(179), FUNDS);
    b.store.keep_tries(&[old, late.clone()], "test", b.now()).await.unwrap();
    assert_eq!(b.store.wallet(&[card]).await.unwrap()[&card].tried, [late.tried()]);
}

async fn a_batch_records_no_more_tries_of_an_instrument_than_are_left(backend: Backend) {
    let Some(b) = bench(backend, "tries left").await else { return };
    let (card, fresh) = (instrument(9), instrument(10));
    let mut batch = batch_on(&b, &names("s", 4), card).await;
    batch.new[3].intent.as_mut().unwrap().method = fresh;
    // Drawn while ten were left; by now eight were made, by somebody else.
    b.store.keep_tries(&declined(8, card, b.now()), "test", b.now()).await.unwrap();
    let (sent, lost) = recorded(b.store.commit_intents(batch).await.unwrap());
    assert_eq!(sent, BTreeSet::from([id("s-00"), id("s-01"), id("s-03")]), "in the order of the batch");
    assert_eq!(lost, 2, "the charge that is one too many, and its subscription's advance");
    let left = b.store.subscription(&id("s-02")).await.unwrap().unwrap().subscription;
    assert_eq!((left.next_cycle, left.next_due_at), (0, Some(b.now())), "it stays due");
    assert!(b.claim(10).await.is_empty(), "and is not claimed again at this very moment");
    b.clock.advance(TimeDelta::seconds(2));
    let claims = b.claim(10).await;
    assert_eq!(claims.iter().map(|claim| claim.value.id.clone()).collect::<Vec<_>>(), [id("s-02")]);
    // Nothing is left of it for a day.
    let mut batch = b.batch(&claims).await;
    batch.new[0].intent.as_mut().unwrap().method = card;
    assert_eq!(recorded(b.store.commit_intents(batch).await.unwrap()), (BTreeSet::new(), 2));
}

async fn both_instruments_of_a_pair_are_counted(backend: Backend) {
    let Some(b) = bench(backend, "tries of pairs").await else { return };
    let (first, second) = (instrument(9), instrument(10));
    b.store.keep_tries(&declined(9, second, b.now()), "test", b.now()).await.unwrap();
    let mut batch = batch_on(&b, &names("s", 2), first).await;
    for new in &mut batch.new {
        new.intent.as_mut().unwrap().second = Some(second);
    }
    let (sent, lost) = recorded(b.store.commit_intents(batch).await.unwrap());
    assert_eq!((sent, lost), (BTreeSet::from([id("s-00")]), 2), "one try of the second is left");
    let charge = ChargeId::of(MERCHANT, &id("s-00"), 0, Purpose::Cycle);
    assert_eq!(b.store.attempts(charge).await.unwrap()[0].second, Some(second));
    for method in [first, second] {
        let wallet = b.store.wallet(&[method]).await.unwrap();
        let open = wallet[&method].tried.iter().filter(|one| one.outcome == Outcome::Open).count();
        assert_eq!(open, 1);
    }
}

async fn a_retry_that_is_one_too_many_stays_due(backend: Backend) {
    let Some(b) = bench(backend, "retries left").await else { return };
    let begun = b.one("s").await;
    let next_at = b.now() + TimeDelta::hours(1);
    let failing = State::Failing { class: DeclineClass::LaterFunds, code: "insufficient_funds".to_owned(), next_at };
    b.become_(&begun.charge, begun.fence, failing, None).await;
    b.clock.advance(TimeDelta::hours(1));
    let claim = b.claim_open(10).await.remove(0);
    let charge = claim.value.open.charge.clone();
    let moved = charge.step(domain::charge::Event::Send { attempt: 2 }, b.now(), &domain::charge::Limits::default());
    let moved = moved.unwrap();
    let intent = domain::attempt::Intent {
        number: 2,
        key: domain::id::Key(uuid::Uuid::from_u128(77)),
        at: b.now(),
        ..begun.value().clone()
    };
    let retry =
        autopay::ports::MovedCharge { charge: moved, fence: claim.fence, new_attempt: Some(intent), again: None };
    let batch =
        |moved| IntentBatch { at: b.now(), holds_seen: vec![], advances: vec![], new: vec![], moved, day: None };
    // Nine were made elsewhere since this one was drawn.
    b.store.keep_tries(&declined(9, begun.value().method, b.now()), "test", b.now()).await.unwrap();
    let done = b.store.commit_intents(batch(vec![retry.clone()])).await.unwrap();
    assert_eq!(recorded(done), (BTreeSet::new(), 1));
    assert!(matches!(b.charge(begun.charge.id).await.state, State::Failing { .. }));
    // A day later those nine count no longer.
    b.clock.advance(TimeDelta::hours(24));
    let claim = b.claim_open(10).await.remove(0);
    let retry = autopay::ports::MovedCharge { fence: claim.fence, ..retry };
    assert_eq!(recorded(b.store.commit_intents(batch(vec![retry])).await.unwrap()).1, 0);
}

async fn debits_and_their_returns_are_counted_by_code(backend: Backend) {
    let Some(b) = bench(backend, "returns by code").await else { return };
    let account = bank(Behaviour::Pays, 2).unwrap();
    let rows = ["a", "b", "c", "d"].map(|name| {
        let mut row = due(name, b.now());
        row.method = (name != "d").then(|| account.clone()).or(row.method);
        row
    });
    b.import(&rows).await;
    let mut batch = b.batch(&b.claim(10).await).await;
    for (new, row) in batch.new.iter_mut().zip(&rows) {
        new.intent.as_mut().unwrap().method = row.method.as_ref().unwrap().id;
    }
    let Committed::Recorded { intents, .. } = b.store.commit_intents(batch).await.unwrap() else { panic!() };
    for (intent, code) in intents.iter().zip(["R10", "processing_error", "open", "R01"]) {
        let (class, code, why) = (DeclineClass::LaterFunds, code.to_owned(), domain::dunning::GaveUp::LadderSpent);
        if code != "open" {
            let failed = State::Failed { class, code, why, at: b.now() };
            b.become_(&intent.charge, intent.fence, failed, None).await;
        }
    }
    let entered = b.store.entered(MERCHANT, b.now() - TimeDelta::days(60)).await.unwrap();
    assert_eq!(
        (entered.entries, entered.returned),
        (3, std::collections::BTreeMap::from([("R10".to_owned(), 1)])),
        "the fourth is a card, and what a gateway declines is no return"
    );
    let later = b.store.entered(MERCHANT, b.now() + TimeDelta::days(1)).await.unwrap();
    assert_eq!(later, domain::rules::returns::Entered::default());
}

/// Rounds in which two replicas commit at once.
const ROUNDS: u128 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_replicas_never_use_the_same_remaining_try_twice() {
    let Some(database) = TestDatabase::create("tries of two replicas").await else { return };
    let clock = std::sync::Arc::new(autopay::clock::TurnedClock::new(at("2027-01-15T11:00:00Z")));
    let store = database_store(&database.url, clock.clone()).await;
    let other = database_store(&database.url, clock.clone()).await;
    let b = Bench::around(Backend::Postgres, clock, (store.clone(), Keep::Nothing, database.url.clone()));
    let mut raced = 0;
    for round in 0..ROUNDS {
        // Two cards, shared by all; four tries are left of the first, three of the second.
        let (card, second) = (instrument(1_000 + round), instrument(2_000 + round));
        store.keep_tries(&declined(6, card, b.now()), "test", b.now()).await.unwrap();
        store.keep_tries(&declined(7, second, b.now()), "test", b.now()).await.unwrap();
        let batch = |mut batch: IntentBatch, order: bool| {
            for (place, new) in batch.new.iter_mut().enumerate() {
                let intent = new.intent.as_mut().unwrap();
                // Each replica names the pair the other way round: locks are taken in the order of ids all the same.
                let pair = if order { (card, second) } else { (second, card) };
                (intent.method, intent.second) = if place == 0 { (pair.0, Some(pair.1)) } else { (card, None) };
            }
            batch
        };
        let left = batch(batch_on(&b, &names(&format!("a{round}"), 3), card).await, true);
        let right = batch(batch_on(&b, &names(&format!("b{round}"), 3), card).await, false);
        let (one, two) = (store.clone(), other.clone());
        let (one, two) = tokio::join!(
            tokio::spawn(async move { one.commit_intents(left).await }),
            tokio::spawn(async move { two.commit_intents(right).await })
        );
        let (one, two) = (recorded(one.unwrap().unwrap()), recorded(two.unwrap().unwrap()));
        let wallet = store.wallet(&[card, second]).await.unwrap();
        assert_eq!(one.0.len() + two.0.len(), 4, "what is left is used, once: {one:?} {two:?}");
        assert_eq!(wallet[&card].tried.len(), 10);
        assert!(wallet[&second].tried.len() <= 9, "three are left of it, and two pairs were drawn");
        raced += usize::from(!one.0.is_empty() && !two.0.is_empty());
        // What was left out is in nobody's way later.
        let waiting: Vec<_> = one.0.union(&two.0).cloned().collect();
        for name in names(&format!("a{round}"), 3).iter().chain(&names(&format!("b{round}"), 3)) {
            if !waiting.contains(&id(name)) {
                store.cancel(&id(name), "test", b.now()).await.unwrap();
            }
        }
    }
    assert!(raced > 0, "both had a share in some round");
}
