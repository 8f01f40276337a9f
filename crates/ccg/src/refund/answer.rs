//! What the gateway says about a refund, in either version's shape (contract §5, §8.4).

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::payment::{AllocationError, Merchant};
use crate::payment_method::PaymentMethod;
use crate::reading::{if_readable, null_as_empty};
use crate::words::words;

words! {
    /// Where a refund or a part of it stands (contract §5). The older pages' outcome names read as the newer ones.
    pub enum RefundStatus {
        /// Accepted; what becomes of it has to be asked for.
        Initiated = "INITIATED",
        /// Under way.
        Pending = "PENDING",
        /// Done: everything was given back.
        Completed = "COMPLETED" | "REFUNDED",
        /// Done: nothing was given back.
        Failed = "FAILED" | "REFUND_FAILED",
        /// Done, of a split payment: some parts were given back, others failed. Nothing is rolled back.
        PartialSuccess = "PARTIAL_SUCCESS" | "PARTIAL_REFUND",
    }
}

impl RefundStatus {
    /// Whether the gateway never moves a refund on from here. An unknown status is not final.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::PartialSuccess => true,
            Self::Initiated | Self::Pending | Self::Other(_) => false,
        }
    }
}

/// A refund as the gateway describes it. Amounts are whole minor units (US cents). A flat refund of version 1 reads as
/// one without allocations.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Wire")]
pub struct Refund {
    /// The gateway's own id of the refund, the only one it can be asked for by.
    pub id: String,
    /// The sender's id of the refund.
    pub merchant_transaction_id: Option<String>,
    /// Where the refund stands.
    pub status: RefundStatus,
    /// Amount of a flat refund (version 1) or of a credit, in cents; see [`total`](Self::total).
    pub amount: Option<i64>,
    /// The sender's words.
    pub reason: Option<String>,
    /// The merchant the gateway booked it under.
    pub merchant: Option<Merchant>,
    /// What is given back. `None` for a credit.
    pub payment: Option<RefundedPayment>,
    /// The method a flat refund or a credit goes to.
    pub payment_method: Option<PaymentMethod>,
    /// The parts.
    pub refund_allocations: Vec<RefundAllocation>,
    /// The sender's own notes.
    pub metadata: Option<BTreeMap<String, serde_json::Value>>,
    /// An error of the refund as a whole (version 1's events).
    pub error: Option<AllocationError>,
}

/// The payment a refund belongs to, as it was when the refund was described.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundedPayment {
    /// The gateway's id of the payment.
    pub id: Option<String>,
    /// The sender's id of the payment.
    pub merchant_transaction_id: Option<String>,
    /// Asked amount, in cents.
    pub amount: Option<i64>,
    /// Amount that was on hold, in cents.
    pub authorized_amount: Option<i64>,
    /// Amount that was taken, in cents.
    pub captured_amount: Option<i64>,
    /// The sender's words.
    pub description: Option<String>,
    /// When the payment was made, as the gateway wrote it.
    pub payment_date_utc: Option<String>,
}

/// One part of a refund.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "AllocationWire")]
pub struct RefundAllocation {
    /// The gateway's id of the part.
    pub id: Option<String>,
    /// Amount, in cents.
    pub amount: Option<i64>,
    /// Where this part stands.
    pub status: Option<RefundStatus>,
    /// Why this part failed.
    pub error: Option<AllocationError>,
    /// The payment's allocation that is given back.
    pub payment_allocation_id: Option<String>,
    /// The method the money goes to.
    pub payment_method: Option<PaymentMethod>,
}

impl Refund {
    /// The refund's amount in cents: its own, or else the sum of its parts. `None` if a part names none.
    pub fn total(&self) -> Option<i64> {
        let parts = || {
            let sum = self.refund_allocations.iter().try_fold(0_i64, |sum, part| sum.checked_add(part.amount?));
            sum.filter(|_| !self.refund_allocations.is_empty())
        };
        self.amount.or_else(parts)
    }

    /// The gateway's id of the payment that is given back.
    pub fn payment_id(&self) -> Option<&str> {
        self.payment.as_ref()?.id.as_deref()
    }

    /// The first error code of any part, or of the refund itself.
    pub fn error_code(&self) -> Option<&str> {
        self.errors().find_map(AllocationError::code)
    }

    /// The first error message of any part, or of the refund itself.
    pub fn error_message(&self) -> Option<&str> {
        self.errors().find_map(AllocationError::message)
    }

    fn errors(&self) -> impl Iterator<Item = &AllocationError> {
        self.refund_allocations.iter().filter_map(|part| part.error.as_ref()).chain(self.error.as_ref())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    id: Option<String>,
    /// Events name the refund so; version 1's have nothing else.
    #[serde(default)]
    refund_id: Option<String>,
    merchant_transaction_id: Option<String>,
    status: RefundStatus,
    amount: Option<i64>,
    reason: Option<String>,
    merchant: Option<Merchant>,
    #[serde(default, deserialize_with = "if_readable")]
    merchant_id: Option<String>,
    payment: Option<RefundedPayment>,
    /// The spelling of version 1's event table.
    #[serde(default, rename = "Payment", deserialize_with = "if_readable")]
    capital_payment: Option<RefundedPayment>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_id: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_method: Option<PaymentMethod>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_method_id: Option<String>,
    #[serde(default, deserialize_with = "null_as_empty")]
    refund_allocations: Vec<RefundAllocation>,
    #[serde(default, deserialize_with = "if_readable")]
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    error: Option<AllocationError>,
}

impl From<Wire> for Refund {
    fn from(wire: Wire) -> Self {
        let by_id = wire.payment_id.map(|id| RefundedPayment { id: Some(id), ..RefundedPayment::default() });
        let method_by_id = wire.payment_method_id.map(|id| PaymentMethod { id: Some(id), ..PaymentMethod::default() });
        let merchant_by_id = wire.merchant_id.map(|id| Merchant { id: Some(id), name: None });
        Self {
            // A refund without either id reads as one with an empty id, which no caller believes.
            id: wire.id.or(wire.refund_id).unwrap_or_default(),
            merchant_transaction_id: wire.merchant_transaction_id,
            status: wire.status,
            amount: wire.amount,
            reason: wire.reason,
            merchant: wire.merchant.or(merchant_by_id),
            payment: wire.payment.or(wire.capital_payment).or(by_id),
            payment_method: wire.payment_method.or(method_by_id),
            refund_allocations: wire.refund_allocations,
            metadata: wire.metadata,
            error: wire.error,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllocationWire {
    id: Option<String>,
    amount: Option<i64>,
    status: Option<RefundStatus>,
    error: Option<AllocationError>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_allocation: Option<OfPayment>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_allocation_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfPayment {
    id: Option<String>,
    payment_method: Option<PaymentMethod>,
}

impl From<AllocationWire> for RefundAllocation {
    fn from(wire: AllocationWire) -> Self {
        let (id, payment_method) = match wire.payment_allocation {
            Some(part) => (part.id, part.payment_method),
            None => (None, None),
        };
        Self {
            id: wire.id,
            amount: wire.amount,
            status: wire.status,
            error: wire.error,
            payment_allocation_id: id.or(wire.payment_allocation_id),
            payment_method,
        }
    }
}
