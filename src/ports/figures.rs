//! What figures of dunning read beside the charges: their tries.

use async_trait::async_trait;

use domain::dunning_stats::Try;
use domain::id::ChargeId;

use super::StoreError;

/// Durable memory, as figures read it.
#[async_trait]
pub trait FiguresStore: Send + Sync {
    /// The tries of these charges, by number within each.
    async fn tries_of(&self, ids: &[ChargeId]) -> Result<Vec<(ChargeId, Try)>, StoreError>;
}
