//! The form of a table: which columns it has, and what its header must say.

use std::collections::BTreeSet;

use domain::id::looks_like_a_card_number;
use domain::price_list::is_attribute;

use super::csv_rows::{MOST_FIELDS, Record};
use super::fields::Paper;
use super::meant;
use super::mistake::{CARD_MEND, CARD_MESSAGE, FileMistake, is_personal, shown};
use super::near::nearest;
use super::roster::REPORT_COLUMNS;

/// Lines below the first among which the header is looked for.
const MOST_ABOVE: usize = 10;

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

    /// Checks the header, which may have `more` columns, and returns it as it is meant: under a name that is nearly a column's the rows are
    /// read as that column, so that they do not repeat what is said of the header. `None` when they cannot be read at all.
    pub(super) fn check_header(
        &self,
        label: &str,
        header: &Record,
        more: &BTreeSet<&str>,
        mistakes: &mut Vec<FileMistake>,
    ) -> Option<Record> {
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
                return None;
            }
        }
        if header.unclosed_quote.is_some() || header.stray_quote.is_some() {
            let message = "a quotation mark stands where none may";
            let mend = "write the header without quotation marks";
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "header_quote", message, mend) });
            return None;
        }
        let is_set_off = |name: &String| name.len() > 2 && name.starts_with('\'') && name.ends_with('\'');
        if header.fields.iter().all(is_set_off) {
            let names: Vec<&str> = header.fields.iter().map(|name| name.trim_matches('\'')).collect();
            let message = "the columns stand in apostrophes";
            let mend = format!("write {}", shown(&names.join(",")));
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "header_quote", message, mend) });
            return None;
        }
        if header.fields.len() > MOST_FIELDS {
            let message = format!("the header has more than {MOST_FIELDS} columns");
            let mend = format!("write the columns {}", self.columns.join(", "));
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "too_many_columns", message, mend) });
            return None;
        }
        let mut known: Vec<&str> = self.known().collect();
        known.extend(more);
        let restyled: Vec<usize> =
            (0..header.fields.len()).filter(|place| self.restyled(header, *place).is_some()).collect();
        let first = mistakes.len();
        let mut meant = header.clone();
        let mut strange: Vec<usize> = Vec::new();
        let mut nameless: Vec<usize> = Vec::new();
        for (place, name) in header.fields.iter().enumerate() {
            let mistake = |code: &'static str, message: String, mend: &str| FileMistake {
                path: label.to_owned(),
                line,
                column: column_of(header, place),
                code,
                value: shown(name),
                message,
                mend: mend.to_owned(),
            };
            if looks_like_a_card_number(name) {
                mistakes.push(mistake("card_number", CARD_MESSAGE.to_owned(), CARD_MEND));
            } else if known.contains(&name.as_str()) {
                if header.fields.iter().take(place).any(|before| before == name) {
                    let message = format!("the column {name} stands here twice");
                    mistakes.push(mistake("duplicate_column", message, "remove one of the two"));
                }
            } else if let (true, Some(column), Some(field)) =
                (restyled.len() > 1, self.restyled(header, place), meant.fields.get_mut(place))
            {
                // Said already, for all of them.
                column.clone_into(field);
            } else if is_personal(name) {
                let message =
                    format!("the column {} suggests data about a person, which may not enter autopay", shown(name));
                mistakes.push(mistake("personal_data", message, "remove the column; name the customer by an id"));
            } else if name.trim().is_empty() {
                nameless.push(place);
            } else {
                strange.push(place);
            }
        }
        let near = self.meanings(&mut meant, &strange, &known, more);
        if let Some(place) = restyled.first().copied().filter(|_| restyled.len() > 1) {
            let names: Vec<String> = meant.fields.iter().map(|name| plain_name(name)).collect();
            let message = "the columns are not written in small letters with underscores";
            let mend = format!("write {}", names.join(","));
            let value = header.fields.get(place).map(|name| shown(name)).unwrap_or_default();
            let said = FileMistake::of_file(label, "column_style", message, mend);
            mistakes.insert(first, FileMistake { line, column: column_of(header, place), value, ..said });
        }
        let recognised = meant.fields.iter().any(|name| known.contains(&name.as_str()));
        if !recognised {
            let message = format!("the first line names no column of {}", self.what);
            let mend = format!("write a header there, such as {}", self.example.join(","));
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "no_header", message, mend) });
            return None;
        }
        let mut missing = self.missing(&meant);
        let unknown: Vec<usize> = strange.iter().copied().filter(|place| !near.contains(place)).collect();
        // One name that nobody knows, and one column that is not there: they are one mistake.
        let instead = if unknown.len() == 1 && missing.len() == 1 { missing.pop() } else { None };
        // So are a column that may not be there and the one that stands there instead.
        let mut personal = mistakes.iter_mut().skip(first).filter(|mistake| mistake.code == "personal_data");
        if let (Some(only), None, 1, true) = (personal.next(), personal.next(), missing.len(), unknown.is_empty())
            && let Some((said, add)) = missing.pop()
        {
            only.message = format!("{}, and {said}", only.message);
            only.mend = format!("remove the column, and {add}");
        }
        for place in strange {
            let name = header.fields.get(place).map(|name| shown(name)).unwrap_or_default();
            let mut message = format!("{name} is not a column of {}", self.what);
            let mend = match (&instead, meant.fields.get(place).filter(|_| near.contains(&place))) {
                (_, Some(column)) => format!("write {column}"),
                (Some((said, add)), None) => {
                    message = format!("{message}, and {said}");
                    let write = add.replacen("add the column", "write", 1).replacen("add", "write", 1);
                    format!("{write}, if that is what it holds; else remove it, and {add}")
                }
                (None, None) => {
                    let columns = self.columns.join(", ");
                    format!(
                        "write the column that is meant: known here are {columns}; or remove it, if it is not needed"
                    )
                }
            };
            let column = column_of(header, place);
            let (path, code) = (label.to_owned(), "unknown_column");
            mistakes.push(FileMistake { path, line, column, code, value: name, message, mend });
        }
        if let Some(first) = nameless.first() {
            let (message, mend) = match nameless.len() {
                1 => ("a column has no name".to_owned(), "name the column, or remove it"),
                several => (format!("{several} columns have no name"), "name them, or remove them"),
            };
            let column = column_of(header, *first);
            mistakes.push(FileMistake { line, column, ..FileMistake::of_file(label, "unknown_column", message, mend) });
        }
        for (message, mend) in missing {
            mistakes.push(FileMistake { line, ..FileMistake::of_file(label, "missing_column", message, mend) });
        }
        // Without one column that is written as it should be, the rows could only repeat what was said.
        let readable = restyled.len() > 1 || header.fields.iter().any(|name| known.contains(&name.as_str()));
        readable.then_some(meant)
    }

    /// Names of a header that are no column's, nor nearly one's: attributes, where price lists could not be read that may be matched on them.
    pub(super) fn may_be_attributes<'h>(&self, header: &'h Record) -> impl Iterator<Item = &'h str> {
        let known: Vec<&str> = self.known().collect();
        header.fields.iter().map(String::as_str).filter(move |name| {
            is_attribute(name)
                && !known.contains(name)
                && !is_personal(name)
                && meant::names(name).is_empty()
                && nearest(name, known.iter().copied()).is_none()
        })
    }

    /// A first line that is no header may be a title above it: says where the header stands, if it is one of the next lines.
    pub(super) fn point_below(
        &self,
        mistakes: &mut [FileMistake],
        below: &mut dyn Iterator<Item = Record>,
        paper: Paper,
    ) {
        let Some(said) = mistakes.iter_mut().find(|mistake| mistake.code == "no_header") else { return };
        let stands = |record: &Record, column: &&&str| record.fields.iter().any(|name| plain_name(name) == **column);
        let is_header = |record: &Record| self.needed.iter().filter(|column| stands(record, column)).count() > 1;
        if let Some(header) = below.take(MOST_ABOVE).find(is_header) {
            let word = match paper {
                Paper::Text => "line",
                Paper::Sheet => "row",
            };
            said.mend = format!("delete what stands above {word} {}, which is the header", header.line);
        }
    }

    /// What is missing in a header, and what to add.
    fn missing(&self, header: &Record) -> Vec<(String, String)> {
        let stands = |column: &str| header.fields.iter().any(|name| name == column);
        let mut missing = Vec::new();
        for needed in self.needed.iter().filter(|needed| !stands(needed)) {
            missing.push((format!("the column {needed} is missing"), format!("add the column {needed}")));
        }
        for (columns, message) in self.one_of {
            if !columns.iter().any(|column| stands(column)) {
                missing.push(((*message).to_owned(), format!("add one of {}", columns.join(", "))));
            }
        }
        for (column, other, mend) in self.beside {
            if stands(column) && !stands(other) {
                missing.push((format!("{column} stands here without the column {other}"), (*mend).to_owned()));
            }
        }
        missing
    }

    /// Columns that must be there and are not; of several that would do, all.
    fn wanted<'c>(&self, header: &Record, more: &BTreeSet<&'c str>) -> Vec<&'c str> {
        let stands = |column: &str| header.fields.iter().any(|name| name == column);
        let needed = self.needed.iter().copied().filter(|column| !stands(column));
        let none = |columns: &&(&'static [&'static str], &str)| !columns.0.iter().any(|column| stands(column));
        let one_of = self.one_of.iter().filter(none).flat_map(|(columns, _)| columns.iter().copied());
        let beside = self.beside.iter().filter(|(column, other, _)| stands(column) && !stands(other));
        // What some price list is matched on must be there for whoever it prices.
        let attributes = more.iter().copied().filter(|column| !stands(column));
        needed.chain(one_of).chain(beside.map(|(_, other, _)| *other)).chain(attributes).collect()
    }

    /// Gives strange names of a header the column that each most likely means; which of them have one.
    fn meanings(&self, meant: &mut Record, strange: &[usize], known: &[&str], more: &BTreeSet<&str>) -> Vec<usize> {
        let mut near = Vec::new();
        // What stands here decides what must stand beside it: a name may find its column only once another has.
        for _ in 0..2 {
            for way in Likeness::ALL {
                for place in strange.iter().copied().filter(|place| !near.contains(place)).collect::<Vec<_>>() {
                    let Some(name) = meant.fields.get(place) else { continue };
                    let absent = known.iter().copied().filter(|column| meant.fields.iter().all(|name| name != column));
                    let found =
                        way.find(name, &self.wanted(meant, more), &absent.collect::<Vec<_>>()).map(str::to_owned);
                    if let (Some(column), Some(field)) = (found, meant.fields.get_mut(place)) {
                        *field = column;
                        near.push(place);
                    }
                }
            }
        }
        near
    }

    /// The column that a name means which only differs from it in its letters' size, its spaces or its hyphens.
    fn restyled(&self, header: &Record, place: usize) -> Option<&'static str> {
        let name = header.fields.get(place)?;
        let plain = plain_name(name);
        self.known().find(|column| *column == plain && *column != name.as_str())
    }
}

/// By what a name is taken for a column that is not there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Likeness {
    /// It is another name of one: see [`meant::names`].
    ByAnotherName,
    /// It is nearly one that must be there.
    NearlyWanted,
    /// It is nearly one that may be there.
    Nearly,
    /// It shares a word with one that must be there, and with no other such: `kind` with `method_kind`.
    ByAWord,
}

impl Likeness {
    /// The surer ones first.
    pub(super) const ALL: [Self; 4] = [Self::ByAnotherName, Self::NearlyWanted, Self::Nearly, Self::ByAWord];

    /// The column that a name means by this likeness, among those that are not there.
    pub(super) fn find<'c>(self, name: &str, wanted: &[&'c str], absent: &[&'c str]) -> Option<&'c str> {
        match self {
            Self::ByAnotherName => {
                // A price may be noted beside plans that have their own: only where one is wanted is it the amount.
                let among = |column: &str| if column == "amount" { wanted } else { absent };
                let called = |column: &&'static str| among(column).iter().find(|one| *one == column).copied();
                meant::names(name).iter().find_map(called)
            }
            Self::NearlyWanted => nearest(name, wanted.iter().copied()),
            Self::Nearly => nearest(name, absent.iter().copied()),
            Self::ByAWord => {
                let name = plain_name(name);
                // Too many names have these: `cancelled_on` is no `start_on`, and a `fee_amount` no `amount`.
                let tells = |word: &&str| !matches!(*word, "on" | "at" | "id" | "amount");
                let shares =
                    |column: &&&str| column.split('_').filter(tells).any(|word| name.split('_').any(|own| own == word));
                let mut sharing = wanted.iter().filter(shares);
                sharing.next().copied().filter(|_| sharing.next().is_none())
            }
        }
    }
}

/// A column's name as it would be written here.
fn plain_name(name: &str) -> String {
    name.trim().to_lowercase().replace([' ', '-'], "_")
}

fn column_of(header: &Record, place: usize) -> usize {
    header.places.get(place).map_or(1, |(_, column)| *column)
}
