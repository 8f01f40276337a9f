//! Notices to payers: what was asked for, and what reached them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Map, json};

use domain::id::{MerchantId, SubscriptionId};
use domain::money::Money;
use domain::notice::{Facts, Kind, Wanted};

use super::outbox::{EventId, EventKind, NewEvent};
use super::{Cursor, StoreError};

/// The event, and the row, of a notice: one for each cycle, amount and day.
#[must_use]
pub fn id_of(subscription: &SubscriptionId, cycle: u32, amount: Money, on: NaiveDate) -> EventId {
    let which = format!("{cycle}|{}|{}|{on}", amount.minor(), amount.currency().code());
    EventId::of(EventKind::NoticeDue, subscription.as_str(), &which)
}

/// What whoever tells payers is told: the one event that carries an amount.
#[must_use]
pub fn event_of(wanted: &Wanted, at: DateTime<Utc>) -> NewEvent {
    let mut data = Map::new();
    data.insert("subscription".to_owned(), json!(wanted.subscription.as_str()));
    data.insert("cycle".to_owned(), json!(wanted.cycle));
    data.insert("kind".to_owned(), json!(wanted.kind));
    data.insert("amount_minor".to_owned(), json!(wanted.amount.minor()));
    data.insert("currency".to_owned(), json!(wanted.amount.currency().code()));
    data.insert("charge_on".to_owned(), json!(wanted.on));
    data.insert("template".to_owned(), json!(wanted.template));
    data.insert("deliver_from".to_owned(), json!(wanted.from));
    data.insert("deliver_by".to_owned(), json!(wanted.by));
    NewEvent {
        id: id_of(&wanted.subscription, wanted.cycle, wanted.amount, wanted.on),
        kind: EventKind::NoticeDue,
        object: wanted.subscription.to_string(),
        data,
        at,
        after: None,
    }
}

/// A notice that reached its payer by other means than the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Of which cycle.
    pub cycle: u32,
    /// Why, where it was not asked for here.
    pub kind: Kind,
    /// The amount it named.
    pub amount: Money,
    /// The day of the charge it named.
    pub on: NaiveDate,
    /// When, UTC.
    pub delivered_at: DateTime<Utc>,
}

/// What became of notices that were handed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Noted {
    /// Not known before.
    pub added: usize,
    /// Known, and now known as delivered, or delivered at another time.
    pub changed: usize,
    /// Already so.
    pub unchanged: usize,
}

/// A notice as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NoticeRow {
    /// Whose.
    pub subscription: String,
    /// Of which cycle.
    pub cycle: u32,
    /// Why.
    pub kind: String,
    /// The amount it names.
    pub amount: Money,
    /// The day of the charge it names.
    pub on: NaiveDate,
    /// The first day on which it counts.
    pub from: Option<NaiveDate>,
    /// The last day on which it is in time; `None` for one that was not asked for here.
    pub by: Option<NaiveDate>,
    /// The rules that ask for it.
    pub rule: String,
    /// What the sender calls the letter.
    pub template: String,
    /// When it was asked for, UTC.
    pub asked_at: Option<DateTime<Utc>>,
    /// When it reached the payer, UTC.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Who said so: an endpoint, or a person.
    pub delivered_by: Option<String>,
    /// The event that asked for it.
    pub event: String,
}

/// Which notices a list shows.
#[derive(Debug, Clone, Default)]
pub struct NoticeFilter {
    /// Only this subscription's.
    pub subscription: Option<SubscriptionId>,
    /// Only those that reached the payer, or only those that did not.
    pub delivered: Option<bool>,
    /// Only those that had to be there before this day.
    pub missed_on: Option<NaiveDate>,
}

/// Durable memory of notices. Every write is one transaction.
#[async_trait]
pub trait NoticeStore {
    /// What is known of these subscriptions: the last charge of each, and the notices of cycles to come. Two statements for any number.
    async fn notice_facts(&self, ids: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, Facts>, StoreError>;
    /// Records that notices are asked for, with the event that asks; returns how many were not asked for before.
    async fn ask_notices(&self, merchant: MerchantId, wanted: &[Wanted], at: DateTime<Utc>) -> Result<u64, StoreError>;
    /// Records notices that reached their payers, all or none, in a person's name; only says what it would do unless it `writes`.
    async fn note_sent(
        &self,
        merchant: MerchantId,
        sent: &[Sent],
        by: (&str, bool),
        at: DateTime<Utc>,
    ) -> Result<Noted, StoreError>;
    /// Notices by the day they are due, a page at a time.
    async fn notices(
        &self,
        filter: &NoticeFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<(Vec<NoticeRow>, Cursor), StoreError>;
}
