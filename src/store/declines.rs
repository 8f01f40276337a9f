//! Codes of declines that no table knows, in the database.

use async_trait::async_trait;
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait as _, QueryOrder as _};

use domain::id::ChargeId;
use entity::decline_seen;

use super::bulk::{Bulk, Kind, Val};
use super::rows::whole;
use super::{DatabaseStore, store_error};
use crate::ports::declines::{CodeSeen, DeclineStore, foreign_codes};
use crate::ports::{StoreError, Verdict};

const SEEN: &[(&str, Kind)] = &[("d_code", Kind::Text), ("d_at", Kind::Time), ("d_charge_id", Kind::Uuid)];

impl DatabaseStore {
    /// Keeps the codes that are seen for the first time, and returns them.
    pub(super) async fn note_codes(
        &self,
        on: &DatabaseTransaction,
        verdicts: &[Verdict],
    ) -> Result<Vec<CodeSeen>, DbErr> {
        let foreign = foreign_codes(verdicts);
        let mut rows = Bulk::new(SEEN);
        for one in &foreign {
            rows.push(&[Val::text(&one.code), Val::time(whole(one.first_seen_at)), Val::uuid(one.charge.0)]);
        }
        // SQLite needs the WHERE, to tell the conflict clause from a join.
        let sql = "INSERT INTO decline_seen (code, first_seen_at, charge_id) SELECT d_code, d_at, d_charge_id FROM v WHERE TRUE \
                   ON CONFLICT (code) DO NOTHING RETURNING code AS id";
        let new = self.ids::<String>(on, sql, &rows).await?;
        Ok(foreign.into_iter().filter(|one| new.contains(&one.code)).collect())
    }
}

#[async_trait]
impl DeclineStore for DatabaseStore {
    async fn codes_seen(&self) -> Result<Vec<CodeSeen>, StoreError> {
        let found = decline_seen::Entity::find()
            .order_by_asc(decline_seen::Column::FirstSeenAt)
            .order_by_asc(decline_seen::Column::Code)
            .all(&self.database)
            .await;
        let seen = |row: decline_seen::Model| CodeSeen {
            code: row.code,
            first_seen_at: row.first_seen_at,
            charge: ChargeId(row.charge_id),
        };
        Ok(found.map_err(store_error)?.into_iter().map(seen).collect())
    }
}
