//! What a policy would have made of tries that were made under another one.
//!
//! As long as the policy tries when it was really tried, what became of the tries is known. From the first difference on it is not:
//! a try that never happened has no outcome, and the declines that followed it are supposed to be like the one before it.

use chrono::{DateTime, TimeDelta, Utc};

use super::dunning::{after_decline, of};
use crate::charge::{Charge, State};
use crate::dunning::{Ladder, MOST_ATTEMPTS_MAX, Next};
use crate::plan::Catalog;
use crate::subscription::Subscription;
use crate::verdict::{Decline, DeclineClass};
use crate::wallet::Wallet;

/// A try that comes no later than this after the instant that a policy names is the one it names: a pass was late, or a network's limit
/// was waited for.
const LATE: TimeDelta = TimeDelta::hours(6);

/// An attempt as it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempted {
    /// When it was recorded, UTC.
    pub at: DateTime<Utc>,
    /// When its outcome was learnt, UTC.
    pub learnt_at: DateTime<Utc>,
    /// What became of it.
    pub became: Became,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    /// It was collected.
    Paid,
    /// It was declined, or collected and taken back.
    Declined(DeclineClass),
    /// Nobody knows, or it ended without an answer about the instrument.
    Open,
}

/// How a try by the policy differs from what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// It is the one that was made.
    Same,
    /// It comes earlier than the one that was made.
    Earlier,
    /// It comes later than the one that was made.
    Later,
    /// None was made.
    Added,
    /// One was made, and the policy makes none.
    Dropped,
}

impl Difference {
    /// Every difference, for tables.
    pub const ALL: [Self; 5] = [Self::Same, Self::Earlier, Self::Later, Self::Added, Self::Dropped];

    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Earlier => "earlier",
            Self::Later => "later",
            Self::Added => "added",
            Self::Dropped => "dropped",
        }
    }
}

/// One further try: as it was made, as the policy makes it, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The attempt's number, from 2.
    pub number: u16,
    /// The class of the decline before it; supposed after the first difference.
    pub class: DeclineClass,
    /// When it was made.
    pub made_at: Option<DateTime<Utc>>,
    /// When the policy makes it.
    pub by_policy_at: Option<DateTime<Utc>>,
    /// How the two differ.
    pub difference: Difference,
}

/// What a case comes to under the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Comes {
    /// Collected, by the very try that collected it.
    Collected,
    /// Not collected, as it was not.
    NotCollected,
    /// Collected in truth, by a try that the policy does not make.
    Lost,
    /// Not known: the policy makes tries that were never made.
    NotKnown,
    /// The case is not over: so far nothing differs.
    Open,
}

impl Comes {
    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collected => "collected",
            Self::NotCollected => "not_collected",
            Self::Lost => "lost",
            Self::NotKnown => "not_known",
            Self::Open => "open",
        }
    }
}

/// A case under a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Every further try, in order.
    pub retries: Vec<Retry>,
    /// What it comes to.
    pub comes: Comes,
}

/// What the policy that `catalog` supposes for a charge's plan makes of its attempts, which are in order. The first attempt is the same
/// under every policy. `None` where nothing was declined.
#[must_use]
pub fn replay(
    (old, new): (&Catalog, &Catalog),
    subscription: &Subscription,
    charge: &Charge,
    attempts: &[Attempted],
) -> Option<Replay> {
    let mut mine = Climber::of(new, subscription, charge, None);
    // As it was planned then: a try that was late is still the planned one.
    let mut theirs = Climber::of(old, subscription, charge, charge.tries.ladder.as_ref());
    let mut retries = Vec::new();
    for (place, attempt) in attempts.iter().enumerate() {
        let class = match attempt.became {
            Became::Declined(class) => class,
            Became::Paid => return (place > 0).then_some(Replay { retries, comes: Comes::Collected }),
            Became::Open => return (place > 0).then_some(Replay { retries, comes: Comes::Open }),
        };
        let learnt_at =
            if place == 0 { charge.tries.first_failed_at.unwrap_or(attempt.learnt_at) } else { attempt.learnt_at };
        let rest = attempts.get(place.saturating_add(1)..).unwrap_or_default();
        let planned = theirs.after(class, learnt_at);
        let by_policy = mine.after(class, learnt_at);
        let made_at = rest.first().map(|next| next.at);
        let pending = match &charge.state {
            State::Failing { next_at, .. } if made_at.is_none() => Some(*next_at),
            State::Failing { .. }
            | State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Paid { .. }
            | State::Returned { .. }
            | State::Failed { .. }
            | State::Skipped { .. }
            | State::Parked { .. } => None,
        };
        let number = mine.number();
        let retry = |by_policy_at, difference| Retry { number, class, made_at, by_policy_at, difference };
        match (by_policy, made_at) {
            (Some(at), Some(made)) if planned == Some(at) || (at <= made && made.signed_duration_since(at) <= LATE) => {
                retries.push(retry(Some(at), Difference::Same));
            }
            (None, None) => return Some(Replay { retries, comes: Comes::NotCollected }),
            (Some(at), None) if pending == Some(at) => return Some(Replay { retries, comes: Comes::Open }),
            (None, Some(_)) => {
                retries.push(retry(None, Difference::Dropped));
                retries.extend(mine.dropped(rest));
                let paid = rest.iter().any(|one| one.became == Became::Paid);
                return Some(Replay { retries, comes: if paid { Comes::Lost } else { Comes::NotCollected } });
            }
            (Some(at), made) => {
                let difference = match made {
                    None => Difference::Added,
                    Some(made) if at < made => Difference::Earlier,
                    Some(_) => Difference::Later,
                };
                retries.push(retry(Some(at), difference));
                retries.extend(mine.supposed(class, at, rest));
                return Some(Replay { retries, comes: Comes::NotKnown });
            }
        }
    }
    None
}

/// Climbs one policy's ladder with the declines of one charge.
struct Climber<'a> {
    catalog: &'a Catalog,
    subscription: &'a Subscription,
    charge: Charge,
}

impl<'a> Climber<'a> {
    fn of(catalog: &'a Catalog, subscription: &'a Subscription, charge: &Charge, ladder: Option<&Ladder>) -> Self {
        let mut charge = charge.clone();
        charge.tries.declined = 0;
        charge.tries.fallback = None;
        charge.tries.first_failed_at = None;
        charge.tries.episode = None;
        charge.tries.ladder = ladder.map(|ladder| Ladder { step: 0, ..ladder.clone() });
        let plan = catalog.plans.get(&charge.plan);
        charge.tries.ladder = of(catalog, plan, &charge).map(|(ladder, _)| ladder);
        Self { catalog, subscription, charge }
    }

    /// The number of the try that follows the declines so far.
    const fn number(&self) -> u16 {
        self.charge.tries.declined.saturating_add(1)
    }

    /// When the policy tries next after a decline, if it does.
    fn after(&mut self, class: DeclineClass, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let plan = self.catalog.plans.get(&self.charge.plan);
        // Only the code of the latest decline is kept; what codes ask for beyond their class is not replayed.
        let decline = Decline { class, code: class.as_str().to_owned() };
        // What the wallet showed then is not kept: every backup is taken for one that could be charged.
        let ruled = after_decline((self.catalog, &Wallet::new()), self.subscription, plan, &self.charge, &decline, at);
        self.charge.tries.fallback = ruled.fallback;
        self.charge.tries.declined = self.charge.tries.declined.saturating_add(1);
        self.charge.tries.first_failed_at.get_or_insert(at);
        self.charge.tries.ladder = ruled.ladder.or(self.charge.tries.ladder.take());
        match ruled.next {
            Next::RetryAt(at) => Some(at),
            Next::GiveUp(_) => None,
        }
    }

    /// What was tried after a try that the policy does not make.
    fn dropped(&self, rest: &[Attempted]) -> Vec<Retry> {
        let mut number = self.number();
        let pairs = rest.iter().zip(rest.iter().skip(1));
        let each = pairs.filter_map(|(before, one)| {
            number = number.saturating_add(1);
            let Became::Declined(class) = before.became else { return None };
            Some(Retry { number, class, made_at: Some(one.at), by_policy_at: None, difference: Difference::Dropped })
        });
        each.collect()
    }

    /// The tries after one that was never made, beside those that were: each is taken to be declined like the one before.
    fn supposed(&mut self, class: DeclineClass, mut at: DateTime<Utc>, rest: &[Attempted]) -> Vec<Retry> {
        let mut made = rest.iter().skip(1);
        let mut retries = Vec::new();
        for _ in 0..MOST_ATTEMPTS_MAX {
            let by_policy_at = self.after(class, at);
            let made_at = made.next().map(|one| one.at);
            let difference = match (by_policy_at, made_at) {
                (None, None) => break,
                (None, Some(_)) => Difference::Dropped,
                (Some(_), None) => Difference::Added,
                (Some(by), Some(made)) if by < made => Difference::Earlier,
                (Some(by), Some(made)) if by == made => Difference::Same,
                (Some(_), Some(_)) => Difference::Later,
            };
            let number = self.number();
            retries.push(Retry { number, class, made_at, by_policy_at, difference });
            match by_policy_at {
                Some(next) => at = next,
                None => {
                    let dropped = |one: &Attempted| Retry {
                        number: number.saturating_add(1),
                        class,
                        made_at: Some(one.at),
                        by_policy_at: None,
                        difference: Difference::Dropped,
                    };
                    retries.extend(made.map(dropped));
                    break;
                }
            }
        }
        retries
    }
}
