//! Properties over random books, faults and histories: a dry run announces exactly what a run does, the books balance, and
//! what falls due is what an independent walk through the calendar says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use autopay::engine::WalletKeeper;
use autopay::gateway::CcgGateway;
use autopay::ports::captures::OrderRecord;
use autopay::ports::instrument::InstrumentNews;
use autopay::ports::wallet::Whose;
use autopay::ports::{CatalogChange, ChargeFilter, Gateway as _};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use domain::agenda::{Action, Reason, Scope};
use domain::authorization::OrderKind;
use domain::charge::{Event, SkipWhy, State};
use domain::dunning::{AtTheEnd, Policy};
use domain::id::{PaymentMethodId, PlanId, PolicyId, SubscriptionId};
use domain::money::Money;
use domain::plan::{Plan, PlanSpec, SplitSpec};
use domain::rules::Permit;
use domain::subscription::{Method, Subscription};
use proptest::prelude::*;
use proptest::test_runner::Config;
use sandbox::{Behaviour, DeclineCode, Faults, Idempotency, MethodStatus, Options, ReturnCode, WalletMethod};
use tokio_util::sync::CancellationToken;

use crate::world::{Backend, MERCHANT, World, bank, card, client, plan, subscriber};

const BEGIN: &str = "2027-01-20T00:00:00Z";
const ZONES: [&str; 5] = ["UTC", "America/New_York", "Australia/Sydney", "Asia/Kolkata", "Europe/Berlin"];
const RHYTHMS: [&str; 7] = ["1 day", "3 days", "1 week", "2 weeks", "1 month", "2 months", "1 quarter"];

/// A plan by numbers.
#[derive(Debug, Clone)]
struct APlan {
    rhythm: usize,
    zone: usize,
    minute: u32,
    day: u32,
    cents: u32,
    /// How it collects: 0 to 2 set money aside, 3 and 4 share the charge, the others sell; 5 and 6 together with others.
    collects: u8,
}

#[derive(Debug, Clone)]
struct ASubscription {
    plan: usize,
    /// Days from the beginning, may lie before it.
    start: i64,
    /// Days from the start.
    end: Option<i64>,
    zone: Option<usize>,
    method: u8,
}

#[derive(Debug, Clone)]
struct ABook {
    plans: Vec<APlan>,
    subscriptions: Vec<ASubscription>,
}

#[derive(Debug, Clone)]
struct AHold {
    from: i64,
    days: i64,
    scope: usize,
}

fn book() -> impl Strategy<Value = ABook> {
    let a_plan = (
        0..RHYTHMS.len(),
        0..ZONES.len(),
        0..1_440_u32,
        1..=32_u32,
        prop_oneof![9 => 1..50_000_u32, 1 => Just(0)],
        0..9_u8,
    )
        .prop_map(|(rhythm, zone, minute, day, cents, collects)| APlan {
            rhythm,
            zone,
            minute,
            day,
            cents,
            collects,
        });
    let a_subscription = (
        0..3_usize,
        -100..40_i64,
        proptest::option::weighted(0.2, 0..150_i64),
        proptest::option::weighted(0.3, 0..ZONES.len()),
        0..15_u8,
    )
        .prop_map(|(plan, start, end, zone, method)| ASubscription { plan, start, end, zone, method });
    (prop::collection::vec(a_plan, 3), prop::collection::vec(a_subscription, 1..8))
        .prop_map(|(plans, subscriptions)| ABook { plans, subscriptions })
}

fn holds() -> impl Strategy<Value = Vec<AHold>> {
    let one = (0..60_i64, 1..12_i64, 0..8_usize).prop_map(|(from, days, scope)| AHold { from, days, scope });
    prop::collection::vec(one, 0..3)
}

fn faults() -> impl Strategy<Value = Faults> {
    let rate = || prop_oneof![3 => Just(0.0), 1 => 0.0..0.25_f64];
    (rate(), rate(), rate(), rate(), rate(), rate(), (rate(), rate(), rate())).prop_map(
        |(
            cut_before_commit,
            cut_after_commit,
            error_before_commit,
            error_after_commit,
            rate_limited,
            truncated_answer,
            more,
        )| Faults {
            cut_before_commit,
            cut_after_commit,
            error_before_commit,
            error_after_commit,
            rate_limited,
            truncated_answer,
            get_5xx: more.0,
            late_commit: more.1,
            late_commit_ms: 1,
            unauthorized: more.2,
            ..Faults::none()
        },
    )
}

fn idempotency() -> impl Strategy<Value = Idempotency> {
    prop_oneof![Just(Idempotency::Replay), Just(Idempotency::NewAttemptAfterFailed), Just(Idempotency::RejectDuplicate)]
}

fn method(kind: u8, n: u64) -> Option<Method> {
    match kind {
        0 => None,
        1 => card(Behaviour::declines(2), n),
        2 => card(Behaviour::DeclinesWith(DeclineCode::InsufficientFunds), n),
        3 => card(Behaviour::DeclinesWith(DeclineCode::StolenCard), n),
        4 => card(Behaviour::DeclinesPlainly, n),
        5 => card(Behaviour::Demands3ds, n),
        6 => bank(Behaviour::AchSettles { days: Some(3) }, n),
        7 => bank(Behaviour::AchReturned { days: Some(2), code: ReturnCode::R01 }, n),
        8 => card(Behaviour::ApprovesPart { percent: 60 }, n),
        _ => card(Behaviour::Pays, n),
    }
}

/// What happens to the method of a subscription.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Listed { month: u8, year: u16 },
    Invalidated,
    Deleted,
    Replaced { shown: bool },
    Disputed,
    DisputeEnded,
}

fn fates() -> impl Strategy<Value = Vec<(usize, Fate)>> {
    let fate = prop_oneof![
        (1..=12_u8, 2026..=2028_u16).prop_map(|(month, year)| Fate::Listed { month, year }),
        Just(Fate::Invalidated),
        Just(Fate::Deleted),
        any::<bool>().prop_map(|shown| Fate::Replaced { shown }),
        Just(Fate::Disputed),
        Just(Fate::DisputeEnded),
    ];
    prop::collection::vec((0..8_usize, fate), 0..6)
}

/// Orders a capture of everything or of a part of whatever is set aside, and sends none of it.
async fn order_captures(world: &World) {
    let gateway = CcgGateway::new(client(world.sandbox()), MERCHANT);
    for (n, charge) in (1_i64..).zip(world.charges().await) {
        let State::Authorized { hold, .. } = &charge.state else { continue };
        let amount = Money::new((hold.amount.minor() / (n % 3 + 1)).max(1), hold.amount.currency());
        let after = charge.clone().step(Event::Capture { amount }, world.now(), &world.limits).unwrap();
        let order = OrderRecord {
            charge: charge.id,
            attempt: charge.tries.attempt,
            kind: OrderKind::Capture,
            amount,
            body: gateway.compose_order(OrderKind::Capture, amount).unwrap(),
            by: "test".to_owned(),
            at: world.now(),
        };
        assert!(world.store.order_capture(&after, &order).await.unwrap());
    }
}

fn begin() -> DateTime<Utc> {
    BEGIN.parse().unwrap()
}

impl ABook {
    fn spec(&self, n: usize) -> PlanSpec {
        let one = &self.plans[n];
        let price = format!("{}.{:02}", one.cents / 100, one.cents % 100);
        let hour = format!("{:02}:{:02}", one.minute / 60, one.minute % 60);
        let mut spec = plan(&format!("plan-{n}"), RHYTHMS[one.rhythm], ZONES[one.zone], &hour, &price);
        if self.monthly(n).is_some() {
            spec.schedule.on_day = Some(if one.day == 32 { "last_day".to_owned() } else { one.day.to_string() });
        }
        spec.collect.dunning = Some("keep".to_owned());
        let some = |text: &str| Some(text.to_owned());
        match one.collects {
            0 => spec.collect.mode = some("authorize"),
            1 => {
                (spec.collect.mode, spec.collect.when_hold_expires) = (some("authorize"), some("reauthorize"));
                spec.collect.partial_authorization = some("accept");
            }
            2 => (spec.collect.mode, spec.collect.when_hold_expires) = (some("authorize"), some("skip")),
            3 => spec.collect.split = Some(SplitSpec { share: some("33.33%"), ..SplitSpec::default() }),
            4 => spec.collect.split = Some(SplitSpec { fixed: some("25.00"), ..SplitSpec::default() }),
            5 | 6 => spec.collect.consolidate = some("customer_and_day"),
            _ => {}
        }
        spec
    }

    /// Months of a stride, for plans that count in months.
    fn monthly(&self, n: usize) -> Option<u32> {
        match RHYTHMS[self.plans[n].rhythm] {
            "1 month" => Some(1),
            "2 months" => Some(2),
            "1 quarter" => Some(3),
            _ => None,
        }
    }

    fn rows(&self) -> Vec<Subscription> {
        let mut rows = Vec::new();
        for (one, n) in self.subscriptions.iter().zip(0_u64..) {
            let start = begin().date_naive() + TimeDelta::days(one.start);
            // Whoever is charged together shares a method.
            let shared = matches!(self.plans[one.plan].collects, 5 | 6).then_some(100 + n % 2);
            let mut row = subscriber(
                &format!("sub-{n}"),
                &format!("plan-{}", one.plan),
                &start.to_string(),
                match shared {
                    None => method(one.method, n),
                    Some(shared) => method([9, 1, 6][usize::from(one.method % 3)], shared),
                },
            );
            row.end_on = one.end.map(|days| start + TimeDelta::days(days));
            row.second_method = if n % 4 == 3 { None } else { card(Behaviour::Pays, 1_000 + n) };
            row.zone = one.zone.map(|zone| domain::calendar::Zone::parse(ZONES[zone]).unwrap());
            rows.push(row);
        }
        rows
    }

    async fn world(&self, options: Options) -> World {
        let world = World::begin_with(Backend::Memory, BEGIN, "properties", options).await.unwrap();
        // The end of a policy keeps the subscription, so that what falls due depends on the calendar alone.
        let keep = Policy {
            id: PolicyId::parse("keep").unwrap(),
            at_the_end: AtTheEnd::KeepSubscription,
            ..Policy::standard().unwrap()
        };
        let plans = (0..self.plans.len()).map(|n| (self.spec(n), Plan::from_spec(&self.spec(n), 0).unwrap())).collect();
        world.store.apply(&CatalogChange { plans, policies: vec![keep] }, "test", begin()).await.unwrap();
        world.enrol(self.rows()).await;
        world
    }

    /// What falls due until a moment, by walking through the calendar day by day; shares no code with the domain.
    fn naive(&self, until: DateTime<Utc>) -> BTreeSet<(String, NaiveDate)> {
        let mut all = BTreeSet::new();
        for (n, one) in self.subscriptions.iter().enumerate() {
            let its = &self.plans[one.plan];
            let zone: Tz = ZONES[one.zone.unwrap_or(its.zone)].parse().unwrap();
            let start = begin().date_naive() + TimeDelta::days(one.start);
            let today = begin().with_timezone(&zone).date_naive();
            let hour = NaiveTime::from_hms_opt(its.minute / 60, its.minute % 60, 0).unwrap();
            let last = |date: NaiveDate| date.succ_opt().unwrap().month() != date.month();
            let mut first: Option<NaiveDate> = None;
            for date in start.iter_days().take(600) {
                let falls = match self.monthly(one.plan) {
                    Some(stride) => {
                        let day = date.day() == its.day || (last(date) && date.day() < its.day);
                        let months = |date: NaiveDate| date.year() * 12 + i32::try_from(date.month0()).unwrap();
                        let away = first.map_or(0, |first| months(date) - months(first));
                        day && away % i32::try_from(stride).unwrap() == 0
                    }
                    None => {
                        let stride = [1, 3, 7, 14][its.rhythm];
                        date.signed_duration_since(start).num_days() % stride == 0
                    }
                };
                if !falls {
                    continue;
                }
                first.get_or_insert(date);
                let over = one.end.is_some_and(|days| date > start + TimeDelta::days(days));
                if date < today || over {
                    continue;
                }
                let local = date.and_time(hour);
                let moment = match zone.from_local_datetime(&local) {
                    chrono::LocalResult::Single(moment) | chrono::LocalResult::Ambiguous(moment, _) => moment.to_utc(),
                    // The clocks jump over it: as far after the jump.
                    chrono::LocalResult::None => {
                        (zone.from_local_datetime(&(local - TimeDelta::hours(3))).single().unwrap()
                            + TimeDelta::hours(3))
                        .to_utc()
                    }
                };
                if moment <= until {
                    all.insert((format!("sub-{n}"), date));
                }
            }
        }
        all
    }
}

fn scope(n: usize) -> Scope {
    match n {
        0 => Scope::All,
        1 => Scope::Merchant(MERCHANT),
        2..=4 => Scope::Plan(PlanId::parse(&format!("plan-{}", n - 2)).unwrap()),
        _ => Scope::Subscription(SubscriptionId::parse(&format!("sub-{}", n - 5)).unwrap()),
    }
}

/// Lives until a moment, setting and lifting holds on their days.
async fn live(world: &World, holds: &[AHold], until: DateTime<Utc>) {
    let mut marks: Vec<(DateTime<Utc>, bool, Scope)> = Vec::new();
    for hold in holds {
        let from = begin() + TimeDelta::days(hold.from) + TimeDelta::minutes(7);
        marks.push((from, true, scope(hold.scope)));
        marks.push((from + TimeDelta::days(hold.days), false, scope(hold.scope)));
    }
    marks.sort_by_key(|(moment, ..)| *moment);
    for (moment, on, scope) in marks.into_iter().take_while(|(moment, ..)| *moment <= until) {
        world.live_until(moment, TimeDelta::hours(7)).await;
        order_captures(world).await;
        if on {
            world.store.hold(&scope, "by chance", "test", world.now()).await.unwrap();
        } else {
            world.store.lift(&scope, "test", world.now()).await.unwrap();
        }
    }
    world.live_until(until, TimeDelta::hours(7)).await;
}

/// Lets fates befall methods, and has the wallet asked about, as far as the gateway answers.
async fn befall(world: &World, book: &ABook, fates: &[(usize, Fate)]) {
    let customer = serde_json::json!({ "enterpriseId": "1001" });
    let show = |card: WalletMethod| world.sandbox().fill_wallet(MERCHANT.0, &customer, card).unwrap();
    for (n, fate) in fates {
        let row = book.rows().into_iter().nth(*n);
        let Some(id) = row.and_then(|row| row.method).map(|method| method.id) else { continue };
        let (by, dispute) = (PaymentMethodId(uuid::Uuid::from_u128(id.0.as_u128() ^ 1 << 40)), "d".to_owned());
        let news = match *fate {
            Fate::Listed { month, year } => {
                show(WalletMethod { expiry_month: month, expiry_year: year, ..WalletMethod::card(id.0) });
                InstrumentNews::Changed { method: id }
            }
            Fate::Invalidated => {
                show(WalletMethod { status: MethodStatus::Invalidated, ..WalletMethod::card(id.0) });
                InstrumentNews::Changed { method: id }
            }
            Fate::Deleted => InstrumentNews::Deleted { method: id },
            Fate::Replaced { shown } => {
                if shown {
                    show(WalletMethod::card(by.0));
                }
                InstrumentNews::Replaced { deleted: id, by }
            }
            Fate::Disputed => InstrumentNews::Disputed { method: id, dispute },
            Fate::DisputeEnded => InstrumentNews::DisputeEnded { method: id, dispute },
        };
        world.store.hear(&news, world.now()).await.unwrap();
    }
    let keeper = WalletKeeper::new(world.engine.clone(), Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT)));
    keeper.sync(&Whose::All, &CancellationToken::new()).await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Everything that can be seen of a book from outside.
async fn picture(world: &World) -> String {
    let store = &world.store;
    let charges = world.charges().await;
    let mut timelines = Vec::new();
    for charge in &charges {
        timelines.push(store.timeline(charge.id).await.unwrap());
    }
    let subscriptions = store.subscriptions(None, None, 1_000).await.unwrap();
    let totals = store.totals().await.unwrap();
    let wake = store.next_wake(MERCHANT).await.unwrap();
    let ledger = world.sandbox().ledger();
    let seen = (ledger.submissions().len(), ledger.lookups(), ledger.success_count());
    format!("{charges:?} {timelines:?} {subscriptions:?} {totals:?} {wake:?} {seen:?}")
}

proptest! {
    #![proptest_config(Config { cases: 64, max_shrink_iters: 60, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_dry_run_announces_exactly_what_the_run_does(
        book in book(), holds in holds(), faults in faults(), idempotency in idempotency(), seed in any::<u64>(),
        batch in 1..6_u32, history in 0..40_i64, gap in 2..5_000_i64, early in fates(), late in fates(),
    ) {
        runtime().block_on(async {
            let mut world = book.world(Options { seed, faults, idempotency, ..Options::default() }).await;
            // Few at a time: answers come in while the pass still claims.
            world.resettle(|settings| (settings.batch, settings.in_flight) = (batch, 1));
            befall(&world, &book, &early).await;
            live(&world, &holds, begin() + TimeDelta::days(history)).await;
            befall(&world, &book, &late).await;
            // Longer than a lease: what waits or was asked is free again.
            world.turn(TimeDelta::minutes(gap));
            // Orders wait to be sent, beside everything else that is due.
            order_captures(&world).await;
            let before = picture(&world).await;
            let mut sends: BTreeMap<PaymentMethodId, u16> = BTreeMap::new();
            let (mut spent, mut drawn) = (false, 0_u32);
            let mut draws: BTreeMap<PaymentMethodId, BTreeSet<u32>> = BTreeMap::new();
            let announced = world.engine.dry_run(None, &mut |items| {
                drawn += 1;
                for item in items {
                    match &item.action {
                        Action::Send { reason: Reason::Due | Reason::Retry, method, .. } => {
                            *sends.entry(method.id).or_default() += 1;
                            draws.entry(method.id).or_default().insert(drawn);
                        }
                        Action::Wait { why, .. } => spent |= why.contains("as many tries of its payment method"),
                        _ => {}
                    }
                }
            }).await.unwrap();
            assert_eq!(world.engine.dry_run(Some(world.now()), &mut |_| {}).await.unwrap().agenda_hash, announced.agenda_hash);
            assert_eq!(picture(&world).await, before, "a dry run changes nothing");
            let wallet = world.store.wallet(&sends.keys().copied().collect::<Vec<_>>()).await.unwrap();
            let fits = |(method, tries): (&PaymentMethodId, &u16)| match wallet.get(method).map(|known| known.permit(world.now())) {
                Some(Permit::Tries { left }) => left.is_none_or(|left| *tries <= left),
                Some(Permit::NotBefore { .. } | Permit::Never { .. }) => false,
                None => *tries <= 10,
            };
            let once = draws.values().all(|draws| draws.len() == 1);
            let fits = !spent && once && sends.iter().all(fits);
            let done = world.run().await;
            assert_eq!(done.as_of, announced.as_of);
            // Where an instrument comes to the limit of its network during a run, or is tried again later in it, outcomes of the run itself
            // decide.
            if fits {
                assert_eq!(done.items, announced.items);
                assert_eq!(done.agenda_hash, announced.agenda_hash);
            }
        });
    }

    #[test]
    fn the_books_balance_and_what_fell_due_is_what_the_calendar_says(
        book in book(), holds in holds(), faults in faults(), idempotency in idempotency(), seed in any::<u64>(),
    ) {
        runtime().block_on(async {
            let world = book.world(Options { seed, faults, idempotency, ..Options::default() }).await;
            let end = begin() + TimeDelta::days(120);
            live(&world, &holds, end).await;
            // As many tries of an instrument as its network allows at once are made in one pass.
            for _ in 0..40 {
                let report = world.run().await;
                if report.items <= report.waiting {
                    break;
                }
            }
            let mut charges = world.store.charges(&ChargeFilter::default(), &None, 100_000).await.unwrap();
            // Taken along on the last day, before its own hour.
            charges.retain(|charge| charge.due_at <= end || !matches!(charge.state, State::Skipped { why: SkipWhy::Consolidated, .. }));
            let due: BTreeSet<(String, NaiveDate)> =
                charges.iter().filter(|charge| charge.due_at <= end).map(|charge| (charge.subscription.to_string(), charge.due_on)).collect();
            assert_eq!(due.len(), charges.len(), "one charge each");
            let naive = book.naive(end);
            assert_eq!(due.difference(&naive).next(), None, "nothing falls due that the calendar does not say");
            // What is not recorded waits for an instrument that its network forbids to try now, behind everything that is recorded.
            for (id, date) in naive.difference(&due) {
                let row = world.store.subscription(&SubscriptionId::parse(id).unwrap()).await.unwrap().unwrap().subscription;
                let methods: Vec<PaymentMethodId> = [&row.method, &row.second_method].into_iter().flatten().map(|one| one.id).collect();
                let wallet = world.store.wallet(&methods).await.unwrap();
                assert!(wallet.values().any(|known| matches!(known.permit(world.now()), Permit::NotBefore { .. })), "{id} {date}");
                assert!(row.next_due_at.is_some_and(|due| due <= end), "{id} {date}");
                assert!(due.iter().all(|(other, recorded)| other != id || recorded < date), "{id} {date}");
            }
            order_captures(&world).await;
            // The gateway is well again: every outcome is learnt.
            world.sandbox().set_faults(Faults::none());
            world.live_until(end + TimeDelta::days(9), TimeDelta::hours(7)).await;
            world.balance().await;
        });
    }
}
