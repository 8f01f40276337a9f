//! `autopay schedule`: the calendar, without a database.

use chrono::{NaiveDate, NaiveTime};
use clap::{Args, Subcommand};
use domain::cadence::{self, AnchorDay, Cadence, Every, IfDayMissing};
use domain::calendar::{BusinessDays, CalendarError, Zone};
use domain::holidays::HolidayCalendar;

use super::Context;
use super::exit::{Exit, Stop};
use super::output::{Cell, Column};

#[derive(Debug, Subcommand)]
pub(super) enum Schedule {
    /// The first dates of a rhythm, with day of submission and instant
    #[command(after_help = "Example:\n  \
        autopay schedule preview --anchor 2027-01-31 --every \"1 month\" --at 06:00 --zone America/New_York --count 12 \
        --business-days next --calendar us-federal-reserve -o json\n\n\
        Index 0 is the anchor itself and counts as the first of --count.\nExit codes: 0, 2 wrong usage.")]
    Preview(Preview),
}

#[derive(Debug, Clone, Args)]
pub(super) struct Preview {
    /// First date
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    anchor: NaiveDate,
    /// Rhythm: a number of days, weeks, months, quarters or years
    #[arg(long, value_name = "RHYTHM", value_parser = Every::parse)]
    every: Every,
    /// Local time of day
    #[arg(long, value_name = "HH:MM[:SS]", value_parser = time)]
    at: NaiveTime,
    /// IANA time zone
    #[arg(long, value_name = "ZONE", value_parser = Zone::parse)]
    zone: Zone,
    /// How many dates, 1 to 10000
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Day of the month, 1 to 31 or last_day [default: the anchor's own]
    #[arg(long, value_name = "DAY", value_parser = AnchorDay::parse)]
    on_day: Option<AnchorDay>,
    /// What happens in months without that day: last_day or skip
    #[arg(long, value_name = "RULE", default_value = "last_day", value_parser = IfDayMissing::parse)]
    if_day_missing: IfDayMissing,
    /// What happens on days on which banks are closed: none, next, modified_next or previous
    #[arg(long, value_name = "RULE", default_value = "none", value_parser = BusinessDays::parse)]
    business_days: BusinessDays,
    /// Which days those are: us-federal-reserve
    #[arg(long, value_name = "CALENDAR", value_parser = HolidayCalendar::parse)]
    calendar: Option<HolidayCalendar>,
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

pub(super) fn run(command: &Schedule, context: &Context) -> Result<Exit, Stop> {
    let Schedule::Preview(preview) = command;
    let Preview { anchor, every, at, zone, count, on_day, if_day_missing, business_days, calendar } = preview.clone();
    let refused = |flag: &str, error: &CalendarError| Stop::usage(flag, anchor, &error.to_string());
    let day = on_day.unwrap_or_else(|| AnchorDay::of(anchor));
    let cadence = Cadence::new(anchor, day, every, if_day_missing).map_err(|error| refused("--anchor", &error))?;
    // There is one calendar to choose from; a plan file still has to name it, because a plan outlives this build.
    let calendar =
        calendar.or_else(|| (business_days != BusinessDays::None).then_some(HolidayCalendar::UsFederalReserve));
    let occurrences = cadence::Schedule::new(cadence, at, zone, business_days, calendar)
        .and_then(|schedule| schedule.preview(count))
        .map_err(|error| Stop::usage("schedule", "", &error.to_string()))?;
    let rows: Vec<Vec<Cell>> = occurrences
        .iter()
        .map(|one| {
            vec![Cell::Number(one.index.into()), Cell::On(one.date), Cell::On(one.submit_on), Cell::At(one.charge_at)]
        })
        .collect();
    context.printer.rows(COLUMNS, &rows)?;
    Ok(Exit::Done)
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
