#![expect(clippy::arithmetic_side_effects, reason = "tests count in small numbers")]

use chrono::{Datelike, NaiveDate};
use proptest::prelude::*;

use super::*;
use crate::calendar::Zone;
use crate::holidays::HolidayCalendar;
use crate::id::ChargeId;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

const HOLIDAYS: HolidayCalendar = HolidayCalendar::UsFederalReserve;

/// Climbs a policy with declines of one class, each learnt the moment it is tried: the instants of the tries, and the end.
fn climb(
    policy: &Policy,
    (class, code, method): (DeclineClass, &str, MethodKind),
    first: DateTime<Utc>,
    zone: &Zone,
    before: Option<NaiveDate>,
) -> (Vec<DateTime<Utc>>, GaveUp) {
    let (mut now, mut step, mut seen) = (first, 0, Vec::new());
    for declined in 1.. {
        let one = Declined {
            charge: ChargeId(uuid::Uuid::from_u128(7)),
            class,
            code,
            method,
            declined,
            in_all: declined,
            first_failed_at: first,
            step,
        };
        let rung = policy.after_decline(&one, &Surroundings { zone, holidays: HOLIDAYS, before }, now).unwrap();
        match rung.next {
            Next::RetryAt(next) => {
                assert!(next > now && rung.step > step);
                seen.push(next);
                (now, step) = (next, rung.step);
            }
            Next::GiveUp(why) => return (seen, why),
        }
    }
    unreachable!()
}

fn told(instants: &[DateTime<Utc>]) -> Vec<String> {
    instants.iter().map(|at| at.format("%Y-%m-%dT%H:%MZ").to_string()).collect()
}

const FUNDS: (DeclineClass, &str, MethodKind) = (DeclineClass::LaterFunds, "insufficient_funds", MethodKind::Card);

#[test]
fn the_standard_policy_has_no_mistakes() {
    assert_eq!(Policy::standard().unwrap().mistakes(), Vec::new());
}

#[test]
fn funds_are_tried_again_on_days_3_8_15_and_22_or_the_payday_within_two_days_at_nine_local() {
    let zone = Zone::parse("America/New_York").unwrap();
    let (seen, why) = climb(&Policy::standard().unwrap(), FUNDS, at("2027-03-01T11:00:05Z"), &zone, None);
    // Days 4, 9, 16 and 23 of March: a Thursday moves to Friday the 5th; none within 2 days of Tuesday the 9th, of the 16th and
    // of the 23rd. DST starts on the 14th: nine local moves from 14:00Z to 13:00Z.
    assert_eq!(told(&seen), ["2027-03-05T14:00Z", "2027-03-09T14:00Z", "2027-03-16T13:00Z", "2027-03-23T13:00Z"]);
    assert_eq!(why, GaveUp::LadderSpent);
}

#[test]
fn debits_are_entered_again_after_five_business_days_and_on_the_payday_after_the_second_return() {
    let policy = Policy::standard().unwrap();
    let zone = Zone::parse("America/Chicago").unwrap();
    // Monday 23 November 2026: Thanksgiving lies between, so five business days later is Tuesday 1 December, a payday.
    let first = at("2026-11-23T16:00:00Z");
    let one = |declined, step| Declined {
        charge: ChargeId(uuid::Uuid::nil()),
        class: DeclineClass::LaterFunds,
        code: "R01",
        method: MethodKind::BankAccount,
        declined,
        in_all: declined,
        first_failed_at: first,
        step,
    };
    let around = Surroundings { zone: &zone, holidays: HOLIDAYS, before: None };
    let rung = policy.after_decline(&one(1, 0), &around, first).unwrap();
    assert_eq!(rung.next, Next::RetryAt(at("2026-12-01T15:00:00Z")));
    // The second return is told on Thursday 3 December.
    let later = policy.after_decline(&one(2, rung.step), &around, at("2026-12-03T20:00:00Z")).unwrap();
    assert_eq!(later.next, Next::RetryAt(at("2026-12-04T15:00:00Z")));
    let end = policy.after_decline(&one(3, later.step), &around, at("2026-12-08T20:00:00Z")).unwrap();
    assert_eq!(end.next, Next::GiveUp(GaveUp::LadderSpent));
}

#[test]
fn no_try_comes_on_or_after_the_day_that_belongs_to_the_next_cycle() {
    let zone = Zone::parse("UTC").unwrap();
    let before = NaiveDate::from_ymd_opt(2027, 3, 5);
    // The payday on the 5th is the next cycle's: the try keeps its own day. The one after it would come too late.
    let (seen, why) = climb(&Policy::standard().unwrap(), FUNDS, at("2027-03-01T11:00:05Z"), &zone, before);
    assert_eq!((told(&seen), why), (vec!["2027-03-04T09:00Z".to_owned()], GaveUp::NextCycleDue));
}

#[test]
fn a_networks_advice_moves_a_try_later_and_never_earlier() {
    let zone = Zone::parse("UTC").unwrap();
    let policy = Policy::standard().unwrap();
    let first = at("2027-03-01T11:00:00Z");
    let tries = |code, class| told(&climb(&policy, (class, code, MethodKind::Card), first, &zone, None).0);
    // Four days: from day 3 to the morning of day 5, and from there on where the policy is later anyway, or four days later.
    assert_eq!(tries("MAC27", DeclineClass::LaterFunds)[0], "2027-03-06T09:00Z");
    assert_eq!(tries("MAC24", DeclineClass::LaterTechnical)[0], "2027-03-01T12:00Z");
    assert_eq!(tries("51+MAC27", DeclineClass::LaterFunds)[0], "2027-03-06T09:00Z");
    assert_eq!(tries("51", DeclineClass::LaterFunds)[0], "2027-03-05T09:00Z");
}

#[test]
fn codes_with_a_budget_of_their_own_end_there() {
    let zone = Zone::parse("UTC").unwrap();
    let policy = Policy::standard().unwrap();
    let end = |code, class| {
        let (seen, why) = climb(&policy, (class, code, MethodKind::Card), at("2027-03-01T11:00:00Z"), &zone, None);
        (seen.len(), why)
    };
    assert_eq!(end("59", DeclineClass::Contact), (1, GaveUp::MustAct));
    assert_eq!(end("R08", DeclineClass::Contact), (0, GaveUp::MustAct));
    assert_eq!(end("05", DeclineClass::Contact), (2, GaveUp::MustAct));
    assert_eq!(end("do_not_honor", DeclineClass::Contact), (2, GaveUp::MustAct));
    assert_eq!(end("stolen_card", DeclineClass::Never), (0, GaveUp::HardDecline));
    assert_eq!(end("expired_card", DeclineClass::NewData), (0, GaveUp::NewMethodNeeded));
}

/// A policy of nine steps, six hours apart, for whatever may be tried again.
fn eager() -> Policy {
    let step = |n: u16| Step { after: Wait::Hours(n * 6), classes: RETRIED.to_vec(), method: None };
    Policy { steps: (1..=9).map(step).collect(), paydays: None, ..Policy::standard().unwrap() }
}

#[test]
fn a_budget_of_a_code_holds_for_an_eager_policy_and_counts_what_a_person_ordered() {
    let zone = Zone::parse("UTC").unwrap();
    let first = at("2027-03-01T11:00:00Z");
    for code in ["05", "do_not_honor"] {
        let (seen, why) = climb(&eager(), (DeclineClass::Contact, code, MethodKind::Card), first, &zone, None);
        assert_eq!(
            (told(&seen), why),
            (vec!["2027-03-01T17:00Z".to_owned(), "2027-03-01T23:00Z".to_owned()], GaveUp::MustAct)
        );
    }
    let one = |declined, in_all| Declined {
        charge: ChargeId(uuid::Uuid::nil()),
        class: DeclineClass::Contact,
        code: "05",
        method: MethodKind::Card,
        declined,
        in_all,
        first_failed_at: first,
        step: 0,
    };
    let around = Surroundings { zone: &zone, holidays: HOLIDAYS, before: None };
    let next = |declined, in_all| eager().after_decline(&one(declined, in_all), &around, first).unwrap().next;
    assert!(matches!(next(1, 2), Next::RetryAt(_)), "a person tried it once beside the policy");
    assert_eq!(next(1, 3), Next::GiveUp(GaveUp::MustAct), "and once more");
    let rule = one(1, 3).spent_budget().unwrap().to_string();
    assert_eq!(
        rule,
        "after 05 (do not honor) a charge is tried 2 times more at most (card_network-05, version 2026-11-26; \
         checkout.com, Visa response codes; Forte and TabaPay where they are stricter)"
    );
    assert_eq!(one(1, 2).spent_budget(), None);
}

#[test]
fn what_nobody_gave_a_reason_for_is_tried_once_in_72_hours_by_whatever_policy() {
    let zone = Zone::parse("America/New_York").unwrap();
    let first = at("2027-03-01T17:00:00Z");
    let tries = |policy: &Policy| {
        let bare = (DeclineClass::Unclassified, "card_declined", MethodKind::Card);
        told(&climb(policy, bare, first, &zone, None).0)
    };
    assert_eq!(tries(&eager())[..1], ["2027-03-04T17:00Z"], "72 hours, where the policy says six");
    // Noon to nine o'clock would be three hours short; from there on the second step is short as well.
    assert_eq!(tries(&Policy::standard().unwrap()), ["2027-03-05T14:00Z", "2027-03-08T14:00Z"]);
}

#[test]
fn contradictions_are_all_named_at_once() {
    let mut policy = Policy::standard().unwrap();
    policy.most_attempts = 40;
    policy.give_up_after_days = 2;
    policy.steps = vec![
        Step { after: Wait::Days(3), classes: vec![DeclineClass::Never], method: None },
        Step { after: Wait::Hours(1), classes: vec![], method: None },
    ];
    assert_eq!(policy.mistakes().len(), 5);
    policy.paydays = None;
    policy.spread_minutes = 31;
    policy.steps.push(Step { after: Wait::NextPayday, classes: vec![DeclineClass::LaterFunds], method: None });
    assert_eq!(policy.mistakes().len(), 7);
}

#[test]
fn nothing_with_a_time_of_its_own_comes_behind_a_payday() {
    let mut policy = Policy::standard().unwrap();
    let step = |after| Step { after, classes: vec![DeclineClass::LaterFunds], method: None };
    policy.steps = vec![step(Wait::Days(1)), step(Wait::NextPayday), step(Wait::Days(3)), step(Wait::NextPayday)];
    let behind = PolicyError::AfterPayday { step: 3 };
    assert_eq!(policy.mistakes(), std::slice::from_ref(&behind));
    assert!(behind.to_string().ends_with("put the steps after \"next payday\" last"), "{behind}");
    policy.steps.swap(2, 3);
    policy.steps.truncate(3);
    assert_eq!(policy.mistakes(), []);
}

#[test]
fn waits_and_paydays_are_read_as_they_are_written() {
    for wait in [Wait::Hours(1), Wait::Days(14), Wait::BusinessDays(5), Wait::NextPayday] {
        assert_eq!(Wait::parse_step(&wait.in_words()), Ok(wait));
    }
    for text in ["1st", "2nd", "3rd", "11th", "15th", "21st", "28th", "last_business_day", "friday"] {
        assert_eq!(Payday::parse(text).unwrap().to_string(), text);
    }
    for text in ["29th", "0th", "1th", "Friday", "", "last", "1"] {
        assert!(Payday::parse(text).is_err(), "{text}");
    }
    assert!(Wait::parse_step("5 busy days").is_err() && Wait::parse_step("0 days").is_err());
    assert!(Wait::parse("5 business days").is_err() && Wait::parse("next payday").is_err());
}

const ZONES: [&str; 8] = [
    "UTC",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Havana",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Africa/Casablanca",
];
const RETRIED: [DeclineClass; 5] = [
    DeclineClass::Contact,
    DeclineClass::LaterFunds,
    DeclineClass::LaterTechnical,
    DeclineClass::Unclassified,
    DeclineClass::Partial,
];
/// The wait after a decline without a reason, in hours, as the rules have it.
const WITHOUT_A_REASON: i64 = 72;

proptest! {
    /// A ladder of n steps gives n tries, each at the stated instant: so many civil days after the first failure at the local hour,
    /// or so many hours after it to the second.
    #[test]
    fn a_ladder_of_n_steps_gives_exactly_n_tries_at_the_stated_instants(
        waits in prop::collection::btree_set(1_u16..60, 0..9),
        first in 0_i64..700_000_000,
        zone in 0_usize..ZONES.len(),
        class in 0_usize..RETRIED.len(),
        (minute, spread) in (0_u32..1_400, 0_u16..=30),
        hours in any::<bool>(),
    ) {
        let zone = Zone::parse(ZONES[zone]).unwrap();
        let first = at("2020-01-01T00:00:00Z") + chrono::TimeDelta::seconds(first);
        let classes = vec![RETRIED[class]];
        let wait = |n: &u16| if hours { Wait::Hours(*n) } else { Wait::Days(*n) };
        let policy = Policy {
            at: NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).unwrap(),
            spread_minutes: spread,
            paydays: None,
            give_up_after_days: 60,
            steps: waits.iter().map(|n| Step { after: wait(n), classes: classes.clone(), method: None }).collect(),
            ..Policy::standard().unwrap()
        };
        let (seen, why) = climb(&policy, (RETRIED[class], "x", MethodKind::Card), first, &zone, None);
        let first_on = zone.civil(first).unwrap().date;
        if RETRIED[class] == DeclineClass::Unclassified {
            let moments = std::iter::once(&first).chain(&seen);
            for (before, after) in moments.zip(&seen) {
                prop_assert!(*after - *before >= chrono::TimeDelta::hours(WITHOUT_A_REASON), "{before} {after}");
            }
            prop_assert!(seen.len() <= waits.len());
            return Ok(());
        }
        prop_assert_eq!((seen.len(), why), (waits.len(), if waits.len() == 9 { GaveUp::TriesSpent } else { GaveUp::LadderSpent }));
        for (n, at) in waits.iter().zip(&seen) {
            if hours {
                prop_assert_eq!(*at, first + chrono::TimeDelta::hours(i64::from(*n)));
            } else {
                // What a clock on the wall shows then, or the time after it where the hour does not exist that day.
                let day = first_on + chrono::Days::new(u64::from(*n));
                let stated = zone.instant(day, policy.at).unwrap();
                let late = *at - stated;
                prop_assert!(late >= chrono::TimeDelta::minutes(-60) && late <= chrono::TimeDelta::minutes(i64::from(spread) + 60));
                prop_assert!(spread > 0 || late.is_zero());
            }
        }
    }

    /// A payday is near, is one, and takes no try away.
    #[test]
    fn paydays_move_tries_and_lose_none(first in 0_i64..700_000_000, zone in 0_usize..ZONES.len()) {
        let zone = Zone::parse(ZONES[zone]).unwrap();
        let first = at("2020-01-01T00:00:00Z") + chrono::TimeDelta::seconds(first);
        let policy = Policy::standard().unwrap();
        let (seen, why) = climb(&policy, FUNDS, first, &zone, None);
        prop_assert_eq!((seen.len(), why), (4, GaveUp::LadderSpent));
        let first_on = zone.civil(first).unwrap().date;
        for (days, at) in [3, 8, 15, 22].into_iter().zip(&seen) {
            let moved = zone.civil(*at).unwrap().date;
            let stated = first_on + chrono::Days::new(days);
            prop_assert!(moved >= stated && moved <= stated + chrono::Days::new(2));
            if moved > stated {
                let last = |day: NaiveDate| HOLIDAYS.is_business_day(day).unwrap()
                    && HOLIDAYS.add_business_days(day, 1).unwrap().month() != day.month();
                let friday = moved.weekday() == chrono::Weekday::Fri;
                prop_assert!(moved.day() == 1 || moved.day() == 15 || friday || last(moved), "{moved}");
            }
        }
    }
}

#[test]
fn a_code_takes_a_step_exactly_where_its_line_says_so() {
    let zone = Zone::parse("America/Chicago").unwrap();
    let policy = Policy::standard().unwrap();
    for row in crate::verdict::Decline::table() {
        let first = at("2027-01-05T12:00:00Z");
        let declined = Declined {
            charge: ChargeId(uuid::Uuid::from_u128(7)),
            class: row.class,
            code: row.code,
            method: MethodKind::Card,
            declined: 1,
            in_all: 1,
            first_failed_at: first,
            step: 0,
        };
        let around = Surroundings { zone: &zone, holidays: HOLIDAYS, before: None };
        let rung = policy.after_decline(&declined, &around, first).unwrap();
        assert_eq!(rung.step > 0, row.takes_step(), "{row:?}: {rung:?}");
        assert_eq!(matches!(rung.next, Next::RetryAt(_)), row.takes_step(), "{row:?}: {rung:?}");
    }
}
