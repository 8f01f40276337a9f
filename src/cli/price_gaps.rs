//! What a new price list would leave without a price, and new price steps whose notice would come too late.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{Days, Months, NaiveDate};
use domain::agenda::planned;
use domain::forecast::MOST_MONTHS;
use domain::id::PlanId;
use domain::money::Money;
use domain::plan::{Catalog, Plan, PlanSpec, Price};
use domain::subscription::SubscriptionStatus;

use super::exit::Stop;
use super::output::counted;
use crate::app::App;
use crate::files::{CatalogFiles, FileMistake, mistake_in_plan};
use crate::ports::{Cursor, Listed, SubscriptionFilter};

/// Rows read at once.
const PAGE: u64 = 1_000;

/// The list's column names and values that some subscription needs and no row has, with how many need them.
type Gaps = BTreeMap<PlanId, BTreeMap<String, usize>>;

/// Refuses price lists that have no row for the next cycle of a subscription in the book.
pub(super) async fn refuse(dir: &Path, files: &CatalogFiles, app: &App) -> Result<(), Stop> {
    let listed = |plan: &&Plan| matches!(plan.price, Price::List(_));
    let plans: BTreeMap<&PlanId, &Plan> =
        files.plans.iter().map(|(_, plan)| plan).filter(listed).map(|plan| (&plan.id, plan)).collect();
    let used = if plans.is_empty() { BTreeSet::new() } else { app.store.plans_in_use().await? };
    if !plans.keys().any(|id| used.contains(id)) {
        return Ok(());
    }
    let mut gaps = Gaps::new();
    let mut after: Cursor = None;
    loop {
        let page = app.store.list_subscriptions(&SubscriptionFilter::default(), &after, PAGE).await?;
        for row in &page.rows {
            let Listed::Whole(view) = row else { continue };
            let subscription = &view.subscription;
            let Some(plan) = plans.get(&subscription.plan) else { continue };
            match subscription.status {
                SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => continue,
                SubscriptionStatus::Active | SubscriptionStatus::Paused | SubscriptionStatus::Quarantined => {}
            }
            let next = planned(plan, subscription, subscription.next_cycle).ok().flatten();
            if let (Some((charge, Err(_))), Price::List(list)) = (next, &plan.price)
                && list.on(&subscription.terms.attributes, charge.due_on).is_none()
            {
                let words = list.gap(&subscription.terms.attributes, charge.due_on);
                let count = gaps.entry(plan.id.clone()).or_default().entry(words).or_default();
                *count = count.saturating_add(1);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mistake = |plan: &PlanId, words: &str, count: usize| -> FileMistake {
        let need = if count == 1 { "needs" } else { "need" };
        let message = format!("{words} ({} {need} it)", counted(count, "subscription", "subscriptions"));
        let mend = "add a row, or move those subscriptions first";
        mistake_in_plan(dir, plan, "amount.price_list", "price_gap", &message, mend)
    };
    let mistakes: Vec<FileMistake> = gaps
        .iter()
        .flat_map(|(plan, gaps)| gaps.iter().map(move |(words, count)| mistake(plan, words, *count)))
        .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes.into()) }
}

/// Refuses price steps, new or other than what is in force, whose notice could no longer reach the payers in time, and dates of prices so
/// far ahead that no forecast shows them.
pub(super) fn refuse_late(
    dir: &Path,
    files: &CatalogFiles,
    in_force: &Catalog,
    today: NaiveDate,
) -> Result<(), Vec<FileMistake>> {
    let mut mistakes = Vec::new();
    for (spec, plan) in &files.plans {
        for late in plan.late_notices(in_force.plans.get(&plan.id), today) {
            let step = spec.amount.step.iter().position(|step| step.from == late.0.to_string()).unwrap_or_default();
            let (message, mend) = too_late(late, today);
            let field = format!("amount.step.{step}.notice");
            mistakes.push(mistake_in_plan(dir, &plan.id, &field, "notice_too_late", &message, &mend));
        }
        mistakes.extend(too_far(dir, (spec, plan), in_force.plans.get(&plan.id), today));
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// Dates from which a price holds that lie more than ten years ahead: no forecast looks so far, and most likely a year was mistyped. What
/// is in force already stays.
fn too_far(
    dir: &Path,
    (spec, plan): (&PlanSpec, &Plan),
    in_force: Option<&Plan>,
    today: NaiveDate,
) -> Vec<FileMistake> {
    let Some(latest) = today.checked_add_months(Months::new(MOST_MONTHS)) else { return Vec::new() };
    if in_force.is_some_and(|current| current.price == plan.price) {
        return Vec::new();
    }
    let far = |from: &str| from.parse::<NaiveDate>().ok().filter(|from| *from > latest);
    let steps = spec.amount.step.iter().enumerate();
    let steps = steps.filter_map(|(place, step)| Some((far(&step.from)?, format!("amount.step.{place}.from"))));
    // Of a list the row with the latest date: mostly it is one mistyped year in many rows.
    let row = spec.amount.price_rows.iter().filter_map(|row| far(&row.from)).max();
    let row = row.map(|from| (from, "amount.price_list".to_owned()));
    let told = |(from, field): (NaiveDate, String)| {
        let message = format!("the price from {from} on lies more than ten years ahead, where no forecast shows it");
        let mend = format!("check the year; write {latest} or an earlier day, and later prices when they come nearer");
        mistake_in_plan(dir, &plan.id, &field, "price_too_far", &message, &mend)
    };
    steps.chain(row).map(told).collect()
}

/// Prices of nothing, at their places, as sentences: a plan may be free, and a price that was forgotten looks the same.
pub(super) fn free_prices(dir: &Path, files: &CatalogFiles) -> Vec<String> {
    let mut told = Vec::new();
    for (spec, plan) in &files.plans {
        let zero = |text: &str| Money::parse(text, plan.currency).is_ok_and(|money| money.minor() == 0);
        let amount = &spec.amount;
        let value = amount.value.as_deref().filter(|value| zero(value)).map(|_| "amount.value".to_owned());
        let steps = amount.step.iter().enumerate().filter(|(_, step)| zero(&step.value));
        let steps = steps.map(|(place, _)| format!("amount.step.{place}.value"));
        let rows = amount.price_rows.iter().any(|row| zero(&row.amount)).then(|| "amount.price_list".to_owned());
        told.extend(value.into_iter().chain(steps).chain(rows).map(|field| {
            let at = mistake_in_plan(dir, &plan.id, &field, "", "", "");
            let what =
                if field.ends_with("price_list") { "a row of this list costs nothing" } else { "this costs nothing" };
            format!(
                "warning: {}:{}:{}: {}: {what}, and nobody is charged: correct it, unless that is meant",
                at.path, at.line, at.column, at.value
            )
        }));
    }
    told
}

/// What is wrong with a step whose notice comes too late, and what to write: its date, its days of notice, the last day for it.
pub(super) fn too_late((from, days, latest): (NaiveDate, u16, NaiveDate), today: NaiveDate) -> (String, String) {
    let notice = counted(days.into(), "day", "days");
    let message = format!(
        "the price from {from} on is announced {notice} before, and that notice had to reach the payers by {latest}"
    );
    let earliest = today.checked_add_days(Days::new(u64::from(days))).unwrap_or(NaiveDate::MAX);
    let left = usize::try_from(from.signed_duration_since(today).num_days()).unwrap_or_default();
    let mend = format!("from = {earliest} or later, or notice = \"{}\" or less", counted(left, "day", "days"));
    (message, mend)
}
