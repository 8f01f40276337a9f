//! Claim, draw, commit, send: the main job. A pass finds everything due by one moment and leaves nothing of it unclaimed.
//!
//! The reconciler's questions are part of the same pass: a charge whose outcome is not known is simply a charge whose next
//! step is to ask. Restart does nothing special.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use domain::agenda::{Action, Agenda, Book, Digest, Hold, Item, Open, draw};
use domain::charge::SkipWhy;
use domain::id::{ChargeId, PaymentMethodId, SubscriptionId};
use domain::notice::{Facts, Notices, may_be_owed};
use domain::plan::Catalog;
use domain::subscription::Subscription;
use domain::wallet::Wallet;

use super::brakes::{self, Weighed};
use super::decide::{Desk, Drafted, Opened, Quiet};
use super::heartbeat::Heartbeat;
use super::pipeline::{Job, Pipeline, Shared};
use super::{Engine, EngineError, RunReport};
use crate::ports::brakes::Loads;
use crate::ports::{Claimed, Committed, Cursor, IntentBatch, OpenCharge, Recorded, Store, StoreError};

/// In `serve` a pass ends after this time, so that a long backlog does not freeze the moment by which everything is judged.
const PASS_TIME: Duration = Duration::from_secs(5);
/// Claims remembered for an early release; beyond it rows wait until their lease ends.
const WAITING_MAX: usize = 10_000;

/// What is known of notices, by subscription.
type Told = BTreeMap<SubscriptionId, Facts>;

/// What a pass covers.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    as_of: DateTime<Utc>,
    time: Option<Duration>,
}

/// Claims on rows that have to wait. They keep their leases, so that a held book is looked at once a lease and not once a
/// second, until the holds change.
#[derive(Debug, Default)]
struct Waiting {
    holds: Vec<i64>,
    due: Vec<(SubscriptionId, i64)>,
    open: Vec<(ChargeId, i64)>,
}

/// Holds may change while an agenda is drawn; after this many redraws the rows wait for the next pass.
const REDRAWS_MAX: u32 = 5;

impl Engine {
    /// What would be done as of a moment (the store's now by default): the same draw as a real run, printed and not carried
    /// out. Writes nothing, sends nothing, takes nothing.
    ///
    /// # Errors
    /// [`EngineError`] when the store cannot be read.
    pub async fn dry_run(
        &self,
        as_of: Option<DateTime<Utc>>,
        on_items: &mut (dyn FnMut(&[Item]) + Send),
    ) -> Result<RunReport, EngineError> {
        let as_of = match as_of {
            Some(as_of) => as_of,
            None => self.compare_clocks().await?,
        };
        let store = &self.inner.store;
        let settings = &self.inner.settings;
        let (catalog, holds) = (store.catalog().await?, store.holds().await?);
        let (mut due_digest, mut open_digest) = (Digest::default(), Digest::default());
        let mut report = RunReport { as_of, ..RunReport::default() };
        let mut loads = Loads::new();
        let mut take = |agenda: &Agenda, digest: &mut Digest| {
            digest.add(&agenda.items);
            count(&agenda.items, &mut report);
            on_items(&agenda.items);
        };
        let mut after: Cursor = None;
        let mut drawn = BTreeSet::new();
        loop {
            let (page, cursor) = store.peek_due(settings.merchant, as_of, &after, settings.batch).await?;
            if cursor.is_none() {
                break;
            }
            let due = self.beside_kin(&catalog, page.due, as_of, &mut drawn).await?;
            let due: Vec<Subscription> = due.into_iter().map(|claimed| claimed.value).collect();
            let wallet = self.wallet(&due, &[]).await?;
            let notices = self.notices(&catalog, &due).await?;
            let agenda = self.draw((&catalog, &notices), &holds, &wallet, &due, &[], as_of);
            brakes::add(&agenda, &mut loads);
            take(&agenda, &mut due_digest);
            after = cursor;
        }
        let mut after: Cursor = None;
        // What is recorded was told of before it was.
        let told = Told::new();
        loop {
            let (page, cursor) = store.peek_open(settings.merchant, as_of, &after, settings.batch).await?;
            if cursor.is_none() {
                break;
            }
            let open: Vec<Open> = page.into_iter().map(|open| open.open).collect();
            let wallet = self.wallet(&[], &open).await?;
            take(&self.draw((&catalog, &told), &holds, &wallet, &[], &open, as_of), &mut open_digest);
            after = cursor;
        }
        let digest = Digest::joined(&due_digest, &open_digest);
        report.agenda_hash = digest.finish();
        report.items = digest.items();
        report.braked = self.would_brake(&loads, as_of).await?;
        Ok(report)
    }

    /// One pass over everything due now, to its end.
    ///
    /// # Errors
    /// [`EngineError`] when the store failed; what was sent until then is finished and recorded first.
    pub async fn run_once(&self) -> Result<RunReport, EngineError> {
        self.run_once_until(CancellationToken::new()).await
    }

    /// As [`Engine::run_once`], but a stop ends it early: nothing more is claimed, what is queued is recorded as not
    /// executed, what is under way is finished.
    ///
    /// # Errors
    /// As [`Engine::run_once`].
    pub async fn run_once_until(&self, stop: CancellationToken) -> Result<RunReport, EngineError> {
        let as_of = self.compare_clocks().await?;
        let pipeline = Pipeline::start(self, stop.clone());
        let mut report = RunReport { as_of, ..RunReport::default() };
        let mut waiting = Waiting::default();
        self.rested(true);
        let bounds = Bounds { as_of, time: None };
        let passed = self.pass(&pipeline, bounds, &stop, &mut waiting, &mut report).await;
        pipeline.finish().await.fill(&mut report);
        passed?;
        // Whoever looks next finds what waits here still due, as this run did.
        self.inner.store.release(&waiting.due, &waiting.open).await?;
        let at = self.now();
        self.inner.store.record_run("once", as_of, at, &report.agenda_hash, report.items).await?;
        tracing::info!(
            event = "run_finished",
            agenda_hash = report.agenda_hash,
            items = report.items,
            paid = report.paid,
            "run finished"
        );
        Ok(report)
    }

    /// The long-running process: passes at every ring of the bell until `stop`, then finishes what is under way.
    ///
    /// Store trouble never ends it: it pauses sending, says so, and goes on when the store is back.
    ///
    /// # Errors
    /// [`EngineError::Heartbeat`] when the bell cannot be hung.
    pub async fn serve(&self, stop: CancellationToken) -> Result<(), EngineError> {
        let bell = Heartbeat::start(self.inner.settings.heartbeat).await?;
        let pipeline = Pipeline::start(self, stop.clone());
        let mut waiting = Waiting::default();
        while !stop.is_cancelled() {
            if self.watched_pass(&pipeline, &stop, &mut waiting).await {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = bell.rung() => {}
                // A bell that fell silent must cost no charge.
                () = self.inner.clock.sleep(self.inner.settings.heartbeat.saturating_mul(10)) => {
                    tracing::warn!(event = "bell_silent", "the heartbeat did not ring; looking anyway");
                }
            }
        }
        tracing::info!(event = "draining", "finishing what is under way");
        pipeline.finish().await;
        bell.stop().await
    }

    /// One pass; says whether more is left to do at once. Trouble is told and waited out.
    async fn watched_pass(&self, pipeline: &Pipeline, stop: &CancellationToken, waiting: &mut Waiting) -> bool {
        let passed = async {
            let as_of = self.compare_clocks().await?;
            let mut report = RunReport { as_of, ..RunReport::default() };
            waiting.release_when_holds_change(&*self.inner.store).await?;
            let bounds = Bounds { as_of, time: Some(PASS_TIME) };
            let more = self.pass(pipeline, bounds, stop, waiting, &mut report).await?;
            waiting.forget_beyond_bound();
            if report.items > 0 {
                let at = self.now();
                self.inner.store.record_run("serve", as_of, at, &report.agenda_hash, report.items).await?;
                tracing::info!(
                    event = "pass",
                    agenda_hash = report.agenda_hash,
                    items = report.items,
                    "pass over what is due"
                );
            }
            metrics::gauge!("autopay_run_last_success_timestamp_seconds").set(seconds(as_of));
            Ok::<bool, EngineError>(more)
        };
        match passed.await {
            Ok(more) => more,
            Err(error) => {
                tracing::error!(event = "pass_failed", error = %error, "nothing further is sent until the next pass succeeds");
                self.inner.clock.sleep(Duration::from_secs(1)).await;
                false
            }
        }
    }

    fn draw(
        &self,
        (catalog, told): (&Catalog, &Told),
        holds: &[Hold],
        wallet: &Wallet,
        due: &[Subscription],
        open: &[Open],
        as_of: DateTime<Utc>,
    ) -> Agenda {
        let environment = &self.inner.settings.environment;
        let notices = if self.inner.settings.assume_notices { Notices::Assumed } else { Notices::Known(told) };
        let limits = &self.inner.settings.limits;
        draw(&Book { catalog, environment, holds, due, open, limits, wallet, notices }, as_of)
    }

    /// What is known of notices about a batch: asked for only where one may be owed.
    async fn notices(&self, catalog: &Catalog, due: &[Subscription]) -> Result<Told, StoreError> {
        if self.inner.settings.assume_notices {
            return Ok(Told::new());
        }
        let owes = |row: &&Subscription| catalog.plans.get(&row.plan).is_some_and(|plan| may_be_owed(plan, row));
        let ids: Vec<SubscriptionId> = due.iter().filter(owes).map(|row| row.id.clone()).collect();
        if ids.is_empty() { Ok(Told::new()) } else { self.inner.store.notice_facts(&ids).await }
    }

    /// What is known about the methods of a batch.
    async fn wallet(&self, due: &[Subscription], open: &[Open]) -> Result<Wallet, StoreError> {
        let used = due.iter().chain(open.iter().map(|open| &open.subscription));
        let used = used.flat_map(Subscription::methods).map(|method| method.id);
        let methods: Vec<PaymentMethodId> = used.chain(open.iter().filter_map(|open| open.instrument)).collect();
        self.inner.store.wallet(&methods).await
    }

    /// What is known of the methods of a subscription that has backups, for a decline to be judged by: nothing where it has none.
    pub(super) async fn backups_of(&self, subscription: &Subscription) -> Result<Wallet, StoreError> {
        if subscription.backups.is_empty() {
            return Ok(Wallet::new());
        }
        let methods: Vec<PaymentMethodId> = subscription.methods().map(|method| method.id).collect();
        self.inner.store.wallet(&methods).await
    }

    /// Everything due by the moment of the bounds, in batches. Returns when all of it is handed to the pipeline, or the time
    /// is up: what is left stays due, and `true` says so.
    async fn pass(
        &self,
        pipeline: &Pipeline,
        bounds: Bounds,
        stop: &CancellationToken,
        waiting: &mut Waiting,
        report: &mut RunReport,
    ) -> Result<bool, EngineError> {
        let started = Instant::now();
        let (mut due_digest, mut open_digest) = (Digest::default(), Digest::default());
        let mut shared: Option<Arc<Shared>> = None;
        let limit = self.inner.throttle.worth_claiming(self.inner.settings.batch);
        let (mut due_left, mut open_left) = (true, true);
        self.begin_pass(pipeline.tally.firsts());
        self.foresee(&mut shared, bounds.as_of).await?;
        // In turns, so that questions do not wait for a backlog.
        while (due_left || open_left) && !stop.is_cancelled() && bounds.time.is_none_or(|time| started.elapsed() < time)
        {
            if open_left {
                pipeline.room(limit).await;
                let (_, lease) = self.lease();
                let claim =
                    self.inner.store.claim_open(self.inner.settings.merchant, bounds.as_of, lease, limit).await?;
                open_left = !claim.is_empty();
                if open_left {
                    let shared = self.shared(&mut shared).await?;
                    // What the database refuses is halved until the row that it will not have stands alone: its neighbours go on.
                    let mut pieces = vec![&claim[..]];
                    while let Some(piece) = pieces.pop() {
                        match self.dispatch_open(pipeline, shared.clone(), piece, bounds.as_of, report).await {
                            Ok(agenda) => {
                                open_digest.add(&agenda.items);
                                waiting.note_open(piece, &agenda);
                            }
                            Err(EngineError::Store(StoreError::Refused(why))) => match piece {
                                [] => {}
                                [one] => refused(one, &why),
                                more => {
                                    let (first, rest) = more.split_at(more.len() / 2);
                                    pieces.extend([rest, first]);
                                }
                            },
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
            if due_left {
                pipeline.room(limit).await;
                let (now, lease) = self.lease();
                let merchant = self.inner.settings.merchant;
                let slice = self.slice();
                let most = slice.map_or(limit, |slice| slice.min(limit));
                let mut claim = self.inner.store.claim_due(merchant, bounds.as_of, now, lease, most).await?;
                due_left = !claim.due.is_empty() || !claim.poison.is_empty();
                if !claim.due.is_empty() {
                    let shared = self.shared(&mut shared).await?;
                    let kin = self.with_kin(&shared.catalog, std::mem::take(&mut claim.due), bounds.as_of).await?;
                    claim.due = kin.due;
                    claim.poison.extend(kin.poison);
                }
                for poison in &claim.poison {
                    metrics::counter!("autopay_quarantined_total").increment(1);
                    tracing::error!(
                        event = "quarantined",
                        subscription_id = poison.id,
                        why = poison.why,
                        "a row cannot be read"
                    );
                }
                report.quarantined += u64::try_from(claim.poison.len()).unwrap_or(0);
                if !claim.due.is_empty() {
                    let shared = self.shared(&mut shared).await?;
                    let agenda = self.dispatch_due(pipeline, shared, &claim.due, bounds.as_of, report).await?;
                    due_digest.add(&agenda.items);
                    self.give_back_idle(&claim.due, &agenda, bounds.as_of).await?;
                    waiting.note_due(&claim.due, &agenda);
                    if slice.is_some() {
                        pipeline.idle().await;
                        self.judge_slice(payments(&claim.due, &agenda), pipeline.tally.firsts(), bounds.as_of, report)
                            .await?;
                    }
                }
            }
        }
        let digest = Digest::joined(&due_digest, &open_digest);
        report.agenda_hash = digest.finish();
        report.items = digest.items();
        self.rested(report.items == 0);
        Ok(due_left || open_left)
    }

    pub(super) fn lease(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        let now = self.now();
        (now, now.checked_add_signed(self.inner.settings.limits.lease).unwrap_or(now))
    }

    /// The catalog of this pass, read when there is first something to do.
    pub(super) async fn shared(&self, known: &mut Option<Arc<Shared>>) -> Result<Arc<Shared>, EngineError> {
        if let Some(shared) = known {
            return Ok(shared.clone());
        }
        let shared = Arc::new(Shared { catalog: self.inner.store.catalog().await? });
        *known = Some(shared.clone());
        Ok(shared)
    }

    async fn dispatch_due(
        &self,
        pipeline: &Pipeline,
        shared: Arc<Shared>,
        claims: &[Claimed<Subscription>],
        as_of: DateTime<Utc>,
        report: &mut RunReport,
    ) -> Result<Agenda, EngineError> {
        let due: Vec<Subscription> = claims.iter().map(|claim| claim.value.clone()).collect();
        let mut redraws = 0;
        let (agenda, intents, quiet, left) = loop {
            let holds = self.inner.store.holds().await?;
            let wallet = self.wallet(&due, &[]).await?;
            let notices = self.notices(&shared.catalog, &due).await?;
            let agenda = self.draw((&shared.catalog, &notices), &holds, &wallet, &due, &[], as_of);
            let day = match self.weigh(&agenda, &due, as_of, report).await? {
                Weighed::Sound(day) => day,
                Weighed::Braked if redraws < REDRAWS_MAX => {
                    redraws += 1;
                    continue;
                }
                Weighed::Braked => return Ok(Agenda::default()),
            };
            let Drafted { batch, quiet, left } = self.desk(&shared).due(claims, &agenda, (ids(&holds), day));
            match self.commit(batch, report).await? {
                Some(intents) => break (agenda, intents, quiet, left),
                None if redraws < REDRAWS_MAX => redraws += 1,
                None => return Ok(Agenda::default()),
            }
        };
        let committed = Instant::now();
        note(&quiet, report);
        self.counted(intents.iter(), due.iter());
        let mut subscriptions: std::collections::BTreeMap<_, _> =
            due.into_iter().map(|row| (row.id.clone(), row)).collect();
        let last = intents.iter().enumerate().map(|(place, intent)| (intent.charge.subscription.clone(), place));
        let last: std::collections::BTreeMap<_, _> = last.collect();
        for (place, intent) in intents.into_iter().enumerate() {
            let id = &intent.charge.subscription;
            // Moved out with the last intent of the subscription, copied before it.
            let subscription =
                if last.get(id) == Some(&place) { subscriptions.remove(id) } else { subscriptions.get(id).cloned() };
            let Some(subscription) = subscription else { continue };
            pipeline.put(Job::Submit(Box::new(intent), Box::new(subscription), committed), shared.clone()).await;
        }
        // Drawn again without the one whose payment could not be made.
        self.inner.store.release(&left, &[]).await?;
        Ok(agenda)
    }

    pub(super) async fn dispatch_open(
        &self,
        pipeline: &Pipeline,
        shared: Arc<Shared>,
        claims: &[Claimed<OpenCharge>],
        as_of: DateTime<Utc>,
        report: &mut RunReport,
    ) -> Result<Agenda, EngineError> {
        let open: Vec<Open> = claims.iter().map(|claim| claim.value.open.clone()).collect();
        let mut redraws = 0;
        let mut orders = Vec::new();
        let (agenda, intents, asks, ends, quiet) = loop {
            let holds = self.inner.store.holds().await?;
            let wallet = self.wallet(&[], &open).await?;
            let agenda = self.draw((&shared.catalog, &Told::new()), &holds, &wallet, &[], &open, as_of);
            let day = match self.weigh_ordered(&agenda, &open, as_of, report).await? {
                Weighed::Sound(day) => day,
                Weighed::Braked if redraws < REDRAWS_MAX => {
                    redraws += 1;
                    continue;
                }
                Weighed::Braked => return Ok(Agenda::default()),
            };
            let Opened { batch, asks, ends, quiet } = self.desk(&shared).open(claims, &agenda, (ids(&holds), day));
            if !self.begin_orders(claims, &agenda, &ids(&holds), &mut orders).await? {
                redraws += 1;
                if redraws > REDRAWS_MAX {
                    return Ok(Agenda::default());
                }
                continue;
            }
            match self.commit(batch, report).await? {
                Some(intents) => break (agenda, intents, asks, ends, quiet),
                None if redraws < REDRAWS_MAX => redraws += 1,
                None => return Ok(Agenda::default()),
            }
        };
        let committed = Instant::now();
        note(&quiet, report);
        let ordered = intents.iter().filter(|intent| intent.charge.is_by_hand());
        self.counted(ordered, open.iter().map(|open| &open.subscription));
        let subscriptions: std::collections::BTreeMap<_, _> =
            open.into_iter().map(|open| (open.charge.id, open.subscription)).collect();
        for intent in intents {
            let Some(subscription) = subscriptions.get(&intent.charge.id).cloned() else { continue };
            pipeline.put(Job::Submit(Box::new(intent), Box::new(subscription), committed), shared.clone()).await;
        }
        for order in orders {
            let Some(subscription) = subscriptions.get(&order.charge.id).cloned() else { continue };
            pipeline.put(Job::Settle(Box::new(order), Box::new(subscription), committed), shared.clone()).await;
        }
        report.failed += self.give_up(ends).await?;
        for ask in asks {
            pipeline.put(Job::Ask(Box::new(ask)), shared.clone()).await;
        }
        Ok(agenda)
    }

    pub(super) fn desk<'a>(&'a self, shared: &'a Shared) -> Desk<'a> {
        let Self { inner } = self;
        Desk { gateway: &*inner.gateway, catalog: &shared.catalog, limits: &inner.settings.limits, at: self.now() }
    }

    /// Commits a batch that holds anything; `None` when holds changed or the day filled up, and it must be drawn and weighed again.
    async fn commit(
        &self,
        batch: IntentBatch,
        report: &mut RunReport,
    ) -> Result<Option<Vec<Recorded<domain::attempt::Intent>>>, EngineError> {
        if batch.advances.is_empty() && batch.new.is_empty() && batch.moved.is_empty() {
            return Ok(Some(Vec::new()));
        }
        match self.inner.store.commit_intents(batch).await? {
            Committed::HoldsChanged | Committed::DayIsFull => Ok(None),
            Committed::Recorded { intents, lost } => {
                report.lost += u64::try_from(lost).unwrap_or(0);
                Ok(Some(intents))
            }
        }
    }
}

/// Says which charge the database would not let move. It is drawn again when its claim ends.
fn refused(claim: &Claimed<OpenCharge>, why: &str) {
    let charge = claim.value.open.charge.id;
    tracing::error!(event = "charge_refused", charge_id = %charge, why, "what was decided for a charge cannot be recorded");
}

impl Waiting {
    /// A hold was set or lifted: what waits is looked at again now.
    async fn release_when_holds_change(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let holds = ids(&store.holds().await?);
        if holds != self.holds {
            store.release(&self.due, &self.open).await?;
            *self = Self { holds, ..Self::default() };
        }
        Ok(())
    }

    fn forget_beyond_bound(&mut self) {
        let spare = self.due.len().saturating_sub(WAITING_MAX);
        self.due.drain(..spare);
        let spare = self.open.len().saturating_sub(WAITING_MAX);
        self.open.drain(..spare);
    }

    fn note_due(&mut self, claims: &[Claimed<Subscription>], agenda: &Agenda) {
        let waits = |item: &&Item| matches!(item.action, Action::Wait { .. });
        let mut waiting = agenda.items.iter().filter(waits).map(|item| &item.subscription).peekable();
        for claim in claims {
            if waiting.next_if(|id| **id == claim.value.id).is_some() {
                self.due.push((claim.value.id.clone(), claim.fence));
            }
        }
    }

    fn note_open(&mut self, claims: &[Claimed<OpenCharge>], agenda: &Agenda) {
        for (claim, item) in claims.iter().zip(&agenda.items) {
            if matches!(item.action, Action::Wait { .. }) {
                self.open.push((claim.value.open.charge.id, claim.fence));
            }
        }
    }
}

/// How many payments a claim may have come to: one for each subscription but those whose cycles another one's payment collects, and
/// those that were only looked at.
fn payments(claims: &[Claimed<Subscription>], agenda: &Agenda) -> usize {
    let joined = |item: &&Item| matches!(&item.action, Action::Skip(left_out) if left_out.why == SkipWhy::Consolidated);
    let joined: BTreeSet<&SubscriptionId> = agenda.items.iter().filter(joined).map(|item| &item.subscription).collect();
    let drawn: BTreeSet<&SubscriptionId> = agenda.items.iter().map(|item| &item.subscription).collect();
    claims.iter().filter(|claim| drawn.contains(&claim.value.id) && !joined.contains(&claim.value.id)).count()
}

fn ids(holds: &[Hold]) -> Vec<i64> {
    holds.iter().map(|hold| hold.id).collect()
}

fn note(quiet: &Quiet, report: &mut RunReport) {
    report.waiting += quiet.waiting;
    report.skipped += quiet.skipped;
    report.parked += quiet.parked;
    report.quarantined += quiet.quarantined;
    if quiet.quarantined > 0 {
        metrics::counter!("autopay_quarantined_total").increment(quiet.quarantined);
    }
}

/// What a dry run counts: what would be sent and what would not.
fn count(items: &[Item], report: &mut RunReport) {
    for item in items {
        match &item.action {
            Action::Send { .. } | Action::Settle { .. } => report.sent += 1,
            Action::Ask { .. } => report.unknown += 1,
            Action::SkipZero | Action::Skip(_) | Action::Cancel => report.skipped += 1,
            Action::GiveUp { .. } => report.failed += 1,
            Action::ParkNoMethod { .. } | Action::ParkWrongMethod | Action::ParkOutOfBounds { .. } => {
                report.parked += 1;
            }
            Action::Wait { .. } => report.waiting += 1,
            Action::Quarantine { .. } => report.quarantined += 1,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "a gauge is a float; seconds since 1970 fit exactly"
)]
pub(super) fn seconds(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}
