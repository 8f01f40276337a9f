//! A comparison of plans, told: as a document for programs, and in words and dollars for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::NaiveDate;
use domain::change::{ApprovalRule, Horizon, MonthKey, Object, Shift, Touched};
use domain::id::{PlanId, SubscriptionId};
use domain::money::{Money, MoneyError};
use serde::Serialize;

use super::exit::{Exit, Stop};
use super::output::counted;
use super::plan_changes::{Change, Comparison, Field, summed};
use crate::engine::changes::PlanEffect;

/// Fields told of one plan before the rest is only counted.
const FIELDS_TOLD: usize = 40;

/// What a comparison was made with.
#[derive(Debug, Default)]
pub(super) struct Against {
    pub(super) head: String,
    pub(super) live_version: Option<i64>,
    pub(super) as_of: Option<NaiveDate>,
    pub(super) horizon: Option<Horizon>,
    pub(super) effects: BTreeMap<PlanId, PlanEffect>,
    pub(super) touches: Option<(u64, ApprovalRule)>,
}

/// What `-o json` shows.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// The live version it was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) live_version: Option<i64>,
    pub(super) as_of: Option<NaiveDate>,
    pub(super) from: Option<NaiveDate>,
    pub(super) until: Option<NaiveDate>,
    pub(super) changes: Vec<ToldChange>,
    pub(super) unchanged: usize,
    pub(super) left_out: Vec<String>,
    /// Of all plans together.
    pub(super) months: Vec<ToldMonth>,
    pub(super) touches: Option<u64>,
    pub(super) needs_approvals: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct ToldChange {
    pub(super) kind: &'static str,
    pub(super) id: String,
    pub(super) change: &'static str,
    pub(super) version: Option<u32>,
    pub(super) fields: Vec<ToldField>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) money: Option<ToldMoney>,
}

#[derive(Debug, Serialize)]
pub(super) struct ToldField {
    pub(super) field: String,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ToldMoney {
    pub(super) active: u64,
    pub(super) touched: u64,
    pub(super) cannot_be_charged: u64,
    pub(super) first_that_cannot: Option<String>,
    pub(super) months: Vec<ToldMonth>,
    pub(super) notices_owed: u64,
    pub(super) notices_by: Option<NaiveDate>,
    pub(super) sample: Vec<ToldSample>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct ToldMonth {
    pub(super) month: String,
    pub(super) currency: String,
    pub(super) old: String,
    pub(super) new: String,
    pub(super) difference: String,
    #[serde(skip)]
    pub(super) money: (Money, Money, Money),
}

#[derive(Debug, Serialize)]
pub(super) struct ToldSample {
    pub(super) subscription: String,
    pub(super) on: NaiveDate,
    pub(super) currency: Option<String>,
    pub(super) old: Option<String>,
    pub(super) new: Option<String>,
}

pub(super) fn too_large(error: &MoneyError) -> Stop {
    Stop::because(
        Exit::Failed,
        super::problem(format!("the effect cannot be summed up: {error}"), "compare fewer months"),
    )
}

fn months(shifts: &BTreeMap<MonthKey, Shift>) -> Result<Vec<ToldMonth>, Stop> {
    let month = |((month, currency), shift): (&MonthKey, &Shift)| {
        let difference = shift.difference().map_err(|error| too_large(&error))?;
        Ok(ToldMonth {
            month: month.format("%Y-%m").to_string(),
            currency: currency.to_string(),
            old: shift.old.plain(),
            new: shift.new.plain(),
            difference: difference.plain(),
            money: (shift.old, shift.new, difference),
        })
    };
    shifts.iter().map(month).collect()
}

fn sampled((id, touched): &(SubscriptionId, Touched)) -> ToldSample {
    let currency = touched.old.or(touched.new).map(|money| money.currency().to_string());
    ToldSample {
        subscription: id.to_string(),
        on: touched.on,
        currency,
        old: touched.old.map(Money::plain),
        new: touched.new.map(Money::plain),
    }
}

fn money_of(effect: &PlanEffect) -> Result<ToldMoney, Stop> {
    Ok(ToldMoney {
        active: effect.effect.seen,
        touched: effect.effect.touched,
        cannot_be_charged: effect.effect.stuck,
        first_that_cannot: effect.stuck.as_ref().map(|(id, on, why)| format!("{id} on {on}: {why}")),
        months: months(&effect.effect.months)?,
        notices_owed: effect.owed.map_or(0, |owed| owed.count),
        notices_by: effect.owed.map(|owed| owed.by),
        sample: effect.sample.iter().map(sampled).collect(),
    })
}

pub(super) fn told(comparison: &Comparison, against: &Against) -> Result<Told, Stop> {
    let change = |change: &Change| {
        let money = match &change.object {
            Object::Plan(id) if against.horizon.is_some() => {
                let nothing = PlanEffect::default();
                Some(money_of(against.effects.get(id).unwrap_or(&nothing))?)
            }
            Object::Plan(_) | Object::Policy(_) => None,
        };
        let field =
            |field: &Field| ToldField { field: field.name.clone(), old: field.old.clone(), new: field.new.clone() };
        Ok::<_, Stop>(ToldChange {
            kind: change.object.kind(),
            id: change.object.id().to_owned(),
            change: if change.is_new { "added" } else { "changed" },
            version: change.version,
            fields: change.fields.iter().map(field).collect(),
            money,
        })
    };
    let sums = summed(&against.effects).map_err(|error| too_large(&error))?;
    Ok(Told {
        live_version: against.live_version,
        as_of: against.as_of,
        from: against.horizon.map(Horizon::first),
        until: against.horizon.and_then(|horizon| horizon.end().pred_opt()),
        changes: comparison.changes.iter().map(change).collect::<Result<_, _>>()?,
        unchanged: comparison.unchanged,
        left_out: comparison.left_out.clone(),
        months: months(&sums)?,
        touches: against.touches.map(|(touches, _)| touches),
        needs_approvals: against.touches.map(|(touches, rule)| rule.needed(touches)),
    })
}

/// A difference with its sign in front: `+USD 18,600.00`.
pub(super) fn signed(money: Money) -> String {
    if money.is_positive() { format!("+{money}") } else { money.to_string() }
}

/// For people. Writing to a text cannot fail.
pub(super) fn in_words(told: &Told, head: &str) -> String {
    let mut out = format!("{head}\n");
    for change in &told.changes {
        let mark = if change.change == "added" { '+' } else { '~' };
        let kind = if change.kind == "plan" { "" } else { "dunning policy " };
        let version = change.version.map_or("new".to_owned(), |version| format!("version {version}"));
        let _ = writeln!(out, "\n{mark} {kind}{}   {version}", change.id);
        fields_in_words(&mut out, change);
        if let Some(money) = &change.money {
            money_in_words(&mut out, money, told.until);
        }
    }
    let plans_with_money = told.changes.iter().filter(|change| change.money.is_some()).count();
    if plans_with_money > 1 && !told.months.is_empty() {
        let _ = writeln!(out, "\nall together");
        months_in_words(&mut out, &told.months);
    }
    let unchanged = counted(told.unchanged, "plan or policy", "plans and policies");
    let _ = writeln!(out, "\n= {unchanged} unchanged");
    if !told.left_out.is_empty() {
        let stay = if told.left_out.len() == 1 { "has no file here and stays" } else { "have no file here and stay" };
        let plans = counted(told.left_out.len(), "plan in force", "plans in force");
        let _ = writeln!(out, "= {plans} {stay}: {}", told.left_out.join(", "));
    }
    // No control character of a file reaches a terminal.
    out.chars().map(|ch| if ch.is_control() && ch != '\n' { ' ' } else { ch }).collect()
}

fn fields_in_words(out: &mut String, change: &ToldChange) {
    let mut lead = "changes";
    for field in change.fields.iter().take(FIELDS_TOLD) {
        let told = match (&field.old, &field.new) {
            (Some(old), Some(new)) => format!("{old} -> {new}"),
            (None, Some(new)) => format!("{new} (new)"),
            (Some(old), None) => format!("{old} (removed)"),
            (None, None) => String::new(),
        };
        let _ = writeln!(out, "      {lead:<12} {} {}", field.field, told.replace('\n', " "));
        lead = "";
    }
    if let Some(more) = change.fields.len().checked_sub(FIELDS_TOLD).filter(|more| *more > 0) {
        let _ = writeln!(out, "      {lead:<12} and {more} more; -o json shows all");
    }
}

fn money_in_words(out: &mut String, money: &ToldMoney, until: Option<NaiveDate>) {
    let until = until.map(|until| format!(" by {until}")).unwrap_or_default();
    let active = if money.active == 1 { "subscription" } else { "subscriptions" };
    let _ = writeln!(
        out,
        "      {:<12} {} active {active}; {} charged differently{until}",
        "touches", money.active, money.touched
    );
    if let Some(first) = &money.first_that_cannot {
        let count = money.cannot_be_charged;
        let _ = writeln!(out, "      {:<12} {count} would not be charged as planned, the first: {first}", "attention");
    }
    months_in_words(out, &money.months);
    if let Some(by) = money.notices_by {
        let notices = if money.notices_owed == 1 { "notice" } else { "notices" };
        let _ = writeln!(out, "      {:<12} {} {notices}, the first by {by}", "owed first", money.notices_owed);
    }
    for (place, sample) in money.sample.iter().enumerate() {
        let lead = if place == 0 { "sample" } else { "" };
        let amount = |amount: &Option<String>| amount.clone().unwrap_or_else(|| "nothing".to_owned());
        let (old, new) = (amount(&sample.old), amount(&sample.new));
        let _ = writeln!(out, "      {lead:<12} {} {} {old} -> {new}", sample.subscription, sample.on);
    }
}

/// The months in which something differs, and the sums over all of them, by currency.
fn months_in_words(out: &mut String, months: &[ToldMonth]) {
    let mut lead = "money";
    let mut sums: BTreeMap<&str, Option<Money>> = BTreeMap::new();
    for month in months {
        let (old, new, difference) = month.money;
        let sum = sums.entry(&month.currency).or_insert(Some(Money::new(0, difference.currency())));
        *sum = sum.and_then(|sum| sum.checked_add(difference).ok());
        if !difference.is_zero() {
            let _ = writeln!(out, "      {lead:<12} {}  {old} -> {new}   {}", month.month, signed(difference));
            lead = "";
        }
    }
    for sum in sums.values() {
        let sum = sum.map_or("too large to be told".to_owned(), signed);
        let _ = writeln!(out, "      {lead:<12} in all   {sum}");
        lead = "";
    }
}
