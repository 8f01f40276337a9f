//! Capturing a hold and giving a payment up.

use ccg::{Ambiguity, CallError, Cancel, CancellationReason, Capture, CaptureAllocation, Payment, Status};
use serde_json::{Value, json as value};

use crate::server::{Reply, json};
use crate::world::{PAYMENT_ID, World};

const PART: &str = "aaaaaaaa-0000-4000-8000-000000000001";

fn payment(text: &str) -> Payment {
    let envelope: Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(envelope["data"].clone()).unwrap()
}

fn part(id: &str, amount: i64) -> CaptureAllocation {
    CaptureAllocation { id: id.into(), amount }
}

fn said(result: Result<ccg::Ready<Capture>, Vec<ccg::LimitError>>) -> Vec<String> {
    result.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_capture_is_written_whole_in_part_or_by_allocation() {
    let mut noted = Capture::allocations(vec![part(PART, 1_000), part("p-2", 500)]);
    noted.metadata = [("parcel".to_owned(), "1 of 2".to_owned())].into();
    let table = [
        (Capture::full(), value!({})),
        (Capture::amount(1_500), value!({ "amount": 1500 })),
        (
            noted,
            value!({
                "paymentAllocations": [ { "id": PART, "amount": 1000 }, { "id": "p-2", "amount": 500 } ],
                "metadata": { "parcel": "1 of 2" },
            }),
        ),
    ];
    let world = World::new(|_, _| Reply::Say(json(202, include_str!("../shapes/capture_initialized.json")))).await;
    for (n, (capture, expected)) in table.into_iter().enumerate() {
        let answer = world.client.capture_payment(PAYMENT_ID, &capture.ready().unwrap()).await.unwrap();
        assert_eq!((answer.http_status, answer.value.status), (202, Status::CaptureInitialized));
        let seen = world.gateway.seen().remove(n);
        assert_eq!(seen.line, format!("PATCH /checkout/v2/payments/{PAYMENT_ID}/capture HTTP/1.1"));
        assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_cancellation_gives_its_reason() {
    let world = World::new(|_, _| Reply::Say(json(202, include_str!("../shapes/cancel_initialized.json")))).await;
    let mut cancel = Cancel::because(CancellationReason::Fraudulent);
    cancel.message = Some("reported by the customer".into());
    let answer = world.client.cancel_payment(PAYMENT_ID, &cancel.ready().unwrap()).await.unwrap();
    assert_eq!(answer.value.status, Status::CancelInitialized);
    let seen = world.gateway.seen().remove(0);
    let expected = value!({
        "paymentCancellationReason": "FRAUDULENT", "paymentCancellationMessage": "reported by the customer",
    });
    assert_eq!(serde_json::from_slice::<Value>(&seen.body).unwrap(), expected);
    for (reason, word) in [
        (CancellationReason::Duplicate, "DUPLICATE"),
        (CancellationReason::RequestedByCustomer, "REQUESTED_BY_CUSTOMER"),
        (CancellationReason::Abandoned, "ABANDONED"),
    ] {
        assert!(Cancel::because(reason).ready().unwrap().body().contains(word));
    }
}

#[tokio::test]
async fn a_wrong_state_or_amount_is_a_broken_rule_and_processed_nothing() {
    for body in [
        include_str!("../shapes/capture_bad_state.json"),
        include_str!("../shapes/capture_too_much.json"),
        include_str!("../shapes/cancel_bad_state.json"),
    ] {
        let world = World::new(move |_, _| Reply::Say(json(422, body))).await;
        let capture = world.client.capture_payment(PAYMENT_ID, &Capture::full().ready().unwrap()).await;
        let cancel = Cancel::because(CancellationReason::Duplicate).ready().unwrap();
        let cancel = world.client.cancel_payment(PAYMENT_ID, &cancel).await;
        for error in [capture.unwrap_err(), cancel.unwrap_err()] {
            assert!(matches!(error, CallError::Unprocessable { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_capture_that_shows_the_payment_is_still_a_refusal() {
    let mut body: Value = serde_json::from_str(include_str!("../shapes/capture_bad_state.json")).unwrap();
    let shown: Value = serde_json::from_str(include_str!("../shapes/get_completed.json")).unwrap();
    body["data"] = shown["data"].clone();
    let world = World::new(move |_, _| Reply::Say(json(422, &body.to_string()))).await;
    let error = world.client.capture_payment(PAYMENT_ID, &Capture::full().ready().unwrap()).await.unwrap_err();
    assert!(matches!(error, CallError::Unprocessable { .. }), "{error:?}");
    assert_eq!(error.evidence().payment.as_ref().unwrap().status, Status::Completed);
}

#[tokio::test]
async fn an_answer_about_another_payment_is_not_believed() {
    let other = "00000000-6a0e-4b0b-8f4e-0d7a4f1f9a01";
    let world = World::new(|_, _| Reply::Say(json(202, include_str!("../shapes/capture_initialized.json")))).await;
    let error = world.client.capture_payment(other, &Capture::full().ready().unwrap()).await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::WrongPayment { field: "id" }, .. }), "{error:?}");
}

#[test]
fn a_captures_limits_are_named_all_at_once() {
    assert_eq!(
        said(
            Capture { amount: Some(0), payment_allocations: vec![part("", 1), part("b", -1)], ..Capture::full() }
                .ready()
        ),
        [
            "amount must be an integer between 1 and 99999999",
            "amount and paymentAllocations are alternatives",
            "paymentAllocations[0].id is required",
            "paymentAllocations[1].amount must be an integer between 1 and 99999999",
        ]
    );
    let three = vec![part("a", 1), part("b", 1), part("c", 1)];
    assert_eq!(said(Capture::allocations(three).ready()), ["paymentAllocations cannot contain more than 2 items"]);
    let twice = vec![part("a", 1), part("A", 1)];
    assert_eq!(said(Capture::allocations(twice).ready()), ["paymentAllocations cannot name the same allocation twice"]);
}

#[test]
fn a_smaller_hold_is_seen_and_never_exceeded() {
    const TOO_MUCH: &str = "Capture amount exceeds authorized amount or no amount authorized for capture";
    let hold = payment(include_str!("../shapes/get_authorized_partial.json"));
    assert_eq!((hold.status.clone(), hold.shortfall()), (Status::Authorized, Some(1_200)));
    assert!(Capture::amount(3_000).ready_for(&hold).is_ok());
    assert!(Capture::allocations(vec![part(PART, 3_000)]).ready_for(&hold).is_ok());
    assert_eq!(said(Capture::amount(3_001).ready_for(&hold)), [TOO_MUCH]);
    assert_eq!(said(Capture::allocations(vec![part(PART, 3_001)]).ready_for(&hold)), [TOO_MUCH, TOO_MUCH]);
    assert_eq!(
        said(Capture::allocations(vec![part("p-9", 1)]).ready_for(&hold)),
        ["paymentAllocations[0].id is not one of the payment's"]
    );
    let full = Capture::full().ready_for(&hold);
    assert_eq!(full.unwrap().body(), "{}");

    let done = payment(include_str!("../shapes/get_completed.json"));
    assert_eq!(said(Capture::full().ready_for(&done)), ["Payment cannot be captured in COMPLETED state"]);
    let gone = payment(include_str!("../shapes/get_cancelled.json"));
    assert_eq!(said(Capture::full().ready_for(&gone)), ["Payment cannot be captured in CANCELLED state"]);
}

#[test]
fn an_accepted_debit_names_its_account() {
    let debit = payment(include_str!("../shapes/get_accepted_ach.json"));
    assert_eq!(debit.status, Status::Accepted);
    assert!(!debit.status.is_final());
    let method = debit.payment_allocations[0].payment_method.as_ref().unwrap();
    let account = method.bank_account.as_ref().unwrap();
    assert_eq!(method.kind, Some(ccg::MethodType::BankAccount));
    assert_eq!(
        (account.account_type.clone(), method.last4.as_deref()),
        (Some(ccg::AccountType::Checking), Some("6789"))
    );
}
