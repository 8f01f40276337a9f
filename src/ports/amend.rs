//! What people change about one subscription, kept durably.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::amendment::Amendment;
use domain::id::SubscriptionId;
use domain::subscription::Adjustment;

use super::{Cancelled, StoreError};

/// Durable memory of what people changed.
#[async_trait]
pub trait AmendStore: Send + Sync {
    /// Makes a change with its audit row, in one transaction, where the subscription still stands as the change found it; `None`,
    /// and nothing is changed, where it does not. Gives the number of a new credit or charge, 0 for everything else.
    ///
    /// Claims on the subscription end: what was drawn before the change is not recorded any more.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn amend(&self, amendment: &Amendment) -> Result<Option<i64>, StoreError>;

    /// As [`crate::ports::Store::cancel`], with a reason for the note and the audit.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn cancel_because(
        &self,
        id: &SubscriptionId,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<Cancelled>, StoreError>;

    /// Every credit and charge of a subscription, oldest first, used up or not.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Inconsistent`] when a row cannot be read.
    async fn adjustments(&self, id: &SubscriptionId) -> Result<Vec<Adjustment>, StoreError>;
}
