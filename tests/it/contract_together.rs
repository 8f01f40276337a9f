//! The contract of the store about charges that are collected together: told of the map, of SQLite and of PostgreSQL.

use std::collections::BTreeMap;

use autopay::ports::together::Kin;
use autopay::ports::{
    Amended, CatalogChange, ChargeFilter, Claimed, Clock as _, Committed, IntentBatch, MovedCharge, NewCharge, Resume,
    Verdict,
};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::{Action, Agenda, Book, GoesOn, Part, draw};
use domain::amendment::{Change, propose};
use domain::attempt::{Body, Intent};
use domain::charge::{Carried, Charge, Event, Limits, SkipWhy, State};
use domain::dunning::GaveUp;
use domain::id::{Environment, PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanSpec};
use domain::subscription::{Subscription, SubscriptionStatus};
use domain::verdict::DeclineClass;
use domain::wallet::Wallet;
use sandbox::Behaviour;
use sea_orm::ConnectionTrait as _;

use crate::contract_store::{Bench, bench, in_state};
use crate::world::{Backend, MERCHANT, card, plan, subscriber};

macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test] async fn $sentence() { Box::pin(super::$sentence(crate::world::Backend::Memory)).await; })* }
        mod sqlite { $(#[tokio::test] async fn $sentence() { Box::pin(super::$sentence(crate::world::Backend::Sqlite)).await; })* }
        mod postgresql { $(#[tokio::test] async fn $sentence() { Box::pin(super::$sentence(crate::world::Backend::Postgres)).await; })* }
    };
}

contract! {
    kin_are_taken_whoever_has_them;
    kin_are_found_by_the_customer_they_have_now;
    a_payment_is_recorded_with_each_cycle_it_collects;
    a_payment_of_which_a_part_changed_hands_is_not_recorded_and_the_rest_is_given_back;
    a_payment_for_a_cycle_that_is_recorded_already_is_not_recorded;
    a_payment_that_does_not_add_up_is_refused_whole;
    a_payment_that_failed_for_good_pauses_everybody_it_was_for;
    a_payment_of_a_cancelled_subscription_runs_on_for_the_others;
    what_a_payment_collects_is_never_changed;
}

fn spec(id: &str, hour: &str, price: &str) -> PlanSpec {
    let mut spec = plan(id, "1 month", "UTC", hour, price);
    spec.collect.consolidate = Some("customer_and_day".to_owned());
    spec
}

fn specs() -> [PlanSpec; 3] {
    [spec("gym", "11:00", "30.00"), spec("pool", "18:00", "12.50"), plan("plain", "1 month", "UTC", "11:00", "9.00")]
}

fn id(name: &str) -> SubscriptionId {
    SubscriptionId::parse(name).unwrap()
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

struct Together(Bench);

impl Together {
    /// Subscriptions with their plans and days in January 2027; all of customer 1001 and with one card.
    async fn begin(backend: Backend, name: &str, rows: &[(&str, &str, &str)]) -> Option<Self> {
        let b = Self(bench(backend, name).await?);
        let plans = specs().into_iter().map(|spec| (spec.clone(), Plan::from_spec(&spec, 0).unwrap())).collect();
        let change = CatalogChange { plans, policies: Vec::new() };
        b.0.store.apply(&change, "test", b.now()).await.unwrap();
        let catalog = b.0.store.catalog().await.unwrap();
        let row = |(name, plan, start): &(&str, &str, &str)| {
            let mut row = subscriber(name, plan, start, card(Behaviour::Pays, 1));
            row.next_due_at = domain::agenda::enrol(&catalog.plans[&row.plan], &row, b.now()).unwrap().1;
            row
        };
        let rows: Vec<Subscription> = rows.iter().map(row).collect();
        b.0.store.import(&rows, "test", b.now()).await.unwrap();
        Some(b)
    }

    fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    fn lease(&self) -> DateTime<Utc> {
        self.now() + TimeDelta::seconds(90)
    }

    fn kin(&self) -> Kin {
        let plans = ["gym", "pool"].map(|plan| PlanId::parse(plan).unwrap()).into();
        let customer = subscriber("x", "gym", "2027-01-15", None).customer;
        let until = "2027-01-15T23:59:59Z".parse().unwrap();
        Kin { merchant: MERCHANT, plans, customers: BTreeMap::from([(customer, until)]) }
    }

    async fn claim(&self) -> Vec<Claimed<Subscription>> {
        let claim = self.0.store.claim_kin(&self.kin(), self.now(), self.lease()).await.unwrap();
        assert_eq!(claim.poison, []);
        claim.due
    }

    async fn draw(&self, claims: &[Claimed<Subscription>]) -> Agenda {
        let due: Vec<Subscription> = claims.iter().map(|claim| claim.value.clone()).collect();
        let (environment, limits, wallet) = (Environment::parse("test").unwrap(), Limits::default(), Wallet::new());
        let catalog = self.0.store.catalog().await.unwrap();
        let (catalog, environment, limits) = (&catalog, &environment, &limits);
        draw(
            &Book {
                notices: domain::notice::Notices::Assumed,
                catalog,
                environment,
                holds: &[],
                due: &due,
                open: &[],
                limits,
                wallet: &wallet,
            },
            self.now(),
        )
    }

    /// What an engine would commit for these claims.
    async fn batch(&self, claims: &[Claimed<Subscription>]) -> IntentBatch {
        let agenda = self.draw(claims).await;
        let fence = |id: &SubscriptionId| claims.iter().find(|claim| claim.value.id == *id).unwrap().fence;
        let advances = agenda.advances.iter().cloned();
        let advances = advances.map(|value| Claimed { fence: fence(&value.subscription), value }).collect();
        let mut batch =
            IntentBatch { at: self.now(), holds_seen: vec![], advances, new: vec![], moved: vec![], day: None };
        for item in &agenda.items {
            let step = |event| item.charge.clone().unwrap().step(event, self.now(), &Limits::default()).unwrap();
            let amended = Amended { taken: item.applied.clone(), reason: None };
            let (charge, intent) = match &item.action {
                Action::Send { .. } => {
                    let charge = step(Event::Send { attempt: 1 });
                    let intent = intent(&charge, 1, self.now());
                    (charge, Some(intent))
                }
                Action::Skip(left_out) => (step(Event::Skip { why: left_out.why }), None),
                other => panic!("{other:?}"),
            };
            batch.new.push(NewCharge { charge, intent, amended, carries: item.carries.clone() });
        }
        batch
    }

    async fn commit(&self, batch: IntentBatch) -> (usize, usize) {
        let Committed::Recorded { intents, lost } = self.0.store.commit_intents(batch).await.unwrap() else {
            panic!("holds changed")
        };
        (intents.len(), lost)
    }

    async fn charges(&self) -> Vec<Charge> {
        self.0.store.charges(&ChargeFilter::default(), &None, 1_000).await.unwrap()
    }

    async fn row(&self, name: &str) -> Subscription {
        self.0.store.subscription(&id(name)).await.unwrap().unwrap().subscription
    }

    /// Who is due now and taken by nobody.
    async fn free(&self) -> Vec<String> {
        let claim = self.0.store.claim_due(MERCHANT, self.now(), self.now(), self.lease(), 100).await.unwrap();
        claim.due.iter().map(|claim| claim.value.id.to_string()).collect()
    }
}

fn intent(charge: &Charge, number: u16, at: DateTime<Utc>) -> Intent {
    let key =
        domain::id::Key::of(&Environment::parse("test").unwrap(), MERCHANT, &charge.subscription, charge.cycle, number);
    let text = charge.amount.plain();
    let sha256 = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text.as_bytes()));
    let method = card(Behaviour::Pays, 1).unwrap().id;
    Intent {
        charge: charge.id,
        number,
        key,
        method,
        second: None,
        amount: charge.amount,
        body: Body { text, sha256 },
        at,
    }
}

fn names(claims: &[Claimed<Subscription>]) -> Vec<&str> {
    claims.iter().map(|claim| claim.value.id.as_str()).collect()
}

const BOOK: [(&str, &str, &str); 4] =
    [("a", "gym", "2027-01-15"), ("b", "pool", "2027-01-15"), ("c", "gym", "2027-01-16"), ("d", "plain", "2027-01-15")];

async fn kin_are_taken_whoever_has_them(backend: Backend) {
    let Some(b) = Together::begin(backend, "kin", &BOOK).await else { return };
    let found = b.0.store.peek_kin(&b.kin()).await.unwrap();
    assert_eq!(names(&found.due), ["a", "b"], "due that day, under such a plan");
    assert_eq!(b.free().await, ["a", "d"], "a look takes nothing; and now these two are taken");
    let first = b.claim().await;
    assert_eq!(names(&first), ["a", "b"], "a is taken from whoever has it");
    let second = b.claim().await;
    assert_eq!(names(&second), ["a", "b"]);
    assert!(first.iter().zip(&second).all(|(first, second)| first.fence < second.fence));
    assert_eq!(b.free().await, [""; 0], "they are leased, b too, which is due later");
    assert_eq!(b.commit(b.batch(&first).await).await, (0, 4), "whoever had them before records nothing");
    assert_eq!(b.charges().await, []);
    assert_eq!(b.commit(b.batch(&second).await).await, (1, 0));
    let mut strangers = b.kin();
    strangers.merchant = domain::id::MerchantId(uuid::Uuid::from_u128(9));
    assert_eq!(b.0.store.claim_kin(&strangers, b.now(), b.lease()).await.unwrap().due, []);
    assert_eq!(b.claim().await, [], "what is recorded is due no more");
}

async fn kin_are_found_by_the_customer_they_have_now(backend: Backend) {
    let Some(b) = Together::begin(backend, "kin, moved", &BOOK).await else { return };
    let mut moved = b.row("b").await;
    moved.customer.enterprise_id = Some("1002".to_owned());
    b.0.store.import(&[b.row("a").await, moved.clone()], "test", b.now()).await.unwrap();
    let before = b.kin();
    let until = *before.customers.values().next().unwrap();
    let after = Kin { customers: BTreeMap::from([(moved.customer, until)]), ..before.clone() };
    let both =
        Kin { customers: before.customers.clone().into_iter().chain(after.customers.clone()).collect(), ..b.kin() };
    for (kin, expected) in [(before, vec!["a"]), (after, vec!["b"]), (both, vec!["a", "b"])] {
        assert_eq!(names(&b.0.store.peek_kin(&kin).await.unwrap().due), expected);
        assert_eq!(names(&b.0.store.claim_kin(&kin, b.now(), b.lease()).await.unwrap().due), expected);
    }
    let nobody = Kin { plans: [PlanId::parse("plain").unwrap()].into(), ..b.kin() };
    assert_eq!(names(&b.0.store.peek_kin(&nobody).await.unwrap().due), ["d"], "plans are chosen by whoever asks");
}

async fn a_payment_is_recorded_with_each_cycle_it_collects(backend: Backend) {
    let Some(b) = Together::begin(backend, "a payment of two", &BOOK).await else { return };
    let batch = b.batch(&b.claim().await).await;
    let Committed::Recorded { intents, lost } = b.0.store.commit_intents(batch).await.unwrap() else { panic!() };
    assert_eq!((intents.len(), lost), (1, 0));
    assert_eq!(intents[0].value().amount, usd(4_250));
    let charges = b.charges().await;
    let [lead, part] = charges.as_slice() else { panic!("{charges:?}") };
    assert_eq!((lead.subscription.as_str(), lead.amount, lead.own_amount()), ("a", usd(4_250), usd(3_000)));
    assert_eq!(lead.carried, Some(Carried { parts: 1, amount: usd(1_250) }));
    assert!(matches!(lead.state, State::Sending { .. }), "{lead:?}");
    assert_eq!((part.subscription.as_str(), part.amount, part.carried), ("b", usd(1_250), None));
    assert_eq!(part.state, State::Skipped { why: SkipWhy::Consolidated, at: b.now() });
    let expected = Part {
        charge: part.id,
        subscription: id("b"),
        cycle: 0,
        plan: PlanId::parse("pool").unwrap(),
        amount: usd(1_250),
    };
    for asked in [vec![lead.id], vec![part.id], vec![lead.id, part.id]] {
        let found = b.0.store.paid_together(&asked).await.unwrap();
        assert_eq!(found.iter().map(|one| (one.by, &one.part)).collect::<Vec<_>>(), [(lead.id, &expected)]);
    }
    for (name, due) in [("a", "2027-02-15T11:00:00Z"), ("b", "2027-02-15T18:00:00Z")] {
        let row = b.row(name).await;
        assert_eq!((row.next_cycle, row.next_due_at), (1, Some(due.parse().unwrap())), "{name}");
    }
}

async fn a_payment_of_which_a_part_changed_hands_is_not_recorded_and_the_rest_is_given_back(backend: Backend) {
    let Some(b) = Together::begin(backend, "a part changed hands", &BOOK).await else { return };
    let mut claims = b.claim().await;
    let other = b.0.store.claim_due(MERCHANT, b.now(), b.now(), b.lease(), 100).await.unwrap().due;
    assert_eq!(names(&other), ["d"]);
    claims.extend(other);
    let batch = b.batch(&claims).await;
    // A person changes b in between.
    let catalog = b.0.store.catalog().await.unwrap();
    let change = Change::Skip { cycle: 1 };
    let (change, _) = propose(&catalog, &b.row("b").await, change, ("away", "ann"), b.now()).unwrap();
    b.0.store.amend(&change).await.unwrap().unwrap();
    assert_eq!(b.commit(batch).await, (1, 4), "d is recorded; two charges and two moves are not");
    let charges = b.charges().await;
    assert_eq!(charges.iter().map(|charge| charge.subscription.as_str()).collect::<Vec<_>>(), ["d"]);
    assert_eq!((b.row("a").await.next_cycle, b.row("b").await.next_cycle), (0, 0));
    assert_eq!(b.free().await, ["a"], "given back at once");
    assert_eq!(b.commit(b.batch(&b.claim().await).await).await, (1, 0), "drawn again, they are together");
}

async fn a_payment_for_a_cycle_that_is_recorded_already_is_not_recorded(backend: Backend) {
    let Some(b) = Together::begin(backend, "recorded already", &BOOK).await else { return };
    let claims = b.claim().await;
    assert_eq!(b.commit(b.batch(&claims).await).await, (1, 0));
    // Somebody sets b back to a cycle that was charged.
    let catalog = b.0.store.catalog().await.unwrap();
    let (change, _) =
        propose(&catalog, &b.row("b").await, Change::Pause { until: None }, ("", "ann"), b.now()).unwrap();
    b.0.store.amend(&change).await.unwrap().unwrap();
    let next_due_at = Some("2027-02-15T18:00:00Z".parse().unwrap());
    let goes_on = GoesOn { next_cycle: 0, next_due_at, paused: false };
    let back = Resume { from_cycle: 1, goes_on, owed_until: None };
    assert!(b.0.store.resume(&id("b"), &back, "ann", b.now()).await.unwrap());
    b.0.clock.set("2027-02-15T18:00:00Z".parse().unwrap());
    let mut claims = b.0.store.claim_due(MERCHANT, b.now(), b.now(), b.lease(), 100).await.unwrap().due;
    claims.retain(|claim| ["a", "b"].contains(&claim.value.id.as_str()));
    let mut batch = b.batch(&[claims[0].clone()]).await;
    // Drawn as if cycle 0 of b were still to be charged.
    let (lead, old) =
        (&mut batch.new[0], b.charges().await.into_iter().find(|one| one.subscription == id("b")).unwrap());
    let part = Part {
        charge: old.id,
        subscription: old.subscription.clone(),
        cycle: 0,
        plan: old.plan.clone(),
        amount: old.amount,
    };
    lead.charge.amount = usd(4_250);
    lead.charge.carried = Some(Carried { parts: 1, amount: usd(1_250) });
    lead.carries = vec![part];
    let mut advance = batch.advances[0].value.clone();
    (advance.subscription, advance.from_cycle, advance.next_cycle) = (id("b"), 0, 1);
    batch.advances.push(Claimed { value: advance, fence: claims[1].fence });
    batch.new.push(NewCharge { charge: old, intent: None, amended: Amended::default(), carries: vec![] });
    let (intents, lost) = b.commit(batch).await;
    assert_eq!((intents, lost), (0, 3));
    assert_eq!(b.row("b").await.status, SubscriptionStatus::Quarantined);
    assert_eq!((b.row("a").await.next_cycle, b.row("a").await.status), (1, SubscriptionStatus::Active));
    assert!(b.free().await.contains(&"a".to_owned()), "given back, to be charged without b");
}

async fn a_payment_that_does_not_add_up_is_refused_whole(backend: Backend) {
    let Some(b) = Together::begin(backend, "does not add up", &BOOK).await else { return };
    // The map keeps what it is given: only a database can be told something else than what was drawn.
    if backend == Backend::Memory {
        return;
    }
    let claims = b.claim().await;
    let good = b.batch(&claims).await;
    let spoilt: [fn(&mut IntentBatch); 6] = [
        |batch| batch.new[0].carries[0].amount = usd(1_251),
        |batch| batch.new[0].charge.carried = Some(Carried { parts: 1, amount: usd(1_251) }),
        |batch| batch.new[0].charge.carried = Some(Carried { parts: 2, amount: usd(1_250) }),
        |batch| batch.new[0].charge.carried = None,
        |batch| batch.new[1].charge.state = State::Skipped { why: SkipWhy::Person, at: batch.at },
        // Left to others, and to nobody.
        |batch| (batch.new[0].carries, batch.new[0].charge.carried) = (vec![], None),
    ];
    for (n, spoil) in spoilt.into_iter().enumerate() {
        let mut batch = good.clone();
        spoil(&mut batch);
        assert!(b.0.store.commit_intents(batch).await.is_err(), "case {n}");
        assert_eq!(b.charges().await, [], "case {n}");
        assert_eq!(b.row("a").await.next_cycle, 0, "case {n}");
    }
    assert_eq!(b.commit(good).await, (1, 0));
}

async fn a_payment_that_failed_for_good_pauses_everybody_it_was_for(backend: Backend) {
    let Some(b) = Together::begin(backend, "failed together", &BOOK).await else { return };
    assert_eq!(b.commit(b.batch(&b.claim().await).await).await, (1, 0));
    let lead = b.charges().await.remove(0);
    let state = State::Failed {
        class: DeclineClass::Never,
        code: "STOLEN_CARD".to_owned(),
        why: GaveUp::HardDecline,
        at: b.now(),
    };
    let verdict = Verdict {
        before: Claimed { value: lead.clone(), fence: 0 },
        after: Some(Charge { state, ..lead }),
        attempt: 1,
        observations: vec![],
        stop: Some(domain::dunning::Stop::Pause),
    };
    assert_eq!(b.0.store.commit_verdicts(&[verdict]).await.unwrap().applied, 1);
    for (name, status) in [("a", "paused"), ("b", "paused"), ("c", "active"), ("d", "active")] {
        assert_eq!(b.row(name).await.status.as_str(), status, "{name}");
    }
}

async fn a_payment_of_a_cancelled_subscription_runs_on_for_the_others(backend: Backend) {
    let Some(b) = Together::begin(backend, "cancelled", &BOOK).await else { return };
    assert_eq!(b.commit(b.batch(&b.claim().await).await).await, (1, 0));
    let lead = b.charges().await.remove(0);
    let state = State::Failing { class: DeclineClass::LaterFunds, code: "51".to_owned(), next_at: b.now() };
    let verdict = Verdict {
        before: Claimed { value: lead.clone(), fence: 0 },
        after: Some(in_state(&lead, state, b.now())),
        attempt: 1,
        observations: vec![],
        stop: None,
    };
    assert_eq!(b.0.store.commit_verdicts(&[verdict]).await.unwrap().applied, 1);
    let cancelled = b.0.store.cancel(&id("a"), "ann", b.now()).await.unwrap().unwrap();
    assert_eq!((cancelled.skipped, cancelled.in_flight), (0, 1));
    let open = b.0.store.claim_open(MERCHANT, b.now(), b.lease(), 10).await.unwrap().remove(0);
    let charge = open.value.open.charge.clone();
    assert_eq!(charge.carried, lead.carried, "a claim shows what it carries");
    let charge = charge.step(Event::Send { attempt: 2 }, b.now(), &Limits::default()).unwrap();
    let new_attempt = Some(intent(&charge, 2, b.now()));
    let moved = vec![MovedCharge { charge, fence: open.fence, new_attempt, again: None }];
    let batch = IntentBatch { at: b.now(), holds_seen: vec![], advances: vec![], new: vec![], moved, day: None };
    assert_eq!(b.commit(batch).await, (1, 0), "the next try is recorded all the same");
    assert_eq!(b.charges().await[0].carried, lead.carried);
}

async fn what_a_payment_collects_is_never_changed(backend: Backend) {
    if backend == Backend::Memory {
        return;
    }
    let Some(b) = Together::begin(backend, "kept", &BOOK).await else { return };
    assert_eq!(b.commit(b.batch(&b.claim().await).await).await, (1, 0));
    let database = sea_orm::Database::connect(&b.0.url).await.unwrap();
    for sql in ["UPDATE charge_part SET amount_minor = 1", "DELETE FROM charge_part"] {
        let error = database.execute_unprepared(sql).await.unwrap_err().to_string();
        assert!(error.contains("written once and never changed"), "{error}");
    }
}
