//! What the gateway says about a payment.
//!
//! Reading is lenient where a newer gateway may say more (fields nobody asked for, statuses nobody knows) and strict
//! where it matters (a number written as text, or a field given twice, is an error and never a guess).

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Longest status text kept from a gateway that invents one, in characters.
const STATUS_MAX: usize = 64;

/// A payment as the gateway describes it (contract §4.3, §4.4).
///
/// Amounts are whole minor units (US cents). The customer object of the answer is left unread on purpose: it is
/// personal data that the sender already has.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    #[serde(default, deserialize_with = "null_as_empty")]
    pub payment_allocations: Vec<Allocation>,
    /// The sender's own notes. Values are texts by contract; anything else is kept as it came.
    pub metadata: Option<BTreeMap<String, serde_json::Value>>,
    /// An error of the payment as a whole (seen on version 1 only).
    pub error: Option<AllocationError>,
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

/// The stored method named in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PaymentMethod {
    /// The gateway's id of the method.
    pub id: Option<String>,
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

    fn errors(&self) -> impl Iterator<Item = &AllocationError> {
        self.payment_allocations.iter().filter_map(|part| part.error.as_ref()).chain(self.error.as_ref())
    }
}

/// Where a payment or a part of it stands (contract §4.5). A status nobody knows yet is kept as it came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted, nothing done yet.
    Initiated,
    /// Queued.
    Pending,
    /// Waiting for the customer's record.
    PendingForCustomerCreation,
    /// Waiting for the method's record.
    PendingForPaymentMethodCreation,
    /// The processor is being called.
    Processing,
    /// Pay-and-save only: looking for the same method.
    ProcessingDedupCheck,
    /// The card asks for its holder; without one present this ends in failure.
    AuthRequired,
    /// The holder has answered.
    ConfirmationInitialized,
    /// A hold is on the card; it lasts 7 days.
    Authorized,
    /// A bank debit is taken and not yet settled: the money has not moved for good.
    Accepted,
    /// A capture is under way.
    CaptureInitialized,
    /// A cancellation is under way.
    CancelInitialized,
    /// Done: money taken.
    Completed,
    /// Done: no money taken.
    Failed,
    /// Done: cancelled. `CANCELED`, the older spelling, reads as this too.
    Cancelled,
    /// A cancellation failed; people have to look.
    CancelFailed,
    /// A part only: undone because its sibling failed.
    RolledBack,
    /// A status this client does not know, as it came (control characters stripped, at most 64 characters).
    /// Never read it as a failure.
    Other(String),
}

impl Status {
    /// The gateway's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Initiated => "INITIATED",
            Self::Pending => "PENDING",
            Self::PendingForCustomerCreation => "PENDING_FOR_CUSTOMER_CREATION",
            Self::PendingForPaymentMethodCreation => "PENDING_FOR_PAYMENT_METHOD_CREATION",
            Self::Processing => "PROCESSING",
            Self::ProcessingDedupCheck => "PROCESSING_DEDUP_CHECK",
            Self::AuthRequired => "AUTH_REQUIRED",
            Self::ConfirmationInitialized => "CONFIRMATION_INITIALIZED",
            Self::Authorized => "AUTHORIZED",
            Self::Accepted => "ACCEPTED",
            Self::CaptureInitialized => "CAPTURE_INITIALIZED",
            Self::CancelInitialized => "CANCEL_INITIALIZED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::CancelFailed => "CANCEL_FAILED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Other(word) => word,
        }
    }

    /// Whether the gateway never moves a payment on from here (contract §4.5). An unknown status is not final.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::CancelFailed)
    }
}

impl From<&str> for Status {
    fn from(word: &str) -> Self {
        match word {
            "INITIATED" => Self::Initiated,
            "PENDING" => Self::Pending,
            "PENDING_FOR_CUSTOMER_CREATION" => Self::PendingForCustomerCreation,
            "PENDING_FOR_PAYMENT_METHOD_CREATION" => Self::PendingForPaymentMethodCreation,
            "PROCESSING" => Self::Processing,
            "PROCESSING_DEDUP_CHECK" => Self::ProcessingDedupCheck,
            "AUTH_REQUIRED" => Self::AuthRequired,
            "CONFIRMATION_INITIALIZED" => Self::ConfirmationInitialized,
            "AUTHORIZED" => Self::Authorized,
            "ACCEPTED" => Self::Accepted,
            "CAPTURE_INITIALIZED" => Self::CaptureInitialized,
            "CANCEL_INITIALIZED" => Self::CancelInitialized,
            "COMPLETED" => Self::Completed,
            "FAILED" => Self::Failed,
            "CANCELLED" | "CANCELED" => Self::Cancelled,
            "CANCEL_FAILED" => Self::CancelFailed,
            "ROLLED_BACK" => Self::RolledBack,
            other => Self::Other(crate::text::clean(other, STATUS_MAX)),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Status;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status word")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Status, E> {
                Ok(Status::from(word))
            }
        }
        deserializer.deserialize_str(Word)
    }
}

fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 17] = [
        "INITIATED",
        "PENDING",
        "PENDING_FOR_CUSTOMER_CREATION",
        "PENDING_FOR_PAYMENT_METHOD_CREATION",
        "PROCESSING",
        "PROCESSING_DEDUP_CHECK",
        "AUTH_REQUIRED",
        "CONFIRMATION_INITIALIZED",
        "AUTHORIZED",
        "ACCEPTED",
        "CAPTURE_INITIALIZED",
        "CANCEL_INITIALIZED",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "CANCEL_FAILED",
        "ROLLED_BACK",
    ];

    #[test]
    fn every_known_status_reads_back_as_the_word_it_came_from() {
        for word in WORDS {
            let status: Status = serde_json::from_str(&format!("\"{word}\"")).unwrap();
            assert!(!matches!(status, Status::Other(_)), "{word}");
            assert_eq!(status.as_str(), word);
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{word}\""));
        }
    }

    #[test]
    fn only_the_four_end_states_are_final() {
        let ends: Vec<&str> = WORDS.into_iter().filter(|word| Status::from(*word).is_final()).collect();
        assert_eq!(ends, ["COMPLETED", "FAILED", "CANCELLED", "CANCEL_FAILED"]);
        assert!(!Status::from("NEW_AND_UNHEARD_OF").is_final());
    }

    #[test]
    fn an_unknown_status_is_kept_and_an_unreadable_one_is_an_error() {
        assert_eq!(Status::from("ON_THE\r\nMOON"), Status::Other("ON_THEMOON".into()));
        assert_eq!(Status::from("CANCELED"), Status::Cancelled);
        assert!(serde_json::from_str::<Status>("7").is_err());
        assert!(serde_json::from_str::<Status>("null").is_err());
    }

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
