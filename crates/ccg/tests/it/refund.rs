//! Giving money back, and saying truly whether a refund may exist.

use ccg::{Ambiguity, CallError, CreateRefund, CreateRefundError, Customer, FrozenRefund, RefundPart, RefundStatus};
use serde_json::{Value, json as value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::calls::{REFUND_ID, REFUND_TRANSACTION, somebody};
use crate::server::{Reply, json};
use crate::world::{PAYMENT_ID, World};

const INITIATED: &str = include_str!("../shapes/refund_initiated.json");
const COMPLETED: &str = include_str!("../shapes/refund_completed.json");
const PART: &str = "aaaaaaaa-0000-4000-8000-000000000001";

fn part(id: &str, amount: i64) -> RefundPart {
    RefundPart { payment_allocation_id: id.into(), amount }
}

fn frozen() -> FrozenRefund {
    CreateRefund::partial(REFUND_TRANSACTION, PAYMENT_ID, vec![part(PART, 1_500)]).freeze().unwrap()
}

fn whom() -> Customer {
    Customer { hsid: Some(Uuid::from_u128(5)), last_name: Some("Pan".into()), ..somebody() }
}

fn said(refund: &CreateRefund) -> Vec<String> {
    refund.freeze().err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn each_kind_of_refund_is_written_as_agreed() {
    let body = |refund: &CreateRefund| -> Value { serde_json::from_str(refund.freeze().unwrap().body()).unwrap() };
    let full = CreateRefund::full(REFUND_TRANSACTION, PAYMENT_ID);
    assert_eq!(body(&full), value!({ "merchantTransactionId": REFUND_TRANSACTION, "paymentId": PAYMENT_ID }));

    let mut partial =
        CreateRefund::partial(REFUND_TRANSACTION, PAYMENT_ID, vec![part(PART, 1_500)]).with_reason("late");
    partial.metadata = [("ticket".to_owned(), "9".to_owned())].into();
    partial.agent = Some(ccg::Agent { user_id: "u-1".into(), ..ccg::Agent::default() });
    assert_eq!(
        body(&partial),
        value!({
            "merchantTransactionId": REFUND_TRANSACTION, "paymentId": PAYMENT_ID,
            "refundAllocations": [ { "paymentAllocationId": PART, "amount": 1500 } ],
            "reason": "late", "metadata": { "ticket": "9" }, "agent": { "userId": "u-1" },
        })
    );

    let credit = CreateRefund::credit(REFUND_TRANSACTION, Uuid::from_u128(2), whom(), 1_500);
    assert_eq!(
        body(&credit),
        value!({
            "merchantTransactionId": REFUND_TRANSACTION,
            "paymentMethodId": "00000000-0000-0000-0000-000000000002",
            "customer": { "hsid": "00000000-0000-0000-0000-000000000005", "enterpriseId": "778812",
                "firstName": "Peter", "lastName": "Pan" },
            "amount": 1500,
        })
    );
}

#[test]
fn the_limits_are_named_in_the_gateways_words() {
    let linked = |payment: &str, parts| CreateRefund::partial("r", payment, parts);
    let long = CreateRefund::full("r".repeat(51), PAYMENT_ID).with_reason("é".repeat(51));
    let stranger = Customer { hsid: None, first_name: None, last_name: None, ..whom() };
    let table = [
        (CreateRefund::full("", PAYMENT_ID), vec!["merchantTransactionId is required"]),
        (long, vec!["merchantTransactionId cannot exceed 50 characters", "reason cannot exceed 50 characters"]),
        (linked("", vec![]), vec!["paymentId or paymentMethodId is required"]),
        (linked("7", vec![]), vec!["paymentId must be valid UUID"]),
        (
            linked(PAYMENT_ID, vec![part("", 0)]),
            vec![
                "refundAllocations[0].paymentAllocationId is required",
                "refundAllocations[0].amount must be an integer between 1 and 99999999",
            ],
        ),
        (
            linked(PAYMENT_ID, vec![part("a", 1), part("A", 1)]),
            vec!["refundAllocations cannot name the same allocation twice"],
        ),
        (
            linked(PAYMENT_ID, vec![part("a", 1), part("b", 1), part("c", 1)]),
            vec!["refundAllocations cannot contain more than 2 items"],
        ),
        (
            CreateRefund::credit("r", Uuid::nil(), stranger, 1_000_001),
            vec![
                "paymentId or paymentMethodId is required",
                "The amount given exceeds the allowed refund limit",
                "customer.hsid is required",
                "customer.firstName is required",
                "customer.lastName is required",
            ],
        ),
    ];
    for (refund, expected) in table {
        assert_eq!(said(&refund), expected);
    }
    assert!(said(&CreateRefund::credit("r", Uuid::from_u128(2), whom(), 1_000_000)).is_empty());
}

#[tokio::test]
async fn a_refund_is_accepted_and_later_asked_for_by_its_id() {
    let world = World::new(|seen, _| {
        let created = seen.line.starts_with("POST");
        Reply::Say(if created { json(202, INITIATED) } else { json(200, COMPLETED) })
    })
    .await;
    let refund = frozen();
    let made = world.client.create_refund(&refund).await.unwrap().value;
    assert_eq!((made.id.as_str(), made.status.clone()), (REFUND_ID, RefundStatus::Initiated));
    assert_eq!((made.payment_id(), made.total()), (Some(PAYMENT_ID), Some(1_500)));
    assert!(!made.status.is_final());
    let sent = world.gateway.seen().remove(0).body;
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&sent)), *refund.sha256());
    let kept = FrozenRefund::from_stored(REFUND_TRANSACTION, refund.body()).unwrap();
    assert_eq!(kept, refund);

    let done = world.client.get_refund(REFUND_ID).await.unwrap().value;
    assert_eq!((done.status.clone(), done.status.is_final()), (RefundStatus::Completed, true));
    let part = &done.refund_allocations[0];
    assert_eq!(
        (part.payment_allocation_id.as_deref(), part.status.clone()),
        (Some(PART), Some(RefundStatus::Completed))
    );
    let method = part.payment_method.as_ref().unwrap();
    assert_eq!((method.is_default, method.last4.as_deref()), (Some(true), Some("4242")));
    let card = method.card.as_ref().unwrap();
    assert_eq!((card.expiry_month, card.expiry_year), (Some(4), Some(2031)));
    assert_eq!(card.categories[0].category_type.as_deref(), Some("MANUFACTURER_CARD"));
    let payment = done.payment.unwrap();
    assert_eq!(
        (payment.captured_amount, payment.merchant_transaction_id.as_deref()),
        (Some(4_200), Some("inv-7731-a1"))
    );
}

#[tokio::test]
async fn the_other_shapes_of_a_refund_are_read() {
    let ask = async |status, body: &'static str| {
        World::new(move |_, _| Reply::Say(json(status, body))).await.client.get_refund(REFUND_ID).await
    };
    let partial = ask(200, include_str!("../shapes/refund_partial_success.json")).await.unwrap().value;
    assert_eq!((partial.status.clone(), partial.total()), (RefundStatus::PartialSuccess, Some(4_200)));
    assert_eq!(
        (partial.error_code(), partial.error_message()),
        (Some("declined"), Some("The bank declined the refund."))
    );

    let flat = ask(200, include_str!("../shapes/refund_v1.json")).await.unwrap().value;
    assert_eq!(
        (flat.status.clone(), flat.total(), flat.payment_id()),
        (RefundStatus::Completed, Some(1_500), Some(PAYMENT_ID))
    );
    assert_eq!(flat.merchant.unwrap().id.as_deref(), Some("8d0b0f2e-0000-4000-8000-000000000001"));
    assert_eq!(flat.payment_method.unwrap().id.as_deref(), Some("bbbbbbbb-0000-4000-8000-000000000002"));

    let error = ask(422, include_str!("../shapes/refund_failed_422.json")).await.unwrap_err();
    assert!(matches!(error, CallError::Processing { .. }), "{error:?}");
    let failed = error.into_evidence().refund.unwrap();
    assert_eq!(failed.status, RefundStatus::Failed);
    assert_eq!(failed.error_message(), Some("This payment is too old to be refunded"));

    for (older, newer) in [
        ("REFUNDED", RefundStatus::Completed),
        ("PARTIAL_REFUND", RefundStatus::PartialSuccess),
        ("REFUND_FAILED", RefundStatus::Failed),
        ("IN_LIMBO", RefundStatus::Other("IN_LIMBO".into())),
    ] {
        assert_eq!(RefundStatus::from(older), newer);
    }
}

#[tokio::test]
async fn the_error_says_first_whether_a_refund_may_exist() {
    let failed = include_str!("../shapes/refund_failed_422.json");
    let going = failed.replace("FAILED", "PENDING");
    let nameless = failed.replace("merchantTransactionId", "x");
    let other = failed.replace(REFUND_TRANSACTION, "ref-1");
    let rule = r#"{"title":"UNPROCESSABLE_ENTITY","status":422,"detail":"?"}"#;
    // status, body, kind, and what became of the refund
    let table = [
        (400, include_str!("../shapes/invalid_request.json"), "rejected", "not made"),
        (400, include_str!("../shapes/refund_id_used.json"), "rejected", "id used"),
        (400, "<html>blocked</html>", "ambiguous", "may exist"),
        (401, include_str!("../shapes/unauthorized.json"), "unauthorized", "not made"),
        (403, include_str!("../shapes/forbidden.json"), "forbidden", "may exist"),
        (404, include_str!("../shapes/not_found.json"), "not_found", "may exist"),
        (422, failed, "processing", "not made"),
        (422, &going, "processing", "may exist"),
        (422, &nameless, "processing", "may exist"),
        (422, &other, "ambiguous", "may exist"),
        (422, rule, "unprocessable", "not made"),
        (429, "{}", "rate_limited", "not made"),
        (500, r#"{"title":"INTERNAL_ERROR","status":500}"#, "ambiguous", "may exist"),
        (504, "", "ambiguous", "may exist"),
        (202, "{}", "ambiguous", "may exist"),
        (202, COMPLETED, "ok", "made"),
    ];
    for (status, body, kind, fate) in table {
        let body = body.to_owned();
        let world = World::new(move |_, _| Reply::Say(json(status, &body))).await;
        let result = world.client.create_refund(&frozen()).await;
        assert_eq!(world.gateway.count(), 1, "a refund is sent once, whatever the answer");
        let (found, said) = match &result {
            Ok(_) => ("ok", "made"),
            Err(error @ CreateRefundError::NotMade(call)) => {
                assert!(!error.may_exist());
                (call.kind(), "not made")
            }
            Err(error @ CreateRefundError::IdUsed(call)) => {
                assert!(error.may_exist() && error.to_string().contains("exists already"), "{error}");
                (call.kind(), "id used")
            }
            Err(error @ CreateRefundError::MayExist(call)) => {
                assert!(error.may_exist() && error.to_string().contains("never send it again"), "{error}");
                (call.kind(), "may exist")
            }
        };
        assert_eq!((found, said), (kind, fate), "{status}");
    }
    let lost = World::new(|_, _| Reply::Close).await;
    let error = lost.client.create_refund(&frozen()).await.unwrap_err();
    assert!(matches!(error, CreateRefundError::MayExist(CallError::Ambiguous { why: Ambiguity::Cut { .. }, .. })));
}

#[tokio::test]
async fn an_acceptance_that_does_not_name_this_refund_is_not_believed() {
    for (body, field) in [
        (INITIATED.replace(REFUND_TRANSACTION, "ref-1"), "merchantTransactionId"),
        (INITIATED.replace(&format!("\"id\": \"{REFUND_ID}\""), "\"idd\": \"\""), "id"),
    ] {
        let world = World::new(move |_, _| Reply::Say(json(202, &body))).await;
        let error = world.client.create_refund(&frozen()).await.unwrap_err().into_call();
        assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::WrongPayment { field: f }, .. } if f == field));
    }
}
