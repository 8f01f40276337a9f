//! Not a test but a measurement, for release builds:
//! `cargo test --release -p sandbox --test it -- --ignored --nocapture posts_per_second`

use std::io::Write;
use std::time::{Duration, Instant};

use sandbox::{Behaviour, Options, method_id};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{World, order};

const CONNECTIONS: usize = 64;
const POSTS: usize = 2_000;

async fn client(mut stream: TcpStream, head: String, name: String) {
    let mut answer = vec![0; 4096];
    for n in 0..POSTS {
        let body = order(&format!("{name}-{n}"), 4200, method_id(Behaviour::Pays, n as u64)).to_string();
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 202"));
    }
}

/// The sandbox on one core, its clients on another.
fn measure(options: Options) -> f64 {
    let one = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (ready, started) = std::sync::mpsc::channel();
    let (done, finished) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        one().block_on(async move {
            let world = World::with(options).await;
            let request = world.post_request(&serde_json::Value::Null);
            let head: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = format!("POST /v2/payments HTTP/1.1\r\nhost: sandbox\r\n{head}");
            ready.send((world.to, head)).unwrap();
            finished.await.unwrap();
            assert_eq!(world.sandbox.ledger().success_count(), (CONNECTIONS * POSTS) as u64);
            world.sandbox.stop().await;
        });
    });
    let (to, head) = started.recv().unwrap();
    let took = one().block_on(async move {
        let begun = Instant::now();
        let mut clients = Vec::new();
        for n in 0..CONNECTIONS {
            let stream = TcpStream::connect(to).await.unwrap();
            clients.push(tokio::spawn(client(stream, head.clone(), format!("c{n}"))));
        }
        for client in clients {
            client.await.unwrap();
        }
        begun.elapsed()
    });
    done.send(()).unwrap();
    server.join().unwrap();
    per_second(CONNECTIONS * POSTS, took)
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

#[test]
#[ignore = "a measurement, for release builds"]
fn posts_per_second() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let memory = measure(Options { keep_bodies: false, ..Options::default() });
        let journal = Some(folder.path().join(format!("journal-{round}")));
        let durable = measure(Options { keep_bodies: false, journal, ..Options::default() });
        writeln!(std::io::stdout(), "round {round}: {memory:.0}/s in memory, {durable:.0}/s durable").unwrap();
    }
}
