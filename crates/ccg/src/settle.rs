//! What is done to a payment that exists: its hold is captured, or it is given up.

use serde::Serialize;
use std::collections::BTreeMap;

use crate::limits::{self, LimitError};
use crate::payment::Payment;
use crate::ready::Ready;
use crate::words::words;

/// Taking the money of a hold (contract §4.9). The field names are our reading: the contract does not show them.
///
/// There is one capture per payment. What it leaves out is released: the rest of a partial amount, and every allocation
/// that is not named (the gateway cancels those with the reason `CCG_AUTOMATED_CANCEL`).
///
/// ```
/// use ccg::{Capture, CaptureAllocation};
///
/// assert_eq!(Capture::full().ready().unwrap().body(), "{}");
/// assert_eq!(Capture::amount(1_500).ready().unwrap().body(), r#"{"amount":1500}"#);
///
/// let one_leg = Capture::allocations(vec![CaptureAllocation { id: "9f0c1d52".into(), amount: 2_000 }]);
/// assert!(one_leg.ready().unwrap().body().contains(r#""paymentAllocations":[{"id":"9f0c1d52","amount":2000}]"#));
///
/// let broken = Capture::amount(0).ready().unwrap_err();
/// assert_eq!(broken[0].to_string(), "amount must be an integer between 1 and 99999999");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// Whole cents, 1 to 99999999, not above what is on hold. `None`: everything. An alternative to the allocations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Amounts by allocation; empty: everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub payment_allocations: Vec<CaptureAllocation>,
    /// Up to 20 notes; keys up to 40 characters, values up to 100.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// What is taken from one allocation of a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaptureAllocation {
    /// The gateway's id of the allocation.
    pub id: String,
    /// Whole cents, 1 to 99999999, not above what is on hold for it.
    pub amount: i64,
}

impl Capture {
    /// Everything that is on hold.
    pub fn full() -> Self {
        Self::default()
    }

    /// So many cents; the rest of the hold is released.
    pub fn amount(cents: i64) -> Self {
        Self { amount: Some(cents), ..Self::default() }
    }

    /// These amounts of these allocations; everything else is released.
    pub fn allocations(allocations: Vec<CaptureAllocation>) -> Self {
        Self { payment_allocations: allocations, ..Self::default() }
    }

    /// Checks the capture and makes it ready to be sent.
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit (contract §3.3, §4.9).
    pub fn ready(&self) -> Result<Ready<Self>, Vec<LimitError>> {
        Ready::of(self, limits::settle::capture(self))
    }

    /// As [`ready`](Self::ready), and checks the capture against the payment as it was last seen: it must be `AUTHORIZED`,
    /// and no more may be asked for than is on hold, all together and per allocation. A figure the gateway did not give
    /// is not checked.
    ///
    /// A hold that is smaller than the payment ([`Payment::shortfall`]) is not noticed by [`Capture::full`], which takes
    /// what is there: compare first, if less must not be taken silently.
    ///
    /// # Errors
    /// As [`ready`](Self::ready); the words for a wrong state or amount are the gateway's (contract §4.9).
    pub fn ready_for(&self, payment: &Payment) -> Result<Ready<Self>, Vec<LimitError>> {
        let mut broken = limits::settle::capture(self);
        broken.extend(limits::settle::capture_of(self, payment));
        Ready::of(self, broken)
    }
}

words! {
    /// Why a payment is given up (contract §4.11).
    pub enum CancellationReason {
        /// It was made twice.
        Duplicate = "DUPLICATE",
        /// It should never have been made.
        Fraudulent = "FRAUDULENT",
        /// The customer wishes it.
        RequestedByCustomer = "REQUESTED_BY_CUSTOMER",
        /// Nobody came back to it.
        Abandoned = "ABANDONED",
    }
}

/// Giving a payment up (contract §4.11).
///
/// ```
/// use ccg::{Cancel, CancellationReason};
///
/// let cancel = Cancel::because(CancellationReason::RequestedByCustomer).ready().unwrap();
/// assert_eq!(cancel.body(), r#"{"paymentCancellationReason":"REQUESTED_BY_CUSTOMER"}"#);
/// assert!(Cancel::because(CancellationReason::Other("MOOD".into())).ready().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cancel {
    /// Required. Only the four documented reasons are taken.
    #[serde(rename = "paymentCancellationReason")]
    pub reason: CancellationReason,
    /// Free words; the contract names no limit.
    #[serde(rename = "paymentCancellationMessage", skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Cancel {
    /// For this reason, without further words.
    pub fn because(reason: CancellationReason) -> Self {
        Self { reason, message: None }
    }

    /// Checks the cancellation and makes it ready to be sent.
    ///
    /// # Errors
    /// A [`LimitError`] for a reason that is not one of the documented four.
    pub fn ready(&self) -> Result<Ready<Self>, Vec<LimitError>> {
        Ready::of(self, limits::settle::cancel(self))
    }
}
