//! `autopay wallet`: the real binary against a sandbox.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::WalletMethod;
use uuid::Uuid;

use crate::cli_book::{due_now, get, signal, with_sandbox};
use crate::cli_support::{Bench, roster};
use crate::world::MERCHANT;

/// The method of the roster's row at a place.
fn method(place: u128) -> Uuid {
    Uuid::from_u128(0x5a4d_b0c5_0000_8000_8000_0000_0000_0000 + place)
}

fn in_wallet(sandbox: &sandbox::Sandbox, place: u128, year: u16) {
    let customer = serde_json::json!({ "metadata": { "customerId": format!("C-{place}") } });
    let card =
        WalletMethod { expiry_year: year, expiry_month: 2, last4: "4242".into(), ..WalletMethod::card(method(place)) };
    sandbox.fill_wallet(MERCHANT.0, &customer, card).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_synced_shown_and_listed() {
    let (bench, sandbox) = with_sandbox().await;
    bench.write("roster.csv", roster(&["a", "b", "c"], "2031-05-15"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    in_wallet(&sandbox, 0, 2030);
    in_wallet(&sandbox, 1, 2099);
    let shown = bench.run(&["wallet", "show", &method(0).to_string(), "-o", "json"]).exits(0).json();
    assert_eq!(
        (&shown["standing"], &shown["chargeable"], &shown["synced_at"]),
        (&"unknown".into(), &"yes".into(), &serde_json::Value::Null)
    );
    let synced = bench.run(&["wallet", "sync", "-o", "json"]).exits(0).json();
    assert_eq!((&synced["searched"], &synced["failed"]), (&3.into(), &0.into()), "{synced}");
    let shown = bench.run(&["wallet", "show", &method(0).to_string(), "-o", "json"]).exits(0).json();
    assert_eq!(
        (&shown["standing"], &shown["expires"], &shown["last4"]),
        (&"usable".into(), &"02/2030".into(), &"4242".into())
    );
    assert_eq!(shown["used_by"], serde_json::json!([{ "subscription": "a" }]));
    let listed = bench.run(&["wallet", "list", "-o", "json"]).exits(0).json();
    let standings: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["standing"].as_str().unwrap()).collect();
    assert_eq!(standings, ["usable", "usable", "unknown"]);
    let unknown = bench.run(&["wallet", "list", "--standing", "unknown", "-o", "jsonl"]).exits(0).out;
    assert_eq!(unknown.lines().count(), 1);
    // The card of a is good through February 2030 and charged in May 2031; the others are in time or say nothing.
    let expiring = bench.run(&["wallet", "list", "--expiring-before-next-charge", "-o", "json"]).exits(0).json();
    assert_eq!(expiring.as_array().unwrap().len(), 1, "{expiring}");
    assert_eq!((&expiring[0]["subscription"], &expiring[0]["next_charge_on"]), (&"a".into(), &"2031-05-15".into()));
    let subscription = bench.run(&["subscriptions", "show", "a", "-o", "json"]).exits(0).json();
    assert_eq!(subscription["method_standing"], "usable");
    let one = ["wallet", "list", "--limit", "1", "-o", "csv"];
    bench.run(&one).exits(0).complains(&["there are more"]);
    // Gone at the gateway: asked by customer, by method, or by an id that nobody has.
    sandbox.delete_method(method(0));
    let by_customer = bench.run(&["wallet", "sync", "--customer", "C-0", "-o", "json"]).exits(0).json();
    assert_eq!(by_customer["searched"], 1);
    let shown = bench.run(&["wallet", "show", &method(0).to_string(), "-o", "json"]).exits(0).json();
    assert_eq!((&shown["standing"], &shown["chargeable"]), (&"gone".into(), &"not now".into()), "{shown}");
    assert!(shown["why"].as_str().unwrap().contains("a replacement is waited for until"), "{shown}");
    bench.run(&["wallet", "sync", "--method", &method(1).to_string()]).exits(0);
    bench.run(&["wallet", "sync", "--customer", "nobody"]).exits(5).complains(&["--customer nobody"]);
    let nobodys = method(99).to_string();
    bench.run(&["wallet", "sync", "--method", &nobodys]).exits(5);
    bench.run(&["wallet", "show", &nobodys]).exits(5).complains(&["is not known here"]);
    bench.run(&["wallet", "release", &nobodys, "--reason", "x"]).exits(5).complains(&["no dispute"]);
    bench.run(&["wallet", "release", &nobodys, "--reason", " "]).exits(2).complains(&["say why"]);
    bench.run(&["wallet", "list", "--standing", "lost"]).exits(2).complains(&["invalidated"]);
    let doctor = bench.run(&["doctor", "-o", "json"]).exits(0).json();
    let wallet = doctor.as_array().unwrap().iter().find(|row| row["check"] == "wallet").unwrap();
    assert_eq!(wallet["status"], "warn");
    assert!(wallet["detail"].as_str().unwrap().contains("1 gone"), "{wallet}");
    sandbox.stop().await;
    bench.run(&["wallet", "sync"]).exits(11).complains(&["answered none of 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_expired_is_announced_by_the_dry_run_and_parked_by_the_run() {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a", "b"]);
    in_wallet(&sandbox, 0, 2020);
    bench.run(&["wallet", "sync", "-q"]).exits(0);
    let dry = bench.run(&["run", "once", "--dry-run", "-o", "json"]).exits(0);
    assert_eq!(dry.json()["items"][0]["why"], "the card was good through 2020-02-29");
    let hash = dry.err.lines().find_map(|line| line.strip_prefix("agenda ")).unwrap().to_owned();
    let run = bench.run(&["run", "once", "-o", "json"]).exits(9).json();
    assert_eq!((&run["sent"], &run["parked"], &run["agenda_hash"]), (&1.into(), &1.into(), &hash.into()), "{run}");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_asks_wallets_by_itself_and_charges_meanwhile() {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a", "b"]);
    // The one is charged by id as ever; of the other the wallet knows a date that is over.
    in_wallet(&sandbox, 1, 2020);
    bench.run(&["hold", "on", "--scope", "subscription:b", "--reason", "until it was asked about", "-q"]).exits(0);
    let mut child = bench.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == "started" {
            break line["listen"].as_str().unwrap().to_owned();
        }
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    let standing = || {
        let shown = bench.run(&["wallet", "show", &method(1).to_string(), "-o", "json"]).exits(0).json();
        shown["standing"].as_str().unwrap().to_owned()
    };
    while standing() != "expired" {
        assert!(Instant::now() < deadline, "never asked");
        crate::crash::rest(Duration::from_millis(100)).await;
    }
    bench.run(&["hold", "off", "--scope", "subscription:b", "-q"]).exits(0);
    let held = || bench.run(&["charges", "list", "--state", "held", "-o", "jsonl"]).exits(0).out;
    while held().is_empty() || sandbox.ledger().success_count() == 0 {
        assert!(Instant::now() < deadline, "never recorded, or the other was not charged");
        crate::crash::rest(Duration::from_millis(100)).await;
    }
    assert!(held().contains("\"subscription\":\"b\""), "{}", held());
    let (_, metrics) = get(&address, "/metrics");
    assert!(metrics.contains("autopay_wallet_searches_total{outcome=\"listed\"} 2"), "{metrics}");
    signal(&child, "TERM");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("\"wallet_pass\"")), "{rest:?}");
    assert!(rest.iter().all(|line| !line.contains("fields_dropped")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    sandbox.stop().await;
}

#[test]
fn without_a_gateway_a_sync_says_what_is_missing() {
    let bench = Bench::with_plans();
    bench.run(&["wallet", "sync"]).exits(2).complains(&["gateway"]);
    assert_eq!(bench.run(&["wallet", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
}
