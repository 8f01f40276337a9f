//! The one way to write a plan or policy file: keys in a fixed order, one layout, every comment kept.
//!
//! What is not in the lists below comes after what is, by the alphabet: a key that plan files learn later needs no change here.
//! A comment belongs to the line below it, or to the line it ends; one that a blank line parts from the next heading stays at the
//! end of its table; one that a blank line parts from the first key stays at the top of the file.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, InlineTable, Item, Key, RawString, Table, Value};

use super::document::{comments, said};

/// What comes first in a table, by the table's name; list brackets left out.
const FIRST: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "schema",
            "id",
            "name",
            "kind",
            "owner",
            "status",
            "schedule",
            "installments",
            "instalments",
            "amount",
            "guard",
            "guards",
            "mid_period",
            "limits",
            "payday",
            "step",
            "stop_at_once",
            "outcome_unknown",
            "expected_value",
            "at_the_end",
            "collect",
            "ledger",
        ],
    ),
    (
        "schedule",
        &[
            "every",
            "on_day",
            "if_day_missing",
            "business_days",
            "calendar",
            "time_zone",
            "charge_at",
            "bill",
            "free_first",
        ],
    ),
    ("amount", &["currency", "value", "price_list", "match_on"]),
    ("amount.step", &["from", "value", "applies", "notice"]),
    ("installments", &["total", "count", "count_min", "count_max", "smallest", "remainder", "first_payment"]),
    ("mid_period", &["on_start", "on_cancel"]),
    ("collect", &["method", "dunning", "notify_before", "notice_rules", "notice_template", "statement_suffix", "mode"]),
    ("collect.split", &["fixed", "share", "methods"]),
    ("ledger", &["debit", "credit"]),
    (
        "limits",
        &["most_attempts", "give_up_after", "not_past", "collect_first", "at", "spread", "quiet_from", "quiet_to"],
    ),
    ("payday", &["days", "within"]),
    ("step", &["after", "action", "for", "method", "notify"]),
    ("stop_at_once", &["for", "action"]),
    ("backup", &["methods", "after_tries"]),
    ("expected_value", &["try_costs", "chances"]),
    ("at_the_end", &["action", "hand_to"]),
];

/// Why a text cannot be written in the one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCanonical {
    /// It is no TOML.
    Syntax,
    /// Something would be lost: it is written in a form that is not understood well enough.
    Lossy,
    /// It names a table that is not there.
    NoTable,
}

/// The text in the one way to write it. Writing it again changes nothing.
///
/// # Errors
/// When it is no TOML, or when a value or a comment would not survive; then nothing is to be written.
pub fn canonical(text: &str) -> Result<String, NotCanonical> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let before = said(&text).ok_or(NotCanonical::Syntax)?;
    let (head, body) = head_and_body(&text);
    let document = body.parse::<DocumentMut>().map_err(|_| NotCanonical::Syntax)?;
    let mut sheet = Sheet { out: String::new(), tails: tails(&document) };
    for line in head.lines().filter(|line| !line.trim().is_empty()) {
        sheet.line(line.trim());
    }
    if !head.is_empty() {
        sheet.line("");
    }
    sheet.table(document.as_table(), "");
    for line in comment_lines(document.trailing().as_str().unwrap_or_default()) {
        sheet.line(&line);
    }
    let written = sheet.out;
    let mut kept = (comments(&text), comments(&written));
    kept.0.sort();
    kept.1.sort();
    if said(&written).as_ref() == Some(&before) && kept.0 == kept.1 { Ok(written) } else { Err(NotCanonical::Lossy) }
}

/// The same for a table of prices: lines end alike, the last one too, and there is no mark of the encoding.
#[must_use]
pub fn canonical_csv(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let text = text.trim_end_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// The comments at the top that a blank line parts from the first key, and the rest.
fn head_and_body(text: &str) -> (&str, &str) {
    let mut at = 0;
    let mut end = 0;
    let mut seen = false;
    for line in text.split_inclusive('\n') {
        let plain = line.trim();
        if !plain.is_empty() && !plain.starts_with('#') {
            break;
        }
        at += line.len();
        seen |= plain.starts_with('#');
        if plain.is_empty() && seen {
            end = at;
        }
    }
    // A file of comments alone is all body.
    if at == text.len() { ("", text) } else { text.split_at(end) }
}

fn comment_lines(decor: &str) -> Vec<String> {
    decor.lines().map(str::trim).filter(|line| line.starts_with('#')).map(ToOwned::to_owned).collect()
}

/// What stands above a heading: the end of the table before it, and its own.
fn parted(decor: &str) -> (Vec<String>, Vec<String>) {
    // What follows the last line break is the heading's own indentation.
    let whole = decor.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines: Vec<&str> = whole.split('\n').map(str::trim).collect();
    let blank = lines.iter().rposition(|line| line.is_empty());
    let (before, own) = lines.split_at(blank.map_or(0, |at| at + 1));
    let only = |lines: &[&str]| {
        lines.iter().filter(|line| line.starts_with('#')).map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    (only(before), only(own))
}

fn prefix(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
}

/// The comments at the end of each table, by the table's place in the file; those of the top stand at -1.
fn tails(document: &DocumentMut) -> BTreeMap<isize, Vec<String>> {
    fn gather<'d>(table: &'d Table, found: &mut BTreeMap<isize, &'d str>) {
        for (_, item) in table.iter() {
            match item {
                Item::Table(inner) => {
                    if let Some(at) = inner.position() {
                        found.insert(at, prefix(inner.decor().prefix()));
                    }
                    gather(inner, found);
                }
                Item::ArrayOfTables(tables) => {
                    for inner in tables.iter() {
                        if let Some(at) = inner.position() {
                            found.insert(at, prefix(inner.decor().prefix()));
                        }
                        gather(inner, found);
                    }
                }
                Item::None | Item::Value(_) => {}
            }
        }
    }
    let mut found = BTreeMap::new();
    gather(document.as_table(), &mut found);
    let mut tails = BTreeMap::new();
    let mut above = -1;
    for (at, decor) in found {
        tails.insert(above, parted(decor).0);
        above = at;
    }
    tails
}

fn rank(table: &str, key: &str) -> usize {
    let first = FIRST.iter().find(|(name, _)| *name == table).map(|(_, keys)| *keys).unwrap_or_default();
    first.iter().position(|known| *known == key).unwrap_or(first.len())
}

fn named(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

fn shown_key(key: &Key) -> String {
    key.default_repr().as_raw().as_str().unwrap_or(key.get()).to_owned()
}

struct Sheet {
    out: String,
    tails: BTreeMap<isize, Vec<String>>,
}

impl Sheet {
    fn line(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// The keys of a table, then the tables within it. `path` is how its headings name it.
    fn table(&mut self, table: &Table, path: &str) {
        self.values(table, path);
        let tail = self.tails.remove(&if path.is_empty() { -1 } else { table.position().unwrap_or(isize::MAX) });
        for line in tail.unwrap_or_default() {
            self.line(&line);
        }
        let name = path.replace('"', "");
        let mut inner: Vec<(&Key, &Item)> = table
            .iter()
            .filter(|(_, item)| item.is_table() || item.is_array_of_tables())
            .filter_map(|(key, _)| table.get_key_value(key))
            .collect();
        inner.sort_by(|(a, _), (b, _)| (rank(&name, a.get()), a.get()).cmp(&(rank(&name, b.get()), b.get())));
        for (key, item) in inner {
            let path = named(path, &shown_key(key));
            match item {
                Item::Table(one) => {
                    let above = if one.is_dotted() { key_comments(key) } else { Vec::new() };
                    self.heading(one, &format!("[{path}]"), &above);
                    self.table(one, &path);
                }
                Item::ArrayOfTables(tables) => {
                    for one in tables.iter() {
                        self.heading(one, &format!("[[{path}]]"), &[]);
                        self.table(one, &path);
                    }
                }
                Item::None | Item::Value(_) => {}
            }
        }
    }

    fn heading(&mut self, table: &Table, heading: &str, above: &[String]) {
        let own = parted(prefix(table.decor().prefix())).1;
        let bare = table.is_implicit() && own.is_empty() && above.is_empty();
        let only_tables = table.iter().all(|(_, item)| item.is_table() || item.is_array_of_tables());
        if bare && only_tables && !table.is_empty() {
            return;
        }
        self.blank();
        for line in above.iter().chain(&own) {
            self.line(line);
        }
        let behind = comment_lines(prefix(table.decor().suffix())).join(" ");
        if behind.is_empty() { self.line(heading) } else { self.line(&format!("{heading}  {behind}")) }
    }

    fn values(&mut self, table: &Table, path: &str) {
        let name = path.replace('"', "");
        let mut pairs: Vec<(&Key, &Value)> = table
            .iter()
            .filter_map(|(key, item)| table.get_key_value(key).map(|(key, _)| key).zip(item.as_value()))
            .collect();
        pairs.sort_by(|(a, _), (b, _)| (rank(&name, a.get()), a.get()).cmp(&(rank(&name, b.get()), b.get())));
        let width = pairs.iter().map(|(key, _)| shown_key(key).chars().count()).max().unwrap_or_default();
        for (key, value) in pairs {
            for line in key_comments(key) {
                self.line(&line);
            }
            let behind = comment_lines(prefix(value.decor().suffix())).join(" ");
            let behind = if behind.is_empty() { behind } else { format!("  {behind}") };
            self.line(&format!("{:width$} = {}{behind}", shown_key(key), written(value)));
        }
    }
}

fn key_comments(key: &Key) -> Vec<String> {
    let mut found = comment_lines(prefix(key.leaf_decor().prefix()));
    found.extend(comment_lines(prefix(key.dotted_decor().prefix())));
    found
}

/// A value in the one way to write it. A list or table that holds comments within stays as it is.
fn written(value: &Value) -> String {
    let mut bare = value.clone();
    bare.decor_mut().clear();
    let raw = bare.to_string().trim().to_owned();
    match value {
        Value::String(text) => Value::from(text.value().as_str()).to_string().trim().to_owned(),
        Value::Integer(number) => number.value().to_string(),
        Value::Datetime(moment) => moment.value().to_string(),
        Value::Boolean(truth) => truth.value().to_string(),
        // No plan file holds one that is right: it is left for the check to name.
        Value::Float(_) => raw,
        Value::Array(_) | Value::InlineTable(_) if !comments(&raw).is_empty() => raw,
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(written).collect();
            format!("[{}]", values.join(", "))
        }
        Value::InlineTable(table) => inline(table),
    }
}

fn inline(table: &InlineTable) -> String {
    if table.is_empty() {
        return "{}".to_owned();
    }
    let mut pairs: Vec<(String, String)> = table
        .iter()
        .filter_map(|(key, value)| Some((shown_key(table.get_key_value(key)?.0), written(value))))
        .collect();
    pairs.sort_by(|(a, _), (b, _)| (rank("amount.step", a), a).cmp(&(rank("amount.step", b), b)));
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}
