//! `autopay forecast --with-change`: plans as they are and as they would be, side by side.

use domain::money::Money;

use super::exit::{Exit, Stop};
use super::output::{Cell, Column, Format, Listing};
use super::{Context, forecast_show};
use crate::files::CatalogFiles;
use crate::forecast::Line;
use crate::forecast::Request;
use crate::forecast::change::{Compared, Differs, compare};
use crate::forecast::from_files::Files;

const MONTHS: &[Column] = &[
    Column::text("period"),
    Column::text("currency"),
    Column::number("charges"),
    Column::number("charges_with_change"),
    Column::number("scheduled"),
    Column::number("scheduled_with_change"),
    Column::number("difference"),
    Column::number("expected"),
    Column::number("expected_with_change"),
    Column::number("expected_difference"),
];

const CHARGES: &[Column] = &[
    Column::text("subscription"),
    Column::text("plan"),
    Column::number("cycle"),
    Column::text("on"),
    Column::text("on_with_change"),
    Column::text("currency"),
    Column::number("amount"),
    Column::number("amount_with_change"),
    Column::number("difference"),
];

/// Side by side, or only the charges that differ.
pub(super) fn run(
    files: Files<'_>,
    changed: &CatalogFiles,
    (request, rows): (Request, bool),
    progress: impl FnMut(u64),
    context: &Context,
) -> Result<Exit, Stop> {
    let mut listing: Option<Listing> = if rows { Some(listing(context)?) } else { None };
    let mut failed: Option<Stop> = None;
    let compared = compare(files, changed, request, progress, |differs| {
        if let Some(listing) = &mut listing
            && failed.is_none()
        {
            failed = listing.page(&[charge(differs)]).err();
        }
    })?;
    if let Some(stop) = failed {
        return Err(stop);
    }
    tell(&compared, listing, context)
}

/// The list of the live book's charges that differ.
pub(super) fn listing(context: &Context) -> Result<Listing, Stop> {
    context.printer.list(CHARGES)
}

/// Ends the list of charges, or shows the months side by side.
pub(super) fn tell(compared: &Compared, listing: Option<Listing>, context: &Context) -> Result<Exit, Stop> {
    let listed = listing.is_some();
    match listing {
        Some(listing) => listing.finish()?,
        None => months(compared, context)?,
    }
    if context.printer.format == Format::Csv {
        forecast_show::beside(&about(compared, listed), context)?;
    }
    context.printer.say(&format!(
        "DRY RUN: nothing was sent, nothing was saved; {} charges of {} subscriptions differ.",
        compared.differing, compared.touched
    ));
    for (forecast, which) in [(&compared.before, "as it is"), (&compared.after, "with the change")] {
        for note in forecast.notes() {
            context.printer.say(&format!("note, {which}: {note}"));
        }
    }
    Ok(Exit::Done)
}

/// What both sides were made with: what they have in common once, and what differs under two names.
fn about(compared: &Compared, listed: bool) -> Vec<(&'static str, String)> {
    const TWICE: [(&str, &str); 6] = [
        ("plans", "plans_with_change"),
        ("charges", "charges_with_change"),
        ("control_total", "control_total_with_change"),
        ("expected_total", "expected_total_with_change"),
        ("at_risk_total", "at_risk_total_with_change"),
        ("method", "method_with_change"),
    ];
    let (mut about, after) = (forecast_show::about(&compared.before), forecast_show::about(&compared.after));
    let rows = if listed { compared.differing.to_string() } else { side_by_side(compared).len().to_string() };
    about.iter_mut().filter(|(name, _)| *name == "row_count").for_each(|(_, value)| value.clone_from(&rows));
    for (name, with_change) in TWICE {
        let value =
            |side: &[(&'static str, String)]| side.iter().find(|(key, _)| *key == name).map(|(_, it)| it.clone());
        if let Some(after) = value(&after).filter(|after| name != "method" || value(&about).as_ref() != Some(after)) {
            about.push((with_change, after));
        }
    }
    about.push(("charges_that_differ", compared.differing.to_string()));
    about.push(("subscriptions_that_differ", compared.touched.to_string()));
    about
}

fn less(left: Money, right: Money) -> Cell {
    Cell::Money(Money::new(left.minor().saturating_sub(right.minor()), left.currency()))
}

pub(super) fn charge(differs: &Differs<'_>) -> Vec<Cell> {
    let Differs { subscription, cycle, before, after } = *differs;
    let currency = before.or(after).map(|(_, money)| money.currency());
    let nothing = currency.map(|currency| Money::new(0, currency));
    let amount = |side: Option<(_, Money)>| side.map(|(_, money)| money).or(nothing);
    let difference = amount(after).zip(amount(before)).map(|(after, before)| less(after, before));
    vec![
        Cell::text(&subscription.id),
        Cell::text(&subscription.plan),
        Cell::Number(cycle.into()),
        Cell::maybe(before, |(on, _)| Cell::On(on)),
        Cell::maybe(after, |(on, _)| Cell::On(on)),
        Cell::maybe(currency, Cell::text),
        Cell::maybe(before, |(_, money)| Cell::Money(money)),
        Cell::maybe(after, |(_, money)| Cell::Money(money)),
        difference.unwrap_or(Cell::Empty),
    ]
}

/// Rows of both sides by period and currency; a currency that one side lacks counts nothing there.
fn months(compared: &Compared, context: &Context) -> Result<(), Stop> {
    let (before, after) = (&compared.before, &compared.after);
    let mut rows = side_by_side(compared);
    rows.extend(beside(&before.whole, &after.whole));
    match context.printer.format {
        Format::Csv => {
            rows.retain(|row| row.first() != Some(&Cell::text("total")));
            context.printer.rows(MONTHS, &rows)
        }
        Format::Table
        | Format::Json
        | Format::Jsonl
        | Format::Xlsx
        | Format::Ics
        | Format::Chart
        | Format::Markdown => context.printer.rows(MONTHS, &rows),
    }
}

/// The rows of the periods, without those of the whole window.
fn side_by_side(compared: &Compared) -> Vec<Vec<Cell>> {
    beside(&compared.before.rows, &compared.after.rows)
}

fn beside(before: &[Line], after: &[Line]) -> Vec<Vec<Cell>> {
    let key = |line: &Line| (line.from, line.period.clone(), line.scheduled.currency().code());
    let mut keys: Vec<_> = before.iter().chain(after).map(key).collect();
    keys.sort();
    keys.dedup();
    let of = |lines: &[Line], wanted: &(Option<chrono::NaiveDate>, String, &str)| {
        lines.iter().find(|line| key(line) == *wanted).cloned()
    };
    let mut rows = Vec::new();
    for wanted in keys {
        let (left, right) = (of(before, &wanted), of(after, &wanted));
        let Some(currency) = left.as_ref().or(right.as_ref()).map(|line| line.scheduled.currency()) else { continue };
        let nothing = Money::new(0, currency);
        let amount = |line: &Option<Line>, part: fn(&Line) -> Money| line.as_ref().map_or(nothing, part);
        let count = |line: &Option<Line>| Cell::Number(line.as_ref().map_or(0, |line| line.charges));
        let (scheduled, expected) = (|line: &Line| line.scheduled, |line: &Line| line.expected);
        rows.push(vec![
            Cell::text(&wanted.1),
            Cell::text(currency),
            count(&left),
            count(&right),
            Cell::Money(amount(&left, scheduled)),
            Cell::Money(amount(&right, scheduled)),
            less(amount(&right, scheduled), amount(&left, scheduled)),
            Cell::Money(amount(&left, expected)),
            Cell::Money(amount(&right, expected)),
            less(amount(&right, expected), amount(&left, expected)),
        ]);
    }
    rows
}
