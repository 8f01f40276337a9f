use super::*;
use crate::charge::{Event, Limits, ParkWhy, Ruling, Tries};
use crate::dunning::Next;
use crate::id::{ChargeId, MerchantId, PlanId, Purpose, SubscriptionId};
use crate::money::{Currency, Money};
use crate::verdict::Decline;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(hours.saturating_mul(3_600).saturating_add(1_800_000_000), 0).unwrap()
}

fn sending() -> Charge {
    let merchant = MerchantId(uuid::Uuid::nil());
    let subscription = SubscriptionId::parse("sub-1").unwrap();
    Charge {
        id: ChargeId::of(merchant, &subscription, 4, Purpose::Cycle),
        merchant,
        subscription,
        cycle: 4,
        purpose: Purpose::Cycle,
        plan: PlanId::parse("boxes").unwrap(),
        plan_version: 1,
        amount: Money::new(7_900, Currency::USD),
        carried: None,
        due_on: chrono::NaiveDate::from_ymd_opt(2027, 1, 15).unwrap(),
        due_at: at(0),
        tries: Tries { attempt: 1, submissions: 1, first_sent_at: Some(at(0)), ..Tries::default() },
        state: State::Sending { since: at(0), lease_until: at(1), doubt: false },
    }
}

fn declined(class: DeclineClass, next: Next) -> Event {
    Event::Declined { decline: Decline { class, code: "x".to_owned() }, next }
}

fn step(charge: &Charge, event: Event, when: DateTime<Utc>) -> Charge {
    charge.clone().step(event, when, &Limits::default()).unwrap()
}

fn failing() -> Charge {
    step(&sending(), declined(DeclineClass::LaterFunds, Next::RetryAt(at(72))), at(1))
}

#[test]
fn a_first_decline_opens_a_case_with_a_step_an_end_and_an_action() {
    assert_eq!(case(&sending()), None, "nothing was declined yet");
    let failing = failing();
    let opened = case(&failing).unwrap();
    let standing = Standing::Open { next_step: NextStep::Retry, next_step_at: at(72) };
    assert_eq!((opened.number, opened.opened_at, opened.tries, opened.standing), (1, at(1), 1, standing));
    assert_eq!((opened.ends_at, opened.end_action), (at(72), AtTheEnd::KeepSubscription));
    assert_eq!(news(&sending(), &failing), [News::Opened(opened)]);
}

#[test]
fn what_is_not_known_and_what_waits_for_a_person_have_a_date_too() {
    let sent = step(&failing(), Event::Send { attempt: 2 }, at(72));
    let silent = step(&sent, Event::Silent, at(72));
    let standing = case(&silent).unwrap().standing;
    assert!(matches!(standing, Standing::Open { next_step: NextStep::Ask, .. }), "{standing:?}");
    let parked = Charge { state: State::Parked { why: ParkWhy::OutcomeUnknown, since: at(300) }, ..silent };
    let parked = case(&parked).unwrap();
    let by = Standing::Open { next_step: NextStep::Person, next_step_at: at(300 + 7 * 24) };
    assert_eq!((parked.standing, parked.ends_at), (by, at(300 + 7 * 24)), "it never ends before its next step");
}

#[test]
fn an_end_is_told_once_and_a_case_that_is_taken_up_again_is_another_one() {
    let failing = failing();
    let stopped = step(&failing, Event::Ruled(Ruling::GiveUp { why: GaveUp::Stopped }), at(2));
    let [News::Ended(ended)] = &*news(&failing, &stopped) else { panic!("no end") };
    assert_eq!(ended.standing, Standing::Ended { at: at(2), why: Ended::Failed(GaveUp::Stopped) });
    assert_eq!(news(&stopped, &stopped), []);
    let again = step(&stopped, Event::Ruled(Ruling::TryNow), at(50));
    let [News::Opened(second)] = &*news(&stopped, &again) else { panic!("no second case") };
    assert_eq!((second.number, second.opened_at), (2, at(50)));
    let written_off = step(&stopped, Event::Ruled(Ruling::WriteOff), at(60));
    let why = Ended::Skipped(SkipWhy::WrittenOff);
    assert_eq!(case(&written_off).unwrap().standing, Standing::Ended { at: at(60), why });
    assert_eq!(why.as_str(), "written_off");
}

#[test]
fn a_payment_that_ended_a_case_and_goes_back_for_good_is_told_and_what_was_told_to_end_is_not() {
    let sent = step(&failing(), Event::Send { attempt: 2 }, at(72));
    let paid = step(&sent, Event::Succeeded { amount: sent.amount, returnable: true }, at(73));
    assert!(matches!(&*news(&sent, &paid), [News::Ended(_)]));
    for (next, told) in [
        (Next::GiveUp(GaveUp::EntriesSpent), ["dunning.case.opened", "dunning.case.ended"].as_slice()),
        (Next::RetryAt(at(200)), &["dunning.case.opened"]),
    ] {
        let back = step(&paid, declined(DeclineClass::LaterFunds, next), at(80));
        let found = news(&paid, &back);
        assert_eq!(found.iter().map(News::name).collect::<Vec<_>>(), told);
        assert!(found.iter().all(|one| one.case().number == 1), "it is the case that the payment had ended");
        if let Some(News::Ended(ended)) = found.last() {
            assert_eq!(ended.standing, Standing::Ended { at: at(80), why: Ended::Returned(next.gave_up()) });
            let detail = found[1].detail();
            assert!(detail.starts_with("returned after 2 tries") && detail.contains("may not be asked"), "{detail}");
        }
        let written_off = step(&back, Event::Ruled(Ruling::WriteOff), at(90));
        let ended = news(&back, &written_off);
        assert_eq!(ended.len(), usize::from(case(&back).is_some_and(|case| case.is_open())), "an end is told once");
    }
}

#[test]
fn a_case_that_ends_with_its_first_decline_is_told_to_begin_and_to_end() {
    let failed = step(&sending(), declined(DeclineClass::Never, Next::GiveUp(GaveUp::HardDecline)), at(1));
    let told = news(&sending(), &failed);
    assert!(matches!(&*told, [News::Opened(_), News::Ended(_)]), "{told:?}");
    let details: Vec<String> = told.iter().map(News::detail).collect();
    assert!(details[0].starts_with("class never after 1 tries: no try comes next; ends at "), "{details:?}");
    assert_eq!(details[1], "hard_decline after 1 tries (class never)");
    assert_eq!(news(&failed, &failed), [], "and once");
}

#[test]
fn a_try_that_a_person_ordered_uses_no_step_of_the_ladder() {
    let failing = failing();
    assert_eq!(failing.ladder(at(72)), (2, at(1)), "the next decline is the ladder's second");
    let ordered = step(&failing, Event::Ruled(Ruling::TryNow), at(10));
    assert_eq!(ordered.state.next_at(), Some(at(10)));
    let sent = step(&ordered, Event::Send { attempt: 2 }, at(10));
    assert!(sent.is_by_hand());
    assert_eq!(sent.ladder(at(11)), (1, at(1)), "its decline is none of the ladder's");
    let again = step(&sent, declined(DeclineClass::LaterFunds, Next::RetryAt(at(72))), at(11));
    assert!(!again.is_by_hand());
    assert_eq!((again.ladder(at(72)), again.tries.declined), ((2, at(1)), 2), "the networks count it all the same");
}

#[test]
fn another_method_begins_the_ladder_anew_and_forgets_no_decline() {
    let moved = step(&failing(), Event::Ruled(Ruling::NewMethod), at(72));
    let sent = step(&moved, Event::Send { attempt: 2 }, at(72));
    assert_eq!(sent.ladder(at(80)), (1, at(80)));
    let again = step(&sent, declined(DeclineClass::LaterFunds, Next::RetryAt(at(200))), at(80));
    assert_eq!((again.ladder(at(200)), again.tries.declined), ((2, at(80)), 2));
}

#[test]
fn nothing_is_written_off_or_tried_by_hand_while_it_may_be_under_way() {
    let sent = step(&failing(), Event::Send { attempt: 2 }, at(72));
    let silent = step(&sent, Event::Silent, at(72));
    for charge in [sent, silent] {
        for ruling in [Ruling::WriteOff, Ruling::TryNow, Ruling::PutOff { until: at(99) }] {
            let refused = charge.clone().step(Event::Ruled(ruling), at(73), &Limits::default()).unwrap_err();
            assert_eq!(refused.why, crate::charge::Why::InFlight, "{ruling:?} of {}", charge.state.name());
        }
    }
}
