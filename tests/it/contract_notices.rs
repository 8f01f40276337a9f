//! The contract of the memory of notices: one suite, told of the map, of SQLite and of PostgreSQL.

use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::ports::Claimed;
use autopay::ports::notices::{Noted, NoticeFilter, NoticeRow, Sent};
use autopay::ports::outbox::{DeliveryFilter, Dropped, Dropping, Outbox, Outcome, Taken};
use autopay::store::MemoryStore;
use chrono::TimeDelta;
use domain::agenda::Scope;
use domain::money::{Currency, Money};
use domain::notice::{Given, Kind, Wanted};

use crate::contract_outbox::{retold, routes, telling, telling_of};
use crate::contract_store::{Bench, id, paid, verdict};
use crate::world::{Backend, MERCHANT, at, day, everywhere};

everywhere! {
    what_was_charged_last_and_what_was_told_is_known_alike_by_every_store;
    a_notice_is_asked_for_once_and_counts_when_its_endpoint_took_it;
    a_notice_that_nobody_took_is_never_dropped_and_goes_to_who_carries_notices_now;
    what_people_say_they_sent_is_kept_and_nothing_happens_a_second_time;
    notices_are_listed_by_day_and_state_and_paged;
}

struct Stage {
    bench: Bench,
    outbox: Arc<dyn Outbox>,
}

impl Stage {
    async fn begin(backend: Backend, test: &str) -> Option<Self> {
        let clock = Arc::new(TurnedClock::new(at("2027-01-15T12:00:00Z")));
        let (store, outbox, keep, url) = telling(backend, clock.clone(), routes(&["billing", "books"]), test).await?;
        Some(Self { bench: Bench::around(backend, clock, (store, keep, url)), outbox })
    }

    async fn ask(&self, wanted: &[Wanted]) -> u64 {
        self.bench.store.ask_notices(MERCHANT, wanted, self.bench.now()).await.unwrap()
    }

    async fn list(&self, filter: NoticeFilter) -> Vec<NoticeRow> {
        self.bench.store.notices(&filter, &None, 100).await.unwrap().0
    }
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn wanted(name: &str, cycle: u32, minor: i64, on: &str, by: &str) -> Wanted {
    Wanted {
        subscription: id(name),
        cycle,
        kind: Kind::PriceChange,
        amount: usd(minor),
        on: day(on),
        from: None,
        by: day(by),
        rule: "plan gold: 30 days' notice".to_owned(),
        template: "price-change-30d".to_owned(),
    }
}

fn sent(name: &str, cycle: u32, minor: i64, on: &str, delivered_at: &str) -> Sent {
    Sent {
        subscription: id(name),
        cycle,
        kind: Kind::PriceChange,
        amount: usd(minor),
        on: day(on),
        delivered_at: at(delivered_at),
    }
}

async fn what_was_charged_last_and_what_was_told_is_known_alike_by_every_store(backend: Backend) {
    let Some(s) = Stage::begin(backend, "facts of notices").await else { return };
    let (b, now) = (&s.bench, s.bench.now());
    let ids = [id("a"), id("b"), id("nobody")];
    assert_eq!(b.store.notice_facts(&ids).await.unwrap(), std::collections::BTreeMap::new());
    let one = b.one("a").await;
    b.store.commit_verdicts(&[verdict(&one.charge, one.fence, paid(now), Some("p"), now)]).await.unwrap();
    s.ask(&[wanted("a", 1, 8_400, "2027-02-15", "2027-01-16"), wanted("a", 2, 8_400, "2027-03-15", "2027-02-13")])
        .await;
    // Of a cycle that is behind the subscription nothing needs to be known any more.
    s.ask(&[wanted("a", 0, 7_900, "2027-01-15", "2027-01-10")]).await;
    let facts = b.store.notice_facts(&ids).await.unwrap();
    assert_eq!(facts.len(), 1);
    let known = &facts[&id("a")];
    assert_eq!(known.last, Some((one.charge.cycle, usd(7_900))));
    let given = |cycle, on: &str| Given { cycle, amount: usd(8_400), on: day(on), delivered_at: None };
    assert_eq!(known.given, [given(1, "2027-02-15"), given(2, "2027-03-15")]);
}

async fn a_notice_is_asked_for_once_and_counts_when_its_endpoint_took_it(backend: Backend) {
    let Some(s) = Stage::begin(backend, "asked and delivered").await else { return };
    let both = [wanted("a", 1, 8_400, "2027-02-15", "2027-01-16"), wanted("b", 1, 8_400, "2027-02-16", "2027-01-17")];
    assert_eq!((s.ask(&both).await, s.ask(&both).await), (2, 0));
    assert_eq!(s.ask(&[]).await, 0);
    // Another amount, or another day, is another notice.
    assert_eq!(s.ask(&[wanted("a", 1, 8_500, "2027-02-15", "2027-01-16")]).await, 1);
    let told = s.outbox.deliveries(&DeliveryFilter::default(), &None, 100).await.unwrap().0;
    assert!(told.iter().all(|row| row.endpoint == "billing" && row.kind == "notice.due"), "the books are told of none");
    let now = s.bench.now();
    let claims = s.outbox.claim_deliveries("billing", now, now + TimeDelta::minutes(1), 10).await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&claims[0].value.body()).unwrap();
    let mut data = body["data"].as_object().unwrap().clone();
    data.remove("sequence");
    let expected = serde_json::json!({
        "id": "a", "subscription": "a", "cycle": 1, "kind": "price_change", "amount_minor": 8_400, "currency": "USD",
        "charge_on": "2027-02-15", "template": "price-change-30d", "deliver_from": null, "deliver_by": "2027-01-16"
    });
    assert_eq!(serde_json::Value::Object(data), expected);
    // One is taken, one fails: only what was taken reached its payer.
    let claim = |n: usize| Claimed { value: Taken::from(&claims[n].value), fence: claims[n].fence };
    let failed = Outcome::Failed { status: Some(500), why: "no".to_owned(), next_at: Some(now) };
    let settled = [(claim(0), Outcome::Delivered { status: 200 }), (claim(1), failed)];
    assert_eq!(s.outbox.settle_deliveries("billing", &settled, now).await.unwrap(), 2);
    let rows = s.list(NoticeFilter { delivered: Some(true), ..NoticeFilter::default() }).await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].subscription.as_str(), rows[0].delivered_at), ("a", Some(now)));
    assert_eq!(rows[0].delivered_by.as_deref(), Some("billing"));
    // A first word stands: delivered again on a person's request, the payer was told when he was told.
    s.outbox.resend(claims[0].value.id, None, "ann", now).await.unwrap();
    s.bench.clock.advance(TimeDelta::days(1));
    let later = s.bench.now();
    let again = s.outbox.claim_deliveries("billing", later, later + TimeDelta::minutes(1), 10).await.unwrap();
    let again = again.iter().find(|one| one.value.id == claims[0].value.id).unwrap();
    let claim = Claimed { value: Taken::from(&again.value), fence: again.fence };
    s.outbox.settle_deliveries("billing", &[(claim, Outcome::Delivered { status: 200 })], later).await.unwrap();
    let rows = s.list(NoticeFilter { delivered: Some(true), ..NoticeFilter::default() }).await;
    assert_eq!(rows[0].delivered_at, Some(now));
}

async fn a_notice_that_nobody_took_is_never_dropped_and_goes_to_who_carries_notices_now(backend: Backend) {
    let clock = Arc::new(TurnedClock::new(at("2027-01-15T12:00:00Z")));
    let memory = MemoryStore::new(clock.clone());
    let begun = telling_of(&memory, backend, clock.clone(), routes(&["billing"]), "a carrier that is gone").await;
    let Some((store, outbox, keep, url)) = begun else { return };
    let bench = Bench::around(backend, clock.clone(), (store, keep, url.clone()));
    let s = Stage { bench, outbox };
    let (now, lease) = (s.bench.now(), s.bench.now() + TimeDelta::minutes(1));
    s.ask(&[wanted("a", 1, 8_400, "2027-02-15", "2027-01-16"), wanted("b", 1, 8_400, "2027-02-16", "2027-01-17")])
        .await;
    s.bench.store.hold(&Scope::All, "a look", "ann", now).await.unwrap();
    let old = s.outbox.claim_deliveries("billing", now, lease, 10).await.unwrap();
    let claim = |place: usize| Claimed { value: Taken::from(&old[place].value), fence: old[place].fence };
    let first = [(claim(0), Outcome::Delivered { status: 200 })];
    assert_eq!(s.outbox.settle_deliveries("billing", &first, now).await.unwrap(), 1);
    let drop = async |s: &Stage, confirm| s.outbox.drop_deliveries("billing", confirm, "ann", now).await.unwrap();
    assert_eq!(drop(&s, Some(2)).await, Dropping::Kept(1), "nobody else carries notices");
    let s = Stage { outbox: retold(&memory, backend, clock, &url, routes(&["mailer"])).await, ..s };
    let both = Dropped { gone: 1, handed_over: 1 };
    assert_eq!(drop(&s, None).await, Dropping::WouldBe(both));
    assert_eq!(drop(&s, Some(1)).await, Dropping::WouldBe(both), "not the notices alone");
    assert_eq!(drop(&s, Some(2)).await, Dropping::Done(both));
    assert_eq!(s.outbox.settle_deliveries("billing", &[(claim(1), Outcome::Untried)], now).await.unwrap(), 0);
    let new = s.outbox.claim_deliveries("mailer", now, lease, 10).await.unwrap();
    assert_eq!((new.len(), new[0].value.id, new[0].value.tries), (1, old[1].value.id, 0));
    let taken =
        (Claimed { value: Taken::from(&new[0].value), fence: new[0].fence }, Outcome::Delivered { status: 200 });
    assert_eq!(s.outbox.settle_deliveries("mailer", &[taken], now).await.unwrap(), 1);
    let rows = s.list(NoticeFilter { delivered: Some(true), ..NoticeFilter::default() }).await;
    let by = rows.iter().map(|row| row.delivered_by.clone().unwrap()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(by.into_iter().collect::<Vec<_>>(), ["billing", "mailer"]);
}

async fn what_people_say_they_sent_is_kept_and_nothing_happens_a_second_time(backend: Backend) {
    let Some(s) = Stage::begin(backend, "notices by letter").await else { return };
    s.ask(&[wanted("a", 1, 8_400, "2027-02-15", "2027-01-16")]).await;
    let letters = [
        sent("a", 1, 8_400, "2027-02-15", "2027-01-10T12:00:00Z"),
        sent("b", 3, 1_000, "2027-02-20", "2027-01-11T12:00:00Z"),
    ];
    let note = async |letters: &[Sent], writes| {
        s.bench.store.note_sent(MERCHANT, letters, ("ann", writes), s.bench.now()).await.unwrap()
    };
    let first = Noted { added: 1, changed: 1, unchanged: 0 };
    assert_eq!(note(&letters, false).await, first);
    assert_eq!(s.list(NoticeFilter { delivered: Some(true), ..NoticeFilter::default() }).await, [], "a dry run");
    assert_eq!(note(&letters, true).await, first);
    assert_eq!(note(&letters, true).await, Noted { unchanged: 2, ..Noted::default() });
    let rows = s.list(NoticeFilter::default()).await;
    let told: Vec<(&str, Option<&str>, bool)> = rows
        .iter()
        .map(|row| (row.subscription.as_str(), row.delivered_by.as_deref(), row.asked_at.is_some()))
        .collect();
    assert_eq!(told, [("a", Some("ann"), true), ("b", Some("ann"), false)]);
    // Asking for what is known already asks for nothing.
    assert_eq!(s.ask(&[wanted("b", 3, 1_000, "2027-02-20", "2027-01-20")]).await, 0);
    let corrected = sent("b", 3, 1_000, "2027-02-20", "2027-01-12T12:00:00Z");
    assert_eq!(note(&[corrected], true).await, Noted { changed: 1, ..Noted::default() });
}

async fn notices_are_listed_by_day_and_state_and_paged(backend: Backend) {
    let Some(s) = Stage::begin(backend, "lists of notices").await else { return };
    let days = ["2027-02-17", "2027-02-15", "2027-02-16", "2027-02-15", "2027-02-18"];
    let all: Vec<Wanted> =
        (1..).zip(days).map(|(n, on)| wanted(&format!("s{n}"), n, 8_400, on, "2027-01-20")).collect();
    assert_eq!(s.ask(&all).await, 5);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = s.bench.store.notices(&NoticeFilter::default(), &after, 2).await.unwrap();
        seen.extend(page.into_iter().map(|row| row.on.to_string()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    let mut sorted = days.map(str::to_owned);
    sorted.sort();
    assert_eq!(seen, sorted);
    let one = s.list(NoticeFilter { subscription: Some(id("s3")), ..NoticeFilter::default() }).await;
    assert_eq!((one.len(), one[0].cycle), (1, 3));
    let missed = |on: &str| NoticeFilter { missed_on: Some(day(on)), ..NoticeFilter::default() };
    assert_eq!((s.list(missed("2027-01-20")).await.len(), s.list(missed("2027-01-21")).await.len()), (0, 5));
}
