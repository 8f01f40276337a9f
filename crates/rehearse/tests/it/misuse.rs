//! Broken files and wrong flags: everything at once, with place, value and mend; and an `autopay` that stands alone.

use crate::bench::{Bench, autopay};

#[test]
fn broken_scenario_files_end_with_six_and_every_mistake_and_print_nothing() {
    let bench = Bench::with(&["3 days"], &["a"]);
    bench.write("bad.csv", "subscription_id,cycle,attempt,outcome\n*,x,1,maybe\n");
    bench.write(
        "bad.toml",
        "schema = \"autopay.scenario/1\"\nscript = \"bad.csv\"\n[[success]]\nrate = 0.9\nattempt = 0\n[declines]\nlater_funds = \"70%\"\n[[outage]]\nfrom = 2027-01-02T00:00:00Z\nuntil = 2027-01-01T00:00:00Z\n[fees]\nper_try = \"1e3\"\n",
    );
    for form in ["table", "json"] {
        let said = bench.rehearse(&["--scenario", "bad.toml", "-o", form]).exits(6);
        said.complains(&[
            "bad.toml:4:8",
            "share_invalid",
            "92.5%",
            "bad.toml:5:11",
            "number_invalid",
            "shares_do_not_add_up",
            "70.0000%",
            "bad.toml:10:9",
            "outage_ends_first",
            "bad.toml:11:1",
            "missing_key",
            "bad.toml:12:11",
            "money_invalid",
            "bad.csv:2:1",
            "cycle_invalid",
            "outcome_invalid",
        ]);
        assert_eq!(said.out, "");
    }
    bench.write("other.toml", "schema = \"autopay.scenario/1\"\n[[success]]\nplan = \"jym\"\nrate = \"90%\"\n");
    bench.rehearse(&["--scenario", "other.toml"]).exits(6).complains(&[
        "other.toml:3:8",
        "unknown_plan   plan = \"jym\"",
        "there is no such plan",
    ]);
    bench.plans("broken", &["3 days"]);
    bench.write("broken/gym.toml", "schema = \"autopay.plan/1\"\nid = \"other\"\n");
    let said = bench.rehearse(&["--against", "broken"]).exits(6);
    said.complains(&["broken/gym.toml"]);
    assert_eq!(said.out, "");
}

#[test]
fn wrong_flags_are_all_named_at_once() {
    let bench = Bench::with(&["3 days"], &["a"]);
    let wrong = ["--months", "0", "--seed", "x", "--in-flight", "1000", "--scenario", "none.toml"];
    bench.rehearse(&wrong).exits(2).complains(&[
        "--months = 0",
        "--seed = x",
        "--in-flight = 1000",
        "--scenario = none.toml",
        "write",
    ]);
    bench.rehearse(&["--until", "2026-12-31"]).exits(2).complains(&["--until"]);
    bench.rehearse(&["--until", "2037-01-01"]).exits(2).complains(&["ten years"]);
}

/// A rehearsal may take long: a place that cannot be written is refused before it, and what was begun does not stay behind.
#[test]
fn a_place_that_cannot_be_written_is_refused_at_once_and_a_file_appears_whole() {
    let bench = Bench::with(&["3 days"], &["a"]);
    for place in [".", "none/out.csv"] {
        bench.rehearse(&["--months", "120", "--out", place]).exits(2).complains(&["--out", "name a file"]);
    }
    bench.rehearse(&["--against", "none", "--out", "out.csv"]).exits(6);
    assert!(!bench.path().join("out.csv.part").exists() && !bench.path().join("out.csv").exists());
    let said = bench.rehearse(&["--months", "1", "-o", "csv", "--out", "out.csv", "-q"]).exits(0);
    let text = std::fs::read_to_string(bench.path().join("out.csv")).unwrap();
    assert_eq!((said.out.as_str(), text.lines().count()), ("", 2));
    assert!(text.lines().nth(1).unwrap().starts_with("2027-01,plans,USD,1,100.00,100.00,"), "{text}");
    assert!(!bench.path().join("out.csv.part").exists());
}

/// A production image contains `autopay` and nothing beside it.
#[test]
fn an_autopay_without_its_neighbour_says_in_one_error_how_to_get_it() {
    let bench = Bench::new();
    let alone = bench.path().join("autopay");
    if std::fs::hard_link(autopay(), &alone).is_err() {
        std::fs::copy(autopay(), &alone).unwrap();
    }
    for words in [&["rehearse", "--months", "3"][..], &["rehearse", "--help"], &["-o", "json", "rehearse"]] {
        let said = bench.run_as(&alone, words).exits(2);
        said.complains(&["autopay-rehearse", "not beside autopay", "cargo install --locked --path crates/rehearse"]);
        assert_eq!((said.err.lines().count(), said.out.as_str()), (1, ""), "{}", said.err);
    }
}

#[test]
fn autopay_hands_every_word_over_to_its_neighbour() {
    let bench = Bench::with(&["3 days"], &["a"]);
    let book = ["--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01", "--months", "1"];
    let direct = bench.rehearse(&["--months", "1", "-o", "csv", "-q"]).exits(0);
    let through = bench.autopay(&[&["-o", "csv", "rehearse"], &book[..], &["-q"]].concat()).exits(0);
    assert_eq!((direct.out, direct.err), (through.out, through.err));
    let help = bench.autopay(&["rehearse", "--help"]).exits(0).out;
    assert!(help.contains("--against") && help.contains("Usage: autopay rehearse"), "{help}");
    bench.autopay(&["rehearse", "--colour"]).exits(2).complains(&["--colour"]);
}
