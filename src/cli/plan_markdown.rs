//! A comparison of plans as Markdown: the comment a reviewer reads beside the files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::money::Money;

use super::output::counted;
use super::plan_told::{Told, ToldChange, ToldMoney, ToldMonth, signed};

/// Characters of one text of a file before the rest is left out.
const LONGEST: usize = 200;

/// The comparison, with a heading for each plan and tables for fields, money and samples. Writing to a text cannot fail.
pub(super) fn in_markdown(told: &Told, head: &str) -> String {
    let mut out = format!("## {}\n", plain(head));
    if told.changes.is_empty() {
        out.push_str("\nNothing differs.\n");
    }
    for change in &told.changes {
        let what = if change.kind == "plan" { "Plan" } else { "Dunning policy" };
        let version = change.version.map_or("new".to_owned(), |version| format!("version {version}"));
        let _ = writeln!(out, "\n### {what} {} ({}, {version})", code(&change.id), change.change);
        fields(&mut out, change);
        if let Some(money) = &change.money {
            effect(&mut out, money);
        }
    }
    let with_money = told.changes.iter().filter(|change| change.money.is_some()).count();
    if with_money > 1 && !told.months.is_empty() {
        out.push_str("\n### All together\n");
        months(&mut out, &told.months);
    }
    let unchanged = counted(told.unchanged, "plan or policy", "plans and policies");
    let _ = writeln!(out, "\n{unchanged} unchanged.");
    if !told.left_out.is_empty() {
        let names: Vec<String> = told.left_out.iter().map(|id| code(id)).collect();
        let _ = writeln!(out, "\nIn force without a file here, and staying so: {}.", names.join(", "));
    }
    if let Some(needed) = told.needs_approvals.filter(|_| !told.changes.is_empty()) {
        let people = if needed == 1 { "1 person".to_owned() } else { format!("{needed} people") };
        let _ = writeln!(out, "\nNeeds the approval of {people} other than its author.");
    }
    out
}

fn fields(out: &mut String, change: &ToldChange) {
    if change.fields.is_empty() {
        return;
    }
    out.push_str("\n| Field | Before | After |\n|---|---|---|\n");
    let value = |value: &Option<String>| value.as_deref().map_or("–".to_owned(), code);
    for field in &change.fields {
        let _ = writeln!(out, "| {} | {} | {} |", code(&field.field), value(&field.old), value(&field.new));
    }
}

fn effect(out: &mut String, money: &ToldMoney) {
    let active = if money.active == 1 { "subscription" } else { "subscriptions" };
    let _ = writeln!(out, "\nTouches {} active {active}; {} charged differently.", money.active, money.touched);
    if let Some(first) = &money.first_that_cannot {
        let _ = writeln!(
            out,
            "\n**{} would not be charged as planned**, the first: {}",
            money.cannot_be_charged,
            plain(first)
        );
    }
    if let Some(by) = money.notices_by {
        let notices = if money.notices_owed == 1 { "notice" } else { "notices" };
        let _ = writeln!(out, "\nOwed first: {} {notices}, the first by {by}.", money.notices_owed);
    }
    months(out, &money.months);
    if !money.sample.is_empty() {
        out.push_str("\n| Subscription, for example | On | Before | After |\n|---|---|---:|---:|\n");
        for one in &money.sample {
            let currency = one.currency.as_deref().unwrap_or_default();
            let amount = |amount: &Option<String>| match amount {
                Some(amount) => format!("{currency} {amount}"),
                None => "nothing".to_owned(),
            };
            let (old, new) = (amount(&one.old), amount(&one.new));
            let _ = writeln!(out, "| {} | {} | {old} | {new} |", code(&one.subscription), one.on);
        }
    }
}

/// The months in which something differs, and the sums over all of them, by currency.
fn months(out: &mut String, months: &[ToldMonth]) {
    if months.is_empty() {
        return;
    }
    out.push_str("\n| Month | Before | After | Difference |\n|---|---:|---:|---:|\n");
    let mut sums: BTreeMap<&str, Option<Money>> = BTreeMap::new();
    for month in months {
        let (old, new, difference) = month.money;
        let sum = sums.entry(&month.currency).or_insert(Some(Money::new(0, difference.currency())));
        *sum = sum.and_then(|sum| sum.checked_add(difference).ok());
        if !difference.is_zero() {
            let _ = writeln!(out, "| {} | {old} | {new} | {} |", month.month, signed(difference));
        }
    }
    for sum in sums.values() {
        let sum = sum.map_or("too large to be told".to_owned(), signed);
        let _ = writeln!(out, "| **In all** | | | **{sum}** |");
    }
}

/// Text of a file as code, on one line and within its cell.
fn code(text: &str) -> String {
    let text = plain(text).replace('`', "'").replace('|', "\\|");
    format!("`{text}`")
}

/// One line without control characters, and not endless.
fn plain(text: &str) -> String {
    let line: String = text.chars().map(|ch| if ch.is_control() { ' ' } else { ch }).take(LONGEST).collect();
    if text.chars().count() > LONGEST { format!("{line}…") } else { line }
}
