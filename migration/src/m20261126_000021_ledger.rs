//! The ledger: entries that are written once, the months that are closed over them, and what was handed on of them.
//!
//! An entry is one amount, above zero, with the account it debits and the account it credits: the ledger balances by the shape of its
//! rows. `ledger_book` has one row, and says until when the books are closed. An entry is booked no earlier than that: PostgreSQL moves
//! one that would be, under a lock that closing waits for; SQLite, where writers exclude each other, refuses it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, boolean, integer, string, string_null, text, text_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid,
};
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000021_ledger"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn numbered(name: &'static str) -> TableCreateStatement {
    let id = ColumnDef::new(col("id")).big_integer().not_null().auto_increment().primary_key().to_owned();
    Table::create().table(col(name)).col(id).to_owned()
}

fn entries() -> TableCreateStatement {
    Table::create()
        .table(col("ledger_entry"))
        .col(uuid(col("subject_id")))
        .col(string(col("posted")))
        .col(big_integer(col("number")))
        .col(string(col("subject_kind")))
        .col(uuid(col("charge_id")))
        .col(string(col("plan_id")))
        .col(integer(col("plan_version")))
        .col(string(col("debit")))
        .col(string(col("credit")))
        .col(big_integer(col("amount_minor")))
        .col(string(col("currency")))
        .col(timestamp_with_time_zone(col("happened_at")))
        .col(timestamp_with_time_zone(col("booked_at")))
        .primary_key(Index::create().col(col("subject_id")).col(col("posted")).col(col("number")))
        .check(Expr::col(col("amount_minor")).gte(1))
        .check(Expr::col(col("debit")).ne(Expr::col(col("credit"))))
        .check(Expr::col(col("subject_kind")).is_in(["charge", "refund", "dispute"]))
        .to_owned()
}

fn book() -> TableCreateStatement {
    Table::create()
        .table(col("ledger_book"))
        .col(integer(col("id")).primary_key())
        .col(string_null(col("zone")))
        .col(timestamp_with_time_zone_null(col("closed_until")))
        .check(Expr::col(col("id")).eq(1))
        .to_owned()
}

/// One row for each time that a month was closed.
fn periods() -> TableCreateStatement {
    numbered("ledger_period")
        .col(string(col("month")))
        .col(string(col("zone")))
        .col(timestamp_with_time_zone(col("from_at")))
        .col(timestamp_with_time_zone(col("until_at")))
        .col(timestamp_with_time_zone(col("closed_at")))
        .col(string(col("closed_by")))
        .col(text(col("reason")))
        .col(big_integer_null(col("entries")))
        .col(string_null(col("digest")))
        .col(string_null(col("reopen_asked_by")))
        .col(timestamp_with_time_zone_null(col("reopened_at")))
        .col(string_null(col("reopened_by")))
        .col(text_null(col("reopen_reason")))
        .to_owned()
}

/// What keeps a month from being closed, and was found to be no reason.
fn waivers() -> TableCreateStatement {
    Table::create()
        .table(col("ledger_waiver"))
        .col(string(col("month")))
        .col(string(col("blocker")))
        .col(string(col("culprit")))
        .col(string(col("waived_by")))
        .col(text(col("reason")))
        .col(timestamp_with_time_zone(col("at")))
        .primary_key(Index::create().col(col("month")).col(col("blocker")).col(col("culprit")))
        .to_owned()
}

/// Every journal that was handed on.
fn exports() -> TableCreateStatement {
    numbered("ledger_export")
        .col(string(col("month")))
        .col(string(col("format")))
        .col(boolean(col("detail")))
        .col(big_integer(col("entries")))
        .col(string(col("digest")))
        .col(string(col("standing")))
        .col(string(col("exported_by")))
        .col(timestamp_with_time_zone(col("at")))
        .to_owned()
}

const COMMON: &[&str] = &[
    "CREATE INDEX ledger_entry_booked ON ledger_entry (booked_at)",
    "CREATE UNIQUE INDEX ledger_period_closed ON ledger_period (month) WHERE reopened_at IS NULL",
    "CREATE INDEX ledger_export_of ON ledger_export (month, format)",
    "INSERT INTO ledger_book (id) VALUES (1)",
];

const KEPT_ON_POSTGRES: &[&str] = &[
    // Entries are listed in the order of the bytes of these words everywhere.
    "ALTER TABLE ledger_entry ALTER COLUMN posted TYPE varchar COLLATE \"C\"",
    "CREATE FUNCTION ledger_is_kept() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'the ledger is written and never changed'; END $$",
    "CREATE TRIGGER ledger_entry_kept BEFORE UPDATE OR DELETE ON ledger_entry FOR EACH ROW EXECUTE FUNCTION ledger_is_kept()",
    "CREATE TRIGGER ledger_waiver_kept BEFORE UPDATE OR DELETE ON ledger_waiver FOR EACH ROW EXECUTE FUNCTION ledger_is_kept()",
    "CREATE TRIGGER ledger_export_kept BEFORE UPDATE OR DELETE ON ledger_export FOR EACH ROW EXECUTE FUNCTION ledger_is_kept()",
    // Whoever closes the books takes the same lock alone: it waits for every entry under way, and what comes later sees it.
    "CREATE FUNCTION ledger_entry_is_open() RETURNS trigger LANGUAGE plpgsql AS \
     $$ DECLARE closed timestamptz; BEGIN PERFORM pg_advisory_xact_lock_shared(7205759403); \
     SELECT closed_until INTO closed FROM ledger_book; \
     IF closed > NEW.booked_at THEN NEW.booked_at := closed; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER ledger_entry_open BEFORE INSERT ON ledger_entry FOR EACH ROW EXECUTE FUNCTION ledger_entry_is_open()",
];

const KEPT_ON_SQLITE: &[&str] = &[
    "CREATE TRIGGER ledger_entry_kept BEFORE UPDATE ON ledger_entry \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_entry_stays BEFORE DELETE ON ledger_entry \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_waiver_kept BEFORE UPDATE ON ledger_waiver \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_waiver_stays BEFORE DELETE ON ledger_waiver \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_export_kept BEFORE UPDATE ON ledger_export \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_export_stays BEFORE DELETE ON ledger_export \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_entry_open BEFORE INSERT ON ledger_entry \
     WHEN NEW.booked_at < (SELECT closed_until FROM ledger_book) \
     BEGIN SELECT RAISE(ABORT, 'the books are closed on that day'); END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [entries(), book(), periods(), waivers(), exports()] {
            manager.create_table(table).await?;
        }
        let kept =
            if manager.get_database_backend() == DatabaseBackend::Postgres { KEPT_ON_POSTGRES } else { KEPT_ON_SQLITE };
        for statement in COMMON.iter().chain(kept) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What was booked is never dropped by a migration.
        Err(DbErr::Migration("the ledger is not undone: restore a backup instead".to_owned()))
    }
}
