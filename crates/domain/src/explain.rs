//! Why this amount, on this date, at this instant: the derivation of a charge, step by step.

use crate::agenda::{Cycle, cycles};
use crate::calendar::{BusinessDays, tz_version};
use crate::money::Money;
use crate::plan::{Mode, OnDay, Plan, Price};
use crate::split::Parts;
use crate::subscription::{AdjustmentKind, Ruling, Subscription};

/// Derives one cycle of a subscription again and says each step in a sentence.
///
/// The steps are computed, not remembered: whoever follows them comes to the same date and the same amount.
///
/// # Errors
/// A sentence when the plan has no answer for the cycle.
pub fn explain(plan: &Plan, subscription: &Subscription, cycle: u32) -> Result<Vec<String>, String> {
    let schedule = plan.schedule_of(subscription).map_err(|error| error.to_string())?;
    let first = schedule.occurrence(0).map_err(|error| error.to_string())?;
    let this = schedule.occurrence(cycle).map_err(|error| error.to_string())?;
    let zone = schedule.zone.name();
    let mut steps = vec![format!("Plan {} in version {} applies: {}.", plan.id, plan.version, plan.name)];
    let day = match (subscription.anchor_day, plan.on_day) {
        (Some(day), OnDay::EnrollmentDay | OnDay::Fixed(_)) => format!("the day agreed with the customer, {day}"),
        (None, OnDay::Fixed(day)) => format!("the plan's day, {day}"),
        (None, OnDay::EnrollmentDay) => "the day of the start date".to_owned(),
    };
    let free = match plan.free_first_days {
        0 => String::new(),
        days => format!(", after {days} free days"),
    };
    steps.push(format!(
        "The subscription starts on {}{free}; its first cycle (number 0) falls on {}, by {day}.",
        subscription.start_on, first.date
    ));
    steps.push(format!("Cycle {cycle} is {cycle} times {} after the first: {}.", plan.every, this.date));
    if this.submit_on != this.date {
        let calendar = schedule.calendar.map_or("", |calendar| calendar.as_str());
        steps.push(format!(
            "{} is no business day of {calendar}; by the rule {} it is submitted on {}.",
            this.date,
            schedule.business_days.as_str(),
            this.submit_on
        ));
    } else if schedule.business_days != BusinessDays::None {
        steps.push(format!("{} is a business day: no shift.", this.date));
    }
    let ruling = subscription.amendments.overrides.get(&cycle);
    if let Some((Ruling::Move { to }, one)) = ruling.map(|one| (one.ruling, one)) {
        let why = because(&one.reason);
        steps.push(format!("{} moved its charge to {to}{why}; its date, number and period stay.", one.by));
    }
    let planned = cycles(plan, subscription, cycle)?.next().transpose()?;
    steps.push(format!(
        "{} on that day in {zone} is {} (zone data {}).",
        schedule.charge_at,
        planned.as_ref().map_or(this, |cycle| cycle.occurrence).charge_at.format("%Y-%m-%dT%H:%M:%SZ"),
        tz_version()
    ));
    match planned {
        None => steps.push("The subscription has ended before this date: nothing is charged.".to_owned()),
        Some(Cycle { left_out: Some(left_out), .. }) => {
            let who = ruling.map(|one| format!(" {} said so", one.by)).unwrap_or_default();
            steps.push(format!("It is left out and never charged:{who}{}.", because(&left_out.reason)));
        }
        Some(cycle) => {
            cycle.price.clone()?;
            let whence = match &plan.price {
                Price::FromSubscription => "agreed with the customer".to_owned(),
                Price::Steps(price_steps) => match price_steps.iter().rev().find(|(from, _)| *from <= this.date) {
                    Some((from, _)) if price_steps.len() > 1 => format!("the plan's price from {from} on"),
                    Some(_) | None => "the plan's price".to_owned(),
                },
            };
            let price = plan.price_on(this.date, subscription).unwrap_or(cycle.amount);
            steps.push(format!("The amount is {price}, {whence}."));
            steps.extend(swept(&cycle));
            steps.extend(how_it_is_collected(plan, cycle.amount));
        }
    }
    Ok(steps)
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

/// The adjustments that a cycle takes, one by one, and what is left to pay.
fn swept(cycle: &Cycle) -> Vec<String> {
    let mut steps: Vec<String> = (cycle.applied.iter())
        .map(|one| {
            let (name, way) = match one.kind {
                AdjustmentKind::Credit => ("Credit", "takes off"),
                AdjustmentKind::Charge => ("Charge", "adds"),
            };
            format!("{name} {} {way} {}{}.", one.adjustment, one.amount, because(&one.reason))
        })
        .collect();
    if !steps.is_empty() {
        steps.push(format!("That makes {}.", cycle.amount));
    }
    steps
}

/// What the plan says beyond a plain sale: set aside first, or shared by two methods.
fn how_it_is_collected(plan: &Plan, amount: Money) -> Option<String> {
    let rule = plan.split.map(|split| (split, split.parts(amount)));
    match (plan.mode, rule) {
        (Mode::Authorize { .. }, _) => {
            Some("It is set aside on the card for 7 days and taken by a capture, whole or in part.".to_owned())
        }
        (Mode::Sale, None) => None,
        (Mode::Sale, Some((split, Parts::Two(first, second)))) => Some(format!(
            "The first method pays {} = {first}, the second the rest, {second}: both or none.",
            split.in_words()
        )),
        (Mode::Sale, Some((split, Parts::One))) => Some(format!(
            "The first method would pay {}, which leaves nothing to share: it pays {amount} alone.",
            split.in_words()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{AmountSpec, CollectSpec, PlanSpec, ScheduleSpec, SplitSpec};

    fn told(price: &str, collect: CollectSpec) -> String {
        let spec = PlanSpec {
            id: "wellness".into(),
            name: "Wellness".into(),
            kind: "recurring".into(),
            status: "active".into(),
            schedule: ScheduleSpec {
                every: "1 month".into(),
                time_zone: "UTC".into(),
                charge_at: "08:00".into(),
                ..ScheduleSpec::default()
            },
            amount: AmountSpec { currency: "USD".into(), value: Some(price.into()), step: vec![] },
            collect,
            ..PlanSpec::default()
        };
        let plan = Plan::from_spec(&spec, 1).unwrap();
        explain(&plan, &crate::subscription::tests::sample(), 0).unwrap().pop().unwrap()
    }

    #[test]
    fn a_split_is_derived_again_to_the_cent() {
        let split = |fixed: Option<&str>, share: Option<&str>| CollectSpec {
            split: Some(SplitSpec { fixed: fixed.map(Into::into), share: share.map(Into::into), methods: None }),
            ..CollectSpec::default()
        };
        assert_eq!(
            told("79.01", split(None, Some("40%"))),
            "The first method pays 40% of the amount = USD 31.60, the second the rest, USD 47.41: both or none."
        );
        assert_eq!(
            told("79.00", split(Some("25.00"), None)),
            "The first method pays 25.00 = USD 25.00, the second the rest, USD 54.00: both or none."
        );
        assert_eq!(
            told("19.00", split(Some("25.00"), None)),
            "The first method would pay 25.00, which leaves nothing to share: it pays USD 19.00 alone."
        );
        let holds = CollectSpec { mode: Some("authorize".into()), ..CollectSpec::default() };
        assert!(told("19.00", holds).starts_with("It is set aside on the card for 7 days"));
    }
}
