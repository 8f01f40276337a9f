//! Cases by command, with the real binary against the sandbox.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use autopay::clock::WallClock;
use autopay::ports::Clock as _;
use calamine::{Reader as _, Xlsx};
use chrono::TimeDelta;
use sandbox::{Behaviour, DeclineCode, Faults, Sandbox};
use serde_json::Value;

use crate::cli_book::with_sandbox;
use crate::cli_support::{Bench, PLAN};

/// One charge of each method, due by now, and one run over them.
async fn sent(methods: &[(&str, Behaviour)]) -> (Bench, Sandbox) {
    let (bench, sandbox) = with_sandbox().await;
    // Where a day begins first, so that what starts today is due by now.
    let monthly = PLAN.replace("06:00:00", "00:00:00").replace("America/Chicago", "Pacific/Kiritimati");
    let today = (WallClock.now() + TimeDelta::hours(14)).date_naive();
    bench.write("plans/wellness.toml", monthly);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let mut text = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n".to_owned();
    for (n, (name, behaviour)) in (1..).zip(methods) {
        let method = sandbox::method_id(*behaviour, n);
        text.push_str(&format!("{name},wellness,{method},card,C-{n},{today}\n"));
    }
    bench.write("roster.csv", text);
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    (bench, sandbox)
}

fn declines(code: DeclineCode) -> Behaviour {
    Behaviour::DeclinesWith(code)
}

fn listed(bench: &Bench, command: &[&str]) -> Vec<Value> {
    bench.run(&[command, &["-o", "json"]].concat()).exits(0).json().as_array().unwrap().clone()
}

/// Runs until so many charges are failing or have failed.
fn until_declined(bench: &Bench, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        bench.run(&["run", "once", "-q"]);
        let done = listed(bench, &["charges", "list", "--state", "failing", "--state", "failed"]);
        if done.len() == count {
            return;
        }
        assert!(Instant::now() < deadline, "never declined: {done:#?}");
    }
}

fn id_of(bench: &Bench, subscription: &str) -> String {
    let found = listed(bench, &["charges", "list", "--subscription", subscription]);
    found[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_are_listed_shown_paused_and_stopped() {
    let (bench, sandbox) =
        sent(&[("poor", declines(DeclineCode::InsufficientFunds)), ("stolen", declines(DeclineCode::StolenCard))])
            .await;
    until_declined(&bench, 2);
    let open = listed(&bench, &["dunning", "list"]);
    assert_eq!(open.len(), 1, "{open:#?}");
    for name in ["next_step", "next_step_at", "ends_at", "end_action", "class", "policy", "opened_at"] {
        assert!(open[0][name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {}", open[0]);
    }
    assert_eq!((&open[0]["state"], &open[0]["next_step"]), (&"failing".into(), &"retry".into()));
    let ended = listed(&bench, &["dunning", "list", "--state", "ended"]);
    assert_eq!((&ended[0]["state"], &ended[0]["ended_why"]), (&"failed".into(), &"hard_decline".into()));
    assert_eq!(ended[0]["next_step"], Value::Null, "what is over has no next step");
    assert_eq!(listed(&bench, &["dunning", "list", "--state", "all"]).len(), 2);
    assert_eq!(listed(&bench, &["dunning", "list", "--class", "later_funds", "--plan", "wellness"]).len(), 1);
    assert_eq!(listed(&bench, &["dunning", "list", "--class", "contact"]).len(), 0);
    bench.run(&["dunning", "list", "--class", "sad"]).exits(2).complains(&["later_funds"]);

    let poor = id_of(&bench, "poor");
    let shown = bench.run(&["dunning", "show", &poor, "-o", "json"]).exits(0).json();
    assert_eq!(shown["attempts"][0]["class"], "later_funds");
    let budget = shown["budget"].as_array().unwrap();
    let of =
        |rule: &str| budget.iter().find(|row| row["rule"] == rule).unwrap_or_else(|| panic!("{rule}: {budget:#?}"));
    let month = of("visa-excessive-retries");
    assert_eq!((&month["used"], &month["most"], &month["left"]), (&1.into(), &20.into(), &19.into()));
    assert!(month["source"].as_str().is_some_and(|source| !source.is_empty()));
    let told: Vec<&str> =
        shown["history"].as_array().unwrap().iter().map(|row| row["event"].as_str().unwrap()).collect();
    assert!(told.contains(&"dunning.case.opened") && told.contains(&"charge.intent"), "{told:?}");
    bench.run(&["dunning", "show", "ch_00000000-0000-8000-8000-000000000000"]).exits(5);

    let due_on: chrono::NaiveDate = open[0]["due_on"].as_str().unwrap().parse().unwrap();
    // Later than the policy tries, and before the next cycle of any month.
    let until = due_on + TimeDelta::days(27);
    let day = until.to_string();
    let pause = ["dunning", "pause", &poor, "--reason", "salary on the first", "--until", &day, "-o", "json"];
    let dry = bench.run(&[&pause[..], &["--dry-run"]].concat()).exits(0);
    assert_eq!((&dry.json()["dry_run"], dry.err.contains("nothing was changed")), (&true.into(), true));
    assert_eq!(listed(&bench, &["dunning", "list"])[0]["next_step_at"], open[0]["next_step_at"]);
    bench
        .run(&["dunning", "pause", &poor, "--reason", "x", "--until", "2026-01-01"])
        .exits(2)
        .complains(&["come already"]);
    bench.run(&["dunning", "pause", &poor, "--reason", "x", "--until", "2999-01-01"]).exits(7).complains(&[
        "the next cycle is due on",
        "no try on that day or later",
        "name a day before it",
    ]);
    let paused = bench.run(&pause).exits(0).json();
    let in_utc = (until - TimeDelta::days(1)).to_string();
    assert!(paused["next_step_at"].as_str().unwrap().starts_with(&in_utc), "{paused}");
    assert_eq!(paused["ends_at"], paused["next_step_at"], "a case never ends before its next step");

    bench.run(&["dunning", "stop", &poor]).exits(2).complains(&["--reason"]);
    let stopped = bench.run(&["dunning", "stop", &poor, "--reason", "moved abroad", "-o", "json"]).exits(0).json();
    assert_eq!(stopped["state"], "failed");
    bench.run(&["dunning", "stop", &poor, "--reason", "again"]).exits(7);
    assert_eq!(listed(&bench, &["dunning", "list"]).len(), 0);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_tried_again_with_their_count_typed_back() {
    let (bench, sandbox) = sent(&[
        ("a", declines(DeclineCode::InsufficientFunds)),
        ("b", declines(DeclineCode::InsufficientFunds)),
        ("c", declines(DeclineCode::StolenCard)),
    ])
    .await;
    until_declined(&bench, 3);
    let retry =
        ["charges", "retry", "--reason", "funds are there", "--filter", "plan=wellness state=failing state=failed"];
    let dry = bench.run(&[&retry[..], &["--dry-run", "-o", "json"]].concat()).exits(0);
    dry.complains(&["2 charges, USD 2,158.00; 1 refused", "--confirm 2"]);
    let rows = dry.json();
    let no: Vec<&Value> = rows.as_array().unwrap().iter().filter(|row| row["retried"] == false).collect();
    assert_eq!((no.len(), &no[0]["subscription"]), (1, &"c".into()));
    assert!(no[0]["why_not"].as_str().unwrap().contains(", version 20"), "{}", no[0]);
    bench.run(&retry).exits(2).complains(&["--dry-run"]);
    bench.run(&[&retry[..], &["--confirm", "3"]].concat()).exits(7).complains(&["would try 2 now"]);
    let attempts = |id: &str| {
        bench.run(&["charges", "show", id, "-o", "json"]).exits(0).json()["attempts"].as_array().unwrap().len()
    };
    let (a, c) = (id_of(&bench, "a"), id_of(&bench, "c"));
    assert_eq!(attempts(&a), 1, "nothing was changed");
    bench.run(&[&retry[..], &["--confirm", "2"]].concat()).exits(9);
    let deadline = Instant::now() + Duration::from_secs(60);
    while attempts(&a) < 2 {
        bench.run(&["run", "once", "-q"]);
        assert!(Instant::now() < deadline, "never tried");
    }
    assert_eq!(attempts(&c), 1);
    bench
        .run(&["charges", "retry", "--filter", "state=paid due<soon", "--reason", "x", "--dry-run"])
        .exits(2)
        .complains(&["at character 1", "at character 12", "failing, failed or returned"]);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_is_given_up_once_and_never_in_doubt() {
    let (bench, sandbox) = sent(&[("poor", declines(DeclineCode::InsufficientFunds))]).await;
    until_declined(&bench, 1);
    let poor = id_of(&bench, "poor");
    let write_off = ["charges", "write-off", poor.as_str(), "--reason", "hardship", "-o", "json"];
    assert_eq!(bench.run(&[&write_off[..], &["--dry-run"]].concat()).exits(0).json()["state"], "skipped");
    bench.run(&write_off).exits(2).complains(&["--confirm 1079.00"]);
    let done = bench.run(&[&write_off[..], &["--confirm", "1079.00"]].concat()).exits(0).json();
    assert!(done["sentence"].as_str().unwrap().starts_with("Written off"), "{done}");
    bench.run(&[&write_off[..], &["--confirm", "1079.00"]].concat()).exits(7).complains(&["final"]);
    bench.run(&["charges", "retry", &poor, "--reason", "x"]).exits(7);
    sandbox.stop().await;

    let (bench, sandbox) = sent(&[("silent", Behaviour::Pays)]).await;
    sandbox.set_faults(Faults { cut_after_commit: 1.0, get_5xx: 1.0, ..Faults::none() });
    bench.run(&["run", "once", "-q"]);
    let silent = id_of(&bench, "silent");
    for command in [["charges", "retry"], ["charges", "write-off"]] {
        let ended = bench.run(&[&command[..], &[silent.as_str(), "--reason", "x"]].concat()).exits(12);
        ended.complains(&["whether money moved is not known", "charges resolve"]);
    }
    assert_eq!(listed(&bench, &["charges", "list", "--state", "outcome_unknown"]).len(), 1, "nothing was changed");
    sandbox.stop().await;
}

/// The words of states are the same in every command and form, and what is failing is never called failed.
#[tokio::test(flavor = "multi_thread")]
async fn failing_and_failed_are_two_words_everywhere() {
    let (bench, sandbox) =
        sent(&[("poor", declines(DeclineCode::InsufficientFunds)), ("stolen", declines(DeclineCode::StolenCard))])
            .await;
    until_declined(&bench, 2);
    for (name, word, other) in [("poor", "failing", "failed"), ("stolen", "failed", "failing")] {
        let id = id_of(&bench, name);
        let lists = [vec!["charges", "list", "--subscription", name], vec!["dunning", "list", "--state", "all"]];
        for list in &lists {
            for form in ["json", "jsonl", "csv", "table"] {
                let said = bench.run(&[&list[..], &["-o", form]].concat()).exits(0).out;
                let line = said.lines().collect::<Vec<_>>().join(" ");
                let rows = if form == "json" {
                    let rows: Vec<Value> = serde_json::from_str::<Vec<Value>>(&said).unwrap();
                    let row = rows.into_iter().find(|row| row["subscription"] == name).unwrap();
                    row["state"].as_str().unwrap().to_owned()
                } else {
                    let row = said.lines().find(|line| line.contains(id.as_str()));
                    row.unwrap_or_else(|| panic!("{list:?} {form}: {line}")).to_owned()
                };
                assert!(rows.contains(word) && !rows.contains(other), "{list:?} {form}: {rows}");
            }
        }
        let shown = bench.run(&["charges", "show", &id, "-o", "json"]).exits(0).json();
        assert_eq!(shown["state"], word);
        let sentence = shown["sentence"].as_str().unwrap();
        assert_eq!(sentence.starts_with("Failed for good"), word == "failed", "{sentence}");
        assert_eq!(sentence.starts_with("Declined: "), word == "failing", "{sentence}");
        assert_eq!(bench.run(&["dunning", "show", &id, "-o", "json"]).exits(0).json()["state"], word);
        let only = listed(&bench, &["charges", "list", "--state", word]);
        assert!(only.iter().all(|row| row["state"] == word) && only.len() == 1, "{only:#?}");
    }
    // In a workbook too: what fails is to come, and what has failed is not.
    bench.run(&["forecast", "--months", "3", "--group", "state", "-o", "xlsx", "--out", "states.xlsx", "-q"]).exits(0);
    let bytes = std::fs::read(bench.path().join("states.xlsx")).unwrap();
    let mut book: Xlsx<_> = Xlsx::new(std::io::Cursor::new(bytes)).unwrap();
    let sheet = book.worksheet_range("Forecast").unwrap();
    let words: BTreeSet<String> = sheet.rows().flatten().map(ToString::to_string).collect();
    assert!(words.contains("failing") && !words.contains("failed"), "{words:?}");
    sandbox.stop().await;
}
