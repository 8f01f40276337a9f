//! What became of each attempt, by class, so that the tries of an instrument are counted across everything that uses it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::string_null;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000017_budgets"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

/// Of what was tried before there was this column, the latest attempt of a charge has the charge's class, and an earlier one was
/// declined for a reason that allowed another. A payment that was cancelled at the gateway was no try of an instrument.
const FILL: &[&str] = &[
    "UPDATE attempt SET outcome_class = 'unclassified' WHERE state = 'declined'",
    "UPDATE attempt SET outcome_class = (SELECT CASE WHEN c.decline_code = 'cancelled_at_gateway' OR c.why = 'person' THEN NULL \
     ELSE c.decline_class END FROM charge c WHERE c.id = attempt.charge_id) \
     WHERE EXISTS (SELECT 1 FROM charge c WHERE c.id = attempt.charge_id AND c.attempt = attempt.number \
     AND (c.state IN ('failing', 'failed') OR c.returned_at IS NOT NULL))",
    "CREATE INDEX attempt_counted ON attempt (method_id, created_at) WHERE state = 'open' OR outcome_class IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = Table::alter().table(col("attempt")).add_column(string_null(col("outcome_class"))).to_owned();
        manager.alter_table(column).await?;
        for statement in FILL {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What networks count is not forgotten with a version of autopay.
        Err(DbErr::Migration("the count of tries is not undone: restore a backup instead".to_owned()))
    }
}
