//! How many tries of an instrument one agenda may hold: several subscriptions, and several cycles of one, may be charged to one card,
//! and none of these tries has an outcome when the next is drawn.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Book;
use super::together::{Shared, fits};
use crate::id::PaymentMethodId;
use crate::money::Money;
use crate::wallet::TriesLeft;

/// Why a try waits that is one too many beside those drawn before it.
pub(crate) const TRIES_SPENT: &str =
    "as many tries of its payment method as its network allows are under way: their outcomes are waited for";

/// Tries drawn so far, by instrument.
pub(super) struct Tries<'a> {
    left: TriesLeft<'a>,
    /// What a try that is taken already collects, of cycles that are charged together.
    together: BTreeMap<Shared, (usize, Money)>,
}

impl<'a> Tries<'a> {
    pub(super) const fn new(book: &Book<'a>, now: DateTime<Utc>) -> Self {
        Self { left: TriesLeft::new(book.wallet, now), together: BTreeMap::new() }
    }

    /// Takes one try of each of the methods of a charge, if all of them have one left.
    pub(super) fn take(&mut self, first: PaymentMethodId, second: Option<PaymentMethodId>) -> bool {
        self.left.take([Some(first), second.filter(|second| *second != first)].into_iter().flatten())
    }

    /// Takes part in a try that others of the same customer and day have taken, or takes one for them all.
    ///
    /// Payments are made of these cycles in the order in which they come here, so they are counted as they are made.
    pub(super) fn take_together(&mut self, with: Shared, amount: Money) -> bool {
        let before = self.together.get(&with).copied();
        let joined = before.and_then(|(count, sum)| fits(count, sum, amount).map(|sum| (count.saturating_add(1), sum)));
        if joined.is_none() && !self.take(with.method(), None) {
            return false;
        }
        self.together.insert(with, joined.unwrap_or((1, amount)));
        true
    }
}
