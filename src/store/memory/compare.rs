//! What a comparison of forecast and reality reads, of the book in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;

use domain::charge::State;
use domain::id::{ChargeId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::Subscription;

use super::{Book, MemoryStore};
use crate::ports::compare::{CompareStore, MonthOf};
use crate::ports::{Listed, StoreError};

fn claims(book: &Book, charge: ChargeId) -> Vec<Option<Money>> {
    let views = book.disputes.values().map(|known| &known.view);
    let withdraws = views.filter(|view| view.charge == charge && view.standing.withdraws());
    withdraws
        .map(|view| {
            let currency = view.currency.as_deref().and_then(|code| Currency::parse(code).ok());
            view.amount_minor.zip(currency).map(|(minor, currency)| Money::new(minor, currency))
        })
        .collect()
}

#[async_trait]
impl CompareStore for MemoryStore {
    async fn collected(&self, of: MonthOf) -> Result<BTreeMap<Currency, i64>, StoreError> {
        let book = self.book();
        let mut sums: BTreeMap<Currency, i64> = BTreeMap::new();
        for row in book.charges.values() {
            let charge = &row.value;
            if charge.merchant != of.merchant || charge.due_on < of.from || charge.due_on > of.until {
                continue;
            }
            let there = match &charge.state {
                State::Paid { at, .. } | State::Returned { paid_at: at, .. } if *at >= of.paid_before => continue,
                State::Paid { collected, .. } => {
                    let all = collected.minor();
                    let claims = claims(&book, charge.id);
                    let usable = |claim: &&Money| claim.currency() == collected.currency() && claim.is_positive();
                    let named: Vec<i64> = claims.iter().flatten().filter(usable).map(|claim| claim.minor()).collect();
                    // Where a claim cannot be used, all of it is withdrawn.
                    let withdrawn = if named.len() < claims.len() { all } else { named.iter().sum::<i64>().min(all) };
                    all - withdrawn
                }
                State::Planned
                | State::Due { .. }
                | State::Sending { .. }
                | State::Unknown { .. }
                | State::Settling { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. }
                | State::Returned { .. }
                | State::Failing { .. }
                | State::Failed { .. }
                | State::Skipped { .. }
                | State::Parked { .. } => 0,
            };
            let back = book.refunds.given_back(charge.id);
            *sums.entry(charge.amount.currency()).or_default() += there - back;
        }
        sums.retain(|_, minor| *minor != 0);
        Ok(sums)
    }

    async fn disputed(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<Option<Money>>>, StoreError> {
        let book = self.book();
        let all = charges.iter().map(|charge| (*charge, claims(&book, *charge)));
        Ok(all.filter(|(_, claims)| !claims.is_empty()).collect())
    }

    async fn subscriptions_of(
        &self,
        ids: &[SubscriptionId],
    ) -> Result<BTreeMap<SubscriptionId, Listed<Subscription>>, StoreError> {
        let book = self.book();
        let row =
            |id: &SubscriptionId| book.subscriptions.get(id).map(|row| (id.clone(), Listed::Whole(row.value.clone())));
        Ok(ids.iter().filter_map(row).collect())
    }
}
