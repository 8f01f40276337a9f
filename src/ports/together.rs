//! One payment for one customer and day: whose subscriptions are taken together, and which charge collects which cycle.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::agenda::{Part, Payer};
use domain::id::{ChargeId, MerchantId, PlanId};
use domain::subscription::Customer;

use super::{DueClaim, StoreError};

/// Most subscriptions that are looked for at once. Those beyond it are charged by a payment of their own.
pub const KIN_MAX: u32 = 10_000;

/// Which subscriptions may be charged together with some that were claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kin {
    /// Whose money.
    pub merchant: MerchantId,
    /// Under which plans.
    pub plans: BTreeSet<PlanId>,
    /// Of which customers, and up to which instant, UTC, their subscriptions fall due.
    pub customers: BTreeMap<Customer, DateTime<Utc>>,
}

/// A cycle that another charge collects, and that charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The charge that is sent.
    pub by: ChargeId,
    /// What it collects.
    pub part: Part,
}

/// What a store keeps of charges that are collected together.
#[async_trait]
pub trait TogetherStore {
    /// Takes every such subscription until `lease_until`, at most [`KIN_MAX`], whoever has taken some of them: what others drew
    /// of these is refused at their commit, as after a lease that ran out. So whoever comes last has all of them, and nobody
    /// builds a payment of a part. Ids ascending.
    async fn claim_kin(
        &self,
        kin: &Kin,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<DueClaim, StoreError>;
    /// As [`TogetherStore::claim_kin`], and takes nothing.
    async fn peek_kin(&self, kin: &Kin) -> Result<DueClaim, StoreError>;
    /// What the given charges collect for others, and by what those among them are collected that are carried: by charge,
    /// subscription and cycle.
    async fn paid_together(&self, ids: &[ChargeId]) -> Result<Vec<Collected>, StoreError>;

    /// For whom else these charges pay, by charge; those that pay for nobody else are left out. One statement for any number.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn payers(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<Payer>>, StoreError>;
}
