//! What comes next for a subscription, and what is worth saying about each cycle.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};

use crate::agenda::{Cycle, LeftOut};
use crate::cadence::{AnchorDay, Schedule, Unit};
use crate::calendar::BusinessDays;
use crate::charge::SkipWhy;
use crate::money::Money;
use crate::notice::Owed;
use crate::plan::{Plan, Price};
use crate::subscription::{Applied, Ruling, Subscription};

/// What is known beside the cycle itself.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The subscription.
    pub subscription: &'a Subscription,
    /// Its schedule.
    pub schedule: &'a Schedule,
    /// What the cycle before costs, if there is one.
    pub before: Option<Money>,
    /// Is it the last one?
    pub last: bool,
    /// The notice that it owes, if it owes one.
    pub owed: Option<&'a Owed>,
    /// Now, UTC.
    pub now: DateTime<Utc>,
}

/// The service period of a cycle, half-open; `None` where the calendar ends before it does, and for a date chosen by hand.
#[must_use]
pub fn period(schedule: &Schedule, cycle: &Cycle) -> Option<(NaiveDate, NaiveDate)> {
    let period = schedule.cadence.period(cycle.occurrence.index).ok()?;
    (period.0 == cycle.occurrence.date).then_some(period)
}

/// A cycle whose notice came late is charged on the first day on which it may be, at the plan's hour.
pub fn put_off(schedule: &Schedule, cycle: &mut Cycle, owed: Option<&Owed>) {
    let occurrence = &mut cycle.occurrence;
    let day = owed.and_then(Owed::day).filter(|day| *day > occurrence.submit_on);
    if let Some((day, charge_at)) =
        day.and_then(|day| Some((day, schedule.zone.instant(day, schedule.charge_at).ok()?)))
    {
        (occurrence.submit_on, occurrence.charge_at) = (day, charge_at);
    }
}

/// Why a cycle is what it is, in sentence parts, the most important first; nothing for a plain one.
///
/// ```
/// # use domain::upcoming::notes;
/// # fn told(beside: &domain::upcoming::Beside<'_>, cycle: &domain::agenda::Cycle) {
/// for note in notes(beside, cycle) {
///     println!("{note}"); // "31 January is a Sunday: submitted on 2027-02-01 by the rule next"
/// }
/// # }
/// ```
#[must_use]
pub fn notes(beside: &Beside<'_>, cycle: &Cycle) -> Vec<String> {
    let occurrence = &cycle.occurrence;
    let mut notes = Vec::new();
    let kept_back = beside.owed.is_some_and(|owed| owed.lawful.is_err());
    if occurrence.charge_at <= beside.now && !kept_back {
        notes.push("its moment has passed: the next run takes it".to_owned());
    }
    if let Some(left_out) = &cycle.left_out {
        notes.push(not_charged(left_out));
        return notes;
    }
    match &cycle.price {
        Err(sentence) if cycle.out_of_bounds => notes.push(format!("waits for a person: {sentence}")),
        Err(sentence) => notes.push(sentence.clone()),
        Ok(()) if cycle.amount.is_zero() => notes.push("nothing to pay: skipped by rule".to_owned()),
        Ok(()) => {
            let lack = beside.plan.lacks(beside.subscription, cycle.amount);
            notes.extend(lack.map(|lack| format!("cannot be charged: {}", lack.in_words())));
        }
    }
    notes.extend(beside.owed.and_then(|owed| owed.in_words(occurrence.submit_on)));
    notes.extend(cycle.applied.iter().map(Applied::in_words));
    notes.extend(stepped(beside, cycle));
    match beside.subscription.amendments.overrides.get(&occurrence.index).map(|one| (one.ruling, &one.reason)) {
        Some((Ruling::Move { to }, reason)) => {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            notes.push(format!("moved by a person to {to}{why}"));
        }
        Some((Ruling::Skip, _)) | None => {
            notes.extend(rolled(beside.schedule, occurrence.date, occurrence.submit_on));
        }
    }
    notes.extend(clamped(beside.schedule, occurrence.date));
    if occurrence.index == 0 && beside.plan.free_first_days > 0 {
        let (days, start) = (beside.plan.free_first_days, beside.subscription.start_on);
        notes.push(format!("the first, after {days} free days from {start}"));
    }
    if beside.last {
        notes.push(match beside.subscription.last_on() {
            Some(end) => format!("the last: the subscription ends on {end}"),
            None => "the last".to_owned(),
        });
    }
    notes
}

/// Why a cycle is left out, in words.
fn not_charged(left_out: &LeftOut) -> String {
    let LeftOut { why, reason } = left_out;
    let rule = match why {
        SkipWhy::Person => "left out by a person",
        SkipWhy::Paused => "falls into a pause",
        SkipWhy::Missed => "missed",
        SkipWhy::ZeroAmount => "nothing to pay",
        SkipWhy::Cancelled => "cancelled",
        SkipWhy::HoldExpired => "what was set aside went back",
        SkipWhy::Consolidated => "collected with another charge of the same day",
        SkipWhy::WrittenOff => "written off",
    };
    if reason.is_empty() { format!("not charged: {rule}") } else { format!("not charged: {rule}: {reason}") }
}

/// A price that is another than before; adjustments are told by themselves.
fn stepped(beside: &Beside<'_>, cycle: &Cycle) -> Option<String> {
    let differs = |before: &Money| *before != cycle.amount && cycle.price.is_ok() && cycle.applied.is_empty();
    let before = beside.before.filter(differs)?;
    let mut note = format!("{} after {before}", cycle.amount);
    if let Price::Steps(steps) = &beside.plan.price
        && let Some((from, _)) = steps.iter().rev().find(|(from, _)| *from <= cycle.occurrence.date)
    {
        note.push_str(&format!(" by the price from {from} on"));
    }
    Some(note)
}

fn rolled(schedule: &Schedule, date: NaiveDate, submit_on: NaiveDate) -> Option<String> {
    if submit_on == date || schedule.business_days == BusinessDays::None {
        return None;
    }
    let holiday = schedule.calendar.and_then(|calendar| calendar.holiday(date).ok().flatten());
    let day = holiday.map_or_else(|| date.format("a %A").to_string(), str::to_owned);
    let rule = schedule.business_days.as_str();
    Some(format!("{date} is {day}: submitted on {submit_on} by the rule {rule}"))
}

fn clamped(schedule: &Schedule, date: NaiveDate) -> Option<String> {
    let months = match schedule.cadence.every().unit() {
        Unit::Day | Unit::Week => false,
        Unit::Month | Unit::Quarter | Unit::Year => true,
    };
    match schedule.cadence.day() {
        AnchorDay::Day(day) if months && date.day() < u32::from(day) => {
            Some(format!("the month has no day {day}: its last day counts"))
        }
        AnchorDay::Day(_) | AnchorDay::LastDay => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::agenda::cycles;
    use crate::cadence::Occurrence;
    use crate::money::Currency;
    use crate::notice::{Facts, Gate, Given, Notices};
    use crate::plan::{AmountSpec, PlanSpec, ScheduleSpec, StepSpec};
    use crate::subscription::tests::sample;
    use crate::subscription::{Adjustment, AdjustmentKind, Override, SubscriptionStatus};

    fn plan() -> Plan {
        Plan::from_spec(&spec(), 1).unwrap()
    }

    fn spec() -> PlanSpec {
        let step = |from: &str, value: &str| StepSpec { from: from.into(), value: value.into(), ..StepSpec::default() };
        PlanSpec {
            id: "wellness".into(),
            name: "Wellness".into(),
            kind: "recurring".into(),
            status: "active".into(),
            schedule: ScheduleSpec {
                every: "1 month".into(),
                time_zone: "America/Chicago".into(),
                charge_at: "08:00".into(),
                business_days: Some("next".into()),
                calendar: Some("us-federal-reserve".into()),
                free_first: Some("30 days".into()),
                ..ScheduleSpec::default()
            },
            amount: AmountSpec {
                currency: "USD".into(),
                value: None,
                step: vec![step("2027-01-01", "79.00"), step("2027-06-01", "84.00"), step("2027-08-01", "0.00")],
                ..AmountSpec::default()
            },
            ..PlanSpec::default()
        }
    }

    /// The dates and notes of the first cycles.
    fn told(subscription: &Subscription) -> Vec<String> {
        told_under(&plan(), subscription, Notices::Assumed)
    }

    fn told_under(plan: &Plan, subscription: &Subscription, notices: Notices<'_>) -> Vec<String> {
        let now = "2027-04-01T00:00:00Z".parse().unwrap();
        let mut gate = Gate::before(plan, subscription, 0, notices);
        let walk = cycles(plan, subscription, 0).unwrap();
        let schedule = walk.schedule().clone();
        let all: Vec<Cycle> = walk.take(7).map(Result::unwrap).collect();
        let mut lines = Vec::new();
        for (place, cycle) in all.iter().enumerate() {
            let before = place.checked_sub(1).map(|before| all[before].amount);
            let last = all.len() < 7 && all.get(place..).is_some_and(|rest| rest.len() == 1);
            let owed = gate.next(cycle, now);
            let beside = Beside { plan, subscription, schedule: &schedule, before, last, owed: owed.as_ref(), now };
            lines.push(format!("{} {}", cycle.occurrence.date, notes(&beside, cycle).join("; ")));
        }
        lines
    }

    #[test]
    fn every_cycle_says_what_is_unusual_about_it() {
        assert_eq!(
            told(&sample()),
            [
                "2027-03-31 its moment has passed: the next run takes it; the first, after 30 free days from 2027-01-31",
                "2027-04-30 the month has no day 31: its last day counts",
                "2027-05-31 2027-05-31 is Memorial Day: submitted on 2027-06-01 by the rule next",
                "2027-06-30 USD 84.00 after USD 79.00 by the price from 2027-06-01 on; the month has no day 31: its last day counts",
                "2027-07-31 2027-07-31 is a Saturday: submitted on 2027-08-02 by the rule next",
                "2027-08-31 nothing to pay: skipped by rule; USD 0.00 after USD 84.00 by the price from 2027-08-01 on",
                "2027-09-30 nothing to pay: skipped by rule; the month has no day 31: its last day counts",
            ]
        );
    }

    #[test]
    fn what_people_changed_is_said_of_the_cycles_it_changes() {
        let at = "2027-03-01T00:00:00Z".parse().unwrap();
        let mut subscription = sample();
        let by = "ann".to_owned();
        let ruled = |ruling, reason: &str| Override { ruling, reason: reason.to_owned(), by: by.clone(), at };
        let amendments = &mut subscription.amendments;
        amendments.overrides.insert(1, ruled(Ruling::Skip, "away in April"));
        let to = "2027-06-07".parse().unwrap();
        amendments.overrides.insert(2, ruled(Ruling::Move { to }, ""));
        let amount = Money::new(1_250, Currency::USD);
        let (kind, reason) = (AdjustmentKind::Credit, "class was cancelled".to_owned());
        amendments.open.push(Adjustment { id: 3, kind, amount, left: amount, settles: None, reason, by, at });
        amendments.last_on = "2027-06-20".parse().ok();
        let told = told(&subscription);
        assert!(told[0].contains("credit 3 of USD 12.50 (class was cancelled)"), "{told:?}");
        assert_eq!(told[1], "2027-04-30 not charged: left out by a person: away in April");
        assert_eq!(told.len(), 3);
        assert!(told[2].contains("moved by a person to 2027-06-07"), "{told:?}");
        assert!(told[2].ends_with("the last: the subscription ends on 2027-06-20"), "{told:?}");
        (subscription.status, subscription.amendments.resume_on) =
            (SubscriptionStatus::Paused, "2027-05-01".parse().ok());
        subscription.next_cycle = 0;
        let told = self::told(&subscription);
        assert!(told[0].ends_with("not charged: falls into a pause: paused until 2027-05-01"), "{told:?}");
    }

    #[test]
    fn a_cycle_that_owes_a_notice_says_so_and_when_it_can_be_charged() {
        let mut spec = spec();
        spec.amount.step[1].notice = Some("30 days".into());
        spec.collect.notify_before = Some("5 days".into());
        let plan = Plan::from_spec(&spec, 1).unwrap();
        let mut subscription = sample();
        subscription.end_on = "2027-07-01".parse().ok();
        let given = |cycle, minor, on: &str, at: &str| Given {
            cycle,
            amount: Money::new(minor, Currency::USD),
            on: on.parse().unwrap(),
            delivered_at: at.parse().ok(),
        };
        let untold = told_under(&plan, &subscription, Notices::Known(&BTreeMap::new()));
        let rule = "(plan wellness: notify_before 5 days)";
        assert_eq!(
            untold[0],
            format!(
                "2027-03-31 notice not sent in time: it had to reach the payer by 2027-03-26; sent today, the charge can be made from \
                 2027-04-05 on {rule}; the first, after 30 free days from 2027-01-31"
            )
        );
        let owes = format!("2027-04-30 owes a notice, which has to reach the payer by 2027-04-25 {rule}");
        assert!(untold[1].starts_with(&owes), "{untold:?}");
        let stepped = "owes a notice, which has to reach the payer by 2027-05-31 (plan wellness: 30 days' notice of the price from 2027-06-01";
        assert!(untold[3].contains(stepped), "{untold:?}");
        let facts = Facts {
            last: None,
            given: vec![
                given(0, 7_900, "2027-03-31", "2027-03-31T18:00:00Z"),
                given(1, 7_900, "2027-04-30", "2027-03-31T18:00:00Z"),
            ],
        };
        let known = BTreeMap::from([(subscription.id.clone(), facts)]);
        let told = told_under(&plan, &subscription, Notices::Known(&known));
        let waits = format!(
            "2027-03-31 notice not sent in time: it was sent on 2027-03-31, so the charge waits until 2027-04-05 {rule}"
        );
        assert!(told[0].starts_with(&waits), "{told:?}");
        assert!(!told[1].contains("notice"), "{told:?}");
        let mut cycle = cycles(&plan, &subscription, 0).unwrap().next().unwrap().unwrap();
        let now = "2027-04-01T00:00:00Z".parse().unwrap();
        let owed = Gate::before(&plan, &subscription, 0, Notices::Known(&known)).next(&cycle, now);
        put_off(&plan.schedule_of(&subscription).unwrap(), &mut cycle, owed.as_ref());
        let Occurrence { date, submit_on, charge_at, .. } = cycle.occurrence;
        assert_eq!((date.to_string(), submit_on.to_string()), ("2027-03-31".to_owned(), "2027-04-05".to_owned()));
        assert_eq!(charge_at.to_rfc3339(), "2027-04-05T13:00:00+00:00");
    }

    #[test]
    fn the_last_one_and_one_without_a_method_say_so() {
        let mut subscription = sample();
        (subscription.method, subscription.end_on) = (None, "2027-05-01".parse().ok());
        let told = told(&subscription);
        assert_eq!(told.len(), 2);
        assert!(told[1].contains("cannot be charged: ") && told[1].ends_with("ends on 2027-05-01"), "{told:?}");
    }
}
