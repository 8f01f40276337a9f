//! A payment: decided when it is made, shown as the clock goes by.
//!
//! Nothing about a payment changes after it was made. Its state is a function of the time, so settling a million
//! payments is turning the clock once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::instant;
use crate::method::{DeclineCode, ReturnCode};

/// The states a payment of the sandbox passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Taken in.
    Initiated,
    /// Queued.
    Pending,
    /// At the processor.
    Processing,
    /// A bank payment that was submitted and has not settled.
    Accepted,
    /// A hold on a card, never captured here.
    Authorized,
    /// Paid.
    Completed,
    /// Declined, returned or refused.
    Failed,
    /// An allocation whose sibling failed.
    RolledBack,
}

impl Status {
    /// Whether a look-up answers 202 for it.
    #[must_use]
    pub const fn in_progress(self) -> bool {
        matches!(self, Self::Initiated | Self::Pending | Self::Processing | Self::Accepted)
    }
}

/// Why a payment fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The issuer declined, with or without saying why.
    Declined(Option<DeclineCode>),
    /// The bank returned the debit.
    Returned(ReturnCode),
    /// The issuer demanded a challenge.
    Demands3ds,
    /// The gateway does not know the method.
    NotFound,
}

impl Failure {
    /// `error.code` of the allocation.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Declined(_) => "card_declined",
            Self::Returned(ReturnCode::R01 | ReturnCode::R09) => "insufficient_funds",
            Self::Returned(ReturnCode::R02) => "account_closed",
            Self::Returned(ReturnCode::R03 | ReturnCode::R04 | ReturnCode::R20) => "no_account",
            Self::Returned(ReturnCode::R16) => "account_frozen",
            Self::Returned(ReturnCode::R05 | ReturnCode::R07 | ReturnCode::R08 | ReturnCode::R10 | ReturnCode::R29) => {
                "debit_not_authorized"
            }
            Self::Demands3ds => "authentication_required",
            Self::NotFound => "payment_method_not_found",
        }
    }

    /// `error.message` of the allocation.
    #[must_use]
    pub fn message(self, allocation: usize) -> String {
        match self {
            Self::Declined(code) => code.map_or("Your card was declined.", DeclineCode::message).to_owned(),
            Self::Returned(code) => format!("The bank returned this payment: {code} {}", code.message()),
            Self::Demands3ds => "Payment method could not be authorized. This payment method requires authentication \
                                 from a customer."
                .to_owned(),
            Self::NotFound => format!(
                "paymentAllocations[{allocation}].paymentMethodId not found. Please provide a valid payment method"
            ),
        }
    }

    const fn decline_code(self) -> Option<DeclineCode> {
        match self {
            Self::Declined(code) => code,
            Self::Returned(_) | Self::Demands3ds | Self::NotFound => None,
        }
    }
}

/// How a payment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Completed,
    Authorized,
    Failed,
}

/// What was decided when the payment was made: a line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) id: Uuid,
    /// 1, or more when a failed key was charged again.
    pub(crate) attempt: u32,
    /// A second success that the key did not ask for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) twin: bool,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) allocations: Vec<Allocation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) customer: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) authorize: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) partial: bool,
    pub(crate) made_us: i64,
    pub(crate) made_real_us: i64,
    /// When a bank payment becomes `ACCEPTED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) accepted_us: Option<i64>,
    pub(crate) ends_us: i64,
    pub(crate) end: End,
}

/// One method's part of a payment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Allocation {
    pub(crate) method: Uuid,
    pub(crate) amount: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
}

/// A payment and what the running sandbox notes about it.
#[derive(Debug)]
pub(crate) struct Payment {
    pub(crate) merchant: Uuid,
    pub(crate) key: Arc<str>,
    pub(crate) facts: Facts,
    /// Set once the journal holds it; until then nobody is told of it and it counts for nothing.
    pub(crate) committed: AtomicBool,
    pub(crate) lookups: AtomicU32,
}

impl Payment {
    pub(crate) fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }

    pub(crate) fn status(&self, now: i64) -> Status {
        self.history(now).last().map_or(Status::Initiated, |(status, _)| *status)
    }

    pub(crate) fn succeeded(&self, now: i64) -> bool {
        self.is_committed() && self.facts.end == End::Completed && now >= self.facts.ends_us
    }

    /// The states it has passed through by `now`, each with the time it was entered.
    pub(crate) fn history(&self, now: i64) -> Vec<(Status, i64)> {
        let facts = &self.facts;
        let first = facts.accepted_us.unwrap_or(facts.ends_us);
        let third = (first - facts.made_us) / 3;
        let mut states = vec![
            (Status::Initiated, facts.made_us),
            (Status::Pending, facts.made_us + third),
            (Status::Processing, facts.made_us + 2 * third),
        ];
        states.extend(facts.accepted_us.map(|at| (Status::Accepted, at)));
        let end = match facts.end {
            End::Completed => Status::Completed,
            End::Authorized => Status::Authorized,
            End::Failed => Status::Failed,
        };
        states.push((end, facts.ends_us));
        // A clock set back may stand before the payment was made; it is then still the payment that was taken in.
        let seen = states.iter().take_while(|(_, at)| *at <= now).count().max(1);
        states.truncate(seen);
        states
    }

    pub(crate) fn failure(&self) -> Option<(usize, Failure)> {
        self.facts.allocations.iter().enumerate().find_map(|(n, part)| Some((n, part.failure?)))
    }

    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        self.facts.metadata.as_deref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}

/// A lie in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Key,
    Amount,
}

/// The resource as the gateway shows it.
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
    payment_allocations: Vec<Part>,
}

#[derive(Serialize)]
struct Merchant {
    id: Uuid,
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
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Method {
    id: Uuid,
    is_default: bool,
    payment_method_details: Details,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    r#type: &'static str,
    last_four: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartError {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    decline_code: Option<DeclineCode>,
}

/// The few fields that the answer to a create has.
pub(crate) fn brief<'a>(payment: &'a Payment, status: Status, lie: Option<Lie>, lied_key: &'a str) -> Resource<'a> {
    let facts = &payment.facts;
    Resource {
        id: facts.id,
        merchant_transaction_id: if lie == Some(Lie::Key) { lied_key } else { &payment.key },
        amount: facts.amount + i64::from(lie == Some(Lie::Amount)),
        currency_code: &facts.currency,
        status,
        authorize_card: facts.authorize,
        partial_authorization: facts.partial,
        rest: None,
    }
}

/// The whole payment, as a look-up shows it at `now`.
pub(crate) fn full<'a>(payment: &'a Payment, now: i64, lie: Option<Lie>, lied_key: &'a str) -> Resource<'a> {
    let facts = &payment.facts;
    let status = payment.status(now);
    let taken = |amount| match status {
        Status::Completed => (amount, amount),
        Status::Authorized => (amount, 0),
        _ => (0, 0),
    };
    let extra = i64::from(lie == Some(Lie::Amount));
    let bank = facts.accepted_us.is_some();
    let parts = facts.allocations.iter().enumerate().map(|(n, part)| {
        let amount = part.amount + if n == 0 { extra } else { 0 };
        let (authorized_amount, captured_amount) = taken(amount);
        let failed = if status == Status::Failed { part.failure } else { None };
        Part {
            id: Uuid::new_v5(&facts.id, &[u8::try_from(n).unwrap_or(u8::MAX)]),
            amount,
            authorized_amount,
            captured_amount,
            status: if status == Status::Failed && part.failure.is_none() { Status::RolledBack } else { status },
            vendor_payment_id: format!("pi_{}{n}", facts.id.simple()),
            payment_method: Method {
                id: part.method,
                is_default: false,
                payment_method_details: Details {
                    r#type: if bank { "BANK_ACCOUNT" } else { "CARD" },
                    last_four: format!("{:04}", part.method.as_u128() % 10_000),
                },
            },
            error: failed.map(|failure| PartError {
                code: failure.code(),
                message: failure.message(n),
                decline_code: failure.decline_code(),
            }),
        }
    });
    let payment_allocations = parts.collect();
    let (authorized_amount, captured_amount) = taken(facts.amount + extra);
    let mut resource = brief(payment, status, lie, lied_key);
    resource.rest = Some(Rest {
        authorized_amount,
        captured_amount,
        description: facts.description.as_deref(),
        customer: facts.customer.as_deref(),
        merchant: Merchant { id: payment.merchant },
        metadata: facts.metadata.as_deref(),
        payment_date_utc: instant(facts.made_us),
        payment_allocations,
    });
    resource
}
