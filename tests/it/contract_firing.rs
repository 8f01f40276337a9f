//! The contract of what the audit of the schedule reads, told of the map, of SQLite and of PostgreSQL.

use autopay::ports::firing::DueBetween;
use autopay::ports::{Cursor, Listed, Resume};
use chrono::TimeDelta;
use domain::agenda::GoesOn;
use domain::firing::{Turn, TurnKind};
use domain::subscription::Subscription;

use crate::contract_store::{Bench, bench, due, id};
use crate::world::{Backend, day};

macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Memory, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod sqlite { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Sqlite, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod postgresql { $(#[tokio::test] async fn $sentence() { super::on(super::Backend::Postgres, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
    };
}

contract! {
    charges_come_by_subscription_and_cycle_page_by_page;
    a_life_keeps_where_a_subscription_entered_whatever_it_does_since;
}

async fn on<F>(backend: Backend, name: &str, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    if let Some(bench) = bench(backend, name).await {
        sentence(bench).await;
    }
}

const ALWAYS: (&str, &str) = ("2020-01-01", "2099-01-01");

async fn recorded(bench: &Bench, (from, until): (&str, &str), limit: u64) -> Vec<String> {
    let between = DueBetween { from: day(from), until: day(until) };
    let (mut found, mut after): (_, Cursor) = (Vec::new(), None);
    loop {
        let page = bench.store.recorded(between, &after, limit).await.unwrap();
        assert!(u64::try_from(page.rows.len()).unwrap() <= limit);
        for row in page.rows {
            let Listed::Whole(row) = row else { panic!("{row:?}") };
            assert_eq!(row.at, bench.now());
            found.push(format!("{}/{}", row.charge.subscription, row.charge.cycle));
        }
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn charges_come_by_subscription_and_cycle_page_by_page(bench: Bench) {
    // Ids are ordered by their bytes, cycles as numbers.
    let at = |name: &str, cycle: u32| Subscription { next_cycle: cycle, ..due(name, bench.now()) };
    bench.import(&[at("b", 2), at("B", 10), at("a-1", 9), at("a", 11), at("a.1", 0)]).await;
    bench.begin().await;
    let all = ["B/10", "a/11", "a-1/9", "a.1/0", "b/2"];
    for limit in [1, 2, 3, 5, 100] {
        assert_eq!(recorded(&bench, ALWAYS, limit).await, all, "{limit} at once");
    }
    // Cycle 0 falls on 15 January, cycle 2 on 15 March.
    assert_eq!(recorded(&bench, ("2027-01-15", "2027-03-15"), 1).await, ["a.1/0", "b/2"]);
    assert_eq!(recorded(&bench, ("2027-01-16", "2027-03-14"), 1).await, Vec::<String>::new());
}

async fn a_life_keeps_where_a_subscription_entered_whatever_it_does_since(bench: Bench) {
    let began = bench.now();
    let entered = Subscription { next_cycle: 3, ..due("a", began) };
    bench.import(&[entered.clone(), due("b", began)]).await;
    bench.begin().await;
    bench.clock.advance(TimeDelta::days(1));
    // Again by an import, which moves nothing.
    bench.import(&[Subscription { next_cycle: 7, ..entered }]).await;
    bench.store.cancel(&id("b"), "test", bench.now()).await.unwrap();
    let mut lives = bench.store.lives(&[id("a"), id("b"), id("nobody")]).await.unwrap();
    lives.sort_by_key(|life| life.id.clone());
    let facts: Vec<_> = lives.iter().map(|life| (life.id.as_str(), life.first_cycle, life.created_at)).collect();
    assert_eq!(facts, [("a", Some(3), began), ("b", Some(0), began)]);
    assert_eq!(lives[0].turns, []);
    assert_eq!(lives[1].turns, [Turn { at: bench.now(), kind: TurnKind::Cancelled }]);
    assert_eq!(lives[0].leased_until, None);

    let claimed = due("c", began);
    bench.import(&[claimed]).await;
    assert_eq!(bench.claim(10).await.len(), 1);
    let lives = bench.store.lives(&[id("c")]).await.unwrap();
    assert_eq!(lives[0].leased_until, Some(bench.now() + TimeDelta::seconds(90)));
    // Nobody goes on who was not stopped.
    let goes_on = GoesOn { next_cycle: 2, next_due_at: None, paused: false };
    let from = Resume { from_cycle: 0, goes_on, owed_until: None };
    assert!(!bench.store.resume(&id("c"), &from, "test", bench.now()).await.unwrap());
    assert_eq!(bench.store.lives(&[id("c")]).await.unwrap()[0].turns, []);
}
