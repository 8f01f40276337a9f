//! `autopay period`: months that are closed, and what keeps one open.

use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand, ValueEnum};
use domain::calendar::Zone;
use domain::change::same_person;
use sha2::{Digest as _, Sha256};

use super::exit::{Exit, Problem, Stop};
use super::export::{standing, zone_of};
use super::ledger::{month, span_of, zone};
use super::output::{Cell, Column, counted};
use super::{Context, named_person, problem};
use crate::app::App;
use crate::ports::books::{Blocker, Books, Closed, Closing, Obstacle, Period as Row, Reopened};
use crate::ports::ledger::Span;

/// Blockers that are named.
const BLOCKERS: u64 = 10_000;
/// Entries read at once.
const PAGE: u64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Period {
    /// Lists the months that were closed, or shows how one stands
    #[command(after_help = "Example:\n  autopay period show 2027-01 --verify\n\n\
        Exit codes: 0, 2 wrong usage, 10 the entries of a closed month are not those that were sealed, 11 database unavailable.")]
    Show(Show),
    /// Closes a month: no entry counts before its end any more
    #[command(after_help = "Example:\n  autopay period close 2027-01 --time-zone America/New_York --dry-run\n\n\
        What is not known, under way, held, not recorded or not posted keeps a month open. A second person may waive all but the last.\n\
        What happened in a closed month and is learnt later counts from the first open instant.\n\
        Exit codes: 0 (also when it was closed before), 2 wrong usage, 4 who you are is not known, 7 another month comes first, 10 blocked, \
        11 database unavailable.")]
    Close(Close),
    /// Says that something is no reason to keep a month open; whoever closes it cannot have said so
    #[command(
        after_help = "Example:\n  autopay period waive 2027-01 --blocker outcome_unknown --culprit ch_0f8d… --reason \"written off in March\"\n\n\
        Exit codes: 0, 2 wrong usage, 4 who you are is not known, 5 nothing of that kind keeps the month open, 11 database unavailable."
    )]
    Waive(Waive),
    /// Opens the month again that was closed last; it takes two people
    #[command(after_help = "Example:\n  autopay period reopen 2027-01 --reason \"a refund was booked twice\"\n\n\
        Exit codes: 0, 2 wrong usage, 4 who you are is not known, 7 it is not the last that was closed, 8 a second person has to say so too, \
        11 database unavailable.")]
    Reopen(Reopen),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The month; all of them without one
    #[arg(value_name = "YYYY-MM", value_parser = month)]
    month: Option<NaiveDate>,
    /// Whose civil days it has, as long as no month was closed
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<Zone>,
    /// Reads every entry of a closed month and compares them with its seal
    #[arg(long, requires = "month")]
    verify: bool,
}

#[derive(Debug, Args)]
pub(super) struct Close {
    /// The month
    #[arg(value_name = "YYYY-MM", value_parser = month)]
    month: NaiveDate,
    /// Whose civil days it has; the first month that is closed decides for all [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<Zone>,
    /// Why
    #[arg(long, default_value = "month end", value_parser = super::hold::reason)]
    reason: String,
    /// Says what keeps it open and closes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Waive {
    /// The month
    #[arg(value_name = "YYYY-MM", value_parser = month)]
    month: NaiveDate,
    /// What keeps it open
    #[arg(long, value_enum)]
    blocker: Waivable,
    /// Whose fault it is, as `period close --dry-run` names it
    #[arg(long, value_name = "ID")]
    culprit: String,
    /// Why it is no reason
    #[arg(long, value_parser = super::hold::reason)]
    reason: String,
    /// Says whether it could be waived and records nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Whose civil days the month has, as long as none was closed
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<Zone>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Waivable {
    OutcomeUnknown,
    UnderWay,
    Held,
    NotRecorded,
    Unmatched,
}

impl Waivable {
    const fn obstacle(self) -> Obstacle {
        match self {
            Self::OutcomeUnknown => Obstacle::OutcomeUnknown,
            Self::UnderWay => Obstacle::UnderWay,
            Self::Held => Obstacle::Held,
            Self::NotRecorded => Obstacle::NotRecorded,
            Self::Unmatched => Obstacle::Unmatched,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Reopen {
    /// The month
    #[arg(value_name = "YYYY-MM", value_parser = month)]
    month: NaiveDate,
    /// Why
    #[arg(long, value_parser = super::hold::reason)]
    reason: String,
    /// Says what it would come to and records nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

const PERIODS: &[Column] = &[
    Column::text("month"),
    Column::text("standing"),
    Column::text("zone"),
    Column::text("closed_at"),
    Column::text("closed_by"),
    Column::text("reason"),
    Column::number("entries"),
    Column::text("sha256"),
    Column::text("reopened_at"),
    Column::text("reopened_by"),
];
const BLOCKED: &[Column] = &[
    Column::text("blocker"),
    Column::text("culprit"),
    Column::money("amount"),
    Column::text("waived_by"),
    Column::text("action"),
];

fn row(period: &Row) -> Vec<Cell> {
    let standing = if period.reopened_at.is_some() { "reopened" } else { "closed" };
    vec![
        Cell::text(&period.month),
        Cell::text(standing),
        Cell::text(&period.zone),
        Cell::At(period.closed_at),
        Cell::text(&period.closed_by),
        Cell::text(&period.reason),
        Cell::maybe(period.entries, Cell::Number),
        Cell::maybe(period.digest.as_ref(), Cell::text),
        Cell::maybe(period.reopened_at, Cell::At),
        Cell::maybe(period.reopened_by.as_ref(), Cell::text),
    ]
}

fn blocked(blocker: &Blocker) -> Vec<Cell> {
    vec![
        Cell::text(blocker.obstacle.as_str()),
        Cell::text(&blocker.culprit),
        Cell::maybe(blocker.amount, Cell::Money),
        Cell::maybe(blocker.waived_by.as_ref(), Cell::text),
        Cell::text(blocker.obstacle.action()),
    ]
}

/// A month in the books: its name, its zone and its instants.
struct Named {
    month: String,
    zone: Zone,
    span: Span,
    books: Books,
}

async fn named(first: NaiveDate, said: Option<&Zone>, app: &App) -> Result<Named, Stop> {
    let books = app.store.books().await?;
    let zone = zone_of(&books, said)?;
    Ok(Named { month: first.format("%Y-%m").to_string(), span: span_of(first, &zone)?, zone, books })
}

/// Everything that keeps a month open: what charges, refunds and subscriptions say, and whatever the ledger lacks.
async fn blockers(named: &Named, app: &App) -> Result<Vec<Blocker>, Stop> {
    let Some(until) = named.span.until else { return Ok(Vec::new()) };
    let mut blockers = app.store.blockers(&named.month, until, BLOCKERS).await?;
    let unposted = app.store.differences(BLOCKERS).await?;
    blockers.extend(unposted.into_iter().map(|one| Blocker {
        obstacle: Obstacle::Unposted,
        culprit: one.subject.to_string(),
        amount: None,
        waived_by: None,
    }));
    Ok(blockers)
}

pub(super) async fn run(command: Period, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| match command {
            Period::Show(command) => show(&command, app, context).await,
            Period::Close(command) => close(&command, app, context).await,
            Period::Waive(command) => waive(&command, app, context).await,
            Period::Reopen(command) => reopen(&command, app, context).await,
        })
        .await
}

async fn show(command: &Show, app: &App, context: &Context) -> Result<Exit, Stop> {
    let Some(first) = command.month else {
        let rows: Vec<Vec<Cell>> = app.store.books().await?.periods.iter().map(row).collect();
        context.printer.rows(PERIODS, &rows)?;
        return Ok(Exit::Done);
    };
    let named = named(first, command.time_zone.as_ref(), app).await?;
    let closed = named.books.periods.iter().rev().find(|one| one.month == named.month && one.reopened_at.is_none());
    let Some(closed) = closed else {
        let rows: Vec<Vec<Cell>> = blockers(&named, app).await?.iter().map(blocked).collect();
        context.printer.rows(BLOCKED, &rows)?;
        let standing = standing(&named.books, &named.month);
        let count = counted(rows.len(), "thing keeps it open", "things keep it open");
        context.printer.say(&format!("{} ({}) is {standing}; {count}.", named.month, named.zone.name()));
        return Ok(Exit::Done);
    };
    context.printer.record(PERIODS, &row(closed))?;
    if command.verify {
        let (entries, digest) = sealed(named.span, app).await?;
        if closed.digest.as_ref() != Some(&digest) {
            let message = format!("has {entries} entries that are not those it was closed with");
            let mend = "compare it with a backup: somebody wrote behind autopay's back";
            return Err(Stop::because(
                Exit::Discrepancy,
                Problem::new(format!("month {}", named.month), "", message, mend),
            ));
        }
        context.printer.say(&format!("Its {entries} entries are those it was closed with."));
    }
    Ok(Exit::Done)
}

/// The entries of a span: how many, and their digest in the order of the ledger.
async fn sealed(span: Span, app: &App) -> Result<(u64, String), Stop> {
    let (mut digest, mut entries, mut after) = (Sha256::new(), 0_u64, None);
    loop {
        let page = app.store.entries(span, after, PAGE).await?;
        for entry in &page {
            digest.update(entry.sealed().as_bytes());
            entries = entries.saturating_add(1);
        }
        match page.last() {
            Some(last) => after = Some(last.place()),
            None => return Ok((entries, hex::encode(digest.finalize()))),
        }
    }
}

fn refused(blockers: &[Blocker], month: &str) -> Stop {
    let open = blockers.len();
    let message = format!("{} {month} open", counted(open, "thing keeps", "things keep"));
    Stop::because(
        Exit::Discrepancy,
        problem(message, "do what the list says, or let a second person waive it: autopay period waive"),
    )
}

/// Was this very month closed, and not opened again?
fn is_closed(books: &Books, month: &str) -> bool {
    books.periods.iter().any(|one| one.month == month && one.reopened_at.is_none())
}

fn not_next(month: &str, closed: DateTime<Utc>, from: DateTime<Utc>) -> Stop {
    let message = format!("is not the next to close: the books are closed until {closed}");
    let mend = if from < closed {
        "close later months: it lies before the first that was closed, and nothing is posted in it any more"
    } else {
        "close the months in their order"
    };
    Stop::because(Exit::Conflict, Problem::new(format!("month {month}"), "", message, mend))
}

async fn close(command: &Close, app: &App, context: &Context) -> Result<Exit, Stop> {
    let by = named_person()?;
    let named = named(command.month, command.time_zone.as_ref(), app).await?;
    let Span { from: Some(from), until: Some(until) } = named.span else { return Ok(Exit::Done) };
    let now = app.store.now().await?;
    if until > now {
        let message = "is not over yet";
        return Err(Stop::because(
            Exit::Conflict,
            Problem::new(format!("month {}", named.month), "", message, "close it afterwards"),
        ));
    }
    let found = blockers(&named, app).await?;
    let open: Vec<Blocker> = found
        .iter()
        .filter(|one| one.waived_by.as_ref().is_none_or(|other| same_person(other, &by)))
        .cloned()
        .collect();
    if let Some(closed) = named.books.closed_until.filter(|closed| *closed >= until)
        && !is_closed(&named.books, &named.month)
    {
        return Err(not_next(&named.month, closed, from));
    }
    let is_closed = is_closed(&named.books, &named.month);
    if command.dry_run || (!open.is_empty() && !is_closed) {
        let rows: Vec<Vec<Cell>> = found.iter().map(blocked).collect();
        context.printer.rows(BLOCKED, &rows)?;
        if !open.is_empty() {
            return Err(refused(&open, &named.month));
        }
        context.printer.say(&format!("Nothing keeps {} open. Nothing was changed.", named.month));
        return Ok(Exit::Done);
    }
    let closing = Closing {
        month: named.month.clone(),
        zone: named.zone.name().to_owned(),
        bounds: (from, until),
        by,
        reason: command.reason.clone(),
        at: now,
    };
    let place = || format!("month {}", named.month);
    match app.store.close_month(&closing).await? {
        Closed::Yes | Closed::Already => {}
        Closed::NotNext(closed) => return Err(not_next(&named.month, closed, from)),
        Closed::OtherZone(kept_in) => {
            let message = format!("has other days than the closed months, which are those of {kept_in}");
            return Err(Stop::because(Exit::Conflict, Problem::new(place(), "", message, "leave --time-zone out")));
        }
        Closed::Blocked(blockers) => return Err(refused(&blockers, &named.month)),
        Closed::Busy => return Err(busy()),
    }
    // Nobody can add to it from here on; whoever died before this line closes it again, and seals it.
    let (entries, digest) = sealed(named.span, app).await?;
    app.store.seal_month(&named.month, entries, &digest).await?;
    context.printer.say(&format!(
        "{} is closed: {}, sha256 {digest}.",
        named.month,
        counted(usize::try_from(entries).unwrap_or(usize::MAX), "entry", "entries")
    ));
    Ok(Exit::Done)
}

async fn waive(command: &Waive, app: &App, context: &Context) -> Result<Exit, Stop> {
    let by = named_person()?;
    let named = named(command.month, command.time_zone.as_ref(), app).await?;
    let obstacle = command.blocker.obstacle();
    let found = blockers(&named, app).await?;
    if !found.iter().any(|one| one.obstacle == obstacle && one.culprit == command.culprit) {
        let mend = format!("`autopay period show {}` lists what does", named.month);
        let message = format!("does not keep {} open as {}", named.month, obstacle.as_str());
        return Err(Stop::because(Exit::NotFound, Problem::new("--culprit", &command.culprit, message, mend)));
    }
    if command.dry_run {
        let waived = found.iter().find(|one| one.obstacle == obstacle && one.culprit == command.culprit);
        let said = match waived.and_then(|one| one.waived_by.as_ref()) {
            Some(first) => format!("was waived before, by {first}"),
            None => "can be waived; somebody else would close the month".to_owned(),
        };
        context.printer.say(&format!("{} of {} {said}. Nothing was changed.", obstacle.as_str(), command.culprit));
        return Ok(Exit::Done);
    }
    let at = app.store.now().await?;
    let new = app.store.waive(&named.month, (obstacle, &command.culprit), (&by, &command.reason), at).await?;
    let said = if new { "is waived" } else { "was waived before" };
    context.printer.say(&format!(
        "{} of {} {said}: somebody else closes the month.",
        obstacle.as_str(),
        command.culprit
    ));
    Ok(Exit::Done)
}

fn not_the_last(month: &str) -> Stop {
    let mend = "`autopay period show` lists the closed months; the last of them can be opened";
    let message = "is not the month that was closed last";
    Stop::because(Exit::Conflict, Problem::new(format!("month {month}"), "", message, mend))
}

fn busy() -> Stop {
    let message = "somebody has been writing to the ledger for too long to wait for, and nothing was changed";
    let mend = "run it again; if it stays so, look for a transaction that is left open (pg_stat_activity) and end it";
    Stop::because(Exit::Unavailable, problem(message, mend))
}

/// What opening a month would come to, said by `by`.
async fn would_reopen(month: &str, by: &str, app: &App, context: &Context) -> Result<Exit, Stop> {
    let books = app.store.books().await?;
    let is_last = |one: &&Row| one.reopened_at.is_none() && books.closed_until == Some(one.until_at);
    let Some(closed) = books.periods.iter().find(is_last).filter(|one| one.month == month) else {
        return Err(not_the_last(month));
    };
    let said = match &closed.reopen_asked_by {
        Some(first) if first == by => "stays closed: you said already that it may be opened, and it takes two people",
        Some(_) => "would be open again: you are the second person to say so",
        None => "stays closed: your word would be recorded, and it takes two people",
    };
    context.printer.say(&format!("{month} {said}. Nothing was changed."));
    Ok(Exit::Done)
}

async fn reopen(command: &Reopen, app: &App, context: &Context) -> Result<Exit, Stop> {
    let by = named_person()?;
    let month = command.month.format("%Y-%m").to_string();
    let at = app.store.now().await?;
    let place = format!("month {month}");
    if command.dry_run {
        return would_reopen(&month, &by, app, context).await;
    }
    match app.store.reopen_month(&month, (&by, &command.reason), at).await? {
        Reopened::Yes(first) => {
            context.printer.say(&format!(
                "{month} is open again: {first} and {by} said so. Journals that were handed on are of before."
            ));
            Ok(Exit::Done)
        }
        asked @ (Reopened::AsksASecond | Reopened::SamePerson) => {
            let message = match asked {
                Reopened::SamePerson => "is closed, and you said already that it may be opened",
                _ => "is closed: your word is recorded, and it takes two people",
            };
            let mend = "another person repeats the command, under a name of their own (AUTOPAY_USER)";
            Err(Stop::because(Exit::Waiting, Problem::new(place, "", message, mend)))
        }
        Reopened::NotTheLast => Err(not_the_last(&month)),
        Reopened::Busy => Err(busy()),
    }
}
