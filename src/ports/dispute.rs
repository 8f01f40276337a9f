//! The dispute ledger: our own, because the gateway only relays events and answers no question about a dispute (contract §8.4).

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::dispute::{DisputeId, Standing};
use domain::id::{ChargeId, MerchantId, PaymentMethodId};
use serde::Serialize;

use super::StoreError;
use super::webhooks::{InboxId, Subject};

/// What an event says about a dispute. Only its ids are documented; the rest is kept where it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeEvent {
    /// The gateway's id of the dispute, or of the disputed allocation where it names none.
    pub gateway_id: String,
    /// The disputed payment.
    pub subject: Subject,
    /// The disputed allocation, at the gateway.
    pub allocation_id: Option<String>,
    /// What is withdrawn, minor units.
    pub amount_minor: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Why, in the gateway's words, shortened.
    pub reason: Option<String>,
    /// The event's name.
    pub name: String,
    /// Where it stands, in the gateway's words, shortened.
    pub status: Option<String>,
    /// Where it stands, as we read it.
    pub standing: Standing,
}

/// A dispute as it stands after an event was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contested {
    /// Which.
    pub id: DisputeId,
    /// The charge it is about.
    pub charge: ChargeId,
    /// The method that was charged.
    pub method: PaymentMethodId,
    /// Where it stands: the highest rank of everything that was said.
    pub standing: Standing,
}

/// A dispute as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DisputeView {
    /// Which.
    pub id: DisputeId,
    /// Where it stands.
    pub standing: Standing,
    /// The charge it is about.
    pub charge: ChargeId,
    /// The number of the attempt that was paid.
    pub attempt: u16,
    /// The method that was charged.
    pub method: PaymentMethodId,
    /// The gateway's id of the dispute.
    pub gateway_id: String,
    /// The disputed allocation, at the gateway.
    pub allocation_id: Option<String>,
    /// The gateway's id of the payment.
    pub payment_id: Option<String>,
    /// What is withdrawn, minor units.
    pub amount_minor: Option<i64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Why, in the gateway's words.
    pub reason: Option<String>,
    /// When we first heard of it, UTC.
    pub opened_at: DateTime<Utc>,
    /// When we last did, UTC.
    pub changed_at: DateTime<Utc>,
    /// When we heard that it was over, UTC.
    pub ended_at: Option<DateTime<Utc>>,
}

/// One thing that was said about a dispute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DisputeLine {
    /// When it was recorded, UTC.
    pub at: DateTime<Utc>,
    /// The event's name.
    pub name: String,
    /// The gateway's word.
    pub status: Option<String>,
    /// How we read it.
    pub standing: Standing,
    /// The delivery that said it.
    pub delivery: InboxId,
}

/// The durable ledger. Every write is one transaction; rows are never deleted and a standing never goes back.
#[async_trait]
pub trait Disputes: Send + Sync {
    /// Records what a delivery says; `None` when it is about no charge of ours. The same delivery again changes nothing.
    async fn record_dispute(
        &self,
        merchant: MerchantId,
        event: &DisputeEvent,
        delivery: InboxId,
        at: DateTime<Utc>,
    ) -> Result<Option<Contested>, StoreError>;
    /// One dispute with everything that was said about it, oldest first.
    async fn dispute(&self, id: DisputeId) -> Result<Option<(DisputeView, Vec<DisputeLine>)>, StoreError>;
    /// Disputes, latest first, `skip` left out; only the open ones if asked.
    async fn disputes(&self, only_open: bool, skip: u64, limit: u64) -> Result<Vec<DisputeView>, StoreError>;
    /// Disputes about a charge, oldest first.
    async fn disputes_of(&self, charge: ChargeId) -> Result<Vec<DisputeView>, StoreError>;
}
