//! The days of a period that an adjustment settles, where a plan was changed in the middle of it.
//!
//! Empty for every other adjustment, and for those of before.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer_null, date_null, string_null};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000013_settlements"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // The plan, the cycle, its days (half-open), and what so many days cost under the plan. SQLite adds one column at a time.
        let columns = [
            string_null(col("settles_plan")),
            big_integer_null(col("settles_cycle")),
            date_null(col("settles_from")),
            date_null(col("settles_to")),
            big_integer_null(col("settles_minor")),
            big_integer_null(col("settles_of")),
        ];
        for column in columns {
            manager.alter_table(Table::alter().table(col("adjustment")).add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Which days were settled must not be forgotten: they would be given back again.
        Err(DbErr::Migration("settled days are not undone: restore a backup instead".to_owned()))
    }
}
