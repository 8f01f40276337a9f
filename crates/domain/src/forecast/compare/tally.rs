//! Sums of a comparison, by group and currency.

use std::collections::BTreeMap;

use crate::money::{Currency, Money};

use super::{Difference, Reason};

/// What a sum is of: a group's name where rows are told apart, and a currency.
pub type Group = (String, Currency);

/// Sums of one group in one currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Cycles that were scheduled.
    pub foreseen: u64,
    /// What was scheduled, minor units.
    pub scheduled: i128,
    /// What was collected, by the cycles that were looked at, minor units.
    pub collected: i128,
    /// Cycles and minor units by reason.
    pub reasons: BTreeMap<Reason, (u64, i128)>,
}

impl Sums {
    /// The sum of its reasons, minor units.
    #[must_use]
    pub fn named(&self) -> i128 {
        self.reasons.values().fold(0, |sum, (_, minor)| sum.saturating_add(*minor))
    }
}

/// Everything that was compared so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    groups: BTreeMap<Group, Sums>,
}

/// An amount as money; sums of a book fit.
fn wide(money: Money) -> i128 {
    i128::from(money.minor())
}

impl Tally {
    /// Adds a cycle to a group.
    pub fn add(&mut self, group: &str, difference: &Difference) {
        let mut sums = |currency: Currency, change: &mut dyn FnMut(&mut Sums)| {
            change(self.groups.entry((group.to_owned(), currency)).or_default());
        };
        if let Some(scheduled) = difference.scheduled {
            sums(scheduled.currency(), &mut |sums| {
                sums.foreseen = sums.foreseen.saturating_add(1);
                sums.scheduled = sums.scheduled.saturating_add(wide(scheduled));
            });
        }
        if let Some(collected) = difference.collected {
            sums(collected.currency(), &mut |sums| {
                sums.collected = sums.collected.saturating_add(wide(collected));
            });
        }
        for (reason, amount) in &difference.parts {
            sums(amount.currency(), &mut |sums| {
                let (count, minor) = sums.reasons.entry(*reason).or_default();
                *count = count.saturating_add(1);
                *minor = minor.saturating_add(wide(*amount));
            });
        }
    }

    /// The sums of each group and currency, in order.
    #[must_use]
    pub const fn groups(&self) -> &BTreeMap<Group, Sums> {
        &self.groups
    }

    /// The sums of each currency.
    #[must_use]
    pub fn by_currency(&self) -> BTreeMap<Currency, Sums> {
        let mut all: BTreeMap<Currency, Sums> = BTreeMap::new();
        for ((_, currency), sums) in &self.groups {
            let whole = all.entry(*currency).or_default();
            whole.foreseen = whole.foreseen.saturating_add(sums.foreseen);
            whole.scheduled = whole.scheduled.saturating_add(sums.scheduled);
            whole.collected = whole.collected.saturating_add(sums.collected);
            for (reason, (count, minor)) in &sums.reasons {
                let (its_count, its_minor) = whole.reasons.entry(*reason).or_default();
                *its_count = its_count.saturating_add(*count);
                *its_minor = its_minor.saturating_add(*minor);
            }
        }
        all
    }
}
