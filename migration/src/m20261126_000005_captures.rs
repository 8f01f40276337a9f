//! Money that is set aside first, and pairs of methods: columns for both, and the orders that take or give back.
//!
//! Expand only. The words of `charge.state` grow by three; what other migrations added to them stays.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, text, timestamp_with_time_zone, uuid};
use sea_orm_migration::sea_orm::{DatabaseBackend, Statement};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000005_captures"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

fn null(mut column: ColumnDef) -> ColumnDef {
    column.null().to_owned()
}

fn columns() -> Vec<(&'static str, ColumnDef)> {
    vec![
        ("charge", null(big_integer(col("held_minor")))),
        ("charge", null(timestamp_with_time_zone(col("held_until")))),
        ("charge", null(big_integer(col("take_minor")))),
        ("charge", null(string(col("stage")))),
        ("charge", null(integer(col("order_sent")))),
        ("charge", null(big_integer(col("collected_minor")))),
        ("subscription", null(uuid(col("second_method_id")))),
        ("subscription", null(string(col("second_method_kind")))),
    ]
}

/// One row for each thing ordered of an authorization: the same order again is the same row, and its body never changes.
fn orders() -> TableCreateStatement {
    Table::create()
        .table(col("authorization_order"))
        .col(uuid(col("charge_id")))
        .col(integer(col("attempt")))
        .col(string(col("kind")))
        .col(big_integer(col("amount_minor")))
        .col(string(col("currency")))
        .col(text(col("body")))
        .col(string(col("body_sha256")))
        .col(string(col("ordered_by")))
        .col(timestamp_with_time_zone(col("created_at")))
        .primary_key(
            Index::create().col(col("charge_id")).col(col("attempt")).col(col("kind")).col(col("amount_minor")),
        )
        .check(Expr::col(col("kind")).is_in(["capture", "release"]))
        .check(Expr::col(col("amount_minor")).gte(1))
        .to_owned()
}

/// SQLite cannot alter a CHECK; the words are added where the table's text is kept, as its manual says for this very case.
const WIDEN_ON_SQLITE: &str = "PRAGMA writable_schema = ON; \
     UPDATE sqlite_master SET sql = replace(sql, '\"state\" IN (', '\"state\" IN (''authorized'', ''capturing'', ''releasing'', ') \
     WHERE type = 'table' AND name = 'charge'; \
     PRAGMA writable_schema = RESET";

/// The constraint is put back as it was, with the words in front of the others.
const WIDEN_ON_POSTGRES: &str = "DO $$ DECLARE found record; BEGIN \
     FOR found IN SELECT conname AS name, pg_get_constraintdef(oid) AS said FROM pg_constraint \
       WHERE conrelid = 'charge'::regclass AND contype = 'c' AND pg_get_constraintdef(oid) LIKE '%''settling''%' LOOP \
       EXECUTE format('ALTER TABLE charge DROP CONSTRAINT %I', found.name); \
       EXECUTE format('ALTER TABLE charge ADD CONSTRAINT %I %s', found.name, replace(found.said, 'ARRAY[', \
         'ARRAY[''authorized''::text, ''capturing''::text, ''releasing''::text, ')); \
     END LOOP; END $$";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        if manager.get_database_backend() == DatabaseBackend::Postgres {
            connection.execute_unprepared(WIDEN_ON_POSTGRES).await?;
        } else {
            connection.execute_unprepared(WIDEN_ON_SQLITE).await?;
            let kept = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'charge' AND sql LIKE '%''authorized''%'";
            let kept = connection.query_one_raw(Statement::from_string(DatabaseBackend::Sqlite, kept)).await?;
            kept.ok_or_else(|| DbErr::Migration("the words of charge.state could not be added".to_owned()))?;
        }
        // An added column also tells every other connection that the schema is another one.
        for (table, column) in columns() {
            let alter = Table::alter().table(col(table)).add_column(column).to_owned();
            manager.alter_table(alter).await?;
        }
        manager.create_table(orders()).await?;
        connection
            .execute_unprepared(
                "CREATE INDEX charge_held ON charge (merchant_id, held_until) WHERE state IN ('authorized', 'capturing')",
            )
            .await?;
        // The wallet asks who uses a method.
        connection
            .execute_unprepared(
                "CREATE INDEX subscription_second_method ON subscription (second_method_id) WHERE second_method_id IS NOT NULL",
            )
            .await?;
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What was ordered of a customer's money is never dropped by a migration.
        Err(DbErr::Migration("the orders about authorizations are not undone: restore a backup instead".to_owned()))
    }
}
