//! What a new price list would leave without a price, and price steps whose notice comes too late.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use domain::agenda::planned;
use domain::id::PlanId;
use domain::plan::{Plan, Price};
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

/// A sentence for each price step whose notice can no longer go out in time. A warning: the charges that owe it wait until their
/// payers were told and the days have passed.
pub(super) fn late_notices(files: &CatalogFiles, today: chrono::NaiveDate) -> Vec<String> {
    let mut said = Vec::new();
    for (_, plan) in &files.plans {
        for (from, days, latest) in plan.late_notices(today) {
            said.push(format!(
                "warning: plan {} changes its price on {from} with {} of notice, which had to go out by {latest}.",
                plan.id,
                counted(days.into(), "day", "days")
            ));
        }
    }
    said
}
