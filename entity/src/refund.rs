//! Money of a charge to be given back, once.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "refund")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub charge_id: Uuid,
    pub number: i32,
    pub merchant_id: Uuid,
    pub subscription_id: String,
    pub gateway_key: Uuid,
    pub payment_id: String,
    pub amount_minor: i64,
    pub currency: String,
    pub whole: bool,
    pub reason: String,
    pub recorded_by: String,
    pub recorded_at: chrono::DateTime<chrono::Utc>,
    pub state: String,
    pub state_since: chrono::DateTime<chrono::Utc>,
    pub next_at: Option<chrono::DateTime<chrono::Utc>>,
    pub asked: i32,
    pub why: Option<String>,
    pub code: Option<String>,
    pub given_back_minor: i64,
    pub gateway_id: Option<String>,
    pub hint: Option<String>,
    pub body: Option<String>,
    pub body_sha256: Option<String>,
    pub sent_at: Option<chrono::DateTime<chrono::Utc>>,
    pub version: i64,
    pub leased_until: Option<chrono::DateTime<chrono::Utc>>,
    pub updated_at: chrono::DateTime<chrono::Utc>,
    pub method_id: Option<Uuid>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
