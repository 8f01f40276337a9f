//! What becomes of a charge whose tries were declined, beside the tries themselves: what a person decides, and where trying ends without a
//! decline.

use chrono::{DateTime, Utc};

use super::{Charge, Event, ParkWhy, Refused, SkipWhy, State, Why};
use crate::dunning::GaveUp;
use crate::episode::Episode;
use crate::verdict::{Alarm, DeclineClass};

/// What is decided about a charge that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// A person wants it tried now. It uses no step of the ladder, and every limit of the networks holds.
    TryNow,
    /// A person gives the debt up.
    WriteOff,
    /// A person puts the next try off.
    PutOff {
        /// Until when, UTC.
        until: DateTime<Utc>,
    },
    /// Trying ends.
    GiveUp {
        /// Why.
        why: GaveUp,
    },
    /// The next attempt is made with another payment method than the last one.
    NewMethod,
    /// The next attempt is made with the first method again: its backups cannot be charged any more.
    FirstMethod,
}

impl Ruling {
    /// Its name in [`super::ARROWS`] and in refusals.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TryNow => "try_now",
            Self::WriteOff => "write_off",
            Self::PutOff { .. } => "put_off",
            Self::GiveUp { .. } => "give_up",
            Self::NewMethod => "new_method",
            Self::FirstMethod => "first_method",
        }
    }
}

impl Charge {
    /// Carries a ruling out.
    pub(super) fn ruled(&mut self, ruling: Ruling, at: DateTime<Utc>) -> Result<State, Refused> {
        let refused = |why| Err(self.refused(&Event::Ruled(ruling), why));
        match (&self.state, ruling) {
            (State::Failing { class, code, .. }, Ruling::TryNow) => {
                let state = State::Failing { class: *class, code: code.clone(), next_at: at };
                self.by_hand(false, at);
                Ok(state)
            }
            (State::Failed { class, code, .. }, Ruling::TryNow) => {
                let state = State::Failing { class: *class, code: code.clone(), next_at: at };
                self.by_hand(true, at);
                Ok(state)
            }
            (State::Failing { class, code, next_at }, Ruling::PutOff { until }) => {
                let next_at = (*next_at).max(until);
                let state = State::Failing { class: *class, code: code.clone(), next_at };
                if let Some(episode) = &mut self.tries.episode {
                    episode.ends_at = episode.ends_at.max(next_at);
                }
                Ok(state)
            }
            (State::Failing { class, code, .. }, Ruling::GiveUp { why }) => {
                Ok(State::Failed { class: *class, code: code.clone(), why, at })
            }
            // Another try collects the whole amount, which was not owed where a part of it was captured.
            (State::Returned { next_at, collected, .. }, Ruling::TryNow) if *collected == self.amount => {
                let again = next_at.is_none();
                self.by_hand(again, at);
                Ok(self.returned(Ok(at)))
            }
            (State::Returned { next_at: Some(next_at), .. }, Ruling::PutOff { until }) => {
                let later = (*next_at).max(until);
                if let Some(episode) = &mut self.tries.episode {
                    episode.ends_at = episode.ends_at.max(later);
                }
                Ok(self.returned(Ok(later)))
            }
            (State::Returned { next_at: Some(_), .. }, Ruling::GiveUp { why }) => Ok(self.returned(Err(why))),
            (State::Failing { .. } | State::Returned { next_at: Some(_), .. }, Ruling::NewMethod) => {
                self.another_method(at);
                self.tries.fallback = None;
                Ok(self.state.clone())
            }
            (State::Failing { .. } | State::Returned { next_at: Some(_), .. }, Ruling::FirstMethod) => {
                let (declined, first) = (self.tries.declined, self.tries.first_failed_at.unwrap_or(at));
                self.tries.fallback = self.tries.fallback.take().map(|fallback| fallback.back(declined, first));
                Ok(self.state.clone())
            }
            // What others owe with it is owed still.
            (_, Ruling::WriteOff) if self.carried.is_some() => refused(Why::CarriesOthers),
            (
                State::Failing { .. }
                | State::Failed { .. }
                | State::Returned { .. }
                | State::Parked {
                    why:
                        ParkWhy::Rejected
                        | ParkWhy::NoMethod
                        | ParkWhy::Damaged
                        | ParkWhy::WrongMethod
                        | ParkWhy::HoldExpired
                        | ParkWhy::OutOfBounds,
                    ..
                },
                Ruling::WriteOff,
            ) => Ok(State::Skipped { why: SkipWhy::WrittenOff, at }),
            (State::Parked { .. }, _) => refused(Why::NeedsAPerson),
            (
                State::Due { doubt: true, .. }
                | State::Sending { .. }
                | State::Unknown { .. }
                | State::Settling { .. }
                | State::Authorized { .. }
                | State::Capturing { .. }
                | State::Releasing { .. },
                _,
            ) => refused(Why::InFlight),
            (State::Planned | State::Due { doubt: false, .. }, _) => refused(Why::NothingAsked),
            (State::Paid { .. } | State::Returned { .. } | State::Skipped { .. }, _) => refused(Why::Final),
            (
                State::Failed { .. },
                Ruling::PutOff { .. } | Ruling::GiveUp { .. } | Ruling::NewMethod | Ruling::FirstMethod,
            ) => refused(Why::Final),
        }
    }

    /// What was taken back, with another next try, or with none and why.
    fn returned(&self, then: Result<DateTime<Utc>, GaveUp>) -> State {
        let mut state = self.state.clone();
        if let State::Returned { next_at, why, .. } = &mut state {
            (*next_at, *why) = (then.ok(), then.err());
        }
        state
    }

    /// The ladder of another payment method begins with its first decline.
    fn another_method(&mut self, at: DateTime<Utc>) {
        if let Some(episode) = &mut self.tries.episode {
            episode.afresh(at);
        }
        if let Some(ladder) = &mut self.tries.ladder {
            ladder.step = 0;
        }
    }

    /// The next try is a person's; `again` where trying had ended.
    fn by_hand(&mut self, again: bool, at: DateTime<Utc>) {
        let said = match &self.state {
            State::Failing { class, code, .. }
            | State::Failed { class, code, .. }
            | State::Returned { class, code, .. } => (*class, code.as_str()),
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
            | State::Parked { .. } => (DeclineClass::Unclassified, ""),
        };
        match &mut self.tries.episode {
            Some(episode) if again => {
                episode.again(at);
                (episode.class, episode.code) = (said.0, said.1.to_owned());
                episode.by_hand = true;
                // Taken up again, it begins with the subscription's own method.
                self.tries.fallback = None;
            }
            Some(episode) => episode.by_hand = true,
            // A charge that a person found unpaid was never declined: its first episode begins here.
            none => *none = Some(Episode { by_hand: true, ..Episode::opened(said, at, at) }),
        }
    }

    /// The alarm that its last decline, or its return, raises, if it raises one.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        match &self.state {
            State::Failing { code, .. } | State::Failed { code, .. } | State::Returned { code, .. } => {
                Alarm::of_code(code)
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
            | State::Skipped { .. }
            | State::Parked { .. } => None,
        }
    }

    /// Does a person's word stand behind the try that waits or is under way?
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.tries.episode.as_ref().is_some_and(|episode| episode.by_hand)
    }

    /// Is it tried although its subscription is paused? A pause is about what is to come; whoever orders a try, or takes up what had failed
    /// when the pause began, speaks of this charge.
    #[must_use]
    pub fn outlasts_a_pause(&self) -> bool {
        self.tries.episode.as_ref().is_some_and(|episode| episode.by_hand || episode.number > 1)
    }
}
