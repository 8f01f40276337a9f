//! The outbox: what is told to the merchant's own systems, one row for each event and endpoint, written with what it tells of.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, integer, integer_null, string, text, text_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid,
};

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261126_000022_outbox"
    }
}

fn col(name: &'static str) -> Alias {
    Alias::new(name)
}

/// Partial indexes are beyond the builder; both dialects read this text alike.
const INDEXES: &[&str] = &[
    "CREATE UNIQUE INDEX outbox_event_once ON outbox_event (event_id, endpoint)",
    "CREATE INDEX outbox_event_next ON outbox_event (endpoint, next_at, sequence) WHERE next_at IS NOT NULL",
    "CREATE INDEX outbox_event_state ON outbox_event (endpoint, state, sequence)",
    "CREATE INDEX outbox_event_delivered ON outbox_event (delivered_at) WHERE delivered_at IS NOT NULL",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let event = Table::create()
            .table(col("outbox_event"))
            // Rises with every event of an object: whoever changes the object has its row until the commit.
            .col(ColumnDef::new(col("sequence")).big_integer().not_null().auto_increment().primary_key())
            .col(uuid(col("event_id")))
            .col(string(col("endpoint")))
            .col(string(col("kind")))
            .col(string(col("object")))
            .col(text(col("data")))
            .col(timestamp_with_time_zone(col("at")))
            .col(string(col("state")))
            .col(integer(col("tries")))
            .col(timestamp_with_time_zone_null(col("next_at")))
            .col(integer_null(col("http_status")))
            .col(text_null(col("why")))
            .col(big_integer(col("fence")).default(0))
            .col(timestamp_with_time_zone_null(col("leased_until")))
            .col(timestamp_with_time_zone_null(col("delivered_at")))
            .check(Expr::col(col("state")).is_in(["waiting", "delivered", "given_up"]))
            // What waits has a time, and nothing else has: no delivery is forgotten on the way.
            .check(Expr::cust("(state = 'waiting') = (next_at IS NOT NULL)"))
            .to_owned();
        let endpoint = Table::create()
            .table(col("outbox_endpoint"))
            .col(string(col("name")).primary_key())
            .col(timestamp_with_time_zone_null(col("disabled_at")))
            .to_owned();
        for table in [event, endpoint] {
            manager.create_table(table).await?;
        }
        for statement in INDEXES {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, _manager: &SchemaManager) -> Result<(), DbErr> {
        // What was not delivered yet would be lost.
        Err(DbErr::Migration("the outbox is not undone: restore a backup instead".to_owned()))
    }
}
