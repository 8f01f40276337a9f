//! CSV tables beside a plan file: price lists, and installments chosen by hand.
//!
//! A table is read into rows of text that become part of the plan as written, so that the plan's digest covers every price. What
//! a cell means is for the domain to judge; what it says comes back to the cell's line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use domain::id::looks_like_a_card_number;
use domain::installments::{self, InstallmentRowSpec};
use domain::plan::{Mistake, PlanSpec};
use domain::price_list::{self, PriceRowSpec};

use super::csv_rows::{MOST_FIELDS, Record, Records};
use super::mistake::{CARD_MEND, CARD_MESSAGE, FileMistake, HIDDEN, halves, is_personal, plainly, shown};
use super::near::nearest;
use super::roster::{damaged_date, text_of};

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

/// A table as read: its rows' places, for what the domain says of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    label: String,
    /// Of each row: the line and column of each field, and the fields.
    records: Vec<Record>,
    /// The field of a row's mistake, and the column it is about.
    columns: Vec<(String, String, usize)>,
    /// Lines whose shape is wrong, so that nothing more is said of them.
    refused: BTreeSet<usize>,
    pub(super) mistakes: Vec<FileMistake>,
}

impl Beside<'_> {
    /// The text of a table and the name it has in messages.
    fn text(self, name: &str) -> Result<(String, String), Box<FileMistake>> {
        match self {
            Self::Nothing => {
                let mend = "check the folder that holds the plan and its tables";
                Err(Box::new(FileMistake::of_file(name, "table_missing", "this table is not at hand here", mend)))
            }
            Self::Texts(texts) => match texts.get(name) {
                Some(text) => Ok((name.to_owned(), text.clone())),
                None => {
                    let (message, mend) = ("there is no such table", "add it beside the plan file");
                    Err(Box::new(FileMistake::of_file(name, "table_missing", message, mend)))
                }
            },
            Self::Folder(folder) => {
                let path = folder.join(name);
                let label = path.display().to_string();
                let wrong =
                    |code, message: String, mend: &str| Box::new(FileMistake::of_file(&label, code, message, mend));
                match std::fs::metadata(&path) {
                    Err(why) => {
                        let message = format!("the table cannot be read ({})", plainly(&why));
                        return Err(wrong(
                            "table_missing",
                            message,
                            "add it beside the plan file, or correct its name there",
                        ));
                    }
                    // A pipe would wait for ever.
                    Ok(about) if !about.is_file() => {
                        return Err(wrong("unreadable", "this is not a file".to_owned(), "put the table there"));
                    }
                    Ok(about) if about.len() > LARGEST_TABLE => {
                        return Err(wrong(
                            "file_too_large",
                            "the table is larger than 16 MiB".to_owned(),
                            "split it over several plans",
                        ));
                    }
                    Ok(_) => {}
                }
                let mut bytes = Vec::new();
                let read = File::open(&path).and_then(|file| file.take(LARGEST_TABLE).read_to_end(&mut bytes));
                if let Err(why) = read {
                    let message = format!("the table cannot be read ({})", plainly(&why));
                    return Err(wrong("unreadable", message, "check the name and that you may read it"));
                }
                text_of(&label, &bytes).map(|text| (label.clone(), text.to_owned()))
            }
        }
    }
}

/// May a plan name its table so? A plain name beside the plan file.
pub(super) fn is_table_name(name: &str) -> bool {
    let plain = |ch: char| ch.is_ascii_alphanumeric() || matches!(ch, '-' | '_' | '.');
    name.ends_with(".csv") && (5..=100).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain)
}

impl Table {
    fn open(beside: Beside<'_>, name: &str, needed: &[(&str, &str)], optional: &[(&str, &str)], most: usize) -> Self {
        let mut table = Self::default();
        let (label, text) = match beside.text(name) {
            Ok(found) => found,
            Err(mistake) => {
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
        table.read_header(&header, needed, optional);
        if !table.mistakes.is_empty() {
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

    fn read_header(&mut self, header: &Record, needed: &[(&str, &str)], optional: &[(&str, &str)]) {
        let known: Vec<&str> = needed.iter().chain(optional).map(|(_, column)| *column).collect();
        let example = needed.iter().map(|(_, column)| *column).collect::<Vec<_>>().join(",");
        let at = |place: usize| header.places.get(place).copied().unwrap_or((header.line, 1));
        if header.unclosed_quote.is_some() || header.stray_quote.is_some() || header.fields.len() > MOST_FIELDS {
            self.note((header.line, 1), "header_quote", "", "the header cannot be read", format!("write {example}"));
            return;
        }
        for (mark, code, name) in [(';', "semicolon_separated", "semicolons"), ('\t', "tab_separated", "tabs")] {
            if header.fields.len() == 1 && header.fields.iter().any(|only| only.contains(mark)) {
                let message = format!("the fields are separated by {name}, not by commas");
                self.note((header.line, 1), code, "", message, "save the file as CSV with commas");
                return;
            }
        }
        let mut meant: Vec<&str> = Vec::new();
        for (place, name) in header.fields.iter().enumerate() {
            let twice = header.fields.iter().take(place).any(|before| before == name);
            if looks_like_a_card_number(name) {
                self.note(at(place), "card_number", HIDDEN, CARD_MESSAGE, CARD_MEND);
            } else if is_personal(name) {
                let message =
                    format!("the column {} suggests data about a person, which may not enter autopay", shown(name));
                self.note(at(place), "personal_data", name, message, "remove the column");
            } else if !known.contains(&name.as_str()) {
                let near = nearest(name, known.iter().copied());
                meant.extend(near);
                let mend = near.map_or_else(
                    || format!("remove the column; columns known here: {}", known.join(", ")),
                    |near| format!("write {near}"),
                );
                self.note(
                    at(place),
                    "unknown_column",
                    name,
                    format!("{} is not a column of this table", shown(name)),
                    mend,
                );
            } else if twice {
                self.note(
                    at(place),
                    "duplicate_column",
                    name,
                    format!("the column {name} stands here twice"),
                    "remove one of the two",
                );
            }
        }
        for (field, column) in needed.iter().chain(optional) {
            match header.fields.iter().position(|name| name == column) {
                Some(place) => self.columns.push(((*field).to_owned(), (*column).to_owned(), place)),
                None if meant.contains(column) || optional.iter().any(|(_, other)| other == column) => {}
                None => {
                    let mend = format!("add the column {column}");
                    self.note((header.line, 1), "missing_column", "", format!("the column {column} is missing"), mend);
                }
            }
        }
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
        if is_date && let Some((date, how)) = damaged_date(&cell).filter(|_| one.message.starts_with("is not a date")) {
            self.note(
                place,
                "excel_date",
                &value,
                format!("{column} is not written as year-month-day{how}"),
                format!("write {date}"),
            );
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

/// A price list as rows of text, and the table they stand in.
pub(super) fn price_rows(beside: Beside<'_>, name: &str, match_on: &[String]) -> (Vec<PriceRowSpec>, Table) {
    let fields: Vec<String> = (0..match_on.len()).map(|place| format!("values.{place}")).collect();
    let mut needed = vec![("from", "effective_from")];
    needed.extend(fields.iter().map(String::as_str).zip(match_on.iter().map(String::as_str)));
    needed.push(("amount", "amount"));
    let table = Table::open(beside, name, &needed, &[("until", "effective_to")], price_list::MOST_ROWS);
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
    let table = Table::open(beside, name, &needed, &[], installments::MOST.into());
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
