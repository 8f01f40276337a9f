//! A returned installment that will be asked for again counts towards its total, as one that is failing does.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000040_returned_installments"
    }
}

/// What a row of `charge` counts for: everything that was collected, may have been, or will be asked for.
fn counted(row: &str) -> String {
    format!(
        "(CASE WHEN {row}.purpose <> 'cycle' OR {row}.state IN ('failed', 'skipped') \
         OR ({row}.returned_at IS NOT NULL AND {row}.next_at IS NULL) THEN 0 \
         WHEN {row}.state = 'paid' AND {row}.returned_at IS NULL THEN COALESCE({row}.collected_minor, {row}.amount_minor) \
         ELSE {row}.amount_minor END)"
    )
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        let (new, old, row) = (counted("NEW"), counted("OLD"), counted("c"));
        let takes = format!("UPDATE installment_total SET taken_minor = taken_minor + {new}");
        let of = "WHERE subscription_id = NEW.subscription_id";
        let sum = format!("(SELECT COALESCE(SUM({row}), 0) FROM charge c WHERE c.subscription_id = t.subscription_id)");
        let mut statements = Vec::new();
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            let function = |name: &str, takes: &str| {
                format!(
                    "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN {takes} {of}; RETURN NULL; END $$"
                )
            };
            // The trigger's own condition names what counts, too.
            statements.push("DROP TRIGGER installment_moved ON charge".to_owned());
            statements.push(function("installment_recorded", &takes));
            statements.push(function("installment_moved", &format!("{takes} - {old}")));
        } else {
            statements.push("DROP TRIGGER installment_recorded".to_owned());
            statements.push("DROP TRIGGER installment_moved".to_owned());
        }
        // What was paid elsewhere since is not asked for again: such a charge waits for a person.
        statements.push(format!(
            "UPDATE charge SET next_at = NULL WHERE returned_at IS NOT NULL AND next_at IS NOT NULL AND purpose = 'cycle' \
             AND EXISTS (SELECT 1 FROM installment_total t WHERE t.subscription_id = charge.subscription_id AND {sum} > t.total_minor)"
        ));
        statements.push(format!("UPDATE installment_total AS t SET taken_minor = {sum} WHERE taken_minor <> {sum}"));
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            statements.push(format!(
                "CREATE TRIGGER installment_moved AFTER UPDATE ON charge FOR EACH ROW WHEN ({new} <> {old}) \
                 EXECUTE FUNCTION installment_moved()"
            ));
        } else {
            statements
                .push(format!("CREATE TRIGGER installment_recorded AFTER INSERT ON charge BEGIN {takes} {of}; END"));
            statements.push(format!(
                "CREATE TRIGGER installment_moved AFTER UPDATE ON charge WHEN {new} <> {old} BEGIN {takes} - {old} {of}; END"
            ));
        }
        for statement in statements {
            connection.execute_unprepared(&statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("what counts towards a total is not taken back: restore a backup instead".to_owned()))
    }
}
