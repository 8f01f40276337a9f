//! Webhooks, from the sandbox's courier to the client's verifier (contract §8).

use std::collections::BTreeSet;

use ccg::webhook::{ResourceKind, Verifier};
use ccg::{CancellationReason, Capture, CreateRefund, Operation};
use sandbox::{Behaviour, DisputeEnd, Fate, RefundError, ReturnCode, Switches, WalletMethod, method_id};
use serde_json::{Value, json};

use super::bodies::{self, debit, hold, sale, split, with};
use super::inbox::{Inbox, header};
use super::relay::Change;
use super::stage::{Stage, bank, card};

async fn listened(name: &str, switches: Switches) -> (Stage, Inbox) {
    let stage = Stage::with(name, switches).await;
    let inbox = stage.listens().await;
    (stage, inbox)
}

/// Lets everything of contract §8.3 happen that a server's payments can cause.
async fn everything(stage: &Stage) {
    let short = method_id(Behaviour::Disputed { days: 1, end: DisputeEnd::Won }, 1);
    stage.pays(&sale("disputed", 400, short)).await;
    stage.pays(&sale("declined", 400, method_id(Behaviour::DeclinesPlainly, 1))).await;
    stage.pays(&debit("debit", 400, bank(1))).await;
    let gone = stage.pays(&hold("cancelled", 400, card(1))).await;
    let cancel = ccg::Cancel::because(CancellationReason::Abandoned).ready().unwrap();
    stage.client.cancel_payment(&gone, &cancel).await.unwrap();
    let held = stage.pays(&hold("captured", 400, card(2))).await;
    stage.client.capture_payment(&held, &Capture::full().ready().unwrap()).await.unwrap();
    stage.client.create_refund(&CreateRefund::full("r-ok", &held).freeze().unwrap()).await.unwrap();
    let failing = method_id(Behaviour::RefundFails(RefundError::TooOld), 1);
    let failing = stage.pays(&sale("refund-fails", 400, failing)).await;
    stage.client.create_refund(&CreateRefund::full("r-failed", &failing).freeze().unwrap()).await.unwrap();
    let slow = stage.pays(&sale("refund-pends", 400, method_id(Behaviour::RefundPends { days: Some(2) }, 1))).await;
    stage.client.create_refund(&CreateRefund::full("r-slow", &slow).freeze().unwrap()).await.unwrap();
    let stubborn = method_id(Behaviour::RefundFails(RefundError::DeclinedByPartner), 1);
    let legs = stage.pays(&split("legs", [(300, card(3).to_string()), (100, stubborn.to_string())])).await;
    stage.client.create_refund(&CreateRefund::full("r-half", &legs).freeze().unwrap()).await.unwrap();
    let made = stage.takes(Operation::SetUpPaymentMethod, &bodies::set_up("setup-e", "pm_event")).await;
    let method = made.answer["data"]["paymentMethodId"].as_str().unwrap();
    let update = json!({ "nickname": "Household", "agent": bodies::agent() });
    stage.call(Operation::UpdatePaymentMethod, method, Change::body(&update)).await.unwrap();
    let replaced = stage.sandbox.replace_method(method.parse().unwrap(), None).unwrap();
    assert!(stage.sandbox.delete_method(replaced));
    stage.pass(9);
    stage.sandbox.webhooks_settled().await;
}

/// Every name, in the default spelling, with a payload that names what it is about.
#[tokio::test]
async fn every_event_is_delivered_signed_and_read() {
    let (stage, inbox) = listened("events", Switches::default()).await;
    everything(&stage).await;
    let verifier = Verifier::new(sandbox::DEFAULT_MERCHANT, &stage.sandbox.webhook_keys().unwrap()[..1]).unwrap();
    let now = stage.sandbox.clock().now();
    for (headers, body) in inbox.taken(&stage).await {
        assert_eq!(header(&headers, "content-type"), Some("application/json"));
        let refused = verifier.verify_header(header(&headers, "authorization"), now - chrono::TimeDelta::days(30));
        assert_eq!(refused, Err(ccg::webhook::Refusal::FromTheFuture), "a clock of another month believes nothing");
        let token = header(&headers, "authorization").unwrap().trim_start_matches("Bearer ");
        let claims = verifier.verify(token, issued(token)).unwrap();
        assert!(claims.issued_at.is_some() && claims.expires_at > claims.issued_at.unwrap());
        let parts: Value = serde_json::from_slice(&decoded(token, 0)).unwrap();
        assert_eq!(parts, json!({ "alg": "ES256", "typ": "JWT" }), "contract §8.1: no key id");
        let envelope: Value = serde_json::from_slice(&body).unwrap();
        let fields: Vec<&String> = envelope.as_object().unwrap().keys().collect();
        assert_eq!(fields.len(), 3, "contract §8.2: {fields:?}");
    }
    let mut names: Vec<String> = inbox.events(&stage).await.iter().map(|event| event.spelled().to_owned()).collect();
    names.sort();
    names.dedup();
    let expected = [
        "DISPUTE_CLOSED",
        "DISPUTE_CREATED",
        "DISPUTE_UPDATED",
        "PAYMENT_ACCEPTED",
        "PAYMENT_AUTHORIZED",
        "PAYMENT_CANCELLED",
        "PAYMENT_FAILED",
        "PAYMENT_METHOD_CREATED",
        "PAYMENT_METHOD_DELETED",
        "PAYMENT_METHOD_REPLACED",
        "PAYMENT_METHOD_UPDATED",
        "PAYMENT_SUCCEEDED",
        "REFUND_FAILED",
        "REFUND_PARTIAL_SUCCESS",
        "REFUND_PENDING",
        "REFUND_SUCCESS",
    ];
    assert_eq!(names, expected);
    for event in inbox.events(&stage).await {
        assert!(event.resource_id().is_some() && event.status().is_some(), "{event:?}");
        let read = match event.kind() {
            ResourceKind::Payment => event.payment().is_some_and(|payment| !payment.payment_allocations.is_empty()),
            ResourceKind::Refund => event.refund().is_some_and(|refund| refund.payment_id().is_some()),
            ResourceKind::PaymentMethod => event.payment_method().is_some_and(|method| method.id.is_some()),
            ResourceKind::Dispute => event.dispute().is_some_and(|dispute| dispute.payment_allocation_id.is_some()),
            ResourceKind::Unknown => false,
        };
        assert!(read, "{event:?}");
        if event.kind() != ResourceKind::PaymentMethod {
            assert!(event.merchant_transaction_id().is_some(), "{event:?}");
        }
    }
    let replaced =
        inbox.events(&stage).await.into_iter().find(|event| event.spelled() == "PAYMENT_METHOD_REPLACED").unwrap();
    assert!(replaced.deleted_payment_method_id().is_some_and(|old| Some(old) != replaced.resource_id()));
}

/// Version 1's flat payloads answer the same questions.
#[tokio::test]
async fn flat_payloads_of_version_1_answer_the_same_questions() {
    let mut switches = Switches::default();
    switches.set(sandbox::Switch::named("webhook-shape").unwrap(), "v1").unwrap();
    let (stage, inbox) = listened("events_v1", switches).await;
    everything(&stage).await;
    let told = inbox.events(&stage).await;
    assert!(told.len() > 15);
    for event in &told {
        assert!(event.resource_id().is_some() && event.status().is_some(), "{event:?}");
        let read = match event.kind() {
            ResourceKind::Payment => event.payment().is_some_and(|payment| payment.amount.is_some()),
            ResourceKind::Refund => event.refund().is_some_and(|refund| refund.total().is_some()),
            ResourceKind::PaymentMethod => event.payment_method().is_some(),
            ResourceKind::Dispute => event.dispute().is_some(),
            ResourceKind::Unknown => false,
        };
        assert!(read, "{event:?}");
    }
}

/// What an event says is what a question would have been answered with.
#[tokio::test]
async fn an_event_says_what_a_look_up_says() {
    let (stage, inbox) = listened("events_agree", Switches::default()).await;
    for (n, body) in [
        sale("a", 400, card(1)),
        sale("b", 400, method_id(Behaviour::DeclinesPlainly, 2)),
        hold("c", 400, card(2)),
        split("d", [(300, card(3).to_string()), (100, card(4).to_string())]),
        debit("e", 400, bank(1)),
    ]
    .iter()
    .enumerate()
    {
        inbox.empty();
        let id = stage.pays(body).await;
        stage.sandbox.webhooks_settled().await;
        let told = inbox.events(&stage).await.pop().unwrap();
        let asked = stage.look(&id).await;
        assert_eq!(told.payment(), Some(&asked), "{n}");
        assert_eq!((told.resource_id(), told.payment_id()), (Some(id.as_str()), Some(id.as_str())));
    }
}

/// Contract §8.1: both keys of a rotation are taken while both are known; afterwards the old one is not.
#[tokio::test]
async fn two_keys_are_taken_during_a_rotation() {
    let (stage, inbox) = listened("rotation", Switches::default()).await;
    let keys = stage.sandbox.webhook_keys().unwrap();
    let merchant = sandbox::DEFAULT_MERCHANT;
    let both = Verifier::new(merchant, &keys).unwrap();
    let old_only = Verifier::new(merchant, &keys[..1]).unwrap();
    stage.pays(&sale("before", 100, card(1))).await;
    stage.sandbox.webhooks_settled().await;
    stage.sandbox.rotate_webhook_key();
    stage.pays(&sale("after", 100, card(2))).await;
    stage.sandbox.webhooks_settled().await;
    let now = stage.sandbox.clock().now();
    let tokens: Vec<String> = inbox
        .taken(&stage)
        .await
        .iter()
        .map(|(headers, _)| header(headers, "authorization").unwrap().to_owned())
        .collect();
    let signed: Vec<usize> = tokens.iter().map(|token| both.verify_header(Some(token), now).unwrap().key).collect();
    assert_eq!(signed, [0, 1]);
    assert!(old_only.verify_header(Some(&tokens[0]), now).is_ok());
    assert_eq!(old_only.verify_header(Some(&tokens[1]), now), Err(ccg::webhook::Refusal::Signature));
    let other = Verifier::new(super::stage::OTHER, &keys).unwrap();
    assert_eq!(other.verify_header(Some(&tokens[0]), now), Err(ccg::webhook::Refusal::Subject));
    let later = now + chrono::TimeDelta::hours(5);
    assert_eq!(both.verify_header(Some(&tokens[0]), later), Err(ccg::webhook::Refusal::Expired));
}

/// Contract §8.1: five of the answers are final; everything else is tried again, five times inside fifty minutes.
#[tokio::test]
async fn an_event_is_tried_five_times_unless_its_refusal_is_final() {
    let (stage, inbox) = listened("retries", Switches::default()).await;
    for (n, (answer, attempts, fate)) in [
        (202, 1, Fate::Delivered),
        (204, 1, Fate::Delivered),
        (400, 1, Fate::Refused),
        (401, 1, Fate::Refused),
        (403, 1, Fate::Refused),
        (404, 1, Fate::Refused),
        (413, 1, Fate::Refused),
        (500, 5, Fate::GivenUp),
        (503, 5, Fate::GivenUp),
        (429, 5, Fate::GivenUp),
        (302, 5, Fate::GivenUp),
    ]
    .into_iter()
    .enumerate()
    {
        inbox.answers(answer);
        inbox.empty();
        let id = stage.pays(&sale(&format!("told-{n}"), 100, card(1))).await;
        // 200 s, then twice as long each time: the fifth attempt is made at the end of the fiftieth minute.
        for _ in 0..15 {
            stage.sandbox.webhooks_settled().await;
            stage.sandbox.clock().advance(std::time::Duration::from_secs(200));
        }
        stage.sandbox.webhooks_settled().await;
        let log = stage.sandbox.ledger().deliveries();
        let delivery = log.iter().find(|delivery| delivery.subject.to_string() == id).unwrap();
        assert_eq!((delivery.attempts.len(), delivery.fate), (attempts, fate), "{answer}");
        assert_eq!(inbox.taken(&stage).await.len(), attempts, "{answer}");
        let bodies: BTreeSet<_> = inbox.taken(&stage).await.into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies.len(), 1, "a repeated delivery is the same");
    }
}

/// Contract §8.4: the order of a replacement's two events is not promised, so both are read alike.
#[tokio::test]
async fn a_replacement_is_understood_in_either_order() {
    for order in ["deleted-first", "replaced-first"] {
        let mut switches = Switches::default();
        switches.set(sandbox::Switch::named("replacement-order").unwrap(), order).unwrap();
        let (stage, inbox) = listened(&format!("replacement_{order}"), switches).await;
        let old = card(50);
        stage.sandbox.fill_wallet(sandbox::DEFAULT_MERCHANT, &bodies::customer(), WalletMethod::card(old)).unwrap();
        let new = stage.sandbox.replace_method(old, None).unwrap();
        stage.sandbox.webhooks_settled().await;
        let told = inbox.events(&stage).await;
        let names: Vec<&str> = told.iter().map(|event| event.spelled()).collect();
        let first = if order == "deleted-first" { "PAYMENT_METHOD_DELETED" } else { "PAYMENT_METHOD_REPLACED" };
        assert_eq!((names.len(), names[0]), (2, first));
        let replaced = told.iter().find(|event| event.deleted_payment_method_id().is_some()).unwrap();
        assert_eq!(replaced.resource_id(), Some(new.to_string().as_str()));
        assert_eq!(replaced.deleted_payment_method_id(), Some(old.to_string().as_str()));
        let gone = stage.pays(&sale("gone", 100, old)).await;
        assert_eq!(stage.status(&gone).await, "FAILED", "the old id is not found any more");
        let paid = stage.pays(&sale("paid", 100, new)).await;
        assert_eq!(stage.status(&paid).await, "COMPLETED");
    }
}

/// Contract §4.13: a return that closes the account makes the method invalid, and a change is told.
#[tokio::test]
async fn news_of_a_bank_account_arrives_as_events_about_its_method() {
    let (stage, inbox) = listened("bank_news", Switches::default()).await;
    let owner = sandbox::DEFAULT_MERCHANT;
    let closed = method_id(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R02 }, 1);
    let moved = method_id(Behaviour::AchNoc { days: Some(1), new_id: true }, 2);
    let corrected = method_id(Behaviour::AchNoc { days: Some(1), new_id: false }, 3);
    for method in [closed, moved, corrected] {
        stage.sandbox.fill_wallet(owner, &bodies::customer(), WalletMethod::bank_account(method)).unwrap();
        stage.pays(&debit(&method.to_string(), 100, method)).await;
    }
    stage.pass(5);
    stage.sandbox.webhooks_settled().await;
    let told = inbox.events(&stage).await;
    let about = |method: uuid::Uuid, name: &str| {
        let method = method.to_string();
        told.iter().any(|event| event.spelled() == name && event.resource_id() == Some(&method))
    };
    assert!(about(closed, "PAYMENT_METHOD_UPDATED") && about(corrected, "PAYMENT_METHOD_UPDATED"));
    assert!(about(moved, "PAYMENT_METHOD_DELETED"));
    assert!(told.iter().any(|event| event.deleted_payment_method_id() == Some(&moved.to_string())));
    let found = stage.client.search_payment_methods(&super::stage::customer().ready().unwrap()).await.unwrap().value;
    let dead = found.iter().find(|method| method.id.as_deref() == Some(&closed.to_string())).unwrap();
    assert_eq!(dead.status, Some(ccg::MethodStatus::Invalidated));
    let update = stage.call(Operation::UpdatePaymentMethod, &closed.to_string(), Change::default()).await.unwrap_err();
    assert_eq!(update.evidence().detail.as_deref(), Some("Cannot update invalid payment method"));
    let source = with(sale("sourced", 100, card(1)), "/metadata", Value::Null);
    stage.relay.change(Change { body: Some(source.to_string()), ..Change::header("x-source", "desk") });
    let frozen = ccg::FrozenPayment::from_stored("sourced", source.to_string()).unwrap();
    stage.client.create_payment(&frozen).await.unwrap();
    stage.sandbox.webhooks_settled().await;
    assert_eq!(inbox.events(&stage).await.last().unwrap().source(), Some("desk"), "contract §1: the source comes back");
}

/// When a token was issued, read without believing it.
fn issued(token: &str) -> chrono::DateTime<chrono::Utc> {
    let claims: Value = serde_json::from_slice(&decoded(token, 1)).unwrap();
    chrono::DateTime::from_timestamp(claims["iat"].as_i64().unwrap(), 0).unwrap()
}

/// A part of a token, out of its unpadded base64.
fn decoded(token: &str, part: usize) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Vec::new();
    let (mut word, mut bits) = (0_u32, 0);
    for letter in token.split('.').nth(part).unwrap().bytes() {
        let six = LETTERS.iter().position(|own| *own == letter).unwrap();
        word = word << 6 | u32::try_from(six).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).unwrap());
        }
    }
    bytes
}
