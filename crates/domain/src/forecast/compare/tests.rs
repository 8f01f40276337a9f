//! Every reason, written out.

use std::collections::BTreeSet;

use super::*;
use crate::authorization::{Authorization, Order};
use crate::charge::Tries;
use crate::dunning::GaveUp;
use crate::id::{ChargeId, MerchantId, Purpose};
use crate::plan::{AmountSpec, PlanSpec, ScheduleSpec};
use crate::subscription::{AdjustmentKind, Applied, Override};
use crate::verdict::DeclineClass;
use crate::wallet::Known;

pub(super) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(super) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub(super) fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

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
            ..ScheduleSpec::default()
        },
        amount: AmountSpec { currency: "USD".into(), value: Some("79.00".into()), ..AmountSpec::default() },
        ..PlanSpec::default()
    }
}

pub(super) fn plan() -> Plan {
    Plan::from_spec(&spec(), 1).unwrap()
}

/// A subscription that starts on 31 January 2027 and stands at its first cycle.
pub(super) fn subscription() -> Subscription {
    crate::subscription::tests::sample()
}

/// January 2027, whose cycle 0 is due on the 31st.
pub(super) fn comparison<'a>() -> Comparison<'a> {
    Comparison {
        month: Month::of(day("2027-01-15"), &Zone::parse("America/Chicago").unwrap()).unwrap(),
        taken_at: at("2027-01-01T06:00:00Z"),
        now: at("2027-02-20T12:00:00Z"),
        holds: &[],
        wallet: &UNASKED,
    }
}

/// Nobody ever asked about a method.
static UNASKED: Wallet = Wallet::new();

pub(super) fn foreseen(minor: i64) -> Foreseen {
    let subscription = subscription();
    Foreseen {
        subscription: subscription.id,
        cycle: 0,
        due_on: day("2027-01-31"),
        counts_on: day("2027-01-31"),
        amount: usd(minor),
        adjusted: 0,
        plan: subscription.plan,
        plan_version: 1,
        method: Some(Rail::Card),
        kind: Kind::Scheduled,
    }
}

pub(super) fn booked(minor: i64, state: State) -> Booked {
    let subscription = subscription();
    let id = ChargeId::of(MerchantId(uuid::Uuid::nil()), &subscription.id, 0, Purpose::Cycle);
    let charge = Charge {
        id,
        merchant: subscription.merchant,
        subscription: subscription.id,
        cycle: 0,
        purpose: Purpose::Cycle,
        plan: subscription.plan,
        plan_version: 1,
        amount: usd(minor),
        due_on: day("2027-01-31"),
        due_at: at("2027-01-31T14:00:00Z"),
        tries: Tries::default(),
        carried: None,
        state,
    };
    Booked { charge, at: at("2027-01-31T14:00:01Z"), payers: Vec::new() }
}

pub(super) const IN_TIME: &str = "2027-01-31T14:00:02Z";
pub(super) const AFTERWARDS: &str = "2027-02-03T14:00:02Z";

pub(super) fn paid(when: &str, minor: i64) -> State {
    State::paid(at(when), usd(minor))
}

fn returned(paid: &str) -> State {
    let (class, code) = (DeclineClass::LaterFunds, "R01".to_owned());
    State::Returned {
        class,
        code,
        next_at: None,
        why: None,
        collected: usd(7_900),
        paid_at: at(paid),
        at: at("2027-02-04T14:00:00Z"),
    }
}

/// A difference in one line: scheduled, collected, and the parts.
fn told(difference: &Difference) -> String {
    let side = |money: Option<Money>| money.map_or_else(|| "-".to_owned(), Money::plain);
    let parts = difference.parts.iter().map(|(reason, amount)| format!(" {} {}", reason.word(), amount.plain()));
    format!("{} {}{}", side(difference.scheduled), side(difference.collected), parts.collect::<String>())
}

/// The same, once it is seen to add up.
#[track_caller]
fn sound(difference: &Difference) -> String {
    let sum: i64 = difference.parts.iter().map(|(_, amount)| amount.minor()).sum();
    assert_eq!(difference.gap(Currency::USD), sum, "{difference:?}");
    told(difference)
}

#[track_caller]
fn judged(row: Option<&Foreseen>, booked: Option<&Booked>, change: impl FnOnce(&mut Subscription)) -> String {
    let (plan, mut subscription) = (plan(), subscription());
    change(&mut subscription);
    let stands = Stands { subscription: &subscription, plan: Some(&plan), first_cycle: Some(0), turns: &[] };
    let found =
        booked.map_or(Found::Nothing, |booked| Found::Charge(Happened { booked, given_back: 0, disputed: &[] }));
    sound(&comparison().judge(row, &found, &Whose::Known(stands)))
}

#[test]
fn what_came_as_foreseen_needs_no_reason() {
    assert_eq!(judged(Some(&foreseen(7_900)), Some(&booked(7_900, paid(IN_TIME, 7_900))), |_| {}), "79.00 79.00");
}

#[test]
fn each_standing_of_a_charge_has_its_name() {
    let since = at(IN_TIME);
    let hold = Authorization { amount: usd(7_900), expires_at: at("2027-02-07T14:00:00Z") };
    let failed = |why| State::Failed { class: DeclineClass::Never, code: "stolen".to_owned(), why, at: since };
    let failing = State::Failing { class: DeclineClass::LaterFunds, code: "nsf".to_owned(), next_at: since };
    let parked = |why| State::Parked { why, since };
    let mut table = vec![
        (State::Planned, "open"),
        (State::Due { next_at: since, doubt: false }, "open"),
        (State::Due { next_at: since, doubt: true }, "unknown"),
        (State::Sending { since, lease_until: since, doubt: false }, "open"),
        (State::Unknown { since, asked: 1, next_at: since }, "unknown"),
        (State::Settling { since, asked: 1, next_at: since, slow: true }, "open"),
        (State::Authorized { hold, asked: 0, next_at: since }, "set_aside"),
        (State::Releasing { hold, order: Order::recorded(since, since) }, "set_aside"),
        (State::Capturing { hold, amount: usd(7_900), order: Order::recorded(since, since) }, "set_aside"),
        (returned(IN_TIME), "returned"),
        (failing, "in_dunning"),
        (failed(GaveUp::HardDecline), "declined"),
        (failed(GaveUp::Person), "declined"),
    ];
    for why in ParkWhy::ALL {
        let word = match why {
            ParkWhy::OutcomeUnknown | ParkWhy::Mismatch | ParkWhy::DamagedInDoubt => "unknown",
            ParkWhy::Rejected
            | ParkWhy::NoMethod
            | ParkWhy::Damaged
            | ParkWhy::WrongMethod
            | ParkWhy::HoldExpired
            | ParkWhy::OutOfBounds => "parked",
        };
        table.push((parked(why), word));
    }
    for (state, word) in table {
        let line = judged(Some(&foreseen(7_900)), Some(&booked(7_900, state.clone())), |_| {});
        assert_eq!(line, format!("79.00 0.00 {word} 79.00"), "{state:?}");
    }
    for (why, word) in [
        (SkipWhy::Cancelled, "cancelled"),
        (SkipWhy::HoldExpired, "hold_expired"),
        (SkipWhy::Missed, "missed"),
        (SkipWhy::Person, "skipped_by_person"),
        (SkipWhy::Paused, "paused"),
    ] {
        // Whatever amount the skipped row has: left out cycles have none.
        for amount in [0, 8_400] {
            let state = State::Skipped { why, at: since };
            let line = judged(Some(&foreseen(7_900)), Some(&booked(amount, state)), |_| {});
            assert_eq!(line, format!("79.00 0.00 {word} 79.00"));
        }
    }
    let zero = State::Skipped { why: SkipWhy::ZeroAmount, at: since };
    assert_eq!(judged(Some(&foreseen(7_900)), Some(&booked(0, zero)), |_| {}), "79.00 0.00 skipped_zero 79.00");
}

#[test]
fn money_that_came_after_the_month_says_why() {
    let late = booked(7_900, paid(AFTERWARDS, 7_900));
    assert_eq!(judged(Some(&foreseen(7_900)), Some(&late), |_| {}), "79.00 0.00 timing 79.00");
    let moved = |row: &mut Subscription| {
        let ruling = Ruling::Move { to: day("2027-02-03") };
        let (reason, by) = (String::new(), String::new());
        row.amendments.overrides.insert(0, Override { ruling, reason, by, at: at(IN_TIME) });
    };
    assert_eq!(judged(Some(&foreseen(7_900)), Some(&late), moved), "79.00 0.00 moved 79.00");
    let mut recovered = late;
    recovered.charge.tries.declined = 2;
    assert_eq!(judged(Some(&foreseen(7_900)), Some(&recovered), moved), "79.00 0.00 recovered_later 79.00");
    // The first instant of the next month is after this one, the last of this one is not.
    let edge = |when| judged(Some(&foreseen(7_900)), Some(&booked(7_900, paid(when, 7_900))), |_| {});
    assert_eq!(edge("2027-02-01T05:59:59.999999Z"), "79.00 79.00");
    assert_eq!(edge("2027-02-01T06:00:00Z"), "79.00 0.00 timing 79.00");
    // Declined and recovered within the month is as foreseen.
    let mut soon = booked(7_900, paid(IN_TIME, 7_900));
    soon.charge.tries.declined = 1;
    assert_eq!(judged(Some(&foreseen(7_900)), Some(&soon), |_| {}), "79.00 79.00");
}

#[test]
fn cycles_of_one_payment_come_to_nothing_over_all_of_them() {
    let judge = |row: Option<&Foreseen>, booked: &Booked| {
        let found = Found::Charge(Happened { booked, given_back: 0, disputed: &[] });
        sound(&comparison().judge(row, &found, &Whose::Absent))
    };
    let lead = |state| {
        let mut lead = booked(8_400, state);
        lead.charge.carried = Some(crate::charge::Carried { parts: 1, amount: usd(500) });
        lead
    };
    let part = booked(500, State::Skipped { why: SkipWhy::Consolidated, at: at(IN_TIME) });
    assert_eq!(judge(Some(&foreseen(7_900)), &lead(paid(IN_TIME, 8_400))), "79.00 84.00 consolidated -5.00");
    assert_eq!(judge(Some(&foreseen(500)), &part), "5.00 0.00 consolidated 5.00");
    // Another price of the part, and a payment that was not made.
    assert_eq!(judge(Some(&foreseen(450)), &part), "4.50 0.00 price_change -0.50 consolidated 5.00");
    let failed = State::Failed {
        class: DeclineClass::LaterFunds,
        code: "insufficient_funds".to_owned(),
        why: GaveUp::LadderSpent,
        at: at(AFTERWARDS),
    };
    assert_eq!(judge(Some(&foreseen(7_900)), &lead(failed)), "79.00 0.00 consolidated -5.00 declined 84.00");
    // Nobody foresaw them.
    assert_eq!(judge(None, &lead(paid(IN_TIME, 8_400))), "- 84.00 new -79.00 consolidated -5.00");
    assert_eq!(judge(None, &part), "- 0.00 new -5.00 consolidated 5.00");
}

#[test]
fn a_charge_may_have_several_reasons_and_they_add_up() {
    let (plan, mut subscription) = (plan(), subscription());
    subscription.amendments.applied = vec![
        Applied { adjustment: 1, kind: AdjustmentKind::Credit, cycle: 0, amount: usd(500), reason: String::new() },
        Applied { adjustment: 2, kind: AdjustmentKind::Charge, cycle: 0, amount: usd(200), reason: String::new() },
        Applied { adjustment: 1, kind: AdjustmentKind::Credit, cycle: 1, amount: usd(9_999), reason: String::new() },
    ];
    let stands = Stands { subscription: &subscription, plan: Some(&plan), first_cycle: None, turns: &[] };
    let judge = |row: &Foreseen, booked: &Booked, given_back, disputed: &[Option<Money>]| {
        let found = Found::Charge(Happened { booked, given_back, disputed });
        sound(&comparison().judge(Some(row), &found, &Whose::Known(stands)))
    };
    // Foreseen 79.00; the price became 84.00, 5.00 were credited and 2.00 charged; 3.00 were not captured, 10.00 refunded.
    let partly = booked(8_100, paid(IN_TIME, 7_800));
    assert_eq!(
        judge(&foreseen(7_900), &partly, 1_000, &[]),
        "79.00 68.00 price_change -5.00 adjusted 3.00 captured_less 3.00 refund 10.00"
    );
    // The snapshot knew of the credit already.
    let mut knew = foreseen(7_400);
    knew.adjusted = -500;
    assert_eq!(judge(&knew, &booked(7_600, paid(IN_TIME, 7_600)), 0, &[]), "74.00 76.00 adjusted -2.00");
    // A credit that leaves nothing to pay is a credit, and a price of nothing costs nothing.
    let zero = booked(0, State::Skipped { why: SkipWhy::ZeroAmount, at: at(IN_TIME) });
    assert_eq!(judge(&foreseen(300), &zero, 0, &[]), "3.00 0.00 adjusted 3.00");
    assert_eq!(judge(&foreseen(7_900), &zero, 0, &[]), "79.00 0.00 skipped_zero 76.00 adjusted 3.00");
    // What went back after money had come late went back of that.
    let late = booked(7_600, paid(AFTERWARDS, 7_600));
    assert_eq!(judge(&knew, &late, 1_000, &[]), "74.00 0.00 timing 66.00 adjusted -2.00 refund 10.00");
    // Refunded, and taken back by the bank as well: more went back than came.
    assert_eq!(judge(&knew, &booked(7_600, returned(IN_TIME)), 1_000, &[]), {
        "74.00 -10.00 adjusted -2.00 refund 10.00 returned 76.00"
    });
    assert_eq!(judge(&knew, &booked(7_600, returned(AFTERWARDS)), 1_000, &[]), {
        "74.00 0.00 timing -10.00 adjusted -2.00 refund 10.00 returned 76.00"
    });
}

#[test]
fn a_dispute_withdraws_what_it_names_and_never_more_than_was_there() {
    let paid = booked(7_900, paid(IN_TIME, 7_900));
    let eur = Money::new(100, Currency::parse("EUR").unwrap());
    for (disputed, collected) in [
        (vec![Some(usd(2_000))], "59.00"),
        (vec![Some(usd(2_000)), Some(usd(1_000))], "49.00"),
        (vec![None], "0.00"),
        (vec![Some(eur)], "0.00"),
        (vec![Some(usd(-5))], "0.00"),
        (vec![Some(usd(9_000))], "0.00"),
        (vec![None, Some(usd(1_000))], "0.00"),
    ] {
        let found = Found::Charge(Happened { booked: &paid, given_back: 0, disputed: &disputed });
        let difference = comparison().judge(Some(&foreseen(7_900)), &found, &Whose::Absent);
        assert_eq!(difference.collected.unwrap().plain(), collected, "{disputed:?}");
        assert_eq!(difference.parts.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(), [Reason::Dispute]);
        sound(&difference);
    }
}

#[test]
fn another_currency_is_a_change_of_price_in_both() {
    let mut row = foreseen(7_000);
    let euro = Currency::parse("EUR").unwrap();
    row.amount = Money::new(7_000, euro);
    let paid = booked(7_900, paid(IN_TIME, 7_900));
    let found = Found::Charge(Happened { booked: &paid, given_back: 0, disputed: &[] });
    let difference = comparison().judge(Some(&row), &found, &Whose::Absent);
    assert_eq!(told(&difference), "70.00 79.00 price_change 70.00 price_change -79.00");
    assert_eq!((difference.gap(euro), difference.gap(Currency::USD)), (7_000, -7_900));
}

#[test]
fn a_charge_that_was_not_foreseen_is_new_or_older_than_the_snapshot_or_of_another_month() {
    let mut new = booked(7_900, paid(IN_TIME, 7_900));
    assert_eq!(judged(None, Some(&new), |_| {}), "- 79.00 new -79.00");
    let failed =
        State::Failed { class: DeclineClass::Never, code: String::new(), why: GaveUp::HardDecline, at: at(IN_TIME) };
    assert_eq!(judged(None, Some(&booked(7_900, failed)), |_| {}), "- 0.00 new -79.00 declined 79.00");
    let skipped = State::Skipped { why: SkipWhy::Cancelled, at: at(IN_TIME) };
    assert_eq!(judged(None, Some(&booked(7_900, skipped)), |_| {}), "- 0.00");
    new.at = comparison().taken_at;
    assert_eq!(judged(None, Some(&new), |_| {}), "- 79.00 before_snapshot -79.00");
    let mut february = foreseen(7_900);
    february.due_on = day("2027-02-02");
    assert_eq!(judged(Some(&february), Some(&new), |_| {}), "- 79.00 timing -79.00");
    // And the other way round: foreseen here, charged in another month.
    new.charge.due_on = day("2027-02-02");
    assert_eq!(judged(Some(&foreseen(7_900)), Some(&new), |_| {}), "79.00 - timing 79.00");
    assert_eq!(judged(Some(&february), Some(&new), |_| {}), "- -", "neither is of this month");
    assert_eq!(judged(None, Some(&new), |_| {}), "- -");
}

#[test]
fn a_foreseen_cycle_without_a_charge_says_why_by_its_subscription() {
    let absent = |change: &dyn Fn(&mut Subscription)| judged(Some(&foreseen(7_900)), None, change);
    let line = |word: &str| format!("79.00 - {word} 79.00");
    let status = |status| move |row: &mut Subscription| row.status = status;
    assert_eq!(absent(&status(SubscriptionStatus::Cancelled)), line("cancelled"));
    assert_eq!(absent(&status(SubscriptionStatus::Ended)), line("cancelled"));
    assert_eq!(absent(&status(SubscriptionStatus::Quarantined)), line("quarantined"));
    assert_eq!(absent(&status(SubscriptionStatus::Paused)), line("paused"));
    assert_eq!(absent(&|row| row.amendments.last_on = Some(day("2027-01-30"))), line("cancelled"));
    assert_eq!(absent(&|row| row.end_on = Some(day("2027-01-30"))), line("cancelled"));
    assert_eq!(absent(&|row| row.next_cycle = 1), line("not_fired"));
    assert_eq!(absent(&|_| {}), line("not_fired"));
    assert_eq!(absent(&|row| row.start_on = day("2027-02-15")), line("timing"), "its cycle has another date now");
    assert_eq!(absent(&|row| row.zone = Some(Zone::parse("UTC").unwrap())), line("not_fired"));
}

#[test]
fn a_foreseen_cycle_without_a_charge_says_why_by_what_is_around_it() {
    let (active, mut retired, subscription) = (plan(), plan(), subscription());
    retired.status = PlanStatus::Retired;
    let row = foreseen(7_900);
    let judge = |comparison: &Comparison<'_>, whose: &Whose<'_>| {
        let line = sound(&comparison.judge(Some(&row), &Found::Nothing, whose));
        line.strip_prefix("79.00 - ").unwrap().strip_suffix(" 79.00").unwrap().to_owned()
    };
    let stands = Stands { subscription: &subscription, plan: Some(&active), first_cycle: Some(0), turns: &[] };
    let (now, early) = (comparison(), Comparison { now: at("2027-01-20T00:00:00Z"), ..comparison() });
    assert_eq!(judge(&now, &Whose::Absent), "not_in_book");
    assert_eq!(judge(&now, &Whose::Unreadable), "unreadable");
    assert_eq!(judge(&now, &Whose::Known(Stands { first_cycle: Some(1), ..stands })), "not_in_book");
    assert_eq!(judge(&now, &Whose::Known(Stands { plan: Some(&retired), ..stands })), "plan_retired");
    assert_eq!(judge(&now, &Whose::Known(Stands { plan: None, ..stands })), "plan_retired");
    assert_eq!(judge(&early, &Whose::Known(stands)), "to_come");
    let hold = Hold {
        id: 1,
        scope: crate::agenda::Scope::All,
        reason: "audit".to_owned(),
        by: "tester".to_owned(),
        since: at("2027-01-20T00:00:00Z"),
        lift: crate::agenda::Lift::Anybody,
        kind: crate::agenda::HoldKind::Operator,
    };
    let holds = [hold];
    assert_eq!(judge(&Comparison { holds: &holds, ..now }, &Whose::Known(stands)), "on_hold");
    assert_eq!(judge(&Comparison { holds: &holds, ..early }, &Whose::Known(stands)), "to_come");
    let method = subscription.method.as_ref().unwrap();
    let mut known = Known::new(method.id, Some(method.kind));
    known.disputed = true;
    let wallet = Wallet::from([(method.id, known)]);
    assert_eq!(judge(&Comparison { wallet: &wallet, ..now }, &Whose::Known(stands)), "method_waits");
    assert_eq!(judge(&Comparison { wallet: &wallet, ..early }, &Whose::Known(stands)), "to_come");
    let mut beyond = subscription.clone();
    beyond.next_cycle = 1;
    let resumed = |stood_at| [Turn { at: now.now, kind: TurnKind::Resumed { stood_at, goes_on: 1 } }];
    for (turns, word) in [(resumed(Some(0)), "paused"), (resumed(None), "paused"), (resumed(Some(1)), "not_fired")] {
        let whose = Whose::Known(Stands { subscription: &beyond, turns: &turns, ..stands });
        assert_eq!(judge(&now, &whose), word);
    }
    // Moved by a person to a day that has not come; and rolled out of the month.
    let mut moved = subscription.clone();
    let ruling = Ruling::Move { to: day("2027-02-25") };
    let (reason, by) = (String::new(), String::new());
    moved.amendments.overrides.insert(0, Override { ruling, reason, by, at: at(IN_TIME) });
    assert_eq!(judge(&now, &Whose::Known(Stands { subscription: &moved, ..stands })), "moved");
    // Left out by a person, before its day and after it.
    let mut left_out = subscription.clone();
    let (ruling, reason, by) = (Ruling::Skip, String::new(), String::new());
    left_out.amendments.overrides.insert(0, Override { ruling, reason, by, at: at(IN_TIME) });
    for when in [&early, &now] {
        let whose = Whose::Known(Stands { subscription: &left_out, ..stands });
        assert_eq!(judge(when, &whose), "skipped_by_person");
    }
    let mut rolls = plan_that_rolls();
    let sunday = Comparison { now: at("2027-02-01T06:00:00Z"), ..comparison() };
    assert_eq!(judge(&sunday, &Whose::Known(Stands { plan: Some(&rolls), ..stands })), "timing");
    rolls.status = PlanStatus::Retired;
    assert_eq!(judge(&sunday, &Whose::Known(Stands { plan: Some(&rolls), ..stands })), "plan_retired");
    // A recorded charge that a hold keeps back.
    let due = booked(7_900, State::Due { next_at: at(IN_TIME), doubt: false });
    let found = Found::Charge(Happened { booked: &due, given_back: 0, disputed: &[] });
    let difference = Comparison { holds: &holds, ..now }.judge(Some(&row), &found, &Whose::Known(stands));
    assert_eq!(sound(&difference), "79.00 0.00 on_hold 79.00");
    assert_eq!(sound(&now.judge(Some(&row), &Found::Unreadable, &Whose::Known(stands))), "79.00 - unreadable 79.00");
}

/// 31 January 2027 is a Sunday: it is submitted on 1 February.
fn plan_that_rolls() -> Plan {
    let mut spec = spec();
    spec.schedule.business_days = Some("next".into());
    spec.schedule.calendar = Some("us-federal-reserve".into());
    Plan::from_spec(&spec, 1).unwrap()
}

#[test]
fn a_pause_with_an_end_keeps_back_what_falls_into_it() {
    let paused_until = |until: &'static str| {
        move |row: &mut Subscription| {
            row.status = SubscriptionStatus::Paused;
            row.amendments.resume_on = Some(day(until));
        }
    };
    assert_eq!(judged(Some(&foreseen(7_900)), None, paused_until("2027-03-01")), "79.00 - paused 79.00");
    assert_eq!(judged(Some(&foreseen(7_900)), None, paused_until("2027-01-20")), "79.00 - paused 79.00");
    let (plan, mut subscription) = (plan(), subscription());
    paused_until("2027-01-20")(&mut subscription);
    let stands = Stands { subscription: &subscription, plan: Some(&plan), first_cycle: None, turns: &[] };
    let early = Comparison { now: at("2027-01-10T00:00:00Z"), ..comparison() };
    let difference = early.judge(Some(&foreseen(7_900)), &Found::Nothing, &Whose::Known(stands));
    assert_eq!(sound(&difference), "79.00 - to_come 79.00", "it goes on before the cycle comes");
}

#[test]
fn the_words_are_told_apart_and_read_back() {
    let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
    let meanings: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.in_words()).collect();
    assert_eq!((words.len(), meanings.len()), (Reason::ALL.len(), Reason::ALL.len()));
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.word()), Some(reason));
    }
    assert!(Reason::ALL.is_sorted(), "reports list them in this order");
    assert_eq!(Reason::parse("weather"), None);
}

#[test]
fn a_month_ends_where_its_zone_says() {
    let ends = |zone: &str| Month::of(day("2027-02-14"), &Zone::parse(zone).unwrap()).unwrap().ends_at.to_rfc3339();
    assert_eq!(ends("UTC"), "2027-03-01T00:00:00+00:00");
    assert_eq!(ends("America/Chicago"), "2027-03-01T06:00:00+00:00");
    let month = comparison().month;
    assert_eq!((month.first, month.last), (day("2027-01-01"), day("2027-01-31")));
    assert!(month.holds(month.first) && month.holds(month.last) && !month.holds(day("2027-02-01")));
}
