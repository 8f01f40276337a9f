//! The only file of this crate that reads the machine's clock or waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

/// The sandbox's time: the machine's, or one that is turned by hand.
///
/// Settlement and every time in the ledger follow this clock. Clones share one time, so a test can keep one and give
/// the other to the sandbox. Delays that faults cause, and the lifetime of tokens, are always real.
#[derive(Clone, Debug)]
pub struct SandboxClock(Arc<Face>);

#[derive(Debug)]
struct Face {
    turned: bool,
    /// Microseconds since 1970: the time itself when turned, what is added to the machine's time when real.
    micros: AtomicI64,
    /// Wakes whoever waits for a time that a turn may have brought.
    turned_now: Notify,
}

impl SandboxClock {
    /// The machine's time.
    #[must_use]
    pub fn real() -> Self {
        Self(Arc::new(Face { turned: false, micros: AtomicI64::new(0), turned_now: Notify::new() }))
    }

    /// A clock that stands at `start` until it is turned.
    #[must_use]
    pub fn turned(start: DateTime<Utc>) -> Self {
        let micros = AtomicI64::new(start.timestamp_micros());
        Self(Arc::new(Face { turned: true, micros, turned_now: Notify::new() }))
    }

    /// Whether this clock moves by hand only.
    #[must_use]
    pub fn is_turned(&self) -> bool {
        self.0.turned
    }

    /// What the clock shows.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        instant(self.now_us())
    }

    /// Turns the clock forward. A real clock keeps running, this much ahead.
    pub fn advance(&self, by: Duration) {
        self.0.micros.fetch_add(micros(by), Ordering::SeqCst);
        self.0.turned_now.notify_waiters();
    }

    /// Sets the clock, forwards or backwards. A real clock keeps running from there.
    pub fn set(&self, to: DateTime<Utc>) {
        let base = if self.0.turned { 0 } else { real_us() };
        self.0.micros.store(to.timestamp_micros().saturating_sub(base), Ordering::SeqCst);
        self.0.turned_now.notify_waiters();
    }

    /// Rings at every turn.
    pub(crate) fn turns(&self) -> &Notify {
        &self.0.turned_now
    }

    pub(crate) fn now_us(&self) -> i64 {
        let micros = self.0.micros.load(Ordering::SeqCst);
        if self.0.turned { micros } else { real_us().saturating_add(micros) }
    }
}

impl Default for SandboxClock {
    fn default() -> Self {
        Self::real()
    }
}

/// The machine's time in microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one wall-clock read of this crate")]
pub(crate) fn real_us() -> i64 {
    Utc::now().timestamp_micros()
}

/// Waits in real time: what a fault's delay means.
#[expect(clippy::disallowed_methods, reason = "the one wait of this crate: a fault's delay is felt by a real client")]
pub(crate) async fn pause(by: Duration) {
    tokio::time::sleep(by).await;
}

pub(crate) fn instant(us: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(us).unwrap_or_default()
}

pub(crate) fn micros(by: Duration) -> i64 {
    i64::try_from(by.as_micros()).unwrap_or(i64::MAX)
}
