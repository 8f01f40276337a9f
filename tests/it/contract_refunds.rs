//! The contract of the refunds' store: one suite, told of the map, of SQLite and of PostgreSQL.

use std::collections::BTreeSet;
use std::sync::Arc;

use autopay::engine::Refunds;
use autopay::gateway::CcgGateway;
use autopay::ports::recon::Span;
use autopay::ports::refund::{
    Begun, Kept, Learnt, RefundAsked, RefundFilter, RefundIntent, RefundObservation, RefundRecord, RefundVerdict,
};
use autopay::ports::{Claimed, Store};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::{DateTime, TimeDelta, Utc};
use domain::agenda::Scope;
use domain::attempt::Body;
use domain::charge::{Charge, Limits};
use domain::id::{ChargeId, Key, RefundId};
use domain::money::{Currency, Money};
use domain::refund::{Event, FailWhy, ParkWhy, Reason, Refund, State, Wish};
use sandbox::Behaviour;
use sea_orm::ConnectionTrait as _;

use crate::world::{Backend, MERCHANT, World, card, client, plan, subscriber};

/// Every sentence of the contract, told of each kind of store.
macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Memory, |b| Box::pin(super::$sentence(b))).await; })* }
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Sqlite, |b| Box::pin(super::$sentence(b))).await; })* }
        mod postgresql { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Postgres, |b| Box::pin(super::$sentence(b))).await; })* }
    };
}

contract! {
    a_refund_survives_the_store_with_everything_it_carries;
    concurrent_refunds_of_one_charge_never_exceed_what_was_collected;
    sending_is_committed_once_whoever_tries_and_however_often;
    what_provably_did_not_move_may_be_refunded_anew;
    a_disputed_charge_takes_no_refund_and_sends_none;
    a_hold_set_in_between_sends_nothing;
    an_old_version_changes_nothing;
    claims_are_shared_out_and_respected_until_their_lease_ends;
    an_announced_id_is_a_hint_that_only_a_sent_refund_takes;
    an_announced_id_and_the_senders_answer_meet_without_loss;
    refunds_are_listed_by_word_and_charge_and_paged;
    a_reconciliation_takes_refunds_recorded_by_the_end_of_its_days;
    a_history_tells_everything_and_stands_in_the_charges_timeline;
}

/// Paid charges of 79.00 on a store, and everything to refund them.
struct Bench {
    world: World,
    refunds: Refunds,
    charges: Vec<Charge>,
    backend: Backend,
}

async fn on<F>(backend: Backend, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    let Some(world) = World::begin(backend, "2027-01-15T10:00:00Z", "the refunds' contract").await else { return };
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let rows = (1..=3).map(|n| subscriber(&format!("sub-{n}"), "gold", "2027-01-15", card(Behaviour::Pays, n)));
    world.enrol(rows.collect()).await;
    world.turn_to("2027-01-15T11:00:00Z");
    assert_eq!(world.run().await.paid, 3);
    let charges = world.charges().await;
    let gateway = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
    let refunds = Refunds::new(world.engine.clone(), gateway);
    sentence(Bench { world, refunds, charges, backend }).await;
}

fn dollars(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn reason() -> Reason {
    Reason::parse("returned").unwrap()
}

fn body() -> Body {
    Body { text: r#"{"merchantTransactionId":"x"}"#.to_owned(), sha256: "ab".repeat(32) }
}

fn observation(event: Event) -> RefundObservation {
    RefundObservation {
        asked: RefundAsked::ById,
        event,
        named: None,
        http_status: Some(200),
        gateway_status: Some("COMPLETED".to_owned()),
        detail: Some("said".to_owned()),
        body_sha256: Some("cd".repeat(32)),
        request_id: Some("req-1".to_owned()),
    }
}

impl Bench {
    fn store(&self) -> &Arc<dyn Store> {
        &self.world.store
    }

    fn now(&self) -> DateTime<Utc> {
        self.world.now()
    }

    async fn record(&self, n: usize, minor: Option<i64>) -> RefundRecord {
        let proposal = self
            .refunds
            .record(self.charges[n].id, &Wish { amount: minor.map(dollars), ..Wish::all(reason()) }, "ann")
            .await
            .unwrap();
        self.read(proposal.refund.id).await
    }

    async fn read(&self, id: RefundId) -> RefundRecord {
        self.store().refund(id).await.unwrap().unwrap()
    }

    async fn intent(&self, record: &RefundRecord) -> RefundIntent {
        let holds_seen = self.store().holds().await.unwrap().iter().map(|hold| hold.id).collect();
        let after = record.refund.clone().step(Event::Send, self.now(), &Limits::default()).unwrap();
        RefundIntent { before: record.claimed(), after, body: body(), at: self.now(), holds_seen }
    }

    async fn begin(&self, record: &RefundRecord) -> RefundRecord {
        let Begun::Committed(sendable) = self.store().begin_refund(&self.intent(record).await).await.unwrap() else {
            panic!("not committed")
        };
        let read = self.read(record.refund.id).await;
        assert_eq!(sendable.claimed(), read.claimed());
        assert_eq!(read.body, Some(body()));
        read
    }

    fn verdict(&self, before: &RefundRecord, event: Event) -> RefundVerdict {
        let after = before.refund.clone().step(event.clone(), self.now(), &Limits::default()).unwrap();
        RefundVerdict {
            before: before.claimed(),
            after: Some(after),
            observations: vec![(self.now(), observation(event))],
            by: "autopay".to_owned(),
            note: None,
            at: self.now(),
        }
    }

    async fn learn(&self, before: &RefundRecord, event: Event) -> RefundRecord {
        let verdict = self.verdict(before, event);
        assert!(matches!(self.store().commit_refund(&verdict).await.unwrap(), Kept::Applied(_)));
        let read = self.read(before.refund.id).await;
        assert_eq!(Some(&read.refund), verdict.after.as_ref(), "a state survives the store with everything it carries");
        read
    }

    async fn left(&self, n: usize) -> Result<Money, String> {
        let proposal = self.refunds.propose(self.charges[n].id, &Wish::all(reason())).await;
        proposal.map(|proposal| proposal.left).map_err(|error| error.to_string())
    }
}

fn completed(id: &str, minor: i64) -> Event {
    Event::Completed { id: id.to_owned(), amount: dollars(minor) }
}

async fn a_refund_survives_the_store_with_everything_it_carries(b: Bench) {
    let recorded = b.record(0, Some(1_000)).await;
    let refund = &recorded.refund;
    assert_eq!((refund.number, refund.amount, refund.whole), (1, dollars(1_000), false));
    assert_eq!((recorded.recorded_by.as_str(), refund.reason.as_str(), &recorded.body), ("ann", "returned", &None));
    assert_eq!(b.store().refund_by_key(refund.key).await.unwrap().as_ref(), Some(&recorded));
    let put_off = b.learn(&recorded, Event::PutOff { wait: None }).await;
    assert!(matches!(put_off.refund.state, State::Recorded { put_off: 1, .. }));
    let sending = b.begin(&put_off).await;
    let parked = b.learn(&sending, Event::Silent).await;
    assert_eq!(parked.refund.state, State::Parked { why: ParkWhy::AnswerLost, since: b.now() });
    let unknown = b.learn(&parked, Event::Learnt { id: "rf-1".into() }).await;
    assert_eq!(unknown.refund.hint.as_deref(), Some("rf-1"));
    let settling = b.learn(&unknown, Event::Accepted { id: "rf-1".into() }).await;
    assert_eq!((settling.refund.hint.as_deref(), settling.refund.gateway_id.as_deref()), (None, Some("rf-1")));
    let part = Event::PartlyCompleted { id: "rf-1".into(), given_back: dollars(400), code: "card_gone".into() };
    let partly = b.learn(&settling, part).await;
    assert_eq!((partly.refund.given_back(), partly.refund.may_have_moved()), (dollars(400), dollars(400)));
    assert_eq!(b.left(0).await, Ok(dollars(7_500)));
    // The other ends.
    let sending = b.begin(&b.record(1, None).await).await;
    assert!(sending.refund.whole);
    let done = b.learn(&sending, completed("rf-2", 7_900)).await;
    assert_eq!(done.refund.state, State::Refunded { at: b.now() });
    let withdrawn = b.learn(&b.record(2, None).await, Event::Withdraw).await;
    assert!(matches!(withdrawn.refund.state, State::Failed { why: FailWhy::Withdrawn, .. }));
    let back = b.store().given_back(&b.charges.iter().map(|charge| charge.id).collect::<Vec<_>>()).await.unwrap();
    let sum = |n: usize| back.get(&b.charges[n].id).copied();
    assert_eq!([sum(0), sum(1), sum(2)], [Some(dollars(400)), Some(dollars(7_900)), None]);
    assert_eq!(b.store().refund(RefundId::of(ChargeId(uuid::Uuid::nil()), 1)).await.unwrap(), None);
}

async fn concurrent_refunds_of_one_charge_never_exceed_what_was_collected(b: Bench) {
    let charge = b.charges[0].id;
    let tries = (0..16).map(|_| {
        let refunds = b.refunds.clone();
        tokio::spawn(async move { refunds.record(charge, &Wish::of(dollars(1_000), reason()), "ann").await.is_ok() })
    });
    let mut recorded = 0;
    for one in tries.collect::<Vec<_>>() {
        recorded += u32::from(one.await.unwrap());
    }
    // Some gave up because others were faster each time; those who ask again find what is left, and no cent more.
    while b.refunds.record(charge, &Wish::of(dollars(1_000), reason()), "ann").await.is_ok() {
        recorded += 1;
    }
    assert_eq!(recorded, 7);
    let found = b.store().refunds_of(charge).await.unwrap();
    assert_eq!(found.iter().map(|one| one.refund.number).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    assert_eq!(found.iter().map(|one| one.refund.key).collect::<BTreeSet<_>>().len(), 7);
    assert_eq!(b.left(0).await, Ok(dollars(900)));
    b.record(0, None).await;
    assert!(b.left(0).await.unwrap_err().contains("nothing is left"));
    // A command that believes an old ledger is refused by the guard, whatever it asks for.
    let stale = Refund { number: 9, id: RefundId::of(charge, 9), ..found[0].refund.clone() };
    for amount in [1, 1_000, 7_900] {
        let stale = Refund { amount: dollars(amount), ..stale.clone() };
        assert!(!b.store().record_refund(&stale, dollars(7_900), "eve").await.unwrap());
    }
}

async fn sending_is_committed_once_whoever_tries_and_however_often(b: Bench) {
    let recorded = b.record(0, None).await;
    let intent = b.intent(&recorded).await;
    let tries = (0..8).map(|_| {
        let (store, intent) = (b.store().clone(), intent.clone());
        tokio::spawn(async move { matches!(store.begin_refund(&intent).await.unwrap(), Begun::Committed(_)) })
    });
    let mut committed = 0;
    for one in tries.collect::<Vec<_>>() {
        committed += u32::from(one.await.unwrap());
    }
    assert_eq!(committed, 1);
    // Not under its newest version either, nor after any end it may come to.
    let mut now = b.read(recorded.refund.id).await;
    for event in [Event::Silent, Event::Learnt { id: "rf-1".into() }, Event::Declined { id: None, code: "x".into() }] {
        let again = RefundIntent { before: now.claimed(), ..intent.clone() };
        assert!(matches!(b.store().begin_refund(&again).await.unwrap(), Begun::Lost));
        now = b.learn(&now, event).await;
    }
    let again = RefundIntent { before: now.claimed(), ..intent.clone() };
    assert!(matches!(b.store().begin_refund(&again).await.unwrap(), Begun::Lost));
}

async fn what_provably_did_not_move_may_be_refunded_anew(b: Bench) {
    let first = b.begin(&b.record(0, None).await).await;
    assert!(b.left(0).await.is_err());
    b.learn(&first, Event::Declined { id: Some("rf-1".into()), code: "card_gone".into() }).await;
    assert_eq!(b.left(0).await, Ok(dollars(7_900)));
    let second = b.record(0, None).await;
    assert_eq!(second.refund.number, 2);
    assert_ne!(second.refund.key, first.refund.key);
    // A person's finding frees the amount too; if they take it back after it was given again, the guard says no.
    let parked = b.learn(&b.begin(&second).await, Event::Silent).await;
    b.world.turn(TimeDelta::minutes(15));
    let judged = b.learn(&parked, Event::JudgedNotExecuted).await;
    let third = b.record(0, None).await;
    let mistaken = b.verdict(&judged, Event::JudgedRefunded { id: "rf-2".into() });
    assert_eq!(b.store().commit_refund(&mistaken).await.unwrap(), Kept::Overdrawn);
    assert_eq!(b.read(judged.refund.id).await, judged);
    b.learn(&third, Event::Withdraw).await;
    b.learn(&judged, Event::JudgedRefunded { id: "rf-2".into() }).await;
    assert!(b.left(0).await.unwrap_err().contains("nothing is left"));
}

async fn a_disputed_charge_takes_no_refund_and_sends_none(b: Bench) {
    let charge = b.charges[0].id;
    let recorded = b.record(0, Some(1_000)).await;
    for _ in 0..2 {
        b.store().dispute(charge, "dp-1", true, b.now()).await.unwrap();
    }
    b.store().dispute(charge, "dp-2", true, b.now()).await.unwrap();
    assert!(b.store().is_disputed(charge).await.unwrap());
    assert!(b.left(0).await.unwrap_err().contains("disputed"));
    assert!(b.left(1).await.is_ok());
    let next =
        Refund { number: 2, id: RefundId::of(charge, 2), key: Key(uuid::Uuid::max()), ..recorded.refund.clone() };
    assert!(!b.store().record_refund(&next, dollars(7_900), "eve").await.unwrap());
    assert!(matches!(b.store().begin_refund(&b.intent(&recorded).await).await.unwrap(), Begun::Lost));
    for dispute in ["dp-1", "never-opened"] {
        b.store().dispute(charge, dispute, false, b.now()).await.unwrap();
        assert!(b.store().is_disputed(charge).await.unwrap(), "another one is still open");
    }
    b.store().dispute(charge, "dp-2", false, b.now()).await.unwrap();
    assert!(!b.store().is_disputed(charge).await.unwrap());
    b.begin(&recorded).await;
}

async fn a_hold_set_in_between_sends_nothing(b: Bench) {
    let recorded = b.record(0, None).await;
    let intent = b.intent(&recorded).await;
    b.store().hold(&Scope::All, "stop", "ann", b.now()).await.unwrap();
    assert!(matches!(b.store().begin_refund(&intent).await.unwrap(), Begun::HoldsChanged));
    assert_eq!(b.read(recorded.refund.id).await, recorded);
}

async fn an_old_version_changes_nothing(b: Bench) {
    let sending = b.begin(&b.record(0, None).await).await;
    let late = b.verdict(&sending, completed("rf-1", 7_900));
    let parked = b.learn(&sending, Event::LeaseRanOut).await;
    assert_eq!(b.store().commit_refund(&late).await.unwrap(), Kept::Stale);
    assert_eq!(b.read(sending.refund.id).await, parked);
    // What was learnt is kept as evidence, and may be applied to what the refund is by now.
    let evidence = RefundVerdict { after: None, ..late };
    assert!(matches!(b.store().commit_refund(&evidence).await.unwrap(), Kept::Applied(_)));
    let history = b.store().refund_history(sending.refund.id).await.unwrap();
    assert!(history.iter().any(|line| line.event == "completed (evidence only)"));
    b.learn(&parked, completed("rf-1", 7_900)).await;
}

async fn claims_are_shared_out_and_respected_until_their_lease_ends(b: Bench) {
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(b.record(n, Some(100)).await.refund.id);
        b.world.turn(TimeDelta::seconds(1));
    }
    let lease = b.now() + TimeDelta::seconds(90);
    let claim = async |limit| b.store().claim_refunds(MERCHANT, b.now(), lease, limit).await.unwrap();
    let first = claim(2).await;
    assert_eq!(first.iter().map(|one| one.refund.id).collect::<Vec<_>>(), ids[..2], "the oldest first");
    assert_eq!(claim(9).await.iter().map(|one| one.refund.id).collect::<Vec<_>>(), ids[2..]);
    assert_eq!(claim(9).await, []);
    // A claim that was lost begins nothing.
    b.world.turn(TimeDelta::seconds(90));
    let second = claim(9).await;
    assert_eq!(second.len(), 3);
    assert!(matches!(b.store().begin_refund(&b.intent(&first[0]).await).await.unwrap(), Begun::Lost));
    b.store().release_refund(ids[1], first[1].version).await.unwrap();
    assert_eq!(b.store().claim_refunds(MERCHANT, b.now(), b.now(), 9).await.unwrap(), second_again(&second));
    let other = domain::id::MerchantId(uuid::Uuid::from_u128(7));
    assert_eq!(b.store().claim_refunds(other, b.now(), lease, 9).await.unwrap(), []);
}

/// Claimed with a lease that had ended at once: taken again, each under a newer version.
fn second_again(claims: &[RefundRecord]) -> Vec<RefundRecord> {
    claims.iter().map(|one| RefundRecord { version: one.version + 1, ..one.clone() }).collect()
}

async fn an_announced_id_is_a_hint_that_only_a_sent_refund_takes(b: Bench) {
    let told = async |key, id: &str| b.store().refund_learnt(key, id, b.now()).await.unwrap();
    assert_eq!(told(Key(uuid::Uuid::max()), "rf-1").await, Learnt::Foreign);
    let recorded = b.record(0, None).await;
    let key = recorded.refund.key;
    assert_eq!(told(key, "rf-1").await, Learnt::Foreign, "it was never sent");
    assert_eq!(b.read(recorded.refund.id).await, recorded);
    let sending = b.begin(&recorded).await;
    assert_eq!(told(key, "rf-1").await, Learnt::Taken);
    assert_eq!(told(key, "rf-1").await, Learnt::Taken);
    assert_eq!(told(key, "rf-9").await, Learnt::Busy);
    let hinted = b.read(sending.refund.id).await;
    assert_eq!((hinted.refund.state.clone(), hinted.refund.hint.as_deref()), (sending.refund.state, Some("rf-1")));
    let lost = b.learn(&hinted, Event::Silent).await;
    assert_eq!((lost.refund.state.name(), lost.refund.state.next_at()), ("unknown", Some(b.now())));
    b.learn(&lost, completed("rf-1", 7_900)).await;
    assert_eq!(told(key, "rf-1").await, Learnt::Final);
    assert_eq!(told(key, "rf-9").await, Learnt::Final);
}

async fn an_announced_id_and_the_senders_answer_meet_without_loss(b: Bench) {
    for n in 0..3 {
        let sending = b.begin(&b.record(n, None).await).await;
        let (store, key, at) = (b.store().clone(), sending.refund.key, b.now());
        let id = format!("rf-{n}");
        let event = tokio::spawn(async move { store.refund_learnt(key, &id, at).await.unwrap() });
        // The sender's answer was lost at the same moment: it steps whatever it finds.
        let mut before = sending;
        while b.store().commit_refund(&b.verdict(&before, Event::Silent)).await.unwrap() == Kept::Stale {
            before = b.read(before.refund.id).await;
        }
        assert_eq!(event.await.unwrap(), Learnt::Taken);
        let met = b.read(before.refund.id).await;
        assert_eq!((met.refund.state.name(), met.refund.known_as()), ("unknown", Some(format!("rf-{n}").as_str())));
    }
}

async fn a_reconciliation_takes_refunds_recorded_by_the_end_of_its_days(b: Bench) {
    let record = b.record(0, Some(100)).await;
    let beside = async |on: &str, finals| {
        let span = Span { from: on.parse().unwrap(), until: on.parse().unwrap() };
        let page = b.store().refunds_beside(MERCHANT, span, finals, &None, 10).await.unwrap();
        page.whole().into_iter().map(|found| found.refund.id).collect::<Vec<_>>()
    };
    let id = record.refund.id;
    for finals in [false, true] {
        assert_eq!(beside("2027-01-14", finals).await, [], "it is recorded after that day");
        assert_eq!(beside("2027-01-15", finals).await, [id]);
        assert_eq!(beside("2027-01-16", finals).await, [id], "still open");
    }
    let begun = b.begin(&record).await;
    b.learn(&begun, completed("rf-1", 100)).await;
    assert_eq!(beside("2027-01-15", true).await, [id], "final, of that day");
    assert_eq!((beside("2027-01-15", false).await, beside("2027-01-16", true).await), (vec![], vec![]));
}

async fn refunds_are_listed_by_word_and_charge_and_paged(b: Bench) {
    let mut all = Vec::new();
    for n in [0, 1, 2, 0, 1, 2] {
        all.push(b.record(n, Some(100)).await);
        b.world.turn(TimeDelta::seconds(1));
    }
    all[1] = b.begin(&all[1]).await;
    all[2] = b.learn(&b.begin(&all[2]).await, Event::Silent).await;
    all[3] = b.learn(&b.begin(&all[3]).await, completed("rf-3", 100)).await;
    all[4] = b.learn(&all[4], Event::Withdraw).await;
    let list = async |words: &[&str], charge| {
        let filter = RefundFilter { words: words.iter().map(|word| (*word).to_owned()).collect(), charge };
        b.store().refunds(&filter, &None, 100).await.unwrap()
    };
    assert_eq!(list(&[], None).await, all);
    for (word, place) in [("sending", 1), ("outcome_unknown", 2), ("refunded", 3), ("failed", 4)] {
        assert_eq!(list(&[word], None).await, [all[place].clone()]);
    }
    assert_eq!(list(&["due", "refunded"], Some(b.charges[0].id)).await, [all[0].clone(), all[3].clone()]);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = b.store().refunds(&RefundFilter::default(), &after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.refund.recorded_at, last.refund.id.0.to_string()));
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let open = b.store().refunds_open().await.unwrap();
    let count = |word: &str| open.get(word).copied().unwrap_or(0);
    assert_eq!([count("due"), count("sending"), count("outcome_unknown"), count("failed")], [2, 1, 1, 0]);
}

async fn a_history_tells_everything_and_stands_in_the_charges_timeline(b: Bench) {
    let recorded = b.record(0, Some(100)).await;
    b.world.turn(TimeDelta::seconds(1));
    let sending = b.begin(&recorded).await;
    b.world.turn(TimeDelta::seconds(1));
    let parked = b.learn(&sending, Event::Silent).await;
    b.world.turn(TimeDelta::minutes(20));
    let mut judged = b.verdict(&parked, Event::JudgedNotExecuted);
    judged.observations.clear();
    (judged.by, judged.note) = ("ann".to_owned(), Some("statement of 16 January".to_owned()));
    b.store().commit_refund(&judged).await.unwrap();
    let history = b.store().refund_history(recorded.refund.id).await.unwrap();
    let lines: Vec<(&str, &str)> = history.iter().map(|line| (line.actor.as_str(), line.event.as_str())).collect();
    let expected = [
        ("ann", "refund.recorded"),
        ("autopay", "refund.sending"),
        ("autopay", "refund.parked"),
        ("gateway", "silent → parked"),
        ("ann", "refund.failed"),
    ];
    assert_eq!(lines, expected);
    assert!(history[0].detail.contains("reason: returned") && history[4].detail.contains("statement of 16 January"));
    let timeline = b.store().timeline(b.charges[0].id).await.unwrap();
    let decided = timeline.iter().filter(|line| line.event.starts_with("refund.")).count();
    assert_eq!(decided, 4, "every decision about a charge's money stands in its own timeline");
    assert_eq!(b.store().refund_history(RefundId(uuid::Uuid::nil())).await.unwrap(), []);
}

/// The last word is the database's, whatever a program believes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_itself_refuses_more_than_was_collected_and_a_second_sending() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        on(backend, |b| {
            Box::pin(async move {
                assert_eq!(b.backend, backend);
                let first = b.record(0, Some(7_000)).await;
                b.record(1, None).await;
                let database = open(&DatabaseUrl::parse(b.world.url()).unwrap(), Pool::engine(1)).await.unwrap();
                for sql in [
                    "UPDATE refund_total SET taken_minor = collected_minor + 1",
                    "UPDATE refund_total SET taken_minor = -1",
                    "UPDATE refund SET state = 'sending'",
                    "UPDATE refund SET state = 'sending', sent_at = recorded_at",
                    "UPDATE refund SET given_back_minor = amount_minor + 1",
                    "UPDATE refund SET amount_minor = 0",
                    "UPDATE refund SET state = 'lost'",
                    "UPDATE refund SET gateway_id = 'rf-1'",
                    "UPDATE refund SET number = 1, charge_id = (SELECT charge_id FROM refund LIMIT 1)",
                ] {
                    assert!(database.execute_unprepared(sql).await.is_err(), "{sql}");
                }
                // A row that cannot be read is named and its neighbours go on.
                let spoil = format!("UPDATE refund SET reason = '' WHERE number = 1 AND amount_minor = {}", 7_000);
                database.execute_unprepared(&spoil).await.unwrap();
                let error = b.store().refund(first.refund.id).await.unwrap_err().to_string();
                assert!(error.contains("refund.reason") && error.contains(&first.refund.id.to_string()), "{error}");
                let claimed =
                    b.store().claim_refunds(MERCHANT, b.now(), b.now() + TimeDelta::seconds(9), 9).await.unwrap();
                assert_eq!(claimed.len(), 1);
                let _: Claimed<Refund> = claimed[0].claimed();
            })
        })
        .await;
    }
}
