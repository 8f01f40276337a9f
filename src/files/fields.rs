//! The fields of one row of a table, and what is wrong with them whatever they mean: card numbers, what spreadsheets leave behind,
//! rows that are too short.

use domain::id::{looks_like_a_card_number, without_card_numbers};

use super::csv_rows::Record;
use super::form::Form;
use super::mistake::{CARD_MEND, CARD_MESSAGE, HIDDEN, halves, shown};
use super::roster::{LONGEST_FIELD, RowMistake, starts_a_formula};
use super::workbook::Given;

/// Words by which a row says that it sums up those above it.
const SUMS: &[&str] = &["total", "totals", "grand total", "subtotal", "sub-total", "sum"];

/// What a table is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paper {
    /// A text file, with lines.
    Text,
    /// A sheet of a workbook, with rows.
    Sheet,
}

/// Where the columns of a header stand: the first of each name.
#[derive(Debug)]
pub(super) struct Columns(Vec<(String, usize)>);

impl Columns {
    pub(super) fn of(header: &Record) -> Self {
        let mut columns: Vec<(String, usize)> = Vec::new();
        for (place, name) in header.fields.iter().enumerate() {
            if columns.iter().all(|(known, _)| known != name) {
                columns.push((name.clone(), place));
            }
        }
        Self(columns)
    }

    /// A handful of names: going through them is quicker than hashing one.
    pub(super) fn get(&self, column: &str) -> Option<usize> {
        self.0.iter().find(|(name, _)| name == column).map(|(_, place)| *place)
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.get(column).is_some()
    }
}

/// One row of a table of some form, and the mistakes found in it so far.
pub(super) struct Fields<'r> {
    form: &'static Form,
    pub(super) columns: &'r Columns,
    pub(super) record: &'r Record,
    paper: Paper,
    /// Fields that look like a card number or are too long, which was said.
    pub(super) spoiled: Vec<usize>,
    pub(super) mistakes: Vec<RowMistake>,
}

impl<'r> Fields<'r> {
    pub(super) const fn new(form: &'static Form, columns: &'r Columns, record: &'r Record, paper: Paper) -> Self {
        Self { form, columns, record, paper, spoiled: Vec::new(), mistakes: Vec::new() }
    }

    /// Names what is wrong with the row as a whole; `false` when nothing can be read of it.
    pub(super) fn stands(&mut self, header: &Record) -> bool {
        if self.record.fields.iter().all(|field| field.trim().is_empty()) {
            self.whole("row_empty", String::new(), "the row is empty", "delete the row");
            return false;
        }
        if self.record.fields == header.fields {
            self.whole("header_again", String::new(), "the header stands here again", "delete the row");
            return false;
        }
        for (place, field) in self.record.fields.iter().enumerate() {
            let column = || header.fields.get(place).cloned().unwrap_or_default();
            if looks_like_a_card_number(field) {
                self.spoiled.push(place);
                let column = column();
                let value = HIDDEN.to_owned();
                let (message, mend) = (CARD_MESSAGE.to_owned(), CARD_MEND.to_owned());
                self.mistakes.push(RowMistake {
                    column,
                    code: "card_number",
                    value,
                    message,
                    mend,
                    place: Some(place),
                });
            } else if field.len() > LONGEST_FIELD {
                self.spoiled.push(place);
                self.note(&column(), "field_too_long", "the field is longer than 4 KiB", "shorten it");
            }
        }
        if let Some(place) = self.sums_up() {
            let value = self.record.fields.get(place).map(|field| shown(field)).unwrap_or_default();
            let message = format!("this is a row of totals, not a {}", self.form.row);
            self.whole("total_row", value, message, "delete the row");
            if let Some(said) = self.mistakes.last_mut() {
                said.place = Some(place);
            }
            return false;
        }
        if let Some(place) = self.record.stray_quote {
            let column = header.fields.get(place).cloned().unwrap_or_default();
            let mend = "put quotation marks around the whole field and double those inside, or remove them";
            self.note(&column, "quote_stray", "a quotation mark stands inside the field", mend);
        }
        let (wanted, found) = (header.fields.len(), self.record.fields.len());
        let blank = |column: &&str| self.columns.get(column).is_some() && self.is_blank(column);
        if wanted == found && self.form.needed.iter().all(blank) {
            let message =
                format!("{} are empty, without which there is no {}", self.form.needed.join(", "), self.form.row);
            self.whole("row_incomplete", String::new(), message, "delete the row, or fill them");
            return false;
        }
        if wanted != found {
            match self.paper {
                Paper::Text => {
                    let message = format!("the row has {found} fields and the header {wanted}");
                    let mend = match found {
                        1 => "delete the line, or write all fields of a row",
                        _ => "put quotation marks around fields that hold a comma, and leave no field out",
                    };
                    self.whole(
                        "ragged_row",
                        format!("{found} field{}", if found == 1 { "" } else { "s" }),
                        message,
                        mend,
                    );
                }
                Paper::Sheet => {
                    let mut beyond = self.record.fields.iter().enumerate().skip(wanted);
                    let beyond = beyond.find(|(_, field)| !field.is_empty());
                    let value = beyond.map(|(_, field)| shown(field)).unwrap_or_default();
                    let message = "a value stands to the right of the last column that has a name";
                    self.whole("ragged_row", value, message, "name its column in the header, or empty the cell");
                    if let Some(said) = self.mistakes.last_mut() {
                        said.place = beyond.map(|(place, _)| place);
                    }
                }
            }
            return false;
        }
        true
    }

    /// The field that says that the row sums up those above it: every column that must be filled is empty but for it.
    fn sums_up(&self) -> Option<usize> {
        let place = self.record.fields.iter().position(|field| {
            let word = field.trim().trim_end_matches(':').to_lowercase();
            SUMS.contains(&word.as_str())
        })?;
        let is_empty = |column: &&str| {
            let at = self.columns.get(column).filter(|at| *at != place);
            at.and_then(|at| self.record.fields.get(at)).is_none_or(|field| field.trim().is_empty())
        };
        self.form.needed.iter().all(is_empty).then_some(place)
    }

    pub(super) fn note(
        &mut self,
        column: &str,
        code: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let place = self.columns.get(column);
        let value = place.and_then(|place| self.record.fields.get(place)).map(|field| shown(field)).unwrap_or_default();
        self.mistakes.push(RowMistake {
            column: column.to_owned(),
            code,
            value,
            // What a rule quotes of the field may be no more than a card number's worth of its digits.
            message: without_card_numbers(&message.into()).into_owned(),
            mend: without_card_numbers(&mend.into()).into_owned(),
            place: None,
        });
    }

    pub(super) fn whole(
        &mut self,
        code: &'static str,
        value: String,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.mistakes.push(RowMistake {
            column: String::new(),
            code,
            value,
            message: message.into(),
            mend: mend.into(),
            place: None,
        });
    }

    /// A sentence of the domain about a column.
    pub(super) fn said(&mut self, column: &str, code: &'static str, sentence: &str) {
        let (mut message, mend) = halves(sentence);
        if ["is ", "has ", "lies "].iter().any(|verb| message.starts_with(verb)) {
            message = format!("{column} {message}");
        }
        self.note(column, code, message, mend);
    }

    /// The field of a column, `None` where the column or the text is missing.
    pub(super) fn raw(&self, column: &str) -> Option<&'r str> {
        let record: &'r Record = self.record;
        let field = record.fields.get(self.columns.get(column)?)?.as_str();
        // In a report that comes back, the apostrophe before what a spreadsheet would take for a formula is our own.
        let field = match field.strip_prefix('\'') {
            Some(rest) if self.columns.has("row_status") && starts_a_formula(rest) => rest,
            Some(_) | None => field,
        };
        (!field.is_empty()).then_some(field)
    }

    pub(super) fn is_blank(&self, column: &str) -> bool {
        self.raw(column).is_none()
    }

    /// The field of a column, when nothing is wrong with its characters.
    pub(super) fn field(&mut self, column: &str) -> Option<&'r str> {
        let text = self.raw(column)?;
        if let Some((code, message)) = self.mistyped(column) {
            let mend = match code {
                "cell_failed" => "mend the formula, or write the value itself",
                _ => "format the column as text in the spreadsheet, and enter the value again",
            };
            self.note(column, code, message, mend);
            return None;
        }
        if self.columns.get(column).is_some_and(|place| self.spoiled.contains(&place)) {
            // Said already.
            None
        } else if is_spotless(text) {
            Some(text)
        } else if text.contains(char::is_control) {
            let mend = "write it on one line, and look for a quotation mark that is not closed";
            self.note(column, "line_break", "the field holds a line break or control character", mend);
            None
        } else if text.trim() != text {
            self.note(
                column,
                "spaces_around",
                "spaces stand before or after the value",
                format!("write {}", shown(text.trim())),
            );
            None
        } else if let Some(rest) = text.strip_prefix(['\'', '\u{2019}']) {
            let mend = format!("write {}", shown(rest));
            self.note(
                column,
                "excel_apostrophe",
                "an apostrophe stands before the value, left there by a spreadsheet",
                mend,
            );
            None
        } else if is_scientific(text) {
            let mend = "format the column as text in the spreadsheet, and enter the value again";
            self.note(column, "excel_number", "a spreadsheet has turned this into a rounded number", mend);
            None
        } else {
            Some(text)
        }
    }

    /// What a spreadsheet made of a cell that is meant to be something else.
    fn mistyped(&self, column: &str) -> Option<(&'static str, &'static str)> {
        let place = self.columns.get(column)?;
        match self.record.cells.get(place)? {
            Given::Text => None,
            Given::Failed => Some(("cell_failed", "the formula of the cell has no result")),
            Given::Truth(_) => Some(("excel_truth", "a spreadsheet has turned this into true or false")),
            Given::Date(_) if self.form.dates.contains(&column) => None,
            Given::Date(_) => Some(("excel_date", "a spreadsheet has turned this into a date")),
            Given::Number(number) if number.fract() != 0.0 && !self.form.fractions.contains(&column) => {
                Some(("excel_number", "a spreadsheet has turned this into a number with decimals"))
            }
            Given::Number(_) => None,
        }
    }

    /// Is something wrong in one of these columns?
    pub(super) fn has_mistake_in(&self, columns: &[&str]) -> bool {
        self.mistakes.iter().any(|mistake| columns.contains(&mistake.column.as_str()))
    }

    pub(super) fn value<T>(
        &mut self,
        column: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        code: &'static str,
    ) -> Option<T> {
        let text = self.field(column)?;
        self.or_noted(column, parse(text), code)
    }

    /// What was read of a column, or what is wrong with it, which is noted.
    pub(super) fn or_noted<T>(&mut self, column: &str, read: Result<T, String>, code: &'static str) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(sentence) => {
                self.said(column, code, &sentence);
                None
            }
        }
    }
}

/// Is a text plainly one that nothing is wrong with: letters, digits and marks of ASCII, without what a spreadsheet leaves behind?
fn is_spotless(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
        && !text.starts_with('\'')
        && !(text.starts_with(|first: char| first.is_ascii_digit()) && is_scientific(text))
}

/// `1E+05`, `1.23E+15`: what spreadsheets make of long ids.
fn is_scientific(text: &str) -> bool {
    let Some((number, exponent)) = text.split_once(['E', 'e']) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    digits(whole) && digits(fraction) && exponent.strip_prefix(['+', '-']).is_some_and(digits)
}
