//! Contract §5: refunds of payments, and credits without one.

use std::time::Duration;

use sandbox::{Behaviour, DEFAULT_MERCHANT, Fault, Options, RefundError, RefundStatus, WalletMethod, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, World, bank_order, hold, order, problem, split};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const OTHER: Uuid = method_id(Behaviour::Pays, 2);
const DAY: Duration = Duration::from_secs(86_400);

async fn refund(world: &World, body: &Value) -> Answer {
    world.call("POST", "/v2/refunds", body).await
}

async fn look(world: &World, answer: &Answer) -> Answer {
    world.get(&format!("/v2/refunds/{}", answer.payment_id())).await
}

fn of(payment: &str, key: &str) -> Value {
    json!({ "merchantTransactionId": key, "paymentId": payment })
}

#[tokio::test]
async fn a_whole_refund_gives_everything_back_and_shows_the_documented_shape() {
    let world = World::new().await;
    let id = world.pay(&order("k", 1000, CARD)).await;
    let mut body = of(&id, "r");
    body["reason"] = json!("goods came back");
    body["metadata"] = json!({ "case": "7" });
    body["agent"] = json!({ "userId": "u-1" });
    let answer = refund(&world, &body).await;
    assert_eq!((answer.status, answer.payment_status().as_str()), (202, "INITIATED"));
    let found = look(&world, &answer).await;
    let data = found.json()["data"].clone();
    assert_eq!((found.status, &data["status"]), (200, &json!("COMPLETED")));
    assert_eq!((&data["reason"], &data["metadata"]["case"]), (&json!("goods came back"), &json!("7")));
    assert_eq!(data["merchant"]["id"], DEFAULT_MERCHANT.to_string());
    assert_eq!((&data["payment"]["id"], &data["payment"]["capturedAmount"]), (&json!(id), &json!(1000)));
    let part = &data["refundAllocations"][0];
    assert_eq!((&part["amount"], &part["status"]), (&json!(1000), &json!("COMPLETED")));
    assert_eq!(part["paymentAllocation"]["paymentMethod"]["paymentMethodDetails"]["type"], "CARD");
    let ledger = world.sandbox.ledger();
    assert_eq!(ledger.refund_successes_by_key()["r"], 1);
    assert_eq!((ledger.total_collected("USD"), ledger.net_collected("USD")), (1000, 0));
    assert_eq!(ledger.refunds()[0].given_back_minor, 1000);
    let summary = world.read("/sandbox/ledger").await.json();
    assert_eq!((&summary["refunds"], &summary["given_back"]), (&json!(1), &json!({ "USD": 1000 })));
}

#[tokio::test]
async fn a_refund_create_is_not_replayed() {
    let world = World::new().await;
    let id = world.pay(&order("k", 1000, CARD)).await;
    let body = of(&id, "r");
    world.sandbox.fail_next_post_of("r", Fault::CutAfterCommit);
    assert!(world.request("POST", "/v2/refunds", &body).send(world.to).await.is_err());
    let again = refund(&world, &body).await;
    assert_eq!(again.problem(), problem(400, "INVALID_REQUEST", "merchantTransactionId already used"));
    assert_eq!(world.sandbox.ledger().refund_successes_by_key()["r"], 1);
    world.switch("refund-duplicate", "replay").await;
    let replayed = refund(&world, &body).await;
    assert_eq!((replayed.status, replayed.payment_status().as_str()), (202, "COMPLETED"));
    assert_eq!(world.sandbox.ledger().refunds().len(), 1);
}

#[tokio::test]
async fn look_ups_of_refunds_suffer_faults_and_lies_too() {
    let world = World::new().await;
    let id = world.pay(&order("k", 1000, CARD)).await;
    let made = refund(&world, &of(&id, "r")).await;
    let request = world.get_request(&format!("/v2/refunds/{}", made.payment_id()));
    world.sandbox.fail_next_get(Fault::Get5xx);
    assert_eq!(request.send(world.to).await.unwrap().status, 503);
    world.sandbox.fail_next_get(Fault::CutBeforeCommit);
    assert!(request.send(world.to).await.is_err());
    world.sandbox.fail_next_get(Fault::WrongKey);
    let key = |answer: Answer| answer.json()["data"]["merchantTransactionId"].clone();
    assert_ne!(key(request.send(world.to).await.unwrap()), "r");
    assert_eq!(key(request.send(world.to).await.unwrap()), "r", "the lie never reached the ledger");
}

#[tokio::test]
async fn a_lost_refund_that_is_made_later_is_made_once() {
    let world = World::new().await;
    let id = world.pay(&order("k", 1000, CARD)).await;
    world.sandbox.set_faults(sandbox::Faults { late_commit_ms: 20, ..sandbox::Faults::none() });
    world.sandbox.fail_next_post_of("r", Fault::LateCommit);
    assert!(world.request("POST", "/v2/refunds", &of(&id, "r")).send(world.to).await.is_err());
    assert!(world.sandbox.ledger().refunds().is_empty());
    while world.sandbox.ledger().refunds().is_empty() {
        crate::support::wait_ms(5).await;
    }
    assert_eq!(refund(&world, &of(&id, "r")).await.status, 400);
    assert_eq!(world.sandbox.ledger().refund_successes_by_key()["r"], 1);
}

#[tokio::test]
async fn requests_are_refused_with_the_documented_texts() {
    let world = World::new().await;
    let id = world.pay(&order("k", 1000, CARD)).await;
    let held = world.pay(&hold("held", 1000, CARD)).await;
    let customer = json!({ "hsid": Uuid::max(), "firstName": "A", "lastName": "B" });
    let credit = |amount: i64, method: Uuid, customer: &Value| json!({ "merchantTransactionId": "r", "paymentMethodId": method, "amount": amount, "customer": customer });
    let with = |name: &str, value: Value| {
        let mut body = of(&id, "r");
        body[name] = value;
        body
    };
    let bank = method_id(Behaviour::AchSettles { days: None }, 1);
    let cases = [
        (json!({}), "merchantTransactionId is required"),
        (of(&id, &"x".repeat(51)), "merchantTransactionId cannot exceed 50 characters"),
        (json!({ "merchantTransactionId": "r" }), "paymentId or paymentMethodId is required"),
        (with("paymentMethodId", json!(CARD)), "Either paymentId or paymentMethodId should be provided."),
        (of("x", "r"), "paymentId must be valid UUID"),
        (of(&Uuid::max().to_string(), "r"), "paymentId not found"),
        (of(&held, "r"), "Refunds can only be processed for captured payments"),
        (with("reason", json!("x".repeat(51))), "reason cannot exceed 50 characters"),
        (with("metadata", json!({ "k".repeat(41): "v" })), "metadata key cannot exceed 40 characters"),
        (with("agent", json!({ "firstName": "A" })), "agent.userId is required"),
        (with("amount", json!(0)), "amount must be an integer between 1 and 99999999"),
        (
            with("refundAllocations", json!([{ "amount": 1 }])),
            "refundAllocations[0].paymentAllocationId must be valid UUID",
        ),
        (
            with("refundAllocations", json!([{ "paymentAllocationId": Uuid::max() , "amount": 1 }])),
            "paymentAllocationId not found",
        ),
        (
            json!({ "merchantTransactionId": "r", "paymentMethodId": CARD }),
            "When paymentMethodId is present, amount is required",
        ),
        (credit(1, CARD, &Value::Null), "customer object is required"),
        (credit(1_000_001, CARD, &customer), "The amount given exceeds the allowed refund limit"),
        (credit(1, bank, &customer), "Cannot issue refund for this payment"),
        (credit(1, CARD, &json!({ "hsid": Uuid::max() })), "Cannot issue refund for this payment"),
        (json!([]), "Invalid request format. Please check JSON structure and field types"),
    ];
    for (body, detail) in cases {
        assert_eq!(refund(&world, &body).await.problem(), problem(400, "INVALID_REQUEST", detail), "{body}");
    }
    let lost = world.get(&format!("/v2/refunds/{}", Uuid::max())).await;
    assert_eq!(lost.problem(), problem(404, "NOT_FOUND", "refundId not found"));
    assert!(world.sandbox.ledger().refunds().is_empty());
}

#[tokio::test]
async fn what_the_processor_refuses_fails_later_with_its_reason() {
    let world = World::turned(Options::default()).await;
    let detail = "Refund allocation processing failed for all records. Check individual records for error details";
    let mut cases = Vec::new();
    for (n, error) in RefundError::ALL.iter().enumerate() {
        let id = world.pay(&order(&format!("k{n}"), 1000, method_id(Behaviour::RefundFails(*error), 1))).await;
        cases.push((of(&id, &format!("scripted{n}")), error.message()));
    }
    let back = world.pay(&order("back", 1000, CARD)).await;
    assert_eq!(refund(&world, &of(&back, "first")).await.status, 202);
    cases.push((of(&back, "second"), "This payment is already refunded"));
    let part = world.pay(&order("part", 1000, CARD)).await;
    let amount = |key: &str, amount: i64| {
        let mut body = of(&part, key);
        body["amount"] = json!(amount);
        body
    };
    assert_eq!(refund(&world, &amount("600", 600)).await.status, 202);
    cases
        .push((amount("500", 500), "Refund amount cannot be more than the un-refunded amount of the original payment"));
    cases.push((amount("1001", 1001), "Refund amount cannot be more than the payment amount"));
    let disputed = world.pay(&order("disputed", 1000, CARD)).await;
    world.sandbox.open_dispute(disputed.parse().unwrap(), 0, "FRAUDULENT").unwrap();
    cases.push((of(&disputed, "disputed"), "Payment is in dispute and not available for refund"));
    for (body, message) in &cases {
        let found = look(&world, &refund(&world, body).await).await;
        assert_eq!(found.problem(), problem(422, "REFUND_ERROR", detail), "{body}");
        let part = found.json()["data"]["refundAllocations"][0].clone();
        assert_eq!((&part["status"], &part["error"]["detail"]), (&json!("FAILED"), &json!(message)), "{body}");
        assert_eq!(part["error"]["errorDetails"][0]["message"], *message);
    }
    let old = world.pay(&order("old", 1000, CARD)).await;
    world.sandbox.clock().advance(181 * DAY);
    let found = look(&world, &refund(&world, &of(&old, "old")).await).await;
    let error = found.json()["data"]["refundAllocations"][0]["error"].clone();
    assert_eq!(error["detail"], "This payment is too old to be refunded");
    assert_eq!(world.sandbox.ledger().refund_successes_by_key().len(), 2, "the two good ones");
}

#[tokio::test]
async fn a_refund_in_two_parts_can_succeed_in_part() {
    let world = World::new().await;
    let failing = method_id(Behaviour::RefundFails(RefundError::LossOrTheft), 1);
    let id = world.pay(&split("k", [(300, CARD), (700, failing)])).await;
    let found = look(&world, &refund(&world, &of(&id, "r")).await).await;
    assert_eq!((found.status, found.payment_status().as_str()), (200, "PARTIAL_SUCCESS"));
    let parts = found.json()["data"]["refundAllocations"].clone();
    assert_eq!((&parts[0]["status"], &parts[1]["status"]), (&json!("COMPLETED"), &json!("FAILED")));
    assert_eq!(world.sandbox.ledger().refunds()[0].given_back_minor, 300);
    world.switch("refund-names", "older").await;
    let older = world.get(&format!("/v2/refunds/{}", found.payment_id())).await;
    assert_eq!(older.payment_status(), "PARTIAL_REFUND");
}

#[tokio::test]
async fn a_part_of_a_split_payment_names_its_allocation() {
    let world = World::new().await;
    let id = world.pay(&split("k", [(300, CARD), (700, OTHER)])).await;
    let parts = world.by_id(&id).await.json()["data"]["paymentAllocations"].clone();
    let mut body = of(&id, "r");
    body["refundAllocations"] = json!([{ "paymentAllocationId": parts[1]["id"], "amount": 250 }]);
    let found = look(&world, &refund(&world, &body).await).await;
    let part = found.json()["data"]["refundAllocations"][0].clone();
    assert_eq!((&part["amount"], &part["paymentAllocation"]["id"]), (&json!(250), &parts[1]["id"]));
    let mut vague = of(&id, "vague");
    vague["amount"] = json!(100);
    assert_eq!(refund(&world, &vague).await.status, 400, "nothing is distributed");
    let rest = look(&world, &refund(&world, &of(&id, "rest")).await).await.json();
    let amounts: Vec<_> =
        rest["data"]["refundAllocations"].as_array().unwrap().iter().map(|p| p["amount"].clone()).collect();
    assert_eq!(amounts, [json!(300), json!(450)], "what is left of each");
    assert_eq!(world.sandbox.ledger().net_collected("USD"), 0);
}

#[tokio::test]
async fn a_pending_refund_ends_as_the_clock_goes_by() {
    let world = World::turned(Options::default()).await;
    let id = world.pay(&order("k", 1000, method_id(Behaviour::RefundPends { days: Some(4) }, 1))).await;
    let answer = refund(&world, &of(&id, "r")).await;
    let found = look(&world, &answer).await;
    assert_eq!((found.status, found.payment_status().as_str()), (202, "PENDING"));
    assert_eq!(world.sandbox.ledger().refunds()[0].given_back_minor, 0);
    world.sandbox.clock().advance(4 * DAY);
    let found = look(&world, &answer).await;
    assert_eq!((found.status, found.payment_status().as_str()), (200, "COMPLETED"));
    let record = &world.sandbox.ledger().refunds()[0];
    assert_eq!((record.status, record.given_back_minor), (RefundStatus::Completed, 1000));
}

#[tokio::test]
async fn a_bank_payment_is_refunded_and_a_card_is_credited_without_a_payment() {
    let world = World::turned(Options::default()).await;
    let bank = world.pay(&bank_order("bank", 500, method_id(Behaviour::AchSettles { days: Some(1) }, 1))).await;
    assert_eq!(refund(&world, &of(&bank, "early")).await.status, 400, "it has not settled");
    world.sandbox.clock().advance(DAY);
    assert_eq!(look(&world, &refund(&world, &of(&bank, "r")).await).await.payment_status(), "COMPLETED");
    let customer = json!({ "hsid": Uuid::max(), "firstName": "A", "lastName": "B" });
    let credit = |key: &str, method: Uuid| json!({ "merchantTransactionId": key, "paymentMethodId": method, "amount": 1_000_000, "customer": customer });
    let found = look(&world, &refund(&world, &credit("credit", CARD)).await).await;
    assert_eq!((found.status, found.payment_status().as_str()), (200, "COMPLETED"));
    assert_eq!(found.json()["data"].get("payment"), None);
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer, WalletMethod::card(OTHER)).unwrap();
    assert!(world.sandbox.invalidate_method(OTHER));
    let expired = method_id(Behaviour::Expires { year: 2025, month: 12 }, 1);
    for (key, method) in [("dead", OTHER), ("expired", expired)] {
        let found = look(&world, &refund(&world, &credit(key, method)).await).await;
        let error = found.json()["data"]["refundAllocations"][0]["error"]["detail"].clone();
        assert_eq!(error, "Payment method is canceled by a customer or expired by the financial partner", "{key}");
    }
    assert_eq!(world.sandbox.ledger().net_collected("USD"), -1_000_000);
}

#[tokio::test]
async fn refunds_can_be_checked_at_once_as_the_older_pages_say() {
    let world = World::new().await;
    world.switch("refund-checks", "at-once").await;
    let id = world.pay(&order("k", 1000, CARD)).await;
    let mut body = of(&id, "r");
    body["amount"] = json!(2000);
    let detail = "Refund amount cannot be more than the payment amount";
    assert_eq!(refund(&world, &body).await.problem(), problem(400, "INVALID_REQUEST", detail));
    assert!(world.sandbox.ledger().refunds().is_empty(), "the key is free again");
    assert_eq!(refund(&world, &of(&id, "r")).await.status, 202);
}

#[tokio::test]
async fn a_thousand_lost_answers_never_refund_twice() {
    let faults = sandbox::Faults { cut_after_commit: 0.5, error_after_commit: 0.2, ..sandbox::Faults::none() };
    let world = World::new().await;
    let mut ids = Vec::new();
    for n in 0..1000 {
        ids.push(world.pay(&order(&format!("k{n}"), 100, CARD)).await);
    }
    world.sandbox.set_faults(faults);
    for (n, id) in ids.iter().enumerate() {
        for _ in 0..2 {
            let _ = world.request("POST", "/v2/refunds", &of(id, &format!("r{n}"))).send(world.to).await;
        }
    }
    let ledger = world.sandbox.ledger();
    assert_eq!(ledger.refund_successes_by_key().len(), 1000);
    assert!(ledger.refund_successes_by_key().values().all(|successes| *successes == 1));
    assert_eq!(ledger.net_collected("USD"), 0);
    assert!(ledger.calls().iter().any(|call| call.answered.is_none()), "some answers were lost");
}
