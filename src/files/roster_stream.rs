//! Rosters row by row: the rules and the mistakes of [`super::roster`], without the file in memory.
//!
//! What is kept is one row, the mistakes found so far, and eight bytes an id, to find ids that stand twice. An id whose eight
//! bytes were there before is looked for in the file once more at the end, so no row is called a duplicate by chance.
//!
//! [`RosterStream::share`] reads with several threads: blocks of whole records are handed out, and what was found in them is put
//! together in the order of the file, so neither mistakes nor rows depend on who was quicker.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io::{BufRead, BufReader, Cursor, Read as _};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use domain::id::looks_like_a_card_number;
use domain::subscription::Subscription;

use super::csv_rows::{Record, Records};
use super::fields::{Columns, Paper};
use super::migrated::{BEHIND, Claim};
use super::mistake::{FileMistake, HIDDEN, plainly, shown};
use super::plans::{bare_returns, not_utf8};
use super::roster::{
    Earlier, MOST_ROWS, Memo, NEEDED, Place, ROSTER, RosterContext, RowMistake, is_wide, read_row, starts_a_formula,
};
use super::roster_sheet::OnSheet;
use super::terms;

/// Longest record, in bytes: far longer than all fields of the longest kind.
const LONGEST_RECORD: usize = 1024 * 1024;
/// Bytes of a block that a thread reads by itself: long enough that handing it over costs nothing beside it.
const BLOCK: usize = 256 * 1024;
/// Blocks under way for each thread: one that is read, and one that waits.
const BLOCKS_EACH: usize = 2;
/// Most mistakes that are kept; the rest are counted.
pub(super) const MOST_MISTAKES: usize = 10_000;
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
        let most = u64::try_from(LONGEST_RECORD + 1).unwrap_or(u64::MAX);
        if let Err(error) = self.input.by_ref().take(most).read_until(b'\n', &mut self.text) {
            let message = format!("the file cannot be read: {}", plainly(&error));
            return Err(self.broken("unreadable", message, "name a readable file"));
        }
        let taken = self.text.len() - before;
        self.bytes += u64::try_from(taken).unwrap_or_default();
        if self.text.last() != Some(&b'\n') || taken == 0 {
            if taken > LONGEST_RECORD {
                let message = "a line is longer than 1 MiB".to_owned();
                let mend = "shorten it, and look for a quotation mark that is not closed";
                return Err(self.broken("field_too_long", message, mend));
            }
            self.ended = true;
        }
        let line = self.text.get(before..).unwrap_or_default();
        if line.is_empty() {
            return Ok(false);
        }
        let bare = line.contains(&b'\r') && !line.contains(&b'\n');
        if self.line == 0 && self.ended && bare && std::str::from_utf8(line).is_ok() {
            return Err(Box::new(bare_returns(self.label)));
        }
        self.line += 1;
        Ok(true)
    }

    fn broken(&self, code: &'static str, message: String, mend: &str) -> Box<FileMistake> {
        Box::new(FileMistake { line: self.line + 1, ..FileMistake::of_file(self.label, code, message, mend) })
    }

    /// The next record, its lines counted from the beginning of the file.
    fn record(&mut self) -> Result<Option<Record>, Box<FileMistake>> {
        let mut record = Record::default();
        Ok(self.read(&mut record, true)?.then_some(record))
    }

    /// As [`Lines::record`], into the room of an earlier one; `false` at the end of the file. Of a record without quotation marks it is
    /// only noted on demand where its fields begin.
    fn read(&mut self, record: &mut Record, with_places: bool) -> Result<bool, Box<FileMistake>> {
        loop {
            let first = self.line;
            if !self.whole()? {
                return Ok(false);
            }
            let text = std::str::from_utf8(&self.text).map_err(|error| {
                let found = not_utf8(self.label, &self.text, error.valid_up_to());
                Box::new(FileMistake { line: found.line + first, ..found })
            })?;
            if !with_places && !text.contains('"') {
                if record.refill(first + 1, text) {
                    return Ok(true);
                }
            } else if let Some(found) = Records::new(text).next() {
                *record = found;
                record.line += first;
                record.places.iter_mut().for_each(|(line, _)| *line += first);
                return Ok(true);
            }
        }
    }

    /// The text of the next record, or of a blank line; `false` at the end of the file. Text that is not UTF-8 ends it.
    fn whole(&mut self) -> Result<bool, Box<FileMistake>> {
        self.text.clear();
        if !self.more()? {
            return Ok(false);
        }
        // Only quotation marks hide the end of a line.
        while self.text.contains(&b'"') && !self.ended && self.text.len() <= LONGEST_RECORD {
            let text = std::str::from_utf8(&self.text).ok();
            let open = text.and_then(|text| Records::new(text).next()).is_some_and(|one| one.unclosed_quote.is_some());
            if !(open && self.more()?) {
                break;
            }
        }
        Ok(true)
    }

    /// The next whole records, some [`BLOCK`] bytes of them; `None` at the end of the file.
    fn block(&mut self, number: u64, room: usize) -> Option<Block> {
        let (line, byte) = (self.line, self.bytes);
        let mut block = Block { number, line, byte, text: Vec::with_capacity(room + 4096), broken: None };
        while block.text.len() < room {
            match self.whole() {
                Ok(true) => block.text.extend_from_slice(&self.text),
                Ok(false) => break,
                Err(mistake) => {
                    block.broken = Some(mistake);
                    break;
                }
            }
        }
        (!block.text.is_empty() || block.broken.is_some()).then_some(block)
    }
}

/// Whole records, one after another.
struct Block {
    /// Which block of the file, from 0.
    number: u64,
    /// Lines before it.
    line: usize,
    /// Bytes before it.
    byte: u64,
    text: Vec<u8>,
    /// Why nothing can be read behind it.
    broken: Option<Box<FileMistake>>,
}

impl Block {
    fn lines<'b>(&'b self, label: &'b str) -> Lines<'b> {
        let input = Box::new(self.text.as_slice());
        Lines { label, input, text: Vec::new(), line: self.line, bytes: self.byte, ended: false }
    }
}

/// What was found in a block.
struct Found {
    block: Block,
    mistakes: Vec<FileMistake>,
    /// Fingerprints of its ids.
    prints: Vec<u64>,
    /// Records, good or not.
    records: usize,
    /// Of them, rows.
    rows: usize,
    /// Of them, good rows whose next cycle lies behind the day.
    behind: u64,
    /// The last line that was read.
    line: usize,
    /// Nothing is to be read behind it.
    over: bool,
}

/// What was read of a roster without mistakes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RosterRead {
    /// Rows.
    pub rows: usize,
    /// Of them, rows whose next cycle lies so far behind the day that an import of that day would refuse them (`next_cycle_behind`).
    pub behind: u64,
}

/// Who takes the rows that one thread reads. It is made in the thread, and need not be able to leave it.
pub trait Taker {
    /// What it came to.
    type Done: Send;

    /// Takes a good row, which begins behind so many bytes of the file.
    fn take(&mut self, subscription: Subscription, at: u64);

    /// There are no more rows for it.
    fn done(self) -> Self::Done;
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

impl Fingerprints {
    fn add(&mut self, print: u64) {
        if !self.seen.insert(print) {
            self.again.insert(print);
        }
    }
}

/// Only remembered here: whether an id stands twice is found out when the whole file was read.
impl Earlier for Vec<u64> {
    fn line_of(&mut self, id: &str, _: u64) -> Option<u64> {
        self.push(fingerprint(id));
        None
    }
}

/// What every row is read by.
struct Rules<'s> {
    label: &'s str,
    context: RosterContext<'s>,
    header: Record,
    columns: Columns,
}

impl<'s> Rules<'s> {
    /// Reads the records of a block, at most so many.
    fn read(&self, block: Block, most: usize, memo: &mut Memo<'s>, mut take: impl FnMut(Subscription, u64)) -> Found {
        let line = block.line;
        let mut found = Found {
            block,
            mistakes: Vec::new(),
            prints: Vec::new(),
            records: 0,
            rows: 0,
            behind: 0,
            line,
            over: false,
        };
        let mut lines = found.block.lines(self.label);
        let mut record = Record::default();
        loop {
            let at = lines.bytes;
            match lines.read(&mut record, false) {
                Ok(true) => {}
                Ok(false) => break,
                Err(mistake) => {
                    found.mistakes.push(*mistake);
                    found.over = true;
                    break;
                }
            }
            if found.rows == most {
                found.mistakes.push(self.too_many(&record));
                found.over = true;
                break;
            }
            found.records += 1;
            if let Some(place) = record.unclosed_quote {
                found.mistakes.push(self.unclosed(&record, place));
                continue;
            }
            found.rows += 1;
            match self.row(&record, memo, &mut found.prints) {
                Ok((subscription, is_behind)) => {
                    found.behind += u64::from(is_behind);
                    take(subscription, at);
                }
                Err(mistakes) => found.mistakes.extend(mistakes),
            }
        }
        found.line = lines.line;
        drop(lines);
        if let Some(mistake) = found.block.broken.as_deref().filter(|_| !found.over) {
            found.mistakes.push(mistake.clone());
            found.over = true;
        }
        found
    }

    /// The subscription of a row, and whether its next cycle lies behind the day.
    fn row(
        &self,
        record: &Record,
        memo: &mut Memo<'s>,
        prints: &mut Vec<u64>,
    ) -> Result<(Subscription, bool), Vec<FileMistake>> {
        let place = Place::of_forecast(Paper::Text);
        match read_row((&self.columns, memo), (&self.header, record), &self.context, place, prints) {
            // No book knows it: what its row says of its next cycle holds, or is wrong, or was true on an earlier day.
            Ok((_, Some(Claim { wrong: Some(wrong), .. }))) if wrong.code != BEHIND => {
                Err(vec![self.told(record, wrong)])
            }
            Ok((subscription, claim)) => Ok((subscription, claim.is_some_and(|claim| claim.wrong.is_some()))),
            Err(mistakes) => Err(mistakes.into_iter().map(|mistake| self.told(record, mistake)).collect()),
        }
    }

    fn too_many(&self, record: &Record) -> FileMistake {
        let message = format!("the file has more than {MOST_ROWS} rows");
        let found = FileMistake::of_file(self.label, "too_many_rows", message, "split it into several files");
        FileMistake { line: record.line, ..found }
    }

    fn unclosed(&self, record: &Record, place: usize) -> FileMistake {
        let name = self.header.fields.get(place).map_or("", String::as_str);
        let message = "a field begins with a quotation mark here and none ends it up to the end of the file";
        let mend = "close the quotation mark, or remove it";
        let found = FileMistake::of_file(self.label, "quote_unclosed", message, mend);
        let (line, column) = record.places.get(place).copied().unwrap_or((record.line, 1));
        FileMistake { line, column, value: shown(name), ..found }
    }

    /// A row's mistake as a mistake of the file.
    fn told(&self, record: &Record, mistake: RowMistake) -> FileMistake {
        let place = mistake.place.or_else(|| self.columns.get(&mistake.column)).unwrap_or_default();
        let before = || record.fields.iter().take(place).map(|field| field.chars().count() + 1).sum::<usize>();
        let (line, column) = record.places.get(place).copied().unwrap_or_else(|| (record.line, before() + 1));
        let value =
            if mistake.column.is_empty() { mistake.value } else { format!("{} = {}", mistake.column, mistake.value) };
        let value = if looks_like_a_card_number(&value) { HIDDEN.to_owned() } else { shown(&value) };
        FileMistake {
            path: self.label.to_owned(),
            line,
            column,
            code: mistake.code,
            value,
            message: mistake.message,
            mend: mistake.mend,
        }
    }
}

/// A roster, row by row.
#[derive(Debug)]
pub struct RosterStream<'s>(Kind<'s>);

/// What it stands on.
#[derive(Debug)]
enum Kind<'s> {
    Text(Box<Text<'s>>),
    Sheet(OnSheet),
}

impl<'s> RosterStream<'s> {
    /// Opens a roster and reads its header; of a workbook the first sheet that is not hidden, whole.
    ///
    /// The rules are those of [`super::read_roster`], but for three: a text file may be of any size, up to 2,000,000 rows; a consent may be
    /// of any date, because a forecast may look from a day of the past; and a row's next cycle may lie behind that day, because it may
    /// look from a day to come: then the cycles between are taken as charged, and [`RosterRead::behind`] counts the row.
    ///
    /// # Errors
    /// The mistakes of a file or header that cannot be read, and every mistake of a workbook; never an empty list.
    pub fn open(label: &'s str, source: &'s Source, context: RosterContext<'s>) -> Result<Self, Vec<FileMistake>> {
        Ok(Self(match source.workbook() {
            Some(bytes) => Kind::Sheet(OnSheet::read(label, &bytes, &context)?),
            None => Kind::Text(Box::new(Text::open(label, source, context)?)),
        }))
    }

    /// The same, by blocks of so many bytes and up to so many rows.
    #[cfg(test)]
    pub(super) fn limited(self, rows: usize, bytes: usize) -> Self {
        match self.0 {
            Kind::Text(text) => Self(Kind::Text(Box::new(Text { most: (rows, bytes), ..*text }))),
            Kind::Sheet(_) => self,
        }
    }

    /// Hands every good row to `take`, in the order of the file, with the bytes before it, or its row on a sheet. Mistakes are noted on the
    /// way, and told at the end: then nothing that was made of the good rows is to be used.
    ///
    /// # Errors
    /// Every mistake, in the order of the file, never an empty list; beyond ten thousand they are counted.
    pub fn each(self, take: impl FnMut(Subscription, u64)) -> Result<RosterRead, Vec<FileMistake>> {
        match self.0 {
            Kind::Text(text) => text.each(take),
            Kind::Sheet(sheet) => Ok(sheet.each(take)),
        }
    }

    /// Has every good row taken by one of several threads, each with a taker of its own that `hire` makes. What a taker came to must not
    /// depend on which rows it was given; the rows come to each in the order of the file. `progress` is told the bytes read so far. A sheet
    /// is taken by one.
    ///
    /// # Errors
    /// As [`RosterStream::each`]; then nothing that was made of the good rows is to be used.
    pub fn share<T: Taker>(
        self,
        threads: usize,
        hire: impl Fn() -> T + Sync,
        progress: impl FnMut(u64),
    ) -> Result<(Vec<T::Done>, RosterRead), Vec<FileMistake>> {
        match self.0 {
            Kind::Text(text) => text.share(threads, hire, progress),
            Kind::Sheet(sheet) => {
                let mut taker = hire();
                let read = sheet.each(|subscription, at| taker.take(subscription, at));
                Ok((vec![taker.done()], read))
            }
        }
    }
}

/// A roster of text.
struct Text<'s> {
    source: &'s Source,
    rules: Rules<'s>,
    lines: Lines<'s>,
    gathered: Gathered,
    /// Most rows, and bytes of a block: other numbers only in tests.
    most: (usize, usize),
}

impl std::fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({}, row {})", self.rules.label, self.gathered.read.rows)
    }
}

impl<'s> Text<'s> {
    fn open(label: &'s str, source: &'s Source, context: RosterContext<'s>) -> Result<Self, Vec<FileMistake>> {
        let mut lines = Lines::open(label, source).map_err(|mistake| vec![*mistake])?;
        let Some(header) = lines.record().map_err(|mistake| vec![*mistake])? else {
            let mend = format!("write the header {} and a row for each subscription", NEEDED.join(","));
            return Err(vec![FileMistake::of_file(label, "empty_file", "the file is empty", mend)]);
        };
        let mut mistakes = Vec::new();
        let mut attributes = terms::attributes(&context);
        let opened = header;
        if context.unread.has_any_column() {
            attributes.extend(ROSTER.may_be_attributes(&opened));
        }
        let Some(header) = ROSTER.check_header(label, &opened, &attributes, &mut mistakes) else {
            let mut below = std::iter::from_fn(|| lines.record().ok().flatten());
            ROSTER.point_below(&mut mistakes, &mut below, Paper::Text);
            return Err(mistakes);
        };
        // A row of a roster has sixty bytes at least.
        let rows = source.length().and_then(|bytes| usize::try_from(bytes / 60).ok()).unwrap_or_default();
        let seen = HashSet::with_capacity_and_hasher(rows.min(MOST_ROWS), BuildHasherDefault::default());
        let prints = Fingerprints { seen, again: HashSet::new() };
        let columns = Columns::of(&header);
        let rules = Rules { label, context, header, columns };
        let gathered = Gathered { prints, mistakes, untold: 0, read: RosterRead::default(), line: lines.line };
        Ok(Self { source, rules, lines, gathered, most: (MOST_ROWS, BLOCK) })
    }

    fn each(mut self, mut take: impl FnMut(Subscription, u64)) -> Result<RosterRead, Vec<FileMistake>> {
        let mut memo = Memo::of(&self.rules.context);
        let mut number = 0;
        while let Some(block) = self.lines.block(number, self.most.1) {
            number += 1;
            let left = self.most.0.saturating_sub(self.gathered.read.rows);
            let found = self.rules.read(block, left, &mut memo, &mut take);
            if self.gathered.put(found) {
                break;
            }
        }
        self.gathered.finish(&self.rules, self.source)
    }

    fn share<T: Taker>(
        self,
        threads: usize,
        hire: impl Fn() -> T + Sync,
        mut progress: impl FnMut(u64),
    ) -> Result<(Vec<T::Done>, RosterRead), Vec<FileMistake>> {
        if threads <= 1 {
            let mut taker = hire();
            let read = self.each(|subscription, at| {
                progress(at);
                taker.take(subscription, at);
            })?;
            return Ok((vec![taker.done()], read));
        }
        let Self { source, rules, mut lines, mut gathered, most: (most_rows, bytes) } = self;
        let room = threads.saturating_mul(BLOCKS_EACH);
        let (give, given) = sync_channel(room);
        let (tell, told) = sync_channel(room);
        let given = Mutex::new(given);
        let work = || Work { rules: &rules, given: &given, tell: tell.clone() }.all(hire());
        let done = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let mut memo = Memo::of(&rules.context);
            let mut found: BTreeMap<u64, Found> = BTreeMap::new();
            // Blocks handed out, and blocks put together.
            let (mut out, mut back) = (0_u64, 0_u64);
            let (mut ended, mut over) = (false, false);
            while !over {
                while !ended && out.saturating_sub(back) < u64::try_from(room).unwrap_or(1) {
                    ended = lines.block(out, bytes).is_none_or(|block| give.send(block).is_err());
                    out += u64::from(!ended);
                }
                if out == back {
                    break;
                }
                // A thread that fell over says so, and what it was doing is over with it.
                let Ok(Some(one)) = told.recv() else { break };
                found.insert(one.block.number, one);
                while let Some(next) = found.remove(&back).filter(|_| !over) {
                    back += 1;
                    progress(next.block.byte.saturating_add(u64::try_from(next.block.text.len()).unwrap_or_default()));
                    let left = most_rows.saturating_sub(gathered.read.rows);
                    // The thread did not know how many rows came before.
                    let next =
                        if next.records > left { rules.read(next.block, left, &mut memo, |_, _| {}) } else { next };
                    over = gathered.put(next);
                }
            }
            drop(give);
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Result<Vec<T::Done>, _>>()
        });
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let read = gathered.finish(&rules, source)?;
        Ok((done, read))
    }
}

/// The work of one thread.
struct Work<'w, 's> {
    rules: &'w Rules<'s>,
    given: &'w Mutex<Receiver<Block>>,
    tell: SyncSender<Option<Found>>,
}

impl Work<'_, '_> {
    /// Reads blocks until there are no more.
    fn all<T: Taker>(self, mut taker: T) -> T::Done {
        let mut memo = Memo::of(&self.rules.context);
        loop {
            let next = self.given.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(block) = next else { break };
            let found = self.rules.read(block, usize::MAX, &mut memo, |subscription, at| taker.take(subscription, at));
            if self.tell.send(Some(found)).is_err() {
                break;
            }
        }
        taker.done()
    }
}

impl Drop for Work<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nobody waits for its block any more; whoever is gone needs no word.
            let _ = self.tell.try_send(None);
        }
    }
}

/// What was found in the blocks so far, in the order of the file.
struct Gathered {
    prints: Fingerprints,
    mistakes: Vec<FileMistake>,
    /// Mistakes beyond those kept.
    untold: usize,
    read: RosterRead,
    /// The last line that was read.
    line: usize,
}

impl Gathered {
    fn note(&mut self, mistake: FileMistake) {
        if self.mistakes.len() < MOST_MISTAKES {
            self.mistakes.push(mistake);
        } else {
            self.untold += 1;
        }
    }

    /// Takes in what was found in the next block; whether nothing is to be read behind it.
    fn put(&mut self, found: Found) -> bool {
        found.prints.into_iter().for_each(|print| self.prints.add(print));
        found.mistakes.into_iter().for_each(|mistake| self.note(mistake));
        self.read.rows += found.rows;
        self.read.behind += found.behind;
        self.line = found.line;
        found.over
    }

    /// What was read, or every mistake.
    fn finish(mut self, rules: &Rules<'_>, source: &Source) -> Result<RosterRead, Vec<FileMistake>> {
        if self.read.rows == 0 && self.mistakes.is_empty() {
            let mend = "add a row for each subscription below the header";
            self.note(FileMistake::of_file(rules.label, "no_rows", "the file has a header and no rows", mend));
        }
        self.find_duplicates(rules, source);
        if self.untold > 0 {
            let message = format!("{} more mistakes are not shown", self.untold);
            let mend = "mend those above, and read the file again";
            let found = FileMistake::of_file(rules.label, "more_mistakes", message, mend);
            self.mistakes.push(FileMistake { line: self.line, ..found });
        }
        if self.mistakes.is_empty() { Ok(self.read) } else { Err(self.mistakes) }
    }

    /// Reads the file once more for ids whose fingerprint came twice.
    fn find_duplicates(&mut self, rules: &Rules<'_>, source: &Source) {
        let (again, place) = (std::mem::take(&mut self.prints.again), rules.columns.get("subscription_id"));
        let (Some(place), false) = (place, again.is_empty()) else { return };
        let Ok(mut lines) = Lines::open(rules.label, source) else { return };
        let mut first: BTreeMap<String, usize> = BTreeMap::new();
        let mut header = true;
        while let Ok(Some(record)) = lines.record() {
            let is_row = !std::mem::take(&mut header) && record.unclosed_quote.is_none();
            if !is_row || record.fields.len() != rules.header.fields.len() {
                continue;
            }
            let id = record.fields.get(place).map_or("", String::as_str);
            // As the row's reader reads it: a report's own apostrophe does not count.
            let bare = id.strip_prefix('\'').filter(|rest| rules.columns.has("row_status") && starts_a_formula(rest));
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
                        place: None,
                    };
                    self.note(rules.told(&record, found));
                }
            }
        }
        self.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    }
}
