//! The audit, as it is read: lines in the order of their numbers, and where their chain ends.
//!
//! Nobody writes lines through a port of their own: each store writes them in the transaction of the change that they tell of.

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value};

use domain::audit::{Head, Link};
use domain::charge::Charge;
use domain::subscription::{Method, Subscription};
use domain::terms::Terms;

use super::{Cursor, Page, StoreError};

/// Which lines a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only those about this object, as the audit names it.
    pub object: Option<String>,
    /// Only those by this actor.
    pub actor: Option<String>,
    /// Only this action, or those that begin with it and a dot.
    pub action: Option<String>,
    /// Only those written at this moment or later, UTC.
    pub from: Option<DateTime<Utc>>,
    /// Only those written before this moment, UTC.
    pub until: Option<DateTime<Utc>>,
}

/// Durable memory of who did what.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Where the chain ends; `None` where that cannot be read, which no store leaves so.
    async fn audit_head(&self) -> Result<Option<Head>, StoreError>;
    /// Lines by number, a page at a time. A line that cannot be read is told in its place.
    async fn audit_lines(&self, filter: &AuditFilter, after: &Cursor, limit: u64) -> Result<Page<Link>, StoreError>;
}

/// Facts of an object for a line: a flat JSON object with sorted keys; what is absent is left out.
fn facts<const N: usize>(facts: [(&str, Option<Value>); N]) -> String {
    let known = facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mut known: Vec<(String, Value)> = known.collect();
    known.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(known.into_iter().collect::<Map<_, _>>()).to_string()
}

/// Where a charge stands.
#[must_use]
pub fn facts_of_charge(charge: &Charge) -> String {
    facts([
        ("amount", Some(charge.amount.to_string().into())),
        ("attempt", Some(charge.tries.attempt.into())),
        ("due_on", Some(charge.due_on.to_string().into())),
        ("next_at", charge.state.next_at().map(domain::audit::moment).map(Value::from)),
        ("state", Some(charge.state.name().into())),
    ])
}

/// Where a subscription stands, as far as people change it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The word for its status.
    pub status: Option<String>,
    /// Under which plan.
    pub plan: Option<String>,
    /// The cycle charged next.
    pub next_cycle: Option<i64>,
    /// When that falls due, UTC.
    pub next_due_at: Option<DateTime<Utc>>,
    /// When a pause ends.
    pub resume_on: Option<NaiveDate>,
    /// An earlier last day.
    pub last_on: Option<NaiveDate>,
}

impl Standing {
    /// Of a subscription that can be read.
    #[must_use]
    pub fn of(row: &Subscription) -> Self {
        Self {
            status: Some(row.status.as_str().to_owned()),
            plan: Some(row.plan.to_string()),
            next_cycle: Some(row.next_cycle.into()),
            next_due_at: row.next_due_at,
            resume_on: row.amendments.resume_on,
            last_on: row.amendments.last_on,
        }
    }

    /// As a line tells it.
    #[must_use]
    pub fn facts(&self) -> String {
        let day = |day: Option<NaiveDate>| day.map(|day| day.to_string().into());
        facts([
            ("last_on", day(self.last_on)),
            ("next_cycle", self.next_cycle.map(Value::from)),
            ("next_due_at", self.next_due_at.map(domain::audit::moment).map(Value::from)),
            ("plan", self.plan.clone().map(Value::from)),
            ("resume_on", day(self.resume_on)),
            ("status", self.status.clone().map(Value::from)),
        ])
    }
}

/// What a subscription is charged, with what and until when. Whose it is is not told: the reference may name a person.
#[must_use]
pub fn facts_of_terms(row: &Subscription) -> String {
    let id = |method: &Option<Method>| method.as_ref().map(|method| method.id.to_string().into());
    let backups: Vec<String> = row.backups.iter().map(|backup| backup.method.id.to_string()).collect();
    facts([
        ("amount", row.amount.map(|amount| amount.to_string().into())),
        ("backups", (!row.backups.is_empty()).then(|| backups.join(" ").into())),
        ("end_on", row.end_on.map(|day| day.to_string().into())),
        ("method", id(&row.method)),
        ("plan", Some(row.plan.as_str().into())),
        ("second_method", id(&row.second_method)),
        ("start_on", Some(row.start_on.to_string().into())),
        (
            "terms",
            (row.terms != Terms::default()).then(|| serde_json::to_string(&row.terms).ok().map(Value::from)).flatten(),
        ),
    ])
}

/// One word about an object: `{"state":"open"}`.
#[must_use]
pub fn fact(name: &str, value: &str) -> String {
    facts([(name, Some(value.into()))])
}
