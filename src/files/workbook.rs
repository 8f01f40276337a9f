//! Rosters as Excel workbooks: the same rows as those of a CSV file, from the cells of one sheet.
//!
//! Cells have types, so more can be told here than of a CSV file: an id that a spreadsheet turned into a date, a number that it
//! rounded, a formula that failed. What a workbook unpacks to is counted before anything is made of it.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use calamine::{Cell, DataRef, Reader as _, SheetType, SheetVisible, Xlsx, XlsxCellReader, XlsxError};
use domain::id::looks_like_a_card_number;
use zip::ZipArchive;

use super::csv_rows::{MOST_FIELDS, Record};
use super::fields::Paper;
use super::mistake::{FileMistake, shown};
use super::near::nearest;
use super::roster::{LARGEST_ROSTER, Place, Roster, RosterContext, read_records, read_roster, settle};

/// Most bytes that a workbook may unpack to: far above a sheet of a million rows.
const MOST_UNPACKED: u64 = 1024 * 1024 * 1024;
/// Most bytes of the part that is held in memory as a whole: the texts that cells share.
const MOST_SHARED: u64 = 128 * 1024 * 1024;
/// Most parts of a workbook.
const MOST_PARTS: usize = 10_000;
/// From so large on a spreadsheet has rounded a whole number: it keeps 15 digits.
const ROUNDED_FROM: f64 = 1e15;
/// Days between the two beginnings that spreadsheets count days from.
const FROM_1904: f64 = 1462.0;

/// What a cell held beside its text, so that the report can give it back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Given {
    /// Text, or nothing.
    Text,
    /// A number.
    Number(f64),
    /// A date, perhaps with a time: days since the end of 1899.
    Date(f64),
    /// TRUE or FALSE.
    Truth(bool),
    /// A formula that failed, such as `#N/A`, or that has no result yet.
    Failed,
}

/// The name of a cell: column and row count from 1.
#[must_use]
pub fn cell_name(row: usize, column: usize) -> String {
    let mut letters = Vec::new();
    let mut left = column;
    while left > 0 {
        left -= 1;
        letters.push(char::from(b'A' + u8::try_from(left % 26).unwrap_or(0)));
        left /= 26;
    }
    let letters: String = letters.iter().rev().collect();
    format!("{letters}{row}")
}

/// Are these bytes a workbook, of whatever kind, rather than text?
#[must_use]
pub fn is_workbook(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") || bytes.starts_with(OLE)
}

/// Reads a roster of either kind, by what its bytes are; `sheet` means nothing to a text file.
#[must_use]
pub fn read_either(label: &str, bytes: &[u8], sheet: Option<&str>, context: &RosterContext<'_>) -> Roster {
    if is_workbook(bytes) { read_workbook(label, bytes, sheet, context) } else { read_roster(label, bytes, context) }
}

/// How files begin that older Excels write, and newer ones when a password is set.
const OLE: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
const SAVE_AS: &str = "save it as an Excel workbook (.xlsx), or as CSV UTF-8";

/// Reads a roster from the first visible sheet of a workbook, or from the sheet that is named.
///
/// As [`super::read_roster`], with these differences: dates are cells of dates or text such as `2027-01-31`; ids may be numbers of up to
/// 15 digits; empty rows are passed over; lines are rows, and [`Roster::sheet`] names the sheet. Limits beside those of a CSV file:
/// 1 GiB unpacked, of which 128 MiB of shared text; a sheet's text is no longer than 64 MiB.
#[must_use]
pub fn read_workbook(label: &str, bytes: &[u8], sheet: Option<&str>, context: &RosterContext<'_>) -> Roster {
    let place = Place::of_import(Paper::Sheet, context);
    read_sheet(label, bytes, sheet, |rows| read_records(label, rows, place, context))
}

/// As [`read_workbook`], of the first visible sheet, by the rules of forecasts.
pub(super) fn read_workbook_ahead(label: &str, bytes: &[u8], context: &RosterContext<'_>) -> Roster {
    read_sheet(label, bytes, None, |rows| read_records(label, rows, Place::of_forecast(Paper::Sheet), context))
}

/// A sheet of a workbook, the rows of which are read by `read`.
pub(super) fn read_sheet<T>(
    label: &str,
    bytes: &[u8],
    sheet: Option<&str>,
    read: impl FnOnce(&mut dyn Iterator<Item = Record>) -> Roster<T>,
) -> Roster<T> {
    match opened(label, bytes, sheet) {
        Ok((mut workbook, name)) => {
            let mut roster = rows_of(label, &mut workbook, &name, read);
            let seen = |sheet: &&calamine::Sheet| sheet.visible == SheetVisible::Visible && sheet.name != name;
            roster.other_sheets = workbook.sheets_metadata().iter().filter(seen).count();
            roster.sheet = Some(shown(&name));
            settle(&mut roster);
            roster
        }
        Err(mistake) => Roster::refused(*mistake),
    }
}

/// The rows of a sheet as records, for tables other than rosters.
pub(super) fn records(label: &str, bytes: &[u8], sheet: Option<&str>) -> Result<Vec<Record>, Box<FileMistake>> {
    let (mut workbook, name) = opened(label, bytes, sheet)?;
    let mut rows = Rows::of(&mut workbook, &name).map_err(|error| Box::new(damaged(label, &error)))?;
    let records = rows.by_ref().collect();
    match rows.stopped {
        None => Ok(records),
        Some(Stopped::Damaged(error)) => Err(Box::new(damaged(label, &error))),
        Some(Stopped::Disordered | Stopped::TooLarge) => {
            let message = "the sheet is damaged, or holds more than 64 MiB of text";
            Err(Box::new(FileMistake::of_file(label, "workbook_damaged", message, "split it, or hand it in as CSV")))
        }
    }
}

/// The sheet that is read where nobody names one, as it is shown; `None` where the workbook cannot be opened.
#[must_use]
pub fn first_sheet(bytes: &[u8]) -> Option<String> {
    opened("", bytes, None).ok().map(|(_, name)| shown(&name))
}

type Book<'b> = Xlsx<Cursor<&'b [u8]>>;

fn opened<'b>(label: &str, bytes: &'b [u8], sheet: Option<&str>) -> Result<(Book<'b>, String), Box<FileMistake>> {
    let refused = |code, message: &str, mend: &str| Box::new(FileMistake::of_file(label, code, message, mend));
    if bytes.len() > LARGEST_ROSTER {
        return Err(refused("file_too_large", "the file is larger than 64 MiB", "split it into several files"));
    }
    if bytes.starts_with(OLE) {
        return Err(if holds_wide(bytes, "EncryptedPackage") {
            let mend = "save it without a password, and keep it where only those who may read it can";
            refused("workbook_password", "the workbook is protected by a password", mend)
        } else {
            refused("workbook_old", "the file is a workbook of an Excel before 2007 (.xls)", SAVE_AS)
        });
    }
    measured(label, bytes)?;
    let workbook: Book<'b> = Xlsx::new(Cursor::new(bytes)).map_err(|error| Box::new(damaged(label, &error)))?;
    let sheets = workbook.sheets_metadata();
    let tables = || sheets.iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
    let name = match sheet {
        None => tables().find(|sheet| sheet.visible == SheetVisible::Visible).map(|sheet| sheet.name.clone()),
        Some(wanted) => {
            let found = tables().find(|sheet| sheet.name == wanted).map(|sheet| sheet.name.clone());
            if found.is_none() {
                let names = || tables().map(|sheet| sheet.name.as_str());
                let listed = names().take(8).map(shown).collect::<Vec<_>>().join(", ");
                let mend = match nearest(wanted, names()) {
                    Some(near) => format!("write --sheet \"{}\"", shown(near)),
                    None => format!("name one of its sheets: {listed}"),
                };
                let mut mistake = FileMistake::of_file(label, "unknown_sheet", "the workbook has no such sheet", mend);
                mistake.value = shown(wanted);
                return Err(Box::new(mistake));
            }
            found
        }
    };
    let none =
        || refused("no_sheet", "the workbook has no sheet that can be seen", "show a sheet, or name one: --sheet NAME");
    let name = name.ok_or_else(none)?;
    Ok((workbook, name))
}

/// Does a file of the old shape name a part so? Names stand in it in two bytes a letter.
fn holds_wide(bytes: &[u8], name: &str) -> bool {
    let wide: Vec<u8> = name.bytes().flat_map(|byte| [byte, 0]).collect();
    bytes.windows(wide.len()).any(|window| window == wide.as_slice())
}

/// What kind of packed file this is, and that it does not unpack to more than can be held: counted, not believed.
fn measured(label: &str, bytes: &[u8]) -> Result<(), Box<FileMistake>> {
    let refused = |code, message: &str, mend: &str| Box::new(FileMistake::of_file(label, code, message, mend));
    let broken = || {
        refused(
            "workbook_damaged",
            "the workbook is damaged and cannot be opened",
            "open and save it in the spreadsheet again",
        )
    };
    let too_large = || {
        refused("workbook_too_large", "the workbook unpacks to more than can be read", "split it into several files")
    };
    let mut parts = ZipArchive::new(Cursor::new(bytes)).map_err(|_| broken())?;
    if parts.len() > MOST_PARTS {
        return Err(too_large());
    }
    let has = |name: &str| parts.index_for_name(name).is_some();
    if has("xl/workbook.bin") {
        return Err(refused("workbook_binary", "the file is a binary workbook (.xlsb)", SAVE_AS));
    }
    if !has("xl/workbook.xml") && !has("[Content_Types].xml") {
        return Err(if has("mimetype") || has("content.xml") {
            refused("workbook_open_document", "the file is an OpenDocument file (.ods)", SAVE_AS)
        } else {
            refused("not_a_workbook", "the file is packed like a workbook and is none", SAVE_AS)
        });
    }
    let mut left = MOST_UNPACKED;
    for place in 0..parts.len() {
        let part = parts.by_index(place).map_err(|_| broken())?;
        if part.encrypted() {
            return Err(refused(
                "workbook_password",
                "the workbook is protected by a password",
                "save it without a password",
            ));
        }
        let shared = part.name().is_ok_and(|name| name.ends_with("sharedStrings.xml"));
        let most = if shared { MOST_SHARED.min(left) } else { left };
        if part.size() > most {
            return Err(too_large());
        }
        let read = std::io::copy(&mut part.take(most.saturating_add(1)), &mut std::io::sink()).map_err(|_| broken())?;
        if read > most {
            return Err(too_large());
        }
        left -= read;
    }
    Ok(())
}

fn damaged(label: &str, error: &XlsxError) -> FileMistake {
    if matches!(error, XlsxError::Password) {
        let message = "the workbook is protected by a password";
        return FileMistake::of_file(label, "workbook_password", message, "save it without a password");
    }
    let message = "the workbook is damaged, or not one that a spreadsheet wrote";
    FileMistake::of_file(label, "workbook_damaged", message, "open and save it in the spreadsheet again")
}

fn rows_of<T>(
    label: &str,
    workbook: &mut Book<'_>,
    name: &str,
    read: impl FnOnce(&mut dyn Iterator<Item = Record>) -> Roster<T>,
) -> Roster<T> {
    let mut rows = match Rows::of(workbook, name) {
        Ok(rows) => rows,
        Err(error) => return Roster::refused(damaged(label, &error)),
    };
    let mut roster = read(&mut rows);
    if let Some(stopped) = rows.stopped {
        let line = rows.row.max(1);
        roster.file_mistakes.retain(|mistake| !matches!(mistake.code, "empty_file" | "no_rows"));
        roster.file_mistakes.push(FileMistake {
            line,
            ..match stopped {
                Stopped::Damaged(error) => damaged(label, &error),
                Stopped::Disordered => {
                    let message = "the rows of the sheet do not follow each other";
                    FileMistake::of_file(
                        label,
                        "workbook_damaged",
                        message,
                        "open and save it in the spreadsheet again",
                    )
                }
                Stopped::TooLarge => {
                    let message = "the sheet holds more than 64 MiB of text";
                    FileMistake::of_file(label, "workbook_too_large", message, "split it into several files")
                }
            }
        });
    }
    roster
}

/// Why the rows ended early.
enum Stopped {
    Damaged(XlsxError),
    Disordered,
    TooLarge,
}

/// The rows of a sheet that hold anything, as records.
struct Rows<'w, 'b> {
    cells: XlsxCellReader<'w, Cursor<&'b [u8]>>,
    /// The first cell of a row to come.
    ahead: Option<Cell<DataRef<'w>>>,
    /// Columns of the header, once it is read: rows are as wide.
    width: Option<usize>,
    /// Bytes of text that may still come; a field counts as one more, as its comma would.
    room: usize,
    /// The row last begun, from 1.
    row: usize,
    from_1904: bool,
    /// Formulas by row and column, from 0: a program that computes nothing leaves them without results.
    formulas: Formulas,
    ended: bool,
    stopped: Option<Stopped>,
}

impl<'w, 'b> Rows<'w, 'b> {
    fn of(workbook: &'w mut Book<'b>, sheet: &str) -> Result<Self, XlsxError> {
        let from_1904 = workbook.has_1904_epoch();
        let formulas = formulas(workbook, sheet)?;
        let (ahead, width, stopped) = (None, None, formulas.is_none().then_some(Stopped::TooLarge));
        let formulas = formulas.unwrap_or_default();
        let cells = workbook.worksheet_cells_reader(sheet)?;
        Ok(Self { cells, ahead, width, room: LARGEST_ROSTER, row: 0, from_1904, formulas, ended: false, stopped })
    }

    /// Does a formula stand there whose result was never written down?
    fn lacks_its_result(&self, cell: &Cell<DataRef<'_>>) -> bool {
        matches!(cell.get_value(), DataRef::Empty) && self.formulas.contains_key(&cell.get_position())
    }

    /// The next cell that holds anything.
    fn cell(&mut self) -> Option<Cell<DataRef<'w>>> {
        if self.stopped.is_some() || self.ended {
            return None;
        }
        loop {
            match self.cells.next_cell() {
                Ok(Some(cell)) if is_empty(cell.get_value()) && !self.lacks_its_result(&cell) => {}
                Ok(found) => {
                    // Asked beyond its end, the reader would call the sheet torn.
                    self.ended = found.is_none();
                    return found;
                }
                Err(error) => {
                    self.stopped = Some(Stopped::Damaged(error));
                    return None;
                }
            }
        }
    }

    /// Puts a cell into its record; `false` when there is no room for it.
    fn put(&mut self, record: &mut Record, cell: &Cell<DataRef<'w>>) -> bool {
        let column = usize::try_from(cell.get_position().1).unwrap_or(usize::MAX).min(MOST_FIELDS);
        let (text, given) = match self.formulas.get(&cell.get_position()).filter(|_| self.lacks_its_result(cell)) {
            Some(formula) => (format!("={formula}"), Given::Failed),
            None => read(cell.get_value(), self.from_1904),
        };
        let fields = (column + 1).saturating_sub(record.fields.len());
        let Some(room) = self.room.checked_sub(text.len().saturating_add(fields)) else {
            self.stopped = Some(Stopped::TooLarge);
            return false;
        };
        self.room = room;
        widen(record, column + 1);
        if let (Some(field), Some(place)) = (record.fields.get_mut(column), record.cells.get_mut(column)) {
            *field = text;
            *place = given;
        }
        true
    }
}

/// Formulas by row and column.
type Formulas = BTreeMap<(u32, u32), String>;

/// The formulas of a sheet; nothing where they are longer than a sheet's text may be.
fn formulas(workbook: &mut Book<'_>, sheet: &str) -> Result<Option<Formulas>, XlsxError> {
    let mut cells = workbook.worksheet_cells_reader(sheet)?;
    let mut room = LARGEST_ROSTER;
    let mut found = Formulas::new();
    while let Some(cell) = cells.next_formula()? {
        if cell.get_value().is_empty() {
            continue;
        }
        let Some(left) = room.checked_sub(cell.get_value().len()) else { return Ok(None) };
        room = left;
        found.insert(cell.get_position(), cell.get_value().clone());
    }
    Ok(Some(found))
}

fn widen(record: &mut Record, width: usize) {
    if record.fields.len() < width {
        record.fields.resize(width, String::new());
        record.cells.resize(width, Given::Text);
    }
}

fn is_empty(value: &DataRef<'_>) -> bool {
    match value {
        DataRef::Empty => true,
        DataRef::String(text) => text.trim().is_empty(),
        DataRef::SharedString(text) => text.trim().is_empty(),
        DataRef::Int(_)
        | DataRef::Float(_)
        | DataRef::Bool(_)
        | DataRef::DateTime(_)
        | DataRef::DateTimeIso(_)
        | DataRef::DurationIso(_)
        | DataRef::Error(_) => false,
    }
}

impl Iterator for Rows<'_, '_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let first = match self.ahead.take() {
            Some(cell) => cell,
            None => self.cell()?,
        };
        let row = first.get_position().0;
        let line = usize::try_from(row).unwrap_or(usize::MAX).saturating_add(1);
        if line <= self.row {
            self.stopped = Some(Stopped::Disordered);
            return None;
        }
        self.row = line;
        let mut record = Record { line, from_1904: self.from_1904, ..Record::default() };
        let mut cell = Some(first);
        while let Some(one) = cell {
            if one.get_position().0 != row {
                self.ahead = Some(one);
                break;
            }
            if !self.put(&mut record, &one) {
                return None;
            }
            cell = self.cell();
        }
        if self.stopped.is_some() {
            return None;
        }
        let width = *self.width.get_or_insert(record.fields.len());
        let missing = width.saturating_sub(record.fields.len());
        let Some(room) = self.room.checked_sub(missing) else {
            self.stopped = Some(Stopped::TooLarge);
            return None;
        };
        self.room = room;
        widen(&mut record, width);
        record.places = (1..=record.fields.len()).map(|column| (line, column)).collect();
        Some(record)
    }
}

/// The text of a cell as its CSV file would have it, and what the cell held.
fn read(value: &DataRef<'_>, from_1904: bool) -> (String, Given) {
    match value {
        DataRef::Empty => (String::new(), Given::Text),
        DataRef::String(text) => (text.clone(), Given::Text),
        DataRef::SharedString(text) => ((*text).to_owned(), Given::Text),
        DataRef::DurationIso(text) => (text.clone(), Given::Text),
        DataRef::DateTimeIso(text) => {
            let midnight = ["T00:00:00", "T00:00:00Z", "T00:00:00.000", "T00:00:00.000Z"];
            let day = midnight.into_iter().find_map(|end| text.strip_suffix(end));
            (day.unwrap_or(text).to_owned(), Given::Text)
        }
        DataRef::Bool(truth) => (if *truth { "TRUE" } else { "FALSE" }.to_owned(), Given::Truth(*truth)),
        DataRef::Error(error) => (error.to_string(), Given::Failed),
        // A whole number of at most 19 digits, of which a spreadsheet writes 15.
        DataRef::Int(number) => of_number(number.to_string().parse().unwrap_or(f64::NAN)),
        DataRef::Float(number) => of_number(*number),
        DataRef::DateTime(moment) if moment.is_datetime() => {
            let (year, month, day, hour, minute, second, _) = moment.to_ymd_hms_milli();
            let day = format!("{year:04}-{month:02}-{day:02}");
            let serial = moment.as_f64() + if from_1904 { FROM_1904 } else { 0.0 };
            if (hour, minute, second) == (0, 0, 0) {
                (day, Given::Date(serial))
            } else {
                (format!("{day}T{hour:02}:{minute:02}:{second:02}"), Given::Date(serial))
            }
        }
        DataRef::DateTime(duration) => of_number(duration.as_f64()),
    }
}

/// A number as the spreadsheet shows it, to 15 digits.
fn of_number(number: f64) -> (String, Given) {
    if !number.is_finite() {
        return (number.to_string(), Given::Text);
    }
    let given = Given::Number(number);
    if number.fract() == 0.0 {
        let whole = format!("{:.0}", number + 0.0);
        if number.abs() < ROUNDED_FROM || looks_like_a_card_number(&whole) {
            return (whole, given);
        }
        // Rounded already: said as such, and nowhere with all of its digits, which may be most of a card number's.
        return (format!("{number:.4E}").replace('E', "E+"), Given::Text);
    }
    let shown: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    (shown.to_string(), given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_names_that_spreadsheets_give_them() {
        for (row, column, name) in [(7, 3, "C7"), (1, 26, "Z1"), (1, 27, "AA1"), (9, 702, "ZZ9"), (2, 703, "AAA2")] {
            assert_eq!(cell_name(row, column), name);
        }
    }

    #[test]
    fn numbers_are_read_as_they_are_shown() {
        for (number, text) in [
            (79.0, "79"),
            (-0.0, "0"),
            (59.970_000_000_000_006, "59.97"),
            (0.1 + 0.2, "0.3"),
            (123_456_789_012_345.0, "123456789012345"),
            (1_234_567_890_123_456.0, "1.2346E+15"),
        ] {
            assert_eq!(of_number(number).0, text, "{number}");
        }
        assert_eq!(of_number(4_242_424_242_424_242.0).0, "4242424242424242", "a card number is known as one");
        assert_eq!(of_number(4_242_424_242_424_240.0).0, "4.2424E+15", "and what is left of one is not shown");
    }
}
