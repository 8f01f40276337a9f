//! The backups of subscriptions, each with who agreed to it, and which of them a charge fell through to.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::text_null;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000026_backups"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [("subscription", "backups"), ("charge", "fallback")] {
            let alter = Table::alter().table(col(table)).add_column(text_null(col(column))).to_owned();
            manager.alter_table(alter).await?;
        }
        // Few charges fall through: news about a method finds those without a look at all others.
        let index = "CREATE INDEX charge_fell_through ON charge (state) WHERE fallback IS NOT NULL";
        manager.get_connection().execute_unprepared(index).await.map(drop)
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Who agreed to be charged with what is evidence.
        Err(DbErr::Migration("the backups of subscriptions are not undone: restore a backup instead".to_owned()))
    }
}
