//! Access tokens.

use ccg::{CallError, NotSent, Scope, TokenError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::server::{Reply, Server, json, pass};
use crate::world::{ACCEPTED, COMPLETED, PAYMENT_ID, TOKEN, World, frozen, issue, token_body};

async fn gateway() -> Server {
    Server::start(|_, _| Reply::Say(json(200, COMPLETED))).await
}

async fn world_with(tokens: Server) -> World {
    World::of(gateway().await, tokens, |_| ()).await
}

/// Waits until the token endpoint has been asked so often.
async fn until_asked(world: &World, times: usize) {
    for _ in 0..200 {
        if world.tokens.count() >= times {
            // The answer still has to arrive.
            return pass(Duration::from_millis(30)).await;
        }
        pass(Duration::from_millis(5)).await;
    }
    panic!("the token endpoint was asked {} times, not {times}", world.tokens.count());
}

#[tokio::test]
async fn the_credentials_go_in_the_form_body_and_are_encoded() {
    let world = world_with(Server::start(issue).await).await;
    let info = world.client.ping().await.unwrap();
    assert_eq!((info.scope, info.lifetime), (Scope::Merchant, Some(Duration::from_secs(3600))));
    let seen = world.tokens.seen().remove(0);
    assert_eq!(seen.line, "POST /oauth2/token HTTP/1.1");
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    let mut fields: Vec<&str> = std::str::from_utf8(&seen.body).unwrap().split('&').collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "client_id=client-1",
            "client_secret=s3cret%2Fof%2Bthe+client%26",
            "grant_type=client_credentials",
            "scope=financial%2Fcommerce%2Fnonprodcheckout%3Amerchant",
        ]
    );
    assert_eq!(world.gateway.connections(), 0, "a ping does not touch the gateway");
}

#[tokio::test]
async fn each_scope_has_its_own_token() {
    let world = world_with(Server::start(issue).await).await;
    for (scope, tail) in [
        (Scope::Merchant, "merchant"),
        (Scope::MerchantWalletManagement, "merchant-wallet-management"),
        (Scope::MerchantPci, "merchant-pci"),
    ] {
        assert_eq!(scope.name("p"), format!("p:{tail}"));
        world.client.ping_scope(scope).await.unwrap();
    }
    assert_eq!(world.tokens.count(), 3);
}

#[tokio::test]
async fn fifty_callers_share_one_fetch() {
    let slow =
        Server::start(|_, n| Reply::Later(Duration::from_millis(100), json(200, &token_body(n, Some(3600))))).await;
    let world = world_with(slow).await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = world.client.clone();
            tokio::spawn(async move { client.get_payment(PAYMENT_ID).await.map(|_| ()) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!((world.tokens.count(), world.gateway.count()), (1, 50));
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_take_the_fetch_down() {
    let slow =
        Server::start(|_, n| Reply::Later(Duration::from_millis(150), json(200, &token_body(n, Some(3600))))).await;
    let world = world_with(slow).await;
    let hasty = tokio::time::timeout(Duration::from_millis(30), world.client.get_payment(PAYMENT_ID)).await;
    assert!(hasty.is_err());
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!(world.tokens.count(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_without_anyone_waiting() {
    let slow = Server::start(|_, n| {
        let body = json(200, &token_body(n, Some(3600)));
        if n == 0 { Reply::Say(body) } else { Reply::Later(Duration::from_millis(100), body) }
    })
    .await;
    let world = world_with(slow).await;
    let bearer = |n: usize| world.gateway.seen()[n].header("authorization").unwrap().to_owned();

    world.client.get_payment(PAYMENT_ID).await.unwrap();
    world.clock.turn(Duration::from_secs(3600 - 61));
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!(world.tokens.count(), 1, "61 s before its end the token is simply used");

    world.clock.turn(Duration::from_secs(2));
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!(bearer(2), format!("Bearer {TOKEN}"), "the old token serves while the new one is fetched");
    until_asked(&world, 2).await;
    pass(Duration::from_millis(150)).await;
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!(bearer(3), format!("Bearer {TOKEN}-1"));
    assert_eq!(world.tokens.count(), 2);
}

#[tokio::test]
async fn an_expired_token_is_never_used() {
    let world = world_with(Server::start(issue).await).await;
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    world.clock.turn(Duration::from_secs(3600 - 14));
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!(world.gateway.seen()[1].header("authorization"), Some(format!("Bearer {TOKEN}-1").as_str()));
}

#[tokio::test]
async fn odd_lifetimes_are_survived() {
    // life as written, seconds after which the token still serves, seconds after which it does not
    for (life, good, stale) in [
        (r#","expires_in":10"#, 7, 10),
        (r#","expires_in":"100""#, 79, 100),
        ("", 239, 300),
        (r#","expires_in":null"#, 239, 300),
        (r#","expires_in":{"a":1}"#, 239, 300),
        (r#","expires_in":18446744073709551615"#, 86_000, 86_400),
        (r#","expires_in":-5"#, 239, 300),
    ] {
        let tokens =
            Server::start(move |_, n| Reply::Say(json(200, &format!(r#"{{"access_token":"t{n}"{life}}}"#)))).await;
        let world = world_with(tokens).await;
        world.client.get_payment(PAYMENT_ID).await.unwrap();
        world.clock.turn(Duration::from_secs(good));
        world.client.get_payment(PAYMENT_ID).await.unwrap();
        assert_eq!(world.tokens.count(), 1, "{life:?} after {good} s");
        world.clock.turn(Duration::from_secs(stale - good));
        world.client.get_payment(PAYMENT_ID).await.unwrap();
        assert_eq!(world.tokens.count(), 2, "{life:?} after {stale} s");
    }
    // A token without any life serves the call it was fetched for.
    let world = world_with(Server::start(|_, n| Reply::Say(json(200, &token_body(n, Some(0))))).await).await;
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!(world.tokens.count(), 2);
}

#[tokio::test]
async fn token_trouble_means_that_nothing_was_sent() {
    let table: Vec<(Vec<u8>, TokenError)> = vec![
        (
            json(401, r#"{"error":"invalid_client","error_description":"client s3cret"}"#),
            TokenError::Refused { http_status: 401, code: Some("invalid_client".into()) },
        ),
        (
            json(400, r#"{"error":"invalid_scope"}"#),
            TokenError::Refused { http_status: 400, code: Some("invalid_scope".into()) },
        ),
        (json(403, "<html>"), TokenError::Refused { http_status: 403, code: None }),
        (json(429, r#"{"error":"slow_down"}"#), TokenError::Failed { http_status: 429 }),
        (json(500, ""), TokenError::Failed { http_status: 500 }),
        (json(503, "busy"), TokenError::Failed { http_status: 503 }),
        (json(302, ""), TokenError::Failed { http_status: 302 }),
        (json(200, "{}"), TokenError::Malformed { what: "it is not a token in JSON" }),
        (json(200, &token_body(0, None)[..20]), TokenError::Malformed { what: "it is not a token in JSON" }),
        (json(200, r#"{"access_token":""}"#), TokenError::Malformed { what: "the token is empty" }),
        (
            json(200, r#"{"access_token":"a\nb"}"#),
            TokenError::Malformed { what: "the token cannot be sent in a header" },
        ),
        (
            json(200, r#"{"access_token":"a","token_type":"mac"}"#),
            TokenError::Malformed { what: "the token is not a bearer token" },
        ),
        (json(200, &format!("\"{}\"", "a".repeat(70_000))), TokenError::Malformed { what: "it is too long" }),
    ];
    for (bytes, expected) in table {
        let world = world_with(Server::start(move |_, _| Reply::Say(bytes.clone())).await).await;
        let error = world.client.create_payment(&frozen()).await.unwrap_err();
        assert!(error.nothing_sent());
        let CallError::NotSent { why: NotSent::Token(why), .. } = error else { panic!("{error:?}") };
        assert_eq!(why, expected);
        assert_eq!(world.client.ping().await.unwrap_err(), expected);
        assert_eq!(world.gateway.connections(), 0);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_cuts_or_is_gone_means_that_nothing_was_sent() {
    for tokens in [Server::start(|_, _| Reply::Close).await, Server::cutting_after(10).await] {
        let world = world_with(tokens).await;
        let error = world.client.create_payment(&frozen()).await.unwrap_err();
        assert!(
            matches!(&error, CallError::NotSent { why: NotSent::Token(TokenError::Unreachable { .. }), .. }),
            "{error:?}"
        );
        assert_eq!(world.gateway.connections(), 0);
    }
}

#[tokio::test]
async fn a_silent_token_endpoint_is_left_at_half_of_the_time_limit() {
    let world = World::of(gateway().await, Server::start(|_, _| Reply::Hang).await, |config| {
        config.time_limit = Duration::from_millis(600);
        config.connect_timeout = Duration::from_millis(200);
    })
    .await;
    let began = Instant::now();
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(began.elapsed() >= Duration::from_millis(280) && began.elapsed() < Duration::from_millis(550));
    assert!(matches!(error, CallError::NotSent { why: NotSent::Token(TokenError::TimedOut), .. }), "{error:?}");
}

#[tokio::test]
async fn after_a_failure_the_endpoint_is_left_alone_for_a_moment_and_then_asked_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let tokens = Server::start(move |_, n| {
        let down = state.load(Ordering::SeqCst);
        Reply::Say(if down { json(503, "") } else { json(200, &token_body(n, Some(3600))) })
    })
    .await;
    let world = world_with(tokens).await;
    for _ in 0..20 {
        assert!(world.client.get_payment(PAYMENT_ID).await.unwrap_err().nothing_sent());
    }
    assert_eq!(world.tokens.count(), 1);
    broken.store(false, Ordering::SeqCst);
    world.clock.turn(Duration::from_millis(1_001));
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!(world.tokens.count(), 2);
}

#[tokio::test]
async fn a_failing_renewal_does_not_hurt_while_the_old_token_is_good() {
    let tokens =
        Server::start(|_, n| Reply::Say(if n == 0 { json(200, &token_body(0, Some(3600))) } else { json(500, "") }))
            .await;
    let world = world_with(tokens).await;
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    world.clock.turn(Duration::from_secs(3600 - 30));
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    until_asked(&world, 2).await;
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    world.clock.turn(Duration::from_secs(20));
    assert!(world.client.get_payment(PAYMENT_ID).await.unwrap_err().nothing_sent());
}

#[tokio::test]
async fn a_late_401_of_an_old_token_does_not_drop_the_new_one() {
    let world = World::of(
        Server::start(|seen, n| {
            let old = seen.header("authorization") == Some(format!("Bearer {TOKEN}").as_str());
            match (old, n) {
                (true, 0) => Reply::Later(Duration::from_millis(200), json(401, "{}")),
                (true, _) => Reply::Say(json(401, "{}")),
                (false, _) => Reply::Say(json(202, ACCEPTED)),
            }
        })
        .await,
        Server::start(issue).await,
        |config| config.token_retry_pause = Duration::ZERO,
    )
    .await;
    let slow = {
        let client = world.client.clone();
        tokio::spawn(async move { client.create_payment(&frozen()).await })
    };
    while world.gateway.count() == 0 {
        pass(Duration::from_millis(5)).await;
    }
    assert!(matches!(world.client.create_payment(&frozen()).await, Err(CallError::Unauthorized { .. })));
    world.client.create_payment(&frozen()).await.unwrap();
    assert!(matches!(slow.await.unwrap(), Err(CallError::Unauthorized { .. })));
    world.client.create_payment(&frozen()).await.unwrap();
    assert_eq!(world.tokens.count(), 2);
}

#[tokio::test]
async fn fifty_refused_look_ups_renew_the_token_once() {
    let world = World::of(
        Server::start(|seen, _| {
            let old = seen.header("authorization") == Some(format!("Bearer {TOKEN}").as_str());
            Reply::Later(Duration::from_millis(20), json(if old { 401 } else { 200 }, COMPLETED))
        })
        .await,
        Server::start(issue).await,
        |_| (),
    )
    .await;
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let client = world.client.clone();
            tokio::spawn(async move { client.get_payment(PAYMENT_ID).await.map(|_| ()) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.tokens.count(), 2);
}

#[test]
fn a_fetch_that_died_with_its_runtime_does_not_block_the_next_one() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let servers = runtime();
    let world = servers.block_on(async {
        let tokens = Server::start(|_, n| {
            Reply::Later(Duration::from_millis(if n == 0 { 400 } else { 0 }), json(200, &token_body(n, Some(3600))))
        })
        .await;
        World::of(gateway().await, tokens, |_| ()).await
    });
    let first = runtime();
    let hasty = first.block_on(async {
        tokio::time::timeout(Duration::from_millis(50), world.client.get_payment(PAYMENT_ID)).await
    });
    assert!(hasty.is_err());
    first.shutdown_timeout(Duration::from_millis(100));
    let second = runtime();
    second.block_on(world.client.get_payment(PAYMENT_ID)).unwrap();
    assert_eq!(world.tokens.count(), 2);
}
