//! Contract §7: the life of a session.

use std::time::Duration;

use sandbox::{Behaviour, DEFAULT_MERCHANT, Options, Refusal, SessionOutcome, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, World, problem};

fn session(mode: &str) -> Value {
    json!({
        "payment": { "merchantTransactionId": "k", "amount": 500, "description": "June" },
        "customer": { "hsid": Uuid::max() }, "appearance": { "logo": "x" },
        "config": { "modes": [mode], "paymentMethodChannel": { "card": ["WEBFORM", "APPLE_PAY"] } },
        "agent": { "userId": "u" }
    })
}

async fn open(world: &World, body: &Value) -> Answer {
    world.call("POST", "/v2/sessions", body).await
}

async fn opened(world: &World, mode: &str) -> Uuid {
    open(world, &session(mode)).await.json()["data"]["sessionId"].as_str().unwrap().parse().unwrap()
}

async fn look(world: &World, id: Uuid) -> Answer {
    world.get(&format!("/v2/sessions/{id}")).await
}

#[tokio::test]
async fn a_session_of_every_mode_is_accepted_created_and_completed() {
    let world = World::turned(Options { settle: Duration::from_secs(5), ..Options::default() }).await;
    for mode in [
        "PAYMENT",
        "PAYMENT_METHOD_ENTRY",
        "PAYMENT_WITH_WALLET",
        "WALLET",
        "PAYMENT_METHOD_SELECT",
        "PAYMENT_METHOD_DISPLAY",
        "PAYMENT_AND_SAVE",
    ] {
        let answer = open(&world, &session(mode)).await;
        let data = answer.json()["data"].clone();
        assert_eq!((answer.status, &data["status"]), (202, &json!("ACCEPTED")), "{mode}");
        assert!(data["hostedUrl"].as_str().unwrap().starts_with(&world.sandbox.url()));
        let id = data["sessionId"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            (look(&world, id).await.status, look(&world, id).await.payment_status().as_str()),
            (202, "ACCEPTED")
        );
        world.sandbox.clock().advance(Duration::from_secs(5));
        assert_eq!((look(&world, id).await.status, look(&world, id).await.payment_status().as_str()), (200, "CREATED"));
        assert!(world.sandbox.play_session(id, SessionOutcome::Completed));
        assert_eq!(look(&world, id).await.payment_status(), "COMPLETED");
        assert!(!world.sandbox.play_session(id, SessionOutcome::Canceled), "it has ended");
    }
}

#[tokio::test]
async fn a_session_ends_as_its_customer_does() {
    let world = World::turned(Options::default()).await;
    let timeout = problem(401, "SESSION_TIMEOUT", "Your session is no longer valid");
    let left = opened(&world, "PAYMENT").await;
    let answer = world.admin(&format!("/sandbox/sessions/{left}"), &json!({ "outcome": "canceled" })).await;
    assert_eq!(answer.status, 200);
    assert_eq!(look(&world, left).await.problem(), problem(410, "SESSION_CANCELED", "Your session has been canceled"));
    let slow = opened(&world, "PAYMENT").await;
    assert!(world.sandbox.play_session(slow, SessionOutcome::TimedOut));
    assert_eq!(look(&world, slow).await.problem(), timeout);
    let old = opened(&world, "WALLET").await;
    world.sandbox.clock().advance(Duration::from_secs(1_800));
    assert_eq!(look(&world, old).await.problem(), timeout);
    let unknown = world.admin(&format!("/sandbox/sessions/{}", Uuid::max()), &json!({ "outcome": "failed" })).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn five_failures_end_a_session_except_one_with_a_wallet() {
    let world = World::new().await;
    for (mode, ends) in [("PAYMENT", true), ("PAYMENT_METHOD_ENTRY", true), ("PAYMENT_WITH_WALLET", false)] {
        let id = opened(&world, mode).await;
        for _ in 0..4 {
            assert!(world.sandbox.play_session(id, SessionOutcome::Failed));
        }
        assert_eq!(look(&world, id).await.status, 200, "{mode}");
        world.sandbox.play_session(id, SessionOutcome::Failed);
        assert_eq!(look(&world, id).await.status, if ends { 401 } else { 200 }, "{mode}");
    }
}

#[tokio::test]
async fn sessions_are_refused_with_the_documented_texts() {
    let other = Uuid::from_u128(7);
    let world = World::with(Options { merchants: vec![DEFAULT_MERCHANT, other], ..Options::default() }).await;
    let without = |mode: &str, name: &str| {
        let mut body = session(mode);
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let mut bank = session("PAYMENT");
    bank["config"]["paymentMethodChannel"] = json!({ "bankAccount": ["WEBFORM"] });
    let mut ws2 = session("PAYMENT_METHOD_DISPLAY");
    ws2["paymentMethod"] = json!({ "id": method_id(Behaviour::Refused(Refusal::Invalid), 1) });
    let mut apple = session("PAYMENT");
    apple["config"]["paymentMethodChannel"] = json!({ "bankAccount": ["APPLE_PAY"] });
    let malformed = "Invalid request format. Please check JSON structure and field types";
    let cases = [
        (without("PAYMENT", "payment"), "payment is required"),
        (without("WALLET", "customer"), "Customer identifier is missing"),
        (without("PAYMENT", "config"), "config.modes is required"),
        (session("NOTHING"), malformed),
        (apple, malformed),
        (bank.clone(), "Consent is required!"),
        (ws2, "Card WS2 check has failed."),
    ];
    for (body, detail) in cases {
        assert_eq!(open(&world, &body).await.problem(), problem(400, "INVALID_REQUEST", detail), "{body}");
    }
    bank["payment"]["consent"] = json!({ "merchantConsentText": "I agree" });
    assert_eq!(open(&world, &bank).await.status, 202);
    assert_eq!(open(&world, &without("PAYMENT", "customer")).await.status, 202, "a guest may pay");
    let lost = look(&world, Uuid::max()).await;
    assert_eq!(lost.problem(), problem(404, "NOT_FOUND", "Session Id not found"));
    let id = opened(&world, "PAYMENT").await;
    let foreign = world.get_request(&format!("/v2/sessions/{id}")).header("x-merchant-id", &other.to_string());
    let answer = foreign.send(world.to).await.unwrap();
    assert_eq!(answer.problem(), problem(403, "FORBIDDEN", "Not allowed to access this session"));
}
