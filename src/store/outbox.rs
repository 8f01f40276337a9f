//! The outbox in the database: events beside what they tell of, and the deliveries of the courier.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, FromQueryResult as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Value,
};
use serde_json::Value as Json;

use domain::audit::Line;
use domain::charge::State;
use entity::outbox_event;

use super::bulk::{Bulk, Kind, Val};
use super::rows::whole;
use super::{DatabaseStore, store_error};
use crate::ports::outbox::{
    Among, Delivery, DeliveryFilter, DeliveryRow, DeliveryState, Dropped, Dropping, EventId, NewEvent, Outbox, Outcome,
    Routes, Standing, Taken,
};
use crate::ports::{Claimed, Cursor, Place, StoreError, Verdict};

const EVENTS: &[(&str, Kind)] = &[
    ("n_id", Kind::Uuid),
    ("n_endpoint", Kind::Text),
    ("n_kind", Kind::Text),
    ("n_object", Kind::Text),
    ("n_data", Kind::Text),
    ("n_at", Kind::Time),
    ("n_after", Kind::Uuid),
];

const SETTLED: &[(&str, Kind)] = &[
    ("d_sequence", Kind::Int),
    ("d_fence", Kind::Int),
    ("d_state", Kind::Text),
    ("d_tries", Kind::Int),
    ("d_next_at", Kind::Time),
    ("d_status", Kind::Int),
    ("d_why", Kind::Text),
    ("d_delivered_at", Kind::Time),
];

/// What a delivery looks like after a try: state, tries more, when next, status, what went wrong, when it was taken.
pub(super) struct Settled<'o> {
    pub(super) state: DeliveryState,
    pub(super) tries: u32,
    pub(super) next_at: Option<DateTime<Utc>>,
    pub(super) status: Option<u16>,
    pub(super) why: Option<&'o str>,
    pub(super) delivered_at: Option<DateTime<Utc>>,
}

/// What is told of an endpoint's answer that it wants nothing any more.
pub(super) const GONE: &str = "the endpoint answered 410: it wants nothing any more";

impl<'o> Settled<'o> {
    pub(super) fn by(outcome: &'o Outcome, at: DateTime<Utc>) -> Self {
        let waiting = |tries, next_at, status, why| Self {
            state: DeliveryState::Waiting,
            tries,
            next_at: Some(next_at),
            status,
            why,
            delivered_at: None,
        };
        match outcome {
            Outcome::Delivered { status } => Self {
                state: DeliveryState::Delivered,
                tries: 1,
                next_at: None,
                status: Some(*status),
                why: None,
                delivered_at: Some(at),
            },
            Outcome::Failed { status, why, next_at: Some(next_at) } => {
                waiting(1, whole(*next_at), *status, Some(why.as_str()))
            }
            Outcome::Failed { status, why, next_at: None } => Self {
                state: DeliveryState::GivenUp,
                tries: 1,
                next_at: None,
                status: *status,
                why: Some(why.as_str()),
                delivered_at: None,
            },
            // Due at once when somebody enables the endpoint again.
            Outcome::Gone => waiting(1, at, Some(410), Some(GONE)),
            Outcome::Untried => waiting(0, at, None, None),
        }
    }
}

/// The events of verdicts that were applied.
pub(super) fn of_verdicts<'v>(verdicts: impl IntoIterator<Item = &'v Verdict>) -> Vec<NewEvent> {
    let of = |verdict: &Verdict| {
        let after = verdict.after.as_ref()?;
        let judged_at = match &after.state {
            State::Paid { at, .. }
            | State::Returned { at, .. }
            | State::Failed { at, .. }
            | State::Skipped { at, .. } => *at,
            State::Unknown { since, .. } | State::Settling { since, .. } | State::Sending { since, .. } => *since,
            State::Parked { since, .. } => *since,
            State::Planned
            | State::Due { .. }
            | State::Authorized { .. }
            | State::Capturing { .. }
            | State::Releasing { .. }
            | State::Failing { .. } => after.due_at,
        };
        let at = whole(verdict.observations.last().map_or(judged_at, |seen| seen.at));
        Some(NewEvent::of_charge(&verdict.before.value, after, at))
    };
    verdicts.into_iter().filter_map(of).flatten().collect()
}

impl DatabaseStore {
    /// The same store, telling events to these endpoints.
    #[must_use]
    pub fn telling(self, routes: Routes) -> Self {
        Self { routes: std::sync::Arc::new(routes), ..self }
    }

    /// Writes events for everybody who is told of them: one statement, and none where nobody is.
    pub(super) async fn tell(&self, on: &impl ConnectionTrait, events: &[NewEvent]) -> Result<(), DbErr> {
        let mut rows = Bulk::new(EVENTS);
        for event in events {
            let data = Json::Object(event.data.clone()).to_string();
            for endpoint in self.routes.of(event.kind) {
                rows.push(&[
                    Val::uuid(event.id.0),
                    Val::text(endpoint),
                    Val::text(event.kind.as_str()),
                    Val::text(&event.object),
                    Val::text(&data),
                    Val::time(whole(event.at)),
                    Val::Uuid(event.after.map(|after| after.0)),
                ]);
            }
        }
        let sql = "INSERT INTO outbox_event (event_id, endpoint, kind, object, data, at, state, tries, next_at, fence) \
             SELECT n_id, n_endpoint, n_kind, n_object, n_data, n_at, 'waiting', 0, n_at, 0 FROM v WHERE n_after IS NULL \
             OR EXISTS (SELECT 1 FROM outbox_event told WHERE told.event_id = v.n_after AND told.endpoint = v.n_endpoint) \
             ON CONFLICT (event_id, endpoint) DO NOTHING";
        self.run(on, sql, &rows).await
    }

    /// The events of what is written to the audit, where any are told.
    pub(super) async fn tell_of_lines(&self, on: &DatabaseTransaction, lines: &[Line]) -> Result<(), DbErr> {
        if self.routes.is_empty() {
            return Ok(());
        }
        let events: Vec<NewEvent> = lines.iter().filter_map(NewEvent::of_line).collect();
        self.tell(on, &events).await
    }

    async fn settle_deliveries_within(
        &self,
        on: &DatabaseTransaction,
        endpoint: &str,
        settled: &[(Claimed<Taken>, Outcome)],
        at: DateTime<Utc>,
    ) -> Result<usize, DbErr> {
        let mut rows = Bulk::new(SETTLED);
        for (claim, outcome) in settled {
            let Settled { state, tries, next_at, status, why, delivered_at } = Settled::by(outcome, at);
            rows.push(&[
                Val::int(claim.value.sequence),
                Val::int(claim.fence),
                Val::text(state.as_str()),
                Val::int(i64::from(tries)),
                Val::Time(next_at),
                Val::Int(status.map(i64::from)),
                Val::Text(why),
                Val::Time(delivered_at),
            ]);
        }
        let sql = "UPDATE outbox_event SET state = v.d_state, tries = tries + v.d_tries, next_at = v.d_next_at, \
             http_status = CASE WHEN v.d_tries = 0 THEN http_status ELSE v.d_status END, \
             why = CASE WHEN v.d_tries = 0 THEN why ELSE v.d_why END, delivered_at = v.d_delivered_at, \
             leased_until = NULL FROM v WHERE sequence = v.d_sequence AND fence = v.d_fence RETURNING sequence AS id";
        let done = self.ids::<i64>(on, sql, &rows).await?;
        let taken = settled.iter().filter(|(claim, outcome)| {
            matches!(outcome, Outcome::Delivered { .. }) && done.contains(&claim.value.sequence)
        });
        let taken: Vec<EventId> = taken.map(|(claim, _)| claim.value.event).collect();
        if self.routes.notices.as_deref() == Some(endpoint) {
            self.deliver_notices(on, endpoint, &taken, at).await?;
        }
        let gone =
            settled.iter().any(|(claim, outcome)| *outcome == Outcome::Gone && done.contains(&claim.value.sequence));
        if gone {
            let sql = "INSERT INTO outbox_endpoint (name, disabled_at) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
                 SET disabled_at = excluded.disabled_at WHERE outbox_endpoint.disabled_at IS NULL";
            let values: [Value; 2] = [endpoint.into(), at.into()];
            if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                self.audit(on, "autopay", "endpoint.disabled", endpoint, GONE, at).await?;
            }
        }
        Ok(done.len())
    }
}

/// Of what an endpoint was not told, the notices that nobody took yet: what they tell has to reach somebody.
const NOTICES: &str = "endpoint = $1 AND state IN ('waiting', 'given_up') \
     AND EXISTS (SELECT 1 FROM notice n WHERE n.id = outbox_event.event_id AND n.delivered_at IS NULL)";

impl DatabaseStore {
    async fn drop_within(
        &self,
        on: &DatabaseTransaction,
        endpoint: &str,
        confirm: Option<u64>,
        (by, at): (&str, DateTime<Utc>),
    ) -> Result<Dropping, DbErr> {
        let handed_over = match self.routes.notices.as_deref().filter(|carrier| *carrier != endpoint) {
            Some(carrier) => {
                let values: [Value; 3] = [endpoint.into(), carrier.into(), at.into()];
                let sql = format!(
                    "UPDATE outbox_event SET endpoint = $2, state = 'waiting', tries = 0, next_at = $3, why = NULL, \
                     leased_until = NULL, fence = fence + 1 WHERE {NOTICES} AND NOT EXISTS (SELECT 1 FROM outbox_event told \
                     WHERE told.event_id = outbox_event.event_id AND told.endpoint = $2)"
                );
                on.execute_raw(self.statement(sql, values)).await?.rows_affected()
            }
            None => {
                let sql = format!("SELECT count(*) AS n FROM outbox_event WHERE {NOTICES}");
                let found = on.query_one_raw(self.statement(sql, [endpoint.into()])).await?;
                let notices = found.map_or(Ok(0), |row| row.try_get::<i64>("", "n"))?;
                if notices > 0 {
                    return Ok(Dropping::Kept(u64::try_from(notices).unwrap_or(u64::MAX)));
                }
                0
            }
        };
        let sql = "DELETE FROM outbox_event WHERE endpoint = $1 AND state IN ('waiting', 'given_up')";
        let gone = on.execute_raw(self.statement(sql, [endpoint.into()])).await?.rows_affected();
        let dropped = Dropped { gone, handed_over };
        if confirm != Some(dropped.all()) {
            return Ok(Dropping::WouldBe(dropped));
        }
        if dropped.all() > 0 {
            self.audit(on, by, "endpoint.dropped", endpoint, &told_of_dropped(dropped), at).await?;
        }
        Ok(Dropping::Done(dropped))
    }
}

/// What the audit says of deliveries that were dropped.
pub(super) fn told_of_dropped(Dropped { gone, handed_over }: Dropped) -> String {
    match handed_over {
        0 => format!("{gone} deliveries"),
        notices => format!("{gone} deliveries; {notices} notices wait for who carries them now"),
    }
}

fn delivery(model: outbox_event::Model) -> Claimed<Delivery> {
    let value = Delivery {
        sequence: model.sequence,
        id: EventId(model.event_id),
        kind: model.kind,
        object: model.object,
        data: model.data,
        at: model.at,
        tries: u32::try_from(model.tries).unwrap_or(0),
    };
    Claimed { value, fence: model.fence }
}

fn row(model: outbox_event::Model) -> Result<DeliveryRow, StoreError> {
    let state = DeliveryState::parse(&model.state).ok_or_else(|| StoreError::Inconsistent {
        table: "outbox_event",
        column: "state",
        row: model.sequence.to_string(),
        why: "the word is not one this binary knows".to_owned(),
    })?;
    Ok(DeliveryRow {
        id: EventId(model.event_id).to_string(),
        kind: model.kind,
        object: model.object,
        endpoint: model.endpoint,
        sequence: model.sequence,
        state,
        tries: u32::try_from(model.tries).unwrap_or(0),
        next_at: model.next_at,
        http_status: model.http_status.and_then(|status| u16::try_from(status).ok()),
        why: model.why,
        at: model.at,
        delivered_at: model.delivered_at,
    })
}

#[async_trait]
impl Outbox for DatabaseStore {
    async fn claim_deliveries(
        &self,
        endpoint: &str,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<Delivery>>, StoreError> {
        let skip_locked = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT sequence FROM outbox_event WHERE endpoint = $1 AND next_at <= $2 \
                 AND (leased_until IS NULL OR leased_until <= $2) \
                 AND NOT EXISTS (SELECT 1 FROM outbox_endpoint e WHERE e.name = $1 AND e.disabled_at IS NOT NULL) \
               ORDER BY CASE WHEN tries = 0 THEN 0 ELSE 1 END, next_at, sequence LIMIT $4 {skip_locked}) \
             UPDATE outbox_event SET fence = fence + 1, leased_until = $3 WHERE sequence IN (SELECT sequence FROM due) \
             RETURNING *"
        );
        let values: [Value; 4] =
            [endpoint.into(), whole(now).into(), whole(lease_until).into(), i64::from(limit).into()];
        let found = self.database().query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let models: Result<Vec<outbox_event::Model>, DbErr> =
            found.iter().map(|row| outbox_event::Model::from_query_result(row, "")).collect();
        let mut models = models.map_err(store_error)?;
        // RETURNING has no order.
        models.sort_by_key(|model| (model.tries > 0, model.next_at, model.sequence));
        Ok(models.into_iter().map(delivery).collect())
    }

    async fn settle_deliveries(
        &self,
        endpoint: &str,
        settled: &[(Claimed<Taken>, Outcome)],
        at: DateTime<Utc>,
    ) -> Result<usize, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| Box::pin(self.settle_deliveries_within(on, endpoint, settled, at))).await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<(Vec<DeliveryRow>, Cursor), StoreError> {
        let mut query = outbox_event::Entity::find().order_by_desc(outbox_event::Column::Sequence);
        if let Some(state) = filter.state {
            query = query.filter(outbox_event::Column::State.eq(state.as_str()));
        }
        if let Some(endpoint) = &filter.endpoint {
            query = query.filter(outbox_event::Column::Endpoint.eq(endpoint.as_str()));
        }
        query = match &filter.among {
            Some(Among::These(names)) => query.filter(outbox_event::Column::Endpoint.is_in(names)),
            Some(Among::Others(names)) => query.filter(outbox_event::Column::Endpoint.is_not_in(names)),
            None => query,
        };
        if let Some(kind) = &filter.kind {
            query = query.filter(outbox_event::Column::Kind.eq(kind.as_str()));
        }
        if let Some(below) = reached(after)? {
            query = query.filter(outbox_event::Column::Sequence.lt(below));
        }
        let found = query.limit(limit.saturating_add(1)).all(self.database()).await.map_err(store_error)?;
        page(found.into_iter().map(row).collect::<Result<_, _>>()?, limit)
    }

    async fn resend(
        &self,
        id: EventId,
        endpoint: Option<&str>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let values: [Value; 3] = [id.0.into(), at.into(), endpoint.into()];
                let sql = "UPDATE outbox_event SET state = 'waiting', tries = 0, next_at = $2, http_status = NULL, why = NULL, delivered_at = NULL, \
                     leased_until = NULL, fence = fence + 1 WHERE event_id = $1 AND endpoint = COALESCE($3, endpoint)";
                let done = on.execute_raw(self.statement(sql, values)).await?.rows_affected();
                if done > 0 {
                    self.audit(on, by, "event.resent", &id.to_string(), endpoint.unwrap_or_default(), at).await?;
                }
                Ok(done)
            })
        })
        .await
    }

    async fn endpoints_of(&self, id: EventId, endpoint: Option<&str>) -> Result<u64, StoreError> {
        let mut query = outbox_event::Entity::find().filter(outbox_event::Column::EventId.eq(id.0));
        if let Some(endpoint) = endpoint {
            query = query.filter(outbox_event::Column::Endpoint.eq(endpoint));
        }
        query.count(self.database()).await.map_err(store_error)
    }

    async fn standing(&self, endpoint: &str) -> Result<Standing, StoreError> {
        // A row for each word, however many stand under it; what was delivered is not counted.
        let sql = "SELECT state, count(*) AS n, min(at) AS oldest FROM outbox_event WHERE endpoint = $1 \
             AND state IN ('waiting', 'given_up') GROUP BY state";
        let found = self.database().query_all_raw(self.statement(sql, [endpoint.into()])).await.map_err(store_error)?;
        let mut standing = Standing::default();
        for row in found {
            let state: String = row.try_get("", "state").map_err(store_error)?;
            let count: i64 = row.try_get("", "n").map_err(store_error)?;
            let count = u64::try_from(count).unwrap_or(0);
            if state == DeliveryState::Waiting.as_str() {
                standing.waiting = count;
                standing.oldest_at = row.try_get("", "oldest").map_err(store_error)?;
            } else {
                standing.given_up = count;
            }
        }
        let sql = "SELECT disabled_at FROM outbox_endpoint WHERE name = $1";
        let row = self.database().query_one_raw(self.statement(sql, [endpoint.into()])).await.map_err(store_error)?;
        standing.disabled_at = row.map_or(Ok(None), |row| row.try_get("", "disabled_at")).map_err(store_error)?;
        Ok(standing)
    }

    async fn enable_endpoint(&self, endpoint: &str, by: &str, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let at = whole(at);
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let sql = "UPDATE outbox_endpoint SET disabled_at = NULL WHERE name = $1 AND disabled_at IS NOT NULL";
                if on.execute_raw(self.statement(sql, [endpoint.into()])).await?.rows_affected() == 0 {
                    return Ok(false);
                }
                self.audit(on, by, "endpoint.enabled", endpoint, "", at).await?;
                Ok(true)
            })
        })
        .await
    }

    async fn endpoints_told(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT DISTINCT endpoint FROM outbox_event WHERE state IN ('waiting', 'given_up') ORDER BY endpoint";
        let found = self.database().query_all_raw(self.statement(sql, [])).await.map_err(store_error)?;
        found.iter().map(|row| row.try_get("", "endpoint")).collect::<Result<_, _>>().map_err(store_error)
    }

    async fn drop_deliveries(
        &self,
        endpoint: &str,
        confirm: Option<u64>,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Dropping, StoreError> {
        let at = whole(at);
        // What is not confirmed is done and taken back: only so it is known to be as much.
        let confirmed: fn(&Dropping) -> bool = |dropping| matches!(dropping, Dropping::Done(_));
        self.transact(&move |on, _| Box::pin(self.drop_within(on, endpoint, confirm, (by, at))), confirmed).await
    }

    async fn forget_delivered(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let values: [Value; 2] = [whole(before).into(), i64::from(limit).into()];
        let sql = "DELETE FROM outbox_event WHERE sequence IN (SELECT sequence FROM outbox_event \
             WHERE delivered_at <= $1 ORDER BY delivered_at LIMIT $2)";
        let done = self.database().execute_raw(self.statement(sql, values)).await.map_err(store_error)?;
        Ok(done.rows_affected())
    }
}

/// The sequence below which a list goes on.
pub(super) fn reached(after: &Cursor) -> Result<Option<i64>, StoreError> {
    let place = after.as_ref().map(|place| place.0.parse::<i64>());
    place.transpose().map_err(|_| StoreError::Refused("a list cannot go on from that place".to_owned()))
}

/// One row more than the page says whether there is another one.
pub(super) fn page(mut rows: Vec<DeliveryRow>, limit: u64) -> Result<(Vec<DeliveryRow>, Cursor), StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| Place(row.sequence.to_string()));
    Ok((rows, next))
}
