//! Journals as tables: a header, and a row for each line of a transaction, in columns that a map can change.

use domain::id::PlanId;

use super::map::{Field, Table};
use super::{Form, Heading, Line, Named, Transaction};

/// A cell that starts like a formula gets a quote in front of it.
fn inert(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn record(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| quoted(&cell)).collect();
    cells.join(",") + "\r\n"
}

pub(super) fn header(form: Form, names: &Named) -> String {
    record(names.table(form).columns.iter().map(|(name, _)| name.clone()))
}

/// An account's number: what stands before the first dash, if that is digits and letters without a space.
fn number(account: &str) -> &str {
    let first = account.split(['-', ' ']).next().unwrap_or(account);
    if first.chars().next().is_some_and(|ch| ch.is_ascii_digit()) { first } else { account }
}

fn cell(field: &Field, table: &Table, heading: &Heading, transaction: &Transaction, line: &Line) -> String {
    let amount = |minor: i64| transaction.money(minor);
    match field {
        Field::Transaction => inert(&transaction.id),
        Field::Date => transaction.on.format(&table.date).to_string(),
        Field::Narration => inert(&transaction.narration),
        Field::Memo => inert(&line.memo),
        Field::Account => inert(&line.account),
        Field::AccountNumber => inert(number(&line.account)),
        Field::Role => line.role.as_str().to_owned(),
        Field::Debit if line.minor > 0 => amount(line.minor),
        Field::Credit if line.minor < 0 => amount(line.minor.saturating_neg()),
        Field::Debit | Field::Credit => String::new(),
        Field::Amount => amount(line.minor),
        Field::Currency => transaction.currency.code().to_owned(),
        Field::Plan => inert(transaction.plan.as_ref().map_or("", PlanId::as_str)),
        Field::Month => heading.month.clone(),
        Field::Standing => heading.standing.clone(),
        Field::Text(text) => inert(text),
    }
}

pub(super) fn rows(form: Form, heading: &Heading, names: &Named, transaction: &Transaction) -> String {
    let table = names.table(form);
    let row =
        |line: &Line| record(table.columns.iter().map(|(_, field)| cell(field, table, heading, transaction, line)));
    transaction.lines.iter().map(row).collect()
}
