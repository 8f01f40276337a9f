//! `autopay schedule audit`: what should have fired by plans and subscriptions, and what the book shows.
//!
//! The engine walks the book; here it is counted and printed. Reads only.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{NaiveDate, TimeDelta};
use clap::Args;
use domain::firing::Span;

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column, Listing, counted};
use super::schedule::date;
use crate::app::App;
use crate::engine::fired::{Listener, Told, Word, walk};

/// Rows printed at once.
const ROWS_AT_ONCE: usize = 500;

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// First due date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    from: NaiveDate,
    /// First due date after those: for January 2027 this is 2027-02-01
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    to: NaiveDate,
    /// Minutes a cycle may take to be recorded: later is late, and not at all is missed
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    grace: u32,
    /// A row also for each cycle that was late or skipped, is held or waits
    #[arg(long)]
    details: bool,
}

const ROWS: &[Column] = &[
    Column::text("plan"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("due_on"),
    Column::text("due_at"),
    Column::text("verdict"),
    Column::text("reason"),
    Column::text("charge"),
    Column::text("note"),
];
const COUNTS: &[Column] = &[
    Column::text("plan"),
    Column::number("expected"),
    Column::number("done"),
    Column::number("done_late"),
    Column::number("skipped"),
    Column::number("held"),
    Column::number("waiting"),
    Column::number("missed"),
    Column::number("odd"),
];

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    expected: u64,
    done: u64,
    late: u64,
    skipped: u64,
    held: u64,
    waiting: u64,
    missed: u64,
    odd: u64,
}

impl Counts {
    fn cells(&self, plan: &str) -> Vec<Cell> {
        let Self { expected, done, late, skipped, held, waiting, missed, odd } = *self;
        let numbers = [expected, done, late, skipped, held, waiting, missed, odd];
        std::iter::once(Cell::text(plan)).chain(numbers.map(Cell::Number)).collect()
    }

    fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.done += other.done;
        self.late += other.late;
        self.skipped += other.skipped;
        self.held += other.held;
        self.waiting += other.waiting;
        self.missed += other.missed;
        self.odd += other.odd;
    }
}

/// The audit under way.
struct Auditor {
    details: bool,
    counts: BTreeMap<String, Counts>,
    /// Rows that are still to be printed: together they make a table.
    rows: Vec<Vec<Cell>>,
    listing: Listing,
}

#[async_trait]
impl Listener for Auditor {
    type Error = Stop;

    fn tell(&mut self, told: Told<'_>) -> Result<(), Stop> {
        let counts = self.counts.entry(told.plan.to_owned()).or_default();
        counts.expected += u64::from(told.expected.is_some());
        let (count, shown) = match told.word {
            Word::Done => (&mut counts.done, false),
            Word::Late => (&mut counts.late, self.details),
            Word::Skipped => (&mut counts.skipped, self.details),
            Word::Held => (&mut counts.held, self.details),
            Word::Waiting => (&mut counts.waiting, self.details),
            Word::Missed => (&mut counts.missed, true),
            Word::Odd => (&mut counts.odd, true),
        };
        *count += 1;
        if !shown {
            return Ok(());
        }
        self.rows.push(vec![
            Cell::text(told.plan),
            Cell::text(told.subscription),
            Cell::maybe(told.cycle, |cycle| Cell::Number(cycle.into())),
            Cell::maybe(told.due, |(on, _)| Cell::On(on)),
            Cell::maybe(told.due, |(_, at)| Cell::At(at)),
            Cell::text(told.word.as_str()),
            Cell::text(told.reason),
            Cell::maybe(told.charge, Cell::text),
            Cell::Text(told.note),
        ]);
        if self.rows.len() < ROWS_AT_ONCE {
            return Ok(());
        }
        self.listing.page(&std::mem::take(&mut self.rows))
    }
}

pub(super) async fn run(command: &Audit, context: &Context) -> Result<Exit, Stop> {
    if command.to <= command.from {
        return Err(Stop::usage("--to", command.to, "is not after --from: write the first date after those you mean"));
    }
    context.with_app(async |app, _| audit(command, app, context).await).await
}

async fn audit(command: &Audit, app: &App, context: &Context) -> Result<Exit, Stop> {
    let now = app.store.now().await?;
    let grace = TimeDelta::minutes(command.grace.into());
    let span = Span { from: command.from, until: command.to, now, grace };
    let listing = context.printer.list_within("rows", ROWS)?;
    let mut auditor = Auditor { details: command.details, counts: BTreeMap::new(), rows: Vec::new(), listing };
    walk(&*app.store, span, &mut auditor).await?;
    if !auditor.rows.is_empty() {
        auditor.listing.page(&auditor.rows)?;
    }
    let mut total = Counts::default();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (plan, counts) in &auditor.counts {
        total.add(counts);
        rows.push(counts.cells(plan));
    }
    rows.push(total.cells("all plans"));
    auditor.listing.finish_with_list("plans", COUNTS, &rows)?;
    let expected = counted(usize::try_from(total.expected).unwrap_or(usize::MAX), "cycle", "cycles");
    context.printer.say(&format!(
        "{expected} expected: {} done, {} done late, {} skipped by rule, {} held, {} waiting, {} missed; {} odd. Nothing was changed.",
        total.done, total.late, total.skipped, total.held, total.waiting, total.missed, total.odd
    ));
    Ok(if total.missed > 0 || total.odd > 0 { Exit::Discrepancy } else { Exit::Done })
}
