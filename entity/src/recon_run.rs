//! Reconciliations: what was compared, and how far it came.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "recon_run")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub merchant_id: Uuid,
    pub source: String,
    pub from_on: chrono::NaiveDate,
    pub until_on: chrono::NaiveDate,
    pub finals: bool,
    pub started_by: String,
    pub started_at: chrono::DateTime<chrono::Utc>,
    pub ended_at: Option<chrono::DateTime<chrono::Utc>>,
    pub stage: String,
    pub place: Option<String>,
    pub asked: i64,
    pub moved: i64,
    pub file_name: Option<String>,
    pub file_sha256: Option<String>,
    pub daily_on: Option<chrono::NaiveDate>,
    pub fence: i64,
    pub leased_until: Option<chrono::DateTime<chrono::Utc>>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
