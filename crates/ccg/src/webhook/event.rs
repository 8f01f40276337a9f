//! An event as it is delivered: its name, and what its payload is about.

use serde::Deserialize;
use serde_json::Value;
use std::fmt;

use super::dispute::Dispute;
use super::name::{EventName, ResourceKind};
use crate::payment::Payment;
use crate::payment_method::PaymentMethod;
use crate::refund::Refund;
use crate::text;
use crate::words::WORD_MAX;

/// Longest source kept, in characters: the limit of the `X-Source` header it echoes (contract §1).
const SOURCE_MAX: usize = 50;
/// Longest id believed, in characters: the longest of the gateway's and the sender's.
pub(super) const ID_MAX: usize = 64;

/// Why a delivery's body is no event. Nothing of the body is repeated here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is not the envelope `{name, source, payload}`.
    #[error("the body is not an event's envelope (line {line}, column {column})")]
    NotAnEnvelope {
        /// Line of the first thing that could not be read, from 1; 0 if unknown.
        line: usize,
        /// Column of it; 0 if unknown.
        column: usize,
    },
    /// Its name is empty.
    #[error("the event has no name")]
    NoName,
}

/// An event. A hint, never a proof: see the [module's page](super).
///
/// Payloads of either version are read; what cannot be read of one does not hide the rest. `Debug` shows names, ids and
/// the status only, because payloads carry personal data.
#[derive(Clone, PartialEq)]
pub struct Event {
    name: EventName,
    spelled: String,
    source: Option<String>,
    payload: Value,
    subject: Subject,
}

/// The payload as what it is about, where it can be read as that.
#[derive(Clone, PartialEq)]
enum Subject {
    Payment(Box<Payment>),
    Refund(Box<Refund>),
    PaymentMethod(Box<PaymentMethod>),
    Dispute(Box<Dispute>),
    Unread,
}

#[derive(Deserialize)]
struct Envelope {
    name: String,
    #[serde(default)]
    source: Value,
    #[serde(default)]
    payload: Value,
}

impl Event {
    /// Reads a delivery's body (contract §8.2).
    ///
    /// # Errors
    /// [`EventError`] if it is no envelope. A payload of any shape is none: it can at least be kept.
    pub fn parse(body: &[u8]) -> Result<Self, EventError> {
        let envelope: Envelope = serde_json::from_slice(body)
            .map_err(|error| EventError::NotAnEnvelope { line: error.line(), column: error.column() })?;
        if envelope.name.is_empty() {
            return Err(EventError::NoName);
        }
        let name = EventName::from(envelope.name.as_str());
        let subject = Subject::of(&name, &envelope.payload);
        Ok(Self {
            spelled: text::clean(&envelope.name, WORD_MAX),
            source: envelope.source.as_str().map(|source| text::clean(source, SOURCE_MAX)),
            payload: envelope.payload,
            name,
            subject,
        })
    }

    /// What it tells.
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// The name as the gateway spelled it (control characters stripped, at most 64 characters).
    pub fn spelled(&self) -> &str {
        &self.spelled
    }

    /// The `X-Source` of the call that caused it.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// What it is about.
    pub fn kind(&self) -> ResourceKind {
        self.name.kind()
    }

    /// The gateway's id of what it is about: a payment's, a refund's, a stored method's (the *new* one after a
    /// replacement), a dispute's (or the disputed allocation's where the dispute has none). `None` if there is none, or
    /// none of at most 64 characters.
    pub fn resource_id(&self) -> Option<&str> {
        let id = match self.kind() {
            ResourceKind::Payment => self.text(&["id"]).or_else(|| self.text(&["paymentId"])),
            ResourceKind::Refund => self.text(&["refundId"]).or_else(|| self.text(&["id"])),
            ResourceKind::PaymentMethod => self
                .text(&["paymentMethod", "id"])
                .or_else(|| self.text(&["id"]))
                .or_else(|| self.text(&["paymentMethodId"])),
            ResourceKind::Dispute => {
                self.text(&["id"]).or_else(|| self.text(&["disputeId"])).or_else(|| self.text(&["paymentAllocationId"]))
            }
            ResourceKind::Unknown => self.text(&["id"]),
        };
        id.filter(|id| !id.is_empty() && id.chars().count() <= ID_MAX)
    }

    /// The sender's id of the payment or of the refund; for a dispute, of the disputed payment.
    pub fn merchant_transaction_id(&self) -> Option<&str> {
        self.text(&["merchantTransactionId"]).filter(|id| !id.is_empty() && id.chars().count() <= ID_MAX)
    }

    /// The gateway's id of the payment that a payment's, a refund's or a dispute's event belongs to.
    pub fn payment_id(&self) -> Option<&str> {
        match self.kind() {
            ResourceKind::Payment => self.resource_id(),
            ResourceKind::Refund | ResourceKind::Dispute => self
                .text(&["paymentId"])
                .or_else(|| self.text(&["payment", "id"]))
                .or_else(|| self.text(&["Payment", "id"])),
            ResourceKind::PaymentMethod | ResourceKind::Unknown => None,
        }
    }

    /// The status in the payload, or else the one the event's name implies.
    pub fn status(&self) -> Option<&str> {
        let said = match self.kind() {
            ResourceKind::PaymentMethod => self.text(&["paymentMethod", "paymentMethodDetails", "status"]),
            ResourceKind::Payment | ResourceKind::Refund | ResourceKind::Dispute | ResourceKind::Unknown => {
                self.text(&["status"])
            }
        };
        said.or_else(|| self.name.implied_status())
    }

    /// After a replacement, the id of the method that is gone: whatever was to be charged with it is now to be charged
    /// with [`resource_id`](Self::resource_id).
    pub fn deleted_payment_method_id(&self) -> Option<&str> {
        self.text(&["deletedPaymentMethodId"]).filter(|id| !id.is_empty() && id.chars().count() <= ID_MAX)
    }

    /// The payload as a payment.
    pub fn payment(&self) -> Option<&Payment> {
        match &self.subject {
            Subject::Payment(payment) => Some(payment),
            Subject::Refund(_) | Subject::PaymentMethod(_) | Subject::Dispute(_) | Subject::Unread => None,
        }
    }

    /// The payload as a refund.
    pub fn refund(&self) -> Option<&Refund> {
        match &self.subject {
            Subject::Refund(refund) => Some(refund),
            Subject::Payment(_) | Subject::PaymentMethod(_) | Subject::Dispute(_) | Subject::Unread => None,
        }
    }

    /// The payload's stored method.
    pub fn payment_method(&self) -> Option<&PaymentMethod> {
        match &self.subject {
            Subject::PaymentMethod(method) => Some(method),
            Subject::Payment(_) | Subject::Refund(_) | Subject::Dispute(_) | Subject::Unread => None,
        }
    }

    /// The payload as a dispute.
    pub fn dispute(&self) -> Option<&Dispute> {
        match &self.subject {
            Subject::Dispute(dispute) => Some(dispute),
            Subject::Payment(_) | Subject::Refund(_) | Subject::PaymentMethod(_) | Subject::Unread => None,
        }
    }

    /// The payload as it was delivered. It may hold personal data.
    pub(super) fn payload(&self) -> &Value {
        &self.payload
    }

    fn text(&self, path: &[&str]) -> Option<&str> {
        path.iter().try_fold(&self.payload, |value, key| value.get(key))?.as_str()
    }
}

impl Subject {
    fn of(name: &EventName, payload: &Value) -> Self {
        let with_status = || {
            let mut payload = payload.clone();
            if let (Value::Object(fields), Some(status)) = (&mut payload, name.implied_status())
                && fields.get("status").is_none_or(Value::is_null)
            {
                fields.insert("status".to_owned(), Value::from(status));
            }
            payload
        };
        let read = match name.kind() {
            ResourceKind::Payment => serde_json::from_value(with_status()).map(Self::Payment),
            ResourceKind::Refund => serde_json::from_value(with_status()).map(Self::Refund),
            ResourceKind::PaymentMethod => {
                serde_json::from_value(payload.get("paymentMethod").unwrap_or(payload).clone()).map(Self::PaymentMethod)
            }
            ResourceKind::Dispute => serde_json::from_value(payload.clone()).map(Self::Dispute),
            ResourceKind::Unknown => return Self::Unread,
        };
        read.unwrap_or(Self::Unread)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("name", &self.spelled)
            .field("resource_id", &self.resource_id())
            .field("merchant_transaction_id", &self.merchant_transaction_id())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
