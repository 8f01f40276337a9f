//! Tries of charges, in the map.

use async_trait::async_trait;

use domain::dunning_stats::Try;
use domain::id::{ChargeId, PaymentMethodId};
use domain::subscription::MethodKind;

use super::{Book, MemoryStore};
use crate::ports::StoreError;
use crate::ports::figures::FiguresStore;
use crate::store::figures::outcome;

impl Book {
    /// What a method is, by the wallet or by the subscription that has it.
    fn kind_of(&self, charge: ChargeId, method: PaymentMethodId) -> Option<MethodKind> {
        let known = self.wallet.kind(method);
        let row = self.charges.get(&charge).and_then(|row| self.subscriptions.get(&row.value.subscription));
        let methods = row.into_iter().flat_map(|row| [&row.value.method, &row.value.second_method]).flatten();
        known.or_else(|| methods.into_iter().find(|one| one.id == method).map(|one| one.kind))
    }
}

#[async_trait]
impl FiguresStore for MemoryStore {
    async fn tries_of(&self, ids: &[ChargeId]) -> Result<Vec<(ChargeId, Try)>, StoreError> {
        let book = self.book();
        let mut tries = Vec::new();
        for row in ids.iter().filter_map(|id| book.charges.get(id)) {
            let id = row.value.id;
            let one = |attempt: &crate::ports::AttemptRecord| Try {
                number: attempt.number,
                outcome: outcome(&attempt.state, attempt.class),
                class: attempt.class,
                method: book.kind_of(id, attempt.method),
            };
            let mut of_charge: Vec<Try> = row.attempts.iter().map(one).collect();
            of_charge.sort_by_key(|one| one.number);
            tries.extend(of_charge.into_iter().map(|one| (id, one)));
        }
        tries.sort_by_key(|(id, one)| (*id, one.number));
        Ok(tries)
    }
}
