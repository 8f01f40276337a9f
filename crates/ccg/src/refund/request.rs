//! What a sender asks to have given back.

use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

use crate::frozen::FrozenRefund;
use crate::limits::{self, LimitError};
use crate::ready::written;
use crate::request::{Agent, Customer};

/// A refund to be made (contract §5).
///
/// A linked refund gives a payment back, whole or in part; the payment must be `COMPLETED`, not older than 180 days and
/// not disputed. An unlinked credit goes to a stored card without a payment. Whether the processor goes along shows only
/// after acceptance.
#[derive(Clone, PartialEq)]
pub struct CreateRefund {
    /// The sender's id of the refund: 1 to 50 characters, never used for another refund, whatever became of it.
    pub merchant_transaction_id: String,
    /// What is given back.
    pub source: RefundSource,
    /// Up to 50 characters.
    pub reason: Option<String>,
    /// Up to 20 notes; keys up to 40 characters, values up to 100.
    pub metadata: BTreeMap<String, String>,
    /// The member of staff who acts for the customer.
    pub agent: Option<Agent>,
}

/// What a refund gives back.
#[derive(Clone, PartialEq)]
pub enum RefundSource {
    /// A payment, by the gateway's id of it.
    Payment {
        /// The gateway's id of the payment.
        payment_id: String,
        /// Which allocations, and how much of each; empty: everything. A part of a split payment has to be named: the
        /// gateway never distributes an amount by itself.
        parts: Vec<RefundPart>,
    },
    /// No payment: a credit to a stored card.
    Credit {
        /// The stored card, active and not expired, of this customer.
        payment_method_id: Uuid,
        /// The card's owner, with `hsid`, first name and last name.
        customer: Box<Customer>,
        /// Whole cents, 1 to 1000000 (10,000 US dollars).
        amount: i64,
    },
}

/// How much of one allocation is given back. The field names are our reading (contract §5, §12).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundPart {
    /// The gateway's id of the payment's allocation.
    pub payment_allocation_id: String,
    /// Whole cents, 1 to 99999999; all refunds of an allocation together not above what was captured.
    pub amount: i64,
}

impl CreateRefund {
    /// All of a payment.
    pub fn full(merchant_transaction_id: impl Into<String>, payment_id: impl Into<String>) -> Self {
        Self::partial(merchant_transaction_id, payment_id, Vec::new())
    }

    /// These parts of a payment.
    pub fn partial(
        merchant_transaction_id: impl Into<String>,
        payment_id: impl Into<String>,
        parts: Vec<RefundPart>,
    ) -> Self {
        Self::of(merchant_transaction_id.into(), RefundSource::Payment { payment_id: payment_id.into(), parts })
    }

    /// `amount` cents to a stored card, without a payment.
    pub fn credit(
        merchant_transaction_id: impl Into<String>,
        payment_method_id: Uuid,
        customer: Customer,
        amount: i64,
    ) -> Self {
        let source = RefundSource::Credit { payment_method_id, customer: Box::new(customer), amount };
        Self::of(merchant_transaction_id.into(), source)
    }

    fn of(merchant_transaction_id: String, source: RefundSource) -> Self {
        Self { merchant_transaction_id, source, reason: None, metadata: BTreeMap::new(), agent: None }
    }

    /// The same refund with a reason.
    pub fn with_reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// Everything the gateway would refuse at once (contract §3.3, §3.4, §3.5, §5).
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit.
    pub fn validate(&self) -> Result<(), Vec<LimitError>> {
        let broken = limits::refund::check(self);
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// Checks the refund and writes it down once.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn freeze(&self) -> Result<FrozenRefund, Vec<LimitError>> {
        self.validate()?;
        Ok(FrozenRefund::of(self.merchant_transaction_id.clone(), written(self)?))
    }
}

impl Serialize for CreateRefund {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            merchant_transaction_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            payment_id: Option<&'a str>,
            #[serde(skip_serializing_if = "<[RefundPart]>::is_empty")]
            refund_allocations: &'a [RefundPart],
            #[serde(skip_serializing_if = "Option::is_none")]
            payment_method_id: Option<Uuid>,
            #[serde(skip_serializing_if = "Option::is_none")]
            customer: Option<&'a Customer>,
            #[serde(skip_serializing_if = "Option::is_none")]
            amount: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            metadata: &'a BTreeMap<String, String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            agent: Option<&'a Agent>,
        }
        let mut wire = Wire {
            merchant_transaction_id: &self.merchant_transaction_id,
            payment_id: None,
            refund_allocations: &[],
            payment_method_id: None,
            customer: None,
            amount: None,
            reason: self.reason.as_deref(),
            metadata: &self.metadata,
            agent: self.agent.as_ref(),
        };
        match &self.source {
            RefundSource::Payment { payment_id, parts } => {
                wire.payment_id = Some(payment_id);
                wire.refund_allocations = parts;
            }
            RefundSource::Credit { payment_method_id, customer, amount } => {
                wire.payment_method_id = Some(*payment_method_id);
                wire.customer = Some(customer);
                wire.amount = Some(*amount);
            }
        }
        wire.serialize(serializer)
    }
}

impl fmt::Debug for CreateRefund {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateRefund")
            .field("merchant_transaction_id", &self.merchant_transaction_id)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RefundSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Payment { payment_id, parts } => {
                f.debug_struct("Payment").field("payment_id", payment_id).field("parts", parts).finish()
            }
            Self::Credit { payment_method_id, amount, customer: _ } => f
                .debug_struct("Credit")
                .field("payment_method_id", payment_method_id)
                .field("amount", amount)
                .finish_non_exhaustive(),
        }
    }
}
