//! Methods whose ids script what happens to them (README, "Payment methods").

use std::time::Duration;

use sandbox::{
    Behaviour, DisputeEnd, DisputeStatus, MovementKind, Options, Refusal, ReturnCode, behaviour_of, method_id,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{World, bank_order, hold, order};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const BANK: Uuid = method_id(Behaviour::AchSettles { days: None }, 1);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_card_can_approve_a_part_if_a_part_is_allowed() {
    let world = World::new().await;
    let card = method_id(Behaviour::ApprovesPart { percent: 40 }, 1);
    let mut body = hold("part", 1000, card);
    body["partialAuthorization"] = json!(true);
    let id = world.pay(&body).await;
    let data = world.by_id(&id).await.json()["data"].clone();
    assert_eq!((&data["status"], &data["amount"]), (&json!("AUTHORIZED"), &json!(1000)));
    assert_eq!(data["authorizedAmount"], 400);
    assert_eq!(world.sandbox.ledger().open_holds()[0].held_minor, 400);
    let path = format!("/v2/payments/{id}/capture");
    assert_eq!(world.call("PATCH", &path, &json!({ "amount": 401 })).await.status, 422);
    assert_eq!(world.call("PATCH", &path, &json!({})).await.status, 202);
    assert_eq!(world.by_id(&id).await.json()["data"]["capturedAmount"], 400);
    world.post(&hold("all or nothing", 1000, card)).await;
    let error = world.by_key("all%20or%20nothing").await.json()["data"]["paymentAllocations"][0]["error"].clone();
    assert_eq!(error["declineCode"], "insufficient_funds");
}

#[tokio::test]
async fn a_card_expires_at_the_end_of_its_month() {
    let world = World::turned(Options::default()).await;
    let card = method_id(Behaviour::Expires { year: 2026, month: 2 }, 1);
    for (key, day, status) in [("first", 0, "COMPLETED"), ("last", 58, "COMPLETED"), ("after", 1, "FAILED")] {
        world.sandbox.clock().advance(day * DAY);
        world.post(&order(key, 100, card)).await;
        assert_eq!(world.by_key(key).await.payment_status(), status, "{key}");
    }
    let error = world.by_key("after").await.json()["data"]["paymentAllocations"][0]["error"].clone();
    assert_eq!(error["declineCode"], "expired_card");
}

#[tokio::test]
async fn a_late_return_flips_the_payment_or_disputes_it_or_is_only_reported() {
    let late = method_id(Behaviour::AchReturnedLate { days: Some(4), code: ReturnCode::R10 }, 1);
    for (reading, status, disputes, last) in [
        ("failed", "FAILED", 0, MovementKind::Returned),
        ("dispute", "COMPLETED", 1, MovementKind::Disputed),
        ("report", "COMPLETED", 0, MovementKind::Returned),
    ] {
        let world = World::turned(Options::default()).await;
        world.switch("late-return", reading).await;
        let id = world.pay(&bank_order("k", 100, late)).await;
        world.sandbox.clock().advance(3 * DAY);
        assert_eq!(world.by_id(&id).await.payment_status(), "COMPLETED");
        assert_eq!(world.sandbox.ledger().net_collected("USD"), 100);
        world.sandbox.clock().advance(4 * DAY);
        let found = world.by_id(&id).await;
        assert_eq!(found.payment_status(), status, "{reading}");
        if status == "FAILED" {
            let error = found.json()["data"]["paymentAllocations"][0]["error"].clone();
            assert!(error["message"].as_str().unwrap().contains("R10"), "{error}");
        }
        let ledger = world.sandbox.ledger();
        assert_eq!(ledger.disputes().len(), disputes, "{reading}");
        assert_eq!(ledger.movements().last().unwrap().kind, last, "{reading}");
        assert_eq!((ledger.total_collected("USD"), ledger.net_collected("USD")), (100, 0), "{reading}");
        assert_eq!(ledger.successes_by_key()["k"], 1, "a success that went back was one");
    }
}

#[tokio::test]
async fn a_bank_payment_is_returned_when_a_test_says_so() {
    let world = World::turned(Options::default()).await;
    let early = world.pay(&bank_order("early", 100, BANK)).await;
    let answer = world.admin(&format!("/sandbox/payments/{early}/return"), &json!({ "code": "R02" })).await;
    assert_eq!(answer.status, 200);
    let error = world.by_id(&early).await.json()["data"]["paymentAllocations"][0]["error"].clone();
    assert_eq!(error["code"], "account_closed");
    let late = world.pay(&bank_order("late", 100, BANK)).await;
    world.sandbox.clock().advance(5 * DAY);
    world.sandbox.return_payment(late.parse().unwrap(), ReturnCode::R01).unwrap();
    assert_eq!(world.by_id(&late).await.payment_status(), "FAILED");
    assert_eq!(world.sandbox.ledger().net_collected("USD"), 0);
    let card = world.pay(&order("card", 100, CARD)).await;
    let refused = world.sandbox.return_payment(card.parse().unwrap(), ReturnCode::R01).unwrap_err();
    assert_eq!(refused.to_string(), "Payment cannot be returned in COMPLETED state");
}

#[tokio::test]
async fn a_dispute_goes_its_way_and_moves_the_money() {
    for (end, status, net) in [
        (DisputeEnd::Open, DisputeStatus::NeedsResponse, 0),
        (DisputeEnd::Won, DisputeStatus::Won, 500),
        (DisputeEnd::Lost, DisputeStatus::Lost, 0),
    ] {
        let world = World::turned(Options::default()).await;
        world.post(&order("k", 500, method_id(Behaviour::Disputed { days: 30, end }, 1))).await;
        world.sandbox.clock().advance(29 * DAY);
        assert!(world.sandbox.ledger().disputes().is_empty());
        world.sandbox.clock().advance(DAY);
        assert_eq!(world.sandbox.ledger().disputes()[0].status, DisputeStatus::NeedsResponse);
        assert_eq!(world.sandbox.ledger().net_collected("USD"), 0, "withdrawn at once");
        world.sandbox.clock().advance(7 * DAY);
        let dispute = world.sandbox.ledger().disputes().remove(0);
        assert_eq!((dispute.status, dispute.amount_minor), (status, 500));
        assert_eq!(world.sandbox.ledger().net_collected("USD"), net, "{end:?}");
        assert_eq!(world.by_key("k").await.payment_status(), "COMPLETED");
    }
}

#[tokio::test]
async fn a_refused_method_says_so_with_its_last_digits() {
    let world = World::new().await;
    for (n, refusal) in Refusal::ALL.iter().enumerate() {
        let id = method_id(Behaviour::Refused(*refusal), 1);
        let key = format!("k{n}");
        world.post(&order(&key, 100, id)).await;
        let part = world.by_key(&key).await.json()["data"]["paymentAllocations"][0].clone();
        let last4 = part["paymentMethod"]["paymentMethodDetails"]["last4"].as_str().unwrap().to_owned();
        assert_eq!(part["error"]["message"], refusal.message().replace("{last4}", &last4));
        assert_eq!(last4.len(), 4);
    }
}

#[tokio::test]
async fn a_challenge_is_seen_before_the_payment_fails() {
    let world = World::turned(Options { settle: Duration::from_secs(8), ..Options::default() }).await;
    world.post(&order("k", 100, method_id(Behaviour::Demands3ds, 1))).await;
    world.sandbox.clock().advance(Duration::from_secs(6));
    assert_eq!(world.by_key("k").await.payment_status(), "AUTH_REQUIRED");
    world.sandbox.clock().advance(Duration::from_secs(2));
    assert_eq!(world.by_key("k").await.payment_status(), "FAILED");
}

#[tokio::test]
async fn every_behaviour_can_be_given_to_any_id_over_http() {
    let world = World::new().await;
    let id = Uuid::from_u128(9);
    let mut tried = 0;
    for kind in 0..=0x11_u128 {
        for parameter in [0, 1, 2] {
            let scripted = Uuid::from_u128(
                0x5a4d_b0c5_u128 << 96 | kind << 88 | parameter << 80 | 8 << 76 | 1 << 64 | 8 << 60 | 5,
            );
            let Some(behaviour) = behaviour_of(scripted) else { continue };
            assert_eq!(behaviour_of(method_id(behaviour, 5)), Some(behaviour));
            let body = json!({ id.to_string(): behaviour });
            assert_eq!(world.admin("/sandbox/methods", &body).await.json(), body);
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}
