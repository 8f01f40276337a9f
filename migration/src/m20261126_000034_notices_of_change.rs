//! Which payment methods wait for a change of what is stored: their bank notified of one (billing-rules.md §1.5).

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{string_null, timestamp_with_time_zone_null};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000034_notices_of_change"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [string_null(col("change_code")), timestamp_with_time_zone_null(col("change_at"))] {
            let alter = Table::alter().table(col("payment_method")).add_column(column).to_owned();
            manager.alter_table(alter).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("a notice of change stops debits and is not dropped: restore a backup instead".to_owned()))
    }
}
