//! A forecast as a workbook: typed cells, a sheet for the rows, one for the reasons, and one that says what it is about.
//!
//! Amounts are numbers with the currency's decimals; they are exact up to 2^53 minor units, which is checked. Ids and words are
//! text, and text never starts a formula: cells are written as strings, not as input.

use chrono::NaiveDate;
use domain::money::Money;
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, Worksheet, XlsxError};

use super::{Forecast, Line};

/// Most rows of a sheet, its header not counted; a spreadsheet has no more.
pub const MOST_ROWS: usize = 1_048_575;
/// Beyond this many minor units a spreadsheet's number is no longer exact.
const EXACT: u64 = 1 << 53;

/// A workbook's bytes.
///
/// # Errors
/// A sentence when there are more rows than a sheet has, or an amount is too large for a spreadsheet's numbers.
pub fn xlsx(forecast: &Forecast) -> Result<Vec<u8>, String> {
    if forecast.rows.len() > MOST_ROWS {
        return Err(format!(
            "the forecast has more than {MOST_ROWS} rows, and a sheet holds no more: group by less, or write CSV"
        ));
    }
    let lines = || forecast.rows.iter().chain(&forecast.whole);
    if lines().any(|line| !is_exact(line.scheduled)) {
        return Err("an amount is too large for a spreadsheet's numbers: write CSV".to_owned());
    }
    book(forecast).map_err(|error| format!("the workbook cannot be written: {error}"))
}

/// Is an amount exact as a spreadsheet's number?
pub(super) const fn is_exact(amount: Money) -> bool {
    amount.minor().unsigned_abs() <= EXACT
}

fn book(forecast: &Forecast) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    // The same forecast gives the same bytes.
    let made = ExcelDateTime::from_timestamp(forecast.request.as_of.timestamp())?;
    workbook.set_properties(&DocProperties::new().set_title("autopay forecast").set_creation_datetime(&made));
    rows(forecast, workbook.add_worksheet().set_name("Forecast")?)?;
    reasons(forecast, workbook.add_worksheet().set_name("At risk")?)?;
    about(forecast, workbook.add_worksheet().set_name("About")?)?;
    workbook.save_to_buffer()
}

pub(super) fn head(sheet: &mut Worksheet, names: &[&str]) -> Result<(), XlsxError> {
    let bold = Format::new().set_bold();
    for (name, column) in names.iter().zip(0_u16..) {
        sheet.write_string_with_format(0, column, *name, &bold)?;
        sheet.set_column_width(column, if name.len() > 8 { 18 } else { 14 })?;
    }
    sheet.set_freeze_panes(1, 0)?;
    Ok(())
}

/// A number with as many decimals as the currency has.
pub(super) fn money(sheet: &mut Worksheet, (row, column): (u32, u16), amount: Money) -> Result<(), XlsxError> {
    let decimals = usize::try_from(amount.currency().exponent()).unwrap_or_default();
    let pattern = if decimals == 0 { "#,##0".to_owned() } else { format!("#,##0.{}", "0".repeat(decimals)) };
    // The nearest number to the decimal text, as a spreadsheet would read it from a file.
    let number: f64 = amount.plain().parse().unwrap_or_default();
    sheet.write_number_with_format(row, column, number, &Format::new().set_num_format(pattern))?;
    Ok(())
}

pub(super) fn date(sheet: &mut Worksheet, (row, column): (u32, u16), day: NaiveDate) -> Result<(), XlsxError> {
    let shown = ExcelDateTime::parse_from_str(&day.to_string())?;
    sheet.write_datetime_with_format(row, column, &shown, &Format::new().set_num_format("yyyy-mm-dd"))?;
    Ok(())
}

const NAMES: [&str; 15] = [
    "period_from",
    "plan",
    "method",
    "state",
    "currency",
    "charges",
    "flagged",
    "rolled",
    "scheduled",
    "expected",
    "expected_low",
    "expected_high",
    "at_risk",
    "later",
    "lands",
];

fn rows(forecast: &Forecast, sheet: &mut Worksheet) -> Result<(), XlsxError> {
    head(sheet, &NAMES)?;
    for (line, row) in forecast.rows.iter().zip(1_u32..) {
        if let Some(from) = line.from {
            date(sheet, (row, 0), from)?;
        }
        let words = [line.plan.as_deref(), line.method, line.state, Some(line.scheduled.currency().code())];
        for (word, column) in words.into_iter().zip(1_u16..) {
            if let Some(word) = word {
                sheet.write_string(row, column, word)?;
            }
        }
        for (count, column) in [line.charges, line.flagged, line.rolled].into_iter().zip(5_u16..) {
            sheet.write_number(row, column, f64::from(u32::try_from(count).unwrap_or(u32::MAX)))?;
        }
        for (amount, column) in amounts(line).into_iter().zip(8_u16..) {
            money(sheet, (row, column), amount)?;
        }
    }
    Ok(())
}

const fn amounts(line: &Line) -> [Money; 7] {
    [line.scheduled, line.expected, line.low, line.high, line.at_risk, line.later, line.lands]
}

fn reasons(forecast: &Forecast, sheet: &mut Worksheet) -> Result<(), XlsxError> {
    head(sheet, &["reason", "meaning", "charges", "currency", "at_risk"])?;
    for ((risk, count, amount), row) in forecast.reasons.iter().zip(1_u32..) {
        sheet.write_string(row, 0, risk.word())?;
        sheet.write_string(row, 1, risk.in_words())?;
        sheet.write_number(row, 2, f64::from(u32::try_from(*count).unwrap_or(u32::MAX)))?;
        sheet.write_string(row, 3, amount.currency().code())?;
        money(sheet, (row, 4), *amount)?;
    }
    Ok(())
}

fn about(forecast: &Forecast, sheet: &mut Worksheet) -> Result<(), XlsxError> {
    head(sheet, &["about", "value"])?;
    sheet.set_column_width(1, 70)?;
    let mut row = 0;
    let mut line = |sheet: &mut Worksheet, name: &str, value: &str| -> Result<(), XlsxError> {
        row += 1;
        sheet.write_string(row, 0, name)?;
        sheet.write_string(row, 1, value)?;
        Ok(())
    };
    for (name, value) in forecast.about() {
        line(sheet, name, &value)?;
    }
    for plan in &forecast.plans {
        line(sheet, "plan", &format!("{} version {} digest {}", plan.id, plan.version, plan.digest))?;
    }
    for note in forecast.notes() {
        line(sheet, "note", &note)?;
    }
    Ok(())
}
