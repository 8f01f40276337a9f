//! Closed months in the map.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::change::same_person;
use domain::charge::{ParkWhy, State};
use domain::money::Money;
use domain::refund::State as RefundState;
use domain::subscription::SubscriptionStatus;

use super::{Book, MemoryStore};
use crate::ports::StoreError;
use crate::ports::books::{Blocker, BookStore, Books, Closed, Closing, Handed, Obstacle, Period, Reopened};
use crate::store::rows::whole;

/// What is known of months.
#[derive(Debug, Default)]
pub(super) struct Months {
    zone: Option<String>,
    periods: Vec<Period>,
    waived: BTreeMap<(String, Obstacle, String), String>,
    handed: Vec<Handed>,
}

/// Why a charge keeps its month open.
const fn of_charge(state: &State) -> Option<Obstacle> {
    match state {
        State::Unknown { .. } | State::Due { doubt: true, .. } => Some(Obstacle::OutcomeUnknown),
        State::Due { doubt: false, .. }
        | State::Sending { .. }
        | State::Settling { .. }
        | State::Capturing { .. }
        | State::Releasing { .. } => Some(Obstacle::UnderWay),
        State::Parked { why, .. } => match why {
            ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => Some(Obstacle::OutcomeUnknown),
            ParkWhy::Rejected
            | ParkWhy::NoMethod
            | ParkWhy::Damaged
            | ParkWhy::WrongMethod
            | ParkWhy::HoldExpired
            | ParkWhy::OutOfBounds => Some(Obstacle::Held),
        },
        State::Planned
        | State::Authorized { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. } => None,
    }
}

const fn of_refund(state: &RefundState) -> Option<Obstacle> {
    match state {
        RefundState::Unknown { .. } | RefundState::Parked { .. } => Some(Obstacle::OutcomeUnknown),
        RefundState::Recorded { .. } | RefundState::Sending { .. } | RefundState::Settling { .. } => {
            Some(Obstacle::UnderWay)
        }
        RefundState::Refunded { .. } | RefundState::PartlyRefunded { .. } | RefundState::Failed { .. } => None,
    }
}

impl Book {
    fn blockers(&self, month: &str, until: DateTime<Utc>) -> Vec<Blocker> {
        let mut found = Vec::new();
        let mut charges: Vec<_> =
            self.charges.values().map(|row| &row.value).filter(|one| one.due_at < until).collect();
        charges.sort_by_key(|charge| (charge.due_at, charge.id));
        let mut add = |obstacle, culprit: String, amount| {
            let waived_by = self.months.waived.get(&(month.to_owned(), obstacle, culprit.clone())).cloned();
            found.push(Blocker { obstacle, culprit, amount, waived_by });
        };
        for wanted in [Obstacle::OutcomeUnknown, Obstacle::UnderWay, Obstacle::Held] {
            for charge in charges.iter().filter(|charge| of_charge(&charge.state) == Some(wanted)) {
                add(wanted, charge.id.to_string(), Some(charge.amount));
            }
        }
        let mut refunds: Vec<_> = self.refunds.all().filter(|one| one.recorded_at < until).collect();
        refunds.sort_by_key(|refund| (refund.recorded_at, refund.id));
        for wanted in [Obstacle::OutcomeUnknown, Obstacle::UnderWay] {
            for refund in refunds.iter().filter(|refund| of_refund(&refund.state) == Some(wanted)) {
                add(wanted, refund.id.to_string(), Some(refund.amount));
            }
        }
        let rows = self.subscriptions.values().map(|row| &row.value);
        let mut late: Vec<_> = rows
            .filter(|row| row.status == SubscriptionStatus::Active && row.next_due_at.is_some_and(|at| at < until))
            .collect();
        late.sort_by_key(|row| (row.next_due_at, &row.id));
        for row in late {
            add(Obstacle::NotRecorded, row.id.to_string(), None);
        }
        // One that is about no charge of ours may be about any month.
        let of_the_month = |id| self.charges.get(&id).is_some_and(|row| row.value.due_at < until);
        for exception in self.recon.open().filter(|one| one.finding.charge.is_none_or(of_the_month)) {
            let sides = exception.finding.sides;
            let amount = Money::new(sides.difference(), sides.currency);
            add(Obstacle::Unmatched, exception.id.to_string(), Some(amount));
        }
        found
    }
}

#[async_trait]
impl BookStore for MemoryStore {
    async fn books(&self) -> Result<Books, StoreError> {
        let book = self.book();
        Ok(Books {
            zone: book.months.zone.clone(),
            closed_until: book.ledger.closed_until,
            periods: book.months.periods.clone(),
        })
    }

    async fn blockers(&self, month: &str, until: DateTime<Utc>, limit: u64) -> Result<Vec<Blocker>, StoreError> {
        let mut found = self.book().blockers(month, whole(until));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn waive(
        &self,
        month: &str,
        (obstacle, culprit): (Obstacle, &str),
        (by, _reason): (&str, &str),
        _at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let key = (month.to_owned(), obstacle, culprit.to_owned());
        let mut book = self.book();
        if book.months.waived.contains_key(&key) {
            return Ok(false);
        }
        book.months.waived.insert(key, by.to_owned());
        Ok(true)
    }

    async fn close_month(&self, closing: &Closing) -> Result<Closed, StoreError> {
        let book = &mut *self.book();
        let Closing { month, zone, bounds: (from, until), by, reason, at } = closing;
        if let Some(kept_in) = book.months.zone.clone().filter(|kept_in| kept_in != zone) {
            return Ok(Closed::OtherZone(kept_in));
        }
        let has_closed = book.months.periods.iter().any(|one| one.month == *month && one.reopened_at.is_none());
        match book.ledger.closed_until {
            Some(closed) if closed >= *until && has_closed => return Ok(Closed::Already),
            // One before the first that was closed was never closed itself.
            Some(closed) if closed != *from => return Ok(Closed::NotNext(closed)),
            Some(_) | None => {}
        }
        let mut blocked = book.blockers(month, *until);
        blocked.retain(|found| found.waived_by.as_ref().is_none_or(|waived_by| same_person(waived_by, by)));
        if !blocked.is_empty() {
            return Ok(Closed::Blocked(blocked));
        }
        book.months.zone = Some(zone.clone());
        book.ledger.closed_until = Some(*until);
        book.months.periods.push(Period {
            month: month.clone(),
            zone: zone.clone(),
            from_at: *from,
            until_at: *until,
            closed_at: whole(*at),
            closed_by: by.clone(),
            reason: reason.clone(),
            entries: None,
            digest: None,
            reopen_asked_by: None,
            reopened_at: None,
            reopened_by: None,
        });
        Ok(Closed::Yes)
    }

    async fn seal_month(&self, month: &str, entries: u64, digest: &str) -> Result<(), StoreError> {
        let mut book = self.book();
        let unsealed = |one: &&mut Period| one.month == month && one.reopened_at.is_none() && one.digest.is_none();
        if let Some(period) = book.months.periods.iter_mut().find(unsealed) {
            (period.entries, period.digest) = (Some(entries), Some(digest.to_owned()));
        }
        Ok(())
    }

    async fn reopen_month(
        &self,
        month: &str,
        (by, _reason): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<Reopened, StoreError> {
        let book = &mut *self.book();
        let closed_until = book.ledger.closed_until;
        let closed = |one: &&mut Period| one.month == month && one.reopened_at.is_none();
        let Some(period) = book.months.periods.iter_mut().find(closed) else { return Ok(Reopened::NotTheLast) };
        if closed_until != Some(period.until_at) {
            return Ok(Reopened::NotTheLast);
        }
        let Some(first) = period.reopen_asked_by.clone() else {
            period.reopen_asked_by = Some(by.to_owned());
            return Ok(Reopened::AsksASecond);
        };
        if same_person(&first, by) {
            return Ok(Reopened::SamePerson);
        }
        (period.reopened_at, period.reopened_by) = (Some(whole(at)), Some(by.to_owned()));
        let closed = book.months.periods.iter().filter(|one| one.reopened_at.is_none());
        book.ledger.closed_until = closed.map(|one| one.until_at).max();
        Ok(Reopened::Yes(first))
    }

    async fn handed_on(&self, handed: &Handed) -> Result<(), StoreError> {
        self.book().months.handed.push(Handed { at: whole(handed.at), ..handed.clone() });
        Ok(())
    }

    async fn journals_of(&self, month: &str) -> Result<Vec<Handed>, StoreError> {
        Ok(self.book().months.handed.iter().filter(|one| one.month == month).cloned().collect())
    }
}
