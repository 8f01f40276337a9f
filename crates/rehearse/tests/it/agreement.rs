//! Rehearsed and forecast agree, and the same inputs give the same bytes.

use std::collections::BTreeMap;

use crate::bench::{Bench, MEMBERSHIP};

/// Day of the paying try, amount and currency, by subscription and cycle.
type Collected = BTreeMap<(String, u64), (String, String, String)>;

fn text(row: &serde_json::Value, name: &str) -> String {
    row[name].as_str().unwrap().to_owned()
}

/// Asks both programs about a book, and compares what they say was collected to the cent and the day; how many cycles were, and the
/// rows of both.
fn both_collect_the_same(bench: &Bench, book: &[&str], scenario: &str) -> (usize, [Vec<serde_json::Value>; 2]) {
    let more = ["--scenario", scenario, "--rows", "-o", "jsonl", "-q"];
    let ask = |command: &str| bench.autopay(&[&[command], book, &more].concat()).exits(0).lines();
    let (forecast, rehearsed) = (ask("forecast"), ask("rehearse"));
    let mut expected = Collected::new();
    for row in forecast.iter().filter(|row| row["expected"] != "0.00") {
        let key = (text(row, "subscription"), row["cycle"].as_u64().unwrap());
        expected.insert(key, (text(row, "collected_on"), text(row, "expected"), text(row, "currency")));
    }
    let mut collected = Collected::new();
    for row in rehearsed.iter().filter(|row| row["state"] == "paid") {
        let key = (text(row, "subscription"), row["cycle"].as_u64().unwrap());
        collected.insert(key, (text(row, "collected_on"), text(row, "amount"), text(row, "currency")));
    }
    let differ: Vec<_> =
        expected.keys().chain(collected.keys()).filter(|key| expected.get(*key) != collected.get(*key)).collect();
    assert!(differ.is_empty(), "{} differences, the first: {:?}", differ.len(), differ.first());
    (collected.len(), [forecast, rehearsed])
}

/// The same where all pay, and that they say the same of what is due; how many cycles were collected.
fn both_say_the_same(bench: &Bench, book: &[&str]) -> usize {
    let (collected, [forecast, rehearsed]) = both_collect_the_same(bench, book, "all-pay");
    // What is owed and not collected is the same too: subscriptions without a method.
    let due = |rows: &[serde_json::Value]| {
        rows.iter().map(|row| (text(row, "due_on"), text(row, "amount"))).collect::<Vec<_>>()
    };
    let (mut there, mut here) = (due(&forecast), due(&rehearsed));
    there.sort();
    here.sort();
    assert_eq!(there, here);
    collected
}

/// A roster of a card and a bank account for each class of decline, whose first try is declined so, by the standard policy.
#[test]
fn a_script_of_every_class_on_cards_and_bank_accounts_is_forecast_as_it_is_rehearsed() {
    let bench = Bench::new();
    let plan = crate::bench::PLAN.lines().filter(|line| !line.contains("dunning")).collect::<Vec<_>>().join("\n");
    bench.write("plans/gym.toml", plan);
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,consent_id,consent_at,consent_channel";
    let (mut roster, mut script) = (format!("{header}\n"), "subscription_id,cycle,attempt,outcome\n".to_owned());
    let classes = ["never", "new_data", "contact", "later_funds", "later_technical", "unclassified", "partial"];
    for (place, class) in classes.into_iter().enumerate() {
        for (number, kind) in [(place, "card"), (place + 50, "bank_account")] {
            let consent =
                if kind == "card" { ",," } else { "11111111-1111-4111-8111-000000000001,2026-01-01T00:00:00Z,WEB" };
            let method = format!("5a4db0c5-0000-8000-8000-0000000000{number:02}");
            roster.push_str(&format!("s-{number},gym,{method},{kind},C-{number},2027-01-05,{consent}\n"));
            script.push_str(&format!("s-{number},0,1,{class}\n"));
        }
    }
    bench.write("roster.csv", roster);
    bench.write("script.csv", script);
    let book = ["--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01", "--months", "2"];
    let (collected, [forecast, rehearsed]) = both_collect_the_same(&bench, &book, "script.csv");
    // Of fourteen charges five are given up at once and pause their subscriptions: never and new_data on both, contact at a bank.
    assert_eq!(collected, 18);
    for row in &rehearsed {
        let is_it =
            |one: &&serde_json::Value| one["subscription"] == row["subscription"] && one["cycle"] == row["cycle"];
        assert_eq!(forecast.iter().find(is_it).map(|one| &one["declined"]), Some(&row["declined"]), "{row}");
    }
}

/// A cycle that rolls to a business day is collected on that day, and by the month's end it is one that comes later.
#[test]
fn a_rolled_day_is_forecast_as_it_is_rehearsed() {
    let bench = Bench::with(&["3 days"], &["a", "b"]);
    let rolls = crate::bench::PLAN.replace(
        "[amount]",
        "on_day = \"last_day\"\nbusiness_days = \"next\"\ncalendar = \"us-federal-reserve\"\n[amount]",
    );
    bench.write("plans/gym.toml", rolls);
    let book = ["--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01", "--months", "6"];
    assert!(both_say_the_same(&bench, &book) > 10);
}

/// A year of the sample book: what the whole engine collected from the sandbox's bank is what `autopay forecast` said before, to the
/// cent and the day.
#[test]
fn a_rehearsal_in_which_all_pay_is_the_forecast_in_which_all_pay() {
    let bench = Bench::new();
    let (plans, roster) = (format!("{MEMBERSHIP}/plans"), format!("{MEMBERSHIP}/roster.csv"));
    let book = ["--plans", &plans, "--subscriptions", &roster, "--from", "2027-01-01", "--months", "12"];
    let collected = both_say_the_same(&bench, &book);
    assert!(collected > 12_000, "a year of a thousand subscriptions: {collected}");
}

/// Cycles that are collected by one payment stay cycles: each has its own amount on its own day, and the payments are fewer.
#[test]
fn what_is_one_payment_is_forecast_and_rehearsed_cycle_by_cycle() {
    let bench = Bench::with(&["3 days"], &[]);
    let day = |id: &str, every: &str, hour: &str, price: &str| {
        let plan = crate::bench::PLAN
            .replace("id = \"gym\"", &format!("id = \"{id}\""))
            .replace("1 month", every)
            .replace("100.00", price)
            .replace("06:00:00", hour);
        bench.write(&format!("plans/{id}.toml"), plan + "consolidate = \"customer_and_day\"\n");
    };
    day("gym", "1 month", "06:00:00", "30.00");
    day("pool", "1 month", "21:30:00", "12.50");
    day("class", "1 week", "09:00:00", "4.05");
    let mut roster = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n".to_owned();
    for customer in 1..=9 {
        for plan in ["gym", "pool", "class"] {
            let line = format!(
                "{plan}-{customer},{plan},5a4db0c5-0000-8000-8000-00000000000{customer},card,C-{customer},2027-01-0{customer}\n"
            );
            roster.push_str(&line);
        }
    }
    bench.write("roster.csv", roster);
    let book = ["--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01", "--months", "6"];
    let collected = both_say_the_same(&bench, &book);
    let said =
        bench.autopay(&[&["rehearse"], &book[..], &["--scenario", "all-pay", "-o", "json"]].concat()).exits(0).json();
    let tries = said["total"][0]["tries"].as_u64().unwrap();
    assert!(tries * 100 < u64::try_from(collected).unwrap() * 90, "{tries} payments for {collected} cycles");
    assert_eq!(said["total"][0]["collected"], said["total"][0]["scheduled"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes_however_many_requests_overlap_and_another_seed_does_not() {
    let ids: Vec<String> = (0..40).map(|n| format!("s-{n:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let bench = Bench::with(&["3 days", "8 days"], &ids);
    bench.write("winter.toml", WINTER);
    let ask = |form: &str, seed: &str, overlap: &str| {
        let more = ["--months", "3", "--scenario", "winter.toml", "--seed", seed, "--in-flight", overlap, "-o", form];
        bench.rehearse(&more).exits(0).out
    };
    let first = ask("json", "11", "1");
    assert_eq!(first, ask("json", "11", "64"));
    assert_eq!(first, ask("json", "11", "7"));
    assert_ne!(first, ask("json", "12", "7"));
    for form in ["table", "csv", "jsonl"] {
        assert_eq!(ask(form, "11", "1"), ask(form, "11", "64"), "{form}");
    }
    let said: serde_json::Value = serde_json::from_str(&first).unwrap();
    let total = &said["total"][0];
    for name in ["recovered_charges", "declines", "tries"] {
        assert!(total[name].as_u64().unwrap() > 0, "the scenario shows no {name}: {total}");
    }
    assert!(said["note"].as_str().unwrap().contains("no money exists here"));
}

const WINTER: &str = r#"schema = "autopay.scenario/1"
name = "A bad winter"
[[success]]
rate = "70%"
[[success]]
after = "later_funds"
rate = "50%"
[declines]
later_funds = "80%"
never = "20%"
[[outage]]
from = 2027-02-05T00:00:00Z
until = 2027-02-05T10:00:00Z
[fees]
currency = "USD"
per_try = "0.30"
basis_points = 290
"#;

/// The copy of a live book is read and nothing else; what falls due of it is what the forecast says of it.
#[test]
fn a_copy_of_the_live_book_is_rehearsed_and_the_book_stays_as_it_was() {
    let bench = Bench::with(&["3 days"], &["a", "b", "c"]);
    bench.autopay(&["migrate", "up", "-q"]).exits(0);
    bench.autopay(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.autopay(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let before = std::fs::read(bench.path().join("autopay.db")).unwrap();
    let forecast = bench.autopay(&["forecast", "--months", "6", "-o", "json"]).exits(0).json();
    let rehearsed = bench.autopay(&["rehearse", "--months", "6", "-o", "json"]).exits(0).json();
    assert_eq!(before, std::fs::read(bench.path().join("autopay.db")).unwrap(), "a rehearsal changes no byte");
    for name in ["scheduled", "charges"] {
        assert_eq!(forecast["total"][0][name], rehearsed["total"][0][name], "{name}");
    }
    assert_eq!(rehearsed["total"][0]["collected"], rehearsed["total"][0]["scheduled"]);
    assert_eq!(rehearsed["subscriptions"], 3);

    // Under other plans the same copy is billed their price.
    bench.plans("dear", &["3 days"]);
    let plan = crate::bench::PLAN.replace("100.00", "125.00");
    bench.write("dear/gym.toml", plan);
    let said = bench.autopay(&["rehearse", "--months", "6", "--against", "dear", "-o", "json"]).exits(0).json();
    let cents = |row: &serde_json::Value| row["collected"].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    let [first, second, more] = [0, 1, 2].map(|place| cents(&said["total"][place]));
    assert!(first > 0 && second * 4 == first * 5 && more == second - first, "{first} {second} {more}");
    let refused = bench.autopay(&["rehearse", "--months", "1", "--against", "plans/dunning"]);
    assert_eq!(refused.code, 6, "{}", refused.err);
}
