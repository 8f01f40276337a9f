//! `autopay disputes`: reads only. The ledger is ours; the gateway answers no question about a dispute (contract §8.4).

use clap::{Args, Subcommand};
use domain::dispute::DisputeId;
use domain::money::{Currency, Money};

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};
use super::subscriptions::LIMIT;
use crate::ports::dispute::{DisputeLine, DisputeView};

/// Rows read at once.
const PAGE: u64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Disputes {
    /// Lists disputes, the latest first
    #[command(after_help = "Example:\n  autopay disputes list --open -o csv\n\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    List(List),
    /// Shows one dispute with everything that was said about it
    #[command(
        after_help = "Example:\n  autopay disputes show dp_0f8d…\n\nEvidence is handed in at the processor's own dashboard.\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable."
    )]
    Show {
        /// The dispute's id
        id: DisputeId,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those that are not over
    #[arg(long)]
    open: bool,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("standing"),
    Column::text("charge"),
    Column::money("amount"),
    Column::text("reason"),
    Column::text("opened_at"),
    Column::text("ended_at"),
];
const SHOW: &[Column] = &[
    Column::text("id"),
    Column::text("standing"),
    Column::text("charge"),
    Column::number("attempt"),
    Column::text("payment_method_id"),
    Column::money("amount"),
    Column::text("reason"),
    Column::text("gateway_id"),
    Column::text("payment_id"),
    Column::text("payment_allocation_id"),
    Column::text("opened_at"),
    Column::text("changed_at"),
    Column::text("ended_at"),
    Column::text("history"),
];
const HISTORY: &[Column] = &[
    Column::text("at"),
    Column::text("event"),
    Column::text("status"),
    Column::text("standing"),
    Column::text("delivery"),
];

/// What is withdrawn; nothing where the event did not say how much of what.
fn amount(view: &DisputeView) -> Cell {
    let currency = view.currency.as_deref().and_then(|code| Currency::parse(code).ok());
    Cell::maybe(view.amount_minor.zip(currency), |(minor, currency)| Cell::Money(Money::new(minor, currency)))
}

fn row(view: &DisputeView) -> Vec<Cell> {
    vec![
        Cell::text(view.id),
        Cell::text(view.standing.as_str()),
        Cell::text(view.charge),
        amount(view),
        Cell::maybe(view.reason.as_ref(), Cell::text),
        Cell::At(view.opened_at),
        Cell::maybe(view.ended_at, Cell::At),
    ]
}

fn whole(view: &DisputeView, lines: Vec<DisputeLine>) -> Vec<Cell> {
    let lines = lines.into_iter().map(|line| {
        vec![
            Cell::At(line.at),
            Cell::Text(line.name),
            Cell::maybe(line.status, Cell::Text),
            Cell::text(line.standing.as_str()),
            Cell::text(line.delivery),
        ]
    });
    vec![
        Cell::text(view.id),
        Cell::text(view.standing.as_str()),
        Cell::text(view.charge),
        Cell::Number(view.attempt.into()),
        Cell::text(view.method),
        amount(view),
        Cell::maybe(view.reason.as_ref(), Cell::text),
        Cell::text(&view.gateway_id),
        Cell::maybe(view.payment_id.as_ref(), Cell::text),
        Cell::maybe(view.allocation_id.as_ref(), Cell::text),
        Cell::At(view.opened_at),
        Cell::At(view.changed_at),
        Cell::maybe(view.ended_at, Cell::At),
        Cell::Rows(HISTORY, lines.collect()),
    ]
}

pub(super) async fn run(command: Disputes, context: &Context) -> Result<Exit, Stop> {
    match command {
        Disputes::List(command) => list(command, context).await,
        Disputes::Show { id } => {
            context
                .with_app(async |app, _| {
                    let found = app.disputes.dispute(id).await?;
                    let (view, lines) = found.ok_or_else(|| Stop::not_found("dispute", id))?;
                    context.printer.record(SHOW, &whole(&view, lines))?;
                    Ok(Exit::Done)
                })
                .await
        }
    }
}

async fn list(command: List, context: &Context) -> Result<Exit, Stop> {
    let List { open, limit, all } = command;
    context
        .with_app(async |app, _| {
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut skip = 0_u64;
            loop {
                let want = PAGE.min(left);
                // One more than is shown says whether there is more.
                let mut page = app.disputes.disputes(open, skip, want.saturating_add(1)).await?;
                let more = u64::try_from(page.len()).unwrap_or(u64::MAX) > want;
                page.truncate(usize::try_from(want).unwrap_or(usize::MAX));
                let shown = u64::try_from(page.len()).unwrap_or(0);
                if skip == 0 || shown > 0 {
                    let rows: Vec<Vec<Cell>> = page.iter().map(row).collect();
                    listing.page(&rows)?;
                }
                (skip, left) = (skip.saturating_add(shown), left.saturating_sub(shown));
                if !more || left == 0 {
                    listing.finish()?;
                    if more {
                        context.printer.say(&format!("{limit} shown; there are more: --limit N or --all."));
                    }
                    return Ok(Exit::Done);
                }
            }
        })
        .await
}
