//! The gateway's own account of what it received and what it charged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::books::{App, Entry, Submitted};
use crate::clock::instant;
use crate::faults::Fault;
use crate::lock;
use crate::movements::{CallRecord, DisputeRecord, Hold, Movement, RefundRecord};
use crate::payment::{Payment, Status};
use crate::rate::{Violation, check_rate, max_in_window};
use crate::settlement::SettlementFaults;
use crate::webhooks::Delivery;

/// A submission: a well-formed, authorized `POST /v2/payments`, whatever became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Submission {
    /// For whom.
    pub merchant: Uuid,
    /// `merchantTransactionId`
    pub key: String,
    /// Which submission of this key, from 1.
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
    /// The body, if bodies are kept.
    #[serde(skip)]
    pub body: Option<Vec<u8>>,
}

/// A `POST /v2/payments` that was refused before it counted as a submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// For whom, if it said so.
    pub merchant: Option<Uuid>,
    /// `merchantTransactionId`, if it could be read.
    pub key: Option<String>,
    /// SHA-256 of the body in hexadecimal digits.
    pub sha256: String,
    /// When, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// When, by the machine's clock.
    pub real_at: DateTime<Utc>,
    /// The status of the answer.
    pub status: u16,
    /// Its `detail`.
    pub detail: String,
}

/// A payment that was made, with whatever outcome. A failed key that was charged again is two of these with one id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PaymentRecord {
    /// The payment.
    pub id: Uuid,
    /// For whom.
    pub merchant: Uuid,
    /// `merchantTransactionId`
    pub key: String,
    /// 1, or more when the key was charged again after a failure.
    pub attempt: u32,
    /// A success that nobody asked for: the fault `duplicate_charge`.
    pub twin: bool,
    /// In minor units.
    pub amount_minor: i64,
    /// ISO 4217
    pub currency: String,
    /// The first method.
    pub method: Uuid,
    /// The state now.
    pub status: Status,
    /// The states until now and when each was entered, by the sandbox's clock.
    pub history: Vec<(Status, DateTime<Utc>)>,
    /// What the first failed allocation says, once the payment failed.
    pub failure: Option<String>,
    /// The request's metadata.
    pub metadata: BTreeMap<String, String>,
    /// When it was made, by the machine's clock.
    pub real_made_at: DateTime<Utc>,
    /// 1 if money was taken, else 0.
    pub successes: u64,
}

/// Money that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Success {
    /// For whom.
    pub merchant: Uuid,
    /// `merchantTransactionId`
    pub key: String,
    /// In minor units.
    pub amount_minor: i64,
    /// ISO 4217
    pub currency: String,
    /// The first method.
    pub method: Uuid,
    /// The payment.
    pub payment_id: Uuid,
    /// When it was paid, by the sandbox's clock.
    pub at: DateTime<Utc>,
    /// The request's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// The ledger in a few numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The sandbox's time.
    pub now: DateTime<Utc>,
    /// Different keys.
    pub keys: u64,
    /// Submissions received.
    pub submissions: u64,
    /// Payments made.
    pub payments: u64,
    /// Payments in each state.
    pub by_status: BTreeMap<Status, u64>,
    /// Payments that took money.
    pub successes: u64,
    /// The money taken, in minor units of each currency.
    pub collected: BTreeMap<String, i64>,
    /// Refunds made, with whatever outcome.
    pub refunds: u64,
    /// The money that refunds and credits gave back, in minor units of each currency.
    pub given_back: BTreeMap<String, i64>,
    /// Faults that submissions to pay suffered.
    pub faults: BTreeMap<Fault, u64>,
    /// Keys with more than one success.
    pub keys_charged_twice: Vec<String>,
    /// Keys whose submissions had different bodies.
    pub keys_with_changed_bodies: Vec<String>,
    /// Requests to pay that were refused before they counted as submissions, by status.
    pub rejections: BTreeMap<u16, u64>,
    /// Look-ups.
    pub lookups: u64,
    /// Token requests.
    pub token_requests: u64,
    /// Connections that were refused on purpose.
    pub refused_connections: u64,
}

/// Questions to the ledger of a running sandbox. Each answer is as of the moment of asking.
#[derive(Clone)]
pub struct LedgerView(pub(crate) Arc<App>);

impl std::fmt::Debug for LedgerView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerView").finish_non_exhaustive()
    }
}

impl LedgerView {
    pub(crate) fn now(&self) -> i64 {
        self.0.options.clock.now_us()
    }

    pub(crate) fn each_payment(&self, mut visit: impl FnMut(&Arc<Payment>)) {
        self.0.each_key(|_, _, entry| entry.payments.iter().filter(|p| p.is_committed()).for_each(&mut visit));
    }

    /// Every submission, by key and number.
    #[must_use]
    pub fn submissions(&self) -> Vec<Submission> {
        let mut all = Vec::new();
        self.0.each_key(|merchant, key, entry| {
            all.extend(entry.submissions.iter().map(|submitted| submission(merchant, key, submitted)));
        });
        all.sort_by(|a, b| (&a.key, a.merchant, a.number).cmp(&(&b.key, b.merchant, b.number)));
        all
    }

    /// The submissions of one key, in order.
    #[must_use]
    pub fn submissions_of(&self, key: &str) -> Vec<Submission> {
        let mut all = Vec::new();
        for merchant in 0..self.0.merchants.len() {
            self.0.with_key(merchant, key, |entry| {
                let merchant = self.0.merchants[merchant];
                all.extend(entry.submissions.iter().map(|submitted| submission(merchant, key, submitted)));
            });
        }
        all
    }

    /// How many submissions each key had.
    #[must_use]
    pub fn submissions_by_key(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        self.0.each_key(|_, key, entry| *counts.entry(key.to_string()).or_default() += entry.submissions.len() as u64);
        counts
    }

    /// The last requests to pay that were refused before they counted as submissions.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        let view = |rejected: &crate::books::Rejected| Rejection {
            merchant: rejected.merchant,
            key: rejected.key.clone(),
            sha256: hex::encode(rejected.sha),
            at: instant(rejected.at_us),
            real_at: instant(rejected.real_us),
            status: rejected.status,
            detail: rejected.detail.clone(),
        };
        lock(&self.0.rejections).kept.iter().map(view).collect()
    }

    /// Every payment, by key.
    #[must_use]
    pub fn payments(&self) -> Vec<PaymentRecord> {
        let now = self.now();
        let mut all = Vec::new();
        self.each_payment(|payment| all.push(record(payment, now)));
        all.sort_by(|a, b| (&a.key, a.merchant, a.attempt, a.twin).cmp(&(&b.key, b.merchant, b.attempt, b.twin)));
        all
    }

    /// The payments of one key, in the order they were made.
    #[must_use]
    pub fn payments_of(&self, key: &str) -> Vec<PaymentRecord> {
        let now = self.now();
        let mut all = Vec::new();
        for merchant in 0..self.0.merchants.len() {
            self.0.with_key(merchant, key, |entry| {
                all.extend(entry.payments.iter().filter(|p| p.is_committed()).map(|payment| record(payment, now)));
            });
        }
        all
    }

    /// The money that was taken so far, by key.
    pub fn successes(&self) -> impl Iterator<Item = Success> + use<> {
        let now = self.now();
        let mut all = Vec::new();
        self.each_payment(|payment| {
            if payment.succeeded(now) {
                all.push(success(payment));
            }
        });
        all.sort_by(|a, b| (&a.key, a.merchant, a.payment_id).cmp(&(&b.key, b.merchant, b.payment_id)));
        all.into_iter()
    }

    /// How many successes each key has; keys without one are left out.
    #[must_use]
    pub fn successes_by_key(&self) -> BTreeMap<String, u64> {
        let now = self.now();
        let mut counts = BTreeMap::new();
        self.each_payment(|payment| {
            if payment.succeeded(now) {
                *counts.entry(payment.key.to_string()).or_default() += 1;
            }
        });
        counts
    }

    /// How many successes there are.
    #[must_use]
    pub fn success_count(&self) -> u64 {
        let now = self.now();
        let mut count = 0;
        self.each_payment(|payment| count += u64::from(payment.succeeded(now)));
        count
    }

    /// The money taken in one currency, in minor units.
    #[must_use]
    pub fn total_collected(&self, currency: &str) -> i64 {
        let now = self.now();
        let mut total = 0;
        self.each_payment(|payment| {
            if payment.facts.currency == currency {
                total += payment.taken(now).unwrap_or(0);
            }
        });
        total
    }

    /// Every capture, cancellation and refund that was submitted, in the order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        crate::movements::calls(self)
    }

    /// Every refund, by key.
    #[must_use]
    pub fn refunds(&self) -> Vec<RefundRecord> {
        crate::movements::refunds(self)
    }

    /// How many refunds that gave money back each key has; keys without one are left out.
    #[must_use]
    pub fn refund_successes_by_key(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for refund in self.refunds().into_iter().filter(|refund| refund.given_back_minor > 0) {
            *counts.entry(refund.key).or_default() += 1;
        }
        counts
    }

    /// What was captured of each payment that took money, in minor units.
    #[must_use]
    pub fn captured_by_payment(&self) -> BTreeMap<Uuid, i64> {
        let now = self.now();
        let mut captured = BTreeMap::new();
        self.each_payment(|payment| {
            captured.extend(payment.taken(now).map(|taken| (payment.facts.id, taken)));
        });
        captured
    }

    /// The settlement file of the days from `from` to `until`, both included, as CSV: this ledger's movements with fees, and the
    /// mistakes that are asked for.
    #[must_use]
    pub fn settlement_file(&self, from: NaiveDate, until: NaiveDate, faults: &SettlementFaults) -> String {
        crate::settlement::file(self, from, until, faults)
    }

    /// Why the bank took a payment back; empty where it did not.
    pub(crate) fn return_code(&self, payment: Option<Uuid>) -> String {
        let now = self.now();
        let mut code = String::new();
        self.each_payment(|known| {
            if Some(known.facts.id) == payment
                && let Some((_, returned)) = known.returned_late(now)
            {
                code = returned.code().to_owned();
            }
        });
        code
    }

    /// Every movement of money, in the order of time.
    #[must_use]
    pub fn movements(&self) -> Vec<Movement> {
        crate::movements::movements(self)
    }

    /// What is left of the money in one currency after refunds, returns and lost disputes, in minor units.
    #[must_use]
    pub fn net_collected(&self, currency: &str) -> i64 {
        let moved = self.movements().into_iter().filter(|movement| movement.currency == currency);
        moved.map(|movement| movement.amount_minor).sum()
    }

    /// The holds that are neither captured nor cancelled, by key.
    #[must_use]
    pub fn open_holds(&self) -> Vec<Hold> {
        crate::movements::open_holds(self)
    }

    /// Every dispute that was opened, in the order of opening.
    #[must_use]
    pub fn disputes(&self) -> Vec<DisputeRecord> {
        crate::movements::disputes(self)
    }

    /// Every webhook and what became of it, in the order in which they were put on their way.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.0.outbox.log()
    }

    /// The keys whose submissions had different bodies.
    #[must_use]
    pub fn keys_with_changed_bodies(&self) -> Vec<String> {
        let mut keys = BTreeSet::new();
        self.0.each_key(|_, key, entry| {
            if changed(entry) {
                keys.insert(key.to_string());
            }
        });
        keys.into_iter().collect()
    }

    /// The ledger in a few numbers.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let now = self.now();
        let mut summary = Summary { now: instant(now), ..Summary::default() };
        self.0.each_key(|_, key, entry| {
            summary.keys += 1;
            summary.submissions += entry.submissions.len() as u64;
            for fault in entry.submissions.iter().filter_map(|submitted| submitted.fault) {
                *summary.faults.entry(fault).or_default() += 1;
            }
            let mut successes = 0;
            for payment in entry.payments.iter().filter(|payment| payment.is_committed()) {
                summary.payments += 1;
                *summary.by_status.entry(payment.status(now)).or_default() += 1;
                if let Some(taken) = payment.taken(now) {
                    successes += 1;
                    *summary.collected.entry(payment.facts.currency.clone()).or_default() += taken;
                }
            }
            summary.successes += successes;
            if successes > 1 {
                summary.keys_charged_twice.push(key.to_string());
            }
            if changed(entry) {
                summary.keys_with_changed_bodies.push(key.to_string());
            }
        });
        summary.keys_charged_twice.sort_unstable();
        summary.keys_with_changed_bodies.sort_unstable();
        for refund in self.refunds() {
            summary.refunds += 1;
            if refund.given_back_minor > 0 {
                *summary.given_back.entry(refund.currency).or_default() += refund.given_back_minor;
            }
        }
        summary.rejections = lock(&self.0.rejections).by_status.clone();
        summary.lookups = self.0.lookups.load(Ordering::Relaxed);
        summary.token_requests = self.0.desk.requests();
        summary.refused_connections = self.0.refused.load(Ordering::Relaxed);
        summary
    }

    /// Look-ups received.
    #[must_use]
    pub fn lookups(&self) -> u64 {
        self.0.lookups.load(Ordering::Relaxed)
    }

    /// Arrival times of payment calls in order, in real microseconds since the sandbox was started: submissions and
    /// look-ups, or submissions only; of one merchant, or of all.
    #[must_use]
    pub fn arrivals(&self, merchant: Option<Uuid>, posts_only: bool) -> Vec<u64> {
        match merchant.map(|merchant| self.0.index_of(merchant)) {
            None => self.0.arrivals.times(None, posts_only),
            Some(Some(index)) => self.0.arrivals.times(Some(index), posts_only),
            Some(None) => Vec::new(),
        }
    }

    /// The largest number of payment calls in any window this long.
    #[must_use]
    pub fn max_in_window(&self, window: Duration) -> u64 {
        max_in_window(&self.arrivals(None, false), window)
    }

    /// The largest number of submissions in any window this long.
    #[must_use]
    pub fn max_posts_in_window(&self, window: Duration) -> u64 {
        max_in_window(&self.arrivals(None, true), window)
    }

    /// Whether payment calls kept to `count ≤ burst + rate · w` in every window; if not, the worst one.
    #[must_use]
    pub fn check_rate(&self, rate: f64, burst: u64) -> Option<Violation> {
        check_rate(&self.arrivals(None, false), rate, burst)
    }

    /// As [`LedgerView::check_rate`], for submissions only.
    #[must_use]
    pub fn check_post_rate(&self, rate: f64, burst: u64) -> Option<Violation> {
        check_rate(&self.arrivals(None, true), rate, burst)
    }

    /// As [`LedgerView::check_rate`], for one merchant.
    #[must_use]
    pub fn check_rate_of(&self, merchant: Uuid, rate: f64, burst: u64) -> Option<Violation> {
        check_rate(&self.arrivals(Some(merchant), false), rate, burst)
    }
}

fn changed(entry: &Entry) -> bool {
    entry.submissions.windows(2).any(|pair| pair[0].sha != pair[1].sha)
}

fn submission(merchant: Uuid, key: &str, submitted: &Submitted) -> Submission {
    Submission {
        merchant,
        key: key.to_owned(),
        number: submitted.number,
        sha256: hex::encode(submitted.sha),
        at: instant(submitted.at_us),
        real_at: instant(submitted.real_us),
        answered: submitted.answered,
        fault: submitted.fault,
        body: submitted.body.as_ref().map(|body| body.to_vec()),
    }
}

fn record(payment: &Payment, now: i64) -> PaymentRecord {
    let facts = &payment.facts;
    let status = payment.status(now);
    let failed = (status == Status::Failed).then(|| payment.view(now, None).failure()).flatten();
    let method_of = |n: usize| facts.allocations.get(n).map_or(Uuid::nil(), |part| part.method);
    PaymentRecord {
        id: facts.id,
        merchant: payment.merchant,
        key: payment.key.to_string(),
        attempt: facts.attempt,
        twin: facts.twin,
        amount_minor: facts.amount,
        currency: facts.currency.clone(),
        method: first_method(payment),
        status,
        history: payment.history(now).into_iter().map(|(status, at)| (status, instant(at))).collect(),
        failure: failed.map(|(n, failure)| failure.message_about(n, method_of(n))),
        metadata: payment.metadata(),
        real_made_at: instant(facts.made_real_us),
        successes: u64::from(payment.succeeded(now)),
    }
}

fn success(payment: &Payment) -> Success {
    Success {
        merchant: payment.merchant,
        key: payment.key.to_string(),
        amount_minor: payment.captured_parts().iter().sum(),
        currency: payment.facts.currency.clone(),
        method: first_method(payment),
        payment_id: payment.facts.id,
        at: instant(payment.paid_us().unwrap_or(payment.facts.ends_us)),
        metadata: payment.metadata(),
    }
}

pub(crate) fn first_method(payment: &Payment) -> Uuid {
    payment.facts.allocations.first().map_or(Uuid::nil(), |part| part.method)
}
