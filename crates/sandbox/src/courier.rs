//! The courier: takes events to the receiver, one after the other, and tries again as contract §8.1 says.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::error::Elapsed;

use crate::books::App;
use crate::clock::{instant, micros, pause, real_us};
use crate::deeds::Deed;
use crate::lock;
use crate::outbox::{Notice, Subject, held_until};
use crate::payment::{Payment, Status};
use crate::refund::{flat as flat_refund, shown as shown_refund};
use crate::resource::{Place, flat, full};
use crate::switches::{WebhookShape, WebhookSignature};
use crate::webhooks::{DeliveryAttempt, Fate};

/// How many times a delivery is tried.
const ATTEMPTS_MAX: u32 = 5;
/// The first wait; each is twice the one before, so that the fifth attempt comes at the end of fifty minutes.
const FIRST_WAIT: Duration = Duration::from_secs(200);
/// How long a courier of a real clock sleeps at most, in case the clock was set.
const NAP: Duration = Duration::from_secs(1);

/// What is posted (contract §8.2).
#[derive(Serialize)]
struct Envelope<'a> {
    name: &'a str,
    source: Option<&'a str>,
    payload: Value,
}

/// What an answer means (contract §8.1). Which codes are success is not written; 2xx is our reading.
const fn fate_of(answered: Option<u16>, attempts: u32) -> Fate {
    match answered {
        Some(200..=299) => Fate::Delivered,
        Some(400 | 401 | 403 | 404 | 413) => Fate::Refused,
        _ if attempts >= ATTEMPTS_MAX => Fate::GivenUp,
        _ => Fate::Waiting,
    }
}

impl App {
    /// Starts the courier; it ends with the sandbox, or when nobody listens any more.
    pub(crate) fn start_courier(self: &Arc<Self>) {
        // A process needs one provider of cryptography; whoever came first has installed the same one.
        let _lost_race = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "the sandbox is the gateway: this client calls the merchant")]
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "webhooks cannot be sent");
                return;
            }
        };
        let app = Arc::clone(self);
        tokio::spawn(async move {
            let stop = app.stop.clone();
            tokio::select! {
                () = app.carry(&client) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    async fn carry(&self, client: &reqwest::Client) {
        while self.outbox.is_on() {
            let turned = self.options.clock.turns().notified();
            tokio::pin!(turned);
            turned.as_mut().enable();
            self.catch_up();
            match self.next_notice() {
                Some(notice) => {
                    self.deliver(client, notice).await;
                    lock(&self.outbox.queue).in_flight -= 1;
                }
                None => {
                    let nap = self.nap();
                    tokio::select! {
                        () = self.outbox.bell.notified() => {}
                        () = &mut turned => {}
                        () = pause(nap) => {}
                    }
                }
            }
        }
    }

    /// How long nothing is due. A turned clock rings, a real one has to be waited for.
    fn nap(&self) -> Duration {
        if self.options.clock.is_turned() {
            return NAP;
        }
        let now = self.options.clock.now_us();
        let first = lock(&self.outbox.queue).waiting.keys().next().map_or(i64::MAX, |(due, _)| *due);
        let due = first.min(self.changes.next_us());
        Duration::from_micros(u64::try_from(due.saturating_sub(now)).unwrap_or(0)).min(NAP)
    }

    /// The next event that is due, counted as in flight.
    fn next_notice(&self) -> Option<Notice> {
        let now = self.options.clock.now_us();
        loop {
            let mut queue = lock(&self.outbox.queue);
            let due = queue.held.iter().position(|(until, _)| *until <= now);
            if let Some(due) = due {
                let (_, notice) = queue.held.remove(due);
                queue.in_flight += 1;
                return Some(notice);
            }
            let first = queue.waiting.first_entry().filter(|first| first.key().0 <= now)?;
            let notice = first.remove();
            drop(queue);
            let queue_again = |held: bool| {
                let mut queue = lock(&self.outbox.queue);
                if held {
                    queue.held.push((held_until(now), notice.clone()));
                } else {
                    // Whoever waited for an event to pass goes next.
                    for (until, _) in &mut queue.held {
                        *until = i64::MIN;
                    }
                    queue.in_flight += 1;
                }
            };
            if self.is_reordered(&notice) {
                queue_again(true);
                continue;
            }
            queue_again(false);
            return Some(notice);
        }
    }

    async fn deliver(&self, client: &reqwest::Client, mut notice: Notice) {
        let Some((source, payload)) = self.payload(&notice) else {
            // What was to be told did not happen: a hold was captured before it ran out, say.
            self.finish(&notice, Fate::Dropped);
            return;
        };
        let envelope = Envelope { name: &notice.name, source: source.as_deref(), payload };
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        let answered = self.post(client, &notice, body).await;
        let now = self.options.clock.now_us();
        notice.attempts += 1;
        notice.first_us.get_or_insert(now);
        let fate = fate_of(answered, notice.attempts);
        {
            let mut queue = lock(&self.outbox.queue);
            if let Some(row) = queue.log.get_mut(notice.row) {
                row.attempts.push(DeliveryAttempt { at: instant(now), real_at: instant(real_us()), answered });
            }
            if fate == Fate::Waiting {
                let wait = FIRST_WAIT * 2_u32.pow(notice.attempts - 1);
                queue.push(now.saturating_add(micros(wait)), notice);
                return;
            }
        }
        self.finish(&notice, fate);
    }

    fn finish(&self, notice: &Notice, fate: Fate) {
        let mut queue = lock(&self.outbox.queue);
        if let Some(row) = queue.log.get_mut(notice.row) {
            row.fate = fate;
        }
        drop(queue);
        if fate != Fate::Dropped {
            drop(self.note(notice.merchant, notice.at_us, &Deed::Settled { event: notice.event }));
        }
    }

    /// Posts one event and gives the status of the answer.
    async fn post(&self, client: &reqwest::Client, notice: &Notice, body: Vec<u8>) -> Option<u16> {
        let options = lock(&self.outbox.options).clone();
        let (url, now) = (options.url?, self.options.clock.now_us());
        let key = self.signing_key().ok()?;
        let life = i64::from(options.token_life_s);
        let mut request = client.post(url).header("content-type", "application/json").bearer_auth(key.token(
            notice.merchant,
            now,
            life,
        )?);
        if self.switches().webhook_signature == WebhookSignature::Payload {
            request = request.header("x-payload-signature", key.seal(notice.merchant, now, life, &body)?);
        }
        let answer: Result<Result<reqwest::Response, _>, Elapsed> =
            tokio::time::timeout(Duration::from_millis(options.timeout_ms), request.body(body).send()).await;
        answer.ok()?.ok().map(|answer| answer.status().as_u16())
    }

    /// The payload of an event and the source that its resource came from; `None` when it did not come to pass.
    fn payload(&self, notice: &Notice) -> Option<(Option<Box<str>>, Value)> {
        let switches = self.switches();
        let v1 = switches.webhook_shape == WebhookShape::V1;
        match &notice.subject {
            Subject::Payment(payment, status) => {
                if !came_to_pass(payment, *status, notice.at_us) {
                    return None;
                }
                let view = payment.view(notice.at_us, Some(*status));
                let payload = if v1 {
                    serde_json::to_value(flat(payment, &view, None, Place::Webhook, &switches))
                } else {
                    serde_json::to_value(full(payment, &view, None, Place::Webhook, &switches))
                };
                Some((payment.facts.source.clone(), payload.ok()?))
            }
            Subject::Refund(refund, status) => {
                let merchant = self.index_of(refund.merchant)?;
                let payment = refund.facts.payment.and_then(|id| self.by_id(merchant, id));
                let payload = if v1 {
                    serde_json::to_value(flat_refund(refund, *status, &switches))
                } else {
                    serde_json::to_value(shown_refund(refund, payment.as_deref(), *status, Place::Webhook, &switches))
                };
                Some((refund.facts.source.clone(), payload.ok()?))
            }
            Subject::Told(told) => Some((told.source.clone(), told.payload.clone())),
        }
    }

    /// Waits until nothing is due and nothing is in flight.
    pub(crate) async fn webhooks_settled(&self) {
        while self.outbox.is_on() {
            let now = self.options.clock.now_us();
            self.catch_up();
            {
                let queue = lock(&self.outbox.queue);
                let due = queue.waiting.keys().next().is_some_and(|(due, _)| *due <= now)
                    || queue.held.iter().any(|(until, _)| *until <= now);
                if !due && queue.in_flight == 0 {
                    return;
                }
            }
            pause(Duration::from_millis(1)).await;
        }
    }
}

fn came_to_pass(payment: &Payment, status: Status, at_us: i64) -> bool {
    payment.history(at_us).contains(&(status, at_us))
}
