//! What was asked of the gateway: one key, one frozen body.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "attempt")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub charge_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    pub gateway_key: Uuid,
    pub method_id: Uuid,
    pub amount_minor: i64,
    pub currency: String,
    pub body: String,
    pub body_sha256: String,
    pub state: String,
    pub payment_id: Option<String>,
    pub outcome_class: Option<String>,
    pub second_method_id: Option<Uuid>,
    pub outcome_code: Option<String>,
    pub created_at: chrono::DateTime<chrono::Utc>,
    pub updated_at: chrono::DateTime<chrono::Utc>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
