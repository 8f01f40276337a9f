//! Every reason for which trying ends (billing-rules.md §3): each writes one terminal record and tells one event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use autopay::clock::TurnedClock;
use autopay::engine::{Engine, RulingRefused};
use autopay::ports::cases::HeldPerson;
use autopay::ports::instrument::InstrumentNews;
use autopay::ports::outbox::{Delivery, Outbox};
use autopay::ports::people::PersonsNote;
use autopay::ports::{Asked, CatalogChange, Clock as _, Gateway, Observation, Question, Recorded, Store};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::{HoldKind, Scope, enrol};
use domain::attempt::{Body, Intent};
use domain::case::{Ended, Standing, case};
use domain::charge::{Charge, Limits, Ruling, SkipWhy, State};
use domain::dunning::{AtTheEnd, ExpectedValue, GaveUp, Paydays, Policy, Step, Stop, Wait};
use domain::elsewhere::TriedElsewhere;
use domain::id::{Key, PolicyId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanSpec};
use domain::rules::Outcome;
use domain::subscription::{Method, Subscription};
use domain::verdict::{Decline, DeclineClass, Seen};
use sandbox::Behaviour;

use crate::contract_outbox::{routes, telling};
use crate::world::{Backend, Keep, MERCHANT, at, bank, card, everywhere, plan, settings, subscriber};

everywhere! {
    each_reason_leaves_one_record_and_tells_one_event;
    a_kill_switch_pauses_what_fails_and_ends_it_only_with_the_policys_time;
    a_hold_about_a_person_ends_all_their_cases_and_stops_none_of_their_subscriptions;
}

/// What is done about a charge the day after its first decline.
#[derive(Debug, Clone, Copy)]
enum Act {
    Nothing,
    Cancel,
    WriteOff,
    Stop,
    /// A hold about the person.
    Person(HoldKind),
    /// A hold on what many share.
    Everybody,
    /// The plan is retired.
    Retire,
    WithoutMethod,
    Dispute,
    /// So many declines of the same card elsewhere.
    Elsewhere(u32, DeclineClass),
}

/// A way to an end: under which plan, by what answer, and what is done.
#[derive(Debug, Clone, Copy)]
struct Way {
    plan: &'static str,
    class: DeclineClass,
    code: &'static str,
    act: Act,
}

const POOR: Way =
    Way { plan: "steady", class: DeclineClass::LaterFunds, code: "insufficient_funds", act: Act::Nothing };

/// How a case comes to this end; `None` where it is none of the rule's conditions.
fn way(ended: Ended) -> Option<Way> {
    let acts = |act| Some(Way { act, ..POOR });
    let under = |plan| Some(Way { plan, ..POOR });
    let declined = |class, code| Some(Way { class, code, ..POOR });
    let debit = |class, code| Some(Way { plan: "entries", class, code, ..POOR });
    match ended {
        Ended::Paid => under("twice"),
        // The money came, and went back: the case had ended when it came.
        Ended::Returned(_) => None,
        Ended::Skipped(why) => match why {
            SkipWhy::Cancelled => acts(Act::Cancel),
            SkipWhy::WrittenOff => acts(Act::WriteOff),
            // Nothing of these was ever tried, or what was set aside went back: they are no ends of dunning.
            SkipWhy::ZeroAmount
            | SkipWhy::HoldExpired
            | SkipWhy::Missed
            | SkipWhy::Person
            | SkipWhy::Paused
            | SkipWhy::Consolidated => None,
        },
        Ended::Failed(why) => match why {
            GaveUp::HardDecline => declined(DeclineClass::Never, "stolen_card"),
            GaveUp::NewMethodNeeded => declined(DeclineClass::NewData, "expired_card"),
            GaveUp::TriesSpent => under("two"),
            GaveUp::LadderSpent => under("steady"),
            GaveUp::NextCycleDue => under("weekly"),
            GaveUp::GraceEnded => under("short"),
            GaveUp::NetworkRule => acts(Act::Elsewhere(1, DeclineClass::Never)),
            GaveUp::BudgetSpent => acts(Act::Elsewhere(40, DeclineClass::LaterFunds)),
            GaveUp::EntriesSpent => debit(DeclineClass::LaterFunds, "R01"),
            GaveUp::MustAct => debit(DeclineClass::Contact, "R08"),
            GaveUp::MandateRevoked => debit(DeclineClass::Never, "R07"),
            GaveUp::Unauthorized => debit(DeclineClass::Never, "R10"),
            GaveUp::CustomerGone => debit(DeclineClass::Never, "R14"),
            // What a person finds unpaid was never declined: it is no case.
            GaveUp::Person => None,
            GaveUp::Stopped => acts(Act::Stop),
            GaveUp::NoMethod => acts(Act::WithoutMethod),
            GaveUp::Disputed => acts(Act::Dispute),
            GaveUp::FraudHold => acts(Act::Person(HoldKind::Fraud)),
            GaveUp::LegalHold => acts(Act::Person(HoldKind::Legal)),
            GaveUp::CustomerBlocked => acts(Act::Person(HoldKind::Blocked)),
            GaveUp::PlanRetired => Some(Way { plan: "retired", act: Act::Retire, ..POOR }),
            GaveUp::KillSwitch | GaveUp::MerchantDisabled => acts(Act::Everybody),
            GaveUp::CurrencyDisabled => Some(Way { plan: "euro", act: Act::Everybody, ..POOR }),
            GaveUp::ExpectedValueNegative => under("dear"),
        },
    }
}

/// Every end there is.
fn all() -> Vec<Ended> {
    let skipped = SkipWhy::ALL.into_iter().map(Ended::Skipped);
    let failed = GaveUp::ALL.into_iter().map(Ended::Failed);
    [Ended::Paid, Ended::Returned(None)].into_iter().chain(skipped).chain(failed).collect()
}

/// Those that keep everybody back have a book of their own.
fn shares_its_book(ended: &Ended) -> bool {
    !matches!(ended, Ended::Failed(GaveUp::KillSwitch | GaveUp::MerchantDisabled))
}

/// Answers by the name of the subscription, which is that of its end.
#[derive(Debug)]
struct Bank;

impl Bank {
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

fn end_of(name: &str) -> Ended {
    let word = name.split('-').next().unwrap();
    all().into_iter().find(|ended| ended.as_str() == word).unwrap_or_else(|| panic!("no end is called {name}"))
}

#[async_trait]
impl Gateway for Bank {
    fn compose(&self, charge: &Charge, _: &Subscription, _: &Plan, _: &Method, key: Key) -> Result<Body, String> {
        let text = format!("{key} {}", charge.amount.minor());
        Ok(Body { sha256: text.clone(), text })
    }

    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        let Intent { key, amount, .. } = intent.value();
        let Way { plan, class, code, .. } = way(end_of(intent.charge.subscription.as_str())).unwrap();
        let pays = plan == "twice" && intent.charge.tries.attempt > 1;
        let decline = Decline { class, code: code.to_owned() };
        let seen = if pays { Seen::Succeeded { amount: *amount } } else { Seen::Declined(decline) };
        Self::said(Asked::Submit, seen, key)
    }

    async fn ask(&self, question: &Question) -> Observation {
        Self::said(Asked::ByKey, Seen::Silent, &question.key)
    }
}

fn policy(id: &str) -> Policy {
    let steps = |days: &[u16]| {
        let step =
            |days: &u16| Step { after: Wait::Days(*days), classes: vec![DeclineClass::LaterFunds], method: None };
        days.iter().map(step).collect()
    };
    let steady = Policy {
        id: PolicyId::parse(id).unwrap(),
        give_up_after_days: 10,
        not_past_next_due: false,
        paydays: None,
        steps: steps(&[3, 8]),
        at_the_end: AtTheEnd::PauseSubscription,
        ..Policy::standard().unwrap()
    };
    match id {
        "two" => Policy { most_attempts: 2, ..steady },
        // The second step lies behind the next due date.
        "weekly" => Policy { not_past_next_due: true, steps: steps(&[8]), ..steady },
        // The next payday is a Friday, and trying ends on the Thursday.
        "short" => Policy {
            give_up_after_days: 2,
            paydays: Some(Paydays { days: vec![domain::dunning::Payday::parse("friday").unwrap()], within_days: 0 }),
            steps: vec![Step { after: Wait::NextPayday, classes: vec![DeclineClass::LaterFunds], method: None }],
            ..steady
        },
        // The second try brings 27.65 and costs 20.00, the third brings 19.75.
        "dear" => Policy {
            expected_value: Some(ExpectedValue {
                try_costs: vec![Money::new(2_000, Currency::USD)],
                chances: ExpectedValue::ASSUMED.to_vec(),
            }),
            ..steady
        },
        "entries" => Policy { give_up_after_days: 20, steps: steps(&[3, 8, 15]), ..steady },
        _ => steady,
    }
}

const PLANS: [&str; 9] = ["steady", "twice", "two", "weekly", "short", "entries", "retired", "euro", "dear"];

fn spec(id: &str, status: &str) -> PlanSpec {
    let every = if id == "weekly" { "1 week" } else { "1 year" };
    let mut spec = plan(id, every, "UTC", "10:00", "79.00");
    spec.status = status.to_owned();
    spec.collect.dunning = Some(id.to_owned());
    if id == "euro" {
        spec.amount.currency = "EUR".to_owned();
    }
    spec
}

/// A book whose charges all fail on 5 January at 10:00.
struct Book {
    clock: Arc<TurnedClock>,
    store: Arc<dyn Store>,
    outbox: Arc<dyn Outbox>,
    engine: Engine,
    _keep: Keep,
}

impl Book {
    async fn begin(backend: Backend, test: &str, names: &[&str]) -> Option<Self> {
        let clock = Arc::new(TurnedClock::new(at("2027-01-05T09:00:00Z")));
        let (store, outbox, keep, _) = telling(backend, clock.clone(), routes(&["books"]), test).await?;
        let engine = Engine::new(store.clone(), Arc::new(Bank), clock.clone(), settings(&Limits::default()));
        let book = Self { clock, store, outbox, engine, _keep: keep };
        book.apply(PLANS.map(|id| spec(id, "active")).to_vec(), PLANS.map(policy).to_vec()).await;
        let catalog = book.store.catalog().await.unwrap();
        let rows = names.iter().zip(1_u64..).map(|(name, n)| {
            let Way { plan, .. } = way(end_of(name)).unwrap();
            let method = if plan == "entries" { bank(Behaviour::Pays, n) } else { card(Behaviour::Pays, n) };
            let mut row = subscriber(name, plan, "2027-01-05", method);
            // What is called the same up to a dash is one person's.
            row.customer.enterprise_id = Some(name.split('-').next().unwrap().to_owned());
            (row.next_cycle, row.next_due_at) = enrol(&catalog.plans[&row.plan], &row, book.now()).unwrap();
            row
        });
        book.store.import(&rows.collect::<Vec<_>>(), "test", book.now()).await.unwrap();
        book.pass_at("2027-01-05T10:00:00Z").await;
        Some(book)
    }

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn apply(&self, specs: Vec<PlanSpec>, policies: Vec<Policy>) {
        let plans = specs.into_iter().map(|spec| {
            let plan = Plan::from_spec(&spec, 0).unwrap();
            (spec, plan)
        });
        let change = CatalogChange { plans: plans.collect(), policies };
        self.store.apply(&change, "test", self.now()).await.unwrap();
    }

    async fn pass_at(&self, moment: &str) {
        self.clock.advance(at(moment).signed_duration_since(self.now()));
        self.engine.run_once().await.unwrap();
    }

    /// A pass each day at noon until so many days have passed.
    async fn pass_days(&self, days: i64) {
        for _ in 0..days {
            let noon = self.now().date_naive().succ_opt().unwrap().and_hms_opt(12, 0, 0).unwrap().and_utc();
            self.clock.advance(noon.signed_duration_since(self.now()));
            self.engine.run_once().await.unwrap();
        }
    }

    async fn subscription(&self, name: &str) -> Subscription {
        let id = SubscriptionId::parse(name).unwrap();
        self.store.subscription(&id).await.unwrap().unwrap().subscription
    }

    async fn charge(&self, name: &str) -> Charge {
        let subscription = Some(SubscriptionId::parse(name).unwrap());
        let filter = autopay::ports::ChargeFilter { subscription, ..autopay::ports::ChargeFilter::default() };
        let found = self.store.charges(&filter, &None, 10).await.unwrap();
        assert_eq!(found.len(), 1, "{name} has one charge");
        found.into_iter().next().unwrap()
    }

    async fn act(&self, name: &str, act: Act) {
        let (charge, mut row) = (self.charge(name).await, self.subscription(name).await);
        let method = row.method.as_ref().unwrap().id;
        let rule = async |ruling| {
            self.engine.rule(charge.id, ruling, &note()).await.unwrap();
        };
        match act {
            Act::Nothing => {}
            Act::Cancel => drop(self.store.cancel(&row.id, "ann", self.now()).await.unwrap()),
            Act::WriteOff => rule(Ruling::WriteOff).await,
            Act::Stop => rule(Ruling::GiveUp { why: GaveUp::Stopped }).await,
            Act::Person(kind) => {
                let done = self.store.hold_person(&row.id, kind, "told by counsel", "ann", self.now()).await.unwrap();
                assert_eq!(done, HeldPerson { held: 1, ended: 1 }, "{name}");
            }
            Act::Everybody => {
                let scope = match end_of(name) {
                    Ended::Failed(GaveUp::KillSwitch) => Scope::All,
                    Ended::Failed(GaveUp::MerchantDisabled) => Scope::Merchant(MERCHANT),
                    _ => Scope::Currency(charge.amount.currency()),
                };
                self.store.hold(&scope, "look first", "ann", self.now()).await.unwrap();
            }
            Act::Retire => self.apply(vec![spec("retired", "retired")], Vec::new()).await,
            Act::WithoutMethod => {
                row.method = None;
                self.store.import(&[row], "test", self.now()).await.unwrap();
            }
            Act::Dispute => {
                let news = InstrumentNews::Disputed { method, dispute: "dp-1".to_owned() };
                self.store.hear(&news, self.now()).await.unwrap();
            }
            Act::Elsewhere(count, class) => {
                let one = |n: u32| TriedElsewhere {
                    merchant: MERCHANT,
                    reference: format!("{name}-{n}"),
                    method,
                    at: self.now() - TimeDelta::minutes(i64::from(n) + 1),
                    became: Outcome::Declined(class),
                    code: None,
                    amount: Money::new(2_000, Currency::USD),
                    cycle: None,
                };
                self.store.keep_tries(&(0..count).map(one).collect::<Vec<_>>(), "test", self.now()).await.unwrap();
            }
        }
    }

    /// The words of the ends that the audit tells of a charge.
    async fn recorded(&self, charge: &Charge) -> Vec<String> {
        let told = self.store.case_story(charge.id).await.unwrap();
        let ends = told.into_iter().filter(|entry| entry.event == "dunning.case.ended");
        ends.map(|entry| entry.detail.split(' ').next().unwrap_or_default().to_owned()).collect()
    }

    /// The words of the ends that events tell, by charge.
    async fn told(&self) -> BTreeMap<String, Vec<String>> {
        let now = self.now();
        let claimed = self.outbox.claim_deliveries("books", now, now + TimeDelta::seconds(90), 10_000).await.unwrap();
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Delivery { kind, object, data, .. } in claimed.into_iter().map(|claim| claim.value) {
            if kind == "dunning.case.ended" {
                let data: serde_json::Value = serde_json::from_str(&data).unwrap();
                told.entry(object).or_default().push(data["why"].as_str().unwrap().to_owned());
            }
        }
        told
    }
}

fn note() -> PersonsNote {
    PersonsNote { by: "ann".to_owned(), action: "charge.ruled", detail: "by hand".to_owned() }
}

fn ended(charge: &Charge) -> Option<Ended> {
    match case(charge)?.standing {
        Standing::Ended { why, .. } => Some(why),
        Standing::Open { .. } => None,
    }
}

/// What the subscription of a case that ended so comes to under a policy that pauses it.
fn status_after(ended: Ended) -> &'static str {
    match ended {
        Ended::Skipped(SkipWhy::Cancelled) => "cancelled",
        Ended::Failed(why) => match why.stops(AtTheEnd::PauseSubscription) {
            Some(Stop::Pause | Stop::Unpaid) => "paused",
            Some(Stop::Cancel) => "cancelled",
            None => "active",
        },
        Ended::Paid | Ended::Returned(_) | Ended::Skipped(_) => "active",
    }
}

async fn each_reason_leaves_one_record_and_tells_one_event(backend: Backend) {
    let wanted: Vec<Ended> = all().into_iter().filter(|ended| way(*ended).is_some()).collect();
    let (shared, alone): (Vec<Ended>, Vec<Ended>) = wanted.into_iter().partition(shares_its_book);
    let books = alone.into_iter().map(|ended| vec![ended]).chain([shared]);
    for (n, ends) in books.enumerate() {
        let names: Vec<&str> = ends.iter().map(|ended| ended.as_str()).collect();
        let Some(book) = Book::begin(backend, &format!("stops_{n}"), &names).await else { return };
        book.pass_at("2027-01-06T10:00:00Z").await;
        for (name, ended) in names.iter().zip(&ends) {
            book.act(name, way(*ended).unwrap().act).await;
        }
        book.pass_days(25).await;
        let mut told = book.told().await;
        for (name, expected) in names.iter().zip(&ends) {
            let charge = book.charge(name).await;
            assert_eq!(ended(&charge), Some(*expected), "{name}: {}", charge.sentence());
            if let Ended::Failed(GaveUp::ExpectedValueNegative) = expected {
                assert_eq!(charge.tries.attempt, 2, "{name}: the second of three tries is the last");
            }
            assert_eq!(book.recorded(&charge).await, [*name], "one record");
            assert_eq!(told.remove(&charge.id.to_string()).unwrap_or_default(), [*name], "one event");
            assert_eq!(book.subscription(name).await.status.as_str(), status_after(*expected), "{name}");
        }
        assert_eq!(told, BTreeMap::new(), "nothing else is told to have ended");
    }
}

async fn a_kill_switch_pauses_what_fails_and_ends_it_only_with_the_policys_time(backend: Backend) {
    let name = GaveUp::KillSwitch.as_str();
    let Some(book) = Book::begin(backend, "stops_switch", &[name]).await else { return };
    // On for a week, and off: what it kept back is tried once, and the ladder goes on.
    book.act(name, Act::Everybody).await;
    book.pass_days(5).await;
    assert_eq!((book.charge(name).await.tries.attempt, ended(&book.charge(name).await)), (1, None));
    assert!(book.store.lift(&Scope::All, "ann", book.now()).await.unwrap());
    book.pass_days(1).await;
    assert_eq!((book.charge(name).await.tries.attempt, ended(&book.charge(name).await)), (2, None));
    // On again, and still on when the ten days of the policy are over.
    book.act(name, Act::Everybody).await;
    book.pass_at("2027-01-15T08:59:59Z").await;
    assert_eq!(ended(&book.charge(name).await), None);
    book.pass_at("2027-01-15T09:00:00Z").await;
    let charge = book.charge(name).await;
    assert_eq!(ended(&charge), Some(Ended::Failed(GaveUp::KillSwitch)));
    assert_eq!(book.subscription(name).await.status.as_str(), "active", "the next cycle is charged as planned");
    // Off: nothing goes on by itself, and a person may take it up.
    assert!(book.store.lift(&Scope::All, "ann", book.now()).await.unwrap());
    book.pass_days(3).await;
    assert_eq!(book.charge(name).await, charge);
    let again = book.engine.rule(charge.id, Ruling::TryNow, &note()).await.unwrap();
    assert_eq!(case(&again).unwrap().number, 2);
    // What a person ordered waits under the switch, however long.
    book.act(name, Act::Everybody).await;
    book.pass_days(20).await;
    assert!(matches!(book.charge(name).await.state, State::Failing { .. }));
}

async fn a_hold_about_a_person_ends_all_their_cases_and_stops_none_of_their_subscriptions(backend: Backend) {
    let names = ["legal_hold-1", "legal_hold-2", "ladder_spent"];
    let Some(book) = Book::begin(backend, "stops_person", &names).await else { return };
    let [first, second, other] = names;
    let scope = |name: &str| Scope::Subscription(SubscriptionId::parse(name).unwrap());
    book.store.hold(&scope(first), "look first", "bob", book.now()).await.unwrap();
    let held = async |kind| {
        let id = SubscriptionId::parse(first).unwrap();
        book.store.hold_person(&id, kind, "bankruptcy", "ann", book.now()).await.unwrap()
    };
    assert_eq!(held(HoldKind::Operator).await, HeldPerson::default(), "a hold that ends nothing is about no person");
    assert_eq!(held(HoldKind::Legal).await, HeldPerson { held: 2, ended: 2 });
    assert_eq!(held(HoldKind::Legal).await, HeldPerson { held: 0, ended: 0 }, "what is in force stays as it is");
    assert_eq!(held(HoldKind::Fraud).await, HeldPerson { held: 2, ended: 0 });
    let kinds = async || {
        let holds = book.store.holds().await.unwrap().into_iter();
        holds.map(|hold| (hold.scope.to_string(), hold.kind, hold.by)).collect::<Vec<_>>()
    };
    let by = |name: &str, kind, by: &str| (scope(name).to_string(), kind, by.to_owned());
    let (looked_at, fraud) = (by(first, HoldKind::Operator, "bob"), HoldKind::Fraud);
    let legal = [by(first, HoldKind::Legal, "ann"), by(second, HoldKind::Legal, "ann")];
    let suspected = [by(first, fraud, "ann"), by(second, fraud, "ann")];
    let all = [std::slice::from_ref(&looked_at), &legal, &suspected].concat();
    assert_eq!(kinds().await, all, "each stands for itself");
    for name in [first, second] {
        let charge = book.charge(name).await;
        assert_eq!(ended(&charge), Some(Ended::Failed(GaveUp::LegalHold)));
        assert_eq!(book.subscription(name).await.status.as_str(), "active");
        let refused = book.engine.rule(charge.id, Ruling::TryNow, &note()).await.unwrap_err();
        assert!(matches!(&refused, RulingRefused::NotNow(why) if why.contains("bankruptcy")), "{refused}");
    }
    assert_eq!(ended(&book.charge(other).await), None, "somebody else's goes on");
    // Lifted from one of them, it is lifted from all; what ended stays ended until a person takes it up.
    let why = ("no case of fraud", "ann");
    assert!(book.store.lift_because(&scope(second), Some(fraud), why, book.now()).await.unwrap());
    assert!(!book.store.lift_because(&scope(second), Some(fraud), why, book.now()).await.unwrap());
    assert_eq!(kinds().await, [std::slice::from_ref(&looked_at), &legal].concat());
    assert!(book.store.lift(&scope(second), "ann", book.now()).await.unwrap());
    assert_eq!(kinds().await, [looked_at], "what one person looks into is not another's to end");
    assert!(book.store.lift(&scope(first), "bob", book.now()).await.unwrap());
    book.pass_days(20).await;
    let charge = book.charge(first).await;
    assert_eq!((ended(&charge), charge.tries.attempt), (Some(Ended::Failed(GaveUp::LegalHold)), 1));
    book.engine.rule(charge.id, Ruling::TryNow, &note()).await.unwrap();
    book.pass_days(1).await;
    assert_eq!(book.charge(first).await.tries.attempt, 2);
}

#[test]
fn the_lists_of_reasons_are_complete_and_no_two_share_a_word() {
    fn words<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let refused = serde_json::from_str::<T>("\"no such word\"").err().unwrap().to_string();
        let listed = refused.split('`').skip(3).step_by(2);
        listed.map(ToOwned::to_owned).collect()
    }
    assert_eq!(words::<GaveUp>(), GaveUp::ALL.map(GaveUp::as_str));
    assert_eq!(words::<SkipWhy>(), SkipWhy::ALL.map(SkipWhy::as_str));
    assert_eq!(words::<HoldKind>(), HoldKind::ALL.map(HoldKind::as_str));
    let conditions: Vec<Ended> = all().into_iter().filter(|ended| way(*ended).is_some()).collect();
    let ends: BTreeSet<&str> = conditions.iter().map(|ended| ended.as_str()).collect();
    assert_eq!(ends.len(), conditions.len());
}

#[test]
fn a_currency_is_a_scope() {
    let scope: Scope = "currency:EUR".parse().unwrap();
    assert_eq!(
        (scope.to_string(), scope),
        ("currency:EUR".to_owned(), Scope::Currency(Currency::parse("EUR").unwrap()))
    );
    assert!("currency:EURO".parse::<Scope>().unwrap_err().contains("is not a scope"));
}
