//! Every kind of plan, walked through the one iterator that charges, forecasts and explanations share.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test whose own premise fails should stop, and so should one whose numbers overflow"
)]

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use domain::agenda::{Action, Agenda, Book, Cycle, cycles, draw, enrol, questions};
use domain::charge::Limits;
use domain::explain::explain;
use domain::id::{Environment, MerchantId, PaymentMethodId, PlanId, SubscriptionId};
use domain::installments::{InstallmentRowSpec, InstallmentsSpec};
use domain::mid_period::{MidPeriodSpec, OnCancel};
use domain::money::{Currency, Money};
use domain::plan::{AmountSpec, Catalog, Plan, PlanSpec, ScheduleSpec, SplitSpec};
use domain::price_list::PriceRowSpec;
use domain::subscription::{
    Adjustment, AdjustmentKind, Customer, Method, MethodKind, Subscription, SubscriptionStatus,
};
use domain::terms::Terms;
use proptest::prelude::*;

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn spec(price: &str) -> PlanSpec {
    PlanSpec {
        id: "p".into(),
        name: "P".into(),
        kind: "recurring".into(),
        status: "active".into(),
        schedule: ScheduleSpec {
            every: "1 month".into(),
            time_zone: "America/Chicago".into(),
            charge_at: "06:00".into(),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".into(), value: some(price), ..AmountSpec::default() },
        ..PlanSpec::default()
    }
}

fn plan(spec: &PlanSpec) -> Plan {
    Plan::from_spec(spec, 1).unwrap()
}

fn fields(spec: &PlanSpec) -> Vec<String> {
    Plan::from_spec(spec, 1).unwrap_err().into_iter().map(|mistake| mistake.field).collect()
}

fn subscription(start_on: &str) -> Subscription {
    Subscription {
        id: SubscriptionId::parse("sub-1").unwrap(),
        merchant: MerchantId(uuid::Uuid::nil()),
        plan: PlanId::parse("p").unwrap(),
        customer: Customer { enterprise_id: some("1001"), ..Customer::default() },
        method: Some(Method { id: PaymentMethodId(uuid::Uuid::from_u128(7)), kind: MethodKind::Card, consent: None }),
        second_method: None,
        backups: Vec::new(),
        start_on: day(start_on),
        anchor_day: None,
        zone: None,
        amount: None,
        end_on: None,
        terms: Terms::default(),
        owed_until: None,
        status: SubscriptionStatus::Active,
        next_cycle: 0,
        next_due_at: None,
        amendments: domain::subscription::Amendments::default(),
    }
}

/// Dates and amounts of the first cycles, as text.
fn walked(plan: &Plan, subscription: &Subscription, most: usize) -> Vec<String> {
    let line = |cycle: Cycle| match cycle.price {
        Ok(()) => format!("{} {}", cycle.occurrence.date, cycle.amount.plain()),
        Err(why) => format!("{} {why}", cycle.occurrence.date),
    };
    cycles(plan, subscription, 0).unwrap().take(most).map(|cycle| line(cycle.unwrap())).collect()
}

fn prorating(price: &str, on_start: &str) -> PlanSpec {
    let mut spec = spec(price);
    spec.schedule.on_day = some("1");
    spec.mid_period = Some(MidPeriodSpec { on_start: some(on_start), on_cancel: some("no_refund") });
    spec
}

#[test]
fn a_start_in_the_middle_of_a_period_is_prorated_by_its_days() {
    // Vectors N1 and N2 of billing-rules.md §2.5; the denominator is the whole period.
    for (price, start, expected) in [
        ("30.00", "2027-02-15", "2027-02-15 15.00"),
        ("100.00", "2027-01-20", "2027-01-20 38.71"),
        ("100.00", "2027-01-31", "2027-01-31 3.23"),
        ("100.00", "2028-02-29", "2028-02-29 3.45"),
    ] {
        let (plan, sub) = (plan(&prorating(price, "prorate_by_day")), subscription(start));
        assert_eq!(walked(&plan, &sub, 1), [expected]);
    }
    let quarterly = {
        let mut spec = prorating("91.00", "prorate_by_day");
        (spec.schedule.every, spec.schedule.on_day) = ("1 quarter".into(), some("30"));
        plan(&spec)
    };
    // 27 of the 90 days from 30 November to 28 February.
    let expected = ["2027-02-01 27.30", "2027-02-28 91.00", "2027-05-30 91.00"];
    assert_eq!(walked(&quarterly, &subscription("2027-02-01"), 3), expected);
}

#[test]
fn only_a_plan_that_says_so_has_a_shorter_first_cycle() {
    let sub = subscription("2027-01-20");
    for (on_start, expected) in [
        ("prorate_by_day", ["2027-01-20 38.71", "2027-02-01 100.00", "2027-03-01 100.00"]),
        ("full", ["2027-01-20 100.00", "2027-02-01 100.00", "2027-03-01 100.00"]),
        ("free", ["2027-02-01 100.00", "2027-03-01 100.00", "2027-04-01 100.00"]),
    ] {
        assert_eq!(walked(&plan(&prorating("100.00", on_start)), &sub, 3), expected);
    }
    let on_the_day = walked(&plan(&prorating("100.00", "prorate_by_day")), &subscription("2027-02-01"), 2);
    assert_eq!(on_the_day, ["2027-02-01 100.00", "2027-03-01 100.00"]);
    // The free days come first, and what is left of that period is paid for.
    let mut free_first = prorating("100.00", "prorate_by_day");
    free_first.schedule.free_first = some("5 days");
    assert_eq!(walked(&plan(&free_first), &sub, 2), ["2027-01-25 22.58", "2027-02-01 100.00"]);
}

#[test]
fn a_running_plan_keeps_where_its_cycles_begin() {
    let plain = {
        let mut spec = spec("1.00");
        spec.schedule.on_day = some("1");
        plan(&spec)
    };
    let of = |word: &str| plan(&prorating("1.00", word));
    assert_eq!(plain.rhythm_differs(&of("free")), None);
    assert_eq!(plain.rhythm_differs(&of("prorate_by_day")), Some("mid_period.on_start"));
    assert_eq!(of("full").rhythm_differs(&of("free")), Some("mid_period.on_start"));
    assert_eq!(of("full").rhythm_differs(&of("prorate_by_day")), None, "the same cycles at another price");
    let parts = |change: &dyn Fn(&mut InstallmentsSpec)| plan(&installments(change));
    let as_it_is = parts(&|_| ());
    assert_eq!(plan(&spec("1.00")).rhythm_differs(&as_it_is), Some("kind"));
    assert_eq!(
        as_it_is.rhythm_differs(&parts(&|one| one.first_payment = some("next_due"))),
        Some("installments.first_payment")
    );
    assert_eq!(as_it_is.rhythm_differs(&parts(&|one| one.remainder = some("spread"))), Some("installments.remainder"));
    assert_eq!(as_it_is.rhythm_differs(&parts(&|one| one.smallest = some("30.00"))), None);
}

#[test]
fn what_has_no_meaning_in_the_middle_of_a_period_is_refused() {
    let refused = |change: &dyn Fn(&mut PlanSpec)| {
        let mut spec = prorating("1.00", "prorate_by_day");
        change(&mut spec);
        fields(&spec)
    };
    assert_eq!(refused(&|spec| spec.schedule.on_day = None), ["mid_period.on_start"]);
    assert_eq!(
        refused(&|spec| (spec.schedule.every, spec.schedule.on_day) = ("1 week".into(), None)),
        ["mid_period.on_start"]
    );
    assert_eq!(refused(&|spec| spec.schedule.term = some("1 year")), ["mid_period.on_start"]);
    assert_eq!(refused(&|spec| spec.mid_period.as_mut().unwrap().on_start = some("half")), ["mid_period.on_start"]);
    assert_eq!(refused(&|spec| spec.mid_period.as_mut().unwrap().on_cancel = some("weep")), ["mid_period.on_cancel"]);
    let prorates = |spec: &mut PlanSpec| spec.mid_period.as_mut().unwrap().on_cancel = some("prorate_by_day");
    let mut good = prorating("1.00", "free");
    prorates(&mut good);
    assert_eq!(plan(&good).on_cancel, Some(OnCancel::ProrateByDay));
    let split = SplitSpec { fixed: None, share: some("40%"), methods: None };
    let splits = |spec: &mut PlanSpec| {
        prorates(spec);
        spec.collect.split = Some(split.clone());
    };
    assert_eq!(refused(&splits), ["mid_period.on_cancel"]);
    let mut parts = installments(|_| {});
    parts.mid_period = Some(MidPeriodSpec { on_start: None, on_cancel: some("prorate_by_day") });
    assert_eq!(fields(&parts), ["mid_period.on_cancel"]);
}

fn installments(change: impl Fn(&mut InstallmentsSpec)) -> PlanSpec {
    let mut spec = spec("1.00");
    (spec.kind, spec.amount.value) = ("installments".into(), None);
    let mut written = InstallmentsSpec {
        total: "from_subscription".into(),
        count: some("from_subscription"),
        count_min: some("3"),
        count_max: some("12"),
        smallest: some("25.00"),
        remainder: some("last"),
        first_payment: some("on_enrollment"),
        interest: some("none"),
        stop_when: some("balance_is_zero"),
        ..InstallmentsSpec::default()
    };
    change(&mut written);
    spec.installments = Some(written);
    spec
}

fn owing(start_on: &str, total: &str, count: u16) -> Subscription {
    let total = Money::parse(total, Currency::USD).unwrap();
    let terms = Terms { total: Some(total), installments: Some(count), ..Terms::default() };
    Subscription { terms, ..subscription(start_on) }
}

#[test]
fn installments_end_with_the_last_and_add_up_to_the_total() {
    let copay = plan(&installments(|_| ()));
    let sub = owing("2027-01-31", "1000.00", 6);
    let expected = [
        "2027-01-31 166.66",
        "2027-02-28 166.66",
        "2027-03-31 166.66",
        "2027-04-30 166.66",
        "2027-05-31 166.66",
        "2027-06-30 166.70",
    ];
    assert_eq!(walked(&copay, &sub, 99), expected);
    let mut shorter = sub;
    shorter.terms.paid_elsewhere = Some(Money::new(20_000, Currency::USD));
    assert_eq!(walked(&copay, &shorter, 99), [&expected[..4], &["2027-05-31 133.36"]].concat());
}

#[test]
fn the_first_installment_falls_on_the_start_or_on_the_next_due_day() {
    let dates = |every: &str, on_day: Option<&str>, first_payment: &str, start: &str| {
        let mut spec = installments(|one| one.first_payment = some(first_payment));
        (spec.schedule.every, spec.schedule.on_day) = (every.into(), on_day.map(Into::into));
        let walked = walked(&plan(&spec), &owing(start, "300.00", 3), 9);
        walked.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(dates("1 month", Some("15"), "on_enrollment", "2027-01-20"), ["2027-01-20", "2027-02-15", "2027-03-15"]);
    assert_eq!(dates("1 month", Some("15"), "next_due", "2027-01-20"), ["2027-02-15", "2027-03-15", "2027-04-15"]);
    assert_eq!(dates("1 month", Some("15"), "next_due", "2027-01-15"), ["2027-02-15", "2027-03-15", "2027-04-15"]);
    assert_eq!(dates("1 month", None, "next_due", "2027-01-31"), ["2027-02-28", "2027-03-31", "2027-04-30"]);
    assert_eq!(dates("1 quarter", None, "next_due", "2027-01-31"), ["2027-04-30", "2027-07-31", "2027-10-31"]);
    assert_eq!(dates("2 weeks", None, "on_enrollment", "2027-01-31"), ["2027-01-31", "2027-02-14", "2027-02-28"]);
    assert_eq!(dates("2 weeks", None, "next_due", "2027-01-31"), ["2027-02-14", "2027-02-28", "2027-03-14"]);
}

#[test]
fn installments_chosen_by_hand_are_taken_as_they_are() {
    let row = |due_date: &str, amount: &str| InstallmentRowSpec { due_date: due_date.into(), amount: amount.into() };
    let by_hand = |total: &str, rows: Vec<InstallmentRowSpec>| {
        let mut spec = installments(|_| ());
        let rows_file = some("plan-4471.csv");
        spec.installments =
            Some(InstallmentsSpec { total: total.into(), rows: rows_file, row: rows, ..InstallmentsSpec::default() });
        spec
    };
    let rows = vec![row("2027-02-10", "500.00"), row("2027-03-01", "250.00"), row("2027-06-30", "100.25")];
    let chosen = plan(&by_hand("850.25", rows.clone()));
    let sub = subscription("2027-01-01");
    assert_eq!(walked(&chosen, &sub, 9), ["2027-02-10 500.00", "2027-03-01 250.00", "2027-06-30 100.25"]);
    let (cycle, due_at) = enrol(&chosen, &sub, at("2027-02-11T00:00:00Z")).unwrap();
    assert_eq!((cycle, due_at), (0, Some(at("2027-02-10T12:00:00Z"))), "it is still the 10th in Chicago");
    assert_eq!(enrol(&chosen, &sub, at("2027-03-15T00:00:00Z")).unwrap().0, 2);
    assert_eq!(enrol(&chosen, &sub, at("2027-07-15T00:00:00Z")).unwrap(), (3, None));
    let said = Plan::from_spec(&by_hand("850.00", rows.clone()), 1).unwrap_err();
    assert_eq!((said[0].field.as_str(), said.len()), ("installments.total", 1));
    assert!(said[0].message.contains("is not the sum of the rows, which is 850.25"));
    let unordered =
        vec![row("2027-02-10", "1.00"), row("2027-02-10", "1.00"), row("2027-13-01", "0.00"), row("x", "1")];
    let expected = [
        "installments.row.1.due_date",
        "installments.row.2.due_date",
        "installments.row.2.amount",
        "installments.row.3.due_date",
    ];
    assert_eq!(fields(&by_hand("3.00", unordered)), expected);
}

#[test]
fn installments_that_cannot_be_are_refused() {
    let refused = |change: &dyn Fn(&mut InstallmentsSpec)| fields(&installments(change));
    assert_eq!(refused(&|one| one.total = "1,000.00".into()), ["installments.total"]);
    assert_eq!(refused(&|one| one.total = "0.00".into()), ["installments.total"]);
    assert_eq!(
        refused(&|one| one.count = None),
        ["installments.count_min", "installments.count_max", "installments"][2..].to_vec()
    );
    assert_eq!(refused(&|one| one.count = some("0")), ["installments.count"]);
    assert_eq!(refused(&|one| one.count_min = some("13")), ["installments.count_min"]);
    assert_eq!(refused(&|one| one.interest = some("4%")), ["installments.interest"]);
    assert_eq!(refused(&|one| one.remainder = some("lost")), ["installments.remainder"]);
    assert_eq!(refused(&|one| one.first_payment = some("later")), ["installments.first_payment"]);
    let too_small = |one: &mut InstallmentsSpec| {
        (one.total, one.count) = ("100.00".into(), some("6"));
        (one.count_min, one.count_max) = (None, None);
    };
    assert_eq!(refused(&too_small), ["installments.total"]);
    let mut priced = installments(|_| ());
    priced.amount.value = some("5.00");
    priced.schedule.cycles = some("12");
    assert_eq!(fields(&priced), ["amount.value", "schedule.cycles"]);
    let mut without = installments(|_| ());
    without.installments = None;
    assert_eq!(fields(&without), ["installments"]);
}

#[test]
fn a_price_list_is_matched_on_what_a_subscription_says_of_itself() {
    let row = |from: &str, area: &str, amount: &str| PriceRowSpec {
        from: from.into(),
        until: None,
        values: vec![area.into(), "21-29".into()],
        amount: amount.into(),
    };
    let mut listed = spec("1.00");
    listed.amount = AmountSpec {
        currency: "USD".into(),
        price_list: some("premium.csv"),
        match_on: vec!["rating_area".into(), "age_band".into()],
        price_rows: vec![
            row("2027-01-01", "R1", "312.40"),
            row("2027-03-01", "R1", "320.00"),
            row("2027-01-01", "R2", "327.90"),
        ],
        ..AmountSpec::default()
    };
    let listed = plan(&listed);
    let mut sub = subscription("2027-01-15");
    let said = walked(&listed, &sub, 1);
    assert_eq!(said, ["2027-01-15 plan p: the price list has no row for no rating_area, no age_band"]);
    sub.terms.attributes =
        BTreeMap::from([("rating_area".to_owned(), "R1".to_owned()), ("age_band".to_owned(), "21-29".to_owned())]);
    assert_eq!(walked(&listed, &sub, 3), ["2027-01-15 312.40", "2027-02-15 312.40", "2027-03-15 320.00"]);
    sub.terms.quantity = Some(2);
    assert_eq!(walked(&listed, &sub, 1), ["2027-01-15 624.80"]);
    let told = explain(&listed, &sub, 2).unwrap();
    assert!(told.contains(&"One unit of a whole period costs USD 320.00, the price list's row for rating_area R1, age_band 21-29, in force from 2027-03-01 on.".to_owned()), "{told:#?}");
    assert_eq!(told.last().unwrap(), "The amount is USD 640.00.");
}

#[test]
fn a_quantity_multiplies_and_never_wraps() {
    let mut sub = subscription("2027-01-15");
    sub.terms.quantity = Some(12);
    assert_eq!(walked(&plan(&spec("79.00")), &sub, 1), ["2027-01-15 948.00"]);
    sub.terms.quantity = Some(u32::MAX);
    assert!(walked(&plan(&spec("999999.99")), &sub, 1)[0].contains("outside what the gateway can charge"));
    sub.terms.quantity = Some(3);
    let prorated = plan(&prorating("10.00", "prorate_by_day"));
    let told = explain(&prorated, &sub, 0).unwrap();
    assert!(
        told.iter()
            .any(|step| step.starts_with("The first period, from 2027-01-15 up to 2027-02-01, has 17 of the 31 days")),
        "{told:#?}"
    );
    // 30.00 times 17/31, not three times 10.00 times 17/31.
    assert_eq!(told.last().unwrap(), "The amount is USD 16.45.");
}

#[test]
fn a_term_ends_by_itself() {
    let mut ends = spec("10.00");
    ends.schedule.cycles = some("3");
    assert_eq!(
        walked(&plan(&ends), &subscription("2027-01-31"), 9),
        ["2027-01-31 10.00", "2027-02-28 10.00", "2027-03-31 10.00"]
    );
    ends.schedule.term = some("3 months");
    assert_eq!(fields(&ends), ["schedule.term"]);
    ends.schedule.cycles = None;
    assert_eq!(walked(&plan(&ends), &subscription("2027-01-31"), 9).len(), 3);
    ends.schedule.term = some("soon");
    assert_eq!(fields(&ends), ["schedule.term"]);
}

/// What a book of one subscription does at a moment.
fn drawn(plan: &Plan, subscription: &Subscription, now: &str) -> Agenda {
    let plans = BTreeMap::from([(plan.id.clone(), plan.clone())]);
    let catalog = Catalog { plans, ..Catalog::default() };
    let wallet = domain::wallet::Wallet::default();
    let book = Book {
        notices: domain::notice::Notices::Assumed,
        catalog: &catalog,
        environment: &Environment::parse("test").unwrap(),
        holds: &[],
        due: std::slice::from_ref(subscription),
        open: &[],
        limits: &Limits::default(),
        wallet: &wallet,
    };
    draw(&book, at(now))
}

fn actions(agenda: &Agenda) -> Vec<String> {
    let name = |action: &Action| {
        if let Action::Skip(left_out) = action {
            format!("{}_{}", action.name(), left_out.why.as_str())
        } else {
            action.name().to_owned()
        }
    };
    agenda.items.iter().map(|item| format!("{} {}", item.cycle, name(&item.action))).collect()
}

fn daily(catch_up: Option<&str>) -> Plan {
    let mut spec = spec("1.00");
    spec.schedule.every = "1 day".into();
    spec.schedule.catch_up = catch_up.map(Into::into);
    plan(&spec)
}

#[test]
fn what_was_missed_is_charged_skipped_or_asked_about_as_the_plan_says() {
    let sub = subscription("2027-01-01");
    // 06:00 in Chicago is 12:00 UTC; three were missed, the fourth is today's.
    let now = "2027-01-04T13:00:00Z";
    let of = |word: &str| actions(&drawn(&daily(Some(word)), &sub, now));
    assert_eq!(of("all"), ["0 send", "1 send", "2 send", "3 send"]);
    assert_eq!(of("latest"), ["0 skip_missed", "1 skip_missed", "2 skip_missed", "3 send"]);
    assert_eq!(of("forgive"), ["0 skip_missed", "1 skip_missed", "2 skip_missed", "3 send"]);
    assert_eq!(of("ask"), ["0 quarantine"]);
    assert_eq!(actions(&drawn(&daily(None), &sub, now)), ["0 quarantine"], "asking is the default");
    // An hour before today's, the newest is yesterday's: late for `latest`, past for `forgive`.
    let early = "2027-01-04T11:00:00Z";
    assert_eq!(actions(&drawn(&daily(Some("latest")), &sub, early)), ["0 skip_missed", "1 skip_missed", "2 send"]);
    assert_eq!(
        actions(&drawn(&daily(Some("forgive")), &sub, early)),
        ["0 skip_missed", "1 skip_missed", "2 skip_missed"]
    );
}

#[test]
fn one_missed_cycle_is_charged_without_asking_and_a_late_one_always() {
    let sub = subscription("2027-01-01");
    assert_eq!(actions(&drawn(&daily(None), &sub, "2027-01-02T13:00:00Z")), ["0 send", "1 send"]);
    assert_eq!(actions(&drawn(&daily(Some("forgive")), &sub, "2027-01-01T23:00:00Z")), ["0 send"]);
    for word in ["ask", "latest", "forgive", "all"] {
        let mut spec = spec("1.00");
        spec.schedule.catch_up = some(word);
        // Two weeks late, and nothing is due after it.
        assert_eq!(actions(&drawn(&plan(&spec), &sub, "2027-01-15T13:00:00Z")), ["0 send"], "{word}");
    }
}

#[test]
fn a_person_who_said_that_missed_cycles_are_charged_is_not_asked_again() {
    let mut sub = subscription("2027-01-01");
    let now = at("2027-01-04T13:00:00Z");
    assert_eq!(questions(&daily(None), &sub, now).unwrap(), 3);
    assert_eq!(questions(&daily(Some("all")), &sub, now).unwrap(), 0);
    sub.owed_until = Some(now);
    assert_eq!(questions(&daily(None), &sub, now).unwrap(), 0);
    assert_eq!(actions(&drawn(&daily(None), &sub, "2027-01-04T13:05:00Z")), ["0 send", "1 send", "2 send", "3 send"]);
    // What is missed afterwards is another question.
    sub.next_cycle = 4;
    assert_eq!(actions(&drawn(&daily(None), &sub, "2027-01-08T13:00:00Z")), ["4 quarantine"]);
}

#[test]
fn an_amount_outside_the_bounds_sets_that_cycle_aside_and_no_other() {
    let mut bounded = spec("79.00");
    (bounded.amount.minimum, bounded.amount.maximum) = (some("10.00"), some("500.00"));
    let mut sub = subscription("2027-01-01");
    sub.terms.quantity = Some(7);
    let agenda = drawn(&plan(&bounded), &sub, "2027-01-01T13:00:00Z");
    assert_eq!(actions(&agenda), ["0 park_out_of_bounds"]);
    assert!(matches!(&agenda.items[0].action, Action::ParkOutOfBounds { why }
        if why == "USD 553.00 is above USD 500.00, the maximum of plan p"));
    assert_eq!((agenda.advances[0].next_cycle, agenda.advances[0].status), (1, SubscriptionStatus::Active));
    let told = explain(&plan(&bounded), &sub, 0).unwrap();
    let expected = "USD 553.00 is above USD 500.00, the maximum of plan p: a person must decide about it.";
    assert_eq!(told.last().unwrap(), expected);
    sub.terms.quantity = Some(6);
    assert_eq!(actions(&drawn(&plan(&bounded), &sub, "2027-01-01T13:00:00Z")), ["0 send"]);
    bounded.amount.value = some("0.00");
    assert_eq!(
        actions(&drawn(&plan(&bounded), &sub, "2027-01-01T13:00:00Z")),
        ["0 skip_zero"],
        "nothing is not too little"
    );
    bounded.amount.minimum = some("600.00");
    assert_eq!(fields(&bounded), ["amount.minimum"]);
}

#[test]
fn what_is_swept_into_a_cycle_counts_for_the_bounds_and_waits_with_it() {
    let mut bounded = spec("79.00");
    (bounded.amount.minimum, bounded.amount.maximum) = (some("10.00"), some("100.00"));
    let bounded = plan(&bounded);
    let swept = |kind, minor| {
        let mut sub = subscription("2027-01-01");
        let amount = Money::new(minor, Currency::USD);
        sub.amendments.open = vec![Adjustment {
            id: 1,
            kind,
            amount,
            left: amount,
            settles: None,
            reason: "a word".to_owned(),
            by: "ann".to_owned(),
            at: at("2026-12-01T00:00:00Z"),
        }];
        let agenda = drawn(&bounded, &sub, "2027-01-01T13:00:00Z");
        let item = agenda.items[0].clone();
        let told = if let Action::ParkOutOfBounds { why } = &item.action {
            why.clone()
        } else {
            item.action.name().to_owned()
        };
        (told, item.charge.unwrap().amount.minor(), item.applied.len())
    };
    let held = |amount: &str, bound: &str| format!("USD {amount} is {bound} of plan p");
    let (charge, credit) = (AdjustmentKind::Charge, AdjustmentKind::Credit);
    assert_eq!(swept(charge, 2_100), ("send".to_owned(), 10_000, 1));
    assert_eq!(swept(charge, 2_101), (held("100.01", "above USD 100.00, the maximum"), 10_001, 1));
    assert_eq!(swept(credit, 6_900), ("send".to_owned(), 1_000, 1));
    assert_eq!(swept(credit, 6_901), (held("9.99", "below USD 10.00, the minimum"), 999, 1));
    assert_eq!(swept(credit, 7_900), ("skip_zero".to_owned(), 0, 1), "nothing is not too little");
}

#[test]
fn a_subscription_ends_with_its_last_installment() {
    let copay = plan(&installments(|_| ()));
    let mut sub = owing("2027-01-01", "100.00", 3);
    sub.next_cycle = 2;
    let agenda = drawn(&copay, &sub, "2027-03-01T13:00:00Z");
    assert_eq!(actions(&agenda), ["2 send"]);
    assert_eq!(agenda.items[0].charge.as_ref().unwrap().amount, Money::new(3_334, Currency::USD));
    assert_eq!((agenda.advances[0].status, agenda.advances[0].next_due_at), (SubscriptionStatus::Ended, None));
    let told = explain(&copay, &sub, 2).unwrap();
    assert!(told.iter().any(|step| step.ends_with("this is installment 3 of 3.")), "{told:#?}");
    // Terms that do not fit are said, and nothing is charged.
    sub.terms.total = None;
    assert_eq!(actions(&drawn(&copay, &sub, "2027-03-01T13:00:00Z")), ["2 quarantine"]);
}

#[test]
fn notices_that_come_too_late_are_told() {
    let mut stepped = spec("1.00");
    stepped.amount.value = None;
    let step = |from: &str, notice: Option<&str>| domain::plan::StepSpec {
        from: from.into(),
        value: "84.00".into(),
        applies: some("next_renewal"),
        notice: notice.map(Into::into),
    };
    stepped.amount.step = vec![step("2026-01-01", None), step("2027-01-01", Some("30 days"))];
    let read = plan(&stepped);
    assert_eq!(read.notices, [(day("2027-01-01"), 30)]);
    assert_eq!(read.late_notices(None, day("2026-12-02")), []);
    let late = [(day("2027-01-01"), 30, day("2026-12-02"))];
    assert_eq!(read.late_notices(None, day("2026-12-03")), late);
    // What is in force announces it already; another price, another time or no notice at all does not.
    assert_eq!(read.late_notices(Some(&read), day("2026-12-03")), []);
    let mut others = [stepped.clone(), stepped.clone(), stepped.clone()];
    others[0].amount.step[1].value = "83.00".into();
    others[1].amount.step[1].notice = some("29 days");
    others[2].amount.step[1].notice = None;
    for other in &others {
        assert_eq!(read.late_notices(Some(&plan(other)), day("2026-12-03")), late, "{other:?}");
    }
    assert_eq!(read.late_notices(None, day("2027-01-01")), []);
    stepped.amount.step[1].notice = some("soon");
    stepped.amount.step[1].applies = some("at_once");
    assert_eq!(fields(&stepped), ["amount.step.1.applies", "amount.step.1.notice"]);
}

#[test]
fn a_plan_as_written_comes_back_from_its_stored_text() {
    let mut all = installments(|one| one.rows = None);
    all.mid_period = Some(MidPeriodSpec { on_start: None, on_cancel: some("end_of_period") });
    all.schedule.catch_up = some("latest");
    all.amount.minimum = some("1.00");
    for spec in [all, prorating("1.00", "full"), spec("1.00")] {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<PlanSpec>(&text).unwrap(), spec);
    }
    // A plan stored before there were kinds has the same text as ever, so that its digest stays.
    let text = serde_json::to_string(&spec("1.00")).unwrap();
    for key in ["installments", "mid_period", "price", "match_on", "minimum", "maximum", "cycles", "term", "catch_up"] {
        assert!(!text.contains(key), "{key} in {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// With a shorter first period the periods still tile: the first begins at the start, each ends where the next begins, and
    /// the part is never more than the whole.
    #[test]
    fn periods_tile_from_the_start_on(
        start in 0_u64..146_097, on_day in 1_u8..=31, every in prop::sample::select(vec!["1 month", "2 months", "1 quarter", "1 year"]),
        missing in prop::sample::select(vec!["last_day", "skip"]), minor in 0_i64..10_000_000,
    ) {
        let start = day("2000-01-01").checked_add_days(chrono::Days::new(start)).unwrap();
        let mut spec = prorating(&Money::new(minor, Currency::USD).plain(), "prorate_by_day");
        (spec.schedule.every, spec.schedule.on_day) = (every.into(), some(&on_day.to_string()));
        spec.schedule.if_day_missing = some(missing);
        let plan = plan(&spec);
        let sub = Subscription { start_on: start, ..subscription("2000-01-01") };
        let cadence = plan.schedule_of(&sub).unwrap().cadence;
        prop_assert_eq!(cadence.date(0).unwrap(), start);
        for k in 0..30 {
            let (from, to) = cadence.period(k).unwrap();
            prop_assert!(from < to);
            prop_assert_eq!(cadence.period(k + 1).unwrap().0, to);
            prop_assert_eq!(cadence.index_on_or_after(from).unwrap(), k);
            prop_assert_eq!(cadence.index_on_or_after(from.succ_opt().unwrap()).unwrap(), k + 1);
            if k > 0 && missing == "skip" {
                prop_assert_eq!(from.day(), u32::from(on_day));
            }
        }
        let first = cycles(&plan, &sub, 0).unwrap().next().unwrap().unwrap();
        prop_assert!(first.amount.minor() <= minor);
        if let Some((whole_from, to)) = cadence.whole_period_at_start().unwrap() {
            prop_assert!(whole_from < start && start < to);
            prop_assert_eq!(to, cadence.date(1).unwrap());
            // A walk over the calendar counts the same days.
            let (mut days, mut of, mut date) = (0_i64, 0_i64, whole_from);
            while date < to {
                of += 1;
                days += i64::from(date >= start);
                date = date.succ_opt().unwrap();
            }
            prop_assert!((first.amount.minor() * of - minor * days).abs() * 2 <= of);
        } else {
            prop_assert_eq!(first.amount.minor(), minor);
        }
    }

    /// Whatever the total, the number, the currency and the remainder: the walked installments add up to what is owed, and no
    /// cycle follows the last.
    #[test]
    fn installments_add_up_in_every_currency(
        total in 1_i64..10_000_000_000, count in 1_u16..=600, code in prop::sample::select(vec!["USD", "JPY", "KWD", "CLF"]),
        remainder in prop::sample::select(vec!["last", "first", "spread"]), elsewhere in 0_i64..10_000_000_000,
    ) {
        let currency = Currency::parse(code).unwrap();
        let mut spec = installments(|one| {
            (one.count_min, one.count_max, one.smallest, one.remainder) = (None, None, None, some(remainder));
        });
        spec.amount.currency = code.into();
        spec.schedule.every = "1 day".into();
        let elsewhere = elsewhere.min(total);
        let mut sub = subscription("2027-01-01");
        sub.terms.total = Some(Money::new(total, currency));
        sub.terms.installments = Some(count);
        sub.terms.paid_elsewhere = Some(Money::new(elsewhere, currency));
        let plan = plan(&spec);
        let walked: Vec<Cycle> = cycles(&plan, &sub, 0).unwrap().map(Result::unwrap).collect();
        let sum: i64 = walked.iter().map(|cycle| cycle.amount.minor()).sum();
        prop_assert_eq!(sum, total - elsewhere);
        prop_assert!(walked.len() <= usize::from(count));
    }
}
