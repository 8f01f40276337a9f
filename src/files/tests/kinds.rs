use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use domain::agenda::cycles;
use domain::id::MerchantId;
use domain::plan::{Catalog, PlanSpec};

use super::{brief, fit_to_show};
use crate::files::tables::{Beside, tables_of};
use crate::files::{
    FileMistake, RosterContext, RowMistake, Unread, read_catalog, read_plan, read_plan_beside, read_roster,
};

fn book(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/books").join(name)
}

fn now() -> DateTime<Utc> {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

fn catalog_of(folder: &Path) -> Catalog {
    let files = read_catalog(folder, &[]).unwrap_or_else(|mistakes| panic!("{}", brief(&mistakes)));
    let mut catalog = Catalog::default();
    catalog.plans.extend(files.plans.into_iter().map(|(_, plan)| (plan.id.clone(), plan)));
    catalog
}

/// The cycles of a book up to the end of 2027, as `expected/schedule.csv` writes them.
fn scheduled(name: &str) -> String {
    let catalog = catalog_of(&book(name).join("plans"));
    let roster = fs::read(book(name).join("roster.csv")).unwrap();
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let roster = read_roster("roster.csv", &roster, &context);
    assert!(roster.is_clean(), "{}", brief(&roster.mistakes("roster.csv")));
    let end: NaiveDate = "2028-01-01".parse().unwrap();
    let mut lines = vec!["subscription_id,cycle,due_on,submit_on,amount,state".to_owned()];
    for row in &roster.rows {
        let subscription = row.outcome.as_ref().unwrap();
        let plan = &catalog.plans[&subscription.plan];
        for cycle in cycles(plan, subscription, subscription.next_cycle).unwrap() {
            let cycle = cycle.unwrap();
            let at = &cycle.occurrence;
            if at.date >= end {
                break;
            }
            let state = if cycle.out_of_bounds { "held" } else { "planned" };
            assert_eq!(cycle.price.is_err(), cycle.out_of_bounds, "{:?}", cycle.price);
            let amount = cycle.amount.plain();
            lines.push(format!("{},{},{},{},{amount},{state}", subscription.id, at.index, at.date, at.submit_on));
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_sample_books_fall_due_as_was_worked_out_by_other_means() {
    for (name, cycles) in [("premium", 690), ("copay-instalments", 247), ("payment-plan", 185)] {
        let expected = fs::read_to_string(book(name).join("expected/schedule.csv")).unwrap();
        let found = scheduled(name);
        for (line, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(found, expected, "{name}, line {}", line + 1);
        }
        assert_eq!(found, expected, "{name}");
        assert_eq!(found.lines().count(), cycles + 1, "{name}");
    }
}

#[test]
fn the_plans_of_the_sample_books_come_back_from_their_own_tables() {
    for name in ["premium", "copay-instalments", "payment-plan"] {
        let folder = book(name).join("plans");
        for (spec, plan) in read_catalog(&folder, &[]).unwrap().plans {
            let tables: BTreeMap<String, String> = tables_of(&spec).into_iter().collect();
            for (table, text) in &tables {
                assert_eq!(*text, fs::read_to_string(folder.join(table)).unwrap(), "{table}");
            }
            let text = fs::read_to_string(folder.join(format!("{}.toml", plan.id))).unwrap();
            assert_eq!(read_plan_beside("x", &text, Beside::Texts(&tables)).unwrap(), (spec.clone(), plan));
            let stored = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<PlanSpec>(&stored).unwrap(), spec, "the list is part of the stored plan");
            if tables.is_empty() {
                assert!(read_plan("x", &text).is_ok());
            } else {
                let [one] = &read_plan("x", &text).unwrap_err()[..] else { panic!("one mistake") };
                let key = one.value.split(' ').next().unwrap();
                assert!(one.code == "table_missing" && matches!(key, "price_list" | "rows"), "{one}");
            }
        }
    }
}

const PREMIUM: &str = "schema = \"autopay.plan/1\"\nid = \"x\"\nname = \"X\"\nkind = \"recurring\"\nstatus = \"active\"\n\
    [schedule]\nevery = \"1 month\"\ntime_zone = \"UTC\"\ncharge_at = 06:00:00\n\
    [amount]\ncurrency = \"USD\"\nprice_list = \"p.csv\"\nmatch_on = [\"rating_area\", \"age_band\"]\n";
const LIST: &str =
    "effective_from,rating_area,age_band,amount\n2027-01-01,R1,21-29,312.40\n2027-01-01,R2,21-29,327.90\n";

fn mistakes(plan: &str, table: &str) -> Vec<FileMistake> {
    let tables = BTreeMap::from([("p.csv".to_owned(), table.to_owned())]);
    read_plan_beside("x.toml", plan, Beside::Texts(&tables)).err().unwrap_or_default()
}

#[test]
fn broken_price_lists_are_refused_at_the_line_and_column_of_the_mistake() {
    let cases: &[(&str, &str, &str)] = &[
        ("", "", ""),
        ("effective_from,", "effective_from,effective_to,", "ragged_row@2:1 ragged_row@3:1"),
        ("R1,21-29,312.40", "R1,21-29,312.40\n2027-06-01,R1,21-29,320.00", ""),
        ("\n2027-01-01,R2", "\n\"2027-01-01\",R2", ""),
        // The file and its header.
        ("effective_from,rating_area,age_band,amount\n", "", "no_header@1:1"),
        ("age_band", "age-band", "unknown_column@1:28"),
        ("age_band,", "", "missing_column@1:1"),
        ("amount", "amount,amount", "duplicate_column@1:44"),
        ("rating_area", "date_of_birth", "personal_data@1:16 missing_column@1:1"),
        (",", ";", "semicolon_separated@1:1"),
        (LIST, "", "empty_file@1:1"),
        ("2027-01-01,R1,21-29,312.40\n2027-01-01,R2,21-29,327.90\n", "", "no_rows@1:1"),
        // Rows.
        ("R1,21-29,312.40", "R1,21-29,312.40,1", "ragged_row@2:1"),
        ("R1,21-29,312.40", "\"R1,21-29,312.40", "quote_unclosed@2:12"),
        ("R1,21-29", "R\"1,21-29", "quote_stray@2:12"),
        ("R1,21-29", "4242424242424242,21-29", "card_number@2:12"),
        ("2027-01-01,R1", "01/02/2027,R1", "excel_date@2:1"),
        ("2027-01-01,R1", "2027-02-30,R1", "date_invalid@2:1"),
        ("312.40", "$312.40", "amount_invalid@2:21"),
        ("312.40", "\"1,312.40\"", "amount_invalid@2:21"),
        ("312.40", "312.405", "amount_invalid@2:21"),
        ("312.40", "", "amount_invalid@2:21"),
        ("R1,21-29", ",21-29", "attribute_invalid@2:12"),
        ("R1,21-29", "R1 ,21-29", "attribute_invalid@2:12"),
        ("R2", "R1", "duplicate_row@3:1"),
        // Every mistake at once.
        (
            "R1,21-29,312.40\n2027-01-01,R2,21-29,327.90",
            "R1,21-29,x\nsoon,,21-29,327.90",
            "amount_invalid@2:21 date_invalid@3:1 attribute_invalid@3:6",
        ),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        assert!(LIST.contains(from), "{from}");
        let table = if *from == "," { LIST.replace(from, to) } else { LIST.replacen(from, to, 1) };
        let found = mistakes(PREMIUM, &table);
        found.iter().for_each(fit_to_show);
        assert!(found.iter().all(|one| one.path == "p.csv"), "{from:?} -> {to:?}");
        let mut places: Vec<String> = brief(&found).split(' ').map(ToOwned::to_owned).collect();
        let mut wanted: Vec<String> = expected.split(' ').map(ToOwned::to_owned).collect();
        places.sort();
        wanted.sort();
        if places != wanted {
            wrong.push(format!("{from:?} -> {to:?}\n  expected {expected}\n  found    {}", brief(&found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn dates_that_overlap_or_leave_a_hole_are_refused() {
    let of = |rows: &str| {
        brief(&mistakes(PREMIUM, &format!("effective_from,effective_to,rating_area,age_band,amount\n{rows}\n")))
    };
    let first = "2027-01-01,2027-06-30,R1,a,1.00";
    assert_eq!(of(&format!("{first}\n2027-07-01,,R1,a,2.00")), "");
    assert_eq!(of(&format!("{first}\n2027-06-30,,R1,a,2.00")), "rows_overlap@3:1");
    assert_eq!(of(&format!("{first}\n2027-07-02,,R1,a,2.00")), "price_gap@3:1");
    assert_eq!(of("2027-01-01,2026-12-31,R1,a,1.00"), "date_invalid@2:12");
}

#[test]
fn broken_plans_with_tables_are_refused_at_the_place_of_the_mistake() {
    let cases: &[(&str, &str, &str)] = &[
        ("\"p.csv\"", "\"../p.csv\"", "table_name_invalid@12:14"),
        ("\"p.csv\"", "\"q.csv\"", "table_missing@12:14"),
        ("\"p.csv\"", "7", "wrong_type@12:14"),
        ("match_on = [\"rating_area\", \"age_band\"]\n", "", "match_on_missing@12:14"),
        ("[\"rating_area\", \"age_band\"]", "\"rating_area\"", "wrong_type@13:12"),
        ("[\"rating_area\", \"age_band\"]", "[\"rating_area\", \"Age Band\"]", "match_on_invalid@13:12"),
        ("[\"rating_area\", \"age_band\"]", "[\"rating_area\", \"zip_code\"]", "personal_data@13:12"),
        ("[\"rating_area\", \"age_band\"]", "[\"rating_area\", \"amount\"]", "match_on_invalid@13:12"),
        ("currency = \"USD\"", "currency = \"USD\"\nvalue = \"1.00\"", "price_twice@12:9"),
        ("price_list = \"p.csv\"\n", "value = \"1.00\"\n", "price_twice@12:9 match_on_invalid@13:12"),
        ("currency = \"USD\"", "currency = \"USD\"\nminimum = 5", "money_unquoted@12:11"),
        ("currency = \"USD\"", "currency = \"USD\"\nminimum = \"9.00\"\nmaximum = \"8.00\"", "amount_invalid@12:11"),
        ("every", "catch_up = \"never\"\nevery", "catch_up_invalid@7:12"),
        ("every", "cycles = 0\nevery", "term_invalid@7:10"),
        ("every", "cycles = 3\nterm = \"1 year\"\nevery", "term_twice@8:8"),
        ("every", "term = \"a while\"\nevery", "term_invalid@7:8"),
        ("[amount]", "[mid_period]\non_start = \"prorate_by_day\"\n[amount]", "on_start_without_meaning@11:12"),
        ("every", "on_day = 1\nevery", ""),
    ];
    let mut wrong = Vec::new();
    for (from, to, expected) in cases {
        assert!(PREMIUM.contains(from), "{from}");
        let found = mistakes(&PREMIUM.replacen(from, to, 1), LIST);
        found.iter().for_each(fit_to_show);
        if brief(&found) != *expected {
            wrong.push(format!("{from:?} -> {to:?}\n  expected {expected}\n  found    {}", brief(&found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const PARTS: &str = "schema = \"autopay.plan/1\"\nid = \"x\"\nname = \"X\"\nkind = \"installments\"\nstatus = \"active\"\n\
    [installments]\ntotal = \"850.25\"\nrows = \"p.csv\"\n\
    [schedule]\nevery = \"1 month\"\ntime_zone = \"UTC\"\ncharge_at = 06:00:00\n[amount]\ncurrency = \"USD\"\n";
const ROWS: &str = "due_date,amount\n2027-02-10,500.00\n2027-03-01,250.00\n2027-06-30,100.25\n";

#[test]
fn broken_installments_are_refused_at_the_place_of_the_mistake() {
    let plan: &[(&str, &str, &str)] = &[
        ("", "", ""),
        ("\"850.25\"", "\"850.24\"", "total_is_not_the_sum@7:9"),
        ("\"850.25\"", "850.25", "money_unquoted@7:9"),
        ("total = \"850.25\"\n", "", "missing_key@6:1"),
        ("\"850.25\"", "\"from_subscription\"", "amount_invalid@7:9"),
        ("rows = \"p.csv\"", "count = 3", ""),
        ("rows = \"p.csv\"", "count = 3\nremainder = \"second\"", "unknown_word@9:13"),
        ("rows = \"p.csv\"", "count = 3\nsmallest = 25.00", "money_unquoted@9:12"),
        ("rows = \"p.csv\"", "count = 3\nsmallest = \"300.00\"", "installment_too_small@7:9"),
        ("rows = \"p.csv\"", "count = \"three\"", "count_invalid@8:9"),
        ("rows = \"p.csv\"", "count = \"from_subscription\"\ncount_min = 5\ncount_max = 3", "count_invalid@9:13"),
        ("rows = \"p.csv\"", "interest = \"9%\"\ncount = 3", "unknown_word@8:12"),
        ("rows = \"p.csv\"", "", "count_invalid@6:1"),
        ("rows = \"p.csv\"", "rows = \"p.csv\"\ncount = 4", "count_invalid@9:9"),
        ("rows = \"p.csv\"", "rows = \"p.csv\"\nfirst_payment = \"next_due\"", "unknown_word@9:17"),
        ("rows = \"p.csv\"", "rowes = \"p.csv\"", "unknown_key@8:1"),
        ("\"installments\"", "\"recurring\"", "kind_invalid@6:1"),
        ("\"USD\"", "\"USD\"\nvalue = \"5.00\"", "price_twice@15:9"),
        ("every", "catch_up = \"all\"\nevery", ""),
        ("every", "catch_up = \"ask\"\nevery", ""),
        ("every", "catch_up = \"latest\"\nevery", "catch_up_invalid@10:12"),
        ("every", "catch_up = \"forgive\"\nevery", "catch_up_invalid@10:12"),
        ("\"UTC\"", "\"Mars\"\ncatch_up = \"forgive\"", "time_zone_invalid@11:13 catch_up_invalid@12:12"),
    ];
    let rows: &[(&str, &str, &str)] = &[
        ("250.00", "250.01", "total_is_not_the_sum@7:9"),
        ("250.00", "0.00", "amount_invalid@3:12"),
        ("250.00", "250", ""),
        ("2027-03-01", "2027-02-10", "rows_out_of_order@3:1"),
        ("2027-03-01", "3/1/2027", "excel_date@3:1"),
        ("amount", "amout", "unknown_column@1:10"),
    ];
    let mut wrong = Vec::new();
    let mut look = |from: &str, to: &str, expected: &str, found: Vec<FileMistake>| {
        found.iter().for_each(fit_to_show);
        if brief(&found) != expected {
            wrong.push(format!("{from:?} -> {to:?}\n  expected {expected}\n  found    {}", brief(&found)));
        }
    };
    for (from, to, expected) in plan {
        assert!(PARTS.contains(from), "{from}");
        look(from, to, expected, mistakes(&PARTS.replacen(from, to, 1), ROWS));
    }
    for (from, to, expected) in rows {
        assert!(ROWS.contains(from), "{from}");
        look(from, to, expected, mistakes(PARTS, &ROWS.replacen(from, to, 1)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One mistake is one message, and what that says to write is taken.
#[test]
fn what_is_wrong_with_a_table_is_said_once_with_what_to_write() {
    let list: &[(&str, &str, &str, &str)] = &[
        ("effective_from", "effective", "unknown_column@1:1", "write effective_from"),
        ("effective_from", "from", "unknown_column@1:1", "write effective_from"),
        (
            "age_band",
            "age_brand",
            "unknown_column@1:28",
            "write age_band, or match_on = [\"rating_area\", \"age_brand\"] in the plan",
        ),
        ("age_band", "Age Band", "unknown_column@1:28", "write age_band"),
        (
            "age_band",
            "band",
            "unknown_column@1:28",
            "write age_band, or match_on = [\"rating_area\", \"band\"] in the plan",
        ),
        ("amount", "price", "unknown_column@1:37", "write amount"),
        ("amount", "amount,amounts", "unknown_column@1:44", "write the column that is meant: known here are *"),
        // The rows are read as what the header means.
        (
            "age_band,amount\n2027-01-01,R1,21-29,312.40",
            "age_brand,amount\n2027-01-01,R1,21-29,x",
            "unknown_column@1:28 amount_invalid@2:21",
            "*",
        ),
    ];
    let mut wrong = Vec::new();
    let mut look = |from: &str, to: &str, (expected, mend): (&str, &str), found: Vec<FileMistake>| {
        found.iter().for_each(fit_to_show);
        let said = found.first().map(|one| one.mend.as_str()).unwrap_or_default();
        let alike = mend.strip_suffix('*').map_or(said == mend, |start| said.starts_with(start));
        if brief(&found) != expected || !alike {
            wrong.push(format!(
                "{from:?} -> {to:?}\n  expected {expected}: {mend}\n  found    {}: {said}",
                brief(&found)
            ));
        }
    };
    for (from, to, expected, mend) in list {
        assert!(LIST.contains(from), "{from}");
        look(from, to, (expected, mend), mistakes(PREMIUM, &LIST.replacen(from, to, 1)));
    }
    let listed: &[(&str, &str, &str, &str)] = &[
        ("\"p.csv\"", "\"q.csv\"", "table_missing@12:14", "price_list = \"p.csv\""),
        ("\"p.csv\"", "\"prices/p.xlsx\"", "table_name_invalid@12:14", "price_list = \"p.csv\""),
        ("\"p.csv\"", "\"Prices 2027\"", "table_name_invalid@12:14", "price_list = \"Prices-2027.csv\""),
        (
            "match_on = [\"rating_area\", \"age_band\"]\n",
            "",
            "match_on_missing@12:14",
            "add match_on = [\"rating_area\", \"age_band\"], *",
        ),
        // Nobody can tell which of the two is mistyped: both ways are said, at the list.
        (
            "\"rating_area\"",
            "\"rating_aera\"",
            "unknown_column@1:16",
            "write rating_aera, or match_on = [\"rating_area\", \"age_band\"] in the plan",
        ),
    ];
    for (from, to, expected, mend) in listed {
        assert!(PREMIUM.contains(from), "{from}");
        look(from, to, (expected, mend), mistakes(&PREMIUM.replacen(from, to, 1), LIST));
    }
    let plan: &[(&str, &str, &str, &str)] = &[
        ("\"p.csv\"", "\"pp.csv\"", "table_missing@8:8", "rows = \"p.csv\""),
        ("total = \"850.25\"\n", "", "missing_key@6:1", "add total = \"850.25\", the sum of the rows"),
        ("\"850.25\"", "\"from_subscription\"", "amount_invalid@7:9", "write total = \"850.25\""),
        ("\"850.25\"", "\"from_roster\"", "amount_invalid@7:9", "total = \"850.25\", the sum of the rows"),
        (
            "\"850.25\"\nrows = \"p.csv\"",
            "\"from_roster\"\ncount = 3",
            "amount_invalid@7:9",
            "total = \"from_subscription\"",
        ),
        ("[amount]\ncurrency = \"USD\"\n", "", "missing_key@1:1", "add [amount] with currency"),
    ];
    for (from, to, expected, mend) in plan {
        assert!(PARTS.contains(from), "{from}");
        look(from, to, (expected, mend), mistakes(&PARTS.replacen(from, to, 1), ROWS));
    }
    let swapped = "due_date,amount\n2027-03-01,250.00\n2027-02-10,500.00\n2027-06-30,100.26\n";
    let both = "total_is_not_the_sum@7:9 rows_out_of_order@3:1";
    look("in order", "out of order", (both, "write total = \"850.26\", or correct the rows"), mistakes(PARTS, swapped));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Nor do the rows repeat what the header says.
#[test]
fn a_column_of_a_roster_under_another_name_is_one_mistake() {
    let catalog = catalog_of(&book("premium").join("plans"));
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let header = "subscription_id,plan,customer_reference,start_on,rating_area,age_band";
    let customers = "customer_hsid, customer_enterprise_id, customer_reference";
    for (from, to, mend) in [
        ("age_band", "age_brand", "write age_band".to_owned()),
        ("age_band", "band", "write age_band".to_owned()),
        ("rating_area", "Rating Area", "write rating_area".to_owned()),
        ("start_on", "start_date", "write start_on".to_owned()),
        ("subscription_id", "id", "write subscription_id".to_owned()),
        ("subscription_id", "subscription", "write subscription_id".to_owned()),
        ("plan,", "plan_name,", "write plan".to_owned()),
        ("plan,", "product,", "write plan".to_owned()),
        ("start_on", "Start Date", "write start_on".to_owned()),
        ("customer_reference", "customer", "write customer_reference".to_owned()),
        ("customer_reference", "CustomerID", "write customer_reference".to_owned()),
        ("plan,", "offer,", "write plan, if that is what it holds; else remove it, and add the column plan".to_owned()),
        (
            "customer_reference",
            "whom",
            format!("write one of {customers}, if that is what it holds; else remove it, and add one of {customers}"),
        ),
    ] {
        let header = header.replacen(from, to, 1);
        let text = format!(
            "{header}\ns-1,premium-silver,C-1,2027-01-15,R1,21-29\ns-2,premium-silver,C-2,2027-01-15,R1,21-29\n"
        );
        let roster = read_roster("r.csv", text.as_bytes(), &context);
        let [one] = &roster.mistakes("r.csv")[..] else { panic!("{to}: {}", brief(&roster.mistakes("r.csv"))) };
        fit_to_show(one);
        assert_eq!((one.code, one.line, one.mend.as_str()), ("unknown_column", 1, mend.as_str()), "{to}");
        assert_eq!(one.column, header.find(to).unwrap() + 1, "{to}");
    }
    // What is wrong below is said beside it, at its own column.
    let text = format!("{}\ns-1,premium-silver,C-1,soon,R1,21-29\n", header.replace("start_on", "start_date"));
    let found = read_roster("r.csv", text.as_bytes(), &context).mistakes("r.csv");
    assert_eq!(brief(&found), "unknown_column@1:41 date_invalid@2:24");
}

/// One row under a plan of the sample books, with some columns written otherwise.
fn row_mistakes(name: &str, changes: &[(&str, &str)]) -> Vec<RowMistake> {
    let catalog = catalog_of(&book(name).join("plans"));
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let mut cells =
        BTreeMap::from([("subscription_id", "s-1"), ("customer_reference", "C-1"), ("start_on", "2027-01-15")]);
    cells.extend(changes.iter().copied());
    let (header, row): (Vec<&str>, Vec<&str>) = cells.into_iter().unzip();
    let roster = read_roster("r.csv", format!("{}\n{}\n", header.join(","), row.join(",")).as_bytes(), &context);
    assert_eq!(roster.file_mistakes, Vec::new());
    roster.mistakes("r.csv").iter().for_each(fit_to_show);
    roster.rows[0].outcome.clone().err().unwrap_or_default()
}

#[test]
fn a_quantity_is_refused_for_what_is_wrong_with_it() {
    let silver = [("plan", "premium-silver"), ("rating_area", "R1"), ("age_band", "21-29")];
    for (quantity, message, mend) in [
        ("99999999999", "is more than 1000000", "write a number from 1 to 1000000"),
        ("0", "is less than 1", "write a number from 1 to 1000000"),
        ("007", "has a zero in front", "write a number from 1 to 1000000"),
        ("1e6", "is not a whole number", "write a number from 1 to 1000000"),
        ("-3", "is not a whole number", "write a number from 1 to 1000000"),
        ("3202", "USD 1,000,304.80 is outside what the gateway can charge", "write a quantity of at most 3201"),
    ] {
        let found =
            row_mistakes("premium", &[&silver[..], &[("start_on", "2027-02-01"), ("quantity", quantity)]].concat());
        assert!(found.len() == 1 && found[0].message.contains(message), "{quantity}: {found:?}");
        assert_eq!((found[0].column.as_str(), found[0].mend.as_str()), ("quantity", mend), "{quantity}");
    }
}

#[test]
fn rows_that_do_not_suit_the_kind_of_their_plan_are_refused() {
    let silver = [("plan", "premium-silver"), ("rating_area", "R1"), ("age_band", "21-29")];
    let copay = [("plan", "copay-installments"), ("total", "1000.00"), ("installments", "6")];
    let payday = [("plan", "copay-on-payday"), ("total", "1000.00")];
    let seats = [("plan", "support-seats"), ("quantity", "3")];
    let rows = [("plan", "plan-4471")];
    type Cells<'c> = &'c [(&'c str, &'c str)];
    let cases: &[(&str, Cells<'_>, Cells<'_>, &str)] = &[
        ("payment-plan", &rows, &[], ""),
        ("payment-plan", &rows, &[("start_on", "2027-01-16")], "rows_before_start:start_on"),
        ("premium", &silver, &[], ""),
        ("premium", &silver, &[("quantity", "2")], ""),
        ("premium", &silver, &[("rating_area", "R9")], "price_gap:rating_area"),
        ("premium", &silver, &[("rating_area", "")], "attribute_missing:rating_area"),
        ("premium", &silver, &[("quantity", "0")], "quantity_invalid:quantity"),
        ("premium", &silver, &[("quantity", "1.5")], "quantity_invalid:quantity"),
        ("premium", &silver, &[("quantity", "3201"), ("start_on", "2027-02-01")], ""),
        ("premium", &silver, &[("quantity", "3202"), ("start_on", "2027-02-01")], "quantity_too_large:quantity"),
        ("premium", &silver, &[("quantity", "3202"), ("rating_area", "R9")], "price_gap:rating_area"),
        ("premium", &silver, &[("amount", "5.00")], "amount_not_allowed:amount"),
        ("premium", &silver, &[("total", "5.00")], "installments_not_allowed:total"),
        ("copay-instalments", &copay, &[], ""),
        ("copay-instalments", &copay, &[("paid_elsewhere", "1000.00")], ""),
        ("copay-instalments", &copay, &[("paid_elsewhere", "1000.01")], "paid_elsewhere_invalid:paid_elsewhere"),
        ("copay-instalments", &copay, &[("total", "")], "total_missing:total"),
        ("copay-instalments", &copay, &[("total", "1,000")], "ragged_row:"),
        ("copay-instalments", &copay, &[("total", "$1000")], "total_invalid:total"),
        ("copay-instalments", &copay, &[("installments", "")], "installments_missing:installments"),
        ("copay-instalments", &copay, &[("installments", "13")], "installments_invalid:installments"),
        ("copay-instalments", &copay, &[("total", "149.99")], "installment_too_small:total"),
        ("copay-instalments", &copay, &[("quantity", "2")], "quantity_not_allowed:quantity"),
        ("copay-instalments", &copay, &[("amount", "5.00")], "amount_not_allowed:amount"),
        ("copay-instalments", &payday, &[], ""),
        ("copay-instalments", &payday, &[("installments", "4")], "installments_invalid:installments"),
        ("payment-plan", &seats, &[], ""),
        ("payment-plan", &[("plan", "plan-4471")], &[("total", "2640.50")], "total_invalid:total"),
    ];
    let mut wrong = Vec::new();
    for (name, row, changes, expected) in cases {
        let found = row_mistakes(name, &[*row, *changes].concat());
        let found: Vec<String> = found.iter().map(|one| format!("{}:{}", one.code, one.column)).collect();
        if found.join(" ") != *expected {
            wrong.push(format!("{row:?} {changes:?}\n  expected {expected}\n  found    {}", found.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
