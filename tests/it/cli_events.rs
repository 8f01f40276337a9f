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
    let config = bench.run(&["config", "show"]).exits(0);
    assert!(!config.out.contains("MfKQ9r8"));
    for out in [&shown.out, &config.out] {
        assert!(out.contains("https://hooks.example.org") && !out.contains("example.org/autopay"), "{out}");
    }
    let said = bench.run(&["events", "enable", "biling"]).exits(5);
    assert!(said.err.contains("did you mean billing?"), "{}", said.err);
    bench.run(&["events", "enable", "billing"]).exits(0);
}

#[test]
fn what_waits_for_an_endpoint_that_is_gone_is_named_and_dropped_or_delivered_when_it_returns() {
    let bench = bench();
    bench.run(&["hold", "on", "--scope", "plan:wellness", "--reason", "a look"]).exits(0);
    bench.run(&["events", "drop", "billing", "--confirm", "1"]).exits(7).complains(&["is configured"]);
    let settings = std::fs::read_to_string(bench.path().join("autopay.toml")).unwrap();
    bench.write("autopay.toml", "");
    let states = || {
        let listed = bench.run(&["events", "list", "-o", "json"]).exits(0).json();
        let states = listed.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap().to_owned());
        states.collect::<Vec<_>>()
    };
    assert_eq!(states(), ["unconfigured"]);
    let of = |word: &str| {
        bench.run(&["events", "list", "--state", word, "-o", "json"]).exits(0).json().as_array().unwrap().len()
    };
    assert_eq!((of("unconfigured"), of("waiting")), (1, 0), "what is shown under a word is found under it");
    let shown = bench.run(&["events", "endpoints", "-o", "json"]).exits(0).json();
    let row = (&shown[0]["endpoint"], &shown[0]["standing"], &shown[0]["waiting"], &shown[0]["url"]);
    assert_eq!(row, (&"billing".into(), &"unconfigured".into(), &1.into(), &serde_json::Value::Null));
    // It returns: what waited is delivered to it.
    bench.write("autopay.toml", &settings);
    assert_eq!((states(), of("unconfigured"), of("waiting")), (vec!["waiting".to_owned()], 0, 1));
    bench.write("autopay.toml", "");
    bench.run(&["events", "drop", "billing"]).exits(2).complains(&["--confirm"]);
    bench.run(&["events", "drop", "billing", "--dry-run"]).exits(0).complains(&["1 deliveries", "nothing was changed"]);
    bench.run(&["events", "drop", "billing", "--confirm", "2"]).exits(2).complains(&["--confirm 1"]);
    assert_eq!(states(), ["unconfigured"]);
    bench.run(&["events", "drop", "billing", "--confirm", "1"]).exits(0);
    assert_eq!(states(), Vec::<String>::new());
    let audit = bench.run(&["audit", "list", "--action", "endpoint.dropped", "-o", "json"]).exits(0).json();
    assert_eq!((&audit[0]["object"], &audit[0]["detail"]), (&"billing".into(), &"1 deliveries".into()));
}

#[test]
fn an_endpoint_that_cannot_be_signed_for_is_a_mistake_of_the_configuration() {
    let bench = bench();
    bench.write("whsec", "not a secret");
    let said = bench.run(&["events", "list"]).exits(2);
    assert!(said.err.contains("events.secret_files") && !said.err.contains("not a secret"), "{}", said.err);
}

#[test]
fn what_the_courier_would_refuse_is_refused_before_anything_starts_and_all_of_it_at_once() {
    let bench = bench();
    bench.write("short", "whsec_AAAA");
    let endpoints = "\"billing=https://hooks.example.org/a\", \"near=https://169.254.169.254/latest\", \"books=https://books.example.org/\"";
    let settings = format!(
        "[events]\nendpoints = [{endpoints}]\nsecret_files = [\"billing=whsec\", \"near=whsec\", \"books=short\"]\n[log]\nlevel = \"loud\"\n"
    );
    bench.write("autopay.toml", settings);
    for command in ["serve", "doctor"] {
        let said = bench.run(&[command]).exits(2);
        for mistake in [
            "autopay.toml:2: events.endpoints = near: is an address that no event is sent to: write https://HOST/PATH",
            "autopay.toml:3: events.secret_files = short: names a file that holds a secret that is not of 24 to 64 bytes: write whsec_",
            "autopay.toml:5: log.level = loud",
        ] {
            assert!(said.err.contains(mistake), "{mistake}\n{}", said.err);
        }
        assert!(!said.err.contains("AAAA") && !said.err.contains("no secret to sign with"), "{}", said.err);
    }
}
