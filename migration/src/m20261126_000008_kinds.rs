//! Kinds of plans: what was agreed beyond a plan, what a person said about missed cycles, and the guard of installments.
//!
//! `installment_total` has one row for each subscription that pays a total in parts. Triggers on `charge` keep what may have been
//! collected of it, in whatever transaction a charge is recorded or ends, and its CHECK keeps that within the total, whatever a
//! program believes (decision 0051). Expand only.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string, text, timestamp_with_time_zone};
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000008_kinds"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn null(mut column: ColumnDef) -> ColumnDef {
    column.null().to_owned()
}

fn total() -> TableCreateStatement {
    Table::create()
        .table(col("installment_total"))
        .col(string(col("subscription_id")).primary_key())
        .col(big_integer(col("total_minor")))
        .col(big_integer(col("taken_minor")))
        .check(Expr::cust("taken_minor >= 0 AND taken_minor <= total_minor"))
        .to_owned()
}

/// What a row of `charge` counts for: everything that was collected or may have been, until it is proven not to be. A try more
/// of the same charge is the same row, so it counts once.
macro_rules! counted {
    ($row:literal) => {
        concat!(
            "(CASE WHEN ",
            $row,
            ".purpose <> 'cycle' OR ",
            $row,
            ".state IN ('failed', 'skipped') OR ",
            $row,
            ".returned_at IS NOT NULL THEN 0 WHEN ",
            $row,
            ".state = 'paid' THEN COALESCE(",
            $row,
            ".collected_minor, ",
            $row,
            ".amount_minor) ELSE ",
            $row,
            ".amount_minor END)"
        )
    };
}

const ON_SQLITE: &[&str] = &[
    concat!(
        "CREATE TRIGGER installment_recorded AFTER INSERT ON charge BEGIN UPDATE installment_total SET taken_minor = taken_minor + ",
        counted!("NEW"),
        " WHERE subscription_id = NEW.subscription_id; END"
    ),
    concat!(
        "CREATE TRIGGER installment_moved AFTER UPDATE ON charge WHEN ",
        counted!("NEW"),
        " <> ",
        counted!("OLD"),
        " BEGIN UPDATE installment_total SET taken_minor = taken_minor + ",
        counted!("NEW"),
        " - ",
        counted!("OLD"),
        " WHERE subscription_id = NEW.subscription_id; END"
    ),
];

const ON_POSTGRES: &[&str] = &[
    concat!(
        "CREATE FUNCTION installment_recorded() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         UPDATE installment_total SET taken_minor = taken_minor + ",
        counted!("NEW"),
        " WHERE subscription_id = NEW.subscription_id; RETURN NULL; END $$"
    ),
    concat!(
        "CREATE FUNCTION installment_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         UPDATE installment_total SET taken_minor = taken_minor + ",
        counted!("NEW"),
        " - ",
        counted!("OLD"),
        " WHERE subscription_id = NEW.subscription_id; RETURN NULL; END $$"
    ),
    "CREATE TRIGGER installment_recorded AFTER INSERT ON charge FOR EACH ROW EXECUTE FUNCTION installment_recorded()",
    concat!(
        "CREATE TRIGGER installment_moved AFTER UPDATE ON charge FOR EACH ROW WHEN (",
        counted!("NEW"),
        " <> ",
        counted!("OLD"),
        ") EXECUTE FUNCTION installment_moved()"
    ),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [null(text(col("terms"))), null(timestamp_with_time_zone(col("owed_until")))] {
            let alter = Table::alter().table(col("subscription")).add_column(column).to_owned();
            manager.alter_table(alter).await?;
        }
        manager.create_table(total()).await?;
        let postgres = manager.get_database_backend() == DatabaseBackend::Postgres;
        for statement in if postgres { ON_POSTGRES } else { ON_SQLITE } {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("what guards installments is not dropped: restore a backup instead".to_owned()))
    }
}
