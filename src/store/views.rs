//! What people look at: charges, their attempts and history, totals. Reads only.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use domain::charge::Charge;
use domain::id::ChargeId;
use entity::{attempt, audit, charge, observation};

use super::{DatabaseStore, rows, store_error};
use crate::ports::{AttemptRecord, ChargeFilter, Cursor, StoreError, TimelineEntry, Totals};

/// Rows that show as one state word. The words are those of `State::word`; tests/it compares the two.
fn shows_as(word: &str) -> Condition {
    use charge::Column::{Doubt, State, Why};
    let parked = |why: &[&'static str]| Condition::all().add(State.eq("parked")).add(Why.is_in(why.iter().copied()));
    match word {
        "due" => Condition::all().add(State.eq("due")).add(Doubt.eq(false)),
        "sending" => Condition::any().add(State.is_in(["sending", "settling"])),
        "outcome_unknown" => Condition::any()
            .add(State.eq("unknown"))
            .add(Condition::all().add(State.eq("due")).add(Doubt.eq(true)))
            .add(parked(&["outcome_unknown", "mismatch"])),
        "held" => parked(&["rejected", "no_method", "wrong_method", "hold_expired"]),
        other => Condition::all().add(State.eq(other)),
    }
}

impl DatabaseStore {
    pub(super) async fn one_charge(&self, id: ChargeId) -> Result<Option<Charge>, StoreError> {
        let found = charge::Entity::find_by_id(id.0).one(&self.database).await.map_err(store_error)?;
        found.map(|model| rows::charge(&model)).transpose()
    }

    pub(super) async fn list_charges(
        &self,
        filter: &ChargeFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Vec<Charge>, StoreError> {
        let mut query =
            charge::Entity::find().order_by_asc(charge::Column::DueAt).order_by_asc(charge::Column::Id).limit(limit);
        if !filter.words.is_empty() {
            query = query.filter(filter.words.iter().fold(Condition::any(), |any, word| any.add(shows_as(word))));
        }
        if let Some(id) = &filter.subscription {
            query = query.filter(charge::Column::SubscriptionId.eq(id.as_str()));
        }
        if let Some(from) = filter.from {
            query = query.filter(charge::Column::DueOn.gte(from));
        }
        if let Some(until) = filter.until {
            query = query.filter(charge::Column::DueOn.lte(until));
        }
        if let Some(by) = filter.expiring_by {
            query = query
                .filter(charge::Column::State.is_in(["authorized", "capturing"]))
                .filter(charge::Column::HeldUntil.lte(by));
        }
        if let Some((at, id)) = after {
            let id = uuid::Uuid::try_parse(id).unwrap_or_default();
            query = query.filter(
                Condition::any()
                    .add(charge::Column::DueAt.gt(*at))
                    .add(Condition::all().add(charge::Column::DueAt.eq(*at)).add(charge::Column::Id.gt(id))),
            );
        }
        query.all(&self.database).await.map_err(store_error)?.iter().map(rows::charge).collect()
    }

    pub(super) async fn list_attempts(&self, id: ChargeId) -> Result<Vec<AttemptRecord>, StoreError> {
        let found = attempt::Entity::find()
            .filter(attempt::Column::ChargeId.eq(id.0))
            .order_by_asc(attempt::Column::Number)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        found.iter().map(rows::attempt).collect()
    }

    pub(super) async fn read_timeline(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError> {
        let decided = audit::Entity::find()
            .filter(audit::Column::Object.eq(id.to_string()))
            .order_by_asc(audit::Column::Id)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let seen = observation::Entity::find()
            .filter(observation::Column::ChargeId.eq(id.0))
            .order_by_asc(observation::Column::Id)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let decided = decided.into_iter().map(|row| (row.at, 0, row.id, entry_of_audit(row)));
        let seen = seen.into_iter().map(|row| (row.at, 1, row.id, entry_of_observation(&row)));
        let mut all: Vec<(DateTime<Utc>, u8, i64, TimelineEntry)> = decided.chain(seen).collect();
        all.sort_by_key(|(at, kind, id, _)| (*at, *kind, *id));
        Ok(all.into_iter().map(|(.., entry)| entry).collect())
    }

    /// `which` is a WHERE clause of our own, or nothing.
    pub(super) async fn sum_up(&self, which: &'static str) -> Result<Totals, StoreError> {
        let sql = format!(
            "SELECT state, why, doubt, currency, count(*) AS n, CAST(sum(COALESCE(collected_minor, amount_minor)) AS bigint) AS total \
             FROM charge {which} GROUP BY state, why, doubt, currency"
        );
        let found = self.database.query_all_raw(self.statement(sql, [])).await.map_err(store_error)?;
        let mut totals = Totals::new();
        for row in &found {
            let get = |column| row.try_get::<String>("", column).map_err(store_error);
            let state = get("state")?;
            let why: Option<String> = row.try_get("", "why").map_err(store_error)?;
            let doubt: bool = row.try_get("", "doubt").map_err(store_error)?;
            let word = match (state.as_str(), why.as_deref(), doubt) {
                ("due", _, true) | ("unknown", _, _) | ("parked", Some("outcome_unknown" | "mismatch"), _) => {
                    "outcome_unknown"
                }
                ("parked", _, _) => "held",
                ("settling", _, _) => "sending",
                (other, _, _) => other,
            };
            let n: i64 = row.try_get("", "n").map_err(store_error)?;
            let total: i64 = row.try_get("", "total").map_err(store_error)?;
            let sum = totals.entry((word.to_owned(), get("currency")?)).or_insert((0, 0));
            sum.0 += u64::try_from(n).unwrap_or(0);
            sum.1 += total;
        }
        Ok(totals)
    }
}

fn entry_of_audit(row: audit::Model) -> TimelineEntry {
    TimelineEntry { at: row.at, actor: row.actor, event: row.action, detail: row.detail }
}

fn entry_of_observation(row: &observation::Model) -> TimelineEntry {
    let mut detail = format!("attempt {} {}", row.attempt, row.asked_by);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            detail.push_str(&format!(" {name}={value}"));
        }
    };
    add("http", row.http_status.map(|status| status.to_string()));
    add("payment", row.payment_id.clone());
    add("status", row.gateway_status.clone());
    add("said", row.detail.clone());
    add("answer", row.body_sha256.as_ref().map(|sha| sha.chars().take(12).collect()));
    let event = if row.applied {
        format!("{} → {}", row.seen, row.to_state)
    } else {
        format!("{} (evidence only)", row.seen)
    };
    TimelineEntry { at: row.at, actor: "gateway".to_owned(), event, detail }
}
