//! What the gateway tells us, and what follows from it: the inbox of deliveries, the dispute ledger with its history, and the
//! moment at which a collected charge went back.
//!
//! A return is a column of its own beside the state `paid`, not a new word in its CHECK (decision 0020): the success is never
//! edited, and a binary of the release before reads the row as it always did.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, text, timestamp_with_time_zone, uuid};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000002_webhooks"
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

fn one_of(column: &'static str, words: &[&'static str]) -> SimpleExpr {
    Expr::col(col(column)).is_in(words.iter().copied())
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table("webhook_inbox")
            .col(uuid(col("id")).primary_key())
            .col(uuid(col("merchant_id")))
            .col(string(col("dedupe_key")))
            .col(string(col("name")))
            .col(string(col("kind")))
            .col(null(string(col("resource_id"))))
            .col(null(string(col("merchant_transaction_id"))))
            // As it arrived; emptied after a while, because it names people.
            .col(null(ColumnDef::new(col("body")).binary().to_owned()))
            .col(string(col("body_sha256")))
            .col(big_integer(col("deliveries")))
            .col(string(col("state")))
            .col(null(string(col("why"))))
            .col(integer(col("tries")))
            .col(null(timestamp_with_time_zone(col("next_at"))))
            .col(big_integer(col("fence")).default(0))
            .col(null(timestamp_with_time_zone(col("leased_until"))))
            .col(timestamp_with_time_zone(col("received_at")))
            .col(timestamp_with_time_zone(col("last_received_at")))
            .col(null(timestamp_with_time_zone(col("handled_at"))))
            .check(one_of("state", &["new", "waiting", "done", "foreign", "unknown", "unreadable"]))
            .check(one_of("kind", &["payment", "refund", "payment_method", "dispute", "unknown", "unreadable"]))
            .check(Expr::col(col("deliveries")).gte(1))
            .to_owned(),
        table("dispute")
            .col(uuid(col("id")).primary_key())
            .col(uuid(col("merchant_id")))
            .col(string(col("gateway_id")))
            .col(uuid(col("charge_id")))
            .col(integer(col("attempt")))
            .col(uuid(col("method_id")))
            .col(null(string(col("allocation_id"))))
            .col(null(string(col("payment_id"))))
            .col(null(big_integer(col("amount_minor"))))
            .col(null(string(col("currency"))))
            .col(null(text(col("reason"))))
            .col(string(col("standing")))
            // The standing's place in its order: compared by the statement that writes, so that it never goes back.
            .col(integer(col("standing_rank")))
            .col(timestamp_with_time_zone(col("opened_at")))
            .col(timestamp_with_time_zone(col("changed_at")))
            .col(null(timestamp_with_time_zone(col("ended_at"))))
            .check(one_of("standing", &["open", "needs_response", "under_review", "closed", "won", "lost"]))
            .to_owned(),
        table("dispute_event")
            .col(uuid(col("dispute_id")))
            // The delivery that told it: one line for each, however often it is replayed.
            .col(uuid(col("inbox_id")))
            .col(string(col("name")))
            .col(null(string(col("status"))))
            .col(string(col("standing")))
            .col(timestamp_with_time_zone(col("at")))
            .primary_key(Index::create().col(col("dispute_id")).col(col("inbox_id")))
            .to_owned(),
    ]
}

/// Partial indexes are beyond the builder; both dialects read this text alike.
const INDEXES: &[&str] = &[
    "CREATE UNIQUE INDEX webhook_inbox_dedupe ON webhook_inbox (merchant_id, dedupe_key)",
    "CREATE INDEX webhook_inbox_next ON webhook_inbox (merchant_id, next_at, id) WHERE next_at IS NOT NULL",
    "CREATE INDEX webhook_inbox_waiting ON webhook_inbox (merchant_id, kind) WHERE state = 'waiting'",
    "CREATE INDEX webhook_inbox_full ON webhook_inbox (received_at) WHERE body IS NOT NULL",
    "CREATE INDEX webhook_inbox_received ON webhook_inbox (received_at, id)",
    "CREATE INDEX dispute_charge ON dispute (charge_id)",
    "CREATE INDEX dispute_opened ON dispute (opened_at, id)",
    "CREATE INDEX charge_returned ON charge (merchant_id, returned_at) WHERE returned_at IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in tables() {
            manager.create_table(statement).await?;
        }
        let connection = manager.get_connection();
        // Both databases add a column that may be empty without touching a row.
        let only_of_paid = Expr::col(col("returned_at")).is_null().or(Expr::col(col("state")).eq("paid"));
        let returned_at = null(timestamp_with_time_zone(col("returned_at"))).check(only_of_paid).to_owned();
        manager.alter_table(Table::alter().table(col("charge")).add_column(returned_at).to_owned()).await?;
        for statement in INDEXES {
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Disputes and returns are money's history: they are never dropped by a migration.
        Err(DbErr::Migration("this migration is not undone: restore a backup instead".to_owned()))
    }
}
