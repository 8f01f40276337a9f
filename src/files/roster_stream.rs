//! Rosters row by row: the rules and the mistakes of [`super::roster`], without the file in memory.
//!
//! What is kept is one row, the mistakes found so far, and eight bytes an id, to find ids that stand twice. An id whose eight
//! bytes were there before is looked for in the file once more at the end, so no row is called a duplicate by chance.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io::{BufRead, BufReader, Cursor};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use domain::id::looks_like_a_card_number;
use domain::subscription::Subscription;

use super::csv_rows::{Record, Records};
use super::migrated::{BEHIND, Claim};
use super::mistake::{FileMistake, HIDDEN, plainly, shown};
use super::plans::not_utf8;
use super::roster::{
    Earlier, MOST_ROWS, NEEDED, Paper, Place, RosterContext, RowMistake, check_header, is_wide, read_row,
    starts_a_formula,
};
use super::terms;

/// Longest record, in bytes: far longer than all fields of the longest kind.
const LONGEST_RECORD: usize = 1024 * 1024;
/// Most mistakes that are kept; the rest are counted.
const MOST_MISTAKES: usize = 10_000;
/// The mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where a roster comes from; it is read twice when an id may stand twice.
#[derive(Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// What was read already: standard input.
    Bytes(Vec<u8>),
}

impl Source {
    fn open(&self) -> std::io::Result<Box<dyn BufRead + '_>> {
        match self {
            Self::File(path) => Ok(Box::new(BufReader::with_capacity(1 << 18, File::open(path)?))),
            Self::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes.as_slice()))),
        }
    }

    /// Its length in bytes, if it is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::File(path) => std::fs::metadata(path).ok().filter(|found| found.is_file()).map(|found| found.len()),
            Self::Bytes(bytes) => u64::try_from(bytes.len()).ok(),
        }
    }
}

/// The records of a source, one after another.
struct Lines<'s> {
    label: &'s str,
    input: Box<dyn BufRead + 's>,
    text: Vec<u8>,
    /// Lines read.
    line: usize,
    bytes: u64,
    ended: bool,
}

impl<'s> Lines<'s> {
    fn open(label: &'s str, source: &'s Source) -> Result<Self, Box<FileMistake>> {
        let unreadable = |error: &std::io::Error| {
            let message = format!("the file cannot be read: {}", plainly(error));
            Box::new(FileMistake::of_file(
                label,
                "unreadable",
                message,
                "name a readable file, or - for standard input",
            ))
        };
        let mut input = source.open().map_err(|error| unreadable(&error))?;
        let start = input.fill_buf().map_err(|error| unreadable(&error))?;
        if is_wide(start) {
            let mend = "save it again with the encoding UTF-8 (in a spreadsheet: \"CSV UTF-8\")";
            return Err(Box::new(FileMistake::of_file(label, "not_utf8", "the file is in UTF-16, not in UTF-8", mend)));
        }
        let skip = if start.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        input.consume(skip);
        Ok(Self { label, input, text: Vec::new(), line: 0, bytes: 0, ended: false })
    }

    /// Adds one line to the text; `false` at the end of the file.
    fn more(&mut self) -> Result<bool, Box<FileMistake>> {
        let before = self.text.len();
        loop {
            let found = match self.input.fill_buf() {
                Ok(found) => found,
                Err(error) => {
                    let message = format!("the file cannot be read: {}", plainly(&error));
                    return Err(self.broken("unreadable", message, "name a readable file"));
                }
            };
            if found.is_empty() {
                self.ended = true;
                break;
            }
            let end = found.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let taken = end.unwrap_or(found.len());
            self.text.extend_from_slice(found.get(..taken).unwrap_or_default());
            self.input.consume(taken);
            self.bytes += u64::try_from(taken).unwrap_or_default();
            if end.is_some() {
                break;
            }
            if self.text.len() > LONGEST_RECORD {
                let message = "a line is longer than 1 MiB".to_owned();
                return Err(self.broken(
                    "field_too_long",
                    message,
                    "shorten it, and look for a quotation mark that is not closed",
                ));
            }
        }
        let line = self.text.get(before..).unwrap_or_default();
        if line.is_empty() {
            return Ok(false);
        }
        let bare_returns = line.contains(&b'\r') && !line.contains(&b'\n');
        if self.line == 0 && self.ended && bare_returns && std::str::from_utf8(line).is_ok() {
            let message = "the lines end with carriage returns alone, as on very old computers".to_owned();
            let mend = "save the file again with line ends of today (LF or CRLF)";
            return Err(Box::new(FileMistake::of_file(self.label, "line_ends", message, mend)));
        }
        self.line += 1;
        Ok(true)
    }

    fn broken(&self, code: &'static str, message: String, mend: &str) -> Box<FileMistake> {
        Box::new(FileMistake { line: self.line + 1, ..FileMistake::of_file(self.label, code, message, mend) })
    }

    /// The next record, its lines counted from the beginning of the file.
    fn record(&mut self) -> Result<Option<Record>, Box<FileMistake>> {
        loop {
            self.text.clear();
            let first = self.line;
            if !self.more()? {
                return Ok(None);
            }
            loop {
                let text = std::str::from_utf8(&self.text).map_err(|error| {
                    let found = not_utf8(self.label, &self.text, error.valid_up_to());
                    Box::new(FileMistake { line: found.line + first, ..found })
                })?;
                let record = Records::new(text).next();
                let open = record.as_ref().is_some_and(|record| record.unclosed_quote.is_some());
                if open && !self.ended && self.text.len() <= LONGEST_RECORD && self.more()? {
                    continue;
                }
                let Some(mut record) = record else { break };
                record.line += first;
                record.places.iter_mut().for_each(|(line, _)| *line += first);
                return Ok(Some(record));
            }
        }
    }
}

/// Ids seen, by eight bytes of each.
#[derive(Debug, Default)]
struct Fingerprints {
    seen: HashSet<u64, BuildHasherDefault<Same>>,
    /// Those that came again.
    again: HashSet<u64>,
}

/// A hash that is one already.
#[derive(Debug, Default)]
struct Same(u64);

impl std::hash::Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

fn fingerprint(id: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(id)
}

impl Earlier for Fingerprints {
    fn line_of(&mut self, id: &str, _: u64) -> Option<u64> {
        let print = fingerprint(id);
        if !self.seen.insert(print) {
            self.again.insert(print);
        }
        None
    }
}

/// A roster, row by row.
pub struct RosterStream<'s> {
    label: &'s str,
    source: &'s Source,
    context: RosterContext<'s>,
    lines: Lines<'s>,
    header: Record,
    prints: Fingerprints,
    mistakes: Vec<FileMistake>,
    /// Mistakes beyond those kept.
    untold: usize,
    rows: usize,
    over: bool,
}

impl std::fmt::Debug for RosterStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RosterStream({}, row {})", self.label, self.rows)
    }
}

impl<'s> RosterStream<'s> {
    /// Opens a roster and reads its header.
    ///
    /// The rules are those of [`super::read_roster`], but for three: the file may be of any size, up to 2,000,000 rows; a consent may be
    /// of any date, because a forecast may look from a day of the past; and a row's next cycle may lie behind that day, because it may
    /// look from a day to come: then the cycles between are taken as charged.
    ///
    /// # Errors
    /// The mistakes of a file or header that cannot be read, never an empty list.
    pub fn open(label: &'s str, source: &'s Source, context: RosterContext<'s>) -> Result<Self, Vec<FileMistake>> {
        let mut lines = Lines::open(label, source).map_err(|mistake| vec![*mistake])?;
        let Some(header) = lines.record().map_err(|mistake| vec![*mistake])? else {
            let mend = format!("write the header {} and a row for each subscription", NEEDED.join(","));
            return Err(vec![FileMistake::of_file(label, "empty_file", "the file is empty", mend)]);
        };
        let mut mistakes = Vec::new();
        if !check_header(label, &header, &terms::attributes(context.catalog), &mut mistakes) {
            return Err(mistakes);
        }
        // A row of a roster has sixty bytes at least.
        let rows = source.length().and_then(|bytes| usize::try_from(bytes / 60).ok()).unwrap_or_default();
        let seen = HashSet::with_capacity_and_hasher(rows.min(MOST_ROWS), BuildHasherDefault::default());
        let prints = Fingerprints { seen, again: HashSet::new() };
        Ok(Self { label, source, context, lines, header, prints, mistakes, untold: 0, rows: 0, over: false })
    }

    /// Rows read so far, good or not.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.lines.bytes
    }

    fn note(&mut self, mistake: FileMistake) {
        if self.mistakes.len() < MOST_MISTAKES {
            self.mistakes.push(mistake);
        } else {
            self.untold += 1;
        }
    }

    /// Hands every good row to `take`, in the order of the file. Mistakes are noted on the way, and told at the end: then nothing
    /// that was made of the good rows is to be used.
    ///
    /// # Errors
    /// Every mistake, in the order of the file, never an empty list; beyond ten thousand they are counted.
    pub fn each(mut self, mut take: impl FnMut(Subscription, u64)) -> Result<usize, Vec<FileMistake>> {
        let names = self.header.fields.clone();
        let columns: HashMap<&str, usize> =
            names.iter().enumerate().rev().map(|(place, name)| (name.as_str(), place)).collect();
        while !self.over {
            match self.lines.record() {
                Ok(Some(record)) => self.row(&columns, &record, &mut take),
                Ok(None) => self.over = true,
                Err(mistake) => {
                    self.note(*mistake);
                    self.over = true;
                }
            }
        }
        if self.rows == 0 && self.mistakes.is_empty() {
            let mend = "add a row for each subscription below the header";
            self.note(FileMistake::of_file(self.label, "no_rows", "the file has a header and no rows", mend));
        }
        self.find_duplicates(&columns);
        if self.untold > 0 {
            let message = format!("{} more mistakes are not shown", self.untold);
            self.mistakes.push(FileMistake {
                line: self.lines.line,
                ..FileMistake::of_file(
                    self.label,
                    "more_mistakes",
                    message,
                    "mend those above, and read the file again",
                )
            });
        }
        if self.mistakes.is_empty() { Ok(self.rows) } else { Err(self.mistakes) }
    }

    fn row(&mut self, columns: &HashMap<&str, usize>, record: &Record, take: &mut impl FnMut(Subscription, u64)) {
        if self.rows == MOST_ROWS {
            let message = format!("the file has more than {MOST_ROWS} rows");
            let found = FileMistake::of_file(self.label, "too_many_rows", message, "split it into several files");
            self.note(FileMistake { line: record.line, ..found });
            self.over = true;
            return;
        }
        if let Some(place) = record.unclosed_quote {
            let name = self.header.fields.get(place).map_or("", String::as_str);
            let message = "a field begins with a quotation mark here and none ends it up to the end of the file";
            let mend = "close the quotation mark, or remove it";
            let found = FileMistake::of_file(self.label, "quote_unclosed", message, mend);
            self.note(FileMistake { line: record.line, value: shown(name), ..found });
            return;
        }
        self.rows += 1;
        let place = Place { paper: Paper::Text, consents_by: DateTime::<Utc>::MAX_UTC };
        match read_row(columns, (&self.header, record), &self.context, place, &mut self.prints) {
            // No book knows it: what its row says of its next cycle holds, or is wrong, or was true on an earlier day.
            Ok((_, Some(Claim { wrong: Some(wrong), .. }))) if wrong.code != BEHIND => {
                self.note(told(self.label, columns, record, wrong));
            }
            Ok((subscription, _)) => take(subscription, self.lines.bytes),
            Err(mistakes) => {
                mistakes.into_iter().for_each(|mistake| self.note(told(self.label, columns, record, mistake)));
            }
        }
    }

    /// Reads the file once more for ids whose fingerprint came twice.
    fn find_duplicates(&mut self, columns: &HashMap<&str, usize>) {
        let (again, place) = (std::mem::take(&mut self.prints.again), columns.get("subscription_id").copied());
        let (Some(place), false) = (place, again.is_empty()) else { return };
        let Ok(mut lines) = Lines::open(self.label, self.source) else { return };
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        let mut header = true;
        while let Ok(Some(record)) = lines.record() {
            let is_row = !std::mem::take(&mut header) && record.unclosed_quote.is_none();
            if !is_row || record.fields.len() != self.header.fields.len() {
                continue;
            }
            let id = record.fields.get(place).map_or("", String::as_str);
            // As the row's reader reads it: a report's own apostrophe does not count.
            let bare =
                id.strip_prefix('\'').filter(|rest| columns.contains_key("row_status") && starts_a_formula(rest));
            let id = bare.unwrap_or(id);
            if !again.contains(&fingerprint(id)) {
                continue;
            }
            match first.get(id) {
                None => drop(first.insert(id.to_owned(), record.line)),
                Some(before) => {
                    let found = RowMistake {
                        column: "subscription_id".to_owned(),
                        code: "duplicate_id",
                        value: shown(id),
                        message: format!("this id stands in line {before} already"),
                        mend: "give the subscription an id of its own, or remove one of the rows".to_owned(),
                    };
                    self.note(told(self.label, columns, &record, found));
                }
            }
        }
        self.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    }
}

/// A row's mistake as a mistake of the file.
fn told(label: &str, columns: &HashMap<&str, usize>, record: &Record, mistake: RowMistake) -> FileMistake {
    let place = columns.get(mistake.column.as_str()).copied().unwrap_or_default();
    let before = || record.fields.iter().take(place).map(|field| field.chars().count() + 1).sum::<usize>();
    let (line, column) = record.places.get(place).copied().unwrap_or_else(|| (record.line, before() + 1));
    let value =
        if mistake.column.is_empty() { mistake.value } else { format!("{} = {}", mistake.column, mistake.value) };
    let value = if looks_like_a_card_number(&value) { HIDDEN.to_owned() } else { shown(&value) };
    FileMistake {
        path: label.to_owned(),
        line,
        column,
        code: mistake.code,
        value,
        message: mistake.message,
        mend: mistake.mend,
    }
}
