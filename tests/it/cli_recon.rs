//! Reconciliation by command, with the real binary against the sandbox.

use std::time::{Duration, Instant};

use chrono::NaiveDate;
use sandbox::{Sandbox, SettlementFaults};

use crate::cli_book::{due_now, with_sandbox};
use crate::cli_support::Bench;

/// Two paid charges of 1,079.00, and the day they fell due on.
async fn paid() -> (Bench, Sandbox, String) {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a", "b"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        bench.run(&["run", "once", "-q"]);
        let listed = bench.run(&["charges", "list", "--state", "paid", "-o", "json"]).exits(0).json();
        let rows = listed.as_array().unwrap();
        if rows.len() == 2 {
            let day = rows[0]["due_on"].as_str().unwrap().to_owned();
            return (bench, sandbox, day);
        }
        assert!(Instant::now() < deadline, "never paid");
    }
}

/// The sandbox's own ledger as a file.
fn file(bench: &Bench, sandbox: &Sandbox, faults: &SettlementFaults) {
    let [from, until] = [NaiveDate::MIN, NaiveDate::MAX];
    bench.write("payout.csv", sandbox.ledger().settlement_file(from, until, faults));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_compared_and_a_difference_is_decided_by_two_people() {
    let (mut bench, sandbox, day) = paid().await;
    let run = ["recon", "run", "--date", &day, "--all", "-o", "json"];
    let told = bench.run(&run).exits(0).json();
    assert_eq!(told["sums"][0]["book"], "2158.00", "{told}");
    assert_eq!((&told["sums"][0]["residue"], &told["exceptions"]), (&"0.00".into(), &serde_json::json!([])));
    // A file that tells of a payment twice.
    file(&bench, &sandbox, &SettlementFaults { double: 1.0, ..SettlementFaults::default() });
    let dry = bench.run(&["recon", "run", "--settlement", "payout.csv", "--dry-run", "-o", "json"]).exits(0).json();
    assert_eq!((&dry[0]["type"], &dry[0]["rows"], &dry[0]["gross"]), (&"payment".into(), &4.into(), &"4316.00".into()));
    let compare = ["recon", "run", "--settlement", "payout.csv", "-o", "json"];
    let said = bench.run(&compare).exits(10);
    said.complains(&["2 differences are found"]);
    let told = said.json();
    let id = told["exceptions"][0]["exception"].to_string();
    assert_eq!(told["exceptions"][0]["kind"], "repeated_row", "{told}");
    bench.run(&compare).exits(0).complains(&["nothing is done again"]);
    bench.run(&["recon", "doubles"]).exits(0);
    bench.run(&["recon", "waive", &id, "--reason", "the file was made twice"]).exits(8).complains(&["another person"]);
    bench.env("AUTOPAY_USER", "second");
    bench.run(&["recon", "waive", &id, "--reason", "the file was made twice", "--dry-run"]).exits(0);
    bench.run(&["recon", "waive", &id, "--reason", "the file was made twice"]).exits(0);
    bench.run(&["recon", "waive", &id, "--reason", "the file was made twice"]).exits(7).complains(&["waived already"]);
    bench.run(&["recon", "match", "9999", "--reason", "x"]).exits(2).complains(&["--charge"]);
    let open = bench.run(&["recon", "exceptions", "-o", "json"]).exits(0).json();
    assert_eq!(open.as_array().unwrap().len(), 1);
    let runs = bench.run(&["recon", "list", "-o", "json"]).exits(0).json();
    assert_eq!((runs.as_array().unwrap().len(), &runs[0]["source"]), (2, &"file".into()), "{runs}");
    bench.run(&["recon", "show", &runs[1]["run"].to_string()]).exits(0);
    bench.run(&["recon", "show", "99"]).exits(5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_names_every_mistake_and_changes_nothing() {
    let (bench, _sandbox, _) = paid().await;
    bench.write(
        "bad.csv",
        "type,gateway_id,gross,currency,settled_on\npaymnt,p,1.00,USD,2027-01-01\npayment,,1.000,USD,01/02/2027\n",
    );
    let said = bench.run(&["recon", "run", "--settlement", "bad.csv"]).exits(6);
    said.complains(&["bad.csv:2:1", "row_type", "bad.csv:3:10", "amount", "bad.csv:3:20", "date", "id_missing"]);
    bench.write("map.toml", "schema = \"autopay.settlement-map/1\"\n[columns]\nkind = \"x\"\n");
    bench
        .run(&["recon", "run", "--settlement", "bad.csv", "--map", "map.toml"])
        .exits(6)
        .complains(&["map.toml:3", "unknown_key"]);
    bench.run(&["recon", "run", "--settlement", "gone.csv"]).exits(6);
    bench.run(&["recon", "run"]).exits(2);
    bench.run(&["recon", "run", "--from", "2027-02-01", "--until", "2027-01-01"]).exits(2).complains(&["before"]);
    assert_eq!(bench.run(&["recon", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
}
