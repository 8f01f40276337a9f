//! The notice gate: no charge before its payer was told, through the real engine, notifier, postman and courier.

use std::sync::Arc;
use std::time::Duration;

use autopay::clock::TurnedClock;
use autopay::courier::{EndpointSettings, HttpCourier, Reach};
use autopay::engine::{Asked, Notifier, Postman, PostmanParts};
use autopay::ports::notices::NoticeFilter;
use domain::plan::{AmountSpec, CollectSpec, PlanSpec, StepSpec};
use sandbox::{Behaviour, Options};
use tokio_util::sync::CancellationToken;

use crate::contract_outbox::{routes, telling};
use crate::events::{Receiver, SECRET};
use crate::world::{Backend, World, at, bank, card, everywhere, plan, subscriber};

everywhere! {
    payers_are_told_in_time_and_charged_on_their_day;
    a_charge_waits_until_its_payer_was_told_and_nothing_else_moves;
    a_moved_amount_owes_another_notice_and_a_retry_owes_none;
    a_debit_that_differs_waits_for_its_notice_and_cards_do_not;
}

struct Story {
    world: World,
    notifier: Notifier,
    postman: Postman,
    receiver: Receiver,
}

impl Story {
    async fn begin(backend: Backend, now: &str, test: &str) -> Option<Self> {
        let clock = Arc::new(TurnedClock::new(at(now)));
        let (store, outbox, keep, url) = telling(backend, clock.clone(), routes(&["billing"]), test).await?;
        let around = (store.clone(), keep, url);
        let mut world = World::begin_around(backend, clock.clone(), around, Options::default()).await;
        world.resettle(|settings| settings.assume_notices = false);
        let receiver = Receiver::default();
        let endpoint = EndpointSettings {
            name: "billing".to_owned(),
            url: receiver.listen().await,
            secrets: vec![SECRET.to_owned().into()],
        };
        let courier = Arc::new(HttpCourier::new(&[endpoint], Reach::PublicAndLoopback).unwrap());
        let endpoints = vec!["billing".to_owned()];
        let heartbeat = Duration::from_secs(1);
        let postman = Postman::new(PostmanParts { outbox, store, courier, clock, endpoints, heartbeat });
        let notifier = Notifier::new(world.engine.clone());
        Some(Self { world, notifier, postman, receiver })
    }

    async fn ask(&self) -> Asked {
        self.notifier.pass(&CancellationToken::new()).await.unwrap()
    }

    async fn deliver(&self) -> u64 {
        self.postman.round("billing", &CancellationToken::new()).await.unwrap().delivered
    }

    /// Every charge of a subscription, with its day and its word.
    async fn charged(&self, id: &str) -> Vec<String> {
        let charges = self.world.charges_of(id).await;
        charges
            .iter()
            .map(|charge| format!("{} {} {}", charge.due_on, charge.amount.plain(), charge.state.word()))
            .collect()
    }

    /// How many notices were delivered to this day.
    async fn delivered(&self) -> usize {
        let filter = NoticeFilter { delivered: Some(true), ..NoticeFilter::default() };
        self.world.store.notices(&filter, &None, 100).await.unwrap().0.len()
    }
}

/// A plan that announces every charge five days before.
fn announced() -> PlanSpec {
    PlanSpec {
        collect: CollectSpec { notify_before: Some("5 days".to_owned()), ..CollectSpec::default() },
        ..plan("gold", "1 month", "UTC", "06:00", "79.00")
    }
}

async fn payers_are_told_in_time_and_charged_on_their_day(backend: Backend) {
    let Some(s) = Story::begin(backend, "2027-01-01T12:00:00Z", "told in time").await else { return };
    let w = &s.world;
    w.apply(&[announced(), plan("plain", "1 month", "UTC", "06:00", "10.00")]).await;
    w.enrol(vec![
        subscriber("told", "gold", "2027-01-20", card(Behaviour::Pays, 1)),
        subscriber("plain", "plain", "2027-01-20", card(Behaviour::Pays, 2)),
    ])
    .await;
    assert_eq!(s.ask().await, Asked { looked_at: 1, ..Asked::default() }, "its window has not opened");
    w.turn_to("2027-01-08T12:00:00Z");
    assert_eq!(s.ask().await, Asked { looked_at: 1, asked: 1, unanswered: 0 });
    assert_eq!(s.ask().await.asked, 0, "asked for once");
    assert_eq!((s.deliver().await, s.delivered().await), (1, 1));
    let heard = s.receiver.heard();
    assert!(heard.len() == 1 && heard[0].is_signed_with(SECRET));
    assert!(heard[0].body.contains("\"deliver_by\":\"2027-01-15\"") && heard[0].body.contains("\"amount_minor\":7900"));
    w.run_until("2027-01-20T06:00:00Z").await;
    w.run().await;
    assert_eq!(s.charged("told").await, ["2027-01-20 79.00 paid"]);
    assert_eq!(s.charged("plain").await, ["2027-01-20 10.00 paid"]);
    s.world.balance().await;
}

async fn a_charge_waits_until_its_payer_was_told_and_nothing_else_moves(backend: Backend) {
    let Some(s) = Story::begin(backend, "2027-01-01T12:00:00Z", "told late").await else { return };
    let w = &s.world;
    w.apply(&[announced()]).await;
    w.enrol(vec![subscriber("late", "gold", "2027-01-20", card(Behaviour::Pays, 1))]).await;
    // The notifier was down. The day comes, and the charge does not.
    w.turn_to("2027-01-20T06:00:00Z");
    let mut items = Vec::new();
    let dry = w.engine.dry_run(None, &mut |some| items.extend(some.to_vec())).await.unwrap();
    assert_eq!((dry.sent, dry.waiting), (0, 1));
    let said = serde_json::to_string(&items[0]).unwrap();
    for part in ["notice not sent in time", "2027-01-15", "be made from 2027-01-25 on", "notify_before 5 days"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let report = w.run().await;
    assert_eq!((report.sent, report.waiting, report.agenda_hash), (0, 1, dry.agenda_hash));
    assert_eq!(s.charged("late").await, Vec::<String>::new());
    // It is asked for all the more, and reaches its payer on the 21st.
    w.turn_to("2027-01-21T09:00:00Z");
    assert_eq!(s.ask().await.asked, 1);
    assert_eq!(w.run().await.waiting, 1, "asked for is not delivered");
    assert_eq!(s.deliver().await, 1);
    w.turn_to("2027-01-25T23:59:00Z");
    assert_eq!(w.run().await.sent, 0);
    w.turn_to("2027-01-26T00:00:00Z");
    w.run().await;
    assert_eq!(s.charged("late").await, ["2027-01-20 79.00 paid"], "its day in the books stays");
    // The next one keeps its own day.
    let next = w.store.subscription(&crate::contract_store::id("late")).await.unwrap().unwrap().subscription;
    assert_eq!((next.next_cycle, next.next_due_at), (1, Some(at("2027-02-20T06:00:00Z"))));
    s.world.balance().await;
}

async fn a_moved_amount_owes_another_notice_and_a_retry_owes_none(backend: Backend) {
    let Some(s) = Story::begin(backend, "2027-01-01T12:00:00Z", "moved amounts").await else { return };
    let w = &s.world;
    w.apply(&[announced()]).await;
    w.enrol(vec![subscriber("moved", "gold", "2027-01-20", card(Behaviour::declines(1), 1))]).await;
    w.turn_to("2027-01-10T12:00:00Z");
    s.ask().await;
    s.deliver().await;
    // The price changes after the notice went out: it told of another amount.
    let mut dearer = announced();
    dearer.amount.value = Some("84.00".to_owned());
    w.apply(&[dearer]).await;
    assert_eq!((s.ask().await.asked, s.deliver().await), (1, 1));
    w.run_until("2027-01-20T06:00:00Z").await;
    w.run().await;
    assert_eq!(s.charged("moved").await, ["2027-01-20 84.00 failing"]);
    // The same amount again is the same charge.
    w.run_until("2027-01-31T00:00:00Z").await;
    assert_eq!(s.charged("moved").await, ["2027-01-20 84.00 paid"]);
    assert_eq!(s.delivered().await, 2);
    s.world.balance().await;
}

async fn a_debit_that_differs_waits_for_its_notice_and_cards_do_not(backend: Backend) {
    let Some(s) = Story::begin(backend, "2027-01-01T12:00:00Z", "a debit that differs").await else { return };
    let w = &s.world;
    let step =
        |from: &str, value: &str| StepSpec { from: from.to_owned(), value: value.to_owned(), ..StepSpec::default() };
    let steps = vec![step("2026-01-01", "79.00"), step("2027-02-01", "84.00")];
    let amount = AmountSpec { currency: "USD".to_owned(), value: None, step: steps, ..AmountSpec::default() };
    w.apply(&[PlanSpec { amount, ..plan("gold", "1 month", "UTC", "06:00", "79.00") }]).await;
    w.enrol(vec![
        subscriber("bank", "gold", "2027-01-05", bank(Behaviour::Pays, 1)),
        subscriber("card", "gold", "2027-01-05", card(Behaviour::Pays, 2)),
    ])
    .await;
    w.run_until("2027-01-12T00:00:00Z").await;
    assert_eq!(s.ask().await, Asked { looked_at: 1, ..Asked::default() }, "the first is what was agreed on");
    w.run_until("2027-02-05T05:00:00Z").await;
    w.turn_to("2027-02-05T06:00:00Z");
    assert_eq!(w.run().await.waiting, 1);
    assert_eq!(s.charged("card").await, ["2027-01-05 79.00 paid", "2027-02-05 84.00 paid"]);
    assert_eq!(s.charged("bank").await.len(), 1);
    // The three payments so far are told, too: planned, sent and paid.
    assert_eq!((s.ask().await.asked, s.deliver().await), (1, 10));
    w.turn_to("2027-02-15T00:00:00Z");
    w.run().await;
    assert_eq!(s.charged("bank").await.len(), 2);
    let heard = s.receiver.heard();
    let notices = heard.iter().filter(|one| one.body.contains("\"kind\":\"amount_differs\""));
    assert_eq!(notices.count(), 1);
}
