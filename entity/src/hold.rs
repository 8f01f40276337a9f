//! Holds: what may not be charged, since when, by whom, why.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "hold")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub scope: String,
    pub reason: String,
    pub held_by: String,
    pub since: chrono::DateTime<chrono::Utc>,
    pub lifted_at: Option<chrono::DateTime<chrono::Utc>>,
    pub lifted_by: Option<String>,
    pub brake: Option<String>,
    pub release_asked_by: Option<String>,
    pub kind: String,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
