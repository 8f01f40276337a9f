//! The cycle at which a subscription entered the book: the audit of the schedule counts from it.
//!
//! `next_cycle` moves with every charge and is what an audit must not trust. Of subscriptions that were there before, the column is
//! empty, and the audit works the cycle out from the day on which the row was made.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::big_integer;

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000011_book"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = big_integer(Alias::new("first_cycle")).null().to_owned();
        manager.alter_table(Table::alter().table(Alias::new("subscription")).add_column(column).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = Alias::new("first_cycle");
        manager.alter_table(Table::alter().table(Alias::new("subscription")).drop_column(column).to_owned()).await
    }
}
