//! When an approved change set is to be put in force, and which were put in force without approval.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{string_null, text_null, timestamp_with_time_zone_null};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000025_planned_changes"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            timestamp_with_time_zone_null(col("apply_at")),
            string_null(col("apply_by")),
            text_null(col("put_off")),
            text_null(col("unapproved")),
        ];
        for column in columns {
            let alter = Table::alter().table(col("change_set")).add_column(column).to_owned();
            manager.alter_table(alter).await?;
        }
        let index = "CREATE INDEX change_set_planned ON change_set (apply_at) WHERE apply_at IS NOT NULL";
        manager.get_connection().execute_unprepared(index).await.map(drop)
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(
            "who put what in force is evidence and is not dropped: restore a backup instead".to_owned(),
        ))
    }
}
