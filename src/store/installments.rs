//! The guard of installments: what may have been collected of a total never exceeds it.
//!
//! The rows of `installment_total` are written here when a subscription is imported; what was taken of them is kept by triggers on
//! `charge` (decision 0051), so that no way in can forget it.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr};

use domain::charge::State;
use domain::id::SubscriptionId;
use domain::plan::Catalog;
use domain::subscription::Subscription;

use super::bulk::{Bulk, Kind, Val};
use super::rows::whole;
use super::{DatabaseStore, lines, store_error};
use crate::ports::{IntentBatch, NewCharge, StoreError};

const TOTALS: &[(&str, Kind)] = &[("t_id", Kind::Text), ("t_total", Kind::Int)];

const ASIDE: &[(&str, Kind)] = &[
    ("x_id", Kind::Text),
    ("x_fence", Kind::Int),
    ("x_takes", Kind::Int),
    ("x_note", Kind::Text),
    ("x_at", Kind::Time),
];

/// What a subscription owes in all, in minor units, if it pays a total in parts.
pub(super) fn owed(catalog: &Catalog, subscription: &Subscription) -> Option<i64> {
    let plan = catalog.plans.get(&subscription.plan)?;
    let shares = plan.parts_of_total()?.shares(&subscription.terms, plan.currency).ok()?;
    Some(shares.owed().minor())
}

/// What new charges take, by subscription, in minor units. What is skipped takes nothing.
pub(super) fn takes(new: &[NewCharge]) -> BTreeMap<&str, i64> {
    let mut takes: BTreeMap<&str, i64> = BTreeMap::new();
    for NewCharge { charge, .. } in new {
        if !matches!(charge.state, State::Skipped { .. }) {
            let sum = takes.entry(charge.subscription.as_str()).or_default();
            *sum = sum.saturating_add(charge.amount.minor());
        }
    }
    takes
}

/// The refusal of an import by which less would be owed than was collected.
pub(super) fn collected_more(id: &str) -> StoreError {
    StoreError::Refused(format!(
        "of the total of subscription {id} more was collected than would be owed: refund first, or lower paid_elsewhere"
    ))
}

/// Why a subscription is set aside whose next charges would overdraw its total.
pub(super) const OVERDRAWN: &str =
    "its next installments would collect more than its total: a person must compare its charges with what was agreed";

impl DatabaseStore {
    /// The totals of the subscriptions that pay one in parts.
    pub(super) async fn totals_of(&self, rows: &[Subscription]) -> Result<BTreeMap<String, i64>, StoreError> {
        let catalog = self.read_catalog().await?;
        let totals = rows.iter().filter_map(|row| Some((row.id.to_string(), owed(&catalog, row)?)));
        let totals: BTreeMap<String, i64> = totals.collect();
        let statements = totals_table(&totals).statements(
            self.backend(),
            "SELECT t.subscription_id AS id FROM installment_total t JOIN v ON t.subscription_id = v.t_id \
             WHERE t.taken_minor > v.t_total ORDER BY 1 LIMIT 1",
        );
        for statement in statements {
            if let Some(row) = self.database.query_one_raw(statement).await.map_err(store_error)? {
                let id: String = row.try_get("", "id").map_err(store_error)?;
                return Err(collected_more(&id));
            }
        }
        Ok(totals)
    }

    /// What was taken of the totals of these subscriptions.
    pub(super) async fn taken(&self, ids: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, i64>, StoreError> {
        let mut rows = Bulk::new(TOTALS);
        ids.iter().for_each(|id| rows.push(&[Val::text(id.as_str()), Val::int(0)]));
        let sql =
            "SELECT t.subscription_id, t.taken_minor FROM installment_total t JOIN v ON t.subscription_id = v.t_id";
        let mut taken = BTreeMap::new();
        for statement in rows.statements(self.backend(), sql) {
            for row in self.database.query_all_raw(statement).await.map_err(store_error)? {
                let id: String = row.try_get("", "subscription_id").map_err(store_error)?;
                // An id that cannot be read is none of those that were asked about.
                if let Ok(id) = SubscriptionId::parse(&id) {
                    taken.insert(id, row.try_get("", "taken_minor").map_err(store_error)?);
                }
            }
        }
        Ok(taken)
    }

    /// Keeps the totals of imported subscriptions. What was taken before there was a row is counted.
    pub(super) async fn keep_totals(
        &self,
        on: &DatabaseTransaction,
        totals: &BTreeMap<String, i64>,
    ) -> Result<(), DbErr> {
        let sql = "INSERT INTO installment_total (subscription_id, total_minor, taken_minor) SELECT v.t_id, v.t_total, \
             COALESCE((SELECT SUM(CASE WHEN c.state = 'paid' AND c.returned_at IS NULL \
             THEN COALESCE(c.collected_minor, c.amount_minor) ELSE c.amount_minor END) \
             FROM charge c WHERE c.subscription_id = v.t_id AND c.purpose = 'cycle' AND c.state NOT IN ('failed', 'skipped') \
             AND (c.returned_at IS NULL OR c.next_at IS NOT NULL)), 0) FROM v WHERE true \
             ON CONFLICT (subscription_id) DO UPDATE SET total_minor = excluded.total_minor";
        self.run(on, sql, &totals_table(totals)).await
    }

    /// Sets subscriptions aside that were not moved on because their charges would overdraw their totals.
    pub(super) async fn set_overdrawn_aside(
        &self,
        on: &DatabaseTransaction,
        batch: &IntentBatch,
        advanced: &BTreeSet<&str>,
    ) -> Result<(), DbErr> {
        let takes = takes(&batch.new);
        let mut rows = Bulk::new(ASIDE);
        for claimed in &batch.advances {
            let id = claimed.value.subscription.as_str();
            if let Some(takes) = takes.get(id).filter(|_| !advanced.contains(id)) {
                let values =
                    [Val::int(claimed.fence), Val::int(*takes), Val::text(OVERDRAWN), Val::time(whole(batch.at))];
                let [fence, takes, note, at] = values;
                rows.push(&[Val::text(id), fence, takes, note, at]);
            }
        }
        let sql = "UPDATE subscription SET status = 'quarantined', note = v.x_note, next_due_at = NULL, leased_until = NULL, \
             updated_at = v.x_at FROM v WHERE id = v.x_id AND fence = v.x_fence \
             AND (status = 'active' OR (status = 'paused' AND resume_on IS NOT NULL AND unpaid_charge_id IS NULL)) \
             AND EXISTS (SELECT 1 FROM installment_total t WHERE t.subscription_id = v.x_id \
             AND t.taken_minor + v.x_takes > t.total_minor) RETURNING id";
        for id in self.ids::<String>(on, sql, &rows).await? {
            self.note(on, lines::overdrawn(&id, batch.at))?;
        }
        Ok(())
    }
}

fn totals_table(totals: &BTreeMap<String, i64>) -> Bulk {
    let mut rows = Bulk::new(TOTALS);
    totals.iter().for_each(|(id, total)| rows.push(&[Val::text(id), Val::int(*total)]));
    rows
}
