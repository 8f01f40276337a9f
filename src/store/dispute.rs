//! The dispute ledger in the database. A standing's rank is compared by the statement that writes it, so that two replicas
//! that record two events at once end at the higher one.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Value,
};

use domain::dispute::{DisputeId, Standing};
use domain::id::{ChargeId, MerchantId, PaymentMethodId};
use entity::{charge, dispute, dispute_event};

use super::rows::whole;
use super::{DatabaseStore, lines, store_error};
use crate::ports::StoreError;
use crate::ports::dispute::{Contested, DisputeEvent, DisputeLine, DisputeView, Disputes};
use crate::ports::webhooks::InboxId;

/// The place of a standing in its order.
fn rank(standing: Standing) -> i32 {
    let place = Standing::ALL.iter().position(|known| *known == standing);
    i32::try_from(place.unwrap_or(0)).unwrap_or(0)
}

#[async_trait]
impl Disputes for DatabaseStore {
    async fn record_dispute(
        &self,
        merchant: MerchantId,
        event: &DisputeEvent,
        delivery: InboxId,
        at: DateTime<Utc>,
    ) -> Result<Option<Contested>, StoreError> {
        let at = whole(at);
        let recorded = self
            .transaction(&move |transaction, _| {
                Box::pin(self.record_within(transaction, merchant, event, (delivery, at)))
            })
            .await?;
        recorded.map(|row| contested(&row)).transpose()
    }

    async fn dispute(&self, id: DisputeId) -> Result<Option<(DisputeView, Vec<DisputeLine>)>, StoreError> {
        let found = dispute::Entity::find_by_id(id.0).one(&self.database).await.map_err(store_error)?;
        let Some(model) = found else { return Ok(None) };
        let said = dispute_event::Entity::find()
            .filter(dispute_event::Column::DisputeId.eq(id.0))
            .order_by_asc(dispute_event::Column::At)
            .order_by_asc(dispute_event::Column::InboxId)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let lines: Result<Vec<DisputeLine>, StoreError> = said.into_iter().map(line).collect();
        Ok(Some((view(model)?, lines?)))
    }

    async fn disputes(&self, only_open: bool, skip: u64, limit: u64) -> Result<Vec<DisputeView>, StoreError> {
        let mut query = dispute::Entity::find()
            .order_by_desc(dispute::Column::OpenedAt)
            .order_by_desc(dispute::Column::Id)
            .offset(skip)
            .limit(limit);
        if only_open {
            let open = Standing::ALL.into_iter().filter(|standing| !standing.has_ended()).map(Standing::as_str);
            query = query.filter(dispute::Column::Standing.is_in(open));
        }
        query.all(&self.database).await.map_err(store_error)?.into_iter().map(view).collect()
    }

    async fn disputes_of(&self, charge: ChargeId) -> Result<Vec<DisputeView>, StoreError> {
        let found = dispute::Entity::find()
            .filter(dispute::Column::ChargeId.eq(charge.0))
            .order_by_asc(dispute::Column::OpenedAt)
            .order_by_asc(dispute::Column::Id)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        found.into_iter().map(view).collect()
    }
}

impl DatabaseStore {
    async fn record_within(
        &self,
        on: &DatabaseTransaction,
        merchant: MerchantId,
        event: &DisputeEvent,
        (delivery, at): (InboxId, DateTime<Utc>),
    ) -> Result<Option<dispute::Model>, DbErr> {
        let Some(attempt) = self.attempts_named(on, &[&event.subject]).await?.into_iter().next().flatten() else {
            return Ok(None);
        };
        let ours = charge::Entity::find_by_id(attempt.charge_id)
            .filter(charge::Column::MerchantId.eq(merchant.0))
            .one(on)
            .await?;
        if ours.is_none() {
            return Ok(None);
        }
        let charge = ChargeId(attempt.charge_id);
        let id = DisputeId::of(charge, &event.gateway_id);
        let values: [Value; 15] = [
            id.0.into(),
            merchant.0.into(),
            event.gateway_id.clone().into(),
            charge.0.into(),
            attempt.number.into(),
            attempt.method_id.into(),
            event.allocation_id.clone().into(),
            event.subject.payment_id.clone().or(attempt.payment_id).into(),
            event.amount_minor.into(),
            event.currency.clone().into(),
            event.reason.clone().into(),
            event.standing.as_str().into(),
            rank(event.standing).into(),
            at.into(),
            event.standing.has_ended().then_some(at).into(),
        ];
        let sql = "INSERT INTO dispute (id, merchant_id, gateway_id, charge_id, attempt, method_id, allocation_id, payment_id, \
                   amount_minor, currency, reason, standing, standing_rank, opened_at, changed_at, ended_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, $15) \
                   ON CONFLICT (id) DO UPDATE SET \
                   standing = CASE WHEN excluded.standing_rank > dispute.standing_rank THEN excluded.standing \
                     ELSE dispute.standing END, \
                   changed_at = CASE WHEN excluded.standing_rank > dispute.standing_rank THEN excluded.changed_at \
                     ELSE dispute.changed_at END, \
                   standing_rank = CASE WHEN excluded.standing_rank > dispute.standing_rank THEN excluded.standing_rank \
                     ELSE dispute.standing_rank END, \
                   ended_at = COALESCE(dispute.ended_at, excluded.ended_at), \
                   allocation_id = COALESCE(dispute.allocation_id, excluded.allocation_id), \
                   amount_minor = COALESCE(dispute.amount_minor, excluded.amount_minor), \
                   currency = COALESCE(dispute.currency, excluded.currency), \
                   reason = COALESCE(dispute.reason, excluded.reason)";
        on.execute_raw(self.statement(sql, values)).await?;
        self.post_dispute(on, id, at).await?;
        let values: [Value; 6] = [
            id.0.into(),
            delivery.0.into(),
            event.name.clone().into(),
            event.status.clone().into(),
            event.standing.as_str().into(),
            at.into(),
        ];
        let sql = "INSERT INTO dispute_event (dispute_id, inbox_id, name, status, standing, at) VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT (dispute_id, inbox_id) DO NOTHING";
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
            self.note(on, lines::disputed(charge, &id.to_string(), event.standing.as_str(), at))?;
        }
        dispute::Entity::find_by_id(id.0).one(on).await
    }
}

fn standing(row: &dispute::Model) -> Result<Standing, StoreError> {
    word("dispute", DisputeId(row.id).to_string(), &row.standing)
}

fn word(table: &'static str, row: String, word: &str) -> Result<Standing, StoreError> {
    let why = "the word is not one this binary knows".to_owned();
    Standing::parse(word).ok_or(StoreError::Inconsistent { table, column: "standing", row, why })
}

fn contested(row: &dispute::Model) -> Result<Contested, StoreError> {
    Ok(Contested {
        id: DisputeId(row.id),
        charge: ChargeId(row.charge_id),
        method: PaymentMethodId(row.method_id),
        standing: standing(row)?,
    })
}

fn view(row: dispute::Model) -> Result<DisputeView, StoreError> {
    let (id, standing) = (DisputeId(row.id), standing(&row)?);
    let attempt = u16::try_from(row.attempt).map_err(|error| StoreError::Inconsistent {
        table: "dispute",
        column: "attempt",
        row: id.to_string(),
        why: error.to_string(),
    })?;
    Ok(DisputeView {
        id,
        standing,
        charge: ChargeId(row.charge_id),
        attempt,
        method: PaymentMethodId(row.method_id),
        gateway_id: row.gateway_id,
        allocation_id: row.allocation_id,
        payment_id: row.payment_id,
        amount_minor: row.amount_minor,
        currency: row.currency,
        reason: row.reason,
        opened_at: row.opened_at,
        changed_at: row.changed_at,
        ended_at: row.ended_at,
    })
}

fn line(row: dispute_event::Model) -> Result<DisputeLine, StoreError> {
    let delivery = InboxId(row.inbox_id);
    let standing = word("dispute_event", delivery.to_string(), &row.standing)?;
    Ok(DisputeLine { at: row.at, name: row.name, status: row.status, standing, delivery })
}
