//! Wallets: what the gateway says about a payment method, and whether it can be charged now.
//!
//! Facts are kept, standings are computed: a stored standing would be wrong at the midnight after which a card is no longer
//! valid. What the wallet said last, and news since then, decide; [`settle`] takes a search in, and nothing else can make a
//! method charged that was not, or move a subscription to another one.

mod left;
mod search;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, TimeDelta, Utc};
use serde::Serialize;

use crate::charge::Charge;
use crate::id::PaymentMethodId;
use crate::rules::{self, Network, Permit, Rule, Tried};
use crate::subscription::MethodKind;

pub use left::TriesLeft;
pub use search::{Listed, Repoint, RepointWhy, Search, Settled, ask_again, ask_next, settle};

/// How long a method that is gone waits for a replacement before its subscriptions count as without a method.
///
/// The gateway removes a replaced method and tells of both in no stated order (contract §8.4); a replacement whose news was
/// lost is found by the searches within this time.
pub const GRACE: TimeDelta = TimeDelta::hours(24);

/// The gateway's word for a method that can neither be charged nor changed any more (contract §4.13, §6).
const INVALIDATED: &str = "INVALIDATED";

/// The month up to whose end a card is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "String")]
pub struct Expiry {
    last_day: NaiveDate,
}

impl Expiry {
    /// From a month, 1 to 12, and a year of four digits; `None` when they are none: then nobody knows when it expires.
    #[must_use]
    pub fn new(month: u16, year: u16) -> Option<Self> {
        let first = NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), 1).filter(|_| year >= 1000)?;
        let last_day = first.checked_add_months(Months::new(1))?.pred_opt()?;
        Some(Self { last_day })
    }

    /// The last civil day on which it is good, where its owner lives: 02/2027 is good through 2027-02-28.
    #[must_use]
    pub const fn last_day(self) -> NaiveDate {
        self.last_day
    }

    /// Month, 1 to 12.
    #[must_use]
    pub fn month(self) -> u32 {
        self.last_day.month()
    }

    /// Year.
    #[must_use]
    pub fn year(self) -> i32 {
        self.last_day.year()
    }

    /// The first instant at which it has expired somewhere on earth, UTC: before it, it is good everywhere.
    #[must_use]
    pub fn soonest(self) -> Option<DateTime<Utc>> {
        // No civil day begins earlier than 14 hours before it does in Greenwich.
        self.last_day.succ_opt()?.and_hms_opt(0, 0, 0)?.and_utc().checked_sub_signed(TimeDelta::hours(14))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}/{:04}", self.month(), self.year())
    }
}

impl From<Expiry> for String {
    fn from(expiry: Expiry) -> Self {
        expiry.to_string()
    }
}

/// How a search showed a method. No holder, no nickname, no address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Face {
    /// Such as `VISA`; cards only.
    pub brand: Option<String>,
    /// The last four digits of the card or of the account.
    pub last4: Option<String>,
    /// When a card expires, if the gateway said so.
    pub expiry: Option<Expiry>,
    /// The gateway's own word: `ACTIVE`, `INVALIDATED`. A word nobody knows proves nothing against the method.
    pub status: Option<String>,
}

/// A bank's notice that an account has other data by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its code, `C01` to `C14`.
    pub code: String,
    /// When it was learnt, UTC.
    pub at: DateTime<Utc>,
}

/// What is known about a method: the last search, and what was said since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    /// Which.
    pub id: PaymentMethodId,
    /// Card or bank account, as the roster or the gateway says.
    pub kind: Option<MethodKind>,
    /// As the last search that listed it showed it; `None` while none has.
    pub face: Option<Face>,
    /// Since when it is gone, UTC: the first search that no longer showed it, or news of its end since the last search.
    pub missing_since: Option<DateTime<Utc>>,
    /// What the gateway says took its place. Counts only while it is gone.
    pub replaced_by: Option<PaymentMethodId>,
    /// A payment made with it is disputed, and nobody has said that it may be charged all the same.
    pub disputed: bool,
    /// A bank notified of a change of its data, and nobody has changed what is stored or said that it may be charged all the same.
    pub change: Option<Change>,
    /// What was tried with it and did not simply succeed, whoever it was for: of the last [`rules::LOOKS_BACK`], and every "never".
    pub tried: Vec<Tried>,
}

/// Whether a method can be charged, at a moment and where its owner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "standing")]
pub enum Standing {
    /// No search has ever shown it. It is charged: that the wallet does not show it may be the wallet's trouble.
    Unknown,
    /// The wallet shows it, and nothing speaks against it.
    Usable,
    /// Its month is over.
    Expired {
        /// The last day on which it was good.
        last_day: NaiveDate,
    },
    /// The gateway says that it cannot be charged any more.
    Invalidated,
    /// The wallet no longer shows it.
    Gone {
        /// Until when a replacement is waited for, UTC.
        until: DateTime<Utc>,
    },
    /// The wallet no longer shows it, and the gateway named another one in its place.
    Replaced {
        /// Which.
        by: PaymentMethodId,
        /// Until when the wallet is asked to show that one, UTC.
        until: DateTime<Utc>,
    },
    /// A payment made with it is disputed: neither new charges nor retries until the dispute ends or a person says so.
    Disputed,
    /// A bank notified of a change of its data: no entry until the gateway says that what is stored was changed, or a person says so
    /// (billing-rules.md §1.5).
    ChangeNotified {
        /// Since when, UTC.
        since: DateTime<Utc>,
    },
}

/// What a standing means for a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charging {
    /// Go on.
    Yes,
    /// Not now, and nothing is lost by waiting. Says why, as a sentence part.
    NotNow(String),
    /// There is nothing to charge until somebody gives another method. Says why, as a sentence part.
    NoMethod(String),
}

impl Standing {
    /// The word people see.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Usable => "usable",
            Self::Expired { .. } => "expired",
            Self::Invalidated => "invalidated",
            Self::Gone { .. } => "gone",
            Self::Replaced { .. } => "replaced",
            Self::Disputed => "disputed",
            Self::ChangeNotified { .. } => "change_notified",
        }
    }

    /// May the method be charged at this moment?
    #[must_use]
    pub fn charging(&self, at: DateTime<Utc>) -> Charging {
        let when = |until: &DateTime<Utc>| until.format("%Y-%m-%d %H:%M UTC").to_string();
        match self {
            Self::Unknown | Self::Usable => Charging::Yes,
            Self::Expired { last_day } => Charging::NoMethod(format!("the card was good through {last_day}")),
            Self::Invalidated => Charging::NoMethod("the gateway calls the payment method invalid".to_owned()),
            Self::Gone { until } if at < *until => Charging::NotNow(format!(
                "the payment method is gone from the wallet; a replacement is waited for until {}",
                when(until)
            )),
            Self::Gone { .. } => Charging::NoMethod(
                "the payment method is gone from the wallet, and nothing is known to have taken its place".to_owned(),
            ),
            Self::Replaced { by, until } if at < *until => Charging::NotNow(format!(
                "the payment method was replaced by {by}, which the wallet has to show first; it is asked until {}",
                when(until)
            )),
            Self::Replaced { by, .. } => {
                Charging::NoMethod(format!("the payment method was replaced by {by}, which the wallet does not show"))
            }
            Self::Disputed => {
                Charging::NotNow("a payment made with this method is disputed: a person must release it".to_owned())
            }
            Self::ChangeNotified { since } => Charging::NotNow(format!(
                "the bank notified of a change of the account on {}: the gateway must say that it was changed, or a person release it",
                when(since)
            )),
        }
    }
}

impl Known {
    /// A method of which nothing is known but its id and kind.
    #[must_use]
    pub const fn new(id: PaymentMethodId, kind: Option<MethodKind>) -> Self {
        Self {
            id,
            kind,
            face: None,
            missing_since: None,
            replaced_by: None,
            disputed: false,
            change: None,
            tried: Vec::new(),
        }
    }

    /// Where it stands; `today` is the civil date where its owner lives.
    #[must_use]
    pub fn standing(&self, today: NaiveDate) -> Standing {
        if self.disputed {
            return Standing::Disputed;
        }
        if let Some(since) = self.missing_since {
            let until = since.checked_add_signed(GRACE).unwrap_or(since);
            return match self.replaced_by {
                Some(by) => Standing::Replaced { by, until },
                None => Standing::Gone { until },
            };
        }
        if self.face.as_ref().is_some_and(Face::is_invalidated) {
            return Standing::Invalidated;
        }
        match (self.face.as_ref().map(|face| face.expiry), &self.change) {
            (Some(Some(expiry)), _) if expiry.last_day() < today => Standing::Expired { last_day: expiry.last_day() },
            (_, Some(change)) => Standing::ChangeNotified { since: change.at },
            (Some(_), None) => Standing::Usable,
            (None, None) => Standing::Unknown,
        }
    }

    /// May it be charged at this moment by somebody whose civil date is `today`: by where it stands, and by the rules of its network?
    #[must_use]
    pub fn charging(&self, today: NaiveDate, at: DateTime<Utc>) -> Charging {
        match (self.standing(today).charging(at), self.permit(at)) {
            (Charging::Yes, Permit::Tries { .. }) => Charging::Yes,
            (Charging::Yes, Permit::NotBefore { at, rule }) => Charging::NotNow(format!(
                "the payment method may not be tried before {}: {rule}",
                at.format("%Y-%m-%d %H:%M UTC")
            )),
            (Charging::Yes, Permit::Never { rule }) => {
                Charging::NoMethod(format!("the payment method may not be tried again: {rule}"))
            }
            (not @ (Charging::NotNow(_) | Charging::NoMethod(_)), _) => not,
        }
    }

    /// May it be tried at this moment, by the rules of its network?
    #[must_use]
    pub fn permit(&self, at: DateTime<Utc>) -> Permit {
        let brand = self.face.as_ref().and_then(|face| face.brand.as_deref());
        rules::built_in().permit(Network::of(self.kind, brand), &self.tried, at)
    }

    /// How many tries were left of it at a moment that has passed, by what was tried with it until then; `None` without a limit.
    #[must_use]
    pub fn left_at(&self, at: DateTime<Utc>) -> Option<u16> {
        let before: Vec<Tried> = self.tried.iter().filter(|one| one.at < at).copied().collect();
        let brand = self.face.as_ref().and_then(|face| face.brand.as_deref());
        match rules::built_in().permit(Network::of(self.kind, brand), &before, at) {
            Permit::Tries { left } => left,
            Permit::NotBefore { .. } => Some(0),
            // Nothing waits for what never comes.
            Permit::Never { .. } => None,
        }
    }

    /// Why a bank account must not be debited for this charge once more at this moment, if a rule about the entries of one debit says so.
    ///
    /// What another system entered for the same cycle counts, and so do entries that are older than what is remembered of the
    /// instrument: the charge itself knows of those.
    #[must_use]
    pub fn forbids_entry(&self, charge: &Charge, at: DateTime<Utc>) -> Option<&'static Rule> {
        let networks = Network::of(Some(MethodKind::BankAccount), None);
        let made = || self.tried.iter().filter(|one| one.charge == charge.id);
        let (declined, first) = charge.tries.declined_with(Some(self.id));
        let entries = u16::try_from(made().count()).unwrap_or(u16::MAX).max(declined);
        let dates = made().map(|one| one.at).chain(first);
        // Of two dates of the first entry the earlier one counts.
        let first = dates.fold(charge.due_at, DateTime::min);
        rules::built_in().forbids_entry(networks, entries, first, at).filter(|_| entries > 0)
    }

    /// News: it is gone. Only stopping needs no proof, so it counts from now on, until a search shows the method.
    pub fn heard_deleted(&mut self, at: DateTime<Utc>) {
        self.missing_since = Some(self.missing_since.map_or(at, |since| since.min(at)));
    }

    /// News: another one took its place. Of two that contradict each other one is kept, the same in either order.
    pub fn heard_replaced(&mut self, by: PaymentMethodId, at: DateTime<Utc>) {
        self.replaced_by = self.replaced_by.max(Some(by).filter(|by| *by != self.id));
        self.heard_deleted(at);
    }
}

impl Face {
    pub(crate) fn is_invalidated(&self) -> bool {
        self.status.as_deref() == Some(INVALIDATED)
    }
}

/// What is known about the methods that a book needs.
pub type Wallet = BTreeMap<PaymentMethodId, Known>;

/// May this method be charged at this moment by somebody whose civil date is `today`, as the wallet shows it and by the rules of its
/// network? What nobody ever asked about is.
#[must_use]
pub fn charging(wallet: &Wallet, method: PaymentMethodId, today: NaiveDate, at: DateTime<Utc>) -> Charging {
    wallet.get(&method).map_or(Charging::Yes, |known| known.charging(today, at))
}

#[cfg(test)]
mod tests;
