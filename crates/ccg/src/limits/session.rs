//! Limits on sessions (contract §1, §3, §7).

use serde_json::Value;

use super::{Broken, LimitError, Use, check_agent, check_consent, check_customer};
use crate::limits::payment::{check_details, check_suffix};
use crate::session::{CreateSession, SessionMode, SessionPayment};

pub(crate) fn check(session: &CreateSession) -> Vec<LimitError> {
    let mut broken = Broken(Vec::new());
    let modes = &session.config.modes;
    broken.unless(!modes.is_empty(), "config.modes", "is required");
    match &session.payment {
        Some(payment) => check_payment(payment, session.agent.is_some(), &mut broken),
        None if modes.iter().any(takes_a_payment) => broken.unless(false, "payment", "is required"),
        None => (),
    }
    match &session.customer {
        Some(customer) => check_customer(customer, &mut broken),
        None if modes.iter().any(shows_a_wallet) => broken.say("customer", "Customer identifier is missing"),
        None => (),
    }
    let debits = modes.iter().any(takes_a_payment) && !session.config.payment_method_channel.bank_account.is_empty();
    if debits && session.payment.as_ref().is_some_and(|payment| payment.consent.is_none()) {
        broken.say("payment.consent", "Consent is required!");
    }
    if let Some(agent) = &session.agent {
        check_agent(agent, &mut broken);
    }
    let addressed = session.appearance.iter().chain(session.config.other.values()).any(has_plain_address);
    broken.unless(
        !addressed,
        "appearance",
        "must carry web addresses percent-encoded: the gateway's firewall blocks others",
    );
    broken.0
}

fn check_payment(payment: &SessionPayment, has_agent: bool, broken: &mut Broken) {
    broken.transaction_id(&payment.merchant_transaction_id);
    broken.amount(payment.amount, "payment.amount");
    let holds = payment.partial_authorization != Some(true) || payment.authorize_card == Some(true);
    broken.unless(holds, "partialAuthorization", "requires authorizeCard to be true");
    broken.longest(payment.description.as_deref(), 100, "description");
    check_suffix(payment.statement_descriptor_suffix.as_deref(), broken);
    broken.metadata(&payment.metadata, "metadata");
    if let Some(consent) = &payment.consent {
        check_consent(consent, Use::Widget, has_agent, broken);
    }
    if let Some(details) = &payment.payment_details {
        check_details(details, payment.amount, broken);
    }
}

fn takes_a_payment(mode: &SessionMode) -> bool {
    match mode {
        SessionMode::Payment | SessionMode::PaymentWithWallet | SessionMode::PaymentAndSave => true,
        SessionMode::PaymentMethodEntry
        | SessionMode::Wallet
        | SessionMode::PaymentMethodSelect
        | SessionMode::PaymentMethodDisplay
        | SessionMode::Other(_) => false,
    }
}

/// Modes that work on a customer's stored methods. A guest may pay or enter a method.
fn shows_a_wallet(mode: &SessionMode) -> bool {
    match mode {
        SessionMode::PaymentWithWallet
        | SessionMode::PaymentAndSave
        | SessionMode::Wallet
        | SessionMode::PaymentMethodSelect => true,
        SessionMode::Payment
        | SessionMode::PaymentMethodEntry
        | SessionMode::PaymentMethodDisplay
        | SessionMode::Other(_) => false,
    }
}

/// The gateway's firewall blocks bodies with web addresses that are not percent-encoded (contract §1).
fn has_plain_address(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("://"),
        Value::Array(entries) => entries.iter().any(has_plain_address),
        Value::Object(fields) => fields.values().any(has_plain_address),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
