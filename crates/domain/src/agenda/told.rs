//! Whether a payer was told of a cycle that has fallen due: without the notice it owes, a cycle waits, and those behind it with it.

use chrono::{DateTime, Utc};

use super::{Action, Book, Cycle, Item};
use crate::money::Money;
use crate::notice::{Early, charged_before, duty, lawful_on, may_be_owed};
use crate::plan::Plan;
use crate::subscription::Subscription;

/// The cycles of a subscription looked at one after the other.
pub(super) struct Told<'a> {
    book: &'a Book<'a>,
    plan: &'a Plan,
    subscription: &'a Subscription,
    /// Can any of them owe a notice?
    asks: bool,
    /// What was charged before the next one.
    last: Option<(u32, Money)>,
}

impl<'a> Told<'a> {
    pub(super) fn of(book: &'a Book<'a>, plan: &'a Plan, subscription: &'a Subscription) -> Self {
        let asks = !matches!(book.notices, super::Notices::Assumed) && may_be_owed(plan, subscription);
        let facts = book.notices.of(&subscription.id);
        let last = if asks { charged_before(plan, subscription, subscription.next_cycle, facts) } else { None };
        Self { book, plan, subscription, asks, last }
    }

    /// May the next cycle be charged now, as far as notices go? A late notice makes its day a later one.
    pub(super) fn admits(&mut self, cycle: &mut Cycle, now: DateTime<Utc>) -> Result<(), Early> {
        if !self.asks {
            return Ok(());
        }
        if let Some(duty) = duty(self.plan, self.subscription, cycle, self.last) {
            let lawful = lawful_on((self.plan, self.subscription), cycle, &duty, &self.book.notices, now)?;
            cycle.occurrence.submit_on = lawful;
        }
        if cycle.left_out.is_none() && cycle.price.is_ok() && !cycle.amount.is_zero() {
            self.last = Some((cycle.occurrence.index, cycle.amount));
        }
        Ok(())
    }
}

impl Early {
    /// What the agenda says of the cycle.
    pub(super) fn item(self, plan: &Plan, subscription: &Subscription, cycle: &Cycle) -> Item {
        let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
        let until = self.until.and_then(|on| zone.instant(on, plan.charge_at).ok());
        Item {
            subscription: subscription.id.clone(),
            cycle: cycle.occurrence.index,
            charge: Some(cycle.charge(plan, subscription)),
            applied: Vec::new(),
            carries: Vec::new(),
            action: Action::Wait { why: self.why, until },
        }
    }
}
