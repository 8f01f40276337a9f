//! Where trying ends without another decline: the instrument may never be tried again, or nothing can be tried before the case's end.
//!
//! What a person or a brake keeps back (a hold, a pause, a retired plan) ends nothing: it waits, and goes on where it stood.

use chrono::{DateTime, Utc};

use super::{Action, Book, Charging, Open, instrument, waits};
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
    if waits(book, plan, Some(open), &open.subscription).is_some() {
        return Action::wait(why);
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
    let is_over = open.charge.tries.episode.as_ref().is_some_and(|episode| episode.ends_at <= now);
    if !is_over {
        return Action::wait(why);
    }
    let gave_up = match (known, permit) {
        (Some(known), _) if known.disputed => GaveUp::Disputed,
        (Some(_), Some(Permit::NotBefore { .. } | Permit::Never { .. })) => GaveUp::NetworkRule,
        (Some(_), Some(Permit::Tries { .. }) | None) | (None, _) => GaveUp::NoMethod,
    };
    Action::GiveUp { why: gave_up, because: why }
}

/// A debit that the rules allow no more waits while its case runs, and has failed by that rule when it is over.
pub(super) fn by_rule_or_wait(open: &Open, now: DateTime<Utc>, rule: String) -> Action {
    match &open.charge.tries.episode {
        Some(episode) if episode.ends_at <= now => Action::GiveUp { why: GaveUp::NetworkRule, because: rule },
        Some(_) | None => Action::wait(rule),
    }
}

#[cfg(test)]
mod tests;
