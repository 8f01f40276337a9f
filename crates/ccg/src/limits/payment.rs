//! Limits on payments to be made (contract §3.3, §3.7, §4.2, §4.7).

use super::{Broken, LimitError, Use, check_agent, check_consent, check_customer};
use crate::healthcare::PaymentDetails;
use crate::limits::wallet::check_vendor_method;
use crate::payment_method::MethodType;
use crate::request::CreatePayment;
use crate::token_payment::CreateTokenPayment;

pub(crate) fn check(payment: &CreatePayment) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    broken.transaction_id(&payment.merchant_transaction_id);
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
        check_consent(consent, Use::Server, payment.agent.is_some(), &mut broken);
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

pub(super) fn check_suffix(suffix: Option<&str>, broken: &mut Broken) {
    const FIELD: &str = "statementDescriptorSuffix";
    let fits = suffix.is_none_or(|suffix| {
        suffix.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'.'))
            && suffix.bytes().any(|b| b.is_ascii_alphabetic())
    });
    let problem = "only allows alphanumeric, space, hyphen and dot, and must contain at least one letter";
    broken.unless(fits, FIELD, problem);
    broken.longest(suffix, 10, FIELD);
}

pub(crate) fn by_token(payment: &CreateTokenPayment) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    broken.transaction_id(&payment.merchant_transaction_id);
    broken.amount(payment.amount, "amount");
    let holds = payment.partial_authorization != Some(true) || payment.authorize_card == Some(true);
    broken.unless(holds, "partialAuthorization", "requires authorizeCard to be true");
    broken.longest(payment.description.as_deref(), 100, "paymentDescription");
    check_suffix(payment.statement_descriptor_suffix.as_deref(), &mut broken);
    broken.metadata(&payment.metadata, "metadata");
    check_vendor_method(&payment.payment_method, &mut broken);
    match &payment.customer {
        Some(customer) => check_customer(customer, &mut broken),
        // Guests may pay, but nothing can be stored for nobody.
        None if payment.payment_method.save_payment_method == Some(true) => {
            broken.unless(false, "customer", "object is required");
        }
        None => (),
    }
    if let Some(agent) = &payment.agent {
        check_agent(agent, &mut broken);
    }
    match &payment.consent {
        Some(consent) => check_consent(consent, Use::Server, payment.agent.is_some(), &mut broken),
        None if payment.payment_method.kind == MethodType::BankAccount => {
            broken.say("consent", "Consent is required!");
        }
        None => (),
    }
    if let Some(details) = &payment.payment_details {
        check_details(details, payment.amount, &mut broken);
    }
    broken.0
}

pub(super) fn check_details(details: &PaymentDetails, amount: i64, broken: &mut Broken) {
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
        broken.say("paymentDetails", &format!("sum {problem}"));
    }
    let problem = "cannot exceed paymentDetails.qualifiedAmount";
    broken.unless(prescription <= qualified, "paymentDetails.prescriptionAmount", problem);
}
