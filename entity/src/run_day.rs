//! Days as the brakes know them, by merchant and currency.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "run_day")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub merchant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: chrono::NaiveDate,
    #[sea_orm(primary_key, auto_increment = false)]
    pub currency: String,
    pub expected_at: Option<chrono::DateTime<chrono::Utc>>,
    pub expected_charges: Option<i64>,
    pub expected_minor: Option<i64>,
    pub expected_largest: Option<i64>,
    pub ran_charges: i64,
    pub ran_minor: i64,
    pub ran_largest: i64,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
