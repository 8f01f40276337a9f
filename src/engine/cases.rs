//! Where trying ends or begins again without an answer: rulings of people about charges that failed, and cases for which nothing is left to try
//! them with.
//!
//! What a person wants tried is drawn first, by the same agenda that sends it, so that what is promised is what happens.

use chrono::{DateTime, Utc};
use thiserror::Error;

use domain::agenda::{Book, NotNow, Open, put_off, try_now};
use domain::charge::{Charge, Event, ParkWhy, Refused, Ruling, State, Why};
use domain::dunning::{AtTheEnd, GaveUp, Stop};
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
    /// The policy makes no try on the day to which it was to be put off.
    #[error("it may not be tried then: {0}")]
    NotThen(String),
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

/// Does more than the charge say whether a ruling may be carried out?
const fn is_weighed(ruling: Ruling) -> bool {
    match ruling {
        Ruling::TryNow | Ruling::PutOff { .. } => true,
        Ruling::WriteOff | Ruling::GiveUp { .. } | Ruling::NewMethod | Ruling::FirstMethod => false,
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
        if is_in_doubt(&charge.state) || !is_weighed(ruling) {
            return self.ruled(&charge, ruling);
        }
        let view = self.inner.store.subscription(&charge.subscription).await?;
        let Some(view) = view else { return Err(RulingRefused::NoCharge(id)) };
        let attempts = self.inner.store.attempts(id).await?;
        let instrument = attempts.last().map(|attempt| attempt.method);
        let payers = self.inner.store.payers(&[id]).await?.remove(&id).unwrap_or_default();
        let refunds = self.inner.store.refunds_of(id).await?;
        let refund_ordered = refunds.iter().any(|record| record.refund.is_ordered());
        let open = Open { charge, subscription: view.subscription, payers, instrument, refund_ordered };
        self.weighed(&open, ruling).await
    }

    /// The charge once a ruling is carried out, whatever is known beside it.
    fn ruled(&self, charge: &Charge, ruling: Ruling) -> Result<Charge, RulingRefused> {
        let ruled = charge.clone().step(Event::Ruled(ruling), self.now(), &self.inner.settings.limits);
        ruled.map_err(|why| refused(charge, why))
    }

    /// The charge once a ruling is carried out, if its subscription, its policy and its instrument allow that.
    async fn weighed(&self, open: &Open, ruling: Ruling) -> Result<Charge, RulingRefused> {
        match ruling {
            Ruling::TryNow => self.may_be_tried(open).await,
            Ruling::PutOff { until } => {
                let catalog = self.inner.store.catalog().await?;
                let put_off = put_off(&catalog, open, until, self.now(), &self.inner.settings.limits);
                put_off.map_err(|why| match why {
                    NotNow::Refused(why) => refused(&open.charge, why),
                    NotNow::Because(why) => RulingRefused::NotThen(why),
                })
            }
            Ruling::WriteOff | Ruling::GiveUp { .. } | Ruling::NewMethod | Ruling::FirstMethod => {
                self.ruled(&open.charge, ruling)
            }
        }
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
        let after = self.weighed(&taken.open, ruling).await?;
        let ruled = Ruled {
            before: Claimed { value: before.clone(), fence },
            stop: stops(&after, gave_up(ruling)),
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
    async fn may_be_tried(&self, open: &Open) -> Result<Charge, RulingRefused> {
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
        for Ending { before, after, why, because } in endings {
            let note = PersonsNote { by: "autopay".to_owned(), action: "charge.given_up", detail: because };
            let ruled = Ruled { stop: stops(&after, Some(why)), before, after, note };
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

/// Why trying ends with a ruling, if it does.
const fn gave_up(ruling: Ruling) -> Option<GaveUp> {
    match ruling {
        Ruling::GiveUp { why } => Some(why),
        Ruling::TryNow | Ruling::WriteOff | Ruling::PutOff { .. } | Ruling::NewMethod | Ruling::FirstMethod => None,
    }
}

/// What the end of this charge, where a ruling gave it up, does to its subscription. What a person writes off does nothing.
fn stops(after: &Charge, gave_up: Option<GaveUp>) -> Option<Stop> {
    let end = || after.tries.episode.as_ref().map_or(AtTheEnd::KeepSubscription, |episode| episode.end_action);
    match &after.state {
        State::Failed { why, .. } => why.stops(end()),
        // What came back after its subscription was over is for people to collect.
        State::Returned { next_at: None, .. } => gave_up.filter(|why| *why != GaveUp::MustAct)?.stops(end()),
        State::Planned
        | State::Due { .. }
        | State::Sending { .. }
        | State::Unknown { .. }
        | State::Settling { .. }
        | State::Authorized { .. }
        | State::Capturing { .. }
        | State::Releasing { .. }
        | State::Paid { .. }
        | State::Returned { next_at: Some(_), .. }
        | State::Failing { .. }
        | State::Skipped { .. }
        | State::Parked { .. } => None,
    }
}
