//! What a change of plans does to the book: every active subscription gone through once, page by page, reading only.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};

use domain::agenda::cycles;
use domain::change::{Effect, Horizon, Touched, enrolled_under};
use domain::id::{PlanId, SubscriptionId};
use domain::money::MoneyError;
use domain::notice::duty;
use domain::plan::{Catalog, Plan};
use domain::subscription::{Subscription, SubscriptionStatus};

use crate::ports::{Cursor, Store, StoreError, SubscriptionFilter};

/// Subscriptions read at once.
const PAGE: u64 = 1_000;

/// Cycles looked through for the first that changes.
const CYCLES_MAX: usize = 10_000;

/// What is to be gone through.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The plans in force.
    pub old: Catalog,
    /// The plans as they would be.
    pub new: Catalog,
    /// The plans whose subscriptions are looked at.
    pub plans: BTreeSet<PlanId>,
}

/// Notices owed, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    /// To how many subscriptions.
    pub count: u64,
    /// By when the first of them must be sent.
    pub by: NaiveDate,
}

/// What a change does to one plan's subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanEffect {
    /// Dates, amounts and counts.
    pub effect: Effect,
    /// Notices owed before the price changes.
    pub owed: Option<Owed>,
    /// Some of those that are touched, by id.
    pub sample: Vec<(SubscriptionId, Touched)>,
    /// The first of those of which a cycle could not be charged.
    pub stuck: Option<(SubscriptionId, NaiveDate, String)>,
}

/// What a change does, subscription by subscription. Memory grows with the plans and the months, not with the book.
#[derive(Debug)]
pub struct BookEffect {
    question: Question,
    horizon: Horizon,
    sample: usize,
    plans: BTreeMap<PlanId, PlanEffect>,
}

impl BookEffect {
    /// Nothing gone through yet; so many subscriptions of each plan are kept to be shown.
    #[must_use]
    pub const fn new(question: Question, horizon: Horizon, sample: usize) -> Self {
        Self { question, horizon, sample, plans: BTreeMap::new() }
    }

    /// Goes through one active subscription.
    ///
    /// # Errors
    /// When a sum is too large to be told.
    pub fn add(&mut self, subscription: &Subscription) -> Result<(), MoneyError> {
        self.go_through(subscription, subscription)
    }

    /// Goes through one subscription that is not in the book yet, each plan with where an import of `now` would let it begin.
    ///
    /// # Errors
    /// As [`BookEffect::add`].
    pub fn add_enrolled(&mut self, subscription: &Subscription, now: DateTime<Utc>) -> Result<(), MoneyError> {
        let Question { old, new, plans: _ } = &self.question;
        let (old, new) = (old.plans.get(&subscription.plan), new.plans.get(&subscription.plan));
        // What the new plan cannot count is found out, and told, where its charges are planned.
        let moved = new.and_then(|new| enrolled_under(old, new, subscription, now).ok());
        self.go_through(subscription, moved.as_ref().unwrap_or(subscription))
    }

    fn go_through(&mut self, subscription: &Subscription, moved: &Subscription) -> Result<(), MoneyError> {
        if !self.question.plans.contains(&subscription.plan) {
            return Ok(());
        }
        let plan = self.plans.entry(subscription.plan.clone()).or_default();
        add(plan, &self.question, (subscription, moved), self.horizon, self.sample)
    }

    /// What was found, by plan.
    #[must_use]
    pub fn found(self) -> BTreeMap<PlanId, PlanEffect> {
        self.plans
    }
}

/// Goes through the active subscriptions of a store, page by page. One whose pause has an end goes on by itself: it counts as active.
///
/// # Errors
/// When the store fails, or a sum is too large to be told.
pub async fn effect_on_book(
    store: &dyn Store,
    question: Question,
    horizon: Horizon,
    sample: usize,
) -> Result<BTreeMap<PlanId, PlanEffect>, StoreError> {
    if question.plans.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut effect = BookEffect::new(question, horizon, sample);
    each_going_on(store, |subscription| {
        let added = effect.add(subscription);
        added.map_err(|error| StoreError::Refused(format!("the effect cannot be summed up: {error}")))
    })
    .await?;
    Ok(effect.found())
}

/// Goes through the subscriptions that are active, and through those whose pause ends by itself, page by page.
async fn each_going_on(
    store: &dyn Store,
    mut tell: impl FnMut(&Subscription) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for status in [SubscriptionStatus::Active, SubscriptionStatus::Paused] {
        let filter = SubscriptionFilter { status: Some(status), ..SubscriptionFilter::default() };
        let mut after: Cursor = None;
        loop {
            let page = store.list_subscriptions(&filter, &after, PAGE).await?;
            after = page.next.clone();
            // A row that cannot be read is charged under no plan.
            for view in page.whole() {
                let subscription = &view.subscription;
                if subscription.goes_on_by_itself() {
                    tell(subscription)?;
                }
            }
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// How many active subscriptions each of some plans has, those whose pause has an end among them.
///
/// # Errors
/// When the store fails.
pub async fn active_under(store: &dyn Store, plans: &BTreeSet<PlanId>) -> Result<BTreeMap<PlanId, u64>, StoreError> {
    let mut counted = BTreeMap::new();
    if plans.is_empty() {
        return Ok(counted);
    }
    each_going_on(store, |subscription| {
        if plans.contains(&subscription.plan) {
            let count: &mut u64 = counted.entry(subscription.plan.clone()).or_default();
            *count = count.saturating_add(1);
        }
        Ok(())
    })
    .await?;
    Ok(counted)
}

fn add(
    plan: &mut PlanEffect,
    question: &Question,
    (subscription, moved): (&Subscription, &Subscription),
    horizon: Horizon,
    sample: usize,
) -> Result<(), MoneyError> {
    let (old, new) = (question.old.plans.get(&subscription.plan), question.new.plans.get(&subscription.plan));
    let Some(touched) = plan.effect.add_moved((old, subscription), (new, moved), horizon)? else { return Ok(()) };
    if let Some(by) = new.and_then(|new| notice_by(new, moved, &touched)) {
        let owed = plan.owed.get_or_insert(Owed { count: 0, by });
        owed.count = owed.count.saturating_add(1);
        owed.by = owed.by.min(by);
    }
    if let (None, Some((on, why))) = (&plan.stuck, &touched.stuck) {
        plan.stuck = Some((subscription.id.clone(), *on, why.clone()));
    }
    if plan.sample.len() < sample {
        plan.sample.push((subscription.id.clone(), touched));
    }
    Ok(())
}

/// The last day for the notice of what changes first, where the payer is owed one: by the function that holds the charge back.
fn notice_by(new: &Plan, subscription: &Subscription, touched: &Touched) -> Option<NaiveDate> {
    let (old, _) = touched.old.zip(touched.new).filter(|(old, new)| old != new)?;
    let walk = cycles(new, subscription, subscription.next_cycle).ok()?;
    let cycle = walk.take(CYCLES_MAX).map_while(Result::ok).find(|cycle| cycle.occurrence.date == touched.on)?;
    let last = cycle.occurrence.index.checked_sub(1).map(|before| (before, old));
    duty(new, subscription, &cycle, last).map(|duty| duty.latest(cycle.occurrence.submit_on))
}
