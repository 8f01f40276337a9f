//! What people change about one subscription: cycles left out or moved, credits and charges, a pause with its end, a last day.
//!
//! `subscription.amend_revision` counts the changes; `amend_open` counts what is still to come of them, so that a claim asks
//! for amendments only where there are any. `adjustment` and `adjustment_use` are written and never changed: triggers hold that.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, date, string, text, timestamp_with_time_zone, uuid};
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000009_adjustments"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn null(mut column: ColumnDef) -> ColumnDef {
    column.null().to_owned()
}

fn counter(name: &'static str) -> ColumnDef {
    big_integer(col(name)).default(0).to_owned()
}

fn columns() -> Vec<ColumnDef> {
    vec![counter("amend_revision"), counter("amend_open"), null(date(col("resume_on"))), null(date(col("last_on")))]
}

/// One row for each cycle that a person left out or moved.
fn overrides() -> TableCreateStatement {
    Table::create()
        .table(col("cycle_override"))
        .col(string(col("subscription_id")))
        .col(big_integer(col("cycle")))
        .col(string(col("ruling")))
        .col(null(date(col("to_date"))))
        .col(text(col("reason")))
        .col(string(col("ruled_by")))
        .col(timestamp_with_time_zone(col("at")))
        .primary_key(Index::create().col(col("subscription_id")).col(col("cycle")))
        .check(Expr::col(col("ruling")).is_in(["skip", "move"]))
        .check(Expr::col(col("cycle")).gte(0))
        .to_owned()
}

/// One row for each credit or charge.
fn adjustments() -> TableCreateStatement {
    Table::create()
        .table(col("adjustment"))
        .col(ColumnDef::new(col("id")).big_integer().not_null().auto_increment().primary_key())
        .col(string(col("subscription_id")))
        .col(string(col("kind")))
        .col(big_integer(col("amount_minor")))
        .col(string(col("currency")))
        .col(text(col("reason")))
        .col(string(col("made_by")))
        .col(timestamp_with_time_zone(col("at")))
        .check(Expr::col(col("kind")).is_in(["credit", "charge"]))
        .check(Expr::col(col("amount_minor")).gte(1))
        .to_owned()
}

/// What one cycle took of one adjustment.
fn uses() -> TableCreateStatement {
    Table::create()
        .table(col("adjustment_use"))
        .col(big_integer(col("adjustment_id")))
        .col(uuid(col("charge_id")))
        .col(string(col("subscription_id")))
        .col(big_integer(col("cycle")))
        .col(big_integer(col("amount_minor")))
        .col(timestamp_with_time_zone(col("at")))
        .primary_key(Index::create().col(col("adjustment_id")).col(col("charge_id")))
        .check(Expr::col(col("amount_minor")).gte(1))
        .to_owned()
}

const INDEXES: &[&str] = &[
    "CREATE INDEX adjustment_of ON adjustment (subscription_id, id)",
    "CREATE INDEX adjustment_use_of ON adjustment_use (subscription_id, cycle)",
];

const KEPT_ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION adjustment_is_kept() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'adjustments are written and never changed'; END $$",
    "CREATE TRIGGER adjustment_kept BEFORE UPDATE OR DELETE ON adjustment FOR EACH ROW EXECUTE FUNCTION adjustment_is_kept()",
    "CREATE TRIGGER adjustment_use_kept BEFORE UPDATE OR DELETE ON adjustment_use \
     FOR EACH ROW EXECUTE FUNCTION adjustment_is_kept()",
];

const KEPT_ON_SQLITE: &[&str] = &[
    "CREATE TRIGGER adjustment_kept BEFORE UPDATE ON adjustment \
     BEGIN SELECT RAISE(ABORT, 'adjustments are written and never changed'); END",
    "CREATE TRIGGER adjustment_stays BEFORE DELETE ON adjustment \
     BEGIN SELECT RAISE(ABORT, 'adjustments are written and never changed'); END",
    "CREATE TRIGGER adjustment_use_kept BEFORE UPDATE ON adjustment_use \
     BEGIN SELECT RAISE(ABORT, 'adjustments are written and never changed'); END",
    "CREATE TRIGGER adjustment_use_stays BEFORE DELETE ON adjustment_use \
     BEGIN SELECT RAISE(ABORT, 'adjustments are written and never changed'); END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            let alter = Table::alter().table(col("subscription")).add_column(column).to_owned();
            manager.alter_table(alter).await?;
        }
        for table in [overrides(), adjustments(), uses()] {
            manager.create_table(table).await?;
        }
        let kept =
            if manager.get_database_backend() == DatabaseBackend::Postgres { KEPT_ON_POSTGRES } else { KEPT_ON_SQLITE };
        for statement in INDEXES.iter().chain(kept) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What was agreed with customers about their money is never dropped by a migration.
        Err(DbErr::Migration("adjustments and changed cycles are not undone: restore a backup instead".to_owned()))
    }
}
