//! Journeys: whole stories, each with the complete list of what happened. Whatever is not listed did not happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use autopay::clock::WallClock;
use autopay::engine::{Engine, RunReport};
use autopay::gateway::CcgGateway;
use autopay::ports::{Clock as _, Gateway, Observation, Question, Recorded};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use domain::agenda::Scope;
use domain::attempt::{Body, Intent};
use domain::charge::Charge;
use domain::id::{Key, PlanId, SubscriptionId};
use domain::plan::{Plan, PlanSpec, StepSpec};
use domain::subscription::{Method, Subscription, SubscriptionStatus};
use sandbox::{Behaviour, DeclineCode, Fault, Faults, Idempotency, Options, ReturnCode};
use sea_orm::ConnectionTrait as _;

use crate::world::{
    Backend, MERCHANT, World, at, bank, card, client, database_store, everywhere, plan, settings, subscriber,
};

/// 06:00 in New York, the moment at which every story's first charge falls due.
const DUE: &str = "2027-01-15T11:00:00Z";

everywhere! {
    a_good_day;
    a_lost_answer_is_asked_about_and_found_paid;
    a_lost_request_goes_out_again_under_the_same_key_after_the_quiesce_time;
    a_decline_that_recovers_is_paid_on_day_eight;
    a_decline_that_never_does_ends_with_the_ladder_and_pauses;
    a_cancel_in_flight_runs_on_and_is_learnt;
    a_cancel_before_the_intent_sends_nothing_ever;
    a_cancel_between_two_tries_ends_the_charge;
    ten_days_of_downtime_are_caught_up_oldest_first;
    everything_waits_while_it_is_held;
    a_charge_without_a_method_waits_and_is_collected_once_there_is_one;
}

/// A world in which one subscription to a monthly plan is about to fall due.
async fn one(backend: Backend, method: Option<Method>) -> Option<World> {
    one_with(backend, method, Options::default()).await
}

async fn one_with(backend: Backend, method: Option<Method>, options: Options) -> Option<World> {
    let world = World::begin_with(backend, "2027-01-15T10:00:00Z", "a journey", options).await?;
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", method)]).await;
    world.turn_to(DUE);
    Some(world)
}

async fn live(world: &World, until: &str) {
    world.live_until(at(until), TimeDelta::minutes(5)).await;
}

/// The complete story of a subscription.
async fn told(world: &World, id: &str, expected: &[&str]) {
    let story = world.story(id).await;
    assert_eq!(story, expected, "\n{}\n", story.iter().map(|line| format!("{line:?},")).collect::<Vec<_>>().join("\n"));
}

/// Due date, amount and word of every charge of a subscription.
async fn summary(world: &World, id: &str) -> Vec<String> {
    let charges = world.charges_of(id).await;
    charges
        .iter()
        .map(|charge| format!("{} {} {} {}", charge.cycle, charge.due_on, charge.amount.plain(), charge.state.word()))
        .collect()
}

/// The complete list: each charge was intended once, accepted and found paid, at the moment `when` says, and nothing else
/// happened to it.
async fn nothing_but_good_days(world: &World, id: &str, when: impl Fn(&Charge) -> DateTime<Utc>) {
    let mut expected = Vec::new();
    for charge in world.charges_of(id).await {
        expected.push(format!("{} {} paid", charge.due_on, charge.amount.plain()));
        for event in ["charge.intent", "accepted → settling submit", "succeeded → paid by_id"] {
            expected.push(format!("  {} attempt 1 {event}", when(&charge).format("%m-%d %H:%M:%S")));
        }
    }
    assert!(!expected.is_empty(), "{id} was never charged");
    assert_eq!(world.story(id).await, expected);
}

async fn tries(world: &World, id: &str) -> (u16, u16, u16) {
    let charge = world.charges_of(id).await.remove(0);
    (charge.tries.submissions, charge.tries.not_executed, charge.tries.declined)
}

async fn status(world: &World, id: &str) -> SubscriptionStatus {
    let view = world.store.subscription(&SubscriptionId::parse(id).unwrap()).await.unwrap().unwrap();
    view.subscription.status
}

fn sent(world: &World) -> usize {
    world.sandbox().ledger().submissions().len()
}

/// The line of a resubmission; the map keeps fewer words about it.
const fn again(backend: Backend) -> &'static str {
    match backend {
        Backend::Memory => "  01-15 11:15:01 same key charge.intent",
        Backend::Sqlite | Backend::Postgres => "  01-15 11:15:01 attempt 1 charge.intent",
    }
}

async fn a_good_day(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T00:00:00Z", "a good day").await else { return };
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    assert_eq!(world.run().await.items, 0, "nothing is due at midnight UTC");
    world.turn_to(DUE);
    let report = world.run().await;
    assert_eq!((report.sent, report.paid, report.items), (1, 1, 1));
    assert_eq!(world.run().await.items, 0, "a second look finds nothing");
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    world.balance().await;
}

/// The answer is lost, the payment was made.
const FOUND_PAID: &[&str] = &[
    "2027-01-15 79.00 paid",
    "  01-15 11:00:00 attempt 1 charge.intent",
    "  01-15 11:00:00 attempt 1 silent → unknown submit",
    "  01-15 11:00:15 attempt 1 succeeded → paid by_key",
];

async fn a_lost_answer_is_asked_about_and_found_paid(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { return };
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    live(&world, "2027-01-17T00:00:00Z").await;
    told(&world, "sub-1", FOUND_PAID).await;
    assert_eq!((sent(&world), tries(&world, "sub-1").await), (1, (1, 0, 0)));
    world.balance().await;
}

async fn a_lost_request_goes_out_again_under_the_same_key_after_the_quiesce_time(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { return };
    world.sandbox().fail_next_post(Fault::CutBeforeCommit);
    live(&world, "2027-01-17T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 silent → unknown submit",
            "  01-15 11:00:15 attempt 1 absent → unknown by_key",
            "  01-15 11:01:00 attempt 1 absent → unknown by_key",
            "  01-15 11:05:00 attempt 1 absent → unknown by_key",
            "  01-15 11:15:00 attempt 1 absent → due by_key",
            // shows: "not found" after the quiesce time makes the charge due at that very moment (domain::charge::from_unknown),
            // so whether the same pass still sends it is a race, and its timeline tells the intent before the question's
            // answer. Due a second later, as after every other answer, it is sent by the next pass.
            again(backend),
            "  01-15 11:15:01 attempt 1 accepted → settling submit",
            "  01-15 11:15:01 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!((sent(&world), tries(&world, "sub-1").await), (2, (2, 0, 0)));
    world.balance().await;
}

async fn a_decline_that_recovers_is_paid_on_day_eight(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::declines(2), 1)).await else { return };
    live(&world, "2027-01-31T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 declined → failing by_id",
            // Day 3 and day 8 at nine in New York.
            "  01-18 14:00:00 attempt 2 charge.intent",
            "  01-18 14:00:00 attempt 2 accepted → settling submit",
            "  01-18 14:00:00 attempt 2 declined → failing by_id",
            "  01-23 14:00:00 attempt 3 charge.intent",
            "  01-23 14:00:00 attempt 3 accepted → settling submit",
            "  01-23 14:00:00 attempt 3 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!(tries(&world, "sub-1").await, (1, 0, 2));
    world.balance().await;
}

async fn a_decline_that_never_does_ends_with_the_ladder_and_pauses(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 1)).await else {
        return;
    };
    live(&world, "2027-04-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 failed",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 declined → failing by_id",
            "  01-18 14:00:00 attempt 2 charge.intent",
            "  01-18 14:00:00 attempt 2 accepted → settling submit",
            "  01-18 14:00:00 attempt 2 declined → failing by_id",
            "  01-23 14:00:00 attempt 3 charge.intent",
            "  01-23 14:00:00 attempt 3 accepted → settling submit",
            "  01-23 14:00:00 attempt 3 declined → failing by_id",
            // Day 15 is a Saturday: Monday is the 1st, a payday.
            "  02-01 14:00:00 attempt 4 charge.intent",
            "  02-01 14:00:00 attempt 4 accepted → settling submit",
            "  02-01 14:00:00 attempt 4 declined → failing by_id",
            "  02-06 14:00:00 attempt 5 charge.intent",
            "  02-06 14:00:00 attempt 5 accepted → settling submit",
            "  02-06 14:00:00 attempt 5 declined → failed by_id",
        ],
    )
    .await;
    assert_eq!(status(&world, "sub-1").await, SubscriptionStatus::Paused);
    assert_eq!(world.store.next_wake(MERCHANT).await.unwrap(), None, "a paused subscription wakes nobody");
    world.balance().await;
}

async fn a_cancel_in_flight_runs_on_and_is_learnt(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { return };
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    world.run().await;
    let id = SubscriptionId::parse("sub-1").unwrap();
    let cancelled = world.store.cancel(&id, "ann", world.now()).await.unwrap().unwrap();
    assert_eq!((cancelled.skipped, cancelled.in_flight), (0, 1));
    live(&world, "2027-04-01T00:00:00Z").await;
    told(&world, "sub-1", FOUND_PAID).await;
    assert_eq!(status(&world, "sub-1").await, SubscriptionStatus::Cancelled);
    world.balance().await;
}

async fn a_cancel_before_the_intent_sends_nothing_ever(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { return };
    let id = SubscriptionId::parse("sub-1").unwrap();
    let cancelled = world.store.cancel(&id, "ann", world.now()).await.unwrap().unwrap();
    assert_eq!((cancelled.skipped, cancelled.in_flight), (0, 0));
    live(&world, "2027-04-01T00:00:00Z").await;
    told(&world, "sub-1", &[]).await;
    assert_eq!(sent(&world), 0);
    world.balance().await;
}

async fn a_cancel_between_two_tries_ends_the_charge(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::declines(2), 1)).await else { return };
    live(&world, "2027-01-16T00:00:00Z").await;
    let id = SubscriptionId::parse("sub-1").unwrap();
    let cancelled = world.store.cancel(&id, "ann", world.now()).await.unwrap().unwrap();
    assert_eq!((cancelled.skipped, cancelled.in_flight), (1, 0));
    live(&world, "2027-04-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 skipped",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 declined → failing by_id",
            "  01-16 00:00:00 Skipped: the charge.cancelled",
        ],
    )
    .await;
    assert_eq!(sent(&world), 1);
    world.balance().await;
}

async fn ten_days_of_downtime_are_caught_up_oldest_first(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "downtime").await else { return };
    let of = |id: &str, every: &str, price: &str| plan(id, every, "America/New_York", "06:00", price);
    world
        .apply(&[of("daily", "1 day", "1.00"), of("weekly", "1 week", "7.00"), of("monthly", "1 month", "30.00")])
        .await;
    let one = |id: &str, plan: &str, start: &str, n| subscriber(id, plan, start, card(Behaviour::Pays, n));
    world
        .enrol(vec![
            one("d", "daily", "2027-01-15", 1),
            one("w", "weekly", "2027-01-15", 2),
            one("m", "monthly", "2027-01-20", 3),
        ])
        .await;
    world.turn_to(DUE);
    assert_eq!(world.run().await.paid, 2);
    world.turn(TimeDelta::days(10) + TimeDelta::hours(3));
    let report = world.run().await;
    assert_eq!((report.items, report.sent, report.paid), (12, 12, 12));
    assert_eq!(world.run().await.items, 0);
    let days: Vec<String> = (0..=10).map(|n| format!("{n} 2027-01-{} 1.00 paid", 15 + n)).collect();
    assert_eq!(summary(&world, "d").await, days);
    assert_eq!(summary(&world, "w").await, ["0 2027-01-15 7.00 paid", "1 2027-01-22 7.00 paid"]);
    assert_eq!(summary(&world, "m").await, ["0 2027-01-20 30.00 paid"]);
    let back = world.now();
    for id in ["d", "w", "m"] {
        nothing_but_good_days(&world, id, |charge| if charge.due_at == at(DUE) { charge.due_at } else { back }).await;
    }
    // The schedule has not moved.
    for (id, next) in [("d", "2027-01-26T11:00:00Z"), ("w", "2027-01-29T11:00:00Z"), ("m", "2027-02-20T11:00:00Z")] {
        let view = world.store.subscription(&SubscriptionId::parse(id).unwrap()).await.unwrap().unwrap();
        assert_eq!(view.subscription.next_due_at, Some(at(next)), "{id}");
    }
    world.balance().await;
}

#[tokio::test]
async fn the_missed_cycles_of_a_subscription_reach_the_gateway_oldest_first() {
    let mut world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "downtime, one at a time").await.unwrap();
    world.resettle(|settings| settings.in_flight = 1);
    world.apply(&[plan("daily", "1 day", "America/New_York", "06:00", "1.00")]).await;
    world.enrol(vec![subscriber("d", "daily", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    world.turn(TimeDelta::days(10));
    world.run().await;
    let mut submissions = world.sandbox().ledger().submissions();
    submissions.sort_by_key(|one| one.real_at);
    let keys: Vec<String> = submissions.into_iter().map(|one| one.key).collect();
    let id = SubscriptionId::parse("d").unwrap();
    let environment = &world.engine.settings().environment;
    let expected: Vec<String> =
        (0..10).map(|cycle| Key::of(environment, MERCHANT, &id, cycle, 1).to_string()).collect();
    assert_eq!(keys, expected);
    world.balance().await;
}

async fn everything_waits_while_it_is_held(backend: Backend) {
    let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { return };
    let scopes = [
        Scope::All,
        Scope::Merchant(MERCHANT),
        Scope::Plan(PlanId::parse("gold").unwrap()),
        Scope::Subscription(SubscriptionId::parse("sub-1").unwrap()),
    ];
    for scope in &scopes {
        world.store.hold(scope, "a rehearsal", "ann", world.now()).await.unwrap();
        let report = world.run().await;
        assert_eq!((report.sent, report.waiting), (0, 1), "{scope}");
        assert!(world.store.lift(scope, "ann", world.now()).await.unwrap());
        // A row that waited is left alone until its lease is over.
        world.turn(TimeDelta::seconds(90));
    }
    for other in
        [Scope::Plan(PlanId::parse("iron").unwrap()), Scope::Subscription(SubscriptionId::parse("sub-2").unwrap())]
    {
        world.store.hold(&other, "somebody else", "ann", world.now()).await.unwrap();
    }
    assert_eq!(world.run().await.paid, 1);
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:06:00 attempt 1 charge.intent",
            "  01-15 11:06:00 attempt 1 accepted → settling submit",
            "  01-15 11:06:00 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!(sent(&world), 1);
    world.balance().await;
}

#[tokio::test]
async fn a_hold_keeps_retries_back_and_never_questions() {
    let world = one(Backend::Sqlite, card(Behaviour::declines(1), 1)).await.unwrap();
    world.enrol(vec![subscriber("sub-2", "gold", "2027-01-15", card(Behaviour::Pays, 2))]).await;
    let key = Key::of(&world.engine.settings().environment, MERCHANT, &SubscriptionId::parse("sub-2").unwrap(), 0, 1);
    world.sandbox().fail_next_post_of(&key.to_string(), Fault::CutAfterCommit);
    world.run().await;
    world.store.hold(&Scope::All, "the kill switch", "ann", world.now()).await.unwrap();
    world.live_until(at("2027-01-19T00:00:00Z"), TimeDelta::hours(6)).await;
    assert_eq!(sent(&world), 2, "nothing was sent while it was on");
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 failing"]);
    assert_eq!(summary(&world, "sub-2").await, ["0 2027-01-15 79.00 paid"]);
    world.store.lift(&Scope::All, "ann", world.now()).await.unwrap();
    live(&world, "2027-01-20T00:00:00Z").await;
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 paid"]);
    assert_eq!(sent(&world), 3);
    world.balance().await;
}

#[tokio::test]
async fn a_payment_made_late_is_found_before_the_key_goes_out_again() {
    let faults = Faults { late_commit_ms: 400, ..Faults::none() };
    let world =
        one_with(Backend::Sqlite, card(Behaviour::Pays, 1), Options { faults, ..Options::default() }).await.unwrap();
    world.sandbox().fail_next_post(Fault::LateCommit);
    world.run().await;
    world.turn(TimeDelta::seconds(15));
    world.run().await;
    WallClock.sleep(Duration::from_millis(700)).await;
    live(&world, "2027-01-17T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 silent → unknown submit",
            "  01-15 11:00:15 attempt 1 absent → unknown by_key",
            "  01-15 11:01:00 attempt 1 succeeded → paid by_key",
        ],
    )
    .await;
    assert_eq!(sent(&world), 1);
    world.balance().await;
}

/// A world in which a payment was made, its answer was lost, and look-ups find nothing until the faults are mended.
async fn hidden_payment() -> World {
    let faults = Faults { lookup_404_for: 1.0, lookup_404_for_ms: u64::MAX, ..Faults::none() };
    let options = Options { faults, ..Options::default() };
    let world = one_with(Backend::Sqlite, card(Behaviour::Pays, 1), options).await.unwrap();
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    world
}

#[tokio::test]
async fn a_cancel_does_not_turn_a_not_found_into_proof_that_nothing_was_paid() {
    // Before the look-up that would have let the key go out again, and after it.
    for (cancelled_at, at_the_quiesce_time) in
        [("2027-01-15T11:14:00Z", "absent → unknown by_key"), ("2027-01-15T11:15:00Z", "absent → due by_key")]
    {
        let world = hidden_payment().await;
        live(&world, cancelled_at).await;
        let cancelled =
            world.store.cancel(&SubscriptionId::parse("sub-1").unwrap(), "test", world.now()).await.unwrap();
        assert_eq!(cancelled.map(|done| (done.skipped, done.in_flight)), Some((0, 1)), "{cancelled_at}");
        live(&world, "2027-01-15T11:40:00Z").await;
        world.sandbox().set_faults(Faults::none());
        live(&world, "2027-01-17T00:00:00Z").await;
        let story = world.story("sub-1").await;
        assert_eq!(story[0], "2027-01-15 79.00 paid", "{story:#?}");
        assert_eq!(story[6], format!("  01-15 11:15:00 attempt 1 {at_the_quiesce_time}"), "{story:#?}");
        assert_eq!(story.last().unwrap(), "  01-15 12:00:00 attempt 1 succeeded → paid by_key", "{story:#?}");
        assert_eq!(sent(&world), 1);
        world.balance().await;
    }
}

#[tokio::test]
async fn an_old_look_up_is_repeated_before_the_key_goes_out_again() {
    let world = hidden_payment().await;
    // The look-up at 11:15 found nothing; then the process is away for seven hours.
    live(&world, "2027-01-15T11:15:00Z").await;
    assert_eq!(world.charges_of("sub-1").await[0].state.name(), "due");
    world.turn(TimeDelta::hours(7));
    world.sandbox().set_faults(Faults::none());
    live(&world, "2027-01-17T00:00:00Z").await;
    let story = world.story("sub-1").await;
    assert_eq!(story.last().unwrap(), "  01-15 18:15:00 attempt 1 succeeded → paid by_key", "{story:#?}");
    assert_eq!(sent(&world), 1);
    world.balance().await;
}

#[tokio::test]
async fn a_hold_longer_than_the_window_of_the_key_ends_with_questions_and_a_person() {
    let mut world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    world.sandbox().fail_next_post(Fault::CutBeforeCommit);
    live(&world, "2027-01-15T11:15:00Z").await;
    world.store.hold(&Scope::All, "a look at the gateway", "test", world.now()).await.unwrap();
    let before = world.sandbox().ledger().lookups();
    live(&world, "2027-01-16T12:00:00Z").await;
    let asked = world.sandbox().ledger().lookups() - before;
    assert!((3..=10).contains(&asked), "asked {asked} times in a day of holding");
    world.store.lift(&Scope::All, "test", world.now()).await.unwrap();
    live(&world, "2027-02-01T00:00:00Z").await;
    // Nobody promises that the gateway still remembers the key: it may not go out again.
    assert_eq!(sent(&world), 1);
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 outcome_unknown"]);
    world.may_end_unknown = true;
    world.balance().await;
}

#[tokio::test]
async fn a_503_after_the_payment_was_made_proves_nothing() {
    let faults = Faults { error_status: Some(503), ..Faults::none() };
    let world =
        one_with(Backend::Sqlite, card(Behaviour::Pays, 1), Options { faults, ..Options::default() }).await.unwrap();
    world.sandbox().fail_next_post(Fault::ErrorAfterCommit);
    live(&world, "2027-01-17T00:00:00Z").await;
    told(&world, "sub-1", FOUND_PAID).await;
    world.balance().await;
}

#[tokio::test]
async fn half_an_answer_proves_nothing() {
    let world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    world.sandbox().fail_next_post(Fault::TruncatedAnswer);
    live(&world, "2027-01-17T00:00:00Z").await;
    told(&world, "sub-1", FOUND_PAID).await;
    world.balance().await;
}

#[tokio::test]
async fn questions_without_an_answer_are_repeated_up_the_ladder() {
    let world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    world.sandbox().fail_next_get(Fault::Get5xx);
    world.sandbox().fail_next_get(Fault::TruncatedAnswer);
    live(&world, "2027-01-17T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 silent → unknown submit",
            "  01-15 11:00:15 attempt 1 silent → unknown by_key",
            "  01-15 11:01:00 attempt 1 silent → unknown by_key",
            "  01-15 11:05:00 attempt 1 succeeded → paid by_key",
        ],
    )
    .await;
    world.balance().await;
}

/// One decline, final at once.
async fn fails_at_once(method: Option<Method>, word: &str) {
    let world = one(Backend::Sqlite, method).await.unwrap();
    live(&world, "2027-03-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 failed",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 declined → failed by_id",
        ],
    )
    .await;
    let domain::charge::State::Failed { code, .. } = world.charges().await.remove(0).state else {
        panic!("not failed")
    };
    assert_eq!(code, word);
    assert_eq!(status(&world, "sub-1").await, SubscriptionStatus::Paused);
    assert_eq!(sent(&world), 1);
    world.balance().await;
}

#[tokio::test]
async fn a_stolen_card_is_never_tried_again() {
    fails_at_once(card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 1), "stolen_card").await;
}

#[tokio::test]
async fn a_card_that_demands_3ds_needs_its_owner() {
    fails_at_once(card(Behaviour::Demands3ds, 1), "authentication_required").await;
}

#[tokio::test]
async fn a_method_the_gateway_does_not_know_needs_a_new_one() {
    fails_at_once(card(Behaviour::NotFound, 1), "payment_method_not_found").await;
}

#[tokio::test]
async fn a_decline_without_a_reason_is_tried_again_after_three_and_six_days() {
    let world = one(Backend::Sqlite, card(Behaviour::DeclinesPlainly, 1)).await.unwrap();
    live(&world, "2027-03-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 failed",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 declined → failing by_id",
            "  01-18 14:00:00 attempt 2 charge.intent",
            "  01-18 14:00:00 attempt 2 accepted → settling submit",
            "  01-18 14:00:00 attempt 2 declined → failing by_id",
            "  01-21 14:00:00 attempt 3 charge.intent",
            "  01-21 14:00:00 attempt 3 accepted → settling submit",
            "  01-21 14:00:00 attempt 3 declined → failed by_id",
        ],
    )
    .await;
    world.balance().await;
}

#[tokio::test]
async fn a_bank_debit_settles_after_three_days() {
    let world = one(Backend::Sqlite, bank(Behaviour::AchSettles { days: Some(3) }, 1)).await.unwrap();
    live(&world, "2027-02-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 accepted → settling by_id",
            "  01-15 12:00:00 attempt 1 accepted → settling by_id",
            "  01-15 17:00:00 attempt 1 accepted → settling by_id",
            "  01-16 11:00:00 attempt 1 accepted → settling by_id",
            "  01-17 11:00:00 attempt 1 accepted → settling by_id",
            "  01-18 11:00:00 attempt 1 succeeded → paid by_id",
            // The bank may take it back for weeks.
            "  01-19 11:00:00 attempt 1 succeeded → paid by_id",
            "  01-20 11:00:00 attempt 1 succeeded → paid by_id",
            "  01-21 11:00:00 attempt 1 succeeded → paid by_id",
            "  01-23 11:00:00 attempt 1 succeeded → paid by_id",
            "  01-26 11:00:00 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    world.balance().await;
}

#[tokio::test]
async fn a_late_return_is_found_by_asking_alone() {
    let late = Behaviour::AchReturnedLate { days: Some(2), code: ReturnCode::R10 };
    let world = one(Backend::Sqlite, bank(late, 1)).await.unwrap();
    live(&world, "2027-02-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 returned",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 accepted → settling by_id",
            "  01-15 12:00:00 attempt 1 accepted → settling by_id",
            "  01-15 17:00:00 attempt 1 accepted → settling by_id",
            "  01-16 11:00:00 attempt 1 accepted → settling by_id",
            "  01-17 11:00:00 attempt 1 accepted → settling by_id",
            "  01-18 11:00:00 attempt 1 succeeded → paid by_id",
            "  01-19 11:00:00 attempt 1 succeeded → paid by_id",
            "  01-20 11:00:00 attempt 1 declined → returned by_id",
        ],
    )
    .await;
    world.balance().await;
}

#[tokio::test]
async fn a_returned_bank_debit_is_tried_again_as_its_return_code_allows() {
    let returned = Behaviour::AchReturned { days: Some(2), code: ReturnCode::R01 };
    let world = one(Backend::Sqlite, bank(returned, 1)).await.unwrap();
    live(&world, "2027-01-26T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 sending",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 accepted → settling by_id",
            "  01-15 12:00:00 attempt 1 accepted → settling by_id",
            "  01-15 17:00:00 attempt 1 accepted → settling by_id",
            "  01-16 11:00:00 attempt 1 accepted → settling by_id",
            "  01-17 11:00:00 attempt 1 declined → failing by_id",
            // Five business days after the return was learnt, on a Sunday before a holiday.
            "  01-25 14:00:00 attempt 2 charge.intent",
            "  01-25 14:00:00 attempt 2 accepted → settling submit",
            "  01-25 14:00:00 attempt 2 accepted → settling by_id",
            "  01-25 15:00:00 attempt 2 accepted → settling by_id",
            "  01-25 20:00:00 attempt 2 accepted → settling by_id",
        ],
    )
    .await;
    world.balance().await;
}

#[tokio::test]
async fn a_429_is_waited_out_and_is_no_decline() {
    let faults = Faults { retry_after: sandbox::RetryAfter::Seconds(30), ..Faults::none() };
    let world =
        one_with(Backend::Sqlite, card(Behaviour::Pays, 1), Options { faults, ..Options::default() }).await.unwrap();
    world.sandbox().fail_next_post(Fault::RateLimited);
    live(&world, "2027-01-17T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 not_executed → due submit",
            "  01-15 11:00:30 attempt 1 charge.intent",
            "  01-15 11:00:30 attempt 1 accepted → settling submit",
            "  01-15 11:00:30 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    assert_eq!(tries(&world, "sub-1").await, (2, 1, 0));
    world.balance().await;
}

#[tokio::test]
async fn revoked_tokens_are_renewed_and_nobody_fails() {
    let world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    live(&world, "2027-01-16T00:00:00Z").await;
    world.sandbox().revoke_tokens();
    live(&world, "2027-02-16T00:00:00Z").await;
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 paid", "1 2027-02-15 79.00 paid"]);
    assert_eq!(world.charges_of("sub-1").await[1].tries.declined, 0);
    world.balance().await;
}

#[tokio::test]
async fn tokens_revoked_in_the_middle_of_a_run_cost_nobody_a_charge() {
    let mut world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "revoked").await.unwrap();
    world.resettle(|settings| (settings.in_flight, settings.batch) = (2, 10));
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let rows = (0..200).map(|n| subscriber(&format!("sub-{n:03}"), "gold", "2027-01-15", card(Behaviour::Pays, n)));
    world.enrol(rows.collect()).await;
    world.turn_to(DUE);
    let revoke = async {
        for _ in 0..10 {
            WallClock.sleep(Duration::from_millis(20)).await;
            world.sandbox().revoke_tokens();
        }
    };
    tokio::join!(world.run(), revoke);
    live(&world, "2027-01-16T00:00:00Z").await;
    let words: Vec<&str> = world.charges().await.iter().map(|charge| charge.state.word()).collect();
    assert_eq!(words, ["paid"; 200]);
    world.balance().await;
}

#[tokio::test]
async fn a_gateway_that_is_down_costs_no_submission_and_is_tried_until_it_is_back() {
    let faults = Faults { refused: 1.0, ..Faults::none() };
    let world =
        one_with(Backend::Sqlite, card(Behaviour::Pays, 1), Options { faults, ..Options::default() }).await.unwrap();
    world.run().await;
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 due"]);
    live(&world, "2027-01-15T11:10:00Z").await;
    assert_eq!((sent(&world), summary(&world, "sub-1").await), (0, vec!["0 2027-01-15 79.00 due".to_owned()]));
    let (submissions, not_executed, declined) = tries(&world, "sub-1").await;
    assert!(submissions > 3 && submissions == not_executed && declined == 0, "{submissions} {not_executed} {declined}");
    world.sandbox().set_faults(Faults::none());
    // The client leaves a token server that failed alone for a moment of real time.
    WallClock.sleep(ccg::Config::default().token_retry_pause + Duration::from_millis(50)).await;
    live(&world, "2027-01-15T11:20:00Z").await;
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 paid"]);
    assert_eq!(sent(&world), 1);
    world.balance().await;
}

#[tokio::test]
async fn an_answer_about_another_amount_stops_the_charge_for_a_person() {
    let mut world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    world.sandbox().fail_next_get(Fault::WrongAmount);
    live(&world, "2027-02-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 outcome_unknown",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 succeeded → parked by_id",
        ],
    )
    .await;
    assert_eq!(sent(&world), 1);
    world.may_end_unknown = true;
    world.balance().await;
}

#[tokio::test]
async fn an_answer_about_another_key_never_pays_a_charge() {
    let world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    world.sandbox().fail_next_post(Fault::WrongKey);
    live(&world, "2027-02-01T00:00:00Z").await;
    told(&world, "sub-1", FOUND_PAID).await;
    world.balance().await;
}

#[tokio::test]
async fn a_cycle_that_costs_nothing_is_skipped_and_uses_its_number() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "zero").await.unwrap();
    let step =
        |from: &str, value: &str| StepSpec { from: from.to_owned(), value: value.to_owned(), ..StepSpec::default() };
    let mut gold = plan("gold", "1 month", "America/New_York", "06:00", "79.00");
    gold.amount.value = None;
    gold.amount.step = vec![step("2027-01-01", "79.00"), step("2027-02-01", "0.00"), step("2027-03-01", "84.00")];
    world.apply(&[gold]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    live(&world, "2027-04-01T00:00:00Z").await;
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 succeeded → paid by_id",
            "2027-02-15 0.00 skipped",
            "  02-15 11:00:00 Skipped by charge.recorded",
            "2027-03-15 84.00 paid",
            "  03-15 10:00:00 attempt 1 charge.intent",
            "  03-15 10:00:00 attempt 1 accepted → settling submit",
            "  03-15 10:00:00 attempt 1 succeeded → paid by_id",
        ],
    )
    .await;
    let cycles: Vec<u32> = world.charges().await.iter().map(|charge| charge.cycle).collect();
    assert_eq!(cycles, [0, 1, 2]);
    world.balance().await;
}

#[tokio::test]
async fn a_policy_that_may_not_pass_the_next_due_date_ends_before_it() {
    let Some(world) = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "a short rhythm").await else { return };
    let mut policy = domain::dunning::Policy::standard().unwrap();
    policy.id = domain::id::PolicyId::parse("short").unwrap();
    policy.not_past_next_due = true;
    policy.at_the_end = domain::dunning::AtTheEnd::KeepSubscription;
    let mut weekly = plan("weekly", "1 week", "America/New_York", "06:00", "9.00");
    weekly.collect.dunning = Some("short".to_owned());
    let understood = Plan::from_spec(&weekly, 0).unwrap();
    let change = autopay::ports::CatalogChange { plans: vec![(weekly, understood)], policies: vec![policy] };
    world.store.apply(&change, "test", world.now()).await.unwrap();
    let broke = card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 1);
    world.enrol(vec![subscriber("sub-1", "weekly", "2027-01-15", broke)]).await;
    live(&world, "2027-01-22T10:59:00Z").await;
    // Tried on the day and after three days; the try on day eight would come after the next cycle's day seven.
    told(
        &world,
        "sub-1",
        &[
            "2027-01-15 9.00 failed",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:00:00 attempt 1 accepted → settling submit",
            "  01-15 11:00:00 attempt 1 declined → failing by_id",
            "  01-18 14:00:00 attempt 2 charge.intent",
            "  01-18 14:00:00 attempt 2 accepted → settling submit",
            "  01-18 14:00:00 attempt 2 declined → failed by_id",
        ],
    )
    .await;
    let sentence = world.charges_of("sub-1").await[0].sentence();
    assert!(sentence.contains("on or after the next due date"), "{sentence}");
    world.balance().await;
}

async fn a_charge_without_a_method_waits_and_is_collected_once_there_is_one(backend: Backend) {
    let Some(world) = one(backend, None).await else { return };
    live(&world, "2027-02-01T00:00:00Z").await;
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 held"]);
    let mut row = subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1));
    row.next_cycle = 99;
    world.store.import(&[row.clone()], "test", world.now()).await.unwrap();
    world.store.import(&[row], "test", world.now()).await.unwrap();
    live(&world, "2027-02-16T00:00:00Z").await;
    assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 paid", "1 2027-02-15 79.00 paid"]);
    assert_eq!(tries(&world, "sub-1").await, (1, 0, 0));
    assert_eq!(sent(&world), 2);
    world.balance().await;
}

#[tokio::test]
async fn a_poisoned_row_is_set_aside_and_its_neighbours_are_charged() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { continue };
        world
            .enrol(vec![
                subscriber("sub-0", "gold", "2027-01-15", card(Behaviour::Pays, 2)),
                subscriber("sub-2", "gold", "2027-01-15", card(Behaviour::Pays, 3)),
            ])
            .await;
        let database = open(&DatabaseUrl::parse(world.url()).unwrap(), Pool::engine(1)).await.unwrap();
        database
            .execute_unprepared("UPDATE subscription SET time_zone = 'Mars/Base' WHERE id = 'sub-1'")
            .await
            .unwrap();
        let report = world.run().await;
        assert_eq!((report.paid, report.quarantined), (2, 1));
        live(&world, "2027-02-16T00:00:00Z").await;
        for id in ["sub-0", "sub-2"] {
            assert_eq!(summary(&world, id).await, ["0 2027-01-15 79.00 paid", "1 2027-02-15 79.00 paid"]);
        }
        assert_eq!(summary(&world, "sub-1").await, Vec::<String>::new());
        let row = database
            .query_one_raw(sea_orm::Statement::from_string(
                database.get_database_backend(),
                "SELECT status, note FROM subscription WHERE id = 'sub-1'",
            ))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(row.try_get::<String>("", "status").unwrap(), "quarantined");
        let note: String = row.try_get("", "note").unwrap();
        assert!(note.contains("subscription.time_zone") && note.contains("sub-1"), "{note}");
        database.close().await.unwrap();
        world.balance().await;
    }
}

#[tokio::test]
async fn a_subscription_to_an_unknown_plan_is_set_aside() {
    for backend in [Backend::Memory, Backend::Sqlite] {
        let world = one(backend, card(Behaviour::Pays, 1)).await.unwrap();
        let mut ghost = subscriber("sub-0", "ghost", "2027-01-15", card(Behaviour::Pays, 2));
        ghost.next_due_at = Some(at(DUE));
        world.store.import(&[ghost], "test", world.now()).await.unwrap();
        let report = world.run().await;
        assert_eq!((report.paid, report.quarantined), (1, 1));
        let view = world.store.subscription(&SubscriptionId::parse("sub-0").unwrap()).await.unwrap().unwrap();
        assert_eq!(view.subscription.status, SubscriptionStatus::Quarantined);
        assert!(view.note.unwrap().contains("plan ghost does not exist"));
        world.balance().await;
    }
}

#[tokio::test]
async fn a_price_change_applies_from_its_date_and_a_new_version_from_its_day() {
    let world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    live(&world, "2027-02-20T00:00:00Z").await;
    assert_eq!(
        world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "84.50")]).await.changed,
        [("gold".to_owned(), 2)]
    );
    live(&world, "2027-03-20T00:00:00Z").await;
    let expected = ["0 2027-01-15 79.00 paid", "1 2027-02-15 79.00 paid", "2 2027-03-15 84.50 paid"];
    assert_eq!(summary(&world, "sub-1").await, expected);
    let versions: Vec<u32> = world.charges().await.iter().map(|charge| charge.plan_version).collect();
    assert_eq!(versions, [1, 1, 2]);
    world.balance().await;
}

#[tokio::test]
async fn the_last_cycle_is_the_one_on_the_end_date() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "end").await.unwrap();
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let until = |id: &str, end: &str, n| {
        let mut row = subscriber(id, "gold", "2027-01-15", card(Behaviour::Pays, n));
        row.end_on = Some(end.parse().unwrap());
        row
    };
    world
        .enrol(vec![until("on", "2027-03-15", 1), until("before", "2027-03-14", 2), until("over", "2027-01-14", 3)])
        .await;
    world.run_until("2027-07-01T00:00:00Z").await;
    let two = ["0 2027-01-15 79.00 paid", "1 2027-02-15 79.00 paid"];
    assert_eq!(summary(&world, "before").await, two);
    assert_eq!(summary(&world, "on").await, [two[0], two[1], "2 2027-03-15 79.00 paid"]);
    assert_eq!(summary(&world, "over").await, Vec::<String>::new());
    assert_eq!(status(&world, "on").await, SubscriptionStatus::Ended);
    world.balance().await;
}

#[tokio::test]
async fn a_lost_answer_ends_well_under_each_reading_of_a_repeated_key() {
    for idempotency in [Idempotency::Replay, Idempotency::NewAttemptAfterFailed, Idempotency::RejectDuplicate] {
        let world = one_with(Backend::Sqlite, card(Behaviour::Pays, 1), Options { idempotency, ..Options::default() })
            .await
            .unwrap();
        world.sandbox().fail_next_post(Fault::CutAfterCommit);
        live(&world, "2027-01-17T00:00:00Z").await;
        told(&world, "sub-1", FOUND_PAID).await;
        world.balance().await;
    }
}

#[tokio::test]
async fn a_resubmitted_key_that_was_paid_all_along_is_learnt_under_each_reading() {
    for idempotency in [Idempotency::Replay, Idempotency::NewAttemptAfterFailed, Idempotency::RejectDuplicate] {
        // The look-up denies a payment that was made, for long enough that the key goes out again.
        let faults = Faults { lookup_404_for: 1.0, lookup_404_for_ms: 2_000, ..Faults::none() };
        let options = Options { idempotency, faults, ..Options::default() };
        let world = one_with(Backend::Sqlite, card(Behaviour::Pays, 1), options).await.unwrap();
        world.sandbox().fail_next_post(Fault::CutAfterCommit);
        live(&world, "2027-01-15T11:16:00Z").await;
        assert_eq!(sent(&world), 2, "{idempotency:?}");
        WallClock.sleep(Duration::from_millis(2_300)).await;
        live(&world, "2027-01-17T00:00:00Z").await;
        assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 paid"], "{idempotency:?}");
        assert_eq!(sent(&world), 2, "{idempotency:?}");
        world.balance().await;
    }
}

#[tokio::test]
async fn a_lost_decline_is_learnt_and_tried_again_as_one_under_each_reading() {
    for idempotency in [Idempotency::Replay, Idempotency::NewAttemptAfterFailed, Idempotency::RejectDuplicate] {
        let options = Options { idempotency, ..Options::default() };
        let world = one_with(Backend::Sqlite, card(Behaviour::declines(1), 1), options).await.unwrap();
        world.sandbox().fail_next_post(Fault::CutAfterCommit);
        live(&world, "2027-01-31T00:00:00Z").await;
        told(
            &world,
            "sub-1",
            &[
                "2027-01-15 79.00 paid",
                "  01-15 11:00:00 attempt 1 charge.intent",
                "  01-15 11:00:00 attempt 1 silent → unknown submit",
                "  01-15 11:00:15 attempt 1 declined → failing by_key",
                "  01-18 14:00:00 attempt 2 charge.intent",
                "  01-18 14:00:00 attempt 2 accepted → settling submit",
                "  01-18 14:00:00 attempt 2 succeeded → paid by_id",
            ],
        )
        .await;
        world.balance().await;
    }
}

/// The days on which a monthly charge on `day` (32: the last) falls, by counting days.
fn naive(day: u32, from: NaiveDate, until: NaiveDate) -> Vec<NaiveDate> {
    let last = |date: NaiveDate| date.succ_opt().unwrap().month() != date.month();
    from.iter_days()
        .take_while(|date| *date <= until)
        .filter(|date| date.day() == day || (last(*date) && date.day() < day))
        .collect()
}

#[tokio::test]
async fn month_ends_are_kept_over_two_leap_years() {
    let world = World::begin(Backend::Sqlite, "2027-12-31T00:00:00Z", "month ends").await.unwrap();
    let days = [("29", 29), ("30", 30), ("31", 31), ("last_day", 32)];
    let on = |day: &str| {
        let mut spec = plan(&format!("on-{}", day.replace('_', "-")), "1 month", "America/New_York", "06:00", "5.00");
        spec.schedule.on_day = Some(day.to_owned());
        spec
    };
    world.apply(&days.map(|(day, _)| on(day))).await;
    let rows = days.iter().zip(1..).map(|((day, _), n)| {
        let day = day.replace('_', "-");
        subscriber(&day, &format!("on-{day}"), "2027-12-31", card(Behaviour::Pays, n))
    });
    world.enrol(rows.collect()).await;
    live(&world, "2032-03-31T23:00:00Z").await;
    for (day, number) in days {
        let id = day.replace('_', "-");
        let charges = world.charges_of(&id).await;
        let dates: Vec<NaiveDate> = charges.iter().map(|charge| charge.due_on).collect();
        assert_eq!(dates, naive(number, "2027-12-31".parse().unwrap(), "2032-03-31".parse().unwrap()), "{day}");
        nothing_but_good_days(&world, &id, |charge| charge.due_at).await;
        let cycles: Vec<u32> = charges.iter().map(|charge| charge.cycle).collect();
        assert_eq!(cycles, (0..u32::try_from(dates.len()).unwrap()).collect::<Vec<_>>());
        // 29 February: 2028 and 2032 have one.
        let leap: Vec<String> = dates.iter().filter(|date| date.month() == 2).map(ToString::to_string).collect();
        assert_eq!(leap, ["2028-02-29", "2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"], "{day}");
    }
    world.balance().await;
}

#[tokio::test]
async fn gaps_and_overlaps_of_the_clock_on_the_first_cost_exactly_one_charge() {
    let world = World::begin(Backend::Sqlite, "2026-10-20T00:00:00Z", "dst").await.unwrap();
    let first = |id: &str, zone: &str, hour: &str| {
        let mut spec = plan(id, "1 month", zone, hour, "5.00");
        spec.schedule.on_day = Some("1".to_owned());
        spec
    };
    world.apply(&[first("ny", "America/New_York", "01:30"), first("sydney", "Australia/Sydney", "02:30")]).await;
    let one = |id: &str, n| subscriber(id, id, "2026-10-20", card(Behaviour::Pays, n));
    world.enrol(vec![one("ny", 1), one("sydney", 2)]).await;
    live(&world, "2029-04-15T00:00:00Z").await;
    let due = |charges: &[Charge], on: &str| -> Vec<String> {
        charges
            .iter()
            .filter(|charge| charge.due_on.to_string() == on)
            .map(|charge| charge.due_at.to_rfc3339())
            .collect()
    };
    let new_york = world.charges_of("ny").await;
    // 01:30 comes twice on 1 November 2026: the first counts.
    assert_eq!(due(&new_york, "2026-11-01"), ["2026-11-01T05:30:00+00:00"]);
    assert_eq!(due(&new_york, "2026-12-01"), ["2026-12-01T06:30:00+00:00"]);
    assert_eq!(new_york.len(), 30);
    let sydney = world.charges_of("sydney").await;
    // 02:30 does not come on 1 October 2028: 03:30 does. On 1 April 2029 it comes twice.
    assert_eq!(due(&sydney, "2028-10-01"), ["2028-09-30T16:30:00+00:00"]);
    assert_eq!(due(&sydney, "2028-09-01"), ["2028-08-31T16:30:00+00:00"]);
    assert_eq!(due(&sydney, "2029-04-01"), ["2029-03-31T15:30:00+00:00"]);
    assert_eq!(sydney.len(), 30);
    for charge in new_york.iter().chain(&sydney) {
        assert_eq!(charge.due_on.day(), 1);
    }
    for id in ["ny", "sydney"] {
        nothing_but_good_days(&world, id, |charge| charge.due_at).await;
    }
    world.balance().await;
}

/// A gateway that is told something by a person in the moment between drawing and committing.
struct Meddled {
    inner: CcgGateway,
    left: AtomicU32,
    act: Box<dyn Fn() + Send + Sync>,
}

#[async_trait]
impl Gateway for Meddled {
    fn compose(
        &self,
        charge: &Charge,
        subscription: &Subscription,
        plan: &Plan,
        method: &Method,
        key: Key,
    ) -> Result<Body, String> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            (self.act)();
        }
        self.inner.compose(charge, subscription, plan, method, key)
    }
    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        self.inner.submit(intent).await
    }
    async fn ask(&self, question: &Question) -> Observation {
        self.inner.ask(question).await
    }
}

/// One pass during which `act` happens between the first draw and its commit, in a process of its own.
pub(crate) async fn meddled<F>(world: &World, act: F) -> RunReport
where
    F: Fn(Arc<dyn autopay::ports::Store>) -> futures_util::future::BoxFuture<'static, ()>
        + Send
        + Sync
        + Copy
        + 'static,
{
    let (url, clock) = (world.url().to_owned(), world.clock.clone());
    let act = Box::new(move || {
        let (url, clock) = (url.clone(), clock.clone());
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { act(database_store(&url, clock).await).await });
        });
        other.join().unwrap();
    });
    let gateway = Meddled { inner: CcgGateway::new(client(world.sandbox()), MERCHANT), left: AtomicU32::new(1), act };
    let engine = Engine::new(world.store.clone(), Arc::new(gateway), world.clock.clone(), settings(&world.limits));
    engine.run_once().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_switch_between_draw_and_commit_stops_the_sending() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { continue };
        let report = meddled(&world, |store| {
            Box::pin(async move {
                store.hold(&Scope::All, "stop", "ann", at(DUE)).await.unwrap();
            })
        })
        .await;
        assert_eq!((report.sent, report.waiting), (0, 1));
        told(&world, "sub-1", &[]).await;
        world.store.lift(&Scope::All, "ann", world.now()).await.unwrap();
        live(&world, "2027-01-16T00:00:00Z").await;
        assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 paid"]);
        world.balance().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_between_draw_and_commit_drops_the_decision() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { continue };
        let report = meddled(&world, |store| {
            Box::pin(async move {
                store.cancel(&SubscriptionId::parse("sub-1").unwrap(), "ann", at(DUE)).await.unwrap();
            })
        })
        .await;
        assert_eq!((report.sent, report.lost), (0, 1));
        live(&world, "2027-03-01T00:00:00Z").await;
        told(&world, "sub-1", &[]).await;
        assert_eq!(sent(&world), 0);
        world.balance().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_while_the_request_waits_for_its_answer_ends_it_if_nothing_was_executed() {
    // The answer is 429: nothing was executed, and by the time it is known the subscription is cancelled.
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let Some(world) = one(backend, card(Behaviour::Pays, 1)).await else { continue };
        world.sandbox().fail_next_post(Fault::RateLimited);
        world.run().await;
        assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 due"]);
        let id = SubscriptionId::parse("sub-1").unwrap();
        let cancelled = world.store.cancel(&id, "ann", world.now()).await.unwrap().unwrap();
        assert_eq!((cancelled.skipped, cancelled.in_flight), (1, 0));
        live(&world, "2027-03-01T00:00:00Z").await;
        assert_eq!(summary(&world, "sub-1").await, ["0 2027-01-15 79.00 skipped"]);
        let charge = world.charges().await.remove(0);
        let states: Vec<String> =
            world.store.attempts(charge.id).await.unwrap().into_iter().map(|one| one.state).collect();
        assert_eq!(states, ["closed"]);
        world.balance().await;
    }
}

/// A process dies with every request under way: each was made at the gateway and answered to nobody.
async fn dies_in_flight(backend: Backend) {
    let Some(mut world) = World::begin(backend, "2027-01-15T10:00:00Z", "restart").await else { return };
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let rows = (0..12).map(|n| subscriber(&format!("sub-{n:02}"), "gold", "2027-01-15", card(Behaviour::Pays, n)));
    world.enrol(rows.collect()).await;
    world.turn_to(DUE);
    world.sandbox().set_faults(Faults { slow: 1.0, slow_ms: 4_000, ..Faults::none() });
    let (url, clock, limits) = (world.url().to_owned(), world.clock.clone(), world.limits.clone());
    let gateway = CcgGateway::new(client(world.sandbox()), MERCHANT);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let store = database_store(&url, clock.clone()).await;
            Engine::new(store, Arc::new(gateway), clock, settings(&limits)).run_once().await
        });
        while !stopped.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        runtime.shutdown_background();
    });
    for _ in 0..500 {
        if sent(&world) == 12 {
            break;
        }
        WallClock.sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::SeqCst);
    process.join().unwrap();
    assert_eq!(sent(&world), 12);
    let names: Vec<&str> = world.charges().await.iter().map(|charge| charge.state.name()).collect();
    assert_eq!(names, ["sending"; 12]);
    world.sandbox().set_faults(Faults::none());
    world.restart().await;
    assert_eq!(world.run().await.items, 0, "the lease of the dead sender is respected");
    live(&world, "2027-01-16T00:00:00Z").await;
    for n in 0..12 {
        let expected = [
            "2027-01-15 79.00 paid",
            "  01-15 11:00:00 attempt 1 charge.intent",
            "  01-15 11:01:30 attempt 1 succeeded → paid by_key",
        ];
        told(&world, &format!("sub-{n:02}"), &expected).await;
    }
    assert_eq!(sent(&world), 12);
    world.balance().await;
}

#[tokio::test]
async fn a_process_that_died_with_everything_in_flight_learns_all_of_it_after_restart_on_sqlite() {
    dies_in_flight(Backend::Sqlite).await;
}

#[tokio::test]
async fn a_process_that_died_with_everything_in_flight_learns_all_of_it_after_restart_on_postgresql() {
    dies_in_flight(Backend::Postgres).await;
}

#[tokio::test]
async fn a_daily_plan_after_a_season_of_downtime_is_a_question_for_a_person() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "season").await.unwrap();
    let specs: Vec<PlanSpec> = vec![plan("daily", "1 day", "UTC", "06:00", "1.00")];
    world.apply(&specs).await;
    world.enrol(vec![subscriber("d", "daily", "2027-01-16", card(Behaviour::Pays, 1))]).await;
    world.turn(TimeDelta::days(100));
    let report = world.run().await;
    assert_eq!((report.sent, report.quarantined), (0, 1));
    assert_eq!(status(&world, "d").await, SubscriptionStatus::Quarantined);
    world.balance().await;
}

#[tokio::test]
async fn a_dry_run_and_the_run_agree_when_lost_requests_go_out_again() {
    // shows: a question whose answer is "not found" makes its charge due at the very moment of the run; the run's next claim
    // takes it, and the agenda has an item that the dry run could not announce (domain::charge::from_unknown).
    let mut world = World::begin(Backend::Memory, "2027-01-15T10:00:00Z", "agree").await.unwrap();
    world.resettle(|settings| (settings.in_flight, settings.batch) = (1, 1));
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world
        .enrol(
            (0..6).map(|n| subscriber(&format!("sub-{n}"), "gold", "2027-01-15", card(Behaviour::Pays, n))).collect(),
        )
        .await;
    world.turn_to(DUE);
    world.sandbox().set_faults(Faults { cut_before_commit: 1.0, ..Faults::none() });
    world.run().await;
    world.sandbox().set_faults(Faults::none());
    world.turn(TimeDelta::minutes(16));
    let announced = world.engine.dry_run(None, &mut |_| {}).await.unwrap();
    let done = world.run().await;
    assert_eq!((done.items, done.agenda_hash == announced.agenda_hash), (announced.items, true));
    live(&world, "2027-01-16T00:00:00Z").await;
    world.balance().await;
}

#[tokio::test]
async fn a_dry_run_and_the_run_agree_right_after_a_run_that_only_waited() {
    // shows: a row that waits (held, paused, retired) stays leased after its pass; for the next 90 seconds a dry run
    // announces it and a run does not see it (engine::dispatcher::dispatch_due and dispatch_open, store::claims::look_at_*).
    let world = one(Backend::Sqlite, card(Behaviour::Pays, 1)).await.unwrap();
    world.store.hold(&Scope::All, "a rehearsal", "ann", world.now()).await.unwrap();
    assert_eq!(world.run().await.waiting, 1);
    world.turn(TimeDelta::seconds(10));
    let announced = world.engine.dry_run(None, &mut |_| {}).await.unwrap();
    let done = world.run().await;
    assert_eq!((done.items, done.agenda_hash == announced.agenda_hash), (announced.items, true));
    world.balance().await;
}

#[tokio::test]
async fn a_changed_rhythm_bills_nobody_backwards() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T00:00:00Z", "a changed rhythm").await.unwrap();
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    for moment in ["2027-01-15T11:00:00Z", "2027-02-15T11:00:00Z", "2027-03-15T11:00:00Z"] {
        world.turn_to(moment);
        world.run().await;
    }
    // By weeks, cycle 3 would have been in February, and everything since would be due at once.
    world.apply(&[plan("gold", "1 week", "America/New_York", "06:00", "79.00")]).await;
    world.turn_to("2027-04-15T11:00:00Z");
    let report = world.run().await;
    assert_eq!((report.sent, report.quarantined), (0, 1));
    assert_eq!(world.sandbox().ledger().success_count(), 3);
    world.balance().await;
}
