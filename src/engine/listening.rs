//! Who listens to the intake for refunds: their own store, which turns news into a question.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::ports::refund::Learnt;
use crate::ports::webhooks::{RefundEar, RefundNews};
use crate::ports::{Store, StoreError};

/// Hears of refunds.
pub struct RefundListener {
    store: Arc<dyn Store>,
}

impl RefundListener {
    /// A listener that keeps what it hears in `store`.
    #[must_use]
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl RefundEar for RefundListener {
    async fn hear(&self, news: &RefundNews, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let (Some(key), Some(id)) = (news.key, news.refund_id.as_deref()) else { return Ok(false) };
        match self.store.refund_learnt(key, id, at).await? {
            Learnt::Taken | Learnt::Final => Ok(true),
            Learnt::Foreign => Ok(false),
            Learnt::Busy => Err(StoreError::Refused("another id of that refund is being asked about".to_owned())),
        }
    }
}
