//! Unused days: what of the periods that were charged lies after a day, what it is worth, and what another plan asks for it.
//!
//! One rule about days holds for a cancellation and for a change of plan: the day on which a person says it, in the payer's zone,
//! belongs to what was paid for; the first unused day is the one after it ([`first_unused`]). Periods are half-open, so the days
//! up to it and the days from it on tile.
//!
//! A period's price is what its charge was recorded with, without the credits and charges swept into it, whatever the plan says by
//! now. A shorter first period has its own amount and its own days. Where a plan was changed in the middle of the period before, its
//! last days cost what the newer plan asked for them ([`Settles`]). Every part is rounded in [`crate::rounding`].

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use super::rules::{Refused, no_answer, standing};
use super::{Ground, Settlement};
use crate::charge::{Charge, ParkWhy, SkipWhy, State};
use crate::id::{ChargeId, PlanId, Purpose};
use crate::mid_period::OnStart;
use crate::money::Money;
use crate::plan::Plan;
use crate::rounding::by_days;
use crate::subscription::{Adjustment, AdjustmentKind, Settles, Subscription};

/// Most periods that are looked at. Cycles charged before their period begins are few: a roll, or a date that a person moved.
const PERIODS_MAX: usize = 32;

/// A period whose cycle is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Its cycle.
    pub cycle: u32,
    /// The charge of the cycle, if there is one.
    pub charge: ChargeId,
    /// First day.
    pub from: NaiveDate,
    /// First day after it.
    pub to: NaiveDate,
}

/// A period's charge as recorded.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// The charge.
    pub charge: &'a Charge,
    /// What went back of it, or may have.
    pub given_back: Money,
    /// A dispute about it is open.
    pub disputed: bool,
}

/// How a period stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum Standing {
    /// It shares one payment with cycles of other subscriptions: whose money of it went back is not told apart.
    Together,
    /// It was paid for: collected, covered by credits, or free.
    Paid,
    /// Nothing was asked for it.
    LeftOut {
        /// Why not.
        why: SkipWhy,
    },
    /// Its charge is not paid.
    Unpaid {
        /// The charge's word.
        word: &'static str,
    },
    /// No charge of it is recorded: it was left out, or collected elsewhere.
    Unrecorded,
}

/// The rest of a period: its days from the first unused one on. None is left of a period that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rest {
    /// The cycle.
    pub cycle: u32,
    /// Its charge.
    pub charge: ChargeId,
    /// The plan whose price the days were charged by; none where none is recorded.
    pub plan: Option<PlanId>,
    /// How the period stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// First day of the period.
    pub from: NaiveDate,
    /// First day after the period.
    pub to: NaiveDate,
    /// First unused day.
    pub unused_from: NaiveDate,
    /// How many days are unused.
    pub unused: u32,
    /// What `of` days cost.
    pub price: Money,
    /// The days that cost so much.
    pub of: u32,
    /// The unused days' part of the price.
    pub worth: Money,
    /// What waits of earlier changes of plan in this period: credits less charges that no cycle has taken yet.
    pub waiting: Money,
    /// What went back of the charge, or may have.
    pub given_back: Money,
    /// What was collected and has not gone back.
    pub left: Money,
    /// A dispute about the charge is open: its money may go back yet.
    pub disputed: bool,
}

/// A subscription and its credits and charges as they stand where what some cycles took of them was not paid and never will be: that
/// waits again. `is_lost` says of a cycle whether its charge ended unpaid, or would with the subscription.
#[must_use]
pub fn put_back(
    subscription: &Subscription,
    adjustments: &[Adjustment],
    is_lost: impl Fn(u32) -> bool,
) -> (Subscription, Vec<Adjustment>) {
    let lost = |one: &Adjustment| {
        let taken = subscription.amendments.applied.iter().filter(|taken| taken.adjustment == one.id);
        taken.filter(|taken| is_lost(taken.cycle)).fold(0_i64, |sum, taken| sum.saturating_add(taken.amount.minor()))
    };
    let waits = |one: &Adjustment| {
        let left = one.left.minor().saturating_add(lost(one)).min(one.amount.minor());
        Adjustment { left: Money::new(left, one.amount.currency()), ..one.clone() }
    };
    let adjustments: Vec<Adjustment> = adjustments.iter().map(waits).collect();
    let mut subscription = subscription.clone();
    subscription.amendments.open = adjustments.iter().filter(|one| one.left.is_positive()).cloned().collect();
    (subscription, adjustments)
}

/// Has a charge ended unpaid, or does it with its cancelled subscription? What may have moved money, and what runs on, has not.
#[must_use]
pub const fn is_lost(charge: &Charge) -> bool {
    match &charge.state {
        State::Failing { .. } | State::Due { doubt: false, .. } => charge.carried.is_none(),
        State::Failed { .. } | State::Returned { .. } => true,
        State::Skipped { why, .. } => match why {
            SkipWhy::Cancelled | SkipWhy::HoldExpired | SkipWhy::WrittenOff => true,
            SkipWhy::ZeroAmount | SkipWhy::Missed | SkipWhy::Person | SkipWhy::Paused | SkipWhy::Consolidated => false,
        },
        State::Parked { why, .. } => match why {
            ParkWhy::Rejected
            | ParkWhy::NoMethod
            | ParkWhy::Damaged
            | ParkWhy::WrongMethod
            | ParkWhy::HoldExpired
            | ParkWhy::OutOfBounds => true,
            ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => false,
        },
        State::Planned
        | State::Due { doubt: true, .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. } => false,
    }
}

/// The first day that is not used when something ends or changes now: the day after today, in the payer's zone.
///
/// # Errors
/// A sentence at the end of the calendar.
pub fn first_unused(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> Result<NaiveDate, String> {
    let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
    let today = zone.civil(now).map_err(|error| error.to_string())?.date;
    today.succ_opt().ok_or_else(|| "the calendar ends today".to_owned())
}

/// The recorded cycles whose periods have days from `unused_from` on, and those of before of whose settled days something waits,
/// oldest first. None for installments: their balance is what it is.
///
/// # Errors
/// A sentence when the plan's calendar has no answer.
pub fn periods(plan: &Plan, subscription: &Subscription, unused_from: NaiveDate) -> Result<Vec<Period>, String> {
    if plan.is_in_parts() {
        return Ok(Vec::new());
    }
    let schedule = plan.schedule_of(subscription).map_err(|error| error.to_string())?;
    let period = |cycle| {
        let (from, to) = schedule.cadence.period(cycle).map_err(|error| error.to_string())?;
        let charge = ChargeId::of(subscription.merchant, &subscription.id, cycle, Purpose::Cycle);
        Ok::<_, String>((cycle, Period { cycle, charge, from, to }))
    };
    let mut found = BTreeMap::new();
    for cycle in (0..subscription.next_cycle).rev().take(PERIODS_MAX) {
        let one = period(cycle)?;
        if one.1.to <= unused_from {
            break;
        }
        found.extend([one]);
    }
    for settles in subscription.amendments.open.iter().filter_map(|one| one.settles.as_ref()) {
        found.extend([period(settles.cycle)?]);
    }
    Ok(found.into_values().collect())
}

/// The cycle that is due by its date before `unused_from` and is not recorded, if there is one.
///
/// # Errors
/// A sentence when the plan's calendar has no answer.
pub fn pending(plan: &Plan, subscription: &Subscription, unused_from: NaiveDate) -> Result<Option<u32>, String> {
    let next = subscription.next_cycle;
    let planned = crate::agenda::planned(plan, subscription, next)?;
    Ok(planned.filter(|(charge, _)| charge.due_on < unused_from).map(|_| next))
}

fn days(from: NaiveDate, to: NaiveDate) -> Option<u32> {
    u32::try_from(to.signed_duration_since(from).num_days()).ok()
}

/// What the cycle's charge was recorded with, without the credits and charges in it and without what was not captured.
fn price_of(subscription: &Subscription, charge: &Charge) -> Money {
    let applied = subscription.amendments.applied.iter().filter(|one| one.cycle == charge.cycle);
    let alone = applied.fold(charge.own_amount().minor(), |sum, one| match one.kind {
        AdjustmentKind::Credit => sum.saturating_add(one.amount.minor()),
        AdjustmentKind::Charge => sum.saturating_sub(one.amount.minor()),
    });
    let not_captured = charge.amount.minor().saturating_sub(collected(charge).unwrap_or(charge.amount).minor());
    Money::new(alone.saturating_sub(not_captured).max(0), charge.amount.currency())
}

const fn collected(charge: &Charge) -> Option<Money> {
    match &charge.state {
        State::Paid { collected, .. } => Some(*collected),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. }
        | State::Returned { .. }
        | State::Parked { .. } => None,
    }
}

const fn standing_of(charge: &Charge) -> Standing {
    match &charge.state {
        State::Skipped { why: SkipWhy::Consolidated, .. } => Standing::Together,
        State::Paid { .. } if charge.carried.is_some() => Standing::Together,
        State::Paid { .. } | State::Skipped { why: SkipWhy::ZeroAmount, .. } => Standing::Paid,
        State::Skipped {
            why:
                why @ (SkipWhy::Cancelled
                | SkipWhy::HoldExpired
                | SkipWhy::Missed
                | SkipWhy::Person
                | SkipWhy::Paused
                | SkipWhy::WrittenOff),
            ..
        } => Standing::LeftOut { why: *why },
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Returned { .. }
        | State::Parked { .. } => Standing::Unpaid { word: charge.state.word() },
    }
}

impl Rest {
    /// The rest of a period, with the charge that is recorded for it and every credit and charge of the subscription.
    ///
    /// # Errors
    /// A sentence when the numbers are beyond what can be kept.
    pub fn of(
        plan: &Plan,
        subscription: &Subscription,
        period: &Period,
        unused_from: NaiveDate,
        recorded: Option<Recorded<'_>>,
        adjustments: &[Adjustment],
    ) -> Result<Self, String> {
        let Period { cycle, charge, from, to } = *period;
        let no_length = || format!("the period of cycle {cycle} has no length");
        let whole = days(from, to).filter(|days| *days > 0).ok_or_else(no_length)?;
        // Days that a change has settled are not counted again, wherever the new plan's day begins.
        let settled_from = adjustments.iter().filter_map(|one| one.settles.as_ref());
        let settled_from = settled_from.filter(|settles| settles.cycle == cycle).map(|settles| settles.from).max();
        let unused_from = unused_from.max(from).max(settled_from.unwrap_or(from)).min(to);
        let unused = days(unused_from, to).ok_or_else(no_length)?;
        let nothing = Money::new(0, plan.currency);
        let own = || {
            let settles = |one: &Adjustment| one.settles.clone().filter(|settles| settles.cycle == cycle);
            adjustments.iter().filter_map(move |one| settles(one).map(|settles| (one, settles)))
        };
        // The newest word about the period's last days: a charge is what they cost, a credit alone that they cost nothing.
        let newest = own().max_by_key(|(one, _)| one.id).map(|(one, settles)| (one.kind, settles));
        let (under, price, of) = match (newest, recorded) {
            (Some((AdjustmentKind::Charge, settles)), _) => (Some(settles.plan), settles.price, settles.of),
            (Some((AdjustmentKind::Credit, settles)), _) => (Some(subscription.plan.clone()), nothing, settles.of),
            (None, Some(Recorded { charge, .. })) => (Some(charge.plan.clone()), price_of(subscription, charge), whole),
            (None, None) => (None, nothing, whole),
        };
        let worth = by_days(price, unused, of).ok_or_else(|| format!("{price} is beyond what can be prorated"))?;
        let waiting = own().fold(0_i64, |sum, (one, _)| match one.kind {
            AdjustmentKind::Credit => sum.saturating_add(one.left.minor()),
            AdjustmentKind::Charge => sum.saturating_sub(one.left.minor()),
        });
        let given_back = recorded.map_or(nothing, |recorded| recorded.given_back);
        let collected = recorded.and_then(|recorded| collected(recorded.charge)).unwrap_or(nothing);
        let left = collected.minor().saturating_sub(given_back.minor()).max(0);
        Ok(Self {
            cycle,
            charge,
            plan: under,
            standing: recorded.map_or(Standing::Unrecorded, |recorded| standing_of(recorded.charge)),
            from,
            to,
            unused_from,
            unused,
            price,
            of,
            worth,
            waiting: Money::new(waiting, plan.currency),
            given_back,
            left: Money::new(left, plan.currency),
            disputed: recorded.is_some_and(|recorded| recorded.disputed),
        })
    }

    /// What goes back when the subscription ends: the unused days and what waits of changes of plan in the period, never below
    /// zero, never more than was collected and has not gone back. Nothing of a period that is not paid.
    #[must_use]
    pub fn to_refund(&self) -> Money {
        let nothing = Money::new(0, self.price.currency());
        match self.standing {
            Standing::Paid => {
                let owed = self.worth.minor().saturating_add(self.waiting.minor()).max(0);
                Money::new(owed.min(self.left.minor()), self.price.currency())
            }
            Standing::Together | Standing::LeftOut { .. } | Standing::Unpaid { .. } | Standing::Unrecorded => nothing,
        }
    }

    /// What another plan counts as paid: the unused days, less what went back of the charge already.
    #[must_use]
    pub fn to_credit(&self) -> Money {
        let kept = self.price.minor().saturating_sub(self.given_back.minor()).max(0);
        match self.standing {
            Standing::Paid => Money::new(self.worth.minor().min(kept), self.price.currency()),
            Standing::Together | Standing::LeftOut { .. } | Standing::Unpaid { .. } | Standing::Unrecorded => {
                Money::new(0, self.price.currency())
            }
        }
    }

    /// What it rests on: the charge, and what had gone back of it.
    #[must_use]
    pub const fn ground(&self) -> Ground {
        Ground { charge: self.charge, given_back: self.given_back }
    }

    /// The numbers as a sentence: days, fraction and amount.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { cycle, unused, of, price, worth, .. } = self;
        let last = self.to.pred_opt().unwrap_or(self.to);
        let period = format!("Cycle {cycle}, {} to {last}", self.from);
        match self.standing {
            Standing::Paid if *unused == 0 => format!("{period}: no day is unused."),
            Standing::Paid => format!(
                "{period}: {unused} days are unused, from {} on; {unused}/{of} of {price} is {worth}.",
                self.unused_from
            ),
            Standing::Together => format!(
                "{period} shares one payment with cycles of other subscriptions: nothing goes back by rule. `autopay charges show {}` \
                 names the charge to refund a part of.",
                self.charge
            ),
            Standing::LeftOut { why } => {
                format!("{period} was left out ({}): nothing of it was paid, nothing goes back.", why.as_str())
            }
            Standing::Unpaid { word } => format!("{period}: its charge {} is {word}, not paid.", self.charge),
            Standing::Unrecorded => {
                format!("{period}: no charge is recorded, it was left out or collected elsewhere; nothing goes back.")
            }
        }
    }
}

/// Is every period that has unused days paid for, so that its days can be counted as paid under another plan?
///
/// # Errors
/// [`Refused`] for the first that is not.
pub(super) fn all_paid(
    plan: &Plan,
    subscription: &Subscription,
    rests: &[Rest],
    (unused_from, mend): (NaiveDate, &str),
) -> Result<(), Refused> {
    if let Some(cycle) = pending(plan, subscription, unused_from).map_err(no_answer)? {
        return Err(standing(format!("cycle {cycle} is due and has not been charged yet"), mend));
    }
    for rest in rests.iter().filter(|rest| rest.unused > 0) {
        match rest.standing {
            Standing::Paid if rest.disputed => {
                let message = format!(
                    "the charge {} of the running period, cycle {}, is disputed: its money may go back",
                    rest.charge, rest.cycle
                );
                return Err(standing(message, mend));
            }
            Standing::Together => {
                let message = format!(
                    "the charge {} of the running period, cycle {}, shares one payment with cycles of other subscriptions",
                    rest.charge, rest.cycle
                );
                return Err(standing(message, mend));
            }
            Standing::Paid | Standing::LeftOut { .. } => {}
            Standing::Unpaid { word } => {
                let message = format!(
                    "the charge {} of the running period, cycle {}, is {word}: its days are not paid",
                    rest.charge, rest.cycle
                );
                return Err(standing(message, mend));
            }
            Standing::Unrecorded => {
                let message = format!(
                    "no charge of the running period, cycle {}, is recorded: it was left out, or collected elsewhere",
                    rest.cycle
                );
                return Err(standing(message, mend));
            }
        }
    }
    Ok(())
}

/// The credits and charges with which a subscription goes over to another plan of its rhythm in the middle of its periods: of each
/// the old plan's unused days are credited and the new plan's charged, each a part of a whole period's price.
///
/// # Errors
/// [`Refused`] where a period is not paid, or the new plan has no price for it.
pub fn settle(
    (plan, other): (&Plan, &Plan),
    subscription: &Subscription,
    rests: &[Rest],
    unused_from: NaiveDate,
) -> Result<Vec<Settlement>, Refused> {
    let mend = format!(
        "change with the next cycle, --at next_cycle, or look again when it is paid: `autopay charges list --subscription {}`",
        subscription.id
    );
    all_paid(plan, subscription, rests, (unused_from, &mend))?;
    if rests.iter().all(|rest| rest.unused == 0) {
        return Err(standing(
            "no day of a period that was charged lies after today: nothing is left to settle",
            "change with the next cycle, --at next_cycle",
        ));
    }
    let mut changed = subscription.clone();
    changed.plan = other.id.clone();
    let schedule = other.schedule_of(&changed).map_err(no_answer)?;
    let mut settled = Vec::new();
    let mut add = |kind, amount: Money, rest: &Rest, (plan, price, of): (&PlanId, Money, u32)| {
        if amount.is_positive() {
            let (cycle, from, to) = (rest.cycle, rest.unused_from, rest.to);
            let settles = Settles { plan: plan.clone(), cycle, from, to, price, of };
            let days = if kind == AdjustmentKind::Credit { "unused " } else { "" };
            let reason = format!("{days}{}/{of} days of cycle {} under plan {plan}", rest.unused, rest.cycle);
            settled.push(Settlement { kind, amount, settles: Some(settles), reason, ground: Some(rest.ground()) });
        }
    };
    for rest in rests.iter().filter(|rest| rest.unused > 0 && rest.standing == Standing::Paid) {
        let (_, _, price) = other.whole_price(rest.from, &changed).map_err(no_answer)?;
        // A first period costs a part of a whole one only where the plan says so.
        let is_part = rest.cycle == 0 && other.on_start == OnStart::ProrateByDay;
        let whole = if is_part { schedule.cadence.whole_period_at_start().map_err(no_answer)? } else { None };
        let (from, to) = whole.unwrap_or((rest.from, rest.to));
        let of = days(from, to).ok_or_else(|| no_answer("the period has no length"))?;
        let charge = by_days(price, rest.unused, of)
            .ok_or_else(|| no_answer(format!("{price} is beyond what can be prorated")))?;
        let before = rest.plan.as_ref().unwrap_or(&plan.id);
        add(AdjustmentKind::Credit, rest.to_credit(), rest, (before, rest.price, rest.of));
        add(AdjustmentKind::Charge, charge, rest, (&other.id, price, of));
    }
    Ok(settled)
}
