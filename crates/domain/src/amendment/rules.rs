//! Is a change sound? Every refusal is a sentence and says what to do instead; nothing is guessed.

use chrono::{DateTime, NaiveDate, Utc};

use super::{Amendment, Change, REASON_MAX, Settlement};
use crate::agenda::{self, cycles, planned};
use crate::cadence::Schedule;
use crate::calendar::BusinessDays;
use crate::id::looks_like_a_card_number;
use crate::money::Money;
use crate::plan::{Catalog, Plan, PlanStatus, chargeable};
use crate::subscription::{AdjustmentKind, Backup, OPEN_MAX, Ruling, Subscription, SubscriptionStatus};
use crate::total::Account;

/// Whose mistake a refusal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A value that was asked for cannot be.
    Value,
    /// The subscription, or what happened to it already, is in the way.
    Standing,
    /// The plan has no answer for this subscription.
    Plan,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Whose mistake it is.
    pub whose: Whose,
    /// What is wrong, as a sentence.
    pub message: String,
    /// What to do instead.
    pub mend: String,
}

pub(super) fn value(message: impl Into<String>, mend: impl Into<String>) -> Refused {
    Refused { whose: Whose::Value, message: message.into(), mend: mend.into() }
}

pub(super) fn standing(message: impl Into<String>, mend: impl Into<String>) -> Refused {
    Refused { whose: Whose::Standing, message: message.into(), mend: mend.into() }
}

pub(super) fn no_answer(why: impl ToString) -> Refused {
    Refused { whose: Whose::Plan, message: why.to_string(), mend: "apply the plan that mends it".to_owned() }
}

/// A change and the subscription as it will be.
pub type Proposed = (Amendment, Subscription);

/// Finds a change sound, and says what the subscription will be.
///
/// `now` decides what lies in the past. The number of a new adjustment is 0 in the result: the store gives it out.
///
/// # Errors
/// [`Refused`], for the first thing that is wrong.
pub fn propose(
    catalog: &Catalog,
    subscription: &Subscription,
    change: Change,
    (reason, by): (&str, &str),
    now: DateTime<Utc>,
) -> Result<Proposed, Refused> {
    let reason = words(reason)?;
    let plan = plan_of(catalog, subscription)?;
    open_to_change(subscription)?;
    let mut change = change;
    match &mut change {
        Change::Skip { cycle } => still_to_come(plan, subscription, *cycle)?,
        Change::Move { cycle, to } => {
            still_to_come(plan, subscription, *cycle)?;
            movable(plan, subscription, *cycle, *to, now)?;
        }
        Change::Clear { cycle } => clearable(subscription, *cycle)?,
        Change::Pause { until } => pausable(plan, *until, subscription, now)?,
        Change::EndWithPeriod { last_on } => *last_on = Some(last_day(plan, subscription, now)?),
        Change::KeepOn => match subscription.amendments.last_on {
            Some(_) => {}
            None => return Err(standing("nobody ended it at a period's end", "there is nothing to take back")),
        },
        Change::Plan { plan: other, from } => {
            let other = catalog.plans.get(other).ok_or_else(|| {
                value(format!("plan {other} does not exist"), "`autopay plans list` shows those that do")
            })?;
            changeable(plan, other, subscription, *from)?;
        }
        Change::PlanNow { plan: other, settled } => {
            let other = catalog.plans.get(other).ok_or_else(|| {
                value(format!("plan {other} does not exist"), "`autopay plans list` shows those that do")
            })?;
            changeable(plan, other, subscription, None)?;
            settleable(other, subscription, settled)?;
        }
        Change::Backups { backups } => sound_backups(plan, subscription, backups, now)?,
        Change::Cancel => {}
        Change::Adjust { kind, amount } => adjustable(plan, subscription, *kind, *amount)?,
    }
    let mut amendment = Amendment {
        subscription: subscription.id.clone(),
        revision: subscription.amendments.revision,
        from_cycle: subscription.next_cycle,
        status: subscription.status,
        plan: subscription.plan.clone(),
        change,
        forgoes: None,
        next_due_at: subscription.next_due_at,
        reason,
        by: by.to_owned(),
        at: now,
    };
    let mut after = subscription.clone();
    amendment.apply(&mut after, 0);
    amendment.next_due_at = looked_at(catalog, subscription, &after)?;
    after.next_due_at = amendment.next_due_at;
    in_order_everywhere(plan_of(catalog, &after)?, &after)?;
    amendment.forgoes = forgoes(plan, subscription, &after, now);
    Ok((amendment, after))
}

/// How much less of a total is collected after a change; a total belongs to one plan, before and after. Where the plan has no
/// answer for every part to come, none is given.
fn forgoes(plan: &Plan, before: &Subscription, after: &Subscription, now: DateTime<Utc>) -> Option<Money> {
    // What was collected is so before and after.
    let account = |row| Account::of(plan, row, 0, now)?.ok();
    account(after)?.forgone_since(&account(before)?)
}

fn words(reason: &str) -> Result<String, Refused> {
    let reason = reason.trim();
    if reason.chars().count() > REASON_MAX {
        return Err(value(format!("the reason is longer than {REASON_MAX} characters"), "shorten it"));
    }
    if reason.chars().any(char::is_control) {
        return Err(value("the reason holds a line break or control character", "write it on one line"));
    }
    if looks_like_a_card_number(reason) {
        return Err(value("the reason looks like a card number", "card numbers may not enter autopay"));
    }
    Ok(reason.to_owned())
}

fn plan_of<'a>(catalog: &'a Catalog, subscription: &Subscription) -> Result<&'a Plan, Refused> {
    catalog.plans.get(&subscription.plan).ok_or_else(|| no_answer(format!("plan {} does not exist", subscription.plan)))
}

fn open_to_change(subscription: &Subscription) -> Result<(), Refused> {
    match subscription.status {
        SubscriptionStatus::Active | SubscriptionStatus::Paused => Ok(()),
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => Err(standing(
            format!("subscription {} is {}", subscription.id, subscription.status.as_str()),
            "nothing of it is charged any more: there is nothing to change",
        )),
        SubscriptionStatus::Quarantined => Err(standing(
            format!("subscription {} is quarantined", subscription.id),
            "mend what its note says and resume it first",
        )),
    }
}

/// When to look at the changed subscription next.
fn wake(
    catalog: &Catalog,
    after: &Subscription,
    before: Option<DateTime<Utc>>,
) -> Result<Option<DateTime<Utc>>, Refused> {
    let plan = plan_of(catalog, after)?;
    let next = planned(plan, after, after.next_cycle).map_err(no_answer)?.map(|(charge, _)| charge.due_at);
    match after.status {
        // Without a further cycle it is looked at once more, at the moment it stood at, and ends.
        SubscriptionStatus::Active => Ok(next.or(before)),
        SubscriptionStatus::Paused if after.amendments.unpaid.is_some() => Ok(None),
        SubscriptionStatus::Paused => {
            let ends_at = agenda::resumes_at(plan, after).map_err(no_answer)?;
            Ok(ends_at.map(|ends_at| next.map_or(ends_at, |next| next.min(ends_at))))
        }
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended | SubscriptionStatus::Quarantined => Ok(None),
    }
}

/// When to look at the changed subscription: as before, unless the change moves that.
///
/// The stored instant is what a rhythm gone wrong is told by: a change must not wash that out.
fn looked_at(catalog: &Catalog, before: &Subscription, after: &Subscription) -> Result<Option<DateTime<Utc>>, Refused> {
    let expected = wake(catalog, before, before.next_due_at)?;
    let moved = expected.zip(before.next_due_at).map(|(expected, stored)| expected.signed_duration_since(stored).abs());
    if before.status == SubscriptionStatus::Active && moved.is_some_and(|moved| moved > agenda::MOVED_MAX) {
        return Err(Refused {
            whose: Whose::Plan,
            message: format!("the plan's rhythm changed under cycle {}", before.next_cycle),
            mend: "apply the plan as it was when the subscription began".to_owned(),
        });
    }
    let next = wake(catalog, after, before.next_due_at)?;
    Ok(if next == expected { before.next_due_at } else { next })
}

/// The number of the cycle that falls on a civil date.
///
/// # Errors
/// [`Refused`] when none does, with the next one that follows.
pub fn cycle_on(plan: &Plan, subscription: &Subscription, date: NaiveDate) -> Result<u32, Refused> {
    let schedule = plan.schedule_of(subscription).map_err(no_answer)?;
    let next = plan.index_on_or_after(&schedule, date);
    let next = next.map_err(|error| value(error.to_string(), "name another date"))?;
    let Some(falls_on) = plan.occurrence(&schedule, None, next).map_err(no_answer)?.map(|one| one.date) else {
        return Err(value(format!("no cycle falls on {date} or later"), "name an earlier date"));
    };
    if falls_on == date {
        return Ok(next);
    }
    Err(value(format!("no cycle falls on {date}"), format!("the next one is cycle {next}, on {falls_on}")))
}

fn still_to_come(plan: &Plan, subscription: &Subscription, cycle: u32) -> Result<(), Refused> {
    if cycle < subscription.next_cycle {
        return Err(standing(
            format!("cycle {cycle} has been recorded already"),
            format!("the next cycle is {}; `autopay charges list` shows what was recorded", subscription.next_cycle),
        ));
    }
    match planned(plan, subscription, cycle).map_err(|why| value(why, "name an earlier cycle"))? {
        Some(_) => Ok(()),
        None => Err(value(
            format!("cycle {cycle} never comes: the subscription has ended by then"),
            format!("the next cycle is {}", subscription.next_cycle),
        )),
    }
}

/// The instant at which a cycle is charged, rulings included, whatever the end of the subscription; `None` past the last of dates
/// chosen by hand.
fn instant_of(
    (plan, schedule): (&Plan, &Schedule),
    subscription: &Subscription,
    cycle: u32,
) -> Result<Option<DateTime<Utc>>, Refused> {
    let moved = match subscription.amendments.overrides.get(&cycle).map(|one| one.ruling) {
        Some(Ruling::Move { to }) => Some(to),
        Some(Ruling::Skip) | None => None,
    };
    let at = match moved {
        Some(to) => schedule.zone.instant(to, schedule.charge_at).map(Some),
        None => plan.occurrence(schedule, None, cycle).map(|one| one.map(|one| one.charge_at)),
    };
    at.map_err(no_answer)
}

/// Would this instant leave a cycle between its neighbours?
fn in_order(
    (plan, schedule): (&Plan, &Schedule),
    subscription: &Subscription,
    cycle: u32,
    (to, at): (NaiveDate, DateTime<Utc>),
) -> Result<(), Refused> {
    let mend = "choose a day between the charges before and after it";
    let day = |at: DateTime<Utc>| schedule.zone.civil(at).map(|civil| civil.date.to_string()).unwrap_or_default();
    let neighbour = |cycle: Option<u32>| match cycle {
        Some(cycle) => Ok(instant_of((plan, schedule), subscription, cycle)?.map(|charged| (cycle, charged))),
        None => Ok(None),
    };
    if let Some((before, charged)) = neighbour(cycle.checked_sub(1))?
        && charged >= at
    {
        let message = format!("on {to} cycle {cycle} would not come after cycle {before}, on {}", day(charged));
        return Err(value(message, mend));
    }
    if let Some((following, charged)) = neighbour(cycle.checked_add(1))?
        && charged <= at
    {
        let message = format!("on {to} cycle {cycle} would not come before cycle {following}, on {}", day(charged));
        return Err(value(message, mend));
    }
    Ok(())
}

/// Every moved cycle to come still lies between its neighbours.
fn in_order_everywhere(plan: &Plan, subscription: &Subscription) -> Result<(), Refused> {
    let schedule = plan.schedule_of(subscription).map_err(no_answer)?;
    for (cycle, one) in subscription.amendments.overrides.range(subscription.next_cycle..) {
        if let Ruling::Move { to } = one.ruling {
            let at = schedule.zone.instant(to, schedule.charge_at).map_err(no_answer)?;
            in_order((plan, &schedule), subscription, *cycle, (to, at))?;
        }
    }
    Ok(())
}

fn movable(
    plan: &Plan,
    subscription: &Subscription,
    cycle: u32,
    to: NaiveDate,
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    let schedule = plan.schedule_of(subscription).map_err(no_answer)?;
    let at = schedule.zone.instant(to, schedule.charge_at);
    let at = at.map_err(|error| value(error.to_string(), "choose another day"))?;
    if at <= now {
        return Err(value(format!("{to} at {} has passed", schedule.charge_at), "choose a day to come"));
    }
    if let (BusinessDays::Next | BusinessDays::ModifiedNext | BusinessDays::Previous, Some(calendar)) =
        (schedule.business_days, schedule.calendar)
    {
        let open = calendar.roll(to, schedule.business_days);
        let open = open.map_err(|error| value(error.to_string(), "choose another day"))?;
        if open != to {
            return Err(value(
                format!("{to} is no business day of {}", calendar.as_str()),
                format!("write {open}, or another business day"),
            ));
        }
    }
    in_order((plan, &schedule), subscription, cycle, (to, at))
}

fn clearable(subscription: &Subscription, cycle: u32) -> Result<(), Refused> {
    if cycle < subscription.next_cycle {
        return Err(standing(format!("cycle {cycle} has been recorded already"), "what happened is not undone"));
    }
    if subscription.amendments.overrides.contains_key(&cycle) {
        return Ok(());
    }
    Err(value(
        format!("cycle {cycle} is neither left out nor moved"),
        "`autopay subscriptions show` lists the cycles that are",
    ))
}

fn pausable(
    plan: &Plan,
    until: Option<NaiveDate>,
    subscription: &Subscription,
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    if subscription.amendments.unpaid.is_some() {
        return Err(standing(
            "it stands unpaid: nothing of it is charged until it is resumed, and what falls due is owed",
            "resume it first, or cancel it",
        ));
    }
    let Some(until) = until else { return Ok(()) };
    let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
    let today = zone.civil(now).map_err(no_answer)?.date;
    if until <= today {
        return Err(value(format!("{until} has come already"), "name a day to come"));
    }
    zone.instant(until, chrono::NaiveTime::MIN)
        .map(drop)
        .map_err(|error| value(error.to_string(), "name an earlier day"))
}

/// The last day of the service period that runs now: the day before the first cycle that has not begun.
///
/// A period begins with its cycle's own date, at the plan's hour, whenever that cycle is charged: what was put off to a later day, or
/// is late, belongs to the running period and stays owed.
fn last_day(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> Result<NaiveDate, Refused> {
    if subscription.status == SubscriptionStatus::Paused && !subscription.wakes_by_itself() {
        return Err(standing("it is paused, and nothing of it falls due", "cancel it with --now, or resume it first"));
    }
    let schedule = plan.schedule_of(subscription).map_err(no_answer)?;
    let today = schedule.zone.civil(now).map_err(no_answer)?.date;
    let first = plan.index_on_or_after(&schedule, today).map_err(no_answer)?.max(subscription.next_cycle);
    let mut next = None;
    for cycle in (first..).take(2) {
        let Some(date) = plan.occurrence(&schedule, None, cycle).map_err(no_answer)?.map(|one| one.date) else { break };
        if schedule.zone.instant(date, schedule.charge_at).map_err(no_answer)? > now {
            next = Some(date);
            break;
        }
    }
    let Some(next) = next else {
        return Err(standing("it ends with this period already", "there is nothing to change"));
    };
    if subscription.last_on().is_some_and(|last| last < next) {
        return Err(standing("it ends with this period already", "there is nothing to change"));
    }
    next.pred_opt().ok_or_else(|| no_answer("its period has no last day"))
}

fn changeable(plan: &Plan, other: &Plan, subscription: &Subscription, from: Option<NaiveDate>) -> Result<(), Refused> {
    if plan.id == other.id {
        return Err(value(format!("it is under plan {} already", plan.id), "name another plan"));
    }
    if other.status == PlanStatus::Retired {
        return Err(value(format!("plan {} is retired: it charges nobody", other.id), "name a plan in use"));
    }
    if [plan, other].into_iter().any(|one| one.parts_of_total().is_some()) {
        return Err(value(
            "a total paid in parts belongs to one plan",
            "end this subscription and import another one for what is still owed, with paid_elsewhere",
        ));
    }
    if let Some(field) = plan.rhythm_differs(other) {
        return Err(value(
            format!(
                "plan {} has another rhythm ({field}): its cycles would bear the numbers of cycles that were charged",
                other.id
            ),
            "write --now --as NEW_ID, and a subscription with an id of its own follows from tomorrow on; or end this one with \
             `autopay subscriptions cancel --at-period-end` and import another one under that plan from the day after",
        ));
    }
    if plan.currency != other.currency {
        return Err(value(
            format!("plan {} is in {}, plan {} in {}", other.id, other.currency, plan.id, plan.currency),
            "change to a plan in the same currency",
        ));
    }
    let next = subscription.next_cycle;
    let mut changed = subscription.clone();
    changed.plan = other.id.clone();
    let walk = cycles(other, &changed, next).map_err(no_answer)?.next().transpose();
    let Some(first) = walk.map_err(|why| value(why, "name another plan"))? else {
        return Err(standing("no cycle is left to be charged", "there is nothing to change"));
    };
    first.price.map_err(|why| value(why, "give the plan a price for this subscription first"))?;
    match from {
        Some(date) if date != first.occurrence.date => Err(value(
            format!(
                "the change takes effect with a cycle, and the next one, number {next}, is that of {}",
                first.occurrence.date
            ),
            format!(
                "write --at {} or --at next_cycle; for a later cycle, say it once the one before has been charged",
                first.occurrence.date
            ),
        )),
        Some(_) | None => Ok(()),
    }
}

/// Is it charged, and is there room for what settles a change in the middle of a period?
fn settleable(other: &Plan, subscription: &Subscription, settled: &[Settlement]) -> Result<(), Refused> {
    if subscription.status != SubscriptionStatus::Active {
        return Err(standing(
            format!("it is {}", subscription.status.as_str()),
            "resume it first, or change with the next cycle, --at next_cycle",
        ));
    }
    let open = &subscription.amendments.open;
    if open.len().saturating_add(settled.len()) > OPEN_MAX {
        return Err(standing(
            format!("{} credits and charges wait already", open.len()),
            "wait until the next cycle has taken them",
        ));
    }
    let mut changed = subscription.clone();
    changed.plan = other.id.clone();
    let next = cycles(other, &changed, subscription.next_cycle).map_err(no_answer)?.next().transpose();
    let price = next.map_err(no_answer)?.map_or(Money::new(0, other.currency), |cycle| cycle.price_alone());
    let waiting = open.iter().filter(|one| one.kind == AdjustmentKind::Charge).map(|one| one.left);
    let added = settled.iter().filter(|one| one.kind == AdjustmentKind::Charge).map(|one| one.amount);
    let sum = waiting.chain(added).try_fold(price, Money::checked_add);
    sum.map_err(|error| error.to_string()).and_then(chargeable).map_err(|why| {
        value(format!("price and charges together would be too much: {why}"), "change with the next cycle")
    })
}

fn adjustable(plan: &Plan, subscription: &Subscription, kind: AdjustmentKind, amount: Money) -> Result<(), Refused> {
    if !amount.is_positive() {
        return Err(value(format!("{amount} is nothing"), "write an amount above zero"));
    }
    if amount.currency() != plan.currency {
        return Err(value(format!("the plan is in {}", plan.currency), "write the amount in its currency"));
    }
    chargeable(amount).map_err(|why| value(why, "write a smaller amount"))?;
    let amendments = &subscription.amendments;
    if amendments.open.len() >= OPEN_MAX {
        return Err(standing(
            format!("{OPEN_MAX} credits and charges wait already"),
            "wait until the next cycle has taken them",
        ));
    }
    let next = cycles(plan, subscription, subscription.next_cycle).map_err(no_answer)?.next().transpose();
    let Some(next) = next.map_err(no_answer)? else {
        return Err(standing("no cycle is left to take it", "refund a charge, or charge by other means"));
    };
    if kind == AdjustmentKind::Credit {
        return Ok(());
    }
    if plan.parts_of_total().is_some() {
        return Err(value(
            "its plan collects a total in parts and never more",
            "charge it under a subscription of its own; a credit is possible",
        ));
    }
    let price = next.price_alone();
    let waiting = amendments.open.iter().filter(|one| one.kind == AdjustmentKind::Charge);
    let sum = waiting.map(|one| one.left).chain([amount]).try_fold(price, Money::checked_add);
    sum.map_err(|error| error.to_string())
        .and_then(chargeable)
        .map_err(|why| value(format!("price and charges together would be too much: {why}"), "write a smaller amount"))
}

fn sound_backups(
    plan: &Plan,
    subscription: &Subscription,
    backups: &[Backup],
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    if subscription.backups == backups {
        return Err(standing("these are its backups already", "there is nothing to change"));
    }
    if let Some(ahead) = backups.iter().find(|one| one.agreed.at > now) {
        let message = format!("the agreement of method {} lies in the future", ahead.method.id);
        return Err(value(message, "say when it was given"));
    }
    let after = Subscription { backups: backups.to_vec(), ..subscription.clone() };
    let refused = (0..backups.len()).find_map(|place| plan.refuses_backup(&after, place));
    refused.map_or(Ok(()), |(why, mend)| Err(value(why, mend)))
}
