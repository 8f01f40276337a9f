//! Writes a snapshot: beside its place, and moved there when it is whole.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use domain::forecast::Entry;
use domain::forecast::compare::Foreseen;
use sha2::{Digest as _, Sha256};

use super::{Count, Header, closing_line, id_of};

/// Bytes of rows that are sorted in memory at once.
const SORTED_AT_ONCE: usize = 64 << 20;

/// How the subscriptions come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By id: they are written as they come.
    ById,
    /// In any order: they are sorted, in files beside the snapshot where they are many.
    Any,
}

/// A snapshot that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    /// How many rows it has.
    pub rows: u64,
}

/// A snapshot under way. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    out: BufWriter<File>,
    part: PathBuf,
    target: PathBuf,
    window: std::ops::RangeInclusive<chrono::NaiveDate>,
    order: Order,
    digest: Sha256,
    count: Count,
    /// The rows of the subscription that is being walked.
    current: Vec<Foreseen>,
    last: Option<String>,
    /// Sorted later: a subscription's id and its lines.
    heap: Vec<(String, String)>,
    held: usize,
    runs: Vec<PathBuf>,
    most: usize,
    failed: Option<io::Error>,
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

impl Writer {
    /// Begins a snapshot in a file, or in a folder under its id.
    ///
    /// # Errors
    /// When the file cannot be begun.
    pub fn begin(target: &Path, header: &Header, order: Order) -> io::Result<Self> {
        Self::begin_with(target, header, order, SORTED_AT_ONCE)
    }

    pub(super) fn begin_with(target: &Path, header: &Header, order: Order, most: usize) -> io::Result<Self> {
        let part = if target.is_dir() { target.join("forecast.part") } else { beside(target, ".part") };
        let mut writer = Self {
            out: BufWriter::new(File::create(&part)?),
            part,
            target: target.to_owned(),
            window: header.from..=header.until,
            order,
            digest: Sha256::new(),
            count: Count::default(),
            current: Vec::new(),
            last: None,
            heap: Vec::new(),
            held: 0,
            runs: Vec::new(),
            most,
            failed: None,
        };
        let line = serde_json::to_string(header)?;
        writer.line(&line)?;
        Ok(writer)
    }

    /// Adds a charge, if the forecast's window has it. Those of one subscription come together. What cannot be written is told at the end.
    pub fn add(&mut self, entry: &Entry<'_>) {
        if self.failed.is_some() || !(self.window.contains(&entry.due_on) || self.window.contains(&entry.on)) {
            return;
        }
        if self.current.first().is_some_and(|first| first.subscription != entry.subscription.id) {
            self.failed = self.turn().err();
        }
        self.current.push(Foreseen::of(entry));
    }

    /// The last line, and the snapshot in its place.
    ///
    /// # Errors
    /// What failed, also before.
    pub fn finish(mut self) -> io::Result<Written> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.turn()?;
        if self.runs.is_empty() {
            self.heap.sort();
            for (_, lines) in std::mem::take(&mut self.heap) {
                self.lines(&lines)?;
            }
        } else {
            self.spill()?;
            self.merge()?;
        }
        let closing = std::mem::take(&mut self.count).closing();
        let rows = closing.rows;
        let id = id_of(self.digest.clone(), &closing);
        let line = closing_line(closing, &id);
        self.line(&line)?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        let path = if self.target.is_dir() { self.target.join(format!("{id}.jsonl")) } else { self.target.clone() };
        std::fs::rename(&self.part, &path)?;
        Ok(Written { id, path, rows })
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.lines(&format!("{line}\n"))
    }

    fn lines(&mut self, lines: &str) -> io::Result<()> {
        self.digest.update(lines.as_bytes());
        self.out.write_all(lines.as_bytes())
    }

    /// A subscription is over: its rows go by cycle.
    fn turn(&mut self) -> io::Result<()> {
        let mut rows = std::mem::take(&mut self.current);
        let Some(id) = rows.first().map(|row| row.subscription.to_string()) else { return Ok(()) };
        rows.sort_by_key(|row| row.cycle);
        let mut lines = String::new();
        let mut before = None;
        for row in &rows {
            if before.replace(row.cycle) == Some(row.cycle) {
                return Err(io::Error::other(format!(
                    "cycle {} of {id} was forecast twice, which is a mistake of autopay",
                    row.cycle
                )));
            }
            self.count.add(row);
            lines.push_str(&written(row)?);
            lines.push('\n');
        }
        match self.order {
            Order::ById => {
                if self.last.as_ref().is_some_and(|last| *last >= id) {
                    return Err(io::Error::other(format!("{id} came out of order, which is a mistake of autopay")));
                }
                self.last = Some(id);
                self.lines(&lines)
            }
            Order::Any => {
                self.held = self.held.saturating_add(lines.len()).saturating_add(id.len());
                self.heap.push((id, lines));
                if self.held > self.most { self.spill() } else { Ok(()) }
            }
        }
    }

    /// Writes what was gathered, sorted, into a file of its own.
    fn spill(&mut self) -> io::Result<()> {
        let mut heap = std::mem::take(&mut self.heap);
        self.held = 0;
        if heap.is_empty() {
            return Ok(());
        }
        heap.sort();
        let path = beside(&self.part, &format!(".{}", self.runs.len()));
        let mut run = BufWriter::new(File::create(&path)?);
        self.runs.push(path);
        for (id, lines) in heap {
            for line in lines.lines() {
                writeln!(run, "{id}\t{line}")?;
            }
        }
        run.flush()
    }

    /// Merges the sorted files. A subscription stands in one of them, so its lines stay together.
    fn merge(&mut self) -> io::Result<()> {
        let mut runs = Vec::new();
        let mut heads = BinaryHeap::new();
        for (place, path) in self.runs.iter().enumerate() {
            let mut run = BufReader::new(File::open(path)?);
            if let Some((id, line)) = next_of(&mut run)? {
                heads.push(Reverse((id, place, line)));
            }
            runs.push(run);
        }
        while let Some(Reverse((id, place, line))) = heads.pop() {
            self.lines(&line)?;
            let Some(run) = runs.get_mut(place) else { continue };
            while let Some((next, line)) = next_of(run)? {
                if next != id {
                    heads.push(Reverse((next, place, line)));
                    break;
                }
                self.lines(&line)?;
            }
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Nothing is left to remove of a snapshot that was finished.
        let _ = std::fs::remove_file(&self.part);
        for run in &self.runs {
            let _ = std::fs::remove_file(run);
        }
    }
}

/// The next line of a sorted file, with the subscription it is of.
fn next_of(run: &mut BufReader<File>) -> io::Result<Option<(String, String)>> {
    let mut line = String::new();
    if run.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match line.split_once('\t') {
        Some((id, rest)) => Ok(Some((id.to_owned(), rest.to_owned()))),
        None => Err(io::Error::other("a file of sorted rows was changed while it was read")),
    }
}

fn written(row: &Foreseen) -> io::Result<String> {
    let line = serde_json::to_string(&(
        row.subscription.as_str(),
        row.cycle,
        row.due_on,
        row.counts_on,
        row.amount.minor(),
        row.adjusted,
        row.amount.currency().code(),
        row.plan.as_str(),
        row.plan_version,
        row.method.map(domain::forecast::Rail::word),
        row.kind.word(),
    ))?;
    Ok(line)
}
