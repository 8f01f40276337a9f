//! What survives a crash beside payments: captures, refunds, wallets, sessions, and webhooks that were not yet told.

use std::path::Path;
use std::time::Duration;

use sandbox::{
    Behaviour, DEFAULT_MERCHANT, Journal, MethodStatus, Options, SandboxClock, SessionOutcome, WalletMethod,
    WebhookOptions, method_id,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{World, bank_order, hold, new_year, order};
use crate::webhooks::Receiver;

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const OTHER: Uuid = method_id(Behaviour::Pays, 2);
const DAY: Duration = Duration::from_secs(86_400);

fn options(journal: &Path, clock: &SandboxClock, url: Option<String>) -> Options {
    let webhooks = WebhookOptions { url, ..WebhookOptions::default() };
    Options { journal: Some(journal.to_owned()), clock: clock.clone(), webhooks, ..Options::default() }
}

#[tokio::test]
async fn everything_that_was_done_is_still_so_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let clock = SandboxClock::turned(new_year());
    let world = World::with(options(&path, &clock, None)).await;
    let captured = world.pay(&hold("captured", 1000, CARD)).await;
    assert_eq!(
        world.call("PATCH", &format!("/v2/payments/{captured}/capture"), &json!({ "amount": 700 })).await.status,
        202
    );
    let cancelled = world.pay(&hold("cancelled", 1000, CARD)).await;
    let reason = json!({ "paymentCancellationReason": "DUPLICATE" });
    assert_eq!(world.call("PATCH", &format!("/v2/payments/{cancelled}/cancel"), &reason).await.status, 202);
    let refund = json!({ "merchantTransactionId": "r", "paymentId": captured, "amount": 300 });
    let refund = world.call("POST", "/v2/refunds", &refund).await.payment_id();
    let disputed = world.pay(&order("disputed", 500, CARD)).await;
    world.sandbox.open_dispute(disputed.parse().unwrap(), 0, "GENERAL").unwrap();
    let customer = json!({ "enterpriseId": "77" });
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer, WalletMethod::card(CARD)).unwrap();
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer, WalletMethod::card(OTHER)).unwrap();
    assert!(world.sandbox.invalidate_method(OTHER));
    let token = json!({
        "requestId": "q", "customer": customer, "paymentMethod": { "vendorPaymentMethodId": "tok_1" }
    });
    assert_eq!(world.call("POST", "/v1/token/setup-payment-methods", &token).await.status, 202);
    let session = json!({ "customer": customer, "config": { "modes": ["WALLET"] } });
    let session: Uuid = world.call("POST", "/v2/sessions", &session).await.json()["data"]["sessionId"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(world.sandbox.play_session(session, SessionOutcome::Completed));
    // The last of these has to be durable before the crash: a submission is.
    world.post(&order("last", 1, CARD)).await;
    let before = world.sandbox.ledger();
    let (payments, refunds, calls) = (before.payments(), before.refunds(), before.calls());
    let (movements, disputes) = (before.movements(), before.disputes());
    world.sandbox.crash().await;

    let world = World::with(options(&path, &clock, None)).await;
    let after = world.sandbox.ledger();
    assert_eq!(after.payments(), payments);
    assert_eq!((after.refunds(), after.calls()), (refunds, calls));
    assert_eq!((after.movements(), after.disputes()), (movements, disputes));
    assert_eq!(world.by_id(&captured).await.json()["data"]["capturedAmount"], 700);
    assert_eq!(world.by_id(&cancelled).await.payment_status(), "CANCELLED");
    assert_eq!(world.get(&format!("/v2/refunds/{refund}")).await.payment_status(), "COMPLETED");
    let again = json!({ "merchantTransactionId": "r", "paymentId": captured });
    assert_eq!(world.call("POST", "/v2/refunds", &again).await.problem().2, "merchantTransactionId already used");
    assert_eq!(world.sandbox.stored_method(OTHER).unwrap().status, MethodStatus::Invalidated);
    world.post(&order("dead", 100, OTHER)).await;
    assert_eq!(world.by_key("dead").await.payment_status(), "FAILED");
    let answer = world.call("POST", "/v1/token/setup-payment-methods", &token).await;
    assert_eq!(answer.problem().2, "VendorPaymentMethodId cannot be reused");
    assert_eq!(world.get(&format!("/v2/sessions/{session}")).await.payment_status(), "COMPLETED");
}

#[tokio::test]
async fn the_journal_alone_knows_captures_cancellations_and_refunds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let clock = SandboxClock::turned(new_year());
    let world = World::with(options(&path, &clock, None)).await;
    let captured = world.pay(&hold("captured", 1000, CARD)).await;
    world.call("PATCH", &format!("/v2/payments/{captured}/capture"), &json!({ "amount": 700 })).await;
    let debit = world.pay(&bank_order("debit", 400, method_id(Behaviour::AchSettles { days: None }, 1))).await;
    let reason = json!({ "paymentCancellationReason": "DUPLICATE" });
    world.call("PATCH", &format!("/v2/payments/{debit}/cancel"), &reason).await;
    world.post(&hold("open", 900, CARD)).await;
    let refund = json!({ "merchantTransactionId": "r", "paymentId": captured, "amount": 300 });
    world.call("POST", "/v2/refunds", &refund).await;
    clock.advance(10 * DAY);
    let ledger = world.sandbox.ledger();
    let (successes, total) = (ledger.successes_by_key(), ledger.total_collected("USD"));
    world.sandbox.stop().await;
    let journal = Journal::read(&path).unwrap();
    assert_eq!((journal.successes_by_key(None), journal.total_collected("USD", None)), (successes, total));
    assert_eq!(total, 700);
    assert_eq!(journal.refunds_by_key()["r"], 1);
    let refunds: Vec<_> = journal.refunds().collect();
    assert_eq!((refunds[0].amount_minor, refunds[0].payment_id), (300, Some(captured.parse().unwrap())));
}

#[tokio::test]
async fn a_webhook_that_was_not_told_before_a_crash_is_told_after_it_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let clock = SandboxClock::turned(new_year());
    let (receiver, url) = Receiver::start().await;
    let world = World::with(options(&path, &clock, Some(url.clone()))).await;
    world.post(&order("told", 100, CARD)).await;
    world.post(&bank_order("later", 100, method_id(Behaviour::AchSettles { days: None }, 1))).await;
    world.sandbox.webhooks_settled().await;
    assert_eq!(receiver.names(), ["PAYMENT_SUCCEEDED", "PAYMENT_ACCEPTED"]);
    // A receiver that is not there: the event stays to be told.
    let nowhere = WebhookOptions { url: Some("http://127.0.0.1:1/".to_owned()), ..WebhookOptions::default() };
    world.sandbox.set_webhooks(nowhere).unwrap();
    world.post(&order("unheard", 100, CARD)).await;
    assert!(world.sandbox.delete_method(OTHER));
    world.sandbox.webhooks_settled().await;
    world.sandbox.rotate_webhook_key();
    let keys = world.sandbox.webhook_keys().unwrap();
    world.sandbox.stop().await;

    clock.advance(3 * DAY);
    let world = World::with(options(&path, &clock, Some(url))).await;
    assert_eq!(world.sandbox.webhook_keys().unwrap(), keys, "a rotation survives");
    world.sandbox.webhooks_settled().await;
    let mut names = receiver.names().split_off(2);
    names.sort();
    assert_eq!(names, ["PAYMENT_METHOD_DELETED", "PAYMENT_SUCCEEDED", "PAYMENT_SUCCEEDED"]);
    world.sandbox.crash().await;
}

#[tokio::test]
async fn a_journal_of_the_first_version_is_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let text = concat!(
        r#"{"event":"start","at_us":1767225600000000,"real_us":1,"version":1,"seed":1}"#,
        "\n",
        r#"{"event":"post","at_us":1767225600000000,"real_us":1,"merchant":"11111111-1111-4111-8111-111111111111","#,
        r#""key":"old","number":1,"processed":1,"sha256":"00","answered":202,"payments":[{"id":"#,
        r#""7b0c3e7e-5c1c-5c1c-8c1c-7b0c3e7e5c1c","attempt":1,"amount":250,"currency":"USD","allocations":[{"method":"#,
        r#""5a4db0c5-0000-8000-8000-000000000001","amount":250}],"made_us":1767225600000000,"made_real_us":1,"#,
        r#""ends_us":1767225600000000,"end":"completed"}]}"#,
        "\n"
    );
    std::fs::write(&path, text).unwrap();
    assert_eq!(Journal::read(&path).unwrap().total_collected("USD", None), 250);
    let world = World::with(options(&path, &SandboxClock::turned(new_year()), None)).await;
    assert_eq!(world.by_key("old").await.payment_status(), "COMPLETED");
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 250);
}
