//! What becomes of a total that is paid in parts: every minor unit of it is collected, to come, or named as not collected.
//!
//! A part that is left out is not made up for by a later one: its date has its amount, agreed with the customer or written by hand.
//! So whoever leaves one out is told what it comes to, before and after.

use chrono::{DateTime, Utc};

use crate::agenda::{cycles, resume};
use crate::money::Money;
use crate::plan::Plan;
use crate::subscription::{Subscription, SubscriptionStatus};

pub use crate::installments::forgone;

/// The account of one total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// What is to be collected in all, without what was paid elsewhere.
    pub owed: Money,
    /// What was collected of it, or is under way.
    pub taken: Money,
    /// What the parts to come add up to. Of a paused subscription without an end: if it were resumed now.
    pub to_come: Money,
    /// The rest: left out, credited, failed or given up.
    pub not_collected: Money,
}

impl Account {
    /// The account of a subscription's total, of which `taken` was collected or is under way, in minor units; `None` where its
    /// plan collects no total.
    ///
    /// # Errors
    /// A sentence when the plan has no answer for the subscription.
    pub fn of(
        plan: &Plan,
        subscription: &Subscription,
        taken: i64,
        now: DateTime<Utc>,
    ) -> Option<Result<Self, String>> {
        let parts = plan.parts_of_total()?;
        let account = || {
            let shares = parts.shares(&subscription.terms, plan.currency);
            let owed = shares.map_err(|wrong| format!("the subscription's {} {}", wrong.field, wrong.message))?.owed();
            let (taken, to_come) = (Money::new(taken, plan.currency), to_come(plan, subscription, now)?);
            let not_collected = owed.checked_sub(taken).and_then(|rest| rest.checked_sub(to_come));
            Ok(Self { owed, taken, to_come, not_collected: not_collected.map_err(|error| error.to_string())? })
        };
        Some(account())
    }

    /// How much less of the total is collected than by another account of it; below zero for more.
    #[must_use]
    pub fn forgone_since(&self, before: &Self) -> Option<Money> {
        self.not_collected.checked_sub(before.not_collected).ok().filter(|less| !less.is_zero())
    }

    /// The account in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { owed, taken, to_come, not_collected } = self;
        let sums =
            format!("Of the total, {owed} to be collected here: {taken} collected or under way, {to_come} to come");
        if not_collected.is_zero() {
            return format!("{sums}.");
        }
        if not_collected.is_positive() {
            return format!("{sums}, {not_collected} not collected (left out, credited, failed or taken back).");
        }
        let excess = Money::new(not_collected.minor().saturating_neg(), not_collected.currency());
        format!("{sums}, {excess} more than the total: it is set aside before it collects them.")
    }
}

/// What the parts to come add up to.
fn to_come(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> Result<Money, String> {
    let nothing = Money::new(0, plan.currency);
    let from = match subscription.status {
        SubscriptionStatus::Active | SubscriptionStatus::Quarantined => subscription.next_cycle,
        SubscriptionStatus::Paused if subscription.wakes_by_itself() || subscription.amendments.unpaid.is_some() => {
            subscription.next_cycle
        }
        SubscriptionStatus::Paused => resume(plan, subscription, true, now)?.next_cycle,
        SubscriptionStatus::Cancelled | SubscriptionStatus::Ended => return Ok(nothing),
    };
    let mut sum = nothing;
    for cycle in cycles(plan, subscription, from)? {
        let cycle = cycle?;
        // An amount outside the plan's bounds waits for a person, and is collected by their word.
        if cycle.left_out.is_none() && (cycle.price.is_ok() || cycle.out_of_bounds) {
            sum = sum.checked_add(cycle.amount).map_err(|error| error.to_string())?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installments::InstallmentsSpec;
    use crate::money::Currency;
    use crate::plan::{AmountSpec, PlanSpec, ScheduleSpec};
    use crate::subscription::tests::sample;
    use crate::subscription::{Adjustment, AdjustmentKind, Override, Ruling};

    fn plan(total: &str, count: u16, remainder: &str) -> Plan {
        let spec = PlanSpec {
            id: "wellness".into(),
            name: "Wellness".into(),
            kind: "installments".into(),
            status: "active".into(),
            schedule: ScheduleSpec {
                every: "1 month".into(),
                time_zone: "UTC".into(),
                charge_at: "08:00".into(),
                ..ScheduleSpec::default()
            },
            amount: AmountSpec { currency: "USD".into(), ..AmountSpec::default() },
            installments: Some(InstallmentsSpec {
                total: total.into(),
                count: Some(count.to_string()),
                remainder: Some(remainder.into()),
                ..InstallmentsSpec::default()
            }),
            ..PlanSpec::default()
        };
        Plan::from_spec(&spec, 1).unwrap()
    }

    fn now() -> DateTime<Utc> {
        "2027-01-01T00:00:00Z".parse().unwrap()
    }

    fn account(plan: &Plan, subscription: &Subscription, taken: i64) -> Account {
        let account = Account::of(plan, subscription, taken, now()).unwrap().unwrap();
        let sum = account.taken.checked_add(account.to_come).unwrap().checked_add(account.not_collected).unwrap();
        assert_eq!(sum, account.owed, "every minor unit is somewhere");
        account
    }

    fn skips(subscription: &mut Subscription, cycle: u32) {
        let skip = Override { ruling: Ruling::Skip, reason: String::new(), by: "ann".into(), at: now() };
        subscription.amendments.overrides.insert(cycle, skip);
    }

    #[test]
    fn whatever_is_left_out_of_a_total_is_named_to_the_cent() {
        for remainder in ["spread", "first", "last"] {
            for count in [1, 2, 3, 7, 12] {
                let plan = plan("1000.01", count, remainder);
                let shares = plan.parts_of_total().unwrap().shares(&sample().terms, plan.currency).unwrap();
                let share = |k: u32| shares.amount(k).unwrap().minor();
                let of =
                    |picked: &dyn Fn(u32) -> bool| (0..count.into()).filter(|k| picked(*k)).map(share).sum::<i64>();
                // Each set of parts that are left out, at each place that the subscription may stand at.
                for left_out in 0..(1_u32 << count.min(7)) {
                    let out = |k: u32| left_out & (1 << k) != 0;
                    for stands in 0..=u32::from(count) {
                        let mut subscription = Subscription { next_cycle: stands, ..sample() };
                        (0..count.into()).filter(|k| out(*k)).for_each(|k| skips(&mut subscription, k));
                        let collected = of(&|k| k < stands && !out(k));
                        let account = account(&plan, &subscription, collected);
                        assert_eq!(
                            account.not_collected.minor(),
                            of(&out),
                            "{count} {remainder} {left_out:b} {stands}"
                        );
                        assert_eq!(account.to_come.minor(), of(&|k| k >= stands && !out(k)));
                    }
                }
            }
        }
    }

    #[test]
    fn a_pause_a_credit_an_end_and_a_cancellation_are_told_by_what_they_cost() {
        let plan = plan("100.00", 3, "last");
        let whole = account(&plan, &sample(), 0);
        assert_eq!(
            whole.sentence(),
            "Of the total, USD 100.00 to be collected here: USD 0.00 collected or under way, USD 100.00 to come."
        );
        let less = |change: &dyn Fn(&mut Subscription)| {
            let mut changed = sample();
            change(&mut changed);
            let account = account(&plan, &changed, 0);
            account.forgone_since(&whole).map(|less| (forgone(less), whole.forgone_since(&account).map(forgone)))
        };
        let named = |less: &str| {
            Some((
                format!("USD {less} of its total is not collected"),
                Some(format!("USD {less} more of its total is collected")),
            ))
        };
        assert_eq!(less(&|_| ()), None);
        assert_eq!(less(&|changed| skips(changed, 2)), named("33.34"));
        // From 31 January on: the pause takes January's and February's.
        assert_eq!(
            less(&|changed| {
                changed.status = SubscriptionStatus::Paused;
                changed.amendments.resume_on = "2027-03-15".parse().ok();
            }),
            named("66.66")
        );
        assert_eq!(less(&|changed| changed.amendments.last_on = "2027-03-30".parse().ok()), named("33.34"));
        let amount = Money::new(1_000, Currency::USD);
        let (kind, reason, by) = (AdjustmentKind::Credit, String::new(), "ann".to_owned());
        let credit = Adjustment { id: 1, kind, amount, left: amount, settles: None, reason, by, at: now() };
        assert_eq!(less(&|changed| changed.amendments.open.push(credit.clone())), named("10.00"));
        assert_eq!(less(&|changed| changed.status = SubscriptionStatus::Cancelled), named("100.00"));
        let overdrawn = account(&plan, &sample(), 5_000);
        assert!(overdrawn.sentence().contains("USD 50.00 more than the total"), "{}", overdrawn.sentence());
    }
}
