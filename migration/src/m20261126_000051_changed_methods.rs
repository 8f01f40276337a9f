//! When the gateway said last that what is stored of a payment method was changed. The latest news may be of another kind by now.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::timestamp_with_time_zone_null;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000051_changed_methods"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let [table, column] = ["payment_method", "changed_at"].map(Alias::new);
        let alter = Table::alter().table(table).add_column(timestamp_with_time_zone_null(column)).to_owned();
        manager.alter_table(alter).await?;
        let known = "UPDATE payment_method SET changed_at = news_at WHERE news = 'changed'";
        manager.get_connection().execute_unprepared(known).await.map(drop)
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration(
            "a correction would be forgotten, and a good account held: restore a backup instead".to_owned(),
        ))
    }
}
