//! How a rehearsal is shown: a table, a JSON document, JSON lines or CSV. Every form says that it was a dry run.

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use autopay::cli::exit::Exit;
use chrono::{DateTime, NaiveDate, Utc};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use domain::calendar::tz_version;
use domain::money::{Currency, Money};
use serde_json::{Map, Value, json};

use crate::check::Check;
use crate::problem::{Problem, Stop, plainly};
use crate::scenario::Scenario;
use crate::tally::{Kind, Line, MEASURES, Sums, Tally, difference};

/// What stands above everything.
pub const WATERMARK: &str = "DRY RUN: nothing was sent, nothing was saved; no money exists here";

/// Form of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: framed on a terminal, plain columns in a pipe.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// RFC 4180, with a header.
    Csv,
}

/// One set of plans, rehearsed.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// What people call the plans.
    pub label: String,
    /// Their digest.
    pub digest: String,
    /// What it brought.
    pub tally: Tally,
    /// The tie-out.
    pub check: Check,
}

/// Everything that is shown.
#[derive(Debug, Clone)]
pub struct Report {
    /// The moment the book was taken to be as it is.
    pub as_of: DateTime<Utc>,
    /// First and last day of the window.
    pub window: (NaiveDate, NaiveDate),
    /// What the bank said.
    pub scenario: String,
    /// The digest of its files.
    pub scenario_digest: Option<String>,
    /// Whether fees were counted.
    pub with_fees: bool,
    /// What decided the luck.
    pub seed: u64,
    /// Subscriptions of the copy.
    pub subscriptions: usize,
    /// What the copy leaves out.
    pub left_out: Vec<String>,
    /// Subscriptions that may owe notices, all of which are taken to be given in time.
    pub taken_as_told: usize,
    /// One set of plans, or two to compare.
    pub rehearsed: Vec<Rehearsed>,
}

impl Report {
    /// A report without rehearsals yet.
    #[must_use]
    pub fn new(as_of: DateTime<Utc>, window: (NaiveDate, NaiveDate), scenario: &Scenario, seed: u64) -> Self {
        Self {
            as_of,
            window,
            scenario: scenario.name.clone(),
            scenario_digest: scenario.digest.clone(),
            with_fees: scenario.fees.is_some(),
            seed,
            subscriptions: 0,
            left_out: Vec::new(),
            taken_as_told: 0,
            rehearsed: Vec::new(),
        }
    }

    fn compares(&self) -> bool {
        self.rehearsed.len() > 1
    }

    /// Rows: period, whose, currency and measures. Of two sets of plans a third row says what the second brings more.
    fn rows(&self) -> Vec<(String, String, Currency, Sums)> {
        let mut rows = Vec::new();
        let keys = self.rehearsed.iter().flat_map(|one| one.tally.months.keys());
        for key in keys.collect::<std::collections::BTreeSet<_>>() {
            let sums = |one: &Rehearsed| one.tally.months.get(key).copied().unwrap_or_default();
            self.group(&mut rows, &key.0.format("%Y-%m").to_string(), key.1, &sums);
        }
        rows
    }

    fn totals(&self) -> Vec<(String, String, Currency, Sums)> {
        let mut rows = Vec::new();
        let keys = self.rehearsed.iter().flat_map(|one| one.tally.total.keys());
        for currency in keys.collect::<std::collections::BTreeSet<_>>() {
            let sums = |one: &Rehearsed| one.tally.total.get(currency).copied().unwrap_or_default();
            self.group(&mut rows, "total", *currency, &sums);
        }
        rows
    }

    fn group(
        &self,
        rows: &mut Vec<(String, String, Currency, Sums)>,
        period: &str,
        currency: Currency,
        sums: &dyn Fn(&Rehearsed) -> Sums,
    ) {
        for one in &self.rehearsed {
            rows.push((period.to_owned(), one.label.clone(), currency, sums(one)));
        }
        if let [first, second] = self.rehearsed.as_slice() {
            let more = difference(&sums(first), &sums(second));
            rows.push((period.to_owned(), "difference".to_owned(), currency, more));
        }
    }

    /// What a reader should know beside the numbers.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.left_out.clone();
        if self.taken_as_told > 0 {
            notes.push(format!(
                "{} subscriptions may owe their payers a notice: every notice is taken to be given in time.",
                self.taken_as_told
            ));
        }
        if !self.with_fees {
            notes.push("The scenario has no [fees]: fees are 0.00, and net is what was collected.".to_owned());
        }
        notes.extend(self.rehearsed.iter().map(|one| {
            let agrees = if one.check.holds() { "agrees with" } else { "DOES NOT AGREE WITH" };
            format!("{}: the book {agrees} the sandbox's ledger: {}.", one.label, one.check.line())
        }));
        notes
    }
}

fn written(kind: Kind, value: i64, currency: Currency) -> String {
    match kind {
        Kind::Count => value.to_string(),
        Kind::Money => Money::new(value, currency).plain(),
    }
}

fn object((period, label, currency, sums): &(String, String, Currency, Sums)) -> Value {
    let mut object = Map::new();
    object.insert("period".to_owned(), Value::from(period.as_str()));
    object.insert("plans".to_owned(), Value::from(label.as_str()));
    object.insert("currency".to_owned(), Value::from(currency.code()));
    for ((name, kind, _), value) in MEASURES.iter().zip(sums) {
        let value = match kind {
            Kind::Count => Value::from(*value),
            Kind::Money => Value::from(written(*kind, *value, *currency)),
        };
        object.insert((*name).to_owned(), value);
    }
    Value::Object(object)
}

fn line_object(label: &str, line: &Line) -> Value {
    let [.., tries, declines, returns, fees, _] = line.sums;
    let currency = line.amount.currency();
    json!({
        "plans": label,
        "subscription": line.subscription.as_str(),
        "plan": line.plan,
        "cycle": line.cycle,
        "due_on": line.due_on.to_string(),
        "amount": line.amount.plain(),
        "currency": currency.code(),
        "state": line.state,
        "collected_on": line.collected_on.map(|day| day.to_string()),
        "settled_on": line.settled_on.map(|day| day.to_string()),
        "declined": line.declined,
        "tries": tries,
        "declines": declines,
        "returns": returns,
        "fees": Money::new(fees, currency).plain(),
    })
}

const LINE: [&str; 15] = [
    "plans",
    "subscription",
    "plan",
    "cycle",
    "due_on",
    "amount",
    "currency",
    "state",
    "collected_on",
    "settled_on",
    "declined",
    "tries",
    "declines",
    "returns",
    "fees",
];

/// A JSON value as a cell. Text that a spreadsheet would run is made text by a quote in front; amounts are no text.
fn cell(value: &Value, inert: bool) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if inert && text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Is a column one of numbers?
fn is_number(name: &str) -> bool {
    MEASURES.iter().any(|(measure, _, _)| *measure == name) || matches!(name, "cycle" | "amount" | "declined")
}

/// Writes a report. `rows` lists the charges instead of sums.
///
/// # Errors
/// When it cannot be written.
pub fn show(report: &Report, format: Format, rows: bool, mut sink: Sink, quiet: bool) -> Result<(), Stop> {
    let header: Vec<&str> = if rows {
        LINE.to_vec()
    } else {
        ["period", "plans", "currency"].into_iter().chain(MEASURES.iter().map(|(name, _, _)| *name)).collect()
    };
    let objects: Vec<Value> = if rows {
        report
            .rehearsed
            .iter()
            .flat_map(|one| one.tally.lines.iter().map(|line| line_object(&one.label, line)))
            .collect()
    } else {
        report.rows().iter().map(object).collect()
    };
    match format {
        Format::Json => {
            let document = document(report, &objects);
            serde_json::to_writer_pretty(&mut sink, &document).map_err(std::io::Error::from)?;
            writeln!(sink)?;
        }
        Format::Jsonl => {
            for object in objects {
                writeln!(sink, "{object}")?;
            }
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(&mut sink);
            let broken = |error: csv::Error| std::io::Error::other(error.to_string());
            csv.write_record(&header).map_err(broken)?;
            for object in &objects {
                let record = header.iter().map(|name| cell(&object[*name], !is_number(name)));
                csv.write_record(record).map_err(broken)?;
            }
            csv.flush()?;
        }
        Format::Table => table(report, (&header, &objects), rows, &mut sink)?,
    }
    sink.finish()?;
    if !quiet && format != Format::Table && format != Format::Json {
        let mut err = std::io::stderr().lock();
        // Nobody listens: the numbers are written.
        let _ = writeln!(err, "{WATERMARK}.");
        for note in report.notes() {
            let _ = writeln!(err, "{note}");
        }
    }
    Ok(())
}

fn document(report: &Report, rows: &[Value]) -> Value {
    let checks = report.rehearsed.iter().map(|one| {
        let differences = one
            .check
            .difference
            .iter()
            .map(|(currency, sum)| (currency.code().to_owned(), Value::from(Money::new(*sum, *currency).plain())));
        json!({
            "plans": one.label,
            "digest": one.digest,
            "holds": one.check.holds(),
            "payments": one.check.payments,
            "doubles": one.check.doubles,
            "forgotten": one.check.forgotten,
            "changed_requests": one.check.changed_bodies,
            "difference": differences.collect::<Map<String, Value>>(),
        })
    });
    json!({
        "note": WATERMARK,
        "as_of": report.as_of.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "from": report.window.0.to_string(),
        "until": report.window.1.to_string(),
        "scenario": report.scenario,
        "scenario_digest": report.scenario_digest,
        "seed": report.seed,
        "zone_data": tz_version(),
        "subscriptions": report.subscriptions,
        "rows": rows,
        "total": report.totals().iter().map(object).collect::<Vec<_>>(),
        "check": checks.collect::<Vec<_>>(),
        "notes": report.notes(),
    })
}

fn table(report: &Report, (header, objects): (&[&str], &[Value]), rows: bool, sink: &mut Sink) -> Result<(), Stop> {
    let (from, until) = report.window;
    writeln!(sink, "{WATERMARK}")?;
    let digest = report.scenario_digest.as_ref().map(|digest| format!(" (sha256 {digest}…)")).unwrap_or_default();
    writeln!(
        sink,
        "{} subscriptions as of {}, due from {from} to {until}; scenario {}{digest}; seed {}",
        report.subscriptions,
        report.as_of.format("%Y-%m-%dT%H:%M:%SZ"),
        report.scenario,
        report.seed
    )?;
    let shown: Vec<&str> = header
        .iter()
        .copied()
        .filter(|name| {
            let hidden = MEASURES.iter().any(|(measure, _, shown)| measure == name && !shown && !rows);
            let fees = !report.with_fees && matches!(*name, "fees" | "net");
            !hidden && !fees && (report.compares() || *name != "plans")
        })
        .collect();
    let totals: Vec<Value> = if rows { Vec::new() } else { report.totals().iter().map(object).collect() };
    let mut table = Table::new();
    table.load_style(if sink.is_terminal() { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    table.set_header(&shown);
    for object in objects.iter().chain(&totals) {
        table.add_row(shown.iter().map(|name| {
            let text: String =
                cell(&object[*name], false).chars().map(|ch| if ch.is_control() { ' ' } else { ch }).collect();
            let more = object["plans"] == "difference" && is_number(name) && !text.starts_with(['-', '0']);
            if more { format!("+{text}") } else { text }
        }));
    }
    for (place, name) in shown.iter().enumerate() {
        if let Some(column) = table.column_mut(place).filter(|_| is_number(name)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(sink, "{}", line.trim_end())?;
    }
    for note in report.notes() {
        writeln!(sink, "{note}")?;
    }
    Ok(())
}

/// Where data goes: standard output, a device, or a file that is moved into its place when it is whole.
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    Stdout(BufWriter<std::io::Stdout>),
    /// A device or a pipe, which is written to as it is.
    Device(BufWriter<File>),
    /// A file.
    File {
        /// What is written so far.
        file: BufWriter<File>,
        /// Where it grows.
        part: PathBuf,
        /// Where it belongs.
        path: PathBuf,
    },
}

impl Sink {
    /// Begins the output, before anything is done whose result could then not be written.
    ///
    /// # Errors
    /// Wrong usage, when it cannot be written.
    pub fn open(out: Option<&Path>) -> Result<Self, Stop> {
        let Some(path) = out.filter(|path| path.as_os_str() != "-") else {
            return Ok(Self::Stdout(BufWriter::new(std::io::stdout())));
        };
        let refused = |message: String| {
            let mend = "name a file in a folder that exists and that you may write to";
            Stop::because(Exit::Usage, Problem::new("--out", path.display().to_string(), message, mend))
        };
        let cannot = |error: std::io::Error| refused(format!("cannot be written: {}", plainly(&error)));
        if path.is_dir() {
            return Err(refused("is a folder".to_owned()));
        }
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            let file = File::options().write(true).open(path).map_err(cannot)?;
            return Ok(Self::Device(BufWriter::new(file)));
        }
        let mut part = path.to_owned().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(cannot)?;
        Ok(Self::File { file: BufWriter::new(file), part, path: path.to_owned() })
    }

    /// The file that is left behind should nothing more be written.
    #[must_use]
    pub fn part(&self) -> Option<PathBuf> {
        match self {
            Self::File { part, .. } => Some(part.clone()),
            Self::Stdout(_) | Self::Device(_) => None,
        }
    }

    fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdout(_)) && std::io::stdout().is_terminal()
    }

    fn finish(self) -> Result<(), Stop> {
        match self {
            Self::Stdout(mut out) => out.flush()?,
            Self::Device(mut out) => out.flush()?,
            Self::File { mut file, part, path } => {
                file.flush()?;
                std::fs::rename(part, path)?;
            }
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Device(file) | Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Device(file) | Self::File { file, .. } => file.flush(),
        }
    }
}
