//! CSV tables beside a plan file: price lists, and installments chosen by hand.
//!
//! A table is read into rows of text that become part of the plan as written, so that the plan's digest covers every price. What
//! a cell means is for the domain to judge; what it says comes back to the cell's line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use domain::id::looks_like_a_card_number;
use domain::installments::{self, InstallmentRowSpec};
use domain::plan::{Mistake, PlanSpec};
use domain::price_list::{self, PriceRowSpec};

use super::csv_rows::{MOST_FIELDS, Record, Records};
use super::form::Likeness;
use super::meant;
use super::mistake::{CARD_MEND, CARD_MESSAGE, FileMistake, HIDDEN, halves, is_personal, plainly, shown};
use super::near::nearest;
use super::plans::files_in;
use super::roster::text_of;
use super::sheet::{Sheet, Tab};

/// Largest table, in bytes.
pub const LARGEST_TABLE: u64 = 16 * 1024 * 1024;

/// Where the tables of a plan are found.
#[derive(Debug, Clone, Copy)]
pub enum Beside<'a> {
    /// Nowhere: a plan that names a table cannot be read.
    Nothing,
    /// In the plan file's folder.
    Folder(&'a Path),
    /// Already at hand, by file name.
    Texts(&'a BTreeMap<String, String>),
}

/// A table that is not at hand, in words for the key that names it.
#[derive(Debug)]
struct Absent {
    code: &'static str,
    message: String,
    mend: String,
}

/// Why a table has no text.
enum Wrong {
    /// There is none to read.
    Absent(Absent),
    /// It is no text, or too long.
    Content(Box<FileMistake>),
}

/// A table as read: its rows' places, for what the domain says of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    label: String,
    /// Why it is not at hand, which is for the plan that names it to say.
    absent: Option<Absent>,
    /// Of each row: the line and column of each field, and the fields.
    records: Vec<Record>,
    /// The field of a row's mistake, and the column it is about.
    columns: Vec<(String, String, usize)>,
    /// Lines whose shape is wrong, so that nothing more is said of them.
    refused: BTreeSet<usize>,
    pub(super) mistakes: Vec<FileMistake>,
}

impl Beside<'_> {
    /// The text of the table that a key names, and what it is called in messages.
    fn text(self, key: &str, name: &str) -> Result<(String, String), Wrong> {
        let absent = |code, message: String, mend: String| Wrong::Absent(Absent { code, message, mend });
        let missing = |message: String, others: Vec<String>| {
            let mend = match nearest(name, others.iter().map(String::as_str)) {
                Some(near) => format!("{key} = \"{near}\""),
                None => format!("add {name} beside the plan file, or correct the name"),
            };
            absent("table_missing", message, mend)
        };
        match self {
            Self::Nothing => {
                let mend = "check the folder that holds the plan and its tables";
                Err(absent("table_missing", format!("the table {name} is not at hand here"), mend.to_owned()))
            }
            Self::Texts(texts) => match texts.get(name) {
                Some(text) => Ok((name.to_owned(), text.clone())),
                None => Err(missing(format!("there is no table {name}"), texts.keys().cloned().collect())),
            },
            Self::Folder(folder) => {
                let path = folder.join(name);
                let label = path.display().to_string();
                let unreadable = |why: &std::io::Error| {
                    let message = format!("the table {label} cannot be read ({})", plainly(why));
                    absent("unreadable", message, "check the name and that you may read it".to_owned())
                };
                match std::fs::metadata(&path) {
                    Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                        let others = files_in(folder, &["csv"]).unwrap_or_default();
                        let name_of = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
                        return Err(missing(
                            format!("there is no table {label}"),
                            others.iter().filter_map(name_of).collect(),
                        ));
                    }
                    Err(why) => return Err(unreadable(&why)),
                    // A pipe would wait for ever.
                    Ok(about) if !about.is_file() => {
                        let message = format!("{label} is not a file");
                        return Err(absent("unreadable", message, "put the table there".to_owned()));
                    }
                    Ok(about) if about.len() > LARGEST_TABLE => {
                        let (message, mend) = ("the table is larger than 16 MiB", "split it over several plans");
                        let found = FileMistake::of_file(&label, "file_too_large", message, mend);
                        return Err(Wrong::Content(Box::new(found)));
                    }
                    Ok(_) => {}
                }
                let mut bytes = Vec::new();
                let read = File::open(&path).and_then(|file| file.take(LARGEST_TABLE).read_to_end(&mut bytes));
                read.map_err(|why| unreadable(&why))?;
                let text = text_of(&label, &bytes).map_err(Wrong::Content)?.to_owned();
                Ok((label, text))
            }
        }
    }
}

/// Columns, each behind the name of what it holds.
type Named<'n> = &'n [(&'n str, &'n str)];

/// May a plan name its table so? A plain name beside the plan file.
pub(super) fn is_table_name(name: &str) -> bool {
    let plain = |ch: char| ch.is_ascii_alphanumeric() || matches!(ch, '-' | '_' | '.');
    name.ends_with(".csv") && (5..=100).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}

impl Table {
    fn open(
        beside: Beside<'_>,
        (key, name): (&str, &str),
        (needed, optional): (Named<'_>, Named<'_>),
        match_on: &[String],
        most: usize,
    ) -> Self {
        let mut table = Self::default();
        let (label, text) = match beside.text(key, name) {
            Ok(found) => found,
            Err(Wrong::Absent(absent)) => {
                table.absent = Some(absent);
                return table;
            }
            Err(Wrong::Content(mistake)) => {
                table.mistakes.push(*mistake);
                return table;
            }
        };
        table.label = label;
        let columns: Vec<&str> = needed.iter().map(|(_, column)| *column).collect();
        let mut records = Records::new(&text);
        let Some(header) = records.next() else {
            let mend = format!("write the header {} and a row for each amount", columns.join(","));
            table.mistakes.push(FileMistake::of_file(&table.label, "empty_file", "the file is empty", mend));
            return table;
        };
        if !table.read_header(&header, (needed, optional), match_on) {
            return table;
        }
        for record in records {
            if table.records.len() == most {
                let (message, mend) = (format!("the table has more than {most} rows"), "split it over several plans");
                table.mistakes.push(FileMistake {
                    line: record.line,
                    ..FileMistake::of_file(&table.label, "too_many_rows", message, mend)
                });
                break;
            }
            let before = table.mistakes.len();
            table.check(&header, &record);
            if table.mistakes.len() > before {
                table.refused.insert(record.line);
            }
            table.records.push(record);
        }
        if table.records.is_empty() && table.mistakes.is_empty() {
            let mend = "add a row for each amount below the header";
            table.mistakes.push(FileMistake::of_file(
                &table.label,
                "no_rows",
                "the table has a header and no rows",
                mend,
            ));
        }
        table
    }

    fn note(
        &mut self,
        (line, column): (usize, usize),
        code: &'static str,
        value: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let (path, value) = (self.label.clone(), shown(value));
        self.mistakes.push(FileMistake { path, line, column, code, value, message: message.into(), mend: mend.into() });
    }

    /// Finds the columns, also those under a name that is nearly theirs; `false` when the rows below cannot be read.
    fn read_header(
        &mut self,
        header: &Record,
        (needed, optional): (Named<'_>, Named<'_>),
        match_on: &[String],
    ) -> bool {
        let known: Vec<&str> = needed.iter().chain(optional).map(|(_, column)| *column).collect();
        let example = needed.iter().map(|(_, column)| *column).collect::<Vec<_>>().join(",");
        let at = |place: usize| header.places.get(place).copied().unwrap_or((header.line, 1));
        if header.unclosed_quote.is_some() || header.stray_quote.is_some() || header.fields.len() > MOST_FIELDS {
            self.note((header.line, 1), "header_quote", "", "the header cannot be read", format!("write {example}"));
            return false;
        }
        for (mark, code, name) in [(';', "semicolon_separated", "semicolons"), ('\t', "tab_separated", "tabs")] {
            if header.fields.len() == 1 && header.fields.iter().any(|only| only.contains(mark)) {
                let message = format!("the fields are separated by {name}, not by commas");
                self.note((header.line, 1), code, "", message, "save the file as CSV with commas");
                return false;
            }
        }
        let (mut strange, mut doubled) = (Vec::new(), false);
        for (place, name) in header.fields.iter().enumerate() {
            let twice = header.fields.iter().take(place).any(|before| before == name);
            if looks_like_a_card_number(name) {
                self.note(at(place), "card_number", HIDDEN, CARD_MESSAGE, CARD_MEND);
            } else if is_personal(name) {
                let message =
                    format!("the column {} suggests data about a person, which may not enter autopay", shown(name));
                self.note(at(place), "personal_data", name, message, "remove the column");
            } else if !known.contains(&name.as_str()) {
                strange.push(place);
            } else if twice {
                doubled = true;
                self.note(
                    at(place),
                    "duplicate_column",
                    name,
                    format!("the column {name} stands here twice"),
                    "remove one of the two",
                );
            }
        }
        let absent = |column: &&str| header.fields.iter().all(|name| name != column);
        let mut others: Vec<&str> = known.iter().copied().filter(absent).collect();
        let mut wanted: Vec<&str> = needed.iter().map(|(_, column)| *column).filter(absent).collect();
        let mut meant: BTreeMap<usize, &str> = BTreeMap::new();
        for way in Likeness::ALL {
            for place in strange.iter().copied() {
                let Some(name) = header.fields.get(place).filter(|_| !meant.contains_key(&place)) else { continue };
                let Some(near) = way.find(name, &wanted, &others) else { continue };
                wanted.retain(|column| *column != near);
                others.retain(|column| *column != near);
                meant.insert(place, near);
            }
        }
        if meant.is_empty() && strange.len() == header.fields.len() {
            let mend = format!("write the header {example} above the rows");
            self.note((header.line, 1), "no_header", "", "the first line names no column of this table", mend);
            return false;
        }
        let unknown = strange.iter().filter(|place| !meant.contains_key(place)).count();
        // One name that nobody knows, and one column that is not there: they are one mistake.
        let instead = if let ([only], 1) = (wanted.as_slice(), unknown) { Some(*only) } else { None };
        for place in strange {
            let name = header.fields.get(place).map(String::as_str).unwrap_or_default();
            let mut message = format!("{} is not a column of this table", shown(name));
            let mend = match (meant.get(&place), instead) {
                (Some(near), _) => written_as(near, name, match_on),
                (None, Some(column)) => {
                    message = format!("{message}, and the column {column} is missing");
                    let write = written_as(column, name, match_on);
                    format!("{write}, if that is what it holds; else remove it, and add the column {column}")
                }
                (None, None) => {
                    let columns = known.join(", ");
                    format!(
                        "write the column that is meant: known here are {columns}; or remove it, if it is not needed"
                    )
                }
            };
            self.note(at(place), "unknown_column", name, message, mend);
        }
        for (field, column) in needed.iter().chain(optional) {
            let by_meaning = || meant.iter().find(|(_, near)| *near == column).map(|(place, _)| *place);
            if let Some(place) = header.fields.iter().position(|name| name == column).or_else(by_meaning) {
                self.columns.push(((*field).to_owned(), (*column).to_owned(), place));
            }
        }
        for column in wanted.iter().copied().filter(|column| instead != Some(*column)) {
            let mend = format!("add the column {column}");
            self.note((header.line, 1), "missing_column", "", format!("the column {column} is missing"), mend);
        }
        // A column too many in the header would make every row one too short.
        wanted.is_empty() && unknown == 0 && !doubled
    }

    fn check(&mut self, header: &Record, record: &Record) {
        let at = |place: usize| record.places.get(place).copied().unwrap_or((record.line, 1));
        if let Some(place) = record.unclosed_quote {
            let message = "a field begins with a quotation mark here and none ends it up to the end of the file";
            self.note(at(place), "quote_unclosed", "", message, "close the quotation mark, or remove it");
            return;
        }
        if let Some(place) = record.stray_quote {
            let mend = "put quotation marks around the whole field and double those inside, or remove them";
            self.note(at(place), "quote_stray", "", "a quotation mark stands inside the field", mend);
        }
        if record.fields.len() != header.fields.len() {
            let message = format!("the row has {} fields and the header {}", record.fields.len(), header.fields.len());
            let mend = "put quotation marks around fields that hold a comma, and leave no field out";
            self.note((record.line, 1), "ragged_row", &format!("{} fields", record.fields.len()), message, mend);
        }
        for (place, field) in record.fields.iter().enumerate() {
            if looks_like_a_card_number(field) {
                self.note(at(place), "card_number", HIDDEN, CARD_MESSAGE, CARD_MEND);
            }
        }
    }

    fn cell(&self, record: &Record, field: &str) -> String {
        let place = self.columns.iter().find(|(name, _, _)| name == field).map(|(_, _, place)| *place);
        place.and_then(|place| record.fields.get(place)).cloned().unwrap_or_default()
    }

    /// The rows, when they can be judged one by one.
    fn rows(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// Puts what the domain says of row `place` where it stands.
    pub(super) fn said(&mut self, place: usize, field: &str, one: &Mistake) {
        let Some(record) = self.records.get(place).cloned() else { return };
        if self.refused.contains(&record.line) {
            return;
        }
        let Some((_, column, at)) = self.columns.iter().find(|(name, _, _)| name == field).cloned() else { return };
        let place = record.places.get(at).copied().unwrap_or((record.line, 1));
        let cell = record.fields.get(at).cloned().unwrap_or_default();
        let value = format!("{column} = {cell}");
        let is_date = matches!(field, "from" | "until" | "due_date");
        if is_date
            && let Some((how, mend)) = meant::cell_date(&cell).filter(|_| one.message.starts_with("is not a date"))
        {
            self.note(place, "excel_date", &value, format!("{column} is not written as year-month-day{how}"), mend);
            return;
        }
        let code = match (one.message.split(' ').next().unwrap_or_default(), field) {
            ("stands", "from") => "duplicate_row",
            ("overlaps", _) => "rows_overlap",
            ("leaves", _) => "price_gap",
            ("does", "due_date") => "rows_out_of_order",
            (_, "from" | "until" | "due_date") => "date_invalid",
            (_, "amount") => "amount_invalid",
            (_, _) => "attribute_invalid",
        };
        let (mut message, mend) = halves(&one.message);
        if ["is ", "has ", "holds ", "stands ", "overlaps ", "leaves ", "lies ", "does ", "looks "]
            .iter()
            .any(|verb| message.starts_with(verb))
        {
            message = format!("{column} {message}");
        }
        self.note(place, code, &value, message, mend);
    }
}

/// How a column of a table that stands there under another name is put right: in the table, or in the plan where it chose the name.
fn written_as(column: &str, name: &str, match_on: &[String]) -> String {
    if !match_on.iter().any(|attribute| attribute == column) || !price_list::is_attribute(name) {
        return format!("write {column}");
    }
    let other = |attribute: &String| format!("\"{}\"", if attribute == column { name } else { attribute });
    let names: Vec<String> = match_on.iter().map(other).collect();
    format!("write {column}, or match_on = [{}] in the plan", names.join(", "))
}

/// The columns of a price list that a plan may match on, as they are written in it; nothing where they cannot be read.
pub(super) fn attributes_of(beside: Beside<'_>, name: &str) -> String {
    let Ok((_, text)) = beside.text("price_list", name) else { return String::new() };
    let header = Records::new(&text).next().unwrap_or_default();
    let attribute = |column: &&String| {
        let own = column.as_str() == "amount" || column.starts_with("effective_");
        !own && price_list::is_attribute(column) && !is_personal(column)
    };
    header.fields.iter().filter(attribute).map(|column| format!("\"{column}\"")).collect::<Vec<_>>().join(", ")
}

/// The table that a key of a plan names. That there is none is said of the plan's own line.
pub(super) fn found(sheet: &mut Sheet<'_>, tab: &Tab, key: &str, mut table: Table) -> Option<Table> {
    if let (Some(Absent { code, message, mend }), Some(entry)) = (table.absent.take(), tab.get(key)) {
        sheet.refuse(tab, entry, code, message, mend);
    }
    Some(table)
}

/// A price list as rows of text, and the table they stand in.
pub(super) fn price_rows(beside: Beside<'_>, name: &str, match_on: &[String]) -> (Vec<PriceRowSpec>, Table) {
    let fields: Vec<String> = (0..match_on.len()).map(|place| format!("values.{place}")).collect();
    let mut needed = vec![("from", "effective_from")];
    needed.extend(fields.iter().map(String::as_str).zip(match_on.iter().map(String::as_str)));
    needed.push(("amount", "amount"));
    let table = Table::open(
        beside,
        ("price_list", name),
        (&needed, &[("until", "effective_to")]),
        match_on,
        price_list::MOST_ROWS,
    );
    let row = |record: &Record| PriceRowSpec {
        from: table.cell(record, "from"),
        until: Some(table.cell(record, "until")).filter(|until| !until.is_empty()),
        values: fields.iter().map(|field| table.cell(record, field)).collect(),
        amount: table.cell(record, "amount"),
    };
    let rows = table.rows().map(row).collect();
    (rows, table)
}

/// Installments chosen by hand as rows of text, and the table they stand in.
pub(super) fn installment_rows(beside: Beside<'_>, name: &str) -> (Vec<InstallmentRowSpec>, Table) {
    let needed = [("due_date", "due_date"), ("amount", "amount")];
    let table = Table::open(beside, ("rows", name), (&needed, &[]), &[], installments::MOST.into());
    let row = |record: &Record| InstallmentRowSpec {
        due_date: table.cell(record, "due_date"),
        amount: table.cell(record, "amount"),
    };
    let rows = table.rows().map(row).collect();
    (rows, table)
}

/// The tables of a plan as they would stand beside its file: names and texts. Reading them again gives the same plan.
#[must_use]
pub fn tables_of(spec: &PlanSpec) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    let text = |rows: Vec<Vec<String>>| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        // Writing to memory does not fail.
        let _ = rows.iter().try_for_each(|row| writer.write_record(row));
        String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
    };
    if let Some(name) = &spec.amount.price_list {
        let dated = spec.amount.price_rows.iter().any(|row| row.until.is_some());
        let mut header = vec!["effective_from".to_owned()];
        header.extend(dated.then(|| "effective_to".to_owned()));
        header.extend(spec.amount.match_on.iter().cloned());
        header.push("amount".to_owned());
        let rows = spec.amount.price_rows.iter().map(|row| {
            let mut cells = vec![row.from.clone()];
            cells.extend(dated.then(|| row.until.clone().unwrap_or_default()));
            cells.extend(row.values.iter().cloned());
            cells.push(row.amount.clone());
            cells
        });
        tables.push((name.clone(), text(std::iter::once(header).chain(rows).collect())));
    }
    if let Some((written, name)) =
        spec.installments.as_ref().and_then(|written| Some((written, written.rows.as_ref()?)))
    {
        let header = vec!["due_date".to_owned(), "amount".to_owned()];
        let rows = written.row.iter().map(|row| vec![row.due_date.clone(), row.amount.clone()]);
        tables.push((name.clone(), text(std::iter::once(header).chain(rows).collect())));
    }
    tables
}
