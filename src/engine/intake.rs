//! The intake: drains the webhook inbox. What it finds there leads to questions, to the dispute ledger and to those who listen
//! for news, and to nothing else: no event is believed about money.
//!
//! It is woken when a delivery is kept, and looks by itself with the heartbeat, so that a lost ring costs a second. A delivery
//! whose handling failed half way is handled again: every step of it may be repeated.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use domain::charge::Limits;
use domain::id::MerchantId;

use crate::ports::dispute::Disputes;
use crate::ports::instrument::{InstrumentEar, InstrumentNews};
use crate::ports::webhooks::{
    About, Decision, Doorman, Inbox, InboxId, InboxItem, InboxState, IntakeBatch, IntakeDone, NewsKind, RefundEar,
};
use crate::ports::{Claimed, Clock, Store, StoreError};

/// Deliveries looked at in one transaction.
const BATCH: u32 = 200;
/// How long a batch is left to whoever took it.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// How long bodies are kept, in days. They name people, and are needed only until an event was handled and, should a person
/// ask what the gateway said, for one billing month after it.
pub const BODY_DAYS: i64 = 30;
/// Bodies emptied at once.
const EMPTIED_AT_ONCE: u32 = 500;
/// How often old bodies are looked for.
const EMPTY_EVERY: TimeDelta = TimeDelta::minutes(10);
/// Unknown names of events that are told; whoever sends more names than these is not the gateway.
const NAMES_TOLD: usize = 64;

/// Who listens for news. What nobody listens for waits in the inbox.
#[derive(Clone, Default)]
pub struct Ears {
    /// For payment methods and disputes about payments made with them.
    pub instruments: Option<Arc<dyn InstrumentEar>>,
    /// For refunds.
    pub refunds: Option<Arc<dyn RefundEar>>,
}

impl std::fmt::Debug for Ears {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ears")
            .field("instruments", &self.instruments.is_some())
            .field("refunds", &self.refunds.is_some())
            .finish()
    }
}

/// What the intake works with.
#[derive(Clone)]
pub struct IntakeParts {
    /// The inbox.
    pub inbox: Arc<dyn Inbox>,
    /// The dispute ledger.
    pub disputes: Arc<dyn Disputes>,
    /// For its time, by which charges are due.
    pub store: Arc<dyn Store>,
    /// Reads bodies.
    pub doorman: Arc<dyn Doorman>,
    /// For waiting.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub ears: Ears,
    /// Whose deliveries.
    pub merchant: MerchantId,
    /// The ladder that charges are asked by.
    pub limits: Limits,
    /// Rung when a delivery was kept.
    pub bell: Arc<Notify>,
    /// How long it sleeps when nobody rings.
    pub heartbeat: Duration,
}

/// The intake: one per process.
pub struct Intake {
    parts: IntakeParts,
    told: std::sync::Mutex<BTreeSet<String>>,
    emptied_at: std::sync::Mutex<Option<DateTime<Utc>>>,
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("merchant", &self.parts.merchant).finish_non_exhaustive()
    }
}

impl Intake {
    /// An intake over these parts.
    #[must_use]
    pub fn new(parts: IntakeParts) -> Self {
        Self { parts, told: std::sync::Mutex::default(), emptied_at: std::sync::Mutex::default() }
    }

    /// Until `stop`: drains the inbox whenever something is in it. Store trouble is told and waited out.
    pub async fn serve(&self, stop: CancellationToken) {
        let mut woken = false;
        while !stop.is_cancelled() {
            let looked = async {
                if !woken {
                    self.wake_waiting().await?;
                }
                self.drain().await
            };
            match looked.await {
                Ok(_) => woken = true,
                Err(error) => {
                    tracing::error!(event = "intake_failed", error = %error, "deliveries wait in the inbox");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.parts.bell.notified() => {}
                () = self.parts.clock.sleep(self.parts.heartbeat) => {}
            }
        }
    }

    /// What waited for an ear that is there now is new again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn wake_waiting(&self) -> Result<(), StoreError> {
        let Ears { instruments, refunds } = &self.parts.ears;
        let now = self.parts.store.now().await?;
        let mut kinds = Vec::new();
        if instruments.is_some() {
            kinds.extend([NewsKind::PaymentMethod, NewsKind::Dispute]);
        }
        kinds.extend(refunds.as_ref().map(|_| NewsKind::Refund));
        for kind in kinds {
            self.parts.inbox.wake_waiting(self.parts.merchant, kind, now).await?;
        }
        Ok(())
    }

    /// Looks at everything that is to be looked at now, batch by batch, and empties bodies that are old.
    ///
    /// # Errors
    /// [`StoreError`]; what was taken is looked at again when its lease has run out.
    pub async fn drain(&self) -> Result<IntakeDone, StoreError> {
        let IntakeParts { inbox, store, merchant, limits, .. } = &self.parts;
        let now = store.now().await?;
        let lease_until = now.checked_add_signed(LEASE).unwrap_or(now);
        let mut total = IntakeDone::default();
        loop {
            let claimed = inbox.claim_inbox(*merchant, now, lease_until, BATCH).await?;
            if claimed.is_empty() {
                break;
            }
            let mut decided = Vec::with_capacity(claimed.len());
            for item in &claimed {
                let decision = self.decide(item, now).await?;
                decided.push((Claimed { value: item.value.id, fence: item.fence }, decision));
            }
            let batch = IntakeBatch { merchant: *merchant, at: now, limits: limits.clone(), decided };
            let done = inbox.settle_inbox(&batch).await?;
            total.asked += done.asked;
            total.ended += done.ended;
            total.foreign += done.foreign;
            total.later += done.later;
        }
        self.empty_old(now).await?;
        metrics::gauge!("autopay_webhook_backlog").set(float(inbox.inbox_backlog(*merchant).await?));
        Ok(total)
    }

    async fn decide(&self, item: &Claimed<InboxItem>, at: DateTime<Utc>) -> Result<Decision, StoreError> {
        let Some(body) = item.value.body.as_deref() else {
            return Ok(Decision::End(InboxState::Done, "its body was emptied"));
        };
        let news = self.parts.doorman.read(body);
        metrics::counter!("autopay_webhook_events_total", "kind" => news.kind.as_str()).increment(1);
        match news.about {
            About::Payment { subject, unpaid } => Ok(Decision::Ask { subject, unpaid }),
            About::Instrument(told) => self.tell(&told, at).await,
            About::Refund(told) => match &self.parts.ears.refunds {
                None => Ok(Decision::End(InboxState::Waiting, "nobody listens for refunds yet")),
                Some(ear) => match ear.hear(&told, at).await {
                    Ok(true) => Ok(Decision::End(InboxState::Done, "the refund is asked about")),
                    Ok(false) => Ok(Decision::End(InboxState::Foreign, "names no refund of ours")),
                    Err(error) => failed(error),
                },
            },
            About::Dispute(event) => {
                let (disputes, merchant) = (&self.parts.disputes, self.parts.merchant);
                let Some(contested) = disputes.record_dispute(merchant, &event, item.value.id, at).await? else {
                    return Ok(Decision::End(InboxState::Foreign, "names no charge of ours"));
                };
                let (method, dispute) = (contested.method, contested.id.to_string());
                // A disputed payment is not refunded (contract §5), and one whose dispute was not won has gone back already.
                let withdrawn = contested.standing.withdraws();
                self.parts.store.dispute(contested.charge, &dispute, withdrawn, at).await?;
                let told = if contested.standing.has_ended() {
                    InstrumentNews::DisputeEnded { method, dispute }
                } else {
                    tracing::warn!(event = "charge_disputed", charge_id = %contested.charge, "a cardholder contests a payment");
                    InstrumentNews::Disputed { method, dispute }
                };
                self.tell(&told, at).await
            }
            About::Unknown => {
                self.tell_unknown(item.value.id, &news.name);
                Ok(Decision::End(InboxState::Unknown, "an event of a name that this version does not know"))
            }
            About::Unreadable(why) => Ok(Decision::End(InboxState::Unreadable, why)),
        }
    }

    async fn tell(&self, told: &InstrumentNews, at: DateTime<Utc>) -> Result<Decision, StoreError> {
        let Some(ear) = &self.parts.ears.instruments else {
            return Ok(Decision::End(InboxState::Waiting, "nobody listens for payment methods yet"));
        };
        match ear.hear(told, at).await {
            Ok(()) => Ok(Decision::End(InboxState::Done, "told to whom it concerns")),
            Err(error) => failed(error),
        }
    }

    /// Says once of each unknown name that it came: a person may want a newer version.
    fn tell_unknown(&self, id: InboxId, name: &str) {
        let mut told = self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.len() < NAMES_TOLD && told.insert(name.to_owned()) {
            let found = id.to_string();
            tracing::warn!(
                event = "unknown_event",
                kind = name,
                found,
                "kept, and not understood; `webhooks list` shows it"
            );
        }
    }

    /// Empties old bodies, now and then and never many at once.
    async fn empty_old(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let due = {
            let mut last = self.emptied_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let due = last.is_none_or(|last| now.signed_duration_since(last) >= EMPTY_EVERY);
            if due {
                *last = Some(now);
            }
            due
        };
        if due {
            let before = now.checked_sub_signed(TimeDelta::days(BODY_DAYS)).unwrap_or(now);
            let mut left = true;
            // A month's backlog ends here; the bound keeps a clock that jumped from holding up what is new.
            for _ in 0..100 {
                if !left {
                    break;
                }
                let emptied = self.parts.inbox.empty_bodies(before, now, EMPTIED_AT_ONCE).await?;
                left = emptied >= u64::from(EMPTIED_AT_ONCE);
            }
        }
        Ok(())
    }
}

/// What a listener could not keep is told again; a store that is away ends the batch instead, and its lease brings it back.
fn failed(error: StoreError) -> Result<Decision, StoreError> {
    match error {
        StoreError::Unavailable(_)
        | StoreError::Misconfigured(_)
        | StoreError::Absent(_)
        | StoreError::Schema { .. } => Err(error),
        StoreError::Inconsistent { .. } | StoreError::Refused(_) | StoreError::Taken(_) => {
            tracing::error!(event = "news_refused", error = %error, "told again a little later");
            Ok(Decision::Later("whoever listens could not keep it"))
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a gauge is a float; counts stay far below 2^53"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
