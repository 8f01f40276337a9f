use sandbox::{Behaviour, Idempotency, Options, method_id};
use serde_json::json;
use uuid::Uuid;

use crate::support::{World, order};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const LIMIT: &str = "Retry limit exceeded for merchantTransactionId. Please use a new merchantTransactionId.";

async fn world(idempotency: Idempotency) -> World {
    World::with(Options { idempotency, ..Options::default() }).await
}

#[tokio::test]
async fn replay_hands_the_stored_payment_back_and_the_sixth_submission_is_refused() {
    let world = world(Idempotency::Replay).await;
    let first = world.post(&order("k", 100, CARD)).await;
    for _ in 2..=5 {
        let again = world.post(&order("k", 100, CARD)).await;
        assert_eq!((again.status, again.payment_id()), (202, first.payment_id()));
        assert_eq!(again.payment_status(), "COMPLETED", "a repeat shows the payment as it is");
    }
    for _ in 6..=7 {
        let refused = world.post(&order("k", 100, CARD)).await;
        assert_eq!(refused.problem(), (422, "UNPROCESSABLE_ENTITY".into(), LIMIT.into()));
    }
    assert_eq!(world.successes_of("k"), 1);
    assert_eq!(world.by_key("k").await.status, 200, "looking is still allowed");
    let answered: Vec<_> = world.sandbox.ledger().submissions_of("k").iter().map(|s| s.answered).collect();
    assert_eq!(answered, [202, 202, 202, 202, 202, 422, 422].map(Some));
}

#[tokio::test]
async fn replay_never_charges_a_failed_key_again() {
    let world = world(Idempotency::Replay).await;
    let card = method_id(Behaviour::declines(1), 1);
    for _ in 0..3 {
        world.post(&order("k", 100, card)).await;
    }
    assert_eq!((world.by_key("k").await.payment_status().as_str(), world.successes_of("k")), ("FAILED", 0));
}

#[tokio::test]
async fn a_new_attempt_is_made_after_a_failure_and_only_then() {
    let world = world(Idempotency::NewAttemptAfterFailed).await;
    let card = method_id(Behaviour::declines(2), 1);
    let mut seen = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 1..=6 {
        let answer = world.post(&order("k", 100, card)).await;
        let looked = world.by_key("k").await;
        seen.push((answer.status, looked.payment_status()));
        ids.insert(looked.payment_id());
    }
    let expected = [
        (202, "FAILED"),
        (202, "FAILED"),
        (202, "COMPLETED"),
        (202, "COMPLETED"),
        (202, "COMPLETED"),
        (422, "COMPLETED"),
    ];
    assert_eq!(seen.iter().map(|(code, status)| (*code, status.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!(ids.len(), 1, "one payment for one key, attempt after attempt");
    let attempts: Vec<_> = world.sandbox.ledger().payments_of("k").iter().map(|p| (p.attempt, p.successes)).collect();
    assert_eq!(attempts, [(1, 0), (2, 0), (3, 1)]);
}

#[tokio::test]
async fn five_failed_attempts_are_all_there_are() {
    let world = world(Idempotency::NewAttemptAfterFailed).await;
    for n in 1..=6 {
        let answer = world.post(&order("k", 100, method_id(Behaviour::DeclinesPlainly, 1))).await;
        assert_eq!(answer.status, if n <= 5 { 202 } else { 422 });
    }
    assert_eq!(world.sandbox.ledger().payments_of("k").len(), 5);
}

#[tokio::test]
async fn a_duplicate_is_rejected_when_so_read() {
    let world = world(Idempotency::RejectDuplicate).await;
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 202);
    for _ in 0..6 {
        let refused = world.post(&order("k", 100, CARD)).await;
        assert_eq!(refused.problem(), (403, "FORBIDDEN".into(), "MerchantTransaction Id cannot be reused".into()));
    }
    assert_eq!(world.successes_of("k"), 1);
}

#[tokio::test]
async fn the_reading_can_be_changed_while_it_runs() {
    let world = world(Idempotency::Replay).await;
    world.post(&order("k", 100, CARD)).await;
    let body = json!({ "idempotency": "reject-duplicate" });
    assert_eq!(world.admin("/sandbox/idempotency", &body).await.status, 200);
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 403);
    world.sandbox.set_idempotency(Idempotency::Replay);
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 202);
    assert_eq!(world.admin("/sandbox/idempotency", &json!({ "idempotency": "maybe" })).await.status, 400);
}

#[tokio::test]
async fn a_key_whose_body_changes_is_reported_and_charged_as_first_asked() {
    let world = world(Idempotency::Replay).await;
    world.post(&order("same", 100, CARD)).await;
    world.post(&order("same", 100, CARD)).await;
    world.post(&order("changed", 100, CARD)).await;
    world.post(&order("changed", 999, CARD)).await;
    let ledger = world.sandbox.ledger();
    assert_eq!(ledger.keys_with_changed_bodies(), ["changed"]);
    assert_eq!(ledger.total_collected("USD"), 200);
    assert!(ledger.submissions_of("changed")[1].body.is_some());
}

#[tokio::test]
async fn a_hundred_submissions_at_once_make_one_payment() {
    let world = world(Idempotency::Replay).await;
    let body = order("k", 100, CARD);
    let request = world.post_request(&body);
    let to = world.to;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let request = request.clone();
            tokio::spawn(async move { request.send(to).await.unwrap().status })
        })
        .collect();
    let mut accepted = 0;
    for task in tasks {
        accepted += u32::from(task.await.unwrap() == 202);
    }
    assert_eq!(accepted, 5);
    assert_eq!(world.successes_of("k"), 1);
    assert_eq!(world.sandbox.ledger().submissions_by_key()["k"], 100);
}
