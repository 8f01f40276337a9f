//! Commands over a database: schema, plans, subscriptions, charges, holds, runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::{Faults, Options, Sandbox};
use tokio_util::sync::CancellationToken;

use crate::cli_support::{Bench, PLAN, roster};
use crate::postgres::TestDatabase;

#[test]
fn a_database_without_a_schema_says_what_to_run() {
    let bench = Bench::new();
    bench.run(&["plans", "list"]).exits(11).complains(&["autopay migrate up"]);
    let before = bench.run(&["migrate", "status", "-o", "json"]).exits(3).json();
    assert_eq!(before["applied"], 0);
    let done = bench.run(&["migrate", "up", "-o", "json"]).exits(0).json();
    assert_eq!(done["applied"], done["known"]);
    bench.run(&["migrate", "up"]).exits(0);
    bench.run(&["migrate", "status"]).exits(0);
    assert_eq!(bench.run(&["plans", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
}

#[test]
fn plans_are_applied_once_and_a_wrong_directory_changes_nothing() {
    let bench = Bench::migrated();
    bench.write("plans/wellness.toml", PLAN);
    let dry = bench.run(&["plans", "apply", "plans", "--dry-run", "-o", "json"]).exits(0);
    assert_eq!(dry.json()[0]["result"], "would_add");
    assert_eq!(bench.run(&["plans", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    assert_eq!(bench.run(&["plans", "apply", "plans", "-o", "json"]).exits(0).json()[0]["version"], 1);
    assert_eq!(bench.run(&["plans", "apply", "plans", "-o", "json"]).exits(0).json()[0]["result"], "unchanged");
    assert_eq!(bench.run(&["plans", "apply", "plans", "-n", "-o", "json"]).exits(0).json()[0]["result"], "unchanged");
    bench.write("plans/wellness.toml", PLAN.replace("1079.00", "1084.00"));
    assert_eq!(
        bench.run(&["plans", "apply", "plans", "-n", "-o", "json"]).exits(0).json()[0]["result"],
        "would_change"
    );
    bench.write("plans/broken.toml", "schema = 1\n");
    bench.run(&["plans", "apply", "plans"]).exits(6).complains(&["broken.toml"]);
    let list = bench.run(&["plans", "list", "-o", "json"]).exits(0).json();
    assert_eq!(
        (&list[0]["id"], &list[0]["amount"], &list[0]["currency"]),
        (&"wellness".into(), &"1079.00".into(), &"USD".into())
    );
    assert!(bench.run(&["plans", "list"]).exits(0).out.contains("USD 1,079.00"));
}

/// The price of a plan with subscriptions may change, its rhythm may not: cycles are counted by it.
#[test]
fn a_plan_in_use_keeps_its_rhythm() {
    let bench = Bench::with_plans();
    bench.write("plans/wellness.toml", PLAN.replace("1 month", "2 months"));
    bench.run(&["plans", "apply", "plans"]).exits(0);
    bench.write("roster.csv", roster(&["a"], "2027-01-01"));
    bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    bench.write("plans/wellness.toml", PLAN.replace("1 month", "1 week"));
    let told = bench.run(&["plans", "apply", "plans"]).exits(6);
    told.complains(&[
        "plans/wellness.toml:8:9",
        "every = \"1 week\"",
        "schedule.every is 1 week here and 2 months in force",
    ]);
    bench.write("plans/wellness.toml", PLAN.replace("1 month", "2 months").replace("1079.00", "1084.00"));
    bench.run(&["plans", "apply", "plans"]).exits(0);
}

#[test]
fn a_good_roster_is_imported_once() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["a", "b", "c"], "2099-01-05"));
    let dry = bench.run(&["subscriptions", "import", "roster.csv", "--dry-run", "-o", "json"]).exits(0).json();
    assert_eq!((&dry["added"], &dry["applied"]), (&3.into(), &false.into()));
    assert_eq!(bench.run(&["subscriptions", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    let done =
        bench.run(&["subscriptions", "import", "roster.csv", "--report", "back.csv", "-o", "json"]).exits(0).json();
    assert_eq!((&done["added"], &done["applied"]), (&3.into(), &true.into()));
    assert!(bench.read("back.csv").lines().skip(1).all(|line| line.contains(",ok,")), "{}", bench.read("back.csv"));
    let again = bench
        .run_with_input(&["subscriptions", "import", "-", "-o", "json"], &bench.read("roster.csv"))
        .exits(0)
        .json();
    assert_eq!((&again["added"], &again["unchanged"]), (&0.into(), &3.into()));
    let back = bench.run(&["subscriptions", "import", "back.csv", "-o", "json"]).exits(0).json();
    assert_eq!(back["unchanged"], 3);
}

#[test]
fn a_bad_row_stops_an_import_unless_good_rows_are_wanted() {
    let bench = Bench::with_plans();
    let text = format!(
        "{}x,nothing,,,,2099-01-05\ny,wellness,4242424242424242,card,C-9,2099-13-05\n",
        roster(&["a", "b"], "2099-01-05")
    );
    bench.write("roster.csv", &text);
    let refused = bench.run(&["subscriptions", "import", "roster.csv", "--report", "back.csv", "-o", "json"]).exits(6);
    assert_eq!((&refused.json()["bad"], &refused.json()["added"]), (&2.into(), &0.into()));
    let errors: serde_json::Value = serde_json::from_str(refused.err.lines().last().unwrap()).unwrap();
    assert!(errors["errors"].as_array().unwrap().len() >= 3, "{errors}");
    assert!(!refused.err.contains("4242424242424242"), "{}", refused.err);
    let back = bench.read("back.csv");
    assert_eq!(back.lines().filter(|line| line.contains(",not_applied,")).count(), 2, "{back}");
    assert!(!back.contains("4242424242424242"), "{back}");
    assert_eq!(bench.run(&["subscriptions", "list", "-o", "jsonl"]).exits(0).out.lines().count(), 0);
    bench.run(&["subscriptions", "import", "roster.csv"]).exits(6).complains(&["roster.csv:4", "roster.csv:5", "Fix:"]);

    let partly = bench
        .run(&["subscriptions", "import", "roster.csv", "--good-rows", "--report", "back.csv", "-o", "json"])
        .exits(9);
    assert_eq!((&partly.json()["added"], &partly.json()["applied"]), (&2.into(), &true.into()));
    assert_eq!(bench.run(&["subscriptions", "list", "-o", "jsonl"]).exits(0).out.lines().count(), 2);
    bench.run(&["subscriptions", "import", "none.csv"]).exits(6).complains(&["none.csv"]);
    bench.run(&["subscriptions", "import", "roster.csv", "--good-rows", "--all-or-none"]).exits(2);
}

#[test]
fn what_a_subscription_was_charged_by_cannot_be_moved_by_an_import() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["a"], "2099-01-05"));
    bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    bench.write("moved.csv", roster(&["a"], "2099-02-05"));
    let said = bench.run(&["subscriptions", "import", "moved.csv", "--report", "back.csv"]).exits(6);
    said.complains(&["immutable_field", "start_on = 2099-02-05", "2099-01-05"]);
    assert!(bench.read("back.csv").contains("immutable_field"));
    let shown = bench.run(&["subscriptions", "show", "a", "-o", "json"]).exits(0).json();
    assert_eq!(shown["start_on"], "2099-01-05");
}

#[test]
fn rows_on_every_page_of_a_long_roster_are_compared_with_the_book() {
    let bench = Bench::with_plans();
    // The book is compared a thousand rows at a time.
    let ids: Vec<String> = (0..2_001).map(|n| format!("s-{n:04}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let text = roster(&ids, "2099-01-05");
    bench.write("roster.csv", &text);
    bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    for id in ["s-0003", "s-1003", "s-2000"] {
        bench.run(&["subscriptions", "cancel", id, "--now", "--reason", "left"]).exits(0);
    }
    let again = bench.run(&["subscriptions", "import", "roster.csv", "-o", "json"]).exits(0);
    assert_eq!((&again.json()["added"], &again.json()["unchanged"]), (&0.into(), &2_001.into()));
    again.complains(&["3 subscriptions of the file are not active", "s-0003 (cancelled), s-1003 (cancelled), s-2000"]);

    let moved: Vec<String> = text
        .lines()
        .map(|line| {
            let moves = ["s-0000,", "s-0999,", "s-1000,", "s-2000,"].iter().any(|id| line.starts_with(id));
            if moves { line.replace("2099-01-05", "2099-02-05") } else { line.to_owned() }
        })
        .collect();
    bench.write("moved.csv", moved.join("\n") + "\n");
    let said = bench.run(&["subscriptions", "import", "moved.csv", "-o", "json"]).exits(6);
    assert_eq!((&said.json()["bad"], &said.json()["good"]), (&4.into(), &1_997.into()));
    said.complains(&["moved.csv:2:", "moved.csv:1001:", "moved.csv:1002:", "moved.csv:2002:"]);
}

#[test]
fn lists_are_paged_and_things_that_are_not_there_end_with_five() {
    let bench = Bench::with_plans();
    let ids: Vec<String> = (0..7).map(|n| format!("s-{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    bench.write("roster.csv", roster(&ids, "2099-01-05"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let some = bench.run(&["subscriptions", "list", "--limit", "3", "-o", "jsonl"]).exits(0);
    assert_eq!(some.out.lines().count(), 3);
    some.complains(&["there are more"]);
    assert_eq!(bench.run(&["subscriptions", "list", "--all", "-o", "csv"]).exits(0).out.lines().count(), 8);
    assert_eq!(
        bench.run(&["subscriptions", "list", "--status", "paused", "-o", "csv"]).exits(0).out.lines().count(),
        1
    );
    bench.run(&["subscriptions", "list", "--status", "asleep"]).exits(2);
    bench.run(&["subscriptions", "show", "nobody"]).exits(5).complains(&["nobody", "does not exist"]);
    bench.run(&["subscriptions", "cancel", "nobody"]).exits(5);
    let cancelled = bench.run(&["subscriptions", "cancel", "s-1", "-o", "json"]).exits(0).json();
    assert_eq!(cancelled["in_flight"], 0);
    assert_eq!(bench.run(&["subscriptions", "show", "s-1", "-o", "json"]).exits(0).json()["status"], "cancelled");
    let nobody = "ch_00000000000000000000000000000000";
    for command in ["show", "timeline", "explain"] {
        bench.run(&["charges", command, nobody]).exits(5).complains(&["does not exist"]);
        bench.run(&["charges", command, "4711"]).exits(2);
    }
    assert_eq!(bench.run(&["charges", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    bench.run(&["charges", "list", "--state", "lost"]).exits(2).complains(&["outcome_unknown"]);
    bench.run(&["charges", "list", "--from", "2027-02-01", "--until", "2027-01-01"]).exits(2);
}

#[test]
fn holds_are_set_shown_and_lifted() {
    let bench = Bench::with_plans();
    assert_eq!(bench.run(&["hold", "show", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    bench.run(&["hold", "on", "--scope", "plan:wellness", "--reason", "=dispute"]).exits(0);
    bench
        .run(&["hold", "on", "--scope", "plan:wellness", "--reason", "again"])
        .exits(0)
        .complains(&["in force already"]);
    let shown = bench.run(&["hold", "show", "-o", "json"]).exits(0).json();
    assert_eq!((&shown[0]["scope"], &shown[0]["by"]), (&"plan:wellness".into(), &"tester".into()));
    assert!(bench.run(&["hold", "show", "-o", "csv"]).exits(0).out.contains(",'=dispute,"));
    bench.run(&["hold", "off", "--scope", "all"]).exits(5).complains(&["not in force"]);
    bench.run(&["hold", "off", "--scope", "plan:wellness"]).exits(0);
    assert_eq!(bench.run(&["hold", "show", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    bench.run(&["hold", "on", "--scope", "all"]).exits(2).complains(&["--reason"]);
    bench.run(&["hold", "on", "--scope", "all", "--reason", " "]).exits(2);
}

#[test]
fn what_needs_the_gateway_says_which_settings_are_missing() {
    let bench = Bench::with_plans();
    for command in [vec!["run", "once"], vec!["gateway", "ping"], vec!["serve"]] {
        bench
            .run(&command)
            .exits(2)
            .complains(&["gateway.base_url: is missing", "gateway.client_secret_file: is missing"]);
    }
    bench.run(&["run", "once", "--dry-run"]).exits(0).complains(&["agenda sha256:"]);
    let doctor = bench.run(&["doctor", "-o", "json"]).exits(0).json();
    let status = |check: &str| {
        doctor.as_array().unwrap().iter().find(|row| row["check"] == check).map(|row| row["status"].clone()).unwrap()
    };
    assert_eq!((status("schema"), status("clock"), status("gateway")), ("ok".into(), "ok".into(), "warn".into()));
    Bench::new().run(&["doctor"]).exits(10).complains(&["1 check failed"]);
}

/// A folder whose gateway is a sandbox.
pub(crate) async fn with_sandbox() -> (Bench, Sandbox) {
    with_sandbox_of(Options::default()).await
}

/// As [`with_sandbox`], of a sandbox that is told how to behave.
pub(crate) async fn with_sandbox_of(options: Options) -> (Bench, Sandbox) {
    let sandbox = sandbox::start(options).await.unwrap();
    let mut bench = Bench::with_plans();
    let secret = bench.write("secret", sandbox::DEFAULT_CLIENT_SECRET);
    bench.env("AUTOPAY_GATEWAY_BASE_URL", sandbox.url());
    bench.env("AUTOPAY_GATEWAY_TOKEN_URL", sandbox.token_url());
    bench.env("AUTOPAY_GATEWAY_CLIENT_ID", sandbox::DEFAULT_CLIENT_ID);
    bench.env("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE", secret.display().to_string());
    bench.env("AUTOPAY_HTTP_LISTEN", "127.0.0.1:0");
    bench.env("AUTOPAY_RATE_PER_SECOND", "1000");
    (bench, sandbox)
}

/// A roster that is due by now, whatever the day: a plan of every day at midnight, from yesterday's import on.
pub(crate) fn due_now(bench: &Bench, ids: &[&str]) {
    let daily = PLAN
        .replace("1 month", "1 day")
        .replace("06:00:00", "00:00:00")
        .replace("America/Chicago", "Pacific/Kiritimati");
    bench.write("plans/wellness.toml", daily);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.write("roster.csv", roster(ids, "2026-01-01"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_charges_what_is_due_and_every_command_shows_it() {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a", "b"]);
    let dry = bench.run(&["run", "once", "--dry-run", "-o", "json"]).exits(0);
    assert_eq!(dry.json()["items"].as_array().unwrap().len(), 2, "{}", dry.out);
    assert_eq!(dry.json()["items"][0]["action"], "send");
    let hash = dry.err.lines().find_map(|line| line.strip_prefix("agenda ")).unwrap().to_owned();
    let run = bench.run(&["run", "once", "-o", "json"]).exits(0).json();
    assert_eq!((&run["sent"], &run["agenda_hash"]), (&2.into(), &hash.into()), "{run}");
    // The result of an accepted payment may take a further look.
    let deadline = Instant::now() + Duration::from_secs(60);
    while bench.run(&["charges", "list", "--state", "paid", "-o", "jsonl"]).exits(0).out.lines().count() < 2 {
        assert!(Instant::now() < deadline, "never paid");
        bench.run(&["run", "once", "-q"]);
    }
    let listed =
        bench.run(&["charges", "list", "--state", "paid", "--subscription", "a", "-o", "json"]).exits(0).json();
    assert_eq!((&listed[0]["amount"], &listed[0]["currency"]), (&"1079.00".into(), &"USD".into()));
    let id = listed[0]["id"].as_str().unwrap();
    let shown = bench.run(&["charges", "show", id, "-o", "json"]).exits(0).json();
    assert_eq!((&shown["money_moved"], &shown["attempts"][0]["number"]), (&"yes".into(), &1.into()), "{shown}");
    assert!(bench.run(&["charges", "show", id]).exits(0).out.contains("USD 1,079.00"));
    assert!(!bench.run(&["charges", "timeline", id, "-o", "json"]).exits(0).json().as_array().unwrap().is_empty());
    let why = bench.run(&["charges", "explain", id]).exits(0).out;
    assert!(why.contains("USD 1,079.00") && why.contains("zone data"), "{why}");
    let key = shown["attempts"][0]["key"].as_str().unwrap();
    assert_eq!(bench.run(&["gateway", "lookup", key, "-o", "json"]).exits(0).json()["seen"], "succeeded");
    bench
        .run(&["gateway", "lookup", "4c1f2c3e-0d5b-5f7e-9a51-7b0f3a2d9c11"])
        .exits(5)
        .complains(&["not known to the gateway"]);
    assert_eq!(bench.run(&["gateway", "ping", "-o", "json"]).exits(0).json()["reachable"], true);
    assert_eq!(
        bench.run(&["doctor", "-o", "jsonl"]).exits(0).out.lines().filter(|line| line.contains("\"fail\"")).count(),
        0
    );
    assert!(sandbox.ledger().successes_by_key().values().all(|count| *count == 1));
    sandbox.stop().await;
    bench.run(&["gateway", "ping"]).exits(11);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_means_nothing_was_sent() {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a"]);
    sandbox.stop().await;
    bench.run(&["run", "once"]).exits(11).complains(&["nothing was charged"]);
}

/// One request over a plain socket: status and body.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

pub(crate) fn signal(child: &std::process::Child, name: &str) {
    let sent = std::process::Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_answers_probes_charges_and_stops_cleanly() {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a", "b", "c"]);
    let mut child = bench.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started: serde_json::Value = loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == "started" {
            break line;
        }
    };
    assert_eq!(started["service.name"], "autopay");
    assert_eq!(started["deployment.environment"], "development");
    let address = started["listen"].as_str().unwrap().to_owned();
    assert_eq!(get(&address, "/livez").0, 200);
    assert_eq!(get(&address, "/startupz").0, 200);
    assert_eq!(get(&address, "/readyz").0, 200);
    let (status, verbose) = get(&address, "/readyz?verbose");
    assert!(status == 200 && verbose.contains("\"database\""), "{verbose}");
    let (status, problem) = get(&address, "/charges");
    let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
    assert_eq!((status, &problem["money_moved"], &problem["retry"]), (404, &"no".into(), &"no".into()));
    let deadline = Instant::now() + Duration::from_secs(60);
    while sandbox.ledger().successes_by_key().len() < 3 {
        assert!(Instant::now() < deadline, "nothing was charged");
        crate::crash::rest(Duration::from_millis(50)).await;
    }
    let (_, metrics) = get(&address, "/metrics");
    for name in ["autopay_build_info", "autopay_outcome_unknown", "autopay_gateway_request_duration_seconds_bucket"] {
        assert!(metrics.contains(name), "{name}\n{metrics}");
    }
    signal(&child, "TERM");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("\"stopped\"")), "{rest:?}");
    assert!(rest.iter().all(|line| !line.contains("fields_dropped")), "{rest:?}");
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_refuses_a_schema_that_is_behind_unless_it_may_mend_it() {
    let (bench, sandbox) = with_sandbox().await;
    let fresh = ["serve", "--set", "database.url=sqlite:fresh.db"];
    bench.run(&fresh).exits(11).complains(&["autopay migrate up"]);
    let mut command = bench.command(&fresh);
    let mut child = command.arg("--migrate").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines {
        if line.unwrap().contains("\"started\"") {
            signal(&child, "INT");
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    sandbox.stop().await;
}

/// The first line of the log with this event; its place in the process's life is what the test waits for.
fn wait_for(lines: &mut impl Iterator<Item = std::io::Result<String>>, event: &str) -> serde_json::Value {
    loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == event {
            return line;
        }
    }
}

/// A way to a PostgreSQL server that is opened and cut by hand.
struct Way {
    address: std::net::SocketAddr,
    server: String,
    open: Option<CancellationToken>,
}

impl Way {
    /// A way to the server of a database, closed: a port where nobody listens.
    async fn closed(database: &TestDatabase) -> (Self, String) {
        let (_, place) = database.url.rsplit_once('@').unwrap();
        let (server, name) = place.split_once('/').unwrap();
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap();
        (Self { address, server: server.to_owned(), open: None }, format!("postgres://postgres@{address}/{name}"))
    }

    async fn open(&mut self) {
        let door = tokio::net::TcpListener::bind(self.address).await.unwrap();
        let (cut, server) = (CancellationToken::new(), self.server.clone());
        self.open = Some(cut.clone());
        tokio::spawn(cut.clone().run_until_cancelled_owned(async move {
            while let Ok((mut near, _)) = door.accept().await {
                let mut far = tokio::net::TcpStream::connect(&server).await.unwrap();
                let copy = async move { tokio::io::copy_bidirectional(&mut near, &mut far).await };
                tokio::spawn(cut.clone().run_until_cancelled_owned(copy));
            }
        }));
    }

    fn cut(&mut self) {
        self.open.take().unwrap().cancel();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_waits_for_a_database_that_is_not_there_yet_and_answers_its_probes_meanwhile() {
    let Some(database) = TestDatabase::create("a database that comes late").await else { return };
    let (mut way, url) = Way::closed(&database).await;
    let (mut bench, sandbox) = with_sandbox().await;
    bench.env("AUTOPAY_DATABASE_URL", url);
    let mut command = bench.command(&["serve", "--migrate"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let probes = wait_for(&mut lines, "listening")["listen"].as_str().unwrap().to_owned();
    wait_for(&mut lines, "store_unavailable");
    assert_eq!(["/livez", "/startupz", "/readyz"].map(|path| get(&probes, path).0), [200, 503, 503]);
    way.open().await;
    wait_for(&mut lines, "started");
    assert_eq!(["/livez", "/startupz", "/readyz"].map(|path| get(&probes, path).0), [200, 200, 200]);
    signal(&child, "TERM");
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_although_the_database_is_gone_and_what_was_sent_is_asked_about_later() {
    let Some(database) = TestDatabase::create("a stop without a database").await else { return };
    let (mut way, url) = Way::closed(&database).await;
    way.open().await;
    let (mut bench, sandbox) = with_sandbox().await;
    bench.env("AUTOPAY_DATABASE_URL", url);
    // The lease of the process that is gone has to run out before anybody asks.
    bench.env("AUTOPAY_TESTING_LEASE_SECONDS", "8");
    bench.env("AUTOPAY_GATEWAY_TIME_LIMIT_SECONDS", "3");
    bench.env("AUTOPAY_GATEWAY_CONNECT_TIMEOUT_SECONDS", "1");
    bench.run(&["migrate", "up", "-q"]).exits(0);
    due_now(&bench, &["a", "b", "c"]);
    sandbox.set_faults(Faults { slow: 1.0, slow_ms: 2_000, ..Faults::none() });
    let mut child = bench.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    wait_for(&mut lines, "started");
    // Sent, and the answers still to come: their verdicts will find no database.
    while sandbox.ledger().submissions_by_key().len() < 3 {
        crate::crash::rest(Duration::from_millis(20)).await;
    }
    way.cut();
    signal(&child, "TERM");
    wait_for(&mut lines, "verdicts_dropped");
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    way.open().await;
    sandbox.set_faults(Faults::none());
    let deadline = Instant::now() + Duration::from_secs(240);
    while bench.run(&["charges", "list", "--state", "paid", "-o", "jsonl"]).exits(0).out.lines().count() < 3 {
        assert!(Instant::now() < deadline, "never learnt");
        bench.run(&["run", "once", "-q"]);
        crate::crash::rest(Duration::from_millis(500)).await;
    }
    assert_eq!(sandbox.ledger().submissions().len(), 3, "nothing was sent twice");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_charges_from_a_file() {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a"]);
    let mut child = bench.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    wait_for(&mut lines, "started");
    for second in [vec!["run", "once"], vec!["serve", "--listen", "127.0.0.1:0"]] {
        bench.run(&second).exits(7).complains(&["another autopay process", "stop it first"]);
    }
    bench.run(&["run", "once", "--dry-run"]).exits(0);
    bench.run(&["charges", "list"]).exits(0);
    // Killed, it leaves nothing behind that would keep the next one out.
    signal(&child, "KILL");
    child.wait().unwrap();
    bench.run(&["run", "once"]).exits(0);
    sandbox.stop().await;
}
