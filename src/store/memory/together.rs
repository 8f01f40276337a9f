//! Charges that are collected together, in the map.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::agenda::{Part, Payer};
use domain::charge::Charge;
use domain::id::{ChargeId, SubscriptionId};
use domain::subscription::Subscription;

use super::{Book, MemoryStore};
use crate::ports::together::{Collected, KIN_MAX, Kin, TogetherStore};
use crate::ports::{Claimed, DueClaim, IntentBatch, StoreError};
use crate::store::rows::whole;
use crate::store::together;

impl Kin {
    fn holds(&self, row: &Subscription) -> bool {
        let until = self.customers.get(&row.customer).map(|until| whole(*until));
        row.merchant == self.merchant
            && self.plans.contains(&row.plan)
            && row.next_due_at.zip(until).is_some_and(|(at, until)| at <= until)
    }
}

impl Book {
    fn kin(&self, kin: &Kin) -> Vec<SubscriptionId> {
        let most = usize::try_from(KIN_MAX).unwrap_or(usize::MAX);
        let found = self.subscriptions.values().filter(|row| kin.holds(&row.value));
        found.map(|row| row.value.id.clone()).take(most).collect()
    }

    /// What of a batch can be recorded whole, and how many decisions are dropped.
    pub(super) fn whole_payments(&mut self, batch: IntentBatch) -> (IntentBatch, usize) {
        let ours: BTreeSet<SubscriptionId> = (batch.advances.iter())
            .filter(|claimed| {
                self.subscriptions.get(&claimed.value.subscription).is_some_and(|row| {
                    row.fence == claimed.fence
                        && row.value.next_cycle == claimed.value.from_cycle
                        && row.value.goes_on_by_itself()
                })
            })
            .map(|claimed| claimed.value.subscription.clone())
            .collect();
        let recorded = batch.new.iter().filter(|new| self.charges.contains_key(&new.charge.id));
        let twice = recorded.map(|new| new.charge.subscription.clone()).filter(|id| ours.contains(id)).collect();
        let Some(found) = together::whole(&batch, &ours, &twice) else { return (batch, 0) };
        for (id, fence) in &found.given_back {
            if let Some(row) = self.subscriptions.get_mut(id).filter(|row| row.fence == *fence) {
                row.leased_until = None;
            }
        }
        (found.batch, found.dropped)
    }

    /// For whom else a charge pays.
    pub(super) fn payers(&self, charge: ChargeId) -> Vec<Payer> {
        let parts = self.parts.iter().filter(|one| one.by == charge).map(|one| &one.part);
        let payer = |part: &Part| Payer {
            subscription: part.subscription.clone(),
            recorded_under: part.plan.clone(),
            under: self.subscriptions.get(&part.subscription).map(|row| row.value.plan.clone()),
        };
        parts.map(payer).collect()
    }

    /// Whose cycles a charge pays for.
    pub(super) fn paying_with(&self, charge: &Charge) -> BTreeSet<SubscriptionId> {
        let parts = self.parts.iter().filter(|one| one.by == charge.id).map(|one| one.part.subscription.clone());
        parts.chain([charge.subscription.clone()]).collect()
    }
}

#[async_trait]
impl TogetherStore for MemoryStore {
    async fn claim_kin(&self, kin: &Kin, _: DateTime<Utc>, lease_until: DateTime<Utc>) -> Result<DueClaim, StoreError> {
        let mut book = self.book();
        let mut claim = DueClaim::default();
        for id in book.kin(kin) {
            let Some(row) = book.subscriptions.get_mut(&id) else { continue };
            row.fence += 1;
            row.leased_until = Some(lease_until);
            claim.due.push(Claimed { value: row.value.clone(), fence: row.fence });
        }
        Ok(claim)
    }

    async fn peek_kin(&self, kin: &Kin) -> Result<DueClaim, StoreError> {
        let book = self.book();
        let found = book.kin(kin);
        let rows = found.iter().filter_map(|id| book.subscriptions.get(id));
        let due = rows.map(|row| Claimed { value: row.value.clone(), fence: row.fence }).collect();
        Ok(DueClaim { due, poison: Vec::new() })
    }

    async fn payers(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<Payer>>, StoreError> {
        let book = self.book();
        let found = charges.iter().map(|id| (*id, book.payers(*id)));
        Ok(found.filter(|(_, payers)| !payers.is_empty()).collect())
    }

    async fn paid_together(&self, ids: &[ChargeId]) -> Result<Vec<Collected>, StoreError> {
        let book = self.book();
        let ids: BTreeSet<&ChargeId> = ids.iter().collect();
        let asked = |one: &&Collected| ids.contains(&one.by) || ids.contains(&one.part.charge);
        let mut found: Vec<Collected> = book.parts.iter().filter(asked).cloned().collect();
        found.sort_by(|a, b| {
            (a.by, &a.part.subscription, a.part.cycle).cmp(&(b.by, &b.part.subscription, b.part.cycle))
        });
        Ok(found)
    }
}
