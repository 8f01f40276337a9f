//! What people are told of damaged rows, of a database that cannot be used, and of what an import or an application leaves alone.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database};

use crate::cli_support::{Bench, PLAN, roster};
use crate::postgres::TestDatabase;

/// Changes rows behind autopay's back.
fn vandalize(bench: &Bench, statements: &[&str]) {
    let url = format!("sqlite:{}", bench.path().join("autopay.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).sqlx_logging(false);
        let database = Database::connect(options).await.unwrap();
        database.execute_unprepared("PRAGMA ignore_check_constraints = 1").await.unwrap();
        for statement in statements {
            assert!(database.execute_unprepared(statement).await.unwrap().rows_affected() > 0, "{statement}");
        }
        database.close().await.unwrap();
    });
}

/// A book of three whose first cycle is today's.
fn book() -> Bench {
    let bench = Bench::migrated();
    let plan = PLAN.replace("America/Chicago", "UTC").replace("06:00:00", "00:00:00");
    bench.write("plans/wellness.toml", plan);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let today = chrono::DateTime::<chrono::Utc>::from(std::time::UNIX_EPOCH + elapsed()).date_naive();
    bench.write("roster.csv", roster(&["a", "b", "c"], &today.to_string()));
    bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    bench
}

/// A gateway that does not answer.
fn gateway_of_nobody(bench: &Bench) {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bench.write("secret", "s");
    bench.write(
        "autopay.toml",
        format!(
            "[gateway]\nbase_url = \"http://{nobody}\"\ntoken_url = \"http://{nobody}/oauth2/token\"\n\
             client_id = \"someone\"\nclient_secret_file = \"secret\"\n"
        ),
    );
}

/// A run whose gateway does not answer: its charges wait.
fn run_in_vain(bench: &Bench) {
    gateway_of_nobody(bench);
    bench.run(&["run", "once"]);
}

#[expect(clippy::disallowed_methods, reason = "the real binary runs on the real date")]
fn elapsed() -> std::time::Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
}

#[test]
fn a_damaged_subscription_is_listed_and_shown_with_its_reason_and_the_doctor_counts_it() {
    let bench = book();
    assert!(bench.run(&["doctor"]).exits(0).out.contains("rows that cannot be read: 0"));
    vandalize(&bench, &["UPDATE subscription SET start_on = 'garbage' WHERE id = 'b'"]);
    let list = bench.run(&["subscriptions", "list", "-o", "json"]).exits(0).json();
    let ids: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let told = "subscription.start_on of row b cannot be used: is not of the type that belongs there";
    assert_eq!((&list[1]["note"], &list[1]["status"]), (&told.into(), &"active".into()));
    let shown = bench.run(&["subscriptions", "show", "b", "-o", "json"]).exits(0).json();
    assert_eq!((&shown["id"], &shown["note"], &shown["start_on"]), (&"b".into(), &told.into(), &().into()));
    let report = bench.run(&["doctor"]);
    assert_eq!(report.code, 10, "{}", report.err);
    let line = report.out.lines().find(|line| line.contains("rows that cannot be read")).unwrap();
    assert!(line.contains("rows that cannot be read: 1") && line.contains("subscription.start_on"), "{line}");
    assert!(!report.out.contains("garbage"), "{}", report.out);
    assert_eq!(bench.run(&["subscriptions", "show", "nobody"]).code, 5);
}

#[test]
fn a_damaged_charge_is_listed_and_shown_and_told_in_its_timeline() {
    let bench = book();
    run_in_vain(&bench);
    let before = bench.run(&["charges", "list", "-o", "json"]).exits(0).json();
    let of = |name: &str| {
        let rows = before.as_array().unwrap();
        rows.iter().find(|row| row["subscription"] == name).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (b, c) = (of("b"), of("c"));
    vandalize(
        &bench,
        &[
            "UPDATE charge SET amount_minor = 'x' WHERE subscription_id = 'b'",
            "UPDATE charge SET state = 'weird' WHERE subscription_id = 'c'",
        ],
    );
    let list = bench.run(&["charges", "list", "--all", "-o", "json"]).exits(0).json();
    let notes: Vec<&str> = list.as_array().unwrap().iter().filter_map(|row| row["note"].as_str()).collect();
    assert_eq!((list.as_array().unwrap().len(), notes.len()), (before.as_array().unwrap().len(), 2), "{list}");
    assert!(notes.iter().any(|note| note.starts_with("charge.amount_minor of row ch_")), "{notes:?}");
    let odd = bench.run(&["charges", "list", "--state", "unreadable", "-o", "json"]).exits(0).json();
    assert_eq!((&odd[0]["id"], odd.as_array().unwrap().len()), (&c.as_str().into(), 1));
    let shown = bench.run(&["charges", "show", &b, "-o", "json"]).exits(0).json();
    assert!(shown["sentence"].as_str().unwrap().contains("charge.amount_minor"), "{shown}");
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 1);
    let lines = bench.run(&["charges", "timeline", &b, "-o", "json"]).exits(0).json();
    assert_eq!(lines[0]["event"], "charge.intent");
    let report = bench.run(&["doctor"]);
    assert!(report.out.contains("rows that cannot be read: 2"), "{}", report.out);
}

/// Names of everything in a folder.
fn held(bench: &Bench) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(bench.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    names.sort();
    names
}

const NONE: &str =
    "there is no database autopay.db: make it with `autopay migrate up`, or name another in database.url";

#[test]
fn only_what_migrates_makes_a_database() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    bench.write("roster.csv", roster(&["a"], "2027-01-31"));
    let before = held(&bench);
    for (code, words) in [
        (11, "subscriptions import roster.csv --dry-run"),
        (11, "subscriptions import roster.csv"),
        (11, "subscriptions list"),
        (11, "run once --dry-run"),
        (11, "plans list"),
        (11, "plans diff plans"),
        (11, "plans apply plans --dry-run"),
        (11, "plans apply plans"),
        (11, "charges list"),
        (11, "hold show"),
        (11, "ledger check"),
        (11, "audit verify"),
        (11, "forecast"),
        (11, "forecast --from-server"),
        (10, "doctor"),
        (3, "migrate status"),
    ] {
        let said = bench.run(&words.split(' ').collect::<Vec<_>>());
        assert_eq!(said.code, code, "{words}: {}", said.err);
        assert!(said.err.contains(NONE) || said.out.contains(NONE), "{words}: {} {}", said.out, said.err);
        assert_eq!(held(&bench), before, "{words}");
    }
    let checked = bench.run(&["subscriptions", "import", "roster.csv", "-n"]);
    checked.complains(&["without one a roster is checked by `autopay forecast --plans DIR --subscriptions FILE`"]);
    let machine = bench.run(&["plans", "list", "-o", "json"]).exits(11);
    let errors: serde_json::Value = serde_json::from_str(&machine.err).unwrap();
    assert_eq!(errors["errors"][0]["code"], "no_database");
    assert_eq!(bench.run(&["migrate", "status", "-o", "json"]).exits(3).json()["applied"], 0);
    assert_eq!(held(&bench), before);
    bench.run(&["migrate", "up"]).exits(0);
    bench.run(&["plans", "list"]).exits(0);
}

#[test]
fn where_there_is_no_database_nothing_is_served_or_locked_and_the_gateway_is_asked_all_the_same() {
    let bench = Bench::new();
    gateway_of_nobody(&bench);
    let before = held(&bench);
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["run", "once"]] {
        bench.run(command).exits(11).complains(&[NONE]);
        assert_eq!(held(&bench), before, "{command:?}");
    }
    for command in [&["gateway", "ping"][..], &["session", "create", "--mode", "WALLET", "--customer", "C-1"]] {
        let said = bench.run(command).exits(11);
        assert!(said.err.contains("gateway") && !said.err.contains(NONE), "{}", said.err);
    }
    let report = bench.run(&["doctor", "-o", "json"]).json();
    let failed: Vec<&str> = report
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["status"] == "fail")
        .map(|row| row["check"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["database", "gateway"]);
    assert_eq!(held(&bench), before);
}

#[test]
fn a_forecast_without_files_and_without_a_database_says_that_files_are_enough() {
    let bench = Bench::new();
    let said = bench.run(&["forecast"]).exits(11);
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 2, "{}", said.err);
    assert!(lines[0].contains("a forecast from files needs --plans and --subscriptions"), "{}", said.err);
    assert!(lines[1].contains(NONE), "{}", said.err);
    assert_eq!(bench.run(&["forecast", "--from-server"]).exits(11).err.lines().count(), 1);
}

#[test]
fn a_mistake_that_every_row_has_is_told_a_hundred_times_and_counted() {
    let bench = Bench::with_plans();
    let ids: Vec<String> = (0..1_250).map(|n| format!("s{n}")).collect();
    let rows =
        roster(&ids.iter().map(String::as_str).collect::<Vec<_>>(), "2099-01-05").replace(",wellness,", ",gold,");
    bench.write("roster.csv", rows.trim_end().to_owned() + "\nlast,wellness,nonsense,card,C-0,2099-01-05\n");
    let forecast = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv"];
    let import = ["subscriptions", "import", "roster.csv", "--report", "back.csv"];
    for command in [&forecast[..], &import] {
        let said = bench.run(command).exits(6);
        let told = said.err.lines().filter(|line| line.contains("error  unknown_plan")).count();
        assert_eq!(told, 100, "{command:?}");
        said.complains(&["roster.csv:1252", "… and 1,150 more of unknown_plan; -o json lists all of them"]);
        let machine = bench.run(&[command, &["-o", "json", "-q"]].concat()).exits(6);
        let errors: serde_json::Value = serde_json::from_str(&machine.err).unwrap();
        assert_eq!(errors["errors"].as_array().unwrap().len(), 1_251, "{command:?}");
    }
    assert_eq!(bench.read("back.csv").matches("unknown_plan").count(), 1_250);
}

#[test]
fn a_place_where_no_database_can_be_is_wrong_configuration_and_says_what_to_do() {
    let mut bench = Bench::new();
    std::fs::create_dir(bench.path().join("folder")).unwrap();
    bench.write("letter.db", "Dear all, this is no database. ".repeat(300));
    for (url, parts) in [
        ("sqlite:folder", ["is a folder", "name a file in it"]),
        ("sqlite:nowhere/autopay.db", ["no folder nowhere", "make it"]),
        ("sqlite:letter.db", ["no SQLite database", "name another file"]),
    ] {
        bench.env("AUTOPAY_DATABASE_URL", url);
        for command in [&["plans", "list"][..], &["migrate", "up"]] {
            bench.run(command).exits(2).complains(&parts);
        }
        let report = bench.run(&["doctor"]).exits(2);
        assert!(report.out.contains(parts[0]), "{}", report.out);
    }
}

#[test]
fn a_refused_connection_says_so_and_is_safe_to_repeat() {
    let mut bench = Bench::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bench.env("AUTOPAY_DATABASE_URL", format!("postgres://anneliese:secret-word@{nobody}/book"));
    let said = bench.run(&["plans", "list"]).exits(11);
    said.complains(&["the connection was refused", "start the database"]);
    assert!(!said.err.contains("secret-word") && !said.err.contains("anneliese"), "{}", said.err);
}

/// A server that lets nobody in, with the code that PostgreSQL gives.
fn doorman(code: &'static str) -> std::net::SocketAddr {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    std::thread::spawn(move || {
        for guest in door.incoming() {
            let Ok(mut guest) = guest else { return };
            let mut asked = [0; 1_024];
            let _ = guest.read(&mut asked);
            let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno entry for user \"anneliese\"\0\0");
            let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
            let _ = guest.write_all(&[&b"E"[..], &length, fields.as_bytes()].concat());
        }
    });
    address
}

#[test]
fn a_refused_password_is_wrong_configuration_and_names_nobody() {
    let mut bench = Bench::new();
    for (code, part) in
        [("28P01", "user and password were refused"), ("28000", "may not connect"), ("3D000", "create it")]
    {
        bench.env("AUTOPAY_DATABASE_URL", format!("postgres://anneliese:secret-word@{}/book", doorman(code)));
        let said = bench.run(&["plans", "list"]).exits(2);
        said.complains(&[part]);
        assert!(!said.err.contains("secret-word") && !said.err.contains("anneliese"), "{}", said.err);
    }
}

#[test]
fn a_database_that_does_not_exist_is_wrong_configuration() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(there) = runtime.block_on(TestDatabase::create("an unknown database")) else { return };
    let mut bench = Bench::new();
    bench.env("AUTOPAY_DATABASE_URL", format!("{}_is_not_there", there.url));
    bench.run(&["plans", "list"]).exits(2).complains(&["does not exist", "create it"]);
}

#[test]
fn a_plan_without_its_file_and_a_row_of_a_cancelled_subscription_are_named() {
    let bench = book();
    bench.run(&["subscriptions", "cancel", "b"]).exits(0);
    let again = bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    again.complains(&["1 subscription of the file is not active and stays so", "b (cancelled)."]);
    std::fs::remove_file(bench.path().join("plans/wellness.toml")).unwrap();
    bench.write("plans/other.toml", PLAN.replace("wellness", "other"));
    for command in [&["plans", "apply", "plans", "-n"][..], &["plans", "apply", "plans"]] {
        bench.run(command).exits(0).complains(&["1 plan has no file here and stays in force", "wellness", "retired"]);
    }
    bench.write("plans/wellness.toml", PLAN.replace("America/Chicago", "UTC").replace("06:00:00", "00:00:00"));
    let said = bench.run(&["plans", "apply", "plans"]).exits(0);
    assert!(!said.err.contains("stays in force"), "{}", said.err);
}
