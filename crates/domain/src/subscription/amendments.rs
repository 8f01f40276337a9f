//! What people changed about one subscription: cycles left out or moved, credits and charges for the next cycle, a pause with
//! its end, an earlier last day.
//!
//! They are values of the subscription, read by the one walk over its cycles ([`crate::agenda::cycles`]), so that the agenda, a
//! forecast and an explanation cannot disagree about them.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;

use crate::id::{ChargeId, PlanId};
use crate::money::Money;

/// Most adjustments of one subscription that may be open at once: the walk carries them along.
pub const OPEN_MAX: usize = 100;

/// What a person decided about one cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "ruling")]
pub enum Ruling {
    /// It is recorded as skipped and never charged; its number stays used.
    Skip,
    /// It is charged on this day instead, at the plan's hour. Its date, its number and its service period stay.
    Move {
        /// The civil date of the charge, in the payer's zone.
        to: NaiveDate,
    },
}

/// A ruling about one cycle, with who made it and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Override {
    /// What happens to the cycle.
    #[serde(flatten)]
    pub ruling: Ruling,
    /// Why, in words; may be empty.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
}

/// Which way an adjustment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentKind {
    /// The customer pays less.
    Credit,
    /// The customer pays more.
    Charge,
}

impl AdjustmentKind {
    /// The word in commands and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Charge => "charge",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Credit, Self::Charge].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Days of a period that an adjustment settles: paid back by a credit, asked for by a charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settles {
    /// The plan that is settled.
    pub plan: PlanId,
    /// The cycle whose period they belong to.
    pub cycle: u32,
    /// The first of them.
    pub from: NaiveDate,
    /// The first day after them.
    pub to: NaiveDate,
    /// What `of` days cost under that plan.
    pub price: Money,
    /// The days that cost so much.
    pub of: u32,
}

/// A one-off credit or charge. The row is written once; what was used of it stands beside it ([`Applied`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adjustment {
    /// Counts up with each adjustment of the book.
    pub id: i64,
    /// Which way it goes.
    pub kind: AdjustmentKind,
    /// How much it was made for; above zero.
    pub amount: Money,
    /// How much of it no cycle has taken yet.
    pub left: Money,
    /// The days it settles, where a plan was changed in the middle of a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settles: Option<Settles>,
    /// Why, in words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When, UTC.
    pub at: DateTime<Utc>,
}

/// What one cycle took of one adjustment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Which adjustment.
    pub adjustment: i64,
    /// Which way it goes.
    pub kind: AdjustmentKind,
    /// Which cycle.
    pub cycle: u32,
    /// How much of it; above zero.
    pub amount: Money,
    /// Why the adjustment was made.
    pub reason: String,
}

impl Applied {
    /// One-off charges less credits, minor units.
    #[must_use]
    pub fn net<'a>(applied: impl IntoIterator<Item = &'a Self>) -> i64 {
        applied.into_iter().fold(0, |sum, one| match one.kind {
            AdjustmentKind::Credit => sum.saturating_sub(one.amount.minor()),
            AdjustmentKind::Charge => sum.saturating_add(one.amount.minor()),
        })
    }

    /// In a few words: `credit 12 of USD 5.00 (class was cancelled)`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let why = if self.reason.is_empty() { String::new() } else { format!(" ({})", self.reason) };
        format!("{} {} of {}{why}", self.kind.as_str(), self.adjustment, self.amount)
    }
}

/// Everything that people changed about one subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Amendments {
    /// Counts up with each change: a change prepared against an older picture is refused.
    pub revision: u32,
    /// Cycles that are left out or moved, past ones included where they are known.
    pub overrides: BTreeMap<u32, Override>,
    /// Credits and charges that are not used up, oldest first.
    pub open: Vec<Adjustment>,
    /// What recorded cycles took of adjustments, by cycle.
    pub applied: Vec<Applied>,
    /// A paused subscription is charged again from this civil date on, by itself.
    pub resume_on: Option<NaiveDate>,
    /// No cycle falls due after this civil date: a person ended it there. The agreed end stays beside it.
    pub last_on: Option<NaiveDate>,
    /// It is paused because this charge failed for good, under a policy that says `mark_unpaid`: what falls due meanwhile is owed.
    pub unpaid: Option<ChargeId>,
}

/// What a cycle costs once adjustments are swept into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Price plus charges minus credits; never below zero.
    pub amount: Money,
    /// What it took of which adjustment.
    pub applied: Vec<Applied>,
}

impl Amendments {
    /// Is there nothing that changes a cycle to come or explains one that was?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.overrides.is_empty()
            && self.open.is_empty()
            && self.applied.is_empty()
            && self.resume_on.is_none()
            && self.last_on.is_none()
            && self.unpaid.is_none()
    }

    /// Sweeps open adjustments into a cycle of this price, and takes from them what it used.
    ///
    /// Charges first, oldest first, each whole, as long as the sum is something the gateway can be asked for; then credits, oldest
    /// first, as far as they reach. What does not fit waits for the cycle after. Adjustments in another currency wait.
    #[must_use]
    pub fn sweep(open: &mut Vec<Adjustment>, cycle: u32, price: Money, fits: impl Fn(Money) -> bool) -> Swept {
        let mut swept = Swept { amount: price, applied: Vec::new() };
        for one in open.iter_mut().filter(|one| one.kind == AdjustmentKind::Charge) {
            let sum = swept.amount.checked_add(one.left).ok().filter(|sum| fits(*sum));
            if let Some(sum) = sum {
                swept.take(one, cycle, one.left, sum);
            }
        }
        for one in open.iter_mut().filter(|one| one.kind == AdjustmentKind::Credit) {
            let used = if one.left.minor() > swept.amount.minor() { swept.amount } else { one.left };
            let rest = swept.amount.checked_sub(used).ok().filter(|_| one.left.currency() == used.currency());
            if let Some(rest) = rest {
                swept.take(one, cycle, used, rest);
            }
        }
        open.retain(|one| one.left.is_positive());
        swept
    }

    /// A cycle was recorded with these: they are used by so much.
    pub fn took(&mut self, applied: &[Applied]) {
        for taken in applied {
            for one in self.open.iter_mut().filter(|one| one.id == taken.adjustment) {
                one.left = one.left.checked_sub(taken.amount).unwrap_or(one.left);
            }
        }
        self.open.retain(|one| one.left.is_positive());
        self.applied.extend_from_slice(applied);
    }

    /// What a recorded cycle of this price was recorded with.
    #[must_use]
    pub fn recorded(&self, cycle: u32, price: Money) -> Swept {
        let applied: Vec<Applied> = self.applied.iter().filter(|one| one.cycle == cycle).cloned().collect();
        let amount = applied.iter().fold(price, |sum, one| {
            let next = match one.kind {
                AdjustmentKind::Credit => sum.checked_sub(one.amount),
                AdjustmentKind::Charge => sum.checked_add(one.amount),
            };
            next.unwrap_or(sum)
        });
        Swept { amount, applied }
    }
}

impl Swept {
    fn take(&mut self, one: &mut Adjustment, cycle: u32, used: Money, amount: Money) {
        let Ok(left) = one.left.checked_sub(used) else { return };
        if !used.is_positive() {
            return;
        }
        (one.left, self.amount) = (left, amount);
        let (adjustment, kind, reason) = (one.id, one.kind, one.reason.clone());
        self.applied.push(Applied { adjustment, kind, cycle, amount: used, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn one(id: i64, kind: AdjustmentKind, minor: i64) -> Adjustment {
        let at = DateTime::UNIX_EPOCH;
        Adjustment {
            id,
            kind,
            amount: usd(minor),
            left: usd(minor),
            settles: None,
            reason: String::new(),
            by: String::new(),
            at,
        }
    }

    fn swept(open: &mut Vec<Adjustment>, price: i64) -> (i64, Vec<(i64, i64)>) {
        let swept = Amendments::sweep(open, 3, usd(price), |sum| sum.minor() <= 99_999_999);
        (swept.amount.minor(), swept.applied.iter().map(|one| (one.adjustment, one.amount.minor())).collect())
    }

    #[test]
    fn charges_come_first_and_credits_reach_no_lower_than_zero() {
        let mut open = vec![one(1, AdjustmentKind::Credit, 10_000), one(2, AdjustmentKind::Charge, 1_250)];
        assert_eq!(swept(&mut open, 7_900), (0, vec![(2, 1_250), (1, 9_150)]));
        assert_eq!(open.iter().map(|one| (one.id, one.left.minor())).collect::<Vec<_>>(), [(1, 850)], "the rest waits");
        assert_eq!(swept(&mut open, 7_900), (7_050, vec![(1, 850)]));
        assert_eq!(swept(&mut open, 7_900), (7_900, vec![]));
    }

    #[test]
    fn a_free_cycle_uses_no_credit() {
        let mut open = vec![one(1, AdjustmentKind::Credit, 500)];
        assert_eq!(swept(&mut open, 0), (0, vec![]));
        assert_eq!(open.len(), 1);
    }

    #[test]
    fn a_charge_that_would_pass_the_gateways_limit_waits_whole() {
        let mut open = vec![one(1, AdjustmentKind::Charge, 99_999_000), one(2, AdjustmentKind::Charge, 100)];
        assert_eq!(swept(&mut open, 7_900), (8_000, vec![(2, 100)]));
        assert_eq!(swept(&mut open, 900), (99_999_900, vec![(1, 99_999_000)]));
    }

    #[test]
    fn money_of_another_currency_is_left_alone() {
        let mut open = vec![one(1, AdjustmentKind::Credit, 500), one(2, AdjustmentKind::Charge, 500)];
        for one in &mut open {
            one.left = Money::new(500, Currency::parse("JPY").unwrap());
        }
        assert_eq!(swept(&mut open, 7_900), (7_900, vec![]));
        assert_eq!(open.len(), 2);
    }
}
