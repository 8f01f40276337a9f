//! Commands that need no database: the calendar, versions, completions, usage, configuration.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use autopay::ports::books::Obstacle;

use crate::architecture::sources;
use crate::cli_support::{Bench, PLAN, roster};

const PREVIEW: &[&str] = &[
    "schedule",
    "preview",
    "--anchor",
    "2027-01-31",
    "--every",
    "1 month",
    "--at",
    "06:00",
    "--zone",
    "America/New_York",
];

fn preview(more: &[&str]) -> crate::cli_support::Said {
    let mut arguments = PREVIEW.to_vec();
    arguments.extend(more);
    Bench::new().run(&arguments)
}

#[test]
fn the_preview_prints_dates_days_of_submission_and_instants() {
    let said = preview(&["--count", "12", "--business-days", "next", "--calendar", "us-federal-reserve", "-o", "json"])
        .exits(0);
    let rows = said.json();
    assert_eq!(rows.as_array().unwrap().len(), 12);
    assert_eq!(rows[0]["date"], "2027-01-31");
    assert_eq!(rows[0]["submit_on"], "2027-02-01");
    let second = r#"{"index":1,"date":"2027-02-28","submit_on":"2027-03-01","charge_at":"2027-03-01T11:00:00Z"}"#;
    assert!(said.out.contains(second), "{}", said.out);
    assert_eq!(rows[2]["date"], "2027-03-31");
    assert_eq!(rows[2]["charge_at"], "2027-03-31T10:00:00Z");
}

/// The words of a command after its name, as far as they can be words of one.
fn words(command: &str) -> Vec<String> {
    let is_word = |word: &&str| {
        word.starts_with(|ch: char| ch.is_ascii_lowercase())
            && word.chars().all(|ch| ch.is_ascii_lowercase() || ch == '-')
    };
    command.split([' ', '`', ',', ':', ';', '.', '"', '\\', '\n']).take_while(is_word).map(ToOwned::to_owned).collect()
}

/// What a message tells somebody to run, there is.
#[test]
fn every_command_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "crates/domain/src"] {
        sources(&root.join(folder), &mut files);
    }
    let mut named = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let commands = text.match_indices("`autopay ").map(|(place, start)| {
            let rest = &text[place + start.len()..];
            words(&rest[..rest.find('`').unwrap_or(0)])
        });
        named.extend(commands);
    }
    // Those that stand in a column of their own have no marks around them; the command ends where the sentence goes on.
    for obstacle in Obstacle::ALL {
        let action = obstacle.action();
        let commands = action.match_indices("autopay ").map(|(place, start)| words(&action[place + start.len()..]));
        named.extend(commands.map(|words| words.into_iter().take(2).collect()));
    }
    // Examples of help topics stand on lines of their own.
    for topic in std::fs::read_dir(root.join("src/cli/topics")).unwrap() {
        let text = std::fs::read_to_string(topic.unwrap().path()).unwrap();
        named.extend(text.lines().filter_map(|line| line.strip_prefix("  autopay ")).map(words));
    }
    assert!(named.len() > 70, "{named:?}");
    let bench = Bench::new();
    for command in named {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        assert_eq!(bench.run(&arguments).code, 0, "autopay {} does not exist", command.join(" "));
    }
}

#[test]
fn skipped_months_leave_no_hole_in_the_index() {
    let rows = preview(&["--count", "4", "--if-day-missing", "skip", "-o", "json"]).exits(0).json();
    let dates: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["date"].as_str().unwrap()).collect();
    assert_eq!(dates, ["2027-01-31", "2027-03-31", "2027-05-31", "2027-07-31"]);
    assert_eq!(rows[3]["index"], 3);
}

#[test]
fn a_preview_has_one_header_and_as_many_rows_as_were_asked_for() {
    assert_eq!(preview(&["--count", "1", "-o", "jsonl"]).exits(0).out.lines().count(), 1);
    let csv = preview(&["--count", "3", "-o", "csv"]).exits(0).out;
    assert_eq!(csv.lines().next(), Some("index,date,submit_on,charge_at"));
    assert_eq!(csv.lines().count(), 4);
    assert_eq!(preview(&["--count", "3"]).exits(0).out.lines().count(), 4);
    let short = "2027-02-28";
    let anchored = Bench::new()
        .run(&[
            "schedule", "preview", "--anchor", short, "--on-day", "31", "--every", "month", "--at", "06:00:30",
            "--zone", "UTC", "--count", "2", "-o", "json",
        ])
        .exits(0)
        .json();
    assert_eq!(anchored[1]["charge_at"], "2027-03-31T06:00:30Z");
}

#[test]
fn wrong_flags_end_with_two_and_say_what_to_write() {
    for (more, part) in [
        (vec!["--count", "0"], "from 1 to 10000"),
        (vec!["--count", "10001"], "from 1 to 10000"),
        (vec!["--business-days", "later", "--calendar", "us-federal-reserve"], "modified_next"),
        (vec!["--if-day-missing", "never"], "skip"),
        (vec!["--calendar", "mars"], "us-federal-reserve"),
        (vec!["--on-day", "15"], "2027-01-15"),
        (vec!["--on-day", "32"], "from 1 to 31"),
        (vec!["--on-day", "last_day", "--count", "9", "--speed", "5"], "--speed"),
    ] {
        preview(&more).exits(2).complains(&[part]);
    }
    let with = |place: usize, value: &'static str| {
        let mut arguments = PREVIEW.to_vec();
        arguments[place] = value;
        Bench::new().run(&arguments)
    };
    with(3, "2027-02-30").exits(2).complains(&["2027-02-30", "year-month-day"]);
    with(5, "monthly").exits(2).complains(&["write \"1 month\""]);
    with(7, "25:00").exits(2).complains(&["25:00"]);
    with(9, "america/chicago").exits(2).complains(&["America/Chicago"]);
    Bench::new().run(&["charge", "list"]).exits(2).complains(&["charges"]);
    Bench::new().run(&[]).exits(2);
    Bench::new().run(&["run", "once", "--as-of", "2027-01-01T00:00:00Z"]).exits(2).complains(&["--dry-run"]);
    Bench::new()
        .run(&["hold", "on", "--scope", "everyone", "--reason", "x"])
        .exits(2)
        .complains(&["write all, merchant:ID"]);
}

#[test]
fn all_wrong_flags_are_named_at_once() {
    let wrong = [
        "schedule",
        "preview",
        "--anchor",
        "2027-02-30",
        "--every",
        "x",
        "--at",
        "25",
        "--zone",
        "America/Chcago",
        "--count",
        "0",
        "--on-day",
        "40",
        "--if-day-missing",
        "never",
        "--business-days",
        "later",
        "--calendar",
        "mars",
    ];
    let said = Bench::new().run(&wrong).exits(2);
    let flags = ["anchor", "every", "at", "zone", "count", "on-day", "if-day-missing", "business-days", "calendar"];
    for flag in flags {
        said.complains(&[&format!("error: --{flag} = ")]);
    }
    said.complains(&["did you mean America/Chicago?"]);
    assert_eq!(said.err.lines().count(), flags.len(), "{}", said.err);
    let machine = Bench::new().run(&[&wrong[..], &["-o", "json"]].concat()).exits(2);
    let errors: serde_json::Value = serde_json::from_str(&machine.err).unwrap();
    assert_eq!(errors["errors"].as_array().unwrap().len(), flags.len());
    assert_eq!(
        (&errors["errors"][0]["place"], &errors["errors"][0]["value"]),
        (&"--anchor".into(), &"2027-02-30".into())
    );
}

#[test]
fn a_flag_without_meaning_is_refused_and_not_passed_over() {
    let with = |every: &'static str| {
        let mut arguments = PREVIEW.to_vec();
        arguments[5] = every;
        arguments.extend(["--on-day", "15"]);
        Bench::new().run(&arguments)
    };
    for every in ["1 day", "2 weeks"] {
        with(every).exits(2).complains(&["--on-day = 15: has no meaning for a rhythm of days or weeks: leave it out"]);
    }
    let mut late = PREVIEW.to_vec();
    late[3] = "9999-12-31";
    late.extend(["--count", "2"]);
    let said = Bench::new().run(&late).exits(2);
    said.complains(&["write an earlier --anchor, or a smaller --count"]);
}

#[test]
fn wrong_usage_has_the_form_that_was_asked_for() {
    for (arguments, place, mend) in [
        (vec!["charge", "list"], "charge", "charges"),
        (vec!["charges", "list", "--limit", "0"], "--limit", "write one"),
        (vec!["charges", "list", "--limt", "5"], "--limt", "--limit"),
        (vec!["hold", "on", "--scope", "all"], "--reason", "add --reason"),
        (vec!["serve", "--listen", "here"], "--listen", "127.0.0.1:8080"),
        (vec!["version", "--color", "nevre"], "--color", "never"),
        (vec!["charges", "show", "x"], "ID", "write ch_"),
        (vec!["config", "show", "--config", ""], "--config", "FILE"),
    ] {
        let said = Bench::new().run(&[&["-o", "json"], &arguments[..]].concat()).exits(2);
        let errors: serde_json::Value = serde_json::from_str(&said.err).unwrap_or_else(|_| panic!("{}", said.err));
        let only = &errors["errors"][0];
        assert_eq!((errors["errors"].as_array().unwrap().len(), &only["place"]), (1, &place.into()), "{errors}");
        assert!(only["mend"].as_str().unwrap().contains(mend), "{errors}");
    }
    let escaped = |color: &str| Bench::new().run(&["charge", "--color", color]).exits(2).err.contains('\u{1b}');
    assert!(escaped("always") && !escaped("never"));
}

#[test]
fn a_card_number_is_refused_wherever_it_is_written_and_never_repeated() {
    let mut bench = Bench::new();
    for arguments in [
        vec!["schedule", "preview", "--anchor", "4242424242424242"],
        vec!["hold", "on", "--scope", "all", "--reason", "x 4242.4242.4242.4242"],
        vec!["charges", "show", "4242\u{a0}4242\u{a0}4242\u{a0}4242"],
        vec!["config", "show", "--set", "gateway.client_id=4242424242424242"],
        vec!["plans", "check", "4242424242424242"],
    ] {
        let said = bench.run(&arguments).exits(2);
        said.complains(&["(hidden): looks like a card number"]);
        assert!(!said.err.contains("4242"), "{}", said.err);
    }
    bench.env("AUTOPAY_GATEWAY_CLIENT_ID", "4242-4242-4242-4242");
    let said = bench.run(&["config", "show"]).exits(2);
    said.complains(&["AUTOPAY_GATEWAY_CLIENT_ID = (hidden): looks like a card number"]);
    bench.env("AUTOPAY_USER", "4242424242424242");
    let said = bench.run(&["version"]).exits(2);
    said.complains(&["AUTOPAY_USER = (hidden)"]);
    assert!(!said.err.contains("4242"), "{}", said.err);
}

#[test]
fn an_empty_variable_names_no_configuration() {
    let mut bench = Bench::new();
    bench.write("other.toml", "[engine]\nbatch = 7\n");
    bench.env("AUTOPAY_CONFIG", "");
    bench.run(&["config", "show"]).exits(0);
    bench.env("AUTOPAY_CONFIG", "other.toml");
    assert!(bench.run(&["config", "show", "-o", "csv"]).exits(0).out.contains("engine.batch,7,other.toml:2"));
    bench.env("AUTOPAY_CONFIG", "none.toml");
    bench.run(&["config", "show"]).exits(2).complains(&["none.toml", "no such file"]);
}

#[test]
fn version_names_the_zone_data_and_the_schema() {
    let bench = Bench::new();
    let version = bench.run(&["version", "-o", "json"]).exits(0).json();
    assert_eq!(version["name"], "autopay");
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["tz_version"], domain::calendar::tz_version());
    assert!(version["chrono_tz_version"].as_str().unwrap().starts_with("20"));
    let known = bench.run(&["migrate", "up", "-o", "json"]).exits(0).json()["known"].clone();
    assert_eq!(version["schema_migrations"], known);
    assert!(bench.run(&["--version"]).exits(0).out.contains(env!("CARGO_PKG_VERSION")));
    assert!(bench.run(&["version"]).exits(0).out.contains("tz_version"));
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = Bench::new().run(&["completions", shell]).exits(0);
        assert!(said.out.contains("subscriptions"), "{shell}");
    }
    Bench::new().run(&["completions", "csh"]).exits(2);
}

#[test]
fn help_goes_to_standard_output() {
    let help = Bench::new().run(&["schedule", "preview", "--help"]).exits(0);
    assert!(help.out.contains("--business-days") && help.out.contains("Exit codes"));
    assert!(help.err.is_empty());
}

#[test]
fn a_configuration_is_refused_with_all_its_mistakes_at_once() {
    let mut bench = Bench::new();
    bench.write(
        "autopay.toml",
        "enviroment = \"x\"\n[engine]\nbatch = 0\n[http]\nlisten = \"localhost\"\n[log]\nlevel = \"loud\"\n",
    );
    bench.env("AUTOPAY_RATE_BURST", "none");
    let said = bench.run(&["config", "show"]).exits(2);
    said.complains(&[
        "autopay.toml:1: enviroment: is not a setting: did you mean environment?",
        "autopay.toml:3: engine.batch = 0",
        "autopay.toml:5: http.listen = localhost",
        "autopay.toml:7: log.level = loud",
        "AUTOPAY_RATE_BURST = none",
    ]);
    assert_eq!(said.err.lines().count(), 5, "{}", said.err);
    let machine = bench.run(&["config", "show", "-o", "json"]).exits(2);
    let errors: serde_json::Value = serde_json::from_str(&machine.err).unwrap();
    assert_eq!(errors["errors"].as_array().unwrap().len(), 5);
    assert!(errors["errors"][0]["mend"].as_str().unwrap().contains("environment"));
}

#[test]
fn shown_settings_name_their_origin_and_no_secret() {
    let mut bench = Bench::new();
    let secret = bench.write("secret", "s3cr3t-value\n");
    bench.write("autopay.toml", format!("[gateway]\nclient_secret_file = \"{}\"\n", secret.display()));
    bench.env("AUTOPAY_DATABASE_URL", "postgres://autopay:hunter2@db.example.org/autopay");
    let said = bench.run(&["config", "show", "-o", "csv", "--set", "engine.batch=7"]).exits(0);
    assert!(said.out.contains("engine.batch,7,'--set"), "{}", said.out);
    assert!(said.out.contains("postgres://db.example.org/autopay,$AUTOPAY_DATABASE_URL"), "{}", said.out);
    assert!(!said.out.contains("hunter2") && !said.out.contains("s3cr3t"), "{}", said.out);
    let refused = bench.run(&["config", "show", "--set", "gateway.client_secret=s3cr3t-value"]).exits(2);
    assert!(!refused.err.contains("s3cr3t"), "{}", refused.err);
    bench.run(&["config", "show", "--config", "none.toml"]).exits(2).complains(&["none.toml"]);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let bench = Bench::new();
    let mut arguments = PREVIEW.to_vec();
    arguments.extend(["--count", "800", "-o", "json"]);
    for arguments in [arguments, vec!["completions", "zsh"], vec!["--help"]] {
        let mut child = bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}: {err}");
        assert!(err.is_empty(), "{arguments:?}: {err}");
    }
}

#[test]
fn data_goes_to_a_file_when_one_is_named() {
    let bench = Bench::new();
    let mut arguments = PREVIEW.to_vec();
    arguments.extend(["--count", "2", "-o", "csv", "--out", "dates.csv"]);
    let said = bench.run(&arguments).exits(0);
    assert!(said.out.is_empty());
    assert_eq!(bench.read("dates.csv").lines().count(), 3);
    arguments.pop();
    arguments.push("no/such/folder/dates.csv");
    bench.run(&arguments).exits(2).complains(&["--out = no/such/folder/dates.csv: cannot be written"]);
    // A device is written to; moving a file into its place would replace it.
    arguments.pop();
    arguments.push("/dev/stdout");
    assert_eq!(bench.run(&arguments).exits(0).out.lines().count(), 3);
}

#[test]
fn plans_are_checked_without_a_database() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    bench.run(&["plans", "check", "plans"]).exits(0).complains(&["0 errors in 1 file."]);
    bench.write("plans/second.toml", PLAN.replace("\"1079.00\"", "79.00").replace("1 month", "monthly"));
    let said = bench.run(&["plans", "check", "plans"]).exits(6);
    said.complains(&["second.toml", "79.00", "monthly", "Fix:"]);
    assert!(!bench.path().join("autopay.db").exists());
    let machine = bench.run(&["plans", "check", "plans", "-o", "json"]).exits(6);
    let errors: serde_json::Value = serde_json::from_str(&machine.err).unwrap();
    assert!(errors["errors"].as_array().unwrap().len() >= 2, "{errors}");
    bench.run(&["plans", "check", "nowhere"]).exits(6).complains(&["nowhere"]);
    assert!(roster(&["a"], "2027-01-01").lines().count() == 2);
}
