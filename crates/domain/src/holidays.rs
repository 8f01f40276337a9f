//! Business days: which days banks settle, from dated rules.
//!
//! Not allowed here: guessing. Each rule carries the year it began and its source, a calendar says for which dates it
//! is known, and a date outside them is an error, never a silently open day.

use std::fmt;

use chrono::{Datelike, Days, NaiveDate, Weekday};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::calendar::{BusinessDays, CalendarError};
use crate::money::excerpt;

/// A calendar of bank holidays.
///
/// ```
/// use chrono::NaiveDate;
/// use domain::calendar::BusinessDays;
/// use domain::holidays::HolidayCalendar;
///
/// let calendar = HolidayCalendar::parse("us-federal-reserve")?;
/// let new_year = NaiveDate::from_ymd_opt(2027, 1, 1).unwrap();
/// assert_eq!(calendar.holiday(new_year)?, Some("New Year's Day"));
/// assert_eq!(calendar.roll(new_year, BusinessDays::Next)?.to_string(), "2027-01-04");
/// # Ok::<(), domain::calendar::CalendarError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HolidayCalendar {
    /// The days on which the Federal Reserve Banks are closed, hence FedACH and Fedwire: the calendar of United
    /// States bank debits.
    UsFederalReserve,
}

/// One holiday by rule.
struct Rule {
    name: &'static str,
    /// First year in which the Reserve Banks kept it in this form.
    since: i32,
    when: When,
}

/// On which day of a year a holiday falls.
enum When {
    /// A day of the year. On a Sunday it is kept on the Monday after; on a Saturday it is not kept at all: the
    /// Reserve Banks and their branches are open on the preceding Friday (Federal Reserve Financial Services, Holiday
    /// Schedules, footnote).
    Fixed { month: u32, day: u32, observed: &'static str },
    /// The n-th such weekday of a month.
    Nth { month: u32, weekday: Weekday, nth: u8 },
    /// The last such weekday of a month.
    Last { month: u32, weekday: Weekday },
}

/// Federal Reserve Banks, Holiday Schedules: the holidays of 5 U.S.C. 6103(a), with the Saturday rule above. The
/// president's order to close other federal offices does not close the Reserve Banks.
const US_FEDERAL_RESERVE: [Rule; 11] = [
    Rule {
        name: "New Year's Day", // 5 U.S.C. 6103(a); Act of 28 June 1870
        since: 1870,
        when: When::Fixed { month: 1, day: 1, observed: "New Year's Day (observed)" },
    },
    Rule {
        name: "Birthday of Martin Luther King, Jr.", // Public Law 98-144, first kept on 20 January 1986
        since: 1986,
        when: When::Nth { month: 1, weekday: Weekday::Mon, nth: 3 },
    },
    Rule {
        name: "Washington's Birthday", // Uniform Monday Holiday Act, Public Law 90-363, from 1971
        since: 1971,
        when: When::Nth { month: 2, weekday: Weekday::Mon, nth: 3 },
    },
    Rule {
        name: "Memorial Day", // Public Law 90-363, from 1971
        since: 1971,
        when: When::Last { month: 5, weekday: Weekday::Mon },
    },
    Rule {
        // Public Law 117-17 of 17 June 2021. In 2021 the day was a Saturday, hence not kept: first kept on Monday 20
        // June 2022.
        name: "Juneteenth National Independence Day",
        since: 2022,
        when: When::Fixed { month: 6, day: 19, observed: "Juneteenth National Independence Day (observed)" },
    },
    Rule {
        name: "Independence Day", // 5 U.S.C. 6103(a); Act of 28 June 1870
        since: 1870,
        when: When::Fixed { month: 7, day: 4, observed: "Independence Day (observed)" },
    },
    Rule {
        name: "Labor Day", // 5 U.S.C. 6103(a); Act of 28 June 1894
        since: 1894,
        when: When::Nth { month: 9, weekday: Weekday::Mon, nth: 1 },
    },
    Rule {
        name: "Columbus Day", // Public Law 90-363, from 1971
        since: 1971,
        when: When::Nth { month: 10, weekday: Weekday::Mon, nth: 2 },
    },
    Rule {
        name: "Veterans Day", // Public Law 94-97: back on 11 November from 1978
        since: 1978,
        when: When::Fixed { month: 11, day: 11, observed: "Veterans Day (observed)" },
    },
    Rule {
        name: "Thanksgiving Day", // Joint Resolution of 26 December 1941: the fourth Thursday, from 1942
        since: 1942,
        when: When::Nth { month: 11, weekday: Weekday::Thu, nth: 4 },
    },
    Rule {
        name: "Christmas Day", // 5 U.S.C. 6103(a); Act of 28 June 1870
        since: 1870,
        when: When::Fixed { month: 12, day: 25, observed: "Christmas Day (observed)" },
    },
];

impl Rule {
    /// The holiday's name, if it is kept on `date`. A holiday that falls on a weekend is not kept on that day.
    fn kept_on(&self, date: NaiveDate) -> Option<&'static str> {
        if date.year() < self.since {
            return None;
        }
        match self.when {
            When::Fixed { month, day, observed } => {
                if (date.month(), date.day()) == (month, day) {
                    return (!is_weekend(date)).then_some(self.name);
                }
                let eve = date.pred_opt().filter(|eve| eve.weekday() == Weekday::Sun)?;
                ((eve.month(), eve.day()) == (month, day)).then_some(observed)
            }
            When::Nth { month, weekday, nth } => {
                (NaiveDate::from_weekday_of_month_opt(date.year(), month, weekday, nth)? == date).then_some(self.name)
            }
            When::Last { month, weekday } => {
                let week_later = date.checked_add_days(Days::new(7))?;
                (date.month() == month && date.weekday() == weekday && week_later.month() != month).then_some(self.name)
            }
        }
    }
}

/// Saturday and Sunday: the Reserve Banks settle on neither.
fn is_weekend(date: NaiveDate) -> bool {
    matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

impl HolidayCalendar {
    /// The name used in plans.
    pub const fn as_str(self) -> &'static str {
        match self {
            HolidayCalendar::UsFederalReserve => "us-federal-reserve",
        }
    }

    /// Reads the name used in plans: `us-federal-reserve`, or `us-federal` as a short form of it.
    ///
    /// # Errors
    /// [`CalendarError::Word`] for any other.
    pub fn parse(text: &str) -> Result<HolidayCalendar, CalendarError> {
        match text {
            "us-federal-reserve" | "us-federal" => Ok(HolidayCalendar::UsFederalReserve),
            _ => Err(CalendarError::Word {
                field: "calendar",
                given: excerpt(text),
                mend: "write \"us-federal-reserve\", or leave it out and write business_days = \"none\"".to_owned(),
            }),
        }
    }

    /// Name and state of the rules, to be kept beside what was computed with them: the month of the last change of a
    /// rule.
    pub const fn version(self) -> &'static str {
        match self {
            HolidayCalendar::UsFederalReserve => "us-federal-reserve/2022-06",
        }
    }

    /// First date that is known: 1990-01-01. All rules but Juneteenth had their present form by 1986; nothing older
    /// is billed.
    pub const fn valid_from(self) -> NaiveDate {
        match self {
            HolidayCalendar::UsFederalReserve => first_of(1990),
        }
    }

    /// Last date that is known: 2099-12-31, by the rules as they stand. Published schedules reach about five years
    /// ahead; a new holiday comes with a new [`HolidayCalendar::version`], and days of submission that are not yet
    /// past are computed again.
    pub const fn valid_to(self) -> NaiveDate {
        match self {
            HolidayCalendar::UsFederalReserve => match first_of(2100).pred_opt() {
                Some(last) => last,
                None => NaiveDate::MIN,
            },
        }
    }

    /// The holiday kept on `date`, if any. A weekend is not a holiday, and a holiday that falls on one is named on
    /// the Monday after (from Sunday) or nowhere (from Saturday).
    ///
    /// # Errors
    /// [`CalendarError::HolidayRange`] outside the dates that are known.
    pub fn holiday(self, date: NaiveDate) -> Result<Option<&'static str>, CalendarError> {
        let (from, to) = (self.valid_from(), self.valid_to());
        if !(from..=to).contains(&date) {
            return Err(CalendarError::HolidayRange { date, calendar: self.as_str(), from, to });
        }
        let rules = match self {
            HolidayCalendar::UsFederalReserve => &US_FEDERAL_RESERVE,
        };
        Ok(rules.iter().find_map(|rule| rule.kept_on(date)))
    }

    /// Whether banks settle on `date`.
    ///
    /// # Errors
    /// [`CalendarError::HolidayRange`] outside the dates that are known.
    pub fn is_business_day(self, date: NaiveDate) -> Result<bool, CalendarError> {
        Ok(self.holiday(date)?.is_none() && !is_weekend(date))
    }

    /// The day on which a charge of `date` is submitted. With [`BusinessDays::None`] that is the date itself, open or
    /// not, known or not.
    ///
    /// # Errors
    /// [`CalendarError::HolidayRange`] if the date or the day it rolls to is outside the dates that are known.
    ///
    /// ```
    /// use chrono::NaiveDate;
    /// use domain::calendar::BusinessDays;
    /// use domain::holidays::HolidayCalendar;
    ///
    /// let sunday = NaiveDate::from_ymd_opt(2027, 1, 31).unwrap();
    /// let rolled = |roll| HolidayCalendar::UsFederalReserve.roll(sunday, roll).map(|date| date.to_string());
    /// assert_eq!(rolled(BusinessDays::Next)?, "2027-02-01");
    /// assert_eq!(rolled(BusinessDays::ModifiedNext)?, "2027-01-29"); // stays in January
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    pub fn roll(self, date: NaiveDate, roll: BusinessDays) -> Result<NaiveDate, CalendarError> {
        match roll {
            BusinessDays::None => Ok(date),
            BusinessDays::Next => self.open_day(date, NaiveDate::succ_opt),
            BusinessDays::Previous => self.open_day(date, NaiveDate::pred_opt),
            BusinessDays::ModifiedNext => {
                let next = self.open_day(date, NaiveDate::succ_opt)?;
                if next.month() == date.month() { Ok(next) } else { self.open_day(date, NaiveDate::pred_opt) }
            }
        }
    }

    /// The `n`-th business day after `date`; `date` itself, open or not, for 0. "T+2" of an ACH entry is `n` = 2.
    ///
    /// # Errors
    /// [`CalendarError::HolidayRange`] if the way leads outside the dates that are known, which also bounds it.
    pub fn add_business_days(self, date: NaiveDate, n: u32) -> Result<NaiveDate, CalendarError> {
        self.count(date, n, NaiveDate::succ_opt)
    }

    /// The `n`-th business day before `date`; `date` itself, open or not, for 0. A stop-payment order is due 3
    /// business days before.
    ///
    /// # Errors
    /// [`CalendarError::HolidayRange`] if the way leads outside the dates that are known, which also bounds it.
    pub fn subtract_business_days(self, date: NaiveDate, n: u32) -> Result<NaiveDate, CalendarError> {
        self.count(date, n, NaiveDate::pred_opt)
    }

    fn count(self, date: NaiveDate, n: u32, step: Step) -> Result<NaiveDate, CalendarError> {
        self.holiday(date)?;
        (0..n).try_fold(date, |day, _| self.open_day(self.neighbour(day, step)?, step))
    }

    /// The first business day from `date` on, in the direction of `step`. It ends at the latest where the calendar
    /// ends.
    fn open_day(self, date: NaiveDate, step: Step) -> Result<NaiveDate, CalendarError> {
        let mut day = date;
        while !self.is_business_day(day)? {
            day = self.neighbour(day, step)?;
        }
        Ok(day)
    }

    fn neighbour(self, day: NaiveDate, step: Step) -> Result<NaiveDate, CalendarError> {
        let (from, to) = (self.valid_from(), self.valid_to());
        step(&day).ok_or(CalendarError::HolidayRange { date: day, calendar: self.as_str(), from, to })
    }
}

/// To the next day or to the one before.
type Step = fn(&NaiveDate) -> Option<NaiveDate>;

const fn first_of(year: i32) -> NaiveDate {
    match NaiveDate::from_ymd_opt(year, 1, 1) {
        Some(date) => date,
        None => NaiveDate::MIN,
    }
}

impl fmt::Display for HolidayCalendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for HolidayCalendar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for HolidayCalendar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HolidayCalendar, D::Error> {
        let text = String::deserialize(deserializer)?;
        HolidayCalendar::parse(&text).map_err(serde::de::Error::custom)
    }
}
