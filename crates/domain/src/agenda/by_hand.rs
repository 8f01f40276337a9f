//! What a person wants tried now: the same agenda says whether it may be, so that what is promised is what is done.

use chrono::{DateTime, Utc};

use super::{Action, Book, Open, backups, debits_a_bank, draw_open};
use crate::charge::{Charge, Event, Refused, Ruling};
use crate::rules::{self, Network};
use crate::subscription::MethodKind;

/// Why a charge is not tried by hand.
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
