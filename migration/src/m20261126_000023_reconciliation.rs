//! Reconciliation: runs with how far they came, their sums, the differences they found, and the rows of settlement files.
//!
//! A run's sums and differences are added in the transaction that moves its place on, so that a killed run goes on without counting
//! anything twice. Amounts are signed: positive to the merchant. Exceptions are decided, never edited or deleted.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, boolean, date, date_null, string, string_null, text, text_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid, uuid_null,
};
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000023_reconciliation"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn counted() -> ColumnDef {
    ColumnDef::new(col("id")).big_integer().not_null().auto_increment().primary_key().to_owned()
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).to_owned()
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table("recon_run")
            .col(counted())
            .col(uuid(col("merchant_id")))
            .col(string(col("source")))
            .col(date(col("from_on")))
            .col(date(col("until_on")))
            .col(boolean(col("finals")))
            .col(string(col("started_by")))
            .col(timestamp_with_time_zone(col("started_at")))
            .col(timestamp_with_time_zone_null(col("ended_at")))
            .col(string(col("stage")))
            .col(text_null(col("place")))
            .col(big_integer(col("asked")).default(0))
            .col(big_integer(col("moved")).default(0))
            .col(text_null(col("file_name")))
            .col(string_null(col("file_sha256")))
            // The day that the scheduler reconciles; empty for a run that a person began.
            .col(date_null(col("daily_on")))
            .col(big_integer(col("fence")).default(0))
            .col(timestamp_with_time_zone_null(col("leased_until")))
            .check(Expr::cust("from_on <= until_on"))
            .check(Expr::cust("(stage = 'done') = (ended_at IS NOT NULL)"))
            .to_owned(),
        table("recon_sum")
            .col(big_integer(col("run_id")))
            .col(string(col("currency")))
            .col(big_integer(col("ours_minor")))
            .col(big_integer(col("theirs_minor")))
            .primary_key(Index::create().col(col("run_id")).col(col("currency")))
            .to_owned(),
        table("recon_exception")
            .col(counted())
            .col(big_integer(col("run_id")))
            .col(uuid(col("merchant_id")))
            .col(string(col("kind")))
            // What it is about: `attempt:<key>`, `refund:<id>`, `row:<identity>`.
            .col(string(col("subject")))
            .col(uuid_null(col("charge_id")))
            .col(uuid_null(col("refund_id")))
            .col(string_null(col("subscription_id")))
            .col(uuid_null(col("gateway_key")))
            .col(string_null(col("payment_id")))
            .col(string(col("currency")))
            .col(big_integer(col("ours_minor")))
            .col(big_integer(col("theirs_minor")))
            .col(text(col("evidence")))
            .col(string(col("standing")))
            .col(timestamp_with_time_zone(col("found_at")))
            .col(string_null(col("decided_by")))
            .col(timestamp_with_time_zone_null(col("decided_at")))
            .col(text_null(col("note")))
            .check(Expr::col(col("standing")).is_in(["open", "matched", "waived", "solved"]))
            .check(Expr::cust("(standing = 'open') = (decided_at IS NULL)"))
            .to_owned(),
        table("recon_row")
            .col(string(col("identity")))
            .col(uuid(col("merchant_id")))
            .col(big_integer(col("run_id")))
            .col(big_integer(col("line")))
            .col(string(col("kind")))
            .col(string_null(col("gateway_id")))
            .col(string_null(col("our_key")))
            .col(string(col("currency")))
            .col(big_integer(col("gross_minor")))
            .col(big_integer(col("fee_minor")))
            .col(big_integer(col("net_minor")))
            .col(date(col("settled_on")))
            .col(string_null(col("code")))
            .col(big_integer(col("occurrence")))
            .col(uuid_null(col("charge_id")))
            .col(uuid_null(col("refund_id")))
            .col(timestamp_with_time_zone(col("kept_at")))
            .primary_key(Index::create().col(col("merchant_id")).col(col("identity")))
            .to_owned(),
    ]
}

/// Partial indexes are beyond the builder; both dialects read this text alike.
const INDEXES: &[&str] = &[
    "CREATE UNIQUE INDEX recon_run_file ON recon_run (merchant_id, file_sha256) WHERE file_sha256 IS NOT NULL",
    "CREATE UNIQUE INDEX recon_run_daily ON recon_run (merchant_id, daily_on) WHERE daily_on IS NOT NULL",
    "CREATE INDEX recon_run_open ON recon_run (merchant_id, id) WHERE ended_at IS NULL",
    "CREATE UNIQUE INDEX recon_exception_once ON recon_exception (run_id, subject, kind)",
    "CREATE INDEX recon_exception_subject ON recon_exception (merchant_id, subject, id)",
    "CREATE INDEX recon_exception_open ON recon_exception (merchant_id, id) WHERE standing = 'open'",
    "CREATE INDEX recon_row_key ON recon_row (merchant_id, our_key) WHERE our_key IS NOT NULL",
    "CREATE INDEX recon_row_charge ON recon_row (charge_id) WHERE charge_id IS NOT NULL",
    "CREATE INDEX recon_row_day ON recon_row (merchant_id, settled_on)",
];

/// Attempts and charges of a day: both come in the order of time, so PostgreSQL needs next to nothing to find them by it.
const BY_TIME: [(&str, &str); 2] = [
    (
        "CREATE INDEX attempt_time ON attempt USING brin (created_at)",
        "CREATE INDEX attempt_time ON attempt (created_at)",
    ),
    ("CREATE INDEX charge_day ON charge USING brin (due_on)", "CREATE INDEX charge_day ON charge (due_on)"),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in tables() {
            manager.create_table(statement).await?;
        }
        let postgres = manager.get_database_backend() == DatabaseBackend::Postgres;
        let by_time = BY_TIME.iter().map(|(brin, plain)| if postgres { brin } else { plain });
        for statement in INDEXES.iter().chain(by_time) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("what was reconciled is not forgotten: restore a backup instead".to_owned()))
    }
}
