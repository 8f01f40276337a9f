//! Forecasts of small books, written out.

mod together;

use std::collections::BTreeMap;

use super::*;
use crate::dunning::{Backups, Policy};
use crate::id::{PaymentMethodId, SubscriptionId};
use crate::plan::{AmountSpec, PlanSpec, ScheduleSpec, StepSpec};
use crate::subscription::{Agreement, Backup, Consent, Method, Override, Ruling};
use crate::verdict::DeclineClass;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn id(text: &str) -> SubscriptionId {
    SubscriptionId::parse(text).unwrap()
}

fn plan(change: impl FnOnce(&mut PlanSpec)) -> Plan {
    let mut spec = PlanSpec {
        id: "wellness".into(),
        name: "Wellness".into(),
        kind: "recurring".into(),
        status: "active".into(),
        schedule: ScheduleSpec {
            every: "1 month".into(),
            time_zone: "America/Chicago".into(),
            charge_at: "08:00".into(),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".into(), value: Some("79.00".into()), ..AmountSpec::default() },
        ..PlanSpec::default()
    };
    change(&mut spec);
    Plan::from_spec(&spec, 1).unwrap()
}

/// What a walk says, a line a charge: cycle, day, amount, risks, and the pieces.
fn walked(plan: &Plan, change: impl FnOnce(&mut Subscription), scenario: &Scenario, until: &str) -> Vec<String> {
    walk_of(plan, change, scenario, ("2027-01-01", until)).0
}

/// The sums of a walk over a window that is one period.
fn summed(plan: &Plan, change: impl FnOnce(&mut Subscription), scenario: &Scenario, window: (&str, &str)) -> Sums {
    walk_of(plan, change, scenario, window).1.whole().pop().unwrap().sums
}

fn walk_of(
    plan: &Plan,
    change: impl FnOnce(&mut Subscription),
    scenario: &Scenario,
    window: (&str, &str),
) -> (Vec<String>, Totals) {
    walk_as_of("2027-01-01T06:00:00Z", plan, change, scenario, window)
}

fn walk_as_of(
    as_of: &str,
    plan: &Plan,
    change: impl FnOnce(&mut Subscription),
    scenario: &Scenario,
    (from, until): (&str, &str),
) -> (Vec<String>, Totals) {
    let mut subscription = crate::subscription::tests::sample();
    subscription.plan = plan.id.clone();
    change(&mut subscription);
    let as_of: DateTime<Utc> = as_of.parse().unwrap();
    if subscription.status == SubscriptionStatus::Active {
        let enrolled_at = "2027-01-01T06:00:00Z".parse().unwrap();
        let (cycle, due) = crate::agenda::enrol(plan, &subscription, enrolled_at).unwrap();
        (subscription.next_cycle, subscription.next_due_at) = (cycle, due);
    }
    let mut catalog = Catalog::default();
    catalog.plans.insert(plan.id.clone(), plan.clone());
    let (wallet, limits) = (Wallet::new(), Limits::default());
    let given = Assumptions {
        notices: crate::notice::Notices::Assumed,
        catalog: &catalog,
        holds: &[],
        wallet: &wallet,
        limits: &limits,
        as_of,
        until: day(until),
        scenario,
    };
    let mut lines = Vec::new();
    let mut totals = Totals::new(day(from), day(until), By::Month, View::Charge, Grouping::default());
    let trouble = Forecaster::new(given).unwrap().walk(&subscription, &[], Past::Clean, &mut |entry| {
        let risks: Vec<&str> = entry.risks.iter().map(Risk::word).collect();
        let pieces: Vec<String> = entry.pieces.iter().map(|piece| format!("{}:{}", piece.on, piece.ppm)).collect();
        let line =
            format!("{} {} {} [{}] {}", entry.cycle, entry.on, entry.amount.plain(), risks.join(","), pieces.join(" "));
        lines.push(line.trim_end().to_owned());
        totals.add(entry, Past::Clean);
    });
    for row in totals.whole() {
        let sums = row.sums;
        assert_eq!(Ok(sums.scheduled()), sums.expected().checked_add(sums.at_risk()));
        let reasons: i64 = sums.reasons().iter().map(|(_, _, money)| money.minor()).sum();
        assert_eq!(reasons, sums.at_risk().minor());
    }
    lines.extend(trouble);
    (lines, totals)
}

#[test]
fn when_all_pay_every_cycle_is_collected_on_its_day_at_the_price_of_that_day() {
    let plan = plan(|spec| {
        spec.amount.value = None;
        let step = |from: &str, value: &str| StepSpec { from: from.into(), value: value.into(), ..StepSpec::default() };
        spec.amount.step = vec![step("2026-01-01", "79.00"), step("2027-03-01", "84.00")];
    });
    let lines = walked(&plan, |sub| sub.end_on = Some(day("2027-04-15")), &Scenario::AllPay, "2027-12-31");
    assert_eq!(
        lines,
        [
            "0 2027-01-31 79.00 [] 2027-01-31:1000000",
            "1 2027-02-28 79.00 [] 2027-02-28:1000000",
            "2 2027-03-31 84.00 [ends] 2027-03-31:1000000",
        ]
    );
}

/// Due on Sunday 31 January, submitted on the next business day or the one before; or moved by a person.
#[test]
fn a_first_try_is_collected_on_the_day_of_its_submission_and_counts_as_later_where_that_is_after_the_period() {
    let rolled = |way: &str| {
        plan(|spec| {
            (spec.schedule.business_days, spec.schedule.calendar) =
                (Some(way.into()), Some("us-federal-reserve".into()));
        })
    };
    let moved = |sub: &mut Subscription| {
        let ruling = Ruling::Move { to: day("2027-02-15") };
        let at = "2026-12-01T00:00:00Z".parse().unwrap();
        let one = Override { ruling, reason: "on holiday".into(), by: "ops".into(), at };
        sub.amendments.overrides.insert(0, one);
    };
    let none = |_: &mut Subscription| {};
    let odds = Scenario::Odds(Odds::new(History::default(), Mood::Worst));
    for scenario in [Scenario::AllPay, script(&[(7, 1, DeclineClass::Never)]), odds] {
        type Change<'c> = &'c dyn Fn(&mut Subscription);
        let cases: [(Plan, Change<'_>, &str, [bool; 2]); 4] = [
            (rolled("none"), &none, "2027-01-31", [false, true]),
            (rolled("next"), &none, "2027-02-01", [true, false]),
            (rolled("previous"), &none, "2027-01-29", [false, true]),
            (rolled("none"), &moved, "2027-02-15", [true, false]),
        ];
        for (plan, change, on, [is_later, lands]) in cases {
            let lines = walked(&plan, change, &scenario, "2027-01-31");
            assert!(lines[0].contains(&format!(" {on}:")), "{lines:?}");
            let sums = summed(&plan, change, &scenario, ("2027-01-01", "2027-01-31"));
            assert!(sums.expected().minor() > 0);
            let all_or_nothing = |is: bool| if is { sums.expected() } else { Money::new(0, sums.currency()) };
            assert_eq!((sums.later(), sums.lands()), (all_or_nothing(is_later), all_or_nothing(lands)), "{on}");
        }
    }
    // A try before the window is no later one, and does not land in it.
    let sums = summed(&rolled("previous"), none, &Scenario::AllPay, ("2027-01-31", "2027-01-31"));
    assert_eq!((sums.later().minor(), sums.lands().minor(), sums.expected().minor()), (0, 0, 7_900));
}

/// Due on Sunday 31 January and still to come on Monday, or later because of a person: no earlier forecast has it, so this one does.
#[test]
fn what_was_due_before_the_day_of_the_forecast_and_is_still_to_come_counts_on_that_day() {
    let rolled = plan(|spec| {
        (spec.schedule.business_days, spec.schedule.calendar) =
            (Some("next".into()), Some("us-federal-reserve".into()));
    });
    let moved = |sub: &mut Subscription| {
        let ruling = Ruling::Move { to: day("2027-02-15") };
        let at = "2026-12-01T00:00:00Z".parse().unwrap();
        let one = Override { ruling, reason: "on holiday".into(), by: "ops".into(), at };
        sub.amendments.overrides.insert(0, one);
    };
    let paused = |sub: &mut Subscription| sub.status = SubscriptionStatus::Paused;
    let none = |_: &mut Subscription| {};
    type Change<'c> = &'c dyn Fn(&mut Subscription);
    let cases: [(Change<'_>, Scenario, &str, &str); 4] = [
        // Two in the morning in Chicago.
        (&none, Scenario::AllPay, "2027-02-01T08:00:00Z", "0 2027-02-01 79.00 [] 2027-02-01:1000000"),
        (&none, script(&[(0, 1, DeclineClass::Never)]), "2027-02-01T08:00:00Z", "0 2027-02-01 79.00 [given_up]"),
        (&paused, Scenario::AllPay, "2027-02-01T08:00:00Z", "0 2027-02-01 79.00 [paused]"),
        (&moved, Scenario::AllPay, "2027-02-10T08:00:00Z", "0 2027-02-10 79.00 [] 2027-02-15:1000000"),
    ];
    for (change, scenario, as_of, first) in cases {
        let (lines, totals) = walk_as_of(as_of, &rolled, change, &scenario, ("2027-02-01", "2027-02-15"));
        assert_eq!(lines, [first], "as of {as_of}");
        assert_eq!(totals.whole().pop().unwrap().sums.scheduled().minor(), 7_900, "as of {as_of}");
    }
}

#[test]
fn a_first_charge_after_a_free_period_is_flagged() {
    let plan = plan(|spec| spec.schedule.free_first = Some("30 days".into()));
    let lines = walked(&plan, |_| {}, &Scenario::AllPay, "2027-04-30");
    assert_eq!(
        lines,
        ["0 2027-03-31 79.00 [free_period_ends] 2027-03-31:1000000", "1 2027-04-30 79.00 [] 2027-04-30:1000000"]
    );
}

#[test]
fn without_a_method_and_while_paused_nothing_is_expected() {
    let plan = plan(|_| {});
    let lines = walked(&plan, |sub| sub.method = None, &Scenario::AllPay, "2027-02-28");
    assert_eq!(lines, ["0 2027-01-31 79.00 [no_method]", "1 2027-02-28 79.00 [no_method]"]);
    let paused = |sub: &mut Subscription| sub.status = SubscriptionStatus::Paused;
    let lines = walked(&plan, paused, &Scenario::AllPay, "2027-02-28");
    assert_eq!(lines, ["0 2027-01-31 79.00 [paused]", "1 2027-02-28 79.00 [paused]"]);
}

fn script(lines: &[(u32, u16, DeclineClass)]) -> Scenario {
    let mut script = Script::default();
    for (cycle, attempt, class) in lines {
        let which = Which { subscription: None, cycle: Some(*cycle), attempt: Some(*attempt) };
        script.add(which, Outcome::Declined(*class));
    }
    Scenario::Script(script)
}

#[test]
fn scripted_declines_are_tried_again_on_the_policys_days_and_end_as_it_ends() {
    let plan = plan(|_| {});
    let recovered = script(&[(0, 1, DeclineClass::LaterFunds), (0, 2, DeclineClass::LaterFunds)]);
    let lines = walked(&plan, |_| {}, &recovered, "2027-02-28");
    // Three and eight days after the failure of the 31st.
    assert_eq!(
        lines,
        ["1 2027-02-28 79.00 [] 2027-02-28:1000000", "0 2027-01-31 79.00 [] 2027-02-08:1000000"]
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
    let lost = script(&[(0, 1, DeclineClass::Never)]);
    let lines = walked(&plan, |_| {}, &lost, "2027-03-31");
    let expected = ["0 2027-01-31 79.00 [given_up]", "1 2027-02-28 79.00 [paused]", "2 2027-03-31 79.00 [paused]"];
    assert_eq!(lines, expected, "the standard policy pauses the subscription at its end");
}

fn by_bank(sub: &mut Subscription) {
    let consent = Consent { id: "c-1".into(), at: "2026-12-01T00:00:00Z".parse().unwrap(), channel: "WEB".into() };
    let method = sub.method.as_mut().unwrap();
    (method.kind, method.consent) = (MethodKind::BankAccount, Some(consent));
}

/// The class of a script at a bank is its return code, days later, where banks have one for it; what they have none for fails at
/// once. Retries of the standard policy.
#[test]
fn a_scripted_decline_of_a_bank_account_is_a_return_where_banks_have_a_code_for_it() {
    let plan = plan(|spec| spec.schedule.charge_at = "00:30".into());
    let on_the_fifth = |sub: &mut Subscription| {
        by_bank(sub);
        (sub.start_on, sub.anchor_day) = (day("2027-01-05"), None);
    };
    let cases = [
        (DeclineClass::Never, "0 2027-01-05 79.00 [given_up]"),
        (DeclineClass::NewData, "0 2027-01-05 79.00 [given_up]"),
        // R08: the payer stopped it, and it is not entered again.
        (DeclineClass::Contact, "0 2027-01-05 79.00 [given_up]"),
        (DeclineClass::LaterFunds, "0 2027-01-05 79.00 [] 2027-01-15:1000000"),
        (DeclineClass::LaterTechnical, "0 2027-01-05 79.00 [] 2027-01-05:1000000"),
        (DeclineClass::Unclassified, "0 2027-01-05 79.00 [] 2027-01-08:1000000"),
        (DeclineClass::Partial, "0 2027-01-05 79.00 [] 2027-01-12:1000000"),
    ];
    for (class, line) in cases {
        let lines = walked(&plan, on_the_fifth, &script(&[(0, 1, class)]), "2027-01-31");
        assert_eq!(lines, [line], "{class:?}");
    }
}

/// Of the odds of a bank account only returns for want of funds are tried again.
#[test]
fn a_return_that_is_never_entered_again_adds_nothing_to_what_later_tries_bring() {
    let plan = plan(|_| {});
    let mut history = History::default();
    (0..40).for_each(|_| history.note_class(Rail::BankAccount, DeclineClass::Contact));
    let lines = walked(&plan, by_bank, &Scenario::Odds(Odds::new(history, Mood::Likely)), "2027-01-31");
    assert_eq!(lines, ["0 2027-01-31 79.00 [] 2027-01-31:950000"]);
}

#[test]
fn by_the_odds_later_tries_bring_a_part_of_what_was_declined_in_later_months() {
    let plan = plan(|_| {});
    let scenario = Scenario::Odds(Odds::new(History::default(), Mood::Likely));
    let lines = walked(&plan, |_| {}, &scenario, "2027-01-31");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("0 2027-01-31 79.00 [] 2027-01-31:900000 2027-01-31:1025 2027-02-01:"), "{lines:?}");
    assert!(lines[0].contains(" 2027-02-03:"), "funds and bare declines are tried again after three days: {lines:?}");
    let pieces: u32 = lines[0].split(' ').filter_map(|word| word.rsplit_once(':')?.1.parse::<u32>().ok()).sum();
    assert!((940_000..970_000).contains(&pieces), "{lines:?}");
}

/// The pieces of one cycle of each subscription, walked one after the other by one forecaster.
fn walked_together(subscriptions: &[&Subscription], plan: &Plan) -> BTreeMap<String, Vec<(NaiveDate, u32)>> {
    let policy = Policy { backups: Some(Backups::default()), spread_minutes: 0, ..Policy::standard().unwrap() };
    let mut catalog = Catalog::default();
    catalog.plans.insert(plan.id.clone(), plan.clone());
    catalog.policies.insert(policy.id.clone(), policy);
    let scenario = Scenario::Odds(Odds::new(History::default(), Mood::Likely));
    let given = Assumptions {
        notices: crate::notice::Notices::Assumed,
        catalog: &catalog,
        holds: &[],
        wallet: &Wallet::new(),
        limits: &Limits::default(),
        as_of: "2027-01-01T06:00:00Z".parse().unwrap(),
        until: day("2027-01-31"),
        scenario: &scenario,
    };
    let mut forecaster = Forecaster::new(given).unwrap();
    let mut found = BTreeMap::new();
    for subscription in subscriptions {
        let trouble = forecaster.walk(subscription, &[], Past::Clean, &mut |entry| {
            let pieces = entry.pieces.iter().map(|piece| (piece.on, piece.ppm)).collect();
            found.insert(entry.subscription.id.to_string(), pieces);
        });
        assert_eq!(trouble, None);
    }
    found
}

#[test]
fn what_the_backups_of_one_subscription_bring_is_nobody_elses_in_whatever_order_they_are_walked() {
    let plan = plan(|_| {});
    let without = Subscription { plan: plan.id.clone(), id: id("without"), ..crate::subscription::tests::sample() };
    let (cycle, due) = crate::agenda::enrol(&plan, &without, "2027-01-01T06:00:00Z".parse().unwrap()).unwrap();
    let without = Subscription { next_cycle: cycle, next_due_at: due, ..without };
    let method = Method { id: PaymentMethodId(uuid::Uuid::from_u128(8)), kind: MethodKind::Card, consent: None };
    let agreed = Agreement {
        by: "member-1001".to_owned(),
        at: "2026-12-01T00:00:00Z".parse().unwrap(),
        reference: "form-7".to_owned(),
    };
    let with = Subscription { id: id("with"), backups: vec![Backup { method, agreed }], ..without.clone() };
    let one = walked_together(&[&with, &without], &plan);
    assert_eq!(one, walked_together(&[&without, &with], &plan));
    assert_ne!(one["with"], one["without"], "a backup brings something");
}

#[test]
fn the_worst_case_expects_less_each_month_and_nothing_of_what_is_flagged() {
    let plan = plan(|_| {});
    let scenario = Scenario::Odds(Odds::new(History::default(), Mood::Worst));
    let lines = walked(&plan, |_| {}, &scenario, "2027-03-31");
    assert_eq!(
        lines,
        [
            "0 2027-01-31 79.00 [] 2027-01-31:816101",
            "1 2027-02-28 79.00 [may_be_paused] 2027-02-28:666020",
            "2 2027-03-31 79.00 [may_be_paused] 2027-03-31:543539",
        ]
    );
}
