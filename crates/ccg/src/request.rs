//! What a sender asks for.
//!
//! Every type's `Debug` leaves out what belongs to a person.

use chrono::NaiveDate;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

use crate::consent::Consent;
use crate::frozen::FrozenPayment;
use crate::healthcare::PaymentDetails;
use crate::limits::{self, LimitError};
use crate::ready::written;
use crate::silent::silent_debug;

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

    /// A hold of `amount` cents in US dollars on one stored card (contract §4.9): it lasts 7 days, and then it has to be
    /// captured or is gone. [`or_less`](Self::or_less) lets the issuer approve a part.
    pub fn authorize(
        merchant_transaction_id: impl Into<String>,
        amount: i64,
        payment_method_id: Uuid,
        customer: Customer,
    ) -> Self {
        let sale = Self::sale(merchant_transaction_id, amount, payment_method_id, customer);
        Self { authorize_card: Some(true), partial_authorization: Some(false), ..sale }
    }

    /// The same hold, of which the issuer may approve less than asked (contract §4.10). Compare
    /// [`Payment::shortfall`](crate::Payment::shortfall) before capturing.
    #[must_use]
    pub fn or_less(self) -> Self {
        Self { partial_authorization: Some(true), ..self }
    }

    /// A sale in US dollars that two stored methods pay together (contract §4.12): both parts or none. The amount is the
    /// sum of the parts. Which kinds of methods may be mixed, and whether such a payment may be a hold, the vendor's
    /// pages disagree on; two cards and a sale are always right.
    ///
    /// ```
    /// use ccg::{CreatePayment, Customer, NewAllocation};
    /// use uuid::Uuid;
    ///
    /// let health_account = NewAllocation { amount: 3_000, payment_method_id: Uuid::from_u128(2) };
    /// let card = NewAllocation { amount: 1_200, payment_method_id: Uuid::from_u128(3) };
    /// let customer = Customer { enterprise_id: Some("778812".into()), ..Customer::default() };
    /// let payment = CreatePayment::split("inv-7731-a1", [health_account, card], customer);
    /// assert_eq!(payment.amount, 4_200);
    /// assert!(payment.freeze().is_ok());
    /// ```
    pub fn split(merchant_transaction_id: impl Into<String>, parts: [NewAllocation; 2], customer: Customer) -> Self {
        let [one, two] = &parts;
        // A sum beyond any amount stays beyond the limit, which then names it.
        let amount = one.amount.saturating_add(two.amount);
        let sale = Self::sale(merchant_transaction_id, amount, one.payment_method_id, customer);
        Self { authorize_card: Some(false), payment_allocations: parts.into(), ..sale }
    }

    /// Everything the gateway would refuse, all at once and in its own words where they are known (contract §3.3 to
    /// §3.7, §4.7).
    ///
    /// # Errors
    /// One [`LimitError`] per broken limit.
    pub fn validate(&self) -> Result<(), Vec<LimitError>> {
        let broken = limits::payment::check(self);
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// Checks the payment and writes it down once. The very bytes written are what is sent, however often.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn freeze(&self) -> Result<FrozenPayment, Vec<LimitError>> {
        self.validate()?;
        Ok(FrozenPayment::of(self.merchant_transaction_id.clone(), written(self)?))
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

silent_debug!(Customer, PhoneNumber, Agent);
