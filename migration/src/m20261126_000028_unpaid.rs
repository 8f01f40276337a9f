//! The charge for which a subscription stands unpaid.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::uuid_null;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000028_unpaid"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = uuid_null(col("unpaid_charge_id"));
        manager.alter_table(Table::alter().table(col("subscription")).add_column(column).to_owned()).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("what is owed is not forgotten: restore a backup instead".to_owned()))
    }
}
