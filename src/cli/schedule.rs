//! `autopay schedule`: the calendar, without a database; and the audit, over one.

use chrono::{NaiveDate, NaiveTime};
use clap::{Args, Subcommand};
use domain::cadence::{self, AnchorDay, Cadence, Every, IfDayMissing, Unit};
use domain::calendar::{BusinessDays, CalendarError};
use domain::holidays::HolidayCalendar;

use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column};
use super::{Context, usage};
use crate::files::near::zone;

/// Most dates of one preview.
const MOST_DATES: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(super) enum Schedule {
    /// The first dates of a rhythm, with day of submission and instant
    #[command(after_help = "Example:\n  \
        autopay schedule preview --anchor 2027-01-31 --every \"1 month\" --at 06:00 --zone America/New_York --count 12 \
        --business-days next --calendar us-federal-reserve -o json\n\n\
        Index 0 is the anchor itself and counts as the first of --count.\nExit codes: 0, 2 wrong usage.")]
    Preview(Preview),
    /// Did everything fire? Every cycle that fell due by plans and subscriptions, against the charges of the book
    #[command(after_help = "Examples:\n  \
        autopay schedule audit --from 2027-01-01 --to 2027-02-01\n  \
        autopay schedule audit --from 2027-01-01 --to 2027-02-01 --details -o csv --out january.csv\n\n\
        --to is the first date that is not looked at. What is expected is worked out from the rhythm and from the cycle at which each \
        subscription entered the book; where a subscription says it stands is not trusted. There is a row for each cycle that was \
        missed and each charge that fits no cycle; in CSV the counts by plan are left out. Nothing is changed.\n\n\
        Exit codes: 0 everything fired, or waits for a reason, 2 wrong usage, 10 cycles were missed or rows are odd, \
        11 database unavailable.")]
    Audit(super::schedule_audit::Audit),
    /// What falls due next over the whole book, by time
    #[command(after_help = "Example:\n  autopay schedule next --count 50 -o csv\n\n\
        Read from the book as it is; nothing is changed. Retries of charges that are under way are listed by charges list --state failing.\n\
        Exit codes: 0, 2 wrong usage, 11 database unavailable.")]
    Next(super::upcoming::Next),
}

/// Every value is text here, so that all wrong ones are named at once.
#[derive(Debug, Clone, Args)]
pub(super) struct Preview {
    /// First date
    #[arg(long, value_name = "YYYY-MM-DD")]
    anchor: String,
    /// Rhythm: a number of days, weeks, months, quarters or years
    #[arg(long, value_name = "RHYTHM")]
    every: String,
    /// Local time of day
    #[arg(long, value_name = "HH:MM[:SS]")]
    at: String,
    /// IANA time zone
    #[arg(long, value_name = "ZONE")]
    zone: String,
    /// How many dates, 1 to 10000
    #[arg(long, default_value = "12", allow_hyphen_values = true)]
    count: String,
    /// Day of the month, 1 to 31 or last_day [default: the anchor's own]; for months, quarters and years
    #[arg(long, value_name = "DAY", allow_hyphen_values = true)]
    on_day: Option<String>,
    /// What happens in months without that day: last_day or skip
    #[arg(long, value_name = "RULE", default_value = "last_day")]
    if_day_missing: String,
    /// What happens on days on which banks are closed: none, next, modified_next or previous
    #[arg(long, value_name = "RULE", default_value = "none")]
    business_days: String,
    /// Which days those are: us-federal-reserve
    #[arg(long, value_name = "CALENDAR")]
    calendar: Option<String>,
}

/// Reads the values of flags and remembers each that is wrong.
#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn read<T, E: ToString>(&mut self, flag: &str, text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.push(usage::refused(flag, text, &why.to_string()));
                None
            }
        }
    }

    fn refuse(&mut self, flag: &str, value: impl std::fmt::Display, why: &str) {
        self.problems.push(usage::refused(flag, &value.to_string(), why));
    }
}

fn count(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|count| (1..=MOST_DATES).contains(count));
    number.ok_or_else(|| format!("is not a whole number from 1 to {MOST_DATES}: write one"))
}

/// A civil date, in ten characters.
pub(super) fn date(text: &str) -> Result<NaiveDate, String> {
    let parsed = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    parsed
        .filter(|date| date.to_string() == text)
        .ok_or_else(|| "not a date of the calendar: write year-month-day, for example 2027-01-31".to_owned())
}

fn time(text: &str) -> Result<NaiveTime, String> {
    let read =
        |shape: &str| NaiveTime::parse_from_str(text, shape).ok().filter(|time| time.format(shape).to_string() == text);
    // A leap second reads as 59 and a second more.
    let leap = |time: &NaiveTime| chrono::Timelike::nanosecond(time) != 0;
    read("%H:%M")
        .or_else(|| read("%H:%M:%S"))
        .filter(|time| !leap(time))
        .ok_or_else(|| "not a time of day: write hours and minutes, for example 06:00 (midnight is 00:00)".to_owned())
}

const COLUMNS: &[Column] =
    &[Column::number("index"), Column::text("date"), Column::text("submit_on"), Column::text("charge_at")];

pub(super) async fn run(command: Schedule, context: &Context) -> Result<Exit, Stop> {
    match command {
        Schedule::Preview(command) => preview(&command, context),
        Schedule::Audit(command) => super::schedule_audit::run(&command, context).await,
        Schedule::Next(command) => super::upcoming::next(&command, context).await,
    }
}

fn preview(preview: &Preview, context: &Context) -> Result<Exit, Stop> {
    let (schedule, count) = understood(preview)?;
    let occurrences = schedule.preview(count).map_err(|error| beyond(&error, preview))?;
    let rows: Vec<Vec<Cell>> = occurrences
        .iter()
        .map(|one| {
            vec![Cell::Number(one.index.into()), Cell::On(one.date), Cell::On(one.submit_on), Cell::At(one.charge_at)]
        })
        .collect();
    context.printer.rows(COLUMNS, &rows)?;
    Ok(Exit::Done)
}

/// The schedule that the flags describe, or every flag that is wrong.
fn understood(preview: &Preview) -> Result<(cadence::Schedule, u32), Stop> {
    let mut r = Reader::default();
    let anchor = r.read("--anchor", &preview.anchor, date);
    let every = r.read("--every", &preview.every, Every::parse);
    let at = r.read("--at", &preview.at, time);
    let zone = r.read("--zone", &preview.zone, zone);
    let count = r.read("--count", &preview.count, count);
    let on_day = preview.on_day.as_deref().and_then(|text| r.read("--on-day", text, AnchorDay::parse));
    let if_day_missing = r.read("--if-day-missing", &preview.if_day_missing, IfDayMissing::parse);
    let business_days = r.read("--business-days", &preview.business_days, BusinessDays::parse);
    let calendar = preview.calendar.as_deref().map(|text| r.read("--calendar", text, HolidayCalendar::parse));
    if let (Some(every), Some(text)) = (every, &preview.on_day)
        && matches!(every.unit(), Unit::Day | Unit::Week)
    {
        r.refuse("--on-day", text, "has no meaning for a rhythm of days or weeks: leave it out");
    }
    let (Some(anchor), Some(every), Some(at), Some(zone), Some(count)) = (anchor, every, at, zone, count) else {
        return Err(Stop::Failed(Exit::Usage, r.problems));
    };
    let (Some(if_day_missing), Some(business_days), true) = (if_day_missing, business_days, r.problems.is_empty())
    else {
        return Err(Stop::Failed(Exit::Usage, r.problems));
    };
    let day = on_day.unwrap_or_else(|| AnchorDay::of(anchor));
    let cadence = Cadence::new(anchor, day, every, if_day_missing)
        .map_err(|error| Stop::usage("--anchor", anchor, &error.to_string()))?;
    // There is one calendar to choose from; a plan file still has to name it, because a plan outlives this build.
    let named = calendar.flatten();
    let calendar = named.or_else(|| (business_days != BusinessDays::None).then_some(HolidayCalendar::UsFederalReserve));
    let schedule = cadence::Schedule::new(cadence, at, zone, business_days, calendar)
        .map_err(|error| Stop::usage("schedule", "", &error.to_string()))?;
    Ok((schedule, count))
}

/// The dates asked for lead beyond what can be computed.
fn beyond(error: &CalendarError, preview: &Preview) -> Stop {
    let said = error.to_string();
    let message = said.rsplit_once(": ").map_or(said.as_str(), |(message, _)| message);
    let place = format!("--anchor {} --count {}", preview.anchor, preview.count);
    let mend = "write an earlier --anchor, or a smaller --count";
    Stop::because(Exit::Usage, Problem::new(place, "", message, mend))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read_in_one_shape_only() {
        assert!(date("2027-01-31").is_ok() && date("2028-02-29").is_ok());
        for wrong in ["2027-1-31", "31.01.2027", "2027-02-29", "", "2027-01-31 ", "+027-01-31"] {
            assert!(date(wrong).is_err(), "{wrong}");
        }
        assert!(time("06:00").is_ok() && time("23:59:59").is_ok());
        for wrong in ["24:00", "6:00", "06:00:60", "06", "", "06:00:00.5", " 6:00", "+6:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
