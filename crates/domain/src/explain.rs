//! Why this amount, on this date, at this instant: the derivation of a charge, step by step.

use chrono::NaiveDate;

use crate::agenda::{Cycle, cycles};
use crate::calendar::{BusinessDays, tz_version};
use crate::installments::{Installments, Remainder};
use crate::money::Money;
use crate::plan::{Mode, OnDay, Plan, Price};
use crate::reckoning::Reckoning;
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
    let occurrence = |index: u32| {
        plan.occurrence(&schedule, None, index).map_err(|error| error.to_string())?.ok_or_else(|| {
            format!(
                "plan {} has {} installments, counted from cycle 0: there is no cycle {index}",
                plan.id,
                plan.chosen_rows().len()
            )
        })
    };
    let (first, this) = (occurrence(0)?, occurrence(cycle)?);
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
    if !plan.chosen_rows().is_empty() {
        steps.push(format!(
            "Its dates were chosen by hand; the first (cycle 0) is {}, cycle {cycle} is {}.",
            first.date, this.date
        ));
    } else if schedule.cadence.lead().is_some() {
        let anchor = schedule.cadence.anchor();
        steps.push(format!(
            "The subscription starts on {}{free}; its first cycle (number 0) falls on {}, the second on {anchor}, by {day}.",
            subscription.start_on, first.date
        ));
        if let Some(after) = cycle.checked_sub(1) {
            steps.push(format!("Cycle {cycle} is {after} times {} after the second: {}.", plan.every, this.date));
        }
    } else {
        steps.push(format!(
            "The subscription starts on {}{free}; its first cycle (number 0) falls on {}, by {day}.",
            subscription.start_on, first.date
        ));
        steps.push(format!("Cycle {cycle} is {cycle} times {} after the first: {}.", plan.every, this.date));
    }
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
            let reckoned = plan.reckon(&schedule, &this, subscription)?;
            how_it_is_reckoned(plan, subscription, &reckoned, this.date, &mut steps);
            steps.extend(swept(&cycle));
            match cycle.price {
                Err(why) if cycle.out_of_bounds => steps.push(format!("{why}: a person must decide about it.")),
                price => {
                    price?;
                    steps.extend(how_it_is_collected(plan, cycle.amount));
                }
            }
        }
    }
    Ok(steps)
}

/// The amount, number by number.
fn how_it_is_reckoned(
    plan: &Plan,
    subscription: &Subscription,
    reckoned: &Reckoning,
    on: NaiveDate,
    steps: &mut Vec<String>,
) {
    let Reckoning { unit, quantity, part, amount, .. } = reckoned;
    let whence = match &plan.price {
        Price::FromSubscription => "agreed with the customer".to_owned(),
        Price::Steps(price_steps) => match price_steps.iter().rev().find(|(from, _)| *from <= on) {
            Some((from, _)) if price_steps.len() > 1 => format!("the plan's price from {from} on"),
            Some(_) | None => "the plan's price".to_owned(),
        },
        Price::List(list) => {
            let attributes = &subscription.terms.attributes;
            let from =
                list.on(attributes, on).map(|row| format!(", in force from {} on", row.from)).unwrap_or_default();
            format!("the price list's row for {}{from}", list.words(attributes))
        }
        Price::Installments(parts) => {
            steps.extend(how_it_is_divided(parts, subscription, plan, reckoned));
            "that installment".to_owned()
        }
    };
    if *quantity == 1 && part.is_none() {
        steps.push(format!("The amount is {amount}, {whence}."));
        return;
    }
    steps.push(format!("One unit of a whole period costs {unit}, {whence}."));
    if *quantity != 1 {
        let whole = unit.minor().saturating_mul(i64::from(*quantity));
        steps.push(format!("{quantity} units cost {}.", Money::new(whole, unit.currency())));
    }
    if let Some(part) = part {
        steps.push(format!(
            "The first period, from {} up to {}, has {} of the {} days from {} on: {}/{} of that, rounded half to even.",
            part.from, part.to, part.days, part.of, part.whole_from, part.days, part.of
        ));
    }
    steps.push(format!("The amount is {amount}."));
}

fn how_it_is_divided(
    parts: &Installments,
    subscription: &Subscription,
    plan: &Plan,
    reckoned: &Reckoning,
) -> Option<String> {
    let (place, count) = reckoned.installment?;
    let shares = parts.shares(&subscription.terms, plan.currency).ok()?;
    let rule = match parts.remainder {
        _ if !parts.rows.is_empty() => "in amounts chosen by hand",
        Remainder::Spread => "in equal parts, the remainder spread over the first ones",
        Remainder::First => "in equal parts, the remainder in the first one",
        Remainder::Last => "in equal parts, the remainder in the last one",
    };
    let less = if shares.elsewhere.is_zero() {
        String::new()
    } else {
        format!(" {} was paid elsewhere and is taken off the last ones.", shares.elsewhere)
    };
    Some(format!("The total of {} is paid {rule}: this is installment {place} of {count}.{less}", shares.total))
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
            amount: AmountSpec { currency: "USD".into(), value: Some(price.into()), ..AmountSpec::default() },
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
