//! `autopay webhooks`: what the gateway delivered, and looking at it again. Bodies are never shown: they name people.

use clap::{Args, Subcommand};

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::subscriptions::LIMIT;
use super::{Context, person};
use crate::ports::webhooks::{InboxId, InboxRow, InboxState, Replayed};

/// Rows read at once.
const PAGE: u64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Webhooks {
    /// Lists deliveries of the gateway, the latest first
    #[command(after_help = "Example:\n  autopay webhooks list --state new --state waiting -o json\n\n\
        new: to be looked at. waiting: nobody listens to its kind yet. done: looked at. foreign: about nothing of ours. unknown: of a \
        name that this version does not know. unreadable: no event.\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    List(List),
    /// Puts a delivery back to new, so that `autopay serve` looks at it again
    #[command(
        after_help = "Example:\n  autopay webhooks replay wh_0f8d…\n\nLooking again changes nothing that the gateway itself does not \
        confirm.\nExit codes: 0, 2 wrong usage, 5 not found, 7 its body was emptied, 11 database unavailable."
    )]
    Replay {
        /// The delivery's id
        id: InboxId,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this state; may be repeated: new, waiting, done, foreign, unknown, unreadable
    #[arg(long = "state", value_name = "WORD", value_parser = state)]
    states: Vec<InboxState>,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

fn state(text: &str) -> Result<InboxState, String> {
    InboxState::parse(text).ok_or_else(|| {
        let words: Vec<&str> = InboxState::ALL.into_iter().map(InboxState::as_str).collect();
        format!("write one of {}", words.join(", "))
    })
}

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("event"),
    Column::text("kind"),
    Column::text("state"),
    Column::text("why"),
    Column::text("resource_id"),
    Column::text("merchant_transaction_id"),
    Column::number("deliveries"),
    Column::number("tries"),
    Column::text("received_at"),
    Column::text("last_received_at"),
    Column::text("handled_at"),
    Column::text("body"),
];

fn row(row: InboxRow) -> Vec<Cell> {
    vec![
        Cell::text(row.id),
        Cell::Text(row.name),
        Cell::Text(row.kind),
        Cell::text(row.state.as_str()),
        Cell::maybe(row.why, Cell::Text),
        Cell::maybe(row.resource_id, Cell::Text),
        Cell::maybe(row.merchant_transaction_id, Cell::Text),
        Cell::Number(row.deliveries),
        Cell::Number(row.tries.into()),
        Cell::At(row.received_at),
        Cell::At(row.last_received_at),
        Cell::maybe(row.handled_at, Cell::At),
        Cell::text(if row.has_body { "kept" } else { "emptied" }),
    ]
}

pub(super) async fn run(command: Webhooks, context: &Context) -> Result<Exit, Stop> {
    match command {
        Webhooks::List(command) => list(command, context).await,
        Webhooks::Replay { id } => {
            context
                .with_app(async |app, _| match app.inbox.replay(id, &person(), app.clock.now()).await? {
                    Replayed::Yes => {
                        context.printer.say(&format!("{id} is new again; `autopay serve` looks at it."));
                        Ok(Exit::Done)
                    }
                    Replayed::NotFound => Err(Stop::not_found("webhook", id)),
                    Replayed::Emptied => {
                        let mend = "ask the gateway about its charge instead: `autopay charges show`";
                        let place = format!("webhook {id}");
                        Err(Stop::because(
                            Exit::Conflict,
                            Problem::new(place, "", "its body was emptied after 30 days", mend),
                        ))
                    }
                })
                .await
        }
    }
}

async fn list(command: List, context: &Context) -> Result<Exit, Stop> {
    let List { states, limit, all } = command;
    context
        .with_app(async |app, _| {
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut skip = 0_u64;
            loop {
                let want = PAGE.min(left);
                // One more than is shown says whether there is more.
                let mut page = app.inbox.inbox_rows(&states, skip, want.saturating_add(1)).await?;
                let more = u64::try_from(page.len()).unwrap_or(u64::MAX) > want;
                page.truncate(usize::try_from(want).unwrap_or(usize::MAX));
                let shown = u64::try_from(page.len()).unwrap_or(0);
                if skip == 0 || shown > 0 {
                    let rows: Vec<Vec<Cell>> = page.into_iter().map(row).collect();
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
