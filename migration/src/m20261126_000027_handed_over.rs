//! The queue of people that a policy hands a charge to when trying ends.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::string_null;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000027_handed_over"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Cases that ended before there was this column were handed to nobody but the reader of their policy.
        let alter = Table::alter().table(col("charge")).add_column(string_null(col("case_hand_to"))).to_owned();
        manager.alter_table(alter).await?;
        let index = "CREATE INDEX charge_handed_to ON charge (case_hand_to, due_at) WHERE case_hand_to IS NOT NULL";
        manager.get_connection().execute_unprepared(index).await.map(drop)
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("who took over what is evidence: restore a backup instead".to_owned()))
    }
}
