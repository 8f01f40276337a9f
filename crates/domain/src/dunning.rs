//! When a declined charge is tried again, and when trying ends.
//!
//! A policy is tries *and* consequences in one value. All waits count from the first failure of the charge, so that a late
//! run never stretches the ladder, and every day-sized wait ends at one fixed local hour.

use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::calendar::{CalendarError, Zone};
use crate::id::PolicyId;
use crate::verdict::DeclineClass;

/// Most tries a policy may make for one charge, the first included. Below every published network limit (the lowest,
/// Visa's, is 15 in 30 days) with room for manual tries.
pub const MOST_ATTEMPTS_MAX: u16 = 10;

/// How long after the first failure a step comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Exact hours.
    Hours(u16),
    /// Civil days in the payer's zone, at the policy's local hour.
    Days(u16),
}

impl Wait {
    /// Reads "1 hour", "12 hours", "1 day", "14 days".
    ///
    /// # Errors
    /// A sentence with the refused text and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let refused = || PolicyError::Wait(text.chars().take(40).collect());
        let (number, unit) = text.split_once(' ').ok_or_else(refused)?;
        let count: u16 = number.parse().ok().filter(|n| (1..=365).contains(n)).ok_or_else(refused)?;
        match unit {
            "hour" | "hours" => Ok(Self::Hours(count)),
            "day" | "days" => Ok(Self::Days(count)),
            _ => Err(refused()),
        }
    }
}

/// One further try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Time since the first failure.
    pub after: Wait,
    /// The classes it applies to, in ascending order.
    pub classes: Vec<DeclineClass>,
}

impl Step {
    /// Does it apply to a decline of this class? A part that was approved is a want of funds, unless a step names it.
    fn is_for(&self, class: DeclineClass) -> bool {
        self.classes.contains(&class)
            || (class == DeclineClass::Partial && self.classes.contains(&DeclineClass::LaterFunds))
    }
}

/// What a subscription's charge comes to when every try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtTheEnd {
    /// The subscription is paused: no further cycle is charged until a person resumes it.
    PauseSubscription,
    /// Only this charge has failed; the next cycle is charged as planned.
    KeepSubscription,
}

impl AtTheEnd {
    /// The word in plan files and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PauseSubscription => "pause_subscription",
            Self::KeepSubscription => "keep_subscription",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "pause_subscription" => Some(Self::PauseSubscription),
            "keep_subscription" => Some(Self::KeepSubscription),
            _ => None,
        }
    }
}

/// A retry policy: its tries, its limits and its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The policy file's name without its ending.
    pub id: PolicyId,
    /// Tries in all, the first included: 1 to [`MOST_ATTEMPTS_MAX`].
    pub most_attempts: u16,
    /// No try later than this many days after the first failure.
    pub give_up_after_days: u16,
    /// Local time of day of tries that wait in days.
    pub at: NaiveTime,
    /// No try on or after the civil date on which the next cycle falls due.
    #[serde(default)]
    pub not_past_next_due: bool,
    /// Further tries in ascending order of [`Step::after`].
    pub steps: Vec<Step>,
    /// What happens when trying ends without success.
    pub at_the_end: AtTheEnd,
}

/// A policy that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Not a wait.
    #[error("{0:?} is not a waiting time: write for example \"6 hours\" or \"3 days\" (1 to 365)")]
    Wait(String),
    /// More or fewer tries than stated.
    #[error(
        "most_attempts is {stated} but the steps add up to {found} tries (1 first try + {retries} retries): write {found}, or change the steps"
    )]
    Attempts {
        /// What the file says.
        stated: u16,
        /// 1 + the number of steps.
        found: usize,
        /// The number of steps.
        retries: usize,
    },
    /// Too many tries.
    #[error(
        "most_attempts is {0}: write at most {MOST_ATTEMPTS_MAX}, below the lowest network limit of 15 tries in 30 days"
    )]
    TooMany(u16),
    /// Steps out of order.
    #[error("step {step} comes no later than the step before it: order the steps by their waiting time")]
    Order {
        /// Counted from 1.
        step: usize,
    },
    /// A step after the end.
    #[error("step {step} comes after give_up_after ({limit} days): raise the limit or remove the step")]
    PastTheEnd {
        /// Counted from 1.
        step: usize,
        /// The limit in days.
        limit: u16,
    },
    /// A class that may never be tried again.
    #[error("step {step} retries {class}: {why}")]
    Forbidden {
        /// Counted from 1.
        step: usize,
        /// The class.
        class: DeclineClass,
        /// Whose rule that is.
        why: &'static str,
    },
    /// A step that applies to nothing.
    #[error("step {step} applies to no kind of decline: name at least one in `for`")]
    Empty {
        /// Counted from 1.
        step: usize,
    },
}

impl Policy {
    /// The default policy where a plan names none (billing-rules.md §1.8): funds at 3, 8, 15 and 22 days, technical at
    /// 1 hour, 7 hours and 31 hours, a bare or refused card at 72 hours and 6 days; at 09:00 in the payer's zone.
    ///
    /// # Errors
    /// Never in practice: the id is a constant. Kept as a `Result` so that no panic can hide here.
    pub fn standard() -> Result<Self, crate::id::IdError> {
        use DeclineClass::{Contact, LaterFunds, LaterTechnical, Unclassified};
        let step = |after, classes: &[DeclineClass]| Step { after, classes: classes.to_vec() };
        Ok(Self {
            id: PolicyId::parse("standard")?,
            most_attempts: 10,
            give_up_after_days: 22,
            at: NaiveTime::from_hms_opt(9, 0, 0).unwrap_or_default(),
            not_past_next_due: false,
            steps: vec![
                step(Wait::Hours(1), &[LaterTechnical]),
                step(Wait::Hours(7), &[LaterTechnical]),
                step(Wait::Hours(31), &[LaterTechnical]),
                step(Wait::Days(3), &[Contact, LaterFunds, Unclassified]),
                step(Wait::Days(6), &[Contact, Unclassified]),
                step(Wait::Days(8), &[LaterFunds]),
                step(Wait::Days(15), &[LaterFunds]),
                step(Wait::Days(22), &[LaterFunds]),
            ],
            at_the_end: AtTheEnd::PauseSubscription,
        })
    }

    /// Every contradiction in the policy, all at once.
    #[must_use]
    pub fn mistakes(&self) -> Vec<PolicyError> {
        let mut found = Vec::new();
        if self.most_attempts > MOST_ATTEMPTS_MAX {
            found.push(PolicyError::TooMany(self.most_attempts));
        }
        let mut before = None;
        for (place, step) in self.steps.iter().enumerate() {
            let number = place.saturating_add(1);
            let minutes = minutes(step.after);
            if before.is_some_and(|before| minutes <= before) {
                found.push(PolicyError::Order { step: number });
            }
            before = Some(minutes);
            if minutes > i64::from(self.give_up_after_days).saturating_mul(24 * 60) {
                found.push(PolicyError::PastTheEnd { step: number, limit: self.give_up_after_days });
            }
            if step.classes.is_empty() {
                found.push(PolicyError::Empty { step: number });
            }
            for class in &step.classes {
                let why = match class {
                    DeclineClass::Never => {
                        "networks forbid another try on this instrument (Visa category 1, MAC 03/21, R07)"
                    }
                    DeclineClass::NewData => "a blind retry with the same data cannot succeed: wait for a new method",
                    DeclineClass::Contact
                    | DeclineClass::LaterFunds
                    | DeclineClass::LaterTechnical
                    | DeclineClass::Unclassified
                    | DeclineClass::Partial => continue,
                };
                found.push(PolicyError::Forbidden { step: number, class: *class, why });
            }
        }
        found
    }

    /// What comes after a decline.
    ///
    /// `declined` counts the definitive declines of this charge so far, this one included; `first_failed_at` is the first
    /// of them. The step taken is the first that applies to the class and lies after `now`; each step serves once, so a
    /// decline that comes late does not squeeze two tries together.
    ///
    /// # Errors
    /// When the retry date leaves the calendar's range.
    pub fn after_decline(
        &self,
        class: DeclineClass,
        declined: u16,
        first_failed_at: DateTime<Utc>,
        zone: &Zone,
        now: DateTime<Utc>,
    ) -> Result<Next, CalendarError> {
        match class {
            DeclineClass::Never => return Ok(Next::GiveUp(GaveUp::HardDecline)),
            DeclineClass::NewData => return Ok(Next::GiveUp(GaveUp::NewMethodNeeded)),
            DeclineClass::Contact
            | DeclineClass::LaterFunds
            | DeclineClass::LaterTechnical
            | DeclineClass::Unclassified
            | DeclineClass::Partial => {}
        }
        if declined >= self.most_attempts {
            return Ok(Next::GiveUp(GaveUp::TriesSpent));
        }
        for step in self.steps.iter().filter(|step| step.is_for(class)) {
            let at = self.moment(step.after, first_failed_at, zone)?;
            if at > now {
                return Ok(Next::RetryAt(at));
            }
        }
        Ok(Next::GiveUp(GaveUp::LadderSpent))
    }

    /// When trying ends at the latest, of a charge whose first failure was at `first_failed_at`.
    ///
    /// # Errors
    /// When the date leaves the calendar's range.
    pub fn ends_at(&self, first_failed_at: DateTime<Utc>, zone: &Zone) -> Result<DateTime<Utc>, CalendarError> {
        self.moment(Wait::Days(self.give_up_after_days), first_failed_at, zone)
    }

    fn moment(&self, after: Wait, first: DateTime<Utc>, zone: &Zone) -> Result<DateTime<Utc>, CalendarError> {
        match after {
            Wait::Hours(hours) => first
                .checked_add_signed(TimeDelta::hours(i64::from(hours)))
                .ok_or_else(|| CalendarError::Year { date: first.date_naive() }),
            Wait::Days(days) => {
                let date = zone.civil(first)?.date;
                let later = date.checked_add_days(Days::new(u64::from(days)));
                zone.instant(later.ok_or(CalendarError::Year { date })?, self.at)
            }
        }
    }
}

fn minutes(wait: Wait) -> i64 {
    match wait {
        Wait::Hours(hours) => i64::from(hours).saturating_mul(60),
        Wait::Days(days) => i64::from(days).saturating_mul(24 * 60),
    }
}

/// What follows a decline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    RetryAt(DateTime<Utc>),
    /// Trying is over.
    GiveUp(GaveUp),
}

/// Why trying ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaveUp {
    /// The instrument may never be tried again.
    HardDecline,
    /// Only new card or account data can help.
    NewMethodNeeded,
    /// The policy's number of tries is used up.
    TriesSpent,
    /// No step of the policy is left for this kind of decline.
    LadderSpent,
    /// The next try would come when the next cycle is due, and the policy forbids that.
    NextCycleDue,
    /// The rules of the network allow no further try of this charge.
    NetworkRule,
    /// A person found that the charge was not paid, where the gateway never said.
    Person,
    /// The customer took the authorization back, for this merchant (Visa R1 and R3, Mastercard advice 21, ACH R07).
    MandateRevoked,
    /// The owner of the account says that nobody authorized it (ACH R05, R10, R29, R51).
    Unauthorized,
    /// The bank says that the customer, or whom they acted for, has died (ACH R14, R15).
    CustomerGone,
    /// A person stopped it.
    Stopped,
    /// There was nothing to try it with when the time for trying ended.
    NoMethod,
    /// A payment made with its method was disputed, and still was when the time for trying ended.
    Disputed,
}

impl GaveUp {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HardDecline => "hard_decline",
            Self::NewMethodNeeded => "new_method_needed",
            Self::TriesSpent => "tries_spent",
            Self::LadderSpent => "ladder_spent",
            Self::NextCycleDue => "next_cycle_due",
            Self::NetworkRule => "network_rule",
            Self::Person => "person",
            Self::MandateRevoked => "mandate_revoked",
            Self::Unauthorized => "unauthorized",
            Self::CustomerGone => "customer_gone",
            Self::Stopped => "stopped",
            Self::NoMethod => "no_method",
            Self::Disputed => "disputed",
        }
    }

    /// Every reason, for tables and exhaustive tests.
    pub const ALL: [Self; 13] = [
        Self::HardDecline,
        Self::NewMethodNeeded,
        Self::TriesSpent,
        Self::LadderSpent,
        Self::NextCycleDue,
        Self::NetworkRule,
        Self::Person,
        Self::MandateRevoked,
        Self::Unauthorized,
        Self::CustomerGone,
        Self::Stopped,
        Self::NoMethod,
        Self::Disputed,
    ];

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }

    /// Why a decline that forbids every further try ends trying: who said so, where the code tells (billing-rules.md §1.2, §1.3, §1.5).
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        match code {
            "R07"
            | "R1"
            | "R3"
            | "MAC21"
            | "21"
            | "revocation_of_authorization"
            | "revocation_of_all_authorizations" => Some(Self::MandateRevoked),
            "R05" | "R10" | "R29" | "R51" => Some(Self::Unauthorized),
            "R14" | "R15" => Some(Self::CustomerGone),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_standard_policy_has_no_mistakes() {
        assert_eq!(Policy::standard().unwrap().mistakes(), Vec::new());
    }

    #[test]
    fn funds_are_tried_again_on_days_3_8_15_and_22_at_nine_local() {
        let policy = Policy::standard().unwrap();
        let zone = Zone::parse("America/New_York").unwrap();
        let first = at("2027-03-01T11:00:05Z");
        let mut now = first;
        let mut seen = Vec::new();
        for declined in 1.. {
            match policy.after_decline(DeclineClass::LaterFunds, declined, first, &zone, now).unwrap() {
                Next::RetryAt(next) => {
                    seen.push(next.to_rfc3339());
                    now = next;
                }
                Next::GiveUp(why) => {
                    assert_eq!(why, GaveUp::LadderSpent);
                    break;
                }
            }
        }
        // DST starts on 2027-03-14: nine local moves from 14:00Z to 13:00Z.
        let expected = [
            "2027-03-04T14:00:00+00:00",
            "2027-03-09T14:00:00+00:00",
            "2027-03-16T13:00:00+00:00",
            "2027-03-23T13:00:00+00:00",
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn hard_declines_are_never_tried_again() {
        let policy = Policy::standard().unwrap();
        let zone = Zone::parse("UTC").unwrap();
        let now = at("2027-03-01T11:00:05Z");
        let next = |class| policy.after_decline(class, 1, now, &zone, now).unwrap();
        assert_eq!(next(DeclineClass::Never), Next::GiveUp(GaveUp::HardDecline));
        assert_eq!(next(DeclineClass::NewData), Next::GiveUp(GaveUp::NewMethodNeeded));
    }

    #[test]
    fn contradictions_are_all_named_at_once() {
        let mut policy = Policy::standard().unwrap();
        policy.most_attempts = 40;
        policy.give_up_after_days = 2;
        policy.steps = vec![
            Step { after: Wait::Days(3), classes: vec![DeclineClass::Never] },
            Step { after: Wait::Hours(1), classes: vec![] },
        ];
        assert_eq!(policy.mistakes().len(), 5);
    }
}
