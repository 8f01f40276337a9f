//! Backups by command, with the real binary against the sandbox.

use std::time::{Duration, Instant};

use autopay::clock::WallClock;
use autopay::ports::Clock as _;
use chrono::TimeDelta;
use sandbox::{Behaviour, DeclineCode};

use crate::cli_book::with_sandbox;
use crate::cli_support::{Bench, PLAN};

const POLICY: &str = r#"schema = "autopay.dunning/1"
id = "through"
name = "With backups"

[limits]
most_attempts = 2
give_up_after = "21 days"

[[step]]
after = "3 days"
action = "retry"
for = ["insufficient_funds"]

[backup]
methods = "in_order"
after_tries = 1

[at_the_end]
action = "pause_subscription"
hand_to = "collections"
"#;
const HEADER: &str = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,backup_1_method_id,\
                      backup_1_method_kind,backup_1_agreed_by,backup_1_agreed_at,backup_1_agreement,backup_1_channel\n";
const AGREED: &str = "member-1,2026-11-01T10:00:00Z,form-7";

fn stolen() -> uuid::Uuid {
    sandbox::method_id(Behaviour::DeclinesWith(DeclineCode::StolenCard), 1)
}

fn apply(bench: &Bench) {
    let monthly = PLAN.replace("06:00:00", "00:00:00").replace("America/Chicago", "Pacific/Kiritimati");
    bench.write("plans/wellness.toml", format!("{monthly}\n[collect]\ndunning = \"through\"\n"));
    bench.write("plans/dunning/through.toml", POLICY);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_imported_shown_charged_and_explained() {
    let (bench, sandbox) = with_sandbox().await;
    apply(&bench);
    let (today, pays) = ((WallClock.now() + TimeDelta::hours(14)).date_naive(), sandbox::method_id(Behaviour::Pays, 2));
    bench.write("r.csv", format!("{HEADER}a,wellness,{},card,C-1,{today},{pays},card,{AGREED},\n", stolen()));
    bench.run(&["subscriptions", "import", "r.csv", "-q"]).exits(0);
    let again = bench.run(&["subscriptions", "import", "r.csv", "-o", "json"]).exits(0).json();
    assert_eq!((&again["changed"], &again["unchanged"]), (&0.into(), &1.into()), "{again}");
    let shown = bench.run(&["subscriptions", "show", "a", "-o", "json"]).exits(0).json();
    let backup = &shown["backups"][0];
    assert_eq!((&backup["payment_method_id"], &backup["agreed_by"]), (&pays.to_string().into(), &"member-1".into()));
    let deadline = Instant::now() + Duration::from_secs(90);
    let id = loop {
        bench.run(&["run", "once", "-q"]);
        let charges = bench.run(&["charges", "list", "-o", "json"]).exits(0).json();
        if charges[0]["state"] == "paid" {
            break charges[0]["id"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "never paid: {charges:#}");
        std::thread::sleep(Duration::from_millis(300));
    };
    assert_eq!(sandbox.ledger().success_count(), 1);
    let why = bench.run(&["charges", "explain", &id]).exits(0);
    for part in ["Attempt 2 was made with backup 1", "stolen_card", "consent of member-1 on 2026-11-01 (form-7)"] {
        assert!(why.out.contains(part), "{part}: {}", why.out);
    }
    let case = bench.run(&["dunning", "show", &id, "-o", "json"]).exits(0).json();
    assert!(case["backup"].as_str().is_some_and(|text| text.starts_with("with backup 1")), "{case:#}");
    assert_eq!((&case["policy"], &case["policy_version"]), (&"through".into(), &1.into()));
    assert_eq!((&case["hand_to"], &case["ended_why"]), (&"collections".into(), &"paid".into()));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_shows_the_policy_it_is_tried_by_and_who_took_over() {
    let (bench, sandbox) = with_sandbox().await;
    apply(&bench);
    let today = (WallClock.now() + TimeDelta::hours(14)).date_naive();
    bench.write("r.csv", format!("{HEADER}a,wellness,{},card,C-1,{today},,,,,,\n", stolen()));
    bench.run(&["subscriptions", "import", "r.csv", "-q"]).exits(0);
    let deadline = Instant::now() + Duration::from_secs(90);
    while bench.run(&["dunning", "list", "--handed-to", "collections", "-o", "json"]).exits(0).json()[0].is_null() {
        bench.run(&["run", "once", "-q"]);
        assert!(Instant::now() < deadline, "never handed over");
    }
    // The plan moves to another policy: the case does not.
    let plan = bench.read("plans/wellness.toml").replace("\"through\"", "\"standard\"");
    bench.write("plans/wellness.toml", plan);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let listed = bench.run(&["dunning", "list", "--handed-to", "collections", "-o", "json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["policy"], &listed[0]["policy_version"]), (&"through".into(), &1.into()));
    assert_eq!((&listed[0]["hand_to"], &listed[0]["ended_why"]), (&"collections".into(), &"hard_decline".into()));
    let nobody = bench.run(&["dunning", "list", "--handed-to", "agency", "-o", "json"]).exits(0).json();
    assert_eq!(nobody.as_array().unwrap().len(), 0);
    sandbox.stop().await;
}

#[test]
fn a_backup_needs_an_agreement_and_its_place() {
    let bench = Bench::with_plans();
    let (own, other) = (sandbox::method_id(Behaviour::Pays, 1), sandbox::method_id(Behaviour::Pays, 2));
    let row = |name: &str, rest: String| format!("{name},wellness,{own},card,C-1,2030-01-05,{rest}\n");
    let text = [
        row("a", format!("{other},card,,2026-11-01T10:00:00Z,form-7,")),
        row("b", format!("{own},card,{AGREED},")),
        row("c", format!("{other},bank_account,{AGREED},")),
        row("d", format!("{other},card,{AGREED},WEB")),
        row("e", format!("{other},card,m@example.org,2026-11-01,form-7,")),
    ];
    bench.write("r.csv", format!("{HEADER}{}", text.concat()));
    bench.run(&["subscriptions", "import", "r.csv"]).exits(6).complains(&[
        "backup_agreement_missing",
        "backup_not_allowed",
        "consent_missing",
        "consent_without_account",
        "e-mail address",
    ]);
    assert_eq!(bench.run(&["subscriptions", "list", "-o", "json"]).exits(0).json().as_array().unwrap().len(), 0);
}

#[test]
fn backups_are_changed_by_command_with_a_preview() {
    let bench = Bench::with_plans();
    let (own, other) = (sandbox::method_id(Behaviour::Pays, 1), sandbox::method_id(Behaviour::Pays, 2).to_string());
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n";
    bench.write("r.csv", format!("{header}a,wellness,{own},card,C-1,2030-01-05\n"));
    bench.run(&["subscriptions", "import", "r.csv", "-q"]).exits(0);
    let backups = || bench.run(&["subscriptions", "show", "a", "-o", "json"]).exits(0).json()["backups"].clone();
    let agreed = ["--agreed-by", "member-1", "--agreed-at", "2026-11-01T10:00:00Z", "--agreement", "form-7"];
    let add = |id: &str, more: &[&str]| {
        let start = ["subscriptions", "backups", "a", "--add", id, "--kind", "card"];
        bench.run(&[&start, &agreed[..], more].concat())
    };
    let dry = add(&other, &["--dry-run"]).exits(0);
    assert!(dry.err.contains("consent of member-1") && dry.err.contains("DRY RUN"), "{}", dry.err);
    assert_eq!(backups().as_array().map(Vec::len), Some(0));
    add(&other, &[]).exits(0);
    assert_eq!(backups()[0]["payment_method_id"], other);
    // A roster without columns for backups says nothing of them, and changes nothing of them.
    bench.run(&["subscriptions", "import", "r.csv"]).exits(0).complains(&["Nothing to do"]);
    bench.write("end.csv", format!("{},end_on\na,wellness,{own},card,C-1,2030-01-05,2031-01-01\n", header.trim()));
    bench.run(&["subscriptions", "import", "end.csv", "-q"]).exits(0);
    assert_eq!(backups()[0]["payment_method_id"], other);
    bench.write("swap.csv", format!("{header}a,wellness,{other},card,C-1,2030-01-05\n"));
    let refused = bench.run(&["subscriptions", "import", "swap.csv"]).exits(6);
    let remove = format!("`autopay subscriptions backups a --remove {other}`");
    refused.complains(&["backup_not_allowed", "of which this file says nothing", &remove]);
    assert_eq!(backups()[0]["payment_method_id"], other, "nothing is two things, and nothing was changed");
    add(&other, &[]).exits(2).complains(&["stands in this subscription already"]);
    add(&own.to_string(), &[]).exits(2).complains(&["stands in this subscription already"]);
    bench
        .run(&["subscriptions", "backups", "a", "--add", &other, "--kind", "card"])
        .exits(2)
        .complains(&["--agreed-by"]);
    bench.run(&["subscriptions", "backups", "a", "--remove", &own.to_string()]).exits(2).complains(&["no backup"]);
    bench.run(&["subscriptions", "backups", "a", "--remove", &other, "--reason", "asked by phone"]).exits(0);
    assert_eq!(backups().as_array().map(Vec::len), Some(0));
    let told = bench.run(&["audit", "list", "--object", "a", "-o", "json"]).exits(0).json();
    let actions: Vec<_> = told.as_array().unwrap().iter().map(|line| line["action"].clone()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "subscription.backups_changed").count(), 2, "{actions:?}");
}

#[test]
fn the_policy_file_says_whether_backups_are_tried() {
    let bench = Bench::new();
    let check = |text: &str| {
        bench.write("through.toml", text);
        bench.run(&["dunning", "policy", "check", "through.toml"])
    };
    check(POLICY).exits(0);
    check(&POLICY.replace("after_tries = 1\n", "")).exits(0);
    check(&POLICY.replace("after_tries = 1", "after_tries = 0")).exits(6).complains(&["backup.after_tries is 0"]);
    check(&POLICY.replace("after_tries = 1", "after_tries = 3")).exits(6).complains(&["backup_out_of_reach"]);
    check(&POLICY.replace("\"in_order\"", "\"any\"")).exits(6).complains(&["unknown_word", "in_order"]);
    check(&POLICY.replace("methods = \"in_order\"\n", "")).exits(6).complains(&["missing_key"]);
}
