//! What a change of plans does to money: forecast(new) − forecast(old), subscription by subscription, month by month.
//!
//! Only sums are kept, so that a book of any size is gone through in the same memory.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde::Serialize;

use crate::agenda::{cycles, enrol};
use crate::money::{Currency, Money, MoneyError};
use crate::plan::{Plan, PlanStatus};
use crate::subscription::Subscription;

/// Whole civil months that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    first: NaiveDate,
    end: NaiveDate,
}

impl Horizon {
    /// The month of `today` and those after it, `months` in all.
    ///
    /// # Errors
    /// When they leave the calendar.
    pub fn from(today: NaiveDate, months: u32) -> Result<Self, String> {
        let past = || format!("{months} months from {today} leave the calendar: write fewer");
        let first = today.with_day(1).ok_or_else(past)?;
        let end = first.checked_add_months(Months::new(months)).ok_or_else(past)?;
        Ok(Self { first, end })
    }

    /// The first day.
    #[must_use]
    pub const fn first(self) -> NaiveDate {
        self.first
    }

    /// The day after the last one.
    #[must_use]
    pub const fn end(self) -> NaiveDate {
        self.end
    }

    /// The month of a date, by its first day. What was due before the horizon and is still owed keeps its own.
    fn month(self, date: NaiveDate) -> NaiveDate {
        date.with_day(1).unwrap_or(self.first)
    }
}

/// A month, by its first day, and a currency.
pub type MonthKey = (NaiveDate, Currency);

/// What is planned in a month under the plans in force and under the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// Under the plans in force.
    pub old: Money,
    /// Under the new ones.
    pub new: Money,
}

impl Shift {
    const fn nothing(currency: Currency) -> Self {
        Self { old: Money::new(0, currency), new: Money::new(0, currency) }
    }

    /// What the new plans plan more; less where it is negative.
    ///
    /// # Errors
    /// When it is too large to be told.
    pub fn difference(self) -> Result<Money, MoneyError> {
        self.new.checked_sub(self.old)
    }
}

/// How one subscription is touched within the horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touched {
    /// The first date at which the two differ.
    pub on: NaiveDate,
    /// What is planned for it under the plan in force; `None` where nothing is.
    pub old: Option<Money>,
    /// What is planned for it under the new plan; `None` where nothing is.
    pub new: Option<Money>,
    /// The first cycle that the new plan cannot charge, and why: nothing after it is charged either, or it alone waits for a person.
    pub stuck: Option<(NaiveDate, String)>,
}

/// Sums over subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effect {
    /// By month and currency; only months in which something is planned.
    pub months: BTreeMap<MonthKey, Shift>,
    /// Subscriptions gone through.
    pub seen: u64,
    /// Those whose dates or amounts change within the horizon.
    pub touched: u64,
    /// Those that the new plan cannot charge, though the old one could.
    pub stuck: u64,
}

/// A subscription of a roster as an import of `now` under the new plan would enrol it. Where both plans have one rhythm it stands at the
/// same cycle, which its row may have named; another rhythm counts other cycles, so there its dates decide.
///
/// # Errors
/// A sentence when the new plan's calendar has no answer.
pub fn enrolled_under(
    old: Option<&Plan>,
    new: &Plan,
    subscription: &Subscription,
    now: DateTime<Utc>,
) -> Result<Subscription, String> {
    let mut moved = subscription.clone();
    if old.is_some_and(|old| old.rhythm_differs(new).is_none()) {
        let next = cycles(new, subscription, subscription.next_cycle)?.next().transpose()?;
        moved.next_due_at = next.map(|cycle| cycle.occurrence.charge_at);
    } else {
        (moved.next_cycle, moved.next_due_at) = enrol(new, subscription, now)?;
    }
    Ok(moved)
}

/// What is planned for one subscription.
struct Planned {
    lines: Vec<(NaiveDate, Money)>,
    stuck: Option<(NaiveDate, String)>,
}

fn planned(plan: Option<&Plan>, subscription: &Subscription, horizon: Horizon) -> Planned {
    let mut planned = Planned { lines: Vec::new(), stuck: None };
    let Some(plan) = plan.filter(|plan| plan.status == PlanStatus::Active) else { return planned };
    let stuck = |why: String| Some((horizon.first, why));
    let walk = match cycles(plan, subscription, subscription.next_cycle) {
        Ok(walk) => walk,
        Err(why) => return Planned { stuck: stuck(why), ..planned },
    };
    for cycle in walk {
        match cycle {
            Err(why) => {
                planned.stuck = stuck(why);
                break;
            }
            Ok(cycle) if cycle.occurrence.date >= horizon.end => break,
            Ok(cycle) => match cycle.price {
                // It waits for a person, and those after it are charged (decision 52).
                Err(why) if cycle.out_of_bounds => {
                    let first = planned.stuck.take();
                    planned.stuck =
                        first.or_else(|| Some((cycle.occurrence.date, format!("it waits for a person: {why}"))));
                }
                // Whoever cannot be charged is set aside, and nothing after it is charged either.
                Err(why) => {
                    let first = planned.stuck.take();
                    planned.stuck = first.or(Some((cycle.occurrence.date, why)));
                    break;
                }
                Ok(()) if cycle.amount.is_zero() => {}
                Ok(()) => planned.lines.push((cycle.occurrence.date, cycle.amount)),
            },
        }
    }
    planned
}

impl Effect {
    fn month(&mut self, month: NaiveDate, currency: Currency) -> &mut Shift {
        self.months.entry((month, currency)).or_insert(Shift::nothing(currency))
    }

    /// Adds one active subscription under the plan in force and under the new one; `None` where it is not touched.
    ///
    /// # Errors
    /// When a sum is too large to be told.
    pub fn add(
        &mut self,
        old: Option<&Plan>,
        new: Option<&Plan>,
        subscription: &Subscription,
        horizon: Horizon,
    ) -> Result<Option<Touched>, MoneyError> {
        self.add_moved((old, subscription), (new, subscription), horizon)
    }

    /// As [`Effect::add`], of a subscription that stands at another cycle under the new plan ([`enrolled_under`]).
    ///
    /// # Errors
    /// As [`Effect::add`].
    pub fn add_moved(
        &mut self,
        (old, stands): (Option<&Plan>, &Subscription),
        (new, moved): (Option<&Plan>, &Subscription),
        horizon: Horizon,
    ) -> Result<Option<Touched>, MoneyError> {
        let (before, after) = (planned(old, stands, horizon), planned(new, moved, horizon));
        self.seen = self.seen.saturating_add(1);
        for (date, money) in &before.lines {
            let month = self.month(horizon.month(*date), money.currency());
            month.old = month.old.checked_add(*money)?;
        }
        for (date, money) in &after.lines {
            let month = self.month(horizon.month(*date), money.currency());
            month.new = month.new.checked_add(*money)?;
        }
        let stuck = after.stuck.clone().filter(|_| before.stuck.is_none());
        self.stuck = self.stuck.saturating_add(u64::from(stuck.is_some()));
        let first = first_difference(&before.lines, &after.lines);
        let touched = match (first, stuck) {
            (None, None) => return Ok(None),
            (Some((on, old, new)), stuck) => Touched { on, old, new, stuck },
            (None, Some((on, why))) => Touched { on, old: None, new: None, stuck: Some((on, why)) },
        };
        self.touched = self.touched.saturating_add(1);
        Ok(Some(touched))
    }
}

/// The first date at which two plannings differ, and what each has there.
type Difference = (NaiveDate, Option<Money>, Option<Money>);

fn first_difference(old: &[(NaiveDate, Money)], new: &[(NaiveDate, Money)]) -> Option<Difference> {
    let place = old.iter().zip(new).position(|(old, new)| old != new).unwrap_or(old.len().min(new.len()));
    let (old, new) = (old.get(place), new.get(place));
    let on = [old, new].into_iter().flatten().map(|(date, _)| *date).min()?;
    let there = |line: Option<&(NaiveDate, Money)>| line.filter(|(date, _)| *date == on).map(|(_, money)| *money);
    Some((on, there(old), there(new)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{AmountSpec, PlanSpec, ScheduleSpec, StepSpec};
    use crate::subscription::tests::sample;

    fn plan(change: impl FnOnce(&mut PlanSpec)) -> Plan {
        let mut spec = PlanSpec {
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
        change(&mut spec);
        Plan::from_spec(&spec, 1).unwrap()
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn steps(spec: &mut PlanSpec) {
        spec.amount.value = None;
        let step = |from: &str, value: &str| -> StepSpec {
            serde_json::from_value(serde_json::json!({ "from": from, "value": value })).unwrap()
        };
        spec.amount.step = vec![step("2026-01-01", "79.00"), step("2027-04-01", "84.00")];
    }

    #[test]
    fn a_price_step_shows_from_its_month_on() {
        let (old, new) = (plan(|_| ()), plan(steps));
        let horizon = Horizon::from(day("2027-01-15"), 6).unwrap();
        let mut effect = Effect::default();
        let touched = effect.add(Some(&old), Some(&new), &sample(), horizon).unwrap().unwrap();
        assert_eq!((touched.on, touched.old, touched.new), (day("2027-04-30"), Some(usd(7_900)), Some(usd(8_400))));
        let told: Vec<(String, i64, i64)> = effect
            .months
            .iter()
            .map(|((month, _), shift)| (month.to_string(), shift.old.minor(), shift.difference().unwrap().minor()))
            .collect();
        let expected = [
            ("2027-01-01", 7_900, 0),
            ("2027-02-01", 7_900, 0),
            ("2027-03-01", 7_900, 0),
            ("2027-04-01", 7_900, 500),
            ("2027-05-01", 7_900, 500),
            ("2027-06-01", 7_900, 500),
        ];
        assert_eq!(told, expected.map(|(month, old, difference)| (month.to_owned(), old, difference)));
    }

    #[test]
    fn what_does_not_change_is_summed_and_not_touched() {
        let (old, new) = (plan(|_| ()), plan(|spec| spec.name = "Another name".into()));
        let mut effect = Effect::default();
        let horizon = Horizon::from(day("2027-01-15"), 12).unwrap();
        assert_eq!(effect.add(Some(&old), Some(&new), &sample(), horizon).unwrap(), None);
        assert_eq!((effect.seen, effect.touched, effect.months.len()), (1, 0, 12));
    }

    #[test]
    fn a_retired_plan_charges_nobody() {
        let (old, new) = (plan(|_| ()), plan(|spec| spec.status = "retired".into()));
        let mut effect = Effect::default();
        let horizon = Horizon::from(day("2027-01-15"), 2).unwrap();
        let touched = effect.add(Some(&old), Some(&new), &sample(), horizon).unwrap().unwrap();
        assert_eq!((touched.on, touched.old, touched.new), (day("2027-01-31"), Some(usd(7_900)), None));
        assert!(effect.months.values().all(|shift| shift.difference() == Ok(usd(-7_900))));
    }

    #[test]
    fn what_the_new_plan_cannot_charge_is_told() {
        let (old, new) = (plan(|_| ()), plan(|spec| spec.amount.value = Some("from_subscription".into())));
        let mut effect = Effect::default();
        let horizon = Horizon::from(day("2027-01-15"), 2).unwrap();
        let touched = effect.add(Some(&old), Some(&new), &sample(), horizon).unwrap().unwrap();
        let (on, why) = touched.stuck.unwrap();
        assert_eq!(on, day("2027-01-31"));
        assert!(why.contains("no price"), "{why}");
        assert_eq!(effect.stuck, 1);
    }

    #[test]
    fn a_cycle_out_of_bounds_waits_alone() {
        // The step of February lies above the maximum of the new plan, the one of March below it again.
        let under = |maximum: Option<&str>| {
            plan(|spec| {
                let step = |from: &str, value: &str| -> StepSpec {
                    serde_json::from_value(serde_json::json!({ "from": from, "value": value })).unwrap()
                };
                spec.amount.value = None;
                spec.amount.maximum = maximum.map(ToOwned::to_owned);
                spec.amount.step =
                    vec![step("2025-01-01", "10.00"), step("2027-02-01", "90.00"), step("2027-03-01", "20.00")];
            })
        };
        let (old, new) = (under(None), under(Some("50.00")));
        let mut effect = Effect::default();
        let horizon = Horizon::from(day("2027-01-15"), 3).unwrap();
        let touched = effect.add(Some(&old), Some(&new), &sample(), horizon).unwrap().unwrap();
        assert_eq!((touched.on, touched.old, touched.new), (day("2027-02-28"), Some(usd(9_000)), None));
        assert!(touched.stuck.is_some_and(|(on, why)| on == day("2027-02-28") && why.contains("waits for a person")));
        let months =
            effect.months.iter().map(|((month, _), shift)| (month.month(), shift.old.minor(), shift.new.minor()));
        assert_eq!(months.collect::<Vec<_>>(), [(1, 1_000, 1_000), (2, 9_000, 0), (3, 2_000, 2_000)]);
    }

    #[test]
    fn what_was_due_before_and_is_owed_keeps_its_month() {
        let plan = plan(|_| ());
        let mut effect = Effect::default();
        effect.add(Some(&plan), Some(&plan), &sample(), Horizon::from(day("2027-03-15"), 1).unwrap()).unwrap();
        let months: Vec<String> = effect.months.keys().map(|(month, _)| month.to_string()).collect();
        assert_eq!(months, ["2027-01-01", "2027-02-01", "2027-03-01"]);
    }
}
