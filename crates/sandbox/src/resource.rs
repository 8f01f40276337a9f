//! Payments as the gateway shows them: in the shape of v2, with allocations, and in the flat one of v1.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::instant;
use crate::method::{DeclineCode, last4};
use crate::payment::{Failure, Payment, Status};
use crate::switches::{AllocationError, DefaultFlag, PaymentMethodType, StatusSet, Switches};
use crate::timeline::View;

/// A lie in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Key,
    Amount,
}

/// The key that a lying answer names.
pub(crate) const LIED_KEY: &str = "another-merchant-transaction";

/// Where a resource is shown, which decides a few of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Answer,
    Webhook,
}

/// The resource as v2 shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource<'a> {
    id: Uuid,
    merchant_transaction_id: &'a str,
    amount: i64,
    currency_code: &'a str,
    status: Status,
    authorize_card: bool,
    partial_authorization: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    rest: Option<Rest<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    authorized_amount: i64,
    captured_amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a RawValue>,
    merchant: Merchant,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    payment_date_utc: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_cancellation_reason: Option<String>,
    payment_allocations: Vec<Part>,
}

#[derive(Serialize)]
pub(crate) struct Merchant {
    pub(crate) id: Uuid,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    id: Uuid,
    amount: i64,
    authorized_amount: i64,
    captured_amount: i64,
    status: Status,
    vendor_payment_id: String,
    payment_method: Method,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<PartError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remediation: Option<Remediation>,
}

/// What was done about a good part of a payment that failed. No page shows its fields.
#[derive(Serialize)]
struct Remediation {
    action: &'static str,
    reason: &'static str,
}

/// A method inside a payment or a refund.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Method {
    id: Uuid,
    #[serde(flatten)]
    flag: Flag,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_method_type: Option<&'static str>,
    payment_method_details: Details,
}

/// The flag of the default method, in one of its spellings.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) enum Flag {
    #[serde(rename = "default")]
    Default(bool),
    #[serde(rename = "isDefault")]
    IsDefault(bool),
}

impl Flag {
    pub(crate) fn new(is: bool, v1: bool, switches: &Switches) -> Self {
        match switches.default_flag {
            DefaultFlag::AsDocumented if v1 => Self::Default(is),
            DefaultFlag::Default => Self::Default(is),
            DefaultFlag::AsDocumented | DefaultFlag::IsDefault => Self::IsDefault(is),
        }
    }
}

#[derive(Serialize)]
struct Details {
    r#type: &'static str,
    last4: String,
}

impl Method {
    pub(crate) fn new(id: Uuid, bank: bool, v1: bool, place: Place, switches: &Switches) -> Self {
        let kind = if bank { "BANK_ACCOUNT" } else { "CARD" };
        let shows = v1 || place == Place::Webhook && switches.payment_method_type == PaymentMethodType::Webhooks;
        Self {
            id,
            flag: Flag::new(false, v1, switches),
            payment_method_type: shows.then_some(kind),
            payment_method_details: Details { r#type: kind, last4: last4(id) },
        }
    }
}

/// An allocation's error, in one of the two documented shapes.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum PartError {
    Short(ShortError),
    #[serde(rename_all = "camelCase")]
    Long {
        title: &'static str,
        detail: String,
        error_details: [ShortError; 1],
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShortError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decline_code: Option<DeclineCode>,
}

impl PartError {
    pub(crate) fn new(title: &'static str, error: ShortError, long: bool) -> Self {
        if long {
            return Self::Long { title, detail: error.message.clone(), error_details: [error] };
        }
        Self::Short(error)
    }

    fn of_payment(failure: Failure, n: usize, method: Uuid, switches: &Switches) -> Self {
        let (code, message) = (failure.code(), failure.message_about(n, method));
        let error = ShortError { code, message, decline_code: failure.decline_code() };
        Self::new("PAYMENT_ERROR", error, switches.allocation_error == AllocationError::ErrorDetails)
    }
}

/// What the payment itself shows: all of its states, or those of the shorter set.
pub(crate) fn shown_status(view: &View, switches: &Switches) -> Status {
    let known = || view.states.iter().rev().find(|(status, _)| status.in_domain_model());
    match switches.status_set {
        StatusSet::Lifecycle => view.status,
        StatusSet::DomainModel if view.status.in_domain_model() => view.status,
        StatusSet::DomainModel => known().map_or(view.status, |(status, _)| *status),
    }
}

/// The few fields that the answer to a create has.
pub(crate) fn brief(payment: &Payment, status: Status, lie: Option<Lie>) -> Resource<'_> {
    let facts = &payment.facts;
    Resource {
        id: facts.id,
        merchant_transaction_id: if lie == Some(Lie::Key) { LIED_KEY } else { &payment.key },
        amount: facts.amount + i64::from(lie == Some(Lie::Amount)),
        currency_code: &facts.currency,
        status,
        authorize_card: facts.authorize,
        partial_authorization: facts.partial,
        rest: None,
    }
}

/// The whole payment as it stands in `view`.
pub(crate) fn full<'a>(
    payment: &'a Payment,
    view: &View,
    lie: Option<Lie>,
    place: Place,
    switches: &Switches,
) -> Resource<'a> {
    let facts = &payment.facts;
    let extra = i64::from(lie == Some(Lie::Amount));
    let more = |n: usize, amount: i64| if n == 0 && amount > 0 { amount + extra } else { amount };
    let parts = facts.allocations.iter().zip(&view.parts).enumerate().map(|(n, (part, seen))| Part {
        id: payment.part_id(n),
        amount: more(n, part.amount),
        authorized_amount: more(n, seen.authorized),
        captured_amount: more(n, seen.captured),
        status: seen.status,
        vendor_payment_id: format!("pi_{}{n}", facts.id.simple()),
        payment_method: Method::new(part.method, payment.is_bank_payment(), false, place, switches),
        error: seen.failure.map(|failure| PartError::of_payment(failure, n, part.method, switches)),
        remediation: seen.remediation.map(|action| Remediation { action, reason: "CCG_AUTOMATED_CANCEL" }),
    });
    let payment_allocations: Vec<Part> = parts.collect();
    let mut resource = brief(payment, shown_status(view, switches), lie);
    resource.rest = Some(Rest {
        authorized_amount: payment_allocations.iter().map(|part| part.authorized_amount).sum(),
        captured_amount: payment_allocations.iter().map(|part| part.captured_amount).sum(),
        description: facts.description.as_deref(),
        customer: facts.customer.as_deref(),
        merchant: Merchant { id: payment.merchant },
        metadata: facts.metadata.as_deref(),
        payment_date_utc: instant(facts.made_us),
        payment_cancellation_reason: view.cancel_reason.clone(),
        payment_allocations,
    });
    resource
}

/// The payment as v1 shows it: no allocations.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flat<'a> {
    id: Uuid,
    merchant_id: Uuid,
    merchant_transaction_id: &'a str,
    amount: i64,
    authorized_amount: i64,
    captured_amount: i64,
    authorize_card: bool,
    partial_authorization: bool,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    payment_date_utc: DateTime<Utc>,
    payment_method_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_method: Option<Method>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<PartError>,
}

pub(crate) fn flat<'a>(
    payment: &'a Payment,
    view: &View,
    lie: Option<Lie>,
    place: Place,
    switches: &Switches,
) -> Flat<'a> {
    let facts = &payment.facts;
    let method = facts.allocations.first().map(|part| part.method);
    let status = shown_status(view, switches);
    Flat {
        id: facts.id,
        merchant_id: payment.merchant,
        merchant_transaction_id: if lie == Some(Lie::Key) { LIED_KEY } else { &payment.key },
        amount: facts.amount + i64::from(lie == Some(Lie::Amount)),
        authorized_amount: view.authorized(),
        captured_amount: view.captured(),
        authorize_card: facts.authorize,
        partial_authorization: facts.partial,
        status: if status == Status::Cancelled { "CANCELED" } else { status.name() },
        description: facts.description.as_deref(),
        payment_date_utc: instant(facts.made_us),
        payment_method_id: method,
        payment_method: method.map(|id| Method::new(id, payment.is_bank_payment(), true, place, switches)),
        customer: facts.customer.as_deref(),
        metadata: facts.metadata.as_deref(),
        error: view.failure().map(|(n, failure)| {
            let method = facts.allocations.get(n).map_or(Uuid::nil(), |part| part.method);
            PartError::of_payment(failure, n, method, switches)
        }),
    }
}
