//! Journeys of debits that a bank takes back after they were paid: by whatever way that is learnt, they are owed again and asked for again.

use autopay::engine::RulingRefused;
use autopay::ports::people::PersonsNote;
use domain::case::{NextStep, Standing, case};
use domain::charge::{Charge, Ruling, SkipWhy, State};
use domain::recon::Kind;
use domain::verdict::DeclineClass;
use sandbox::{Behaviour, LateReturn, ReturnCode, SettlementFaults};

use crate::recon;
use crate::recon_files::{compare, file, kinds};
use crate::world::{Backend, World, bank, everywhere, plan, subscriber};

everywhere! {
    a_debit_that_is_taken_back_is_asked_for_again_however_that_is_learnt;
    a_debit_is_entered_three_times_and_then_only_written_off;
    what_the_policy_gives_up_is_taken_up_or_written_off_by_a_person;
    a_cancelled_subscription_is_not_debited_again_for_what_was_taken_back;
}

/// A debit of 15 January, paid on the 18th. A year passes before the next one.
async fn paid(backend: Backend, name: &str) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", name).await?;
    let mut switches = world.sandbox().switches();
    switches.late_return = LateReturn::Failed;
    world.sandbox().set_switches(switches);
    world.apply(&[plan("gold", "1 year", "America/New_York", "06:00", "79.00")]).await;
    let debit = bank(Behaviour::AchSettles { days: Some(1) }, 1);
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", debit)]).await;
    world.run_until("2027-01-18T12:00:00Z").await;
    assert_eq!(one(&world).await.state.word(), "paid");
    Some(world)
}

async fn one(world: &World) -> Charge {
    world.charges_of("sub-1").await.remove(0)
}

/// The bank takes the latest payment back, and the gateway is asked until it says so.
async fn taken_back(world: &World, code: ReturnCode) -> Charge {
    let attempt = world.store.attempts(one(world).await.id).await.unwrap().pop().unwrap();
    world.sandbox().return_payment(attempt.payment_id.unwrap().parse().unwrap(), code).unwrap();
    while one(world).await.state.word() == "paid" {
        let next_at = one(world).await.state.next_at().unwrap();
        world.run_until(&next_at.to_rfc3339()).await;
        world.run().await;
    }
    let charge = one(world).await;
    assert_eq!(charge.state.word(), "returned");
    charge
}

async fn posted(world: &World) -> Vec<String> {
    assert_eq!(world.store.differences(10).await.unwrap(), []);
    let entries = world.store.entries_of(one(world).await.id).await.unwrap();
    entries.iter().map(|entry| format!("{} {}", entry.posting.posted.as_str(), entry.posting.amount.plain())).collect()
}

async fn rule(world: &World, ruling: Ruling) -> Result<Charge, RulingRefused> {
    let note = PersonsNote { by: "ann".to_owned(), action: "charge.ruled", detail: "a call".to_owned() };
    world.engine.rule(one(world).await.id, ruling, &note).await
}

async fn a_debit_that_is_taken_back_is_asked_for_again_however_that_is_learnt(backend: Backend) {
    let mut next = Vec::new();
    for way in ["a look", "a daily reconciliation", "a list of returns"] {
        let Some(world) = paid(backend, &format!("taken back, told by {way}")).await else { return };
        let attempt = world.store.attempts(one(&world).await.id).await.unwrap().remove(0);
        let (payment, key) = (attempt.payment_id.unwrap(), attempt.key);
        world.sandbox().return_payment(payment.parse().unwrap(), ReturnCode::R01).unwrap();
        match way {
            "a look" => world.run_until("2027-01-19T12:00:00Z").await,
            "a daily reconciliation" => drop(recon::compare(&world, "2027-01-15", "2027-01-15").await),
            _ => {
                let text = "entry_id,key,return_code,amount,returned_on\n";
                let (run, _, found) = compare(&world, &format!("{text},{key},R01,79.00,2027-01-18\n"), false).await;
                assert_eq!((kinds(&found), run.moved), (vec![], 1), "{way}");
            }
        }
        let back = one(&world).await;
        let Standing::Open { next_step, next_step_at } = case(&back).unwrap().standing else {
            panic!("{way}: {back:?}")
        };
        assert_eq!((back.state.word(), next_step, back.tries.declined), ("returned", NextStep::Retry, 1), "{way}");
        next.push(next_step_at.date_naive());
        assert_eq!(posted(&world).await, ["billed 79.00", "collected 79.00", "returned 79.00"], "{way}");
        assert_eq!(world.store.case_counts().await.unwrap().retrying, 1, "{way}");
        world.run_until("2027-02-10T00:00:00Z").await;
        let again = one(&world).await;
        assert_eq!((again.state.word(), again.tries.attempt), ("paid", 2), "{way}");
        let attempts = world.store.attempts(again.id).await.unwrap();
        let became: Vec<_> = attempts.iter().map(|one| (one.state.as_str(), one.class)).collect();
        assert_eq!(became, [("succeeded", Some(DeclineClass::LaterFunds)), ("succeeded", None)], "{way}");
        let all = ["billed 79.00", "collected 79.00", "returned 79.00", "collected 79.00"];
        assert_eq!(posted(&world).await, all, "{way}");
        if way == "a look" {
            let (_, _, found) = compare(&world, &file(&world, &SettlementFaults::default()), true).await;
            assert_eq!(kinds(&found), [], "two payments and one return, and none is a double");
        }
        if way == "a list of returns" {
            let paid = |place: usize, on: &str| format!("payment,,{},79.00,,,USD,{on},\n", attempts[place].key);
            let header = "type,gateway_id,key,gross,fee,net,currency,settled_on,code\n";
            let both = [header, &paid(0, "2027-01-18"), &paid(1, "2027-02-09")].concat();
            assert_eq!(kinds(&compare(&world, &both, false).await.2), [], "each is one payment, by its key alone");
            for place in [0, 1] {
                let again = [header, &paid(place, "2027-02-10")].concat();
                assert_eq!(kinds(&compare(&world, &again, false).await.2), [Kind::Duplicate], "{place}");
            }
        }
        world.balance().await;
    }
    // The look comes a day later, and the policy counts from when it was learnt.
    let [look, question, file] = next[..] else { panic!("{next:?}") };
    assert!(question == file && look > file, "one path: {next:?}");
}

async fn a_debit_is_entered_three_times_and_then_only_written_off(backend: Backend) {
    let Some(world) = paid(backend, "three entries").await else { return };
    for attempt in 2..=3 {
        let back = taken_back(&world, ReturnCode::R01).await;
        // By the policy, or by a person where its ladder has no step left: the rule of the ACH counts both.
        if back.state.next_at().is_none() {
            rule(&world, Ruling::TryNow).await.unwrap();
        }
        while one(&world).await.state.word() != "paid" {
            let next_at = one(&world).await.state.next_at().unwrap();
            world.run_until(&next_at.to_rfc3339()).await;
            world.run().await;
        }
        assert_eq!(one(&world).await.tries.attempt, attempt);
    }
    let back = taken_back(&world, ReturnCode::R01).await;
    assert_eq!((back.state.next_at(), back.tries.declined), (None, 3));
    let Err(RulingRefused::NotNow(why)) = rule(&world, Ruling::TryNow).await else { panic!("a fourth entry") };
    assert!(why.contains("ach-reinitiation"), "{why}");
    let given_up = rule(&world, Ruling::WriteOff).await.unwrap();
    assert!(matches!(given_up.state, State::Skipped { why: SkipWhy::WrittenOff, .. }));
    let mut told = posted(&world).await;
    told.sort();
    let collected = ["collected 79.00"; 3];
    let returned = ["returned 79.00"; 3];
    let all = [["billed 79.00"].as_slice(), &collected, &returned, &["written_off 79.00"]].concat();
    assert_eq!(told, all);
}

async fn what_the_policy_gives_up_is_taken_up_or_written_off_by_a_person(backend: Backend) {
    let Some(world) = paid(backend, "given up").await else { return };
    taken_back(&world, ReturnCode::R01).await;
    let stopped = rule(&world, Ruling::GiveUp { why: domain::dunning::GaveUp::Stopped }).await.unwrap();
    assert_eq!((stopped.state.word(), stopped.state.next_at()), ("returned", None));
    let taken_up = rule(&world, Ruling::TryNow).await.unwrap();
    assert_eq!(taken_up.state.next_at(), Some(world.now()));
    world.run_until("2027-02-10T00:00:00Z").await;
    assert_eq!((one(&world).await.state.word(), one(&world).await.tries.attempt), ("paid", 2));
    // The account's owner took the mandate back: nobody may debit it again, and the debt is given up.
    let revoked = taken_back(&world, ReturnCode::R07).await;
    assert_eq!(revoked.state.next_at(), None);
    assert!(matches!(rule(&world, Ruling::TryNow).await, Err(RulingRefused::NotNow(_))));
    rule(&world, Ruling::WriteOff).await.unwrap();
    assert_eq!(posted(&world).await.last().map(String::as_str), Some("written_off 79.00"));
}

async fn a_cancelled_subscription_is_not_debited_again_for_what_was_taken_back(backend: Backend) {
    let Some(world) = paid(backend, "cancelled and taken back").await else { return };
    let id = domain::id::SubscriptionId::parse("sub-1").unwrap();
    world.store.cancel(&id, "ann", world.now()).await.unwrap();
    let back = taken_back(&world, ReturnCode::R01).await;
    assert_eq!(back.state.next_at(), None);
    world.run_until("2027-03-10T00:00:00Z").await;
    assert_eq!(one(&world).await, back, "it is owed, and a person decides");
    assert_eq!(posted(&world).await, ["billed 79.00", "collected 79.00", "returned 79.00"]);
    // Cancelled after the next try was planned, it is given up by the next pass.
    let Some(world) = paid(backend, "taken back and cancelled").await else { return };
    assert!(taken_back(&world, ReturnCode::R01).await.state.next_at().is_some());
    world.store.cancel(&id, "ann", world.now()).await.unwrap();
    world.run_until("2027-03-10T00:00:00Z").await;
    let given_up = one(&world).await;
    assert_eq!((given_up.state.word(), given_up.state.next_at(), given_up.tries.attempt), ("returned", None, 1));
}
