//! The loops, named by trade: heartbeat, dispatcher, reconciler's questions, pipeline, throttle.
//!
//! This room names the ports and the domain, never an adapter. Nothing here decides what is due or what an answer means: the
//! domain does. Tasks take no input; they find their work in the store, on a signal or by the clock, so the happy path and
//! recovery after a crash are one path.

mod audit;
mod brakes;
mod captures;
mod cases;
pub mod changes;
pub mod compare;
mod decide;
mod dispatcher;
mod figures;
pub mod fired;
pub mod forecaster;
mod heartbeat;
pub mod intake;
mod listening;
mod notifier;
mod people;
mod pipeline;
mod postman;
mod prove;
mod prover;
pub mod recon;
mod refunds;
pub mod replay;
mod rests;
mod throttle;
mod together;
mod wallet;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use thiserror::Error;

use domain::charge::Limits;
use domain::id::{Environment, MerchantId};

use crate::ports::{Clock, Gateway, Quota, Store, StoreError};

pub use audit::{hang_out as hang_out_audit, verify as verify_audit};
pub use brakes::BrakeLimits;
pub use captures::{CaptureRefused, Capturing};
pub use cases::RulingRefused;
pub use figures::cases as dunning_cases;
pub use prove::{Culprit, Proof, prove};
pub use prover::prove_daily;

pub use listening::RefundListener;
pub use notifier::{Asked, Notifier};
pub use people::{Answered, PersonRefused};
pub use postman::{Postman, PostmanParts, Round};
pub use refunds::{Finding, FindingRefused, Proposal, RefundRefused, RefundReport, Refunds};
pub use rests::{NotTold, ToGive};
pub use wallet::{SyncReport, WalletKeeper};

/// Local and database clock further apart than this: nothing is sent until somebody looked (reliability.md F1).
const SKEW_MAX: TimeDelta = TimeDelta::minutes(5);

/// How the engine runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The deployment's name, part of every gateway key.
    pub environment: Environment,
    /// Whose charges this process dispatches.
    pub merchant: MerchantId,
    /// Leases, ladders, quiesce time.
    pub limits: Limits,
    /// Most rows of one claim, intent or verdict statement.
    pub batch: u32,
    /// Most requests at the gateway at once.
    pub in_flight: usize,
    /// The merchant's shared rate; `None` for no limit, and on a turned clock none is kept.
    pub quota: Option<Quota>,
    /// After an accepted create, how long until the result is asked for, before anything slower takes over.
    pub settle_wait: Duration,
    /// How often the bell rings.
    pub heartbeat: Duration,
    /// What stops a run; `None` for nothing.
    pub brakes: Option<BrakeLimits>,
    /// Payers are taken to be told of everything in time: for rehearsals, in which nobody is told anything.
    pub assume_notices: bool,
}

/// Why a run could not go on.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Clocks disagree.
    #[error(
        "this machine's clock and the database's differ by {0} s, more than {limit} s: nothing is sent until they agree",
        limit = SKEW_MAX.num_seconds()
    )]
    ClockSkew(i64),
    /// The bell could not be hung.
    #[error("the heartbeat could not be started: {0}")]
    Heartbeat(String),
}

/// What a run did. Counts are charges, except `items`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The moment that decided what was due, UTC.
    pub as_of: DateTime<Utc>,
    /// Content hash of everything on the agenda.
    pub agenda_hash: String,
    /// Items on the agenda.
    pub items: u64,
    /// Requests recorded and handed to the gateway.
    pub sent: u64,
    /// Became paid.
    pub paid: u64,
    /// Accepted by the gateway, or being captured or given back: not finished.
    pub settling: u64,
    /// Set aside, to be captured.
    pub authorized: u64,
    /// Declined, with a further try planned.
    pub failing: u64,
    /// Declined for good.
    pub failed: u64,
    /// Were paid, and taken back by the bank.
    pub returned: u64,
    /// Sent, outcome not known.
    pub unknown: u64,
    /// Provably not executed; due again.
    pub not_executed: u64,
    /// Waiting for a person.
    pub parked: u64,
    /// Nothing to pay, or cancelled.
    pub skipped: u64,
    /// Held, paused or retired.
    pub waiting: u64,
    /// Subscriptions set aside because their row cannot be charged safely.
    pub quarantined: u64,
    /// Decisions dropped because someone else was faster.
    pub lost: u64,
    /// Why a brake stopped the run, as a sentence part; what was left waits.
    pub braked: Option<String>,
}

struct Inner {
    store: Arc<dyn Store>,
    gateway: Arc<dyn Gateway>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    throttle: throttle::Throttle,
    watch: std::sync::Mutex<brakes::Watch>,
    /// Store time minus local time, microseconds.
    offset_us: AtomicI64,
}

/// The engine: one per process, cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine over these adapters.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, gateway: Arc<dyn Gateway>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        let quota = settings.quota.filter(|_| !clock.is_turned());
        let throttle = throttle::Throttle::new(store.clone(), clock.clone(), settings.merchant, quota);
        let watch = std::sync::Mutex::default();
        Self {
            inner: Arc::new(Inner { store, gateway, clock, settings, throttle, watch, offset_us: AtomicI64::new(0) }),
        }
    }

    /// How it runs.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The store's time, estimated from the local clock and the last comparison of the two.
    fn now(&self) -> DateTime<Utc> {
        let offset = TimeDelta::microseconds(self.inner.offset_us.load(Ordering::Relaxed));
        self.inner.clock.now().checked_add_signed(offset).unwrap_or_else(|| self.inner.clock.now())
    }

    /// Reads the store's time and keeps its distance to the local clock.
    async fn compare_clocks(&self) -> Result<DateTime<Utc>, EngineError> {
        let now = self.inner.store.now().await?;
        let offset = now.signed_duration_since(self.inner.clock.now());
        if offset.abs() > SKEW_MAX {
            return Err(EngineError::ClockSkew(offset.num_seconds()));
        }
        self.inner.offset_us.store(offset.num_microseconds().unwrap_or(0), Ordering::Relaxed);
        Ok(now)
    }
}
