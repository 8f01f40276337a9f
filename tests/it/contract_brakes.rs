//! The contract of the brakes' memory: one suite, told of the map, of SQLite and of PostgreSQL.

use std::collections::BTreeSet;

use autopay::ports::brakes::{Ceiling, DayCount, Load, Loads, RunDay};
use autopay::ports::{ChargeFilter, Committed};
use chrono::NaiveDate;
use domain::agenda::Scope;
use domain::id::MerchantId;
use domain::money::Currency;

use crate::contract_store::{Bench, bench, id};
use crate::world::{Backend, MERCHANT, day, everywhere};

everywhere! {
    a_day_is_known_alike_by_every_store;
    what_is_recorded_counts_on_its_day_in_the_same_transaction;
    a_batch_that_would_fill_the_day_leaves_no_trace;
}

const OTHER: MerchantId = MerchantId(uuid::Uuid::from_u128(0x2222_2222_2222_4222_8222_2222_2222_2222));

fn today() -> NaiveDate {
    day("2027-01-15")
}

fn of(code: &str, charges: u64, minor: i64, largest: i64) -> (Currency, Load) {
    (Currency::parse(code).unwrap(), Load { charges, minor, largest })
}

async fn known(b: &Bench) -> RunDay {
    b.store.run_day(MERCHANT, today()).await.unwrap()
}

/// What was recorded on the day: so many charges of 79.00.
async fn ran(b: &Bench) -> u64 {
    let RunDay { ran, .. } = known(b).await;
    let charges = ran.get(&Currency::USD).map_or(0, |load| load.charges);
    let minor = i64::try_from(charges).unwrap() * 7_900;
    let expected = if charges == 0 { Loads::new() } else { Loads::from([of("USD", charges, minor, 7_900)]) };
    assert_eq!(ran, expected);
    charges
}

fn counts(most: Option<Ceiling>) -> Option<DayCount> {
    Some(DayCount { merchant: MERCHANT, day: today(), most })
}

async fn a_day_is_known_alike_by_every_store(backend: Backend) {
    let Some(b) = bench(backend, "the days").await else { return };
    let expect = async |loads: &[(Currency, Load)]| {
        let loads = loads.iter().copied().collect();
        b.store.expect_day(MERCHANT, today(), &loads, b.now()).await.unwrap();
    };
    assert_eq!(known(&b).await, RunDay::default());
    expect(&[]).await;
    assert_eq!(
        known(&b).await,
        RunDay::default(),
        "a book without plans forecasts nothing, and nothing is no forecast"
    );
    expect(&[of("USD", 0, 0, 0)]).await;
    let nothing_in_dollars = RunDay { expected: Some(Loads::from([of("USD", 0, 0, 0)])), ..RunDay::default() };
    assert_eq!(known(&b).await, nothing_in_dollars, "a plan that charges nobody forecasts nothing in its currency");
    expect(&[of("USD", 9, 900, 100), of("EUR", 2, 500, 300)]).await;
    let forecast = Some(Loads::from([of("USD", 0, 0, 0), of("EUR", 2, 500, 300)]));
    let known_so = RunDay { expected: forecast, ..RunDay::default() };
    assert_eq!(known(&b).await, known_so, "the first forecast of a currency stays");
    expect(&[]).await;
    assert_eq!(known(&b).await, known_so);
    // What is recorded stands beside it, also in a currency that nobody foresaw.
    b.seed(&["a", "b"]).await;
    let mut batch = b.batch(&b.claim(10).await).await;
    batch.day = counts(None);
    assert!(matches!(b.store.commit_intents(batch).await.unwrap(), Committed::Recorded { .. }));
    let ran = Loads::from([of("USD", 2, 15_800, 7_900)]);
    assert_eq!(known(&b).await, RunDay { ran, ..known_so });
    for (merchant, day) in [(OTHER, today()), (MERCHANT, day("2027-01-16"))] {
        assert_eq!(b.store.run_day(merchant, day).await.unwrap(), RunDay::default());
    }
}

async fn what_is_recorded_counts_on_its_day_in_the_same_transaction(backend: Backend) {
    let Some(b) = bench(backend, "the count of a day").await else { return };
    b.seed(&["a", "b", "c", "d"]).await;
    let mut batch = b.batch(&b.claim(10).await).await;
    // Nobody counts what nobody asked to be counted.
    let uncounted = b.batch(&[]).await;
    b.store.commit_intents(uncounted).await.unwrap();
    assert_eq!(ran(&b).await, 0);
    // Drawn under other holds: nothing is recorded, and nothing counts.
    batch.day = counts(None);
    let scope = Scope::Subscription(id("z"));
    b.store.hold(&scope, "later", "ann", b.now()).await.unwrap();
    assert!(matches!(b.store.commit_intents(batch.clone()).await.unwrap(), Committed::HoldsChanged));
    assert_eq!(ran(&b).await, 0);
    // One was cancelled meanwhile, one changed hands: what is lost does not count.
    b.store.lift(&scope, "ann", b.now()).await.unwrap();
    b.store.cancel(&id("b"), "ann", b.now()).await.unwrap();
    batch.advances[2].fence += 1;
    let Committed::Recorded { intents, .. } = b.store.commit_intents(batch.clone()).await.unwrap() else { panic!() };
    assert_eq!(intents.len(), 2);
    assert_eq!(ran(&b).await, 2);
    // The same batch again finds its rows moved on.
    b.store.commit_intents(batch).await.unwrap();
    assert_eq!(ran(&b).await, 2);
}

async fn a_batch_that_would_fill_the_day_leaves_no_trace(backend: Backend) {
    let Some(b) = bench(backend, "a full day").await else { return };
    b.seed(&["a", "b", "c", "d"]).await;
    let expected = Loads::from([of("USD", 2, 2 * 7_900, 7_900)]);
    let most = Ceiling { expected, growth_percent: 50, least_charges: 1 };
    // Two replicas weigh their batches against the same empty day: each alone is within it, both together are not.
    let (first, second) = (b.claim(2).await, b.claim(2).await);
    let [mut first, mut second] = [b.batch(&first).await, b.batch(&second).await];
    (first.day, second.day) = (counts(Some(most.clone())), counts(Some(most)));
    assert!(matches!(b.store.commit_intents(first).await.unwrap(), Committed::Recorded { .. }));
    assert!(matches!(b.store.commit_intents(second.clone()).await.unwrap(), Committed::DayIsFull));
    assert_eq!(ran(&b).await, 2);
    let charges = b.store.charges(&ChargeFilter::default(), &None, 100).await.unwrap();
    let whose: BTreeSet<&str> = charges.iter().map(|charge| charge.subscription.as_str()).collect();
    assert_eq!(whose, BTreeSet::from(["a", "b"]));
    let stands = async |name| b.store.subscription(&id(name)).await.unwrap().unwrap().subscription.next_cycle;
    assert_eq!((stands("b").await, stands("c").await), (1, 0));
    // The claim is as it was: whoever looked at the day and lets it go on records the very batch.
    second.day = counts(None);
    let Committed::Recorded { intents, lost } = b.store.commit_intents(second).await.unwrap() else { panic!() };
    assert_eq!((intents.len(), lost), (2, 0));
    assert_eq!(ran(&b).await, 4);
}
