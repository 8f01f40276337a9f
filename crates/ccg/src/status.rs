//! Where a payment stands, in the gateway's words.

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Longest status text kept from a gateway that invents one, in characters.
const STATUS_MAX: usize = 64;

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
}
