//! Many rows in one statement: the batch statements' common source, a table `v` of bound values.
//!
//! Everything around `v` is the same SQL on both databases. PostgreSQL takes each column as one array, so that a statement
//! is the same text and one round trip for any number of rows. SQLite has no arrays and no round trips: there the rows are
//! bound one by one, in pieces of a few fixed sizes, so that each piece's statement stays prepared.

use chrono::{DateTime, NaiveDate, Utc};
use domain::charge::Fallback;
use sea_orm::sea_query::ArrayType;
use sea_orm::{DatabaseBackend, Statement, Value};
use uuid::Uuid;

/// Most rows of one piece on SQLite: times the widest table it stays far below the limit of 32,766 values.
const PIECE_MAX: usize = 256;

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
    /// As JSON.
    Fallback(Option<&'a Fallback>),
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

    fn bound(self) -> Value {
        match self {
            Self::Uuid(id) => id.into(),
            // PostgreSQL's text cannot hold NUL, so it is left out; nothing of ours contains one.
            Self::Text(text) => text.map(|text| text.replace('\0', "")).into(),
            Self::Fallback(fallback) => fallback.map(|one| serde_json::json!(one).to_string()).into(),
            Self::Int(value) => value.into(),
            Self::Bool(value) => value.into(),
            Self::Time(at) => at.into(),
            Self::Date(date) => date.into(),
        }
    }
}

impl Kind {
    /// The type as PostgreSQL calls it.
    const fn sql(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Text => "text",
            Self::Int => "bigint",
            Self::Bool => "boolean",
            Self::Time => "timestamptz",
            Self::Date => "date",
        }
    }

    const fn array(self) -> ArrayType {
        match self {
            Self::Uuid => ArrayType::Uuid,
            Self::Text => ArrayType::String,
            Self::Int => ArrayType::BigInt,
            Self::Bool => ArrayType::Bool,
            Self::Time => ArrayType::ChronoDateTimeUtc,
            Self::Date => ArrayType::ChronoDate,
        }
    }

    /// What stands for NULL in an array, whose elements cannot be NULL here; no column holds it otherwise.
    fn absent(self) -> Value {
        match self {
            Self::Uuid => Uuid::max().into(),
            Self::Text => "\u{1}".into(),
            Self::Int => i64::MIN.into(),
            Self::Bool => false.into(),
            Self::Time => DateTime::<Utc>::UNIX_EPOCH.checked_sub_days(chrono::Days::new(700_000)).into(),
            Self::Date => DateTime::<Utc>::UNIX_EPOCH.date_naive().checked_sub_days(chrono::Days::new(700_000)).into(),
        }
    }
}

/// Rows under construction.
#[derive(Debug, Clone)]
pub(super) struct Bulk {
    columns: &'static [(&'static str, Kind)],
    /// Row by row, in the order of the columns.
    cells: Vec<Value>,
}

impl Bulk {
    pub(super) fn new(columns: &'static [(&'static str, Kind)]) -> Self {
        Self { columns, cells: Vec::new() }
    }

    /// Adds a row; the values stand in the order of the columns.
    pub(super) fn push(&mut self, values: &[Val<'_>]) {
        debug_assert_eq!(values.len(), self.columns.len(), "a row has one value for each column");
        self.cells.extend(values.iter().map(|value| value.bound()));
    }

    /// The statements that do `sql`, which reads the rows from a table `v`; none for no rows.
    pub(super) fn statements(&self, backend: DatabaseBackend, sql: &str) -> Vec<Statement> {
        if self.cells.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        if backend == DatabaseBackend::Postgres {
            let text = format!("WITH v ({names}) AS ({}) {sql}", self.read_arrays(&names));
            return vec![Statement::from_sql_and_values(backend, text, self.arrays())];
        }
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        self.pieces()
            .map(|cells| {
                let rows = vec![row.as_str(); cells.len() / self.columns.len()].join(", ");
                let text = format!("WITH v ({names}) AS (VALUES {rows}) {sql}");
                Statement::from_sql_and_values(backend, text, cells.iter().cloned())
            })
            .collect()
    }

    fn read_arrays(&self, names: &str) -> String {
        let mut arrays = Vec::with_capacity(self.columns.len());
        let mut columns = Vec::with_capacity(self.columns.len());
        for (place, (name, kind)) in (1..).zip(self.columns) {
            arrays.push(format!("${place}::{}[]", kind.sql()));
            columns.push(match kind {
                Kind::Bool => (*name).to_owned(),
                Kind::Uuid | Kind::Text | Kind::Int | Kind::Time | Kind::Date => {
                    format!("NULLIF({name}, ${}::{})", place + self.columns.len(), kind.sql())
                }
            });
        }
        format!("SELECT {} FROM UNNEST({}) AS u ({names})", columns.join(", "), arrays.join(", "))
    }

    /// One array a column, then what stands for NULL in each.
    fn arrays(&self) -> Vec<Value> {
        let width = self.columns.len();
        let mut values = Vec::with_capacity(width * 2);
        for (place, (_, kind)) in self.columns.iter().enumerate() {
            let column = self.cells.iter().skip(place).step_by(width);
            let full = column.map(|cell| if cell == &cell.as_null() { kind.absent() } else { cell.clone() });
            values.push(Value::Array(kind.array(), Some(Box::new(full.collect()))));
        }
        values.extend(self.columns.iter().map(|(_, kind)| kind.absent()));
        values
    }

    /// The rows in pieces of [`PIECE_MAX`], then of its halves, quarters and so on.
    fn pieces(&self) -> impl Iterator<Item = &[Value]> {
        let width = self.columns.len();
        let mut rest = self.cells.as_slice();
        std::iter::from_fn(move || {
            let rows = rest.len().checked_div(width).filter(|rows| *rows > 0)?;
            let rows = if rows >= PIECE_MAX { PIECE_MAX } else { 1 << rows.ilog2() };
            let (piece, left) = rest.split_at(rows * width);
            rest = left;
            Some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[(&str, Kind)] = &[("a", Kind::Text), ("b", Kind::Int)];

    fn bulk(rows: i64) -> Bulk {
        let mut bulk = Bulk::new(COLUMNS);
        (0..rows).for_each(|n| bulk.push(&[Val::text("x"), Val::int(n)]));
        bulk
    }

    #[test]
    fn on_sqlite_rows_are_bound_in_pieces_of_few_sizes_and_none_is_left_out() {
        for (rows, pieces) in [(0, 0), (1, 1), (3, 2), (256, 1), (500, 6), (1_000, 7)] {
            let statements = bulk(rows).statements(DatabaseBackend::Sqlite, "SELECT * FROM v");
            let bound: Vec<Value> = statements.iter().flat_map(|one| one.values.clone().unwrap().0).collect();
            assert_eq!(statements.len(), pieces, "{rows} rows");
            assert_eq!(bound, bulk(rows).cells);
        }
    }

    #[test]
    fn on_postgresql_the_statement_is_one_and_the_same_for_any_number_of_rows() {
        let of = |rows| bulk(rows).statements(DatabaseBackend::Postgres, "SELECT * FROM v").remove(0).sql;
        assert_eq!(of(1), of(5_000));
    }
}
