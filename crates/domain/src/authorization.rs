//! Authorizations: money set aside on a card, taken when goods go out or given back, and the order that does either.
//!
//! The gateway keeps an authorization for seven days and takes one capture of it; what the capture leaves out is given back
//! (contract §4.5, §4.9). Elsewhere in this crate a *hold* is the brake that keeps charges back; here the word is avoided.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::money::Money;

/// How long the gateway keeps an authorization: 7 days (contract §4.5).
pub const LASTS: TimeDelta = TimeDelta::days(7);
/// How long before its end an authorization is looked at and people are warned.
pub const WARN_BEFORE: TimeDelta = TimeDelta::hours(24);
/// Most attempts of one charge that a plan places unasked where authorizations expire uncaptured: three months of weeks.
/// Whoever has not captured by then is asked.
pub const REAUTHORIZED_MAX: u16 = 12;

/// Most submissions of one order. The gateway names no limit for them (contract §4.9), and one that finds the payment in another
/// state does nothing; who needs more has trouble that a person must see.
pub const ORDER_SENT_MAX: u16 = 20;

/// Money set aside on a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// How much: what was asked for, or less where the issuer approved a part and the plan accepts that (contract §4.10).
    pub amount: Money,
    /// When the gateway gives it back, at the earliest, UTC: 7 days after the request first went out. The gateway says no
    /// instant, and an answer that was lost for an hour must not make it look an hour longer.
    pub expires_at: DateTime<Utc>,
}

impl Authorization {
    /// What was set aside by a request that first went out at `sent_at`.
    #[must_use]
    pub fn placed(amount: Money, sent_at: DateTime<Utc>) -> Self {
        Self { amount, expires_at: sent_at.checked_add_signed(LASTS).unwrap_or(DateTime::<Utc>::MAX_UTC) }
    }

    /// When people are warned of its end.
    #[must_use]
    pub fn warn_at(&self) -> DateTime<Utc> {
        self.expires_at.checked_sub_signed(WARN_BEFORE).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// When the gateway is next asked about it: a day before its end, and at its end; `None` past that.
    #[must_use]
    pub fn look_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        [self.warn_at(), self.expires_at].into_iter().find(|moment| *moment > at)
    }
}

/// What an order does with an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// Takes the money, or a part of it; the rest is given back (contract §4.9).
    Capture,
    /// Gives all of it back (contract §4.11).
    Release,
}

impl OrderKind {
    /// The word in the database, in logs and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Release => "release",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Capture, Self::Release].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Recorded, and to be sent (again).
    Waiting,
    /// On its way, or about to be; the sender holds a lease.
    Sending,
    /// It went out, or may have; the gateway is asked what became of it.
    Asking,
}

impl Stage {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sending => "sending",
            Self::Asking => "asking",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Sending, Self::Asking].into_iter().find(|stage| stage.as_str() == text)
    }
}

/// An order about an authorization, under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Order {
    /// How far it has come.
    pub stage: Stage,
    /// An earlier submission of it was not answered.
    pub doubt: bool,
    /// Since when: recorded, sent, or silent.
    pub since: DateTime<Utc>,
    /// Submissions that may have been executed, the one under way included.
    pub sent: u16,
    /// Questions since then, or submissions in a row that provably did nothing.
    pub asked: u16,
    /// When somebody moves it on: sends it, takes the sender for gone, or asks.
    pub next_at: DateTime<Utc>,
}

impl Order {
    /// An order recorded at a moment and to be sent at another.
    #[must_use]
    pub const fn recorded(at: DateTime<Utc>, next_at: DateTime<Utc>) -> Self {
        Self { stage: Stage::Waiting, doubt: false, since: at, sent: 0, asked: 0, next_at }
    }
}

/// What an authorization that the gateway gave back means for its cycle; the plan decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenItExpires {
    /// A further attempt sets the money aside again, for another 7 days.
    Reauthorize,
    /// Nothing is collected for the cycle.
    Skip,
    /// A person must look.
    Park,
}

impl WhenItExpires {
    /// The word in plan files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reauthorize => "reauthorize",
            Self::Skip => "skip",
            Self::Park => "park",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    #[test]
    fn it_is_looked_at_a_day_before_its_end_and_at_its_end() {
        let at = |hours: i64| DateTime::from_timestamp(1_800_000_000 + hours * 3_600, 0).unwrap();
        let one = Authorization::placed(Money::new(100, Currency::USD), at(0));
        assert_eq!(one.expires_at, at(7 * 24));
        assert_eq!(one.look_after(at(0)), Some(at(6 * 24)));
        assert_eq!(one.look_after(at(6 * 24)), Some(at(7 * 24)));
        assert_eq!(one.look_after(at(7 * 24)), None);
    }
}
