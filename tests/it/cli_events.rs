//! `autopay events`, by the real binary.

use crate::cli_support::Bench;
use crate::events::SECRET;

fn bench() -> Bench {
    let bench = Bench::with_plans();
    bench.write("whsec", SECRET);
    bench.write(
        "autopay.toml",
        "[events]\nendpoints = [\"billing=https://hooks.example.org/autopay\"]\nsecret_files = [\"billing=whsec\"]\n",
    );
    bench
}

#[test]
fn what_is_told_is_listed_and_delivered_again_on_request() {
    let bench = bench();
    bench.run(&["hold", "on", "--scope", "plan:wellness", "--reason", "a look"]).exits(0);
    let listed = bench.run(&["events", "list", "-o", "json"]).exits(0);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0]["type"].as_str(), rows[0]["object"].as_str(), rows[0]["state"].as_str()),
        (Some("hold.on"), Some("plan:wellness"), Some("waiting"))
    );
    let id = rows[0]["id"].as_str().unwrap();
    let said = bench.run(&["events", "resend", id, "--dry-run"]).exits(0);
    assert!(said.err.contains("would be due again at 1"), "{}", said.err);
    bench.run(&["events", "resend", id]).exits(0);
    bench.run(&["events", "resend", id, "--endpoint", "books"]).exits(5);
    bench.run(&["events", "resend", "evt_00000000000000000000000000000001"]).exits(5);
    bench.run(&["events", "resend", "hold-1"]).exits(2);
    bench.run(&["events", "list", "--type", "hold.onn"]).exits(2);
    assert_eq!(bench.run(&["events", "list", "--type", "hold.off", "-o", "jsonl"]).exits(0).out, "");
}

#[test]
fn endpoints_are_shown_without_their_secrets_and_a_mistyped_one_is_guessed() {
    let bench = bench();
    let shown = bench.run(&["events", "endpoints", "-o", "json"]).exits(0);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(rows[0]["endpoint"], "billing");
    assert_eq!((&rows[0]["standing"], &rows[0]["secrets"]), (&"told".into(), &1.into()));
    assert!(!shown.out.contains("MfKQ9r8"));
    assert!(!bench.run(&["config", "show"]).exits(0).out.contains("MfKQ9r8"));
    let said = bench.run(&["events", "enable", "biling"]).exits(5);
    assert!(said.err.contains("did you mean billing?"), "{}", said.err);
    bench.run(&["events", "enable", "billing"]).exits(0);
}

#[test]
fn an_endpoint_that_cannot_be_signed_for_is_a_mistake_of_the_configuration() {
    let bench = bench();
    bench.write("whsec", "not a secret");
    let said = bench.run(&["events", "list"]).exits(2);
    assert!(said.err.contains("events.secret_files") && !said.err.contains("not a secret"), "{}", said.err);
}
