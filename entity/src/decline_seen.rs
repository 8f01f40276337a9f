//! Codes of declines that no table knows, each when it was seen first.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "decline_seen")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub code: String,
    pub first_seen_at: chrono::DateTime<chrono::Utc>,
    pub charge_id: Uuid,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
