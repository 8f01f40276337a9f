//! The contract of the memory of orders: one suite, told of the map, of SQLite and of PostgreSQL.

use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::ports::captures::{Begun, OrderRecord, OrdersBegun, Placed};
use autopay::ports::{
    Amended, Asked, Claimed, Clock as _, Committed, IntentBatch, NewCharge, Observation, Observed, Store, Verdict,
};
use autopay::store::{DatabaseStore, DatabaseUrl, Pool, migrate, open};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::{Advance, Scope, planned};
use domain::attempt::{Body, Intent};
use domain::authorization::{OrderKind, Stage};
use domain::charge::{Charge, Event, Limits, State};
use domain::id::{Environment, Key};
use domain::money::{Currency, Money};
use domain::plan::Plan;
use domain::subscription::SubscriptionStatus;
use domain::verdict::Seen;
use sandbox::Behaviour;
use sea_orm::ConnectionTrait as _;

use crate::world::{Backend, Keep, MERCHANT, at, card, fresh_store, plan, subscriber};

const START: &str = "2027-01-15T11:00:00Z";

/// Each sentence is told of all three stores.
macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Memory, |b| Box::pin(super::$sentence(b))).await; })* }
        mod sqlite { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Sqlite, |b| Box::pin(super::$sentence(b))).await; })* }
        mod postgresql { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Postgres, |b| Box::pin(super::$sentence(b))).await; })* }
    };
}

contract! {
    an_order_is_recorded_with_the_charge_it_moves_and_only_once;
    an_order_ends_the_claim_of_whoever_was_looking;
    an_order_about_another_amount_than_is_set_aside_is_not_recorded;
    a_charge_is_taken_by_one_and_only_when_it_is_due;
    an_order_begins_under_the_holds_it_was_drawn_under_and_under_its_claim;
    the_body_of_an_order_is_written_once;
}

struct Bench {
    store: Arc<dyn Store>,
    clock: Arc<TurnedClock>,
    _keep: Keep,
}

async fn on<F>(backend: Backend, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    let clock = Arc::new(TurnedClock::new(at(START)));
    if let Some((store, keep, _)) = fresh_store(backend, clock.clone(), "orders").await {
        sentence(Bench { store, clock, _keep: keep }).await;
    }
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn secs(n: i64) -> TimeDelta {
    TimeDelta::seconds(n)
}

fn body(text: &str) -> Body {
    Body { text: text.to_owned(), sha256: format!("sha-{text}") }
}

impl Bench {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn charge(&self, charge: &Charge) -> Charge {
        self.store.charge(charge.id).await.unwrap().unwrap()
    }

    /// A charge of 79.00 of which so much is set aside.
    async fn held(&self, minor: i64) -> Charge {
        let spec = plan("gold", "1 month", "UTC", "11:00", "79.00");
        let understood = Plan::from_spec(&spec, 1).unwrap();
        let mut row = subscriber("sub-1", "gold", "2027-01-15", card(Behaviour::Pays, 1));
        row.next_due_at = Some(self.now());
        self.store.import(std::slice::from_ref(&row), "test", self.now()).await.unwrap();
        let lease = self.now() + secs(90);
        let claim = self.store.claim_due(MERCHANT, self.now(), self.now(), lease, 1).await.unwrap().due.remove(0);
        let (charge, _) = planned(&understood, &claim.value, 0).unwrap().unwrap();
        let charge = charge.step(Event::Send { attempt: 1 }, self.now(), &Limits::default()).unwrap();
        let key = Key::of(&Environment::parse("test").unwrap(), MERCHANT, &charge.subscription, 0, 1);
        let intent = Intent {
            charge: charge.id,
            number: 1,
            key,
            method: claim.value.method.as_ref().unwrap().id,
            second: None,
            amount: charge.amount,
            body: body("create"),
            at: self.now(),
        };
        let advance = Advance {
            subscription: charge.subscription.clone(),
            from_cycle: 0,
            next_cycle: 1,
            next_due_at: None,
            status: SubscriptionStatus::Active,
            note: None,
            resumes: false,
        };
        let batch = IntentBatch {
            at: self.now(),
            holds_seen: Vec::new(),
            advances: vec![Claimed { value: advance, fence: claim.fence }],
            new: vec![NewCharge { charge, intent: Some(intent), amended: Amended::default(), carries: vec![] }],
            moved: Vec::new(),
            day: None,
        };
        let Committed::Recorded { intents, .. } = self.store.commit_intents(batch).await.unwrap() else {
            panic!("holds changed")
        };
        let before = Claimed { value: intents[0].charge.clone(), fence: intents[0].fence };
        let event = Event::Authorized { amount: usd(minor), accept_less: true };
        let after = before.value.clone().step(event, self.now(), &Limits::default()).unwrap();
        let seen = Observation {
            asked: Asked::Submit,
            seen: Seen::Authorized { amount: usd(minor), asked_for: true },
            payment_id: Some("pay-1".to_owned()),
            http_status: Some(200),
            gateway_status: Some("AUTHORIZED".to_owned()),
            detail: None,
            body_sha256: None,
            request_id: None,
        };
        let verdict = Verdict {
            before,
            after: Some(after.clone()),
            attempt: 1,
            observations: vec![Observed { at: self.now(), observation: seen, to_state: Some(after.state.name()) }],
            stop: None,
        };
        assert_eq!(self.store.commit_verdicts(std::slice::from_ref(&verdict)).await.unwrap().applied, 1);
        assert_eq!(self.charge(&after).await.state, after.state);
        after
    }

    fn capture(&self, held: &Charge, minor: i64) -> (Charge, OrderRecord) {
        let event = Event::Capture { amount: usd(minor) };
        let after = held.clone().step(event, self.now(), &Limits::default()).unwrap();
        let order = OrderRecord {
            charge: held.id,
            attempt: 1,
            kind: OrderKind::Capture,
            amount: usd(minor),
            body: body("capture"),
            by: "ann".to_owned(),
            at: self.now(),
        };
        (after, order)
    }

    /// As [`Bench::capture`], recorded and claimed, ready to begin.
    async fn begins(&self, held: &Charge, minor: i64) -> Begun {
        let (after, order) = self.capture(held, minor);
        assert!(self.store.order_capture(&after, &order).await.unwrap());
        let claim = self.store.claim_charge(held.id, self.now(), self.now() + secs(90)).await.unwrap().unwrap();
        let charge = claim.value.open.charge.step(Event::SendOrder, self.now(), &Limits::default()).unwrap();
        let record = claim.value.attempt.unwrap();
        let placed = Placed { order, key: record.key, payment_id: record.payment_id.unwrap() };
        Begun { charge, fence: claim.fence, placed }
    }
}

async fn an_order_is_recorded_with_the_charge_it_moves_and_only_once(b: Bench) {
    let held = b.held(7_900).await;
    let (after, order) = b.capture(&held, 3_000);
    assert!(b.store.order_capture(&after, &order).await.unwrap());
    assert_eq!(b.charge(&held).await.state, after.state);
    assert_eq!(b.store.orders(&[held.id]).await.unwrap(), std::slice::from_ref(&order));
    let (other, another) = b.capture(&held, 4_000);
    assert!(!b.store.order_capture(&other, &another).await.unwrap(), "it is being captured already");
    assert!(!b.store.order_capture(&after, &order).await.unwrap());
    assert_eq!(b.charge(&held).await.state, after.state);
    assert_eq!(b.store.orders(&[held.id]).await.unwrap(), [order]);
    let timeline = b.store.timeline(held.id).await.unwrap();
    let line = timeline.iter().find(|line| line.actor == "ann").unwrap();
    assert_eq!(line.event, "charge.capture");
    assert_eq!(line.detail, "attempt 1 capture of USD 30.00 ordered");
}

async fn an_order_ends_the_claim_of_whoever_was_looking(b: Bench) {
    let held = b.held(7_900).await;
    let look = held.state.next_at().unwrap();
    b.clock.advance(look - b.now());
    let claim = b.store.claim_charge(held.id, b.now(), b.now() + secs(90)).await.unwrap().unwrap();
    let (after, order) = b.capture(&held, 3_000);
    assert!(b.store.order_capture(&after, &order).await.unwrap());
    let event = Event::Authorized { amount: usd(7_900), accept_less: true };
    let stale = claim.value.open.charge.clone().step(event, b.now(), &Limits::default()).unwrap();
    let before = Claimed { value: claim.value.open.charge, fence: claim.fence };
    let verdict = Verdict { before, after: Some(stale), attempt: 1, observations: Vec::new(), stop: None };
    assert_eq!(b.store.commit_verdicts(&[verdict]).await.unwrap().applied, 0);
    assert_eq!(b.charge(&held).await.state, after.state);
}

async fn an_order_about_another_amount_than_is_set_aside_is_not_recorded(b: Bench) {
    let held = b.held(4_000).await;
    let mut imagined = held.clone();
    let State::Authorized { hold, .. } = &mut imagined.state else { panic!("not authorized") };
    hold.amount = usd(7_900);
    let (after, order) = b.capture(&imagined, 7_900);
    assert!(!b.store.order_capture(&after, &order).await.unwrap());
    assert_eq!(b.charge(&held).await.state, held.state);
    assert_eq!(b.store.orders(&[held.id]).await.unwrap(), []);
}

async fn a_charge_is_taken_by_one_and_only_when_it_is_due(b: Bench) {
    let held = b.held(7_900).await;
    assert_eq!(b.store.claim_charge(held.id, b.now(), b.now() + secs(90)).await.unwrap(), None, "nothing is due");
    let (after, order) = b.capture(&held, 3_000);
    assert!(b.store.order_capture(&after, &order).await.unwrap());
    let one = b.store.claim_charge(held.id, b.now(), b.now() + secs(90)).await.unwrap().unwrap();
    assert_eq!(one.value.open.charge.state, after.state);
    assert_eq!(one.value.attempt.unwrap().payment_id.as_deref(), Some("pay-1"));
    assert_eq!(b.store.claim_charge(held.id, b.now(), b.now() + secs(90)).await.unwrap(), None);
    assert!(b.store.claim_open(MERCHANT, b.now(), b.now() + secs(90), 10).await.unwrap().is_empty());
    b.clock.advance(secs(90));
    let two = b.store.claim_charge(held.id, b.now(), b.now() + secs(90)).await.unwrap().unwrap();
    assert!(two.fence > one.fence);
}

async fn an_order_begins_under_the_holds_it_was_drawn_under_and_under_its_claim(b: Bench) {
    let held = b.held(7_900).await;
    let begun = b.begins(&held, 3_000).await;
    let hold = b.store.hold(&Scope::All, "stop", "bob", b.now()).await.unwrap();
    let done = b.store.begin_orders(std::slice::from_ref(&begun), &[], b.now()).await.unwrap();
    assert!(matches!(done, OrdersBegun::HoldsChanged));
    let stage = async || b.charge(&held).await.state.ordered().unwrap().2.stage;
    assert_eq!(stage().await, Stage::Waiting);
    let stale = Begun { fence: begun.fence - 1, ..begun.clone() };
    for (one, number) in [(stale, 0), (begun.clone(), 1), (begun, 0)] {
        let OrdersBegun::Recorded(recorded) = b.store.begin_orders(&[one], &[hold.id], b.now()).await.unwrap() else {
            panic!("holds changed")
        };
        assert_eq!(recorded.len(), number);
    }
    assert_eq!(stage().await, Stage::Sending);
}

async fn the_body_of_an_order_is_written_once(b: Bench) {
    let held = b.held(7_900).await;
    let mut begun = b.begins(&held, 3_000).await;
    begun.placed.order.body = body("another");
    begun.placed.order.by = "eve".to_owned();
    b.store.begin_orders(&[begun], &[], b.now()).await.unwrap();
    let orders = b.store.orders(&[held.id]).await.unwrap();
    assert_eq!(orders.len(), 1);
    assert_eq!((orders[0].body.clone(), orders[0].by.as_str()), (body("capture"), "ann"));
}

/// A database of the version before: one charge was paid under it.
async fn upgraded(url: &str) {
    use migration::MigratorTrait as _;
    let url = DatabaseUrl::parse(url).unwrap();
    crate::migrated::bare(&url);
    let old = open(&url, Pool::engine(1)).await.unwrap();
    migration::Migrator::up(&old, Some(1)).await.unwrap();
    let row = "INSERT INTO charge (id, merchant_id, subscription_id, cycle, purpose, plan_id, plan_version, amount_minor, \
         currency, due_on, due_at, state, state_since, doubt, slow, asked, attempt, submissions, not_executed, declined, \
         created_at, updated_at) VALUES ($1, $2, 'sub-1', 0, 'cycle', 'gold', 1, 7900, 'USD', $3, $4, 'paid', $4, false, false, \
         0, 1, 1, 0, 0, $4, $4)";
    let id = uuid::Uuid::from_u128(7);
    let day: chrono::NaiveDate = "2027-01-15".parse().unwrap();
    let values: [sea_orm::Value; 4] = [id.into(), MERCHANT.0.into(), day.into(), at(START).into()];
    let backend = old.get_database_backend();
    old.execute_raw(sea_orm::Statement::from_sql_and_values(backend, row, values)).await.unwrap();
    let refused = "UPDATE charge SET state = 'authorized'";
    assert!(old.execute_unprepared(refused).await.is_err(), "the version before does not know the word");

    migrate(&url).await.unwrap();
    let store = DatabaseStore::new(open(&url, Pool::engine(1)).await.unwrap(), Arc::new(TurnedClock::new(at(START))));
    let charge = store.charge(domain::id::ChargeId(id)).await.unwrap().unwrap();
    assert_eq!(charge.state, State::paid(at(START), usd(7_900)), "it was collected whole");
    assert_eq!(store.totals().await.unwrap()[&("paid".to_owned(), "USD".to_owned())], (1, 7_900));
    // A connection that was open before knows the new words too, and still no others.
    for (word, taken) in
        [("authorized", true), ("capturing", true), ("releasing", true), ("due", true), ("lost", false)]
    {
        let done = old.execute_unprepared(&format!("UPDATE charge SET state = '{word}'")).await;
        assert_eq!(done.is_ok(), taken, "{word}: {done:?}");
    }
    if backend == sea_orm::DatabaseBackend::Sqlite {
        let sound = "PRAGMA integrity_check";
        let row = old.query_one_raw(sea_orm::Statement::from_string(backend, sound)).await.unwrap().unwrap();
        assert_eq!(row.try_get::<String>("", "integrity_check").unwrap(), "ok");
    }
}

#[tokio::test]
async fn a_database_of_the_version_before_keeps_its_rows_and_learns_the_words() {
    let folder = tempfile::tempdir().unwrap();
    upgraded(&format!("sqlite:{}", folder.path().join("autopay.db").display())).await;
    if let Some(database) = crate::postgres::TestDatabase::create("upgraded").await {
        upgraded(&database.url).await;
    }
}
