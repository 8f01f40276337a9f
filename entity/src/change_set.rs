//! Proposed changes of plans and policies; what they hold is written once.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "change_set")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub content: String,
    pub sha256: String,
    pub author: String,
    pub reason: String,
    pub proposed_at: chrono::DateTime<chrono::Utc>,
    pub touches: i64,
    pub reverts: Option<i64>,
    pub state: String,
    pub settled_by: Option<String>,
    pub settled_at: Option<chrono::DateTime<chrono::Utc>>,
    pub settled_why: Option<String>,
    pub apply_at: Option<chrono::DateTime<chrono::Utc>>,
    pub apply_by: Option<String>,
    pub put_off: Option<String>,
    pub unapproved: Option<String>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
