//! Succession: one subscription ends and another, under a plan of another rhythm, begins where it ended.
//!
//! The numbers of the cycles cannot go on in another rhythm (decision 57), so the new subscription has an id and a cycle 0 of its
//! own. Its first day is the old one's first unused day: the periods of both tile, and no day is charged twice.

use chrono::{DateTime, Days, Utc};

use super::rules::{Refused, no_answer, propose, standing, value};
use super::unused::{self, Rest, Standing};
use super::{Amendment, Change, Settlement};
use crate::agenda::{cycles, enrol};
use crate::id::{PlanId, SubscriptionId};
use crate::money::Money;
use crate::plan::{Catalog, Plan, PlanStatus, Price};
use crate::subscription::{Adjustment, AdjustmentKind, Amendments, OPEN_MAX, Subscription, SubscriptionStatus};
use crate::terms::Terms;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The new subscription's id.
    pub id: SubscriptionId,
    /// Its plan.
    pub plan: PlanId,
    /// Its agreed price, for a plan that takes it from the subscription.
    pub amount: Option<Money>,
}

/// One subscription that ends and the one that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The end of the old one.
    pub ending: Amendment,
    /// The old one as it will be.
    pub ended: Subscription,
    /// The new one as it enters the book. Its credits and charges stand in it, numbered from 0.
    pub successor: Subscription,
    /// The credits and charges it begins with: the unused days, then what waited on the old one.
    pub settled: Vec<Settlement>,
}

/// Finds a succession sound.
///
/// Customer, methods, zone, agreed end, quantity and attributes go over; the agreed day of the month does not, it belonged to the
/// other rhythm, and neither does an agreed price.
///
/// # Errors
/// [`Refused`], for the first thing that is wrong.
pub fn succeed(
    catalog: &Catalog,
    subscription: &Subscription,
    wanted: &Wanted,
    rests: &[Rest],
    why: (&str, &str),
    now: DateTime<Utc>,
) -> Result<Succession, Refused> {
    let (mut ending, ended) = propose(catalog, subscription, Change::Cancel, why, now)?;
    let missing = |id: &PlanId| value(format!("plan {id} does not exist"), "`autopay plans list` shows those that do");
    let plan = catalog.plans.get(&subscription.plan).ok_or_else(|| missing(&subscription.plan))?;
    let other = catalog.plans.get(&wanted.plan).ok_or_else(|| missing(&wanted.plan))?;
    suits((plan, other), subscription, wanted)?;
    let unused_from = unused::first_unused(plan, subscription, now).map_err(no_answer)?;
    let mend = "collect it or cancel it first, or end this subscription with `autopay subscriptions cancel --at-period-end` and import \
                another one from the day after";
    unused::all_paid(plan, subscription, rests, (unused_from, mend))?;
    let settled = settled(subscription, rests);
    if settled.len() > OPEN_MAX {
        return Err(standing(
            format!("{} credits and charges wait already", subscription.amendments.open.len()),
            "wait until the next cycle has taken them",
        ));
    }
    let mut successor = Subscription {
        id: wanted.id.clone(),
        merchant: subscription.merchant,
        plan: other.id.clone(),
        customer: subscription.customer.clone(),
        method: subscription.method.clone(),
        second_method: subscription.second_method.clone(),
        backups: subscription.backups.clone(),
        // One that has not begun yet is followed by one that has not, either.
        start_on: unused_from.max(subscription.start_on),
        anchor_day: None,
        zone: subscription.zone.clone(),
        amount: wanted.amount,
        end_on: subscription.end_on,
        terms: Terms {
            attributes: subscription.terms.attributes.clone(),
            quantity: subscription.terms.quantity,
            ..Terms::default()
        },
        owed_until: None,
        status: SubscriptionStatus::Active,
        next_cycle: 0,
        next_due_at: None,
        amendments: Amendments::default(),
    };
    (successor.next_cycle, successor.next_due_at) = enrol(other, &successor, now).map_err(no_answer)?;
    let first = cycles(other, &successor, successor.next_cycle).map_err(no_answer)?.next().transpose();
    let Some(first) = first.map_err(no_answer)? else {
        return Err(value(
            format!("no cycle of plan {} would fall before the agreed end", other.id),
            "let this subscription run to its end",
        ));
    };
    first.price.map_err(|why| value(why, "give the plan a price for this subscription first"))?;
    let paid_from = successor.start_on.checked_add_days(Days::new(u64::from(other.free_first_days)));
    if paid_from.is_some_and(|paid_from| first.occurrence.date > paid_from) {
        return Err(value(
            format!(
                "under plan {} nobody would pay for the days from {} on to {}, its first day of charge",
                other.id, successor.start_on, first.occurrence.date
            ),
            "give that plan [mid_period] on_start = \"prorate_by_day\" or \"full\", or end this subscription with \
             `autopay subscriptions cancel --at-period-end` and import another one",
        ));
    }
    for (id, one) in (0_i64..).zip(&settled) {
        let Settlement { kind, amount, settles, reason, .. } = one.clone();
        let (by, at) = (ending.by.clone(), now);
        successor.amendments.open.push(Adjustment { id, kind, amount, left: amount, settles, reason, by, at });
    }
    if !settled.is_empty() {
        successor.amendments.revision = 1;
    }
    let follows = format!("{} follows under plan {} from {} on", successor.id, other.id, successor.start_on);
    ending.reason = if ending.reason.is_empty() { follows } else { format!("{follows}: {}", ending.reason) };
    Ok(Succession { ending, ended, successor, settled })
}

fn suits((plan, other): (&Plan, &Plan), subscription: &Subscription, wanted: &Wanted) -> Result<(), Refused> {
    if wanted.id == subscription.id {
        return Err(value(
            format!("{} is the subscription that ends", wanted.id),
            "give the new one an id of its own, --as",
        ));
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
    if plan.currency != other.currency {
        return Err(value(
            format!("plan {} is in {}, plan {} in {}", other.id, other.currency, plan.id, plan.currency),
            "change to a plan in the same currency",
        ));
    }
    if plan.rhythm_differs(other).is_none() {
        return Err(value(
            format!(
                "plan {} has the rhythm of plan {}: the subscription can go on under its own id",
                other.id, plan.id
            ),
            "leave out --as",
        ));
    }
    match subscription.status {
        SubscriptionStatus::Active => {}
        SubscriptionStatus::Paused
        | SubscriptionStatus::Cancelled
        | SubscriptionStatus::Ended
        | SubscriptionStatus::Quarantined => {
            return Err(standing(format!("it is {}", subscription.status.as_str()), "resume it first"));
        }
    }
    if let Some(last) = subscription.amendments.last_on {
        return Err(standing(
            format!("it ends after {last}"),
            "take that back first, `autopay subscriptions cancel --clear`",
        ));
    }
    match (&other.price, wanted.amount) {
        (Price::FromSubscription, None) => Err(value(
            format!(
                "plan {} takes its price from the subscription, and the old one belongs to another rhythm",
                other.id
            ),
            "say --amount, the price of one cycle",
        )),
        (Price::Steps(_) | Price::List(_) | Price::Installments(_), Some(_)) => {
            Err(value(format!("plan {} has its own price", other.id), "leave out --amount"))
        }
        (Price::FromSubscription, Some(amount)) if amount.currency() != other.currency => {
            Err(value(format!("the plan is in {}", other.currency), "write the amount in its currency"))
        }
        (Price::FromSubscription, Some(_)) | (Price::Steps(_) | Price::List(_) | Price::Installments(_), None) => {
            Ok(())
        }
    }
}

/// The unused days as credits, and what waits on the old subscription, which takes nothing any more.
fn settled(subscription: &Subscription, rests: &[Rest]) -> Vec<Settlement> {
    let mut settled = Vec::new();
    for rest in rests.iter().filter(|rest| rest.standing == Standing::Paid && rest.to_credit().is_positive()) {
        let amount = rest.to_credit();
        let reason = format!("unused {}/{} days of cycle {} of {}", rest.unused, rest.of, rest.cycle, subscription.id);
        let ground = Some(rest.ground());
        settled.push(Settlement { kind: AdjustmentKind::Credit, amount, settles: None, reason, ground });
    }
    for one in &subscription.amendments.open {
        let reason = format!("{} {} of {}: {}", one.kind.as_str(), one.id, subscription.id, one.reason);
        settled.push(Settlement { kind: one.kind, amount: one.left, settles: None, reason, ground: None });
    }
    settled
}
