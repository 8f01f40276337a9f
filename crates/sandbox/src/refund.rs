//! A refund: decided when it is made, shown as the clock goes by (contract §5).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock::instant;
use crate::method::RefundError;
use crate::payment::Payment;
use crate::resource::{Merchant, Method, PartError, Place, ShortError};
use crate::switches::{AllocationError, RefundNames, Switches};

/// The states of a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefundStatus {
    /// Taken in; no money moved.
    Initiated,
    /// At the processor, which waits for funds; no money moved.
    Pending,
    /// The money went back.
    Completed,
    /// The money of some allocations went back.
    PartialSuccess,
    /// No money went back.
    Failed,
}

impl RefundStatus {
    /// The name under the newest pages, or under the older ones.
    pub(crate) const fn name(self, names: RefundNames) -> &'static str {
        match (self, names) {
            (Self::Initiated, _) => "INITIATED",
            (Self::Pending, _) => "PENDING",
            (Self::Completed, RefundNames::Newest) => "COMPLETED",
            (Self::Completed, RefundNames::Older) => "REFUNDED",
            (Self::PartialSuccess, RefundNames::Newest) => "PARTIAL_SUCCESS",
            (Self::PartialSuccess, RefundNames::Older) => "PARTIAL_REFUND",
            (Self::Failed, RefundNames::Newest) => "FAILED",
            (Self::Failed, RefundNames::Older) => "REFUND_FAILED",
        }
    }

    pub(crate) const fn in_progress(self) -> bool {
        match self {
            Self::Initiated | Self::Pending => true,
            Self::Completed | Self::PartialSuccess | Self::Failed => false,
        }
    }
}

/// What was decided when the refund was made: a line of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefundFacts {
    pub(crate) id: Uuid,
    pub(crate) key: String,
    /// `None` for an unlinked credit.
    pub(crate) payment: Option<Uuid>,
    pub(crate) currency: String,
    pub(crate) parts: Vec<RefundPart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<Box<RawValue>>,
    pub(crate) made_us: i64,
    pub(crate) made_real_us: i64,
    /// When it becomes `PENDING`, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending_us: Option<i64>,
    pub(crate) ends_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Box<str>>,
}

/// One allocation's part of a refund.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct RefundPart {
    /// The place of the payment's allocation.
    pub(crate) allocation: usize,
    pub(crate) method: Uuid,
    pub(crate) bank: bool,
    pub(crate) amount: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<RefundError>,
}

impl RefundFacts {
    /// What goes back once it has ended, in minor units.
    pub(crate) fn good_amount(&self) -> i64 {
        self.parts.iter().filter(|part| part.failure.is_none()).map(|part| part.amount).sum()
    }

    pub(crate) fn amount(&self) -> i64 {
        self.parts.iter().map(|part| part.amount).sum()
    }
}

/// A refund of a merchant.
#[derive(Debug)]
pub(crate) struct Refund {
    pub(crate) merchant: Uuid,
    pub(crate) facts: RefundFacts,
}

impl Refund {
    /// The states it has passed through by `now`, each with the time it was entered.
    pub(crate) fn history(&self, now: i64) -> Vec<(RefundStatus, i64)> {
        let facts = &self.facts;
        let failed = facts.parts.iter().filter(|part| part.failure.is_some()).count();
        let end = if failed == 0 {
            RefundStatus::Completed
        } else if failed == facts.parts.len() {
            RefundStatus::Failed
        } else {
            RefundStatus::PartialSuccess
        };
        let mut states = vec![(RefundStatus::Initiated, facts.made_us)];
        states.extend(facts.pending_us.map(|at| (RefundStatus::Pending, at)));
        states.push((end, facts.ends_us));
        let seen = states.iter().take_while(|(_, at)| *at <= now).count().max(1);
        states.truncate(seen);
        states
    }

    pub(crate) fn status(&self, now: i64) -> RefundStatus {
        self.history(now).last().map_or(RefundStatus::Initiated, |(status, _)| *status)
    }

    pub(crate) fn part_id(&self, n: usize) -> Uuid {
        Uuid::new_v5(&self.facts.id, &[u8::try_from(n).unwrap_or(u8::MAX)])
    }
}

/// Every refund.
#[derive(Default)]
pub(crate) struct Refunds {
    by_id: BTreeMap<Uuid, Arc<Refund>>,
    by_key: HashMap<(Uuid, String), Uuid>,
    by_payment: HashMap<Uuid, Vec<Arc<Refund>>>,
}

impl Refunds {
    pub(crate) fn insert(&mut self, refund: Arc<Refund>) {
        let facts = &refund.facts;
        self.by_key.insert((refund.merchant, facts.key.clone()), facts.id);
        if let Some(payment) = facts.payment {
            self.by_payment.entry(payment).or_default().push(Arc::clone(&refund));
        }
        self.by_id.insert(facts.id, refund);
    }

    pub(crate) fn by_id(&self, merchant: Uuid, id: Uuid) -> Option<Arc<Refund>> {
        self.by_id.get(&id).filter(|refund| refund.merchant == merchant).cloned()
    }

    pub(crate) fn by_key(&self, merchant: Uuid, key: &str) -> Option<Arc<Refund>> {
        let id = self.by_key.get(&(merchant, key.to_owned()))?;
        self.by_id.get(id).cloned()
    }

    /// The cents of each allocation that went back or are on their way.
    pub(crate) fn given_back(&self, payment: Uuid, allocation: usize) -> i64 {
        let refunds = self.by_payment.get(&payment).into_iter().flatten();
        let parts = refunds.flat_map(|refund| &refund.facts.parts);
        parts.filter(|part| part.allocation == allocation && part.failure.is_none()).map(|part| part.amount).sum()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Refund>> {
        self.by_id.values()
    }
}

/// The resource as v2 shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefundResource<'a> {
    id: Uuid,
    /// Webhooks name the refund in both ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_id: Option<Uuid>,
    merchant: Merchant,
    merchant_transaction_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<RefundedPayment<'a>>,
    refund_allocations: Vec<RefundPartResource>,
    status: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefundedPayment<'a> {
    id: Uuid,
    amount: i64,
    authorized_amount: i64,
    captured_amount: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    merchant_transaction_id: &'a str,
    payment_date_utc: DateTime<Utc>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefundPartResource {
    id: Uuid,
    amount: i64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<PartError>,
    payment_allocation: PaymentPart,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentPart {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    payment_method: Method,
}

fn refund_error(error: RefundError, switches: &Switches) -> PartError {
    let short = ShortError { code: error.code(), message: error.message().to_owned(), decline_code: None };
    PartError::new("REFUND_ERROR", short, switches.allocation_error != AllocationError::CodeMessage)
}

/// The refund as it is in one of its states.
pub(crate) fn shown<'a>(
    refund: &'a Refund,
    payment: Option<&'a Payment>,
    status: RefundStatus,
    place: Place,
    switches: &Switches,
) -> RefundResource<'a> {
    let facts = &refund.facts;
    let part = |(n, part): (usize, &RefundPart)| {
        let failure = part.failure.filter(|_| !status.in_progress());
        let own = if status.in_progress() {
            status
        } else if failure.is_some() {
            RefundStatus::Failed
        } else {
            RefundStatus::Completed
        };
        RefundPartResource {
            id: refund.part_id(n),
            amount: part.amount,
            status: own.name(switches.refund_names),
            error: failure.map(|error| refund_error(error, switches)),
            payment_allocation: PaymentPart {
                id: payment.map(|payment| payment.part_id(part.allocation)),
                payment_method: Method::new(part.method, part.bank, false, place, switches),
            },
        }
    };
    RefundResource {
        id: facts.id,
        refund_id: (place == Place::Webhook).then_some(facts.id),
        merchant: Merchant { id: refund.merchant },
        merchant_transaction_id: &facts.key,
        metadata: facts.metadata.as_deref(),
        reason: facts.reason.as_deref(),
        agent: facts.agent.as_deref(),
        payment: payment.map(|payment| {
            let view = payment.view(facts.made_us, None);
            RefundedPayment {
                id: payment.facts.id,
                amount: payment.facts.amount,
                authorized_amount: view.authorized(),
                captured_amount: view.captured(),
                description: payment.facts.description.as_deref(),
                merchant_transaction_id: &payment.key,
                payment_date_utc: instant(payment.facts.made_us),
            }
        }),
        refund_allocations: facts.parts.iter().enumerate().map(part).collect(),
        status: status.name(switches.refund_names),
    }
}

/// The refund as v1 shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlatRefund<'a> {
    id: Uuid,
    refund_id: Uuid,
    amount: i64,
    merchant_id: Uuid,
    merchant_transaction_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    payment_id: Option<Uuid>,
    payment_method_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<PartError>,
}

pub(crate) fn flat<'a>(refund: &'a Refund, status: RefundStatus, switches: &Switches) -> FlatRefund<'a> {
    let facts = &refund.facts;
    let failure = facts.parts.iter().find_map(|part| part.failure).filter(|_| !status.in_progress());
    FlatRefund {
        id: facts.id,
        refund_id: facts.id,
        amount: facts.amount(),
        merchant_id: refund.merchant,
        merchant_transaction_id: &facts.key,
        metadata: facts.metadata.as_deref(),
        payment_id: facts.payment,
        payment_method_id: facts.parts.first().map(|part| part.method),
        reason: facts.reason.as_deref(),
        status: status.name(switches.refund_names),
        agent: facts.agent.as_deref(),
        error: failure.map(|error| refund_error(error, switches)),
    }
}
