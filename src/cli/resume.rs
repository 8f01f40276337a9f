//! `autopay subscriptions resume`: a paused, unpaid or quarantined subscription is charged again; what that makes of its cycles is shown.

use clap::Args;
use domain::agenda::GoesOn;
use domain::id::SubscriptionId;
use domain::plan::Plan;
use domain::subscription::{Subscription, SubscriptionStatus};

use super::amend::{found, overtaken, plan_of};
use super::amend_preview::{preview, summary};
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};
use super::{Context, person, problem, total};
use crate::app::App;
use crate::ports::Resume;

pub(super) const HELP: &str = "Examples:\n  \
    autopay subscriptions resume sub-0001 --dry-run\n  \
    autopay subscriptions resume sub-0001\n  \
    autopay subscriptions resume sub-0001 --from-today\n\n\
    A quarantined or unpaid subscription still owes the cycles that passed meanwhile, a paused one does not; the flags say otherwise.\n\
    Where parts of a total passed, one of the flags is needed: none is dropped by default.\n\
    Where several cycles were missed and the plan asks (catch_up = \"ask\", the default), one of the flags is needed.\n\
    Exit codes: 0, 2 wrong usage, 5 not found, 6 the plan cannot charge it yet, 7 neither paused nor quarantined, or somebody else changed it, \
    11 database unavailable.";

/// Charged again.
#[derive(Debug, Args)]
pub(super) struct Again {
    /// The subscription's id
    #[arg(value_parser = SubscriptionId::parse)]
    id: SubscriptionId,
    /// Does not charge the cycles that passed meanwhile
    #[arg(long)]
    from_today: bool,
    /// Charges the cycles that passed meanwhile
    #[arg(long, conflicts_with = "from_today")]
    with_missed: bool,
    /// Why, on one line; kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = super::hold::reason)]
    reason: Option<String>,
    /// Shows the cycles it affects, and changes nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

const RESUMED: &[Column] =
    &[Column::text("id"), Column::number("next_cycle"), Column::text("next_due_at"), Column::text("paused_until")];

pub(super) async fn run(command: &Again, context: &Context) -> Result<Exit, Stop> {
    context.with_app(async |app, _| resume(command, app, context).await).await
}

async fn resume(command: &Again, app: &App, context: &Context) -> Result<Exit, Stop> {
    let id = &command.id;
    let (row, catalog) = found(id, app).await?;
    let stands = match row.status {
        SubscriptionStatus::Paused | SubscriptionStatus::Quarantined => true,
        SubscriptionStatus::Active | SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => false,
    };
    if !stands {
        let why = format!("subscription {id} is {}", row.status.as_str());
        let mend = "only a paused or quarantined one can be resumed";
        return Err(Stop::because(Exit::Conflict, problem(why, mend)));
    }
    let (plan, now) = (plan_of(&catalog, &row)?, app.clock.now());
    // What passed while it stood unpaid is owed, as in quarantine; what passed in a pause is not.
    let rested = row.status == SubscriptionStatus::Paused && row.amendments.unpaid.is_none();
    let from_today = command.from_today || (rested && !command.with_missed);
    let said = command.from_today || command.with_missed;
    if !from_today && !command.with_missed {
        refuse_unanswered(plan, &row, now)?;
    }
    let goes_on = domain::agenda::resume(plan, &row, from_today, now).map_err(|why| {
        Stop::because(Exit::BadInput, problem(why, "apply the plan that mends it, then resume again"))
    })?;
    if !said {
        total::refuse_to_drop(Some(&plan), &row, goes_on.next_cycle)?;
    }
    let after = resumed(&row, goes_on);
    if command.dry_run {
        context.printer.say("DRY RUN: nothing is sent, nothing is saved.");
        preview(&catalog, (&row, &after), None, now, context)?;
    } else {
        let owed_until = (!from_today).then_some(now);
        let from = Resume { from_cycle: row.next_cycle, goes_on, owed_until };
        let reason = command.reason.as_deref().unwrap_or_default();
        if !app.store.resume_because(id, &from, reason, &person(), now).await? {
            return Err(overtaken(id));
        }
        let record = [
            Cell::text(id),
            Cell::Number(goes_on.next_cycle.into()),
            Cell::maybe(goes_on.next_due_at, Cell::At),
            Cell::maybe(after.amendments.resume_on, Cell::On),
        ];
        context.printer.record(RESUMED, &record)?;
        summary((plan, &row), (plan, &after), None, now, context);
    }
    total::resumed(app, Some(plan), (&row, &after), now, context).await?;
    Ok(Exit::Done)
}

/// What nobody answers by a flag is not answered at all: a bill of several cycles is never sent by default.
fn refuse_unanswered(plan: &Plan, row: &Subscription, now: chrono::DateTime<chrono::Utc>) -> Result<(), Stop> {
    let Ok(missed @ 1..) = domain::agenda::questions(plan, row, now) else { return Ok(()) };
    let why = format!("{missed} cycles of subscription {} were missed, and its plan asks a person", row.id);
    let mend = "say --with-missed to charge them, or --from-today not to";
    Err(Stop::because(Exit::BadInput, problem(why, mend)))
}

/// The subscription as it goes on.
fn resumed(row: &Subscription, goes_on: GoesOn) -> Subscription {
    let mut after = row.clone();
    after.status = if goes_on.paused { SubscriptionStatus::Paused } else { SubscriptionStatus::Active };
    after.amendments.resume_on = row.amendments.resume_on.filter(|_| goes_on.paused);
    after.amendments.unpaid = None;
    (after.next_cycle, after.next_due_at) = (goes_on.next_cycle, goes_on.next_due_at);
    after
}
