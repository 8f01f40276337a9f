//! What the proof of completeness reads beside the walk: what stands behind each charge.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::id::ChargeId;

use super::StoreError;

/// What stands behind a charge, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Of which.
    pub charge: ChargeId,
    /// Until when somebody has claimed it, UTC.
    pub leased_until: Option<DateTime<Utc>>,
    /// Its attempts.
    pub attempts: u64,
    /// The number of the last of them; 0 for none.
    pub last_attempt: u64,
    /// Attempts of another amount than the charge's.
    pub of_other_amounts: u64,
    /// Attempts that succeeded.
    pub succeeded: u64,
}

/// Durable memory, as the proof reads it.
#[async_trait]
pub trait ProofStore: Send + Sync {
    /// What stands behind these charges, in no order; charges that are not there are left out.
    async fn evidence(&self, ids: &[ChargeId]) -> Result<Vec<Evidence>, StoreError>;
    /// Subscriptions that the book has had and has no more, in order, `limit` at most: nobody removes one, so each is a row that was lost.
    async fn lost_subscriptions(&self, limit: u64) -> Result<Vec<String>, StoreError>;
}
