//! Who did what to which object, and why. Append-only.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub at: chrono::DateTime<chrono::Utc>,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub detail: String,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
