//! Rows of settlement files, each kept once.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "recon_row")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub merchant_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub identity: String,
    pub run_id: i64,
    pub line: i64,
    pub kind: String,
    pub gateway_id: Option<String>,
    pub our_key: Option<String>,
    pub currency: String,
    pub gross_minor: i64,
    pub fee_minor: i64,
    pub net_minor: i64,
    pub settled_on: chrono::NaiveDate,
    pub code: Option<String>,
    pub occurrence: i64,
    pub charge_id: Option<Uuid>,
    pub refund_id: Option<Uuid>,
    pub entry_id: Option<Uuid>,
    pub kept_at: chrono::DateTime<chrono::Utc>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
