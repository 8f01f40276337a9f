//! What the gateway says about a payment.
//!
//! Reading is lenient where a newer gateway may say more (fields nobody asked for, statuses nobody knows) and strict
//! where it matters (a number written as text, or a field given twice, is an error and never a guess).

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::payment_method::PaymentMethod;
use crate::reading::{if_readable, null_as_empty};
use crate::status::Status;

/// A payment as the gateway describes it (contract §4.3, §4.4).
///
/// Amounts are whole minor units (US cents). The customer object of the answer is left unread on purpose: it is
/// personal data that the sender already has. A flat payment of version 1 reads as one without allocations: its method
/// is [`payment_method`](Self::payment_method), its error [`error`](Self::error).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Wire")]
pub struct Payment {
    /// The gateway's own id of the payment.
    pub id: String,
    /// The sender's id of the payment, the idempotency key.
    pub merchant_transaction_id: Option<String>,
    /// Where the payment stands.
    pub status: Status,
    /// Asked amount, in cents.
    pub amount: Option<i64>,
    /// ISO 4217 code; only `USD` was seen.
    pub currency_code: Option<String>,
    /// Amount put on hold, in cents. May be lower than asked under partial authorization (contract §4.10).
    pub authorized_amount: Option<i64>,
    /// Amount taken, in cents.
    pub captured_amount: Option<i64>,
    /// The sender's words.
    pub description: Option<String>,
    /// Whether only a hold was asked for.
    pub authorize_card: Option<bool>,
    /// Whether the issuer may approve less than asked.
    pub partial_authorization: Option<bool>,
    /// When the payment was made, as the gateway wrote it; its format is not documented.
    pub payment_date_utc: Option<String>,
    /// The checkout the payment belongs to, if any.
    pub checkout_id: Option<String>,
    /// The merchant the gateway booked it under.
    pub merchant: Option<Merchant>,
    /// The parts the amount is split into: one, or two with split tender.
    pub payment_allocations: Vec<Allocation>,
    /// The sender's own notes, under either of the gateway's spellings. Values are texts by contract; anything else is
    /// kept as it came.
    pub metadata: Option<BTreeMap<String, serde_json::Value>>,
    /// The method of a flat payment (version 1 only).
    pub payment_method: Option<PaymentMethod>,
    /// An error of the payment as a whole (seen on version 1 only).
    pub error: Option<AllocationError>,
}

/// A payment as either version writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    id: String,
    merchant_transaction_id: Option<String>,
    status: Status,
    amount: Option<i64>,
    currency_code: Option<String>,
    authorized_amount: Option<i64>,
    captured_amount: Option<i64>,
    description: Option<String>,
    /// Version 1's name for it.
    #[serde(default, deserialize_with = "if_readable")]
    payment_description: Option<String>,
    authorize_card: Option<bool>,
    partial_authorization: Option<bool>,
    payment_date_utc: Option<String>,
    checkout_id: Option<String>,
    merchant: Option<Merchant>,
    /// Version 1 names the merchant by its id alone.
    #[serde(default, deserialize_with = "if_readable")]
    merchant_id: Option<String>,
    #[serde(default, deserialize_with = "null_as_empty")]
    payment_allocations: Vec<Allocation>,
    metadata: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default, rename = "metaData", deserialize_with = "if_readable")]
    other_metadata: Option<BTreeMap<String, serde_json::Value>>,
    #[serde(default, deserialize_with = "if_readable")]
    payment_method: Option<PaymentMethod>,
    error: Option<AllocationError>,
}

impl From<Wire> for Payment {
    fn from(wire: Wire) -> Self {
        let alone = wire.merchant_id.map(|id| Merchant { id: Some(id), name: None });
        Self {
            id: wire.id,
            merchant_transaction_id: wire.merchant_transaction_id,
            status: wire.status,
            amount: wire.amount,
            currency_code: wire.currency_code,
            authorized_amount: wire.authorized_amount,
            captured_amount: wire.captured_amount,
            description: wire.description.or(wire.payment_description),
            authorize_card: wire.authorize_card,
            partial_authorization: wire.partial_authorization,
            payment_date_utc: wire.payment_date_utc,
            checkout_id: wire.checkout_id,
            merchant: wire.merchant.or(alone),
            payment_allocations: wire.payment_allocations,
            metadata: wire.metadata.or(wire.other_metadata),
            payment_method: wire.payment_method,
            error: wire.error,
        }
    }
}

/// The merchant named in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Merchant {
    /// The gateway's id of the merchant.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// One part of a payment (contract §4.4).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// The gateway's id of the part. Never ask for a payment by it: ask by the payment's id.
    pub id: Option<String>,
    /// Asked amount of this part, in cents.
    pub amount: Option<i64>,
    /// Held amount, in cents.
    pub authorized_amount: Option<i64>,
    /// Taken amount, in cents.
    pub captured_amount: Option<i64>,
    /// Where this part stands.
    pub status: Option<Status>,
    /// The processor's id of the charge.
    pub vendor_payment_id: Option<String>,
    /// The stored method that was charged.
    pub payment_method: Option<PaymentMethod>,
    /// Why this part failed.
    pub error: Option<AllocationError>,
    /// What was done to undo a part whose sibling failed (contract §4.12); its shape is not documented.
    pub remediation: Option<serde_json::Value>,
}

/// Why a part of a payment failed. The gateway uses two shapes (contract §3.2): `{code, message}` for payments and
/// `{title, detail, errorDetails[]}` for refunds. Both are read here; [`code`](Self::code) and
/// [`message`](Self::message) look in both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationError {
    /// Code of the first shape; looks like the processor's own, for example `card_declined`.
    #[serde(rename = "code")]
    pub flat_code: Option<String>,
    /// Message of the first shape.
    #[serde(rename = "message")]
    pub flat_message: Option<String>,
    /// The processor's decline code where the gateway passes it on, for example `insufficient_funds`. Not documented
    /// (contract §4.8); read because everything about a retry depends on it.
    pub decline_code: Option<String>,
    /// Class of the second shape.
    pub title: Option<String>,
    /// Message of the second shape.
    pub detail: Option<String>,
    /// Single errors of the second shape.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub error_details: Vec<ErrorDetail>,
}

/// One entry of [`AllocationError::error_details`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ErrorDetail {
    /// The processor's code.
    pub code: Option<String>,
    /// Its message.
    pub message: Option<String>,
}

impl AllocationError {
    /// The processor's code, whichever shape carries it.
    pub fn code(&self) -> Option<&str> {
        self.flat_code.as_deref().or_else(|| self.error_details.iter().find_map(|detail| detail.code.as_deref()))
    }

    /// The message, whichever shape carries it.
    pub fn message(&self) -> Option<&str> {
        self.flat_message
            .as_deref()
            .or_else(|| self.error_details.iter().find_map(|detail| detail.message.as_deref()))
            .or(self.detail.as_deref())
    }
}

impl Payment {
    /// The first error code of any part, or of the payment itself.
    pub fn error_code(&self) -> Option<&str> {
        self.errors().find_map(AllocationError::code)
    }

    /// The first decline code of any part, or of the payment itself, where the gateway passes one on.
    pub fn decline_code(&self) -> Option<&str> {
        self.errors().find_map(|error| error.decline_code.as_deref())
    }

    /// The first error message of any part, or of the payment itself.
    pub fn error_message(&self) -> Option<&str> {
        self.errors().find_map(AllocationError::message)
    }

    /// How much less than asked is on hold, in cents, when the issuer approved only a part (contract §4.10): the sender
    /// may capture what is there, cancel, or collect the rest elsewhere. `None` if the hold is whole or if the gateway
    /// does not name both figures.
    pub fn shortfall(&self) -> Option<i64> {
        let missing = self.amount?.checked_sub(self.authorized_amount?)?;
        (missing > 0).then_some(missing)
    }

    fn errors(&self) -> impl Iterator<Item = &AllocationError> {
        self.payment_allocations.iter().filter_map(|part| part.error.as_ref()).chain(self.error.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_field_or_a_number_written_as_text_is_an_error() {
        for bad in [
            r#"{"id":"a","status":"PENDING","status":"COMPLETED"}"#,
            r#"{"id":"a","id":"b","status":"PENDING"}"#,
            r#"{"id":"a","status":"PENDING","amount":"100"}"#,
            r#"{"id":"a","status":"PENDING","amount":1.5}"#,
            r#"{"id":"a","status":"PENDING","amount":9223372036854775808}"#,
            r#"{"id":1,"status":"PENDING"}"#,
            r#"{"status":"PENDING"}"#,
            r#"{"id":"a"}"#,
            r#"[]"#,
        ] {
            assert!(serde_json::from_str::<Payment>(bad).is_err(), "{bad}");
        }
        assert!(
            serde_json::from_str::<Payment>(r#"{"id":"a","status":"PENDING","amount":100,"newField":[1]}"#).is_ok()
        );
    }

    #[test]
    fn a_flat_payment_of_version_1_reads_as_one_without_parts() {
        let flat: Payment = serde_json::from_str(
            r#"{"id":"a","status":"AUTHORIZED","amount":100,"authorizedAmount":60,"merchantId":"m","metaData":{"k":"v"},
            "paymentDescription":"June","paymentMethod":{"id":"pm","default":true},"paymentAllocations":null}"#,
        )
        .unwrap();
        assert_eq!(flat.merchant.as_ref().unwrap().id.as_deref(), Some("m"));
        assert_eq!(flat.metadata.as_ref().unwrap()["k"], "v");
        assert_eq!((flat.description.as_deref(), flat.shortfall()), (Some("June"), Some(40)));
        assert_eq!(flat.payment_method.unwrap().is_default, Some(true));
        assert!(flat.payment_allocations.is_empty());
        let whole: Payment =
            serde_json::from_str(r#"{"id":"a","status":"AUTHORIZED","amount":100,"authorizedAmount":100}"#).unwrap();
        assert_eq!(whole.shortfall(), None);
    }

    #[test]
    fn both_shapes_of_an_allocation_error_answer_the_same_questions() {
        let flat: AllocationError = serde_json::from_str(r#"{"code":"card_declined","message":"No."}"#).unwrap();
        let nested: AllocationError = serde_json::from_str(
            r#"{"title":"T","detail":"D","errorDetails":[{"code":"card_declined","message":"No."}]}"#,
        )
        .unwrap();
        let bare: AllocationError = serde_json::from_str(r#"{"title":"T","detail":"D","errorDetails":null}"#).unwrap();
        assert_eq!((flat.code(), flat.message()), (Some("card_declined"), Some("No.")));
        assert_eq!((nested.code(), nested.message()), (Some("card_declined"), Some("No.")));
        assert_eq!((bare.code(), bare.message()), (None, Some("D")));
    }
}
