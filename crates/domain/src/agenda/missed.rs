//! Missed cycles: which of those that are due are charged after a downtime, by the plan's rule.
//!
//! A cycle was missed when its day lies before today, in the payer's zone, while a later cycle of the subscription is due too. One
//! that is merely late is not: it is charged whatever the rule says. Nor was one that had to wait for a network's limit when
//! it fell due: nobody forgot it. Cycles that a person or a pause left out are not asked about.

use chrono::{DateTime, NaiveDate, Utc};

use super::cycles::part_left_out;
use super::{CATCH_UP_MAX, Cycle, LeftOut, cycles};
use crate::charge::SkipWhy;
use crate::plan::Plan;
use crate::subscription::Subscription;
use crate::term::CatchUp;

/// What becomes of a cycle that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is charged.
    Charged,
    /// It is recorded as skipped: by the plan's rule, a person or a pause.
    LeftOut(LeftOut),
}

/// Today, as the payer's calendar has it.
pub(super) fn today(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> NaiveDate {
    let zone = subscription.zone.as_ref().unwrap_or(&plan.zone);
    // Beyond the years that zones cover, the day in Greenwich is as good as any.
    zone.civil(now).map_or_else(|_| now.date_naive(), |civil| civil.date)
}

/// Was this cycle missed, being the `place`-th of so many that are due? A person who said that it is charged has answered.
fn was_missed(cycle: &Cycle, is_newest: bool, today: NaiveDate, subscription: &Subscription) -> bool {
    let agreed = subscription.owed_until.is_some_and(|until| cycle.occurrence.charge_at <= until);
    !is_newest && falls_on(cycle) < today && !agreed
}

/// The day by which a cycle is late: its own, or a later one on which it is charged.
pub(super) fn falls_on(cycle: &Cycle) -> NaiveDate {
    cycle.occurrence.date.max(cycle.occurrence.submit_on)
}

/// What becomes of each due cycle, oldest first; `waited` says of one, and of how many older ones that had to wait it stands behind,
/// whether it had to wait for a network's limit. An older one that was missed took nothing of any limit.
///
/// # Errors
/// A sentence when the plan leaves it to a person.
pub(super) fn fates(
    plan: &Plan,
    subscription: &Subscription,
    due: &[Cycle],
    now: DateTime<Utc>,
    waited: impl Fn(usize, &Cycle) -> bool,
) -> Result<Vec<Fate>, String> {
    let today = today(plan, subscription, now);
    let mut ahead = 0_usize;
    let waited: Vec<bool> = due
        .iter()
        .map(|cycle| {
            let waited = waited(ahead, cycle);
            ahead = ahead.saturating_add(usize::from(waited));
            waited
        })
        .collect();
    let newest = due.len().saturating_sub(1);
    let missed = |place: usize, cycle: &Cycle| {
        was_missed(cycle, place == newest, today, subscription) && !waited.get(place).copied().unwrap_or_default()
    };
    let count = due.iter().enumerate().filter(|(place, cycle)| missed(*place, cycle)).count();
    let skipped = |cycle: &Cycle| {
        let rule = format!("missed; the plan's catch_up is {}", plan.catch_up.as_str());
        let reason = if plan.is_in_parts() { part_left_out(&rule, cycle.price_alone()) } else { rule };
        Fate::LeftOut(LeftOut { why: SkipWhy::Missed, reason })
    };
    let fate = |(place, cycle): (usize, &Cycle)| match plan.catch_up {
        CatchUp::Latest if missed(place, cycle) => skipped(cycle),
        // Once something was missed, the newest cycle is forgiven too unless it is today's: the customer is not billed for the past.
        CatchUp::Forgive if count > 0 && (missed(place, cycle) || (place == newest && falls_on(cycle) < today)) => {
            skipped(cycle)
        }
        CatchUp::All | CatchUp::Latest | CatchUp::Forgive | CatchUp::Ask => Fate::Charged,
    };
    if plan.catch_up == CatchUp::Ask && count > 1 {
        let first = due.first().map(|cycle| cycle.occurrence.date.to_string()).unwrap_or_default();
        return Err(format!(
            "{count} cycles were missed since {first}: a person must say whether they are charged (resume with \
             --with-missed) or not (--from-today)"
        ));
    }
    Ok(due.iter().enumerate().map(fate).collect())
}

/// How many missed cycles a person must decide about before the subscription is charged again; none where the plan's rule
/// decides. More than [`CATCH_UP_MAX`] are not counted.
///
/// # Errors
/// A sentence when the plan's calendar has no answer.
pub fn questions(plan: &Plan, subscription: &Subscription, now: DateTime<Utc>) -> Result<usize, String> {
    if plan.catch_up != CatchUp::Ask {
        return Ok(0);
    }
    let most = usize::try_from(CATCH_UP_MAX).unwrap_or(usize::MAX).saturating_add(1);
    let mut due = Vec::new();
    for cycle in cycles(plan, subscription, subscription.next_cycle)?.take(most) {
        let cycle = cycle?;
        if cycle.occurrence.charge_at > now {
            break;
        }
        if cycle.left_out.is_none() {
            due.push(cycle);
        }
    }
    let (today, newest) = (today(plan, subscription, now), due.len().saturating_sub(1));
    let missed = |(place, cycle): (usize, &Cycle)| was_missed(cycle, place == newest, today, subscription);
    let count = due.iter().enumerate().filter(|one| missed(*one)).count();
    Ok(if count > 1 { count } else { 0 })
}
