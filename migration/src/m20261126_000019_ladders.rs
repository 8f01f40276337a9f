//! The policy version under which a charge failed first and how far up its ladder it is, and the codes of declines that no table knows,
//! each when it was seen first.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{integer_null, string, string_null, timestamp_with_time_zone, uuid};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000019_ladders"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Charges that failed before there were these columns go on under the policy in force.
        for column in
            [string_null(col("policy_id")), integer_null(col("policy_version")), integer_null(col("policy_step"))]
        {
            manager.alter_table(Table::alter().table(col("charge")).add_column(column).to_owned()).await?;
        }
        let seen = Table::create()
            .table(col("decline_seen"))
            .col(string(col("code")).primary_key())
            .col(timestamp_with_time_zone(col("first_seen_at")))
            .col(uuid(col("charge_id")))
            .to_owned();
        manager.create_table(seen).await
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // Which policy a charge failed under is part of why it is tried when it is.
        Err(DbErr::Migration("the policy versions of charges are not undone: restore a backup instead".to_owned()))
    }
}
