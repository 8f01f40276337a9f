//! The machine against its table, and the rules against the clock.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::*;
use crate::charge::{self, Limits};
use crate::id::{Environment, PlanId, Purpose};
use crate::money::Currency;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds.saturating_add(1_800_000_000), 0).unwrap()
}

fn dollars(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn paid() -> charge::Charge {
    let merchant = MerchantId(uuid::Uuid::nil());
    let subscription = SubscriptionId::parse("sub-1").unwrap();
    charge::Charge {
        id: ChargeId::of(merchant, &subscription, 4, Purpose::Cycle),
        merchant,
        subscription,
        cycle: 4,
        purpose: Purpose::Cycle,
        plan: PlanId::parse("wellness").unwrap(),
        plan_version: 1,
        amount: dollars(7_900),
        carried: None,
        due_on: NaiveDate::from_ymd_opt(2027, 1, 15).unwrap(),
        due_at: at(0),
        tries: charge::Tries::default(),
        state: charge::State::paid(at(0), dollars(7_900)),
    }
}

fn asked(refunds: &[Refund], amount: Option<i64>, when: DateTime<Utc>) -> Result<Refund, NotRefundable> {
    let charge = paid();
    let ledger = Ledger { charge: &charge, payment_id: Some("pay-1"), refunds, disputed: false };
    let environment = Environment::parse("test").unwrap();
    let wish = Wish { amount: amount.map(dollars), ..Wish::all(Reason::parse("returned").unwrap()) };
    ask(&environment, &ledger, &wish, when)
}

fn refund(state: State) -> Refund {
    Refund { state, ..asked(&[], None, at(0)).unwrap() }
}

fn states() -> Vec<Refund> {
    let mut all = Vec::new();
    let known = [(None, None), (Some("rf-1"), None), (None, Some("rf-1"))];
    for (gateway_id, hint) in known {
        let mut states = vec![
            State::Recorded { next_at: at(0), put_off: 0 },
            State::Recorded { next_at: at(0), put_off: 40 },
            State::Sending { since: at(0), lease_until: at(90) },
            State::Refunded { at: at(0) },
            State::PartlyRefunded { given_back: dollars(100), code: "x".into(), at: at(0) },
        ];
        for asked in [0, 3, 60] {
            states.push(State::Settling { since: at(0), asked, next_at: at(5) });
            states.push(State::Unknown { since: at(0), asked, next_at: at(5) });
        }
        states.extend(FailWhy::ALL.map(|why| State::Failed { why, code: "x".into(), at: at(0) }));
        states.extend(ParkWhy::ALL.map(|why| State::Parked { why, since: at(0) }));
        let owned = |id: Option<&str>| id.map(ToOwned::to_owned);
        all.extend(states.into_iter().map(|state| Refund {
            gateway_id: owned(gateway_id),
            hint: owned(hint),
            ..refund(state)
        }));
    }
    all
}

fn events() -> Vec<Event> {
    let id = || "rf-1".to_owned();
    let code = || "card_gone".to_owned();
    let mut all = vec![
        Event::Send,
        Event::PutOff { wait: None },
        Event::PutOff { wait: Some(TimeDelta::seconds(40)) },
        Event::Refuse { code: code() },
        Event::Withdraw,
        Event::LeaseRanOut,
        Event::Accepted { id: id() },
        Event::Declined { id: None, code: code() },
        Event::Declined { id: Some(id()), code: code() },
        Event::Rejected { code: code() },
        Event::NotExecuted { wait: None, code: code() },
        Event::KeyUsed,
        Event::Absent,
        Event::Silent,
        Event::Mismatch,
        Event::Learnt { id: id() },
        Event::Learnt { id: "rf-2".to_owned() },
        Event::JudgedRefunded { id: id() },
        Event::JudgedNotExecuted,
    ];
    for minor in [7_899, 7_900, 7_901] {
        all.push(Event::Completed { id: id(), amount: dollars(minor) });
        all.push(Event::PartlyCompleted { id: id(), given_back: dollars(minor), code: code() });
    }
    all
}

#[test]
fn the_machine_is_exactly_its_table_of_arrows() {
    let limits = Limits::default();
    let mut walked = BTreeSet::new();
    for before in states() {
        for event in events() {
            for when in [at(10), at(2_000_000)] {
                let (from, name) = (before.state.name(), event.name());
                match before.clone().step(event.clone(), when, &limits) {
                    Ok(next) => {
                        let to = next.state.name();
                        let drawn = ARROWS.iter().any(|(f, e, t)| *f == from && *e == name && t.contains(&to));
                        assert!(drawn, "{from} --{name}--> {to} is not in ARROWS");
                        walked.insert((from, name, to));
                    }
                    Err(refused) => assert_eq!((refused.from, refused.event), (from, name)),
                }
            }
        }
    }
    for (from, event, to) in ARROWS {
        for to in *to {
            assert!(walked.contains(&(*from, *event, *to)), "{from} --{event}--> {to} is never walked");
        }
    }
}

#[test]
fn what_was_sent_is_never_sent_again() {
    let to_sending: Vec<_> = ARROWS.iter().filter(|(_, _, to)| to.contains(&"sending")).map(|row| row.0).collect();
    assert_eq!(to_sending, ["recorded", "sending"]);
    let to_recorded: Vec<_> = ARROWS.iter().filter(|(_, _, to)| to.contains(&"recorded")).map(|row| row.0).collect();
    assert_eq!(to_recorded, ["recorded"]);
    for before in states().into_iter().filter(|one| one.state.name() != "recorded") {
        assert!(before.step(Event::Send, at(1), &Limits::default()).is_err());
    }
}

#[test]
fn final_states_take_nothing_but_a_persons_own_correction() {
    for before in states() {
        let corrected = matches!(before.state, State::Failed { why: FailWhy::Person, .. });
        if !matches!(before.state.name(), "refunded" | "partly_refunded" | "failed") {
            continue;
        }
        for event in events() {
            let allowed = corrected && event.name() == "judged_refunded";
            assert_eq!(before.clone().step(event, at(1), &Limits::default()).is_ok(), allowed);
        }
    }
}

#[test]
fn a_lost_answer_is_a_persons_at_once_unless_an_id_was_named() {
    let limits = Limits::default();
    let sending = refund(State::Sending { since: at(0), lease_until: at(90) });
    for event in [Event::Silent, Event::LeaseRanOut, Event::KeyUsed] {
        let lost = sending.clone().step(event.clone(), at(9), &limits).unwrap();
        assert_eq!((lost.state.name(), lost.state.next_at()), ("parked", None));
        let told = sending.clone().step(Event::Learnt { id: "rf-1".into() }, at(5), &limits).unwrap();
        let asked = told.step(event, at(9), &limits).unwrap();
        assert_eq!(asked.state, State::Unknown { since: at(9), asked: 0, next_at: at(9) });
        assert_eq!(asked.known_as(), Some("rf-1"));
    }
}

#[test]
fn a_named_id_proves_nothing_and_a_wrong_one_is_forgotten() {
    let limits = Limits::default();
    let parked = refund(State::Parked { why: ParkWhy::AnswerLost, since: at(0) });
    let told = parked.clone().step(Event::Learnt { id: "rf-9".into() }, at(5), &limits).unwrap();
    assert_eq!((told.gateway_id.as_deref(), told.hint.as_deref()), (None, Some("rf-9")));
    let other = told.clone().step(Event::Learnt { id: "rf-1".into() }, at(6), &limits).unwrap_err();
    assert_eq!(other.why, Why::OtherId);
    let wrong = told.clone().step(Event::Mismatch, at(6), &limits).unwrap();
    assert_eq!(wrong, Refund { state: State::Parked { why: ParkWhy::AnswerLost, since: at(6) }, ..parked });
    let right = wrong.step(Event::Learnt { id: "rf-1".into() }, at(7), &limits).unwrap();
    let done = right.step(Event::Completed { id: "rf-1".into(), amount: dollars(7_900) }, at(8), &limits).unwrap();
    assert_eq!((done.gateway_id.as_deref(), done.hint.as_deref(), done.state.word()), (Some("rf-1"), None, "refunded"));
    // Nobody confirms it to the end of the ladder: a person's again, and the next id is as good as the first.
    let mut waiting = told;
    while let Some(next) = waiting.state.next_at() {
        waiting = waiting.step(Event::Absent, next, &limits).unwrap();
    }
    assert_eq!((waiting.state.name(), waiting.hint), ("parked", None));
}

#[test]
fn a_person_says_not_executed_only_once_the_gateway_has_had_time_to_execute_it() {
    let limits = Limits::default();
    let parked = refund(State::Parked { why: ParkWhy::AnswerLost, since: at(0) });
    let early = parked.clone().step(Event::JudgedNotExecuted, at(899), &limits).unwrap_err();
    assert_eq!(early.why, Why::TooYoung);
    let judged = parked.step(Event::JudgedNotExecuted, at(900), &limits).unwrap();
    assert!(matches!(judged.state, State::Failed { why: FailWhy::Person, .. }));
}

#[test]
fn a_pending_refund_is_asked_about_for_a_fortnight_and_then_is_a_persons() {
    let limits = Limits::default();
    let sending = refund(State::Sending { since: at(0), lease_until: at(90) });
    let mut now = sending.step(Event::Accepted { id: "rf-1".into() }, at(0), &limits).unwrap();
    let mut asked = Vec::new();
    while let Some(next) = now.state.next_at() {
        asked.push(next.signed_duration_since(at(0)));
        now = now.step(Event::Accepted { id: "rf-1".into() }, next, &limits).unwrap();
    }
    assert_eq!(asked, ladder(&limits));
    assert_eq!(asked.last(), Some(&TimeDelta::days(14)));
    assert_eq!(now.state, State::Parked { why: ParkWhy::OutcomeUnknown, since: at(14 * 86_400) });
}

#[test]
fn everything_counts_against_what_was_collected_until_it_is_proven_not_to_have_moved() {
    for one in states() {
        let expected = match one.state.name() {
            "failed" => 0,
            "partly_refunded" => 100,
            _ => 7_900,
        };
        assert_eq!(one.may_have_moved(), dollars(expected), "{:?}", one.state);
        assert!(one.given_back().minor() <= one.may_have_moved().minor());
        let moved = one.state.money_moved();
        assert_eq!(moved == Some(true), one.given_back().is_positive());
    }
}

#[test]
fn no_sequence_of_refunds_may_give_back_more_than_was_collected() {
    let mut refunds = Vec::new();
    for (amount, expected) in
        [(Some(5_000), Ok(5_000)), (Some(3_000), Err(2_900)), (None, Ok(2_900)), (Some(1), Err(0))]
    {
        match (asked(&refunds, amount, at(60)), expected) {
            (Ok(one), Ok(minor)) => {
                assert_eq!((one.amount, one.whole), (dollars(minor), false));
                refunds.push(one);
            }
            (Err(NotRefundable::TooMuch { left, .. }), Err(minor)) => assert_eq!(left, dollars(minor)),
            (Err(NotRefundable::NothingLeft { collected }), Err(0)) => assert_eq!(collected, dollars(7_900)),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }
    assert_eq!(refunds.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2]);
    // One that proved not to be executed may be asked for again, under a number and a key of its own.
    refunds[0].state = State::Failed { why: FailWhy::Declined, code: "x".into(), at: at(70) };
    let again = asked(&refunds, None, at(80)).unwrap();
    assert_eq!((again.amount, again.number), (dollars(5_000), 3));
    assert_ne!(again.key, refunds[0].key);
}

#[test]
fn only_a_paid_charge_within_its_time_and_undisputed_is_refunded() {
    let environment = Environment::parse("test").unwrap();
    let wish = Wish::all(Reason::parse("returned").unwrap());
    let charge = paid();
    let ledger = Ledger { charge: &charge, payment_id: Some("p"), refunds: &[], disputed: false };
    let tried = |ledger: &Ledger<'_>, when| ask(&environment, ledger, &wish, when);
    let last = at(180 * 86_400);
    assert!(tried(&ledger, last).is_ok_and(|one| one.whole));
    let late = tried(&ledger, last + TimeDelta::seconds(1)).unwrap_err();
    assert!(matches!(late, NotRefundable::TooOld { .. }));
    assert_eq!(tried(&Ledger { disputed: true, ..ledger }, at(1)).unwrap_err(), NotRefundable::Disputed);
    assert_eq!(tried(&Ledger { payment_id: None, ..ledger }, at(1)).unwrap_err(), NotRefundable::NoPayment);
    for state in [
        charge::State::Planned,
        charge::State::Due { next_at: at(0), doubt: true },
        charge::State::Sending { since: at(0), lease_until: at(1), doubt: false },
        charge::State::Unknown { since: at(0), asked: 0, next_at: at(1) },
        charge::State::Settling { since: at(0), asked: 0, next_at: at(1), slow: true },
        charge::State::Skipped { why: charge::SkipWhy::ZeroAmount, at: at(0) },
        charge::State::Parked { why: charge::ParkWhy::Mismatch, since: at(0) },
    ] {
        let charge = charge::Charge { state, ..paid() };
        let refused = tried(&Ledger { charge: &charge, ..ledger }, at(1)).unwrap_err();
        assert_eq!(refused, NotRefundable::NotPaid { word: charge.state.word() });
    }
    for minor in [0, -1] {
        assert!(matches!(asked(&[], Some(minor), at(1)), Err(NotRefundable::BadAmount { .. })));
    }
}

#[test]
fn a_reason_is_short_plain_text() {
    assert_eq!(Reason::parse("  returned one of three ").unwrap().as_str(), "returned one of three");
    assert!(Reason::parse(&"ä".repeat(50)).is_ok());
    for bad in ["", "   ", &"x".repeat(51), "two\nlines", "card 4242 4242 4242 4242"] {
        assert!(Reason::parse(bad).is_err(), "{bad}");
    }
}
