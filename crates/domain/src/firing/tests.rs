use super::*;
use crate::charge::{SkipWhy, Tries};
use crate::id::{ChargeId, Purpose};
use crate::money::{Currency, Money};
use crate::plan::{AmountSpec, PlanSpec, Price, ScheduleSpec};
use crate::subscription::tests::sample;
use crate::subscription::{Override, Ruling};

fn plan() -> Plan {
    let spec = PlanSpec {
        id: "wellness".into(),
        name: "Wellness".into(),
        kind: "recurring".into(),
        status: "active".into(),
        schedule: ScheduleSpec {
            every: "1 month".into(),
            time_zone: "UTC".into(),
            charge_at: "08:00".into(),
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".into(), value: Some("79.00".into()), ..AmountSpec::default() },
        ..PlanSpec::default()
    };
    Plan::from_spec(&spec, 1).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// The first half of 2027, looked at on 1 July.
fn span() -> Span {
    Span {
        from: day("2027-01-01"),
        until: day("2027-07-01"),
        now: at("2027-07-01T00:00:00Z"),
        grace: TimeDelta::hours(1),
    }
}

/// A monthly subscription from 31 January on that stands at its seventh cycle.
fn subscription() -> Subscription {
    Subscription { next_cycle: 6, next_due_at: Some(at("2027-07-31T08:00:00Z")), ..sample() }
}

fn charge(plan: &Plan, subscription: &Subscription, cycle: u32, late: TimeDelta) -> Booked {
    let planned = cycles(plan, subscription, cycle).unwrap().next().unwrap().unwrap();
    let mut charge = planned.charge(plan, subscription);
    assert_eq!(charge.id, ChargeId::of(subscription.merchant, &subscription.id, cycle, Purpose::Cycle));
    let at = charge.due_at.checked_add_signed(late).unwrap();
    (charge.state, charge.tries) = (State::paid(at, charge.amount), Tries::default());
    Booked { charge, at, payers: Vec::new() }
}

/// The verdict of every expected cycle: `0 done`, `2 missed passed_over`, with what is recorded for some.
fn audit(standing: &Standing<'_>, recorded: &[Booked]) -> Vec<String> {
    let said = |cycle: &Cycle| {
        let index = cycle.occurrence.index;
        let found = recorded.iter().find(|one| one.charge.cycle == index);
        let word = match standing.judge(&span(), cycle, found)? {
            Verdict::Done => "done".to_owned(),
            Verdict::Late => "late".to_owned(),
            Verdict::Skipped(_) => "skipped".to_owned(),
            Verdict::Held(why) => format!("held {why}"),
            Verdict::Waiting(_) => "waiting".to_owned(),
            Verdict::Missed(why) => format!("missed {}", why.as_str()),
            Verdict::Odd(why) => format!("odd {}", why.as_str()),
        };
        Some(format!("{index} {word}"))
    };
    standing.expected(&span()).unwrap().into_iter().filter_map(|then| said(&then.unwrap().cycle)).collect()
}

fn standing<'a>(plan: &'a Plan, subscription: &'a Subscription) -> Standing<'a> {
    Standing {
        subscription,
        plan,
        versions: &[],
        first_cycle: 0,
        leased_until: None,
        turns: &[],
        holds: &[],
        notices: crate::notice::Notices::Assumed,
    }
}

#[test]
fn what_fired_in_time_late_and_not_at_all_is_told_apart() {
    let (plan, sub) = (plan(), subscription());
    let on_time = |cycle| charge(&plan, &sub, cycle, TimeDelta::minutes(2));
    let mut recorded: Vec<Booked> = (0..6).map(on_time).collect();
    // A cycle of the last day of June is cycle 5; July's is to come.
    assert_eq!(audit(&standing(&plan, &sub), &recorded), ["0 done", "1 done", "2 done", "3 done", "4 done", "5 done"]);
    recorded.remove(2);
    recorded[3] = charge(&plan, &sub, 4, TimeDelta::hours(5));
    recorded[4].charge.state = State::Skipped { why: crate::charge::SkipWhy::ZeroAmount, at: recorded[4].at };
    assert_eq!(
        audit(&standing(&plan, &sub), &recorded),
        ["0 done", "1 done", "2 missed passed_over", "3 done", "4 late", "5 skipped"]
    );
}

#[test]
fn a_cycle_is_held_against_the_version_of_its_time() {
    let (old, sub) = (plan(), subscription());
    let mut new = Plan { version: 2, ..old.clone() };
    // An hour that is earlier by four, and a price of its own.
    new.charge_at = old.charge_at - TimeDelta::hours(4);
    new.price = Price::Steps(vec![("2020-01-01".parse().unwrap(), Money::new(8_400, Currency::USD))]);
    let recorded: Vec<Booked> =
        (0..6).map(|cycle| charge(if cycle < 3 { &old } else { &new }, &sub, cycle, TimeDelta::minutes(2))).collect();
    let changed_at = at("2027-04-15T00:00:00Z");
    let versions = [(at("2026-01-01T00:00:00Z"), old.clone()), (changed_at, new.clone())];
    let now = standing(&new, &sub);
    let then = Standing { versions: &versions, ..now };
    assert_eq!(audit(&now, &recorded)[..3], ["0 late", "1 late", "2 late"], "under today's hours");
    assert_eq!(audit(&then, &recorded), ["0 done", "1 done", "2 done", "3 done", "4 done", "5 done"]);
    // What was never charged is expected with the price of its time.
    let prices = |standing: &Standing<'_>| -> Vec<(u32, i64, u32)> {
        let expected = standing.expected(&span()).unwrap().into_iter().map(Result::unwrap);
        expected.map(|then| (then.cycle.occurrence.index, then.cycle.amount.minor(), then.under.version)).collect()
    };
    let old_price = prices(&standing(&old, &sub))[0].1;
    assert_eq!(prices(&then)[..4], [(0, old_price, 1), (1, old_price, 1), (2, old_price, 1), (3, 8_400, 2)]);
    // A version from before the span alone counts, and so does the first one for what lies before it.
    let ago = [(at("2020-01-01T00:00:00Z"), old.clone()), (at("2026-06-01T00:00:00Z"), new.clone())];
    assert!(prices(&Standing { versions: &ago, ..now }).iter().all(|(_, minor, _)| *minor == 8_400));
    let late = [(at("2027-03-15T00:00:00Z"), old), (changed_at, new.clone())];
    assert_eq!(prices(&Standing { versions: &late, ..now })[0], (0, old_price, 1));
}

#[test]
fn cycles_before_the_first_are_not_expected_and_a_charge_of_theirs_is_odd() {
    let (plan, sub) = (plan(), subscription());
    let entered = Standing { first_cycle: 5, ..standing(&plan, &sub) };
    assert_eq!(audit(&entered, &[charge(&plan, &sub, 5, TimeDelta::zero())]), ["5 done"]);
    let before = charge(&plan, &sub, 3, TimeDelta::zero());
    assert_eq!(entered.unexpected(&span(), &before), Some(Odd::BeforeFirst));
    let elsewhere = Span { until: day("2027-03-01"), ..span() };
    assert_eq!(entered.unexpected(&elsewhere, &before), None);
}

#[test]
fn the_reason_of_a_missed_cycle_is_read_from_the_row() {
    let plan = plan();
    let told = |sub: &Subscription, leased_until| {
        let told = audit(&Standing { leased_until, first_cycle: 5, ..standing(&plan, sub) }, &[]);
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    };
    let due = Subscription { next_cycle: 5, next_due_at: Some(at("2027-06-30T08:00:00Z")), ..sample() };
    assert_eq!(told(&due, None), "5 missed not_taken");
    assert_eq!(told(&due, Some(at("2027-07-01T00:01:00Z"))), "5 missed not_taken");
    assert_eq!(told(&due, Some(at("2031-01-01T00:00:00Z"))), "5 missed lease_stuck");
    assert_eq!(told(&Subscription { next_due_at: None, ..due.clone() }, None), "5 missed not_scheduled");
    let away = Subscription { next_due_at: Some(at("2027-09-30T08:00:00Z")), ..due.clone() };
    assert_eq!(told(&away, None), "5 missed not_scheduled");
    assert_eq!(told(&Subscription { next_cycle: 6, ..due.clone() }, None), "5 missed passed_over");
    let paused = Subscription { status: SubscriptionStatus::Paused, next_due_at: None, ..due };
    assert_eq!(told(&paused, None), "5 held the subscription is paused");
    // A pause does not excuse what the subscription already stands beyond.
    assert_eq!(told(&Subscription { next_cycle: 6, ..paused }, None), "5 missed passed_over");
}

#[test]
fn holds_excuse_what_fell_due_under_them_and_nothing_before() {
    let plan = plan();
    let sub = Subscription { next_cycle: 4, next_due_at: Some(at("2027-05-31T08:00:00Z")), ..sample() };
    let hold = Hold {
        id: 1,
        scope: crate::agenda::Scope::All,
        reason: "audit".into(),
        by: "M. Ortiz".into(),
        since: at("2027-06-10T00:00:00Z"),
        lift: crate::agenda::Lift::Anybody,
        kind: crate::agenda::HoldKind::Operator,
    };
    let holds = [hold];
    let told = audit(&Standing { holds: &holds, first_cycle: 4, ..standing(&plan, &sub) }, &[]);
    assert_eq!(told, ["4 missed not_taken", "5 held on hold by M. Ortiz (all): audit"]);
}

#[test]
fn a_hold_on_the_plan_a_charge_was_recorded_under_excuses_it_after_a_change_of_plan() {
    let (new, sub) = (plan(), subscription());
    let mut waiting = charge(&new, &sub, 5, TimeDelta::zero());
    waiting.charge.plan = crate::id::PlanId::parse("old").unwrap();
    waiting.charge.state = State::Due { next_at: at("2027-06-30T08:00:00Z"), doubt: false };
    let judged = |scope: &str, waiting: &Booked| {
        let (scope, since) = (scope.parse().unwrap(), at("2027-06-30T08:00:00Z"));
        let lift = crate::agenda::Lift::Anybody;
        let hold = Hold {
            id: 1,
            scope,
            reason: "audit".into(),
            by: "ann".into(),
            since,
            lift,
            kind: crate::agenda::HoldKind::Operator,
        };
        audit(&Standing { holds: &[hold], first_cycle: 5, ..standing(&new, &sub) }, std::slice::from_ref(waiting))
    };
    let told = |scope: &str| judged(scope, &waiting);
    assert_eq!(told("plan:old"), ["5 held on hold by ann (plan:old): audit"]);
    assert_eq!(told("plan:wellness"), ["5 held on hold by ann (plan:wellness): audit"]);
    assert_eq!(told("plan:other"), ["5 missed not_sent"]);
    assert_eq!(told("subscription:sub-8"), ["5 missed not_sent"]);
    // It pays for somebody else as well: a hold on them keeps the whole payment back.
    let somebody = crate::agenda::Payer {
        subscription: crate::id::SubscriptionId::parse("sub-8").unwrap(),
        recorded_under: crate::id::PlanId::parse("pool").unwrap(),
        under: None,
    };
    waiting.payers = vec![somebody];
    for scope in ["subscription:sub-8", "plan:pool"] {
        assert_eq!(judged(scope, &waiting), [format!("5 held on hold by ann ({scope}): audit")]);
    }
}

#[test]
fn cycles_left_out_by_a_resume_are_skipped_and_only_those() {
    let (plan, sub) = (plan(), subscription());
    let recorded = [charge(&plan, &sub, 0, TimeDelta::zero()), charge(&plan, &sub, 5, TimeDelta::zero())];
    let stopped = Turn { at: at("2027-03-15T00:00:00Z"), kind: TurnKind::Stopped };
    let resumed = |stood_at| Turn { at: at("2027-06-01T00:00:00Z"), kind: TurnKind::Resumed { stood_at, goes_on: 5 } };
    let expected = ["0 done", "1 missed passed_over", "2 skipped", "3 skipped", "4 skipped", "5 done"];
    for turns in [vec![stopped, resumed(Some(2))], vec![stopped, resumed(None)]] {
        assert_eq!(audit(&Standing { turns: &turns, ..standing(&plan, &sub) }, &recorded), expected);
    }
}

#[test]
fn a_cancelled_subscription_is_expected_to_have_fired_until_then() {
    let (plan, mut sub) = (plan(), subscription());
    sub.status = SubscriptionStatus::Cancelled;
    let turns = [Turn { at: at("2027-03-31T08:30:00Z"), kind: TurnKind::Cancelled }];
    let recorded: Vec<Booked> =
        [0, 2, 4].map(|cycle| charge(&plan, &sub, cycle, TimeDelta::minutes(2))).into_iter().collect();
    let cancelled = Standing { turns: &turns, ..standing(&plan, &sub) };
    assert_eq!(audit(&cancelled, &recorded), ["0 done", "1 missed passed_over", "2 done", "4 odd beyond_the_end"]);
    assert_eq!(
        audit(&cancelled, &recorded[..1]),
        ["0 done", "1 missed passed_over"],
        "the third was cancelled in time"
    );
}

#[test]
fn a_cancellation_that_nothing_tells_of_excuses_no_cycle() {
    let (plan, mut sub) = (plan(), Subscription { next_cycle: 3, ..subscription() });
    sub.status = SubscriptionStatus::Cancelled;
    let recorded: Vec<Booked> =
        [0, 1, 2].map(|cycle| charge(&plan, &sub, cycle, TimeDelta::minutes(2))).into_iter().collect();
    let paused = [
        Turn { at: at("2027-02-10T00:00:00Z"), kind: TurnKind::Stopped },
        Turn { at: at("2027-02-11T00:00:00Z"), kind: TurnKind::Resumed { stood_at: Some(1), goes_on: 1 } },
    ];
    for turns in [&[][..], &paused] {
        let standing = Standing { turns, ..standing(&plan, &sub) };
        assert!(standing.is_cancelled_unrecorded());
        let told = audit(&standing, &recorded);
        assert_eq!(told[..3], ["0 done", "1 done", "2 done"]);
        assert_eq!(told[3..], [3, 4, 5].map(|cycle| format!("{cycle} missed cancelled_unrecorded")));
    }
    let turns = [Turn { at: at("2027-04-10T00:00:00Z"), kind: TurnKind::Cancelled }];
    let standing = Standing { turns: &turns, ..standing(&plan, &sub) };
    assert!(!standing.is_cancelled_unrecorded());
    assert_eq!(audit(&standing, &recorded), ["0 done", "1 done", "2 done"], "one that is told of");
}

#[test]
fn a_charge_of_another_date_and_a_subscription_that_did_not_advance_are_odd() {
    let (plan, sub) = (plan(), Subscription { next_cycle: 5, ..subscription() });
    let mut other = charge(&plan, &sub, 3, TimeDelta::zero());
    other.charge.due_on = day("2027-04-12");
    let recorded = [other, charge(&plan, &sub, 5, TimeDelta::zero())];
    let told = audit(&Standing { first_cycle: 3, ..standing(&plan, &sub) }, &recorded);
    assert_eq!(told, ["3 odd other_date", "4 missed passed_over", "5 odd not_advanced"]);
}

#[test]
fn a_charge_that_nobody_sends_is_missed_unless_something_makes_it_wait() {
    let (plan, sub) = (plan(), subscription());
    let mut recorded = charge(&plan, &sub, 5, TimeDelta::zero());
    let mut told = |next_at: &str, sub: &Subscription| {
        recorded.charge.state = State::Due { next_at: at(next_at), doubt: false };
        let told = audit(&Standing { first_cycle: 5, ..standing(&plan, sub) }, &[recorded.clone()]);
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    };
    assert_eq!(told("2027-06-30T09:00:00Z", &sub), "5 missed not_sent");
    assert_eq!(told("2027-06-30T23:30:00Z", &sub), "5 waiting");
    let paused = Subscription { status: SubscriptionStatus::Paused, ..sub.clone() };
    assert_eq!(told("2027-06-30T09:00:00Z", &paused), "5 held the subscription is paused");
}

#[test]
fn a_cycle_to_come_is_missed_when_the_subscription_stands_beyond_it() {
    let plan = plan();
    let early = Span { now: at("2027-06-15T00:00:00Z"), ..span() };
    let verdict = |next_cycle| {
        let sub = Subscription { next_cycle, next_due_at: Some(at("2027-07-31T08:00:00Z")), ..sample() };
        let standing = Standing { first_cycle: 5, ..standing(&plan, &sub) };
        let cycle = standing.cycles(&early).unwrap().next().unwrap().unwrap();
        standing.judge(&early, &cycle, None)
    };
    assert_eq!(verdict(5), None);
    assert_eq!(verdict(6), Some(Verdict::Missed(Missed::PassedOver)));
}

fn ruled(sub: &Subscription, cycle: u32, ruling: Ruling) -> Subscription {
    let mut sub = sub.clone();
    let (reason, by, at) = (String::new(), "ann".to_owned(), at("2027-01-01T00:00:00Z"));
    sub.amendments.overrides.insert(cycle, Override { ruling, reason, by, at });
    sub
}

fn skipped(plan: &Plan, sub: &Subscription, cycle: u32, why: SkipWhy) -> Booked {
    let mut booked = charge(plan, sub, cycle, TimeDelta::minutes(2));
    booked.charge.state = State::Skipped { why, at: booked.at };
    booked
}

#[test]
fn a_cycle_that_a_person_left_out_is_recorded_and_not_charged() {
    let plan = plan();
    let sub = ruled(&subscription(), 4, Ruling::Skip);
    let told = |recorded: &[Booked]| audit(&Standing { first_cycle: 4, ..standing(&plan, &sub) }, recorded);
    let last = charge(&plan, &sub, 5, TimeDelta::zero());
    assert_eq!(told(&[skipped(&plan, &sub, 4, SkipWhy::Person), last.clone()]), ["4 skipped", "5 done"]);
    assert_eq!(told(std::slice::from_ref(&last)), ["4 missed passed_over", "5 done"]);
    let taken = charge(&plan, &sub, 4, TimeDelta::zero());
    assert_eq!(told(&[taken, last]), ["4 odd charged_though_left_out", "5 done"]);
}

/// One that was taken along in the morning has fired, whatever becomes of its subscription before its own hour.
#[test]
fn a_cycle_that_another_charge_collects_has_fired() {
    let plan = plan();
    let sub = Subscription { next_cycle: 6, ..subscription() };
    let told = |sub: &Subscription, turns: &[Turn], booked: Booked| {
        audit(&Standing { first_cycle: 5, turns, ..standing(&plan, sub) }, &[booked])
    };
    let taken =
        |after| Booked { at: charge(&plan, &sub, 5, after).at, ..skipped(&plan, &sub, 5, SkipWhy::Consolidated) };
    assert_eq!(told(&sub, &[], taken(TimeDelta::hours(-2))), ["5 done"]);
    assert_eq!(told(&sub, &[], taken(TimeDelta::hours(5))), ["5 late"]);
    let cancelled = Subscription { status: SubscriptionStatus::Cancelled, ..sub.clone() };
    let at = charge(&plan, &sub, 5, TimeDelta::hours(-1)).at;
    let turns = [Turn { at, kind: TurnKind::Cancelled }];
    assert_eq!(told(&cancelled, &turns, taken(TimeDelta::hours(-2))), ["5 done"]);
    assert_eq!(told(&cancelled, &turns, taken(TimeDelta::zero())), ["5 odd beyond_the_end"]);
    let left_out = ruled(&sub, 5, Ruling::Skip);
    assert_eq!(told(&left_out, &[], taken(TimeDelta::zero())), ["5 odd charged_though_left_out"]);
}

#[test]
fn a_moved_cycle_is_expected_at_its_new_moment() {
    let plan = plan();
    let sub = Subscription { next_cycle: 5, next_due_at: Some(at("2027-07-10T08:00:00Z")), ..sample() };
    let first =
        |sub: &Subscription, recorded: &[Booked]| audit(&Standing { first_cycle: 4, ..standing(&plan, sub) }, recorded);
    let later = ruled(&sub, 4, Ruling::Move { to: day("2027-06-10") });
    let in_june = charge(&plan, &later, 4, TimeDelta::minutes(1));
    assert_eq!(in_june.at, at("2027-06-10T08:01:00Z"));
    let away = ruled(&later, 5, Ruling::Move { to: day("2027-07-10") });
    assert_eq!(first(&away, std::slice::from_ref(&in_june)), ["4 done"], "cycle 5 is to come");
    assert_eq!(first(&later, std::slice::from_ref(&in_june)), ["4 done", "5 missed not_scheduled"]);
    let earlier = ruled(&sub, 5, Ruling::Move { to: day("2027-06-20") });
    assert_eq!(first(&earlier, &[]), ["4 missed passed_over", "5 missed not_scheduled"]);
    let early = charge(&plan, &earlier, 5, TimeDelta::minutes(1));
    let earlier = Subscription { next_cycle: 6, ..earlier };
    assert_eq!(first(&earlier, &[charge(&plan, &sub, 4, TimeDelta::zero()), early]), ["4 done", "5 done"]);
}

#[test]
fn a_pause_with_an_end_is_expected_to_record_what_it_passes_over_and_to_end() {
    let plan = plan();
    let until = |resume_on: &str, due: Option<&str>| {
        let mut sub = Subscription { next_cycle: 4, status: SubscriptionStatus::Paused, ..sample() };
        (sub.amendments.resume_on, sub.next_due_at) = (Some(day(resume_on)), due.map(at));
        sub
    };
    let told =
        |sub: &Subscription, recorded: &[Booked]| audit(&Standing { first_cycle: 4, ..standing(&plan, sub) }, recorded);
    let mut sub = until("2027-08-15", Some("2027-05-31T08:00:00Z"));
    assert_eq!(told(&sub, &[]), ["4 missed not_taken", "5 missed not_taken"], "a pause is no reason to record nothing");
    assert_eq!(told(&until("2027-08-15", None), &[]), ["4 missed not_scheduled", "5 missed not_scheduled"]);
    sub.next_cycle = 6;
    let both = [4, 5].map(|cycle| skipped(&plan, &sub, cycle, SkipWhy::Paused));
    assert_eq!(told(&sub, &both), ["4 skipped", "5 skipped"]);
    // The pause is over, and nobody saw its end.
    let over = until("2027-06-15", Some("2027-05-31T08:00:00Z"));
    assert_eq!(told(&over, &[]), ["4 missed not_taken", "5 missed not_taken"]);
    // It ends on the day of the audit.
    let now = until("2027-07-01", Some("2027-07-01T00:00:00Z"));
    assert_eq!(told(&Subscription { next_cycle: 6, ..now }, &both), ["4 skipped", "5 skipped"]);
    // A charge that waits for a try waits for the end of the pause, and no longer.
    let mut waits = charge(&plan, &sub, 5, TimeDelta::zero());
    waits.charge.state = State::Due { next_at: at("2027-06-30T09:00:00Z"), doubt: false };
    let one =
        |sub: &Subscription| audit(&Standing { first_cycle: 5, ..standing(&plan, sub) }, std::slice::from_ref(&waits));
    assert_eq!(one(&sub), ["5 held the subscription is paused until 2027-08-15"]);
    assert_eq!(one(&Subscription { next_cycle: 6, ..over }), ["5 missed not_sent"]);
}

#[test]
fn what_waited_for_a_person_may_take_as_long_as_anything_once_it_goes_on() {
    let plan = plan();
    let sub = Subscription { next_cycle: 5, next_due_at: Some(at("2027-06-30T08:00:00Z")), ..sample() };
    let went_on = |moment: &str| {
        let stopped = Turn { at: at("2027-06-01T00:00:00Z"), kind: TurnKind::Stopped };
        let kind = TurnKind::Resumed { stood_at: Some(5), goes_on: 5 };
        let turns = [stopped, Turn { at: at(moment), kind }];
        audit(&Standing { first_cycle: 5, turns: &turns, ..standing(&plan, &sub) }, &[])
    };
    assert_eq!(went_on("2027-06-30T23:50:00Z"), ["5 waiting"]);
    assert_eq!(went_on("2027-06-30T20:00:00Z"), ["5 missed not_taken"]);
    assert_eq!(went_on("2027-06-15T00:00:00Z"), ["5 missed not_taken"]);
}

#[test]
fn a_pause_that_ended_by_itself_excuses_nothing() {
    let (plan, sub) = (plan(), subscription());
    let turns = [
        Turn { at: at("2027-03-15T00:00:00Z"), kind: TurnKind::Stopped },
        Turn { at: at("2027-05-01T00:00:00Z"), kind: TurnKind::Awoke },
    ];
    let recorded = [2, 4, 5].map(|cycle| charge(&plan, &sub, cycle, TimeDelta::zero()));
    let told = audit(&Standing { turns: &turns, first_cycle: 2, ..standing(&plan, &sub) }, &recorded);
    assert_eq!(told, ["2 done", "3 missed passed_over", "4 done", "5 done"]);
}

#[test]
fn what_fell_due_while_it_stood_still_is_owed_no_more_once_it_is_cancelled() {
    let plan = plan();
    let sub = Subscription { next_cycle: 3, status: SubscriptionStatus::Cancelled, next_due_at: None, ..sample() };
    let turns = [
        Turn { at: at("2027-05-15T00:00:00Z"), kind: TurnKind::Stopped },
        Turn { at: at("2027-06-15T00:00:00Z"), kind: TurnKind::Cancelled },
    ];
    let of = |turns: &[Turn]| audit(&Standing { turns, first_cycle: 3, ..standing(&plan, &sub) }, &[]);
    // Whatever the first one waited for (a hold, a limit, nobody who took it), a person let it go with the subscription.
    assert_eq!(of(&turns), ["3 skipped", "4 skipped"]);
    assert_eq!(of(&turns[..1])[0], "3 missed cancelled_unrecorded", "no person did");
}

#[test]
fn a_charge_under_the_plan_of_before_fell_due_at_that_plans_hour() {
    let (gold, mut sub) = (plan(), subscription());
    let in_the_morning = charge(&gold, &sub, 5, TimeDelta::minutes(1));
    let mut silver = plan();
    silver.id = crate::id::PlanId::parse("silver").unwrap();
    silver.charge_at = chrono::NaiveTime::from_hms_opt(20, 0, 0).unwrap();
    sub.status = SubscriptionStatus::Cancelled;
    let turns = [Turn { at: at("2027-06-30T12:00:00Z"), kind: TurnKind::Cancelled }];
    let standing = Standing { first_cycle: 5, turns: &turns, ..standing(&silver, &sub) };
    assert_eq!(audit(&standing, std::slice::from_ref(&in_the_morning)), ["5 done"]);
}
