//! The gateway's port with a scenario before it: each submission first tells the sandbox what its method does this time, and
//! everything else (answers, states, days, the ledger) is the sandbox's own.
//!
//! The method is told under a lock that is held until the submission was answered, so that another charge of the same
//! subscription, sent at the same moment, meets its own fate and not this one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use autopay::clock::TurnedClock;
use autopay::gateway::CcgGateway;
use autopay::ports::captures::Placed;
use autopay::ports::{Clock as _, Gateway, Observation, Question, Recorded};
use chrono::{DateTime, TimeDelta, Utc};
use domain::attempt::{Body, Intent};
use domain::authorization::OrderKind;
use domain::charge::Charge;
use domain::id::{Key, PlanId, SubscriptionId};
use domain::money::Money;
use domain::plan::Plan;
use domain::subscription::{Method, MethodKind, Subscription};
use domain::verdict::DeclineClass;
use sandbox::{Behaviour, DeclineCode, Sandbox};
use uuid::Uuid;

use crate::scenario::{Fate, Scenario, Who};

/// How many submissions of different methods may be told apart at once.
const LOCKS: u128 = 64;

/// The port.
pub struct Bank {
    inner: CcgGateway,
    sandbox: Arc<Sandbox>,
    clock: Arc<TurnedClock>,
    scenario: Arc<Scenario>,
    seed: u64,
    methods: BTreeMap<SubscriptionId, (PlanId, MethodKind)>,
    locks: Vec<tokio::sync::Mutex<()>>,
    /// Payments that a bank will take back, and when that is told.
    news: Mutex<BTreeMap<(DateTime<Utc>, String), Key>>,
}

impl std::fmt::Debug for Bank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bank").field("scenario", &self.scenario.name).field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Bank {
    /// The port before a sandbox, for these subscriptions.
    #[must_use]
    pub fn new(
        inner: CcgGateway,
        sandbox: Arc<Sandbox>,
        clock: Arc<TurnedClock>,
        (scenario, seed): (Arc<Scenario>, u64),
        subscriptions: &[Subscription],
    ) -> Self {
        let methods = subscriptions
            .iter()
            .filter_map(|row| Some((row.id.clone(), (row.plan.clone(), row.method.as_ref()?.kind))))
            .collect();
        let locks = (0..LOCKS).map(|_| tokio::sync::Mutex::default()).collect();
        Self { inner, sandbox, clock, scenario, seed, methods, locks, news: Mutex::default() }
    }

    /// When the next payment is taken back that was paid before, if one will be.
    #[must_use]
    pub fn next_news(&self) -> Option<DateTime<Utc>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).keys().next().map(|(at, _)| *at)
    }

    /// The keys of the payments that were taken back by this moment; each is told once.
    #[must_use]
    pub fn take_news(&self, now: DateTime<Utc>) -> Vec<Key> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        while let Some(first) = news.first_entry().filter(|first| first.key().0 <= now) {
            taken.push(first.remove());
        }
        taken
    }

    fn lock_of(&self, method: Uuid) -> Option<&tokio::sync::Mutex<()>> {
        self.locks.get(usize::try_from(method.as_u128() % LOCKS).unwrap_or(0))
    }
}

/// What the sandbox's method does to show a fate.
fn behaviour(method: MethodKind, fate: Fate, scenario: &Scenario) -> Behaviour {
    let days = Some(scenario.returns.after_days);
    match (method, fate) {
        (MethodKind::Card, Fate::Pays | Fate::TakenBack(_)) => Behaviour::Pays,
        (MethodKind::BankAccount, Fate::Pays) => Behaviour::AchSettles { days },
        (MethodKind::BankAccount, Fate::TakenBack(code)) => {
            Behaviour::AchReturnedLate { days: Some(scenario.returns.late_after_days), code }
        }
        (_, Fate::Returned(code)) => Behaviour::AchReturned { days, code },
        (_, Fate::Declined(class)) => declines(class),
    }
}

/// A decline that autopay reads as this class.
fn declines(class: DeclineClass) -> Behaviour {
    match class {
        DeclineClass::Never => Behaviour::DeclinesWith(DeclineCode::StolenCard),
        DeclineClass::NewData => Behaviour::DeclinesWith(DeclineCode::ExpiredCard),
        DeclineClass::Contact => Behaviour::DeclinesWith(DeclineCode::DoNotHonor),
        DeclineClass::LaterFunds => Behaviour::DeclinesWith(DeclineCode::InsufficientFunds),
        DeclineClass::LaterTechnical => Behaviour::DeclinesWith(DeclineCode::ProcessingError),
        DeclineClass::Unclassified => Behaviour::DeclinesPlainly,
        // A part where the plan takes one, and the want of funds where it takes all or nothing.
        DeclineClass::Partial => Behaviour::ApprovesPart { percent: 50 },
    }
}

#[async_trait]
impl Gateway for Bank {
    fn compose(
        &self,
        charge: &Charge,
        subscription: &Subscription,
        plan: &Plan,
        method: &Method,
        key: Key,
    ) -> Result<Body, String> {
        self.inner.compose(charge, subscription, plan, method, key)
    }

    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        let (charge, value) = (&intent.charge, intent.value());
        let Some((plan, method)) = self.methods.get(&charge.subscription) else {
            return self.inner.submit(intent).await;
        };
        let who = Who { plan, method: *method };
        let fate = self.scenario.fate(self.seed, who, &charge.subscription, charge.cycle, value.number);
        let _told = match self.lock_of(value.method.0) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        self.sandbox.set_method(value.method.0, behaviour(*method, fate, &self.scenario));
        let answer = self.inner.submit(intent).await;
        if matches!(fate, Fate::TakenBack(_)) {
            let days = i64::from(self.scenario.returns.after_days) + i64::from(self.scenario.returns.late_after_days);
            let at = self.clock.now() + TimeDelta::days(days);
            let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
            // Submitted once more, because nobody answered, it is one payment: the one that was made last.
            news.retain(|_, key| *key != value.key);
            news.insert((at, value.key.to_string()), value.key);
        }
        answer
    }

    async fn ask(&self, question: &Question) -> Observation {
        self.inner.ask(question).await
    }

    fn compose_order(&self, kind: OrderKind, amount: Money) -> Result<Body, String> {
        self.inner.compose_order(kind, amount)
    }

    async fn settle(&self, order: &Recorded<Placed>) -> Observation {
        self.inner.settle(order).await
    }
}
