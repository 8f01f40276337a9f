//! Journeys of what a policy's end does: a queue that takes over, a subscription that stands unpaid; and of a try that the database will not have.

use std::collections::BTreeSet;

use autopay::ports::cases::Cases;
use autopay::ports::{CatalogChange, ChargeFilter, Resume, SubscriptionFilter};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::TimeDelta;
use domain::agenda::resume;
use domain::amendment::{Change, propose};
use domain::charge::{Ruling, State};
use domain::dunning::{AtTheEnd, Policy};
use domain::id::{PolicyId, SubscriptionId};
use domain::plan::Plan;
use domain::subscription::{Subscription, SubscriptionStatus};
use sandbox::{Behaviour, DeclineCode, ReturnCode};
use sea_orm::ConnectionTrait as _;

use crate::world::{Backend, World, bank, card, everywhere, plan, subscriber};

everywhere! {
    a_charge_is_handed_over_once_to_the_queue_it_failed_under;
    an_unpaid_subscription_is_charged_nothing_and_owes_what_passed;
    what_a_pause_was_to_leave_out_is_not_owed_by_one_that_stands_unpaid;
    a_try_that_the_database_refuses_stops_no_neighbours;
}

fn policy(at_the_end: AtTheEnd, hand_to: Option<&str>) -> Policy {
    let hand_to = hand_to.map(ToOwned::to_owned);
    Policy { id: PolicyId::parse("ends").unwrap(), at_the_end, hand_to, ..Policy::standard().unwrap() }
}

async fn apply(world: &World, policy: Policy) {
    let mut spec = plan("gold", "1 month", "UTC", "10:00", "79.00");
    spec.collect.dunning = Some("ends".to_owned());
    let plan = Plan::from_spec(&spec, 0).unwrap();
    let change = CatalogChange { plans: vec![(spec, plan)], policies: vec![policy] };
    world.store.apply(&change, "test", world.now()).await.unwrap();
}

async fn row(world: &World, name: &str) -> Subscription {
    world.store.subscription(&SubscriptionId::parse(name).unwrap()).await.unwrap().unwrap().subscription
}

async fn a_charge_is_handed_over_once_to_the_queue_it_failed_under(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "handed").await else { return };
    apply(&world, policy(AtTheEnd::KeepSubscription, Some("collections"))).await;
    let poor = card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 1);
    let stolen = card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 2);
    let pays = card(Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds }, 3);
    let rows = [("poor", poor), ("stolen", stolen), ("late", pays)];
    world.enrol(rows.into_iter().map(|(id, method)| subscriber(id, "gold", "2027-01-05", method)).collect()).await;
    world.run_until("2027-01-06T00:00:00Z").await;
    let handed = async |queue: &str| {
        let filter =
            ChargeFilter { handed_to: Some(queue.to_owned()), cases: Some(Cases::Ended), ..ChargeFilter::default() };
        let found = world.store.charges(&filter, &None, 100).await.unwrap();
        found.iter().map(|charge| charge.subscription.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(handed("collections").await, ["stolen"], "what is failing is in nobody's queue yet");
    // Another queue from now on: what failed under the first one is told to the first one.
    apply(&world, policy(AtTheEnd::KeepSubscription, Some("agency"))).await;
    world.run_until("2027-02-04T00:00:00Z").await;
    let mut both = handed("collections").await;
    both.sort();
    assert_eq!((both, handed("agency").await.len()), (vec!["poor".to_owned(), "stolen".to_owned()], 0));
    for name in ["poor", "stolen", "late"] {
        let charge = world.charges_of(name).await.remove(0);
        let told = world.store.case_story(charge.id).await.unwrap();
        let ends: Vec<_> = told.iter().filter(|entry| entry.event == "dunning.case.ended").collect();
        assert_eq!(ends.len(), 1, "{name}: {told:#?}");
        assert_eq!(ends[0].detail.ends_with("; handed to collections"), name != "late", "{name}: {}", ends[0].detail);
    }
    // Whoever takes it up again has it back.
    let charge = world.charges_of("poor").await.remove(0);
    let note = autopay::ports::people::PersonsNote {
        by: "ann".to_owned(),
        action: "charge.retried",
        detail: "topped up".to_owned(),
    };
    world.engine.rule(charge.id, Ruling::TryNow, &note).await.unwrap();
    assert_eq!(handed("collections").await, ["stolen"]);
    world.balance().await;
}

async fn an_unpaid_subscription_is_charged_nothing_and_owes_what_passed(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "unpaid").await else { return };
    apply(&world, policy(AtTheEnd::MarkUnpaid, None)).await;
    let stolen = card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 1);
    world.enrol(vec![subscriber("a", "gold", "2027-01-05", stolen)]).await;
    world.run_until("2027-03-20T00:00:00Z").await;
    let failed = world.charges_of("a").await;
    assert_eq!(failed.len(), 1, "no later cycle was charged");
    assert!(matches!(failed[0].state, State::Failed { .. }));
    let unpaid = row(&world, "a").await;
    assert_eq!((unpaid.status, unpaid.word()), (SubscriptionStatus::Paused, "unpaid"));
    assert_eq!((unpaid.amendments.unpaid, unpaid.next_cycle), (Some(failed[0].id), 1));
    // It stands paused, and a list of the paused ones that are not unpaid leaves it out.
    for (wanted, found) in [(None, 1), (Some(true), 1), (Some(false), 0)] {
        let filter = SubscriptionFilter {
            status: Some(SubscriptionStatus::Paused),
            unpaid: wanted,
            ..SubscriptionFilter::default()
        };
        let page = world.store.list_subscriptions(&filter, &None, 10).await.unwrap();
        assert_eq!(page.rows.len(), found, "{wanted:?}");
    }
    // A new card, and a person who says that it goes on: what passed is owed.
    let paying = Subscription { method: card(Behaviour::Pays, 2), ..unpaid.clone() };
    world.store.import(&[paying], "test", world.now()).await.unwrap();
    assert_eq!(row(&world, "a").await.word(), "unpaid", "a new method alone resumes nothing");
    let now = world.now();
    let goes_on = resume(&world.store.catalog().await.unwrap().plans[&unpaid.plan], &unpaid, false, now).unwrap();
    let from = Resume { from_cycle: unpaid.next_cycle, goes_on, owed_until: Some(now) };
    assert!(world.store.resume_because(&unpaid.id, &from, "paid up", "ann", now).await.unwrap());
    let resumed = row(&world, "a").await;
    assert_eq!((resumed.word(), resumed.amendments.unpaid), ("active", None));
    world.run_until("2027-03-21T00:00:00Z").await;
    let charges = world.charges_of("a").await;
    let paid = charges.iter().filter(|charge| matches!(charge.state, State::Paid { .. }));
    assert_eq!(paid.map(|charge| charge.cycle).collect::<Vec<_>>(), [1, 2]);
    world.balance().await;
}

async fn what_a_pause_was_to_leave_out_is_not_owed_by_one_that_stands_unpaid(backend: Backend) {
    for (resumed_at, passed_over, charged) in
        [("2027-03-20T00:00:00Z", vec![1], vec![2, 3]), ("2027-02-01T00:00:00Z", vec![1], vec![2, 3])]
    {
        let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "unpaid in a pause").await else { return };
        apply(&world, policy(AtTheEnd::MarkUnpaid, None)).await;
        let closed = bank(Behaviour::AchReturned { days: Some(5), code: ReturnCode::R02 }, 1);
        world.enrol(vec![subscriber("a", "gold", "2027-01-05", closed)]).await;
        world.run_until("2027-01-06T00:00:00Z").await;
        let until = Some("2027-03-01".parse().unwrap());
        let propose_pause = async |row: &Subscription| {
            let catalog = world.store.catalog().await.unwrap();
            propose(&catalog, row, Change::Pause { until }, ("a journey", "ann"), world.now())
        };
        let (pause, _) = propose_pause(&row(&world, "a").await).await.unwrap();
        assert!(world.store.amend(&pause).await.unwrap().is_some());
        world.run_until("2027-01-25T00:00:00Z").await;
        let unpaid = row(&world, "a").await;
        assert_eq!((unpaid.word(), unpaid.amendments.resume_on), ("unpaid", until));
        assert!(unpaid.next_due_at.is_none() && !unpaid.wakes_by_itself());
        assert!(propose_pause(&unpaid).await.unwrap_err().message.contains("unpaid"), "nor is it paused again");

        world.run_until(resumed_at).await;
        assert_eq!(world.charges_of("a").await.len(), 1, "{resumed_at}: it woke by itself");
        let paying = Subscription { method: card(Behaviour::Pays, 2), ..row(&world, "a").await };
        world.store.import(std::slice::from_ref(&paying), "test", world.now()).await.unwrap();
        let now = world.now();
        let goes_on = resume(&world.store.catalog().await.unwrap().plans[&paying.plan], &paying, false, now).unwrap();
        let from = Resume { from_cycle: paying.next_cycle, goes_on, owed_until: Some(now) };
        assert!(world.store.resume_because(&paying.id, &from, "paid up", "ann", now).await.unwrap());
        world.run_until("2027-04-06T00:00:00Z").await;
        let charges = world.charges_of("a").await;
        let cycles = |word: &str| {
            let of = charges.iter().filter(|charge| charge.state.word() == word);
            of.map(|charge| charge.cycle).collect::<Vec<_>>()
        };
        assert_eq!((cycles("skipped"), cycles("paid")), (passed_over, charged), "{resumed_at}: {charges:#?}");
        world.balance().await;
    }
}

/// Statements after which no charge of subscription b may be sent, and those that mend it; `None` without a database.
const fn refusing(backend: Backend) -> Option<[&'static str; 2]> {
    match backend {
        Backend::Memory => None,
        Backend::Sqlite => Some([
            "CREATE TRIGGER refusing BEFORE UPDATE ON charge WHEN NEW.subscription_id = 'b' AND NEW.state = 'sending' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END",
            "DROP TRIGGER refusing",
        ]),
        Backend::Postgres => Some([
            "ALTER TABLE charge ADD CONSTRAINT refusing CHECK (subscription_id <> 'b' OR state <> 'sending') NOT VALID",
            "ALTER TABLE charge DROP CONSTRAINT refusing",
        ]),
    }
}

async fn a_try_that_the_database_refuses_stops_no_neighbours(backend: Backend) {
    let Some([spoil, mend]) = refusing(backend) else { return };
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "refusing").await else { return };
    apply(&world, Policy { id: PolicyId::parse("ends").unwrap(), ..Policy::standard().unwrap() }).await;
    let once = |n| card(Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds }, n);
    let rows = (1..).zip(["a", "b", "c", "d", "e"]).map(|(n, id)| subscriber(id, "gold", "2027-01-05", once(n)));
    world.enrol(rows.collect()).await;
    world.run_until("2027-01-06T00:00:00Z").await;
    let database = open(&DatabaseUrl::parse(world.url()).unwrap(), Pool::engine(1)).await.unwrap();
    database.execute_unprepared(spoil).await.unwrap();
    let words = async || {
        let charges = world.charges().await.into_iter();
        charges.map(|charge| format!("{} {}", charge.subscription, charge.state.word())).collect::<BTreeSet<_>>()
    };
    let all = |b: &str| BTreeSet::from(["a paid", b, "c paid", "d paid", "e paid"].map(ToOwned::to_owned));
    world.turn_to("2027-01-12T00:00:00Z");
    world.run().await;
    assert_eq!(words().await, all("b failing"));
    database.execute_unprepared(mend).await.unwrap();
    world.turn(TimeDelta::seconds(90));
    world.run().await;
    assert_eq!(words().await, all("b paid"));
    database.close().await.unwrap();
    world.balance().await;
}
