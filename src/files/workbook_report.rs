//! The report of an import as a workbook: the same sheet back, its cells as they were, with the four columns of reasons.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::money::{Currency, Money};
use domain::subscription::Subscription;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

use super::roster::{REPORT_COLUMNS, Roster, RosterRow, reasons, starts_a_formula};
use super::workbook::Given;

/// Widest column, in characters.
const WIDEST: usize = 60;
/// Rows whose texts decide how wide a column is.
const MEASURED_ROWS: usize = 200;

struct Formats {
    header: Format,
    date: Format,
    moment: Format,
    money: Format,
    inert: Format,
}

impl Formats {
    fn new() -> Self {
        Self {
            header: Format::new().set_bold(),
            date: Format::new().set_num_format("yyyy-mm-dd"),
            moment: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            money: Format::new().set_num_format("#,##0.00"),
            inert: Format::new().set_quote_prefix(),
        }
    }
}

/// What a row's value adds to the control totals.
pub trait HasAmount {
    /// The amount, if it has one.
    fn amount(&self) -> Option<Money>;
}

impl HasAmount for Subscription {
    fn amount(&self) -> Option<Money> {
        self.amount
    }
}

/// The sheet back: every row where it stood, cells of dates and numbers as such, and `row_status`, `error_code`, `error` and
/// `how_to_fix` at the end. A second sheet holds the mistakes of the file and control totals: rows, and the amounts of the good rows.
///
/// Formulas come back as their results. Text that a spreadsheet would take for a formula is text. What looks like a card number is not
/// returned. `at` is the moment of the check, UTC; the same roster at the same moment gives the same bytes.
///
/// # Errors
/// A sentence when a workbook cannot hold the report.
pub fn report_xlsx<T: HasAmount>(
    roster: &Roster<T>,
    good_rows_applied: bool,
    at: DateTime<Utc>,
) -> Result<Vec<u8>, String> {
    written(roster, good_rows_applied, at).map_err(|error| format!("a workbook cannot hold the report ({error})"))
}

fn written<T: HasAmount>(roster: &Roster<T>, good_rows_applied: bool, at: DateTime<Utc>) -> Result<Vec<u8>, XlsxError> {
    let formats = Formats::new();
    let mut workbook = Workbook::new();
    // A fixed moment: the writer would read the clock otherwise.
    let created = ExcelDateTime::from_timestamp(at.timestamp())?;
    workbook.set_properties(&DocProperties::new().set_creation_datetime(&created));
    let name = roster.sheet.as_deref().unwrap_or("Roster");
    rows(workbook.add_worksheet(), name, roster, good_rows_applied, &formats)?;
    let about = if name.eq_ignore_ascii_case("about") { "About the import" } else { "About" };
    totals(workbook.add_worksheet().set_name(about)?, roster, at, &formats)?;
    workbook.save_to_buffer()
}

fn place(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

fn rows<T>(
    sheet: &mut Worksheet,
    name: &str,
    roster: &Roster<T>,
    good_rows_applied: bool,
    formats: &Formats,
) -> Result<(), XlsxError> {
    // A hidden name, or one that this writer does not allow, becomes the plain one.
    if sheet.set_name(name).is_err() {
        sheet.set_name("Roster")?;
    }
    sheet.set_freeze_panes(1, 0)?;
    let own: Vec<usize> = (0..roster.rows.iter().map(|row| row.fields.len()).fold(roster.headers.len(), usize::max))
        .filter(|at| roster.headers.get(*at).is_none_or(|name| !REPORT_COLUMNS.contains(&name.as_str())))
        .collect();
    for (at, from) in own.iter().enumerate() {
        let name = roster.headers.get(*from).map_or("", String::as_str);
        sheet.write_string_with_format(0, place(at), name, &formats.header)?;
        let texts = roster.rows.iter().take(MEASURED_ROWS).filter_map(|row| row.fields.get(*from));
        let width = texts.map(|text| text.chars().count()).fold(name.len(), usize::max).min(WIDEST);
        sheet.set_column_width(place(at), f64::from(place(width)) + 2.0)?;
    }
    for (at, name) in REPORT_COLUMNS.iter().enumerate() {
        sheet.write_string_with_format(0, place(own.len() + at), *name, &formats.header)?;
        let width = if at < 2 { 16.0 } else { 50.0 };
        sheet.set_column_width(place(own.len() + at), width)?;
    }
    let file = roster.file_mistakes.first();
    for (number, row) in roster.rows.iter().enumerate() {
        let line = line_of(row, number);
        for (at, from) in own.iter().enumerate() {
            cell(sheet, (line, place(at)), roster, row, *from, formats)?;
        }
        for (at, reason) in reasons(row, file, good_rows_applied).iter().enumerate() {
            text(sheet, (line, place(own.len() + at)), reason, formats)?;
        }
    }
    Ok(())
}

/// The row, from 0, at which a row stood; below the header, which is always the first.
fn line_of<T>(row: &RosterRow<T>, number: usize) -> u32 {
    let least = u32::try_from(number).unwrap_or(u32::MAX).saturating_add(1);
    u32::try_from(row.line).unwrap_or(u32::MAX).saturating_sub(1).max(least)
}

fn cell<T>(
    sheet: &mut Worksheet,
    (line, column): (u32, u16),
    roster: &Roster<T>,
    row: &RosterRow<T>,
    from: usize,
    formats: &Formats,
) -> Result<(), XlsxError> {
    let field = row.fields.get(from).map_or("", String::as_str);
    match row.cells.get(from).copied().unwrap_or(Given::Text) {
        Given::Text | Given::Failed => return text(sheet, (line, column), field, formats),
        Given::Number(number) => {
            if roster.headers.get(from).is_some_and(|name| name == "amount") {
                sheet.write_number_with_format(line, column, number, &formats.money)?;
            } else {
                sheet.write_number(line, column, number)?;
            }
        }
        Given::Date(serial) => {
            let format = if serial.fract() == 0.0 { &formats.date } else { &formats.moment };
            sheet.write_number_with_format(line, column, serial, format)?;
        }
        Given::Truth(truth) => {
            sheet.write_boolean(line, column, truth)?;
        }
    }
    Ok(())
}

/// Text, and never a formula, also when somebody edits the cell.
fn text(sheet: &mut Worksheet, (line, column): (u32, u16), text: &str, formats: &Formats) -> Result<(), XlsxError> {
    if starts_a_formula(text) {
        sheet.write_string_with_format(line, column, text, &formats.inert)?;
    } else if !text.is_empty() {
        sheet.write_string(line, column, text)?;
    }
    Ok(())
}

fn totals<T: HasAmount>(
    sheet: &mut Worksheet,
    roster: &Roster<T>,
    at: DateTime<Utc>,
    formats: &Formats,
) -> Result<(), XlsxError> {
    let good = roster.rows.iter().filter(|row| row.outcome.is_ok()).count();
    let mut sums: BTreeMap<Currency, Option<Money>> = BTreeMap::new();
    for amount in roster.rows.iter().filter_map(|row| row.outcome.as_ref().ok()?.amount()) {
        let sum = sums.entry(amount.currency()).or_insert(Some(Money::new(0, amount.currency())));
        *sum = sum.and_then(|sum| sum.checked_add(amount).ok());
    }
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    sheet.set_column_width(0, 24)?;
    sheet.set_column_width(1, 60)?;
    let mut line = 0;
    for (name, count) in
        [("rows", roster.rows.len()), ("good rows", good), ("rows with errors", roster.rows.len() - good)]
    {
        sheet.write_string_with_format(line, 0, name, &formats.header)?;
        sheet.write_number(line, 1, number(count))?;
        line += 1;
    }
    for (currency, sum) in sums {
        sheet.write_string_with_format(line, 0, format!("amounts of good rows, {currency}"), &formats.header)?;
        // As text, so that no cent is lost however large the sum.
        sheet.write_string(line, 1, sum.map_or_else(|| "too large to add".to_owned(), Money::plain))?;
        line += 1;
    }
    sheet.write_string_with_format(line, 0, "checked at (UTC)", &formats.header)?;
    sheet.write_datetime_with_format(line, 1, ExcelDateTime::from_timestamp(at.timestamp())?, &formats.moment)?;
    line += 1;
    for mistake in &roster.file_mistakes {
        sheet.write_string_with_format(line, 0, "mistake of the file", &formats.header)?;
        text(sheet, (line, 1), &format!("{}: {}   Fix: {}", mistake.code, mistake.message, mistake.mend), formats)?;
        line += 1;
    }
    Ok(())
}
