//! Plans and policies as the files that say them: for versions that were kept without the text they were read from.
//!
//! Plans are written from their own serialised form, whatever fields it has. Whether a value stands in quotes or bare is the
//! reader's choice: what it refuses is written the other way, and what cannot be read back as the very same plan is not written.

use domain::dunning::{Backups, Policy};
use domain::plan::PlanSpec;
use domain::split::percent;
use serde_json::Value as Json;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::canon::canonical;
use super::plans::{read_plan, read_policy};

/// How often values that the reader refused are written the other way.
const ROUNDS: usize = 8;

/// The plan as a file; `None` where a file cannot say it.
#[must_use]
pub fn plan_text(spec: &PlanSpec) -> Option<String> {
    let Ok(Json::Object(fields)) = serde_json::to_value(spec) else { return None };
    let mut document = DocumentMut::new();
    document.insert("schema", value("autopay.plan/1"));
    fill(document.as_table_mut(), &fields);
    let mut text = canonical(&document.to_string()).ok()?;
    for _ in 0..ROUNDS {
        match read_plan("plan", &text) {
            Ok((read, _)) => return (read == *spec).then_some(text),
            Err(mistakes) => {
                let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
                let other = text.lines().enumerate().map(|(at, line)| {
                    if lines.contains(&at.saturating_add(1)) { other_way(line) } else { line.to_owned() }
                });
                let other = other.collect::<Vec<_>>().join("\n");
                text = canonical(&other).ok().filter(|next| *next != text)?;
            }
        }
    }
    None
}

fn fill(table: &mut Table, fields: &serde_json::Map<String, Json>) {
    for (key, field) in fields {
        if let Some(item) = item(field) {
            table.insert(key, item);
        }
    }
}

fn item(field: &Json) -> Option<Item> {
    match field {
        Json::Null => None,
        Json::Object(fields) if fields.is_empty() => None,
        Json::Object(fields) => {
            let mut table = Table::new();
            fill(&mut table, fields);
            Some(Item::Table(table))
        }
        Json::Array(items) if items.is_empty() => None,
        Json::Array(items) if items.iter().all(Json::is_object) => {
            let mut tables = ArrayOfTables::new();
            for fields in items.iter().filter_map(Json::as_object) {
                let mut table = Table::new();
                fill(&mut table, fields);
                tables.push(table);
            }
            Some(Item::ArrayOfTables(tables))
        }
        Json::Array(items) => Some(Item::Value(Value::Array(items.iter().filter_map(scalar).collect()))),
        Json::Bool(_) | Json::Number(_) | Json::String(_) => scalar(field).map(Item::Value),
    }
}

/// Dates and times of day stand bare, as TOML has them; everything else that is text stands in quotes.
fn scalar(field: &Json) -> Option<Value> {
    match field {
        Json::Bool(truth) => Some((*truth).into()),
        Json::Number(number) => number.as_i64().map(Into::into),
        Json::String(text) => Some(match text.parse::<toml_edit::Datetime>() {
            Ok(moment) if moment.to_string() == *text => moment.into(),
            Ok(_) | Err(_) => text.into(),
        }),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// `key = "15"` for `key = 15`, and the other way round.
fn other_way(line: &str) -> String {
    let Some((key, said)) = line.split_once(" = ") else { return line.to_owned() };
    match said.strip_prefix('"').and_then(|said| said.strip_suffix('"')) {
        Some(bare) if bare.parse::<i64>().is_ok() || bare.parse::<toml_edit::Datetime>().is_ok() => {
            format!("{key} = {bare}")
        }
        Some(_) => line.to_owned(),
        None => format!("{key} = \"{said}\""),
    }
}

/// The policy as a file; `None` where a file cannot say it.
#[must_use]
pub fn policy_text(policy: &Policy) -> Option<String> {
    let days = |days: u16| format!("{days} day{}", if days == 1 { "" } else { "s" });
    let mut document = DocumentMut::new();
    document.insert("schema", value("autopay.dunning/1"));
    document.insert("id", value(policy.id.to_string()));
    let mut limits = Table::new();
    limits.insert("most_attempts", value(i64::from(policy.most_attempts)));
    limits.insert("give_up_after", value(days(policy.give_up_after_days)));
    let not_past = if policy.not_past_next_due { "next_due_date" } else { "give_up_after" };
    limits.insert("not_past", value(not_past));
    if !policy.not_past_next_due {
        limits.insert("collect_first", value(policy.collect_first.as_str()));
    }
    let at = policy.at.format("%H:%M:%S").to_string();
    limits.insert("at", at.parse::<toml_edit::Datetime>().map_or_else(|_| value(at), value));
    if policy.spread_minutes > 0 {
        limits.insert("spread", value(format!("{} minutes", policy.spread_minutes)));
    }
    document.insert("limits", Item::Table(limits));
    if let Some(paydays) = &policy.paydays {
        let mut table = Table::new();
        let names = paydays.days.iter().map(|day| Value::from(day.to_string()));
        table.insert("days", Item::Value(Value::Array(names.collect())));
        table.insert("within", value(days(paydays.within_days)));
        document.insert("payday", Item::Table(table));
    }
    let mut steps = ArrayOfTables::new();
    for step in &policy.steps {
        let mut table = Table::new();
        table.insert("after", value(step.after.in_words()));
        table.insert("action", value("retry"));
        let classes = step.classes.iter().map(|class| Value::from(class.as_str()));
        table.insert("for", Item::Value(Value::Array(classes.collect())));
        if let Some(method) = step.method {
            table.insert("method", value(method.as_str()));
        }
        steps.push(table);
    }
    document.insert("step", Item::ArrayOfTables(steps));
    if let Some(Backups { after_tries }) = policy.backups {
        let mut table = Table::new();
        table.insert("methods", value("in_order"));
        table.insert("after_tries", value(i64::from(after_tries)));
        document.insert("backup", Item::Table(table));
    }
    if let Some(expected) = &policy.expected_value {
        let costs = expected.try_costs.iter().map(|cost| Value::from(format!("{} {}", cost.plain(), cost.currency())));
        let chances = expected.chances.iter().map(|chance| Value::from(format!("{}%", percent(*chance))));
        let mut table = Table::new();
        table.insert("try_costs", Item::Value(Value::Array(costs.collect())));
        table.insert("chances", Item::Value(Value::Array(chances.collect())));
        document.insert("expected_value", Item::Table(table));
    }
    let mut end = Table::new();
    end.insert("action", value(policy.at_the_end.as_str()));
    if let Some(queue) = &policy.hand_to {
        end.insert("hand_to", value(queue.as_str()));
    }
    document.insert("at_the_end", Item::Table(end));
    let text = canonical(&document.to_string()).ok()?;
    read_policy("policy", &text).is_ok_and(|read| read == *policy).then_some(text)
}
