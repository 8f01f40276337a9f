//! The tables of refunds: the refunds with their evidence, the guard of their sums, and the disputes that forbid them.
//!
//! Uniqueness carries the safety: one refund per (charge, number), per key and per gateway id. `refund_total` holds one row a
//! charge, written by every transaction that records or ends one of its refunds: it puts them in order, and its CHECK keeps the
//! sum of what may have gone back within what was collected, whatever a program believes.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, boolean, integer, string, text, timestamp_with_time_zone, uuid};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000004_refunds"
    }
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).to_owned()
}

fn null(mut column: ColumnDef) -> ColumnDef {
    column.null().to_owned()
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

const STATES: [&str; 8] =
    ["recorded", "sending", "settling", "unknown", "refunded", "partly_refunded", "failed", "parked"];

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table("refund")
            .col(uuid(col("id")).primary_key())
            .col(uuid(col("charge_id")))
            .col(integer(col("number")))
            .col(uuid(col("merchant_id")))
            .col(string(col("subscription_id")))
            .col(uuid(col("gateway_key")))
            .col(string(col("payment_id")))
            .col(big_integer(col("amount_minor")))
            .col(string(col("currency")))
            .col(boolean(col("whole")))
            .col(string(col("reason")))
            .col(string(col("recorded_by")))
            .col(timestamp_with_time_zone(col("recorded_at")))
            .col(string(col("state")))
            .col(timestamp_with_time_zone(col("state_since")))
            .col(null(timestamp_with_time_zone(col("next_at"))))
            .col(integer(col("asked")))
            .col(null(string(col("why"))))
            .col(null(text(col("code"))))
            .col(big_integer(col("given_back_minor")))
            .col(null(string(col("gateway_id"))))
            .col(null(string(col("hint"))))
            .col(null(text(col("body"))))
            .col(null(string(col("body_sha256"))))
            .col(null(timestamp_with_time_zone(col("sent_at"))))
            .col(big_integer(col("version")).default(0))
            .col(null(timestamp_with_time_zone(col("leased_until"))))
            .col(timestamp_with_time_zone(col("updated_at")))
            .check(Expr::col(col("state")).is_in(STATES))
            .check(Expr::col(col("amount_minor")).gt(0))
            .check(Expr::col(col("number")).gte(1))
            // What has no body was never sent, and what was sent has one.
            .check(Expr::cust("state IN ('recorded', 'failed') OR sent_at IS NOT NULL"))
            .check(Expr::cust("(sent_at IS NULL) = (body IS NULL)"))
            .check(Expr::cust("given_back_minor >= 0 AND given_back_minor <= amount_minor"))
            .to_owned(),
        table("refund_observation")
            .col(ColumnDef::new(col("id")).big_integer().not_null().auto_increment().primary_key().to_owned())
            .col(uuid(col("refund_id")))
            .col(string(col("asked_by")))
            .col(string(col("seen")))
            .col(string(col("to_state")))
            .col(boolean(col("applied")))
            .col(null(integer(col("http_status"))))
            .col(null(string(col("gateway_id"))))
            .col(null(string(col("gateway_status"))))
            .col(null(text(col("detail"))))
            .col(null(string(col("body_sha256"))))
            .col(null(string(col("request_id"))))
            .col(timestamp_with_time_zone(col("at")))
            .to_owned(),
        table("refund_total")
            .col(uuid(col("charge_id")).primary_key())
            .col(big_integer(col("collected_minor")))
            .col(big_integer(col("taken_minor")))
            .col(integer(col("last_number")))
            .check(Expr::cust("taken_minor >= 0 AND taken_minor <= collected_minor"))
            .to_owned(),
        table("refund_dispute")
            .col(uuid(col("charge_id")))
            .col(string(col("dispute")))
            .col(timestamp_with_time_zone(col("since")))
            .primary_key(Index::create().col(col("charge_id")).col(col("dispute")))
            .to_owned(),
    ]
}

/// Partial indexes are beyond the builder; both dialects read this text alike.
const INDEXES: &[&str] = &[
    "CREATE UNIQUE INDEX refund_number ON refund (charge_id, number)",
    "CREATE UNIQUE INDEX refund_key ON refund (gateway_key)",
    "CREATE UNIQUE INDEX refund_gateway_id ON refund (gateway_id) WHERE gateway_id IS NOT NULL",
    "CREATE INDEX refund_next ON refund (merchant_id, next_at, id) WHERE next_at IS NOT NULL",
    "CREATE INDEX refund_parked ON refund (merchant_id, state_since) WHERE state = 'parked'",
    "CREATE INDEX refund_recorded ON refund (recorded_at, id)",
    "CREATE INDEX refund_observation_refund ON refund_observation (refund_id, id)",
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

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("refunds are money's history and are not dropped: restore a backup instead".to_owned()))
    }
}
