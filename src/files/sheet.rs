//! A TOML file as a tree in which everything knows its place, and the list of mistakes found in it.

use std::collections::{BTreeMap, BTreeSet};

use domain::dunning::{PolicyError, Wait};
use domain::id::looks_like_a_card_number;
use toml_edit::{Item, TableLike, Value};

use super::meant;
use super::mistake::{self, CARD_MEND, CARD_MESSAGE, FileMistake, HIDDEN, shown};
use super::near::nearest;
use super::syntax;

/// Most mistakes that are listed for one file. Nobody writes so many; the limit keeps a hostile file from costing minutes.
const MOST_MISTAKES: usize = 1_000;
/// Keys whose value may be any text: a number that stands there only lacks its quotation marks.
const FREE_TEXT: &[&str] =
    &["id", "name", "owner", "debit", "credit", "dunning", "statement_suffix", "notify", "hand_to"];
/// Keys that count time, with the unit that a bare number most likely means.
const WAITS: &[(&str, &str)] = &[
    ("every", "month"),
    ("free_first", "day"),
    ("notify_before", "day"),
    ("notice", "day"),
    ("after", "day"),
    ("give_up_after", "day"),
];

/// Keys that need not be there, with what may be written for them.
const EXAMPLES: &[(&str, &str)] = &[
    ("if_day_missing", "\"last_day\""),
    ("business_days", "\"next\""),
    ("calendar", "\"us-federal-reserve\""),
    ("bill", "\"in_advance\""),
    ("free_first", "\"28 days\""),
    ("term", "\"12 months\""),
    ("catch_up", "\"ask\""),
    ("price_list", "\"prices-2027.csv\""),
    ("rows", "\"rows.csv\""),
    ("remainder", "\"spread\""),
    ("first_payment", "\"on_enrollment\""),
    ("interest", "\"none\""),
    ("stop_when", "\"balance_is_zero\""),
    ("on_start", "\"free\""),
    ("on_cancel", "\"no_refund\""),
    ("applies", "\"next_renewal\""),
    ("notice", "\"30 days\""),
    ("method", "\"stored_payment_method\""),
    ("notify_before", "\"5 days\""),
    ("notice_template", "\"a-letter\""),
    ("mode", "\"sale\""),
    ("partial_authorization", "\"refuse\""),
    ("when_hold_expires", "\"park\""),
    ("share", "\"40%\""),
    ("methods", "\"cards\""),
    ("consolidate", "\"none\""),
    ("not_past", "\"next_due_date\""),
    ("collect_first", "\"oldest_debt\""),
];

/// A key with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key as it is meant: see [`Sheet::known`].
    pub(super) key: String,
    /// The key as it is written.
    name: String,
    /// Byte offset of the key.
    pub(super) key_at: usize,
    pub(super) node: Node,
}

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Byte offset of the value; of the header for a table.
    pub(super) at: usize,
    /// As written; the header for a table.
    pub(super) raw: String,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text(String),
    Whole(i64),
    Fraction,
    Truth,
    Moment(toml_edit::Datetime),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

impl Kind {
    const fn in_words(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Whole(_) => "a number",
            Self::Fraction => "a number with decimals",
            Self::Truth => "true or false",
            Self::Moment(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// A table under the name its fields have in messages: "" for the top of the file, `schedule`, `amount.step.0`.
#[derive(Debug, Clone)]
pub(super) struct Tab {
    pub(super) name: String,
    at: usize,
    header: String,
    entries: Vec<Entry>,
}

impl Tab {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn field(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// Must the key be there?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need<'e> {
    /// Yes, and this is what to write.
    Required(&'e str),
    Optional,
}

/// Where a field stands and what stands there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) shown: String,
}

/// One file under examination.
#[derive(Debug)]
pub(super) struct Sheet<'t> {
    label: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
    places: BTreeMap<String, Place>,
    /// Fields already refused here: what the domain says about their stand-ins does not count.
    refused: BTreeSet<String>,
    /// Fields that stand here in another table or on a line that cannot be read: not to be called missing too.
    meant: BTreeSet<String>,
    /// Fields that are missing, unless it turns out that they are meant by something else.
    absent: Vec<(String, FileMistake)>,
    /// The tables that stand in the file.
    headings: BTreeSet<String>,
    /// Tables whose heading was said to be missing above their keys.
    headless: BTreeSet<String>,
    /// Offsets at which card numbers stand: said once, and nothing else is said about them.
    hidden: BTreeSet<usize>,
    mistakes: Vec<FileMistake>,
}

impl<'t> Sheet<'t> {
    /// Reads a file and looks for what no file may hold: card numbers and names of personal data. `None` as the tree when it is no TOML.
    pub(super) fn open(label: &'t str, text: &'t str) -> (Self, Option<Vec<Entry>>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut sheet = Self {
            label,
            text,
            line_starts,
            places: BTreeMap::new(),
            refused: BTreeSet::new(),
            meant: BTreeSet::new(),
            absent: Vec::new(),
            headings: BTreeSet::new(),
            headless: BTreeSet::new(),
            hidden: BTreeSet::new(),
            mistakes: Vec::new(),
        };
        let cards: Vec<usize> = domain::id::card_numbers(text).into_iter().map(|card| card.start).collect();
        for at in &cards {
            sheet.add(*at, "card_number", HIDDEN, CARD_MESSAGE, CARD_MEND);
        }
        let entries = sheet.tree();
        if let Some(entries) = &entries {
            sheet.inspect(entries, &cards);
        }
        (sheet, entries)
    }

    /// The tree of the file, without the lines that cannot be read: each of them is named, and so are the mistakes of the others.
    fn tree(&mut self) -> Option<Vec<Entry>> {
        let (document, broken) = syntax::read(self.text, "[schedule]");
        for one in broken {
            self.add(one.at, "toml_syntax", &one.line, &one.message, &one.mend);
            if document.is_some() {
                let field = self.field_of_line(one.at);
                self.refused.extend(field.clone());
                self.meant.extend(field);
            }
        }
        document.map(|document| entries_of(document.as_table(), self.text))
    }

    /// The field that the line of an offset writes, by the headings above it.
    fn field_of_line(&self, at: usize) -> Option<String> {
        let key = self.line_of(at).split_once('=')?.0.split_whitespace().next()?.to_owned();
        let above = self.line_starts.get(..self.line_index(at)).unwrap_or_default();
        let headings = above.iter().filter_map(|start| {
            let line = self.text.get(*start..)?.lines().next()?.trim();
            let name = line.strip_prefix('[')?.split(']').next()?;
            Some(name.trim_start_matches('[').trim().to_owned()).map(|plain| (name.starts_with('['), plain))
        });
        let headings: Vec<(bool, String)> = headings.collect();
        let Some((repeats, name)) = headings.last() else { return Some(key) };
        if *repeats {
            let place = headings.iter().filter(|(_, other)| other == name).count().saturating_sub(1);
            return Some(format!("{name}.{place}.{key}"));
        }
        Some(format!("{name}.{key}"))
    }

    pub(super) fn top(&mut self, entries: Vec<Entry>) -> Tab {
        self.headings = entries.iter().map(|entry| format!("[{}]", entry.key)).collect();
        Tab { name: String::new(), at: 0, header: String::new(), entries }
    }

    /// Every key and text, at every depth.
    fn inspect(&mut self, entries: &[Entry], cards: &[usize]) {
        for entry in entries {
            if self.guard(entry.key_at, &entry.key, entry.key_at..entry.key_at + entry.key.len() + 2, cards) {
                // The key is the card number.
            } else if mistake::is_personal(&entry.key) {
                let message = format!("{} suggests data about a person, which may not enter plan files", entry.key);
                self.add(
                    entry.key_at,
                    "personal_data",
                    entry.key.clone(),
                    message,
                    "remove the line; plans hold no data about people",
                );
            }
            self.inspect_node(&entry.node, cards);
        }
    }

    fn inspect_node(&mut self, node: &Node, cards: &[usize]) {
        match &node.kind {
            Kind::Text(text) => {
                self.guard(node.at, text, node.at..node.at + node.raw.len(), cards);
            }
            Kind::Whole(_) | Kind::Fraction => {
                self.guard(node.at, &node.raw, node.at..node.at + node.raw.len(), cards);
            }
            Kind::Truth | Kind::Moment(_) => {}
            Kind::List(nodes) => nodes.iter().for_each(|node| self.inspect_node(node, cards)),
            Kind::Table(entries) => self.inspect(entries, cards),
        }
    }

    /// Notes that a card number stands here, in whatever spelling.
    fn guard(&mut self, at: usize, text: &str, within: std::ops::Range<usize>, cards: &[usize]) -> bool {
        let next = cards.partition_point(|card| *card < within.start);
        let written_plainly = cards.get(next).is_some_and(|card| within.contains(card));
        let found = written_plainly || looks_like_a_card_number(text);
        if found {
            if !written_plainly {
                self.add(at, "card_number", HIDDEN, CARD_MESSAGE, CARD_MEND);
            }
            self.hidden.insert(at);
        }
        found
    }

    fn line_index(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at).saturating_sub(1)
    }

    /// Line and column of a byte offset, both from 1, the column in characters.
    pub(super) fn line_and_column(&self, at: usize) -> (usize, usize) {
        let line = self.line_index(at);
        let start = self.line_starts.get(line).copied().unwrap_or_default();
        let column = self.text.get(start..at.min(self.text.len())).map_or(0, |before| before.chars().count());
        (line + 1, column + 1)
    }

    fn line_of(&self, at: usize) -> String {
        let start = self.line_starts.get(self.line_index(at)).copied().unwrap_or_default();
        self.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
    }

    /// Notes a mistake at a byte offset.
    pub(super) fn add(
        &mut self,
        at: usize,
        code: &'static str,
        value: impl AsRef<str>,
        message: impl AsRef<str>,
        mend: impl AsRef<str>,
    ) {
        if self.hidden.contains(&at) || self.mistakes.len() > MOST_MISTAKES {
            return;
        }
        if self.mistakes.len() == MOST_MISTAKES {
            let message =
                format!("there are more than {MOST_MISTAKES} mistakes in this file, and the others are not listed");
            self.mistakes.push(FileMistake::of_file(
                self.label,
                "too_many_mistakes",
                message,
                "check that this is the right file",
            ));
            return;
        }
        let (line, column) = self.line_and_column(at);
        self.mistakes.push(FileMistake {
            path: self.label.to_owned(),
            line,
            column,
            code,
            value: shown(value.as_ref()),
            message: safe(message.as_ref()),
            mend: safe(mend.as_ref()),
        });
    }

    /// Notes that a field is missing, unless something else in the file turns out to be it.
    fn miss(&mut self, field: String, at: usize, header: &str, message: String, mend: String) {
        self.refused.insert(field.clone());
        let (line, column) = self.line_and_column(at);
        let (path, value) = (self.label.to_owned(), shown(header));
        self.absent.push((field, FileMistake { path, line, column, code: "missing_key", value, message, mend }));
    }

    /// Notes a mistake about a value, shown with its key.
    pub(super) fn refuse(
        &mut self,
        tab: &Tab,
        entry: &Entry,
        code: &'static str,
        message: impl AsRef<str>,
        mend: impl AsRef<str>,
    ) {
        self.refused.insert(tab.field(&entry.key));
        self.add(entry.node.at, code, written(entry), message, mend);
    }

    /// The mistakes, in the order of the file.
    pub(super) fn finish(mut self) -> Vec<FileMistake> {
        let meant = self.meant;
        let room = MOST_MISTAKES.saturating_sub(self.mistakes.len());
        self.mistakes
            .extend(self.absent.into_iter().take(room).filter(|(field, _)| !meant.contains(field)).map(|(_, one)| one));
        self.mistakes
            .sort_by(|left, right| (left.line, left.column, left.code).cmp(&(right.line, right.column, right.code)));
        self.mistakes.dedup();
        self.mistakes
    }

    /// Has anything been refused so far?
    pub(super) fn is_clean(&self) -> bool {
        self.mistakes.is_empty() && self.absent.is_empty()
    }

    /// Refuses the keys that a table does not know, `later` those with a meaning that this version does not carry out. A key that is
    /// nearly one that does not stand here is read as that one, so that what it says is judged too and nothing is called missing.
    pub(super) fn known<'k>(
        &mut self,
        tab: &mut Tab,
        keys: &[&'k str],
        later: &[(&str, &str)],
        elsewhere: &[(&'k str, &'k str)],
    ) {
        let mut absent: Vec<&'k str> = keys.iter().copied().filter(|key| tab.get(key).is_none()).collect();
        for at in 0..tab.entries.len() {
            let Some(entry) = tab.entries.get(at) else { continue };
            let key = entry.key.as_str();
            if keys.contains(&key) || mistake::is_personal(key) {
                continue;
            }
            let is_table = matches!(entry.node.kind, Kind::Table(_));
            let place = if is_table { entry.node.at } else { entry.key_at };
            let value = written(entry);
            if let Some((_, mend)) = later.iter().find(|(name, _)| *name == key) {
                let what = if is_table { format!("[{key}]") } else { key.to_owned() };
                self.add(place, "not_supported", value, format!("{what} is not supported by this version"), mend);
                continue;
            }
            let room =
                if tab.name.is_empty() { "at the top of the file".to_owned() } else { format!("in {}", tab.header) };
            let message = format!("{} is not a key known {room}", shown(key));
            let meaning = Meaning::of(key, is_table, (keys, &absent), elsewhere);
            let mend = match meaning {
                Meaning::There(name, home) => {
                    self.stands_for_another(home, name);
                    // Without its heading all keys of a table stand in another: said once.
                    if self.headless.contains(home) {
                        continue;
                    }
                    if !self.headings.contains(home) && is_headless(tab.entries.get(at..), home, elsewhere) {
                        self.headless.insert(home.to_owned());
                        format!("write {home} on a line above {key}")
                    } else if name == key {
                        format!("move {key} to {home}")
                    } else {
                        format!("move it to {home}, as {name}")
                    }
                }
                Meaning::Here(near) => format!("write {near}"),
                Meaning::Again(near) => format!("keep one of {} and {near}, as {near}", shown(key)),
                Meaning::Unknown => {
                    let keys = keys.join(", ");
                    format!("write the key that is meant: known here are {keys}; or remove it, if it is not needed")
                }
            };
            self.add(place, "unknown_key", value, message, mend);
            if let (Meaning::Here(near), Some(entry)) = (meaning, tab.entries.get_mut(at)) {
                near.clone_into(&mut entry.key);
                absent.retain(|key| *key != near);
            }
        }
    }

    /// Notes that a key of another table was meant, and with it that table.
    fn stands_for_another(&mut self, home: &str, key: &str) {
        let field = match home.strip_prefix('[').and_then(|home| home.strip_suffix(']')) {
            Some(table) if !table.starts_with('[') => {
                self.meant.insert(table.to_owned());
                format!("{table}.{key}")
            }
            // Which of several tables, nobody can say.
            Some(_) => return,
            None => key.to_owned(),
        };
        self.meant.insert(field.clone());
        self.refused.insert(field);
    }

    /// A table of this table. Refused, and noted as refused, when it is missing though needed or something else.
    pub(super) fn table(&mut self, tab: &Tab, key: &str, need: Need<'_>) -> Option<Tab> {
        let name = tab.field(key);
        let Some(entry) = tab.get(key) else {
            if let Need::Required(example) = need {
                self.miss(name, tab.at, "", format!("[{key}] is missing"), format!("add [{key}] with {example}"));
            }
            return None;
        };
        match &entry.node.kind {
            Kind::Table(entries) => {
                let header = format!("[{name}]");
                self.places.insert(name.clone(), Place { at: entry.node.at, shown: header.clone() });
                Some(Tab { name, at: entry.node.at, header, entries: entries.clone() })
            }
            Kind::Fraction | Kind::Whole(_) if key == "amount" => {
                let value = plain_amount(&entry.node.raw, None).unwrap_or_else(|| "…".to_owned());
                let mend = format!("[amount] with value = \"{value}\" under it");
                self.refuse(tab, entry, "money_unquoted", UNQUOTED, mend);
                None
            }
            Kind::Whole(count) if key == "installments" => {
                let message = "installments is a table, and its count says how many there are";
                let mend = format!("[installments] with count = {count} and total = \"from_subscription\" under it");
                self.refuse(tab, entry, "wrong_type", message, mend);
                None
            }
            other => {
                let message = format!("{key} must be a table, not {}", other.in_words());
                self.refuse(
                    tab,
                    entry,
                    "wrong_type",
                    message,
                    format!("write [{key}] on a line of its own, and its keys below"),
                );
                None
            }
        }
    }

    /// The tables of a `[[key]]`.
    pub(super) fn tables(&mut self, tab: &Tab, key: &str) -> Option<Vec<Tab>> {
        let entry = tab.get(key)?;
        let base = tab.field(key);
        let header = format!("[[{base}]]");
        self.places.insert(base.clone(), Place { at: entry.node.at, shown: header.clone() });
        let Kind::List(nodes) = &entry.node.kind else {
            let message = format!("{key} must be a list of tables, not {}", entry.node.kind.in_words());
            self.refuse(tab, entry, "wrong_type", message, format!("write {header} above each of them"));
            return None;
        };
        let mut found = Vec::new();
        for (place, node) in nodes.iter().enumerate() {
            let name = format!("{base}.{place}");
            self.places.insert(name.clone(), Place { at: node.at, shown: header.clone() });
            if let Kind::Table(entries) = &node.kind {
                found.push(Tab { name, at: node.at, header: header.clone(), entries: entries.clone() });
            } else {
                self.refused.insert(base.clone());
                let message = format!("{key} must be a list of tables, not of {}", node.kind.in_words());
                self.add(node.at, "wrong_type", &node.raw, message, format!("write {header} above each of them"));
            }
        }
        Some(found)
    }

    /// Finds a key and remembers its place; refuses its absence when it is needed.
    pub(super) fn entry<'n>(&mut self, tab: &'n Tab, key: &str, need: Need<'_>) -> Option<&'n Entry> {
        let found = tab.get(key);
        match (found, need) {
            (Some(entry), _) => {
                self.places.insert(tab.field(key), Place { at: entry.node.at, shown: written(entry) });
            }
            (None, Need::Required(example)) => {
                let place = if tab.name.is_empty() {
                    "at the top of the file".to_owned()
                } else {
                    format!("in {}", tab.header)
                };
                let message = format!("{key} is missing {place}");
                self.miss(tab.field(key), tab.at, &tab.header, message, format!("add {key} = {example}"));
            }
            (None, Need::Optional) => {}
        }
        found
    }

    fn wrong_type(&mut self, tab: &Tab, entry: &Entry, wanted: &str, example: &str) {
        let message = format!("{} must be {wanted}, not {}", entry.key, entry.node.kind.in_words());
        self.refuse(tab, entry, "wrong_type", message, format!("{} = {example}", entry.key));
    }

    /// Quoted text.
    pub(super) fn text(&mut self, tab: &Tab, key: &str, need: Need<'_>) -> Option<String> {
        let entry = self.entry(tab, key, need)?;
        match &entry.node.kind {
            Kind::Text(text) => Some(text.clone()),
            kind @ (Kind::Whole(_)
            | Kind::Fraction
            | Kind::Truth
            | Kind::Moment(_)
            | Kind::List(_)
            | Kind::Table(_)) => {
                let written = quoted(key, kind, &entry.node.raw);
                let example = match (&written, need) {
                    // An id is the name of its file, whatever stands there.
                    (Some(_), Need::Required(example)) if key == "id" => example,
                    (Some(written), _) => written.as_str(),
                    (None, Need::Required(example)) => example,
                    (None, Need::Optional) => example_of(key),
                };
                self.wrong_type(tab, entry, "text in quotes", example);
                None
            }
        }
    }

    /// A word out of few. `later` are words that would change what is charged and are not carried out by this version.
    pub(super) fn word(
        &mut self,
        tab: &Tab,
        key: &str,
        need: Need<'_>,
        words: &[&str],
        later: &[&str],
    ) -> Option<String> {
        let text = self.text(tab, key, need)?;
        let entry = tab.get(key)?;
        if words.contains(&text.as_str()) {
            return Some(text);
        }
        if later.contains(&text.as_str()) {
            let message = format!("{key} = \"{text}\" is not supported by this version");
            let mend =
                words.first().map_or("remove it".to_owned(), |word| format!("remove it, or write {key} = \"{word}\""));
            self.refuse(tab, entry, "not_supported", message, mend);
            return None;
        }
        let mend = match nearest(&text, words.iter().copied()) {
            Some(near) => format!("{key} = \"{near}\""),
            None => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("{key} = {}", words.join(" or "))
            }
        };
        self.refuse(
            tab,
            entry,
            "unknown_word",
            format!("{} is not a value that {key} knows", shown(&entry.node.raw)),
            mend,
        );
        None
    }

    /// Money: quoted text. Any number is refused with the quoted text to write.
    pub(super) fn money(
        &mut self,
        tab: &Tab,
        key: &str,
        need: Need<'_>,
        currency: Option<domain::money::Currency>,
    ) -> Option<String> {
        let entry = self.entry(tab, key, need)?;
        match &entry.node.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Whole(_) | Kind::Fraction => {
                let mend = match plain_amount(&entry.node.raw, currency) {
                    Some(plain) => format!("{key} = \"{plain}\""),
                    None => format!("write {key} as a plain amount in quotes, without an exponent"),
                };
                self.refuse(tab, entry, "money_unquoted", UNQUOTED, mend);
                None
            }
            Kind::List(nodes) => {
                let only = match nodes.as_slice() {
                    [Node { kind: Kind::Text(text), .. }] => format!("\"{text}\""),
                    _ => "\"…\", one amount".to_owned(),
                };
                self.wrong_type(tab, entry, "an amount in quotes", &only);
                None
            }
            Kind::Truth | Kind::Moment(_) | Kind::Table(_) => {
                self.wrong_type(tab, entry, "an amount in quotes", "\"…\", one amount");
                None
            }
        }
    }

    /// A whole number of at most 65,535. One that stands in quotes is refused, and read.
    pub(super) fn whole(&mut self, tab: &Tab, key: &str, need: Need<'_>) -> Option<u16> {
        let example = match need {
            Need::Required(example) => example,
            Need::Optional => "1",
        };
        let entry = self.entry(tab, key, need)?;
        match &entry.node.kind {
            Kind::Whole(number) => match u16::try_from(*number) {
                Ok(number) => Some(number),
                Err(_) => {
                    let message = format!("{key} must be a whole number from 0 to {}", u16::MAX);
                    self.refuse(tab, entry, "number_out_of_range", message, format!("{key} = {example}"));
                    None
                }
            },
            Kind::Text(text) => {
                let number = text.trim().parse::<u16>().ok();
                let mend = number.map_or_else(|| example.to_owned(), |number| number.to_string());
                self.wrong_type(tab, entry, "a whole number without quotes", &mend);
                number
            }
            Kind::Fraction | Kind::Truth | Kind::Moment(_) | Kind::List(_) | Kind::Table(_) => {
                self.wrong_type(tab, entry, "a whole number", example);
                None
            }
        }
    }

    /// A number or a word, as text: `on_day = 1`, `on_day = "last_day"`.
    pub(super) fn number_or_text(&mut self, tab: &Tab, key: &str) -> Option<String> {
        self.number_or_word(tab, key, "a day of the month or text in quotes", "1, or \"last_day\"")
    }

    /// A number or a word, as text; `wanted` says which where it is something else.
    pub(super) fn number_or_word(&mut self, tab: &Tab, key: &str, wanted: &str, example: &str) -> Option<String> {
        let entry = self.entry(tab, key, Need::Optional)?;
        match &entry.node.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Whole(number) => Some(number.to_string()),
            _ => {
                self.wrong_type(tab, entry, wanted, example);
                None
            }
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, tab: &Tab, key: &str, example: &str) -> Option<Vec<String>> {
        let entry = self.entry(tab, key, Need::Optional)?;
        let text = |node: &Node| match &node.kind {
            Kind::Text(text) => Some(text.clone()),
            _ => None,
        };
        let texts = match &entry.node.kind {
            Kind::List(nodes) => nodes.iter().map(text).collect(),
            _ => None,
        };
        if texts.is_none() {
            self.wrong_type(tab, entry, "a list of texts in quotes", example);
        }
        texts
    }

    /// A date or time of day, as TOML's own type or as quoted text.
    pub(super) fn moment(
        &mut self,
        tab: &Tab,
        key: &str,
        need: Need<'_>,
        wanted: &str,
        example: &str,
    ) -> Option<String> {
        let entry = self.entry(tab, key, need)?;
        match &entry.node.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Moment(moment) => Some(moment.to_string()),
            Kind::Whole(_) if example.contains(':') => {
                let time = meant::time_of_day(&entry.node.raw).map(|time| time.to_string());
                self.wrong_type(tab, entry, wanted, time.as_deref().unwrap_or(example));
                None
            }
            _ => {
                self.wrong_type(tab, entry, wanted, example);
                None
            }
        }
    }

    /// A time of day that is only checked.
    pub(super) fn checked_time(&mut self, tab: &Tab, key: &str) -> Option<chrono::NaiveTime> {
        let text = self.moment(tab, key, Need::Optional, "a time of day", "09:00:00")?;
        let parse = chrono::NaiveTime::parse_from_str;
        match parse(&text, "%H:%M:%S").or_else(|_| parse(&text, "%H:%M")) {
            Ok(time) if !text.ends_with(":60") => Some(time),
            Ok(_) | Err(_) => {
                let entry = tab.get(key)?;
                let time = meant::time_of_day(&text).map_or_else(|| "09:00:00".to_owned(), |time| time.to_string());
                let message = format!("{key} is not a time of day");
                self.refuse(tab, entry, "time_invalid", message, format!("{key} = {time}"));
                None
            }
        }
    }

    /// A waiting time such as "5 days".
    pub(super) fn wait(&mut self, tab: &Tab, key: &str, need: Need<'_>) -> Option<Wait> {
        self.wait_as(tab, key, need, Wait::parse)
    }

    /// What a step of a policy waits for.
    pub(super) fn step_wait(&mut self, tab: &Tab, key: &str, need: Need<'_>) -> Option<Wait> {
        self.wait_as(tab, key, need, Wait::parse_step)
    }

    fn wait_as(
        &mut self,
        tab: &Tab,
        key: &str,
        need: Need<'_>,
        parse: fn(&str) -> Result<Wait, PolicyError>,
    ) -> Option<Wait> {
        let text = self.text(tab, key, need)?;
        match parse(&text) {
            Ok(wait) => Some(wait),
            Err(error) => {
                let entry = tab.get(key)?;
                let (message, mut mend) = mistake::halves(&error.to_string());
                if key == "give_up_after" {
                    // Other waits may count in hours.
                    let weeks = text.strip_suffix(" weeks").or_else(|| text.strip_suffix(" week"));
                    let days = weeks.and_then(|count| count.parse::<u16>().ok()?.checked_mul(7)).unwrap_or(21);
                    mend = format!("give_up_after = \"{days} days\"");
                }
                self.refuse(tab, entry, "duration_invalid", message, mend);
                None
            }
        }
    }

    /// The place of a field, or of the nearest table above it.
    pub(super) fn place(&self, field: &str) -> Place {
        let mut name = field;
        loop {
            if let Some(place) = self.places.get(name) {
                return place.clone();
            }
            match name.rsplit_once('.') {
                Some((above, _)) => name = above,
                None => return Place { at: 0, shown: String::new() },
            }
        }
    }

    /// Was the field, or the table it stands in, refused already?
    pub(super) fn is_refused(&self, field: &str) -> bool {
        let mut name = field;
        loop {
            if self.refused.contains(name) {
                return true;
            }
            match name.rsplit_once('.') {
                Some((above, _)) => name = above,
                None => return false,
            }
        }
    }

    /// Notes that nothing more is to be said about a field.
    pub(super) fn give_up_on(&mut self, field: &str) {
        self.refused.insert(field.to_owned());
    }
}

/// What a key most likely means that its table does not know.
#[derive(Debug, Clone, Copy)]
enum Meaning<'k> {
    /// A key of this table that does not stand in it.
    Here(&'k str),
    /// A key of this table that stands in it too.
    Again(&'k str),
    /// A key of another table, and which.
    There(&'k str, &'k str),
    Unknown,
}

impl<'k> Meaning<'k> {
    /// A key of another table first, then what people call by this name, then what is nearly written so.
    fn of(
        key: &str,
        is_table: bool,
        (keys, absent): (&[&'k str], &[&'k str]),
        elsewhere: &[(&'k str, &'k str)],
    ) -> Self {
        let home =
            |name: &str| elsewhere.iter().find(|(known, _)| *known == name).map(|(name, home)| Self::There(name, home));
        let of = |known: &[&'k str], name: &str| known.iter().copied().find(|known| *known == name);
        let names = || meant::names(key).iter().copied();
        home(key)
            .or_else(|| names().find_map(|name| of(absent, name)).map(Self::Here))
            .or_else(|| names().find_map(|name| of(keys, name)).map(Self::Again))
            .or_else(|| names().filter(|_| !is_table).find_map(home))
            .or_else(|| nearest(key, absent.iter().copied()).map(Self::Here))
            .or_else(|| nearest(key, keys.iter().copied()).map(Self::Again))
            .unwrap_or(Self::Unknown)
    }
}

/// Are these, to the end of their table, keys of one other table, whose heading is then missing above them?
fn is_headless(entries: Option<&[Entry]>, home: &str, elsewhere: &[(&str, &str)]) -> bool {
    let is_value = |entry: &&Entry| match &entry.node.kind {
        Kind::Table(_) => false,
        Kind::List(nodes) => !nodes.iter().any(|node| matches!(node.kind, Kind::Table(_))),
        Kind::Text(_) | Kind::Whole(_) | Kind::Fraction | Kind::Truth | Kind::Moment(_) => true,
    };
    let belongs = |entry: &Entry| elsewhere.iter().any(|(key, table)| *key == entry.key && *table == home);
    home.starts_with('[') && !home.starts_with("[[") && entries.into_iter().flatten().filter(is_value).all(belongs)
}

fn safe(text: &str) -> String {
    if looks_like_a_card_number(text) { HIDDEN.to_owned() } else { text.to_owned() }
}

/// What may be written for a key that need not be there.
fn example_of(key: &str) -> &'static str {
    EXAMPLES.iter().find(|(name, _)| *name == key).map_or("\"…\"", |(_, example)| *example)
}

/// What a value that should be text most likely meant, in its quotation marks.
fn quoted(key: &str, kind: &Kind, raw: &str) -> Option<String> {
    match kind {
        Kind::Whole(number) if key == "share" && (1..100).contains(number) => Some(format!("\"{number}%\"")),
        // No policy is called true or false: whether there is one was not the question.
        Kind::Truth if key == "dunning" => Some("\"standard\"".to_owned()),
        Kind::Whole(number) if *number > 0 => {
            let unit = WAITS.iter().find(|(name, _)| *name == key).map(|(_, unit)| *unit);
            match unit {
                Some(unit) => Some(format!("\"{number} {unit}{}\"", if *number == 1 { "" } else { "s" })),
                None => FREE_TEXT.contains(&key).then(|| format!("\"{raw}\"")),
            }
        }
        Kind::Text(_) | Kind::Whole(_) | Kind::Fraction | Kind::Truth | Kind::Moment(_) => {
            FREE_TEXT.contains(&key).then(|| format!("\"{raw}\""))
        }
        Kind::List(_) | Kind::Table(_) => None,
    }
}

/// The amount that a bare number stands for, as it is written in quotes.
fn plain_amount(raw: &str, currency: Option<domain::money::Currency>) -> Option<String> {
    let money = domain::money::Money::parse(&raw.replace('_', ""), currency.unwrap_or(domain::money::Currency::USD));
    money.ok().map(domain::money::Money::plain)
}

const UNQUOTED: &str = "Money must be written in quotes so that no cent is lost";

/// `key = value`, or the header of a table, as written.
pub(super) fn written(entry: &Entry) -> String {
    match &entry.node.kind {
        Kind::Table(_) => format!("[{}]", entry.name),
        Kind::List(nodes) if nodes.iter().any(|node| matches!(node.kind, Kind::Table(_))) => {
            format!("[[{}]]", entry.name)
        }
        _ => format!("{} = {}", entry.name, entry.node.raw),
    }
}

fn entries_of(table: &dyn TableLike, text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, item) in table.iter() {
        let key_span = table.key(name).and_then(toml_edit::Key::span);
        let key_at = key_span.map(|span| span.start);
        if let Some(node) = node_of(item, key_at, text) {
            entries.push(Entry {
                key: name.to_owned(),
                name: name.to_owned(),
                key_at: key_at.unwrap_or(node.at),
                node,
            });
        }
    }
    entries
}

fn node_of(item: &Item, key_at: Option<usize>, text: &str) -> Option<Node> {
    match item {
        Item::None => None,
        Item::Value(value) => Some(value_of(value, key_at, text)),
        Item::Table(table) => {
            let at = if table.is_dotted() { key_at } else { table.span().map(|span| span.start).or(key_at) };
            Some(Node { at: at.unwrap_or_default(), raw: String::new(), kind: Kind::Table(entries_of(table, text)) })
        }
        Item::ArrayOfTables(tables) => {
            let nodes: Vec<Node> = tables
                .iter()
                .map(|table| Node {
                    at: table.span().map(|span| span.start).or(key_at).unwrap_or_default(),
                    raw: String::new(),
                    kind: Kind::Table(entries_of(table, text)),
                })
                .collect();
            let at = nodes.first().map(|node| node.at).or(key_at).unwrap_or_default();
            Some(Node { at, raw: String::new(), kind: Kind::List(nodes) })
        }
    }
}

fn value_of(value: &Value, key_at: Option<usize>, text: &str) -> Node {
    let span = value.span().or(key_at.map(|at| at..at)).unwrap_or(0..0);
    let kind = match value {
        Value::String(text) => Kind::Text(text.value().clone()),
        Value::Integer(number) => Kind::Whole(*number.value()),
        Value::Float(_) => Kind::Fraction,
        Value::Boolean(_) => Kind::Truth,
        Value::Datetime(moment) => Kind::Moment(*moment.value()),
        Value::Array(values) => {
            Kind::List(values.iter().map(|value| value_of(value, Some(span.start), text)).collect())
        }
        Value::InlineTable(table) => Kind::Table(entries_of(table, text)),
    };
    Node { at: span.start, raw: text.get(span).unwrap_or_default().to_owned(), kind }
}
