//! No sequence of tries exceeds a cap: automatic ones, a person's, those of another system, of several subscriptions on one card or
//! account, drawn by one worker or by two at once. The reference model reads the rule files by itself and counts naively: every try ever
//! made, again at each try.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test whose own premise fails should stop, and a model knows what it does not play"
)]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::agenda::{Action, Agenda, Book, Open, Reason, draw, observe, taken_up, used};
use domain::charge::{Charge, Event, Limits, Ruling, State};
use domain::dunning::{AtTheEnd, Backups, Policy, Step, Wait};
use domain::elsewhere::TriedElsewhere;
use domain::id::{ChargeId, Environment, MerchantId, PaymentMethodId, PlanId, PolicyId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::notice::Notices;
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::rules::{Outcome, Permit, Tried};
use domain::subscription::{
    Agreement, Amendments, Backup, Consent, Customer, Method, MethodKind, Subscription, SubscriptionStatus,
};
use domain::terms::Terms;
use domain::verdict::{Decline, DeclineClass, Seen};
use domain::wallet::{Known, TriesLeft, Wallet};
use proptest::prelude::*;

const MERCHANT: MerchantId = MerchantId(uuid::Uuid::from_u128(1));

/// One cap, as a rule file states it.
#[derive(Debug, Clone)]
enum Cap {
    Never(Vec<String>),
    Declines(usize, i64),
    Entries(usize, i64),
}

/// A cap with its network and the days on which it holds.
#[derive(Debug, Clone)]
struct Dated {
    network: String,
    from: NaiveDate,
    until: Option<NaiveDate>,
    cap: Cap,
}

/// The rule files, read here once more and by nothing of the domain's.
fn caps() -> Vec<Dated> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/rules");
    let mut caps = Vec::new();
    for network in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(network.unwrap().path()).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let file: toml::Table = text.parse().unwrap();
            let date = |value: &toml::Value| value.to_string().trim_matches('"').parse::<NaiveDate>().unwrap();
            for rule in file["rule"].as_array().unwrap() {
                let number = |name: &str| rule.get(name).and_then(toml::Value::as_integer);
                let most = |name: &str| number(name).map(|most| usize::try_from(most).unwrap());
                // Rates stop no try.
                if rule.get("returns").is_some() {
                    continue;
                }
                let cap = match (rule.get("never"), most("declines"), most("entries")) {
                    (Some(classes), None, None) => {
                        let classes = classes.as_array().unwrap().iter();
                        Cap::Never(classes.map(|class| class.as_str().unwrap().to_owned()).collect())
                    }
                    (None, Some(most), None) => Cap::Declines(most, number("within_hours").unwrap()),
                    (None, None, Some(most)) => Cap::Entries(most, number("within_hours").unwrap()),
                    _ => panic!("{rule}"),
                };
                caps.push(Dated {
                    network: file["network"].as_str().unwrap().to_owned(),
                    from: date(&file["from"]),
                    until: rule.get("until").map(date),
                    cap,
                });
            }
        }
    }
    caps
}

/// A try that was made, by whom ever.
#[derive(Debug, Clone)]
struct Made {
    at: DateTime<Utc>,
    charge: ChargeId,
    attempt: u16,
    /// `None`: it was paid.
    outcome: Option<Outcome>,
    /// What the bank or network said of it.
    code: String,
}

/// The reference: every try of an instrument.
#[derive(Debug, Default)]
struct Model {
    made: BTreeMap<PaymentMethodId, Vec<Made>>,
}

impl Model {
    /// Is one more try of an instrument, made here and now, one that some cap forbids?
    fn forbids(
        &self,
        caps: &[Dated],
        kind: MethodKind,
        method: PaymentMethodId,
        charge: &Charge,
        at: DateTime<Utc>,
    ) -> Option<String> {
        let made: &[Made] = self.made.get(&method).map_or(&[], Vec::as_slice);
        let on = at.date_naive();
        let concerns = |one: &&Dated| {
            let account = kind == MethodKind::BankAccount;
            (one.network == "ach") == account && one.from <= on && one.until.is_none_or(|until| until >= on)
        };
        for one in caps.iter().filter(concerns) {
            let broken = match &one.cap {
                Cap::Never(classes) => made.iter().any(|try_| match try_.outcome {
                    Some(Outcome::Declined(class) | Outcome::Returned(class)) => {
                        classes.iter().any(|word| word == class.as_str())
                    }
                    Some(Outcome::Open) | None => false,
                }),
                Cap::Declines(most, hours) => {
                    let counts = made.iter().filter(|try_| {
                        matches!(try_.outcome, Some(Outcome::Open | Outcome::Declined(_)))
                            && at - try_.at < TimeDelta::hours(*hours)
                    });
                    counts.count() + 1 > *most
                }
                Cap::Entries(most, hours) => {
                    let entries: Vec<_> =
                        made.iter().filter(|try_| try_.charge == charge.id && try_.outcome.is_some()).collect();
                    let first = entries.iter().map(|try_| try_.at).min().map(|first| first.min(charge.due_at));
                    entries.len() + 1 > *most || first.is_some_and(|first| at - first > TimeDelta::hours(*hours))
                }
            };
            if broken {
                return Some(format!("{one:?} of {method} at {at}, after {made:#?}"));
            }
        }
        None
    }
}

/// By whom a try is made: what the rules say of answers binds whoever acts by themselves, and not a person who has spoken with the
/// customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Policy,
    Person,
}

impl Model {
    /// Is one more try of a charge, by itself, one that the last answer about it forbids? After none that says why, there is one in 72
    /// hours; a refusal by code 05 leaves two tries after the first.
    fn answered(&self, method: PaymentMethodId, charge: &Charge, at: DateTime<Utc>) -> Option<String> {
        let made = self.made.get(&method).into_iter().flatten();
        let own: Vec<&Made> = made.filter(|one| one.charge == charge.id && one.attempt > 0).collect();
        let last = own.iter().max_by_key(|one| one.attempt)?;
        let broken = match last.outcome {
            Some(Outcome::Declined(DeclineClass::Unclassified)) => at - last.at < TimeDelta::hours(72),
            Some(Outcome::Declined(_)) if last.code == "05" => own.len() >= 3,
            _ => false,
        };
        broken.then(|| format!("{charge:?} at {at}, after {own:#?}"))
    }
}

/// What happens next.
#[derive(Debug, Clone)]
enum Deed {
    /// One worker draws everything and records it.
    Pass,
    /// Two workers draw a half each, from what both knew before, and record one after the other.
    Race,
    /// What is open is answered: a number says of each charge how; [`NO_LUCK`] declines all.
    Answer(u8),
    /// A person tries a failing charge again.
    Manual(u8),
    /// Another system's tries of an instrument become known, so many hours old; perhaps of a cycle of a subscription.
    Import { instrument: u8, count: u8, hours: u16, class: u8, cycle: Option<(u8, u8)> },
}

fn deeds() -> impl Strategy<Value = Vec<(u16, Deed)>> {
    let import = (0_u8..4, 1_u8..12, 0_u16..900, 0_u8..16, prop::option::of((0_u8..SUBSCRIPTIONS, 0_u8..6)));
    let deed = prop_oneof![
        4 => Just(Deed::Pass),
        3 => Just(Deed::Race),
        6 => any::<u8>().prop_map(Deed::Answer),
        3 => any::<u8>().prop_map(Deed::Manual),
        1 => import.prop_map(|(instrument, count, hours, class, cycle)| Deed::Import { instrument, count, hours, class, cycle }),
    ];
    // Minutes that pass before it: mostly within a day, at times months.
    let wait = prop_oneof![5 => 0_u16..90, 5 => 90_u16..1_500, 1 => 1_500_u16..60_000];
    prop::collection::vec((wait, deed), 10..120)
}

fn catalog() -> Catalog {
    use DeclineClass::{Contact, LaterFunds, LaterTechnical, Unclassified};
    let classes = vec![Contact, LaterFunds, LaterTechnical, Unclassified];
    let steps = [1, 3, 7, 12].map(Wait::Hours).into_iter().chain([1, 2, 4, 30, 90, 200].map(Wait::Days));
    let policy = Policy {
        id: PolicyId::parse("eager").unwrap(),
        most_attempts: 11,
        give_up_after_days: 300,
        not_past_next_due: false,
        at_the_end: AtTheEnd::KeepSubscription,
        steps: steps.map(|after| Step { after, classes: classes.clone(), method: None }).collect(),
        ..Policy::standard().unwrap()
    };
    let spec = serde_json::json!({
        "id": "daily", "name": "Daily", "kind": "recurring", "status": "active",
        "schedule": { "every": "1 day", "time_zone": "UTC", "charge_at": "10:00:00", "catch_up": "all" },
        "amount": { "currency": "USD", "value": "2.00" },
        "collect": { "dunning": "eager" },
    });
    let plan = Plan::from_spec(&serde_json::from_value::<PlanSpec>(spec).unwrap(), 1).unwrap();
    let mut catalog = Catalog::default();
    catalog.policies.insert(policy.id.clone(), policy);
    catalog.plans.insert(plan.id.clone(), plan);
    catalog
}

/// Subscriptions: three for each instrument.
const SUBSCRIPTIONS: u8 = 12;
/// The luck of whoever has none.
const NO_LUCK: u8 = u8::MAX;

/// Two cards and two accounts.
fn method(n: u8) -> Method {
    let bank = n >= 2;
    let consent = Consent { id: "c".to_owned(), at: DateTime::UNIX_EPOCH, channel: "WEB".to_owned() };
    Method {
        id: PaymentMethodId(uuid::Uuid::from_u128(u128::from(n) + 100)),
        kind: if bank { MethodKind::BankAccount } else { MethodKind::Card },
        consent: bank.then_some(consent),
    }
}

fn name(n: u8) -> SubscriptionId {
    SubscriptionId::parse(&format!("sub-{n}")).unwrap()
}

struct Life {
    caps: Vec<Dated>,
    catalog: Catalog,
    environment: Environment,
    limits: Limits,
    now: DateTime<Utc>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    charges: BTreeMap<ChargeId, Charge>,
    elsewhere: u32,
    model: Model,
    tries: usize,
}

impl Life {
    fn begin() -> Self {
        let catalog = catalog();
        let now: DateTime<Utc> = "2027-01-04T09:00:00Z".parse().unwrap();
        let subscription = |n: u8| Subscription {
            id: name(n),
            merchant: MERCHANT,
            plan: PlanId::parse("daily").unwrap(),
            customer: Customer { enterprise_id: Some("1001".to_owned()), ..Customer::default() },
            method: Some(method(n / 3)),
            second_method: None,
            backups: Vec::new(),
            start_on: "2027-01-04".parse().unwrap(),
            anchor_day: None,
            zone: None,
            amount: None,
            end_on: None,
            terms: Terms::default(),
            owed_until: None,
            status: SubscriptionStatus::Active,
            next_cycle: 0,
            next_due_at: "2027-01-04T10:00:00Z".parse().ok(),
            amendments: Amendments::default(),
        };
        Self {
            caps: caps(),
            catalog,
            environment: Environment::parse("test").unwrap(),
            limits: Limits::default(),
            now,
            subscriptions: (0..SUBSCRIPTIONS).map(|n| (name(n), subscription(n))).collect(),
            charges: BTreeMap::new(),
            elsewhere: 0,
            model: Model::default(),
            tries: 0,
        }
    }

    /// What is known of the instruments, from the tries as they are recorded.
    fn wallet(&self) -> Wallet {
        let known = |n: u8| {
            let Method { id, kind, .. } = method(n);
            let made = self.model.made.get(&id).into_iter().flatten();
            let tried = made.filter_map(|one| Some(Tried { at: one.at, charge: one.charge, outcome: one.outcome? }));
            // As a store remembers them: of late, and every "never".
            let never = |one: &Tried| {
                matches!(one.outcome, Outcome::Declined(DeclineClass::Never) | Outcome::Returned(DeclineClass::Never))
            };
            let tried = tried.filter(|one| self.now - one.at <= domain::rules::LOOKS_BACK || never(one)).collect();
            (id, Known { tried, ..Known::new(id, Some(kind)) })
        };
        (0..4).map(known).collect()
    }

    fn draw(&self, wallet: &Wallet, half: impl Fn(&SubscriptionId) -> bool) -> Agenda {
        let due =
            self.subscriptions.values().filter(|one| half(&one.id) && one.next_due_at.is_some_and(|at| at <= self.now));
        let due: Vec<Subscription> = due.cloned().collect();
        let waits =
            |charge: &&Charge| half(&charge.subscription) && charge.state.next_at().is_some_and(|at| at <= self.now);
        let open = self
            .charges
            .values()
            .filter(waits)
            .filter(|charge| matches!(charge.state, State::Failing { .. } | State::Due { .. }));
        let open: Vec<Open> = open
            .map(|charge| Open {
                charge: charge.clone(),
                subscription: self.subscriptions[&charge.subscription].clone(),
                payers: Vec::new(),
                instrument: self.subscriptions[&charge.subscription].method.as_ref().map(|one| one.id),
                refund_ordered: false,
            })
            .collect();
        let Self { catalog, environment, limits, .. } = self;
        draw(
            &Book {
                catalog,
                environment,
                holds: &[],
                due: &due,
                open: &open,
                limits,
                wallet,
                notices: Notices::Assumed,
            },
            self.now,
        )
    }

    /// The instrument of a charge's latest attempt.
    fn last(&self, charge: &Charge) -> Option<Method> {
        let mut all = (0..4).map(method);
        all.find(|one| {
            let made = self.model.made.get(&one.id).into_iter().flatten();
            made.into_iter()
                .any(|made| made.charge == charge.id && made.attempt == charge.tries.attempt && made.attempt > 0)
        })
    }

    /// Everybody has backups: the instruments of others.
    fn with_backups() -> Self {
        let mut life = Self::begin();
        for policy in life.catalog.policies.values_mut() {
            policy.backups = Some(Backups::default());
        }
        for (n, subscription) in (0..SUBSCRIPTIONS).zip(life.subscriptions.values_mut()) {
            let own = subscription.method.as_ref().map(|own| own.id);
            let others = (1..4).map(|more| method((n + more) % 4)).filter(|other| Some(other.id) != own);
            let agreed = Agreement { by: "payer".to_owned(), at: DateTime::UNIX_EPOCH, reference: "form".to_owned() };
            subscription.backups = others.map(|method| Backup { method, agreed: agreed.clone() }).collect();
        }
        life
    }

    fn try_now(&mut self, charge: Charge, attempt: u16, method: &Method, by: By) {
        let answered = (by == By::Policy).then(|| self.model.answered(method.id, &charge, self.now)).flatten();
        let broken = self.model.forbids(&self.caps, method.kind, method.id, &charge, self.now).or(answered);
        assert!(broken.is_none(), "{}", broken.unwrap_or_default());
        let last = self.last(&charge).map(|one| one.id);
        let charge = match last {
            Some(_) => {
                let subscription = &self.subscriptions[&charge.subscription];
                taken_up(charge, subscription, last, method.id, self.now, &self.limits).unwrap()
            }
            None => charge,
        };
        let charge = charge.step(Event::Send { attempt }, self.now, &self.limits).unwrap();
        let made = Made { at: self.now, charge: charge.id, attempt, outcome: Some(Outcome::Open), code: String::new() };
        self.model.made.entry(method.id).or_default().push(made);
        self.charges.insert(charge.id, charge);
        self.tries += 1;
    }

    /// Records what was drawn, as the store does: the tries are counted again, from what is known by now.
    fn record(&mut self, agenda: &Agenda) {
        let wallet = self.wallet();
        let mut left = TriesLeft::new(&wallet, self.now);
        let mut lost = BTreeSet::new();
        let sends = |id: &SubscriptionId| -> Vec<PaymentMethodId> {
            let own = agenda.items.iter().filter(|item| item.subscription == *id);
            own.filter_map(|item| match &item.action {
                Action::Send { reason: Reason::Due, method, .. }
                    if item.charge.as_ref().is_some_and(|one| one.tries.attempt == 0) =>
                {
                    Some(method.id)
                }
                _ => None,
            })
            .collect()
        };
        for advance in &agenda.advances {
            if left.take(sends(&advance.subscription)) {
                let row = self.subscriptions.get_mut(&advance.subscription).unwrap();
                (row.next_cycle, row.next_due_at, row.status) =
                    (advance.next_cycle, advance.next_due_at, advance.status);
            } else {
                lost.insert(advance.subscription.clone());
            }
        }
        for item in &agenda.items {
            let Some(charge) = item.charge.clone() else { continue };
            let is_new = !self.charges.contains_key(&charge.id);
            match &item.action {
                Action::Send { attempt, method, .. } if is_new && !lost.contains(&item.subscription) => {
                    self.try_now(charge, *attempt, method, By::Policy);
                }
                Action::Send { attempt, method, .. } if !is_new && left.take([method.id]) => {
                    self.try_now(charge, *attempt, method, By::Policy);
                }
                Action::ParkNoMethod { .. } if !lost.contains(&item.subscription) => {
                    let charge = charge.step(Event::NoMethod, self.now, &self.limits).unwrap();
                    self.charges.insert(charge.id, charge);
                }
                _ => {}
            }
        }
    }

    /// A person's retry asks what the engine asks: the permit of the instrument, and the entries of the debit.
    fn manual(&mut self, pick: u8) {
        let failing: Vec<ChargeId> =
            self.charges.values().filter(|one| matches!(one.state, State::Failing { .. })).map(|one| one.id).collect();
        let Some(id) = failing.get(usize::from(pick) % failing.len().max(1)) else { return };
        let charge = self.charges[id].clone();
        let method = used(&self.subscriptions[&charge.subscription], &charge).unwrap().clone();
        let known = self.wallet().remove(&method.id).unwrap();
        let entered = method.kind == MethodKind::BankAccount && known.forbids_entry(&charge, self.now).is_some();
        if matches!(known.permit(self.now), Permit::Tries { left: None | Some(1..) }) && !entered {
            let attempt = charge.tries.attempt + 1;
            let ordered = charge.step(Event::Ruled(Ruling::TryNow), self.now, &self.limits).unwrap();
            self.try_now(ordered, attempt, &method, By::Person);
        }
    }

    /// Answers what is open, and takes back some of what banks have paid.
    fn answer(&mut self, luck: u8) {
        let ids: Vec<ChargeId> = self.charges.keys().copied().collect();
        for (place, id) in ids.into_iter().enumerate() {
            let charge = self.charges[&id].clone();
            let subscription = &self.subscriptions[&charge.subscription];
            let method = self.last(&charge).unwrap_or_else(|| subscription.method.clone().unwrap());
            let mixed = usize::from(luck) * 31 + place * 7 + usize::from(charge.tries.attempt) * 3;
            let roll = if luck == NO_LUCK { 39 } else { mixed % 40 };
            let declined = |class, code: &str| Seen::Declined(Decline { class, code: code.to_owned() });
            let seen = match (&charge.state, roll) {
                (State::Sending { .. }, 0) => declined(DeclineClass::Never, "stolen_card"),
                (State::Sending { .. }, 1..=4) => Seen::Succeeded { amount: charge.amount },
                (State::Sending { .. }, 5..=9) => continue,
                (State::Sending { .. }, 10..=16) => declined(DeclineClass::Unclassified, "card_declined"),
                (State::Sending { .. }, 17..=22) => declined(DeclineClass::Contact, "05"),
                (State::Sending { .. }, _) => declined(DeclineClass::LaterFunds, "insufficient_funds"),
                (State::Paid { .. }, 0..=2) if method.kind == MethodKind::BankAccount => {
                    declined(DeclineClass::LaterFunds, "R01")
                }
                _ => continue,
            };
            let wallet = self.wallet();
            let learnt =
                observe((&self.catalog, &wallet), subscription, charge, &seen, self.now, &self.limits).unwrap();
            let attempt = learnt.charge.tries.attempt;
            let outcome = match (&learnt.charge.state, &seen) {
                (State::Returned { class, .. }, _) => Some(Outcome::Returned(*class)),
                (_, Seen::Declined(decline)) => Some(Outcome::Declined(decline.class)),
                _ => None,
            };
            let made = self.model.made.get_mut(&method.id).unwrap();
            let made = made.iter_mut().find(|one| one.charge == id && one.attempt == attempt).unwrap();
            made.outcome = outcome;
            if let Seen::Declined(decline) = seen {
                made.code = decline.code;
            }
            self.charges.insert(id, learnt.charge);
        }
    }

    fn import(&mut self, instrument: u8, (count, hours, class): (u8, u16, u8), cycle: Option<(u8, u8)>) {
        let class = match class {
            0 => DeclineClass::Never,
            1..=8 => DeclineClass::LaterFunds,
            _ => DeclineClass::Unclassified,
        };
        let Method { id, kind, .. } = method(instrument);
        let became = if kind == MethodKind::BankAccount { Outcome::Returned(class) } else { Outcome::Declined(class) };
        for n in 0..count {
            self.elsewhere += 1;
            let one = TriedElsewhere {
                merchant: MERCHANT,
                reference: format!("T-{}", self.elsewhere),
                method: id,
                at: self.now - TimeDelta::hours(hours.into()) - TimeDelta::minutes(n.into()),
                became,
                code: None,
                amount: Money::new(200, Currency::USD),
                cycle: cycle.map(|(n, cycle)| (name(n), u32::from(cycle))).filter(|_| n < 2),
            };
            let made =
                Made { at: one.at, charge: one.charge(), attempt: 0, outcome: Some(became), code: String::new() };
            self.model.made.entry(id).or_default().push(made);
        }
    }

    fn live(&mut self, deeds: &[(u16, Deed)]) {
        for (minutes, deed) in deeds {
            self.now += TimeDelta::minutes((*minutes).into());
            match deed {
                Deed::Pass => {
                    let agenda = self.draw(&self.wallet(), |_| true);
                    self.record(&agenda);
                }
                Deed::Race => {
                    // The halves share every instrument.
                    let wallet = self.wallet();
                    let even = |id: &SubscriptionId| id.as_str().ends_with(['0', '2', '4', '6']);
                    let (one, other) = (self.draw(&wallet, even), self.draw(&wallet, |id| !even(id)));
                    self.record(&one);
                    self.record(&other);
                }
                Deed::Answer(luck) => self.answer(*luck),
                Deed::Manual(pick) => self.manual(*pick),
                Deed::Import { instrument, count, hours, class, cycle } => {
                    self.import(*instrument, (*count, *hours, *class), *cycle);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_sequence_of_tries_exceeds_a_cap_of_the_rule_files(deeds in deeds()) {
        let mut life = Life::begin();
        life.live(&deeds);
        prop_assert_eq!(life.model.made.values().flatten().filter(|made| made.attempt > 0).count(), life.tries);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_falling_through_exceeds_a_cap_of_any_instrument(deeds in deeds()) {
        let mut life = Life::with_backups();
        life.live(&deeds);
        prop_assert_eq!(life.model.made.values().flatten().filter(|made| made.attempt > 0).count(), life.tries);
    }
}

#[test]
fn lives_with_backups_do_fall_through() {
    let mut life = Life::with_backups();
    let deeds: Vec<(u16, Deed)> = (0..96).flat_map(|n| [(15, Deed::Race), (0, Deed::Answer(n))]).collect();
    life.live(&deeds);
    let through = life.charges.values().filter(|charge| charge.tries.fallback.is_some()).count();
    assert!(through > 3, "{through} of {}", life.charges.len());
}

#[test]
fn what_the_caps_allow_is_made_use_of() {
    let mut life = Life::begin();
    // A day of passes and declines, every quarter of an hour: three subscriptions want fifteen tries of each card.
    let deeds: Vec<(u16, Deed)> = (0..96).flat_map(|_| [(15, Deed::Race), (0, Deed::Answer(NO_LUCK))]).collect();
    life.live(&deeds);
    let made = |n: u8| life.model.made[&method(n).id].len();
    assert_eq!([made(0), made(1)], [10, 10], "as many as a day allows");
    assert_eq!([made(2), made(3)], [9, 9], "three entries of each of three debits");
    assert_eq!(life.tries, 38);
}

#[test]
fn the_model_notices_a_try_that_an_answer_forbids() {
    let mut life = Life::begin();
    life.live(&[(120, Deed::Pass)]);
    let charge = life.charges.values().find(|one| matches!(one.state, State::Sending { .. })).unwrap().clone();
    let method = life.last(&charge).unwrap().id;
    let answer = |life: &mut Life, class, code: &str| {
        let made = life.model.made.get_mut(&method).unwrap().iter_mut().find(|one| one.charge == charge.id).unwrap();
        (made.outcome, made.code) = (Some(Outcome::Declined(class)), code.to_owned());
    };
    answer(&mut life, DeclineClass::Unclassified, "card_declined");
    assert!(life.model.answered(method, &charge, life.now + TimeDelta::hours(71)).is_some());
    assert!(life.model.answered(method, &charge, life.now + TimeDelta::hours(72)).is_none());
    answer(&mut life, DeclineClass::Contact, "05");
    assert!(life.model.answered(method, &charge, life.now).is_none());
    for attempt in [2, 3] {
        let again =
            Made { attempt, ..life.model.made[&method].iter().find(|one| one.charge == charge.id).unwrap().clone() };
        life.model.made.get_mut(&method).unwrap().push(again);
    }
    assert!(life.model.answered(method, &charge, life.now + TimeDelta::days(30)).is_some());
}

#[test]
fn the_model_notices_a_try_that_is_one_too_many() {
    let mut life = Life::begin();
    life.import(0, (10, 1, 5), None);
    let planned = domain::agenda::planned(
        &life.catalog.plans[&PlanId::parse("daily").unwrap()],
        &life.subscriptions[&name(0)],
        0,
    );
    let charge = planned.unwrap().unwrap().0;
    let card = method(0);
    assert!(life.model.forbids(&life.caps, card.kind, card.id, &charge, life.now).is_some());
    assert!(life.model.forbids(&life.caps, card.kind, card.id, &charge, life.now + TimeDelta::hours(23)).is_none());
    life.import(2, (3, 30, 5), Some((6, 0)));
    let account = method(2);
    let charge = Charge { id: ChargeId::of(MERCHANT, &name(6), 0, domain::id::Purpose::Cycle), ..charge };
    assert!(
        life.model.forbids(&life.caps, account.kind, account.id, &charge, life.now).is_none(),
        "two of the three were for it"
    );
    life.import(2, (1, 20, 5), Some((6, 0)));
    assert!(life.model.forbids(&life.caps, account.kind, account.id, &charge, life.now).is_some());
}
