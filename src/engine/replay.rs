//! A dunning policy replayed on what really happened: which tries it would have made, and what is known of their outcomes. Reads only.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::agenda::{Attempted, Became, Comes, Difference, Replay, replay};
use domain::charge::Charge;
use domain::dunning::Policy;
use domain::id::{ChargeId, PolicyId};
use domain::money::Currency;
use domain::plan::Catalog;
use domain::verdict::DeclineClass;

use crate::ports::{AttemptRecord, ChargeFilter, Cursor, Listed, Store, StoreError};

/// Charges read at a time.
const PAGE: u64 = 500;
/// A millionth is the unit of chances.
const WHOLE: i128 = 1_000_000;

/// Which cases a policy is replayed on.
#[derive(Debug, Clone)]
pub struct Span {
    /// The policy of the plans whose charges are looked at; every plan's where it is `None`.
    pub of: Option<PolicyId>,
    /// First due date.
    pub from: NaiveDate,
    /// Last due date.
    pub until: NaiveDate,
}

/// Retries that were really made after one class of decline, by the attempt's number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sample {
    made: u64,
    paid: u64,
}

/// Cases that come to the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub cases: u64,
    /// What their charges amount to, in minor units.
    pub minor: i64,
}

/// What is supposed of tries that were never made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// What they would collect, in minor units.
    pub minor: i64,
    /// The fewest real tries that one of the chances rests upon.
    pub n: u64,
    /// Cases of which nothing can be supposed, because no such try was ever made.
    pub without: u64,
}

/// Cases whose first own try has this number, after this class, with so many own tries.
type Chain = (Currency, DeclineClass, u16, u16);

/// What a replay came to.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// Cases by what they come to.
    pub sums: BTreeMap<(Currency, Comes), Sum>,
    /// Retries by how they differ.
    pub tries: BTreeMap<Difference, u64>,
    /// Charges or attempts that cannot be read: they are left out.
    pub unreadable: u64,
    samples: BTreeMap<(DeclineClass, u16), Sample>,
    chains: BTreeMap<Chain, Sum>,
}

impl Replayed {
    /// So many retries that differ so.
    #[must_use]
    pub fn tries(&self, difference: Difference) -> u64 {
        self.tries.get(&difference).copied().unwrap_or_default()
    }

    /// What is supposed of the cases whose outcome is not known, by the span's own tries after the same class with the same number.
    #[must_use]
    pub fn estimate(&self, currency: Currency) -> Option<Estimate> {
        let mut all: Option<Estimate> = None;
        for ((of, class, number, count), sum) in &self.chains {
            if *of != currency {
                continue;
            }
            let so_far = all.get_or_insert(Estimate { n: u64::MAX, ..Estimate::default() });
            let mut missed = WHOLE;
            let mut n = u64::MAX;
            for number in *number..number.saturating_add(*count) {
                let sample = self.samples.get(&(*class, number)).copied().unwrap_or_default();
                n = n.min(sample.made);
                let fails = i128::from(sample.made.saturating_sub(sample.paid));
                missed = missed.saturating_mul(fails).checked_div(i128::from(sample.made)).unwrap_or(missed);
            }
            if n == 0 {
                so_far.without = so_far.without.saturating_add(sum.cases);
                continue;
            }
            let hit = i128::from(sum.minor).saturating_mul(WHOLE.saturating_sub(missed)).checked_div(WHOLE);
            let hit = hit.and_then(|hit| i64::try_from(hit).ok()).unwrap_or_default();
            so_far.minor = so_far.minor.saturating_add(hit);
            so_far.n = so_far.n.min(n);
        }
        all.map(|one| if one.n == u64::MAX { Estimate { n: 0, ..one } } else { one })
    }

    fn count(&mut self, charge: &Charge, attempts: &[Attempted], replay: &Replay) {
        let currency = charge.amount.currency();
        let add = |sum: &mut Sum| {
            sum.cases = sum.cases.saturating_add(1);
            sum.minor = sum.minor.saturating_add(charge.amount.minor());
        };
        add(self.sums.entry((currency, replay.comes)).or_default());
        for retry in &replay.retries {
            let count = self.tries.entry(retry.difference).or_default();
            *count = count.saturating_add(1);
        }
        let mut numbered = attempts.iter().zip(1_u16..);
        let mut before = numbered.next().map(|(first, _)| first.became);
        for (attempt, number) in numbered {
            if let (Some(Became::Declined(class)), Became::Paid | Became::Declined(_)) = (before, attempt.became) {
                let sample = self.samples.entry((class, number)).or_default();
                sample.made = sample.made.saturating_add(1);
                sample.paid = sample.paid.saturating_add(u64::from(attempt.became == Became::Paid));
            }
            before = Some(attempt.became);
        }
        let mut own =
            replay.retries.iter().filter(|one| one.by_policy_at.is_some() && one.difference != Difference::Same);
        if let (Comes::NotKnown, Some(first)) = (replay.comes, own.clone().next()) {
            let count = u16::try_from(own.by_ref().count()).unwrap_or(u16::MAX);
            add(self.chains.entry((currency, first.class, first.number, count)).or_default());
        }
    }
}

/// Replays a policy, in the place of the one that the plans in question name. `told` hears of every case with its charge.
///
/// # Errors
/// [`StoreError`].
pub async fn replay_policy(
    store: &dyn Store,
    policy: &Policy,
    span: &Span,
    mut told: impl FnMut(&Charge, &Replay),
) -> Result<Replayed, StoreError> {
    let old = store.catalog().await?;
    let new = supposing(&old, policy, span);
    let filter = ChargeFilter { from: Some(span.from), until: Some(span.until), ..ChargeFilter::default() };
    let mut replayed = Replayed::default();
    let mut after: Cursor = None;
    loop {
        let page = store.list_charges(&filter, &after, PAGE).await?;
        let mut failed = Vec::new();
        for row in page.rows {
            match row {
                Listed::Whole(charge) if charge.tries.declined > 0 && concerns(&old, span, &charge) => {
                    failed.push(charge);
                }
                Listed::Whole(_) => {}
                Listed::Damaged(_) => replayed.unreadable = replayed.unreadable.saturating_add(1),
            }
        }
        let ids: Vec<_> = failed.iter().map(|charge| charge.subscription.clone()).collect();
        let mut subscriptions = store.subscriptions_of(&ids).await?;
        for charge in &failed {
            let attempts = attempts_of(store, charge.id).await?;
            let subscription = match subscriptions.get(&charge.subscription) {
                Some(Listed::Whole(subscription)) => Some(subscription),
                Some(Listed::Damaged(_)) | None => None,
            };
            let (Some(attempts), Some(subscription)) = (attempts, subscription) else {
                replayed.unreadable = replayed.unreadable.saturating_add(1);
                continue;
            };
            if let Some(replay) = replay((&old, &new), subscription, charge, &attempts) {
                replayed.count(charge, &attempts, &replay);
                told(charge, &replay);
            }
        }
        subscriptions.clear();
        after = page.next;
        if after.is_none() {
            return Ok(replayed);
        }
    }
}

/// The catalog with the policy in the place of those that are replayed.
fn supposing(old: &Catalog, policy: &Policy, span: &Span) -> Catalog {
    let mut new = old.clone();
    new.suppose_policy(policy.clone());
    for plan in new.plans.values_mut() {
        if span.of.as_ref().is_none_or(|of| plan.dunning == *of) {
            plan.dunning = policy.id.clone();
        }
    }
    new
}

fn concerns(catalog: &Catalog, span: &Span, charge: &Charge) -> bool {
    let plan = catalog.plans.get(&charge.plan);
    plan.is_some_and(|plan| span.of.as_ref().is_none_or(|of| plan.dunning == *of))
}

/// The attempts of a charge in order; `None` where one cannot be read.
async fn attempts_of(store: &dyn Store, id: ChargeId) -> Result<Option<Vec<Attempted>>, StoreError> {
    let rows = store.list_attempts(id).await?;
    Ok(rows.into_iter().map(|row| row.whole().map(|row| attempted(&row))).collect())
}

fn attempted(row: &AttemptRecord) -> Attempted {
    let became = match (row.class, row.state.as_str()) {
        (Some(class), _) => Became::Declined(class),
        (None, "succeeded") => Became::Paid,
        (None, _) => Became::Open,
    };
    Attempted { at: row.created_at, learnt_at: row.updated_at, became }
}
