//! Many rows in one parameter: the batch statements' common source, as one JSON text.
//!
//! Both databases read rows out of JSON, each by its own function; everything around that is the same SQL. One parameter
//! instead of thousands keeps statements cached and far from both databases' parameter limits.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use sea_orm::DatabaseBackend;
use uuid::Uuid;

/// A column of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    Text,
    Int,
    Bool,
    Time,
    Date,
}

/// A value of a batch; `None` is NULL.
#[derive(Debug, Clone, Copy)]
pub(super) enum Val<'a> {
    Uuid(Option<Uuid>),
    Text(Option<&'a str>),
    Int(Option<i64>),
    Bool(bool),
    Time(Option<DateTime<Utc>>),
    Date(Option<NaiveDate>),
}

impl<'a> Val<'a> {
    pub(super) const fn text(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
    pub(super) const fn uuid(id: Uuid) -> Self {
        Self::Uuid(Some(id))
    }
    pub(super) const fn int(value: i64) -> Self {
        Self::Int(Some(value))
    }
    pub(super) const fn time(at: DateTime<Utc>) -> Self {
        Self::Time(Some(at))
    }
}

/// An instant as both databases read it, in the very shape SeaORM binds on SQLite, where instants are compared as text.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

/// Rows under construction.
#[derive(Debug)]
pub(super) struct Bulk {
    columns: &'static [(&'static str, Kind)],
    json: String,
    rows: usize,
}

impl Bulk {
    pub(super) fn new(columns: &'static [(&'static str, Kind)]) -> Self {
        Self { columns, json: "[".to_owned(), rows: 0 }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row; the values stand in the order of the columns.
    pub(super) fn push(&mut self, values: &[Val<'_>]) {
        debug_assert_eq!(values.len(), self.columns.len(), "a row has one value for each column");
        self.json.push_str(if self.rows == 0 { "{" } else { ",{" });
        for (place, ((name, _), value)) in self.columns.iter().zip(values).enumerate() {
            if place > 0 {
                self.json.push(',');
            }
            // Column names are our own identifiers: nothing to escape.
            self.json.push('"');
            self.json.push_str(name);
            self.json.push_str("\":");
            self.value(value);
        }
        self.json.push('}');
        self.rows += 1;
    }

    fn value(&mut self, value: &Val<'_>) {
        let quoted = |json: &mut String, text: &str| {
            json.push('"');
            json.push_str(text);
            json.push('"');
        };
        match value {
            Val::Uuid(Some(id)) => quoted(&mut self.json, id.simple().encode_lower(&mut [0; 32])),
            Val::Text(Some(text)) => escaped(&mut self.json, text),
            Val::Int(Some(value)) => {
                // Writing to a String cannot fail.
                write!(self.json, "{value}").unwrap_or_default();
            }
            Val::Bool(value) => self.json.push_str(if *value { "true" } else { "false" }),
            Val::Time(Some(at)) => quoted(&mut self.json, &instant(*at)),
            Val::Date(Some(date)) => quoted(&mut self.json, &date.to_string()),
            Val::Uuid(None) | Val::Text(None) | Val::Int(None) | Val::Time(None) | Val::Date(None) => {
                self.json.push_str("null");
            }
        }
    }

    /// The finished parameter.
    pub(super) fn finish(mut self) -> String {
        self.json.push(']');
        self.json
    }
}

/// A JSON string. PostgreSQL's text cannot hold NUL, so it is left out; nothing of ours contains one.
fn escaped(json: &mut String, text: &str) {
    json.push('"');
    for ch in text.chars() {
        match ch {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\u{0}' => {}
            control if control.is_control() => {
                write!(json, "\\u{:04x}", u32::from(control)).unwrap_or_default();
            }
            other => json.push(other),
        }
    }
    json.push('"');
}

/// The SQL that reads parameter `$n` as a table named `v` with these columns.
pub(super) fn source(backend: DatabaseBackend, columns: &[(&'static str, Kind)], n: usize) -> String {
    if backend == DatabaseBackend::Postgres {
        let typed: Vec<String> = columns
            .iter()
            .map(|(name, kind)| {
                let sql = match kind {
                    Kind::Uuid => "uuid",
                    Kind::Text => "text",
                    Kind::Int => "bigint",
                    Kind::Bool => "boolean",
                    Kind::Time => "timestamptz",
                    Kind::Date => "date",
                };
                format!("{name} {sql}")
            })
            .collect();
        return format!("json_to_recordset(CAST(${n} AS json)) AS v({})", typed.join(", "));
    }
    let read: Vec<String> = columns
        .iter()
        .map(|(name, kind)| match kind {
            Kind::Uuid => format!("unhex(json_extract(value, '$.{name}')) AS {name}"),
            Kind::Text | Kind::Int | Kind::Bool | Kind::Time | Kind::Date => {
                format!("json_extract(value, '$.{name}') AS {name}")
            }
        })
        .collect();
    format!("(SELECT {} FROM json_each(${n})) AS v", read.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json_with_the_same_values() {
        const COLUMNS: &[(&str, Kind)] = &[("a", Kind::Text), ("b", Kind::Int), ("c", Kind::Bool)];
        let mut bulk = Bulk::new(COLUMNS);
        let nasty = "q\"uo\\te\n\u{1}\u{7f}ü😀 {}[]";
        bulk.push(&[Val::text(nasty), Val::int(i64::MAX), Val::Bool(true)]);
        bulk.push(&[Val::Text(None), Val::Int(None), Val::Bool(false)]);
        let read: serde_json::Value = serde_json::from_str(&bulk.finish()).unwrap();
        assert_eq!(read[0]["a"], nasty);
        assert_eq!(read[0]["b"], i64::MAX);
        assert_eq!(read[1]["a"], serde_json::Value::Null);
        assert_eq!(read[1]["c"], false);
    }

    #[test]
    fn instants_sort_as_text() {
        let at = |text: &str| instant(text.parse().unwrap());
        let mut sorted = [
            at("2027-01-01T00:00:00.000001Z"),
            at("2027-01-01T00:00:00Z"),
            at("2027-01-01T00:00:01Z"),
            at("2027-01-01T00:00:00.5Z"),
        ];
        sorted.sort();
        assert_eq!(sorted[0], "2027-01-01T00:00:00+00:00");
        assert_eq!(sorted[3], "2027-01-01T00:00:01+00:00");
    }
}
