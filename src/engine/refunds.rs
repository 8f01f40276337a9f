//! Refunds: sends what is recorded, once each, and asks about what the gateway has.
//!
//! Each refund goes through three commits: recorded (by a command), sending (here, right before the one submission), and what was
//! learnt. Between the first two nothing has left this machine; between the last two it may have, so whoever finds a refund
//! `sending` past its lease takes its answer for lost. The merchant's rate and the holds are those of the charges.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use serde::Serialize;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use domain::id::{ChargeId, RefundId};
use domain::money::Money;
use domain::refund::{self, Event, Ledger, NotRefundable, Refund, State, Wish, may_still_be_sent};

use super::{Engine, EngineError};
use crate::ports::refund::{
    Begun, Kept, Look, RefundGateway, RefundIntent, RefundObservation, RefundRecord, RefundVerdict,
};
use crate::ports::{Claimed, Store, StoreError};

/// Who moves a refund in the engine's own name.
const ENGINE: &str = "autopay";
/// Another writer may come in between a read and a write this often before the refund is left to the next pass.
const MEETINGS_MAX: u32 = 8;
/// Holds may change while a refund is decided; after this many times it waits for the next pass.
const REDRAWS_MAX: u32 = 5;
/// An answer waits this many seconds for an absent store, then its refund is a person's: it is never sent again.
const OUTAGE_TRIES: u32 = 60;
/// How often a command that waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What a pass over the refunds did. Counts are refunds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RefundReport {
    /// Committed and submitted.
    pub sent: u64,
    /// Went back, whole or in part.
    pub refunded: u64,
    /// At the gateway, not finished.
    pub settling: u64,
    /// Nothing went back.
    pub failed: u64,
    /// Outcome not known.
    pub unknown: u64,
    /// Recorded and not sent: held, or the gateway could not be asked about the payment.
    pub waiting: u64,
}

/// What may be recorded, before it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The refund as it would be recorded.
    pub refund: Refund,
    /// What was collected.
    pub collected: Money,
    /// What is left to give back before it.
    pub left: Money,
}

/// Why a refund was not recorded.
#[derive(Debug, Error)]
pub enum RefundRefused {
    /// There is no such charge.
    #[error("there is no charge {0}")]
    NoCharge(ChargeId),
    /// A rule forbids it.
    #[error(transparent)]
    NotRefundable(#[from] NotRefundable),
    /// Other commands were faster each time.
    #[error("other refunds of the charge were recorded meanwhile: look again")]
    Overtaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a person found out about a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It was executed, under this id of the gateway's.
    Refunded {
        /// The gateway's id.
        gateway_id: String,
    },
    /// It was not executed.
    NotExecuted,
}

/// Why a person's word about a refund was not taken.
#[derive(Debug, Error)]
pub enum FindingRefused {
    /// There is no such refund.
    #[error("there is no refund {0}")]
    NoRefund(RefundId),
    /// Its state allows no such thing, or not yet.
    #[error("the refund is {word}: {why}")]
    NotSo {
        /// The refund's word.
        word: &'static str,
        /// What would be needed.
        why: &'static str,
    },
    /// The gateway has answered, and its word counts.
    #[error("the gateway answered, and the refund is {word} now: nothing is left to decide")]
    AnsweredInstead {
        /// The refund's word.
        word: &'static str,
    },
    /// The gateway says that the id belongs to something else.
    #[error("the gateway says that {0} is another refund: look for the right id")]
    OtherRefund(String),
    /// More would have gone back than was collected.
    #[error(
        "more would have gone back than was collected: another refund of the charge counts already, resolve that first"
    )]
    Overdrawn,
    /// Somebody else moved it meanwhile.
    #[error("somebody else moved the refund meanwhile: look again")]
    Overtaken,
    /// The engine or its store failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<StoreError> for FindingRefused {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

/// Sends and asks about refunds; cheap to clone.
#[derive(Clone)]
pub struct Refunds {
    pub(super) engine: Engine,
    gateway: Arc<dyn RefundGateway>,
}

impl std::fmt::Debug for Refunds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refunds").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// Where a refund was left by one look at it.
enum Left {
    /// Moved to where it stands now, sent on the way or not.
    Moved { refund: Box<Refund>, sent: bool },
    /// It waits as it was.
    Waits,
    /// Somebody else has it.
    Taken,
}

impl Refunds {
    /// Refunds of an engine's merchant, over its store, rate and clock.
    #[must_use]
    pub fn new(engine: Engine, gateway: Arc<dyn RefundGateway>) -> Self {
        Self { engine, gateway }
    }

    fn store(&self) -> &dyn Store {
        &*self.engine.inner.store
    }

    /// What may be given back of a charge by a wish. Changes nothing.
    ///
    /// # Errors
    /// [`RefundRefused`] with what to do instead.
    pub async fn propose(&self, charge: ChargeId, wish: &Wish) -> Result<Proposal, RefundRefused> {
        let at = self.engine.compare_clocks().await.map_err(|error| match error {
            EngineError::Store(error) => RefundRefused::Store(error),
            other => RefundRefused::Store(StoreError::Unavailable(other.to_string())),
        })?;
        let store = self.store();
        let found = store.charge(charge).await?.ok_or(RefundRefused::NoCharge(charge))?;
        let attempts = store.attempts(charge).await?;
        let payment = attempts.iter().rev().find_map(|attempt| attempt.payment_id.as_deref());
        let refunds: Vec<Refund> = store.refunds_of(charge).await?.into_iter().map(|record| record.refund).collect();
        let disputed = store.is_disputed(charge).await?;
        let ledger = Ledger { charge: &found, payment_id: payment, refunds: &refunds, disputed };
        let refund = refund::ask(&self.engine.inner.settings.environment, &ledger, wish, at)?;
        let (collected, _) = ledger.collected()?;
        Ok(Proposal { refund, collected, left: ledger.left()? })
    }

    /// Records a refund and sends nothing: the engine does.
    ///
    /// # Errors
    /// [`RefundRefused`]; nothing is recorded then.
    pub async fn record(&self, charge: ChargeId, wish: &Wish, by: &str) -> Result<Proposal, RefundRefused> {
        for _ in 0..MEETINGS_MAX {
            let proposal = self.propose(charge, wish).await?;
            // "All that is left" is what the person saw; should it change meanwhile, they are asked again.
            if self.store().record_refund(&proposal.refund, proposal.collected, by).await? {
                return Ok(proposal);
            }
            if wish.amount.is_none() {
                return Err(RefundRefused::Overtaken);
            }
        }
        Err(RefundRefused::Overtaken)
    }

    /// One pass over every refund that is due now, to its end or to `stop`.
    ///
    /// # Errors
    /// [`EngineError`] when the store failed; what was sent until then is recorded first, or found by the next pass.
    pub async fn run_once_until(&self, stop: CancellationToken) -> Result<RefundReport, EngineError> {
        let as_of = self.engine.compare_clocks().await?;
        let mut report = RefundReport::default();
        let mut waiting = Vec::new();
        let passed = self.pass(as_of, &stop, &mut report, &mut waiting).await;
        for (id, version) in waiting {
            self.store().release_refund(id, version).await?;
        }
        passed.map(|()| report)
    }

    /// Passes, heartbeat by heartbeat, until `stop`. Trouble with the store is told and waited out.
    pub async fn serve(&self, stop: CancellationToken) {
        let inner = &self.engine.inner;
        while !stop.is_cancelled() {
            let mut report = RefundReport::default();
            let passed = async {
                let as_of = self.engine.compare_clocks().await?;
                // What waits keeps its lease: a held refund is looked at once a lease and not once a second.
                self.pass(as_of, &stop, &mut report, &mut Vec::new()).await
            };
            if let Err(error) = passed.await {
                tracing::error!(event = "refund_pass_failed", error = %error, "no further refund is sent until the next pass succeeds");
            }
            if report.sent > 0 {
                tracing::info!(
                    event = "refund_pass",
                    sent = report.sent,
                    unknown = report.unknown,
                    "pass over refunds"
                );
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = inner.clock.sleep(inner.settings.heartbeat) => {}
            }
        }
    }

    /// Carries one refund out now and waits for its end, at most for `patience`. Returns it as it then stands.
    ///
    /// # Errors
    /// [`EngineError`] when the store failed.
    pub async fn carry_out(&self, id: RefundId, patience: Duration) -> Result<Option<RefundRecord>, EngineError> {
        let started = Instant::now();
        let stop = CancellationToken::new();
        loop {
            let as_of = self.engine.compare_clocks().await?;
            // The refund's own turn comes with everybody's: a command sends nothing that `serve` would not.
            let due =
                self.store().refund(id).await?.filter(|one| one.refund.state.next_at().is_some_and(|at| at <= as_of));
            if due.is_some() {
                self.pass(as_of, &stop, &mut RefundReport::default(), &mut Vec::new()).await?;
            }
            let found = self.store().refund(id).await?;
            let settled = found.as_ref().is_none_or(|one| one.refund.state.next_at().is_none());
            if settled || started.elapsed() >= patience || self.engine.inner.clock.is_turned() {
                return Ok(found);
            }
            self.engine.inner.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Asks the gateway about a refund now: by the id that is known, or by one that a person names.
    ///
    /// # Errors
    /// [`FindingRefused`].
    pub async fn ask_now(
        &self,
        id: RefundId,
        gateway_id: Option<&str>,
        by: &str,
    ) -> Result<RefundRecord, FindingRefused> {
        self.engine.compare_clocks().await?;
        let record = self.store().refund(id).await?.ok_or(FindingRefused::NoRefund(id))?;
        let word = record.refund.state.word();
        let named = gateway_id.or(record.refund.known_as()).map(ToOwned::to_owned).ok_or(FindingRefused::NotSo {
            word,
            why: "there is no id to ask by: find it in the vendor's dashboard or report, and name it with --gateway-id",
        })?;
        let before = self.decided(record.claimed(), Event::Learnt { id: named.clone() }, by, None).await?;
        let asked = self.ask(before, &CancellationToken::new()).await?;
        let found = self.store().refund(id).await?.ok_or(FindingRefused::NoRefund(id))?;
        // The machine forgets an id that is proven wrong.
        let kept = found.refund.known_as().is_some_and(|known| known.eq_ignore_ascii_case(&named));
        if asked.is_some() && !kept {
            return Err(FindingRefused::OtherRefund(named));
        }
        Ok(found)
    }

    /// One question about a refund, which changes nothing.
    pub(super) async fn question(&self, refund: &Refund, id: &str) -> RefundObservation {
        let answer = self.gateway.ask_refund(refund, id).await;
        self.feel(&answer).await;
        answer
    }

    /// Takes an answer through the refund's one door; `None` when it could only be kept as evidence.
    pub(super) async fn learn_of(
        &self,
        before: Claimed<Refund>,
        answer: RefundObservation,
    ) -> Result<Option<Refund>, StoreError> {
        let at = self.engine.now();
        Ok(self.keep(before, answer, at).await?.map(|kept| kept.value))
    }

    /// Keeps what a person found out, after the gateway was asked where there is an id to ask by.
    ///
    /// # Errors
    /// [`FindingRefused`]; nothing was decided then.
    pub async fn judge(
        &self,
        id: RefundId,
        finding: &Finding,
        by: &str,
        note: &str,
    ) -> Result<RefundRecord, FindingRefused> {
        self.engine.compare_clocks().await?;
        let mut record = self.store().refund(id).await?.ok_or(FindingRefused::NoRefund(id))?;
        let was_final = record.refund.state.next_at().is_none() && !matches!(record.refund.state, State::Parked { .. });
        let named = match finding {
            Finding::Refunded { gateway_id } => Some(gateway_id.as_str()),
            Finding::NotExecuted => None,
        };
        let known = named.is_some() || record.refund.known_as().is_some();
        if matches!(record.refund.state, State::Parked { .. } | State::Unknown { .. }) && known {
            record = self.ask_now(id, named, by).await?;
            if record.refund.state.next_at().is_none() && !matches!(record.refund.state, State::Parked { .. }) {
                return match (finding, &record.refund.state) {
                    (Finding::Refunded { .. }, State::Refunded { .. }) => Ok(record),
                    _ => Err(FindingRefused::AnsweredInstead { word: record.refund.state.word() }),
                };
            }
        }
        let event = match (finding, &record.refund.state) {
            (Finding::NotExecuted, State::Recorded { .. }) => Event::Withdraw,
            (Finding::NotExecuted, _) => Event::JudgedNotExecuted,
            (Finding::Refunded { gateway_id }, _) => Event::JudgedRefunded { id: gateway_id.clone() },
        };
        let decided = self.decided(record.claimed(), event, by, Some(note)).await;
        match decided {
            Ok(_) => self.store().refund(id).await?.ok_or(FindingRefused::NoRefund(id)),
            Err(FindingRefused::NotSo { word, .. }) if was_final => {
                Err(FindingRefused::NotSo { word, why: "that is final" })
            }
            Err(error) => Err(error),
        }
    }

    /// A person's step.
    async fn decided(
        &self,
        before: Claimed<Refund>,
        event: Event,
        by: &str,
        note: Option<&str>,
    ) -> Result<Claimed<Refund>, FindingRefused> {
        let (at, limits) = (self.engine.now(), &self.engine.inner.settings.limits);
        let word = before.value.state.word();
        let after = before.value.clone().step(event, at, limits).map_err(|refused| {
            let why = match refused.why {
                refund::Why::TooYoung => {
                    "it fell silent so lately that the gateway may still execute it: wait a quarter of an hour"
                }
                refund::Why::InFlight => "it is being sent or asked about: autopay still finds out on its own",
                refund::Why::OtherId => "another id is known or being asked about",
                refund::Why::NothingSent => "nothing was sent for it: `--as not-executed` withdraws it",
                refund::Why::Final => "that is final",
                refund::Why::SentOnce | refund::Why::NeedsAPerson => "its state does not allow it",
            };
            FindingRefused::NotSo { word, why }
        })?;
        let verdict = RefundVerdict {
            before,
            after: Some(after.clone()),
            observations: Vec::new(),
            by: by.to_owned(),
            note: note.map(ToOwned::to_owned),
            at,
        };
        match self.store().commit_refund(&verdict).await? {
            Kept::Applied(fence) => Ok(Claimed { value: after, fence }),
            Kept::Stale => Err(FindingRefused::Overtaken),
            Kept::Overdrawn => Err(FindingRefused::Overdrawn),
        }
    }

    async fn pass(
        &self,
        as_of: DateTime<Utc>,
        stop: &CancellationToken,
        report: &mut RefundReport,
        waiting: &mut Vec<(RefundId, i64)>,
    ) -> Result<(), EngineError> {
        let settings = &self.engine.inner.settings;
        // No more than can be under way at once: a claimed refund must not grow old waiting for its turn.
        let limit = settings.in_flight.max(1);
        while !stop.is_cancelled() {
            let lease = self.engine.now().checked_add_signed(settings.limits.lease).unwrap_or(as_of);
            let batch = u32::try_from(limit).unwrap_or(u32::MAX);
            let claimed = self.store().claim_refunds(settings.merchant, as_of, lease, batch).await?;
            if claimed.is_empty() {
                return Ok(());
            }
            let looks = claimed.into_iter().map(|record| async move {
                let key = (record.refund.id, record.version);
                (key, self.look_at(record, stop).await)
            });
            let left: Vec<_> = futures_util::stream::iter(looks).buffer_unordered(limit).collect().await;
            let mut trouble = None;
            for (key, left) in left {
                match left {
                    Ok(Left::Moved { refund, sent }) => count(&refund, sent, report),
                    Ok(Left::Waits) => {
                        report.waiting += 1;
                        waiting.push(key);
                    }
                    Ok(Left::Taken) => {}
                    Err(error) => trouble = Some(error),
                }
            }
            if let Some(error) = trouble {
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn look_at(&self, record: RefundRecord, stop: &CancellationToken) -> Result<Left, StoreError> {
        match &record.refund.state {
            State::Recorded { .. } => self.send(record.claimed(), stop).await,
            State::Sending { .. } => {
                let (at, limits) = (self.engine.now(), &self.engine.inner.settings.limits);
                match record.refund.clone().step(Event::LeaseRanOut, at, limits) {
                    Ok(after) => self.decide(record.claimed(), after, at).await,
                    Err(_) => Ok(Left::Taken),
                }
            }
            State::Settling { .. } | State::Unknown { .. } => match self.ask(record.claimed(), stop).await? {
                Some(refund) => Ok(Left::Moved { refund: Box::new(refund), sent: false }),
                None => Ok(Left::Waits),
            },
            State::Refunded { .. } | State::PartlyRefunded { .. } | State::Failed { .. } | State::Parked { .. } => {
                Ok(Left::Taken)
            }
        }
    }

    /// A step that no answer caused.
    async fn decide(&self, before: Claimed<Refund>, after: Refund, at: DateTime<Utc>) -> Result<Left, StoreError> {
        let verdict = RefundVerdict {
            before,
            after: Some(after.clone()),
            observations: Vec::new(),
            by: ENGINE.to_owned(),
            note: None,
            at,
        };
        match self.store().commit_refund(&verdict).await? {
            Kept::Applied(_) => {
                tell(&after);
                Ok(Left::Moved { refund: Box::new(after), sent: false })
            }
            Kept::Stale | Kept::Overdrawn => Ok(Left::Taken),
        }
    }

    /// The last look, the commit, and the one submission.
    async fn send(&self, before: Claimed<Refund>, stop: &CancellationToken) -> Result<Left, StoreError> {
        let (store, limits) = (self.store(), &self.engine.inner.settings.limits);
        let refund = before.value.clone();
        let Some(holds_seen) = self.free_of_holds(&refund).await? else { return Ok(Left::Waits) };
        if let Err(why) = self.still_allowed(&refund).await? {
            let at = self.engine.now();
            let Ok(after) = refund.step(Event::Refuse { code: why.to_string() }, at, limits) else {
                return Ok(Left::Taken);
            };
            return self.decide(before, after, at).await;
        }
        self.engine.inner.throttle.permit().await?;
        let look = self.gateway.look(&refund).await;
        let at = self.engine.now();
        let event = match look {
            Look::Complete(parts) => match self.gateway.compose_refund(&refund, &parts) {
                Ok(body) => return self.send_once(before, body, holds_seen, stop).await,
                Err(why) => Event::Refuse { code: why },
            },
            Look::NotComplete(why) => Event::Refuse { code: why },
            Look::NotNow { wait, why, rate_limited } => {
                if rate_limited {
                    let time = wait.and_then(|wait| wait.to_std().ok()).unwrap_or(Duration::from_secs(1));
                    self.engine.inner.throttle.blocked(time).await;
                }
                tracing::warn!(event = "refund_put_off", refund_id = %refund.id, why, "nothing was sent; looked at again later");
                Event::PutOff { wait }
            }
        };
        let Ok(after) = refund.step(event, at, limits) else { return Ok(Left::Taken) };
        match store
            .commit_refund(&RefundVerdict {
                before,
                after: Some(after.clone()),
                observations: Vec::new(),
                by: ENGINE.to_owned(),
                note: None,
                at,
            })
            .await?
        {
            Kept::Applied(_) => Ok(Left::Moved { refund: Box::new(after), sent: false }),
            Kept::Stale | Kept::Overdrawn => Ok(Left::Taken),
        }
    }

    async fn send_once(
        &self,
        before: Claimed<Refund>,
        body: domain::attempt::Body,
        mut holds_seen: Vec<i64>,
        stop: &CancellationToken,
    ) -> Result<Left, StoreError> {
        let (store, inner) = (self.store(), &self.engine.inner);
        // The permit first: after the commit nothing may stand between the refund and the wire.
        inner.throttle.permit().await?;
        for _ in 0..REDRAWS_MAX {
            if stop.is_cancelled() {
                return Ok(Left::Waits);
            }
            let at = self.engine.now();
            let Ok(after) = before.value.clone().step(Event::Send, at, &inner.settings.limits) else {
                return Ok(Left::Taken);
            };
            let intent = RefundIntent { before: before.clone(), after, body: body.clone(), at, holds_seen };
            match store.begin_refund(&intent).await? {
                Begun::Committed(sendable) => {
                    let sent = sendable.claimed();
                    let answer = self.gateway.send(*sendable).await;
                    let at = self.engine.now();
                    return self.learn(sent, answer, at, stop).await;
                }
                Begun::Lost => return Ok(Left::Taken),
                Begun::HoldsChanged => match self.free_of_holds(&before.value).await? {
                    Some(seen) => holds_seen = seen,
                    None => return Ok(Left::Waits),
                },
            }
        }
        Ok(Left::Waits)
    }

    /// The answer to the one submission, and where the gateway has it a first question.
    async fn learn(
        &self,
        sent: Claimed<Refund>,
        answer: RefundObservation,
        at: DateTime<Utc>,
        stop: &CancellationToken,
    ) -> Result<Left, StoreError> {
        self.feel(&answer).await;
        let id = sent.value.id;
        let Some(learnt) = self.keep(sent, answer, at).await? else { return Ok(Left::Taken) };
        if !matches!(learnt.value.state, State::Settling { .. }) || stop.is_cancelled() {
            return Ok(Left::Moved { refund: Box::new(learnt.value), sent: true });
        }
        let inner = &self.engine.inner;
        if !inner.clock.is_turned() {
            inner.clock.sleep(inner.settings.settle_wait).await;
        }
        let refund = match self.ask(learnt.clone(), stop).await {
            Ok(asked) => asked.unwrap_or(learnt.value),
            Err(error) => {
                tracing::warn!(event = "refund_ask_failed", refund_id = %id, error = %error, "asked again by the next pass");
                learnt.value
            }
        };
        Ok(Left::Moved { refund: Box::new(refund), sent: true })
    }

    /// Asks by the id there is; `None` when there was no asking now.
    async fn ask(&self, before: Claimed<Refund>, stop: &CancellationToken) -> Result<Option<Refund>, StoreError> {
        let Some(id) = before.value.known_as().map(ToOwned::to_owned) else { return Ok(None) };
        if stop.is_cancelled() || self.engine.inner.throttle.permit().await.is_err() {
            return Ok(None);
        }
        let answer = self.question(&before.value, &id).await;
        self.learn_of(before, answer).await
    }

    /// Commits what an answer makes of a refund. Whoever moved it meanwhile (an event named its id, a lease ran out) is read
    /// and the answer applied to that: truth is welcome late. `None` when it could only be kept as evidence.
    async fn keep(
        &self,
        mut before: Claimed<Refund>,
        answer: RefundObservation,
        at: DateTime<Utc>,
    ) -> Result<Option<Claimed<Refund>>, StoreError> {
        let id = before.value.id;
        for _ in 0..MEETINGS_MAX {
            let after = self.stepped(&before.value, &answer, at);
            let verdict = RefundVerdict {
                before: before.clone(),
                after: after.clone(),
                observations: vec![(at, answer.clone())],
                by: ENGINE.to_owned(),
                note: None,
                at,
            };
            match self.commit_patiently(&verdict).await {
                Ok(Kept::Applied(fence)) => {
                    let Some(value) = after else { return Ok(None) };
                    tell(&value);
                    return Ok(Some(Claimed { value, fence }));
                }
                Ok(Kept::Overdrawn) => {
                    tracing::error!(event = "refund_overdrawn", refund_id = %id, "the answer would give back more than was collected; a person must look");
                    return Ok(None);
                }
                Ok(Kept::Stale) => {}
                // The gateway's id belongs to another refund of ours: whatever it is, it is not this one's.
                Err(StoreError::Refused(why)) => {
                    tracing::error!(event = "verdict_refused", refund_id = %id, error = why, "the answer contradicts the book");
                    return self.contradicted(before, &answer, at).await;
                }
                Err(error) => {
                    let known = answered_id(&answer).unwrap_or("none");
                    tracing::error!(event = "verdict_dropped", refund_id = %id, detail = known, error = %error, "a person must resolve it by the gateway's id in `detail`");
                    return Err(error);
                }
            }
            match self.store().refund(id).await? {
                Some(found) => before = found.claimed(),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn stepped(&self, before: &Refund, answer: &RefundObservation, at: DateTime<Utc>) -> Option<Refund> {
        let limits = &self.engine.inner.settings.limits;
        let mut now = before.clone();
        if let Some(id) = &answer.named {
            now = now.clone().step(Event::Learnt { id: id.clone() }, at, limits).unwrap_or(now);
        }
        match now.step(answer.event.clone(), at, limits) {
            Ok(after) => Some(after),
            Err(refused) => {
                tracing::warn!(event = "observation_refused", refund_id = %before.id, refused = %refused, "kept as evidence only");
                None
            }
        }
    }

    async fn contradicted(
        &self,
        before: Claimed<Refund>,
        answer: &RefundObservation,
        at: DateTime<Utc>,
    ) -> Result<Option<Claimed<Refund>>, StoreError> {
        let limits = &self.engine.inner.settings.limits;
        let Ok(after) = before.value.clone().step(Event::Mismatch, at, limits) else { return Ok(None) };
        let detail = format!("the gateway's id {} belongs to another refund", answered_id(answer).unwrap_or("?"));
        let observation = RefundObservation { event: Event::Mismatch, detail: Some(detail), ..answer.clone() };
        let verdict = RefundVerdict {
            before,
            after: Some(after.clone()),
            observations: vec![(at, observation)],
            by: ENGINE.to_owned(),
            note: None,
            at,
        };
        match self.store().commit_refund(&verdict).await? {
            Kept::Applied(fence) => {
                tell(&after);
                Ok(Some(Claimed { value: after, fence }))
            }
            Kept::Stale | Kept::Overdrawn => Ok(None),
        }
    }

    /// An answer is worth waiting for the database: there is no second one.
    async fn commit_patiently(&self, verdict: &RefundVerdict) -> Result<Kept, StoreError> {
        let mut tries = 0;
        loop {
            match self.store().commit_refund(verdict).await {
                Err(StoreError::Unavailable(why)) if tries < OUTAGE_TRIES => {
                    tries += 1;
                    tracing::error!(
                        event = "store_unavailable",
                        why,
                        waiting = 1_u64,
                        "a refund's answer waits for the database"
                    );
                    self.engine.inner.clock.sleep(Duration::from_secs(1)).await;
                }
                done => return done,
            }
        }
    }

    /// The holds in force, unless one of them covers the refund.
    async fn free_of_holds(&self, refund: &Refund) -> Result<Option<Vec<i64>>, StoreError> {
        let holds = self.store().holds().await?;
        let view = self.store().subscription(&refund.subscription).await?;
        let charge = self.store().charge(refund.charge).await?;
        let held = view
            .zip(charge)
            .is_none_or(|(view, charge)| holds.iter().any(|hold| hold.covers_charge(&charge, &view.subscription)));
        Ok((!held || holds.is_empty()).then(|| holds.iter().map(|hold| hold.id).collect()))
    }

    /// Do the rules that time and other people change still hold?
    async fn still_allowed(&self, refund: &Refund) -> Result<Result<(), NotRefundable>, StoreError> {
        let Some(charge) = self.store().charge(refund.charge).await? else { return Ok(Err(NotRefundable::NoPayment)) };
        let disputed = self.store().is_disputed(refund.charge).await?;
        let ledger = Ledger { charge: &charge, payment_id: Some(&refund.payment_id), refunds: &[], disputed };
        Ok(may_still_be_sent(&ledger, self.engine.now()))
    }

    async fn feel(&self, answer: &RefundObservation) {
        let throttle = &self.engine.inner.throttle;
        match (&answer.event, answer.http_status) {
            (Event::NotExecuted { wait, .. }, Some(429)) => {
                let time = wait.and_then(|wait: TimeDelta| wait.to_std().ok()).unwrap_or(Duration::from_secs(1));
                throttle.blocked(time).await;
            }
            (Event::Silent, None | Some(500..)) | (Event::NotExecuted { .. }, None) => throttle.felt(true).await,
            (_, Some(_)) => throttle.felt(false).await,
            (_, None) => {}
        }
    }
}

/// The gateway's id in an answer, for the log of an answer that could not be kept.
fn answered_id(answer: &RefundObservation) -> Option<&str> {
    match &answer.event {
        Event::Accepted { id } | Event::Completed { id, .. } | Event::PartlyCompleted { id, .. } => Some(id),
        Event::Declined { id, .. } => id.as_deref(),
        Event::Send
        | Event::PutOff { .. }
        | Event::Refuse { .. }
        | Event::Withdraw
        | Event::LeaseRanOut
        | Event::Rejected { .. }
        | Event::NotExecuted { .. }
        | Event::KeyUsed
        | Event::Absent
        | Event::Silent
        | Event::Mismatch
        | Event::Learnt { .. }
        | Event::JudgedRefunded { .. }
        | Event::JudgedNotExecuted => answer.named.as_deref(),
    }
}

fn tell(refund: &Refund) {
    metrics::counter!("autopay_refunds_total", "outcome" => refund.state.name()).increment(1);
    if matches!(refund.state, State::Parked { .. }) {
        tracing::error!(event = "refund_parked", refund_id = %refund.id, charge_id = %refund.charge, why = refund.sentence(), "a person must look");
    }
}

fn count(refund: &Refund, sent: bool, report: &mut RefundReport) {
    report.sent += u64::from(sent);
    let place = match &refund.state {
        State::Refunded { .. } | State::PartlyRefunded { .. } => &mut report.refunded,
        State::Settling { .. } | State::Sending { .. } => &mut report.settling,
        State::Failed { .. } => &mut report.failed,
        State::Unknown { .. } | State::Parked { .. } => &mut report.unknown,
        State::Recorded { .. } => &mut report.waiting,
    };
    *place += 1;
}
