//! Rehearsed and forecast agree: what the real engine charged through three turned years is what the forecast said before, to the
//! cent and the day, when every method pays and when they decline.

use std::collections::{BTreeMap, BTreeSet};

use autopay::engine::forecaster::{Told, background, walk};
use autopay::ports::CatalogChange;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::calendar::Zone;
use domain::charge::{Charge, State};
use domain::dunning::{AtTheEnd, Backups, Policy};
use domain::forecast::{
    Alike, Assumptions, Forecaster, History, Member, Mood, Odds, Outcome, Past, Rail, Risk, Scenario, Script, Ties,
    Tying, Which,
};
use domain::id::{ChargeId, PolicyId, SubscriptionId};
use domain::money::Money;
use domain::plan::{Catalog, Plan, PlanSpec, StepSpec};
use domain::subscription::{Agreement, Backup, Method, Subscription, SubscriptionStatus};
use domain::verdict::DeclineClass;
use domain::wallet::Wallet;
use proptest::prelude::*;
use proptest::test_runner::Config;
use sandbox::{Behaviour, DeclineCode, ReturnCode};

use crate::world::{Backend, MERCHANT, World, bank, card, plan, subscriber};

const BEGIN: &str = "2027-01-20T00:00:00Z";
const END: &str = "2030-01-19";
const ZONES: [&str; 6] =
    ["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Europe/Berlin", "Pacific/Kiritimati"];
const RHYTHMS: [&str; 8] = ["5 days", "1 week", "2 weeks", "1 month", "1 month", "2 months", "1 quarter", "1 year"];
const ROLLS: [&str; 4] = ["none", "next", "modified_next", "previous"];

#[derive(Debug, Clone)]
struct APlan {
    rhythm: usize,
    zone: usize,
    minute: u32,
    day: u32,
    skips: bool,
    roll: usize,
    free: u16,
    /// Cents of each step, and days from the beginning at which it starts.
    steps: Vec<(u32, i64)>,
    /// `standard`, `keep` or `cut`.
    policy: usize,
    /// Cycles of a customer and day are one payment.
    together: bool,
}

#[derive(Debug, Clone)]
struct ASubscription {
    plan: usize,
    start: i64,
    end: Option<i64>,
    zone: Option<usize>,
    method: u8,
    times: u8,
    /// The number of its method, where others pay with it as well.
    instrument: Option<u64>,
}

fn plans() -> impl Strategy<Value = Vec<APlan>> {
    let steps = prop::collection::vec((prop_oneof![9 => 1..50_000_u32, 1 => Just(0)], 1..700_i64), 0..3);
    let schedule = (0..RHYTHMS.len(), 0..ZONES.len(), 0..1_440_u32, 1..=32_u32, any::<bool>(), 0..ROLLS.len());
    let free = prop_oneof![2 => Just(0_u16), 1 => 1..60_u16];
    let one = (schedule, free, 1..50_000_u32, steps, 0..3_usize, prop::bool::weighted(0.3)).prop_map(
        |((rhythm, zone, minute, day, skips, roll), free, first, mut steps, policy, together)| {
            steps.push((first, -4_000));
            steps.sort_by_key(|(_, from)| *from);
            steps.dedup_by_key(|(_, from)| *from);
            APlan { rhythm, zone, minute, day, skips, roll, free, steps, policy, together }
        },
    );
    prop::collection::vec(one, 3)
}

fn subscriptions(methods: impl Strategy<Value = u8>) -> impl Strategy<Value = Vec<ASubscription>> {
    let one = (
        0..3_usize,
        -400..200_i64,
        proptest::option::weighted(0.3, 0..900_i64),
        proptest::option::weighted(0.3, 0..ZONES.len()),
        methods,
        1..5_u8,
    )
        .prop_map(|(plan, start, end, zone, method, times)| ASubscription {
            plan,
            start,
            end,
            zone,
            method,
            times,
            instrument: None,
        });
    prop::collection::vec(one, 1..5)
}

/// The same, where most pay with one of two methods.
fn sharing(methods: impl Strategy<Value = u8>) -> impl Strategy<Value = Vec<ASubscription>> {
    let which = prop::collection::vec(prop_oneof![1 => Just(None), 4 => (0..2_usize).prop_map(Some)], 5);
    (subscriptions(methods), which).prop_map(|(mut book, which)| {
        let first = book[0].clone();
        let last = book.last().cloned().unwrap();
        for (one, which) in book.iter_mut().zip(which) {
            if let Some(which) = which {
                let whose = [&first, &last][which];
                (one.method, one.times) = (whose.method, whose.times);
                one.instrument = Some(500 + u64::try_from(which).unwrap());
            }
        }
        book
    })
}

/// Plans whose cycles fall on the same days at different hours, and are one payment for whoever has several of them.
fn joint() -> impl Strategy<Value = Vec<APlan>> {
    plans().prop_map(|mut plans| {
        let first = plans[0].clone();
        for plan in &mut plans {
            let APlan { minute, steps, free, .. } = plan.clone();
            *plan = APlan { minute, steps, free, together: true, ..first.clone() };
        }
        plans
    })
}

fn begin() -> DateTime<Utc> {
    BEGIN.parse().unwrap()
}

/// A method, and what its declines are classed as: for so many first attempts, or always.
fn method(one: &ASubscription, n: u64) -> (Option<Method>, Option<(DeclineClass, bool)>) {
    use DeclineClass::{Contact, LaterFunds, LaterTechnical, Never, NewData, Unclassified};
    let n = one.instrument.unwrap_or(n);
    let then = |code| card(Behaviour::DeclinesThenPays { times: one.times, code }, n);
    let always = |code| card(Behaviour::DeclinesWith(code), n);
    match one.method {
        0 => (None, None),
        1 => (bank(Behaviour::AchSettles { days: Some(3) }, n), None),
        2 => (then(DeclineCode::InsufficientFunds), Some((LaterFunds, false))),
        3 => (then(DeclineCode::ProcessingError), Some((LaterTechnical, false))),
        4 => (then(DeclineCode::DoNotHonor), Some((Contact, false))),
        5 => (always(DeclineCode::InsufficientFunds), Some((LaterFunds, true))),
        6 => (always(DeclineCode::StolenCard), Some((Never, true))),
        7 => (card(Behaviour::DeclinesPlainly, n), Some((Unclassified, true))),
        8 => (bank(Behaviour::AchReturned { days: Some(3), code: ReturnCode::R01 }, n), Some((LaterFunds, true))),
        10 => (bank(Behaviour::AchReturned { days: Some(3), code: ReturnCode::R08 }, n), Some((Contact, true))),
        11 => (bank(Behaviour::AchReturned { days: Some(3), code: ReturnCode::R02 }, n), Some((Never, true))),
        // What banks have no code for fails at once.
        12 => (bank(Behaviour::DeclinesWith(DeclineCode::ProcessingError), n), Some((LaterTechnical, true))),
        13 => (bank(Behaviour::DeclinesPlainly, n), Some((Unclassified, true))),
        14 => (bank(Behaviour::DeclinesWith(DeclineCode::ExpiredCard), n), Some((NewData, true))),
        15 => (always(DeclineCode::DoNotHonor), Some((Contact, false))),
        16 => (always(DeclineCode::InsufficientFunds), Some((LaterFunds, false))),
        _ => (card(Behaviour::Pays, n), None),
    }
}

/// The last two kinds have a card that pays behind the one that does not; the policy `keep` lets them fall through.
fn backups(one: &ASubscription, n: u64) -> Vec<Backup> {
    if !matches!(one.method, 15 | 16) {
        return Vec::new();
    }
    let agreed = Agreement { by: "member".to_owned(), at: begin(), reference: "form-7".to_owned() };
    card(Behaviour::Pays, one.instrument.unwrap_or(n) + 1_000)
        .into_iter()
        .map(|method| Backup { method, agreed: agreed.clone() })
        .collect()
}

fn spec(n: usize, its: &APlan) -> PlanSpec {
    let hour = format!("{:02}:{:02}", its.minute / 60, its.minute % 60);
    let mut spec = plan(&format!("plan-{n}"), RHYTHMS[its.rhythm], ZONES[its.zone], &hour, "1.00");
    let some = |text: &str| Some(text.to_owned());
    if its.rhythm >= 3 {
        spec.schedule.on_day = Some(match its.day {
            32 => "last_day".to_owned(),
            day => day.to_string(),
        });
        spec.schedule.if_day_missing = its.skips.then(|| "skip".to_owned());
    }
    if its.roll > 0 {
        (spec.schedule.business_days, spec.schedule.calendar) = (some(ROLLS[its.roll]), some("us-federal-reserve"));
    }
    spec.schedule.free_first = (its.free > 0).then(|| format!("{} days", its.free));
    spec.amount.value = None;
    spec.amount.step = its
        .steps
        .iter()
        .map(|(cents, from)| StepSpec {
            from: (begin().date_naive() + TimeDelta::days(*from)).to_string(),
            value: format!("{}.{:02}", cents / 100, cents % 100),
            ..StepSpec::default()
        })
        .collect();
    spec.collect.dunning = some(["standard", "keep", "cut"][its.policy]);
    spec.collect.consolidate = its.together.then(|| "customer_and_day".to_owned());
    spec
}

fn policies() -> Vec<Policy> {
    let named = |id: &str| Policy { id: PolicyId::parse(id).unwrap(), ..Policy::standard().unwrap() };
    let backups = Some(Backups::default());
    let keep = Policy { at_the_end: AtTheEnd::KeepSubscription, backups, ..named("keep") };
    let cut = Policy { not_past_next_due: true, ..named("cut") };
    vec![keep, cut]
}

struct Rehearsal {
    /// What became of each charge: due date, amount, and the outcome with its day.
    engine: BTreeMap<(String, u32), String>,
    forecast: BTreeMap<(String, u32), String>,
}

/// Lives through three years, and forecasts them from their first moment.
async fn rehearse(plans: &[APlan], subscriptions: &[ASubscription], limits: Limits) -> Rehearsal {
    let mut world = World::begin(Backend::Memory, BEGIN, "forecast").await.unwrap();
    let specs: Vec<PlanSpec> = plans.iter().enumerate().map(|(n, its)| spec(n, its)).collect();
    let known = specs.iter().map(|spec| (spec.clone(), Plan::from_spec(spec, 0).unwrap())).collect();
    world.store.apply(&CatalogChange { plans: known, policies: policies() }, "test", begin()).await.unwrap();
    let mut rows = Vec::new();
    for (n, one) in subscriptions.iter().enumerate() {
        let start = begin().date_naive() + TimeDelta::days(one.start);
        let (method, _) = method(one, u64::try_from(n).unwrap());
        let mut row = subscriber(&format!("sub-{n}"), &format!("plan-{}", one.plan), &start.to_string(), method);
        row.backups = backups(one, u64::try_from(n).unwrap());
        row.end_on = one.end.map(|days| start + TimeDelta::days(days));
        row.zone = one.zone.map(|zone| Zone::parse(ZONES[zone]).unwrap());
        rows.push(row);
    }
    world.enrol(rows).await;
    let book: Vec<Subscription> =
        world.store.subscriptions(None, None, 100).await.unwrap().into_iter().map(|view| view.subscription).collect();
    let catalog = world.store.catalog().await.unwrap();
    let until: NaiveDate = END.parse().unwrap();
    // Retries of the last cycles, and bank debits, need their days.
    world.live_until((until + TimeDelta::days(45)).and_hms_opt(0, 0, 0).unwrap().and_utc(), TimeDelta::days(1)).await;

    let zone_of = |row: &Subscription| row.zone.clone().unwrap_or_else(|| catalog.plans[&row.plan].zone.clone());
    let mut engine = BTreeMap::new();
    let mut script = Script::default();
    let charges: BTreeMap<ChargeId, Charge> =
        world.charges().await.into_iter().map(|charge| (charge.id, charge)).collect();
    let ids: Vec<ChargeId> = charges.keys().copied().collect();
    let collected = world.store.paid_together(&ids).await.unwrap().into_iter();
    let collected: BTreeMap<ChargeId, ChargeId> = collected.map(|one| (one.part.charge, one.by)).collect();
    for row in &book {
        let one = &subscriptions[row.id.as_str()[4..].parse::<usize>().unwrap()];
        let class = method(one, 0).1;
        if let Some((class, true)) = class {
            let which = Which { subscription: Some(row.id.clone()), ..Which::default() };
            script.add(which, Outcome::Declined(class));
        }
        for charge in world.charges_of(row.id.as_str()).await {
            if let Some((class, false)) = class {
                for attempt in 1..=charge.tries.declined {
                    let which =
                        Which { subscription: Some(row.id.clone()), cycle: Some(charge.cycle), attempt: Some(attempt) };
                    script.add(which, Outcome::Declined(class));
                }
            }
            let payment = collected.get(&charge.id).map_or(&charge, |by| &charges[by]);
            let declined = payment.tries.declined;
            let outcome = match &payment.state {
                // A bank says days later that it paid.
                State::Paid { .. } if one.method == 1 => format!("paid after {declined} declines"),
                State::Paid { at, .. } => {
                    let day = zone_of(row).civil(*at).unwrap().date;
                    format!("paid on {day} after {declined} declines")
                }
                State::Failed { .. } => format!("failed after {declined} declines"),
                other => other.word().to_owned(),
            };
            if charge.due_on <= until {
                let carried = charge.carried.map_or(0, |carried| carried.amount.minor());
                let amount = Money::new(charge.amount.minor() - carried, charge.amount.currency());
                let line = format!("{} {amount} {outcome}", charge.due_on);
                engine.insert((row.id.to_string(), charge.cycle), line);
            }
        }
    }

    let scenario = if subscriptions.iter().any(|one| method(one, 0).1.is_some()) {
        Scenario::Script(script)
    } else {
        Scenario::AllPay
    };
    let wallet = Wallet::new();
    let given = Assumptions {
        notices: domain::notice::Notices::Assumed,
        catalog: &catalog,
        holds: &[],
        wallet: &wallet,
        limits: &world.limits,
        as_of: begin(),
        until,
        scenario: &scenario,
    };
    let mut forecaster = Forecaster::new(given).unwrap();
    let mut forecast = BTreeMap::new();
    for group in groups(&book, &catalog, &scenario) {
        let members: Vec<Member<'_>> =
            group.iter().map(|subscription| Member { subscription, open: &[], past: Past::Clean }).collect();
        let troubles = forecaster.walk_together(&members, &mut |place, entry| {
            let id = &group[place].id;
            assert_eq!(*id, entry.subscription.id);
            let one = &subscriptions[id.as_str()[4..].parse::<usize>().unwrap()];
            let declines = entry.declined;
            let outcome = match entry.pieces {
                [_] if one.method == 1 => format!("paid after {declines} declines"),
                [piece] => format!("paid on {} after {declines} declines", piece.on),
                // A paused subscription is charged nothing: the engine has no such charge.
                _ if entry.risks.has(Risk::Paused) && declines == 0 => return,
                _ if entry.risks.has(Risk::GivenUp) => format!("failed after {declines} declines"),
                // Its subscription was paused between two tries.
                _ if entry.risks.has(Risk::Paused) => "failing".to_owned(),
                _ => entry.word.to_owned(),
            };
            let line = format!("{} {} {outcome}", entry.due_on, entry.amount);
            assert!(forecast.insert((id.to_string(), entry.cycle), line).is_none(), "a cycle stands there twice");
        });
        assert!(troubles.iter().all(Option::is_none), "{troubles:?}");
    }
    // What a network's limit puts off for long is still to come when the three years are over.
    for row in book.iter().filter(|_| limits == Limits::LeftOut) {
        let whose = |other: &&Subscription| {
            other.method.as_ref().map(|method| method.id) == row.method.as_ref().map(|method| method.id)
        };
        let ids: Vec<&str> = book.iter().filter(whose).map(|other| other.id.as_str()).collect();
        if is_at_its_limit(&world, &ids).await {
            let others = |key: &(String, u32)| key.0 != row.id.as_str();
            engine.retain(|key, _| others(key));
            forecast.retain(|key, _| others(key));
        }
    }
    world.may_end_unknown = false;
    world.balance().await;
    Rehearsal { engine, forecast }
}

/// The book as a forecast walks it.
fn groups(book: &[Subscription], catalog: &Catalog, scenario: &Scenario) -> Vec<Vec<Subscription>> {
    let ties = |row| Ties::of(&[catalog], row, &[]);
    let mut tying = Tying::default();
    if Tying::is_needed(scenario) {
        book.iter().for_each(|row| tying.note(&ties(row), scenario, row));
    }
    let mut groups = tying.done();
    book.iter().filter_map(|row| groups.come(&ties(row), row.clone())).collect()
}

/// Did the tries of these subscriptions, which share a method, ever come to the strictest limit: 10 that were declined in a day, 20 in a
/// month?
async fn is_at_its_limit(world: &World, ids: &[&str]) -> bool {
    let mut declined = Vec::new();
    for id in ids {
        for charge in world.charges_of(id).await {
            let attempts = world.store.attempts(charge.id).await.unwrap();
            declined.extend(attempts.iter().filter(|one| one.state != "succeeded").map(|one| one.created_at));
        }
    }
    declined.sort_unstable();
    let within = |end: &DateTime<Utc>, time: TimeDelta| {
        declined.iter().filter(|one| *one <= end && end.signed_duration_since(**one) < time).count()
    };
    declined.iter().any(|end| within(end, TimeDelta::hours(24)) >= 10 || within(end, TimeDelta::days(30)) >= 20)
}

/// What becomes of subscriptions whose methods come to a network's limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Limits {
    /// They are not compared.
    LeftOut,
    Compared,
}

fn agree(plans: &[APlan], subscriptions: &[ASubscription], limits: Limits) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Rehearsal { engine, forecast } = runtime.block_on(rehearse(plans, subscriptions, limits));
    let keys: BTreeSet<_> = engine.keys().chain(forecast.keys()).collect();
    let differ: Vec<String> = keys
        .into_iter()
        .filter(|key| engine.get(*key) != forecast.get(*key))
        .map(|key| format!("{key:?}\n  engine   {:?}\n  forecast {:?}", engine.get(key), forecast.get(key)))
        .collect();
    prop_assert!(differ.is_empty(), "{} differences\n{}", differ.len(), differ.join("\n"));
    Ok(())
}

fn config(cases: u32) -> Config {
    Config { cases, max_shrink_iters: 60, failure_persistence: None, ..Config::default() }
}

#[test]
fn what_the_engine_charged_in_three_years_is_what_was_forecast_when_all_pay() {
    let methods = prop_oneof![1 => Just(0_u8), 2 => Just(1_u8), 7 => Just(9_u8)];
    proptest!(config(8), |(plans in plans(), subscriptions in sharing(methods))| {
        agree(&plans, &subscriptions, Limits::LeftOut)?;
    });
}

fn declining() -> impl Strategy<Value = u8> {
    prop_oneof![6 => 2..=8_u8, 6 => 10..=16_u8, 1 => Just(9_u8)]
}

#[test]
fn what_the_engine_charged_in_three_years_is_what_was_forecast_by_the_same_script_of_declines() {
    proptest!(config(8), |(plans in plans(), subscriptions in subscriptions(declining()))| {
        agree(&plans, &subscriptions, Limits::LeftOut)?;
    });
}

/// A decline that binds an instrument binds everybody who pays with it.
#[test]
fn what_the_engine_charged_to_shared_methods_is_what_was_forecast() {
    proptest!(config(10), |(plans in plans(), subscriptions in sharing(declining()))| {
        agree(&plans, &subscriptions, Limits::LeftOut)?;
    });
}

/// What becomes of a payment becomes of every cycle that it collects.
#[test]
fn what_the_engine_charged_in_one_payment_is_what_was_forecast() {
    proptest!(config(10), |(plans in joint(), mut subscriptions in sharing(declining()))| {
        subscriptions.iter_mut().for_each(|one| one.zone = None);
        agree(&plans, &subscriptions, Limits::LeftOut)?;
    });
}

/// Where a network leaves too few tries to all who pay with a card, the same ones have them.
#[test]
fn what_the_engine_charged_at_a_networks_limit_is_what_was_forecast() {
    let methods = prop_oneof![1 => 2..=5_u8, 1 => Just(16_u8)];
    proptest!(config(10), |(mut plans in plans(), mut subscriptions in sharing(methods), days in 20..120_i64)| {
        plans.iter_mut().for_each(|plan| plan.rhythm %= 3);
        for one in &mut subscriptions {
            (one.start, one.times) = (one.start.rem_euclid(20), 4);
            one.end = Some(days);
        }
        agree(&plans, &subscriptions, Limits::Compared)?;
    });
}

/// The quick way through a plain subscription says what the agenda, folded step by step, says.
#[test]
fn the_quick_walk_and_the_fold_are_one() {
    let methods = prop_oneof![1 => Just(1_u8), 3 => Just(9_u8)];
    proptest!(config(60), |(plans in plans(), subscriptions in subscriptions(methods))| {
        let mut catalog = Catalog::default();
        for (n, its) in plans.iter().enumerate() {
            let plan = Plan::from_spec(&spec(n, its), 0).unwrap();
            catalog.plans.insert(plan.id.clone(), plan);
        }
        catalog.policies.extend(policies().into_iter().map(|policy| (policy.id.clone(), policy)));
        let until: NaiveDate = END.parse().unwrap();
        let limits = domain::charge::Limits::default();
        for (n, one) in subscriptions.iter().enumerate() {
            let start = begin().date_naive() + TimeDelta::days(one.start);
            let mut row = subscriber(&format!("sub-{n}"), &format!("plan-{}", one.plan), &start.to_string(), method(one, 1).0);
            row.end_on = one.end.map(|days| start + TimeDelta::days(days));
            row.zone = one.zone.map(|zone| Zone::parse(ZONES[zone]).unwrap());
            let (cycle, due) = domain::agenda::enrol(&catalog.plans[&row.plan], &row, begin()).unwrap();
            (row.next_cycle, row.next_due_at) = (cycle, due);
            if due.is_none() {
                row.status = SubscriptionStatus::Ended;
            }
            for mood in [None, Some(Mood::Likely), Some(Mood::Worst)] {
                let scenario = mood.map_or(Scenario::AllPay, |mood| Scenario::Odds(Odds::new(History::default(), mood)));
                let mut walks = Vec::new();
                // What is known of the method says nothing against it, and sends the second walk through the fold.
                let id = row.method.as_ref().unwrap().id;
                let usable = Wallet::from([(id, domain::wallet::Known::new(id, None))]);
                for wallet in [Wallet::new(), usable] {
                    let given = Assumptions { notices: domain::notice::Notices::Assumed,
                        catalog: &catalog, holds: &[], wallet: &wallet, limits: &limits, as_of: begin(), until, scenario: &scenario,
                    };
                    let mut lines = Vec::new();
                    let trouble = Forecaster::new(given).unwrap().walk(&row, &[], Past::Clean, &mut |entry| {
                        lines.push(format!(
                            "{:?} {} {} {} {} {} {} {:?} {:?}",
                            entry.kind, entry.cycle, entry.due_on, entry.on, entry.submit_on, entry.charge_at, entry.amount, entry.risks, entry.pieces
                        ));
                    });
                    walks.push((lines, trouble));
                }
                prop_assert_eq!(&walks[0], &walks[1]);
            }
        }
    });
}

/// What is said of the book of a world, a line a charge.
async fn live(world: &World, scenario: &Scenario, until: &str) -> Vec<String> {
    let background = background(world.store.as_ref(), MERCHANT, world.now(), false).await.unwrap();
    let mut lines = Vec::new();
    let when = (world.now(), until.parse().unwrap());
    walk(world.store.as_ref(), &background, (MERCHANT, &world.limits), when, scenario, |told| match told {
        Told::Charge(entry, _) => {
            let risks: Vec<&str> = entry.risks.iter().map(Risk::word).collect();
            lines.push(format!(
                "{} {} {} {} {} [{}] {}",
                entry.subscription.id,
                entry.cycle,
                entry.on,
                entry.kind.word(),
                entry.word,
                risks.join(","),
                entry.chance()
            ));
        }
        Told::Subscription(_, trouble) => assert_eq!(trouble, None),
    })
    .await
    .unwrap();
    lines
}

#[tokio::test]
async fn of_a_live_book_failing_charges_and_what_the_wallet_says_are_known() {
    for backend in [Backend::Memory, Backend::Sqlite, Backend::Postgres] {
        let Some(world) = World::begin(backend, "2027-01-01T00:00:00Z", "live forecast").await else { continue };
        world.apply(&[plan("gym", "1 month", "UTC", "06:00", "42.00")]).await;
        let declines = Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds };
        world
            .enrol(vec![
                subscriber("declined", "gym", "2027-01-05", card(declines, 1)),
                subscriber("expiring", "gym", "2027-01-20", card(Behaviour::Pays, 2)),
                subscriber("without", "gym", "2027-01-20", None),
            ])
            .await;
        world.run_until("2027-01-06T00:00:00Z").await;
        let lines = live(&world, &Scenario::AllPay, "2027-02-28").await;
        assert_eq!(
            lines,
            [
                // Three days after the decline.
                "declined 0 2027-01-08 retry failing [in_dunning] 1000000",
                "declined 1 2027-02-05 scheduled planned [] 1000000",
                "expiring 0 2027-01-20 scheduled planned [] 1000000",
                "expiring 1 2027-02-20 scheduled planned [] 1000000",
                "without 0 2027-01-20 scheduled held [no_method] 0",
                "without 1 2027-02-20 scheduled held [no_method] 0",
            ],
            "{backend:?}"
        );
        let odds = Scenario::Odds(Odds::new(History::default(), Mood::Likely));
        let lines = live(&world, &odds, "2027-01-31").await;
        // A second try of a declined card: a chance of 35 %, and what further tries of its policy add.
        assert!(lines[0].starts_with("declined 0 2027-01-08 retry failing [in_dunning] 53"), "{lines:?}");
        // Nobody paid for what the forecast imagined.
        assert_eq!(world.charges().await.len(), 1);
        world.balance().await;
    }
}

/// A card that may not be tried again binds everybody in the live book: before it was declined, by the script, and afterwards.
#[tokio::test]
async fn of_a_live_book_those_who_share_a_card_are_walked_together() {
    let world = World::begin(Backend::Memory, "2027-01-01T00:00:00Z", "shared card").await.unwrap();
    world.apply(&[plan("gym", "1 month", "UTC", "06:00", "42.00")]).await;
    let stolen = || card(Behaviour::DeclinesWith(DeclineCode::StolenCard), 1);
    world
        .enrol(vec![
            subscriber("alone", "gym", "2027-01-20", card(Behaviour::Pays, 2)),
            subscriber("first", "gym", "2027-01-05", stolen()),
            subscriber("then", "gym", "2027-01-20", stolen()),
        ])
        .await;
    let mut script = Script::default();
    let which = Which { subscription: SubscriptionId::parse("first").ok(), ..Which::default() };
    script.add(which, Outcome::Declined(DeclineClass::Never));
    let script = Scenario::Script(script);
    let of_others = [
        "alone 0 2027-01-20 scheduled planned [] 1000000",
        "alone 1 2027-02-20 scheduled planned [] 1000000",
        "then 0 2027-01-20 scheduled held [network_rule] 0",
        "then 1 2027-02-20 scheduled held [network_rule] 0",
    ];
    let first = ["first 0 2027-01-05 scheduled planned [given_up] 0", "first 1 2027-02-05 scheduled held [paused] 0"];
    let expected = [&of_others[..2], &first, &of_others[2..]].concat();
    assert_eq!(live(&world, &script, "2027-02-28").await, expected);
    world.run_until("2027-01-06T00:00:00Z").await;
    assert_eq!(live(&world, &script, "2027-02-28").await, [&of_others[..2], &first[1..], &of_others[2..]].concat());
    world.run_until("2027-02-25T00:00:00Z").await;
    let charges = world.charges().await;
    let mut words: Vec<String> = charges
        .iter()
        .map(|charge| format!("{} {} {}", charge.subscription, charge.cycle, charge.state.word()))
        .collect();
    words.sort();
    assert_eq!(words, ["alone 0 paid", "alone 1 paid", "first 0 failed", "then 0 held", "then 1 held"]);
    world.balance().await;
}

#[tokio::test]
async fn tries_of_a_live_book_are_counted_and_few_of_them_do_not_count() {
    let world = World::begin(Backend::Memory, "2027-01-01T00:00:00Z", "history").await.unwrap();
    world.apply(&[plan("gym", "1 month", "UTC", "06:00", "42.00")]).await;
    let declines = Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds };
    let rows = (0..40_u64).map(|n| {
        let behaviour = if n < 10 { declines } else { Behaviour::Pays };
        subscriber(&format!("sub-{n:02}"), "gym", "2027-01-05", card(behaviour, n))
    });
    world.enrol(rows.collect()).await;
    world.run_until("2027-01-20T00:00:00Z").await;
    let known = background(world.store.as_ref(), MERCHANT, world.now(), true).await.unwrap();
    let odds = Odds::new(known.history, Mood::Likely);
    let first = odds.first(Rail::Card, Past::Clean);
    // Thirty of forty paid at once; with eighteen of twenty assumed: 48 of 60.
    assert_eq!((first.sample.tries, first.sample.paid, first.enough, first.ppm), (40, 30, true, 800_000));
    let second = odds.estimate(Alike { rail: Rail::Card, attempt: 2, past: Past::Clean });
    assert_eq!((second.sample.tries, second.sample.paid, second.enough, second.ppm), (10, 10, false, 350_000));
    world.balance().await;
}
