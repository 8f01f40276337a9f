//! Plan files written, compared, proposed, approved and put in force, with the real binary.

use std::process::Stdio;

use autopay::clock::WallClock;
use autopay::ports::Clock as _;
use chrono::{Datelike as _, Months, NaiveDate};
use sha2::Digest as _;

use crate::cli_support::{Bench, PLAN, Said, roster};

const GOLD: &str = r##"# Members of the gold tier.

schema = "autopay.plan/1"
name = "Gold"   # for people
id = "gold"
kind = "recurring"
status = "active"

[amount]
currency = "USD"
value = "79.00"

[schedule]
every = "1 month"
on_day = 15
time_zone = "UTC"
charge_at = 06:00:00
"##;

fn as_person(bench: &Bench, who: &str, arguments: &[&str]) -> Said {
    bench.command(arguments).env("AUTOPAY_USER", who).output().unwrap().into()
}

/// A migrated database, the gold plan in force, and members under it that have begun.
fn members(count: usize) -> Bench {
    let bench = Bench::migrated();
    bench.write("plans/gold.toml", GOLD);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let ids: Vec<String> = (0..count).map(|n| format!("m-{n:04}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    bench.write("roster.csv", roster(&ids, "2026-01-01").replace(",wellness,", ",gold,"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench
}

fn propose(bench: &Bench, who: &str) -> String {
    let said = as_person(bench, who, &["plans", "propose", "plans", "--reason", "board minute 14", "-o", "json"]);
    said.exits(0).json()["id"].as_str().unwrap().to_owned()
}

fn approve(bench: &Bench, who: &str, id: &str) -> Said {
    as_person(bench, who, &["changes", "approve", id, "--comment", "checked"])
}

fn price(bench: &Bench) -> (u64, String) {
    let rows = bench.run(&["plans", "list", "-o", "json"]).exits(0).json();
    let row = rows.as_array().unwrap().iter().find(|row| row["id"] == "gold").unwrap().clone();
    (row["version"].as_u64().unwrap(), row["amount"].as_str().unwrap().to_owned())
}

#[test]
fn files_are_written_in_the_one_way_and_the_second_time_nothing_happens() {
    let bench = Bench::new();
    bench.write("plans/gold.toml", GOLD);
    let said = bench.run(&["plans", "fmt", "plans", "--check"]).exits(3);
    assert!(said.out.contains("gold.toml") && said.out.contains("would_change"), "{}", said.out);
    assert_eq!(bench.read("plans/gold.toml"), GOLD);
    bench.run(&["plans", "fmt", "plans"]).exits(0);
    let written = bench.read("plans/gold.toml");
    let expected = "# Members of the gold tier.\n\nschema = \"autopay.plan/1\"\nid     = \"gold\"\nname   = \"Gold\"  # for people\n";
    assert!(written.starts_with(expected), "{written}");
    assert!(written.find("[schedule]").unwrap() < written.find("[amount]").unwrap());
    bench.run(&["plans", "fmt", "plans", "--check"]).exits(0);
    bench.run(&["plans", "check", "plans"]).exits(0);
    // One file that cannot be read keeps all of them as they are.
    bench.write("plans/silver.toml", "id = \"silver\nname = 1\n");
    bench.write("plans/gold.toml", GOLD);
    bench.run(&["plans", "fmt", "plans"]).exits(6).complains(&["silver.toml:1", "toml_syntax"]);
    assert_eq!(bench.read("plans/gold.toml"), GOLD);
    bench.run(&["plans", "fmt", "nowhere"]).exits(6).complains(&["nowhere"]);
}

#[test]
fn two_folders_are_compared_without_a_database() {
    let bench = Bench::new();
    bench.write("old/gold.toml", GOLD);
    bench.write("new/gold.toml", GOLD.replace("79.00", "84.00").replace("# Members", "# All members"));
    bench.write("new/wellness.toml", PLAN);
    let diff = |more: &[&str]| bench.run(&[&["plans", "diff", "new", "--against", "old"], more].concat());
    let said = diff(&[]).exits(0);
    assert!(said.out.contains("~ gold") && said.out.contains("amount.value 79.00 -> 84.00"), "{}", said.out);
    assert!(said.out.contains("+ wellness"), "{}", said.out);
    let json = diff(&["-o", "json", "--exit-code"]).exits(3).json();
    assert_eq!(json["changes"][0]["fields"].as_array().unwrap().len(), 1, "{json}");
    assert!(diff(&["-o", "csv"]).exits(0).out.contains("plan,gold,changed,amount.value,79.00,84.00"));
    // Comments and layout are no difference.
    bench.write("new/gold.toml", GOLD.replace("# Members", "# All members"));
    std::fs::remove_file(bench.path().join("new/wellness.toml")).unwrap();
    let same = diff(&["--exit-code"]).exits(0);
    assert!(same.out.contains("1 plan or policy unchanged"), "{}", same.out);
    assert!(!bench.path().join("autopay.db").exists());
}

#[test]
fn two_folders_and_a_roster_are_enough_to_speak_of_money() {
    let bench = Bench::new();
    bench.write("old/gold.toml", GOLD);
    bench.write("new/gold.toml", GOLD.replace("79.00", "84.10"));
    bench.write("roster.csv", roster(&["a", "b", "c"], "2026-01-01").replace(",wellness,", ",gold,"));
    let diff = |more: &[&str]| {
        let asked =
            ["plans", "diff", "new", "--against", "old", "--subscriptions", "roster.csv", "--as-of", "2027-01-10"];
        bench.run(&[&asked, more].concat())
    };
    let json = diff(&["-o", "json"]).exits(0).json();
    let rows = json["changes"][0]["money"]["months"].as_array().unwrap().clone();
    let months: Vec<&str> = rows.iter().map(|row| row["month"].as_str().unwrap()).collect();
    assert_eq!((months.len(), months[0], months[11]), (12, "2027-01", "2027-12"));
    assert!(rows.iter().all(|row| row["old"] == "237.00" && row["difference"] == "15.30"), "{json}");
    assert_eq!((&json["from"], &json["until"]), (&"2027-01-01".into(), &"2027-12-31".into()));
    assert!(diff(&["--months", "2"]).exits(0).out.contains("in all   +USD 30.60"));
    // Another rhythm counts other cycles: the folder's own import of that day decides where they begin.
    let cents = |of: &serde_json::Value| of.as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
    // Six charges of each a year; and the same dates from another first cycle on.
    let cases = [("every = \"2 months\"", -142_200), ("every = \"1 month\"\nfree_first = \"45 days\"", 0)];
    for (line, difference) in cases {
        bench.write("new/gold.toml", GOLD.replace("every = \"1 month\"", line));
        let json = diff(&["-o", "json"]).exits(0).json();
        let rows = json["changes"][0]["money"]["months"].as_array().unwrap();
        assert!(rows.iter().all(|row| row["month"].as_str().unwrap() >= "2027-01"), "nothing before the day: {json}");
        let told: i64 = rows.iter().map(|row| cents(&row["difference"])).sum();
        let files = ["--plans", "old", "--subscriptions", "roster.csv", "--with-change", "new"];
        let window = ["--as-of", "2027-01-10T00:00:00Z", "--from", "2027-01-01", "--months", "12", "-o", "jsonl"];
        let said = bench.run(&[&["forecast"], &files[..], &window].concat()).exits(0).out;
        let total: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(total["period"], "total");
        assert_eq!((told, cents(&total["difference"])), (difference, difference), "{line}");
    }
    bench.write("roster.csv", "subscription_id,plan\nx,nothing\n");
    diff(&[]).exits(6);
    bench.run(&["plans", "diff", "new", "--subscriptions", "roster.csv"]).exits(2).complains(&["--against"]);
    assert!(!bench.path().join("autopay.db").exists());
}

#[test]
fn a_diff_speaks_money_to_the_cent_and_changes_nothing() {
    let bench = members(3);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.10"));
    let said = bench.run(&["plans", "diff", "plans", "--months", "12", "--sample", "2", "-o", "json"]).exits(0);
    let json = said.json();
    let change = &json["changes"][0];
    assert_eq!((&change["id"], &change["version"]), (&"gold".into(), &1.into()), "{json}");
    assert_eq!(change["fields"][0]["old"], "79.00");
    let money = &change["money"];
    assert_eq!((&money["active"], &money["touched"]), (&3.into(), &3.into()), "{json}");
    assert_eq!(money["sample"].as_array().unwrap().len(), 2);
    assert_eq!((&money["sample"][0]["old"], &money["sample"][0]["new"]), (&"79.00".into(), &"84.10".into()));
    // The fifteenth of this month may be over: then its charge is not planned any more.
    let today = WallClock.now().date_naive();
    let months = if today.day() > 15 { 11 } else { 12 };
    let rows = money["months"].as_array().unwrap();
    assert_eq!(rows.len(), months, "{json}");
    assert!(rows.iter().all(|row| row["old"] == "237.00" && row["new"] == "252.30" && row["difference"] == "15.30"));
    assert_eq!(json["months"], money["months"]);
    assert_eq!((&json["touches"], &json["needs_approvals"]), (&3.into(), &1.into()));
    let words = bench.run(&["plans", "diff", "plans"]).exits(0);
    assert!(words.out.contains("amount.value 79.00 -> 84.10"), "{}", words.out);
    assert!(words.out.contains("3 active subscriptions; 3 charged differently"), "{}", words.out);
    assert!(words.out.contains("USD 237.00 -> USD 252.30   +USD 15.30"), "{}", words.out);
    words.complains(&["Nothing was changed", "plans propose plans"]);
    bench.run(&["plans", "diff", "plans", "--exit-code"]).exits(3);
    let csv = bench.run(&["plans", "diff", "plans", "-o", "csv"]).exits(0).out;
    assert!(csv.starts_with("plan,month,old,currency,new,currency,difference,currency\ngold,"), "{csv}");
    assert_eq!(price(&bench), (1, "79.00".to_owned()));
}

#[test]
fn a_diff_counts_whoever_goes_on_by_itself_after_a_pause_and_nobody_who_does_not() {
    let bench = members(3);
    let today = WallClock.now().date_naive();
    let until = today.checked_add_months(Months::new(4)).unwrap().with_day(1).unwrap().to_string();
    let ids = bench.run(&["subscriptions", "list", "-o", "json"]).exits(0).json();
    let id = |place: usize| ids[place]["id"].as_str().unwrap().to_owned();
    bench.run(&["subscriptions", "pause", &id(0), "--until", &until]).exits(0);
    bench.run(&["subscriptions", "pause", &id(1)]).exits(0);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.10"));
    let json = bench.run(&["plans", "diff", "plans", "--months", "12", "-o", "json"]).exits(0).json();
    let money = &json["changes"][0]["money"];
    assert_eq!((&money["active"], &json["touches"]), (&2.into(), &2.into()), "{json}");
    let rows = money["months"].as_array().unwrap();
    assert!(rows.len() >= 11, "{json}");
    for row in rows {
        let both = row["month"].as_str().unwrap() >= &until[..7];
        assert_eq!(row["difference"], if both { "10.20" } else { "5.10" }, "{json}");
    }
}

#[test]
fn a_dated_price_owes_notices_before_it() {
    let bench = members(2);
    let today = WallClock.now().date_naive();
    let from = today.checked_add_months(Months::new(4)).unwrap().with_day(1).unwrap();
    let steps = format!(
        "[[amount.step]]\nfrom = 2026-01-01\nvalue = \"79.00\"\n\n[[amount.step]]\nfrom = {from}\nvalue = \"84.00\"\napplies = \"next_renewal\"\nnotice = \"30 days\"\n"
    );
    bench.write("plans/gold.toml", GOLD.replace("value = \"79.00\"\n", &steps));
    let json = bench.run(&["plans", "diff", "plans", "-o", "json"]).exits(0).json();
    let money = &json["changes"][0]["money"];
    let first: NaiveDate = from.with_day(15).unwrap();
    let by = first - chrono::Days::new(30);
    assert_eq!((&money["notices_owed"], &money["notices_by"]), (&2.into(), &by.to_string().into()), "{json}");
    assert_eq!(money["sample"][0]["on"], first.to_string());
    let words = bench.run(&["plans", "diff", "plans"]).exits(0).out;
    assert!(words.contains(&format!("2 notices, the first by {by}")), "{words}");
    let row = money["months"].as_array().unwrap().iter().find(|row| row["month"] == first.format("%Y-%m").to_string());
    assert_eq!(row.unwrap()["difference"], "10.00");
}

#[test]
fn what_the_files_could_not_charge_is_said_before_anybody_proposes_it() {
    let bench = members(1);
    bench.write("plans/gold.toml", GOLD.replace("\"79.00\"", "\"from_subscription\""));
    let words = bench.run(&["plans", "diff", "plans"]).exits(0).out;
    assert!(words.contains("1 would not be charged as planned, the first: m-0000"), "{words}");
    bench.write("plans/gold.toml", GOLD.replace("1 month", "1 week").replace("on_day = 15\n", ""));
    for command in [vec!["plans", "diff", "plans"], vec!["plans", "propose", "plans", "--reason", "x"]] {
        bench.run(&command).exits(6).complains(&["rhythm_in_use", "gold.toml:14"]);
    }
}

#[test]
fn one_proposes_another_approves_and_then_it_is_in_force() {
    let bench = members(3);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    assert_eq!(id, "CS-1");
    let shown = bench.run(&["changes", "show", &id]).exits(0).out;
    for part in ["waiting", "ada", "board minute 14", "0 of 1", "amount.value 79.00 -> 84.00", "+USD 15.00"] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    let dry = ["changes", "apply", &id, "--dry-run"];
    for command in [&dry[..3], &dry[..]] {
        as_person(&bench, "ada", command).exits(8).complains(&["0 of 1 people have approved it"]);
    }
    approve(&bench, "Ada", &id).exits(4).complains(&["is your own"]);
    as_person(&bench, "ada", &["changes", "reject", &id, "--reason", "x"]).exits(4);
    as_person(&bench, "bob", &["changes", "withdraw", &id, "--reason", "x"]).exits(4).complains(&["reject it instead"]);
    assert_eq!(price(&bench), (1, "79.00".to_owned()));
    approve(&bench, "bob", &id).exits(0).complains(&["Next: autopay changes apply CS-1"]);
    approve(&bench, "bob", &id).exits(0).complains(&["already"]);
    let foreseen = as_person(&bench, "ada", &[&dry[..], &["-o", "json"]].concat()).exits(0);
    foreseen.complains(&["CS-1 can be put in force now", "Nothing was changed"]);
    let expected = serde_json::json!([{ "id": "gold", "result": "would be changed", "version": 2 }]);
    assert_eq!(foreseen.json(), expected);
    let earlier = [&dry[..], &["--at", "2026-01-01T00:00:00Z"]].concat();
    as_person(&bench, "ada", &earlier).exits(2).complains(&["is not to come"]);
    assert_eq!(price(&bench), (1, "79.00".to_owned()));
    let said = as_person(&bench, "ada", &["changes", "apply", &id]).exits(0);
    said.complains(&["CS-1 applied: live version 2", "changes revert CS-1"]);
    assert_eq!(price(&bench), (2, "84.00".to_owned()));
    for command in [&dry[..3], &dry[..]] {
        as_person(&bench, "ada", command).exits(7).complains(&["is applied already"]);
    }
    let list = bench.run(&["changes", "list", "-o", "json"]).exits(0).json();
    assert_eq!((&list[0]["standing"], &list[0]["approvals"]), (&"applied".into(), &1.into()));
    let history = bench.run(&["plans", "history", "gold", "-o", "json"]).exits(0).json();
    assert_eq!(history.as_array().unwrap().len(), 2);
    assert_eq!((&history[1]["change_set"], &history[1]["in_force"]), (&"CS-1".into(), &true.into()));
    let document = bench.run(&["changes", "show", &id, "-o", "json"]).exits(0).json();
    assert_eq!((&document["settled_by"], &document["approvals"][0]["by"]), (&"ada".into(), &"bob".into()));
    assert!(document["files"]["gold.toml"].as_str().unwrap().contains("84.00"));
    // Whoever keeps the document can check what was approved.
    let content = document["content"].as_str().unwrap();
    assert_eq!(hex::encode(sha2::Sha256::digest(content.as_bytes())), document["sha256"]);
    bench.run(&["plans", "history", "nothing"]).exits(5);
    bench.run(&["changes", "show", "CS-9"]).exits(5);
    bench.run(&["changes", "show", "x"]).exits(2);
    let again = as_person(&bench, "ada", &["plans", "propose", "plans", "--reason", "again"]).exits(0);
    again.complains(&["nothing to propose"]);
}

#[test]
fn many_subscriptions_need_two_people_and_the_book_of_the_day_counts() {
    let bench = members(3);
    bench.write("autopay.toml", "[changes]\ntwo_approvals_above = 3\n");
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    approve(&bench, "bob", &id).exits(0);
    // One approval was enough for three members. Now there are four.
    bench.write("more.csv", roster(&["m-9999"], "2026-01-01").replace(",wellness,", ",gold,"));
    bench.run(&["subscriptions", "import", "more.csv", "-q"]).exits(0);
    as_person(&bench, "ada", &["changes", "apply", &id]).exits(8).complains(&["1 of 2 people"]);
    approve(&bench, "cleo", &id).exits(0);
    as_person(&bench, "ada", &["changes", "apply", &id]).exits(0);
    // Words touch nobody's money.
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00").replace("\"Gold\"", "\"Gold tier\""));
    let said = as_person(&bench, "ada", &["plans", "propose", "plans", "--reason", "a better name", "-o", "json"]);
    let json = said.exits(0).json();
    assert_eq!((&json["touches"], &json["needs_approvals"]), (&0.into(), &1.into()));
}

#[test]
fn what_moved_meanwhile_is_told_with_whether_it_overlaps() {
    let bench = members(1);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    approve(&bench, "bob", &id).exits(0);
    bench.write("other/wellness.toml", PLAN);
    bench.run(&["plans", "apply", "other", "-q"]).exits(0);
    as_person(&bench, "ada", &["changes", "apply", &id, "--dry-run"]).exits(7).complains(&["nothing overlaps"]);
    let said = as_person(&bench, "ada", &["changes", "apply", &id]).exits(7);
    said.complains(&["plan wellness was at version none and is at 1", "nothing overlaps"]);
    bench.write("gold/gold.toml", GOLD.replace("79.00", "80.00"));
    bench.run(&["plans", "apply", "gold", "-q"]).exits(0);
    let said = as_person(&bench, "ada", &["changes", "apply", &id]).exits(7);
    said.complains(&["plan gold was at version 1 and is at 2 (this change set changes it too)", "plans diff"]);
    assert_eq!(price(&bench), (2, "80.00".to_owned()));
    as_person(&bench, "ada", &["changes", "withdraw", &id, "--reason", "moved"]).exits(0);
    as_person(&bench, "ada", &["changes", "apply", &id]).exits(7).complains(&["is withdrawn already"]);
}

#[test]
fn of_two_who_apply_at_once_one_does() {
    let bench = members(1);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    approve(&bench, "bob", &id).exits(0);
    let start = || {
        let mut command = bench.command(&["changes", "apply", &id]);
        command.env("AUTOPAY_USER", "ada").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (one, two) = (start(), start());
    let mut codes: Vec<i32> =
        [one, two].map(|child| Said::from(child.wait_with_output().unwrap()).code).into_iter().collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 7]);
    assert_eq!(price(&bench), (2, "84.00".to_owned()));
}

#[test]
fn an_undoing_is_a_change_set_like_any_other() {
    let bench = members(2);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00").replace("# Members", "# Dearer members"));
    bench.write("plans/wellness.toml", PLAN);
    let id = propose(&bench, "ada");
    let revert = |id: &str| as_person(&bench, "cleo", &["changes", "revert", id, "--reason", "too soon", "-o", "json"]);
    revert(&id).exits(7).complains(&["only an applied one can be undone"]);
    approve(&bench, "bob", &id).exits(0);
    as_person(&bench, "ada", &["changes", "apply", &id]).exits(0);
    let undo = revert(&id).exits(0).json();
    assert_eq!((&undo["reverts"], &undo["author"], &undo["touches"]), (&id.clone().into(), &"cleo".into(), &2.into()));
    let undo = undo["id"].as_str().unwrap().to_owned();
    as_person(&bench, "cleo", &["changes", "apply", &undo]).exits(8);
    approve(&bench, "cleo", &undo).exits(4);
    approve(&bench, "ada", &undo).exits(0);
    as_person(&bench, "cleo", &["changes", "apply", &undo]).exits(0);
    assert_eq!(price(&bench), (3, "79.00".to_owned()));
    let plans = bench.run(&["plans", "list", "-o", "json"]).exits(0).json();
    let wellness = plans.as_array().unwrap().iter().find(|row| row["id"] == "wellness").unwrap().clone();
    assert_eq!((&wellness["status"], &wellness["version"]), (&"retired".into(), &2.into()));
    // The text came back with it, and every version is still there.
    bench.run(&["plans", "export", "live"]).exits(0);
    assert!(bench.read("live/gold.toml").starts_with("# Members of the gold tier."));
    assert_eq!(bench.run(&["plans", "history", "gold", "-o", "json"]).exits(0).json().as_array().unwrap().len(), 3);
    revert(&id).exits(7).complains(&["plan gold has moved on to version 3 by CS-2"]);
}

#[test]
fn what_is_exported_is_what_is_in_force() {
    let bench = members(1);
    let policy = "# Gently.\nschema = \"autopay.dunning/1\"\nid = \"gentle\"\nname = \"Gentle\"\n\n[limits]\nmost_attempts = 2\ngive_up_after = \"21 days\"\n\n[[step]]\nafter = \"3 days\"\naction = \"retry\"\n\n[at_the_end]\naction = \"pause_subscription\"\nhand_to = \"collections\"\n";
    bench.write("plans/dunning/gentle.toml", policy);
    bench.write("plans/wellness.toml", PLAN);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.run(&["plans", "export", "live"]).exits(0);
    let diff = bench.run(&["plans", "diff", "live", "--exit-code"]).exits(0);
    assert!(diff.out.contains("3 plans and policies unchanged"), "{}", diff.out);
    assert!(bench.read("live/dunning/gentle.toml").contains("# Gently."));
    bench.run(&["plans", "fmt", "live", "--check"]).exits(0);
    bench.run(&["plans", "check", "live"]).exits(0);
    bench.run(&["plans", "export", "live"]).exits(7).complains(&["already"]);
    as_person(&bench, "ada", &["plans", "propose", "live", "--reason", "x"])
        .exits(0)
        .complains(&["nothing to propose"]);
}

#[test]
fn production_takes_no_plans_without_approval() {
    let mut bench = Bench::migrated();
    bench.write("plans/gold.toml", GOLD);
    bench.env("AUTOPAY_ENVIRONMENT", "production");
    bench.env("AUTOPAY_MERCHANT_ID", "7d0ee5c1-6d2e-4a53-9f5b-4a4f4dbb6a10");
    bench
        .run(&["plans", "apply", "plans"])
        .exits(8)
        .complains(&["only after somebody else approved them", "plans propose"]);
    bench.run(&["plans", "apply", "plans", "--dry-run"]).exits(0);
    let id = propose(&bench, "ada");
    approve(&bench, "bob", &id).exits(0);
    as_person(&bench, "bob", &["changes", "apply", &id]).exits(0);
    assert_eq!(price(&bench), (1, "79.00".to_owned()));
}

#[test]
fn nobody_without_a_name_proposes_or_approves() {
    let bench = members(1);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let nameless = |arguments: &[&str]| -> Said {
        let mut command = bench.command(arguments);
        for name in ["AUTOPAY_USER", "USER", "LOGNAME"] {
            command.env_remove(name);
        }
        command.output().unwrap().into()
    };
    nameless(&["plans", "propose", "plans", "--reason", "x"]).exits(4).complains(&["set AUTOPAY_USER"]);
    let id = propose(&bench, "ada");
    nameless(&["changes", "approve", &id, "--comment", "x"]).exits(4);
    as_person(&bench, "bob", &["changes", "approve", &id, "--comment", " "]).exits(2).complains(&["500 characters"]);
    as_person(&bench, "bob", &["changes", "reject", &id, "--reason", "last year's price"]).exits(0);
    approve(&bench, "cleo", &id).exits(7).complains(&["is rejected already"]);
    let list = bench.run(&["changes", "list", "--standing", "rejected", "-o", "csv"]).exits(0).out;
    assert_eq!(list.lines().count(), 2, "{list}");
    bench.run(&["changes", "list", "--standing", "half"]).exits(2);
}

/// A pass that finds nothing due, so that no gateway needs to answer.
fn run_pass(bench: &Bench) {
    let nobody = "http://127.0.0.1:9";
    bench.write("secret", "never used");
    bench.write(
        "autopay.toml",
        format!(
            "[gateway]\nbase_url = \"{nobody}\"\ntoken_url = \"{nobody}/oauth2/token\"\nclient_id = \"it\"\n\
             client_secret_file = \"secret\"\n"
        ),
    );
    bench.run(&["run", "once"]).exits(0);
}

#[test]
fn a_planned_change_is_in_force_from_its_moment_on() {
    let bench = members(2);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    let soon = (WallClock.now() + chrono::TimeDelta::seconds(4)).to_rfc3339();
    let apply = |who: &str, at: &str| as_person(&bench, who, &["changes", "apply", &id, "--at", at, "-o", "json"]);
    apply("carol", &soon).exits(8).complains(&["waits for approval"]);
    approve(&bench, "bob", &id).exits(0);
    apply("carol", "2026-01-01T00:00:00Z").exits(2).complains(&["--at", "not to come"]);
    apply("carol", "tomorrow").exits(2).complains(&["--at"]);
    let said = apply("carol", "2199-01-01T00:00:00-06:00").exits(0);
    assert_eq!(said.json()["standing"], "planned");
    assert!(said.err.contains("2199-01-01T06:00:00Z") && said.err.contains("--with-change"), "{}", said.err);
    let told = bench.run(&["changes", "show", &id, "-o", "json"]).exits(0).json();
    assert_eq!(
        (told["planned_at"].as_str(), told["planned_by"].as_str()),
        (Some("2199-01-01T06:00:00Z"), Some("carol"))
    );
    // Taken back, it is approved still; what has no moment has none to take back.
    let postpone = || as_person(&bench, "carol", &["changes", "postpone", &id, "--reason", "the letters are late"]);
    postpone().exits(0);
    postpone().exits(7).complains(&["has no moment planned"]);
    assert!(bench.run(&["changes", "show", &id]).exits(0).out.contains("put off      the letters are late"));
    apply("carol", &soon).exits(0);
    let dry = bench.run(&["run", "once", "--dry-run", "--as-of", "2199-01-01T00:00:00Z"]).exits(0);
    assert!(dry.err.contains(&format!("{id} is planned")), "{}", dry.err);
    let forecast = bench.run(&["forecast", "--until", "2027-12-31"]).exits(0);
    assert!(forecast.err.contains(&format!("{id} is planned")), "{}", forecast.err);
    assert_eq!(price(&bench), (1, "79.00".to_owned()));
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(bench.run(&["doctor"]).out.contains("whose moment has passed"));
    run_pass(&bench);
    assert_eq!(price(&bench), (2, "84.00".to_owned()));
    let told = bench.run(&["changes", "show", &id, "-o", "json"]).exits(0).json();
    assert_eq!((told["standing"].as_str(), told["settled_by"].as_str()), (Some("applied"), Some("carol")));
}

#[test]
fn what_moved_before_the_moment_puts_a_planned_change_off() {
    let bench = members(2);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    approve(&bench, "bob", &id).exits(0);
    let soon = (WallClock.now() + chrono::TimeDelta::seconds(2)).to_rfc3339();
    as_person(&bench, "carol", &["changes", "apply", &id, "--at", &soon]).exits(0);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "81.00"));
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    std::thread::sleep(std::time::Duration::from_secs(3));
    run_pass(&bench);
    assert_eq!(price(&bench), (2, "81.00".to_owned()));
    let told = bench.run(&["changes", "show", &id, "-o", "json"]).exits(0).json();
    assert_eq!((told["standing"].as_str(), told["planned_at"].as_str()), (Some("approved"), None));
    assert!(told["put_off"].as_str().unwrap().contains("plan gold was at version 1 and is at 2"), "{told}");
    assert!(bench.run(&["doctor"]).out.contains("was not put in force when it was planned"));
}

#[test]
fn in_an_emergency_one_person_is_enough_and_everybody_sees_it() {
    let bench = members(2);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    let broken = |confirm: &[&str]| {
        let start = ["changes", "apply", &id, "--break-glass", "everybody is charged a thousandfold"];
        as_person(&bench, "ada", &[&start[..], confirm].concat())
    };
    broken(&[]).exits(2).complains(&["--confirm"]);
    broken(&["--confirm", "CS-99"]).exits(2).complains(&["--confirm", &id]);
    assert_eq!(price(&bench), (1, "79.00".to_owned()));
    let said = broken(&["--confirm", &id]).exits(0);
    assert!(said.err.contains("without the approvals it needs"), "{}", said.err);
    assert_eq!(price(&bench), (2, "84.00".to_owned()));
    assert!(bench.run(&["changes", "show", &id]).exits(0).out.contains("thousandfold"));
    let doctor = bench.run(&["doctor"]);
    assert!(doctor.out.contains("put in force by ada without the approvals it needs"), "{}", doctor.out);
    // Where people did approve, nothing needs breaking.
    bench.write("plans/gold.toml", GOLD.replace("79.00", "85.00"));
    let id = propose(&bench, "ada");
    approve(&bench, "bob", &id).exits(0);
    let line = ["changes", "apply", &id, "--break-glass", "hurry", "--confirm", &id];
    as_person(&bench, "ada", &line).exits(2).complains(&["has the 1 approvals"]);
    assert_eq!(price(&bench), (2, "84.00".to_owned()));
}

#[test]
fn a_comparison_is_written_for_a_review() {
    let bench = members(3);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00").replace("\"Gold\"", "\"Gold | `all`\""));
    let said = bench.run(&["plans", "diff", "plans", "-o", "markdown"]).exits(0);
    assert!(said.out.starts_with("## Comparing 1 file with live version 1"), "{}", said.out);
    for part in [
        "\n### Plan `gold` (changed, version 1)\n",
        "| `amount.value` | `79.00` | `84.00` |",
        "`Gold \\| 'all'`",
        "Touches 3 active subscriptions; 3 charged differently.",
        "| Month | Before | After | Difference |",
        "| **In all** | | | **+USD ",
        "Needs the approval of 1 person other than its author.",
    ] {
        assert!(said.out.contains(part), "{part} in {}", said.out);
    }
    // Every row of a table has as many cells as its head.
    let mut width = None;
    for line in said.out.lines() {
        let cells = line.replace("\\|", "").matches('|').count();
        match (line.starts_with('|'), width) {
            (true, None) => width = Some(cells),
            (true, Some(width)) => assert_eq!(cells, width, "{line}"),
            (false, _) => width = None,
        }
    }
    bench.run(&["plans", "list", "-o", "markdown"]).exits(2).complains(&["only autopay plans diff has"]);
}

#[test]
fn a_forecast_of_the_live_book_knows_what_an_open_change_set_would_do() {
    let bench = members(3);
    bench.write("plans/gold.toml", GOLD.replace("79.00", "84.00"));
    let id = propose(&bench, "ada");
    let window = ["--from", "2027-01-01", "--until", "2027-03-31"];
    let forecast = |more: &[&str]| bench.run(&[&["forecast"][..], &window[..], more].concat());
    let json = |more: &[&str]| forecast(&[more, &["-o", "json"]].concat()).exits(0).json();
    let beside = json(&["--with-change", &id]);
    let total = beside.as_array().unwrap().iter().find(|row| row["period"] == "total").unwrap().clone();
    let amounts =
        ["scheduled", "scheduled_with_change", "difference"].map(|name| total[name].as_str().unwrap().to_owned());
    // Three members, three months.
    assert_eq!(amounts, ["711.00", "756.00", "45.00"]);
    let rows = json(&["--from-server", "--with-change", &id, "--rows"]);
    assert_eq!(rows.as_array().unwrap().len(), 9);
    assert!(rows.as_array().unwrap().iter().all(|row| row["difference"] == "5.00"), "{rows}");
    // A folder says the same, and the left side is what is forecast without a change.
    assert_eq!(json(&["--with-change", "plans"]), beside);
    approve(&bench, "bob", &id).exits(0);
    as_person(&bench, "ada", &["changes", "apply", &id]).exits(0);
    let now = json(&["--with-change", "plans"]);
    let total = now.as_array().unwrap().iter().find(|row| row["period"] == "total").unwrap().clone();
    assert_eq!((total["scheduled"].as_str(), total["difference"].as_str()), (Some("756.00"), Some("0.00")));
    forecast(&["--with-change", &id]).exits(7).complains(&["--with-change", "is settled"]);
    forecast(&["--with-change", "CS-99"]).exits(5).complains(&["CS-99", "does not exist"]);
    forecast(&["--with-change", "nowhere"]).exits(6).complains(&["nowhere"]);
}
