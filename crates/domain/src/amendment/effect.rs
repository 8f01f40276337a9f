//! What a change makes of the cycles to come: the walk before, the walk after, and where they differ.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use crate::agenda::{Cycle, cycles};
use crate::money::Money;
use crate::plan::Plan;
use crate::subscription::{Subscription, SubscriptionStatus};

/// What becomes of a cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
pub enum Fate {
    /// It is charged.
    Charged {
        /// How much.
        amount: Money,
        /// When, UTC.
        at: DateTime<Utc>,
    },
    /// It is recorded and not charged.
    Skipped {
        /// Why not, as a sentence part.
        why: String,
    },
    /// It never comes, as things stand.
    Never {
        /// Why not, as a sentence part.
        why: String,
    },
}

/// A cycle that a change affects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Affected {
    /// Its number.
    pub cycle: u32,
    /// Its civil date; none where neither walk has it.
    pub due_on: Option<NaiveDate>,
    /// What would have become of it.
    pub before: Fate,
    /// What becomes of it.
    pub after: Fate,
}

/// The cycles among the next `most` whose fate differs, in order.
#[must_use]
pub fn effect(before: (&Plan, &Subscription), after: (&Plan, &Subscription), most: u32) -> Vec<Affected> {
    let from = before.1.next_cycle;
    // What the change passes over stands before where it goes on.
    let passed = usize::try_from(after.1.next_cycle.saturating_sub(from)).unwrap_or(usize::MAX);
    let over =
        || (None, Fate::Never { why: "it fell due while the subscription stood still, and is passed over".to_owned() });
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let was = fates(before, most);
    let becomes: Vec<_> = std::iter::repeat_with(over).take(passed).chain(fates(after, most)).take(most).collect();
    let longer = was.len().max(becomes.len());
    let never = || (None, Fate::Never { why: "the subscription has ended by then".to_owned() });
    let mut affected = Vec::new();
    for (cycle, place) in (from..).zip(0..longer) {
        let (before_on, before) = was.get(place).cloned().unwrap_or_else(never);
        let (after_on, after) = becomes.get(place).cloned().unwrap_or_else(never);
        if before != after {
            affected.push(Affected { cycle, due_on: after_on.or(before_on), before, after });
        }
    }
    affected
}

fn fates((plan, subscription): (&Plan, &Subscription), most: usize) -> Vec<(Option<NaiveDate>, Fate)> {
    let stands = match subscription.status {
        SubscriptionStatus::Active => None,
        SubscriptionStatus::Paused if subscription.wakes_by_itself() => None,
        SubscriptionStatus::Paused if subscription.amendments.unpaid.is_some() => Some("the subscription is unpaid"),
        SubscriptionStatus::Paused => Some("the subscription is paused"),
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => Some("the subscription has ended"),
        SubscriptionStatus::Quarantined => Some("the subscription is quarantined"),
    };
    let Ok(walk) = cycles(plan, subscription, subscription.next_cycle) else { return Vec::new() };
    let fate = |cycle: Cycle| {
        let fate = match (stands, cycle.left_out, cycle.price) {
            (Some(why), _, _) => Fate::Never { why: why.to_owned() },
            (None, Some(left_out), _) => Fate::Skipped { why: left_out.reason },
            (None, None, Err(why)) => Fate::Never { why },
            (None, None, Ok(())) if cycle.amount.is_zero() => Fate::Skipped { why: "nothing to pay".to_owned() },
            (None, None, Ok(())) => Fate::Charged { amount: cycle.amount, at: cycle.occurrence.charge_at },
        };
        (Some(cycle.occurrence.date), fate)
    };
    walk.take(most).map_while(Result::ok).map(fate).collect()
}
