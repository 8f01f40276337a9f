//! Numbers that were worked out by hand.

use crate::bench::{Bench, roster};

const SCRIPT: &str = "subscription_id,cycle,attempt,outcome\na,0,1,later_funds\nb,0,1,later_funds\nb,0,2,later_funds\n";
const FEES: &str = "schema = \"autopay.scenario/1\"\nscript = \"declined.csv\"\n[fees]\ncurrency = \"USD\"\nper_try = \"0.30\"\nper_decline = \"0.10\"\nbasis_points = 290\n";

/// Three cards of 100.00. In January `a` pays at its second try and `b` at its third, which only the second policy makes.
#[test]
fn one_more_retry_brings_exactly_its_tries_its_dollars_and_its_fees() {
    let bench = Bench::with(&["3 days"], &["a", "b", "c"]);
    bench.plans("more", &["3 days", "8 days"]);
    bench.write("declined.csv", SCRIPT);
    bench.write("fees.toml", FEES);
    let said = bench
        .rehearse(&["--months", "2", "--scenario", "fees.toml", "--against", "more", "-o", "json"])
        .exits(0)
        .json();
    let rows = said["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "two months, each of one policy, the other, and the difference");
    let row = |place: usize| {
        let row = &rows[place];
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let count = |name: &str| row[name].as_i64().unwrap();
        (
            (text("period"), text("plans")),
            [count("charges"), count("recovered_charges"), count("failed_charges"), count("tries"), count("declines")],
            ["scheduled", "collected", "recovered", "failed", "open", "fees", "net"].map(text),
        )
    };
    let owned = |period: &str, plans: &str| (period.to_owned(), plans.to_owned());
    let money = |words: [&str; 7]| words.map(str::to_owned);
    // 5 × 0.30 + 3 × 0.10 + 2 × 2.90
    let first = money(["300.00", "200.00", "100.00", "100.00", "0.00", "7.60", "192.40"]);
    assert_eq!(row(0), (owned("2027-01", "plans"), [3, 1, 1, 5, 3], first));
    // 6 × 0.30 + 3 × 0.10 + 3 × 2.90
    let second = money(["300.00", "300.00", "200.00", "0.00", "0.00", "10.80", "289.20"]);
    assert_eq!(row(1), (owned("2027-01", "more"), [3, 2, 0, 6, 3], second));
    let more = money(["0.00", "100.00", "100.00", "-100.00", "0.00", "3.20", "96.80"]);
    assert_eq!(row(2), (owned("2027-01", "difference"), [0, 1, -1, 1, 0], more));
    let same = money(["300.00", "300.00", "0.00", "0.00", "0.00", "9.60", "290.40"]);
    assert_eq!(row(3), (owned("2027-02", "plans"), [3, 0, 0, 3, 0], same));
    assert_eq!(row(5).1, [0, 0, 0, 0, 0]);
    assert_eq!(said["total"][2]["net"], "96.80");
    for check in said["check"].as_array().unwrap() {
        assert_eq!((check["doubles"].as_u64(), check["forgotten"].as_u64()), (Some(0), Some(0)));
        assert_eq!(check["difference"]["USD"], "0.00");
    }
    // The day of the try that paid: five days after the fifth and at nine, eight days in all.
    let lines = bench
        .rehearse(&["--months", "1", "--scenario", "fees.toml", "--against", "more", "--rows", "-o", "jsonl"])
        .exits(0)
        .lines();
    let day = |plans: &str, id: &str| {
        let line = lines.iter().find(|line| line["plans"] == plans && line["subscription"] == id).unwrap();
        (line["state"].as_str().unwrap().to_owned(), line["collected_on"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(day("plans", "a"), ("paid".into(), "2027-01-08".into()));
    assert_eq!(day("plans", "b"), ("failed".into(), String::new()));
    assert_eq!(day("more", "b"), ("paid".into(), "2027-01-13".into()));
    // People read the difference with its sign.
    let table = bench.rehearse(&["--months", "2", "--scenario", "fees.toml", "--against", "more"]).exits(0).out;
    assert!(table.starts_with("DRY RUN: nothing was sent, nothing was saved; no money exists here"), "{table}");
    assert!(table.contains("+100.00") && table.contains("-100.00") && table.contains("+96.80"), "{table}");
}

/// Bank accounts: one debit is given back before it was paid and tried again, every other is taken back weeks after it was.
#[test]
fn what_a_bank_gives_back_before_and_after_it_paid_is_told_apart_and_costs_its_fee() {
    let bench = Bench::with(&["3 days", "8 days"], &["a", "b"]);
    bench.write("roster.csv", roster(&["a", "b"], "bank_account"));
    bench.write("declined.csv", "subscription_id,cycle,attempt,outcome\na,0,1,later_funds\na,0,2,pays\n");
    bench.write(
        "returns.toml",
        "schema = \"autopay.scenario/1\"\nscript = \"declined.csv\"\n[returns]\nshare = \"0%\"\nafter_days = 2\nlate = \"100%\"\nlate_after_days = 20\n[returns.codes]\nR10 = \"100%\"\n[fees]\ncurrency = \"USD\"\nper_return = \"4.00\"\n",
    );
    let said = bench.rehearse(&["--months", "1", "--scenario", "returns.toml", "-o", "json"]).exits(0).json();
    let row = &said["rows"][0];
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    assert_eq!(
        (text("scheduled"), text("collected"), text("recovered")),
        ("200.00".into(), "100.00".into(), "100.00".into())
    );
    assert_eq!((text("taken_back"), text("failed"), text("open")), ("100.00".into(), "0.00".into(), "0.00".into()));
    let counts = ["tries", "declines", "returns"].map(|name| row[name].as_i64().unwrap());
    assert_eq!(counts, [3, 0, 2]);
    assert_eq!((text("fees"), text("net")), ("8.00".into(), "92.00".into()));
    let lines =
        bench.rehearse(&["--months", "1", "--scenario", "returns.toml", "--rows", "-o", "jsonl"]).exits(0).lines();
    let days: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["state"].as_str().unwrap(),
                line["collected_on"].as_str().unwrap(),
                line["settled_on"].as_str().unwrap(),
            )
        })
        .collect();
    // Debits may owe notices, and the engine took them all as given; cards of this plan owe none.
    let notes = |said: &serde_json::Value| said["notes"].to_string().matches("may owe their payers a notice").count();
    assert!(said["notes"][0].as_str().unwrap().starts_with("2 subscriptions may owe their payers a notice"), "{said}");
    let cards = Bench::with(&["3 days"], &["a"]).rehearse(&["--months", "1", "-o", "json"]).exits(0).json();
    assert_eq!([notes(&said), notes(&cards)], [1, 0]);
    // Given back two days after the fifth, so the first retry comes three days after that.
    assert_eq!(days, [("paid", "2027-01-10", "2027-01-12"), ("returned", "2027-01-05", "2027-01-07")]);
}
