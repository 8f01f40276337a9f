//! What a plan in force may say and a file may say no more: it was taken once, and what has charged by it goes on.

use chrono::{Days, NaiveDate};

use super::{Mistake, OnDay, Plan, PlanSpec, ScheduleSpec, civil_date, days, on_day};
use crate::cadence::{AnchorDay, Cadence, Every, IfDayMissing, MOST_UNITS, Unit};
use crate::calendar::Zone;
use crate::term::{CatchUp, Term};

/// Days of a start in every year and of every length: four years, one of them a leap year.
const STARTS: u64 = 1_461;

impl Plan {
    /// What a plan in force may say and a file may say no more, if a plan as written says it: a rule that forgives missed parts of
    /// a total, which nobody decided about; a free period as long as the term; a rhythm that no forecast sees twice; an abbreviation as the time zone.
    #[must_use]
    pub fn outdated(spec: &PlanSpec) -> Vec<Mistake> {
        let schedule = &spec.schedule;
        let found =
            [forgives_parts(spec), never_charges(schedule), is_beyond_sense(schedule), is_abbreviated(schedule)];
        found.into_iter().flatten().collect()
    }
}

fn forgives_parts(spec: &PlanSpec) -> Option<Mistake> {
    let word = spec.schedule.catch_up.as_deref().filter(|_| spec.kind == "installments")?;
    match CatchUp::parse(word).ok()? {
        CatchUp::Latest | CatchUp::Forgive => Some(Mistake {
            field: "schedule.catch_up".to_owned(),
            value: word.to_owned(),
            message: "does not go with installments, of which each is owed whenever it is charged: write \"all\", or \"ask\" to let a \
                      person decide"
                .to_owned(),
        }),
        CatchUp::All | CatchUp::Ask => None,
    }
}

/// The term is over before the first charge, whatever day a subscription starts on: every row of a roster would be refused. A number
/// of cycles is counted from the first charge on, and no free period uses one up.
fn never_charges(schedule: &ScheduleSpec) -> Option<Mistake> {
    let (free_text, term_text) = (schedule.free_first.as_deref()?, schedule.term.as_deref()?);
    let (free, term) = (days("free period", free_text).ok()?, Every::parse(term_text).ok()?);
    let every = Every::parse(&schedule.every).ok()?;
    let day = schedule.on_day.as_deref().map_or(Ok(OnDay::EnrollmentDay), on_day).ok()?;
    let missing = schedule.if_day_missing.as_deref().map_or(Ok(IfDayMissing::LastDay), IfDayMissing::parse).ok()?;
    let starts = civil_date("2027-01-01").ok()?;
    let charges = |start: NaiveDate, free: u16| {
        let first = start.checked_add_days(Days::new(u64::from(free)))?;
        let day = match day {
            OnDay::EnrollmentDay => AnchorDay::of(start),
            OnDay::Fixed(day) => day,
        };
        let date = Cadence::first_on_or_after(first, day, every, missing).ok()?.anchor();
        Some(!Term::Time(term).is_over(start, 0, date))
    };
    let ever = |free: u16| {
        let mut all = (0..STARTS).filter_map(|later| starts.checked_add_days(Days::new(later)));
        all.any(|start| charges(start, free).unwrap_or(true))
    };
    if ever(free) {
        return None;
    }
    // A shorter free period never charges later: halving finds the longest that does.
    let (mut enough, mut too_much) = (0_u16, free);
    while too_much.saturating_sub(enough) > 1 {
        let middle = enough.midpoint(too_much);
        if ever(middle) { enough = middle } else { too_much = middle }
    }
    let mend = match enough {
        0 => "remove it".to_owned(),
        1 => "write \"1 day\"".to_owned(),
        days => format!("write \"{days} days\" or less"),
    };
    Some(Mistake {
        field: "schedule.free_first".to_owned(),
        value: free_text.to_owned(),
        message: format!(
            "is not shorter than the term of {term}, so that every subscription would end before its first charge: {mend}, or write a \
             longer term"
        ),
    })
}

/// The longest rhythm in a unit: ten years. A cadence can count a thousand of any unit, a thousand years among them, but no forecast looks
/// further ahead than ten years, and whoever writes a longer rhythm would be shown one charge of it at most: nobody could see before it
/// happens what the plan does. A thousand days, the most there are, are less than three years.
const fn longest(unit: Unit) -> u32 {
    match unit {
        Unit::Day => MOST_UNITS,
        Unit::Week => 521,
        Unit::Month => 120,
        Unit::Quarter => 40,
        Unit::Year => 10,
    }
}

fn is_beyond_sense(schedule: &ScheduleSpec) -> Option<Mistake> {
    let every = Every::parse(&schedule.every).ok()?;
    let most = Every::new(longest(every.unit()), every.unit()).ok().filter(|most| most.n() < every.n())?;
    let message = format!(
        "is a rhythm of more than ten years, of which no forecast sees a second charge: write \"{most}\" or less"
    );
    Some(Mistake { field: "schedule.every".to_owned(), value: schedule.every.clone(), message })
}

/// `EST` is five hours behind all year: charges would come an hour late from March to November, and on another day near midnight.
fn is_abbreviated(schedule: &ScheduleSpec) -> Option<Mistake> {
    let message = Zone::abbreviated(&schedule.time_zone)?;
    Some(Mistake { field: "schedule.time_zone".to_owned(), value: schedule.time_zone.clone(), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    fn mends(change: impl FnOnce(&mut PlanSpec)) -> Vec<(String, String)> {
        let mut one = spec();
        change(&mut one);
        assert!(Plan::from_spec(&one, 1).is_ok(), "a plan in force may say it");
        let halves = |one: Mistake| (one.field, one.message.rsplit_once(": ").unwrap().1.to_owned());
        Plan::outdated(&one).into_iter().map(halves).collect()
    }

    #[test]
    fn a_free_period_as_long_as_the_term_is_no_plan() {
        for (every, on_day, free, term, mend) in [
            ("1 month", None, "30 days", "12 months", None),
            ("1 month", None, "60 days", "1 month", Some("remove it, or write a longer term")),
            ("1 month", None, "30 days", "1 month", Some("remove it, or write a longer term")),
            ("1 day", None, "30 days", "1 month", None),
            ("1 day", None, "31 days", "1 month", Some("write \"30 days\" or less, or write a longer term")),
            ("1 month", Some("1"), "31 days", "1 month", Some("write \"30 days\" or less, or write a longer term")),
            ("1 week", None, "2 days", "2 days", Some("write \"1 day\", or write a longer term")),
            ("1 year", None, "365 days", "1 year", Some("write \"337 days\" or less, or write a longer term")),
        ] {
            let change = |s: &mut PlanSpec, free: &str| {
                s.schedule.every = every.into();
                s.schedule.on_day = on_day.map(str::to_owned);
                (s.schedule.free_first, s.schedule.term) = (Some(free.into()), Some(term.into()));
            };
            let expected: Vec<_> =
                mend.map(|mend| ("schedule.free_first".to_owned(), mend.to_owned())).into_iter().collect();
            assert_eq!(mends(|s| change(s, free)), expected, "{every} {free} {term}");
            // What the mend says is taken.
            if let Some(days) = mend.and_then(|mend| mend.split('"').nth(1)) {
                assert_eq!(mends(|s| change(s, days)), []);
            }
        }
        let counted =
            |s: &mut PlanSpec| (s.schedule.free_first, s.schedule.cycles) = (Some("366 days".into()), Some("1".into()));
        assert_eq!(mends(counted), [], "cycles are counted from the first charge on");
    }

    #[test]
    fn a_zone_is_named_by_a_place_whose_clocks_are_meant() {
        for (zone, mend) in [
            ("EST", Some("write America/New_York, or America/Panama where no clock changes")),
            ("MST", Some("write America/Denver, or America/Phoenix where no clock changes")),
            ("HST", Some("write Pacific/Honolulu")),
            ("America/New_York", None),
            ("America/Panama", None),
            ("America/Phoenix", None),
            ("UTC", None),
        ] {
            let mend = mend.map(|mend| ("schedule.time_zone".to_owned(), mend.to_owned()));
            assert_eq!(mends(|s| s.schedule.time_zone = zone.into()), mend.into_iter().collect::<Vec<_>>(), "{zone}");
        }
        let refused = Zone::parse("est").unwrap_err().to_string();
        assert!(refused.ends_with(": write America/New_York, or America/Panama where no clock changes"), "{refused}");
    }

    #[test]
    fn a_rhythm_is_no_longer_than_a_forecast_looks() {
        for (every, most) in [
            ("10 years", None),
            ("11 years", Some("10 years")),
            ("1000 years", Some("10 years")),
            ("120 months", None),
            ("121 months", Some("120 months")),
            ("40 quarters", None),
            ("41 quarters", Some("40 quarters")),
            ("521 weeks", None),
            ("522 weeks", Some("521 weeks")),
            ("1000 days", None),
        ] {
            let mend = |most| ("schedule.every".to_owned(), format!("write \"{most}\" or less"));
            let expected: Vec<_> = most.map(mend).into_iter().collect();
            assert_eq!(mends(|s| s.schedule.every = every.into()), expected, "{every}");
        }
    }
}
