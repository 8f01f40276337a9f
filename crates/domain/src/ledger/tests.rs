#![expect(clippy::arithmetic_side_effects, reason = "tests count in small numbers")]

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::charge::{Carried, ParkWhy, Tries};
use crate::dunning::GaveUp;
use crate::id::{MerchantId, Purpose, SubscriptionId};
use crate::money::Currency;
use crate::settlement::RowKind;
use crate::verdict::DeclineClass;

fn at(hours: i64) -> DateTime<Utc> {
    "2027-01-15T11:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn charged(state: State) -> Charge {
    Charge {
        id: ChargeId(Uuid::from_u128(7)),
        merchant: MerchantId(Uuid::from_u128(1)),
        subscription: SubscriptionId::parse("s").unwrap(),
        cycle: 0,
        purpose: Purpose::Cycle,
        plan: PlanId::parse("gold").unwrap(),
        plan_version: 3,
        amount: usd(7_900),
        carried: None,
        due_on: NaiveDate::from_ymd_opt(2027, 1, 15).unwrap(),
        due_at: at(0),
        tries: Tries { attempt: 2, ..Tries::default() },
        state,
    }
}

fn sending() -> State {
    State::Sending { since: at(1), lease_until: at(2), doubt: false }
}

fn returned() -> State {
    State::Returned {
        class: DeclineClass::Never,
        code: "R01".into(),
        next_at: None,
        why: Some(GaveUp::HardDecline),
        collected: usd(7_900),
        paid_at: at(3),
        at: at(9),
    }
}

fn failed() -> State {
    State::Failed { class: DeclineClass::Never, code: "x".into(), why: GaveUp::HardDecline, at: at(4) }
}

fn skipped(why: SkipWhy) -> State {
    State::Skipped { why, at: at(5) }
}

/// Every state that a charge is stored in, with each reason to skip one.
fn states() -> Vec<State> {
    let mut all = vec![
        State::Due { next_at: at(1), doubt: false },
        sending(),
        State::Unknown { since: at(1), asked: 0, next_at: at(2) },
        State::Settling { since: at(1), asked: 0, next_at: at(2), slow: false },
        State::paid(at(3), usd(7_900)),
        State::paid(at(3), usd(2_000)),
        returned(),
        State::Failing { class: DeclineClass::LaterFunds, code: "x".into(), next_at: at(8) },
        failed(),
        State::Parked { why: ParkWhy::OutcomeUnknown, since: at(3) },
    ];
    all.extend(SkipWhy::ALL.map(skipped));
    all
}

fn told(entries: &[Posting]) -> Vec<String> {
    entries.iter().map(|e| format!("{} {} {} {}", e.posted.as_str(), e.number, e.amount.plain(), e.at)).collect()
}

/// Where entries leave the ledger.
fn level(entries: &[Posting]) -> Level {
    let mut level = Level::default();
    for entry in entries {
        let minor = entry.amount.minor();
        match entry.posted {
            Posted::Billed => level.owed += minor,
            Posted::Reversed => level.owed -= minor,
            Posted::Collected => level.in_hand += minor,
            Posted::Returned => level.in_hand -= minor,
            Posted::Refunded
            | Posted::Disputed
            | Posted::DisputeWon
            | Posted::DisputeLost
            | Posted::WrittenOff
            | Posted::WriteOffUndone
            | Posted::Fee => panic!("a charge posts no {:?}", entry.posted),
        }
    }
    level
}

#[test]
fn a_cycle_is_billed_when_it_falls_due_collected_when_it_is_paid_and_owed_again_when_it_went_back() {
    let recorded = charged(sending());
    assert_eq!(told(&step(None, &recorded, at(1))), ["billed 0 79.00 2027-01-15 11:00:00 UTC"]);
    assert_eq!(told(&step(None, &recorded, at(-1))), ["billed 0 79.00 2027-01-15 10:00:00 UTC"], "recorded early");
    let paid = charged(State::paid(at(3), usd(7_900)));
    assert_eq!(told(&step(Some(&recorded), &paid, at(4))), ["collected 2 79.00 2027-01-15 14:00:00 UTC"]);
    assert_eq!(told(&step(Some(&paid), &charged(returned()), at(9))), ["returned 2 79.00 2027-01-15 20:00:00 UTC"]);
    assert_eq!(step(Some(&recorded), &charged(failed()), at(4)), [], "what failed is owed until it is written off");
}

#[test]
fn what_is_skipped_is_reversed_if_it_was_billed_and_never_billed_otherwise() {
    let cancelled = charged(skipped(SkipWhy::Cancelled));
    assert_eq!(told(&step(Some(&charged(sending())), &cancelled, at(6))), ["reversed 0 79.00 2027-01-15 16:00:00 UTC"]);
    assert_eq!(step(None, &cancelled, at(6)), []);
}

#[test]
fn of_a_part_capture_only_what_was_captured_is_collected_and_the_rest_is_reversed() {
    let paid = charged(State::paid(at(3), usd(2_000)));
    let entries = told(&step(Some(&charged(sending())), &paid, at(3)));
    assert_eq!(entries, ["reversed 0 59.00 2027-01-15 14:00:00 UTC", "collected 2 20.00 2027-01-15 14:00:00 UTC"]);
    // What the bank takes of it is what was captured.
    let back = charge(Level { owed: 2_000, in_hand: 2_000 }, &charged(returned()), paid.id, at(9));
    assert_eq!(told(&back), ["returned 2 20.00 2027-01-15 20:00:00 UTC"]);
}

#[test]
fn a_payment_for_several_bills_its_own_cycle_and_collects_all_of_them() {
    let carries = |state| Charge { carried: Some(Carried { parts: 1, amount: usd(3_000) }), ..charged(state) };
    let lead = carries(sending());
    assert_eq!(told(&step(None, &lead, at(1)))[0], "billed 0 49.00 2027-01-15 11:00:00 UTC");
    let mut part = charged(skipped(SkipWhy::Consolidated));
    (part.id, part.amount, part.plan) = (ChargeId(Uuid::from_u128(8)), usd(3_000), PlanId::parse("pool").unwrap());
    let of_part = charge(Level::default(), &part, lead.id, at(1));
    let plan = of_part[0].plan.as_ref().map(PlanId::as_str);
    assert_eq!((of_part[0].charge, plan, of_part[0].amount), (Some(lead.id), Some("pool"), usd(3_000)));
    let paid = step(Some(&lead), &carries(State::paid(at(3), usd(7_900))), at(3));
    assert_eq!(told(&paid), ["collected 2 79.00 2027-01-15 14:00:00 UTC"]);
    assert_eq!(written_off(&carries(failed()), at(9)).unwrap().amount, usd(7_900), "all of the payment is given up");
}

#[test]
fn a_debt_is_written_off_once_it_is_owed_and_not_otherwise() {
    let entry = written_off(&charged(failed()), at(9)).unwrap();
    assert_eq!((entry.debit(), entry.credit(), entry.amount), (Account::BadDebt, Account::Receivable, usd(7_900)));
    assert_eq!(written_off(&charged(State::paid(at(3), usd(7_900))), at(9)), None);
    assert_eq!(written_off(&charged(skipped(SkipWhy::Person)), at(9)), None);
}

fn contest(standing: Standing, amount: Option<i64>) -> Contest {
    let charge = ChargeId(Uuid::from_u128(7));
    let plan = (PlanId::parse("gold").unwrap(), 3);
    Contest {
        id: DisputeId::of(charge, "d"),
        charge,
        plan,
        standing,
        amount: amount.map(usd),
        there: usd(6_000),
        gone: false,
    }
}

#[test]
fn a_dispute_withdraws_what_it_names_or_all_that_is_there_and_gives_it_back_or_loses_it() {
    let none = Withdrawn::default();
    assert_eq!(
        told(&dispute(none, &contest(Standing::Open, None), Moments::now(at(1))))[0],
        "disputed 0 60.00 2027-01-15 12:00:00 UTC"
    );
    let open = Withdrawn { withdrawn: 6_000, lost: 0, entries: 1 };
    assert_eq!(dispute(open, &contest(Standing::Closed, None), Moments::now(at(2))), [], "nothing new is told");
    let named = told(&dispute(open, &contest(Standing::UnderReview, Some(4_000)), Moments::now(at(2))));
    assert_eq!(named, ["dispute_won 1 20.00 2027-01-15 13:00:00 UTC"], "the amount was told late");
    assert_eq!(
        told(&dispute(open, &contest(Standing::Won, None), Moments::now(at(2)))),
        ["dispute_won 1 60.00 2027-01-15 13:00:00 UTC"]
    );
    assert_eq!(
        told(&dispute(open, &contest(Standing::Lost, None), Moments::now(at(2)))),
        ["dispute_lost 1 60.00 2027-01-15 13:00:00 UTC"]
    );
    assert_eq!(
        dispute(none, &contest(Standing::Won, None), Moments::now(at(2))),
        [],
        "it was won before anybody heard of it"
    );
    let lost = Withdrawn { withdrawn: 6_000, lost: 6_000, entries: 2 };
    assert_eq!(
        dispute(lost, &contest(Standing::Lost, Some(4_000)), Moments::now(at(3))),
        [],
        "what is lost stays lost"
    );
    // Told afterwards, each has its own moment.
    let when = Moments { withdrawn: at(1), decided: at(4) };
    let both = ["disputed 0 60.00 2027-01-15 12:00:00 UTC", "dispute_lost 1 60.00 2027-01-15 15:00:00 UTC"];
    assert_eq!(told(&dispute(none, &contest(Standing::Lost, None), when)), both);
    // The bank took the payment itself: what was withdrawn of it is not withdrawn beside that.
    let gone = |standing| Contest { gone: true, ..contest(standing, None) };
    let back = ["dispute_won 1 60.00 2027-01-15 13:00:00 UTC"];
    assert_eq!(told(&dispute(open, &gone(Standing::UnderReview), Moments::now(at(2)))), back);
    assert_eq!(dispute(none, &gone(Standing::Open), Moments::now(at(2))), []);
}

#[test]
fn no_entry_moves_nothing_or_less_and_its_accounts_are_two() {
    let subject = (Subject::Charge(ChargeId(Uuid::from_u128(7))), Posted::Billed, 0);
    for minor in [0, -1, i64::MIN] {
        let entry = Posting::new(subject, ChargeId(Uuid::nil()), (PlanId::parse("p").unwrap(), 1), usd(minor), at(0));
        assert_eq!(entry, Err(NotAnEntry::NotPositive));
    }
    for posted in Posted::ALL {
        assert_ne!(posted.accounts().0, posted.accounts().1);
        assert_eq!(Posted::parse(posted.as_str()), Some(posted));
    }
    Account::ALL.into_iter().for_each(|account| assert_eq!(Account::parse(account.as_str()), Some(account)));
}

proptest! {
    /// Whatever a charge lives through, what was posted is where it stands; and what mends finds nothing to mend.
    #[test]
    fn the_ledger_stands_where_the_charge_does(steps in prop::collection::vec(0..17_usize, 1..6)) {
        let states = states();
        let mut posted: Vec<Posting> = Vec::new();
        let mut before: Option<Charge> = None;
        for state in steps {
            let after = charged(states[state].clone());
            posted.extend(charge(level(&posted), &after, after.id, at(9)));
            let stands = level(&posted);
            prop_assert_eq!(stands, Level::of(&after, stands));
            prop_assert_eq!(charge(stands, &after, after.id, at(9)), []);
            if let Some(before) = before.replace(after.clone()) {
                // Without a part capture in between, the two states alone say the same.
                let whole = |charge: &Charge| !matches!(&charge.state, State::Paid { collected, .. } if collected.minor() < 7_900);
                if whole(&before) && whole(&after) && Level::of(&before, Level::default()).owed == stands.owed {
                    let moved = level(&step(Some(&before), &after, at(9))).in_hand;
                    prop_assert_eq!(Level::of(&before, Level::default()).in_hand + moved, stands.in_hand);
                }
            }
        }
    }
}

#[test]
fn a_fee_is_posted_on_its_civil_day_with_a_charge_or_without_one() {
    let row = |kind, fee| SettlementRow {
        line: 2,
        kind,
        gateway_id: None,
        key: None,
        gross: usd(7_900),
        fee: usd(fee),
        net: usd(7_900 - fee),
        settled_on: NaiveDate::from_ymd_opt(2027, 1, 31).unwrap(),
        code: None,
        occurrence: 1,
    };
    let (charge, plan) = (ChargeId(Uuid::from_u128(7)), (PlanId::parse("gold").unwrap(), 3));
    let entry = RowId(Uuid::from_u128(8));
    let of_a_payment = fee(entry, &row(RowKind::Payment, 30), Some((charge, plan))).unwrap();
    assert_eq!((of_a_payment.debit(), of_a_payment.credit()), (Account::Fees, Account::Clearing));
    assert_eq!((of_a_payment.charge, of_a_payment.plan_version, of_a_payment.amount), (Some(charge), 3, usd(30)));
    assert_eq!(of_a_payment.at, "2027-01-31T12:00:00Z".parse::<DateTime<Utc>>().unwrap());
    assert_eq!(fee(entry, &row(RowKind::Payment, 0), None), None, "nothing was kept");
    let of_nothing = fee(entry, &row(RowKind::Fee, 0), None).unwrap();
    assert_eq!((of_nothing.charge, of_nothing.plan, of_nothing.amount), (None, None, usd(7_900)));
    assert_eq!(of_nothing.subject, Subject::Row(entry));
}

#[test]
fn what_a_bank_took_back_is_collected_again_or_given_up_as_far_as_it_was_owed() {
    let paid_again = |before: &Charge| {
        let sending = Charge { tries: Tries { attempt: 3, ..Tries::default() }, ..charged(sending()) };
        let paid = Charge { state: State::paid(at(12), usd(7_900)), ..sending.clone() };
        assert_eq!(step(Some(before), &sending, at(11)), [], "it is owed while it is asked for");
        step(Some(&sending), &paid, at(12))
    };
    let [again] = &paid_again(&charged(returned()))[..] else { panic!("one entry") };
    assert_eq!((again.posted, again.number, again.amount), (Posted::Collected, 3, usd(7_900)));
    for collected in [7_900, 3_000] {
        let mut before = charged(returned());
        if let State::Returned { collected: whole, .. } = &mut before.state {
            *whole = usd(collected);
        }
        let after = Charge { state: State::Skipped { why: SkipWhy::WrittenOff, at: at(20) }, ..before.clone() };
        let [given_up] = &ruled(&before, &after, at(20))[..] else { panic!("one entry") };
        assert_eq!((given_up.posted, given_up.amount), (Posted::WrittenOff, usd(collected)));
    }
}
