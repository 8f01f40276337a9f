//! Journeys of charges that are collected together: whole engine, gateway and clock.

use std::sync::Arc;

use autopay::engine::Refunds;
use autopay::engine::forecaster::{Told, background, walk};
use autopay::gateway::CcgGateway;
use autopay::ports::CatalogChange;
use chrono::TimeDelta;
use domain::agenda::{Item, Scope, planned};
use domain::amendment::{Change, propose};
use domain::charge::{Charge, SkipWhy, State};
use domain::dunning::{AtTheEnd, Policy};
use domain::forecast::{Outcome, Scenario, Script, Which};
use domain::id::{PlanId, PolicyId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanSpec};
use domain::refund::{Reason, Wish};
use domain::subscription::{AdjustmentKind, Subscription, SubscriptionStatus};
use domain::verdict::DeclineClass;
use sandbox::{Behaviour, DeclineCode, Faults, Options};
use tokio_util::sync::CancellationToken;

use crate::world::{Backend, MERCHANT, World, at, bank, card, client, everywhere, plan, subscriber};

#[tokio::test]
async fn a_customer_that_somebody_wrote_otherwise_is_charged_all_the_same() {
    let Some(world) = begin(Backend::Sqlite, Behaviour::Pays).await else { return };
    let database = sea_orm::Database::connect(world.url()).await.unwrap();
    let sql = "UPDATE subscription SET customer = '{ \"enterprise_id\": \"1001\" }' WHERE id = 'a'";
    sea_orm::ConnectionTrait::execute_unprepared(&database, sql).await.unwrap();
    live(&world, "2027-01-16T00:00:00Z").await;
    let paid: i64 = collected(&world).iter().sum();
    assert_eq!(paid, 4_250, "together or apart, nobody is forgotten: {:?}", told(&world).await);
    world.balance().await;
}

everywhere! {
    two_subscriptions_of_a_customer_are_one_payment_each_month;
    a_decline_is_tried_again_with_the_whole_sum;
    a_lost_answer_is_asked_about_and_nothing_is_paid_twice;
    a_payment_that_fails_for_good_pauses_everybody;
    a_payment_under_way_is_foreseen_to_pause_everybody;
    a_part_of_a_payment_goes_back;
    a_cancel_of_either_leaves_the_payment_as_it_is;
    a_credit_of_a_part_is_in_the_part;
    a_payment_that_cannot_be_made_leaves_nothing_to_nobody;
    whoever_is_on_hold_is_charged_later_and_alone;
    a_hold_on_anybody_whom_a_payment_pays_for_stops_its_tries;
    a_dry_run_announces_the_payments_whatever_the_batches;
    workers_that_meet_never_split_a_payment;
}

fn spec(id: &str, hour: &str, price: &str) -> PlanSpec {
    let mut spec = plan(id, "1 month", "America/New_York", hour, price);
    spec.schedule.catch_up = Some("all".to_owned());
    spec.collect.consolidate = Some("customer_and_day".to_owned());
    spec
}

async fn begin(backend: Backend, behaviour: Behaviour) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", "together").await?;
    world.apply(&[spec("gym", "06:00", "30.00"), spec("pool", "18:00", "12.50")]).await;
    let both = [("a", "gym"), ("b", "pool")];
    world.enrol(both.map(|(id, plan)| subscriber(id, plan, "2027-01-15", card(behaviour, 1))).to_vec()).await;
    Some(world)
}

async fn live(world: &World, until: &str) {
    world.live_until(at(until), TimeDelta::hours(1)).await;
}

/// Each charge as `subscription/cycle amount word`.
async fn told(world: &World) -> Vec<String> {
    let line = |charge: &Charge| {
        let word = match &charge.state {
            State::Skipped { why: SkipWhy::Consolidated, .. } => "consolidated",
            state => state.word(),
        };
        format!("{}/{} {} {word}", charge.subscription, charge.cycle, charge.amount.plain())
    };
    world.charges().await.iter().map(line).collect()
}

fn collected(world: &World) -> Vec<i64> {
    world.sandbox().ledger().successes().map(|success| success.amount_minor).collect()
}

async fn status(world: &World, id: &str) -> SubscriptionStatus {
    world.store.subscription(&SubscriptionId::parse(id).unwrap()).await.unwrap().unwrap().subscription.status
}

async fn two_subscriptions_of_a_customer_are_one_payment_each_month(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::Pays).await else { return };
    live(&world, "2027-03-16T10:00:00Z").await;
    let month = |n: u32| [format!("a/{n} 42.50 paid"), format!("b/{n} 12.50 consolidated")];
    assert_eq!(told(&world).await, (0..3).flat_map(month).collect::<Vec<_>>());
    assert_eq!(collected(&world), [4_250; 3]);
    let times: Vec<String> = (world.charges().await.iter())
        .filter_map(|charge| match &charge.state {
            State::Paid { at, .. } => Some(at.format("%m-%d %H:%M").to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(times, ["01-15 11:00", "02-15 11:00", "03-15 10:00"], "at the first's hour, the second's with it");
    world.balance().await;
}

async fn a_decline_is_tried_again_with_the_whole_sum(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::declines(1)).await else { return };
    live(&world, "2027-01-16T00:00:00Z").await;
    assert_eq!(told(&world).await, ["a/0 42.50 failing", "b/0 12.50 consolidated"]);
    live(&world, "2027-02-10T00:00:00Z").await;
    assert_eq!(told(&world).await, ["a/0 42.50 paid", "b/0 12.50 consolidated"]);
    assert_eq!(collected(&world), [4_250]);
    world.balance().await;
}

async fn a_hold_on_anybody_whom_a_payment_pays_for_stops_its_tries(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::declines(1)).await else { return };
    live(&world, "2027-01-16T00:00:00Z").await;
    let scopes =
        [Scope::Plan(PlanId::parse("pool").unwrap()), Scope::Subscription(SubscriptionId::parse("b").unwrap())];
    for (scope, until) in scopes.into_iter().zip(["2027-01-25T00:00:00Z", "2027-02-05T00:00:00Z"]) {
        world.store.hold(&scope, "the pool is closed", "test", world.now()).await.unwrap();
        live(&world, until).await;
        assert_eq!(told(&world).await, ["a/0 42.50 failing", "b/0 12.50 consolidated"], "{scope}");
        assert_eq!(foreseen(&world, &Scenario::AllPay, 9).await, ["a/0 on_hold false"], "{scope}");
        assert_eq!(world.sandbox().ledger().submissions().len(), 1, "{scope}");
        world.store.lift(&scope, "test", world.now()).await.unwrap();
    }
    assert_eq!(foreseen(&world, &Scenario::AllPay, 9).await, ["a/0 in_dunning true"], "lifted");
    live(&world, "2027-02-10T00:00:00Z").await;
    assert_eq!(told(&world).await, ["a/0 42.50 paid", "b/0 12.50 consolidated"]);
    world.balance().await;
}

/// What a forecast says of the charges of the next days: the weightiest reason against each, and whether it is expected.
async fn foreseen(world: &World, scenario: &Scenario, days: i64) -> Vec<String> {
    let now = world.now();
    let background = background(&*world.store, MERCHANT, now, false).await.unwrap();
    let until = (now + TimeDelta::days(days)).date_naive();
    let mut seen = Vec::new();
    let tell = |told: Told<'_>| {
        if let Told::Charge(entry, _) = told {
            let why = entry.risks.first().word();
            seen.push(format!("{}/{} {why} {}", entry.subscription.id, entry.cycle, !entry.pieces.is_empty()));
        }
    };
    let whose = (MERCHANT, &world.limits);
    walk(&*world.store, &background, whose, (now, until), scenario, tell).await.unwrap();
    seen
}

async fn a_lost_answer_is_asked_about_and_nothing_is_paid_twice(backend: Backend) {
    let options = Options { faults: Faults { cut_after_commit: 1.0, ..Faults::none() }, ..Options::default() };
    let Some(mut world) = World::begin_with(backend, "2027-01-15T11:00:00Z", "together, lost", options).await else {
        return;
    };
    world.apply(&[spec("gym", "06:00", "30.00"), spec("pool", "07:00", "12.50")]).await;
    let both = [("a", "gym"), ("b", "pool")];
    world.enrol(both.map(|(id, plan)| subscriber(id, plan, "2027-01-15", card(Behaviour::Pays, 1))).to_vec()).await;
    world.run().await;
    assert_eq!(told(&world).await, ["a/0 42.50 outcome_unknown", "b/0 12.50 consolidated"]);
    world.sandbox().set_faults(Faults::none());
    world.restart().await;
    live(&world, "2027-01-16T00:00:00Z").await;
    assert_eq!(told(&world).await, ["a/0 42.50 paid", "b/0 12.50 consolidated"]);
    assert_eq!(collected(&world), [4_250]);
    world.balance().await;
}

/// What is under way of a payment ends, by a script, as a payment to come does: for everybody for whom it was to pay.
async fn a_payment_under_way_is_foreseen_to_pause_everybody(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::declines(1)).await else { return };
    live(&world, "2027-01-16T00:00:00Z").await;
    assert_eq!(told(&world).await, ["a/0 42.50 failing", "b/0 12.50 consolidated"]);
    let lead = Which { subscription: SubscriptionId::parse("a").ok(), cycle: Some(0), attempt: None };
    let mut script = Script::default();
    script.add(lead, Outcome::Declined(DeclineClass::Never));
    let scenario = Scenario::Script(script);
    assert_eq!(foreseen(&world, &scenario, 40).await, ["a/0 given_up false", "a/1 paused false", "b/1 paused false"]);
    assert_eq!(
        foreseen(&world, &Scenario::AllPay, 40).await,
        ["a/0 in_dunning true", "a/1 may_be_declined true", "b/1 may_be_declined true"]
    );
    world.balance().await;
}

async fn a_payment_that_fails_for_good_pauses_everybody(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::DeclinesWith(DeclineCode::StolenCard)).await else { return };
    let mut policy = Policy::standard().unwrap();
    (policy.id, policy.at_the_end) = (PolicyId::parse("strict").unwrap(), AtTheEnd::PauseSubscription);
    let plans = [("gym", "06:00", "30.00"), ("pool", "18:00", "12.50")].map(|(id, hour, price)| {
        let mut spec = spec(id, hour, price);
        spec.collect.dunning = Some("strict".to_owned());
        (spec.clone(), Plan::from_spec(&spec, 0).unwrap())
    });
    let change = CatalogChange { plans: plans.to_vec(), policies: vec![policy] };
    world.store.apply(&change, "test", world.now()).await.unwrap();
    live(&world, "2027-02-20T00:00:00Z").await;
    assert_eq!(told(&world).await, ["a/0 42.50 failed", "b/0 12.50 consolidated"]);
    assert_eq!(
        (status(&world, "a").await, status(&world, "b").await),
        (SubscriptionStatus::Paused, SubscriptionStatus::Paused)
    );
    assert_eq!(collected(&world), [0_i64; 0]);
    world.balance().await;
}

async fn a_part_of_a_payment_goes_back(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::Pays).await else { return };
    live(&world, "2027-01-16T12:00:00Z").await;
    let charges = world.charges().await;
    let refunds = Refunds::new(world.engine.clone(), Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)));
    let part = charges[1].amount;
    let wish = Wish { amount: Some(part), ..Wish::all(Reason::parse("the pool was closed").unwrap()) };
    assert!(
        refunds.record(charges[1].id, &wish, "ann").await.is_err(),
        "what the other charge collected is refunded there"
    );
    let id = refunds.record(charges[0].id, &wish, "ann").await.unwrap().refund.id;
    refunds.run_once_until(CancellationToken::new()).await.unwrap();
    for _ in 0..5 {
        world.turn(TimeDelta::hours(6));
        refunds.run_once_until(CancellationToken::new()).await.unwrap();
    }
    let given_back = world.store.refund(id).await.unwrap().unwrap().refund.given_back();
    assert_eq!(given_back, Money::new(1_250, Currency::USD));
    assert_eq!(told(&world).await, ["a/0 42.50 paid", "b/0 12.50 consolidated"]);
    world.balance().await;
}

async fn a_cancel_of_either_leaves_the_payment_as_it_is(backend: Backend) {
    for cancelled in ["a", "b"] {
        let Some(world) = begin(backend, Behaviour::declines(1)).await else { return };
        live(&world, "2027-01-15T20:00:00Z").await;
        assert_eq!(told(&world).await, ["a/0 42.50 failing", "b/0 12.50 consolidated"]);
        let id = SubscriptionId::parse(cancelled).unwrap();
        world.store.cancel(&id, "ann", world.now()).await.unwrap().unwrap();
        live(&world, "2027-02-20T00:00:00Z").await;
        let then = match cancelled {
            "a" => ["a/0 42.50 paid", "b/0 12.50 consolidated", "b/1 12.50 paid"],
            _ => ["a/0 42.50 paid", "b/0 12.50 consolidated", "a/1 30.00 paid"],
        };
        assert_eq!(told(&world).await, then, "{cancelled} was cancelled");
        world.balance().await;
    }
}

async fn a_credit_of_a_part_is_in_the_part(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::Pays).await else { return };
    let id = SubscriptionId::parse("b").unwrap();
    let row = world.store.subscription(&id).await.unwrap().unwrap().subscription;
    let change = Change::Adjust { kind: AdjustmentKind::Credit, amount: Money::new(1_600, Currency::USD) };
    let catalog = world.store.catalog().await.unwrap();
    let (change, _) = propose(&catalog, &row, change, ("closed", "ann"), world.now()).unwrap();
    world.store.amend(&change).await.unwrap().unwrap();
    live(&world, "2027-03-16T10:00:00Z").await;
    let expected = [
        "a/0 30.00 paid",
        "b/0 0.00 skipped",
        "a/1 39.00 paid",
        "b/1 9.00 consolidated",
        "a/2 42.50 paid",
        "b/2 12.50 consolidated",
    ];
    assert_eq!(told(&world).await, expected, "what costs nothing is nobody's part");
    let view = world.store.subscription(&id).await.unwrap().unwrap().subscription;
    let used: Vec<(u32, i64)> = view.amendments.applied.iter().map(|one| (one.cycle, one.amount.minor())).collect();
    assert_eq!(used, [(0, 1_250), (1, 350)]);
    // Each is derived again to the cent and the second.
    for charge in world.charges().await {
        let row = world.store.subscription(&charge.subscription).await.unwrap().unwrap().subscription;
        let (derived, _) = planned(&catalog.plans[&charge.plan], &row, charge.cycle).unwrap().unwrap();
        assert_eq!((derived.amount, derived.due_at), (charge.own_amount(), charge.due_at), "{charge:?}");
    }
    world.balance().await;
}

/// The gateway knows no such channel of a consent: what cannot be composed sets its subscription aside, and the others are drawn again.
async fn a_payment_that_cannot_be_made_leaves_nothing_to_nobody(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "together, not composed").await else { return };
    world.apply(&[spec("gym", "06:00", "30.00"), spec("pool", "18:00", "12.50")]).await;
    let row = |id: &str, plan: &str, channel: &str| {
        let mut method = bank(Behaviour::Pays, 1).unwrap();
        method.consent.as_mut().unwrap().channel = channel.to_owned();
        subscriber(id, plan, "2027-01-15", Some(method))
    };
    world.enrol(vec![row("a", "gym", "FAX"), row("b", "pool", "FAX"), row("c", "gym", "WEB")]).await;
    world.turn_to("2027-01-15T11:00:00Z");
    world.run().await;
    let statuses = [status(&world, "a").await, status(&world, "b").await, status(&world, "c").await];
    assert_eq!(statuses, [SubscriptionStatus::Quarantined, SubscriptionStatus::Active, SubscriptionStatus::Active]);
    let charged: Vec<String> = world.charges().await.iter().map(|charge| charge.subscription.to_string()).collect();
    assert_eq!(charged, ["c"], "b comes at its own hour, and nobody has left it out");
    world.turn_to("2027-01-15T23:00:00Z");
    world.run().await;
    assert_eq!(status(&world, "b").await, SubscriptionStatus::Quarantined);
    assert_eq!(world.charges().await.len(), 1);
}

async fn whoever_is_on_hold_is_charged_later_and_alone(backend: Backend) {
    let Some(world) = begin(backend, Behaviour::Pays).await else { return };
    world.enrol(vec![subscriber("c", "gym", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    let scope = Scope::Subscription(SubscriptionId::parse("a").unwrap());
    world.store.hold(&scope, "a question", "ann", world.now()).await.unwrap();
    live(&world, "2027-01-15T13:00:00Z").await;
    assert_eq!(told(&world).await, ["c/0 42.50 paid", "b/0 12.50 consolidated"]);
    world.store.lift(&scope, "ann", world.now()).await.unwrap();
    live(&world, "2027-01-15T15:00:00Z").await;
    assert_eq!(collected(&world), [4_250, 3_000]);
    world.balance().await;
}

/// The id of a customer's subscription: those of most customers stand beside each other, those of others lie far apart.
fn named(customer: u64, n: u64) -> String {
    if customer.is_multiple_of(3) { format!("z{n}-{customer:03}") } else { format!("{customer:03}-{n}") }
}

/// Whose subscription it is.
fn customer_of(id: &str) -> u64 {
    id.split('-').find(|part| part.len() == 3).unwrap().parse().unwrap()
}

/// Customers with one to four subscriptions each.
fn crowd(customers: u64) -> Vec<Subscription> {
    let mut rows = Vec::new();
    for customer in 0..customers {
        for n in 0..=(customer % 4) {
            let plan = if n % 2 == 0 { "gym" } else { "pool" };
            let mut row = subscriber(&named(customer, n), plan, "2027-01-15", card(Behaviour::Pays, customer));
            row.customer.enterprise_id = Some(customer.to_string());
            rows.push(row);
        }
    }
    rows
}

/// What a customer of the crowd pays a month.
fn share(customer: u64) -> i64 {
    let n = i64::try_from(customer % 4).unwrap();
    (n / 2 + 1) * 3_000 + (n + 1) / 2 * 1_250
}

async fn a_dry_run_announces_the_payments_whatever_the_batches(backend: Backend) {
    let mut hashes = Vec::new();
    for batch in [1, 7, 500] {
        let Some(mut world) = World::begin(backend, "2027-01-15T10:00:00Z", "together, dry").await else { return };
        world.apply(&[spec("gym", "06:00", "30.00"), spec("pool", "18:00", "12.50")]).await;
        world.enrol(crowd(24)).await;
        world.resettle(|settings| settings.batch = batch);
        world.turn_to("2027-01-15T11:00:00Z");
        let mut sums = Vec::new();
        let mut take = |items: &[Item]| {
            sums.extend(
                items
                    .iter()
                    .filter(|item| item.action.name() == "send")
                    .map(|item| item.charge.as_ref().unwrap().amount.minor()),
            );
        };
        let announced = world.engine.dry_run(None, &mut take).await.unwrap();
        assert_eq!(announced.sent, 24, "one payment for each customer");
        let done = world.run().await;
        assert_eq!((&announced.agenda_hash, announced.items), (&done.agenda_hash, done.items), "batches of {batch}");
        assert_eq!((done.sent, done.paid, done.lost), (24, 24, 0));
        sums.sort_unstable();
        let mut expected: Vec<i64> = (0..24).map(share).collect();
        expected.sort_unstable();
        assert_eq!(sums, expected);
        let mut paid = collected(&world);
        paid.sort_unstable();
        assert_eq!(paid, expected);
        hashes.push(done.agenda_hash);
        world.balance().await;
    }
    assert!(hashes.windows(2).all(|two| two[0] == two[1]), "{hashes:?}");
}

/// Three workers over one store, in batches so small that a customer's subscriptions fall into many of them.
async fn workers_that_meet_never_split_a_payment(backend: Backend) {
    const CUSTOMERS: u64 = 60;
    let Some(mut world) = World::begin(backend, "2027-01-15T10:00:00Z", "together, crowded").await else { return };
    world.apply(&[spec("gym", "06:00", "30.00"), spec("pool", "06:00", "12.50")]).await;
    world.enrol(crowd(CUSTOMERS)).await;
    world.resettle(|settings| settings.batch = 2);
    let mut engines = vec![world.engine.clone()];
    for _ in 0..2 {
        world.restart().await;
        world.resettle(|settings| settings.batch = 2);
        engines.push(world.engine.clone());
    }
    world.turn_to("2027-01-15T11:00:00Z");
    let mut sent = 0;
    for _ in 0..4 {
        let passes =
            engines.iter().cloned().map(|engine| tokio::spawn(async move { engine.run_once().await.unwrap() }));
        for pass in passes.collect::<Vec<_>>() {
            sent += pass.await.unwrap().sent;
        }
        world.turn(TimeDelta::seconds(100));
    }
    let payments: Vec<(u64, i64)> = (world.sandbox().ledger().successes())
        .map(|success| (customer_of(&success.metadata["subscription"]), success.amount_minor))
        .collect();
    let mut expected: Vec<(u64, i64)> = (0..CUSTOMERS).map(|customer| (customer, share(customer))).collect();
    let mut found = payments.clone();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "each customer one payment, of everything");
    assert_eq!(sent, CUSTOMERS);
    assert_eq!(world.charges().await.len(), crowd(CUSTOMERS).len());
    world.balance().await;
}
