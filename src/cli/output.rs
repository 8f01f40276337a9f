//! Everything a command prints. Data goes to standard output through one door, talk to standard error.
//!
//! A closed pipe is not a failure, a table on a terminal has the same columns as one in a pipe, money is never a float, and a cell of a
//! CSV file never starts a formula.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use domain::money::Money;

use super::exit::{Exit, Problem, Stop};
use crate::config::plainly;

/// Form of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people: framed on a terminal, plain columns in a pipe.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
    /// RFC 4180, with a header.
    Csv,
    /// A workbook with typed cells; forecasts only.
    Xlsx,
    /// A calendar (RFC 5545); forecasts only.
    Ics,
    /// Bars in the terminal; forecasts only.
    Chart,
    /// Markdown, for a comment of a review; `plans diff` only.
    Markdown,
}

impl Format {
    /// Is it a form that only a forecast has?
    pub(crate) const fn is_for_forecasts(self) -> bool {
        match self {
            Self::Xlsx | Self::Ics | Self::Chart => true,
            Self::Table | Self::Json | Self::Jsonl | Self::Csv | Self::Markdown => false,
        }
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Problems of one code that a person is shown; one mistake of a plan makes one for each of its subscribers.
const MOST_OF_A_CODE: usize = 100;

/// How this invocation prints.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    pub(crate) out: Option<PathBuf>,
    pub(crate) quiet: bool,
    pub(crate) color: Color,
}

/// One column; a column of money becomes two where machines read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Right,
    Money,
}

impl Column {
    pub(crate) const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Plain }
    }

    pub(crate) const fn number(name: &'static str) -> Self {
        Self { name, kind: Kind::Right }
    }

    /// Its name.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// In JSON and CSV: `name` as plain decimal text, and `currency`.
    pub(crate) const fn money(name: &'static str) -> Self {
        Self { name, kind: Kind::Money }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Empty,
    Text(String),
    Number(u64),
    Flag(bool),
    Money(Money),
    /// Money whose currency stands in a column of its own.
    Amount(Money),
    At(DateTime<Utc>),
    On(NaiveDate),
    /// Rows within a record: a second table, or a JSON array.
    Rows(&'static [Column], Vec<Vec<Cell>>),
}

impl Cell {
    pub(crate) fn text(text: impl std::fmt::Display) -> Self {
        Self::Text(text.to_string())
    }

    pub(crate) fn maybe<T>(value: Option<T>, make: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Empty, make)
    }

    /// For people: one line, no control characters.
    fn shown(&self) -> String {
        let text = match self {
            Self::Empty => "-".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            Self::Money(money) => money.to_string(),
            Self::Amount(money) => money.plain(),
            Self::At(at) => instant(at),
            Self::On(date) => date.to_string(),
            Self::Rows(_, rows) => rows.len().to_string(),
        };
        text.chars().map(|ch| if ch.is_control() { ' ' } else { ch }).collect()
    }

    /// For CSV. Text that a spreadsheet would run is made text by a quote in front.
    fn csv(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => inert(text),
            Self::Money(money) | Self::Amount(money) => money.plain(),
            Self::Flag(flag) => flag.to_string(),
            Self::Number(_) | Self::At(_) | Self::On(_) | Self::Rows(..) => self.shown(),
        }
    }

    fn json(&self) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Empty => "null".to_owned(),
            Self::Text(value) => text(value),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Money(money) | Self::Amount(money) => text(&money.plain()),
            Self::At(at) => text(&instant(at)),
            Self::On(date) => text(&date.to_string()),
            Self::Rows(columns, rows) => {
                let rows: Vec<String> = rows.iter().map(|row| object(columns, row)).collect();
                format!("[{}]", rows.join(","))
            }
        }
    }
}

/// RFC 3339 in UTC, with a fraction only where there is one.
pub(crate) fn instant(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A line on standard error that `-q` does not silence.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `1 zone`, `2 zones`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `9,900` for 9900.
fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len().saturating_sub(place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The problems in their order, without those of a code that has had so many; and how many of which code that leaves out. One without a
/// code is never left out.
fn at_most(problems: &[Problem], most: usize) -> (Vec<&Problem>, Vec<(&'static str, usize)>) {
    let mut seen = BTreeMap::<&str, usize>::new();
    let mut shown = Vec::new();
    let mut cut: Vec<(&'static str, usize)> = Vec::new();
    for problem in problems {
        let count = seen.entry(problem.code).or_default();
        *count = count.saturating_add(1);
        if problem.code.is_empty() || *count <= most {
            shown.push(problem);
        } else if let Some((_, more)) = cut.iter_mut().find(|(code, _)| *code == problem.code) {
            *more = more.saturating_add(1);
        } else {
            cut.push((problem.code, 1));
        }
    }
    (shown, cut)
}

/// The file beside its place in which output grows until it is whole.
fn part_of(path: &Path) -> PathBuf {
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    PathBuf::from(part)
}

/// A device or a pipe, which is written to as it is: it cannot be moved into place.
fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// A cell that starts like a formula gets a quote in front of it.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// A JSON object with its keys in the order of the columns.
fn object(columns: &[Column], row: &[Cell]) -> String {
    let mut parts = Vec::with_capacity(columns.len());
    for (column, cell) in columns.iter().zip(row) {
        parts.push(format!("\"{}\":{}", column.name, cell.json()));
        if column.kind == Kind::Money {
            let currency = match cell {
                Cell::Money(money) => format!("\"{}\"", money.currency()),
                _ => "null".to_owned(),
            };
            parts.push(format!("\"currency\":{currency}"));
        }
    }
    format!("{{{}}}", parts.join(","))
}

impl Printer {
    /// Talk: progress, hints, notes. Not shown with `-q`.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            // Nobody listens: the work goes on.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// The problems of a failed command: sentences, or `{"errors":[…]}` with `-o json`.
    pub(crate) fn fail(&self, problems: &[Problem]) {
        let mut err = io::stderr().lock();
        let written = match self.format {
            Format::Json | Format::Jsonl => writeln!(err, "{}", serde_json::json!({ "errors": problems })),
            Format::Table | Format::Csv | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {
                let (on, off) = if self.colored() { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
                let (shown, cut) = at_most(problems, MOST_OF_A_CODE);
                let told = shown.iter().try_for_each(|problem| writeln!(err, "{on}error{off}: {problem}"));
                told.and_then(|()| {
                    cut.iter().try_for_each(|(code, more)| {
                        writeln!(err, "… and {} more of {code}; -o json lists all of them", grouped(*more))
                    })
                })
            }
        };
        drop(written);
    }

    /// Begins the file of `--out`, before anything is done whose result could then not be written.
    ///
    /// # Errors
    /// Wrong usage, when it cannot be written, or when there is none and a workbook would go to a terminal.
    pub(crate) fn prepare(&self) -> Result<(), Stop> {
        let Some(path) = self.file() else {
            if self.format == Format::Xlsx && io::stdout().is_terminal() {
                let problem = Problem::new("--output", "xlsx", "is no text for a terminal", "add --out FILE.xlsx");
                return Err(Stop::because(Exit::Usage, problem));
            }
            return Ok(());
        };
        let begun = if path.is_dir() {
            Err("is a folder".to_owned())
        } else if is_device(path) {
            Ok(())
        } else {
            File::create(part_of(path)).map(drop).map_err(|error| format!("cannot be written: {}", plainly(&error)))
        };
        begun.map_err(|message| {
            let mend = "name a file in a folder that exists and that you may write to";
            Stop::because(Exit::Usage, Problem::new("--out", path.display().to_string(), message, mend))
        })
    }

    /// Removes a file of `--out` that was begun and never became whole.
    pub(crate) fn clear(&self) {
        if let Some(path) = self.file().filter(|path| !is_device(path)) {
            // Nothing is left to remove once the file is whole.
            let _ = std::fs::remove_file(part_of(path));
        }
    }

    /// The file of `--out`, unless it means standard output.
    fn file(&self) -> Option<&Path> {
        self.out.as_deref().filter(|path| path.as_os_str() != "-")
    }

    pub(super) fn colored(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
                io::stderr().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }

    pub(crate) fn open(&self) -> Result<Sink, Stop> {
        let Some(path) = self.file() else { return Ok(Sink::Stdout(BufWriter::new(io::stdout()))) };
        if is_device(path) {
            let file = File::options().write(true).open(path)?;
            return Ok(Sink::Device(BufWriter::new(file)));
        }
        let temp = part_of(path);
        let file = BufWriter::new(File::create(&temp)?);
        Ok(Sink::File { file, temp, path: path.to_owned() })
    }

    /// Text as it is.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Stop> {
        let mut sink = self.open()?;
        sink.write_all(bytes)?;
        sink.finish()
    }

    /// A list, page by page.
    pub(crate) fn list(&self, columns: &'static [Column]) -> Result<Listing, Stop> {
        let sink = self.open()?;
        let framed = sink.is_terminal();
        Listing::start(sink, self.format, columns, framed)
    }

    /// A list within a document: in JSON the rows stand under `name`, beside what [`Listing::finish_with`] adds.
    pub(crate) fn list_within(&self, name: &str, columns: &'static [Column]) -> Result<Listing, Stop> {
        let mut sink = self.open()?;
        if self.format == Format::Json {
            write!(sink, "{{\"{name}\":")?;
        }
        let framed = sink.is_terminal();
        Listing::start(sink, self.format, columns, framed)
    }

    /// A list that begins a document of several, ended with [`Listing::finish_document`]: below some text where people read, under `name`
    /// in JSON.
    pub(crate) fn document(&self, text: &str, name: &str, columns: &'static [Column]) -> Result<Listing, Stop> {
        let mut sink = self.open()?;
        match self.format {
            Format::Table => writeln!(sink, "{text}")?,
            Format::Json => write!(sink, "{{\"{name}\":")?,
            Format::Jsonl | Format::Csv | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {}
        }
        let framed = sink.is_terminal();
        Listing::start(sink, self.format, columns, framed)
    }

    /// A list below some text; the text only where people read.
    pub(crate) fn list_below(&self, text: &str, columns: &'static [Column]) -> Result<Listing, Stop> {
        let mut sink = self.open()?;
        if self.format == Format::Table {
            writeln!(sink, "{text}")?;
        }
        let framed = sink.is_terminal();
        Listing::start(sink, self.format, columns, framed)
    }

    /// A whole list.
    pub(crate) fn rows(&self, columns: &'static [Column], rows: &[Vec<Cell>]) -> Result<(), Stop> {
        let mut listing = self.list(columns)?;
        listing.page(rows)?;
        listing.finish()
    }

    /// One thing: a JSON object rather than an array, a list of names and values rather than a row.
    pub(crate) fn record(&self, columns: &'static [Column], row: &[Cell]) -> Result<(), Stop> {
        match self.format {
            Format::Json | Format::Jsonl => self.raw(format!("{}\n", object(columns, row)).as_bytes()),
            Format::Csv => self.rows(columns, &[row.to_vec()]),
            Format::Table | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {
                let mut sink = self.open()?;
                let framed = sink.is_terminal();
                let width = columns.iter().map(|column| column.name.len()).max().unwrap_or_default();
                for (column, cell) in columns.iter().zip(row) {
                    if let Cell::Rows(inner, rows) = cell {
                        writeln!(sink, "{}:", column.name)?;
                        table(&mut sink, inner, rows, true, framed)?;
                    } else {
                        writeln!(sink, "{:width$}  {}", column.name, cell.shown())?;
                    }
                }
                sink.finish()
            }
        }
    }
}

/// Where data goes.
#[derive(Debug)]
pub(crate) enum Sink {
    Stdout(BufWriter<io::Stdout>),
    Device(BufWriter<File>),
    /// Written beside its place and moved there when it is whole.
    File {
        file: BufWriter<File>,
        temp: PathBuf,
        path: PathBuf,
    },
}

impl Sink {
    fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout(_) => io::stdout().is_terminal(),
            Self::Device(file) => file.get_ref().is_terminal(),
            Self::File { .. } => false,
        }
    }

    pub(crate) fn finish(mut self) -> Result<(), Stop> {
        self.flush()?;
        if let Self::File { file, temp, path } = self {
            file.get_ref().sync_all()?;
            std::fs::rename(temp, path)?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Device(file) | Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Device(file) | Self::File { file, .. } => file.flush(),
        }
    }
}

/// A whole list with the name it has in JSON.
pub(crate) type NamedList<'n> = (&'n str, &'static [Column], Vec<Vec<Cell>>);

/// A list under way.
#[derive(Debug)]
pub(crate) struct Listing {
    sink: Sink,
    format: Format,
    columns: &'static [Column],
    framed: bool,
    printed: u64,
}

impl Listing {
    fn start(mut sink: Sink, format: Format, columns: &'static [Column], framed: bool) -> Result<Self, Stop> {
        match format {
            Format::Json => write!(sink, "[")?,
            Format::Csv => {
                let names = columns.iter().flat_map(|column| match column.kind {
                    Kind::Money => vec![column.name, "currency"],
                    Kind::Plain | Kind::Right => vec![column.name],
                });
                csv_line(&mut sink, names)?;
            }
            Format::Table | Format::Jsonl | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {}
        }
        Ok(Self { sink, format, columns, framed, printed: 0 })
    }

    /// Prints further rows.
    pub(crate) fn page(&mut self, rows: &[Vec<Cell>]) -> Result<(), Stop> {
        match self.format {
            Format::Table | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {
                if !rows.is_empty() || self.printed == 0 {
                    table(&mut self.sink, self.columns, rows, self.printed == 0 || self.framed, self.framed)?;
                }
            }
            Format::Json => {
                for (place, row) in rows.iter().enumerate() {
                    let between = if self.printed == 0 && place == 0 { "\n" } else { ",\n" };
                    write!(self.sink, "{between}{}", object(self.columns, row))?;
                }
            }
            Format::Jsonl => rows.iter().try_for_each(|row| writeln!(self.sink, "{}", object(self.columns, row)))?,
            Format::Csv => {
                for row in rows {
                    let cells = self.columns.iter().zip(row).flat_map(|(column, cell)| match (column.kind, cell) {
                        (Kind::Money, Cell::Money(money)) => vec![money.plain(), money.currency().to_string()],
                        (Kind::Money, _) => vec![String::new(), String::new()],
                        (Kind::Plain | Kind::Right, cell) => vec![cell.csv()],
                    });
                    csv_line(&mut self.sink, cells)?;
                }
            }
        }
        self.printed = self.printed.saturating_add(rows.len().try_into().unwrap_or(u64::MAX));
        Ok(())
    }

    /// Another list below this one, under a title, where people read.
    pub(crate) fn another(&mut self, title: &str, columns: &[Column], rows: &[Vec<Cell>]) -> Result<(), Stop> {
        writeln!(self.sink, "{title}")?;
        table(&mut self.sink, columns, rows, true, self.framed)?;
        Ok(())
    }

    /// Ends a list that was begun with [`Printer::list_within`], with further values: fields of the document in JSON, a last
    /// object in JSON lines, a last line for people; a CSV file stays rows only.
    pub(crate) fn finish_with(mut self, values: &[(&str, &str)]) -> Result<(), Stop> {
        let pair = |(name, value): &(&str, &str)| format!("\"{name}\":{}", serde_json::Value::from(*value));
        let fields = values.iter().map(pair).collect::<Vec<_>>().join(",");
        match self.format {
            Format::Json => {
                let end = if self.printed == 0 { "]" } else { "\n]" };
                writeln!(self.sink, "{end},{fields}}}")?;
            }
            Format::Jsonl => writeln!(self.sink, "{{{fields}}}")?,
            Format::Table | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {
                let words = values.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>();
                writeln!(self.sink, "{}", words.join("  "))?;
            }
            Format::Csv => {}
        }
        self.sink.finish()
    }

    /// Ends a list that was begun with [`Printer::list_within`], with a second one: under its name in JSON, further objects in JSON
    /// lines, a second table for people; a CSV file has one kind of row only.
    pub(crate) fn finish_with_list(
        mut self,
        name: &str,
        columns: &'static [Column],
        rows: &[Vec<Cell>],
    ) -> Result<(), Stop> {
        match self.format {
            Format::Json => {
                let rows: Vec<String> = rows.iter().map(|row| object(columns, row)).collect();
                let end = if self.printed == 0 { "]" } else { "\n]" };
                writeln!(self.sink, "{end},\"{name}\":[\n{}\n]}}", rows.join(",\n"))?;
            }
            Format::Jsonl => rows.iter().try_for_each(|row| writeln!(self.sink, "{}", object(columns, row)))?,
            Format::Table | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {
                if self.printed > 0 {
                    writeln!(self.sink)?;
                }
                table(&mut self.sink, columns, rows, true, self.framed)?;
            }
            Format::Csv => {}
        }
        self.sink.finish()
    }

    /// Ends a list that was begun with [`Printer::list_within`], with further lists and values: fields of the document in JSON, further
    /// objects in JSON lines, the lists alone for people, each below the one before; a CSV file has one kind of row only.
    pub(crate) fn finish_document(mut self, lists: &[NamedList<'_>], values: &[(&str, String)]) -> Result<(), Stop> {
        let pair = |(name, value): &(&str, String)| format!("\"{name}\":{}", serde_json::Value::from(value.as_str()));
        let fields = values.iter().map(pair).collect::<Vec<_>>().join(",");
        match self.format {
            Format::Json => {
                write!(self.sink, "{}", if self.printed == 0 { "]" } else { "\n]" })?;
                for (name, columns, rows) in lists {
                    let rows: Vec<String> = rows.iter().map(|row| object(columns, row)).collect();
                    write!(self.sink, ",\"{name}\":[\n{}\n]", rows.join(",\n"))?;
                }
                writeln!(self.sink, ",{fields}}}")?;
            }
            Format::Jsonl => {
                for (_, columns, rows) in lists {
                    rows.iter().try_for_each(|row| writeln!(self.sink, "{}", object(columns, row)))?;
                }
                writeln!(self.sink, "{{{fields}}}")?;
            }
            Format::Table | Format::Xlsx | Format::Ics | Format::Chart | Format::Markdown => {
                for (_, columns, rows) in lists {
                    if self.printed > 0 {
                        writeln!(self.sink)?;
                    }
                    table(&mut self.sink, columns, rows, true, self.framed)?;
                    self.printed = self.printed.saturating_add(1);
                }
            }
            Format::Csv => {}
        }
        self.sink.finish()
    }

    pub(crate) fn finish(mut self) -> Result<(), Stop> {
        if self.format == Format::Json {
            let end = if self.printed == 0 { "]" } else { "\n]" };
            writeln!(self.sink, "{end}")?;
        }
        self.sink.finish()
    }
}

fn csv_line<T: AsRef<[u8]>>(sink: &mut Sink, cells: impl IntoIterator<Item = T>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells).map_err(io::Error::other)?;
    let line = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    sink.write_all(&line)
}

/// A table: framed on a terminal, padded columns elsewhere.
fn table(sink: &mut Sink, columns: &[Column], rows: &[Vec<Cell>], header: bool, framed: bool) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(if framed { presets::UTF8_FULL_CONDENSED } else { presets::NOTHING });
    if header {
        table.set_header(columns.iter().map(|column| column.name));
    }
    for row in rows {
        table.add_row(row.iter().map(Cell::shown));
    }
    for (place, column) in columns.iter().enumerate() {
        if let Some(found) = table.column_mut(place) {
            found.set_cell_alignment(match column.kind {
                Kind::Plain => CellAlignment::Left,
                Kind::Right | Kind::Money => CellAlignment::Right,
            });
            if !framed {
                found.set_padding((0, 2));
            }
        }
    }
    for line in table.lines() {
        writeln!(sink, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::money::Currency;

    const COLUMNS: &[Column] =
        &[Column::text("id"), Column::number("tries"), Column::money("amount"), Column::text("note")];

    fn rows() -> Vec<Vec<Cell>> {
        let row = |id: &str, amount, note: &str| {
            vec![Cell::text(id), Cell::Number(2), Cell::Money(Money::new(amount, Currency::USD)), Cell::text(note)]
        };
        vec![row("a", 110_421_000, "=cmd()"), row("b", 5, "two\nlines, \"quoted\"")]
    }

    fn printed(format: Format, pages: &[Vec<Vec<Cell>>]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let printer = Printer { format, out: Some(path.clone()), quiet: true, color: Color::Never };
        let mut listing = printer.list(COLUMNS).unwrap();
        for page in pages {
            listing.page(page).unwrap();
        }
        listing.finish().unwrap();
        assert!(!folder.path().join("out.part").exists());
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_table_in_a_pipe_has_plain_aligned_columns() {
        let text = printed(Format::Table, &[rows()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("id"), "{text}");
        assert!(lines[1].contains("USD 1,104,210.00"), "{text}");
        assert!(lines[2].contains("USD 0.05") && lines[2].contains("two lines"), "{text}");
    }

    #[test]
    fn csv_cells_start_no_formula_and_money_is_plain() {
        let text = printed(Format::Csv, &[rows()]);
        assert_eq!(
            text,
            "id,tries,amount,currency,note\na,2,1104210.00,USD,'=cmd()\nb,2,0.05,USD,\"two\nlines, \"\"quoted\"\"\"\n"
        );
    }

    #[test]
    fn json_is_one_document_however_many_pages_there_are() {
        let pages: Vec<Vec<Vec<Cell>>> = rows().into_iter().map(|row| vec![row]).collect();
        let value: serde_json::Value = serde_json::from_str(&printed(Format::Json, &pages)).unwrap();
        assert_eq!(value[0]["amount"], "1104210.00");
        assert_eq!(value[0]["currency"], "USD");
        assert_eq!(value[1]["note"], "two\nlines, \"quoted\"");
        assert_eq!(printed(Format::Json, &[]), "[]\n");
        assert_eq!(printed(Format::Jsonl, &pages).lines().count(), 2);
    }

    #[test]
    fn a_hundred_problems_of_one_code_are_shown_and_the_others_counted() {
        let of = |code: &'static str, count: usize| {
            (0..count).map(move |n| {
                let mut problem = Problem::new(format!("{code}{n}"), "", "is wrong", "mend it");
                problem.code = code;
                problem
            })
        };
        let all: Vec<Problem> =
            of("a", 99).chain(of("b", 10_000)).chain(of("", 250)).chain(of("a", 3)).chain(of("c", 100)).collect();
        let (shown, cut) = at_most(&all, MOST_OF_A_CODE);
        assert_eq!((shown.len(), cut), (100 + 100 + 250 + 100, vec![("b", 9_900), ("a", 2)]));
        let places: Vec<&str> = shown.iter().map(|problem| problem.place.as_str()).collect();
        assert_eq!([places[0], places[99], places[199], places[449], places[450]], ["a0", "b0", "0", "a0", "c0"]);
        let told = [(0, "0"), (999, "999"), (1_000, "1,000"), (9_900, "9,900"), (1_234_567, "1,234,567")];
        told.iter().for_each(|(count, text)| assert_eq!(grouped(*count), *text));
    }

    #[test]
    fn every_kind_of_cell_that_starts_a_formula_is_made_inert() {
        for start in ["=", "+", "-", "@", "\t", "\r"] {
            assert!(Cell::text(format!("{start}x")).csv().starts_with('\''));
        }
        assert_eq!(Cell::text("x=1").csv(), "x=1");
    }
}
