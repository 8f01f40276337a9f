//! Cases of dunning, streamed: the charges of a span that were tried, each with its tries. Reads only; what is kept does not grow
//! with the span.

use std::collections::BTreeMap;

use domain::dunning_stats::{Case, Try};
use domain::id::ChargeId;

use crate::ports::firing::DueBetween;
use crate::ports::{Listed, Store, StoreError};

/// Charges read at once.
const PAGE: u64 = 1_000;

/// Tells of every charge due in a span that was tried; returns how many rows could not be read.
///
/// # Errors
/// The store's, and whatever `tell` ends with.
pub async fn cases<E: From<StoreError>>(
    store: &dyn Store,
    due: DueBetween,
    mut tell: impl FnMut(&Case<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let (mut after, mut unreadable) = (None, 0_u64);
    loop {
        let page = store.recorded(due, &after, PAGE).await?;
        let mut charges = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            match row {
                Listed::Whole(booked) => charges.push(booked.charge),
                Listed::Damaged(_) => unreadable = unreadable.saturating_add(1),
            }
        }
        let ids: Vec<ChargeId> = charges.iter().map(|charge| charge.id).collect();
        let mut tries: BTreeMap<ChargeId, Vec<Try>> = BTreeMap::new();
        for (id, one) in store.tries_of(&ids).await? {
            tries.entry(id).or_default().push(one);
        }
        for charge in &charges {
            if let Some(case) = Case::of(charge, tries.get(&charge.id).map_or(&[], Vec::as_slice)) {
                tell(&case)?;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(unreadable);
        }
    }
}
