//! News about payment methods, and who listens to them.
//!
//! News is a hint, never a fact: it comes from a delivery whose body nobody signed (contract §8.1). A listener asks the wallet
//! before it changes anything that money depends on; only stopping needs no proof.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::id::PaymentMethodId;

use super::StoreError;

/// Something was said about a payment method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstrumentNews {
    /// It was created or changed: its card expires later, or it became invalid.
    Changed {
        /// Which.
        method: PaymentMethodId,
    },
    /// It is gone. A replacement may be announced before or after this (contract §8.4).
    Deleted {
        /// Which.
        method: PaymentMethodId,
    },
    /// It is gone and another one took its place.
    Replaced {
        /// The one that is gone.
        deleted: PaymentMethodId,
        /// The one to use from now on.
        by: PaymentMethodId,
    },
    /// A payment made with it is disputed.
    Disputed {
        /// Which.
        method: PaymentMethodId,
        /// The dispute's id in our own ledger.
        dispute: String,
    },
    /// That dispute has ended.
    DisputeEnded {
        /// Which.
        method: PaymentMethodId,
        /// The dispute's id in our own ledger.
        dispute: String,
    },
}

/// Listens to news about payment methods.
#[async_trait]
pub trait InstrumentEar: Send + Sync {
    /// Keeps the news durably, whatever it leads to later. Hearing the same twice, or in another order, leads to the same.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be kept; the caller tells it again later.
    async fn hear(&self, news: &InstrumentNews, at: DateTime<Utc>) -> Result<(), StoreError>;
}
