//! How long after the first failure a try comes, and the days on which people are paid.

use chrono::{Datelike, Days, NaiveDate};
use serde::{Deserialize, Serialize};

use super::PolicyError;
use crate::calendar::CalendarError;
use crate::holidays::HolidayCalendar;

/// Days looked ahead for a payday at most: every month has a 1st, and every candidate comes once a month.
const LOOK_AHEAD: u16 = 40;

/// How long after the first failure a step comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Exact hours.
    Hours(u16),
    /// Civil days in the payer's zone, at the policy's local hour.
    Days(u16),
    /// Days on which banks settle, by the plan's holiday calendar, at the policy's local hour.
    BusinessDays(u16),
    /// The next payday after the decline before it, at the policy's local hour. The only wait that does not count from the first
    /// failure: a bank says days later that a debit was returned.
    NextPayday,
}

impl Wait {
    /// Reads "1 hour", "12 hours", "1 day", "14 days".
    ///
    /// # Errors
    /// A sentence with the refused text and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        match Self::read(text) {
            Some(wait @ (Self::Hours(_) | Self::Days(_))) => Ok(wait),
            Some(Self::BusinessDays(_) | Self::NextPayday) | None => Err(PolicyError::Wait(excerpt(text))),
        }
    }

    /// Reads what a step of a policy may wait for: also "5 business days" and "next payday".
    ///
    /// # Errors
    /// A sentence with the refused text and what to write instead.
    pub fn parse_step(text: &str) -> Result<Self, PolicyError> {
        Self::read(text).ok_or_else(|| PolicyError::StepWait(excerpt(text)))
    }

    fn read(text: &str) -> Option<Self> {
        if text == "next payday" {
            return Some(Self::NextPayday);
        }
        let (number, unit) = text.split_once(' ')?;
        let count: u16 = number.parse().ok().filter(|n| (1..=365).contains(n))?;
        match unit {
            "hour" | "hours" => Some(Self::Hours(count)),
            "day" | "days" => Some(Self::Days(count)),
            "business day" | "business days" => Some(Self::BusinessDays(count)),
            _ => None,
        }
    }

    /// As it stands in a policy file.
    #[must_use]
    pub fn in_words(self) -> String {
        let counted = |count: u16, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
        match self {
            Self::Hours(hours) => counted(hours, "hour"),
            Self::Days(days) => counted(days, "day"),
            Self::BusinessDays(days) => counted(days, "business day"),
            Self::NextPayday => "next payday".to_owned(),
        }
    }

    /// How long it is at least, in minutes; nothing for a payday, which may be tomorrow.
    pub(super) fn minutes(self) -> i64 {
        match self {
            Self::Hours(hours) => i64::from(hours).saturating_mul(60),
            Self::Days(days) => i64::from(days).saturating_mul(24 * 60),
            // Five of them are a week.
            Self::BusinessDays(days) => {
                i64::from(days).saturating_mul(7).checked_div(5).unwrap_or(i64::MAX).saturating_mul(24 * 60)
            }
            Self::NextPayday => 0,
        }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A day on which people are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Payday {
    /// This day of every month: 1 to 28, so that every month has it.
    DayOfMonth(u8),
    /// The last day of the month on which banks settle.
    LastBusinessDay,
    /// Every week, that many days after Monday: 0 to 6.
    Weekday(u8),
}

const FRIDAY: Payday = Payday::Weekday(4);
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

impl Payday {
    /// Reads "1st", "15th", "last_business_day" and "friday".
    ///
    /// # Errors
    /// [`PolicyError::Payday`] for anything else.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let refused = || PolicyError::Payday(excerpt(text));
        if text == "last_business_day" {
            return Ok(Self::LastBusinessDay);
        }
        if let Some((_, number)) = WEEKDAYS.iter().zip(0_u8..).find(|(name, _)| **name == text) {
            return Ok(Self::Weekday(number));
        }
        let number: String = text.chars().take_while(char::is_ascii_digit).collect();
        let day = number.parse().ok().filter(|day| (1..=28).contains(day)).ok_or_else(refused)?;
        let read = Self::DayOfMonth(day);
        if read.to_string() == text { Ok(read) } else { Err(refused()) }
    }

    /// Is it this day?
    fn is_on(self, date: NaiveDate, holidays: HolidayCalendar) -> Result<bool, CalendarError> {
        Ok(match self {
            Self::DayOfMonth(day) => date.day() == u32::from(day),
            Self::Weekday(number) => date.weekday().num_days_from_monday() == u32::from(number),
            Self::LastBusinessDay => {
                holidays.is_business_day(date)? && holidays.add_business_days(date, 1)?.month() != date.month()
            }
        })
    }
}

impl std::fmt::Display for Payday {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DayOfMonth(day) => {
                let ending = match day {
                    1 | 21 => "st",
                    2 | 22 => "nd",
                    3 | 23 => "rd",
                    _ => "th",
                };
                write!(f, "{day}{ending}")
            }
            Self::LastBusinessDay => f.write_str("last_business_day"),
            Self::Weekday(number) => f.write_str(WEEKDAYS.get(usize::from(*number)).copied().unwrap_or("monday")),
        }
    }
}

impl From<Payday> for String {
    fn from(day: Payday) -> Self {
        day.to_string()
    }
}

impl TryFrom<String> for Payday {
    type Error = PolicyError;
    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::parse(&text)
    }
}

/// Which days are paydays, and how far a try moves to reach one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paydays {
    /// The candidates.
    pub days: Vec<Payday>,
    /// A try for want of funds moves to a payday that comes no more than so many days later; 0 moves none.
    pub within_days: u16,
}

impl Default for Paydays {
    /// The 1st, the 15th, the last business day and Friday, if within 2 days (billing-rules.md §1.8).
    fn default() -> Self {
        Self {
            days: vec![Payday::DayOfMonth(1), Payday::DayOfMonth(15), Payday::LastBusinessDay, FRIDAY],
            within_days: 2,
        }
    }
}

impl Paydays {
    /// The first payday on or after a date, no more than so many days later.
    ///
    /// # Errors
    /// When the calendar ends before it.
    pub(super) fn first(
        &self,
        date: NaiveDate,
        within: u16,
        holidays: HolidayCalendar,
    ) -> Result<Option<NaiveDate>, CalendarError> {
        for later in 0..=u64::from(within) {
            let day = date.checked_add_days(Days::new(later)).ok_or(CalendarError::Year { date })?;
            for payday in &self.days {
                if payday.is_on(day, holidays)? {
                    return Ok(Some(day));
                }
            }
        }
        Ok(None)
    }

    /// The first payday after a date.
    ///
    /// # Errors
    /// When the calendar ends before it.
    pub(super) fn after(&self, date: NaiveDate, holidays: HolidayCalendar) -> Result<Option<NaiveDate>, CalendarError> {
        let tomorrow = date.succ_opt().ok_or(CalendarError::Year { date })?;
        self.first(tomorrow, LOOK_AHEAD, holidays)
    }
}
