//! A world to tell stories in: a clock that is turned, a store, a gateway that misbehaves on request, an engine.
//!
//! When it ends it proves that the books balance: no obligation with two successes, every cent at the gateway known here,
//! nothing unknown without a date to ask, submissions at the gateway never more than recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use autopay::clock::TurnedClock;
use autopay::engine::{Engine, RunReport, Settings};
use autopay::gateway::CcgGateway;
use autopay::ports::{Applied, CatalogChange, ChargeFilter, Clock as _, Store};
use autopay::store::{DatabaseStore, DatabaseUrl, MemoryStore, Pool, migrate, open};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::agenda::enrol;
use domain::charge::{Charge, Limits, State};
use domain::id::{Environment, MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use domain::plan::{AmountSpec, Plan, PlanSpec, ScheduleSpec};
use domain::rules::Permit;
use domain::subscription::{Consent, Customer, Method, MethodKind, Subscription, SubscriptionStatus};
use domain::terms::Terms;
use sandbox::{Behaviour, Options, Sandbox, SandboxClock};

use crate::migrated;
use crate::postgres::TestDatabase;

pub(crate) const MERCHANT: MerchantId = MerchantId(sandbox::DEFAULT_MERCHANT);

/// Which store a story is told on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Memory,
    Sqlite,
    Postgres,
}

/// What a store needs kept alive beside it.
pub(crate) enum Keep {
    Nothing,
    Folder(#[expect(dead_code, reason = "kept for its Drop")] tempfile::TempDir),
    Database(#[expect(dead_code, reason = "kept for its Drop")] TestDatabase),
}

/// A fresh store of a kind; `None` where PostgreSQL is not to be had.
pub(crate) async fn fresh_store(
    backend: Backend,
    clock: Arc<TurnedClock>,
    test: &str,
) -> Option<(Arc<dyn Store>, Keep, String)> {
    match backend {
        Backend::Memory => Some((Arc::new(MemoryStore::new(clock)), Keep::Nothing, String::new())),
        Backend::Sqlite => {
            let folder = tempfile::tempdir().unwrap();
            let url = migrated::sqlite(&folder.path().join("autopay.db"));
            Some((database_store(&url, clock).await, Keep::Folder(folder), url))
        }
        Backend::Postgres => {
            let database = TestDatabase::migrated(test).await?;
            let url = database.url.clone();
            Some((database_store(&url, clock).await, Keep::Database(database), url))
        }
    }
}

pub(crate) async fn database_store(url: &str, clock: Arc<TurnedClock>) -> Arc<dyn Store> {
    let url = DatabaseUrl::parse(url).unwrap();
    migrate(&url).await.unwrap();
    Arc::new(DatabaseStore::new(open(&url, Pool::engine(4)).await.unwrap(), clock))
}

pub(crate) fn client(sandbox: &Sandbox) -> ccg::Client {
    let config = ccg::Config {
        base_url: sandbox.url(),
        token_url: sandbox.token_url(),
        client_id: sandbox::DEFAULT_CLIENT_ID.to_owned(),
        client_secret: sandbox::DEFAULT_CLIENT_SECRET.to_owned().into(),
        merchant_id: sandbox::DEFAULT_MERCHANT,
        scope_prefix: "financial/commerce/nonprodcheckout".to_owned(),
        time_limit: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(2),
        ..ccg::Config::default()
    };
    ccg::Client::new(config).unwrap()
}

pub(crate) struct World {
    pub(crate) clock: Arc<TurnedClock>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    backend: Backend,
    url: String,
    _keep: Keep,
    /// Stories that end with something left to a person say so.
    pub(crate) may_end_unknown: bool,
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// One story on each store.
macro_rules! everywhere {
    ($($story:ident;)*) => {
        mod in_memory { $(#[tokio::test] async fn $story() { Box::pin(super::$story(crate::world::Backend::Memory)).await; })* }
        mod on_sqlite { $(#[tokio::test] async fn $story() { Box::pin(super::$story(crate::world::Backend::Sqlite)).await; })* }
        mod on_postgresql { $(#[tokio::test] async fn $story() { Box::pin(super::$story(crate::world::Backend::Postgres)).await; })* }
    };
}
pub(crate) use everywhere;

pub(crate) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub(crate) fn settings(limits: &Limits) -> Settings {
    Settings {
        environment: Environment::parse("test").unwrap(),
        merchant: MERCHANT,
        limits: limits.clone(),
        batch: 50,
        in_flight: 16,
        quota: None,
        settle_wait: Duration::from_millis(1),
        heartbeat: Duration::from_secs(1),
        brakes: None,
        // The stories of notices say their own.
        assume_notices: true,
    }
}

/// A plan in a few words: `every`, zone, hour, price.
pub(crate) fn plan(id: &str, every: &str, zone: &str, charge_at: &str, price: &str) -> PlanSpec {
    PlanSpec {
        id: id.to_owned(),
        name: format!("Plan {id}"),
        kind: "recurring".to_owned(),
        status: "active".to_owned(),
        schedule: ScheduleSpec {
            every: every.to_owned(),
            time_zone: zone.to_owned(),
            charge_at: charge_at.to_owned(),
            // The stories of downtime tell what is owed; those of the other rules say their own.
            catch_up: Some("all".to_owned()),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".to_owned(), value: Some(price.to_owned()), ..AmountSpec::default() },
        ..PlanSpec::default()
    }
}

pub(crate) fn card(behaviour: Behaviour, n: u64) -> Option<Method> {
    Some(Method { id: PaymentMethodId(sandbox::method_id(behaviour, n)), kind: MethodKind::Card, consent: None })
}

/// A bank account with its consent.
pub(crate) fn bank(behaviour: Behaviour, n: u64) -> Option<Method> {
    let consent = Consent { id: "terms-2027-01".to_owned(), at: at("2026-12-01T10:00:00Z"), channel: "WEB".to_owned() };
    Some(Method {
        id: PaymentMethodId(sandbox::method_id(behaviour, n)),
        kind: MethodKind::BankAccount,
        consent: Some(consent),
    })
}

/// A subscription that has not begun yet.
pub(crate) fn subscriber(id: &str, plan: &str, start_on: &str, method: Option<Method>) -> Subscription {
    Subscription {
        id: SubscriptionId::parse(id).unwrap(),
        merchant: MERCHANT,
        plan: PlanId::parse(plan).unwrap(),
        customer: Customer { enterprise_id: Some("1001".to_owned()), ..Customer::default() },
        method,
        second_method: None,
        backups: Vec::new(),
        start_on: day(start_on),
        anchor_day: None,
        zone: None,
        amount: None,
        end_on: None,
        terms: Terms::default(),
        owed_until: None,
        status: SubscriptionStatus::Active,
        next_cycle: 0,
        next_due_at: None,
        amendments: domain::subscription::Amendments::default(),
    }
}

impl World {
    /// A world that begins at a moment; `None` where its store is not to be had.
    pub(crate) async fn begin(backend: Backend, now: &str, test: &str) -> Option<Self> {
        Self::begin_with(backend, now, test, Options::default()).await
    }

    pub(crate) async fn begin_with(backend: Backend, now: &str, test: &str, options: Options) -> Option<Self> {
        let clock = Arc::new(TurnedClock::new(at(now)));
        let (store, keep, url) = fresh_store(backend, clock.clone(), test).await?;
        Some(Self::begin_around(backend, clock, (store, keep, url), options).await)
    }

    /// A world around a store that others hold, too.
    pub(crate) async fn begin_around(
        backend: Backend,
        clock: Arc<TurnedClock>,
        (store, keep, url): (Arc<dyn Store>, Keep, String),
        options: Options,
    ) -> Self {
        let options = Options { clock: SandboxClock::turned(clock.now()), ..options };
        let sandbox = sandbox::start(options).await.unwrap();
        let limits = Limits::default();
        let gateway = Arc::new(CcgGateway::new(client(&sandbox), MERCHANT));
        let engine = Engine::new(store.clone(), gateway, clock.clone(), settings(&limits));
        Self { clock, store, sandbox: Some(sandbox), engine, limits, backend, url, _keep: keep, may_end_unknown: false }
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) async fn apply(&self, specs: &[PlanSpec]) -> Applied {
        let plans = specs.iter().map(|spec| (spec.clone(), Plan::from_spec(spec, 0).unwrap())).collect();
        self.store.apply(&CatalogChange { plans, policies: Vec::new() }, "test", self.now()).await.unwrap()
    }

    /// Enrols subscriptions as an import does.
    pub(crate) async fn enrol(&self, mut rows: Vec<Subscription>) {
        let catalog = self.store.catalog().await.unwrap();
        for row in &mut rows {
            let (cycle, due) = enrol(&catalog.plans[&row.plan], row, self.now()).unwrap();
            (row.next_cycle, row.next_due_at) = (cycle, due);
        }
        self.store.import(&rows, "test", self.now()).await.unwrap();
    }

    /// Turns both clocks.
    pub(crate) fn turn(&self, by: TimeDelta) {
        self.clock.advance(by);
        self.sandbox().clock().advance(by.to_std().unwrap());
    }

    pub(crate) fn turn_to(&self, moment: &str) {
        self.turn(at(moment).signed_duration_since(self.now()));
    }

    /// One pass now.
    pub(crate) async fn run(&self) -> RunReport {
        self.engine.run_once().await.unwrap()
    }

    /// Runs whenever something is due until `moment`, as a process that never sleeps long would.
    pub(crate) async fn run_until(&self, moment: &str) {
        let end = at(moment);
        loop {
            self.run().await;
            let next = self.store.next_wake(MERCHANT).await.unwrap().filter(|next| *next <= end);
            let Some(next) = next else { break };
            // A held row stays due: never stand still.
            let step = next.signed_duration_since(self.now()).max(TimeDelta::minutes(1));
            self.turn(step);
        }
        if self.now() < end {
            self.turn(end.signed_duration_since(self.now()));
        }
    }

    /// Runs at the very moment at which something falls due, until `moment`, as a process with an endless patience would.
    /// What stays due (a hold, a lease) is looked at again every `idle`.
    pub(crate) async fn live_until(&self, moment: DateTime<Utc>, idle: TimeDelta) {
        loop {
            // What only waits is released at the end of each run: it alone is no reason to look again at once.
            let report = self.run().await;
            let busy = report.items > report.waiting;
            let Some(next) = self.store.next_wake(MERCHANT).await.unwrap() else { break };
            if next <= self.now() && busy {
                continue;
            }
            let next = if next > self.now() { next } else { self.next_after_now().await.min(self.now() + idle) };
            if next > moment {
                break;
            }
            self.turn(next.signed_duration_since(self.now()));
        }
        if self.now() < moment {
            self.turn(moment.signed_duration_since(self.now()));
        }
    }

    /// When something falls due behind what stays due, or may be tried again by the rules of its network.
    async fn next_after_now(&self) -> DateTime<Utc> {
        let rows = self.store.subscriptions(None, None, 1_000_000).await.unwrap();
        let charges = self.charges().await;
        let due = rows.iter().filter_map(|row| row.subscription.next_due_at);
        let tries = charges.iter().filter_map(|charge| charge.state.next_at());
        let methods = rows.iter().flat_map(|row| [&row.subscription.method, &row.subscription.second_method]);
        let methods: Vec<PaymentMethodId> = methods.flatten().map(|method| method.id).collect();
        let wallet = self.store.wallet(&methods).await.unwrap();
        let allowed = wallet.values().filter_map(|known| match known.permit(self.now()) {
            Permit::NotBefore { at, .. } => Some(at),
            Permit::Tries { .. } | Permit::Never { .. } => None,
        });
        let later = due.chain(tries).chain(allowed).filter(|at| *at > self.now()).min();
        later.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// The engine again, with other settings.
    pub(crate) fn resettle(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.engine.settings().clone();
        change(&mut settings);
        let gateway = Arc::new(CcgGateway::new(client(self.sandbox()), MERCHANT));
        self.engine = Engine::new(self.store.clone(), gateway, self.clock.clone(), settings);
    }

    /// Where the store is, for those who reach behind it; empty in memory.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The process is gone and comes back on the same store: nothing but the store survives.
    pub(crate) async fn restart(&mut self) {
        if self.backend != Backend::Memory {
            self.store = database_store(&self.url, self.clock.clone()).await;
        }
        let gateway = Arc::new(CcgGateway::new(client(self.sandbox()), MERCHANT));
        self.engine = Engine::new(self.store.clone(), gateway, self.clock.clone(), settings(&self.limits));
    }

    pub(crate) async fn charges(&self) -> Vec<Charge> {
        self.store.charges(&ChargeFilter::default(), &None, 1_000_000).await.unwrap()
    }

    pub(crate) async fn charges_of(&self, id: &str) -> Vec<Charge> {
        let filter = ChargeFilter { subscription: Some(SubscriptionId::parse(id).unwrap()), ..ChargeFilter::default() };
        self.store.charges(&filter, &None, 10_000).await.unwrap()
    }

    /// Every charge with its complete history, as `date word: event, event …`.
    pub(crate) async fn story(&self, id: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for charge in self.charges_of(id).await {
            lines.push(format!("{} {} {}", charge.due_on, charge.amount.plain(), charge.state.word()));
            for entry in self.store.timeline(charge.id).await.unwrap() {
                let mut words = entry.detail.split_whitespace();
                let attempt: Vec<&str> = words.by_ref().take(2).collect();
                let how = words.next().filter(|_| entry.actor == "gateway").unwrap_or_default();
                let line =
                    format!("  {} {} {} {how}", entry.at.format("%m-%d %H:%M:%S"), attempt.join(" "), entry.event);
                lines.push(line.trim_end().to_owned());
            }
        }
        lines
    }

    /// Keys of attempts that were collected and taken back before the charge was asked for again.
    async fn gone_before_another_try(&self) -> BTreeSet<String> {
        let mut gone = BTreeSet::new();
        for charge in self.charges().await {
            let attempts = self.store.attempts(charge.id).await.unwrap();
            let went = attempts.into_iter().filter(|one| one.state == "succeeded" && one.class.is_some());
            gone.extend(went.filter(|one| one.number < charge.tries.attempt).map(|one| one.key.to_string()));
        }
        gone
    }

    /// The proof at the end of every story.
    pub(crate) async fn balance(mut self) {
        let ledger = self.sandbox().ledger();
        let mut successes: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut collected: BTreeMap<(String, String), i64> = BTreeMap::new();
        let gone = self.gone_before_another_try().await;
        for success in ledger.successes().filter(|success| !gone.contains(&success.key)) {
            let obligation = (success.metadata["subscription"].clone(), success.metadata["cycle"].clone());
            *successes.entry(obligation.clone()).or_default() += 1;
            *collected.entry(obligation).or_default() += success.amount_minor;
        }
        let doubles: Vec<_> = successes.iter().filter(|(_, count)| **count > 1).collect();
        assert!(doubles.is_empty(), "charged twice: {doubles:?}");
        let submitted = ledger.submissions_by_key();
        for charge in self.charges().await {
            let obligation = (charge.subscription.to_string(), charge.cycle.to_string());
            let paid = charge.state.word() == "paid";
            let there = collected.get(&obligation).copied();
            let booked = match &charge.state {
                State::Paid { collected, .. } => collected.minor(),
                _ => 0,
            };
            // What a bank took back was collected first: both sides keep that.
            if !self.may_end_unknown && charge.state.word() != "returned" {
                assert_eq!(
                    paid.then_some(booked),
                    there,
                    "{} of {}: {:?}",
                    charge.cycle,
                    charge.subscription,
                    charge.state
                );
            }
            assert!(
                charge.state.next_at().is_some()
                    || ["paid", "returned", "failed", "skipped", "held", "outcome_unknown"]
                        .contains(&charge.state.word()),
                "nobody moves {charge:?} on"
            );
            for attempt in self.store.attempts(charge.id).await.unwrap() {
                let received = submitted.get(&attempt.key.to_string()).copied().unwrap_or(0);
                if attempt.number == charge.tries.attempt {
                    assert!(received <= u64::from(charge.tries.submissions), "{received} submissions of {charge:?}");
                }
                assert_eq!(
                    attempt.key,
                    domain::id::Key::of(
                        &self.engine.settings().environment,
                        MERCHANT,
                        &charge.subscription,
                        charge.cycle,
                        attempt.number
                    )
                );
            }
        }
        assert_eq!(self.store.differences(10).await.unwrap(), [], "the ledger says otherwise than the book");
        // Never more is taken than was set aside, and no capture changes its mind.
        let mut asked: BTreeMap<(String, String), String> = BTreeMap::new();
        for call in ledger.calls() {
            let first = asked.entry((format!("{:?}", call.kind), call.subject)).or_insert_with(|| call.sha256.clone());
            assert_eq!(*first, call.sha256, "an order went out with two bodies");
        }
        assert_eq!(ledger.keys_with_changed_bodies(), Vec::<String>::new());
        self.sandbox.take().unwrap().stop().await;
    }
}
