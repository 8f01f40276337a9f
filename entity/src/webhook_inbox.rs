//! The webhook inbox: what the gateway delivered, kept before it is looked at.

use sea_orm::entity::prelude::*;

/// One row. Its body names people: it has no `Debug`.
#[derive(Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_inbox")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub merchant_id: Uuid,
    pub dedupe_key: String,
    pub name: String,
    pub kind: String,
    pub resource_id: Option<String>,
    pub merchant_transaction_id: Option<String>,
    pub body: Option<Vec<u8>>,
    pub body_sha256: String,
    pub deliveries: i64,
    pub state: String,
    pub why: Option<String>,
    pub tries: i32,
    pub next_at: Option<chrono::DateTime<chrono::Utc>>,
    pub fence: i64,
    pub leased_until: Option<chrono::DateTime<chrono::Utc>>,
    pub received_at: chrono::DateTime<chrono::Utc>,
    pub last_received_at: chrono::DateTime<chrono::Utc>,
    pub handled_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
