//! Between the two commits: sends what was recorded, asks what is not known, and hands what was learnt to the recorder.
//!
//! Requests overlap up to the configured number. No store connection is held while one is under way. What is queued and not
//! yet sent when a stop comes is provably not executed, and is recorded so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use domain::agenda::{Hold, observe};
use domain::attempt::Intent;
use domain::authorization::{OrderKind, Stage};
use domain::charge::{Charge, Event, State};
use domain::plan::Catalog;
use domain::subscription::Subscription;
use domain::verdict::{Alarm, NotExecuted, Seen};

use super::decide::Ask;
use super::{Engine, RunReport};
use crate::ports::captures::Placed;
use crate::ports::declines::CodeSeen;
use crate::ports::{Asked, Claimed, Observation, Observed, Question, Recorded, StoreError, Verdict};

/// A store outage may hold up the recorder this often, a second each, before verdicts are left to the reconciler.
const OUTAGE_TRIES: u32 = 60;
/// After a stop the recorder waits this long for an absent store: within the time a cluster gives a process to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Trouble at the gateway is told at most this often.
const TROUBLE_EVERY: Duration = Duration::from_secs(10);
/// An intent older than this looks at the holds once more before it is sent.
const HOLDS_FRESH: Duration = Duration::from_millis(500);

/// What the jobs of a batch share.
pub(super) struct Shared {
    pub(super) catalog: Catalog,
}

/// Something to put to the gateway.
pub(super) enum Job {
    /// A recorded intent, its subscription, and when it was committed.
    Submit(Box<Recorded<Intent>>, Box<Subscription>, Instant),
    /// A recorded order about what is set aside, its subscription, and when it was committed.
    Settle(Box<Recorded<Placed>>, Box<Subscription>, Instant),
    /// A question.
    Ask(Box<Ask>),
}

/// Holds as last read, and when.
type HoldsSeen = Arc<Mutex<Option<(Instant, Vec<Hold>)>>>;
/// When trouble at the gateway was last told.
type TroubleTold = Arc<std::sync::Mutex<Option<Instant>>>;

/// Counts of a run, added up by the recorder.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: std::sync::Mutex<BTreeMap<&'static str, u64>>,
    sent: AtomicU64,
    evidence_only: AtomicU64,
    firsts: AtomicU64,
    firsts_declined: AtomicU64,
}

/// First attempts that were answered, and how many of them were declined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Firsts {
    pub(super) answered: u64,
    pub(super) declined: u64,
}

impl Tally {
    fn add(&self, state: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *counts.entry(state).or_default() += 1;
    }

    /// First attempts answered so far.
    pub(super) fn firsts(&self) -> Firsts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Firsts { answered: read(&self.firsts), declined: read(&self.firsts_declined) }
    }

    /// Counts what a first attempt led to. What did not reach the gateway, and what is not known, is no answer.
    fn first(&self, verdict: &Verdict) {
        let declined = match verdict.after.as_ref().map(|charge| &charge.state) {
            Some(State::Failing { .. } | State::Failed { .. }) => true,
            Some(
                State::Paid { .. }
                | State::Settling { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. },
            ) => false,
            None
            | Some(
                State::Planned
                | State::Due { .. }
                | State::Sending { .. }
                | State::Unknown { .. }
                | State::Returned { .. }
                | State::Skipped { .. }
                | State::Parked { .. },
            ) => return,
        };
        self.firsts.fetch_add(1, Ordering::Relaxed);
        self.firsts_declined.fetch_add(u64::from(declined), Ordering::Relaxed);
    }

    /// Writes the counts into a report.
    pub(super) fn fill(&self, report: &mut RunReport) {
        let counts = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let count = |state: &str| counts.get(state).copied().unwrap_or(0);
        report.sent += self.sent.load(Ordering::Relaxed);
        report.paid += count("paid");
        report.settling += count("settling") + count("capturing") + count("releasing");
        report.authorized += count("authorized");
        report.failing += count("failing");
        report.failed += count("failed");
        report.returned += count("returned");
        report.unknown += count("unknown");
        report.not_executed += count("due");
        report.parked += count("parked");
        report.skipped += count("skipped");
        report.lost += self.evidence_only.load(Ordering::Relaxed);
    }
}

/// The senders and the recorder of one run.
pub(super) struct Pipeline {
    engine: Engine,
    slots: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// How many jobs the queue holds.
    places: u32,
    tracker: TaskTracker,
    verdicts: mpsc::Sender<Verdict>,
    recorder: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    holds: HoldsSeen,
    trouble_told: TroubleTold,
    pub(super) tally: Arc<Tally>,
}

impl Pipeline {
    /// Starts the recorder. Once `stop` is cancelled nothing queued is sent any more; what is under way is finished.
    pub(super) fn start(engine: &Engine, stop: CancellationToken) -> Self {
        let settings = &engine.inner.settings;
        let batch = usize::try_from(settings.batch).unwrap_or(500).max(1);
        let (verdicts, inbox) = mpsc::channel(batch.saturating_mul(2));
        // Two batches beyond what is in flight: one is sent while the next is claimed and committed. Under a rate, two
        // seconds' worth: an intent must not grow old waiting for its permit, and questions wait behind few creates.
        let worth = usize::try_from(engine.inner.throttle.worth_claiming(settings.batch)).unwrap_or(batch);
        let queue = settings.in_flight.max(1).saturating_add(batch.saturating_mul(2));
        let queue = if engine.inner.throttle.is_limited() { queue.min(worth.saturating_mul(2)) } else { queue };
        let tally = Arc::new(Tally::default());
        let recorder = Recorder { engine: engine.clone(), stop: stop.clone(), stopped_at: None, tally: tally.clone() };
        let recorder = tokio::spawn(recorder.record(inbox, batch));
        Self {
            engine: engine.clone(),
            slots: Arc::new(Semaphore::new(settings.in_flight.max(1))),
            queue: Arc::new(Semaphore::new(queue)),
            places: u32::try_from(queue).unwrap_or(u32::MAX),
            tracker: TaskTracker::new(),
            verdicts,
            recorder,
            stop,
            holds: Arc::new(Mutex::new(None)),
            trouble_told: TroubleTold::default(),
            tally,
        }
    }

    /// Waits until there is room for `jobs` more.
    pub(super) async fn room(&self, jobs: u32) {
        // The semaphore is never closed; a permit more or less only moves the moment of the next claim.
        drop(self.queue.acquire_many(jobs).await);
    }

    /// Waits until nothing is queued or under way any more.
    pub(super) async fn idle(&self) {
        drop(self.queue.acquire_many(self.places).await);
    }

    /// Hands a job to a sender of its own.
    pub(super) async fn put(&self, job: Job, shared: Arc<Shared>) {
        let Ok(place) = self.queue.clone().acquire_owned().await else { return };
        let sender = Sender {
            engine: self.engine.clone(),
            slots: self.slots.clone(),
            stop: self.stop.clone(),
            holds: self.holds.clone(),
            trouble_told: self.trouble_told.clone(),
            shared,
        };
        let (verdicts, tally) = (self.verdicts.clone(), self.tally.clone());
        self.tracker.spawn(async move {
            if matches!(job, Job::Submit(..) | Job::Settle(..)) {
                tally.sent.fetch_add(1, Ordering::Relaxed);
            }
            let first = matches!(&job, Job::Submit(recorded, ..) if recorded.value().number == 1);
            let verdict = sender.work(job).await;
            if first {
                tally.first(&verdict);
            }
            // The recorder lives as long as any sender; should it be gone, the lease runs out and the reconciler asks.
            if verdicts.send(verdict).await.is_err() {
                tracing::error!(event = "verdict_dropped", "the recorder is gone; the reconciler will ask again");
            }
            drop(place);
        });
    }

    /// Waits for every sender and for the recorder's last commit.
    pub(super) async fn finish(self) -> Arc<Tally> {
        self.tracker.close();
        self.tracker.wait().await;
        drop(self.verdicts);
        if let Err(error) = self.recorder.await {
            tracing::error!(event = "recorder_failed", error = %error, "the recorder ended early; the reconciler will ask again");
        }
        self.tally
    }
}

struct Sender {
    engine: Engine,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    holds: HoldsSeen,
    trouble_told: TroubleTold,
    shared: Arc<Shared>,
}

impl Sender {
    async fn work(&self, job: Job) -> Verdict {
        match job {
            Job::Submit(recorded, subscription, committed) => self.submit(&recorded, &subscription, committed).await,
            Job::Settle(recorded, subscription, committed) => self.settle(&recorded, &subscription, committed).await,
            Job::Ask(ask) => self.ask(*ask).await,
        }
    }

    async fn submit(&self, recorded: &Recorded<Intent>, subscription: &Subscription, committed: Instant) -> Verdict {
        let intent = recorded.value();
        let before = Claimed { value: recorded.charge.clone(), fence: recorded.fence };
        let slot = self.slots.acquire().await;
        let mut seen = Vec::with_capacity(2);
        if let Some(why) = self.forbidden(Some((&before.value, subscription)), committed).await {
            seen.push((self.engine.now(), not_sent(Asked::Submit, why)));
        } else {
            let answer = self.engine.inner.gateway.submit(recorded).await;
            self.feel(&answer).await;
            seen.push((self.engine.now(), answer));
        }
        drop(slot);
        let payment_id = seen.last().and_then(|(_, answer)| answer.payment_id.clone());
        self.ask_soon(&mut seen, Question { key: intent.key, payment_id, amount: intent.amount }).await;
        self.verdict(before.clone(), before.value, subscription, intent.number, seen).await
    }

    /// What was accepted a moment ago is asked about once before anything slower takes over.
    async fn ask_soon(&self, seen: &mut Vec<(DateTime<Utc>, Observation)>, question: Question) {
        let accepted =
            matches!(seen.last(), Some((_, Observation { seen: Seen::Accepted { settles_in_days: false }, .. })));
        if accepted && !self.stop.is_cancelled() {
            let clock = &self.engine.inner.clock;
            if !clock.is_turned() {
                clock.sleep(self.engine.inner.settings.settle_wait).await;
            }
            if let Some(answer) = self.put_question(&question).await {
                seen.push(answer);
            }
        }
    }

    /// Takes or gives back what is set aside. The brake does not keep back what is given back.
    async fn settle(&self, recorded: &Recorded<Placed>, subscription: &Subscription, committed: Instant) -> Verdict {
        let Placed { order, key, payment_id } = recorded.value();
        let before = Claimed { value: recorded.charge.clone(), fence: recorded.fence };
        let slot = self.slots.acquire().await;
        let mut seen = Vec::with_capacity(2);
        let braked = (order.kind == OrderKind::Capture).then_some((&before.value, subscription));
        if let Some(why) = self.forbidden(braked, committed).await {
            seen.push((self.engine.now(), not_sent(Asked::Order, why)));
        } else {
            let answer = self.engine.inner.gateway.settle(recorded).await;
            self.feel(&answer).await;
            seen.push((self.engine.now(), answer));
        }
        drop(slot);
        let question = Question { key: *key, payment_id: Some(payment_id.clone()), amount: before.value.amount };
        self.ask_soon(&mut seen, question).await;
        self.verdict(before.clone(), before.value, subscription, order.attempt, seen).await
    }

    async fn ask(&self, ask: Ask) -> Verdict {
        let Ask { claimed, key } = ask;
        let Claimed { value, fence } = claimed;
        let charge = value.open.charge;
        let before = Claimed { value: charge.clone(), fence };
        let at = self.engine.now();
        let limits = &self.engine.inner.settings.limits;
        let charge = match &charge.state {
            // The sender is gone: that is all this step says. What happened is what we ask now.
            State::Sending { .. } => charge.clone().step(Event::LeaseRanOut, at, limits).unwrap_or(charge),
            State::Due { .. } => charge.clone().step(Event::AskAgain, at, limits).unwrap_or(charge),
            State::Capturing { order, .. } | State::Releasing { order, .. } => match order.stage {
                Stage::Sending => charge.clone().step(Event::LeaseRanOut, at, limits).unwrap_or(charge),
                Stage::Waiting => charge.clone().step(Event::AskAgain, at, limits).unwrap_or(charge),
                Stage::Asking => charge,
            },
            State::Planned
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Failing { .. }
            | State::Failed { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => charge,
        };
        let payment_id = value.attempt.as_ref().and_then(|attempt| attempt.payment_id.clone());
        // The key that was sent, should the environment's name have changed since.
        let key = value.attempt.as_ref().map_or(key, |attempt| attempt.key);
        let question = Question { key, payment_id, amount: charge.amount };
        let seen = self.put_question(&question).await;
        let attempt = charge.tries.attempt;
        self.verdict(before, charge, &value.open.subscription, attempt, seen.into_iter().collect()).await
    }

    /// Asks, or says nothing when the process is stopping or no permit is to be had: then nothing changes.
    async fn put_question(&self, question: &Question) -> Option<(DateTime<Utc>, Observation)> {
        let slot = self.slots.acquire().await;
        if self.stop.is_cancelled() || self.engine.inner.throttle.permit().await.is_err() {
            return None;
        }
        let answer = self.engine.inner.gateway.ask(question).await;
        drop(slot);
        self.feel(&answer).await;
        Some((self.engine.now(), answer))
    }

    /// Why this intent may not be sent after all. Whatever waits here has sent nothing yet. Holds are looked at for what is
    /// `braked`: a charge and its subscription.
    async fn forbidden(&self, braked: Option<(&Charge, &Subscription)>, committed: Instant) -> Option<&'static str> {
        // A process that was stopped and came back: somebody else may be asking about this charge already.
        let lease = self.engine.inner.settings.limits.lease.to_std().unwrap_or_default();
        let too_old = || committed.elapsed() > lease / 2;
        if self.stop.is_cancelled() {
            return Some("shutting down");
        }
        if !too_old() && self.engine.inner.throttle.permit().await.is_err() {
            return Some("no permit: the database is not available");
        }
        if too_old() {
            return Some("half of the lease had passed before it was sent");
        }
        if self.stop.is_cancelled() {
            return Some("shutting down");
        }
        let (charge, subscription) = braked.filter(|_| committed.elapsed() >= HOLDS_FRESH)?;
        let mut cached = self.holds.lock().await;
        if cached.as_ref().is_none_or(|(at, _)| at.elapsed() > HOLDS_FRESH) {
            match self.engine.inner.store.holds().await {
                Ok(holds) => *cached = Some((Instant::now(), holds)),
                Err(_) => return Some("holds cannot be read: the database is not available"),
            }
        }
        let holds = cached.as_ref().map_or(&[][..], |(_, holds)| holds.as_slice());
        let payers = if charge.carried.is_none() || holds.is_empty() {
            Vec::new()
        } else {
            match self.engine.inner.store.payers(&[charge.id]).await {
                Ok(mut payers) => payers.remove(&charge.id).unwrap_or_default(),
                Err(_) => return Some("holds cannot be compared: the database is not available"),
            }
        };
        let held = holds.iter().any(|hold| hold.covers_charge(charge, subscription, &payers));
        held.then_some("held before it was sent")
    }

    async fn feel(&self, answer: &Observation) {
        if matches!(answer.seen, Seen::Silent | Seen::NotExecuted { why: NotExecuted::NothingSent, .. }) {
            self.tell_trouble(answer);
        }
        self.engine.inner.throttle.heard(&answer.seen).await;
    }

    /// Says that the gateway does not answer, now and then and not for each request.
    fn tell_trouble(&self, answer: &Observation) {
        let mut told = self.trouble_told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TROUBLE_EVERY) {
            *told = Some(Instant::now());
            let why = answer.detail.as_deref().unwrap_or("no answer");
            tracing::warn!(
                event = "gateway_trouble",
                seen = answer.seen.as_str(),
                http_status = answer.http_status,
                why,
                "the gateway does not answer as it should"
            );
        }
    }

    /// What the observations make of the charge, in order; one that it cannot take is kept as evidence only.
    async fn verdict(
        &self,
        before: Claimed<Charge>,
        charge: Charge,
        subscription: &Subscription,
        attempt: u16,
        observations: Vec<(DateTime<Utc>, Observation)>,
    ) -> Verdict {
        let limits = &self.engine.inner.settings.limits;
        let mut now = charge;
        let mut moved = !observations.is_empty();
        let mut stop = None;
        let mut observed = Vec::with_capacity(observations.len());
        let wallet = match self.engine.backups_of(subscription).await {
            Ok(wallet) => wallet,
            // A decline cannot be judged without what is known of the backups: it is kept, and asked about again.
            Err(error) => {
                tracing::warn!(event = "backups_unreadable", charge_id = %now.id, error = %error, "kept as evidence only");
                let kept =
                    observations.into_iter().map(|(at, observation)| Observed { at, observation, to_state: None });
                return Verdict { before, after: None, attempt, observations: kept.collect(), stop };
            }
        };
        for (at, mut observation) in observations {
            let mut to_state = None;
            let facts = (&self.shared.catalog, &wallet);
            match observe(facts, subscription, now.clone(), &observation.seen, at, limits) {
                Ok(learnt) => {
                    now = learnt.charge;
                    to_state = Some(now.state.name());
                    stop = learnt.stop.or(stop);
                    if let Some(rule) = learnt.rule {
                        let said = observation.detail.take().map(|said| format!("{said}; ")).unwrap_or_default();
                        observation.detail = Some(format!("{said}no further try: {rule}"));
                    }
                }
                Err(refused) => {
                    tracing::warn!(event = "observation_refused", charge_id = %now.id, refused = %refused, "kept as evidence only");
                    moved &= now.state.name() != before.value.state.name();
                }
            }
            observed.push(Observed { at, observation, to_state });
        }
        Verdict { before, after: moved.then_some(now), attempt, observations: observed, stop }
    }
}

fn not_sent(asked: Asked, why: &'static str) -> Observation {
    Observation {
        asked,
        seen: Seen::NotExecuted { why: NotExecuted::NothingSent, retry_after: None },
        payment_id: None,
        http_status: None,
        gateway_status: None,
        detail: Some(why.to_owned()),
        body_sha256: None,
        request_id: None,
    }
}

/// Commits verdicts as they come, as many at a time as have come.
struct Recorder {
    engine: Engine,
    stop: CancellationToken,
    /// When the stop was first noticed while the store was away.
    stopped_at: Option<Instant>,
    tally: Arc<Tally>,
}

impl Recorder {
    async fn record(mut self, mut inbox: mpsc::Receiver<Verdict>, batch: usize) {
        let mut verdicts = Vec::with_capacity(batch);
        while inbox.recv_many(&mut verdicts, batch).await > 0 {
            self.commit(&verdicts).await;
            verdicts.clear();
        }
    }

    async fn commit(&mut self, verdicts: &[Verdict]) {
        for _ in 0..OUTAGE_TRIES {
            match self.engine.inner.store.commit_verdicts(verdicts).await {
                Ok(done) => {
                    let kept = u64::try_from(done.evidence_only).unwrap_or(0);
                    self.tally.evidence_only.fetch_add(kept, Ordering::Relaxed);
                    verdicts.iter().for_each(|verdict| counted(verdict, &self.tally));
                    tell_new_codes(&done.new_codes);
                    return;
                }
                // A password that was changed under us is waited for like an outage: what was sent must be recorded.
                Err(StoreError::Unavailable(why) | StoreError::Misconfigured(why)) => {
                    tracing::error!(
                        event = "store_unavailable",
                        why,
                        waiting = verdicts.len(),
                        "verdicts wait for the database"
                    );
                    if self.is_out_of_patience() {
                        break;
                    }
                    self.engine.inner.clock.sleep(Duration::from_secs(1)).await;
                }
                Err(
                    error @ (StoreError::Refused(_)
                    | StoreError::Taken(_)
                    | StoreError::Inconsistent { .. }
                    | StoreError::Absent(_)
                    | StoreError::Schema { .. }),
                ) => {
                    self.refused(verdicts, &error).await;
                    return;
                }
            }
        }
        tracing::error!(
            event = "verdicts_dropped",
            count = verdicts.len(),
            "the database stayed away; the reconciler will ask again"
        );
    }

    /// One patience for everything that is left after a stop; what is dropped is asked about after the next start.
    fn is_out_of_patience(&mut self) -> bool {
        self.stop.is_cancelled() && self.stopped_at.get_or_insert_with(Instant::now).elapsed() > STOP_PATIENCE
    }

    /// A batch that the database refuses is tried verdict by verdict, so that one bad answer does not spoil its neighbours. The
    /// one that is refused alone because what it names is taken contradicts what is stored (a payment id that belongs to another
    /// attempt): a mismatch. One that is refused for any other reason says nothing of the charge, which is asked about again.
    async fn refused(&mut self, verdicts: &[Verdict], error: &StoreError) {
        if let [verdict] = verdicts {
            if !matches!(error, StoreError::Taken(_)) {
                tracing::error!(event = "verdict_dropped", charge_id = %verdict.before.value.id, error = %error, "the reconciler will ask again");
                return;
            }
            tracing::error!(event = "verdict_refused", charge_id = %verdict.before.value.id, error = %error, "the answer contradicts the book");
            let Some(mismatch) = contradiction(&self.engine, verdict) else { return };
            if let Err(error) = self.engine.inner.store.commit_verdicts(std::slice::from_ref(&mismatch)).await {
                tracing::error!(event = "verdict_dropped", error = %error, "the reconciler will ask again");
            } else {
                counted(&mismatch, &self.tally);
            }
            return;
        }
        for verdict in verdicts {
            Box::pin(self.commit(std::slice::from_ref(verdict))).await;
        }
    }
}

fn contradiction(engine: &Engine, verdict: &Verdict) -> Option<Verdict> {
    let limits = &engine.inner.settings.limits;
    let Observed { at, observation: last, .. } = verdict.observations.last()?.clone();
    let mut charge = verdict.before.value.clone();
    if matches!(charge.state, State::Sending { .. }) {
        charge = charge.clone().step(Event::LeaseRanOut, at, limits).unwrap_or(charge);
    }
    let after = charge.step(Event::Mismatch, at, limits).ok()?;
    let detail = format!("payment {} already belongs to another attempt", last.payment_id.as_deref().unwrap_or("?"));
    let observation = Observation { seen: Seen::Mismatch, payment_id: None, detail: Some(detail), ..last };
    let to_state = Some(after.state.name());
    Some(Verdict {
        before: verdict.before.clone(),
        after: Some(after),
        attempt: verdict.attempt,
        observations: vec![Observed { at, observation, to_state }],
        stop: None,
    })
}

/// A code that no table knows was seen for the first time: a person should find out what it means.
pub(super) fn tell_new_codes(codes: &[CodeSeen]) {
    for seen in codes {
        metrics::counter!("autopay_decline_codes_unknown_total").increment(1);
        tracing::error!(event = "decline_code_unknown", code = seen.code, charge_id = %seen.charge, "declined with a code that is in no table: a person must map it; taken as unclassified");
    }
}

fn counted(verdict: &Verdict, tally: &Tally) {
    let Some(after) = &verdict.after else { return };
    let state = after.state.name();
    // Due again because "not found" proves little is no less unknown than before.
    tally.add(if matches!(after.state, State::Due { doubt: true, .. }) { "unknown" } else { state });
    let class = match &after.state {
        State::Failing { class, .. } | State::Failed { class, .. } | State::Returned { class, .. } => class.as_str(),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => "",
    };
    metrics::counter!("autopay_charge_attempts_total", "outcome" => state, "decline_class" => class).increment(1);
    warn_of_the_end(verdict, after);
    if matches!(after.state, State::Parked { .. }) {
        tracing::error!(event = "charge_parked", charge_id = %after.id, why = after.sentence(), "a person must look");
    }
    match after.alarm() {
        Some(Alarm::DoubleEntry) => {
            tracing::error!(event = "double_entry", charge_id = %after.id, why = after.sentence(), "the bank says that it was debited twice");
        }
        Some(Alarm::Fraud) => {
            tracing::error!(event = "fraud_suspected", charge_id = %after.id, why = after.sentence(), "the customer is held until a person has reviewed them");
        }
        None => {}
    }
    if matches!(after.state, State::Returned { .. }) {
        tracing::error!(event = "charge_returned", charge_id = %after.id, why = after.sentence(), "a bank took back what was paid");
    }
}

/// The look a day before the end is the moment to warn: whoever ships has a day left.
fn warn_of_the_end(verdict: &Verdict, after: &Charge) {
    let looked = matches!(verdict.before.value.state, State::Authorized { .. });
    let State::Authorized { hold, .. } = &after.state else { return };
    let Some(Observed { at, .. }) = verdict.observations.last().filter(|_| looked) else { return };
    if *at >= hold.warn_at() && *at < hold.expires_at {
        metrics::counter!("autopay_authorizations_expiring_total").increment(1);
        tracing::warn!(
            event = "authorization_expires",
            charge_id = %after.id,
            expires_at = %hold.expires_at.to_rfc3339(),
            "what is set aside goes back within a day: capture it, or let it go"
        );
    }
}
