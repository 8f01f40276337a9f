//! CSV by RFC 4180, strictly: what a lenient reader would guess at is named instead.
//!
//! Lines end with LF or CRLF, fields are separated by commas, a field in quotation marks may hold commas, line breaks and doubled
//! quotation marks. Blank lines are skipped.

use super::workbook::Given;

/// Most fields that are kept of one record: far more than any roster has.
pub(super) const MOST_FIELDS: usize = 1_000;

/// One record.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Record {
    /// The line it begins on, from 1.
    pub(super) line: usize,
    /// Its fields without their quotation marks; at most one more than [`MOST_FIELDS`].
    pub(super) fields: Vec<String>,
    /// The line, and the column in characters, both from 1, at which each field begins.
    pub(super) places: Vec<(usize, usize)>,
    /// The field, from 0, in which a quotation mark stands where none may.
    pub(super) stray_quote: Option<usize>,
    /// The field, from 0, whose closing quotation mark is missing up to the end of the file.
    pub(super) unclosed_quote: Option<usize>,
    /// What the cells of a sheet held; empty for a record of text.
    pub(super) cells: Vec<Given>,
    /// Does the workbook count its days from 1904 on?
    pub(super) from_1904: bool,
}

impl Record {
    /// Reads a line without quotation marks, as [`Records`] would, into the room of an earlier record; `false` of a blank line.
    /// Where its fields begin is not noted: each begins after those before it.
    pub(super) fn refill(&mut self, line: usize, text: &str) -> bool {
        let text = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
        let mut kept = 0;
        for part in text.split(',').take(MOST_FIELDS + 1) {
            match self.fields.get_mut(kept) {
                Some(field) => {
                    field.clear();
                    field.push_str(part);
                }
                None => self.fields.push(part.to_owned()),
            }
            kept += 1;
        }
        self.fields.truncate(kept);
        self.places.clear();
        self.cells.clear();
        (self.line, self.stray_quote, self.unclosed_quote, self.from_1904) = (line, None, None, false);
        !text.is_empty()
    }
}

/// The records of a text.
#[derive(Debug)]
pub(super) struct Records<'t> {
    rest: &'t str,
    line: usize,
}

impl<'t> Records<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { rest: text, line: 1 }
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    /// Steps over a line break, if one is next.
    fn line_break(&mut self) -> bool {
        let after = self.rest.strip_prefix("\r\n").or_else(|| self.rest.strip_prefix('\n'));
        if let Some(after) = after {
            self.rest = after;
            self.line += 1;
        }
        after.is_some()
    }

    /// The field in quotation marks that is next, its opening one already taken; whether it was closed.
    fn quoted(&mut self) -> (String, bool) {
        let mut field = String::new();
        loop {
            let Some(quote) = self.rest.find('"') else {
                let rest = self.take(self.rest.len());
                self.line += rest.matches('\n').count();
                field.push_str(rest);
                return (field, false);
            };
            let part = self.take(quote);
            self.line += part.matches('\n').count();
            field.push_str(part);
            self.take(1);
            if self.rest.starts_with('"') {
                field.push('"');
                self.take(1);
            } else {
                return (field, true);
            }
        }
    }

    /// Text up to the end of the field.
    fn plain(&mut self) -> &'t str {
        let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
        let crlf = self.rest.get(..end).is_some_and(|field| field.ends_with('\r'))
            && self.rest.as_bytes().get(end) == Some(&b'\n');
        self.take(if crlf { end - 1 } else { end })
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.line_break() {}
        if self.rest.is_empty() {
            return None;
        }
        let mut record = Record { line: self.line, ..Record::default() };
        let mut column = 1;
        loop {
            let place = record.fields.len();
            let (before, line) = (self.rest, self.line);
            let mut field;
            if self.rest.starts_with('"') {
                self.take(1);
                let closed;
                (field, closed) = self.quoted();
                if !closed {
                    record.unclosed_quote = Some(place);
                }
                let after = self.plain();
                if !after.is_empty() {
                    record.stray_quote.get_or_insert(place);
                    field.push_str(after);
                }
            } else {
                field = self.plain().to_owned();
                if field.contains('"') {
                    record.stray_quote.get_or_insert(place);
                }
            }
            if place <= MOST_FIELDS {
                record.fields.push(field);
                record.places.push((line, column));
            }
            let used = before.get(..before.len() - self.rest.len()).unwrap_or_default();
            let (start, last_line) = used.rsplit_once('\n').map_or((column, used), |(_, last)| (1, last));
            column = start + last_line.chars().count() + 1;
            if self.rest.starts_with(',') {
                self.take(1);
            } else {
                self.line_break();
                return Some(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        Records::new(text).map(|record| record.fields).collect()
    }

    #[test]
    fn fields_are_split_at_commas_and_lines() {
        assert_eq!(
            rows("a,b\r\n1,2\n\n\"x,\"\"y\"\"\n z\",\n"),
            vec![vec!["a", "b"], vec!["1", "2"], vec!["x,\"y\"\n z", ""]]
        );
        assert_eq!(rows(""), Vec::<Vec<String>>::new());
        assert_eq!(rows("a"), vec![vec!["a"]]);
        assert_eq!(rows(","), vec![vec!["", ""]]);
        assert_eq!(rows("a\rb"), vec![vec!["a\rb"]]);
    }

    #[test]
    fn a_line_without_quotation_marks_is_read_alike_into_used_room() {
        let mut used = Records::new("\"a\"b,\"c").next().unwrap();
        for text in ["a,b\n", "a,b,c,d\r\n", ",\n", "a\rb,ü\n", "a,\r", "a", "\r", "a,b\r\r\n", &"x,".repeat(2_000)] {
            assert!(used.refill(1, text), "{text:?}");
            let expected = Record { places: Vec::new(), ..Records::new(text).next().unwrap() };
            assert_eq!(used, expected, "{text:?}");
        }
        assert!(!used.refill(1, "\n") && !used.refill(1, "\r\n"), "as Records skips them");
    }

    #[test]
    fn lines_are_counted_through_quoted_line_breaks() {
        let lines: Vec<usize> = Records::new("h\n\n\"a\nb\"\nc\n").map(|record| record.line).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    #[test]
    fn quotation_marks_that_a_lenient_reader_would_swallow_are_named() {
        let record = |text: &str| Records::new(text).next().unwrap();
        assert_eq!(record("a,b\"c\n").stray_quote, Some(1));
        assert_eq!(record("\"a\"b,c\n").stray_quote, Some(0));
        assert_eq!(record("a,\"b\nc\n").unclosed_quote, Some(1));
    }

    #[test]
    fn fields_know_the_line_and_the_column_they_begin_at() {
        let places: Vec<Vec<(usize, usize)>> =
            Records::new("ü,b,\"c\",d\n1,\"two\nlines\",3\n4,5\n").map(|record| record.places).collect();
        assert_eq!(places[0], [(1, 1), (1, 3), (1, 5), (1, 9)]);
        assert_eq!(places[1], [(2, 1), (2, 3), (3, 8)]);
        assert_eq!(places[2], [(4, 1), (4, 3)]);
    }
}
