//! The scheduler's reconciliation: yesterday, once a day, by whichever process comes first.

use std::time::Duration;

use chrono::{Days, TimeDelta};
use tokio_util::sync::CancellationToken;

use super::{ReconError, Reconciler, Wanted};
use crate::ports::recon::{BegunRun, Span};

/// The hour of UTC from which on yesterday is compared: by then the gateway has finished what it took before midnight.
const FROM_HOUR: i64 = 3;
/// Days that were missed and are made up for, after an outage.
const DAYS_BACK: u64 = 7;
/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_mins(10);

impl Reconciler {
    /// Until `stop`: compares each day once it is over. Trouble is told and waited out.
    pub async fn serve(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.make_up(&stop).await {
                Ok(()) | Err(ReconError::Stopped | ReconError::Busy(_)) => {}
                Err(error) => {
                    tracing::error!(event = "recon_failed", error = %error, "the reconciliation goes on where it was");
                }
            }
            self.count_open().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.engine().inner.clock.sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Compares each of the last days that was not compared yet, the oldest first.
    ///
    /// # Errors
    /// [`ReconError`]; the run that failed goes on at the next call.
    pub async fn make_up(&self, stop: &CancellationToken) -> Result<(), ReconError> {
        let now = self.engine().compare_clocks().await?;
        let past = now.checked_sub_signed(TimeDelta::hours(FROM_HOUR)).unwrap_or(now);
        let today = past.date_naive();
        for back in (1..=DAYS_BACK).rev() {
            let Some(day) = today.checked_sub_days(Days::new(back)) else { continue };
            let span = Span { from: day, until: day };
            let wanted = Wanted { span, finals: true, by: super::ACTOR.to_owned(), daily: true };
            match self.begin(&wanted).await? {
                BegunRun::New(run) | BegunRun::GoesOn(run) => {
                    self.carry_on(run.id, stop).await?;
                }
                BegunRun::Before(_) => {}
            }
        }
        Ok(())
    }

    async fn count_open(&self) {
        let merchant = self.engine().inner.settings.merchant;
        if let Ok(open) = self.store().exceptions_open(merchant).await {
            metrics::gauge!("autopay_reconciliation_unmatched").set(float(open));
        }
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
