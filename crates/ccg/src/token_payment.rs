//! Paying with a vendor's token instead of a stored method: one-time pay, and pay and store (contract §4.1, §4.2).
//!
//! ```no_run
//! # async fn run(client: ccg::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use ccg::{CreateTokenPayment, MethodType, VendorMethod};
//!
//! let method = VendorMethod::stripe(MethodType::Card, "pm_fresh_token");
//! let payment = CreateTokenPayment::one_time("ivr-7731-a1", 4_200, method);
//! let frozen = payment.freeze().map_err(|broken| broken[0].to_string())?;
//! let answer = client.create_token_payment(&frozen).await?;
//! println!("{} is {}", answer.value.id, answer.value.status);
//! # Ok(()) }
//! ```

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

use crate::consent::Consent;
use crate::frozen::FrozenTokenPayment;
use crate::healthcare::PaymentDetails;
use crate::limits::{self, LimitError};
use crate::payment_method::MethodType;
use crate::ready::written;
use crate::request::{Agent, Customer};

/// A payment with a vendor's token, in version 1's spelling: no version 2 is documented.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateTokenPayment {
    /// The sender's id of the payment and its idempotency key: 1 to 50 characters.
    pub merchant_transaction_id: String,
    /// Whole cents, 1 to 99999999.
    pub amount: i64,
    /// True: only a hold, captured later. Cards only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize_card: Option<bool>,
    /// True lets the issuer approve *less than asked*. Only with `authorize_card`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_authorization: Option<bool>,
    /// Up to 100 characters.
    #[serde(rename = "paymentDescription", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Up to 10 letters, digits, spaces, hyphens and dots, at least one letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement_descriptor_suffix: Option<String>,
    /// Who pays. Required to store the method; a guest otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Customer>,
    /// What pays.
    pub payment_method: VendorMethod,
    /// Required by the gateway for every bank account; not used for cards.
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

/// A method as the processor's own page or telephone system took it down. `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VendorMethod {
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: MethodType,
    /// The vendor's token. It serves once.
    pub vendor_payment_method_id: String,
    /// Who issued the token: `STRIPE`.
    pub vendor: String,
    /// Whether to store the method; this alone tells pay-and-store from one-time pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_payment_method: Option<bool>,
    /// Whether it becomes the customer's default. Not honoured for a method that is stored already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Up to 30 letters and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// Who is named on the card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_on_card: Option<String>,
    /// Where the method came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_provider: Option<SourceProvider>,
    /// Details the vendor does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method_details: Option<VendorMethodDetails>,
}

/// Where a method came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceProvider {
    /// Its name.
    pub name: String,
}

/// Details of a vendor's method.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VendorMethodDetails {
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: MethodType,
    /// Who is named on the card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_on_card: Option<String>,
}

impl VendorMethod {
    /// A method the gateway's processor holds under `token`.
    pub fn stripe(kind: MethodType, token: impl Into<String>) -> Self {
        Self {
            kind,
            vendor_payment_method_id: token.into(),
            vendor: "STRIPE".to_owned(),
            save_payment_method: None,
            default: None,
            nickname: None,
            name_on_card: None,
            source_provider: None,
            payment_method_details: None,
        }
    }
}

impl CreateTokenPayment {
    /// A payment that leaves nothing stored.
    pub fn one_time(merchant_transaction_id: impl Into<String>, amount: i64, payment_method: VendorMethod) -> Self {
        let payment_method = VendorMethod { save_payment_method: Some(false), ..payment_method };
        Self {
            merchant_transaction_id: merchant_transaction_id.into(),
            amount,
            authorize_card: None,
            partial_authorization: None,
            description: None,
            statement_descriptor_suffix: None,
            customer: None,
            payment_method,
            consent: None,
            agent: None,
            payment_details: None,
            metadata: BTreeMap::new(),
        }
    }

    /// A payment that also stores the method in the customer's wallet: the documented way into a subscription.
    pub fn pay_and_store(
        merchant_transaction_id: impl Into<String>,
        amount: i64,
        payment_method: VendorMethod,
        customer: Customer,
    ) -> Self {
        let mut payment = Self::one_time(merchant_transaction_id, amount, payment_method);
        payment.payment_method.save_payment_method = Some(true);
        payment.customer = Some(customer);
        payment
    }

    /// Everything the gateway would refuse at once (contract §3.3 to §3.7, §4.7, §6).
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit.
    pub fn validate(&self) -> Result<(), Vec<LimitError>> {
        let broken = limits::payment::by_token(self);
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// Checks the payment and writes it down once.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn freeze(&self) -> Result<FrozenTokenPayment, Vec<LimitError>> {
        self.validate()?;
        Ok(FrozenTokenPayment::of(self.merchant_transaction_id.clone(), written(self)?))
    }
}

impl fmt::Debug for CreateTokenPayment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateTokenPayment")
            .field("merchant_transaction_id", &self.merchant_transaction_id)
            .field("amount", &self.amount)
            .field("payment_method", &self.payment_method)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VendorMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorMethod")
            .field("kind", &self.kind)
            .field("vendor", &self.vendor)
            .field("save_payment_method", &self.save_payment_method)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for VendorMethodDetails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorMethodDetails").field("kind", &self.kind).finish_non_exhaustive()
    }
}
