//! The connection does not hold. What is said afterwards must be true: "nothing sent" only if nothing was.

use ccg::{Ambiguity, CallError, NotSent};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};

use crate::server::{Reply, Server, json, pass};
use crate::world::{ACCEPTED, PAYMENT_ID, World, frozen, issue};

fn is_cut(error: &CallError) -> bool {
    matches!(error, CallError::Ambiguous { why: Ambiguity::Cut { .. }, .. })
}

/// A port of this machine on which nothing listens.
async fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

async fn world_at(base_url: String) -> World {
    let gateway = Server::start(|_, _| Reply::Close).await;
    World::of(gateway, Server::start(issue).await, |config| config.base_url = base_url).await
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let world = world_at(format!("http://127.0.0.1:{}/checkout", dead_port().await)).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(error.nothing_sent() && !error.is_ambiguous_for_create(), "{error:?}");
    assert!(matches!(error, CallError::NotSent { why: NotSent::Connect { timed_out: false, .. }, .. }));
}

#[tokio::test]
async fn a_name_that_is_not_found_sent_nothing() {
    // `.invalid` never resolves (RFC 6761).
    let world = world_at("https://gateway.invalid/checkout".into()).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { why: NotSent::Connect { .. }, .. }), "{error:?}");
    assert!(!error.to_string().contains("invalid/"), "{error}");
}

#[tokio::test]
async fn a_failed_tls_handshake_sent_nothing() {
    // Talks plain text where a handshake is due.
    let gateway = Server::start(|_, _| Reply::Close).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _gone = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 no\r\n\r\n").await;
        }
    });
    let base_url = format!("https://127.0.0.1:{port}/checkout");
    let world = World::of(gateway, Server::start(issue).await, |config| config.base_url = base_url).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { why: NotSent::Connect { timed_out: false, .. }, .. }), "{error:?}");
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_sent_nothing() {
    let silent = Server::start(|_, _| Reply::Hang).await;
    let base_url = format!("https://{}/checkout", silent.address);
    let world = World::of(silent, Server::start(issue).await, |config| config.base_url = base_url).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { why: NotSent::Connect { timed_out: true, .. }, .. }), "{error:?}");
    assert!(!error.is_ambiguous_for_create());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connect_time_limit_sent_nothing() {
    // A listener with a full backlog: the system drops further handshakes, so connecting hangs.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await {
            Ok(stream) if fillers.len() < 32 => fillers.push(stream),
            Ok(_) => panic!("the backlog does not fill up here"),
            Err(_) => break,
        }
    }
    let world = world_at(format!("http://{address}/checkout")).await;
    let began = Instant::now();
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_millis(1_500), "the connect limit, not the total one");
    assert!(matches!(error, CallError::NotSent { why: NotSent::Connect { timed_out: true, .. }, .. }), "{error:?}");
    assert!(error.nothing_sent() && !error.is_ambiguous_for_create());
}

#[tokio::test]
async fn a_cut_anywhere_in_the_request_leaves_the_outcome_unknown() {
    let whole = {
        let world = World::new(|_, _| Reply::Say(json(202, ACCEPTED))).await;
        world.client.create_payment(&frozen()).await.unwrap();
        let seen = world.gateway.seen().remove(0);
        let head: usize = seen.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        seen.line.len() + 2 + head + 2 + seen.body.len()
    };
    for bytes in [0, 1, 2, 15, 100, whole / 2, whole - 2, whole - 1, whole] {
        let gateway = Server::cutting_after(bytes).await;
        let world = World::of(gateway, Server::start(issue).await, |_| ()).await;
        let error = world.client.create_payment(&frozen()).await.unwrap_err();
        assert!(is_cut(&error), "cut after {bytes} of {whole}: {error:?}");
        assert!(error.is_ambiguous_for_create() && !error.nothing_sent());
        assert_eq!(world.gateway.connections(), 1, "nothing was resent after a cut at {bytes}");
    }
}

#[tokio::test]
async fn a_cut_anywhere_in_the_answer_leaves_the_outcome_unknown() {
    let whole = json(202, ACCEPTED);
    for length in [0, 1, 9, 20, whole.len() - ACCEPTED.len(), whole.len() - 100, whole.len() - 1] {
        let part = whole[..length].to_vec();
        let world = World::new(move |_, _| Reply::SayAndClose(part.clone())).await;
        let error = world.client.create_payment(&frozen()).await.unwrap_err();
        assert!(is_cut(&error), "{length} of {}: {error:?}", whole.len());
        assert_eq!(error.evidence().body_sha256, None);
        assert_eq!((world.gateway.count(), world.gateway.connections()), (1, 1));
    }
}

#[tokio::test]
async fn an_answer_without_a_length_is_as_long_as_the_connection_and_must_still_be_whole_json() {
    let head = "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let cut = format!("{head}{}", &ACCEPTED[..ACCEPTED.len() / 2]).into_bytes();
    let world = World::new(move |_, _| Reply::SayAndClose(cut.clone())).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::Undecodable { .. }, .. }), "{error:?}");

    let whole = format!("{head}{ACCEPTED}").into_bytes();
    let world = World::new(move |_, _| Reply::SayAndClose(whole.clone())).await;
    world.client.create_payment(&frozen()).await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_a_payment_leaves_the_outcome_unknown() {
    let world = World::new(|_, number| if number == 0 { Reply::Say(json(202, ACCEPTED)) } else { Reply::Close }).await;
    world.client.create_payment(&frozen()).await.unwrap();
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(is_cut(&error), "{error:?}");
    assert_eq!((world.gateway.count(), world.gateway.connections()), (2, 1), "same connection, no resend");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_does_not_send_a_payment_twice() {
    let world =
        World::new(
            |_, number| {
                if number == 0 { Reply::SayAndClose(json(202, ACCEPTED)) } else { Reply::Say(json(202, ACCEPTED)) }
            },
        )
        .await;
    world.client.create_payment(&frozen()).await.unwrap();
    pass(Duration::from_millis(50)).await;
    world.client.create_payment(&frozen()).await.unwrap();
    assert_eq!((world.gateway.count(), world.gateway.connections()), (2, 2));
}

#[tokio::test]
async fn silence_ends_at_the_time_limit_with_the_outcome_unknown() {
    let gateway = Server::start(|_, _| Reply::Hang).await;
    let world = World::of(gateway, Server::start(issue).await, short).await;
    let began = Instant::now();
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::TimedOut, .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_millis(900) && began.elapsed() >= Duration::from_millis(250));
    assert_eq!(world.gateway.count(), 1);
}

#[tokio::test]
async fn a_slow_drip_ends_at_the_time_limit() {
    let head = b"HTTP/1.1 202 Accepted\r\ncontent-length: 100000\r\n\r\n{".to_vec();
    let gateway = Server::start(move |_, _| Reply::Drip(head.clone(), Duration::from_millis(5))).await;
    let world = World::of(gateway, Server::start(issue).await, short).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::TimedOut, .. }), "{error:?}");
    assert_eq!(error.evidence().http_status, Some(202));
    assert!(error.evidence().received_bytes > 1);
}

fn short(config: &mut ccg::Config) {
    config.time_limit = Duration::from_millis(300);
    config.connect_timeout = Duration::from_millis(100);
}

#[tokio::test]
async fn an_answer_that_says_it_is_too_long_is_not_read() {
    let head = b"HTTP/1.1 202 Accepted\r\ncontent-length: 100000000\r\n\r\n".to_vec();
    let world = World::new(move |_, _| Reply::Endless(head.clone(), vec![b' '; 1024])).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::TooLarge { limit: 262_144 }, .. }), "{error:?}");
    assert_eq!(error.evidence().received_bytes, 0);
}

#[tokio::test]
async fn endless_chunks_are_left_at_the_limit() {
    let head = b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut chunk = b"1000\r\n".to_vec();
    chunk.extend_from_slice(&[b' '; 4096]);
    chunk.extend_from_slice(b"\r\n");
    let world = World::new(move |_, _| Reply::Endless(head.clone(), chunk.clone())).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::TooLarge { .. }, .. }), "{error:?}");
    let received = error.evidence().received_bytes;
    assert!((262_144..=2 * 262_144).contains(&received), "{received}");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let padded = |length: usize| format!("{ACCEPTED}{}", " ".repeat(length - ACCEPTED.len()));
    for (length, fits) in [(2048, true), (2049, false)] {
        let body = padded(length);
        let gateway = Server::start(move |_, _| Reply::Say(json(202, &body))).await;
        let world = World::of(gateway, Server::start(issue).await, |config| config.max_body = 2048).await;
        assert_eq!(world.client.create_payment(&frozen()).await.is_ok(), fits, "{length}");
    }
}

#[tokio::test]
async fn a_body_that_claims_to_be_compressed_is_not_unpacked() {
    let bytes = crate::server::with_headers(202, &[("content-encoding", "gzip")], "\u{1f}\u{8}notreally");
    let world = World::new(move |_, _| Reply::Say(bytes.clone())).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::Undecodable { .. }, .. }), "{error:?}");
    assert_eq!(world.gateway.seen()[0].header("accept-encoding"), None);
}

#[tokio::test]
async fn odd_beginnings_of_an_answer_leave_the_outcome_unknown() {
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\n",
        "HTTP/1.1 99 Odd\r\n\r\n",
        "SMTP ready\r\n\r\n",
        "HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "\0\0\0\0",
    ] {
        let bytes = head.as_bytes().to_vec();
        let world = World::new(move |_, _| Reply::SayAndClose(bytes.clone())).await;
        let error = world.client.create_payment(&frozen()).await.unwrap_err();
        assert!(matches!(error, CallError::Ambiguous { .. }), "{head:?}: {error:?}");
        assert_eq!(world.gateway.count(), 1, "{head:?}");
    }
}

#[tokio::test]
async fn a_hundred_continue_before_the_answer_is_passed_over() {
    let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    bytes.extend(json(202, ACCEPTED));
    let world = World::new(move |_, _| Reply::Say(bytes.clone())).await;
    world.client.create_payment(&frozen()).await.unwrap();
}

#[tokio::test]
async fn a_cut_look_up_is_not_repeated_by_the_client() {
    let world = World::new(|_, _| Reply::Close).await;
    let error = world.client.get_payment(PAYMENT_ID).await.unwrap_err();
    assert!(is_cut(&error), "{error:?}");
    assert_eq!(world.gateway.count(), 1);
}
