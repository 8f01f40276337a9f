//! Journeys of refunds: whole stories against the sandbox, each with the complete list of what happened.

use std::sync::Arc;

use async_trait::async_trait;
use autopay::engine::{Engine, RefundRefused, RefundReport, Refunds};
use autopay::gateway::CcgGateway;
use autopay::ports::refund::Learnt;
use autopay::ports::{Gateway, Observation, Question, Recorded};
use chrono::TimeDelta;
use domain::agenda::Scope;
use domain::attempt::{Body, Intent};
use domain::charge::Charge;
use domain::id::{ChargeId, Key, RefundId};
use domain::money::{Currency, Money};
use domain::plan::Plan;
use domain::refund::{FailWhy, NotRefundable, Reason, State, Wish};
use domain::subscription::{Method, Subscription};
use sandbox::{Behaviour, Fault, Faults, Options, RefundError};
use tokio_util::sync::CancellationToken;

use crate::world::{Backend, MERCHANT, World, card, client, everywhere, plan, settings, subscriber};

everywhere! {
    all_of_a_charge_goes_back;
    two_parts_go_back_and_a_third_is_too_much;
    a_refund_that_fails_at_the_gateway_frees_its_amount;
    a_refund_is_pending_for_days_and_then_done;
    a_lost_answer_is_healed_by_the_gateways_event;
    a_lost_answer_without_an_event_waits_for_a_person_and_is_never_sent_again;
    an_untrue_event_changes_nothing_for_good;
    what_provably_did_not_arrive_is_not_sent_again_either;
    a_sender_that_died_leaves_it_to_a_person;
    a_hold_keeps_a_refund_back_until_it_is_lifted;
    a_payment_that_cannot_be_asked_about_puts_the_refund_off_and_sends_nothing;
}

/// A world in which 79.00 were paid by a card.
async fn paid(backend: Backend, behaviour: Behaviour) -> Option<(World, Refunds, ChargeId)> {
    let world = World::begin_with(backend, "2027-01-15T10:00:00Z", "a refund's journey", Options::default()).await?;
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(behaviour, 1))]).await;
    world.turn_to("2027-01-15T11:00:00Z");
    assert_eq!(world.run().await.paid, 1);
    let charge = world.charges_of("sub-1").await[0].id;
    world.turn_to("2027-01-16T12:00:00Z");
    Some((refunds(&world), charge)).map(|(refunds, charge)| (world, refunds, charge))
}

fn refunds(world: &World) -> Refunds {
    Refunds::new(world.engine.clone(), Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)))
}

fn dollars(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn reason() -> Reason {
    Reason::parse("goods came back").unwrap()
}

async fn pass(refunds: &Refunds) -> RefundReport {
    refunds.run_once_until(CancellationToken::new()).await.unwrap()
}

async fn record(refunds: &Refunds, charge: ChargeId, minor: Option<i64>) -> RefundId {
    refunds.record(charge, &Wish { amount: minor.map(dollars), ..Wish::all(reason()) }, "ann").await.unwrap().refund.id
}

async fn state(world: &World, id: RefundId) -> State {
    world.store.refund(id).await.unwrap().unwrap().refund.state
}

/// Runs whenever a refund asks for attention, for as long as one does, at most for these days.
async fn live(world: &World, refunds: &Refunds, id: RefundId, days: i64) {
    let end = world.now() + TimeDelta::days(days);
    while let Some(next) = state(world, id).await.next_at().filter(|next| *next <= end) {
        world.turn((next - world.now()).max(TimeDelta::zero()));
        pass(refunds).await;
    }
}

/// The complete story of a refund: word, then every line.
async fn told(world: &World, id: RefundId, expected: &[&str]) {
    let record = world.store.refund(id).await.unwrap().unwrap();
    let mut story = vec![format!("{} {}", record.refund.amount.plain(), record.refund.state.word())];
    for line in world.store.refund_history(id).await.unwrap() {
        story.push(format!("{} {} {}", line.at.format("%m-%d %H:%M:%S"), line.actor, line.event));
    }
    assert_eq!(story, expected, "\n{}\n", story.iter().map(|line| format!("{line:?},")).collect::<Vec<_>>().join("\n"));
}

/// What the gateway's own ledger says: submissions received, and cents given back.
fn ledger(world: &World) -> (usize, i64) {
    let ledger = world.sandbox().ledger();
    let calls = ledger.calls().into_iter().filter(|call| call.kind == sandbox::CallKind::Refund).count();
    (calls, ledger.refunds().iter().map(|refund| refund.given_back_minor).sum())
}

async fn all_of_a_charge_goes_back(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
    let id = record(&refunds, charge, None).await;
    assert_eq!(ledger(&world), (0, 0), "a command records and sends nothing");
    let report = pass(&refunds).await;
    assert_eq!((report.sent, report.refunded), (1, 1));
    told(
        &world,
        id,
        &[
            "79.00 refunded",
            "01-16 12:00:00 ann refund.recorded",
            "01-16 12:00:00 autopay refund.sending",
            "01-16 12:00:00 autopay refund.settling",
            "01-16 12:00:00 autopay refund.refunded",
            "01-16 12:00:00 gateway accepted → settling",
            "01-16 12:00:00 gateway completed → refunded",
        ],
    )
    .await;
    assert_eq!(ledger(&world), (1, 7_900));
    let again = refunds.record(charge, &Wish::all(reason()), "ann").await.unwrap_err();
    assert!(matches!(again, RefundRefused::NotRefundable(NotRefundable::NothingLeft { .. })));
    assert_eq!(pass(&refunds).await, RefundReport::default());
    // The charge stays what it was: paid.
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "paid");
    world.balance().await;
}

async fn two_parts_go_back_and_a_third_is_too_much(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
    let (first, second) = (record(&refunds, charge, Some(5_000)).await, record(&refunds, charge, Some(2_000)).await);
    let refused = refunds.record(charge, &Wish::of(dollars(901), reason()), "ann").await.unwrap_err();
    let too_much = NotRefundable::TooMuch { asked: dollars(901), left: dollars(900) };
    assert!(matches!(refused, RefundRefused::NotRefundable(why) if why == too_much));
    pass(&refunds).await;
    assert_eq!(ledger(&world), (2, 7_000));
    let third = record(&refunds, charge, None).await;
    pass(&refunds).await;
    assert_eq!(ledger(&world), (3, 7_900));
    for id in [first, second, third] {
        assert_eq!(state(&world, id).await.word(), "refunded");
    }
    world.balance().await;
}

async fn a_refund_that_fails_at_the_gateway_frees_its_amount(backend: Backend) {
    let failing = Behaviour::RefundFails(RefundError::MethodCanceled);
    let Some((world, refunds, charge)) = paid(backend, failing).await else { return };
    let id = record(&refunds, charge, Some(1_000)).await;
    assert_eq!(pass(&refunds).await.failed, 1);
    told(
        &world,
        id,
        &[
            "10.00 failed",
            "01-16 12:00:00 ann refund.recorded",
            "01-16 12:00:00 autopay refund.sending",
            "01-16 12:00:00 autopay refund.settling",
            "01-16 12:00:00 autopay refund.failed",
            "01-16 12:00:00 gateway accepted → settling",
            "01-16 12:00:00 gateway declined → failed",
        ],
    )
    .await;
    assert!(matches!(state(&world, id).await, State::Failed { why: FailWhy::Declined, .. }));
    let left = refunds.propose(charge, &Wish::all(reason())).await.unwrap().left;
    assert_eq!(left, dollars(7_900));
    assert_eq!(ledger(&world), (1, 0));
    world.balance().await;
}

async fn a_refund_is_pending_for_days_and_then_done(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::RefundPends { days: Some(3) }).await else { return };
    let id = record(&refunds, charge, None).await;
    assert_eq!(pass(&refunds).await.settling, 1);
    live(&world, &refunds, id, 2).await;
    assert_eq!(state(&world, id).await.word(), "sending");
    live(&world, &refunds, id, 30).await;
    let State::Refunded { at } = state(&world, id).await else { panic!("not refunded") };
    assert_eq!(at.to_rfc3339(), "2027-01-19T12:00:00+00:00", "asked on its third day, and done");
    assert_eq!(ledger(&world), (1, 7_900));
    world.balance().await;
}

async fn a_lost_answer_is_healed_by_the_gateways_event(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
    let id = record(&refunds, charge, None).await;
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    assert_eq!(pass(&refunds).await.unknown, 1);
    assert_eq!(state(&world, id).await.next_at(), None);
    world.turn(TimeDelta::minutes(2));
    // The event carries the refund's key and the gateway's id of it, and is believed in neither: it is asked about.
    let made = world.sandbox().ledger().refunds().remove(0);
    let key: Key = made.key.parse().unwrap();
    for _ in 0..2 {
        let learnt = world.store.refund_learnt(key, &made.id.to_string(), world.now()).await.unwrap();
        assert_eq!(learnt, Learnt::Taken);
    }
    assert_eq!(pass(&refunds).await.refunded, 1);
    told(
        &world,
        id,
        &[
            "79.00 refunded",
            "01-16 12:00:00 ann refund.recorded",
            "01-16 12:00:00 autopay refund.sending",
            "01-16 12:00:00 autopay refund.parked",
            "01-16 12:00:00 gateway silent → parked",
            "01-16 12:02:00 gateway event refund.unknown",
            "01-16 12:02:00 autopay refund.refunded",
            "01-16 12:02:00 gateway completed → refunded",
        ],
    )
    .await;
    assert_eq!(ledger(&world), (1, 7_900));
    world.balance().await;
}

async fn a_lost_answer_without_an_event_waits_for_a_person_and_is_never_sent_again(backend: Backend) {
    for fault in [Fault::CutAfterCommit, Fault::ErrorAfterCommit, Fault::TruncatedAnswer, Fault::CutBeforeCommit] {
        let Some((mut world, mut of, charge)) = paid(backend, Behaviour::Pays).await else { return };
        let id = record(&of, charge, Some(1_200)).await;
        world.sandbox().fail_next_post(fault);
        pass(&of).await;
        for _ in 0..5 {
            world.turn(TimeDelta::days(7));
            world.restart().await;
            of = refunds(&world);
            assert_eq!(pass(&of).await, RefundReport::default(), "nobody touches it");
        }
        told(
            &world,
            id,
            &[
                "12.00 outcome_unknown",
                "01-16 12:00:00 ann refund.recorded",
                "01-16 12:00:00 autopay refund.sending",
                "01-16 12:00:00 autopay refund.parked",
                "01-16 12:00:00 gateway silent → parked",
            ],
        )
        .await;
        let executed = if fault == Fault::CutBeforeCommit { 0 } else { 1_200 };
        assert_eq!(ledger(&world), (1, executed));
        // What may have gone back is not given back again.
        assert_eq!(of.propose(charge, &Wish::all(reason())).await.unwrap().left, dollars(6_700));
        assert!(of.record(charge, &Wish::of(dollars(7_900), reason()), "ann").await.is_err());
        world.balance().await;
    }
}

async fn an_untrue_event_changes_nothing_for_good(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
    let (first, second) = (record(&refunds, charge, Some(1_000)).await, record(&refunds, charge, Some(2_000)).await);
    world.sandbox().set_faults(Faults::only(Fault::CutAfterCommit, 1.0));
    pass(&refunds).await;
    world.sandbox().set_faults(Faults::none());
    let made = world.sandbox().ledger().refunds();
    let key = async |id| world.store.refund(id).await.unwrap().unwrap().refund.key;
    let id_of = |key: Key| made.iter().find(|one| one.key == key.to_string()).unwrap().id.to_string();
    // Swapped, and then one that does not exist at all.
    let (first_key, second_key) = (key(first).await, key(second).await);
    let lie = async |id: &str| world.store.refund_learnt(first_key, id, world.now()).await.unwrap();
    assert_eq!(lie(&id_of(second_key)).await, Learnt::Taken);
    pass(&refunds).await;
    assert_eq!(state(&world, first).await.name(), "parked");
    assert_eq!(lie(&uuid::Uuid::from_u128(7).to_string()).await, Learnt::Taken);
    live(&world, &refunds, first, 30).await;
    let record = world.store.refund(first).await.unwrap().unwrap().refund;
    assert_eq!((record.state.name(), record.hint, record.gateway_id), ("parked", None, None));
    // The truth is as welcome as on the first day.
    assert_eq!(lie(&id_of(first_key)).await, Learnt::Taken);
    pass(&refunds).await;
    assert_eq!(state(&world, first).await.word(), "refunded");
    assert_eq!(state(&world, second).await.word(), "outcome_unknown");
    assert_eq!(ledger(&world), (2, 3_000));
    world.balance().await;
}

async fn what_provably_did_not_arrive_is_not_sent_again_either(backend: Backend) {
    for (fault, code) in [(Fault::RateLimited, "rate_limited"), (Fault::Unauthorized, "unauthorized")] {
        let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
        let id = record(&refunds, charge, None).await;
        world.sandbox().fail_next_post(fault);
        assert_eq!(pass(&refunds).await.failed, 1);
        let expected = State::Failed { why: FailWhy::NotExecuted, code: code.to_owned(), at: world.now() };
        assert_eq!(state(&world, id).await, expected);
        world.turn(TimeDelta::days(1));
        assert_eq!(pass(&refunds).await, RefundReport::default());
        assert_eq!(ledger(&world), (1, 0));
        // A new one, with a key of its own, does.
        record(&refunds, charge, None).await;
        pass(&refunds).await;
        assert_eq!(ledger(&world), (2, 7_900));
        world.balance().await;
    }
}

async fn a_sender_that_died_leaves_it_to_a_person(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
    let id = record(&refunds, charge, None).await;
    // The commit of another process that is killed before it sends.
    let found = world.store.refund(id).await.unwrap().unwrap();
    let after = found.refund.clone().step(domain::refund::Event::Send, world.now(), &world.limits).unwrap();
    let intent = autopay::ports::refund::RefundIntent {
        before: found.claimed(),
        after,
        body: Body { text: "{}".to_owned(), sha256: String::new() },
        at: world.now(),
        holds_seen: Vec::new(),
    };
    drop(world.store.begin_refund(&intent).await.unwrap());
    assert_eq!(pass(&refunds).await, RefundReport::default(), "its sender is left alone while its lease runs");
    world.turn(TimeDelta::seconds(90));
    assert_eq!(pass(&refunds).await.unknown, 1);
    told(
        &world,
        id,
        &[
            "79.00 outcome_unknown",
            "01-16 12:00:00 ann refund.recorded",
            "01-16 12:00:00 autopay refund.sending",
            "01-16 12:01:30 autopay refund.parked",
        ],
    )
    .await;
    assert_eq!(ledger(&world), (0, 0));
    world.balance().await;
}

async fn a_hold_keeps_a_refund_back_until_it_is_lifted(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
    let scope = Scope::Subscription(world.charges_of("sub-1").await[0].subscription.clone());
    world.store.hold(&scope, "look first", "ann", world.now()).await.unwrap();
    let id = record(&refunds, charge, None).await;
    for _ in 0..3 {
        assert_eq!(pass(&refunds).await, RefundReport { waiting: 1, ..RefundReport::default() });
    }
    assert_eq!(ledger(&world), (0, 0));
    world.store.lift(&scope, "ann", world.now()).await.unwrap();
    assert_eq!(pass(&refunds).await.refunded, 1);
    assert_eq!(state(&world, id).await.word(), "refunded");
    world.balance().await;
}

async fn a_payment_that_cannot_be_asked_about_puts_the_refund_off_and_sends_nothing(backend: Backend) {
    let Some((world, refunds, charge)) = paid(backend, Behaviour::Pays).await else { return };
    let id = record(&refunds, charge, Some(100)).await;
    world.sandbox().set_faults(Faults::only(Fault::Get5xx, 1.0));
    for _ in 0..6 {
        assert_eq!(pass(&refunds).await.waiting, 1);
        assert_eq!(ledger(&world), (0, 0));
        world.turn(TimeDelta::minutes(6));
    }
    world.sandbox().set_faults(Faults::none());
    assert_eq!(pass(&refunds).await.refunded, 1);
    assert_eq!(state(&world, id).await.word(), "refunded");
    world.balance().await;
}

#[tokio::test]
async fn a_refund_too_late_is_refused_here_and_one_that_grew_too_old_is_not_sent() {
    let Some((world, refunds, charge)) = paid(Backend::Sqlite, Behaviour::Pays).await else { return };
    world.turn_to("2027-07-14T10:00:00Z");
    let id = record(&refunds, charge, Some(1_000)).await;
    world.turn_to("2027-07-14T11:00:01Z");
    let late = refunds.record(charge, &Wish::all(reason()), "ann").await.unwrap_err();
    assert!(matches!(late, RefundRefused::NotRefundable(NotRefundable::TooOld { .. })), "{late}");
    assert_eq!(pass(&refunds).await.failed, 1);
    assert!(matches!(state(&world, id).await, State::Failed { why: FailWhy::NotRefundable, .. }));
    assert_eq!(ledger(&world), (0, 0));
    world.balance().await;
}

#[tokio::test]
async fn a_disputed_payment_is_not_refunded_whether_we_know_of_the_dispute_or_not() {
    let Some((world, refunds, charge)) = paid(Backend::Sqlite, Behaviour::Pays).await else { return };
    let payment = world.store.attempts(charge).await.unwrap()[0].payment_id.clone().unwrap();
    let dispute = world.sandbox().open_dispute(payment.parse().unwrap(), 0, "FRAUDULENT").unwrap();
    // Nobody told us yet: the gateway says no.
    let id = record(&refunds, charge, Some(1_000)).await;
    assert_eq!(pass(&refunds).await.failed, 1);
    assert!(matches!(state(&world, id).await, State::Failed { why: FailWhy::Declined, .. }));
    // Told between the command and the sending: nothing is sent.
    let id = record(&refunds, charge, Some(1_000)).await;
    world.store.dispute(charge, &dispute.to_string(), true, world.now()).await.unwrap();
    pass(&refunds).await;
    assert!(matches!(state(&world, id).await, State::Failed { why: FailWhy::NotRefundable, .. }));
    let refused = refunds.record(charge, &Wish::all(reason()), "ann").await.unwrap_err();
    assert!(matches!(refused, RefundRefused::NotRefundable(NotRefundable::Disputed)));
    assert_eq!(ledger(&world), (1, 0));
    // Won: the money may go back again.
    world.sandbox().close_dispute(dispute, true).unwrap();
    world.store.dispute(charge, &dispute.to_string(), false, world.now()).await.unwrap();
    record(&refunds, charge, None).await;
    assert_eq!(pass(&refunds).await.refunded, 1);
    assert_eq!(ledger(&world), (2, 7_900));
    world.balance().await;
}

#[tokio::test]
async fn a_charge_that_was_never_paid_takes_no_refund() {
    let world = World::begin(Backend::Memory, "2027-01-15T10:00:00Z", "no refund").await.unwrap();
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let stolen = Behaviour::DeclinesWith(sandbox::DeclineCode::StolenCard);
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(stolen, 1))]).await;
    world.turn_to("2027-01-15T11:00:00Z");
    world.run().await;
    let charge = world.charges_of("sub-1").await[0].id;
    let refused = refunds(&world).record(charge, &Wish::all(reason()), "ann").await.unwrap_err();
    assert!(matches!(refused, RefundRefused::NotRefundable(NotRefundable::NotPaid { word: "failed" })), "{refused}");
    let nothing = refunds(&world).record(ChargeId(uuid::Uuid::nil()), &Wish::all(reason()), "ann").await.unwrap_err();
    assert!(matches!(nothing, RefundRefused::NoCharge(_)));
    world.balance().await;
}

#[tokio::test]
async fn a_restored_book_numbers_anew_and_the_gateway_refuses_the_used_key() {
    let Some((world, first, charge)) = paid(Backend::Sqlite, Behaviour::Pays).await else { return };
    record(&first, charge, Some(1_000)).await;
    pass(&first).await;
    // The book of before the refund: its refund number 1 has the key that the gateway has seen.
    let Some(restored) = World::begin(Backend::Memory, "2027-01-15T10:00:00Z", "restored").await else { return };
    restored.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    restored.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    restored.turn_to("2027-01-15T11:00:00Z");
    let gateway = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
    let engine =
        Engine::new(restored.store.clone(), gateway.clone(), restored.clock.clone(), settings(&restored.limits));
    assert_eq!(engine.run_once().await.unwrap().paid, 1, "the payment's key is replayed");
    let refunds = Refunds::new(engine, gateway);
    let id = record(&refunds, charge, None).await;
    assert_eq!(pass(&refunds).await.unknown, 1);
    let why = domain::refund::ParkWhy::KeyUsed;
    assert_eq!(state(&restored, id).await, State::Parked { why, since: restored.now() });
    assert_eq!(ledger(&world), (2, 1_000), "nothing went back twice");
}

/// A gateway that splits each charge over two cards, as a split plan does.
struct Split {
    inner: CcgGateway,
    second: Method,
}

#[async_trait]
impl Gateway for Split {
    fn compose(&self, charge: &Charge, _: &Subscription, _: &Plan, method: &Method, key: Key) -> Result<Body, String> {
        let customer = ccg::Customer { enterprise_id: Some("1001".to_owned()), ..ccg::Customer::default() };
        let mut payment = ccg::CreatePayment::sale(key.to_string(), charge.amount.minor(), method.id.0, customer);
        payment.metadata = [
            ("subscription".to_owned(), charge.subscription.to_string()),
            ("cycle".to_owned(), charge.cycle.to_string()),
        ]
        .into();
        let second = ccg::NewAllocation { amount: 5_400, payment_method_id: self.second.id.0 };
        payment.payment_allocations[0].amount = 2_500;
        payment.payment_allocations.push(second);
        let frozen = payment.freeze().map_err(|broken| format!("{broken:?}"))?;
        let sha256 = frozen.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Body { text: frozen.body().to_owned(), sha256 })
    }
    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        self.inner.submit(intent).await
    }
    async fn ask(&self, question: &Question) -> Observation {
        self.inner.ask(question).await
    }
}

#[tokio::test]
async fn a_split_payment_goes_back_in_part_when_one_leg_fails_and_the_rest_stays_refundable() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "split").await.unwrap();
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    world.turn_to("2027-01-15T11:00:00Z");
    let second = card(Behaviour::RefundFails(RefundError::MethodCanceled), 2).unwrap();
    let inner = CcgGateway::new(client(world.sandbox()), MERCHANT);
    let engine = Engine::new(
        world.store.clone(),
        Arc::new(Split { inner: inner.clone(), second }),
        world.clock.clone(),
        settings(&world.limits),
    );
    let ran = engine.run_once().await.unwrap();
    let charge = world.charges_of("sub-1").await[0].clone();
    assert_eq!(ran.paid, 1, "{:?} {:?}", charge.state, world.store.timeline(charge.id).await.unwrap());
    let refunds = Refunds::new(engine, Arc::new(inner));
    // A part names no leg, and nothing is distributed: it is refused before it is sent.
    let part = record(&refunds, charge.id, Some(1_000)).await;
    assert_eq!(pass(&refunds).await.failed, 1);
    assert!(matches!(state(&world, part).await, State::Failed { why: FailWhy::NotRefundable, .. }));
    let whole = record(&refunds, charge.id, None).await;
    assert_eq!(pass(&refunds).await.refunded, 1);
    let State::PartlyRefunded { given_back, .. } = state(&world, whole).await else {
        panic!("{:?}", state(&world, whole).await)
    };
    assert_eq!(given_back, dollars(2_500));
    assert_eq!(ledger(&world), (1, 2_500));
    assert_eq!(refunds.propose(charge.id, &Wish::all(reason())).await.unwrap().left, dollars(5_400));
    world.balance().await;
}

#[tokio::test]
async fn a_part_of_a_split_payment_goes_back_to_the_method_that_a_person_names() {
    let world = World::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "leg").await.unwrap();
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let first = card(Behaviour::Pays, 1).unwrap();
    world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", Some(first.clone()))]).await;
    world.turn_to("2027-01-15T11:00:00Z");
    let second = card(Behaviour::Pays, 2).unwrap();
    let inner = CcgGateway::new(client(world.sandbox()), MERCHANT);
    let port = Arc::new(Split { inner: inner.clone(), second: second.clone() });
    let engine = Engine::new(world.store.clone(), port, world.clock.clone(), settings(&world.limits));
    assert_eq!(engine.run_once().await.unwrap().paid, 1);
    let charge = world.charges_of("sub-1").await[0].id;
    let refunds = Refunds::new(engine, Arc::new(inner));
    let part = async |minor, method| {
        let wish = Wish { from: Some(method), ..Wish::of(dollars(minor), reason()) };
        let id = refunds.record(charge, &wish, "ann").await.unwrap().refund.id;
        pass(&refunds).await;
        (id, state(&world, id).await)
    };
    let (_, from_second) = part(1_000, second.id).await;
    assert!(matches!(from_second, State::Refunded { .. }), "{from_second:?}");
    // The first paid 25.00: more than that is refused before anything is sent, as is a method that paid nothing of it.
    for (minor, method) in [(2_501, first.id), (100, domain::id::PaymentMethodId(uuid::Uuid::nil()))] {
        let (_, refused) = part(minor, method).await;
        assert!(matches!(refused, State::Failed { why: FailWhy::NotRefundable, .. }), "{refused:?}");
    }
    let (id, from_first) = part(2_500, first.id).await;
    assert!(matches!(from_first, State::Refunded { .. }), "{from_first:?}");
    assert_eq!(world.store.refund(id).await.unwrap().unwrap().refund.from, Some(first.id));
    assert_eq!(ledger(&world), (2, 3_500));
    // The gateway itself says whose part was named.
    let payment = world.sandbox().ledger().payments().remove(0).id.to_string();
    let shown = client(world.sandbox()).get_payment(&payment).await.unwrap().value;
    let paid_by_first = shown.payment_allocations.iter().find(|part| {
        part.payment_method.as_ref().and_then(|method| method.id.as_deref()) == Some(&first.id.to_string())
    });
    let body = world.store.refund(id).await.unwrap().unwrap().body.unwrap().text;
    assert!(body.contains(paid_by_first.unwrap().id.as_deref().unwrap()), "{body}");
    assert_eq!(refunds.propose(charge, &Wish::all(reason())).await.unwrap().left, dollars(4_400));
    world.balance().await;
}
