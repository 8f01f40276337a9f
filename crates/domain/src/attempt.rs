//! Attempts: one key, one frozen body, one instrument; the record of what was asked of the gateway.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::id::{ChargeId, Key, PaymentMethodId};
use crate::money::Money;

/// The exact bytes of a request and their SHA-256. Every submission of one key carries the same bytes: invariant I-05.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Body {
    /// The JSON text as sent.
    pub text: String,
    /// Its SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// An intent: attempt `number` of a charge, ready to be submitted. Only what `commit` returned may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// The obligation.
    pub charge: ChargeId,
    /// Attempt number, from 1.
    pub number: u16,
    /// The gateway key of this attempt.
    pub key: Key,
    /// The instrument.
    pub method: PaymentMethodId,
    /// The other instrument of a pair that pays together: what is tried with one of them is tried with both.
    pub second: Option<PaymentMethodId>,
    /// What is asked for.
    pub amount: Money,
    /// The request.
    pub body: Body,
    /// When it was recorded, UTC.
    pub at: DateTime<Utc>,
}

impl Intent {
    /// Every instrument it tries.
    pub fn instruments(&self) -> impl Iterator<Item = PaymentMethodId> + use<> {
        [Some(self.method), self.second.filter(|second| *second != self.method)].into_iter().flatten()
    }
}
