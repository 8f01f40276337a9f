//! Who approved which content of a change set; append-only.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "approval")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub change_set_id: i64,
    pub approved_by: String,
    pub sha256: String,
    pub comment: String,
    pub approved_at: chrono::DateTime<chrono::Utc>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
