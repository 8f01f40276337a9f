//! What events are called, and what they are about (contract §8.3).

use crate::words::words;

words! {
    /// What an event tells (contract §8.3). Both spellings of a name read as one event; dispute events, whose names are
    /// not documented, are `Other`: see [`EventName::is_dispute`].
    pub enum EventName {
        /// A payment was made and is done.
        PaymentSucceeded = "PAYMENT_SUCCEEDED" | "PAYMENT_SUCCEDED",
        /// A payment failed.
        PaymentFailed = "PAYMENT_FAILED",
        /// A bank debit is taken and not yet settled; it promises nothing.
        PaymentAccepted = "PAYMENT_ACCEPTED",
        /// A hold is on a card.
        PaymentAuthorized = "PAYMENT_AUTHORIZED",
        /// A payment was given up, or its hold ran out.
        PaymentCancelled = "PAYMENT_CANCELLED" | "PAYMENT_CANCELED",
        /// A captured part of a split payment was given back because its sibling failed; named once, in business pages.
        PaymentRefunded = "PAYMENT_REFUNDED",
        /// A refund is done.
        RefundSuccess = "REFUND_SUCCESS",
        /// A refund failed.
        RefundFailed = "REFUND_FAILED",
        /// A refund waits.
        RefundPending = "REFUND_PENDING",
        /// Some parts of a split payment's refund are done, others failed.
        RefundPartialSuccess = "REFUND_PARTIAL_SUCCESS",
        /// A method was stored.
        PaymentMethodCreated = "PAYMENT_METHOD_CREATED",
        /// A stored method changed.
        PaymentMethodUpdated = "PAYMENT_METHOD_UPDATED",
        /// A stored method is gone. Look for `PAYMENT_METHOD_REPLACED` before acting on it: the order of the two is not
        /// promised (contract §8.4).
        PaymentMethodDeleted = "PAYMENT_METHOD_DELETED",
        /// A stored method was replaced by another, with another id.
        PaymentMethodReplaced = "PAYMENT_METHOD_REPLACED",
    }
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceKind {
    /// A payment.
    Payment,
    /// A refund.
    Refund,
    /// A stored method.
    PaymentMethod,
    /// A dispute.
    Dispute,
    /// Something this client does not know.
    Unknown,
}

impl ResourceKind {
    /// The kind in small letters, for keys and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Refund => "refund",
            Self::PaymentMethod => "payment_method",
            Self::Dispute => "dispute",
            Self::Unknown => "unknown",
        }
    }
}

impl EventName {
    /// Whether it is about a dispute: any name this client does not know that begins with `DISPUTE` or `CHARGE_DISPUTE`
    /// (our reading; the names are not documented).
    pub fn is_dispute(&self) -> bool {
        matches!(self, Self::Other(word) if word.starts_with("DISPUTE") || word.starts_with("CHARGE_DISPUTE"))
    }

    /// What events of this name are about. Names nobody knows go by what they begin with.
    pub fn kind(&self) -> ResourceKind {
        match self {
            Self::PaymentSucceeded
            | Self::PaymentFailed
            | Self::PaymentAccepted
            | Self::PaymentAuthorized
            | Self::PaymentCancelled
            | Self::PaymentRefunded => ResourceKind::Payment,
            Self::RefundSuccess | Self::RefundFailed | Self::RefundPending | Self::RefundPartialSuccess => {
                ResourceKind::Refund
            }
            Self::PaymentMethodCreated
            | Self::PaymentMethodUpdated
            | Self::PaymentMethodDeleted
            | Self::PaymentMethodReplaced => ResourceKind::PaymentMethod,
            Self::Other(_) if self.is_dispute() => ResourceKind::Dispute,
            Self::Other(word) if word.starts_with("PAYMENT_METHOD_") => ResourceKind::PaymentMethod,
            Self::Other(word) if word.starts_with("PAYMENT_") => ResourceKind::Payment,
            Self::Other(word) if word.starts_with("REFUND_") => ResourceKind::Refund,
            Self::Other(_) => ResourceKind::Unknown,
        }
    }

    /// The status a payment or a refund is in by the event's name; version 1's payloads may leave the status out.
    pub(super) fn implied_status(&self) -> Option<&'static str> {
        match self {
            Self::PaymentSucceeded | Self::RefundSuccess => Some("COMPLETED"),
            Self::PaymentFailed | Self::RefundFailed => Some("FAILED"),
            Self::PaymentAccepted => Some("ACCEPTED"),
            Self::PaymentAuthorized => Some("AUTHORIZED"),
            Self::PaymentCancelled => Some("CANCELLED"),
            Self::RefundPending => Some("PENDING"),
            Self::RefundPartialSuccess => Some("PARTIAL_SUCCESS"),
            Self::PaymentRefunded
            | Self::PaymentMethodCreated
            | Self::PaymentMethodUpdated
            | Self::PaymentMethodDeleted
            | Self::PaymentMethodReplaced
            | Self::Other(_) => None,
        }
    }
}
