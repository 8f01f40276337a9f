use chrono::TimeDelta;

use super::*;
use crate::agenda::{Hold, Lift, draw};
use crate::calendar::Zone;
use crate::charge::{Charge, Event, Limits, State};
use crate::dunning::AtTheEnd;
use crate::id::{ChargeId, Environment};
use crate::money::{Currency, Money};
use crate::plan::{AmountSpec, Catalog, PlanSpec, PlanStatus, ScheduleSpec};
use crate::rules::{Outcome, Tried};
use crate::subscription::tests::sample;
use crate::subscription::{Subscription, SubscriptionStatus};
use crate::verdict::{Decline, DeclineClass, Seen};
use crate::wallet::{Known, Wallet};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The first decline, at which the standard policy's 24 days begin.
const DECLINED: &str = "2027-02-01T08:00:05Z";
/// The policy's first retry, on the payday after three days, and its end.
const RETRY: &str = "2027-02-05T09:00:00Z";
const END: &str = "2027-02-25T09:00:00Z";

struct Scene {
    catalog: Catalog,
    open: Open,
    wallet: Wallet,
    holds: Vec<Hold>,
}

fn gold() -> Plan {
    let spec = PlanSpec {
        id: "gold".into(),
        name: "Gold".into(),
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

fn declined(class: DeclineClass, code: &str) -> Seen {
    Seen::Declined(Decline { class, code: code.to_owned() })
}

/// A charge whose first try was declined for want of funds.
fn scene() -> Scene {
    let plan = gold();
    let mut catalog = Catalog::default();
    let subscription =
        Subscription { plan: plan.id.clone(), zone: Some(Zone::parse("UTC").unwrap()), next_cycle: 1, ..sample() };
    let (charge, _) = crate::agenda::planned(&plan, &subscription, 0).unwrap().unwrap();
    catalog.plans.insert(plan.id.clone(), plan);
    let limits = Limits::default();
    let sent = charge.step(Event::Send { attempt: 1 }, at(DECLINED), &limits).unwrap();
    let seen = declined(DeclineClass::LaterFunds, "insufficient_funds");
    let charge = crate::agenda::observe((&catalog, &Wallet::new()), &subscription, sent, &seen, at(DECLINED), &limits)
        .unwrap()
        .charge;
    let instrument = subscription.method.as_ref().map(|method| method.id);
    let wallet = instrument.map(|id| (id, Known::new(id, None))).into_iter().collect();
    Scene { catalog, open: Open { charge, subscription, payers: Vec::new(), instrument }, wallet, holds: Vec::new() }
}

impl Scene {
    fn known(&mut self) -> &mut Known {
        self.wallet.values_mut().next().unwrap()
    }

    fn action(&self, now: &str) -> Action {
        let environment = Environment::parse("test").unwrap();
        let limits = Limits::default();
        let open = [self.open.clone()];
        let book = Book {
            catalog: &self.catalog,
            environment: &environment,
            holds: &self.holds,
            due: &[],
            open: &open,
            limits: &limits,
            wallet: &self.wallet,
            notices: crate::notice::Notices::Assumed,
        };
        draw(&book, at(now)).items.remove(0).action
    }

    /// What is drawn at the retry, and at the case's end.
    fn both(&self) -> (&'static str, Option<GaveUp>) {
        let first = self.action(RETRY).name();
        let last = self.action(END);
        if let Action::GiveUp { why, because } = last {
            assert!(!because.is_empty());
            return (first, Some(why));
        }
        assert_eq!(first, last.name());
        (first, None)
    }
}

fn tried(class: DeclineClass, when: &str) -> Tried {
    Tried { at: at(when), charge: ChargeId(uuid::Uuid::nil()), outcome: Outcome::Declined(class) }
}

#[test]
fn the_policy_says_when_a_case_ends_and_what_happens_then() {
    let scene = scene();
    let case = crate::case::case(&scene.open.charge).unwrap();
    assert_eq!((case.ends_at, case.end_action), (at(END), AtTheEnd::PauseSubscription));
    assert_eq!(scene.open.charge.state.next_at(), Some(at(RETRY)));
    assert_eq!(scene.action(RETRY).name(), "send");
}

#[test]
fn an_instrument_that_may_never_be_tried_again_ends_the_case_at_once_by_a_rule_that_is_named() {
    let mut scene = scene();
    scene.known().tried = vec![tried(DeclineClass::Never, "2027-02-02T00:00:00Z")];
    let Action::GiveUp { why: GaveUp::NetworkRule, because } = scene.action(RETRY) else { panic!("goes on") };
    assert!(because.contains(", version 20"), "{because}");
}

#[test]
fn what_cannot_be_tried_waits_until_the_end_of_the_case_and_no_longer() {
    let mut disputed = scene();
    disputed.known().disputed = true;
    assert_eq!(disputed.both(), ("wait", Some(GaveUp::Disputed)));
    let mut gone = scene();
    gone.known().missing_since = Some(at("2027-02-02T00:00:00Z"));
    assert_eq!(gone.both(), ("wait", Some(GaveUp::NoMethod)));
    let mut without = scene();
    without.open.subscription.method = None;
    assert_eq!(without.both(), ("wait", Some(GaveUp::NoMethod)));
    // As many declines in thirty days as the strictest network allows.
    let mut spent = scene();
    spent.known().tried = vec![tried(DeclineClass::LaterFunds, "2027-02-03T00:00:00Z"); 40];
    assert_eq!(spent.both(), ("wait", Some(GaveUp::NetworkRule)));
}

#[test]
fn what_people_and_brakes_keep_back_ends_nothing() {
    let mut held = scene();
    held.known().tried = vec![tried(DeclineClass::Never, "2027-02-02T00:00:00Z")];
    held.holds = vec![Hold {
        id: 1,
        scope: crate::agenda::Scope::All,
        reason: "kill switch".into(),
        by: "ann".into(),
        since: at(DECLINED),
        lift: Lift::Anybody,
    }];
    assert_eq!(held.both(), ("wait", None));
    let mut paused = scene();
    paused.open.subscription.status = SubscriptionStatus::Paused;
    assert_eq!(paused.both(), ("wait", None));
    let mut retired = scene();
    retired.catalog.plans.values_mut().for_each(|plan| plan.status = PlanStatus::Retired);
    assert_eq!(retired.both(), ("wait", None));
    let mut cancelled = scene();
    cancelled.open.subscription.status = SubscriptionStatus::Cancelled;
    assert_eq!(cancelled.both(), ("cancel", None));
}

/// What the last observation of a charge that is being sent comes to.
fn learnt(seen: &Seen) -> Charge {
    let Scene { catalog, open, .. } = scene();
    let limits = Limits::default();
    let sent = open.charge.step(Event::Send { attempt: 2 }, at(RETRY), &limits).unwrap();
    crate::agenda::observe((&catalog, &Wallet::new()), &open.subscription, sent, seen, at(RETRY), &limits)
        .unwrap()
        .charge
}

#[test]
fn each_decline_that_ends_trying_says_why() {
    for (code, why) in [
        ("R07", GaveUp::MandateRevoked),
        ("revocation_of_authorization", GaveUp::MandateRevoked),
        ("revocation_of_all_authorizations", GaveUp::MandateRevoked),
        ("R05", GaveUp::Unauthorized),
        ("R10", GaveUp::Unauthorized),
        ("R29", GaveUp::Unauthorized),
        ("R14", GaveUp::CustomerGone),
        ("R15", GaveUp::CustomerGone),
        ("stolen_card", GaveUp::HardDecline),
    ] {
        let charge = learnt(&declined(DeclineClass::Never, code));
        assert!(matches!(charge.state, State::Failed { why: found, .. } if found == why), "{code}: {:?}", charge.state);
    }
    let paid = learnt(&Seen::Succeeded { amount: Money::new(7_900, Currency::USD) });
    let ended = crate::case::case(&paid).unwrap().standing;
    assert!(matches!(ended, crate::case::Standing::Ended { why: crate::case::Ended::Paid, .. }));
}

#[test]
fn a_ladder_is_spent_once_and_a_try_by_hand_is_none_of_its_steps() {
    let Scene { catalog, open, .. } = scene();
    let limits = Limits::default();
    let mut charge = open.charge;
    let mut tries = 1;
    // A person tries the day before each of the policy's own tries.
    while let Some(next_at) = charge.state.next_at() {
        let by_hand = next_at.checked_sub_signed(TimeDelta::days(1)).unwrap();
        for when in [by_hand, next_at] {
            if when == by_hand {
                charge = charge.step(Event::Ruled(crate::charge::Ruling::TryNow), when, &limits).unwrap();
            }
            let attempt = charge.tries.attempt + 1;
            charge = charge.step(Event::Send { attempt }, when, &limits).unwrap();
            let seen = declined(DeclineClass::LaterFunds, "insufficient_funds");
            charge =
                crate::agenda::observe((&catalog, &Wallet::new()), &open.subscription, charge, &seen, when, &limits)
                    .unwrap()
                    .charge;
            tries += 1;
            if when == by_hand {
                assert_eq!(charge.state.next_at(), Some(next_at), "the ladder stands where it stood");
            }
        }
    }
    assert!(matches!(charge.state, State::Failed { why: GaveUp::LadderSpent, .. }), "{:?}", charge.state);
    assert_eq!(tries, 1 + 4 + 4, "four of the ladder, four by hand");
}
