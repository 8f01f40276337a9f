//! What another system tried with an instrument; written once, never changed.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "try_elsewhere")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub merchant_id: Uuid,
    pub reference: String,
    pub method_id: Uuid,
    pub tried_at: chrono::DateTime<chrono::Utc>,
    pub state: String,
    pub outcome_class: Option<String>,
    pub code: Option<String>,
    pub amount_minor: i64,
    pub currency: String,
    pub charge_id: Uuid,
    pub subscription_id: Option<String>,
    pub cycle: Option<i64>,
    pub imported_at: chrono::DateTime<chrono::Utc>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
