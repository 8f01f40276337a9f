//! `autopay audit list`, `verify` and `anchor` on the real binary; and which lines each command that changes something leaves.

use std::process::Command;

use sandbox::{Behaviour, Fault, Options, Sandbox, method_id};
use sea_orm::{ConnectionTrait as _, Database};
use serde_json::Value;

use crate::cli_captures::boxes;
use crate::cli_kinds::daily;
use crate::cli_support::{Bench, PLAN, Said};
use crate::cli_webhooks::disputed;

/// A folder whose gateway is a sandbox, a plan, and two subscriptions: one that begins far ahead, and one that is due by now.
async fn bench() -> (Bench, Sandbox) {
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let mut bench = Bench::migrated();
    let secret = bench.write("secret", sandbox::DEFAULT_CLIENT_SECRET);
    bench.env("AUTOPAY_GATEWAY_BASE_URL", sandbox.url());
    bench.env("AUTOPAY_GATEWAY_TOKEN_URL", sandbox.token_url());
    bench.env("AUTOPAY_GATEWAY_CLIENT_ID", sandbox::DEFAULT_CLIENT_ID);
    bench.env("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE", secret.display().to_string());
    bench.write("plans/wellness.toml", PLAN);
    let daily = PLAN.replace("\"wellness\"", "\"daily\"").replace("1 month", "1 day").replace("06:00:00", "00:00:00");
    bench.write("plans/daily.toml", daily.replace("America/Chicago", "Pacific/Kiritimati"));
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on";
    let (ahead, due) = (method_id(Behaviour::Pays, 1), method_id(Behaviour::Pays, 2));
    bench.write(
        "roster.csv",
        format!("{header}\na,wellness,{ahead},card,C-1,2090-01-31\nd,daily,{due},card,C-2,2026-01-01\n"),
    );
    (bench, sandbox)
}

fn said(bench: &Bench, more: &[&str]) -> Value {
    let all = [&["audit", "list", "--all", "-o", "json"], more].concat();
    bench.run(&all).exits(0).json()
}

/// The lines after a number, `actor action object`, and the number of the last.
fn since(bench: &Bench, last: &mut u64) -> Vec<String> {
    let rows = said(bench, &[]);
    let rows = rows.as_array().unwrap().iter().filter(|row| row["id"].as_u64().unwrap() > *last);
    let told: Vec<String> = rows
        .map(|row| {
            let word = |name: &str| row[name].as_str().unwrap();
            format!("{} {} {}", word("actor"), word("action"), word("object"))
        })
        .collect();
    *last += u64::try_from(told.len()).unwrap();
    told
}

fn run_as(bench: &Bench, who: &str, arguments: &[&str]) -> Said {
    bench.command(arguments).env("AUTOPAY_USER", who).output().unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_that_changes_something_leaves_exactly_its_lines() {
    let (bench, sandbox) = bench().await;
    let mut last = 0;
    let mut tell = |who: &str, arguments: &[&str], expected: &[&str]| {
        let done = run_as(&bench, who, arguments);
        assert!([0, 8].contains(&done.code), "{arguments:?}: {}\n{}", done.out, done.err);
        assert_eq!(since(&bench, &mut last), expected, "{arguments:?}");
        done
    };
    tell("ann", &["plans", "apply", "plans"], &["ann plan.applied daily", "ann plan.applied wellness"]);
    tell("ann", &["plans", "apply", "plans"], &[]);
    tell("ann", &["subscriptions", "import", "roster.csv", "--dry-run"], &[]);
    let each =
        ["ann subscriptions.imported subscriptions", "ann subscription.imported a", "ann subscription.imported d"];
    tell("ann", &["subscriptions", "import", "roster.csv"], &each);
    let sub = |verb: &'static str, more: &[&'static str]| -> Vec<&'static str> {
        [&["subscriptions", verb, "a", "--reason", "as agreed"], more].concat()
    };
    tell("ann", &sub("skip", &["--cycle", "2", "--dry-run"]), &[]);
    tell("ann", &sub("skip", &["--cycle", "2"]), &["ann subscription.cycle_skipped a"]);
    tell("ann", &["subscriptions", "skip", "a", "--cycle", "2", "--clear"], &["ann subscription.cycle_cleared a"]);
    tell("ann", &sub("move", &["--cycle", "1", "--to", "2090-03-05"]), &["ann subscription.cycle_moved a"]);
    tell("ann", &sub("credit", &["--amount", "10.00"]), &["ann subscription.credited a"]);
    tell("ann", &sub("charge", &["--amount", "5.00"]), &["ann subscription.charged a"]);
    tell("ann", &sub("pause", &[]), &["ann subscription.paused a"]);
    tell("ann", &["subscriptions", "resume", "a", "--reason", "as agreed"], &["ann subscription.resumed a"]);
    tell("ann", &sub("cancel", &["--at-period-end", "--dry-run"]), &[]);
    tell("ann", &sub("cancel", &[]), &["ann subscription.cancelled a"]);
    tell("ann", &["hold", "on", "--scope", "plan:daily", "--reason", "doubts"], &["ann hold.on plan:daily"]);
    tell("ann", &["hold", "on", "--scope", "plan:daily", "--reason", "again"], &[]);
    tell("bob", &["hold", "off", "--scope", "plan:daily", "--reason", "mended"], &["bob hold.off plan:daily"]);
    bench.write("plans/wellness.toml", PLAN.replace("1079.00", "1080.00"));
    let proposed = tell(
        "ann",
        &["plans", "propose", "plans", "--reason", "minute 14", "-o", "json"],
        &["ann change_set.proposed CS-1"],
    );
    assert_eq!(proposed.json()["id"], "CS-1");
    tell("bob", &["changes", "approve", "CS-1", "--comment", "seen"], &["bob change_set.approved CS-1"]);
    tell("ann", &["changes", "apply", "CS-1"], &["ann plan.applied wellness", "ann change_set.applied CS-1"]);
    let why = ["--reason", "as agreed"];
    tell("bob", &[&["changes", "revert", "CS-1"], &why[..]].concat(), &["bob change_set.proposed CS-2"]);
    tell("ann", &[&["changes", "reject", "CS-2"], &why[..]].concat(), &["ann change_set.rejected CS-2"]);
    tell("bob", &[&["changes", "revert", "CS-1"], &why[..]].concat(), &["bob change_set.proposed CS-3"]);
    tell("bob", &[&["changes", "withdraw", "CS-3"], &why[..]].concat(), &["bob change_set.withdrawn CS-3"]);
    let method = method_id(Behaviour::Pays, 1);
    let open = "INSERT INTO payment_method_dispute (method_id, dispute_id, state, at) VALUES";
    vandalize(&bench, &[&format!("{open} (x'{}', 'dp-1', 'open', '2026-01-01T00:00:00+00:00')", method.simple())])
        .await;
    let method = method.to_string();
    let released = format!("ann method.released {method}");
    tell("ann", &[&["wallet", "release", &method], &why[..]].concat(), &[&released]);
    // Every line of a person has a reason where the command takes one, and facts where the object stood somewhere.
    for row in said(&bench, &["--action", "subscription"]).as_array().unwrap() {
        let action = row["action"].as_str().unwrap();
        // What is new stood nowhere before.
        assert_eq!(row["before"].is_string(), action != "subscription.imported", "{row}");
        assert!(row["after"].is_string(), "{row}");
        let reasoned = !["subscription.cycle_cleared", "subscription.imported"].contains(&action);
        assert_eq!(row["reason"] == "as agreed", reasoned, "{row}");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_to_money_is_told_with_its_charge() {
    let (bench, sandbox) = bench().await;
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    // More than one cycle was missed: a person says what is owed.
    bench.run(&["subscriptions", "resume", "d", "--from-today"]);
    bench.run(&["run", "once", "-q"]);
    let listed = bench.run(&["charges", "list", "-o", "json"]).exits(0).json();
    let Some(charge) = listed.as_array().unwrap().iter().find(|row| row["state"] == "paid") else { panic!("{listed}") };
    let id = charge["id"].as_str().unwrap();
    run_as(&bench, "ann", &["charges", "refund", id, "--amount", "10.00", "--reason", "requested_by_customer", "-q"]);
    let told = said(&bench, &["--object", id]);
    let actions: Vec<&str> = told.as_array().unwrap().iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(&actions[..3], ["charge.intent", "charge.learnt", "refund.recorded"], "{told}");
    assert_eq!(told[2]["actor"], "ann");
    bench.run(&["audit", "verify"]).exits(0).complains(&["The audit is whole"]);
    sandbox.stop().await;
}

/// What a command about a charge leaves: `actor action`, in order, each about that charge.
fn about(bench: &Bench, id: &str, arguments: &[&str]) -> Vec<String> {
    let mut last = 0;
    since(bench, &mut last);
    let done = run_as(bench, "ann", arguments);
    assert_eq!(done.code, 0, "{arguments:?}: {}\n{}", done.out, done.err);
    let lines = since(bench, &mut last);
    let told = lines.iter().map(|line| line.strip_suffix(id).unwrap_or_else(|| panic!("{line}")).trim_end().to_owned());
    let told = told.collect();
    for row in said(bench, &["--object", id]).as_array().unwrap().iter().rev().take(lines.len()) {
        assert!(row["before"].is_string() && row["after"].is_string(), "it stood somewhere before: {row}");
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_order_about_a_charge_leaves_exactly_its_lines() {
    let (bench, sandbox, id) = boxes("", Behaviour::Pays).await;
    let capture = ["charges", "capture", &id, "--amount", "30.00"];
    let told = about(&bench, &id, &capture);
    assert_eq!(told, ["ann charge.capture", "autopay charge.capture", "gateway charge.learnt"]);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_find_about_a_charge_leaves_exactly_its_lines() {
    let (bench, sandbox) = daily("value = \"1079.00\"\nmaximum = \"100.00\"").await;
    bench.run(&["run", "once", "-q"]).exits(9);
    let listed = bench.run(&["charges", "list", "--state", "held", "-o", "json"]).exits(0).json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let decide = ["charges", "decide", &id, "--as", "charge", "--reason", "agreed", "--confirm", "1079.00"];
    assert_eq!(about(&bench, &id, &decide), ["ann charge.decided"]);
    // Its answer is lost: the gateway is asked once more by a person, and knows.
    sandbox.fail_next_post(Fault::CutAfterCommit);
    bench.run(&["run", "once", "-q"]);
    assert_eq!(about(&bench, &id, &["charges", "resolve", &id, "--ask"]), ["gateway charge.learnt"]);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_a_person_gives_up_leaves_exactly_its_lines() {
    let (bench, sandbox) = daily("value = \"1079.00\"").await;
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,consent_id,consent_at,consent_channel";
    let account = method_id(Behaviour::AchSettles { days: Some(3) }, 7);
    let row = format!("b,wellness,{account},bank_account,C-2,2026-01-01,consent-1,2025-12-01T10:00:00Z,WEB");
    bench.write("roster.csv", format!("{header}\n{row}\n"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench.run(&["run", "once", "-q"]);
    let listed = bench.run(&["charges", "list", "-o", "json"]).exits(0).json();
    let debit = listed.as_array().unwrap().iter().find(|row| row["subscription"] == "b");
    let id = debit.unwrap_or_else(|| panic!("{listed}"))["id"].as_str().unwrap().to_owned();
    let mut last = 0;
    since(&bench, &mut last);
    let done = run_as(&bench, "ann", &["charges", "cancel", &id, "--reason", "requested-by-customer"]);
    let told = since(&bench, &mut last);
    let expected = [
        format!("ann charge.cancel_sent {id}"),
        format!("gateway charge.learnt {id}"),
        format!("autopay dunning.case.opened {id}/1"),
        format!("autopay dunning.case.ended {id}/1"),
        // As its policy says at the end.
        "autopay subscription.paused b".to_owned(),
    ];
    assert_eq!(told, expected, "{}{}", done.out, done.err);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_replayed_leaves_its_line() {
    let (_hooked, bench) = disputed().await;
    let listed = bench.run(&["webhooks", "list", "-o", "json"]).exits(0).json();
    let id = listed[1]["id"].as_str().unwrap();
    let mut last = 0;
    since(&bench, &mut last);
    run_as(&bench, "ann", &["webhooks", "replay", id]);
    assert_eq!(since(&bench, &mut last), [format!("ann webhook.replayed {id}")]);
}

/// A book with a few lines, without a gateway.
fn record() -> Bench {
    let bench = Bench::with_plans();
    for n in 0..5 {
        let scope = if n == 0 { "all".to_owned() } else { "plan:wellness".to_owned() };
        bench
            .run(&["hold", "on", "--scope", &scope, "--reason", "=cmd|' /C calc'!A0, \"quoted\" — ünïcode", "-q"])
            .exits(0);
        bench.run(&["hold", "off", "--scope", &scope, "-q"]).exits(0);
    }
    bench
}

async fn vandalize(bench: &Bench, statements: &[&str]) {
    let database = Database::connect(format!("sqlite:{}", bench.path().join("autopay.db").display())).await.unwrap();
    for sql in statements {
        database.execute_unprepared(sql).await.unwrap();
    }
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_audit_is_told_so_and_a_broken_one_where() {
    let bench = record();
    bench.run(&["audit", "anchor", "-o", "json", "--out", "anchor.json"]).exits(0);
    let verified = bench.run(&["audit", "verify", "--anchor", "anchor.json", "-o", "json"]).exits(0);
    verified.complains(&["The audit is whole: 11 lines follow from one another, and holds the anchor's line 11."]);
    assert_eq!((&verified.json()["whole"], &verified.json()["lines"]), (&Value::from(true), &Value::from(11)));
    // A year later, with more lines, the anchor still holds.
    bench.run(&["hold", "on", "--scope", "all", "--reason", "later", "-q"]).exits(0);
    bench.run(&["audit", "verify", "--anchor", "anchor.json"]).exits(0);
    vandalize(&bench, &["DROP TRIGGER audit_kept", "UPDATE audit SET actor = 'mallory' WHERE id = 4"]).await;
    let told = bench.run(&["audit", "verify"]).exits(10);
    told.complains(&[
        "broken at 1 place of 12 lines, first: line 4 is not as it was written",
        "Lines 1 to 3",
        "Lines 5 to 12",
    ]);
    for (file, text) in
        [("none.json", None), ("bad.json", Some("{\"chain\":1}")), ("long.json", Some(&*"x".repeat(5_000)))]
    {
        if let Some(text) = text {
            bench.write(file, text);
        }
        bench.run(&["audit", "verify", "--anchor", file]).exits(6).complains(&[file, "autopay audit anchor"]);
    }
    bench.run(&["audit", "list", "--from", "2027-02-01", "--until", "2027-01-01"]).exits(2).complains(&["--until"]);
}

#[test]
fn lists_are_told_in_every_form_and_cells_start_no_formula() {
    let bench = record();
    let csv = bench.run(&["audit", "list", "--action", "hold.on", "-o", "csv"]).exits(0);
    assert!(csv.out.starts_with("id,at,actor,action,object,detail,reason,before,after,seal\n"), "{}", csv.out);
    assert!(csv.out.contains("\"'=cmd|"), "{}", csv.out);
    assert_eq!(csv.out.lines().count(), 6);
    let table = bench.run(&["audit", "list", "--limit", "3"]).exits(0);
    assert!(!table.out.contains("seal") && table.out.contains("plan.applied"), "{}", table.out);
    table.complains(&["There are more"]);
    assert_eq!(bench.run(&["audit", "list", "--all", "-o", "jsonl"]).exits(0).out.lines().count(), 11);
    assert_eq!(
        bench.run(&["audit", "list", "--actor", "nobody", "-o", "json"]).exits(0).json(),
        Value::Array(Vec::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_an_export_is_computed_again_without_autopay() {
    let bench = record();
    let verify = || -> Said {
        bench.run(&["audit", "list", "--all", "-o", "jsonl", "--out", "audit.jsonl"]).exits(0);
        let mut python = Command::new("python3");
        python.args([
            "-B",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/verify.py"),
            "audit.jsonl",
            "anchor.json",
        ]);
        python.current_dir(bench.path()).output().unwrap().into()
    };
    bench.run(&["audit", "anchor", "-o", "json", "--out", "anchor.json"]).exits(0);
    assert_eq!(verify().exits(0).out, "11 lines follow from one another\n");
    vandalize(&bench, &["DROP TRIGGER audit_kept", "UPDATE audit SET reason = 'none' WHERE id = 6"]).await;
    verify().exits(1).complains(&["line 6 does not follow"]);
}
