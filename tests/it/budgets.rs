//! Rules of networks and the ACH at work: what an instrument may be asked for, across everything that uses it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::charge::State;
use domain::dunning::{AtTheEnd, GaveUp, Policy, Step, Wait};
use domain::elsewhere::TriedElsewhere;
use domain::id::{PaymentMethodId, PolicyId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::plan::{Plan, PlanSpec};
use domain::rules::Outcome;
use domain::verdict::DeclineClass;
use sandbox::{Behaviour, DeclineCode, Faults, Options, ReturnCode};

use crate::cli_support::Bench;
use crate::world::{Backend, MERCHANT, World, bank, card, everywhere, plan, subscriber};

everywhere! {
    a_card_that_was_reported_stolen_is_tried_for_nobody_again;
    a_returned_debit_is_entered_three_times_and_no_more;
    no_card_is_declined_more_often_in_a_day_than_its_network_allows;
    what_could_not_be_sent_counts_when_it_is;
    what_another_system_tried_with_a_card_is_not_tried_here_again;
    a_debit_that_another_system_entered_twice_is_entered_once_more;
    a_debit_that_another_system_entered_three_times_is_not_entered_here;
    cycles_that_waited_for_a_limit_were_not_missed;
    cycles_that_nobody_drew_were_missed_however_many_a_limit_allows;
}

/// Plans whose policy goes on after a failure and tries on most days.
async fn apply(world: &World, specs: Vec<PlanSpec>) {
    let classes = vec![DeclineClass::Contact, DeclineClass::LaterFunds, DeclineClass::Unclassified];
    let steps = (1..=9).map(|day| Step { after: Wait::Days(day), classes: classes.clone(), method: None });
    let policy = Policy {
        id: PolicyId::parse("eager").unwrap(),
        most_attempts: 10,
        give_up_after_days: 30,
        not_past_next_due: false,
        paydays: None,
        steps: steps.collect(),
        at_the_end: AtTheEnd::KeepSubscription,
        ..Policy::standard().unwrap()
    };
    let plans = specs.into_iter().map(|mut spec| {
        spec.collect.dunning = Some("eager".to_owned());
        let plan = Plan::from_spec(&spec, 0).unwrap();
        (spec, plan)
    });
    let change = autopay::ports::CatalogChange { plans: plans.collect(), policies: vec![policy] };
    world.store.apply(&change, "test", world.now()).await.unwrap();
}

async fn states(world: &World, id: &str) -> Vec<String> {
    let charges = world.charges_of(id).await;
    charges.iter().map(|charge| format!("{} {}", charge.due_on, charge.state.word())).collect()
}

async fn a_card_that_was_reported_stolen_is_tried_for_nobody_again(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "budget_never").await else { return };
    apply(
        &world,
        vec![plan("gym", "1 month", "UTC", "10:00", "20.00"), plan("pool", "1 month", "UTC", "10:00", "5.00")],
    )
    .await;
    let stolen = || card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 1);
    world
        .enrol(vec![subscriber("a", "gym", "2027-01-05", stolen()), subscriber("b", "pool", "2027-01-06", stolen())])
        .await;
    world.run_until("2027-03-10T00:00:00Z").await;
    // One try, for the first cycle of the first of them; everything else waits for another method, by a rule that is named.
    assert_eq!(world.sandbox().ledger().submissions().len(), 1);
    assert_eq!(states(&world, "a").await, ["2027-01-05 failed", "2027-02-05 held", "2027-03-05 held"]);
    assert_eq!(states(&world, "b").await, ["2027-01-06 held", "2027-02-06 held", "2027-03-06 held"]);
    // Another card, and what was held is collected.
    let mut row =
        world.store.subscription(&world.charges_of("b").await[0].subscription).await.unwrap().unwrap().subscription;
    row.method = card(Behaviour::Pays, 2);
    world.store.import(&[row], "test", world.now()).await.unwrap();
    world.run_until("2027-03-11T00:00:00Z").await;
    assert_eq!(states(&world, "b").await, ["2027-01-06 paid", "2027-02-06 paid", "2027-03-06 paid"]);
    world.balance().await;
}

async fn a_returned_debit_is_entered_three_times_and_no_more(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "budget_ach").await else { return };
    apply(&world, vec![plan("gym", "1 year", "UTC", "10:00", "20.00")]).await;
    let returned = bank(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R01 }, 1);
    world.enrol(vec![subscriber("a", "gym", "2027-01-05", returned)]).await;
    world.run_until("2027-03-10T00:00:00Z").await;
    let charge = world.charges_of("a").await.remove(0);
    let State::Failed { why, class, .. } = &charge.state else { panic!("{:?}", charge.state) };
    assert_eq!((*why, *class, charge.tries.attempt), (GaveUp::EntriesSpent, DeclineClass::LaterFunds, 3));
    assert_eq!(world.sandbox().ledger().submissions().len(), 3, "the policy would try ten times");
    assert!(charge.sentence().contains("the bank may not be asked for it again"), "{}", charge.sentence());
    let timeline = world.store.timeline(charge.id).await.unwrap();
    let named = timeline.iter().any(|entry| {
        entry.detail.contains("ach-reinitiation, version 2015-09-18; Nacha operating rules, subsection 2.12.4")
    });
    // The map keeps no details of answers.
    assert!(named || backend == Backend::Memory, "{timeline:#?}");
    world.balance().await;
}

async fn no_card_is_declined_more_often_in_a_day_than_its_network_allows(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "budget_day").await else { return };
    apply(&world, vec![plan("gym", "1 month", "UTC", "10:00", "20.00")]).await;
    // Sixteen subscriptions on one card without funds, all due at one moment, each tried again every day.
    let names: Vec<String> = (0..16).map(|n| format!("s{n:02}")).collect();
    let poor = || card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 1);
    world.enrol(names.iter().map(|name| subscriber(name, "gym", "2027-01-05", poor())).collect()).await;
    world.live_until("2027-01-20T00:00:00Z".parse().unwrap(), TimeDelta::hours(1)).await;
    let mut made: Vec<DateTime<Utc>> = Vec::new();
    let mut by_charge: BTreeMap<String, usize> = BTreeMap::new();
    for charge in world.charges().await {
        for attempt in world.store.attempts(charge.id).await.unwrap() {
            made.push(attempt.created_at);
            *by_charge.entry(charge.subscription.to_string()).or_default() += 1;
        }
    }
    made.sort_unstable();
    let within = |end: &DateTime<Utc>, time: TimeDelta| {
        made.iter().filter(|one| *one <= end && end.signed_duration_since(**one) < time).count()
    };
    let day = made.iter().map(|end| within(end, TimeDelta::hours(24))).max().unwrap();
    let month = made.iter().map(|end| within(end, TimeDelta::days(30))).max().unwrap();
    // Nobody knows whose card it is: the strictest rule of each kind holds, and what it allows is made use of.
    assert_eq!((day, month), (10, 20));
    // Ten had their first try, and their retries use up the month; the others are not forgotten, they stay due.
    assert_eq!(by_charge.len(), 10);
    for name in &names {
        let row = world.store.subscription(&SubscriptionId::parse(name).unwrap()).await.unwrap().unwrap().subscription;
        let waits = row.next_cycle == 0 && row.next_due_at.is_some_and(|due| due < world.now());
        assert_eq!(waits, !by_charge.contains_key(name), "{name}");
    }
    assert_eq!(world.sandbox().ledger().submissions().len(), made.len());
    world.balance().await;
}

/// Tries that an outage keeps back for a day reach the network together with those of the day after: they count then.
async fn what_could_not_be_sent_counts_when_it_is(backend: Backend) {
    let faults = Faults { token_5xx: 1.0, ..Faults::none() };
    let options = Options { faults, ..Options::default() };
    let Some(world) = World::begin_with(backend, "2027-01-04T00:00:00Z", "budget_outage", options).await else {
        return;
    };
    apply(&world, vec![plan("gym", "1 year", "UTC", "10:00", "20.00")]).await;
    let poor = || card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 1);
    let due = |n: u32| if n < 10 { "2027-01-05" } else { "2027-01-06" };
    world.enrol((0..20).map(|n| subscriber(&format!("s{n:02}"), "gym", due(n), poor())).collect()).await;
    // Nothing happens in an outage: it is looked at once an hour.
    world.turn_to("2027-01-05T10:00:00Z");
    while world.now() < crate::world::at("2027-01-06T12:00:00Z") {
        world.run().await;
        world.turn(TimeDelta::hours(1));
    }
    assert_eq!(world.sandbox().ledger().submissions().len(), 0);
    world.sandbox().set_faults(Faults::none());
    world.live_until("2027-01-15T00:00:00Z".parse().unwrap(), TimeDelta::hours(6)).await;
    let mut declined: Vec<DateTime<Utc>> = Vec::new();
    for charge in world.charges().await {
        let attempts = world.store.attempts(charge.id).await.unwrap().into_iter();
        declined.extend(attempts.filter(|attempt| attempt.state == "declined").map(|attempt| attempt.updated_at));
    }
    declined.sort_unstable();
    let day = TimeDelta::hours(24);
    let within = |end: &DateTime<Utc>| declined.iter().filter(|one| *one <= end && *end - **one < day).count();
    assert_eq!(declined.iter().map(within).max(), Some(10), "{declined:?}");
    assert_eq!(world.sandbox().ledger().submissions().len(), declined.len());
    world.balance().await;
}

/// A try that another system made, perhaps of a cycle.
fn elsewhere(
    n: u32,
    world: &World,
    method: PaymentMethodId,
    ago: TimeDelta,
    of: Option<(&str, u32)>,
) -> TriedElsewhere {
    TriedElsewhere {
        merchant: MERCHANT,
        reference: format!("T-{n}"),
        method,
        at: world.now() - ago,
        became: Outcome::Declined(DeclineClass::LaterFunds),
        code: None,
        amount: Money::new(2_000, Currency::USD),
        cycle: of.map(|(id, cycle)| (SubscriptionId::parse(id).unwrap(), cycle)),
    }
}

async fn what_another_system_tried_with_a_card_is_not_tried_here_again(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-05T09:00:00Z", "budget_elsewhere").await else { return };
    apply(&world, vec![plan("gym", "1 month", "UTC", "10:00", "20.00")]).await;
    let poor = || card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 1);
    world.enrol(["a", "b", "c"].map(|name| subscriber(name, "gym", "2027-01-05", poor())).to_vec()).await;
    let method = poor().unwrap().id;
    // Eight of the ten that a network allows in a day; and a year ago, which nobody counts, many more.
    let tries = (0..8).map(|n| elsewhere(n, &world, method, TimeDelta::hours(2), None));
    let old = (8..40).map(|n| elsewhere(n, &world, method, TimeDelta::days(365), None));
    world.store.keep_tries(&tries.chain(old).collect::<Vec<_>>(), "test", world.now()).await.unwrap();
    world.turn_to("2027-01-05T10:00:00Z");
    assert_eq!(world.run().await.sent, 2);
    assert_eq!(world.sandbox().ledger().submissions().len(), 2);
    // Those of the other system are a day old at 07:00, and leave what one day allows to this one.
    world.turn_to("2027-01-06T08:00:00Z");
    world.run().await;
    assert_eq!(world.sandbox().ledger().submissions().len(), 3);
    world.balance().await;
}

async fn a_debit_that_another_system_entered_twice_is_entered_once_more(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-05T09:00:00Z", "budget_entered_twice").await else { return };
    apply(&world, vec![plan("gym", "1 year", "UTC", "10:00", "20.00")]).await;
    let returned = || bank(Behaviour::AchReturned { days: Some(1), code: ReturnCode::R01 }, 1);
    world.enrol(vec![subscriber("a", "gym", "2027-01-05", returned())]).await;
    let method = returned().unwrap().id;
    let tries = [2, 1].map(|days: u32| elsewhere(days, &world, method, TimeDelta::days(days.into()), Some(("a", 0))));
    world.store.keep_tries(&tries, "test", world.now()).await.unwrap();
    world.run_until("2027-03-10T00:00:00Z").await;
    let charge = world.charges_of("a").await.remove(0);
    let State::Failed { why, .. } = &charge.state else { panic!("{:?}", charge.state) };
    assert_eq!((*why, charge.tries.attempt, charge.tries.declined), (GaveUp::EntriesSpent, 1, 3));
    assert_eq!(charge.tries.first_failed_at, Some(tries[0].at));
    assert_eq!(world.sandbox().ledger().submissions().len(), 1, "the third entry, and no fourth");
    world.balance().await;
}

async fn a_debit_that_another_system_entered_three_times_is_not_entered_here(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-05T09:00:00Z", "budget_entered_thrice").await else { return };
    apply(&world, vec![plan("gym", "1 month", "UTC", "10:00", "20.00")]).await;
    let good = || bank(Behaviour::AchSettles { days: Some(1) }, 1);
    world.enrol(vec![subscriber("a", "gym", "2027-01-05", good())]).await;
    let method = good().unwrap().id;
    let tries =
        [30, 20, 10].map(|days: u32| elsewhere(days, &world, method, TimeDelta::days(days.into()), Some(("a", 0))));
    world.store.keep_tries(&tries, "test", world.now()).await.unwrap();
    world.run_until("2027-02-09T00:00:00Z").await;
    assert_eq!(states(&world, "a").await, ["2027-01-05 held", "2027-02-05 paid"], "the next cycle is another debit");
    assert_eq!(world.sandbox().ledger().submissions().len(), 1);
    world.balance().await;
}

async fn cycles_that_waited_for_a_limit_were_not_missed(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "budget_not_missed").await else { return };
    let mut daily = plan("daily", "1 day", "UTC", "10:00", "2.00");
    daily.schedule.catch_up = Some("ask".to_owned());
    apply(&world, vec![daily]).await;
    let poor = || card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), 1);
    world.enrol(vec![subscriber("a", "daily", "2027-01-05", poor())]).await;
    // Each day's cycle is tried again on the days after it, so that the month's twenty are used up within days.
    world.live_until("2027-02-20T00:00:00Z".parse().unwrap(), TimeDelta::hours(1)).await;
    let made = world.sandbox().ledger().submissions().len();
    assert!(made > 20, "it waited, and went on: {made}");
    let row = world.store.subscription(&SubscriptionId::parse("a").unwrap()).await.unwrap().unwrap();
    assert_eq!((row.subscription.status, row.note), (domain::subscription::SubscriptionStatus::Active, None));
    world.balance().await;
}

/// More cycles than a card may be tried in a day, and none of them was tried.
async fn cycles_that_nobody_drew_were_missed_however_many_a_limit_allows(backend: Backend) {
    let Some(world) = World::begin(backend, "2027-01-04T00:00:00Z", "budget_missed").await else { return };
    let rules = ["latest", "forgive", "ask"];
    let daily = rules.map(|rule| {
        let mut daily = plan(rule, "1 day", "UTC", "10:00", "2.00");
        daily.schedule.catch_up = Some(rule.to_owned());
        daily
    });
    apply(&world, daily.to_vec()).await;
    let rows = (1..).zip(rules).map(|(n, rule)| subscriber(rule, rule, "2027-01-05", card(Behaviour::Pays, n)));
    world.enrol(rows.collect()).await;
    world.run_until("2027-01-05T12:00:00Z").await;
    world.turn_to("2027-01-21T09:00:00Z");
    world.run().await;
    let left_out = (6..=20).map(|day| format!("2027-01-{day:02} skipped"));
    let mut expected: Vec<String> = std::iter::once("2027-01-05 paid".to_owned()).chain(left_out).collect();
    assert_eq!(states(&world, "forgive").await, expected);
    expected.pop();
    expected.push("2027-01-20 paid".to_owned());
    assert_eq!(states(&world, "latest").await, expected, "the newest alone");
    assert_eq!(states(&world, "ask").await, ["2027-01-05 paid"]);
    let asked = world.store.subscription(&SubscriptionId::parse("ask").unwrap()).await.unwrap().unwrap();
    assert!(asked.note.is_some_and(|note| note.starts_with("14 cycles were missed")));
    world.balance().await;
}

#[test]
fn rules_and_declines_are_listed_with_their_sources() {
    let bench = Bench::new();
    let rules = bench.run(&["gateway", "rules", "-o", "json"]).exits(0).json();
    let rules = rules.as_array().unwrap();
    assert_eq!(rules.len(), domain::rules::built_in().rules().len());
    for rule in rules {
        for name in ["network", "rule", "version", "says", "source"] {
            assert!(rule[name].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
        }
    }
    let ended = rules.iter().find(|rule| rule["until"] == "2025-05-24").unwrap();
    assert_eq!((&ended["rule"], &ended["version"]), (&"visa-excessive-retries".into(), &"2021-01-01".into()));
    let declines = bench.run(&["gateway", "declines", "-o", "json"]).exits(0).json();
    let of = |code: &str| declines.as_array().unwrap().iter().find(|row| row["code"] == code).unwrap()["class"].clone();
    assert_eq!((of("R01"), of("R07"), of("expired_card")), ("later_funds".into(), "never".into(), "new_data".into()));
}

#[test]
fn a_method_that_may_not_be_tried_again_says_by_which_rule() {
    let stolen = domain::wallet::Known {
        tried: vec![domain::rules::Tried {
            at: "2027-01-05T10:00:00Z".parse().unwrap(),
            charge: domain::id::ChargeId(uuid::Uuid::nil()),
            outcome: domain::rules::Outcome::Declined(DeclineClass::Never),
        }],
        ..domain::wallet::Known::new(domain::id::PaymentMethodId(uuid::Uuid::nil()), None)
    };
    let at: DateTime<Utc> = "2028-01-05T10:00:00Z".parse().unwrap();
    let domain::wallet::Charging::NoMethod(why) = stolen.charging(at.date_naive(), at) else { panic!() };
    assert!(why.contains("may not be tried again") && why.contains(", version 20"), "{why}");
}
