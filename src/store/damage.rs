//! Rows that cannot be read: what can be told of them without guessing, and how they are set aside.
//!
//! A damaged row is named by its id, or by its place in the table where the id is what is damaged; by the column; and by what
//! is wrong with it. Never by the value, which may be anything. It is set aside once, by an update of a few columns that
//! leaves the damage as it is for whoever mends it.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ConnectionTrait as _, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, IdenStatic as _, Iterable,
    ModelTrait, QueryResult, RuntimeErr, Value,
};

use domain::charge::{Charge, ParkWhy};
use domain::id::{ChargeId, MerchantId, SubscriptionId};
use entity::{attempt, charge, subscription};

use super::lines::ENGINE;
use super::{DatabaseStore, rows, store_error};
use crate::ports::{AttemptRecord, Poison, StoreError, SubscriptionView};

/// Nothing of ours is planned this far ahead as a rule: beyond it, stored moments are looked at one by one.
const HORIZON: TimeDelta = TimeDelta::days(3_653);
/// Most rows of one sweep; what is left is found by the next.
const SWEPT_MAX: i64 = 100;

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    table: &'static str,
    column: &'static str,
    /// Its id, or its place in the table.
    pub(super) row: String,
    why: String,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", StoreError::from(self.clone()))
    }
}

impl From<Told> for StoreError {
    fn from(told: Told) -> Self {
        let Told { table, column, row, why } = told;
        Self::Inconsistent { table, column, row, why }
    }
}

impl From<Told> for Poison {
    fn from(told: Told) -> Self {
        Self { id: told.row.clone(), why: told.to_string() }
    }
}

impl Told {
    pub(super) fn new(table: &'static str, column: &'static str, row: impl Into<String>, why: &str) -> Self {
        Self { table, column, row: row.into(), why: why.to_owned() }
    }
}

/// Where a row stands in its table, for rows whose id cannot be read.
pub(super) const fn place(postgres: bool) -> &'static str {
    if postgres { "CAST(ctid AS text)" } else { "rowid" }
}

/// The word people see for a charge's columns; `unreadable` where they are no state of ours.
pub(super) fn word(state: &str, why: Option<&str>, doubt: bool) -> &'static str {
    match (state, why, doubt) {
        ("due", _, true) | ("unknown", ..) => "outcome_unknown",
        ("parked", Some("outcome_unknown" | "mismatch" | "damaged_in_doubt"), _) => "outcome_unknown",
        ("parked", ..) => "held",
        ("due", ..) => "due",
        ("sending" | "settling", ..) => "sending",
        ("authorized", ..) => "authorized",
        ("capturing", ..) => "capturing",
        ("releasing", ..) => "releasing",
        ("paid", ..) => "paid",
        ("failing", ..) => "failing",
        ("failed", ..) => "failed",
        ("skipped", ..) => "skipped",
        _ => "unreadable",
    }
}

/// A row's place as text: `#17` on SQLite, `#(0,5)` on PostgreSQL.
fn placed(row: &QueryResult) -> String {
    let number = row.try_get::<i64>("", "place").map(|place| place.to_string());
    number.or_else(|_| row.try_get::<String>("", "place")).map_or_else(|_| "?".to_owned(), |place| format!("#{place}"))
}

pub(super) fn name_of_subscription(row: &QueryResult) -> String {
    let id = row.try_get::<String>("", "id").ok().and_then(|id| SubscriptionId::parse(&id).ok());
    id.map_or_else(|| placed(row), |id| id.to_string())
}

fn name_of_charge(row: &QueryResult) -> String {
    row.try_get::<uuid::Uuid>("", "id").map_or_else(|_| placed(row), |id| ChargeId(id).to_string())
}

/// The columns of a row as a model; the first that is of another type is named.
pub(super) fn model<M: ModelTrait + FromQueryResult>(
    row: &QueryResult,
    table: &'static str,
    name: impl Fn(&QueryResult) -> String,
) -> Result<M, Told> {
    M::from_query_result(row, "").map_err(|error| {
        let (said, why) = match &error {
            DbErr::Query(RuntimeErr::SqlxError(inner)) => match &**inner {
                sqlx::Error::ColumnDecode { index, .. } => (index.as_str(), "is not of the type that belongs there"),
                _ => ("", "cannot be read"),
            },
            // A NULL where none belongs: the name stands at the end.
            DbErr::Type(text) => (text.rsplit(' ').next().unwrap_or_default(), "is empty"),
            _ => ("", "cannot be read"),
        };
        let said = said.trim_matches('"');
        let mut columns = <<M::Entity as EntityTrait>::Column as Iterable>::iter().map(|column| column.as_str());
        let column = columns.find(|column| *column == said).unwrap_or("row");
        Told::new(table, column, name(row), why)
    })
}

pub(super) fn subscription_model(row: &QueryResult) -> Result<subscription::Model, Told> {
    model(row, "subscription", name_of_subscription)
}

pub(super) fn charge_model(row: &QueryResult) -> Result<charge::Model, Told> {
    model(row, "charge", name_of_charge)
}

/// A subscription as people see it.
pub(super) fn view(row: &QueryResult) -> Result<SubscriptionView, Told> {
    let model = subscription_model(row)?;
    let subscription = rows::subscription(&model).map_err(|told| Told { row: name_of_subscription(row), ..told })?;
    Ok(SubscriptionView { subscription, note: model.note })
}

/// The fence of a row. A claim has just counted it up, so a number stands there; elsewhere a damaged one proves no claim.
pub(super) fn fence(row: &QueryResult) -> i64 {
    row.try_get("", "fence").unwrap_or(0)
}

/// A charge of a row.
pub(super) fn charge(row: &QueryResult) -> Result<Charge, Told> {
    rows::charge(&charge_model(row)?)
}

/// An attempt of a charge.
pub(super) fn attempt(row: &QueryResult, charge: ChargeId) -> Result<AttemptRecord, Told> {
    let number =
        |row: &QueryResult| row.try_get::<i32>("", "number").map_or_else(|_| "?".to_owned(), |n| n.to_string());
    let model = model::<attempt::Model>(row, "attempt", |row| format!("{charge}/{}", number(row)))?;
    rows::attempt(&model)
}

/// A row to set aside.
#[derive(Debug)]
pub(super) struct Bad {
    /// What names the row for an update, whatever its id looks like.
    key: (&'static str, Value),
    /// What people call it; what is wrong may lie in a row beside it.
    name: String,
    /// What a charge is parked for; nothing for a subscription, which is quarantined.
    park: Option<ParkWhy>,
    told: Told,
}

impl DatabaseStore {
    fn key(&self, row: &QueryResult, id: Result<Value, DbErr>) -> Result<(&'static str, Value), StoreError> {
        let key = if self.is_postgres() {
            id.map(|id| ("id", id))
        } else {
            row.try_get::<i64>("", "place").map(|place| ("rowid", place.into()))
        };
        key.map_err(store_error)
    }

    pub(super) fn bad_subscription(&self, row: &QueryResult, told: Told) -> Result<Bad, StoreError> {
        let key = self.key(row, row.try_get::<String>("", "id").map(Value::from))?;
        Ok(Bad { key, name: name_of_subscription(row), park: None, told })
    }

    /// A charge is in doubt unless its own row says that nothing can be under way.
    pub(super) fn bad_charge(&self, row: &QueryResult, told: Told) -> Result<Bad, StoreError> {
        let key = self.key(row, row.try_get::<uuid::Uuid>("", "id").map(Value::from))?;
        let state: Option<String> = row.try_get("", "state").ok();
        let quiet = match state.as_deref() {
            Some("due") => row.try_get("", "doubt").is_ok_and(|doubt: bool| !doubt),
            Some("failing") => true,
            Some(_) | None => false,
        };
        let park = if quiet { ParkWhy::Damaged } else { ParkWhy::DamagedInDoubt };
        Ok(Bad { key, name: name_of_charge(row), park: Some(park), told })
    }

    /// Sets rows aside so that they are not claimed again; returns those that were not set aside yet.
    ///
    /// A row that takes no update is told and left: it is claimed again after its lease, and hides no neighbour.
    pub(super) async fn set_aside(&self, bad: &[Bad], at: DateTime<Utc>) -> Result<Vec<Poison>, StoreError> {
        let mut poison = Vec::with_capacity(bad.len());
        for row in bad {
            let done = self
                .transaction(&move |transaction, _| {
                    Box::pin(async move { self.set_one_aside(transaction, row, at).await })
                })
                .await;
            let one = Poison { id: row.name.clone(), why: row.told.to_string() };
            match done {
                Ok(true) => poison.push(one),
                Ok(false) => {}
                Err(StoreError::Refused(why)) => {
                    tracing::error!(
                        event = "row_unreadable",
                        error = one.why,
                        why,
                        "a row cannot be read nor set aside"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(poison)
    }

    async fn set_one_aside(&self, on: &DatabaseTransaction, row: &Bad, at: DateTime<Utc>) -> Result<bool, DbErr> {
        let (column, key) = &row.key;
        let why = row.told.to_string();
        let (action, sql, word) = match row.park {
            None => (
                "subscription.quarantined",
                format!(
                    "UPDATE subscription SET status = 'quarantined', note = $2, next_due_at = NULL, leased_until = NULL, \
                     updated_at = $3 WHERE {column} = $1 AND next_due_at IS NOT NULL"
                ),
                why.as_str(),
            ),
            // What is final stays what it is; it only asks for no attention any more.
            Some(park) => (
                "charge.set_aside",
                format!(
                    "UPDATE charge SET why = CASE WHEN state IN ('paid', 'failed', 'skipped') THEN why ELSE $2 END, \
                     state_since = CASE WHEN state IN ('paid', 'failed', 'skipped') THEN state_since ELSE $3 END, \
                     state = CASE WHEN state IN ('paid', 'failed', 'skipped') THEN state ELSE 'parked' END, \
                     next_at = NULL, leased_until = NULL, fence = fence + 1, updated_at = $3 \
                     WHERE {column} = $1 AND (next_at IS NOT NULL OR state NOT IN ('paid', 'failed', 'skipped', 'parked'))"
                ),
                park.as_str(),
            ),
        };
        let values: [Value; 3] = [key.clone(), word.into(), at.into()];
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(false);
        }
        self.audit(on, ENGINE, action, &row.name, &why, at).await?;
        Ok(true)
    }

    /// Rows of SQLite that no claim would ever meet, because a value of another type sorts behind every moment, or under no
    /// merchant. Both questions are answered by the ends of the index that claims stand on.
    pub(super) async fn out_of_reach(
        &self,
        table: &'static str,
        moment: &'static str,
        merchant: MerchantId,
        now: DateTime<Utc>,
    ) -> Result<Vec<(QueryResult, Option<&'static str>)>, StoreError> {
        if self.is_postgres() {
            return Ok(Vec::new());
        }
        let horizon = now.checked_add_signed(HORIZON).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let far: [Value; 3] = [merchant.0.into(), horizon.into(), SWEPT_MAX.into()];
        let sql = format!(
            "SELECT *, rowid AS place FROM {table} WHERE merchant_id = $1 AND {moment} > $2 ORDER BY {moment} DESC LIMIT $3"
        );
        let far = self.database.query_all_raw(self.statement(sql, far)).await.map_err(store_error)?;
        let sql =
            format!("SELECT *, rowid AS place FROM {table} WHERE merchant_id < x'' AND {moment} IS NOT NULL LIMIT $1");
        let stray = self.database.query_all_raw(self.statement(sql, [SWEPT_MAX.into()])).await.map_err(store_error)?;
        let far = far.into_iter().map(|row| (row, None));
        Ok(far.chain(stray.into_iter().map(|row| (row, Some("merchant_id")))).collect())
    }

    /// Subscriptions out of reach, set aside.
    pub(super) async fn sweep_due(&self, merchant: MerchantId, now: DateTime<Utc>) -> Result<Vec<Poison>, StoreError> {
        let mut bad = Vec::new();
        for (row, column) in self.out_of_reach("subscription", "next_due_at", merchant, now).await? {
            if let Some(told) = out_of_place("subscription", column, name_of_subscription(&row), view(&row).err()) {
                bad.push(self.bad_subscription(&row, told)?);
            }
        }
        self.set_aside(&bad, now).await
    }

    /// Charges out of reach, set aside.
    pub(super) async fn sweep_open(&self, merchant: MerchantId, now: DateTime<Utc>) -> Result<Vec<Poison>, StoreError> {
        let mut bad = Vec::new();
        // Open, and without a moment to be looked at: an index of its own holds such rows and no others.
        let sql = format!(
            "SELECT *, {} AS place FROM charge WHERE next_at IS NULL AND state NOT IN ('paid', 'failed', 'skipped', 'parked') \
             LIMIT $1",
            place(self.is_postgres())
        );
        let lost = self.database.query_all_raw(self.statement(sql, [SWEPT_MAX.into()])).await.map_err(store_error)?;
        let lost = lost.into_iter().map(|row| (row, Some("next_at")));
        for (row, column) in lost.chain(self.out_of_reach("charge", "next_at", merchant, now).await?) {
            if let Some(told) = out_of_place("charge", column, name_of_charge(&row), charge(&row).err()) {
                bad.push(self.bad_charge(&row, told)?);
            }
        }
        self.set_aside(&bad, now).await
    }
}

fn out_of_place(table: &'static str, column: Option<&'static str>, row: String, told: Option<Told>) -> Option<Told> {
    told.or_else(|| column.map(|column| Told::new(table, column, row, "is not of the type that belongs there")))
}

/// Says what was set aside among charges: in the log and in the count of rows set aside.
pub(super) fn tell_parked(poison: &[Poison]) {
    for row in poison {
        metrics::counter!("autopay_quarantined_total").increment(1);
        tracing::error!(event = "quarantined", charge_id = row.id, why = row.why, "a row cannot be read");
    }
}
