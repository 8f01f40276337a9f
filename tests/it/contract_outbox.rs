//! The contract of the outbox: one suite, told of the map, of SQLite and of PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::ports::cases::Ruled;
use autopay::ports::outbox::{
    Delivery, DeliveryFilter, DeliveryRow, DeliveryState, Dropped, Dropping, Outbox, Outcome, Routes, Taken,
};
use autopay::ports::people::PersonsNote;
use autopay::ports::recon::{BegunRun, Compared, Finding, NewRun, Source, Span, Stage};
use autopay::ports::{Claimed, Committed, IntentBatch, MovedCharge, Store, Verdict};
use autopay::store::{DatabaseStore, DatabaseUrl, MemoryStore, Pool, migrate, open};
use chrono::TimeDelta;
use domain::agenda::Scope;
use domain::charge::{Event, Limits, Ruling, State};
use domain::dunning::{GaveUp, Next};
use domain::money::Currency;
use domain::recon::{Kind, Sides};
use domain::verdict::{Decline, DeclineClass};

use crate::contract_store::{Bench, id, intent, paid, secs, verdict};
use crate::migrated;
use crate::postgres::TestDatabase;
use crate::world::{Backend, Keep, MERCHANT, at, everywhere};

everywhere! {
    an_event_is_one_row_for_each_endpoint_written_with_what_it_tells;
    the_life_of_a_charge_is_told_once_each;
    what_is_kept_back_from_the_charge_is_not_told;
    a_case_is_told_when_it_begins_goes_on_and_ends;
    a_case_that_ends_at_its_first_decline_is_told_to_begin_too;
    a_case_that_goes_on_after_a_return_is_told_to_begin_and_to_end_once_more;
    people_and_pauses_are_told;
    a_delivery_is_leased_and_an_old_fence_settles_nothing;
    what_failed_waits_for_its_time_and_what_was_given_up_for_a_person;
    a_status_and_a_reason_are_those_of_one_try;
    an_endpoint_that_is_gone_is_told_nothing_until_somebody_enables_it;
    what_nobody_carries_any_more_is_named_and_dropped_by_a_person;
    what_is_sent_again_under_the_same_key_is_told_once;
    what_a_reconciliation_finds_is_told_once_while_it_goes_on;
    a_list_goes_on_where_it_stopped;
    nobody_is_told_of_what_nobody_wants_to_hear;
}

/// A store that tells these endpoints, with its outbox; `None` where PostgreSQL is not to be had.
pub(crate) async fn telling(
    backend: Backend,
    clock: Arc<TurnedClock>,
    routes: Routes,
    test: &str,
) -> Option<(Arc<dyn Store>, Arc<dyn Outbox>, Keep, String)> {
    let memory = MemoryStore::new(clock.clone());
    telling_of(&memory, backend, clock, routes, test).await
}

/// As above; the map, where it is one, is of this book.
pub(crate) async fn telling_of(
    memory: &MemoryStore,
    backend: Backend,
    clock: Arc<TurnedClock>,
    routes: Routes,
    test: &str,
) -> Option<(Arc<dyn Store>, Arc<dyn Outbox>, Keep, String)> {
    let (keep, url) = match backend {
        Backend::Memory => {
            let store = Arc::new(memory.clone().telling(routes));
            return Some((store.clone(), store, Keep::Nothing, String::new()));
        }
        Backend::Sqlite => {
            let folder = tempfile::tempdir().unwrap();
            let url = migrated::sqlite(&folder.path().join("autopay.db"));
            (Keep::Folder(folder), url)
        }
        Backend::Postgres => {
            let database = TestDatabase::migrated(test).await?;
            let url = database.url.clone();
            (Keep::Database(database), url)
        }
    };
    let parsed = DatabaseUrl::parse(&url).unwrap();
    migrate(&parsed).await.unwrap();
    let store = DatabaseStore::new(open(&parsed, Pool::engine(4)).await.unwrap(), clock).telling(routes);
    let store = Arc::new(store);
    Some((store.clone(), store, keep, url))
}

/// The outbox of the same book, once other endpoints are configured.
pub(crate) async fn retold(
    memory: &MemoryStore,
    backend: Backend,
    clock: Arc<TurnedClock>,
    url: &str,
    routes: Routes,
) -> Arc<dyn Outbox> {
    if backend == Backend::Memory {
        return Arc::new(memory.clone().telling(routes));
    }
    let connection = open(&DatabaseUrl::parse(url).unwrap(), Pool::engine(2)).await.unwrap();
    Arc::new(DatabaseStore::new(connection, clock).telling(routes))
}

/// Endpoints of these names; the first of them sends notices.
pub(crate) fn routes(names: &[&str]) -> Routes {
    let endpoints: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Routes { notices: endpoints.first().cloned(), endpoints }
}

struct Told {
    bench: Bench,
    outbox: Arc<dyn Outbox>,
}

impl Told {
    async fn begin(backend: Backend, names: &[&str], test: &str) -> Option<Self> {
        let clock = Arc::new(TurnedClock::new(at("2027-01-15T12:00:00Z")));
        let (store, outbox, keep, url) = telling(backend, clock.clone(), routes(names), test).await?;
        Some(Self { bench: Bench::around(backend, clock, (store, keep, url)), outbox })
    }

    /// Everything that is told, the oldest first.
    async fn rows(&self) -> Vec<DeliveryRow> {
        let (mut rows, next) = self.outbox.deliveries(&DeliveryFilter::default(), &None, 1_000).await.unwrap();
        assert_eq!(next, None);
        rows.reverse();
        rows
    }

    async fn kinds(&self) -> Vec<String> {
        self.rows().await.into_iter().map(|row| row.kind).collect()
    }

    async fn claim(&self, endpoint: &str, limit: u32) -> Vec<Claimed<Delivery>> {
        let now = self.bench.now();
        self.outbox.claim_deliveries(endpoint, now, now + secs(90), limit).await.unwrap()
    }

    async fn settle(&self, endpoint: &str, claim: &Claimed<Delivery>, outcome: Outcome) -> usize {
        let claim = Claimed { value: Taken::from(&claim.value), fence: claim.fence };
        self.outbox.settle_deliveries(endpoint, &[(claim, outcome)], self.bench.now()).await.unwrap()
    }

    /// So many holds set, each an event of its own.
    async fn holds(&self, count: u32) {
        for n in 0..count {
            let scope = Scope::Subscription(id(&format!("s{n}")));
            self.bench.store.hold(&scope, "why", "ann", self.bench.now()).await.unwrap();
            self.bench.clock.advance(TimeDelta::milliseconds(1));
        }
    }
}

async fn an_event_is_one_row_for_each_endpoint_written_with_what_it_tells(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing", "books"], "events beside their change").await else { return };
    let scope = Scope::Subscription(id("a"));
    t.bench.store.hold(&scope, "why", "ann", t.bench.now()).await.unwrap();
    // Set already: nothing happened, nothing is told.
    t.bench.store.hold(&scope, "why", "bob", t.bench.now()).await.unwrap();
    t.bench.clock.advance(secs(1));
    assert!(t.bench.store.lift(&scope, "ann", t.bench.now()).await.unwrap());
    assert!(!t.bench.store.lift(&scope, "ann", t.bench.now()).await.unwrap());
    let rows = t.rows().await;
    let told: Vec<(&str, &str, &str)> =
        rows.iter().map(|row| (row.kind.as_str(), row.object.as_str(), row.endpoint.as_str())).collect();
    assert_eq!(
        told,
        [
            ("hold.on", "subscription:a", "billing"),
            ("hold.on", "subscription:a", "books"),
            ("hold.off", "subscription:a", "billing"),
            ("hold.off", "subscription:a", "books"),
        ]
    );
    assert_eq!(rows[0].id, rows[1].id, "it is one event, whoever hears of it");
    assert_ne!(rows[0].id, rows[2].id);
    assert!(rows.is_sorted_by(|one, next| one.sequence < next.sequence));
    assert!(
        rows.iter().all(|row| row.state == DeliveryState::Waiting && row.next_at == Some(row.at) && row.tries == 0)
    );
}

async fn the_life_of_a_charge_is_told_once_each(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "a charge's events").await else { return };
    let (b, now) = (&t.bench, t.bench.now());
    let one = b.one("a").await;
    let unknown = State::Unknown { since: now, asked: 0, next_at: now };
    let verdict_of = |state, before: &domain::charge::Charge| verdict(before, one.fence, state, Some("p-1"), now);
    let first = verdict_of(unknown, &one.charge);
    b.store.commit_verdicts(std::slice::from_ref(&first)).await.unwrap();
    // The same again finds the charge moved on.
    b.store.commit_verdicts(std::slice::from_ref(&first)).await.unwrap();
    let stands = b.charge(one.charge.id).await;
    b.store.commit_verdicts(&[verdict_of(paid(now), &stands)]).await.unwrap();
    let stands = b.charge(one.charge.id).await;
    let back = State::Returned {
        class: DeclineClass::LaterFunds,
        code: "R01".to_owned(),
        next_at: None,
        why: None,
        collected: one.charge.amount,
        paid_at: now,
        at: now,
    };
    b.store.commit_verdicts(&[verdict_of(back, &stands)]).await.unwrap();
    assert_eq!(
        t.kinds().await,
        [
            "charge.planned",
            "charge.sent",
            "charge.outcome_unknown",
            "charge.outcome_resolved",
            "charge.paid",
            "charge.returned"
        ]
    );
    let bodies: Vec<serde_json::Value> =
        t.claim("billing", 10).await.iter().map(|claim| serde_json::from_str(&claim.value.body()).unwrap()).collect();
    assert_eq!(bodies[4]["type"], "charge.paid");
    assert_eq!(bodies[4]["timestamp"], "2027-01-15T12:00:00.000000Z");
    let mut data = bodies[4]["data"].as_object().unwrap().clone();
    let sequences: Vec<i64> = bodies.iter().map(|body| body["data"]["sequence"].as_i64().unwrap()).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next));
    data.remove("sequence");
    let expected = serde_json::json!({
        "id": one.charge.id.to_string(), "subscription": "a", "cycle": one.charge.cycle, "attempt": 1
    });
    assert_eq!(serde_json::Value::Object(data), expected, "ids and nothing else");
}

/// Whether another try is planned first, and is given up, or none ever is.
async fn a_case_that_goes_on_after_a_return_is_told_to_begin_and_to_end_once_more(backend: Backend) {
    for tried_again in [true, false] {
        let Some(t) = Told::begin(backend, &["billing"], "events of a case that goes on").await else { return };
        let (b, now) = (&t.bench, t.bench.now());
        let one = b.one("a").await;
        let declined = |next| Event::Declined {
            decline: Decline { class: DeclineClass::LaterFunds, code: "R01".to_owned() },
            next,
        };
        let (later, why) = (Next::RetryAt(now + TimeDelta::days(5)), GaveUp::Stopped);
        let mut steps = vec![
            declined(later),
            Event::Send { attempt: 2 },
            Event::Succeeded { amount: one.charge.amount, returnable: true },
        ];
        steps.extend(match tried_again {
            true => vec![declined(later), Event::Ruled(Ruling::GiveUp { why })],
            false => vec![declined(Next::GiveUp(why))],
        });
        for step in steps {
            let before = b.charge(one.charge.id).await;
            let after = before.clone().step(step, now, &Limits::default()).unwrap();
            let verdict = Verdict {
                before: Claimed { value: before, fence: one.fence },
                attempt: after.tries.attempt,
                after: Some(after),
                observations: Vec::new(),
                stop: None,
            };
            // Told twice: the second time it finds that it was told.
            assert_eq!(b.store.commit_verdicts(std::slice::from_ref(&verdict)).await.unwrap().applied, 1);
            b.store.commit_verdicts(std::slice::from_ref(&verdict)).await.unwrap();
        }
        let rows = t.rows().await;
        let cases: Vec<&str> =
            rows.iter().map(|row| row.kind.as_str()).filter(|kind| kind.starts_with("dunning.case.")).collect();
        assert_eq!(
            cases,
            ["dunning.case.opened", "dunning.case.ended", "dunning.case.opened", "dunning.case.ended"],
            "one number, and each beginning and end of it; tried again: {tried_again}"
        );
        b.clock.advance(secs(2));
        let bodies: Vec<serde_json::Value> = t
            .claim("billing", 20)
            .await
            .iter()
            .map(|claim| serde_json::from_str(&claim.value.body()).unwrap())
            .collect();
        let why: Vec<&str> = bodies.iter().filter_map(|body| body["data"]["why"].as_str()).collect();
        assert_eq!(why, ["paid", "returned"]);
    }
}

async fn what_is_kept_back_from_the_charge_is_not_told(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "evidence is no event").await else { return };
    let (b, now) = (&t.bench, t.bench.now());
    let one = b.one("a").await;
    let next_at = now + TimeDelta::days(1);
    let failing = State::Failing { class: DeclineClass::LaterFunds, code: "51".to_owned(), next_at };
    let stale = verdict(&one.charge, one.fence + 1, failing.clone(), None, now);
    assert_eq!(b.store.commit_verdicts(&[stale]).await.unwrap().applied, 0);
    assert_eq!(t.kinds().await, ["charge.planned", "charge.sent"]);
    b.store.commit_verdicts(&[verdict(&one.charge, one.fence, failing, None, now)]).await.unwrap();
    // The question was never open: nothing is resolved.
    assert_eq!(t.kinds().await[2..], ["charge.failing", "dunning.case.opened"]);
}

async fn a_case_is_told_when_it_begins_goes_on_and_ends(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "events of a case").await else { return };
    let (b, now) = (&t.bench, t.bench.now());
    let one = b.one("a").await;
    let next_at = now + TimeDelta::days(1);
    let failing = State::Failing { class: DeclineClass::LaterFunds, code: "51".to_owned(), next_at };
    b.store.commit_verdicts(&[verdict(&one.charge, one.fence, failing, None, now)]).await.unwrap();
    let put_off = Ruling::PutOff { until: now + TimeDelta::days(5) };
    for ruling in [put_off, Ruling::GiveUp { why: GaveUp::Stopped }, Ruling::TryNow] {
        let taken = b.store.take_charge(one.charge.id, b.now(), b.now() + secs(90), None).await.unwrap().unwrap();
        let before = Claimed { value: taken.value.open.charge, fence: taken.fence };
        let after = before.value.clone().step(Event::Ruled(ruling), b.now(), &Limits::default()).unwrap();
        let note = PersonsNote { by: "ann".to_owned(), action: "dunning.ruled", detail: "by lot".to_owned() };
        let ruled = Ruled { before, after, note, stop: None };
        assert!(b.store.rule_on_charge(&ruled, b.now()).await.unwrap());
        assert!(!b.store.rule_on_charge(&ruled, b.now()).await.unwrap(), "and is told once");
    }
    b.store.cancel(&id("a"), "ann", b.now() + secs(1)).await.unwrap();
    let expected = [
        "charge.planned",
        "charge.sent",
        "charge.failing",
        "dunning.case.opened",
        "dunning.case.step",
        "charge.failed",
        "dunning.case.ended",
        "dunning.case.opened",
        "dunning.case.ended",
        "subscription.cancelled",
    ];
    assert_eq!(t.kinds().await, expected);
    b.clock.advance(secs(2));
    let bodies: Vec<serde_json::Value> =
        t.claim("billing", 10).await.iter().map(|claim| serde_json::from_str(&claim.value.body()).unwrap()).collect();
    // Failing and failed are two words: no event says both.
    for (body, kind) in bodies.iter().zip(expected) {
        let text = body.to_string();
        assert_eq!(
            (text.contains("failing"), text.contains("failed")),
            (kind.ends_with("failing"), kind.ends_with("failed"))
        );
    }
    let opened = &bodies[3]["data"];
    assert_eq!((&opened["case"], &opened["class"]), (&1.into(), &"later_funds".into()));
    assert_eq!((&opened["next_step"], &opened["end_action"]), (&"retry".into(), &"pause_subscription".into()));
    assert_eq!(opened["next_step_at"], "2027-01-16T12:00:00.000000Z");
    assert_eq!((&bodies[6]["data"]["why"], &bodies[8]["data"]["why"]), (&"stopped".into(), &"cancelled".into()));
    assert_eq!(bodies[6]["data"]["hand_to"], "collections", "whose it is from now on");
    assert_eq!(bodies[8]["data"].get("hand_to"), None, "what was cancelled is nobody's");
    assert_eq!((&bodies[8]["data"]["case"], &bodies[8]["data"]["id"]), (&2.into(), &one.charge.id.to_string().into()));
}

async fn a_case_that_ends_at_its_first_decline_is_told_to_begin_too(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "cases of one decline").await else { return };
    let (b, now) = (&t.bench, t.bench.now());
    let one = b.one("a").await;
    let decline = Decline { class: DeclineClass::Never, code: "stolen_card".to_owned() };
    let event = Event::Declined { decline, next: Next::GiveUp(GaveUp::HardDecline) };
    let failed = one.charge.clone().step(event, now, &Limits::default()).unwrap();
    let learnt =
        Verdict { after: Some(failed.clone()), ..verdict(&one.charge, one.fence, failed.state.clone(), None, now) };
    for applied in [1, 0] {
        assert_eq!(b.store.commit_verdicts(std::slice::from_ref(&learnt)).await.unwrap().applied, applied);
    }
    let expected = ["charge.planned", "charge.sent", "charge.failed", "dunning.case.opened", "dunning.case.ended"];
    assert_eq!(t.kinds().await, expected, "each once, the beginning first");
    let bodies: Vec<serde_json::Value> =
        t.claim("billing", 10).await.iter().map(|claim| serde_json::from_str(&claim.value.body()).unwrap()).collect();
    let [opened, ended] = [&bodies[3]["data"], &bodies[4]["data"]];
    assert_eq!((&opened["case"], &opened["class"], opened.get("why")), (&1.into(), &"never".into(), None));
    assert_eq!((opened.get("next_step"), &opened["end_action"]), (None, &"keep_subscription".into()));
    assert_eq!((&ended["case"], &ended["why"]), (&1.into(), &"hard_decline".into()));
    assert!(opened["sequence"].as_i64() < ended["sequence"].as_i64(), "{opened} {ended}");
    let story = b.store.case_story(one.charge.id).await.unwrap();
    let events: Vec<&str> = story.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(events, ["dunning.case.opened", "dunning.case.ended"]);
}

async fn people_and_pauses_are_told(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "people's events").await else { return };
    let (b, now) = (&t.bench, t.bench.now());
    let one = b.one("a").await;
    let failed = State::Failed { class: DeclineClass::Never, code: "04".to_owned(), why: GaveUp::LadderSpent, at: now };
    let mut verdict = verdict(&one.charge, one.fence, failed, None, now);
    verdict.stop = Some(domain::dunning::Stop::Pause);
    b.store.commit_verdicts(&[verdict]).await.unwrap();
    b.store.cancel(&id("a"), "ann", b.now() + secs(1)).await.unwrap();
    let told: BTreeSet<(String, String)> = t.rows().await.into_iter().map(|row| (row.kind, row.object)).collect();
    let expected = [
        ("charge.planned", one.charge.id.to_string()),
        ("charge.sent", one.charge.id.to_string()),
        ("charge.failed", one.charge.id.to_string()),
        ("subscription.paused", "a".to_owned()),
        ("subscription.cancelled", "a".to_owned()),
    ];
    assert_eq!(told, expected.into_iter().map(|(kind, object)| (kind.to_owned(), object)).collect());
}

async fn a_delivery_is_leased_and_an_old_fence_settles_nothing(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing", "books"], "leases of events").await else { return };
    t.holds(3).await;
    let first = t.claim("billing", 2).await;
    assert_eq!(first.len(), 2);
    assert!(first[0].value.sequence < first[1].value.sequence, "the oldest first");
    let rest = t.claim("billing", 10).await;
    assert_eq!(rest.len(), 1, "what is leased is left alone");
    assert_eq!(t.claim("billing", 10).await, []);
    assert_eq!(t.claim("books", 10).await.len(), 3, "each endpoint has deliveries of its own");
    // The process died: when the lease has run out it is delivered again, under the same id.
    t.bench.clock.advance(secs(91));
    let again = t.claim("billing", 10).await;
    assert_eq!(again.len(), 3);
    assert_eq!((again[0].value.id, again[0].value.body()), (first[0].value.id, first[0].value.body()));
    assert_eq!(t.settle("billing", &first[0], Outcome::Delivered { status: 200 }).await, 0, "the lease was lost");
    assert_eq!(t.settle("billing", &again[0], Outcome::Delivered { status: 204 }).await, 1);
    assert_eq!(
        t.settle("billing", &again[0], Outcome::Untried).await,
        1,
        "the fence still stands until the next claim"
    );
    let row = t.rows().await.into_iter().find(|row| row.sequence == again[0].value.sequence).unwrap();
    assert_eq!((row.tries, row.http_status), (1, Some(204)));
}

async fn what_failed_waits_for_its_time_and_what_was_given_up_for_a_person(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "failures of deliveries").await else { return };
    t.holds(1).await;
    let next_at = t.bench.now() + secs(300);
    let failed = |next_at| Outcome::Failed { status: Some(503), why: "busy".to_owned(), next_at };
    let claim = t.claim("billing", 1).await.remove(0);
    assert_eq!(t.settle("billing", &claim, failed(Some(next_at))).await, 1);
    assert_eq!(t.claim("billing", 1).await, [], "its time has not come");
    t.bench.clock.advance(secs(300));
    let claim = t.claim("billing", 1).await.remove(0);
    assert_eq!(claim.value.tries, 1);
    assert_eq!(t.settle("billing", &claim, failed(None)).await, 1);
    let row = t.rows().await.remove(0);
    assert_eq!((row.state, row.tries, row.next_at), (DeliveryState::GivenUp, 2, None));
    assert_eq!((row.http_status, row.why.as_deref()), (Some(503), Some("busy")));
    t.bench.clock.advance(TimeDelta::days(400));
    assert_eq!(t.claim("billing", 1).await, []);
    // It is kept, and counted, and a person has it delivered.
    let standing = t.outbox.standing("billing").await.unwrap();
    assert_eq!((standing.waiting, standing.given_up), (0, 1));
    let event = row.id.parse().unwrap();
    assert_eq!(t.outbox.resend(event, Some("books"), "ann", t.bench.now()).await.unwrap(), 0);
    assert_eq!(t.outbox.endpoints_of(event, None).await.unwrap(), 1);
    assert_eq!(t.outbox.resend(event, None, "ann", t.bench.now()).await.unwrap(), 1);
    let claim = t.claim("billing", 1).await.remove(0);
    assert_eq!((claim.value.id, claim.value.tries), (event, 0));
    assert_eq!(t.settle("billing", &claim, Outcome::Delivered { status: 200 }).await, 1);
    // What was delivered is forgotten one day, and nothing else is.
    let now = t.bench.now();
    t.holds(1).await;
    t.bench.store.hold(&Scope::All, "why", "ann", now).await.unwrap();
    assert_eq!(t.outbox.forget_delivered(now - secs(1), 10).await.unwrap(), 0);
    assert_eq!(t.outbox.forget_delivered(now, 10).await.unwrap(), 1);
    assert_eq!(t.kinds().await, ["hold.on"]);
}

async fn a_status_and_a_reason_are_those_of_one_try(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "statuses of deliveries").await else { return };
    t.holds(1).await;
    let failed = |status, why: &str| Outcome::Failed { status, why: why.to_owned(), next_at: Some(t.bench.now()) };
    let told = async |outcome| {
        let claim = t.claim("billing", 1).await.remove(0);
        assert_eq!(t.settle("billing", &claim, outcome).await, 1);
        let row = t.rows().await.remove(0);
        (row.http_status, row.why)
    };
    let why = |why: &str| Some(why.to_owned());
    assert_eq!(told(failed(Some(503), "busy")).await, (Some(503), why("busy")));
    assert_eq!(
        told(failed(None, "no connection")).await,
        (None, why("no connection")),
        "of no answer there is no status"
    );
    assert_eq!(told(failed(Some(500), "broken")).await, (Some(500), why("broken")));
    // What was claimed and not tried leaves both as they are; what is sent again has neither yet.
    assert_eq!(told(Outcome::Untried).await, (Some(500), why("broken")));
    let event = t.rows().await.remove(0).id.parse().unwrap();
    assert_eq!(t.outbox.resend(event, None, "ann", t.bench.now()).await.unwrap(), 1);
    let row = t.rows().await.remove(0);
    assert_eq!((row.http_status, row.why), (None, None));
    assert_eq!(told(Outcome::Delivered { status: 204 }).await, (Some(204), None));
}

async fn an_endpoint_that_is_gone_is_told_nothing_until_somebody_enables_it(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing", "books"], "a gone endpoint").await else { return };
    t.holds(2).await;
    let claim = t.claim("billing", 1).await.remove(0);
    assert_eq!(t.settle("billing", &claim, Outcome::Gone).await, 1);
    assert_eq!(t.claim("billing", 10).await, []);
    assert_eq!(t.claim("books", 10).await.len(), 2, "its neighbour goes on");
    let standing = t.outbox.standing("billing").await.unwrap();
    assert_eq!((standing.waiting, standing.disabled_at), (2, Some(t.bench.now())));
    assert!(t.outbox.enable_endpoint("billing", "ann", t.bench.now()).await.unwrap());
    assert!(!t.outbox.enable_endpoint("billing", "ann", t.bench.now()).await.unwrap());
    let ids: BTreeSet<String> = t.claim("billing", 10).await.iter().map(|one| one.value.id.to_string()).collect();
    assert_eq!(ids.len(), 2, "nothing was lost meanwhile");
}

async fn what_nobody_carries_any_more_is_named_and_dropped_by_a_person(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing", "books"], "a dropped endpoint").await else { return };
    t.holds(3).await;
    let claim = t.claim("books", 1).await.remove(0);
    assert_eq!(t.settle("books", &claim, Outcome::Delivered { status: 200 }).await, 1);
    let claim = t.claim("books", 1).await.remove(0);
    let given_up = Outcome::Failed { status: None, why: "no connection".to_owned(), next_at: None };
    assert_eq!(t.settle("books", &claim, given_up).await, 1);
    assert_eq!(t.outbox.endpoints_told().await.unwrap(), ["billing", "books"]);
    let drop = async |confirm| t.outbox.drop_deliveries("books", confirm, "ann", t.bench.now()).await.unwrap();
    let two = Dropped { gone: 2, handed_over: 0 };
    assert_eq!((drop(None).await, drop(Some(3)).await), (Dropping::WouldBe(two), Dropping::WouldBe(two)));
    assert_eq!(
        t.outbox.endpoints_told().await.unwrap(),
        ["billing", "books"],
        "who means another number means other rows"
    );
    assert_eq!(drop(Some(2)).await, Dropping::Done(two));
    assert_eq!(drop(Some(0)).await, Dropping::Done(Dropped::default()));
    assert_eq!(t.outbox.endpoints_told().await.unwrap(), ["billing"]);
    let left: Vec<DeliveryRow> = t.rows().await.into_iter().filter(|row| row.endpoint == "books").collect();
    assert!(matches!(left.as_slice(), [row] if row.state == DeliveryState::Delivered), "what was delivered stays told");
    assert_eq!(t.claim("billing", 10).await.len(), 3, "its neighbour loses nothing");
}

async fn what_is_sent_again_under_the_same_key_is_told_once(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "a second submission").await else { return };
    let (b, now) = (&t.bench, t.bench.now());
    let one = b.one("a").await;
    let due = State::Due { next_at: now, doubt: true };
    b.store.commit_verdicts(&[verdict(&one.charge, one.fence, due, None, now)]).await.unwrap();
    b.clock.advance(Limits::default().quiesce);
    let claim = b.claim_open(10).await.remove(0);
    let before = claim.value.open.charge;
    let charge = before.step(Event::Send { attempt: 1 }, b.now(), &Limits::default()).unwrap();
    let again = Some(intent(&charge, 1, b.now()));
    let moved = MovedCharge { charge, fence: claim.fence, new_attempt: None, again };
    let batch = IntentBatch { moved: vec![moved], ..b.batch(&[]).await };
    let recorded = b.store.commit_intents(batch).await.unwrap();
    assert!(matches!(recorded, Committed::Recorded { lost: 0, .. }), "{recorded:?}");
    assert_eq!(t.kinds().await, ["charge.planned", "charge.sent"]);
}

async fn what_a_reconciliation_finds_is_told_once_while_it_goes_on(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing"], "exceptions").await else { return };
    let (b, now) = (&t.bench, t.bench.now());
    let span = Span { from: now.date_naive(), until: now.date_naive() };
    let begin = async |daily| {
        let new = NewRun {
            merchant: MERCHANT,
            source: Source::Gateway,
            span,
            finals: false,
            by: "ann".to_owned(),
            at: b.now(),
            file: None,
            daily,
        };
        let BegunRun::New(run) = b.store.begin_recon(&new).await.unwrap() else { panic!("it was begun before") };
        run.id
    };
    let found = async |run, subjects: &[&str]| {
        let claim = b.store.claim_recon(run, b.now(), b.now() + secs(60)).await.unwrap().unwrap();
        let findings = subjects.iter().map(|subject| Finding {
            kind: Kind::AmountDiffers,
            subject: (*subject).to_owned(),
            charge: None,
            refund: None,
            subscription: Some(id("a")),
            key: None,
            payment_id: None,
            sides: Sides { currency: Currency::USD, ours: 100, theirs: 90, kind: Some(Kind::AmountDiffers) },
            evidence: "seen".to_owned(),
        });
        let page = Compared {
            run: Claimed { value: run, fence: claim.fence },
            merchant: MERCHANT,
            at: b.now(),
            lease_until: b.now() + secs(60),
            stage: Stage::Done,
            place: None,
            asked: 1,
            moved: 0,
            sums: BTreeMap::default(),
            subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
            findings: findings.collect(),
            rows: Vec::new(),
        };
        assert!(b.store.keep_compared(&page).await.unwrap());
    };
    found(begin(false).await, &["row:1"]).await;
    b.clock.advance(secs(60));
    // The next run finds it again, and one more: what goes on is told no second time.
    found(begin(false).await, &["row:1", "row:2"]).await;
    let told = t.rows().await;
    let exceptions: Vec<(&str, &str)> = told.iter().map(|row| (row.kind.as_str(), row.object.as_str())).collect();
    assert_eq!(exceptions, [("reconciliation.exception", "row:1"), ("reconciliation.exception", "row:2")]);
    let body: serde_json::Value = serde_json::from_str(&t.claim("billing", 1).await.remove(0).value.body()).unwrap();
    assert_eq!((&body["data"]["id"], &body["data"]["kind"]), (&"row:1".into(), &Kind::AmountDiffers.as_str().into()));
    assert!(body["data"].get("evidence").is_none() && body["data"].get("sides").is_none(), "{body}");
}

async fn a_list_goes_on_where_it_stopped(backend: Backend) {
    let Some(t) = Told::begin(backend, &["billing", "books"], "pages of events").await else { return };
    t.holds(5).await;
    let filter = DeliveryFilter { endpoint: Some("books".to_owned()), ..DeliveryFilter::default() };
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (page, next) = t.outbox.deliveries(&filter, &after, 2).await.unwrap();
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|row| row.object));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["s4", "s3", "s2", "s1", "s0"].map(|name| format!("subscription:{name}")));
    let none = DeliveryFilter { state: Some(DeliveryState::Delivered), ..DeliveryFilter::default() };
    assert_eq!(t.outbox.deliveries(&none, &None, 2).await.unwrap(), (Vec::new(), None));
    let none = DeliveryFilter { kind: Some("charge.paid".to_owned()), ..DeliveryFilter::default() };
    assert_eq!(t.outbox.deliveries(&none, &None, 2).await.unwrap().0, []);
}

async fn nobody_is_told_of_what_nobody_wants_to_hear(backend: Backend) {
    let Some(t) = Told::begin(backend, &[], "no endpoints").await else { return };
    let one = t.bench.one("a").await;
    let now = t.bench.now();
    t.bench.store.commit_verdicts(&[verdict(&one.charge, one.fence, paid(now), Some("p"), now)]).await.unwrap();
    t.holds(1).await;
    assert_eq!(t.rows().await, []);
    assert_eq!(t.bench.store.holds().await.unwrap().len(), 1);
    let due = t.bench.store.next_wake(MERCHANT).await.unwrap();
    assert!(due.is_some(), "the book goes on");
}
