//! A TOML file as data: every value under its dotted name, whatever the order, the layout and the comments.
//!
//! Nothing here knows a key: what plan files learn to say later is compared, formatted and exported without a change.

use std::collections::BTreeMap;

use toml_edit::{DocumentMut, Item, TableLike, Value};

/// Keys by which the tables of a list are told apart, the better ones first; then any, by the alphabet.
const TELLING: &[&str] = &["from", "effective_from", "due_date", "after", "id", "name"];

/// What a file says: each value as plain text under its dotted name. The tables of a list are named by one of their values:
/// `amount.step[2027-01-01].value`.
pub type Said = BTreeMap<String, String>;

/// Reads a file as data; `None` when it is no TOML.
#[must_use]
pub fn said(text: &str) -> Option<Said> {
    let document = text.parse::<DocumentMut>().ok()?;
    let mut said = Said::new();
    put_table(document.as_table(), "", &mut said);
    Some(said)
}

fn named(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_owned() } else { format!("{above}.{key}") }
}

fn put_table(table: &dyn TableLike, name: &str, said: &mut Said) {
    for (key, item) in table.iter() {
        let name = named(name, key);
        match item {
            Item::None => {}
            Item::Value(value) => put_value(value, &name, said),
            Item::Table(table) => put_table(table, &name, said),
            Item::ArrayOfTables(tables) => {
                put_tables(&name, tables.iter().map(|table| -> &dyn TableLike { table }), said);
            }
        }
    }
}

fn put_tables<'t>(name: &str, tables: impl Iterator<Item = &'t dyn TableLike>, said: &mut Said) {
    for table in tables {
        let telling = |key: &str| TELLING.iter().position(|known| *known == key).unwrap_or(TELLING.len());
        let values = table.iter().filter_map(|(key, item)| Some((telling(key), key, item.as_value()?)));
        let first = values.min_by_key(|(rank, key, _)| (*rank, *key)).map(|(_, _, value)| plain(value));
        let first = first.unwrap_or_default();
        let mut label = format!("{name}[{first}]");
        // Two tables may begin alike.
        let mut again = 1_u32;
        while said.keys().any(|key| key.starts_with(&format!("{label}."))) {
            again = again.saturating_add(1);
            label = format!("{name}[{first} #{again}]");
        }
        put_table(table, &label, said);
    }
}

fn put_value(value: &Value, name: &str, said: &mut Said) {
    match value {
        Value::InlineTable(table) => put_table(table, name, said),
        Value::Array(values) if !values.is_empty() && values.iter().all(Value::is_inline_table) => {
            let tables = values.iter().filter_map(|value| value.as_inline_table().map(|one| -> &dyn TableLike { one }));
            put_tables(name, tables, said);
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Array(_) => {
            said.insert(name.to_owned(), plain(value));
        }
    }
}

/// A value as people say it: without quotation marks, lists with commas.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.display_repr().into_owned(),
        Value::Boolean(truth) => truth.value().to_string(),
        Value::Datetime(moment) => moment.value().to_string(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::InlineTable(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{key} {}", plain(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The comments of a TOML text, each from its `#` to the end of its line.
#[must_use]
pub fn comments(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(ch) = rest.chars().next() {
        let skipped = match ch {
            '#' => {
                let line = rest.split('\n').next().unwrap_or_default();
                found.push(line.trim_end().to_owned());
                line.len()
            }
            '"' | '\'' => quoted(rest, ch),
            _ => ch.len_utf8(),
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    found
}

/// The length of the quoted text at the beginning, its marks included.
fn quoted(text: &str, mark: char) -> usize {
    let three: String = std::iter::repeat_n(mark, 3).collect();
    let (mark_text, several) = if text.starts_with(&three) { (three, true) } else { (mark.to_string(), false) };
    let mut at = mark_text.len();
    loop {
        let Some(rest) = text.get(at..) else { return text.len() };
        if rest.starts_with(&mark_text) {
            at += mark_text.len();
            // Up to two marks may stand right before the closing three.
            while several && text.get(at..).is_some_and(|rest| rest.starts_with(mark)) {
                at += mark.len_utf8();
            }
            return at;
        }
        let Some(ch) = rest.chars().next() else { return text.len() };
        at += ch.len_utf8();
        if ch == '\\' && mark == '"' {
            at += text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        }
        if ch == '\n' && !several {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_the_same_in_any_order_and_layout() {
        let one = "id = \"x\"\n[amount]\ncurrency = \"USD\"\n[[amount.step]]\nfrom = 2027-01-01\nvalue = \"84.00\"\n";
        let other = "amount = { step = [{ from = 2027-01-01, value = '84.00' }], currency = \"USD\" } # so\nid = 'x'";
        let said_one = said(one).unwrap();
        assert_eq!(Some(&said_one), said(other).as_ref());
        assert_eq!(said_one["amount.step[2027-01-01].value"], "84.00");
        assert_eq!(said("id ="), None);
    }

    #[test]
    fn tables_that_begin_alike_are_kept_apart() {
        let two = "[[step]]\nafter = \"1 day\"\nx = 1\n[[step]]\nafter = \"1 day\"\nx = 2\n";
        let said = said(two).unwrap();
        assert_eq!((&*said["step[1 day].x"], &*said["step[1 day #2].x"]), ("1", "2"));
    }

    #[test]
    fn comments_are_told_from_text() {
        let text = "a = \"#no\" # yes\nb = '# no' #too\nc = \"\"\"\n# no \\\"\"\"\" # last\n# alone\nd = \"\\\"# no\"";
        assert_eq!(comments(text), ["# yes", "#too", "# last", "# alone"]);
    }
}
