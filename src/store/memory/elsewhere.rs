//! Tries that other systems made, in the map.

use std::cmp::Reverse;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use domain::elsewhere::TriedElsewhere;
use domain::id::{MerchantId, PaymentMethodId};
use domain::rules::returns::Entered;
use domain::rules::{Outcome, Tried};
use domain::subscription::MethodKind;
use domain::verdict::DeclineClass;

use super::{Book, MemoryStore};
use crate::ports::StoreError;
use crate::ports::elsewhere::ElsewhereStore;
use crate::store::elsewhere::count_entries;
use crate::store::lines;
use crate::store::rows::whole;

impl Book {
    /// What was tried elsewhere with a method since a moment, and every "never".
    pub(super) fn tried_elsewhere(
        &self,
        method: PaymentMethodId,
        since: DateTime<Utc>,
    ) -> impl Iterator<Item = Tried> + '_ {
        let never = |one: &TriedElsewhere| {
            matches!(one.became, Outcome::Declined(DeclineClass::Never) | Outcome::Returned(DeclineClass::Never))
        };
        let of = self.elsewhere.values().filter(move |one| one.method == method && (one.at >= since || never(one)));
        of.map(TriedElsewhere::tried)
    }
}

#[async_trait]
impl ElsewhereStore for MemoryStore {
    async fn keep_tries(&self, tries: &[TriedElsewhere], by: &str, at: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut book = self.book();
        let mut kept = 0;
        for one in tries {
            if let std::collections::btree_map::Entry::Vacant(place) = book.elsewhere.entry(one.id()) {
                place.insert(TriedElsewhere { at: whole(one.at), ..one.clone() });
                kept += 1;
                if let Some(code) = one.notified_change() {
                    book.begin_change(one.method, (code, one.at), whole(at));
                }
            }
        }
        if kept > 0 {
            book.note(lines::tries_kept(kept, tries.len(), by, at));
        }
        Ok(kept)
    }

    async fn tries_known(
        &self,
        merchant: MerchantId,
        references: &[String],
    ) -> Result<Vec<TriedElsewhere>, StoreError> {
        let book = self.book();
        let known = |reference: &String| book.elsewhere.get(&TriedElsewhere::id_of(merchant, reference)).cloned();
        Ok(references.iter().filter_map(known).collect())
    }

    async fn tries_elsewhere(&self, method: PaymentMethodId, limit: u64) -> Result<Vec<TriedElsewhere>, StoreError> {
        let book = self.book();
        let mut found: Vec<&TriedElsewhere> = book.elsewhere.values().filter(|one| one.method == method).collect();
        found.sort_by_key(|one| (Reverse(one.at), one.id()));
        Ok(found.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn entered(&self, merchant: MerchantId, since: DateTime<Utc>) -> Result<Entered, StoreError> {
        let book = self.book();
        let debits = |method: PaymentMethodId| {
            book.wallet.known(method).is_some_and(|known| known.kind == Some(MethodKind::BankAccount))
        };
        let mut entered = Entered::default();
        for row in book.charges.values().filter(|row| row.value.merchant == merchant) {
            for attempt in row.attempts.iter().filter(|one| one.created_at >= since && one.state != "closed") {
                if debits(attempt.method) || attempt.second.is_some_and(debits) {
                    count_entries(&mut entered, attempt.code.as_deref(), 1);
                }
            }
        }
        Ok(entered)
    }
}
