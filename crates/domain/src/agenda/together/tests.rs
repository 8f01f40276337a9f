use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::agenda::{Digest, Hold, HoldKind, Lift, Scope, draw, enrol, planned};
use crate::charge::Limits;
use crate::id::Environment;
use crate::plan::{AmountSpec, CollectSpec, PlanSpec, ScheduleSpec};
use crate::subscription::{MethodKind, tests::sample};
use crate::wallet::Wallet;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A plan that charges at this hour, in Chicago.
fn plan(id: &str, hour: &str, price: &str) -> PlanSpec {
    PlanSpec {
        id: id.into(),
        name: id.into(),
        kind: "recurring".into(),
        status: "active".into(),
        schedule: ScheduleSpec {
            every: "1 month".into(),
            time_zone: "America/Chicago".into(),
            charge_at: hour.into(),
            catch_up: Some("all".into()),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".into(), value: Some(price.into()), ..AmountSpec::default() },
        collect: CollectSpec { consolidate: Some("customer_and_day".into()), ..CollectSpec::default() },
        ..PlanSpec::default()
    }
}

struct Bench {
    catalog: Catalog,
    holds: Vec<Hold>,
    rows: Vec<Subscription>,
}

impl Bench {
    fn of(plans: &[PlanSpec]) -> Self {
        let plans = plans.iter().map(|spec| Plan::from_spec(spec, 1).unwrap()).map(|plan| (plan.id.clone(), plan));
        let catalog = Catalog { plans: plans.collect(), ..Catalog::default() };
        Self { catalog, holds: Vec::new(), rows: Vec::new() }
    }

    /// A subscription of customer 1001 from 15 February 2027 on.
    fn with(mut self, id: &str, plan: &str, change: impl FnOnce(&mut Subscription)) -> Self {
        let mut row = sample();
        row.id = SubscriptionId::parse(id).unwrap();
        row.plan = PlanId::parse(plan).unwrap();
        row.start_on = NaiveDate::from_ymd_opt(2027, 2, 15).unwrap();
        change(&mut row);
        let plan = &self.catalog.plans[&row.plan];
        (row.next_cycle, row.next_due_at) = enrol(plan, &row, at("2027-02-15T00:00:00Z")).unwrap();
        self.rows.push(row);
        self.rows.sort_by(|a, b| (a.next_due_at, &a.id).cmp(&(b.next_due_at, &b.id)));
        self
    }

    fn draw(&self, now: &str) -> Agenda {
        let (environment, limits) = (Environment::parse("test").unwrap(), Limits::default());
        let book = Book {
            notices: crate::notice::Notices::Assumed,
            catalog: &self.catalog,
            environment: &environment,
            holds: &self.holds,
            due: &self.rows,
            open: &[],
            limits: &limits,
            wallet: &Wallet::new(),
        };
        draw(&book, at(now))
    }

    /// Each item as `subscription/cycle action amount [parts]`.
    fn told(&self, now: &str) -> Vec<String> {
        self.draw(now).items.iter().map(told).collect()
    }
}

fn told(item: &Item) -> String {
    let charge = item.charge.as_ref().unwrap();
    let parts: Vec<String> =
        item.carries.iter().map(|part| format!("{} {}", part.subscription, part.amount.minor())).collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" [{}]", parts.join(", ")) };
    let why = if let Action::Skip(left_out) = &item.action { left_out.why.as_str() } else { item.action.name() };
    format!("{}/{} {why} {}{parts}", item.subscription, item.cycle, charge.amount.minor())
}

fn two_plans() -> Bench {
    Bench::of(&[plan("gym", "08:00", "30.00"), plan("pool", "08:00", "12.50")])
}

#[test]
fn cycles_of_one_customer_and_day_are_one_charge_and_each_keeps_its_own() {
    let bench = two_plans().with("a", "gym", |_| {}).with("b", "pool", |_| {});
    let agenda = bench.draw("2027-02-15T14:00:00Z");
    assert_eq!(agenda.items.iter().map(told).collect::<Vec<_>>(), ["a/0 send 4250 [b 1250]", "b/0 consolidated 1250"]);
    assert_eq!(agenda.advances.len(), 2);
    assert!(agenda.advances.iter().all(|advance| advance.next_cycle == 1));
    let lead = agenda.items[0].charge.as_ref().unwrap();
    assert_eq!((lead.own_amount().minor(), lead.carried.unwrap().parts), (3_000, 1));
    assert_eq!(agenda.items[0].carries[0].charge, agenda.items[1].charge.as_ref().unwrap().id);
}

#[test]
fn whoever_differs_in_anything_that_counts_is_charged_alone() {
    let mut others = plan("yen", "08:00", "500");
    others.amount.currency = "JPY".into();
    let mut strict = plan("strict", "08:00", "9.00");
    strict.collect.dunning = Some("strict".into());
    let mut plain = plan("plain", "08:00", "9.00");
    plain.collect.consolidate = None;
    let bench = Bench::of(&[plan("gym", "08:00", "30.00"), others, strict, plain])
        .with("a", "gym", |_| {})
        .with("customer", "gym", |row| row.customer.enterprise_id = Some("1002".into()))
        .with("currency", "yen", |_| {})
        .with("day", "gym", |row| row.start_on = NaiveDate::from_ymd_opt(2027, 2, 16).unwrap())
        .with("dunning", "strict", |_| {})
        .with("merchant", "gym", |row| row.merchant = MerchantId(Uuid::from_u128(9)))
        .with("method", "gym", |row| row.method.as_mut().unwrap().id.0 = Uuid::from_u128(8))
        .with("plain", "plain", |_| {})
        .with("zone", "gym", |row| row.zone = Some(Zone::parse("America/New_York").unwrap()));
    let told = bench.told("2027-02-17T00:00:00Z");
    assert_eq!(told.len(), 9);
    assert!(told.iter().all(|line| line.contains("/0 send ") && !line.contains('[')), "{told:?}");
}

#[test]
fn debits_join_only_under_one_consent() {
    let debit = |consent: &'static str| {
        move |row: &mut Subscription| {
            let consent = crate::subscription::Consent {
                id: consent.into(),
                at: at("2027-01-01T00:00:00Z"),
                channel: "WEB".into(),
            };
            let method = row.method.as_mut().unwrap();
            (method.kind, method.consent) = (MethodKind::BankAccount, Some(consent));
        }
    };
    let bench =
        two_plans().with("a", "gym", debit("c-1")).with("b", "pool", debit("c-1")).with("c", "pool", debit("c-2"));
    assert_eq!(
        bench.told("2027-02-15T14:00:00Z"),
        ["a/0 send 4250 [b 1250]", "b/0 consolidated 1250", "c/0 send 1250"]
    );
}

#[test]
fn what_falls_due_later_the_same_day_is_taken_along_and_nothing_of_another_day() {
    let bench = Bench::of(&[plan("gym", "08:00", "30.00"), plan("pool", "18:00", "12.50")])
        .with("a", "gym", |_| {})
        .with("b", "pool", |_| {})
        .with("c", "pool", |row| row.start_on = NaiveDate::from_ymd_opt(2027, 2, 16).unwrap());
    assert_eq!(bench.told("2027-02-15T13:59:59Z"), [""; 0], "nothing is due yet");
    let agenda = bench.draw("2027-02-15T14:00:00Z");
    assert_eq!(agenda.items.iter().map(told).collect::<Vec<_>>(), ["a/0 send 4250 [b 1250]", "b/0 consolidated 1250"]);
    let moved: Vec<&str> = agenda.advances.iter().map(|advance| advance.subscription.as_str()).collect();
    assert_eq!(moved, ["a", "b"]);
    let alone = Bench { rows: bench.rows[1..].to_vec(), ..bench };
    assert_eq!(alone.told("2027-02-15T14:00:00Z"), [""; 0], "without somebody due they come at their own hour");
    assert_eq!(alone.told("2027-02-16T00:00:00Z"), ["b/0 send 1250"]);
}

/// 18:00 on 15 February in Chicago is the 16th in Greenwich: days are the payer's.
#[test]
fn the_day_is_the_payers() {
    let bench = two_plans().with("a", "gym", |_| {});
    let row = &bench.rows[0];
    let last = |now: &str| last_instant(&bench.catalog, row, at(now));
    assert_eq!(last("2027-02-15T14:00:00Z"), at("2027-02-16T05:59:59.999999Z"));
    assert_eq!(last("2027-02-16T05:59:59.999999Z"), at("2027-02-16T05:59:59.999999Z"));
    // The day on which clocks go forward has 23 hours.
    assert_eq!(last("2027-03-14T06:00:00Z"), at("2027-03-15T04:59:59.999999Z"));
}

#[test]
fn whoever_waits_is_left_out_and_the_others_go() {
    let mut bench = two_plans()
        .with("a", "gym", |_| {})
        .with("b", "pool", |_| {})
        .with("c", "pool", |_| {})
        .with("d", "pool", |row| row.status = SubscriptionStatus::Paused)
        .with("e", "pool", |row| row.method = None);
    let scope = Scope::Subscription(SubscriptionId::parse("a").unwrap());
    let since = at("2027-02-01T00:00:00Z");
    bench.holds.push(Hold {
        id: 1,
        scope,
        reason: "x".into(),
        by: "x".into(),
        since,
        lift: Lift::Anybody,
        kind: HoldKind::Operator,
    });
    assert_eq!(
        bench.told("2027-02-15T14:00:00Z"),
        [
            "a/0 wait 3000",
            "b/0 send 2500 [c 1250]",
            "c/0 consolidated 1250",
            "d/0 wait 1250",
            "e/0 park_no_method 1250"
        ]
    );
}

#[test]
fn a_sum_that_the_gateway_does_not_take_is_several_payments() {
    let bench = Bench::of(&[plan("dear", "08:00", "600000.00"), plan("cheap", "08:00", "399999.99")])
        .with("a", "dear", |_| {})
        .with("b", "cheap", |_| {})
        .with("c", "cheap", |_| {})
        .with("d", "dear", |_| {})
        .with("e", "dear", |_| {});
    assert_eq!(
        bench.told("2027-02-15T14:00:00Z"),
        [
            "a/0 send 99999999 [b 39999999]",
            "b/0 consolidated 39999999",
            "c/0 send 99999999 [d 60000000]",
            "d/0 consolidated 60000000",
            "e/0 send 60000000"
        ]
    );
}

#[test]
fn a_payment_that_would_hold_only_what_is_not_due_is_not_made() {
    let bench = Bench::of(&[plan("dear", "08:00", "600000.00"), plan("late", "18:00", "400000.00")])
        .with("a", "dear", |_| {})
        .with("b", "late", |_| {})
        .with("c", "late", |_| {});
    assert_eq!(bench.told("2027-02-15T14:00:00Z"), ["a/0 send 60000000"]);
}

/// As many as a card takes within a month, and more: one payment is one try, however many it is for.
#[test]
fn a_payment_for_many_is_one_try_of_its_method() {
    let many =
        |bench: Bench, plan: &str| (0..40).fold(bench, |bench, n| bench.with(&format!("{plan}-{n:02}"), plan, |_| {}));
    let mut plain = plan("plain", "08:00", "9.00");
    plain.collect.consolidate = None;
    let sent = |bench: &Bench| bench.told("2027-02-15T14:00:00Z").iter().filter(|line| line.contains(" send ")).count();
    let alone = many(Bench::of(&[plain.clone()]), "plain");
    let most = sent(&alone);
    assert!(most < 40, "a network limits the tries of a card: {most}");
    let together = many(Bench::of(&[plan("gym", "08:00", "30.00")]), "gym");
    assert_eq!((sent(&together), together.told("2027-02-15T14:00:00Z").len()), (1, 40));
    let both = many(many(Bench::of(&[plan("gym", "08:00", "30.00"), plain]), "gym"), "plain");
    assert_eq!(sent(&both), most, "one for those that are together, and the others");
}

#[test]
fn missed_days_are_a_payment_each() {
    let mut daily = [plan("gym", "08:00", "30.00"), plan("pool", "09:00", "12.50")];
    daily.iter_mut().for_each(|plan| plan.schedule.every = "1 day".into());
    let bench = Bench::of(&daily).with("a", "gym", |_| {}).with("b", "pool", |_| {});
    assert_eq!(
        bench.told("2027-02-16T14:00:00Z"),
        ["a/0 send 4250 [b 1250]", "a/1 send 3000", "b/0 consolidated 1250",],
        "a subscription that is late itself is not taken along on top"
    );
    assert_eq!(
        bench.told("2027-02-16T15:00:00Z"),
        ["a/0 send 4250 [b 1250]", "a/1 send 4250 [b 1250]", "b/0 consolidated 1250", "b/1 consolidated 1250"]
    );
}

#[test]
fn the_digest_covers_who_is_charged_with_whom() {
    let hash = |agenda: &Agenda| {
        let mut digest = Digest::default();
        digest.add(&agenda.items);
        digest.finish()
    };
    let bench = two_plans().with("a", "gym", |_| {}).with("b", "pool", |_| {});
    let drawn = bench.draw("2027-02-15T14:00:00Z");
    let mut other = drawn.clone();
    other.items[0].carries[0].charge = other.items[0].charge.as_ref().unwrap().id;
    assert_ne!(hash(&drawn), hash(&other));
    let mut none = drawn.clone();
    none.items[0].carries.clear();
    assert_ne!(hash(&drawn), hash(&none));
}

/// Ten subscriptions of three customers under four plans, some of which consolidate, drawn at any moment of three days.
#[derive(Debug, Clone)]
struct ABook {
    plans: Vec<(u32, u32, bool, bool)>,
    rows: Vec<(usize, u32, u32, i64, bool)>,
    minute: i64,
}

fn a_book() -> impl Strategy<Value = ABook> {
    let plan = (
        0..24_u32,
        prop_oneof![6 => 0..2_000_u32, 2 => 40_000_000..99_999_999_u32],
        prop::bool::weighted(0.8),
        any::<bool>(),
    );
    let row = (0..4_usize, 0..3_u32, 0..2_u32, 0..3_i64, prop::bool::weighted(0.1));
    (prop::collection::vec(plan, 4), prop::collection::vec(row, 1..10), 0..4_320_i64)
        .prop_map(|(plans, rows, minute)| ABook { plans, rows, minute })
}

fn bench_of(book: &ABook, consolidates: bool) -> Bench {
    let plans: Vec<PlanSpec> = (book.plans.iter().enumerate())
        .map(|(n, (hour, cents, joins, daily))| {
            let price = format!("{}.{:02}", cents / 100, cents % 100);
            let mut spec = plan(&format!("plan-{n}"), &format!("{hour:02}:00"), &price);
            if *daily {
                spec.schedule.every = "1 day".into();
            }
            if !joins || !consolidates {
                spec.collect.consolidate = None;
            }
            spec
        })
        .collect();
    (book.rows.iter().enumerate()).fold(Bench::of(&plans), |bench, (n, (plan, customer, method, day, paused))| {
        bench.with(&format!("s-{n}"), &format!("plan-{plan}"), |row| {
            row.customer.enterprise_id = Some(format!("{customer}"));
            row.method.as_mut().unwrap().id.0 = Uuid::from_u128((*method).into());
            row.start_on = row.start_on.checked_add_signed(TimeDelta::days(*day)).unwrap();
            if *paused {
                row.status = SubscriptionStatus::Paused;
            }
        })
    })
}

proptest! {
    /// Whatever is together: each cycle is in one payment, no cent appears or vanishes, and nobody pays on another day.
    #[test]
    fn every_due_cycle_is_in_exactly_one_charge_and_sums_are_exact(book in a_book()) {
        let now = at("2027-02-15T06:00:00Z").checked_add_signed(TimeDelta::minutes(book.minute)).unwrap();
        let moment = now.to_rfc3339();
        let (together, alone) = (bench_of(&book, true), bench_of(&book, false));
        let (drawn, plain) = (together.draw(&moment), alone.draw(&moment));
        prop_assert_eq!(&drawn, &together.draw(&moment));
        // What each cycle costs on its own, the ones taken along included.
        let price: BTreeMap<ChargeId, Money> = (drawn.items.iter())
            .map(|item| {
                let row = alone.rows.iter().find(|row| row.id == item.subscription).unwrap();
                planned(&alone.catalog.plans[&row.plan], row, item.cycle).unwrap().unwrap().0
            })
            .map(|charge| (charge.id, charge.amount))
            .collect();
        let mut collected = BTreeSet::new();
        for item in &drawn.items {
            let charge = item.charge.as_ref().unwrap();
            prop_assert_eq!(charge.own_amount(), price[&charge.id]);
            let Action::Send { .. } = &item.action else { continue };
            prop_assert!(chargeable(charge.amount).is_ok());
            prop_assert!(charge.due_at <= now, "a lead is due");
            prop_assert!(collected.insert(charge.id));
            let parts: i64 = item.carries.iter().map(|part| part.amount.minor()).sum();
            prop_assert_eq!(charge.amount.minor().checked_sub(parts), Some(price[&charge.id].minor()));
            prop_assert_eq!(charge.carried.map_or(0, |carried| carried.parts), u32::try_from(item.carries.len()).unwrap());
            for part in &item.carries {
                prop_assert!(collected.insert(part.charge), "carried twice");
                prop_assert_eq!(part.amount, price[&part.charge]);
                let other = drawn.items.iter().find(|other| other.charge.as_ref().is_some_and(|one| one.id == part.charge));
                let other = other.unwrap();
                prop_assert!(matches!(&other.action, Action::Skip(left_out) if left_out.why == SkipWhy::Consolidated));
                prop_assert_eq!(other.charge.as_ref().unwrap().due_on, charge.due_on);
            }
        }
        // Everything that would have been sent alone is collected, and nothing was skipped that nobody carries.
        for item in &plain.items {
            if matches!(item.action, Action::Send { .. }) {
                prop_assert!(collected.contains(&item.charge.as_ref().unwrap().id));
            }
        }
        let skipped = drawn.items.iter().filter(|item| matches!(&item.action, Action::Skip(why) if why.why == SkipWhy::Consolidated));
        for item in skipped {
            prop_assert!(collected.contains(&item.charge.as_ref().unwrap().id));
        }
        // The order is the book's, and each subscription that has an item that is recorded moves on once.
        let place = |id: &SubscriptionId| together.rows.iter().position(|row| row.id == *id).unwrap();
        prop_assert!(drawn.items.windows(2).all(|two| place(&two[0].subscription) <= place(&two[1].subscription)));
        prop_assert!(drawn.advances.windows(2).all(|two| place(&two[0].subscription) < place(&two[1].subscription)));
    }
}
