//! Refunds in the database: recorded under a guard of their sum, sent once, moved by compare-and-set.
//!
//! Rows are locked in one order: charge, then `refund_total`, then refund. Two commands about one charge come one after the
//! other on its `refund_total` row, and its CHECK is the last word on the sum.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, FromQueryResult as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, Value,
};

use domain::id::{ChargeId, Key, MerchantId, RefundId};
use domain::money::{Currency, Money};
use domain::refund::Refund;
use entity::{audit, refund, refund_observation};

use super::lines::{self, ENGINE};
use super::refund_rows::{self, record};
use super::rows::whole;
use super::{DatabaseStore, store_error};
use crate::ports::refund::{
    Begun, Kept, RefundCursor, RefundFilter, RefundIntent, RefundRecord, RefundStore, RefundVerdict, Sendable,
};
use crate::ports::{Claimed, StoreError, TimelineEntry};

/// The states that show as a word.
fn states_of(word: &str) -> &'static [&'static str] {
    match word {
        "due" => &["recorded"],
        "sending" => &["sending", "settling"],
        "outcome_unknown" => &["unknown", "parked"],
        "refunded" => &["refunded"],
        "partly_refunded" => &["partly_refunded"],
        "failed" => &["failed"],
        _ => &[],
    }
}

/// What an audit row says of a refund. The id comes first: by it the history finds its rows among the charge's.
pub(super) fn audit_detail(refund: &Refund, note: Option<&str>) -> String {
    let note = note.map(|note| format!(" {note}")).unwrap_or_default();
    format!("{} of {}: {}{note}", refund.id, refund.amount, refund.sentence())
}

#[async_trait]
impl RefundStore for DatabaseStore {
    async fn refund(&self, id: RefundId) -> Result<Option<RefundRecord>, StoreError> {
        let found = refund::Entity::find_by_id(id.0).one(self.database()).await.map_err(store_error)?;
        found.as_ref().map(record).transpose()
    }

    async fn refund_by_key(&self, key: Key) -> Result<Option<RefundRecord>, StoreError> {
        let query = refund::Entity::find().filter(refund::Column::GatewayKey.eq(key.0));
        query.one(self.database()).await.map_err(store_error)?.as_ref().map(record).transpose()
    }

    async fn refunds_of(&self, charge: ChargeId) -> Result<Vec<RefundRecord>, StoreError> {
        let query =
            refund::Entity::find().filter(refund::Column::ChargeId.eq(charge.0)).order_by_asc(refund::Column::Number);
        query.all(self.database()).await.map_err(store_error)?.iter().map(record).collect()
    }

    async fn refunds(
        &self,
        filter: &RefundFilter,
        after: &RefundCursor,
        limit: u64,
    ) -> Result<Vec<RefundRecord>, StoreError> {
        use refund::Column;
        let mut query = refund::Entity::find().order_by_asc(Column::RecordedAt).order_by_asc(Column::Id).limit(limit);
        if !filter.words.is_empty() {
            let states = filter.words.iter().flat_map(|word| states_of(word).iter().copied());
            query = query.filter(Column::State.is_in(states));
        }
        if let Some(charge) = filter.charge {
            query = query.filter(Column::ChargeId.eq(charge.0));
        }
        if let Some((at, id)) = after {
            let id = uuid::Uuid::try_parse(id).unwrap_or_default();
            query = query.filter(
                Condition::any()
                    .add(Column::RecordedAt.gt(*at))
                    .add(Condition::all().add(Column::RecordedAt.eq(*at)).add(Column::Id.gt(id))),
            );
        }
        query.all(self.database()).await.map_err(store_error)?.iter().map(record).collect()
    }

    async fn given_back(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Money>, StoreError> {
        let mut sums: BTreeMap<ChargeId, Money> = BTreeMap::new();
        for page in charges.chunks(1_000) {
            let found = refund::Entity::find()
                .filter(refund::Column::ChargeId.is_in(page.iter().map(|id| id.0)))
                .filter(refund::Column::GivenBackMinor.gt(0))
                .all(self.database())
                .await
                .map_err(store_error)?;
            for row in &found {
                let currency = Currency::parse(&row.currency).map_err(|error| StoreError::Inconsistent {
                    table: "refund",
                    column: "currency",
                    row: RefundId(row.id).to_string(),
                    why: error.to_string(),
                })?;
                let sum = sums.entry(ChargeId(row.charge_id)).or_insert(Money::new(0, currency));
                *sum = Money::new(sum.minor().saturating_add(row.given_back_minor), currency);
            }
        }
        Ok(sums)
    }

    async fn refund_history(&self, id: RefundId) -> Result<Vec<TimelineEntry>, StoreError> {
        let Some(found) = self.refund(id).await? else { return Ok(Vec::new()) };
        let decided = audit::Entity::find()
            .filter(audit::Column::Object.eq(found.refund.charge.to_string()))
            .filter(audit::Column::Detail.starts_with(id.to_string()))
            .order_by_asc(audit::Column::Id)
            .all(self.database())
            .await
            .map_err(store_error)?;
        let seen = refund_observation::Entity::find()
            .filter(refund_observation::Column::RefundId.eq(id.0))
            .order_by_asc(refund_observation::Column::Id)
            .all(self.database())
            .await
            .map_err(store_error)?;
        let decided = decided.into_iter().map(|row| {
            let entry = TimelineEntry { at: row.at, actor: row.actor, event: row.action, detail: row.detail };
            (row.at, 0, row.id, entry)
        });
        let seen = seen.into_iter().map(|row| (row.at, 1, row.id, entry_of_observation(&row)));
        let mut all: Vec<(DateTime<Utc>, u8, i64, TimelineEntry)> = decided.chain(seen).collect();
        all.sort_by_key(|(at, kind, id, _)| (*at, *kind, *id));
        Ok(all.into_iter().map(|(.., entry)| entry).collect())
    }

    async fn refunds_open(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let sql =
            "SELECT state, count(*) AS n FROM refund WHERE next_at IS NOT NULL OR state = 'parked' GROUP BY state";
        let found = self.database().query_all_raw(self.statement(sql, [])).await.map_err(store_error)?;
        let mut open = BTreeMap::new();
        for row in &found {
            let state: String = row.try_get("", "state").map_err(store_error)?;
            let n: i64 = row.try_get("", "n").map_err(store_error)?;
            let words = ["due", "sending", "outcome_unknown"];
            let word = words.into_iter().find(|word| states_of(word).contains(&state.as_str())).unwrap_or("failed");
            *open.entry(word.to_owned()).or_default() += u64::try_from(n).unwrap_or(0);
        }
        Ok(open)
    }

    async fn is_disputed(&self, charge: ChargeId) -> Result<bool, StoreError> {
        self.disputed(self.database(), charge).await.map_err(store_error)
    }

    async fn dispute(&self, charge: ChargeId, dispute: &str, open: bool, at: DateTime<Utc>) -> Result<(), StoreError> {
        let mut values: Vec<Value> = vec![charge.0.into(), dispute.into()];
        let sql = if open {
            values.push(whole(at).into());
            "INSERT INTO refund_dispute (charge_id, dispute, since) VALUES ($1, $2, $3) ON CONFLICT (charge_id, dispute) DO NOTHING"
        } else {
            "DELETE FROM refund_dispute WHERE charge_id = $1 AND dispute = $2"
        };
        self.database().execute_raw(self.statement(sql, values)).await.map_err(store_error).map(drop)
    }

    async fn record_refund(&self, refund: &Refund, collected: Money, by: &str) -> Result<bool, StoreError> {
        self.transaction(&move |on, _| Box::pin(self.insert_refund(on, refund, collected, by))).await
    }

    async fn claim_refunds(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<RefundRecord>, StoreError> {
        let skip_locked = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT id FROM refund WHERE merchant_id = $1 AND next_at <= $2 AND (leased_until IS NULL OR leased_until <= $2) \
               ORDER BY next_at, id LIMIT $4 {skip_locked}) \
             UPDATE refund SET version = version + 1, leased_until = $3 WHERE id IN (SELECT id FROM due) RETURNING *"
        );
        loop {
            let values: [Value; 4] =
                [merchant.0.into(), whole(due_by).into(), whole(lease_until).into(), i64::from(limit).into()];
            let found = self.database().query_all_raw(self.statement(&sql, values)).await.map_err(store_error)?;
            let mut claimed = Vec::with_capacity(found.len());
            for row in &found {
                let read = refund::Model::from_query_result(row, "").map_err(store_error);
                match read.and_then(|model| record(&model)) {
                    Ok(record) => claimed.push(record),
                    Err(error) => {
                        tracing::error!(event = "row_unreadable", error = %error, "a refund cannot be read; a person must mend its row");
                    }
                }
            }
            // A batch of nothing but unreadable rows is leased by now and hides no neighbour: take the next.
            if !claimed.is_empty() || found.is_empty() {
                // RETURNING has no order.
                claimed.sort_by_key(|one| (one.refund.state.next_at(), one.refund.id));
                return Ok(claimed);
            }
        }
    }

    async fn release_refund(&self, id: RefundId, version: i64) -> Result<(), StoreError> {
        let sql = "UPDATE refund SET leased_until = NULL WHERE id = $1 AND version = $2";
        let statement = self.statement(sql, [id.0.into(), version.into()]);
        self.database().execute_raw(statement).await.map_err(store_error).map(drop)
    }

    async fn begin_refund(&self, intent: &RefundIntent) -> Result<Begun, StoreError> {
        self.transaction(&move |on, _| Box::pin(self.begin_sending(on, intent))).await
    }

    async fn commit_refund(&self, verdict: &RefundVerdict) -> Result<Kept, StoreError> {
        self.transaction(&move |on, _| Box::pin(self.move_refund(on, verdict))).await
    }
}

/// Is the money of a charge, which SQL calls so, withdrawn by a dispute? The ledger of disputes says so, and `refund_dispute` what was written
/// beside it.
pub(super) fn disputed(charge: &str) -> String {
    format!(
        "(EXISTS (SELECT 1 FROM dispute d WHERE d.charge_id = {charge} AND d.standing <> 'won') \
         OR EXISTS (SELECT 1 FROM refund_dispute d WHERE d.charge_id = {charge}))"
    )
}

impl DatabaseStore {
    pub(super) fn for_update(&self) -> &'static str {
        // SQLite's writing transactions exclude each other from their begin on.
        if self.is_postgres() { "FOR UPDATE" } else { "" }
    }

    async fn disputed(&self, on: &impl ConnectionTrait, charge: ChargeId) -> Result<bool, DbErr> {
        let sql = format!("SELECT 1 AS disputed WHERE {}", disputed("$1"));
        Ok(on.query_one_raw(self.statement(sql, [charge.0.into()])).await?.is_some())
    }

    /// Is the charge paid and undisputed, and does it stay so until this transaction ends?
    async fn is_refundable(&self, on: &DatabaseTransaction, charge: ChargeId) -> Result<bool, DbErr> {
        let sql = format!(
            "SELECT id FROM charge WHERE id = $1 AND state = 'paid' AND returned_at IS NULL {}",
            self.for_update()
        );
        let paid = on.query_one_raw(self.statement(sql, [charge.0.into()])).await?.is_some();
        Ok(paid && !self.disputed(on, charge).await?)
    }

    pub(super) async fn insert_refund(
        &self,
        on: &DatabaseTransaction,
        refund: &Refund,
        collected: Money,
        by: &str,
    ) -> Result<bool, DbErr> {
        if !self.is_refundable(on, refund.charge).await? {
            return Ok(false);
        }
        // What was captured counts, as the charge's own row says it; nobody else is believed.
        let sql = "INSERT INTO refund_total (charge_id, collected_minor, taken_minor, last_number) \
                   SELECT id, COALESCE(collected_minor, amount_minor), 0, 0 FROM charge \
                   WHERE id = $1 AND COALESCE(collected_minor, amount_minor) = $2 ON CONFLICT (charge_id) DO NOTHING";
        on.execute_raw(self.statement(sql, [refund.charge.0.into(), collected.minor().into()])).await?;
        let sql = "UPDATE refund_total SET taken_minor = taken_minor + $2, last_number = $3 \
                   WHERE charge_id = $1 AND last_number = $3 - 1 AND taken_minor + $2 <= collected_minor";
        let number = i32::from(refund.number);
        let values: [Value; 3] = [refund.charge.0.into(), refund.amount.minor().into(), number.into()];
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let at = whole(refund.recorded_at);
        let sql = "INSERT INTO refund (id, charge_id, number, merchant_id, subscription_id, gateway_key, payment_id, amount_minor, \
                   currency, whole, reason, recorded_by, recorded_at, state, state_since, next_at, asked, given_back_minor, version, \
                   updated_at, method_id) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $13, $15, 0, 0, 0, $13, $16)";
        let values: [Value; 16] = [
            refund.id.0.into(),
            refund.charge.0.into(),
            number.into(),
            refund.merchant.0.into(),
            refund.subscription.as_str().into(),
            refund.key.0.into(),
            refund.payment_id.as_str().into(),
            refund.amount.minor().into(),
            refund.amount.currency().code().into(),
            refund.whole.into(),
            refund.reason.as_str().into(),
            by.into(),
            at.into(),
            refund.state.name().into(),
            refund.state.next_at().map(whole).into(),
            refund.from.map(|method| method.0).into(),
        ];
        on.execute_raw(self.statement(sql, values)).await?;
        let reason = format!("reason: {}", refund.reason);
        self.note(on, lines::refund((None, refund), (by, Some(&reason)), at))?;
        Ok(true)
    }

    async fn begin_sending(&self, on: &DatabaseTransaction, intent: &RefundIntent) -> Result<Begun, DbErr> {
        if self.holds_in_force(on).await? != intent.holds_seen {
            return Ok(Begun::HoldsChanged);
        }
        let RefundIntent { before, after, body, at, .. } = intent;
        if !self.is_refundable(on, after.charge).await? {
            return Ok(Begun::Lost);
        }
        // The one door to the gateway: what has left `recorded`, or has ever had a body, does not come through it.
        let sql = format!(
            "UPDATE refund SET {}, body = $11, body_sha256 = $12, sent_at = $10 \
             WHERE id = $13 AND version = $14 AND state = 'recorded' AND sent_at IS NULL",
            refund_rows::SET
        );
        let mut values = refund_rows::values(after, *at);
        values.extend([body.text.as_str().into(), body.sha256.as_str().into(), after.id.0.into(), before.fence.into()]);
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(Begun::Lost);
        }
        let key = format!("key {}", after.key);
        self.note(on, lines::refund((Some(&before.value), after), (ENGINE, Some(&key)), *at))?;
        let sendable = Sendable::by_commit(after.clone(), body.clone(), before.fence.saturating_add(1));
        Ok(Begun::Committed(Box::new(sendable)))
    }

    async fn move_refund(&self, on: &DatabaseTransaction, verdict: &RefundVerdict) -> Result<Kept, DbErr> {
        let RefundVerdict { before: Claimed { value: before, fence }, after, by, note, at, .. } = verdict;
        let Some(after) = after else {
            self.insert_refund_evidence(on, verdict, before.state.name(), false).await?;
            return Ok(Kept::Applied(*fence));
        };
        let change = after.may_have_moved().minor().saturating_sub(before.may_have_moved().minor());
        if change != 0 {
            let sql = format!(
                "SELECT charge_id FROM refund_total WHERE charge_id = $1 AND taken_minor + $2 <= collected_minor {}",
                self.for_update()
            );
            let values: [Value; 2] = [after.charge.0.into(), change.into()];
            if on.query_one_raw(self.statement(sql, values)).await?.is_none() {
                return Ok(Kept::Overdrawn);
            }
        }
        let sql = format!("UPDATE refund SET {} WHERE id = $11 AND version = $12 AND state = $13", refund_rows::SET);
        let mut values = refund_rows::values(after, *at);
        values.extend([after.id.0.into(), (*fence).into(), before.state.name().into()]);
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(Kept::Stale);
        }
        if change != 0 {
            let sql = "UPDATE refund_total SET taken_minor = taken_minor + $2 WHERE charge_id = $1";
            on.execute_raw(self.statement(sql, [after.charge.0.into(), change.into()])).await?;
        }
        self.post_refund(on, before, after, whole(*at)).await?;
        if after.state.name() != before.state.name() || note.is_some() {
            self.note(on, lines::refund((Some(before), after), (by, note.as_deref()), *at))?;
        }
        self.insert_refund_evidence(on, verdict, after.state.name(), true).await?;
        Ok(Kept::Applied(fence.saturating_add(1)))
    }

    async fn insert_refund_evidence(
        &self,
        on: &DatabaseTransaction,
        verdict: &RefundVerdict,
        to_state: &str,
        applied: bool,
    ) -> Result<(), DbErr> {
        let plain = |text: &Option<String>| text.as_ref().map(|text| text.replace('\0', ""));
        for (at, seen) in &verdict.observations {
            let sql = "INSERT INTO refund_observation (refund_id, asked_by, seen, to_state, applied, http_status, gateway_id, \
                       gateway_status, detail, body_sha256, request_id, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
            let known = verdict.after.as_ref().and_then(Refund::known_as);
            let values: [Value; 12] = [
                verdict.before.value.id.0.into(),
                seen.asked.as_str().into(),
                seen.event.name().into(),
                to_state.into(),
                applied.into(),
                seen.http_status.map(i32::from).into(),
                known.map(ToOwned::to_owned).into(),
                plain(&seen.gateway_status).into(),
                plain(&seen.detail).into(),
                seen.body_sha256.clone().into(),
                seen.request_id.clone().into(),
                whole(*at).into(),
            ];
            on.execute_raw(self.statement(sql, values)).await?;
        }
        Ok(())
    }
}

fn entry_of_observation(row: &refund_observation::Model) -> TimelineEntry {
    let mut detail = row.asked_by.clone();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            detail.push_str(&format!(" {name}={value}"));
        }
    };
    add("http", row.http_status.map(|status| status.to_string()));
    add("refund", row.gateway_id.clone());
    add("status", row.gateway_status.clone());
    add("said", row.detail.clone());
    let event = if row.applied {
        format!("{} → {}", row.seen, row.to_state)
    } else {
        format!("{} (evidence only)", row.seen)
    };
    TimelineEntry { at: row.at, actor: "gateway".to_owned(), event, detail }
}
