//! What a sender asks a session to be.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

use crate::consent::Consent;
use crate::healthcare::PaymentDetails;
use crate::limits::{self, LimitError};
use crate::ready::Ready;
use crate::request::{Agent, Customer};
use crate::words::words;

words! {
    /// What a session is for (contract §7).
    pub enum SessionMode {
        /// A payment, by a guest or a customer.
        Payment = "PAYMENT",
        /// Entering a method to be stored.
        PaymentMethodEntry = "PAYMENT_METHOD_ENTRY",
        /// A payment, with the stored methods on offer.
        PaymentWithWallet = "PAYMENT_WITH_WALLET",
        /// Looking after the stored methods.
        Wallet = "WALLET",
        /// Choosing one of the stored methods.
        PaymentMethodSelect = "PAYMENT_METHOD_SELECT",
        /// Showing one stored method.
        PaymentMethodDisplay = "PAYMENT_METHOD_DISPLAY",
        /// A payment whose method is stored; in the newest description only.
        PaymentAndSave = "PAYMENT_AND_SAVE",
    }
}

words! {
    /// How a customer may give a method (contract §7).
    pub enum Channel {
        /// A text message with a link.
        Text = "TEXT",
        /// An e-mail with a link.
        Email = "EMAIL",
        /// The form on the page.
        Webform = "WEBFORM",
        /// The keys of a telephone: 5 minutes for a card's data, 2 for the rest.
        TelephonicEntry = "TELEPHONIC_ENTRY",
        /// A card terminal.
        Terminal = "TERMINAL",
        /// Google Pay; cards only.
        GooglePay = "GOOGLE_PAY",
        /// Apple Pay; cards only.
        ApplePay = "APPLE_PAY",
    }
}

/// A session to be made.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateSession {
    /// What is to be paid. Required in the modes with a payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment: Option<SessionPayment>,
    /// Whose session it is. Required in the modes with a wallet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// Colours, fonts, and logos; its fields are not in what is known of the contract. Web addresses must be
    /// percent-encoded: the gateway's firewall blocks others (contract §1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub appearance: Option<Value>,
    /// What it offers.
    pub config: SessionConfig,
    /// The member of staff who acts for the customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
    /// The stored method it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<SessionMethod>,
}

/// What a session offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionConfig {
    /// What it is for; at least one.
    pub modes: Vec<SessionMode>,
    /// How a method may be given; empty: as the merchant is set up.
    #[serde(skip_serializing_if = "PaymentMethodChannel::is_empty")]
    pub payment_method_channel: PaymentMethodChannel,
    /// Settings the contract leaves out, written beside the others.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// How a method may be given, by its kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentMethodChannel {
    /// Channels for cards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub card: Vec<Channel>,
    /// Channels for bank accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bank_account: Vec<Channel>,
}

/// A stored method a session is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionMethod {
    /// The gateway's id of it.
    pub id: String,
}

/// What is to be paid in a session. That it has the fields of a payment to be made is our reading of the changelog
/// (contract §0, §7).
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPayment {
    /// The sender's id of the payment: 1 to 50 characters.
    pub merchant_transaction_id: String,
    /// Whole cents, 1 to 99999999.
    pub amount: i64,
    /// ISO 4217 code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency_code: Option<String>,
    /// True: only a hold, captured later. Cards only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize_card: Option<bool>,
    /// True lets the issuer approve *less than asked*. Only with `authorize_card`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_authorization: Option<bool>,
    /// Up to 100 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Up to 10 letters, digits, spaces, hyphens and dots, at least one letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_descriptor_suffix: Option<String>,
    /// Required where a bank account may pay. A widget's consent needs its text, or an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// Health-care amounts, cards only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_details: Option<PaymentDetails>,
    /// Up to 20 notes; keys up to 40 characters, values up to 100.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl PaymentMethodChannel {
    fn is_empty(&self) -> bool {
        self.card.is_empty() && self.bank_account.is_empty()
    }
}

impl SessionPayment {
    /// A sale of `amount` cents in US dollars.
    pub fn sale(merchant_transaction_id: impl Into<String>, amount: i64) -> Self {
        Self {
            merchant_transaction_id: merchant_transaction_id.into(),
            amount,
            currency_code: Some("USD".to_owned()),
            ..Self::default()
        }
    }
}

impl CreateSession {
    /// A session for one purpose.
    pub fn new(mode: SessionMode) -> Self {
        Self {
            payment: None,
            customer: None,
            appearance: None,
            config: SessionConfig { modes: vec![mode], ..SessionConfig::default() },
            agent: None,
            payment_method: None,
        }
    }

    /// The same session, of this customer.
    #[must_use]
    pub fn for_customer(self, customer: Customer) -> Self {
        Self { customer: Some(customer), ..self }
    }

    /// The same session, with something to pay.
    #[must_use]
    pub fn with_payment(self, payment: SessionPayment) -> Self {
        Self { payment: Some(payment), ..self }
    }

    /// The same session, with these ways to give a card.
    #[must_use]
    pub fn with_card_channels(mut self, channels: impl IntoIterator<Item = Channel>) -> Self {
        self.config.payment_method_channel.card = channels.into_iter().collect();
        self
    }

    /// The same session, with these ways to give a bank account.
    #[must_use]
    pub fn with_bank_channels(mut self, channels: impl IntoIterator<Item = Channel>) -> Self {
        self.config.payment_method_channel.bank_account = channels.into_iter().collect();
        self
    }

    /// Checks the session and makes it ready to be sent.
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit (contract §1, §3, §7).
    pub fn ready(&self) -> Result<Ready<Self>, Vec<LimitError>> {
        Ready::of(self, limits::session::check(self))
    }
}

impl fmt::Debug for CreateSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSession")
            .field("payment", &self.payment)
            .field("config", &self.config)
            .field("payment_method", &self.payment_method)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionPayment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionPayment")
            .field("merchant_transaction_id", &self.merchant_transaction_id)
            .field("amount", &self.amount)
            .field("authorize_card", &self.authorize_card)
            .finish_non_exhaustive()
    }
}
