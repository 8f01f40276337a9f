//! Charges that are collected together, in the database: taken together, recorded together or not at all.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, QueryResult};

use domain::agenda::{Advance, Part, Payer};
use domain::charge::{SkipWhy, State};
use domain::id::{ChargeId, PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::subscription::{Subscription, SubscriptionStatus};
use entity::charge_part;

use super::amend::Which;
use super::bulk::{Bulk, Kind, Val};
use super::damage::{self, Bad, Told};
use super::wallet::ids;
use super::{DatabaseStore, store_error};
use crate::ports::together::{Collected, KIN_MAX, Kin, TogetherStore};
use crate::ports::{Claimed, DueClaim, IntentBatch, NewCharge, StoreError};

/// Why a subscription is set aside that stands at a cycle which is recorded already: nobody else may pay for it again.
pub(super) const RECORDED_ALREADY: &str =
    "the cycle it stands at is recorded already: a person must compare its charges with where it stands";

const KIN: &[(&str, Kind)] = &[
    ("k_merchant", Kind::Uuid),
    ("k_customer", Kind::Text),
    ("k_until", Kind::Time),
    ("k_plans", Kind::Text),
    ("k_lease", Kind::Time),
];

const MEMBERS: &[(&str, Kind)] = &[("g_id", Kind::Text), ("g_fence", Kind::Int), ("g_from", Kind::Int)];

const RECORDED: &[(&str, Kind)] = &[("r_id", Kind::Uuid)];

const CARRIED: &[(&str, Kind)] = &[("p_id", Kind::Uuid), ("p_parts", Kind::Int), ("p_minor", Kind::Int)];

const PARTS: &[(&str, Kind)] = &[
    ("p_part", Kind::Uuid),
    ("p_charge", Kind::Uuid),
    ("p_subscription", Kind::Text),
    ("p_cycle", Kind::Int),
    ("p_plan", Kind::Text),
    ("p_minor", Kind::Int),
    ("p_currency", Kind::Text),
    ("p_at", Kind::Time),
];

/// Subscriptions that are recorded together or not at all: whoever has a cycle in one payment, and whoever shares another with them.
pub(super) fn clusters(new: &[NewCharge]) -> Vec<BTreeSet<&SubscriptionId>> {
    let mut clusters: Vec<BTreeSet<&SubscriptionId>> = Vec::new();
    for new in new.iter().filter(|new| !new.carries.is_empty()) {
        let own = std::iter::once(&new.charge.subscription);
        let mut cluster: BTreeSet<&SubscriptionId> =
            own.chain(new.carries.iter().map(|part| &part.subscription)).collect();
        let (met, apart): (Vec<_>, Vec<_>) = clusters.into_iter().partition(|other| !other.is_disjoint(&cluster));
        met.into_iter().for_each(|other| cluster.extend(other));
        clusters = apart;
        clusters.push(cluster);
    }
    clusters
}

/// A batch without what cannot be recorded whole.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) batch: IntentBatch,
    /// Claims that are given back: somebody else holds a part of their payment.
    pub(super) given_back: Vec<(SubscriptionId, i64)>,
    /// Decisions that were dropped.
    pub(super) dropped: usize,
}

/// Leaves out of a batch what cannot be recorded whole: `ours` are the members that are still ours as drawn, `twice` those among
/// them of which a cycle is recorded already.
pub(super) fn whole(
    batch: &IntentBatch,
    ours: &BTreeSet<SubscriptionId>,
    twice: &BTreeSet<SubscriptionId>,
) -> Option<Whole> {
    let stands = |id: &SubscriptionId| ours.contains(id) && !twice.contains(id);
    let broken: BTreeSet<SubscriptionId> = (clusters(&batch.new).into_iter())
        .filter(|cluster| !cluster.iter().all(|id| stands(id)))
        .flatten()
        .cloned()
        .collect();
    (!broken.is_empty()).then(|| without(batch, &broken, twice))
}

/// A batch without what it says of the `broken`; their claims are given back, but for those that stand at a cycle which is recorded
/// already.
pub(super) fn without(
    batch: &IntentBatch,
    broken: &BTreeSet<SubscriptionId>,
    twice: &BTreeSet<SubscriptionId>,
) -> Whole {
    let mut whole = Whole { batch: batch.clone(), given_back: Vec::new(), dropped: 0 };
    let before = batch.advances.len() + batch.new.len();
    whole.batch.new.retain(|new| !broken.contains(&new.charge.subscription));
    whole.batch.advances = (batch.advances.iter())
        .filter_map(|claimed| {
            let id = &claimed.value.subscription;
            if !broken.contains(id) {
                return Some(claimed.clone());
            }
            if twice.contains(id) {
                return Some(Claimed { value: set_aside(&claimed.value), fence: claimed.fence });
            }
            whole.given_back.push((id.clone(), claimed.fence));
            None
        })
        .collect();
    whole.dropped = before - whole.batch.advances.len() - whole.batch.new.len();
    whole
}

fn set_aside(advance: &Advance) -> Advance {
    Advance {
        next_cycle: advance.from_cycle,
        next_due_at: None,
        status: SubscriptionStatus::Quarantined,
        note: Some(RECORDED_ALREADY.to_owned()),
        resumes: false,
        ..advance.clone()
    }
}

/// How many of these charges are collected by others.
pub(super) fn left_to_others<'n>(new: impl IntoIterator<Item = &'n NewCharge>) -> usize {
    let is_left = |new: &&NewCharge| matches!(new.charge.state, State::Skipped { why: SkipWhy::Consolidated, .. });
    new.into_iter().filter(is_left).count()
}

/// Plan ids in one text, each between bars, which no id has.
fn between_bars(plans: &BTreeSet<PlanId>) -> String {
    plans.iter().fold("|".to_owned(), |text, plan| text + plan.as_str() + "|")
}

impl DatabaseStore {
    fn kin_rows(kin: &Kin, lease_until: DateTime<Utc>) -> Bulk {
        let plans = between_bars(&kin.plans);
        let mut rows = Bulk::new(KIN);
        for (customer, until) in &kin.customers {
            // As it was written: a customer that cannot be written was never stored.
            let Ok(customer) = serde_json::to_string(customer) else { continue };
            rows.push(&[
                Val::uuid(kin.merchant.0),
                Val::text(&customer),
                Val::time(super::whole(*until)),
                Val::text(&plans),
                Val::time(lease_until),
            ]);
        }
        rows
    }

    /// Ids and last instants of the subscriptions that rows `v` of [`KIN`] mean.
    fn kin_ids(&self) -> &'static str {
        if self.is_postgres() {
            // Customer by customer, so that the indexes are used whatever the planner thinks of the number of customers.
            "SELECT x.id AS id, v.k_until AS until FROM v CROSS JOIN LATERAL (SELECT s.id FROM subscription_customer k \
             JOIN subscription s ON s.id = k.subscription_id \
             WHERE k.merchant_id = v.k_merchant AND k.customer_key = md5(v.k_customer) AND s.customer = v.k_customer \
             AND s.next_due_at <= v.k_until AND strpos(v.k_plans, '|' || s.plan_id || '|') > 0 OFFSET 0) x"
        } else {
            "SELECT s.id AS id, v.k_until AS until FROM v CROSS JOIN subscription_customer k \
             ON k.merchant_id = v.k_merchant AND k.customer_key = v.k_customer \
             CROSS JOIN subscription s ON s.id = k.subscription_id \
             AND s.next_due_at <= v.k_until AND instr(v.k_plans, '|' || s.plan_id || '|') > 0"
        }
    }

    /// Those that can be read, ids ascending, and what is wrong with the others.
    async fn read_kin<'r>(
        &self,
        found: &'r [QueryResult],
    ) -> Result<(Vec<Claimed<Subscription>>, Vec<(&'r QueryResult, Told)>), StoreError> {
        let (mut due, mut bad) = (Vec::with_capacity(found.len()), Vec::new());
        let amended = self.amended(found, Which::ToCome).await?;
        for row in found {
            match amended.claimed(row) {
                Ok(claimed) => due.push(claimed),
                Err(told) => bad.push((row, told)),
            }
        }
        due.sort_by(|a, b| a.value.id.cmp(&b.value.id));
        Ok((due, bad))
    }

    /// What of a batch can be recorded whole; `None`: all of it. Locks the members of its payments, in the order of their ids.
    pub(super) async fn whole_payments(
        &self,
        on: &DatabaseTransaction,
        batch: &IntentBatch,
    ) -> Result<Option<Whole>, DbErr> {
        let members: BTreeSet<&SubscriptionId> = clusters(&batch.new).into_iter().flatten().collect();
        if members.is_empty() {
            return Ok(None);
        }
        let mut rows = Bulk::new(MEMBERS);
        for claimed in batch.advances.iter().filter(|claimed| members.contains(&claimed.value.subscription)) {
            let advance = &claimed.value;
            rows.push(&[
                Val::text(advance.subscription.as_str()),
                Val::int(claimed.fence),
                Val::int(i64::from(advance.from_cycle)),
            ]);
        }
        let lock = if self.is_postgres() { "ORDER BY s.id FOR UPDATE OF s" } else { "" };
        let sql = format!(
            "SELECT s.id AS id FROM subscription s JOIN v ON s.id = v.g_id AND s.fence = v.g_fence AND s.next_cycle = v.g_from \
             WHERE s.status = 'active' OR (s.status = 'paused' AND s.resume_on IS NOT NULL AND s.unpaid_charge_id IS NULL) {lock}"
        );
        let ours = self.ids::<String>(on, &sql, &rows).await?;
        let mut rows = Bulk::new(RECORDED);
        for new in batch.new.iter().filter(|new| members.contains(&new.charge.subscription)) {
            rows.push(&[Val::uuid(new.charge.id.0)]);
        }
        let sql = "SELECT c.subscription_id AS id FROM charge c JOIN v ON c.id = v.r_id";
        let recorded = self.ids::<String>(on, sql, &rows).await?;
        let ids = |found: &BTreeSet<String>| -> BTreeSet<SubscriptionId> {
            members.iter().filter(|id| found.contains(id.as_str())).map(|id| (*id).clone()).collect()
        };
        let ours = ids(&ours);
        let twice = ids(&recorded).intersection(&ours).cloned().collect();
        let Some(whole) = whole(batch, &ours, &twice) else { return Ok(None) };
        self.give_back(on, &whole.given_back, &[], None).await?;
        Ok(Some(whole))
    }

    /// Records which of these new charges collects which others; all of it, or the transaction ends.
    pub(super) async fn record_parts(
        &self,
        on: &DatabaseTransaction,
        new: &[&NewCharge],
        at: DateTime<Utc>,
    ) -> Result<(), DbErr> {
        let left = left_to_others(new.iter().copied());
        let leads = new.iter().filter(|new| !new.carries.is_empty());
        let (mut carried, mut parts, mut wanted) = (Bulk::new(CARRIED), Bulk::new(PARTS), 0_usize);
        for NewCharge { charge, carries, .. } in leads {
            let sum = charge.carried.map_or(0, |carried| carried.amount.minor());
            let count = charge.carried.map_or(0, |carried| carried.parts);
            carried.push(&[Val::uuid(charge.id.0), Val::int(i64::from(count)), Val::int(sum)]);
            wanted += carries.len();
            for part in carries {
                parts.push(&[
                    Val::uuid(part.charge.0),
                    Val::uuid(charge.id.0),
                    Val::text(part.subscription.as_str()),
                    Val::int(i64::from(part.cycle)),
                    Val::text(part.plan.as_str()),
                    Val::int(part.amount.minor()),
                    Val::text(part.amount.currency().code()),
                    Val::time(at),
                ]);
            }
        }
        if wanted == 0 && left == 0 {
            return Ok(());
        }
        let sql = "UPDATE charge SET carried_parts = v.p_parts, carried_minor = v.p_minor FROM v WHERE id = v.p_id";
        self.run(on, sql, &carried).await?;
        // Each part is a charge that is left to others, of that amount; what a charge carries for others is less than all of it; and
        // no charge that is left to others is left to nobody.
        let sql = "INSERT INTO charge_part (part_id, charge_id, subscription_id, cycle, plan_id, amount_minor, currency, at) \
             SELECT p_part, p_charge, p_subscription, p_cycle, p_plan, p_minor, p_currency, p_at FROM v \
             WHERE EXISTS (SELECT 1 FROM charge c WHERE c.id = v.p_part AND c.subscription_id = v.p_subscription AND c.cycle = v.p_cycle \
             AND c.state = 'skipped' AND c.why = 'consolidated' AND c.amount_minor = v.p_minor AND c.currency = v.p_currency) \
             AND EXISTS (SELECT 1 FROM charge l WHERE l.id = v.p_charge AND l.state = 'sending' AND l.currency = v.p_currency \
             AND l.carried_minor < l.amount_minor) RETURNING part_id AS id";
        let kept = self.ids::<uuid::Uuid>(on, sql, &parts).await?.len();
        let sql = "SELECT l.id AS id FROM charge l JOIN v ON l.id = v.p_id WHERE \
             l.carried_parts <> (SELECT count(*) FROM charge_part p WHERE p.charge_id = l.id) OR \
             l.carried_minor <> (SELECT CAST(sum(p.amount_minor) AS bigint) FROM charge_part p WHERE p.charge_id = l.id)";
        let wrong = self.ids::<uuid::Uuid>(on, sql, &carried).await?;
        if kept == wanted && left == wanted && wrong.is_empty() {
            return Ok(());
        }
        Err(DbErr::Custom("a payment for several cycles does not add up: nothing is recorded".to_owned()))
    }

    /// Of these charges' subscriptions and those of what they carry, by charge.
    pub(super) async fn paying_with(
        &self,
        on: &DatabaseTransaction,
        charge: ChargeId,
    ) -> Result<BTreeSet<String>, DbErr> {
        let sql = "SELECT DISTINCT subscription_id FROM charge_part WHERE charge_id = $1";
        let found = on.query_all_raw(self.statement(sql, [charge.0.into()])).await?;
        found.iter().map(|row| row.try_get("", "subscription_id")).collect()
    }
}

#[async_trait]
impl TogetherStore for DatabaseStore {
    async fn claim_kin(
        &self,
        kin: &Kin,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
    ) -> Result<DueClaim, StoreError> {
        let rows = Self::kin_rows(kin, super::whole(lease_until));
        // Whoever is recording one of them right now is waited for: afterwards it is due no more. In the order of ids, as commits do.
        let lock = if self.is_postgres() { "FOR UPDATE OF s" } else { "" };
        let (ids, place) = (self.kin_ids(), damage::place(self.is_postgres()));
        let sql = format!(
            ", near AS MATERIALIZED ({ids}), kin AS MATERIALIZED (SELECT s.id AS id FROM near JOIN subscription s \
             ON s.id = near.id AND s.next_due_at <= near.until ORDER BY s.id LIMIT {KIN_MAX} {lock}) \
             UPDATE subscription SET fence = fence + 1, leased_until = (SELECT max(k_lease) FROM v) \
             WHERE id IN (SELECT id FROM kin) RETURNING *, {place} AS place"
        );
        let (sql, rows) = (&sql, &rows);
        let found = self
            .transaction(&move |on, _| {
                Box::pin(async move {
                    let mut found = Vec::new();
                    for statement in rows.statements(self.backend(), sql) {
                        found.extend(on.query_all_raw(statement).await?);
                    }
                    Ok(found)
                })
            })
            .await?;
        let (due, bad) = self.read_kin(&found).await?;
        let bad: Vec<Bad> =
            bad.into_iter().map(|(row, told)| self.bad_subscription(row, told)).collect::<Result<_, _>>()?;
        Ok(DueClaim { due, poison: self.set_aside(&bad, super::whole(now)).await? })
    }

    async fn peek_kin(&self, kin: &Kin) -> Result<DueClaim, StoreError> {
        let ids = self.kin_ids();
        let place = if self.is_postgres() { "CAST(s.ctid AS text)" } else { "s.rowid" };
        let sql = format!(
            ", near AS ({ids}) SELECT s.*, {place} AS place FROM near JOIN subscription s ON s.id = near.id \
             ORDER BY s.id LIMIT {KIN_MAX}"
        );
        let mut found = Vec::new();
        for statement in Self::kin_rows(kin, DateTime::UNIX_EPOCH).statements(self.backend(), &sql) {
            found.extend(self.database.query_all_raw(statement).await.map_err(store_error)?);
        }
        let (due, bad) = self.read_kin(&found).await?;
        Ok(DueClaim { due, poison: bad.into_iter().map(|(_, told)| told.into()).collect() })
    }

    async fn payers(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<Payer>>, StoreError> {
        self.read_payers(charges).await
    }

    async fn paid_together(&self, ids: &[ChargeId]) -> Result<Vec<Collected>, StoreError> {
        const IDS: &[(&str, Kind)] = &[("w_id", Kind::Uuid)];
        let mut rows = Bulk::new(IDS);
        ids.iter().for_each(|id| rows.push(&[Val::uuid(id.0)]));
        let mut all = BTreeMap::new();
        for column in ["charge_id", "part_id"] {
            let sql = format!("SELECT p.* FROM charge_part p JOIN v ON p.{column} = v.w_id");
            for statement in rows.statements(self.backend(), &sql) {
                for row in &self.database.query_all_raw(statement).await.map_err(store_error)? {
                    let one = collected(row)?;
                    all.insert((one.by, one.part.subscription.clone(), one.part.cycle), one);
                }
            }
        }
        Ok(all.into_values().collect())
    }
}

impl DatabaseStore {
    pub(super) async fn read_payers(&self, charges: &[ChargeId]) -> Result<BTreeMap<ChargeId, Vec<Payer>>, StoreError> {
        let rows = ids(charges.iter().map(|id| id.0));
        let sql = "SELECT p.*, s.plan_id AS under FROM charge_part p JOIN v ON p.charge_id = v.w_id \
             LEFT JOIN subscription s ON s.id = p.subscription_id ORDER BY p.charge_id, p.part_id";
        let mut payers: BTreeMap<ChargeId, Vec<Payer>> = BTreeMap::new();
        for statement in rows.statements(self.backend(), sql) {
            for row in &self.database.query_all_raw(statement).await.map_err(store_error)? {
                let Collected { by, part } = collected(row)?;
                let under: Option<String> = row.try_get("", "under").map_err(store_error)?;
                let under = under.and_then(|id| PlanId::parse(&id).ok());
                let payer = Payer { subscription: part.subscription, recorded_under: part.plan, under };
                payers.entry(by).or_default().push(payer);
            }
        }
        Ok(payers)
    }
}

fn collected(row: &QueryResult) -> Result<Collected, Told> {
    let name = row.try_get::<uuid::Uuid>("", "part_id").map(|id| ChargeId(id).to_string()).unwrap_or_default();
    let model = damage::model::<charge_part::Model>(row, "charge_part", |_| name.clone())?;
    let fail = |column, why: &str| Told::new("charge_part", column, name.clone(), why);
    let currency =
        Currency::parse(&model.currency).map_err(|_| fail("currency", "is not a currency code of ISO 4217"))?;
    let part = Part {
        charge: ChargeId(model.part_id),
        subscription: SubscriptionId::parse(&model.subscription_id)
            .map_err(|_| fail("subscription_id", "is not a subscription's id"))?,
        cycle: u32::try_from(model.cycle).map_err(|_| fail("cycle", "is outside 0 to 4294967295"))?,
        plan: PlanId::parse(&model.plan_id).map_err(|_| fail("plan_id", "is not a plan's id"))?,
        amount: Money::new(model.amount_minor, currency),
    };
    Ok(Collected { by: ChargeId(model.charge_id), part })
}
