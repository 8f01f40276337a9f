//! What commands over a database refuse before they do anything, and the exit codes that outlive their output.

use std::fs::File;
use std::process::Stdio;

use sandbox::{Fault, Faults, Options};
use sea_orm::{ConnectionTrait as _, Database};

use crate::cli_book::{due_now, with_sandbox_of};
use crate::cli_support::{Bench, PLAN, Said, roster};

/// Runs a command whose reader has gone.
fn unread(bench: &Bench, arguments: &[&str]) -> Said {
    let mut child = bench.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap().into()
}

/// Runs a command whose output goes to a full disk.
fn unwritten(bench: &Bench, arguments: &[&str]) -> Said {
    let full = File::options().write(true).open("/dev/full").unwrap();
    bench.command(arguments).stdout(full).output().unwrap().into()
}

#[test]
fn a_wrong_out_is_found_before_anything_is_done() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["a"], "2099-01-05"));
    bench.write("plans/wellness.toml", PLAN.replace("1079.00", "1084.00"));
    let folder = bench.path().join("plans").display().to_string();
    for out in ["no/such/folder/x", folder.as_str()] {
        for command in [
            vec!["hold", "on", "--scope", "all", "--reason", "stop"],
            vec!["subscriptions", "import", "roster.csv"],
            vec!["plans", "apply", "plans"],
            vec!["run", "once"],
        ] {
            let told = bench.run(&[&command[..], &["--out", out]].concat()).exits(2);
            told.complains(&["error: --out = ", "name a file in a folder that exists"]);
        }
    }
    assert_eq!(bench.run(&["hold", "show", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    assert_eq!(bench.run(&["subscriptions", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    assert_eq!(bench.run(&["plans", "list", "-o", "json"]).exits(0).json()[0]["amount"], "1079.00");
    // A command that fails leaves no half of a file behind.
    bench.run(&["subscriptions", "show", "nobody", "--out", "x"]).exits(5);
    assert!(!bench.path().join("x").exists() && !bench.path().join("x.part").exists());
}

#[test]
fn exit_codes_do_not_depend_on_a_reader() {
    let bench = Bench::with_plans();
    bench.write("bad.csv", roster(&["a b"], "2099-01-05"));
    for run in [unread, unwritten] {
        run(&bench, &["subscriptions", "import", "bad.csv"]).exits(6).complains(&["id_invalid"]);
        run(&Bench::new(), &["doctor"]).exits(10).complains(&["failed"]);
        run(&Bench::new(), &["migrate", "status"]).exits(3);
    }
    unread(&bench, &["hold", "show"]).exits(0);
    unwritten(&bench, &["hold", "show"]).exits(1).complains(&["cannot be written"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_told_whether_or_not_the_report_is_read() {
    let faults = Faults::only(Fault::CutAfterCommit, 1.0);
    for run in [unread, unwritten] {
        let (bench, sandbox) = with_sandbox_of(Options { faults: faults.clone(), ..Options::default() }).await;
        due_now(&bench, &["a"]);
        run(&bench, &["run", "once"]).exits(12).complains(&["unknown"]);
        sandbox.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_have_an_exit_code_of_their_own() {
    let (mut bench, sandbox) = with_sandbox_of(Options::default()).await;
    due_now(&bench, &["a"]);
    bench.write("secret", "not the secret");
    for command in [
        vec!["gateway", "ping"],
        vec!["gateway", "lookup", "4c1f2c3e-0d5b-5f7e-9a51-7b0f3a2d9c11"],
        vec!["run", "once"],
        vec!["doctor"],
    ] {
        let told = bench.run(&command).exits(4);
        assert!(format!("{}{}", told.out, told.err).contains("check gateway.client_id"), "{}{}", told.out, told.err);
    }
    assert!(sandbox.ledger().successes_by_key().is_empty());
    bench.write("secret", sandbox::DEFAULT_CLIENT_SECRET);
    bench.env("AUTOPAY_GATEWAY_SCOPE_PREFIX", "financial/other");
    bench.run(&["gateway", "ping"]).exits(4);
    sandbox.stop().await;
}

#[test]
fn a_hold_on_what_is_not_there_is_refused_with_the_nearest_name() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["sub-0001", "sub-0002"], "2099-01-05"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    for (scope, mend) in [
        ("plan:welness", "did you mean plan:wellness?"),
        ("plan:gold", "`autopay plans list` shows those there are"),
        ("subscription:sub-001", "did you mean subscription:sub-0001?"),
        ("subscription:nobody", "`autopay subscriptions list` shows those there are"),
        ("merchant:22222222-2222-4222-8222-222222222222", "merchant:11111111-1111-4111-8111-111111111111"),
    ] {
        bench.run(&["hold", "on", "--scope", scope, "--reason", "stop"]).exits(5).complains(&[scope, mend]);
    }
    assert_eq!(bench.run(&["hold", "show", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    for scope in ["all", "plan:wellness", "subscription:sub-0001", "merchant:11111111-1111-4111-8111-111111111111"] {
        bench.run(&["hold", "on", "--scope", scope, "--reason", "stop"]).exits(0);
    }
}

#[test]
fn every_mistake_of_a_roster_is_listed_however_many_there_are() {
    let bench = Bench::with_plans();
    let ids: Vec<String> = (0..250).map(|n| format!("wrong {n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    bench.write("roster.csv", roster(&ids, "2099-01-05"));
    let listed = bench.run(&["subscriptions", "import", "roster.csv", "-o", "json", "-q"]).exits(6);
    assert_eq!(listed.err.matches("\"code\":\"id_invalid\"").count(), 250);
    // A person is shown a hundred, and told of the others.
    let told = bench.run(&["subscriptions", "import", "roster.csv"]).exits(6);
    assert_eq!(told.err.matches("error  id_invalid").count(), 100);
    told.complains(&["… and 150 more of id_invalid; -o json lists all of them"]);
}

#[test]
fn what_an_import_or_an_application_leaves_as_it_is_is_said() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["a", "b"], "2099-01-05"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench.run(&["subscriptions", "cancel", "a", "-q"]).exits(0);
    let told = bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    told.complains(&["1 subscription of the file is not active and stays so", "a (cancelled)."]);
    bench.write("others/gym.toml", PLAN.replace("wellness", "gym"));
    let told = bench.run(&["plans", "apply", "others"]).exits(0);
    told.complains(&["1 plan has no file here and stays in force: wellness", "status = \"retired\""]);
    bench.write("others/wellness.toml", PLAN);
    assert!(!bench.run(&["plans", "apply", "others"]).exits(0).err.contains("no file here"));
}

#[tokio::test]
async fn a_roster_is_imported_again_when_some_of_its_subscriptions_have_ended() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["a", "b"], "2099-01-05"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let set = async |sql: &str| {
        let url = format!("sqlite:{}", bench.path().join("autopay.db").display());
        let database = Database::connect(url).await.unwrap();
        database.execute_unprepared(sql).await.unwrap();
        database.close().await.unwrap();
    };
    // As if a had been charged through its last year.
    set("UPDATE subscription SET start_on = '2020-01-05', end_on = '2020-11-30', next_cycle = 11 WHERE id = 'a'").await;
    let rows = roster(&["a", "b"], "2099-01-05").replacen("2099", "2020", 1);
    let rows = rows.replace("start_on\n", "start_on,end_on\n").replace("01-05\n", "01-05,\n");
    bench.write("roster.csv", rows.replacen("2020-01-05,", "2020-01-05,2020-11-30", 1));
    let told = bench.run(&["subscriptions", "import", "roster.csv"]).exits(6);
    told.complains(&["has_ended", "none of its charges is to come", "write a later end_on"]);
    set("UPDATE subscription SET status = 'ended', next_due_at = NULL WHERE id = 'a'").await;
    let told = bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    told.complains(&["Nothing to do: 2 subscriptions are as the file says already", "a (ended)"]);
}
