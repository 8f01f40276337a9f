//! What becomes of payments, holds, debits and refunds, seen through the client (contract §4.4 to §4.13, §5).

use std::collections::BTreeSet;
use std::time::Duration;

use ccg::{Cancel, CancellationReason, Capture, CreateRefund, Operation, Payment, RefundPart, RefundStatus, Status};
use sandbox::{Behaviour, DeclineCode, Options, ReturnCode, method_id};
use serde_json::json;

use super::bodies::{by_token, debit, hold, sale, split, with};
use super::relay::Change;
use super::stage::{Stage, bank, card};

impl Stage {
    pub(crate) async fn look(&self, id: &str) -> Payment {
        match self.client.get_payment(id).await {
            Ok(answer) => answer.value,
            Err(error) => *error.into_evidence().payment.unwrap(),
        }
    }

    pub(crate) async fn status(&self, id: &str) -> String {
        self.look(id).await.status.as_str().to_owned()
    }
}

/// Contract §4.6, the first reading: repeats answer with the payment as it stands, and nothing is charged again.
#[tokio::test]
async fn a_repeated_payment_is_the_payment_there_is() {
    let stage = Stage::new("replays").await;
    let frozen = ccg::FrozenPayment::from_stored("again", sale("again", 4_200, card(1)).to_string()).unwrap();
    let first = stage.client.create_payment(&frozen).await.unwrap();
    assert_eq!((first.http_status, first.value.status.clone()), (202, Status::Initiated));
    for _ in 0..4 {
        let again = stage.client.create_payment(&frozen).await.unwrap();
        assert_eq!((again.value.id.clone(), again.value.status), (first.value.id.clone(), Status::Completed));
    }
    let sixth = stage.client.create_payment(&frozen).await.unwrap_err();
    assert_eq!((sixth.kind(), sixth.is_ambiguous_for_create()), ("retry_limit", true));
    assert_eq!(stage.sandbox.ledger().success_count(), 1);
    assert_eq!(stage.client.find_payment("again").await.unwrap().value.id, first.value.id);
}

/// Contract §4.5: each of the sixteen states that a payment of a server can be seen in is read as itself.
#[tokio::test]
async fn every_state_of_the_lifecycle_is_read_as_itself() {
    let options = || Options { settle: Duration::from_secs(60), ..Options::default() };
    let stage = Stage::of("states", options()).await;
    let mut seen = BTreeSet::new();
    let unstoppable = method_id(Behaviour::CancelFails { bank: false }, 1);
    let challenged = method_id(Behaviour::Demands3ds, 1);
    let nobody = with(sale("nobody", 100, card(1)), "/customer", json!({ "enterpriseId": "000123" }));
    let mut ids = vec![
        stage.pays(&sale("pays", 100, card(1))).await,
        stage.pays(&hold("captured", 100, card(2))).await,
        stage.pays(&hold("cancelled", 100, card(3))).await,
        stage.pays(&hold("stuck", 100, unstoppable)).await,
        stage.pays(&sale("challenged", 100, challenged)).await,
        stage.pays(&nobody).await,
        stage.pays(&debit("debit", 100, bank(1))).await,
    ];
    let saved = by_token("saved", "pm_saved", true);
    let frozen = ccg::FrozenTokenPayment::from_stored("saved", saved.to_string()).unwrap();
    ids.push(stage.client.create_token_payment(&frozen).await.unwrap().value.id);
    let cancel = Cancel::because(CancellationReason::RequestedByCustomer).ready().unwrap();
    for step in 0..30 {
        for id in &ids {
            let answer = stage.client.get_payment(id).await;
            let (payment, http) = match answer {
                Ok(answer) => (answer.value, answer.http_status),
                Err(error) => {
                    let http = error.evidence().http_status.unwrap();
                    (*error.into_evidence().payment.unwrap(), http)
                }
            };
            let word = payment.status.as_str().to_owned();
            assert!(!matches!(payment.status, Status::Other(_)), "{word} is no documented state");
            // Contract §4.4: 202 while it goes on, 200 when it is held or final, 422 when it failed.
            let expected = match word.as_str() {
                "AUTHORIZED" | "COMPLETED" | "CANCELLED" | "CANCEL_FAILED" => 200,
                "FAILED" => 422,
                _ => 202,
            };
            assert_eq!(http, expected, "{word}");
            seen.insert(word);
        }
        if step == 12 {
            stage.client.capture_payment(&ids[1], &Capture::full().ready().unwrap()).await.unwrap();
            stage.client.cancel_payment(&ids[2], &cancel).await.unwrap();
            stage.client.cancel_payment(&ids[3], &cancel).await.unwrap();
        }
        stage.sandbox.clock().advance(Duration::from_secs(6));
    }
    stage.pass(3);
    assert_eq!(stage.status(&ids[6]).await, "COMPLETED");
    let reached: Vec<&str> = seen.iter().map(String::as_str).collect();
    // CONFIRMATION_INITIALIZED needs a customer who answers a challenge, and a server has none.
    let documented = [
        "ACCEPTED",
        "AUTHORIZED",
        "AUTH_REQUIRED",
        "CANCELLED",
        "CANCEL_FAILED",
        "CANCEL_INITIALIZED",
        "CAPTURE_INITIALIZED",
        "COMPLETED",
        "FAILED",
        "INITIATED",
        "PENDING",
        "PENDING_FOR_CUSTOMER_CREATION",
        "PENDING_FOR_PAYMENT_METHOD_CREATION",
        "PROCESSING",
        "PROCESSING_DEDUP_CHECK",
    ];
    assert_eq!(reached, documented);
}

/// Contract §4.9: whole, part, by allocation; what is left out is released.
#[tokio::test]
async fn a_hold_is_captured_whole_or_in_part_and_the_rest_is_released() {
    let stage = Stage::new("captures").await;
    let whole = stage.pays(&hold("whole", 1_000, card(1))).await;
    let part = stage.pays(&hold("part", 1_000, card(1))).await;
    let taken = stage.client.capture_payment(&whole, &Capture::full().ready().unwrap()).await.unwrap();
    assert_eq!((taken.http_status, taken.value.status), (202, Status::CaptureInitialized));
    let held = stage.look(&part).await;
    assert_eq!(
        (held.status.clone(), held.authorized_amount, held.captured_amount),
        (Status::Authorized, Some(1_000), Some(0))
    );
    stage.client.capture_payment(&part, &Capture::amount(400).ready_for(&held).unwrap()).await.unwrap();
    assert_eq!(stage.look(&whole).await.captured_amount, Some(1_000));
    assert_eq!(stage.look(&part).await.captured_amount, Some(400));
    let again = stage.client.capture_payment(&part, &Capture::amount(100).ready().unwrap()).await.unwrap_err();
    assert_eq!(again.kind(), "unprocessable", "there is one capture");
    assert!(stage.sandbox.ledger().open_holds().is_empty());

    let declined = method_id(Behaviour::CaptureFails(DeclineCode::ExpiredCard), 1);
    let lost = stage.pays(&hold("lost", 1_000, declined)).await;
    stage.client.capture_payment(&lost, &Capture::full().ready().unwrap()).await.unwrap();
    let lost = stage.look(&lost).await;
    assert_eq!((lost.status.clone(), lost.error_code()), (Status::Failed, Some("card_declined")));

    stage.set("split-tender", "mixed");
    let legs =
        with(split("legs", [(600, card(1).to_string()), (400, card(2).to_string())]), "/authorizeCard", json!(true));
    let legs = stage.pays(&legs).await;
    let held = stage.look(&legs).await;
    let first = ccg::CaptureAllocation { id: held.payment_allocations[0].id.clone().unwrap(), amount: 500 };
    let capture = Capture::allocations(vec![first]).ready_for(&held).unwrap();
    stage.client.capture_payment(&legs, &capture).await.unwrap();
    let taken = stage.look(&legs).await;
    assert_eq!((taken.captured_amount, taken.payment_allocations[1].captured_amount), (Some(500), Some(0)));
    assert_eq!(taken.payment_allocations[1].status, Some(Status::Cancelled), "the leg left out is cancelled");
}

/// Contract §4.5: a hold lasts seven days.
#[tokio::test]
async fn a_hold_runs_out_after_seven_days() {
    let stage = Stage::new("expiry").await;
    let id = stage.pays(&hold("held", 1_000, card(1))).await;
    stage.sandbox.clock().advance(Duration::from_secs(7 * 86_400 - 1));
    assert_eq!(stage.status(&id).await, "AUTHORIZED");
    stage.sandbox.clock().advance(Duration::from_secs(1));
    assert_eq!(stage.status(&id).await, "CANCELLED");
    let late = stage.client.capture_payment(&id, &Capture::full().ready().unwrap()).await.unwrap_err();
    assert_eq!(late.evidence().detail.as_deref(), Some("Payment cannot be captured in CANCELLED state"));
    assert_eq!(stage.sandbox.ledger().success_count(), 0);
}

/// Contract §4.10.
#[tokio::test]
async fn a_smaller_hold_shows_what_is_missing() {
    let stage = Stage::new("partial").await;
    let short = method_id(Behaviour::ApprovesPart { percent: 60 }, 1);
    let body = with(hold("short", 1_000, short), "/partialAuthorization", json!(true));
    let id = stage.pays(&body).await;
    let held = stage.look(&id).await;
    assert_eq!((held.amount, held.authorized_amount, held.shortfall()), (Some(1_000), Some(600), Some(400)));
    assert!(Capture::amount(601).ready_for(&held).is_err());
    stage.client.capture_payment(&id, &Capture::full().ready_for(&held).unwrap()).await.unwrap();
    assert_eq!(stage.look(&id).await.captured_amount, Some(600));
    let whole = stage.pays(&hold("whole-or-nothing", 1_000, short)).await;
    assert_eq!(stage.status(&whole).await, "FAILED", "without the flag the issuer approves all or nothing");
}

/// Contract §4.11: from which states, and how it may end.
#[tokio::test]
async fn a_payment_is_cancelled_before_its_money_moves_and_not_after() {
    let stage = Stage::new("cancels").await;
    for reason in ["DUPLICATE", "FRAUDULENT", "REQUESTED_BY_CUSTOMER", "ABANDONED"] {
        let id = stage.pays(&hold(reason, 500, card(1))).await;
        let body = json!({ "paymentCancellationReason": reason, "paymentCancellationMessage": "as asked" });
        let answer = stage.call(Operation::CancelPayment, &id, Change::body(&body)).await.unwrap();
        assert_eq!((answer.status, answer.answer["data"]["status"].as_str()), (202, Some("CANCEL_INITIALIZED")));
        assert_eq!(stage.status(&id).await, "CANCELLED");
    }
    let cancel = Cancel::because(CancellationReason::RequestedByCustomer).ready().unwrap();
    let accepted = stage.pays(&debit("accepted", 500, bank(1))).await;
    stage.client.cancel_payment(&accepted, &cancel).await.unwrap();
    assert_eq!(stage.status(&accepted).await, "CANCELLED");
    let stuck = stage.pays(&hold("stuck", 500, method_id(Behaviour::CancelFails { bank: false }, 2))).await;
    stage.client.cancel_payment(&stuck, &cancel).await.unwrap();
    assert_eq!(stage.status(&stuck).await, "CANCEL_FAILED");
    let declined = method_id(Behaviour::DeclinesPlainly, 1);
    for (body, state) in [(sale("paid", 500, card(1)), "COMPLETED"), (sale("declined", 500, declined), "FAILED")] {
        let id = stage.pays(&body).await;
        let error = stage.client.cancel_payment(&id, &cancel).await.unwrap_err();
        assert_eq!(error.evidence().detail, Some(format!("Payment cannot be cancelled in {state} state")));
        assert_eq!(error.kind(), "unprocessable");
    }
    let twice = stage.client.cancel_payment(&accepted, &cancel).await.unwrap_err();
    assert_eq!(twice.evidence().detail.as_deref(), Some("Payment cannot be cancelled in CANCELLED state"));
}

/// Contract §4.12: both or none.
#[tokio::test]
async fn two_methods_pay_together_or_not_at_all() {
    let stage = Stage::new("split").await;
    let both = stage.pays(&split("both", [(600, card(1).to_string()), (400, card(2).to_string())])).await;
    let paid = stage.look(&both).await;
    assert_eq!(
        (paid.status.clone(), paid.captured_amount, paid.payment_allocations.len()),
        (Status::Completed, Some(1_000), 2)
    );
    let declined = method_id(Behaviour::DeclinesWith(DeclineCode::DoNotHonor), 1);
    for parts in [
        [(600, card(1).to_string()), (400, declined.to_string())],
        [(600, declined.to_string()), (400, card(1).to_string())],
    ] {
        let id = stage.pays(&split(&parts[0].1.clone(), parts)).await;
        let failed = stage.look(&id).await;
        assert_eq!((failed.status.clone(), failed.captured_amount), (Status::Failed, Some(0)));
        assert_eq!(failed.error_code(), Some("card_declined"));
        let undone = failed.payment_allocations.iter().find(|part| part.status == Some(Status::RolledBack)).unwrap();
        assert!(undone.remediation.is_some() && undone.error.is_none());
    }
    assert_eq!(stage.sandbox.ledger().total_collected("USD"), 1_000);
    let twice = split("twice", [(600, card(1).to_string()), (400, card(1).to_string())]);
    let accounts = with(
        split("accounts", [(600, bank(1).to_string()), (400, bank(2).to_string())]),
        "/consent",
        super::bodies::consent(),
    );
    let held =
        with(split("held", [(600, card(1).to_string()), (400, card(2).to_string())]), "/authorizeCard", json!(true));
    for body in [twice, accounts, held] {
        let error = stage.call(Operation::CreatePayment, "", Change::body(&body)).await.unwrap_err();
        assert_eq!((error.kind(), error.evidence().title.as_deref()), ("rejected", Some("INVALID_REQUEST")), "{body}");
    }
}

/// Contract §4.13: accepted first, settled days later, or returned.
#[tokio::test]
async fn a_bank_debit_settles_in_days_or_comes_back() {
    let stage = Stage::new("bank").await;
    let settles = stage.pays(&debit("settles", 700, bank(1))).await;
    let returned = method_id(Behaviour::AchReturned { days: Some(2), code: ReturnCode::R01 }, 1);
    let returned = stage.pays(&debit("returned", 700, returned)).await;
    assert_eq!(stage.status(&settles).await, "ACCEPTED");
    stage.pass(2);
    assert_eq!(
        (stage.status(&settles).await.as_str(), stage.status(&returned).await.as_str()),
        ("COMPLETED", "FAILED")
    );
    assert!(stage.look(&returned).await.error_message().unwrap().contains("R01"));
    assert_eq!(stage.sandbox.ledger().total_collected("USD"), 700);
}

/// Contract §5: whole, in parts, of a split payment, a credit, and the outcomes of each.
#[tokio::test]
async fn money_goes_back_whole_in_parts_and_without_a_payment() {
    let stage = Stage::new("refunds").await;
    let paid = stage.pays(&sale("paid", 1_000, card(1))).await;
    let part = stage.look(&paid).await.payment_allocations[0].id.clone().unwrap();
    let of = |amount| vec![RefundPart { payment_allocation_id: part.clone(), amount }];
    let first = CreateRefund::partial("r-1", &paid, of(300)).freeze().unwrap();
    let made = stage.client.create_refund(&first).await.unwrap();
    assert_eq!(
        (made.http_status, made.value.status.clone(), made.value.payment_id()),
        (202, RefundStatus::Initiated, Some(paid.as_str()))
    );
    let done = stage.client.get_refund(&made.value.id).await.unwrap();
    assert_eq!(
        (done.http_status, done.value.status.clone(), done.value.total()),
        (200, RefundStatus::Completed, Some(300))
    );
    let rest = stage.client.create_refund(&CreateRefund::full("r-2", &paid).freeze().unwrap()).await.unwrap().value;
    assert_eq!(stage.client.get_refund(&rest.id).await.unwrap().value.total(), Some(700), "all means all that is left");
    let again = stage.client.create_refund(&CreateRefund::full("r-3", &paid).freeze().unwrap()).await.unwrap().value;
    let error = stage.client.get_refund(&again.id).await.unwrap_err();
    assert_eq!(error.evidence().refund.as_ref().unwrap().error_message(), Some("This payment is already refunded"));

    // The gateway never replays a refund's create: the same id again is a refusal, told apart from a mistake.
    let repeated = stage.client.create_refund(&first).await.unwrap_err();
    assert!(matches!(repeated, ccg::CreateRefundError::IdUsed(_)), "{repeated:?}");

    let stubborn = method_id(Behaviour::RefundFails(sandbox::RefundError::DeclinedByPartner), 1);
    let legs = stage.pays(&split("legs", [(600, card(2).to_string()), (400, stubborn.to_string())])).await;
    let half = stage.client.create_refund(&CreateRefund::full("r-4", &legs).freeze().unwrap()).await.unwrap().value;
    let half = stage.client.get_refund(&half.id).await.unwrap().value;
    assert_eq!(half.status, RefundStatus::PartialSuccess);
    assert_eq!(half.refund_allocations.iter().filter(|part| part.error.is_some()).count(), 1, "nothing is rolled back");

    let slow = stage.pays(&sale("slow", 500, method_id(Behaviour::RefundPends { days: Some(4) }, 1))).await;
    let slow = stage.client.create_refund(&CreateRefund::full("r-5", &slow).freeze().unwrap()).await.unwrap().value.id;
    let waiting = stage.client.get_refund(&slow).await.unwrap();
    assert_eq!((waiting.http_status, waiting.value.status), (202, RefundStatus::Pending));
    stage.pass(4);
    assert_eq!(stage.client.get_refund(&slow).await.unwrap().value.status, RefundStatus::Completed);

    let credit = CreateRefund::credit("r-6", card(3), super::stage::customer(), 2_500).freeze().unwrap();
    let credit = stage.client.create_refund(&credit).await.unwrap().value;
    assert_eq!((credit.payment_id(), credit.total()), (None, Some(2_500)));

    stage.pass(181);
    let old = stage.pays(&sale("old", 500, card(9))).await;
    stage.pass(181);
    let late = stage.client.create_refund(&CreateRefund::full("r-7", &old).freeze().unwrap()).await.unwrap().value.id;
    let error = stage.client.get_refund(&late).await.unwrap_err();
    assert_eq!(
        error.evidence().refund.as_ref().unwrap().error_message(),
        Some("This payment is too old to be refunded")
    );
}

/// Contract §5, §8.4: a disputed payment keeps its state and is not refunded.
#[tokio::test]
async fn a_disputed_payment_stays_paid_and_is_not_refunded() {
    let stage = Stage::new("disputed").await;
    let id = stage.pays(&sale("paid", 1_000, card(1))).await;
    stage.sandbox.open_dispute(id.parse().unwrap(), 0, "FRAUDULENT").unwrap();
    assert_eq!(stage.status(&id).await, "COMPLETED");
    let refund = stage.client.create_refund(&CreateRefund::full("r", &id).freeze().unwrap()).await.unwrap().value.id;
    let error = stage.client.get_refund(&refund).await.unwrap_err();
    let told = error.evidence().refund.as_ref().unwrap().error_message().map(str::to_owned);
    assert_eq!(told.as_deref(), Some("Payment is in dispute and not available for refund"));
}
