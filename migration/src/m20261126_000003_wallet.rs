//! The wallet: customers whose methods are asked about, what was said about each method, and disputes that stop one.
//!
//! Facts only: no standing is stored, because it changes at midnight without anybody writing (decision 26). No holder names,
//! no nicknames, no addresses. Expand only: nothing that was there before is touched but for one index.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, text, timestamp_with_time_zone, uuid};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000003_wallet"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn null(mut column: ColumnDef) -> ColumnDef {
    column.null().to_owned()
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        // One search answers for all methods of a customer, so the customer is what is due, claimed and asked about. `id`
        // is derived from merchant and customer; `listed` are the ids of the last healthy search, as a JSON array.
        Table::create()
            .table(col("wallet_customer"))
            .col(uuid(col("id")).primary_key())
            .col(uuid(col("merchant_id")))
            .col(text(col("customer")))
            .col(null(text(col("listed"))))
            .col(timestamp_with_time_zone(col("ask_at")))
            .col(null(timestamp_with_time_zone(col("asked_at"))))
            .col(null(timestamp_with_time_zone(col("synced_at"))))
            .col(integer(col("failures")).default(0))
            .col(null(string(col("trouble"))))
            .col(big_integer(col("fence")).default(0))
            .col(null(timestamp_with_time_zone(col("leased_until"))))
            .col(timestamp_with_time_zone(col("created_at")))
            .col(timestamp_with_time_zone(col("updated_at")))
            .check(Expr::col(col("failures")).gte(0))
            .to_owned(),
        // Merchant and customer are absent for a method of which there was news before any subscription used it.
        Table::create()
            .table(col("payment_method"))
            .col(uuid(col("id")).primary_key())
            .col(null(uuid(col("merchant_id"))))
            .col(null(uuid(col("customer_id"))))
            .col(null(string(col("kind"))))
            .col(null(string(col("brand"))))
            .col(null(string(col("last4"))))
            .col(null(integer(col("expiry_month"))))
            .col(null(integer(col("expiry_year"))))
            // The first instant at which the card has expired somewhere: what an index can compare with a due instant.
            .col(null(timestamp_with_time_zone(col("expires_from"))))
            .col(null(string(col("gateway_status"))))
            .col(null(uuid(col("replaced_by"))))
            .col(null(timestamp_with_time_zone(col("missing_since"))))
            .col(null(timestamp_with_time_zone(col("grace_until"))))
            .col(null(string(col("news"))))
            .col(null(timestamp_with_time_zone(col("news_at"))))
            .col(null(timestamp_with_time_zone(col("listed_at"))))
            .col(null(timestamp_with_time_zone(col("synced_at"))))
            .col(timestamp_with_time_zone(col("created_at")))
            .col(timestamp_with_time_zone(col("updated_at")))
            .check(Expr::col(col("kind")).is_null().or(Expr::col(col("kind")).is_in(["card", "bank_account"])))
            .to_owned(),
        Table::create()
            .table(col("payment_method_dispute"))
            .col(uuid(col("method_id")))
            .col(string(col("dispute_id")))
            .col(string(col("state")))
            .col(timestamp_with_time_zone(col("at")))
            .primary_key(Index::create().col(col("method_id")).col(col("dispute_id")))
            .check(Expr::col(col("state")).is_in(["open", "released", "ended"]))
            .to_owned(),
    ]
}

/// Partial indexes are beyond the builder; both dialects read this text alike.
const INDEXES: &[&str] = &[
    "CREATE INDEX wallet_customer_ask ON wallet_customer (merchant_id, ask_at, id)",
    "CREATE INDEX payment_method_customer ON payment_method (customer_id)",
    "CREATE INDEX payment_method_merchant ON payment_method (merchant_id, id)",
    "CREATE INDEX payment_method_expires ON payment_method (merchant_id, expires_from) WHERE expires_from IS NOT NULL",
    "CREATE INDEX payment_method_dispute_open ON payment_method_dispute (method_id) WHERE state = 'open'",
    "CREATE INDEX subscription_method ON subscription (method_id) WHERE method_id IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in tables() {
            manager.create_table(statement).await?;
        }
        for statement in INDEXES {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Everything here can be asked for again, except who released which dispute; that stands in the audit.
        manager.get_connection().execute_unprepared("DROP INDEX subscription_method").await?;
        for table in ["payment_method_dispute", "payment_method", "wallet_customer"] {
            manager.drop_table(Table::drop().table(col(table)).to_owned()).await?;
        }
        Ok(())
    }
}
