//! The contract of the ledger: one suite, told of the map, of SQLite and of PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::engine::Refunds;
use autopay::gateway::CcgGateway;
use autopay::ports::dispute::DisputeEvent;
use autopay::ports::ledger::{Entry, Span, trial};
use autopay::ports::webhooks::{InboxId, Subject as Named};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::TimeDelta;
use domain::charge::{Charge, SkipWhy, State};
use domain::dispute::Standing;
use domain::dunning::GaveUp;
use domain::ledger::{Account, Posted, Subject};
use domain::money::{Currency, Money};
use domain::refund::{Reason, Wish};
use domain::verdict::DeclineClass;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sandbox::{Behaviour, Options};
use sea_orm::ConnectionTrait as _;
use tokio_util::sync::CancellationToken;

use crate::contract_store::{Bench, bench, id};
use crate::webhook_support::{Ports, ports};
use crate::world::{Backend, MERCHANT, World, at, card, client, everywhere, plan, subscriber};

everywhere! {
    the_ledger_says_what_the_charges_say_whatever_they_live_through;
    money_that_goes_back_is_posted_against_what_was_collected;
    what_the_ledger_lacks_is_posted_once;
    a_return_of_what_a_dispute_withdrew_takes_the_money_once;
    entries_are_paged_without_loss_or_repetition;
}

/// The balance of each account in dollars.
async fn balances(store: &dyn autopay::ports::Store) -> BTreeMap<Account, i64> {
    let turnovers = store.turnovers(Span::default()).await.unwrap();
    let trial = trial(&turnovers, false);
    let balances = trial.into_iter().map(|((account, _, currency), sides)| {
        assert_eq!(currency, Currency::USD);
        (account, sides.balance().unwrap())
    });
    balances.collect()
}

fn of(balances: &BTreeMap<Account, i64>, account: Account) -> i64 {
    balances.get(&account).copied().unwrap_or_default()
}

/// A step that a charge of 79.00 may take from anywhere; the engine's own rules forbid most of them, and the ledger must bear all.
fn state(step: u8, now: chrono::DateTime<chrono::Utc>) -> State {
    let class = DeclineClass::LaterFunds;
    match step {
        0 => State::Unknown { since: now, asked: 1, next_at: now + TimeDelta::hours(1) },
        1 => State::paid(now, Money::new(7_900, Currency::USD)),
        2 => State::paid(now, Money::new(3_000, Currency::USD)),
        3 => State::Returned {
            class,
            code: "R01".to_owned(),
            next_at: None,
            why: Some(GaveUp::TriesSpent),
            collected: Money::new(7_900, Currency::USD),
            paid_at: now,
            at: now,
        },
        4 => State::Failing { class, code: "x".to_owned(), next_at: now + TimeDelta::hours(1) },
        5 => State::Failed { class, code: "x".to_owned(), why: GaveUp::TriesSpent, at: now },
        _ => State::Skipped { why: SkipWhy::Cancelled, at: now },
    }
}

/// What is owed and in hand of a charge by its state alone.
fn stands(charge: &Charge) -> (i64, i64) {
    match &charge.state {
        State::Paid { collected, .. } => (0, collected.minor()),
        State::Skipped { .. } => (0, 0),
        _ => (charge.amount.minor(), 0),
    }
}

async fn the_ledger_says_what_the_charges_say_whatever_they_live_through(backend: Backend) {
    let Some(b) = bench(backend, "the ledger").await else { return };
    // Lives that a charge can live: nothing follows a skip, and only what was paid whole goes back.
    let life = prop::collection::vec(0..4_u8, 0..4).prop_map(|tries| {
        let mut life: Vec<u8> = tries.into_iter().map(|n| [0, 4, 0, 5][usize::from(n)]).collect();
        if life.contains(&5) {
            life.retain(|step| *step != 5);
            life.push(5);
        }
        life
    });
    let ends = prop_oneof![Just(Vec::<u8>::new()), Just(vec![1]), Just(vec![2]), Just(vec![1, 3]), Just(vec![6])];
    let lives = prop::collection::vec((life, ends), 1..6);
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    for round in 0..6 {
        let lives = lives.new_tree(&mut runner).unwrap().current();
        for (n, (life, ends)) in lives.into_iter().enumerate() {
            let begun = b.one(&format!("r{round}-{n}")).await;
            let mut charge = begun.charge.clone();
            for step in life.iter().chain(&ends) {
                b.clock.advance(TimeDelta::seconds(1));
                charge = b.become_(&charge, begun.fence, state(*step, b.now()), None).await;
            }
        }
        assert_eq!(b.store.differences(10).await.unwrap(), []);
        let charges = b.store.charges(&autopay::ports::ChargeFilter::default(), &None, 10_000).await.unwrap();
        let (owed, in_hand) = charges.iter().map(stands).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let balances = balances(b.store.as_ref()).await;
        assert_eq!(balances.values().sum::<i64>(), 0, "{balances:?}");
        assert_eq!(of(&balances, Account::Receivable), owed, "what is open is owed");
        assert_eq!(of(&balances, Account::Clearing), in_hand, "what was collected and kept is at the gateway");
        assert_eq!(-of(&balances, Account::Revenue), owed + in_hand);
    }
}

/// A world in which four cards paid 79.00 on 15 January.
async fn paid(backend: Backend) -> Option<(World, Ports)> {
    let clock = Arc::new(TurnedClock::new(at("2027-01-10T00:00:00Z")));
    let (ports, keep, url) = ports(backend, clock.clone(), "money that goes back").await?;
    let world = World::begin_around(backend, clock, (ports.store.clone(), keep, url), Options::default()).await;
    world.apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00")]).await;
    let rows = ["a", "b", "c", "d"].map(|who| subscriber(who, "gold", "2027-01-15", card(Behaviour::Pays, 1)));
    world.enrol(rows.into()).await;
    world.turn_to("2027-01-15T11:00:00Z");
    assert_eq!(world.run().await.paid, 4);
    Some((world, ports))
}

fn told(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| format!("{} {}", entry.posting.posted.as_str(), entry.posting.amount.plain())).collect()
}

async fn money_that_goes_back_is_posted_against_what_was_collected(backend: Backend) {
    let Some((world, ports)) = paid(backend).await else { return };
    let charge = async |who: &str| world.charges_of(who).await.remove(0);
    let refunds = Refunds::new(world.engine.clone(), Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)));
    let wish = |minor| Wish {
        amount: Some(Money::new(minor, Currency::USD)),
        ..Wish::all(Reason::parse("came back").unwrap())
    };
    refunds.record(charge("a").await.id, &wish(1_000), "ann").await.unwrap();
    assert_eq!(told(&world.store.entries_of(charge("a").await.id).await.unwrap()), ["billed 79.00", "collected 79.00"]);
    world.turn_to("2027-01-16T00:00:00Z");
    assert_eq!(refunds.run_once_until(CancellationToken::new()).await.unwrap().refunded, 1);
    let mut delivery = 0;
    let mut dispute = async |who: &str, name: &str, claim: Option<i64>, standing: Standing| {
        delivery += 1;
        let key = world.store.attempts(charge(who).await.id).await.unwrap()[0].key;
        let event = DisputeEvent {
            gateway_id: name.to_owned(),
            subject: Named { key: Some(key), payment_id: None },
            allocation_id: None,
            amount_minor: claim,
            currency: claim.map(|_| "USD".to_owned()),
            reason: None,
            name: "DISPUTE".to_owned(),
            status: None,
            standing,
        };
        world.clock.advance(TimeDelta::seconds(1));
        let delivery = InboxId(uuid::Uuid::from_u128(delivery));
        ports.disputes.record_dispute(MERCHANT, &event, delivery, world.now()).await.unwrap().unwrap();
        assert_eq!(world.store.differences(10).await.unwrap(), []);
    };
    dispute("a", "1", None, Standing::Open).await;
    dispute("a", "1", None, Standing::UnderReview).await;
    dispute("a", "1", None, Standing::Lost).await;
    dispute("b", "2", Some(5_000), Standing::Open).await;
    dispute("b", "3", Some(5_000), Standing::Open).await;
    dispute("b", "2", None, Standing::Won).await;
    dispute("c", "4", None, Standing::Won).await;
    // The second finds nothing there until the first gives it back.
    dispute("d", "5", None, Standing::Open).await;
    dispute("d", "6", Some(5_000), Standing::Open).await;
    dispute("d", "5", None, Standing::Won).await;
    let entries = async |who: &str| told(&world.store.entries_of(charge(who).await.id).await.unwrap());
    let of_a = ["billed 79.00", "collected 79.00", "refunded 10.00", "disputed 69.00", "dispute_lost 69.00"];
    assert_eq!(entries("a").await, of_a, "all that was there is what the refund had left");
    let of_b = ["billed 79.00", "collected 79.00", "disputed 50.00", "disputed 29.00", "dispute_won 50.00"];
    assert_eq!(entries("b").await, of_b, "never more than was there");
    assert_eq!(entries("c").await, ["billed 79.00", "collected 79.00"]);
    let mut of_d = entries("d").await;
    of_d.sort_unstable();
    assert_eq!(of_d, ["billed 79.00", "collected 79.00", "dispute_won 79.00", "disputed 50.00", "disputed 79.00"]);
    let balances = balances(world.store.as_ref()).await;
    let expected = [
        (Account::Receivable, 0),
        (Account::Clearing, 4 * 7_900 - 1_000 - 6_900 - 2_900 - 5_000),
        (Account::Revenue, -4 * 7_900),
        (Account::Refunds, 1_000),
        (Account::Disputes, 2_900 + 5_000),
        (Account::DisputeLosses, 6_900),
    ];
    assert_eq!(balances, BTreeMap::from(expected));
    // The gateway's own books: what it collected, less what it gave back.
    let collected: i64 = world.sandbox().ledger().successes().map(|success| success.amount_minor).sum();
    assert_eq!(collected - 1_000, of(&balances, Account::Clearing) + 6_900 + 2_900 + 5_000);
    world.balance().await;
}

async fn what_the_ledger_lacks_is_posted_once(backend: Backend) {
    let Some((world, _)) = paid(backend).await else { return };
    let mend = async || {
        let (mut after, mut added) = (None, 0);
        loop {
            let done = world.store.mend_ledger(after, 2, world.now(), ("ann", "an upgrade")).await.unwrap();
            assert_eq!(done.unreadable, 0);
            (after, added) = (done.next, added + done.added);
            if after.is_none() {
                return added;
            }
        }
    };
    assert_eq!(mend().await, 0, "nothing is missing");
    if backend == Backend::Memory {
        return;
    }
    // A book from before there was a ledger: of one charge nothing is posted, of another only that it was collected.
    let lost = [world.charges_of("a").await.remove(0).id, world.charges_of("b").await.remove(0).id];
    let database = open(&DatabaseUrl::parse(world.url()).unwrap(), Pool::engine(2)).await.unwrap();
    let run = async |sql: &str| database.execute_unprepared(sql).await;
    for refused in ["UPDATE ledger_entry SET amount_minor = 1", "DELETE FROM ledger_entry"] {
        assert!(run(refused).await.unwrap_err().to_string().contains("never changed"), "{refused}");
    }
    let (off, on) = match backend {
        Backend::Postgres => (
            "ALTER TABLE ledger_entry DISABLE TRIGGER ledger_entry_kept",
            "ALTER TABLE ledger_entry ENABLE TRIGGER ledger_entry_kept",
        ),
        _ => ("DROP TRIGGER ledger_entry_stays", "SELECT 1"),
    };
    run(off).await.unwrap();
    let blob = |id: uuid::Uuid| match backend {
        Backend::Postgres => format!("'{id}'"),
        _ => format!("x'{}'", id.simple()),
    };
    run(&format!("DELETE FROM ledger_entry WHERE subject_id = {}", blob(lost[0].0))).await.unwrap();
    run(&format!("DELETE FROM ledger_entry WHERE posted = 'billed' AND subject_id = {}", blob(lost[1].0)))
        .await
        .unwrap();
    run(on).await.unwrap();
    let differs = world.store.differences(10).await.unwrap();
    let mut named: Vec<(Subject, &str, i64, i64)> =
        differs.iter().map(|one| (one.subject, one.what, one.stands, one.posted)).collect();
    named.sort();
    let mut expected = vec![
        (Subject::Charge(lost[0]), "billed", 7_900, 0),
        (Subject::Charge(lost[0]), "collected", 7_900, 0),
        (Subject::Charge(lost[1]), "billed", 7_900, 0),
    ];
    expected.sort();
    assert_eq!(named, expected, "the culprits are named");
    assert_eq!((mend().await, mend().await), (3, 0));
    world.balance().await;
}

async fn entries_are_paged_without_loss_or_repetition(backend: Backend) {
    let Some(b) = bench(backend, "pages of the ledger").await else { return };
    b.seed(&["a", "b", "c", "d", "e"]).await;
    let begun = b.begin().await;
    b.clock.advance(TimeDelta::days(1));
    for one in &begun {
        b.become_(&one.charge, one.fence, state(1, b.now()), None).await;
    }
    let all = b.store.entries(Span::default(), None, 100).await.unwrap();
    assert_eq!(all.len(), 10);
    assert!(all.is_sorted_by_key(Entry::place));
    let mut paged: Vec<Entry> = Vec::new();
    loop {
        let after = paged.last().map(Entry::place);
        let page = b.store.entries(Span::default(), after, 3).await.unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let today = Span { from: Some(b.now()), until: None };
    let collected = b.store.entries(today, None, 100).await.unwrap();
    assert!(collected.len() == 5 && collected.iter().all(|one| one.posting.posted == Posted::Collected));
    let before = Span { from: None, until: Some(b.now()) };
    assert_eq!(b.store.turnovers(before).await.unwrap()[0].entries, 5);
    assert_eq!(b.store.entries_of(begun[0].charge.id).await.unwrap().len(), 2);
    assert_eq!(begun[0].charge.subscription, id("a"));
}

async fn a_return_of_what_a_dispute_withdrew_takes_the_money_once(backend: Backend) {
    let clock = Arc::new(TurnedClock::new(at("2027-01-15T11:00:00Z")));
    let Some((ports, keep, url)) = ports(backend, clock.clone(), "disputed and returned").await else { return };
    let b = Bench::around(backend, clock, (ports.store.clone(), keep, url));
    let begun = b.one("twice").await;
    let charge = b.become_(&begun.charge, begun.fence, state(1, b.now()), Some("p-1")).await;
    b.clock.advance(TimeDelta::days(1));
    let key = b.store.attempts(charge.id).await.unwrap()[0].key;
    let event = DisputeEvent {
        gateway_id: "d-1".to_owned(),
        subject: Named { key: Some(key), payment_id: None },
        allocation_id: None,
        amount_minor: None,
        currency: None,
        reason: None,
        name: "DISPUTE".to_owned(),
        status: None,
        standing: Standing::Open,
    };
    let delivery = InboxId(uuid::Uuid::from_u128(1));
    ports.disputes.record_dispute(MERCHANT, &event, delivery, b.now()).await.unwrap().unwrap();
    b.clock.advance(TimeDelta::days(1));
    b.become_(&charge, begun.fence, state(3, b.now()), None).await;
    assert_eq!(b.store.differences(10).await.unwrap(), []);
    let balances = balances(b.store.as_ref()).await;
    let [receivable, revenue] = [7_900, -7_900];
    let expected = [
        (Account::Receivable, receivable),
        (Account::Clearing, 0),
        (Account::Revenue, revenue),
        (Account::Disputes, 0),
    ];
    assert_eq!(balances, BTreeMap::from(expected), "it is owed once, and nothing of it is at the gateway");
    assert_eq!(b.store.mend_ledger(None, 100, b.now(), ("ann", "a look")).await.unwrap().added, 0);
}
