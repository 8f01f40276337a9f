//! The gateway's limits on requests, checked before anything is sent, all at once.
//!
//! Not allowed here: limits of our own making. Each message is the gateway's where its wording is known.

pub(crate) mod payment;
pub(crate) mod refund;
pub(crate) mod session;
pub(crate) mod settle;
pub(crate) mod wallet;

use std::collections::BTreeMap;
use std::fmt;

use crate::consent::{Consent, ConsentKind, ConsentShape};
use crate::request::{Agent, Customer, PhoneNumber};

/// Smallest amount the gateway's validation takes, in cents (contract §3.3).
pub const AMOUNT_MIN: i64 = 1;
/// Largest amount the gateway's validation takes, in cents (contract §3.3).
pub const AMOUNT_MAX: i64 = 99_999_999;
/// Longest `merchantTransactionId`, in characters (contract §3.3).
pub const TRANSACTION_ID_MAX: usize = 50;
/// Largest unlinked credit, in cents (contract §5).
pub const CREDIT_MAX: i64 = 1_000_000;

/// Characters a consent text may not contain (contract §3.6).
const CONSENT_FORBIDDEN: &[char] =
    &['{', '}', '+', '=', '*', '^', '%', '#', '~', '\\', '`', '<', '>', '?', '|', '[', ']'];

/// A limit of the gateway that a request breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitError {
    /// Path of the field as the gateway writes it, for example `paymentAllocations[0].amount`.
    pub field: String,
    /// What is wrong, without the offending value.
    pub message: String,
}

impl LimitError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LimitError {}

struct Broken(Vec<LimitError>);

impl Broken {
    fn unless(&mut self, holds: bool, field: &str, problem: &str) {
        if !holds {
            self.0.push(LimitError::new(field, format!("{field} {problem}")));
        }
    }

    fn longest(&mut self, text: Option<&str>, max: usize, field: &str) {
        let fits = text.is_none_or(|text| chars(text) <= max);
        self.unless(fits, field, &format!("cannot exceed {max} characters"));
    }

    fn transaction_id(&mut self, id: &str) {
        self.unless(!id.is_empty(), "merchantTransactionId", "is required");
        self.longest(Some(id), TRANSACTION_ID_MAX, "merchantTransactionId");
    }

    /// The message alone, where the gateway's words do not begin with the field.
    fn say(&mut self, field: &str, message: &str) {
        self.0.push(LimitError::new(field, message));
    }

    fn amount(&mut self, amount: i64, field: &str) {
        let fits = (AMOUNT_MIN..=AMOUNT_MAX).contains(&amount);
        self.unless(fits, field, &format!("must be an integer between {AMOUNT_MIN} and {AMOUNT_MAX}"));
    }

    fn metadata(&mut self, map: &BTreeMap<String, String>, field: &str) {
        self.unless(map.len() <= 20, field, "cannot exceed 20 entries");
        self.unless(map.keys().all(|key| chars(key) <= 40), field, "key cannot exceed 40 characters");
        self.unless(map.values().all(|value| chars(value) <= 100), field, "value cannot exceed 100 characters");
    }
}

fn check_customer(customer: &Customer, broken: &mut Broken) {
    let known = customer.hsid.is_some() || customer.enterprise_id.is_some() || !customer.metadata.is_empty();
    let problem = "object must include at least one of customer.hsid, customer.enterpriseId, or customer.metadata";
    broken.unless(known, "customer", problem);
    let id_fits = customer.enterprise_id.as_deref().is_none_or(|id| !id.is_empty() && digits(id));
    broken.unless(id_fits, "customer.enterpriseId", "is invalid");
    let hsid_fits = customer.hsid.is_none_or(|id| !id.is_nil());
    broken.unless(hsid_fits, "customer.hsid", "must be a valid UUID");
    broken.metadata(&customer.metadata, "customer.metadata");
    broken.longest(customer.first_name.as_deref(), 100, "customer.firstName");
    broken.longest(customer.last_name.as_deref(), 100, "customer.lastName");
    let email_fits = customer.email.as_deref().is_none_or(looks_like_email);
    broken.unless(email_fits, "customer.email", "must be a valid email address");
    let ssn_fits = customer.ssn_last_four.as_deref().is_none_or(|ssn| ssn.len() == 4 && digits(ssn));
    broken.unless(ssn_fits, "customer.ssnLastFour", "must be 4 digits");
    let zip_fits = customer.zip5.as_deref().is_none_or(|zip| zip.len() == 5 && digits(zip));
    broken.unless(zip_fits, "customer.zip5", "must be 5 digits");
    if let Some(phone) = &customer.phone_number {
        check_phone(phone, "customer.phoneNumber", broken);
    }
}

fn check_phone(phone: &PhoneNumber, field: &str, broken: &mut Broken) {
    let code_fits = (1..=3).contains(&phone.country_code.len()) && digits(&phone.country_code);
    broken.unless(code_fits, &format!("{field}.countryCode"), "must be 1 to 3 digits");
    let number_fits = (10..=20).contains(&phone.number.len()) && digits(&phone.number);
    broken.unless(number_fits, &format!("{field}.number"), "must be 10 to 20 digits");
}

fn check_agent(agent: &Agent, broken: &mut Broken) {
    broken.unless(!agent.user_id.is_empty(), "agent.userId", "is required");
    broken.longest(Some(&agent.user_id), 50, "agent.userId");
    broken.longest(agent.first_name.as_deref(), 50, "agent.firstName");
    broken.longest(agent.last_name.as_deref(), 50, "agent.lastName");
}

/// Where a consent is used: the public shape needs an id on a server's call and a text in a widget.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    Server,
    Widget,
}

fn check_consent(consent: &Consent, used: Use, has_agent: bool, broken: &mut Broken) {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let identified = given(&consent.merchant_consent_id);
    if consent.collection_details.kind.shape() == ConsentShape::Public {
        match used {
            Use::Server => broken.unless(identified, "consent.merchantConsentId", "is required"),
            Use::Widget => {
                let agreed = identified || given(&consent.merchant_consent_text);
                broken.unless(agreed, "consent.merchantConsentText", "is required");
            }
        }
    }
    let clean = consent.merchant_consent_text.as_deref().is_none_or(|text| !text.contains(CONSENT_FORBIDDEN));
    broken.unless(clean, "consent.merchantConsentText", "contains unsupported characters");
    let details = &consent.collection_details;
    // The contract shows `web` and `tel` beside their types and does not say that they must be there: present means whole.
    let complete = details.web.as_ref().is_none_or(|web| !web.ip_address.is_empty() && !web.user_agent.is_empty());
    broken.unless(complete, "consent.collectionDetails", "are not valid");
    if let Some(tel) = &details.tel {
        check_phone(&tel.inbound_phone_number, "consent.collectionDetails.tel.inboundPhoneNumber", broken);
    }
    let staffed = details.kind != ConsentKind::Ppd || has_agent;
    broken.unless(staffed, "agent", "is required when consent.collectionDetails.type is PPD");
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// A shape check only: something, one `@`, a dotted something, no blanks.
fn looks_like_email(text: &str) -> bool {
    match text.split_once('@') {
        Some((name, host)) => {
            let blank = text.chars().any(|c| c.is_whitespace() || c.is_control());
            let dotted = host.split('.').count() >= 2 && host.split('.').all(|label| !label.is_empty());
            !name.is_empty() && dotted && !host.contains('@') && !blank && text.len() <= 254
        }
        None => false,
    }
}
