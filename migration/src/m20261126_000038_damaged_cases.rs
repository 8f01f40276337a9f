//! A row that cannot be read is set aside whatever its case says: the promise of a next step is that of rows that can be read.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000038_damaged_cases"
    }
}

/// No case without a next step, unless its row is set aside because it cannot be read.
const STEP: &str = "(state = 'parked' AND why IN ('damaged', 'damaged_in_doubt')) OR \
     ((state <> 'failing' OR (next_at IS NOT NULL AND decline_class IS NOT NULL AND case_number > 0)) \
     AND (case_number = 0 OR (case_opened_at IS NOT NULL AND case_class IS NOT NULL AND case_code IS NOT NULL \
     AND case_ends_at IS NOT NULL AND case_end_action IS NOT NULL AND ladder_since IS NOT NULL)) \
     AND (case_number = 0 OR next_at IS NOT NULL OR state IN ('paid', 'failed', 'skipped', 'parked')))";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let mut statements = Vec::new();
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            statements.push("ALTER TABLE charge DROP CONSTRAINT charge_case_has_a_step".to_owned());
            statements.push(format!("ALTER TABLE charge ADD CONSTRAINT charge_case_has_a_step CHECK ({STEP})"));
        } else {
            // In SQLite a CHECK comes and goes with its column. A row that breaks it already is what this is for: it is let in, and set aside
            // by whoever claims it.
            statements.push("PRAGMA ignore_check_constraints = 1".to_owned());
            statements.push(format!(
                "ALTER TABLE charge ADD COLUMN ordered_by_hand boolean NOT NULL DEFAULT false \
                 CONSTRAINT charge_case_has_a_step CHECK ({STEP})"
            ));
            statements.push("UPDATE charge SET ordered_by_hand = by_hand".to_owned());
            statements.push("ALTER TABLE charge DROP COLUMN by_hand".to_owned());
            statements.push("ALTER TABLE charge RENAME COLUMN ordered_by_hand TO by_hand".to_owned());
            statements.push("PRAGMA ignore_check_constraints = 0".to_owned());
        }
        for statement in statements {
            connection.execute_unprepared(&statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // A row that was set aside under it would break the older promise.
        Err(DbErr::Migration("rows that were set aside are not taken back: restore a backup instead".to_owned()))
    }
}
