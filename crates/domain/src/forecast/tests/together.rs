//! Subscriptions that are walked together, written out.

use super::*;
use crate::agenda::{observe, planned};
use crate::charge::{Event, State};
use crate::id::{PaymentMethodId, SubscriptionId};
use crate::subscription::Method;
use crate::verdict::{Decline, Seen};

/// A subscription that starts on a day of January and pays with the card of that number.
fn paying(id: &str, plan: &Plan, start_on: &str, card: u128) -> Subscription {
    let mut made = crate::subscription::tests::sample();
    (made.id, made.plan) = (SubscriptionId::parse(id).unwrap(), plan.id.clone());
    (made.start_on, made.anchor_day) = (day(start_on), None);
    let id = PaymentMethodId(uuid::Uuid::from_u128(card));
    made.method = Some(Method { id, kind: MethodKind::Card, consent: None });
    let (cycle, due) = crate::agenda::enrol(plan, &made, as_of()).unwrap();
    (made.next_cycle, made.next_due_at) = (cycle, due);
    made
}

fn as_of() -> DateTime<Utc> {
    "2027-01-01T06:00:00Z".parse().unwrap()
}

fn catalog(plans: &[Plan]) -> Catalog {
    let mut catalog = Catalog::default();
    catalog.plans.extend(plans.iter().map(|plan| (plan.id.clone(), plan.clone())));
    catalog
}

/// What is said of these subscriptions with these charges under way, a line a charge: whose, which, its day, amount, reasons, declined
/// tries where there are any, and the day on which it is collected.
fn said(plans: &[Plan], rows: &[(Subscription, Vec<Charge>)], scenario: &Scenario, until: &str) -> Vec<String> {
    let (catalog, wallet, limits) = (catalog(plans), Wallet::new(), Limits::default());
    let given = Assumptions {
        notices: Notices::Assumed,
        catalog: &catalog,
        holds: &[],
        wallet: &wallet,
        limits: &limits,
        as_of: as_of(),
        until: day(until),
        scenario,
    };
    let members: Vec<Member<'_>> =
        rows.iter().map(|(subscription, open)| Member { subscription, open, past: Past::Clean }).collect();
    let mut lines = Vec::new();
    let troubles = Forecaster::new(given).unwrap().walk_together(&members, &mut |place, entry| {
        assert_eq!(entry.subscription, members[place].subscription);
        let mut line = format!("{} {} {} {}", entry.subscription.id, entry.cycle, entry.on, entry.amount.plain());
        entry.risks.iter().for_each(|risk| line.push_str(&format!(" {}", risk.word())));
        if entry.declined > 0 {
            line.push_str(&format!(" declined {}", entry.declined));
        }
        entry.pieces.iter().for_each(|piece| line.push_str(&format!(" paid {}", piece.on)));
        lines.push(line);
    });
    assert!(troubles.iter().all(Option::is_none), "{troubles:?}");
    lines
}

fn alone(rows: Vec<Subscription>) -> Vec<(Subscription, Vec<Charge>)> {
    rows.into_iter().map(|row| (row, Vec::new())).collect()
}

/// Tries of one subscription and cycle that are declined so.
fn declined(lines: &[(&str, Option<u32>, Option<u16>, DeclineClass)]) -> Scenario {
    let mut script = Script::default();
    for (id, cycle, attempt, class) in lines {
        let which = Which { subscription: SubscriptionId::parse(id).ok(), cycle: *cycle, attempt: *attempt };
        script.add(which, Outcome::Declined(*class));
    }
    Scenario::Script(script)
}

#[test]
fn a_card_that_may_never_be_tried_again_is_tried_for_nobody() {
    let plan = plan(|_| {});
    let rows = || {
        alone(vec![
            paying("a", &plan, "2027-01-10", 1),
            paying("b", &plan, "2027-01-05", 1),
            paying("c", &plan, "2027-01-20", 1),
            paying("d", &plan, "2027-01-20", 2),
        ])
    };
    // b's first cycle is tried again on the 8th and the 13th: the card is gone by then.
    let never = declined(&[
        ("b", Some(0), Some(1), DeclineClass::LaterFunds),
        ("b", Some(0), Some(2), DeclineClass::LaterFunds),
        ("a", Some(0), None, DeclineClass::Never),
    ]);
    let lines = said(std::slice::from_ref(&plan), &rows(), &never, "2027-01-31");
    assert_eq!(
        lines,
        [
            "a 0 2027-01-10 79.00 given_up declined 1",
            "b 0 2027-01-05 79.00 given_up declined 2",
            "c 0 2027-01-20 79.00 network_rule",
            "d 0 2027-01-20 79.00 paid 2027-01-20",
        ]
    );
    // The same subscriptions one by one do not know of each other.
    let each: Vec<String> =
        rows().into_iter().flat_map(|row| said(std::slice::from_ref(&plan), &[row], &never, "2027-01-31")).collect();
    assert!(each.contains(&"c 0 2027-01-20 79.00 paid 2027-01-20".to_owned()), "{each:?}");
}

/// Two that are sent at the same moment are both sent: neither knows what becomes of the other.
#[test]
fn what_is_sent_at_one_moment_is_recorded_before_any_of_it_is_answered() {
    let plan = plan(|_| {});
    let rows = alone(vec![paying("a", &plan, "2027-01-10", 1), paying("b", &plan, "2027-01-10", 1)]);
    let never = declined(&[("a", None, None, DeclineClass::Never)]);
    let lines = said(&[plan], &rows, &never, "2027-02-28");
    assert_eq!(
        lines,
        [
            "a 0 2027-01-10 79.00 given_up declined 1",
            "a 1 2027-02-10 79.00 paused",
            "b 0 2027-01-10 79.00 paid 2027-01-10",
            "b 1 2027-02-10 79.00 network_rule",
        ]
    );
}

#[test]
fn what_becomes_of_a_payment_becomes_of_every_cycle_that_it_collects() {
    let of = |id: &str, hour: &str, price: &str| {
        plan(|spec| {
            (spec.id, spec.schedule.charge_at, spec.amount.value) = (id.into(), hour.into(), Some(price.into()));
            spec.collect.consolidate = Some("customer_and_day".into());
        })
    };
    let plans = [of("gym", "18:00", "30.00"), of("pool", "06:00", "12.50")];
    let rows = || alone(vec![paying("a", &plans[0], "2027-01-10", 1), paying("b", &plans[1], "2027-01-10", 1)]);
    // The pool's cycle falls due first and leads: what is said of the gym's is not asked.
    let later = declined(&[("b", Some(0), Some(1), DeclineClass::LaterFunds), ("a", None, None, DeclineClass::Never)]);
    assert_eq!(
        said(&plans, &rows(), &later, "2027-01-31"),
        ["a 0 2027-01-10 30.00 declined 1 paid 2027-01-15", "b 0 2027-01-10 12.50 declined 1 paid 2027-01-15",]
    );
    // A payment that fails for good stops everybody whom it was to pay for.
    let never = declined(&[("b", None, None, DeclineClass::Never)]);
    assert_eq!(
        said(&plans, &rows(), &never, "2027-02-28"),
        [
            "a 0 2027-01-10 30.00 given_up declined 1",
            "a 1 2027-02-10 30.00 paused",
            "b 0 2027-01-10 12.50 given_up declined 1",
            "b 1 2027-02-10 12.50 paused",
        ]
    );
}

/// The end of the window changes nothing of a payment: its lead lies behind it, what it collects before.
#[test]
fn a_payment_whose_lead_falls_due_after_the_window_is_answered_as_its_lead_is() {
    let of = |id: &str, hour: &str, rolls: bool| {
        plan(|spec| {
            (spec.id, spec.schedule.charge_at) = (id.into(), hour.into());
            spec.collect.consolidate = Some("customer_and_day".into());
            if rolls {
                let roll = (Some("next".into()), Some("us-federal-reserve".into()));
                (spec.schedule.business_days, spec.schedule.calendar) = roll;
            }
        })
    };
    // The 31st is a Sunday.
    let plans = [of("late", "18:00", true), of("early", "06:00", false)];
    let rows = alone(vec![paying("a", &plans[0], "2027-01-31", 1), paying("b", &plans[1], "2027-02-01", 1)]);
    let later = declined(&[("b", None, Some(1), DeclineClass::LaterFunds)]);
    assert_eq!(
        said(&plans, &rows, &later, "2027-01-31"),
        ["a 0 2027-01-31 79.00 declined 1 paid 2027-02-05"],
        "the payday after the payment was declined"
    );
}

/// Ten declined tries of a card within a day are the most that a network allows; who comes after them waits for the next.
#[test]
fn the_tries_that_a_network_leaves_go_to_those_who_come_first() {
    let plan = plan(|_| {});
    let ids: Vec<String> = (0..12).map(|n| format!("s-{n:02}")).collect();
    let rows = alone(ids.iter().map(|id| paying(id, &plan, "2027-01-10", 1)).collect());
    let lines: Vec<_> = ids.iter().map(|id| (id.as_str(), Some(0), Some(1), DeclineClass::LaterFunds)).collect();
    let lines = said(&[plan], &rows, &declined(&lines), "2027-01-31");
    let first = |n: usize| format!("s-{n:02} 0 2027-01-10 79.00 declined 1 paid 2027-01-15");
    let then = |n: usize| format!("s-{n:02} 0 2027-01-11 79.00 declined 1 paid 2027-01-15");
    assert_eq!(lines, (0..10).map(first).chain((10..12).map(then)).collect::<Vec<_>>());
}

#[test]
fn whoever_waits_for_tries_that_are_paid_goes_on_at_once() {
    let plan = plan(|_| {});
    let ids: Vec<String> = (0..25).map(|n| format!("s-{n:02}")).collect();
    let rows = alone(ids.iter().map(|id| paying(id, &plan, "2027-01-10", 1)).collect());
    let lines = said(&[plan], &rows, &declined(&[("s-00", Some(9), None, DeclineClass::Never)]), "2027-01-31");
    let paid = ids.iter().map(|id| format!("{id} 0 2027-01-10 79.00 paid 2027-01-10")).collect::<Vec<_>>();
    assert_eq!(lines, paid);
}

/// A debit that was paid and given back is tried again on its policy's day.
#[test]
fn what_a_bank_took_back_is_tried_again_as_its_policy_says() {
    let plan = plan(|_| {});
    let mut row = paying("a", &plan, "2027-01-20", 1);
    by_bank(&mut row);
    row.start_on = day("2026-12-20");
    let charge = planned(&plan, &row, 0).unwrap().unwrap().0;
    row.next_cycle = 1;
    let (catalog, wallet, limits) = (catalog(std::slice::from_ref(&plan)), Wallet::new(), Limits::default());
    let at = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
    let sent = charge.step(Event::Send { attempt: 1 }, at("2026-12-20T14:00:00Z"), &limits).unwrap();
    let learn = |charge: Charge, seen: Seen, when: &str| {
        observe((&catalog, &wallet), &row, charge, &seen, at(when), &limits).unwrap().charge
    };
    let amount = sent.amount;
    let paid = learn(sent, Seen::Succeeded { amount }, "2026-12-23T14:00:00Z");
    let funds = Decline { class: DeclineClass::LaterFunds, code: "R01".into() };
    let returned = learn(paid, Seen::Declined(funds), "2026-12-28T14:00:00Z");
    let State::Returned { next_at: Some(next_at), .. } = returned.state else { panic!("{:?}", returned.state) };
    assert_eq!(next_at.date_naive(), day("2027-01-05"));
    let open = vec![(row.clone(), vec![returned.clone()])];
    for scenario in [Scenario::AllPay, declined(&[("a", Some(0), Some(1), DeclineClass::Never)])] {
        let lines = said(std::slice::from_ref(&plan), &open, &scenario, "2027-01-31");
        let again = "a 0 2027-01-05 79.00 in_dunning declined 1 paid 2027-01-05";
        assert_eq!(lines, [again, "a 1 2027-01-20 79.00 paid 2027-01-20"]);
    }
    // Whoever left is asked by people only.
    row.status = SubscriptionStatus::Cancelled;
    let open = vec![(row, vec![returned])];
    assert_eq!(said(&[plan], &open, &Scenario::AllPay, "2027-01-31"), [""; 0]);
}

/// Walking together says nothing that walking alone does not, where nothing binds anybody.
#[test]
fn those_who_share_nothing_are_said_the_same_of_together_and_alone() {
    let plan = plan(|_| {});
    let rows = alone(vec![
        paying("a", &plan, "2027-01-10", 1),
        paying("b", &plan, "2027-01-05", 2),
        paying("c", &plan, "2027-01-05", 3),
    ]);
    let script = declined(&[
        ("a", Some(0), Some(1), DeclineClass::Unclassified),
        ("b", Some(1), None, DeclineClass::LaterFunds),
        ("c", Some(2), None, DeclineClass::Never),
    ]);
    let together = said(std::slice::from_ref(&plan), &rows, &script, "2027-12-31");
    let alone: Vec<String> = rows
        .iter()
        .flat_map(|row| said(std::slice::from_ref(&plan), std::slice::from_ref(row), &script, "2027-12-31"))
        .collect();
    assert_eq!(together, alone);
    assert!(together.len() > 30, "{}", together.len());
}
