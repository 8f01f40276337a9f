//! `autopay forecast compare`: a month of a snapshot against what became of it. The live book is read over connections that can do
//! nothing else.

use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use domain::calendar::Zone;
use domain::charge::State;
use domain::forecast::Rail;
use domain::forecast::compare::{Month, Reason, Tally};
use domain::money::Currency;

use super::exit::{Exit, Problem, Stop};
use super::forecast::moment;
use super::output::{Cell, Column, Format, Listing, counted, instant, line};
use super::{Context, schedule, talk, usage};
use crate::app::Reader;
use crate::clock::WallClock;
use crate::config::Config;
use crate::engine::compare::{Asked, Collected, Told, compare};
use crate::forecast::compared::{Line, Step, Total, reasons_text, steps, totals, xlsx};
use crate::forecast::snapshot::{Snapshot, check};
use crate::ports::Clock as _;

pub(super) const HELP: &str = "Examples:\n  \
    autopay forecast --from 2027-01-01 --months 3 --snapshot q1.jsonl\n  \
    autopay forecast compare --forecast q1.jsonl --actual 2027-01\n  \
    autopay forecast compare --forecast q1.jsonl --actual 2027-01 --by plan -o xlsx --out january.xlsx\n  \
    autopay forecast compare --forecast q1.jsonl --actual 2027-01 --reason declined -o csv\n\n\
    A month owns the charges that are due in it. Scheduled less the reasons is collected, to the cent; the residue is 0.00. \
    docs/forecast.md says what each reason means.\n\
    Exit codes: 0, 2 wrong usage, 6 the snapshot is damaged or of another version, 7 the book changed while it was read, \
    10 a residue, or rows that cannot be read, 11 database unavailable.";

/// Every value is text here, so that all wrong ones are named at once.
#[derive(Debug, Clone, Args)]
pub(super) struct Compare {
    /// The snapshot that autopay forecast --snapshot wrote; an id stands for ID.jsonl in this folder
    #[arg(long, value_name = "FILE")]
    forecast: PathBuf,
    /// The month whose charges are compared
    #[arg(long, value_name = "YYYY-MM")]
    actual: String,
    /// Tells rows apart by plan or method
    #[arg(long, value_name = "WORD")]
    by: Option<String>,
    /// Lists the cycles that were not as foreseen, one by one
    #[arg(long)]
    lines: bool,
    /// Lists those with this reason only; may be repeated
    #[arg(long, value_name = "NAME")]
    reason: Vec<String>,
    /// The moment of the comparison: cycles that fall due later are still to come [default: now]
    #[arg(long, value_name = "MOMENT")]
    as_of: Option<String>,
}

/// What rows are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grouped {
    No,
    Plan,
    Method,
}

/// What was asked, understood.
struct Understood {
    month: NaiveDate,
    grouped: Grouped,
    /// The lines to list, if any: all, or those with one of these reasons.
    lines: Option<Vec<Reason>>,
    now: DateTime<Utc>,
}

const LINES: &[Column] = &[
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("plan"),
    Column::text("method"),
    Column::text("forecast_on"),
    Column::number("forecast"),
    Column::text("due_on"),
    Column::number("amount"),
    Column::text("state"),
    Column::text("paid_at"),
    Column::number("collected"),
    Column::number("difference"),
    Column::text("reasons"),
    Column::text("currency"),
];
const REASONS: &[Column] = &[Column::text("reason"), Column::number("amount")];
const TOTALS: &[Column] = &[
    Column::text("currency"),
    Column::number("charges"),
    Column::number("scheduled"),
    Column::number("collected"),
    Column::number("difference"),
    Column::number("named"),
    Column::number("residue"),
];

/// The way from scheduled to collected, with the column that tells rows apart in front.
macro_rules! way {
    ($($group:expr),*) => {
        &[
            $($group,)*
            Column::text("item"),
            Column::number("charges"),
            Column::money("amount"),
            Column::text("meaning"),
        ]
    };
}
const WAY: &[Column] = way!();
const WAY_BY_PLAN: &[Column] = way!(Column::text("plan"));
const WAY_BY_METHOD: &[Column] = way!(Column::text("method"));

/// Lines printed at once.
const PAGE: usize = 500;

pub(super) async fn run(command: Compare, context: &Context) -> Result<Exit, Stop> {
    let asked = understood(&command, context)?;
    let snapshot = check(&found(&command.forecast))?;
    let month = covered(&snapshot, asked.month)?;
    let config = context.config()?;
    let _guard = talk(&config);
    let reader = Reader::open(&config).await?;
    let done = Box::pin(compared(&asked, &snapshot, month, (&reader, &config), context)).await;
    reader.close().await;
    done
}

/// The request, or every flag that is wrong.
fn understood(command: &Compare, context: &Context) -> Result<Understood, Stop> {
    let mut problems = Vec::new();
    let mut refuse = |flag: &str, value: &str, why: &str| problems.push(usage::refused(flag, value, why));
    let month = schedule::date(&format!("{}-01", command.actual)).unwrap_or_else(|_| {
        refuse("--actual", &command.actual, "is not a month: write year-month, for example 2027-01");
        NaiveDate::MIN
    });
    let grouped = match command.by.as_deref() {
        None => Grouped::No,
        Some("plan") => Grouped::Plan,
        Some("method") => Grouped::Method,
        Some(text) => {
            refuse("--by", text, "is not something to tell rows apart by: write plan or method");
            Grouped::No
        }
    };
    let mut reasons = Vec::new();
    for word in &command.reason {
        match Reason::parse(word) {
            Some(reason) => reasons.push(reason),
            None => {
                let words: Vec<&str> = Reason::ALL.into_iter().map(Reason::word).collect();
                let near = crate::files::near::nearest(word, words.iter().copied());
                let mend = near.map_or_else(|| words.join(", "), str::to_owned);
                refuse("--reason", word, &format!("is not a reason: write {mend}"));
            }
        }
    }
    let now = match command.as_of.as_deref().map(|text| (text, moment(text))) {
        None => WallClock.now(),
        Some((_, Ok(moment))) => moment,
        Some((text, Err(why))) => {
            refuse("--as-of", text, why);
            WallClock.now()
        }
    };
    if matches!(context.printer.format, Format::Ics | Format::Chart) {
        let word = format!("{:?}", context.printer.format).to_lowercase();
        refuse("--output", &word, "is no form of a comparison: write table, json, jsonl, csv or xlsx");
    }
    if !problems.is_empty() {
        return Err(Stop::Failed(Exit::Usage, problems));
    }
    let lines = (command.lines || !reasons.is_empty()).then_some(reasons);
    Ok(Understood { month, grouped, lines, now })
}

/// An id stands for the file of that name.
fn found(named: &Path) -> PathBuf {
    let by_id = named.to_str().filter(|text| text.starts_with("fc_") && !named.exists());
    by_id.map_or_else(|| named.to_owned(), |id| PathBuf::from(format!("{id}.jsonl")))
}

/// The month, if the snapshot has all of it.
fn covered(snapshot: &Snapshot, first: NaiveDate) -> Result<Month, Stop> {
    let header = &snapshot.header;
    // Both were read before.
    let month = Zone::parse(&header.time_zone).and_then(|zone| Month::of(first, &zone));
    let month = month.map_err(|error| Stop::usage("--actual", first.format("%Y-%m"), &error.to_string()))?;
    if month.first < header.from || month.last > header.until {
        let why = format!(
            "is not wholly in the forecast, which goes from {} to {}: name another month, or another snapshot",
            header.from, header.until
        );
        return Err(Stop::usage("--actual", first.format("%Y-%m"), &why));
    }
    Ok(month)
}

/// Lines as they are judged: printed, or kept for a workbook.
struct Lines<'a> {
    only: Option<&'a [Reason]>,
    format: Format,
    listing: Option<Listing>,
    page: Vec<Vec<Cell>>,
    kept: Vec<Line>,
}

impl Lines<'_> {
    fn add(&mut self, told: &Told<'_>) -> Result<(), Stop> {
        let Some(only) = self.only else { return Ok(()) };
        let parts = &told.difference.parts;
        let wanted = only.is_empty() || parts.iter().any(|(reason, _)| only.contains(reason));
        if parts.is_empty() || !wanted {
            return Ok(());
        }
        let mut currencies: Vec<Currency> = parts.iter().map(|(_, amount)| amount.currency()).collect();
        currencies.sort_unstable();
        currencies.dedup();
        for currency in currencies {
            let line = line_of(told, currency);
            match self.format {
                Format::Xlsx => self.kept.push(line),
                Format::Table
                | Format::Json
                | Format::Jsonl
                | Format::Csv
                | Format::Ics
                | Format::Chart
                | Format::Markdown => {
                    self.page.push(cells(&line, self.format));
                }
            }
        }
        if self.page.len() >= PAGE { self.turn() } else { Ok(()) }
    }

    fn turn(&mut self) -> Result<(), Stop> {
        let page = std::mem::take(&mut self.page);
        match &mut self.listing {
            Some(listing) if !page.is_empty() => listing.page(&page),
            Some(_) | None => Ok(()),
        }
    }
}

fn method_of(told: &Told<'_>) -> &'static str {
    let foreseen = told.foreseen.and_then(|row| row.method);
    let now = told.method.map(Rail::from).filter(|_| told.foreseen.is_none());
    foreseen.or(now).map_or("none", Rail::word)
}

fn plan_of<'t>(told: &Told<'t>) -> &'t str {
    let foreseen = told.foreseen.map(|row| row.plan.as_str());
    foreseen.or(told.charge.map(|charge| charge.plan.as_str())).unwrap_or_default()
}

fn line_of(told: &Told<'_>, currency: Currency) -> Line {
    let Told { foreseen, charge, difference, .. } = *told;
    let subscription = foreseen.map(|row| &row.subscription).or(charge.map(|charge| &charge.subscription));
    let paid_at = charge.and_then(|charge| match charge.state {
        State::Paid { at, .. } | State::Returned { paid_at: at, .. } => Some(at),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    });
    let gap = difference.gap(currency);
    Line {
        subscription: subscription.map(ToString::to_string).unwrap_or_default(),
        cycle: foreseen.map(|row| row.cycle).or(charge.map(|charge| charge.cycle)).unwrap_or_default(),
        plan: plan_of(told).to_owned(),
        method: method_of(told),
        forecast_on: foreseen.map(|row| row.due_on),
        forecast: foreseen.map(|row| row.amount).filter(|amount| amount.currency() == currency),
        due_on: charge.map(|charge| charge.due_on),
        amount: charge.map(|charge| charge.amount).filter(|amount| amount.currency() == currency),
        state: charge.map(|charge| charge.state.word()),
        paid_at,
        collected: difference.collected.filter(|amount| amount.currency() == currency),
        difference: domain::money::Money::new(gap, currency),
        reasons: difference.parts.iter().copied().filter(|(_, amount)| amount.currency() == currency).collect(),
    }
}

fn cells(line: &Line, format: Format) -> Vec<Cell> {
    let reasons = match format {
        Format::Json | Format::Jsonl => {
            let rows =
                line.reasons.iter().map(|(reason, amount)| vec![Cell::text(reason.word()), Cell::Money(*amount)]);
            Cell::Rows(REASONS, rows.collect())
        }
        Format::Table | Format::Csv | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {
            Cell::Text(reasons_text(&line.reasons))
        }
    };
    vec![
        Cell::text(&line.subscription),
        Cell::Number(line.cycle.into()),
        Cell::text(&line.plan),
        Cell::text(line.method),
        Cell::maybe(line.forecast_on, Cell::On),
        Cell::maybe(line.forecast, Cell::Money),
        Cell::maybe(line.due_on, Cell::On),
        Cell::maybe(line.amount, Cell::Money),
        Cell::maybe(line.state, Cell::text),
        Cell::maybe(line.paid_at, Cell::At),
        Cell::maybe(line.collected, Cell::Money),
        Cell::Money(line.difference),
        reasons,
        Cell::text(line.difference.currency()),
    ]
}

async fn compared(
    asked: &Understood,
    snapshot: &Snapshot,
    month: Month,
    (reader, config): (&Reader, &Config),
    context: &Context,
) -> Result<Exit, Stop> {
    let printer = &context.printer;
    let about = about(asked, snapshot, month);
    // A CSV file has one kind of row: the lines where they are asked for, else the way from scheduled to collected.
    let begins = match printer.format {
        Format::Xlsx => false,
        Format::Csv => asked.lines.is_some(),
        Format::Table | Format::Json | Format::Jsonl | Format::Ics | Format::Chart | Format::Markdown => true,
    };
    let listing = if begins { Some(printer.document(&heading(asked, snapshot, month), "lines", LINES)?) } else { None };
    let mut lines =
        Lines { only: asked.lines.as_deref(), format: printer.format, listing, page: Vec::new(), kept: Vec::new() };
    let mut tally = Tally::default();
    let question = Asked { merchant: config.merchant(), month, taken_at: snapshot.header.as_of, now: asked.now };
    let rows = snapshot.rows()?.map(|row| row.map_err(Stop::from));
    let collected = compare(reader.store.as_ref(), &question, rows, |told| {
        let group = match asked.grouped {
            Grouped::No => "total",
            Grouped::Plan => plan_of(told),
            Grouped::Method => method_of(told),
        };
        tally.add(group, told.difference);
        lines.add(told)
    })
    .await?;
    lines.turn()?;
    let totals = totals(snapshot, month.first, &collected.before, &tally);
    let steps = steps(&totals, &tally, asked.grouped != Grouped::No);
    show(asked, (&totals, &steps), lines, &about, context)?;
    Ok(judged(&totals, &collected))
}

/// What is printed below the lines, or instead of them.
fn show(
    asked: &Understood,
    (totals, steps): (&[Total], &[Step]),
    lines: Lines<'_>,
    about: &[(&str, String)],
    context: &Context,
) -> Result<(), Stop> {
    let columns = match asked.grouped {
        Grouped::No => WAY,
        Grouped::Plan => WAY_BY_PLAN,
        Grouped::Method => WAY_BY_METHOD,
    };
    let way: Vec<Vec<Cell>> = steps.iter().map(step_cells).collect();
    match lines.listing {
        Some(listing) => {
            let sums = totals.iter().map(total_cells).collect();
            listing.finish_document(&[("totals", TOTALS, sums), ("way", columns, way)], about)
        }
        None if context.printer.format == Format::Xlsx => {
            let kept = asked.lines.as_ref().map(|_| lines.kept.as_slice());
            let bytes = xlsx(asked.now, (totals, steps), kept, about)
                .map_err(|why| Stop::because(Exit::Failed, Problem::sentence(&why)))?;
            context.printer.raw(&bytes)
        }
        None => context.printer.rows(columns, &way),
    }
}

fn step_cells(step: &Step) -> Vec<Cell> {
    let mut cells: Vec<Cell> = step.group.iter().map(Cell::text).collect();
    cells.extend([
        Cell::text(step.item),
        Cell::maybe(step.charges, Cell::Number),
        Cell::Money(step.amount),
        Cell::text(step.meaning),
    ]);
    cells
}

fn total_cells(total: &Total) -> Vec<Cell> {
    vec![
        Cell::text(total.scheduled.currency()),
        Cell::Number(total.charges),
        Cell::Money(total.scheduled),
        Cell::Money(total.collected),
        Cell::Money(total.difference),
        Cell::Money(total.named),
        Cell::Money(total.residue),
    ]
}

fn heading(asked: &Understood, snapshot: &Snapshot, month: Month) -> String {
    format!(
        "Forecast {} as of {}, and what became of {} by {} (months end in {}). Nothing was changed.\n",
        snapshot.id,
        instant(&snapshot.header.as_of),
        month.first.format("%Y-%m"),
        instant(&asked.now),
        snapshot.header.time_zone
    )
}

fn about(asked: &Understood, snapshot: &Snapshot, month: Month) -> Vec<(&'static str, String)> {
    let header = &snapshot.header;
    vec![
        ("forecast", snapshot.id.clone()),
        ("forecast_as_of", instant(&header.as_of)),
        ("forecast_of", header.source.clone()),
        ("scenario", header.scenario.clone()),
        ("month", month.first.format("%Y-%m").to_string()),
        ("time_zone", header.time_zone.clone()),
        ("month_ends_at", instant(&month.ends_at)),
        ("as_of", instant(&asked.now)),
    ]
}

/// What the comparison found out beside its numbers.
fn judged(totals: &[Total], collected: &Collected) -> Exit {
    let left: Vec<String> =
        totals.iter().filter(|total| !total.residue.is_zero()).map(|total| total.residue.to_string()).collect();
    if !left.is_empty() && collected.before != collected.after {
        line("error: the book changed while it was read, so the sums do not meet: run the comparison again");
        return Exit::Conflict;
    }
    if collected.unreadable > 0 {
        let count = counted(usize::try_from(collected.unreadable).unwrap_or(usize::MAX), "charge", "charges");
        line(&format!("error: {count} around the month cannot be read: autopay doctor names the first of them"));
    }
    if !left.is_empty() {
        line(&format!(
            "error: {} of the difference has no reason: autopay schedule audit names the rows that do not fit",
            left.join(", ")
        ));
    }
    if left.is_empty() && collected.unreadable == 0 { Exit::Done } else { Exit::Discrepancy }
}
