//! `autopay audit`: who did what, and whether the record of it is whole. Reads only.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use domain::audit::{Head, Link, Range, Verified, moment};

use super::Context;
use super::exit::{Exit, Problem, Stop};
use super::forecast::progress;
use super::output::{Cell, Column, Format, counted};
use super::schedule::date;
use super::subscriptions::LIMIT;
use crate::app::App;
use crate::engine::verify_audit;
use crate::ports::Listed;
use crate::ports::audit::AuditFilter;

/// Lines read at once.
const PAGE: u64 = 1_000;
/// Longest file of an anchor.
const ANCHOR_MAX: u64 = 4_096;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Lists who did what to which object, why, and how it stood before and afterwards, oldest first
    #[command(after_help = "Examples:\n  autopay audit list --object ch_0f8d… -o csv\n  \
        autopay audit list --actor m.ortiz --from 2027-01-01 --until 2027-01-31 --all\n  \
        autopay audit list --action subscription --limit 50\n\n\
        Dates are days of UTC, both included. --action takes a whole action (hold.on) or its first part (hold).\n\
        -o json, jsonl and csv carry the seals: with all lines as jsonl, the chain can be computed again without autopay \
        (docs/operating.md).\nExit codes: 0, 2 wrong usage, 10 a line cannot be read, 11 database unavailable.")]
    List(List),
    /// Computes the chain again: was a line changed, left out, put in or moved?
    #[command(
        after_help = "Examples:\n  autopay audit verify\n  autopay audit verify --anchor anchor-2027-01-31.json\n\n\
        Each line is sealed under the one before it, and a head names the last. Whoever can write the whole database could write all \
        of it anew; an anchor that is kept elsewhere shows even that. Nothing is changed.\n\
        Exit codes: 0 the chain is whole, 2 wrong usage, 6 the anchor cannot be read, 10 it is broken, 11 database unavailable."
    )]
    Verify(Verify),
    /// Prints where the chain ends, to be kept where nobody can change it
    #[command(after_help = "Example:\n  autopay audit anchor -o json --out anchor-2027-01-31.json\n\n\
        autopay serve writes the same into its log every hour (event audit_anchor).\n\
        Exit codes: 0, 10 there is no head, 11 database unavailable.")]
    Anchor,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only lines about this object: a charge, subscription, plan, change set, payment method or scope
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// Only lines of this person; autopay and gateway are the machines
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this action, or all that begin with this word
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only lines of this day of UTC or later
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    from: Option<NaiveDate>,
    /// Only lines of this day of UTC or earlier
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    until: Option<NaiveDate>,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A file of autopay audit anchor -o json: the chain must hold the line it names
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
}

const FOR_PEOPLE: &[Column] = &[
    Column::number("id"),
    Column::text("at"),
    Column::text("actor"),
    Column::text("action"),
    Column::text("object"),
    Column::text("detail"),
    Column::text("reason"),
    Column::text("before"),
    Column::text("after"),
];
const WITH_SEALS: &[Column] = &[
    Column::number("id"),
    Column::text("at"),
    Column::text("actor"),
    Column::text("action"),
    Column::text("object"),
    Column::text("detail"),
    Column::text("reason"),
    Column::text("before"),
    Column::text("after"),
    Column::text("seal"),
];
const ANCHOR: &[Column] =
    &[Column::text("chain"), Column::number("last_id"), Column::text("seal"), Column::text("read_at")];
const VERIFIED: &[Column] = &[
    Column::text("whole"),
    Column::number("lines"),
    Column::text("chain"),
    Column::number("last_id"),
    Column::text("seal"),
    Column::number("broken"),
    Column::text("breaks"),
    Column::text("sound"),
];
const BREAKS: &[Column] = &[Column::text("what")];
const SOUND: &[Column] = &[Column::number("from"), Column::number("to")];

fn number(id: i64) -> Cell {
    Cell::Number(id.unsigned_abs())
}

fn row(link: Link, seals: bool) -> Vec<Cell> {
    let Link { id, line, seal } = link;
    let mut cells = vec![
        number(id),
        Cell::Text(moment(line.at)),
        Cell::Text(line.actor),
        Cell::Text(line.action),
        Cell::Text(line.object),
        Cell::Text(line.detail),
        Cell::maybe(line.reason, Cell::Text),
        Cell::maybe(line.before, Cell::Text),
        Cell::maybe(line.after, Cell::Text),
    ];
    if seals {
        cells.push(Cell::text(seal));
    }
    cells
}

fn start_of(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

pub(super) async fn run(command: Audit, context: &Context) -> Result<Exit, Stop> {
    match command {
        Audit::List(command) => context.with_app(async |app, _| list(&command, app, context).await).await,
        Audit::Verify(command) => {
            let anchor = command.anchor.as_deref().map(read_anchor).transpose()?;
            context.with_app(async |app, _| verify(anchor, app, context).await).await
        }
        Audit::Anchor => context.with_app(async |app, _| anchor(app, context).await).await,
    }
}

async fn list(command: &List, app: &App, context: &Context) -> Result<Exit, Stop> {
    if let (Some(from), Some(until)) = (command.from, command.until)
        && until < from
    {
        return Err(Stop::usage("--until", until, "is before --from: write the last day that you mean"));
    }
    let filter = AuditFilter {
        object: command.object.clone(),
        actor: command.actor.clone(),
        action: command.action.clone(),
        from: command.from.map(start_of),
        until: command.until.and_then(|until| until.checked_add_days(Days::new(1))).map(start_of),
    };
    let seals = context.printer.format != Format::Table;
    let columns = if seals { WITH_SEALS } else { FOR_PEOPLE };
    let mut listing = context.printer.list(columns)?;
    let (mut after, mut left) = (None, if command.all { u64::MAX } else { command.limit });
    let mut damaged = Vec::new();
    loop {
        let page = app.store.audit_lines(&filter, &after, PAGE.min(left)).await?;
        left = left.saturating_sub(u64::try_from(page.rows.len()).unwrap_or(u64::MAX));
        let mut rows = Vec::with_capacity(page.rows.len());
        for line in page.rows {
            match line {
                Listed::Whole(link) => rows.push(row(link, seals)),
                Listed::Damaged(line) => damaged.push(line.why),
            }
        }
        listing.page(&rows)?;
        after = page.next;
        if after.is_none() || left == 0 {
            break;
        }
    }
    listing.finish()?;
    if after.is_some() {
        context.printer.say("There are more: --all lists every line.");
    }
    damaged.iter().for_each(|why| context.printer.say(why));
    Ok(if damaged.is_empty() { Exit::Done } else { Exit::Discrepancy })
}

async fn anchor(app: &App, context: &Context) -> Result<Exit, Stop> {
    let now = app.store.now().await?;
    let Some(Head { chain, last_id, seal }) = app.store.audit_head().await? else {
        let mend = "restore it from a backup; `autopay audit verify` says what the lines themselves show";
        return Err(Stop::because(
            Exit::Discrepancy,
            Problem::new("audit_head", "", "is missing or cannot be read", mend),
        ));
    };
    context.printer.record(ANCHOR, &[Cell::Text(chain), number(last_id), Cell::text(seal), Cell::At(now)])?;
    Ok(Exit::Done)
}

/// The anchor of a file, as [`anchor`] prints it in JSON.
fn read_anchor(path: &Path) -> Result<Head, Stop> {
    let place = path.display().to_string();
    let refused = |message: String| {
        let mend = "name a file that was written by autopay audit anchor -o json";
        Stop::because(Exit::BadInput, Problem::new(&place, "", message, mend))
    };
    let read = std::fs::metadata(path).and_then(|found| {
        let long = found.len() > ANCHOR_MAX;
        if long { Ok(None) } else { std::fs::read_to_string(path).map(Some) }
    });
    let text = read.map_err(|error| refused(format!("cannot be read: {}", crate::config::plainly(&error))))?;
    let text = text.ok_or_else(|| refused("is too long for an anchor".to_owned()))?;
    serde_json::from_str(&text).map_err(|error| refused(format!("is no anchor: {error}")))
}

async fn verify(anchor: Option<Head>, app: &App, context: &Context) -> Result<Exit, Stop> {
    let anchored = anchor.as_ref().map(|anchor| anchor.last_id);
    let bar = progress(None, context);
    let seen = |read, of| {
        bar.set_length(of);
        bar.set_position(read);
    };
    let verified = verify_audit(&*app.store, anchor, seen).await?;
    bar.finish_and_clear();
    let Verified { lines, head, broken, breaks, sound } = &verified;
    let (chain, last) = (head.as_ref().map(|head| head.chain.clone()), head.as_ref());
    let breaks_rows = breaks.iter().map(|one| vec![Cell::text(one)]).collect();
    let ranges = sound.iter().map(|Range { from, to }| vec![number(*from), number(*to)]).collect();
    context.printer.record(
        VERIFIED,
        &[
            Cell::Flag(verified.is_whole()),
            Cell::Number(*lines),
            Cell::maybe(chain, Cell::Text),
            Cell::maybe(last, |head| number(head.last_id)),
            Cell::maybe(last, |head| Cell::text(head.seal)),
            Cell::Number(*broken),
            Cell::Rows(BREAKS, breaks_rows),
            Cell::Rows(SOUND, ranges),
        ],
    )?;
    let read = counted(usize::try_from(*lines).unwrap_or(usize::MAX), "line", "lines");
    let Some(first) = breaks.first() else {
        let held = anchored.map(|id| format!(", and holds the anchor's line {id}")).unwrap_or_default();
        context.printer.say(&format!("The audit is whole: {read} follow from one another{held}."));
        return Ok(Exit::Done);
    };
    let places = counted(usize::try_from(*broken).unwrap_or(usize::MAX), "place", "places");
    context.printer.say(&format!("The audit is broken at {places} of {read}, first: {first}."));
    for Range { from, to } in sound {
        context.printer.say(&format!("Lines {from} to {to} follow from one another."));
    }
    Ok(Exit::Discrepancy)
}
