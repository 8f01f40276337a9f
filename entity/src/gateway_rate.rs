//! A merchant's rate: one budget for all replicas.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "gateway_rate")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub merchant_id: Uuid,
    pub tat_us: i64,
    pub blocked_until_us: i64,
    pub share_permille: i32,
    pub changed_us: i64,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
