//! The wallet's keeper: asks the gateway about the methods our subscriptions use, and keeps what it says.
//!
//! It takes no input. Customers whose wallet is due are claimed, asked about a few at a time under the merchant's shared
//! rate, and what came back is committed for all of them at once. A search that fails changes nothing. News, imports and
//! people only make a customer due; so the keeper's one path serves the schedule, a hint and recovery alike.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use domain::wallet::{Search, ask_again, ask_next, settle};

use super::{Engine, EngineError};
use crate::ports::wallet::{CustomerWallet, WalletAnswer, WalletGateway, WalletOutcome, WalletVerdict, Whose};
use crate::ports::{Claimed, StoreError};

/// Customers claimed and committed at once: what one transaction holds, and most of what is in memory.
const BATCH: u32 = 100;
/// Searches at once. Charges share the rate and must not queue behind a book that is asked about for the first time.
const AT_ONCE: usize = 4;
/// How long a batch is ours: every search of it may run into its time limit.
const LEASE: TimeDelta = TimeDelta::minutes(15);
/// Methods taken in at once from subscriptions that are older than the wallet.
const ADOPT: u32 = 1_000;
/// How often `serve` looks whether a wallet is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the keeper leaves a gateway alone that answers no search at all: doubled up to the longest.
const SILENCE_PAUSE: Duration = Duration::from_secs(60);
/// The longest such pause.
const SILENCE_PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// What a synchronisation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SyncReport {
    /// Customers whose wallet was searched and answered.
    pub searched: u64,
    /// Customers whose search failed; nothing changed for them.
    pub failed: u64,
    /// Customers about whom there was news meanwhile; they are asked about again.
    pub lost: u64,
    /// Subscriptions that use another method from now on.
    pub repointed: u64,
    /// Charges that had waited for a method and are due now.
    pub released: u64,
    /// The gateway answered no search of a whole batch: the rest waits.
    pub silent: bool,
}

/// Keeps the wallet true.
#[derive(Clone)]
pub struct WalletKeeper {
    engine: Engine,
    gateway: Arc<dyn WalletGateway>,
}

impl std::fmt::Debug for WalletKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WalletKeeper").finish_non_exhaustive()
    }
}

impl WalletKeeper {
    /// A keeper over an engine's store, clock and rate.
    #[must_use]
    pub fn new(engine: Engine, gateway: Arc<dyn WalletGateway>) -> Self {
        Self { engine, gateway }
    }

    /// Takes in methods that no import has marked: those of a book that is older than the wallet.
    ///
    /// # Errors
    /// [`EngineError`] when the store failed.
    pub async fn adopt(&self) -> Result<u64, EngineError> {
        let (store, merchant) = (&self.engine.inner.store, self.engine.inner.settings.merchant);
        let mut adopted = 0;
        loop {
            let now = store.now().await?;
            let some = store.adopt_methods(merchant, now, ADOPT).await?;
            adopted += some;
            if some == 0 {
                return Ok(adopted);
            }
        }
    }

    /// Asks about somebody's wallet now, whenever it was asked about last; `None` when nobody is known who is meant.
    ///
    /// # Errors
    /// [`EngineError`] when the store failed; what was searched until then is kept.
    pub async fn sync(&self, whose: &Whose, stop: &CancellationToken) -> Result<Option<SyncReport>, EngineError> {
        self.adopt().await?;
        let (store, merchant) = (&self.engine.inner.store, self.engine.inner.settings.merchant);
        let now = store.now().await?;
        let only = store.ask_wallets(merchant, whose, now).await?;
        if only.is_empty() && *whose != Whose::All {
            return Ok(None);
        }
        self.pass(&only, stop).await.map(Some)
    }

    /// Everything that is due now, or those of it that `only` names, in batches.
    ///
    /// # Errors
    /// [`EngineError`] when the store failed; what was searched until then is kept.
    pub async fn pass(&self, only: &[Uuid], stop: &CancellationToken) -> Result<SyncReport, EngineError> {
        let as_of = self.engine.compare_clocks().await?;
        let store = &self.engine.inner.store;
        let merchant = self.engine.inner.settings.merchant;
        let mut report = SyncReport::default();
        while !stop.is_cancelled() && !report.silent {
            let lease = self.engine.now().checked_add_signed(LEASE).unwrap_or(as_of);
            let claims = store.claim_wallets(merchant, only, as_of, lease, BATCH).await?;
            if claims.is_empty() {
                break;
            }
            let asked = self.ask(claims, stop).await?;
            report.silent = !asked.is_empty() && asked.iter().all(|(_, silent)| *silent);
            let verdicts: Vec<WalletVerdict> = asked.into_iter().map(|(verdict, _)| verdict).collect();
            let failed = |verdict: &&WalletVerdict| matches!(verdict.outcome, WalletOutcome::Failed { .. });
            let failed = u64::try_from(verdicts.iter().filter(failed).count()).unwrap_or(u64::MAX);
            let done = store.commit_wallets(&verdicts).await?;
            report.failed += failed;
            report.searched += done.applied.saturating_sub(failed);
            report.lost += done.lost;
            report.repointed += done.repointed;
            report.released += done.released;
        }
        count(&report);
        Ok(report)
    }

    /// Keeps the wallet true until `stop`. Trouble never ends it.
    pub async fn keep(&self, stop: CancellationToken) {
        let clock = self.engine.inner.clock.clone();
        let mut pause = SILENCE_PAUSE;
        let mut adopted = false;
        while !stop.is_cancelled() {
            let passed = async {
                if !adopted {
                    self.adopt().await?;
                    adopted = true;
                }
                self.pass(&[], &stop).await
            };
            let wait = match passed.await {
                Ok(report) if report.silent => {
                    let wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(
                        event = "wallet_silent",
                        failed = report.failed,
                        wait_ms,
                        "the gateway answers no wallet search; what was known still counts"
                    );
                    let now = pause;
                    pause = pause.saturating_mul(2).min(SILENCE_PAUSE_MAX);
                    now
                }
                Ok(report) => {
                    pause = SILENCE_PAUSE;
                    if report != SyncReport::default() {
                        tracing::info!(
                            event = "wallet_pass",
                            count = report.searched,
                            failed = report.failed,
                            lost = report.lost,
                            found = report.released,
                            "wallets were asked about"
                        );
                    }
                    LOOK_EVERY
                }
                Err(error) => {
                    tracing::error!(event = "wallet_failed", error = %error, "wallets are not asked about until the next look succeeds");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = clock.sleep(wait) => {}
            }
        }
    }

    /// One search for each claim, a few at a time. After a stop the rest is left to whoever claims it after the lease.
    async fn ask(
        &self,
        claims: Vec<Claimed<CustomerWallet>>,
        stop: &CancellationToken,
    ) -> Result<Vec<(WalletVerdict, bool)>, StoreError> {
        let searches = claims.into_iter().map(|claim| self.ask_one(claim, stop));
        let done: Vec<_> = futures_util::stream::iter(searches).buffered(AT_ONCE).collect().await;
        done.into_iter().filter_map(Result::transpose).collect()
    }

    async fn ask_one(
        &self,
        claim: Claimed<CustomerWallet>,
        stop: &CancellationToken,
    ) -> Result<Option<(WalletVerdict, bool)>, StoreError> {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let throttle = &self.engine.inner.throttle;
        throttle.permit().await?;
        let wallet = claim.value;
        // The wallet as it was at the latest when it was asked for.
        let at = self.engine.now();
        let answer = self.gateway.search(&wallet.customer).await;
        let failed = |why: &str| {
            let ask_at = ask_again(wallet.failures.saturating_add(1), at);
            (WalletOutcome::Failed { why: why.to_owned() }, ask_at)
        };
        let mut no_answer = false;
        let (outcome, ask_at) = match answer {
            WalletAnswer::Listed(listed) => {
                let before = wallet.before.as_ref();
                let search = Search { known: &wallet.known, beyond: &wallet.beyond, before, listed: &listed, at };
                let settled = settle(&search);
                let ask_at = ask_next(wallet.id, &settled.known, at);
                let listed = listed.iter().map(|one| one.id).collect();
                (WalletOutcome::Healthy { settled, listed }, ask_at)
            }
            WalletAnswer::RateLimited(wait) => {
                throttle.blocked(wait).await;
                failed("429: too many calls")
            }
            // A wallet that does not answer says nothing about payments: the shared rate stays as it is.
            WalletAnswer::Failed { why, silent } => {
                no_answer = silent;
                failed(why)
            }
        };
        Ok(Some((WalletVerdict { customer: wallet.id, fence: claim.fence, at, ask_at, outcome }, no_answer)))
    }
}

fn count(report: &SyncReport) {
    let searches = |outcome: &'static str| metrics::counter!("autopay_wallet_searches_total", "outcome" => outcome);
    searches("listed").increment(report.searched);
    searches("failed").increment(report.failed);
    searches("overtaken").increment(report.lost);
    metrics::counter!("autopay_wallet_repointed_total").increment(report.repointed);
}
