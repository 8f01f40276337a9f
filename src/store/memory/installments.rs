//! The guard of installments without a database: the same rule, by adding up what is there.

use domain::charge::{Charge, State};
use domain::id::{Purpose, SubscriptionId};
use domain::subscription::Subscription;

use super::Book;
use crate::ports::StoreError;
use crate::store::installments;

/// What a charge counts for: everything that was collected, may have been, or will be asked for.
fn counted(charge: &Charge) -> i64 {
    match (&charge.state, charge.purpose) {
        (State::Failed { .. } | State::Skipped { .. } | State::Returned { next_at: None, .. }, Purpose::Cycle) => 0,
        (State::Paid { collected, .. }, Purpose::Cycle) => collected.minor(),
        (
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Failing { .. }
            | State::Returned { next_at: Some(_), .. }
            | State::Parked { .. },
            Purpose::Cycle,
        ) => charge.amount.minor(),
    }
}

impl Book {
    /// Refuses rows by which less would be owed than was collected.
    pub(super) fn keeps_totals(&self, rows: &[Subscription]) -> Result<(), StoreError> {
        for row in rows {
            let Some(owed) = installments::owed(&self.catalog, row) else { continue };
            if self.taken(&row.id, 0) > owed {
                return Err(installments::collected_more(row.id.as_str()));
            }
        }
        Ok(())
    }

    pub(super) fn taken(&self, id: &SubscriptionId, more: i64) -> i64 {
        let charges = self.charges.values().filter(|row| row.value.subscription == *id);
        charges.map(|row| counted(&row.value)).fold(more, i64::saturating_add)
    }

    /// Would charges of so much more exceed what the subscription owes in all?
    pub(super) fn overdraws(&self, id: &SubscriptionId, takes: i64) -> bool {
        let Some(row) = self.subscriptions.get(id) else { return false };
        let Some(owed) = installments::owed(&self.catalog, &row.value) else { return false };
        self.taken(id, takes) > owed
    }
}
