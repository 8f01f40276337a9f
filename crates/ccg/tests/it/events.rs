//! Every documented event, in both spellings and both versions' shapes.

use ccg::webhook::{DisputeStatus, Event, EventError, EventName, ResourceKind};
use ccg::{RefundStatus, Status};
use serde_json::Value;
use std::collections::BTreeSet;

use crate::calls::{METHOD_ID, REFUND_ID, REFUND_TRANSACTION};
use crate::world::{PAYMENT_ID, TRANSACTION};

const NEW_METHOD: &str = "bbbbbbbb-0000-4000-8000-000000000003";
const DISPUTE: &str = "99999999-0000-4000-8000-000000000001";
const PART: &str = "aaaaaaaa-0000-4000-8000-000000000001";

macro_rules! shape {
    ($name:literal) => {
        include_str!(concat!("../shapes/event_", $name, ".json"))
    };
}

fn event(text: &str) -> Event {
    Event::parse(text.as_bytes()).unwrap()
}

#[test]
fn payments_events_name_the_payment_and_its_status() {
    let table = [
        (shape!("payment_succeeded_v2"), EventName::PaymentSucceeded, Status::Completed),
        (shape!("payment_failed_v2"), EventName::PaymentFailed, Status::Failed),
        (shape!("payment_accepted_v2"), EventName::PaymentAccepted, Status::Accepted),
        (shape!("payment_authorized_v2"), EventName::PaymentAuthorized, Status::Authorized),
        (shape!("payment_cancelled_v2"), EventName::PaymentCancelled, Status::Cancelled),
        (shape!("payment_refunded_v2"), EventName::PaymentRefunded, Status::Failed),
        (shape!("payment_succeded_v1"), EventName::PaymentSucceeded, Status::Completed),
        (shape!("payment_succeeded_v1"), EventName::PaymentSucceeded, Status::Completed),
        (shape!("payment_canceled_v1"), EventName::PaymentCancelled, Status::Cancelled),
    ];
    for (text, name, status) in table {
        let event = event(text);
        assert_eq!((event.name(), event.kind()), (&name, ResourceKind::Payment), "{text}");
        assert_eq!((event.resource_id(), event.payment_id()), (Some(PAYMENT_ID), Some(PAYMENT_ID)));
        assert_eq!(event.merchant_transaction_id(), Some(TRANSACTION));
        assert_eq!(event.status(), Some(status.as_str()));
        let payment = event.payment().unwrap();
        assert_eq!((payment.status.clone(), payment.amount), (status, Some(4_200)), "{text}");
        assert_eq!(payment.payment_date_utc.as_deref(), Some("2026-06-01T14:03:22Z"));
        assert_eq!(payment.merchant.as_ref().unwrap().id.as_deref(), Some("8d0b0f2e-0000-4000-8000-000000000001"));
        let of_part = payment.payment_allocations.first().and_then(|part| part.payment_method.as_ref());
        let method = payment.payment_method.as_ref().or(of_part).unwrap();
        assert_eq!(method.id.as_deref(), Some(METHOD_ID));
        assert!(event.refund().is_none() && event.payment_method().is_none() && event.dispute().is_none());
    }
    let failed = event(shape!("payment_failed_v2"));
    assert_eq!(failed.payment().unwrap().error_code(), Some("card_declined"));
    assert_eq!((failed.source(), event(shape!("payment_succeded_v1")).source()), (Some("tests"), None));
}

#[test]
fn refunds_events_name_the_refund_and_its_payment() {
    let table = [
        (shape!("refund_success_v2"), EventName::RefundSuccess, RefundStatus::Completed),
        (shape!("refund_failed_v2"), EventName::RefundFailed, RefundStatus::Failed),
        (shape!("refund_partial_success_v2"), EventName::RefundPartialSuccess, RefundStatus::PartialSuccess),
        (shape!("refund_pending_v1"), EventName::RefundPending, RefundStatus::Pending),
    ];
    for (text, name, status) in table {
        let event = event(text);
        assert_eq!((event.name(), event.kind()), (&name, ResourceKind::Refund));
        assert_eq!((event.resource_id(), event.payment_id()), (Some(REFUND_ID), Some(PAYMENT_ID)));
        assert_eq!(
            event.merchant_transaction_id(),
            Some(REFUND_TRANSACTION),
            "the refund's own id heals a lost create"
        );
        assert_eq!(event.status(), Some(status.as_str()));
        let refund = event.refund().unwrap();
        assert_eq!((refund.id.as_str(), refund.status.clone()), (REFUND_ID, status));
        assert_eq!((refund.total(), refund.payment_id()), (Some(1_500), Some(PAYMENT_ID)));
    }
    let failed = event(shape!("refund_failed_v2"));
    assert_eq!(failed.refund().unwrap().error_message(), Some("This payment is already refunded"));
}

#[test]
fn methods_events_name_the_method_and_what_it_replaced() {
    let table = [
        (shape!("payment_method_created"), EventName::PaymentMethodCreated, METHOD_ID, None),
        (shape!("payment_method_updated"), EventName::PaymentMethodUpdated, METHOD_ID, None),
        (shape!("payment_method_deleted"), EventName::PaymentMethodDeleted, METHOD_ID, None),
        (shape!("payment_method_replaced"), EventName::PaymentMethodReplaced, NEW_METHOD, Some(METHOD_ID)),
    ];
    for (text, name, id, replaced) in table {
        let event = event(text);
        assert_eq!((event.name(), event.kind()), (&name, ResourceKind::PaymentMethod));
        assert_eq!((event.resource_id(), event.deleted_payment_method_id()), (Some(id), replaced));
        assert_eq!((event.status(), event.payment_id()), (Some("ACTIVE"), None));
        let method = event.payment_method().unwrap();
        assert_eq!((method.id.as_deref(), method.last4.as_deref()), (Some(id), Some("4242")));
        assert_eq!(method.card.as_ref().unwrap().expiry_month, Some(4));
    }
}

#[test]
fn disputes_are_told_by_what_their_names_begin_with() {
    let table = [
        (shape!("dispute_created"), "DISPUTE_CREATED", DisputeStatus::NeedsResponse),
        (shape!("dispute_updated"), "DISPUTE_UPDATED", DisputeStatus::UnderReview),
        (shape!("dispute_closed"), "DISPUTE_CLOSED", DisputeStatus::Won),
    ];
    for (text, name, status) in table {
        let event = event(text);
        assert_eq!((event.spelled(), event.kind()), (name, ResourceKind::Dispute));
        assert_eq!((event.resource_id(), event.payment_id()), (Some(DISPUTE), Some(PAYMENT_ID)));
        assert_eq!(event.merchant_transaction_id(), Some(TRANSACTION));
        let dispute = event.dispute().unwrap();
        assert_eq!((dispute.payment_allocation_id.as_deref(), dispute.amount), (Some(PART), Some(4_200)));
        assert_eq!((dispute.status.clone(), dispute.currency_code.as_deref()), (Some(status), Some("USD")));
        assert_eq!(dispute.reason.as_deref(), Some("product_not_received"));
    }
    let documented = event(shape!("dispute_documented"));
    assert_eq!((documented.kind(), documented.resource_id()), (ResourceKind::Dispute, Some(PART)));
    let status = documented.dispute().unwrap().status.clone();
    assert_eq!(status, Some(DisputeStatus::Other("warning_needs_response".into())));
    assert!(!EventName::from("PAYMENT_DISPUTED").is_dispute());
}

#[test]
fn events_nobody_knows_are_kept() {
    let unknown = event(shape!("unknown"));
    assert_eq!(unknown.name(), &EventName::Other("LOYALTY_POINTS_EARNED".into()));
    assert_eq!((unknown.kind(), unknown.resource_id(), unknown.status()), (ResourceKind::Unknown, Some("77"), None));
    for (name, kind) in [
        ("PAYMENT_THOUGHT_ABOUT", ResourceKind::Payment),
        ("PAYMENT_METHOD_LOST", ResourceKind::PaymentMethod),
        ("REFUND_HALVED", ResourceKind::Refund),
        ("payment_succeeded", ResourceKind::Unknown),
    ] {
        assert_eq!(EventName::from(name).kind(), kind, "{name}");
    }
}

#[test]
fn a_payload_of_another_shape_does_not_hide_what_can_be_read() {
    let odd =
        event(r#"{"name":"PAYMENT_SUCCEEDED","payload":{"id":"p-1","merchantTransactionId":"a","amount":"4200"}}"#);
    assert!(odd.payment().is_none());
    assert_eq!(
        (odd.resource_id(), odd.merchant_transaction_id(), odd.status()),
        (Some("p-1"), Some("a"), Some("COMPLETED"))
    );
    for payload in
        ["null", "[]", "7", "\"x\"", "{}", r#"{"id":7}"#, r#"{"id":""}"#, &format!(r#"{{"id":"{}"}}"#, "x".repeat(65))]
    {
        let event = event(&format!(r#"{{"name":"PAYMENT_FAILED","source":7,"payload":{payload}}}"#));
        assert_eq!((event.resource_id(), event.source(), event.status()), (None, None, Some("FAILED")), "{payload}");
    }
    assert_eq!(event(r#"{"name":"X"}"#).resource_id(), None);
}

#[test]
fn what_is_no_envelope_is_refused() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "words",
        r#"{"name":7,"payload":{}}"#,
        r#"{"name":"A","name":"B","payload":{}}"#,
        r#"{"name":"A","payload":{}} x"#,
        r#"{"name":"A","payload":{}"#,
        &"[".repeat(100_000),
        &format!(r#"{{"name":"A","payload":{}}}"#, "[".repeat(100_000)),
    ] {
        assert!(matches!(Event::parse(body.as_bytes()), Err(EventError::NotAnEnvelope { .. })), "{:.40}", body);
    }
    assert_eq!(Event::parse(br#"{"name":"","payload":{}}"#), Err(EventError::NoName));
    assert!(Event::parse(b"{\"name\":\"\xff\"}").is_err());
}

#[test]
fn a_repeated_event_has_one_key_and_different_events_have_different_keys() {
    let all = [
        shape!("payment_succeeded_v2"),
        shape!("payment_failed_v2"),
        shape!("payment_accepted_v2"),
        shape!("payment_authorized_v2"),
        shape!("payment_cancelled_v2"),
        shape!("payment_refunded_v2"),
        shape!("refund_success_v2"),
        shape!("refund_failed_v2"),
        shape!("refund_partial_success_v2"),
        shape!("refund_pending_v1"),
        shape!("payment_method_created"),
        shape!("payment_method_updated"),
        shape!("payment_method_deleted"),
        shape!("payment_method_replaced"),
        shape!("dispute_created"),
        shape!("dispute_updated"),
        shape!("dispute_closed"),
        shape!("dispute_documented"),
        shape!("unknown"),
    ];
    let keys: BTreeSet<String> = all.iter().map(|text| event(text).dedupe_key()).collect();
    assert_eq!(keys.len(), all.len());
    for text in all {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(event(&value.to_string()).dedupe_key(), event(text).dedupe_key(), "layout does not count");
    }
    // Until it was dropped, the misspelt name was sent beside the right one for one and the same payment.
    assert_eq!(event(shape!("payment_succeded_v1")).dedupe_key(), event(shape!("payment_succeeded_v1")).dedupe_key());
}

#[test]
fn the_key_sees_what_the_status_does_not_and_nothing_of_the_person() {
    let updated = shape!("payment_method_updated");
    let key = |text: &str| event(text).dedupe_key();
    assert_ne!(key(updated), key(&updated.replace("2033", "2035")), "two changes of one active method");
    assert_eq!(key(updated), key(&updated.replace("\"Peter\"", "\"Petra\"")), "a customer's name is not the event");
    assert_eq!(key(updated), key(&updated.replace("\"source\": null", "\"source\": \"x\"")));
    let failed = shape!("payment_failed_v2");
    assert_ne!(key(failed), key(&failed.replace("card_declined", "expired_card")), "a payment that failed again");
    let hostile = key(r#"{"name":"A|B\n\u0000","payload":{"id":"x|y","status":"é"}}"#);
    assert!(hostile.bytes().all(|b| b.is_ascii_graphic()) && hostile.matches('|').count() == 3, "{hostile}");
}

#[test]
fn no_debug_shows_a_person() {
    for text in [shape!("payment_succeeded_v2"), shape!("payment_method_replaced"), shape!("refund_pending_v1")] {
        let event = event(text);
        let shown = format!("{event:?} {:?} {:?} {:?}", event.payment(), event.payment_method(), event.refund());
        for private in ["Peter", "peter@", "778812", "1980", "1234", "4242", "mine", "55401"] {
            assert!(!shown.contains(private), "{private} in {shown}");
        }
    }
}
