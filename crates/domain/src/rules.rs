//! Rules of networks and of the ACH: how often an instrument may be tried, dated and cited.
//!
//! None of them is a constant of the code: they come in as [`Rule`]s, each with the day it began, the day it ended if it has, and
//! its source, and a refusal names all three. Not allowed here: a guess. Where it is not known which network a card belongs to,
//! every card's rules hold.
//!
//! Everything that was tried with an instrument counts, whatever subscription, cycle or person it was for, and an attempt whose
//! outcome is not known counts as one that was declined.

use std::fmt;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::charge::State;
use crate::dunning::GaveUp;
use crate::id::ChargeId;
use crate::subscription::MethodKind;
use crate::verdict::{CANCELLED, DeclineClass};

/// The longest that a rule looks back. An attempt older than this is forgotten, unless it said "never".
pub const LOOKS_BACK: TimeDelta = TimeDelta::days(180);

/// Who makes a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Visa.
    Visa,
    /// Mastercard.
    Mastercard,
    /// American Express.
    Amex,
    /// Discover.
    Discover,
    /// Debits of bank accounts, by the operating rules of Nacha.
    Ach,
}

impl Network {
    /// Every network.
    pub const ALL: [Self; 5] = [Self::Visa, Self::Mastercard, Self::Amex, Self::Discover, Self::Ach];

    /// The word in rule files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Visa => "visa",
            Self::Mastercard => "mastercard",
            Self::Amex => "amex",
            Self::Discover => "discover",
            Self::Ach => "ach",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|network| network.as_str() == text)
    }

    /// The networks that an instrument may belong to: one where its kind or brand says so, else all of its kind.
    ///
    /// ```
    /// use domain::rules::Network;
    /// use domain::subscription::MethodKind;
    /// assert_eq!(Network::of(Some(MethodKind::Card), Some("VISA")), [Network::Visa]);
    /// assert_eq!(Network::of(Some(MethodKind::Card), None).len(), 4);
    /// assert_eq!(Network::of(Some(MethodKind::BankAccount), None), [Network::Ach]);
    /// ```
    #[must_use]
    pub fn of(kind: Option<MethodKind>, brand: Option<&str>) -> &'static [Self] {
        let is = |word: &str| {
            let letters = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>();
            brand.is_some_and(|brand| letters(brand).eq_ignore_ascii_case(word))
        };
        match kind {
            Some(MethodKind::BankAccount) => &[Self::Ach],
            Some(MethodKind::Card) | None if is("visa") => &[Self::Visa],
            Some(MethodKind::Card) | None if is("mastercard") || is("mc") => &[Self::Mastercard],
            Some(MethodKind::Card) | None if is("amex") || is("americanexpress") => &[Self::Amex],
            Some(MethodKind::Card) | None if is("discover") => &[Self::Discover],
            Some(MethodKind::Card) => &[Self::Visa, Self::Mastercard, Self::Amex, Self::Discover],
            None => &Self::ALL,
        }
    }
}

/// What a rule limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// After a decline of one of these classes the instrument is not tried again.
    Never {
        /// Which.
        classes: Vec<DeclineClass>,
    },
    /// So many declined tries of the instrument within a rolling time, whatever they were for.
    Declines {
        /// How many; the next one would be one too many.
        most: u16,
        /// In hours.
        within_hours: u32,
    },
    /// So large a part of all entries of a merchant that banks returned under one of these codes.
    Returns {
        /// Which codes; none stands for every one.
        codes: Vec<String>,
        /// In hundredths of a percent of the entries; more is too many.
        most_basis_points: u16,
        /// In hours, from when an entry was made.
        within_hours: u32,
    },
    /// So many entries for one charge, the first included, within a time from that first one.
    Entries {
        /// How many.
        most: u16,
        /// In hours.
        within_hours: u32,
    },
}

/// One rule, as one file of one network states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Names the rule through its versions: `visa-excessive-retries`.
    pub id: String,
    /// Whose it is.
    pub network: Network,
    /// The first day on which it holds, in UTC; the version people cite.
    pub from: NaiveDate,
    /// The last one, if a later version has taken its place.
    pub until: Option<NaiveDate>,
    /// What it limits.
    pub limit: Limit,
    /// What it says, as a sentence part: "no more than 20 declined tries of a card in 30 days".
    pub says: String,
    /// Where that is written.
    pub source: String,
}

impl Rule {
    /// Is it in force on a day?
    #[must_use]
    pub fn holds(&self, on: NaiveDate) -> bool {
        self.from <= on && self.until.is_none_or(|until| on <= until)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, version {}; {})", self.says, self.id, self.from, self.source)
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// Nobody knows yet.
    Open,
    /// It was declined.
    Declined(DeclineClass),
    /// It was collected, and the bank took it back.
    Returned(DeclineClass),
}

impl Outcome {
    const fn class(self) -> Option<DeclineClass> {
        match self {
            Self::Open => None,
            Self::Declined(class) | Self::Returned(class) => Some(class),
        }
    }
}

/// The class under which the latest attempt of a charge in this state counts as declined or taken back, if it does. A payment that was
/// cancelled, and one that a person found unpaid, say nothing about the instrument.
#[must_use]
pub fn counted(state: &State) -> Option<DeclineClass> {
    let by_bank = |class: DeclineClass, code: &str| Some(class).filter(|_| code != CANCELLED);
    match state {
        State::Failed { why: GaveUp::Person, .. } => None,
        State::Failing { class, code, .. }
        | State::Failed { class, code, .. }
        | State::Returned { class, code, .. } => by_bank(*class, code),
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

/// The code beside the class of [`counted`].
#[must_use]
pub fn counted_code(state: &State) -> Option<&str> {
    counted(state)?;
    match state {
        State::Failing { code, .. } | State::Failed { code, .. } | State::Returned { code, .. } => Some(code),
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

/// One attempt with an instrument that has not simply succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Tried {
    /// The latest moment at which its network may have seen it, UTC: that of its answer; while there is none, the moment of the question. A
    /// request may go out long after it was recorded, and what is counted is declines at the network.
    pub at: DateTime<Utc>,
    /// For which charge.
    pub charge: ChargeId,
    /// What became of it.
    pub outcome: Outcome,
}

/// May an instrument be tried?
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "permit")]
pub enum Permit {
    /// It may, this many times before something becomes known of them.
    Tries {
        /// Without a limit where nothing says so.
        left: Option<u16>,
    },
    /// Not before this instant.
    NotBefore {
        /// UTC.
        at: DateTime<Utc>,
        /// The rule, in words, with version and source.
        rule: String,
    },
    /// Not at all.
    Never {
        /// The rule, in words, with version and source.
        rule: String,
    },
}

impl Permit {
    /// Nothing speaks against it.
    pub const FREE: Self = Self::Tries { left: None };
}

/// The rules of all networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleBook {
    rules: Vec<Rule>,
    /// The rules are not known: nothing is allowed.
    closed: bool,
}

/// Rules that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Two versions hold on one day.
    #[error("rule {id}: the version of {from} begins before the one of {before} has ended; give that one an `until`")]
    Overlap {
        /// Which.
        id: String,
        /// The later version.
        from: NaiveDate,
        /// The earlier one.
        before: NaiveDate,
    },
    /// It ends before it begins.
    #[error("rule {id}: the version of {from} ends before it begins")]
    Backwards {
        /// Which.
        id: String,
        /// Its first day.
        from: NaiveDate,
    },
    /// It looks back further than attempts are remembered.
    #[error("rule {id}: the version of {from} looks back more than 180 days")]
    TooLong {
        /// Which.
        id: String,
        /// Its first day.
        from: NaiveDate,
    },
    /// It forbids everything.
    #[error("rule {id}: the version of {from} allows no try at all")]
    Nothing {
        /// Which.
        id: String,
        /// Its first day.
        from: NaiveDate,
    },
}

impl RuleBook {
    /// Puts rules together.
    ///
    /// # Errors
    /// Every contradiction, all at once.
    pub fn new(mut rules: Vec<Rule>) -> Result<Self, Vec<RuleError>> {
        rules.sort_by(|a, b| (a.network, &a.id, a.from).cmp(&(b.network, &b.id, b.from)));
        let mut mistakes = Vec::new();
        for rule in &rules {
            let (id, from) = (rule.id.clone(), rule.from);
            if rule.until.is_some_and(|until| until < from) {
                mistakes.push(RuleError::Backwards { id: id.clone(), from });
            }
            let (within_hours, most) = match &rule.limit {
                Limit::Never { .. } => continue,
                Limit::Declines { most, within_hours } | Limit::Entries { most, within_hours } => (within_hours, most),
                Limit::Returns { most_basis_points, within_hours, .. } => (within_hours, most_basis_points),
            };
            if TimeDelta::hours(i64::from(*within_hours)) > LOOKS_BACK {
                mistakes.push(RuleError::TooLong { id: id.clone(), from });
            }
            if *most == 0 {
                mistakes.push(RuleError::Nothing { id, from });
            }
        }
        for (before, rule) in rules.iter().zip(rules.iter().skip(1)) {
            let same = (before.network, &before.id) == (rule.network, &rule.id);
            if same && before.until.is_none_or(|until| until >= rule.from) {
                mistakes.push(RuleError::Overlap { id: rule.id.clone(), from: rule.from, before: before.from });
            }
        }
        if mistakes.is_empty() { Ok(Self { rules, closed: false }) } else { Err(mistakes) }
    }

    /// A book that allows nothing, for want of rules that can be read.
    #[must_use]
    pub const fn closed() -> Self {
        Self { rules: Vec::new(), closed: true }
    }

    /// Every version of every rule, by network, id and first day.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn in_force<'a>(&'a self, networks: &'a [Network], at: DateTime<Utc>) -> impl Iterator<Item = &'a Rule> + 'a {
        let on = at.date_naive();
        self.rules.iter().filter(move |rule| networks.contains(&rule.network) && rule.holds(on))
    }

    /// May an instrument of one of these networks be tried at a moment, after what was `tried` with it? The order does not matter.
    #[must_use]
    pub fn permit(&self, networks: &[Network], tried: &[Tried], at: DateTime<Utc>) -> Permit {
        if self.closed {
            return Permit::Never { rule: "the rules of networks cannot be read: mend this build".to_owned() };
        }
        let mut left: Option<u16> = None;
        let mut not_before: Option<(DateTime<Utc>, &Rule)> = None;
        for rule in self.in_force(networks, at) {
            match &rule.limit {
                Limit::Never { classes } => {
                    let hit = |one: &Tried| one.outcome.class().is_some_and(|class| classes.contains(&class));
                    if tried.iter().any(hit) {
                        return Permit::Never { rule: rule.to_string() };
                    }
                }
                Limit::Declines { most, within_hours } => {
                    let within = TimeDelta::hours(i64::from(*within_hours));
                    let counts = |one: &&Tried| match one.outcome {
                        // What the bank paid and took back was no declined try.
                        Outcome::Returned(_) => false,
                        Outcome::Open | Outcome::Declined(_) => at.signed_duration_since(one.at) < within,
                    };
                    let mut moments: Vec<DateTime<Utc>> = tried.iter().filter(counts).map(|one| one.at).collect();
                    moments.sort_unstable();
                    let most = usize::from(*most);
                    if let Some(over) = moments.len().checked_sub(most) {
                        // So many have to fall out of the rolling time that one more fits in.
                        let frees = moments.get(over).and_then(|one| one.checked_add_signed(within));
                        let frees = frees.unwrap_or(DateTime::<Utc>::MAX_UTC);
                        if not_before.is_none_or(|(at, _)| frees > at) {
                            not_before = Some((frees, rule));
                        }
                    } else {
                        let more = u16::try_from(most.saturating_sub(moments.len())).unwrap_or(u16::MAX);
                        left = Some(left.map_or(more, |left| left.min(more)));
                    }
                }
                Limit::Entries { .. } | Limit::Returns { .. } => {}
            }
        }
        match not_before {
            Some((at, rule)) => Permit::NotBefore { at, rule: rule.to_string() },
            None => Permit::Tries { left },
        }
    }

    /// Why a charge must not be tried once more at `next_at`, if a rule about entries says so: `entries` were made, the first at
    /// `first_at`.
    #[must_use]
    pub fn forbids_entry(
        &self,
        networks: &[Network],
        entries: u16,
        first_at: DateTime<Utc>,
        next_at: DateTime<Utc>,
    ) -> Option<&Rule> {
        self.rules.iter().filter(|rule| networks.contains(&rule.network) && rule.holds(next_at.date_naive())).find(
            |rule| match &rule.limit {
                Limit::Entries { most, within_hours } => {
                    let within = TimeDelta::hours(i64::from(*within_hours));
                    entries >= *most || next_at.signed_duration_since(first_at) > within
                }
                Limit::Never { .. } | Limit::Declines { .. } | Limit::Returns { .. } => false,
            },
        )
    }
}

mod budget;
mod files;
pub mod returns;

pub use budget::Budget;
pub use files::{Unreadable, built_in, read};

#[cfg(test)]
mod tests;
