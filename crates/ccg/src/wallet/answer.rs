//! What the gateway says about a wallet.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::classify::{self, Expected, undecodable};
use crate::error::Ambiguity;
use crate::payment_method::PaymentMethod;
use crate::reading::if_readable;

/// What became of a method that was to be stored (contract §6).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SetUp {
    /// The sender's id of the request.
    pub request_id: Option<String>,
    /// How far it is; no value is documented.
    pub status: Option<String>,
    /// The gateway's id of the method: a new one, or that of the stored method it turned out to be.
    pub payment_method_id: Option<String>,
    /// Said when the method was stored already.
    #[serde(default, deserialize_with = "if_readable")]
    pub warning: Option<SetUpWarning>,
}

/// What the gateway remarks about a method it stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SetUpWarning {
    /// `DUPLICATE_ENTRY` is the one documented code.
    pub code: Option<String>,
}

impl SetUp {
    /// Whether the method was stored already: the stored one was updated, and the wish to make it the default was not
    /// honoured.
    pub fn is_duplicate(&self) -> bool {
        self.warning.as_ref().is_some_and(|warning| warning.code.as_deref() == Some("DUPLICATE_ENTRY"))
    }
}

/// The gateway's record of a customer. Everything personal in the answer is left unread: the sender has it already.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CustomerRecord {
    /// The gateway's id of the customer.
    pub id: String,
}

pub(super) fn set_up(body: &[u8], _: Expected<'_>) -> Result<SetUp, Ambiguity> {
    classify::data(body)
}

pub(super) fn customer(body: &[u8], _: Expected<'_>) -> Result<CustomerRecord, Ambiguity> {
    let record: CustomerRecord = classify::data(body)?;
    if record.id.is_empty() { Err(Ambiguity::WrongPayment { field: "id" }) } else { Ok(record) }
}

/// A list of methods in any of the envelopes it may come in.
pub(super) fn methods(body: &[u8], _: Expected<'_>) -> Result<Vec<PaymentMethod>, Ambiguity> {
    #[derive(Deserialize)]
    struct Listed {
        #[serde(rename = "paymentMethods")]
        payment_methods: Vec<PaymentMethod>,
    }
    // Decided by the first character, so that a mistake inside a list is reported where it is.
    let begins = |text: &[u8]| text.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    if begins(body) == Some(b'[') {
        return serde_json::from_slice(body).map_err(|error| undecodable(&error));
    }
    let inside: Box<RawValue> = classify::data(body)?;
    let inside = inside.get();
    if begins(inside.as_bytes()) == Some(b'[') {
        return serde_json::from_str(inside).map_err(|error| undecodable(&error));
    }
    serde_json::from_str(inside).map(|list: Listed| list.payment_methods).map_err(|error| undecodable(&error))
}
