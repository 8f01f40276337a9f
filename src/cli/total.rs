//! What becomes of a total that is paid in parts: said beside every change of a subscription, and beside its schedule.

use chrono::{DateTime, Utc};
use domain::plan::Plan;
use domain::subscription::Subscription;
use domain::total::{Account, forgone};

use super::Context;
use super::exit::{Exit, Stop};
use crate::app::App;

/// The account of a subscription's total as it stands; `None` where its plan collects none, or has no answer.
async fn account(app: &App, plan: &Plan, row: &Subscription, now: DateTime<Utc>) -> Result<Option<Account>, Stop> {
    if !plan.is_in_parts() {
        return Ok(None);
    }
    let taken = app.store.taken_of_totals(std::slice::from_ref(&row.id)).await?;
    let taken = taken.get(&row.id).copied().unwrap_or_default();
    Ok(Account::of(plan, row, taken, now).and_then(Result::ok))
}

/// Says how the total of a subscription stands.
pub(super) async fn told(
    app: &App,
    plan: Option<&Plan>,
    row: &Subscription,
    now: DateTime<Utc>,
    context: &Context,
) -> Result<(), Stop> {
    let Some(plan) = plan else { return Ok(()) };
    if let Some(account) = account(app, plan, row, now).await? {
        context.printer.say(&account.sentence());
    }
    Ok(())
}

/// No part of a total is dropped by default: refuses to go on at a cycle that lies beyond some.
pub(super) fn refuse_to_drop(plan: Option<&&Plan>, row: &Subscription, goes_on_at: u32) -> Result<(), Stop> {
    let parts = goes_on_at.saturating_sub(row.next_cycle);
    if parts == 0 || !plan.is_some_and(|plan| plan.is_in_parts()) {
        return Ok(());
    }
    let why = format!("{parts} parts of the total of subscription {} fell due meanwhile", row.id);
    let mend = "say --with-missed to charge them, or --from-today to leave them out of what is collected";
    Err(Stop::because(Exit::BadInput, super::problem(why, mend)))
}

/// Says what a subscription that goes on leaves out of its total, and how that stands: beside the same one that left out nothing.
pub(super) async fn resumed(
    app: &App,
    plan: Option<&Plan>,
    (row, after): (&Subscription, &Subscription),
    now: DateTime<Utc>,
    context: &Context,
) -> Result<(), Stop> {
    let stood = Subscription { next_cycle: row.next_cycle, ..after.clone() };
    changed(app, plan, (&stood, after), now, context).await
}

/// Says what a change takes from the total of a subscription, and how that stands with it.
pub(super) async fn changed(
    app: &App,
    plan: Option<&Plan>,
    (before, after): (&Subscription, &Subscription),
    now: DateTime<Utc>,
    context: &Context,
) -> Result<(), Stop> {
    let Some(plan) = plan else { return Ok(()) };
    let both = account(app, plan, before, now).await?.zip(account(app, plan, after, now).await?);
    let Some((before, after)) = both else { return Ok(()) };
    if let Some(less) = after.forgone_since(&before) {
        let rest = if less.is_positive() { ", and no later part makes up for it" } else { "" };
        context.printer.say(&format!("With this change {}{rest}.", forgone(less)));
    }
    context.printer.say(&after.sentence());
    Ok(())
}
