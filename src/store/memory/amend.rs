//! What people change about one subscription, in the map.

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::amendment::{Amendment, Change, Settlement};
use domain::charge::{Event, Limits, SkipWhy, State};
use domain::firing::{Turn, TurnKind};
use domain::id::{ChargeId, SubscriptionId};
use domain::money::Money;
use domain::subscription::{Adjustment, Applied, Subscription, SubscriptionStatus};

use super::{Book, ChargeRow, MemoryStore, entry, standing};
use crate::ports::amend::{AmendStore, Closing, Giving, Successor};
use crate::ports::audit::facts_of_charge;
use crate::ports::outbox::NewEvent;
use crate::ports::{Cancelled, NewCharge, StoreError};
use crate::store::commits::endless;
use crate::store::lines;
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
    /// Cancels a subscription that a person wants cancelled.
    pub(super) fn cancel(
        &mut self,
        id: &SubscriptionId,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Option<Cancelled> {
        let before = self.subscriptions.get(id)?.value.clone();
        let outcome = self.end(id, (reason, by), at)?;
        if before.status != SubscriptionStatus::Cancelled {
            let facts = (standing(&before), self.subscriptions.get(id).and_then(|row| standing(&row.value)));
            self.note(lines::cancelled(id, (reason, by), &outcome, facts, at));
        }
        Some(outcome)
    }

    /// Ends a subscription: what waits ends with it, what is in flight runs on.
    fn end(&mut self, id: &SubscriptionId, (reason, by): (&str, &str), at: DateTime<Utc>) -> Option<Cancelled> {
        let row = self.subscriptions.get_mut(id)?;
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        row.value.status = SubscriptionStatus::Cancelled;
        row.value.next_due_at = None;
        row.value.amendments.resume_on = None;
        row.leased_until = None;
        row.fence += 1;
        row.note = Some(format!("cancelled by {by}{because}"));
        row.turns.push(Turn { at: whole(at), kind: TurnKind::Cancelled });
        let mut ended = Vec::new();
        let mut outcome = Cancelled { skipped: 0, in_flight: 0 };
        let mut told = Vec::new();
        let ledger = &mut self.ledger;
        for row in self.charges.values_mut().filter(|row| row.value.subscription == *id) {
            if matches!(
                row.value.state,
                State::Paid { .. } | State::Returned { .. } | State::Failed { .. } | State::Skipped { .. }
            ) {
                continue;
            }
            match row.value.clone().step(Event::Cancel, whole(at), &Limits::default()) {
                Ok(charge) => {
                    ended.push(lines::ended(facts_of_charge(&row.value), &charge, by, at));
                    row.history.push(entry(whole(at), by, "charge.cancelled", charge.sentence()));
                    told.extend(NewEvent::of_case_end(&charge, whole(at)));
                    ledger.post(domain::ledger::step(Some(&row.value), &charge, whole(at)));
                    ended.extend(lines::case_ended(&charge, by, at));
                    row.value = charge;
                    row.fence += 1;
                    row.close_attempts();
                    outcome.skipped += 1;
                }
                Err(_) => outcome.in_flight += 1,
            }
        }
        self.note_all(ended.into_iter());
        self.tell(&told);
        Some(outcome)
    }
}

impl Book {
    /// Pauses a subscription until a person resumes it, if it goes on by itself.
    pub(super) fn pause(&mut self, id: &SubscriptionId, (note, unpaid): (&str, Option<ChargeId>), at: DateTime<Utc>) {
        if let Some(row) = self.subscriptions.get_mut(id)
            && row.value.goes_on_by_itself()
        {
            let before = standing(&row.value);
            row.value.status = SubscriptionStatus::Paused;
            row.value.amendments.unpaid = unpaid;
            let until = row.value.amendments.resume_on;
            if unpaid.is_none() {
                row.value.amendments.resume_on = None;
            }
            row.value.next_due_at = None;
            row.fence += 1;
            let note = until.map_or_else(|| note.to_owned(), |until| endless(note, until));
            row.note = Some(note.clone());
            row.turns.push(Turn { at: whole(at), kind: TurnKind::Stopped });
            let facts = (before, standing(&row.value));
            self.note(lines::paused(id.as_str(), &note, facts, at));
        }
    }

    /// Does the subscription stand as the change found it, and does what it rests on?
    fn amendable(&self, amendment: &Amendment) -> bool {
        let row = self.subscriptions.get(&amendment.subscription);
        row.is_some_and(|row| amendment.fits(&row.value)) && self.stand(amendment.change.settled())
    }

    fn stand(&self, settled: &[Settlement]) -> bool {
        settled.iter().filter_map(|one| one.ground).all(|ground| {
            let state = self.charges.get(&ground.charge).map(|row| &row.value.state);
            matches!(state, Some(State::Paid { .. } | State::Skipped { why: SkipWhy::ZeroAmount, .. }))
                && self.refunds.taken(ground.charge) == ground.given_back.minor()
                && !self.is_disputed(ground.charge)
        })
    }

    fn next_adjustment(&self) -> i64 {
        self.adjustments.iter().map(|(_, one)| one.id).max().unwrap_or_default().saturating_add(1)
    }

    /// Makes a change that is amendable; gives the number of its first credit or charge, and what it ended.
    fn amend(&mut self, amendment: &Amendment) -> (i64, Cancelled) {
        let mut amendment = amendment.clone();
        amendment.at = whole(amendment.at);
        amendment.next_due_at = amendment.next_due_at.map(whole);
        let adjusts = matches!(amendment.change, Change::Adjust { .. }) || !amendment.change.settled().is_empty();
        let number = if adjusts { self.next_adjustment() } else { 0 };
        let mut cancelled = Cancelled { skipped: 0, in_flight: 0 };
        let Some(row) = self.subscriptions.get_mut(&amendment.subscription) else { return (number, cancelled) };
        let before = standing(&row.value);
        amendment.apply(&mut row.value, number);
        if row.value.amendments.unpaid.is_some() {
            row.value.next_due_at = None;
        }
        if adjusts {
            let made = row.value.amendments.open.iter().filter(|one| one.id >= number);
            self.adjustments.extend(made.map(|one| (row.value.id.clone(), one.clone())));
        }
        row.leased_until = None;
        row.fence += 1;
        match &amendment.change {
            Change::Pause { .. } => {
                row.note = Some(format!("{} (by {})", amendment.sentence(), amendment.by));
                row.turns.push(Turn { at: amendment.at, kind: TurnKind::Stopped });
            }
            Change::Cancel => {
                let (id, why) = (amendment.subscription.clone(), (amendment.reason.as_str(), amendment.by.as_str()));
                cancelled = self.end(&id, why, amendment.at).unwrap_or(cancelled);
            }
            Change::Backups { .. } => {
                let marked = row.value.clone();
                self.wallet.mark(std::iter::once(&marked), amendment.at);
                self.free_waiting(&BTreeSet::from([marked.id]));
            }
            Change::Skip { .. }
            | Change::Move { .. }
            | Change::Clear { .. }
            | Change::EndWithPeriod { .. }
            | Change::KeepOn
            | Change::Plan { .. }
            | Change::PlanNow { .. }
            | Change::Adjust { .. } => {}
        }
        let after = self.subscriptions.get(&amendment.subscription).and_then(|row| standing(&row.value));
        let ended = (amendment.change == Change::Cancel).then_some(&cancelled);
        self.note(lines::amended(&amendment, ended, (before, after)));
        self.note_settled(amendment.subscription.as_str(), amendment.change.settled(), &amendment);
        (number, cancelled)
    }

    fn note_settled(&mut self, id: &str, settled: &[Settlement], amendment: &Amendment) {
        self.note_all(settled.iter().map(|one| lines::settled(id, one, &amendment.by, amendment.at)));
    }

    /// All of a closing, or nothing of it: everything is looked at before the first write.
    fn close(&mut self, closing: &Closing) -> Option<Cancelled> {
        let Closing { ending, refunds, successor } = closing;
        let given = |giving: &Giving| self.is_recordable(&giving.refund, giving.collected);
        if !self.amendable(ending) || !refunds.iter().all(given) {
            return None;
        }
        if let Some(Successor { subscription, settled }) = successor {
            let waits = |row: &ChargeRow| {
                row.value.subscription == ending.subscription
                    && !matches!(
                        row.value.state,
                        State::Paid { .. } | State::Returned { .. } | State::Failed { .. } | State::Skipped { .. }
                    )
                    && row.value.clone().step(Event::Cancel, whole(ending.at), &Limits::default()).is_ok()
            };
            let taken = self.subscriptions.contains_key(&subscription.id);
            if taken || !self.stand(settled) || self.charges.values().any(waits) {
                return None;
            }
        }
        let (_, cancelled) = self.amend(ending);
        for Giving { refund, .. } in refunds {
            self.record_refund(refund, &ending.by);
        }
        if let Some(Successor { subscription, settled }) = successor {
            let mut row = subscription.clone();
            let first = self.next_adjustment();
            for (id, one) in (first..).zip(&mut row.amendments.open) {
                (one.id, one.at) = (id, whole(one.at));
            }
            self.enter(&row, ending.at);
            self.note(lines::enrolled(ending, &row, standing(&row)));
            self.note_settled(row.id.as_str(), settled, ending);
        }
        Some(cancelled)
    }
}

#[async_trait]
impl AmendStore for MemoryStore {
    async fn amend(&self, amendment: &Amendment) -> Result<Option<i64>, StoreError> {
        let mut book = self.book();
        if !book.amendable(amendment) {
            return Ok(None);
        }
        Ok(Some(book.amend(amendment).0))
    }

    async fn close(&self, closing: &Closing) -> Result<Option<Cancelled>, StoreError> {
        Ok(self.book().close(closing))
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
