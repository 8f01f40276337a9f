//! The contract of what a comparison of forecast and reality reads, told of the map, of SQLite and of PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::engine::Refunds;
use autopay::gateway::CcgGateway;
use autopay::ports::Listed;
use autopay::ports::compare::MonthOf;
use autopay::ports::dispute::DisputeEvent;
use autopay::ports::webhooks::{InboxId, Subject};
use chrono::{DateTime, TimeDelta, Utc};
use domain::amendment::{Change, propose};
use domain::charge::State;
use domain::dispute::Standing;
use domain::id::{ChargeId, MerchantId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::refund::{Reason, Wish};
use domain::subscription::AdjustmentKind;
use sandbox::{Behaviour, Options};
use tokio_util::sync::CancellationToken;

use crate::webhook_support::{Ports, ports};
use crate::world::{Backend, MERCHANT, World, at, card, client, day, everywhere, plan, subscriber};

everywhere! {
    what_was_collected_is_less_what_went_back_and_what_is_disputed;
    subscriptions_come_with_what_people_changed;
}

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

/// A world in which six cards paid 79.00 on 15 January.
async fn paid(backend: Backend) -> Option<(World, Ports)> {
    let clock = Arc::new(TurnedClock::new(at("2027-01-10T00:00:00Z")));
    let (ports, keep, url) = ports(backend, clock.clone(), "what a comparison reads").await?;
    let world = World::begin_around(backend, clock, (ports.store.clone(), keep, url), Options::default()).await;
    world.apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00")]).await;
    let rows =
        ["a", "b", "c", "d", "e", "f"].map(|who| subscriber(who, "gold", "2027-01-15", card(Behaviour::Pays, 1)));
    world.enrol(rows.into()).await;
    world.turn_to("2027-01-15T11:00:00Z");
    assert_eq!(world.run().await.paid, 6);
    Some((world, ports))
}

async fn charge(world: &World, who: &str) -> (ChargeId, DateTime<Utc>) {
    let charge = world.charges_of(who).await.remove(0);
    let State::Paid { at, .. } = charge.state else { panic!("{charge:?}") };
    (charge.id, at)
}

fn january() -> MonthOf {
    let paid_before = at("2027-02-01T00:00:00Z");
    MonthOf { merchant: MERCHANT, from: day("2027-01-01"), until: day("2027-01-31"), paid_before }
}

async fn what_was_collected_is_less_what_went_back_and_what_is_disputed(backend: Backend) {
    let Some((world, ports)) = paid(backend).await else { return };
    let collected = async |of: MonthOf| {
        let sums = world.store.collected(of).await.unwrap();
        assert!(sums.keys().all(|currency| *currency == Currency::USD));
        sums.get(&Currency::USD).copied()
    };
    assert_eq!(collected(january()).await, Some(47_400));
    let (_, paid_at) = charge(&world, "a").await;
    let paid_before = |paid_before| MonthOf { paid_before, ..january() };
    assert_eq!(collected(paid_before(paid_at)).await, None, "what was paid at that instant came after it");
    assert_eq!(collected(paid_before(paid_at + TimeDelta::microseconds(1))).await, Some(47_400));
    assert_eq!(collected(MonthOf { from: day("2027-01-16"), ..january() }).await, None);
    assert_eq!(collected(MonthOf { until: day("2027-01-14"), ..january() }).await, None);
    assert_eq!(
        collected(MonthOf { from: day("2027-01-15"), until: day("2027-01-15"), ..january() }).await,
        Some(47_400)
    );
    assert_eq!(collected(MonthOf { merchant: MerchantId(uuid::Uuid::nil()), ..january() }).await, None);

    let mut told = 0;
    let mut dispute = async |who: &str, name: &str, claim: (Option<i64>, Option<&str>), standing: Standing| {
        told += 1;
        let (charge, _) = charge(&world, who).await;
        let key = world.store.attempts(charge).await.unwrap()[0].key;
        let event = DisputeEvent {
            gateway_id: name.to_owned(),
            subject: Subject { key: Some(key), payment_id: None },
            allocation_id: None,
            amount_minor: claim.0,
            currency: claim.1.map(str::to_owned),
            reason: None,
            name: "DISPUTE".to_owned(),
            status: None,
            standing,
        };
        let delivery = InboxId(uuid::Uuid::from_u128(told));
        ports.disputes.record_dispute(MERCHANT, &event, delivery, world.now()).await.unwrap().unwrap();
    };
    dispute("a", "1", (Some(2_000), Some("USD")), Standing::Open).await;
    assert_eq!(collected(january()).await, Some(45_400));
    dispute("a", "1", (None, None), Standing::Lost).await;
    assert_eq!(collected(january()).await, Some(45_400), "a lost dispute keeps what it withdrew");
    dispute("b", "2", (None, None), Standing::Closed).await;
    assert_eq!(collected(january()).await, Some(37_500), "without an amount it is all of it");
    dispute("c", "3", (Some(5_000), Some("USD")), Standing::UnderReview).await;
    dispute("c", "4", (Some(5_000), Some("USD")), Standing::NeedsResponse).await;
    assert_eq!(collected(january()).await, Some(29_600), "and never more than was there");
    dispute("d", "5", (Some(100), Some("EUR")), Standing::Open).await;
    assert_eq!(collected(january()).await, Some(21_700), "another currency says nothing about how much");
    dispute("e", "6", (Some(7_900), Some("USD")), Standing::Won).await;
    assert_eq!(collected(january()).await, Some(21_700), "a dispute that was won withdraws nothing");
    let mut ids = BTreeMap::new();
    for who in ["a", "b", "c", "d", "e", "f"] {
        ids.insert(charge(&world, who).await.0, who);
    }
    let all: Vec<ChargeId> = ids.keys().copied().collect();
    let claims = world.store.disputed(&all).await.unwrap();
    let shown: BTreeMap<&str, Vec<String>> = claims
        .iter()
        .map(|(charge, claims)| {
            let shown = |claim: &Option<Money>| claim.map_or_else(|| "?".to_owned(), |money| money.to_string());
            (ids[charge], claims.iter().map(shown).collect())
        })
        .collect();
    let expected =
        [("a", vec!["USD 20.00"]), ("b", vec!["?"]), ("c", vec!["USD 50.00", "USD 50.00"]), ("d", vec!["EUR 1.00"])];
    let expected = expected.map(|(who, claims)| (who, claims.into_iter().map(str::to_owned).collect::<Vec<_>>()));
    assert_eq!(shown, BTreeMap::from(expected));
    assert_eq!(world.store.disputed(&[]).await.unwrap(), BTreeMap::new());

    let refunds = Refunds::new(world.engine.clone(), Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)));
    let part =
        Wish { amount: Some(Money::new(1_000, Currency::USD)), ..Wish::all(Reason::parse("came back").unwrap()) };
    refunds.record(charge(&world, "f").await.0, &part, "ann").await.unwrap();
    assert_eq!(collected(january()).await, Some(21_700), "nothing went back yet");
    world.turn_to("2027-02-10T00:00:00Z");
    assert_eq!(refunds.run_once_until(CancellationToken::new()).await.unwrap().refunded, 1);
    assert_eq!(collected(january()).await, Some(20_700), "a refund counts whenever it comes");
    assert_eq!(collected(paid_before(paid_at)).await, None, "and not where the money came later");
    world.balance().await;
}

async fn subscriptions_come_with_what_people_changed(backend: Backend) {
    let Some((world, _)) = paid(backend).await else { return };
    let change = async |who: &str, change: Change| {
        let row = world.store.subscription(&id(who)).await.unwrap().unwrap().subscription;
        let catalog = world.store.catalog().await.unwrap();
        let (amendment, _) = propose(&catalog, &row, change, ("a wish", "ann"), world.now()).unwrap();
        assert!(world.store.amend(&amendment).await.unwrap().is_some());
    };
    change("a", Change::Move { cycle: 1, to: day("2027-02-20") }).await;
    let amount = Money::new(500, Currency::USD);
    change("b", Change::Adjust { kind: AdjustmentKind::Credit, amount }).await;
    world.turn_to("2027-02-15T11:00:00Z");
    world.run().await;
    let found = world.store.subscriptions_of(&[id("c"), id("nobody"), id("b"), id("a")]).await.unwrap();
    assert_eq!(found.keys().map(SubscriptionId::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    for (id, listed) in found {
        let Listed::Whole(row) = listed else { panic!("{id} cannot be read") };
        assert_eq!(row, world.store.subscription(&id).await.unwrap().unwrap().subscription);
        let (moved, taken) = (row.amendments.overrides.len(), row.amendments.applied.len());
        assert_eq!((moved, taken), (usize::from(id.as_str() == "a"), usize::from(id.as_str() == "b")), "{id}");
    }
    assert_eq!(world.store.subscriptions_of(&[]).await.unwrap(), BTreeMap::new());
}
