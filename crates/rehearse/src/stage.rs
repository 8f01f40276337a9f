//! Lives through the months: turns both clocks to the next moment at which anything falls due, and lets the engine run.
//!
//! What is played here for the world outside: the gateway goes away and comes back, banks tell of debits that they take back, and
//! whoever ships captures what is set aside at once. Everything else is the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use autopay::clock::TurnedClock;
use autopay::engine::{Engine, Settings};
use autopay::gateway::CcgGateway;
use autopay::ports::together::TogetherStore as _;
use autopay::ports::webhooks::{About, Arrived, Decision, Inbox as _, IntakeBatch, News, NewsKind, Subject};
use autopay::ports::{CatalogChange, ChargeFilter, Claimed, Clock as _, Cursor, Store};
use autopay::store::MemoryStore;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::charge::{Charge, Limits, State};
use domain::id::{ChargeId, Environment, Key, SubscriptionId};
use domain::plan::{Catalog, Mode};
use domain::subscription::Subscription;
use sandbox::{Faults, LateReturn, Options, PaymentRecord, Sandbox, SandboxClock, Switches};

use crate::bank::Bank;
use crate::book::{Book, MERCHANT};
use crate::problem::Stop;
use crate::scenario::{Away, Scenario};

/// Days after the window in which its last cycles may still fall due: the widest zones, and business days put off.
const LATEST_DUE: u64 = 7;
/// How often it is asked, after the window, whether anything of it is still under way.
const LOOK_EVERY: TimeDelta = TimeDelta::days(1);
/// Days after the last try in which a debit ends or a lost answer is given up.
const PATIENCE: u64 = 30;
/// What stays due without being done is looked at again after this time.
const IDLE: TimeDelta = TimeDelta::hours(1);
/// Passes at one moment; more mean that the clock would never move on.
const MOST_PASSES: u32 = 1_000;
/// Rows read at once.
const PAGE: u64 = 10_000;
/// A whole call, in real time; well inside a lease.
const TIME_LIMIT: Duration = Duration::from_secs(40);

/// What a rehearsal is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// First day of the window.
    pub from: NaiveDate,
    /// Its last day.
    pub until: NaiveDate,
    /// What decides the luck.
    pub seed: u64,
    /// What the bank will say.
    pub scenario: Arc<Scenario>,
    /// Requests at the gateway at once; changes nothing but the time it takes.
    pub in_flight: usize,
}

/// A rehearsal that was lived through.
#[derive(Debug)]
pub struct Lived {
    /// When it ended.
    pub end: DateTime<Utc>,
    /// Plans and policies.
    pub catalog: Catalog,
    /// Every charge, by due instant, those after the window too.
    pub charges: Vec<Charge>,
    /// The subscriptions as they entered, with their state at the end.
    pub subscriptions: Vec<(Subscription, Subscription)>,
    /// Which charge collected which others: by the charge that was collected.
    pub collected_by: BTreeMap<ChargeId, ChargeId>,
    /// Every payment at the gateway, by key.
    pub payments: Vec<PaymentRecord>,
    /// What each payment took, in minor units, by obligation; one line for each success.
    pub successes: BTreeMap<(SubscriptionId, u32), Vec<i64>>,
    /// Keys whose submissions had different bodies.
    pub changed_bodies: Vec<String>,
    /// Passes of the engine.
    pub passes: u64,
}

/// Lives through a book.
///
/// # Errors
/// When the engine or the sandbox fails: nothing of the rehearsal can be used then.
pub async fn live(
    book: &Book,
    request: &Request,
    progress: &mut (dyn FnMut(DateTime<Utc>) + Send),
) -> Result<Lived, Stop> {
    let clock = Arc::new(TurnedClock::new(book.as_of));
    let options = Options {
        clock: SandboxClock::turned(book.as_of),
        seed: request.seed,
        ach_days: u32::from(request.scenario.returns.after_days),
        record_arrivals: false,
        keep_bodies: false,
        switches: Switches { late_return: LateReturn::Failed, ..Switches::default() },
        ..Options::default()
    };
    let sandbox =
        sandbox::start(options).await.map_err(|error| Stop::failed("the sandbox cannot be started", error))?;
    let sandbox = Arc::new(sandbox);
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let change = CatalogChange { plans: book.plans.plans.clone(), policies: book.plans.policies.clone() };
    store.apply(&change, "rehearsal", book.as_of).await.map_err(store_failed)?;
    store.import(&book.subscriptions, "rehearsal", book.as_of).await.map_err(store_failed)?;
    let client = client(&sandbox)?;
    let bank = Arc::new(Bank::new(
        CcgGateway::new(client, MERCHANT),
        sandbox.clone(),
        clock.clone(),
        (request.scenario.clone(), request.seed),
        &book.subscriptions,
    ));
    let environment = Environment::parse("rehearsal").map_err(|error| Stop::failed("the environment", error))?;
    let settings = Settings {
        environment,
        merchant: MERCHANT,
        limits: Limits::default(),
        batch: 500,
        in_flight: request.in_flight,
        quota: None,
        // A scenario is meant to deviate from what the book has planned.
        brakes: None,
        assume_notices: true,
        settle_wait: Duration::ZERO,
        heartbeat: Duration::from_secs(1),
    };
    let engine = Engine::new(store.clone(), bank.clone(), clock.clone(), settings);
    let catalog = store.catalog().await.map_err(store_failed)?;
    let captures = catalog.plans.values().any(|plan| plan.mode != Mode::Sale);
    let mut stage =
        Stage { clock, sandbox, store, bank, engine, scenario: request.scenario.clone(), captures, passes: 0 };
    stage.through(request.until, last_moment(&catalog, &request.scenario, request.until), progress).await?;
    stage.lived(catalog, book).await
}

fn store_failed(error: impl std::fmt::Display) -> Stop {
    Stop::failed("the copy of the book cannot be kept", error)
}

fn client(sandbox: &Sandbox) -> Result<ccg::Client, Stop> {
    let config = ccg::Config {
        base_url: sandbox.url(),
        token_url: sandbox.token_url(),
        client_id: sandbox::DEFAULT_CLIENT_ID.to_owned(),
        client_secret: sandbox::DEFAULT_CLIENT_SECRET.to_owned().into(),
        merchant_id: sandbox::DEFAULT_MERCHANT,
        scope_prefix: "financial/commerce/nonprodcheckout".to_owned(),
        time_limit: TIME_LIMIT,
        connect_timeout: TIME_LIMIT / 4,
        ..ccg::Config::default()
    };
    ccg::Client::new(config).map_err(|error| Stop::failed("the client of the sandbox", error))
}

/// The start of a day so many days later, UTC.
fn days_after(day: NaiveDate, days: u64) -> DateTime<Utc> {
    day.checked_add_days(Days::new(days)).unwrap_or(day).and_time(NaiveTime::MIN).and_utc()
}

/// When a rehearsal ends at the latest: the last retries were made, the last debits ended, the last returns came.
fn last_moment(catalog: &Catalog, scenario: &Scenario, until: NaiveDate) -> DateTime<Utc> {
    let retries =
        catalog.policies.values().map(|policy| u64::from(policy.give_up_after_days)).max().unwrap_or(0).max(24);
    let returns = &scenario.returns;
    // Each of at most ten tries of a bank account ends some days later.
    let debits = u64::from(returns.after_days) * u64::from(domain::dunning::MOST_ATTEMPTS_MAX);
    let late = if returns.late > 0 { u64::from(returns.late_after_days) } else { 0 };
    days_after(until, LATEST_DUE + retries + debits + late + PATIENCE)
}

struct Stage {
    clock: Arc<TurnedClock>,
    sandbox: Arc<Sandbox>,
    store: Arc<MemoryStore>,
    bank: Arc<Bank>,
    engine: Engine,
    scenario: Arc<Scenario>,
    captures: bool,
    passes: u64,
}

impl Stage {
    /// Until the window has passed and nothing of it is under way, or until `last`.
    async fn through(
        &mut self,
        until: NaiveDate,
        last: DateTime<Utc>,
        progress: &mut (dyn FnMut(DateTime<Utc>) + Send),
    ) -> Result<(), Stop> {
        let settled = days_after(until, LATEST_DUE);
        let (mut looked, mut here) = (None, 0_u32);
        loop {
            let now = self.clock.now();
            progress(now);
            self.weather(now);
            self.tell_returns(now).await?;
            let report = self.engine.run_once().await.map_err(|error| Stop::failed("the engine stopped", error))?;
            self.passes += 1;
            let captured = self.captures && self.capture_all().await?;
            let next = self.store.next_wake(MERCHANT).await.map_err(store_failed)?;
            let soon = next.is_some_and(|next| next <= now) && report.items > report.waiting;
            if (soon || captured) && here < MOST_PASSES {
                here += 1;
                continue;
            }
            here = 0;
            if now > settled && looked.is_none_or(|before| now - before >= LOOK_EVERY) {
                looked = Some(now);
                if !self.is_under_way(until).await? {
                    break;
                }
            }
            let next = next.map(|next| if next > now { next } else { now + IDLE });
            let edges = [next, self.scenario.next_edge(now), self.bank.next_news().filter(|at| *at > now)];
            // Without anything to come, the day after the window is next.
            let next = edges.into_iter().flatten().min().unwrap_or(settled + TimeDelta::seconds(1));
            let next =
                if now <= settled { next.min(settled + TimeDelta::seconds(1)) } else { next.min(now + LOOK_EVERY) };
            if now >= last || next <= now {
                break;
            }
            self.turn(next.min(last));
        }
        // Whatever the last pass left at the gateway.
        self.weather(self.clock.now());
        Ok(())
    }

    fn turn(&self, to: DateTime<Utc>) {
        self.clock.set(to);
        self.sandbox.clock().set(self.clock.now());
    }

    /// The gateway goes away or comes back. Its token endpoint stays: the client waits out trouble there in real time, which no turned
    /// clock shortens.
    fn weather(&self, now: DateTime<Utc>) {
        let wanted = match self.scenario.away(now) {
            None => Faults::none(),
            Some(Away::Unavailable) => {
                Faults { error_before_commit: 1.0, get_5xx: 1.0, error_status: Some(503), ..Faults::none() }
            }
            Some(Away::Silent) => Faults { cut_before_commit: 1.0, get_5xx: 1.0, ..Faults::none() },
        };
        if self.sandbox.faults() != wanted {
            self.sandbox.set_faults(wanted);
        }
    }

    /// Banks take debits back that were paid: the engine is told where to look, as a delivery of the gateway's would, and asks.
    async fn tell_returns(&self, now: DateTime<Utc>) -> Result<(), Stop> {
        let keys = self.bank.take_news(now);
        if keys.is_empty() {
            return Ok(());
        }
        for key in &keys {
            let subject = Subject { key: Some(*key), payment_id: None };
            let news = News {
                name: "PAYMENT_FAILED".to_owned(),
                kind: NewsKind::Payment,
                resource_id: None,
                merchant_transaction_id: Some(key.to_string()),
                dedupe_key: format!("returned {key}"),
                about: About::Payment { subject, unpaid: true },
            };
            let arrived = Arrived { merchant: MERCHANT, news, body: key.to_string().into_bytes(), at: now };
            self.store.keep(&arrived).await.map_err(store_failed)?;
        }
        let lease = now + TimeDelta::minutes(1);
        let most = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let claimed = self.store.claim_inbox(MERCHANT, now, lease, most).await.map_err(store_failed)?;
        let decided = claimed.into_iter().map(|item| {
            let key = item.value.body.as_deref().and_then(|body| uuid::Uuid::try_parse_ascii(body).ok()).map(Key);
            let decision = Decision::Ask { subject: Subject { key, payment_id: None }, unpaid: true };
            (Claimed { value: item.value.id, fence: item.fence }, decision)
        });
        let limits = self.engine.settings().limits.clone();
        let batch = IntakeBatch { merchant: MERCHANT, at: now, limits, decided: decided.collect() };
        self.store.settle_inbox(&batch).await.map_err(store_failed)?;
        Ok(())
    }

    /// Takes what is set aside, all of it; says whether there was anything.
    async fn capture_all(&self) -> Result<bool, Stop> {
        let filter = ChargeFilter { words: vec!["authorized".to_owned()], ..ChargeFilter::default() };
        let charges = self.store.charges(&filter, &None, PAGE).await.map_err(store_failed)?;
        let mut any = false;
        for charge in charges {
            let State::Authorized { hold, .. } = &charge.state else { continue };
            let captured = self.engine.capture(charge.id, Some(hold.amount), "rehearsal").await;
            any |= captured.map_err(|error| Stop::failed("a capture", error))?.is_ok();
        }
        Ok(any)
    }

    /// Is a charge of the window still moving, or a debit of it about to be taken back?
    async fn is_under_way(&self, until: NaiveDate) -> Result<bool, Stop> {
        let filter = ChargeFilter { until: Some(until), ..ChargeFilter::default() };
        let mut after: Cursor = None;
        loop {
            let page = self.store.list_charges(&filter, &after, PAGE).await.map_err(store_failed)?;
            after = page.next.clone();
            // What is paid is only looked at again; a debit that will be taken back is news to come.
            let moving =
                |charge: &Charge| !matches!(charge.state, State::Paid { .. }) && charge.state.next_at().is_some();
            if page.whole().iter().any(moving) {
                return Ok(true);
            }
            if after.is_none() {
                return Ok(self.bank.next_news().is_some());
            }
        }
    }

    async fn lived(self, catalog: Catalog, book: &Book) -> Result<Lived, Stop> {
        let mut charges = Vec::new();
        let mut after: Cursor = None;
        loop {
            let page = self.store.list_charges(&ChargeFilter::default(), &after, PAGE).await.map_err(store_failed)?;
            after = page.next.clone();
            charges.extend(page.whole());
            if after.is_none() {
                break;
            }
        }
        let mut subscriptions = Vec::with_capacity(book.subscriptions.len());
        for row in &book.subscriptions {
            if let Some(now) = self.store.subscription(&row.id).await.map_err(store_failed)? {
                subscriptions.push((row.clone(), now.subscription));
            }
        }
        let ledger = self.sandbox.ledger();
        let mut successes: BTreeMap<(SubscriptionId, u32), Vec<i64>> = BTreeMap::new();
        let gone = self.gone_before_another_try(&charges).await?;
        for success in ledger.successes().filter(|success| !gone.contains(&success.key)) {
            let obligation = obligation_of(&success.metadata)
                .ok_or_else(|| Stop::failed("the sandbox's ledger", "a payment names no cycle"))?;
            successes.entry(obligation).or_default().push(success.amount_minor);
        }
        Ok(Lived {
            end: self.clock.now(),
            catalog,
            collected_by: self.collected_by(&charges).await?,
            charges,
            subscriptions,
            payments: ledger.payments(),
            successes,
            changed_bodies: ledger.keys_with_changed_bodies(),
            passes: self.passes,
        })
    }
}

impl Stage {
    /// Keys of attempts that were collected and taken back before their charge was asked for again: they are no doubles.
    async fn gone_before_another_try(&self, charges: &[Charge]) -> Result<BTreeSet<String>, Stop> {
        let mut gone = BTreeSet::new();
        for charge in charges.iter().filter(|charge| charge.tries.attempt > 1) {
            let attempts = self.store.attempts(charge.id).await.map_err(store_failed)?;
            let went = attempts.into_iter().filter(|one| one.state == "succeeded" && one.class.is_some());
            gone.extend(went.filter(|one| one.number < charge.tries.attempt).map(|one| one.key.to_string()));
        }
        Ok(gone)
    }

    /// Which of these charges were collected by which others.
    async fn collected_by(&self, charges: &[Charge]) -> Result<BTreeMap<ChargeId, ChargeId>, Stop> {
        let leads: Vec<ChargeId> = charges.iter().filter(|one| one.carried.is_some()).map(|one| one.id).collect();
        let found = self.store.paid_together(&leads).await.map_err(store_failed)?;
        Ok(found.into_iter().map(|one| (one.part.charge, one.by)).collect())
    }
}

/// The subscription and the cycle that a payment is for.
#[must_use]
pub fn obligation_of(metadata: &BTreeMap<String, String>) -> Option<(SubscriptionId, u32)> {
    let subscription = SubscriptionId::parse(metadata.get("subscription")?).ok()?;
    Some((subscription, metadata.get("cycle")?.parse().ok()?))
}
