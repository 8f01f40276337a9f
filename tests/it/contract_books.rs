//! The contract of closed months: one suite, told of the map, of SQLite and of PostgreSQL.

use autopay::ports::books::{Blocker, Closed, Closing, Handed, Obstacle, Reopened};
use autopay::ports::ledger::{Entry, Span};
use autopay::store::{DatabaseUrl, Pool, open};
use chrono::{DateTime, TimeDelta, Utc};
use domain::charge::{ParkWhy, State};
use domain::ledger::Posted;
use domain::money::{Currency, Money};
use domain::verdict::DeclineClass;
use sea_orm::ConnectionTrait as _;

use crate::contract_store::{Bench, bench, due, id};
use crate::world::{Backend, at, everywhere};

everywhere! {
    a_month_is_closed_once_in_order_and_by_the_days_of_one_zone;
    whatever_is_open_is_named_and_a_second_person_may_waive_it;
    what_is_learnt_late_counts_from_the_first_open_instant;
    closing_does_not_wait_for_a_transaction_that_was_left_open;
    two_people_open_the_last_month_again;
    a_month_before_the_first_closed_one_was_never_closed;
    journals_are_remembered_in_their_order;
}

const ZONE: &str = "America/New_York";

/// January, February or March of 2027 in New York, closed by somebody.
fn month(name: &str, by: &str) -> Closing {
    let starts = ["2027-01-01T05:00:00Z", "2027-02-01T05:00:00Z", "2027-03-01T05:00:00Z", "2027-04-01T04:00:00Z"];
    let place = usize::from(name.as_bytes()[6] - b'1');
    let bounds = (at(starts[place]), at(starts[place + 1]));
    let at = bounds.1 + TimeDelta::days(3);
    Closing { month: name.into(), zone: ZONE.into(), bounds, by: by.into(), reason: "month end".into(), at }
}

async fn close(b: &Bench, name: &str, by: &str) -> Closed {
    b.store.close_month(&month(name, by)).await.unwrap()
}

/// Charges in these states, due on 15 January.
async fn charges(b: &Bench, states: &[State]) -> Vec<domain::charge::Charge> {
    let mut charges = Vec::new();
    for (n, state) in states.iter().enumerate() {
        let begun = b.one(&format!("s{n}")).await;
        charges.push(b.become_(&begun.charge, begun.fence, state.clone(), None).await);
    }
    charges
}

fn paid(when: DateTime<Utc>) -> State {
    State::paid(when, Money::new(7_900, Currency::USD))
}

async fn a_month_is_closed_once_in_order_and_by_the_days_of_one_zone(backend: Backend) {
    let Some(b) = bench(backend, "closed months").await else { return };
    charges(&b, &[paid(b.now())]).await;
    assert_eq!(b.store.books().await.unwrap().closed_until, None);
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::Yes);
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::Already);
    let february = at("2027-02-01T05:00:00Z");
    assert_eq!(close(&b, "2027-03", "ann").await, Closed::NotNext(february));
    let elsewhere = Closing { zone: "UTC".into(), ..month("2027-02", "ann") };
    assert_eq!(b.store.close_month(&elsewhere).await.unwrap(), Closed::OtherZone(ZONE.into()));
    b.store.seal_month("2027-01", 2, "abc").await.unwrap();
    b.store.seal_month("2027-01", 3, "another").await.unwrap();
    let books = b.store.books().await.unwrap();
    assert_eq!((books.zone.as_deref(), books.closed_until), (Some(ZONE), Some(february)));
    let [january] = &books.periods[..] else { panic!("{books:?}") };
    assert_eq!((january.entries, january.digest.as_deref()), (Some(2), Some("abc")), "a seal stays");
    assert_eq!((january.closed_by.as_str(), january.until_at), ("ann", february));
    // Its February is due, and nobody has recorded it.
    assert!(matches!(close(&b, "2027-02", "ann").await, Closed::Blocked(_)));
    b.store.cancel(&id("s0"), "ann", b.now()).await.unwrap();
    assert_eq!(close(&b, "2027-02", "ann").await, Closed::Yes);
}

fn told(blockers: &[Blocker]) -> Vec<(Obstacle, String, Option<&str>)> {
    blockers.iter().map(|one| (one.obstacle, one.culprit.clone(), one.waived_by.as_deref())).collect()
}

async fn whatever_is_open_is_named_and_a_second_person_may_waive_it(backend: Backend) {
    let Some(b) = bench(backend, "what keeps a month open").await else { return };
    let now = b.now();
    let later = now + TimeDelta::hours(1);
    let class = DeclineClass::LaterFunds;
    let states = [
        paid(now),
        State::Unknown { since: now, asked: 1, next_at: later },
        State::Settling { since: now, asked: 0, next_at: later, slow: true },
        State::Parked { why: ParkWhy::Mismatch, since: now },
        State::Parked { why: ParkWhy::Rejected, since: now },
        State::Failing { class, code: "x".into(), next_at: later },
    ];
    let charges = charges(&b, &states).await;
    let mut waits = due("late", now);
    waits.next_due_at = Some(later);
    b.import(&[waits]).await;
    let until = at("2027-02-01T05:00:00Z");
    let ids: Vec<String> = charges.iter().map(|charge| charge.id.to_string()).collect();
    let mut unknown = [ids[1].clone(), ids[3].clone()];
    // All fell due at one instant: by id.
    unknown.sort_by_key(|id| charges.iter().find(|charge| charge.id.to_string() == *id).unwrap().id);
    let expected = [
        (Obstacle::OutcomeUnknown, unknown[0].clone(), None),
        (Obstacle::OutcomeUnknown, unknown[1].clone(), None),
        (Obstacle::UnderWay, ids[2].clone(), None),
        (Obstacle::Held, ids[4].clone(), None),
        (Obstacle::NotRecorded, "late".to_owned(), None),
    ];
    let found = b.store.blockers("2027-01", until, 100).await.unwrap();
    assert_eq!(told(&found), expected);
    assert_eq!(found[0].amount, Some(Money::new(7_900, Currency::USD)));
    assert_eq!(b.store.blockers("2027-01", at("2027-01-01T05:00:00Z"), 100).await.unwrap(), [], "of another month");
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::Blocked(found.clone()));
    for one in &found {
        let waive = async |who| {
            let because = (who, "looked at it");
            b.store.waive("2027-01", (one.obstacle, &one.culprit), because, b.now()).await.unwrap()
        };
        assert!(waive("bob").await);
        assert!(!waive("ann").await, "who said so first stays");
    }
    let Closed::Blocked(blocked) = close(&b, "2027-01", "bob").await else { panic!("his own word is not enough") };
    assert_eq!(blocked.len(), 5);
    assert!(blocked.iter().all(|one| one.waived_by.as_deref() == Some("bob")));
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::Yes);
}

async fn entries_of(b: &Bench, span: Span) -> Vec<Entry> {
    b.store.entries(span, None, 100).await.unwrap()
}

async fn what_is_learnt_late_counts_from_the_first_open_instant(backend: Backend) {
    let Some(b) = bench(backend, "what is learnt late").await else { return };
    let begun = b.one("late").await;
    let failing =
        State::Failing { class: DeclineClass::LaterFunds, code: "x".into(), next_at: b.now() + TimeDelta::days(20) };
    let charge = b.become_(&begun.charge, begun.fence, failing, None).await;
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::Yes);
    let february = at("2027-02-01T05:00:00Z");
    let january = Span { from: None, until: Some(february) };
    let sealed = entries_of(&b, january).await;
    assert_eq!(sealed.len(), 1);
    // Told in February of what happened in January.
    b.become_(&charge, begun.fence, paid(at("2027-01-31T12:00:00Z")), None).await;
    assert_eq!(entries_of(&b, january).await, sealed, "the month stays as it was closed");
    let open = entries_of(&b, Span { from: Some(february), until: None }).await;
    let [late] = &open[..] else { panic!("{open:?}") };
    assert_eq!((late.posting.posted, late.booked_at), (Posted::Collected, february));
    assert_eq!(late.posting.at, at("2027-01-31T12:00:00Z"), "with when it happened");
    assert_eq!(b.store.differences(10).await.unwrap(), []);
    if backend != Backend::Memory {
        // Not by hand either.
        let database = open_database(&b).await;
        let sql = "INSERT INTO ledger_entry SELECT subject_id, posted, number + 1, subject_kind, charge_id, plan_id, plan_version, debit, credit, \
                   amount_minor, currency, happened_at, happened_at FROM ledger_entry";
        let done = database.execute_unprepared(sql).await;
        assert!(backend == Backend::Postgres || done.unwrap_err().to_string().contains("the books are closed"));
        assert_eq!(entries_of(&b, january).await, sealed);
    }
}

async fn open_database(b: &Bench) -> sea_orm::DatabaseConnection {
    open(&DatabaseUrl::parse(&b.url).unwrap(), Pool::engine(2)).await.unwrap()
}

/// Only PostgreSQL has a transaction that posts beside another.
async fn closing_does_not_wait_for_a_transaction_that_was_left_open(backend: Backend) {
    let Some(b) = bench(backend, "left open").await else { return };
    if backend != Backend::Postgres {
        return;
    }
    let one = open(&DatabaseUrl::parse(&b.url).unwrap(), Pool::engine(1)).await.unwrap();
    one.execute_unprepared("SELECT pg_advisory_lock_shared(7205759403)").await.unwrap();
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::Busy);
    assert_eq!(b.store.books().await.unwrap().closed_until, None);
    one.execute_unprepared("SELECT pg_advisory_unlock_shared(7205759403)").await.unwrap();
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::Yes);
}

async fn two_people_open_the_last_month_again(backend: Backend) {
    let Some(b) = bench(backend, "opened again").await else { return };
    let reopen = async |name: &str, by: &str| b.store.reopen_month(name, (by, "a mistake"), b.now()).await.unwrap();
    assert_eq!(reopen("2027-01", "ann").await, Reopened::NotTheLast);
    close(&b, "2027-01", "ann").await;
    close(&b, "2027-02", "ann").await;
    assert_eq!(reopen("2027-01", "ann").await, Reopened::NotTheLast);
    assert_eq!(reopen("2027-02", "ann").await, Reopened::AsksASecond);
    for again in ["ann", "ANN", "ann "] {
        assert_eq!(reopen("2027-02", again).await, Reopened::SamePerson, "{again:?}");
    }
    assert_eq!(b.store.books().await.unwrap().closed_until, Some(at("2027-03-01T05:00:00Z")));
    assert_eq!(reopen("2027-02", "bob").await, Reopened::Yes("ann".into()));
    assert_eq!(b.store.books().await.unwrap().closed_until, Some(at("2027-02-01T05:00:00Z")));
    assert_eq!(close(&b, "2027-02", "bob").await, Closed::Yes, "and it is closed again");
    let periods = b.store.books().await.unwrap().periods;
    let told: Vec<(&str, Option<&str>)> =
        periods.iter().map(|one| (one.month.as_str(), one.reopened_by.as_deref())).collect();
    assert_eq!(told, [("2027-01", None), ("2027-02", Some("bob")), ("2027-02", None)]);
    reopen("2027-02", "ann").await;
    reopen("2027-02", "bob").await;
    reopen("2027-01", "ann").await;
    reopen("2027-01", "bob").await;
    assert_eq!(b.store.books().await.unwrap().closed_until, None);
}

async fn journals_are_remembered_in_their_order(backend: Backend) {
    let Some(b) = bench(backend, "journals").await else { return };
    let handed = |digest: &str| Handed {
        month: "2027-01".into(),
        form: "beancount".into(),
        detail: false,
        entries: 7,
        digest: digest.into(),
        standing: "open".into(),
        by: "ann".into(),
        at: b.now(),
    };
    for digest in ["a", "b"] {
        b.store.handed_on(&handed(digest)).await.unwrap();
    }
    assert_eq!(b.store.journals_of("2027-01").await.unwrap(), [handed("a"), handed("b")]);
    assert_eq!(b.store.journals_of("2027-02").await.unwrap(), []);
}

async fn a_month_before_the_first_closed_one_was_never_closed(backend: Backend) {
    let Some(b) = bench(backend, "months before the first").await else { return };
    assert_eq!(close(&b, "2027-02", "ann").await, Closed::Yes);
    let march = at("2027-03-01T05:00:00Z");
    assert_eq!(close(&b, "2027-01", "ann").await, Closed::NotNext(march));
    assert_eq!(close(&b, "2027-02", "ann").await, Closed::Already);
    let books = b.store.books().await.unwrap();
    assert_eq!((books.closed_until, books.periods.len()), (Some(march), 1), "nothing was changed");
}
