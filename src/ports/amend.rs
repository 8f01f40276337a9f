//! What people change about one subscription, kept durably.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::amendment::{Amendment, Settlement};
use domain::id::SubscriptionId;
use domain::money::Money;
use domain::refund::Refund;
use domain::subscription::{Adjustment, Subscription};

use super::{Cancelled, StoreError};

/// The end of a subscription with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct Closing {
    /// The end: [`domain::amendment::Change::Cancel`].
    pub ending: Amendment,
    /// What goes back of its charges; recorded as any refund is, and sent by whoever sends them.
    pub refunds: Vec<Giving>,
    /// The subscription that follows it.
    pub successor: Option<Successor>,
}

/// A refund, with what was collected when it was found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Giving {
    /// The refund as it is to be recorded.
    pub refund: Refund,
    /// What was collected of its charge.
    pub collected: Money,
}

/// A subscription that begins where another ends.
#[derive(Debug, Clone)]
pub struct Successor {
    /// As it enters the book.
    pub subscription: Subscription,
    /// The credits and charges it begins with.
    pub settled: Vec<Settlement>,
}

/// Durable memory of what people changed.
#[async_trait]
pub trait AmendStore: Send + Sync {
    /// Makes a change with its audit row, in one transaction, where the subscription still stands as the change found it, and every
    /// charge that it rests on is paid, not disputed, and as much went back of it as the change says; `None`, and nothing is changed, where not.
    /// Gives the number of a new credit or charge, the first of several, 0 for everything else.
    ///
    /// Claims on the subscription end: what was drawn before the change is not recorded any more.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn amend(&self, amendment: &Amendment) -> Result<Option<i64>, StoreError>;

    /// Ends a subscription, as [`crate::ports::Store::cancel`] does, records the refunds and adds the subscription that follows, with
    /// audit rows on each: all of it in one transaction or, with `None`, nothing. `None` says that the subscription no longer stands
    /// as the change found it, that a charge is not paid or was refunded meanwhile, or that the successor's id is taken. Where there is a
    /// successor no waiting charge ends with the old one: then, too, the answer is `None`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn close(&self, closing: &Closing) -> Result<Option<Cancelled>, StoreError>;

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
