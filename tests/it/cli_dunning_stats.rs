//! `dunning stats` over books that an engine filled, against counts of the database's own: random histories, every number and the rows
//! behind it.

use std::collections::BTreeMap;

use sandbox::{Behaviour, DeclineCode};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::Value;

use autopay::store::{DatabaseUrl, Pool, open};
use chrono::{DateTime, Utc};
use domain::money::{Currency, Money};

use crate::cli_audit::{autopay, live_until};
use crate::crash::Moments;
use crate::world::{Backend, World, card, plan, subscriber};

const SPAN: [&str; 4] = ["--from", "2025-01-01", "--until", "2025-03-31"];

fn stats(world: &World, more: &[&str]) -> Value {
    let all = [&["dunning", "stats", "-o", "json"], SPAN.as_slice(), more].concat();
    autopay(world, &all).exits(0).json()
}

/// Ninety subscriptions of two plans whose cards behave as chance has it, a quarter later.
async fn quarter(backend: Backend, seed: u64, test: &str) -> Option<World> {
    let world = World::begin(backend, "2025-01-08T00:00:00Z", test).await?;
    world
        .apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00"), plan("weekly", "1 week", "UTC", "05:00", "9.00")])
        .await;
    let mut chance = Moments::seeded(seed);
    let behaviour = |n: u64| match n {
        0 => Behaviour::DeclinesWith(DeclineCode::StolenCard),
        1 => Behaviour::DeclinesWith(DeclineCode::InsufficientFunds),
        2 => Behaviour::declines(1),
        3 => Behaviour::declines(2),
        _ => Behaviour::Pays,
    };
    let all = (0..90_u64)
        .map(|n| {
            let name = if chance.below(3) == 0 { "weekly" } else { "gold" };
            subscriber(&format!("s-{n:03}"), name, "2025-01-10", card(behaviour(chance.below(8)), n))
        })
        .collect();
    world.enrol(all).await;
    live_until(&world, "2025-03-20T00:00:00Z").await;
    Some(world)
}

/// Rows of a query, each as texts.
async fn ask(world: &World, sql: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let database = open(&DatabaseUrl::parse(world.url()).unwrap(), Pool::engine(1)).await.unwrap();
    let found = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
    let cell = |row: &sea_orm::QueryResult, name: &str| {
        row.try_get::<i64>("", name)
            .map(|number| number.to_string())
            .or_else(|_| row.try_get::<String>("", name))
            .unwrap()
    };
    let rows = found.iter().map(|row| columns.iter().map(|name| cell(row, name)).collect()).collect();
    database.close().await.unwrap();
    rows
}

const DECLINED: &str = "(a.outcome_class IS NOT NULL AND a.state IN ('declined', 'succeeded'))";
const RAN: &str = "(a.outcome_class IS NOT NULL OR a.state IN ('open', 'succeeded'))";
const DUE: &str = "c.purpose = 'cycle' AND c.due_on >= '2025-01-01' AND c.due_on <= '2025-03-31'";

/// Tried, failed, failed volume, recovered, recovered volume, failing volume, lost volume of each group, by the database alone.
async fn counted(world: &World, group: &str) -> BTreeMap<String, Vec<String>> {
    let failed = format!("EXISTS (SELECT 1 FROM attempt a WHERE a.charge_id = c.id AND {DECLINED})");
    let paid = "c.state = 'paid' AND c.returned_at IS NULL";
    let lost = "(c.state IN ('failed', 'skipped') OR c.returned_at IS NOT NULL)";
    let sum = |condition: &str, what: &str| {
        format!("CAST(COALESCE(sum(CASE WHEN {condition} THEN {what} ELSE 0 END), 0) AS bigint)")
    };
    let sql = format!(
        "SELECT {group} AS g, count(*) AS tried, {} AS failed, {} AS failed_volume, {} AS recovered, {} AS recovered_volume, \
         {} AS failing_volume, {} AS lost_volume FROM charge c WHERE {DUE} \
         AND EXISTS (SELECT 1 FROM attempt a WHERE a.charge_id = c.id AND {RAN}) GROUP BY 1",
        sum(&failed, "1"),
        sum(&failed, "c.amount_minor"),
        sum(&format!("{failed} AND {paid}"), "1"),
        sum(&format!("{failed} AND {paid}"), "COALESCE(c.collected_minor, c.amount_minor)"),
        sum(&format!("{failed} AND NOT ({paid}) AND NOT {lost}"), "c.amount_minor"),
        sum(&format!("{failed} AND {lost}"), "c.amount_minor"),
    );
    let columns =
        ["g", "tried", "failed", "failed_volume", "recovered", "recovered_volume", "failing_volume", "lost_volume"];
    let rows = ask(world, &sql, &columns).await;
    rows.into_iter().map(|mut row| (row.remove(0), row)).collect()
}

fn told(stats: &Value) -> BTreeMap<String, Vec<String>> {
    let row = |row: &Value| {
        let volume = |name: &str| Money::parse(row[name].as_str().unwrap(), Currency::USD).unwrap().minor().to_string();
        let count = |name: &str| row[name].as_u64().unwrap().to_string();
        let figures = vec![
            count("tried"),
            count("failed"),
            volume("failed_volume"),
            count("recovered"),
            volume("recovered_volume"),
            volume("failing_volume"),
            volume("lost_volume"),
        ];
        (row["group"].as_str().unwrap().to_owned(), figures)
    };
    stats.as_array().unwrap().iter().map(row).collect()
}

async fn every_number_is_that_of_an_independent_count(backend: Backend) {
    for seed in [1, 2] {
        let Some(world) = quarter(backend, seed, "figures of dunning").await else { return };
        let first = format!(
            "(SELECT a.outcome_class FROM attempt a WHERE a.charge_id = c.id AND {DECLINED} ORDER BY a.number LIMIT 1)"
        );
        for (by, group) in [
            ("class", format!("COALESCE({first}, 'none')")),
            ("plan", "c.plan_id".to_owned()),
            ("method", "'card'".to_owned()),
        ] {
            let expected = counted(&world, &group).await;
            assert_eq!(told(&stats(&world, &["--by", by])), expected, "{by}, seed {seed}");
            assert!(expected.values().any(|row| row[1] != "0"), "nothing failed: nothing was tested");
        }
        let all = counted(&world, "'all'").await;
        let whole = stats(&world, &[]);
        assert_eq!(told(&whole), all);
        // Weeks add up to the whole.
        let weeks = told(&stats(&world, &["--by", "week"]));
        for place in 0..7 {
            let sum: i64 = weeks.values().map(|row| row[place].parse::<i64>().unwrap()).sum();
            assert_eq!(sum.to_string(), all["all"][place]);
        }
        days_are_those_of_the_rows(&world, &whole[0]).await;
        tries_are_counted_by_themselves(&world).await;
        each_number_opens_its_rows(&world, &whole[0]).await;
    }
}

/// Nearest rank over the days of every recovered charge.
async fn days_are_those_of_the_rows(world: &World, whole: &Value) {
    let sql = format!(
        "SELECT CAST(c.state_since AS text) AS since, CAST(c.first_failed_at AS text) AS failed FROM charge c WHERE {DUE} \
         AND c.state = 'paid' AND c.returned_at IS NULL AND c.first_failed_at IS NOT NULL"
    );
    let moment = |text: &str| -> DateTime<Utc> {
        let text = text.replace(' ', "T");
        let text = if text.ends_with("+00") { format!("{text}:00") } else { text };
        DateTime::parse_from_rfc3339(&text).unwrap().to_utc()
    };
    let mut tenths: Vec<i64> = ask(world, &sql, &["since", "failed"])
        .await
        .iter()
        .map(|row| (moment(&row[0]) - moment(&row[1])).num_minutes() / 144)
        .collect();
    tenths.sort_unstable();
    assert!(tenths.len() > 3, "too little was recovered to be a test");
    let rank = |percent: usize| tenths[(tenths.len() * percent).div_ceil(100) - 1];
    let said = |tenths: i64| format!("{}.{}", tenths / 10, tenths % 10);
    assert_eq!(
        (&whole["days_median"], &whole["days_p90"]),
        (&Value::from(said(rank(50))), &Value::from(said(rank(90))))
    );
}

async fn tries_are_counted_by_themselves(world: &World) {
    let sql = format!(
        "SELECT CAST(a.number AS bigint) AS n, count(*) AS tried, \
         CAST(sum(CASE WHEN {DECLINED} THEN 1 ELSE 0 END) AS bigint) AS failed FROM attempt a JOIN charge c ON c.id = a.charge_id \
         WHERE {DUE} AND {RAN} GROUP BY a.number ORDER BY a.number"
    );
    let expected = ask(world, &sql, &["n", "tried", "failed"]).await;
    let rows = stats(world, &["--by", "try"]);
    let found: Vec<Vec<String>> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let number = row["group"].as_str().unwrap().trim_start_matches("try ").to_owned();
            vec![number, row["tried"].to_string(), row["failed"].to_string()]
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(rows[0]["recovery_rate"], Value::Null, "a first try recovers nothing");
    // The rows behind the number of a try are those that this very try makes.
    for row in rows.as_array().unwrap() {
        let group = row["group"].as_str().unwrap();
        for number in ["tried", "failed", "recovered"] {
            let behind = stats(world, &["--by", "try", "--group", group, "--rows", number]);
            assert_eq!(behind.as_array().unwrap().len().to_string(), row[number].to_string(), "{group} {number}");
        }
    }
    assert!(rows[1]["recovered"].as_u64() > Some(0) && rows[1]["failed"].as_u64() > Some(0), "{rows}");
    let all = [&["dunning", "stats", "--by", "try", "--rows", "lost"], SPAN.as_slice()].concat();
    autopay(world, &all).exits(2).complains(&["--rows = lost", "not told by try"]);
}

/// The rows behind a number are as many, and sum up to it.
async fn each_number_opens_its_rows(world: &World, whole: &Value) {
    let listed = |more: &[&str]| stats(world, more).as_array().unwrap().clone();
    for (number, count) in [("tried", "tried"), ("failed", "failed"), ("recovered", "recovered")] {
        assert_eq!(listed(&["--rows", number]).len().to_string(), whole[count].to_string(), "{number}");
    }
    for (number, volume) in [("failing", "failing_volume"), ("lost", "lost_volume"), ("failed", "failed_volume")] {
        let cents = |row: &Value| Money::parse(row["amount"].as_str().unwrap(), Currency::USD).unwrap().minor();
        let sum: i64 = listed(&["--rows", number]).iter().map(cents).sum();
        assert_eq!(Money::new(sum, Currency::USD).plain(), whole[volume].as_str().unwrap(), "{number}");
    }
    let never = listed(&["--by", "class", "--group", "never", "--rows", "failed"]);
    assert!(!never.is_empty() && never.iter().all(|row| row["class"] == "never"), "{never:?}");
}

macro_rules! told_of {
    ($($backend:ident $value:ident: $($sentence:ident),*;)*) => {
        $(mod $backend { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::$sentence(super::Backend::$value).await; })* })*
    };
}

told_of! {
    sqlite Sqlite: every_number_is_that_of_an_independent_count;
    postgresql Postgres: every_number_is_that_of_an_independent_count;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_span_divides_nothing_and_a_picture_needs_no_colour() {
    let world = quarter(Backend::Sqlite, 3, "a picture of dunning").await.unwrap();
    let empty = autopay(&world, &["dunning", "stats", "--from", "2024-01-01", "--until", "2024-12-31", "-o", "json"]);
    assert_eq!(empty.exits(0).json(), Value::Array(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stats.svg");
    let arguments =
        [&["dunning", "stats", "--by", "class"], SPAN.as_slice(), &["--svg", file.to_str().unwrap()]].concat();
    let table = autopay(&world, &arguments).exits(0);
    table.complains(&["failure_rate = failed / tried", "--by class --group GROUP --rows failed"]);
    let picture = std::fs::read_to_string(&file).unwrap();
    for part in ["<title", "<desc", "url(#failing)", ">recovered<", ">lost<", "later_funds: ", "role=\"img\""] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    let definitions = autopay(&world, &["dunning", "stats", "--definitions", "-o", "json"]).exits(0).json();
    assert!(definitions.as_array().unwrap().iter().any(|row| row["number"] == "recovery_rate"));
    autopay(&world, &["dunning", "stats", "--from", "2025-02-01", "--until", "2025-01-01"])
        .exits(2)
        .complains(&["--until"]);
    autopay(&world, &["dunning", "stats"]).exits(2).complains(&["--from"]);
    // A group that there cannot be is no empty list.
    for (by, group, allowed) in [
        ("class", "later_fund", "write one of never, new_data, "),
        ("class", "Never", "partial, none"),
        ("method", "cards", "write one of card, bank_account, unknown"),
        ("plan", "golden", "write one of gold, weekly"),
        ("try", "2", "write \"try 1\", \"try 2\" and so on"),
        ("try", "try 01", "write \"try 1\""),
        ("week", "2025-W14x", "write one from 2025-W01 to 2025-W14"),
        ("week", "2025-W15", "write one from 2025-W01 to 2025-W14"),
        ("week", "2025-W1", "write one from 2025-W01 to 2025-W14"),
    ] {
        let all = [&["dunning", "stats", "--by", by, "--group", group], SPAN.as_slice()].concat();
        autopay(&world, &all).exits(2).complains(&[format!("--group = {group}").as_str(), allowed]);
        autopay(&world, &[&all[..], &["--rows", "failed"]].concat()).exits(2).complains(&[allowed]);
    }
    for (by, group) in
        [("class", "none"), ("method", "bank_account"), ("plan", "gold"), ("try", "try 9"), ("week", "2025-W01")]
    {
        stats(&world, &["--by", by, "--group", group]);
    }
}
