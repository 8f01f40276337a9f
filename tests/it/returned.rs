//! Journeys of debits that a bank takes back after they were paid: by whatever way that is learnt, they are owed again and asked for again.

use autopay::engine::RulingRefused;
use autopay::ports::cases::Cases;
use autopay::ports::people::PersonsNote;
use autopay::ports::{CatalogChange, ChargeFilter};
use domain::case::{Ended, NextStep, Standing, case};
use domain::charge::{Charge, Ruling, SkipWhy, State};
use domain::dunning::{AtTheEnd, GaveUp, Policy};
use domain::id::{PolicyId, SubscriptionId};
use domain::plan::Plan;
use domain::recon::Kind;
use domain::subscription::{Subscription, SubscriptionStatus};
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
    a_return_that_is_given_up_ends_as_the_policy_says_once;
}

/// A debit of 15 January, paid on the 18th. A year passes before the next one.
pub(crate) async fn paid(backend: Backend, name: &str) -> Option<World> {
    paid_under(backend, name, None).await
}

/// The same under a policy of its own.
async fn paid_under(backend: Backend, name: &str, policy: Option<Policy>) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", name).await?;
    let mut switches = world.sandbox().switches();
    switches.late_return = LateReturn::Failed;
    world.sandbox().set_switches(switches);
    let mut spec = plan("gold", "1 year", "America/New_York", "06:00", "79.00");
    spec.collect.dunning = policy.as_ref().map(|policy| policy.id.to_string());
    let change = CatalogChange {
        plans: vec![(spec.clone(), Plan::from_spec(&spec, 0).unwrap())],
        policies: policy.into_iter().collect(),
    };
    world.store.apply(&change, "test", world.now()).await.unwrap();
    let debit = bank(Behaviour::AchSettles { days: Some(1) }, 1);
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", debit)]).await;
    world.run_until("2027-01-18T12:00:00Z").await;
    assert_eq!(one(&world).await.state.word(), "paid");
    Some(world)
}

pub(crate) async fn one(world: &World) -> Charge {
    world.charges_of("sub-1").await.remove(0)
}

/// The bank takes the latest payment back, and the gateway is asked until it says so.
pub(crate) async fn taken_back(world: &World, code: ReturnCode) -> Charge {
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

pub(crate) async fn posted(world: &World) -> Vec<String> {
    assert_eq!(world.store.differences(10).await.unwrap(), []);
    let entries = world.store.entries_of(one(world).await.id).await.unwrap();
    entries.iter().map(|entry| format!("{} {}", entry.posting.posted.as_str(), entry.posting.amount.plain())).collect()
}

pub(crate) async fn rule(world: &World, ruling: Ruling) -> Result<Charge, RulingRefused> {
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

async fn row(world: &World, name: &str) -> Subscription {
    world.store.subscription(&SubscriptionId::parse(name).unwrap()).await.unwrap().unwrap().subscription
}

async fn a_return_that_is_given_up_ends_as_the_policy_says_once(backend: Backend) {
    let ends = [
        (AtTheEnd::PauseSubscription, SubscriptionStatus::Paused, "paused"),
        (AtTheEnd::CancelSubscription, SubscriptionStatus::Cancelled, "cancelled"),
        (AtTheEnd::MarkUnpaid, SubscriptionStatus::Paused, "unpaid"),
        (AtTheEnd::KeepSubscription, SubscriptionStatus::Active, "active"),
    ];
    for (at_the_end, status, word) in ends {
        // By the rule that allows no further entry, and by a person who stops its tries.
        for (way, code, gave_up) in
            [("by rule", ReturnCode::R03, GaveUp::HardDecline), ("by a person", ReturnCode::R01, GaveUp::Stopped)]
        {
            let policy = Policy {
                id: PolicyId::parse("ends").unwrap(),
                at_the_end,
                hand_to: Some("collections".to_owned()),
                ..Policy::standard().unwrap()
            };
            let Some(world) = paid_under(backend, &format!("{way} {word}"), Some(policy)).await else { return };
            let back = taken_back(&world, code).await;
            if way == "by a person" {
                assert!(back.state.next_at().is_some());
                assert_eq!(row(&world, "sub-1").await.status, SubscriptionStatus::Active, "while it is tried");
                rule(&world, Ruling::GiveUp { why: GaveUp::Stopped }).await.unwrap();
            }
            let charge = one(&world).await;
            assert_eq!((charge.state.word(), charge.state.next_at()), ("returned", None), "{way} {word}");
            let stopped = row(&world, "sub-1").await;
            assert_eq!((stopped.status, stopped.word()), (status, word), "{way}");
            assert_eq!(stopped.amendments.unpaid, (at_the_end == AtTheEnd::MarkUnpaid).then_some(charge.id), "{way}");
            let why = case(&charge).unwrap().standing;
            let kept = matches!(why, Standing::Ended { why: Ended::Returned(Some(why)), .. } if why == gave_up);
            assert!(kept, "{way} {word}: {why:?}");
            assert!(charge.sentence().contains(gave_up.in_words()), "{}", charge.sentence());
            // It is handed over with its end, and each is told once.
            world.run_until("2027-03-10T00:00:00Z").await;
            let told = world.store.case_story(charge.id).await.unwrap();
            let ended: Vec<&str> = told
                .iter()
                .filter(|entry| entry.event == "dunning.case.ended")
                .map(|entry| entry.detail.as_str())
                .collect();
            assert_eq!(ended.last().map(|detail| detail.ends_with("; handed to collections")), Some(true), "{told:#?}");
            let ended: Vec<_> = ended.into_iter().filter(|detail| detail.starts_with("returned ")).collect();
            assert!(matches!(&*ended, [one] if one.contains(gave_up.in_words())), "{told:#?}");
            let queue = ChargeFilter {
                handed_to: Some("collections".to_owned()),
                cases: Some(Cases::Ended),
                ..ChargeFilter::default()
            };
            let handed = world.store.charges(&queue, &None, 10).await.unwrap();
            assert_eq!(handed.iter().map(|one| one.id).collect::<Vec<_>>(), [charge.id], "{way} {word}");
            rule(&world, Ruling::WriteOff).await.unwrap();
            assert_eq!(world.store.charges(&queue, &None, 10).await.unwrap(), [], "what is given up is nobody's");
        }
    }
}
