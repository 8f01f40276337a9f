//! `autopay subscriptions skip`, `move`, `pause`, `cancel`, `change`, `credit`, `charge` and `adjustments`, on the real binary.

use serde_json::{Value, json};

use crate::cli_support::{Bench, PLAN, roster};

/// A subscription on the 31st of each month from 2090 on, far enough away that nothing is due, and plans to change to.
fn bench() -> Bench {
    let bench = Bench::with_plans();
    bench.write("more/gold.toml", PLAN.replace("\"wellness\"", "\"gold\"").replace("1079.00", "99.00"));
    bench.write("more/weekly.toml", PLAN.replace("\"wellness\"", "\"weekly\"").replace("1 month", "1 week"));
    bench.run(&["plans", "apply", "more", "-q"]).exits(0);
    bench.write("roster.csv", roster(&["sub-1", "sub-2"], "2090-01-31"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench
}

fn tried(bench: &Bench, arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["subscriptions"].iter().chain(arguments).chain(&["-o", "json"]).copied().collect();
    bench.run(&all).exits(0).json()
}

fn show(bench: &Bench) -> Value {
    tried(bench, &["show", "sub-1"])
}

#[test]
fn a_cycle_is_left_out_by_number_or_date_shown_first_and_put_back() {
    let bench = bench();
    let dry =
        bench.run(&["subscriptions", "skip", "sub-1", "--date", "2090-03-31", "--dry-run", "-o", "json"]).exits(0);
    dry.complains(&["DRY RUN", "1 charge of USD 1,079.00 will not happen", "cycle 0: USD 1,079.00 on 2090-01-31"]);
    let line = &dry.json()[0];
    assert_eq!((&line["cycle"], &line["was"], &line["becomes"]), (&json!(2), &json!("charged"), &json!("skipped")));
    assert_eq!(line["was_amount"], "1079.00", "{line}");
    assert_eq!(show(&bench)["overrides"], json!([]), "a dry run changes nothing");

    tried(&bench, &["skip", "sub-1", "--cycle", "2", "--reason", "hospital stay"]);
    let ruling = &show(&bench)["overrides"][0];
    assert_eq!(
        (&ruling["cycle"], &ruling["ruling"], &ruling["reason"]),
        (&json!(2), &json!("skip"), &json!("hospital stay"))
    );
    assert_eq!(ruling["by"], "tester");
    let wrong = |arguments: &[&str], code, parts: &[&str]| {
        let all: Vec<&str> = ["subscriptions", "skip", "sub-1"].iter().chain(arguments).copied().collect();
        bench.run(&all).exits(code).complains(parts);
    };
    wrong(&["--date", "2090-03-30"], 2, &["no cycle falls on 2090-03-30", "cycle 2, on 2090-03-31"]);
    wrong(&["--cycle", "1", "--clear"], 2, &["neither left out nor moved"]);
    wrong(&[], 2, &["--cycle"]);
    wrong(&["--cycle", "1", "--date", "2090-02-28"], 2, &["--date"]);
    wrong(&["--cycle", "1", "--reason", "4242 4242 4242 4242"], 2, &["card number"]);
    bench.run(&["subscriptions", "skip", "nobody", "--cycle", "1"]).exits(5);
    bench.run(&["subscriptions", "move", "sub-1", "--cycle", "2", "--clear"]).exits(2).complains(&["skip --clear"]);
    tried(&bench, &["skip", "sub-1", "--cycle", "2", "--clear"]);
    assert_eq!(show(&bench)["overrides"], json!([]));
}

#[test]
fn a_charge_moves_between_its_neighbours_only() {
    let bench = bench();
    let moved = tried(&bench, &["move", "sub-1", "--cycle", "1", "--to", "2090-03-02", "--reason", "payday"]);
    let at = |line: &Value, name: &str| line[name].as_str().unwrap().chars().take(10).collect::<String>();
    assert_eq!((at(&moved[0], "was_at"), at(&moved[0], "charge_at")), ("2090-02-28".into(), "2090-03-02".into()));
    assert_eq!(moved[0]["due_on"], "2090-02-28", "the date of the cycle stays");
    assert_eq!(show(&bench)["overrides"][0]["to"], "2090-03-02");
    for (to, said) in [("2090-04-01", "before cycle 2"), ("2090-01-31", "after cycle 0"), ("2020-01-01", "has passed")]
    {
        bench.run(&["subscriptions", "move", "sub-1", "--cycle", "1", "--to", to]).exits(2).complains(&[said]);
    }
    bench.run(&["subscriptions", "move", "sub-1", "--cycle", "1"]).exits(2);
    bench.run(&["subscriptions", "move", "sub-1", "--cycle", "1", "--to", "2090-02-30"]).exits(2);
    tried(&bench, &["move", "sub-1", "--cycle", "1", "--clear"]);
    assert_eq!(show(&bench)["overrides"], json!([]));
    // The first cycle moves the moment at which it is looked at.
    tried(&bench, &["move", "sub-1", "--cycle", "0", "--to", "2090-02-03"]);
    assert!(show(&bench)["next_due_at"].as_str().unwrap().starts_with("2090-02-03"));
}

#[test]
fn a_pause_shows_what_will_not_happen_and_when_it_ends() {
    let bench = bench();
    let dry = bench
        .run(&[
            "subscriptions",
            "pause",
            "sub-1",
            "--until",
            "2090-03-15",
            "--reason",
            "hospital stay",
            "-n",
            "-o",
            "json",
        ])
        .exits(0);
    dry.complains(&[
        "2 charges of USD 2,158.00 together will not happen",
        "It goes on by itself on 2090-03-15. The next charge is cycle 2: USD 1,079.00 on 2090-03-31.",
    ]);
    assert_eq!(dry.json().as_array().unwrap().len(), 2);
    assert_eq!(show(&bench)["status"], "active");
    tried(&bench, &["pause", "sub-1", "--until", "2090-03-15", "--reason", "hospital stay"]);
    let shown = show(&bench);
    assert_eq!((&shown["status"], &shown["resume_on"]), (&json!("paused"), &json!("2090-03-15")));
    assert_eq!(shown["note"], "paused until 2090-03-15: hospital stay (by tester)");
    bench.run(&["subscriptions", "pause", "sub-1", "--until", "2020-03-15"]).exits(2).complains(&["has come already"]);
    let dry = bench.run(&["subscriptions", "resume", "sub-1", "--dry-run", "-o", "json"]).exits(0);
    dry.complains(&[
        "DRY RUN",
        "2 cycles are affected; altogether +USD 2,158.00 to collect.",
        "The next charge is cycle 0",
    ]);
    let rows = dry.json();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(
        (&rows[0]["was"], &rows[0]["becomes"], &rows[0]["amount"]),
        (&json!("skipped"), &json!("charged"), &json!("1079.00"))
    );
    assert_eq!(show(&bench)["status"], "paused");
    tried(&bench, &["resume", "sub-1"]);
    bench.run(&["subscriptions", "resume", "sub-1", "-n"]).exits(7).complains(&["only a paused or quarantined one"]);
    let shown = show(&bench);
    assert_eq!(
        (&shown["status"], &shown["resume_on"], &shown["next_cycle"]),
        (&json!("active"), &Value::Null, &json!(0))
    );
    let endless = bench.run(&["subscriptions", "pause", "sub-1", "-o", "json"]).exits(0);
    endless.complains(&["No further cycle is charged", "Nothing is charged any more, as things stand."]);
    assert_eq!(show(&bench)["next_due_at"], Value::Null);
    let dry = bench.run(&["subscriptions", "resume", "sub-1", "-n"]).exits(0);
    dry.complains(&[
        "cycles shown",
        "The cycles to come are charged again",
        "The next charge is cycle 0: USD 1,079.00",
    ]);
    bench.run(&["subscriptions", "resume", "sub-1"]).exits(0).complains(&["The next charge is cycle 0: USD 1,079.00"]);
}

#[test]
fn an_end_is_now_or_with_the_period_and_the_latter_is_taken_back() {
    let bench = bench();
    let dry = bench.run(&["subscriptions", "cancel", "sub-1", "--at-period-end", "--dry-run", "-o", "json"]).exits(0);
    dry.complains(&["Ends after 2090-01-30", "No further cycle is charged"]);
    tried(&bench, &["cancel", "sub-1", "--at-period-end", "--reason", "moved away"]);
    assert_eq!(show(&bench)["last_on"], "2090-01-30");
    bench.run(&["subscriptions", "cancel", "sub-1", "--at-period-end"]).exits(7).complains(&["already"]);
    tried(&bench, &["cancel", "sub-1", "--clear"]);
    assert_eq!(show(&bench)["last_on"], Value::Null);
    bench.run(&["subscriptions", "cancel", "sub-1", "--clear"]).exits(7);
    // What waits for a next cycle is named: there is none any more.
    for (kind, reason) in [("credit", "class was cancelled"), ("charge", "a towel")] {
        let amount = ["subscriptions", kind, "sub-1", "--amount", "5.00", "--reason", reason];
        bench.run(&amount).exits(0);
    }
    let dry = bench.run(&["subscriptions", "cancel", "sub-1", "--at-period-end", "--dry-run"]).exits(0);
    dry.complains(&[
        "has USD 5.00 left (class was cancelled): nothing takes it any more",
        "of USD 5.00 was to be collected with the next cycle (a towel): there is none",
    ]);
    bench.run(&["subscriptions", "cancel", "sub-1", "--now", "--at-period-end"]).exits(2);
    let dry = bench.run(&["subscriptions", "cancel", "sub-1", "--now", "-n", "-o", "json"]).exits(0);
    dry.complains(&["DRY RUN", "Nothing is charged any more"]);
    assert_eq!(show(&bench)["status"], "active");
    tried(&bench, &["cancel", "sub-1", "--now", "--reason", "moved away"]);
    let shown = show(&bench);
    assert_eq!((&shown["status"], &shown["note"]), (&json!("cancelled"), &json!("cancelled by tester: moved away")));
    bench.run(&["subscriptions", "skip", "sub-1", "--cycle", "1"]).exits(7).complains(&["is cancelled"]);
    tried(&bench, &["cancel", "sub-2"]);
}

#[test]
fn a_plan_changes_with_the_next_cycle_or_not_at_all() {
    let bench = bench();
    let to = |plan: &str, at: &str| {
        bench.run(&["subscriptions", "change", "sub-1", "--plan", plan, "--at", at, "-o", "json"])
    };
    to("weekly", "next_cycle").exits(2).complains(&["another rhythm", "--at-period-end"]);
    to("gold", "2090-02-28").exits(2).complains(&["that of 2090-01-31", "--at next_cycle"]);
    to("nothing", "next_cycle").exits(2).complains(&["does not exist"]);
    to("gold", "soon").exits(2).complains(&["next_cycle"]);
    let said = to("gold", "2090-01-31").exits(0);
    let line = &said.json()[0];
    assert_eq!((&line["was_amount"], &line["amount"]), (&json!("1079.00"), &json!("99.00")));
    let shown = show(&bench);
    assert_eq!((&shown["plan"], &shown["next_cycle"]), (&json!("gold"), &json!(0)));
    // The roster still says the other plan; that is a difference for whoever imports it, and changes nothing.
    to("gold", "next_cycle").exits(2).complains(&["already"]);
}

#[test]
fn credits_and_charges_wait_for_the_next_cycle_and_are_listed() {
    let bench = bench();
    let credit = |amount: &str| {
        bench.run(&[
            "subscriptions",
            "credit",
            "sub-1",
            "--amount",
            amount,
            "--reason",
            "class was cancelled",
            "-o",
            "json",
        ])
    };
    for (amount, said) in
        [("0.00", "above zero"), ("12,50", "--amount"), ("1.001", "--amount"), ("1000000.00", "outside")]
    {
        credit(amount).exits(2).complains(&[said]);
    }
    bench.run(&["subscriptions", "credit", "sub-1", "--amount", "1.00"]).exits(2).complains(&["--reason"]);
    bench
        .run(&["subscriptions", "credit", "sub-1", "--amount", "1.00", "--reason", " "])
        .exits(2)
        .complains(&["is empty"]);
    let said = credit("1500.00").exits(0);
    let lines = said.json();
    assert_eq!((&lines[0]["becomes"], &lines[0]["why"]), (&json!("skipped"), &json!("nothing to pay")));
    assert_eq!(lines[1]["amount"], "658.00", "the rest is carried on: {lines}");
    let more = tried(&bench, &["charge", "sub-1", "--amount", "21.00", "--reason", "guest pass"]);
    assert_eq!((&more[0]["was_amount"], &more[0]["amount"]), (&json!("658.00"), &json!("679.00")));
    bench
        .run(&["subscriptions", "charge", "sub-1", "--amount", "999000.00", "--reason", "x"])
        .exits(2)
        .complains(&["too much"]);
    let listed = tried(&bench, &["adjustments", "sub-1"]);
    let told = |n: usize, name: &str| listed[n][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (told(0, "kind"), told(0, "amount"), told(0, "left")),
        ("credit".into(), "1500.00".into(), "1500.00".into())
    );
    assert_eq!(
        (told(1, "kind"), told(1, "reason"), told(1, "made_by")),
        ("charge".into(), "guest pass".into(), "tester".into())
    );
    assert_eq!(show(&bench)["adjustments"].as_array().unwrap().len(), 2);
    bench.run(&["subscriptions", "adjustments", "nobody"]).exits(5);
    assert_eq!(tried(&bench, &["adjustments", "sub-2"]), json!([]));
}

/// A whole way through the binary: a credit, the run that takes it, and the explanation.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_a_credit_once_and_says_why() {
    let sandbox = sandbox::start(sandbox::Options::default()).await.unwrap();
    let mut bench = Bench::migrated();
    let secret = bench.write("secret", sandbox::DEFAULT_CLIENT_SECRET);
    bench.env("AUTOPAY_GATEWAY_BASE_URL", sandbox.url());
    bench.env("AUTOPAY_GATEWAY_TOKEN_URL", sandbox.token_url());
    bench.env("AUTOPAY_GATEWAY_CLIENT_ID", sandbox::DEFAULT_CLIENT_ID);
    bench.env("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE", secret.display().to_string());
    let daily = PLAN
        .replace("1 month", "1 day")
        .replace("06:00:00", "00:00:00")
        .replace("America/Chicago", "Pacific/Kiritimati");
    bench.write("plans/wellness.toml", daily);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let method = sandbox::method_id(sandbox::Behaviour::Pays, 1);
    bench.write(
        "roster.csv",
        format!(
            "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n\
             sub-1,wellness,{method},card,C-1,2026-01-01\n"
        ),
    );
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    tried(&bench, &["credit", "sub-1", "--amount", "79.00", "--reason", "class was cancelled"]);
    let dry = bench.run(&["run", "once", "--dry-run", "-o", "json"]).exits(0).json();
    assert_eq!(dry["items"][0]["amount"], "1000.00", "{dry}");
    assert_eq!(dry["items"][0]["why"], "credit 1 of USD 79.00 (class was cancelled)", "{dry}");
    let done = bench.run(&["run", "once", "-o", "json"]).exits(0).json();
    assert_eq!((&done["sent"], &done["agenda_hash"]), (&json!(1), &dry["agenda_hash"]), "{done} {dry}");
    assert_eq!(sandbox.ledger().total_collected("USD"), 100_000);
    let listed = tried(&bench, &["adjustments", "sub-1"]);
    assert_eq!((&listed[0]["left"], &listed[0]["taken"]), (&json!("0.00"), &json!("79.00")));
    let charge = listed[0]["charge"].as_str().unwrap();
    let steps = bench.run(&["charges", "explain", charge]).exits(0).out;
    assert!(steps.contains("Credit 1 takes off USD 79.00 (class was cancelled)"), "{steps}");
    let timeline = bench.run(&["charges", "timeline", charge]).exits(0).out;
    assert!(timeline.contains("charge.adjusted"), "{timeline}");
    assert_eq!(bench.run(&["run", "once", "-o", "json"]).exits(0).json()["sent"], 0);
    // What was recorded is not changed any more.
    let next = show(&bench)["next_cycle"].as_u64().unwrap();
    let recorded = (next - 1).to_string();
    bench.run(&["subscriptions", "skip", "sub-1", "--cycle", &recorded]).exits(7).complains(&["recorded already"]);
    bench
        .run(&["subscriptions", "move", "sub-1", "--cycle", &recorded, "--to", "2090-01-01"])
        .exits(7)
        .complains(&["recorded already"]);
    sandbox.stop().await;
}
