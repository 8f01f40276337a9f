//! When a declined charge is tried again, and when trying ends.
//!
//! A policy is tries *and* consequences in one value. All waits count from the first failure of the charge, so that a late
//! run never stretches the ladder, and every day-sized wait ends at one fixed local hour.

use chrono::{DateTime, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::PolicyId;
use crate::money::Currency;
use crate::subscription::MethodKind;
use crate::verdict::DeclineClass;

mod expected_value;
mod ladder;
#[cfg(test)]
mod tests;
mod wait;

pub use expected_value::{CHANCES_MAX, ExpectedValue};
pub use ladder::{Declined, Rung, Surroundings};
pub use wait::{Payday, Paydays, Wait};

/// Most tries a policy may make for one charge, the first included. Below every published network limit (the lowest,
/// Visa's, is 15 in 30 days) with room for manual tries.
pub const MOST_ATTEMPTS_MAX: u16 = 10;

/// Widest time over which tries of one hour are spread, in minutes (billing-rules.md §1.8).
pub const SPREAD_MAX: u16 = 30;
/// Furthest that a try may move to reach a payday, in days.
pub const PAYDAY_WITHIN_MAX: u16 = 7;

/// One further try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Time since the first failure.
    pub after: Wait,
    /// The classes it applies to, in ascending order.
    pub classes: Vec<DeclineClass>,
    /// The kind of instrument it applies to; every kind where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodKind>,
}

impl Step {
    /// Does it apply to a decline of this class? A part that was approved is a want of funds, unless a step names it.
    #[must_use]
    pub fn is_for(&self, class: DeclineClass, method: MethodKind) -> bool {
        let its_class = self.classes.contains(&class)
            || (class == DeclineClass::Partial && self.classes.contains(&DeclineClass::LaterFunds));
        its_class && self.method.is_none_or(|named| named == method)
    }

    /// Can one charge come to both?
    fn meets(&self, other: &Self) -> bool {
        match (self.method, other.method) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        }
    }
}

/// Which debt is asked for first where a policy tries past the next due date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollectFirst {
    /// The cycle that falls due: a try that would come on its day comes the day after.
    #[default]
    NewestDebt,
    /// What failed before: a try that would come on the day of a cycle comes the day before it, where that is still to come.
    OldestDebt,
}

impl CollectFirst {
    /// The word in policy files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewestDebt => "newest_debt",
            Self::OldestDebt => "oldest_debt",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::NewestDebt, Self::OldestDebt].into_iter().find(|first| first.as_str() == text)
    }

    const fn is_default(&self) -> bool {
        matches!(self, Self::NewestDebt)
    }
}

/// Declines for want of funds before a try falls through, where a policy says nothing else (billing-rules.md §1.4).
pub const FALLS_AFTER: u16 = 2;

/// When a charge is tried with the next of its payer's backups. Which classes fall through is no policy's to say
/// (billing-rules.md §1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backups {
    /// So many declines of one method for want of funds first: 1 to [`Policy::most_attempts`].
    pub after_tries: u16,
}

impl Default for Backups {
    /// After [`FALLS_AFTER`] declines.
    fn default() -> Self {
        Self { after_tries: FALLS_AFTER }
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
    /// The subscription is cancelled: no further cycle is charged, and what else of it is failing is not asked for again.
    CancelSubscription,
    /// The debt stands, for people to collect, and the subscription stands unpaid: no further cycle is charged until a person resumes
    /// it, and those that passed meanwhile are owed.
    MarkUnpaid,
}

impl AtTheEnd {
    /// Every end, for tables and files.
    pub const ALL: [Self; 4] =
        [Self::PauseSubscription, Self::KeepSubscription, Self::CancelSubscription, Self::MarkUnpaid];

    /// The word in plan files and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PauseSubscription => "pause_subscription",
            Self::KeepSubscription => "keep_subscription",
            Self::CancelSubscription => "cancel_subscription",
            Self::MarkUnpaid => "mark_unpaid",
        }
    }

    /// What it does to the subscription, if anything.
    #[must_use]
    pub const fn stops(self) -> Option<Stop> {
        match self {
            Self::PauseSubscription => Some(Stop::Pause),
            Self::CancelSubscription => Some(Stop::Cancel),
            Self::MarkUnpaid => Some(Stop::Unpaid),
            Self::KeepSubscription => None,
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == text)
    }
}

/// How a policy that ended stops its subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Until a person resumes it.
    Pause,
    /// Until a person resumes it, and what falls due meanwhile is owed.
    Unpaid,
    /// For good.
    Cancel,
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
    /// Which debt is asked for first, where a try may come later than that.
    #[serde(default, skip_serializing_if = "CollectFirst::is_default")]
    pub collect_first: CollectFirst,
    /// Tries at [`Policy::at`] are spread over so many minutes, by the charge's id: 0 to [`SPREAD_MAX`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spread_minutes: u16,
    /// The days on which people are paid, if tries for want of funds move to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paydays: Option<Paydays>,
    /// Further tries in ascending order of [`Step::after`].
    pub steps: Vec<Step>,
    /// Whether backups are tried, and when; never where it says nothing: another of the payer's instruments is charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backups: Option<Backups>,
    /// Whether a further try is weighed against its cost; every step is taken where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_value: Option<ExpectedValue>,
    /// What happens when trying ends without success.
    pub at_the_end: AtTheEnd,
    /// The queue of people who take over then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_to: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// The policy version that decides about a charge from its first failure on, and how far up its ladder the charge is. A later
/// version does not move a ladder that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ladder {
    /// Which policy.
    pub policy: PolicyId,
    /// Its version; 0 for the built-in one, and for files that were not applied.
    pub version: u32,
    /// The number of the last step taken, from 1; 0 before the first. Each step serves once.
    pub step: u16,
}

/// A policy that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Not a wait.
    #[error("{0:?} is not a waiting time: write for example \"6 hours\" or \"3 days\" (1 to 365)")]
    Wait(String),
    /// Not a wait of a step.
    #[error(
        "{0:?} is not a waiting time: write for example \"6 hours\", \"3 days\" or \"5 business days\" (1 to 365), or \"next payday\""
    )]
    StepWait(String),
    /// Not a day on which people are paid.
    #[error("{0:?} is no payday: write \"1st\" to \"28th\", \"last_business_day\", or a weekday such as \"friday\"")]
    Payday(String),
    /// A payday is waited for, and none is named.
    #[error("step {step} waits for a payday and no day is one: add [payday] with days")]
    NoPayday {
        /// Counted from 1.
        step: usize,
    },
    /// Too far to move.
    #[error("payday.within is {0} days: write at most {PAYDAY_WITHIN_MAX} days")]
    PaydayTooFar(u16),
    /// Tries spread too widely.
    #[error("spread is {0} minutes: write at most {SPREAD_MAX} minutes")]
    SpreadTooWide(u16),
    /// Tries spread over midnight.
    #[error("tries at {at} spread over {minutes} minutes would reach the next day: try earlier, or spread them less")]
    SpreadPastMidnight {
        /// The local hour.
        at: NaiveTime,
        /// The minutes.
        minutes: u16,
    },
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
    /// A step of a fixed time behind one that waits for a payday.
    #[error(
        "step {step} has a time of its own and comes after a step that waits for a payday, which may be later: put the steps after \"next payday\" last"
    )]
    AfterPayday {
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
    /// Backups that are reached at no decline.
    #[error("backup.after_tries is 0: write at least 1, the number of declines before a backup is tried")]
    BackupBeforeTheFirst,
    /// Backups that no decline for want of funds reaches.
    #[error(
        "backup.after_tries is {after} and most_attempts is {most}, so that no decline for want of funds reaches a backup: write at most {most}, or add steps"
    )]
    BackupOutOfReach {
        /// What the file says.
        after: u16,
        /// Tries in all.
        most: u16,
    },
    /// A cost for one currency twice.
    #[error("expected_value.try_costs names {0} twice: keep one of the two")]
    TwoCosts(Currency),
    /// A step that applies to nothing.
    #[error("step {step} applies to no kind of decline: name at least one in `for`")]
    Empty {
        /// Counted from 1.
        step: usize,
    },
}

impl Policy {
    /// The default policy where a plan names none (billing-rules.md §1.8): cards for want of funds at 3, 8, 15 and 22 days, on a
    /// payday if one is within 2 days; debits for want of funds after 5 business days and on the next payday; technical at 1 hour,
    /// 7 hours and 31 hours; a bare or refused answer at 72 hours and 6 days. At 09:00 in the payer's zone, never past the next due
    /// date.
    ///
    /// # Errors
    /// Never in practice: the id is a constant. Kept as a `Result` so that no panic can hide here.
    pub fn standard() -> Result<Self, crate::id::IdError> {
        use DeclineClass::{Contact, LaterFunds, LaterTechnical, Unclassified};
        let step = |method, after, classes: &[DeclineClass]| Step { after, classes: classes.to_vec(), method };
        let (card, bank) = (Some(MethodKind::Card), Some(MethodKind::BankAccount));
        Ok(Self {
            id: PolicyId::parse("standard")?,
            most_attempts: 10,
            // The last step, and what it may move to reach a payday.
            give_up_after_days: 24,
            at: NaiveTime::from_hms_opt(9, 0, 0).unwrap_or_default(),
            not_past_next_due: true,
            collect_first: CollectFirst::NewestDebt,
            spread_minutes: 0,
            paydays: Some(Paydays::default()),
            steps: vec![
                step(None, Wait::Hours(1), &[LaterTechnical]),
                step(None, Wait::Hours(7), &[LaterTechnical]),
                step(None, Wait::Hours(31), &[LaterTechnical]),
                step(bank, Wait::Days(3), &[Contact, Unclassified]),
                step(card, Wait::Days(3), &[Contact, LaterFunds, Unclassified]),
                step(None, Wait::Days(6), &[Contact, Unclassified]),
                step(bank, Wait::BusinessDays(5), &[LaterFunds]),
                step(bank, Wait::NextPayday, &[LaterFunds]),
                step(card, Wait::Days(8), &[LaterFunds]),
                step(card, Wait::Days(15), &[LaterFunds]),
                step(card, Wait::Days(22), &[LaterFunds]),
            ],
            backups: None,
            expected_value: None,
            at_the_end: AtTheEnd::PauseSubscription,
            hand_to: None,
        })
    }

    /// Every contradiction in the policy, all at once.
    #[must_use]
    pub fn mistakes(&self) -> Vec<PolicyError> {
        let mut found = Vec::new();
        if self.most_attempts > MOST_ATTEMPTS_MAX {
            found.push(PolicyError::TooMany(self.most_attempts));
        }
        if self.spread_minutes > SPREAD_MAX {
            found.push(PolicyError::SpreadTooWide(self.spread_minutes));
        } else if self.ends_on_another_day() {
            found.push(PolicyError::SpreadPastMidnight { at: self.at, minutes: self.spread_minutes });
        }
        if let Some(paydays) = &self.paydays
            && paydays.within_days > PAYDAY_WITHIN_MAX
        {
            found.push(PolicyError::PaydayTooFar(paydays.within_days));
        }
        match self.backups {
            Some(Backups { after_tries: 0 }) => found.push(PolicyError::BackupBeforeTheFirst),
            Some(Backups { after_tries }) if after_tries > self.most_attempts => {
                found.push(PolicyError::BackupOutOfReach { after: after_tries, most: self.most_attempts });
            }
            Some(_) | None => {}
        }
        if let Some(currency) = self.expected_value.as_ref().and_then(ExpectedValue::has_two_costs) {
            found.push(PolicyError::TwoCosts(currency));
        }
        for (place, step) in self.steps.iter().enumerate() {
            let number = place.saturating_add(1);
            let minutes = step.after.minutes();
            let waits_for_payday = |step: &Step| step.after == Wait::NextPayday;
            let comes_after = |before: &Step| match (before.after, step.after) {
                // A payday is the next one after the try before it.
                (Wait::NextPayday, _) | (_, Wait::NextPayday) => true,
                (Wait::Hours(_) | Wait::Days(_) | Wait::BusinessDays(_), _) => minutes > before.after.minutes(),
            };
            let earlier = self.steps.iter().take(place).filter(|before| before.meets(step));
            if !waits_for_payday(step) && earlier.clone().any(waits_for_payday) {
                found.push(PolicyError::AfterPayday { step: number });
            } else if !earlier.clone().all(comes_after) {
                found.push(PolicyError::Order { step: number });
            }
            if step.after == Wait::NextPayday && self.paydays.as_ref().is_none_or(|paydays| paydays.days.is_empty()) {
                found.push(PolicyError::NoPayday { step: number });
            }
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

    /// Tries that one charge can come to at most, the first included.
    #[must_use]
    pub fn tries(&self) -> usize {
        let of = |method| self.steps.iter().filter(|step| step.method.is_none_or(|named| named == method)).count();
        of(MethodKind::Card).max(of(MethodKind::BankAccount)).saturating_add(1)
    }

    fn ends_on_another_day(&self) -> bool {
        let spread = chrono::TimeDelta::minutes(i64::from(self.spread_minutes));
        self.at.overflowing_add_signed(spread).1 != 0
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

impl Next {
    /// Why trying is over, where it is.
    #[must_use]
    pub const fn gave_up(self) -> Option<GaveUp> {
        match self {
            Self::RetryAt(_) => None,
            Self::GiveUp(why) => Some(why),
        }
    }
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
    /// The network allows no further try of its instrument, for anybody.
    NetworkRule,
    /// A person found that the charge was not paid, where the gateway never said.
    Person,
    /// The gateway's answer allows no further try before somebody has acted: the customer, or an operator.
    MustAct,
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
    /// The network counted as many tries of its instrument as it allows, and still did when the time for trying ended.
    BudgetSpent,
    /// A bank account is debited for one charge three times in 180 days at most (billing-rules.md §1.5).
    EntriesSpent,
    /// The policy's next step would come after its time for trying.
    GraceEnded,
    /// A person suspects fraud, and held it for that.
    FraudHold,
    /// The law forbids to ask for the money, as in a bankruptcy, and a person held it for that.
    LegalHold,
    /// The merchant deals with the customer no more, and a person held it for that.
    CustomerBlocked,
    /// Its plan was retired, and still was when the time for trying ended.
    PlanRetired,
    /// Everything was on hold, and still was when the time for trying ended.
    KillSwitch,
    /// Its merchant was on hold, and still was when the time for trying ended.
    MerchantDisabled,
    /// Its currency was on hold, and still was when the time for trying ended.
    CurrencyDisabled,
    /// A further try costs more than it can be expected to collect.
    ExpectedValueNegative,
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
            Self::MustAct => "must_act",
            Self::MandateRevoked => "mandate_revoked",
            Self::Unauthorized => "unauthorized",
            Self::CustomerGone => "customer_gone",
            Self::Stopped => "stopped",
            Self::NoMethod => "no_method",
            Self::Disputed => "disputed",
            Self::BudgetSpent => "budget_spent",
            Self::EntriesSpent => "entries_spent",
            Self::GraceEnded => "grace_ended",
            Self::FraudHold => "fraud_hold",
            Self::LegalHold => "legal_hold",
            Self::CustomerBlocked => "customer_blocked",
            Self::PlanRetired => "plan_retired",
            Self::KillSwitch => "kill_switch",
            Self::MerchantDisabled => "merchant_disabled",
            Self::CurrencyDisabled => "currency_disabled",
            Self::ExpectedValueNegative => "expected_value_negative",
        }
    }

    /// The reason as a part of a sentence.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::HardDecline => "no further try is allowed on this method",
            Self::NewMethodNeeded => "a new payment method is needed",
            Self::TriesSpent | Self::LadderSpent => "every planned try was made",
            Self::NetworkRule => "its network allows no further try of this method",
            Self::MustAct => "somebody must act before another try",
            Self::Person => "a person found that it was not paid",
            Self::MandateRevoked => "the customer revoked the mandate",
            Self::Unauthorized => "the account's owner says that it was not authorized",
            Self::CustomerGone => "the bank says that the customer has died",
            Self::Stopped => "a person stopped it",
            Self::NoMethod => "there was no payment method to try it with until its end",
            Self::Disputed => "a payment made with its method stayed disputed until its end",
            Self::NextCycleDue => "the next try would fall on or after the next due date",
            Self::BudgetSpent => "its network allowed no further try of this method until its end",
            Self::EntriesSpent => "the bank may not be asked for it again",
            Self::GraceEnded => "the next try would come after the policy's time for trying",
            Self::FraudHold => "a person suspects fraud",
            Self::LegalHold => "the law forbids to ask for it",
            Self::CustomerBlocked => "the customer is blocked",
            Self::PlanRetired => "its plan stayed retired until its end",
            Self::KillSwitch => "everything stayed on hold until its end",
            Self::MerchantDisabled => "its merchant stayed on hold until its end",
            Self::CurrencyDisabled => "its currency stayed on hold until its end",
            Self::ExpectedValueNegative => "a further try costs more than it can be expected to collect",
        }
    }

    /// Every reason, for tables and exhaustive tests.
    pub const ALL: [Self; 25] = [
        Self::HardDecline,
        Self::NewMethodNeeded,
        Self::TriesSpent,
        Self::LadderSpent,
        Self::NextCycleDue,
        Self::NetworkRule,
        Self::Person,
        Self::MustAct,
        Self::MandateRevoked,
        Self::Unauthorized,
        Self::CustomerGone,
        Self::Stopped,
        Self::NoMethod,
        Self::Disputed,
        Self::BudgetSpent,
        Self::EntriesSpent,
        Self::GraceEnded,
        Self::FraudHold,
        Self::LegalHold,
        Self::CustomerBlocked,
        Self::PlanRetired,
        Self::KillSwitch,
        Self::MerchantDisabled,
        Self::CurrencyDisabled,
        Self::ExpectedValueNegative,
    ];

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }

    /// What becomes of the subscription with it, where the policy says this about its own end. What a hold ends was decided by nobody who
    /// had this customer's subscription in mind: the policy's end is not carried out. Whoever has died is charged for nothing more,
    /// whatever a policy says.
    #[must_use]
    pub const fn stops(self, at_the_end: AtTheEnd) -> Option<Stop> {
        match self {
            Self::CustomerGone => Some(Stop::Pause),
            Self::FraudHold
            | Self::LegalHold
            | Self::CustomerBlocked
            | Self::KillSwitch
            | Self::MerchantDisabled
            | Self::CurrencyDisabled => None,
            Self::HardDecline
            | Self::NewMethodNeeded
            | Self::TriesSpent
            | Self::LadderSpent
            | Self::NextCycleDue
            | Self::NetworkRule
            | Self::Person
            | Self::MustAct
            | Self::MandateRevoked
            | Self::Unauthorized
            | Self::Stopped
            | Self::NoMethod
            | Self::Disputed
            | Self::BudgetSpent
            | Self::EntriesSpent
            | Self::GraceEnded
            | Self::PlanRetired
            | Self::ExpectedValueNegative => at_the_end.stops(),
        }
    }

    /// Why a decline that forbids every further try ends trying: who said so, where the code tells (billing-rules.md §1.2, §1.3, §1.5).
    /// Of several codes of one answer, the first that tells.
    #[must_use]
    pub fn of_code(code: &str) -> Option<Self> {
        code.split('+').find_map(|part| match part {
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
        })
    }
}
