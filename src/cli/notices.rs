//! `autopay notices`: what payers are to be told of charges to come, what reached them, and what was told elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};

use domain::agenda::{Cycle, cycles};
use domain::id::SubscriptionId;
use domain::money::Money;
use domain::notice::{Kind, charged_before, duty};
use domain::plan::{Catalog, Plan};
use domain::subscription::Subscription;

use super::exit::{Exit, Problem, Stop, told};
use super::imports::{read, write_report};
use super::output::{Cell, Column};
use super::subscriptions::LIMIT;
use super::{Context, person};
use crate::app::App;
use crate::config::Config;
use crate::files::{NoticeLine, NoticeSheetRow, RowMistake, Told, read_notices, report_notices};
use crate::ports::notices::{Noted, NoticeFilter, NoticeRow, Sent};

/// Rows read, and ids looked up, at once.
const PAGE: u64 = 1_000;
/// Cycles looked through for the one that is charged on a day.
const CYCLES_MAX: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Notices {
    /// Lists notices by the day of their charge
    #[command(after_help = "Example:\n  autopay notices list --state missed -o csv\n\n\
        asked: the endpoint was asked to tell the payer. delivered: it did, or a person said so. missed: its last day passed without.\n\
        A charge that owes a notice waits until the payer was told.\nExit codes: 0, 2 wrong usage, 11 database unavailable.")]
    List(List),
    /// Says that a payer was told, by letter for example; or, with a file, that many were
    #[command(
        after_help = "Example:\n  autopay notices mark --subscription sub-0001 --cycle 12 --delivered-at 2027-03-01\n  \
        autopay notices mark letters.csv --dry-run\n\n\
        The amount is what the cycle costs now, and --delivered-at the present moment, unless said otherwise.\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 6 input has errors, 11 database unavailable."
    )]
    Mark(Mark),
    /// Takes in notices that another system sent before a move; a second time nothing happens
    #[command(
        after_help = "Example:\n  autopay notices import sent-before.csv --dry-run --report sent-before.report.csv\n\n\
        Columns: subscription_id, cycle or charge_on, delivered_at, amount, and kind where wanted. CSV or .xlsx; all rows or none.\n\
        Exit codes: 0, 2 wrong usage, 6 input has errors, nothing was changed, 11 database unavailable."
    )]
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only this state: asked, delivered or missed
    #[arg(long, value_name = "WORD", value_parser = ["asked", "delivered", "missed"])]
    state: Option<String>,
    /// Only this subscription's
    #[arg(long, value_parser = subscription)]
    subscription: Option<SubscriptionId>,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Mark {
    /// A table of notices, as CSV or as an Excel workbook (.xlsx); - is standard input
    #[arg(conflicts_with_all = ["subscription", "cycle", "delivered_at"], required_unless_present = "subscription")]
    file: Option<PathBuf>,
    /// Whose
    #[arg(long, value_parser = subscription, requires = "cycle")]
    subscription: Option<SubscriptionId>,
    /// Of which cycle
    #[arg(long, requires = "subscription")]
    cycle: Option<u32>,
    /// When: a day where the payer lives, or an instant with its zone [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    delivered_at: Option<Told>,
    /// Checks everything, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// A table of notices, as CSV or as an Excel workbook (.xlsx); - is standard input
    file: PathBuf,
    /// Which sheet of a workbook [default: the first that is not hidden]
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// Checks everything, as the import would, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Writes the same table back as CSV, with the columns row_status, error_code, error and how_to_fix
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn subscription(text: &str) -> Result<SubscriptionId, String> {
    SubscriptionId::parse(text).map_err(|error| error.to_string())
}

fn moment(text: &str) -> Result<Told, String> {
    let at = DateTime::parse_from_rfc3339(text).map(|at| Told::At(at.to_utc()));
    at.or_else(|_| text.parse().map(Told::On))
        .map_err(|_| "write a day, such as 2027-01-31, or an instant with its zone".to_owned())
}

const COLUMNS: &[Column] = &[
    Column::text("subscription"),
    Column::number("cycle"),
    Column::text("kind"),
    Column::money("amount"),
    Column::text("charge_on"),
    Column::text("deliver_from"),
    Column::text("deliver_by"),
    Column::text("state"),
    Column::text("asked_at"),
    Column::text("delivered_at"),
    Column::text("delivered_by"),
    Column::text("template"),
    Column::text("rule"),
    Column::text("event"),
];

const DONE: &[Column] = &[
    Column::number("rows"),
    Column::number("good"),
    Column::number("bad"),
    Column::number("added"),
    Column::number("changed"),
    Column::number("unchanged"),
    Column::text("applied"),
];

fn row(row: NoticeRow, today: NaiveDate) -> Vec<Cell> {
    let state = match (row.delivered_at, row.by) {
        (Some(_), _) => "delivered",
        (None, Some(by)) if by < today => "missed",
        (None, _) => "asked",
    };
    vec![
        Cell::Text(row.subscription),
        Cell::Number(row.cycle.into()),
        Cell::Text(row.kind),
        Cell::Money(row.amount),
        Cell::On(row.on),
        Cell::maybe(row.from, Cell::On),
        Cell::maybe(row.by, Cell::On),
        Cell::text(state),
        Cell::maybe(row.asked_at, Cell::At),
        Cell::maybe(row.delivered_at, Cell::At),
        Cell::maybe(row.delivered_by, Cell::Text),
        Cell::Text(row.template),
        Cell::Text(row.rule),
        Cell::Text(row.event),
    ]
}

pub(super) async fn run(command: Notices, context: &Context) -> Result<Exit, Stop> {
    match command {
        Notices::List(command) => list(command, context).await,
        Notices::Mark(Mark { file: Some(file), dry_run, .. }) => {
            import(Import { file, sheet: None, dry_run, report: None }, context).await
        }
        Notices::Mark(command) => mark(command, context).await,
        Notices::Import(command) => import(command, context).await,
    }
}

async fn list(command: List, context: &Context) -> Result<Exit, Stop> {
    let List { state, subscription, limit, all } = command;
    context
        .with_app(async |app, _| {
            // The day in Greenwich: the last day of a notice is the payer's own, so a row may be called missed some hours late.
            let today = app.store.now().await?.date_naive();
            let missed_on = (state.as_deref() == Some("missed")).then_some(today);
            let delivered = state.as_deref().map(|state| state == "delivered");
            let filter = NoticeFilter { subscription: subscription.clone(), delivered, missed_on };
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if all { u64::MAX } else { limit };
            let mut after = None;
            loop {
                let (page, next) = app.store.notices(&filter, &after, PAGE.min(left)).await?;
                left = left.saturating_sub(u64::try_from(page.len()).unwrap_or(u64::MAX));
                let rows: Vec<Vec<Cell>> = page.into_iter().map(|one| row(one, today)).collect();
                listing.page(&rows)?;
                if next.is_none() || left == 0 {
                    listing.finish()?;
                    if next.is_some() {
                        context.printer.say(&format!("{limit} shown; there are more: --limit N or --all."));
                    }
                    return Ok(Exit::Done);
                }
                after = next;
            }
        })
        .await
}

async fn mark(command: Mark, context: &Context) -> Result<Exit, Stop> {
    let Mark { subscription: Some(id), cycle: Some(cycle), delivered_at, dry_run, .. } = command else {
        return Ok(Exit::Usage);
    };
    context
        .with_app(async |app, config| {
            let now = app.store.now().await?;
            let catalog = app.store.catalog().await?;
            let Some(view) = app.store.subscription(&id).await? else {
                return Err(Stop::not_found("subscription", id));
            };
            let row = view.subscription;
            let refused = |message: String, mend: &str| {
                Stop::because(Exit::NotFound, Problem::new("--cycle", cycle.to_string(), message, mend))
            };
            let plan = catalog.plans.get(&row.plan);
            let planned = plan.and_then(|plan| Some((plan, cycles(plan, &row, cycle).ok()?.next()?.ok()?)));
            let Some((plan, planned)) = planned else {
                return Err(refused(
                    "is no cycle of the subscription".to_owned(),
                    "`autopay subscriptions schedule` shows them",
                ));
            };
            let facts = app.store.notice_facts(std::slice::from_ref(&id)).await?;
            let last = charged_before(plan, &row, cycle, facts.get(&id));
            let kind = duty(plan, &row, &planned, last).map_or(Kind::EveryCharge, |duty| duty.kind);
            let delivered_at = delivered_at.map_or(now, |told| instant(plan, &row, told, now));
            if delivered_at > now {
                let mend = "write when the payer was told, once that has happened";
                let problem = Problem::new("--delivered-at", "", "lies in the future", mend);
                return Err(Stop::because(Exit::Usage, problem));
            }
            let sent = Sent {
                subscription: id,
                cycle,
                kind,
                amount: planned.amount,
                on: planned.occurrence.submit_on,
                delivered_at,
            };
            let noted = note(app, config, std::slice::from_ref(&sent), dry_run, now).await?;
            finish(context, (1, 1, 0), noted, dry_run)?;
            let Sent { subscription, amount, on, .. } = &sent;
            let verb = if dry_run { "would be" } else { "is" };
            context.printer.say(&format!(
                "The notice of {amount} on {on}, cycle {cycle} of {subscription}, {verb} known as delivered."
            ));
            Ok(Exit::Done)
        })
        .await
}

/// The instant of a day is its noon where the payer lives, and on the morning of today the present one: the day is what counts.
fn instant(plan: &Plan, subscription: &Subscription, told: Told, now: DateTime<Utc>) -> DateTime<Utc> {
    let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
    let noon = NaiveTime::from_hms_opt(12, 0, 0).unwrap_or_default();
    match told {
        Told::At(at) => at,
        Told::On(on) => {
            let is_today = zone.civil(now).is_ok_and(|civil| civil.date == on);
            let at = zone.instant(on, noon).unwrap_or_else(|_| on.and_time(noon).and_utc());
            if is_today { at.min(now) } else { at }
        }
    }
}

async fn note(app: &App, config: &Config, sent: &[Sent], dry_run: bool, now: DateTime<Utc>) -> Result<Noted, Stop> {
    Ok(app.store.note_sent(config.merchant(), sent, (&person(), !dry_run), now).await?)
}

fn finish(
    context: &Context,
    (rows, good, bad): (usize, usize, usize),
    noted: Noted,
    dry_run: bool,
) -> Result<(), Stop> {
    let number = |count: usize| Cell::Number(count.try_into().unwrap_or(u64::MAX));
    let applied = bad == 0 && !dry_run;
    let row = [
        number(rows),
        number(good),
        number(bad),
        number(noted.added),
        number(noted.changed),
        number(noted.unchanged),
        Cell::Flag(applied),
    ];
    context.printer.record(DONE, &row)?;
    if dry_run {
        context.printer.say("DRY RUN: nothing was changed.");
    } else if bad > 0 {
        context.printer.say("Nothing was changed. Correct the rows and hand the file in again.");
    }
    Ok(())
}

async fn import(command: Import, context: &Context) -> Result<Exit, Stop> {
    let bytes = read(&command.file)?;
    let label =
        if command.file.as_os_str() == "-" { "standard input".to_owned() } else { command.file.display().to_string() };
    context
        .with_app(async |app, config| {
            let now = app.store.now().await?;
            let catalog = app.store.catalog().await?;
            let mut sheet = read_notices(&label, &bytes, command.sheet.as_deref());
            let known = known(app, sheet.rows.iter().filter_map(|row| row.outcome.as_ref().ok())).await?;
            let mut sent = Vec::new();
            for NoticeSheetRow { outcome, .. } in &mut sheet.rows {
                let Ok(line) = outcome.clone() else { continue };
                match understood(&line, &catalog, &known, now) {
                    Ok(one) => sent.push(one),
                    Err(wrong) => *outcome = Err(wrong),
                }
            }
            let mistakes = sheet.mistakes(&label);
            let clean = mistakes.is_empty();
            if let Some(path) = &command.report {
                write_report(path, &report_notices(&sheet, clean && !command.dry_run))?;
            }
            let (rows, good) = (sheet.rows.len(), sent.len());
            let noted = match clean {
                true => note(app, config, &sent, command.dry_run, now).await?,
                false => Noted::default(),
            };
            let bad = if clean { 0 } else { rows.saturating_sub(good).max(1) };
            let printed = finish(context, (rows, good, bad), noted, command.dry_run);
            let decided = if clean { Ok(Exit::Done) } else { Err(Stop::from(mistakes)) };
            told(decided, printed)
        })
        .await
}

async fn known(
    app: &App,
    lines: impl Iterator<Item = &NoticeLine>,
) -> Result<BTreeMap<SubscriptionId, Subscription>, Stop> {
    let ids: Vec<SubscriptionId> = lines.map(|line| line.subscription.clone()).collect();
    let mut known = BTreeMap::new();
    for page in ids.chunks(usize::try_from(PAGE).unwrap_or(usize::MAX)) {
        known.extend(app.store.existing(page).await?.into_iter().map(|row| (row.id.clone(), row)));
    }
    Ok(known)
}

/// What a row means in this book.
fn understood(
    line: &NoticeLine,
    catalog: &Catalog,
    known: &BTreeMap<SubscriptionId, Subscription>,
    now: DateTime<Utc>,
) -> Result<Sent, Vec<RowMistake>> {
    let wrong = |column: &str, code, value: String, message: String, mend: &str| {
        vec![RowMistake { column: column.to_owned(), code, value, message, mend: mend.to_owned(), place: None }]
    };
    let id = &line.subscription;
    let Some(row) = known.get(id) else {
        let mend = "import the subscription first, or correct the id";
        return Err(wrong(
            "subscription_id",
            "unknown_subscription",
            id.to_string(),
            "is not in the book".to_owned(),
            mend,
        ));
    };
    let Some(plan) = catalog.plans.get(&row.plan) else {
        let message = format!("is under plan {}, which does not exist", row.plan);
        return Err(wrong("subscription_id", "unknown_plan", id.to_string(), message, "apply the plan first"));
    };
    let found: Option<Cycle> = match (line.cycle, line.charge_on) {
        (Some(cycle), _) => cycles(plan, row, cycle).ok().and_then(|mut walk| walk.next()?.ok()),
        (None, Some(on)) => cycles(plan, row, row.next_cycle).ok().and_then(|walk| {
            let upcoming = walk.take(CYCLES_MAX).map_while(Result::ok);
            upcoming
                .take_while(|cycle| cycle.occurrence.date <= on || cycle.occurrence.submit_on <= on)
                .find(|cycle| cycle.occurrence.submit_on == on || cycle.occurrence.date == on)
        }),
        (None, None) => None,
    };
    let Some(cycle) = found else {
        let value = line.charge_on.map(|on| on.to_string()).or(line.cycle.map(|cycle| cycle.to_string()));
        let message = "is no cycle of the subscription that is still to be charged".to_owned();
        let mend = "`autopay subscriptions schedule` shows cycles with their days";
        return Err(wrong("cycle", "unknown_cycle", value.unwrap_or_default(), message, mend));
    };
    let on = cycle.occurrence.submit_on;
    if let Some(named) = line.charge_on.filter(|named| *named != on && *named != cycle.occurrence.date) {
        let message = format!("is not the day of cycle {}, which is charged on {on}", cycle.occurrence.index);
        return Err(wrong("charge_on", "other_day", named.to_string(), message, "correct the day or the cycle"));
    }
    let amount = Money::parse(&line.amount, plan.currency).map_err(|error| {
        wrong("amount", "bad_amount", line.amount.clone(), error.to_string(), "write it like 84.00")
    })?;
    let delivered_at = instant(plan, row, line.told, now);
    if delivered_at > now {
        let (message, mend) = ("lies in the future".to_owned(), "hand it in once the payer was told");
        return Err(wrong("delivered_at", "in_the_future", delivered_at.to_rfc3339(), message, mend));
    }
    let kind = line.kind.or_else(|| {
        duty(plan, row, &cycle, charged_before(plan, row, cycle.occurrence.index, None)).map(|duty| duty.kind)
    });
    Ok(Sent {
        subscription: id.clone(),
        cycle: cycle.occurrence.index,
        kind: kind.unwrap_or(Kind::EveryCharge),
        amount,
        on,
        delivered_at,
    })
}
