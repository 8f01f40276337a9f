//! The outbox: what is to be told and when.
//!
//! An event of a payment or a refund is a state that it enters, so it is known when the payment is made and waits for its
//! time by the sandbox's clock. Which events are lost, late, doubled or out of order is a hash of the seed and the event.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::books::App;
use crate::clock::{instant, micros};
use crate::deeds::Deed;
use crate::faults::{Dice, share};
use crate::keys::SigningKey;
use crate::lock;
use crate::payment::{Payment, Status};
use crate::refund::{Refund, RefundStatus};
use crate::switches::{CancelledEvent, RollbackEvent, SucceededEvent, Switches};
use crate::timeline::DisputeStatus;
use crate::webhooks::{Delivery, Fate, Told, WebhookOptions};

/// What an event is about; the payload is made when it is sent.
#[derive(Clone)]
pub(crate) enum Subject {
    Payment(Arc<Payment>, Status),
    Refund(Arc<Refund>, RefundStatus),
    Told(Told),
}

/// An event that is waiting.
#[derive(Clone)]
pub(crate) struct Notice {
    pub(crate) event: Uuid,
    pub(crate) name: String,
    pub(crate) merchant: Uuid,
    pub(crate) at_us: i64,
    pub(crate) subject: Subject,
    /// Attempts made.
    pub(crate) attempts: u32,
    /// When the first attempt was made, by the sandbox's clock.
    pub(crate) first_us: Option<i64>,
    /// Its row in the log.
    pub(crate) row: usize,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) waiting: BTreeMap<(i64, u64), Notice>,
    /// Events that let the next one pass; they go out after it or at their time.
    pub(crate) held: Vec<(i64, Notice)>,
    pub(crate) log: Vec<Delivery>,
    known: HashSet<Uuid>,
    settled: HashSet<Uuid>,
    restored: Vec<Told>,
    /// Events without a resource so far, those of earlier runs included.
    told: u64,
    sequence: u64,
    pub(crate) in_flight: usize,
}

impl Queue {
    pub(crate) fn push(&mut self, due_us: i64, notice: Notice) {
        self.sequence += 1;
        self.waiting.insert((due_us, self.sequence), notice);
    }
}

/// Everything about webhooks that a running sandbox keeps.
pub(crate) struct Outbox {
    on: AtomicBool,
    /// Events before this are nobody's business.
    since_us: AtomicI64,
    pub(crate) options: Mutex<WebhookOptions>,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) bell: Notify,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    generation: u32,
    given: Vec<SigningKey>,
}

/// How long a held event waits for another to pass it.
const HELD_US: i64 = 60_000_000;

impl Outbox {
    pub(crate) fn new(options: &WebhookOptions) -> Self {
        Self {
            on: AtomicBool::new(false),
            since_us: AtomicI64::new(i64::MAX),
            options: Mutex::new(options.clone()),
            queue: Mutex::default(),
            bell: Notify::new(),
            keys: Mutex::default(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(crate) fn restore_told(&self, told: Told) {
        let mut queue = lock(&self.queue);
        queue.told += 1;
        queue.restored.push(told);
    }

    pub(crate) fn restore_settled(&self, event: Uuid) {
        lock(&self.queue).settled.insert(event);
    }

    pub(crate) fn restore_rotated(&self) {
        lock(&self.keys).generation += 1;
    }

    pub(crate) fn restore_watched(&self, on: bool, at_us: i64) {
        let since = if on { self.since_us.load(Ordering::Relaxed).min(at_us) } else { i64::MAX };
        self.since_us.store(since, Ordering::Relaxed);
    }

    pub(crate) fn log(&self) -> Vec<Delivery> {
        lock(&self.queue).log.clone()
    }
}

impl App {
    /// Takes the given keys in, and begins to tell if there is a receiver.
    pub(crate) fn start_webhooks(self: &Arc<Self>) -> Result<(), String> {
        let options = lock(&self.outbox.options).clone();
        options.check()?;
        let given = [&options.key_pem, &options.next_key_pem];
        let given = given.into_iter().flatten().map(|pem| SigningKey::given(pem)).collect::<Result<Vec<_>, _>>()?;
        lock(&self.outbox.keys).given = given;
        if options.url.is_some() {
            self.watch(true);
        }
        Ok(())
    }

    /// Changes where and how reliably events are told; the keys stay.
    pub(crate) fn set_webhooks(self: &Arc<Self>, options: WebhookOptions) -> Result<(), String> {
        options.check()?;
        let on = options.url.is_some();
        {
            let mut own = lock(&self.outbox.options);
            let (key_pem, next_key_pem) = (own.key_pem.take(), own.next_key_pem.take());
            *own = WebhookOptions { key_pem, next_key_pem, ..options };
        }
        if on != self.outbox.is_on() {
            self.watch(on);
        }
        self.outbox.bell.notify_one();
        Ok(())
    }

    fn watch(self: &Arc<Self>, on: bool) {
        let now = self.options.clock.now_us();
        let watched = self.outbox.since_us.load(Ordering::Relaxed);
        let owner = self.merchants.first().copied().unwrap_or_default();
        if !on || watched == i64::MAX {
            drop(self.note(owner, now, &Deed::Watched { on }));
        }
        self.outbox.since_us.store(if on { watched.min(now) } else { i64::MAX }, Ordering::Relaxed);
        self.outbox.on.store(on, Ordering::Relaxed);
        if on {
            self.announce_everything();
            self.start_courier();
        }
    }

    /// Puts everything that is still to be told on its way: what an earlier run left, and what will happen to the
    /// payments that are known.
    fn announce_everything(&self) {
        let restored = std::mem::take(&mut lock(&self.outbox.queue).restored);
        for told in restored {
            self.enqueue(told.event, &told.name, told.merchant, told.at_us, &Subject::Told(told.clone()));
        }
        let mut payments = Vec::new();
        self.each_key(|_, _, entry| payments.extend(entry.payments.iter().cloned()));
        for payment in payments.iter().filter(|payment| payment.is_committed()) {
            self.announce(payment);
        }
        let refunds: Vec<_> = lock(&self.refunds).all().cloned().collect();
        refunds.iter().for_each(|refund| self.announce_refund(refund));
    }

    /// Puts the states of a payment that are events on their way, each once.
    pub(crate) fn announce(&self, payment: &Arc<Payment>) {
        if !self.outbox.is_on() {
            return;
        }
        let switches = self.switches();
        for (status, at_us) in payment.history(i64::MAX) {
            for name in payment_events(payment, status, &switches) {
                let event = Uuid::new_v5(&payment.facts.id, format!("{name} {at_us}").as_bytes());
                let subject = Subject::Payment(Arc::clone(payment), status);
                self.enqueue(event, name, payment.merchant, at_us, &subject);
            }
        }
        for dispute in payment.disputes(i64::MAX) {
            for (status, at_us) in &dispute.history {
                let name = match status {
                    DisputeStatus::NeedsResponse => "DISPUTE_CREATED",
                    DisputeStatus::UnderReview => "DISPUTE_UPDATED",
                    DisputeStatus::Won | DisputeStatus::Lost => "DISPUTE_CLOSED",
                };
                let payload = json!({
                    "id": dispute.id, "paymentAllocationId": payment.part_id(dispute.allocation),
                    "paymentId": payment.facts.id, "merchantTransactionId": &*payment.key,
                    "merchantId": payment.merchant, "amount": dispute.amount,
                    "currencyCode": payment.facts.currency, "reason": dispute.reason, "status": status,
                });
                let event = Uuid::new_v5(&dispute.id, format!("{name} {at_us} {status:?}").as_bytes());
                let (merchant, source) = (payment.merchant, payment.facts.source.clone());
                let name = name.to_owned();
                self.tell_once(&Told { event, name, merchant, subject: dispute.id, at_us: *at_us, payload, source });
            }
        }
        let twin = Uuid::new_v5(&payment.facts.id, b"twin");
        if !payment.facts.twin
            && let Some(twin) = self.index_of(payment.merchant).and_then(|merchant| self.by_id(merchant, twin))
        {
            self.announce(&twin);
        }
    }

    /// Puts the states of a refund that are events on their way, each once.
    pub(crate) fn announce_refund(&self, refund: &Arc<Refund>) {
        if !self.outbox.is_on() {
            return;
        }
        for (status, at_us) in refund.history(i64::MAX) {
            let name = match status {
                RefundStatus::Initiated => continue,
                RefundStatus::Pending => "REFUND_PENDING",
                RefundStatus::Completed => "REFUND_SUCCESS",
                RefundStatus::PartialSuccess => "REFUND_PARTIAL_SUCCESS",
                RefundStatus::Failed => "REFUND_FAILED",
            };
            let event = Uuid::new_v5(&refund.facts.id, format!("{name} {at_us}").as_bytes());
            let subject = Subject::Refund(Arc::clone(refund), status);
            self.enqueue(event, name, refund.merchant, at_us, &subject);
        }
    }

    /// Puts an event that no resource remembers on its way.
    pub(crate) fn tell(&self, merchant: Uuid, name: &str, subject: Uuid, at_us: i64, payload: Value) {
        if !self.outbox.is_on() {
            return;
        }
        let number = lock(&self.outbox.queue).told + 1;
        let event = Uuid::new_v5(&subject, format!("{name} {at_us} {number}").as_bytes());
        self.tell_as(&Told { event, name: name.to_owned(), merchant, subject, at_us, payload, source: None });
    }

    /// Puts an event of which this is the only one on its way, unless it is already.
    fn tell_once(&self, told: &Told) {
        if self.outbox.is_on() && !lock(&self.outbox.queue).known.contains(&told.event) {
            self.tell_as(told);
        }
    }

    fn tell_as(&self, told: &Told) {
        lock(&self.outbox.queue).told += 1;
        drop(self.note(told.merchant, told.at_us, &Deed::Told(told.clone())));
        self.enqueue(told.event, &told.name, told.merchant, told.at_us, &Subject::Told(told.clone()));
    }

    fn enqueue(&self, event: Uuid, name: &str, merchant: Uuid, at_us: i64, subject: &Subject) {
        if at_us < self.outbox.since_us.load(Ordering::Relaxed) {
            return;
        }
        let options = lock(&self.outbox.options).clone();
        let dice = Dice::of(self.options.seed, merchant, &format!("webhook {event}"));
        let hits = |rate: f64, salt: u64| rate > 0.0 && share(dice.value(salt, 0)) < rate;
        let mut queue = lock(&self.outbox.queue);
        if !queue.known.insert(event) || queue.settled.contains(&event) {
            return;
        }
        let about = match subject {
            Subject::Payment(payment, _) => payment.facts.id,
            Subject::Refund(refund, _) => refund.facts.id,
            Subject::Told(told) => told.subject,
        };
        let lost = hits(options.loss, LOSS);
        let late = hits(options.delay, DELAY).then(|| micros(Duration::from_millis(options.delay_ms)));
        let due_us = at_us.saturating_add(late.unwrap_or(0));
        let copies = if hits(options.duplicate, DUPLICATE) { 2 } else { 1 };
        for copy in 0..copies {
            let fate = if lost { Fate::Lost } else { Fate::Waiting };
            let row = queue.log.len();
            queue.log.push(Delivery {
                event,
                name: name.to_owned(),
                merchant,
                subject: about,
                happened_at: instant(at_us),
                copy: copy > 0,
                attempts: Vec::new(),
                fate,
            });
            if lost {
                break;
            }
            let (name, subject) = (name.to_owned(), subject.clone());
            let notice = Notice { event, name, merchant, at_us, subject, attempts: 0, first_us: None, row };
            queue.push(due_us, notice);
        }
        drop(queue);
        self.outbox.bell.notify_one();
    }

    /// Takes back what was to be told of a dispute after `at_us`: it ended otherwise.
    pub(crate) fn withdraw(&self, subject: Uuid, at_us: i64) {
        let mut queue = lock(&self.outbox.queue);
        let gone: Vec<_> = queue
            .waiting
            .iter()
            .filter(|(_, notice)| {
                notice.at_us > at_us && matches!(&notice.subject, Subject::Told(told) if told.subject == subject)
            })
            .map(|(place, notice)| (*place, notice.row))
            .collect();
        for (place, row) in gone {
            queue.waiting.remove(&place);
            if let Some(row) = queue.log.get_mut(row) {
                row.fate = Fate::Dropped;
            }
        }
    }

    /// Whether the seed lets the next event pass this one; asked once, before its first attempt.
    pub(crate) fn is_reordered(&self, notice: &Notice) -> bool {
        let rate = lock(&self.outbox.options).reorder;
        let dice = Dice::of(self.options.seed, notice.merchant, &format!("webhook {}", notice.event));
        rate > 0.0 && notice.attempts == 0 && share(dice.value(REORDER, 0)) < rate
    }

    /// The key that signs now.
    pub(crate) fn signing_key(&self) -> Result<SigningKey, String> {
        let generation = lock(&self.outbox.keys).generation;
        self.key_of(generation)
    }

    fn key_of(&self, generation: u32) -> Result<SigningKey, String> {
        let given = usize::try_from(generation).ok().and_then(|n| lock(&self.outbox.keys).given.get(n).cloned());
        given.map_or_else(|| SigningKey::made(self.options.seed, generation), Ok)
    }

    /// The public halves of the key that signs now and of the one after the next rotation.
    pub(crate) fn public_keys(&self) -> Result<[String; 2], String> {
        let generation = lock(&self.outbox.keys).generation;
        Ok([self.key_of(generation)?.public_pem, self.key_of(generation + 1)?.public_pem])
    }

    /// Signs with the next key from now on.
    pub(crate) fn rotate_key(&self) {
        lock(&self.outbox.keys).generation += 1;
        let owner = self.merchants.first().copied().unwrap_or_default();
        drop(self.note(owner, self.options.clock.now_us(), &Deed::Rotated));
    }
}

/// When a held event goes out although nothing passed it.
pub(crate) const fn held_until(now: i64) -> i64 {
    now.saturating_add(HELD_US)
}

const LOSS: u64 = 0x10;
const DELAY: u64 = 0x11;
const DUPLICATE: u64 = 0x12;
const REORDER: u64 = 0x13;

/// The events of a state, in the spelling that the switches ask for.
fn payment_events(payment: &Payment, status: Status, switches: &Switches) -> &'static [&'static str] {
    match status {
        Status::Authorized => &["PAYMENT_AUTHORIZED"],
        Status::Accepted => &["PAYMENT_ACCEPTED"],
        Status::Completed => match switches.succeeded_event {
            SucceededEvent::Succeeded => &["PAYMENT_SUCCEEDED"],
            SucceededEvent::Misspelt => &["PAYMENT_SUCCEDED"],
            SucceededEvent::Both => &["PAYMENT_SUCCEDED", "PAYMENT_SUCCEEDED"],
        },
        Status::Failed => {
            let refunded = payment.is_bank_payment() && payment.facts.allocations.len() > 1;
            match switches.rollback_event {
                RollbackEvent::Refunded if refunded => &["PAYMENT_FAILED", "PAYMENT_REFUNDED"],
                RollbackEvent::Failed | RollbackEvent::Refunded => &["PAYMENT_FAILED"],
            }
        }
        Status::Cancelled => match switches.cancelled_event {
            CancelledEvent::Cancelled => &["PAYMENT_CANCELLED"],
            CancelledEvent::Canceled => &["PAYMENT_CANCELED"],
            CancelledEvent::Both => &["PAYMENT_CANCELED", "PAYMENT_CANCELLED"],
        },
        Status::Initiated
        | Status::Pending
        | Status::Processing
        | Status::RolledBack
        | Status::PendingForCustomerCreation
        | Status::PendingForPaymentMethodCreation
        | Status::ProcessingDedupCheck
        | Status::AuthRequired
        | Status::ConfirmationInitialized
        | Status::CaptureInitialized
        | Status::CancelInitialized
        | Status::CancelFailed => &[],
    }
}
