//! Subscriptions, and when each falls due next.
//!
//! The claim's columns, `fence` and `leased_until`, are left out: only claims read them, and only claims write them.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "subscription")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub merchant_id: Uuid,
    pub plan_id: String,
    pub customer: String,
    pub method_id: Option<Uuid>,
    pub method_kind: Option<String>,
    pub consent: Option<String>,
    pub start_on: chrono::NaiveDate,
    pub anchor_day: Option<String>,
    pub time_zone: Option<String>,
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
    pub end_on: Option<chrono::NaiveDate>,
    pub status: String,
    pub note: Option<String>,
    pub next_cycle: i64,
    pub next_due_at: Option<chrono::DateTime<chrono::Utc>>,
    pub created_at: chrono::DateTime<chrono::Utc>,
    pub updated_at: chrono::DateTime<chrono::Utc>,
    pub second_method_id: Option<Uuid>,
    pub second_method_kind: Option<String>,
    pub terms: Option<String>,
    pub owed_until: Option<chrono::DateTime<chrono::Utc>>,
    pub amend_revision: i64,
    pub amend_open: i64,
    pub resume_on: Option<chrono::NaiveDate>,
    pub last_on: Option<chrono::NaiveDate>,
    pub backups: Option<String>,
    pub unpaid_charge_id: Option<Uuid>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
