//! What stands behind charges, counted by the database. Reads only.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, QueryResult};

use domain::id::ChargeId;

use super::bulk::{Bulk, Kind, Val};
use super::{DatabaseStore, store_error};
use crate::ports::StoreError;
use crate::ports::prove::{Evidence, ProofStore};

const WANTED: &[(&str, Kind)] = &[("w_id", Kind::Uuid)];

#[async_trait]
impl ProofStore for DatabaseStore {
    async fn evidence(&self, ids: &[ChargeId]) -> Result<Vec<Evidence>, StoreError> {
        let mut wanted = Bulk::new(WANTED);
        ids.iter().for_each(|id| wanted.push(&[Val::uuid(id.0)]));
        let sql = "SELECT c.id, c.leased_until, CAST(count(a.number) AS bigint) AS attempts, \
             CAST(COALESCE(max(a.number), 0) AS bigint) AS last_attempt, \
             CAST(COALESCE(sum(CASE WHEN a.amount_minor <> c.amount_minor OR a.currency <> c.currency THEN 1 ELSE 0 END), 0) AS bigint) \
             AS of_other_amounts, \
             CAST(COALESCE(sum(CASE WHEN a.state = 'succeeded' AND a.outcome_class IS NULL THEN 1 ELSE 0 END), 0) AS bigint) AS succeeded \
             FROM charge c JOIN v ON c.id = v.w_id LEFT JOIN attempt a ON a.charge_id = c.id GROUP BY c.id, c.leased_until";
        let mut found = Vec::with_capacity(ids.len());
        for statement in wanted.statements(self.backend(), sql) {
            for row in &self.database.query_all_raw(statement).await.map_err(store_error)? {
                found.push(evidence(row)?);
            }
        }
        Ok(found)
    }

    async fn lost_subscriptions(&self, limit: u64) -> Result<Vec<String>, StoreError> {
        // A trigger writes whose each subscription is; nothing takes that away.
        let sql = "SELECT k.subscription_id AS id FROM subscription_customer k \
                   WHERE NOT EXISTS (SELECT 1 FROM subscription s WHERE s.id = k.subscription_id) ORDER BY 1 LIMIT $1";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.database.query_all_raw(self.statement(sql, [limit.into()])).await.map_err(store_error)?;
        rows.iter().map(|row| row.try_get("", "id").map_err(store_error)).collect()
    }
}

fn evidence(row: &QueryResult) -> Result<Evidence, StoreError> {
    let count = |name: &str| -> Result<u64, StoreError> {
        let count: i64 = row.try_get("", name).map_err(store_error)?;
        Ok(u64::try_from(count).unwrap_or_default())
    };
    Ok(Evidence {
        charge: ChargeId(row.try_get("", "id").map_err(store_error)?),
        // A lease that cannot be read is told by the list of charges.
        leased_until: row.try_get("", "leased_until").unwrap_or_default(),
        attempts: count("attempts")?,
        last_attempt: count("last_attempt")?,
        of_other_amounts: count("of_other_amounts")?,
        succeeded: count("succeeded")?,
    })
}
