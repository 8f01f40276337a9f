use super::*;
use crate::authorization::{Authorization, Order};
use crate::charge::{Event, Tries};
use crate::plan::{AmountSpec, PlanSpec, ScheduleSpec};
use crate::subscription::tests::sample;
use crate::verdict::{Decline, DeclineClass, Seen};

fn plan(id: &str) -> Plan {
    let spec = PlanSpec {
        id: id.into(),
        name: id.into(),
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

fn hold(scope: &str) -> Hold {
    let scope = scope.parse().unwrap();
    let since = "2027-02-01T00:00:00Z".parse().unwrap();
    Hold {
        id: 1,
        scope,
        reason: "a wrong price".into(),
        by: "ann".into(),
        since,
        lift: Lift::Anybody,
        kind: HoldKind::Operator,
    }
}

/// The action for a charge of 31 January, recorded under `old`, of a subscription that is under `new` by now; and the one for
/// its next cycle.
fn drawn(state: &State, holds: &[Hold]) -> (Action, Action) {
    let now = "2027-03-01T00:00:00Z".parse().unwrap();
    let sent = "2027-02-28T23:30:00Z".parse().ok();
    let (old, new) = (plan("old"), plan("new"));
    let mut catalog = Catalog::default();
    let subscription = Subscription { plan: new.id.clone(), next_cycle: 1, ..sample() };
    let (mut charge, _) = planned(&old, &subscription, 0).unwrap().unwrap();
    charge.state = state.clone();
    charge.tries = Tries { attempt: 1, submissions: 1, first_sent_at: sent, last_sent_at: sent, ..Tries::default() };
    catalog.plans.extend([old, new].map(|plan| (plan.id.clone(), plan)));
    let open = [Open {
        charge,
        payers: Vec::new(),
        instrument: subscription.method.as_ref().map(|one| one.id),
        subscription,
        refund_ordered: false,
    }];
    let due = [open[0].subscription.clone()];
    let environment = Environment::parse("test").unwrap();
    let (limits, wallet) = (Limits::default(), Wallet::new());
    let book = Book {
        notices: crate::notice::Notices::Assumed,
        catalog: &catalog,
        environment: &environment,
        holds,
        due: &due,
        open: &open,
        limits: &limits,
        wallet: &wallet,
    };
    let mut items = draw(&book, now).items.into_iter();
    let (next, open) = (items.next().unwrap(), items.next().unwrap());
    assert_eq!((next.cycle, open.cycle, items.next()), (1, 0, None));
    (open.action, next.action)
}

fn waits(action: &Action) -> bool {
    matches!(action, Action::Wait { .. })
}

#[test]
fn a_hold_covers_a_recorded_charge_by_its_own_plan_and_by_its_subscriptions_and_a_cycle_to_come_by_the_latter() {
    let then: DateTime<Utc> = "2027-02-28T23:59:00Z".parse().unwrap();
    let amount = crate::money::Money::new(7_900, crate::money::Currency::USD);
    let set_aside = Authorization::placed(amount, then);
    let order = Order::recorded(then, then);
    let tried_again = [
        State::Failing { class: DeclineClass::LaterFunds, code: "insufficient_funds".into(), next_at: then },
        State::Due { next_at: then, doubt: false },
        State::Due { next_at: then, doubt: true },
        State::Capturing { hold: set_aside, amount, order },
    ];
    for state in &tried_again {
        let held = |scope: &str| {
            let (open, next) = drawn(state, &[hold(scope)]);
            (waits(&open), waits(&next))
        };
        assert_eq!(drawn(state, &[]).0.name(), if state.ordered().is_some() { "capture" } else { "send" });
        assert_eq!(held("plan:old"), (true, false), "{state:?}");
        assert_eq!(held("plan:new"), (true, true), "{state:?}");
        assert_eq!(held("plan:other"), (false, false), "{state:?}");
        assert_eq!(held("subscription:sub-1"), (true, true), "{state:?}");
    }
    // What is given back, and what is only asked about, nobody keeps back.
    for state in [State::Releasing { hold: set_aside, order }, State::Unknown { since: then, asked: 0, next_at: then }]
    {
        for scope in ["all", "plan:old", "plan:new"] {
            assert!(!waits(&drawn(&state, &[hold(scope)]).0), "{state:?}");
        }
    }
}

#[test]
fn a_return_that_tells_of_a_death_stops_everything_of_the_person_whatever_became_of_its_subscription() {
    let plan = plan("old");
    let mut catalog = Catalog::default();
    catalog.plans.insert(plan.id.clone(), plan.clone());
    let paid_at: DateTime<Utc> = "2027-02-03T08:00:00Z".parse().unwrap();
    let returned_at = "2027-02-04T08:00:00Z".parse().unwrap();
    let limits = Limits::default();
    for status in [SubscriptionStatus::Active, SubscriptionStatus::Cancelled] {
        let subscription = Subscription { plan: plan.id.clone(), status, ..sample() };
        let (charge, _) = planned(&plan, &subscription, 0).unwrap().unwrap();
        let amount = charge.amount;
        let paid = charge
            .step(Event::Send { attempt: 1 }, paid_at, &limits)
            .and_then(|sent| sent.step(Event::Succeeded { amount, returnable: true }, paid_at, &limits))
            .unwrap();
        for (code, stop) in [("R14", Some(Stop::Pause)), ("R15", Some(Stop::Pause)), ("R03", None)] {
            let seen = Seen::Declined(Decline { class: DeclineClass::Never, code: code.to_owned() });
            let facts = (&catalog, &Wallet::new());
            let learnt = observe(facts, &subscription, paid.clone(), &seen, returned_at, &limits).unwrap();
            assert!(matches!(learnt.charge.state, State::Returned { next_at: None, .. }), "{status:?} {code}");
            // What else is given up is the policy's, and a policy ends nothing that is cancelled.
            if stop.is_some() || status == SubscriptionStatus::Cancelled {
                assert_eq!(learnt.stop, stop, "{status:?} {code}");
            }
        }
    }
}
