//! Reads a snapshot: once from end to end before any of it is believed, and then row by row.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use domain::calendar::Zone;
use domain::forecast::compare::Foreseen;
use domain::forecast::{Kind, Rail};
use domain::id::{PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{COLUMNS, Closing, ClosingLine, Count, FAMILY, Header, MonthTotal, SCHEMA, closing_line, id_of};
use crate::files::FileMistake;
use crate::files::mistake::shown;

/// Longest line, in bytes: a header names every plan.
const LONGEST_LINE: u64 = 64 << 20;
/// Mistakes told of one snapshot.
const MOST_MISTAKES: usize = 50;

/// A snapshot that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is of.
    pub header: Header,
    /// Its id.
    pub id: String,
    /// How many rows it has.
    pub rows: u64,
    /// What falls due in each month.
    pub totals: Vec<MonthTotal>,
    path: PathBuf,
    label: String,
}

/// Its rows, by subscription and cycle.
#[derive(Debug)]
pub struct Rows {
    lines: Lines,
    label: String,
}

#[derive(Debug)]
struct Lines {
    file: BufReader<File>,
    number: usize,
}

/// The row as it stands in the file.
#[derive(Deserialize)]
struct Stored(String, u32, NaiveDate, NaiveDate, i64, i64, String, String, u32, Option<String>, String);

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), number: 0 })
    }

    /// The next line with its ending, if it has one.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        self.number += 1;
        Ok((!line.is_empty()).then_some(line))
    }
}

const TAKE_AGAIN: &str = "take the snapshot again, or fetch a copy that was not changed";

fn mistake(label: &str, line: usize, (code, value): (&'static str, &str), message: String, mend: &str) -> FileMistake {
    let (path, value) = (label.to_owned(), shown(value));
    FileMistake { path, line, column: 1, code, value, message, mend: mend.to_owned() }
}

fn unreadable(label: &str, line: usize, error: &io::Error) -> FileMistake {
    let message = format!("the file cannot be read: {}", crate::files::mistake::plainly(error));
    mistake(label, line, ("unreadable_file", ""), message, "name the file that autopay forecast --snapshot wrote")
}

/// A row, or what is wrong with it.
fn row(line: &[u8]) -> Result<Foreseen, String> {
    let stored: Stored = serde_json::from_slice(line).map_err(|error| {
        let said = error.to_string();
        format!("the row cannot be read: {}", said.split(" at line").next().unwrap_or_default())
    })?;
    let Stored(subscription, cycle, due_on, counts_on, minor, adjusted, currency, plan, plan_version, method, kind) =
        stored;
    let currency = Currency::parse(&currency).map_err(|error| error.to_string())?;
    let method = match method.as_deref() {
        None => None,
        Some(word) => {
            let found = Rail::ALL.into_iter().find(|rail| rail.word() == word);
            Some(found.ok_or_else(|| "the method is neither card nor bank_account".to_owned())?)
        }
    };
    let kind = [Kind::Scheduled, Kind::CatchUp, Kind::Retry].into_iter().find(|known| known.word() == kind);
    if minor < 0 {
        return Err("the amount is below zero".to_owned());
    }
    Ok(Foreseen {
        subscription: SubscriptionId::parse(&subscription).map_err(|error| error.to_string())?,
        cycle,
        due_on,
        counts_on,
        amount: Money::new(minor, currency),
        adjusted,
        plan: PlanId::parse(&plan).map_err(|error| error.to_string())?,
        plan_version,
        method,
        kind: kind.ok_or_else(|| "the kind is none of scheduled, catch_up and retry".to_owned())?,
    })
}

/// Reads a snapshot from end to end.
///
/// # Errors
/// What is wrong with it, never an empty list: another form or version, rows that cannot be read or stand in another order, control
/// totals that are not those of its rows, an id that is not that of its contents.
pub fn check(path: &Path) -> Result<Snapshot, Vec<FileMistake>> {
    let label = path.display().to_string();
    let failed = |line: usize, error: &io::Error| vec![unreadable(&label, line, error)];
    let mut lines = Lines::open(path).map_err(|error| failed(1, &error))?;
    let mut digest = Sha256::new();
    let first = lines.next().map_err(|error| failed(1, &error))?.unwrap_or_default();
    let header = header(&label, &first)?;
    digest.update(&first);
    let mut count = Count::default();
    let mut found = Vec::new();
    let mut before: Option<(SubscriptionId, u32)> = None;
    let mut closing = None;
    while let Some(line) = lines.next().map_err(|error| failed(lines.number, &error))? {
        let number = lines.number;
        if closing.is_some() {
            let message = "lines follow after the last line".to_owned();
            found.push(mistake(&label, number, ("not_the_end", ""), message, TAKE_AGAIN));
            break;
        }
        if line.starts_with(b"{") {
            closing = Some((number, line));
            continue;
        }
        digest.update(&line);
        match row(&line) {
            Ok(row) => {
                let key = (row.subscription.clone(), row.cycle);
                if before.as_ref().is_some_and(|before| *before >= key) {
                    let message = "the row stands out of its order, by subscription and cycle".to_owned();
                    found.push(mistake(&label, number, ("out_of_order", key.0.as_str()), message, TAKE_AGAIN));
                }
                before = Some(key);
                count.add(&row);
            }
            Err(why) => found.push(mistake(&label, number, ("row_damaged", ""), why, TAKE_AGAIN)),
        }
        if found.len() >= MOST_MISTAKES {
            return Err(found);
        }
    }
    let Some((number, line)) = closing else {
        let message = "the last line with the control totals is missing: the file was cut short".to_owned();
        found.push(mistake(&label, lines.number, ("cut_short", ""), message, TAKE_AGAIN));
        return Err(found);
    };
    if !found.is_empty() {
        return Err(found);
    }
    let Ok(said) = serde_json::from_slice::<ClosingLine>(&line) else {
        let message = "the last line is no line of control totals".to_owned();
        return Err(vec![mistake(&label, number, ("totals_damaged", ""), message, TAKE_AGAIN)]);
    };
    let counted = count.closing();
    found.extend(differing(&label, number, &said, &counted));
    let stated = Closing { rows: said.rows, totals: said.totals };
    let id = id_of(digest, &stated);
    let is_canonical = line.strip_suffix(b"\n") == Some(closing_line(stated, &said.id).as_bytes());
    if found.is_empty() && (id != said.id || !is_canonical) {
        let message = format!("the contents give the id {id}: something in the file was changed");
        found.push(mistake(&label, number, ("id_differs", &said.id), message, TAKE_AGAIN));
    }
    if !found.is_empty() {
        return Err(found);
    }
    let Closing { rows, totals } = counted;
    Ok(Snapshot { header, id, rows, totals, path: path.to_owned(), label })
}

/// Control totals that are not those of the rows.
fn differing(label: &str, line: usize, said: &ClosingLine, counted: &Closing) -> Vec<FileMistake> {
    let mut found = Vec::new();
    if said.rows != counted.rows {
        let message = format!("the last line says {} rows, and there are {}", said.rows, counted.rows);
        found.push(mistake(label, line, ("row_count_differs", ""), message, TAKE_AGAIN));
    }
    let of = |totals: &[MonthTotal], month: &str, currency: &str| {
        let its = totals.iter().find(|total| total.month == month && total.currency == currency);
        its.map_or((0, 0), |total| (total.charges, total.amount_minor))
    };
    let mut keys: Vec<(&str, &str)> = said
        .totals
        .iter()
        .chain(&counted.totals)
        .map(|total| (total.month.as_str(), total.currency.as_str()))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for (month, currency) in keys {
        let (stated, there) = (of(&said.totals, month, currency), of(&counted.totals, month, currency));
        if stated != there {
            let money = |minor: i64| {
                Currency::parse(currency).map_or_else(|_| minor.to_string(), |known| Money::new(minor, known).plain())
            };
            let message = format!(
                "the control total of {month} in {currency} says {} for {} charges, and its rows are {} for {}",
                money(stated.1),
                stated.0,
                money(there.1),
                there.0
            );
            found.push(mistake(label, line, ("control_total_differs", month), message, TAKE_AGAIN));
        }
    }
    found
}

fn header(label: &str, line: &[u8]) -> Result<Header, Vec<FileMistake>> {
    let refuse =
        |code, value: &str, message: &str, mend| vec![mistake(label, 1, (code, value), message.to_owned(), mend)];
    let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    let schema = value.as_ref().and_then(|value| value.get("schema")).and_then(serde_json::Value::as_str);
    match schema {
        Some(SCHEMA) => {}
        Some(other) if other.starts_with(FAMILY) => {
            let message = format!("the snapshot is of another version than this autopay reads, which is {SCHEMA}");
            let mend = "compare it with the release of autopay that wrote it, or take it again";
            return Err(refuse("version_unknown", other, &message, mend));
        }
        other => {
            let message = "the file is no snapshot of a forecast";
            return Err(refuse("not_a_snapshot", other.unwrap_or_default(), message, NAME_ONE));
        }
    }
    let header: Header = serde_json::from_slice(line).map_err(|error| {
        let said = error.to_string();
        let said = said.split(" at line").next().unwrap_or_default();
        refuse("header_damaged", "", &format!("the header cannot be read: {said}"), TAKE_AGAIN)
    })?;
    if header.columns != COLUMNS || Zone::parse(&header.time_zone).is_err() {
        let message = "the header names other columns, or a time zone that is none";
        return Err(refuse("header_damaged", &header.time_zone, message, TAKE_AGAIN));
    }
    Ok(header)
}

const NAME_ONE: &str = "name a file that autopay forecast --snapshot wrote";

impl Snapshot {
    /// Its rows, from the first.
    ///
    /// # Errors
    /// When the file is not there any more.
    pub fn rows(&self) -> Result<Rows, Vec<FileMistake>> {
        let failed = |error: io::Error| vec![unreadable(&self.label, 1, &error)];
        let mut lines = Lines::open(&self.path).map_err(failed)?;
        lines.next().map_err(failed)?;
        Ok(Rows { lines, label: self.label.clone() })
    }

    /// What falls due in a month, by currency.
    pub fn of_month(&self, first: NaiveDate) -> impl Iterator<Item = &MonthTotal> {
        let month = super::month_of(first);
        self.totals.iter().filter(move |total| total.month == month)
    }
}

impl Iterator for Rows {
    type Item = Result<Foreseen, Vec<FileMistake>>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.lines.next() {
            Ok(line) => line?,
            Err(error) => return Some(Err(vec![unreadable(&self.label, self.lines.number, &error)])),
        };
        if line.starts_with(b"{") {
            return None;
        }
        Some(
            row(&line)
                .map_err(|why| vec![mistake(&self.label, self.lines.number, ("row_damaged", ""), why, TAKE_AGAIN)]),
        )
    }
}
