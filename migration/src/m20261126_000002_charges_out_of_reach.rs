//! Finds charges that nobody would ever look at: open by their state, and without a moment to be looked at.
//!
//! Only damage makes such a row. The index holds no others, so it is empty and costs next to nothing; with it the question can
//! be asked at the end of every pass.

use sea_orm_migration::prelude::*;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000002_charges_out_of_reach"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = "CREATE INDEX charge_out_of_reach ON charge (id) \
                     WHERE next_at IS NULL AND state NOT IN ('paid', 'failed', 'skipped', 'parked')";
        manager.get_connection().execute_unprepared(index).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DROP INDEX charge_out_of_reach").await.map(drop)
    }
}
