use std::collections::BTreeSet;

use domain::id::ChargeId;
use domain::ledger::Subject;
use domain::settlement::RowId;
use uuid::Uuid;

use super::*;

fn utc() -> Zone {
    Zone::parse("America/New_York").unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn posting(n: u128, posted: Posted, plan: &str, money: Money, when: &str) -> Posting {
    let charge = ChargeId(Uuid::from_u128(n));
    let plan = (PlanId::parse(plan).unwrap(), 1);
    Posting::new((Subject::Charge(charge), posted, 0), charge, plan, money, at(when)).unwrap()
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn named(map: &str) -> Named {
    let map = Map::standard().unwrap().and("map.toml", map).unwrap();
    let own = [("debit", "1100-Gateway-Clearing"), ("credit", "=4010 \"Premium\", gold")];
    let gold = (PlanId::parse("gold").unwrap(), 1);
    let own = own.map(|(key, account)| (key.to_owned(), account.replace(['=', '"', ','], ""))).into();
    Named::new(map, PlanAccounts::from([(gold, own)]))
}

fn heading() -> Heading {
    Heading { month: "2027-01".to_owned(), zone: "America/New_York".to_owned(), standing: "open".to_owned() }
}

/// Two days of two plans in two currencies, one of them without decimals.
fn entries() -> Vec<(Posting, DateTime<Utc>)> {
    let yen = Money::new(500, Currency::parse("JPY").unwrap());
    let all = [
        posting(1, Posted::Billed, "gold", usd(7_900), "2027-01-15T11:00:00Z"),
        posting(2, Posted::Billed, "gold", usd(7_901), "2027-01-15T11:00:00Z"),
        posting(1, Posted::Collected, "gold", usd(7_900), "2027-01-15T11:00:05Z"),
        posting(3, Posted::Billed, "pool", yen, "2027-01-15T11:00:00Z"),
        // Late in the evening there is the next day in UTC; and one that happened in a month that was closed.
        posting(4, Posted::Billed, "gold", usd(100), "2027-01-16T03:00:00Z"),
        posting(5, Posted::Refunded, "gold", usd(50), "2026-12-31T12:00:00Z"),
    ];
    let booked = |posting: Posting| {
        let booked_at = posting.at.max(at("2027-01-01T05:00:00Z"));
        (posting, booked_at)
    };
    all.into_iter().map(booked).collect()
}

fn by_day(names: &Named) -> Vec<Transaction> {
    let zone = utc();
    let mut days = Days::new(names, &zone);
    entries().iter().for_each(|(posting, booked_at)| days.add(posting, *booked_at).unwrap());
    days.transactions().unwrap()
}

fn text(form: Form, names: &Named) -> String {
    let transactions = by_day(names);
    let written = transactions.iter().zip(1..).map(|(one, number)| written(form, &heading(), names, one, number));
    begin(form, &heading(), names) + &written.collect::<String>()
}

#[test]
fn a_plans_day_is_one_transaction_that_comes_to_zero() {
    let days = by_day(&named(""));
    let told: Vec<String> = days.iter().map(|one| format!("{} {}", one.id, one.lines.len())).collect();
    assert_eq!(told, ["AP-2027-01-01-gold-USD 2", "AP-2027-01-15-gold-USD 4", "AP-2027-01-15-pool-JPY 2"]);
    assert!(days.iter().all(Transaction::balances));
    assert_eq!(days[0].lines[0].memo, "refunded, 1 entry, of 2026-12");
    let billed = &days[1].lines[0];
    assert_eq!(
        (billed.account.as_str(), billed.minor, billed.memo.as_str()),
        ("Autopay Receivable", 15_901, "billed, 3 entries")
    );
}

#[test]
fn each_entry_is_a_transaction_where_detail_is_asked_for() {
    let (names, zone) = (named(""), utc());
    for (posting, booked_at) in entries() {
        let one = single(&names, &zone, &posting, booked_at).unwrap();
        assert!(one.balances() && one.lines.len() == 2 && one.narration.contains("ch_"), "{one:?}");
    }
}

/// The sums of the debit and the credit column, by currency, in minor units of two decimals.
fn sums(rows: &[Vec<String>], header: &[&str]) -> (i64, i64) {
    let column = |name: &str| header.iter().position(|is| *is == name).unwrap();
    let minor = |cell: &str| if cell.is_empty() { 0 } else { (cell.parse::<f64>().unwrap() * 100.0).round() as i64 };
    let sum = |name: &str| rows.iter().map(|row| minor(&row[column(name)])).sum();
    (sum("debit"), sum("credit"))
}

fn records(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
    (header, rows)
}

#[test]
fn a_table_is_read_again_with_equal_sides() {
    let (header, rows) = records(&text(Form::GenericCsv, &named("")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let (debit, credit) = sums(&rows, &header);
    assert_eq!(debit, credit);
    assert!(debit > 0 && rows.len() == 8);
    let yen = rows.iter().find(|row| row.contains(&"JPY".to_owned())).unwrap();
    assert!(yen.contains(&"500".to_owned()), "no decimals where the currency has none: {yen:?}");
}

#[test]
fn xero_and_netsuite_have_the_columns_of_the_map() {
    let (header, rows) = records(&text(Form::XeroCsv, &named("")));
    assert_eq!(header[..3], ["*Narration", "*Date", "Description"]);
    assert!(rows.iter().any(|row| row[3] == "1100"), "a code is what stands before the dash: {rows:?}");
    let total: f64 = rows.iter().map(|row| row[5].parse::<f64>().unwrap()).sum();
    assert!(total.abs() < 0.001, "{total}");
    let map = "[netsuite-csv]\ndate = \"DD.MM.YYYY\"\ncolumns = [[\"When\", \"date\"], [\"Dr\", \"debit\"], [\"Cr\", \"credit\"], [\"Entity\", \"text:Clinic\"]]";
    let (header, rows) = records(&text(Form::NetsuiteCsv, &named(map)));
    assert_eq!(header, ["When", "Dr", "Cr", "Entity"]);
    assert_eq!(rows[0], ["01.01.2027", "0.50", "", "Clinic"]);
}

#[test]
fn every_block_of_quickbooks_begins_with_a_transaction_and_comes_to_zero() {
    let text = text(Form::QuickbooksIif, &named(""));
    assert!(text.starts_with("!TRNS\tTRNSTYPE\tDATE\tACCNT\tAMOUNT\tDOCNUM\tMEMO\r\n"));
    let lines: Vec<Vec<&str>> = text.lines().skip(3).map(|line| line.split('\t').collect()).collect();
    let blocks: Vec<&[Vec<&str>]> =
        lines.split(|line| line[0] == "ENDTRNS").filter(|block| !block.is_empty()).collect();
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        assert_eq!(block[0][0], "TRNS");
        assert!(block[1..].iter().all(|line| line[0] == "SPL" && line[1] == "GENERAL JOURNAL" && line.len() == 7));
        assert!(block.iter().all(|line| line[2].len() == 10 && line[2].starts_with("01/") && line[5].len() <= 11));
        let total: f64 = block.iter().map(|line| line[4].parse::<f64>().unwrap()).sum();
        assert!(total.abs() < 0.001, "{block:?}");
    }
}

#[test]
fn plain_text_accounts_stand_under_a_root_and_are_told_apart() {
    let text = text(Form::Beancount, &named("[accounts]\nrefunds = \"Income:Refunds given\"\n"));
    for account in [
        "Assets:1100-Gateway-Clearing ",
        "Income:4010-Premium-gold ",
        "Income:Refunds-given ",
        "Assets:Autopay-Receivable ",
    ] {
        assert!(text.contains(account), "{account} in {text}");
    }
    let names = named("[kinds]\n\"1100-Gateway-Clearing\" = \"liability\"\n[accounts]\nfees = \"Bad-Debt\"\n");
    let used: BTreeSet<(String, Account)> = [
        ("1100-Gateway-Clearing".to_owned(), Account::Clearing),
        ("Bad Debt".to_owned(), Account::BadDebt),
        ("Bad-Debt".to_owned(), Account::Fees),
        ("Shared".to_owned(), Account::Revenue),
        ("Shared".to_owned(), Account::Clearing),
    ]
    .into();
    let unfit: Vec<String> = names.unfit(&used, Form::Ledger, None).into_iter().map(|one| one.account).collect();
    assert_eq!(unfit, ["Bad Debt", "Shared"]);
    assert_eq!(names.unfit(&used, Form::GenericCsv, None), []);
    assert_eq!(names.plain("1100-Gateway-Clearing", Account::Clearing), "Liabilities:1100-Gateway-Clearing");
}

#[test]
fn an_account_that_is_not_in_the_chart_is_named_with_the_one_that_was_meant() {
    let chart =
        read_chart("chart.csv", b"Code,Account Name\n1100,1100-Gateway-Clearing\n1200,Autopay Receivable\n").unwrap();
    let used: BTreeSet<(String, Account)> = [
        ("1100-Gateway-Clering".to_owned(), Account::Clearing),
        ("Autopay Receivable".to_owned(), Account::Receivable),
    ]
    .into();
    let unfit = named("").unfit(&used, Form::QuickbooksIif, Some(&chart));
    assert_eq!(unfit.len(), 1);
    assert_eq!(unfit[0].mend, "did you mean 1100-Gateway-Clearing?");
    let codes = |bytes: &[u8]| {
        read_chart("c.csv", bytes).unwrap_err().iter().map(|one| (one.line, one.code)).collect::<Vec<_>>()
    };
    assert_eq!(codes(b"x,y\n1,2\n"), [(1, "no_header")]);
    assert_eq!(codes(b"account\na\n\"\"\n"), [(3, "no_name")]);
}

/// Plans that were applied before their accounts' names were looked at keep them: the map names them otherwise.
#[test]
fn any_account_that_a_plan_names_is_named_otherwise_by_the_map() {
    let plan = (PlanId::parse("gold").unwrap(), 1);
    let own = [("debit", "=Cash"), ("credit", "Revenue \"gold\"")].map(|(key, name)| (key.to_owned(), name.to_owned()));
    let plans = PlanAccounts::from([(plan.clone(), own.into())]);
    let names = |map: &str| Named::new(Map::standard().unwrap().and("map.toml", map).unwrap(), plans.clone());
    let used = |names: &Named| -> BTreeSet<(String, Account)> {
        [Account::Clearing, Account::Revenue].map(|role| (names.name(role, Some(&plan)), role)).into()
    };
    let bare = names("");
    assert_eq!(bare.unfit(&used(&bare), Form::GenericCsv, None).len(), 2);
    let mapped =
        names("[names]\n\"=Cash\" = \"1100 Cash\"\n'Revenue \"gold\"' = \"4000 Gold\"\n\"Bad Debt\" = \"Losses\"\n");
    for form in Form::ALL {
        assert_eq!(mapped.unfit(&used(&mapped), form, None), [], "{form:?}");
    }
    assert_eq!(mapped.name(Account::Clearing, Some(&plan)), "1100 Cash");
    assert_eq!(mapped.name(Account::Revenue, Some(&plan)), "4000 Gold");
    assert_eq!(mapped.name(Account::BadDebt, None), "Losses", "whoever named it");
    let refused = Map::standard().unwrap().and("map.toml", "[names]\n\"=Cash\" = \"=Cash\"\n").unwrap_err();
    assert_eq!((refused[0].line, refused[0].column, refused[0].code), (2, 11, "name_invalid"));
}

#[test]
fn every_mistake_of_a_map_is_named_at_once_with_its_place() {
    let map = "[accounts]\nreceivble = \"x\"\nclearing = 5\nfees = \"=1+1\"\n[kinds]\na = \"aset\"\n[xero-csv]\ndate = \"YY\"\n\
               columns = [[\"a\"], [\"b\", \"dat\"]]\n[accunts]\nx = \"y\"\n";
    let found = Map::standard().unwrap().and("map.toml", map).unwrap_err();
    let told: Vec<(usize, usize, &str)> = found.iter().map(|one| (one.line, one.column, one.code)).collect();
    assert_eq!(
        told,
        [
            (2, 1, "unknown_key"),
            (3, 12, "name_invalid"),
            (4, 8, "name_invalid"),
            (6, 5, "word_unknown"),
            (8, 8, "word_unknown"),
            (9, 12, "column_invalid"),
            (9, 25, "word_unknown"),
            (9, 1, "no_amount"),
            (10, 2, "unknown_key"),
        ]
    );
    assert_eq!(found[0].mend, "did you mean receivable?");
    assert_eq!(Map::standard().unwrap().and("map.toml", "x = ").unwrap_err()[0].code, "not_toml");
}

#[test]
fn a_fee_for_no_charge_stands_by_itself_under_the_names_of_the_site() {
    let (names, zone) = (named("[accounts]\nfees = \"Gateway Charges\"\n"), utc());
    let subject = (Subject::Row(RowId(Uuid::from_u128(9))), Posted::Fee, 0);
    let when = at("2027-01-15T12:00:00Z");
    let fee = Posting::of(subject, None, None, usd(500), when).unwrap();
    let mut days = Days::new(&names, &zone);
    days.add(&fee, when).unwrap();
    for (posting, booked_at) in entries() {
        days.add(&posting, booked_at).unwrap();
    }
    let all = days.transactions().unwrap();
    let [of_nobody] = &all.iter().filter(|one| one.plan.is_none()).collect::<Vec<_>>()[..] else { panic!("{all:?}") };
    assert_eq!(
        (of_nobody.id.as_str(), of_nobody.narration.as_str()),
        ("AP-2027-01-15-_gateway-USD", "gateway fees 2027-01-15")
    );
    let lines: Vec<(&str, i64)> = of_nobody.lines.iter().map(|line| (line.account.as_str(), line.minor)).collect();
    assert_eq!(lines, [("Gateway Charges", 500), ("Gateway Clearing", -500)], "no plan's own clearing account");
    let single = single(&names, &zone, &fee, when).unwrap();
    assert_eq!(single.narration, format!("gateway fees row_{}", Uuid::from_u128(9).simple()));
    for form in Form::ALL {
        let text = written(form, &heading(), &names, of_nobody, 1);
        assert!(text.contains("5.00") && text.contains("Gateway"), "{form:?}: {text}");
    }
}
