//! One-off credits and charges. Written once, never changed.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "adjustment")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub subscription_id: String,
    pub kind: String,
    pub amount_minor: i64,
    pub currency: String,
    pub reason: String,
    pub made_by: String,
    pub at: chrono::DateTime<chrono::Utc>,
    pub settles_plan: Option<String>,
    pub settles_cycle: Option<i64>,
    pub settles_from: Option<chrono::NaiveDate>,
    pub settles_to: Option<chrono::NaiveDate>,
    pub settles_minor: Option<i64>,
    pub settles_of: Option<i64>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
