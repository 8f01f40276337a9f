//! The hunter of doubles: planted ones are all found, and nothing honest is ever drafted.

use std::collections::BTreeSet;

use autopay::engine::Refunds;
use autopay::engine::recon::{Double, WantedFile};
use autopay::files::read_settlements;
use autopay::gateway::CcgGateway;
use autopay::ports::recon::{BegunRun, FileName};
use chrono::TimeDelta;
use domain::agenda::{Lift, Scope};
use domain::id::Key;
use domain::money::{Currency, Money};
use domain::refund::{Reason, Wish};
use domain::subscription::Method;
use sandbox::{Behaviour, DeclineCode, Fault, LateReturn, ReturnCode, SettlementFaults};
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;

use crate::recon::{compare, reconciler};
use crate::world::{Backend, MERCHANT, World, at, bank, card, client, day, everywhere, plan, subscriber};

everywhere! {
    a_gateway_that_charges_one_key_twice_is_found_by_the_file_and_held;
    a_double_of_a_payment_that_the_bank_took_back_is_found_and_held;
    an_attempt_that_the_book_does_not_know_is_a_double_of_the_one_that_paid;
    every_planted_double_is_found_and_nothing_honest_is_drafted;
}

async fn doubles(world: &World) -> Vec<Double> {
    reconciler(world).doubles(&CancellationToken::new()).await.unwrap()
}

/// Compares the sandbox's own ledger as a file.
async fn compare_file(world: &World, faults: &SettlementFaults) {
    let text = world.sandbox().ledger().settlement_file(day("2027-01-01"), day("2027-12-31"), faults);
    let rows = read_settlements("file.csv", text.as_bytes(), None, day("2028-12-31")).unwrap();
    let sha256 = hex::encode(sha2::Sha256::digest(text.as_bytes()));
    let file = FileName { name: "file.csv".to_owned(), sha256 };
    let wanted = WantedFile { file, span: None, complete: false, by: "ann".to_owned() };
    let reconciler = reconciler(world);
    let BegunRun::New(run) = reconciler.begin_file(&wanted, &rows).await.unwrap() else { panic!("compared before") };
    let (_, sums) = reconciler.carry_on_file(run.id, &rows, &CancellationToken::new()).await.unwrap();
    assert!(sums.values().all(|sum| sum.residue() == 0));
}

/// Somebody charges under a key of ours without us.
pub(crate) async fn charge_behind_our_back(world: &World, subscription: &str, cycle: u32, attempt: u16, minor: i64) {
    let id = domain::id::SubscriptionId::parse(subscription).unwrap();
    let key = Key::of(&world.engine.settings().environment, MERCHANT, &id, cycle, attempt);
    let customer = ccg::Customer { enterprise_id: Some("1001".to_owned()), ..ccg::Customer::default() };
    let method = sandbox::method_id(Behaviour::Pays, 99);
    let mut payment = ccg::CreatePayment::sale(key.to_string(), minor, method, customer);
    payment.currency_code = Some("USD".to_owned());
    (payment.authorize_card, payment.partial_authorization) = (Some(false), Some(false));
    client(world.sandbox()).create_payment(&payment.freeze().unwrap()).await.unwrap();
    world.turn(TimeDelta::seconds(1));
}

async fn world(backend: Backend, test: &str, methods: &[Option<Method>]) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", test).await?;
    let mut gym = plan("gym", "1 month", "America/New_York", "06:00", "79.00");
    gym.collect.consolidate = Some("customer_and_day".to_owned());
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00"), gym]).await;
    let rows = methods
        .iter()
        .zip(1..)
        .map(|(method, n)| subscriber(&format!("sub-{n}"), "gold", "2027-01-15", method.clone()));
    world.enrol(rows.collect()).await;
    world.turn_to("2027-01-15T11:00:00Z");
    Some(world)
}

async fn a_gateway_that_charges_one_key_twice_is_found_by_the_file_and_held(backend: Backend) {
    let methods = [card(Behaviour::Pays, 1)];
    let Some(world) = world(backend, "one key twice", &methods).await else { return };
    world.sandbox().fail_next_post(Fault::DuplicateCharge);
    assert_eq!(world.run().await.paid, 1);
    assert_eq!(world.sandbox().ledger().success_count(), 2);
    world.turn(TimeDelta::hours(2));
    // A look-up by key answers with one payment: only the file tells of two.
    compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(doubles(&world).await, []);
    compare_file(&world, &SettlementFaults::default()).await;
    let found = doubles(&world).await;
    assert_eq!(found.len(), 1, "{found:?}");
    let charge = world.charges_of("sub-1").await[0].id;
    let draft = found[0].draft.as_ref().unwrap();
    assert_eq!((draft.charge, draft.amount), (charge, Money::new(7_900, Currency::USD)));
    assert_eq!(
        draft.command,
        format!("autopay charges refund {charge} --amount 79.00 --reason \"charged twice\" --confirm 79.00")
    );
    assert_eq!((world.sandbox().ledger().refunds().len(), world.store.refunds_of(charge).await.unwrap().len()), (0, 0));
    let holds = world.store.holds().await.unwrap();
    assert_eq!(holds.len(), 1);
    assert_eq!((&holds[0].scope, &holds[0].lift), (&Scope::Merchant(MERCHANT), &Lift::TwoPeople { first: None }));
    world.turn_to("2027-02-16T12:00:00Z");
    assert_eq!(world.run().await.sent, 0, "nothing more is sent to a gateway that doubles");
}

async fn a_double_of_a_payment_that_the_bank_took_back_is_found_and_held(backend: Backend) {
    let methods = [bank(Behaviour::AchSettles { days: Some(1) }, 1)];
    let Some(world) = world(backend, "a double of what was returned", &methods).await else { return };
    let mut switches = world.sandbox().switches();
    switches.late_return = LateReturn::Failed;
    world.sandbox().set_switches(switches);
    world.sandbox().fail_next_post(Fault::DuplicateCharge);
    world.run_until("2027-01-18T12:00:00Z").await;
    let charge = world.charges_of("sub-1").await[0].id;
    let booked = world.store.attempts(charge).await.unwrap().remove(0).payment_id.unwrap();
    world.sandbox().return_payment(booked.parse().unwrap(), ReturnCode::R01).unwrap();
    compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "returned");
    compare_file(&world, &SettlementFaults::default()).await;
    let found = doubles(&world).await;
    assert_eq!((found.len(), found[0].draft.is_none()), (1, true), "one is left of the two: {found:?}");
    let holds = world.store.holds().await.unwrap();
    assert!(holds.iter().any(|hold| hold.scope == Scope::Merchant(MERCHANT)), "{holds:?}");
}

async fn an_attempt_that_the_book_does_not_know_is_a_double_of_the_one_that_paid(backend: Backend) {
    let Some(world) = world(backend, "an unknown attempt", &[card(Behaviour::Pays, 1)]).await else { return };
    assert_eq!(world.run().await.paid, 1);
    charge_behind_our_back(&world, "sub-1", 0, 2, 7_900).await;
    let (_, sums, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!((found.len(), sums[&Currency::USD].listed, sums[&Currency::USD].residue()), (1, 7_900, 0));
    let found = doubles(&world).await;
    assert!(found[0].draft.is_some(), "{found:?}");
    assert_eq!(world.store.holds().await.unwrap(), [], "not one key: nothing says that the gateway does it by itself");
    // Once it was given back nothing is left to draft.
    let refunds =
        Refunds::new(world.engine.clone(), std::sync::Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)));
    let charge = world.charges_of("sub-1").await[0].id;
    refunds.record(charge, &Wish::all(Reason::parse("charged twice").unwrap()), "ann").await.unwrap();
    refunds.run_once_until(CancellationToken::new()).await.unwrap();
    let found = doubles(&world).await;
    assert_eq!((found.len(), found[0].draft.is_none()), (1, true), "{found:?}");
}

/// A small generator: the same lives from the same seed.
fn drawn(seed: u64, n: u64, of: u64) -> u64 {
    let digest = sha2::Sha256::digest(format!("{seed} {n}"));
    u64::from(digest[0]) % of
}

async fn every_planted_double_is_found_and_nothing_honest_is_drafted(backend: Backend) {
    let seeds = if backend == Backend::Memory { 12 } else { 2 };
    for seed in 0..seeds {
        let declines = Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds };
        let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "many lives").await else { return };
        let mut gym = plan("gym", "1 month", "America/New_York", "06:00", "79.00");
        gym.collect.consolidate = Some("customer_and_day".to_owned());
        world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00"), gym]).await;
        // All are one customer's, of one amount and one day. Every third pair is paid together.
        let mut rows = Vec::new();
        for n in 0..12 {
            let (name, together) = (format!("sub-{n}"), n >= 9);
            let behaviour = if !together && drawn(seed, n, 3) == 0 { declines } else { Behaviour::Pays };
            let method = card(behaviour, if together { 50 } else { n + 1 });
            rows.push(subscriber(&name, if together { "gym" } else { "gold" }, "2027-01-15", method));
        }
        world.enrol(rows).await;
        world.run_until("2027-02-10T00:00:00Z").await;
        let charges = world.charges().await;
        let mut planted = BTreeSet::new();
        for n in 0..12_u64 {
            let name = format!("sub-{n}");
            let charge = charges.iter().find(|charge| charge.subscription.as_str() == name).unwrap();
            let carried = charge.state.word() == "skipped";
            match drawn(seed, 100 + n, 4) {
                0 => {
                    // Of a part that another charge collects, it is the collector that gives back.
                    let attempt = if carried { 1 } else { charge.tries.attempt + 1 };
                    charge_behind_our_back(&world, &name, 0, attempt, 7_900).await;
                    let by = world.store.paid_together(&[charge.id]).await.unwrap();
                    let by = by.iter().map(|one| one.by).find(|_| carried).unwrap_or(charge.id);
                    planted.insert((by, name));
                }
                // An honest refund, and the next cycle's charge of the same amount.
                1 if n < 9 => {
                    let gateway = std::sync::Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
                    let refunds = Refunds::new(world.engine.clone(), gateway);
                    refunds
                        .record(charge.id, &Wish::all(Reason::parse("goods came back").unwrap()), "ann")
                        .await
                        .unwrap();
                    refunds.run_once_until(CancellationToken::new()).await.unwrap();
                }
                _ => {}
            }
        }
        world.turn(at("2027-02-11T00:00:00Z") - world.now());
        compare(&world, "2027-01-15", "2027-01-15").await;
        compare_file(&world, &SettlementFaults { double: 0.3, drop: 0.1, seed, ..SettlementFaults::default() }).await;
        let found = doubles(&world).await;
        let others: BTreeSet<&String> = found.iter().map(|double| &double.other).collect();
        assert_eq!((found.len(), others.len()), (planted.len(), planted.len()), "seed {seed}: {found:#?}\n{planted:?}");
        let named: Vec<_> = found.iter().map(|double| double.charge).collect();
        for (charge, name) in &planted {
            assert!(named.contains(charge), "seed {seed}: {name} was charged twice and not found");
        }
        for draft in found.iter().filter_map(|double| double.draft.as_ref()) {
            assert!(planted.iter().any(|(charge, _)| *charge == draft.charge), "seed {seed}: a false draft {draft:?}");
        }
        assert!(found.iter().all(|double| double.draft.is_some()), "seed {seed}: {found:#?}");
    }
}
