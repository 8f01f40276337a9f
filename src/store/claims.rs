//! Taking work: one multi-row statement each, fenced, leased by the store's time, skipping what others hold.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, FromQueryResult as _, QueryFilter as _, QueryResult, Value,
};

use domain::agenda::Open;
use domain::charge::State;
use domain::id::{ChargeId, MerchantId, SubscriptionId};
use entity::{attempt, charge, subscription};

use super::bulk::{Bulk, Kind, Val};
use super::{DatabaseStore, rows, store_error};
use crate::ports::{Claimed, Cursor, DueClaim, OpenCharge, Poison, StoreError};

impl DatabaseStore {
    /// `times`: due by, now, lease until.
    pub(super) async fn take_due(
        &self,
        merchant: MerchantId,
        times: [DateTime<Utc>; 3],
        limit: u32,
    ) -> Result<DueClaim, StoreError> {
        let skip_locked = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let bytes = self.by_bytes();
        // The rows to take are chosen once, in a materialised step: as a plain sub-select the planner may run it again and
        // take more than the limit.
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT id FROM subscription WHERE merchant_id = $1 AND next_due_at <= $2 \
                 AND (leased_until IS NULL OR leased_until <= $3) \
               ORDER BY next_due_at, id{bytes} LIMIT $5 {skip_locked}) \
             UPDATE subscription SET fence = fence + 1, leased_until = $4 WHERE id IN (SELECT id FROM due) RETURNING *"
        );
        let [due_by, now, lease_until] = times;
        let values: [Value; 5] =
            [merchant.0.into(), due_by.into(), now.into(), lease_until.into(), i64::from(limit).into()];
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let (mut models, mut poison) = decoded(&found)?;
        // RETURNING has no order.
        models.sort_by(|a, b| (a.next_due_at, &a.id).cmp(&(b.next_due_at, &b.id)));
        let mut claim = read_due(&models);
        claim.poison.append(&mut poison);
        self.set_aside(&claim.poison, now).await?;
        Ok(claim)
    }

    pub(super) async fn look_at_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(DueClaim, Cursor), StoreError> {
        let (at, id) = after.clone().unwrap_or((DateTime::<Utc>::UNIX_EPOCH, String::new()));
        let bytes = self.by_bytes();
        let sql = format!(
            "SELECT * FROM subscription WHERE merchant_id = $1 AND next_due_at <= $2 AND (next_due_at, id{bytes}) > ($3, $4) \
             ORDER BY next_due_at, id{bytes} LIMIT $5"
        );
        let values: [Value; 5] = [merchant.0.into(), due_by.into(), at.into(), id.into(), i64::from(limit).into()];
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let (models, mut poison) = decoded(&found)?;
        let last = found.last().map(|row| Ok((row.try_get("", "next_due_at")?, row.try_get("", "id")?)));
        let mut claim = read_due(&models);
        claim.poison.append(&mut poison);
        Ok((claim, last.transpose().map_err(store_error)?))
    }

    pub(super) async fn take_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<OpenCharge>>, StoreError> {
        let skip_locked = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT id FROM charge WHERE merchant_id = $1 AND next_at <= $2 AND (leased_until IS NULL OR leased_until <= $2) \
               ORDER BY next_at, id LIMIT $4 {skip_locked}) \
             UPDATE charge SET fence = fence + 1, leased_until = $3 WHERE id IN (SELECT id FROM due) RETURNING *"
        );
        loop {
            let values: [Value; 4] = [merchant.0.into(), due_by.into(), lease_until.into(), i64::from(limit).into()];
            let models = self.charge_models(&sql, values.to_vec()).await?;
            let fences: Vec<i64> = models.iter().map(|model| model.fence).collect();
            let open = self.open_charges(&models).await?.into_iter().zip(fences);
            let claimed: Vec<_> =
                open.filter_map(|(value, fence)| value.map(|value| Claimed { value, fence })).collect();
            // A batch of nothing but unreadable rows is leased by now and hides no neighbour: take the next.
            if !claimed.is_empty() || models.is_empty() {
                return Ok(claimed);
            }
        }
    }

    /// Gives claims back early, where nobody took them over meanwhile.
    pub(super) async fn give_back(
        &self,
        due: &[(SubscriptionId, i64)],
        open: &[(ChargeId, i64)],
    ) -> Result<(), StoreError> {
        const DUE: &[(&str, Kind)] = &[("r_id", Kind::Text), ("r_fence", Kind::Int)];
        const OPEN: &[(&str, Kind)] = &[("r_id", Kind::Uuid), ("r_fence", Kind::Int)];
        let give = |table: &str| {
            format!("UPDATE {table} SET leased_until = NULL FROM v WHERE id = v.r_id AND fence = v.r_fence")
        };
        let mut rows = Bulk::new(DUE);
        due.iter().for_each(|(id, fence)| rows.push(&[Val::text(id.as_str()), Val::int(*fence)]));
        self.run(&self.database, &give("subscription"), &rows).await.map_err(store_error)?;
        let mut rows = Bulk::new(OPEN);
        open.iter().for_each(|(id, fence)| rows.push(&[Val::uuid(id.0), Val::int(*fence)]));
        self.run(&self.database, &give("charge"), &rows).await.map_err(store_error)
    }

    /// Ids are ordered by their bytes, whatever the collation of the database: as Rust orders them.
    fn by_bytes(&self) -> &'static str {
        if self.is_postgres() { " COLLATE \"C\"" } else { "" }
    }

    pub(super) async fn look_at_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(Vec<OpenCharge>, Cursor), StoreError> {
        let (at, id) = after.clone().unwrap_or((DateTime::<Utc>::UNIX_EPOCH, uuid::Uuid::nil().to_string()));
        let id = uuid::Uuid::try_parse(&id).unwrap_or_default();
        let sql = "SELECT * FROM charge WHERE merchant_id = $1 AND next_at <= $2 AND (next_at, id) > ($3, $4) \
                   ORDER BY next_at, id LIMIT $5";
        let values: [Value; 5] = [merchant.0.into(), due_by.into(), at.into(), id.into(), i64::from(limit).into()];
        let models = self.charge_models(sql, values.to_vec()).await?;
        let cursor = models.last().and_then(|last| last.next_at.map(|at| (at, last.id.to_string())));
        Ok((self.open_charges(&models).await?.into_iter().flatten().collect(), cursor))
    }

    /// Charge rows in the order of [`DatabaseStore::take_open`].
    async fn charge_models(&self, sql: &str, values: Vec<Value>) -> Result<Vec<charge::Model>, StoreError> {
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let mut models = Vec::with_capacity(found.len());
        for row in &found {
            match charge::Model::from_query_result(row, "") {
                Ok(model) => models.push(model),
                Err(error) => unreadable(&store_error(error)),
            }
        }
        models.sort_by_key(|model| (model.next_at, model.id));
        Ok(models)
    }

    /// Joins charges with their subscriptions and latest attempts, three statements for any number of them. A row that
    /// cannot be read is parked by nobody and claimed again after its lease; it is logged each time and blocks no neighbour.
    pub(super) async fn open_charges(&self, models: &[charge::Model]) -> Result<Vec<Option<OpenCharge>>, StoreError> {
        if models.is_empty() {
            return Ok(Vec::new());
        }
        let mut ids: Vec<String> = models.iter().map(|model| model.subscription_id.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = subscription::Entity::find()
            .filter(subscription::Column::Id.is_in(ids))
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let subscriptions: BTreeMap<&str, &subscription::Model> =
            found.iter().map(|row| (row.id.as_str(), row)).collect();
        let charge_ids: Vec<uuid::Uuid> = models.iter().map(|model| model.id).collect();
        let found = attempt::Entity::find()
            .filter(attempt::Column::ChargeId.is_in(charge_ids))
            .all(&self.database)
            .await
            .map_err(store_error)?;
        let attempts: BTreeMap<(uuid::Uuid, i32), &attempt::Model> =
            found.iter().map(|row| ((row.charge_id, row.number), row)).collect();
        Ok(models
            .iter()
            .map(|model| {
                let subscription = subscriptions.get(model.subscription_id.as_str()).copied();
                match open_charge(model, subscription, attempts.get(&(model.id, model.attempt)).copied()) {
                    Ok(open) => Some(open),
                    Err(error) => {
                        unreadable(&error);
                        None
                    }
                }
            })
            .collect())
    }

    /// Sets unreadable subscriptions aside so that they are not claimed again.
    async fn set_aside(&self, poison: &[Poison], at: DateTime<Utc>) -> Result<(), StoreError> {
        for row in poison {
            let values: [Value; 3] = [row.id.clone().into(), row.why.clone().into(), at.into()];
            let sql = "UPDATE subscription SET status = 'quarantined', note = $2, next_due_at = NULL, leased_until = NULL, \
                       updated_at = $3 WHERE id = $1";
            self.database.execute_raw(self.statement(sql, values)).await.map_err(store_error)?;
            self.audit(&self.database, "autopay", "subscription.quarantined", &row.id, &row.why, at)
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    pub(super) async fn soonest(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = "SELECT (SELECT min(next_due_at) FROM subscription WHERE merchant_id = $1 AND next_due_at IS NOT NULL) AS a, \
                   (SELECT min(next_at) FROM charge WHERE merchant_id = $1 AND next_at IS NOT NULL) AS b";
        let row = self.database.query_one_raw(self.statement(sql, [merchant.0.into()])).await.map_err(store_error)?;
        let Some(row) = row else { return Ok(None) };
        let a: Option<DateTime<Utc>> = row.try_get("", "a").map_err(store_error)?;
        let b: Option<DateTime<Utc>> = row.try_get("", "b").map_err(store_error)?;
        Ok(match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// One audit row.
    pub(super) async fn audit(
        &self,
        on: &impl ConnectionTrait,
        actor: &str,
        action: &str,
        object: &str,
        detail: &str,
        at: DateTime<Utc>,
    ) -> Result<(), sea_orm::DbErr> {
        let values: [Value; 5] = [at.into(), actor.into(), action.into(), object.into(), detail.into()];
        let sql = "INSERT INTO audit (at, actor, action, object, detail) VALUES ($1, $2, $3, $4, $5)";
        on.execute_raw(self.statement(sql, values)).await.map(drop)
    }
}

/// Rows as models; those that are none are poison, named by their id alone.
fn decoded(found: &[QueryResult]) -> Result<(Vec<subscription::Model>, Vec<Poison>), StoreError> {
    let (mut models, mut poison) = (Vec::with_capacity(found.len()), Vec::new());
    for row in found {
        match subscription::Model::from_query_result(row, "") {
            Ok(model) => models.push(model),
            Err(error) => {
                poison.push(Poison {
                    id: row.try_get("", "id").map_err(store_error)?,
                    why: store_error(error).to_string(),
                });
            }
        }
    }
    Ok((models, poison))
}

fn unreadable(error: &StoreError) {
    tracing::error!(event = "row_unreadable", error = %error, "a charge cannot be read; a person must mend its row");
}

fn read_due(models: &[subscription::Model]) -> DueClaim {
    let mut claim = DueClaim::default();
    for model in models {
        match rows::subscription(model) {
            Ok(value) => claim.due.push(Claimed { value, fence: model.fence }),
            Err(error) => claim.poison.push(Poison { id: model.id.clone(), why: error.to_string() }),
        }
    }
    claim
}

fn open_charge(
    model: &charge::Model,
    subscription: Option<&subscription::Model>,
    attempt: Option<&attempt::Model>,
) -> Result<OpenCharge, StoreError> {
    let charge = rows::charge(model)?;
    let missing = |column, why: &str| StoreError::Inconsistent {
        table: "charge",
        column,
        row: charge.id.to_string(),
        why: why.to_owned(),
    };
    let subscription = subscription.ok_or_else(|| missing("subscription_id", "names no subscription"))?;
    let attempt = attempt.map(rows::attempt).transpose()?;
    if attempt.is_none() && charge.tries.attempt > 0 && !matches!(charge.state, State::Parked { .. }) {
        return Err(missing("attempt", "names no attempt"));
    }
    Ok(OpenCharge { open: Open { subscription: rows::subscription(subscription)?, charge }, attempt })
}
