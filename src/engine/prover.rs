//! The proof of completeness, made once a day beside the loops. Reads only.

use std::sync::Arc;
use std::time::Duration;

use chrono::{Days, TimeDelta};
use tokio_util::sync::CancellationToken;

use domain::firing::Span;

use super::dispatcher::seconds;
use super::intake::float;
use super::prove::prove;
use crate::ports::{Clock, Store, StoreError};

/// How many days back a daily proof looks: a month of any length and a few days of grace.
const DAYS_BACK: Days = Days::new(35);
/// How often the proof is made.
const PROVE_EVERY: Duration = Duration::from_secs(86_400);
/// How long after its start a process makes its first: one that begins has other work.
const FIRST_AFTER: Duration = Duration::from_secs(600);
/// How long a cycle may take to be recorded before it counts as missing.
const GRACE: TimeDelta = TimeDelta::minutes(60);
/// A proof that could not be made is tried again after this time.
const PROVE_AGAIN: Duration = Duration::from_secs(900);
/// Culprits that are told to the log by name; further ones are counted.
const NAMED_MAX: u64 = 20;

/// Proves the last days once a day until it is stopped: culprits into the log, their count into the metric that alerts stand on.
pub async fn prove_daily(store: Arc<dyn Store>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut wait = FIRST_AFTER;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(wait) => {}
        }
        wait = match prove_lately(&*store).await {
            Ok(()) => PROVE_EVERY,
            Err(error) => {
                tracing::warn!(event = "proof_failed", error = %error, "the proof of completeness could not be made");
                PROVE_AGAIN
            }
        };
    }
}

async fn prove_lately(store: &dyn Store) -> Result<(), StoreError> {
    let now = store.now().await?;
    let today = now.date_naive();
    let from = today.checked_sub_days(DAYS_BACK).unwrap_or(today);
    let until = today.checked_add_days(Days::new(2)).unwrap_or(today);
    let span = Span { from, until, now, grace: GRACE };
    let mut found = 0_u64;
    let proof = prove::<StoreError>(store, span, |culprit| {
        found = found.saturating_add(1);
        if found <= NAMED_MAX {
            let charge = culprit.charge.map(|id| id.to_string()).unwrap_or_default();
            tracing::error!(
                event = "proof_broken",
                subscription_id = culprit.subscription,
                cycle = culprit.cycle.map(u64::from),
                charge_id = charge,
                reason = culprit.reason,
                detail = culprit.note,
                "a row breaks the proof of completeness"
            );
        }
        Ok(())
    })
    .await?;
    let broken = proof.values().filter(|sums| !sums.holds()).count();
    metrics::gauge!("autopay_completeness_culprits").set(float(found));
    if found == 0 && broken == 0 {
        metrics::gauge!("autopay_completeness_last_success_timestamp_seconds").set(seconds(now));
        tracing::info!(event = "proof_holds", since = %from, "nothing is missing, and nothing is there twice");
    } else {
        tracing::error!(event = "proof_does_not_hold", found, since = %from, "autopay schedule prove names every culprit");
    }
    Ok(())
}
