//! Figures of dunning: how much was declined, how much of it came after all, how soon, and after which try.
//!
//! Each charge that was tried is one case, and a case is in one place; figures are sums over cases, so that every number can show the
//! charges behind it. What is kept does not grow with the number of cases.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use serde::Serialize;

use crate::charge::{Charge, State};
use crate::money::{Currency, Money};
use crate::subscription::MethodKind;
use crate::verdict::DeclineClass;

/// What became of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is not known yet.
    Open,
    /// It collected.
    Collected,
    /// It was declined, or collected and taken back by the bank.
    Declined,
    /// It never ran.
    Closed,
}

/// One try of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// Its number, from 1.
    pub number: u16,
    /// What became of it.
    pub outcome: Outcome,
    /// The class under which it counts as declined.
    pub class: Option<DeclineClass>,
    /// What was charged.
    pub method: Option<MethodKind>,
}

/// When a charge was collected, UTC, and how much, where it is and was not taken back.
fn paid(charge: &Charge) -> Option<(DateTime<Utc>, Money)> {
    if let State::Paid { at, collected, .. } = &charge.state { Some((*at, *collected)) } else { None }
}

/// Where a tried charge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// No try was declined.
    Clean,
    /// Declined, and collected since.
    Recovered,
    /// Declined, and not given up.
    Failing,
    /// Declined, and given up: failed for good, taken back by the bank, or ended with its subscription.
    Lost,
}

impl Standing {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Clean, Self::Recovered, Self::Failing, Self::Lost];

    /// The word in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Recovered => "recovered",
            Self::Failing => "failing",
            Self::Lost => "lost",
        }
    }
}

/// One charge that was tried.
#[derive(Debug, Clone)]
pub struct Case<'c> {
    /// The charge.
    pub charge: &'c Charge,
    /// Its tries that ran or may have, by number.
    pub tries: Vec<Try>,
    /// Where it stands.
    pub standing: Standing,
    /// When it was first declined, UTC.
    pub failed_at: Option<DateTime<Utc>>,
    /// When it was collected after that, UTC.
    pub recovered_at: Option<DateTime<Utc>>,
}

impl<'c> Case<'c> {
    /// The case of a charge; `None` for one that was never tried.
    #[must_use]
    pub fn of(charge: &'c Charge, tries: &[Try]) -> Option<Self> {
        let tries: Vec<Try> = tries.iter().filter(|one| one.outcome != Outcome::Closed).copied().collect();
        if tries.is_empty() {
            return None;
        }
        let declined = tries.iter().any(|one| one.outcome == Outcome::Declined);
        let standing = match &charge.state {
            _ if !declined => Standing::Clean,
            State::Paid { .. } => Standing::Recovered,
            State::Returned { next_at: None, .. } | State::Failed { .. } | State::Skipped { .. } => Standing::Lost,
            State::Planned
            | State::Due { .. }
            | State::Sending { .. }
            | State::Unknown { .. }
            | State::Settling { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Returned { next_at: Some(_), .. }
            | State::Failing { .. }
            | State::Parked { .. } => Standing::Failing,
        };
        let recovered_at = paid(charge).filter(|_| standing == Standing::Recovered).map(|(at, _)| at);
        Some(Self {
            charge,
            tries,
            standing,
            failed_at: charge.tries.first_failed_at.filter(|_| declined),
            recovered_at,
        })
    }

    /// Was a try of it declined?
    #[must_use]
    pub fn failed(&self) -> bool {
        self.standing != Standing::Clean
    }

    /// The class of its first decline.
    #[must_use]
    pub fn class(&self) -> Option<DeclineClass> {
        let first = self.tries.iter().find(|one| one.outcome == Outcome::Declined)?;
        Some(first.class.unwrap_or(DeclineClass::Unclassified))
    }

    /// What it was first tried with.
    #[must_use]
    pub fn method(&self) -> Option<MethodKind> {
        self.tries.first().and_then(|one| one.method)
    }

    /// Tenths of a day from the first decline to the money.
    #[must_use]
    pub fn tenths_of_days(&self) -> Option<u32> {
        let time = self.recovered_at?.signed_duration_since(self.failed_at?);
        u32::try_from(time.num_minutes().checked_div(144)?).ok()
    }

    /// Did this try of it collect what was declined before?
    #[must_use]
    pub fn recovered_with(&self, one: &Try) -> bool {
        one.outcome == Outcome::Collected && self.standing == Standing::Recovered
    }

    /// What of it was collected.
    #[must_use]
    pub fn collected(&self) -> Money {
        paid(self.charge).map_or(Money::new(0, self.charge.amount.currency()), |(_, collected)| collected)
    }

    /// The groups it counts in, with the part of its tries that counts there: one, or one for each try.
    #[must_use]
    pub fn groups(&self, by: By) -> Vec<String> {
        match by {
            By::All => vec!["all".to_owned()],
            By::Class => vec![self.class().map_or("none", DeclineClass::as_str).to_owned()],
            By::Method => vec![self.method().map_or("unknown", MethodKind::as_str).to_owned()],
            By::Plan => vec![self.charge.plan.to_string()],
            By::Week => vec![week(self.charge.due_on)],
            By::Try => self.tries.iter().map(|one| format!("try {}", one.number)).collect(),
        }
    }
}

/// The name of the ISO week of a day.
///
/// ```
/// assert_eq!(domain::dunning_stats::week("2027-01-03".parse().unwrap()), "2026-W53");
/// ```
#[must_use]
pub fn week(on: NaiveDate) -> String {
    let week = on.iso_week();
    format!("{}-W{:02}", week.year(), week.week())
}

/// By what figures are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Not at all.
    All,
    /// The class of the first decline.
    Class,
    /// What was tried first: a card or a bank account.
    Method,
    /// The number of the try; here each try counts by itself.
    Try,
    /// The plan.
    Plan,
    /// The ISO week of the due date.
    Week,
}

/// The figures of one group in one currency. Counts are charges, or tries where figures are told by try.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Tried.
    pub tried: u64,
    /// Of those, declined at least once.
    pub failed: u64,
    /// What the declined ones ask for, minor units.
    pub failed_volume: i64,
    /// Of the declined ones, collected since.
    pub recovered: u64,
    /// What those brought, minor units.
    pub recovered_volume: i64,
    /// Declined and not given up, minor units.
    pub failing_volume: i64,
    /// Declined and given up, minor units.
    pub lost_volume: i64,
    /// How many took so many tenths of a day.
    days: BTreeMap<u32, u64>,
}

fn add(sum: &mut i64, money: Money) {
    *sum = sum.saturating_add(money.minor());
}

impl Figures {
    fn count(&mut self, case: &Case<'_>) {
        self.tried = self.tried.saturating_add(1);
        if !case.failed() {
            return;
        }
        self.failed = self.failed.saturating_add(1);
        add(&mut self.failed_volume, case.charge.amount);
        match case.standing {
            Standing::Clean => {}
            Standing::Recovered => self.recover(case),
            Standing::Failing => add(&mut self.failing_volume, case.charge.amount),
            Standing::Lost => add(&mut self.lost_volume, case.charge.amount),
        }
    }

    fn recover(&mut self, case: &Case<'_>) {
        self.recovered = self.recovered.saturating_add(1);
        add(&mut self.recovered_volume, case.collected());
        if let Some(tenths) = case.tenths_of_days() {
            let count = self.days.entry(tenths).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn count_try(&mut self, case: &Case<'_>, one: &Try) {
        self.tried = self.tried.saturating_add(1);
        match one.outcome {
            Outcome::Declined => {
                self.failed = self.failed.saturating_add(1);
                add(&mut self.failed_volume, case.charge.amount);
            }
            Outcome::Collected if case.recovered_with(one) => self.recover(case),
            Outcome::Open | Outcome::Collected | Outcome::Closed => {}
        }
    }

    /// The time from the first decline to the money that `percent` of the recovered did not exceed, in tenths of a day (nearest rank);
    /// `None` where nothing was recovered.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<u32> {
        let all: u64 = self.days.values().sum();
        let rank = all.checked_mul(percent)?.div_ceil(100);
        let mut seen = 0_u64;
        self.days.iter().find_map(|(tenths, count)| {
            seen = seen.saturating_add(*count);
            (all > 0 && seen >= rank).then_some(*tenths)
        })
    }
}

/// Figures under construction.
#[derive(Debug)]
pub struct Stats {
    by: By,
    /// By group and currency.
    pub figures: BTreeMap<(String, Currency), Figures>,
}

impl Stats {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new(by: By) -> Self {
        Self { by, figures: BTreeMap::new() }
    }

    /// Counts a case.
    pub fn add(&mut self, case: &Case<'_>) {
        let currency = case.charge.amount.currency();
        if self.by == By::Try {
            for one in &case.tries {
                let key = (format!("try {}", one.number), currency);
                self.figures.entry(key).or_default().count_try(case, one);
            }
            return;
        }
        for group in case.groups(self.by) {
            self.figures.entry((group, currency)).or_default().count(case);
        }
    }
}

/// A share in tenths of a percent, rounded half up; `None` of nothing.
#[must_use]
pub fn permille(part: i64, whole: i64) -> Option<i64> {
    if whole <= 0 {
        return None;
    }
    let (part, whole) = (i128::from(part), i128::from(whole));
    let doubled = part.checked_mul(2_000)?.checked_add(whole)?;
    i64::try_from(doubled.checked_div(whole.checked_mul(2)?)?).ok()
}
