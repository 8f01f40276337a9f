//! The contract of what kinds of plans need of a store: terms, the guard of installments, what people say about missed cycles and
//! about amounts out of bounds. One suite, told of the map, of SQLite and of PostgreSQL; then what only a database can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::ports::people::PersonsNote;
use autopay::ports::{
    Amended, CatalogChange, Claimed, Clock as _, Committed, IntentBatch, NewCharge, Recorded, Resume, Store,
    StoreError, Verdict,
};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::{Advance, GoesOn};
use domain::attempt::{Body, Intent};
use domain::charge::{Charge, Event, Limits, ParkWhy, State, Tries};
use domain::dunning::GaveUp;
use domain::id::{ChargeId, Environment, Key, Purpose, SubscriptionId};
use domain::installments::InstallmentsSpec;
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanSpec};
use domain::subscription::{Subscription, SubscriptionStatus};
use domain::terms::Terms;
use domain::verdict::DeclineClass;
use entity::charge;
use sandbox::Behaviour;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait as _, Database, DatabaseConnection, EntityTrait as _, IntoActiveModel as _,
    Set, TransactionTrait as _,
};

use crate::contract_store::in_state;
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
    terms_are_kept_and_an_import_may_change_them;
    installments_are_recorded_up_to_the_total_and_no_further;
    a_charge_counts_until_it_is_proven_that_nothing_was_collected;
    a_subscription_that_would_overdraw_is_set_aside_and_its_neighbours_go_on;
    an_import_may_not_owe_less_than_was_collected;
    what_a_person_said_about_missed_cycles_is_kept_until_the_next_resume;
    an_amount_out_of_bounds_waits_and_goes_on_by_a_persons_word;
}

struct Bench {
    store: Arc<dyn Store>,
    clock: Arc<TurnedClock>,
    url: String,
    _keep: Keep,
}

async fn bench(backend: Backend) -> Option<Bench> {
    let clock = Arc::new(TurnedClock::new(at(START)));
    let (store, keep, url) = fresh_store(backend, clock.clone(), "kinds").await?;
    Some(Bench { store, clock, url, _keep: keep })
}

async fn on<F>(backend: Backend, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    if let Some(bench) = bench(backend).await {
        sentence(bench).await;
    }
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

fn copay() -> PlanSpec {
    let mut spec = plan("copay", "1 month", "UTC", "11:00", "1.00");
    (spec.kind, spec.amount.value) = ("installments".to_owned(), None);
    spec.installments = Some(InstallmentsSpec {
        total: "from_subscription".to_owned(),
        count: Some("from_subscription".to_owned()),
        ..InstallmentsSpec::default()
    });
    spec
}

/// A balance of so much in three parts, due now.
fn owing(name: &str, minor: i64, now: DateTime<Utc>) -> Subscription {
    let mut row = subscriber(name, "copay", "2027-01-15", card(Behaviour::Pays, 1));
    row.terms = Terms { total: Some(usd(minor)), installments: Some(3), ..Terms::default() };
    row.next_due_at = Some(now);
    row
}

fn charge_of(row: &Subscription, cycle: u32, minor: i64, now: DateTime<Utc>) -> Charge {
    Charge {
        id: ChargeId::of(MERCHANT, &row.id, cycle, Purpose::Cycle),
        merchant: MERCHANT,
        subscription: row.id.clone(),
        cycle,
        purpose: Purpose::Cycle,
        plan: row.plan.clone(),
        plan_version: 1,
        amount: usd(minor),
        carried: None,
        due_on: row.start_on,
        due_at: now,
        tries: Tries::default(),
        state: State::Planned,
    }
}

impl Bench {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn begin(&self, rows: &[Subscription]) {
        let plans = vec![(copay(), Plan::from_spec(&copay(), 0).unwrap())];
        self.store.apply(&CatalogChange { plans, policies: Vec::new() }, "test", self.now()).await.unwrap();
        self.store.import(rows, "test", self.now()).await.unwrap();
    }

    async fn subscription(&self, name: &str) -> Subscription {
        self.store.subscription(&id(name)).await.unwrap().unwrap().subscription
    }

    async fn charges(&self) -> usize {
        self.store.charges(&autopay::ports::ChargeFilter::default(), &None, 100).await.unwrap().len()
    }

    /// Claims what is due and records a charge of so much for each subscription named; the others are moved on.
    async fn record(&self, amounts: &[(&str, i64)]) -> (Vec<Recorded<Intent>>, usize) {
        let amounts: BTreeMap<&str, i64> = amounts.iter().copied().collect();
        let lease = self.now() + TimeDelta::seconds(90);
        let claims = self.store.claim_due(MERCHANT, self.now(), self.now(), lease, 100).await.unwrap().due;
        let mut batch = IntentBatch {
            at: self.now(),
            holds_seen: Vec::new(),
            advances: Vec::new(),
            new: Vec::new(),
            moved: Vec::new(),
            day: None,
        };
        for Claimed { value: row, fence } in &claims {
            let cycle = row.next_cycle;
            let advance = Advance {
                subscription: row.id.clone(),
                from_cycle: cycle,
                next_cycle: cycle + 1,
                next_due_at: Some(self.now()),
                status: SubscriptionStatus::Active,
                note: None,
                resumes: false,
            };
            batch.advances.push(Claimed { value: advance, fence: *fence });
            let Some(minor) = amounts.get(row.id.as_str()) else { continue };
            let charge = charge_of(row, cycle, *minor, self.now());
            let charge = charge.step(Event::Send { attempt: 1 }, self.now(), &Limits::default()).unwrap();
            let key = Key::of(&Environment::parse("test").unwrap(), MERCHANT, &row.id, cycle, 1);
            let body = Body { text: "{}".to_owned(), sha256: "x".to_owned() };
            let method = row.method.as_ref().unwrap().id;
            let intent = Intent {
                charge: charge.id,
                number: 1,
                key,
                method,
                second: None,
                amount: charge.amount,
                body,
                at: self.now(),
            };
            batch.new.push(NewCharge { charge, intent: Some(intent), amended: Amended::default(), carries: vec![] });
        }
        match self.store.commit_intents(batch).await.unwrap() {
            Committed::Recorded { intents, lost } => (intents, lost),
            other @ (Committed::HoldsChanged | Committed::DayIsFull) => panic!("{other:?}"),
        }
    }

    async fn become_(&self, before: &Charge, fence: i64, state: State) -> Charge {
        let after = in_state(before, state, self.now());
        let verdict = Verdict {
            before: Claimed { value: before.clone(), fence },
            after: Some(after.clone()),
            attempt: 1,
            observations: Vec::new(),
            stop: None,
        };
        assert_eq!(self.store.commit_verdicts(std::slice::from_ref(&verdict)).await.unwrap().applied, 1);
        after
    }
}

async fn terms_are_kept_and_an_import_may_change_them(b: Bench) {
    let mut row = owing("a", 10_000, b.now());
    row.terms.attributes = BTreeMap::from([("age_band".to_owned(), "21-29 \u{fc} \"'".to_owned())]);
    row.terms.quantity = Some(u32::MAX);
    let plain = Subscription { terms: Terms::default(), ..owing("b", 1, b.now()) };
    b.begin(&[row.clone(), plain.clone()]).await;
    assert_eq!(b.subscription("a").await.terms, row.terms);
    assert_eq!(b.subscription("b").await.terms, Terms::default());
    assert_eq!(b.store.import(&[row.clone(), plain], "test", b.now()).await.unwrap().unchanged, 2);
    row.terms.paid_elsewhere = Some(usd(1));
    assert_eq!(b.store.import(std::slice::from_ref(&row), "test", b.now()).await.unwrap().changed, 1);
    assert_eq!(b.subscription("a").await.terms, row.terms);
    let lease = b.now() + TimeDelta::seconds(90);
    let claimed = b.store.claim_due(MERCHANT, b.now(), b.now(), lease, 9).await.unwrap().due;
    assert_eq!(claimed.iter().find(|one| one.value.id == row.id).unwrap().value.terms, row.terms);
}

async fn installments_are_recorded_up_to_the_total_and_no_further(b: Bench) {
    b.begin(&[owing("a", 10_000, b.now())]).await;
    for minor in [3_334, 3_333, 3_333] {
        assert_eq!(b.record(&[("a", minor)]).await.1, 0);
    }
    assert_eq!(b.charges().await, 3);
    let (intents, lost) = b.record(&[("a", 1)]).await;
    assert_eq!((intents.len(), lost, b.charges().await), (0, 1, 3));
    let view = b.store.subscription(&id("a")).await.unwrap().unwrap();
    assert_eq!(view.subscription.status, SubscriptionStatus::Quarantined);
    assert_eq!((view.subscription.next_cycle, view.subscription.next_due_at), (3, None), "it stands where it stood");
    assert!(view.note.unwrap().contains("more than its total"));
}

async fn a_charge_counts_until_it_is_proven_that_nothing_was_collected(b: Bench) {
    let now = b.now();
    let later = now + TimeDelta::hours(1);
    let class = DeclineClass::LaterFunds;
    let code = || "x".to_owned();
    let failed = State::Failed { class, code: code(), why: GaveUp::LadderSpent, at: now };
    let returned = State::Returned {
        class,
        code: code(),
        next_at: None,
        why: None,
        collected: usd(10_000),
        paid_at: now,
        at: now,
    };
    let comes_back = State::Returned {
        class,
        code: code(),
        next_at: Some(later),
        why: None,
        collected: usd(10_000),
        paid_at: now,
        at: now,
    };
    let counts: [(&str, Vec<State>, bool); 9] = [
        ("unknown", vec![State::Unknown { since: now, asked: 1, next_at: later }], true),
        ("settling", vec![State::Settling { since: now, asked: 1, next_at: later, slow: true }], true),
        ("failing", vec![State::Failing { class, code: code(), next_at: later }], true),
        ("due", vec![State::Due { next_at: later, doubt: true }], true),
        ("parked", vec![State::Parked { why: ParkWhy::OutcomeUnknown, since: now }], true),
        // Told twice what it was told before: counted once.
        ("paid", vec![State::Unknown { since: now, asked: 1, next_at: later }, State::paid(now, usd(10_000))], true),
        ("failed", vec![State::Unknown { since: now, asked: 1, next_at: later }, failed], false),
        ("returned", vec![State::paid(now, usd(10_000)), returned], false),
        // What will be asked for again is not free for another charge.
        ("comes-back", vec![State::paid(now, usd(10_000)), comes_back], true),
    ];
    // Each with a card of its own: what networks allow one card is another story.
    let own = |(n, (name, _, _)): (u64, &(&str, Vec<State>, bool))| Subscription {
        method: card(Behaviour::Pays, n),
        ..owing(name, 10_000, now)
    };
    let rows: Vec<Subscription> = (1..).zip(&counts).map(own).collect();
    b.begin(&rows).await;
    let whole: Vec<(&str, i64)> = counts.iter().map(|(name, _, _)| (*name, 10_000)).collect();
    let (intents, lost) = b.record(&whole).await;
    assert_eq!((intents.len(), lost), (9, 0));
    for (name, states, _) in &counts {
        let recorded = intents.iter().find(|one| one.charge.subscription == id(name)).unwrap();
        let mut charge = recorded.charge.clone();
        for state in states {
            charge = b.become_(&charge, recorded.fence, state.clone()).await;
        }
    }
    let (again, lost) = b.record(&whole).await;
    let mut free: Vec<&str> = again.iter().map(|one| one.charge.subscription.as_str()).collect();
    free.sort_unstable();
    assert_eq!((free, lost), (vec!["failed", "returned"], 7));
}

async fn a_subscription_that_would_overdraw_is_set_aside_and_its_neighbours_go_on(b: Bench) {
    b.begin(&[owing("a", 10_000, b.now()), owing("b", 10_000, b.now()), owing("c", 10_000, b.now())]).await;
    let (intents, lost) = b.record(&[("a", 3_334), ("b", 10_001), ("c", 10_000)]).await;
    let mut sent: Vec<&str> = intents.iter().map(|one| one.charge.subscription.as_str()).collect();
    sent.sort_unstable();
    assert_eq!((sent, lost), (vec!["a", "c"], 1));
    assert_eq!(b.subscription("b").await.status, SubscriptionStatus::Quarantined);
    assert_eq!(b.subscription("a").await.status, SubscriptionStatus::Active);
}

async fn an_import_may_not_owe_less_than_was_collected(b: Bench) {
    let mut row = owing("a", 10_000, b.now());
    b.begin(std::slice::from_ref(&row)).await;
    b.record(&[("a", 6_000)]).await;
    row.terms.paid_elsewhere = Some(usd(4_001));
    let refused = b.store.import(std::slice::from_ref(&row), "test", b.now()).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Refused(why) if why.contains("subscription a more was collected")),
        "{refused}"
    );
    assert_eq!(b.subscription("a").await.terms.paid_elsewhere, None, "nothing was changed");
    let taken = b.store.taken_of_totals(&[id("a"), id("nobody")]).await.unwrap();
    assert_eq!(taken, BTreeMap::from([(id("a"), 6_000)]));
    row.terms.paid_elsewhere = Some(usd(4_000));
    assert_eq!(b.store.import(std::slice::from_ref(&row), "test", b.now()).await.unwrap().changed, 1);
    assert_eq!(b.record(&[("a", 1)]).await.1, 1, "what was paid elsewhere is not collected here");
}

async fn what_a_person_said_about_missed_cycles_is_kept_until_the_next_resume(b: Bench) {
    b.begin(&[owing("a", 10_000, b.now())]).await;
    let aside = || async {
        let lease = b.now() + TimeDelta::seconds(90);
        let claim = b.store.claim_due(MERCHANT, b.now(), b.now(), lease, 1).await.unwrap().due.remove(0);
        let advance = Advance {
            subscription: id("a"),
            from_cycle: 0,
            next_cycle: 0,
            next_due_at: None,
            status: SubscriptionStatus::Quarantined,
            note: Some("asked".to_owned()),
            resumes: false,
        };
        let batch = IntentBatch {
            at: b.now(),
            holds_seen: Vec::new(),
            advances: vec![Claimed { value: advance, fence: claim.fence }],
            new: Vec::new(),
            moved: Vec::new(),
            day: None,
        };
        b.store.commit_intents(batch).await.unwrap();
    };
    assert_eq!(b.subscription("a").await.owed_until, None);
    for owed_until in [Some(b.now()), None] {
        aside().await;
        let goes_on = GoesOn { next_cycle: 0, next_due_at: Some(b.now()), paused: false };
        let from = Resume { from_cycle: 0, goes_on, owed_until };
        assert!(b.store.resume(&id("a"), &from, "ann", b.now()).await.unwrap());
        assert_eq!(b.subscription("a").await.owed_until, owed_until);
    }
    let again = Subscription { owed_until: Some(b.now()), ..b.subscription("a").await };
    b.store.import(&[again], "test", b.now()).await.unwrap();
    assert_eq!(b.subscription("a").await.owed_until, None, "an import answers no question");
}

async fn an_amount_out_of_bounds_waits_and_goes_on_by_a_persons_word(b: Bench) {
    b.begin(&[owing("a", 10_000, b.now()), owing("b", 10_000, b.now())]).await;
    let lease = b.now() + TimeDelta::seconds(90);
    let claims = b.store.claim_due(MERCHANT, b.now(), b.now(), lease, 9).await.unwrap().due;
    let parked = |row: &Subscription| {
        charge_of(row, 0, 9_000, b.now()).step(Event::OutOfBounds, b.now(), &Limits::default()).unwrap()
    };
    let advance = |row: &Subscription| Advance {
        subscription: row.id.clone(),
        from_cycle: 0,
        next_cycle: 1,
        next_due_at: None,
        status: SubscriptionStatus::Active,
        note: None,
        resumes: false,
    };
    let batch = IntentBatch {
        at: b.now(),
        holds_seen: Vec::new(),
        advances: claims.iter().map(|claim| Claimed { value: advance(&claim.value), fence: claim.fence }).collect(),
        new: claims
            .iter()
            .map(|claim| NewCharge {
                charge: parked(&claim.value),
                intent: None,
                amended: Amended::default(),
                carries: vec![],
            })
            .collect(),
        moved: Vec::new(),
        day: None,
    };
    b.store.commit_intents(batch).await.unwrap();
    assert!(b.store.claim_open(MERCHANT, b.now(), lease, 9).await.unwrap().is_empty(), "nobody moves it on");
    for (name, charge, word) in [("a", true, "due"), ("b", false, "skipped")] {
        let found = ChargeId::of(MERCHANT, &id(name), 0, Purpose::Cycle);
        assert_eq!(b.store.charge(found).await.unwrap().unwrap().state.word(), "held");
        let taken = b.store.take_charge(found, b.now(), lease, None).await.unwrap().unwrap();
        let before = Claimed { value: taken.value.open.charge, fence: taken.fence };
        let after = before.value.clone().step(Event::Decided { charge }, b.now(), &Limits::default()).unwrap();
        let note = PersonsNote { by: "ann".to_owned(), action: "charge.decided", detail: "seen".to_owned() };
        assert!(b.store.judge_charge(&before, &after, &note, b.now()).await.unwrap());
        assert_eq!(b.store.charge(found).await.unwrap().unwrap().state.word(), word);
    }
    let open = b.store.claim_open(MERCHANT, b.now(), lease, 9).await.unwrap();
    assert_eq!(open.iter().map(|one| one.value.open.charge.subscription.as_str()).collect::<Vec<_>>(), ["a"]);
}

/// A second charge row, as a program that believes in nothing would write it.
async fn another(
    on: &impl sea_orm::ConnectionTrait,
    first: &charge::Model,
    cycle: i64,
    minor: i64,
) -> Result<(), sea_orm::DbErr> {
    let mut row = first.clone().into_active_model();
    row.id = Set(uuid::Uuid::from_u128(u128::try_from(cycle).unwrap() + 1_000));
    row.cycle = Set(cycle);
    row.amount_minor = Set(minor);
    row.insert(on).await.map(drop)
}

async fn behind(b: &Bench) -> (DatabaseConnection, charge::Model) {
    b.begin(&[owing("a", 10_000, b.now())]).await;
    b.record(&[("a", 3_334)]).await;
    let raw = Database::connect(&b.url).await.unwrap();
    let first = charge::Entity::find().one(&raw).await.unwrap().unwrap();
    (raw, first)
}

async fn no_statement_gets_past_the_total(backend: Backend) {
    let Some(b) = bench(backend).await else { return };
    let (raw, first) = behind(&b).await;
    let taken = || async {
        let sql = "SELECT taken_minor FROM installment_total WHERE subscription_id = 'a'";
        let backend = raw.get_database_backend();
        let row = raw.query_one_raw(sea_orm::Statement::from_string(backend, sql)).await.unwrap().unwrap();
        row.try_get::<i64>("", "taken_minor").unwrap()
    };
    assert_eq!(taken().await, 3_334);
    another(&raw, &first, 1, 6_666).await.unwrap();
    assert_eq!(taken().await, 10_000);
    assert!(another(&raw, &first, 2, 1).await.is_err(), "one cent more");
    for sql in [
        "UPDATE charge SET amount_minor = amount_minor + 1 WHERE cycle = 1",
        "UPDATE charge SET state = 'paid', collected_minor = 9999 WHERE cycle = 1",
        "UPDATE installment_total SET taken_minor = total_minor + 1",
        "UPDATE installment_total SET total_minor = 9999",
        "UPDATE installment_total SET taken_minor = -1",
    ] {
        assert!(raw.execute_unprepared(sql).await.is_err(), "{sql}");
    }
    assert_eq!(taken().await, 10_000);
    // What ended without money is given back, once, and may be collected by another charge; it cannot come back then.
    raw.execute_unprepared("UPDATE charge SET state = 'failed' WHERE cycle = 1").await.unwrap();
    raw.execute_unprepared("UPDATE charge SET state = 'failed' WHERE cycle = 1").await.unwrap();
    assert_eq!(taken().await, 3_334);
    another(&raw, &first, 2, 6_666).await.unwrap();
    assert!(raw.execute_unprepared("UPDATE charge SET state = 'paid' WHERE cycle = 1").await.is_err());
    raw.execute_unprepared("UPDATE charge SET state = 'paid', collected_minor = 6000 WHERE cycle = 2").await.unwrap();
    assert_eq!(taken().await, 9_334);
}

#[tokio::test]
async fn no_statement_gets_past_the_total_on_sqlite() {
    no_statement_gets_past_the_total(Backend::Sqlite).await;
}

#[tokio::test]
async fn no_statement_gets_past_the_total_on_postgresql() {
    no_statement_gets_past_the_total(Backend::Postgres).await;
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "two transactions behind the store's back, and a real wait for a real lock"
)]
async fn two_transactions_at_once_do_not_share_what_is_left() {
    let Some(b) = bench(Backend::Postgres).await else { return };
    let (raw, first) = behind(&b).await;
    let (one, two) = (raw.begin().await.unwrap(), raw.begin().await.unwrap());
    // Either fits alone; together they would not.
    another(&one, &first, 1, 6_000).await.unwrap();
    let waits = tokio::spawn(async move { another(&two, &first, 2, 6_000).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!waits.is_finished(), "the second waits for the first");
    one.commit().await.unwrap();
    assert!(waits.await.unwrap().is_err(), "and is refused once the first has committed");
}
