//! Snapshots: a forecast kept in a file, so that it can be held against what became of it.
//!
//! JSON lines: a header, a row for each charge by subscription and cycle, and a last line with the control totals and the id. The id is
//! a digest of all the rest, so a snapshot that was changed or cut short is known, and the same forecast gives the same bytes. Nothing of
//! it is kept in memory but one subscription's rows (and, where they come in another order, a bounded heap of them).

mod read;
mod write;

use chrono::{DateTime, NaiveDate, Utc};
use domain::calendar::tz_version;
use domain::forecast::compare::Foreseen;
use domain::holidays::HolidayCalendar;
use domain::plan::Plan;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use read::{Rows, Snapshot, check};
pub use write::{Order, Writer, Written};

use super::{PlanUsed, Request};

/// What the header calls this form.
pub const SCHEMA: &str = "autopay.forecast/1";
/// What all versions of it begin with.
const FAMILY: &str = "autopay.forecast/";
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 24;
/// The values of a row, in order.
const COLUMNS: [&str; 11] = [
    "subscription",
    "cycle",
    "due_on",
    "counts_on",
    "amount_minor",
    "adjusted_minor",
    "currency",
    "plan",
    "plan_version",
    "method",
    "kind",
];

/// What a snapshot is of: its first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// `files` or `book`.
    pub source: String,
    /// The moment the book was taken to be as it was.
    pub as_of: DateTime<Utc>,
    /// First day of the window.
    pub from: NaiveDate,
    /// Its last day: the horizon.
    pub until: NaiveDate,
    /// Where its months end.
    pub time_zone: String,
    /// Its scenario, a file's with its digest.
    pub scenario: String,
    /// Version of the zone data.
    pub zone_data: String,
    /// Version of the holiday rules.
    pub holidays: String,
    /// The plans it was made with.
    pub plans: Vec<PlanUsed>,
    /// The values of a row, in order.
    pub columns: Vec<String>,
}

impl Header {
    /// The header of a forecast.
    #[must_use]
    pub fn of(
        request: &Request,
        (source, time_zone): (&str, &str),
        scenario_digest: Option<&str>,
        plans: Vec<PlanUsed>,
    ) -> Self {
        let scenario = match scenario_digest {
            Some(digest) => format!("{} (sha256 {digest}…)", request.scenario),
            None => request.scenario.clone(),
        };
        Self {
            schema: SCHEMA.to_owned(),
            source: source.to_owned(),
            as_of: request.as_of,
            from: request.from,
            until: request.until,
            time_zone: time_zone.to_owned(),
            scenario,
            zone_data: tz_version().to_owned(),
            holidays: HolidayCalendar::UsFederalReserve.version().to_owned(),
            plans,
            columns: COLUMNS.map(str::to_owned).to_vec(),
        }
    }
}

/// Where months end unless somebody says otherwise: in the zone of the plans, where they have one in common, else in UTC.
#[must_use]
pub fn common_zone<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> &'static str {
    let mut names = plans.into_iter().map(|plan| plan.zone.name());
    match names.next() {
        Some(first) if names.all(|name| name == first) => first,
        Some(_) | None => "UTC",
    }
}

/// What falls due in one month in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonthTotal {
    /// `2027-01`.
    pub month: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Rows.
    pub charges: u64,
    /// Their sum, minor units.
    pub amount_minor: i64,
}

/// What the last line says beside the id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Closing {
    rows: u64,
    totals: Vec<MonthTotal>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosingLine {
    rows: u64,
    totals: Vec<MonthTotal>,
    id: String,
}

/// The month of a day, as people write it.
fn month_of(day: NaiveDate) -> String {
    day.format("%Y-%m").to_string()
}

/// Sums under way.
#[derive(Debug, Default)]
struct Count {
    rows: u64,
    totals: std::collections::BTreeMap<(String, &'static str), (u64, i64)>,
}

impl Count {
    fn add(&mut self, row: &Foreseen) {
        self.rows += 1;
        let sum = self.totals.entry((month_of(row.due_on), row.amount.currency().code())).or_default();
        sum.0 += 1;
        sum.1 = sum.1.saturating_add(row.amount.minor());
    }

    fn closing(self) -> Closing {
        let total = |((month, currency), (charges, amount_minor)): ((String, &str), (u64, i64))| MonthTotal {
            month,
            currency: currency.to_owned(),
            charges,
            amount_minor,
        };
        Closing { rows: self.rows, totals: self.totals.into_iter().map(total).collect() }
    }
}

/// The id of a snapshot: of everything that came before the last line, and of what that says.
fn id_of(mut before: Sha256, closing: &Closing) -> String {
    before.update(serde_json::to_vec(closing).unwrap_or_default());
    let digits: String = hex::encode(before.finalize()).chars().take(ID_DIGITS).collect();
    format!("fc_{digits}")
}

fn closing_line(closing: Closing, id: &str) -> String {
    let Closing { rows, totals } = closing;
    serde_json::to_string(&ClosingLine { rows, totals, id: id.to_owned() }).unwrap_or_default()
}

#[cfg(test)]
mod tests;
