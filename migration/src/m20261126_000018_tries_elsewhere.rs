//! Tries that other systems made, beside the attempts of this one, and the second instrument of an attempt: all that networks count. And the
//! code under which an attempt was declined or taken back (`attempt.outcome_code`), by which banks' returns are counted.
//!
//! `try_elsewhere` is written and never changed: triggers hold that. Its words are those of `attempt`: `state` is `open` (nobody knows),
//! `declined`, or `succeeded` with the class under which a bank took the money back. `charge_id` is the charge of the cycle that the try
//! was for, or an id of its own; `subscription_id` and `cycle` name the cycle, where it is known.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, string, string_null, timestamp_with_time_zone, uuid, uuid_null,
};
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000018_tries_elsewhere"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn tries() -> TableCreateStatement {
    Table::create()
        .table(col("try_elsewhere"))
        .col(uuid(col("id")).primary_key())
        .col(uuid(col("merchant_id")))
        .col(string(col("reference")))
        .col(uuid(col("method_id")))
        .col(timestamp_with_time_zone(col("tried_at")))
        .col(string(col("state")))
        .col(string_null(col("outcome_class")))
        .col(string_null(col("code")))
        .col(big_integer(col("amount_minor")))
        .col(string(col("currency")))
        .col(uuid(col("charge_id")))
        .col(string_null(col("subscription_id")))
        .col(big_integer_null(col("cycle")))
        .col(timestamp_with_time_zone(col("imported_at")))
        .check(Expr::col(col("amount_minor")).gte(0))
        .check(Expr::col(col("state")).is_in(["open", "declined", "succeeded"]))
        .check(Expr::col(col("state")).eq("open").or(Expr::col(col("outcome_class")).is_not_null()))
        .to_owned()
}

/// Of what was tried before there was this column, only the latest attempt of a charge has a code.
const FILL: &str = "UPDATE attempt SET outcome_code = (SELECT c.decline_code FROM charge c WHERE c.id = attempt.charge_id) \
     WHERE outcome_class IS NOT NULL AND EXISTS (SELECT 1 FROM charge c WHERE c.id = attempt.charge_id AND c.attempt = attempt.number)";

const INDEXES: &[&str] = &[
    "CREATE INDEX try_elsewhere_method ON try_elsewhere (method_id, tried_at)",
    "CREATE INDEX attempt_counted_second ON attempt (second_method_id, created_at) \
     WHERE second_method_id IS NOT NULL AND (state = 'open' OR outcome_class IS NOT NULL)",
];

const KEPT_ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION try_elsewhere_is_kept() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'tries of other systems are written and never changed'; END $$",
    "CREATE TRIGGER try_elsewhere_kept BEFORE UPDATE OR DELETE ON try_elsewhere \
     FOR EACH ROW EXECUTE FUNCTION try_elsewhere_is_kept()",
];

const KEPT_ON_SQLITE: &[&str] = &[
    "CREATE TRIGGER try_elsewhere_kept BEFORE UPDATE ON try_elsewhere \
     BEGIN SELECT RAISE(ABORT, 'tries of other systems are written and never changed'); END",
    "CREATE TRIGGER try_elsewhere_stays BEFORE DELETE ON try_elsewhere \
     BEGIN SELECT RAISE(ABORT, 'tries of other systems are written and never changed'); END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for column in [uuid_null(col("second_method_id")), string_null(col("outcome_code"))] {
            manager.alter_table(Table::alter().table(col("attempt")).add_column(column).to_owned()).await?;
        }
        manager.get_connection().execute_unprepared(FILL).await?;
        manager.create_table(tries()).await?;
        let kept =
            if manager.get_database_backend() == DatabaseBackend::Postgres { KEPT_ON_POSTGRES } else { KEPT_ON_SQLITE };
        for statement in INDEXES.iter().chain(kept) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What networks count is not forgotten with a version of autopay.
        Err(DbErr::Migration("tries of other systems are not undone: restore a backup instead".to_owned()))
    }
}
