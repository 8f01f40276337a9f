//! The ledger's rows beside payments: calls, refunds, holds, disputes, and every movement of money.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::call::CallKind;
use crate::clock::instant;
use crate::faults::Fault;
use crate::ledger::{LedgerView, first_method};
use crate::lock;
use crate::payment::{Payment, Status};
use crate::refund::{Refund, RefundStatus};
use crate::timeline::DisputeStatus;

/// A capture, cancellation or refund that was well-formed and authorized, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// What it was to do.
    pub kind: CallKind,
    /// For whom.
    pub merchant: Uuid,
    /// The payment's id, or the refund's `merchantTransactionId`.
    pub subject: String,
    /// Which submission of this kind for this subject, from 1.
    pub number: u32,
    /// SHA-256 of the body in hexadecimal digits.
    pub sha256: String,
    /// When, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// When, by the machine's clock.
    pub real_at: DateTime<Utc>,
    /// The status of the answer; `None` when the connection was cut before one.
    pub answered: Option<u16>,
    /// What went wrong on purpose.
    pub fault: Option<Fault>,
}

/// A refund that was made, with whatever outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefundRecord {
    /// The refund.
    pub id: Uuid,
    /// For whom.
    pub merchant: Uuid,
    /// Its own `merchantTransactionId`.
    pub key: String,
    /// The payment; `None` for an unlinked credit.
    pub payment_id: Option<Uuid>,
    /// What was asked for, in minor units.
    pub amount_minor: i64,
    /// What has gone back so far, in minor units.
    pub given_back_minor: i64,
    /// ISO 4217
    pub currency: String,
    /// The state now.
    pub status: RefundStatus,
    /// The states until now and when each was entered, by the sandbox's clock.
    pub history: Vec<(RefundStatus, DateTime<Utc>)>,
    /// What the first failed allocation says, once the refund has ended.
    pub failure: Option<String>,
}

/// A hold that is neither captured nor cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// The payment.
    pub payment_id: Uuid,
    /// For whom.
    pub merchant: Uuid,
    /// `merchantTransactionId`
    pub key: String,
    /// What was asked for, in minor units.
    pub amount_minor: i64,
    /// What is held, in minor units.
    pub held_minor: i64,
    /// When it was placed, by the sandbox's clock.
    pub held_at: DateTime<Utc>,
    /// When it will be cancelled, by the sandbox's clock.
    pub expires_at: DateTime<Utc>,
}

/// A dispute about one allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DisputeRecord {
    /// The dispute.
    pub id: Uuid,
    /// For whom.
    pub merchant: Uuid,
    /// The payment.
    pub payment_id: Uuid,
    /// The payment's `merchantTransactionId`.
    pub key: String,
    /// The allocation, as the payment shows it.
    pub allocation_id: Uuid,
    /// What is disputed, in minor units.
    pub amount_minor: i64,
    /// In the processor's words.
    pub reason: String,
    /// The state now.
    pub status: DisputeStatus,
    /// The states until now and when each was entered, by the sandbox's clock.
    pub history: Vec<(DisputeStatus, DateTime<Utc>)>,
}

/// How money moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// A payment or a capture took it.
    Captured,
    /// A refund gave it back.
    Refunded,
    /// A credit without a payment gave it.
    Credited,
    /// The bank took it back.
    Returned,
    /// A dispute withdrew it.
    Disputed,
    /// A dispute was won and gave it back to the merchant.
    Reinstated,
}

/// Money that moved: positive to the merchant, negative from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Movement {
    /// When, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// How.
    pub kind: MovementKind,
    /// For whom.
    pub merchant: Uuid,
    /// The payment, if there is one.
    pub payment_id: Option<Uuid>,
    /// The refund or dispute, if it is one.
    pub cause_id: Option<Uuid>,
    /// The `merchantTransactionId` of the payment or the refund.
    pub key: String,
    /// The first method.
    pub method: Uuid,
    /// Signed, in minor units.
    pub amount_minor: i64,
    /// ISO 4217
    pub currency: String,
}

pub(crate) fn calls(view: &LedgerView) -> Vec<CallRecord> {
    let calls = lock(&view.0.calls);
    let record = |row: &crate::call::CallRow| CallRecord {
        kind: row.kind,
        merchant: row.merchant,
        subject: row.subject.clone(),
        number: row.number,
        sha256: row.sha256.clone(),
        at: instant(row.at_us),
        real_at: instant(row.real_us),
        answered: row.answered,
        fault: row.fault,
    };
    calls.rows.iter().map(record).collect()
}

fn each_refund(view: &LedgerView) -> Vec<Arc<Refund>> {
    lock(&view.0.refunds).all().cloned().collect()
}

pub(crate) fn refunds(view: &LedgerView) -> Vec<RefundRecord> {
    let now = view.now();
    let record = |refund: Arc<Refund>| {
        let (facts, status) = (&refund.facts, refund.status(now));
        let failure = facts.parts.iter().find_map(|part| part.failure).filter(|_| !status.in_progress());
        RefundRecord {
            id: facts.id,
            merchant: refund.merchant,
            key: facts.key.clone(),
            payment_id: facts.payment,
            amount_minor: facts.amount(),
            given_back_minor: if status.in_progress() { 0 } else { facts.good_amount() },
            currency: facts.currency.clone(),
            status,
            history: refund.history(now).into_iter().map(|(status, at)| (status, instant(at))).collect(),
            failure: failure.map(|error| error.message().to_owned()),
        }
    };
    let mut all: Vec<_> = each_refund(view).into_iter().map(record).collect();
    all.sort_by(|a, b| (&a.key, a.merchant).cmp(&(&b.key, b.merchant)));
    all
}

pub(crate) fn open_holds(view: &LedgerView) -> Vec<Hold> {
    let now = view.now();
    let mut holds = Vec::new();
    view.each_payment(|payment| {
        if payment.status(now) == Status::Authorized {
            let seen = payment.view(now, None);
            holds.push(Hold {
                payment_id: payment.facts.id,
                merchant: payment.merchant,
                key: payment.key.to_string(),
                amount_minor: payment.facts.amount,
                held_minor: seen.authorized(),
                held_at: instant(payment.facts.ends_us),
                expires_at: instant(payment.facts.expires_us.unwrap_or(i64::MAX)),
            });
        }
    });
    holds.sort_by(|a, b| (&a.key, a.merchant).cmp(&(&b.key, b.merchant)));
    holds
}

pub(crate) fn disputes(view: &LedgerView) -> Vec<DisputeRecord> {
    let now = view.now();
    let mut all = Vec::new();
    view.each_payment(|payment| {
        all.extend(payment.disputes(now).into_iter().map(|dispute| DisputeRecord {
            id: dispute.id,
            merchant: payment.merchant,
            payment_id: payment.facts.id,
            key: payment.key.to_string(),
            allocation_id: payment.part_id(dispute.allocation),
            amount_minor: dispute.amount,
            reason: dispute.reason.clone(),
            status: dispute.status(),
            history: dispute.history.iter().map(|(status, at)| (*status, instant(*at))).collect(),
        }));
    });
    all.sort_by_key(|dispute| (dispute.history.first().map(|(_, at)| *at), dispute.id));
    all
}

pub(crate) fn movements(view: &LedgerView) -> Vec<Movement> {
    let now = view.now();
    let mut all = Vec::new();
    view.each_payment(|payment| payment_movements(payment, now, &mut all));
    for refund in each_refund(view) {
        let facts = &refund.facts;
        if !refund.status(now).in_progress() && facts.good_amount() > 0 {
            all.push(Movement {
                at: instant(facts.ends_us),
                kind: if facts.payment.is_some() { MovementKind::Refunded } else { MovementKind::Credited },
                merchant: refund.merchant,
                payment_id: facts.payment,
                cause_id: Some(facts.id),
                key: facts.key.clone(),
                method: facts.parts.first().map_or(Uuid::nil(), |part| part.method),
                amount_minor: -facts.good_amount(),
                currency: facts.currency.clone(),
            });
        }
    }
    all.sort_by(|a, b| (a.at, a.kind, &a.key, a.payment_id).cmp(&(b.at, b.kind, &b.key, b.payment_id)));
    all
}

fn payment_movements(payment: &Payment, now: i64, all: &mut Vec<Movement>) {
    let Some(taken) = payment.taken(now) else { return };
    let mut push = |at_us: i64, kind: MovementKind, cause_id: Option<Uuid>, amount_minor: i64| {
        all.push(Movement {
            at: instant(at_us),
            kind,
            merchant: payment.merchant,
            payment_id: Some(payment.facts.id),
            cause_id,
            key: payment.key.to_string(),
            method: first_method(payment),
            amount_minor,
            currency: payment.facts.currency.clone(),
        });
    };
    push(payment.paid_us().unwrap_or(payment.facts.ends_us), MovementKind::Captured, None, taken);
    let disputes = payment.disputes(now);
    // A return that shows as a dispute is that dispute's withdrawal.
    if let Some((at, _)) = payment.returned_late(now)
        && !disputes.iter().any(|dispute| dispute.reason.starts_with("BANK_CANNOT_PROCESS"))
    {
        push(at, MovementKind::Returned, None, -taken);
    }
    for dispute in disputes {
        for (status, at) in &dispute.history {
            match status {
                DisputeStatus::NeedsResponse => {
                    push(*at, MovementKind::Disputed, Some(dispute.id), -dispute.amount);
                }
                DisputeStatus::Won => push(*at, MovementKind::Reinstated, Some(dispute.id), dispute.amount),
                DisputeStatus::UnderReview | DisputeStatus::Lost => {}
            }
        }
    }
}
