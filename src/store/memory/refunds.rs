//! Refunds in the map. Every method is one critical section, hence one transaction.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::charge::State as ChargeState;
use domain::id::{ChargeId, Key, MerchantId, RefundId};
use domain::money::Money;
use domain::refund::{Refund, State};

use super::{Book, MemoryStore, entry};
use crate::ports::refund::{
    Begun, Kept, RefundCursor, RefundFilter, RefundIntent, RefundRecord, RefundStore, RefundVerdict, Sendable,
};
use crate::ports::{Claimed, StoreError, TimelineEntry};
use crate::store::lines::{self, ENGINE};
use crate::store::rows::whole;

/// A refund, its claim and its history.
#[derive(Debug, Clone)]
struct Row {
    record: RefundRecord,
    leased_until: Option<DateTime<Utc>>,
    history: Vec<TimelineEntry>,
}

/// The refunds of the book.
#[derive(Debug, Default)]
pub(super) struct Refunds {
    rows: BTreeMap<RefundId, Row>,
    disputes: BTreeSet<(ChargeId, String)>,
}

impl Refunds {
    fn of(&self, charge: ChargeId) -> impl Iterator<Item = &Refund> {
        self.rows.values().map(|row| &row.record.refund).filter(move |refund| refund.charge == charge)
    }

    /// Was a refund of it ordered, and neither made nor withdrawn?
    pub(super) fn is_ordered(&self, charge: ChargeId) -> bool {
        self.of(charge).any(Refund::is_ordered)
    }

    /// Every refund, by id.
    pub(super) fn records(&self) -> impl Iterator<Item = &RefundRecord> {
        self.rows.values().map(|row| &row.record)
    }

    /// What is known to have gone back of a charge, minor units.
    pub(super) fn given_back(&self, charge: ChargeId) -> i64 {
        self.of(charge).map(|refund| refund.given_back().minor()).sum()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Refund> {
        self.rows.values().map(|row| &row.record.refund)
    }

    pub(super) fn one(&self, id: RefundId) -> Option<&Refund> {
        self.rows.get(&id).map(|row| &row.record.refund)
    }

    pub(super) fn taken(&self, charge: ChargeId) -> i64 {
        self.of(charge).map(|refund| refund.may_have_moved().minor()).sum()
    }
}

/// What was captured of a paid charge.
fn collected(book: &Book, charge: ChargeId) -> Option<i64> {
    let ChargeState::Paid { collected, .. } = &book.charges.get(&charge)?.value.state else { return None };
    Some(collected.minor())
}

fn is_refundable(book: &Book, charge: ChargeId) -> bool {
    collected(book, charge).is_some() && !book.is_disputed(charge)
}

/// The refund as a database keeps it: whole microseconds.
fn kept(mut refund: Refund) -> Refund {
    refund.recorded_at = whole(refund.recorded_at);
    match &mut refund.state {
        State::Recorded { next_at, .. } => *next_at = whole(*next_at),
        State::Sending { since, lease_until } => (*since, *lease_until) = (whole(*since), whole(*lease_until)),
        State::Settling { since, next_at, .. } | State::Unknown { since, next_at, .. } => {
            (*since, *next_at) = (whole(*since), whole(*next_at));
        }
        State::Refunded { at } | State::PartlyRefunded { at, .. } | State::Failed { at, .. } => *at = whole(*at),
        State::Parked { since, .. } => *since = whole(*since),
    }
    refund
}

/// A decision's line, in the charge's history, in the refund's and in the audit.
fn note(
    book: &mut Book,
    (before, refund): (Option<&Refund>, &Refund),
    at: DateTime<Utc>,
    by: &str,
    said: Option<&str>,
) {
    let told = lines::refund((before, refund), (by, said), at);
    let line = entry(whole(at), by, &told.action, told.detail.clone());
    book.note(told);
    if let Some(row) = book.charges.get_mut(&refund.charge) {
        row.history.push(line.clone());
    }
    if let Some(row) = book.refunds.rows.get_mut(&refund.id) {
        row.history.push(line);
    }
}

impl Book {
    /// Is the money of a charge withdrawn by a dispute?
    pub(super) fn is_disputed(&self, charge: ChargeId) -> bool {
        let known = self.disputes.values().map(|known| &known.view);
        known.filter(|view| view.charge == charge).any(|view| view.standing.withdraws())
            || self.refunds.disputes.iter().any(|(disputed, _)| *disputed == charge)
    }

    /// Is the charge paid and not disputed, is the number the next, and is as much left?
    pub(super) fn is_recordable(&self, refund: &Refund, collected: Money) -> bool {
        let last = self.refunds.of(refund.charge).map(|one| one.number).max().unwrap_or(0);
        let known = self::collected(self, refund.charge) == Some(collected.minor());
        let fits = known && self.refunds.taken(refund.charge) + refund.amount.minor() <= collected.minor();
        is_refundable(self, refund.charge) && fits && refund.number == last + 1
    }

    /// Records a refund that is recordable.
    pub(super) fn record_refund(&mut self, refund: &Refund, by: &str) {
        let record = RefundRecord { refund: kept(refund.clone()), recorded_by: by.to_owned(), body: None, version: 0 };
        self.refunds.rows.insert(refund.id, Row { record, leased_until: None, history: Vec::new() });
        let said = format!("reason: {}", refund.reason);
        note(self, (None, refund), refund.recorded_at, by, Some(&said));
    }
}

#[async_trait]
impl RefundStore for MemoryStore {
    async fn refund(&self, id: RefundId) -> Result<Option<RefundRecord>, StoreError> {
        Ok(self.book().refunds.rows.get(&id).map(|row| row.record.clone()))
    }

    async fn refund_by_key(&self, key: Key) -> Result<Option<RefundRecord>, StoreError> {
        Ok(self.book().refunds.rows.values().find(|row| row.record.refund.key == key).map(|row| row.record.clone()))
    }

    async fn refunds_of(&self, charge: ChargeId) -> Result<Vec<RefundRecord>, StoreError> {
        let book = self.book();
        let mut found: Vec<_> = book
            .refunds
            .rows
            .values()
            .map(|row| row.record.clone())
            .filter(|one| one.refund.charge == charge)
            .collect();
        found.sort_by_key(|one| one.refund.number);
        Ok(found)
    }

    async fn refunds(
        &self,
        filter: &RefundFilter,
        after: &RefundCursor,
        limit: u64,
    ) -> Result<Vec<RefundRecord>, StoreError> {
        let book = self.book();
        let wanted = |one: &RefundRecord| {
            let refund = &one.refund;
            (filter.words.is_empty() || filter.words.iter().any(|word| word == refund.state.word()))
                && filter.charge.is_none_or(|charge| refund.charge == charge)
                && after
                    .as_ref()
                    .is_none_or(|(at, id)| (refund.recorded_at, refund.id.0.to_string()) > (*at, id.clone()))
        };
        let mut found: Vec<_> =
            book.refunds.rows.values().map(|row| &row.record).filter(|one| wanted(one)).cloned().collect();
        found.sort_by_key(|one| (one.refund.recorded_at, one.refund.id));
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn given_back(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Money>, StoreError> {
        let book = self.book();
        let mut sums = BTreeMap::new();
        for charge in charges {
            let sum = book.refunds.given_back(*charge);
            if let Some(refund) = book.refunds.of(*charge).next().filter(|_| sum > 0) {
                sums.insert(*charge, Money::new(sum, refund.amount.currency()));
            }
        }
        Ok(sums)
    }

    async fn refund_history(&self, id: RefundId) -> Result<Vec<TimelineEntry>, StoreError> {
        let mut history = self.book().refunds.rows.get(&id).map(|row| row.history.clone()).unwrap_or_default();
        // As the databases tell it: at one instant, decisions before answers.
        history.sort_by_key(|line| (line.at, line.actor == "gateway"));
        Ok(history)
    }

    async fn refunds_open(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut open = BTreeMap::new();
        for row in self.book().refunds.rows.values() {
            let state = &row.record.refund.state;
            if state.next_at().is_some() || matches!(state, State::Parked { .. }) {
                *open.entry(state.word().to_owned()).or_default() += 1;
            }
        }
        Ok(open)
    }

    async fn is_disputed(&self, charge: ChargeId) -> Result<bool, StoreError> {
        Ok(self.book().is_disputed(charge))
    }

    async fn dispute(&self, charge: ChargeId, dispute: &str, open: bool, _at: DateTime<Utc>) -> Result<(), StoreError> {
        let disputes = &mut self.book().refunds.disputes;
        if open {
            disputes.insert((charge, dispute.to_owned()));
        } else {
            disputes.remove(&(charge, dispute.to_owned()));
        }
        Ok(())
    }

    async fn record_refund(&self, refund: &Refund, collected: Money, by: &str) -> Result<bool, StoreError> {
        let mut book = self.book();
        if !book.is_recordable(refund, collected) {
            return Ok(false);
        }
        book.record_refund(refund, by);
        Ok(true)
    }

    async fn claim_refunds(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<RefundRecord>, StoreError> {
        let mut book = self.book();
        let mut due: Vec<_> = book
            .refunds
            .rows
            .values_mut()
            .filter(|row| {
                row.record.refund.merchant == merchant
                    && row.record.refund.state.next_at().is_some_and(|at| at <= due_by)
                    && row.leased_until.is_none_or(|until| until <= due_by)
            })
            .collect();
        due.sort_by_key(|row| (row.record.refund.state.next_at(), row.record.refund.id));
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due
            .into_iter()
            .map(|row| {
                row.record.version += 1;
                row.leased_until = Some(lease_until);
                row.record.clone()
            })
            .collect())
    }

    async fn release_refund(&self, id: RefundId, version: i64) -> Result<(), StoreError> {
        if let Some(row) = self.book().refunds.rows.get_mut(&id).filter(|row| row.record.version == version) {
            row.leased_until = None;
        }
        Ok(())
    }

    async fn begin_refund(&self, intent: &RefundIntent) -> Result<Begun, StoreError> {
        let mut book = self.book();
        if book.holds.iter().map(|hold| hold.id).collect::<Vec<_>>() != intent.holds_seen {
            return Ok(Begun::HoldsChanged);
        }
        let RefundIntent { before, after, body, at, .. } = intent;
        let refundable = is_refundable(&book, after.charge);
        let row = book.refunds.rows.get_mut(&after.id).filter(|row| {
            refundable
                && row.record.version == before.fence
                && row.record.body.is_none()
                && matches!(row.record.refund.state, State::Recorded { .. })
        });
        let Some(row) = row else { return Ok(Begun::Lost) };
        row.record.refund = kept(after.clone());
        row.record.body = Some(body.clone());
        row.record.version += 1;
        row.leased_until = None;
        let sendable = Sendable::by_commit(after.clone(), body.clone(), row.record.version);
        note(&mut book, (Some(&before.value), after), *at, ENGINE, Some(&format!("key {}", after.key)));
        Ok(Begun::Committed(Box::new(sendable)))
    }

    async fn commit_refund(&self, verdict: &RefundVerdict) -> Result<Kept, StoreError> {
        let mut book = self.book();
        let RefundVerdict { before: Claimed { value: before, fence }, after, by, note: said, at, .. } = verdict;
        // What the bank took back since was collected whole.
        let whole_amount = book.charges.get(&before.charge).map_or(0, |row| row.value.amount.minor());
        let collected = collected(&book, before.charge).unwrap_or(whole_amount);
        let taken = book.refunds.taken(before.charge);
        let Some(row) = book.refunds.rows.get_mut(&before.id) else { return Ok(Kept::Stale) };
        let mut kept_as = Kept::Applied(*fence);
        let mut to = before.state.name();
        if let Some(after) = after {
            let change = after.may_have_moved().minor() - before.may_have_moved().minor();
            if change != 0 && taken + change > collected {
                return Ok(Kept::Overdrawn);
            }
            if row.record.version != *fence || row.record.refund.state.name() != before.state.name() {
                return Ok(Kept::Stale);
            }
            row.record.refund = kept(after.clone());
            row.record.version += 1;
            row.leased_until = None;
            to = after.state.name();
            kept_as = Kept::Applied(row.record.version);
        }
        for (at, seen) in &verdict.observations {
            let event = if after.is_some() {
                format!("{} → {to}", seen.event.name())
            } else {
                format!("{} (evidence only)", seen.event.name())
            };
            row.history.push(entry(whole(*at), "gateway", &event, seen.asked.as_str().to_owned()));
        }
        if let Some(after) = after {
            book.post_refund(after.id, whole(*at));
        }
        if let Some(after) = after
            && (to != before.state.name() || said.is_some())
        {
            note(&mut book, (Some(before), after), *at, by, said.as_deref());
        }
        Ok(kept_as)
    }
}
