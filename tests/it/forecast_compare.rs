//! A month that was foreseen, lived through, and compared: every difference has its name, and nothing is left over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use autopay::clock::TurnedClock;
use autopay::engine::Refunds;
use autopay::engine::compare::{Asked, Collected, compare};
use autopay::engine::forecaster::{Told, background, walk};
use autopay::forecast::compared::{Step, Total, reasons_text, steps, totals};
use autopay::forecast::snapshot::{Header, Order, Snapshot, Writer, check, common_zone};
use autopay::forecast::{Request, snapshot};
use autopay::gateway::CcgGateway;
use autopay::ports::StoreError;
use autopay::ports::dispute::{DisputeEvent, Disputes};
use autopay::ports::webhooks::{InboxId, Subject};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::agenda::Scope;
use domain::amendment::{Change, propose};
use domain::calendar::Zone;
use domain::dispute::Standing;
use domain::forecast::compare::{Foreseen, Month, Tally};
use domain::forecast::{By, Grouping, Scenario, View};
use domain::id::{PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::plan::{PlanSpec, StepSpec};
use domain::refund::{Reason, Wish};
use domain::subscription::AdjustmentKind;
use sandbox::{Behaviour, DeclineCode, Options, ReturnCode};
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database};
use tokio_util::sync::CancellationToken;

use crate::cli_support::{Bench, Said};
use crate::webhook_support::ports;
use crate::world::{Backend, MERCHANT, World, at, bank, card, client, day, plan, subscriber};

/// One story on each store; the real binary needs a thread of its own beside the world's.
macro_rules! everywhere {
    ($($story:ident;)*) => {
        mod in_memory { $(#[tokio::test] async fn $story() { Box::pin(super::$story(crate::world::Backend::Memory)).await; })* }
        mod on_sqlite { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { Box::pin(super::$story(crate::world::Backend::Sqlite)).await; })* }
        mod on_postgresql { $(#[tokio::test(flavor = "multi_thread")] async fn $story() { Box::pin(super::$story(crate::world::Backend::Postgres)).await; })* }
    };
}

everywhere! {
    a_month_with_everything_in_it_is_explained_to_the_cent;
    a_large_book_is_compared_a_page_at_a_time;
}

const CHICAGO: &str = "America/Chicago";

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

fn dollars(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

/// What the world's book is forecast to be charged, kept in a file.
async fn taken(world: &World, path: &Path, (from, until): (NaiveDate, NaiveDate)) -> Snapshot {
    let as_of = world.now();
    let background = background(world.store.as_ref(), MERCHANT, as_of, false).await.unwrap();
    let request = Request {
        as_of,
        from,
        until,
        by: By::Month,
        view: View::Charge,
        grouping: Grouping::default(),
        seed: 7,
        scenario: "all-pay".to_owned(),
    };
    let zone = common_zone(background.catalog.plans.values());
    let header = Header::of(&request, ("book", zone), None, Vec::new());
    let mut writer = Writer::begin(path, &header, Order::ById).unwrap();
    let read = (MERCHANT, &world.limits);
    walk(world.store.as_ref(), &background, read, (as_of, until), &Scenario::AllPay, |told| match told {
        Told::Charge(entry, _) => writer.add(entry),
        Told::Subscription(..) => {}
    })
    .await
    .unwrap();
    writer.finish().unwrap();
    check(path).unwrap()
}

/// What a comparison found.
struct Report {
    totals: Vec<Total>,
    steps: Vec<Step>,
    /// Subscription and cycle, what was foreseen and collected, and why they differ.
    lines: Vec<String>,
    collected: Collected,
}

impl Report {
    /// `item amount`, or with the count of charges where there is one.
    fn way(&self) -> Vec<String> {
        let told = |step: &Step| match step.charges {
            Some(charges) => format!("{} {charges} {}", step.item, step.amount.plain()),
            None => format!("{} {}", step.item, step.amount.plain()),
        };
        self.steps.iter().map(told).collect()
    }
}

async fn compared(world: &World, snapshot: &Snapshot, first: &str, now: DateTime<Utc>) -> Report {
    let month = Month::of(day(first), &Zone::parse(&snapshot.header.time_zone).unwrap()).unwrap();
    let asked = Asked { merchant: MERCHANT, month, taken_at: snapshot.header.as_of, now };
    let mut tally = Tally::default();
    let mut lines = Vec::new();
    let rows = snapshot.rows().unwrap().map(|row| Ok::<Foreseen, StoreError>(row.unwrap()));
    let collected = compare(world.store.as_ref(), &asked, rows, |told| {
        tally.add("total", told.difference);
        let whose = told.foreseen.map(|row| (row.subscription.to_string(), row.cycle));
        let whose = whose.or(told.charge.map(|charge| (charge.subscription.to_string(), charge.cycle))).unwrap();
        let side = |money: Option<Money>| money.map_or_else(|| "-".to_owned(), Money::plain);
        let difference = told.difference;
        let sum: i64 = difference.parts.iter().map(|(_, amount)| amount.minor()).sum();
        assert_eq!(difference.gap(Currency::USD), sum);
        if !difference.parts.is_empty() {
            let (foreseen, collected) = (side(difference.scheduled), side(difference.collected));
            lines.push(format!("{}/{} {foreseen} {collected} {}", whose.0, whose.1, reasons_text(&difference.parts)));
        }
        Ok::<(), StoreError>(())
    })
    .await
    .unwrap();
    assert_eq!((&collected.before, collected.unreadable), (&collected.after, 0));
    let totals = totals(snapshot, month.first, &collected.before, &tally);
    let steps = steps(&totals, &tally, false);
    Report { totals, steps, lines, collected }
}

async fn change(world: &World, who: &str, change: Change) {
    let row = world.store.subscription(&id(who)).await.unwrap().unwrap().subscription;
    let catalog = world.store.catalog().await.unwrap();
    let (amendment, _) = propose(&catalog, &row, change, ("a wish", "ann"), world.now()).unwrap();
    assert!(world.store.amend(&amendment).await.unwrap().is_some());
}

fn promo(free_from: Option<&str>) -> PlanSpec {
    let step =
        |from: &str, value: &str| StepSpec { from: from.to_owned(), value: value.to_owned(), ..StepSpec::default() };
    let mut spec = plan("promo", "1 month", CHICAGO, "06:00", "1.00");
    spec.amount.value = None;
    spec.amount.step = vec![step("2026-01-01", "79.00")];
    spec.amount.step.extend(free_from.map(|from| step(from, "0.00")));
    spec
}

fn monthly(id: &str, price: &str) -> PlanSpec {
    plan(id, "1 month", CHICAGO, "06:00", price)
}

/// The book as it stands when the snapshot is taken, each subscription called by what will become of it.
async fn book(world: &World) {
    let mut rolls = monthly("rolls", "79.00");
    rolls.schedule.on_day = Some("last_day".to_owned());
    rolls.schedule.business_days = Some("next".to_owned());
    rolls.schedule.calendar = Some("us-federal-reserve".to_owned());
    world
        .apply(&[monthly("gold", "79.00"), monthly("silver", "49.00"), monthly("dear", "79.00"), promo(None), rolls])
        .await;
    let pays = |n| card(Behaviour::Pays, n);
    let nsf = DeclineCode::InsufficientFunds;
    let once = |n| card(Behaviour::DeclinesThenPays { times: 1, code: nsf }, n);
    let rows = [
        ("another-plan", "gold", "2027-01-15", pays(1)),
        ("before", "gold", "2027-01-01", pays(2)),
        ("cancelled", "gold", "2027-01-15", pays(3)),
        ("charged", "gold", "2027-01-15", pays(4)),
        ("credited", "gold", "2027-01-15", pays(5)),
        ("dearer", "dear", "2027-01-15", pays(6)),
        ("disputed", "gold", "2027-01-15", pays(7)),
        ("dunned", "gold", "2027-01-30", card(Behaviour::DeclinesWith(nsf), 8)),
        ("ends", "gold", "2026-12-15", pays(9)),
        ("fails", "gold", "2027-01-15", card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 10)),
        ("free", "promo", "2027-01-15", pays(11)),
        ("held", "gold", "2027-01-15", pays(12)),
        ("left-out", "gold", "2027-01-15", pays(13)),
        ("moved", "gold", "2027-01-15", pays(14)),
        ("moved-far", "gold", "2027-01-15", pays(15)),
        ("no-method", "gold", "2027-01-15", None),
        ("paused", "gold", "2027-01-15", pays(16)),
        ("paused-until", "gold", "2027-01-15", pays(17)),
        ("pays", "gold", "2027-01-15", pays(18)),
        ("recovers", "gold", "2027-01-10", once(19)),
        ("recovers-later", "gold", "2027-01-30", once(20)),
        ("refunded", "dear", "2027-01-15", pays(21)),
        (
            "returned",
            "gold",
            "2027-01-10",
            bank(Behaviour::AchReturnedLate { days: Some(2), code: ReturnCode::R10 }, 22),
        ),
        ("rolls", "rolls", "2027-01-01", pays(23)),
        ("settles", "gold", "2027-01-29", bank(Behaviour::AchSettles { days: Some(5) }, 24)),
        ("slow", "gold", "2027-01-29", bank(Behaviour::AchSettles { days: Some(12) }, 25)),
    ];
    world
        .enrol(rows.into_iter().map(|(who, plan, start, method)| subscriber(who, plan, start, method)).collect())
        .await;
    live(world, "2027-01-02T00:00:00Z").await;
}

async fn live(world: &World, until: &str) {
    world.live_until(at(until), TimeDelta::hours(1)).await;
}

/// What people and banks do to it until 5 February.
async fn month(world: &World, disputes: &Arc<dyn Disputes>) {
    live(world, "2027-01-05T00:00:00Z").await;
    world.apply(&[monthly("dear", "84.00"), promo(Some("2027-01-10"))]).await;
    world.enrol(vec![subscriber("newcomer", "gold", "2027-01-20", card(Behaviour::Pays, 40))]).await;
    world.store.cancel(&id("cancelled"), "ann", world.now()).await.unwrap();
    world.store.hold(&Scope::Subscription(id("held")), "address dispute", "ann", world.now()).await.unwrap();
    let adjust = |kind, minor| Change::Adjust { kind, amount: dollars(minor) };
    change(world, "another-plan", Change::Plan { plan: PlanId::parse("silver").unwrap(), from: None }).await;
    change(world, "charged", adjust(AdjustmentKind::Charge, 500)).await;
    change(world, "credited", adjust(AdjustmentKind::Credit, 1_250)).await;
    change(world, "ends", Change::EndWithPeriod { last_on: None }).await;
    change(world, "left-out", Change::Skip { cycle: 0 }).await;
    change(world, "moved", Change::Move { cycle: 0, to: day("2027-02-03") }).await;
    change(world, "moved-far", Change::Move { cycle: 0, to: day("2027-02-10") }).await;
    change(world, "paused", Change::Pause { until: None }).await;
    change(world, "paused-until", Change::Pause { until: Some(day("2027-02-01")) }).await;
    live(world, "2027-01-25T00:00:00Z").await;

    let refunds = Refunds::new(world.engine.clone(), Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)));
    let charge = world.charges_of("refunded").await[0].id;
    let wish = Wish { amount: Some(dollars(1_000)), ..Wish::all(Reason::parse("goods came back").unwrap()) };
    refunds.record(charge, &wish, "ann").await.unwrap();
    assert_eq!(refunds.run_once_until(CancellationToken::new()).await.unwrap().refunded, 1);
    let charge = world.charges_of("disputed").await[0].id;
    let key = world.store.attempts(charge).await.unwrap()[0].key;
    let event = DisputeEvent {
        gateway_id: "dp-1".to_owned(),
        subject: Subject { key: Some(key), payment_id: None },
        allocation_id: None,
        amount_minor: Some(2_000),
        currency: Some("USD".to_owned()),
        reason: Some("FRAUDULENT".to_owned()),
        name: "DISPUTE_CREATED".to_owned(),
        status: Some("NEEDS_RESPONSE".to_owned()),
        standing: Standing::NeedsResponse,
    };
    let delivery = InboxId(uuid::Uuid::from_u128(1));
    disputes.record_dispute(MERCHANT, &event, delivery, world.now()).await.unwrap().unwrap();
    live(world, "2027-02-05T00:00:00Z").await;
}

/// Twenty-five charges of 79.00 were foreseen in January; that of 1 January was recorded before the snapshot was taken.
const WAY: [&str; 22] = [
    "scheduled 25 1975.00",
    "recovered_later 1 79.00",
    "timing 2 158.00",
    "moved 2 158.00",
    "new 1 -79.00",
    "before_snapshot 1 -79.00",
    "cancelled 2 158.00",
    "paused 2 158.00",
    "skipped_zero 1 79.00",
    "skipped_by_person 1 79.00",
    "price_change 3 20.00",
    "adjusted 2 7.50",
    "declined 1 79.00",
    "in_dunning 1 79.00",
    "open 1 79.00",
    "parked 1 79.00",
    "on_hold 1 79.00",
    "refund 1 10.00",
    "dispute 1 20.00",
    "returned 1 79.00",
    "collected 732.50",
    "residue 0.00",
];

const LINES: [&str; 25] = [
    "another-plan/0 79.00 49.00 price_change 30.00",
    "before/0 - 79.00 before_snapshot -79.00",
    "cancelled/0 79.00 - cancelled 79.00",
    "charged/0 79.00 84.00 adjusted -5.00",
    "credited/0 79.00 66.50 adjusted 12.50",
    "dearer/0 79.00 84.00 price_change -5.00",
    "disputed/0 79.00 59.00 dispute 20.00",
    "dunned/0 79.00 0.00 in_dunning 79.00",
    "ends/1 79.00 - cancelled 79.00",
    "fails/0 79.00 0.00 declined 79.00",
    "free/0 79.00 0.00 skipped_zero 79.00",
    "held/0 79.00 - on_hold 79.00",
    "left-out/0 79.00 0.00 skipped_by_person 79.00",
    "moved/0 79.00 0.00 moved 79.00",
    "moved-far/0 79.00 - moved 79.00",
    "newcomer/0 - 79.00 new -79.00",
    "no-method/0 79.00 0.00 parked 79.00",
    "paused/0 79.00 - paused 79.00",
    "paused-until/0 79.00 0.00 paused 79.00",
    "recovers-later/0 79.00 0.00 recovered_later 79.00",
    "refunded/0 79.00 74.00 price_change -5.00; refund 10.00",
    "returned/0 79.00 0.00 returned 79.00",
    "rolls/0 79.00 0.00 timing 79.00",
    "settles/0 79.00 0.00 timing 79.00",
    "slow/0 79.00 0.00 open 79.00",
];

/// The real binary over the world's database.
fn autopay(world: &World, folder: &Bench, arguments: &[&str]) -> Said {
    let mut command = folder.command(arguments);
    command.env("AUTOPAY_DATABASE_URL", world.url()).env("AUTOPAY_MERCHANT_ID", MERCHANT.0.to_string());
    tokio::task::block_in_place(|| command.output().unwrap()).into()
}

async fn a_month_with_everything_in_it_is_explained_to_the_cent(backend: Backend) {
    let clock = Arc::new(TurnedClock::new(at("2026-12-28T00:00:00Z")));
    let Some((ports, keep, url)) = ports(backend, clock.clone(), "a month compared").await else { return };
    let world = World::begin_around(backend, clock, (ports.store.clone(), keep, url), Options::default()).await;
    book(&world).await;
    let bench = Bench::new();
    let path = bench.path().join("q1.jsonl");
    let snapshot = taken(&world, &path, (day("2027-01-01"), day("2027-03-31"))).await;
    assert_eq!(snapshot.header.time_zone, CHICAGO);
    month(&world, &ports.disputes).await;

    let now = world.now();
    let report = compared(&world, &snapshot, "2027-01-01", now).await;
    assert_eq!(report.lines, LINES, "{:#?}", report.lines);
    assert_eq!(report.way(), WAY);
    let total = report.totals[0];
    assert_eq!((total.difference, total.named), (dollars(124_250), dollars(124_250)));
    // The gateway's own ledger, less what came in February, what the bank took back and what is disputed and refunded.
    assert_eq!(report.collected.before, BTreeMap::from([(Currency::USD, 73_250)]));
    // February is hardly begun: what is not due yet is to come, and what was moved or rolled into it belongs to January.
    let february = compared(&world, &snapshot, "2027-02-01", now).await;
    let expected = [
        "scheduled 26 2054.00",
        // 28 February is a Sunday.
        "timing 1 79.00",
        "to_come 19 1501.00",
        "cancelled 2 158.00",
        // One by a person, and by the end of their dunning policies one that was declined and one that was returned.
        "paused 3 237.00",
        "collected 79.00",
        "residue 0.00",
    ];
    assert_eq!(february.way(), expected);
    if backend == Backend::Memory {
        return;
    }
    by_the_binary(&world, &bench, &report);
}

/// The command says the same, in every form.
fn by_the_binary(world: &World, bench: &Bench, report: &Report) {
    let january = ["forecast", "compare", "--forecast", "q1.jsonl", "--actual", "2027-01", "--as-of", "2027-02-05"];
    let said = |more: &[&str]| autopay(world, bench, &[&january[..], more].concat()).exits(0);
    let json = said(&["--lines", "-o", "json"]).json();
    assert_eq!(json["totals"][0]["residue"], "0.00");
    assert_eq!(json["totals"][0]["collected"], "732.50");
    assert_eq!(json["month_ends_at"], "2027-02-01T06:00:00Z");
    let way: Vec<String> = json["way"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let charges = row["charges"].as_u64().map(|charges| format!("{charges} ")).unwrap_or_default();
            format!("{} {charges}{}", row["item"].as_str().unwrap(), row["amount"].as_str().unwrap())
        })
        .collect();
    assert_eq!(way, WAY);
    let lines = json["lines"].as_array().unwrap();
    assert_eq!(lines.len(), report.lines.len());
    let refunded = lines.iter().find(|line| line["subscription"] == "refunded").unwrap();
    assert_eq!(refunded["reasons"][1]["reason"], "refund");
    assert_eq!((refunded["forecast"].as_str(), refunded["amount"].as_str()), (Some("79.00"), Some("84.00")));
    assert_eq!((refunded["difference"].as_str(), refunded["state"].as_str()), (Some("5.00"), Some("paid")));
    let table = said(&[]).out;
    assert!(table.contains("USD 0.00") && table.contains("recovered_later"), "{table}");
    let csv = said(&["--reason", "refund", "--reason", "moved", "-o", "csv"]).out;
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 4, "{csv}");
    assert_eq!(
        rows[3],
        "refunded,0,dear,card,2027-01-15,79.00,2027-01-15,84.00,paid,2027-01-15T12:00:00Z,74.00,5.00,price_change -5.00; refund 10.00,USD"
    );
    for by in ["plan", "method"] {
        let json = said(&["--by", by, "-o", "json"]).json();
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for row in json["way"].as_array().unwrap() {
            let minor: i64 = row["amount"].as_str().unwrap().replace('.', "").parse().unwrap();
            let sign = if row[by] == "total" { -1 } else { 1 };
            *sums.entry(row["item"].as_str().unwrap().to_owned()).or_default() += sign * minor;
        }
        assert!(sums.values().all(|sum| *sum == 0), "the groups add up to the total: {sums:?}");
    }
    assert_eq!(said(&["-o", "jsonl"]).out.lines().count(), 1 + WAY.len() + 1);
    assert_eq!(said(&["-o", "csv"]).out.lines().count(), 1 + WAY.len());
    said(&["--lines", "-o", "xlsx", "--out", "january.xlsx"]);
    assert!(std::fs::metadata(bench.path().join("january.xlsx")).unwrap().len() > 4_000);
}

/// More cycles than a page has, foreseen and recorded, in a book of whose cycles none costs anything any more.
async fn a_large_book_is_compared_a_page_at_a_time(backend: Backend) {
    // The databases read the same pages; what they cost is paid once.
    if backend != Backend::Memory {
        return;
    }
    let world = World::begin(backend, "2027-01-02T00:00:00Z", "a large book compared").await.unwrap();
    world.apply(&[promo(None)]).await;
    let rows = |range: std::ops::Range<u32>| {
        range.map(|n| subscriber(&format!("s{n:05}"), "promo", "2027-01-15", card(Behaviour::Pays, 1))).collect()
    };
    world.enrol(rows(0..2_500)).await;
    let folder = tempfile::tempdir().unwrap();
    let snapshot = taken(&world, &folder.path().join("s"), (day("2027-01-01"), day("2027-01-31"))).await;
    world.apply(&[promo(Some("2027-01-10"))]).await;
    world.store.cancel(&id("s01001"), "ann", world.now()).await.unwrap();
    live(&world, "2027-01-20T00:00:00Z").await;
    let report = compared(&world, &snapshot, "2027-01-01", world.now()).await;
    let expected = [
        "scheduled 2500 197500.00",
        "cancelled 1 79.00",
        "skipped_zero 2499 197421.00",
        "collected 0.00",
        "residue 0.00",
    ];
    assert_eq!(report.way(), expected);
    assert!(report.lines.is_sorted(), "by subscription");
}

/// Changes rows behind autopay's back.
async fn vandalize(world: &World, sql: &str) {
    let mut options = ConnectOptions::new(world.url());
    options.max_connections(1).sqlx_logging(false);
    let database = Database::connect(options).await.unwrap();
    assert!(database.execute_unprepared(sql).await.unwrap().rows_affected() > 0, "{sql}");
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_merge_does_not_see_is_a_residue_and_ends_with_ten() {
    let world = World::begin(Backend::Sqlite, "2027-01-02T00:00:00Z", "a residue").await.unwrap();
    world.apply(&[monthly("gold", "79.00")]).await;
    let rows = ["a", "b", "c"].map(|who| subscriber(who, "gold", "2027-01-15", card(Behaviour::Pays, 1)));
    world.enrol(rows.into()).await;
    let bench = Bench::new();
    let forecast =
        ["forecast", "--from", "2027-01-01", "--months", "1", "--as-of", "2027-01-02", "--snapshot", "s.jsonl"];
    let said = autopay(&world, &bench, &forecast).exits(0);
    let snapshot = check(&bench.path().join("s.jsonl")).unwrap();
    said.complains(&[&snapshot.id, "s.jsonl"]);
    let ours = taken(&world, &bench.path().join("ours.jsonl"), (day("2027-01-01"), day("2027-01-31"))).await;
    let read = |snapshot: &Snapshot| snapshot.rows().unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(read(&snapshot), read(&ours));
    world.run_until("2027-01-20T00:00:00Z").await;
    let compare =
        ["forecast", "compare", "--forecast", "s.jsonl", "--actual", "2027-01", "--as-of", "2027-02-01", "-o", "json"];
    let json = autopay(&world, &bench, &compare).exits(0).json();
    assert_eq!(json["totals"][0]["collected"], "237.00");
    assert_eq!(json["lines"], serde_json::json!([]));
    // An id stands for its file.
    std::fs::rename(bench.path().join("s.jsonl"), bench.path().join(format!("{}.jsonl", snapshot.id))).unwrap();
    let by_id: Vec<&str> = compare.iter().map(|word| if *word == "s.jsonl" { &*snapshot.id } else { word }).collect();
    assert_eq!(autopay(&world, &bench, &by_id).exits(0).json(), json);
    // A charge of another kind is money of the month that the cycles do not explain.
    vandalize(&world, "UPDATE charge SET purpose = 'gift' WHERE subscription_id = 'b'").await;
    let said = autopay(&world, &bench, &by_id).exits(10);
    said.complains(&["USD -79.00 of the difference has no reason"]);
    assert_eq!(said.json()["totals"][0]["residue"], "-79.00");
    assert_eq!(said.json()["way"][1]["item"], "not_fired");
    vandalize(&world, "UPDATE charge SET purpose = 'cycle' WHERE subscription_id = 'b'").await;
    autopay(&world, &bench, &by_id).exits(0);
    // A row that cannot be read has its name, and the command does not call that sound.
    vandalize(&world, "UPDATE charge SET attempt = 'x' WHERE subscription_id = 'c'").await;
    let said = autopay(&world, &bench, &by_id).exits(10);
    said.complains(&["1 charge around the month cannot be read"]);
    let way = said.json()["way"].clone();
    assert!(way.as_array().unwrap().iter().any(|row| row["item"] == "unreadable" && row["amount"] == "79.00"), "{way}");
}

#[test]
fn what_is_wrong_with_a_comparison_is_said_before_anything_is_read() {
    let bench = Bench::with_plans();
    bench.write("roster.csv", crate::cli_support::roster(&["a", "b"], "2027-01-31"));
    let forecast = ["forecast", "--plans", "plans", "--subscriptions", "roster.csv", "--from", "2027-01-15"];
    let keep = |more: &[&str]| bench.run(&[&forecast[..], more].concat());
    keep(&["--until", "2027-03-31", "--snapshot", "s.jsonl", "-q"]).exits(0);
    let snapshot = check(&bench.path().join("s.jsonl")).unwrap();
    assert_eq!((snapshot.rows, snapshot.header.source.as_str()), (6, "files"));
    let before = bench.read("s.jsonl");
    keep(&["--months", "1", "--snapshot", "s.jsonl"]).exits(2).complains(&["--snapshot", "is there already"]);
    assert_eq!(bench.read("s.jsonl"), before);
    keep(&["--months", "1", "--snapshot", "no/such/folder/s.jsonl"]).exits(2).complains(&["cannot be written"]);
    keep(&["--months", "1", "--time-zone", "UTC"]).exits(2);
    keep(&["--months", "1", "--snapshot", "x", "--time-zone", "Mars/Olympus"]).exits(2).complains(&["--time-zone"]);
    keep(&["--months", "1", "--snapshot", "x", "--with-change", "plans"]).exits(2).complains(&["--snapshot"]);
    assert!(!bench.path().join("x").exists());
    bench.write("broken.csv", "subscription_id,plan\na,b\n");
    let broken = ["forecast", "--plans", "plans", "--subscriptions", "broken.csv", "--months", "1", "--snapshot", "x"];
    bench.run(&broken).exits(6);
    assert!(!bench.path().join("x").exists() && !bench.path().join("x.part").exists(), "nothing is left of it");

    let compare = |more: &[&str]| bench.run(&[&["forecast", "compare", "--forecast", "s.jsonl"], more].concat());
    let wrong = ["--actual", "January", "--by", "colour", "--reason", "refunds", "--as-of", "soon", "-o", "ics"];
    compare(&wrong).exits(2).complains(&["--actual", "--by", "--reason", "write refund", "--as-of", "--output"]);
    compare(&["--actual", "2027-01"]).exits(2).complains(&["2027-01-15", "2027-03-31", "name another month"]);
    // The files of before the book: nothing of it was imported.
    let said = compare(&["--actual", "2027-02", "-o", "json", "--as-of", "2027-03-01"]).exits(0).json();
    assert_eq!(said["way"][1]["item"], "not_in_book");
    assert_eq!(said["totals"][0]["residue"], "0.00");
    let text = bench.read("s.jsonl");
    bench.write("s.jsonl", text.replacen("107900", "107901", 1));
    compare(&["--actual", "2027-02"]).exits(6).complains(&["s.jsonl:8:1", "control_total_differs", "2027-01"]);
    bench.write("s.jsonl", text.replacen(snapshot::SCHEMA, "autopay.forecast/9", 1));
    compare(&["--actual", "2027-02"]).exits(6).complains(&["version_unknown", "autopay.forecast/1"]);
    compare(&["--actual", "2027-02", "-o", "json"]).exits(6).complains(&["\"errors\""]);
    bench.run(&["forecast", "compare", "--forecast", "none.jsonl", "--actual", "2027-02"]).exits(6);
}

/// docs/forecast.md lists the reasons, all of them, in their order.
#[test]
fn the_reasons_in_the_docs_are_the_closed_list() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/forecast.md")).unwrap();
    let (_, section) = page.split_once("## Forecast against actual").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let word = |line: &str| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word.to_owned());
    let told: Vec<String> = section.lines().filter_map(word).collect();
    let known: Vec<&str> = domain::forecast::compare::Reason::ALL.into_iter().map(|reason| reason.word()).collect();
    assert_eq!(told, known);
}

/// What the snapshot says of each month is what the forecast showed, whatever its scenario and form.
#[test]
fn the_control_totals_of_a_snapshot_are_the_sums_that_were_shown() {
    let bench = Bench::new();
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/books/membership");
    let (plans, roster) = (format!("{book}/plans"), format!("{book}/roster.csv"));
    let mut ids = std::collections::BTreeSet::new();
    for scenario in ["all-pay", "history", "worst-case"] {
        for form in [&["-o", "json"][..], &["-o", "json", "--view", "settlement"], &["--rows", "-o", "csv"]] {
            let forecast = ["forecast", "--plans", &plans, "--subscriptions", &roster, "--from", "2027-01-01"];
            let file = format!("{scenario}{}.jsonl", form.concat());
            let kept = ["--months", "6", "--scenario", scenario, "--snapshot", &file];
            let said = bench.run(&[&forecast[..], &kept, form].concat()).exits(0);
            let snapshot = check(&bench.path().join(&file)).unwrap();
            ids.insert(snapshot.id.clone());
            if form.len() > 2 {
                continue;
            }
            for row in said.json()["rows"].as_array().unwrap() {
                let first = day(&format!("{}-01", row["period"].as_str().unwrap()));
                let total = snapshot.of_month(first).find(|total| total.currency == row["currency"]).unwrap();
                assert_eq!(dollars(total.amount_minor).plain(), row["scheduled"].as_str().unwrap(), "{scenario} {row}");
            }
        }
    }
    assert_eq!(ids.len(), 3, "the view and the form change nothing of it, the scenario its header");
}
