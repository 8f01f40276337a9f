//! Cadence: an anchor and a rhythm give the k-th date, and a schedule turns it into an instant.
//!
//! Not allowed here: adding an interval to an earlier occurrence. Every date is computed from the anchor, so a short
//! month never pulls the later ones with it. The index is the identity of an occurrence: dates may move (a roll, a
//! zone renamed, new zone data), it may not.

mod days;

use std::fmt;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::calendar::{BusinessDays, CalendarError, FIRST_YEAR, LAST_YEAR, Zone, within_years};
use crate::holidays::HolidayCalendar;
use crate::money::excerpt;

pub use days::DayTable;

/// Most units between two occurrences. Far above any real plan (a 1000-day rhythm is nearly three years), it catches
/// typing errors.
pub const MOST_UNITS: u32 = 1_000;

/// The unit of a rhythm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Civil days: 23, 24 or 25 hours where the clocks change.
    Day,
    /// Seven civil days.
    Week,
    /// Calendar months.
    Month,
    /// Three calendar months.
    Quarter,
    /// Twelve calendar months.
    Year,
}

/// What a unit is a number of.
enum Measure {
    Days(i64),
    Months(i64),
}

impl Unit {
    const ALL: [Unit; 5] = [Unit::Day, Unit::Week, Unit::Month, Unit::Quarter, Unit::Year];

    /// The word used in plans, in the singular.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Quarter => "quarter",
            Unit::Year => "year",
        }
    }

    const fn measure(self) -> Measure {
        match self {
            Unit::Day => Measure::Days(1),
            Unit::Week => Measure::Days(7),
            Unit::Month => Measure::Months(1),
            Unit::Quarter => Measure::Months(3),
            Unit::Year => Measure::Months(12),
        }
    }
}

/// A rhythm: every so many units, 1 to 1000.
///
/// ```
/// use domain::cadence::Every;
///
/// assert_eq!(Every::parse("month")?.to_string(), "1 month");
/// assert_eq!(Every::parse("2 weeks")?.to_string(), "2 weeks");
/// assert_eq!(Every::parse("monthly").unwrap_err().to_string(),
///     "every = \"monthly\" is not understood: write \"1 month\"");
/// # Ok::<(), domain::calendar::CalendarError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Every {
    n: u32,
    unit: Unit,
}

impl Every {
    /// Every `n` units.
    ///
    /// # Errors
    /// [`CalendarError::Word`] if `n` is 0 or above 1000.
    pub fn new(n: u32, unit: Unit) -> Result<Every, CalendarError> {
        if (1..=MOST_UNITS).contains(&n) {
            Ok(Every { n, unit })
        } else {
            let mend = format!("the number must be from 1 to {MOST_UNITS}, such as \"1 {}\"", unit.as_str());
            Err(CalendarError::Word { field: "every", given: format!("{n} {}", unit.as_str()), mend })
        }
    }

    /// The number of units, 1 to 1000.
    pub const fn n(self) -> u32 {
        self.n
    }

    /// The unit.
    pub const fn unit(self) -> Unit {
        self.unit
    }

    /// Reads `1 month`, `2 weeks`, `3 quarters`, or a unit alone, which means one of it.
    ///
    /// # Errors
    /// [`CalendarError::Word`] for anything else, with a suggestion for common words such as `monthly` or `biweekly`.
    pub fn parse(text: &str) -> Result<Every, CalendarError> {
        let refuse = |mend: String| Err(CalendarError::Word { field: "every", given: excerpt(text), mend });
        let mut words = text.split(' ');
        let (number, word) = match (words.next(), words.next(), words.next()) {
            (Some(word), None, _) => ("1", word),
            (Some(number), Some(word), None) => (number, word),
            _ => return refuse(suggestion(text)),
        };
        let Some(unit) = Unit::ALL.into_iter().find(|unit| word.strip_suffix('s').unwrap_or(word) == unit.as_str())
        else {
            return refuse(suggestion(text));
        };
        if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return refuse(suggestion(text));
        }
        match number.parse().ok().and_then(|n| Every::new(n, unit).ok()) {
            Some(every) => Ok(every),
            None => refuse(format!("the number must be from 1 to {MOST_UNITS}, such as \"1 {}\"", unit.as_str())),
        }
    }

    /// Days or months from one occurrence to the next: at most 7,000 or 12,000.
    fn stride(self) -> Measure {
        match self.unit.measure() {
            Measure::Days(each) => Measure::Days(each.saturating_mul(i64::from(self.n))),
            Measure::Months(each) => Measure::Months(each.saturating_mul(i64::from(self.n))),
        }
    }
}

/// What to write instead of a rhythm that is not understood.
fn suggestion(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    let better = match lower.as_str() {
        "daily" => "1 day",
        "weekly" => "1 week",
        "biweekly" | "bi-weekly" | "fortnightly" | "fortnight" => "2 weeks",
        "monthly" => "1 month",
        "bimonthly" | "bi-monthly" => "2 months",
        "quarterly" => "1 quarter",
        "semiannually" | "semi-annually" | "half-yearly" | "half year" => "6 months",
        "yearly" | "annual" | "annually" => "1 year",
        _ => {
            let split = lower.find(|one: char| !one.is_ascii_digit()).unwrap_or_default();
            let (number, rest) = lower.split_at_checked(split).unwrap_or_default();
            let word = rest.trim().trim_end_matches('s');
            let number = if number.is_empty() { "1" } else { number };
            return match Unit::ALL.into_iter().find(|unit| unit.as_str() == word) {
                Some(_) if number == "1" => format!("write \"1 {word}\""),
                Some(_) => format!("write \"{number} {word}s\""),
                None => "write a number and a unit (day, week, month, quarter or year), such as \"1 month\"".to_owned(),
            };
        }
    };
    format!("write \"{better}\"")
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.n == 1 { "" } else { "s" };
        f.pad(&format!("{} {}{plural}", self.n, self.unit.as_str()))
    }
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Every, D::Error> {
        let text = String::deserialize(deserializer)?;
        Every::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The day of the month on which charges fall.
///
/// "The last day" is a different thing from the 31st, the 30th or the 28th, and neither is ever inferred from the
/// other: a plan that starts on 28 February and means the 28th charges on 28 March.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnchorDay {
    /// A day of the month, 1 to 31; what happens in shorter months is [`IfDayMissing`].
    Day(u8),
    /// The last day of every month.
    LastDay,
}

impl AnchorDay {
    /// The day of the month of a date, even where that is the last one.
    pub fn of(date: NaiveDate) -> AnchorDay {
        // A day of a month always fits.
        AnchorDay::Day(u8::try_from(date.day()).unwrap_or(u8::MAX))
    }

    /// Reads `1` to `31`, or `last_day`.
    ///
    /// # Errors
    /// [`CalendarError::Word`] for anything else.
    ///
    /// ```
    /// use domain::cadence::AnchorDay;
    ///
    /// assert_eq!(AnchorDay::parse("31")?, AnchorDay::Day(31));
    /// assert_eq!(AnchorDay::parse("last_day")?, AnchorDay::LastDay);
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    pub fn parse(text: &str) -> Result<AnchorDay, CalendarError> {
        if text == "last_day" {
            return Ok(AnchorDay::LastDay);
        }
        let plain = !text.starts_with(['0', '+', '-']);
        match text.parse::<u8>() {
            Ok(day) if plain && (1..=31).contains(&day) => Ok(AnchorDay::Day(day)),
            Ok(_) | Err(_) => Err(CalendarError::Word {
                field: "on_day",
                given: excerpt(text),
                mend: "write a day from 1 to 31, or \"last_day\"".to_owned(),
            }),
        }
    }

    const fn exists(self) -> bool {
        match self {
            AnchorDay::Day(day) => day >= 1 && day <= 31,
            AnchorDay::LastDay => true,
        }
    }

    fn words(self) -> String {
        match self {
            AnchorDay::Day(day) => format!("day {day} of the month"),
            AnchorDay::LastDay => "the last day of the month".to_owned(),
        }
    }
}

/// As in plans: `31`, `last_day`.
impl fmt::Display for AnchorDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnchorDay::Day(day) => f.pad(&day.to_string()),
            AnchorDay::LastDay => f.pad("last_day"),
        }
    }
}

impl Serialize for AnchorDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AnchorDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AnchorDay, D::Error> {
        let text = String::deserialize(deserializer)?;
        AnchorDay::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What happens in a month that is too short for its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfDayMissing {
    /// The last day of that month is used; the next month has its own day again.
    LastDay,
    /// That month has no occurrence and no index.
    Skip,
}

impl IfDayMissing {
    /// The word used in plans.
    pub const fn as_str(self) -> &'static str {
        match self {
            IfDayMissing::LastDay => "last_day",
            IfDayMissing::Skip => "skip",
        }
    }

    /// Reads the word used in plans.
    ///
    /// # Errors
    /// [`CalendarError::Word`] for any other.
    pub fn parse(text: &str) -> Result<IfDayMissing, CalendarError> {
        [IfDayMissing::LastDay, IfDayMissing::Skip].into_iter().find(|word| word.as_str() == text).ok_or_else(|| {
            let mend = "write \"last_day\" or \"skip\"".to_owned();
            CalendarError::Word { field: "if_day_missing", given: excerpt(text), mend }
        })
    }
}

impl fmt::Display for IfDayMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A month, counted from the year 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Month(i64);

impl Month {
    fn of(date: NaiveDate) -> Month {
        Month(i64::from(date.year()).saturating_mul(12).saturating_add(i64::from(date.month0())))
    }

    fn later(self, months: i64) -> Month {
        Month(self.0.saturating_add(months))
    }

    /// Year and month, from 1, if they are within the years that are computed.
    fn civil(self) -> Option<(i32, u32)> {
        let year = i32::try_from(self.0.div_euclid(12)).ok()?;
        let month = u32::try_from(self.0.rem_euclid(12)).ok()?.checked_add(1)?;
        (FIRST_YEAR..=LAST_YEAR).contains(&year).then_some((year, month))
    }

    /// The last day, if the month is within the years that are computed.
    fn last_day(self) -> Option<NaiveDate> {
        let (year, month) = self.civil()?;
        let first = NaiveDate::from_ymd_opt(year, month, 1)?;
        first.with_day(u32::from(first.num_days_in_month()))
    }
}

/// What a month has for an anchor day.
enum InMonth {
    /// The day itself.
    Own(NaiveDate),
    /// The month is too short; its last day.
    Short(NaiveDate),
    /// Beyond the years that are computed.
    Beyond,
}

impl AnchorDay {
    fn in_month(self, month: Month) -> InMonth {
        let last = || month.last_day();
        match self {
            AnchorDay::LastDay => last().map_or(InMonth::Beyond, InMonth::Own),
            AnchorDay::Day(day) => {
                // Asked for every date of every walk: nearly all months have the day.
                let own = month.civil().and_then(|(year, month)| NaiveDate::from_ymd_opt(year, month, u32::from(day)));
                own.map(InMonth::Own).or_else(|| last().map(InMonth::Short)).unwrap_or(InMonth::Beyond)
            }
        }
    }
}

/// An anchor date and a rhythm. Occurrence 0 is the anchor; occurrence k is computed from it, never from its
/// predecessor.
///
/// For days and weeks the anchor's own date counts and the anchor day means nothing.
///
/// ```
/// use chrono::NaiveDate;
/// use domain::cadence::{AnchorDay, Cadence, Every, IfDayMissing};
///
/// let start = NaiveDate::from_ymd_opt(2027, 1, 31).unwrap();
/// let monthly = Cadence::new(start, AnchorDay::Day(31), Every::parse("1 month")?, IfDayMissing::LastDay)?;
/// assert_eq!(monthly.date(1)?.to_string(), "2027-02-28");
/// assert_eq!(monthly.date(2)?.to_string(), "2027-03-31"); // not the 28th
/// # Ok::<(), domain::calendar::CalendarError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Cadence {
    anchor: NaiveDate,
    day: AnchorDay,
    every: Every,
    if_day_missing: IfDayMissing,
    /// An occurrence before the anchor, which is then number 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    lead: Option<NaiveDate>,
}

impl Cadence {
    /// A cadence whose occurrence 0 is `anchor`.
    ///
    /// For months, quarters and years the anchor must fall on `day`, or, if its month is too short and the last day
    /// is used instead, on that: 2027-02-28 is a fine anchor for day 31 with [`IfDayMissing::LastDay`].
    ///
    /// # Errors
    /// [`CalendarError::Anchor`] for an anchor on another day, with the dates that would do; [`CalendarError::Word`]
    /// for a day that is not from 1 to 31; [`CalendarError::Year`] outside the years 1900 to 9999.
    pub fn new(
        anchor: NaiveDate,
        day: AnchorDay,
        every: Every,
        if_day_missing: IfDayMissing,
    ) -> Result<Cadence, CalendarError> {
        within_years(anchor)?;
        let cadence = Cadence { anchor, day, every, if_day_missing, lead: None };
        let Measure::Months(_) = every.stride() else { return Ok(cadence) };
        if !day.exists() {
            AnchorDay::parse(&day.to_string())?;
        }
        let fits = cadence.occurring_in(Month::of(anchor)) == Some(anchor);
        if fits { Ok(cadence) } else { Err(cadence.misplaced()) }
    }

    /// A cadence whose occurrence 0 is the first date on or after `start` that falls on `day`; for days and weeks,
    /// `start` itself.
    ///
    /// With [`IfDayMissing::LastDay`] a short month's last day counts, with [`IfDayMissing::Skip`] it does not.
    ///
    /// # Errors
    /// As for [`Cadence::new`], and [`CalendarError::OutOfRange`] if there is no such date up to the year 9999.
    ///
    /// ```
    /// use chrono::NaiveDate;
    /// use domain::cadence::{AnchorDay, Cadence, Every, IfDayMissing};
    ///
    /// let start = NaiveDate::from_ymd_opt(2027, 2, 10).unwrap();
    /// let month = Every::parse("1 month")?;
    /// let first = |missing| Cadence::first_on_or_after(start, AnchorDay::Day(31), month, missing);
    /// assert_eq!(first(IfDayMissing::LastDay)?.anchor().to_string(), "2027-02-28");
    /// assert_eq!(first(IfDayMissing::Skip)?.anchor().to_string(), "2027-03-31");
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    pub fn first_on_or_after(
        start: NaiveDate,
        day: AnchorDay,
        every: Every,
        if_day_missing: IfDayMissing,
    ) -> Result<Cadence, CalendarError> {
        within_years(start)?;
        let shape = Cadence { anchor: start, day, every, if_day_missing, lead: None };
        let anchor = match every.stride() {
            Measure::Days(_) => start,
            // The 31st exists in at least one of any two neighbouring months, and this month's may be past: three are
            // enough.
            Measure::Months(_) => (0..=2)
                .filter_map(|months| shape.occurring_in(Month::of(start).later(months)))
                .find(|date| *date >= start)
                .ok_or(CalendarError::OutOfRange)?,
        };
        // An occurrence of the shape fits it: only the day may be none.
        if day.exists() { Ok(Cadence { anchor, ..shape }) } else { Cadence::new(anchor, day, every, if_day_missing) }
    }

    /// The same cadence with one occurrence more, on `start`: it becomes number 0, the anchor number 1. Periods still tile: the
    /// first is shorter and ends at the anchor. A start on or after the anchor changes nothing.
    ///
    /// ```
    /// use chrono::NaiveDate;
    /// use domain::cadence::{AnchorDay, Cadence, Every, IfDayMissing};
    ///
    /// let start = NaiveDate::from_ymd_opt(2027, 2, 15).unwrap();
    /// let month = Every::parse("1 month")?;
    /// let plain = Cadence::first_on_or_after(start, AnchorDay::Day(1), month, IfDayMissing::LastDay)?;
    /// let led = plain.led_by(start);
    /// assert_eq!((led.date(0)?, led.date(1)?), (start, plain.date(0)?));
    /// assert_eq!(led.whole_period_at_start()?.map(|(from, to)| (to - from).num_days()), Some(28));
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    #[must_use]
    pub fn led_by(self, start: NaiveDate) -> Cadence {
        Cadence { lead: (start < self.anchor).then_some(start), ..self }
    }

    /// The occurrence before the anchor, if there is one.
    pub const fn lead(&self) -> Option<NaiveDate> {
        self.lead
    }

    /// The whole period of which the first one is a part: between the two anchor dates around the start (billing-rules.md §2.1,
    /// rule 13). `None` where the first period is whole itself.
    ///
    /// # Errors
    /// [`CalendarError::Year`] if it begins before the years that are computed.
    pub fn whole_period_at_start(&self) -> Result<Option<(NaiveDate, NaiveDate)>, CalendarError> {
        let Some(start) = self.lead else { return Ok(None) };
        let before = match self.every.stride() {
            Measure::Days(days) => {
                u64::try_from(days).ok().and_then(|days| self.anchor.checked_sub_days(Days::new(days)))
            }
            // Where short months are skipped, the date before the anchor may be some strides away; eight are a leap year's gap.
            Measure::Months(months) => (1..=8_i64)
                .filter_map(|step| {
                    self.occurring_in(Month::of(self.anchor).later(months.saturating_mul(step).saturating_neg()))
                })
                .find(|date| *date <= start),
        };
        before.map(|before| Some((before, self.anchor))).ok_or(CalendarError::Year { date: start })
    }

    /// The cadence of the same dates without the first.
    ///
    /// # Errors
    /// [`CalendarError::NoOccurrence`] if there is no second one.
    pub fn from_the_next(&self) -> Result<Cadence, CalendarError> {
        Ok(Cadence { anchor: self.date(1)?, lead: None, ..*self })
    }

    /// The date of the first occurrence that falls on the cadence's own day: number 0, or number 1 after a lead.
    pub const fn anchor(&self) -> NaiveDate {
        self.anchor
    }

    /// Is its rhythm one of months, so that the day of the month has a meaning?
    pub fn counts_months(&self) -> bool {
        matches!(self.every.stride(), Measure::Months(_))
    }

    /// The day of the month; without meaning for days and weeks.
    pub const fn day(&self) -> AnchorDay {
        self.day
    }

    /// The rhythm.
    pub const fn every(&self) -> Every {
        self.every
    }

    /// What happens in a month that is too short.
    pub const fn if_day_missing(&self) -> IfDayMissing {
        self.if_day_missing
    }

    /// The date of occurrence `k`; 0 is the anchor.
    ///
    /// With [`IfDayMissing::Skip`] the months without the day have no occurrence, and `k` counts those that exist
    /// without a hole. The work is constant except then: it grows with `k`, and ends at the year 9999.
    ///
    /// # Errors
    /// [`CalendarError::NoOccurrence`] beyond the year 9999.
    pub fn date(&self, k: u32) -> Result<NaiveDate, CalendarError> {
        self.found(k).ok_or_else(|| {
            let lead = if self.lead.is_some() { 1 } else { 0 };
            self.no_occurrence(k.saturating_sub(lead).to_string())
        })
    }

    /// The date of occurrence `k`, if it has one.
    fn found(&self, k: u32) -> Option<NaiveDate> {
        let k = match (self.lead, k.checked_sub(1)) {
            (Some(lead), None) => return Some(lead),
            (Some(_), Some(earlier)) => earlier,
            (None, _) => k,
        };
        match self.every.stride() {
            Measure::Days(days) => self.days_later(days.saturating_mul(i64::from(k))),
            Measure::Months(months) if self.never_skips() => {
                self.occurring_in(Month::of(self.anchor).later(months.saturating_mul(i64::from(k))))
            }
            Measure::Months(months) => usize::try_from(k).ok().and_then(|k| self.existing(months).nth(k)),
        }
    }

    /// The service period of occurrence `k`, half-open: from its date up to, not including, the date of the next one.
    /// Periods tile.
    ///
    /// # Errors
    /// [`CalendarError::NoOccurrence`] if it does not end by the year 9999.
    pub fn period(&self, k: u32) -> Result<(NaiveDate, NaiveDate), CalendarError> {
        let next = k.checked_add(1).ok_or_else(|| self.no_occurrence(k.to_string()))?;
        Ok((self.date(k)?, self.date(next)?))
    }

    /// The smallest index whose date is on or after `date`; 0 for any date up to the anchor.
    ///
    /// # Errors
    /// [`CalendarError::NoOccurrence`] if that occurrence lies beyond the year 9999.
    ///
    /// ```
    /// use chrono::NaiveDate;
    /// use domain::cadence::{AnchorDay, Cadence, Every, IfDayMissing};
    ///
    /// let day = |m, d| NaiveDate::from_ymd_opt(2027, m, d).unwrap();
    /// let monthly = Cadence::new(day(1, 31), AnchorDay::Day(31), Every::parse("1 month")?, IfDayMissing::LastDay)?;
    /// assert_eq!(monthly.index_on_or_after(day(2, 28))?, 1);
    /// assert_eq!(monthly.index_on_or_after(day(3, 1))?, 2);
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    pub fn index_on_or_after(&self, date: NaiveDate) -> Result<u32, CalendarError> {
        if let Some(lead) = self.lead {
            if date <= lead {
                return Ok(0);
            }
            let rest = Cadence { lead: None, ..*self }.index_on_or_after(date)?;
            return rest.checked_add(1).ok_or_else(|| self.no_occurrence(format!("on or after {date}")));
        }
        if date <= self.anchor {
            return Ok(0);
        }
        let index = match self.every.stride() {
            Measure::Days(days) => {
                let away = date.signed_duration_since(self.anchor).num_days();
                let index = quotient_up(away, days);
                self.days_later(index.saturating_mul(days)).map(|_| index)
            }
            Measure::Months(months) if self.never_skips() => {
                let away = Month::of(date).0.saturating_sub(Month::of(self.anchor).0);
                // The step into the month of `date`, or the first one beyond it; only in that very month can it be
                // too early.
                let index = quotient_up(away, months);
                let found = |index: i64| self.occurring_in(Month::of(self.anchor).later(index.saturating_mul(months)));
                let late_enough = |index: i64| found(index).filter(|occurring| *occurring >= date).map(|_| index);
                late_enough(index).or_else(|| late_enough(index.saturating_add(1)))
            }
            Measure::Months(months) => {
                self.existing(months).position(|existing| existing >= date).and_then(|index| i64::try_from(index).ok())
            }
        };
        index
            .and_then(|index| u32::try_from(index).ok())
            .ok_or_else(|| self.no_occurrence(format!("on or after {date}")))
    }

    /// Whether occurrence k is k strides from the anchor.
    fn never_skips(&self) -> bool {
        match (self.if_day_missing, self.day) {
            (IfDayMissing::LastDay, _) | (IfDayMissing::Skip, AnchorDay::LastDay) => true,
            (IfDayMissing::Skip, AnchorDay::Day(day)) => day <= 28,
        }
    }

    fn days_later(&self, days: i64) -> Option<NaiveDate> {
        let later = self.anchor.checked_add_days(Days::new(u64::try_from(days).ok()?))?;
        within_years(later).ok()
    }

    /// The occurrence in a month, if there is one and the month is within the years that are computed.
    fn occurring_in(&self, month: Month) -> Option<NaiveDate> {
        match (self.day.in_month(month), self.if_day_missing) {
            (InMonth::Own(date), _) | (InMonth::Short(date), IfDayMissing::LastDay) => Some(date),
            (InMonth::Short(_), IfDayMissing::Skip) | (InMonth::Beyond, _) => None,
        }
    }

    /// All occurrences, stepping over months without the day. At most 97,200 steps: the months of the years that are
    /// computed.
    fn existing(&self, months: i64) -> impl Iterator<Item = NaiveDate> {
        let first = Month::of(self.anchor);
        (0_i64..)
            .map(move |step| first.later(step.saturating_mul(months)))
            .take_while(|month| month.last_day().is_some())
            .filter_map(|month| self.occurring_in(month))
    }

    fn no_occurrence(&self, index: String) -> CalendarError {
        CalendarError::NoOccurrence { anchor: self.anchor, every: self.every.to_string(), index }
    }

    fn misplaced(&self) -> CalendarError {
        let mend = match self.day.in_month(Month::of(self.anchor)) {
            InMonth::Own(date) => format!("start on {date}, or choose day {}", self.anchor.day()),
            InMonth::Short(date) if self.if_day_missing == IfDayMissing::LastDay => {
                format!("start on {date}, the last day of that month")
            }
            InMonth::Short(_) => {
                "that month has no such day and short months are skipped; start in a longer month".to_owned()
            }
            InMonth::Beyond => "check the year".to_owned(),
        };
        CalendarError::Anchor { anchor: self.anchor, day: self.day.words(), mend }
    }
}

/// The quotient of two positive numbers, rounded up.
fn quotient_up(number: i64, by: i64) -> i64 {
    let floor = number.checked_div_euclid(by).unwrap_or_default();
    if floor.saturating_mul(by) == number { floor } else { floor.saturating_add(1) }
}

/// A cadence at a time of day in a zone, with what happens on days on which banks are closed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Schedule {
    /// The dates.
    pub cadence: Cadence,
    /// The wall time of a charge, in whole seconds.
    pub charge_at: NaiveTime,
    /// The zone of the wall time.
    pub zone: Zone,
    /// What happens to the day of submission on a closed day.
    pub business_days: BusinessDays,
    /// Which days are closed; needed unless `business_days` is none.
    pub calendar: Option<HolidayCalendar>,
}

/// One occurrence of a schedule. The index is its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Occurrence {
    /// Which one, from 0 for the anchor.
    pub index: u32,
    /// The date of the charge, by the cadence.
    pub date: NaiveDate,
    /// The day on which it is submitted: the date after the roll. It may be earlier than the date.
    pub submit_on: NaiveDate,
    /// The instant of submission: the wall time on that day in the schedule's zone.
    #[serde(serialize_with = "whole_seconds")]
    pub charge_at: DateTime<Utc>,
}

fn whole_seconds<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.format("%Y-%m-%dT%H:%M:%SZ"))
}

impl Schedule {
    /// A schedule whose parts fit together.
    ///
    /// # Errors
    /// [`CalendarError::NoCalendar`] for a roll without a calendar; [`CalendarError::FinerThanSecond`] for a time of
    /// day with a fraction of a second (or a leap second).
    ///
    /// ```
    /// use chrono::{NaiveDate, NaiveTime};
    /// use domain::cadence::{AnchorDay, Cadence, Every, IfDayMissing, Schedule};
    /// use domain::calendar::{BusinessDays, Zone};
    /// use domain::holidays::HolidayCalendar;
    ///
    /// let start = NaiveDate::from_ymd_opt(2027, 1, 31).unwrap();
    /// let schedule = Schedule::new(
    ///     Cadence::new(start, AnchorDay::Day(31), Every::parse("1 month")?, IfDayMissing::LastDay)?,
    ///     NaiveTime::from_hms_opt(6, 0, 0).unwrap(),
    ///     Zone::parse("America/New_York")?,
    ///     BusinessDays::Next,
    ///     Some(HolidayCalendar::UsFederalReserve),
    /// )?;
    /// let second = schedule.occurrence(1)?; // 28 February 2027 is a Sunday
    /// assert_eq!((second.date.to_string(), second.submit_on.to_string()), ("2027-02-28".into(), "2027-03-01".into()));
    /// assert_eq!(second.charge_at.to_rfc3339(), "2027-03-01T11:00:00+00:00");
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    pub fn new(
        cadence: Cadence,
        charge_at: NaiveTime,
        zone: Zone,
        business_days: BusinessDays,
        calendar: Option<HolidayCalendar>,
    ) -> Result<Schedule, CalendarError> {
        if business_days != BusinessDays::None && calendar.is_none() {
            return Err(CalendarError::NoCalendar { roll: business_days.as_str() });
        }
        if charge_at.nanosecond() != 0 {
            return Err(CalendarError::FinerThanSecond { time: charge_at });
        }
        Ok(Schedule { cadence, charge_at, zone, business_days, calendar })
    }

    /// Occurrence `k`.
    ///
    /// Two occurrences never share an index, but after a roll two may share a day of submission: those are two charges.
    ///
    /// # Errors
    /// Those of [`Cadence::date`], [`HolidayCalendar::roll`] and [`Zone::instant`].
    pub fn occurrence(&self, k: u32) -> Result<Occurrence, CalendarError> {
        self.on(k, self.cadence.date(k)?)
    }

    /// An occurrence on a date that was chosen by hand, with the roll and the wall time of the schedule.
    ///
    /// # Errors
    /// Those of [`HolidayCalendar::roll`] and [`Zone::instant`].
    pub fn on_date(&self, index: u32, date: NaiveDate) -> Result<Occurrence, CalendarError> {
        self.on(index, date)
    }

    /// The first `count` occurrences, from the anchor on.
    ///
    /// # Errors
    /// As for [`Schedule::occurrence`], for the first that cannot be had: a preview is complete or refused. The years
    /// and the holiday calendar bound it whatever `count` is.
    pub fn preview(&self, count: u32) -> Result<Vec<Occurrence>, CalendarError> {
        match self.cadence.every.stride() {
            Measure::Months(months) if !self.cadence.never_skips() && self.cadence.lead.is_none() => {
                // One walk instead of one a date.
                let mut dates = self.cadence.existing(months);
                let missing = |k: u32| self.cadence.no_occurrence(k.to_string());
                (0..count).map(|k| self.on(k, dates.next().ok_or_else(|| missing(k))?)).collect()
            }
            Measure::Months(_) | Measure::Days(_) => (0..count).map(|k| self.occurrence(k)).collect(),
        }
    }

    fn on(&self, index: u32, date: NaiveDate) -> Result<Occurrence, CalendarError> {
        let submit_on = match (self.business_days, self.calendar) {
            (BusinessDays::None, _) => date,
            (roll, Some(calendar)) => calendar.roll(date, roll)?,
            (roll, None) => return Err(CalendarError::NoCalendar { roll: roll.as_str() }),
        };
        Ok(Occurrence { index, date, submit_on, charge_at: self.zone.instant(submit_on, self.charge_at)? })
    }
}
