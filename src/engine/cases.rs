//! Where trying ends or begins again without an answer: rulings of people about charges that failed, and cases for which nothing is left to try
//! them with.
//!
//! What a person wants tried is drawn first, by the same agenda that sends it, so that what is promised is what happens.

use chrono::{DateTime, Utc};
use thiserror::Error;

use domain::agenda::{Book, NotNow, try_now};
use domain::charge::{Charge, Event, ParkWhy, Refused, Ruling, State, Why};
use domain::dunning::{AtTheEnd, Stop};
use domain::id::{ChargeId, PaymentMethodId};
use domain::notice::Notices;

use super::decide::Ending;
use super::{Engine, EngineError};
use crate::ports::cases::Ruled;
use crate::ports::people::PersonsNote;
use crate::ports::{Claimed, OpenCharge, StoreError};

/// Why a ruling was not carried out; nothing was changed then.
#[derive(Debug, Error)]
pub enum RulingRefused {
    /// There is no such charge.
    #[error("there is no charge {0}")]
    NoCharge(ChargeId),
    /// Whether money moved is not known: nothing may be decided before it is.
    #[error("whether money moved is not known: ask the gateway with `autopay charges resolve {0} --ask`")]
    OutcomeUnknown(ChargeId),
    /// Its state allows no such thing.
    #[error("the charge is {word}: {why}")]
    NotSo {
        /// The charge's word.
        word: &'static str,
        /// What would be needed.
        why: &'static str,
    },
    /// Something stands in the way: a hold, the method, the rule of a network with its version and source.
    #[error("it may not be tried now: {0}")]
    NotNow(String),
    /// Somebody else works on it right now.
    #[error("the charge is being sent or asked about right now: try again in a minute and a half")]
    Busy,
    /// The engine or its store failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<StoreError> for RulingRefused {
    fn from(error: StoreError) -> Self {
        Self::Engine(error.into())
    }
}

/// Is it not known whether money moved?
fn is_in_doubt(state: &State) -> bool {
    match state {
        State::Unknown { .. } | State::Due { doubt: true, .. } => true,
        State::Parked { why, .. } => match why {
            ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => true,
            ParkWhy::Rejected
            | ParkWhy::NoMethod
            | ParkWhy::Damaged
            | ParkWhy::WrongMethod
            | ParkWhy::HoldExpired
            | ParkWhy::OutOfBounds => false,
        },
        State::Planned
        | State::Due { doubt: false, .. }
        | State::Sending { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Failed { .. }
        | State::Skipped { .. } => false,
    }
}

/// What a refused step of a charge means to whoever wanted it.
fn refused(charge: &Charge, refused: Refused) -> RulingRefused {
    let word = charge.state.word();
    let not = |why| RulingRefused::NotSo { word, why };
    if is_in_doubt(&charge.state) {
        return RulingRefused::OutcomeUnknown(charge.id);
    }
    match refused.why {
        Why::InFlight => not("it is under way: what becomes of it is learnt first"),
        Why::NothingAsked => not("nothing of it was declined"),
        Why::NeedsAPerson => not("what it waits for is something else: see `autopay charges show`"),
        Why::CarriesOthers => not("it carries cycles of other subscriptions, which are owed all the same"),
        Why::Final | Why::WrongAttempt | Why::MayNotBeSentAgain | Why::MoreThanAuthorized => {
            not("that is final: nothing more becomes of it")
        }
    }
}

impl Engine {
    /// The charge as it would stand after a ruling, if it may be carried out now. Changes nothing.
    ///
    /// # Errors
    /// [`RulingRefused`].
    pub async fn foresee_ruling(&self, id: ChargeId, ruling: Ruling) -> Result<Charge, RulingRefused> {
        let charge = self.inner.store.charge(id).await?.ok_or(RulingRefused::NoCharge(id))?;
        if ruling == Ruling::TryNow && !is_in_doubt(&charge.state) {
            let view = self.inner.store.subscription(&charge.subscription).await?;
            let Some(view) = view else { return Err(RulingRefused::NoCharge(id)) };
            let attempts = self.inner.store.attempts(id).await?;
            let instrument = attempts.last().map(|attempt| attempt.method);
            let payers = self.inner.store.payers(&[id]).await?.remove(&id).unwrap_or_default();
            let refunds = self.inner.store.refunds_of(id).await?;
            let refund_ordered = refunds.iter().any(|record| record.refund.is_ordered());
            let subscription = view.subscription;
            let open = domain::agenda::Open { charge, subscription, payers, instrument, refund_ordered };
            return self.may_be_tried(&open).await;
        }
        let at = self.now();
        charge.clone().step(Event::Ruled(ruling), at, &self.inner.settings.limits).map_err(|why| refused(&charge, why))
    }

    /// Carries out what a person decided about a charge that failed, with its audit rows, in one transaction. A try is made at the next pass.
    ///
    /// # Errors
    /// [`RulingRefused`]; nothing was changed then.
    pub async fn rule(&self, id: ChargeId, ruling: Ruling, note: &PersonsNote) -> Result<Charge, RulingRefused> {
        self.foresee_ruling(id, ruling).await?;
        let at = self.now();
        let lease = at.checked_add_signed(self.inner.settings.limits.lease).unwrap_or(at);
        let taken = self.inner.store.take_charge(id, at, lease, None).await?;
        let Claimed { value, fence } = taken.ok_or(RulingRefused::Busy)?;
        let done = self.rule_taken(&value, fence, ruling, note).await;
        if done.is_err() {
            self.inner.store.release(&[], &[(id, fence)]).await?;
        }
        done
    }

    async fn rule_taken(
        &self,
        taken: &OpenCharge,
        fence: i64,
        ruling: Ruling,
        note: &PersonsNote,
    ) -> Result<Charge, RulingRefused> {
        let (before, at) = (&taken.open.charge, self.now());
        // Looked at once more, now that nobody else moves it.
        let after = if ruling == Ruling::TryNow {
            self.may_be_tried(&taken.open).await?
        } else {
            let ruled = before.clone().step(Event::Ruled(ruling), at, &self.inner.settings.limits);
            ruled.map_err(|why| refused(before, why))?
        };
        let ruled = Ruled {
            before: Claimed { value: before.clone(), fence },
            stop: stops(&after),
            after: after.clone(),
            note: note.clone(),
        };
        if !self.inner.store.rule_on_charge(&ruled, at).await? {
            return Err(RulingRefused::Busy);
        }
        tracing::info!(event = "charge_ruled", charge_id = %after.id, state = after.state.name(), why = ruling.name(), "a person decided");
        Ok(after)
    }

    /// The charge once a person wants it tried now, if the agenda would send it.
    async fn may_be_tried(&self, open: &domain::agenda::Open) -> Result<Charge, RulingRefused> {
        let store = &self.inner.store;
        let (catalog, holds) = (store.catalog().await?, store.holds().await?);
        let methods: Vec<PaymentMethodId> =
            open.subscription.methods().map(|method| method.id).chain(open.instrument).collect();
        let wallet = store.wallet(&methods).await?;
        let book = Book {
            catalog: &catalog,
            environment: &self.inner.settings.environment,
            holds: &holds,
            due: &[],
            open: &[],
            limits: &self.inner.settings.limits,
            wallet: &wallet,
            notices: Notices::Assumed,
        };
        try_now(&book, open, self.now()).map_err(|why| match why {
            NotNow::Refused(why) => refused(&open.charge, why),
            NotNow::Because(why) => RulingRefused::NotNow(why),
        })
    }

    /// Ends cases for which nothing is left to try them with. Returns how many ended.
    pub(super) async fn give_up(&self, endings: Vec<Ending>) -> Result<u64, EngineError> {
        let mut ended = 0;
        for Ending { before, after, because } in endings {
            let note = PersonsNote { by: "autopay".to_owned(), action: "charge.given_up", detail: because };
            let ruled = Ruled { stop: stops(&after), before, after, note };
            let at: DateTime<Utc> = self.now();
            if self.inner.store.rule_on_charge(&ruled, at).await? {
                ended += 1;
                tracing::info!(
                    event = "charge_given_up",
                    charge_id = %ruled.after.id,
                    why = ruled.after.sentence(),
                    "trying has ended"
                );
            }
        }
        Ok(ended)
    }
}

/// What the end of this charge does to its subscription. What a person writes off does nothing.
fn stops(after: &Charge) -> Option<Stop> {
    match &after.state {
        State::Failed { why, .. } => {
            let end = after.tries.episode.as_ref().map_or(AtTheEnd::KeepSubscription, |episode| episode.end_action);
            why.stops(end)
        }
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { .. }
        | State::Failing { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    }
}
