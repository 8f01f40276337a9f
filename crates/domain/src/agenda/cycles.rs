//! The cycles of a subscription, walked in order: when each falls due and what it costs.
//!
//! The agenda, a forecast and an explanation walk the same cycles, so that they cannot disagree about a date or an amount.

use std::rc::Rc;

use super::amended::{self, LeftOut};
use crate::cadence::{DayTable, Occurrence, Schedule};
use crate::charge::{Charge, State, Tries};
use crate::id::{ChargeId, Purpose};
use crate::installments::forgone;
use crate::money::Money;
use crate::plan::Plan;
use crate::reckoning::NotCharged;
use crate::subscription::{Adjustment, AdjustmentKind, Applied, Subscription};

/// One cycle as it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// Its index, its dates and its instant.
    pub occurrence: Occurrence,
    /// What it costs, adjustments included; zero where no price could be found.
    pub amount: Money,
    /// Whether that can be charged, or why not, as a sentence.
    pub price: Result<(), String>,
    /// That reason is the plan's minimum or maximum: this cycle waits for a person, and the others go on.
    pub out_of_bounds: bool,
    /// What it takes of which adjustment; nothing for nearly every cycle.
    pub applied: Vec<Applied>,
    /// Why it is left out, if it is: then it is recorded, costs nothing and is never charged.
    pub left_out: Option<LeftOut>,
}

impl Cycle {
    /// What it costs without adjustments.
    #[must_use]
    pub fn price_alone(&self) -> Money {
        self.applied.iter().fold(self.amount, |sum, one| {
            let undone = match one.kind {
                AdjustmentKind::Credit => sum.checked_add(one.amount),
                AdjustmentKind::Charge => sum.checked_sub(one.amount),
            };
            undone.unwrap_or(sum)
        })
    }

    /// The charge of the cycle as it would be recorded.
    #[must_use]
    pub fn charge(&self, plan: &Plan, subscription: &Subscription) -> Charge {
        Step::from(self).charge(plan, subscription)
    }
}

/// What an adding-up walk needs of a cycle: no text and no list, so that it is cheap to hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its index, its dates and its instant.
    pub(crate) occurrence: Occurrence,
    /// What it costs; zero where no price could be found.
    pub(crate) amount: Money,
    /// How much of that are one-off charges, less credits; minor units.
    pub(crate) adjusted: i64,
    /// Whether that can be charged.
    pub(crate) price: Priced,
}

impl Step {
    /// The charge of the cycle as it would be recorded.
    pub(crate) fn charge(&self, plan: &Plan, subscription: &Subscription) -> Charge {
        let cycle = self.occurrence.index;
        Charge {
            id: ChargeId::of(subscription.merchant, &subscription.id, cycle, Purpose::Cycle),
            merchant: subscription.merchant,
            subscription: subscription.id.clone(),
            cycle,
            purpose: Purpose::Cycle,
            plan: plan.id.clone(),
            plan_version: plan.version,
            amount: self.amount,
            carried: None,
            due_on: self.occurrence.date,
            due_at: self.occurrence.charge_at,
            tries: Tries::default(),
            state: State::Planned,
        }
    }
}

/// Whether what a cycle costs can be charged; [`Cycles::reason`] says why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priced {
    /// It can.
    Good,
    /// It lies outside the plan's bounds: this cycle waits for a person, and the others go on.
    OutOfBounds,
    /// No amount can be told.
    Unknown,
}

impl From<&Cycle> for Step {
    fn from(cycle: &Cycle) -> Self {
        let price = match (&cycle.price, cycle.out_of_bounds) {
            (_, true) => Priced::OutOfBounds,
            (Ok(()), false) => Priced::Good,
            (Err(_), false) => Priced::Unknown,
        };
        let adjusted = Applied::net(&cycle.applied);
        Self { occurrence: cycle.occurrence, amount: cycle.amount, adjusted, price }
    }
}

/// Walks the cycles of a subscription from one index on; ends past its end date, and after an error.
#[derive(Debug)]
pub struct Cycles<'a> {
    plan: &'a Plan,
    subscription: &'a Subscription,
    schedule: Schedule,
    days: Option<Rc<DayTable>>,
    next: Option<u32>,
    used_up: bool,
    /// Did people change anything about the subscription?
    is_amended: bool,
    /// Adjustments that the cycles walked so far have left over.
    open: Vec<Adjustment>,
}

/// The cycles of a subscription from `from` on. The schedule is worked out once, so a walk over many cycles is cheap.
///
/// What people changed about the subscription is in the walk: cycles that are left out or moved, and open adjustments, swept into
/// the next cycle that can take them.
///
/// # Errors
/// A sentence when the plan's calendar has no answer for this subscription at all.
pub fn cycles<'a>(plan: &'a Plan, subscription: &'a Subscription, from: u32) -> Result<Cycles<'a>, String> {
    let schedule = plan.schedule_of(subscription).map_err(|error| error.to_string())?;
    let open = subscription.amendments.open.clone();
    let next = Some(from);
    let is_amended = !subscription.amendments.is_empty();
    let mut walk = Cycles { plan, subscription, schedule, days: None, next, used_up: false, is_amended, open };
    if from > subscription.next_cycle && !walk.open.is_empty() {
        // The cycles in between take adjustments first.
        walk.next = Some(subscription.next_cycle);
        while !walk.open.is_empty() && walk.next.is_some_and(|next| next < from) {
            if !matches!(walk.next(), Some(Ok(_))) {
                break;
            }
        }
        (walk.next, walk.used_up) = (Some(from), false);
    }
    Ok(walk)
}

impl Cycles<'_> {
    /// The same walk, by days that were worked out before; a table of another schedule's days is left alone.
    #[must_use]
    pub fn by(mut self, days: Rc<DayTable>) -> Self {
        if days.fits(&self.schedule) {
            self.days = Some(days);
        }
        self
    }

    /// The zone, the rhythm and the calendar that the dates come from.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The next cycle as [`Iterator::next`] has it, without its texts.
    pub(crate) fn step(&mut self) -> Option<Result<Step, String>> {
        if self.is_amended {
            return self.next().map(|cycle| cycle.map(|cycle| Step::from(&cycle)));
        }
        self.advance(Self::stepped)
    }

    /// Why what a cycle of this walk costs cannot be charged, as a sentence.
    pub(crate) fn reason(&self, at: &Occurrence) -> Option<String> {
        let (_, charged) = self.plan.amount_of(&self.schedule, at, self.subscription);
        charged.err().map(|why| why.sentence().to_owned())
    }

    /// The dates of a cycle; `None` where the walk is over.
    fn dated(&self, index: u32) -> Result<Option<Occurrence>, String> {
        let occurrence = self.plan.occurrence(&self.schedule, self.days.as_deref(), index);
        let occurrence = occurrence.map_err(|error| error.to_string())?;
        Ok(occurrence.filter(|found| !self.plan.is_over(self.subscription, index, found.date)))
    }

    #[inline]
    fn stepped(&mut self, index: u32) -> Result<Option<Step>, String> {
        // Nearly every day is known from another walk: then there is nothing that could fail.
        let days = self.days.as_deref().filter(|_| self.plan.chosen_rows().is_empty());
        let occurrence = match days.and_then(|days| self.schedule.known_by(days, index)) {
            Some(known) if self.plan.is_over(self.subscription, index, known.date) => return Ok(None),
            Some(known) => known,
            None => match self.dated(index)? {
                Some(dated) => dated,
                None => return Ok(None),
            },
        };
        let (amount, charged) = self.plan.amount_of(&self.schedule, &occurrence, self.subscription);
        let price = match charged {
            Ok(()) => Priced::Good,
            Err(NotCharged::OutOfBounds(_)) => Priced::OutOfBounds,
            Err(NotCharged::NoPrice(_)) => Priced::Unknown,
        };
        Ok(Some(Step { occurrence, amount, adjusted: 0, price }))
    }

    fn planned(&mut self, index: u32) -> Result<Option<Cycle>, String> {
        let Some(occurrence) = self.dated(index)? else { return Ok(None) };
        let (amount, charged) = self.plan.amount_of(&self.schedule, &occurrence, self.subscription);
        let out_of_bounds = matches!(charged, Err(NotCharged::OutOfBounds(_)));
        let price = charged.map_err(|why| why.sentence().to_owned());
        let cycle = Cycle { occurrence, amount, price, out_of_bounds, applied: Vec::new(), left_out: None };
        if !self.is_amended {
            return Ok(Some(cycle));
        }
        let price = cycle.amount;
        let mut cycle = amended::amend(cycle, self.plan, &self.schedule, self.subscription, &mut self.open)?;
        if let Some(left_out) = cycle.left_out.as_mut().filter(|_| self.plan.is_in_parts()) {
            left_out.reason = part_left_out(&left_out.reason, price);
        }
        Ok(Some(cycle))
    }

    /// Goes on to the next index, if there is one.
    #[inline]
    fn advance<T>(
        &mut self,
        at: impl FnOnce(&mut Self, u32) -> Result<Option<T>, String>,
    ) -> Option<Result<T, String>> {
        let Some(index) = self.next.take() else {
            let told = std::mem::take(&mut self.used_up);
            return told.then(|| Err("the subscription has used up its cycle numbers".to_owned()));
        };
        let found = at(self, index).transpose()?;
        if found.is_ok() {
            self.next = index.checked_add(1);
            self.used_up = self.next.is_none();
        }
        Some(found)
    }
}

/// Why a part of a total is left out, with its amount: no later part makes up for it.
pub(super) fn part_left_out(reason: &str, amount: Money) -> String {
    let forgone = forgone(amount);
    if reason.is_empty() { forgone } else { format!("{reason}; {forgone}") }
}

impl Iterator for Cycles<'_> {
    type Item = Result<Cycle, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance(Self::planned)
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::plan::{AmountSpec, PlanSpec, ScheduleSpec};

    fn plan() -> Plan {
        let spec = PlanSpec {
            id: "wellness".into(),
            name: "Wellness".into(),
            kind: "recurring".into(),
            status: "active".into(),
            schedule: ScheduleSpec {
                every: "1 month".into(),
                time_zone: "America/Chicago".into(),
                charge_at: "08:00".into(),
                ..ScheduleSpec::default()
            },
            amount: AmountSpec { currency: "USD".into(), value: Some("79.00".into()), ..AmountSpec::default() },
            ..PlanSpec::default()
        };
        Plan::from_spec(&spec, 1).unwrap()
    }

    #[test]
    fn a_walk_gives_each_cycle_once_in_order_and_ends_with_the_subscription() {
        let (plan, mut sub) = (plan(), crate::subscription::tests::sample());
        sub.end_on = NaiveDate::from_ymd_opt(2027, 6, 15);
        let walked: Vec<Cycle> = cycles(&plan, &sub, 1).unwrap().map(Result::unwrap).collect();
        let dates: Vec<String> = walked.iter().map(|cycle| cycle.occurrence.date.to_string()).collect();
        assert_eq!(dates, ["2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]);
        let indexes: Vec<u32> = walked.iter().map(|cycle| cycle.occurrence.index).collect();
        assert_eq!(indexes, [1, 2, 3, 4]);
        assert_eq!(walked[0].charge(&plan, &sub).amount, Money::new(7_900, crate::money::Currency::USD));
    }

    #[test]
    fn a_walk_ends_after_its_first_error() {
        let (plan, sub) = (plan(), crate::subscription::tests::sample());
        let mut far = cycles(&plan, &sub, u32::MAX).unwrap();
        assert!(far.next().unwrap().is_err());
        assert!(far.next().is_none());
    }
}
