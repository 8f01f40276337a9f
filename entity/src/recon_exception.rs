//! Differences that reconciliations found, and what became of them.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "recon_exception")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub run_id: i64,
    pub merchant_id: Uuid,
    pub kind: String,
    pub subject: String,
    pub charge_id: Option<Uuid>,
    pub refund_id: Option<Uuid>,
    pub subscription_id: Option<String>,
    pub gateway_key: Option<Uuid>,
    pub payment_id: Option<String>,
    pub currency: String,
    pub ours_minor: i64,
    pub theirs_minor: i64,
    pub evidence: String,
    pub standing: String,
    pub found_at: chrono::DateTime<chrono::Utc>,
    pub decided_by: Option<String>,
    pub decided_at: Option<chrono::DateTime<chrono::Utc>>,
    pub note: Option<String>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
