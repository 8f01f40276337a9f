//! The ledger calls a row of a settlement file by its merchant and what it says: two merchants of one database may be told the very same.
//!
//! Rows of before, and those that a process of before keeps, have no such name: their entries are called by what the row says. Where
//! that names rows of several merchants the first of them has the entry, and the others get names of their own.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::uuid_null;
use sea_orm_migration::sea_orm::prelude::Uuid;
use sea_orm_migration::sea_orm::{DatabaseBackend, Statement};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000050_fees_of_merchants"
    }
}

/// Rows with a fee that several merchants were told of, each merchant's after the one that was posted: what is about a charge was, and
/// else what came first.
const SHARED: &str = "SELECT w.merchant_id, w.identity FROM recon_row w JOIN (SELECT identity FROM recon_row \
     WHERE fee_minor > 0 OR kind = 'fee' GROUP BY identity HAVING count(*) > 1) s ON s.identity = w.identity \
     ORDER BY w.identity, CASE WHEN w.charge_id IS NULL AND w.refund_id IS NULL THEN 1 ELSE 0 END, w.kept_at, w.merchant_id";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let [rows, entry] = ["recon_row", "entry_id"].map(Alias::new);
        manager.alter_table(Table::alter().table(rows).add_column(uuid_null(entry)).to_owned()).await?;
        let connection = manager.get_connection();
        let backend = manager.get_database_backend();
        let mut last = None;
        for row in connection.query_all_raw(Statement::from_string(backend, SHARED)).await? {
            let (merchant, identity): (Uuid, String) = (row.try_get("", "merchant_id")?, row.try_get("", "identity")?);
            if last.replace(identity.clone()).as_ref() != Some(&identity) {
                continue;
            }
            let entry = Uuid::new_v5(&merchant, identity.as_bytes());
            let sql = "UPDATE recon_row SET entry_id = $1 WHERE merchant_id = $2 AND identity = $3";
            let values = [entry.into(), merchant.into(), identity.into()];
            connection.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        }
        let called = if backend == DatabaseBackend::Postgres {
            "CAST(identity AS uuid)"
        } else {
            connection.execute_unprepared("DROP INDEX recon_row_entry").await?;
            "unhex(identity, '-')"
        };
        for index in [
            format!(
                "CREATE INDEX recon_row_fee ON recon_row ((COALESCE(entry_id, {called}))) WHERE fee_minor > 0 OR kind = 'fee'"
            ),
            "CREATE INDEX recon_row_refund ON recon_row (refund_id) WHERE refund_id IS NOT NULL".to_owned(),
        ] {
            connection.execute_unprepared(&index).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Fees that were posted under the new names would be posted again under the old ones.
        Err(DbErr::Migration("fees that were posted stay posted: restore a backup instead".to_owned()))
    }
}
