//! Forecasts of whole books, and the files they are handed over in.
//!
//! Not allowed here: a gateway, a store, a clock, the application. A forecast from files reads two files and nothing else; what it
//! says of a live book is gathered by the engine's forecaster and only presented here. tests/it/architecture.rs holds that.

pub mod calendar;
pub mod change;
pub mod chart;
pub mod compared;
pub mod from_files;
pub mod scenario;
pub mod snapshot;
pub mod spreadsheet;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use domain::calendar::tz_version;
use domain::forecast::{
    Alike, By, Entry, Estimate, Grouping, History, MOST_MONTHS, Mood, Odds, Past, Risk, Row, Scenario, Tallied, Totals,
    View,
};
use domain::holidays::HolidayCalendar;
use domain::money::Money;
use domain::plan::PlanSpec;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The moment the book is taken to be as it is.
    pub as_of: DateTime<Utc>,
    /// First day of the window.
    pub from: NaiveDate,
    /// Its last day.
    pub until: NaiveDate,
    /// How long a period is.
    pub by: By,
    /// Which day counts.
    pub view: View,
    /// What rows are told apart by.
    pub grouping: Grouping,
    /// Stands in the header; nothing here is drawn by lot.
    pub seed: u64,
    /// Its name: `all-pay`, `history`, `worst-case`, or a file's.
    pub scenario: String,
}

impl Request {
    /// Empty sums of what is asked.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::new(self.from, self.until, self.by, self.view, self.grouping)
    }
}

/// The last day of `months` calendar months, the month of `from` included; `None` beyond the calendar.
#[must_use]
pub fn months_from(from: NaiveDate, months: u32) -> Option<NaiveDate> {
    from.with_day(1)?.checked_add_months(Months::new(months))?.pred_opt()
}

/// Is the window no longer than ten years?
#[must_use]
pub fn fits(from: NaiveDate, until: NaiveDate) -> bool {
    from.checked_add_months(Months::new(MOST_MONTHS)).is_some_and(|end| from <= until && until < end)
        || months_from(from, MOST_MONTHS).is_some_and(|end| from <= until && until <= end)
}

/// The built-in scenarios; `None` for another word.
#[must_use]
pub fn built_in(word: &str, history: History) -> Option<Scenario> {
    match word {
        "all-pay" => Some(Scenario::AllPay),
        "history" => Some(Scenario::Odds(Odds::new(history, Mood::Likely))),
        "worst-case" => Some(Scenario::Odds(Odds::new(history, Mood::Worst))),
        _ => None,
    }
}

/// A plan that a forecast was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanUsed {
    /// Its id.
    pub id: String,
    /// Its version; 0 of a file.
    pub version: u32,
    /// What it says, as a digest.
    pub digest: String,
}

/// The first sixteen digits of a digest of what a plan says.
#[must_use]
pub fn plan_digest(spec: &PlanSpec) -> String {
    digest_of(&serde_json::to_vec(spec).unwrap_or_default())
}

/// The first sixteen digits of a digest.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes)).chars().take(16).collect()
}

/// Sums under way, and what is worth a note.
#[derive(Debug)]
pub struct Gather {
    totals: Totals,
    subscriptions: u64,
    without_method: u64,
    behind: u64,
    troubled: u64,
    trouble: Option<String>,
}

impl Gather {
    /// Nothing yet.
    #[must_use]
    pub fn new(request: &Request) -> Self {
        Self { totals: request.totals(), subscriptions: 0, without_method: 0, behind: 0, troubled: 0, trouble: None }
    }

    /// What was tallied of so many subscriptions, of which so many have no method.
    #[must_use]
    pub fn of(tallied: Tallied, subscriptions: u64, without_method: u64) -> Self {
        let Tallied { totals, troubled, trouble } = tallied;
        Self { totals, subscriptions, without_method, behind: 0, troubled, trouble: trouble.map(|(_, why)| why) }
    }

    /// Counts a charge.
    pub fn charge(&mut self, entry: &Entry<'_>, past: Past) {
        self.totals.add(entry, past);
    }

    /// Counts a subscription that was walked; `trouble` says why it was not walked to the end.
    pub fn subscription(&mut self, has_method: bool, trouble: Option<String>) {
        self.subscriptions += 1;
        self.without_method += u64::from(!has_method);
        if let Some(why) = trouble {
            self.troubled += 1;
            self.trouble.get_or_insert(why);
        }
    }

    /// So many rows of the roster name a next cycle that lies behind the day.
    pub const fn behind(&mut self, rows: u64) {
        self.behind = rows;
    }

    /// The forecast.
    #[must_use]
    pub fn finish(
        self,
        request: Request,
        plans: Vec<PlanUsed>,
        scenario: &Scenario,
        scenario_digest: Option<String>,
    ) -> Forecast {
        let odds = match scenario {
            Scenario::Odds(odds) => Some(odds.clone()),
            Scenario::AllPay | Scenario::Script(_) => None,
        };
        let line = |row: Row| Line::of(&row, odds.as_ref());
        Forecast {
            rows: self.totals.rows().into_iter().map(line).collect(),
            whole: self.totals.whole().into_iter().map(line).collect(),
            reasons: self.totals.whole().iter().flat_map(|row| row.sums.reasons()).collect(),
            subscriptions: self.subscriptions,
            without_method: self.without_method,
            behind: self.behind,
            troubled: self.troubled,
            trouble: self.trouble,
            request,
            plans,
            odds,
            scenario_digest,
        }
    }
}

/// A row, its amounts rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The period, as people write it; `total` for the whole window.
    pub period: String,
    /// Its first day.
    pub from: Option<NaiveDate>,
    /// Which plan.
    pub plan: Option<String>,
    /// Card, bank account or none.
    pub method: Option<&'static str>,
    /// State word.
    pub state: Option<&'static str>,
    /// Charges asked for.
    pub charges: u64,
    /// Charges with a reason to look at them.
    pub flagged: u64,
    /// Charges moved to a business day.
    pub rolled: u64,
    /// Cycles that cost nothing.
    pub skipped: u64,
    /// What falls due.
    pub scheduled: Money,
    /// What is expected of it.
    pub expected: Money,
    /// Lower end of the 80 % band.
    pub low: Money,
    /// Its upper end.
    pub high: Money,
    /// Scheduled less expected.
    pub at_risk: Money,
    /// Of what is expected, what only comes after the period.
    pub later: Money,
    /// What the tries within the period bring.
    pub lands: Money,
}

impl Line {
    fn of(row: &Row, odds: Option<&Odds>) -> Self {
        let sums = row.sums;
        let (low, high) = sums.band(odds);
        let period = row.period.map(|period| period.from);
        Self {
            period: period.map_or_else(|| "total".to_owned(), |from| from.to_string()),
            from: period,
            plan: row.plan.as_ref().map(ToString::to_string),
            method: row.method,
            state: row.state,
            charges: sums.charges,
            flagged: sums.flagged,
            rolled: sums.rolled,
            skipped: sums.skipped,
            scheduled: sums.scheduled(),
            expected: sums.expected(),
            low,
            high,
            at_risk: sums.at_risk(),
            later: sums.later(),
            lands: sums.lands(),
        }
    }
}

/// A forecast, ready to be shown.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// What was asked.
    pub request: Request,
    /// The plans it was made with.
    pub plans: Vec<PlanUsed>,
    /// The rows.
    pub rows: Vec<Line>,
    /// The whole window, a row for each currency: the control totals.
    pub whole: Vec<Line>,
    /// Charges and amounts at risk by reason, currency by currency.
    pub reasons: Vec<(Risk, u64, Money)>,
    /// Subscriptions walked.
    pub subscriptions: u64,
    /// Of them, those without a method.
    pub without_method: u64,
    /// Of them, those whose row names a next cycle that lies behind the day.
    pub behind: u64,
    /// Of them, those that could not be walked to the end.
    pub troubled: u64,
    /// Why, of the first.
    pub trouble: Option<String>,
    odds: Option<Odds>,
    /// The digest of a scenario file.
    pub scenario_digest: Option<String>,
}

/// A sentence about rows of a roster whose next cycle lies behind the day from which the book is looked at; `None` where there are none.
#[must_use]
pub fn behind_in_words(rows: u64, as_of: NaiveDate) -> Option<String> {
    let (name, them) = match rows {
        0 => return None,
        1 => ("1 row names".to_owned(), "it"),
        more => (format!("{more} rows name"), "them"),
    };
    Some(format!(
        "{name} a next_cycle with further cycles between it and {as_of}: these are taken as charged by others. An import on {as_of} \
         refuses {them} (next_cycle_behind)."
    ))
}

impl Forecast {
    /// The rows, each month called by its name.
    #[must_use]
    pub fn named(mut self) -> Self {
        if self.request.by == By::Month {
            for line in &mut self.rows {
                line.period.truncate(7);
            }
        }
        self
    }

    /// How chances were come by, in words.
    #[must_use]
    pub fn method(&self) -> String {
        match (&self.odds, self.request.scenario.as_str()) {
            (None, "all-pay") => "every try pays".to_owned(),
            (None, file) => format!("tries are declined as {file} says, the others pay"),
            (Some(odds), _) => {
                let seen: u64 = odds.table().iter().map(|(_, estimate)| estimate.sample.tries).sum();
                let enough = odds.table().iter().filter(|(_, estimate)| estimate.enough).count();
                let worst = if odds.mood() == Mood::Worst { ", read at their lower end" } else { "" };
                match (seen, enough) {
                    (0, _) => format!("no history: assumed chances{worst}"),
                    (seen, 0) => format!("not enough history (n = {seen}): assumed chances{worst}"),
                    (seen, _) => {
                        format!("chances of {seen} earlier tries, assumed where fewer than 30 are alike{worst}")
                    }
                }
            }
        }
    }

    /// The chances that were used, with their samples; empty where none were.
    #[must_use]
    pub fn chances(&self) -> Vec<(Alike, Estimate)> {
        self.odds.as_ref().map(Odds::table).unwrap_or_default()
    }

    /// What a reader should know beside the numbers, as sentences.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let sum = |part: fn(&Line) -> u64| self.whole.iter().map(part).sum::<u64>();
        let counted = |count: u64, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            more => Some(format!("{more} {many}")),
        };
        let rolled = sum(|line| line.rolled);
        notes.extend(counted(
            rolled,
            "charge is submitted on another day than it is due, because banks are closed.",
            "charges are submitted on another day than they are due, because banks are closed.",
        ));
        notes.extend(counted(
            self.without_method,
            "subscription has no payment method.",
            "subscriptions have no payment method.",
        ));
        let said = behind_in_words(self.behind, self.request.as_of.date_naive());
        notes.extend(said);
        notes.extend(counted(
            sum(|line| line.skipped),
            "cycle costs nothing and is skipped.",
            "cycles cost nothing and are skipped.",
        ));
        if let (Some(count), Some(why)) = (
            counted(
                self.troubled,
                "subscription cannot be forecast to the end",
                "subscriptions cannot be forecast to the end",
            ),
            &self.trouble,
        ) {
            notes.push(format!("{count}; the first: {why}."));
        }
        if self.odds.is_some() {
            notes.push(
                "The band is computed, not drawn: independent charges, and what is not known about the chances. The seed changes nothing."
                    .to_owned(),
            );
        }
        notes
    }

    /// What the forecast was made with, name by name: the header of every file.
    #[must_use]
    pub fn about(&self) -> Vec<(&'static str, String)> {
        let Request { as_of, from, until, by, view, seed, scenario, grouping } = &self.request;
        let by = match by {
            By::Day => "day",
            By::Week => "week",
            By::Month => "month",
        };
        let view = match view {
            View::Charge => "charge",
            View::Settlement => "settlement",
        };
        let groups = [("plan", grouping.plan), ("method", grouping.method), ("state", grouping.state)];
        let groups: Vec<&str> = groups.into_iter().filter(|(_, on)| *on).map(|(word, _)| word).collect();
        let total = |part: fn(&Line) -> Money| {
            self.whole.iter().map(|line| part(line).to_string()).collect::<Vec<_>>().join(", ")
        };
        let scenario = match &self.scenario_digest {
            Some(digest) => format!("{scenario} (sha256 {digest}…)"),
            None => scenario.clone(),
        };
        vec![
            ("note", "DRY RUN: nothing was sent, nothing was saved".to_owned()),
            ("as_of", as_of.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
            ("from", from.to_string()),
            ("until", until.to_string()),
            ("view", view.to_owned()),
            ("by", by.to_owned()),
            ("group", if groups.is_empty() { "none".to_owned() } else { groups.join(",") }),
            ("scenario", scenario),
            ("method", self.method()),
            ("seed", seed.to_string()),
            ("zone_data", tz_version().to_owned()),
            ("holidays", HolidayCalendar::UsFederalReserve.version().to_owned()),
            ("subscriptions", self.subscriptions.to_string()),
            ("charges", self.whole.iter().map(|line| line.charges).sum::<u64>().to_string()),
            ("row_count", self.rows.len().to_string()),
            ("control_total", total(|line| line.scheduled)),
            ("expected_total", total(|line| line.expected)),
            ("at_risk_total", total(|line| line.at_risk)),
        ]
    }
}
