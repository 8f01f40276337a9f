//! What a person wants tried, now or on another day: the same agenda says whether it may be, so that what is promised is what is done.

use chrono::{DateTime, Utc};

use super::dunning::{self, Around};
use super::{Action, Book, Open, backups, debits_a_bank, draw_open};
use crate::charge::{Charge, Event, Limits, Refused, Ruling};
use crate::plan::Catalog;
use crate::rules::{self, Network};
use crate::subscription::MethodKind;

/// Why a charge is not tried by hand, now or then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotNow {
    /// Its state allows no such thing.
    Refused(Refused),
    /// Something stands in the way, in words: a hold, a method, the rule of a network with its version and source.
    Because(String),
}

/// The charge as it stands once a person wants it tried now, if nothing speaks against sending it at this moment.
///
/// # Errors
/// [`NotNow`].
pub fn try_now(book: &Book<'_>, open: &Open, now: DateTime<Utc>) -> Result<Charge, NotNow> {
    let charge = open.charge.clone().step(Event::Ruled(Ruling::TryNow), now, book.limits).map_err(NotNow::Refused)?;
    if debits_a_bank(&open.subscription, &charge) {
        let used = backups::in_force(&open.subscription, &charge).map(|fallback| fallback.method);
        let (declined, first) = charge.tries.declined_with(used);
        let first = first.unwrap_or(now).min(charge.due_at);
        let networks = Network::of(Some(MethodKind::BankAccount), None);
        if let Some(rule) = rules::built_in().forbids_entry(networks, declined, first, now) {
            return Err(NotNow::Because(format!("its bank may not be asked again for it: {rule}")));
        }
    }
    let ordered = Open { charge, ..open.clone() };
    match draw_open(book, &ordered, now).action {
        Action::Send { .. } => Ok(ordered.charge),
        Action::Wait { why, .. } | Action::GiveUp { because: why, .. } => Err(NotNow::Because(why)),
        Action::Cancel => {
            Err(NotNow::Because("the subscription was cancelled, and what waited ended with it".to_owned()))
        }
        Action::Ask { .. }
        | Action::SkipZero
        | Action::Skip(_)
        | Action::ParkOutOfBounds { .. }
        | Action::ParkNoMethod { .. }
        | Action::ParkWrongMethod
        | Action::Settle { .. }
        | Action::Quarantine { .. } => Err(NotNow::Because("it is not waiting for a try".to_owned())),
    }
}

/// The charge as it stands once a person has put its next try off, if its policy allows a try then: on no day that belongs to the next
/// cycle, unless the policy says which debt comes first, and then on the day of no cycle.
///
/// # Errors
/// [`NotNow`].
pub fn put_off(
    catalog: &Catalog,
    open: &Open,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
    limits: &Limits,
) -> Result<Charge, NotNow> {
    let Open { charge, subscription, .. } = open;
    let after = charge.clone().step(Event::Ruled(Ruling::PutOff { until }), now, limits).map_err(NotNow::Refused)?;
    let moved = after.state.next_at().filter(|next_at| Some(*next_at) != charge.state.next_at());
    let plan = catalog.plans.get(&charge.plan);
    let zone = subscription.zone.as_ref().or(plan.map(|plan| &plan.zone));
    let (Some(next_at), Some((_, policy)), Some(zone)) = (moved, dunning::of(catalog, plan, charge), zone) else {
        return Ok(after);
    };
    match Around::of(policy, plan, subscription, zone, charge).belongs_to_a_cycle(next_at) {
        Some(why) => Err(NotNow::Because(why)),
        None => Ok(after),
    }
}
