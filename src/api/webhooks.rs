//! `POST /webhooks/ccg`: verify, keep, answer 202. What a delivery means is the intake's business.
//!
//! Codes that end a delivery for good (400, 401, 403, 404, 413: contract §8.1) are answered only to what is certainly not the
//! gateway's. Our own trouble is 503, so that the gateway comes again: no database, a key we do not know, a clock that is
//! wrong, an inbox that is full. The body is kept on a task of its own, which a sender that hangs up does not end.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, Semaphore};

use domain::id::MerchantId;

use super::problem;
use crate::ports::Clock;
use crate::ports::webhooks::{Arrived, Doorman, Inbox, Kept, TurnedAway};

/// Where deliveries are taken.
pub const PATH: &str = "/webhooks/ccg";
/// Largest body, in bytes: a payment with two allocations and all its metadata has fewer than 20,000.
pub const LARGEST_BODY: usize = 256 * 1024;
/// Deliveries kept at the same time; further ones are asked to come again.
const AT_ONCE: usize = 64;
/// How long the sender waits for the commit. It gives us 30 s (contract §8.1).
const KEEP_PATIENCE: Duration = Duration::from_secs(5);
/// What we ask the sender to wait, in seconds.
const RETRY_AFTER: &str = "30";
/// Deliveries that cannot be told from forgeries are told of at most this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The door for deliveries. It answers 503 until the database was reached.
#[derive(Debug, Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    doorman: RwLock<Arc<dyn Doorman>>,
    merchant: MerchantId,
    clock: Arc<dyn Clock>,
    inbox: OnceLock<Arc<dyn Inbox>>,
    bell: Arc<Notify>,
    places: Arc<Semaphore>,
    told: std::sync::Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("merchant", &self.merchant)
            .field("doorman", &self.doorman())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn doorman(&self) -> Arc<dyn Doorman> {
        Arc::clone(&self.doorman.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Door {
    /// A door for a merchant's deliveries.
    #[must_use]
    pub fn new(doorman: Arc<dyn Doorman>, merchant: MerchantId, clock: Arc<dyn Clock>) -> Self {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (inbox, bell, told) = (OnceLock::new(), Arc::new(Notify::new()), std::sync::Mutex::default());
        let doorman = RwLock::new(doorman);
        Self { inner: Arc::new(Inner { doorman, merchant, clock, inbox, bell, places, told }) }
    }

    /// From now on deliveries are kept here.
    pub fn opened(&self, inbox: Arc<dyn Inbox>) {
        // Only the first opening counts; there is no second.
        self.inner.inbox.get_or_init(|| inbox);
    }

    /// Rung whenever a delivery was kept.
    #[must_use]
    pub fn bell(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.bell)
    }

    /// Who reads what was kept.
    #[must_use]
    pub fn doorman(&self) -> Arc<dyn Doorman> {
        self.inner.doorman()
    }

    /// From now on this one stands here: the gateway's keys were rotated.
    pub fn relieve(&self, doorman: Arc<dyn Doorman>) {
        *self.inner.doorman.write().unwrap_or_else(PoisonError::into_inner) = doorman;
    }
}

/// The route alone; its limits are its own.
pub(super) fn routes(door: Door) -> Router {
    Router::new().route(PATH, post(deliver).fallback(problem::only_post)).with_state(door)
}

async fn deliver(State(door): State<Door>, request: Request) -> Response {
    let (outcome, mut answer) = door.take(request).await;
    metrics::counter!("autopay_webhook_deliveries_total", "outcome" => outcome).increment(1);
    // The body may be left unread: unless the sender is told to close, its next delivery on this connection is lost.
    if answer.status() != StatusCode::ACCEPTED {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

impl Door {
    /// What became of a delivery, for the counter, and the answer.
    async fn take(&self, request: Request) -> (&'static str, Response) {
        let (parts, body) = request.into_parts();
        if let Err(turned) = self.verified(&parts.headers) {
            return self.turn_away(turned);
        }
        let too_large = || ("too_large", problem::too_large(LARGEST_BODY));
        let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if announced.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > LARGEST_BODY) {
            return too_large();
        }
        let body = match whole_body(body).await {
            Ok(body) => body,
            Err(Unread::TooLarge) => return too_large(),
            Err(Unread::Cut) => return ("cut", unavailable("the delivery broke off")),
        };
        let Some(inbox) = self.inner.inbox.get().cloned() else {
            return ("starting", unavailable("autopay is starting"));
        };
        let Ok(place) = Arc::clone(&self.inner.places).try_acquire_owned() else {
            return ("busy", unavailable("too many deliveries at once"));
        };
        let (inner, at) = (Arc::clone(&self.inner), self.inner.clock.now());
        // On a task of its own: neither a sender that hangs up nor our impatience interrupts the commit.
        let keeping = tokio::spawn(async move {
            let news = inner.doorman().read(&body);
            let kept = inbox.keep(&Arrived { merchant: inner.merchant, news, body, at }).await;
            if matches!(kept, Ok(Kept::New)) {
                inner.bell.notify_one();
            }
            drop(place);
            kept
        });
        match tokio::time::timeout(KEEP_PATIENCE, keeping).await {
            Ok(Ok(Ok(Kept::New))) => ("kept", StatusCode::ACCEPTED.into_response()),
            Ok(Ok(Ok(Kept::Again(_)))) => ("repeated", StatusCode::ACCEPTED.into_response()),
            Ok(Ok(Ok(Kept::Full))) => ("full", unavailable("the inbox is full")),
            Ok(Ok(Err(error))) => {
                tracing::error!(event = "delivery_not_kept", error = %error, "the gateway is asked to come again");
                ("not_kept", unavailable("the database is not available"))
            }
            Ok(Err(_)) => ("not_kept", unavailable("the delivery could not be kept")),
            Err(_) => ("late", unavailable("the database did not answer in time")),
        }
    }

    /// Exactly one `Authorization`, and the gateway's.
    fn verified(&self, headers: &HeaderMap) -> Result<(), TurnedAway> {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let (one, more) = (all.next(), all.next());
        if more.is_some() {
            return Err(TurnedAway::NotTheirs("several", "carries several tokens"));
        }
        let text = match one.map(|value| value.to_str()) {
            None => None,
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => return Err(TurnedAway::NotTheirs("malformed", "carries a token that is malformed")),
        };
        self.inner.doorman().verify(text, self.inner.clock.now())
    }

    fn turn_away(&self, turned: TurnedAway) -> (&'static str, Response) {
        match turned {
            TurnedAway::NotTheirs(kind, why) => (kind, problem::unauthorized(why)),
            TurnedAway::Foreign => ("subject", problem::forbidden()),
            TurnedAway::CannotTell(kind, why) => {
                let mut told = self.inner.told.lock().unwrap_or_else(PoisonError::into_inner);
                if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
                    *told = Some(Instant::now());
                    tracing::error!(
                        event = "delivery_unverified",
                        kind,
                        why,
                        "compare webhooks.public_key_files and the clock with the gateway's"
                    );
                }
                (kind, unavailable(why))
            }
        }
    }
}

fn unavailable(why: &str) -> Response {
    let mut answer = problem::unavailable(why);
    answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER));
    answer
}

/// Why a body could not be had.
enum Unread {
    TooLarge,
    Cut,
}

/// The body up to the limit; nothing beyond it is held in memory.
async fn whole_body(body: Body) -> Result<Vec<u8>, Unread> {
    let mut chunks = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Unread::Cut)?;
        if whole.len().saturating_add(chunk.len()) > LARGEST_BODY {
            return Err(Unread::TooLarge);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}
