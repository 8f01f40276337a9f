//! Claiming together what is charged together: beside a subscription whose plan consolidates, all of its customer's that may join.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use domain::agenda::{Agenda, joins, last_instant};
use domain::id::{PlanId, SubscriptionId};
use domain::plan::{Catalog, Consolidate};
use domain::subscription::{Customer, Subscription};

use super::{Engine, EngineError};
use crate::ports::together::Kin;
use crate::ports::{Claimed, DueClaim};

/// A place in the order in which subscriptions are claimed.
type PlaceInLine = (Option<DateTime<Utc>>, SubscriptionId);

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

/// The rows of a claim with their kin. A customer's stand together, where the first of them would stand alone: so their order is
/// the same however large the batches are. A row that consolidates and is not among the kin belongs to somebody else by now.
fn beside(
    catalog: &Catalog,
    claim: Vec<Claimed<Subscription>>,
    kin: Vec<Claimed<Subscription>>,
) -> Vec<Claimed<Subscription>> {
    let alone = claim.into_iter().filter(|claimed| !joins(catalog, &claimed.value));
    let kin: Vec<_> = kin.into_iter().filter(|claimed| joins(catalog, &claimed.value)).collect();
    let place = |row: &Subscription| (row.next_due_at, row.id.clone());
    let mut first: BTreeMap<Customer, PlaceInLine> = BTreeMap::new();
    for row in kin.iter().map(|claimed| &claimed.value) {
        let own = place(row);
        let known = first.entry(row.customer.clone()).or_insert_with(|| own.clone());
        if own < *known {
            *known = own;
        }
    }
    let of_kin = |claimed: Claimed<Subscription>| {
        let own = place(&claimed.value);
        (first.get(&claimed.value.customer).cloned().unwrap_or_else(|| own.clone()), own, claimed)
    };
    let of_others = |claimed: Claimed<Subscription>| (place(&claimed.value), place(&claimed.value), claimed);
    let mut rows: Vec<_> = alone.map(of_others).chain(kin.iter().cloned().map(of_kin)).collect();
    rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    rows.into_iter().map(|(_, _, claimed)| claimed).collect()
}
