//! What of the running periods is paid and not used, gathered from the book, and the refunds that come of it.

use std::collections::BTreeSet;

use chrono::NaiveDate;

use domain::amendment::unused::{Recorded, Rest, is_lost, periods, put_back};
use domain::charge::{Event, Limits};
use domain::id::{ChargeId, Purpose};
use domain::money::Money;
use domain::plan::Plan;
use domain::refund::{Reason, Wish};
use domain::subscription::{Adjustment, Subscription};

use super::{RefundRefused, Refunds};
use crate::ports::amend::Giving;
use crate::ports::{ChargeFilter, StoreError};

/// Charges of one subscription that are looked at together.
const PAGE: u64 = 1_000;

/// A refund that a rule asks for, before it is recorded.
#[derive(Debug, Clone)]
pub struct ToGive {
    /// The refund, as it is recorded with the end of its subscription.
    pub giving: Giving,
    /// What is left of the charge before it.
    pub left: Money,
}

/// Why the unused days could not be told, as a sentence, or the store's failure.
#[derive(Debug, thiserror::Error)]
pub enum NotTold {
    /// The plan or its numbers have no answer.
    #[error("{0}")]
    NoAnswer(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refunds {
    /// The rests of the periods whose cycles are recorded and which have days from `unused_from` on. Reads only.
    ///
    /// # Errors
    /// [`NotTold`].
    pub async fn rests(
        &self,
        plan: &Plan,
        subscription: &Subscription,
        unused_from: NaiveDate,
    ) -> Result<Vec<Rest>, NotTold> {
        let store = &self.engine.inner.store;
        let adjustments = store.adjustments(&subscription.id).await?;
        let lost = self.lost(subscription, &adjustments).await?;
        // What an unpaid charge took of a change of plan was not settled by it.
        let (subscription, adjustments) = put_back(subscription, &adjustments, |cycle| lost.contains(&cycle));
        let subscription = &subscription;
        let mut rests = Vec::new();
        for period in periods(plan, subscription, unused_from).map_err(NotTold::NoAnswer)? {
            let charge = store.charge(period.charge).await?;
            let refunds = store.refunds_of(period.charge).await?;
            let given_back =
                refunds.iter().fold(0_i64, |sum, one| sum.saturating_add(one.refund.may_have_moved().minor()));
            let given_back = Money::new(given_back, plan.currency);
            let disputed = store.is_disputed(period.charge).await?;
            let recorded = charge.as_ref().map(|charge| Recorded { charge, given_back, disputed });
            let rest = Rest::of(plan, subscription, &period, unused_from, recorded, &adjustments);
            rests.push(rest.map_err(NotTold::NoAnswer)?);
        }
        Ok(rests)
    }

    /// The cycles whose charges took a part of a change of plan and ended unpaid, or would end with the subscription.
    async fn lost(&self, subscription: &Subscription, adjustments: &[Adjustment]) -> Result<BTreeSet<u32>, StoreError> {
        let settles = |id| adjustments.iter().any(|one| one.id == id && one.settles.is_some());
        let took = subscription.amendments.applied.iter().filter(|taken| settles(taken.adjustment));
        let cycles: BTreeSet<u32> = took.map(|taken| taken.cycle).collect();
        let mut lost = BTreeSet::new();
        for cycle in cycles {
            let id = ChargeId::of(subscription.merchant, &subscription.id, cycle, Purpose::Cycle);
            if self.engine.inner.store.charge(id).await?.is_some_and(|charge| is_lost(&charge)) {
                lost.insert(cycle);
            }
        }
        Ok(lost)
    }

    /// The refunds of what is paid and not used, by the rules of every refund. Changes nothing.
    ///
    /// # Errors
    /// [`RefundRefused`] with the charge whose money cannot go back.
    pub async fn to_give(&self, rests: &[Rest]) -> Result<Vec<ToGive>, (ChargeId, RefundRefused)> {
        let mut all = Vec::new();
        for rest in rests.iter().filter(|rest| rest.to_refund().is_positive()) {
            let words = format!("unused {}/{} days of cycle {}", rest.unused, rest.of, rest.cycle);
            let because = |why| (rest.charge, why);
            let reason = Reason::parse(&words).map_err(|why| because(StoreError::Refused(why.to_owned()).into()))?;
            let proposal = self.propose(rest.charge, &Wish::of(rest.to_refund(), reason)).await.map_err(because)?;
            let giving = Giving { refund: proposal.refund, collected: proposal.collected };
            all.push(ToGive { giving, left: proposal.left });
        }
        Ok(all)
    }

    /// The charges of a subscription that wait for a try or a person, and would end with it. Reads only.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn would_end(&self, subscription: &Subscription) -> Result<Vec<ChargeId>, StoreError> {
        let engine = &self.engine;
        let filter = ChargeFilter { subscription: Some(subscription.id.clone()), ..ChargeFilter::default() };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = engine.inner.store.list_charges(&filter, &after, PAGE).await?;
            after.clone_from(&page.next);
            for charge in page.whole() {
                let (id, at) = (charge.id, engine.now());
                let is_open = charge.state.next_at().is_some() || charge.state.name() == "parked";
                if is_open && charge.step(Event::Cancel, at, &Limits::default()).is_ok() {
                    found.push(id);
                }
            }
            if after.is_none() {
                return Ok(found);
            }
        }
    }
}
