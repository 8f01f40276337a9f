//! Evidence: what each answer about a refund showed. Append-only.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "refund_observation")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub refund_id: Uuid,
    pub asked_by: String,
    pub seen: String,
    pub to_state: String,
    pub applied: bool,
    pub http_status: Option<i32>,
    pub gateway_id: Option<String>,
    pub gateway_status: Option<String>,
    pub detail: Option<String>,
    pub body_sha256: Option<String>,
    pub request_id: Option<String>,
    pub at: chrono::DateTime<chrono::Utc>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
