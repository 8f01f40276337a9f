//! The contract of the inbox and of the dispute ledger: one suite, told of the map, of SQLite and of PostgreSQL.

use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::ports::dispute::DisputeEvent;
use autopay::ports::webhooks::{
    About, Arrived, Decision, InboxId, InboxItem, InboxState, IntakeBatch, IntakeDone, Kept, News, NewsKind, Replayed,
    Subject,
};
use autopay::ports::{Claimed, Clock as _, OpenCharge};
use chrono::{DateTime, TimeDelta, Utc};
use domain::charge::{Limits, State};
use domain::dispute::Standing;
use domain::id::{Key, MerchantId};
use sandbox::Behaviour;

use crate::webhook_support::{Ports, ports};
use crate::world::{Backend, Keep, MERCHANT, at, bank, plan, subscriber};

const START: &str = "2027-01-15T11:00:00Z";
const OTHER: MerchantId = MerchantId(uuid::Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222));

/// Each sentence is told of all three stores.
macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Memory, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Sqlite, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod postgresql { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Postgres, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
    };
}

contract! {
    a_delivery_is_kept_once_byte_for_byte_and_counted;
    a_delivery_is_taken_by_one_at_a_time_and_comes_back_when_its_lease_has_run_out;
    an_old_fence_decides_nothing;
    a_hint_makes_its_charge_due_now_by_key_or_by_payment_id;
    a_charge_that_is_asked_about_is_left_alone_and_its_delivery_comes_back;
    many_deliveries_about_one_charge_are_one_question;
    what_names_nothing_of_ours_or_an_earlier_attempt_changes_nothing;
    what_waited_is_woken_by_kind;
    old_bodies_are_emptied_and_their_rows_stay;
    a_replay_makes_new_again_what_has_its_body;
    deliveries_are_listed_by_state_latest_first;
    a_dispute_is_one_row_whose_rank_never_goes_back_and_every_delivery_one_line;
    disputes_recorded_at_once_end_at_the_highest_rank;
}

struct Bench {
    ports: Ports,
    clock: Arc<TurnedClock>,
    _keep: Keep,
}

async fn on<F>(backend: Backend, name: &str, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    let clock = Arc::new(TurnedClock::new(at(START)));
    if let Some((ports, keep, _)) = ports(backend, clock.clone(), name).await {
        sentence(Bench { ports, clock, _keep: keep }).await;
    }
}

fn news(name: &str) -> News {
    News {
        name: name.to_owned(),
        kind: NewsKind::Payment,
        resource_id: Some("9f0c".to_owned()),
        merchant_transaction_id: None,
        dedupe_key: format!("{name}|9f0c|COMPLETED|00"),
        about: About::Unknown,
    }
}

fn secs(n: i64) -> TimeDelta {
    TimeDelta::seconds(n)
}

fn names(items: &[Claimed<InboxItem>]) -> Vec<InboxId> {
    items.iter().map(|item| item.value.id).collect()
}

impl Bench {
    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn keep(&self, name: &str) -> Kept {
        self.keep_of(MERCHANT, news(name)).await
    }

    async fn keep_of(&self, merchant: MerchantId, news: News) -> Kept {
        let body = format!("\u{0}{}\n", news.name).into_bytes();
        self.ports.inbox.keep(&Arrived { merchant, news, body, at: self.now() }).await.unwrap()
    }

    async fn claim(&self, limit: u32) -> Vec<Claimed<InboxItem>> {
        self.ports.inbox.claim_inbox(MERCHANT, self.now(), self.now() + secs(60), limit).await.unwrap()
    }

    async fn settle(&self, decided: Vec<(Claimed<InboxId>, Decision)>) -> IntakeDone {
        let batch = IntakeBatch { merchant: MERCHANT, at: self.now(), limits: Limits::default(), decided };
        self.ports.inbox.settle_inbox(&batch).await.unwrap()
    }

    /// Keeps, claims and decides one delivery each.
    async fn decide(&self, decisions: Vec<Decision>) -> IntakeDone {
        for n in 0..decisions.len() {
            self.keep(&format!("E{n}-{}", self.now().timestamp())).await;
        }
        let claimed = self.claim(1_000).await;
        assert_eq!(claimed.len(), decisions.len());
        let claims = claimed.iter().map(|item| Claimed { value: item.value.id, fence: item.fence });
        self.settle(claims.zip(decisions).collect()).await
    }

    async fn states(&self) -> Vec<InboxState> {
        let mut rows = self.ports.inbox.inbox_rows(&[], 0, 1_000).await.unwrap();
        rows.sort_by_key(|row| row.name.clone());
        rows.into_iter().map(|row| row.state).collect()
    }

    /// A charge that is settling with the bank, by the real engine's own commits.
    async fn settling(&self) -> (OpenCharge, Key) {
        let world = crate::world::World::begin_around(
            Backend::Memory,
            self.clock.clone(),
            (self.ports.store.clone(), Keep::Nothing, String::new()),
            sandbox::Options::default(),
        )
        .await;
        world.apply(&[plan("gold", "1 month", "UTC", "11:00", "79.00")]).await;
        let row = subscriber("sub-1", "gold", "2027-01-15", bank(Behaviour::AchSettles { days: Some(3) }, 1));
        world.enrol(vec![row]).await;
        world.run().await;
        let page = self.ports.store.peek_open(MERCHANT, at("2027-03-01T00:00:00Z"), &None, 10).await.unwrap().0;
        let open = page.into_iter().next().unwrap();
        assert_eq!(open.open.charge.state.name(), "settling");
        let key = open.attempt.as_ref().unwrap().key;
        (open, key)
    }

    async fn next_at(&self, open: &OpenCharge) -> Option<DateTime<Utc>> {
        self.ports.store.charge(open.open.charge.id).await.unwrap().unwrap().state.next_at()
    }
}

fn ask(key: Option<Key>, payment_id: Option<String>) -> Decision {
    Decision::Ask { subject: Subject { key, payment_id }, unpaid: false }
}

async fn a_delivery_is_kept_once_byte_for_byte_and_counted(b: Bench) {
    assert_eq!(b.keep("A").await, Kept::New);
    b.clock.advance(secs(5));
    assert_eq!(b.keep("A").await, Kept::Again(2));
    assert_eq!(b.keep("B").await, Kept::New);
    // Another merchant's event of the same words is another one.
    assert_eq!(b.keep_of(OTHER, news("A")).await, Kept::New);
    let claimed = b.claim(10).await;
    let bodies: Vec<_> = claimed.iter().map(|item| item.value.body.clone().unwrap()).collect();
    assert_eq!(bodies, [b"\0A\n".to_vec(), b"\0B\n".to_vec()]);
    let row = b.ports.inbox.inbox_rows(&[], 0, 10).await.unwrap().into_iter().find(|row| row.deliveries == 2).unwrap();
    assert_eq!((row.received_at, row.last_received_at), (at(START), at(START) + secs(5)));
    assert_eq!((row.name.as_str(), row.kind.as_str(), row.resource_id.as_deref()), ("A", "payment", Some("9f0c")));
    assert_eq!(b.ports.inbox.inbox_backlog(MERCHANT).await.unwrap(), 2);
}

async fn a_delivery_is_taken_by_one_at_a_time_and_comes_back_when_its_lease_has_run_out(b: Bench) {
    for name in ["A", "B", "C"] {
        b.keep(name).await;
        b.clock.advance(secs(1));
    }
    let (first, second) = (b.claim(2).await, b.claim(10).await);
    assert_eq!((first.len(), second.len()), (2, 1));
    assert_eq!(b.claim(10).await, []);
    b.clock.advance(secs(60));
    let again = b.claim(10).await;
    assert_eq!(names(&again), [names(&first), names(&second)].concat(), "the oldest first");
    assert!(again.iter().all(|item| item.fence == 2));
    let (one, other) = tokio::join!(b.claim(10), b.claim(10));
    assert!(one.is_empty() && other.is_empty());
}

async fn an_old_fence_decides_nothing(b: Bench) {
    b.keep("A").await;
    let old = b.claim(1).await.remove(0);
    b.clock.advance(secs(61));
    let new = b.claim(1).await.remove(0);
    let end = |item: &Claimed<InboxItem>, state| {
        (Claimed { value: item.value.id, fence: item.fence }, Decision::End(state, "test"))
    };
    b.settle(vec![end(&old, InboxState::Foreign)]).await;
    assert_eq!(b.states().await, [InboxState::New]);
    b.settle(vec![end(&new, InboxState::Unknown)]).await;
    assert_eq!(b.states().await, [InboxState::Unknown]);
    b.clock.advance(secs(100));
    assert_eq!(b.claim(1).await, []);
}

async fn a_hint_makes_its_charge_due_now_by_key_or_by_payment_id(b: Bench) {
    let (open, key) = b.settling().await;
    let payment = open.attempt.as_ref().unwrap().payment_id.clone();
    let State::Settling { since, asked, slow, .. } = open.open.charge.state else { panic!() };
    for subject in [ask(Some(key), None), ask(None, payment.clone()), ask(Some(key), Some("another".to_owned()))] {
        b.clock.advance(secs(60));
        assert_eq!(b.decide(vec![subject]).await, IntakeDone { asked: 1, ended: 1, foreign: 0, later: 0 });
        let charge = b.ports.store.charge(open.open.charge.id).await.unwrap().unwrap();
        // A charge that is due already stays due since then.
        let next_at = charge.state.next_at().unwrap();
        assert!(next_at <= b.now());
        assert_eq!(charge.state, State::Settling { since, asked, next_at, slow });
        assert_eq!(charge.tries, open.open.charge.tries, "nothing else of it changed");
    }
    let told = b.ports.store.timeline(open.open.charge.id).await.unwrap();
    assert_eq!(told.iter().filter(|entry| entry.event == "charge.hint").count(), 3);
}

async fn a_charge_that_is_asked_about_is_left_alone_and_its_delivery_comes_back(b: Bench) {
    let (open, key) = b.settling().await;
    let due = b.next_at(&open).await.unwrap();
    b.clock.set(due);
    let claimed = b.ports.store.claim_open(MERCHANT, b.now(), b.now() + secs(90), 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(b.decide(vec![ask(Some(key), None)]).await, IntakeDone { asked: 0, ended: 0, foreign: 0, later: 1 });
    assert_eq!(b.claim(10).await, [], "not at once");
    b.clock.advance(secs(2));
    let again = b.claim(10).await;
    assert_eq!(again.len(), 1);
    // Whoever asks is gone; the hint counts now, and the late answer of the one who is gone is evidence only.
    b.clock.advance(secs(90));
    let again = Claimed { value: again[0].value.id, fence: again[0].fence };
    assert_eq!(b.settle(vec![(again, ask(Some(key), None))]).await.asked, 1);
    let now = b.ports.store.claim_open(MERCHANT, b.now(), b.now() + secs(90), 10).await.unwrap();
    assert_eq!(now[0].fence, claimed[0].fence + 2);
}

async fn many_deliveries_about_one_charge_are_one_question(b: Bench) {
    let (open, key) = b.settling().await;
    b.clock.advance(secs(5));
    let done = b.decide((0..50).map(|_| ask(Some(key), None)).collect()).await;
    assert_eq!((done.asked, done.ended), (1, 50));
    assert_eq!(b.next_at(&open).await, Some(b.now()));
}

async fn what_names_nothing_of_ours_or_an_earlier_attempt_changes_nothing(b: Bench) {
    let (open, key) = b.settling().await;
    let foreign = vec![ask(None, None), ask(Some(Key(uuid::Uuid::nil())), Some("nobody".to_owned()))];
    assert_eq!(b.decide(foreign).await, IntakeDone { asked: 0, ended: 2, foreign: 2, later: 0 });
    // Our own charge, for another merchant's deliveries.
    b.keep_of(OTHER, news("X")).await;
    let claimed = b.ports.inbox.claim_inbox(OTHER, b.now(), b.now() + secs(60), 10).await.unwrap();
    let decided = vec![(Claimed { value: claimed[0].value.id, fence: claimed[0].fence }, ask(Some(key), None))];
    let batch = IntakeBatch { merchant: OTHER, at: b.now(), limits: Limits::default(), decided };
    assert_eq!(b.ports.inbox.settle_inbox(&batch).await.unwrap().foreign, 1);
    assert_eq!(b.ports.store.charge(open.open.charge.id).await.unwrap().unwrap(), open.open.charge);
}

async fn what_waited_is_woken_by_kind(b: Bench) {
    let wait = || Decision::End(InboxState::Waiting, "nobody listens");
    b.decide(vec![wait(), wait()]).await;
    assert_eq!(b.ports.inbox.inbox_backlog(MERCHANT).await.unwrap(), 0);
    assert_eq!(b.ports.inbox.wake_waiting(MERCHANT, NewsKind::Dispute, b.now()).await.unwrap(), 0);
    assert_eq!(b.ports.inbox.wake_waiting(OTHER, NewsKind::Payment, b.now()).await.unwrap(), 0);
    assert_eq!(b.ports.inbox.wake_waiting(MERCHANT, NewsKind::Payment, b.now()).await.unwrap(), 2);
    assert_eq!(b.claim(10).await.len(), 2);
}

async fn old_bodies_are_emptied_and_their_rows_stay(b: Bench) {
    b.decide(vec![Decision::End(InboxState::Foreign, "test")]).await;
    b.clock.advance(secs(1));
    b.keep("unseen").await;
    b.clock.advance(TimeDelta::days(30));
    b.keep("young").await;
    let empty = async |limit| {
        let before = b.now() - TimeDelta::days(29);
        b.ports.inbox.empty_bodies(before, b.now(), limit).await.unwrap()
    };
    assert_eq!((empty(1).await, empty(10).await, empty(10).await), (1, 1, 0));
    let mut rows = b.ports.inbox.inbox_rows(&[], 0, 10).await.unwrap();
    rows.sort_by_key(|row| row.received_at);
    let seen: Vec<_> = rows.iter().map(|row| (row.state, row.has_body)).collect();
    assert_eq!(seen, [(InboxState::Foreign, false), (InboxState::Done, false), (InboxState::New, true)]);
    assert!(rows[1].why.as_deref().unwrap().contains("emptied"));
    assert_eq!(b.claim(10).await.len(), 1);
}

async fn a_replay_makes_new_again_what_has_its_body(b: Bench) {
    let nobody = InboxId(uuid::Uuid::nil());
    assert_eq!(b.ports.inbox.replay(nobody, "ann", b.now()).await.unwrap(), Replayed::NotFound);
    b.decide(vec![Decision::End(InboxState::Done, "test")]).await;
    let id = b.ports.inbox.inbox_rows(&[], 0, 10).await.unwrap()[0].id;
    assert_eq!(b.ports.inbox.replay(id, "ann", b.now()).await.unwrap(), Replayed::Yes);
    assert_eq!(names(&b.claim(10).await), [id]);
    b.ports.inbox.empty_bodies(b.now(), b.now(), 10).await.unwrap();
    assert_eq!(b.ports.inbox.replay(id, "ann", b.now()).await.unwrap(), Replayed::Emptied);
    assert_eq!(b.claim(10).await, []);
}

async fn deliveries_are_listed_by_state_latest_first(b: Bench) {
    for n in 0..7 {
        b.decide(vec![Decision::End([InboxState::Done, InboxState::Foreign][n % 2], "test")]).await;
        b.clock.advance(secs(1));
    }
    let list = async |states: &[InboxState], skip, limit| b.ports.inbox.inbox_rows(states, skip, limit).await.unwrap();
    let all = list(&[], 0, 100).await;
    assert_eq!(all.len(), 7);
    assert!(all.windows(2).all(|two| two[0].received_at > two[1].received_at));
    assert_eq!([list(&[], 0, 3).await, list(&[], 3, 3).await, list(&[], 6, 3).await].concat(), all);
    assert_eq!(list(&[InboxState::Foreign], 0, 100).await.len(), 3);
    assert_eq!(list(&[InboxState::Foreign, InboxState::Done], 0, 100).await, all);
    assert_eq!(list(&[InboxState::New], 0, 100).await, []);
}

fn said(key: Key, standing: Standing) -> DisputeEvent {
    DisputeEvent {
        gateway_id: "dp-1".to_owned(),
        subject: Subject { key: Some(key), payment_id: None },
        allocation_id: Some("al-1".to_owned()),
        amount_minor: Some(7_900),
        currency: Some("USD".to_owned()),
        reason: Some("FRAUDULENT".to_owned()),
        name: "DISPUTE_UPDATED".to_owned(),
        status: Some(standing.as_str().to_owned()),
        standing,
    }
}

async fn a_dispute_is_one_row_whose_rank_never_goes_back_and_every_delivery_one_line(b: Bench) {
    let (open, key) = b.settling().await;
    let record = async |event: DisputeEvent, n: u128| {
        let delivery = InboxId(uuid::Uuid::from_u128(n));
        b.ports.disputes.record_dispute(MERCHANT, &event, delivery, b.now()).await.unwrap()
    };
    let nobody = said(Key(uuid::Uuid::nil()), Standing::Open);
    assert_eq!(record(nobody, 1).await, None);
    let foreign = said(key, Standing::Open);
    let delivery = InboxId(uuid::Uuid::from_u128(1));
    assert_eq!(b.ports.disputes.record_dispute(OTHER, &foreign, delivery, b.now()).await.unwrap(), None);
    let mut rank = Vec::new();
    let order = [Standing::UnderReview, Standing::Open, Standing::Won, Standing::NeedsResponse, Standing::Won];
    for (n, standing) in (1..).zip(order) {
        b.clock.advance(secs(1));
        let contested = record(said(key, standing), n).await.unwrap();
        assert_eq!(record(said(key, standing), n).await, Some(contested), "the same delivery again");
        assert_eq!((contested.charge, contested.method), (open.open.charge.id, open.attempt.as_ref().unwrap().method));
        rank.push(contested.standing);
        // The ledger alone says that nothing of it may be refunded, from the moment at which it knows.
        let disputed = b.ports.store.is_disputed(open.open.charge.id).await.unwrap();
        assert_eq!(disputed, contested.standing.withdraws(), "{standing:?}");
    }
    let (review, won) = (Standing::UnderReview, Standing::Won);
    assert_eq!(rank, [review, review, won, won, won]);
    let view = b.ports.disputes.disputes(false, 0, 10).await.unwrap().remove(0);
    assert_eq!(
        (view.opened_at, view.changed_at, view.ended_at),
        (at(START) + secs(1), at(START) + secs(3), Some(at(START) + secs(3)))
    );
    let (shown, lines) = b.ports.disputes.dispute(view.id).await.unwrap().unwrap();
    assert_eq!((shown, lines.iter().map(|line| line.standing).collect::<Vec<_>>()), (view.clone(), order.to_vec()));
    assert_eq!(b.ports.disputes.disputes_of(open.open.charge.id).await.unwrap(), [view]);
    assert_eq!(b.ports.disputes.disputes(true, 0, 10).await.unwrap(), []);
    let told = b.ports.store.timeline(open.open.charge.id).await.unwrap();
    assert_eq!(told.iter().filter(|entry| entry.event == "charge.disputed").count(), 5);
}

async fn disputes_recorded_at_once_end_at_the_highest_rank(b: Bench) {
    let (_, key) = b.settling().await;
    let records = (0..24_u128).map(|n| {
        let (ports, now) = (b.ports.clone(), b.now());
        let standing = Standing::ALL[usize::try_from(n).unwrap() % 6];
        let event = said(key, standing);
        tokio::spawn(async move {
            ports.disputes.record_dispute(MERCHANT, &event, InboxId(uuid::Uuid::from_u128(n)), now).await.unwrap()
        })
    });
    for record in records.collect::<Vec<_>>() {
        assert!(record.await.unwrap().is_some());
    }
    let view = b.ports.disputes.disputes(false, 0, 10).await.unwrap();
    assert_eq!((view.len(), view[0].standing), (1, Standing::Lost));
    assert_eq!(b.ports.disputes.dispute(view[0].id).await.unwrap().unwrap().1.len(), 24);
}
