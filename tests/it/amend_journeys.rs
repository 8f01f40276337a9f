//! Stories of people who change a subscription: told in the world, whole engine, gateway and clock.

use chrono::TimeDelta;
use domain::agenda::Scope;
use domain::amendment::{Change, propose};
use domain::charge::{SkipWhy, State};
use domain::id::{PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::{AdjustmentKind, SubscriptionStatus};
use sandbox::{Behaviour, DeclineCode};

use crate::world::{Backend, World, at, card, day, plan, subscriber};

macro_rules! everywhere {
    ($($story:ident;)*) => {
        mod in_memory { $(#[tokio::test] async fn $story() { Box::pin(super::$story(crate::world::Backend::Memory)).await; })* }
        mod on_sqlite { $(#[tokio::test] async fn $story() { Box::pin(super::$story(crate::world::Backend::Sqlite)).await; })* }
        mod on_postgresql { $(#[tokio::test] async fn $story() { Box::pin(super::$story(crate::world::Backend::Postgres)).await; })* }
    };
}

everywhere! {
    a_year_of_a_customer_with_wishes;
    a_try_again_waits_for_the_end_of_the_pause;
    a_charge_that_fails_for_good_keeps_its_credit;
    an_old_charge_goes_on_under_the_plan_it_was_made_under;
    a_hold_on_the_old_plan_or_on_the_new_one_keeps_an_old_charge_back;
}

async fn begin(backend: Backend, behaviour: Behaviour) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", "amendments").await?;
    let silver = plan("silver", "1 month", "America/New_York", "06:00", "49.00");
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00"), silver]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(behaviour, 1))]).await;
    Some(world)
}

async fn change(world: &World, change: Change) {
    let id = SubscriptionId::parse("sub-1").unwrap();
    let row = world.store.subscription(&id).await.unwrap().unwrap().subscription;
    let catalog = world.store.catalog().await.unwrap();
    let (amendment, _) = propose(&catalog, &row, change, ("a wish", "ann"), world.now()).unwrap();
    assert!(world.store.amend(&amendment).await.unwrap().is_some());
}

async fn live(world: &World, until: &str) {
    world.live_until(at(until), TimeDelta::hours(1)).await;
}

/// Number, civil date, day of the charge, amount and word of every charge.
async fn summary(world: &World) -> Vec<String> {
    let told = |charge: &domain::charge::Charge| {
        let (due, word) = (charge.due_at.date_naive(), charge.state.word());
        format!("{} {} {due} {} {word}", charge.cycle, charge.due_on, charge.amount.plain())
    };
    world.charges_of("sub-1").await.iter().map(told).collect()
}

fn adjust(kind: AdjustmentKind, minor: i64) -> Change {
    Change::Adjust { kind, amount: Money::new(minor, Currency::USD) }
}

async fn a_year_of_a_customer_with_wishes(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::Pays).await else { return };
    live(&world, "2027-01-20T00:00:00Z").await;
    change(&world, Change::Skip { cycle: 2 }).await;
    change(&world, Change::Move { cycle: 3, to: day("2027-04-20") }).await;
    change(&world, adjust(AdjustmentKind::Credit, 10_000)).await;
    change(&world, adjust(AdjustmentKind::Charge, 1_000)).await;
    live(&world, "2027-05-01T00:00:00Z").await;
    change(&world, Change::Plan { plan: PlanId::parse("silver").unwrap(), from: None }).await;
    live(&world, "2027-05-20T00:00:00Z").await;
    change(&world, Change::Pause { until: Some(day("2027-08-01")) }).await;
    live(&world, "2027-09-20T00:00:00Z").await;
    change(&world, Change::EndWithPeriod { last_on: None }).await;
    live(&world, "2027-12-31T00:00:00Z").await;
    let expected = [
        "0 2027-01-15 2027-01-15 79.00 paid",
        "1 2027-02-15 2027-02-15 0.00 skipped",
        "2 2027-03-15 2027-03-15 0.00 skipped",
        "3 2027-04-15 2027-04-20 68.00 paid",
        "4 2027-05-15 2027-05-15 49.00 paid",
        "5 2027-06-15 2027-06-15 0.00 skipped",
        "6 2027-07-15 2027-07-15 0.00 skipped",
        "7 2027-08-15 2027-08-15 49.00 paid",
        "8 2027-09-15 2027-09-15 49.00 paid",
    ];
    assert_eq!(summary(&world).await, expected);
    assert_eq!(world.sandbox().ledger().total_collected("USD"), 7_900 + 6_800 + 3 * 4_900);
    let view = world.store.subscription(&SubscriptionId::parse("sub-1").unwrap()).await.unwrap().unwrap();
    assert_eq!(view.subscription.status, SubscriptionStatus::Ended);
    // And every charge is derived again to the cent and to the second, whatever was changed since.
    let catalog = world.store.catalog().await.unwrap();
    for charge in world.charges_of("sub-1").await {
        let plan = &catalog.plans[&charge.plan];
        let (derived, _) = domain::agenda::planned(plan, &view.subscription, charge.cycle).unwrap().unwrap();
        assert_eq!(derived.due_at, charge.due_at, "cycle {}", charge.cycle);
        // What fell into a pause is told by its charge alone: the pause is over.
        if !matches!(charge.state, State::Skipped { why: SkipWhy::Paused, .. }) {
            assert_eq!(derived.amount, charge.amount, "cycle {}", charge.cycle);
        }
        domain::explain::explain(plan, &view.subscription, charge.cycle).unwrap();
    }
    world.balance().await;
}

async fn a_try_again_waits_for_the_end_of_the_pause(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::DeclinesWith(DeclineCode::InsufficientFunds)).await else { return };
    live(&world, "2027-01-15T12:00:00Z").await;
    assert_eq!(summary(&world).await, ["0 2027-01-15 2027-01-15 79.00 failing"]);
    let sent = |world: &World| world.sandbox().ledger().submissions().len();
    let before = sent(&world);
    change(&world, Change::Pause { until: Some(day("2027-03-01")) }).await;
    world.live_until(at("2027-02-28T00:00:00Z"), TimeDelta::days(2)).await;
    live(&world, "2027-03-01T04:59:59Z").await;
    assert_eq!(sent(&world), before, "nothing is tried during the pause");
    live(&world, "2027-03-01T08:00:00Z").await;
    assert_eq!(sent(&world), before + 1, "the try that waited, on the day the pause ends");
    world.balance().await;
}

async fn a_charge_that_fails_for_good_keeps_its_credit(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::DeclinesWith(DeclineCode::StolenCard)).await else { return };
    change(&world, adjust(AdjustmentKind::Credit, 1_250)).await;
    live(&world, "2027-01-16T00:00:00Z").await;
    assert_eq!(summary(&world).await, ["0 2027-01-15 2027-01-15 66.50 failed"]);
    let view = world.store.subscription(&SubscriptionId::parse("sub-1").unwrap()).await.unwrap().unwrap();
    let amendments = &view.subscription.amendments;
    assert_eq!((amendments.open.len(), amendments.applied.len()), (0, 1), "the customer owes 66.50 for it");
    world.balance().await;
}

async fn an_old_charge_goes_on_under_the_plan_it_was_made_under(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::declines(1)).await else { return };
    live(&world, "2027-01-15T12:00:00Z").await;
    change(&world, Change::Plan { plan: PlanId::parse("silver").unwrap(), from: None }).await;
    live(&world, "2027-02-20T00:00:00Z").await;
    let plans: Vec<String> = world.charges_of("sub-1").await.iter().map(|charge| charge.plan.to_string()).collect();
    assert_eq!(plans, ["gold", "silver"]);
    let told = summary(&world).await;
    assert_eq!(told[0], "0 2027-01-15 2027-01-15 79.00 paid", "tried again at the old price");
    assert!(told[1].starts_with("1 2027-02-15 2027-02-15 49.00"), "{told:?}");
    world.balance().await;
}

async fn a_hold_on_the_old_plan_or_on_the_new_one_keeps_an_old_charge_back(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::DeclinesWith(DeclineCode::InsufficientFunds)).await else { return };
    live(&world, "2027-01-15T12:00:00Z").await;
    assert_eq!(summary(&world).await, ["0 2027-01-15 2027-01-15 79.00 failing"]);
    let [gold, silver] = ["gold", "silver"].map(|id| PlanId::parse(id).unwrap());
    change(&world, Change::Plan { plan: silver.clone(), from: None }).await;
    let sent = |world: &World| world.sandbox().ledger().submissions().len();
    let before = sent(&world);
    for (plan, until) in [(gold, "2027-01-25T00:00:00Z"), (silver, "2027-02-05T00:00:00Z")] {
        let scope = Scope::Plan(plan);
        world.store.hold(&scope, "a wrong price", "ann", world.now()).await.unwrap();
        world.live_until(at(until), TimeDelta::days(1)).await;
        assert_eq!(sent(&world), before, "{scope} keeps it back");
        assert!(world.store.lift(&scope, "ann", world.now()).await.unwrap());
    }
    live(&world, "2027-02-06T00:00:00Z").await;
    assert_eq!(sent(&world), before + 1, "the try that waited for both");
    world.balance().await;
}
