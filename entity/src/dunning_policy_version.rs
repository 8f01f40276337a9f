//! Applied versions of dunning policies; immutable.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "dunning_policy_version")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub policy_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i32,
    pub spec: String,
    pub sha256: String,
    pub applied_at: chrono::DateTime<chrono::Utc>,
    pub applied_by: String,
    pub source: Option<String>,
    pub change_set_id: Option<i64>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
