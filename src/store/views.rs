//! What people look at: charges, their attempts and history, totals. Reads only.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, QueryResult};

use domain::charge::Charge;
use domain::id::ChargeId;
use domain::money::Currency;
use entity::{audit, observation};

use super::damage::{self, Told};
use super::lines::LEARNT;
use super::{DatabaseStore, store_error};
use crate::ports::{AttemptRecord, Damaged, Listed, StoreError, TimelineEntry, Totals};

impl DatabaseStore {
    pub(super) async fn one_charge(&self, id: ChargeId) -> Result<Option<Charge>, StoreError> {
        let sql = self.statement("SELECT * FROM charge WHERE id = $1", [id.0.into()]);
        let found = self.database.query_one_raw(sql).await.map_err(store_error)?;
        Ok(found.map(|row| damage::charge(&row)).transpose()?)
    }

    pub(super) async fn attempts_of(&self, id: ChargeId) -> Result<Vec<Listed<AttemptRecord>>, StoreError> {
        let sql = self.statement("SELECT * FROM attempt WHERE charge_id = $1 ORDER BY number", [id.0.into()]);
        let found = self.database.query_all_raw(sql).await.map_err(store_error)?;
        let listed = |row| match damage::attempt(row, id) {
            Ok(attempt) => Listed::Whole(attempt),
            Err(told) => Listed::Damaged(Damaged {
                table: "attempt",
                id: told.row.clone(),
                state: "unreadable",
                why: told.to_string(),
            }),
        };
        Ok(found.iter().map(listed).collect())
    }

    pub(super) async fn read_timeline(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError> {
        let sql = self.statement(
            "SELECT * FROM audit WHERE object = $1 AND action <> $2 ORDER BY id",
            [id.to_string().into(), LEARNT.into()],
        );
        let decided = self.database.query_all_raw(sql).await.map_err(store_error)?;
        let sql = self.statement("SELECT * FROM observation WHERE charge_id = $1 ORDER BY id", [id.0.into()]);
        let seen = self.database.query_all_raw(sql).await.map_err(store_error)?;
        let mut all = Vec::with_capacity(decided.len() + seen.len());
        // A line without a readable moment stands after the one before it.
        let mut last = DateTime::<Utc>::UNIX_EPOCH;
        for (place, row) in decided.iter().enumerate() {
            let entry = damage::model::<audit::Model>(row, "audit", numbered).map(entry_of_audit);
            all.push((0_u8, place, told(entry, row, &mut last)));
        }
        for (place, row) in seen.iter().enumerate() {
            let entry = damage::model::<observation::Model>(row, "observation", numbered);
            all.push((1, place, told(entry.map(|row| entry_of_observation(&row)), row, &mut last)));
        }
        all.sort_by_key(|(kind, place, entry)| (entry.at, *kind, *place));
        Ok(all.into_iter().map(|(.., entry)| entry).collect())
    }

    /// `which` is a WHERE clause of our own, or nothing. Of what was collected in part, the part counts.
    ///
    /// Amounts are summed in two halves, so that neither a damaged one nor two huge ones make the whole sum fail.
    pub(super) async fn sum_up(&self, which: &'static str) -> Result<Totals, StoreError> {
        let sound = if self.is_postgres() {
            "amount_minor IS NOT NULL"
        } else {
            "(typeof(amount_minor) = 'integer' AND typeof(collected_minor) IN ('integer', 'null'))"
        };
        let sql = format!(
            "SELECT state, why, doubt, returned_at IS NOT NULL AS returned, currency, {sound} AS sound, count(*) AS n, \
             CAST(sum(COALESCE(collected_minor, amount_minor) >> 32) AS bigint) AS high, \
             CAST(sum(COALESCE(collected_minor, amount_minor) & 4294967295) AS bigint) AS low \
             FROM charge {which} GROUP BY state, why, doubt, returned_at IS NOT NULL, currency, {sound}"
        );
        let found = self.database.query_all_raw(self.statement(sql, [])).await.map_err(store_error)?;
        let mut totals = Totals::new();
        for row in &found {
            let state = row.try_get::<String>("", "state").unwrap_or_default();
            let why: Option<String> = row.try_get("", "why").unwrap_or_default();
            let sound = row.try_get("", "sound").unwrap_or(false);
            let word = match row.try_get("", "doubt") {
                Ok(_) if sound && state == "paid" && row.try_get("", "returned").unwrap_or(false) => "returned",
                Ok(doubt) if sound => damage::word(&state, why.as_deref(), doubt),
                Ok(_) | Err(_) => "unreadable",
            };
            let currency = row.try_get::<String>("", "currency").ok();
            let currency = currency.filter(|code| Currency::parse(code).is_ok()).unwrap_or_else(|| "???".to_owned());
            let n: i64 = row.try_get("", "n").map_err(store_error)?;
            let half = |name| row.try_get::<i64>("", name).map(i128::from).unwrap_or(0);
            let total = half("high") * (1_i128 << 32) + half("low");
            let sum = totals.entry((word.to_owned(), currency)).or_insert((0, 0));
            sum.0 += u64::try_from(n).unwrap_or(0);
            sum.1 = i64::try_from(i128::from(sum.1) + total).unwrap_or(i64::MAX);
        }
        Ok(totals)
    }
}

fn numbered(row: &QueryResult) -> String {
    row.try_get::<i64>("", "id").map_or_else(|_| "?".to_owned(), |id| id.to_string())
}

/// A line of a timeline, or that it cannot be read.
fn told(entry: Result<TimelineEntry, Told>, row: &QueryResult, last: &mut DateTime<Utc>) -> TimelineEntry {
    *last = row.try_get("", "at").unwrap_or(*last);
    entry.unwrap_or_else(|told| TimelineEntry {
        at: *last,
        actor: "store".to_owned(),
        event: "unreadable".to_owned(),
        detail: told.to_string(),
    })
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
