//! The webhook inbox in the database. Bodies go in and come out; nothing of them reaches a log or an error.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, FromQueryResult as _,
    QueryFilter as _, QueryResult, Value,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use domain::charge::{Charge, Event, Limits, State, Why};
use domain::id::MerchantId;
use entity::{attempt, webhook_inbox};

use super::bulk::{Bulk, Kind, Val};
use super::rows::{CHARGE_STATE, SET_CHARGE_STATE, charge_state, stored_word, whole};
use super::{DatabaseStore, damage, lines, store_error};
use crate::ports::webhooks::{
    Arrived, Decision, INBOX_MAX, Inbox, InboxId, InboxItem, InboxRow, InboxState, IntakeBatch, IntakeDone, Kept,
    NewsKind, Replayed, Subject,
};
use crate::ports::{Claimed, Store, StoreError};

/// How long a delivery rests whose charge is being asked about by someone else: a question takes seconds.
pub(super) const LATER: TimeDelta = TimeDelta::seconds(2);
/// Why a delivery that was never looked at ended.
pub(super) const EMPTIED: &str = "its body was emptied before anybody looked at it";
/// Why a hint about an earlier attempt leads to nothing.
pub(super) const EARLIER: &str = "about an attempt that is over";
/// Why a hint that a charge does not take leads to nothing.
pub(super) const KNOWN: &str = "what is known is not in question";
/// Why a hint was good for something.
pub(super) const ASKED: &str = "the gateway is asked";
/// Why nothing came of a delivery.
pub(super) const NOT_OURS: &str = "names no charge of ours";

const ENDS: &[(&str, Kind)] = &[
    ("w_id", Kind::Uuid),
    ("w_fence", Kind::Int),
    ("w_state", Kind::Text),
    ("w_why", Kind::Text),
    ("w_next_at", Kind::Time),
    ("w_tries", Kind::Int),
    ("w_handled_at", Kind::Time),
];

const HINTED: &[(&str, Kind)] =
    &[("m_id", Kind::Uuid), ("m_fence", Kind::Int), ("m_before", Kind::Text), ("m_now", Kind::Time)];

fn hinted_columns() -> &'static [(&'static str, Kind)] {
    static COLUMNS: std::sync::LazyLock<Vec<(&'static str, Kind)>> =
        std::sync::LazyLock::new(|| CHARGE_STATE.iter().chain(HINTED).copied().collect());
    &COLUMNS
}

/// What a hint makes of a charge.
pub(super) enum Hinted {
    /// It is asked about now.
    Asked(Box<Charge>),
    /// Nothing follows; the sentence says why.
    Nothing(&'static str),
    /// Somebody is at it.
    Busy,
}

/// One hint about one attempt of a charge.
pub(super) fn hint(charge: &Charge, attempt: u16, unpaid: bool, at: DateTime<Utc>, limits: &Limits) -> Hinted {
    if attempt != charge.tries.attempt {
        return Hinted::Nothing(EARLIER);
    }
    match charge.clone().step(Event::Hint { unpaid }, at, limits) {
        Ok(charge) => Hinted::Asked(Box::new(charge)),
        Err(refused) => match refused.why {
            Why::InFlight => Hinted::Busy,
            Why::Final
            | Why::NothingAsked
            | Why::WrongAttempt
            | Why::NeedsAPerson
            | Why::MayNotBeSentAgain
            | Why::MoreThanAuthorized
            | Why::CarriesOthers => Hinted::Nothing(KNOWN),
        },
    }
}

/// How a decided delivery ends up in its row.
pub(super) struct End {
    pub(super) state: InboxState,
    pub(super) why: &'static str,
    pub(super) later: bool,
}

impl End {
    pub(super) const fn of(state: InboxState, why: &'static str) -> Self {
        Self { state, why, later: false }
    }

    pub(super) const fn later(why: &'static str) -> Self {
        Self { state: InboxState::New, why, later: true }
    }

    pub(super) fn count(&self, done: &mut IntakeDone) {
        if self.later {
            done.later += 1;
        } else {
            done.ended += 1;
            done.foreign += usize::from(self.state == InboxState::Foreign);
        }
    }
}

/// A charge that deliveries of a batch speak of.
struct Spoken {
    charge: Charge,
    fence: i64,
    before: &'static str,
    leased: bool,
    hinted: bool,
    /// The last delivery that spoke of it.
    by: InboxId,
}

#[async_trait]
impl Inbox for DatabaseStore {
    async fn keep(&self, arrived: &Arrived) -> Result<Kept, StoreError> {
        let max = i64::try_from(INBOX_MAX).unwrap_or(i64::MAX);
        if self.backlog(arrived.merchant, max).await? >= max {
            return Ok(Kept::Full);
        }
        let Arrived { merchant, news, body, at } = arrived;
        let at = whole(*at);
        let values: [Value; 9] = [
            InboxId::of(*merchant, &news.dedupe_key).0.into(),
            merchant.0.into(),
            news.dedupe_key.clone().into(),
            news.name.clone().into(),
            news.kind.as_str().into(),
            news.resource_id.clone().into(),
            news.merchant_transaction_id.clone().into(),
            body.clone().into(),
            at.into(),
        ];
        // Due by the clock that claims go by: the database's.
        let due: Value = Store::now(self).await?.into();
        let sha256: Value = hex::encode(Sha256::digest(body)).into();
        let sql = "INSERT INTO webhook_inbox (id, merchant_id, dedupe_key, name, kind, resource_id, merchant_transaction_id, body, \
                   body_sha256, deliveries, state, tries, next_at, fence, received_at, last_received_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $10, 1, 'new', 0, $11, 0, $9, $9) \
                   ON CONFLICT (merchant_id, dedupe_key) DO UPDATE SET deliveries = webhook_inbox.deliveries + 1, \
                   last_received_at = excluded.last_received_at RETURNING deliveries";
        let statement = self.statement(sql, values.into_iter().chain([sha256, due]));
        let row = self.database.query_one_raw(statement).await.map_err(store_error)?;
        let deliveries: Option<i64> = row.map(|row| row.try_get("", "deliveries")).transpose().map_err(store_error)?;
        Ok(match deliveries {
            Some(1) | None => Kept::New,
            Some(often) => Kept::Again(u64::try_from(often).unwrap_or(0)),
        })
    }

    async fn claim_inbox(
        &self,
        merchant: MerchantId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<InboxItem>>, StoreError> {
        let skip_locked = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT id FROM webhook_inbox WHERE merchant_id = $1 AND next_at <= $2 \
                 AND (leased_until IS NULL OR leased_until <= $2) \
               ORDER BY next_at, id LIMIT $4 {skip_locked}) \
             UPDATE webhook_inbox SET fence = fence + 1, leased_until = $3 WHERE id IN (SELECT id FROM due) RETURNING *"
        );
        let values: [Value; 4] =
            [merchant.0.into(), whole(now).into(), whole(lease_until).into(), i64::from(limit).into()];
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let models: Result<Vec<webhook_inbox::Model>, DbErr> =
            found.iter().map(|row| webhook_inbox::Model::from_query_result(row, "")).collect();
        let mut models = models.map_err(store_error)?;
        // RETURNING has no order.
        models.sort_by_key(|model| (model.next_at, model.id));
        let item = |model: webhook_inbox::Model| Claimed {
            fence: model.fence,
            value: InboxItem { id: InboxId(model.id), body: model.body, received_at: model.received_at },
        };
        Ok(models.into_iter().map(item).collect())
    }

    async fn settle_inbox(&self, batch: &IntakeBatch) -> Result<IntakeDone, StoreError> {
        self.transaction(&move |transaction, _| Box::pin(self.settle_within(transaction, batch))).await
    }

    async fn wake_waiting(&self, merchant: MerchantId, kind: NewsKind, at: DateTime<Utc>) -> Result<u64, StoreError> {
        let values: [Value; 3] = [merchant.0.into(), kind.as_str().into(), whole(at).into()];
        let sql = "UPDATE webhook_inbox SET state = 'new', why = NULL, next_at = $3, handled_at = NULL \
                   WHERE merchant_id = $1 AND kind = $2 AND state = 'waiting' AND body IS NOT NULL";
        let done = self.database.execute_raw(self.statement(sql, values)).await.map_err(store_error)?;
        Ok(done.rows_affected())
    }

    async fn empty_bodies(&self, before: DateTime<Utc>, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let values: [Value; 4] = [whole(before).into(), whole(at).into(), EMPTIED.into(), i64::from(limit).into()];
        let sql = "UPDATE webhook_inbox SET body = NULL, next_at = NULL, handled_at = COALESCE(handled_at, $2), \
                   why = CASE WHEN state IN ('new', 'waiting') THEN $3 ELSE why END, \
                   state = CASE WHEN state IN ('new', 'waiting') THEN 'done' ELSE state END \
                   WHERE id IN (SELECT id FROM webhook_inbox WHERE body IS NOT NULL AND received_at <= $1 \
                   ORDER BY received_at LIMIT $4)";
        let done = self.database.execute_raw(self.statement(sql, values)).await.map_err(store_error)?;
        Ok(done.rows_affected())
    }

    async fn inbox_backlog(&self, merchant: MerchantId) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.backlog(merchant, i64::MAX).await?).unwrap_or(0))
    }

    async fn inbox_rows(&self, states: &[InboxState], skip: u64, limit: u64) -> Result<Vec<InboxRow>, StoreError> {
        let which = if states.is_empty() { &InboxState::ALL[..] } else { states };
        let which: Vec<String> = which.iter().map(|state| format!("'{}'", state.as_str())).collect();
        let sql = format!(
            "SELECT id, name, kind, state, why, resource_id, merchant_transaction_id, deliveries, tries, next_at, received_at, \
             last_received_at, handled_at, body IS NOT NULL AS has_body FROM webhook_inbox WHERE state IN ({}) \
             ORDER BY received_at DESC, id DESC LIMIT $1 OFFSET $2",
            which.join(", ")
        );
        let bound = |number: u64| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let statement = self.statement(sql, [bound(limit), bound(skip)]);
        let found = self.database.query_all_raw(statement).await.map_err(store_error)?;
        found.iter().map(|row| inbox_row(row).map_err(store_error)).collect()
    }

    async fn replay(&self, id: InboxId, by: &str, at: DateTime<Utc>) -> Result<Replayed, StoreError> {
        let at = whole(at);
        self.transaction(&move |transaction, _| {
            Box::pin(async move {
                let values: [Value; 2] = [id.0.into(), at.into()];
                let sql = "UPDATE webhook_inbox SET state = 'new', why = NULL, next_at = $2, handled_at = NULL, tries = 0, \
                           leased_until = NULL, fence = fence + 1 WHERE id = $1 AND body IS NOT NULL";
                if transaction.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                    self.note(transaction, lines::replayed(&id.to_string(), by, at))?;
                    return Ok(Replayed::Yes);
                }
                let known = self.statement("SELECT 1 AS known FROM webhook_inbox WHERE id = $1", [id.0.into()]);
                let known = transaction.query_one_raw(known).await?.is_some();
                Ok(if known { Replayed::Emptied } else { Replayed::NotFound })
            })
        })
        .await
    }
}

impl DatabaseStore {
    /// Deliveries that wait to be looked at, counted up to `most`.
    async fn backlog(&self, merchant: MerchantId, most: i64) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) AS n FROM (SELECT 1 AS one FROM webhook_inbox WHERE merchant_id = $1 \
                   AND next_at IS NOT NULL LIMIT $2) waiting";
        let values: [Value; 2] = [merchant.0.into(), most.into()];
        let row = self.database.query_one_raw(self.statement(sql, values)).await.map_err(store_error)?;
        row.map_or(Ok(0), |row| row.try_get("", "n")).map_err(store_error)
    }

    /// The attempts that subjects name, in their order: by our key, else by the gateway's id of the payment.
    pub(super) async fn attempts_named(
        &self,
        on: &impl ConnectionTrait,
        subjects: &[&Subject],
    ) -> Result<Vec<Option<attempt::Model>>, DbErr> {
        let named = self.attempts_by_name(on, subjects).await?;
        Ok(named.into_iter().map(|(by_key, by_id)| by_key.or(by_id)).collect())
    }

    /// The attempts that subjects name by their keys, and those that they name by the gateway's ids.
    pub(super) async fn attempts_by_name(
        &self,
        on: &impl ConnectionTrait,
        subjects: &[&Subject],
    ) -> Result<Vec<(Option<attempt::Model>, Option<attempt::Model>)>, DbErr> {
        let keys: Vec<Uuid> = subjects.iter().filter_map(|subject| subject.key.map(|key| key.0)).collect();
        let ids: Vec<&str> = subjects.iter().filter_map(|subject| subject.payment_id.as_deref()).collect();
        let mut by_key = BTreeMap::new();
        let mut by_payment = BTreeMap::new();
        if !keys.is_empty() {
            let found = attempt::Entity::find().filter(attempt::Column::GatewayKey.is_in(keys)).all(on).await?;
            by_key.extend(found.into_iter().map(|row| (row.gateway_key, row)));
        }
        if !ids.is_empty() {
            let found = attempt::Entity::find()
                .filter(attempt::Column::PaymentId.is_not_null())
                .filter(attempt::Column::PaymentId.is_in(ids))
                .all(on)
                .await?;
            by_payment.extend(found.into_iter().filter_map(|row| Some((row.payment_id.clone()?, row))));
        }
        let named = |subject: &&Subject| {
            let by_key = subject.key.and_then(|key| by_key.get(&key.0)).cloned();
            let by_id = subject.payment_id.as_deref().and_then(|id| by_payment.get(id)).cloned();
            (by_key, by_id)
        };
        Ok(subjects.iter().map(named).collect())
    }

    async fn settle_within(&self, on: &DatabaseTransaction, batch: &IntakeBatch) -> Result<IntakeDone, DbErr> {
        let at = whole(batch.at);
        let mut ends = self.hint_charges(on, batch, at).await?;
        let mut done = IntakeDone { asked: ends.1, ..IntakeDone::default() };
        let mut rows = Bulk::new(ENDS);
        for ((claim, _), end) in batch.decided.iter().zip(&mut ends.0) {
            end.count(&mut done);
            let next_at = end.later.then(|| at.checked_add_signed(LATER).unwrap_or(at));
            let handled_at = (end.state != InboxState::Waiting && !end.later).then_some(at);
            rows.push(&[
                Val::uuid(claim.value.0),
                Val::int(claim.fence),
                Val::text(end.state.as_str()),
                Val::text(end.why),
                Val::Time(next_at),
                Val::int(i64::from(end.later)),
                Val::Time(handled_at),
            ]);
        }
        let sql = "UPDATE webhook_inbox SET state = v.w_state, why = v.w_why, next_at = v.w_next_at, tries = tries + v.w_tries, \
                   handled_at = v.w_handled_at, leased_until = NULL FROM v WHERE id = v.w_id AND fence = v.w_fence";
        self.run(on, sql, &rows).await?;
        Ok(done)
    }

    /// Carries out the hints of a batch; returns how each delivery ends, and how many charges are asked about.
    async fn hint_charges(
        &self,
        on: &DatabaseTransaction,
        batch: &IntakeBatch,
        at: DateTime<Utc>,
    ) -> Result<(Vec<End>, usize), DbErr> {
        let subjects: Vec<&Subject> = batch.decided.iter().filter_map(|(_, decision)| asks(decision)).collect();
        let mut attempts = self.attempts_named(on, &subjects).await?.into_iter();
        let ids = attempts.as_slice().iter().flatten().map(|attempt| attempt.charge_id);
        let mut spoken = self.spoken_of(on, batch, ids.collect(), at).await?;
        // How each delivery ends, and the charge that decides about it should its update come too late.
        let mut ends: Vec<(End, Option<Uuid>)> = Vec::with_capacity(batch.decided.len());
        for (claim, decision) in &batch.decided {
            let unpaid = match decision {
                Decision::End(state, why) => {
                    ends.push((End::of(*state, why), None));
                    continue;
                }
                Decision::Later(why) => {
                    ends.push((End::later(why), None));
                    continue;
                }
                Decision::Ask { unpaid, .. } => *unpaid,
            };
            let attempt = attempts.next().flatten();
            let found = attempt.and_then(|row| Some((row.number, spoken.get_mut(&row.charge_id)?)));
            ends.push(match found {
                None => (End::of(InboxState::Foreign, NOT_OURS), None),
                Some((_, Spoken { leased: true, .. })) => (End::later("the charge is being asked about"), None),
                Some((number, row)) => {
                    match hint(&row.charge, u16::try_from(number).unwrap_or(0), unpaid, at, &batch.limits) {
                        Hinted::Asked(charge) => {
                            row.charge = *charge;
                            (row.hinted, row.by) = (true, claim.value);
                            (End::of(InboxState::Done, ASKED), Some(row.charge.id.0))
                        }
                        Hinted::Nothing(why) => (End::of(InboxState::Done, why), None),
                        Hinted::Busy => (End::later("the charge is being sent"), None),
                    }
                }
            });
        }
        spoken.retain(|_, row| row.hinted);
        let applied = self.move_hinted(on, &spoken, at).await?;
        let too_late = |(end, charge): (End, Option<Uuid>)| match charge {
            Some(id) if !applied.contains(&id) => End::later("the charge moved on meanwhile"),
            Some(_) | None => end,
        };
        Ok((ends.into_iter().map(too_late).collect(), applied.len()))
    }

    /// The charges with these ids, as they are now. Unreadable ones are left out: a person mends them first.
    async fn spoken_of(
        &self,
        on: &DatabaseTransaction,
        batch: &IntakeBatch,
        ids: Vec<Uuid>,
        at: DateTime<Utc>,
    ) -> Result<BTreeMap<Uuid, Spoken>, DbErr> {
        const WANTED: &[(&str, Kind)] = &[("w_id", Kind::Uuid)];
        let mut wanted = Bulk::new(WANTED);
        ids.into_iter().for_each(|id| wanted.push(&[Val::uuid(id)]));
        let mut spoken = BTreeMap::new();
        for statement in wanted.statements(self.backend(), "SELECT charge.* FROM charge JOIN v ON id = v.w_id") {
            for row in &on.query_all_raw(statement).await? {
                let Ok(charge) = damage::charge(row) else { continue };
                if charge.merchant != batch.merchant {
                    continue;
                }
                let until: Option<DateTime<Utc>> = row.try_get("", "leased_until").unwrap_or_default();
                // The lease of a sender is its own: it ends with the sender's verdict, or by its state's own clock.
                let leased = until.is_some_and(|until| until > at) && !matches!(charge.state, State::Sending { .. });
                let (before, fence, id) = (stored_word(&charge.state), damage::fence(row), charge.id.0);
                let by = InboxId(Uuid::nil());
                spoken.insert(id, Spoken { charge, fence, before, leased, hinted: false, by });
            }
        }
        Ok(spoken)
    }

    /// Moves hinted charges, each only from the state it was read in and while nobody holds it; returns those that moved.
    async fn move_hinted(
        &self,
        on: &DatabaseTransaction,
        hinted: &BTreeMap<Uuid, Spoken>,
        at: DateTime<Utc>,
    ) -> Result<std::collections::BTreeSet<Uuid>, DbErr> {
        let columns: &'static [(&str, Kind)] = hinted_columns();
        let mut moved = Bulk::new(columns);
        for row in hinted.values() {
            let mut values = charge_state(&row.charge, at);
            values.extend([Val::uuid(row.charge.id.0), Val::int(row.fence), Val::text(row.before), Val::time(at)]);
            moved.push(&values);
        }
        // A question that was put before the hint must not answer it: the fence moves on with the hint.
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE}, fence = fence + 1 FROM v WHERE id = v.m_id AND fence = v.m_fence \
             AND state = v.m_before AND (leased_until IS NULL OR leased_until <= v.m_now) RETURNING id"
        );
        let applied = self.ids(on, &sql, &moved).await?;
        for row in hinted.values().filter(|row| applied.contains(&row.charge.id.0)) {
            self.note(on, lines::hinted(row.charge.id, &row.by.to_string(), at))?;
        }
        Ok(applied)
    }
}

/// The payment whose charge a decision asks about.
const fn asks(decision: &Decision) -> Option<&Subject> {
    match decision {
        Decision::Ask { subject, .. } => Some(subject),
        Decision::End(..) | Decision::Later(_) => None,
    }
}

fn inbox_row(row: &QueryResult) -> Result<InboxRow, DbErr> {
    let state: String = row.try_get("", "state")?;
    let unknown = || DbErr::Type("webhook_inbox.state holds a word that this binary does not know".to_owned());
    Ok(InboxRow {
        id: InboxId(row.try_get("", "id")?),
        name: row.try_get("", "name")?,
        kind: row.try_get("", "kind")?,
        state: InboxState::parse(&state).ok_or_else(unknown)?,
        why: row.try_get("", "why")?,
        resource_id: row.try_get("", "resource_id")?,
        merchant_transaction_id: row.try_get("", "merchant_transaction_id")?,
        deliveries: u64::try_from(row.try_get::<i64>("", "deliveries")?).unwrap_or(0),
        tries: u32::try_from(row.try_get::<i32>("", "tries")?).unwrap_or(0),
        next_at: row.try_get("", "next_at")?,
        received_at: row.try_get("", "received_at")?,
        last_received_at: row.try_get("", "last_received_at")?,
        handled_at: row.try_get("", "handled_at")?,
        has_body: row.try_get("", "has_body")?,
    })
}
