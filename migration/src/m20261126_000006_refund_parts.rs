//! Which method's part a refund gives back, of a payment that two methods shared. Empty for every other refund.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::uuid_null;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000006_refund_parts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table =
            Table::alter().table(Alias::new("refund")).add_column(uuid_null(Alias::new("method_id"))).to_owned();
        manager.alter_table(table).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Whose money a refund gives back is never dropped by a migration.
        Err(DbErr::Migration("the parts of refunds are not undone: restore a backup instead".to_owned()))
    }
}
