//! Contract §8: what is told, how it is signed, and what goes wrong on the way.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey as _;
use sandbox::{
    Behaviour, DEFAULT_MERCHANT, DisputeEnd, DisputeStatus, Fate, Faults, Options, RefundError, ReturnCode,
    WalletMethod, WebhookOptions, method_id,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::support::{World, bank_order, hold, order, split};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const BANK: Uuid = method_id(Behaviour::AchSettles { days: None }, 1);
const DAY: Duration = Duration::from_secs(86_400);

/// A merchant's receiver: keeps what it gets and answers as it is told, 202 otherwise.
#[derive(Clone, Default)]
pub(crate) struct Receiver(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    got: Vec<(HeaderMap, Bytes)>,
    answers: VecDeque<u16>,
    always: Option<u16>,
}

impl Receiver {
    pub(crate) async fn start() -> (Self, String) {
        let receiver = Self::default();
        let own = receiver.clone();
        let take = move |headers: HeaderMap, body: Bytes| {
            let mut inside = own.0.lock().unwrap();
            inside.got.push((headers, body));
            let status = inside.answers.pop_front().or(inside.always).unwrap_or(202);
            async move { StatusCode::from_u16(status).unwrap() }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks/ccg", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/webhooks/ccg", post(take));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.bodies().iter().map(|body| body["name"].as_str().unwrap().to_owned()).collect()
    }

    fn bodies(&self) -> Vec<Value> {
        self.0.lock().unwrap().got.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }

    fn last_raw(&self) -> (HeaderMap, Bytes) {
        self.0.lock().unwrap().got.last().cloned().unwrap()
    }

    fn last(&self) -> (HeaderMap, Value) {
        let (headers, body) = self.last_raw();
        (headers, serde_json::from_slice(&body).unwrap())
    }

    pub(crate) fn last_payload(&self) -> Value {
        self.last().1["payload"].clone()
    }

    fn answer(&self, statuses: &[u16]) {
        self.0.lock().unwrap().answers.extend(statuses);
    }

    fn always(&self, status: Option<u16>) {
        self.0.lock().unwrap().always = status;
    }

    fn forget(&self) {
        self.0.lock().unwrap().got.clear();
    }
}

async fn listening(webhooks: WebhookOptions) -> (World, Receiver) {
    let (receiver, url) = Receiver::start().await;
    let webhooks = WebhookOptions { url: Some(url), ..webhooks };
    (World::turned(Options { webhooks, ..Options::default() }).await, receiver)
}

async fn told(world: &World, receiver: &Receiver) -> Vec<String> {
    world.sandbox.webhooks_settled().await;
    let names = receiver.names();
    receiver.forget();
    names
}

fn claims(token: &str, pem: &str) -> Option<Value> {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    VerifyingKey::from_public_key_pem(pem).unwrap().verify(message.as_bytes(), &signature).ok()?;
    Some(part(token, 1))
}

/// A part of a token, counted from 0, as JSON.
fn part(token: &str, n: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()).unwrap()
}

fn bearer(headers: &HeaderMap) -> &str {
    headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap()
}

#[tokio::test]
async fn every_event_of_a_payment_is_told_when_it_happens() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    world.post(&order("paid", 100, CARD)).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED"]);
    world.post(&order("declined", 100, method_id(Behaviour::DeclinesPlainly, 1))).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_FAILED"]);
    world.post(&bank_order("bank", 100, BANK)).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_ACCEPTED"]);
    world.sandbox.clock().advance(3 * DAY);
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED"]);
    let id = world.pay(&hold("captured", 100, CARD)).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_AUTHORIZED"]);
    world.call("PATCH", &format!("/v2/payments/{id}/capture"), &json!({})).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED"]);
    world.post(&hold("expired", 100, CARD)).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_AUTHORIZED"]);
    world.sandbox.clock().advance(7 * DAY);
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_CANCELLED"], "and nothing of the captured one");
    let id = world.pay(&hold("cancelled", 100, CARD)).await;
    let reason = json!({ "paymentCancellationReason": "FRAUDULENT" });
    world.call("PATCH", &format!("/v2/payments/{id}/cancel"), &reason).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_AUTHORIZED", "PAYMENT_CANCELLED"]);
    world.switch("split-tender", "mixed").await;
    world.switch("rollback-event", "refunded").await;
    let back = method_id(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R01 }, 1);
    world.post(&split("split", [(100, BANK), (200, back)])).await;
    world.sandbox.clock().advance(2 * DAY);
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_ACCEPTED", "PAYMENT_FAILED", "PAYMENT_REFUNDED"]);
    world.sandbox.clock().advance(7 * DAY);
    assert!(told(&world, &receiver).await.is_empty());
    let fates: BTreeSet<_> = world.sandbox.ledger().deliveries().iter().map(|delivery| delivery.fate).collect();
    assert_eq!(
        fates,
        BTreeSet::from([Fate::Delivered, Fate::Dropped]),
        "holds that were captured or cancelled do not expire"
    );
}

#[tokio::test]
async fn an_event_shows_the_payment_as_it_stood_then_and_gives_its_source_back() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    let request = world.post_request(&hold("k", 1000, CARD)).header("x-source", "shop 1");
    let id = request.send(world.to).await.unwrap().payment_id();
    world.call("PATCH", &format!("/v2/payments/{id}/capture"), &json!({ "amount": 400 })).await;
    world.sandbox.webhooks_settled().await;
    let bodies = receiver.bodies();
    let shown: Vec<_> = bodies
        .iter()
        .map(|body| {
            let payload = &body["payload"];
            (body["name"].clone(), payload["status"].clone(), payload["capturedAmount"].clone(), body["source"].clone())
        })
        .collect();
    let expected = [
        (json!("PAYMENT_AUTHORIZED"), json!("AUTHORIZED"), json!(0), json!("shop 1")),
        (json!("PAYMENT_SUCCEEDED"), json!("COMPLETED"), json!(400), json!("shop 1")),
    ];
    assert_eq!(shown, expected);
    assert_eq!(
        bodies[1]["payload"]["paymentAllocations"][0].get("paymentMethod").map(|m| m["id"].clone()),
        Some(json!(CARD))
    );
    world.switch("webhook-shape", "v1").await;
    world.post(&order("flat", 100, CARD)).await;
    world.sandbox.webhooks_settled().await;
    let payload = receiver.last().1["payload"].clone();
    assert_eq!((payload.get("paymentAllocations"), &payload["paymentMethodId"]), (None, &json!(CARD)));
    assert_eq!(receiver.last().1["source"], Value::Null);
}

#[tokio::test]
async fn a_delivery_carries_a_token_of_the_merchant_signed_by_the_key_of_the_day() {
    let (world, receiver) = listening(WebhookOptions { token_life_s: 3_600, ..WebhookOptions::default() }).await;
    let [current, next] = world.sandbox.webhook_keys().unwrap();
    world.post(&order("k", 100, CARD)).await;
    world.sandbox.webhooks_settled().await;
    let (headers, _) = receiver.last();
    assert_eq!(part(bearer(&headers), 0), json!({ "alg": "ES256", "typ": "JWT" }));
    let now = world.sandbox.clock().now().timestamp();
    let expected = json!({ "sub": DEFAULT_MERCHANT, "iat": now, "exp": now + 3_600 });
    assert_eq!(claims(bearer(&headers), &current), Some(expected));
    assert_eq!(claims(bearer(&headers), &next), None);
    assert_eq!(headers.get("x-payload-signature"), None);
    let keys = world.admin("/sandbox/webhooks/rotate", &json!({})).await.json();
    assert_eq!(keys["current"], next);
    world.switch("webhook-signature", "payload").await;
    world.post(&order("k2", 100, CARD)).await;
    world.sandbox.webhooks_settled().await;
    let (headers, body) = receiver.last_raw();
    assert_eq!(claims(bearer(&headers), &current), None);
    assert!(claims(bearer(&headers), &next).is_some());
    let seal = claims(headers["x-payload-signature"].to_str().unwrap(), &next).unwrap();
    assert_eq!(seal["body_sha256"], hex::encode(Sha256::digest(&body)));
    assert_eq!(world.read("/sandbox/webhooks/keys").await.json()["current"], next);
}

#[tokio::test]
async fn a_failing_receiver_is_tried_five_times_in_fifty_minutes() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    receiver.always(Some(503));
    world.post(&order("k", 100, CARD)).await;
    let mut tries = Vec::new();
    for minute in 0..=60 {
        tries.extend(told(&world, &receiver).await.iter().map(|_| minute));
        world.sandbox.clock().advance(Duration::from_secs(60));
    }
    assert_eq!(tries, [0, 4, 11, 25, 52], "each wait twice the one before, on the first minute that is late enough");
    let delivery = world.sandbox.ledger().deliveries().remove(0);
    assert_eq!((delivery.fate, delivery.attempts.len()), (Fate::GivenUp, 5));
    assert!(delivery.attempts.iter().all(|attempt| attempt.answered == Some(503)));
    receiver.always(None);
    world.sandbox.clock().advance(10 * DAY);
    assert!(told(&world, &receiver).await.is_empty(), "it is lost for good");
}

#[tokio::test]
async fn some_answers_are_final_and_others_are_tried_again() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    for (n, (status, fate)) in [
        (400, Fate::Refused),
        (401, Fate::Refused),
        (403, Fate::Refused),
        (404, Fate::Refused),
        (413, Fate::Refused),
        (200, Fate::Delivered),
        (500, Fate::Waiting),
        (429, Fate::Waiting),
        (302, Fate::Waiting),
    ]
    .into_iter()
    .enumerate()
    {
        receiver.answer(&[status]);
        world.post(&order(&format!("k{n}"), 100, CARD)).await;
        world.sandbox.webhooks_settled().await;
        assert_eq!(world.sandbox.ledger().deliveries()[n].fate, fate, "{status}");
    }
    world.sandbox.clock().advance(Duration::from_secs(200));
    world.sandbox.webhooks_settled().await;
    assert!(world.sandbox.ledger().deliveries()[6..].iter().all(|delivery| delivery.fate == Fate::Delivered));
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_or_is_not_there_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/", listener.local_addr().unwrap());
    let webhooks = WebhookOptions { url: Some(silent), timeout_ms: 50, ..WebhookOptions::default() };
    let world = World::turned(Options { webhooks, ..Options::default() }).await;
    world.post(&order("k", 100, CARD)).await;
    world.sandbox.webhooks_settled().await;
    let delivery = world.sandbox.ledger().deliveries().remove(0);
    assert_eq!((delivery.fate, delivery.attempts[0].answered), (Fate::Waiting, None));
    drop(listener);
    world.sandbox.clock().advance(Duration::from_secs(200));
    world.sandbox.webhooks_settled().await;
    assert_eq!(world.sandbox.ledger().deliveries()[0].attempts.len(), 2);
    let (receiver, url) = Receiver::start().await;
    world.sandbox.set_webhooks(WebhookOptions { url: Some(url), ..WebhookOptions::default() }).unwrap();
    world.sandbox.clock().advance(Duration::from_secs(400));
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED"]);
}

#[tokio::test]
async fn events_are_lost_doubled_and_late_as_the_seed_says() {
    let run = |seed: u64| async move {
        let (receiver, url) = Receiver::start().await;
        let webhooks = WebhookOptions {
            url: Some(url),
            loss: 0.2,
            duplicate: 0.2,
            delay: 0.2,
            delay_ms: 1_000,
            ..WebhookOptions::default()
        };
        let world = World::turned(Options { webhooks, seed, ..Options::default() }).await;
        for n in 0..100 {
            world.post(&order(&format!("k{n}"), 100, CARD)).await;
        }
        world.sandbox.webhooks_settled().await;
        let at_once = receiver.bodies().len();
        world.sandbox.clock().advance(Duration::from_secs(1));
        world.sandbox.webhooks_settled().await;
        let keys: Vec<_> =
            receiver.bodies().iter().map(|body| body["payload"]["merchantTransactionId"].to_string()).collect();
        let lost = world.sandbox.ledger().deliveries().iter().filter(|row| row.fate == Fate::Lost).count();
        let copies = world.sandbox.ledger().deliveries().iter().filter(|row| row.copy).count();
        (keys, at_once, lost, copies)
    };
    let (keys, at_once, lost, copies) = run(5).await;
    let different: BTreeSet<_> = keys.iter().collect();
    assert!((5..40).contains(&lost) && (5..40).contains(&copies), "{lost} lost, {copies} doubled");
    assert_eq!((different.len(), keys.len()), (100 - lost, 100 - lost + copies));
    assert!(at_once < keys.len(), "some came late");
    assert_eq!(run(5).await.0, keys, "a seed decides it all");
    assert_ne!(run(6).await.0, keys);
}

#[tokio::test]
async fn an_event_can_be_overtaken_by_the_next() {
    let (world, receiver) = listening(WebhookOptions { reorder: 0.5, ..WebhookOptions::default() }).await;
    for n in 0..20 {
        world.post(&bank_order(&format!("k{n}"), 100, method_id(Behaviour::AchSettles { days: Some(1) }, n))).await;
        world.sandbox.webhooks_settled().await;
    }
    world.sandbox.clock().advance(DAY);
    world.sandbox.webhooks_settled().await;
    world.sandbox.clock().advance(Duration::from_secs(60));
    world.sandbox.webhooks_settled().await;
    let bodies = receiver.bodies();
    assert_eq!(bodies.len(), 40, "held, not lost");
    let order: Vec<_> = bodies
        .iter()
        .map(|body| (body["name"].clone(), body["payload"]["merchantTransactionId"].as_str().unwrap().to_owned()))
        .map(|(name, key)| (name == "PAYMENT_SUCCEEDED", key[1..].parse::<u32>().unwrap()))
        .collect();
    assert!(!order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn refunds_are_told_under_both_names_of_their_id() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    let failing = method_id(Behaviour::RefundFails(RefundError::TooOld), 1);
    let pending = method_id(Behaviour::RefundPends { days: Some(1) }, 1);
    for (key, body) in [
        ("good", order("good", 100, CARD)),
        ("bad", order("bad", 100, failing)),
        ("slow", order("slow", 100, pending)),
        ("half", split("half", [(50, CARD), (50, failing)])),
    ] {
        let id = world.pay(&body).await;
        world.call("POST", "/v2/refunds", &json!({ "merchantTransactionId": key, "paymentId": id })).await;
    }
    world.sandbox.clock().advance(DAY);
    let names: Vec<_> = told(&world, &receiver).await.into_iter().filter(|name| name.starts_with("REFUND")).collect();
    let expected = ["REFUND_SUCCESS", "REFUND_FAILED", "REFUND_PENDING", "REFUND_PARTIAL_SUCCESS", "REFUND_SUCCESS"];
    assert_eq!(names.iter().collect::<BTreeSet<_>>(), expected.map(str::to_owned).iter().collect());
    assert_eq!(names.len(), 5);
    let id = world.pay(&order("again", 100, CARD)).await;
    world.call("POST", "/v2/refunds", &json!({ "merchantTransactionId": "again", "paymentId": id })).await;
    world.sandbox.webhooks_settled().await;
    let payload = receiver.last().1["payload"].clone();
    assert_eq!(payload["id"], payload["refundId"]);
    assert_eq!((&payload["merchantTransactionId"], &payload["status"]), (&json!("again"), &json!("COMPLETED")));
}

#[tokio::test]
async fn wallets_tell_of_every_change_in_the_order_of_the_switch() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    let customer = json!({ "enterpriseId": "77", "firstName": "A" });
    let stored = |n: u64| {
        let id = method_id(Behaviour::Pays, n);
        world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer, WalletMethod::card(id)).unwrap();
        id
    };
    let (first, second, third) = (stored(1), stored(2), stored(3));
    assert!(told(&world, &receiver).await.is_empty(), "an import tells nobody");
    let new = world.sandbox.replace_method(first, None).unwrap();
    world.sandbox.webhooks_settled().await;
    let body = receiver.last().1;
    assert_eq!(receiver.names(), ["PAYMENT_METHOD_DELETED", "PAYMENT_METHOD_REPLACED"]);
    let payload = &body["payload"];
    assert_eq!((&payload["deletedPaymentMethodId"], &payload["paymentMethod"]["id"]), (&json!(first), &json!(new)));
    assert_eq!(payload["customer"], json!({ "enterpriseIdentifier": "77", "firstName": "A" }));
    receiver.forget();
    world.switch("replacement-order", "replaced-first").await;
    world.sandbox.replace_method(second, None).unwrap();
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_METHOD_REPLACED", "PAYMENT_METHOD_DELETED"]);
    assert!(world.sandbox.invalidate_method(third));
    assert!(world.sandbox.delete_method(third));
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_METHOD_UPDATED", "PAYMENT_METHOD_DELETED"]);
    for token in ["pm_1", "pm_2"] {
        let id = method_id(Behaviour::Pays, 9);
        let body = json!({
            "requestId": token, "customer": customer, "paymentMethod": { "vendorPaymentMethodId": format!("{token}{id}") }
        });
        assert_eq!(world.call("POST", "/v1/token/setup-payment-methods", &body).await.status, 202);
    }
    let expected = ["PAYMENT_METHOD_CREATED", "PAYMENT_METHOD_CREATED", "PAYMENT_METHOD_UPDATED"];
    assert_eq!(told(&world, &receiver).await, expected, "a duplicate tells both");
}

#[tokio::test]
async fn disputes_are_told_from_their_opening_to_their_end() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    let scripted = method_id(Behaviour::Disputed { days: 10, end: DisputeEnd::Lost }, 1);
    let id = world.pay(&order("scripted", 500, scripted)).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED"]);
    world.sandbox.clock().advance(10 * DAY);
    world.sandbox.webhooks_settled().await;
    let payload = receiver.last().1["payload"].clone();
    let part = world.by_id(&id).await.json()["data"]["paymentAllocations"][0]["id"].clone();
    let expected = json!({
        "id": payload["id"], "paymentAllocationId": part, "paymentId": id, "merchantTransactionId": "scripted",
        "merchantId": DEFAULT_MERCHANT, "amount": 500, "currencyCode": "USD", "reason": "FRAUDULENT",
        "status": "NEEDS_RESPONSE"
    });
    assert_eq!(payload, expected);
    world.sandbox.clock().advance(7 * DAY);
    assert_eq!(told(&world, &receiver).await, ["DISPUTE_CREATED", "DISPUTE_UPDATED", "DISPUTE_CLOSED"]);
    let disputes = world.sandbox.ledger().disputes();
    assert_eq!((disputes.len(), disputes[0].status), (1, DisputeStatus::Lost));
    assert_eq!(world.sandbox.ledger().net_collected("USD"), 0);

    let id = world.pay(&order("asked", 300, CARD)).await;
    let opened = world.admin(&format!("/sandbox/payments/{id}/dispute"), &json!({ "reason": "GENERAL" })).await;
    let dispute = opened.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/sandbox/disputes/{dispute}/close");
    assert_eq!(world.admin(&path, &json!({ "won": true })).await.status, 200);
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED", "DISPUTE_CREATED", "DISPUTE_CLOSED"]);
    assert_eq!(world.admin(&path, &json!({ "won": true })).await.status, 422);
    assert_eq!(world.by_id(&id).await.payment_status(), "COMPLETED", "the payment does not change");
    assert_eq!(world.sandbox.ledger().net_collected("USD"), 300, "withdrawn and given back");
}

#[tokio::test]
async fn a_dispute_that_is_closed_early_ends_once() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    let scripted = method_id(Behaviour::Disputed { days: 1, end: DisputeEnd::Lost }, 1);
    world.pay(&order("k", 500, scripted)).await;
    world.sandbox.clock().advance(DAY);
    world.sandbox.webhooks_settled().await;
    let dispute = world.sandbox.ledger().disputes()[0].id;
    world.sandbox.close_dispute(dispute, true).unwrap();
    world.sandbox.clock().advance(30 * DAY);
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED", "DISPUTE_CREATED", "DISPUTE_CLOSED"]);
    assert_eq!(world.sandbox.ledger().disputes()[0].status, DisputeStatus::Won);
}

#[tokio::test]
async fn both_spellings_of_an_event_can_be_asked_for() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    let reason = json!({ "paymentCancellationReason": "ABANDONED" });
    for (n, (succeeded, cancelled, expected)) in [
        ("succeeded", "cancelled", vec!["PAYMENT_SUCCEEDED", "PAYMENT_AUTHORIZED", "PAYMENT_CANCELLED"]),
        ("misspelt", "canceled", vec!["PAYMENT_SUCCEDED", "PAYMENT_AUTHORIZED", "PAYMENT_CANCELED"]),
        (
            "both",
            "both",
            vec![
                "PAYMENT_SUCCEDED",
                "PAYMENT_SUCCEEDED",
                "PAYMENT_AUTHORIZED",
                "PAYMENT_CANCELED",
                "PAYMENT_CANCELLED",
            ],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        world.switch("succeeded-event", succeeded).await;
        world.switch("cancelled-event", cancelled).await;
        world.post(&order(&format!("paid{n}"), 100, CARD)).await;
        let id = world.pay(&hold(&format!("held{n}"), 100, CARD)).await;
        world.call("PATCH", &format!("/v2/payments/{id}/cancel"), &reason).await;
        assert_eq!(told(&world, &receiver).await, expected);
    }
}

#[tokio::test]
async fn webhooks_begin_and_end_when_they_are_told_to() {
    let world = World::turned(Options::default()).await;
    let (receiver, url) = Receiver::start().await;
    world.post(&order("before", 100, CARD)).await;
    world.post(&bank_order("bank", 100, BANK)).await;
    assert_eq!(world.admin("/sandbox/webhooks", &json!({ "loss": 2 })).await.status, 400);
    assert_eq!(world.admin("/sandbox/webhooks", &json!({ "url": "ftp://x" })).await.status, 400);
    world.sandbox.clock().advance(Duration::from_secs(1));
    let set = world.admin("/sandbox/webhooks", &json!({ "url": url, "duplicate": 1.0 })).await;
    assert_eq!((set.status, set.json()["duplicate"].as_f64()), (200, Some(1.0)));
    world.sandbox.clock().advance(3 * DAY);
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED"; 2], "what happened before is nobody's business");
    assert_eq!(world.admin("/sandbox/webhooks", &json!({})).await.status, 200);
    world.post(&order("after", 100, CARD)).await;
    crate::support::wait_ms(20).await;
    assert!(receiver.names().is_empty());
    assert_eq!(world.read("/sandbox/webhooks").await.json()["url"], Value::Null);
}

#[tokio::test]
async fn a_real_clock_delivers_without_being_turned() {
    let (receiver, url) = Receiver::start().await;
    let webhooks = WebhookOptions { url: Some(url), ..WebhookOptions::default() };
    let settle = Duration::from_millis(60);
    let world = World::with(Options { webhooks, settle, ..Options::default() }).await;
    world.post(&order("k", 100, CARD)).await;
    while receiver.names().is_empty() {
        crate::support::wait_ms(5).await;
    }
    assert_eq!(receiver.names(), ["PAYMENT_SUCCEEDED"]);
    assert_eq!(world.by_key("k").await.payment_status(), "COMPLETED", "not told before it was so");
}

#[tokio::test]
async fn a_doubled_charge_and_a_late_one_are_told_like_any_other() {
    let (world, receiver) = listening(WebhookOptions::default()).await;
    world.sandbox.fail_next_post(sandbox::Fault::DuplicateCharge);
    world.post(&order("twice", 100, CARD)).await;
    assert_eq!(told(&world, &receiver).await, ["PAYMENT_SUCCEEDED"; 2]);
    world.sandbox.set_faults(Faults { late_commit_ms: 10, ..Faults::none() });
    world.sandbox.fail_next_post(sandbox::Fault::LateCommit);
    assert!(world.try_post(&order("late", 100, CARD)).await.is_err());
    while world.successes_of("late") == 0 || receiver.names().is_empty() {
        crate::support::wait_ms(5).await;
    }
    assert_eq!(receiver.names(), ["PAYMENT_SUCCEEDED"]);
}
