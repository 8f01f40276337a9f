//! Refusals that are about money: payments, consents, captures, cancellations, refunds (contract §3.6, §3.7, §4, §5).

use axum::http::Method;
use ccg::Operation;
use sandbox::{Behaviour, DeclineCode, RefundError, Refusal, Switches, method_id};
use serde_json::{Value, json};

use super::bodies::{self, KEY, debit, hold, notes, sale, split, with, with_consent};
use super::refusals::{Case, invalid, put};
use super::relay::Change;
use super::stage::{NOBODYS, OTHER, Stage, bank, card};

type Said = (u16, &'static str, &'static str);

const MALFORMED: Said = invalid("Invalid request format. Please check JSON structure and field types");
const RETRY_LIMIT: Said = (
    422,
    "UNPROCESSABLE_ENTITY",
    "Retry limit exceeded for merchantTransactionId. Please use a new merchantTransactionId.",
);
const REUSED: Said = (403, "FORBIDDEN", "MerchantTransaction Id cannot be reused");
const NOT_AN_ID: Said = invalid("paymentId must be valid UUID");
const NO_PAYMENT: Said = (404, "NOT_FOUND", "paymentId not found");
const NO_KEY: Said = (404, "NOT_FOUND", "Payment information not found.");
const FAILED: Said =
    (422, "PAYMENT_ERROR", "Payment processing failed for all records. Check individual records for error details");
const NOT_HELD: Said = (422, "UNPROCESSABLE_ENTITY", "Payment cannot be captured in {STATE} state");
const TOO_MUCH: &str = "Capture amount exceeds authorized amount or no amount authorized for capture";
const NOT_HELD_V1: Said = invalid("Payment with {paymentId} is in invalid status: {STATE}");
const AMOUNT_V1: Said = invalid("amount Invalid amount {amount}, it must be between 1 and 99999999");
const NOTES_V1: Said = invalid("payment.metadata {limit}");
const FOREIGN_CAPTURE: Said = (403, "FORBIDDEN", "Not authorized to capture this payment");
const NOT_CANCELLABLE: Said = (422, "UNPROCESSABLE_ENTITY", "Payment cannot be cancelled in {STATE} state");
const REASON: Said =
    invalid("Invalid enum in paymentCancellationReason. paymentCancellationReason should accept only allowed enums");
const FOREIGN_CANCEL: Said = (403, "FORBIDDEN", "Not authorized to cancel this payment");
const NO_REFUND: Said = (404, "NOT_FOUND", "refundId not found");
const NO_PAYMENT_TO_REFUND: Said = invalid("paymentId not found");
const MORE_THAN_LEFT: Said =
    invalid("Refund amount cannot be more than the un-refunded amount of the original payment");
const NO_CREDIT: Said = invalid("When paymentMethodId is present, amount is required");
const NOT_CAPTURED: Said = invalid("Refunds can only be processed for captured payments");
const OVER_LIMIT: Said = invalid("The amount given exceeds the allowed refund limit");
const NEITHER: Said = invalid("paymentId or paymentMethodId is required");
const BOTH: Said = invalid("Either paymentId or paymentMethodId should be provided.{rest}");
const CANNOT: Said = invalid("Cannot issue refund for this payment");
const USED: Said = invalid("merchantTransactionId already used");
const REFUND_FAILED: Said = (
    422,
    "REFUND_ERROR",
    "Refund allocation processing failed for all records. Check individual records for error details",
);

/// What is wrong with a payment's body (contract §4.7), changed from the documented one.
fn mistakes() -> Vec<(&'static str, Value, Said)> {
    let amount = invalid("amount must be an integer between 1 and 99999999");
    let suffix = invalid(
        "statementDescriptorSuffix only allows alphanumeric, space, hyphen and dot, and must contain at least one letter",
    );
    let parts = "/paymentAllocations";
    let part = json!({ "amount": 1400, "paymentMethodId": card(1).to_string() });
    let few = invalid("paymentAllocations is required and must contain at least 2 items");
    let part_amount = invalid("paymentAllocations[{n}].amount must be an integer between 1 and 99999999");
    vec![
        ("/amount", Value::Null, invalid("amount is required")),
        ("/amount", json!(0), amount),
        ("/amount", json!(100_000_000), amount),
        ("/amount", json!(42.5), amount),
        ("/amount", json!(4_201), invalid("amount must equal the sum of paymentAllocations[:].amount")),
        ("/merchantTransactionId", Value::Null, invalid("merchantTransactionId is required")),
        ("/merchantTransactionId", json!("k".repeat(51)), invalid("merchantTransactionId cannot exceed 50 characters")),
        ("/description", json!("d".repeat(101)), invalid("description cannot exceed 100 characters")),
        (
            "/statementDescriptorSuffix",
            json!("ABCDEFGHIJK"),
            invalid("statementDescriptorSuffix cannot exceed 10 characters"),
        ),
        ("/statementDescriptorSuffix", json!("12 34"), suffix),
        ("/statementDescriptorSuffix", json!("JUNE_26"), suffix),
        (parts, Value::Null, few),
        (parts, json!([]), few),
        (parts, json!([part, part, part]), invalid("paymentAllocations cannot contain more than 2 items")),
        ("/paymentAllocations/0/amount", Value::Null, invalid("paymentAllocations[{n}].amount is required")),
        ("/paymentAllocations/0/amount", json!(0), part_amount),
        ("/paymentAllocations/0/amount", json!(100_000_000), part_amount),
        (
            "/paymentAllocations/0/paymentMethodId",
            Value::Null,
            invalid("paymentAllocations[{n}].paymentMethodId is required"),
        ),
        (
            "/paymentAllocations/0/paymentMethodId",
            json!("card"),
            invalid("paymentAllocations[{n}].paymentMethodId must be valid UUID"),
        ),
        ("/partialAuthorization", json!(true), invalid("partialAuthorization requires authorizeCard to be true")),
        (
            "/paymentDetails",
            json!({ "healthcare": { "visionAmount": 5 } }),
            (422, "UNPROCESSABLE_ENTITY", "paymentDetails.qualifiedAmount is required when paymentDetails is provided"),
        ),
        (
            "/paymentDetails",
            json!({ "healthcare": { "iias": { "qualifiedAmount": 4000 }, "visionAmount": 201 } }),
            (
                422,
                "UNPROCESSABLE_ENTITY",
                "sum of paymentDetails.qualifiedAmount and paymentDetails.visionAmount cannot exceed amount",
            ),
        ),
        (
            "/paymentDetails",
            json!({ "healthcare": { "iias": {
                "qualifiedAmount": 100, "qualifiedAmountDetails": { "prescriptionAmount": 101 } } } }),
            (
                422,
                "UNPROCESSABLE_ENTITY",
                "paymentDetails.prescriptionAmount cannot exceed paymentDetails.qualifiedAmount",
            ),
        ),
    ]
}

/// The limits of `metadata`, wherever it is sent (contract §3.3).
fn metadata() -> Vec<(Value, Said)> {
    vec![
        (notes(21), invalid("metadata cannot exceed 20 entries")),
        (json!({ "k".repeat(41): "v" }), invalid("metadata key cannot exceed 40 characters")),
        (json!({ "k": "v".repeat(101) }), invalid("metadata value cannot exceed 100 characters")),
    ]
}

/// What is wrong with a consent (contract §3.6).
fn consents() -> Vec<(Value, Said)> {
    let public = |field: &str, value: Value| with(bodies::consent(), field, value);
    let details = invalid("consent.collectionDetails are not valid");
    let needed = invalid("Consent is required!");
    let wrong = invalid("Consent is Invalid!");
    vec![
        (Value::Null, needed),
        (json!({}), needed),
        (json!({ "ipAddress": "192.0.2.7" }), needed),
        (json!({ "type": "TELEPATHY", "timestamp": "2026-06-01T09:00:00-05:00" }), wrong),
        (json!({ "type": "ONLINE" }), wrong),
        (public("/merchantConsentId", Value::Null), invalid("consent.merchantConsentId is required")),
        (
            public("/merchantConsentText", json!("I agree {all}")),
            invalid("consent.merchantConsentText contains unsupported characters"),
        ),
        (public("/collectionTimestamp", Value::Null), invalid("consent.collectionTimestamp is required")),
        (public("/collectionDetails", Value::Null), details),
        (public("/collectionDetails/type", json!("FAX")), details),
        (
            public("/collectionDetails/type", json!("PPD")),
            invalid("agent is required when consent.collectionDetails.type is PPD"),
        ),
    ]
}

/// Payments that are taken and fail: the method, and how the older pages say it with 406 (contract §4.7).
fn failures() -> Vec<(Behaviour, Said)> {
    let older = |detail| (406, "PAYMENT_METHOD_ERROR", detail);
    vec![
        (
            Behaviour::NotFound,
            older("paymentAllocations[{n}].paymentMethodId not found. Please provide a valid payment method"),
        ),
        (
            Behaviour::Refused(Refusal::NotConfigured),
            older("Payment method ending with {last4} is not configured. Please provide a valid payment method."),
        ),
        (
            Behaviour::Refused(Refusal::ManufacturerCard),
            older(
                "Manufacturer card ending with {last4} not enabled for this merchant. Please use a different payment method",
            ),
        ),
        (
            Behaviour::Refused(Refusal::Invalid),
            older("Payment method ending with {last4} is invalid. Please provide a valid payment method"),
        ),
        (
            Behaviour::Refused(Refusal::SecurityStep),
            older(
                "This card requires an additional security step to be performed by the customer. Please have the customer enter the card via text or email; otherwise, have the customer provide a different payment method.",
            ),
        ),
        (
            Behaviour::Demands3ds,
            older(
                "Payment method could not be authorized. This payment method requires authentication from a customer.",
            ),
        ),
    ]
}

const SPLIT_FAILED: Said =
    (406, "PAYMENT_METHOD_ERROR", "One of the split tender card payments failed during processing.");

/// What the tests below put to the sandbox.
pub(crate) fn said() -> Vec<Said> {
    let mut said = vec![
        MALFORMED,
        RETRY_LIMIT,
        REUSED,
        NOT_AN_ID,
        NO_PAYMENT,
        NO_KEY,
        FAILED,
        SPLIT_FAILED,
        NOT_HELD,
        (422, "UNPROCESSABLE_ENTITY", TOO_MUCH),
        invalid(TOO_MUCH),
        NOT_HELD_V1,
        AMOUNT_V1,
        NOTES_V1,
        FOREIGN_CAPTURE,
        NOT_CANCELLABLE,
        REASON,
        FOREIGN_CANCEL,
        NO_REFUND,
        NO_PAYMENT_TO_REFUND,
        MORE_THAN_LEFT,
        NO_CREDIT,
        NOT_CAPTURED,
        OVER_LIMIT,
        NEITHER,
        BOTH,
        CANNOT,
        USED,
        REFUND_FAILED,
    ];
    said.extend(mistakes().into_iter().map(|(_, _, said)| said));
    said.extend(metadata().into_iter().chain(consents()).map(|(_, said)| said));
    said.extend(failures().into_iter().map(|(_, said)| said));
    said.extend(RefundError::ALL.iter().map(|error| (422, "REFUND_ERROR", error.message())));
    said
}

#[tokio::test]
async fn a_payment_with_a_mistake_is_refused_in_the_documented_words() {
    let stage = Stage::new("payment_mistakes").await;
    let create = Operation::CreatePayment;
    let changed = |(pointer, value, said): (&str, Value, Said)| {
        Case::new(create, Change::body(&with(bodies::of(create), pointer, value)), said)
    };
    let mut cases: Vec<Case> = mistakes().into_iter().map(changed).collect();
    for text in ["", "{", "[]", "null", "{\"amount\": \"4200\"}"] {
        cases.push(Case::new(create, Change::text(text), MALFORMED));
    }
    for (consent, said) in consents() {
        cases.push(Case::new(create, Change::body(&with(with_consent(json!({})), "/consent", consent)), said));
    }
    put(&stage, cases).await;
    assert_eq!(stage.sandbox.ledger().summary().keys, 0, "nothing that was refused left anything behind");
}

#[tokio::test]
async fn a_payment_by_token_is_refused_in_the_same_words() {
    let stage = Stage::new("token_payment_mistakes").await;
    let create = Operation::CreateTokenPayment;
    let mistakes = mistakes().into_iter().filter(|(pointer, value, _)| {
        // Version 1 has no allocations, so there is nothing to add up.
        !pointer.starts_with("/paymentAllocations") && *value != json!(4_201)
    });
    let mut cases: Vec<Case> = mistakes
        .map(|(pointer, value, said)| {
            let pointer = if pointer == "/description" { "/paymentDescription" } else { pointer };
            Case::new(create, Change::body(&with(bodies::of(create), pointer, value)), said)
        })
        .collect();
    for (consent, said) in consents() {
        let body = bodies::by_token(KEY, "ba_unused", false);
        let body = with(with(body, "/paymentMethod/type", json!("BANK_ACCOUNT")), "/consent", consent);
        let body = with(body, "/paymentMethod/paymentMethodDetails", Value::Null);
        cases.push(Case::new(create, Change::body(&body), said));
    }
    put(&stage, cases).await;
}

#[tokio::test]
async fn notes_beyond_the_limits_are_refused_wherever_notes_are_sent() {
    let stage = Stage::new("notes").await;
    let held = stage.pays(&hold("held", 1_000, card(2))).await;
    let mut cases = Vec::new();
    for (notes, said) in metadata() {
        for call in [Operation::CreatePayment, Operation::CreateTokenPayment, Operation::CreateRefund] {
            cases.push(Case::new(call, Change::body(&with(bodies::of(call), "/metadata", notes.clone())), said));
        }
        let session = with(bodies::of(Operation::CreateSession), "/payment/metadata", notes.clone());
        cases.push(Case::new(Operation::CreateSession, Change::body(&session), said));
        let capture = json!({ "metadata": notes });
        cases.push(Case::new(Operation::CapturePayment, Change::body(&capture), said).about(&held));
        let path = format!("/v1/payments/{held}/capture");
        let older = Change::elsewhere(Method::POST, path, &capture);
        cases.push(Case::new(Operation::CapturePayment, older, NOTES_V1).about(&held));
    }
    put(&stage, cases).await;
}

#[tokio::test]
async fn a_repeated_id_is_refused_after_the_fifth_time_or_at_once_by_reading() {
    let stage = Stage::new("repeats").await;
    let create = Operation::CreatePayment;
    for _ in 0..5 {
        stage.call(create, "", Change::default()).await.unwrap();
    }
    put(&stage, vec![Case::new(create, Change::default(), RETRY_LIMIT)]).await;
    stage.set("idempotency", "reject-duplicate");
    put(&stage, vec![Case::new(create, Change::default(), REUSED)]).await;
    assert_eq!(stage.sandbox.ledger().success_count(), 1);
}

#[tokio::test]
async fn a_payment_nobody_has_is_not_found() {
    let stage = Stage::new("not_found").await;
    let mut cases = vec![Case::new(Operation::FindPayment, Change::default(), NO_KEY)];
    for call in [Operation::GetPayment, Operation::CapturePayment, Operation::CancelPayment] {
        let body = Change {
            body: (call == Operation::CancelPayment).then(|| bodies::of(call).to_string()),
            ..Change::default()
        };
        cases.push(Case::new(call, body.clone(), NO_PAYMENT));
        cases.push(Case::new(call, body, NOT_AN_ID).about("inv-7731-a1"));
    }
    cases.push(Case::new(Operation::GetRefund, Change::default(), NO_REFUND));
    put(&stage, cases).await;
}

#[tokio::test]
async fn a_payment_that_failed_is_told_with_its_reason_in_either_status() {
    let stage = Stage::new("failures").await;
    let asked = [Operation::GetPayment, Operation::FindPayment];
    for (n, (behaviour, older)) in failures().into_iter().enumerate() {
        stage.read(Switches::default());
        let key = format!("fails-{n}");
        let id = stage.pays(&sale(&key, 900, method_id(behaviour, 30 + n as u64))).await;
        for (call, name) in asked.into_iter().zip([&id, &key]) {
            let error = stage.call(call, name, Change::default()).await.unwrap_err();
            let payment = error.evidence().payment.as_ref().unwrap();
            assert_eq!((error.kind(), payment.status.as_str()), ("processing", "FAILED"));
            assert!(!error.is_ambiguous_for_create());
            assert!(ccg::codes::look_up(call, 406, older.1, payment.error_message().unwrap()).is_some());
            put(&stage, vec![Case::new(call, Change::default(), FAILED).about(name)]).await;
        }
        stage.set("failure-status", "406");
        put(&stage, vec![Case::new(Operation::GetPayment, Change::default(), older).about(&id)]).await;
    }
    let declined = method_id(Behaviour::DeclinesWith(DeclineCode::DoNotHonor), 1);
    let id = stage.pays(&split("split", [(500, card(1).to_string()), (400, declined.to_string())])).await;
    put(&stage, vec![Case::new(Operation::GetPayment, Change::default(), SPLIT_FAILED).about(&id)]).await;
    stage.read(Switches::default());
    put(&stage, vec![Case::new(Operation::GetPayment, Change::default(), FAILED).about(&id)]).await;
}

#[tokio::test]
async fn a_capture_or_a_cancellation_that_cannot_be_is_refused_in_both_versions() {
    let stage = Stage::new("captures_refused").await;
    let held = stage.pays(&hold("held", 1_000, card(2))).await;
    let paid = stage.pays(&sale("paid", 1_000, card(3))).await;
    let foreign = {
        let other = stage.client.with_merchant(OTHER);
        let body = hold("foreign", 1_000, card(4));
        let frozen = ccg::FrozenPayment::from_stored("foreign", body.to_string()).unwrap();
        other.create_payment(&frozen).await.unwrap().value.id
    };
    let (capture, cancel) = (Operation::CapturePayment, Operation::CancelPayment);
    let too_much = json!({ "amount": 1_001 });
    let reason = bodies::of(cancel);
    let older =
        |id: &str, verb: &str, body: &Value| Change::elsewhere(Method::POST, format!("/v1/payments/{id}/{verb}"), body);
    put(
        &stage,
        vec![
            Case::new(capture, Change::body(&json!({})), NOT_HELD).about(&paid),
            Case::new(capture, Change::body(&too_much), (422, "UNPROCESSABLE_ENTITY", TOO_MUCH)).about(&held),
            Case::new(capture, older(&held, "capture", &too_much), invalid(TOO_MUCH)).about(&held),
            Case::new(capture, older(&held, "capture", &json!({ "amount": 0 })), AMOUNT_V1).about(&held),
            Case::new(capture, older(&paid, "capture", &json!({})), NOT_HELD_V1).about(&paid),
            Case::new(capture, older(&foreign, "capture", &json!({})), FOREIGN_CAPTURE).about(&foreign),
            Case::new(capture, Change::body(&json!({})), NO_PAYMENT).about(&foreign),
            Case::new(cancel, Change::body(&reason), NOT_CANCELLABLE).about(&paid),
            Case::new(cancel, Change::body(&json!({})), REASON).about(&held),
            Case::new(cancel, Change::body(&json!({ "paymentCancellationReason": "MOOD" })), REASON).about(&held),
            Case::new(cancel, older(&foreign, "cancel", &reason), FOREIGN_CANCEL).about(&foreign),
        ],
    )
    .await;
    assert_eq!(stage.sandbox.ledger().open_holds().len(), 2, "nothing that was refused let a hold go");
}

#[tokio::test]
async fn a_refund_that_cannot_be_is_refused_at_once() {
    let stage = Stage::new("refunds_refused").await;
    let paid = stage.pays(&sale("paid", 1_000, card(3))).await;
    let held = stage.pays(&hold("held", 1_000, card(2))).await;
    let create = Operation::CreateRefund;
    let ask = |key: &str, fields: Value| {
        let mut body = json!({ "merchantTransactionId": key });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Change::body(&body)
    };
    let credit = |amount: i64, method: String| json!({ "paymentMethodId": method, "customer": bodies::customer(), "amount": amount });
    stage.gives_back(&json!({ "merchantTransactionId": "ref-used", "paymentId": paid })).await;
    let unnamed = with(credit(100, card(5).to_string()), "/customer", json!({ "enterpriseId": "778812" }));
    let both = with(credit(100, card(5).to_string()), "/paymentId", json!(paid));
    put(
        &stage,
        vec![
            Case::new(create, ask("r1", json!({})), NEITHER),
            Case::new(create, ask("r2", both), BOTH),
            Case::new(create, ask("r3", json!({ "paymentId": "inv" })), NOT_AN_ID),
            Case::new(create, ask("r4", json!({ "paymentId": NOBODYS.to_string() })), NO_PAYMENT_TO_REFUND),
            Case::new(create, ask("r5", json!({ "paymentId": held })), NOT_CAPTURED),
            Case::new(create, ask("r6", with(credit(1, card(5).to_string()), "/amount", Value::Null)), NO_CREDIT),
            Case::new(create, ask("r7", credit(1_000_001, card(5).to_string())), OVER_LIMIT),
            Case::new(create, ask("r8", unnamed), CANNOT),
            Case::new(create, ask("r9", credit(100, bank(1).to_string())), CANNOT),
            Case::new(create, ask("ref-used", json!({ "paymentId": paid })), USED),
        ],
    )
    .await;
    stage.set("refund-checks", "at-once");
    let again = stage.pays(&sale("again", 1_000, card(3))).await;
    let part = json!({ "paymentId": again, "amount": 600 });
    stage.gives_back(&with(part.clone(), "/merchantTransactionId", json!("p1"))).await;
    put(&stage, vec![Case::new(create, ask("p2", part), MORE_THAN_LEFT)]).await;
    let given_back = stage.sandbox.ledger().refunds().len();
    assert_eq!(given_back, 2, "what was refused refunded nothing");
}

#[tokio::test]
async fn a_refund_that_failed_is_told_with_every_documented_reason() {
    let stage = Stage::new("refunds_failed").await;
    for (n, error) in RefundError::ALL.iter().enumerate() {
        stage.read(Switches::default());
        let method = method_id(Behaviour::RefundFails(*error), n as u64);
        let paid = stage.pays(&sale(&format!("paid-{n}"), 1_000, method)).await;
        let body = json!({ "merchantTransactionId": format!("ref-{n}"), "paymentId": paid });
        let id = stage.gives_back(&body).await;
        let failed = stage.call(Operation::GetRefund, &id, Change::default()).await.unwrap_err();
        let refund = failed.evidence().refund.as_ref().unwrap();
        assert_eq!((refund.status.as_str(), refund.error_message()), ("FAILED", Some(error.message())));
        let row = ccg::codes::look_up(Operation::GetRefund, 422, "REFUND_ERROR", error.message());
        assert!(row.is_some(), "{error} is in the client's table");
        put(&stage, vec![Case::new(Operation::GetRefund, Change::default(), REFUND_FAILED).about(&id)]).await;
        stage.set("failure-status", "406");
        let older = stage.call(Operation::GetRefund, &id, Change::default()).await.unwrap_err();
        let evidence = older.evidence();
        assert_eq!((evidence.http_status, evidence.title.as_deref()), (Some(406), Some("NOT_ACCEPTABLE")));
        assert_eq!((older.kind(), evidence.detail.as_deref()), ("processing", Some(error.message())));
    }
}

#[tokio::test]
async fn a_debit_without_a_consent_takes_nothing() {
    let stage = Stage::new("debits").await;
    let body = with(debit("debit", 500, bank(1)), "/consent", Value::Null);
    put(&stage, vec![Case::new(Operation::CreatePayment, Change::body(&body), invalid("Consent is required!"))]).await;
    assert_eq!(stage.sandbox.ledger().summary().keys, 0);
}
