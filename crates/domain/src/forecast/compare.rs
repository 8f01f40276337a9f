//! Forecast and reality, a month at a time: what was scheduled less what was collected, as a sum of named reasons.
//!
//! A month owns the charges whose civil due date lies in it. Of each, what was foreseen and what became of it are two numbers;
//! [`Comparison::judge`] names what lies between them, in parts that add up to the cent. Nothing here looks at sums: whoever holds two
//! of them against each other (`scheduled` of the snapshot, `collected` of the book) has something that these parts must explain.

mod reason;
mod tally;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, Utc};

use crate::agenda::{Hold, cycles};
use crate::calendar::{CalendarError, Zone};
use crate::charge::{Charge, ParkWhy, SkipWhy, State};
use crate::firing::{Booked, Turn, TurnKind};
use crate::id::{PlanId, SubscriptionId};
use crate::money::{Currency, Money};
use crate::plan::{Plan, PlanStatus};
use crate::subscription::{Applied, Ruling, Subscription, SubscriptionStatus};
use crate::wallet::{Charging, Wallet, charging};

use super::{Entry, Kind, Rail};

pub use reason::Reason;
pub use tally::{Group, Sums, Tally};

/// A calendar month, and the instant at which it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month {
    /// Its first day.
    pub first: NaiveDate,
    /// Its last day.
    pub last: NaiveDate,
    /// The first instant after it, where months are told apart.
    pub ends_at: DateTime<Utc>,
}

impl Month {
    /// The month of a day, over when it is over in a zone.
    ///
    /// # Errors
    /// [`CalendarError`] outside the calendar's years.
    pub fn of(day: NaiveDate, zone: &Zone) -> Result<Self, CalendarError> {
        let first = day.with_day(1).unwrap_or(day);
        let next = first.checked_add_months(Months::new(1)).unwrap_or(NaiveDate::MAX);
        let ends_at = zone.instant(next, NaiveTime::MIN)?;
        Ok(Self { first, last: next.pred_opt().unwrap_or(first), ends_at })
    }

    /// Does a civil date lie in it?
    #[must_use]
    pub fn holds(&self, date: NaiveDate) -> bool {
        self.first <= date && date <= self.last
    }
}

/// A charge as a forecast foresaw it: one row of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// Whose.
    pub subscription: SubscriptionId,
    /// For which cycle.
    pub cycle: u32,
    /// The civil date of the cycle: its month is the month it belongs to.
    pub due_on: NaiveDate,
    /// The day under which the forecast counted it: another one where it was owed from before.
    pub counts_on: NaiveDate,
    /// How much.
    pub amount: Money,
    /// How much of that were one-off charges, less credits; minor units.
    pub adjusted: i64,
    /// Under which plan.
    pub plan: PlanId,
    /// Under which version of it.
    pub plan_version: u32,
    /// The way its money takes, if it had a method.
    pub method: Option<Rail>,
    /// Why it was to be tried.
    pub kind: Kind,
}

impl Foreseen {
    /// What is kept of a forecast's charge.
    #[must_use]
    pub fn of(entry: &Entry<'_>) -> Self {
        Self {
            subscription: entry.subscription.id.clone(),
            cycle: entry.cycle,
            due_on: entry.due_on,
            counts_on: entry.on,
            amount: entry.amount,
            adjusted: entry.adjusted,
            plan: entry.subscription.plan.clone(),
            plan_version: entry.plan_version,
            method: entry.rail(),
            kind: entry.kind,
        }
    }
}

/// What the book has of a foreseen cycle.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// No charge.
    Nothing,
    /// A charge whose row cannot be read.
    Unreadable,
    /// A charge.
    Charge(Happened<'a>),
}

/// A charge, and what became of its money afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'a> {
    /// The charge, and since when it is recorded.
    pub booked: &'a Booked,
    /// What refunds are known to have given back, minor units of its currency.
    pub given_back: i64,
    /// What its disputes withdraw, those that were won left out; `None` where an event named no amount.
    pub disputed: &'a [Option<Money>],
}

/// The subscription of a cycle.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// The book has none of that id.
    Absent,
    /// Its row cannot be read.
    Unreadable,
    /// As it stands.
    Known(Stands<'a>),
}

/// A subscription as it stands.
#[derive(Debug, Clone, Copy)]
pub struct Stands<'a> {
    /// The subscription.
    pub subscription: &'a Subscription,
    /// Its plan, if there is one.
    pub plan: Option<&'a Plan>,
    /// The cycle at which it entered the book, where that is known.
    pub first_cycle: Option<u32>,
    /// What happened to it, oldest first.
    pub turns: &'a [Turn],
}

/// What is compared, and when.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// The month.
    pub month: Month,
    /// The moment the forecast was made of.
    pub taken_at: DateTime<Utc>,
    /// The moment of the comparison: what falls due later is still to come.
    pub now: DateTime<Utc>,
    /// Holds in force.
    pub holds: &'a [Hold],
    /// What is known of payment methods.
    pub wallet: &'a Wallet,
}

/// One cycle: what it adds to the month on both sides, and what lies between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// What was scheduled for it in the month.
    pub scheduled: Option<Money>,
    /// What it brought within the month and still stands; below zero where more went back than came.
    pub collected: Option<Money>,
    /// Scheduled less collected, by reason; in each currency they add up exactly. None of them is zero.
    pub parts: Vec<(Reason, Money)>,
}

impl Difference {
    fn part(&mut self, reason: Reason, minor: i64, currency: Currency) {
        let same = |(its, amount): &&mut (Reason, Money)| *its == reason && amount.currency() == currency;
        match self.parts.iter_mut().find(same) {
            Some((_, amount)) => *amount = Money::new(amount.minor().saturating_add(minor), currency),
            None => self.parts.push((reason, Money::new(minor, currency))),
        }
    }

    fn settled(mut self) -> Self {
        self.parts.retain(|(_, amount)| !amount.is_zero());
        self.parts.sort_by_key(|(reason, _)| *reason);
        self
    }

    /// Scheduled less collected in a currency.
    #[must_use]
    pub fn gap(&self, currency: Currency) -> i64 {
        let of = |side: Option<Money>| side.filter(|money| money.currency() == currency).map_or(0, Money::minor);
        of(self.scheduled).saturating_sub(of(self.collected))
    }
}

/// What of a dispute's claims is withdrawn: what they name, and all of it where one names nothing usable; never more than was there.
#[must_use]
pub fn withdrawn(collected: Money, disputed: &[Option<Money>]) -> i64 {
    let all = collected.minor();
    let named = |claim: &Option<Money>| {
        claim.filter(|claim| claim.currency() == collected.currency() && claim.is_positive()).map_or(all, Money::minor)
    };
    disputed.iter().map(named).fold(0_i64, i64::saturating_add).min(all)
}

impl Comparison<'_> {
    /// Names what lies between the foreseen and the actual of one cycle. Both may be missing or belong to another month; a cycle that
    /// has nothing to do with the month gives nothing.
    #[must_use]
    pub fn judge(&self, foreseen: Option<&Foreseen>, found: &Found<'_>, whose: &Whose<'_>) -> Difference {
        let here = foreseen.filter(|foreseen| self.month.holds(foreseen.due_on));
        let mut difference = Difference { scheduled: here.map(|here| here.amount), ..Difference::default() };
        match (here, found) {
            (None, Found::Nothing | Found::Unreadable) => {}
            (Some(here), Found::Nothing) => {
                let why = self.absent(here, whose);
                difference.part(why, here.amount.minor(), here.amount.currency());
            }
            (Some(here), Found::Unreadable) => {
                difference.part(Reason::Unreadable, here.amount.minor(), here.amount.currency());
            }
            (here, Found::Charge(happened)) if self.month.holds(happened.booked.charge.due_on) => {
                match (here, foreseen) {
                    (Some(here), _) => owed(&mut difference, here, &happened.booked.charge, whose),
                    (None, foreseen) => self.unforeseen(&mut difference, foreseen, happened),
                }
                self.became(&mut difference, happened, whose);
            }
            // Its charge belongs to another month, which counts it.
            (Some(here), Found::Charge(_)) => {
                difference.part(Reason::Timing, here.amount.minor(), here.amount.currency());
            }
            (None, Found::Charge(_)) => {}
        }
        difference.settled()
    }

    /// A charge of the month that the forecast did not have in it.
    fn unforeseen(&self, difference: &mut Difference, elsewhere: Option<&Foreseen>, happened: &Happened<'_>) {
        let Happened { booked: Booked { charge, at, .. }, .. } = happened;
        let reason = match elsewhere {
            Some(_) => Reason::Timing,
            None if *at <= self.taken_at => Reason::BeforeSnapshot,
            None => Reason::New,
        };
        difference.part(reason, own_of(charge).saturating_neg(), charge.amount.currency());
        difference.part(Reason::Consolidated, joined(charge), charge.amount.currency());
    }

    /// What became of what a charge asked for.
    fn became(&self, difference: &mut Difference, happened: &Happened<'_>, whose: &Whose<'_>) {
        let Happened { booked: Booked { charge, .. }, given_back, disputed } = *happened;
        let currency = charge.amount.currency();
        let asked = owed_of(charge);
        difference.part(Reason::Refund, given_back, currency);
        let (came_at, there) = match &charge.state {
            State::Paid { at, collected, .. } => {
                let withdrawn = withdrawn(*collected, disputed);
                difference.part(Reason::CapturedLess, asked.saturating_sub(collected.minor()), currency);
                difference.part(Reason::Dispute, withdrawn, currency);
                (Some(*at), collected.minor().saturating_sub(withdrawn))
            }
            State::Returned { paid_at, .. } => {
                difference.part(Reason::Returned, asked, currency);
                (Some(*paid_at), 0)
            }
            State::Skipped { .. } => (None, 0),
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
            | State::Parked { .. } => {
                difference.part(self.uncollected(&charge.state, whose), asked, currency);
                (None, 0)
            }
        };
        let stands = there.saturating_sub(given_back);
        let is_late = came_at.is_some_and(|at| at >= self.month.ends_at);
        if is_late {
            difference.part(later(charge, whose), stands, currency);
        }
        difference.collected = Some(Money::new(if is_late { 0 } else { stands }, currency));
    }

    /// Why a charge that is recorded brought nothing.
    fn uncollected(&self, state: &State, whose: &Whose<'_>) -> Reason {
        match state {
            State::Due { doubt: false, .. } if self.is_held(whose) => Reason::OnHold,
            State::Planned | State::Due { doubt: false, .. } | State::Sending { .. } | State::Settling { .. } => {
                Reason::Open
            }
            State::Due { doubt: true, .. } | State::Unknown { .. } => Reason::Unknown,
            State::Authorized { .. } | State::Capturing { .. } | State::Releasing { .. } => Reason::SetAside,
            State::Failing { .. } => Reason::InDunning,
            State::Failed { .. } => Reason::Declined,
            State::Skipped { why, .. } => skipped(*why),
            State::Parked { why, .. } => match why {
                ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => Reason::Unknown,
                ParkWhy::Rejected
                | ParkWhy::NoMethod
                | ParkWhy::Damaged
                | ParkWhy::WrongMethod
                | ParkWhy::HoldExpired
                | ParkWhy::OutOfBounds => Reason::Parked,
            },
            State::Returned { .. } => Reason::Returned,
            // Collected: there is nothing to name.
            State::Paid { .. } => Reason::Timing,
        }
    }

    fn is_held(&self, whose: &Whose<'_>) -> bool {
        match whose {
            Whose::Known(Stands { subscription, plan, .. }) => {
                self.holds.iter().any(|hold| hold.covers(subscription, *plan))
            }
            Whose::Absent | Whose::Unreadable => false,
        }
    }

    /// Does what is known of a payment method let its cycles wait, unrecorded?
    fn method_waits(&self, plan: &Plan, subscription: &Subscription) -> bool {
        let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
        let today = zone.civil(self.now).map_or_else(|_| self.now.date_naive(), |civil| civil.date);
        let methods = [subscription.method.as_ref(), subscription.second_method.as_ref()];
        methods.into_iter().flatten().any(|method| match charging(self.wallet, method.id, today, self.now) {
            Charging::NotNow(_) => true,
            Charging::Yes | Charging::NoMethod(_) => false,
        })
    }

    /// Why a foreseen cycle has no charge.
    fn absent(&self, here: &Foreseen, whose: &Whose<'_>) -> Reason {
        let stands = match whose {
            Whose::Absent => return Reason::NotInBook,
            Whose::Unreadable => return Reason::Unreadable,
            Whose::Known(stands) => stands,
        };
        let Stands { subscription, plan, first_cycle, turns } = *stands;
        if first_cycle.is_some_and(|first| here.cycle < first) {
            return Reason::NotInBook;
        }
        if here.cycle < subscription.next_cycle {
            return if left_out(turns, here.cycle) { Reason::Paused } else { Reason::NotFired };
        }
        match subscription.status {
            SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => return Reason::Cancelled,
            SubscriptionStatus::Quarantined => return Reason::Quarantined,
            SubscriptionStatus::Active | SubscriptionStatus::Paused => {}
        }
        let Some(plan) = plan else { return Reason::PlanRetired };
        let cycle = match cycles(plan, subscription, here.cycle).map(|mut walk| walk.next()) {
            Ok(Some(Ok(cycle))) => cycle,
            // Its last day lies before this cycle now.
            Ok(None) => return Reason::Cancelled,
            // The engine sets such a subscription aside as soon as it looks.
            Ok(Some(Err(_))) | Err(_) => return Reason::Quarantined,
        };
        // It will not be charged, whether its day has come or not.
        if cycle.left_out.as_ref().is_some_and(|left_out| left_out.why == SkipWhy::Person) {
            return Reason::SkippedByPerson;
        }
        let occurrence = &cycle.occurrence;
        let is_to_come = occurrence.charge_at > self.now;
        let passed_over = cycle.left_out.as_ref().is_some_and(|left_out| left_out.why == SkipWhy::Paused);
        let is_paused = subscription.status == SubscriptionStatus::Paused
            && (!subscription.wakes_by_itself() || passed_over || !is_to_come);
        if !self.month.holds(occurrence.date) {
            Reason::Timing
        } else if is_paused {
            Reason::Paused
        } else if plan.status == PlanStatus::Retired {
            Reason::PlanRetired
        } else if is_to_come && is_moved(subscription, here.cycle) {
            Reason::Moved
        } else if is_to_come && occurrence.submit_on > self.month.last {
            Reason::Timing
        } else if is_to_come {
            Reason::ToCome
        } else if self.is_held(whose) {
            Reason::OnHold
        } else if self.method_waits(plan, subscription) {
            Reason::MethodWaits
        } else {
            Reason::NotFired
        }
    }
}

/// What a charge asks for: nothing once its cycle is skipped.
const fn owed_of(charge: &Charge) -> i64 {
    match charge.state {
        State::Skipped { .. } => 0,
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Parked { .. } => charge.amount.minor(),
    }
}

/// What the cycle of a charge costs by itself, whoever pays for it.
fn own_of(charge: &Charge) -> i64 {
    owed_of(charge).saturating_add(joined(charge))
}

/// What the payment of another charge collects for this one; below zero, what this one's payment collects for others. Over all that
/// are paid together it comes to nothing.
fn joined(charge: &Charge) -> i64 {
    match (&charge.state, charge.carried) {
        (State::Skipped { why: SkipWhy::Consolidated, .. }, _) => charge.amount.minor(),
        (_, Some(carried)) => carried.amount.minor().saturating_neg(),
        (_, None) => 0,
    }
}

/// Why the charge of a foreseen cycle asks for another amount.
fn owed(difference: &mut Difference, here: &Foreseen, charge: &Charge, whose: &Whose<'_>) {
    let (foreseen, currency) = (here.amount.minor(), here.amount.currency());
    let skip = match charge.state {
        State::Skipped { why, .. } => Some(why),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Parked { .. } => None,
    };
    let is_same_currency = charge.amount.currency() == currency;
    let rest = match skip {
        // What a rule or a person left out has no price to compare.
        Some(
            why @ (SkipWhy::Cancelled
            | SkipWhy::HoldExpired
            | SkipWhy::Missed
            | SkipWhy::Person
            | SkipWhy::Paused
            | SkipWhy::WrittenOff),
        ) => {
            difference.part(skipped(why), foreseen, currency);
            return;
        }
        Some(SkipWhy::ZeroAmount) => Reason::SkippedZero,
        // It has its price, and another charge collects it.
        Some(SkipWhy::Consolidated) => Reason::PriceChange,
        None if !is_same_currency => {
            difference.part(Reason::PriceChange, foreseen, currency);
            difference.part(Reason::PriceChange, own_of(charge).saturating_neg(), charge.amount.currency());
            difference.part(Reason::Consolidated, joined(charge), charge.amount.currency());
            return;
        }
        None => Reason::PriceChange,
    };
    let taken = if is_same_currency { adjusted(charge, whose) } else { here.adjusted };
    let by_people = here.adjusted.saturating_sub(taken);
    difference.part(Reason::Adjusted, by_people, currency);
    let price = foreseen.saturating_sub(own_of(charge)).saturating_sub(by_people);
    difference.part(rest, price, currency);
    difference.part(Reason::Consolidated, joined(charge), currency);
}

/// How much of a recorded amount are one-off charges, less credits.
fn adjusted(charge: &Charge, whose: &Whose<'_>) -> i64 {
    match whose {
        Whose::Known(Stands { subscription, .. }) => recorded_adjustments(subscription, charge.cycle),
        Whose::Absent | Whose::Unreadable => 0,
    }
}

/// What a recorded cycle took of adjustments: one-off charges less credits, minor units.
#[must_use]
pub fn recorded_adjustments(subscription: &Subscription, cycle: u32) -> i64 {
    Applied::net(subscription.amendments.applied.iter().filter(|one| one.cycle == cycle))
}

/// Why money came after the month.
fn later(charge: &Charge, whose: &Whose<'_>) -> Reason {
    match whose {
        _ if charge.tries.declined > 0 => Reason::RecoveredLater,
        Whose::Known(Stands { subscription, .. }) if is_moved(subscription, charge.cycle) => Reason::Moved,
        Whose::Known(_) | Whose::Absent | Whose::Unreadable => Reason::Timing,
    }
}

fn is_moved(subscription: &Subscription, cycle: u32) -> bool {
    let ruling = subscription.amendments.overrides.get(&cycle).map(|one| one.ruling);
    matches!(ruling, Some(Ruling::Move { .. }))
}

/// Did the subscription stand still when the cycle came, and go on without it?
fn left_out(turns: &[Turn], cycle: u32) -> bool {
    turns.iter().any(|turn| match turn.kind {
        TurnKind::Resumed { stood_at, goes_on } => stood_at.is_none_or(|stood| stood <= cycle) && cycle < goes_on,
        TurnKind::Stopped | TurnKind::Awoke | TurnKind::Cancelled => false,
    })
}

const fn skipped(why: SkipWhy) -> Reason {
    match why {
        SkipWhy::ZeroAmount => Reason::SkippedZero,
        SkipWhy::Cancelled => Reason::Cancelled,
        SkipWhy::HoldExpired => Reason::HoldExpired,
        SkipWhy::Missed => Reason::Missed,
        SkipWhy::Person => Reason::SkippedByPerson,
        SkipWhy::Paused => Reason::Paused,
        SkipWhy::Consolidated => Reason::Consolidated,
        // Given up because it could not be collected.
        SkipWhy::WrittenOff => Reason::Declined,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
