//! Journeys of what people do about a charge: ask, decide, give its payment up.

use std::sync::Arc;

use autopay::engine::PersonRefused;
use autopay::gateway::CcgGateway;
use autopay::ports::people::{CancelReason, PersonsNote};
use chrono::TimeDelta;
use domain::charge::{Charge, ParkWhy, State};
use domain::dunning::GaveUp;
use domain::id::ChargeId;
use domain::subscription::Method;
use sandbox::{Behaviour, Faults};

use crate::world::{Backend, MERCHANT, World, bank, card, client, everywhere, plan, subscriber};

everywhere! {
    a_bank_debit_is_given_up_and_what_became_of_it_is_asked;
    a_cancel_that_the_gateway_refuses_changes_nothing;
    a_person_decides_what_the_gateway_never_said;
    the_gateways_word_goes_before_a_persons;
    what_is_not_in_doubt_is_not_decided_by_people;
}

async fn world(backend: Backend, method: Option<Method>) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", "people").await?;
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", method)]).await;
    world.turn_to("2027-01-15T11:00:00Z");
    Some(world)
}

async fn charge(world: &World) -> Charge {
    world.charges_of("sub-1").await.remove(0)
}

fn note() -> PersonsNote {
    let detail = "found paid: payout report of 22 January".to_owned();
    PersonsNote { by: "ann".to_owned(), action: "charge.judged", detail }
}

/// A charge that was sent, and about which the gateway was silent for as long as autopay asks.
async fn given_up_on(backend: Backend) -> Option<(World, ChargeId)> {
    let mut world = world(backend, card(Behaviour::Pays, 1)).await?;
    world.may_end_unknown = true;
    world.sandbox().set_faults(Faults { cut_after_commit: 1.0, get_5xx: 1.0, ..Faults::none() });
    world.live_until("2027-01-25T00:00:00Z".parse().unwrap(), TimeDelta::hours(1)).await;
    let id = charge(&world).await.id;
    let state = charge(&world).await.state;
    assert!(matches!(state, State::Parked { why: ParkWhy::OutcomeUnknown, .. }), "{state:?}");
    Some((world, id))
}

async fn events(world: &World, id: ChargeId) -> Vec<String> {
    let timeline = world.store.timeline(id).await.unwrap();
    timeline.into_iter().map(|line| format!("{} {}", line.actor, line.event)).collect()
}

async fn a_bank_debit_is_given_up_and_what_became_of_it_is_asked(backend: Backend) {
    let Some(world) = world(backend, bank(Behaviour::AchSettles { days: Some(3) }, 1)).await else { return };
    world.run().await;
    let id = charge(&world).await.id;
    world.turn(TimeDelta::hours(1));
    let gateway = CcgGateway::new(client(world.sandbox()), MERCHANT);
    let reason = CancelReason::RequestedByCustomer;
    let answered = world.engine.cancel_at_gateway(&gateway, id, reason, "ann").await.unwrap();
    assert!(answered.said.is_some_and(|said| said.starts_with("CANCEL")));
    world.live_until("2027-01-17T00:00:00Z".parse().unwrap(), TimeDelta::hours(1)).await;
    let State::Failed { code, .. } = charge(&world).await.state else { panic!("{:?}", charge(&world).await.state) };
    assert_eq!(code, "cancelled_at_gateway");
    let events = events(&world, id).await;
    let place = |what: &str| events.iter().position(|event| event.contains(what)).unwrap();
    assert!(place("ann charge.cancel_sent") > place("charge.intent"));
    assert_eq!(world.sandbox().ledger().success_count(), 0);
    // It cannot be given up twice, nor can what is over be.
    let again = world.engine.cancel_at_gateway(&gateway, id, reason, "ann").await.unwrap_err();
    assert!(matches!(again, PersonRefused::NotSo { word: "failed", .. }), "{again}");
    world.balance().await;
}

async fn a_cancel_that_the_gateway_refuses_changes_nothing(backend: Backend) {
    let behaviour = Behaviour::CancelFails { bank: true };
    let Some(mut world) = world(backend, bank(behaviour, 1)).await else { return };
    world.may_end_unknown = true;
    world.run().await;
    let id = charge(&world).await.id;
    let gateway = CcgGateway::new(client(world.sandbox()), MERCHANT);
    world.engine.cancel_at_gateway(&gateway, id, CancelReason::Duplicate, "ann").await.unwrap();
    world.live_until("2027-01-17T00:00:00Z".parse().unwrap(), TimeDelta::hours(1)).await;
    // Cancelling failed: the gateway leaves it to people, and so do we.
    let state = charge(&world).await.state;
    assert!(matches!(state, State::Parked { why: ParkWhy::Mismatch, .. }), "{state:?}");
    world.balance().await;
}

async fn a_person_decides_what_the_gateway_never_said(backend: Backend) {
    for paid in [true, false] {
        let Some((world, id)) = given_up_on(backend).await else { return };
        let judged = world.engine.judge(id, paid, &note()).await.unwrap();
        assert_eq!(judged, world.store.charge(id).await.unwrap().unwrap());
        let expected = if paid {
            State::paid(world.now(), judged.amount)
        } else {
            let class = domain::verdict::DeclineClass::Unclassified;
            State::Failed { class, code: "judged_not_paid".to_owned(), why: GaveUp::Person, at: world.now() }
        };
        assert_eq!(judged.state, expected);
        let events = events(&world, id).await;
        assert_eq!(events.iter().filter(|event| *event == "ann charge.judged").count(), 1);
        assert!(events.iter().any(|event| event == "gateway silent (evidence only)"), "it was asked first: {events:?}");
        let attempt = world.store.attempts(id).await.unwrap().remove(0);
        assert_eq!(attempt.state, if paid { "succeeded" } else { "declined" });
        // Decided is decided.
        let again = world.engine.judge(id, !paid, &note()).await.unwrap_err();
        assert!(matches!(again, PersonRefused::NotSo { .. }), "{again}");
        world.balance().await;
    }
}

async fn the_gateways_word_goes_before_a_persons(backend: Backend) {
    let Some((world, id)) = given_up_on(backend).await else { return };
    world.sandbox().set_faults(Faults::none());
    let refused = world.engine.judge(id, false, &note()).await.unwrap_err();
    assert!(matches!(refused, PersonRefused::AnsweredInstead { word: "paid" }), "{refused}");
    assert_eq!(charge(&world).await.state.word(), "paid");
    assert!(!events(&world, id).await.contains(&"ann charge.judged".to_owned()));
    assert_eq!(world.sandbox().ledger().success_count(), 1);
    world.balance().await;
}

async fn what_is_not_in_doubt_is_not_decided_by_people(backend: Backend) {
    let Some(world) = world(backend, card(Behaviour::Pays, 1)).await else { return };
    world.run().await;
    let id = charge(&world).await.id;
    for refused in [
        world.engine.ask_about(id).await.map(|_| ()).unwrap_err(),
        world.engine.judge(id, false, &note()).await.map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(refused, PersonRefused::NotSo { word: "paid", .. }), "{refused}");
    }
    let gateway = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
    let refused = world.engine.cancel_at_gateway(&*gateway, id, CancelReason::Abandoned, "ann").await.unwrap_err();
    assert!(matches!(refused, PersonRefused::NotSo { word: "paid", .. }), "{refused}");
    let nobody = world.engine.ask_about(ChargeId(uuid::Uuid::nil())).await.unwrap_err();
    assert!(matches!(nobody, PersonRefused::NoCharge(_)));
    world.balance().await;
}
