//! Tries that other systems made with instruments of the book, and what banks returned of those made here.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::elsewhere::TriedElsewhere;
use domain::id::{MerchantId, PaymentMethodId};
use domain::rules::returns::Entered;

use super::StoreError;

/// Durable memory of what was tried elsewhere. It is only ever added to; what networks count reads it beside the attempts.
#[async_trait]
pub trait ElsewhereStore: Send + Sync {
    /// Keeps tries whose references are new, with one audit row for all of them; says how many those were. One statement for any number.
    ///
    /// # Errors
    /// [`StoreError`]; then none was kept.
    async fn keep_tries(&self, tries: &[TriedElsewhere], by: &str, at: DateTime<Utc>) -> Result<u64, StoreError>;

    /// Those of a merchant's tries that are known already, by reference; in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tries_known(&self, merchant: MerchantId, references: &[String])
    -> Result<Vec<TriedElsewhere>, StoreError>;

    /// What was tried elsewhere with a method, the latest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn tries_elsewhere(&self, method: PaymentMethodId, limit: u64) -> Result<Vec<TriedElsewhere>, StoreError>;

    /// How many debits of bank accounts a merchant entered since a moment, and how many of them banks returned under which code. Reads
    /// every attempt since then: for reports, not for a loop.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn entered(&self, merchant: MerchantId, since: DateTime<Utc>) -> Result<Entered, StoreError>;
}
