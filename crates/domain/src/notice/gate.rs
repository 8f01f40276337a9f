//! The cycles of a subscription looked at one after the other: what each owes its payer, and from which day it may be charged.

use chrono::{DateTime, NaiveDate, Utc};

use super::{Duty, Early, Notices, charged_before, day_of, duty, lawful_on, may_be_owed};
use crate::agenda::Cycle;
use crate::money::Money;
use crate::plan::Plan;
use crate::subscription::Subscription;

/// A cycle that owes a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// What it owes.
    pub duty: Duty,
    /// The day from which it may be charged, its own or a later one; or why it may not be yet.
    pub lawful: Result<NaiveDate, Early>,
    /// Can the payer still be told of it in time?
    pub in_time: bool,
}

impl Owed {
    /// The day on which it is charged, as far as that is known: its own, or a later one where its notice came late.
    #[must_use]
    pub fn day(&self) -> Option<NaiveDate> {
        match &self.lawful {
            Ok(day) => Some(*day),
            Err(early) => early.until,
        }
    }

    /// What that makes of a charge planned for this day, as a sentence part; nothing where its payer was told in time.
    #[must_use]
    pub fn in_words(&self, on: NaiveDate) -> Option<String> {
        match &self.lawful {
            Ok(day) if *day > on => Some(format!("its notice came late: charged from {day} on ({})", self.duty.rule)),
            Ok(_) => None,
            Err(early) if early.until.is_none() && self.in_time => {
                let from = self.duty.earliest(on).map(|from| format!("from {from} on and ")).unwrap_or_default();
                let latest = self.duty.latest(on);
                Some(format!("owes a notice, which has to reach the payer {from}by {latest} ({})", self.duty.rule))
            }
            Err(early) => Some(early.why.clone()),
        }
    }
}

/// What holds cycles back for want of a notice, from one cycle to the next.
#[derive(Debug)]
pub struct Gate<'a> {
    plan: &'a Plan,
    subscription: &'a Subscription,
    notices: Notices<'a>,
    /// Can any of them owe a notice?
    asks: bool,
    /// What was charged before the next one.
    last: Option<(u32, Money)>,
}

impl<'a> Gate<'a> {
    /// Before the cycle `from`.
    #[must_use]
    pub fn before(plan: &'a Plan, subscription: &'a Subscription, from: u32, notices: Notices<'a>) -> Self {
        let asks = !matches!(notices, Notices::Assumed) && may_be_owed(plan, subscription);
        let facts = notices.of(&subscription.id);
        let last = if asks { charged_before(plan, subscription, from, facts) } else { None };
        Self { plan, subscription, notices, asks, last }
    }

    /// What the next cycle owes at this moment; nothing where it owes no notice.
    pub fn next(&mut self, cycle: &Cycle, now: DateTime<Utc>) -> Option<Owed> {
        if !self.asks {
            return None;
        }
        let (plan, subscription) = (self.plan, self.subscription);
        let owed = duty(plan, subscription, cycle, self.last).map(|duty| {
            let lawful = lawful_on((plan, subscription), cycle, &duty, &self.notices, now);
            let in_time = day_of(plan, subscription, now) <= duty.latest(cycle.occurrence.submit_on);
            Owed { duty, lawful, in_time }
        });
        if cycle.left_out.is_none() && cycle.price.is_ok() && !cycle.amount.is_zero() {
            self.last = Some((cycle.occurrence.index, cycle.amount));
        }
        owed
    }

    /// May the next cycle be charged now, as far as notices go? A late notice makes its day a later one.
    ///
    /// # Errors
    /// [`Early`] while it may not be.
    pub fn admits(&mut self, cycle: &mut Cycle, now: DateTime<Utc>) -> Result<(), Early> {
        if let Some(owed) = self.next(cycle, now) {
            cycle.occurrence.submit_on = owed.lawful?;
        }
        Ok(())
    }
}
