//! Rates of returns: how large a part of a merchant's debits banks gave back, and how large it may be.
//!
//! The limits come from rule files ([`Limit::Returns`]). They stop no try: they say when somebody has to act.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{Limit, Rule, RuleBook};

/// How many debits were entered, and how many of them came back under which code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Entered {
    /// All of them, whatever became of them.
    pub entries: u64,
    /// Those that came back, by the bank's code.
    pub returned: BTreeMap<String, u64>,
}

/// Is it the code of a bank's return, such as `R01`?
///
/// ```
/// use domain::rules::returns::is_return_code;
/// assert!(is_return_code("R01") && !is_return_code("r1") && !is_return_code("restricted_card"));
/// ```
#[must_use]
pub fn is_return_code(code: &str) -> bool {
    let mut letters = code.chars();
    code.len() == 3 && letters.next() == Some('R') && letters.all(|letter| letter.is_ascii_digit())
}

/// A rate beside its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rate<'r> {
    /// The rule.
    pub rule: &'r Rule,
    /// Debits entered within its time.
    pub entries: u64,
    /// Those of them that came back under its codes.
    pub returned: u64,
    /// In hundredths of a percent, rounded up: what is above the limit is never shown as at it.
    pub basis_points: u64,
    /// The limit, in the same.
    pub most_basis_points: u16,
    /// It is above the limit.
    pub exceeded: bool,
}

impl RuleBook {
    /// The rules about returns that are in force at a moment, each with the first instant of its time.
    pub fn about_returns(&self, at: DateTime<Utc>) -> impl Iterator<Item = (&Rule, DateTime<Utc>)> + '_ {
        self.rules.iter().filter(move |rule| rule.holds(at.date_naive())).filter_map(move |rule| match &rule.limit {
            Limit::Returns { within_hours, .. } => {
                let within = TimeDelta::hours(i64::from(*within_hours));
                Some((rule, at.checked_sub_signed(within).unwrap_or(DateTime::<Utc>::MIN_UTC)))
            }
            Limit::Never { .. } | Limit::Declines { .. } | Limit::Entries { .. } => None,
        })
    }
}

impl<'r> Rate<'r> {
    /// How a rule about returns is kept, by what was entered within its time; `None` for a rule about something else.
    ///
    /// ```
    /// use domain::rules::built_in;
    /// use domain::rules::returns::{Entered, Rate};
    /// let entered = Entered { entries: 200, returned: [("R01".to_owned(), 30), ("R10".to_owned(), 2)].into() };
    /// let now = "2027-01-15T00:00:00Z".parse().unwrap();
    /// let rates: Vec<Rate<'_>> = built_in().about_returns(now).filter_map(|(rule, _)| Rate::of(rule, &entered)).collect();
    /// let exceeded: Vec<&str> = rates.iter().filter(|rate| rate.exceeded).map(|rate| rate.rule.id.as_str()).collect();
    /// assert_eq!(exceeded, ["ach-returns-overall", "ach-returns-unauthorized"], "16 % and 1 %");
    /// ```
    #[must_use]
    pub fn of(rule: &'r Rule, entered: &Entered) -> Option<Self> {
        let Limit::Returns { codes, most_basis_points, .. } = &rule.limit else { return None };
        let counts = |code: &String| codes.is_empty() || codes.contains(code);
        let returned = entered.returned.iter().filter(|(code, _)| counts(code));
        let returned = returned.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let entries = entered.entries;
        let parts = u128::from(returned).saturating_mul(10_000);
        let basis_points = parts.checked_div(u128::from(entries)).unwrap_or(0);
        let is_more = parts > basis_points.saturating_mul(u128::from(entries));
        let basis_points = u64::try_from(basis_points.saturating_add(u128::from(is_more))).unwrap_or(u64::MAX);
        let exceeded = parts > u128::from(*most_basis_points).saturating_mul(u128::from(entries));
        Some(Self { rule, entries, returned, basis_points, most_basis_points: *most_basis_points, exceeded })
    }
}
