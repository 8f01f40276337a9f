//! Spends a merchant's rate: slices come from the shared row, governor spaces the requests within a slice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, Quota as Spacing, RateLimiter};
use tokio::sync::Mutex;

use domain::id::MerchantId;
use domain::verdict::{NotExecuted, Seen};

use crate::ports::{Clock, Pressure, Quota, Slice, Store, StoreError};

/// Store failures in a row before a sender gives up on a permit.
const FAILURES_MAX: u32 = 5;
/// How often a store failure or health report is repeated at most.
const REPORT_EVERY: Duration = Duration::from_secs(1);

struct Local {
    spacing: DefaultDirectRateLimiter,
    left: u32,
    starts_at: Instant,
    valid_until: Instant,
}

/// The permits of one process for one merchant.
pub(super) struct Throttle {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    merchant: MerchantId,
    quota: Option<Quota>,
    waiting: AtomicU32,
    local: Mutex<Option<Local>>,
    reported: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        merchant: MerchantId,
        quota: Option<Quota>,
    ) -> Self {
        Self {
            store,
            clock,
            merchant,
            quota,
            waiting: AtomicU32::new(0),
            local: Mutex::new(None),
            reported: Mutex::new(None),
        }
    }

    /// The most charges worth claiming at once: about a second's worth, so that no intent waits long for its permit.
    pub(super) fn worth_claiming(&self, batch: u32) -> u32 {
        self.quota.map_or(batch, |quota| batch.min(quota.per_second.max(1)))
    }

    /// Is there a rate to keep?
    pub(super) const fn is_limited(&self) -> bool {
        self.quota.is_some()
    }

    /// Waits for the right to make one request.
    pub(super) async fn permit(&self) -> Result<(), StoreError> {
        let Some(quota) = self.quota else { return Ok(()) };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let got = self.take(quota).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        got
    }

    async fn take(&self, quota: Quota) -> Result<(), StoreError> {
        let mut failures = 0;
        // One at a time, in the order of asking.
        let mut local = self.local.lock().await;
        loop {
            if let Some(slice) = local.as_mut().filter(|slice| slice.left > 0 && Instant::now() <= slice.valid_until) {
                let early = slice.starts_at.saturating_duration_since(Instant::now());
                if !early.is_zero() {
                    self.clock.sleep(early).await;
                }
                slice.spacing.until_ready().await;
                if Instant::now() <= slice.valid_until {
                    slice.left -= 1;
                    return Ok(());
                }
            }
            *local = None;
            let want = self.waiting.load(Ordering::Relaxed).max(1);
            match self.store.take_rate(self.merchant, quota, want).await {
                Ok(Slice::Wait(time)) => self.clock.sleep(time).await,
                Ok(Slice::Granted { permits, starts_in, spread_over, valid_for }) => {
                    let now = Instant::now();
                    let period =
                        spread_over.checked_div(permits.max(1)).unwrap_or(spread_over).max(Duration::from_nanos(1));
                    let Some(spacing) = Spacing::with_period(period) else { continue };
                    *local = Some(Local {
                        spacing: RateLimiter::direct(spacing),
                        left: permits,
                        starts_at: now + starts_in,
                        valid_until: now + valid_for,
                    });
                }
                Err(error) => {
                    failures += 1;
                    if failures >= FAILURES_MAX {
                        return Err(error);
                    }
                    self.clock.sleep(REPORT_EVERY).await;
                }
            }
        }
    }

    /// 429: everyone stops, here and in every replica.
    pub(super) async fn blocked(&self, time: Duration) {
        if self.quota.is_none() {
            return;
        }
        *self.local.lock().await = None;
        self.report(Pressure::Blocked(time)).await;
    }

    /// Trouble or health, at most once a second.
    pub(super) async fn felt(&self, failing: bool) {
        if self.quota.is_none() {
            return;
        }
        {
            let mut reported = self.reported.lock().await;
            if reported.is_some_and(|at| at.elapsed() < REPORT_EVERY) {
                return;
            }
            *reported = Some(Instant::now());
        }
        self.report(if failing { Pressure::Failing } else { Pressure::Healthy }).await;
    }

    /// What an answer says about the rate.
    pub(super) async fn heard(&self, seen: &Seen) {
        match seen {
            Seen::NotExecuted { why: NotExecuted::RateLimited, retry_after } => {
                self.blocked(retry_after.unwrap_or(Duration::from_secs(1))).await;
            }
            Seen::Silent | Seen::NotExecuted { why: NotExecuted::NothingSent, .. } => self.felt(true).await,
            Seen::Succeeded { .. } | Seen::Declined(_) | Seen::Accepted { .. } | Seen::Authorized { .. } => {
                self.felt(false).await;
            }
            Seen::NotExecuted { why: NotExecuted::Unauthorized, .. }
            | Seen::Rejected
            | Seen::Absent
            | Seen::Mismatch => {}
        }
    }

    async fn report(&self, pressure: Pressure) {
        if let Err(error) = self.store.report_pressure(self.merchant, pressure).await {
            tracing::warn!(event = "rate_report_failed", error = %error, "the shared rate could not be updated");
        }
    }
}
