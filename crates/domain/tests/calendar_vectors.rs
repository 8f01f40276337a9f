//! The published vectors of the calendar rules: dates, zones, business days, and splitting money. Expected answers
//! are written out, and so are the wrong answers that other schedulers give.
#![expect(clippy::unwrap_used, reason = "a test that cannot read its own table should stop")]

use std::num::NonZeroU32;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Utc, Weekday};
use domain::cadence::{AnchorDay, Cadence, Every, IfDayMissing, Occurrence, Schedule};
use domain::calendar::{BusinessDays, CalendarError, Zone, tz_version, zone_disagreements};
use domain::holidays::HolidayCalendar;
use domain::money::{Currency, Money};

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn instant(name: &str, date: &str, time: &str) -> DateTime<Utc> {
    zone(name).instant(day(date), time.parse().unwrap()).unwrap()
}

fn cadence(anchor: &str, on: &str, every: &str) -> Cadence {
    cadence_with(anchor, on, every, IfDayMissing::LastDay)
}

fn cadence_with(anchor: &str, on: &str, every: &str, missing: IfDayMissing) -> Cadence {
    Cadence::new(day(anchor), AnchorDay::parse(on).unwrap(), Every::parse(every).unwrap(), missing).unwrap()
}

fn dates(cadence: &Cadence, from: u32, count: u32) -> Vec<String> {
    (from..).take(usize::try_from(count).unwrap()).map(|k| cadence.date(k).unwrap().to_string()).collect()
}

#[test]
fn months_quarters_and_years_are_counted_from_the_anchor() {
    let table: &[(&str, &str, &str, &str, &[&str])] = &[
        (
            "V1",
            "2027-01-31",
            "31",
            "1 month",
            &[
                "2027-02-28",
                "2027-03-31",
                "2027-04-30",
                "2027-05-31",
                "2027-06-30",
                "2027-07-31",
                "2027-08-31",
                "2027-09-30",
                "2027-10-31",
                "2027-11-30",
                "2027-12-31",
                "2028-01-31",
                "2028-02-29",
            ],
        ),
        ("V3", "2027-01-29", "29", "1 month", &["2027-02-28", "2027-03-29", "2027-04-29"]),
        ("V3, leap", "2028-01-29", "29", "1 month", &["2028-02-29", "2028-03-29"]),
        ("V3, leap, 30", "2028-01-30", "30", "1 month", &["2028-02-29", "2028-03-30"]),
        ("V4", "2027-02-28", "28", "1 month", &["2027-03-28", "2027-04-28"]),
        ("V4, April", "2027-04-30", "30", "1 month", &["2027-05-30"]),
        ("V6", "2027-02-28", "last_day", "1 month", &["2027-03-31", "2027-04-30", "2027-05-31", "2027-06-30"]),
        ("V7", "2026-12-31", "31", "1 month", &["2027-01-31", "2027-02-28", "2027-03-31"]),
        (
            "V9",
            "2026-08-31",
            "31",
            "1 quarter",
            &["2026-11-30", "2027-02-28", "2027-05-31", "2027-08-31", "2027-11-30"],
        ),
        (
            "V15",
            "2024-02-29",
            "29",
            "1 year",
            &[
                "2025-02-28",
                "2026-02-28",
                "2027-02-28",
                "2028-02-29",
                "2029-02-28",
                "2030-02-28",
                "2031-02-28",
                "2032-02-29",
            ],
        ),
        (
            "V18",
            "2027-01-01",
            "1",
            "4 weeks",
            &[
                "2027-01-29",
                "2027-02-26",
                "2027-03-26",
                "2027-04-23",
                "2027-05-21",
                "2027-06-18",
                "2027-07-16",
                "2027-08-13",
                "2027-09-10",
                "2027-10-08",
                "2027-11-05",
                "2027-12-03",
                "2027-12-31",
            ],
        ),
        ("V20", "2026-12-25", "1", "2 weeks", &["2027-01-08", "2027-01-22", "2027-02-05"]),
        ("V20, weekly", "2026-12-31", "1", "week", &["2027-01-07"]),
        ("a clamped anchor", "2027-02-28", "31", "1 month", &["2027-03-31", "2027-04-30", "2027-05-31"]),
        (
            "12 months are a year",
            "2024-02-29",
            "29",
            "12 months",
            &["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"],
        ),
        ("3 quarters", "2027-01-31", "31", "3 quarters", &["2027-10-31", "2028-07-31", "2029-04-30"]),
    ];
    for (name, anchor, on, every, expected) in table {
        let cadence = cadence(anchor, on, every);
        assert_eq!(cadence.date(0).unwrap(), day(anchor), "{name}");
        assert_eq!(dates(&cadence, 1, u32::try_from(expected.len()).unwrap()), *expected, "{name}");
    }
}

#[test]
fn neither_a_chain_of_clamps_nor_a_sticky_last_day_comes_out() {
    // V1x: adding a month to a clamped date.
    assert_ne!(dates(&cadence("2027-01-31", "31", "1 month"), 1, 3), ["2027-02-28", "2027-03-28", "2027-04-28"]);
    // V4: taking the last day of a month for "the last day".
    assert_ne!(cadence("2027-02-28", "28", "1 month").date(1).unwrap(), day("2027-03-31"));
    assert_ne!(cadence("2027-04-30", "30", "1 month").date(1).unwrap(), day("2027-05-31"));
    // The other way round: "the last day" never becomes the 28th.
    assert_ne!(cadence("2027-02-28", "last_day", "1 month").date(1).unwrap(), day("2027-03-28"));
}

#[test]
fn four_weeks_are_fourteen_charges_in_2027_and_weeks_53() {
    let count = |cadence: &Cadence| dates(cadence, 0, 60).into_iter().filter(|date| date.starts_with("2027")).count();
    assert_eq!(count(&cadence("2027-01-01", "1", "4 weeks")), 14);
    let fridays = cadence("2027-01-01", "1", "1 week");
    assert_eq!(count(&fridays), 53); // V19
    let long: Vec<u32> = (1..=12)
        .filter(|month| {
            let all = (0..53).map(|k| fridays.date(k).unwrap());
            all.filter(|date| date.month() == *month && date.weekday() == Weekday::Fri).count() == 5
        })
        .collect();
    assert_eq!(long, [1, 4, 7, 10, 12]);
}

#[test]
fn skipped_months_have_no_occurrence_and_no_index() {
    let monthly = cadence_with("2027-01-31", "31", "1 month", IfDayMissing::Skip);
    assert_eq!(
        dates(&monthly, 0, 8),
        [
            "2027-01-31",
            "2027-03-31",
            "2027-05-31",
            "2027-07-31",
            "2027-08-31",
            "2027-10-31",
            "2027-12-31",
            "2028-01-31",
        ]
    );
    let leap = cadence_with("2096-02-29", "29", "1 year", IfDayMissing::Skip);
    assert_eq!(dates(&leap, 0, 3), ["2096-02-29", "2104-02-29", "2108-02-29"]);
    let rare = cadence_with("2000-02-29", "29", "100 years", IfDayMissing::Skip);
    assert_eq!(dates(&rare, 0, 3), ["2000-02-29", "2400-02-29", "2800-02-29"]);
    assert_eq!(
        dates(&cadence_with("2027-02-28", "last_day", "1 month", IfDayMissing::Skip), 0, 2),
        ["2027-02-28", "2027-03-31",]
    );
    assert_eq!(monthly.index_on_or_after(day("2027-02-01")).unwrap(), 1);
    assert_eq!(monthly.index_on_or_after(day("2027-08-01")).unwrap(), 4);
    assert!(matches!(leap.date(100_000), Err(CalendarError::NoOccurrence { .. })));
}

#[test]
fn an_anchor_must_fall_on_its_day() {
    let month = Every::parse("1 month").unwrap();
    let build =
        |anchor: &str, on: &str, missing| Cadence::new(day(anchor), AnchorDay::parse(on).unwrap(), month, missing);
    assert!(build("2027-02-28", "31", IfDayMissing::LastDay).is_ok());
    assert!(build("2028-02-29", "30", IfDayMissing::LastDay).is_ok());
    assert!(build("2027-02-28", "last_day", IfDayMissing::Skip).is_ok());
    for (anchor, on, missing, mend) in [
        ("2027-02-27", "31", IfDayMissing::LastDay, "start on 2027-02-28"),
        ("2028-02-28", "30", IfDayMissing::LastDay, "start on 2028-02-29"),
        ("2027-01-30", "31", IfDayMissing::LastDay, "start on 2027-01-31, or choose day 30"),
        ("2027-02-28", "31", IfDayMissing::Skip, "start in a longer month"),
        ("2027-03-30", "last_day", IfDayMissing::LastDay, "start on 2027-03-31"),
    ] {
        let error = build(anchor, on, missing).unwrap_err().to_string();
        assert!(error.contains(mend) && error.contains(anchor), "{error}");
    }
    // For days and weeks the day of the month means nothing.
    let weekly = Every::parse("1 week").unwrap();
    assert!(Cadence::new(day("2027-01-30"), AnchorDay::Day(31), weekly, IfDayMissing::LastDay).is_ok());
    // A day that no month has cannot be smuggled in past the parser.
    for wrong in [0, 32, 255] {
        assert!(Cadence::new(day("2027-01-31"), AnchorDay::Day(wrong), month, IfDayMissing::LastDay).is_err());
        assert!(
            Cadence::first_on_or_after(day("2027-01-31"), AnchorDay::Day(wrong), month, IfDayMissing::Skip).is_err()
        );
    }
}

#[test]
fn the_first_occurrence_is_the_first_matching_date() {
    for (start, on, every, missing, anchor, next) in [
        ("2027-02-10", "31", "1 month", IfDayMissing::LastDay, "2027-02-28", "2027-03-31"),
        ("2027-02-10", "31", "1 month", IfDayMissing::Skip, "2027-03-31", "2027-05-31"),
        ("2027-01-31", "30", "1 month", IfDayMissing::Skip, "2027-03-30", "2027-04-30"),
        ("2027-01-31", "30", "1 month", IfDayMissing::LastDay, "2027-02-28", "2027-03-30"),
        ("2027-02-28", "last_day", "1 quarter", IfDayMissing::LastDay, "2027-02-28", "2027-05-31"),
        ("2027-02-15", "1", "1 month", IfDayMissing::LastDay, "2027-03-01", "2027-04-01"),
        ("2026-12-31", "15", "1 year", IfDayMissing::LastDay, "2027-01-15", "2028-01-15"),
        ("2027-02-15", "1", "2 weeks", IfDayMissing::LastDay, "2027-02-15", "2027-03-01"),
    ] {
        let every = Every::parse(every).unwrap();
        let cadence = Cadence::first_on_or_after(day(start), AnchorDay::parse(on).unwrap(), every, missing).unwrap();
        assert_eq!((cadence.date(0).unwrap(), cadence.date(1).unwrap()), (day(anchor), day(next)), "{start} {on}");
    }
}

#[test]
fn dates_beyond_the_years_are_errors() {
    assert_eq!(
        Cadence::new(day("1899-12-31"), AnchorDay::Day(31), Every::parse("month").unwrap(), IfDayMissing::LastDay),
        Err(CalendarError::Year { date: day("1899-12-31") })
    );
    let last = cadence("9999-12-31", "31", "1 month");
    assert_eq!(last.date(0).unwrap(), day("9999-12-31"));
    assert_eq!(last.index_on_or_after(day("9999-12-31")).unwrap(), 0);
    assert!(last.date(1).is_err() && last.period(0).is_err() && last.date(u32::MAX).is_err());
    assert!(last.index_on_or_after(NaiveDate::MAX).is_err());
    let slow = cadence("2027-01-31", "31", "1000 years");
    assert_eq!(slow.date(7).unwrap(), day("9027-01-31"));
    assert_eq!(
        slow.date(8).unwrap_err().to_string(),
        "every 1000 years from 2027-01-31 has no occurrence 8 up to the year 9999: ask for an earlier one"
    );
    let daily = cadence("2027-01-31", "31", "1 day");
    assert!(daily.date(u32::MAX).is_err() && daily.period(u32::MAX).is_err());
    let start = day("9999-12-31");
    let month = Every::parse("month").unwrap();
    assert!(Cadence::first_on_or_after(start, AnchorDay::Day(1), month, IfDayMissing::LastDay).is_err());
    for extreme in [NaiveDate::MIN, NaiveDate::MAX] {
        assert!(Cadence::first_on_or_after(extreme, AnchorDay::Day(1), month, IfDayMissing::LastDay).is_err());
        assert!(zone("UTC").instant(extreme, NaiveTime::MIN).is_err());
    }
    for extreme in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        assert!(zone("Asia/Kathmandu").civil(extreme).is_err());
    }
    assert!(zone("America/New_York").instant(day("9999-12-31"), "23:59:59".parse().unwrap()).is_err());
    assert!(zone("UTC").instant(day("2016-12-31"), "23:59:60".parse().unwrap()).is_err()); // a leap second
}

#[test]
fn rhythms_are_read_and_written_in_one_form() {
    for (given, canonical) in [
        ("month", "1 month"),
        ("months", "1 month"),
        ("1 months", "1 month"),
        ("2 week", "2 weeks"),
        ("3 quarters", "3 quarters"),
        ("1000 days", "1000 days"),
        ("year", "1 year"),
    ] {
        assert_eq!(Every::parse(given).unwrap().to_string(), canonical);
    }
    for (given, mend) in [
        ("monthly", "write \"1 month\""),
        ("Month", "write \"1 month\""),
        ("2weeks", "write \"2 weeks\""),
        (" 2  weeks", "write \"2 weeks\""),
        ("biweekly", "write \"2 weeks\""),
        ("annually", "write \"1 year\""),
        ("0 months", "from 1 to 1000"),
        ("1001 days", "from 1 to 1000"),
        ("99999999999999999999 days", "from 1 to 1000"),
        ("-1 month", "such as \"1 month\""),
        ("+1 month", "such as \"1 month\""),
        ("1.5 months", "such as \"1 month\""),
        ("٣ months", "such as \"1 month\""),
        ("every month", "such as \"1 month\""),
        ("1 month 2 days", "such as \"1 month\""),
        ("", "such as \"1 month\""),
        ("s", "such as \"1 month\""),
    ] {
        let error = Every::parse(given).unwrap_err().to_string();
        assert!(error.contains(mend), "{given}: {error}");
    }
    for wrong in ["0", "32", "01", "+1", "-1", "last", "Last_day", "31st", "", "3 1"] {
        assert!(AnchorDay::parse(wrong).is_err(), "{wrong}");
    }
    for word in ["none", "next", "modified_next", "previous"] {
        let parsed = BusinessDays::parse(word).unwrap();
        assert_eq!(parsed.as_str(), word);
        assert_eq!(serde_json::to_string(&parsed).unwrap(), format!("\"{word}\""));
    }
    assert!(BusinessDays::parse("following").unwrap_err().to_string().contains("\"modified_next\""));
    for word in ["last_day", "skip"] {
        assert_eq!(IfDayMissing::parse(word).unwrap().as_str(), word);
    }
    assert!(IfDayMissing::parse("clamp").is_err());
}

/// Governments change their minds about the future: the gaps and overlaps below, except the published vectors, are in
/// the past.
#[test]
fn a_wall_time_means_one_instant() {
    for (name, place, date, time, expected) in [
        ("Z1, gap", "America/New_York", "2027-03-14", "02:30:00", "2027-03-14T07:30:00Z"),
        ("Z2, overlap", "America/New_York", "2026-11-01", "01:30:00", "2026-11-01T05:30:00Z"),
        ("Z13, midnight", "Asia/Kathmandu", "2027-01-31", "00:00:00", "2027-01-30T18:15:00Z"),
        ("Z13, nine", "Asia/Kathmandu", "2027-03-31", "09:00:00", "2027-03-31T03:15:00Z"),
        ("half an hour of gap", "Australia/Lord_Howe", "2026-10-04", "02:15:00", "2026-10-03T15:45:00Z"),
        ("half an hour of overlap", "Australia/Lord_Howe", "2026-04-05", "01:45:00", "2026-04-04T14:45:00Z"),
        ("no midnight in Havana", "America/Havana", "2026-03-08", "00:30:00", "2026-03-08T05:30:00Z"),
        ("no midnight in Cairo", "Africa/Cairo", "2026-04-24", "00:30:00", "2026-04-23T22:30:00Z"),
        ("no midnight in Beirut", "Asia/Beirut", "2026-03-29", "00:30:00", "2026-03-28T22:30:00Z"),
        ("no midnight in Santiago", "America/Santiago", "2026-09-06", "00:30:00", "2026-09-06T04:30:00Z"),
        ("no 30 December 2011 in Apia", "Pacific/Apia", "2011-12-30", "09:00:00", "2011-12-30T19:00:00Z"),
        ("permanent time since 2026", "America/Vancouver", "2026-12-01", "09:00:00", "2026-12-01T16:00:00Z"),
        ("summer time kept over the winter", "America/Havana", "2026-12-01", "09:00:00", "2026-12-01T13:00:00Z"),
        ("before the epoch, with a fraction", "UTC", "1969-12-31", "23:59:59.5", "1969-12-31T23:59:59.5Z"),
    ] {
        assert_eq!(instant(place, date, time), at(expected), "{name}");
    }
}

#[test]
fn wrong_instants_do_not_come_out() {
    let gap = instant("America/New_York", "2027-03-14", "02:30:00");
    assert_ne!(gap, at("2027-03-14T06:30:00Z")); // early
    let overlap = instant("America/New_York", "2026-11-01", "01:30:00");
    assert_ne!(overlap, at("2026-11-01T06:30:00Z")); // second instance
    assert_ne!(instant("America/Vancouver", "2026-12-01", "09:00:00"), at("2026-12-01T17:00:00Z")); // stale data
}

#[test]
fn nine_in_new_york_moves_with_the_clocks() {
    // Z4: 14:00Z in January, February, March and December; 13:00Z from April to November, the 1st of which is still
    // summer time.
    for month in 1..=12 {
        let date = NaiveDate::from_ymd_opt(2027, month, 1).unwrap();
        let hour = if (4..=11).contains(&month) { "13" } else { "14" };
        let expected = at(&format!("{date}T{hour}:00:00Z"));
        assert_eq!(zone("America/New_York").instant(date, "09:00:00".parse().unwrap()).unwrap(), expected);
    }
}

#[test]
fn a_day_is_as_long_as_its_zone_says() {
    for (date, hours) in [("2027-03-14", 23), ("2026-11-01", 25), ("2027-01-15", 24)] {
        let next = day(date).checked_add_days(Days::new(1)).unwrap().to_string();
        let length = instant("America/New_York", &next, "00:00:00").signed_duration_since(instant(
            "America/New_York",
            date,
            "00:00:00",
        ));
        assert_eq!(length.num_hours(), hours, "Z5: {date}");
    }
}

#[test]
fn one_instant_has_three_dates() {
    for (place, date, time, offset) in [
        ("Pacific/Kiritimati", "2027-02-02", "00:30:00", 50_400),
        ("Pacific/Apia", "2027-02-01", "23:30:00", 46_800),
        ("Asia/Kathmandu", "2027-02-01", "16:15:00", 20_700),
        ("America/New_York", "2027-02-01", "05:30:00", -18_000),
        ("Pacific/Pago_Pago", "2027-01-31", "23:30:00", -39_600),
    ] {
        let moment = zone(place).civil(at("2027-02-01T10:30:00Z")).unwrap(); // Z16
        let expected = (day(date), time.parse().unwrap(), offset);
        assert_eq!((moment.date, moment.time, moment.offset_seconds), expected, "{place}");
    }
    let moment = zone("America/New_York").civil(at("2027-07-01T12:00:00.25Z")).unwrap();
    assert_eq!((moment.abbreviation.as_str(), moment.time.to_string().as_str()), ("EDT", "08:00:00.250"));
}

#[test]
fn links_mean_the_same_instants_and_keep_their_names() {
    for (old, new) in [
        ("Europe/Kiev", "Europe/Kyiv"),
        ("Asia/Rangoon", "Asia/Yangon"),
        ("America/Godthab", "America/Nuuk"),
        ("US/Eastern", "America/New_York"),
    ] {
        for date in ["2026-07-01", "2027-01-01", "2027-03-28", "2030-10-27"] {
            assert_eq!(instant(old, date, "02:30:00"), instant(new, date, "02:30:00"), "Z19: {old}");
        }
        assert_eq!(zone(old).name(), old);
        assert_ne!(zone(old), zone(new));
        let json = serde_json::to_string(&zone(old)).unwrap();
        assert_eq!(json, format!("\"{old}\""));
        assert_eq!(serde_json::from_str::<Zone>(&json).unwrap(), zone(old));
    }
}

#[test]
fn what_is_no_zone_is_refused_with_a_mend() {
    for (given, mend) in [
        ("america/new_york", "did you mean America/New_York?"),
        ("America/New York", "did you mean America/New_York?"),
        (" America/New_York", "did you mean America/New_York?"),
        ("Chicago", "did you mean America/Chicago?"),
        ("utc", "did you mean UTC?"),
        ("MSK", "write its IANA name"),
        ("PDT", "write America/Los_Angeles"),
        ("CST", "write America/Chicago"),
        ("US Central", "write America/Chicago"),
        ("GMT-6", "fixed offset"),
        ("GMT+1", "fixed offset"),
        ("", "write its IANA name"),
        ("Etc/Unknown", "zone"),
        ("+05:00", "fixed offset"),
        ("-0500", "fixed offset"),
        ("UTC+5", "fixed offset"),
        ("GMT-03:00", "fixed offset"),
        ("America/Port-au-Prince2", "write its IANA name"),
    ] {
        let error = Zone::parse(given).unwrap_err().to_string();
        assert!(error.contains(mend), "{given}: {error}");
    }
    assert!(serde_json::from_str::<Zone>("\"+05:00\"").is_err());
}

#[test]
fn the_databases_are_compared() {
    assert!(tz_version() >= "2026e", "{}", tz_version());
    let zones = [zone("America/New_York"), zone("America/Vancouver"), zone("Asia/Kathmandu"), zone("Europe/London")];
    let found = zone_disagreements(&zones, 2026, 2029);
    let [vancouver] = found.as_slice() else { unreachable!("{found:?}") };
    assert_eq!((vancouver.zone.name(), vancouver.first_date), ("America/Vancouver", day("2026-11-01")));
    assert_eq!(vancouver.bundled, at("2026-11-01T16:00:00Z"));
    assert_eq!(vancouver.second_opinion, at("2026-11-01T17:00:00Z"));
    // A day that never was is read in the same way by both.
    assert_eq!(zone_disagreements(&[zone("Pacific/Apia")], 2011, 2012), []);
    assert_eq!(zone_disagreements(&zones, 2029, 2026), []);
    assert_eq!(zone_disagreements(&[zone("Asia/Kathmandu")], i32::MIN, 1970), []);
}

const HOLIDAYS: [&str; 29] = [
    "2026-01-01",
    "2026-01-19",
    "2026-02-16",
    "2026-05-25",
    "2026-06-19",
    "2026-09-07",
    "2026-10-12",
    "2026-11-11",
    "2026-11-26",
    "2026-12-25", //
    "2027-01-01",
    "2027-01-18",
    "2027-02-15",
    "2027-05-31",
    "2027-07-05",
    "2027-09-06",
    "2027-10-11",
    "2027-11-11",
    "2027-11-25", //
    "2028-01-17",
    "2028-02-21",
    "2028-05-29",
    "2028-06-19",
    "2028-07-04",
    "2028-09-04",
    "2028-10-09",
    "2028-11-23",
    "2028-12-25", //
    "2029-01-01",
];

#[test]
fn the_reserve_banks_close_on_the_listed_days_and_no_other() {
    let calendar = HolidayCalendar::UsFederalReserve;
    let found: Vec<String> = day("2026-01-01")
        .iter_days()
        .take_while(|date| *date <= day("2029-01-01"))
        .filter(|date| calendar.holiday(*date).unwrap().is_some())
        .map(|date| date.to_string())
        .collect();
    assert_eq!(found, HOLIDAYS);
}

#[test]
fn a_saturday_holiday_leaves_friday_open_and_a_sunday_one_closes_monday() {
    let calendar = HolidayCalendar::UsFederalReserve;
    for open in ["2026-07-03", "2027-06-18", "2027-12-24", "2027-12-31", "2028-11-10"] {
        assert!(calendar.is_business_day(day(open)).unwrap(), "{open}");
    }
    assert_eq!(calendar.holiday(day("2027-07-04")).unwrap(), None);
    assert_eq!(calendar.holiday(day("2027-07-05")).unwrap(), Some("Independence Day (observed)"));
    assert_eq!(calendar.holiday(day("2027-11-25")).unwrap(), Some("Thanksgiving Day"));
    // Juneteenth: not before 2022, and first on Monday 20 June 2022.
    for open in ["2019-06-19", "2020-06-19", "2021-06-18", "2021-06-21"] {
        assert!(calendar.is_business_day(day(open)).unwrap(), "{open}");
    }
    assert_eq!(calendar.holiday(day("2022-06-20")).unwrap(), Some("Juneteenth National Independence Day (observed)"));
}

#[test]
fn a_holiday_outside_the_known_range_is_an_error() {
    let calendar = HolidayCalendar::UsFederalReserve;
    assert_eq!((calendar.valid_from(), calendar.valid_to()), (day("1990-01-01"), day("2099-12-31")));
    assert!(calendar.holiday(day("1990-01-01")).is_ok() && calendar.is_business_day(day("2099-12-31")).is_ok());
    for outside in [day("1989-12-31"), day("2100-01-01"), NaiveDate::MIN, NaiveDate::MAX] {
        assert!(matches!(calendar.holiday(outside), Err(CalendarError::HolidayRange { .. })));
        assert!(calendar.is_business_day(outside).is_err());
        assert!(calendar.roll(outside, BusinessDays::Next).is_err());
        assert!(calendar.add_business_days(outside, 0).is_err());
        assert_eq!(calendar.roll(outside, BusinessDays::None), Ok(outside));
    }
    // New Year's Day 1990 is a Monday holiday: the business day before it is not known.
    assert!(calendar.roll(day("1990-01-01"), BusinessDays::Previous).is_err());
    assert!(calendar.add_business_days(day("2099-12-30"), u32::MAX).is_err());
    assert!(calendar.subtract_business_days(day("1990-01-10"), u32::MAX).is_err());
    assert_eq!(
        calendar.holiday(day("2100-01-01")).unwrap_err().to_string(),
        "2100-01-01 is outside the holiday calendar us-federal-reserve, which is known from 1990-01-01 to 2099-12-31: \
         choose a date within it"
    );
}

#[test]
fn calendars_have_names_and_versions() {
    for name in ["us-federal-reserve", "us-federal"] {
        let calendar = HolidayCalendar::parse(name).unwrap();
        assert_eq!(calendar.as_str(), "us-federal-reserve");
        assert_eq!(calendar.version(), "us-federal-reserve/2022-06");
        assert_eq!(serde_json::to_string(&calendar).unwrap(), "\"us-federal-reserve\"");
    }
    assert!(HolidayCalendar::parse("nyse").unwrap_err().to_string().contains("write \"us-federal-reserve\""));
}

#[test]
fn closed_days_roll_as_asked() {
    let calendar = HolidayCalendar::UsFederalReserve;
    for (name, date, next, modified, previous) in [
        ("B1", "2026-07-03", "2026-07-03", "2026-07-03", "2026-07-03"),
        ("B4", "2027-01-31", "2027-02-01", "2027-01-29", "2027-01-29"),
        ("B6", "2027-05-31", "2027-06-01", "2027-05-28", "2027-05-28"),
        ("B10", "2026-11-26", "2026-11-27", "2026-11-27", "2026-11-25"),
        ("B11", "2026-12-25", "2026-12-28", "2026-12-28", "2026-12-24"),
        ("B12", "2027-01-01", "2027-01-04", "2027-01-04", "2026-12-31"),
    ] {
        let roll = |roll| calendar.roll(day(date), roll).unwrap();
        assert_eq!(roll(BusinessDays::None), day(date), "{name}");
        assert_eq!(roll(BusinessDays::Next), day(next), "{name}");
        assert_eq!(roll(BusinessDays::ModifiedNext), day(modified), "{name}");
        assert_eq!(roll(BusinessDays::Previous), day(previous), "{name}");
    }
}

#[test]
fn business_days_are_counted_past_closed_ones() {
    let calendar = HolidayCalendar::UsFederalReserve;
    let settled = |n| calendar.add_business_days(day("2026-11-25"), n).unwrap().to_string();
    assert_eq!(
        [settled(0), settled(1), settled(2), settled(3)],
        ["2026-11-25", "2026-11-27", "2026-11-30", "2026-12-01"]
    ); // B15
    assert_eq!(calendar.subtract_business_days(day("2027-03-11"), 3).unwrap(), day("2027-03-08")); // B18
    assert_eq!(calendar.subtract_business_days(day("2026-11-27"), 1).unwrap(), day("2026-11-25"));
}

fn rolled(cadence: Cadence, business_days: BusinessDays) -> Schedule {
    let six = NaiveTime::from_hms_opt(6, 0, 0).unwrap();
    let calendar = Some(HolidayCalendar::UsFederalReserve);
    Schedule::new(cadence, six, zone("America/New_York"), business_days, calendar).unwrap()
}

#[test]
fn a_roll_moves_the_submission_and_nothing_else() {
    let schedule = rolled(cadence("2027-01-31", "31", "1 month"), BusinessDays::Next);
    let json = serde_json::to_string(&schedule.occurrence(1).unwrap()).unwrap();
    assert_eq!(json, r#"{"index":1,"date":"2027-02-28","submit_on":"2027-03-01","charge_at":"2027-03-01T11:00:00Z"}"#);
    let shown: Vec<(u32, String, String)> = schedule
        .preview(4)
        .unwrap()
        .into_iter()
        .map(|it: Occurrence| (it.index, it.date.to_string(), it.submit_on.to_string()))
        .collect();
    let expected = [
        (0, "2027-01-31", "2027-02-01"),
        (1, "2027-02-28", "2027-03-01"),
        (2, "2027-03-31", "2027-03-31"),
        (3, "2027-04-30", "2027-04-30"),
    ];
    assert_eq!(shown, expected.map(|(index, date, submit)| (index, date.to_owned(), submit.to_owned())));
    let earlier = rolled(cadence("2027-01-31", "31", "1 month"), BusinessDays::ModifiedNext).occurrence(0).unwrap();
    assert_eq!((earlier.date, earlier.submit_on), (day("2027-01-31"), day("2027-01-29")));
    assert_eq!(earlier.charge_at, at("2027-01-29T11:00:00Z"));
}

#[test]
fn two_occurrences_on_one_bank_day_stay_two() {
    // B20: weekly on Saturday, and monthly on the 1st, which is a Saturday too; and daily over a weekend.
    let weekly = rolled(cadence("2027-04-24", "1", "1 week"), BusinessDays::Next).occurrence(1).unwrap();
    let monthly = rolled(cadence("2027-04-01", "1", "1 month"), BusinessDays::Next).occurrence(1).unwrap();
    assert_eq!((weekly.submit_on, monthly.submit_on), (day("2027-05-03"), day("2027-05-03")));
    let daily = rolled(cadence("2027-05-01", "1", "1 day"), BusinessDays::Next).preview(3).unwrap();
    assert!(daily.iter().all(|it| it.submit_on == day("2027-05-03")));
    assert_eq!(daily.iter().map(|it| it.index).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_schedule_whose_parts_do_not_fit_is_refused() {
    let monthly = cadence("2027-01-31", "31", "1 month");
    let build = |time: &str, roll, calendar| {
        Schedule::new(monthly, time.parse().unwrap(), zone("America/New_York"), roll, calendar).map(|_| ())
    };
    assert_eq!(build("06:00:00", BusinessDays::Next, None), Err(CalendarError::NoCalendar { roll: "next" }));
    assert!(matches!(build("06:00:00.5", BusinessDays::None, None), Err(CalendarError::FinerThanSecond { .. })));
    assert_eq!(build("06:00:00", BusinessDays::None, None), Ok(()));
    // A preview past the calendar's range is refused as a whole.
    let late = rolled(cadence("2099-11-30", "30", "1 month"), BusinessDays::Next);
    assert!(late.preview(2).is_ok() && late.preview(3).is_err());
    assert_eq!(late.preview(0), Ok(Vec::new()));
}

#[test]
fn money_is_split_to_the_last_cent_and_yen_stay_yen() {
    let hundred = Money::parse("100.00", Currency::USD).unwrap();
    let thirds: Vec<String> = hundred.split(NonZeroU32::new(3).unwrap()).into_iter().map(Money::plain).collect();
    assert_eq!(thirds, ["33.34", "33.33", "33.33"]); // N4
    let yen = Money::parse("80", Currency::parse("JPY").unwrap()).unwrap();
    assert_eq!((yen.minor(), yen.to_string().as_str()), (80, "JPY 80")); // N5
    assert_ne!(yen.minor(), 8_000);
}
