//! What a sender asks for.
//!
//! Every type's `Debug` leaves out what belongs to a person.

use chrono::{DateTime, FixedOffset, NaiveDate};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

use crate::frozen::FrozenPayment;
use crate::limits::{self, LimitError};

/// A payment to be made with stored payment methods (contract §4.2).
///
/// Fields that are `None` or empty are not sent. Nothing is checked until [`validate`](Self::validate) or
/// [`freeze`](Self::freeze).
///
/// The gateway's firewall blocks bodies that carry a web address which is not percent-encoded (contract §1): keep
/// addresses out of every text here.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatePayment {
    /// The sender's id of the payment and its idempotency key: 1 to 50 characters.
    pub merchant_transaction_id: String,
    /// Whole cents, 1 to 99999999; the sum of the allocations.
    pub amount: i64,
    /// ISO 4217 code. `USD` in every documented sample; whether it may be left out is not documented.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency_code: Option<String>,
    /// True: only a hold, captured later. Cards only. The gateway reads a missing value as false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize_card: Option<bool>,
    /// True lets the issuer approve *less than asked*. Only with `authorize_card`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_authorization: Option<bool>,
    /// Up to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Up to 10 letters, digits, spaces, hyphens and dots, at least one letter; shown on the customer's statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_descriptor_suffix: Option<String>,
    /// Who pays. Required with stored methods, the only kind this type can name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// One part, or two with split tender.
    pub payment_allocations: Vec<NewAllocation>,
    /// Required by the gateway for every bank account, also a stored one; not used for cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// The member of staff who acts for the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// Health-care amounts, cards only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_details: Option<PaymentDetails>,
    /// Up to 20 notes; keys up to 40 characters, values up to 100.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// One part of a payment to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewAllocation {
    /// Whole cents, 1 to 99999999.
    pub amount: i64,
    /// The stored method to charge.
    pub payment_method_id: Uuid,
}

/// Who pays (contract §3.4). At least one of `hsid`, `enterprise_id` and `metadata` must be given.
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    /// The platform's id of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsid: Option<Uuid>,
    /// The enterprise's id: digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enterprise_id: Option<String>,
    /// The merchant's identifiers of the person, under the names the merchant is configured with. Up to 20; keys up to
    /// 40 characters, values up to 100.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Up to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Up to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// An e-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Four digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssn_last_four: Option<String>,
    /// A calendar date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_of_birth: Option<NaiveDate>,
    /// A telephone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<PhoneNumber>,
    /// Five digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zip5: Option<String>,
}

/// A telephone number: digits only.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhoneNumber {
    /// 1 to 3 digits.
    pub country_code: String,
    /// 10 to 20 digits.
    pub number: String,
}

/// A member of staff who acts for the customer (contract §3.5). Names and id up to 50 characters each.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// Required when an agent is sent.
    pub user_id: String,
    /// Whether the merchant has checked that this person may act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_access_verified: Option<bool>,
}

/// The customer's agreement to a bank debit, in the publicly documented shape (contract §3.6).
///
/// One vendor guide shows another, flat shape; which of the two a merchant's gateway takes has to be asked before
/// going live.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// The merchant's id of the recorded consent. Server-side payments need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merchant_consent_id: Option<String>,
    /// The text that was agreed to; the id wins over it. Without ``{ } + = * ^ % # ~ \ ` < > ? | [ ]``.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merchant_consent_text: Option<String>,
    /// When the consent was given, with its offset.
    pub collection_timestamp: DateTime<FixedOffset>,
    /// How it was given.
    pub collection_details: CollectionDetails,
}

/// How a consent was given.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionDetails {
    /// The way.
    #[serde(rename = "type")]
    pub kind: ConsentKind,
    /// Given with [`ConsentKind::Web`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web: Option<WebConsent>,
    /// Given with [`ConsentKind::Tel`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tel: Option<TelConsent>,
}

/// The way a consent was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConsentKind {
    /// On a web page.
    Web,
    /// By telephone.
    Tel,
    /// On paper; also needs an [`Agent`].
    Ppd,
}

/// Where on the web a consent was given.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebConsent {
    /// The customer's network address.
    pub ip_address: String,
    /// The customer's browser.
    pub user_agent: String,
}

/// From which telephone a consent was given.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TelConsent {
    /// The number that called.
    pub inbound_phone_number: PhoneNumber,
}

/// Amounts that a health card may pay for (contract §3.7), in cents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PaymentDetails {
    /// The only kind there is.
    pub healthcare: Healthcare,
}

/// Health-care amounts, in cents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Healthcare {
    /// Amounts by inventory approval.
    pub iias: Iias,
    /// For vision; together with the qualified amount not above the payment's amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vision_amount: Option<i64>,
}

/// Amounts by inventory approval, in cents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Iias {
    /// Required by the gateway whenever [`PaymentDetails`] are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualified_amount: Option<i64>,
    /// A breakdown of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualified_amount_details: Option<QualifiedAmountDetails>,
}

/// A breakdown of the qualified amount, in cents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QualifiedAmountDetails {
    /// For prescriptions; not above the qualified amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prescription_amount: Option<i64>,
}

impl CreatePayment {
    /// A sale of `amount` cents in US dollars on one stored method.
    pub fn sale(
        merchant_transaction_id: impl Into<String>,
        amount: i64,
        payment_method_id: Uuid,
        customer: Customer,
    ) -> Self {
        Self {
            merchant_transaction_id: merchant_transaction_id.into(),
            amount,
            currency_code: Some("USD".to_owned()),
            authorize_card: None,
            partial_authorization: None,
            description: None,
            statement_descriptor_suffix: None,
            customer: Some(customer),
            payment_allocations: vec![NewAllocation { amount, payment_method_id }],
            consent: None,
            agent: None,
            payment_details: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Everything the gateway would refuse, all at once and in its own words where they are known (contract §3.3 to
    /// §3.7, §4.7).
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit.
    pub fn validate(&self) -> Result<(), Vec<LimitError>> {
        let broken = limits::check(self);
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// Checks the payment and writes it down once. The very bytes written are what is sent, however often.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn freeze(&self) -> Result<FrozenPayment, Vec<LimitError>> {
        self.validate()?;
        let body = serde_json::to_string(self)
            .map_err(|_| vec![LimitError::new("", "the payment could not be written as JSON")])?;
        Ok(FrozenPayment::of(self.merchant_transaction_id.clone(), body))
    }
}

impl fmt::Debug for CreatePayment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatePayment")
            .field("merchant_transaction_id", &self.merchant_transaction_id)
            .field("amount", &self.amount)
            .field("currency_code", &self.currency_code)
            .field("authorize_card", &self.authorize_card)
            .field("partial_authorization", &self.partial_authorization)
            .field("payment_allocations", &self.payment_allocations)
            .field("payment_details", &self.payment_details)
            .finish_non_exhaustive()
    }
}

/// Names the type and nothing of the person behind it.
macro_rules! silent_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
silent_debug!(Customer, PhoneNumber, Agent, Consent, CollectionDetails, WebConsent, TelConsent);
