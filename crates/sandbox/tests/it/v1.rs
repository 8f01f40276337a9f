//! The flat shape of v1: contract §4.1, §4.2, §4.9, §5.

use std::time::Duration;

use sandbox::{Behaviour, DEFAULT_MERCHANT, Options, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{World, order, problem};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const BANK: Uuid = method_id(Behaviour::AchSettles { days: None }, 1);

fn flat(key: &str, amount: i64, method: Uuid) -> Value {
    json!({
        "merchantTransactionId": key, "amount": amount, "paymentMethodId": method,
        "customer": { "enterpriseId": "12345" }, "paymentDescription": "June",
        "statementDescriptorSuffix": "JUNE-1", "metadata": { "invoice": "7" }, "agent": { "userId": "u-1" }
    })
}

#[tokio::test]
async fn a_payment_is_made_and_looked_up_in_its_flat_shape() {
    let world = World::new().await;
    let answer = world.call("POST", "/v1/payments", &flat("k", 1000, CARD)).await;
    let data = answer.json()["data"].clone();
    assert_eq!((answer.status, &data["status"]), (202, &json!("INITIATED")));
    let id = data["id"].as_str().unwrap().to_owned();
    for path in [format!("/v1/payments/{id}"), "/v1/payments?merchantTransactionId=k".to_owned()] {
        let found = world.get(&path).await;
        let data = found.json()["data"].clone();
        assert_eq!((found.status, &data["status"]), (200, &json!("COMPLETED")));
        assert_eq!((&data["amount"], &data["capturedAmount"]), (&json!(1000), &json!(1000)));
        assert_eq!((&data["paymentMethodId"], &data["merchantId"]), (&json!(CARD), &json!(DEFAULT_MERCHANT)));
        assert_eq!((&data["description"], &data["metadata"]["invoice"]), (&json!("June"), &json!("7")));
        assert_eq!((data.get("paymentAllocations"), &data["paymentMethod"]["default"]), (None, &json!(false)));
    }
    assert_eq!(world.by_id(&id).await.json()["data"]["paymentAllocations"][0]["amount"], 1000, "v2 sees it too");
    assert_eq!(world.call("POST", "/v1/payments", &flat("k", 1000, CARD)).await.payment_status(), "COMPLETED");
    assert_eq!(world.successes_of("k"), 1, "both versions share one key");
    assert_eq!(world.post(&order("k", 1000, CARD)).await.payment_id(), id);
}

#[tokio::test]
async fn a_failed_payment_is_406_with_its_reason() {
    let world = World::new().await;
    world.call("POST", "/v1/payments", &flat("k", 1000, method_id(Behaviour::NotFound, 1))).await;
    let found = world.get("/v1/payments?merchantTransactionId=k").await;
    let detail = "paymentAllocations[0].paymentMethodId not found. Please provide a valid payment method";
    assert_eq!(found.problem(), problem(406, "PAYMENT_METHOD_ERROR", detail));
}

#[tokio::test]
async fn headers_and_fields_are_refused_in_the_words_of_v1() {
    let world = World::new().await;
    let good = world.request("POST", "/v1/payments", &flat("k", 1000, CARD));
    let missing = "Missing request header 'X-Merchant-Id' for method parameter of type UUID";
    let answer = good.clone().without("x-merchant-id").send(world.to).await.unwrap();
    assert_eq!(answer.problem(), problem(400, "BAD_REQUEST", missing));
    let answer = good.header("x-merchant-id", &Uuid::max().to_string()).send(world.to).await.unwrap();
    assert_eq!(answer.problem(), problem(403, "FORBIDDEN", "403 FORBIDDEN"));
    let with = |name: &str, value: Value| {
        let mut body = flat("k", 1000, CARD);
        body[name] = value;
        body
    };
    let cases = [
        (with("paymentMethodId", Value::Null), "paymentMethodId is required"),
        (with("paymentMethodId", json!("x")), "paymentMethodId must be valid UUID"),
        (with("amount", json!(0)), "amount must be an integer between 1 and 99999999"),
        (with("customer", Value::Null), "customer object is required"),
        (with("paymentType", json!("LEND")), "Invalid request format. Please check JSON structure and field types"),
        (with("paymentMethodId", json!(BANK)), "Consent is required!"),
    ];
    for (body, detail) in cases {
        let answer = world.call("POST", "/v1/payments", &body).await;
        assert_eq!(answer.problem(), problem(400, "INVALID_REQUEST", detail), "{body}");
    }
}

#[tokio::test]
async fn captures_and_cancellations_are_posts_with_their_own_texts() {
    let other = Uuid::from_u128(7);
    let world = World::turned(Options { merchants: vec![DEFAULT_MERCHANT, other], ..Options::default() }).await;
    let mut held = flat("k", 1000, CARD);
    held["paymentType"] = json!("PRE_AUTH");
    let id = world.call("POST", "/v1/payments", &held).await.payment_id();
    let path = format!("/v1/payments/{id}/capture");
    let range = "amount Invalid amount 0, it must be between 1 and 99999999";
    let too_much = "Capture amount exceeds authorized amount or no amount authorized for capture";
    for (body, detail) in [(json!({ "amount": 0 }), range), (json!({ "amount": 1001 }), too_much)] {
        assert_eq!(world.call("POST", &path, &body).await.problem(), problem(400, "INVALID_REQUEST", detail));
    }
    let key = json!({ "metadata": { "k".repeat(41): "v" } });
    assert_eq!(world.call("POST", &path, &key).await.problem().2, "payment.metadata key cannot exceed 40 characters");
    for verb in ["capture", "cancel"] {
        let body = json!({ "paymentCancellationReason": "DUPLICATE" });
        let request = world.request("POST", &format!("/v1/payments/{id}/{verb}"), &body);
        let body = if verb == "capture" { "{}".to_owned() } else { body.to_string() };
        let request = request.body(body).header("x-merchant-id", &other.to_string());
        let detail = format!("Not authorized to {verb} this payment");
        assert_eq!(request.send(world.to).await.unwrap().problem(), problem(403, "FORBIDDEN", &detail));
    }
    assert_eq!(world.call("POST", &path, &json!({ "amount": 600 })).await.status, 202);
    let again = world.call("POST", &path, &json!({})).await;
    let detail = format!("Payment with {id} is in invalid status: COMPLETED");
    assert_eq!(again.problem(), problem(400, "INVALID_REQUEST", &detail));
    held["merchantTransactionId"] = json!("second");
    let id = world.call("POST", "/v1/payments", &held).await.payment_id();
    let body = json!({ "paymentCancellationReason": "DUPLICATE" });
    assert_eq!(world.call("POST", &format!("/v1/payments/{id}/cancel"), &body).await.status, 202);
    assert_eq!(world.get(&format!("/v1/payments/{id}")).await.payment_status(), "CANCELED");
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 600);
}

#[tokio::test]
async fn a_refund_has_an_amount_and_no_allocations() {
    let world = World::new().await;
    let id = world.call("POST", "/v1/payments", &flat("k", 1000, CARD)).await.payment_id();
    let body = json!({ "merchantTransactionId": "r", "paymentId": id, "amount": 400, "reason": "late" });
    let answer = world.call("POST", "/v1/refunds", &body).await;
    assert_eq!((answer.status, answer.payment_status().as_str()), (202, "INITIATED"));
    let data = world.get(&format!("/v1/refunds/{}", answer.payment_id())).await.json()["data"].clone();
    assert_eq!((&data["status"], &data["amount"], &data["paymentId"]), (&json!("COMPLETED"), &json!(400), &json!(id)));
    let failing = method_id(Behaviour::RefundFails(sandbox::RefundError::DeclinedByPartner), 1);
    let id = world.call("POST", "/v1/payments", &flat("f", 1000, failing)).await.payment_id();
    let body = json!({ "merchantTransactionId": "f", "paymentId": id });
    let answer = world.call("POST", "/v1/refunds", &body).await;
    let found = world.get(&format!("/v1/refunds/{}", answer.payment_id())).await;
    assert_eq!(found.problem(), problem(406, "NOT_ACCEPTABLE", "Refund declined by financial partner"));
}

#[tokio::test]
async fn a_bank_payment_takes_its_days_in_v1_too() {
    let world = World::turned(Options::default()).await;
    let mut body = flat("k", 1000, BANK);
    body["consent"] = json!({
        "merchantConsentId": "c", "collectionTimestamp": "2026-01-01T00:00:00Z", "collectionDetails": { "type": "TEL" }
    });
    assert_eq!(world.call("POST", "/v1/payments", &body).await.status, 202);
    let found = world.get("/v1/payments?merchantTransactionId=k").await;
    assert_eq!((found.status, found.payment_status().as_str()), (202, "ACCEPTED"));
    world.sandbox.clock().advance(Duration::from_secs(3 * 86_400));
    assert_eq!(world.get("/v1/payments?merchantTransactionId=k").await.payment_status(), "COMPLETED");
}
