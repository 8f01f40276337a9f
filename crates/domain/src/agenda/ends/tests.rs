use chrono::TimeDelta;

use super::*;
use crate::agenda::{HoldKind, Lift, draw};
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
    Scene {
        catalog,
        open: Open { charge, subscription, payers: Vec::new(), instrument, refund_ordered: false },
        wallet,
        holds: Vec::new(),
    }
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
    assert_eq!(spent.both(), ("wait", Some(GaveUp::BudgetSpent)));
}

fn held(scope: Scope, kind: HoldKind) -> Scene {
    let (reason, by, since) = ("look first".into(), "ann".into(), at(DECLINED));
    let mut held = scene();
    held.known().tried = vec![tried(DeclineClass::Never, "2027-02-02T00:00:00Z")];
    held.holds = vec![Hold { id: 1, scope, reason, by, since, lift: Lift::Anybody, kind }];
    held
}

#[test]
fn what_people_keep_back_in_one_place_ends_nothing() {
    let Open { charge, subscription, .. } = scene().open;
    for scope in [Scope::Subscription(subscription.id), Scope::Plan(charge.plan)] {
        assert_eq!(held(scope, HoldKind::Operator).both(), ("wait", None));
    }
    let mut paused = scene();
    paused.open.subscription.status = SubscriptionStatus::Paused;
    paused.catalog.plans.values_mut().for_each(|plan| plan.status = PlanStatus::Retired);
    assert_eq!(paused.both(), ("wait", None));
    let mut cancelled = scene();
    cancelled.open.subscription.status = SubscriptionStatus::Cancelled;
    assert_eq!(cancelled.both(), ("cancel", None));
}

#[test]
fn what_keeps_everybody_back_ends_with_the_policys_time_and_not_before() {
    let merchant = scene().open.charge.merchant;
    for (scope, why) in [
        (Scope::All, GaveUp::KillSwitch),
        (Scope::Merchant(merchant), GaveUp::MerchantDisabled),
        (Scope::Currency(Currency::USD), GaveUp::CurrencyDisabled),
    ] {
        let mut switched = held(scope, HoldKind::Operator);
        assert_eq!(switched.both(), ("wait", Some(why)));
        // A person's order waits under it, and so does what failed before there were policies.
        let ladder = switched.open.charge.tries.ladder.take();
        assert_eq!(switched.both(), ("wait", None));
        switched.open.charge.tries.ladder = ladder;
        let ordered = Event::Ruled(crate::charge::Ruling::TryNow);
        switched.open.charge = switched.open.charge.step(ordered, at(RETRY), &Limits::default()).unwrap();
        assert_eq!(switched.both(), ("wait", None));
    }
    assert_ne!(held(Scope::Currency(Currency::parse("EUR").unwrap()), HoldKind::Operator).action(RETRY).name(), "wait");
    let mut retired = scene();
    retired.catalog.plans.values_mut().for_each(|plan| plan.status = PlanStatus::Retired);
    assert_eq!(retired.both(), ("wait", Some(GaveUp::PlanRetired)));
}

#[test]
fn a_hold_about_a_person_ends_what_it_covers_at_once_whatever_else_holds_it() {
    let own = Scope::Subscription(scene().open.subscription.id);
    for kind in HoldKind::ALL {
        let mut about = held(own.clone(), kind);
        let everything = held(Scope::All, HoldKind::Operator).holds.remove(0);
        about.holds.insert(0, Hold { id: 2, ..everything });
        let drawn = about.action(RETRY);
        match kind.ends() {
            None => assert_eq!(drawn.name(), "wait"),
            Some(why) => {
                let because = format!("on hold by ann ({own}): look first");
                assert_eq!(drawn, Action::GiveUp { why, because });
                assert_eq!(why.stops(AtTheEnd::CancelSubscription), None, "the policy's end is not carried out");
            }
        }
    }
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
fn a_return_that_says_more_than_its_own_charge_raises_an_alarm() {
    use crate::verdict::Alarm;
    let alarm = |code: &str| learnt(&declined(DeclineClass::Never, code)).alarm();
    assert_eq!(["R17", "R24", "R01"].map(alarm), [Some(Alarm::Fraud), Some(Alarm::DoubleEntry), None]);
    assert_eq!(learnt(&Seen::Succeeded { amount: Money::new(7_900, Currency::USD) }).alarm(), None);
    // A success that the bank takes back raises it too.
    let returned = learnt(&Seen::Succeeded { amount: Money::new(7_900, Currency::USD) });
    let hinted = returned.step(Event::Hint { unpaid: true }, at(END), &Limits::default()).unwrap();
    let Scene { catalog, open, .. } = scene();
    let seen = declined(DeclineClass::Never, "R24");
    let facts = (&catalog, &Wallet::new());
    let taken_back = crate::agenda::observe(facts, &open.subscription, hinted, &seen, at(END), &Limits::default());
    assert_eq!(taken_back.unwrap().charge.alarm(), Some(Alarm::DoubleEntry));
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
