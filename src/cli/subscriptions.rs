//! `autopay subscriptions`.

use clap::{Args, Subcommand};
use domain::id::SubscriptionId;
use domain::subscription::{AdjustmentKind, Subscription, SubscriptionStatus};

use super::Context;
use super::amend;
use super::cancel;
use super::change_plan;
use super::exit::{Exit, Stop};
use super::imports::{self, Import};
use super::output::{Cell, Column};
use crate::ports::{Cursor, Damaged, Listed, SubscriptionFilter, SubscriptionView};

/// Rows read at once.
const PAGE: u64 = 1_000;
/// Rows shown unless told otherwise.
pub(super) const LIMIT: u64 = 100;

#[derive(Debug, Subcommand)]
pub(super) enum Subscriptions {
    /// Adds and updates subscriptions from a roster, CSV or Excel workbook
    #[command(after_help = "Examples:\n  \
        autopay subscriptions import roster.csv --dry-run --report checked.csv\n  \
        autopay subscriptions import roster.csv --good-rows\n  \
        autopay subscriptions import roster.xlsx --sheet Members --report checked.xlsx\n\n\
        Of a workbook the first sheet that is not hidden is read; mistakes name sheet and cell. The same file a second time changes nothing, \
        and so does its report.\n\
        Exit codes: 0, 2 wrong usage, 6 rows have errors and nothing was changed, 9 the good rows were applied and others have errors, \
        11 database unavailable.")]
    Import(Import),
    /// Lists subscriptions by id
    #[command(
        after_help = "Example:\n  autopay subscriptions list --status paused -o csv\n\nExit codes: 0, 2 wrong usage, 11 database unavailable."
    )]
    List(List),
    /// Shows one subscription
    #[command(
        after_help = "Example:\n  autopay subscriptions show sub-0001\n\nExit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable."
    )]
    Show {
        /// The subscription's id
        #[arg(value_parser = SubscriptionId::parse)]
        id: SubscriptionId,
    },
    /// The next charges of one subscription: dates, amounts, service periods, and what is unusual about each
    #[command(after_help = "Examples:\n  \
        autopay subscriptions schedule sub-0001\n  \
        autopay subscriptions schedule sub-0001 --until 2027-12-31 -o csv\n\n\
        Read from the book as it is; nothing is changed. Of a paused subscription these are the charges if it were resumed now.\n\
        Exit codes: 0, 2 wrong usage, 5 not found, 10 its row or its plan cannot be read, 11 database unavailable.")]
    Schedule(super::upcoming::Ahead),
    /// Makes a paused or quarantined subscription active again
    #[command(after_help = super::resume::HELP)]
    Resume(super::resume::Again),
    /// Ends a subscription, at once or with the service period that runs now
    #[command(after_help = cancel::CANCEL_HELP)]
    Cancel(cancel::Cancel),
    /// Charges nothing for a while
    #[command(after_help = amend::PAUSE_HELP)]
    Pause(amend::Pause),
    /// Leaves one cycle out
    #[command(after_help = amend::SKIP_HELP)]
    Skip(amend::Skip),
    /// Charges one cycle on another day
    #[command(after_help = amend::MOVE_HELP)]
    Move(amend::Move),
    /// Says which saved methods are tried where its own is declined, in order, and who agreed
    #[command(after_help = super::backups::HELP)]
    Backups(super::backups::Backups),
    /// Puts a subscription under another plan, from its next cycle on or in the middle of its period
    #[command(after_help = change_plan::CHANGE_HELP)]
    Change(change_plan::ChangePlan),
    /// Takes something off the next cycle, once
    #[command(after_help = amend::CREDIT_HELP)]
    Credit(amend::Adjust),
    /// Adds something to the next cycle, once
    #[command(after_help = amend::CHARGE_HELP)]
    Charge(amend::Adjust),
    /// Lists the credits and charges of a subscription, and which cycles took them
    #[command(after_help = amend::ADJUSTMENTS_HELP)]
    Adjustments {
        /// The subscription's id
        #[arg(value_parser = SubscriptionId::parse)]
        id: SubscriptionId,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those that are active, paused, unpaid, cancelled, ended or quarantined
    #[arg(long, value_parser = shown)]
    status: Option<Shown>,
    /// How many
    #[arg(long, default_value_t = LIMIT, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// All of them
    #[arg(long)]
    all: bool,
}

/// A status as it is shown: one that is unpaid stands paused, and is not called so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    status: SubscriptionStatus,
    unpaid: Option<bool>,
}

fn shown(text: &str) -> Result<Shown, String> {
    if text == "unpaid" {
        return Ok(Shown { status: SubscriptionStatus::Paused, unpaid: Some(true) });
    }
    let status = SubscriptionStatus::parse(text);
    let status = status.ok_or_else(|| "write active, paused, unpaid, cancelled, ended or quarantined".to_owned())?;
    Ok(Shown { status, unpaid: (status == SubscriptionStatus::Paused).then_some(false) })
}

const COLUMNS: &[Column] = &[
    Column::text("id"),
    Column::text("status"),
    Column::text("plan"),
    Column::text("method_kind"),
    Column::money("amount"),
    Column::text("start_on"),
    Column::text("end_on"),
    Column::number("next_cycle"),
    Column::text("next_due_at"),
    Column::text("note"),
];
const SHOW: &[Column] = &[
    Column::text("id"),
    Column::text("status"),
    Column::text("note"),
    Column::text("merchant"),
    Column::text("plan"),
    Column::text("payment_method_id"),
    Column::text("method_kind"),
    Column::text("consent_id"),
    Column::money("amount"),
    Column::text("start_on"),
    Column::text("anchor_day"),
    Column::text("time_zone"),
    Column::text("end_on"),
    Column::number("next_cycle"),
    Column::text("next_due_at"),
    Column::number("quantity"),
    Column::text("total"),
    Column::number("installments"),
    Column::text("paid_elsewhere"),
    Column::text("attributes"),
    Column::text("resume_on"),
    Column::text("last_on"),
    Column::text("overrides"),
    Column::text("adjustments"),
    Column::text("backups"),
    Column::text("method_standing"),
];

/// A row that cannot be read: its id, its status, and in place of a note what is wrong; nothing else is guessed.
fn damaged(row: &Damaged, columns: &[Column]) -> Vec<Cell> {
    let cell = |column: &Column| match column.name() {
        "id" => Cell::text(&row.id),
        "status" => Cell::text(row.state),
        "note" => Cell::text(&row.why),
        _ => Cell::Empty,
    };
    columns.iter().map(cell).collect()
}

fn row(listed: &Listed<SubscriptionView>) -> Vec<Cell> {
    let view = match listed {
        Listed::Whole(view) => view,
        Listed::Damaged(row) => return damaged(row, COLUMNS),
    };
    let it = &view.subscription;
    vec![
        Cell::text(&it.id),
        Cell::text(it.word()),
        Cell::text(&it.plan),
        Cell::maybe(it.method.as_ref(), |method| Cell::text(method.kind.as_str())),
        Cell::maybe(it.amount, Cell::Money),
        Cell::On(it.start_on),
        Cell::maybe(it.end_on, Cell::On),
        Cell::Number(it.next_cycle.into()),
        Cell::maybe(it.next_due_at, Cell::At),
        Cell::maybe(view.note.clone(), Cell::Text),
    ]
}

fn whole(view: &SubscriptionView) -> Vec<Cell> {
    let it = &view.subscription;
    let method = it.method.as_ref();
    let (overrides, adjustments) = amend::shown(it);
    vec![
        Cell::text(&it.id),
        Cell::text(it.word()),
        Cell::maybe(view.note.clone(), Cell::Text),
        Cell::text(it.merchant),
        Cell::text(&it.plan),
        Cell::maybe(method, |method| Cell::text(method.id)),
        Cell::maybe(method, |method| Cell::text(method.kind.as_str())),
        Cell::maybe(method.and_then(|method| method.consent.as_ref()), |consent| Cell::text(&consent.id)),
        Cell::maybe(it.amount, Cell::Money),
        Cell::On(it.start_on),
        Cell::maybe(it.anchor_day, Cell::text),
        Cell::maybe(it.zone.as_ref(), |zone| Cell::text(zone.name())),
        Cell::maybe(it.end_on, Cell::On),
        Cell::Number(it.next_cycle.into()),
        Cell::maybe(it.next_due_at, Cell::At),
        Cell::maybe(it.terms.quantity, |quantity| Cell::Number(quantity.into())),
        Cell::maybe(it.terms.total, |total| Cell::Text(total.plain())),
        Cell::maybe(it.terms.installments, |count| Cell::Number(count.into())),
        Cell::maybe(it.terms.paid_elsewhere, |paid| Cell::Text(paid.plain())),
        Cell::maybe((!it.terms.attributes.is_empty()).then(|| attributes(it)), Cell::Text),
        Cell::maybe(it.amendments.resume_on, Cell::On),
        Cell::maybe(it.amendments.last_on, Cell::On),
        overrides,
        adjustments,
        super::backups::shown(it),
    ]
}

/// `age_band 21-29, rating_area R1`.
fn attributes(subscription: &Subscription) -> String {
    let named = subscription.terms.attributes.iter().map(|(name, value)| format!("{name} {value}"));
    named.collect::<Vec<_>>().join(", ")
}

pub(super) async fn run(command: Subscriptions, context: &Context) -> Result<Exit, Stop> {
    match command {
        Subscriptions::Import(command) => imports::run(command, context).await,
        Subscriptions::List(command) => list(&command, context).await,
        Subscriptions::Schedule(command) => super::upcoming::ahead(&command, context).await,
        Subscriptions::Show { id } => {
            context
                .with_app(async |app, _| {
                    let filter = SubscriptionFilter { id: Some(id.clone()), ..SubscriptionFilter::default() };
                    let found = app.store.list_subscriptions(&filter, &None, 1).await?.rows.pop();
                    match found.ok_or_else(|| Stop::not_found("subscription", &id))? {
                        Listed::Whole(view) => {
                            let standing = super::wallet::standing_of(app, &view.subscription, app.clock.now()).await?;
                            let mut row = whole(&view);
                            row.push(Cell::maybe(standing, |standing| Cell::text(standing.word())));
                            context.printer.record(SHOW, &row)?;
                        }
                        Listed::Damaged(row) => context.printer.record(SHOW, &damaged(&row, SHOW))?,
                    }
                    Ok(Exit::Done)
                })
                .await
        }
        Subscriptions::Resume(command) => super::resume::run(&command, context).await,
        Subscriptions::Cancel(command) => cancel::cancel(command, context).await,
        Subscriptions::Pause(command) => amend::pause(command, context).await,
        Subscriptions::Skip(command) => amend::skip(command, context).await,
        Subscriptions::Move(command) => amend::move_(command, context).await,
        Subscriptions::Backups(command) => super::backups::run(command, context).await,
        Subscriptions::Change(command) => change_plan::change(command, context).await,
        Subscriptions::Credit(command) => amend::adjust(AdjustmentKind::Credit, command, context).await,
        Subscriptions::Charge(command) => amend::adjust(AdjustmentKind::Charge, command, context).await,
        Subscriptions::Adjustments { id } => amend::adjustments(id, context).await,
    }
}

async fn list(command: &List, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let mut listing = context.printer.list(COLUMNS)?;
            let mut left = if command.all { u64::MAX } else { command.limit };
            let (status, unpaid) = command.status.map_or((None, None), |shown| (Some(shown.status), shown.unpaid));
            let filter = SubscriptionFilter { status, unpaid, id: None };
            let mut after: Cursor = None;
            let mut first = true;
            loop {
                let page = app.store.list_subscriptions(&filter, &after, PAGE.min(left)).await?;
                let more = page.next.is_some();
                after = page.next;
                left = left.saturating_sub(u64::try_from(page.rows.len()).unwrap_or(0));
                if first || !page.rows.is_empty() {
                    let rows: Vec<Vec<Cell>> = page.rows.iter().map(row).collect();
                    listing.page(&rows)?;
                    first = false;
                }
                if !more || left == 0 {
                    listing.finish()?;
                    if more {
                        context.printer.say(&format!("{} shown; there are more: --limit N or --all.", command.limit));
                    }
                    return Ok(Exit::Done);
                }
            }
        })
        .await
}
