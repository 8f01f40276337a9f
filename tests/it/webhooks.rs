//! Journeys of deliveries: the gateway's own sender, the real router, the intake, and what a question then shows.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use autopay::engine::intake::Ears;
use autopay::gateway::CcgDoorman;
use autopay::ports::StoreError;
use autopay::ports::instrument::{InstrumentEar, InstrumentNews};
use autopay::ports::webhooks::{Doorman, InboxState, RefundEar, RefundNews, Replayed};
use chrono::{DateTime, TimeDelta, Utc};
use domain::charge::{Recheck, State};
use domain::dispute::Standing;
use domain::id::PaymentMethodId;
use domain::subscription::Method;
use proptest::prelude::*;
use proptest::test_runner::Config;
use sandbox::{Behaviour, DeclineCode, Options, ReturnCode, Status, WebhookOptions};
use tokio_util::sync::CancellationToken;

use crate::webhook_support::{Hooked, Recorder, receiver};
use crate::world::{Backend, MERCHANT, bank, card, plan, subscriber};

const BEGIN: &str = "2027-01-15T10:00:00Z";
const DUE: &str = "2027-01-15T11:00:00Z";

/// A world in which subscriptions of one plan have just fallen due.
async fn due(hooked: &Hooked, methods: Vec<Option<Method>>) {
    hooked.world.apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00")]).await;
    let rows = (1_u64..).zip(methods).map(|(n, method)| subscriber(&format!("sub-{n}"), "gold", "2027-01-15", method));
    hooked.world.enrol(rows.collect()).await;
    hooked.world.turn_to(DUE);
}

async fn told(hooked: &Hooked, id: &str, story: &[&str]) {
    let short = |line: String| match line.split_once(" delivery wh_") {
        Some((front, rest)) => format!("{front} {}", rest.split_once(' ').unwrap().1),
        None => line,
    };
    let found: Vec<String> = hooked.world.story(id).await.into_iter().map(short).collect();
    assert_eq!(found, story, "{id}\n{}", found.join("\n"));
}

async fn ends(hooked: &Hooked) -> Vec<(String, InboxState, u64)> {
    let rows = hooked.rows().await;
    rows.into_iter().map(|row| (row.name, row.state, row.deliveries)).collect()
}

fn turn(hooked: &Hooked, by: TimeDelta) {
    hooked.world.turn(by);
}

/// The gateway's payment behind a subscription's first charge.
async fn payment(hooked: &Hooked, id: &str) -> uuid::Uuid {
    let charge = hooked.world.charges_of(id).await.remove(0);
    let attempts = hooked.ports.store.attempts(charge.id).await.unwrap();
    attempts.last().unwrap().payment_id.as_deref().unwrap().parse().unwrap()
}

/// Keeps what it hears; deaf while it is told to be.
#[derive(Default)]
struct Listener {
    news: Mutex<Vec<InstrumentNews>>,
    refunds: Mutex<Vec<RefundNews>>,
    deaf: Mutex<bool>,
}

#[async_trait]
impl InstrumentEar for Listener {
    async fn hear(&self, news: &InstrumentNews, _: DateTime<Utc>) -> Result<(), StoreError> {
        if *self.deaf.lock().unwrap() {
            return Err(StoreError::Refused("not now".to_owned()));
        }
        self.news.lock().unwrap().push(news.clone());
        Ok(())
    }
}

#[async_trait]
impl RefundEar for Listener {
    async fn hear(&self, news: &RefundNews, _: DateTime<Utc>) -> Result<bool, StoreError> {
        self.refunds.lock().unwrap().push(news.clone());
        Ok(false)
    }
}

#[tokio::test]
async fn an_event_is_answered_before_the_gateway_is_asked_and_brings_the_question_forward() {
    for backend in [Backend::Memory, Backend::Sqlite, Backend::Postgres] {
        let Some(hooked) = Hooked::begin(backend, BEGIN, "forward").await else { continue };
        due(&hooked, vec![bank(Behaviour::AchSettles { days: Some(3) }, 1)]).await;
        hooked.world.run().await;
        turn(&hooked, TimeDelta::minutes(1));
        let first = hooked.hear().await;
        assert_eq!((first.asked, first.ended), (1, 1), "the event of the acceptance");
        hooked.world.run().await;
        turn(&hooked, TimeDelta::days(3));
        // The order is what counts: the delivery is answered while the gateway has not been asked again,
        hooked.world.sandbox().webhooks_settled().await;
        let asked = hooked.world.sandbox().ledger().lookups();
        let answers: Vec<Option<u16>> =
            hooked.world.sandbox().ledger().deliveries().iter().map(|d| d.attempts[0].answered).collect();
        assert_eq!(answers, [Some(202), Some(202)]);
        // the intake asks nobody either, and only the pass after it does.
        hooked.intake.drain().await.unwrap();
        assert_eq!(hooked.world.sandbox().ledger().lookups(), asked);
        hooked.world.run().await;
        assert_eq!(hooked.world.sandbox().ledger().lookups(), asked + 1);
        told(
            &hooked,
            "sub-1",
            &[
                "2027-01-15 79.00 paid",
                "  01-15 11:00:00 attempt 1 charge.intent",
                "  01-15 11:00:00 attempt 1 accepted → settling submit",
                "  01-15 11:00:00 attempt 1 accepted → settling by_id",
                "  01-15 11:01:00 charge.hint",
                "  01-15 11:01:00 attempt 1 accepted → settling by_id",
                "  01-18 11:01:00 charge.hint",
                "  01-18 11:01:00 attempt 1 succeeded → paid by_id",
            ],
        )
        .await;
        let done = InboxState::Done;
        assert_eq!(
            ends(&hooked).await,
            [("PAYMENT_ACCEPTED".to_owned(), done, 1), ("PAYMENT_SUCCEEDED".to_owned(), done, 1)]
        );
        hooked.balance().await;
    }
}

#[tokio::test]
async fn a_bank_that_takes_the_money_back_makes_a_paid_charge_returned() {
    for backend in [Backend::Memory, Backend::Sqlite, Backend::Postgres] {
        let Some(hooked) = Hooked::begin(backend, BEGIN, "returned").await else { continue };
        due(&hooked, vec![bank(Behaviour::AchSettles { days: Some(1) }, 1)]).await;
        hooked.world.run().await;
        turn(&hooked, TimeDelta::days(1));
        hooked.hear().await;
        hooked.world.run().await;
        let paid = hooked.world.charges_of("sub-1").await.remove(0);
        assert_eq!(paid.state.word(), "paid");
        let id = payment(&hooked, "sub-1").await;
        turn(&hooked, TimeDelta::days(2));
        hooked.world.sandbox().return_payment(id, ReturnCode::R01).unwrap();
        hooked.hear().await;
        assert_eq!(hooked.world.charges_of("sub-1").await[0].state.word(), "paid", "an event alone changes nothing");
        hooked.world.run().await;
        let returned = hooked.world.charges_of("sub-1").await.remove(0);
        assert_eq!((returned.tries.attempt, returned.tries.declined), (paid.tries.attempt, paid.tries.declined + 1));
        assert!(returned.state.next_at().is_some(), "R01 is asked for again");
        assert!(returned.sentence().contains("taken back by the bank") && returned.sentence().contains("R01"));
        // Old news of the success, looked at again, undoes nothing; nor does any news after the end.
        for row in hooked.rows().await {
            assert_eq!(hooked.ports.inbox.replay(row.id, "ann", hooked.world.now()).await.unwrap(), Replayed::Yes);
        }
        assert_eq!(hooked.intake.drain().await.unwrap().asked, 0);
        hooked.world.run().await;
        assert_eq!(hooked.world.charges_of("sub-1").await, [returned]);
        told(
            &hooked,
            "sub-1",
            &[
                "2027-01-15 79.00 returned",
                "  01-15 11:00:00 attempt 1 charge.intent",
                "  01-15 11:00:00 attempt 1 accepted → settling submit",
                "  01-15 11:00:00 attempt 1 accepted → settling by_id",
                "  01-16 11:00:00 charge.hint",
                "  01-16 11:00:00 attempt 1 succeeded → paid by_id",
                "  01-18 11:00:00 charge.hint",
                "  01-18 11:00:00 attempt 1 declined → returned by_id",
            ],
        )
        .await;
        let attempts = hooked.ports.store.attempts(paid.id).await.unwrap();
        assert_eq!(attempts[0].state, "succeeded", "the success stays in the evidence");
        let totals = hooked.ports.store.totals().await.unwrap();
        assert_eq!(totals.keys().map(|(word, _)| word.as_str()).collect::<Vec<_>>(), ["returned"]);
        hooked.balance().await;
    }
}

#[tokio::test]
async fn a_paid_charge_about_which_somebody_lies_is_asked_about_and_stays_paid() {
    let hooked = Hooked::begin(Backend::Sqlite, BEGIN, "lies").await.unwrap();
    due(&hooked, vec![card(Behaviour::Pays, 1)]).await;
    hooked.world.run().await;
    hooked.hear().await;
    let before = hooked.world.charges_of("sub-1").await;
    let key = hooked.ports.store.attempts(before[0].id).await.unwrap()[0].key;
    let lie = serde_json::json!({"name": "PAYMENT_FAILED", "source": null,
        "payload": {"id": payment(&hooked, "sub-1").await, "merchantTransactionId": key.to_string(), "status": "FAILED"}});
    hooked.keep(lie.to_string().as_bytes()).await;
    assert_eq!(hooked.intake.drain().await.unwrap().asked, 1);
    assert_eq!(hooked.world.run().await.items, 1);
    assert_eq!(hooked.world.charges_of("sub-1").await, before);
    hooked.balance().await;
}

#[tokio::test]
async fn a_dispute_is_kept_with_its_history_whatever_the_order_and_told_to_whom_it_concerns() {
    for backend in [Backend::Memory, Backend::Sqlite, Backend::Postgres] {
        let Some(mut hooked) = Hooked::begin(backend, BEGIN, "dispute").await else { continue };
        due(&hooked, vec![card(Behaviour::Pays, 1), card(Behaviour::Pays, 2)]).await;
        hooked.world.run().await;
        hooked.hear().await;
        let charge = hooked.world.charges_of("sub-1").await.remove(0);
        let dispute = hooked.world.sandbox().open_dispute(payment(&hooked, "sub-1").await, 0, "FRAUDULENT").unwrap();
        hooked.hear().await;
        let view = hooked.ports.disputes.disputes_of(charge.id).await.unwrap().remove(0);
        assert_eq!((view.standing, view.gateway_id.as_str()), (Standing::NeedsResponse, dispute.to_string().as_str()));
        assert_eq!((view.amount_minor, view.currency.as_deref()), (Some(7_900), Some("USD")));
        assert_eq!(hooked.ports.disputes.disputes(true, 0, 10).await.unwrap(), std::slice::from_ref(&view));
        // Nobody listens yet: the ledger has it, and the news waits.
        let waiting = hooked.ports.inbox.inbox_rows(&[InboxState::Waiting], 0, 10).await.unwrap();
        assert_eq!(waiting.len(), 1);
        let listener = Arc::new(Listener::default());
        hooked.listens(Ears { instruments: Some(listener.clone()), refunds: None });
        hooked.intake.wake_waiting().await.unwrap();
        // A listener that cannot keep it is told again.
        *listener.deaf.lock().unwrap() = true;
        assert_eq!(hooked.intake.drain().await.unwrap().later, 1);
        *listener.deaf.lock().unwrap() = false;
        turn(&hooked, TimeDelta::minutes(1));
        hooked.world.sandbox().close_dispute(dispute, false).unwrap();
        hooked.hear().await;
        // The opening comes once more, after the end.
        assert_eq!(hooked.ports.inbox.replay(waiting[0].id, "ann", hooked.world.now()).await.unwrap(), Replayed::Yes);
        hooked.hear().await;
        let method = PaymentMethodId(sandbox::method_id(Behaviour::Pays, 1));
        let name = view.id.to_string();
        let news = listener.news.lock().unwrap().clone();
        let ended = InstrumentNews::DisputeEnded { method, dispute: name.clone() };
        assert_eq!(*news.last().unwrap(), ended, "what ended is never opened again");
        assert!(
            news[..news.len() - 1]
                .iter()
                .all(|one| { *one == ended || *one == InstrumentNews::Disputed { method, dispute: name.clone() } })
        );
        let (view, lines) = hooked.ports.disputes.dispute(view.id).await.unwrap().unwrap();
        assert_eq!((view.standing, view.ended_at.is_some()), (Standing::Lost, true));
        assert_eq!(
            lines.iter().map(|line| line.standing).collect::<Vec<_>>(),
            [Standing::NeedsResponse, Standing::Lost]
        );
        assert_eq!(hooked.ports.disputes.disputes(true, 0, 10).await.unwrap(), []);
        // What a bank has withdrawn is not given back once more, and credited to nobody.
        assert!(hooked.ports.store.is_disputed(charge.id).await.unwrap());
        // The charge itself is as it was: only the ledger speaks of the dispute.
        assert_eq!(hooked.world.charges_of("sub-1").await, [charge]);
        hooked.balance().await;
    }
}

#[tokio::test]
async fn news_of_methods_and_refunds_wait_for_an_ear_and_the_rest_is_kept() {
    let mut hooked = Hooked::begin(Backend::Sqlite, BEGIN, "ears").await.unwrap();
    due(&hooked, vec![card(Behaviour::Pays, 1)]).await;
    let (old, new) = ("5a4db0c5-0000-8000-8000-000000000001", "5a4db0c5-0000-8000-8000-000000000002");
    let event = |name: &str, payload: serde_json::Value| {
        serde_json::json!({"name": name, "source": null, "payload": payload}).to_string().into_bytes()
    };
    for body in [
        event("PAYMENT_METHOD_DELETED", serde_json::json!({"paymentMethod": {"id": old}})),
        event(
            "PAYMENT_METHOD_REPLACED",
            serde_json::json!({"paymentMethod": {"id": new}, "deletedPaymentMethodId": old}),
        ),
        event(
            "REFUND_SUCCESS",
            serde_json::json!({"refundId": new, "merchantTransactionId": old, "status": "COMPLETED"}),
        ),
        event("PAYMENT_SUCCEEDED", serde_json::json!({"id": new, "merchantTransactionId": "a-shop-next-door"})),
        event("SOMETHING_OF_NEXT_YEAR", serde_json::json!({"id": new})),
        b"{\"name\":".to_vec(),
        event("DISPUTE_CREATED", serde_json::json!({"id": "dp-9", "paymentId": new})),
    ] {
        hooked.keep(&body).await;
    }
    hooked.intake.drain().await.unwrap();
    let states = async |hooked: &Hooked| {
        let mut found: Vec<_> = ends(hooked).await.into_iter().map(|(name, state, _)| (name, state)).collect();
        found.sort();
        found.into_iter().map(|(name, state)| format!("{name} {}", state.as_str())).collect::<Vec<_>>()
    };
    let kept = [
        "- unreadable",
        "DISPUTE_CREATED foreign",
        "PAYMENT_METHOD_DELETED waiting",
        "PAYMENT_METHOD_REPLACED waiting",
        "PAYMENT_SUCCEEDED foreign",
        "REFUND_SUCCESS waiting",
        "SOMETHING_OF_NEXT_YEAR unknown",
    ];
    assert_eq!(states(&hooked).await, kept);
    let listener = Arc::new(Listener::default());
    hooked.listens(Ears { instruments: Some(listener.clone()), refunds: Some(listener.clone()) });
    hooked.intake.wake_waiting().await.unwrap();
    hooked.intake.drain().await.unwrap();
    let kept =
        kept.map(|line| line.replace("REFUND_SUCCESS waiting", "REFUND_SUCCESS foreign").replace("waiting", "done"));
    assert_eq!(states(&hooked).await, kept);
    let id = |text: &str| PaymentMethodId(text.parse().unwrap());
    let mut news = listener.news.lock().unwrap().clone();
    news.sort_by_key(|one| format!("{one:?}"));
    assert_eq!(
        news,
        [InstrumentNews::Deleted { method: id(old) }, InstrumentNews::Replaced { deleted: id(old), by: id(new) }]
    );
    assert_eq!(listener.refunds.lock().unwrap()[0].refund_id.as_deref(), Some(new));
    // After thirty days the bodies are gone, the rows are not.
    turn(&hooked, TimeDelta::days(31));
    hooked.intake.drain().await.unwrap();
    let rows = hooked.rows().await;
    assert!(rows.len() == 7 && rows.iter().all(|row| !row.has_body));
    assert_eq!(hooked.ports.inbox.replay(rows[0].id, "ann", hooked.world.now()).await.unwrap(), Replayed::Emptied);
}

#[tokio::test]
async fn a_receiver_that_is_down_for_two_days_costs_nothing_that_polling_does_not_heal() {
    let hooked = Hooked::begin_deaf(Backend::Sqlite, BEGIN, "down", Options::default()).await.unwrap();
    // Nobody answers there: the gateway gives up after fifty minutes.
    let nobody = WebhookOptions { url: Some("http://127.0.0.1:9/".to_owned()), ..WebhookOptions::default() };
    hooked.world.sandbox().set_webhooks(nobody).unwrap();
    due(
        &hooked,
        vec![
            card(Behaviour::Pays, 1),
            card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 2),
            bank(Behaviour::AchSettles { days: Some(1) }, 3),
            bank(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R02 }, 4),
            bank(Behaviour::AchSettles { days: Some(3) }, 5),
        ],
    )
    .await;
    let end = hooked.world.now() + TimeDelta::days(2);
    while hooked.world.now() < end {
        hooked.world.run().await;
        hooked.hear().await;
        turn(&hooked, TimeDelta::minutes(20));
    }
    assert_eq!(hooked.rows().await, []);
    assert!(hooked.world.sandbox().ledger().deliveries().iter().any(|one| one.fate == sandbox::Fate::GivenUp));
    let words = async |hooked: &Hooked| {
        let mut words = Vec::new();
        for n in 1..=5 {
            words.push(hooked.world.charges_of(&format!("sub-{n}")).await[0].state.word());
        }
        words
    };
    assert_eq!(words(&hooked).await, ["paid", "failed", "paid", "failed", "sending"]);
    // The receiver is back; what happens from now on is told, and what was told in vain is known.
    hooked.subscribe(WebhookOptions::default());
    turn(&hooked, TimeDelta::days(1));
    hooked.hear().await;
    hooked.world.run().await;
    assert_eq!(words(&hooked).await, ["paid", "failed", "paid", "failed", "paid"]);
    hooked.balance().await;
}

#[tokio::test]
async fn a_key_that_is_not_known_yet_loses_no_event_and_two_are_taken_during_a_rotation() {
    let hooked = Hooked::begin(Backend::Sqlite, BEGIN, "rotation").await.unwrap();
    due(&hooked, vec![card(Behaviour::Pays, 1), card(Behaviour::Pays, 2)]).await;
    let keys = hooked.world.sandbox().webhook_keys().unwrap();
    hooked.world.sandbox().rotate_webhook_key();
    hooked.world.run().await;
    hooked.world.sandbox().webhooks_settled().await;
    let answers = || {
        let deliveries = hooked.world.sandbox().ledger().deliveries();
        deliveries.iter().flat_map(|one| one.attempts.iter().map(|attempt| attempt.answered)).collect::<Vec<_>>()
    };
    assert_eq!(answers(), [Some(503), Some(503)], "our own trouble is never a final answer");
    assert_eq!(hooked.rows().await, []);
    // Both keys are configured: the same events come again, and are kept.
    let doorman: Arc<dyn Doorman> = Arc::new(CcgDoorman::new(MERCHANT, &keys).unwrap());
    let (url, stop) = receiver(&doorman, &hooked.world, &hooked.ports).await;
    hooked.world.sandbox().set_webhooks(WebhookOptions { url: Some(url), ..WebhookOptions::default() }).unwrap();
    turn(&hooked, TimeDelta::minutes(5));
    hooked.world.sandbox().webhooks_settled().await;
    assert_eq!(answers(), [Some(503), Some(202), Some(503), Some(202)]);
    assert_eq!(hooked.rows().await.len(), 2);
    stop.cancel();
    hooked.balance().await;
}

/// One of the moves of a random history.
#[derive(Debug, Clone)]
enum Move {
    /// The nth event so far is delivered, again or for the first time.
    Deliver(usize),
    Look,
    Poll,
    Wait(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..1_000_usize).prop_map(Move::Deliver),
        2 => Just(Move::Look),
        2 => Just(Move::Poll),
        2 => (1..40_i64).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..60)
}

/// What a bank or a card does in a random history; no decline is tried again, so that one payment is the whole story.
fn method(kind: u8, n: u64) -> Option<Method> {
    match kind {
        0 => card(Behaviour::Pays, n),
        1 => card(Behaviour::DeclinesWith(DeclineCode::StolenCard), n),
        2 => bank(Behaviour::AchSettles { days: Some(2) }, n),
        3 => bank(Behaviour::AchReturned { days: Some(2), code: ReturnCode::R02 }, n),
        _ => bank(Behaviour::AchReturnedLate { days: Some(2), code: ReturnCode::R02 }, n),
    }
}

async fn any_history(backend: Backend, kinds: Vec<u8>, moves: Vec<Move>) {
    let mut hooked = Hooked::begin_deaf(backend, BEGIN, "history", Options::default()).await.unwrap();
    // A debit that nobody saw paid before it came back was collected at the bank and never here.
    hooked.world.may_end_unknown = kinds.contains(&4);
    let (recorder, stop) = (Recorder::default(), CancellationToken::new());
    let url = recorder.listen(stop.clone()).await;
    hooked.world.sandbox().set_webhooks(WebhookOptions { url: Some(url), ..WebhookOptions::default() }).unwrap();
    due(&hooked, (1_u64..).zip(&kinds).map(|(n, kind)| method(*kind, n)).collect()).await;
    hooked.world.run().await;
    for one in moves {
        hooked.world.sandbox().webhooks_settled().await;
        let heard = recorder.heard();
        match one {
            Move::Deliver(_) if heard.is_empty() => {}
            Move::Deliver(n) => hooked.keep(&heard[n % heard.len()].body).await,
            Move::Look => drop(hooked.intake.drain().await.unwrap()),
            Move::Poll => drop(hooked.world.run().await),
            Move::Wait(hours) => turn(&hooked, TimeDelta::hours(hours)),
        }
    }
    // Everything has happened by then; each event comes at least once, the last first.
    turn(&hooked, TimeDelta::days(20));
    hooked.world.sandbox().webhooks_settled().await;
    for sent in recorder.heard().iter().rev() {
        hooked.keep(&sent.body).await;
    }
    for _ in 0..4 {
        hooked.intake.drain().await.unwrap();
        hooked.world.run().await;
        turn(&hooked, TimeDelta::minutes(2));
    }
    // One question to the gateway, at the end.
    let payments = hooked.world.sandbox().ledger().payments();
    for (n, kind) in (1..).zip(&kinds) {
        let charge = hooked.world.charges_of(&format!("sub-{n}")).await.remove(0);
        let key = hooked.ports.store.attempts(charge.id).await.unwrap()[0].key.to_string();
        let there = payments.iter().find(|payment| payment.key == key).unwrap();
        let word = charge.state.word();
        match (there.status, *kind) {
            (Status::Completed, _) => assert_eq!(word, "paid", "{charge:?}"),
            // Whoever asked before the bank took it back saw it paid; whoever did not, never did.
            (Status::Failed, 4) => assert!(["returned", "failed"].contains(&word), "{charge:?}"),
            (Status::Failed, _) => assert_eq!(word, "failed", "{charge:?}"),
            (other, _) => panic!("{other:?} is no end"),
        }
        // A paid debit is looked at until its bank has had its time; nothing else is in question any more.
        let next = match charge.state {
            State::Paid { recheck: Some(Recheck { asked: 0, next_at, returnable: true }), .. } => {
                assert!(next_at > hooked.world.now() && (2..=4).contains(kind), "{charge:?}");
                None
            }
            ref state => state.next_at(),
        };
        assert_eq!(next, None, "nothing is in question any more: {charge:?}");
    }
    let rows = hooked.rows().await;
    assert!(rows.iter().all(|row| row.state == InboxState::Done), "{rows:?}");
    stop.cancel();
    hooked.balance().await;
}

fn histories(backend: Backend, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    proptest!(config, |(kinds in prop::collection::vec(0..5_u8, 1..5), moves in moves())| {
        runtime.block_on(any_history(backend, kinds, moves));
    });
}

#[test]
fn any_true_events_in_any_order_with_any_polls_end_as_one_question_at_the_end_would() {
    histories(Backend::Memory, 64);
    histories(Backend::Sqlite, 12);
}
