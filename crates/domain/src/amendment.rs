//! Changing one subscription: what a person may ask for, whether it is sound, and what it makes of the cycles to come.
//!
//! [`propose`] reads the subscription as it is and gives the change together with the subscription as it will be. It changes
//! nothing: the store applies the change where the subscription still stands as it was read, and refuses it elsewhere.

mod effect;
mod rules;
pub mod succession;
#[cfg(test)]
mod tests;
pub mod unused;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use crate::id::{ChargeId, PlanId, SubscriptionId};
use crate::installments::forgone;
use crate::money::Money;
use crate::subscription::{
    Adjustment, AdjustmentKind, Backup, Override, Ruling, Settles, Subscription, SubscriptionStatus,
};

pub use effect::{Affected, Fate, effect};
pub use rules::{Proposed, Refused, Whose, cycle_on, propose};

/// Longest reason, in characters.
pub const REASON_MAX: usize = 200;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// One cycle is left out.
    Skip {
        /// Which.
        cycle: u32,
    },
    /// One cycle is charged on another day.
    Move {
        /// Which.
        cycle: u32,
        /// The civil date of the charge.
        to: NaiveDate,
    },
    /// One cycle is again as the plan has it.
    Clear {
        /// Which.
        cycle: u32,
    },
    /// Nothing is charged, until a day or until a person resumes it.
    Pause {
        /// The first civil date on which it is charged again.
        until: Option<NaiveDate>,
    },
    /// It ends with the service period that runs now.
    EndWithPeriod {
        /// The last civil date on which a cycle may fall; worked out by [`propose`].
        last_on: Option<NaiveDate>,
    },
    /// It does not end there after all.
    KeepOn,
    /// Another plan, from the next cycle on.
    Plan {
        /// Which.
        plan: PlanId,
        /// The date of the next cycle, where the person named one.
        from: Option<NaiveDate>,
    },
    /// Another plan, from the first unused day of the running period on.
    PlanNow {
        /// Which.
        plan: PlanId,
        /// What settles the periods that are paid: see [`unused::settle`].
        settled: Vec<Settlement>,
    },
    /// Other backups, in this order.
    Backups {
        /// All of them, each with who agreed to it.
        backups: Vec<Backup>,
    },
    /// It ends at once.
    Cancel,
    /// A credit or a charge for the next cycle that can take it.
    Adjust {
        /// Which way.
        kind: AdjustmentKind,
        /// How much; above zero.
        amount: Money,
    },
}

/// A credit or a charge that comes of a change, not of a person's own number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settlement {
    /// Which way.
    pub kind: AdjustmentKind,
    /// How much; above zero.
    pub amount: Money,
    /// The days it settles, where they are the same subscription's.
    pub settles: Option<Settles>,
    /// Why, in words.
    pub reason: String,
    /// What it rests on; the change is refused where that moved.
    pub ground: Option<Ground>,
}

/// A charge that is paid and not disputed, and of which so much went back or may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ground {
    /// Which.
    pub charge: ChargeId,
    /// How much.
    pub given_back: Money,
}

impl Settlement {
    /// In a few words: `credit of USD 31.60 (unused 12/30 days of cycle 3 under plan gold)`.
    #[must_use]
    pub fn in_words(&self) -> String {
        format!("{} of {} ({})", self.kind.as_str(), self.amount, self.reason)
    }
}

impl Change {
    /// The action's name in the audit.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Skip { .. } => "subscription.cycle_skipped",
            Self::Move { .. } => "subscription.cycle_moved",
            Self::Clear { .. } => "subscription.cycle_cleared",
            Self::Pause { .. } => "subscription.paused",
            Self::EndWithPeriod { .. } => "subscription.ends",
            Self::KeepOn => "subscription.kept_on",
            Self::Plan { .. } | Self::PlanNow { .. } => "subscription.plan_changed",
            Self::Backups { .. } => "subscription.backups_changed",
            Self::Cancel => "subscription.cancelled",
            Self::Adjust { kind, .. } => adjusted(*kind),
        }
    }

    /// The credits and charges that come with it, in order, beside the one of [`Change::Adjust`].
    #[must_use]
    pub fn settled(&self) -> &[Settlement] {
        match self {
            Self::PlanNow { settled, .. } => settled,
            Self::Skip { .. }
            | Self::Move { .. }
            | Self::Clear { .. }
            | Self::Pause { .. }
            | Self::EndWithPeriod { .. }
            | Self::KeepOn
            | Self::Plan { .. }
            | Self::Backups { .. }
            | Self::Cancel
            | Self::Adjust { .. } => &[],
        }
    }
}

/// The audit's name for a credit or a charge.
#[must_use]
pub const fn adjusted(kind: AdjustmentKind) -> &'static str {
    match kind {
        AdjustmentKind::Credit => "subscription.credited",
        AdjustmentKind::Charge => "subscription.charged",
    }
}

/// A change that was found sound, with what it was found sound against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Amendment {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// The revision of its amendments; at another one the change is refused.
    pub revision: u32,
    /// The cycle it stands at; at another one the change is refused.
    pub from_cycle: u32,
    /// Its status; in another one the change is refused.
    pub status: SubscriptionStatus,
    /// Its plan; under another one the change is refused.
    pub plan: PlanId,
    /// What changes.
    pub change: Change,
    /// How much less of a total that is paid in parts is collected; below zero for more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgoes: Option<Money>,
    /// When to look at it next, UTC.
    pub next_due_at: Option<DateTime<Utc>>,
    /// Why, in words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
}

impl Amendment {
    /// Does the subscription still stand as it did?
    #[must_use]
    pub fn fits(&self, subscription: &Subscription) -> bool {
        subscription.id == self.subscription
            && subscription.amendments.revision == self.revision
            && subscription.next_cycle == self.from_cycle
            && subscription.status == self.status
            && subscription.plan == self.plan
    }

    /// Makes the change. `adjustment` is the number of the credit or charge, for those; further ones count on from it.
    pub fn apply(&self, to: &mut Subscription, adjustment: i64) {
        let amendments = &mut to.amendments;
        let (reason, by, at) = (self.reason.clone(), self.by.clone(), self.at);
        amendments.revision = amendments.revision.saturating_add(1);
        match &self.change {
            Change::Skip { cycle } => {
                drop(amendments.overrides.insert(*cycle, Override { ruling: Ruling::Skip, reason, by, at }));
            }
            Change::Move { cycle, to } => {
                let ruling = Ruling::Move { to: *to };
                drop(amendments.overrides.insert(*cycle, Override { ruling, reason, by, at }));
            }
            Change::Clear { cycle } => drop(amendments.overrides.remove(cycle)),
            Change::Pause { until } => {
                to.status = SubscriptionStatus::Paused;
                amendments.resume_on = *until;
            }
            Change::EndWithPeriod { last_on } => amendments.last_on = *last_on,
            Change::KeepOn => amendments.last_on = None,
            Change::Plan { plan, .. } => to.plan = plan.clone(),
            Change::PlanNow { plan, settled } => {
                to.plan = plan.clone();
                for (id, one) in (adjustment..).zip(settled) {
                    let Settlement { kind, amount, settles, reason, .. } = one.clone();
                    let by = by.clone();
                    amendments.open.push(Adjustment { id, kind, amount, left: amount, settles, reason, by, at });
                }
            }
            Change::Backups { backups } => to.backups.clone_from(backups),
            Change::Cancel => {
                to.status = SubscriptionStatus::Cancelled;
                amendments.resume_on = None;
            }
            Change::Adjust { kind, amount } => {
                let (id, kind, amount) = (adjustment, *kind, *amount);
                amendments.open.push(Adjustment { id, kind, amount, left: amount, settles: None, reason, by, at });
            }
        }
        to.next_due_at = self.next_due_at;
    }

    /// What changed, for the audit, in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let what = match &self.change {
            Change::Skip { cycle } => format!("cycle {cycle} is left out"),
            Change::Move { cycle, to } => format!("cycle {cycle} is charged on {to}"),
            Change::Clear { cycle } => format!("cycle {cycle} is again as the plan has it"),
            Change::Pause { until: Some(day) } => format!("paused until {day}"),
            Change::Pause { until: None } => "paused until somebody resumes it".to_owned(),
            Change::EndWithPeriod { last_on } => {
                format!("ends after {}", last_on.map(|day| day.to_string()).unwrap_or_default())
            }
            Change::KeepOn => "does not end with the period after all".to_owned(),
            Change::Plan { plan, .. } => format!("plan {} becomes {plan} from cycle {} on", self.plan, self.from_cycle),
            Change::PlanNow { plan, settled } if settled.is_empty() => {
                format!("plan {} becomes {plan}; no day is left to settle", self.plan)
            }
            Change::PlanNow { plan, settled } => {
                let all: Vec<String> = settled.iter().map(Settlement::in_words).collect();
                format!("plan {} becomes {plan} in the middle of the period: {}", self.plan, all.join(", "))
            }
            Change::Backups { backups } if backups.is_empty() => "no backups any more".to_owned(),
            Change::Backups { backups } => {
                let all: Vec<String> = backups.iter().map(ToString::to_string).collect();
                format!("backups in order: {}", all.join("; "))
            }
            Change::Cancel => "cancelled".to_owned(),
            Change::Adjust { kind, amount } => format!("{} of {amount} for the next cycle", kind.as_str()),
        };
        let what = self.forgoes.map_or_else(|| what.clone(), |less| format!("{what}; {}", forgone(less)));
        if self.reason.is_empty() { what } else { format!("{what}: {}", self.reason) }
    }
}
