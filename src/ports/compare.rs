//! What a comparison of forecast and reality reads beside the lists. Reads only.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};

use domain::id::{ChargeId, MerchantId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::Subscription;

use super::{Listed, StoreError};

/// The charges of a month, and when money still belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonthOf {
    /// Whose.
    pub merchant: MerchantId,
    /// First civil due date.
    pub from: NaiveDate,
    /// Last civil due date.
    pub until: NaiveDate,
    /// What was paid at this instant or later, UTC, came after the month.
    pub paid_before: DateTime<Utc>,
}

/// Reads of a comparison.
#[async_trait]
pub trait CompareStore: Send + Sync {
    /// What the charges of a month brought within it, less what refunds are known to have given back of them, less what disputes
    /// withdraw that were not won (of a charge never more than was collected; all of it where an event names no amount): minor units by
    /// currency, summed where the rows are. A charge that a bank took back brought nothing; of what came later, neither the money nor
    /// its refunds count. Currencies of which nothing is left are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn collected(&self, of: MonthOf) -> Result<BTreeMap<Currency, i64>, StoreError>;
    /// What disputes withdraw of these charges, those that were won left out: one value a dispute, `None` where no event named an
    /// amount that can be used. Charges without such a dispute are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn disputed(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<Option<Money>>>, StoreError>;
    /// The given subscriptions with everything that people changed about them, by the id that was asked for. Those that do not exist
    /// are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn subscriptions_of(
        &self,
        ids: &[SubscriptionId],
    ) -> Result<BTreeMap<SubscriptionId, Listed<Subscription>>, StoreError>;
}
