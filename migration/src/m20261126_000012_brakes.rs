//! The brakes: what a day was expected to bring and has brought, and whose word a stop waits for.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, date, string, string_null, timestamp_with_time_zone_null, uuid,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000012_brakes"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let day = Table::create()
            .table(col("run_day"))
            .col(uuid(col("merchant_id")))
            .col(date(col("day")))
            .col(string(col("currency")))
            .col(timestamp_with_time_zone_null(col("expected_at")))
            .col(big_integer_null(col("expected_charges")))
            .col(big_integer_null(col("expected_minor")))
            .col(big_integer_null(col("expected_largest")))
            .col(big_integer(col("ran_charges")))
            .col(big_integer(col("ran_minor")))
            .col(big_integer(col("ran_largest")))
            .primary_key(Index::create().col(col("merchant_id")).col(col("day")).col(col("currency")))
            .to_owned();
        manager.create_table(day).await?;
        // Which brake made a hold, and who was the first to want it lifted. SQLite adds one column at a time.
        for column in [string_null(col("brake")), string_null(col("release_asked_by"))] {
            manager.alter_table(Table::alter().table(col("hold")).add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // A stop that two people must lift does not end with a migration.
        Err(DbErr::Migration("the brakes are not undone: restore a backup instead".to_owned()))
    }
}
