//! A forecast as a calendar: one all-day event for each plan and day, with how many charges and how much. No names, no ids of
//! subscriptions: a calendar is read on many screens.

use chrono::NaiveDate;
use icalendar::{Calendar, Class, Component as _, Event, EventLike as _, Property};

use super::{Forecast, Line};

/// RFC 5545, lines folded at 75 octets. The forecast has to be by day and grouped by plan alone.
///
/// The same forecast gives the same bytes; an event's UID stays as long as its plan, day and currency do.
#[must_use]
pub fn ics(forecast: &Forecast) -> Vec<u8> {
    let mut calendar = Calendar::empty();
    for (name, value) in [("VERSION", "2.0"), ("PRODID", "-//autopay//forecast//EN"), ("CALSCALE", "GREGORIAN")] {
        calendar.append_property((name, value));
    }
    calendar.name("autopay forecast");
    calendar.append_property(Property::new("REFRESH-INTERVAL", "PT6H").add_parameter("VALUE", "DURATION").done());
    calendar.append_property(("X-PUBLISHED-TTL", "PT6H"));
    for line in forecast.rows.iter().filter(|line| line.charges > 0) {
        if let Some((from, plan)) = line.from.zip(line.plan.as_deref()) {
            calendar.push(event(forecast, line, from, plan));
        }
    }
    calendar.to_string().into_bytes()
}

fn event(forecast: &Forecast, line: &Line, day: NaiveDate, plan: &str) -> Event {
    let charges = if line.charges == 1 { "1 charge".to_owned() } else { format!("{} charges", line.charges) };
    let what = format!(
        "{charges} scheduled: {}\nExpected: {}\nAt risk: {}\nForecast as of {}, scenario {}",
        line.scheduled,
        line.expected,
        line.at_risk,
        forecast.request.as_of.format("%Y-%m-%dT%H:%M:%SZ"),
        forecast.request.scenario
    );
    Event::new()
        .uid(&format!("{plan}-{day}-{}@forecast.autopay", line.scheduled.currency()))
        .timestamp(forecast.request.as_of)
        .summary(&format!("{plan}: {charges}, {}", line.scheduled))
        .description(&what)
        .class(Class::Confidential)
        // A whole day, its end exclusive, that keeps nobody busy.
        .starts(day)
        .ends(day.succ_opt().unwrap_or(day))
        .add_property("TRANSP", "TRANSPARENT")
        .done()
}
