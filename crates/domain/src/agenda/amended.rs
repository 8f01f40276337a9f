//! What people changed about a subscription, at work: cycles left out, cycles moved, adjustments swept in, a pause that ends.

use std::borrow::Cow;

use chrono::{DateTime, NaiveTime, Utc};
use serde::Serialize;

use super::cycles::Cycle;
use super::missed::Fate;
use crate::cadence::Schedule;
use crate::charge::SkipWhy;
use crate::money::Money;
use crate::plan::{Plan, chargeable};
use crate::subscription::{Adjustment, Amendments, Ruling, Subscription, SubscriptionStatus, Swept};

/// Why a cycle is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Which rule.
    pub why: SkipWhy,
    /// In words.
    pub reason: String,
}

/// A cycle as its subscription's amendments make it. `open` are the adjustments that earlier cycles have left over.
///
/// # Errors
/// A sentence when a moved cycle has no such day.
pub(super) fn amend(
    mut cycle: Cycle,
    plan: &Plan,
    schedule: &Schedule,
    subscription: &Subscription,
    open: &mut Vec<Adjustment>,
) -> Result<Cycle, String> {
    let Amendments { overrides, resume_on, .. } = &subscription.amendments;
    let index = cycle.occurrence.index;
    let is_recorded = index < subscription.next_cycle;
    let mut falls_on = cycle.occurrence.date;
    match overrides.get(&index).map(|one| (one.ruling, &one.reason)) {
        Some((Ruling::Skip, reason)) => {
            cycle.left_out = Some(LeftOut { why: SkipWhy::Person, reason: reason.clone() });
        }
        Some((Ruling::Move { to }, _)) => {
            falls_on = to;
            cycle.occurrence.submit_on = to;
            let moved = schedule.zone.instant(to, schedule.charge_at);
            cycle.occurrence.charge_at = moved.map_err(|error| error.to_string())?;
        }
        None => {}
    }
    if let Some(day) = resume_on.filter(|day| !is_recorded && falls_on < *day && is_in_force(subscription)) {
        let paused = || LeftOut { why: SkipWhy::Paused, reason: format!("paused until {day}") };
        cycle.left_out = cycle.left_out.or_else(|| Some(paused()));
    }
    if cycle.left_out.is_some() {
        // Nothing is owed for it, whatever it would have cost: whoever adds up a walk needs to know no more.
        (cycle.amount, cycle.price) = (Money::new(0, cycle.amount.currency()), Ok(()));
        cycle.out_of_bounds = false;
        return Ok(cycle);
    }
    if cycle.price.is_err() {
        return Ok(cycle);
    }
    let swept = if is_recorded {
        subscription.amendments.recorded(index, cycle.amount)
    } else {
        Amendments::sweep(open, index, cycle.amount, |sum| chargeable(sum).is_ok())
    };
    take(plan, &mut cycle, swept);
    Ok(cycle)
}

/// Gives a cycle whose price can be charged what it takes of adjustments; the plan's bounds are for what is charged in the end.
fn take(plan: &Plan, cycle: &mut Cycle, swept: Swept) {
    (cycle.amount, cycle.applied) = (swept.amount, swept.applied);
    if !cycle.applied.is_empty() {
        cycle.price = plan.within_bounds(cycle.amount);
        cycle.out_of_bounds = cycle.price.is_err();
    }
}

/// The due cycles that nobody left out: a rule about missed ones concerns them alone.
pub(super) fn owed(due: &[Cycle]) -> Cow<'_, [Cycle]> {
    if due.iter().all(|cycle| cycle.left_out.is_none()) {
        return Cow::Borrowed(due);
    }
    due.iter().filter(|cycle| cycle.left_out.is_none()).cloned().collect()
}

/// What becomes of each due cycle, given what becomes of those that are [`owed`]. What a cycle that is not charged would have taken
/// of adjustments goes to those after it.
pub(super) fn fates(plan: &Plan, subscription: &Subscription, due: &mut [Cycle], owed: Vec<Fate>) -> Vec<Fate> {
    let mut owed = owed.into_iter();
    let fate = |cycle: &Cycle| match &cycle.left_out {
        Some(left_out) => Some(Fate::LeftOut(left_out.clone())),
        None => owed.next(),
    };
    let fates: Vec<Fate> = due.iter().map_while(fate).collect();
    if due.iter().all(|cycle| cycle.applied.is_empty()) || fates.iter().all(|fate| *fate == Fate::Charged) {
        return fates;
    }
    let mut open = subscription.amendments.open.clone();
    for (cycle, fate) in due.iter_mut().zip(&fates) {
        if !cycle.applied.is_empty() {
            // Only what could be charged alone took any.
            (cycle.price, cycle.out_of_bounds) = (Ok(()), false);
        }
        (cycle.amount, cycle.applied) = (cycle.price_alone(), Vec::new());
        if *fate == Fate::Charged && cycle.price.is_ok() {
            let index = cycle.occurrence.index;
            let swept = Amendments::sweep(&mut open, index, cycle.amount, |sum| chargeable(sum).is_ok());
            take(plan, cycle, swept);
        }
    }
    fates
}

/// Does the end of its pause count? A subscription that was set aside during a pause, or stands unpaid since, is still paused when it
/// is resumed.
fn is_in_force(subscription: &Subscription) -> bool {
    subscription.wakes_by_itself()
        || subscription.status == SubscriptionStatus::Quarantined
        || subscription.amendments.unpaid.is_some()
}

/// The subscription without its pause.
pub(super) fn awake(subscription: &Subscription) -> Subscription {
    let mut awake = subscription.clone();
    awake.amendments.resume_on = None;
    if awake.status == SubscriptionStatus::Paused {
        awake.status = SubscriptionStatus::Active;
    }
    awake
}

/// The pause of a subscription at a moment.
pub(super) struct Pause {
    was: bool,
    /// When it ends, while it lasts.
    ends_at: Option<DateTime<Utc>>,
}

impl Pause {
    /// # Errors
    /// A sentence when the calendar has no answer.
    pub(super) fn of(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> Result<Self, String> {
        let was = subscription.wakes_by_itself();
        let ends_at = if was { resumes_at(plan, subscription)?.filter(|at| *at > now) } else { None };
        Ok(Self { was, ends_at })
    }

    /// Was it paused when it was claimed?
    pub(super) const fn was(&self) -> bool {
        self.was
    }

    /// Is it paused still?
    pub(super) const fn lasts(&self) -> bool {
        self.ends_at.is_some()
    }

    /// When it ends, while it lasts.
    pub(super) const fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.ends_at
    }

    /// When to look again at a subscription whose next cycle is due at `due_at`: then, or when the pause ends, whichever comes
    /// first and lies ahead.
    pub(super) fn wake(&self, due_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        match self.ends_at {
            Some(ends_at) if due_at <= now || ends_at < due_at => ends_at,
            Some(_) | None => due_at,
        }
    }

    pub(super) const fn status(&self) -> SubscriptionStatus {
        if self.lasts() { SubscriptionStatus::Paused } else { SubscriptionStatus::Active }
    }
}

/// The instant at which a pause ends: the first of its day in the payer's zone. `None` without such a day.
///
/// # Errors
/// A sentence when the day lies outside the calendar.
pub(crate) fn resumes_at(plan: &Plan, subscription: &Subscription) -> Result<Option<DateTime<Utc>>, String> {
    let Some(day) = subscription.amendments.resume_on else { return Ok(None) };
    let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
    zone.instant(day, NaiveTime::MIN).map(Some).map_err(|error| error.to_string())
}
