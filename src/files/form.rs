//! The form of a table: which columns it has, and what its header must say.

use std::collections::BTreeSet;

use domain::id::looks_like_a_card_number;

use super::csv_rows::{MOST_FIELDS, Record};
use super::mistake::{CARD_MEND, CARD_MESSAGE, FileMistake, is_personal, shown};
use super::near::nearest;
use super::roster::REPORT_COLUMNS;

/// What a table of one kind looks like. The four columns of a report may always be there.
#[derive(Debug)]
pub(super) struct Form {
    /// With its article: `a roster`.
    pub(super) what: &'static str,
    /// What one row is: `subscription`.
    pub(super) row: &'static str,
    /// Every column it may have.
    pub(super) columns: &'static [&'static str],
    /// Those that must be there.
    pub(super) needed: &'static [&'static str],
    /// A header to begin with.
    pub(super) example: &'static [&'static str],
    /// Columns of which one must be there, and what is said where none is.
    pub(super) one_of: &'static [(&'static [&'static str], &'static str)],
    /// Columns that need another beside them, which one, and its mend.
    pub(super) beside: &'static [(&'static str, &'static str, &'static str)],
    /// Columns in which a cell may be a date.
    pub(super) dates: &'static [&'static str],
    /// Columns in which a cell may be a number with decimals.
    pub(super) fractions: &'static [&'static str],
}

impl Form {
    fn known(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.columns.iter().copied().chain(REPORT_COLUMNS)
    }

    /// Checks the header, which may have `more` columns; `false` when the rows below it cannot be read at all.
    pub(super) fn check_header(
        &self,
        label: &str,
        header: &Record,
        more: &BTreeSet<&str>,
        mistakes: &mut Vec<FileMistake>,
    ) -> bool {
        let line = header.line;
        let separators = [
            (';', "semicolon_separated", "semicolons"),
            ('\t', "tab_separated", "tabs"),
            ('|', "bar_separated", "vertical bars"),
        ];
        for (mark, code, name) in separators {
            if header.fields.len() == 1 && header.fields.iter().any(|only| only.contains(mark)) {
                let message = format!("the fields are separated by {name}, not by commas");
                let mend = "save the file as CSV with commas";
                mistakes.push(FileMistake { line, ..FileMistake::of_file(label, code, message, mend) });
                return false;
            }
        }
        if header.unclosed_quote.is_some() || header.stray_quote.is_some() {
            let message = "a quotation mark stands where none may";
            let mend = "write the header without quotation marks";
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "header_quote", message, mend) });
            return false;
        }
        if header.fields.len() > MOST_FIELDS {
            let message = format!("the header has more than {MOST_FIELDS} columns");
            let mend = format!("write the columns {}", self.columns.join(", "));
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "too_many_columns", message, mend) });
            return false;
        }
        let mut columns: Vec<&str> = self.known().collect();
        columns.extend(more);
        let known = || columns.iter().copied();
        // What a column is, or is meant to be, so that it is not called missing too.
        let mut meant: Vec<&str> = Vec::new();
        let restyled: Vec<usize> =
            (0..header.fields.len()).filter(|place| self.restyled(header, *place).is_some()).collect();
        if restyled.len() > 1 {
            meant.extend(restyled.iter().filter_map(|place| self.restyled(header, *place)));
            let names: Vec<String> = header.fields.iter().map(|name| plain_name(name)).collect();
            let message = "the columns are not written in small letters with underscores";
            mistakes.push(FileMistake {
                line,
                column: restyled.first().map_or(1, |place| column_of(header, *place)),
                value: restyled
                    .first()
                    .and_then(|place| header.fields.get(*place))
                    .map(|name| shown(name))
                    .unwrap_or_default(),
                ..FileMistake::of_file(label, "column_style", message, format!("write {}", names.join(",")))
            });
        }
        let mut strange = Vec::new();
        let mut recognised = restyled.len() > 1;
        for (place, name) in header.fields.iter().enumerate() {
            let mistake = |code: &'static str, message: String, mend: String| FileMistake {
                path: label.to_owned(),
                line,
                column: column_of(header, place),
                code,
                value: shown(name),
                message,
                mend,
            };
            if looks_like_a_card_number(name) {
                mistakes.push(mistake("card_number", CARD_MESSAGE.to_owned(), CARD_MEND.to_owned()));
            } else if known().any(|column| column == name) {
                recognised = true;
                if header.fields.iter().take(place).any(|before| before == name) {
                    let message = format!("the column {name} stands here twice");
                    mistakes.push(mistake("duplicate_column", message, "remove one of the two".to_owned()));
                }
            } else if restyled.len() > 1 && restyled.contains(&place) {
                // Said already, for all of them.
            } else if is_personal(name) {
                let message =
                    format!("the column {} suggests data about a person, which may not enter autopay", shown(name));
                let mend = "remove the column; name the customer by an id".to_owned();
                mistakes.push(mistake("personal_data", message, mend));
            } else if name.trim().is_empty() {
                let mend = "name the column, or remove it".to_owned();
                strange.push(mistake("unknown_column", "a column has no name".to_owned(), mend));
            } else {
                let mend = match nearest(name, known()) {
                    Some(near) => {
                        recognised = true;
                        meant.push(near);
                        format!("write {near}")
                    }
                    None => format!("remove the column; columns known here: {}", self.columns.join(", ")),
                };
                strange.push(mistake(
                    "unknown_column",
                    format!("{} is not a column of {}", shown(name), self.what),
                    mend,
                ));
            }
        }
        if !recognised {
            let message = format!("the first line names no column of {}", self.what);
            let mend = format!("write a header there, such as {}", self.example.join(","));
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "no_header", message, mend) });
            return false;
        }
        mistakes.extend(strange);
        let stands = |column: &str| meant.contains(&column) || header.fields.iter().any(|name| name == column);
        let mut missing = |message: String, mend: String| {
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "missing_column", message, mend) });
        };
        for needed in self.needed.iter().filter(|needed| !stands(needed)) {
            missing(format!("the column {needed} is missing"), format!("add the column {needed}"));
        }
        for (columns, message) in self.one_of {
            if !columns.iter().any(|column| stands(column)) {
                missing((*message).to_owned(), format!("add one of {}", columns.join(", ")));
            }
        }
        for (column, other, mend) in self.beside {
            if stands(column) && !stands(other) {
                missing(format!("{column} stands here without the column {other}"), (*mend).to_owned());
            }
        }
        // Without one column that is written as it should be, the rows could only repeat what was said.
        header.fields.iter().any(|name| known().any(|column| column == name))
    }

    /// The column that a name means which only differs from it in its letters' size, its spaces or its hyphens.
    fn restyled(&self, header: &Record, place: usize) -> Option<&'static str> {
        let name = header.fields.get(place)?;
        let plain = plain_name(name);
        self.known().find(|column| *column == plain && *column != name.as_str())
    }
}

/// A column's name as it would be written here.
fn plain_name(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

fn column_of(header: &Record, place: usize) -> usize {
    header.places.get(place).map_or(1, |(_, column)| *column)
}
