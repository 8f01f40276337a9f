//! What a hold is about: whether what fails waits under it, or ends.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::string;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000037_kinds_of_holds"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Whatever was held until now waits.
        let kind = string(Alias::new("kind")).default("operator").to_owned();
        manager.alter_table(Table::alter().table(Alias::new("hold")).add_column(kind).to_owned()).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // A hold about a person would become one that only waits.
        Err(DbErr::Migration("the kinds of holds are not undone: restore a backup instead".to_owned()))
    }
}
