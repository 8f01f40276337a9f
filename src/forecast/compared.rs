//! A comparison of forecast and reality, ready to be shown, and its workbook.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use domain::forecast::compare::{Reason, Sums, Tally};
use domain::money::{Currency, Money};
use rust_xlsxwriter::{DocProperties, ExcelDateTime, Workbook, Worksheet, XlsxError};

use super::snapshot::Snapshot;
use super::spreadsheet::{MOST_ROWS, date, head, is_exact, money};

/// One currency of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Charges that were scheduled.
    pub charges: u64,
    /// Their sum, by the control total of the snapshot.
    pub scheduled: Money,
    /// What was collected, as the book itself adds it up.
    pub collected: Money,
    /// Scheduled less collected.
    pub difference: Money,
    /// The sum of the named reasons.
    pub named: Money,
    /// The difference less the named reasons: nothing, or something is wrong.
    pub residue: Money,
}

/// A step of the way from scheduled to collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The group, where rows are told apart; `total` for all of them.
    pub group: Option<String>,
    /// `scheduled`, a reason, `collected` or `residue`.
    pub item: &'static str,
    /// What a reason means.
    pub meaning: &'static str,
    /// Charges it is about, where they are counted.
    pub charges: Option<u64>,
    /// How much: scheduled less the reasons is collected.
    pub amount: Money,
}

/// One cycle that was not as foreseen, in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Whose.
    pub subscription: String,
    /// For which cycle.
    pub cycle: u32,
    /// Under which plan.
    pub plan: String,
    /// The way of its money.
    pub method: &'static str,
    /// The date as it was foreseen.
    pub forecast_on: Option<NaiveDate>,
    /// The amount as it was foreseen.
    pub forecast: Option<Money>,
    /// The date of its charge.
    pub due_on: Option<NaiveDate>,
    /// The amount of its charge.
    pub amount: Option<Money>,
    /// Where the charge stands, in the word people see.
    pub state: Option<&'static str>,
    /// When it was paid, UTC.
    pub paid_at: Option<DateTime<Utc>>,
    /// What it brought within the month and still stands.
    pub collected: Option<Money>,
    /// Scheduled in the month less collected in it.
    pub difference: Money,
    /// The reasons; they add up to the difference.
    pub reasons: Vec<(Reason, Money)>,
}

/// A sum of a book as money.
fn amount(minor: i128, currency: Currency) -> Money {
    let most = if minor < 0 { i64::MIN } else { i64::MAX };
    Money::new(i64::try_from(minor).unwrap_or(most), currency)
}

/// The totals of a month: what the snapshot's own control totals and the book's own sums say, held against the named reasons.
#[must_use]
pub fn totals(snapshot: &Snapshot, first: NaiveDate, collected: &BTreeMap<Currency, i64>, tally: &Tally) -> Vec<Total> {
    let mut scheduled = BTreeMap::new();
    for total in snapshot.of_month(first) {
        // The snapshot was read, so its currencies are some.
        if let Ok(currency) = Currency::parse(&total.currency) {
            scheduled.insert(currency, (total.charges, i128::from(total.amount_minor)));
        }
    }
    let named = tally.by_currency();
    let all: BTreeSet<Currency> = scheduled.keys().chain(collected.keys()).chain(named.keys()).copied().collect();
    let total = |currency: Currency| {
        let (charges, scheduled) = scheduled.get(&currency).copied().unwrap_or_default();
        let collected = collected.get(&currency).copied().map_or(0, i128::from);
        let named = named.get(&currency).map_or(0, Sums::named);
        let difference = scheduled - collected;
        Total {
            charges,
            scheduled: amount(scheduled, currency),
            collected: amount(collected, currency),
            difference: amount(difference, currency),
            named: amount(named, currency),
            residue: amount(difference - named, currency),
        }
    };
    all.into_iter().map(total).collect()
}

/// The way from scheduled to collected, in each currency; with groups, first that of each group.
#[must_use]
pub fn steps(totals: &[Total], tally: &Tally, grouped: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if grouped {
        for ((group, currency), sums) in tally.groups() {
            let ends = (sums.foreseen, amount(sums.scheduled, *currency), amount(sums.collected, *currency));
            steps.extend(way(Some(group), ends, Some(sums)));
        }
    }
    let whole = tally.by_currency();
    for total in totals {
        let currency = total.scheduled.currency();
        let group = grouped.then_some("total");
        let ends = (total.charges, total.scheduled, total.collected);
        steps.extend(way(group, ends, whole.get(&currency)));
        steps.push(Step {
            group: group.map(str::to_owned),
            item: "residue",
            meaning: "",
            charges: None,
            amount: total.residue,
        });
    }
    steps
}

fn way(group: Option<&str>, (charges, scheduled, collected): (u64, Money, Money), sums: Option<&Sums>) -> Vec<Step> {
    let group = group.map(str::to_owned);
    let end = |item, charges, amount| Step { group: group.clone(), item, meaning: "", charges, amount };
    let mut steps = vec![end("scheduled", Some(charges), scheduled)];
    for (reason, (count, minor)) in sums.iter().flat_map(|sums| &sums.reasons) {
        let amount = amount(*minor, scheduled.currency());
        let (item, meaning) = (reason.word(), reason.in_words());
        steps.push(Step { group: group.clone(), item, meaning, charges: Some(*count), amount });
    }
    steps.push(end("collected", None, collected));
    steps
}

/// The reasons of a line, as text.
#[must_use]
pub fn reasons_text(reasons: &[(Reason, Money)]) -> String {
    reasons
        .iter()
        .map(|(reason, amount)| format!("{} {}", reason.word(), amount.plain()))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A comparison as a workbook: a sheet for the way from scheduled to collected, one for the totals, one for the lines that were asked
/// for, and one that says what it is about.
///
/// # Errors
/// A sentence when there are more lines than a sheet has, or an amount is too large for a spreadsheet's numbers.
pub fn xlsx(
    made: DateTime<Utc>,
    (totals, steps): (&[Total], &[Step]),
    lines: Option<&[Line]>,
    about: &[(&str, String)],
) -> Result<Vec<u8>, String> {
    if lines.is_some_and(|lines| lines.len() > MOST_ROWS) {
        return Err(format!(
            "there are more than {MOST_ROWS} lines, and a sheet holds no more: write CSV, or name a --reason"
        ));
    }
    let sums = totals.iter().flat_map(|total| [total.scheduled, total.collected, total.named]);
    if sums.chain(steps.iter().map(|step| step.amount)).any(|amount| !is_exact(amount)) {
        return Err("an amount is too large for a spreadsheet's numbers: write CSV".to_owned());
    }
    book(made, (totals, steps), lines, about).map_err(|error| format!("the workbook cannot be written: {error}"))
}

fn book(
    made: DateTime<Utc>,
    (totals, steps): (&[Total], &[Step]),
    lines: Option<&[Line]>,
    about: &[(&str, String)],
) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    let made = ExcelDateTime::from_timestamp(made.timestamp())?;
    workbook.set_properties(&DocProperties::new().set_title("autopay forecast compare").set_creation_datetime(&made));
    way_sheet(steps, workbook.add_worksheet().set_name("Variance")?)?;
    totals_sheet(totals, workbook.add_worksheet().set_name("Totals")?)?;
    if let Some(lines) = lines {
        lines_sheet(lines, workbook.add_worksheet().set_name("Lines")?)?;
    }
    let sheet = workbook.add_worksheet().set_name("About")?;
    head(sheet, &["about", "value"])?;
    sheet.set_column_width(1, 70)?;
    for ((name, value), row) in about.iter().zip(1_u32..) {
        sheet.write_string(row, 0, *name)?;
        sheet.write_string(row, 1, value)?;
    }
    workbook.save_to_buffer()
}

fn count(sheet: &mut Worksheet, (row, column): (u32, u16), count: u64) -> Result<(), XlsxError> {
    sheet.write_number(row, column, f64::from(u32::try_from(count).unwrap_or(u32::MAX)))?;
    Ok(())
}

fn way_sheet(steps: &[Step], sheet: &mut Worksheet) -> Result<(), XlsxError> {
    head(sheet, &["group", "item", "meaning", "charges", "currency", "amount"])?;
    for (step, row) in steps.iter().zip(1_u32..) {
        sheet.write_string(row, 0, step.group.as_deref().unwrap_or("total"))?;
        sheet.write_string(row, 1, step.item)?;
        sheet.write_string(row, 2, step.meaning)?;
        if let Some(charges) = step.charges {
            count(sheet, (row, 3), charges)?;
        }
        sheet.write_string(row, 4, step.amount.currency().code())?;
        money(sheet, (row, 5), step.amount)?;
    }
    Ok(())
}

fn totals_sheet(totals: &[Total], sheet: &mut Worksheet) -> Result<(), XlsxError> {
    head(sheet, &["currency", "charges", "scheduled", "collected", "difference", "named", "residue"])?;
    for (total, row) in totals.iter().zip(1_u32..) {
        sheet.write_string(row, 0, total.scheduled.currency().code())?;
        count(sheet, (row, 1), total.charges)?;
        let amounts = [total.scheduled, total.collected, total.difference, total.named, total.residue];
        for (amount, column) in amounts.into_iter().zip(2_u16..) {
            money(sheet, (row, column), amount)?;
        }
    }
    Ok(())
}

const LINE_NAMES: [&str; 14] = [
    "subscription",
    "cycle",
    "plan",
    "method",
    "forecast_on",
    "forecast",
    "due_on",
    "amount",
    "state",
    "paid_at",
    "collected",
    "difference",
    "reasons",
    "currency",
];

fn lines_sheet(lines: &[Line], sheet: &mut Worksheet) -> Result<(), XlsxError> {
    head(sheet, &LINE_NAMES)?;
    for (line, row) in lines.iter().zip(1_u32..) {
        let paid_at = line.paid_at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
        let reasons = reasons_text(&line.reasons);
        let words = [
            (0, Some(line.subscription.as_str())),
            (2, Some(line.plan.as_str())),
            (3, Some(line.method)),
            (8, line.state),
            (9, paid_at.as_deref()),
            (12, Some(reasons.as_str())),
            (13, Some(line.difference.currency().code())),
        ];
        for (column, word) in words {
            if let Some(word) = word {
                sheet.write_string(row, column, word)?;
            }
        }
        count(sheet, (row, 1), line.cycle.into())?;
        for (column, day) in [(4, line.forecast_on), (6, line.due_on)] {
            if let Some(day) = day {
                date(sheet, (row, column), day)?;
            }
        }
        let amounts = [(5, line.forecast), (7, line.amount), (10, line.collected), (11, Some(line.difference))];
        for (column, amount) in amounts {
            if let Some(amount) = amount {
                money(sheet, (row, column), amount)?;
            }
        }
    }
    Ok(())
}
