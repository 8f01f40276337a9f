//! Payment methods: what the wallet and the news say about each.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "payment_method")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub merchant_id: Option<Uuid>,
    pub customer_id: Option<Uuid>,
    pub kind: Option<String>,
    pub brand: Option<String>,
    pub last4: Option<String>,
    pub expiry_month: Option<i32>,
    pub expiry_year: Option<i32>,
    pub expires_from: Option<chrono::DateTime<chrono::Utc>>,
    pub gateway_status: Option<String>,
    pub replaced_by: Option<Uuid>,
    pub missing_since: Option<chrono::DateTime<chrono::Utc>>,
    pub grace_until: Option<chrono::DateTime<chrono::Utc>>,
    pub news: Option<String>,
    pub news_at: Option<chrono::DateTime<chrono::Utc>>,
    pub listed_at: Option<chrono::DateTime<chrono::Utc>>,
    pub synced_at: Option<chrono::DateTime<chrono::Utc>>,
    pub changed_at: Option<chrono::DateTime<chrono::Utc>>,
    pub change_code: Option<String>,
    pub change_at: Option<chrono::DateTime<chrono::Utc>>,
    pub created_at: chrono::DateTime<chrono::Utc>,
    pub updated_at: chrono::DateTime<chrono::Utc>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
