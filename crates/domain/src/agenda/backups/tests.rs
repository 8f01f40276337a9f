use super::*;
use crate::agenda::{Action, Open, draw, observe};
use crate::calendar::Zone;
use crate::case::case;
use crate::charge::State;
use crate::dunning::{AtTheEnd, Policy, Step, Wait};
use crate::id::{ChargeId, Environment, PlanId};
use crate::plan::{AmountSpec, Catalog, CollectSpec, PlanSpec, ScheduleSpec};
use crate::rules::{Outcome, Tried};
use crate::subscription::tests::sample;
use crate::subscription::{Agreement, Consent};
use crate::verdict::Seen;
use crate::wallet::{Expiry, Face, Known};

const SENT: &str = "2027-02-01T08:00:05Z";
const BY_CARD: u128 = 7;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn id(n: u128) -> PaymentMethodId {
    PaymentMethodId(uuid::Uuid::from_u128(n))
}

fn card(n: u128) -> Method {
    Method { id: id(n), kind: MethodKind::Card, consent: None }
}

fn account(n: u128) -> Method {
    let consent = Consent { id: "ach-1".to_owned(), at: at("2026-12-01T00:00:00Z"), channel: "WEB".to_owned() };
    Method { id: id(n), kind: MethodKind::BankAccount, consent: Some(consent) }
}

fn backup(method: Method) -> Backup {
    let agreed =
        Agreement { by: "member-1001".to_owned(), at: at("2026-12-01T00:00:00Z"), reference: "form-7".to_owned() };
    Backup { method, agreed }
}

struct Scene {
    catalog: Catalog,
    subscription: Subscription,
    wallet: Wallet,
    charge: Charge,
}

/// A charge of a subscription with these backups; steps after 1, 3 and 7 days.
fn scene(backups: Vec<Method>) -> Scene {
    let classes =
        vec![DeclineClass::Contact, DeclineClass::LaterFunds, DeclineClass::LaterTechnical, DeclineClass::Unclassified];
    let step = |days| Step { after: Wait::Days(days), classes: classes.clone(), method: None };
    let policy = Policy {
        most_attempts: 4,
        give_up_after_days: 14,
        paydays: None,
        backups: Some(Backups::default()),
        steps: [1, 3, 7].map(step).to_vec(),
        at_the_end: AtTheEnd::PauseSubscription,
        ..Policy::standard().unwrap()
    };
    assert_eq!(policy.mistakes(), []);
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
        collect: CollectSpec { dunning: Some("standard".into()), ..CollectSpec::default() },
        ..PlanSpec::default()
    };
    let plan = Plan::from_spec(&spec, 1).unwrap();
    let mut catalog = Catalog::default();
    catalog.policies.insert(policy.id.clone(), policy);
    let subscription = Subscription {
        plan: PlanId::parse("gold").unwrap(),
        zone: Some(Zone::parse("UTC").unwrap()),
        next_cycle: 1,
        backups: backups.into_iter().map(backup).collect(),
        ..sample()
    };
    let (charge, _) = crate::agenda::planned(&plan, &subscription, 0).unwrap().unwrap();
    catalog.plans.insert(plan.id.clone(), plan);
    let wallet = subscription.methods().map(|one| (one.id, Known::new(one.id, Some(one.kind)))).collect();
    let charge = charge.step(Event::Send { attempt: 1 }, at(SENT), &Limits::default()).unwrap();
    Scene { catalog, subscription, wallet, charge }
}

impl Scene {
    fn plan(&mut self) -> &mut Plan {
        self.catalog.plans.values_mut().next().unwrap()
    }

    fn policy(&mut self) -> &mut Policy {
        self.catalog.policies.values_mut().next().unwrap()
    }

    fn known(&mut self, n: u128) -> &mut Known {
        self.wallet.get_mut(&id(n)).unwrap()
    }

    /// The attempt under way is declined, and its instrument remembers it.
    fn declined(&mut self, class: DeclineClass, code: &str, when: &str) -> &State {
        let method = used(&self.subscription, &self.charge).unwrap().id;
        let one = Tried { at: at(when), charge: self.charge.id, outcome: Outcome::Declined(class) };
        let seen = Seen::Declined(Decline { class, code: code.to_owned() });
        let (facts, limits) = ((&self.catalog, &self.wallet), Limits::default());
        let learnt = observe(facts, &self.subscription, self.charge.clone(), &seen, at(when), &limits).unwrap();
        self.charge = learnt.charge;
        self.known(method.0.as_u128()).tried.push(one);
        &self.charge.state
    }

    /// Another answer about the attempt under way.
    fn seen(&mut self, seen: &Seen, when: &str) {
        let (facts, limits) = ((&self.catalog, &self.wallet), Limits::default());
        self.charge = observe(facts, &self.subscription, self.charge.clone(), seen, at(when), &limits).unwrap().charge;
    }

    fn action(&self, now: &str) -> Action {
        let (environment, limits) = (Environment::parse("test").unwrap(), Limits::default());
        let (charge, subscription) = (self.charge.clone(), self.subscription.clone());
        let open =
            [Open { charge, subscription, payers: Vec::new(), instrument: Some(id(BY_CARD)), refund_ordered: false }];
        let book = Book {
            catalog: &self.catalog,
            environment: &environment,
            holds: &[],
            due: &[],
            open: &open,
            limits: &limits,
            wallet: &self.wallet,
            notices: crate::notice::Notices::Assumed,
        };
        draw(&book, at(now)).items.remove(0).action
    }

    /// The next try is sent; with which method.
    fn sent(&mut self, now: &str) -> PaymentMethodId {
        let last = used(&self.subscription, &self.charge).map(|one| one.id);
        let Action::Send { attempt, method, .. } = self.action(now) else {
            panic!("{:?} of {:?}", self.action(now), self.charge);
        };
        let charge = taken_up(self.charge.clone(), &self.subscription, last, method.id, at(now), &Limits::default());
        self.charge = charge.unwrap().step(Event::Send { attempt }, at(now), &Limits::default()).unwrap();
        method.id
    }

    /// What follows, and with what: the place of a backup where it is one.
    fn next(&self) -> (Option<DateTime<Utc>>, Option<u16>) {
        let with = in_force(&self.subscription, &self.charge).filter(|one| one.is_with_a_backup());
        (self.charge.state.next_at(), with.map(|one| one.place))
    }
}

const AT_THE_FIRST_STEP: &str = "2027-02-02T09:00:00Z";
/// What nobody gave a reason for waits 72 hours, and for the hour of the policy that follows.
const AFTER_72_HOURS: &str = "2027-02-04T09:00:00Z";
const AT_ONCE_THEN: &str = "2027-02-01T08:00:06Z";

#[test]
fn the_class_of_the_first_decline_says_whether_it_falls_through_and_when() {
    let cases = [
        (DeclineClass::Never, "stolen_card", Some((AT_ONCE_THEN, 1))),
        (DeclineClass::NewData, "expired_card", Some((AT_ONCE_THEN, 1))),
        (DeclineClass::Contact, "do_not_honor", None),
        (DeclineClass::LaterFunds, "insufficient_funds", None),
        (DeclineClass::LaterTechnical, "processing_error", None),
        (DeclineClass::Unclassified, "card_declined", None),
        (DeclineClass::Partial, "partial", None),
    ];
    for (class, code, expected) in cases {
        let mut with = scene(vec![card(8)]);
        with.declined(class, code, SENT);
        let mut without = scene(vec![]);
        without.declined(class, code, SENT);
        match expected {
            Some((when, place)) => assert_eq!(with.next(), (Some(at(when)), Some(place)), "{class}"),
            None => assert_eq!(with.charge, without.charge, "{class}"),
        }
        let first = if class == DeclineClass::Unclassified { AFTER_72_HOURS } else { AT_THE_FIRST_STEP };
        assert!(expected.is_some() || with.next() == (Some(at(first)), None), "{class}");
    }
}

#[test]
fn contact_falls_through_once_its_own_tries_are_used_up() {
    let mut scene = scene(vec![card(8)]);
    for when in [SENT, AT_THE_FIRST_STEP, "2027-02-04T09:00:00Z"] {
        if when != SENT {
            assert_eq!(scene.sent(when), id(BY_CARD), "{when}: the policy has tries for it");
        }
        scene.declined(DeclineClass::Contact, "05", when);
    }
    // Two more tries are all that a bank which does not honor the card is asked for.
    assert_eq!(scene.next(), (Some(at("2027-02-04T09:00:01Z")), Some(1)));
    let mut without_a_step = self::scene(vec![card(8)]);
    for step in &mut without_a_step.policy().steps {
        step.classes.retain(|class| *class != DeclineClass::Contact);
    }
    without_a_step.declined(DeclineClass::Contact, "do_not_honor", SENT);
    assert_eq!(without_a_step.next(), (Some(at(AT_ONCE_THEN)), Some(1)));
}

#[test]
fn what_says_nothing_against_the_instrument_never_falls_through() {
    let codes = [
        (DeclineClass::Never, "R07"),
        (DeclineClass::Never, "revocation_of_all_authorizations"),
        (DeclineClass::Never, "MAC21"),
        (DeclineClass::Never, "R3"),
        (DeclineClass::Never, "stop_payment_order"),
        (DeclineClass::Contact, "R08"),
        (DeclineClass::Never, "R10"),
        (DeclineClass::Never, "R14"),
        (DeclineClass::Contact, "duplicate_transaction"),
        (DeclineClass::Contact, "invalid_amount"),
        (DeclineClass::Contact, "05+MAC21"),
    ];
    for (class, code) in codes {
        let mut scene = scene(vec![card(8)]);
        scene.declined(class, code, SENT);
        assert_eq!(scene.next().1, None, "{code}");
        assert_eq!(scene.charge.tries.fallback, None, "{code}");
    }
}

#[test]
fn want_of_funds_falls_through_with_the_step_after_so_many_tries() {
    for after_tries in 1..=3 {
        let mut scene = scene(vec![card(8)]);
        scene.policy().backups = Some(Backups { after_tries });
        let mut with = Vec::new();
        for when in [SENT, "2027-02-02T09:00:00Z", "2027-02-04T09:00:00Z", "2027-02-08T09:00:00Z"] {
            if when != SENT {
                with.push(scene.sent(when).0.as_u128());
            }
            scene.declined(DeclineClass::LaterFunds, "insufficient_funds", when);
        }
        let by_backup = with.iter().filter(|one| **one == 8).count();
        assert_eq!(by_backup, 4 - usize::from(after_tries), "{with:?}");
        assert!(with.is_sorted(), "the steps are the ladder's, each once: {with:?}");
        assert!(matches!(scene.charge.state, State::Failed { why: GaveUp::TriesSpent, .. }));
        assert_eq!(scene.charge.tries.declined, 4, "the policy's number holds for the charge");
    }
}

#[test]
fn where_no_step_is_left_a_backup_is_tried_at_once() {
    let mut scene = scene(vec![card(8)]);
    (scene.policy().most_attempts, scene.policy().backups) = (2, Some(Backups { after_tries: 2 }));
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", SENT);
    assert_eq!(scene.sent(AT_THE_FIRST_STEP), id(BY_CARD));
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", AT_THE_FIRST_STEP);
    assert_eq!(scene.next(), (Some(at("2027-02-02T09:00:01Z")), Some(1)));
    assert_eq!(scene.sent("2027-02-02T09:00:01Z"), id(8));
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", "2027-02-02T09:00:02Z");
    assert!(matches!(scene.charge.state, State::Failed { why: GaveUp::TriesSpent, .. }), "{:?}", scene.charge.state);
}

#[test]
fn backups_are_taken_in_their_order_each_once_and_the_end_follows() {
    let mut scene = scene(vec![card(8), account(9), card(10)]);
    let mut with = Vec::new();
    for second in 5..9 {
        let when = format!("2027-02-01T08:00:{:02}Z", second * 2);
        if second > 5 {
            with.push(scene.sent(&when).0.as_u128());
        }
        scene.declined(DeclineClass::Never, "stolen_card", &when);
    }
    assert_eq!(with, [8, 9, 10]);
    assert!(matches!(scene.charge.state, State::Failed { why: GaveUp::HardDecline, .. }));
    let case = case(&scene.charge).unwrap();
    assert_eq!((case.is_open(), case.end_action), (false, AtTheEnd::PauseSubscription));
}

#[test]
fn only_a_backup_that_can_be_charged_is_taken() {
    let usable = |change: fn(&mut Scene)| {
        let mut scene = scene(vec![card(8), card(9)]);
        change(&mut scene);
        scene.declined(DeclineClass::Never, "stolen_card", SENT);
        scene.next().1
    };
    let expired = Face { expiry: Expiry::new(1, 2027), ..Face::default() };
    assert_eq!(usable(|_| {}), Some(1));
    assert_eq!(usable(|scene| scene.known(8).disputed = true), Some(2));
    assert_eq!(usable(|scene| scene.known(8).missing_since = Some(at(SENT))), Some(2));
    assert_eq!(
        usable(|scene| scene.known(8).face = Some(Face { expiry: Expiry::new(1, 2027), ..Face::default() })),
        Some(2)
    );
    assert_eq!(
        usable(|scene| {
            let one = Tried {
                at: at(SENT),
                charge: ChargeId(uuid::Uuid::nil()),
                outcome: Outcome::Declined(DeclineClass::Never),
            };
            scene.known(8).tried.push(one);
        }),
        Some(2),
        "another charge found it stolen"
    );
    assert_eq!(
        usable(|scene| {
            let one = Tried {
                at: at(SENT),
                charge: ChargeId(uuid::Uuid::nil()),
                outcome: Outcome::Declined(DeclineClass::LaterFunds),
            };
            scene.known(8).tried.extend(std::iter::repeat_n(one, 40));
        }),
        Some(2),
        "its network lets it be tried no more"
    );
    assert_eq!(usable(|scene| scene.subscription.backups[0].method = Method { consent: None, ..account(8) }), Some(2));
    assert_eq!(
        usable(|scene| scene.subscription.backups[0].method = card(BY_CARD)),
        Some(2),
        "the very one that failed"
    );
    assert_eq!(usable(|scene| scene.subscription.backups.clear()), None);
    assert_eq!(usable(|scene| scene.policy().backups = None), None, "the policy does not say so");
    let mut none = scene(vec![card(8)]);
    none.known(8).face = Some(expired);
    none.declined(DeclineClass::Never, "stolen_card", SENT);
    assert!(matches!(none.charge.state, State::Failed { why: GaveUp::HardDecline, .. }));
}

#[test]
fn a_plan_that_sets_money_aside_falls_through_to_cards_only() {
    let mut scene = scene(vec![account(8), card(9)]);
    scene.plan().mode =
        Mode::Authorize { accept_less: false, when_it_expires: crate::authorization::WhenItExpires::Park };
    scene.declined(DeclineClass::Never, "stolen_card", SENT);
    assert_eq!(scene.next().1, Some(2));
}

#[test]
fn what_was_set_aside_on_a_backup_and_went_back_is_tried_with_that_backup_again() {
    for (class, code) in [(DeclineClass::NewData, "incorrect_cvc"), (DeclineClass::Never, "stolen_card")] {
        let mut scene = scene(vec![card(8)]);
        let when_it_expires = crate::authorization::WhenItExpires::Reauthorize;
        scene.plan().mode = Mode::Authorize { accept_less: false, when_it_expires };
        scene.declined(class, code, SENT);
        assert_eq!(scene.sent(AT_ONCE_THEN), id(8));
        let set_aside = Seen::Authorized { amount: scene.charge.amount, asked_for: true };
        scene.seen(&set_aside, "2027-02-01T08:00:07Z");
        let went_back =
            Seen::Declined(Decline { class: DeclineClass::Unclassified, code: "cancelled_at_gateway".to_owned() });
        scene.seen(&went_back, "2027-02-08T08:00:07Z");
        assert!(matches!(scene.charge.state, State::Failing { .. }), "{code}: {:?}", scene.charge.state);
        assert_eq!(scene.next().1, Some(1), "{code}");
        assert_eq!(scene.sent("2027-02-08T09:00:00Z"), id(8), "{code}: the card that approved it");
    }
}

#[test]
fn what_is_paid_for_others_does_not_fall_through() {
    let mut scene = scene(vec![card(8)]);
    let amount = crate::money::Money::new(100, scene.charge.amount.currency());
    scene.charge.carried = Some(crate::charge::Carried { parts: 1, amount });
    scene.declined(DeclineClass::Never, "stolen_card", SENT);
    assert!(matches!(scene.charge.state, State::Failed { .. }));
}

#[test]
fn the_first_method_goes_on_where_the_backups_come_to_nothing() {
    let mut scene = scene(vec![card(8)]);
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", SENT);
    scene.sent("2027-02-02T09:00:00Z");
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", "2027-02-02T09:00:00Z");
    assert_eq!(scene.sent("2027-02-04T09:00:00Z"), id(8));
    scene.declined(DeclineClass::Never, "stolen_card", "2027-02-04T09:00:00Z");
    assert_eq!(scene.next(), (Some(at("2027-02-08T09:00:00Z")), None));
    assert_eq!(scene.sent("2027-02-08T09:00:00Z"), id(BY_CARD));
    assert_eq!(scene.charge.tries.declined_with(Some(id(BY_CARD))).0, 2);
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", "2027-02-08T09:00:00Z");
    assert!(matches!(scene.charge.state, State::Failed { why: GaveUp::TriesSpent, .. }));
}

#[test]
fn a_backup_that_cannot_be_charged_at_its_step_leaves_the_step_to_the_first_method() {
    let mut scene = scene(vec![card(8)]);
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", SENT);
    scene.sent("2027-02-02T09:00:00Z");
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", "2027-02-02T09:00:00Z");
    assert_eq!(scene.next().1, Some(1));
    scene.known(8).disputed = true;
    assert_eq!(scene.sent("2027-02-04T09:00:00Z"), id(BY_CARD));
    assert_eq!(scene.next().1, None);
    let tries = &scene.charge.tries;
    assert_eq!((tries.declined_with(Some(id(BY_CARD))).0, tries.ladder.as_ref().unwrap().step), (2, 2));
}

#[test]
fn a_stolen_cards_backup_that_is_taken_off_leaves_nothing_to_try() {
    let mut scene = scene(vec![card(8)]);
    scene.declined(DeclineClass::Never, "stolen_card", SENT);
    scene.subscription.backups.clear();
    let Action::Wait { why, .. } = scene.action(AT_ONCE_THEN) else { panic!() };
    assert_eq!(why, TAKEN_OFF);
    let Action::GiveUp { why, .. } = scene.action("2027-02-16T09:00:00Z") else { panic!() };
    assert_eq!(why, GaveUp::NoMethod);
}

#[test]
fn another_method_of_the_subscription_ends_the_falling_through() {
    let mut scene = scene(vec![card(8)]);
    scene.declined(DeclineClass::Never, "stolen_card", SENT);
    assert_eq!(scene.next().1, Some(1));
    scene.subscription.method = Some(card(70));
    assert_eq!(scene.sent(AT_ONCE_THEN), id(70));
    assert_eq!(scene.charge.tries.fallback, None);
}

#[test]
fn a_backup_that_becomes_the_subscriptions_own_method_goes_on_where_it_stood() {
    let mut scene = scene(vec![card(8)]);
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", SENT);
    scene.sent("2027-02-02T09:00:00Z");
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", "2027-02-02T09:00:00Z");
    assert_eq!(scene.sent("2027-02-04T09:00:00Z"), id(8));
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", "2027-02-04T09:00:00Z");
    let (ladder, episode) = (scene.charge.tries.ladder.clone(), scene.charge.tries.episode.clone());
    scene.subscription.method = Some(card(8));
    scene.subscription.backups.clear();
    assert_eq!(scene.sent("2027-02-08T09:00:00Z"), id(8));
    assert_eq!(scene.charge.tries.fallback, None);
    assert_eq!((&scene.charge.tries.ladder, &scene.charge.tries.episode), (&ladder, &episode), "the ladder stands");
    scene.declined(DeclineClass::LaterFunds, "insufficient_funds", "2027-02-08T09:00:00Z");
    assert!(matches!(scene.charge.state, State::Failed { why: GaveUp::TriesSpent, .. }), "{:?}", scene.charge.state);
}

#[test]
fn a_backup_account_is_no_re_initiation_of_the_first() {
    let mut scene = scene(vec![account(8), account(9)]);
    scene.subscription.method = Some(account(BY_CARD));
    scene.policy().backups = Some(Backups { after_tries: 3 });
    scene.policy().most_attempts = 10;
    let classes = vec![DeclineClass::LaterFunds];
    scene.policy().steps =
        (1..10).map(|days| Step { after: Wait::Days(days), classes: classes.clone(), method: None }).collect();
    let mut with = Vec::new();
    for day in 1..=9 {
        let when = format!("2027-02-{day:02}T09:00:00Z");
        if day > 1 {
            with.push(scene.sent(&when).0.as_u128());
        }
        scene.declined(DeclineClass::LaterFunds, "R01", &when);
    }
    assert_eq!(with, [7, 7, 8, 8, 8, 9, 9, 9], "three entries of each account, and no more");
    assert!(matches!(scene.charge.state, State::Failed { why: GaveUp::EntriesSpent, .. }), "{:?}", scene.charge.state);
}

#[test]
fn nothing_falls_through_on_the_day_of_the_next_cycle_or_past_the_policys_time() {
    let mut late = scene(vec![card(8)]);
    late.declined(DeclineClass::LaterFunds, "insufficient_funds", SENT);
    late.sent("2027-02-02T09:00:00Z");
    late.declined(DeclineClass::Never, "stolen_card", "2027-02-16T00:00:00Z");
    assert!(
        matches!(late.charge.state, State::Failed { why: GaveUp::HardDecline, .. }),
        "15 days after the first failure"
    );
    let mut due = scene(vec![card(8)]);
    due.policy().give_up_after_days = 60;
    due.declined(DeclineClass::Never, "stolen_card", "2027-02-28T12:00:00Z");
    assert!(matches!(due.charge.state, State::Failed { why: GaveUp::HardDecline, .. }), "{:?}", due.charge.state);
}

#[test]
fn a_charge_that_is_taken_up_again_begins_with_the_subscriptions_own_method() {
    let mut scene = scene(vec![card(8)]);
    scene.declined(DeclineClass::NewData, "expired_card", SENT);
    scene.sent(AT_ONCE_THEN);
    scene.declined(DeclineClass::NewData, "expired_card", AT_ONCE_THEN);
    assert!(matches!(scene.charge.state, State::Failed { .. }));
    let again = scene.charge.clone().step(Event::Ruled(Ruling::TryNow), at(SENT), &Limits::default()).unwrap();
    assert_eq!(again.tries.fallback, None);
    scene.charge = again;
    assert_eq!(scene.sent("2027-02-03T09:00:00Z"), id(BY_CARD));
    scene.declined(DeclineClass::NewData, "expired_card", "2027-02-03T09:00:00Z");
    assert!(matches!(scene.charge.state, State::Failed { .. }), "the backup was tried for it already");
}
