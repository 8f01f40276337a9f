//! The tables of the main job: catalog, subscriptions, charges with their attempts and evidence, holds, rate, runs, audit.
//!
//! Money is BIGINT minor units beside an ISO 4217 code; instants are UTC and bound by the application; civil dates are dates;
//! states are text with a CHECK. Uniqueness carries the safety: one charge per (subscription, cycle, purpose), one attempt
//! per (charge, number), per key and per gateway payment, and one open attempt per charge.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, boolean, date, integer, string, text, timestamp_with_time_zone, uuid};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261122_000001_the_main_job"
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

fn counted(name: &'static str) -> ColumnDef {
    ColumnDef::new(col(name)).big_integer().not_null().auto_increment().primary_key().to_owned()
}

fn one_of(column: &'static str, words: &[&'static str]) -> SimpleExpr {
    Expr::col(col(column)).is_in(words.iter().copied())
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table("plan_version")
            .col(string(col("plan_id")))
            .col(integer(col("version")))
            .col(text(col("spec")))
            .col(string(col("sha256")))
            .col(timestamp_with_time_zone(col("applied_at")))
            .col(string(col("applied_by")))
            .primary_key(Index::create().col(col("plan_id")).col(col("version")))
            .to_owned(),
        table("dunning_policy_version")
            .col(string(col("policy_id")))
            .col(integer(col("version")))
            .col(text(col("spec")))
            .col(string(col("sha256")))
            .col(timestamp_with_time_zone(col("applied_at")))
            .col(string(col("applied_by")))
            .primary_key(Index::create().col(col("policy_id")).col(col("version")))
            .to_owned(),
        table("subscription")
            .col(string(col("id")).primary_key())
            .col(uuid(col("merchant_id")))
            .col(string(col("plan_id")))
            .col(text(col("customer")))
            .col(null(uuid(col("method_id"))))
            .col(null(string(col("method_kind"))))
            .col(null(text(col("consent"))))
            .col(date(col("start_on")))
            .col(null(string(col("anchor_day"))))
            .col(null(string(col("time_zone"))))
            .col(null(big_integer(col("amount_minor"))))
            .col(null(string(col("currency"))))
            .col(null(date(col("end_on"))))
            .col(string(col("status")))
            .col(null(text(col("note"))))
            .col(big_integer(col("next_cycle")))
            .col(null(timestamp_with_time_zone(col("next_due_at"))))
            .col(big_integer(col("fence")).default(0))
            .col(null(timestamp_with_time_zone(col("leased_until"))))
            .col(timestamp_with_time_zone(col("created_at")))
            .col(timestamp_with_time_zone(col("updated_at")))
            .check(one_of("status", &["active", "paused", "cancelled", "ended", "quarantined"]))
            .check(Expr::col(col("next_cycle")).gte(0))
            .to_owned(),
        table("charge")
            .col(uuid(col("id")).primary_key())
            .col(uuid(col("merchant_id")))
            .col(string(col("subscription_id")))
            .col(big_integer(col("cycle")))
            .col(string(col("purpose")))
            .col(string(col("plan_id")))
            .col(integer(col("plan_version")))
            .col(big_integer(col("amount_minor")))
            .col(string(col("currency")))
            .col(date(col("due_on")))
            .col(timestamp_with_time_zone(col("due_at")))
            .col(string(col("state")))
            .col(timestamp_with_time_zone(col("state_since")))
            .col(null(timestamp_with_time_zone(col("next_at"))))
            .col(boolean(col("doubt")))
            .col(boolean(col("slow")))
            .col(integer(col("asked")))
            .col(null(string(col("decline_class"))))
            .col(null(string(col("decline_code"))))
            .col(null(string(col("why"))))
            .col(integer(col("attempt")))
            .col(integer(col("submissions")))
            .col(integer(col("not_executed")))
            .col(null(timestamp_with_time_zone(col("first_sent_at"))))
            .col(null(timestamp_with_time_zone(col("last_sent_at"))))
            .col(integer(col("declined")))
            .col(null(timestamp_with_time_zone(col("first_failed_at"))))
            .col(big_integer(col("fence")).default(0))
            .col(null(timestamp_with_time_zone(col("leased_until"))))
            .col(timestamp_with_time_zone(col("created_at")))
            .col(timestamp_with_time_zone(col("updated_at")))
            .check(one_of(
                "state",
                &["due", "sending", "unknown", "settling", "paid", "failing", "failed", "skipped", "parked"],
            ))
            .check(Expr::col(col("amount_minor")).gte(0))
            .check(Expr::col(col("cycle")).gte(0))
            .to_owned(),
        table("attempt")
            .col(uuid(col("charge_id")))
            .col(integer(col("number")))
            .col(uuid(col("gateway_key")))
            .col(uuid(col("method_id")))
            .col(big_integer(col("amount_minor")))
            .col(string(col("currency")))
            .col(text(col("body")))
            .col(string(col("body_sha256")))
            .col(string(col("state")))
            .col(null(string(col("payment_id"))))
            .col(timestamp_with_time_zone(col("created_at")))
            .col(timestamp_with_time_zone(col("updated_at")))
            .primary_key(Index::create().col(col("charge_id")).col(col("number")))
            .check(one_of("state", &["open", "succeeded", "declined", "closed"]))
            .check(Expr::col(col("number")).gte(1))
            .to_owned(),
        table("observation")
            .col(counted("id"))
            .col(uuid(col("charge_id")))
            .col(integer(col("attempt")))
            .col(string(col("asked_by")))
            .col(string(col("seen")))
            .col(string(col("to_state")))
            .col(boolean(col("applied")))
            .col(null(integer(col("http_status"))))
            .col(null(string(col("payment_id"))))
            .col(null(string(col("gateway_status"))))
            .col(null(text(col("detail"))))
            .col(null(string(col("body_sha256"))))
            .col(null(string(col("request_id"))))
            .col(timestamp_with_time_zone(col("at")))
            .to_owned(),
        table("hold")
            .col(counted("id"))
            .col(string(col("scope")))
            .col(text(col("reason")))
            .col(string(col("held_by")))
            .col(timestamp_with_time_zone(col("since")))
            .col(null(timestamp_with_time_zone(col("lifted_at"))))
            .col(null(string(col("lifted_by"))))
            .to_owned(),
        table("gateway_rate")
            .col(uuid(col("merchant_id")).primary_key())
            .col(big_integer(col("tat_us")))
            .col(big_integer(col("blocked_until_us")))
            .col(integer(col("share_permille")))
            .col(big_integer(col("changed_us")))
            .check(Expr::col(col("share_permille")).gte(1))
            .to_owned(),
        table("run")
            .col(counted("id"))
            .col(string(col("kind")))
            .col(timestamp_with_time_zone(col("as_of")))
            .col(timestamp_with_time_zone(col("finished_at")))
            .col(string(col("agenda_hash")))
            .col(big_integer(col("items")))
            .to_owned(),
        table("audit")
            .col(counted("id"))
            .col(timestamp_with_time_zone(col("at")))
            .col(string(col("actor")))
            .col(string(col("action")))
            .col(string(col("object")))
            .col(text(col("detail")))
            .to_owned(),
    ]
}

/// Partial indexes are beyond the builder; both dialects read this text alike.
const INDEXES: &[&str] = &[
    "CREATE INDEX subscription_due ON subscription (merchant_id, next_due_at, id) WHERE next_due_at IS NOT NULL",
    "CREATE INDEX subscription_plan ON subscription (plan_id)",
    "CREATE UNIQUE INDEX charge_obligation ON charge (subscription_id, cycle, purpose)",
    "CREATE INDEX charge_next ON charge (merchant_id, next_at, id) WHERE next_at IS NOT NULL",
    "CREATE INDEX charge_parked ON charge (merchant_id, state_since) WHERE state = 'parked'",
    "CREATE UNIQUE INDEX attempt_key ON attempt (gateway_key)",
    "CREATE UNIQUE INDEX attempt_payment ON attempt (payment_id) WHERE payment_id IS NOT NULL",
    "CREATE UNIQUE INDEX attempt_one_open ON attempt (charge_id) WHERE state = 'open'",
    "CREATE INDEX observation_charge ON observation (charge_id, id)",
    "CREATE UNIQUE INDEX hold_one_per_scope ON hold (scope) WHERE lifted_at IS NULL",
    "CREATE INDEX audit_object ON audit (object, id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in tables() {
            manager.create_table(statement).await?;
        }
        let connection = manager.get_connection();
        if manager.get_database_backend() == sea_orm_migration::sea_orm::DatabaseBackend::Postgres {
            // Ids are ordered by their bytes everywhere, so that an index serves the order of claims.
            for (table, column) in [("subscription", "id"), ("charge", "subscription_id")] {
                let alter = format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar COLLATE \"C\"");
                connection.execute_unprepared(&alter).await?;
            }
        }
        for statement in INDEXES {
            connection.execute_unprepared(statement).await?;
        }
        if manager.get_database_backend() == sea_orm_migration::sea_orm::DatabaseBackend::Postgres {
            // Room on each page for the claim's and the verdict's update to stay beside the row they replace.
            for table in ["subscription", "charge", "attempt"] {
                connection.execute_unprepared(&format!("ALTER TABLE {table} SET (fillfactor = 80)")).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // The first tables hold the money's history: they are never dropped by a migration.
        Err(DbErr::Migration("the first migration is not undone: restore a backup instead".to_owned()))
    }
}
