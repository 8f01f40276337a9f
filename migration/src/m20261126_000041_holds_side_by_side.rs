//! A scope may be held for several reasons at once: one hold of each kind.

use sea_orm_migration::prelude::*;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000041_holds_side_by_side"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared("DROP INDEX hold_one_per_scope").await?;
        let sql = "CREATE UNIQUE INDEX hold_one_per_scope_and_kind ON hold (scope, kind) WHERE lifted_at IS NULL";
        connection.execute_unprepared(sql).await?;
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // One of two holds of a scope would have to go.
        Err(DbErr::Migration("holds beside each other are not undone: restore a backup instead".to_owned()))
    }
}
