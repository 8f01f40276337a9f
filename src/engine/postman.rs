//! The postman: takes events from the outbox to the merchant's own systems, and tries again along a ladder.
//!
//! It takes no input. Each endpoint has a round of its own, so that a dead receiver keeps nothing from another one, and nothing at all
//! from a charge: what it does not take waits in the outbox. A delivery that is not settled, because the process died, is made
//! again with the same id when its lease has run out: receivers hear twice rather than never.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::ports::outbox::{Answer, Courier, Delivery, Outbox, Outcome, Taken};
use crate::ports::{Claimed, Clock, Store, StoreError};

/// Deliveries claimed and settled at once: most of what is in memory for an endpoint.
const BATCH: u32 = 32;
/// Deliveries to one endpoint at the same time.
const AT_ONCE: usize = 8;
/// How long a batch is ours: each delivery of it may run into its time limit.
const LEASE: TimeDelta = TimeDelta::seconds(90);
/// When a delivery that failed is tried again, in seconds after each try: over three days in all, as Standard Webhooks suggests.
const LADDER: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Longest time for which a receiver that names one is left alone: the ladder's own longest step.
const LONGEST_ASKED: TimeDelta = TimeDelta::days(1);
/// How often the backlog of an endpoint is counted: for a gauge, not for any decision.
const COUNTED_EVERY: TimeDelta = TimeDelta::seconds(15);
/// How long a receiver that took nothing of a whole batch is left alone.
const SILENCE_PAUSE: Duration = Duration::from_secs(30);
/// How long deliveries that were made are remembered.
const REMEMBERED: TimeDelta = TimeDelta::days(90);
/// Of these, how many are forgotten at once.
const FORGET: u32 = 1_000;

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Round {
    /// Taken by the receiver.
    pub delivered: u64,
    /// Not taken; tried again later.
    pub failed: u64,
    /// Not taken, and given up.
    pub given_up: u64,
    /// The receiver wants nothing any more.
    pub gone: bool,
    /// The receiver took nothing of a whole batch: the rest waits.
    pub silent: bool,
}

/// What the postman works with.
pub struct PostmanParts {
    /// The outbox.
    pub outbox: Arc<dyn Outbox>,
    /// For its time, by which deliveries are due.
    pub store: Arc<dyn Store>,
    /// Who carries.
    pub courier: Arc<dyn Courier>,
    /// For waiting.
    pub clock: Arc<dyn Clock>,
    /// To whom, by name.
    pub endpoints: Vec<String>,
    /// How long a round sleeps when nothing is due.
    pub heartbeat: Duration,
}

/// The postman: one per process.
pub struct Postman {
    parts: PostmanParts,
    counted_at: Mutex<BTreeMap<String, DateTime<Utc>>>,
}

impl std::fmt::Debug for Postman {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postman").field("endpoints", &self.parts.endpoints).finish_non_exhaustive()
    }
}

impl Postman {
    /// A postman over these parts.
    #[must_use]
    pub fn new(parts: PostmanParts) -> Self {
        Self { parts, counted_at: Mutex::default() }
    }

    /// Until `stop`: a round for each endpoint, whenever something is due for it. Trouble never ends it.
    pub async fn serve(&self, stop: CancellationToken) {
        let rounds = self.parts.endpoints.iter().map(|endpoint| self.rounds(endpoint, &stop));
        join_all(rounds).await;
    }

    async fn rounds(&self, endpoint: &str, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.round(endpoint, stop).await {
                Ok(round) if round.silent => SILENCE_PAUSE,
                Ok(_) => self.parts.heartbeat,
                Err(error) => {
                    tracing::error!(event = "postman_failed", endpoint, error = %error, "events wait in the outbox");
                    self.parts.heartbeat
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.parts.clock.sleep(wait) => {}
            }
        }
    }

    /// Everything that is due for an endpoint now, in batches.
    ///
    /// # Errors
    /// [`StoreError`]; what was claimed is delivered again when its lease has run out.
    pub async fn round(&self, endpoint: &str, stop: &CancellationToken) -> Result<Round, StoreError> {
        let PostmanParts { outbox, store, .. } = &self.parts;
        let mut round = Round::default();
        while !stop.is_cancelled() && !round.silent && !round.gone {
            let now = store.now().await?;
            let lease = now.checked_add_signed(LEASE).unwrap_or(now);
            let claimed = outbox.claim_deliveries(endpoint, now, lease, BATCH).await?;
            if claimed.is_empty() {
                break;
            }
            let ahead = now.signed_duration_since(self.parts.clock.now());
            let carried: Vec<_> = futures_util::stream::iter(claimed)
                .map(|delivery| self.carry(endpoint, delivery, ahead, stop))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            let at = store.now().await?;
            outbox.settle_deliveries(endpoint, &carried, at).await?;
            count(&mut round, endpoint, &carried);
        }
        let now = store.now().await?;
        let before = now.checked_sub_signed(REMEMBERED).unwrap_or(now);
        outbox.forget_delivered(before, FORGET).await?;
        if self.is_time_to_count(endpoint, now) {
            metrics::gauge!("autopay_event_backlog", "endpoint" => endpoint.to_owned())
                .set(float(outbox.standing(endpoint).await?.waiting));
        }
        Ok(round)
    }

    /// Was the backlog of an endpoint counted long ago, or never? Then it is counted now.
    fn is_time_to_count(&self, endpoint: &str, now: DateTime<Utc>) -> bool {
        let mut counted = self.counted_at.lock().unwrap_or_else(PoisonError::into_inner);
        let due = counted.get(endpoint).is_none_or(|at| now.signed_duration_since(*at).abs() >= COUNTED_EVERY);
        if due {
            counted.insert(endpoint.to_owned(), now);
        }
        due
    }

    async fn carry(
        &self,
        endpoint: &str,
        delivery: Claimed<Delivery>,
        ahead: TimeDelta,
        stop: &CancellationToken,
    ) -> (Claimed<Taken>, Outcome) {
        let Claimed { value: delivery, fence } = delivery;
        let claim = Claimed { value: Taken::from(&delivery), fence };
        if stop.is_cancelled() {
            return (claim, Outcome::Untried);
        }
        // Signed and counted by the database's time of its own turn, not by that of the claim.
        let now = || self.parts.clock.now().checked_add_signed(ahead).unwrap_or_else(|| self.parts.clock.now());
        let answer = self.parts.courier.deliver(endpoint, delivery.id, &delivery.body(), now()).await;
        let outcome = match answer {
            Answer::Accepted(status) => Outcome::Delivered { status },
            Answer::Gone => Outcome::Gone,
            Answer::Refused { status, why, retry_after } => {
                Outcome::Failed { status, why, next_at: next_try(&delivery, retry_after, now()) }
            }
        };
        if let Outcome::Failed { why, next_at: None, .. } = &outcome {
            let event_id = delivery.id.to_string();
            tracing::error!(
                event = "event_given_up",
                endpoint,
                event_id,
                kind = delivery.kind,
                why,
                "an event was not delivered; `autopay events resend` tries again"
            );
        }
        (claim, outcome)
    }
}

/// When a delivery that was tried once more in vain is tried again; `None` at the end of the ladder. A receiver may ask for a later
/// moment, not for an earlier one, and not for one out of reach.
fn next_try(delivery: &Delivery, retry_after: Option<Duration>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let wait = TimeDelta::seconds(*LADDER.get(usize::try_from(delivery.tries).ok()?)?);
    let asked = retry_after.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or_default();
    now.checked_add_signed(wait.max(asked.min(LONGEST_ASKED)))
}

fn count(round: &mut Round, endpoint: &str, carried: &[(Claimed<Taken>, Outcome)]) {
    let mut taken = 0_u64;
    for (_, outcome) in carried {
        let word = match outcome {
            Outcome::Delivered { .. } => {
                taken += 1;
                "delivered"
            }
            Outcome::Failed { next_at: Some(_), .. } => {
                round.failed += 1;
                "failed"
            }
            Outcome::Failed { next_at: None, .. } => {
                round.given_up += 1;
                "given_up"
            }
            Outcome::Gone => {
                round.gone = true;
                "gone"
            }
            Outcome::Untried => continue,
        };
        metrics::counter!("autopay_event_deliveries_total", "endpoint" => endpoint.to_owned(), "outcome" => word)
            .increment(1);
    }
    round.delivered += taken;
    // Who answers is not silent: that one event is refused says nothing of the next.
    let unheard = |outcome: &Outcome| match outcome {
        Outcome::Failed { status, .. } => status.is_none_or(|status| !(400..500).contains(&status) || status == 429),
        Outcome::Gone => true,
        Outcome::Delivered { .. } | Outcome::Untried => false,
    };
    round.silent = !carried.is_empty() && carried.iter().all(|(_, outcome)| unheard(outcome));
    if round.gone {
        tracing::error!(
            event = "endpoint_gone",
            endpoint,
            "the endpoint answered 410 and is told nothing more; `autopay events enable` ends that"
        );
    } else if round.silent {
        tracing::warn!(
            event = "receiver_silent",
            endpoint,
            failed = round.failed,
            "the endpoint takes no events; they wait"
        );
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a gauge is a float; counts stay far below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_ten_times_over_more_than_three_days() {
        let mut now = DateTime::<Utc>::UNIX_EPOCH;
        let mut delivery = Delivery {
            sequence: 1,
            id: crate::ports::outbox::EventId(uuid::Uuid::nil()),
            kind: "charge.paid".to_owned(),
            object: "ch_1".to_owned(),
            data: "{}".to_owned(),
            at: now,
            tries: 0,
        };
        while let Some(next) = next_try(&delivery, None, now) {
            (now, delivery.tries) = (next, delivery.tries + 1);
        }
        assert_eq!(delivery.tries + 1, 10);
        assert_eq!(now - DateTime::<Utc>::UNIX_EPOCH, TimeDelta::seconds(272_105));
    }

    #[test]
    fn a_receiver_may_ask_for_a_later_moment_within_a_day() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let delivery = |tries| Delivery {
            sequence: 1,
            id: crate::ports::outbox::EventId(uuid::Uuid::nil()),
            kind: "charge.paid".to_owned(),
            object: "ch_1".to_owned(),
            data: "{}".to_owned(),
            at: now,
            tries,
        };
        let wait = |tries, asked| {
            let next = next_try(&delivery(tries), Some(Duration::from_secs(asked)), now);
            next.map(|next| (next - now).num_seconds())
        };
        assert_eq!(wait(0, 0), Some(5));
        assert_eq!(wait(0, 120), Some(120));
        assert_eq!(wait(1, 120), Some(300), "never earlier than the ladder");
        assert_eq!(wait(0, u64::MAX), Some(5), "what is no time is no wish");
        assert_eq!(wait(0, 10_000_000), Some(86_400));
        assert_eq!(wait(9, 120), None, "it asks for no further try");
    }
}
