//! Terms of a plan in time: where its cycles end by themselves, and what becomes of those that were missed.

use chrono::{Days, Months, NaiveDate};
use serde::Serialize;

use crate::cadence::{Every, Unit};
use crate::plan::{Reader, ScheduleSpec};

/// Most cycles of a plan that ends by itself: a hundred years of months.
const MOST_CYCLES: u32 = 1_200;

/// Where the cycles of a plan end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// After so many cycles.
    Cycles(u32),
    /// Before this long has passed since the start date.
    Time(Every),
}

impl Term {
    /// Is the cycle of this number and date past the end, for a subscription that started on `start`?
    #[must_use]
    pub fn is_over(self, start: NaiveDate, index: u32, date: NaiveDate) -> bool {
        match self {
            Self::Cycles(count) => index >= count,
            // Beyond the calendar there is no end.
            Self::Time(every) => later(start, every).is_some_and(|end| date >= end),
        }
    }
}

/// The date so long after another; the last day of a month that is too short.
fn later(start: NaiveDate, every: Every) -> Option<NaiveDate> {
    let months = |each: u32| start.checked_add_months(Months::new(every.n().saturating_mul(each)));
    let days = |each: u64| start.checked_add_days(Days::new(u64::from(every.n()).saturating_mul(each)));
    match every.unit() {
        Unit::Day => days(1),
        Unit::Week => days(7),
        Unit::Month => months(1),
        Unit::Quarter => months(3),
        Unit::Year => months(12),
    }
}

/// What becomes of cycles that were missed: whose date lies before today while a later one is due too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are charged, oldest first.
    All,
    /// The newest due cycle is charged, the others are recorded as skipped.
    Latest,
    /// None is charged whose date lies before today: all of them are recorded as skipped.
    Forgive,
    /// One is charged; more than one is a question for a person.
    Ask,
}

impl CatchUp {
    /// The word in plans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Latest => "latest",
            Self::Forgive => "forgive",
            Self::Ask => "ask",
        }
    }

    /// Reads the word.
    ///
    /// # Errors
    /// A sentence with the words there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        [Self::Ask, Self::All, Self::Latest, Self::Forgive].into_iter().find(|word| word.as_str() == text).ok_or_else(
            || "is not a value this field knows: write one of \"ask\", \"all\", \"latest\", \"forgive\"".to_owned(),
        )
    }
}

/// Reads the end of a plan's cycles. The outer `None` is a mistake, which the reader has.
pub(crate) fn read(r: &mut Reader, schedule: &ScheduleSpec, in_parts: bool) -> Option<Option<Term>> {
    let both = [("schedule.cycles", &schedule.cycles), ("schedule.term", &schedule.term)];
    if in_parts {
        for (field, text) in both {
            if let Some(text) = text {
                r.note(field, text, "has no meaning for installments, which end with the last one: remove it");
            }
        }
        return Some(None);
    }
    match (&schedule.cycles, &schedule.term) {
        (None, None) => Some(None),
        (Some(text), None) => r.read("schedule.cycles", text, cycles(text)).map(|count| Some(Term::Cycles(count))),
        (None, Some(text)) => {
            let time =
                Every::parse(text).map_err(|_| "is not a term: write a number and a unit, for example \"12 months\"");
            r.read("schedule.term", text, time).map(|time| Some(Term::Time(time)))
        }
        (Some(_), Some(text)) => {
            r.note("schedule.term", text, "stands beside cycles: keep one of the two");
            None
        }
    }
}

fn cycles(text: &str) -> Result<u32, String> {
    let plain = !text.starts_with(['+', '0']);
    let count = text.parse::<u32>().ok().filter(|count| plain && (1..=MOST_CYCLES).contains(count));
    count.ok_or_else(|| format!("is not a number of cycles: write a whole number from 1 to {MOST_CYCLES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_ends_by_count_or_by_the_same_day_so_much_later() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let start = day("2027-01-31");
        assert!(!Term::Cycles(12).is_over(start, 11, day("2099-01-01")));
        assert!(Term::Cycles(12).is_over(start, 12, start));
        let year = Term::Time(Every::parse("12 months").unwrap());
        assert!(!year.is_over(start, 99, day("2028-01-30")));
        assert!(year.is_over(start, 0, day("2028-01-31")));
        let month = Term::Time(Every::parse("1 month").unwrap());
        assert!(month.is_over(start, 1, day("2027-02-28")));
    }
}
