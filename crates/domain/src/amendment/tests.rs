use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::*;
use crate::agenda::{Action, Agenda, Book, Digest, GoesOn, cycles, draw, planned, resume};
use crate::charge::Limits;
use crate::id::Environment;
use crate::money::Currency;
use crate::plan::{AmountSpec, Catalog, Plan, PlanSpec, ScheduleSpec, StepSpec};
use crate::subscription::{Method, MethodKind, Subscription};
use crate::wallet::Wallet;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn spec(id: &str, every: &str, price: &str) -> PlanSpec {
    PlanSpec {
        id: id.into(),
        name: id.into(),
        kind: "recurring".into(),
        status: "active".into(),
        schedule: ScheduleSpec {
            every: every.into(),
            time_zone: "America/Chicago".into(),
            charge_at: "08:00".into(),
            catch_up: Some("all".into()),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".into(), value: Some(price.into()), ..AmountSpec::default() },
        ..PlanSpec::default()
    }
}

fn catalog() -> Catalog {
    let mut banks = spec("banks", "1 month", "79.00");
    banks.schedule.business_days = Some("next".into());
    banks.schedule.calendar = Some("us-federal-reserve".into());
    let mut yen = spec("yen", "1 month", "79");
    yen.amount.currency = "JPY".into();
    let mut retired = spec("retired", "1 month", "79.00");
    retired.status = "retired".into();
    let agreed = spec("agreed", "1 month", "from_subscription");
    let mut stepped = spec("stepped", "1 month", "0.00");
    stepped.amount.value = None;
    stepped.amount.step = vec![
        StepSpec { from: "2027-01-01".into(), value: "79.00".into(), ..StepSpec::default() },
        StepSpec { from: "2027-03-01".into(), value: "84.00".into(), ..StepSpec::default() },
    ];
    let specs = [
        spec("wellness", "1 month", "79.00"),
        spec("gold", "1 month", "99.00"),
        spec("weekly", "1 week", "20.00"),
        banks,
        yen,
        retired,
        agreed,
        stepped,
    ];
    let plans = specs.iter().map(|spec| Plan::from_spec(spec, 1).unwrap());
    let plans: BTreeMap<_, _> = plans.map(|plan| (plan.id.clone(), plan)).collect();
    Catalog { plans, ..Catalog::default() }
}

/// On the 31st of each month from January 2027 on; the January cycle has been charged.
fn sub(plan: &str) -> Subscription {
    let mut sub = crate::subscription::tests::sample();
    sub.plan = crate::id::PlanId::parse(plan).unwrap();
    sub.next_cycle = 1;
    sub.next_due_at = Some(at("2027-02-28T14:00:00Z"));
    sub
}

const NOW: &str = "2027-02-01T00:00:00Z";

fn tried(sub: &Subscription, change: Change) -> Result<Proposed, Refused> {
    propose(&catalog(), sub, change, ("a reason", "ann"), at(NOW))
}

#[track_caller]
fn made(sub: &Subscription, change: Change) -> Subscription {
    let (amendment, after) = tried(sub, change).unwrap();
    assert!(amendment.fits(sub) && !amendment.fits(&after), "a change fits once");
    after
}

#[track_caller]
fn refuses(sub: &Subscription, change: Change, whose: Whose, parts: &[&str]) {
    let refused = tried(sub, change).unwrap_err();
    let said = format!("{}: {}", refused.message, refused.mend);
    assert_eq!(refused.whose, whose, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

/// Number, civil date, day of the charge, and what becomes of it.
fn outlook(sub: &Subscription, most: usize) -> Vec<String> {
    let catalog = catalog();
    let walk = cycles(&catalog.plans[&sub.plan], sub, sub.next_cycle).unwrap();
    let told = |cycle: crate::agenda::Cycle| {
        let what = match &cycle.left_out {
            Some(left_out) => format!("skipped {}", left_out.why.as_str()),
            None => cycle.amount.plain(),
        };
        format!("{} {} {} {what}", cycle.occurrence.index, cycle.occurrence.date, cycle.occurrence.submit_on)
    };
    walk.take(most).map(|cycle| told(cycle.unwrap())).collect()
}

fn drawn(sub: &Subscription, now: &str) -> Agenda {
    let (catalog, limits, wallet) = (catalog(), Limits::default(), Wallet::default());
    let environment = Environment::parse("test").unwrap();
    let due = [sub.clone()];
    let book = Book {
        notices: crate::notice::Notices::Assumed,
        catalog: &catalog,
        environment: &environment,
        holds: &[],
        due: &due,
        open: &[],
        limits: &limits,
        wallet: &wallet,
    };
    draw(&book, at(now))
}

/// Where a subscription goes on.
fn resumed(sub: &Subscription, from_today: bool, now: &str) -> GoesOn {
    resume(&catalog().plans[&sub.plan], sub, from_today, at(now)).unwrap()
}

/// The subscription as an agenda leaves it.
fn advanced(sub: &Subscription, agenda: &Agenda) -> Subscription {
    let mut after = sub.clone();
    for advance in &agenda.advances {
        (after.next_cycle, after.next_due_at, after.status) = (advance.next_cycle, advance.next_due_at, advance.status);
    }
    after
}

fn words(agenda: &Agenda) -> Vec<String> {
    agenda.items.iter().map(|item| format!("{} {}", item.cycle, item.action.name())).collect()
}

fn credit(minor: i64) -> Change {
    Change::Adjust { kind: AdjustmentKind::Credit, amount: usd(minor) }
}

fn charge(minor: i64) -> Change {
    Change::Adjust { kind: AdjustmentKind::Charge, amount: usd(minor) }
}

#[test]
fn a_cycle_left_out_keeps_its_number_and_moves_no_other() {
    let after = made(&sub("wellness"), Change::Skip { cycle: 2 });
    let expected =
        ["1 2027-02-28 2027-02-28 79.00", "2 2027-03-31 2027-03-31 skipped person", "3 2027-04-30 2027-04-30 79.00"];
    assert_eq!(outlook(&after, 3), expected);
    assert_eq!(after.next_due_at, sub("wellness").next_due_at);
    let agenda = drawn(&after, "2027-04-01T00:00:00Z");
    assert_eq!(agenda.items.iter().map(|item| item.action.name()).collect::<Vec<_>>(), ["send", "skip"]);
    assert_eq!((agenda.advances[0].next_cycle, agenda.advances[0].next_due_at), (3, Some(at("2027-04-30T13:00:00Z"))));
    assert_eq!(outlook(&made(&after, Change::Clear { cycle: 2 }), 3), outlook(&sub("wellness"), 3), "and is undone");
}

#[test]
fn a_moved_cycle_keeps_date_number_price_and_neighbours() {
    // The price rises in March; the February cycle charged in March keeps February's.
    let after = made(&sub("stepped"), Change::Move { cycle: 1, to: day("2027-03-05") });
    let expected = ["1 2027-02-28 2027-03-05 79.00", "2 2027-03-31 2027-03-31 84.00", "3 2027-04-30 2027-04-30 84.00"];
    assert_eq!(outlook(&after, 3), expected);
    assert_eq!(after.next_due_at, Some(at("2027-03-05T14:00:00Z")));
    let (recorded, _) = planned(&catalog().plans[&after.plan], &after, 1).unwrap().unwrap();
    assert_eq!((recorded.due_on, recorded.due_at), (day("2027-02-28"), at("2027-03-05T14:00:00Z")));
    assert!(drawn(&after, "2027-03-05T13:59:59Z").items.is_empty());
    assert_eq!(drawn(&after, "2027-03-05T14:00:00Z").items.len(), 1);
    // A whole month is no rhythm gone wrong: the stored instant moves with the cycle.
    let far = made(&sub("wellness"), Change::Move { cycle: 1, to: day("2027-03-30") });
    assert_eq!(drawn(&far, "2027-03-30T13:00:00Z").items[0].action.name(), "send");
}

#[test]
fn a_move_is_refused_where_it_would_not_be_sound() {
    let one = sub("wellness");
    let to = |cycle, to: &str| Change::Move { cycle, to: day(to) };
    refuses(&one, to(2, "2027-04-30"), Whose::Value, &["before cycle 3, on 2027-04-30", "between the charges"]);
    refuses(&one, to(2, "2027-02-28"), Whose::Value, &["after cycle 1, on 2027-02-28"]);
    refuses(&one, to(1, "2027-01-31"), Whose::Value, &["has passed"]);
    refuses(&one, to(0, "2027-02-05"), Whose::Standing, &["recorded already", "the next cycle is 1"]);
    refuses(&sub("banks"), to(2, "2027-03-28"), Whose::Value, &["no business day", "2027-03-29"]);
    // Neighbours are where they were moved to.
    let moved = made(&one, to(3, "2027-05-10"));
    assert!(tried(&moved, to(2, "2027-05-05")).is_ok());
    let both = made(&moved, to(2, "2027-05-05"));
    refuses(&both, Change::Clear { cycle: 3 }, Whose::Value, &["cycle 2", "before cycle 3"]);
    assert_eq!(
        outlook(&made(&made(&both, Change::Clear { cycle: 2 }), Change::Clear { cycle: 3 }), 4),
        outlook(&one, 4)
    );
    let mut ends = one;
    ends.end_on = Some(day("2027-03-15"));
    refuses(&ends, to(2, "2027-03-20"), Whose::Value, &["cycle 2 never comes"]);
    refuses(&ends, Change::Clear { cycle: 1 }, Whose::Value, &["neither left out nor moved"]);
}

#[test]
fn dates_are_found_and_near_misses_are_told() {
    let (catalog, sub) = (catalog(), sub("wellness"));
    let plan = &catalog.plans[&sub.plan];
    assert_eq!(cycle_on(plan, &sub, day("2027-02-28")).unwrap(), 1);
    let refused = cycle_on(plan, &sub, day("2027-03-28")).unwrap_err();
    assert_eq!(refused.mend, "the next one is cycle 2, on 2027-03-31");
}

#[test]
fn a_pause_leaves_out_what_falls_before_its_end_and_nothing_else() {
    let after = made(&sub("wellness"), Change::Pause { until: Some(day("2027-03-31")) });
    let expected =
        ["1 2027-02-28 2027-02-28 skipped paused", "2 2027-03-31 2027-03-31 79.00", "3 2027-04-30 2027-04-30 79.00"];
    assert_eq!(outlook(&after, 3), expected, "from that day on it is charged");
    // The day begins at midnight in the payer's zone.
    let resumes = at("2027-03-31T05:00:00Z");
    let during = drawn(&after, "2027-03-01T00:00:00Z");
    let advance = &during.advances[0];
    assert_eq!(
        (advance.status, advance.next_cycle, advance.next_due_at),
        (SubscriptionStatus::Paused, 2, Some(resumes))
    );
    assert!(!advance.resumes);
    let mut paused = after.clone();
    (paused.next_cycle, paused.next_due_at) = (2, Some(resumes));
    let ended = drawn(&paused, "2027-03-31T05:00:00Z");
    let advance = &ended.advances[0];
    assert_eq!((advance.status, advance.next_due_at), (SubscriptionStatus::Active, Some(at("2027-03-31T13:00:00Z"))));
    assert!(advance.resumes && ended.items.is_empty());
    // Nobody looked for half a year: what fell into the pause is left out, what came after is owed.
    let late = drawn(&after, "2027-06-01T00:00:00Z");
    assert_eq!(late.items.iter().map(|item| item.action.name()).collect::<Vec<_>>(), ["skip", "send", "send", "send"]);
    assert_eq!(late.advances[0].status, SubscriptionStatus::Active);
    refuses(&sub("wellness"), Change::Pause { until: Some(day("2027-01-31")) }, Whose::Value, &["has come already"]);
}

#[test]
fn what_is_moved_out_of_a_pause_is_charged() {
    let moved = made(&sub("wellness"), Change::Move { cycle: 1, to: day("2027-03-20") });
    let after = made(&moved, Change::Pause { until: Some(day("2027-03-10")) });
    assert_eq!(outlook(&after, 1), ["1 2027-02-28 2027-03-20 79.00"]);
    assert_eq!(after.next_due_at, Some(at("2027-03-10T06:00:00Z")));
}

#[test]
fn a_cycle_whose_day_of_charge_was_rolled_into_the_pause_waits_for_its_end() {
    let mut rolled = spec("rolled", "1 month", "79.00");
    (rolled.schedule.business_days, rolled.schedule.calendar) =
        (Some("previous".into()), Some("us-federal-reserve".into()));
    let mut catalog = catalog();
    let plan = Plan::from_spec(&rolled, 1).unwrap();
    catalog.plans.insert(plan.id.clone(), plan);
    let mut one = sub("rolled");
    // Sunday the 28th, charged on Friday the 26th.
    one.next_due_at = Some(at("2027-02-26T14:00:00Z"));
    let change = Change::Pause { until: Some(day("2027-02-28")) };
    let (_, after) = propose(&catalog, &one, change, ("", "ann"), at(NOW)).unwrap();
    let (limits, wallet, environment) = (Limits::default(), Wallet::default(), Environment::parse("test").unwrap());
    let draw_at = |now: &str| {
        let due = [after.clone()];
        let (limits, wallet) = (&limits, &wallet);
        let (catalog, environment) = (&catalog, &environment);
        draw(
            &Book {
                notices: crate::notice::Notices::Assumed,
                catalog,
                environment,
                holds: &[],
                due: &due,
                open: &[],
                limits,
                wallet,
            },
            at(now),
        )
    };
    let early = draw_at("2027-02-26T14:00:00Z");
    assert_eq!((early.items.len(), early.advances[0].next_due_at), (0, Some(at("2027-02-28T06:00:00Z"))));
    assert_eq!(draw_at("2027-02-28T06:00:00Z").items[0].action.name(), "send");
}

#[test]
fn a_pause_outlives_that_its_subscription_was_set_aside() {
    // Nobody looked from February on, and the bank account has no consent: the draw of May sets it aside as a whole.
    let mut after = made(&sub("wellness"), Change::Pause { until: Some(day("2027-04-01")) });
    let consent = after.method.take().unwrap();
    after.method = Some(Method { kind: MethodKind::BankAccount, consent: None, ..consent.clone() });
    let aside = drawn(&after, "2027-05-01T00:00:00Z");
    assert_eq!(words(&aside), ["1 quarantine"]);
    let mut aside = advanced(&after, &aside);
    assert_eq!((aside.status, aside.next_cycle), (SubscriptionStatus::Quarantined, 1));
    aside.method = Some(consent);
    // Whoever resumes it, with what was missed, still owes nothing for the months of the pause.
    let goes_on = resumed(&aside, false, "2027-05-01T00:00:00Z");
    let due = Some(at("2027-02-28T14:00:00Z"));
    assert_eq!(goes_on, GoesOn { next_cycle: 1, next_due_at: due, paused: true });
    let again = Subscription { status: SubscriptionStatus::Paused, next_due_at: due, ..aside.clone() };
    let drawn_again = drawn(&again, "2027-05-01T00:00:00Z");
    assert_eq!(words(&drawn_again), ["1 skip", "2 skip", "3 send"]);
    assert_eq!(advanced(&again, &drawn_again).status, SubscriptionStatus::Active);
    // From today on, or while the pause lasts: the end that was named holds.
    let due = Some(at("2027-05-31T13:00:00Z"));
    let over = resumed(&aside, true, "2027-05-01T12:00:00Z");
    assert_eq!(over, GoesOn { next_cycle: 4, next_due_at: due, paused: false });
    let ends_at = Some(at("2027-04-01T05:00:00Z"));
    let mut recorded = aside.clone();
    recorded.next_cycle = 3;
    let lasting = resumed(&recorded, true, "2027-03-31T18:00:00Z");
    assert_eq!(lasting, GoesOn { next_cycle: 3, next_due_at: ends_at, paused: true });
    // Without such a pause nothing is left out.
    aside.amendments.resume_on = None;
    let due = Some(at("2027-02-28T14:00:00Z"));
    let all = resumed(&aside, false, "2027-05-01T00:00:00Z");
    assert_eq!(all, GoesOn { next_cycle: 1, next_due_at: due, paused: false });
}

#[test]
fn a_pause_over_the_last_cycle_lasts_to_its_end() {
    let mut last = sub("wellness");
    last.end_on = Some(day("2027-03-15"));
    let after = made(&last, Change::Pause { until: Some(day("2027-03-31")) });
    let during = drawn(&after, "2027-02-28T14:00:00Z");
    assert_eq!(words(&during), ["1 skip"]);
    let after = advanced(&after, &during);
    let ends_at = Some(at("2027-03-31T05:00:00Z"));
    assert_eq!((after.status, after.next_cycle, after.next_due_at), (SubscriptionStatus::Paused, 2, ends_at));
    let over = drawn(&after, "2027-03-31T05:00:00Z");
    assert_eq!((over.items.len(), over.advances[0].status), (0, SubscriptionStatus::Ended));
    assert!(!over.advances[0].resumes);
}

#[test]
fn what_was_put_off_to_a_day_to_come_has_not_passed() {
    // The cycle of the 28th is charged on March 10th. A pause in between passes nothing over.
    let moved = made(&sub("wellness"), Change::Move { cycle: 1, to: day("2027-03-10") });
    let paused = made(&moved, Change::Pause { until: None });
    let to_come = GoesOn { next_cycle: 1, next_due_at: Some(at("2027-03-10T14:00:00Z")), paused: false };
    assert_eq!(resumed(&paused, true, "2027-03-05T12:00:00Z"), to_come);
    assert_eq!(resumed(&paused, true, "2027-03-10T18:00:00Z"), to_come, "late on its own day it is still owed");
    let passed = GoesOn { next_cycle: 2, next_due_at: Some(at("2027-03-31T13:00:00Z")), paused: false };
    assert_eq!(resumed(&paused, true, "2027-03-11T12:00:00Z"), passed);
    // Sunday the 28th is charged on Monday, March 1st.
    let banks = made(&sub("banks"), Change::Pause { until: None });
    let rolled = GoesOn { next_cycle: 1, next_due_at: Some(at("2027-03-01T14:00:00Z")), paused: false };
    assert_eq!(resumed(&banks, true, "2027-03-01T20:00:00Z"), rolled);
    assert_eq!(resumed(&banks, true, "2027-03-02T20:00:00Z").next_cycle, 2);
}

#[test]
fn an_endless_pause_has_nothing_to_look_at() {
    let after = made(&sub("wellness"), Change::Pause { until: None });
    assert_eq!((after.status, after.next_due_at), (SubscriptionStatus::Paused, None));
    assert_eq!(
        resumed(&after, true, "2027-03-01T12:00:00Z"),
        GoesOn { next_cycle: 2, next_due_at: Some(at("2027-03-31T13:00:00Z")), paused: false }
    );
    refuses(&after, Change::EndWithPeriod { last_on: None }, Whose::Standing, &["paused", "--now"]);
}

#[test]
fn an_end_with_the_period_is_the_day_before_the_next_cycle() {
    let after = made(&sub("wellness"), Change::EndWithPeriod { last_on: None });
    assert_eq!(after.last_on(), Some(day("2027-02-27")));
    assert_eq!(after.next_due_at, sub("wellness").next_due_at, "looked at once more, to end");
    let agenda = drawn(&after, "2027-02-28T14:00:00Z");
    assert_eq!((agenda.items.len(), agenda.advances[0].status), (0, SubscriptionStatus::Ended));
    refuses(&after, Change::EndWithPeriod { last_on: None }, Whose::Standing, &["ends with this period already"]);
    assert_eq!(outlook(&made(&after, Change::KeepOn), 2).len(), 2);
    refuses(&sub("wellness"), Change::KeepOn, Whose::Standing, &["nobody ended it"]);
}

#[test]
fn an_end_with_the_period_keeps_what_the_running_period_owes() {
    let end = |sub: &Subscription, now: &str| {
        propose(&catalog(), sub, Change::EndWithPeriod { last_on: None }, ("", "ann"), at(now)).map(|(_, after)| after)
    };
    // Put off from the 28th to March 10th: the period began on the 28th, and is paid for on the 10th.
    let moved = made(&sub("wellness"), Change::Move { cycle: 1, to: day("2027-03-10") });
    let after = end(&moved, "2027-03-05T12:00:00Z").unwrap();
    assert_eq!(after.last_on(), Some(day("2027-03-30")));
    assert_eq!(outlook(&after, 2), ["1 2027-02-28 2027-03-10 79.00"]);
    // Due for two months, and nobody looked: both are owed.
    let after = end(&sub("wellness"), "2027-04-05T12:00:00Z").unwrap();
    assert_eq!(outlook(&after, 5), ["1 2027-02-28 2027-02-28 79.00", "2 2027-03-31 2027-03-31 79.00"]);
    // Rolled from Sunday to Monday: the period has begun on Sunday.
    let after = end(&sub("banks"), "2027-02-28T18:00:00Z").unwrap();
    assert_eq!(outlook(&after, 2), ["1 2027-02-28 2027-03-01 79.00"]);
    // On the day itself: before the hour it has not begun, at the hour it has.
    let after = end(&sub("wellness"), "2027-02-28T13:59:59Z").unwrap();
    assert_eq!((after.last_on(), outlook(&after, 1).len()), (Some(day("2027-02-27")), 0));
    let after = end(&sub("wellness"), "2027-02-28T14:00:00Z").unwrap();
    assert_eq!(after.last_on(), Some(day("2027-03-30")));
    // Charged ahead of its day: that period is paid for, and is the last.
    let mut ahead = made(&sub("wellness"), Change::Move { cycle: 1, to: day("2027-02-20") });
    (ahead.next_cycle, ahead.next_due_at) = (2, Some(at("2027-03-31T13:00:00Z")));
    assert_eq!(end(&ahead, "2027-02-21T12:00:00Z").unwrap().last_on(), Some(day("2027-03-30")));
    // Its last period runs already.
    let mut last = sub("wellness");
    last.end_on = Some(day("2027-03-15"));
    assert!(end(&last, "2027-03-01T12:00:00Z").unwrap_err().message.contains("ends with this period already"));
}

#[test]
fn another_plan_keeps_numbers_and_dates_or_is_refused() {
    let to = |plan: &str, from: Option<&str>| Change::Plan {
        plan: crate::id::PlanId::parse(plan).unwrap(),
        from: from.map(day),
    };
    let one = sub("wellness");
    let after = made(&one, to("gold", Some("2027-02-28")));
    assert_eq!(outlook(&after, 2), ["1 2027-02-28 2027-02-28 99.00", "2 2027-03-31 2027-03-31 99.00"]);
    assert_eq!(made(&one, to("gold", None)), after);
    refuses(&one, to("gold", Some("2027-03-31")), Whose::Value, &["that of 2027-02-28", "--at 2027-02-28"]);
    refuses(&one, to("weekly", None), Whose::Value, &["another rhythm", "cancel --at-period-end"]);
    refuses(&one, to("yen", None), Whose::Value, &["JPY"]);
    refuses(&one, to("retired", None), Whose::Value, &["charges nobody"]);
    refuses(&one, to("wellness", None), Whose::Value, &["already"]);
    refuses(&one, to("nothing", None), Whose::Value, &["does not exist"]);
    refuses(&one, to("agreed", None), Whose::Value, &["no price"]);
}

#[test]
fn adjustments_are_swept_into_the_next_cycle_that_can_take_them() {
    let mut after = made(&sub("wellness"), credit(20_000));
    after = made(&after, charge(1_000));
    let amounts =
        |sub: &Subscription| outlook(sub, 4).into_iter().map(|line| line[24..].to_owned()).collect::<Vec<_>>();
    assert_eq!(amounts(&after), ["0.00", "0.00", "47.00", "79.00"]);
    // Whatever cycle is asked about first.
    let plan = &catalog().plans[&after.plan];
    let alone = |cycle| planned(plan, &after, cycle).unwrap().unwrap().0.amount;
    assert_eq!([1, 2, 3, 4].map(alone), [usd(0), usd(0), usd(4_700), usd(7_900)]);
    assert_eq!(alone(0), usd(7_900), "a recorded cycle is what it was");
    // A cycle that is left out takes nothing.
    let skipping = made(&after, Change::Skip { cycle: 1 });
    assert_eq!(amounts(&skipping), ["skipped person", "0.00", "0.00", "47.00"]);
    let agenda = drawn(&after, "2027-05-01T00:00:00Z");
    let taken: Vec<Vec<i64>> =
        agenda.items.iter().map(|item| item.applied.iter().map(|one| one.amount.minor()).collect()).collect();
    assert_eq!(taken, [vec![1_000, 8_900], vec![7_900], vec![3_200]]);
    assert!(matches!(agenda.items[0].action, Action::SkipZero));
}

#[test]
fn adjustments_beyond_all_bounds_are_refused() {
    let one = sub("wellness");
    refuses(&one, credit(0), Whose::Value, &["nothing"]);
    refuses(&one, charge(-5), Whose::Value, &["nothing"]);
    refuses(&one, charge(99_999_999), Whose::Value, &["too much"]);
    refuses(&one, credit(100_000_000), Whose::Value, &["outside what the gateway can charge"]);
    let yen = Change::Adjust { kind: AdjustmentKind::Credit, amount: Money::new(5, Currency::parse("JPY").unwrap()) };
    refuses(&one, yen, Whose::Value, &["USD"]);
    let full = made(&one, charge(99_990_000));
    refuses(&full, charge(2_100), Whose::Value, &["too much"]);
    assert!(tried(&full, charge(2_099)).is_ok());
    let mut many = one.clone();
    for _ in 0..crate::subscription::OPEN_MAX {
        many = made(&many, credit(1));
    }
    refuses(&many, credit(1), Whose::Standing, &["wait already"]);
    let mut over = one;
    over.end_on = Some(day("2027-02-01"));
    refuses(&over, credit(1), Whose::Standing, &["no cycle is left"]);
}

#[test]
fn what_has_ended_or_is_set_aside_is_not_changed() {
    for status in [SubscriptionStatus::Cancelled, SubscriptionStatus::Ended, SubscriptionStatus::Quarantined] {
        let mut one = sub("wellness");
        one.status = status;
        refuses(&one, Change::Skip { cycle: 1 }, Whose::Standing, &[status.as_str()]);
    }
    let long = "x".repeat(REASON_MAX + 1);
    for reason in [long.as_str(), "two\nlines", "pay with 4242 4242 4242 4242"] {
        let refused = propose(&catalog(), &sub("wellness"), credit(1), (reason, "ann"), at(NOW)).unwrap_err();
        assert_eq!(refused.whose, Whose::Value);
    }
}

#[test]
fn a_change_washes_out_no_rhythm_gone_wrong() {
    // Stored for another month than the plan says.
    let mut odd = sub("wellness");
    odd.next_due_at = Some(at("2027-04-28T14:00:00Z"));
    refuses(&odd, credit(1), Whose::Plan, &["rhythm changed under cycle 1"]);
    // Hours and holidays may differ; the stored instant stays until a change moves it.
    odd.next_due_at = Some(at("2027-03-01T14:00:00Z"));
    assert_eq!(made(&odd, credit(1)).next_due_at, odd.next_due_at);
    let moved = made(&odd, Change::Move { cycle: 1, to: day("2027-03-05") });
    assert_eq!(moved.next_due_at, Some(at("2027-03-05T14:00:00Z")));
}

#[test]
fn the_effect_shows_what_differs_and_nothing_else() {
    let catalog = catalog();
    let told = |before: &Subscription, after: &Subscription| -> Vec<String> {
        let plan = |one: &Subscription| catalog.plans[&one.plan].clone();
        let shown = |fate: &Fate| match fate {
            Fate::Charged { amount, at } => format!("{} {}", amount.plain(), at.date_naive()),
            Fate::Skipped { why } => format!("skipped: {why}"),
            Fate::Never { why } => format!("never: {why}"),
        };
        let affected = effect((&plan(before), before), (&plan(after), after), 6);
        affected.iter().map(|one| format!("{}: {} → {}", one.cycle, shown(&one.before), shown(&one.after))).collect()
    };
    let one = sub("wellness");
    assert_eq!(told(&one, &one), Vec::<String>::new());
    let skipped = made(&one, Change::Skip { cycle: 2 });
    assert_eq!(told(&one, &skipped), ["2: 79.00 2027-03-31 → skipped: a reason"]);
    let moved = made(&one, Change::Move { cycle: 2, to: day("2027-04-02") });
    assert_eq!(told(&one, &moved), ["2: 79.00 2027-03-31 → 79.00 2027-04-02"]);
    let credited = made(&one, credit(8_000));
    assert_eq!(
        told(&one, &credited),
        ["1: 79.00 2027-02-28 → skipped: nothing to pay", "2: 79.00 2027-03-31 → 78.00 2027-03-31"]
    );
    assert_eq!(told(&one, &made(&one, Change::Pause { until: None })).len(), 6);
    let ends = made(&one, Change::EndWithPeriod { last_on: None });
    assert_eq!(told(&one, &ends)[0], "1: 79.00 2027-02-28 → never: the subscription has ended by then");
    // Whoever goes on two cycles later passes over the two before.
    let mut paused = one.clone();
    paused.status = SubscriptionStatus::Paused;
    let goes_on = Subscription { next_cycle: one.next_cycle + 2, ..one };
    assert_eq!(
        told(&paused, &goes_on)[1..3],
        [
            "2: never: the subscription is paused → never: it fell due while the subscription stood still, and is passed over",
            "3: never: the subscription is paused → 79.00 2027-04-30",
        ]
    );
    assert_eq!(told(&paused, &goes_on).len(), 6);
}

#[test]
fn a_digest_covers_every_amendment() {
    let one = sub("wellness");
    let now = "2027-03-29T20:00:00Z";
    let digest = |sub: &Subscription| {
        let mut digest = Digest::default();
        digest.add(&drawn(sub, now).items);
        digest.finish()
    };
    let mut changes = vec![
        Change::Skip { cycle: 1 },
        Change::Move { cycle: 1, to: day("2027-03-01") },
        Change::Pause { until: Some(day("2027-03-01")) },
        credit(1),
        charge(1),
    ];
    changes.push(Change::Plan { plan: crate::id::PlanId::parse("gold").unwrap(), from: None });
    let mut seen = std::collections::BTreeSet::from([digest(&one)]);
    for change in changes {
        assert!(seen.insert(digest(&made(&one, change.clone()))), "{change:?}");
    }
    // Two credits that come to the same are not the same.
    let (one_credit, two) = (made(&one, credit(2)), made(&made(&one, credit(1)), credit(1)));
    assert_ne!(digest(&one_credit), digest(&two));
}

#[test]
fn an_explanation_tells_every_amendment_and_comes_to_the_same_amount() {
    let mut one = made(&sub("wellness"), Change::Move { cycle: 1, to: day("2027-03-05") });
    one = made(&one, credit(1_250));
    let steps = crate::explain::explain(&catalog().plans[&one.plan], &one, 1).unwrap().join("\n");
    for part in [
        "ann moved its charge to 2027-03-05 (a reason); its date, number and period stay.",
        "2027-03-05T14:00:00Z",
        "The amount is USD 79.00, the plan's price.",
        "Credit 0 takes off USD 12.50 (a reason).",
        "That makes USD 66.50.",
    ] {
        assert!(steps.contains(part), "{part:?} is missing in:\n{steps}");
    }
    let skipped = made(&sub("wellness"), Change::Skip { cycle: 1 });
    let steps = crate::explain::explain(&catalog().plans[&skipped.plan], &skipped, 1).unwrap().join("\n");
    assert!(steps.contains("It is left out and never charged: ann said so (a reason)."), "{steps}");
}
