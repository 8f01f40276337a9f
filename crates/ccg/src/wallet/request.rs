//! What a sender asks to be done with stored methods.

use serde::{Serialize, Serializer};
use std::fmt;

use crate::limits::{self, LimitError};
use crate::payment_method::{AccountType, MethodType};
use crate::ready::Ready;
use crate::request::{Agent, Customer};
use crate::silent::silent_debug;
use crate::token_payment::VendorMethod;

impl Customer {
    /// Checks the customer and makes it ready to be asked about: by
    /// [`Client::search_payment_methods`](crate::Client::search_payment_methods) and
    /// [`Client::find_customer`](crate::Client::find_customer).
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit (contract §3.4).
    pub fn ready(&self) -> Result<Ready<Self>, Vec<LimitError>> {
        #[derive(Serialize)]
        struct About<'a> {
            customer: &'a Customer,
        }
        Ready::written_as(&About { customer: self }, limits::wallet::customer(self))
    }
}

/// A change of a stored method (contract §6). The body was read in the widget's variant only; that merchants send the
/// same is our reading. Fields that are `None` stay as they are.
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateMethod {
    /// Whether it becomes, or stops being, the customer's default. A manufacturer's card cannot be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_default: Option<bool>,
    /// Up to 30 letters and digits; no card or account number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// What else changes. Its kind must be the stored method's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method_details: Option<MethodUpdate>,
    /// The member of staff who acts for the customer; required for a manufacturer's card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
}

/// What changes about a method itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum MethodUpdate {
    /// A card.
    Card(CardUpdate),
    /// A US bank account.
    BankAccount(BankAccountUpdate),
}

/// What changes about a card.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CardUpdate {
    /// 1 to 12.
    pub expiry_month: Option<u16>,
    /// Four digits.
    pub expiry_year: Option<u16>,
    /// Who is named on it.
    pub name_on_card: Option<String>,
    /// Five digits.
    pub zip_code: Option<String>,
}

/// What changes about a bank account.
#[derive(Clone, PartialEq, Eq)]
pub struct BankAccountUpdate {
    /// Checking or savings; may not be blank.
    pub account_type: AccountType,
    /// Whose account it is.
    pub name_on_account: Option<String>,
}

impl Serialize for CardUpdate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            #[serde(rename = "type")]
            kind: MethodType,
            #[serde(skip_serializing_if = "Option::is_none")]
            expiry_month: Option<u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expiry_year: Option<u16>,
            #[serde(skip_serializing_if = "Option::is_none")]
            name_on_card: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            zip_code: Option<&'a str>,
        }
        Wire {
            kind: MethodType::Card,
            expiry_month: self.expiry_month,
            expiry_year: self.expiry_year,
            name_on_card: self.name_on_card.as_deref(),
            zip_code: self.zip_code.as_deref(),
        }
        .serialize(serializer)
    }
}

impl Serialize for BankAccountUpdate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            #[serde(rename = "type")]
            kind: MethodType,
            account_type: &'a AccountType,
            #[serde(skip_serializing_if = "Option::is_none")]
            name_on_account: Option<&'a str>,
        }
        Wire {
            kind: MethodType::BankAccount,
            account_type: &self.account_type,
            name_on_account: self.name_on_account.as_deref(),
        }
        .serialize(serializer)
    }
}

impl UpdateMethod {
    /// Checks the change and makes it ready to be sent.
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit; a change of nothing is one.
    pub fn ready(&self) -> Result<Ready<Self>, Vec<LimitError>> {
        Ready::of(self, limits::wallet::update(self))
    }
}

/// A deletion of a stored method (contract §6). Its body is the agent's fields, or empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DeleteMethod {
    /// The member of staff who acts for the customer.
    pub agent: Option<Agent>,
}

impl DeleteMethod {
    /// Checks the deletion and makes it ready to be sent.
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit of the agent.
    pub fn ready(&self) -> Result<Ready<Self>, Vec<LimitError>> {
        Ready::of(self, limits::wallet::delete(self))
    }
}

impl Serialize for DeleteMethod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Nobody {}
        match &self.agent {
            Some(agent) => agent.serialize(serializer),
            None => Nobody {}.serialize(serializer),
        }
    }
}

/// A method to be stored by a vendor's token (contract §6).
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetUpMethod {
    /// The sender's id of this request. Required; its format is not documented, a UUID is always right.
    pub request_id: String,
    /// Whose method it is.
    pub customer: Customer,
    /// The member of staff who acts for the customer; required for a manufacturer's card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// The method.
    pub payment_method: VendorMethod,
}

impl SetUpMethod {
    /// A method of this customer, by a token.
    pub fn new(request_id: impl Into<String>, customer: Customer, payment_method: VendorMethod) -> Self {
        Self { request_id: request_id.into(), customer, agent: None, payment_method }
    }

    /// Checks the request and makes it ready to be sent.
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit.
    pub fn ready(&self) -> Result<Ready<Self>, Vec<LimitError>> {
        Ready::of(self, limits::wallet::set_up(self))
    }
}

silent_debug!(UpdateMethod, CardUpdate, BankAccountUpdate, DeleteMethod, SetUpMethod);
