//! `autopay schedule prove`: is every cent of what was expected somewhere, by plan, and who is to blame where it is not. Reads only.

use chrono::{NaiveDate, TimeDelta};
use clap::Args;
use domain::completeness::{Share, Sums};
use domain::firing::Span;
use domain::money::{Currency, Money};

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column, Listing, counted};
use super::schedule::date;
use crate::app::App;
use crate::engine::{Culprit, Proof, prove};

/// Rows printed at once.
const ROWS_AT_ONCE: usize = 500;

#[derive(Debug, Args)]
pub(super) struct Prove {
    /// First due date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    from: NaiveDate,
    /// Last due date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    until: NaiveDate,
    /// Minutes a cycle may take to be recorded before it counts as missing
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    grace: u32,
}

const CULPRITS: &[Column] = &[
    Column::text("plan"),
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("due_on"),
    Column::text("charge"),
    Column::text("reason"),
    Column::text("expected"),
    Column::text("recorded"),
    Column::text("note"),
];
const PLANS: &[Column] = &[
    Column::text("plan"),
    Column::text("currency"),
    Column::number("cycles"),
    Column::number("expected"),
    Column::number("charged"),
    Column::number("failed"),
    Column::number("held"),
    Column::number("skipped"),
    Column::number("open"),
    Column::number("waiting"),
    Column::number("difference"),
    Column::number("culprits"),
];

fn plain(minor: i64, currency: Currency) -> String {
    Money::new(minor, currency).plain()
}

fn in_share(sums: &Sums, share: Share) -> i64 {
    sums.shares.get(&share).copied().unwrap_or_default()
}

fn row((plan, currency): (&str, Currency), sums: &Sums) -> Vec<Cell> {
    let amount = |minor: i64| Cell::Text(plain(minor, currency));
    let mut cells = vec![Cell::text(plan), Cell::text(currency), Cell::Number(sums.cycles), amount(sums.expected)];
    cells.extend(Share::ALL.into_iter().map(|share| amount(in_share(sums, share))));
    cells.extend([amount(sums.difference()), Cell::Number(sums.culprits)]);
    cells
}

fn culprit(culprit: Culprit) -> Vec<Cell> {
    let Culprit { plan, subscription, cycle, due_on, charge, reason, expected, recorded, note } = culprit;
    vec![
        Cell::Text(plan),
        Cell::Text(subscription),
        Cell::maybe(cycle, |cycle| Cell::Number(cycle.into())),
        Cell::maybe(due_on, Cell::On),
        Cell::maybe(charge, Cell::text),
        Cell::text(reason),
        Cell::maybe(expected, Cell::text),
        Cell::maybe(recorded, Cell::text),
        Cell::Text(note),
    ]
}

/// The plans of one currency, added up.
fn totals(proof: &Proof) -> Vec<(Currency, Sums)> {
    let mut totals: Vec<(Currency, Sums)> = Vec::new();
    for ((_, currency), sums) in proof {
        match totals.iter_mut().find(|(its, _)| its == currency) {
            Some((_, total)) => total.add(sums),
            None => totals.push((*currency, sums.clone())),
        }
    }
    totals.sort_by_key(|(currency, _)| currency.code());
    totals
}

/// Rows on their way to the listing.
struct Rows {
    listing: Listing,
    waiting: Vec<Vec<Cell>>,
}

impl Rows {
    fn push(&mut self, row: Vec<Cell>) -> Result<(), Stop> {
        self.waiting.push(row);
        if self.waiting.len() < ROWS_AT_ONCE {
            return Ok(());
        }
        self.listing.page(&std::mem::take(&mut self.waiting))
    }
}

pub(super) async fn run(command: &Prove, context: &Context) -> Result<Exit, Stop> {
    if command.until < command.from {
        return Err(Stop::usage("--until", command.until, "is before --from: write the last date that you mean"));
    }
    context.with_app(async |app, _| proved(command, app, context).await).await
}

async fn proved(command: &Prove, app: &App, context: &Context) -> Result<Exit, Stop> {
    let now = app.store.now().await?;
    let until = command.until.succ_opt().unwrap_or(command.until);
    let span = Span { from: command.from, until, now, grace: TimeDelta::minutes(command.grace.into()) };
    let mut rows = Rows { listing: context.printer.list_within("culprits", CULPRITS)?, waiting: Vec::new() };
    let proof = prove::<Stop>(&*app.store, span, |one| rows.push(culprit(one))).await?;
    let Rows { mut listing, waiting } = rows;
    if !waiting.is_empty() {
        listing.page(&waiting)?;
    }
    let totals = totals(&proof);
    let mut plans: Vec<Vec<Cell>> = proof.iter().map(|((plan, currency), sums)| row((plan, *currency), sums)).collect();
    plans.extend(totals.iter().map(|(currency, sums)| row(("all plans", *currency), sums)));
    listing.finish_with_list("plans", PLANS, &plans)?;
    Ok(told(&totals, context))
}

/// The equation in words, one for each currency.
fn told(totals: &[(Currency, Sums)], context: &Context) -> Exit {
    for (currency, sums) in totals {
        let words: Vec<String> = Share::ALL
            .into_iter()
            .map(|share| format!("{} {}", plain(in_share(sums, share), *currency), share.as_str()))
            .collect();
        let cycles = counted(usize::try_from(sums.cycles).unwrap_or(usize::MAX), "cycle", "cycles");
        context.printer.say(&format!(
            "{currency}: {} expected of {cycles} = {}; difference {}.",
            plain(sums.expected, *currency),
            words.join(" + "),
            plain(sums.difference(), *currency)
        ));
    }
    if totals.iter().all(|(_, sums)| sums.holds()) {
        context.printer.say("Nothing is missing, and nothing is there twice. Nothing was changed.");
        return Exit::Done;
    }
    let culprits: u64 = totals.iter().map(|(_, sums)| sums.culprits).sum();
    let culprits = counted(usize::try_from(culprits).unwrap_or(usize::MAX), "culprit is", "culprits are");
    context.printer.say(&format!("The proof does not hold: {culprits} named above. Nothing was changed."));
    Exit::Discrepancy
}
