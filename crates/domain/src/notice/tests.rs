//! Duties, windows and the gate, told as tables.

use std::collections::BTreeMap;

use super::*;
use crate::agenda::{Action, Agenda, Book, cycles, draw};
use crate::charge::Limits;
use crate::id::Environment;
use crate::money::Currency;
use crate::plan::{AmountSpec, Catalog, CollectSpec, PlanSpec, ScheduleSpec, StepSpec};
use crate::subscription::Consent;
use crate::subscription::tests::sample;

fn spec() -> PlanSpec {
    PlanSpec {
        id: "wellness".into(),
        name: "Wellness".into(),
        kind: "recurring".into(),
        status: "active".into(),
        schedule: ScheduleSpec {
            every: "1 month".into(),
            time_zone: "America/Chicago".into(),
            charge_at: "08:00".into(),
            catch_up: Some("latest".into()),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".into(), value: Some("79.00".into()), ..AmountSpec::default() },
        ..PlanSpec::default()
    }
}

fn plan(change: impl FnOnce(&mut PlanSpec)) -> Plan {
    let mut spec = spec();
    change(&mut spec);
    Plan::from_spec(&spec, 1).unwrap()
}

fn stepped(notice: Option<&str>) -> impl FnOnce(&mut PlanSpec) {
    let notice = notice.map(str::to_owned);
    move |spec| {
        let step = |from: &str, value: &str, notice: Option<String>| StepSpec {
            from: from.into(),
            value: value.into(),
            notice,
            ..StepSpec::default()
        };
        spec.amount.value = None;
        spec.amount.step = vec![step("2026-01-01", "79.00", None), step("2027-06-01", "84.00", notice)];
    }
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A subscription from 2027-01-15 on, at cycle `next`.
fn subscriber(kind: MethodKind, next: u32, plan: &Plan) -> Subscription {
    let mut row = sample();
    row.start_on = date("2027-01-15");
    row.next_cycle = next;
    if let Some(method) = row.method.as_mut() {
        method.kind = kind;
        let consent = Consent { id: "terms".into(), at: at("2026-12-01T00:00:00Z"), channel: "WEB".into() };
        method.consent = (kind == MethodKind::BankAccount).then_some(consent);
    }
    row.next_due_at = cycles(plan, &row, next).unwrap().next().map(|cycle| cycle.unwrap().occurrence.charge_at);
    row
}

fn duty_of(plan: &Plan, row: &Subscription, index: u32, last: Option<(u32, i64)>) -> Option<Duty> {
    let cycle = cycles(plan, row, index).unwrap().next().unwrap().unwrap();
    duty(plan, row, &cycle, last.map(|(cycle, minor)| (cycle, usd(minor))))
}

fn window(found: Option<Duty>) -> Option<(Kind, u16, Option<u16>)> {
    found.map(|duty| (duty.kind, duty.at_least, duty.at_most))
}

#[test]
fn a_plan_without_rules_and_with_a_constant_amount_owes_nothing() {
    let plan = plan(|_| {});
    let (card, bank) = (subscriber(MethodKind::Card, 3, &plan), subscriber(MethodKind::BankAccount, 3, &plan));
    for (row, last) in [(&card, None), (&card, Some((2, 100))), (&bank, None), (&bank, Some((2, 7_900)))] {
        assert_eq!(duty_of(&plan, row, 3, last), None, "{last:?}");
    }
}

#[test]
fn a_bank_debit_that_differs_is_announced_ten_days_before_and_the_rule_is_named() {
    let plan = plan(|_| {});
    let row = subscriber(MethodKind::BankAccount, 2, &plan);
    let found = duty_of(&plan, &row, 2, Some((1, 7_000))).unwrap();
    assert_eq!((found.kind, found.at_least, found.at_most), (Kind::AmountDiffers, 10, None));
    assert!(found.rule.contains("reg-e of 2011-12-30") && found.rule.contains("12 CFR 1005.10(d)"), "{}", found.rule);
    // The vector B18 of the billing rules.
    assert_eq!(found.latest(date("2027-03-11")), date("2027-03-01"));
}

#[test]
fn parts_of_a_total_were_agreed_on_and_owe_no_notice_by_rail() {
    let plan = plan(|spec| {
        spec.kind = "installments".into();
        spec.amount.value = None;
        spec.schedule.catch_up = Some("all".into());
        spec.installments = Some(crate::installments::InstallmentsSpec {
            total: "100.00".into(),
            count: Some("3".into()),
            ..crate::installments::InstallmentsSpec::default()
        });
    });
    let row = subscriber(MethodKind::BankAccount, 1, &plan);
    assert!(!may_be_owed(&plan, &row));
    assert_eq!(duty_of(&plan, &row, 2, Some((1, 3_333))), None);
}

#[test]
fn an_announced_step_is_owed_once_by_the_first_cycle_it_prices() {
    let plan = plan(stepped(Some("30 days")));
    let row = subscriber(MethodKind::Card, 4, &plan);
    // Cycle 5 falls on 15 June, the first under the new price.
    assert_eq!(duty_of(&plan, &row, 4, Some((3, 7_900))), None);
    assert_eq!(window(duty_of(&plan, &row, 5, Some((4, 7_900)))), Some((Kind::PriceChange, 30, None)));
    assert_eq!(window(duty_of(&plan, &row, 6, Some((4, 7_900)))), Some((Kind::PriceChange, 30, None)), "5 was skipped");
    assert_eq!(duty_of(&plan, &row, 6, Some((5, 8_400))), None);
    assert_eq!(duty_of(&plan, &row, 6, Some((5, 7_400))), None, "a credit of last month is no new price");
    assert_eq!(duty_of(&self::plan(stepped(None)), &row, 5, Some((4, 7_900))), None);
}

#[test]
fn books_that_the_plan_names_hold_for_rises_long_terms_and_trials() {
    let named = |every: &'static str, free: Option<&'static str>, books: &'static [&'static str]| {
        plan(move |spec| {
            spec.schedule.every = every.into();
            spec.schedule.free_first = free.map(str::to_owned);
            spec.collect.notice_rules = books.iter().map(|book| (*book).to_owned()).collect();
        })
    };
    let both: &[&str] = &["california-arl", "mastercard-subscriptions"];
    let cases = [
        ("1 month", None, both, 1, Some((0, 7_000)), Some((Kind::PriceChange, 7, Some(30)))),
        ("1 month", None, both, 1, Some((0, 9_000)), None),
        ("1 year", None, both, 1, Some((0, 7_900)), Some((Kind::LongTerm, 15, Some(30)))),
        ("1 year", None, &["mastercard-subscriptions"], 1, Some((0, 7_900)), Some((Kind::LongTerm, 7, Some(30)))),
        ("6 months", None, both, 1, Some((0, 7_900)), Some((Kind::LongTerm, 7, Some(30)))),
        ("5 months", None, both, 1, Some((0, 7_900)), None),
        ("1 year", None, both, 0, None, None),
        ("1 month", Some("8 days"), both, 0, None, Some((Kind::TrialEnds, 3, Some(7)))),
        ("1 month", Some("7 days"), both, 0, None, None),
        ("1 month", Some("40 days"), both, 0, None, Some((Kind::TrialEnds, 3, Some(7)))),
        ("1 month", Some("40 days"), &["california-arl"], 0, None, Some((Kind::TrialEnds, 3, Some(21)))),
        ("1 month", Some("40 days"), &[], 0, None, None),
    ];
    for (every, free, books, index, last, expected) in cases {
        let plan = named(every, free, books);
        let row = subscriber(MethodKind::Card, index, &plan);
        assert_eq!(window(duty_of(&plan, &row, index, last)), expected, "{every} {free:?} {books:?} {last:?}");
    }
}

#[test]
fn the_longest_time_of_several_rules_counts_and_each_is_named() {
    let plan = plan(|spec| {
        stepped(Some("20 days"))(spec);
        spec.collect.notify_before = Some("5 days".into());
    });
    let row = subscriber(MethodKind::BankAccount, 5, &plan);
    let found = duty_of(&plan, &row, 5, Some((4, 7_900))).unwrap();
    assert_eq!((found.kind, found.at_least), (Kind::PriceChange, 20));
    for part in ["notify_before 5 days", "20 days' notice of the price from 2027-06-01", "reg-e"] {
        assert!(found.rule.contains(part), "{part} in {}", found.rule);
    }
}

#[test]
fn a_plan_that_names_an_unknown_book_is_refused() {
    let mut spec = spec();
    spec.collect.notice_rules = vec!["california".into()];
    let mistakes = Plan::from_spec(&spec, 1).unwrap_err();
    assert_eq!((mistakes[0].field.as_str(), mistakes[0].value.as_str()), ("collect.notice_rules", "california"));
}

/// A subscription to an announced plan of five days' notice, with what was told.
struct Stage {
    catalog: Catalog,
    row: Subscription,
    facts: BTreeMap<SubscriptionId, Facts>,
}

impl Stage {
    fn new() -> Self {
        let plan = plan(|spec| {
            spec.collect = CollectSpec { notify_before: Some("5 days".into()), ..CollectSpec::default() };
        });
        let row = subscriber(MethodKind::Card, 1, &plan);
        let mut catalog = Catalog::default();
        catalog.plans.insert(plan.id.clone(), plan);
        Self { catalog, row, facts: BTreeMap::new() }
    }

    fn told(&mut self, cycle: u32, minor: i64, on: &str, delivered_at: Option<&str>) {
        let given = Given { cycle, amount: usd(minor), on: date(on), delivered_at: delivered_at.map(at) };
        self.facts.entry(self.row.id.clone()).or_default().given.push(given);
    }

    fn draw(&self, now: &str) -> Agenda {
        let environment = Environment::parse("test").unwrap();
        let (limits, wallet) = (Limits::default(), crate::wallet::Wallet::new());
        let book = Book {
            catalog: &self.catalog,
            environment: &environment,
            holds: &[],
            due: std::slice::from_ref(&self.row),
            open: &[],
            limits: &limits,
            wallet: &wallet,
            notices: Notices::Known(&self.facts),
        };
        draw(&book, at(now))
    }

    /// The actions, with what a wait says.
    fn says(&self, now: &str) -> Vec<String> {
        let say = |action: &Action| match action {
            Action::Wait { why, until } => format!("wait: {why} until {until:?}"),
            Action::Send { .. }
            | Action::Ask { .. }
            | Action::SkipZero
            | Action::Skip(_)
            | Action::ParkOutOfBounds { .. }
            | Action::ParkNoMethod { .. }
            | Action::ParkWrongMethod
            | Action::Settle { .. }
            | Action::Cancel
            | Action::GiveUp { .. }
            | Action::Quarantine { .. } => action.name().to_owned(),
        };
        self.draw(now).items.iter().map(|item| format!("{} {}", item.cycle, say(&item.action))).collect()
    }
}

#[test]
fn a_cycle_that_owes_a_notice_waits_for_it_and_says_until_when_it_had_to_come() {
    let mut stage = Stage::new();
    // Cycle 1 falls on 15 February at 08:00 in Chicago.
    let said = stage.says("2027-02-15T14:00:00Z");
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("1 wait: notice not sent in time: it had to reach the payer by 2027-02-10"),
        "{said:?}"
    );
    assert!(said[0].contains("sent today, the charge can be made from 2027-02-20 on"), "{said:?}");
    assert!(said[0].contains("plan wellness: notify_before 5 days") && said[0].ends_with("until None"), "{said:?}");
    assert_eq!(stage.draw("2027-02-15T14:00:00Z").advances, [], "it stays where it is");
    // Asked for is not sent.
    stage.told(1, 7_900, "2027-02-15", None);
    assert!(stage.says("2027-02-15T14:00:00Z")[0].contains("wait"));
    // Of another amount, of another day, of another cycle: none of them is this one's.
    stage.told(1, 8_000, "2027-02-15", Some("2027-02-01T00:00:00Z"));
    stage.told(1, 7_900, "2027-02-16", Some("2027-02-01T00:00:00Z"));
    stage.told(2, 7_900, "2027-02-15", Some("2027-02-01T00:00:00Z"));
    assert!(stage.says("2027-02-15T14:00:00Z")[0].contains("wait"));
    stage.told(1, 7_900, "2027-02-15", Some("2027-02-11T05:59:59Z"));
    assert_eq!(stage.says("2027-02-15T14:00:00Z"), ["1 send"], "the 10th was not over where the payer lives");
}

#[test]
fn a_late_notice_puts_the_charge_off_and_nothing_else() {
    let mut stage = Stage::new();
    stage.told(1, 7_900, "2027-02-15", Some("2027-02-11T06:00:00Z"));
    let said = stage.says("2027-02-15T14:00:00Z");
    assert!(said[0].contains("sent on 2027-02-11, so the charge waits until 2027-02-16"), "{said:?}");
    assert!(said[0].ends_with("until Some(2027-02-16T14:00:00Z)"), "{said:?}");
    let later = stage.draw("2027-02-16T06:00:00Z");
    assert_eq!((later.items[0].action.name(), later.items[0].cycle), ("send", 1));
    let charge = later.items[0].charge.as_ref().unwrap();
    assert_eq!(charge.due_on, date("2027-02-15"), "its day in the books stays");
    assert_eq!(later.advances[0].next_due_at, Some(at("2027-03-15T13:00:00Z")), "and so do the days of all others");
}

#[test]
fn a_cycle_that_waited_is_not_forgiven_as_missed_and_those_behind_it_wait() {
    let mut stage = Stage::new();
    // The next cycle has come too, with its notice; the plan charges only the latest of missed cycles.
    stage.told(2, 7_900, "2027-03-15", Some("2027-03-01T12:00:00Z"));
    let said = stage.says("2027-03-15T14:00:00Z");
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("1 wait"), "{said:?}");
    stage.told(1, 7_900, "2027-02-15", Some("2027-03-10T12:00:00Z"));
    assert_eq!(stage.says("2027-03-15T14:00:00Z"), ["1 send", "2 send"]);
}

#[test]
fn a_notice_before_its_first_day_does_not_count() {
    let plan = plan(|spec| {
        spec.schedule.every = "1 year".into();
        spec.collect.notice_rules = vec!["california-arl".into()];
    });
    let mut stage = Stage::new();
    stage.row = subscriber(MethodKind::Card, 1, &plan);
    stage.catalog.plans.insert(plan.id.clone(), plan);
    stage.told(1, 7_900, "2028-01-15", Some("2027-11-30T12:00:00Z"));
    let said = stage.says("2028-01-15T14:00:00Z");
    assert!(said[0].contains("sent on 2027-11-30, before its first day, 2027-12-01"), "{said:?}");
    assert!(said[0].contains("california-arl of 2025-07-01"), "{said:?}");
    stage.told(1, 7_900, "2028-01-15", Some("2027-12-01T12:00:00Z"));
    assert_eq!(stage.says("2028-01-15T14:00:00Z"), ["1 send"]);
}

#[test]
fn notices_are_asked_for_once_when_their_window_opens() {
    let mut stage = Stage::new();
    let wanted = |stage: &Stage, now: &str| {
        let plan = &stage.catalog.plans[&stage.row.plan];
        let found = super::wanted(plan, &stage.row, stage.facts.get(&stage.row.id), at(now)).unwrap();
        found
            .iter()
            .map(|one| format!("{} {} {} by {} {}", one.cycle, one.amount, one.on, one.by, one.template))
            .collect::<Vec<_>>()
    };
    assert_eq!(wanted(&stage, "2027-02-02T12:00:00Z"), Vec::<String>::new());
    let first = "1 USD 79.00 2027-02-15 by 2027-02-10 every-charge-5d";
    assert_eq!(wanted(&stage, "2027-02-03T12:00:00Z"), [first]);
    assert_eq!(wanted(&stage, "2027-02-20T12:00:00Z"), [first], "a missed window asks for it all the more");
    stage.told(1, 7_900, "2027-02-15", None);
    assert_eq!(wanted(&stage, "2027-02-03T12:00:00Z"), Vec::<String>::new());
}
