//! The only way between a refund's states.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Event, FailWhy, ParkWhy, Refund, Refused, State, Why};
use crate::charge::Limits;
use crate::money::Money;

/// The shortest pause before looking again: a late ladder must not become a busy loop.
const SHORTEST_PAUSE: TimeDelta = TimeDelta::seconds(1);
/// The longest pause of a refund that waits to be sent.
const LONGEST_PUT_OFF: i64 = 300;

/// When a refund that the gateway has is asked about, counted from the moment it took it: a payment's ladder, then the rungs of
/// bank debits beyond it, because a pending refund may take as long as one (contract §5 names no end).
#[must_use]
pub fn ladder(limits: &Limits) -> Vec<TimeDelta> {
    let mut rungs = limits.ladder.clone();
    let last = rungs.last().copied().unwrap_or_default();
    rungs.extend(limits.slow_ladder.iter().copied().filter(|rung| *rung > last));
    rungs
}

fn after(at: DateTime<Utc>, wait: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Since when, how often asked, and when next.
type Asking = (DateTime<Utc>, u16, DateTime<Utc>);

impl Refund {
    /// The only way between states.
    ///
    /// `at` is the moment the event became known, UTC. The result is a new refund; the old one is consumed.
    ///
    /// # Errors
    /// [`Refused`] when [`ARROWS`](super::ARROWS) has no arrow for this state and event; nothing changes then.
    pub fn step(mut self, event: Event, at: DateTime<Utc>, limits: &Limits) -> Result<Self, Refused> {
        self.state = match self.state.clone() {
            State::Recorded { put_off, .. } => self.leave_recorded(event, at, put_off, limits)?,
            State::Sending { since, lease_until } => self.leave_sending(event, at, (since, lease_until), limits)?,
            State::Settling { since, asked, next_at } => {
                self.leave_settling(event, at, (since, asked, next_at), limits)?
            }
            State::Unknown { since, asked, next_at } => {
                self.leave_unknown(event, at, (since, asked, next_at), limits)?
            }
            State::Parked { since, .. } => self.leave_parked(event, at, since, limits)?,
            State::Failed { why: FailWhy::Person, .. } => {
                // A person was mistaken, and says so.
                let Event::JudgedRefunded { id } = event else { return Err(self.refused(&event, Why::Final)) };
                self.judged(id, at)
            }
            State::Failed { .. } | State::Refunded { .. } | State::PartlyRefunded { .. } => {
                return Err(self.refused(&event, Why::Final));
            }
        };
        Ok(self)
    }

    fn leave_recorded(&self, event: Event, at: DateTime<Utc>, put_off: u16, limits: &Limits) -> Result<State, Refused> {
        match event {
            Event::Send => Ok(State::Sending { since: at, lease_until: after(at, limits.lease) }),
            Event::PutOff { wait } => {
                let doublings = u32::from(put_off.min(9));
                let backoff = 1_i64.checked_shl(doublings).unwrap_or(LONGEST_PUT_OFF).min(LONGEST_PUT_OFF);
                let pause = wait.unwrap_or_else(|| TimeDelta::seconds(backoff)).max(SHORTEST_PAUSE);
                Ok(State::Recorded { next_at: after(at, pause), put_off: put_off.saturating_add(1) })
            }
            Event::Refuse { code } => Ok(State::Failed { why: FailWhy::NotRefundable, code, at }),
            Event::Withdraw => Ok(State::Failed { why: FailWhy::Withdrawn, code: "withdrawn".to_owned(), at }),
            Event::LeaseRanOut
            | Event::Accepted { .. }
            | Event::Completed { .. }
            | Event::PartlyCompleted { .. }
            | Event::Declined { .. }
            | Event::Rejected { .. }
            | Event::NotExecuted { .. }
            | Event::KeyUsed
            | Event::Absent
            | Event::Silent
            | Event::Mismatch
            | Event::Learnt { .. }
            | Event::JudgedRefunded { .. }
            | Event::JudgedNotExecuted => Err(self.refused(&event, Why::NothingSent)),
        }
    }

    fn leave_sending(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (since, lease_until): (DateTime<Utc>, DateTime<Utc>),
        limits: &Limits,
    ) -> Result<State, Refused> {
        match event {
            Event::Accepted { id } => Ok(self.accepted(id, at, limits)),
            Event::Completed { id, amount } => Ok(self.completed(id, amount, at)),
            Event::PartlyCompleted { id, given_back, code } => Ok(self.partly(id, given_back, code, at)),
            Event::Declined { id, code } => Ok(self.declined(id, code, at)),
            Event::Rejected { code } => Ok(State::Failed { why: FailWhy::Rejected, code, at }),
            // Sent once means once: whoever still wants the money back records a new refund.
            Event::NotExecuted { code, .. } => Ok(State::Failed { why: FailWhy::NotExecuted, code, at }),
            Event::LeaseRanOut | Event::Silent => Ok(self.lost(ParkWhy::AnswerLost, at)),
            Event::KeyUsed => Ok(self.lost(ParkWhy::KeyUsed, at)),
            Event::Mismatch => Ok(State::Parked { why: ParkWhy::Mismatch, since: at }),
            // The answer is still awaited; should it be lost, there is something to ask by.
            Event::Learnt { id } => match self.takes_hint(id) {
                Ok(()) => Ok(State::Sending { since, lease_until }),
                Err(id) => Err(self.refused(&Event::Learnt { id }, Why::OtherId)),
            },
            Event::Send => Err(self.refused(&event, Why::SentOnce)),
            Event::PutOff { .. }
            | Event::Refuse { .. }
            | Event::Withdraw
            | Event::Absent
            | Event::JudgedRefunded { .. }
            | Event::JudgedNotExecuted => Err(self.refused(&event, Why::InFlight)),
        }
    }

    fn leave_settling(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (since, asked, _): Asking,
        limits: &Limits,
    ) -> Result<State, Refused> {
        let asking = |next_at| State::Settling { since, asked: asked.saturating_add(1), next_at };
        match event {
            Event::Completed { id, amount } => Ok(self.completed(id, amount, at)),
            Event::PartlyCompleted { id, given_back, code } => Ok(self.partly(id, given_back, code, at)),
            Event::Declined { id, code } => Ok(self.declined(id, code, at)),
            // The gateway had it: "not found" proves nothing.
            Event::Accepted { .. } | Event::Rejected { .. } | Event::Absent | Event::Silent => {
                Ok(rung(limits, since, asked.saturating_add(1), at)
                    .map_or_else(|| State::Parked { why: ParkWhy::OutcomeUnknown, since: at }, asking))
            }
            // The question itself was not executed: no rung is used.
            Event::NotExecuted { wait, .. } => Ok(State::Settling { since, asked, next_at: paused(at, wait) }),
            Event::Mismatch => Ok(State::Parked { why: ParkWhy::Mismatch, since: at }),
            // What is announced is asked about now, and no rung is used.
            Event::Learnt { id } => match self.takes_hint(id) {
                Ok(()) => Ok(State::Settling { since, asked, next_at: at }),
                Err(id) => Err(self.refused(&Event::Learnt { id }, Why::OtherId)),
            },
            Event::Send => Err(self.refused(&event, Why::SentOnce)),
            Event::PutOff { .. }
            | Event::Refuse { .. }
            | Event::Withdraw
            | Event::LeaseRanOut
            | Event::KeyUsed
            | Event::JudgedRefunded { .. }
            | Event::JudgedNotExecuted => Err(self.refused(&event, Why::InFlight)),
        }
    }

    fn leave_unknown(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        (since, asked, _): Asking,
        limits: &Limits,
    ) -> Result<State, Refused> {
        match event {
            Event::Accepted { id } => Ok(self.accepted(id, at, limits)),
            Event::Completed { id, amount } => Ok(self.completed(id, amount, at)),
            Event::PartlyCompleted { id, given_back, code } => Ok(self.partly(id, given_back, code, at)),
            Event::Declined { id, code } => Ok(self.declined(id, code, at)),
            Event::Rejected { .. } | Event::Absent | Event::Silent => {
                let asked = asked.saturating_add(1);
                match rung(limits, since, asked, at) {
                    Some(next_at) => Ok(State::Unknown { since, asked, next_at }),
                    // Nobody confirmed the id: another may be named, and is as good.
                    None => Ok(self.unhinted(at)),
                }
            }
            Event::NotExecuted { wait, .. } => Ok(State::Unknown { since, asked, next_at: paused(at, wait) }),
            // The id belongs to something else: whoever named it was mistaken or lied, and nothing is known as before.
            Event::Mismatch => Ok(self.unhinted(at)),
            Event::Learnt { id } => match self.takes_hint(id) {
                Ok(()) => Ok(State::Unknown { since, asked, next_at: at }),
                Err(id) => Err(self.refused(&Event::Learnt { id }, Why::OtherId)),
            },
            // Nobody confirmed the id yet, and a person vouches for it.
            Event::JudgedRefunded { id } => Ok(self.judged(id, at)),
            Event::Send => Err(self.refused(&event, Why::SentOnce)),
            Event::PutOff { .. }
            | Event::Refuse { .. }
            | Event::Withdraw
            | Event::LeaseRanOut
            | Event::KeyUsed
            | Event::JudgedNotExecuted => Err(self.refused(&event, Why::InFlight)),
        }
    }

    /// Truth is welcome late: a parked refund still takes an answer about its key, and an id to ask by.
    fn leave_parked(
        &mut self,
        event: Event,
        at: DateTime<Utc>,
        since: DateTime<Utc>,
        limits: &Limits,
    ) -> Result<State, Refused> {
        match event {
            Event::Accepted { id } => Ok(self.accepted(id, at, limits)),
            Event::Completed { id, amount } => Ok(self.completed(id, amount, at)),
            Event::PartlyCompleted { id, given_back, code } => Ok(self.partly(id, given_back, code, at)),
            Event::Declined { id, code } => Ok(self.declined(id, code, at)),
            Event::Learnt { id } => match self.takes_hint(id) {
                Ok(()) => Ok(State::Unknown { since: at, asked: 0, next_at: at }),
                Err(id) => Err(self.refused(&Event::Learnt { id }, Why::OtherId)),
            },
            Event::JudgedRefunded { id } => Ok(self.judged(id, at)),
            // What was found nowhere a minute ago may be committed a minute from now (reliability.md B5).
            Event::JudgedNotExecuted if at.signed_duration_since(since) < limits.quiesce => {
                Err(self.refused(&event, Why::TooYoung))
            }
            Event::JudgedNotExecuted => {
                Ok(State::Failed { why: FailWhy::Person, code: "judged_not_executed".to_owned(), at })
            }
            Event::Send => Err(self.refused(&event, Why::SentOnce)),
            Event::PutOff { .. }
            | Event::Refuse { .. }
            | Event::Withdraw
            | Event::LeaseRanOut
            | Event::Rejected { .. }
            | Event::NotExecuted { .. }
            | Event::KeyUsed
            | Event::Absent
            | Event::Silent
            | Event::Mismatch => Err(self.refused(&event, Why::NeedsAPerson)),
        }
    }

    fn accepted(&mut self, id: String, at: DateTime<Utc>, limits: &Limits) -> State {
        self.prove(id);
        let first = ladder(limits).first().copied().unwrap_or(SHORTEST_PAUSE);
        State::Settling { since: at, asked: 0, next_at: after(at, first) }
    }

    fn completed(&mut self, id: String, amount: Money, at: DateTime<Utc>) -> State {
        self.prove(id);
        if amount == self.amount { State::Refunded { at } } else { State::Parked { why: ParkWhy::Mismatch, since: at } }
    }

    fn partly(&mut self, id: String, given_back: Money, code: String, at: DateTime<Utc>) -> State {
        self.prove(id);
        let a_part = given_back.is_positive()
            && given_back.minor() < self.amount.minor()
            && given_back.currency() == self.amount.currency();
        if a_part {
            State::PartlyRefunded { given_back, code, at }
        } else {
            State::Parked { why: ParkWhy::Mismatch, since: at }
        }
    }

    fn declined(&mut self, id: Option<String>, code: String, at: DateTime<Utc>) -> State {
        if let Some(id) = id {
            self.prove(id);
        }
        State::Failed { why: FailWhy::Declined, code, at }
    }

    fn judged(&mut self, id: String, at: DateTime<Utc>) -> State {
        self.prove(id);
        State::Refunded { at }
    }

    /// An id told in an answer about our key.
    fn prove(&mut self, id: String) {
        self.gateway_id = Some(id);
        self.hint = None;
    }

    /// Takes an id to ask by, unless another is proven or being asked about; gives it back then.
    fn takes_hint(&mut self, id: String) -> Result<(), String> {
        match self.known_as() {
            Some(known) if known.eq_ignore_ascii_case(&id) => Ok(()),
            Some(_) => Err(id),
            None => {
                self.hint = Some(id);
                Ok(())
            }
        }
    }

    /// The answer is lost: a person's, unless an id was named meanwhile.
    fn lost(&self, why: ParkWhy, at: DateTime<Utc>) -> State {
        match self.hint {
            Some(_) => State::Unknown { since: at, asked: 0, next_at: at },
            None => State::Parked { why, since: at },
        }
    }

    fn unhinted(&mut self, at: DateTime<Utc>) -> State {
        self.hint = None;
        let why = if self.gateway_id.is_some() { ParkWhy::OutcomeUnknown } else { ParkWhy::AnswerLost };
        State::Parked { why, since: at }
    }

    fn refused(&self, event: &Event, why: Why) -> Refused {
        Refused { from: self.state.name(), event: event.name(), why }
    }
}

fn paused(at: DateTime<Utc>, wait: Option<TimeDelta>) -> DateTime<Utc> {
    after(at, wait.unwrap_or(SHORTEST_PAUSE).max(SHORTEST_PAUSE))
}

/// The moment of ask number `asked`: its rung, but never sooner than a short pause from now. `None` past the last rung.
fn rung(limits: &Limits, since: DateTime<Utc>, asked: u16, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let offset = ladder(limits).get(usize::from(asked)).copied()?;
    Some(after(since, offset).max(after(at, SHORTEST_PAUSE)))
}
