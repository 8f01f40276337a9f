//! Claiming together what is charged together: beside a subscription whose plan consolidates, all of its customer's that may join.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use domain::agenda::{Agenda, joins, last_instant, line_up};
use domain::id::{PlanId, SubscriptionId};
use domain::plan::{Catalog, Consolidate};
use domain::subscription::{Customer, Subscription};

use super::{Engine, EngineError};
use crate::ports::together::Kin;
use crate::ports::{Claimed, DueClaim};

impl Engine {
    /// The claim with everything that may be charged together with a part of it, in the order of the book. Where nothing of it
    /// consolidates nothing is asked.
    pub(super) async fn with_kin(
        &self,
        catalog: &Catalog,
        claim: Vec<Claimed<Subscription>>,
        as_of: DateTime<Utc>,
    ) -> Result<DueClaim, EngineError> {
        let Some(kin) = self.kin_of(catalog, &claim, as_of) else {
            return Ok(DueClaim { due: claim, poison: Vec::new() });
        };
        let (now, lease) = self.lease();
        let taken = self.inner.store.claim_kin(&kin, now, lease).await?;
        Ok(DueClaim { due: beside(catalog, claim, taken.due), poison: taken.poison })
    }

    /// The same for a dry run, which takes nothing.
    pub(super) async fn beside_kin(
        &self,
        catalog: &Catalog,
        page: Vec<Claimed<Subscription>>,
        as_of: DateTime<Utc>,
        drawn: &mut BTreeSet<SubscriptionId>,
    ) -> Result<Vec<Claimed<Subscription>>, EngineError> {
        let Some(kin) = self.kin_of(catalog, &page, as_of) else { return Ok(page) };
        let found = self.inner.store.peek_kin(&kin).await?;
        let mut rows = beside(catalog, page, found.due);
        // What came with an earlier page was drawn there.
        rows.retain(|row| !drawn.contains(&row.value.id));
        let due = rows.iter().filter(|row| row.value.next_due_at.is_some_and(|at| at <= as_of));
        drawn.extend(due.filter(|row| joins(catalog, &row.value)).map(|row| row.value.id.clone()));
        Ok(rows)
    }

    fn kin_of(&self, catalog: &Catalog, claim: &[Claimed<Subscription>], as_of: DateTime<Utc>) -> Option<Kin> {
        let consolidates = catalog.plans.values().filter(|plan| plan.consolidate == Consolidate::CustomerAndDay);
        let plans: BTreeSet<PlanId> = consolidates.map(|plan| plan.id.clone()).collect();
        if plans.is_empty() {
            return None;
        }
        let mut customers: BTreeMap<Customer, DateTime<Utc>> = BTreeMap::new();
        for row in claim.iter().map(|claimed| &claimed.value).filter(|row| joins(catalog, row)) {
            let last = last_instant(catalog, row, as_of);
            let until = customers.entry(row.customer.clone()).or_insert(last);
            *until = last.max(*until);
        }
        (!customers.is_empty()).then(|| Kin { merchant: self.inner.settings.merchant, plans, customers })
    }

    /// Gives back what was taken only to be charged with something that is due, and was not.
    pub(super) async fn give_back_idle(
        &self,
        claims: &[Claimed<Subscription>],
        agenda: &Agenda,
        as_of: DateTime<Utc>,
    ) -> Result<(), EngineError> {
        let ahead = claims.iter().filter(|claim| claim.value.next_due_at.is_some_and(|at| at > as_of));
        let idle: Vec<(SubscriptionId, i64)> = ahead
            .filter(|claim| !agenda.advances.iter().any(|advance| advance.subscription == claim.value.id))
            .map(|claim| (claim.value.id.clone(), claim.fence))
            .collect();
        if !idle.is_empty() {
            self.inner.store.release(&idle, &[]).await?;
        }
        Ok(())
    }
}

/// The rows of a claim with their kin, lined up: so their order is the same however large the batches are.
///
/// What was claimed and is not among the kin stays: its commit tells whether it is still ours, and nothing that is due is dropped here.
fn beside(
    catalog: &Catalog,
    claim: Vec<Claimed<Subscription>>,
    kin: Vec<Claimed<Subscription>>,
) -> Vec<Claimed<Subscription>> {
    let mut rows: BTreeMap<SubscriptionId, Claimed<Subscription>> = BTreeMap::new();
    for claimed in claim.into_iter().chain(kin) {
        rows.insert(claimed.value.id.clone(), claimed);
    }
    line_up(catalog, rows.into_values().collect(), |claimed| &claimed.value)
}
