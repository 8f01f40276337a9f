//! Random snapshots and random books in all states: nothing is left over, and no reason is named that is not so.
//!
//! The model knows two sums, of what was scheduled and of what came and stayed, and for each reason the condition under which it may
//! be said. It does not know how a difference is taken apart.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "the model counts in small numbers, and looks at the few states in which money is there"
)]

use proptest::prelude::*;

use super::tests::{AFTERWARDS, IN_TIME, at, booked, comparison, day, foreseen, paid, plan, subscription, usd};
use super::*;
use crate::authorization::{Authorization, Order};
use crate::dunning::GaveUp;
use crate::subscription::{AdjustmentKind, Applied, Override};
use crate::verdict::DeclineClass;

/// One cycle of a random book.
#[derive(Debug, Clone)]
struct Case {
    row: Option<Foreseen>,
    /// `None`: no charge; `Some(None)`: one that cannot be read.
    charge: Option<Option<Booked>>,
    given_back: i64,
    disputed: Vec<Option<Money>>,
    subscription: Subscription,
    in_book: u8,
    turns: Vec<Turn>,
    first_cycle: Option<u32>,
    plan: u8,
}

fn state(word: u8, amount: i64, captured: i64, is_late: bool) -> State {
    let since = at(IN_TIME);
    let came = if is_late { AFTERWARDS } else { IN_TIME };
    let hold = || Authorization { amount: usd(amount), expires_at: at("2027-02-07T14:00:00Z") };
    let order = || Order::recorded(since, since);
    let (class, code) = (DeclineClass::LaterFunds, "R01".to_owned());
    match word {
        0 => State::Planned,
        1 => State::Due { next_at: since, doubt: false },
        2 => State::Due { next_at: since, doubt: true },
        3 => State::Sending { since, lease_until: since, doubt: false },
        4 => State::Unknown { since, asked: 0, next_at: since },
        5 => State::Settling { since, asked: 0, next_at: since, slow: true },
        6 => State::Authorized { hold: hold(), asked: 0, next_at: since },
        7 => State::Capturing { hold: hold(), amount: usd(captured), order: order() },
        8 => State::Releasing { hold: hold(), order: order() },
        9 => State::Returned {
            class,
            code,
            next_at: None,
            why: None,
            collected: usd(amount),
            paid_at: at(came),
            at: at(AFTERWARDS),
        },
        10 => State::Failing { class, code, next_at: since },
        11 => State::Failed { class, code, why: GaveUp::TriesSpent, at: since },
        12..=17 => State::Skipped { why: SkipWhy::ALL[usize::from(word - 12)], at: since },
        18..=26 => State::Parked { why: ParkWhy::ALL[usize::from(word - 18)], since },
        _ => paid(came, captured),
    }
}

fn case() -> impl Strategy<Value = Case> {
    let amount = || prop_oneof![1 => Just(0_i64), 8 => 1..100_000_i64];
    let date = || prop_oneof![6 => Just("2027-01-31"), 1 => Just("2026-12-31"), 1 => Just("2027-02-01")];
    let row = proptest::option::weighted(0.8, (amount(), -500..500_i64, date(), 0..10_u8));
    let happened = (0..40_u8, amount(), amount(), any::<bool>(), date(), any::<bool>(), 0..3_u16);
    let charge = proptest::option::weighted(0.8, proptest::option::weighted(0.95, happened));
    let claim = proptest::option::weighted(0.8, -10..100_000_i64).prop_map(|claim| claim.map(usd));
    let money = (prop_oneof![3 => Just(0_i64), 1 => 1..100_000_i64], prop::collection::vec(claim, 0..3));
    let person = (0..5_u8, 0..3_u32, 0..4_u8, prop::collection::vec((any::<bool>(), 1..900_i64), 0..3));
    let around = (0..8_u8, 0..4_u8, proptest::option::weighted(0.8, 0..2_u32), 0..8_u8);
    (row, charge, money, person, around).prop_map(|(row, charge, (given_back, disputed), person, around)| {
        let (status, next_cycle, ruling, applied) = person;
        let (in_book, turn, first_cycle, plan) = around;
        let mut subscription = subscription();
        subscription.status = [
            SubscriptionStatus::Active,
            SubscriptionStatus::Paused,
            SubscriptionStatus::Cancelled,
            SubscriptionStatus::Ended,
            SubscriptionStatus::Quarantined,
        ][usize::from(status)];
        subscription.next_cycle = next_cycle;
        let set = |ruling| Override { ruling, reason: String::new(), by: String::new(), at: at(IN_TIME) };
        match ruling {
            1 => drop(subscription.amendments.overrides.insert(0, set(Ruling::Move { to: day("2027-02-25") }))),
            2 => subscription.amendments.last_on = Some(day("2027-01-30")),
            3 => subscription.amendments.resume_on = Some(day("2027-02-01")),
            _ => {}
        }
        subscription.amendments.applied = applied
            .into_iter()
            .map(|(credits, minor)| {
                let kind = if credits { AdjustmentKind::Credit } else { AdjustmentKind::Charge };
                Applied { adjustment: 1, kind, cycle: 0, amount: usd(minor), reason: String::new() }
            })
            .collect();
        let row = row.map(|(amount, adjusted, due, euro)| {
            let mut row = Foreseen { adjusted, due_on: day(due), ..foreseen(amount) };
            if euro == 0 {
                row.amount = Money::new(amount, Currency::parse("EUR").unwrap());
            }
            row
        });
        let charge = charge.map(|readable| {
            readable.map(|(word, amount, captured, is_late, due, is_old, declined)| {
                let mut booked = booked(amount, state(word, amount, captured.min(amount), is_late));
                booked.charge.due_on = day(due);
                booked.charge.tries.declined = declined;
                if is_old {
                    booked.at = at("2026-12-31T00:00:00Z");
                }
                booked
            })
        });
        let resumed = |stood_at| Turn { at: at(IN_TIME), kind: TurnKind::Resumed { stood_at, goes_on: 1 } };
        let turns = match turn {
            1 => vec![resumed(Some(0))],
            2 => vec![Turn { at: at(IN_TIME), kind: TurnKind::Stopped }],
            _ => Vec::new(),
        };
        Case { row, charge, given_back, disputed, subscription, in_book, turns, first_cycle, plan }
    })
}

fn is_january(date: NaiveDate) -> bool {
    (date.year(), date.month()) == (2027, 1)
}

/// What was scheduled in January, and what came in January and stayed, each with its currency.
fn model(case: &Case) -> (Option<Money>, Option<Money>) {
    let scheduled = case.row.as_ref().filter(|row| is_january(row.due_on)).map(|row| row.amount);
    let Some(Some(Booked { charge, .. })) = &case.charge else { return (scheduled, None) };
    if !is_january(charge.due_on) {
        return (scheduled, None);
    }
    let end = at("2027-02-01T06:00:00Z");
    let net = match &charge.state {
        State::Paid { at, .. } | State::Returned { paid_at: at, .. } if *at >= end => 0,
        State::Paid { collected, .. } => {
            let all = collected.minor();
            let claims = case.disputed.iter().map(|claim| claim.filter(|it| it.minor() > 0).map_or(all, Money::minor));
            all - claims.sum::<i64>().min(all) - case.given_back
        }
        _ => -case.given_back,
    };
    (scheduled, Some(Money::new(net, charge.amount.currency())))
}

/// May a reason be said of a cycle?
fn is_true(reason: Reason, case: &Case) -> bool {
    let charge = match &case.charge {
        Some(Some(booked)) => Some(&booked.charge),
        _ => None,
    };
    let word = charge.map(|charge| charge.state.word());
    let late = matches!(
        charge.map(|charge| &charge.state),
        Some(State::Paid { at, .. } | State::Returned { paid_at: at, .. }) if *at >= comparison().month.ends_at
    );
    let skip = match charge.map(|charge| &charge.state) {
        Some(State::Skipped { why, .. }) => Some(*why),
        _ => None,
    };
    let status = case.subscription.status;
    let none = case.charge.is_none();
    let known = case.in_book > 1;
    let moved = matches!(case.subscription.amendments.overrides.get(&0), Some(one) if one.ruling != Ruling::Skip);
    let stands_before = case.subscription.next_cycle == 0;
    let resumed = case.turns.iter().any(|turn| turn.kind != TurnKind::Stopped);
    match reason {
        Reason::RecoveredLater => late && charge.is_some_and(|charge| charge.tries.declined > 0),
        Reason::Timing => {
            let dates = case.row.as_ref().zip(charge).map(|(row, charge)| (row.due_on, charge.due_on));
            late || dates.is_some_and(|(row, charge)| is_january(row) != is_january(charge))
        }
        Reason::Moved => moved && (late || none),
        Reason::ToCome => false,
        Reason::New | Reason::BeforeSnapshot => {
            let is_old = matches!(&case.charge, Some(Some(booked)) if booked.at <= comparison().taken_at);
            case.row.is_none() && charge.is_some() && is_old == (reason == Reason::BeforeSnapshot)
        }
        Reason::Cancelled => {
            let over = matches!(status, SubscriptionStatus::Cancelled | SubscriptionStatus::Ended);
            let ended = case.subscription.amendments.last_on.is_some();
            skip == Some(SkipWhy::Cancelled) || (none && known && stands_before && (over || ended))
        }
        Reason::Paused => {
            let paused = status == SubscriptionStatus::Paused;
            skip == Some(SkipWhy::Paused) || (none && known && if stands_before { paused } else { resumed })
        }
        Reason::SkippedZero => skip == Some(SkipWhy::ZeroAmount),
        Reason::SkippedByPerson => skip == Some(SkipWhy::Person),
        Reason::Missed => skip == Some(SkipWhy::Missed),
        Reason::HoldExpired => skip == Some(SkipWhy::HoldExpired),
        Reason::PriceChange => case.row.is_some() && charge.is_some() && skip.is_none(),
        Reason::Adjusted => {
            let before = case.row.as_ref().map_or(0, |row| row.adjusted);
            charge.is_some() && (before != 0 || !case.subscription.amendments.applied.is_empty())
        }
        Reason::Consolidated => skip == Some(SkipWhy::Consolidated),
        Reason::CapturedLess => word == Some("paid"),
        Reason::Declined => word == Some("failed"),
        Reason::InDunning => word == Some("failing"),
        Reason::Open => ["planned", "due", "sending"].contains(&word.unwrap_or_default()),
        Reason::SetAside => ["authorized", "capturing", "releasing"].contains(&word.unwrap_or_default()),
        Reason::Parked => word == Some("held"),
        Reason::OnHold | Reason::MethodWaits => false,
        Reason::Quarantined => none && known && status == SubscriptionStatus::Quarantined,
        Reason::PlanRetired => none && case.plan < 2,
        Reason::NotInBook => none && (case.in_book == 0 || case.first_cycle == Some(1)),
        Reason::NotFired => none && known && (!stands_before || status == SubscriptionStatus::Active),
        Reason::Unreadable => case.charge == Some(None) || (none && case.in_book == 1),
        Reason::Unknown => word == Some("outcome_unknown"),
        Reason::Refund => case.given_back > 0 && charge.is_some(),
        Reason::Dispute => word == Some("paid") && !case.disputed.is_empty(),
        Reason::Returned => word == Some("returned"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_over_and_every_reason_is_so(cases in prop::collection::vec(case(), 1..12)) {
        let (active, mut retired) = (plan(), plan());
        retired.status = PlanStatus::Retired;
        let mut tally = Tally::default();
        let mut left: std::collections::BTreeMap<Currency, i128> = std::collections::BTreeMap::new();
        for case in &cases {
            let plan = match case.plan {
                0 => None,
                1 => Some(&retired),
                _ => Some(&active),
            };
            let Case { subscription, turns, first_cycle, .. } = case;
            let whose = match case.in_book {
                0 => Whose::Absent,
                1 => Whose::Unreadable,
                _ => Whose::Known(Stands { subscription, plan, first_cycle: *first_cycle, turns }),
            };
            let found = match &case.charge {
                None => Found::Nothing,
                Some(None) => Found::Unreadable,
                Some(Some(booked)) => {
                    Found::Charge(Happened { booked, given_back: case.given_back, disputed: &case.disputed })
                }
            };
            let difference = comparison().judge(case.row.as_ref(), &found, &whose);
            let (scheduled, collected) = model(case);
            prop_assert_eq!(difference.scheduled, scheduled);
            prop_assert_eq!(difference.collected, collected, "{:?}", case);
            for (side, sign) in [(scheduled, 1), (collected, -1)] {
                if let Some(money) = side {
                    *left.entry(money.currency()).or_default() += sign * i128::from(money.minor());
                }
            }
            for (reason, amount) in &difference.parts {
                prop_assert!(is_true(*reason, case), "{} is not so: {case:?}", reason.word());
                prop_assert!(!amount.is_zero());
            }
            tally.add("all", &difference);
        }
        for (currency, sums) in tally.by_currency() {
            let residue = left.remove(&currency).unwrap_or_default() - sums.named();
            prop_assert_eq!(residue, 0, "{} in {:?}", currency, cases);
            prop_assert_eq!(sums.scheduled - sums.collected, sums.named());
        }
        prop_assert!(left.values().all(|minor| *minor == 0), "{left:?}");
    }
}
