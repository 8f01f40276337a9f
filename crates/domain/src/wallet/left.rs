//! How many more tries instruments have, counted down as they are taken.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Wallet;
use crate::id::PaymentMethodId;
use crate::rules::{self, Network, Permit};

/// Tries that are left of instruments at one moment. What is taken has no outcome yet, so it counts as declined.
///
/// Whoever draws an agenda takes from it, and whoever records what was drawn takes again, from what is known by then: so that two who
/// draw at once do not both use what is left.
#[derive(Debug)]
pub struct TriesLeft<'w> {
    wallet: &'w Wallet,
    at: DateTime<Utc>,
    left: BTreeMap<PaymentMethodId, Option<u16>>,
}

impl<'w> TriesLeft<'w> {
    /// By what the wallet knows at this moment.
    #[must_use]
    pub const fn new(wallet: &'w Wallet, at: DateTime<Utc>) -> Self {
        Self { wallet, at, left: BTreeMap::new() }
    }

    /// Takes one try for each time that an instrument is named, if there are as many; else none.
    pub fn take(&mut self, instruments: impl IntoIterator<Item = PaymentMethodId>) -> bool {
        let mut wanted: BTreeMap<PaymentMethodId, u16> = BTreeMap::new();
        for instrument in instruments {
            let times = wanted.entry(instrument).or_default();
            *times = times.saturating_add(1);
        }
        if !wanted.iter().all(|(instrument, times)| self.left(*instrument).is_none_or(|left| left >= *times)) {
            return false;
        }
        for (instrument, times) in wanted {
            if let Some(left) = self.left.get_mut(&instrument) {
                *left = left.map(|left| left.saturating_sub(times));
            }
        }
        true
    }

    fn left(&mut self, instrument: PaymentMethodId) -> Option<u16> {
        let (wallet, at) = (self.wallet, self.at);
        let ask = || {
            let permit = match wallet.get(&instrument) {
                Some(known) => known.permit(at),
                None => rules::built_in().permit(Network::of(None, None), &[], at),
            };
            match permit {
                Permit::Tries { left } => left,
                // Whoever asks has been told so already, by the standing of the method.
                Permit::NotBefore { .. } | Permit::Never { .. } => Some(0),
            }
        };
        *self.left.entry(instrument).or_insert_with(ask)
    }
}
