//! Tables of notices that reached their payers: letters that people sent, and what another system sent before a move.
//!
//! One row a notice: `subscription_id`, `cycle` or `charge_on` (or both), `delivered_at`, `amount`, and `kind` where it matters. The columns
//! of a report may be there and are not read, so that a report can be mended and handed in.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use domain::id::{SubscriptionId, looks_like_a_card_number};
use domain::notice::Kind;

use super::csv_rows::{Record, Records};
use super::form::Likeness;
use super::mistake::{FileMistake, is_personal};
use super::roster::{LARGEST_ROSTER, REPORT_COLUMNS, RowMistake, guarded};
use super::workbook::{is_workbook, records};

const COLUMNS: [&str; 6] = ["subscription_id", "cycle", "charge_on", "kind", "delivered_at", "amount"];

/// When a notice reached its payer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// At this instant, UTC.
    At(DateTime<Utc>),
    /// On this day, where the payer lives.
    On(NaiveDate),
}

/// A row that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeLine {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Of which cycle, where the row says so.
    pub cycle: Option<u32>,
    /// The day of the charge it named, where the row says so.
    pub charge_on: Option<NaiveDate>,
    /// Why.
    pub kind: Option<Kind>,
    /// When.
    pub told: Told,
    /// The amount it named, as written: its currency is the plan's.
    pub amount: String,
}

/// A row as it was read.
#[derive(Debug, Clone)]
pub struct NoticeRow {
    /// The line it begins on, from 1.
    pub line: usize,
    /// Its fields as written.
    pub fields: Vec<String>,
    /// What they say, or everything that is wrong with them.
    pub outcome: Result<NoticeLine, Vec<RowMistake>>,
}

/// A table as it was read.
#[derive(Debug, Clone, Default)]
pub struct NoticeSheet {
    /// Its header.
    pub headers: Vec<String>,
    /// Its rows.
    pub rows: Vec<NoticeRow>,
    /// What is wrong with the file as a whole.
    pub file_mistakes: Vec<FileMistake>,
}

impl NoticeSheet {
    /// Every mistake, of the file and of its rows.
    #[must_use]
    pub fn mistakes(&self, label: &str) -> Vec<FileMistake> {
        let column = |name: &str| self.headers.iter().position(|header| header == name).map_or(1, |place| place + 1);
        let of_row = |row: &NoticeRow| {
            let (line, wrong) = (row.line, row.outcome.as_ref().err().cloned().unwrap_or_default());
            wrong.into_iter().map(move |one| (line, one))
        };
        let rows = self.rows.iter().flat_map(of_row).map(|(line, one)| FileMistake {
            path: label.to_owned(),
            line,
            column: column(&one.column),
            code: one.code,
            value: one.value,
            message: one.message,
            mend: one.mend,
        });
        self.file_mistakes.iter().cloned().chain(rows).collect()
    }
}

/// Reads a table of notices, as CSV or as a workbook.
#[must_use]
pub fn read_notices(label: &str, bytes: &[u8], sheet: Option<&str>) -> NoticeSheet {
    let refused = |code, message: &str, mend: &str| NoticeSheet {
        file_mistakes: vec![FileMistake::of_file(label, code, message, mend)],
        ..NoticeSheet::default()
    };
    if bytes.len() > LARGEST_ROSTER {
        return refused("file_too_large", "the file is larger than 64 MiB", "split it into several files");
    }
    if is_workbook(bytes) {
        return match records(label, bytes, sheet) {
            Ok(records) => of_records(label, records.into_iter()),
            Err(mistake) => NoticeSheet { file_mistakes: vec![*mistake], ..NoticeSheet::default() },
        };
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => of_records(label, Records::new(text.strip_prefix('\u{feff}').unwrap_or(text))),
        Err(_) => refused("not_utf8", "the file is not text in UTF-8", "save it as CSV UTF-8"),
    }
}

fn of_records(label: &str, mut records: impl Iterator<Item = Record>) -> NoticeSheet {
    let mut sheet = NoticeSheet::default();
    let Some(header) = records.next() else {
        let mend = format!("write a header with {}", COLUMNS.join(", "));
        sheet.file_mistakes.push(FileMistake::of_file(label, "empty_file", "the file is empty", mend));
        return sheet;
    };
    sheet.headers = header.fields.iter().map(|name| name.trim().to_owned()).collect();
    // A name that is nearly a column's stands for it: that column is not missing too.
    let mut meant = sheet.headers.clone();
    for (place, name) in sheet.headers.iter().enumerate() {
        if !COLUMNS.contains(&name.as_str()) && !REPORT_COLUMNS.contains(&name.as_str()) {
            let absent = COLUMNS.into_iter().filter(|column| meant.iter().all(|other| other != column));
            let absent: Vec<&str> = absent.collect();
            let likely = Likeness::ALL.iter().find_map(|way| way.find(name, &absent, &absent));
            let likely = likely.filter(|_| !is_personal(name));
            if let (Some(column), Some(field)) = (likely, meant.get_mut(place)) {
                column.clone_into(field);
            }
            let mend = match likely {
                Some(near) => format!("write {near}"),
                None => format!("remove it; the columns are {}", COLUMNS.join(", ")),
            };
            let message = "the header names a column that notices do not have";
            let mut mistake = FileMistake::of_file(label, "unknown_column", message, mend);
            mistake.value = hidden(name);
            sheet.file_mistakes.push(mistake);
        }
    }
    let has = |name: &str| meant.iter().any(|header| header == name);
    let missing = ["subscription_id", "delivered_at", "amount"].into_iter().filter(|name| !has(name));
    let mut missing: Vec<String> = missing.map(str::to_owned).collect();
    if !has("cycle") && !has("charge_on") {
        missing.push("cycle, or charge_on".to_owned());
    }
    for name in missing {
        let message = format!("the header lacks {name}");
        sheet.file_mistakes.push(FileMistake::of_file(label, "missing_column", message, "add the column"));
    }
    if !sheet.file_mistakes.is_empty() {
        return sheet;
    }
    for record in records {
        let outcome = line(&sheet.headers, &record);
        sheet.rows.push(NoticeRow { line: record.line, fields: record.fields, outcome });
    }
    sheet
}

fn hidden(text: &str) -> String {
    if looks_like_a_card_number(text) { "(hidden)".to_owned() } else { text.chars().take(60).collect() }
}

fn line(headers: &[String], record: &Record) -> Result<NoticeLine, Vec<RowMistake>> {
    let mut wrong = Vec::new();
    if record.stray_quote.is_some() || record.unclosed_quote.is_some() {
        let message = "a quotation mark stands where none may";
        return Err(vec![mistake(
            "",
            "bad_quotes",
            "",
            message,
            "double quotation marks within a field in quotation marks",
        )]);
    }
    if record.fields.len() > headers.len() {
        let message = "the row has more fields than the header";
        return Err(vec![mistake("", "too_many_fields", "", message, "remove what is too much, or quote commas")]);
    }
    let field = |name: &str| {
        let place = headers.iter().position(|header| header == name)?;
        record.fields.get(place).map(|field| field.trim()).filter(|field| !field.is_empty())
    };
    let mut missing = |name: &str, mend: &str| wrong.push(mistake(name, "missing_value", "", "is empty", mend));
    let subscription = field("subscription_id");
    if subscription.is_none() {
        missing("subscription_id", "write the subscription's id");
    }
    let delivered = field("delivered_at");
    if delivered.is_none() {
        missing("delivered_at", "write the day, such as 2027-01-31, or the instant, such as 2027-01-31T10:00:00Z");
    }
    let amount = field("amount");
    if amount.is_none() {
        missing("amount", "write the amount that was announced, such as 84.00");
    }
    if field("cycle").is_none() && field("charge_on").is_none() {
        missing("cycle", "write the number of the cycle, or the day of its charge in charge_on");
    }
    let mut read = |name: &'static str, code: &'static str, text: &str, why: &str, mend: &str| {
        wrong.push(mistake(name, code, text, why, mend));
    };
    let subscription = subscription.and_then(|text| match SubscriptionId::parse(text) {
        Ok(id) => Some(id),
        Err(error) => {
            read("subscription_id", "bad_id", text, &error.to_string(), "write the id as the book has it");
            None
        }
    });
    let cycle = field("cycle").and_then(|text| match super::migrated::number(text) {
        Ok(cycle) => Some(cycle),
        Err(_) => {
            read("cycle", "bad_cycle", text, "is not the number of a cycle", "count from 0 at the first charge");
            None
        }
    });
    let date = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
    let charge_on = field("charge_on").and_then(|text| {
        let found = date(text);
        if found.is_none() {
            read("charge_on", "bad_date", text, "is not a date", "write it like 2027-01-31");
        }
        found
    });
    let kind = field("kind").and_then(|text| {
        let found = Kind::parse(text);
        if found.is_none() {
            let words = Kind::ALL.map(Kind::as_str).join(", ");
            read("kind", "bad_kind", text, "is not a kind of notice", &format!("write one of {words}"));
        }
        found
    });
    let told = delivered.and_then(|text| {
        let at = DateTime::parse_from_rfc3339(text).ok().map(|at| Told::At(at.to_utc()));
        // A cell with a time and no zone: the hour is of no use, the day is.
        let on = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok().map(|civil| Told::On(civil.date()));
        let found = at.or_else(|| date(text).map(Told::On)).or_else(on);
        if found.is_none() {
            let mend = "write a day, such as 2027-01-31, or an instant with its zone, such as 2027-01-31T10:00:00Z";
            read("delivered_at", "bad_moment", text, "is neither a day nor an instant", mend);
        }
        found
    });
    match (subscription, told, amount) {
        (Some(subscription), Some(told), Some(amount)) if wrong.is_empty() => {
            Ok(NoticeLine { subscription, cycle, charge_on, kind, told, amount: amount.to_owned() })
        }
        (_, _, _) => Err(wrong),
    }
}

fn mistake(column: &str, code: &'static str, value: &str, message: &str, mend: &str) -> RowMistake {
    RowMistake {
        column: column.to_owned(),
        code,
        value: hidden(value),
        message: message.to_owned(),
        mend: mend.to_owned(),
        place: None,
    }
}

/// The same table back as CSV, with a reason beside each row.
#[must_use]
pub fn report_notices(sheet: &NoticeSheet, applied: bool) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let own: Vec<usize> =
        (0..sheet.headers.len()).filter(|place| !REPORT_COLUMNS.contains(&sheet.headers[*place].as_str())).collect();
    let names = own.iter().map(|place| guarded(&sheet.headers[*place]));
    let mut failed = writer.write_record(names.chain(REPORT_COLUMNS.map(str::to_owned))).is_err();
    let joined =
        |part: fn(&RowMistake) -> String, wrong: &[RowMistake]| wrong.iter().map(part).collect::<Vec<_>>().join(" | ");
    for NoticeRow { fields, outcome, .. } in &sheet.rows {
        let cells = own.iter().map(|place| guarded(fields.get(*place).map_or("", String::as_str)));
        let reasons = match outcome {
            Ok(_) if applied => ["ok".to_owned(), String::new(), String::new(), String::new()],
            Ok(_) => ["not_applied".to_owned(), String::new(), String::new(), "correct the other rows".to_owned()],
            Err(wrong) => [
                "error".to_owned(),
                joined(|one| one.code.to_owned(), wrong),
                joined(|one| format!("{}: {}", one.column, one.message), wrong),
                joined(|one| one.mend.clone(), wrong),
            ],
        };
        failed |= writer.write_record(cells.chain(reasons.map(|reason| guarded(&reason)))).is_err();
    }
    // Writing to memory does not fail; a half report would be worse than none.
    if failed { Vec::new() } else { writer.into_inner().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NoticeSheet {
        read_notices("n.csv", text.as_bytes(), None)
    }

    #[test]
    fn a_row_says_whose_notice_reached_whom_when_and_of_how_much() {
        let sheet = read(
            "subscription_id,cycle,charge_on,kind,delivered_at,amount\n\
             sub-1,3,2027-04-15,price_change,2027-03-10,84.00\n\
             sub-2,,2027-04-15,,2027-03-10T23:00:00-06:00,84.00\n",
        );
        let rows: Vec<&NoticeLine> = sheet.rows.iter().map(|row| row.outcome.as_ref().unwrap()).collect();
        assert_eq!((rows[0].cycle, rows[0].kind), (Some(3), Some(Kind::PriceChange)));
        assert_eq!(rows[0].told, Told::On("2027-03-10".parse().unwrap()));
        assert_eq!(rows[1].told, Told::At("2027-03-11T05:00:00Z".parse().unwrap()));
        assert_eq!((rows[1].cycle, rows[1].charge_on), (None, "2027-04-15".parse().ok()));
    }

    #[test]
    fn every_mistake_of_every_row_is_named_at_once_and_comes_back_beside_the_row() {
        let sheet = read(
            "subscription_id,cycle,kind,delivered_at,amount,charge_on\n\
             sub-1,x,letter,yesterday,,2027-13-01\n,,,,,\nsub-3,1,,2027-03-10,1.00,\n",
        );
        let codes: Vec<(usize, &str)> = sheet.mistakes("n.csv").iter().map(|one| (one.line, one.code)).collect();
        let expected = [
            (2, "missing_value"),
            (2, "bad_cycle"),
            (2, "bad_date"),
            (2, "bad_kind"),
            (2, "bad_moment"),
            (3, "missing_value"),
            (3, "missing_value"),
            (3, "missing_value"),
            (3, "missing_value"),
        ];
        assert_eq!(codes, expected);
        let report = String::from_utf8(report_notices(&sheet, false)).unwrap();
        let lines: Vec<&str> = report.lines().collect();
        assert!(lines[0].ends_with("row_status,error_code,error,how_to_fix"));
        assert!(lines[1].contains("error,missing_value | bad_cycle") && lines[3].contains("not_applied"), "{report}");
        assert!(read(&report).file_mistakes.is_empty(), "a report can be handed in");
    }

    #[test]
    fn a_file_that_is_no_table_of_notices_is_refused_as_a_whole() {
        for (text, code) in [
            ("", "empty_file"),
            ("subscription_id,cycle,amount\n", "missing_column"),
            ("subscription_id,cycel,delivered_at,amount\n", "unknown_column"),
            ("subscription_id,cycle,delivered,amount\n", "unknown_column"),
        ] {
            let found = read(text).file_mistakes;
            assert_eq!(found.iter().map(|one| one.code).collect::<Vec<_>>(), [code], "{text}");
        }
        assert_eq!(read_notices("n.csv", &[0xff, 0xfe], None).file_mistakes[0].code, "not_utf8");
    }
}
