//! Notices to payers.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "notice")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub merchant_id: Uuid,
    pub subscription_id: String,
    pub cycle: i64,
    pub kind: String,
    pub amount_minor: i64,
    pub currency: String,
    pub charge_on: chrono::NaiveDate,
    pub from_on: Option<chrono::NaiveDate>,
    pub by_on: Option<chrono::NaiveDate>,
    pub rule: String,
    pub template: String,
    pub asked_at: Option<chrono::DateTime<chrono::Utc>>,
    pub delivered_at: Option<chrono::DateTime<chrono::Utc>>,
    pub delivered_by: Option<String>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
