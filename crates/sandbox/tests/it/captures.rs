//! Contract §4.9 to §4.12: capture, cancel, and payments in two parts.

use std::time::Duration;

use sandbox::{Behaviour, CallKind, DeclineCode, Fault, Faults, Options, Status, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{World, bank_order, hold, order, problem, split};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const OTHER: Uuid = method_id(Behaviour::Pays, 2);
const BANK: Uuid = method_id(Behaviour::AchSettles { days: None }, 1);
const DAY: Duration = Duration::from_secs(86_400);
const REASON: &str = "REQUESTED_BY_CUSTOMER";

async fn capture(world: &World, id: &str, body: &Value) -> crate::support::Answer {
    world.call("PATCH", &format!("/v2/payments/{id}/capture"), body).await
}

async fn cancel(world: &World, id: &str) -> crate::support::Answer {
    let body = json!({ "paymentCancellationReason": REASON, "paymentCancellationMessage": "changed my mind" });
    world.call("PATCH", &format!("/v2/payments/{id}/cancel"), &body).await
}

#[tokio::test]
async fn a_hold_is_captured_whole_or_in_part_and_once() {
    let world = World::turned(Options::default()).await;
    for (key, body, taken) in [("whole", json!({}), 1000), ("part", json!({ "amount": 400 }), 400)] {
        let id = world.pay(&hold(key, 1000, CARD)).await;
        let answer = capture(&world, &id, &body).await;
        assert_eq!((answer.status, answer.payment_status().as_str()), (202, "CAPTURE_INITIALIZED"));
        let data = world.by_id(&id).await.json()["data"].clone();
        assert_eq!(data["status"], "COMPLETED");
        assert_eq!((&data["authorizedAmount"], &data["capturedAmount"]), (&json!(1000), &json!(taken)));
        let again = capture(&world, &id, &json!({})).await;
        let detail = "Payment cannot be captured in COMPLETED state";
        assert_eq!(again.problem(), problem(422, "UNPROCESSABLE_ENTITY", detail));
        assert_eq!(world.sandbox.ledger().captured_by_payment()[&id.parse().unwrap()], taken);
    }
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 1400);
    assert_eq!(world.sandbox.ledger().net_collected("USD"), 1400);
    assert!(world.sandbox.ledger().open_holds().is_empty());
}

#[tokio::test]
async fn a_capture_takes_time_when_the_gateway_does() {
    let world = World::turned(Options { settle: Duration::from_secs(9), ..Options::default() }).await;
    let id = world.pay(&hold("k", 1000, CARD)).await;
    assert_eq!(capture(&world, &id, &json!({})).await.problem().2, "Payment cannot be captured in INITIATED state");
    world.sandbox.clock().advance(Duration::from_secs(9));
    assert_eq!(capture(&world, &id, &json!({})).await.status, 202);
    let look = world.by_id(&id).await;
    assert_eq!((look.status, look.payment_status().as_str()), (202, "CAPTURE_INITIALIZED"));
    assert_eq!(look.json()["data"]["authorizedAmount"], 1000);
    assert_eq!(world.successes_of("k"), 0);
    world.sandbox.clock().advance(Duration::from_secs(9));
    assert_eq!(world.by_id(&id).await.payment_status(), "COMPLETED");
    assert_eq!(world.successes_of("k"), 1);
}

#[tokio::test]
async fn a_capture_is_refused_with_the_documented_texts() {
    let world = World::new().await;
    let id = world.pay(&hold("k", 1000, CARD)).await;
    let too_much = "Capture amount exceeds authorized amount or no amount authorized for capture";
    let range = "amount must be an integer between 1 and 99999999";
    let malformed = "Invalid request format. Please check JSON structure and field types";
    let cases = [
        (json!({ "amount": 1001 }), problem(422, "UNPROCESSABLE_ENTITY", too_much)),
        (json!({ "amount": 0 }), problem(400, "INVALID_REQUEST", range)),
        (json!({ "amount": 100_000_000 }), problem(400, "INVALID_REQUEST", range)),
        (json!({ "amount": "1" }), problem(400, "INVALID_REQUEST", malformed)),
        (json!({ "paymentAllocations": [] }), problem(400, "INVALID_REQUEST", malformed)),
        (
            json!({ "amount": 1, "paymentAllocations": [{ "id": id, "amount": 1 }] }),
            problem(400, "INVALID_REQUEST", malformed),
        ),
        (json!({ "paymentAllocations": [{ "id": id, "amount": 1 }] }), problem(422, "UNPROCESSABLE_ENTITY", too_much)),
        (
            json!({ "paymentAllocations": [{ "id": "x", "amount": 1 }] }),
            problem(400, "INVALID_REQUEST", "paymentAllocations[0].id must be valid UUID"),
        ),
        (
            json!({ "metadata": { "k": "v".repeat(101) } }),
            problem(400, "INVALID_REQUEST", "metadata value cannot exceed 100 characters"),
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(capture(&world, &id, &body).await.problem(), expected, "{body}");
    }
    assert_eq!(capture(&world, "x", &json!({})).await.problem().2, "paymentId must be valid UUID");
    let unknown = capture(&world, &Uuid::max().to_string(), &json!({})).await;
    assert_eq!(unknown.problem(), problem(404, "NOT_FOUND", "paymentId not found"));
    let sale = world.pay(&order("sale", 1000, CARD)).await;
    assert_eq!(capture(&world, &sale, &json!({})).await.problem().2, "Payment cannot be captured in COMPLETED state");
    assert_eq!(world.sandbox.ledger().open_holds().len(), 1, "nothing of that was captured");
}

#[tokio::test]
async fn a_declined_capture_fails_the_payment() {
    let world = World::new().await;
    let card = method_id(Behaviour::CaptureFails(DeclineCode::ExpiredCard), 1);
    let id = world.pay(&hold("k", 1000, card)).await;
    assert_eq!(world.by_id(&id).await.payment_status(), "AUTHORIZED");
    assert_eq!(capture(&world, &id, &json!({})).await.status, 202);
    let look = world.by_id(&id).await;
    assert_eq!((look.status, look.payment_status().as_str()), (422, "FAILED"));
    assert_eq!(look.json()["data"]["paymentAllocations"][0]["error"]["declineCode"], "expired_card");
    assert_eq!(world.sandbox.ledger().success_count(), 0);
}

#[tokio::test]
async fn a_hold_that_nobody_captures_is_cancelled_after_seven_days() {
    let world = World::turned(Options::default()).await;
    let id = world.pay(&hold("k", 1000, CARD)).await;
    let holds = world.sandbox.ledger().open_holds();
    assert_eq!((holds.len(), holds[0].held_minor), (1, 1000));
    assert_eq!(holds[0].expires_at - holds[0].held_at, chrono::TimeDelta::days(7));
    world.sandbox.clock().advance(6 * DAY);
    assert_eq!(world.by_id(&id).await.payment_status(), "AUTHORIZED");
    world.sandbox.clock().advance(DAY);
    let look = world.by_id(&id).await;
    assert_eq!((look.status, look.payment_status().as_str()), (200, "CANCELLED"));
    assert_eq!(capture(&world, &id, &json!({})).await.problem().2, "Payment cannot be captured in CANCELLED state");
    assert!(world.sandbox.ledger().open_holds().is_empty());

    let early = world.pay(&hold("early", 1000, CARD)).await;
    let answer = world.admin(&format!("/sandbox/payments/{early}/expire"), &json!({})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(world.by_id(&early).await.payment_status(), "CANCELLED");
    assert!(world.sandbox.expire_hold(early.parse().unwrap()).is_err(), "it ran out already");
}

#[tokio::test]
async fn holds_and_bank_payments_are_cancelled_and_sales_are_not() {
    let world = World::turned(Options::default()).await;
    let held = world.pay(&hold("hold", 1000, CARD)).await;
    let debit = world.pay(&bank_order("bank", 500, BANK)).await;
    for id in [&held, &debit] {
        let answer = cancel(&world, id).await;
        assert_eq!((answer.status, answer.payment_status().as_str()), (202, "CANCEL_INITIALIZED"));
        let data = world.by_id(id).await.json()["data"].clone();
        assert_eq!((&data["status"], &data["paymentCancellationReason"]), (&json!("CANCELLED"), &json!(REASON)));
        let detail = "Payment cannot be cancelled in CANCELLED state";
        assert_eq!(cancel(&world, id).await.problem(), problem(422, "UNPROCESSABLE_ENTITY", detail));
    }
    world.sandbox.clock().advance(10 * DAY);
    assert_eq!(world.sandbox.ledger().success_count(), 0, "a cancelled debit never settles");
    let sale = world.pay(&order("sale", 1000, CARD)).await;
    assert_eq!(cancel(&world, &sale).await.problem().2, "Payment cannot be cancelled in COMPLETED state");
    let failed = world.pay(&order("failed", 1000, method_id(Behaviour::DeclinesPlainly, 1))).await;
    assert_eq!(cancel(&world, &failed).await.problem().2, "Payment cannot be cancelled in FAILED state");
    let bad = "Invalid enum in paymentCancellationReason. paymentCancellationReason should accept only allowed enums";
    for body in [json!({}), json!({ "paymentCancellationReason": "BORED" })] {
        let answer = world.call("PATCH", &format!("/v2/payments/{held}/cancel"), &body).await;
        assert_eq!(answer.problem(), problem(400, "INVALID_REQUEST", bad));
    }
}

#[tokio::test]
async fn a_payment_in_its_first_stages_can_be_cancelled_and_one_at_the_processor_cannot() {
    let world = World::turned(Options { settle: Duration::from_secs(9), ..Options::default() }).await;
    for (key, wait, state) in [("first", 0, None), ("queued", 3, None), ("there", 6, Some("PROCESSING"))] {
        let id = world.pay(&order(key, 100, CARD)).await;
        world.sandbox.clock().advance(Duration::from_secs(wait));
        let answer = cancel(&world, &id).await;
        match state {
            None => assert_eq!(answer.status, 202, "{key}"),
            Some(state) => {
                assert_eq!(answer.problem().2, format!("Payment cannot be cancelled in {state} state"));
            }
        }
    }
    world.sandbox.clock().advance(DAY);
    assert_eq!(world.sandbox.ledger().successes_by_key().keys().collect::<Vec<_>>(), ["there"]);
}

#[tokio::test]
async fn a_cancellation_can_fail_for_good() {
    let world = World::new().await;
    let id = world.pay(&hold("k", 1000, method_id(Behaviour::CancelFails { bank: false }, 1))).await;
    assert_eq!(cancel(&world, &id).await.status, 202);
    let look = world.by_id(&id).await;
    assert_eq!((look.status, look.payment_status().as_str()), (200, "CANCEL_FAILED"));
    assert_eq!(look.json()["data"]["authorizedAmount"], 1000, "the money is still held");
}

#[tokio::test]
async fn two_parts_of_a_hold_are_captured_by_allocation_and_what_is_left_out_is_released() {
    let world = World::new().await;
    world.switch("split-tender", "mixed").await;
    let mut body = split("k", [(300, CARD), (700, OTHER)]);
    body["authorizeCard"] = json!(true);
    let id = world.pay(&body).await;
    let parts = world.by_id(&id).await.json()["data"]["paymentAllocations"].clone();
    let capture_body = json!({ "paymentAllocations": [{ "id": parts[1]["id"], "amount": 500 }] });
    assert_eq!(capture(&world, &id, &capture_body).await.status, 202);
    let data = world.by_id(&id).await.json()["data"].clone();
    assert_eq!((&data["status"], &data["capturedAmount"]), (&json!("COMPLETED"), &json!(500)));
    let parts = data["paymentAllocations"].clone();
    assert_eq!((&parts[0]["status"], &parts[0]["capturedAmount"]), (&json!("CANCELLED"), &json!(0)));
    assert_eq!((&parts[1]["status"], &parts[1]["capturedAmount"]), (&json!("COMPLETED"), &json!(500)));
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 500);
}

#[tokio::test]
async fn two_parts_show_as_holds_while_the_payment_is_pending() {
    let world = World::turned(Options { settle: Duration::from_secs(9), ..Options::default() }).await;
    let id = world.pay(&split("k", [(300, CARD), (700, OTHER)])).await;
    world.sandbox.clock().advance(Duration::from_secs(6));
    let data = world.by_id(&id).await.json()["data"].clone();
    assert_eq!(data["status"], "PENDING");
    assert_eq!(data["paymentAllocations"][0]["status"], "AUTHORIZED");
    world.sandbox.clock().advance(Duration::from_secs(3));
    assert_eq!(world.by_id(&id).await.payment_status(), "COMPLETED");
}

#[tokio::test]
async fn two_bank_accounts_are_one_payment_and_a_returned_one_gives_the_other_back() {
    let world = World::turned(Options::default()).await;
    let back = method_id(Behaviour::AchReturned { days: Some(2), code: sandbox::ReturnCode::R01 }, 1);
    assert_eq!(world.post(&split("no", [(300, BANK), (700, back)])).await.status, 400, "cards only, by default");
    world.switch("split-tender", "mixed").await;
    let id = world.pay(&split("k", [(300, BANK), (700, back)])).await;
    assert_eq!(world.by_id(&id).await.payment_status(), "ACCEPTED");
    world.sandbox.clock().advance(4 * DAY);
    let data = world.by_id(&id).await.json()["data"].clone();
    let parts = &data["paymentAllocations"];
    assert_eq!((&parts[0]["status"], &parts[1]["status"]), (&json!("ROLLED_BACK"), &json!("FAILED")));
    assert_eq!(parts[0]["remediation"]["action"], "REFUNDED");
    assert_eq!(world.sandbox.ledger().net_collected("USD"), 0);
}

#[tokio::test]
async fn faults_strike_captures_and_each_submission_is_in_the_ledger() {
    let world = World::new().await;
    let id = world.pay(&hold("k", 1000, CARD)).await;
    let request = world.request("PATCH", &format!("/v2/payments/{id}/capture"), &json!({}));
    world.sandbox.fail_next_post_of(&id, Fault::CutBeforeCommit);
    assert!(request.send(world.to).await.is_err());
    assert_eq!(world.by_id(&id).await.payment_status(), "AUTHORIZED");
    world.sandbox.fail_next_post_of(&id, Fault::CutAfterCommit);
    assert!(request.send(world.to).await.is_err());
    assert_eq!(world.by_id(&id).await.payment_status(), "COMPLETED");
    assert_eq!(request.send(world.to).await.unwrap().status, 422, "captured already");
    let calls = world.sandbox.ledger().calls();
    let seen: Vec<_> = calls.iter().map(|call| (call.kind, call.number, call.answered, call.fault)).collect();
    let expected = [
        (CallKind::Capture, 1, None, Some(Fault::CutBeforeCommit)),
        (CallKind::Capture, 2, None, Some(Fault::CutAfterCommit)),
        (CallKind::Capture, 3, Some(422), None),
    ];
    assert_eq!(seen, expected);
    assert_eq!(world.read("/sandbox/ledger/calls").await.body.split(|byte| *byte == b'\n').count(), 4);
}

#[tokio::test]
async fn a_hundred_captures_at_once_take_the_money_once() {
    let world =
        World::with(Options { faults: Faults { slow: 0.2, slow_ms: 2, ..Faults::none() }, ..Options::default() }).await;
    let id = world.pay(&hold("k", 1000, CARD)).await;
    let requests = (0..100).map(|_| {
        let (to, request) =
            (world.to, world.request("PATCH", &format!("/v2/payments/{id}/capture"), &json!({ "amount": 700 })));
        tokio::spawn(async move { request.send(to).await.unwrap().status })
    });
    let mut taken = 0;
    for request in requests.collect::<Vec<_>>() {
        taken += usize::from(request.await.unwrap() == 202);
    }
    assert_eq!(taken, 1);
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 700);
    let record = &world.sandbox.ledger().payments_of("k")[0];
    assert_eq!((record.status, record.successes), (Status::Completed, 1));
}
