//! `autopay import tries`: the real binary over files of another system's tries.

use rust_xlsxwriter::Workbook;
use sandbox::{Behaviour, ReturnCode};

use crate::cli_support::{Bench, roster};
use crate::world::{Backend, World, bank, plan, subscriber};

const HEAD: &str = "try_id,payment_method_id,tried_at,outcome,code,amount,currency,subscription_id,cycle\n";

fn method(place: u32) -> String {
    format!("5a4db0c5-0000-8000-8000-{place:012x}")
}

/// An hour ago, so that a day's limit counts it.
fn lately() -> String {
    (<chrono::Utc as crate::crash::WallTime>::now_of_the_test() - chrono::TimeDelta::hours(1)).to_rfc3339()
}

fn bench() -> Bench {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["a", "b"], "2031-05-15"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench
}

#[test]
fn tries_of_another_system_are_imported_once_and_shown_as_imported() {
    let bench = bench();
    let (card, at) = (method(0), lately());
    let mut file = HEAD.to_owned();
    for n in 0..9 {
        file.push_str(&format!("T-{n},{card},{at},,insufficient_funds,1079.00,USD,,\n"));
    }
    file.push_str(&format!("T-9,{card},{at},succeeded,,1079.00,USD,,\n"));
    file.push_str(&format!("T-10,{},2024-02-03T04:05:06Z,,R10,1079.00,USD,b,0\n", method(1)));
    bench.write("tries.csv", &file);
    let count = |said: &serde_json::Value| {
        ["rows", "added", "unchanged", "not_counted"].map(|name| said[name].as_u64().unwrap())
    };
    let dry = bench.run(&["import", "tries", "tries.csv", "-n", "-o", "json", "--report", "checked.csv"]).exits(0);
    dry.complains(&["DRY RUN: nothing was changed."]);
    assert_eq!((count(&dry.json()), &dry.json()["applied"]), ([11, 10, 0, 1], &false.into()));
    assert!(bench.read("checked.csv").contains("row_status,error_code,error,how_to_fix\n"));
    let before = bench.run(&["wallet", "tries", &card, "-o", "json"]).exits(0).json();
    assert_eq!(before, serde_json::json!([]), "a dry run keeps nothing");
    let done = bench.run(&["import", "tries", "tries.csv", "-o", "json"]).exits(0).json();
    assert_eq!((count(&done), &done["applied"]), ([11, 10, 0, 1], &true.into()));
    // The report of the first is as good a file as the first.
    let again = bench.run(&["import", "tries", "checked.csv", "-o", "json"]).exits(0);
    assert_eq!(count(&again.json()), [11, 0, 10, 1]);
    again.complains(&["Nothing to do"]);
    let shown = bench.run(&["wallet", "tries", &card, "-o", "json"]).exits(0);
    let rows = shown.json();
    assert_eq!(rows.as_array().unwrap().len(), 9);
    assert_eq!(
        (&rows[0]["made_by"], &rows[0]["outcome"], &rows[0]["class"], &rows[0]["code"]),
        (&"imported".into(), &"declined".into(), &"later_funds".into(), &"insufficient_funds".into())
    );
    shown.complains(&["By the rules of networks 1 try is left now."]);
    let returned = bench.run(&["wallet", "tries", &method(1), "-o", "json"]).exits(0);
    let rows = returned.json();
    assert_eq!(
        (&rows[0]["outcome"], &rows[0]["class"], &rows[0]["subscription"], &rows[0]["cycle"]),
        (&"returned".into(), &"never".into(), &"b".into(), &0.into())
    );
    returned.complains(&["It may not be tried again"]);
    let standing = bench.run(&["wallet", "show", &method(1), "-o", "json"]).exits(0).json();
    assert_eq!(standing["chargeable"], "no", "an imported never stops the method like one of our own");
    bench.run(&["wallet", "tries", &method(7)]).exits(5);
}

#[test]
fn every_mistake_is_named_at_once_and_nothing_is_changed() {
    let bench = bench();
    let at = lately();
    let file = format!(
        "{HEAD}T-1,{},{at},,insufficient_funds,1079.00,USD,,\n\
         T-2,{},{at},,insufficient_funds,1079.00,USD,nobody,0\n\
         T-3,{},2199-01-01T00:00:00Z,,wat,1079.00,USD,,\n",
        method(0),
        method(7),
        method(0),
    );
    bench.write("tries.csv", &file);
    let said = bench.run(&["import", "tries", "tries.csv", "--report", "back.csv"]).exits(6);
    said.complains(&[
        "tries.csv:3:5  error  unknown_method",
        "error  unknown_subscription   subscription_id = nobody",
        "tries.csv:4:42  error  tried_at_invalid",
        "tried_at lies in the future",
        "error  code_unknown",
        "Nothing was changed.",
    ]);
    let back = bench.read("back.csv");
    assert!(back.contains(",unknown_method | unknown_subscription,"), "{back}");
    assert!(back.contains(",not_applied,"), "{back}");
    assert_eq!(bench.run(&["wallet", "tries", &method(0), "-o", "json"]).exits(0).json(), serde_json::json!([]));
    let good = bench.run(&["import", "tries", "tries.csv", "--good-rows", "-o", "json"]).exits(9).json();
    assert_eq!((&good["good"], &good["bad"], &good["added"]), (&1.into(), &2.into(), &1.into()));
    // The same try under the same id says the same, or is refused.
    bench.write("tries.csv", format!("{HEAD}T-1,{},{at},,insufficient_funds,5.00,USD,,\n", method(0)));
    bench.run(&["import", "tries", "tries.csv"]).exits(6).complains(&["known_otherwise", "with another amount"]);
    bench.run(&["import", "tries", "tries.csv", "--sheet", "x"]).exits(2);
}

#[test]
fn a_workbook_of_tries_comes_back_as_a_workbook() {
    let bench = bench();
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let (card, at) = (method(0), lately());
    let rows = [
        ["try_id", "payment_method_id", "tried_at", "code", "amount", "currency"],
        ["T-1", &card, &at, "card_declined", "1079.00", "USD"],
        ["T-2", &card, "2026-01-02", "R99", "1079.00", "USD"],
    ];
    for (line, row) in (0..).zip(rows) {
        for (column, text) in (0..).zip(row) {
            sheet.write_string(line, column, text).unwrap();
        }
    }
    bench.write("tries.xlsx", book.save_to_buffer().unwrap());
    let said =
        bench.run(&["import", "tries", "tries.xlsx", "--good-rows", "--report", "back.xlsx", "-o", "json"]).exits(9);
    said.complains(&[
        "\"code\":\"tried_at_invalid\"",
        "\"place\":\"tries.xlsx:Sheet1!C3\"",
        "\"code\":\"code_unknown\"",
        "\"place\":\"tries.xlsx:Sheet1!D3\"",
    ]);
    assert_eq!(said.json()["added"], 1);
    let bytes = std::fs::read(bench.path().join("back.xlsx")).unwrap();
    assert!(bytes.starts_with(b"PK"));
    bench.run(&["import", "tries", "back.xlsx", "--good-rows", "-o", "json", "-q"]).exits(9);
    bench.run(&["import", "tries", "tries.xlsx", "--report", "back.csv"]).exits(2);
}

/// The binary over the database of a world.
fn over(world: &World, arguments: &[&str]) -> crate::said::Said {
    let mut bench = Bench::new();
    bench.env("AUTOPAY_DATABASE_URL", world.url());
    tokio::task::block_in_place(|| bench.run(arguments))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returned_debits_are_set_beside_what_the_ach_allows_and_paid_ones_say_until_when_they_may_come_back() {
    let now = <chrono::Utc as crate::crash::WallTime>::now_of_the_test();
    let began = (now - chrono::TimeDelta::days(6)).date_naive();
    let Some(world) = World::begin(Backend::Sqlite, &format!("{began}T00:00:00Z"), "returns").await else { return };
    world.apply(&[plan("gym", "1 year", "UTC", "10:00", "20.00")]).await;
    let good = bank(Behaviour::AchSettles { days: Some(1) }, 1);
    world.enrol(vec![subscriber("a", "gym", &began.to_string(), good)]).await;
    world.run_until(&now.to_rfc3339()).await;
    let said = over(&world, &["gateway", "returns", "-o", "json"]).exits(0).json();
    let rules: Vec<&str> = said.as_array().unwrap().iter().map(|row| row["rule"].as_str().unwrap()).collect();
    assert_eq!(rules, ["ach-returns-administrative", "ach-returns-overall", "ach-returns-unauthorized"]);
    assert_eq!(
        (&said[1]["entries"], &said[1]["returned"], &said[1]["rate_percent"]),
        (&1.into(), &0.into(), &"0.00".into())
    );
    let charge = world.charges_of("a").await.remove(0);
    let shown = over(&world, &["charges", "show", &charge.id.to_string(), "-o", "json"]).exits(0).json();
    let domain::charge::State::Paid { at, .. } = charge.state else { panic!("{:?}", charge.state) };
    let until = (at + chrono::TimeDelta::days(61)).format("%Y-%m-%dT%H:%M").to_string();
    assert_eq!((&shown["finality"], &shown["final_since"]), (&"paid_returnable".into(), &serde_json::Value::Null));
    assert!(shown["returnable_until"].as_str().unwrap().starts_with(&until), "{shown}");
    assert!(shown["sentence"].as_str().unwrap().contains("its bank may still take it back until"), "{shown}");
    let listed = over(&world, &["charges", "list", "-o", "json"]).exits(0).json();
    assert_eq!(listed[0]["finality"], "paid_returnable");
    // Another account says that it never agreed: one of two debits is far more than half a percent.
    let stranger = bank(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R10 }, 2);
    let earlier = (now - chrono::TimeDelta::days(4)).date_naive();
    let Some(other) = World::begin(Backend::Sqlite, &format!("{began}T00:00:00Z"), "returns").await else { return };
    other.apply(&[plan("gym", "1 year", "UTC", "10:00", "20.00")]).await;
    other.enrol(vec![subscriber("b", "gym", &earlier.to_string(), stranger)]).await;
    other.run_until(&now.to_rfc3339()).await;
    let said = over(&other, &["gateway", "returns"]).exits(10);
    said.complains(&[
        "100.00 % of 1 debits came back: no more than 0.5 % of debits",
        "ach-returns-unauthorized",
        "version 2015-09-18",
    ]);
    world.balance().await;
    other.balance().await;
}
