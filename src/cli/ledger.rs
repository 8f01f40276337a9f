//! `autopay ledger`: what was billed, collected, returned, refunded, disputed and written off, and what was kept as fees, in double entry.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use domain::calendar::Zone;
use domain::forecast::compare::Month;
use domain::id::ChargeId;
use domain::ledger::Subject;
use domain::money::Money;

use super::exit::{Exit, Problem, Stop};
use super::export::zone_of;
use super::output::{Cell, Column};
use super::{Context, person, problem, schedule, usage};
use crate::app::App;
use crate::ports::ledger::{Difference, Entry, Span, Turnover, trial};

/// Entries read and printed at once.
const PAGE: u64 = 1_000;
/// Differences that are named.
const DIFFERENCES: u64 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Ledger {
    /// The trial balance: what each account was debited and credited
    #[command(
        after_help = "Example:\n  autopay ledger show --month 2027-01 --time-zone America/New_York --by plan\n\n\
        Money that is owed stands in receivable, money at the gateway in clearing. The sums of both sides are equal in each currency.\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable."
    )]
    Show(Show),
    /// Lists entries, in the order in which they count
    #[command(
        after_help = "Example:\n  autopay ledger list --charge ch_0f8d…\n  autopay ledger list --month 2027-01 -o csv\n\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable."
    )]
    List(List),
    /// Compares the ledger with every charge, refund, dispute and settled fee
    #[command(after_help = "Example:\n  autopay ledger check -o json\n\n\
        Exit codes: 0 it says what they say, 10 it does not, and whose entries are missing or too many, 11 database unavailable.")]
    Check,
    /// Posts what the ledger lacks, as of charges from before there was one; posts nothing twice
    #[command(after_help = "Example:\n  autopay ledger backfill --reason \"upgrade to 0.9\"\n\n\
        Months that are closed stay as they are: what is missing of them counts from the first open day.\n\
        Exit codes: 0 (also when nothing was missing), 2 wrong usage, 11 database unavailable.")]
    Backfill(Backfill),
}

/// Which entries, by when they count.
#[derive(Debug, Args)]
pub(super) struct When {
    /// Only those of a month
    #[arg(long, value_name = "YYYY-MM", value_parser = month)]
    month: Option<NaiveDate>,
    /// Whose civil days make the month [default: that of the closed months, else UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone, requires = "month")]
    time_zone: Option<Zone>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    when: When,
    /// A row for each account, for each plan of it, or for each plan and kind of entry
    #[arg(long, value_enum, default_value_t = By::Account)]
    by: By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Account,
    Plan,
    Entry,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    when: When,
    /// Only those about a charge, its refunds, its disputes and its fees
    #[arg(long, value_name = "ID", conflicts_with = "month")]
    charge: Option<ChargeId>,
}

#[derive(Debug, Args)]
pub(super) struct Backfill {
    /// Why
    #[arg(long)]
    reason: String,
    /// Says what is missing and posts nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

const BALANCE: &[Column] = &[
    Column::text("account"),
    Column::text("plan"),
    Column::money("debit"),
    Column::money("credit"),
    Column::money("balance"),
];
const KINDS: &[Column] = &[
    Column::text("entry"),
    Column::text("plan"),
    Column::number("plan_version"),
    Column::text("debit"),
    Column::text("credit"),
    Column::number("entries"),
    Column::money("amount"),
];
const ENTRIES: &[Column] = &[
    Column::text("booked_at"),
    Column::text("entry"),
    Column::text("debit"),
    Column::text("credit"),
    Column::money("amount"),
    Column::text("plan"),
    Column::text("charge"),
    Column::text("about"),
    Column::number("number"),
    Column::text("happened_at"),
];
const DIFFERS: &[Column] = &[
    Column::text("about"),
    Column::text("charge"),
    Column::text("what"),
    Column::money("stands"),
    Column::money("posted"),
];

/// The first day of a month.
pub(super) fn month(text: &str) -> Result<NaiveDate, String> {
    schedule::date(&format!("{text}-01")).map_err(|_| "not a month: write year-month, for example 2027-01".to_owned())
}

pub(super) fn zone(text: &str) -> Result<Zone, String> {
    Zone::parse(text).map_err(|error| error.to_string())
}

/// The instants of a month.
pub(super) fn span_of(first: NaiveDate, zone: &Zone) -> Result<Span, Stop> {
    let bounds = zone.instant(first, NaiveTime::MIN).and_then(|from| Ok((from, Month::of(first, zone)?.ends_at)));
    let bounds = bounds.map_err(|error| Stop::usage("--month", first.format("%Y-%m"), &error.to_string()))?;
    Ok(Span { from: Some(bounds.0), until: Some(bounds.1) })
}

impl When {
    async fn span(&self, app: &App) -> Result<Span, Stop> {
        let Some(first) = self.month else { return Ok(Span::default()) };
        let zone = zone_of(&app.store.books().await?, self.time_zone.as_ref())?;
        span_of(first, &zone)
    }
}

pub(super) async fn run(command: Ledger, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| match command {
            Ledger::Show(command) => show(&command, app, context).await,
            Ledger::List(command) => list(&command, app, context).await,
            Ledger::Check => check(app, context).await,
            Ledger::Backfill(command) => backfill(&command, app, context).await,
        })
        .await
}

async fn show(command: &Show, app: &App, context: &Context) -> Result<Exit, Stop> {
    let turnovers = app.store.turnovers(command.when.span(app).await?).await?;
    if command.by == By::Entry {
        let rows: Vec<Vec<Cell>> = turnovers.iter().map(kind).collect();
        context.printer.rows(KINDS, &rows)?;
        return Ok(Exit::Done);
    }
    let mut rows = Vec::new();
    for ((account, plan, currency), sides) in trial(&turnovers, command.by == By::Plan) {
        let money = |minor: Option<i64>| minor.map(|minor| Cell::Money(Money::new(minor, currency)));
        let cells = (money(sides.debit()), money(sides.credit()), money(sides.balance()));
        let (Some(debit), Some(credit), Some(balance)) = cells else {
            let message = "comes to more than can be written";
            return Err(Stop::because(Exit::Failed, Problem::new(account.as_str(), "", message, "ask for one month")));
        };
        rows.push(vec![Cell::text(account.as_str()), Cell::maybe(plan, Cell::text), debit, credit, balance]);
    }
    context.printer.rows(BALANCE, &rows)?;
    Ok(Exit::Done)
}

fn kind(turnover: &Turnover) -> Vec<Cell> {
    let (debit, credit) = turnover.posted.accounts();
    vec![
        Cell::text(turnover.posted.as_str()),
        Cell::maybe(turnover.plan.as_ref(), Cell::text),
        Cell::Number(turnover.plan_version.into()),
        Cell::text(debit.as_str()),
        Cell::text(credit.as_str()),
        Cell::Number(turnover.entries),
        Cell::Money(Money::new(turnover.minor, turnover.currency)),
    ]
}

fn row(entry: &Entry) -> Vec<Cell> {
    let posting = &entry.posting;
    vec![
        Cell::At(entry.booked_at),
        Cell::text(posting.posted.as_str()),
        Cell::text(posting.debit().as_str()),
        Cell::text(posting.credit().as_str()),
        Cell::Money(posting.amount),
        Cell::maybe(posting.plan.as_ref(), Cell::text),
        Cell::maybe(posting.charge, Cell::text),
        Cell::text(posting.subject),
        Cell::Number(posting.number.into()),
        Cell::At(posting.at),
    ]
}

async fn list(command: &List, app: &App, context: &Context) -> Result<Exit, Stop> {
    let mut listing = context.printer.list(ENTRIES)?;
    if let Some(charge) = command.charge {
        let rows: Vec<Vec<Cell>> = app.store.entries_of(charge).await?.iter().map(row).collect();
        listing.page(&rows)?;
        listing.finish()?;
        return Ok(Exit::Done);
    }
    let span = command.when.span(app).await?;
    let mut after = None;
    loop {
        let page = app.store.entries(span, after, PAGE).await?;
        let rows: Vec<Vec<Cell>> = page.iter().map(row).collect();
        listing.page(&rows)?;
        match page.last() {
            Some(last) => after = Some(last.place()),
            None => break,
        }
    }
    listing.finish()?;
    Ok(Exit::Done)
}

fn differs(difference: &Difference) -> Vec<Cell> {
    let money = |minor| Cell::Money(Money::new(minor, difference.currency));
    vec![
        Cell::text(difference.subject),
        Cell::maybe(difference.charge, Cell::text),
        Cell::text(difference.what),
        money(difference.stands),
        money(difference.posted),
    ]
}

async fn check(app: &App, context: &Context) -> Result<Exit, Stop> {
    let differences = app.store.differences(DIFFERENCES).await?;
    let rows: Vec<Vec<Cell>> = differences.iter().map(differs).collect();
    context.printer.rows(DIFFERS, &rows)?;
    if rows.is_empty() {
        context.printer.say("The ledger says what every charge, refund, dispute and settled fee says.");
        return Ok(Exit::Done);
    }
    let mend = "`autopay ledger backfill` posts what is missing; what is too much was written behind autopay's back";
    let count = super::output::counted(rows.len(), "entry differs", "entries differ");
    Err(Stop::because(
        Exit::Discrepancy,
        problem(format!("{count} from what the charges, refunds, disputes and settled fees say"), mend),
    ))
}

async fn backfill(command: &Backfill, app: &App, context: &Context) -> Result<Exit, Stop> {
    if command.reason.trim().is_empty() {
        return Err(Stop::because(Exit::Usage, usage::refused("--reason", "", "is empty: say why")));
    }
    if command.dry_run {
        let missing = app.store.differences(DIFFERENCES).await?;
        let rows: Vec<Vec<Cell>> = missing.iter().map(differs).collect();
        context.printer.rows(DIFFERS, &rows)?;
        context.printer.say("Nothing was posted.");
        return Ok(Exit::Done);
    }
    let at: DateTime<Utc> = app.store.now().await?;
    let (mut after, mut added, mut unreadable): (Option<Subject>, u64, u64) = (None, 0, 0);
    loop {
        let done = app.store.mend_ledger(after, PAGE, at, (&person(), &command.reason)).await?;
        added += done.added;
        unreadable += done.unreadable;
        after = done.next;
        if after.is_none() {
            break;
        }
    }
    context.printer.say(&format!("{added} entries were missing and are posted."));
    if unreadable > 0 {
        context
            .printer
            .say(&format!("{unreadable} rows cannot be read and were left out: `autopay doctor` names them."));
    }
    Ok(Exit::Done)
}
