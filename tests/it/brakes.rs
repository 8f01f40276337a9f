//! A run that is not what the book had planned stops before the damage, and two people let it go on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use autopay::engine::{BrakeLimits, Engine};
use autopay::gateway::CcgGateway;
use autopay::ports::brakes::Release;
use autopay::ports::people::PersonsNote;
use autopay::ports::{Gateway, Observation, Question, Recorded, Store};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::{Lift, Scope};
use domain::attempt::{Body, Intent};
use domain::charge::{Charge, Ruling};
use domain::id::{Key, PaymentMethodId};
use domain::plan::Plan;
use domain::plan::PlanSpec;
use domain::subscription::{Customer, Method, MethodKind, Subscription};
use futures_util::FutureExt as _;
use sandbox::{Behaviour, DeclineCode, Options, method_id};
use sea_orm::ConnectionTrait as _;

use crate::cli_book::{due_now, with_sandbox};
use crate::cli_support::roster;
use crate::crash::{WallTime as _, configuration, rest, serve};
use crate::world::{Backend, MERCHANT, World, client, database_store, everywhere, plan, subscriber};

everywhere! {
    a_price_with_two_zeros_too_many_charges_nobody;
    twice_the_subscriptions_of_yesterdays_book_wait_for_two_people;
    one_customer_is_not_charged_again_and_again;
    a_slice_that_is_declined_spares_the_rest;
    a_day_like_the_others_is_not_stopped;
    what_cannot_be_counted_is_neither_recorded_nor_sent;
    tries_that_people_order_are_weighed_like_new_charges;
}

fn daily(price: &str) -> PlanSpec {
    plan("gym", "1 day", "UTC", "11:00", price)
}

fn paying(n: u64, behaviour: Behaviour) -> Option<Method> {
    Some(Method { id: PaymentMethodId(method_id(behaviour, n)), kind: MethodKind::Card, consent: None })
}

/// Somebody of their own each.
fn members(ids: std::ops::Range<u64>, behaviour: Behaviour) -> Vec<Subscription> {
    let member = |n: u64| Subscription {
        customer: Customer { enterprise_id: Some(format!("{n}")), ..Customer::default() },
        ..subscriber(&format!("sub-{n:03}"), "gym", "2027-01-15", paying(n, behaviour))
    };
    ids.map(member).collect()
}

/// A book of 30 whose first day has been charged, and whose second has come.
async fn second_day(backend: Backend) -> Option<World> {
    let mut world = World::begin(backend, "2027-01-15T10:00:00Z", "brakes").await?;
    world.resettle(|settings| settings.brakes = Some(BrakeLimits::default()));
    world.apply(&[daily("79.00")]).await;
    world.enrol(members(1..31, Behaviour::Pays)).await;
    world.turn(TimeDelta::hours(1));
    let first = world.run().await;
    assert_eq!((first.paid, &first.braked), (30, &None));
    Some(world)
}

fn payments(world: &World) -> usize {
    world.sandbox().ledger().payments().len()
}

/// Two people lift what a brake set; one alone does not, however often they say so.
async fn released(world: &World) {
    let scope = Scope::Merchant(MERCHANT);
    let holds = world.store.holds().await.unwrap();
    assert_eq!(holds.len(), 1);
    assert_eq!((&holds[0].scope, &holds[0].lift), (&scope, &Lift::TwoPeople { first: None }));
    assert!(!world.store.lift(&scope, "ann", world.now()).await.unwrap(), "not the way of other holds");
    let release = async |by| world.store.release_brake(&scope, by, world.now()).await.unwrap();
    assert_eq!(release("ann").await, Release::AsksASecond);
    for again in ["ann", "Ann", " ann "] {
        assert_eq!(release(again).await, Release::SamePerson, "{again:?}");
    }
    assert_eq!(world.store.holds().await.unwrap()[0].lift, Lift::TwoPeople { first: Some("ann".to_owned()) });
    assert_eq!(release("bob").await, Release::Lifted { first: "ann".to_owned() });
    assert_eq!(release("bob").await, Release::NotInForce);
    assert_eq!(world.store.holds().await.unwrap(), []);
}

async fn a_price_with_two_zeros_too_many_charges_nobody(backend: Backend) {
    let Some(world) = second_day(backend).await else { return };
    world.apply(&[daily("7900.00")]).await;
    world.turn(TimeDelta::days(1));
    let stopped = world.run().await;
    assert_eq!((stopped.sent, stopped.waiting), (0, 30));
    let why = stopped.braked.unwrap();
    assert!(why.contains("USD 7,900.00") && why.contains("USD 79.00"), "{why}");
    assert_eq!(payments(&world), 30);
    assert_eq!(world.run().await.sent, 0, "it stays so");
    released(&world).await;
    // Whoever looked at the day and let it go on is not asked about the sum and the count of it as well.
    let went_on = world.run().await;
    assert_eq!((went_on.paid, went_on.braked), (30, None));
    world.balance().await;
}

async fn twice_the_subscriptions_of_yesterdays_book_wait_for_two_people(backend: Backend) {
    let Some(world) = second_day(backend).await else { return };
    let mut twins = members(101..131, Behaviour::Pays);
    twins.iter_mut().for_each(|twin| twin.start_on = "2027-01-16".parse().unwrap());
    world.enrol(twins).await;
    world.turn(TimeDelta::days(1));
    let stopped = world.run().await;
    let why = stopped.braked.unwrap();
    assert!(why.contains("30 were forecast") || why.contains("USD 2,370.00 were forecast"), "{why}");
    // Half as much again is within reach; nothing beyond it went out.
    assert!(payments(&world) <= 75, "{}", payments(&world));
    released(&world).await;
    assert_eq!(world.run().await.braked, None);
    assert_eq!(payments(&world), 90);
    world.balance().await;
}

async fn one_customer_is_not_charged_again_and_again(backend: Backend) {
    let Some(world) = second_day(backend).await else { return };
    let mut copies = members(201..241, Behaviour::Pays);
    copies.iter_mut().for_each(|copy| {
        copy.customer.enterprise_id = Some("7".to_owned());
        copy.start_on = "2027-01-17".parse().unwrap();
    });
    world.enrol(copies).await;
    world.turn(TimeDelta::days(1));
    assert_eq!(world.run().await.braked, None);
    let before = payments(&world);
    // The forecast of the third day was made when they were in the book: their number alone stops them.
    world.turn(TimeDelta::days(1));
    let stopped = world.run().await;
    assert!(stopped.braked.unwrap().contains("charges of one customer"));
    assert!(payments(&world) - before < 70, "{}", payments(&world) - before);
    let reason = world.store.holds().await.unwrap()[0].reason.clone();
    assert!(!reason.contains("enterprise"), "nothing about the person: {reason}");
    released(&world).await;
    world.run().await;
    assert_eq!(payments(&world) - before, 70);
    world.balance().await;
}

async fn a_slice_that_is_declined_spares_the_rest(backend: Backend) {
    let Some(mut world) = World::begin(backend, "2027-01-15T10:00:00Z", "canary").await else { return };
    world.resettle(|settings| settings.brakes = Some(BrakeLimits::default()));
    world.apply(&[daily("79.00")]).await;
    world.enrol(members(1..101, Behaviour::DeclinesWith(DeclineCode::StolenCard))).await;
    world.turn(TimeDelta::hours(1));
    let stopped = world.run().await;
    assert_eq!((stopped.failed, stopped.sent), (20, 20));
    assert_eq!(stopped.braked.unwrap(), "20 of the first 20 charges were declined, and 60 % are believable");
    assert_eq!(payments(&world), 20);
    released(&world).await;
    let went_on = world.run().await;
    assert_eq!((went_on.failed, went_on.braked), (80, None));
    world.balance().await;
}

async fn a_day_like_the_others_is_not_stopped(backend: Backend) {
    let Some(world) = second_day(backend).await else { return };
    for _ in 0..10 {
        world.turn(TimeDelta::days(1));
        let ran = world.run().await;
        assert_eq!((ran.paid, ran.braked), (30, None));
    }
    assert_eq!(world.store.holds().await.unwrap(), []);
    world.balance().await;
}

/// What a database does that takes no more counts, and how it is mended.
fn spoiled(backend: Backend) -> Option<[&'static [&'static str]; 2]> {
    match backend {
        Backend::Memory => None,
        Backend::Sqlite => Some([
            &[
                "CREATE TRIGGER no_more BEFORE UPDATE ON run_day BEGIN SELECT RAISE(ABORT, 'no more'); END",
                "CREATE TRIGGER none BEFORE INSERT ON run_day WHEN NEW.ran_charges > 0 BEGIN SELECT RAISE(ABORT, 'none'); END",
            ],
            &["DROP TRIGGER no_more", "DROP TRIGGER none"],
        ]),
        Backend::Postgres => Some([
            &["ALTER TABLE run_day ADD CONSTRAINT none CHECK (ran_charges = 0) NOT VALID"],
            &["ALTER TABLE run_day DROP CONSTRAINT none"],
        ]),
    }
}

async fn what_cannot_be_counted_is_neither_recorded_nor_sent(backend: Backend) {
    let Some([spoil, mend]) = spoiled(backend) else { return };
    let Some(world) = second_day(backend).await else { return };
    let database = open(&DatabaseUrl::parse(world.url()).unwrap(), Pool::engine(1)).await.unwrap();
    let run = async |statements: &[&str]| {
        for statement in statements {
            database.execute_unprepared(statement).await.unwrap();
        }
    };
    world.turn(TimeDelta::days(1));
    run(spoil).await;
    assert!(world.engine.run_once().await.is_err(), "the brakes are blind: nothing goes out");
    assert_eq!((payments(&world), world.charges().await.len()), (30, 30), "and nothing is left behind");
    run(mend).await;
    // The claims of the pass that failed run for their lease.
    world.turn(TimeDelta::seconds(90));
    let went_on = world.run().await;
    assert_eq!((went_on.paid, went_on.braked), (30, None));
    database.close().await.unwrap();
    world.balance().await;
}

async fn tries_that_people_order_are_weighed_like_new_charges(backend: Backend) {
    let Some(mut world) = World::begin(backend, "2027-01-15T10:00:00Z", "ordered").await else { return };
    // All of them are declined at first: here that is believed.
    let limits = BrakeLimits { decline_percent: 100, ..BrakeLimits::default() };
    world.resettle(|settings| settings.brakes = Some(limits.clone()));
    world.apply(&[plan("gym", "1 month", "UTC", "11:00", "79.00")]).await;
    let code = DeclineCode::InsufficientFunds;
    world.enrol(members(1..37, Behaviour::DeclinesThenPays { times: 1, code })).await;
    world.turn(TimeDelta::hours(1));
    let failed = world.run().await;
    assert_eq!((failed.paid, failed.braked, payments(&world)), (0, None, 36));
    let ordered = async |world: &World, from: usize, to: usize| {
        for charge in &world.charges().await[from..to] {
            let note = PersonsNote { by: "ann".to_owned(), action: "charge.retried", detail: "mended".to_owned() };
            world.engine.rule(charge.id, Ruling::TryNow, &note).await.unwrap();
        }
    };
    // Nothing is planned for the next day. A few orders are no pattern, and they add up.
    world.turn(TimeDelta::days(1));
    ordered(&world, 0, 19).await;
    let few = world.run().await;
    assert_eq!((few.paid, few.braked), (19, None));
    ordered(&world, 19, 30).await;
    let stopped = world.run().await;
    assert_eq!((stopped.sent, payments(&world)), (0, 36 + 19));
    let why = stopped.braked.unwrap();
    assert!(why.contains("USD 2,370.00 would be charged today, and USD 0.00 were forecast"), "{why}");
    released(&world).await;
    let went_on = world.run().await;
    assert_eq!((went_on.paid, went_on.braked), (11, None));
    // One customer is not tried again and again, whoever orders it.
    world.resettle(|settings| settings.brakes = Some(BrakeLimits { per_customer: 5, ..limits.clone() }));
    for charge in &world.charges().await[30..36] {
        let mut row = world.store.subscription(&charge.subscription).await.unwrap().unwrap().subscription;
        row.customer.enterprise_id = Some("one".to_owned());
        world.store.import(&[row], "test", world.now()).await.unwrap();
    }
    ordered(&world, 30, 36).await;
    let stopped = world.run().await;
    assert!(stopped.braked.unwrap().contains("more than 5 charges of one customer"));
    assert_eq!(payments(&world), 36 + 30);
    world.balance().await;
}

/// A gateway at which somebody else is quicker: holds of no consequence are set while requests are composed.
struct Interrupting {
    inner: CcgGateway,
    store: Arc<dyn Store>,
    at: DateTime<Utc>,
    left: AtomicU32,
}

#[async_trait]
impl Gateway for Interrupting {
    fn compose(
        &self,
        charge: &Charge,
        row: &Subscription,
        plan: &Plan,
        method: &Method,
        key: Key,
    ) -> Result<Body, String> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if let Ok(left) = left {
            let scope = format!("subscription:nobody-{left}").parse().unwrap();
            // The map never waits.
            self.store.hold(&scope, "elsewhere", "ann", self.at).now_or_never().unwrap().unwrap();
        }
        self.inner.compose(charge, row, plan, method, key)
    }
    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        self.inner.submit(intent).await
    }
    async fn ask(&self, question: &Question) -> Observation {
        self.inner.ask(question).await
    }
}

#[tokio::test]
async fn a_batch_that_is_drawn_again_counts_its_customers_once() {
    let mut world = World::begin(Backend::Memory, "2027-01-15T10:00:00Z", "redrawn").await.unwrap();
    world.resettle(|settings| settings.brakes = Some(BrakeLimits::default()));
    world.apply(&[daily("79.00")]).await;
    let mut same = members(1..21, Behaviour::Pays);
    same.iter_mut().for_each(|one| one.customer.enterprise_id = Some("7".to_owned()));
    world.enrol(same).await;
    world.turn(TimeDelta::hours(1));
    let (inner, store, at) = (CcgGateway::new(client(world.sandbox()), MERCHANT), world.store.clone(), world.now());
    // Two holds in two draws: 20 charges are drawn three times and made once, and 31 are believable.
    let gateway = Interrupting { inner, store, at, left: AtomicU32::new(2) };
    let settings = world.engine.settings().clone();
    world.engine = Engine::new(world.store.clone(), Arc::new(gateway), world.clock.clone(), settings);
    let ran = world.run().await;
    assert_eq!((ran.paid, ran.braked), (20, None));
    assert_eq!(world.store.holds().await.unwrap().len(), 2, "it was drawn again");
    world.balance().await;
}

/// A book of so many who are declined, due since yesterday.
async fn declined_yesterday(database: &str, count: u64) -> Arc<dyn Store> {
    let now = Utc::now_of_the_test();
    let store = database_store(database, Arc::new(autopay::clock::TurnedClock::new(now))).await;
    let spec = plan("gym", "1 month", "UTC", "00:00", "79.00");
    let plans = vec![(spec.clone(), Plan::from_spec(&spec, 0).unwrap())];
    let change = autopay::ports::CatalogChange { plans, policies: Vec::new() };
    store.apply(&change, "test", now).await.unwrap();
    let plan = store.catalog().await.unwrap().plans.into_values().next().unwrap();
    let mut rows = members(1..count + 1, Behaviour::DeclinesWith(DeclineCode::StolenCard));
    for row in &mut rows {
        row.start_on = (now - TimeDelta::days(1)).date_naive();
        let (charge, _) = domain::agenda::planned(&plan, row, 0).unwrap().unwrap();
        row.next_due_at = Some(charge.due_at);
    }
    store.import(&rows, "test", now).await.unwrap();
    store
}

/// A deployment with the wrong credentials is the likeliest reason for a book of declines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_into_a_backlog_sends_a_slice_of_it_first_however_slow_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let database = format!("sqlite:{}", folder.path().join("autopay.db").display());
    let store = declined_yesterday(&database, 200).await;
    // Four are worth claiming at once: too few to be judged, so the slice of 20 takes several claims.
    let rate = "\n[rate]\nper_second = 4\nburst = 4\n";
    let configuration = configuration(folder.path(), &database, &sandbox, rate);
    let mut process = serve(&configuration, Path::new(&folder.path().join("log")));
    let deadline = Instant::now() + Duration::from_secs(120);
    while store.holds().await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "nothing stopped it");
        rest(Duration::from_millis(50)).await;
    }
    let reason = store.holds().await.unwrap()[0].reason.clone();
    crate::replicas::terminate(&process);
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert_eq!(reason, "brake: 12 of the first 12 charges were declined, and 60 % are believable");
    assert_eq!(sandbox.ledger().payments().len(), 12, "the rest of the backlog waits");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_what_a_brake_saw_and_who_may_lift_it() {
    let (mut bench, sandbox) = with_sandbox().await;
    let ids: Vec<String> = (1..=40).map(|n| format!("s{n}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    due_now(&bench, &["first"]);
    let rows = roster(&ids, "2026-01-01");
    let same = (0..40).rev().fold(rows, |rows, n| rows.replace(&format!(",C-{n},"), ",C-one,"));
    bench.write("roster.csv", same);
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    bench.env("AUTOPAY_BRAKES_PER_CUSTOMER", "25");
    let stopped = bench.run(&["run", "once"]).exits(10);
    stopped.complains(&["a brake stopped the run", "more than 25 charges of one customer", "two people"]);
    assert!(sandbox.ledger().payments().len() <= 26, "{}", sandbox.ledger().payments().len());
    let held = bench.run(&["hold", "show", "-o", "json"]).exits(0).json();
    assert_eq!(held[0]["lifted_by"], "two people");
    let scope = held[0]["scope"].as_str().unwrap().to_owned();
    let off = ["hold", "off", "--scope", &scope];
    bench.env("AUTOPAY_USER", "ann");
    bench.run(&off).exits(8).complains(&["it takes two people"]);
    bench.run(&off).exits(8).complains(&["you said already"]);
    bench.env("AUTOPAY_USER", "bob");
    bench.run(&off).exits(0).complains(&["ann and bob"]);
    bench.run(&off).exits(5);
    bench.run(&["run", "once"]).exits(0);
    assert_eq!(sandbox.ledger().successes_by_key().len(), 41);
    bench.env("AUTOPAY_BRAKES_MODE", "maybe");
    bench.run(&["config", "show"]).exits(2).complains(&["write on or off"]);
    sandbox.stop().await;
}
