//! Where trying ends without another decline: the instrument may never be tried again, a hold about the person ends it, or nothing can be
//! tried before the case's end.
//!
//! What a person keeps back in one plan or one subscription (a hold, a pause) ends nothing: it waits, and goes on where it stood. What keeps
//! everybody back (the kill switch, a merchant or a currency on hold, a retired plan) ends it with the policy's time for trying.

use chrono::{DateTime, Utc};

use super::{Action, Book, Charging, Hold, Open, Scope, held, instrument, retired, stands_still};
use crate::dunning::GaveUp;
use crate::id::PaymentMethodId;
use crate::plan::Plan;
use crate::rules::Permit;

/// A charge that fails and cannot be tried now waits, unless trying it has ended. Without any method named there is none to try it with.
pub(super) fn or_wait(
    book: &Book<'_>,
    plan: Option<&Plan>,
    open: &Open,
    (method, second): (Option<PaymentMethodId>, Option<PaymentMethodId>),
    now: DateTime<Utc>,
    why: String,
) -> Action {
    if let Some(ended) = by_hold(book, open, now) {
        return ended;
    }
    if held(book, Some(open), &open.subscription).or_else(|| stands_still(Some(open), &open.subscription)).is_some() {
        return Action::wait(why);
    }
    if let Some(because) = plan.and_then(retired) {
        let is_over = time_is_over(open, now);
        return if is_over { Action::GiveUp { why: GaveUp::PlanRetired, because } } else { Action::wait(why) };
    }
    let methods = [method, second];
    let blocked = methods.into_iter().flatten().find(|method| {
        matches!(
            instrument(book, plan, &open.subscription, Some(*method), now),
            Charging::NotNow(_) | Charging::NoMethod(_)
        )
    });
    let known = blocked.and_then(|method| book.wallet.get(&method));
    let permit = known.map(|known| known.permit(now));
    if matches!(permit, Some(Permit::Never { .. })) {
        return Action::GiveUp { why: GaveUp::NetworkRule, because: why };
    }
    if !is_at_its_end(open, now) {
        return Action::wait(why);
    }
    let gave_up = match (known, permit) {
        (Some(known), _) if known.disputed => GaveUp::Disputed,
        (Some(_), Some(Permit::NotBefore { .. })) => GaveUp::BudgetSpent,
        (Some(_), Some(Permit::Never { .. })) => GaveUp::NetworkRule,
        (Some(_), Some(Permit::Tries { .. }) | None) | (None, _) => GaveUp::NoMethod,
    };
    Action::GiveUp { why: gave_up, because: why }
}

/// The end of a charge that fails by a hold that covers it, if it has one: by what the hold is about, at once; by a hold on everybody, with
/// the policy's time for trying.
fn by_hold(book: &Book<'_>, open: &Open, now: DateTime<Utc>) -> Option<Action> {
    let covering =
        || book.holds.iter().filter(|hold| hold.covers_charge(&open.charge, &open.subscription, &open.payers));
    let ended = |(why, hold): (GaveUp, &Hold)| Action::GiveUp { why, because: hold.in_words() };
    let at_once = covering().find_map(|hold| hold.kind.ends().map(|why| (why, hold)));
    let in_time = || covering().find_map(|hold| outlasted(&hold.scope).map(|why| (why, hold)));
    at_once.or_else(|| in_time().filter(|_| time_is_over(open, now))).map(ended)
}

/// Why a charge ends that a hold of this scope still kept back when its time for trying was over; `None` where it goes on waiting.
const fn outlasted(scope: &Scope) -> Option<GaveUp> {
    match scope {
        Scope::All => Some(GaveUp::KillSwitch),
        Scope::Merchant(_) => Some(GaveUp::MerchantDisabled),
        Scope::Currency(_) => Some(GaveUp::CurrencyDisabled),
        Scope::Plan(_) | Scope::Subscription(_) => None,
    }
}

fn is_at_its_end(open: &Open, now: DateTime<Utc>) -> bool {
    open.charge.tries.episode.as_ref().is_some_and(|episode| episode.ends_at <= now)
}

/// Is the policy's time for trying over? Of a try that a person ordered, and of a charge that failed before there were policies, it never is.
fn time_is_over(open: &Open, now: DateTime<Utc>) -> bool {
    is_at_its_end(open, now) && open.charge.tries.ladder.is_some() && !open.charge.is_by_hand()
}

/// A debit that the rules allow no more waits while its case runs, and has failed by that rule when it is over.
pub(super) fn by_rule_or_wait(open: &Open, now: DateTime<Utc>, rule: String) -> Action {
    match &open.charge.tries.episode {
        Some(episode) if episode.ends_at <= now => Action::GiveUp { why: GaveUp::EntriesSpent, because: rule },
        Some(_) | None => Action::wait(rule),
    }
}

#[cfg(test)]
mod tests;
