//! `autopay subscriptions skip`, `move`, `pause`, `credit`, `charge` and `adjustments`: what a person changes about one subscription,
//! each shown with the cycles it affects before anything is saved.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use clap::{ArgGroup, Args};
use domain::amendment::{Change, Refused, Whose, cycle_on, propose};
use domain::charge::{SkipWhy, State};
use domain::id::{ChargeId, Purpose, SubscriptionId};
use domain::money::Money;
use domain::plan::{Catalog, Plan};
use domain::subscription::{AdjustmentKind, Ruling, Subscription};

use super::amend_preview::preview;
use super::cancel::left_behind;
use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::schedule::date;
use super::{Context, person};
use crate::app::App;
use crate::ports::ChargeFilter;
use crate::ports::together::Collected;

/// Who changes what, and whether it is only looked at.
#[derive(Debug, Clone, Args)]
pub(super) struct How {
    /// Why, on one line; kept with the change and in the audit
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) reason: String,
    /// Shows the cycles it affects, and changes nothing
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,
}

/// Which cycle, by its number or its date.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["cycle", "date"])))]
pub(super) struct Skip {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// The cycle's number
    #[arg(long, value_name = "N")]
    cycle: Option<u32>,
    /// The cycle's date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<NaiveDate>,
    /// Charges the cycle after all
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    how: How,
}

/// One cycle to another day.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("where").required(true).args(["to", "clear"])))]
pub(super) struct Move {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// The cycle's number
    #[arg(long, value_name = "N")]
    cycle: u32,
    /// The day on which it is charged instead
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    to: Option<NaiveDate>,
    /// Charges it on its own day after all
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    how: How,
}

/// No charges, for a while.
#[derive(Debug, Args)]
pub(super) struct Pause {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// The first day on which it is charged again, by itself; without it, until somebody resumes it
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    until: Option<NaiveDate>,
    #[command(flatten)]
    how: How,
}

/// A one-off credit or charge.
#[derive(Debug, Args)]
pub(super) struct Adjust {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// How much, in the plan's currency, such as 12.50
    #[arg(long, value_name = "AMOUNT")]
    amount: String,
    /// Why, on one line; kept with the change, in the audit, and in the explanation of the charge
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Shows the cycles it affects, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(super) const SKIP_HELP: &str = "Examples:\n  \
    autopay subscriptions skip sub-0001 --date 2027-03-31 --reason \"hospital stay\" --dry-run\n  \
    autopay subscriptions skip sub-0001 --cycle 2 --reason \"hospital stay\"\n  \
    autopay subscriptions skip sub-0001 --cycle 2 --clear\n\n\
    The cycle is recorded as skipped when its date comes, and its number stays used.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the cycle has been recorded already or somebody else changed it, \
    11 database unavailable.";
pub(super) const MOVE_HELP: &str = "Examples:\n  \
    autopay subscriptions move sub-0001 --cycle 2 --to 2027-04-02 --reason \"payday\" --dry-run\n  \
    autopay subscriptions move sub-0001 --cycle 2 --clear\n\n\
    Only this charge moves: the cycle's date, number and service period stay, and so do all later cycles. It must stay between its neighbours.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the cycle has been recorded already or somebody else changed it, \
    11 database unavailable.";
pub(super) const PAUSE_HELP: &str = "Examples:\n  \
    autopay subscriptions pause sub-0001 --until 2027-03-01 --reason \"hospital stay\" --dry-run\n  \
    autopay subscriptions pause sub-0001\n\n\
    With --until each cycle before that day is recorded as skipped, and it goes on from that day on by itself. Without it `subscriptions resume` \
    ends the pause. Tries of charges that failed wait meanwhile; what is with the gateway runs on.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the subscription has ended or somebody else changed it, 11 database unavailable.";
pub(super) const CREDIT_HELP: &str = "Examples:\n  \
    autopay subscriptions credit sub-0001 --amount 12.50 --reason \"class was cancelled\" --dry-run\n  \
    autopay subscriptions credit sub-0001 --amount 12.50 --reason \"class was cancelled\"\n\n\
    The next cycle costs so much less, never below zero; what is left waits for the cycle after it.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the subscription has ended or somebody else changed it, 11 database unavailable.";
pub(super) const CHARGE_HELP: &str = "Examples:\n  \
    autopay subscriptions charge sub-0001 --amount 12.50 --reason \"guest pass\" --dry-run\n  \
    autopay subscriptions charge sub-0001 --amount 12.50 --reason \"guest pass\"\n\n\
    The next cycle costs so much more.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan has no answer, 7 the subscription has ended or somebody else changed it, 11 database unavailable.";
pub(super) const ADJUSTMENTS_HELP: &str = "Example:\n  autopay subscriptions adjustments sub-0001 -o csv\n\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 11 database unavailable.";

const ADJUSTMENTS: &[Column] = &[
    Column::number("number"),
    Column::text("kind"),
    Column::money("amount"),
    Column::text("left"),
    Column::text("made_at"),
    Column::text("made_by"),
    Column::text("reason"),
    Column::number("cycle"),
    Column::text("taken"),
    Column::text("charge"),
];
/// What `subscriptions show` adds.
pub(super) const OVERRIDES: &[Column] = &[
    Column::number("cycle"),
    Column::text("ruling"),
    Column::text("to"),
    Column::text("by"),
    Column::text("at"),
    Column::text("reason"),
];
/// As [`OVERRIDES`], for credits and charges that wait.
pub(super) const OPEN: &[Column] = &[
    Column::number("number"),
    Column::text("kind"),
    Column::money("amount"),
    Column::text("left"),
    Column::text("by"),
    Column::text("at"),
    Column::text("reason"),
];

/// The cells of [`OVERRIDES`] and [`OPEN`].
pub(super) fn shown(subscription: &Subscription) -> (Cell, Cell) {
    let amendments = &subscription.amendments;
    let ruling = |(cycle, one): (&u32, &domain::subscription::Override)| {
        let (word, to) = match one.ruling {
            Ruling::Skip => ("skip", Cell::Empty),
            Ruling::Move { to } => ("move", Cell::On(to)),
        };
        let (by, at, reason) = (Cell::text(&one.by), Cell::At(one.at), Cell::text(&one.reason));
        vec![Cell::Number((*cycle).into()), Cell::text(word), to, by, at, reason]
    };
    let open = |one: &domain::subscription::Adjustment| {
        vec![
            Cell::Number(one.id.try_into().unwrap_or_default()),
            Cell::text(one.kind.as_str()),
            Cell::Money(one.amount),
            Cell::text(one.left.plain()),
            Cell::text(&one.by),
            Cell::At(one.at),
            Cell::text(&one.reason),
        ]
    };
    (
        Cell::Rows(OVERRIDES, amendments.overrides.iter().map(ruling).collect()),
        Cell::Rows(OPEN, amendments.open.iter().map(open).collect()),
    )
}

/// A change is refused: by the value that was written, or by how things stand.
pub(super) fn refused(id: &SubscriptionId, why: &Refused) -> Stop {
    let exit = match why.whose {
        Whose::Value => Exit::Usage,
        Whose::Standing => Exit::Conflict,
        Whose::Plan => Exit::BadInput,
    };
    Stop::because(exit, Problem::new(format!("subscription {id}"), "", &why.message, &why.mend))
}

pub(super) async fn skip(command: Skip, context: &Context) -> Result<Exit, Stop> {
    let Skip { id, cycle, date, clear, how } = command;
    amend(&id, &how, context, |plan, row| {
        let cycle = match (cycle, date) {
            (Some(cycle), _) => cycle,
            (None, Some(date)) => cycle_on(plan, row, date)?,
            (None, None) => row.next_cycle,
        };
        let is = row.amendments.overrides.get(&cycle).map(|one| one.ruling);
        Ok(match (clear, is) {
            (true, Some(Ruling::Move { .. })) => return Err(other_way(cycle, "moved, not left out", "move")),
            (true, Some(Ruling::Skip) | None) => Change::Clear { cycle },
            (false, _) => Change::Skip { cycle },
        })
    })
    .await
}

fn other_way(cycle: u32, is: &str, verb: &str) -> Refused {
    let (message, mend) = (format!("cycle {cycle} is {is}"), format!("write `autopay subscriptions {verb} --clear`"));
    Refused { whose: Whose::Value, message, mend }
}

pub(super) async fn move_(command: Move, context: &Context) -> Result<Exit, Stop> {
    let Move { id, cycle, to, clear: _, how } = command;
    amend(&id, &how, context, |_, row| match (to, row.amendments.overrides.get(&cycle).map(|one| one.ruling)) {
        (Some(to), _) => Ok(Change::Move { cycle, to }),
        (None, Some(Ruling::Skip)) => Err(other_way(cycle, "left out, not moved", "skip")),
        (None, Some(Ruling::Move { .. }) | None) => Ok(Change::Clear { cycle }),
    })
    .await
}

pub(super) async fn pause(command: Pause, context: &Context) -> Result<Exit, Stop> {
    let Pause { id, until, how } = command;
    amend(&id, &how, context, |_, _| Ok(Change::Pause { until })).await
}

pub(super) async fn adjust(kind: AdjustmentKind, command: Adjust, context: &Context) -> Result<Exit, Stop> {
    let Adjust { id, amount, reason, dry_run } = command;
    if reason.trim().is_empty() {
        return Err(Stop::usage("--reason", "", "is empty: say in a few words what it is for"));
    }
    let how = How { reason, dry_run };
    let change = |plan: &Plan, _: &Subscription| {
        let read = Money::parse(&amount, plan.currency).map_err(|error| error.to_string());
        let amount = read.map_err(|why| Refused {
            whose: Whose::Value,
            message: format!("--amount {amount} {why}"),
            mend: format!("write an amount in {}, such as 12.50", plan.currency),
        })?;
        Ok(Change::Adjust { kind, amount })
    };
    context
        .with_app(async |app, _| {
            let found = app.store.subscription(&id).await?;
            if let Some(found) = found.filter(|_| kind == AdjustmentKind::Credit) {
                super::twice::warn_of_refunds(&found.subscription, app, context).await?;
            }
            amend_in(app, &id, &how, context, change).await
        })
        .await
}

/// Somebody else was faster.
pub(super) fn overtaken(id: &SubscriptionId) -> Stop {
    Stop::because(
        Exit::Conflict,
        Problem::new(
            format!("subscription {id}"),
            "",
            "was charged or changed by somebody else at this very moment",
            "look at it again and repeat the command",
        ),
    )
}

/// The subscription as it is, and the plans in force.
pub(super) async fn found(id: &SubscriptionId, app: &App) -> Result<(Subscription, Catalog), Stop> {
    let found = app.store.subscription(id).await?.ok_or_else(|| Stop::not_found("subscription", id))?;
    Ok((found.subscription, app.store.catalog().await?))
}

/// The plan a subscription is under.
pub(super) fn plan_of<'a>(catalog: &'a Catalog, subscription: &Subscription) -> Result<&'a Plan, Stop> {
    catalog.plans.get(&subscription.plan).ok_or_else(|| {
        let why = format!("plan {} does not exist", subscription.plan);
        Stop::because(Exit::BadInput, super::problem(why, "apply it first"))
    })
}

/// Says which charges that are not over a subscription shares with others, when it is cancelled or paused: what was recorded together
/// stays together.
pub(super) async fn say_what_stays_together(id: &SubscriptionId, app: &App, context: &Context) -> Result<(), Stop> {
    let filter = ChargeFilter { subscription: Some(id.clone()), ..ChargeFilter::default() };
    let charges = app.store.charges(&filter, &None, u64::from(u32::MAX)).await?;
    let shared = charges.iter().filter(|charge| {
        charge.carried.is_some() || matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. })
    });
    let ids: Vec<ChargeId> = shared.map(|charge| charge.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let mut told = BTreeSet::new();
    for Collected { by, .. } in app.store.paid_together(&ids).await? {
        let Some(lead) = app.store.charge(by).await?.filter(|_| told.insert(by)) else { continue };
        // What was paid may still be asked about; nothing more is tried for it.
        let is_open =
            !matches!(lead.state, State::Paid { .. } | State::Returned { .. }) && lead.state.next_at().is_some();
        if is_open || matches!(lead.state, State::Parked { .. }) {
            context.printer.say(&format!(
                "Charge {by} of {} is {} and pays for several subscriptions, this one among them: it goes on with {}, whole.",
                lead.amount,
                lead.state.word(),
                lead.subscription
            ));
        }
    }
    Ok(())
}

/// Proposes a change, shows what it makes of the cycles to come, and makes it unless it is only looked at.
pub(super) async fn amend(
    id: &SubscriptionId,
    how: &How,
    context: &Context,
    wanted: impl FnOnce(&Plan, &Subscription) -> Result<Change, Refused>,
) -> Result<Exit, Stop> {
    context.with_app(async |app, _| amend_in(app, id, how, context, wanted).await).await
}

/// As [`amend`], for a command that has looked at the book already.
pub(super) async fn amend_in(
    app: &App,
    id: &SubscriptionId,
    how: &How,
    context: &Context,
    wanted: impl FnOnce(&Plan, &Subscription) -> Result<Change, Refused>,
) -> Result<Exit, Stop> {
    let (before, catalog) = found(id, app).await?;
    let change = wanted(plan_of(&catalog, &before)?, &before).map_err(|why| refused(id, &why))?;
    let now = app.clock.now();
    let proposed = propose(&catalog, &before, change, (&how.reason, &person()), now);
    let (amendment, after) = proposed.map_err(|why| refused(id, &why))?;
    if how.dry_run {
        context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
    } else if app.store.amend(&amendment).await?.is_none() {
        return Err(overtaken(id));
    }
    if matches!(amendment.change, Change::Pause { .. }) {
        say_what_stays_together(id, app, context).await?;
    }
    preview(&catalog, (&before, &after), Some(&amendment), now, context)?;
    if matches!(amendment.change, Change::EndWithPeriod { .. }) {
        let plan = plan_of(&catalog, &after)?;
        // A cycle that was put off, or is late, is still to come and takes what waits.
        let ends =
            domain::agenda::cycles(plan, &after, after.next_cycle).is_ok_and(|mut cycles| cycles.next().is_none());
        if ends {
            left_behind(&after, &[], context);
        }
    }
    super::total::changed(app, catalog.plans.get(&before.plan), (&before, &after), now, context).await?;
    Ok(Exit::Done)
}

pub(super) async fn adjustments(id: SubscriptionId, context: &Context) -> Result<Exit, Stop> {
    context
        .with_app(async |app, _| {
            let view = app.store.subscription(&id).await?.ok_or_else(|| Stop::not_found("subscription", &id))?;
            let subscription = view.subscription;
            let mut rows = Vec::new();
            for one in app.store.adjustments(&id).await? {
                let made = [
                    Cell::Number(one.id.try_into().unwrap_or_default()),
                    Cell::text(one.kind.as_str()),
                    Cell::Money(one.amount),
                    Cell::text(one.left.plain()),
                    Cell::At(one.at),
                    Cell::text(&one.by),
                    Cell::text(&one.reason),
                ];
                let row = |rest: [Cell; 3]| made.iter().cloned().chain(rest).collect::<Vec<Cell>>();
                let taken = subscription.amendments.applied.iter().filter(|taken| taken.adjustment == one.id);
                let before = rows.len();
                rows.extend(taken.map(|taken| {
                    let charge = ChargeId::of(subscription.merchant, &subscription.id, taken.cycle, Purpose::Cycle);
                    row([Cell::Number(taken.cycle.into()), Cell::text(taken.amount.plain()), Cell::text(charge)])
                }));
                if rows.len() == before {
                    rows.push(row([Cell::Empty, Cell::Empty, Cell::Empty]));
                }
            }
            context.printer.rows(ADJUSTMENTS, &rows)?;
            Ok(Exit::Done)
        })
        .await
}
