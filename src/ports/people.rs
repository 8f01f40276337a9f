//! What people do to a charge: ask about it now, decide what nobody else can, give its payment up at the gateway.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::charge::Charge;
use domain::id::ChargeId;

use super::{Claimed, OpenCharge, StoreError};

/// What a person did, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonsNote {
    /// Who.
    pub by: String,
    /// What, as the audit calls it: `charge.judged`.
    pub action: &'static str,
    /// Why, and with which evidence.
    pub detail: String,
}

/// Durable memory of what people do.
#[async_trait]
pub trait PeopleStore: Send + Sync {
    /// Takes one charge until `lease_until`, whatever is due, and keeps the note in the same transaction: what a person is about to
    /// do at the gateway is recorded first. `None` when it does not exist, is being sent, or somebody else has it.
    async fn take_charge(
        &self,
        id: ChargeId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        note: Option<&PersonsNote>,
    ) -> Result<Option<Claimed<OpenCharge>>, StoreError>;
    /// Moves a charge by a person's decision, with its audit row, by fenced compare-and-set; `false` when it moved meanwhile.
    async fn judge_charge(
        &self,
        before: &Claimed<Charge>,
        after: &Charge,
        note: &PersonsNote,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError>;
}

/// Why a payment is given up at the gateway (contract §4.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// It was made twice.
    Duplicate,
    /// It should never have been made.
    Fraudulent,
    /// The customer wishes it.
    RequestedByCustomer,
    /// Nobody came back to it.
    Abandoned,
}

impl CancelReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Duplicate, Self::Fraudulent, Self::RequestedByCustomer, Self::Abandoned];

    /// The word in commands and in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Fraudulent => "fraudulent",
            Self::RequestedByCustomer => "requested-by-customer",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Gives payments up at the gateway.
#[async_trait]
pub trait CancelGateway: Send + Sync {
    /// Asks the gateway, once, to give a payment up. What it says is told to the person and believed by nobody: what became of
    /// the payment is learnt by asking (contract §4.11).
    async fn cancel_payment(&self, payment_id: &str, reason: CancelReason) -> String;
}
