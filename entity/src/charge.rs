//! Obligations: the charge row is the job.
//!
//! The claim's columns, `fence` and `leased_until`, are left out: only claims read them, and only claims write them.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "charge")]
#[expect(missing_docs, reason = "columns are described in the migration that makes them")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub merchant_id: Uuid,
    pub subscription_id: String,
    pub cycle: i64,
    pub purpose: String,
    pub plan_id: String,
    pub plan_version: i32,
    pub amount_minor: i64,
    pub currency: String,
    pub due_on: chrono::NaiveDate,
    pub due_at: chrono::DateTime<chrono::Utc>,
    pub state: String,
    pub state_since: chrono::DateTime<chrono::Utc>,
    pub next_at: Option<chrono::DateTime<chrono::Utc>>,
    pub doubt: bool,
    pub slow: bool,
    pub asked: i32,
    pub decline_class: Option<String>,
    pub decline_code: Option<String>,
    pub why: Option<String>,
    pub attempt: i32,
    pub submissions: i32,
    pub not_executed: i32,
    pub first_sent_at: Option<chrono::DateTime<chrono::Utc>>,
    pub last_sent_at: Option<chrono::DateTime<chrono::Utc>>,
    pub declined: i32,
    pub first_failed_at: Option<chrono::DateTime<chrono::Utc>>,
    pub created_at: chrono::DateTime<chrono::Utc>,
    pub updated_at: chrono::DateTime<chrono::Utc>,
    pub returned_at: Option<chrono::DateTime<chrono::Utc>>,
    pub held_minor: Option<i64>,
    pub held_until: Option<chrono::DateTime<chrono::Utc>>,
    pub take_minor: Option<i64>,
    pub stage: Option<String>,
    pub order_sent: Option<i32>,
    pub collected_minor: Option<i64>,
    pub carried_parts: i32,
    pub carried_minor: i64,
    pub policy_id: Option<String>,
    pub policy_version: Option<i32>,
    pub policy_step: Option<i32>,
    pub case_number: i32,
    pub case_opened_at: Option<chrono::DateTime<chrono::Utc>>,
    pub case_class: Option<String>,
    pub case_code: Option<String>,
    pub case_ends_at: Option<chrono::DateTime<chrono::Utc>>,
    pub case_end_action: Option<String>,
    pub ladder_since: Option<chrono::DateTime<chrono::Utc>>,
    pub ladder_declined: i32,
    pub by_hand: bool,
    pub fallback: Option<String>,
    pub case_hand_to: Option<String>,
}

/// No relations: the store joins by hand, in batches.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
