//! The corpus of broken files (tests/corpus): the real binary over each, on a database that must not change by a byte.

use std::path::Path;

use crate::cli_support::{Bench, Said};

/// Words of the workshop, which nobody in finance should have to read.
const WORKSHOP: &[&str] = &[
    "serde",
    "toml",
    "csv_rows",
    "parse error",
    "parse_error",
    "some(",
    "ok(",
    "err(",
    "option<",
    "result<",
    "vec<",
    "enum",
    "struct",
    "unwrap",
    "panic",
    "expected a map",
    "expected struct",
    "invalid type",
    "missing field",
    "unknown variant",
    "unexpected eof",
    "usize",
    "u32",
    "i64",
    "f64",
    "utf8error",
    "planspec",
    "filemistake",
    "rowmistake",
    "subscription {",
    "::",
    "src/",
    ".rs:",
    "null",
    "nan",
    "stack backtrace",
    "deserialize",
    "token",
    "key-value",
];

/// Names of the language, in its own spelling.
const NAMES: &[&str] = &["None", "Some", "Option", "Result", "Err", "String", "Error", "TOML", "UTF8", "NaN", "EOF"];

struct Case {
    base: String,
    from: String,
    to: String,
    found: String,
    value: String,
    mend: String,
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus"))
}

fn cases() -> Vec<Case> {
    let table = std::fs::read_to_string(folder().join("cases.tsv")).unwrap();
    let json = |text: &str| serde_json::from_str::<String>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let case = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [base, from, to, found, value, mend] = columns.as_slice() else { panic!("{line}") };
        Case {
            base: (*base).to_owned(),
            from: json(from),
            to: json(to),
            found: (*found).to_owned(),
            value: json(value),
            mend: (*mend).to_owned(),
        }
    };
    table.lines().map(case).collect()
}

fn base(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn broken(case: &Case) -> String {
    let text = base(&case.base);
    if case.from == "*" {
        return case.to.clone();
    }
    assert!(text.contains(&case.from), "{} has no {:?}", case.base, case.from);
    text.replacen(&case.from, &case.to, 1)
}

fn plan(id: &str, every: &str, currency: &str, price: &str) -> String {
    format!(
        "schema = \"autopay.plan/1\"\nid = \"{id}\"\nname = \"N\"\nkind = \"recurring\"\nstatus = \"active\"\n\
         [schedule]\nevery = \"{every}\"\ntime_zone = \"UTC\"\ncharge_at = 06:00:00\n[amount]\ncurrency = \"{currency}\"\n{price}\n"
    )
}

/// A book with the plans that the rosters name, and one subscription.
fn bench() -> Bench {
    let bench = Bench::migrated();
    let steps = "[[amount.step]]\nfrom = 2026-06-01\nvalue = \"79.00\"";
    bench.write("book/monthly.toml", plan("monthly", "1 month", "USD", steps));
    bench.write("book/weekly.toml", plan("weekly", "1 week", "USD", "value = \"9.00\""));
    bench.write("book/agreed.toml", plan("agreed", "1 month", "USD", "value = \"from_subscription\""));
    bench.write("book/agreed-yen.toml", plan("agreed-yen", "1 month", "JPY", "value = \"from_subscription\""));
    bench.run(&["plans", "apply", "book", "-q"]).exits(0);
    bench.write("first.csv", base("roster.csv").replace("s-0", "there").lines().take(2).collect::<Vec<_>>().join("\n"));
    bench.run(&["subscriptions", "import", "first.csv", "-q"]).exits(0);
    bench
}

/// Every file that the database keeps, as it is on disk.
fn database(bench: &Bench) -> Vec<u8> {
    let wal = std::fs::metadata(bench.path().join("autopay.db-wal")).map_or(0, |wal| wal.len());
    assert_eq!(wal, 0, "everything is in the file itself");
    std::fs::read(bench.path().join("autopay.db")).unwrap()
}

fn run(bench: &Bench, case: &Case) -> Said {
    let _ = std::fs::remove_dir_all(bench.path().join("plans"));
    let text = broken(case);
    let said = match case.base.as_str() {
        "plan.toml" => {
            bench.write("plans/x.toml", text);
            bench.run(&["plans", "apply", "plans", "-o", "json"])
        }
        "policy.toml" => {
            bench.write("plans/x.toml", base("plan.toml"));
            bench.write("plans/dunning/p.toml", text);
            bench.run(&["plans", "apply", "plans", "-o", "json"])
        }
        _ => {
            bench.write("roster.csv", text);
            bench.run(&["subscriptions", "import", "roster.csv", "-o", "json"])
        }
    };
    assert_eq!(said.code, 6, "{:?}: {}", case.to, said.err);
    said
}

/// What is wrong with what was said about one case.
fn complaints(case: &Case, said: &Said) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(errors) = said.err.lines().find(|line| line.starts_with("{\"errors\"")) else {
        return vec![format!("no errors are listed: {}", said.err)];
    };
    let errors: serde_json::Value = serde_json::from_str(errors).unwrap();
    let errors = errors["errors"].as_array().unwrap();
    let text = |error: &serde_json::Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for error in errors {
        let [place, code, message, mend] = ["place", "code", "message", "mend"].map(|name| text(error, name));
        let mut parts = place.rsplitn(3, ':');
        let (column, line, path) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<usize>().is_ok_and(|number| number > 0));
        if !number(line) || !number(column) || !path.is_some_and(|path| path.ends_with("toml") || path.ends_with("csv"))
        {
            wrong.push(format!("{place} is no path, line and column"));
        }
        if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            wrong.push(format!("{code:?} is no stable code"));
        }
        if message.is_empty() || mend.is_empty() {
            wrong.push(format!("{code} has no message or no mend"));
        }
        // What people wrote themselves may hold any word.
        let own = format!("{message} {mend}").replace(".toml", "").replace(&case.to, "");
        wrong.extend(
            NAMES.iter().filter(|word| own.contains(**word)).map(|word| format!("{word} in: {message} {mend}")),
        );
        let own = own.to_lowercase();
        wrong.extend(
            WORKSHOP.iter().filter(|word| own.contains(**word)).map(|word| format!("{word} in: {message} {mend}")),
        );
        found.push(format!("{code}@{}:{}", line.unwrap_or_default(), column.unwrap_or_default()));
    }
    if found.join(" ") != case.found {
        wrong.push(format!("expected {}\n  found    {}", case.found, found.join(" ")));
    }
    let (value, mend) = (text(&errors[0], "value"), text(&errors[0], "mend"));
    if value != case.value {
        wrong.push(format!("the value is {value:?}, not {:?}", case.value));
    }
    let same = case.mend.strip_suffix('*').map_or(mend == case.mend, |start| mend.starts_with(start));
    if !same {
        wrong.push(format!("the mend is {mend:?}, not {:?}", case.mend));
    }
    wrong
}

#[test]
fn every_broken_file_is_named_at_its_place_with_a_mend_and_changes_nothing() {
    let cases = cases();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let bench = bench();
    let before = database(&bench);
    let mut wrong = Vec::new();
    for case in &cases {
        let said = run(&bench, case);
        let found = complaints(case, &said);
        if !found.is_empty() {
            wrong.push(format!("{} {:?} -> {:?}\n  {}", case.base, case.from, case.to, found.join("\n  ")));
        }
        if database(&bench) != before {
            wrong.push(format!("{} {:?} changed the database", case.base, case.to));
            break;
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// For people the same is said in two lines, and the good files themselves are taken.
#[test]
fn the_files_that_are_broken_are_good_ones() {
    let bench = bench();
    bench.write("plans/x.toml", base("plan.toml"));
    bench.write("plans/dunning/p.toml", base("policy.toml"));
    bench.run(&["plans", "apply", "plans"]).exits(0);
    bench.write("roster.csv", base("roster.csv"));
    bench.run(&["subscriptions", "import", "roster.csv"]).exits(0);
    bench.write("plans/x.toml", base("plan.toml").replace("\"79.00\"", "25.00"));
    bench
        .run(&["plans", "apply", "plans"])
        .exits(6)
        .complains(&["plans/x.toml:16:9  error  money_unquoted   value = 25.00\n      \
         Money must be written in quotes so that no cent is lost.   Fix: value = \"25.00\""]);
}
