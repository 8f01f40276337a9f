//! One payment for one customer and day: which charge collects which cycle, and how the others of a customer are found.
//!
//! `charge.carried_parts` and `charge.carried_minor` say how many cycles a charge collects besides its own, and what they come to;
//! `charge_part` names them. It is written with its charges and never changed: triggers hold that. A cycle is carried at most once:
//! its charge is the key.
//!
//! `subscription_customer` finds the subscriptions of a customer. An index over `subscription` itself would be written again each time that one
//! moves on; this table is written by triggers, when a subscription is new or its customer changes.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, text, timestamp_with_time_zone, uuid};
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

/// Whose subscription it is, as it is written there; on PostgreSQL, whose index takes no value of any length, its digest.
fn customers() -> TableCreateStatement {
    Table::create()
        .table(col("subscription_customer"))
        .col(string(col("subscription_id")).primary_key())
        .col(uuid(col("merchant_id")))
        .col(text(col("customer_key")))
        .to_owned()
}

const INDEXES: &[&str] = &[
    "CREATE INDEX charge_part_of ON charge_part (charge_id)",
    "CREATE INDEX subscription_customer_key ON subscription_customer (merchant_id, customer_key)",
];

const KEPT_ON_POSTGRES: &[&str] = &[
    "CREATE FUNCTION charge_part_is_kept() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'what a charge carries is written once and never changed'; END $$",
    "CREATE TRIGGER charge_part_kept BEFORE UPDATE OR DELETE ON charge_part FOR EACH ROW EXECUTE FUNCTION charge_part_is_kept()",
    "INSERT INTO subscription_customer (subscription_id, merchant_id, customer_key) SELECT id, merchant_id, md5(customer) FROM subscription",
    "CREATE FUNCTION subscription_has_customer() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN INSERT INTO subscription_customer (subscription_id, merchant_id, customer_key) \
     VALUES (NEW.id, NEW.merchant_id, md5(NEW.customer)) \
     ON CONFLICT (subscription_id) DO UPDATE SET merchant_id = excluded.merchant_id, customer_key = excluded.customer_key; \
     RETURN NULL; END $$",
    "CREATE TRIGGER subscription_customer_new AFTER INSERT ON subscription \
     FOR EACH ROW EXECUTE FUNCTION subscription_has_customer()",
    "CREATE TRIGGER subscription_customer_changed AFTER UPDATE OF customer ON subscription FOR EACH ROW \
     WHEN (OLD.customer IS DISTINCT FROM NEW.customer) EXECUTE FUNCTION subscription_has_customer()",
];

const KEPT_ON_SQLITE: &[&str] = &[
    "CREATE TRIGGER charge_part_kept BEFORE UPDATE ON charge_part \
     BEGIN SELECT RAISE(ABORT, 'what a charge carries is written once and never changed'); END",
    "CREATE TRIGGER charge_part_stays BEFORE DELETE ON charge_part \
     BEGIN SELECT RAISE(ABORT, 'what a charge carries is written once and never changed'); END",
    "INSERT INTO subscription_customer (subscription_id, merchant_id, customer_key) SELECT id, merchant_id, customer FROM subscription",
    "CREATE TRIGGER subscription_customer_new AFTER INSERT ON subscription BEGIN \
     INSERT INTO subscription_customer (subscription_id, merchant_id, customer_key) VALUES (NEW.id, NEW.merchant_id, NEW.customer); END",
    "CREATE TRIGGER subscription_customer_changed AFTER UPDATE OF customer ON subscription \
     WHEN OLD.customer IS NOT NEW.customer BEGIN \
     UPDATE subscription_customer SET customer_key = NEW.customer WHERE subscription_id = NEW.id; END",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            manager.alter_table(Table::alter().table(col("charge")).add_column(column).to_owned()).await?;
        }
        manager.create_table(parts()).await?;
        manager.create_table(customers()).await?;
        let kept = match manager.get_database_backend() {
            DatabaseBackend::Postgres => {
                // Subscriptions are ordered by the bytes of their ids everywhere.
                for table in ["charge_part", "subscription_customer"] {
                    let alter = format!("ALTER TABLE {table} ALTER COLUMN subscription_id TYPE varchar COLLATE \"C\"");
                    manager.get_connection().execute_unprepared(&alter).await?;
                }
                KEPT_ON_POSTGRES
            }
            _ => KEPT_ON_SQLITE,
        };
        for statement in INDEXES.iter().chain(kept) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Which payment collected which cycle is never dropped by a migration.
        Err(DbErr::Migration("consolidated charges are not undone: restore a backup instead".to_owned()))
    }
}
