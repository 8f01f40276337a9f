//! Notices to payers: what was asked for, and what reached them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, date, date_null, string, string_null, text, timestamp_with_time_zone_null, uuid,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000022_notices"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let notice = Table::create()
            .table(col("notice"))
            // Of subscription, cycle, amount and day: a change of any of the latter two is another notice.
            .col(uuid(col("id")).primary_key())
            .col(uuid(col("merchant_id")))
            .col(string(col("subscription_id")))
            .col(big_integer(col("cycle")))
            .col(string(col("kind")))
            .col(big_integer(col("amount_minor")))
            .col(string(col("currency")))
            .col(date(col("charge_on")))
            .col(date_null(col("from_on")))
            .col(date_null(col("by_on")))
            .col(text(col("rule")))
            .col(string(col("template")))
            .col(timestamp_with_time_zone_null(col("asked_at")))
            .col(timestamp_with_time_zone_null(col("delivered_at")))
            .col(string_null(col("delivered_by")))
            .check(Expr::col(col("kind")).is_in([
                "every_charge",
                "amount_differs",
                "price_change",
                "long_term",
                "trial_ends",
            ]))
            .check(Expr::cust("asked_at IS NOT NULL OR delivered_at IS NOT NULL"))
            .to_owned();
        manager.create_table(notice).await?;
        let connection = manager.get_connection();
        for statement in [
            "CREATE INDEX notice_cycle ON notice (subscription_id, cycle)",
            "CREATE INDEX notice_day ON notice (charge_on, id)",
        ] {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What payers were told is what their charges rest on.
        Err(DbErr::Migration("notices are not undone: restore a backup instead".to_owned()))
    }
}
