//! The gateway's limits on a payment request, checked before anything is sent.
//!
//! Not allowed here: limits of our own making. Each message is the gateway's where its wording is known.

use std::collections::BTreeMap;
use std::fmt;

use crate::request::{Agent, Consent, ConsentKind, CreatePayment, Customer, PaymentDetails, PhoneNumber};

/// Smallest amount the gateway's validation takes, in cents (contract §3.3).
pub const AMOUNT_MIN: i64 = 1;
/// Largest amount the gateway's validation takes, in cents (contract §3.3).
pub const AMOUNT_MAX: i64 = 99_999_999;
/// Longest `merchantTransactionId`, in characters (contract §3.3).
pub const TRANSACTION_ID_MAX: usize = 50;

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

pub(crate) fn check(payment: &CreatePayment) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    broken.unless(!payment.merchant_transaction_id.is_empty(), "merchantTransactionId", "is required");
    broken.longest(Some(&payment.merchant_transaction_id), TRANSACTION_ID_MAX, "merchantTransactionId");
    broken.amount(payment.amount, "amount");
    check_allocations(payment, &mut broken);
    let holds = payment.partial_authorization != Some(true) || payment.authorize_card == Some(true);
    broken.unless(holds, "partialAuthorization", "requires authorizeCard to be true");
    broken.longest(payment.description.as_deref(), 100, "description");
    check_suffix(payment.statement_descriptor_suffix.as_deref(), &mut broken);
    let code = payment.currency_code.as_deref();
    let code_fits = code.is_none_or(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()));
    broken.unless(code_fits, "currencyCode", "must be three capital letters");
    broken.metadata(&payment.metadata, "metadata");
    match &payment.customer {
        Some(customer) => check_customer(customer, &mut broken),
        None => broken.unless(false, "customer", "object is required"),
    }
    if let Some(agent) = &payment.agent {
        check_agent(agent, &mut broken);
    }
    if let Some(consent) = &payment.consent {
        check_consent(consent, payment.agent.is_some(), &mut broken);
    }
    if let Some(details) = &payment.payment_details {
        check_details(details, payment.amount, &mut broken);
    }
    broken.0
}

fn check_allocations(payment: &CreatePayment, broken: &mut Broken) {
    let parts = &payment.payment_allocations;
    broken.unless(!parts.is_empty(), "paymentAllocations", "is required");
    broken.unless(parts.len() <= 2, "paymentAllocations", "cannot contain more than 2 items");
    for (n, part) in parts.iter().enumerate() {
        broken.amount(part.amount, &format!("paymentAllocations[{n}].amount"));
        let named = !part.payment_method_id.is_nil();
        broken.unless(named, &format!("paymentAllocations[{n}].paymentMethodId"), "is required");
    }
    let twice = matches!(parts.as_slice(), [one, two] if one.payment_method_id == two.payment_method_id);
    broken.unless(!twice, "paymentAllocations", "cannot name the same payment method twice");
    let sum = parts.iter().try_fold(0_i64, |sum, part| sum.checked_add(part.amount));
    let agrees = parts.is_empty() || sum == Some(payment.amount);
    broken.unless(agrees, "amount", "must equal the sum of paymentAllocations[:].amount");
}

fn check_suffix(suffix: Option<&str>, broken: &mut Broken) {
    const FIELD: &str = "statementDescriptorSuffix";
    let fits = suffix.is_none_or(|suffix| {
        suffix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'.'))
            && suffix.bytes().any(|b| b.is_ascii_alphabetic())
    });
    let problem = "only allows alphanumeric, space, hyphen and dot, and must contain at least one letter";
    broken.unless(fits, FIELD, problem);
    broken.longest(suffix, 10, FIELD);
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

fn check_consent(consent: &Consent, has_agent: bool, broken: &mut Broken) {
    let identified = consent.merchant_consent_id.as_deref().is_some_and(|id| !id.is_empty());
    broken.unless(identified, "consent.merchantConsentId", "is required");
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

fn check_details(details: &PaymentDetails, amount: i64, broken: &mut Broken) {
    let care = &details.healthcare;
    let Some(qualified) = care.iias.qualified_amount else {
        broken.unless(false, "paymentDetails.qualifiedAmount", "is required when paymentDetails is provided");
        return;
    };
    let vision = care.vision_amount.unwrap_or(0);
    let prescription = care.iias.qualified_amount_details.as_ref().and_then(|d| d.prescription_amount).unwrap_or(0);
    for (value, field) in [
        (qualified, "paymentDetails.qualifiedAmount"),
        (vision, "paymentDetails.visionAmount"),
        (prescription, "paymentDetails.prescriptionAmount"),
    ] {
        broken.unless(value >= 0, field, "cannot be negative");
    }
    let together = qualified.checked_add(vision).is_some_and(|sum| sum <= amount);
    let problem = "of paymentDetails.qualifiedAmount and paymentDetails.visionAmount cannot exceed amount";
    if !together {
        broken.0.push(LimitError::new("paymentDetails", format!("sum {problem}")));
    }
    let problem = "cannot exceed paymentDetails.qualifiedAmount";
    broken.unless(prescription <= qualified, "paymentDetails.prescriptionAmount", problem);
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
