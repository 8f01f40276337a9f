//! What the audit of the schedule reads, of the book in memory.

use domain::firing::Booked;
use domain::id::SubscriptionId;

use super::Book;
use crate::ports::firing::{DueBetween, Life};
use crate::ports::{Cursor, Page, Place, StoreError};

pub(super) fn lives(book: &Book, ids: &[SubscriptionId]) -> Vec<Life> {
    let life = |id: &SubscriptionId| {
        let row = book.subscriptions.get(id)?;
        Some(Life {
            id: id.clone(),
            first_cycle: Some(row.entered.0),
            created_at: row.entered.1,
            leased_until: row.leased_until,
            turns: row.turns.clone(),
        })
    };
    ids.iter().filter_map(life).collect()
}

fn place(recorded: &Booked) -> Place {
    Place(format!("{} {}", recorded.charge.cycle, recorded.charge.subscription))
}

fn reached(place: &Place) -> Result<(SubscriptionId, u32), StoreError> {
    let read = |place: &Place| {
        let (cycle, id) = place.0.split_once(' ')?;
        Some((SubscriptionId::parse(id).ok()?, cycle.parse().ok()?))
    };
    read(place).ok_or_else(|| StoreError::Refused("a list cannot go on from that place".to_owned()))
}

pub(super) fn recorded(book: &Book, due: DueBetween, after: &Cursor, limit: u64) -> Result<Page<Booked>, StoreError> {
    let after = after.as_ref().map(reached).transpose()?;
    let mut found: Vec<Booked> = book
        .charges
        .values()
        .filter(|row| (due.from..=due.until).contains(&row.value.due_on))
        .map(|row| {
            let at = row.history.first().map_or(row.value.due_at, |first| first.at);
            Booked { charge: row.value.clone(), at, payers: Vec::new() }
        })
        .collect();
    let key = |one: &Booked| (one.charge.subscription.clone(), one.charge.cycle);
    found.retain(|one| after.as_ref().is_none_or(|after| key(one) > *after));
    found.sort_by_key(key);
    Ok(super::page(found.into_iter(), limit, place))
}
