//! A TOML file whose values know their place, and the mistakes found in it.

use std::collections::BTreeSet;
use std::ops::Range;

use autopay::files::{FileMistake, syntax};
use chrono::{DateTime, Utc};
use domain::id::looks_like_a_card_number;
use toml_edit::{Document, Item, TableLike};

/// Characters of a refused text that are repeated.
const SHOWN: usize = 60;

/// A file under reading.
pub(crate) struct Sheet<'t> {
    label: &'t str,
    text: &'t str,
    /// Keys of lines that cannot be read: they are not missing too.
    broken: BTreeSet<String>,
    mistakes: Vec<FileMistake>,
}

/// A table and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Tab<'d> {
    pub(crate) name: &'static str,
    table: &'d dyn TableLike,
    at: usize,
}

impl<'t> Sheet<'t> {
    pub(crate) fn new(label: &'t str, text: &'t str) -> Self {
        Self { label, text, broken: BTreeSet::new(), mistakes: Vec::new() }
    }

    /// The whole file but for the lines that cannot be read, each of which is noted; `None` when the others mean nothing without them.
    pub(crate) fn parse(&mut self) -> Option<Document<String>> {
        let (document, broken) = syntax::read(self.text, "[returns]");
        for one in broken {
            self.broken.extend(one.line.split_once('=').map(|(key, _)| key.trim().to_owned()));
            self.add(one.at, "not_toml", &one.line, one.message, one.mend);
        }
        document
    }

    pub(crate) fn top(document: &Document<String>) -> Tab<'_> {
        Tab { name: "", table: document.as_table(), at: 0 }
    }

    /// Are there lines that cannot be read?
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Notes a mistake at a byte of the file.
    pub(crate) fn add(
        &mut self,
        at: usize,
        code: &'static str,
        value: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let mistake = self.mistake(at, code, value, message, mend);
        self.mistakes.push(mistake);
    }

    fn mistake(
        &self,
        at: usize,
        code: &'static str,
        value: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> FileMistake {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let (path, value) = (self.label.to_owned(), shown(value));
        FileMistake { path, line, column, code, value, message: message.into(), mend: mend.into() }
    }

    /// Notes a mistake about a table as a whole.
    pub(crate) fn add_at(
        &mut self,
        tab: Tab<'_>,
        code: &'static str,
        value: &str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(tab.at, code, value, message, mend);
    }

    /// Notes a mistake about a value, shown with its key.
    pub(crate) fn refuse(
        &mut self,
        tab: Tab<'_>,
        key: &str,
        code: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let mistake = self.about(tab, key, code, message, mend);
        self.mistakes.push(mistake);
    }

    /// What is to be said of a value should it turn out to be wrong, at its place and shown with its key.
    pub(crate) fn about(
        &self,
        tab: Tab<'_>,
        key: &str,
        code: &'static str,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> FileMistake {
        let item = tab.table.get(key);
        let span = item.and_then(Item::span);
        let at = span.as_ref().map_or(tab.at, |span| span.start);
        let written = self.written(span);
        let value = if item.is_some() { format!("{key} = {written}") } else { String::new() };
        self.mistake(at, code, &value, message, mend)
    }

    fn written(&self, span: Option<Range<usize>>) -> String {
        span.and_then(|span| self.text.get(span)).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
    }

    /// Refuses keys that a table does not know.
    pub(crate) fn known(&mut self, tab: Tab<'_>, keys: &[&str]) {
        let wrong: Vec<(String, usize)> = tab
            .table
            .iter()
            .filter(|(key, _)| !keys.contains(key))
            .map(|(key, item)| {
                let at = tab.table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
                (key.to_owned(), at.map_or(tab.at, |span| span.start))
            })
            .collect();
        for (key, at) in wrong {
            let place = if tab.name.is_empty() { "the file".to_owned() } else { tab.name.to_owned() };
            self.add(
                at,
                "unknown_key",
                &key,
                format!("{place} has no such key"),
                format!("write one of {}, or remove it", keys.join(", ")),
            );
        }
    }

    /// A `[key]`.
    pub(crate) fn table<'d>(&mut self, tab: Tab<'d>, key: &'static str, name: &'static str) -> Option<Tab<'d>> {
        let item = tab.table.get(key)?;
        match item.as_table_like() {
            Some(table) => Some(Tab { name, table, at: item.span().map_or(tab.at, |span| span.start) }),
            None => {
                self.refuse(
                    tab,
                    key,
                    "not_a_table",
                    format!("{key} is a table"),
                    format!("write {name} on a line of its own"),
                );
                None
            }
        }
    }

    /// Every `[[key]]`.
    pub(crate) fn tables<'d>(&mut self, tab: Tab<'d>, key: &'static str, name: &'static str) -> Vec<Tab<'d>> {
        let Some(item) = tab.table.get(key) else { return Vec::new() };
        let Some(list) = item.as_array_of_tables() else {
            self.refuse(
                tab,
                key,
                "not_a_table",
                format!("{key} is a list of tables"),
                format!("write {name} on a line of its own for each"),
            );
            return Vec::new();
        };
        list.iter().map(|table| Tab { name, table, at: table.span().map_or(tab.at, |span| span.start) }).collect()
    }

    /// The keys of a table.
    pub(crate) fn keys<'d>(tab: Tab<'d>) -> Vec<&'d str> {
        tab.table.iter().map(|(key, _)| key).collect()
    }

    pub(crate) fn has(tab: Tab<'_>, key: &str) -> bool {
        tab.table.contains_key(key)
    }

    /// Says that a key is missing, unless it stands on a line that cannot be read.
    pub(crate) fn missing(&mut self, tab: Tab<'_>, key: &str, example: &str) {
        if self.broken.contains(key) {
            return;
        }
        let place = if tab.name.is_empty() { "the file".to_owned() } else { tab.name.to_owned() };
        self.add(tab.at, "missing_key", "", format!("{place} says no {key}"), format!("add {key} = {example}"));
    }

    /// Quoted text.
    pub(crate) fn text<'d>(&mut self, tab: Tab<'d>, key: &str, example: &str) -> Option<&'d str> {
        let item = tab.table.get(key)?;
        let text = item.as_str();
        if text.is_none() {
            self.refuse(tab, key, "not_text", format!("{key} stands in quotes"), format!("{key} = {example}"));
        }
        text
    }

    /// A whole number between two.
    pub(crate) fn whole(&mut self, tab: Tab<'_>, key: &str, (least, most): (u16, u16)) -> Option<u16> {
        let item = tab.table.get(key)?;
        let number = item.as_integer().and_then(|number| u16::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.refuse(
                tab,
                key,
                "number_invalid",
                format!("{key} is a whole number from {least} to {most}"),
                format!("{key} = {least}"),
            );
        }
        number
    }

    /// A share such as "92.5%", in parts per million.
    pub(crate) fn share(&mut self, tab: Tab<'_>, key: &str) -> Option<u32> {
        let item = tab.table.get(key)?;
        let share = item.as_str().and_then(share_of);
        if share.is_none() {
            let message = "a share is a percentage from 0% to 100% in quotes, with four decimals at most";
            self.refuse(tab, key, "share_invalid", message, format!("{key} = \"92.5%\""));
        }
        share
    }

    /// A moment with its offset: TOML's own or in quotes.
    pub(crate) fn moment(&mut self, tab: Tab<'_>, key: &str) -> Option<DateTime<Utc>> {
        let item = tab.table.get(key)?;
        let text = item.as_str().map(str::to_owned).or_else(|| item.as_datetime().map(ToString::to_string));
        let at = text.and_then(|text| DateTime::parse_from_rfc3339(&text).ok()).map(|at| at.with_timezone(&Utc));
        if at.is_none() {
            let message = format!("{key} is a moment with its offset from UTC");
            self.refuse(tab, key, "moment_invalid", message, format!("{key} = 2027-02-01T06:00:00-05:00"));
        }
        at
    }

    /// The mistakes, in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<FileMistake> {
        self.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        self.mistakes
    }
}

/// Reads "92.5%" as parts per million.
fn share_of(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.chars().all(|ch| ch.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 4 || whole.len() > 3 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let part: u32 = format!("{part:0<4}").parse().ok()?;
    Some(whole * 10_000 + part).filter(|share| *share <= 1_000_000)
}

/// One line of at most 60 characters; never a card number.
fn shown(text: &str) -> String {
    if looks_like_a_card_number(text) {
        return "(hidden)".to_owned();
    }
    let line: String = text.chars().map(|ch| if ch.is_control() { ' ' } else { ch }).collect();
    if line.chars().count() <= SHOWN { line } else { line.chars().take(SHOWN - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact_and_nothing_else_is_a_share() {
        for (text, share) in [("0%", 0), ("100%", 1_000_000), ("92.5%", 925_000), ("0.0001%", 1), ("7.25%", 72_500)] {
            assert_eq!(share_of(text), Some(share), "{text}");
        }
        for text in ["", "%", "92", "100.0001%", "1.00000%", "-1%", "+1%", "1e2%", "1.%", ".5%", "1,5%", "101%"] {
            assert_eq!(share_of(text), None, "{text}");
        }
    }
}
