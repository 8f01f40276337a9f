//! The ledger, its journals and its months by command, with the real binary against the sandbox.

use std::time::{Duration, Instant};

use sandbox::Sandbox;

use crate::cli_book::{due_now, with_sandbox};
use crate::cli_support::Bench;

/// Two paid charges of 1,079.00, and the month in which they were paid.
async fn paid() -> (Bench, Sandbox, String) {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a", "b"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        bench.run(&["run", "once", "-q"]);
        let listed = bench.run(&["ledger", "list", "-o", "json"]).exits(0).json();
        let entries = listed.as_array().unwrap();
        if entries.iter().filter(|entry| entry["entry"] == "collected").count() == 2 {
            let month = entries[0]["booked_at"].as_str().unwrap()[..7].to_owned();
            return (bench, sandbox, month);
        }
        assert!(Instant::now() < deadline, "never paid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_each_form_balances_and_is_the_same_when_it_is_repeated() {
    let (bench, _sandbox, month) = paid().await;
    let shown = bench.run(&["ledger", "show", "-o", "json"]).exits(0).json();
    let balance = |account: &str| {
        let row = shown.as_array().unwrap().iter().find(|row| row["account"] == account).unwrap();
        row["balance"].as_str().unwrap().to_owned()
    };
    assert_eq!([balance("receivable"), balance("clearing"), balance("revenue")], ["0.00", "2158.00", "-2158.00"]);
    bench.run(&["ledger", "check"]).exits(0);
    assert!(bench.run(&["ledger", "backfill", "--reason", "x"]).exits(0).err.contains("0 entries"));
    for form in ["generic-csv", "quickbooks-iif", "xero-csv", "netsuite-csv", "beancount", "ledger"] {
        for detail in [&[][..], &["--detail"][..]] {
            let export = [&["export", "journal", "--period", &month, "--format", form][..], detail].concat();
            let first = bench.run(&export).exits(0);
            let again = bench.run(&[&export[..], &["--out", "journal"]].concat()).exits(0);
            assert_eq!(bench.read("journal"), first.out, "{form}");
            assert!(again.err.contains("the same, byte for byte"), "{}", again.err);
            assert!(first.out.contains("2158.00") || !detail.is_empty(), "{}", first.out);
        }
    }
    let dry = ["export", "journal", "--period", &month, "--format", "beancount", "--out", "unwritten", "-n"];
    let dry = bench.run(&dry).exits(0);
    for said in ["debit 4316.00, credit 4316.00 USD: it balances", "sha256", "Nothing was written"] {
        assert!(dry.err.contains(said), "{}", dry.err);
    }
    assert!(dry.out.is_empty() && !bench.path().join("unwritten").exists());
    // An account that accounting does not know: nothing is written.
    bench.write("chart.csv", "account\nGateway Clearing\nAutopay Receivable\nRevnue\n");
    let export = ["export", "journal", "--period", &month, "--accounts", "chart.csv", "--out", "never"];
    bench.run(&export).exits(6).complains(&["Revenue", "not in the chart", "did you mean Revnue?"]);
    assert!(!bench.path().join("never").exists() && !bench.path().join("never.part").exists());
    bench.write("map.toml", "[accounts]\nrevenue = \"Revnue\"\n");
    bench.run(&[&export[..], &["--map", "map.toml"]].concat()).exits(0);
    assert!(bench.read("never").contains("Revnue"));
    bench.write("map.toml", "[accounts]\nrevenu = \"Revnue\"\n[xero-csv]\ndate = \"x\"\n");
    let refused = bench.run(&[&export[..], &["--map", "map.toml"]].concat()).exits(6);
    refused.complains(&["map.toml:2:1", "did you mean revenue?", "map.toml:4:8"]);
    let standard = bench.run(&["export", "journal", "--print-map"]).exits(0);
    bench.write("map.toml", &standard.out);
    bench.run(&[&export[..2], &["--period", &month, "--map", "map.toml"]].concat()).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_closed_when_it_is_over_and_opened_by_two() {
    let (mut bench, _sandbox, month) = paid().await;
    bench.run(&["period", "close", &month]).exits(7).complains(&["is not over yet"]);
    bench.run(&["period", "close", "2020-13"]).exits(2);
    bench.run(&["period", "close", "2020-01", "-n"]).exits(0);
    assert_eq!(bench.run(&["period", "show", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    let said = bench.run(&["period", "close", "2020-01", "--time-zone", "America/New_York"]).exits(0).err;
    assert!(said.contains("2020-01 is closed: 0 entries"), "{said}");
    bench.run(&["period", "close", "2020-01"]).exits(0);
    bench.run(&["period", "show", "2020-01", "--verify"]).exits(0);
    bench.run(&["period", "close", "2020-03"]).exits(7).complains(&["is not the next to close", "in their order"]);
    // What was never closed does not say that it is.
    for how in [&["2019-12"][..], &["2019-12", "--dry-run"]] {
        let said = bench.run(&[&["period", "close"], how].concat()).exits(7);
        said.complains(&["is not the next to close: the books are closed until 2020-02-01", "before the first"]);
    }
    bench.run(&["period", "close", "2020-02", "--time-zone", "UTC"]).exits(2).complains(&["America/New_York"]);
    bench.run(&["period", "waive", "2020-02", "--blocker", "held", "--culprit", "ch_x", "--reason", "y"]).exits(5);
    let reopen = ["period", "reopen", "2020-01", "--reason", "a mistake"];
    let would = [&reopen[..], &["-n"]].concat();
    assert!(bench.run(&would).exits(0).err.contains("it takes two people. Nothing was changed"));
    bench.run(&reopen).exits(8).complains(&["two people"]);
    assert!(bench.run(&would).exits(0).err.contains("you said already"));
    bench.run(&reopen).exits(8).complains(&["you said already"]);
    bench.env("AUTOPAY_USER", "another");
    assert!(bench.run(&would).exits(0).err.contains("the second person"));
    bench.run(&reopen).exits(0);
    bench.run(&reopen).exits(7);
    bench.run(&would).exits(7);
    let listed = bench.run(&["period", "show", "-o", "json"]).exits(0).json();
    assert_eq!((&listed[0]["standing"], &listed[0]["reopened_by"]), (&"reopened".into(), &"another".into()));
    let journal = bench.run(&["export", "journal", "--period", "2020-01", "--format", "ledger"]).exits(0).out;
    assert!(journal.contains("open again after it was closed"), "{journal}");
}
