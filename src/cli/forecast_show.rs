//! How a forecast is shown: sums, single charges, and the files that go to other programs.

use std::ops::RangeInclusive;
use std::path::Path;

use chrono::NaiveDate;
use domain::forecast::{Entry, Rail, View, settles_on};

use super::Context;
use super::exit::{Exit, Problem, Stop};
use super::output::{Cell, Column, Format, Listing};
use crate::config::plainly;
use crate::forecast::{Forecast, Line, calendar, chart, spreadsheet};

/// Charges printed at once.
const PAGE: usize = 1_000;

/// The columns of the sums, with those that tell rows apart in front: for people where every try pays, for people otherwise, and for
/// machines.
macro_rules! sums {
    ($($group:expr),*) => {
        [
            &[
                Column::text("period"),
                $($group,)*
                Column::number("charges"),
                Column::number("scheduled"),
                Column::number("expected"),
                Column::number("at_risk"),
            ],
            &[
                Column::text("period"),
                $($group,)*
                Column::number("charges"),
                Column::number("scheduled"),
                Column::number("expected"),
                Column::number("at_risk"),
                Column::number("expected_low"),
                Column::number("expected_high"),
                Column::number("later"),
            ],
            &[
                Column::text("period"),
                $($group,)*
                Column::number("charges"),
                Column::text("currency"),
                Column::number("scheduled"),
                Column::number("expected"),
                Column::number("at_risk"),
                Column::number("expected_low"),
                Column::number("expected_high"),
                Column::number("later"),
                Column::number("lands"),
            ],
        ]
    };
}

/// Column sets of one grouping.
type Sets = [&'static [Column]; 3];

const PLAIN: Sets = sums!();
const P: Sets = sums!(Column::text("plan"));
const M: Sets = sums!(Column::text("method"));
const S: Sets = sums!(Column::text("state"));
const PM: Sets = sums!(Column::text("plan"), Column::text("method"));
const PS: Sets = sums!(Column::text("plan"), Column::text("state"));
const MS: Sets = sums!(Column::text("method"), Column::text("state"));
const PMS: Sets = sums!(Column::text("plan"), Column::text("method"), Column::text("state"));

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A person, of a forecast in which every try pays: there is no band and nothing comes later.
    Sure,
    /// A person.
    Person,
    /// A program.
    Machine,
}

const REASONS: &[Column] =
    &[Column::text("reason"), Column::text("meaning"), Column::number("charges"), Column::money("at_risk")];
const CHANCES: &[Column] = &[
    Column::text("method"),
    Column::text("history"),
    Column::text("attempt"),
    Column::number("n"),
    Column::number("paid"),
    Column::text("chance"),
    Column::text("low"),
    Column::text("high"),
    Column::text("from"),
];
const PLANS: &[Column] = &[Column::text("id"), Column::number("version"), Column::text("digest")];
const NOTES: &[Column] = &[Column::text("note")];
const DOCUMENT: &[Column] = &[
    Column::text("note"),
    Column::text("as_of"),
    Column::text("from"),
    Column::text("until"),
    Column::text("view"),
    Column::text("by"),
    Column::text("group"),
    Column::text("scenario"),
    Column::text("method"),
    Column::text("seed"),
    Column::text("zone_data"),
    Column::text("holidays"),
    Column::text("subscriptions"),
    Column::text("charges"),
    Column::text("row_count"),
    Column::text("control_total"),
    Column::text("expected_total"),
    Column::text("at_risk_total"),
    Column::text("plans"),
    Column::text("rows"),
    Column::text("total"),
    Column::text("reasons"),
    Column::text("chances"),
    Column::text("notes"),
];

fn columns(forecast: &Forecast, reader: Reader) -> &'static [Column] {
    let grouping = forecast.request.grouping;
    let [sure, person, machine] = match (grouping.plan, grouping.method, grouping.state) {
        (false, false, false) => PLAIN,
        (true, false, false) => P,
        (false, true, false) => M,
        (false, false, true) => S,
        (true, true, false) => PM,
        (true, false, true) => PS,
        (false, true, true) => MS,
        (true, true, true) => PMS,
    };
    match reader {
        Reader::Sure => sure,
        Reader::Person => person,
        Reader::Machine => machine,
    }
}

fn cells(forecast: &Forecast, line: &Line, reader: Reader) -> Vec<Cell> {
    let grouping = forecast.request.grouping;
    let mut cells = vec![Cell::text(&line.period)];
    if grouping.plan {
        cells.push(Cell::maybe(line.plan.as_ref(), Cell::text));
    }
    if grouping.method {
        cells.push(Cell::maybe(line.method, Cell::text));
    }
    if grouping.state {
        cells.push(Cell::maybe(line.state, Cell::text));
    }
    cells.push(Cell::Number(line.charges));
    let amounts = [line.scheduled, line.expected, line.at_risk, line.low, line.high, line.later, line.lands];
    let shown = match reader {
        Reader::Sure => 3,
        Reader::Person => 6,
        Reader::Machine => {
            cells.push(Cell::text(line.scheduled.currency()));
            amounts.len()
        }
    };
    cells.extend(amounts.into_iter().take(shown).map(Cell::Money));
    cells
}

/// Parts per million as percent with two decimals.
fn percent(ppm: u32) -> String {
    let hundredths = (ppm + 50) / 100;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// What a whole document says beside its rows.
fn document(forecast: &Forecast) -> Vec<Cell> {
    let mut all: Vec<Cell> = forecast.about().into_iter().map(|(_, value)| Cell::Text(value)).collect();
    let plans = forecast
        .plans
        .iter()
        .map(|plan| vec![Cell::text(&plan.id), Cell::Number(plan.version.into()), Cell::text(&plan.digest)]);
    let reader = Reader::Machine;
    let rows = |lines: &[Line]| lines.iter().map(|line| cells(forecast, line, reader)).collect::<Vec<_>>();
    let reasons = forecast.reasons.iter().map(|(risk, count, amount)| {
        vec![Cell::text(risk.word()), Cell::text(risk.in_words()), Cell::Number(*count), Cell::Money(*amount)]
    });
    let chances = forecast.chances().into_iter().map(|(alike, estimate)| {
        let attempt = if alike.attempt >= domain::forecast::ATTEMPTS_APART { "5 and later" } else { "" };
        let from = if estimate.enough { "history" } else { "not enough history: assumed" };
        vec![
            Cell::text(alike.rail.word()),
            Cell::text(alike.past.word()),
            if attempt.is_empty() { Cell::text(alike.attempt) } else { Cell::text(attempt) },
            Cell::Number(estimate.sample.tries),
            Cell::Number(estimate.sample.paid),
            Cell::Text(percent(estimate.ppm)),
            Cell::Text(percent(estimate.low)),
            Cell::Text(percent(estimate.high)),
            Cell::text(from),
        ]
    });
    let notes = forecast.notes().into_iter().map(|note| vec![Cell::Text(note)]);
    all.push(Cell::Rows(PLANS, plans.collect()));
    all.push(Cell::Rows(columns(forecast, reader), rows(&forecast.rows)));
    all.push(Cell::Rows(columns(forecast, reader), rows(&forecast.whole)));
    all.push(Cell::Rows(REASONS, reasons.collect()));
    all.push(Cell::Rows(CHANCES, chances.collect()));
    all.push(Cell::Rows(NOTES, notes.collect()));
    all
}

/// Prints a forecast in the form that was asked for.
pub(super) fn show(forecast: &Forecast, picture: Option<&Path>, context: &Context) -> Result<(), Stop> {
    let printer = &context.printer;
    let machine_rows =
        || forecast.rows.iter().map(|line| cells(forecast, line, Reader::Machine)).collect::<Vec<Vec<Cell>>>();
    let bars = picture.is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = picture.filter(|_| !bars) {
        write(path, chart::svg(forecast).as_bytes())?;
    }
    match printer.format {
        _ if bars => printer.raw(chart::bars(forecast).as_bytes())?,
        Format::Chart => printer.raw(chart::bars(forecast).as_bytes())?,
        Format::Xlsx => {
            let bytes =
                spreadsheet::xlsx(forecast).map_err(|why| Stop::because(Exit::Failed, Problem::sentence(&why)))?;
            printer.raw(&bytes)?;
        }
        Format::Ics => printer.raw(&calendar::ics(forecast))?,
        Format::Json => printer.record(DOCUMENT, &document(forecast))?,
        Format::Csv => {
            printer.rows(columns(forecast, Reader::Machine), &machine_rows())?;
            beside(&about(forecast), context)?;
        }
        Format::Jsonl => {
            let mut listing = printer.list_within("rows", columns(forecast, Reader::Machine))?;
            listing.page(&machine_rows())?;
            let about = about(forecast);
            let about: Vec<(&str, &str)> = about.iter().map(|(name, value)| (*name, value.as_str())).collect();
            listing.finish_with(&about)?;
        }
        Format::Table | Format::Markdown => table(forecast, context)?,
    }
    aside(forecast, context);
    Ok(())
}

/// For people: the header, the sums with their total, and what is at risk.
fn table(forecast: &Forecast, context: &Context) -> Result<(), Stop> {
    let about = forecast.about();
    let said =
        |name: &str| about.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str()).unwrap_or_default();
    let head = format!(
        "DRY RUN  nothing was sent, nothing was saved   as of {}   seed {}   method: {}\n",
        said("as_of"),
        said("seed"),
        forecast.method()
    );
    let lines = forecast.rows.iter().chain(&forecast.whole);
    let reader = if forecast.request.scenario == "all-pay" { Reader::Sure } else { Reader::Person };
    let rows: Vec<Vec<Cell>> = lines.map(|line| cells(forecast, line, reader)).collect();
    let mut listing = context.printer.list_below(&head, columns(forecast, reader))?;
    listing.page(&rows)?;
    if !forecast.reasons.is_empty() {
        let rows: Vec<Vec<Cell>> = forecast
            .reasons
            .iter()
            .map(|(risk, count, amount)| {
                vec![Cell::text(risk.word()), Cell::text(risk.in_words()), Cell::Number(*count), Cell::Money(*amount)]
            })
            .collect();
        listing.another("\nAt risk, by reason\n", REASONS, &rows)?;
    }
    listing.finish()
}

/// Notes go beside the data.
pub(super) fn aside(forecast: &Forecast, context: &Context) {
    for note in forecast.notes() {
        context.printer.say(&format!("note: {note}"));
    }
}

/// Ends a forecast that was shown charge by charge.
pub(super) fn after_rows(forecast: &Forecast, context: &Context) -> Result<(), Stop> {
    if context.printer.format == Format::Csv {
        let mut about = about(forecast);
        // Those are the rows of its sums.
        about.retain(|(name, _)| *name != "row_count");
        beside(&about, context)?;
    }
    aside(forecast, context);
    Ok(())
}

/// What a forecast was made with, the plans among it.
pub(super) fn about(forecast: &Forecast) -> Vec<(&'static str, String)> {
    let plans = forecast.plans.iter().map(|plan| format!("{} {} {}", plan.id, plan.version, plan.digest));
    let mut about = forecast.about();
    about.push(("plans", plans.collect::<Vec<_>>().join(", ")));
    about
}

/// A CSV file has rows only: what it is about stands in a file beside it.
pub(super) fn beside(about: &[(&'static str, String)], context: &Context) -> Result<(), Stop> {
    let Some(out) = context.printer.out.as_deref().filter(|out| out.as_os_str() != "-" && out.is_file()) else {
        return Ok(());
    };
    let about: Vec<String> = about
        .iter()
        .map(|(name, value)| {
            format!("  {}: {}", serde_json::Value::from(*name), serde_json::Value::from(value.as_str()))
        })
        .collect();
    let mut path = out.as_os_str().to_owned();
    path.push(".about.json");
    write(Path::new(&path), format!("{{\n{}\n}}\n", about.join(",\n")).as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Stop> {
    std::fs::write(path, bytes).map_err(|error| {
        let message = format!("cannot be written: {}", plainly(&error));
        let mend = "name a file in a folder that exists and that you may write to";
        Stop::because(Exit::Usage, Problem::new(path.display().to_string(), "", message, mend))
    })
}

const CHARGES: &[Column] = &[
    Column::text("subscription"),
    Column::text("plan"),
    Column::number("plan_version"),
    Column::number("cycle"),
    Column::text("due_on"),
    Column::text("on"),
    Column::text("submit_on"),
    Column::text("charge_at"),
    Column::text("settles_on"),
    Column::text("method"),
    Column::text("currency"),
    Column::number("amount"),
    Column::text("kind"),
    Column::text("state"),
    Column::text("chance"),
    Column::number("expected"),
    Column::text("collected_on"),
    Column::number("declined"),
    Column::text("risks"),
    Column::text("tries"),
];

/// Charges, one by one, as they are walked.
pub(super) struct List {
    listing: Listing,
    window: RangeInclusive<NaiveDate>,
    view: View,
    page: Vec<Vec<Cell>>,
    failed: Option<Stop>,
}

impl List {
    pub(super) fn begin(context: &Context, window: RangeInclusive<NaiveDate>, view: View) -> Result<Self, Stop> {
        let listing = context.printer.list(CHARGES)?;
        Ok(Self { listing, window, view, page: Vec::with_capacity(PAGE), failed: None })
    }

    /// Adds a charge, if its day lies in the window. What cannot be written is told at the end.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        let rail = entry.rail();
        let settles = rail.map(|rail| settles_on(rail, entry.submit_on));
        let on = match self.view {
            View::Charge => entry.on,
            View::Settlement => settles.unwrap_or(entry.on),
        };
        if self.failed.is_some() || !self.window.contains(&on) {
            return;
        }
        let risks: Vec<&str> = entry.risks.iter().map(domain::forecast::Risk::word).collect();
        let tries: Vec<String> = match entry.pieces {
            [_] | [] => Vec::new(),
            several => several.iter().map(|piece| format!("{} {}", piece.on, percent(piece.ppm))).collect(),
        };
        let collected = match entry.pieces {
            [only] if only.ppm == domain::forecast::WHOLE => Some(only.on),
            _ => None,
        };
        self.page.push(vec![
            Cell::text(&entry.subscription.id),
            Cell::text(&entry.subscription.plan),
            Cell::Number(entry.plan_version.into()),
            Cell::Number(entry.cycle.into()),
            Cell::On(entry.due_on),
            Cell::On(entry.on),
            Cell::On(entry.submit_on),
            Cell::At(entry.charge_at),
            Cell::maybe(settles, Cell::On),
            Cell::text(rail.map_or("none", Rail::word)),
            Cell::text(entry.amount.currency()),
            Cell::Money(entry.amount),
            Cell::text(entry.kind.word()),
            Cell::text(entry.word),
            Cell::Text(percent(entry.chance())),
            Cell::Money(entry.expected()),
            Cell::maybe(collected, Cell::On),
            Cell::Number(entry.declined.into()),
            Cell::Text(risks.join(" ")),
            Cell::Text(tries.join(", ")),
        ]);
        if self.page.len() == PAGE {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let page = std::mem::replace(&mut self.page, Vec::with_capacity(PAGE));
        self.failed = self.listing.page(&page).err();
    }

    pub(super) fn finish(mut self) -> Result<(), Stop> {
        if self.failed.is_none() && !self.page.is_empty() {
            self.turn();
        }
        match self.failed {
            Some(stop) => Err(stop),
            None => self.listing.finish(),
        }
    }
}
