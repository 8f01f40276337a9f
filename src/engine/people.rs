//! What people ask of the engine about one charge: an answer now, a decision kept, a payment given up.
//!
//! The gateway's word always goes before a person's: it is asked first, and a definitive answer is taken instead of an opinion.

use chrono::{DateTime, Utc};
use thiserror::Error;

use domain::agenda::observe;
use domain::authorization::OrderKind;
use domain::charge::{Charge, Event, State};
use domain::id::ChargeId;
use domain::plan::Mode;

use super::pipeline::tell_new_codes;
use super::{Engine, EngineError};
use crate::ports::captures::OrderRecord;
use crate::ports::people::{CancelGateway, CancelReason, PersonsNote};
use crate::ports::{Claimed, Observation, Observed, OpenCharge, Question, StoreError, Verdict};

/// What a question by a person led to.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The charge as it stands now.
    pub charge: Charge,
    /// What the gateway showed; `None` when there was nothing to ask by.
    pub seen: Option<Observation>,
    /// What the gateway said to a request to give the payment up.
    pub said: Option<String>,
}

/// Why a person's command did nothing.
#[derive(Debug, Error)]
pub enum PersonRefused {
    /// There is no such charge.
    #[error("there is no charge {0}")]
    NoCharge(ChargeId),
    /// Its state allows no such thing.
    #[error("the charge is {word}: {why}")]
    NotSo {
        /// The charge's word.
        word: &'static str,
        /// What would be needed.
        why: &'static str,
    },
    /// The gateway has answered meanwhile, and its word counts.
    #[error("the gateway answered, and the charge is {word} now: nothing is left to decide")]
    AnsweredInstead {
        /// The charge's word.
        word: &'static str,
    },
    /// Somebody else works on it right now.
    #[error("the charge is being sent or asked about right now: try again in a minute and a half")]
    Busy,
    /// The engine or its store failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<StoreError> for PersonRefused {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

impl Engine {
    /// Asks the gateway about a charge now, whatever its ladder says, and takes the answer through the usual door.
    ///
    /// # Errors
    /// [`PersonRefused`].
    pub async fn ask_about(&self, id: ChargeId) -> Result<Answered, PersonRefused> {
        let at = self.compare_clocks().await?;
        let charge = self.inner.store.charge(id).await?.ok_or(PersonRefused::NoCharge(id))?;
        if !matches!(charge.state, State::Unknown { .. } | State::Settling { .. } | State::Parked { .. }) {
            let why = "there is nothing unknown to ask about";
            return Err(PersonRefused::NotSo { word: charge.state.word(), why });
        }
        let claimed = self.take(id, at, None).await?;
        self.question(claimed).await
    }

    /// Keeps a person's decision about a parked charge, after the gateway was asked once more.
    ///
    /// # Errors
    /// [`PersonRefused`], [`PersonRefused::AnsweredInstead`] among them.
    pub async fn judge(&self, id: ChargeId, paid: bool, note: &PersonsNote) -> Result<Charge, PersonRefused> {
        let asked = self.ask_about(id).await?;
        let word = asked.charge.state.word();
        if !matches!(asked.charge.state, State::Parked { .. }) {
            return Err(match asked.charge.state {
                State::Unknown { .. } | State::Settling { .. } => PersonRefused::NotSo {
                    word,
                    why: "autopay still asks on its own; only what it gave up on is decided by people",
                },
                State::Planned
                | State::Due { .. }
                | State::Sending { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. }
                | State::Paid { .. }
                | State::Returned { .. }
                | State::Failing { .. }
                | State::Failed { .. }
                | State::Skipped { .. }
                | State::Parked { .. } => PersonRefused::AnsweredInstead { word },
            });
        }
        // What a capture was to take is the amount, and only the gateway knows whether it was taken.
        let orders = self.inner.store.orders(&[id]).await?;
        let in_part = |order: &OrderRecord| {
            order.kind == OrderKind::Capture
                && order.attempt == asked.charge.tries.attempt
                && order.amount != asked.charge.amount
        };
        if paid && orders.iter().any(in_part) {
            let why =
                "a part of it was to be captured, and only the gateway says how much was taken: ask it again later";
            return Err(PersonRefused::NotSo { word, why });
        }
        let at = self.now();
        let Claimed { value, fence } = self.take(id, at, None).await?;
        let before = Claimed { value: value.open.charge, fence };
        let judged = before.value.clone().step(Event::Judged { paid }, at, &self.inner.settings.limits);
        let Ok(after) = judged else {
            self.inner.store.release(&[], &[(id, fence)]).await?;
            return Err(PersonRefused::NotSo { word, why: "nothing was ever sent for it" });
        };
        if !self.inner.store.judge_charge(&before, &after, note, at).await? {
            return Err(PersonRefused::Busy);
        }
        tracing::info!(event = "charge_judged", charge_id = %id, state = after.state.name(), "a person decided");
        Ok(after)
    }

    /// Keeps a person's decision about a charge whose amount lies outside its plan's bounds: it is charged all the same, at the
    /// next pass, or not at all. The gateway has never heard of it.
    ///
    /// # Errors
    /// [`PersonRefused`].
    pub async fn decide(&self, id: ChargeId, charge: bool, note: &PersonsNote) -> Result<Charge, PersonRefused> {
        let found = self.inner.store.charge(id).await?.ok_or(PersonRefused::NoCharge(id))?;
        let (event, limits) = (Event::Decided { charge }, &self.inner.settings.limits);
        let at = self.now();
        if found.clone().step(event.clone(), at, limits).is_err() {
            let why = "only a charge whose amount is outside its plan's minimum and maximum is decided so";
            return Err(PersonRefused::NotSo { word: found.state.word(), why });
        }
        let Claimed { value, fence } = self.take(id, at, None).await?;
        let before = Claimed { value: value.open.charge, fence };
        let Ok(after) = before.value.clone().step(event, at, limits) else {
            self.inner.store.release(&[], &[(id, fence)]).await?;
            return Err(PersonRefused::Busy);
        };
        if !self.inner.store.judge_charge(&before, &after, note, at).await? {
            return Err(PersonRefused::Busy);
        }
        tracing::info!(event = "charge_decided", charge_id = %id, state = after.state.name(), "a person decided");
        Ok(after)
    }

    /// Asks the gateway to give up a payment that is not complete. The request is recorded before it is sent, and what became of
    /// the payment is learnt by asking.
    ///
    /// # Errors
    /// [`PersonRefused`]; nothing was sent then.
    pub async fn cancel_at_gateway(
        &self,
        gateway: &dyn CancelGateway,
        id: ChargeId,
        reason: CancelReason,
        by: &str,
    ) -> Result<Answered, PersonRefused> {
        let at = self.compare_clocks().await?;
        let charge = self.inner.store.charge(id).await?.ok_or(PersonRefused::NoCharge(id))?;
        let word = charge.state.word();
        if matches!(charge.state, State::Authorized { .. } | State::Capturing { .. } | State::Releasing { .. }) {
            let why =
                "what is set aside is not given up by a person in this version: uncaptured, it goes back by itself";
            return Err(PersonRefused::NotSo { word, why });
        }
        if !matches!(charge.state, State::Settling { .. } | State::Unknown { .. }) {
            let why =
                "only a payment that the gateway has and has not finished can be given up; a paid one is refunded";
            return Err(PersonRefused::NotSo { word, why });
        }
        // Of a plan that sets money aside a cancelled payment is one that went back, and the plan may set it aside again.
        let catalog = self.inner.store.catalog().await?;
        if catalog.plans.get(&charge.plan).is_some_and(|plan| matches!(plan.mode, Mode::Authorize { .. })) {
            let why =
                "its plan sets money aside: nothing is taken unless someone captures, and uncaptured it goes back";
            return Err(PersonRefused::NotSo { word, why });
        }
        let attempts = self.inner.store.attempts(id).await?;
        let payment = attempts.iter().rev().find(|attempt| attempt.number == charge.tries.attempt);
        let Some(payment) = payment.and_then(|attempt| attempt.payment_id.clone()) else {
            let why = "the gateway's id of its payment is not known yet: `autopay charges resolve --ask`";
            return Err(PersonRefused::NotSo { word: charge.state.word(), why });
        };
        let detail = format!("payment {payment} reason {}", reason.as_str());
        let note = PersonsNote { by: by.to_owned(), action: "charge.cancel_sent", detail };
        let claimed = self.take(id, at, Some(&note)).await?;
        self.inner.throttle.permit().await?;
        let said = gateway.cancel_payment(&payment, reason).await;
        if !self.inner.clock.is_turned() {
            self.inner.clock.sleep(self.inner.settings.settle_wait).await;
        }
        let answered = self.question(claimed).await?;
        Ok(Answered { said: Some(said), ..answered })
    }

    async fn take(
        &self,
        id: ChargeId,
        at: DateTime<Utc>,
        note: Option<&PersonsNote>,
    ) -> Result<Claimed<OpenCharge>, PersonRefused> {
        let lease = at.checked_add_signed(self.inner.settings.limits.lease).unwrap_or(at);
        self.inner.store.take_charge(id, at, lease, note).await?.ok_or(PersonRefused::Busy)
    }

    /// Puts the question, and commits what the answer makes of the charge; the claim is given back where it makes nothing.
    async fn question(&self, claimed: Claimed<OpenCharge>) -> Result<Answered, PersonRefused> {
        let (store, limits) = (&self.inner.store, &self.inner.settings.limits);
        let Claimed { value, fence } = claimed;
        let (charge, subscription) = (value.open.charge, value.open.subscription);
        let Some(attempt) = value.attempt else {
            store.release(&[], &[(charge.id, fence)]).await?;
            return Ok(Answered { charge, seen: None, said: None });
        };
        let question = Question { key: attempt.key, payment_id: attempt.payment_id, amount: charge.amount };
        self.inner.throttle.permit().await?;
        let seen = self.inner.gateway.ask(&question).await;
        let at = self.now();
        let catalog = store.catalog().await?;
        let wallet = self.backups_of(&subscription).await?;
        let learnt = observe((&catalog, &wallet), &subscription, charge.clone(), &seen.seen, at, limits);
        let (after, stop) = learnt.map_or((None, None), |learnt| (Some(learnt.charge), learnt.stop));
        let moved = after.is_some();
        let to_state = after.as_ref().map(|after| after.state.name());
        let verdict = Verdict {
            before: Claimed { value: charge.clone(), fence },
            after,
            attempt: attempt.number,
            observations: vec![Observed { at, observation: seen.clone(), to_state }],
            stop,
        };
        let done = store.commit_verdicts(std::slice::from_ref(&verdict)).await?;
        tell_new_codes(&done.new_codes);
        if !moved {
            store.release(&[], &[(charge.id, fence)]).await?;
        }
        let charge = store.charge(charge.id).await?.unwrap_or(charge);
        Ok(Answered { charge, seen: Some(seen), said: None })
    }
}
