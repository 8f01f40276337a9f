//! The tie-out: the copy of the book against the sandbox's own ledger, obligation by obligation.

use std::collections::{BTreeMap, BTreeSet};

use domain::agenda::planned;
use domain::charge::{ParkWhy, State};
use domain::id::SubscriptionId;
use domain::money::{Currency, Money};
use domain::subscription::SubscriptionStatus;

use crate::problem::Stop;
use crate::stage::Lived;

/// What the tie-out found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Check {
    /// Obligations that were paid more than once.
    pub doubles: u64,
    /// Cycles that fell due and of which the book knows nothing, derived again from the plans alone.
    pub forgotten: u64,
    /// What ledger and book disagree about, currency by currency, added up without signs. Both sides as they stood at the end.
    pub difference: BTreeMap<Currency, i64>,
    /// Keys whose submissions had different bodies.
    pub changed_bodies: u64,
    /// Payments in the ledger.
    pub payments: u64,
}

impl Check {
    /// Is everything as it must be?
    #[must_use]
    pub fn holds(&self) -> bool {
        self.doubles == 0 && self.forgotten == 0 && self.changed_bodies == 0 && self.difference.values().all(|sum| *sum == 0)
    }

    /// As a line: `doubles 0, forgotten 0, difference 0.00`.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { doubles, forgotten, difference, changed_bodies, .. } = self;
        let differences: Vec<String> = match difference.len() {
            0 => vec!["0.00".to_owned()],
            1 => difference.iter().map(|(currency, sum)| Money::new(*sum, *currency).plain()).collect(),
            _ => difference.iter().map(|(currency, sum)| Money::new(*sum, *currency).to_string()).collect(),
        };
        let bodies = if *changed_bodies > 0 { format!(", changed requests {changed_bodies}") } else { String::new() };
        format!("doubles {doubles}, forgotten {forgotten}, difference {}{bodies}", differences.join(" and "))
    }
}

/// Compares.
///
/// # Errors
/// When the plans give no answer for a cycle that they gave one for before.
pub fn check(lived: &Lived) -> Result<Check, Stop> {
    let mut check = Check {
        changed_bodies: u64::try_from(lived.changed_bodies.len()).unwrap_or(u64::MAX),
        payments: u64::try_from(lived.payments.len()).unwrap_or(u64::MAX),
        ..Check::default()
    };
    check.doubles = u64::try_from(lived.successes.values().filter(|paid| paid.len() > 1).count()).unwrap_or(u64::MAX);
    let mut known: BTreeSet<(&SubscriptionId, u32)> = BTreeSet::new();
    for charge in &lived.charges {
        known.insert((&charge.subscription, charge.cycle));
        let there: i64 = lived.successes.get(&(charge.subscription.clone(), charge.cycle)).map_or(0, |paid| paid.iter().sum());
        let here = match &charge.state {
            State::Paid { collected, .. } => Some(collected.minor()),
            // It was collected first: both sides keep that.
            State::Returned { .. } => Some(charge.amount.minor()),
            State::Failed { .. } | State::Skipped { .. } | State::Failing { .. } | State::Planned => Some(0),
            State::Authorized { .. } | State::Due { doubt: false, .. } => Some(0),
            State::Parked { why, .. } => match why {
                ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => None,
                ParkWhy::Rejected | ParkWhy::NoMethod | ParkWhy::Damaged | ParkWhy::WrongMethod | ParkWhy::HoldExpired => Some(0),
            },
            // Under way when the rehearsal ended: the book does not claim to know.
            State::Due { doubt: true, .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Capturing { .. }
            | State::Releasing { .. } => None,
        };
        let difference = here.map_or(0, |here| here.saturating_sub(there).saturating_abs());
        let sum = check.difference.entry(charge.amount.currency()).or_default();
        *sum = sum.saturating_add(difference);
    }
    let strangers = lived.successes.keys().filter(|(subscription, cycle)| !known.contains(&(subscription, *cycle)));
    check.forgotten = u64::try_from(strangers.count()).unwrap_or(u64::MAX);
    for (before, now) in &lived.subscriptions {
        let Some(plan) = lived.catalog.plans.get(&before.plan) else { continue };
        if before.status != SubscriptionStatus::Active {
            continue;
        }
        let mut cycle = before.next_cycle;
        while let Some((charge, _)) = planned(plan, before, cycle).map_err(|why| Stop::failed(before.id.as_str(), why))? {
            // A paused subscription owes nothing after the cycle that paused it, and one that was set aside says so itself.
            let stopped = now.status != SubscriptionStatus::Active && cycle >= now.next_cycle;
            if charge.due_at > lived.end || stopped {
                break;
            }
            check.forgotten += u64::from(!known.contains(&(&before.id, cycle)));
            cycle += 1;
        }
    }
    Ok(check)
}
