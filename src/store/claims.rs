//! Taking work: one multi-row statement each, fenced, leased by the store's time, skipping what others hold.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryResult, QueryTrait as _, Value,
};
use uuid::Uuid;

use domain::agenda::{Open, Payer};
use domain::charge::State;
use domain::id::{ChargeId, MerchantId, SubscriptionId};
use domain::refund::FailWhy;
use domain::subscription::Subscription;
use entity::{attempt, charge, refund, subscription};

use super::amend::Which;
use super::bulk::{Bulk, Kind, Val};
use super::damage::{self, Bad, Told};
use super::pages::Walk;
use super::rows::whole;
use super::{DatabaseStore, rows, store_error};
use crate::ports::{AttemptRecord, Claimed, Cursor, DueClaim, OpenCharge, StoreError};

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
        let place = damage::place(self.is_postgres());
        // The rows to take are chosen once, in a materialised step: as a plain sub-select the planner may run it again and
        // take more than the limit.
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT id FROM subscription WHERE merchant_id = $1 AND next_due_at <= $2 \
                 AND (leased_until IS NULL OR leased_until <= $3 OR leased_until > $6) \
               ORDER BY next_due_at, id{bytes} LIMIT $5 {skip_locked}) \
             UPDATE subscription SET fence = fence + 1, leased_until = $4 WHERE id IN (SELECT id FROM due) \
             RETURNING *, {place} AS place"
        );
        let [due_by, now, lease_until] = times;
        let values: [Value; 6] = [
            merchant.0.into(),
            due_by.into(),
            now.into(),
            lease_until.into(),
            i64::from(limit).into(),
            no_lease(lease_until).into(),
        ];
        let found = self.database.query_all_raw(self.statement(sql, values)).await.map_err(store_error)?;
        let mut claim = DueClaim::default();
        let mut bad = Vec::new();
        let amended = self.amended(&found, Which::ToCome).await?;
        for row in &found {
            match amended.claimed(row) {
                Ok(claimed) => claim.due.push(claimed),
                Err(told) => bad.push(self.bad_subscription(row, told)?),
            }
        }
        // RETURNING has no order.
        claim.due.sort_by(|a, b| (a.value.next_due_at, &a.value.id).cmp(&(b.value.next_due_at, &b.value.id)));
        claim.poison = self.set_aside(&bad, now).await?;
        claim.poison.sort_by(|a, b| a.id.cmp(&b.id));
        if u64::try_from(found.len()).unwrap_or(u64::MAX) < u64::from(limit) {
            claim.poison.extend(self.sweep_due(merchant, now).await?);
        }
        Ok(claim)
    }

    pub(super) async fn look_at_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(DueClaim, Cursor), StoreError> {
        let walk = Walk::due("subscription", merchant, due_by);
        let (found, last) = self.in_order(&walk, after, limit.into()).await?;
        let mut claim = DueClaim::default();
        let amended = self.amended(&found, Which::ToCome).await?;
        for row in &found {
            match amended.claimed(row) {
                Ok(claimed) => claim.due.push(claimed),
                Err(told) => claim.poison.push(told.into()),
            }
        }
        Ok((claim, last))
    }

    pub(super) async fn take_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<OpenCharge>>, StoreError> {
        let skip_locked = if self.is_postgres() { "FOR UPDATE SKIP LOCKED" } else { "" };
        let place = damage::place(self.is_postgres());
        let sql = format!(
            "WITH due AS MATERIALIZED (\
               SELECT id FROM charge WHERE merchant_id = $1 AND next_at <= $2 \
                 AND (leased_until IS NULL OR leased_until <= $2 OR leased_until > $5) \
               ORDER BY next_at, id LIMIT $4 {skip_locked}) \
             UPDATE charge SET fence = fence + 1, leased_until = $3 WHERE id IN (SELECT id FROM due) \
             RETURNING *, {place} AS place"
        );
        loop {
            let values: [Value; 5] = [
                merchant.0.into(),
                due_by.into(),
                lease_until.into(),
                i64::from(limit).into(),
                no_lease(lease_until).into(),
            ];
            let statement = self.statement(sql.as_str(), values);
            let found = self.database.query_all_raw(statement).await.map_err(store_error)?;
            let (mut open, bad) = self.open_charges(&found).await?;
            damage::tell_parked(&self.set_aside(&bad, due_by).await?);
            if u64::try_from(found.len()).unwrap_or(u64::MAX) < u64::from(limit) {
                damage::tell_parked(&self.sweep_open(merchant, due_by).await?);
            }
            // A batch of nothing but damaged rows hides no neighbour: take the next.
            if !open.is_empty() || found.is_empty() {
                // RETURNING has no order.
                open.sort_by_key(|claimed| (claimed.value.open.charge.state.next_at(), claimed.value.open.charge.id));
                return Ok(open);
            }
        }
    }

    /// Gives claims back early, where nobody took them over meanwhile: at once, or `from` a moment on.
    pub(super) async fn give_back(
        &self,
        on: &impl ConnectionTrait,
        due: &[(SubscriptionId, i64)],
        open: &[(ChargeId, i64)],
        from: Option<DateTime<Utc>>,
    ) -> Result<(), sea_orm::DbErr> {
        const DUE: &[(&str, Kind)] = &[("r_id", Kind::Text), ("r_fence", Kind::Int), ("r_from", Kind::Time)];
        const OPEN: &[(&str, Kind)] = &[("r_id", Kind::Uuid), ("r_fence", Kind::Int), ("r_from", Kind::Time)];
        let give = |table: &str| {
            format!("UPDATE {table} SET leased_until = v.r_from FROM v WHERE id = v.r_id AND fence = v.r_fence")
        };
        let from = Val::Time(from.map(whole));
        let mut rows = Bulk::new(DUE);
        due.iter().for_each(|(id, fence)| rows.push(&[Val::text(id.as_str()), Val::int(*fence), from]));
        self.run(on, &give("subscription"), &rows).await?;
        let mut rows = Bulk::new(OPEN);
        open.iter().for_each(|(id, fence)| rows.push(&[Val::uuid(id.0), Val::int(*fence), from]));
        self.run(on, &give("charge"), &rows).await
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
        let (found, last) = self.in_order(&Walk::due("charge", merchant, due_by), after, limit.into()).await?;
        let (open, _) = self.open_charges(&found).await?;
        Ok((open.into_iter().map(|claimed| claimed.value).collect(), last))
    }

    /// Joins charges with their subscriptions and latest attempts, three statements for any number of them: those that are
    /// whole, in the order given, and those that are not.
    pub(super) async fn open_charges(
        &self,
        found: &[QueryResult],
    ) -> Result<(Vec<Claimed<OpenCharge>>, Vec<Bad>), StoreError> {
        let (mut whole, mut bad) = (Vec::with_capacity(found.len()), Vec::new());
        let mut readable = Vec::with_capacity(found.len());
        for row in found {
            match damage::charge_model(row) {
                Ok(model) => readable.push((row, model)),
                Err(told) => bad.push(self.bad_charge(row, told)?),
            }
        }
        if readable.is_empty() {
            return Ok((whole, bad));
        }
        let mut ids: Vec<&str> = readable.iter().map(|(_, model)| model.subscription_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let query = subscription::Entity::find().filter(subscription::Column::Id.is_in(ids)).build(self.backend());
        let mut subscriptions = BTreeMap::new();
        for row in &self.database.query_all_raw(query).await.map_err(store_error)? {
            let id: String = row.try_get("", "id").map_err(store_error)?;
            subscriptions.insert(id, damage::view(row).map(|view| view.subscription));
        }
        let ids = readable.iter().map(|(_, model)| model.id);
        let query = attempt::Entity::find().filter(attempt::Column::ChargeId.is_in(ids)).build(self.backend());
        let mut attempts = Attempts::default();
        for row in &self.database.query_all_raw(query).await.map_err(store_error)? {
            attempts.add(row)?;
        }
        let carrying = readable.iter().filter(|(_, model)| model.carried_parts > 0);
        let carrying: Vec<ChargeId> = carrying.map(|(_, model)| ChargeId(model.id)).collect();
        let mut payers = if carrying.is_empty() { BTreeMap::new() } else { self.read_payers(&carrying).await? };
        let returned = readable.iter().filter(|(_, model)| model.returned_at.is_some()).map(|(_, model)| model.id);
        let ordered = self.refunds_ordered(returned.collect()).await?;
        for (row, model) in readable {
            let payers = payers.remove(&ChargeId(model.id)).unwrap_or_default();
            let refund_ordered = ordered.contains(&model.id);
            match open_charge(&model, &subscriptions, &attempts, (payers, refund_ordered)) {
                Ok(value) => whole.push(Claimed { value, fence: damage::fence(row) }),
                Err(told) => bad.push(self.bad_charge(row, told)?),
            }
        }
        Ok((whole, bad))
    }

    /// Those of these charges of which a refund was ordered, and neither made nor withdrawn.
    async fn refunds_ordered(&self, charges: Vec<Uuid>) -> Result<BTreeSet<Uuid>, StoreError> {
        if charges.is_empty() {
            return Ok(BTreeSet::new());
        }
        let query = refund::Entity::find()
            .filter(refund::Column::ChargeId.is_in(charges))
            .filter(refund::Column::GivenBackMinor.eq(0))
            .build(self.backend());
        let found = self.database.query_all_raw(query).await.map_err(store_error)?;
        let withdrawn = |row: &QueryResult| {
            Ok(row.try_get::<Option<String>>("", "why")?.as_deref() == Some(FailWhy::Withdrawn.as_str()))
        };
        let mut ordered = BTreeSet::new();
        for row in &found {
            if !withdrawn(row).map_err(store_error)? {
                ordered.insert(row.try_get("", "charge_id").map_err(store_error)?);
            }
        }
        Ok(ordered)
    }

    pub(super) async fn soonest(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let sql = "SELECT (SELECT min(next_due_at) FROM subscription WHERE merchant_id = $1 AND next_due_at IS NOT NULL) AS a, \
                   (SELECT min(next_at) FROM charge WHERE merchant_id = $1 AND next_at IS NOT NULL) AS b";
        let row = self.database.query_one_raw(self.statement(sql, [merchant.0.into()])).await.map_err(store_error)?;
        let Some(row) = row else { return Ok(None) };
        // What cannot be read as a moment and stands first is claimed by the next look, and set aside.
        let moment = |column| row.try_get::<Option<DateTime<Utc>>>("", column).unwrap_or(Some(DateTime::UNIX_EPOCH));
        let (a, b) = (moment("a"), moment("b"));
        Ok(match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }
}

/// A lease that ends after this moment is none of ours: no claim is made for so long.
fn no_lease(lease_until: DateTime<Utc>) -> DateTime<Utc> {
    lease_until.checked_add_signed(TimeDelta::days(1)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Attempts by charge and number, and what cannot be read of them.
#[derive(Default)]
struct Attempts {
    known: BTreeMap<(Uuid, i32), Result<AttemptRecord, Told>>,
    /// By charge alone, where not even the number can be read.
    unnumbered: BTreeMap<Uuid, Told>,
}

impl Attempts {
    fn add(&mut self, row: &QueryResult) -> Result<(), StoreError> {
        let charge: Uuid = row.try_get("", "charge_id").map_err(store_error)?;
        let record = damage::attempt(row, ChargeId(charge));
        match (row.try_get::<i32>("", "number"), record) {
            (Ok(number), record) => drop(self.known.insert((charge, number), record)),
            (Err(_), Err(told)) => drop(self.unnumbered.insert(charge, told)),
            (Err(_), Ok(_)) => {}
        }
        Ok(())
    }

    fn of(&self, charge: Uuid, number: u16) -> Result<Option<AttemptRecord>, Told> {
        match (self.known.get(&(charge, number.into())), self.unnumbered.get(&charge)) {
            (Some(record), _) => record.clone().map(Some),
            (None, Some(told)) => Err(told.clone()),
            (None, None) => Ok(None),
        }
    }
}

fn open_charge(
    model: &charge::Model,
    subscriptions: &BTreeMap<String, Result<Subscription, Told>>,
    attempts: &Attempts,
    (payers, refund_ordered): (Vec<Payer>, bool),
) -> Result<OpenCharge, Told> {
    let charge = rows::charge(model)?;
    let missing = |column, why: &str| Told::new("charge", column, charge.id.to_string(), why);
    let subscription = subscriptions.get(&model.subscription_id);
    let subscription = subscription.ok_or_else(|| missing("subscription_id", "names no subscription"))?.clone()?;
    let attempt = attempts.of(model.id, charge.tries.attempt)?;
    if attempt.is_none() && charge.tries.attempt > 0 && !matches!(charge.state, State::Parked { .. }) {
        return Err(missing("attempt", "names no attempt"));
    }
    // What waits to be sent again is sent as it was recorded, or not at all. What is only asked about needs no body.
    if let (Some(attempt), State::Due { .. }) = (&attempt, &charge.state) {
        rows::body_is_intact(charge.id, attempt)?;
    }
    let instrument = attempt.as_ref().map(|attempt| attempt.method);
    Ok(OpenCharge { open: Open { subscription, charge, payers, instrument, refund_ordered }, attempt })
}
