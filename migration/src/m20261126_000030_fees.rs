//! Fees in the ledger: an entry may be about a row of a settlement file, and then about no charge and under no plan.
//!
//! SQLite changes no constraint of a table, so there the table is written anew, in the migration's own transaction, with the index and the
//! triggers that it had.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000030_fees"
    }
}

const ON_POSTGRES: &[&str] =
    &["ALTER TABLE ledger_entry ALTER COLUMN charge_id DROP NOT NULL, ALTER COLUMN plan_id DROP NOT NULL, \
     DROP CONSTRAINT ledger_entry_subject_kind_check, \
     ADD CONSTRAINT ledger_entry_subject_kind_check CHECK (subject_kind IN ('charge', 'refund', 'dispute', 'row')), \
     ADD CONSTRAINT ledger_entry_names_a_charge CHECK (subject_kind = 'row' OR charge_id IS NOT NULL), \
     ADD CONSTRAINT ledger_entry_names_a_plan CHECK ((charge_id IS NULL) = (plan_id IS NULL))"];

const ON_SQLITE: &[&str] = &[
    "CREATE TABLE ledger_entry_anew (subject_id uuid_text NOT NULL, posted varchar NOT NULL, number bigint NOT NULL, \
     subject_kind varchar NOT NULL, charge_id uuid_text, plan_id varchar, plan_version integer NOT NULL, debit varchar NOT NULL, \
     credit varchar NOT NULL, amount_minor bigint NOT NULL, currency varchar NOT NULL, \
     happened_at timestamp_with_timezone_text NOT NULL, booked_at timestamp_with_timezone_text NOT NULL, \
     PRIMARY KEY (subject_id, posted, number), CHECK (amount_minor >= 1), CHECK (debit <> credit), \
     CHECK (subject_kind IN ('charge', 'refund', 'dispute', 'row')), CHECK (subject_kind = 'row' OR charge_id IS NOT NULL), \
     CHECK ((charge_id IS NULL) = (plan_id IS NULL)))",
    "INSERT INTO ledger_entry_anew SELECT subject_id, posted, number, subject_kind, charge_id, plan_id, plan_version, debit, credit, \
     amount_minor, currency, happened_at, booked_at FROM ledger_entry",
    "DROP TABLE ledger_entry",
    "ALTER TABLE ledger_entry_anew RENAME TO ledger_entry",
    "CREATE INDEX ledger_entry_booked ON ledger_entry (booked_at)",
    "CREATE TRIGGER ledger_entry_kept BEFORE UPDATE ON ledger_entry \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_entry_stays BEFORE DELETE ON ledger_entry \
     BEGIN SELECT RAISE(ABORT, 'the ledger is written and never changed'); END",
    "CREATE TRIGGER ledger_entry_open BEFORE INSERT ON ledger_entry \
     WHEN NEW.booked_at < (SELECT closed_until FROM ledger_book) \
     BEGIN SELECT RAISE(ABORT, 'the books are closed on that day'); END",
    // Entries are looked for by what their rows are called; PostgreSQL joins both sides at once.
    "CREATE INDEX recon_row_entry ON recon_row (unhex(identity, '-'))",
];

const COMMON: &[&str] = &[
    "CREATE INDEX ledger_entry_of_charge ON ledger_entry (charge_id) WHERE subject_kind = 'row' AND charge_id IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let own = if manager.get_database_backend() == DatabaseBackend::Postgres { ON_POSTGRES } else { ON_SQLITE };
        for statement in own.iter().chain(COMMON) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("fees that were posted stay posted: restore a backup instead".to_owned()))
    }
}
