//! What cycles took of credits and charges. Written once, never changed.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "adjustment_use")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub adjustment_id: i64,
    #[sea_orm(primary_key, auto_increment = false)]
    pub charge_id: Uuid,
    pub subscription_id: String,
    pub cycle: i64,
    pub amount_minor: i64,
    pub at: chrono::DateTime<chrono::Utc>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
