//! Orders about money that is set aside, over the database.

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, Value,
};

use async_trait::async_trait;
use domain::attempt::Body;
use domain::authorization::OrderKind;
use domain::charge::Charge;
use domain::id::ChargeId;
use domain::money::{Currency, Money};
use entity::authorization_order;

use super::bulk::{Bulk, Kind, Val};
use super::lines::{self, ENGINE};
use super::rows::{CHARGE_STATE, SET_CHARGE_STATE, charge_state, whole};
use super::{DatabaseStore, damage, store_error};
use crate::ports::captures::{Begun, Captures, OrderRecord, OrdersBegun};
use crate::ports::{Claimed, OpenCharge, Recorded, StoreError};

const ORDERS: &[(&str, Kind)] = &[
    ("t_charge_id", Kind::Uuid),
    ("t_attempt", Kind::Int),
    ("t_kind", Kind::Text),
    ("t_amount_minor", Kind::Int),
    ("t_currency", Kind::Text),
    ("t_body", Kind::Text),
    ("t_body_sha256", Kind::Text),
    ("t_by", Kind::Text),
    ("t_at", Kind::Time),
];

const FENCES: &[(&str, Kind)] = &[("m_fence", Kind::Int)];

/// An order as its audit row tells it.
pub(super) fn told(order: &OrderRecord, submission: u16) -> String {
    let what = match order.kind {
        OrderKind::Capture => "capture",
        OrderKind::Release => "release",
    };
    if submission == 0 {
        format!("attempt {} {what} of {} ordered", order.attempt, order.amount)
    } else {
        format!("attempt {} {what} of {} submission {submission}", order.attempt, order.amount)
    }
}

/// The action of an order's audit row.
pub(super) const fn action(kind: OrderKind) -> &'static str {
    match kind {
        OrderKind::Capture => "charge.capture",
        OrderKind::Release => "charge.release",
    }
}

fn push(rows: &mut Bulk, order: &OrderRecord) {
    rows.push(&[
        Val::uuid(order.charge.0),
        Val::int(i64::from(order.attempt)),
        Val::text(order.kind.as_str()),
        Val::int(order.amount.minor()),
        Val::text(order.amount.currency().code()),
        Val::text(&order.body.text),
        Val::text(&order.body.sha256),
        Val::text(&order.by),
        Val::time(whole(order.at)),
    ]);
}

fn order_of(row: &authorization_order::Model) -> Result<OrderRecord, StoreError> {
    let fail = |column, why: String| StoreError::Inconsistent {
        table: "authorization_order",
        column,
        row: format!("{}/{}", ChargeId(row.charge_id), row.attempt),
        why,
    };
    let kind = OrderKind::parse(&row.kind);
    Ok(OrderRecord {
        charge: ChargeId(row.charge_id),
        attempt: u16::try_from(row.attempt).map_err(|error| fail("attempt", error.to_string()))?,
        kind: kind.ok_or_else(|| fail("kind", "the word is not one this binary knows".to_owned()))?,
        amount: Money::new(
            row.amount_minor,
            Currency::parse(&row.currency).map_err(|error| fail("currency", error.to_string()))?,
        ),
        body: Body { text: row.body.clone(), sha256: row.body_sha256.clone() },
        by: row.ordered_by.clone(),
        at: row.created_at,
    })
}

impl DatabaseStore {
    async fn insert_orders(&self, on: &DatabaseTransaction, rows: &Bulk) -> Result<(), DbErr> {
        let sql = "INSERT INTO authorization_order (charge_id, attempt, kind, amount_minor, currency, body, body_sha256, ordered_by, \
             created_at) SELECT t_charge_id, t_attempt, t_kind, t_amount_minor, t_currency, t_body, t_body_sha256, t_by, t_at \
             FROM v WHERE true ON CONFLICT (charge_id, attempt, kind, amount_minor) DO NOTHING";
        self.run(on, sql, rows).await
    }

    async fn ordered(&self, on: &DatabaseTransaction, after: &Charge, order: &OrderRecord) -> Result<bool, DbErr> {
        let mut stood = self.facts_of_charges(on, std::iter::once(after.id)).await?;
        let mut rows = Bulk::new(CHARGE_STATE);
        let at = whole(order.at);
        rows.push(&charge_state(after, at));
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE}, fence = fence + 1 FROM v \
             WHERE id = v.c_id AND state = 'authorized' AND held_minor = v.c_held_minor AND attempt = v.c_attempt RETURNING id"
        );
        if self.ids::<uuid::Uuid>(on, &sql, &rows).await?.is_empty() {
            return Ok(false);
        }
        let mut rows = Bulk::new(ORDERS);
        push(&mut rows, order);
        self.insert_orders(on, &rows).await?;
        self.note(on, lines::ordered(order, (stood.remove(&after.id.0), after), (&order.by, 0), at))?;
        Ok(true)
    }

    async fn begun(
        &self,
        on: &DatabaseTransaction,
        begun: &[Begun],
        holds_seen: &[i64],
        at: DateTime<Utc>,
    ) -> Result<OrdersBegun, DbErr> {
        if self.holds_in_force(on).await? != holds_seen {
            return Ok(OrdersBegun::HoldsChanged);
        }
        let mut stood = self.facts_of_charges(on, begun.iter().map(|one| one.charge.id)).await?;
        let columns: &'static [(&str, Kind)] = begun_columns();
        let mut rows = Bulk::new(columns);
        for one in begun {
            let mut values = charge_state(&one.charge, at);
            values.push(Val::int(one.fence));
            rows.push(&values);
        }
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE} FROM v WHERE id = v.c_id AND fence = v.m_fence AND state = v.c_state \
             AND stage = 'waiting' RETURNING id"
        );
        let moved = self.ids::<uuid::Uuid>(on, &sql, &rows).await?;
        let mut orders = Bulk::new(ORDERS);
        let mut recorded = Vec::with_capacity(moved.len());
        for one in begun.iter().filter(|one| moved.contains(&one.charge.id.0)) {
            let order = &one.placed.order;
            push(&mut orders, order);
            let sent = one.charge.state.ordered().map_or(0, |(_, _, order)| order.sent);
            self.note(on, lines::ordered(order, (stood.remove(&one.charge.id.0), &one.charge), (ENGINE, sent), at))?;
            recorded.push(Recorded::by_commit(one.placed.clone(), one.charge.clone(), one.fence));
        }
        self.insert_orders(on, &orders).await?;
        Ok(OrdersBegun::Recorded(recorded))
    }
}

fn begun_columns() -> &'static [(&'static str, Kind)] {
    static COLUMNS: std::sync::LazyLock<Vec<(&'static str, Kind)>> =
        std::sync::LazyLock::new(|| CHARGE_STATE.iter().chain(FENCES).copied().collect());
    &COLUMNS
}

#[async_trait]
impl Captures for DatabaseStore {
    async fn order_capture(&self, after: &Charge, order: &OrderRecord) -> Result<bool, StoreError> {
        self.transaction(&move |transaction, _| Box::pin(self.ordered(transaction, after, order))).await
    }

    async fn claim_charge(
        &self,
        id: ChargeId,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<Option<Claimed<OpenCharge>>, StoreError> {
        let sql = format!(
            "UPDATE charge SET fence = fence + 1, leased_until = $3 \
             WHERE id = $1 AND next_at <= $2 AND (leased_until IS NULL OR leased_until <= $2) RETURNING *, {} AS place",
            damage::place(self.is_postgres())
        );
        let values: [Value; 3] = [id.0.into(), whole(now).into(), whole(lease_until).into()];
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let (whole, bad) = self.open_charges(&found).await?;
        damage::tell_parked(&self.set_aside(&bad, now).await?);
        Ok(whole.into_iter().next())
    }

    async fn begin_orders(
        &self,
        begun: &[Begun],
        holds_seen: &[i64],
        at: DateTime<Utc>,
    ) -> Result<OrdersBegun, StoreError> {
        let at = whole(at);
        self.transaction(&move |transaction, _| Box::pin(self.begun(transaction, begun, holds_seen, at))).await
    }

    async fn orders(&self, charges: &[ChargeId]) -> Result<Vec<OrderRecord>, StoreError> {
        if charges.is_empty() {
            return Ok(Vec::new());
        }
        let found = authorization_order::Entity::find()
            .filter(authorization_order::Column::ChargeId.is_in(charges.iter().map(|id| id.0)))
            .order_by_asc(authorization_order::Column::CreatedAt)
            .order_by_asc(authorization_order::Column::ChargeId)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        found.iter().map(order_of).collect()
    }
}
