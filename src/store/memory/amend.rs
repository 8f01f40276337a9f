//! What people change about one subscription, in the map.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::amendment::{Amendment, Change};
use domain::charge::{Event, Limits, State};
use domain::firing::{Turn, TurnKind};
use domain::id::SubscriptionId;
use domain::money::Money;
use domain::subscription::{Adjustment, Applied, Subscription, SubscriptionStatus};

use super::{Book, MemoryStore, entry};
use crate::ports::amend::AmendStore;
use crate::ports::{Cancelled, NewCharge, StoreError};
use crate::store::rows::whole;

/// Takes from a subscription's adjustments what a new charge uses of them.
pub(super) fn take(from: &mut Subscription, new: &NewCharge) {
    let amendments = &mut from.amendments;
    for taken in &new.amended.taken {
        if let Some(one) = amendments.open.iter_mut().find(|one| one.id == taken.adjustment) {
            one.left = one.left.checked_sub(taken.amount).unwrap_or(Money::new(0, taken.amount.currency()));
        }
        amendments.applied.push(taken.clone());
    }
    amendments.open.retain(|one| one.left.is_positive());
    amendments.applied.sort_by_key(|one| (one.cycle, one.adjustment));
}

fn used(applied: &[Applied], id: i64) -> i64 {
    applied.iter().filter(|one| one.adjustment == id).map(|one| one.amount.minor()).sum()
}

impl Book {
    /// Cancels a subscription: what waits ends, what is in flight runs on.
    pub(super) fn cancel(
        &mut self,
        id: &SubscriptionId,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Option<Cancelled> {
        let row = self.subscriptions.get_mut(id)?;
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        row.value.status = SubscriptionStatus::Cancelled;
        row.value.next_due_at = None;
        row.value.amendments.resume_on = None;
        row.leased_until = None;
        row.fence += 1;
        row.note = Some(format!("cancelled by {by}{because}"));
        row.turns.push(Turn { at: whole(at), kind: TurnKind::Cancelled });
        let mut outcome = Cancelled { skipped: 0, in_flight: 0 };
        for row in self.charges.values_mut().filter(|row| row.value.subscription == *id) {
            if matches!(
                row.value.state,
                State::Paid { .. } | State::Returned { .. } | State::Failed { .. } | State::Skipped { .. }
            ) {
                continue;
            }
            match row.value.clone().step(Event::Cancel, whole(at), &Limits::default()) {
                Ok(charge) => {
                    row.history.push(entry(whole(at), by, "charge.cancelled", charge.sentence()));
                    row.value = charge;
                    row.fence += 1;
                    row.close_attempts();
                    outcome.skipped += 1;
                }
                Err(_) => outcome.in_flight += 1,
            }
        }
        Some(outcome)
    }
}

#[async_trait]
impl AmendStore for MemoryStore {
    async fn amend(&self, amendment: &Amendment) -> Result<Option<i64>, StoreError> {
        let mut book = self.book();
        let Book { subscriptions, adjustments, .. } = &mut *book;
        let found = subscriptions.get_mut(&amendment.subscription).filter(|row| amendment.fits(&row.value));
        let Some(row) = found else { return Ok(None) };
        let mut amendment = amendment.clone();
        amendment.at = whole(amendment.at);
        amendment.next_due_at = amendment.next_due_at.map(whole);
        let number = match &amendment.change {
            Change::Adjust { .. } => {
                adjustments.iter().map(|(_, one)| one.id).max().unwrap_or_default().saturating_add(1)
            }
            Change::Skip { .. }
            | Change::Move { .. }
            | Change::Clear { .. }
            | Change::Pause { .. }
            | Change::EndWithPeriod { .. }
            | Change::KeepOn
            | Change::Plan { .. } => 0,
        };
        amendment.apply(&mut row.value, number);
        if let Some(one) = row.value.amendments.open.last().filter(|one| one.id == number) {
            adjustments.push((row.value.id.clone(), one.clone()));
        }
        if matches!(amendment.change, Change::Pause { .. }) {
            row.note = Some(format!("{} (by {})", amendment.sentence(), amendment.by));
            row.turns.push(Turn { at: amendment.at, kind: TurnKind::Stopped });
        }
        row.leased_until = None;
        row.fence += 1;
        Ok(Some(number))
    }

    async fn cancel_because(
        &self,
        id: &SubscriptionId,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<Cancelled>, StoreError> {
        Ok(self.book().cancel(id, (reason, by), at))
    }

    async fn adjustments(&self, id: &SubscriptionId) -> Result<Vec<Adjustment>, StoreError> {
        let book = self.book();
        let Some(row) = book.subscriptions.get(id) else { return Ok(Vec::new()) };
        let applied = &row.value.amendments.applied;
        let own = book.adjustments.iter().filter(|(owner, _)| owner == id);
        let with_rest = |one: &Adjustment| {
            let left = Money::new(one.amount.minor() - used(applied, one.id), one.amount.currency());
            Adjustment { left, ..one.clone() }
        };
        Ok(own.map(|(_, one)| with_rest(one)).collect())
    }
}
