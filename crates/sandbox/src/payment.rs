//! A payment: decided when it is made, shown as the clock goes by.
//!
//! What was decided never changes; what somebody does to the payment later (a capture, say) is added to it as an act with
//! a time. Its state is a function of the time, so settling a million payments is turning the clock once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::method::{DeclineCode, DisputeEnd, Refusal, ReturnCode, last4};
use crate::switches::LateReturn;
use crate::timeline::Act;

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
    /// A hold on a card, for `Options::hold_days`.
    Authorized,
    /// Paid.
    Completed,
    /// Declined, returned or refused.
    Failed,
    /// An allocation whose sibling failed.
    RolledBack,
    /// Waiting for its customer to be made.
    PendingForCustomerCreation,
    /// Waiting for its method to be stored.
    PendingForPaymentMethodCreation,
    /// Compared with the methods that are stored already.
    ProcessingDedupCheck,
    /// The issuer demands a challenge.
    AuthRequired,
    /// The challenge was answered. No payment of this sandbox gets here: nobody is there to answer.
    ConfirmationInitialized,
    /// A capture is under way.
    CaptureInitialized,
    /// A cancellation is under way.
    CancelInitialized,
    /// Cancelled, by the merchant or because the hold ran out; no money moved.
    Cancelled,
    /// The cancellation failed; a person has to look.
    CancelFailed,
}

impl Status {
    /// Whether a look-up answers 202 for it.
    #[must_use]
    pub const fn in_progress(self) -> bool {
        match self {
            Self::Initiated
            | Self::Pending
            | Self::Processing
            | Self::Accepted
            | Self::PendingForCustomerCreation
            | Self::PendingForPaymentMethodCreation
            | Self::ProcessingDedupCheck
            | Self::AuthRequired
            | Self::ConfirmationInitialized
            | Self::CaptureInitialized
            | Self::CancelInitialized => true,
            Self::Authorized
            | Self::Completed
            | Self::Failed
            | Self::RolledBack
            | Self::Cancelled
            | Self::CancelFailed => false,
        }
    }

    /// Whether the domain-model page knows it as a state of a payment (contract §4.5).
    pub(crate) const fn in_domain_model(self) -> bool {
        match self {
            Self::AuthRequired
            | Self::ConfirmationInitialized
            | Self::CaptureInitialized
            | Self::CancelInitialized
            | Self::CancelFailed
            | Self::RolledBack => false,
            Self::Initiated
            | Self::Pending
            | Self::Processing
            | Self::Accepted
            | Self::Authorized
            | Self::Completed
            | Self::Failed
            | Self::PendingForCustomerCreation
            | Self::PendingForPaymentMethodCreation
            | Self::ProcessingDedupCheck
            | Self::Cancelled => true,
        }
    }

    /// The name that error texts use.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Initiated => "INITIATED",
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Accepted => "ACCEPTED",
            Self::Authorized => "AUTHORIZED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::RolledBack => "ROLLED_BACK",
            Self::PendingForCustomerCreation => "PENDING_FOR_CUSTOMER_CREATION",
            Self::PendingForPaymentMethodCreation => "PENDING_FOR_PAYMENT_METHOD_CREATION",
            Self::ProcessingDedupCheck => "PROCESSING_DEDUP_CHECK",
            Self::AuthRequired => "AUTH_REQUIRED",
            Self::ConfirmationInitialized => "CONFIRMATION_INITIALIZED",
            Self::CaptureInitialized => "CAPTURE_INITIALIZED",
            Self::CancelInitialized => "CANCEL_INITIALIZED",
            Self::Cancelled => "CANCELLED",
            Self::CancelFailed => "CANCEL_FAILED",
        }
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
    /// The gateway knows the method and does not take it.
    Refused(Refusal),
    /// The gateway does not know the customer.
    NoCustomer,
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
            Self::Refused(_) => "payment_method_invalid",
            Self::NoCustomer => "customer_not_found",
        }
    }

    /// `error.message` of the allocation.
    #[must_use]
    pub fn message(self, allocation: usize) -> String {
        self.message_about(allocation, Uuid::nil())
    }

    /// The message, with the last digits of the method where they belong.
    pub(crate) fn message_about(self, allocation: usize, method: Uuid) -> String {
        match self {
            Self::Declined(code) => code.map_or("Your card was declined.", DeclineCode::message).to_owned(),
            Self::Returned(code) => format!("The bank returned this payment: {code} {}", code.message()),
            Self::Demands3ds => "Payment method could not be authorized. This payment method requires authentication \
                                 from a customer."
                .to_owned(),
            Self::NotFound => format!(
                "paymentAllocations[{allocation}].paymentMethodId not found. Please provide a valid payment method"
            ),
            Self::Refused(refusal) => refusal.message().replace("{last4}", &last4(method)),
            Self::NoCustomer => "Customer not found for given customer.enterpriseId".to_owned(),
        }
    }

    pub(crate) const fn decline_code(self) -> Option<DeclineCode> {
        match self {
            Self::Declined(code) => code,
            Self::Returned(_) | Self::Demands3ds | Self::NotFound | Self::Refused(_) | Self::NoCustomer => None,
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

/// The way to the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    #[default]
    Plain,
    /// The method is stored on the way.
    Saves,
    /// It waits for a customer that cannot be made.
    NoCustomer,
}

impl Way {
    fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

/// What befalls a payment after it was paid, decided when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Later {
    Returned { at_us: i64, code: ReturnCode, shows: LateReturn },
    Disputed { at_us: i64, end: DisputeEnd },
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
    /// When a hold is cancelled unless it is captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Way::is_plain")]
    pub(crate) way: Way,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) later: Option<Later>,
    /// `X-Source`, which webhooks give back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Box<str>>,
}

/// One method's part of a payment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Allocation {
    pub(crate) method: Uuid,
    pub(crate) amount: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<Failure>,
    /// What the issuer holds, when that is less than the amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approved: Option<i64>,
}

impl Allocation {
    /// What a hold or a payment of it is worth.
    pub(crate) fn approved(&self) -> i64 {
        self.approved.unwrap_or(self.amount)
    }
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
    /// Held while an act is decided, so that two captures at once are one.
    pub(crate) turn: Mutex<()>,
    /// What was done to it since, in the order of time.
    pub(crate) acts: Mutex<Vec<Act>>,
}

impl Payment {
    pub(crate) fn new(merchant: Uuid, key: Arc<str>, facts: Facts, committed: bool) -> Self {
        let (committed, lookups) = (AtomicBool::new(committed), AtomicU32::new(0));
        Self { merchant, key, facts, committed, lookups, turn: Mutex::default(), acts: Mutex::default() }
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }

    pub(crate) fn is_bank_payment(&self) -> bool {
        self.facts.accepted_us.is_some()
    }

    /// The id of an allocation.
    pub(crate) fn part_id(&self, n: usize) -> Uuid {
        Uuid::new_v5(&self.facts.id, &[u8::try_from(n).unwrap_or(u8::MAX)])
    }

    pub(crate) fn failure(&self) -> Option<(usize, Failure)> {
        self.facts.allocations.iter().enumerate().find_map(|(n, part)| Some((n, part.failure?)))
    }

    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        self.facts.metadata.as_deref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}
