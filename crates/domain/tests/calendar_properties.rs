//! What must hold for every anchor, rhythm and zone, against a reference that walks over the calendar day by day.
#![expect(clippy::unwrap_used, reason = "a property whose own premise fails should stop")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc, Weekday};
use domain::cadence::{AnchorDay, Cadence, DayTable, Every, IfDayMissing, Schedule, Unit};
use domain::calendar::{BusinessDays, Zone};
use domain::holidays::HolidayCalendar;
use domain::money::{Currency, Money};
use proptest::prelude::*;

/// Gaps and overlaps of an hour, of half an hour, at midnight; abolished and permanent ones; a day that was dropped;
/// odd offsets.
const ZONES: [&str; 18] = [
    "America/New_York",
    "America/Vancouver",
    "America/Edmonton",
    "America/Havana",
    "America/Santiago",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Europe/Kiev",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
];

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// Days or months of a rhythm, written out again.
fn reference_stride(every: Every) -> (bool, u32) {
    let each = match every.unit() {
        Unit::Day | Unit::Month => 1,
        Unit::Week => 7,
        Unit::Quarter => 3,
        Unit::Year => 12,
    };
    (matches!(every.unit(), Unit::Day | Unit::Week), every.n().saturating_mul(each))
}

/// The occurrences up to `end`, by looking at every day from the anchor on: no month arithmetic, only "tomorrow".
fn reference(cadence: &Cadence, end: NaiveDate) -> Vec<NaiveDate> {
    let (by_days, stride) = reference_stride(cadence.every());
    let mut found = Vec::new();
    let mut today = cadence.anchor();
    let (mut days, mut months) = (0_u32, 0_u32);
    while today <= end {
        let tomorrow = today.succ_opt().unwrap();
        let ends = tomorrow.month() != today.month();
        let occurs = if by_days {
            days == 0
        } else {
            months == 0
                && match cadence.day() {
                    AnchorDay::LastDay => ends,
                    AnchorDay::Day(wanted) => {
                        let own = today.day() == u32::from(wanted);
                        let short = ends && today.day() < u32::from(wanted);
                        own || (short && cadence.if_day_missing() == IfDayMissing::LastDay)
                    }
                }
        };
        if occurs {
            found.push(today);
        }
        days = days.saturating_add(1).checked_rem(stride).unwrap();
        if ends {
            months = months.saturating_add(1).checked_rem(stride).unwrap();
        }
        today = tomorrow;
    }
    found
}

fn any_date() -> impl Strategy<Value = NaiveDate> {
    // 1900-01-01 to 2100-12-31; the walks go up to 400 years further.
    (693_596_i32..=767_009).prop_map(|number| NaiveDate::from_num_days_from_ce_opt(number).unwrap())
}

fn any_day() -> impl Strategy<Value = AnchorDay> {
    prop_oneof![
        3 => (1_u8..=31).prop_map(AnchorDay::Day),
        3 => (28_u8..=31).prop_map(AnchorDay::Day),
        1 => Just(AnchorDay::LastDay),
    ]
}

fn any_every() -> impl Strategy<Value = Every> {
    let unit = prop_oneof![Just(Unit::Day), Just(Unit::Week), Just(Unit::Month), Just(Unit::Quarter), Just(Unit::Year)];
    (prop_oneof![4 => 1_u32..=6, 1 => 7_u32..=60, 1 => 61_u32..=1000], unit)
        .prop_map(|(n, unit)| Every::new(n, unit).unwrap())
}

fn any_missing() -> impl Strategy<Value = IfDayMissing> {
    prop_oneof![2 => Just(IfDayMissing::LastDay), 1 => Just(IfDayMissing::Skip)]
}

fn any_cadence() -> impl Strategy<Value = Cadence> {
    (any_date(), any_day(), any_every(), any_missing())
        .prop_map(|(start, day, every, missing)| Cadence::first_on_or_after(start, day, every, missing).unwrap())
}

/// Any zone that both databases know.
fn any_zone() -> impl Strategy<Value = Zone> {
    let known: Vec<Zone> = chrono_tz::TZ_VARIANTS.iter().filter_map(|zone| Zone::parse(zone.name()).ok()).collect();
    prop::sample::select(known)
}

fn any_roll() -> impl Strategy<Value = BusinessDays> {
    prop::sample::select(vec![
        BusinessDays::None,
        BusinessDays::Next,
        BusinessDays::ModifiedNext,
        BusinessDays::Previous,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_date_over_400_years_is_the_reference_s(cadence in any_cadence()) {
        let end = cadence.anchor().with_day(1).unwrap().with_year(cadence.anchor().year().saturating_add(400)).unwrap();
        let expected = reference(&cadence, end);
        prop_assert_eq!(expected.first(), Some(&cadence.anchor()));
        // A skipping cadence walks to each date: a preview walks once, and is compared as a whole below.
        let most = if cadence.if_day_missing() == IfDayMissing::Skip { 300 } else { usize::MAX };
        for (k, date) in (0_u32..).zip(expected.iter().take(most)) {
            prop_assert_eq!(cadence.date(k).unwrap(), *date);
        }
        let count = u32::try_from(expected.len()).unwrap();
        let time = NaiveTime::from_hms_opt(12, 0, 0).unwrap();
        let schedule = Schedule::new(cadence, time, Zone::parse("UTC").unwrap(), BusinessDays::None, None).unwrap();
        let shown = schedule.preview(count).unwrap();
        prop_assert_eq!(shown.iter().map(|it| it.date).collect::<Vec<_>>(), expected);
        prop_assert!(shown.iter().zip(0_u32..).all(|(it, k)| it.index == k && it.submit_on == it.date));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn occurrences_increase_and_periods_tile(cadence in any_cadence(), k in 0_u32..400) {
        let Ok((start, end)) = cadence.period(k) else {
            // Only a slow rhythm may run out of years.
            prop_assert!(cadence.every().n() > 6);
            return Ok(());
        };
        prop_assert!(start < end);
        if let Ok((next, _)) = cadence.period(k.saturating_add(1)) {
            prop_assert_eq!(end, next);
        }
    }

    #[test]
    fn the_anchor_never_drifts(cadence in any_cadence(), k in 0_u32..5000) {
        let (by_days, _) = reference_stride(cadence.every());
        let Ok(date) = cadence.date(k) else { return Ok(()) };
        if by_days {
            return Ok(());
        }
        let ends = date.succ_opt().unwrap().day() == 1;
        match cadence.day() {
            AnchorDay::LastDay => prop_assert!(ends),
            AnchorDay::Day(day) => {
                let short = cadence.if_day_missing() == IfDayMissing::LastDay && ends && date.day() < u32::from(day);
                prop_assert!(date.day() == u32::from(day) || short, "{}", date);
            }
        }
    }

    #[test]
    fn the_index_on_or_after_is_the_inverse(cadence in any_cadence(), k in 0_u32..2000, back in 0_u64..4000) {
        let Ok(date) = cadence.date(k) else { return Ok(()) };
        prop_assert_eq!(cadence.index_on_or_after(date).unwrap(), k);
        // From the day after the one before up to the date itself, the answer is k.
        if let Some(before) = k.checked_sub(1) {
            let first = cadence.date(before).unwrap().succ_opt().unwrap();
            prop_assert_eq!(cadence.index_on_or_after(first).unwrap(), k);
        }
        let any = date.checked_sub_days(Days::new(back)).unwrap();
        let found = cadence.index_on_or_after(any).unwrap();
        prop_assert!(cadence.date(found).unwrap() >= any);
        prop_assert!(found == 0 || cadence.date(found.saturating_sub(1)).unwrap() < any);
    }

    #[test]
    fn occurrence_0_is_the_first_matching_date(
        start in any_date(), day in any_day(), every in any_every(), missing in any_missing(),
    ) {
        let cadence = Cadence::first_on_or_after(start, day, every, missing).unwrap();
        prop_assert!(cadence.anchor() >= start);
        prop_assert_eq!(Cadence::new(cadence.anchor(), day, every, missing), Ok(cadence));
        let between = start.iter_days().take_while(|date| *date < cadence.anchor());
        for earlier in between {
            prop_assert!(Cadence::new(earlier, day, every, missing).is_err(), "{}", earlier);
        }
    }

    #[test]
    fn a_table_of_days_knows_what_the_calendar_says(
        zone in any_zone(), minute in 0_u32..1440, roll in any_roll(),
        first in any_cadence(), second in any_cadence(), steps in prop::collection::vec((0_u32..400, any::<bool>()), 1..40),
    ) {
        let time = NaiveTime::from_num_seconds_from_midnight_opt(minute.saturating_mul(60), 0).unwrap();
        let calendar = (roll != BusinessDays::None).then_some(HolidayCalendar::UsFederalReserve);
        let of = |cadence| Schedule::new(cadence, time, zone.clone(), roll, calendar).unwrap();
        let (first, second) = (of(first), of(second));
        // Two cadences take turns at one table, and at its places.
        let days = DayTable::of(&first);
        for (k, one) in steps.iter().chain(&steps) {
            let schedule = if *one { &first } else { &second };
            prop_assert_eq!(schedule.occurrence_by(&days, *k), schedule.occurrence(*k));
        }
    }

    #[test]
    fn an_instant_shows_the_wall_time_or_the_first_after_a_gap(
        name in prop::sample::select(ZONES.to_vec()), date in any_date(), minute in 0_u32..1440,
    ) {
        let zone = Zone::parse(name).unwrap();
        let time = NaiveTime::from_num_seconds_from_midnight_opt(minute.saturating_mul(60), 0).unwrap();
        let at = zone.instant(date, time).unwrap();
        let shown = zone.civil(at).unwrap();
        let moved = shown.date.and_time(shown.time).signed_duration_since(date.and_time(time));
        // In a gap the clocks show a later time, by the length of the gap; otherwise exactly the one that was asked
        // for.
        prop_assert!(moved >= TimeDelta::zero(), "{} {} {}: {:?}", name, date, time, shown);
        if moved > TimeDelta::zero() {
            let before = zone.civil(at.checked_sub_signed(TimeDelta::days(1)).unwrap()).unwrap();
            let jump = i64::from(shown.offset_seconds).saturating_sub(i64::from(before.offset_seconds));
            prop_assert_eq!(moved.num_seconds(), jump);
        }
        // Of two instants with this wall time, the first: an offset's difference earlier the clocks show something
        // else.
        for earlier in [20, 30, 40, 60, 90, 120, 180] {
            let other = zone.civil(at.checked_sub_signed(TimeDelta::minutes(earlier)).unwrap()).unwrap();
            prop_assert!((other.date, other.time) != (date, time), "{} {} {}", name, date, time);
        }
    }

    #[test]
    fn parts_add_up_and_differ_by_one_at_most(minor in any::<i64>(), parts in 1_u32..200) {
        let whole = Money::new(minor, Currency::USD);
        let split = whole.split(NonZeroU32::new(parts).unwrap());
        prop_assert_eq!(split.len(), usize::try_from(parts).unwrap());
        let sum = split.iter().try_fold(Money::new(0, Currency::USD), |sum, part| sum.checked_add(*part)).unwrap();
        prop_assert_eq!(sum, whole);
        let sizes: Vec<u64> = split.iter().map(|part| part.minor().unsigned_abs()).collect();
        prop_assert!(sizes.is_sorted_by(|left, right| left >= right));
        let (first, last) = (sizes.first().unwrap(), sizes.last().unwrap());
        prop_assert!(first.checked_sub(*last).unwrap() <= 1);
    }

    #[test]
    fn written_amounts_are_read_back(minor in 0_i64.., code in prop::sample::select(vec!["USD", "JPY", "KWD", "CLF"])) {
        let currency = Currency::parse(code).unwrap();
        let money = Money::new(minor, currency);
        prop_assert_eq!(Money::parse(&money.plain(), currency).unwrap(), money);
        prop_assert_eq!(money.to_string().replace(',', ""), format!("{code} {}", money.plain()));
    }

    #[test]
    fn no_text_makes_a_parser_fall_over(text in "\\PC{0,80}") {
        let _ = (Money::parse(&text, Currency::USD), Currency::parse(&text), Zone::parse(&text), Every::parse(&text));
        let _ = (AnchorDay::parse(&text), IfDayMissing::parse(&text));
        let _ = (BusinessDays::parse(&text), HolidayCalendar::parse(&text));
    }
}

/// Each quarter of an hour from 00:00 to 06:00: they meet every gap and overlap of these zones.
fn times() -> impl Iterator<Item = NaiveTime> {
    (0_u32..=24).map(|quarter| NaiveTime::from_num_seconds_from_midnight_opt(quarter.saturating_mul(900), 0).unwrap())
}

#[test]
fn a_daily_schedule_has_one_instant_a_day_strictly_later_than_the_last() {
    let start = day("2024-01-01");
    let daily =
        Cadence::new(start, AnchorDay::of(start), Every::parse("1 day").unwrap(), IfDayMissing::LastDay).unwrap();
    for name in ZONES {
        for time in times() {
            let zone = Zone::parse(name).unwrap();
            let schedule = Schedule::new(daily, time, zone.clone(), BusinessDays::None, None).unwrap();
            let instants: Vec<DateTime<Utc>> = schedule.preview(1600).unwrap().iter().map(|it| it.charge_at).collect();
            assert_eq!(instants.len(), 1600);
            for pair in instants.windows(2) {
                let [earlier, later] = pair else { unreachable!() };
                let minutes = later.signed_duration_since(*earlier).num_minutes();
                assert!((22 * 60..=26 * 60).contains(&minutes), "{name} {time}: {earlier} then {later}");
            }
        }
    }
}

/// Instants are found here by watching the clocks of a zone for a year, a quarter of an hour at a time, without
/// ever converting a wall time: the first instant at which the clocks show it, or, if they never do, as long after
/// the last earlier wall time.
#[test]
fn every_wall_time_of_a_year_is_the_instant_the_clocks_show_it_first() {
    let quarter = TimeDelta::minutes(15);
    for name in ZONES {
        let zone = Zone::parse(name).unwrap();
        let mut first_shown: BTreeMap<NaiveDateTime, DateTime<Utc>> = BTreeMap::new();
        let mut at = day("2025-12-30").and_time(NaiveTime::MIN).and_utc();
        while at.date_naive() < day("2027-01-03") {
            let shown = zone.civil(at).unwrap();
            first_shown.entry(shown.date.and_time(shown.time)).or_insert(at);
            at = at.checked_add_signed(quarter).unwrap();
        }
        let mut wall = day("2026-01-01").and_time(NaiveTime::MIN);
        let (mut gaps, mut walls) = (0, 0);
        while wall.date() < day("2027-01-01") {
            let (earlier, seen) = first_shown.range(..=wall).next_back().unwrap();
            let expected = seen.checked_add_signed(wall.signed_duration_since(*earlier)).unwrap();
            assert_eq!(zone.instant(wall.date(), wall.time()).unwrap(), expected, "{name} {wall}");
            gaps += i32::from(*earlier != wall);
            walls += 1;
            wall = wall.checked_add_signed(quarter).unwrap();
        }
        assert_eq!(walls, 365 * 96);
        // The clocks of these never jump; all others do in that year.
        let steady = ["America/Sao_Paulo", "Asia/Kathmandu", "Asia/Tehran", "Pacific/Apia", "UTC"];
        assert_eq!(gaps == 0, steady.contains(&name), "{name}");
    }
}

#[test]
fn a_dropped_day_is_charged_with_the_next_and_never_before() {
    let start = day("2011-12-29");
    let daily =
        Cadence::new(start, AnchorDay::of(start), Every::parse("1 day").unwrap(), IfDayMissing::LastDay).unwrap();
    let nine = NaiveTime::from_hms_opt(9, 0, 0).unwrap();
    let schedule = Schedule::new(daily, nine, Zone::parse("Pacific/Apia").unwrap(), BusinessDays::None, None).unwrap();
    let instants: Vec<String> = schedule.preview(4).unwrap().iter().map(|it| it.charge_at.to_string()).collect();
    // The clocks went from 29 to 31 December: the 30th and the 31st are one instant, with two indexes.
    assert_eq!(
        instants,
        ["2011-12-29 19:00:00 UTC", "2011-12-30 19:00:00 UTC", "2011-12-30 19:00:00 UTC", "2011-12-31 19:00:00 UTC"]
    );
}

/// The holidays of one year, from a second set of formulas: days counted from the first of a month.
fn reference_holidays(year: i32) -> Vec<NaiveDate> {
    let on = |month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap();
    let from = |first: NaiveDate, weekday: Weekday| first.iter_days().find(|date| date.weekday() == weekday).unwrap();
    let mut all = vec![
        from(on(1, 15), Weekday::Mon),
        from(on(2, 15), Weekday::Mon),
        from(on(5, 25), Weekday::Mon),
        from(on(9, 1), Weekday::Mon),
        from(on(10, 8), Weekday::Mon),
        from(on(11, 22), Weekday::Thu),
    ];
    for (month, number, since) in [(1, 1, 0), (6, 19, 2022), (7, 4, 0), (11, 11, 0), (12, 25, 0)] {
        let date = on(month, number);
        match date.weekday() {
            Weekday::Sat => {}
            Weekday::Sun if year >= since => all.push(date.succ_opt().unwrap()),
            Weekday::Mon | Weekday::Tue | Weekday::Wed | Weekday::Thu | Weekday::Fri if year >= since => all.push(date),
            Weekday::Sun | Weekday::Mon | Weekday::Tue | Weekday::Wed | Weekday::Thu | Weekday::Fri => {}
        }
    }
    all.sort();
    all
}

#[test]
fn holidays_are_the_reference_s_in_every_known_year() {
    let calendar = HolidayCalendar::UsFederalReserve;
    for year in 1990..=2099 {
        let first = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
        let kept: Vec<NaiveDate> = first
            .iter_days()
            .take_while(|date| date.year() == year)
            .filter(|date| calendar.holiday(*date).unwrap().is_some())
            .collect();
        assert_eq!(kept, reference_holidays(year));
    }
}

#[test]
fn rolls_land_on_business_days_and_adding_undoes_subtracting() {
    let calendar = HolidayCalendar::UsFederalReserve;
    for date in day("2026-01-01").iter_days().take(1200) {
        let next = calendar.roll(date, BusinessDays::Next).unwrap();
        let previous = calendar.roll(date, BusinessDays::Previous).unwrap();
        let modified = calendar.roll(date, BusinessDays::ModifiedNext).unwrap();
        assert!(previous <= date && date <= next);
        assert!(calendar.is_business_day(next).unwrap() && calendar.is_business_day(previous).unwrap());
        assert_eq!(modified, if next.month() == date.month() { next } else { previous });
        assert_eq!(modified.month(), date.month());
        assert!(next.signed_duration_since(date).num_days() <= 4);
        let open = calendar.is_business_day(date).unwrap();
        assert_eq!(open, next == date && previous == date);
        if open {
            let later = calendar.add_business_days(date, 7).unwrap();
            assert_eq!(calendar.subtract_business_days(later, 7).unwrap(), date);
        }
    }
}
