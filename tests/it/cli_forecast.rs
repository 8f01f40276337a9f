//! `autopay forecast` on the real binary: from files, where there is no database, and from a live book, which stays as it was.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait as _;

use crate::cli_support::{Bench, PLAN, Said, roster};
use crate::postgres::TestDatabase;

const BOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/books");
const BOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/books/membership");

/// The forecast of the example book, with further arguments.
fn membership(bench: &Bench, more: &[&str]) -> Said {
    let (plans, roster) = (format!("{BOOK}/plans"), format!("{BOOK}/roster.csv"));
    let mut arguments = vec!["forecast", "--plans", &plans, "--subscriptions", &roster, "--from", "2027-01-01"];
    arguments.extend(more);
    bench.run(&arguments)
}

fn cents(value: &serde_json::Value) -> i64 {
    value.as_str().unwrap().replace('.', "").parse().unwrap()
}

#[test]
fn scheduled_is_expected_and_at_risk_in_every_row_and_total_of_every_scenario() {
    let bench = Bench::new();
    bench.write("script.csv", "subscription_id,cycle,attempt,outcome\n*,*,1,later_funds\nmem-0001,*,*,never\n");
    for scenario in ["all-pay", "history", "worst-case", "script.csv"] {
        for view in ["charge", "settlement"] {
            let more =
                ["--months", "6", "--scenario", scenario, "--view", view, "--group", "plan,method,state", "-o", "json"];
            let said = membership(&bench, &more).exits(0).json();
            let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
            for row in said["rows"].as_array().unwrap() {
                let amount = |name: &str| cents(&row[name]);
                assert_eq!(amount("scheduled"), amount("expected") + amount("at_risk"), "{row}");
                assert!(
                    amount("expected_low") <= amount("expected") && amount("expected") <= amount("expected_high"),
                    "{row}"
                );
                for name in ["scheduled", "charges"] {
                    let value = if name == "charges" { row[name].as_i64().unwrap() } else { amount(name) };
                    *sums.entry(name).or_default() += value;
                }
            }
            let total = &said["total"][0];
            assert_eq!(sums["scheduled"], cents(&total["scheduled"]), "{scenario} {view}");
            assert_eq!(sums["charges"], total["charges"].as_i64().unwrap());
            let reasons: i64 = said["reasons"].as_array().unwrap().iter().map(|row| cents(&row["at_risk"])).sum();
            assert_eq!(reasons, cents(&total["at_risk"]), "{scenario} {view}");
        }
    }
}

/// Charges and cents of each month, plan and state.
type Sums = BTreeMap<(String, String, String), (i64, i64)>;

/// What the sums of a forecast must be, by a schedule that was worked out by other means, if the book has one.
fn by_schedule(book: &str) -> Option<Sums> {
    let read = |path: &str| std::fs::read_to_string(format!("{BOOKS}/{book}/{path}"));
    let schedule = read("expected/schedule.csv").ok()?;
    let roster = read("roster.csv").unwrap();
    let plan = |line: &str| {
        let mut fields = line.split(',').map(str::to_owned);
        (fields.next().unwrap(), fields.next().unwrap())
    };
    let plans: BTreeMap<String, String> = roster.lines().skip(1).map(plan).collect();
    let mut sums = Sums::new();
    for line in schedule.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [id, _, due_on, _, amount, state] = fields[..] else { panic!("{line}") };
        let (charges, sum) = sums.entry((due_on[..7].to_owned(), plans[id].clone(), state.to_owned())).or_default();
        *charges += 1;
        *sum += amount.replace('.', "").parse::<i64>().unwrap();
    }
    Some(sums)
}

#[test]
fn the_sample_books_are_forecast_as_they_were_worked_out() {
    let bench = Bench::new();
    let books =
        [("premium", 23, true), ("copay-instalments", 17, true), ("payment-plan", 30, true), ("membership", 90, false)];
    for (book, rows, has_schedule) in books {
        let (plans, roster) = (format!("{BOOKS}/{book}/plans"), format!("{BOOKS}/{book}/roster.csv"));
        let window = ["--from", "2026-12-01", "--until", "2027-12-31", "--group", "plan,state", "-o", "csv"];
        let mut arguments = vec!["forecast", "--plans", &plans, "--subscriptions", &roster];
        arguments.extend(window);
        let said = bench.run(&arguments).exits(0).out;
        let expected = std::fs::read_to_string(format!("{BOOKS}/{book}/expected/forecast.csv")).unwrap();
        for (line, (found, expected)) in said.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{book}, line {}", line + 1);
        }
        assert_eq!(said, expected, "{book}");
        let mut found = Sums::new();
        for line in said.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let key = (fields[0].to_owned(), fields[1].to_owned(), fields[2].to_owned());
            let sums = (fields[3].parse().unwrap(), fields[5].replace('.', "").parse().unwrap());
            // In some months only what fell due before them lands.
            if sums == (0, 0) {
                continue;
            }
            assert_eq!(found.insert(key, sums), None, "{book}: {line}");
        }
        assert_eq!(found.len(), rows, "{book}");
        let schedule = by_schedule(book);
        assert_eq!(schedule.is_some(), has_schedule, "{book}");
        assert!(schedule.is_none_or(|schedule| schedule == found), "{book}");
    }
}

#[test]
fn the_single_charges_add_up_to_the_sums() {
    let bench = Bench::new();
    for scenario in ["all-pay", "history"] {
        let total = membership(&bench, &["--months", "3", "--scenario", scenario, "-o", "json"]).exits(0).json();
        let rows = membership(&bench, &["--months", "3", "--scenario", scenario, "--rows", "-o", "jsonl"]).exits(0).out;
        let rows: Vec<serde_json::Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let counted: Vec<_> = rows.iter().filter(|row| row["state"] != "skipped").collect();
        assert_eq!(counted.len().to_string(), total["charges"].as_str().unwrap());
        let sum: i64 = rows.iter().map(|row| cents(&row["amount"])).sum();
        assert_eq!(sum, cents(&total["total"][0]["scheduled"]));
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_in_every_form_and_at_any_time() {
    let bench = Bench::new();
    let more = ["--months", "2", "--scenario", "history", "--chart", "chart.svg", "--out", "out"];
    for form in ["table", "json", "jsonl", "csv", "xlsx", "ics", "chart"] {
        let arguments: Vec<&str> = more.iter().copied().chain(["-o", form]).collect();
        membership(&bench, &arguments).exits(0);
        let read = || (std::fs::read(bench.path().join("out")).unwrap(), bench.read("chart.svg"));
        let first = read();
        membership(&bench, &arguments).exits(0);
        assert!(first == read(), "{form} differs");
    }
}

#[test]
fn a_roster_on_standard_input_is_the_roster_in_a_file() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    let text = roster(&["a", "b"], "2027-01-31");
    bench.write("roster.csv", &text);
    let arguments =
        ["forecast", "--plans", "plans", "--from", "2027-01-01", "--months", "12", "-o", "csv", "--subscriptions"];
    let file = bench.run(&[&arguments[..], &["roster.csv"]].concat()).exits(0);
    let input: Said = bench.run_with_input(&[&arguments[..], &["-"]].concat(), &text).exits(0);
    assert_eq!(file.out, input.out);
    let lines: Vec<&str> = file.out.lines().collect();
    assert_eq!(lines.len(), 13);
    assert_eq!(lines[2], "2027-02,2,USD,2158.00,2158.00,0.00,2158.00,2158.00,0.00,2158.00");
}

#[test]
fn a_broken_roster_or_plan_ends_with_six_and_every_mistake_and_prints_nothing() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    let mut text = roster(&["a", "b", "a"], "2027-01-31");
    text.push_str("d,welness,5a4db0c5-0000-8000-8000-00000000000a,card,C-9,31.01.2027\n");
    bench.write("roster.csv", text);
    for more in [&[][..], &["--rows"]] {
        let arguments =
            [&["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01"], more].concat();
        let said = bench.run(&arguments).exits(6);
        said.complains(&[
            "roster.csv:4:1",
            "duplicate_id",
            "stands in line 2",
            "roster.csv:5:3",
            "write wellness",
            "2027-01-31",
        ]);
        assert_eq!(said.out, "");
    }
    bench.write("plans/bad.toml", "schema = \"autopay.plan/1\"\nid = \"other\"\n");
    let said =
        bench.run(&["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01"]).exits(6);
    said.complains(&["plans/bad.toml"]);
    bench.write("s.csv", "subscription_id,cycle,attempt,outcome\n*,x,1,maybe\n");
    membership(&bench, &["--scenario", "s.csv"]).exits(6).complains(&["s.csv:2:1", "cycle_invalid", "outcome_invalid"]);
}

#[test]
fn wrong_flags_are_all_named_at_once() {
    let bench = Bench::new();
    let more = [
        "--months",
        "121",
        "--by",
        "year",
        "--view",
        "bank",
        "--group",
        "colour",
        "--as-of",
        "soon",
        "--seed",
        "x",
        "--scenario",
        "best",
    ];
    membership(&bench, &more).exits(2).complains(&[
        "--months",
        "--by",
        "--view",
        "--group",
        "--as-of",
        "--seed",
        "--scenario",
    ]);
    membership(&bench, &["--until", "2026-12-31"]).exits(2).complains(&["--until"]);
    membership(&bench, &["--until", "2037-01-01"]).exits(2).complains(&["ten years"]);
    membership(&bench, &["--until", "2036-12-31", "-q"]).exits(0);
    membership(&bench, &["--rows", "-o", "xlsx"]).exits(2).complains(&["--rows"]);
    bench.run(&["forecast", "--plans", "plans"]).exits(2).complains(&["--subscriptions"]);
    bench.run(&["version", "-o", "xlsx"]).exits(2).complains(&["autopay forecast"]);
}

#[test]
fn a_change_of_plans_is_shown_by_month_and_charge_and_the_difference_is_new_less_old() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    let stepped = "[[amount.step]]\nfrom = 2020-01-01\nvalue = \"1079.00\"\n[[amount.step]]\nfrom = 2027-03-01\nvalue = \"1084.00\"\n";
    bench.write("next/wellness.toml", PLAN.replace("value = \"1079.00\"\n", &format!("\n{stepped}")));
    bench.write("roster.csv", roster(&["a", "b"], "2027-01-31"));
    let arguments = |more: &[&'static str]| {
        let all =
            ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01", "--months", "4"];
        [&all[..], more].concat()
    };
    let said = bench.run(&arguments(&["--with-change", "next", "-o", "json"])).exits(0).json();
    let differences: Vec<&str> =
        said.as_array().unwrap().iter().map(|row| row["difference"].as_str().unwrap()).collect();
    assert_eq!(differences, ["0.00", "0.00", "10.00", "10.00", "20.00"], "months, then their total");
    let sums = |plans: &'static str| {
        let all = [
            "forecast",
            "--plans",
            plans,
            "--subscriptions",
            "roster.csv",
            "--from",
            "2027-01-01",
            "--months",
            "4",
            "-o",
            "json",
        ];
        cents(&bench.run(&all).exits(0).json()["total"][0]["scheduled"])
    };
    assert_eq!(sums("next") - sums("plans"), 2_000);
    let rows = bench.run(&arguments(&["--compare", "next", "--rows", "-o", "csv"])).exits(0).out;
    let lines: Vec<&str> = rows.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[1], "a,wellness,2,2027-03-31,2027-03-31,USD,1079.00,1084.00,5.00");
    let same = bench.run(&arguments(&["--with-change", "plans", "--rows", "-o", "csv"])).exits(0);
    assert_eq!(same.out.lines().count(), 1);
    bench.run(&arguments(&["--with-change", "next", "-o", "xlsx"])).exits(2).complains(&["--with-change"]);
    // A change set stands in a live book; a folder may be called as one.
    let numbered = arguments(&["--with-change", "CS-12"]);
    let mend = "leave --plans and --subscriptions out, or name a folder of plan files";
    bench.run(&numbered).exits(2).complains(&["--with-change = CS-12: is a change set", mend]);
    std::fs::rename(bench.path().join("next"), bench.path().join("CS-12")).unwrap();
    bench.run(&numbered).exits(0);
}

#[test]
fn a_workbook_is_not_written_to_a_terminal() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    bench.write("roster.csv", roster(&["a"], "2027-01-31"));
    let forecast = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "-o", "xlsx"];
    let shown = |more: &[&str]| {
        // The other end of a terminal is one, too.
        let terminal = std::fs::File::options().read(true).write(true).open("/dev/ptmx").unwrap();
        let output = bench.command(&[&forecast[..], more].concat()).stdout(terminal).output().unwrap();
        crate::said::Said::from(output)
    };
    for more in [&[][..], &["--out", "-"]] {
        shown(more).exits(2).complains(&["--output = xlsx: is no text for a terminal: add --out FILE.xlsx"]);
    }
    shown(&["--out", "year.xlsx"]).exits(0);
    assert!(std::fs::read(bench.path().join("year.xlsx")).unwrap().starts_with(b"PK"));
    let piped = bench.command(&forecast).output().unwrap();
    assert!(piped.status.success() && piped.stdout.starts_with(b"PK"));
}

/// As where the folder is applied: nobody's plan is gone because a change says nothing of it.
#[test]
fn a_plan_without_a_file_in_the_change_stays_as_it_is() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    bench.write("plans/gold.toml", PLAN.replace("\"wellness\"", "\"gold\""));
    bench.write("next/wellness.toml", PLAN.replace("1079.00", "1080.00"));
    let both = roster(&["a", "b"], "2027-01-31").replacen("b,wellness", "b,gold", 1);
    assert!(both.contains("b,gold"));
    bench.write("roster.csv", both);
    let arguments = [
        "forecast",
        "--plans",
        "plans",
        "--subscriptions",
        "roster.csv",
        "--from",
        "2027-01-01",
        "--months",
        "1",
        "--with-change",
        "next",
        "-o",
        "json",
    ];
    let said = bench.run(&arguments).exits(0).json();
    let month = &said.as_array().unwrap()[0];
    assert_eq!((&month["scheduled_with_change"], &month["difference"]), (&"2159.00".into(), &"1.00".into()));
}

#[test]
fn no_file_that_is_read_is_written_over() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    bench.write("roster.csv", roster(&["a", "b"], "2027-01-31"));
    let kept = || ["plans/wellness.toml", "roster.csv"].map(|name| bench.read(name));
    let before = kept();
    for more in [
        &["-o", "csv", "--out", "roster.csv"][..],
        &["-o", "csv", "--out=plans/../roster.csv"],
        &["--snapshot", "roster.csv"],
        &["--chart", "plans/wellness.toml"],
    ] {
        let all = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01"];
        let said = bench.run(&[&all[..], more].concat()).exits(2);
        said.complains(&["is a file that the command reads", "name another file"]);
        assert_eq!(kept(), before, "{more:?}");
    }
    let all = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-01", "-o", "csv"];
    for _ in 0..2 {
        bench.run(&[&all[..], &["--rows", "--out", "rows.csv"]].concat()).exits(0);
    }
    let about: serde_json::Value = serde_json::from_str(&bench.read("rows.csv.about.json")).unwrap();
    assert!(about["plans"].as_str().unwrap().starts_with("wellness 0 "), "{about}");
}

/// The numbers of product.md's retry ladder on the real binary: a decline in January is collected in February.
#[test]
fn a_scripted_decline_moves_money_into_the_month_of_the_try_that_pays() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    bench.write("roster.csv", roster(&["a"], "2027-01-31"));
    bench.write("s.csv", "subscription_id,cycle,attempt,outcome\na,0,1,later_funds\n");
    let arguments = [
        "forecast",
        "--plans",
        "plans",
        "--subscriptions",
        "roster.csv",
        "--from",
        "2027-01-01",
        "--months",
        "2",
        "--scenario",
        "s.csv",
    ];
    let said = bench.run(&[&arguments[..], &["-o", "json"]].concat()).exits(0).json();
    let row = |place: usize, name: &str| said["rows"][place][name].as_str().unwrap().to_owned();
    assert_eq!(
        (row(0, "scheduled"), row(0, "later"), row(0, "lands")),
        ("1079.00".into(), "1079.00".into(), "0.00".into())
    );
    assert_eq!(
        (row(1, "scheduled"), row(1, "later"), row(1, "lands")),
        ("1079.00".into(), "0.00".into(), "2158.00".into())
    );
    let rows = bench.run(&[&arguments[..], &["--rows", "-o", "jsonl"]].concat()).exits(0).out;
    // Three days later is a Wednesday: it moves to Friday, a payday.
    assert!(rows.contains(r#""collected_on":"2027-02-05","declined":1"#), "{rows}");
}

/// A card that may not be tried again is tried for nobody: in sums and in rows, from files, of the live book, and with a change of plans.
#[test]
fn a_decline_of_a_shared_card_binds_all_who_pay_with_it() {
    let bench = Bench::with_plans();
    let line = |id: &str, card: u32, on: &str| {
        format!("{id},wellness,5a4db0c5-0000-8000-8000-{card:012x},card,C-{id},2027-01-{on}\n")
    };
    let header = roster(&[], "2027-01-10");
    bench.write("roster.csv", header + &line("z", 0, "10") + &line("b", 1, "12") + &line("a", 0, "20"));
    bench.write("s.csv", "subscription_id,cycle,attempt,outcome\nz,0,*,never\n");
    let window = ["--from", "2027-01-01", "--months", "2", "--scenario", "s.csv"];
    let from_files = [&["forecast", "--plans", "plans", "--subscriptions", "roster.csv"], &window[..]].concat();
    let live = [&["forecast"], &window[..]].concat();
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let rows_of = |said: &str| -> Vec<String> {
        let rows = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let row = |row: serde_json::Value| format!("{} {} {}", row["subscription"], row["cycle"], row["expected"]);
        rows.map(|one| row(one).replace('"', "")).collect()
    };
    for asked in [&from_files, &live] {
        let total = bench.run(&[&asked[..], &["-o", "json"]].concat()).exits(0).json()["total"][0].clone();
        assert_eq!((&total["scheduled"], &total["expected"]), (&"6474.00".into(), &"2158.00".into()));
        let rows = bench.run(&[&asked[..], &["--rows", "-o", "jsonl"]].concat()).exits(0).out;
        let mut rows = rows_of(&rows);
        if asked == &from_files {
            let ids: Vec<&str> = rows.iter().map(|row| row.split(' ').next().unwrap()).collect();
            assert_eq!(
                ids,
                ["b", "b", "z", "z", "a", "a"],
                "those who wait for each other stand where the last stands"
            );
        }
        rows.sort();
        assert_eq!(rows, ["a 0 0.00", "a 1 0.00", "b 0 1079.00", "b 1 1079.00", "z 0 0.00", "z 1 0.00"]);
    }
    bench.run(&[&live[..], &["--snapshot", "q.jsonl", "-q"]].concat()).exits(0);
    let snapshot = std::fs::read_to_string(bench.path().join("q.jsonl")).unwrap();
    let begins: Vec<&str> = snapshot.lines().filter(|line| line.starts_with('[')).map(|line| &line[..6]).collect();
    assert_eq!(begins, [r#"["a",0"#, r#"["a",1"#, r#"["b",0"#, r#"["b",1"#, r#"["z",0"#, r#"["z",1"#]);
    bench.write("next/wellness.toml", PLAN.replace("1079.00", "1000.00"));
    for asked in [&from_files, &live] {
        let rows = bench.run(&[&asked[..], &["--with-change", "next", "--rows", "-o", "jsonl"]].concat()).exits(0).out;
        assert_eq!(rows.lines().count(), 6, "{rows}");
    }
}

/// What an import would refuse is said: a book may be looked at from a day to come, when further cycles will have been charged.
#[test]
fn a_next_cycle_behind_the_day_is_taken_as_it_stands_and_said() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    let header = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,next_cycle\n";
    let row = |n: u32, next: &str| {
        format!("s-{n},wellness,5a4db0c5-0000-8000-8000-00000000000{n},card,C-{n},2026-07-20,{next}\n")
    };
    let ask = |more: &[&str]| {
        let files = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2026-11-26"];
        bench.run(&[&files[..], more].concat()).exits(0).err
    };
    bench.write("roster.csv", format!("{header}{}{}{}", row(1, "5"), row(2, "4"), row(3, "")));
    for more in [&["-o", "csv"][..], &["--rows", "-o", "csv"]] {
        assert!(!ask(more).contains("next_cycle"), "the cycle that comes, and the one before it, may be named");
    }
    bench.write("roster.csv", format!("{header}{}{}{}", row(1, "2"), row(2, "3"), row(3, "5")));
    for more in [&["-o", "csv"][..], &["--rows", "-o", "csv"], &["--with-change", "plans", "-o", "csv"]] {
        let said = ask(more);
        assert!(said.contains("2 rows name a next_cycle") && said.contains("next_cycle_behind"), "{said}");
    }
}

#[test]
fn a_calendar_has_one_whole_day_for_each_plan_and_day_and_no_ids_of_people() {
    let bench = Bench::new();
    let text = membership(&bench, &["--months", "1", "-o", "ics"]).exits(0).out;
    assert!(text.contains("\r\n") && text.lines().all(|line| line.len() <= 76), "folded at 75 octets");
    let unfolded = text.replace("\r\n ", "");
    let mut uids: Vec<&str> = unfolded.lines().filter(|line| line.starts_with("UID:")).collect();
    let events = uids.len();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), events);
    assert!(unfolded.contains("DTSTART;VALUE=DATE:20270101") && unfolded.contains("DTEND;VALUE=DATE:20270102"));
    assert!(!unfolded.contains("mem-0") && !unfolded.contains("5a4db0c5"), "a calendar is read on many screens");
    let rows = membership(&bench, &["--months", "1", "--by", "day", "--group", "plan", "-o", "csv"]).exits(0).out;
    let with_charges = rows.lines().skip(1).filter(|line| line.split(',').nth(2) != Some("0")).count();
    assert_eq!(events, with_charges);
}

#[test]
fn a_chart_says_its_numbers_in_words_too() {
    let bench = Bench::new();
    let said = membership(&bench, &["--months", "2", "--scenario", "history", "--chart", "c.svg", "-o", "json"])
        .exits(0)
        .json();
    let svg = bench.read("c.svg");
    for part in ["<title", "<desc", "url(#risk)", "role=\"img\""] {
        assert!(svg.contains(part), "{part}");
    }
    assert!(!svg.contains("http://") || svg.matches("http").count() == 1, "nothing is asked for from outside");
    for row in said["rows"].as_array().unwrap() {
        let grouped = |text: &str| {
            let (whole, cents) = text.split_once('.').unwrap();
            let split = whole.len() - 3;
            format!("USD {},{}.{cents}", &whole[..split], &whole[split..])
        };
        for name in ["scheduled", "expected"] {
            let shown = grouped(row[name].as_str().unwrap());
            assert!(svg.matches(&shown).count() >= 2, "{shown} stands in the picture and in its description");
        }
    }
    let bars = membership(&bench, &["--months", "2", "--chart", "-"]).exits(0).out;
    assert!(bars.contains("2027-01  ####"), "{bars}");
}

/// Every table and its rows, hashed by the database itself.
async fn fingerprint(database: &sea_orm::DatabaseConnection) -> BTreeMap<String, String> {
    let ask = |sql: String| sea_orm::Statement::from_string(sea_orm::DatabaseBackend::Postgres, sql);
    let tables = database
        .query_all_raw(ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'".to_owned()))
        .await
        .unwrap();
    let mut all = BTreeMap::new();
    for table in tables {
        let table: String = table.try_get("", "tablename").unwrap();
        let sql = format!(
            "SELECT coalesce(md5(string_agg(md5(t::text), ',' ORDER BY md5(t::text))), '-') AS h FROM \"{table}\" t"
        );
        let hash: String = database.query_one_raw(ask(sql)).await.unwrap().unwrap().try_get("", "h").unwrap();
        all.insert(table, hash);
    }
    all
}

const LIVE: &[&str] = &["forecast", "--from", "2027-01-01", "--months", "3", "-o", "json"];

#[test]
fn the_live_book_on_sqlite_gives_the_numbers_of_its_files_and_its_file_stays_as_it_was() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["a", "b", "c"], "2027-01-31"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let before = std::fs::read(bench.path().join("autopay.db")).unwrap();
    let live = bench.run(LIVE).exits(0).json();
    assert_eq!(before, std::fs::read(bench.path().join("autopay.db")).unwrap(), "a forecast changes no byte");
    let files = [&["forecast", "--plans", "plans", "--subscriptions", "roster.csv"], &LIVE[1..]].concat();
    let files = bench.run(&files).exits(0).json();
    assert_eq!(live["rows"], files["rows"]);
    assert_eq!(live["rows"][0]["scheduled"], "3237.00");
    bench.run(&["hold", "on", "--scope", "subscription:b", "--reason", "test", "-q"]).exits(0);
    let held = bench.run(LIVE).exits(0).json();
    assert_eq!(held["rows"][0]["expected"], "2158.00");
    assert_eq!(held["reasons"][0]["reason"], "on_hold");
    let odds = bench.run(&[LIVE, &["--scenario", "history"]].concat()).exits(0).json();
    assert!(odds["method"].as_str().unwrap().contains("no history"), "{}", odds["method"]);
    let empty = Bench::new();
    let said = empty.run(LIVE);
    assert_ne!(said.code, 0);
    assert!(!empty.path().join("autopay.db").exists(), "a reader makes no database");
}

#[tokio::test]
async fn the_live_book_on_postgres_needs_a_role_that_may_only_select_and_no_row_changes() {
    let Some(database) = TestDatabase::create("forecast with SELECT alone").await else { return };
    let mut bench = Bench::new();
    bench.env("AUTOPAY_DATABASE_URL", database.url.clone());
    bench.write("plans/wellness.toml", PLAN);
    bench.write("roster.csv", roster(&["a", "b"], "2027-01-31"));
    bench.run(&["migrate", "up", "-q"]).exits(0);
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let admin = sea_orm::Database::connect(&database.url).await.unwrap();
    let role = format!("autopay_reader_{}", std::process::id());
    for sql in [
        format!("CREATE ROLE {role} LOGIN PASSWORD 'reader'"),
        format!("GRANT USAGE ON SCHEMA public TO {role}"),
        format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"),
    ] {
        admin.execute_unprepared(&sql).await.unwrap();
    }
    let before = fingerprint(&admin).await;
    let (_, place) = database.url.rsplit_once('@').unwrap();
    bench.env("AUTOPAY_DATABASE_URL", format!("postgres://{role}:reader@{place}"));
    for scenario in ["all-pay", "history"] {
        let said = bench.run(&[LIVE, &["--scenario", scenario]].concat()).exits(0).json();
        assert_eq!(said["rows"][0]["scheduled"], "2158.00");
    }
    bench.run(&[LIVE, &["--snapshot", "s.jsonl"]].concat()).exits(0);
    let compare = ["forecast", "compare", "--forecast", "s.jsonl", "--actual", "2027-01", "-o", "json"];
    let said = bench.run(&compare).exits(0).json();
    assert_eq!(
        (said["totals"][0]["scheduled"].as_str(), said["totals"][0]["residue"].as_str()),
        (Some("2158.00"), Some("0.00"))
    );
    assert_eq!(said["way"][1]["item"], "to_come");
    assert_eq!(before, fingerprint(&admin).await);
    // The owner's own connection is as powerless while it foretells.
    let reading =
        autopay::store::open_to_read(&autopay::store::DatabaseUrl::parse(&database.url).unwrap()).await.unwrap();
    let refused = reading.execute_unprepared("DELETE FROM subscription").await.unwrap_err().to_string();
    assert!(refused.contains("read-only transaction"), "{refused}");
    reading.close().await.unwrap();
    admin.execute_unprepared(&format!("DROP OWNED BY {role}")).await.unwrap();
    admin.execute_unprepared(&format!("DROP ROLE {role}")).await.unwrap();
    admin.close().await.unwrap();
}

/// A mistake in a plan hides none of the roster's and makes none there, and a scenario's are told beside them.
#[test]
fn the_mistakes_of_plans_roster_and_scenario_are_told_at_once() {
    let bench = Bench::new();
    let good = PLAN.replace("\"wellness\"", "\"good\"");
    let priced = PLAN
        .replace("\"wellness\"", "\"priced\"")
        .replace("value = \"1079.00\"", "price_list = \"prices.csv\"\nmatch_on = [\"rating_area\"]\nminimum = 1");
    bench.write("plans/wellness.toml", PLAN.replace("\"1079.00\"", "1079.00"));
    bench.write("plans/good.toml", good);
    bench.write("plans/priced.toml", priced);
    bench.write("plans/prices.csv", "effective_from,rating_area,amount\n2026-01-01,1,9.00\n");
    bench.write(
        "roster.csv",
        "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on,rating_area\n\
         a,wellness,5a4db0c5-0000-8000-8000-000000000001,card,C-1,2099-02-30,\n\
         b,good,5a4db0c5-0000-8000-8000-000000000002,cheque,C-2,2099-01-31,\n\
         c,wellness,5a4db0c5-0000-8000-8000-000000000003,card,C-3,2099-01-31,\n\
         d,priced,5a4db0c5-0000-8000-8000-000000000004,card,C-4,2099-01-31,1\n\
         e,nobody-s,5a4db0c5-0000-8000-8000-000000000005,card,C-5,2099-01-31,\n",
    );
    bench.write("script.csv", "subscription_id,cycle,attempt,outcome\nzz,*,*,never\n*,x,*,never\n");
    bench.write("new/good.toml", PLAN.replace("\"wellness\"", "\"good\"").replace("1 month", "monthly"));
    let files = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "-o", "json"];
    for more in [&[][..], &["--rows"], &["--scenario", "script.csv"], &["--with-change", "new"]] {
        let said = bench.run(&[&files[..], more].concat()).exits(6);
        let line = said.err.lines().find(|line| line.starts_with("{\"errors\"")).unwrap();
        let errors: serde_json::Value = serde_json::from_str(line).unwrap();
        let found: Vec<String> = errors["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{} {}", one["place"].as_str().unwrap(), one["code"].as_str().unwrap()))
            .collect();
        let mut wanted = vec!["plans/priced.toml:16:11 money_unquoted", "plans/wellness.toml:14:9 money_unquoted"];
        match more {
            ["--with-change", _] => wanted.push("new/good.toml:8:9 every_invalid"),
            ["--scenario", _] => wanted.push("script.csv:3:1 cycle_invalid"),
            _ => {}
        }
        wanted.extend([
            "roster.csv:2:58 date_invalid",
            "roster.csv:3:45 method_kind_invalid",
            "roster.csv:6:3 unknown_plan",
        ]);
        let near = |one: &String, wanted: &&str| one == *wanted;
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        assert!(wanted.iter().all(|wanted| found.iter().any(|one| near(one, wanted))), "{found:#?}\n{wanted:#?}");
        assert!(said.out.is_empty(), "{}", said.out);
    }
}

#[test]
fn a_scenario_that_names_nobody_is_a_mistake_of_its_line() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", roster(&["sub-1", "sub-2"], "2099-01-31"));
    bench.write("plans/wellness.toml", PLAN);
    bench.write("script.csv", "subscription_id,cycle,attempt,outcome\nsub-1,*,1,never\nsub-9,*,*,never\n");
    let files = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2099-01-01"];
    let words = ["script.csv:3:1  error  unknown_subscription   subscription_id = sub-9", "or remove the line"];
    for more in [&[][..], &["--rows"]] {
        bench.run(&[&files[..], &["--scenario", "script.csv"], more].concat()).exits(6).complains(&words);
    }
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench.run(&["forecast", "--from", "2099-01-01", "--scenario", "script.csv"]).exits(6).complains(&words);
    bench.write("script.csv", "subscription_id,cycle,attempt,outcome\nsub-1,*,1,never\nsub-2,*,*,never\n");
    bench.run(&["forecast", "--from", "2099-01-01", "--scenario", "script.csv"]).exits(0);
    bench.run(&[&files[..], &["--scenario", "script.csv"]].concat()).exits(0);
}

#[test]
fn a_comparison_in_csv_has_a_file_about_it_beside_it() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN);
    bench.write("new/wellness.toml", PLAN.replace("1079.00", "1080.00"));
    bench.write("roster.csv", roster(&["sub-1"], "2099-01-31"));
    let files =
        ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2099-01-01", "--months", "3"];
    for (more, rows) in [(&[][..], "3"), (&["--rows"], "3")] {
        bench.run(&[&files[..], &["--with-change", "new", "-o", "csv", "--out", "f.csv"], more].concat()).exits(0);
        assert_eq!(bench.read("f.csv").lines().count(), 4, "{}", bench.read("f.csv"));
        let about: serde_json::Value = serde_json::from_str(&bench.read("f.csv.about.json")).unwrap();
        assert_eq!(about["row_count"], rows);
        assert_eq!(
            (&about["control_total"], &about["control_total_with_change"]),
            (&"USD 3,237.00".into(), &"USD 3,240.00".into())
        );
        assert_ne!(about["plans"], about["plans_with_change"]);
        assert_eq!((&about["charges_that_differ"], &about["subscriptions_that_differ"]), (&"3".into(), &"1".into()));
        std::fs::remove_file(bench.path().join("f.csv.about.json")).unwrap();
    }
}

#[test]
fn free_prices_are_told_and_prices_of_another_century_refused() {
    let bench = Bench::new();
    bench.write("plans/wellness.toml", PLAN.replace("1079.00", "0.00"));
    let said = bench.run(&["plans", "check", "plans"]).exits(0);
    let warning = "warning: plans/wellness.toml:14:9: value = \"0.00\": this costs nothing";
    assert!(said.err.contains(warning) && said.err.contains("0 errors, 1 warning in 1 file."), "{}", said.err);
    let steps =
        "[[amount.step]]\nfrom = 2026-01-01\nvalue = \"1.00\"\n[[amount.step]]\nfrom = 2072-01-01\nvalue = \"2.00\"";
    bench.write("plans/wellness.toml", PLAN.replace("value = \"1079.00\"", steps));
    bench
        .run(&["plans", "check", "plans"])
        .exits(6)
        .complains(&["plans/wellness.toml:18:8  error  price_too_far   from = 2072-01-01", "check the year"]);
    bench.write("plans/wellness.toml", PLAN);
    let said = bench.run(&["plans", "check", "plans"]).exits(0);
    assert!(said.err.contains("0 errors in 1 file."), "{}", said.err);
}
