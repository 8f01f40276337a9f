//! `autopay webhooks` and `autopay disputes` over a book that has both, and the settings of the door.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use autopay::ports::Clock as _;
use chrono::TimeDelta;
use sandbox::{Behaviour, WebhookOptions};
use tokio_util::sync::CancellationToken;

use crate::cli_book::{due_now, signal, with_sandbox};
use crate::cli_support::Bench;
use crate::webhook_support::{Hooked, Recorder, Sent};
use crate::world::{Backend, card, plan, subscriber};

/// A book with a paid and disputed charge, and the deliveries that told of both.
pub(crate) async fn disputed() -> (Hooked, Bench) {
    let hooked = Hooked::begin(Backend::Sqlite, "2027-01-15T10:00:00Z", "cli").await.unwrap();
    hooked.world.apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00")]).await;
    hooked.world.enrol(vec![subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1))]).await;
    hooked.world.turn_to("2027-01-15T11:00:00Z");
    hooked.world.run().await;
    hooked.hear().await;
    hooked.world.turn(TimeDelta::minutes(1));
    let payment = hooked.world.sandbox().ledger().payments()[0].id;
    hooked.world.sandbox().open_dispute(payment, 0, "FRAUDULENT").unwrap();
    hooked.hear().await;
    let mut bench = Bench::new();
    bench.env("AUTOPAY_DATABASE_URL", hooked.world.url());
    (hooked, bench)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_and_disputes_are_listed_shown_and_replayed_without_their_bodies() {
    let (hooked, bench) = disputed().await;
    let listed = bench.run(&["webhooks", "list", "-o", "json"]).exits(0);
    for private in ["customer", "enterpriseIdentifier", "1001"] {
        assert!(!listed.out.contains(private), "{}", listed.out);
    }
    let rows = listed.json();
    let seen: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["event"].as_str().unwrap(), row["state"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("DISPUTE_CREATED", "waiting"), ("PAYMENT_SUCCEEDED", "done")]);
    let waiting = bench.run(&["webhooks", "list", "--state", "waiting", "-o", "json"]).exits(0).json();
    assert_eq!(waiting.as_array().unwrap().len(), 1);
    bench.run(&["webhooks", "list", "--state", "lost"]).exits(2).complains(&["new, waiting, done"]);
    let id = rows[1]["id"].as_str().unwrap();
    bench.run(&["webhooks", "replay", id]).exits(0).complains(&["new again"]);
    assert_eq!(hooked.ports.inbox.inbox_backlog(crate::world::MERCHANT).await.unwrap(), 1);
    let nobody = "wh_00000000000000000000000000000001";
    bench.run(&["webhooks", "replay", nobody]).exits(5).complains(&[nobody]);
    bench.run(&["webhooks", "replay", "x"]).exits(2);
    hooked.ports.inbox.empty_bodies(hooked.world.clock.now(), hooked.world.clock.now(), 10).await.unwrap();
    bench.run(&["webhooks", "replay", id]).exits(7).complains(&["emptied"]);

    let disputes = bench.run(&["disputes", "list", "--open", "-o", "json"]).exits(0).json();
    let dispute = &disputes[0];
    assert_eq!(
        (dispute["standing"].as_str(), dispute["reason"].as_str()),
        (Some("needs_response"), Some("FRAUDULENT"))
    );
    let id = dispute["id"].as_str().unwrap();
    let shown = bench.run(&["disputes", "show", id, "-o", "json"]).exits(0).json();
    assert_eq!(shown["history"][0]["event"], "DISPUTE_CREATED");
    let charge = bench.run(&["charges", "show", shown["charge"].as_str().unwrap(), "-o", "json"]).exits(0).json();
    assert_eq!(
        (charge["state"].as_str(), charge["disputed"].as_str().unwrap()),
        (Some("paid"), format!("{id} (needs_response)").as_str())
    );
    bench.run(&["disputes", "show", "dp_00000000000000000000000000000001"]).exits(5);
    hooked.balance().await;
}

#[test]
fn a_wrong_public_key_is_named_with_its_file() {
    let bench = Bench::new();
    bench.write("note.txt", "no key");
    bench.write("private.pem", "-----BEGIN PRIVATE KEY-----\n");
    bench.write("empty.pem", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n");
    for (files, says) in [
        ("note.txt", "is no public key"),
        ("private.pem", "names a private key"),
        ("missing.pem", "cannot be read"),
        ("a.pem,b.pem,c.pem", "one file, or two during a rotation"),
    ] {
        let set = format!("webhooks.public_key_files={files}");
        bench.run(&["--set", &set, "config", "show"]).exits(2).complains(&[says, "webhooks.public_key_files"]);
    }
}

/// What the door answers to a delivery.
fn deliver(address: &str, sent: &Sent) -> u16 {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let (token, length) = (&sent.authorization, sent.body.len());
    let head = format!("POST /webhooks/ccg HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: {length}");
    write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
    stream.write_all(&sent.body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_process_follows_a_rotation_of_the_gateways_key() {
    let (bench, sandbox) = with_sandbox().await;
    let (recorder, stop) = (Recorder::default(), CancellationToken::new());
    let url = recorder.listen(stop.clone()).await;
    let [before, after] = sandbox.webhook_keys().unwrap();
    sandbox.set_webhooks(WebhookOptions { url: Some(url), ..WebhookOptions::default() }).unwrap();
    sandbox.rotate_webhook_key();
    bench.write("gateway.pem", before);
    due_now(&bench, &["a"]);
    let set = ["--set", "webhooks.public_key_files=gateway.pem", "serve"];
    let mut child = bench.command(&set).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |event: &str| -> serde_json::Value {
        loop {
            let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["event"] == event {
                return line;
            }
        }
    };
    let address = until("started")["listen"].as_str().unwrap().to_owned();
    let sent = loop {
        if let Some(sent) = recorder.heard().first() {
            break sent.clone();
        }
        crate::crash::rest(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(deliver(&address, &sent), 503, "signed with a key that is not known yet: to come again");
    bench.write("gateway.pem", after);
    until("keys_rotated");
    assert_eq!(deliver(&address, &sent), 202);
    // A file that is being written, or is gone, takes nothing away.
    bench.write("gateway.pem", "");
    let told = until("keys_unreadable");
    assert!(told["why"].as_str().unwrap().contains("gateway.pem is no public key"), "{told}");
    assert_eq!(deliver(&address, &sent), 202);
    signal(&child, "TERM");
    until("stopped");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    stop.cancel();
    sandbox.stop().await;
}
