use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use domain::id::MerchantId;
use domain::plan::Catalog;
use domain::subscription::{MethodKind, Subscription, SubscriptionStatus};
use proptest::prelude::*;

use super::{brief, fit_to_show};
use crate::files::roster::{COLUMNS, MOST_ROWS, REPORT_COLUMNS, report_csv_as};
use crate::files::{
    FileMistake, Roster, RosterContext, RosterRead, RosterStream, RowMistake, Source, Taker, Unread, read_catalog,
    read_plan, read_roster, report_csv,
};

/// The book of the quickstart.
pub(super) fn book() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/books/membership")
}

fn now() -> DateTime<Utc> {
    "2026-12-01T00:00:00Z".parse().unwrap()
}

/// A monthly plan with a price from 2026 on, a weekly one, one priced by subscription, one in yen.
fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for (id, every, currency, price) in [
        ("monthly", "1 month", "USD", "[[amount.step]]\nfrom = 2026-06-01\nvalue = \"79.00\""),
        ("weekly", "1 week", "USD", "value = \"9.00\""),
        ("agreed", "1 month", "USD", "value = \"from_subscription\""),
        ("agreed-yen", "1 month", "JPY", "value = \"from_subscription\""),
    ] {
        let text = format!(
            "schema = \"autopay.plan/1\"\nid = \"{id}\"\nname = \"N\"\nkind = \"recurring\"\nstatus = \"active\"\n\
             [schedule]\nevery = \"{every}\"\ntime_zone = \"UTC\"\ncharge_at = 06:00:00\n\
             [amount]\ncurrency = \"{currency}\"\n{price}\n"
        );
        let (_, plan) = read_plan("x", &text).unwrap();
        catalog.plans.insert(plan.id.clone(), plan);
    }
    catalog
}

pub(super) fn read(text: impl AsRef<[u8]>) -> Roster {
    let catalog = catalog();
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let roster = read_roster("r.csv", text.as_ref(), &context);
    streamed_alike(text.as_ref(), &roster, context);
    roster
}

/// Whatever is read here at once says the same row by row: the same mistakes, and the same subscriptions where there are none.
fn streamed_alike(bytes: &[u8], roster: &Roster, context: RosterContext<'_>) {
    let source = Source::Bytes(bytes.to_vec());
    // No book knows any of them.
    let mut roster = roster.clone();
    roster.settle_claims(|_| None);
    let mut good = Vec::new();
    let streamed =
        RosterStream::open("r.csv", &source, context).and_then(|stream| stream.each(|row, _| good.push(row)));
    shared_alike(&source, context, &streamed, &good);
    let sorted = |mut found: Vec<FileMistake>| {
        // A forecast may look from a day before the consent, or from one after the next cycle that a row names, or its last.
        let by_the_day = ["next_cycle_behind", "has_ended"];
        found.retain(|one| !one.message.contains("lies in the future") && !by_the_day.contains(&one.code));
        found.sort_by(|one, other| {
            (one.line, one.column, one.code, &one.value).cmp(&(other.line, other.column, other.code, &other.value))
        });
        found
    };
    let (streamed, at_once) = (sorted(streamed.err().unwrap_or_default()), sorted(roster.mistakes("r.csv")));
    match at_once.as_slice() {
        // A file that is read as it comes has no size to refuse; and a header that ends the reading hides a wrong byte behind it.
        [only] if only.code == "file_too_large" => return,
        [only] if only.code == "not_utf8" => {
            assert!(streamed.contains(only) || streamed.iter().all(|one| one.line < only.line), "{streamed:?}");
            assert!(!streamed.is_empty());
        }
        _ => assert_eq!(streamed, at_once),
    }
    if roster.is_clean() {
        let rows: Vec<_> = roster.rows.iter().filter_map(|row| row.outcome.clone().ok()).collect();
        assert_eq!(good, rows);
    }
}

/// Keeps the rows that one thread was given, with their places in the file.
#[derive(Default)]
struct Keeper(Vec<(u64, Subscription)>);

impl Taker for Keeper {
    type Done = Vec<(u64, Subscription)>;

    fn take(&mut self, subscription: Subscription, at: u64) {
        self.0.push((at, subscription));
    }

    fn done(self) -> Self::Done {
        self.0
    }
}

/// What is read row by row is read alike by several threads, however the file is cut into blocks: the same rows, and the same mistakes
/// in the same order.
fn shared_alike(
    source: &Source,
    context: RosterContext<'_>,
    streamed: &Result<RosterRead, Vec<FileMistake>>,
    good: &[Subscription],
) {
    for bytes in [1, 150] {
        let shared = RosterStream::open("r.csv", source, context)
            .and_then(|stream| stream.limited(MOST_ROWS, bytes).share(3, Keeper::default, |_| {}));
        match (shared, streamed) {
            (Ok((kept, read)), Ok(streamed)) => {
                assert_eq!(read, *streamed);
                let mut kept = kept.concat();
                kept.sort_by_key(|(at, _)| *at);
                assert_eq!(kept.into_iter().map(|(_, row)| row).collect::<Vec<_>>(), good);
            }
            (shared, streamed) => assert_eq!(shared.err().as_ref(), streamed.as_ref().err()),
        }
    }
}

/// What has ended adds nothing to a forecast, and is no reason to refuse the file; what could never be charged is a mistake everywhere.
#[test]
fn a_forecast_takes_what_has_ended_and_refuses_what_never_began() {
    let catalog = catalog();
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let streamed = |changes: &[(&str, &str)]| {
        let source = Source::Bytes(format!("{}\n{}\n", COLUMNS.join(","), row(changes)).into_bytes());
        let mut found = Vec::new();
        let read = RosterStream::open("r.csv", &source, context).unwrap().each(|row, _| found.push(row));
        read.map(|_| found).map_err(|mistakes| mistakes[0].code)
    };
    let ended = streamed(&[("start_on", "2026-01-05"), ("end_on", "2026-11-30")]).unwrap();
    assert_eq!((ended.len(), ended[0].status, ended[0].next_due_at), (1, SubscriptionStatus::Ended, None));
    let never = streamed(&[("start_on", "2026-01-05"), ("anchor_day", "20"), ("end_on", "2026-01-10")]);
    assert_eq!(never.unwrap_err(), "ends_before_first_charge");
}

#[test]
fn a_roster_with_too_many_rows_ends_at_the_same_row_however_it_is_read() {
    let catalog = catalog();
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let header = COLUMNS.join(",");
    let id = |n: usize| format!("s-{}", n % 7);
    let bad = |n: usize| if n.is_multiple_of(3) { "someday" } else { "2026-12-05" };
    let mut text = format!("{header}\n");
    for n in 0..12 {
        text.push_str(&row(&[("subscription_id", &id(n)), ("start_on", bad(n))]));
        text.push_str(if n == 5 { "\r\n\n" } else { "\n" });
    }
    for ending in ["", "\"open,\n1\n", "\u{feff}x\n", "a\"b\n"] {
        let source = Source::Bytes([text.as_bytes(), ending.as_bytes(), &[0xff]].concat());
        for rows in 0..15 {
            let open = || RosterStream::open("r.csv", &source, context).unwrap();
            let at_once = open().limited(rows, 1 << 20).each(|_, _| {}).unwrap_err();
            for bytes in [1, 100, 400] {
                let streamed = open().limited(rows, bytes).each(|_, _| {}).unwrap_err();
                let shared = open().limited(rows, bytes).share(4, Keeper::default, |_| {}).unwrap_err();
                assert_eq!((&streamed, &shared), (&at_once, &at_once), "{rows} rows by {bytes} bytes");
            }
        }
    }
}

#[test]
fn a_thread_that_falls_over_takes_the_reading_with_it() {
    struct Falls;
    impl Taker for Falls {
        type Done = ();
        fn take(&mut self, _: Subscription, at: u64) {
            assert!(at < 600, "far enough");
        }
        fn done(self) {}
    }
    let catalog = catalog();
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let rows: String = (0..200).map(|n| row(&[("subscription_id", &format!("s-{n}"))]) + "\n").collect();
    let source = Source::Bytes(format!("{}\n{rows}", COLUMNS.join(",")).into_bytes());
    let stream = RosterStream::open("r.csv", &source, context).unwrap().limited(MOST_ROWS, 64);
    let fallen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stream.share(3, || Falls, |_| {})));
    assert!(fallen.is_err());
}

const CARD: &str = "5a4db0c5-0000-8000-8000-000000000001";

/// A good row, with some columns written differently.
pub(super) fn row(changes: &[(&str, &str)]) -> String {
    let mut fields: BTreeMap<&str, &str> = BTreeMap::from([
        ("subscription_id", "s-1"),
        ("plan", "monthly"),
        ("payment_method_id", CARD),
        ("method_kind", "card"),
        ("customer_reference", "C-1"),
        ("start_on", "2026-12-05"),
    ]);
    fields.extend(changes.iter().copied());
    COLUMNS.map(|column| fields.get(column).copied().unwrap_or_default()).join(",")
}

fn row_mistakes(row: &str) -> Vec<RowMistake> {
    let roster = read(format!("{}\n{row}\n", COLUMNS.join(",")));
    assert_eq!(roster.file_mistakes, Vec::new(), "{row}");
    roster.mistakes("r.csv").iter().for_each(fit_to_show);
    assert_eq!(roster.rows.len(), 1, "{row}");
    assert_eq!(roster.rows[0].line, 2);
    roster.rows[0].outcome.clone().err().unwrap_or_default()
}

const BANK: [(&str, &str); 4] = [
    ("method_kind", "bank_account"),
    ("consent_id", "terms-1"),
    ("consent_at", "2026-11-30T14:05:00Z"),
    ("consent_channel", "WEB"),
];

#[test]
fn broken_rows_are_refused_at_their_column() {
    let long = "x".repeat(5000);
    let hundred = "x".repeat(101);
    let cases: &[(&[(&str, &str)], &str)] = &[
        // Nothing wrong.
        (&[], ""),
        (&[("payment_method_id", ""), ("method_kind", "")], ""),
        (&[("customer_reference", ""), ("customer_hsid", "4c1f2c3e-0d5b-4f7e-9a51-7b0f3a2d9c11")], ""),
        (&[("customer_reference", ""), ("customer_enterprise_id", "1001")], ""),
        (&[("anchor_day", "31"), ("time_zone", "America/New_York"), ("end_on", "2027-12-31")], ""),
        (&[("anchor_day", "last_day")], ""),
        (&[("plan", "agreed"), ("amount", "79.00")], ""),
        (&[("plan", "agreed-yen"), ("amount", "7900")], ""),
        (&BANK, ""),
        (&[("start_on", "2020-01-31")], ""),
        (&[("customer_reference", "\"C,1\"")], ""),
        // A UUID whose digits happen to pass the check is a UUID.
        (&[("payment_method_id", "5a4db0c5-0000-8000-8000-424242424242")], ""),
        // Ids.
        (&[("subscription_id", "")], "missing_value@subscription_id"),
        (&[("subscription_id", "a b")], "id_invalid@subscription_id"),
        (&[("subscription_id", "-1")], "id_invalid@subscription_id"),
        (&[("subscription_id", "1E+05")], "excel_number@subscription_id"),
        (&[("subscription_id", "1.23457E+15")], "excel_number@subscription_id"),
        (&[("subscription_id", "'00123")], "excel_apostrophe@subscription_id"),
        (&[("subscription_id", " s-1")], "spaces_around@subscription_id"),
        (&[("subscription_id", "s-1 ")], "spaces_around@subscription_id"),
        (&[("subscription_id", "=A1")], "id_invalid@subscription_id"),
        (&[("subscription_id", "4242424242424242")], "card_number@subscription_id"),
        (&[("plan", "")], "missing_value@plan"),
        (&[("plan", "montly")], "unknown_plan@plan"),
        (&[("plan", "a/b")], "plan_invalid@plan"),
        // Methods.
        (&[("payment_method_id", "card-1")], "payment_method_id_invalid@payment_method_id"),
        (&[("payment_method_id", "5a4db0c500008000800000000000000f")], "payment_method_id_invalid@payment_method_id"),
        (&[("payment_method_id", "4242-4242-4242-4242")], "card_number@payment_method_id"),
        (&[("method_kind", "Card")], "method_kind_invalid@method_kind"),
        (&[("method_kind", "ach")], "method_kind_invalid@method_kind consent_missing@consent_id"),
        (&[("method_kind", "")], "missing_value@method_kind"),
        (&[("payment_method_id", "")], "method_missing@payment_method_id"),
        (
            &[("payment_method_id", "00000000-0000-0000-0000-000000000000")],
            "payment_method_id_invalid@payment_method_id",
        ),
        (&[("method_kind", "bank_account")], "consent_missing@consent_id"),
        (&[BANK[1], BANK[2], BANK[3]], "consent_without_account@consent_id"),
        (
            &[("payment_method_id", ""), ("method_kind", ""), BANK[1], BANK[2], BANK[3]],
            "consent_without_account@consent_id",
        ),
        (&[BANK[0], BANK[1], ("consent_at", "2036-11-30T14:05:00Z"), BANK[3]], "consent_at_invalid@consent_at"),
        (&[BANK[0], BANK[1], BANK[2]], "consent_missing@consent_channel"),
        (&[BANK[1]], "consent_without_account@consent_id"),
        (&[BANK[0], BANK[1], ("consent_at", "2026-11-30"), BANK[3]], "consent_at_invalid@consent_at"),
        (&[BANK[0], BANK[1], ("consent_at", "11/30/2026 14:05"), BANK[3]], "consent_at_invalid@consent_at"),
        (&[BANK[0], BANK[1], ("consent_at", "2026-11-30T14:05:00"), BANK[3]], "consent_at_invalid@consent_at"),
        (&[BANK[0], BANK[1], BANK[2], ("consent_channel", "web")], "consent_channel_invalid@consent_channel"),
        (&[BANK[0], ("consent_id", &hundred), BANK[2], BANK[3]], "consent_id_invalid@consent_id"),
        // Customers.
        (&[("customer_reference", "")], "customer_missing@customer_reference"),
        (&[("customer_reference", "j.doe@example.org")], "customer_reference_invalid@customer_reference"),
        (&[("customer_reference", &hundred)], "customer_reference_invalid@customer_reference"),
        (&[("customer_reference", "4242 4242 4242 4242")], "card_number@customer_reference"),
        (&[("customer_reference", "ref 1 4242424242424242")], "card_number@customer_reference"),
        (&[("customer_reference", "4242.4242.4242.4242")], "card_number@customer_reference"),
        (&[("customer_reference", "4242  4242  4242  4242")], "card_number@customer_reference"),
        (&[("customer_reference", "4242\u{a0}4242\u{a0}4242\u{a0}4242")], "card_number@customer_reference"),
        (&[("customer_reference", "\"4242\n4242\n4242\n4242\"")], "card_number@customer_reference"),
        (&[("customer_reference", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢")], "card_number@customer_reference"),
        (&[("customer_reference", "'C-1")], "excel_apostrophe@customer_reference"),
        (&[("customer_reference", "\"a\nb\"")], "line_break@customer_reference"),
        (&[("customer_reference", "a\tb")], "line_break@customer_reference"),
        (&[("customer_reference", &long)], "field_too_long@customer_reference"),
        (&[("customer_hsid", "7")], "customer_hsid_invalid@customer_hsid"),
        (&[("customer_hsid", "00000000-0000-0000-0000-000000000000")], "customer_hsid_invalid@customer_hsid"),
        (&[("customer_enterprise_id", "E-7")], "customer_enterprise_id_invalid@customer_enterprise_id"),
        (&[("customer_enterprise_id", "1E+09")], "excel_number@customer_enterprise_id"),
        (&[("customer_enterprise_id", "4242424242424242")], "card_number@customer_enterprise_id"),
        // Dates.
        (&[("start_on", "")], "missing_value@start_on"),
        (&[("start_on", "1/31/2027")], "excel_date@start_on"),
        (&[("start_on", "31.01.2027")], "excel_date@start_on"),
        (&[("start_on", "31/01/27")], "excel_date@start_on"),
        (&[("start_on", "2027-1-5")], "excel_date@start_on"),
        (&[("start_on", "2027-01-31 00:00:00")], "excel_date@start_on"),
        (&[("start_on", "46418")], "excel_date@start_on"),
        (&[("start_on", "2027-02-29")], "date_invalid@start_on"),
        (&[("start_on", "20261-12-01")], "date_invalid@start_on"),
        (&[("start_on", "soon")], "date_invalid@start_on"),
        (&[("start_on", "1827-01-31")], "schedule_impossible@start_on"),
        (&[("end_on", "2026-12-04")], "end_before_start@end_on"),
        (&[("end_on", "12/31/2027")], "excel_date@end_on"),
        (&[("anchor_day", "1"), ("end_on", "2026-12-31")], "ends_before_first_charge@end_on"),
        (&[("start_on", "2026-01-05"), ("end_on", "2026-11-30")], "has_ended@end_on"),
        (&[("anchor_day", "0")], "anchor_day_invalid@anchor_day"),
        (&[("anchor_day", "32")], "anchor_day_invalid@anchor_day"),
        (&[("anchor_day", "1st")], "anchor_day_invalid@anchor_day"),
        (&[("anchor_day", "5"), ("plan", "weekly")], "anchor_day_without_meaning@anchor_day"),
        (&[("time_zone", "EST5")], "time_zone_invalid@time_zone"),
        (&[("time_zone", "-05:00")], "time_zone_invalid@time_zone"),
        (&[("time_zone", "new york")], "time_zone_invalid@time_zone"),
        // Money.
        (&[("amount", "79.00")], "amount_not_allowed@amount"),
        (&[("plan", "agreed")], "amount_missing@amount"),
        (&[("plan", "agreed"), ("amount", "$79")], "amount_invalid@amount"),
        (&[("plan", "agreed"), ("amount", "\"1,079.00\"")], "amount_invalid@amount"),
        (&[("plan", "agreed"), ("amount", "79.005")], "amount_invalid@amount"),
        (&[("plan", "agreed"), ("amount", "-1.00")], "amount_invalid@amount"),
        (&[("plan", "agreed"), ("amount", "1000000.00")], "amount_invalid@amount"),
        (&[("plan", "agreed-yen"), ("amount", "79.00")], "amount_invalid@amount"),
        (&[("plan", "agreed"), ("amount", "1E+05")], "excel_number@amount"),
        // Quotation marks.
        (&[("customer_reference", "a\"b")], "quote_stray@customer_reference"),
        (&[("customer_reference", "\"a\"b")], "quote_stray@customer_reference"),
        // Several at once.
        (
            &[("subscription_id", "a b"), ("plan", "x"), ("start_on", "soon"), ("time_zone", "Mars/Base")],
            "id_invalid@subscription_id unknown_plan@plan date_invalid@start_on time_zone_invalid@time_zone",
        ),
        (&[("subscription_id", "4242424242424242"), ("plan", "x")], "card_number@subscription_id unknown_plan@plan"),
    ];
    let mut wrong = Vec::new();
    for (changes, expected) in cases {
        let found = row_mistakes(&row(changes));
        let places: Vec<String> = found.iter().map(|one| format!("{}@{}", one.code, one.column)).collect();
        if places.join(" ") != *expected {
            wrong.push(format!("{changes:?}\n  expected {expected}\n  found    {}", places.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (row, code) in
        [("s-1,monthly", "ragged_row"), (&*format!("{},x", row(&[])), "ragged_row"), (",,,,,,,,,,,,,,", "row_empty")]
    {
        let found = row_mistakes(row);
        assert_eq!((found.len(), found[0].code, found[0].column.as_str()), (1, code, ""), "{row}");
    }
}

#[test]
fn the_messages_say_what_to_write() {
    for (column, value, message, mend) in [
        (
            "start_on",
            "1/31/2027",
            "start_on is not written as year-month-day (read here as month/day/year)",
            "write 2027-01-31",
        ),
        (
            "start_on",
            "46418",
            "start_on is not written as year-month-day: it is a spreadsheet's day number",
            "write 2027-01-31",
        ),
        (
            "start_on",
            "31.01.2027",
            "start_on is not written as year-month-day (read here as day.month.year)",
            "write 2027-01-31",
        ),
        ("plan", "montly", "there is no plan montly", "write monthly"),
        ("time_zone", "america/chicago", "\"america/chicago\" is not a time zone", "did you mean America/Chicago?"),
        ("time_zone", "America/Chcago", "\"America/Chcago\" is not a time zone", "did you mean America/Chicago?"),
        (
            "time_zone",
            "EST",
            "\"EST\" is one fixed offset all year, winter and summer",
            "write America/New_York, or America/Panama where no clock changes",
        ),
        ("method_kind", "Credit Card", "\"Credit Card\" is no kind of method", "write card"),
        ("method_kind", "bank", "\"bank\" is no kind of method", "write bank_account"),
        (
            "method_kind",
            "bank_account",
            "consent_id, consent_at and consent_channel are empty, and every debit of a bank account needs its consent",
            "write consent_id (the id of the form or of the record), consent_at (a moment with its offset, such as \
             2026-11-02T10:15:00-06:00) and consent_channel (WEB or TEL)",
        ),
        (
            "subscription_id",
            "'00123",
            "an apostrophe stands before the value, left there by a spreadsheet",
            "write 00123",
        ),
    ] {
        let found = row_mistakes(&row(&[(column, value)]));
        assert_eq!((found[0].message.as_str(), found[0].mend.as_str()), (message, mend));
    }
    // A consent that is missing is said beside the wrong word for what needs it.
    let found = row_mistakes(&row(&[("method_kind", "ACH")]));
    let codes: Vec<&str> = found.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["method_kind_invalid", "consent_missing"]);
}

#[test]
fn broken_files_are_refused_at_their_place() {
    let good = COLUMNS.join(",");
    let sub = row(&[]);
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "empty_file@1:1"),
        (b"\n\r\n".to_vec(), "empty_file@1:1"),
        (good.clone().into_bytes(), "no_rows@1:1"),
        (format!("{good}\n{sub}").replace(',', ";").into_bytes(), "semicolon_separated@1:1"),
        (format!("{good}\n{sub}").replace(',', "\t").into_bytes(), "tab_separated@1:1"),
        (format!("{good}\n{sub}").replace(',', "|").into_bytes(), "bar_separated@1:1"),
        (format!("{good}\r{sub}\r").into_bytes(), "line_ends@1:1"),
        (wide("\u{feff}plan,x"), "not_utf8@1:1"),
        (wide(&format!("{good}\n{sub}")), "not_utf8@1:1"),
        (format!("{good}\n{sub}").encode_utf16().flat_map(u16::to_be_bytes).collect(), "not_utf8@1:1"),
        (b"plan,caf\xe9\n".to_vec(), "not_utf8@1:9"),
        (format!("{good},note\n{sub},x").into_bytes(), "unknown_column@1:630"),
        (format!("{good},\n{sub},").into_bytes(), "unknown_column@1:630"),
        (format!("Plan,{good}\nx,{sub}").into_bytes(), "unknown_column@1:1"),
        (format!("plan,{good}\nmonthly,{sub}").into_bytes(), "duplicate_column@1:22"),
        (format!("{good},patient_name\n{sub},x").into_bytes(), "personal_data@1:630"),
        (format!("{good},4242424242424242\n{sub},x").into_bytes(), "card_number@1:630"),
        (format!("{good},\"a\"b\n{sub},x").into_bytes(), "header_quote@1:1"),
        (b"plan,start_on,customer_reference\nmonthly,2027-01-01,C".to_vec(), "missing_column@1:1"),
        (b"subscription_id,plan,start_on\ns,monthly,2027-01-01".to_vec(), "missing_column@1:1"),
        (b"colour\nred".to_vec(), "no_header@1:1"),
        // One mistake, one error.
        (format!("{}\n{sub}", good.replace("start_on", "start_onn")).into_bytes(), "unknown_column@1:108"),
        (b"subscription_id,plan,start_on,customer_ref\ns,monthly,2027-01-01,C".to_vec(), "unknown_column@1:31"),
        (format!("{}\n{sub}", good.to_uppercase()).into_bytes(), "column_style@1:1"),
        (
            b"subscription_id,plan,payment_method_id,customer_reference,start_on\ns,monthly,,C,2027-01-01".to_vec(),
            "missing_column@1:1",
        ),
        (format!("{good}{}\n{sub}", ",x".repeat(1_000)).into_bytes(), "too_many_columns@1:1"),
        (format!("{good}\n{sub}\n\"s-2,x\n").into_bytes(), "quote_unclosed@3:1"),
        (format!("{good}\n{sub}\ns-2,\"x,y\n").into_bytes(), "quote_unclosed@3:5"),
        (format!("{good},,,\n{sub},,,").into_bytes(), "unknown_column@1:630"),
        (format!("Members of 2027\n{good}\n{sub}").into_bytes(), "no_header@1:1"),
        (vec![b'x'; 64 * 1024 * 1024 + 1], "file_too_large@1:1"),
    ];
    for (bytes, expected) in cases {
        let roster = read(&bytes);
        roster.file_mistakes.iter().for_each(fit_to_show);
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(brief(&roster.file_mistakes), expected, "{start}");
        assert!(roster.rows.iter().all(|row| row.outcome.is_err()), "{start}");
        assert!(!roster.is_clean());
    }
}

#[test]
fn a_title_above_the_header_and_a_total_below_the_rows_are_named_as_such() {
    let text = format!("Members of 2027\n\n{}\n{}\n", COLUMNS.join(","), row(&[]));
    let found = read(&text).mistakes("r.csv");
    assert_eq!(
        (brief(&found).as_str(), found[0].mend.as_str()),
        ("no_header@1:1", "delete what stands above line 3, which is the header")
    );
    let blank = ",".repeat(COLUMNS.len() - 11);
    for (total, column) in
        [(format!("Total:,,,,,,,,,,79.00{blank}"), 1), (format!(",,,,,,Grand total,,,,79.00{blank}"), 7)]
    {
        let found = read(format!("{}\n{}\n{total}\n", COLUMNS.join(","), row(&[]))).mistakes("r.csv");
        assert_eq!((brief(&found), found[0].mend.as_str()), (format!("total_row@3:{column}"), "delete the row"));
    }
    for (last, code, mend) in [
        (COLUMNS.join(","), "header_again", "delete the row"),
        (format!(",,,,,,,,,,158.00{blank}"), "row_incomplete", "delete the row, or fill them"),
        ("End of report".to_owned(), "ragged_row", "delete the line, or write all fields of a row"),
    ] {
        let found = read(format!("{}\n{}\n{last}\n", COLUMNS.join(","), row(&[]))).mistakes("r.csv");
        assert_eq!((brief(&found), found[0].mend.as_str()), (format!("{code}@3:1"), mend));
    }
    // A subscription may be called so.
    let found = row_mistakes(&row(&[("subscription_id", "total"), ("customer_reference", "Sum")]));
    assert_eq!(found, []);
}

#[test]
fn a_good_row_becomes_a_subscription() {
    let mut text = format!("\u{feff}{}\r\n", COLUMNS.join(","));
    let changes = [
        ("anchor_day", "31"),
        ("time_zone", "America/New_York"),
        ("end_on", "2027-12-31"),
        ("customer_enterprise_id", "7"),
    ];
    let _ = write!(text, "{}\r\n\r\n", row(&[BANK.as_slice(), changes.as_slice()].concat()));
    let _ = write!(
        text,
        "{}\r\n",
        row(&[("subscription_id", "s-2"), ("start_on", "2026-01-31"), ("payment_method_id", ""), ("method_kind", "")])
    );
    let roster = read(text);
    assert!(roster.is_clean(), "{:?}", roster.mistakes("r.csv"));
    let lines: Vec<u64> = roster.rows.iter().map(|row| row.line).collect();
    assert_eq!(lines, [2, 4]);
    let first = roster.rows[0].outcome.as_ref().unwrap();
    assert_eq!(first.status, SubscriptionStatus::Active);
    assert_eq!((first.next_cycle, first.next_due_at), (0, Some("2026-12-31T11:00:00Z".parse().unwrap())));
    let method = first.method.as_ref().unwrap();
    assert_eq!((method.kind, method.id.to_string()), (MethodKind::BankAccount, CARD.to_owned()));
    assert_eq!(method.consent.as_ref().unwrap().channel, "WEB");
    assert_eq!(first.customer.metadata, BTreeMap::from([("customerId".to_owned(), "C-1".to_owned())]));
    assert_eq!(first.customer.enterprise_id.as_deref(), Some("7"));
    // Ten cycles had passed before the day of enrolment; they are nobody's debt.
    let second = roster.rows[1].outcome.as_ref().unwrap();
    assert_eq!((second.next_cycle, second.next_due_at), (11, Some("2026-12-31T06:00:00Z".parse().unwrap())));
    assert_eq!(second.method, None);
}

#[test]
fn a_price_that_has_not_begun_is_a_mistake_now_and_not_at_the_first_charge() {
    let mut catalog = catalog();
    let text = "schema = \"autopay.plan/1\"\nid = \"later\"\nname = \"N\"\nkind = \"recurring\"\nstatus = \"active\"\n\
         [schedule]\nevery = \"1 month\"\ntime_zone = \"UTC\"\ncharge_at = 06:00:00\n\
         [amount]\ncurrency = \"USD\"\n[[amount.step]]\nfrom = 2027-06-01\nvalue = \"1.00\"\n";
    let (_, plan) = read_plan("x", text).unwrap();
    catalog.plans.insert(plan.id.clone(), plan);
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let roster =
        read_roster("r.csv", format!("{}\n{}", COLUMNS.join(","), row(&[("plan", "later")])).as_bytes(), &context);
    let [one] = &roster.mistakes("r.csv")[..] else { panic!("{}", brief(&roster.mistakes("r.csv"))) };
    assert_eq!(one.code, "no_price");
}

#[test]
fn an_id_used_twice_names_the_earlier_line() {
    let roster = read(format!("{}\n{}\n\n{}\n", COLUMNS.join(","), row(&[]), row(&[])));
    assert!(roster.rows[0].outcome.is_ok());
    let found = roster.rows[1].outcome.as_ref().unwrap_err();
    assert_eq!((found[0].code, found[0].message.as_str()), ("duplicate_id", "this id stands in line 2 already"));
}

#[test]
fn a_mistake_of_a_row_names_the_column_in_characters() {
    let text = format!(
        "{}\n{}\n{}\n",
        COLUMNS.join(","),
        row(&[("customer_reference", "\"two, words\""), ("start_on", "soon")]),
        row(&[("subscription_id", "s-2"), ("customer_reference", "\"two\nlines\""), ("start_on", "soon")]),
    );
    let first = text.lines().nth(1).unwrap().find("soon").unwrap() + 1;
    let found = read(&text).mistakes("r.csv");
    let places: Vec<(&str, usize, usize)> = found.iter().map(|one| (one.code, one.line, one.column)).collect();
    let reference = text.lines().nth(2).unwrap().find("\"two").unwrap() + 1;
    assert_eq!(places, [("date_invalid", 2, first), ("date_invalid", 4, 8), ("line_break", 3, reference)]);
}

fn cells(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn the_report_is_the_file_with_reasons_and_can_be_handed_in_again() {
    let text = format!(
        "{}\n{}\n{}\n{}\n{}\ns,monthly\n{},extra\n",
        COLUMNS.join(","),
        row(&[]),
        row(&[("subscription_id", "=cmd()"), ("start_on", "soon")]),
        row(&[("subscription_id", "s-3"), ("customer_reference", "4242424242424242")]),
        row(&[("subscription_id", "s-4"), ("customer_reference", "\"C,\"\"4\"")]),
        row(&[("subscription_id", "s-6")]),
    );
    let broken = format!("{}\n{}\n", COLUMNS.join(","), row(&[("customer_reference", "\"4242\n4242\n4242\n4242\"")]));
    assert!(!String::from_utf8_lossy(&report_csv(&read(&broken))).contains("4242"));
    let formula = format!("{}\n{}\n", COLUMNS.join(","), row(&[("customer_reference", "=cmd|calc")]));
    let reported = report_csv(&read(&formula));
    assert!(String::from_utf8_lossy(&reported).contains("'=cmd|calc"));
    let back = read(&reported);
    let reference = |roster: &Roster| roster.rows[0].outcome.as_ref().unwrap().customer.metadata["customerId"].clone();
    assert_eq!(reference(&back), "=cmd|calc");
    let roster = read(&text);
    let report = report_csv(&roster);
    assert!(!String::from_utf8_lossy(&report).contains("4242"));
    let table = cells(&report);
    assert_eq!(table[0], [COLUMNS.as_slice(), REPORT_COLUMNS.as_slice()].concat());
    assert!(table.iter().all(|row| row.len() == COLUMNS.len() + REPORT_COLUMNS.len()));
    let own = COLUMNS.len();
    let status: Vec<(&str, &str)> = table[1..].iter().map(|row| (row[own].as_str(), row[own + 1].as_str())).collect();
    let expected = [
        ("ok", ""),
        ("error", "id_invalid | date_invalid"),
        ("error", "card_number"),
        ("ok", ""),
        ("error", "ragged_row"),
        ("error", "ragged_row"),
    ];
    assert_eq!(status, expected);
    assert_eq!(table[2][0], "'=cmd()");
    assert_eq!(table[3][6], "(hidden)");
    assert_eq!(table[4][6], "C,\"4");
    assert!(table[2][own + 2].starts_with("subscription_id: "), "{}", table[2][own + 2]);
    assert!(table[2][own + 3].contains(" | write year-month-day"), "{}", table[2][own + 3]);
    // Once more, as it is: the report's columns are ignored, and written anew.
    let again = read(&report);
    assert_eq!(again.file_mistakes, Vec::new());
    assert_eq!(cells(&report_csv(&again))[0], table[0]);
    assert!(again.rows[0].outcome.is_ok() && again.rows[3].outcome.is_ok());
    let none = cells(&report_csv_as(&roster, false));
    assert_eq!((none[1][own].as_str(), none[2][own].as_str()), ("not_applied", "error"));
}

#[test]
fn good_rows_of_a_broken_file_are_not_applied() {
    let roster =
        read(format!("{},note\n{},x\n{},x\n", COLUMNS.join(","), row(&[]), row(&[("subscription_id", "a b")])));
    let table = cells(&report_csv(&roster));
    let after = COLUMNS.len() + 1;
    assert_eq!(table[1][after..after + 2], ["not_applied", "unknown_column"]);
    assert_eq!(table[2][after..after + 2], ["error", "id_invalid"]);
}

#[test]
fn the_book_is_read_without_a_mistake() {
    let files = read_catalog(&book().join("plans"), &[]).unwrap();
    let mut catalog = Catalog::default();
    catalog.plans.extend(files.plans.into_iter().map(|(_, plan)| (plan.id.clone(), plan)));
    catalog.policies.extend(files.policies.into_iter().map(|policy| (policy.id.clone(), policy)));
    let context = RosterContext {
        merchant: MerchantId(uuid::Uuid::nil()),
        catalog: &catalog,
        unread: Unread::nothing(),
        now: now(),
    };
    let roster = read_roster("roster.csv", &fs::read(book().join("roster.csv")).unwrap(), &context);
    let found: Vec<FileMistake> = roster.mistakes("roster.csv");
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(roster.rows.len(), 1_000);
    let subscriptions: Vec<_> = roster.rows.iter().map(|row| row.outcome.as_ref().unwrap()).collect();
    assert!(subscriptions.iter().all(|one| one.next_cycle == 0 && one.next_due_at.is_some_and(|due| due >= now())));
    assert!(subscriptions.iter().all(|one| catalog.policy(&catalog.plans[&one.plan].dunning).is_some()));
    let end: DateTime<Utc> = "2027-03-01T00:00:00Z".parse().unwrap();
    assert!(subscriptions.iter().all(|one| one.next_due_at < Some(end)), "each is charged within the 90 days");
    // The shares that the book's README promises, by the digits that carry the behaviour.
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for one in &subscriptions {
        let behaviour = one.method.as_ref().map_or(String::new(), |method| method.id.to_string()[..13].to_owned());
        assert!(
            one.method
                .as_ref()
                .is_none_or(|method| (method.kind == MethodKind::BankAccount) == method.consent.is_some())
        );
        *shares.entry(behaviour).or_default() += 1;
    }
    let expected = [
        ("", 10),
        ("5a4db0c5-0000", 820),
        ("5a4db0c5-0101", 50),
        ("5a4db0c5-0102", 30),
        ("5a4db0c5-0202", 15),
        ("5a4db0c5-0203", 15),
        ("5a4db0c5-0300", 20),
        ("5a4db0c5-0400", 20),
        ("5a4db0c5-0500", 10),
        ("5a4db0c5-0600", 10),
    ];
    assert_eq!(shares, expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect());
}

/// Mistakes of one row each, as (column, value, code).
const PLANTS: &[(&str, &str, &str)] = &[
    ("subscription_id", "a b", "id_invalid"),
    ("plan", "nothing", "unknown_plan"),
    ("payment_method_id", "x", "payment_method_id_invalid"),
    ("method_kind", "gold", "method_kind_invalid"),
    ("customer_reference", "4242424242424242", "card_number"),
    ("start_on", "1/31/2027", "excel_date"),
    ("time_zone", "Mars/Base", "time_zone_invalid"),
    ("anchor_day", "32", "anchor_day_invalid"),
    ("end_on", "never", "date_invalid"),
    ("customer_hsid", "7", "customer_hsid_invalid"),
];

#[test]
fn what_is_cut_off_makes_no_card_number_of_the_rest() {
    let good = format!("{}\n{}\n{}\n", COLUMNS.join(","), row(&[]), row(&[("subscription_id", "s-2")]));
    for (at, length, put) in [(286, 2, "a;aa0 ü\rüaü2"), (906, 5, "\r;=_==\r\r=a")] {
        let at = at % good.len();
        let end = (at + length).min(good.len());
        let roster = read(format!("{}{put}{}", &good[..at], &good[end..]));
        assert!(!roster.mistakes("r").is_empty());
        roster.mistakes("r").iter().for_each(fit_to_show);
    }
}

proptest! {
    #[test]
    fn k_planted_mistakes_are_k_codes(chosen in proptest::sample::subsequence(PLANTS.to_vec(), 0..=PLANTS.len())) {
        let changes: Vec<(&str, &str)> = chosen.iter().map(|(column, value, _)| (*column, *value)).collect();
        let mut expected: Vec<&str> = chosen.iter().map(|(_, _, code)| *code).collect();
        let mut found: Vec<&str> = row_mistakes(&row(&changes)).into_iter().map(|one| one.code).collect();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let roster = read(&bytes);
        prop_assert!(!roster.is_clean());
        roster.mistakes("r").iter().for_each(fit_to_show);
        let _ = report_csv(&roster);
    }

    #[test]
    fn no_mutation_makes_the_reader_panic(at in 0..2_000_usize, length in 0..20_usize, put in "[\",;\\r\\n a-z0-9_ü=+-]{0,12}") {
        let good = format!("{}\n{}\n{}\n", COLUMNS.join(","), row(&[]), row(&[("subscription_id", "s-2")]));
        let at = at % good.len();
        let end = (at + length).min(good.len());
        let roster = read(format!("{}{put}{}", &good[..at], &good[end..]));
        roster.mistakes("r").iter().for_each(fit_to_show);
        let report = report_csv(&roster);
        // Whatever came in, the report is a table of one width, one line for each row.
        let table = cells(&report);
        prop_assert_eq!(table.len(), roster.rows.len() + 1);
    }
}
