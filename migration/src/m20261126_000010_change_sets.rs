//! Change sets, the approvals of them, and the text that versions were read from.
//!
//! Expand only. Versions that were applied before keep no text: it is written from what they mean when it is asked for.
//! `live_catalog` is one row: whoever changes what is in force locks it first, so that two changes never pass each other.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string, text, timestamp_with_time_zone};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000010_change_sets"
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

fn id() -> ColumnDef {
    ColumnDef::new(col("id")).big_integer().not_null().auto_increment().primary_key().to_owned()
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table("live_catalog").col(integer(col("id")).primary_key()).col(big_integer(col("version"))).to_owned(),
        // `content` and its hash are written once. `touches` is what was counted when it was proposed, for people.
        table("change_set")
            .col(id())
            .col(text(col("content")))
            .col(string(col("sha256")))
            .col(string(col("author")))
            .col(text(col("reason")))
            .col(timestamp_with_time_zone(col("proposed_at")))
            .col(big_integer(col("touches")))
            .col(null(big_integer(col("reverts"))))
            .col(string(col("state")))
            .col(null(string(col("settled_by"))))
            .col(null(timestamp_with_time_zone(col("settled_at"))))
            .col(null(text(col("settled_why"))))
            .check(Expr::col(col("state")).is_in(["open", "applied", "rejected", "withdrawn"]))
            .check(Expr::cust("(state = 'open') = (settled_at IS NULL)"))
            .to_owned(),
        table("approval")
            .col(id())
            .col(big_integer(col("change_set_id")))
            .col(string(col("approved_by")))
            .col(string(col("sha256")))
            .col(text(col("comment")))
            .col(timestamp_with_time_zone(col("approved_at")))
            .foreign_key(
                ForeignKey::create().from(col("approval"), col("change_set_id")).to(col("change_set"), col("id")),
            )
            .to_owned(),
    ]
}

const STATEMENTS: &[&str] = &[
    "INSERT INTO live_catalog (id, version) SELECT 1, \
     (SELECT COUNT(*) FROM plan_version) + (SELECT COUNT(*) FROM dunning_policy_version)",
    "CREATE INDEX change_set_state ON change_set (state, id)",
    "CREATE UNIQUE INDEX approval_person ON approval (change_set_id, approved_by, sha256)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for statement in tables() {
            manager.create_table(statement).await?;
        }
        for table in ["plan_version", "dunning_policy_version"] {
            for column in [null(text(col("source"))), null(big_integer(col("change_set_id")))] {
                let alter = Table::alter().table(col(table)).add_column(column).to_owned();
                manager.alter_table(alter).await?;
            }
        }
        for statement in STATEMENTS {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        Err(DbErr::Migration("approvals are evidence and are not dropped: restore a backup instead".to_owned()))
    }
}
