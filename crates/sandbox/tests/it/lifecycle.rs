use std::time::Duration;

use sandbox::{Behaviour, DeclineCode, FailureStatus, Options, ReturnCode, Status, UnknownMethods, method_id};
use serde_json::json;
use uuid::Uuid;

use crate::support::{World, bank_order, new_year, order};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_card_pays_at_once_and_the_create_still_says_initiated() {
    let world = World::new().await;
    let answer = world.post(&order("k", 4200, method_id(Behaviour::Pays, 1))).await;
    let json = answer.json();
    assert_eq!(answer.status, 202);
    assert_eq!(json["url"], format!("{}/v2/payments/{}", world.sandbox.url(), answer.payment_id()));
    let fields: Vec<_> = json["data"].as_object().unwrap().keys().cloned().collect();
    let expected =
        ["amount", "authorizeCard", "currencyCode", "id", "merchantTransactionId", "partialAuthorization", "status"];
    assert_eq!(fields, expected);
    assert_eq!(json["data"]["status"], "INITIATED");
    for look in [world.by_key("k").await, world.by_id(&answer.payment_id()).await] {
        let data = &look.json()["data"];
        assert_eq!((look.status, &data["status"]), (200, &json!("COMPLETED")));
        assert_eq!((&data["amount"], &data["capturedAmount"]), (&json!(4200), &json!(4200)));
        assert_eq!(data["metadata"], json!({ "subscription": "sub-1", "cycle": "4" }));
        assert_eq!(data["paymentAllocations"][0]["status"], "COMPLETED");
        assert_eq!(data["paymentAllocations"][0]["paymentMethod"]["paymentMethodDetails"]["type"], "CARD");
    }
    let successes: Vec<_> = world.sandbox.ledger().successes().collect();
    assert_eq!(successes.len(), 1);
    assert_eq!((successes[0].key.as_str(), successes[0].amount_minor), ("k", 4200));
    assert_eq!(successes[0].metadata["subscription"], "sub-1");
}

#[tokio::test]
async fn a_settling_card_goes_through_its_states_as_the_clock_is_turned() {
    let world = World::turned(Options { settle: Duration::from_secs(9), ..Options::default() }).await;
    world.post(&order("k", 100, method_id(Behaviour::Pays, 1))).await;
    for (status, code) in [("INITIATED", 202), ("PENDING", 202), ("PROCESSING", 202), ("COMPLETED", 200)] {
        let answer = world.by_key("k").await;
        assert_eq!((answer.status, answer.payment_status().as_str()), (code, status));
        assert_eq!(world.successes_of("k"), u64::from(status == "COMPLETED"));
        world.sandbox.clock().advance(Duration::from_secs(3));
    }
    let history = &world.sandbox.ledger().payments_of("k")[0].history;
    let seconds: Vec<_> = history.iter().map(|(status, at)| (*status, (*at - new_year()).num_seconds())).collect();
    let expected = [(Status::Initiated, 0), (Status::Pending, 3), (Status::Processing, 6), (Status::Completed, 9)];
    assert_eq!(seconds, expected);
}

#[tokio::test]
async fn a_bank_payment_is_accepted_and_settles_in_days() {
    let world = World::turned(Options::default()).await;
    world.post(&bank_order("default", 100, method_id(Behaviour::AchSettles { days: None }, 1))).await;
    world.post(&bank_order("five", 200, method_id(Behaviour::AchSettles { days: Some(5) }, 1))).await;
    let back = Behaviour::AchReturned { days: Some(2), code: ReturnCode::R02 };
    world.post(&bank_order("back", 400, method_id(back, 1))).await;
    let mut seen = Vec::new();
    for day in 0..=5 {
        for key in ["default", "five", "back"] {
            let answer = world.by_key(key).await;
            seen.push((day, key, answer.status, answer.payment_status()));
        }
        world.sandbox.clock().advance(DAY);
    }
    for (day, key, code, status) in seen {
        let expected = match (key, day) {
            ("default", 0..=2) | ("five", 0..=4) | ("back", 0..=1) => (202, "ACCEPTED"),
            ("back", _) => (422, "FAILED"),
            _ => (200, "COMPLETED"),
        };
        assert_eq!((code, status.as_str()), expected, "{key} on day {day}");
    }
    let failed = world.by_key("back").await.json();
    let error = &failed["data"]["paymentAllocations"][0]["error"];
    assert_eq!(
        error,
        &json!({ "code": "account_closed", "message": "The bank returned this payment: R02 Account Closed" })
    );
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 300);
}

#[tokio::test]
async fn a_card_declines_its_first_charges_under_whatever_keys() {
    let world = World::new().await;
    let card = method_id(Behaviour::declines(2), 1);
    for (key, status) in [("a", "FAILED"), ("b", "FAILED"), ("c", "COMPLETED"), ("d", "COMPLETED")] {
        world.post(&order(key, 100, card)).await;
        assert_eq!(world.by_key(key).await.payment_status(), status, "{key}");
    }
    world.post(&order("other", 100, method_id(Behaviour::declines(2), 2))).await;
    assert_eq!(world.by_key("other").await.payment_status(), "FAILED", "another card counts for itself");
}

#[tokio::test]
async fn failures_say_why_as_the_newest_pages_do() {
    let world = World::new().await;
    let three_ds =
        "Payment method could not be authorized. This payment method requires authentication from a customer.";
    let missing = "paymentAllocations[0].paymentMethodId not found. Please provide a valid payment method";
    let mut cases = vec![
        (Behaviour::DeclinesPlainly, json!({ "code": "card_declined", "message": "Your card was declined." })),
        (Behaviour::Demands3ds, json!({ "code": "authentication_required", "message": three_ds })),
        (Behaviour::NotFound, json!({ "code": "payment_method_not_found", "message": missing })),
    ];
    for code in DeclineCode::ALL {
        let error = json!({ "code": "card_declined", "message": code.message(), "declineCode": code.code() });
        cases.push((Behaviour::DeclinesWith(*code), error));
    }
    for (n, (behaviour, error)) in cases.into_iter().enumerate() {
        let key = format!("k{n}");
        assert_eq!(world.post(&order(&key, 100, method_id(behaviour, 1))).await.status, 202);
        let answer = world.by_key(&key).await;
        let detail = "Payment processing failed for all records. Check individual records for error details";
        assert_eq!(answer.problem(), (422, "PAYMENT_ERROR".into(), detail.into()));
        let data = &answer.json()["data"];
        assert_eq!((&data["status"], &data["merchantTransactionId"]), (&json!("FAILED"), &json!(key)));
        assert_eq!(data["paymentAllocations"][0]["error"], error);
    }
    assert_eq!(world.sandbox.ledger().success_count(), 0);
}

#[tokio::test]
async fn failures_can_be_answered_as_older_pages_do() {
    let options = Options { failure_status: FailureStatus::NotAcceptable, ..Options::default() };
    let world = World::with(Options { unknown_methods: UnknownMethods::NotFound, ..options }).await;
    world.post(&order("k", 100, Uuid::from_u128(5))).await;
    let detail = "paymentAllocations[0].paymentMethodId not found. Please provide a valid payment method";
    let answer = world.by_key("k").await;
    assert_eq!(answer.problem(), (406, "PAYMENT_METHOD_ERROR".into(), detail.into()));
    assert_eq!(answer.json().get("data"), None);
}

#[tokio::test]
async fn an_id_without_behaviour_pays_and_can_be_given_one() {
    let world = World::new().await;
    let id = Uuid::from_u128(5);
    world.post(&order("a", 100, id)).await;
    assert_eq!(world.by_key("a").await.payment_status(), "COMPLETED");
    world.sandbox.set_method(id, Behaviour::DeclinesPlainly);
    world.post(&order("b", 100, id)).await;
    assert_eq!(world.by_key("b").await.payment_status(), "FAILED");
    let behaviour = json!({ id.to_string(): { "ach_settles": { "days": 1 } } });
    assert_eq!(world.admin("/sandbox/methods", &behaviour).await.status, 200);
    assert_eq!(world.post(&order("c", 100, id)).await.problem().2, "Consent is required!");
}

#[tokio::test]
async fn a_hold_is_authorized_and_takes_no_money() {
    let world = World::new().await;
    let mut body = order("k", 100, method_id(Behaviour::Pays, 1));
    body["authorizeCard"] = json!(true);
    world.post(&body).await;
    let data = world.by_key("k").await.json()["data"].clone();
    assert_eq!(
        (&data["status"], &data["authorizedAmount"], &data["capturedAmount"]),
        (&json!("AUTHORIZED"), &json!(100), &json!(0))
    );
    assert_eq!(world.sandbox.ledger().success_count(), 0);
}

#[tokio::test]
async fn one_failed_part_of_a_split_payment_fails_it_and_rolls_the_other_back() {
    let world = World::new().await;
    let split = |key: &str, second: Behaviour| {
        let mut body = order(key, 300, method_id(Behaviour::Pays, 1));
        let parts = [(100, method_id(Behaviour::Pays, 1)), (200, method_id(second, 2))];
        body["paymentAllocations"] =
            parts.into_iter().map(|(amount, id)| json!({ "amount": amount, "paymentMethodId": id })).collect();
        body
    };
    world.post(&split("good", Behaviour::Pays)).await;
    world.post(&split("bad", Behaviour::DeclinesPlainly)).await;
    assert_eq!(world.by_key("good").await.payment_status(), "COMPLETED");
    let parts = world.by_key("bad").await.json()["data"]["paymentAllocations"].clone();
    assert_eq!((&parts[0]["status"], &parts[1]["status"]), (&json!("ROLLED_BACK"), &json!("FAILED")));
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 300);
    assert_eq!(world.post(&split("bank", Behaviour::AchSettles { days: None })).await.status, 400);
}

#[tokio::test]
async fn the_create_can_answer_with_the_final_state() {
    let world = World::with(Options { create_answers_final: true, ..Options::default() }).await;
    let answer = world.post(&order("k", 100, method_id(Behaviour::DeclinesPlainly, 1))).await;
    assert_eq!((answer.status, answer.payment_status().as_str()), (202, "FAILED"));
}

#[tokio::test]
async fn the_clock_is_turned_over_http_too() {
    let world = World::turned(Options::default()).await;
    world.post(&bank_order("k", 100, method_id(Behaviour::AchSettles { days: None }, 1))).await;
    assert_eq!(world.admin("/sandbox/clock/advance", &json!({ "days": 3 })).await.status, 200);
    assert_eq!(world.by_key("k").await.payment_status(), "COMPLETED");
    let to = json!({ "to": "2026-06-01T00:00:00Z" });
    assert_eq!(world.admin("/sandbox/clock/advance", &to).await.json()["now"], "2026-06-01T00:00:00Z");
    assert_eq!(world.read("/sandbox/clock").await.json()["turned"], true);
    for wrong in [json!({ "years": 1 }), json!({ "days": -1 }), json!({ "days": u64::MAX }), json!(1)] {
        assert_eq!(world.admin("/sandbox/clock/advance", &wrong).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_real_clock_can_be_set_ahead() {
    let world = World::new().await;
    world.post(&bank_order("k", 100, method_id(Behaviour::AchSettles { days: None }, 1))).await;
    assert_eq!(world.by_key("k").await.payment_status(), "ACCEPTED");
    world.sandbox.clock().advance(3 * DAY);
    assert_eq!(world.by_key("k").await.payment_status(), "COMPLETED");
}
