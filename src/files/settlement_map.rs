//! How a settlement file names its columns: a small TOML file, because the gateway's own layout is not public (contract §9).
//!
//! ```toml
//! schema = "autopay.settlement-map/1"
//! [columns]
//! type = "Transaction Type"
//! gateway_id = "ccg_paymentId"
//! key = "merchantTransactionId"
//! gross = "Amount"
//! [types]
//! "Charge" = "payment"
//! [format]
//! amounts = "minor"        # or "decimal"
//! dates = "MM/DD/YYYY"     # or "YYYY-MM-DD", "DD.MM.YYYY"
//! currency = "USD"         # where the file has no such column
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use domain::money::Currency;
use domain::settlement::RowKind;
use toml_edit::{Item, Table};

use super::mistake::{FileMistake, shown};
use super::near::nearest;
use super::syntax;

/// The word at the top of a map.
const SCHEMA: &str = "autopay.settlement-map/1";

/// The columns that are understood, by the name each has without a map.
pub(super) const COLUMNS: [&str; 9] =
    ["type", "gateway_id", "key", "gross", "fee", "net", "currency", "settled_on", "code"];

/// How dates are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dates {
    Iso,
    American,
    European,
}

impl Dates {
    const ALL: [(&'static str, Self); 3] =
        [("YYYY-MM-DD", Self::Iso), ("MM/DD/YYYY", Self::American), ("DD.MM.YYYY", Self::European)];

    /// How the format is written in a map.
    pub(super) fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, dates)| *dates == self).map_or("YYYY-MM-DD", |(text, _)| text)
    }
}

/// How a file is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementMap {
    /// Our name of a column, and the file's.
    pub(super) columns: BTreeMap<&'static str, String>,
    /// The file's words for what a row tells of.
    pub(super) types: BTreeMap<String, RowKind>,
    /// Amounts are whole minor units.
    pub(super) minor: bool,
    pub(super) dates: Dates,
    /// The currency of a file without such a column.
    pub(super) currency: Option<Currency>,
}

impl Default for SettlementMap {
    /// The documented layout.
    fn default() -> Self {
        Self {
            columns: COLUMNS.into_iter().map(|name| (name, name.to_owned())).collect(),
            types: BTreeMap::new(),
            minor: false,
            dates: Dates::Iso,
            currency: None,
        }
    }
}

impl SettlementMap {
    /// Plain rows of ACH returns: an entry or our key, a code, an amount, a day.
    pub(super) fn of_returns() -> Self {
        let mut map = Self { currency: Some(Currency::USD), ..Self::default() };
        let named =
            [("gateway_id", "entry_id"), ("code", "return_code"), ("gross", "amount"), ("settled_on", "returned_on")];
        for (ours, theirs) in named {
            map.columns.insert(ours, theirs.to_owned());
        }
        map
    }

    /// Reads a map.
    ///
    /// # Errors
    /// Every mistake, with its place.
    pub fn read(label: &str, text: &str) -> Result<Self, Vec<FileMistake>> {
        let mut reading = Reading { label, text, map: Self::default(), mistakes: Vec::new() };
        let (document, broken) = syntax::read(text, "[columns]");
        for one in broken {
            reading.wrong(Some(one.at..one.at), "toml_syntax", &one.line, one.message, &one.mend);
        }
        if let Some(document) = document {
            reading.top(document.as_table());
        }
        reading.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        if reading.mistakes.is_empty() { Ok(reading.map) } else { Err(reading.mistakes) }
    }
}

struct Reading<'t> {
    label: &'t str,
    text: &'t str,
    map: SettlementMap,
    mistakes: Vec<FileMistake>,
}

impl Reading<'_> {
    fn wrong(&mut self, span: Option<Range<usize>>, code: &'static str, value: &str, message: String, mend: &str) {
        let before = self.text.get(..span.map_or(0, |span| span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let (path, value, mend) = (self.label.to_owned(), shown(value), mend.to_owned());
        self.mistakes.push(FileMistake { path, line, column, code, value, message, mend });
    }

    fn top(&mut self, table: &Table) {
        match table.get("schema").and_then(Item::as_str) {
            Some(SCHEMA) => {}
            Some(other) => {
                let span = table.get("schema").and_then(Item::span);
                self.wrong(
                    span,
                    "schema",
                    other,
                    "this is another kind of file".to_owned(),
                    &format!("write schema = \"{SCHEMA}\""),
                );
            }
            None => self.wrong(
                None,
                "schema",
                "",
                "schema is missing".to_owned(),
                &format!("write schema = \"{SCHEMA}\" at the top"),
            ),
        }
        for (key, item) in table.iter() {
            let span = item.span();
            match (key, item.as_table()) {
                ("schema", _) => {}
                ("columns", Some(table)) => self.columns(table),
                ("types", Some(table)) => self.types(table),
                ("format", Some(table)) => self.format(table),
                _ => self.unknown(span, key, &["schema", "columns", "types", "format"]),
            }
        }
    }

    fn unknown(&mut self, span: Option<Range<usize>>, key: &str, known: &[&'static str]) {
        let mend = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("write one of {}", known.join(", ")),
        };
        self.wrong(span, "unknown_key", key, format!("{} is not known here", shown(key)), &mend);
    }

    /// The text of an entry, or a mistake.
    fn words<'i>(&mut self, key: &str, item: &'i Item) -> Option<&'i str> {
        let text = item.as_str().map(str::trim).filter(|text| !text.is_empty());
        if text.is_none() {
            self.wrong(item.span(), "not_text", key, "text is needed here".to_owned(), "write it in quotation marks");
        }
        text
    }

    fn columns(&mut self, table: &Table) {
        for (key, item) in table.iter() {
            let Some(ours) = COLUMNS.into_iter().find(|name| *name == key) else {
                self.unknown(item.span(), key, &COLUMNS);
                continue;
            };
            if let Some(theirs) = self.words(key, item) {
                self.map.columns.insert(ours, theirs.to_owned());
            }
        }
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let twice = self.map.columns.iter().find_map(|(ours, theirs)| Some((seen.insert(theirs, ours)?, *ours)));
        if let Some((first, second)) = twice {
            let message = format!("{first} and {second} are read from the same column");
            self.wrong(table.span(), "column_twice", "", message, "name one column for each");
        }
    }

    fn types(&mut self, table: &Table) {
        for (key, item) in table.iter() {
            let Some(word) = self.words(key, item) else { continue };
            match RowKind::parse(word) {
                Some(kind) => {
                    self.map.types.insert(key.trim().to_lowercase(), kind);
                }
                None => {
                    let mend = format!("write one of {}", RowKind::ALL.map(RowKind::as_str).join(", "));
                    self.wrong(item.span(), "row_type", word, "there is no such kind of row".to_owned(), &mend);
                }
            }
        }
    }

    fn format(&mut self, table: &Table) {
        for (key, item) in table.iter() {
            let span = item.span();
            match key {
                "amounts" | "dates" | "currency" => {}
                _ => {
                    self.unknown(span, key, &["amounts", "dates", "currency"]);
                    continue;
                }
            }
            let Some(word) = self.words(key, item) else { continue };
            match (key, word) {
                ("amounts", "minor") => self.map.minor = true,
                ("amounts", "decimal") => self.map.minor = false,
                ("amounts", _) => {
                    self.wrong(
                        span,
                        "amounts",
                        word,
                        "amounts are written in one of two ways".to_owned(),
                        "write \"decimal\" or \"minor\"",
                    );
                }
                ("dates", _) => match Dates::ALL.into_iter().find(|(text, _)| *text == word) {
                    Some((_, dates)) => self.map.dates = dates,
                    None => {
                        let mend = "write \"YYYY-MM-DD\", \"MM/DD/YYYY\" or \"DD.MM.YYYY\"";
                        self.wrong(span, "dates", word, "dates are not written so".to_owned(), mend);
                    }
                },
                _ => match Currency::parse(word) {
                    Ok(currency) => self.map.currency = Some(currency),
                    Err(error) => {
                        let (message, mend) = super::mistake::halves(&error.to_string());
                        self.wrong(span, "currency", word, message, &mend);
                    }
                },
            }
        }
    }
}
