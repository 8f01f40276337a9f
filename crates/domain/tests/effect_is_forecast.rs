//! The money effect of a change is forecast(new) − forecast(old), month by month and to the cent: over random plans, random changes of
//! them and random subscriptions.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test whose own premise fails should stop, and so should one that reads what is not there"
)]

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, Utc};
use domain::agenda::enrol;
use domain::change::{Effect, Horizon, enrolled_under};
use domain::charge::Limits;
use domain::forecast::{Assumptions, Forecaster, Past, Scenario};
use domain::id::{MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::plan::{Catalog, Plan, PlanSpec, PlanStatus};
use domain::subscription::{Customer, Method, MethodKind, Subscription, SubscriptionStatus};
use domain::terms::Terms;
use domain::wallet::Wallet;
use proptest::prelude::*;

/// Prices of a plan: one, or dated ones, in cents.
type Prices = Vec<(u32, i64)>;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn plan((every, free): (&str, u16), on_day: Option<u32>, zone: &str, prices: &Prices, active: bool) -> Plan {
    let money = |minor: &i64| format!("{}.{:02}", minor / 100, minor % 100);
    let mut amount = serde_json::json!({ "currency": "USD" });
    match prices.as_slice() {
        [(_, only)] => amount["value"] = money(only).into(),
        dated => {
            let step = |(month, minor): &(u32, i64)| {
                let from = day("2025-01-01").checked_add_months(chrono::Months::new(*month)).unwrap();
                serde_json::json!({ "from": from.to_string(), "value": money(minor) })
            };
            amount["step"] = dated.iter().map(step).collect();
        }
    }
    let mut schedule = serde_json::json!({ "every": every, "time_zone": zone, "charge_at": "06:30:00" });
    if let Some(on_day) = on_day.filter(|_| every.contains("month")) {
        schedule["on_day"] = on_day.to_string().into();
    }
    if free > 0 {
        schedule["free_first"] = format!("{free} days").into();
    }
    let spec = serde_json::json!({
        "id": "made", "name": "Made", "kind": "recurring", "status": if active { "active" } else { "retired" },
        "schedule": schedule, "amount": amount,
    });
    let spec: PlanSpec = serde_json::from_value(spec).unwrap();
    Plan::from_spec(&spec, 1).unwrap()
}

fn prices() -> impl Strategy<Value = Prices> {
    // A price of zero is skipped, not charged.
    let price = || prop_oneof![Just(0_i64), 1_i64..1_000_000];
    let dated = prop::collection::btree_map(0_u32..40, price(), 2..4);
    let dated = dated.prop_map(|steps| {
        let mut steps: Prices = steps.into_iter().collect();
        // The first step is in force from the beginning.
        steps[0].0 = 0;
        steps
    });
    prop_oneof![price().prop_map(|price| vec![(0, price)]), dated]
}

fn subscription(
    number: usize,
    start_ago: u64,
    ends_in: Option<u64>,
    plan: &Plan,
    as_of: DateTime<Utc>,
) -> Subscription {
    let today = as_of.date_naive();
    let mut made = Subscription {
        id: SubscriptionId::parse(&format!("sub-{number}")).unwrap(),
        merchant: MerchantId(uuid::Uuid::nil()),
        plan: PlanId::parse("made").unwrap(),
        customer: Customer { enterprise_id: Some("1001".into()), ..Customer::default() },
        method: Some(Method { id: PaymentMethodId(uuid::Uuid::from_u128(7)), kind: MethodKind::Card, consent: None }),
        second_method: None,
        backups: Vec::new(),
        start_on: today.checked_sub_days(Days::new(start_ago)).unwrap(),
        anchor_day: None,
        zone: None,
        amount: None,
        terms: Terms::default(),
        owed_until: None,
        amendments: domain::subscription::Amendments::default(),
        end_on: ends_in.map(|days| today.checked_add_days(Days::new(days)).unwrap()),
        status: SubscriptionStatus::Active,
        next_cycle: 0,
        next_due_at: None,
    };
    (made.next_cycle, made.next_due_at) = enrol(plan, &made, as_of).unwrap();
    made
}

fn rhythms() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1 month", "2 weeks", "1 week", "1 quarter", "3 days", "1 year"])
}

/// What a forecast with all paying collects, by month.
fn forecast(plan: &Plan, book: &[Subscription], as_of: DateTime<Utc>, until: NaiveDate) -> BTreeMap<NaiveDate, Money> {
    let mut catalog = Catalog::default();
    catalog.plans.insert(plan.id.clone(), plan.clone());
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let scenario = Scenario::AllPay;
    let given = Assumptions {
        notices: domain::notice::Notices::Assumed,
        catalog: &catalog,
        holds: &[],
        wallet: &wallet,
        limits: &limits,
        as_of,
        until,
        scenario: &scenario,
    };
    let mut months: BTreeMap<NaiveDate, Money> = BTreeMap::new();
    for subscription in book {
        let trouble = Forecaster::new(given).unwrap().walk(subscription, &[], Past::Clean, &mut |entry| {
            let month = months.entry(entry.on.with_day(1).unwrap()).or_insert(Money::new(0, Currency::USD));
            *month = month.checked_add(entry.expected()).unwrap();
        });
        assert_eq!(trouble, None);
    }
    months
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_effect_of_a_change_is_the_difference_of_two_forecasts(
        every in rhythms(),
        // Folder against folder the rhythm may change too, and a free period.
        (other_every, free) in (prop::option::of(rhythms()), (0_u16..40, 0_u16..40)),
        on_day in prop::option::of(1_u32..32),
        zone in prop::sample::select(vec!["UTC", "America/Chicago", "Australia/Sydney"]),
        (old, new) in (prices(), prices()),
        retires in prop::bool::weighted(0.1),
        subs in prop::collection::vec((0_u64..900, prop::option::of(0_u64..600)), 1..5),
        months in 1_u32..25,
        offset in 0_u64..400,
    ) {
        let as_of = day("2026-03-01").checked_add_days(Days::new(offset)).unwrap().and_time(NaiveTime::MIN).and_utc();
        let old = plan((every, free.0), on_day, zone, &old, true);
        let other = other_every.map_or((every, free.0), |other| (other, free.1));
        let new = plan(other, on_day, zone, &new, !retires);
        let book: Vec<Subscription> = subs
            .iter()
            .enumerate()
            .map(|(number, (ago, ends))| subscription(number, *ago, *ends, &old, as_of))
            .collect();
        let horizon = Horizon::from(as_of.date_naive(), months).unwrap();
        let until = horizon.end().pred_opt().unwrap();
        let moved: Vec<Subscription> =
            book.iter().map(|row| enrolled_under(Some(&old), &new, row, as_of).unwrap()).collect();
        let mut effect = Effect::default();
        for (subscription, moved) in book.iter().zip(&moved) {
            effect.add_moved((Some(&old), subscription), (Some(&new), moved), horizon).unwrap();
            let imported = enrol(&new, subscription, as_of).unwrap();
            prop_assert_eq!((moved.next_cycle, moved.next_due_at), imported, "as an import of that day");
        }
        let (before, after) = (forecast(&old, &book, as_of, until), forecast(&new, &moved, as_of, until));
        let zero = Money::new(0, Currency::USD);
        let all: std::collections::BTreeSet<NaiveDate> =
            before.keys().chain(after.keys()).copied().chain(effect.months.keys().map(|(month, _)| *month)).collect();
        for month in all {
            let shift = effect.months.get(&(month, Currency::USD)).copied();
            let told = (shift.map_or(zero, |shift| shift.old), shift.map_or(zero, |shift| shift.new));
            let foreseen = (*before.get(&month).unwrap_or(&zero), *after.get(&month).unwrap_or(&zero));
            prop_assert_eq!(told, foreseen, "{}", month);
            let difference = shift.map_or(zero, |shift| shift.difference().unwrap());
            prop_assert_eq!(difference, foreseen.1.checked_sub(foreseen.0).unwrap());
            prop_assert!(month.day() == 1);
        }
        prop_assert_eq!(new.status == PlanStatus::Retired, retires);
    }
}
