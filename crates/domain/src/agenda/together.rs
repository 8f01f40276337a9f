//! One payment for one customer and day: cycles of several subscriptions, charged together where their plans say so.
//!
//! Every cycle keeps a charge of its own. The first of a group, the lead, is sent with the sum; the others are recorded as
//! skipped, and the lead names each of them with its amount. Which cycles join follows from the book and the moment alone.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::Serialize;

use super::tries::Tries;
use super::{Action, Advance, Agenda, Book, Item, LeftOut, Reason, draw_due};
use crate::calendar::Zone;
use crate::charge::{Carried, SkipWhy};
use crate::id::{ChargeId, MerchantId, PaymentMethodId, PlanId, PolicyId, SubscriptionId};
use crate::money::{Currency, Money};
use crate::plan::{Catalog, Consolidate, Plan, chargeable};
use crate::subscription::{Customer, Method, Subscription, SubscriptionStatus};

/// Most cycles of one payment. A customer with more on one day gets several: a payment must stay explainable.
pub const PARTS_MAX: usize = 100;

/// A cycle that another charge collects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its own charge, recorded as skipped.
    pub charge: ChargeId,
    /// Whose cycle.
    pub subscription: SubscriptionId,
    /// Which.
    pub cycle: u32,
    /// Under which plan.
    pub plan: PlanId,
    /// What it costs; above zero.
    pub amount: Money,
}

/// What cycles must have in common to be one payment. A bank account's consent is part of its method, and how a decline is
/// followed up is part of what a plan promises: cycles that differ in either are charged apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shared {
    merchant: MerchantId,
    customer: Customer,
    method: Method,
    zone: Zone,
    day: NaiveDate,
    currency: Currency,
    dunning: PolicyId,
}

/// A cycle that may join a group.
struct Candidate {
    due_at: DateTime<Utc>,
    item: Item,
    amount: Money,
    /// Set for a cycle that is not due yet, and only comes when a due one takes it along.
    ahead: Option<Advance>,
}

/// The plan of a subscription, if it consolidates.
fn plan_of<'a>(catalog: &'a Catalog, subscription: &Subscription) -> Option<&'a Plan> {
    let plan = catalog.plans.get(&subscription.plan)?;
    (plan.consolidate == Consolidate::CustomerAndDay).then_some(plan)
}

/// Do the charges of this subscription join others of its customer? Then everybody who charges it needs to see those too.
#[must_use]
pub fn joins(catalog: &Catalog, subscription: &Subscription) -> bool {
    plan_of(catalog, subscription).is_some()
}

/// The last instant at which others of the same customer can fall due and still join what is due at `now`: the end of today in
/// the payer's zone.
#[must_use]
pub fn last_instant(catalog: &Catalog, subscription: &Subscription, now: DateTime<Utc>) -> DateTime<Utc> {
    let zone = plan_of(catalog, subscription).map(|plan| subscription.zone.as_ref().unwrap_or(&plan.zone));
    let tomorrow = zone.and_then(|zone| {
        let today = zone.civil(now).ok()?.date;
        zone.instant(today.checked_add_days(Days::new(1))?, NaiveTime::MIN).ok()
    });
    // Beyond the years that zones cover nothing is taken along.
    tomorrow.and_then(|end| end.checked_sub_signed(TimeDelta::microseconds(1))).map_or(now, |end| end.max(now))
}

/// Subscriptions in the order in which they are drawn: by when they fall due. A customer's that may join stand together, where the first of
/// them would stand alone, so that their order is the same however many are drawn at once.
#[must_use]
pub fn line_up<T>(catalog: &Catalog, rows: Vec<T>, of: impl Fn(&T) -> &Subscription) -> Vec<T> {
    type InLine = (Option<DateTime<Utc>>, SubscriptionId);
    let place = |row: &Subscription| -> InLine { (row.next_due_at, row.id.clone()) };
    let mut first: BTreeMap<Customer, InLine> = BTreeMap::new();
    for row in rows.iter().map(&of).filter(|row| joins(catalog, row)) {
        let own = place(row);
        let known = first.entry(row.customer.clone()).or_insert_with(|| own.clone());
        if own < *known {
            *known = own;
        }
    }
    let in_line = |row: T| {
        let (own, joins) = (place(of(&row)), joins(catalog, of(&row)));
        let of_first = first.get(&of(&row).customer).filter(|_| joins);
        (of_first.cloned().unwrap_or_else(|| own.clone()), own, row)
    };
    let mut rows: Vec<_> = rows.into_iter().map(in_line).collect();
    rows.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    rows.into_iter().map(|(_, _, row)| row).collect()
}

/// Is it in the book only to be taken along by what is due?
pub(super) fn is_ahead(book: &Book<'_>, subscription: &Subscription, now: DateTime<Utc>) -> bool {
    subscription.next_due_at.is_some_and(|at| at > now) && joins(book.catalog, subscription)
}

impl Shared {
    /// What a cycle of this subscription that is submitted at `at` shares with others; nothing without a method, or beyond the years that
    /// zones cover.
    pub(super) fn of(plan: &Plan, subscription: &Subscription, at: DateTime<Utc>) -> Option<Self> {
        let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
        Some(Self {
            merchant: subscription.merchant,
            customer: subscription.customer.clone(),
            method: subscription.method.clone()?,
            zone: zone.clone(),
            day: zone.civil(at).ok()?.date,
            currency: plan.currency,
            dunning: plan.dunning.clone(),
        })
    }

    /// What they are all charged to.
    pub(super) const fn method(&self) -> PaymentMethodId {
        self.method.id
    }
}

/// The sum of a payment for so many cycles with one more, where that is still one payment.
pub(super) fn fits(count: usize, sum: Money, more: Money) -> Option<Money> {
    sum.checked_add(more).ok().filter(|sum| count < PARTS_MAX && chargeable(*sum).is_ok())
}

/// Joins what belongs together among the due cycles, and takes along what falls due later the same day.
///
/// Only a cycle that would be sent on its own joins: one that waits, is left out or parked stays as it is, and the others go
/// without it.
pub(super) fn gather(book: &Book<'_>, now: DateTime<Utc>, agenda: &mut Agenda) {
    if book.catalog.plans.values().all(|plan| plan.consolidate == Consolidate::Nothing) {
        return;
    }
    let joining: BTreeMap<&SubscriptionId, (&Subscription, &Plan)> =
        (book.due.iter()).filter_map(|row| plan_of(book.catalog, row).map(|plan| (&row.id, (row, plan)))).collect();
    if joining.is_empty() {
        return;
    }
    let mut groups: BTreeMap<Shared, Vec<Candidate>> = BTreeMap::new();
    for item in &agenda.items {
        let found = joining.get(&item.subscription).and_then(|(row, plan)| {
            let candidate = Candidate::of(item, None)?;
            Some((Shared::of(plan, row, candidate.due_at)?, candidate))
        });
        if let Some((shared, candidate)) = found {
            groups.entry(shared).or_default().push(candidate);
        }
    }
    for row in book.due.iter().filter(|row| is_ahead(book, row, now)) {
        let Some((at, plan)) = row.next_due_at.zip(plan_of(book.catalog, row)) else { continue };
        if Shared::of(plan, row, at).is_none_or(|shared| !groups.contains_key(&shared)) {
            continue;
        }
        let Some(candidate) = taken_along(book, row, at) else { continue };
        // The stored instant is a cache: what counts is the day that the plan says now.
        let group = Shared::of(plan, row, candidate.due_at).and_then(|shared| groups.get_mut(&shared));
        if let Some(group) = group {
            group.push(candidate);
        }
    }
    let mut joined = Joined::default();
    for group in groups.into_values() {
        joined.split(group);
    }
    joined.put(book, agenda);
}

/// A cycle that is not due yet, drawn as it would be at its own instant; only where it would be sent then.
fn taken_along(book: &Book<'_>, subscription: &Subscription, at: DateTime<Utc>) -> Option<Candidate> {
    // Whoever is paused until a day is looked at on that day.
    if subscription.status != SubscriptionStatus::Active {
        return None;
    }
    let mut alone = Agenda::default();
    draw_due(book, subscription, at, &mut Tries::new(book, at), &mut alone);
    match (alone.items.as_slice(), alone.advances.as_slice()) {
        ([item], [advance]) => Candidate::of(item, Some(advance.clone())),
        _ => None,
    }
}

impl Candidate {
    fn of(item: &Item, ahead: Option<Advance>) -> Option<Self> {
        let charge = item.charge.as_ref()?;
        let is_new = matches!(item.action, Action::Send { reason: Reason::Due, attempt: 1, .. });
        is_new.then(|| Self { due_at: charge.due_at, item: item.clone(), amount: charge.amount, ahead })
    }
}

/// What the groups make of single cycles.
#[derive(Default)]
struct Joined {
    changed: BTreeMap<(SubscriptionId, u32), Item>,
    ahead: BTreeMap<SubscriptionId, (Item, Advance)>,
}

impl Joined {
    /// Makes payments of a group: as many cycles each as the gateway takes in one, in the order of the book, what is due first.
    fn split(&mut self, group: Vec<Candidate>) {
        let mut one: Vec<Candidate> = Vec::new();
        let mut sum = None;
        for candidate in group {
            let more = sum.map_or(Some(candidate.amount), |sum| fits(one.len(), sum, candidate.amount));
            if more.is_none() {
                self.join(std::mem::take(&mut one));
            }
            sum = Some(more.unwrap_or(candidate.amount));
            one.push(candidate);
        }
        self.join(one);
    }

    /// One payment: the first cycle leads, and carries the others.
    fn join(&mut self, group: Vec<Candidate>) {
        let mut group = group.into_iter();
        // Without a due cycle there is nobody to take the others along: they come at their own hour.
        let Some(mut lead) = group.next().filter(|first| first.ahead.is_none()) else { return };
        let Some(charge) = lead.item.charge.as_mut() else { return };
        let (id, subscription, cycle) = (charge.id, lead.item.subscription.clone(), lead.item.cycle);
        let mut carried: Option<Carried> = None;
        for mut other in group {
            let Some((part, sum)) = part(&other).zip(charge.amount.checked_add(other.amount).ok()) else { continue };
            let before = carried.map_or(Ok(other.amount), |so_far| so_far.amount.checked_add(other.amount));
            let Ok(amount) = before else { continue };
            let parts = carried.map_or(0, |so_far| so_far.parts).saturating_add(1);
            (charge.amount, carried) = (sum, Some(Carried { parts, amount }));
            lead.item.carries.push(part);
            other.item.action = Action::Skip(LeftOut {
                why: SkipWhy::Consolidated,
                reason: format!("collected by charge {id}, with cycle {cycle} of {subscription}"),
            });
            let key = (other.item.subscription.clone(), other.item.cycle);
            match other.ahead {
                Some(advance) => drop(self.ahead.insert(key.0, (other.item, advance))),
                None => drop(self.changed.insert(key, other.item)),
            }
        }
        if carried.is_some() {
            charge.carried = carried;
            self.changed.insert((subscription, cycle), lead.item);
        }
    }

    /// Puts the outcome into the agenda, in the book's order.
    fn put(mut self, book: &Book<'_>, agenda: &mut Agenda) {
        for item in &mut agenda.items {
            if let Some(changed) = self.changed.remove(&(item.subscription.clone(), item.cycle)) {
                *item = changed;
            }
        }
        if self.ahead.is_empty() {
            return;
        }
        let mut items = std::mem::take(&mut agenda.items).into_iter().peekable();
        let mut advances = std::mem::take(&mut agenda.advances).into_iter().peekable();
        for row in book.due {
            while let Some(item) = items.next_if(|item| item.subscription == row.id) {
                agenda.items.push(item);
            }
            agenda.advances.extend(advances.next_if(|advance| advance.subscription == row.id));
            if let Some((item, advance)) = self.ahead.remove(&row.id) {
                agenda.items.push(item);
                agenda.advances.push(advance);
            }
        }
        agenda.items.extend(items);
        agenda.advances.extend(advances);
    }
}

fn part(of: &Candidate) -> Option<Part> {
    let charge = of.item.charge.as_ref()?;
    let (subscription, cycle) = (of.item.subscription.clone(), of.item.cycle);
    Some(Part { charge: charge.id, subscription, cycle, plan: charge.plan.clone(), amount: of.amount })
}

#[cfg(test)]
mod tests;
