//! Plans, policies, holds and subscriptions: what people change, each change in one transaction with its audit row.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QueryTrait as _, Value,
};

use domain::agenda::{GoesOn, Hold, HoldKind, Lift, Scope};
use domain::charge::{Event, Limits};
use domain::dunning::Policy;
use domain::id::{PlanId, SubscriptionId};
use domain::ledger::{self, Posting};
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::subscription::{Method, Subscription};
use entity::{charge, dunning_policy_version, hold, plan_version, subscription};

use super::amend::Which;
use super::bulk::{Bulk, Kind, Val};
use super::rows::{CHARGE_STATE, SET_CHARGE_STATE, charge_state, whole};
use super::wallet::{Marked, Released};
use super::{DatabaseStore, damage, lines, store_error};
use crate::ports::audit::facts_of_charge;
use crate::ports::brakes::Brake;
use crate::ports::changes::Sources;
use crate::ports::outbox::NewEvent;
use crate::ports::{Applied, Cancelled, CatalogChange, Imported, Resume, StoreError, SubscriptionView};

/// Rows of one import statement.
const IMPORT_BATCH: usize = 1_000;

const CHANGED: &[(&str, Kind)] = &[("x_id", Kind::Text)];

/// What was drawn from other terms than an import brings is drawn again: nothing is charged to a method that was taken away.
const OVERTAKEN: [&str; 2] = [
    "UPDATE subscription SET fence = fence + 1, leased_until = NULL FROM v WHERE id = v.x_id",
    "UPDATE charge SET fence = fence + 1, leased_until = NULL FROM v WHERE subscription_id = v.x_id \
     AND (state IN ('due', 'failing') OR (returned_at IS NOT NULL AND next_at IS NOT NULL))",
];

const SUBSCRIPTIONS: &[(&str, Kind)] = &[
    ("s_id", Kind::Text),
    ("s_merchant_id", Kind::Uuid),
    ("s_plan_id", Kind::Text),
    ("s_customer", Kind::Text),
    ("s_method_id", Kind::Uuid),
    ("s_method_kind", Kind::Text),
    ("s_consent", Kind::Text),
    ("s_start_on", Kind::Date),
    ("s_anchor_day", Kind::Text),
    ("s_time_zone", Kind::Text),
    ("s_amount_minor", Kind::Int),
    ("s_currency", Kind::Text),
    ("s_end_on", Kind::Date),
    ("s_status", Kind::Text),
    ("s_next_cycle", Kind::Int),
    ("s_next_due_at", Kind::Time),
    ("s_at", Kind::Time),
    ("s_second_method_id", Kind::Uuid),
    ("s_second_method_kind", Kind::Text),
    ("s_terms", Kind::Text),
    ("s_backups", Kind::Text),
];

/// New rows of the batch `v`; what becomes of those that are there already is the caller's to say.
pub(super) const INSERT: &str = "INSERT INTO subscription (id, merchant_id, plan_id, customer, method_id, method_kind, consent, \
     start_on, anchor_day, time_zone, amount_minor, currency, end_on, status, next_cycle, next_due_at, fence, created_at, updated_at, \
     second_method_id, second_method_kind, terms, first_cycle, backups) \
     SELECT s_id, s_merchant_id, s_plan_id, s_customer, s_method_id, s_method_kind, s_consent, s_start_on, s_anchor_day, \
     s_time_zone, s_amount_minor, s_currency, s_end_on, s_status, s_next_cycle, s_next_due_at, 0, s_at, s_at, \
     s_second_method_id, s_second_method_kind, s_terms, s_next_cycle, s_backups FROM v WHERE true";

/// A subscription's texts, ready for a batch.
struct Written {
    customer: String,
    consent: Option<String>,
    anchor_day: Option<String>,
    terms: Option<String>,
    backups: Option<String>,
}

fn written(row: &Subscription) -> Result<Written, StoreError> {
    let json = |column: &'static str, text: Result<String, serde_json::Error>| {
        text.map_err(|error| StoreError::Refused(format!("subscription.{column} cannot be written: {error}")))
    };
    let consent = |method: &Option<Method>| method.as_ref().and_then(|method| method.consent.clone());
    let consent = consent(&row.method).or_else(|| consent(&row.second_method));
    Ok(Written {
        customer: json("customer", serde_json::to_string(&row.customer))?,
        consent: consent.map(|consent| json("consent", serde_json::to_string(&consent))).transpose()?,
        anchor_day: row.anchor_day.map(|day| day.to_string()),
        terms: (!row.terms.is_empty()).then(|| json("terms", serde_json::to_string(&row.terms))).transpose()?,
        backups: backups(row)?,
    })
}

/// A subscription's backups, as its row holds them.
pub(super) fn backups(row: &Subscription) -> Result<Option<String>, StoreError> {
    let text = (!row.backups.is_empty()).then(|| serde_json::to_string(&row.backups)).transpose();
    text.map_err(|error| StoreError::Refused(format!("subscription.backups cannot be written: {error}")))
}

fn push(bulk: &mut Bulk, row: &Subscription, at: DateTime<Utc>) -> Result<(), StoreError> {
    let text = written(row)?;
    bulk.push(&[
        Val::text(row.id.as_str()),
        Val::uuid(row.merchant.0),
        Val::text(row.plan.as_str()),
        Val::text(&text.customer),
        Val::Uuid(row.method.as_ref().map(|method| method.id.0)),
        Val::Text(row.method.as_ref().map(|method| method.kind.as_str())),
        Val::Text(text.consent.as_deref()),
        Val::Date(Some(row.start_on)),
        Val::Text(text.anchor_day.as_deref()),
        Val::Text(row.zone.as_ref().map(domain::calendar::Zone::name)),
        Val::Int(row.amount.map(|amount| amount.minor())),
        Val::Text(row.amount.map(|amount| amount.currency().code())),
        Val::Date(row.end_on),
        Val::text(row.status.as_str()),
        Val::int(i64::from(row.next_cycle)),
        Val::Time(row.next_due_at.map(whole)),
        Val::time(at),
        Val::Uuid(row.second_method.as_ref().map(|method| method.id.0)),
        Val::Text(row.second_method.as_ref().map(|method| method.kind.as_str())),
        Val::Text(text.terms.as_deref()),
        Val::Text(text.backups.as_deref()),
    ]);
    Ok(())
}

/// One subscription as it enters the book, ready to be inserted.
pub(super) fn entering(row: &Subscription, at: DateTime<Utc>) -> Result<Bulk, StoreError> {
    let mut bulk = Bulk::new(SUBSCRIPTIONS);
    push(&mut bulk, row, at)?;
    Ok(bulk)
}

/// The methods of a subscription, as the wallet hears of them.
pub(super) fn marked(row: &Subscription) -> Result<Vec<Marked>, StoreError> {
    let customer = written(row)?.customer;
    let mark = |method: &Method| {
        let customer = customer.clone();
        Marked { merchant: row.merchant, customer, method: method.id, kind: method.kind }
    };
    Ok(row.methods().map(mark).collect())
}

/// What an import may change on a subscription that is already there.
fn same_terms(a: &Subscription, b: &Subscription) -> bool {
    a.customer == b.customer
        && a.method == b.method
        && a.second_method == b.second_method
        && a.backups == b.backups
        && a.amount == b.amount
        && a.end_on == b.end_on
        && a.terms == b.terms
}

impl DatabaseStore {
    pub(super) async fn read_catalog(&self) -> Result<Catalog, StoreError> {
        let mut catalog = Catalog::default();
        // The version in force of each: a plan may hold a long price list, and an older one is only read to look back.
        let newest = "version = (SELECT MAX(p.version) FROM plan_version p WHERE p.plan_id = plan_version.plan_id)";
        let plans = plan_version::Entity::find().filter(Expr::cust(newest)).all(&self.database).await;
        for row in plans.map_err(store_error)? {
            let fail = |why: String| StoreError::Inconsistent {
                table: "plan_version",
                column: "spec",
                row: format!("{}/{}", row.plan_id, row.version),
                why,
            };
            let spec: PlanSpec = serde_json::from_str(&row.spec).map_err(|error| fail(error.to_string()))?;
            let version = u32::try_from(row.version).map_err(|error| fail(error.to_string()))?;
            let plan = Plan::from_spec(&spec, version).map_err(|mistakes| {
                fail(mistakes.first().map_or_else(String::new, |first| format!("{} {}", first.field, first.message)))
            })?;
            catalog.plans.insert(plan.id.clone(), plan);
        }
        let policies = dunning_policy_version::Entity::find()
            .order_by_asc(dunning_policy_version::Column::Version)
            .all(&self.database)
            .await;
        for row in policies.map_err(store_error)? {
            let policy: Policy = serde_json::from_str(&row.spec).map_err(|error| StoreError::Inconsistent {
                table: "dunning_policy_version",
                column: "spec",
                row: format!("{}/{}", row.policy_id, row.version),
                why: error.to_string(),
            })?;
            let version = u32::try_from(row.version).map_err(|error| StoreError::Inconsistent {
                table: "dunning_policy_version",
                column: "version",
                row: format!("{}/{}", row.policy_id, row.version),
                why: error.to_string(),
            })?;
            catalog.put_policy(policy, version);
        }
        Ok(catalog)
    }

    pub(super) async fn apply_catalog(
        &self,
        change: &CatalogChange,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Applied, StoreError> {
        self.put_catalog(change, &Sources::new(), by, at).await
    }

    pub(super) async fn used_plans(&self) -> Result<BTreeSet<PlanId>, StoreError> {
        let sql = self.statement("SELECT DISTINCT plan_id FROM subscription", []);
        let found = self.database.query_all_raw(sql).await.map_err(store_error)?;
        let mut used = BTreeSet::new();
        for row in &found {
            // An id that cannot be read is no plan's.
            used.extend(row.try_get::<String>("", "plan_id").ok().and_then(|id| PlanId::parse(&id).ok()));
        }
        Ok(used)
    }

    pub(super) async fn read_holds(&self) -> Result<Vec<Hold>, StoreError> {
        let found = hold::Entity::find()
            .filter(hold::Column::LiftedAt.is_null())
            .order_by_asc(hold::Column::Id)
            .all(&self.database)
            .await
            .map_err(store_error)?;
        found.into_iter().map(hold_of).collect()
    }

    pub(super) async fn set_hold(
        &self,
        scope: &Scope,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Hold, StoreError> {
        self.set_hold_of(scope, (reason, by), None, at).await
    }

    /// Sets a hold, of a brake or of a person.
    pub(super) async fn set_hold_of(
        &self,
        scope: &Scope,
        (reason, by): (&str, &str),
        brake: Option<Brake>,
        at: DateTime<Utc>,
    ) -> Result<Hold, StoreError> {
        let word = scope.to_string();
        let word = &word;
        self.transaction(&move |transaction, _| {
            Box::pin(async move {
                let brake = brake.map(Brake::as_str);
                let values: [Value; 5] = [word.clone().into(), reason.into(), by.into(), at.into(), brake.into()];
                let sql = "INSERT INTO hold (scope, reason, held_by, since, brake, kind) VALUES ($1, $2, $3, $4, $5, 'operator') \
                           ON CONFLICT (scope, kind) WHERE lifted_at IS NULL DO NOTHING";
                let done = transaction.execute_raw(self.statement(sql, values)).await?;
                if done.rows_affected() > 0 {
                    self.note(transaction, lines::held(word, (reason, by), at))?;
                }
                Ok(())
            })
        })
        .await?;
        let holds = self.read_holds().await?;
        holds.into_iter().find(|hold| hold.scope == *scope && hold.kind == HoldKind::Operator).ok_or_else(|| {
            StoreError::Unavailable("the hold was lifted by someone else at the same moment: look again".to_owned())
        })
    }

    pub(super) async fn lift_hold(
        &self,
        scope: &Scope,
        kind: Option<HoldKind>,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let word = scope.to_string();
        let word = &word;
        self.transaction(&move |on, _| {
            Box::pin(async move {
                let mut lifted = false;
                for kind in HoldKind::ALL.into_iter().filter(|one| kind.is_none_or(|kind| kind == *one)) {
                    let mut words = BTreeSet::from([word.clone()]);
                    // One about a person is lifted for all of theirs, as it was set.
                    if let (Scope::Subscription(id), Some(_)) = (scope, kind.ends()) {
                        let theirs = self.all_of_the_person(on, id.as_str()).await?;
                        words.extend(theirs.iter().map(|id| format!("subscription:{id}")));
                    }
                    for word in &words {
                        let values: [Value; 4] = [word.as_str().into(), at.into(), by.into(), kind.as_str().into()];
                        let sql = "UPDATE hold SET lifted_at = $2, lifted_by = $3 \
                                   WHERE scope = $1 AND lifted_at IS NULL AND brake IS NULL AND kind = $4";
                        if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                            self.note(on, lines::lifted(word, (reason, by), at))?;
                            lifted = true;
                        }
                    }
                }
                Ok(lifted)
            })
        })
        .await
    }

    /// Sets a hold about a person on each of these subscriptions, beside those of other kinds. Returns how many it set.
    pub(super) async fn hold_each(
        &self,
        on: &DatabaseTransaction,
        subscriptions: &BTreeSet<String>,
        kind: HoldKind,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<u64, DbErr> {
        let mut set = 0;
        for id in subscriptions {
            let word = format!("subscription:{id}");
            let values: [Value; 5] = [word.clone().into(), reason.into(), by.into(), at.into(), kind.as_str().into()];
            let sql = "INSERT INTO hold (scope, reason, held_by, since, kind) VALUES ($1, $2, $3, $4, $5) \
                       ON CONFLICT (scope, kind) WHERE lifted_at IS NULL DO NOTHING";
            if on.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0 {
                self.note(on, lines::held_for(&word, kind, (reason, by), at))?;
                set += 1;
            }
        }
        Ok(set)
    }

    pub(super) async fn import_subscriptions(
        &self,
        rows: &[Subscription],
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Imported, StoreError> {
        let ids: Vec<SubscriptionId> = rows.iter().map(|row| row.id.clone()).collect();
        let known = self.count_on(&self.database, &ids).await.map_err(store_error)?;
        // Of what is stored no more is kept than what changes: most rows of a file are new, or as they were.
        let (mut before, mut same) = (BTreeMap::new(), BTreeSet::new());
        for chunk in rows.chunks(IMPORT_BATCH) {
            let ids: Vec<SubscriptionId> = chunk.iter().map(|row| row.id.clone()).collect();
            let found = self.existing_subscriptions(&ids).await?.into_iter();
            let mut found: BTreeMap<SubscriptionId, Subscription> = found.map(|row| (row.id.clone(), row)).collect();
            for row in chunk {
                match found.remove(&row.id) {
                    Some(old) if same_terms(&old, row) => {
                        same.insert(row.id.as_str());
                    }
                    Some(old) => {
                        before.insert(row.id.as_str(), old);
                    }
                    None => {}
                }
            }
        }
        let is_news = |row: &&Subscription| !same.contains(row.id.as_str());
        let unchanged = same.len();
        // An update touches the terms of payment only: cycle, due date and rhythm belong to the engine.
        let sql = &format!(
            "{INSERT} ON CONFLICT (id) DO UPDATE SET customer = excluded.customer, method_id = excluded.method_id, \
             method_kind = excluded.method_kind, consent = excluded.consent, amount_minor = excluded.amount_minor, \
             currency = excluded.currency, end_on = excluded.end_on, updated_at = excluded.updated_at, \
             second_method_id = excluded.second_method_id, second_method_kind = excluded.second_method_kind, terms = excluded.terms, \
             backups = excluded.backups"
        );
        let totals = self.totals_of(rows).await?;
        let mut marked = Vec::new();
        let mut changed = Bulk::new(CHANGED);
        for row in rows.iter().filter(is_news) {
            marked.extend(self::marked(row)?);
            changed.push(&[Val::text(row.id.as_str())]);
        }
        let imported: BTreeSet<&str> = ids.iter().map(SubscriptionId::as_str).collect();
        let (totals, marked, imported, changed) = (&totals, &marked, &imported, &changed);
        let (before, is_news) = (&before, &is_news);
        self.transaction(&move |transaction, _| {
            Box::pin(async move {
                // What is bound is made a batch at a time: one transaction, and never two copies of the file.
                for chunk in rows.chunks(IMPORT_BATCH) {
                    let mut batch = Bulk::new(SUBSCRIPTIONS);
                    for row in chunk {
                        push(&mut batch, row, at).map_err(|error| DbErr::Custom(error.to_string()))?;
                    }
                    self.run(transaction, sql, &batch).await?;
                }
                for overtaken in OVERTAKEN {
                    self.run(transaction, overtaken, changed).await?;
                }
                self.keep_totals(transaction, totals).await?;
                self.mark_methods(transaction, marked, at).await?;
                self.release_charges(transaction, Released::Of(imported), by, at).await?;
                self.note(transaction, lines::imported(rows.len(), by, at))?;
                let news = rows.iter().filter(is_news);
                self.note_all(transaction, news.map(|row| lines::entered(row, before.get(row.id.as_str()), by, at)))
            })
        })
        .await?;
        Ok(Imported { added: rows.len() - known, changed: known - unchanged, unchanged })
    }

    pub(super) async fn existing_subscriptions(&self, ids: &[SubscriptionId]) -> Result<Vec<Subscription>, StoreError> {
        let mut found = Vec::new();
        for chunk in ids.chunks(IMPORT_BATCH) {
            let chunk = chunk.iter().map(SubscriptionId::as_str);
            let query = subscription::Entity::find().filter(subscription::Column::Id.is_in(chunk));
            let rows = self.database.query_all_raw(query.build(self.backend())).await.map_err(store_error)?;
            // A row that cannot be read counts as changed, so that an import can mend it.
            found.extend(rows.iter().filter_map(|row| damage::view(row).ok()).map(|view| view.subscription));
        }
        Ok(found)
    }

    /// How many of the ids have a row, readable or not.
    async fn count_on(&self, on: &impl ConnectionTrait, ids: &[SubscriptionId]) -> Result<usize, DbErr> {
        let mut known = 0;
        for chunk in ids.chunks(IMPORT_BATCH) {
            let chunk = chunk.iter().map(SubscriptionId::as_str);
            let found = subscription::Entity::find().filter(subscription::Column::Id.is_in(chunk)).count(on).await?;
            known += usize::try_from(found).unwrap_or(usize::MAX);
        }
        Ok(known)
    }

    pub(super) async fn one_subscription(&self, id: &SubscriptionId) -> Result<Option<SubscriptionView>, StoreError> {
        let sql = self.statement("SELECT * FROM subscription WHERE id = $1", [id.as_str().into()]);
        let Some(row) = self.database.query_one_raw(sql).await.map_err(store_error)? else { return Ok(None) };
        let amended = self.amended(std::slice::from_ref(&row), Which::Ever).await?;
        Ok(Some(amended.view(&row)?))
    }

    pub(super) async fn resume_subscription(
        &self,
        id: &SubscriptionId,
        from: &Resume,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.transaction(&move |transaction, _| {
            Box::pin(async move {
                let GoesOn { next_cycle, next_due_at, paused } = from.goes_on;
                let values: [Value; 7] = [
                    id.as_str().into(),
                    i64::from(from.from_cycle).into(),
                    i64::from(next_cycle).into(),
                    next_due_at.map(whole).into(),
                    at.into(),
                    from.owed_until.map(whole).into(),
                    paused.into(),
                ];
                let sql = "UPDATE subscription SET status = CASE WHEN $7 THEN 'paused' ELSE 'active' END, note = NULL, unpaid_charge_id = NULL, \
                           resume_on = CASE WHEN $7 THEN resume_on ELSE NULL END, next_cycle = $3, next_due_at = $4, \
                           leased_until = NULL, fence = fence + 1, updated_at = $5, owed_until = $6 \
                           WHERE id = $1 AND next_cycle = $2 AND status IN ('paused', 'quarantined')";
                let before = self.standing(transaction, id.as_str()).await?;
                let resumed = transaction.execute_raw(self.statement(sql, values)).await?.rows_affected() > 0;
                if resumed {
                    let after = self.standing(transaction, id.as_str()).await?;
                    self.note(
                        transaction,
                        lines::resumed(id, (reason, by), (from.from_cycle, next_cycle), (before, after), at),
                    )?;
                }
                Ok(resumed)
            })
        })
        .await
    }

    pub(super) async fn cancel_subscription(
        &self,
        id: &SubscriptionId,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<Option<Cancelled>, StoreError> {
        self.transaction(&move |transaction, _| Box::pin(self.cancel_within(transaction, id, (reason, by), at))).await
    }

    pub(super) async fn cancel_within(
        &self,
        on: &DatabaseTransaction,
        id: &SubscriptionId,
        (reason, by): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<Option<Cancelled>, DbErr> {
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        // The row lock orders this against an intent that is being recorded: whoever commits first wins.
        let values: [Value; 3] = [id.as_str().into(), at.into(), format!("cancelled by {by}{because}").into()];
        let sql = "UPDATE subscription SET status = 'cancelled', note = $3, next_due_at = NULL, resume_on = NULL, leased_until = NULL, \
                   fence = fence + 1, updated_at = $2 WHERE id = $1 AND status <> 'cancelled'";
        let before = self.standing(on, id.as_str()).await?;
        let done = on.execute_raw(self.statement(sql, values)).await?;
        if done.rows_affected() == 0 && self.count_on(on, std::slice::from_ref(id)).await? == 0 {
            return Ok(None);
        }
        let outcome = self.end_charges(on, id, by, at).await?;
        if done.rows_affected() > 0 {
            let facts = (before, self.standing(on, id.as_str()).await?);
            self.note(on, lines::cancelled(id, (reason, by), &outcome, facts, at))?;
        }
        Ok(Some(outcome))
    }

    /// Ends the charges of a cancelled subscription that wait; those in flight run on.
    pub(super) async fn end_charges(
        &self,
        on: &DatabaseTransaction,
        id: &SubscriptionId,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<Cancelled, DbErr> {
        let open = charge::Entity::find()
            .filter(charge::Column::SubscriptionId.eq(id.as_str()))
            .filter(charge::Column::State.is_not_in(["paid", "failed", "skipped"]))
            .build(self.backend());
        let mut outcome = Cancelled { skipped: 0, in_flight: 0 };
        let mut ended = Vec::new();
        for row in &on.query_all_raw(open).await? {
            // What cannot be read may be in flight: it is left to whoever mends it.
            let Ok(charge) = damage::charge(row) else {
                outcome.in_flight += 1;
                continue;
            };
            let before = facts_of_charge(&charge);
            match charge.step(Event::Cancel, at, &Limits::default()) {
                Ok(charge) => ended.push((before, charge)),
                Err(_) => outcome.in_flight += 1,
            }
        }
        outcome.skipped = ended.len();
        let mut skipped = Bulk::new(CHARGE_STATE);
        for (before, charge) in &ended {
            skipped.push(&charge_state(charge, at));
            self.note(on, lines::ended(before.clone(), charge, by, at))?;
            self.note_all(on, lines::case_ended(charge, by, at).into_iter())?;
        }
        let sql = format!(
            "UPDATE charge SET {SET_CHARGE_STATE}, fence = fence + 1 FROM v WHERE id = v.c_id AND state IN ('due', 'failing', 'parked') \
             RETURNING id"
        );
        let moved = self.ids::<uuid::Uuid>(on, &sql, &skipped).await?;
        let posted: Vec<Posting> =
            (ended.iter().map(|(_, charge)| charge).filter(|charge| moved.contains(&charge.id.0)))
                .flat_map(|charge| ledger::charge(ledger::waits(charge), charge, charge.id, at))
                .collect();
        self.post(on, &posted).await?;
        let told: Vec<NewEvent> = ended.iter().filter_map(|(_, charge)| NewEvent::of_case_end(charge, at)).collect();
        self.tell(on, &told).await?;
        let values: [Value; 2] = [id.as_str().into(), at.into()];
        let sql = "UPDATE attempt SET state = 'closed', updated_at = $2 WHERE state = 'open' AND charge_id IN \
                   (SELECT id FROM charge WHERE subscription_id = $1 AND state IN ('skipped', 'failed'))";
        on.execute_raw(self.statement(sql, values)).await?;
        Ok(outcome)
    }
}

/// What a cancellation did to charges, for the audit.
pub(super) fn ended_in_words(outcome: &Cancelled) -> String {
    format!("{} waiting charges ended, {} in flight", outcome.skipped, outcome.in_flight)
}

fn hold_of(model: hold::Model) -> Result<Hold, StoreError> {
    let scope = model.scope.parse().map_err(|why| StoreError::Inconsistent {
        table: "hold",
        column: "scope",
        row: model.id.to_string(),
        why,
    })?;
    let lift = match model.brake {
        None => Lift::Anybody,
        Some(_) => Lift::TwoPeople { first: model.release_asked_by },
    };
    let kind = HoldKind::parse(&model.kind).ok_or_else(|| StoreError::Inconsistent {
        table: "hold",
        column: "kind",
        row: model.id.to_string(),
        why: "the word is not one this binary knows".to_owned(),
    })?;
    Ok(Hold { id: model.id, scope, reason: model.reason, by: model.held_by, since: model.since, lift, kind })
}
