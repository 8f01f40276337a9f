//! Cases: every charge whose tries were declined, with what happens next, by when it ends and how.
//!
//! A case is not kept beside its charge: it is read off the charge's own row, so it cannot get out of step with it. Whatever moves the
//! charge (an answer, a poll, a delivery, a person, a cancellation) moves the case in the same transaction.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::authorization::Stage;
use crate::charge::{Charge, SkipWhy, State};
use crate::dunning::{AtTheEnd, GaveUp};
use crate::verdict::DeclineClass;

/// How soon a person must look where only a person can go on: a working week with its weekend. Our own rule; no network sets one.
pub const PERSON_WITHIN: TimeDelta = TimeDelta::days(7);

/// What happens next in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextStep {
    /// Another attempt.
    Retry,
    /// An attempt is recorded and waits to be sent, or is on its way.
    Send,
    /// The gateway is asked what became of an attempt.
    Ask,
    /// What is set aside is taken, given back, or looked at.
    Capture,
    /// A person looks, decides, or gives another payment method.
    Person,
}

impl NextStep {
    /// The word people see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Send => "send",
            Self::Ask => "ask_the_gateway",
            Self::Capture => "capture",
            Self::Person => "a_person",
        }
    }
}

/// Why a case ended: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "ended", content = "why")]
pub enum Ended {
    /// It was paid, by whatever route.
    Paid,
    /// It was paid, the bank took the money back, and no further try is planned: for this reason, where it is known.
    Returned(Option<GaveUp>),
    /// Nothing is collected any more.
    Skipped(SkipWhy),
    /// Trying ended.
    Failed(GaveUp),
}

impl Ended {
    /// The word people see, and that of the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Returned(_) => "returned",
            Self::Skipped(why) => why.as_str(),
            Self::Failed(why) => why.as_str(),
        }
    }
}

/// Where a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "case")]
pub enum Standing {
    /// It goes on.
    Open {
        /// What happens next.
        next_step: NextStep,
        /// When, UTC; where a person must act, by when.
        next_step_at: DateTime<Utc>,
    },
    /// It is over.
    Ended {
        /// Since when, UTC.
        at: DateTime<Utc>,
        /// Why.
        why: Ended,
    },
}

/// A charge's case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Case {
    /// 1 for the first case of a charge, one more for each time that a person took it up again.
    pub number: u16,
    /// UTC.
    pub opened_at: DateTime<Utc>,
    /// Why the latest attempt was declined.
    pub class: DeclineClass,
    /// Tries so far, those that a person ordered included.
    pub tries: u16,
    /// Where it stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// No planned step comes later, UTC: neither is it ever earlier than the next step.
    pub ends_at: DateTime<Utc>,
    /// What happens to the subscription then.
    pub end_action: AtTheEnd,
    /// The queue of people who take over where trying ends without success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_to: Option<String>,
}

impl Case {
    /// Does it go on?
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Open { .. })
    }

    /// Did a payment end it?
    const fn was_paid(&self) -> bool {
        matches!(self.standing, Standing::Ended { why: Ended::Paid, .. })
    }

    /// The queue it was handed to: trying ended without success, and the policy named one.
    #[must_use]
    pub fn handed_to(&self) -> Option<&str> {
        match self.standing {
            Standing::Ended { why: Ended::Failed(_) | Ended::Returned(_), .. } => self.hand_to.as_deref(),
            Standing::Ended { why: Ended::Paid | Ended::Skipped(_), .. } | Standing::Open { .. } => None,
        }
    }
}

/// The case of a charge: none where nothing of it was ever declined.
#[must_use]
pub fn case(charge: &Charge) -> Option<Case> {
    let episode = charge.tries.episode.as_ref()?;
    let standing = standing(&charge.state, episode.opened_at);
    let ends_at = match standing {
        Standing::Open { next_step_at, .. } => episode.ends_at.max(next_step_at),
        Standing::Ended { .. } => episode.ends_at,
    };
    Some(Case {
        number: episode.number,
        opened_at: episode.opened_at,
        class: episode.class,
        tries: charge.tries.attempt,
        standing,
        ends_at,
        end_action: episode.end_action,
        hand_to: episode.hand_to.clone(),
    })
}

fn standing(state: &State, opened_at: DateTime<Utc>) -> Standing {
    let open = |next_step, next_step_at| Standing::Open { next_step, next_step_at };
    match state {
        State::Failing { next_at, .. } => open(NextStep::Retry, *next_at),
        State::Due { next_at, .. } => open(NextStep::Send, *next_at),
        State::Sending { lease_until, .. } => open(NextStep::Send, *lease_until),
        State::Unknown { next_at, .. } | State::Settling { next_at, .. } => open(NextStep::Ask, *next_at),
        State::Authorized { next_at, .. } => open(NextStep::Capture, *next_at),
        State::Capturing { order, .. } | State::Releasing { order, .. } => match order.stage {
            Stage::Waiting | Stage::Sending => open(NextStep::Capture, order.next_at),
            Stage::Asking => open(NextStep::Ask, order.next_at),
        },
        State::Parked { since, .. } => {
            open(NextStep::Person, since.checked_add_signed(PERSON_WITHIN).unwrap_or(*since))
        }
        // Never recorded: a charge that is planned has had no attempt.
        State::Planned => open(NextStep::Person, opened_at),
        State::Paid { at, .. } => Standing::Ended { at: *at, why: Ended::Paid },
        State::Returned { next_at: Some(next_at), .. } => open(NextStep::Retry, *next_at),
        State::Returned { next_at: None, at, why, .. } => Standing::Ended { at: *at, why: Ended::Returned(*why) },
        State::Skipped { why, at } => Standing::Ended { at: *at, why: Ended::Skipped(*why) },
        State::Failed { why, at, .. } => Standing::Ended { at: *at, why: Ended::Failed(*why) },
    }
}

/// What a step of a charge is to its case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It began.
    Opened(Case),
    /// It goes on, and something else comes next.
    Step(Case),
    /// It is over.
    Ended(Case),
}

impl News {
    /// The event's name (product.md §4.2).
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Opened(_) => "dunning.case.opened",
            Self::Step(_) => "dunning.case.step",
            Self::Ended(_) => "dunning.case.ended",
        }
    }

    /// The case afterwards.
    #[must_use]
    pub const fn case(&self) -> &Case {
        match self {
            Self::Opened(case) | Self::Step(case) | Self::Ended(case) => case,
        }
    }

    /// What is told of it, in one line.
    #[must_use]
    pub fn detail(&self) -> String {
        let case = self.case();
        let ends = format!("ends at {}, then {}", case.ends_at.to_rfc3339(), case.end_action.as_str());
        match case.standing {
            Standing::Open { next_step, next_step_at } => format!(
                "class {} after {} tries: next {} at {}; {ends}",
                case.class,
                case.tries,
                next_step.as_str(),
                next_step_at.to_rfc3339()
            ),
            Standing::Ended { .. } if matches!(self, Self::Opened(_)) => {
                format!("class {} after {} tries: no try comes next; {ends}", case.class, case.tries)
            }
            Standing::Ended { why, .. } => {
                let handed = case.handed_to().map(|queue| format!("; handed to {queue}")).unwrap_or_default();
                let because = match why {
                    Ended::Returned(Some(why)) => format!(": {}", why.in_words()),
                    Ended::Returned(None) | Ended::Paid | Ended::Skipped(_) | Ended::Failed(_) => String::new(),
                };
                format!("{} after {} tries (class {}){because}{handed}", why.as_str(), case.tries, case.class)
            }
        }
    }
}

/// What a step from one state of a charge to another means for its case, in order and told exactly once: the step is recorded by
/// compare-and-set, and so is this. A charge that fails for good at its first decline opens its case and ends it, and so does a payment
/// that had ended its case and went back, where no further try is planned: whoever was told that it was paid hears that it is not.
///
/// Of a case that was told to end in any other way nothing more is owed: only a person's word moves its charge on. One that is taken up again
/// is another case; one that is written off had its end before, and the writing off is told as what it is.
#[must_use]
pub fn news(before: &Charge, after: &Charge) -> Vec<News> {
    let Some(now) = case(after) else { return Vec::new() };
    let was = case(before).filter(|was| was.number == now.number);
    match (was, now.is_open()) {
        (None, true) => vec![News::Opened(now)],
        (None, false) => vec![News::Opened(now.clone()), News::Ended(now)],
        (Some(was), false) if was.is_open() => vec![News::Ended(now)],
        (Some(was), true) if !was.is_open() => vec![News::Opened(now)],
        (Some(was), true) if was.standing != now.standing => vec![News::Step(now)],
        (Some(was), false) if was.was_paid() && !now.was_paid() => vec![News::Opened(now.clone()), News::Ended(now)],
        (Some(_), true | false) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
