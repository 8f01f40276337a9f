//! What stands behind charges, in the map.

use async_trait::async_trait;

use domain::id::ChargeId;

use super::MemoryStore;
use crate::ports::StoreError;
use crate::ports::prove::{Evidence, ProofStore};

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[async_trait]
impl ProofStore for MemoryStore {
    async fn evidence(&self, ids: &[ChargeId]) -> Result<Vec<Evidence>, StoreError> {
        let book = self.book();
        let rows = ids.iter().filter_map(|id| book.charges.get(id));
        let evidence = |row: &super::ChargeRow| Evidence {
            charge: row.value.id,
            leased_until: row.leased_until,
            attempts: count(row.attempts.len()),
            last_attempt: row.attempts.iter().map(|attempt| u64::from(attempt.number)).max().unwrap_or_default(),
            // The map keeps no amount beside the body's.
            of_other_amounts: 0,
            succeeded: count(
                row.attempts.iter().filter(|attempt| attempt.state == "succeeded" && attempt.class.is_none()).count(),
            ),
        };
        Ok(rows.map(evidence).collect())
    }

    async fn lost_subscriptions(&self, _limit: u64) -> Result<Vec<String>, StoreError> {
        // Nothing can take a row out of the map behind its back.
        Ok(Vec::new())
    }
}
