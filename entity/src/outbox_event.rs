//! What is told to the merchant's own systems: one row for each event and endpoint.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox_event")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub sequence: i64,
    pub event_id: Uuid,
    pub endpoint: String,
    pub kind: String,
    pub object: String,
    pub data: String,
    pub at: chrono::DateTime<chrono::Utc>,
    pub state: String,
    pub tries: i32,
    pub next_at: Option<chrono::DateTime<chrono::Utc>>,
    pub http_status: Option<i32>,
    pub why: Option<String>,
    pub fence: i64,
    pub leased_until: Option<chrono::DateTime<chrono::Utc>>,
    pub delivered_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
