use std::io::ErrorKind;
use std::time::{Duration, Instant};

use sandbox::{Behaviour, Fault, Faults, Options, RetryAfter, Sandbox, method_id};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::{Answer, World, order, token, wait_ms};

const CARD: Uuid = method_id(Behaviour::Pays, 1);

/// A world that is healthy while the token is fetched and broken from then on.
async fn broken(faults: Faults) -> World {
    let world = World::new().await;
    world.sandbox.set_faults(faults);
    world
}

fn heal(sandbox: &Sandbox) {
    sandbox.set_faults(Faults::none());
}

fn is_dead(result: std::io::Result<Answer>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        }
    }
}

#[tokio::test]
async fn refused_closes_the_connection_before_a_byte_is_read() {
    let world = broken(Faults::only(Fault::Refused, 1.0)).await;
    let mut stream = TcpStream::connect(world.to).await.unwrap();
    let mut byte = [0];
    assert!(!matches!(stream.read(&mut byte).await, Ok(1)), "nothing is ever said");
    assert!(is_dead(world.try_post(&order("k", 100, CARD)).await));
    heal(&world.sandbox);
    assert_eq!(world.sandbox.ledger().summary().submissions, 0);
    assert_eq!(world.sandbox.ledger().summary().refused_connections, 2);
    assert_eq!(world.by_key("k").await.status, 404);
}

#[tokio::test]
async fn a_cut_before_commit_makes_nothing_and_kills_the_connection() {
    let world = broken(Faults::only(Fault::CutBeforeCommit, 1.0)).await;
    for n in 0..8 {
        assert!(is_dead(world.try_post(&order(&format!("k{n}"), 100, CARD)).await));
    }
    assert_eq!(world.by_key("k1").await.status, 404);
    heal(&world.sandbox);
    assert_eq!(world.post(&order("k1", 100, CARD)).await.status, 202);
    assert_eq!(world.sandbox.ledger().success_count(), 1);
    let seen: Vec<_> =
        world.sandbox.ledger().submissions_of("k1").iter().map(|s| (s.number, s.answered, s.fault)).collect();
    assert_eq!(seen, [(1, None, Some(Fault::CutBeforeCommit)), (2, Some(202), None)]);
}

#[tokio::test]
async fn a_cut_after_commit_makes_the_payment_and_says_nothing() {
    let world = broken(Faults::only(Fault::CutAfterCommit, 1.0)).await;
    let mut resets = 0;
    for n in 0..16 {
        let error = world.try_post(&order(&format!("k{n}"), 100, CARD)).await.unwrap_err();
        assert!(!error.to_string().contains("HTTP/1.1"), "not a byte of an answer: {error}");
        resets += u32::from(error.kind() == ErrorKind::ConnectionReset);
    }
    assert!((1..16).contains(&resets), "some connections are reset and some just end: {resets}");
    assert_eq!(world.sandbox.ledger().success_count(), 16);
    assert_eq!(world.by_key("k3").await.status, 200);
}

#[tokio::test]
async fn the_wire_itself_is_dead_after_a_cut() {
    let world = broken(Faults::only(Fault::CutAfterCommit, 1.0)).await;
    let mut stream = TcpStream::connect(world.to).await.unwrap();
    assert!(world.post_request(&order("k", 100, CARD)).send_on(&mut stream).await.is_err());
    heal(&world.sandbox);
    wait_ms(20).await;
    let again = world.get_request("/v2/payments?merchantTransactionId=k").send_on(&mut stream).await;
    assert!(again.is_err(), "the connection cannot be used again");
}

#[tokio::test]
async fn a_truncated_answer_has_its_head_and_half_of_its_body() {
    let world = broken(Faults::only(Fault::TruncatedAnswer, 1.0)).await;
    let error = world.try_post(&order("k", 100, CARD)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let text = error.to_string();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 202"), "{head}");
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    assert_eq!(body.len(), length / 2);
    assert_eq!(world.successes_of("k"), 1);
    let look = world.get_request("/v2/payments?merchantTransactionId=k").send(world.to).await;
    assert!(look.is_err(), "look-ups are truncated too");
}

#[tokio::test]
async fn a_slow_answer_comes_after_the_payment_was_made() {
    let world = broken(Faults { slow_ms: 300, ..Faults::only(Fault::Slow, 1.0) }).await;
    let started = Instant::now();
    let mut stream = TcpStream::connect(world.to).await.unwrap();
    let request = world.post_request(&order("impatient", 100, CARD));
    let given_up = tokio::time::timeout(Duration::from_millis(100), request.send_on(&mut stream)).await;
    assert!(given_up.is_err(), "a client with a limit gives up");
    drop(stream);
    assert_eq!(world.successes_of("impatient"), 1);
    assert_eq!(world.post(&order("patient", 100, CARD)).await.status, 202);
    assert!(started.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_429_makes_nothing_and_says_when_to_come_back() {
    let faults = |retry_after| Faults { retry_after, ..Faults::only(Fault::RateLimited, 1.0) };
    let world = broken(faults(RetryAfter::Seconds(7))).await;
    let answer = world.post(&order("k", 100, CARD)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    assert_eq!(world.by_key("k").await.status, 429);
    world.sandbox.set_faults(faults(RetryAfter::Date(60)));
    let date = world.post(&order("k", 100, CARD)).await.header("retry-after").unwrap().to_owned();
    assert!(chrono::DateTime::parse_from_rfc2822(&date).is_ok(), "{date}");
    world.sandbox.set_faults(faults(RetryAfter::Absent));
    assert_eq!(world.post(&order("k", 100, CARD)).await.header("retry-after"), None);
    assert_eq!(world.sandbox.ledger().success_count(), 0);
    assert_eq!(world.sandbox.ledger().submissions_of("k").len(), 3);
}

#[tokio::test]
async fn errors_come_before_or_after_the_payment() {
    for (fault, successes) in [(Fault::ErrorBeforeCommit, 0), (Fault::ErrorAfterCommit, 20)] {
        let world = broken(Faults::only(fault, 1.0)).await;
        let mut statuses = std::collections::BTreeSet::new();
        for n in 0..20 {
            statuses.insert(world.post(&order(&format!("k{n}"), 100, CARD)).await.status);
        }
        assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [500, 503]);
        assert_eq!(world.sandbox.ledger().success_count(), successes);
        world.sandbox.set_faults(Faults { error_status: Some(502), ..Faults::only(fault, 1.0) });
        let answer = world.post(&order("last", 100, CARD)).await;
        assert_eq!((answer.problem().0, answer.problem().1.as_str()), (502, "INTERNAL_ERROR"));
    }
}

#[tokio::test]
async fn a_late_commit_charges_after_the_connection_died() {
    let world = broken(Faults { late_commit_ms: 150, ..Faults::only(Fault::LateCommit, 1.0) }).await;
    assert!(is_dead(world.try_post(&order("k", 100, CARD)).await));
    assert_eq!((world.by_key("k").await.status, world.successes_of("k")), (404, 0));
    wait_ms(300).await;
    assert_eq!((world.by_key("k").await.status, world.successes_of("k")), (200, 1));
}

#[tokio::test]
async fn a_late_commit_finds_the_key_taken_when_the_client_came_back_first() {
    let world = broken(Faults { late_commit_ms: 150, ..Faults::only(Fault::LateCommit, 1.0) }).await;
    assert!(is_dead(world.try_post(&order("k", 100, CARD)).await));
    heal(&world.sandbox);
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 202);
    wait_ms(300).await;
    assert_eq!(world.successes_of("k"), 1, "one key is one payment");
}

#[tokio::test]
async fn look_ups_do_not_see_a_young_payment() {
    let world = broken(Faults { lookup_404_for_ms: 150, ..Faults::only(Fault::Lookup404For, 1.0) }).await;
    let id = world.post(&order("k", 100, CARD)).await.payment_id();
    assert_eq!((world.by_key("k").await.status, world.by_id(&id).await.status), (404, 404));
    wait_ms(200).await;
    assert_eq!((world.by_key("k").await.status, world.by_id(&id).await.status), (200, 200));
}

#[tokio::test]
async fn answers_lie_about_key_and_amount() {
    let world = broken(Faults::only(Fault::WrongKey, 1.0)).await;
    let posted = world.post(&order("k", 100, CARD)).await.json();
    let looked = world.by_key("k").await.json();
    for json in [posted, looked] {
        assert_ne!(json["data"]["merchantTransactionId"], "k");
        assert_eq!(json["data"]["amount"], 100);
    }
    world.sandbox.set_faults(Faults::only(Fault::WrongAmount, 1.0));
    let looked = world.by_key("k").await.json();
    assert_eq!((&looked["data"]["merchantTransactionId"], &looked["data"]["amount"]), (&json!("k"), &json!(101)));
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 100, "the ledger does not lie");
}

#[tokio::test]
async fn the_evil_gateway_charges_twice_for_one_key() {
    let world = broken(Faults::only(Fault::DuplicateCharge, 1.0)).await;
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 202);
    assert_eq!(world.by_key("k").await.status, 200);
    let summary = world.sandbox.ledger().summary();
    assert_eq!((summary.successes, summary.collected["USD"]), (2, 200));
    assert_eq!(summary.keys_charged_twice, ["k"]);
    assert!(world.sandbox.ledger().payments_of("k").iter().any(|payment| payment.twin));
}

#[tokio::test]
async fn good_tokens_are_refused_and_look_ups_and_tokens_fail() {
    let world = broken(Faults::only(Fault::Unauthorized, 1.0)).await;
    assert_eq!(world.post(&order("k", 100, CARD)).await.problem().1, "UNAUTHORIZED");
    assert_eq!(world.by_key("k").await.status, 401);
    world.sandbox.set_faults(Faults::only(Fault::Get5xx, 1.0));
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 202);
    assert_eq!(world.by_key("k").await.status, 503);
    world.sandbox.set_faults(Faults::only(Fault::Token5xx, 1.0));
    assert_eq!(token(world.to, "").await.status, 503);
    assert_eq!(world.by_key("k").await.status, 200);
}

#[tokio::test]
async fn a_test_can_ask_for_one_fault_by_name() {
    let world = World::new().await;
    world.sandbox.fail_next_post(Fault::CutAfterCommit);
    world.sandbox.fail_next_post_of("b", Fault::ErrorBeforeCommit);
    world.sandbox.fail_next_get(Fault::CutBeforeCommit);
    let down = world.post(&order("b", 100, CARD)).await.status;
    assert!(down == 500 || down == 503);
    assert!(is_dead(world.try_post(&order("a", 100, CARD)).await));
    assert!(is_dead(world.get_request("/v2/payments?merchantTransactionId=a").send(world.to).await));
    assert_eq!(world.by_key("a").await.status, 200);
    assert_eq!(world.post(&order("b", 100, CARD)).await.status, 202);
    let next = json!({ "post": "duplicate_charge" });
    assert_eq!(world.admin("/sandbox/faults/next", &next).await.status, 200);
    world.post(&order("c", 100, CARD)).await;
    assert_eq!(world.successes_of("c"), 2);
}

#[tokio::test]
async fn faults_are_set_and_healed_over_http() {
    let world = World::new().await;
    let faults = json!({ "error_before_commit": 1.0, "error_status": 503 });
    assert_eq!(world.admin("/sandbox/faults", &faults).await.status, 200);
    assert_eq!(world.read("/sandbox/faults").await.json()["error_before_commit"], 1.0);
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 503);
    assert_eq!(world.admin("/sandbox/faults", &json!({})).await.status, 200);
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 202);
    for wrong in [json!({ "slow": 2 }), json!({ "brake": 1 }), json!([]), json!({ "error_status": 200 })] {
        assert_eq!(world.admin("/sandbox/faults", &wrong).await.status, 400, "{wrong}");
    }
}

/// What each of a hundred keys meets on three submissions, sent in the given order.
async fn run(seed: u64, backwards: bool) -> Vec<(String, u32, Option<u16>, Option<Fault>)> {
    let faults = Faults {
        cut_before_commit: 0.1,
        cut_after_commit: 0.1,
        error_before_commit: 0.1,
        error_after_commit: 0.1,
        truncated_answer: 0.1,
        rate_limited: 0.1,
        unauthorized: 0.05,
        wrong_key: 0.1,
        wrong_amount: 0.1,
        ..Faults::none()
    };
    let world = World::with(Options { seed, ..Options::default() }).await;
    world.sandbox.set_faults(faults);
    let mut keys: Vec<_> = (0..100).map(|n| format!("key-{n}")).collect();
    if backwards {
        keys.reverse();
    }
    for key in keys {
        for _ in 0..3 {
            let _ = world.try_post(&order(&key, 100, CARD)).await;
        }
    }
    let ledger = world.sandbox.ledger();
    assert!(ledger.successes_by_key().values().all(|count| *count == 1));
    ledger.submissions().into_iter().map(|s| (s.key, s.number, s.answered, s.fault)).collect()
}

#[tokio::test]
async fn a_run_is_repeated_by_its_seed_in_whatever_order_the_keys_come() {
    let once = run(11, false).await;
    assert_eq!(once, run(11, true).await);
    assert_ne!(once, run(12, false).await);
    let struck = once.iter().filter(|(.., fault)| fault.is_some()).count();
    assert!((120..220).contains(&struck), "{struck} of 300");
}

#[tokio::test]
async fn a_half_sent_request_is_nobodys_business() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.to).await.unwrap();
    stream.write_all(b"POST /v2/payments HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{\"merch").await.unwrap();
    drop(stream);
    wait_ms(20).await;
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 202);
    assert_eq!(world.sandbox.ledger().summary().submissions, 1);
}

#[tokio::test]
async fn stopping_cuts_idle_connections_and_hanging_answers() {
    let world = broken(Faults { slow_ms: 60_000, ..Faults::only(Fault::Slow, 1.0) }).await;
    let idle = TcpStream::connect(world.to).await.unwrap();
    let request = world.post_request(&order("k", 100, CARD));
    let to = world.to;
    let hanging = tokio::spawn(async move { request.send(to).await });
    wait_ms(50).await;
    let started = Instant::now();
    world.sandbox.stop().await;
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!(is_dead(hanging.await.unwrap()));
    let mut idle = idle;
    assert!(!matches!(idle.read(&mut [0]).await, Ok(1)));
    assert!(TcpStream::connect(to).await.is_err(), "nobody listens any more");
}
