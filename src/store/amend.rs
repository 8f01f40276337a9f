//! What people change about one subscription, in the database.
//!
//! A change raises the subscription's fence and ends its lease, so that whatever was drawn before it is refused at its commit. What
//! is still to come of its changes is counted on the subscription's own row: a claim asks for amendments only where there are any.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QueryResult, QueryTrait as _, Value,
};

use domain::amendment::{Amendment, Change, Settlement};
use domain::id::{MerchantId, PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::{Adjustment, AdjustmentKind, Applied, Backup, Override, Ruling, Settles, Subscription};
use entity::{adjustment, adjustment_use, cycle_override};

use super::bulk::{Bulk, Kind, Val};
use super::damage::{self, Told};
use super::rows::whole;
use super::wallet::Marked;
use super::{DatabaseStore, lines, store_error};
use crate::ports::amend::{AmendStore, Closing};
use crate::ports::{Cancelled, Claimed, NewCharge, StoreError, SubscriptionView};

/// Which subscriptions' amendments are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Of those that have something to come.
    ToCome,
    /// Of those that were ever changed.
    Ever,
}

/// Amendments of some subscriptions, ready to be put beside their rows.
#[derive(Debug, Default)]
pub(super) struct Amended {
    overrides: BTreeMap<String, BTreeMap<u32, Override>>,
    adjustments: BTreeMap<String, Vec<Adjustment>>,
    applied: BTreeMap<String, Vec<Applied>>,
    /// What cannot be read, by subscription.
    told: BTreeMap<String, Told>,
}

/// What is left of the amendments of the rows `v` names, counted again.
const RECOUNT: &str = "UPDATE subscription SET amend_open = \
     (SELECT count(*) FROM cycle_override o WHERE o.subscription_id = subscription.id AND o.cycle >= subscription.next_cycle) \
     + (SELECT count(*) FROM adjustment a WHERE a.subscription_id = subscription.id AND a.amount_minor > \
     (SELECT CAST(COALESCE(sum(u.amount_minor), 0) AS bigint) FROM adjustment_use u WHERE u.adjustment_id = a.id)) \
     FROM v WHERE id = v.r_id";
const RECOUNTED: &[(&str, Kind)] = &[("r_id", Kind::Text)];

const USES: &[(&str, Kind)] = &[
    ("u_adjustment_id", Kind::Int),
    ("u_charge_id", Kind::Uuid),
    ("u_subscription_id", Kind::Text),
    ("u_cycle", Kind::Int),
    ("u_amount_minor", Kind::Int),
    ("u_at", Kind::Time),
];

fn fail(table: &'static str, column: &'static str, row: impl Into<String>, why: &str) -> Told {
    Told::new(table, column, row, why)
}

const WORD: &str = "the word is not one this binary knows";

fn cycle(table: &'static str, row: &str, cycle: i64) -> Result<u32, Told> {
    u32::try_from(cycle).map_err(|_| fail(table, "cycle", row, "is outside 0 to 4294967295"))
}

fn override_of(row: &cycle_override::Model) -> Result<(u32, Override), Told> {
    let name = format!("{}/{}", row.subscription_id, row.cycle);
    let ruling = match (row.ruling.as_str(), row.to_date) {
        ("skip", None) => Ruling::Skip,
        ("move", Some(to)) => Ruling::Move { to },
        ("skip" | "move", _) => return Err(fail("cycle_override", "to_date", name, "does not belong to its ruling")),
        _ => return Err(fail("cycle_override", "ruling", name, WORD)),
    };
    let (reason, by, at) = (row.reason.clone(), row.ruled_by.clone(), row.at);
    Ok((cycle("cycle_override", &name, row.cycle)?, Override { ruling, reason, by, at }))
}

fn adjustment_of(row: &adjustment::Model) -> Result<Adjustment, Told> {
    let kind = AdjustmentKind::parse(&row.kind).ok_or_else(|| fail("adjustment", "kind", row.id.to_string(), WORD))?;
    let currency = Currency::parse(&row.currency)
        .map_err(|_| fail("adjustment", "currency", row.id.to_string(), "is not a currency code of ISO 4217"))?;
    let amount = Money::new(row.amount_minor, currency);
    let (reason, by, at) = (row.reason.clone(), row.made_by.clone(), row.at);
    Ok(Adjustment { id: row.id, kind, amount, left: amount, settles: settles_of(row, currency)?, reason, by, at })
}

/// The days an adjustment settles: all of its columns say so, or none does.
fn settles_of(row: &adjustment::Model, currency: Currency) -> Result<Option<Settles>, Told> {
    let told = |column, why| fail("adjustment", column, row.id.to_string(), why);
    let Some(plan) = &row.settles_plan else { return Ok(None) };
    let plan = PlanId::parse(plan).map_err(|_| told("settles_plan", "is no id of a plan"))?;
    let missing = |column| told(column, "is empty beside a plan that is settled");
    let number = |column, value: Option<i64>| {
        u32::try_from(value.ok_or_else(|| missing(column))?).map_err(|_| told(column, "is outside 0 to 4294967295"))
    };
    Ok(Some(Settles {
        plan,
        cycle: number("settles_cycle", row.settles_cycle)?,
        from: row.settles_from.ok_or_else(|| missing("settles_from"))?,
        to: row.settles_to.ok_or_else(|| missing("settles_to"))?,
        price: Money::new(row.settles_minor.ok_or_else(|| missing("settles_minor"))?, currency),
        of: number("settles_of", row.settles_of)?,
    }))
}

impl Amended {
    fn take_overrides(&mut self, rows: &[QueryResult]) {
        for row in rows {
            let id: String = row.try_get("", "subscription_id").unwrap_or_default();
            let model = damage::model::<cycle_override::Model>(row, "cycle_override", |_| id.clone());
            match model.and_then(|model| override_of(&model)) {
                Ok((cycle, one)) => drop(self.overrides.entry(id).or_default().insert(cycle, one)),
                Err(told) => drop(self.told.insert(id, told)),
            }
        }
    }

    /// Adjustments, and then what was used of them.
    fn take_adjustments(&mut self, rows: &[QueryResult], uses: &[QueryResult]) {
        let mut places = BTreeMap::new();
        for row in rows {
            let id: String = row.try_get("", "subscription_id").unwrap_or_default();
            let model = damage::model::<adjustment::Model>(row, "adjustment", |_| id.clone());
            match model.and_then(|model| adjustment_of(&model)) {
                Ok(one) => {
                    let all = self.adjustments.entry(id.clone()).or_default();
                    places.insert(one.id, (id, all.len()));
                    all.push(one);
                }
                Err(told) => drop(self.told.insert(id, told)),
            }
        }
        for row in uses {
            let id: String = row.try_get("", "subscription_id").unwrap_or_default();
            let model = damage::model::<adjustment_use::Model>(row, "adjustment_use", |_| id.clone());
            let used = model.and_then(|model| {
                let name = format!("{}/{}", model.adjustment_id, model.cycle);
                let missing =
                    || fail("adjustment_use", "adjustment_id", &name, "names no adjustment of its subscription");
                let place = places.get(&model.adjustment_id).filter(|(owner, _)| *owner == id).ok_or_else(missing)?;
                let one = self.adjustments.get_mut(&id).and_then(|all| all.get_mut(place.1)).ok_or_else(missing)?;
                let used = Money::new(model.amount_minor, one.amount.currency());
                let left = one.left.checked_sub(used).ok().filter(|left| left.minor() >= 0);
                let too_much =
                    || fail("adjustment_use", "amount_minor", &name, "is more than was left of its adjustment");
                one.left = left.ok_or_else(too_much)?;
                let (adjustment, kind, reason) = (one.id, one.kind, one.reason.clone());
                let cycle = cycle("adjustment_use", &name, model.cycle)?;
                Ok(Applied { adjustment, kind, cycle, amount: used, reason })
            });
            match used {
                Ok(applied) => self.applied.entry(id).or_default().push(applied),
                Err(told) => drop(self.told.insert(id, told)),
            }
        }
    }

    /// The row as people see it, with its amendments.
    pub(super) fn view(&self, row: &QueryResult) -> Result<SubscriptionView, Told> {
        let mut view = damage::view(row)?;
        self.complete(&mut view.subscription)?;
        Ok(view)
    }

    /// The row as the engine claims it, with its amendments.
    pub(super) fn claimed(&self, row: &QueryResult) -> Result<Claimed<Subscription>, Told> {
        self.view(row).map(|view| Claimed { value: view.subscription, fence: damage::fence(row) })
    }

    fn complete(&self, to: &mut Subscription) -> Result<(), Told> {
        let id = to.id.as_str();
        if let Some(told) = self.told.get(id) {
            return Err(told.clone());
        }
        let amendments = &mut to.amendments;
        amendments.overrides = self.overrides.get(id).cloned().unwrap_or_default();
        let open = self.adjustments.get(id).into_iter().flatten().filter(|one| one.left.is_positive());
        amendments.open = open.cloned().collect();
        amendments.applied = self.applied.get(id).cloned().unwrap_or_default();
        Ok(())
    }
}

impl DatabaseStore {
    /// Amendments of these rows of `subscription`: three statements, and none where no row has any.
    pub(super) async fn amended(&self, rows: &[QueryResult], which: Which) -> Result<Amended, StoreError> {
        let column = match which {
            Which::ToCome => "amend_open",
            Which::Ever => "amend_revision",
        };
        // A count that cannot be read makes its row unreadable: nothing is asked for it.
        let has_any = |row: &&QueryResult| row.try_get::<i64>("", column).is_ok_and(|count| count > 0);
        let ids: Vec<String> = rows.iter().filter(has_any).filter_map(|row| row.try_get("", "id").ok()).collect();
        self.amendments_of(&ids).await
    }

    async fn amendments_of(&self, ids: &[String]) -> Result<Amended, StoreError> {
        let mut amended = Amended::default();
        if ids.is_empty() {
            return Ok(amended);
        }
        let overrides = cycle_override::Entity::find()
            .filter(cycle_override::Column::SubscriptionId.is_in(ids.iter().map(String::as_str)))
            .build(self.backend());
        amended.take_overrides(&self.database.query_all_raw(overrides).await.map_err(store_error)?);
        let adjustments = adjustment::Entity::find()
            .filter(adjustment::Column::SubscriptionId.is_in(ids.iter().map(String::as_str)))
            .order_by_asc(adjustment::Column::Id)
            .build(self.backend());
        let adjustments = self.database.query_all_raw(adjustments).await.map_err(store_error)?;
        if adjustments.is_empty() {
            return Ok(amended);
        }
        let uses = adjustment_use::Entity::find()
            .filter(adjustment_use::Column::SubscriptionId.is_in(ids.iter().map(String::as_str)))
            .order_by_asc(adjustment_use::Column::Cycle)
            .order_by_asc(adjustment_use::Column::AdjustmentId)
            .build(self.backend());
        let uses = self.database.query_all_raw(uses).await.map_err(store_error)?;
        amended.take_adjustments(&adjustments, &uses);
        Ok(amended)
    }

    /// Counts what is left of the amendments of these subscriptions.
    pub(super) async fn recount(&self, on: &DatabaseTransaction, ids: impl Iterator<Item = &str>) -> Result<(), DbErr> {
        let mut rows = Bulk::new(RECOUNTED);
        ids.for_each(|id| rows.push(&[Val::text(id)]));
        self.run(on, RECOUNT, &rows).await
    }

    /// Records what new charges take of adjustments; all of it, or the transaction ends.
    pub(super) async fn use_adjustments(
        &self,
        on: &DatabaseTransaction,
        new: &[&NewCharge],
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let mut rows = Bulk::new(USES);
        let mut wanted = 0_usize;
        for NewCharge { charge, amended, .. } in new {
            for taken in &amended.taken {
                wanted += 1;
                rows.push(&[
                    Val::int(taken.adjustment),
                    Val::uuid(charge.id.0),
                    Val::text(charge.subscription.as_str()),
                    Val::int(i64::from(charge.cycle)),
                    Val::int(taken.amount.minor()),
                    Val::time(at),
                ]);
            }
        }
        // Never more of an adjustment than it was made for, whatever was read before. Several uses of one adjustment in a batch
        // are of different cycles, so their sum is looked at as well.
        let sql = "INSERT INTO adjustment_use (adjustment_id, charge_id, subscription_id, cycle, amount_minor, at) \
             SELECT u_adjustment_id, u_charge_id, u_subscription_id, u_cycle, u_amount_minor, u_at FROM v \
             WHERE EXISTS (SELECT 1 FROM adjustment a WHERE a.id = v.u_adjustment_id AND a.subscription_id = v.u_subscription_id \
             AND a.amount_minor >= (SELECT CAST(COALESCE(sum(u.amount_minor), 0) AS bigint) FROM adjustment_use u \
             WHERE u.adjustment_id = a.id) + (SELECT CAST(sum(w.u_amount_minor) AS bigint) FROM v w \
             WHERE w.u_adjustment_id = a.id)) RETURNING adjustment_id AS id";
        let mut kept = 0;
        for statement in rows.statements(self.backend(), sql) {
            kept += on.query_all_raw(statement).await?.len();
        }
        if kept == wanted {
            return Ok(());
        }
        Err(DbErr::Custom("an adjustment would be used for more than it was made for: nothing is recorded".to_owned()))
    }

    /// Makes a change; `None` where it does not fit, and then the transaction must not stand.
    pub(super) async fn amend_within(
        &self,
        on: &DatabaseTransaction,
        it: &Amendment,
    ) -> Result<Option<(i64, Cancelled)>, DbErr> {
        let id = it.subscription.as_str();
        let at = whole(it.at);
        let mut values: Vec<Value> = vec![
            id.into(),
            i64::from(it.revision).into(),
            i64::from(it.from_cycle).into(),
            it.status.as_str().into(),
            it.plan.as_str().into(),
            it.next_due_at.map(whole).into(),
            at.into(),
        ];
        let extra = match &it.change {
            Change::Pause { until } => {
                values.extend([(*until).into(), format!("{} (by {})", it.sentence(), it.by).into()]);
                ", status = 'paused', resume_on = $8, note = $9"
            }
            Change::EndWithPeriod { last_on } => {
                values.push((*last_on).into());
                ", last_on = $8"
            }
            Change::KeepOn => ", last_on = NULL",
            Change::Plan { plan, .. } | Change::PlanNow { plan, .. } => {
                values.push(plan.as_str().into());
                ", plan_id = $8"
            }
            Change::Backups { backups } => {
                let text = (!backups.is_empty()).then(|| serde_json::to_string(backups)).transpose();
                let text = text.map_err(|error| DbErr::Custom(format!("backups cannot be written: {error}")))?;
                values.push(text.into());
                ", backups = $8"
            }
            Change::Cancel => {
                let because = if it.reason.is_empty() { String::new() } else { format!(": {}", it.reason) };
                values.push(format!("cancelled by {}{because}", it.by).into());
                ", status = 'cancelled', resume_on = NULL, note = $8"
            }
            Change::Skip { .. } | Change::Move { .. } | Change::Clear { .. } | Change::Adjust { .. } => "",
        };
        let sql = format!(
            "UPDATE subscription SET amend_revision = amend_revision + 1, leased_until = NULL, \
             next_due_at = CASE WHEN unpaid_charge_id IS NULL THEN $6 ELSE NULL END, fence = fence + 1, updated_at = $7{extra} \
             WHERE id = $1 AND amend_revision = $2 AND next_cycle = $3 AND status = $4 AND plan_id = $5"
        );
        let before = self.standing(on, id).await?;
        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() == 0 {
            return Ok(None);
        }
        for ground in it.change.settled().iter().filter_map(|one| one.ground) {
            if !self.still_stands(on, ground).await? {
                return Ok(None);
            }
        }
        let number = self.write_change(on, it).await?;
        let ended = match it.change {
            Change::Cancel => Some(self.end_charges(on, &it.subscription, &it.by, at).await?),
            Change::Pause { .. }
            | Change::Skip { .. }
            | Change::Move { .. }
            | Change::Clear { .. }
            | Change::EndWithPeriod { .. }
            | Change::KeepOn
            | Change::Plan { .. }
            | Change::PlanNow { .. }
            | Change::Backups { .. }
            | Change::Adjust { .. } => None,
        };
        self.note(on, lines::amended(it, ended.as_ref(), (before, self.standing(on, id).await?)))?;
        let cancelled = ended.unwrap_or(Cancelled { skipped: 0, in_flight: 0 });
        let numbers = self.write_settled(on, id, it.change.settled(), (&it.by, at)).await?;
        self.recount(on, std::iter::once(id)).await?;
        Ok(Some((numbers.first().copied().unwrap_or(number), cancelled)))
    }

    /// The wallet hears of backups, and what was drawn with others is drawn again.
    async fn changed_backups(
        &self,
        on: &DatabaseTransaction,
        id: &str,
        backups: &[Backup],
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let values: [Value; 1] = [id.into()];
        let sql = "SELECT merchant_id, customer FROM subscription WHERE id = $1";
        if let Some(row) = on.query_one_raw(self.statement(sql, values.clone())).await? {
            let (merchant, customer) = (MerchantId(row.try_get("", "merchant_id")?), row.try_get("", "customer")?);
            let mark = |Backup { method, .. }: &Backup| {
                let customer: String = String::clone(&customer);
                Marked { merchant, customer, method: method.id, kind: method.kind }
            };
            let marked: Vec<Marked> = backups.iter().map(mark).collect();
            self.mark_methods(on, &marked, at).await?;
        }
        let sql = "UPDATE charge SET fence = fence + 1, leased_until = NULL \
             WHERE subscription_id = $1 AND (state IN ('due', 'failing') OR (returned_at IS NOT NULL AND next_at IS NOT NULL))";
        on.execute_raw(self.statement(sql, values)).await.map(drop)
    }

    /// Writes credits and charges that come of a change, each with its audit row; gives their numbers.
    pub(super) async fn write_settled(
        &self,
        on: &DatabaseTransaction,
        id: &str,
        settled: &[Settlement],
        (by, at): (&str, DateTime<Utc>),
    ) -> Result<Vec<i64>, DbErr> {
        let mut numbers = Vec::new();
        for one in settled {
            numbers.push(self.write_adjustment(on, id, one, (by, at)).await?);
            self.note(on, lines::settled(id, one, by, at))?;
        }
        Ok(numbers)
    }

    async fn write_adjustment(
        &self,
        on: &DatabaseTransaction,
        id: &str,
        one: &Settlement,
        (by, at): (&str, DateTime<Utc>),
    ) -> Result<i64, DbErr> {
        let Settlement { kind, amount, settles, reason, .. } = one;
        let settles = settles.as_ref();
        let values: [Value; 13] = [
            id.into(),
            kind.as_str().into(),
            amount.minor().into(),
            amount.currency().code().into(),
            reason.as_str().into(),
            by.into(),
            at.into(),
            settles.map(|days| days.plan.to_string()).into(),
            settles.map(|days| i64::from(days.cycle)).into(),
            settles.map(|days| days.from).into(),
            settles.map(|days| days.to).into(),
            settles.map(|days| days.price.minor()).into(),
            settles.map(|days| i64::from(days.of)).into(),
        ];
        let sql = "INSERT INTO adjustment (subscription_id, kind, amount_minor, currency, reason, made_by, at, settles_plan, \
                   settles_cycle, settles_from, settles_to, settles_minor, settles_of) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id";
        let row = on.query_one_raw(self.statement(sql, values)).await?;
        let row = row.ok_or_else(|| DbErr::Custom("an adjustment got no number".to_owned()))?;
        row.try_get("", "id")
    }

    /// The rows of a change beside the subscription's own.
    async fn write_change(&self, on: &DatabaseTransaction, it: &Amendment) -> Result<i64, DbErr> {
        let id = it.subscription.as_str();
        let at = whole(it.at);
        let (cycle, ruling, to) = match &it.change {
            Change::Skip { cycle } => (*cycle, "skip", None),
            Change::Move { cycle, to } => (*cycle, "move", Some(*to)),
            Change::Clear { cycle } => {
                let values: [Value; 2] = [id.into(), i64::from(*cycle).into()];
                let sql = "DELETE FROM cycle_override WHERE subscription_id = $1 AND cycle = $2";
                on.execute_raw(self.statement(sql, values)).await?;
                return Ok(0);
            }
            Change::Adjust { kind, amount } => {
                let (kind, amount, reason) = (*kind, *amount, it.reason.clone());
                let one = Settlement { kind, amount, settles: None, reason, ground: None };
                return self.write_adjustment(on, id, &one, (&it.by, at)).await;
            }
            Change::Pause { .. }
            | Change::EndWithPeriod { .. }
            | Change::KeepOn
            | Change::Plan { .. }
            | Change::PlanNow { .. }
            | Change::Cancel => return Ok(0),
            Change::Backups { backups } => return self.changed_backups(on, id, backups, at).await.map(|()| 0),
        };
        let values: [Value; 7] = [
            id.into(),
            i64::from(cycle).into(),
            ruling.into(),
            to.into(),
            it.reason.as_str().into(),
            it.by.as_str().into(),
            at.into(),
        ];
        let sql = "INSERT INTO cycle_override (subscription_id, cycle, ruling, to_date, reason, ruled_by, at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (subscription_id, cycle) DO UPDATE SET \
                   ruling = excluded.ruling, to_date = excluded.to_date, reason = excluded.reason, \
                   ruled_by = excluded.ruled_by, at = excluded.at";
        on.execute_raw(self.statement(sql, values)).await.map(|_| 0)
    }
}

#[async_trait]
impl AmendStore for DatabaseStore {
    async fn amend(&self, amendment: &Amendment) -> Result<Option<i64>, StoreError> {
        let made = self.all_or_none(&move |on, _| Box::pin(self.amend_within(on, amendment))).await?;
        Ok(made.map(|(number, _)| number))
    }

    async fn close(&self, closing: &Closing) -> Result<Option<Cancelled>, StoreError> {
        self.close_at_once(closing).await
    }

    async fn cancel_because(
        &self,
        id: &SubscriptionId,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<Cancelled>, StoreError> {
        self.cancel_subscription(id, (reason, by), whole(at)).await
    }

    async fn adjustments(&self, id: &SubscriptionId) -> Result<Vec<Adjustment>, StoreError> {
        let mut amended = self.amendments_of(&[id.to_string()]).await?;
        match amended.told.remove(id.as_str()) {
            Some(told) => Err(told.into()),
            None => Ok(amended.adjustments.remove(id.as_str()).unwrap_or_default()),
        }
    }
}
