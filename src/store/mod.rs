//! The store behind the port: SeaORM over PostgreSQL and SQLite, and the same port in a map.
//!
//! This room may name the ports, the domain and the entities. It decides nothing: it keeps what was decided, all or nothing,
//! and refuses writes by those who lost their claim. No other room opens a transaction, and none is open across a call to the
//! gateway: no method here takes a gateway.

mod amend;
mod audit;
mod books;
mod brakes;
mod bulk;
mod captures;
mod cases;
mod catalog;
mod changes;
mod claims;
mod closing;
mod commits;
mod compare;
mod connect;
mod damage;
mod declines;
mod dispute;
mod elsewhere;
mod failure;
mod fees;
mod figures;
mod firing;
mod installments;
mod ledger;
mod lines;
mod memory;
mod notices;
mod outbox;
mod pages;
mod people;
mod prove;
mod rate;
mod reading;
mod recon;
mod recon_rows;
mod refund_rows;
mod refunds;
mod rows;
mod together;
mod tries;
mod views;
mod wallet;
mod wallet_commits;
mod wallet_news;
mod wallet_views;
mod webhooks;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait as _, Value,
};

use domain::agenda::{Hold, HoldKind, Scope};
use domain::charge::Charge;
use domain::firing::Booked;
use domain::id::{ChargeId, MerchantId, PlanId, SubscriptionId};
use domain::plan::Catalog;
use domain::subscription::Subscription;

pub use connect::{
    DatabaseUrl, Pool, SchemaStatus, SoleDispatcher, check_there, known_migrations, migrate, network_file_system, open,
    schema_status,
};
pub use memory::MemoryStore;
pub use reading::open_to_read;
pub(crate) use rows::whole;

use crate::ports::firing::{DueBetween, Life};
use crate::ports::outbox::Routes;
use crate::ports::{
    Applied, AttemptRecord, Cancelled, CatalogChange, ChargeFilter, Claimed, Clock, Committed, Cursor, DueClaim,
    Imported, IntentBatch, Listed, OpenCharge, Page, Pressure, Quota, Resume, Slice, Store, StoreError,
    SubscriptionFilter, SubscriptionView, TimelineEntry, Totals, Verdict, VerdictsCommitted,
};
use failure::{code, is_collision, store_error};

/// How often a transaction that collided with another is repeated before the caller hears of it.
const COLLISIONS_MAX: u32 = 8;

/// Says that what a transaction borrows (`'w`) outlives the transaction (`'t`); the compiler cannot be told otherwise.
struct Outlives<'t, 'w>(PhantomData<&'t &'w ()>);

/// What a transaction does.
type Work<'w, T> = dyn for<'t> Fn(&'t DatabaseTransaction, Outlives<'t, 'w>) -> BoxFuture<'t, Result<T, sea_orm::DbErr>>
    + Send
    + Sync
    + 'w;

/// The store over a database.
#[derive(Debug, Clone)]
pub struct DatabaseStore {
    database: DatabaseConnection,
    clock: Arc<dyn Clock>,
    /// Who is told of what happens; nobody unless said.
    routes: Arc<Routes>,
}

impl DatabaseStore {
    /// A store over an open pool. `clock` is the time where the database has none of its own to offer.
    #[must_use]
    pub fn new(database: DatabaseConnection, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock, routes: Arc::default() }
    }

    /// The pool, for closing it and for tests.
    #[must_use]
    pub const fn database(&self) -> &DatabaseConnection {
        &self.database
    }

    fn backend(&self) -> DatabaseBackend {
        self.database.get_database_backend()
    }

    fn is_postgres(&self) -> bool {
        self.backend() == DatabaseBackend::Postgres
    }

    fn statement(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        Statement::from_sql_and_values(self.backend(), sql, values)
    }

    /// One transaction: all of `work` or nothing of it. Collisions with other transactions repeat the whole of it, so `work`
    /// may run more than once.
    async fn transaction<'w, T: Send>(&self, work: &Work<'w, T>) -> Result<T, StoreError> {
        self.transact(work, |_| true).await
    }

    /// As [`Self::transaction`]; nothing of it, too, where `work` comes to `None`.
    async fn all_or_none<'w, T: Send>(&self, work: &Work<'w, Option<T>>) -> Result<Option<T>, StoreError> {
        self.transact(work, Option::is_some).await
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that opens transactions and waits out collisions in real time"
    )]
    async fn transact<'w, T: Send>(&self, work: &Work<'w, T>, stands: fn(&T) -> bool) -> Result<T, StoreError> {
        let mut collisions = 0;
        loop {
            let done = async {
                let transaction = self.database.begin_with_options(connect::immediate()).await?;
                let (worked, noted) = audit::noting(work(&transaction, Outlives(PhantomData))).await;
                let worked = match worked {
                    Ok(value) if stands(&value) => self.write_down(&transaction, noted).await.map(|()| (value, true)),
                    Ok(value) => Ok((value, false)),
                    Err(error) => Err(error),
                };
                match worked {
                    Ok((value, true)) => transaction.commit().await.map(|()| value),
                    Ok((value, false)) => transaction.rollback().await.map(|()| value),
                    Err(error) => {
                        // The first error is the one that counts; a failed rollback drops the connection.
                        transaction.rollback().await.or(Ok::<(), sea_orm::DbErr>(()))?;
                        Err(error)
                    }
                }
            };
            match done.await {
                Ok(value) => return Ok(value),
                Err(error) if collisions < COLLISIONS_MAX && code(&error).is_some_and(|code| is_collision(&code)) => {
                    collisions += 1;
                    tokio::time::sleep(Duration::from_millis(u64::from(collisions) * 7)).await;
                }
                Err(error) => return Err(store_error(error)),
            }
        }
    }
}

#[async_trait]
impl Store for DatabaseStore {
    async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        if self.clock.is_turned() || !self.is_postgres() {
            return Ok(whole(self.clock.now()));
        }
        let row = self
            .database
            .query_one_raw(self.statement("SELECT clock_timestamp() AS now", []))
            .await
            .map_err(store_error)?;
        let now = row.map(|row| row.try_get::<DateTime<Utc>>("", "now")).transpose().map_err(store_error)?;
        now.map(whole).ok_or_else(|| StoreError::Refused("the database has no time".to_owned()))
    }

    async fn check(&self) -> Result<(), StoreError> {
        let status = schema_status(&self.database).await?;
        if status.applied < status.known {
            return Err(StoreError::Schema { found: status.applied, needed: status.known });
        }
        Ok(())
    }

    async fn catalog(&self) -> Result<Catalog, StoreError> {
        self.read_catalog().await
    }
    async fn apply(&self, change: &CatalogChange, by: &str, at: DateTime<Utc>) -> Result<Applied, StoreError> {
        self.apply_catalog(change, by, whole(at)).await
    }
    async fn plans_in_use(&self) -> Result<BTreeSet<PlanId>, StoreError> {
        self.used_plans().await
    }
    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        self.read_holds().await
    }
    async fn hold(&self, scope: &Scope, reason: &str, by: &str, at: DateTime<Utc>) -> Result<Hold, StoreError> {
        self.set_hold(scope, reason, by, whole(at)).await
    }
    async fn lift_because(
        &self,
        scope: &Scope,
        kind: Option<HoldKind>,
        why: (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.lift_hold(scope, kind, why, whole(at)).await
    }
    async fn import(&self, rows: &[Subscription], by: &str, at: DateTime<Utc>) -> Result<Imported, StoreError> {
        self.import_subscriptions(rows, by, whole(at)).await
    }
    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<SubscriptionView>, StoreError> {
        self.one_subscription(id).await
    }
    async fn list_subscriptions(
        &self,
        filter: &SubscriptionFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<SubscriptionView>, StoreError> {
        self.page_of_subscriptions(filter, after, limit).await
    }
    async fn existing(&self, ids: &[SubscriptionId]) -> Result<Vec<Subscription>, StoreError> {
        self.existing_subscriptions(ids).await
    }
    async fn taken_of_totals(&self, ids: &[SubscriptionId]) -> Result<BTreeMap<SubscriptionId, i64>, StoreError> {
        self.taken(ids).await
    }
    async fn cancel(&self, id: &SubscriptionId, by: &str, at: DateTime<Utc>) -> Result<Option<Cancelled>, StoreError> {
        self.cancel_subscription(id, ("", by), whole(at)).await
    }
    async fn resume_because(
        &self,
        id: &SubscriptionId,
        from: &Resume,
        reason: &str,
        by: &str,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.resume_subscription(id, from, (reason, by), whole(at)).await
    }
    async fn claim_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        now: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<DueClaim, StoreError> {
        self.take_due(merchant, [whole(due_by), whole(now), whole(lease_until)], limit).await
    }
    async fn claim_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        lease_until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Claimed<OpenCharge>>, StoreError> {
        self.take_open(merchant, whole(due_by), whole(lease_until), limit).await
    }
    async fn release(&self, due: &[(SubscriptionId, i64)], open: &[(ChargeId, i64)]) -> Result<(), StoreError> {
        self.give_back(&self.database, due, open, None).await.map_err(store_error)
    }
    async fn peek_due(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(DueClaim, Cursor), StoreError> {
        self.look_at_due(merchant, whole(due_by), after, limit).await
    }
    async fn peek_open(
        &self,
        merchant: MerchantId,
        due_by: DateTime<Utc>,
        after: &Cursor,
        limit: u32,
    ) -> Result<(Vec<OpenCharge>, Cursor), StoreError> {
        self.look_at_open(merchant, whole(due_by), after, limit).await
    }
    async fn next_wake(&self, merchant: MerchantId) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.soonest(merchant).await
    }
    async fn commit_intents(&self, batch: IntentBatch) -> Result<Committed, StoreError> {
        self.record_intents(&batch).await
    }
    async fn commit_verdicts(&self, verdicts: &[Verdict]) -> Result<VerdictsCommitted, StoreError> {
        self.record_verdicts(verdicts).await
    }
    async fn take_rate(&self, merchant: MerchantId, quota: Quota, want: u32) -> Result<Slice, StoreError> {
        let now = self.now().await?;
        self.take_slice(merchant, quota, want, now).await
    }
    async fn report_pressure(&self, merchant: MerchantId, pressure: Pressure) -> Result<(), StoreError> {
        let now = self.now().await?;
        self.note_pressure(merchant, pressure, now).await
    }
    async fn charge(&self, id: ChargeId) -> Result<Option<Charge>, StoreError> {
        self.one_charge(id).await
    }
    async fn list_charges(
        &self,
        filter: &ChargeFilter,
        after: &Cursor,
        limit: u64,
    ) -> Result<Page<Charge>, StoreError> {
        self.page_of_charges(filter, after, limit).await
    }
    async fn list_attempts(&self, id: ChargeId) -> Result<Vec<Listed<AttemptRecord>>, StoreError> {
        self.attempts_of(id).await
    }
    async fn timeline(&self, id: ChargeId) -> Result<Vec<TimelineEntry>, StoreError> {
        self.read_timeline(id).await
    }
    async fn totals(&self) -> Result<Totals, StoreError> {
        self.sum_up("").await
    }
    async fn attention(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        // Both halves stand on partial indexes: this reads what is open, however long the history.
        let mut open = BTreeMap::new();
        for ((word, _), (count, _)) in self.sum_up("WHERE next_at IS NOT NULL OR state = 'parked'").await? {
            *open.entry(word).or_default() += count;
        }
        Ok(open)
    }
    async fn record_run(
        &self,
        kind: &str,
        as_of: DateTime<Utc>,
        at: DateTime<Utc>,
        hash: &str,
        items: u64,
    ) -> Result<(), StoreError> {
        self.keep_run(kind, [whole(as_of), whole(at)], hash, items).await
    }
    async fn lives(&self, ids: &[SubscriptionId]) -> Result<Vec<Life>, StoreError> {
        self.read_lives(ids).await
    }
    async fn recorded(&self, due: DueBetween, after: &Cursor, limit: u64) -> Result<Page<Booked>, StoreError> {
        self.page_of_recorded(due, after, limit).await
    }
}
