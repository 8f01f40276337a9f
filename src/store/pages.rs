//! Lists a page at a time, in the order of keys that may be damaged themselves.
//!
//! A page goes on after the key of its last row *as stored*, readable or not, so no row is passed over and none comes twice.
//! SQLite keeps values of any type in any column: rows whose key is of another type have no place in the order and follow at
//! the end, in the order of the file.

use sea_orm::{ConnectionTrait as _, QueryResult, Value};

use super::amend::{Amended, Which};
use super::cases::OPEN;
use super::damage::{self, Told};
use super::{DatabaseStore, store_error};
use crate::ports::cases::Cases;
use crate::ports::{
    ChargeFilter, Cursor, Damaged, Listed, Page, Place, StoreError, SubscriptionFilter, SubscriptionView,
};
use domain::charge::Charge;
use domain::id::MerchantId;

/// What a key column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Text,
    Time,
    Uuid,
    Number,
}

impl Key {
    /// The type as SQLite tells it of a value that was written by us.
    const fn stored_as(self) -> &'static str {
        match self {
            Self::Text | Self::Time => "text",
            Self::Uuid => "blob",
            Self::Number => "integer",
        }
    }

    /// A bound value as this type: on SQLite raw bytes, on PostgreSQL text.
    fn bound(self, postgres: bool, place: usize) -> String {
        match (postgres, self) {
            (false, Self::Text | Self::Time) => format!("CAST(${place} AS TEXT)"),
            (false, Self::Uuid) => format!("${place}"),
            (false, Self::Number) => format!("CAST(CAST(${place} AS TEXT) AS INTEGER)"),
            (true, Self::Text) => format!("${place}::text"),
            (true, Self::Time) => format!("${place}::text::timestamptz"),
            (true, Self::Uuid) => format!("${place}::text::uuid"),
            (true, Self::Number) => format!("${place}::text::bigint"),
        }
    }
}

/// Which rows of which table, in which order. `wanted` speaks of `values` as `$1` and so on.
pub(super) struct Walk {
    pub(super) table: &'static str,
    pub(super) keys: &'static [(&'static str, Key)],
    pub(super) wanted: String,
    pub(super) values: Vec<Value>,
}

/// How far a reader has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reached {
    /// After these keys, as stored.
    Key(Vec<Vec<u8>>),
    /// Among the rows without a place in the order: after this row of the file.
    Rest(i64),
}

impl Reached {
    fn place(&self) -> Place {
        Place(match self {
            Self::Key(keys) => keys.iter().fold("key".to_owned(), |text, key| text + " " + &hex::encode(key)),
            Self::Rest(row) => format!("rest {row}"),
        })
    }

    fn read(place: &Place) -> Result<Self, StoreError> {
        let (kind, rest) = place.0.split_once(' ').unwrap_or((&place.0, ""));
        let reached = match kind {
            "key" => rest.split(' ').map(hex::decode).collect::<Result<_, _>>().ok().map(Self::Key),
            "rest" => rest.parse().ok().map(Self::Rest),
            _ => None,
        };
        reached.ok_or_else(|| StoreError::Refused("a list cannot go on from that place".to_owned()))
    }
}

impl Walk {
    /// Due subscriptions or open charges, oldest first.
    pub(super) fn due(table: &'static str, merchant: MerchantId, due_by: chrono::DateTime<chrono::Utc>) -> Self {
        let (keys, wanted): (&'static [_], _) = match table {
            "subscription" => (&[("next_due_at", Key::Time), ("id", Key::Text)], "next_due_at"),
            _ => (&[("next_at", Key::Time), ("id", Key::Uuid)], "next_at"),
        };
        let wanted = format!("merchant_id = $1 AND {wanted} <= $2");
        Self { table, keys, wanted, values: vec![merchant.0.into(), due_by.into()] }
    }

    fn keys_are_sound(&self) -> String {
        let sound = |(column, key): &(&str, Key)| format!("typeof({column}) = '{}'", key.stored_as());
        self.keys.iter().map(sound).collect::<Vec<_>>().join(" AND ")
    }

    /// The columns that name a row, and its keys as stored.
    fn select(&self, postgres: bool) -> String {
        let raw = if postgres { "text" } else { "BLOB" };
        let keys = self.keys.iter().enumerate().map(|(n, (column, _))| format!(", CAST({column} AS {raw}) AS k{n}"));
        format!("SELECT *, {} AS place{} FROM {}", damage::place(postgres), keys.collect::<String>(), self.table)
    }
}

impl DatabaseStore {
    /// The next rows in the order of their keys, and where the last of them stands.
    pub(super) async fn in_order(
        &self,
        walk: &Walk,
        after: &Cursor,
        limit: u64,
    ) -> Result<(Vec<QueryResult>, Cursor), StoreError> {
        let reached = after.as_ref().map(Reached::read).transpose()?;
        let found = self.keyed(walk, reached.as_ref(), limit).await?;
        let last = found.last().map(|row| self.key_of(walk, row)).transpose()?;
        Ok((found, last.map(|last| last.place())))
    }

    async fn keyed(&self, walk: &Walk, reached: Option<&Reached>, limit: u64) -> Result<Vec<QueryResult>, StoreError> {
        let postgres = self.is_postgres();
        let mut wanted = vec![format!("({})", walk.wanted)];
        let mut values = walk.values.clone();
        if !postgres {
            wanted.push(walk.keys_are_sound());
        }
        let by_bytes = |(column, key): &(&str, Key)| match key {
            Key::Text if postgres => format!("{column} COLLATE \"C\""),
            Key::Text | Key::Time | Key::Uuid | Key::Number => (*column).to_owned(),
        };
        let order = walk.keys.iter().map(by_bytes).collect::<Vec<_>>().join(", ");
        match reached {
            None => {}
            Some(Reached::Rest(_)) => return Ok(Vec::new()),
            Some(Reached::Key(keys)) => {
                let mut bound = Vec::new();
                for ((_, kind), key) in walk.keys.iter().zip(keys) {
                    values.push(if postgres {
                        String::from_utf8_lossy(key).into_owned().into()
                    } else {
                        key.clone().into()
                    });
                    bound.push(kind.bound(postgres, values.len()));
                }
                wanted.push(format!("({order}) > ({})", bound.join(", ")));
            }
        }
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let sql = format!(
            "{} WHERE {} ORDER BY {order} LIMIT ${}",
            walk.select(postgres),
            wanted.join(" AND "),
            values.len()
        );
        self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)
    }

    /// Rows whose key has no place in the order.
    async fn unkeyed(&self, walk: &Walk, after: i64, limit: u64) -> Result<Vec<QueryResult>, StoreError> {
        let mut values = walk.values.clone();
        values.extend([after.into(), i64::try_from(limit).unwrap_or(i64::MAX).into()]);
        let sql = format!(
            "{} WHERE ({}) AND NOT ({}) AND rowid > ${} ORDER BY rowid LIMIT ${}",
            walk.select(false),
            walk.wanted,
            walk.keys_are_sound(),
            values.len() - 1,
            values.len()
        );
        self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)
    }

    fn key_of(&self, walk: &Walk, row: &QueryResult) -> Result<Reached, StoreError> {
        let key = |n: usize| {
            let name = format!("k{n}");
            if self.is_postgres() {
                row.try_get::<String>("", &name).map(String::into_bytes)
            } else {
                row.try_get::<Vec<u8>>("", &name)
            }
        };
        (0..walk.keys.len()).map(key).collect::<Result<_, _>>().map(Reached::Key).map_err(store_error)
    }

    /// A page, and the place after it where anything follows.
    pub(super) async fn page<T>(
        &self,
        walk: &Walk,
        after: &Cursor,
        limit: u64,
        read: impl Fn(&Amended, &QueryResult) -> Result<T, Damaged>,
    ) -> Result<Page<T>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(1 << 32);
        let reached = after.as_ref().map(Reached::read).transpose()?;
        let want = |had: usize| u64::try_from(limit.saturating_add(1).saturating_sub(had)).unwrap_or(u64::MAX);
        let mut found = self.keyed(walk, reached.as_ref(), want(0)).await?;
        let in_order = found.len();
        if !self.is_postgres() && in_order <= limit {
            let after = if let Some(Reached::Rest(row)) = reached { row } else { i64::MIN };
            found.extend(self.unkeyed(walk, after, want(in_order)).await?);
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let next = last.map(|row| {
            if found.len() <= in_order {
                return self.key_of(walk, row);
            }
            row.try_get("", "place").map(Reached::Rest).map_err(store_error)
        });
        let amended = match walk.table {
            "subscription" => self.amended(&found, Which::Ever).await?,
            _ => Amended::default(),
        };
        let rows = found.iter().map(|row| read(&amended, row).map_or_else(Listed::Damaged, Listed::Whole)).collect();
        Ok(Page { rows, next: next.transpose()?.map(|next| next.place()) })
    }

    pub(super) async fn page_of_subscriptions(
        &self,
        filter: &SubscriptionFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<SubscriptionView>, StoreError> {
        let mut wanted = Wanted::default();
        if let Some(status) = filter.status {
            wanted.add("status =", status.as_str().into());
        }
        if let Some(unpaid) = filter.unpaid {
            let stopped = if unpaid { "unpaid_charge_id IS NOT NULL" } else { "unpaid_charge_id IS NULL" };
            wanted.parts.push(stopped.to_owned());
        }
        if let Some(id) = &filter.id {
            wanted.add("id =", id.as_str().into());
        }
        let walk = wanted.of("subscription", &[("id", Key::Text)]);
        self.page(&walk, after, limit, |amended, row| {
            amended.view(row).map_err(|told| damaged_subscription(row, &told))
        })
        .await
    }

    pub(super) async fn page_of_charges(
        &self,
        filter: &ChargeFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<Charge>, StoreError> {
        let mut wanted = Wanted::default();
        if !filter.words.is_empty() {
            let any: Vec<&str> = filter.words.iter().map(|word| shows_as(word)).collect();
            wanted.parts.push(format!("({})", any.join(" OR ")));
        }
        if let Some(id) = filter.id {
            wanted.add("id =", id.0.into());
        }
        if let Some(id) = &filter.subscription {
            wanted.add("subscription_id =", id.as_str().into());
        }
        if let Some(from) = filter.from {
            wanted.add("due_on >=", from.into());
        }
        if let Some(until) = filter.until {
            wanted.add("due_on <=", until.into());
        }
        if let Some(by) = filter.expiring_by {
            wanted.parts.push("state IN ('authorized', 'capturing')".to_owned());
            wanted.add("held_until <=", by.into());
        }
        if let Some(plan) = &filter.plan {
            wanted.add("plan_id =", plan.as_str().into());
        }
        if let Some(class) = filter.class {
            wanted.add("case_class =", class.as_str().into());
        }
        if let Some(queue) = &filter.handed_to {
            wanted.parts.push(
                "(state = 'failed' OR (state = 'paid' AND returned_at IS NOT NULL AND next_at IS NULL))".to_owned(),
            );
            wanted.add("case_hand_to =", queue.as_str().into());
        }
        match filter.cases {
            None => {}
            Some(Cases::Open) => wanted.parts.push(OPEN.to_owned()),
            Some(Cases::Ended) => {
                wanted.parts.push(format!("case_number > 0 AND NOT {OPEN}"));
            }
            Some(Cases::All) => wanted.parts.push("case_number > 0".to_owned()),
        }
        let walk = wanted.of("charge", &[("due_at", Key::Time), ("id", Key::Uuid)]);
        self.page(&walk, after, limit, |_, row| damage::charge(row).map_err(|told| damaged_charge(row, &told))).await
    }
}

/// Conditions that must all hold.
#[derive(Default)]
struct Wanted {
    parts: Vec<String>,
    values: Vec<Value>,
}

impl Wanted {
    fn add(&mut self, comparison: &str, value: Value) {
        self.values.push(value);
        self.parts.push(format!("{comparison} ${}", self.values.len()));
    }

    fn of(self, table: &'static str, keys: &'static [(&'static str, Key)]) -> Walk {
        let wanted = if self.parts.is_empty() { "true".to_owned() } else { self.parts.join(" AND ") };
        Walk { table, keys, wanted, values: self.values }
    }
}

/// Rows that show as one state word. The words are those of `State::word`; tests/it compares the two.
fn shows_as(word: &str) -> &'static str {
    match word {
        "due" => "(state = 'due' AND doubt = false)",
        "sending" => "state IN ('sending', 'settling')",
        "outcome_unknown" => {
            "(state = 'unknown' OR (state = 'due' AND doubt = true) \
             OR (state = 'parked' AND why IN ('outcome_unknown', 'mismatch', 'damaged_in_doubt')))"
        }
        "held" => {
            "(state = 'parked' AND why IN ('rejected', 'no_method', 'damaged', 'wrong_method', 'hold_expired', 'out_of_bounds'))"
        }
        "authorized" => "state = 'authorized'",
        "capturing" => "state = 'capturing'",
        "releasing" => "state = 'releasing'",
        "paid" => "(state = 'paid' AND returned_at IS NULL)",
        "returned" => "returned_at IS NOT NULL",
        "failing" => "state = 'failing'",
        "failed" => "state = 'failed'",
        "skipped" => "state = 'skipped'",
        "unreadable" => {
            "state NOT IN ('due', 'sending', 'unknown', 'settling', 'authorized', 'capturing', 'releasing', 'paid', \
             'failing', 'failed', 'skipped', 'parked')"
        }
        _ => "false",
    }
}

pub(super) fn damaged_subscription(row: &QueryResult, told: &Told) -> Damaged {
    let status: Option<String> = row.try_get("", "status").ok();
    let status = status.as_deref().and_then(domain::subscription::SubscriptionStatus::parse);
    Damaged {
        table: "subscription",
        id: told.row.clone(),
        state: status.map_or("unreadable", |status| status.as_str()),
        why: told.to_string(),
    }
}

pub(super) fn damaged_charge(row: &QueryResult, told: &Told) -> Damaged {
    let state: Option<String> = row.try_get("", "state").ok();
    let why: Option<String> = row.try_get("", "why").ok().flatten();
    let doubt = row.try_get("", "doubt").unwrap_or(true);
    let word = damage::word(state.as_deref().unwrap_or_default(), why.as_deref(), doubt);
    Damaged { table: "charge", id: told.row.clone(), state: word, why: told.to_string() }
}
