//! What can come of a refund's create, sorted by whether a refund may exist.

use std::fmt;

use super::RefundStatus;
use crate::error::CallError;

/// A refund's create that did not go as hoped. The variants are about *this one submission*.
#[derive(Debug, Clone, PartialEq)]
pub enum CreateRefundError {
    /// Provably no refund came of this submission: nothing was sent, or the gateway refused it, or it failed.
    NotMade(CallError),
    /// The gateway says that a refund of this id was made before: by an earlier submission, this one made none. Which
    /// refund it is cannot be asked.
    IdUsed(CallError),
    /// A refund may exist. It must not be sent again, under this id or another, before it is known what became of it.
    MayExist(CallError),
}

impl CreateRefundError {
    /// The call's error.
    pub fn call(&self) -> &CallError {
        match self {
            Self::NotMade(error) | Self::IdUsed(error) | Self::MayExist(error) => error,
        }
    }

    /// As [`call`](Self::call), taken out.
    pub fn into_call(self) -> CallError {
        match self {
            Self::NotMade(error) | Self::IdUsed(error) | Self::MayExist(error) => error,
        }
    }

    /// Whether a refund of this id may exist, so that sending anything again could refund twice.
    pub fn may_exist(&self) -> bool {
        match self {
            Self::NotMade(_) => false,
            Self::IdUsed(_) | Self::MayExist(_) => true,
        }
    }
}

impl From<CallError> for CreateRefundError {
    fn from(error: CallError) -> Self {
        let detail = error.evidence().detail.as_deref().unwrap_or_default();
        match &error {
            CallError::NotSent { .. } | CallError::Unauthorized { .. } | CallError::RateLimited { .. } => {
                Self::NotMade(error)
            }
            CallError::Rejected { .. } | CallError::Forbidden { .. } | CallError::Unprocessable { .. }
                if says_used(detail) =>
            {
                Self::IdUsed(error)
            }
            CallError::Rejected { .. } => Self::NotMade(error),
            CallError::Unprocessable { evidence } if evidence.title.as_deref() == Some("UNPROCESSABLE_ENTITY") => {
                Self::NotMade(error)
            }
            CallError::Processing { evidence } => match evidence.refund.as_deref() {
                Some(refund) if refund.status == RefundStatus::Failed && refund.merchant_transaction_id.is_some() => {
                    Self::NotMade(error)
                }
                Some(_) | None => Self::MayExist(error),
            },
            CallError::Forbidden { .. }
            | CallError::NotFound { .. }
            | CallError::RetryLimit { .. }
            | CallError::Unprocessable { .. }
            | CallError::Ambiguous { .. } => Self::MayExist(error),
        }
    }
}

/// Whether a message speaks of an id that was used before. Its wording is not documented (contract §4.6), and it shares
/// its status and title with ordinary mistakes, so the words are looked for broadly: taking a mistake for a used id only
/// asks for a person, the other way round could refund twice.
fn says_used(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    let about_the_id =
        detail.contains("transactionid") || detail.contains("transaction id") || detail.contains("refund id");
    let used = ["already", "unique", "duplicate", "reused", "in use", "exist"];
    about_the_id && used.iter().any(|word| detail.contains(word))
}

impl fmt::Display for CreateRefundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMade(error) => write!(f, "no refund was made: {error}"),
            Self::IdUsed(error) => {
                write!(f, "a refund of this id exists already, do not send it under another: {error}")
            }
            Self::MayExist(error) => {
                write!(f, "a refund may have been made, never send it again before that is known: {error}")
            }
        }
    }
}

impl std::error::Error for CreateRefundError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.call())
    }
}

#[cfg(test)]
mod tests {
    use super::says_used;

    #[test]
    fn a_used_id_is_told_from_a_wrong_one() {
        for used in [
            "merchantTransactionId already used",
            "merchantTransactionId must be unique",
            "Duplicate merchantTransactionId",
            "MerchantTransaction Id cannot be reused",
            "A refund with this merchantTransactionId already exists",
        ] {
            assert!(says_used(used), "{used}");
        }
        for other in [
            "merchantTransactionId is required",
            "merchantTransactionId cannot exceed 50 characters",
            "This payment is already refunded",
            "paymentId or paymentMethodId is required",
        ] {
            assert!(!says_used(other), "{other}");
        }
    }
}
