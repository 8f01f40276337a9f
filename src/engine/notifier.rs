//! The notifier: finds cycles whose payers are to be told, and has them told. It sends nothing itself.
//!
//! It takes no input. It goes through what falls due within the longest window of any rule, a page at a time, and commits what is
//! wanted with the event that asks for it. Whatever was asked for already is not asked for again; a changed amount or day is.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::Days;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use domain::id::SubscriptionId;
use domain::notice::{self, Wanted, may_be_owed};
use domain::subscription::{Subscription, SubscriptionStatus};

use super::{Engine, EngineError};
use crate::ports::StoreError;

/// Rows looked at, and notices asked for, at once.
const PAGE: u32 = 500;
/// How often `serve` looks. A window is days long.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// How long trouble of the store is waited out.
const PAUSE: Duration = Duration::from_secs(30);

/// What a look found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// Subscriptions whose plan or method may owe notices.
    pub looked_at: u64,
    /// Notices that were asked for.
    pub asked: u64,
    /// Subscriptions whose calendar has no answer.
    pub unanswered: u64,
}

/// Has payers told.
#[derive(Debug, Clone)]
pub struct Notifier {
    engine: Engine,
}

impl Notifier {
    /// A notifier over an engine's store and clock.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Until `stop`: looks now and then. Trouble never ends it.
    pub async fn serve(&self, stop: CancellationToken) {
        let clock = self.engine.inner.clock.clone();
        while !stop.is_cancelled() {
            let wait = match self.pass(&stop).await {
                Ok(asked) => {
                    if asked.asked > 0 {
                        tracing::info!(
                            event = "notices_asked",
                            count = asked.asked,
                            "payers are to be told of charges"
                        );
                    }
                    LOOK_EVERY
                }
                Err(error) => {
                    tracing::error!(event = "notifier_failed", error = %error, "no notices are asked for until the next look");
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = clock.sleep(wait) => {}
            }
        }
    }

    /// Looks through everything that comes due soon enough to be told of now.
    ///
    /// # Errors
    /// [`EngineError`]; what was asked for until then stays.
    pub async fn pass(&self, stop: &CancellationToken) -> Result<Asked, EngineError> {
        let (store, settings) = (&self.engine.inner.store, &self.engine.inner.settings);
        let mut done = Asked::default();
        if settings.assume_notices {
            return Ok(done);
        }
        let now = self.engine.compare_clocks().await?;
        let catalog = store.catalog().await?;
        let days = catalog.plans.values().map(notice::horizon).max().unwrap_or(0);
        let until = now.checked_add_days(Days::new(days)).unwrap_or(now);
        let mut after = None;
        while !stop.is_cancelled() {
            let (page, cursor) = store.peek_due(settings.merchant, until, &after, PAGE).await?;
            let Some(cursor) = cursor else { break };
            after = Some(cursor);
            let owes = |row: &Subscription| {
                row.status == SubscriptionStatus::Active
                    && catalog.plans.get(&row.plan).is_some_and(|plan| may_be_owed(plan, row))
            };
            let due: Vec<Subscription> =
                page.due.into_iter().map(|claimed| claimed.value).filter(|row| owes(row)).collect();
            done.looked_at += u64::try_from(due.len()).unwrap_or(u64::MAX);
            let wanted = self.wanted(&catalog, &due, now, &mut done).await?;
            done.asked += store.ask_notices(settings.merchant, &wanted, now).await?;
        }
        metrics::counter!("autopay_notices_asked_total").increment(done.asked);
        Ok(done)
    }

    async fn wanted(
        &self,
        catalog: &domain::plan::Catalog,
        due: &[Subscription],
        now: chrono::DateTime<chrono::Utc>,
        done: &mut Asked,
    ) -> Result<Vec<Wanted>, StoreError> {
        let ids: Vec<SubscriptionId> = due.iter().map(|row| row.id.clone()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let facts = self.engine.inner.store.notice_facts(&ids).await?;
        let mut all = Vec::new();
        let mut known = BTreeSet::new();
        for row in due {
            let Some(plan) = catalog.plans.get(&row.plan) else { continue };
            match notice::wanted(plan, row, facts.get(&row.id), now) {
                Ok(wanted) => {
                    all.extend(wanted.into_iter().filter(|one| known.insert((one.subscription.clone(), one.cycle))));
                }
                // The draw sets it aside, and says why.
                Err(_) => done.unanswered += 1,
            }
        }
        Ok(all)
    }
}
