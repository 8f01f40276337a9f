//! Ten thousand charges live through declines, silences and people, and each of them ends or has a date.
//!
//! The bank is a function of the key: whatever is asked, and however often, a payment has one outcome. Passes are made twice a day over
//! the store in memory; after each of them every open case is looked at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use autopay::clock::TurnedClock;
use autopay::engine::{Engine, Settings};
use autopay::ports::people::PersonsNote;
use autopay::ports::{Asked, CatalogChange, ChargeFilter, Clock as _, Gateway, Observation, Question, Recorded, Store};
use autopay::store::MemoryStore;
use chrono::TimeDelta;
use domain::agenda::enrol;
use domain::attempt::{Body, Intent};
use domain::case::{Standing, case};
use domain::charge::{Charge, Limits, Ruling, State};
use domain::dunning::GaveUp;
use domain::id::{Key, PaymentMethodId};
use domain::money::Money;
use domain::plan::Plan;
use domain::subscription::{Method, MethodKind, Subscription};
use domain::verdict::{Decline, DeclineClass, NotExecuted, Seen};

use crate::world::{at, card, plan, settings, subscriber};

const LIVES: u64 = 10_000;
const BEGIN: &str = "2027-01-04T00:00:00Z";
/// Two months: the standard policy ends after 22 days, what is silent is given up after seven more.
const PASSES: u32 = 120;

/// A number drawn from a key, the same each time; `salt` draws another.
fn drawn(key: &Key, salt: u64) -> u64 {
    let (high, low) = key.0.as_u64_pair();
    let mixed = (high ^ low.rotate_left(23)).wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
}

/// A bank whose mind is made up.
#[derive(Debug)]
struct MadeUp;

impl MadeUp {
    /// What becomes of a payment, whoever asks.
    fn outcome(key: &Key, amount: Money) -> Seen {
        let declined = |class: DeclineClass| Seen::Declined(Decline { class, code: class.as_str().to_owned() });
        match drawn(key, 1) % 100 {
            0..25 => Seen::Succeeded { amount },
            25..55 => declined(DeclineClass::LaterFunds),
            55..65 => declined(DeclineClass::LaterTechnical),
            65..75 => declined(DeclineClass::Unclassified),
            75..84 => declined(DeclineClass::Contact),
            84..88 => declined(DeclineClass::Never),
            88..92 => declined(DeclineClass::NewData),
            92..94 => Seen::Declined(Decline { class: DeclineClass::Never, code: "R07".to_owned() }),
            // Nobody ever learns.
            94..96 => Seen::Silent,
            _ => Seen::Mismatch,
        }
    }

    fn said(asked: Asked, seen: Seen, key: &Key) -> Observation {
        Observation {
            asked,
            seen,
            payment_id: Some(key.to_string()),
            http_status: None,
            gateway_status: None,
            detail: None,
            body_sha256: None,
            request_id: None,
        }
    }
}

#[async_trait]
impl Gateway for MadeUp {
    fn compose(&self, charge: &Charge, _: &Subscription, _: &Plan, _: &Method, key: Key) -> Result<Body, String> {
        let text = format!("{key} {}", charge.amount.minor());
        Ok(Body { sha256: text.clone(), text })
    }

    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        let Intent { key, amount, .. } = intent.value();
        let submissions = u64::from(intent.charge.tries.submissions);
        let seen = match drawn(key, 2 + submissions) % 20 {
            0 => Seen::Silent,
            1 => Seen::NotExecuted { why: NotExecuted::RateLimited, retry_after: None },
            2 => Seen::Accepted { settles_in_days: false },
            _ => Self::outcome(key, *amount),
        };
        Self::said(Asked::Submit, seen, key)
    }

    async fn ask(&self, question: &Question) -> Observation {
        Self::said(Asked::ByKey, Self::outcome(&question.key, question.amount), &question.key)
    }
}

struct Lives {
    store: Arc<dyn Store>,
    clock: Arc<TurnedClock>,
    engine: Engine,
}

impl Lives {
    async fn begin() -> Self {
        let clock = Arc::new(TurnedClock::new(at(BEGIN)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let spec = plan("gold", "1 year", "America/New_York", "06:00", "79.00");
        let understood = Plan::from_spec(&spec, 1).unwrap();
        let change = CatalogChange { plans: vec![(spec, understood.clone())], policies: Vec::new() };
        store.apply(&change, "test", clock.now()).await.unwrap();
        let rows = (0..LIVES).map(|n| {
            let start = format!("2027-01-{:02}", 5 + n % 10);
            let method = Method {
                id: PaymentMethodId(uuid::Uuid::from_u128(u128::from(n) + 1)),
                kind: MethodKind::Card,
                consent: None,
            };
            let mut row = subscriber(&format!("s{n:05}"), "gold", &start, Some(method));
            (row.next_cycle, row.next_due_at) = enrol(&understood, &row, clock.now()).unwrap();
            row
        });
        let rows: Vec<Subscription> = rows.collect();
        store.import(&rows, "test", clock.now()).await.unwrap();
        let limits = Limits::default();
        let settings = Settings { batch: 2_000, in_flight: 64, settle_wait: Duration::ZERO, ..settings(&limits) };
        let engine = Engine::new(store.clone(), Arc::new(MadeUp), clock.clone(), settings);
        Self { store, clock, engine }
    }

    async fn charges(&self) -> Vec<Charge> {
        self.store.charges(&ChargeFilter::default(), &None, u64::MAX).await.unwrap()
    }

    /// People do something about every hundredth case that goes on.
    async fn people(&self, pass: u32, charges: &[Charge]) {
        let note = PersonsNote { by: "ann".to_owned(), action: "charge.ruled", detail: "by lot".to_owned() };
        for charge in charges {
            let lot = drawn(&Key(charge.id.0), 1_000 + u64::from(pass)) % 1_000;
            if !matches!(charge.state, State::Failing { .. } | State::Failed { .. }) || lot >= 8 {
                continue;
            }
            let until = self.clock.now() + TimeDelta::days(2);
            // What a state does not allow is refused, and that is all.
            drop(match lot {
                0..3 => self.engine.rule(charge.id, Ruling::TryNow, &note).await,
                3 => self.engine.rule(charge.id, Ruling::WriteOff, &note).await,
                4 => self.engine.rule(charge.id, Ruling::PutOff { until }, &note).await,
                5 => self.engine.rule(charge.id, Ruling::GiveUp { why: GaveUp::Stopped }, &note).await,
                6 => {
                    self.store.cancel(&charge.subscription, "ann", self.clock.now()).await.unwrap();
                    continue;
                }
                _ => {
                    let view = self.store.subscription(&charge.subscription).await.unwrap().unwrap();
                    let mut row = view.subscription;
                    row.method = card(sandbox::Behaviour::Pays, 50_000 + drawn(&Key(charge.id.0), 7));
                    self.store.import(&[row], "ann", self.clock.now()).await.unwrap();
                    continue;
                }
            });
        }
    }
}

/// No case without a next step, an end and an action; neither is any of them out of order.
fn every_open_case_has_a_next_step(charges: &[Charge]) -> usize {
    let mut open = 0;
    for charge in charges {
        let case = case(charge);
        if matches!(charge.state, State::Failing { .. }) {
            assert!(case.is_some(), "{charge:?} fails and is no case");
        }
        let Some(case) = case else { continue };
        assert_eq!(charge.tries.episode.as_ref().map(|episode| episode.number), Some(case.number));
        match case.standing {
            Standing::Open { next_step_at, .. } => {
                open += 1;
                assert!(case.opened_at <= next_step_at, "{charge:?}");
                assert!(next_step_at <= case.ends_at, "{charge:?}");
            }
            Standing::Ended { at, .. } => assert!(at >= case.opened_at, "{charge:?}"),
        }
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_lives_end_or_have_a_date() {
    let lives = Lives::begin().await;
    let mut most_open = 0;
    for pass in 0..PASSES {
        lives.engine.run_once().await.unwrap();
        let charges = lives.charges().await;
        most_open = most_open.max(every_open_case_has_a_next_step(&charges));
        // People stop meddling a month before the end.
        if pass < PASSES / 2 {
            lives.people(pass, &charges).await;
        }
        lives.clock.advance(TimeDelta::hours(12));
    }
    assert!(most_open > 3_000, "only {most_open} cases were open at once: the bank is too kind to show anything");
    let charges = lives.charges().await;
    assert_eq!(u64::try_from(charges.len()).unwrap(), LIVES);
    let mut words: BTreeMap<&str, u64> = BTreeMap::new();
    for charge in &charges {
        *words.entry(charge.state.word()).or_default() += 1;
        let is_final = matches!(charge.state, State::Paid { .. } | State::Failed { .. } | State::Skipped { .. });
        let with_a_person = matches!(charge.state, State::Parked { .. });
        assert!(is_final || with_a_person, "two months later: {charge:?}");
        // Each case was told to begin and to end exactly once; a twentieth of them is looked at.
        let Some(case) = case(charge).filter(|_| drawn(&Key(charge.id.0), 99).is_multiple_of(20)) else { continue };
        let told = lives.store.case_story(charge.id).await.unwrap();
        let count = |event: &str| told.iter().filter(|entry| entry.event == event).count();
        let number = usize::from(case.number);
        let expected = (number, number - usize::from(case.is_open()));
        assert_eq!((count("dunning.case.opened"), count("dunning.case.ended")), expected, "{told:#?}");
    }
    for word in ["paid", "failed", "skipped", "outcome_unknown"] {
        assert!(words.get(word).is_some_and(|count| *count > 50), "{word}: {words:?}");
    }
    assert_eq!(words.get("failing"), None, "{words:?}");
}
