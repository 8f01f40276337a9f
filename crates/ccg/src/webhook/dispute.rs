//! What an event says about a dispute (contract §8.3, §8.4).

use serde::Deserialize;

use crate::reading::if_readable;
use crate::words::words;

words! {
    /// Where a dispute stands. The vendor's words are not documented: these are our reading, and any other is kept.
    pub enum DisputeStatus {
        /// The merchant has to answer it, in the processor's own dashboard.
        NeedsResponse = "NEEDS_RESPONSE",
        /// The bank decides.
        UnderReview = "UNDER_REVIEW",
        /// Over: the merchant keeps the money.
        Won = "WON",
        /// Over: the customer keeps the money.
        Lost = "LOST",
    }
}

/// A dispute against one allocation of a payment. The payment's own status does not change, and there is no call to ask
/// about a dispute: its events are all there is. Of its fields only the three ids are documented.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dispute {
    /// The gateway's id of the dispute.
    #[serde(alias = "disputeId", deserialize_with = "if_readable")]
    pub id: Option<String>,
    /// The allocation whose money is withdrawn.
    #[serde(deserialize_with = "if_readable")]
    pub payment_allocation_id: Option<String>,
    /// The gateway's id of the payment.
    #[serde(deserialize_with = "if_readable")]
    pub payment_id: Option<String>,
    /// The sender's id of the payment.
    #[serde(deserialize_with = "if_readable")]
    pub merchant_transaction_id: Option<String>,
    /// The gateway's id of the merchant.
    #[serde(deserialize_with = "if_readable")]
    pub merchant_id: Option<String>,
    /// What is withdrawn, in cents.
    #[serde(deserialize_with = "if_readable")]
    pub amount: Option<i64>,
    /// ISO 4217 code.
    #[serde(deserialize_with = "if_readable")]
    pub currency_code: Option<String>,
    /// Why; no value is documented.
    #[serde(deserialize_with = "if_readable")]
    pub reason: Option<String>,
    /// Where it stands.
    #[serde(deserialize_with = "if_readable")]
    pub status: Option<DisputeStatus>,
}
