//! Days that are paid for and not used: what a cancellation gives back and what a change of plan settles, against a model that walks
//! the calendar day by day and counts in fractions.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test whose own premise fails should stop, and so should one whose numbers overflow or that reads what is not there"
)]

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::agenda::{cycles, planned};
use domain::amendment::succession::{Succession, Wanted, succeed};
use domain::amendment::unused::{Recorded, Rest, Standing, first_unused, is_lost, periods, put_back, settle};
use domain::amendment::{Change, Refused, Settlement, Whose, propose};
use domain::charge::{Charge, SkipWhy, State};
use domain::id::{MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::subscription::{
    Adjustment, AdjustmentKind, Amendments, Applied, Customer, Method, MethodKind, Subscription, SubscriptionStatus,
};
use domain::terms::Terms;
use domain::verdict::DeclineClass;
use proptest::prelude::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

/// Noon in Chicago, or near it.
fn noon(on: NaiveDate) -> DateTime<Utc> {
    on.and_time(NaiveTime::from_hms_opt(18, 0, 0).unwrap()).and_utc()
}

fn cents(minor: i64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

fn plan_of(id: &str, every: &str, on_day: Option<u32>, on_start: &str, price: i64) -> Plan {
    let mut schedule = serde_json::json!({ "every": every, "time_zone": "America/Chicago", "charge_at": "06:00" });
    let mut mid_period = serde_json::json!({ "on_cancel": "prorate_by_day" });
    if let Some(on_day) = on_day {
        schedule["on_day"] = on_day.to_string().into();
        mid_period["on_start"] = on_start.into();
    }
    let spec = serde_json::json!({
        "id": id, "name": id, "kind": "recurring", "status": "active", "schedule": schedule, "mid_period": mid_period,
        "amount": { "currency": "USD", "value": cents(price) },
    });
    let spec: PlanSpec = serde_json::from_value(spec).unwrap();
    Plan::from_spec(&spec, 1).unwrap()
}

fn catalog(plans: &[&Plan]) -> Catalog {
    let plans = plans.iter().map(|plan| (plan.id.clone(), (*plan).clone())).collect();
    Catalog { plans, ..Catalog::default() }
}

/// A subscription that stands behind its last cycle whose date is not after `today`.
fn standing_at(plan: &Plan, start_on: NaiveDate, quantity: Option<u32>, today: NaiveDate) -> Subscription {
    let mut sub = Subscription {
        id: SubscriptionId::parse("sub-1").unwrap(),
        merchant: MerchantId(uuid::Uuid::nil()),
        plan: plan.id.clone(),
        customer: Customer { enterprise_id: Some("1001".to_owned()), ..Customer::default() },
        method: Some(Method { id: PaymentMethodId(uuid::Uuid::from_u128(7)), kind: MethodKind::Card, consent: None }),
        second_method: None,
        backups: Vec::new(),
        start_on,
        anchor_day: None,
        zone: None,
        amount: None,
        end_on: None,
        terms: Terms { quantity, ..Terms::default() },
        owed_until: None,
        status: SubscriptionStatus::Active,
        next_cycle: 0,
        next_due_at: None,
        amendments: Amendments::default(),
    };
    let due = cycles(plan, &sub, 0).unwrap().map_while(|cycle| cycle.ok().filter(|one| one.occurrence.date <= today));
    let due = u32::try_from(due.count()).unwrap();
    sub.next_cycle = due;
    sub.next_due_at = planned(plan, &sub, sub.next_cycle).unwrap().map(|(charge, _)| charge.due_at);
    sub
}

/// The charge of a cycle, in the state in which a payment of all of it leaves it.
fn paid(plan: &Plan, sub: &Subscription, cycle: u32) -> Charge {
    let mut charge = planned(plan, sub, cycle).unwrap().unwrap().0;
    charge.state = if charge.amount.is_zero() {
        State::Skipped { why: SkipWhy::ZeroAmount, at: charge.due_at }
    } else {
        State::paid(charge.due_at, charge.amount)
    };
    charge
}

/// The rests of a subscription whose recorded cycles are all paid, under `first`.
fn rests((first, plan): (&Plan, &Plan), sub: &Subscription, made: &[Adjustment], today: NaiveDate) -> Vec<Rest> {
    let unused_from = first_unused(plan, sub, noon(today)).unwrap();
    let mut before = sub.clone();
    (before.plan, before.amendments) = (first.id.clone(), Amendments::default());
    let rest = |period: &domain::amendment::unused::Period| {
        let charge = paid(first, &before, period.cycle);
        let recorded = Recorded { charge: &charge, given_back: usd(0), disputed: false };
        Rest::of(plan, sub, period, unused_from, Some(recorded), made).unwrap()
    };
    periods(plan, sub, unused_from).unwrap().iter().map(rest).collect()
}

fn adjustments(settled: &[Settlement], first: i64) -> Vec<Adjustment> {
    let made = |(id, one): (i64, &Settlement)| Adjustment {
        id,
        kind: one.kind,
        amount: one.amount,
        left: one.amount,
        settles: one.settles.clone(),
        reason: one.reason.clone(),
        by: "ann".to_owned(),
        at: DateTime::UNIX_EPOCH,
    };
    (first..).zip(settled).map(made).collect()
}

// ---- the model: boundaries found by looking at every day, parts as fractions ----

/// The nearest whole number to `number / by`; of two that are as near, the even one.
fn nearest(number: i128, by: i128) -> i64 {
    let twice = 2 * number;
    let near: Vec<i128> =
        (number / by - 1..=number / by + 1).filter(|whole| (twice - 2 * whole * by).abs() <= by).collect();
    let even = near.iter().find(|whole| **whole % 2 == 0).or(near.first());
    i64::try_from(*even.unwrap()).unwrap()
}

#[derive(Debug, Clone)]
struct Model {
    every: (u32, bool),
    on_day: Option<u32>,
    start: NaiveDate,
}

impl Model {
    /// Is it the first day of a whole period, looking from the month or the day `origin` lies in?
    fn begins(&self, on: NaiveDate, origin: NaiveDate) -> bool {
        let (count, months) = self.every;
        if !months {
            return (on - self.start).num_days().rem_euclid(i64::from(count)) == 0;
        }
        let wanted = self.on_day.unwrap_or(self.start.day());
        let tomorrow = on.succ_opt().unwrap();
        let matches = on.day() == wanted || (on.day() < wanted && tomorrow.month() != on.month());
        let month = |one: NaiveDate| i64::from(one.year()) * 12 + i64::from(one.month0());
        matches && (month(on) - month(origin)).rem_euclid(i64::from(count)) == 0
    }

    fn step(&self, mut on: NaiveDate, origin: NaiveDate, forward: bool) -> NaiveDate {
        loop {
            on = if forward { on.succ_opt() } else { on.pred_opt() }.unwrap();
            if self.begins(on, origin) {
                return on;
            }
        }
    }

    /// The first whole period's first day.
    fn origin(&self) -> NaiveDate {
        let any = Self { every: (1, self.every.1), ..self.clone() };
        let mut on = self.start;
        while !any.begins(on, on) {
            on = on.succ_opt().unwrap();
        }
        on
    }

    /// The period that a day lies in, and the whole one around it; `None` before the first.
    fn around(&self, on: NaiveDate, leads: bool) -> Option<[NaiveDate; 4]> {
        let origin = self.origin();
        let whole_from = if self.begins(on, origin) { on } else { self.step(on, origin, false) };
        let to = self.step(on, origin, true);
        if whole_from >= origin {
            return Some([whole_from, to, whole_from, to]);
        }
        leads.then_some([self.start, to, whole_from, to])
    }
}

fn rhythms() -> impl Strategy<Value = (String, (u32, bool), Option<u32>)> {
    prop_oneof![
        (1_u32..4, prop::option::of(1_u32..=31)).prop_map(|(months, day)| (
            format!("{months} months").replace("1 months", "1 month"),
            (months, true),
            day
        )),
        (1_u32..6).prop_map(|weeks| (format!("{weeks} weeks").replace("1 weeks", "1 week"), (weeks * 7, false), None)),
        (2_u32..40).prop_map(|days| (format!("{days} days"), (days, false), None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_kept_of_a_payment_is_the_price_of_the_days_that_were_used(
        (every, shape, on_day) in rhythms(), on_start in prop::sample::select(vec!["free", "full", "prorate_by_day"]),
        price in prop_oneof![Just(0_i64), 1_i64..200, 1_000_i64..1_000_000], quantity in prop::option::of(2_u32..5),
        start in 0_u64..800, life in 0_u64..400,
    ) {
        let start = day("2027-01-01") + Days::new(start);
        let today = start + Days::new(life);
        let plan = plan_of("gold", &every, on_day, on_start, price);
        let sub = standing_at(&plan, start, quantity, today);
        let rests = rests((&plan, &plan), &sub, &[], today);
        let model = Model { every: shape, on_day, start };
        let leads = on_day.is_some() && on_start != "free";
        let Some([from, to, whole_from, whole_to]) = model.around(today, leads) else {
            prop_assert!(rests.is_empty());
            return Ok(());
        };
        let count = |from: NaiveDate, to: NaiveDate| i128::from((to - from).num_days());
        let whole = price * i64::from(quantity.unwrap_or(1));
        let shorter = from != whole_from && on_start == "prorate_by_day";
        let paid = if shorter { nearest(i128::from(whole) * count(from, to), count(whole_from, whole_to)) } else { whole };
        let days = count(from, to);
        let tomorrow = today.succ_opt().unwrap();
        if tomorrow == to {
            prop_assert!(rests.is_empty(), "the last day is used as well");
            return Ok(());
        }
        let [rest] = rests.as_slice() else { panic!("{rests:?}") };
        prop_assert_eq!((rest.from, rest.to, rest.unused_from), (from, to, tomorrow));
        let refund = rest.to_refund().minor();
        let unused = nearest(i128::from(paid) * count(tomorrow, to), days);
        let kept = paid - refund;
        prop_assert_eq!(kept, paid - unused);
        // The used days cost what they cost, to the nearest cent.
        let exact = i128::from(paid) * count(from, tomorrow);
        prop_assert!((2 * (i128::from(kept) * days - exact)).abs() <= days, "{} {} {}", kept, exact, days);
        prop_assert!(refund >= 0 && refund <= paid);
        prop_assert!(paid == 0 || kept > 0 || exact * 2 <= days, "a used day is never given back");
    }

    #[test]
    fn whatever_plans_a_period_saw_each_of_its_days_is_paid_once(
        (every, shape, on_day) in rhythms(), on_start in prop::sample::select(vec!["free", "full", "prorate_by_day"]),
        prices in prop::array::uniform2(prop_oneof![Just(0_i64), 1_i64..200, 1_000_i64..100_000]),
        start in 0_u64..800, life in 0_u64..200, changes in prop::collection::vec(0_u64..12, 1..6),
    ) {
        let start = day("2027-01-01") + Days::new(start);
        let mut today = start + Days::new(life);
        let plans = ["gold", "silver"].iter().zip(prices).map(|(id, price)| plan_of(id, &every, on_day, on_start, price));
        let plans: Vec<Plan> = plans.collect();
        let book = catalog(&[&plans[0], &plans[1]]);
        let model = Model { every: shape, on_day, start };
        let leads = on_day.is_some() && on_start != "free";
        let Some([from, to, whole_from, whole_to]) = model.around(today, leads) else { return Ok(()) };
        let mut sub = standing_at(&plans[0], start, None, today);
        let count = |from: NaiveDate, to: NaiveDate| i128::from((to - from).num_days());
        let shorter = from != whole_from && on_start == "prorate_by_day";
        let paid = if shorter { nearest(i128::from(prices[0]) * count(from, to), count(whole_from, whole_to)) } else { prices[0] };
        // The rate of the days from here on, and what the period cost so far.
        let (mut rate, mut of, mut at) = (paid, count(from, to), 0_usize);
        let mut owed = i128::from(paid);
        let mut made: Vec<Adjustment> = Vec::new();
        for wait in changes {
            today = today + Days::new(wait);
            let tomorrow = today.succ_opt().unwrap();
            if tomorrow >= to {
                break;
            }
            let other = 1 - at;
            let rests = rests((&plans[0], &plans[at]), &sub, &made, today);
            let settled = settle((&plans[at], &plans[other]), &sub, &rests, tomorrow).unwrap();
            let change = Change::PlanNow { plan: plans[other].id.clone(), settled: settled.clone() };
            let (amendment, after) = propose(&book, &sub, change, ("", "ann"), noon(today)).unwrap();
            prop_assert!(amendment.fits(&sub));
            prop_assert_eq!(after.amendments.open.len(), sub.amendments.open.len() + settled.len());
            let first = i64::try_from(made.len()).unwrap() + 1;
            made.extend(adjustments(&settled, first));
            sub = after;
            sub.amendments.open.clone_from(&made);
            let credit = nearest(i128::from(rate) * count(tomorrow, to), of);
            // Days of a first period are a part of a whole one only where the plan says so.
            let whole = if on_start == "prorate_by_day" { count(whole_from, whole_to) } else { count(from, to) };
            (rate, of, at) = (prices[other], whole, other);
            let charge = nearest(i128::from(rate) * count(tomorrow, to), of);
            owed += i128::from(charge) - i128::from(credit);
            let told: i64 = settled.iter().map(|one| match one.kind {
                AdjustmentKind::Credit => -one.amount.minor(),
                AdjustmentKind::Charge => one.amount.minor(),
            }).sum();
            prop_assert_eq!(told, charge - credit);
        }
        // And then it ends: what was collected, less what goes back, is what the used days cost under their plans.
        let tomorrow = today.succ_opt().unwrap();
        if tomorrow >= to {
            return Ok(());
        }
        let rests = rests((&plans[0], &plans[at]), &sub, &made, today);
        let [rest] = rests.as_slice() else { panic!("{rests:?}") };
        let used = owed - i128::from(nearest(i128::from(rate) * count(tomorrow, to), of));
        let kept = i128::from(paid - rest.to_refund().minor());
        prop_assert_eq!(kept, used.clamp(0, i128::from(paid)));
    }
}

// ---- vectors ----

fn settled_words(settled: &[Settlement]) -> Vec<String> {
    settled.iter().map(Settlement::in_words).collect()
}

#[test]
fn the_day_on_which_it_is_said_is_used_and_the_denominator_is_the_period() {
    let plan = plan_of("gold", "1 month", Some(1), "prorate_by_day", 3_000);
    let refund = |start: &str, today: &str| {
        let sub = standing_at(&plan, day(start), None, day(today));
        rests((&plan, &plan), &sub, &[], day(today)).iter().map(|rest| rest.to_refund().minor()).collect::<Vec<_>>()
    };
    assert_eq!(refund("2027-02-01", "2027-02-14"), [1_500], "14 of 28 days");
    assert_eq!(refund("2027-02-01", "2027-02-01"), [2_893], "27 of 28: the first day is used");
    assert_eq!(refund("2027-02-01", "2027-02-27"), [107]);
    assert_eq!(refund("2027-02-01", "2027-02-28"), Vec::<i64>::new(), "the last day leaves nothing");
    // Started on the 15th: 15.00 for 14 days, and 7 of them go back.
    assert_eq!(refund("2027-02-15", "2027-02-21"), [750]);
    // The payer's day counts, not Greenwich's: ten in the evening in Chicago.
    let sub = standing_at(&plan, day("2027-02-01"), None, day("2027-02-14"));
    let late: DateTime<Utc> = "2027-02-15T04:00:00Z".parse().unwrap();
    assert_eq!(first_unused(&plan, &sub, late).unwrap(), day("2027-02-15"));
}

#[test]
fn the_price_is_what_was_recorded_without_credits_and_charges_and_never_more_goes_back_than_was_collected() {
    let plan = plan_of("gold", "1 month", Some(1), "free", 3_000);
    let today = day("2027-02-14");
    let mut sub = standing_at(&plan, day("2027-02-01"), None, today);
    let applied = |kind, minor| Applied { adjustment: 1, kind, cycle: 0, amount: usd(minor), reason: String::new() };
    let one = |sub: &Subscription, asked: i64, collected: i64, back: i64| {
        let mut charge = paid(&plan, &standing_at(&plan, day("2027-02-01"), None, today), 0);
        charge.amount = usd(asked);
        charge.state = State::paid(charge.due_at, usd(collected));
        let period = periods(&plan, sub, day("2027-02-15")).unwrap()[0];
        let recorded = Recorded { charge: &charge, given_back: usd(back), disputed: false };
        let rest = Rest::of(&plan, sub, &period, day("2027-02-15"), Some(recorded), &[]).unwrap();
        (rest.to_refund().minor(), rest.to_credit().minor())
    };
    assert_eq!(one(&sub, 3_000, 3_000, 0), (1_500, 1_500));
    assert_eq!(one(&sub, 3_000, 3_000, 2_000), (1_000, 1_000), "20.00 went back before");
    assert_eq!(one(&sub, 3_000, 3_000, 3_000), (0, 0));
    assert_eq!(one(&sub, 3_000, 2_000, 0), (1_000, 1_000), "only 20.00 were captured");
    sub.amendments.applied = vec![applied(AdjustmentKind::Charge, 500)];
    assert_eq!(one(&sub, 3_500, 3_500, 0), (1_500, 1_500), "a guest pass is not prorated");
    sub.amendments.applied = vec![applied(AdjustmentKind::Credit, 2_000)];
    assert_eq!(one(&sub, 1_000, 1_000, 0), (1_000, 1_500), "no more than was collected");
}

#[test]
fn what_is_not_paid_gives_nothing_back_and_changes_no_plan() {
    let (plan, other) =
        (plan_of("gold", "1 month", Some(1), "free", 3_000), plan_of("silver", "1 month", Some(1), "free", 900));
    let today = day("2027-02-14");
    let sub = standing_at(&plan, day("2027-02-01"), None, today);
    let period = periods(&plan, &sub, day("2027-02-15")).unwrap()[0];
    let with = |state: Option<State>| {
        let charge = state.map(|state| Charge { state, ..paid(&plan, &sub, 0) });
        let recorded = charge.as_ref().map(|charge| Recorded { charge, given_back: usd(0), disputed: false });
        let rest = Rest::of(&plan, &sub, &period, day("2027-02-15"), recorded, &[]).unwrap();
        assert_eq!((rest.to_refund(), rest.to_credit()), (usd(0), usd(0)), "{rest:?}");
        (rest.standing, settle((&plan, &other), &sub, &[rest], day("2027-02-15")))
    };
    let at = noon(today);
    let refused = |found: (Standing, Result<Vec<Settlement>, Refused>), part: &str| {
        let refused = found.1.unwrap_err();
        assert!(refused.message.contains(part) && refused.mend.contains("--at next_cycle"), "{refused:?}");
    };
    refused(with(Some(State::Settling { since: at, asked: 0, next_at: at, slow: false })), "is sending");
    refused(with(None), "no charge");
    let (standing, settled) = with(Some(State::Skipped { why: SkipWhy::Person, at }));
    assert_eq!((standing, settled.unwrap()), (Standing::LeftOut { why: SkipWhy::Person }, vec![]));
    let charge = paid(&plan, &sub, 0);
    let disputed = Recorded { charge: &charge, given_back: usd(0), disputed: true };
    let rest = Rest::of(&plan, &sub, &period, day("2027-02-15"), Some(disputed), &[]).unwrap();
    let settled = settle((&plan, &other), &sub, std::slice::from_ref(&rest), day("2027-02-15"));
    refused((rest.standing, settled), "is disputed");
    // A cycle that is due today and has not been taken yet.
    let mut late = sub.clone();
    late.next_cycle = 0;
    refused((Standing::Paid, settle((&plan, &other), &late, &[], day("2027-02-15"))), "cycle 0 is due");
    refused((Standing::Paid, settle((&plan, &other), &sub, &[], day("2027-02-15"))), "nothing is left to settle");
}

#[test]
fn an_upgrade_and_a_downgrade_are_settled_by_the_days_that_are_left() {
    let gold = plan_of("gold", "1 month", Some(1), "prorate_by_day", 9_900);
    let silver = plan_of("silver", "1 month", Some(1), "prorate_by_day", 4_900);
    let today = day("2027-04-18");
    let words = |from: &Plan, to: &Plan, start: &str| {
        let sub = standing_at(from, day(start), None, today);
        settled_words(&settle((from, to), &sub, &rests((from, from), &sub, &[], today), day("2027-04-19")).unwrap())
    };
    assert_eq!(
        words(&silver, &gold, "2027-01-01"),
        [
            "credit of USD 19.60 (unused 12/30 days of cycle 3 under plan silver)",
            "charge of USD 39.60 (12/30 days of cycle 3 under plan gold)"
        ]
    );
    assert_eq!(
        words(&gold, &silver, "2027-01-01")[0],
        "credit of USD 39.60 (unused 12/30 days of cycle 3 under plan gold)"
    );
    // A shorter first period: 20 of 30 days were paid with 32.67, and the new plan asks for 12 of 30.
    assert_eq!(
        words(&silver, &gold, "2027-04-11"),
        [
            "credit of USD 19.60 (unused 12/20 days of cycle 0 under plan silver)",
            "charge of USD 39.60 (12/30 days of cycle 0 under plan gold)"
        ]
    );
}

#[test]
fn there_and_back_on_one_day_comes_to_nothing_whatever_a_first_period_costs() {
    let today = day("2027-01-27");
    for on_start in ["free", "full", "prorate_by_day"] {
        let gold = plan_of("gold", "1 month", Some(1), on_start, 6_000);
        let silver = plan_of("silver", "1 month", Some(1), on_start, 3_000);
        let start = if on_start == "free" { "2027-01-01" } else { "2027-01-27" };
        let mut sub = standing_at(&silver, day(start), None, today);
        let there = settle((&silver, &gold), &sub, &rests((&silver, &silver), &sub, &[], today), day("2027-01-28"));
        let mut made = adjustments(&there.unwrap(), 1);
        (sub.plan, sub.amendments.open) = (gold.id.clone(), made.clone());
        let back = settle((&gold, &silver), &sub, &rests((&silver, &gold), &sub, &made, today), day("2027-01-28"));
        made.extend(adjustments(&back.unwrap(), 3));
        let sum: i64 = made
            .iter()
            .map(|one| match one.kind {
                AdjustmentKind::Credit => -one.amount.minor(),
                AdjustmentKind::Charge => one.amount.minor(),
            })
            .sum();
        // An upgrade costs something, and taking it back gives just that back; rounding may leave a cent.
        assert!(sum.abs() <= 1, "{on_start}: {made:?}");
        let dearer: i64 = made[1].amount.minor() - made[0].amount.minor();
        assert!(dearer > 0, "{on_start}: {made:?}");
    }
}

#[test]
fn what_shares_a_payment_gives_nothing_back_by_rule() {
    let (gold, silver) =
        (plan_of("gold", "1 month", None, "free", 9_900), plan_of("silver", "1 month", None, "free", 4_900));
    let today = day("2027-04-18");
    let sub = standing_at(&gold, day("2027-01-01"), None, today);
    let unused_from = first_unused(&gold, &sub, noon(today)).unwrap();
    let period = &periods(&gold, &sub, unused_from).unwrap()[0];
    let mut lead = paid(&gold, &sub, period.cycle);
    lead.carried = Some(domain::charge::Carried { parts: 1, amount: usd(3_000) });
    let mut part = paid(&gold, &sub, period.cycle);
    part.state = State::Skipped { why: SkipWhy::Consolidated, at: part.due_at };
    for charge in [lead, part] {
        let recorded = Recorded { charge: &charge, given_back: usd(0), disputed: false };
        let rest = Rest::of(&gold, &sub, period, unused_from, Some(recorded), &[]).unwrap();
        assert_eq!((rest.standing, rest.to_refund(), rest.to_credit()), (Standing::Together, usd(0), usd(0)));
        let refused = settle((&gold, &silver), &sub, &[rest], unused_from).unwrap_err();
        assert!(refused.message.contains("shares one payment"), "{refused:?}");
    }
}

#[test]
fn a_cycle_that_was_charged_before_its_period_goes_back_whole() {
    let mut spec = serde_json::json!({
        "id": "banks", "name": "banks", "kind": "recurring", "status": "active",
        "schedule": { "every": "1 month", "time_zone": "America/Chicago", "charge_at": "06:00", "business_days": "previous",
            "calendar": "us-federal-reserve" },
        "amount": { "currency": "USD", "value": "31.00" },
    });
    spec["mid_period"] = serde_json::json!({ "on_cancel": "prorate_by_day" });
    let plan = Plan::from_spec(&serde_json::from_value::<PlanSpec>(spec).unwrap(), 1).unwrap();
    // The 28th of February 2027 is a Sunday: charged on Friday the 26th, for a period that begins on the 28th.
    let mut sub = standing_at(&plan, day("2027-01-28"), None, day("2027-02-26"));
    assert_eq!(sub.next_cycle, 1);
    sub.next_cycle = 2;
    let rests = rests((&plan, &plan), &sub, &[], day("2027-02-26"));
    let told: Vec<_> = rests.iter().map(|rest| (rest.cycle, rest.unused, rest.to_refund().minor())).collect();
    assert_eq!(told, [(0, 1, 100), (1, 28, 3_100)]);
}

#[test]
fn what_waits_of_an_older_change_of_plan_goes_back_from_the_charge_it_came_of() {
    let (gold, bronze) =
        (plan_of("gold", "1 month", Some(1), "free", 9_000), plan_of("bronze", "1 month", Some(1), "free", 1_000));
    let (began, today) = (day("2027-04-03"), day("2027-05-10"));
    let mut sub = standing_at(&gold, day("2027-04-01"), None, began);
    let settled = settle((&gold, &bronze), &sub, &rests((&gold, &gold), &sub, &[], began), day("2027-04-04")).unwrap();
    let mut made = adjustments(&settled, 1);
    assert_eq!(settled.iter().map(|one| one.amount.minor()).collect::<Vec<_>>(), [8_100, 900]);
    // May cost 10.00 + 9.00, all of it out of the credit: 62.00 of it are left.
    sub = Subscription { plan: bronze.id.clone(), ..standing_at(&bronze, day("2027-04-01"), None, today) };
    (made[0].left, made[1].left) = (usd(6_200), usd(0));
    sub.amendments.open = vec![made[0].clone()];
    let unused_from = first_unused(&bronze, &sub, noon(today)).unwrap();
    let found = periods(&bronze, &sub, unused_from).unwrap();
    let under = [&gold, &bronze];
    let rests: Vec<Rest> = (found.iter().zip(under))
        .map(|(period, plan)| {
            let mut charge = paid(plan, &standing_at(plan, day("2027-04-01"), None, today), period.cycle);
            if period.cycle == 1 {
                charge.amount = usd(0);
                charge.state = State::Skipped { why: SkipWhy::ZeroAmount, at: noon(today) };
            }
            let recorded = Recorded { charge: &charge, given_back: usd(0), disputed: false };
            Rest::of(&bronze, &sub, period, unused_from, Some(recorded), &made).unwrap()
        })
        .collect();
    let told: Vec<_> = rests.iter().map(|rest| (rest.cycle, rest.unused, rest.to_refund().minor())).collect();
    assert_eq!(told, [(0, 0, 6_200), (1, 21, 0)], "of what no money was collected for none goes back");
    assert!(settle((&bronze, &gold), &sub, &rests[..1], unused_from).unwrap_err().message.contains("nothing is left"));
}

#[test]
fn what_an_unpaid_charge_took_of_a_change_of_plan_waits_again() {
    let (gold, bronze) =
        (plan_of("gold", "1 month", Some(1), "free", 9_000), plan_of("bronze", "1 month", Some(1), "free", 1_000));
    let (began, today) = (day("2027-04-03"), day("2027-05-10"));
    let before = standing_at(&gold, day("2027-04-01"), None, began);
    let settled = settle((&gold, &bronze), &before, &rests((&gold, &gold), &before, &[], began), day("2027-04-04"));
    let mut made = adjustments(&settled.unwrap(), 1);
    // Both were swept into May's charge, beside others that leave 13.00 to collect.
    let mut sub = Subscription { plan: bronze.id.clone(), ..standing_at(&bronze, day("2027-04-01"), None, today) };
    for one in &mut made {
        one.left = usd(0);
        let (adjustment, kind, amount) = (one.id, one.kind, one.amount);
        sub.amendments.applied.push(Applied { adjustment, kind, cycle: 1, amount, reason: String::new() });
    }
    let mut may = planned(&bronze, &sub, 1).unwrap().unwrap().0;
    let told = |charge: &Charge| {
        let (sub, made) = put_back(&sub, &made, |cycle| cycle == 1 && is_lost(charge));
        let unused_from = first_unused(&bronze, &sub, noon(today)).unwrap();
        let of = |period: &domain::amendment::unused::Period| {
            let april = paid(&gold, &before, 0);
            let charge = if period.cycle == 0 { &april } else { charge };
            let recorded = Recorded { charge, given_back: usd(0), disputed: false };
            let rest = Rest::of(&bronze, &sub, period, unused_from, Some(recorded), &made).unwrap();
            (rest.cycle, rest.to_refund().minor())
        };
        periods(&bronze, &sub, unused_from).unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let (class, code) = (DeclineClass::LaterFunds, "insufficient_funds".to_owned());
    may.state = State::Failing { class, code, next_at: noon(today) };
    assert_eq!(told(&may), [(0, 7_200), (1, 0)], "81.00 for April's days under gold, less 9.00 under bronze");
    // What is with the gateway may still be paid, with the credit in it; what was paid has it.
    may.state = State::Unknown { since: noon(today), asked: 1, next_at: noon(today) };
    assert_eq!(told(&may), [(1, 0)]);
    may.state = State::paid(noon(today), usd(1_300));
    assert!(told(&may).iter().all(|(cycle, _)| *cycle == 1));
}

fn succession(sub: &Subscription, wanted: &Wanted, rests: &[Rest], today: NaiveDate) -> Result<Succession, Refused> {
    let (gold, silver) =
        (plan_of("gold", "1 month", None, "free", 9_900), plan_of("silver", "1 month", None, "free", 4_900));
    let weekly = plan_of("weekly", "1 week", None, "free", 2_500);
    let mut agreed: PlanSpec = serde_json::from_value(serde_json::json!({
        "id": "agreed", "name": "agreed", "kind": "recurring", "status": "active",
        "schedule": { "every": "1 week", "time_zone": "America/Chicago", "charge_at": "06:00" },
        "amount": { "currency": "USD", "value": "from_subscription" },
    }))
    .unwrap();
    let by_agreement = Plan::from_spec(&agreed, 1).unwrap();
    (agreed.id, agreed.amount.currency) = ("yen".to_owned(), "JPY".to_owned());
    let yen = Plan::from_spec(&agreed, 1).unwrap();
    let quarterly = plan_of("quarterly", "1 quarter", Some(1), "free", 25_000);
    let book = catalog(&[&gold, &silver, &weekly, &by_agreement, &yen, &quarterly]);
    succeed(&book, sub, wanted, rests, ("moved", "ann"), noon(today))
}

fn wanted(plan: &str, amount: Option<i64>) -> Wanted {
    let (id, plan) = (SubscriptionId::parse("sub-2").unwrap(), PlanId::parse(plan).unwrap());
    Wanted { id, plan, amount: amount.map(usd) }
}

#[test]
fn one_subscription_follows_another_without_a_gap_or_a_day_twice() {
    let gold = plan_of("gold", "1 month", None, "free", 9_900);
    let today = day("2027-04-18");
    let mut sub = standing_at(&gold, day("2027-01-01"), Some(2), today);
    let waits = adjustments(
        &[Settlement {
            kind: AdjustmentKind::Credit,
            amount: usd(700),
            settles: None,
            reason: "late class".into(),
            ground: None,
        }],
        5,
    );
    sub.amendments.open = waits;
    sub.terms.attributes.insert("area".to_owned(), "R1".to_owned());
    sub.anchor_day = Some(domain::cadence::AnchorDay::parse("1").unwrap());
    let rests = rests((&gold, &gold), &sub, &[], today);
    let made = succession(&sub, &wanted("weekly", None), &rests, today).unwrap();
    let new = &made.successor;
    assert_eq!((new.start_on, new.next_cycle, new.anchor_day), (day("2027-04-19"), 0, None));
    assert_eq!(new.next_due_at.unwrap().to_rfc3339(), "2027-04-19T11:00:00+00:00");
    assert_eq!((&new.terms, &new.method, &new.customer), (&sub.terms, &sub.method, &sub.customer));
    assert_eq!(
        settled_words(&made.settled),
        [
            "credit of USD 79.20 (unused 12/30 days of cycle 3 of sub-1)",
            "credit of USD 7.00 (credit 5 of sub-1: late class)"
        ]
    );
    // Four weeks of 50.00 are what 86.20 reach for, and nothing is lost.
    let weekly = plan_of("weekly", "1 week", None, "free", 2_500);
    let amounts: Vec<i64> = cycles(&weekly, new, 0).unwrap().take(3).map(|one| one.unwrap().amount.minor()).collect();
    assert_eq!(amounts, [0, 1_380, 5_000]);
    assert_eq!((made.ended.status, made.ended.next_due_at), (SubscriptionStatus::Cancelled, None));
    assert_eq!(made.ending.reason, "sub-2 follows under plan weekly from 2027-04-19 on: moved");
    // The periods tile: the last used day of the old one is the day before the first of the new one.
    assert_eq!(rests[0].unused_from, new.start_on);
    assert_eq!(new.start_on - TimeDelta::days(1), today);
}

#[test]
fn a_succession_is_refused_with_what_to_do_instead() {
    let gold = plan_of("gold", "1 month", None, "free", 9_900);
    let today = day("2027-04-18");
    let sub = standing_at(&gold, day("2027-01-01"), None, today);
    let rests = rests((&gold, &gold), &sub, &[], today);
    let refused = |sub: &Subscription, wanted: &Wanted, whose: Whose, part: &str| {
        let refused = succession(sub, wanted, &rests, today).unwrap_err();
        let said = format!("{}: {}", refused.message, refused.mend);
        assert!(refused.whose == whose && said.contains(part), "{part:?} is missing in {refused:?}");
    };
    refused(&sub, &wanted("silver", None), Whose::Value, "leave out --as");
    refused(&sub, &wanted("agreed", None), Whose::Value, "say --amount");
    refused(&sub, &wanted("weekly", Some(100)), Whose::Value, "leave out --amount");
    refused(&sub, &wanted("yen", Some(100)), Whose::Value, "in JPY");
    refused(&sub, &wanted("nothing", None), Whose::Value, "does not exist");
    refused(
        &sub,
        &wanted("quarterly", None),
        Whose::Value,
        "nobody would pay for the days from 2027-04-19 on to 2027-05-01",
    );
    let same = Wanted { id: sub.id.clone(), ..wanted("weekly", None) };
    refused(&sub, &same, Whose::Value, "id of its own");
    assert_eq!(succession(&sub, &wanted("agreed", Some(100)), &rests, today).unwrap().successor.amount, Some(usd(100)));
    let mut paused = sub.clone();
    paused.status = SubscriptionStatus::Paused;
    refused(&paused, &wanted("weekly", None), Whose::Standing, "resume it first");
    let mut ends = sub.clone();
    ends.amendments.last_on = Some(day("2027-04-30"));
    refused(&ends, &wanted("weekly", None), Whose::Standing, "cancel --clear");
    let mut short = sub.clone();
    short.end_on = Some(day("2027-04-18"));
    refused(&short, &wanted("weekly", None), Whose::Value, "no cycle of plan weekly");
    let mut late = sub;
    (late.next_cycle, late.next_due_at) = (3, Some("2027-04-01T11:00:00Z".parse().unwrap()));
    refused(&late, &wanted("weekly", None), Whose::Standing, "cycle 3 is due");
}
