//! Refunds: money of a paid charge given back, once, and the only way between a refund's states.
//!
//! One fact rules all of it: the gateway does not replay the create of a refund, and knows no look-up by our key (contract §4.6,
//! §5; reliability.md B20). So a refund is sent once, ever. What its answer did not say is learnt by the refund's own id, by an event
//! that names that id, or by a person; never by sending again. [`Refund::step`] is the single door between states, and has no
//! arrow that leads back to [`State::Recorded`] or a second time to [`State::Sending`].

mod rule;
mod step;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error;

use crate::id::{ChargeId, Key, MerchantId, PaymentMethodId, RefundId, SubscriptionId, looks_like_a_card_number};
use crate::money::Money;

pub use rule::{Ledger, NotRefundable, WINDOW, Wish, ask, may_still_be_sent};
pub use step::ladder;

/// Longest reason, in characters (contract §3.3).
pub const REASON_MAX: usize = 50;

/// Why a refund is given, as the gateway is told: 1 to 50 characters in one line, nothing that looks like a card number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// Reads a reason.
    ///
    /// # Errors
    /// A sentence with what to write instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.is_empty() {
            return Err("a reason is needed: say in a few words why the money goes back");
        }
        if text.chars().count() > REASON_MAX {
            return Err("the reason is too long: the gateway takes 50 characters");
        }
        if text.chars().any(char::is_control) {
            return Err("the reason has control characters: write one line of plain text");
        }
        if looks_like_a_card_number(text) {
            return Err("the reason looks like a card number: card numbers may not enter autopay");
        }
        Ok(Self(text.to_owned()))
    }

    /// The reason as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a refund gave nothing back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailWhy {
    /// The gateway took it and says that it failed.
    Declined,
    /// The gateway refused the request and processed nothing.
    Rejected,
    /// The request provably did not reach the gateway, or was turned away unread. It is not sent again: a new refund is.
    NotExecuted,
    /// It could not be sent any more: the payment is not complete, is disputed or too old.
    NotRefundable,
    /// A person withdrew it before it was sent.
    Withdrawn,
    /// A person found that it was never executed.
    Person,
}

impl FailWhy {
    const ALL: [Self; 6] =
        [Self::Declined, Self::Rejected, Self::NotExecuted, Self::NotRefundable, Self::Withdrawn, Self::Person];

    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Rejected => "rejected",
            Self::NotExecuted => "not_executed",
            Self::NotRefundable => "not_refundable",
            Self::Withdrawn => "withdrawn",
            Self::Person => "person",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }
}

/// Why a refund waits for a person. Money may have moved in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkWhy {
    /// No answer came that proves anything, and the gateway's id of the refund is not known, so there is nothing to ask by.
    AnswerLost,
    /// The gateway says that a refund of this key was made before. Which one it is cannot be asked.
    KeyUsed,
    /// The gateway answered about another refund, payment, merchant or amount.
    Mismatch,
    /// We asked for as long as the ladder goes and still do not know.
    OutcomeUnknown,
}

impl ParkWhy {
    const ALL: [Self; 4] = [Self::AnswerLost, Self::KeyUsed, Self::Mismatch, Self::OutcomeUnknown];

    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnswerLost => "answer_lost",
            Self::KeyUsed => "key_used",
            Self::Mismatch => "mismatch",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == text)
    }
}

/// Where a refund stands. Each state carries what belongs to it and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// Decided and recorded; nothing was sent. The engine sends it, a person may withdraw it. No money moved.
    Recorded {
        /// When it may be sent.
        next_at: DateTime<Utc>,
        /// How often the look at the payment before sending could not be had.
        put_off: u16,
    },
    /// The one submission is committed, and is on its way or about to be. The sender moves it on; when its lease runs out, so
    /// does whoever notices. Not known whether money moved.
    Sending {
        /// When the submission was committed.
        since: DateTime<Utc>,
        /// Until when the sender is left alone.
        lease_until: DateTime<Utc>,
    },
    /// The gateway has it, under an id that it told us, and has not finished it. The engine asks. Money may move yet.
    Settling {
        /// Since when the gateway has it.
        since: DateTime<Utc>,
        /// How often we asked since then.
        asked: u16,
        /// When we ask next.
        next_at: DateTime<Utc>,
    },
    /// The answer was lost, and somebody named an id under which the refund may be found. The engine asks by it. Not known
    /// whether money moved.
    Unknown {
        /// Since when there is an id to ask by.
        since: DateTime<Utc>,
        /// How often we asked since then.
        asked: u16,
        /// When we ask next.
        next_at: DateTime<Utc>,
    },
    /// All of it went back. Final; money moved.
    Refunded {
        /// When we learnt it.
        at: DateTime<Utc>,
    },
    /// A part of it went back, the rest failed for good. Final; money moved.
    PartlyRefunded {
        /// What went back.
        given_back: Money,
        /// The gateway's most precise code for the rest.
        code: String,
        /// When we learnt it.
        at: DateTime<Utc>,
    },
    /// Nothing went back. Final; no money moved. What was to go back may be refunded anew.
    Failed {
        /// Why.
        why: FailWhy,
        /// The gateway's most precise code, or ours.
        code: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// A person must look; an event that names the refund's id still helps. Not known whether money moved.
    Parked {
        /// Why.
        why: ParkWhy,
        /// Since when.
        since: DateTime<Utc>,
    },
}

impl State {
    /// The state's own name: column value, and name in [`ARROWS`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Recorded { .. } => "recorded",
            Self::Sending { .. } => "sending",
            Self::Settling { .. } => "settling",
            Self::Unknown { .. } => "unknown",
            Self::Refunded { .. } => "refunded",
            Self::PartlyRefunded { .. } => "partly_refunded",
            Self::Failed { .. } => "failed",
            Self::Parked { .. } => "parked",
        }
    }

    /// The word people see, the same in every command, export and page.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Recorded { .. } => "due",
            Self::Sending { .. } | Self::Settling { .. } => "sending",
            Self::Unknown { .. } | Self::Parked { .. } => "outcome_unknown",
            Self::Refunded { .. } => "refunded",
            Self::PartlyRefunded { .. } => "partly_refunded",
            Self::Failed { .. } => "failed",
        }
    }

    /// When somebody must look at it again; `None` when it is final or waits for a person.
    #[must_use]
    pub const fn next_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Recorded { next_at, .. } | Self::Settling { next_at, .. } | Self::Unknown { next_at, .. } => {
                Some(*next_at)
            }
            Self::Sending { lease_until, .. } => Some(*lease_until),
            Self::Refunded { .. } | Self::PartlyRefunded { .. } | Self::Failed { .. } | Self::Parked { .. } => None,
        }
    }

    /// Did money move? `None`: not known.
    #[must_use]
    pub const fn money_moved(&self) -> Option<bool> {
        match self {
            Self::Recorded { .. } | Self::Failed { .. } => Some(false),
            Self::Refunded { .. } | Self::PartlyRefunded { .. } => Some(true),
            Self::Sending { .. } | Self::Settling { .. } | Self::Unknown { .. } | Self::Parked { .. } => None,
        }
    }
}

/// One refund of one charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refund {
    /// Derived from charge and number.
    pub id: RefundId,
    /// The charge whose money goes back.
    pub charge: ChargeId,
    /// Which refund of the charge, from 1.
    pub number: u16,
    /// Whose money.
    pub merchant: MerchantId,
    /// Whose charge it was: holds are by subscription.
    pub subscription: SubscriptionId,
    /// The gateway key, its `merchantTransactionId`.
    pub key: Key,
    /// The gateway's id of the payment that is given back.
    pub payment_id: String,
    /// How much; never changes.
    pub amount: Money,
    /// It asks for everything that was collected, and no other refund of the charge may have been executed.
    pub whole: bool,
    /// The method whose part goes back, of a payment that two methods shared; the gateway distributes nothing (contract §5).
    pub from: Option<PaymentMethodId>,
    /// Why.
    pub reason: Reason,
    /// When it was recorded, UTC.
    pub recorded_at: DateTime<Utc>,
    /// The gateway's id of it, proven: told in an answer about our key.
    pub gateway_id: Option<String>,
    /// An id somebody named, an event or a person, and no answer has confirmed yet.
    pub hint: Option<String>,
    /// Where it stands.
    pub state: State,
}

impl Refund {
    /// What may have gone back by it: it counts against what was collected until it is proven that it did not.
    #[must_use]
    pub const fn may_have_moved(&self) -> Money {
        match &self.state {
            State::Recorded { .. }
            | State::Sending { .. }
            | State::Settling { .. }
            | State::Unknown { .. }
            | State::Refunded { .. }
            | State::Parked { .. } => self.amount,
            State::PartlyRefunded { given_back, .. } => *given_back,
            State::Failed { .. } => Money::new(0, self.amount.currency()),
        }
    }

    /// Is it ordered still? It was neither made nor withdrawn: nobody knows better than that the money is to go back.
    #[must_use]
    pub const fn is_ordered(&self) -> bool {
        match &self.state {
            State::Recorded { .. }
            | State::Sending { .. }
            | State::Settling { .. }
            | State::Unknown { .. }
            | State::Parked { .. } => true,
            State::Failed { why, .. } => !matches!(why, FailWhy::Withdrawn),
            State::Refunded { .. } | State::PartlyRefunded { .. } => false,
        }
    }

    /// What is known to have gone back.
    #[must_use]
    pub const fn given_back(&self) -> Money {
        match &self.state {
            State::Refunded { .. } => self.amount,
            State::PartlyRefunded { given_back, .. } => *given_back,
            State::Recorded { .. }
            | State::Sending { .. }
            | State::Settling { .. }
            | State::Unknown { .. }
            | State::Failed { .. }
            | State::Parked { .. } => Money::new(0, self.amount.currency()),
        }
    }

    /// The id it can be asked about by: the proven one, else the one named.
    #[must_use]
    pub fn known_as(&self) -> Option<&str> {
        self.gateway_id.as_deref().or(self.hint.as_deref())
    }

    /// The state as a sentence for people, in UTC.
    #[must_use]
    pub fn sentence(&self) -> String {
        let day = |at: &DateTime<Utc>| at.format("%a %-d %b %Y %H:%M UTC").to_string();
        let nobody = "Nothing is sent again";
        match &self.state {
            State::Recorded { next_at, put_off: 0 } => format!("Recorded; goes out at {}.", day(next_at)),
            State::Recorded { next_at, .. } => {
                format!("Recorded; the gateway could not be asked about the payment, again at {}.", day(next_at))
            }
            State::Sending { since, .. } => format!("Sent to the gateway at {}.", day(since)),
            State::Settling { next_at, .. } => format!("The gateway has it; we ask at {}.", day(next_at)),
            State::Unknown { next_at, .. } => {
                format!("Its answer was lost; we ask at {} whether it is the one we were told of.", day(next_at))
            }
            State::Refunded { at } => format!("Refunded {}.", day(at)),
            State::PartlyRefunded { given_back, code, at } => {
                format!("{given_back} of {} went back {}; the rest failed ({code}).", self.amount, day(at))
            }
            State::Failed { why, code, .. } => match why {
                FailWhy::Declined => format!("The gateway could not give it back ({code}). No money moved."),
                FailWhy::Rejected => format!("The gateway refused the request ({code}). No money moved."),
                FailWhy::NotExecuted => format!("It did not reach the gateway ({code}). No money moved; refund anew."),
                FailWhy::NotRefundable => format!("It was not sent: {code}. No money moved."),
                FailWhy::Withdrawn => "Withdrawn before it was sent. No money moved.".to_owned(),
                FailWhy::Person => "A person found that it was never executed.".to_owned(),
            },
            State::Parked { why, .. } => match why {
                ParkWhy::AnswerLost => {
                    format!("The gateway's answer was lost. {nobody}; its event or a person must say what happened.")
                }
                ParkWhy::KeyUsed => {
                    format!("The gateway has a refund of this key already. {nobody}; a person must find it.")
                }
                ParkWhy::Mismatch => {
                    format!("The gateway's answer contradicts what was asked. {nobody}; a person must look.")
                }
                ParkWhy::OutcomeUnknown => {
                    format!("The gateway never said what happened. {nobody}; a person must find out.")
                }
            },
        }
    }
}

/// What can happen to a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its one submission was committed.
    Send,
    /// The look at the payment before sending could not be had; it is tried again.
    PutOff {
        /// How long we were asked to wait.
        wait: Option<chrono::TimeDelta>,
    },
    /// It may not be sent any more.
    Refuse {
        /// In a few words.
        code: String,
    },
    /// A person takes it back before it is sent.
    Withdraw,
    /// The sender's lease ran out without an answer.
    LeaseRanOut,
    /// The gateway showed the refund under our key, not finished.
    Accepted {
        /// The gateway's id of it.
        id: String,
    },
    /// The gateway showed the refund under our key: complete.
    Completed {
        /// The gateway's id of it.
        id: String,
        /// What it says went back.
        amount: Money,
    },
    /// The gateway showed the refund under our key: a part went back, the rest failed.
    PartlyCompleted {
        /// The gateway's id of it.
        id: String,
        /// What it says went back.
        given_back: Money,
        /// The most precise code for the rest.
        code: String,
    },
    /// The gateway says of our key that the refund failed.
    Declined {
        /// The gateway's id of it, where it was told.
        id: Option<String>,
        /// The most precise code.
        code: String,
    },
    /// Refused as malformed or against a rule; nothing was processed. Of a question: it proves nothing.
    Rejected {
        /// The gateway's word.
        code: String,
    },
    /// Provably not executed: the submission, or the question.
    NotExecuted {
        /// How long we were asked to wait.
        wait: Option<chrono::TimeDelta>,
        /// In a few words.
        code: String,
    },
    /// The gateway says that this key was used before.
    KeyUsed,
    /// The id that was asked about is not known.
    Absent,
    /// No answer that proves anything.
    Silent,
    /// An answer about something else.
    Mismatch,
    /// An event of the gateway, or a person, named an id. It proves nothing: it is asked about.
    Learnt {
        /// The id.
        id: String,
    },
    /// A person decides, with evidence of their own: it was executed.
    JudgedRefunded {
        /// The gateway's id of it.
        id: String,
    },
    /// A person decides, with evidence of their own: it was not executed.
    JudgedNotExecuted,
}

impl Event {
    /// The event's name in [`ARROWS`] and in refusals.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::PutOff { .. } => "put_off",
            Self::Refuse { .. } => "refuse",
            Self::Withdraw => "withdraw",
            Self::LeaseRanOut => "lease_ran_out",
            Self::Accepted { .. } => "accepted",
            Self::Completed { .. } => "completed",
            Self::PartlyCompleted { .. } => "partly_completed",
            Self::Declined { .. } => "declined",
            Self::Rejected { .. } => "rejected",
            Self::NotExecuted { .. } => "not_executed",
            Self::KeyUsed => "key_used",
            Self::Absent => "absent",
            Self::Silent => "silent",
            Self::Mismatch => "mismatch",
            Self::Learnt { .. } => "learnt",
            Self::JudgedRefunded { .. } => "judged_refunded",
            Self::JudgedNotExecuted => "judged_not_executed",
        }
    }
}

/// Every arrow of the machine: from, event, and the states it may lead to. None leads to `recorded` but from there, and one
/// alone leads to `sending` from elsewhere: what was sent is never sent again.
pub const ARROWS: &[(&str, &str, &[&str])] = &[
    ("recorded", "send", &["sending"]),
    ("recorded", "put_off", &["recorded"]),
    ("recorded", "refuse", &["failed"]),
    ("recorded", "withdraw", &["failed"]),
    ("sending", "lease_ran_out", &["parked", "unknown"]),
    ("sending", "accepted", &["settling"]),
    ("sending", "completed", &["refunded", "parked"]),
    ("sending", "partly_completed", &["partly_refunded", "parked"]),
    ("sending", "declined", &["failed"]),
    ("sending", "rejected", &["failed"]),
    ("sending", "not_executed", &["failed"]),
    ("sending", "key_used", &["parked", "unknown"]),
    ("sending", "silent", &["parked", "unknown"]),
    ("sending", "mismatch", &["parked"]),
    ("sending", "learnt", &["sending"]),
    ("settling", "accepted", &["settling", "parked"]),
    ("settling", "completed", &["refunded", "parked"]),
    ("settling", "partly_completed", &["partly_refunded", "parked"]),
    ("settling", "declined", &["failed"]),
    ("settling", "rejected", &["settling", "parked"]),
    ("settling", "not_executed", &["settling"]),
    ("settling", "absent", &["settling", "parked"]),
    ("settling", "silent", &["settling", "parked"]),
    ("settling", "mismatch", &["parked"]),
    ("settling", "learnt", &["settling"]),
    ("unknown", "accepted", &["settling"]),
    ("unknown", "completed", &["refunded", "parked"]),
    ("unknown", "partly_completed", &["partly_refunded", "parked"]),
    ("unknown", "declined", &["failed"]),
    ("unknown", "rejected", &["unknown", "parked"]),
    ("unknown", "not_executed", &["unknown"]),
    ("unknown", "absent", &["unknown", "parked"]),
    ("unknown", "silent", &["unknown", "parked"]),
    ("unknown", "mismatch", &["parked"]),
    ("unknown", "learnt", &["unknown"]),
    ("unknown", "judged_refunded", &["refunded"]),
    ("parked", "accepted", &["settling"]),
    ("parked", "completed", &["refunded", "parked"]),
    ("parked", "partly_completed", &["partly_refunded", "parked"]),
    ("parked", "declined", &["failed"]),
    ("parked", "learnt", &["unknown"]),
    ("parked", "judged_refunded", &["refunded"]),
    ("parked", "judged_not_executed", &["failed"]),
    ("failed", "judged_refunded", &["refunded"]),
];

/// Why an event was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The state is final.
    Final,
    /// It is being sent or asked about: nothing may overtake that.
    InFlight,
    /// Nothing was sent that this could be about.
    NothingSent,
    /// It was sent, and is never sent again.
    SentOnce,
    /// The state waits for a person.
    NeedsAPerson,
    /// Another id is known or being asked about.
    OtherId,
    /// It fell silent so lately that it may still be executed.
    TooYoung,
}

/// A refused event: both sides named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a refund that is {from} takes no {event}: {why:?}")]
pub struct Refused {
    /// The state's name.
    pub from: &'static str,
    /// The event's name.
    pub event: &'static str,
    /// The reason.
    pub why: Why,
}
