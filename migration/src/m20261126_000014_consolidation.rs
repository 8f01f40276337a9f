//! One payment for one customer and day: which charge collects which cycle, and how the others of a customer are found.
//!
//! `charge.carried_parts` and `charge.carried_minor` say how many cycles a charge collects besides its own, and what they come to;
//! `charge_part` names them. It is written with its charges and never changed: triggers hold that. A cycle is carried at most once:
//! its charge is the key.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, timestamp_with_time_zone, uuid};
use sea_orm_migration::sea_orm::DatabaseBackend;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000014_consolidation"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn columns() -> Vec<ColumnDef> {
    vec![integer(col("carried_parts")).default(0).to_owned(), big_integer(col("carried_minor")).default(0).to_owned()]
}

/// One row for each cycle that another charge collects.
fn parts() -> TableCreateStatement {
    Table::create()
        .table(col("charge_part"))
        .col(uuid(col("part_id")).primary_key())
        .col(uuid(col("charge_id")))
        .col(string(col("subscription_id")))
        .col(big_integer(col("cycle")))
        .col(string(col("plan_id")))
        .col(big_integer(col("amount_minor")))
        .col(string(col("currency")))
        .col(timestamp_with_time_zone(col("at")))
        .check(Expr::col(col("amount_minor")).gte(1))
        .check(Expr::col(col("part_id")).ne(Expr::col(col("charge_id"))))
        .to_owned()
}

const INDEXES: &[&str] = &["CREATE INDEX charge_part_of ON charge_part (charge_id)"];

/// Customers are compared as they are written. PostgreSQL's index takes no value of any length, so it holds a digest of it.
const CUSTOMER_ON_POSTGRES: &str =
    "CREATE INDEX subscription_customer ON subscription (merchant_id, md5(customer)) WHERE next_due_at IS NOT NULL";
const CUSTOMER_ON_SQLITE: &str =
    "CREATE INDEX subscription_customer ON subscription (merchant_id, customer) WHERE next_due_at IS NOT NULL";

const KEPT_ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION charge_part_is_kept() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'what a charge carries is written once and never changed'; END $$",
    "CREATE TRIGGER charge_part_kept BEFORE UPDATE OR DELETE ON charge_part FOR EACH ROW EXECUTE FUNCTION charge_part_is_kept()",
];

const KEPT_ON_SQLITE: &[&str] = &[
    "CREATE TRIGGER charge_part_kept BEFORE UPDATE ON charge_part \
     BEGIN SELECT RAISE(ABORT, 'what a charge carries is written once and never changed'); END",
    "CREATE TRIGGER charge_part_stays BEFORE DELETE ON charge_part \
     BEGIN SELECT RAISE(ABORT, 'what a charge carries is written once and never changed'); END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            manager.alter_table(Table::alter().table(col("charge")).add_column(column).to_owned()).await?;
        }
        manager.create_table(parts()).await?;
        let (kept, customer) = match manager.get_database_backend() {
            DatabaseBackend::Postgres => {
                // Subscriptions are ordered by the bytes of their ids everywhere.
                let alter = "ALTER TABLE charge_part ALTER COLUMN subscription_id TYPE varchar COLLATE \"C\"";
                manager.get_connection().execute_unprepared(alter).await?;
                (KEPT_ON_POSTGRES, CUSTOMER_ON_POSTGRES)
            }
            _ => (KEPT_ON_SQLITE, CUSTOMER_ON_SQLITE),
        };
        for statement in INDEXES.iter().chain(kept).chain([&customer]) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Which payment collected which cycle is never dropped by a migration.
        Err(DbErr::Migration("consolidated charges are not undone: restore a backup instead".to_owned()))
    }
}
