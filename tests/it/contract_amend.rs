//! The contract of changes to one subscription, told of the map, of SQLite and of PostgreSQL.

use autopay::ports::{Amended, Claimed, Committed, IntentBatch, NewCharge, Verdict};
use chrono::NaiveDate;
use domain::agenda::{Action, Advance, Agenda, Book, GoesOn, draw};
use domain::amendment::{Amendment, Change, propose};
use domain::attempt::{Body, Intent};
use domain::charge::{Charge, Event, Limits, State};
use domain::id::{Environment, PlanId};
use domain::money::{Currency, Money};
use domain::plan::{Catalog, Plan, PlanSpec};
use domain::subscription::{AdjustmentKind, Ruling, Subscription, SubscriptionStatus};
use domain::wallet::Wallet;
use sea_orm::{ConnectionTrait as _, Statement};

use crate::contract_store::{Bench, bench, due, id, secs};
use crate::world::{Backend, MERCHANT, at, day, plan};

macro_rules! contract {
    ($($sentence:ident;)*) => {
        mod memory { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Memory, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod sqlite { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Sqlite, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
        mod postgresql { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() { super::on(super::Backend::Postgres, stringify!($sentence), |b| Box::pin(super::$sentence(b))).await; })* }
    };
}

contract! {
    everything_that_was_changed_is_read_back_as_it_was_made;
    a_change_made_against_an_older_picture_is_refused;
    a_change_between_claim_and_commit_is_never_lost;
    what_a_cycle_takes_is_recorded_with_its_charge_and_never_again;
    a_credit_larger_than_its_cycles_is_carried_on_to_the_cent;
    a_pause_passes_its_cycles_over_and_ends_by_itself;
    a_failure_for_good_makes_a_pause_endless;
    a_resumed_subscription_forgets_its_pause;
    a_pause_outlives_that_its_subscription_was_set_aside;
    a_pause_over_the_last_cycle_lasts_to_its_end;
    the_audit_reads_every_stop_and_every_start;
    a_change_of_plan_moves_nothing_else;
    an_end_with_the_period_survives_the_next_import;
    a_change_that_cannot_be_read_sets_its_subscription_aside_and_no_neighbour;
    a_subscription_that_nobody_changed_asks_for_nothing_more;
}

async fn on<F>(backend: Backend, name: &str, sentence: F)
where
    F: FnOnce(Bench) -> futures_util::future::BoxFuture<'static, ()>,
{
    if let Some(bench) = bench(backend, name).await {
        sentence(bench).await;
    }
}

fn usd(minor: i64) -> Money {
    Money::new(minor, Currency::USD)
}

fn specs() -> Vec<PlanSpec> {
    vec![plan("gold", "1 month", "UTC", "11:00", "79.00"), plan("silver", "1 month", "UTC", "12:00", "49.00")]
}

pub(crate) fn catalog() -> Catalog {
    let plans = specs().into_iter().map(|spec| Plan::from_spec(&spec, 1).unwrap());
    Catalog { plans: plans.map(|plan| (plan.id.clone(), plan)).collect(), ..Catalog::default() }
}

fn adjust(kind: AdjustmentKind, minor: i64) -> Change {
    Change::Adjust { kind, amount: usd(minor) }
}

/// An engine's work on one claim, without a gateway.
pub(crate) fn drawn(b: &Bench, claims: &[Claimed<Subscription>]) -> (Agenda, IntentBatch) {
    let due: Vec<Subscription> = claims.iter().map(|claim| claim.value.clone()).collect();
    let (catalog, limits, wallet) = (catalog(), Limits::default(), Wallet::default());
    let environment = Environment::parse("test").unwrap();
    let book = Book {
        notices: domain::notice::Notices::Assumed,
        catalog: &catalog,
        environment: &environment,
        holds: &[],
        due: &due,
        open: &[],
        limits: &limits,
        wallet: &wallet,
    };
    let agenda = draw(&book, b.now());
    let fence = |id| claims.iter().find(|claim| claim.value.id == id).unwrap().fence;
    let advances = agenda.advances.iter().cloned();
    let advances = advances.map(|value| Claimed { fence: fence(value.subscription.clone()), value }).collect();
    let mut batch = IntentBatch { at: b.now(), holds_seen: vec![], advances, new: vec![], moved: vec![], day: None };
    for item in &agenda.items {
        let charge = |event| item.charge.clone().unwrap().step(event, b.now(), &limits).unwrap();
        let mut amended = Amended { taken: item.applied.clone(), reason: None };
        let (charge, intent) = match &item.action {
            Action::Send { key, method, .. } => {
                let charge = charge(Event::Send { attempt: 1 });
                let body = Body { text: charge.amount.plain(), sha256: String::new() };
                let (id, amount) = (charge.id, charge.amount);
                let intent = Intent {
                    charge: id,
                    number: 1,
                    key: *key,
                    method: method.id,
                    second: None,
                    amount,
                    body,
                    at: b.now(),
                };
                (charge, Some(intent))
            }
            Action::SkipZero => (charge(Event::NothingToPay), None),
            Action::Skip(left_out) => {
                amended.reason = Some(left_out.reason.clone());
                (charge(Event::Skip { why: left_out.why }), None)
            }
            // Nobody answers here, so that an instrument may come to its limit.
            Action::Wait { .. } => continue,
            other => panic!("{other:?}"),
        };
        batch.new.push(NewCharge { charge, intent, amended, carries: vec![] });
    }
    (agenda, batch)
}

impl Bench {
    async fn one_of_gold(&self, name: &str) {
        let mut row = due(name, self.now());
        row.next_cycle = 0;
        self.import(&[row]).await;
    }

    async fn row(&self, name: &str) -> Subscription {
        self.store.subscription(&id(name)).await.unwrap().unwrap().subscription
    }

    async fn proposed(&self, name: &str, change: Change) -> Amendment {
        propose(&catalog(), &self.row(name).await, change, ("a good reason", "ann"), self.now()).unwrap().0
    }

    /// Proposes and makes a change.
    async fn amend(&self, name: &str, change: Change) -> i64 {
        let proposed = self.proposed(name, change).await;
        self.store.amend(&proposed).await.unwrap().unwrap()
    }

    async fn taken(&self) -> Vec<Claimed<Subscription>> {
        let claim = self.store.claim_due(MERCHANT, self.now(), self.now(), self.now() + secs(90), 100).await.unwrap();
        assert_eq!(claim.poison, []);
        claim.due
    }

    /// Claims, draws and commits until nothing is due; gives the number of lost decisions.
    async fn pass(&self) -> usize {
        let mut all = 0;
        loop {
            let claims = self.taken().await;
            if claims.is_empty() {
                return all;
            }
            let (_, batch) = drawn(self, &claims);
            let Committed::Recorded { lost, .. } = self.store.commit_intents(batch).await.unwrap() else { panic!() };
            all += lost;
        }
    }

    fn until(&self, moment: &str) {
        self.clock.advance(at(moment) - self.now());
    }

    async fn charges(&self, name: &str) -> Vec<String> {
        let filter =
            autopay::ports::ChargeFilter { subscription: Some(id(name)), ..autopay::ports::ChargeFilter::default() };
        let found = self.store.charges(&filter, &None, 1_000).await.unwrap();
        let told = |one: &Charge| {
            let why = match one.state {
                State::Skipped { why, .. } => why.as_str(),
                _ => "",
            };
            format!("{} {} {} {} {why}", one.cycle, one.due_on, one.amount.plain(), one.state.word())
                .trim_end()
                .to_owned()
        };
        found.iter().map(told).collect()
    }
}

async fn everything_that_was_changed_is_read_back_as_it_was_made(b: Bench) {
    b.one_of_gold("a").await;
    b.one_of_gold("b").await;
    assert!(b.row("a").await.amendments.is_empty());
    assert_eq!(b.amend("a", Change::Skip { cycle: 2 }).await, 0);
    b.amend("a", Change::Move { cycle: 1, to: day("2027-02-20") }).await;
    b.amend("a", Change::Move { cycle: 3, to: day("2027-04-20") }).await;
    b.amend("a", Change::Clear { cycle: 3 }).await;
    let first = b.amend("a", adjust(AdjustmentKind::Credit, 1_250)).await;
    let second = b.amend("a", adjust(AdjustmentKind::Charge, 500)).await;
    assert!(second > first && first > 0);
    let row = b.row("a").await;
    let rulings: Vec<(u32, Ruling)> =
        row.amendments.overrides.iter().map(|(cycle, one)| (*cycle, one.ruling)).collect();
    assert_eq!(rulings, [(1, Ruling::Move { to: day("2027-02-20") }), (2, Ruling::Skip)]);
    let one = &row.amendments.overrides[&2];
    assert_eq!((one.reason.as_str(), one.by.as_str(), one.at), ("a good reason", "ann", b.now()));
    let open: Vec<_> = row.amendments.open.iter().map(|one| (one.id, one.kind, one.amount, one.left)).collect();
    let expected =
        [(first, AdjustmentKind::Credit, usd(1_250), usd(1_250)), (second, AdjustmentKind::Charge, usd(500), usd(500))];
    assert_eq!(open, expected);
    assert_eq!(b.store.adjustments(&id("a")).await.unwrap(), row.amendments.open);
    assert_eq!(row.amendments.revision, 6);
    if b.backend != Backend::Memory {
        let database = b.database().await;
        let sql = "SELECT actor, action, detail FROM audit WHERE object = 'a' ORDER BY id";
        let rows = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
        let text = |row: &sea_orm::QueryResult, column: &str| row.try_get::<String>("", column).unwrap();
        let told: Vec<String> =
            rows.iter().map(|row| ["actor", "action", "detail"].map(|column| text(row, column)).join(" ")).collect();
        let expected = [
            "test subscription.imported imported under plan gold from 2027-01-15 on",
            "ann subscription.cycle_skipped cycle 2 is left out: a good reason",
            "ann subscription.cycle_moved cycle 1 is charged on 2027-02-20: a good reason",
            "ann subscription.cycle_moved cycle 3 is charged on 2027-04-20: a good reason",
            "ann subscription.cycle_cleared cycle 3 is again as the plan has it: a good reason",
            "ann subscription.credited credit of USD 12.50 for the next cycle: a good reason",
            "ann subscription.charged charge of USD 5.00 for the next cycle: a good reason",
        ];
        assert_eq!(told, expected);
    }
    // Claims, peeks and lists show the same, and the neighbour has nothing of it.
    let peeked = b.store.peek_due(MERCHANT, b.now(), &None, 10).await.unwrap().0.due;
    let listed = b.store.subscriptions(None, None, 10).await.unwrap();
    for (place, name) in ["a", "b"].into_iter().enumerate() {
        let row = b.row(name).await;
        assert_eq!((&peeked[place].value, &listed[place].subscription), (&row, &row), "{name}");
    }
    assert_eq!(b.taken().await.into_iter().map(|claim| claim.value).collect::<Vec<_>>(), [row, b.row("b").await]);
    assert!(b.row("b").await.amendments.is_empty());
}

async fn a_change_made_against_an_older_picture_is_refused(b: Bench) {
    b.one_of_gold("a").await;
    let skip = b.proposed("a", Change::Skip { cycle: 2 }).await;
    let other = b.proposed("a", Change::Move { cycle: 3, to: day("2027-04-20") }).await;
    assert_eq!(b.store.amend(&skip).await.unwrap(), Some(0));
    assert_eq!(b.store.amend(&skip).await.unwrap(), None, "not twice");
    assert_eq!(b.store.amend(&other).await.unwrap(), None, "it was found sound beside something else");
    let late = b.proposed("a", Change::Skip { cycle: 0 }).await;
    b.pass().await;
    assert_eq!(b.store.amend(&late).await.unwrap(), None, "the cycle has been charged meanwhile");
    let late = b.proposed("a", adjust(AdjustmentKind::Credit, 100)).await;
    b.store.cancel(&id("a"), "bob", b.now()).await.unwrap();
    assert_eq!(b.store.amend(&late).await.unwrap(), None);
    assert_eq!(b.store.adjustments(&id("a")).await.unwrap(), []);
    assert_eq!(b.charges("a").await[0], "0 2027-01-15 79.00 sending");
}

async fn a_change_between_claim_and_commit_is_never_lost(b: Bench) {
    let changes = [
        ("credit", adjust(AdjustmentKind::Credit, 900), "0 2027-01-15 70.00 sending"),
        ("charge", adjust(AdjustmentKind::Charge, 900), "0 2027-01-15 88.00 sending"),
        ("skip", Change::Skip { cycle: 0 }, "0 2027-01-15 0.00 skipped person"),
        ("plan", Change::Plan { plan: PlanId::parse("silver").unwrap(), from: None }, ""),
        ("move", Change::Move { cycle: 0, to: day("2027-01-20") }, ""),
        ("plan-now", Change::PlanNow { plan: PlanId::parse("silver").unwrap(), settled: Vec::new() }, ""),
        ("cancel", Change::Cancel, ""),
        // Its period had begun, so it is the last one.
        ("end", Change::EndWithPeriod { last_on: None }, "0 2027-01-15 79.00 sending"),
        ("pause", Change::Pause { until: None }, ""),
        ("pause-until", Change::Pause { until: Some(day("2027-03-01")) }, "0 2027-01-15 0.00 skipped paused"),
    ];
    for (name, change, expected) in changes {
        b.one_of_gold(name).await;
        let claims = b.taken().await;
        assert_eq!(claims.len(), 1, "{name}");
        let (_, batch) = drawn(&b, &claims);
        b.amend(name, change).await;
        let Committed::Recorded { intents, lost } = b.store.commit_intents(batch).await.unwrap() else { panic!() };
        assert_eq!((intents.len(), lost), (0, 1), "{name}");
        assert_eq!(b.charges(name).await, Vec::<String>::new(), "{name}");
        // It is free again at once, and the next look sees the change.
        assert_eq!(b.pass().await, 0);
        assert_eq!(b.charges(name).await.first().map_or("", String::as_str), expected, "{name}");
    }
}

async fn what_a_cycle_takes_is_recorded_with_its_charge_and_never_again(b: Bench) {
    b.one_of_gold("a").await;
    let credit = b.amend("a", adjust(AdjustmentKind::Credit, 1_250)).await;
    let charge = b.amend("a", adjust(AdjustmentKind::Charge, 500)).await;
    let claims = b.taken().await;
    let (agenda, batch) = drawn(&b, &claims);
    let taken: Vec<(i64, i64)> =
        agenda.items[0].applied.iter().map(|one| (one.adjustment, one.amount.minor())).collect();
    assert_eq!(taken, [(charge, 500), (credit, 1_250)]);
    b.store.commit_intents(batch.clone()).await.unwrap();
    let Committed::Recorded { lost, .. } = b.store.commit_intents(batch).await.unwrap() else { panic!() };
    assert_eq!(lost, 1, "the same batch again does nothing");
    let row = b.row("a").await;
    assert_eq!((row.amendments.open.len(), row.amendments.applied.len()), (0, 2));
    assert_eq!(
        b.store.adjustments(&id("a")).await.unwrap().iter().map(|one| one.left.minor()).collect::<Vec<_>>(),
        [0, 0]
    );
    let recorded = domain::agenda::planned(&catalog().plans[&row.plan], &row, 0).unwrap().unwrap().0;
    assert_eq!(recorded.amount, usd(7_150), "the recorded cycle is derived again to the cent");
    b.until("2027-02-15T11:00:00Z");
    b.pass().await;
    assert_eq!(b.charges("a").await, ["0 2027-01-15 71.50 sending", "1 2027-02-15 79.00 sending"]);
    let timeline = b.store.timeline(recorded.id).await.unwrap();
    let told = timeline.iter().find(|entry| entry.event == "charge.adjusted").unwrap();
    let expected = format!("charge {charge} of USD 5.00 (a good reason), credit {credit} of USD 12.50 (a good reason)");
    assert_eq!(told.detail, expected);
    if b.backend != Backend::Memory {
        let database = b.database().await;
        for table in ["adjustment", "adjustment_use"] {
            for statement in [format!("UPDATE {table} SET amount_minor = 1"), format!("DELETE FROM {table}")] {
                let refused = database.execute_unprepared(&statement).await.unwrap_err().to_string();
                assert!(refused.contains("never changed"), "{statement}: {refused}");
            }
        }
    }
}

async fn a_credit_larger_than_its_cycles_is_carried_on_to_the_cent(b: Bench) {
    b.one_of_gold("a").await;
    b.amend("a", adjust(AdjustmentKind::Credit, 20_000)).await;
    // Three cycles at once, and then one more.
    b.until("2027-03-15T11:00:00Z");
    b.pass().await;
    let expected = [
        "0 2027-01-15 0.00 skipped zero_amount",
        "1 2027-02-15 0.00 skipped zero_amount",
        "2 2027-03-15 37.00 sending",
    ];
    assert_eq!(b.charges("a").await, expected);
    let uses: Vec<(u32, i64)> =
        b.row("a").await.amendments.applied.iter().map(|one| (one.cycle, one.amount.minor())).collect();
    assert_eq!(uses, [(0, 7_900), (1, 7_900), (2, 4_200)]);
    b.until("2027-04-15T11:00:00Z");
    b.pass().await;
    assert_eq!(b.charges("a").await.last().unwrap(), "3 2027-04-15 79.00 sending");
}

async fn a_pause_passes_its_cycles_over_and_ends_by_itself(b: Bench) {
    b.one_of_gold("a").await;
    b.pass().await;
    b.amend("a", Change::Pause { until: Some(day("2027-04-01")) }).await;
    let row = b.row("a").await;
    assert_eq!((row.status, row.amendments.resume_on), (SubscriptionStatus::Paused, Some(day("2027-04-01"))));
    let note = b.store.subscription(&id("a")).await.unwrap().unwrap().note.unwrap();
    assert_eq!(note, "paused until 2027-04-01: a good reason (by ann)");
    b.until("2027-02-15T11:00:00Z");
    b.pass().await;
    let row = b.row("a").await;
    assert_eq!((row.status, row.next_cycle), (SubscriptionStatus::Paused, 2));
    assert_eq!(b.store.subscription(&id("a")).await.unwrap().unwrap().note.unwrap(), note, "the note stays");
    b.until("2027-03-31T23:59:59Z");
    b.pass().await;
    assert_eq!(b.row("a").await.status, SubscriptionStatus::Paused);
    assert_eq!(b.row("a").await.next_due_at, Some(at("2027-04-01T00:00:00Z")));
    b.until("2027-04-01T00:00:00Z");
    b.pass().await;
    let row = b.row("a").await;
    assert_eq!((row.status, row.amendments.resume_on, row.next_cycle), (SubscriptionStatus::Active, None, 3));
    assert_eq!(row.next_due_at, Some(at("2027-04-15T11:00:00Z")));
    assert_eq!(b.store.subscription(&id("a")).await.unwrap().unwrap().note, None);
    b.until("2027-04-15T11:00:00Z");
    b.pass().await;
    let expected = [
        "0 2027-01-15 79.00 sending",
        "1 2027-02-15 0.00 skipped paused",
        "2 2027-03-15 0.00 skipped paused",
        "3 2027-04-15 79.00 sending",
    ];
    assert_eq!(b.charges("a").await, expected);
}

async fn a_failure_for_good_makes_a_pause_endless(b: Bench) {
    let begun = b.one("a").await;
    b.amend("a", Change::Pause { until: Some(day("2027-04-01")) }).await;
    let state = State::Failed {
        class: domain::verdict::DeclineClass::Never,
        code: "stolen_card".to_owned(),
        why: domain::dunning::GaveUp::HardDecline,
        at: b.now(),
    };
    let after = Charge { state, ..begun.charge.clone() };
    let before = Claimed { value: begun.charge.clone(), fence: begun.fence };
    let verdict = Verdict {
        before,
        after: Some(after),
        attempt: 1,
        observations: vec![],
        stop: Some(domain::dunning::Stop::Pause),
    };
    b.store.commit_verdicts(&[verdict]).await.unwrap();
    let row = b.row("a").await;
    let stands = (row.status, row.amendments.resume_on, row.next_due_at);
    assert_eq!(stands, (SubscriptionStatus::Paused, None, None), "a person decides when it goes on");
}

async fn a_resumed_subscription_forgets_its_pause(b: Bench) {
    b.one_of_gold("a").await;
    b.amend("a", Change::Pause { until: Some(day("2027-04-01")) }).await;
    let row = b.row("a").await;
    let goes_on = domain::agenda::resume(&catalog().plans[&row.plan], &row, true, b.now()).unwrap();
    let from = autopay::ports::Resume { from_cycle: 0, goes_on, owed_until: None };
    assert!(b.store.resume(&id("a"), &from, "ann", b.now()).await.unwrap());
    let row = b.row("a").await;
    assert_eq!((row.status, row.amendments.resume_on), (SubscriptionStatus::Active, None));
    b.pass().await;
    assert_eq!(b.charges("a").await, ["0 2027-01-15 79.00 sending"]);
}

async fn a_pause_outlives_that_its_subscription_was_set_aside(b: Bench) {
    b.one_of_gold("a").await;
    b.pass().await;
    b.amend("a", Change::Pause { until: Some(day("2027-04-01")) }).await;
    // Nobody looked for half a year, and then something is wrong with it.
    b.until("2027-07-01T00:00:00Z");
    let claims = b.taken().await;
    let value = Advance {
        subscription: id("a"),
        from_cycle: 1,
        next_cycle: 1,
        next_due_at: None,
        status: SubscriptionStatus::Quarantined,
        note: Some("something is wrong".to_owned()),
        resumes: false,
    };
    let advances = vec![Claimed { value, fence: claims[0].fence }];
    let batch = IntentBatch { at: b.now(), holds_seen: vec![], advances, new: vec![], moved: vec![], day: None };
    b.store.commit_intents(batch).await.unwrap();
    let view = b.store.subscription(&id("a")).await.unwrap().unwrap();
    let row = view.subscription;
    let aside = (row.status, row.next_cycle, row.amendments.resume_on, row.next_due_at);
    assert_eq!(aside, (SubscriptionStatus::Quarantined, 1, Some(day("2027-04-01")), None));
    assert_eq!(view.note.as_deref(), Some("something is wrong"));
    let goes_on = domain::agenda::resume(&catalog().plans[&row.plan], &row, false, b.now()).unwrap();
    let from = autopay::ports::Resume { from_cycle: 1, goes_on, owed_until: Some(b.now()) };
    assert!(b.store.resume(&id("a"), &from, "ann", b.now()).await.unwrap());
    b.pass().await;
    let expected = [
        "0 2027-01-15 79.00 sending",
        "1 2027-02-15 0.00 skipped paused",
        "2 2027-03-15 0.00 skipped paused",
        "3 2027-04-15 79.00 sending",
        "4 2027-05-15 79.00 sending",
        "5 2027-06-15 79.00 sending",
    ];
    assert_eq!(b.charges("a").await, expected);
    let row = b.row("a").await;
    assert_eq!((row.status, row.amendments.resume_on), (SubscriptionStatus::Active, None));
}

async fn a_pause_over_the_last_cycle_lasts_to_its_end(b: Bench) {
    let mut row = due("a", b.now());
    (row.next_cycle, row.end_on) = (0, Some(day("2027-02-28")));
    b.import(&[row]).await;
    b.pass().await;
    b.amend("a", Change::Pause { until: Some(day("2027-04-01")) }).await;
    b.until("2027-02-15T11:00:00Z");
    b.pass().await;
    let row = b.row("a").await;
    let ends_at = Some(at("2027-04-01T00:00:00Z"));
    assert_eq!((row.status, row.next_cycle, row.next_due_at), (SubscriptionStatus::Paused, 2, ends_at));
    b.until("2027-04-01T00:00:00Z");
    b.pass().await;
    let row = b.row("a").await;
    assert_eq!((row.status, row.amendments.resume_on, row.next_due_at), (SubscriptionStatus::Ended, None, None));
}

async fn the_audit_reads_every_stop_and_every_start(b: Bench) {
    use domain::firing::{Turn, TurnKind};
    b.one_of_gold("a").await;
    b.pass().await;
    let paused = b.now();
    b.amend("a", Change::Pause { until: Some(day("2027-02-20")) }).await;
    b.until("2027-02-15T11:00:00Z");
    b.pass().await;
    b.until("2027-02-20T05:00:00Z");
    b.pass().await;
    assert_eq!(b.row("a").await.status, SubscriptionStatus::Active);
    let awoke = b.now();
    b.until("2027-02-21T05:00:00Z");
    b.amend("a", Change::Pause { until: Some(day("2027-04-01")) }).await;
    let row = b.row("a").await;
    let goes_on = GoesOn { next_cycle: 2, next_due_at: row.next_due_at, paused: false };
    let from = autopay::ports::Resume { from_cycle: 2, goes_on, owed_until: None };
    assert!(b.store.resume(&id("a"), &from, "ann", b.now()).await.unwrap());
    // Neither is a stop.
    b.amend("a", Change::Plan { plan: PlanId::parse("silver").unwrap(), from: None }).await;
    b.amend("a", Change::EndWithPeriod { last_on: None }).await;
    let again = b.now();
    b.until("2027-02-22T05:00:00Z");
    b.store.cancel_because(&id("a"), "moved away", "ann", b.now()).await.unwrap();
    let expected = [
        (paused, TurnKind::Stopped),
        (awoke, TurnKind::Awoke),
        (again, TurnKind::Stopped),
        (again, TurnKind::Resumed { stood_at: Some(2), goes_on: 2 }),
        (b.now(), TurnKind::Cancelled),
    ];
    let lives = b.store.lives(&[id("a")]).await.unwrap();
    assert_eq!(lives[0].turns, expected.map(|(at, kind)| Turn { at, kind }));
}

async fn a_change_of_plan_moves_nothing_else(b: Bench) {
    b.one_of_gold("a").await;
    b.pass().await;
    let before = b.row("a").await;
    b.amend("a", Change::Plan { plan: PlanId::parse("silver").unwrap(), from: Some(day("2027-02-15")) }).await;
    let row = b.row("a").await;
    let mut expected = before.clone();
    expected.plan = PlanId::parse("silver").unwrap();
    expected.next_due_at = Some(at("2027-02-15T12:00:00Z"));
    expected.amendments.revision = 1;
    assert_eq!(row, expected);
    b.until("2027-02-15T12:00:00Z");
    b.pass().await;
    assert_eq!(b.charges("a").await, ["0 2027-01-15 79.00 sending", "1 2027-02-15 49.00 sending"]);
}

async fn an_end_with_the_period_survives_the_next_import(b: Bench) {
    b.one_of_gold("a").await;
    b.one_of_gold("b").await;
    b.pass().await;
    b.amend("a", Change::EndWithPeriod { last_on: None }).await;
    assert_eq!(b.row("a").await.amendments.last_on, Some(day("2027-02-14")));
    b.amend("b", Change::EndWithPeriod { last_on: None }).await;
    b.amend("b", Change::KeepOn).await;
    b.one_of_gold("a").await;
    assert_eq!(b.row("a").await.amendments.last_on, Some(day("2027-02-14")), "the roster says nothing of it");
    b.until("2027-02-15T11:00:00Z");
    b.pass().await;
    assert_eq!(b.row("a").await.status, SubscriptionStatus::Ended);
    assert_eq!(b.charges("a").await.len(), 1);
    // And taken back in time, it goes on.
    let row = b.row("b").await;
    assert_eq!((row.status, row.amendments.last_on), (SubscriptionStatus::Active, None::<NaiveDate>));
    assert_eq!(b.charges("b").await.len(), 2);
}

async fn a_change_that_cannot_be_read_sets_its_subscription_aside_and_no_neighbour(b: Bench) {
    if b.backend == Backend::Memory {
        return;
    }
    b.one_of_gold("a").await;
    b.one_of_gold("b").await;
    b.amend("a", Change::Move { cycle: 0, to: day("2027-01-20") }).await;
    b.amend("b", adjust(AdjustmentKind::Credit, 100)).await;
    b.database().await.execute_unprepared("UPDATE cycle_override SET to_date = NULL").await.unwrap();
    b.until("2027-01-20T11:00:00Z");
    let claim = b.store.claim_due(MERCHANT, b.now(), b.now(), b.now() + secs(90), 10).await.unwrap();
    assert_eq!(claim.due.iter().map(|claim| claim.value.id.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(claim.poison.len(), 1);
    assert!(claim.poison[0].why.contains("cycle_override.to_date"), "{:?}", claim.poison);
    b.store.subscription(&id("a")).await.unwrap_err();
    let listed = b.store.list_subscriptions(&autopay::ports::SubscriptionFilter::default(), &None, 10).await.unwrap();
    assert_eq!(listed.rows.len(), 2, "told in its place");
    assert_eq!(listed.whole().len(), 1);
}

async fn a_subscription_that_nobody_changed_asks_for_nothing_more(b: Bench) {
    if b.backend == Backend::Memory {
        return;
    }
    b.one_of_gold("a").await;
    b.one_of_gold("b").await;
    b.amend("a", adjust(AdjustmentKind::Credit, 100)).await;
    let database = b.database().await;
    let open = async |name: &str| {
        let sql = format!("SELECT amend_open AS n FROM subscription WHERE id = '{name}'");
        let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
        row.unwrap().try_get::<i64>("", "n").unwrap()
    };
    assert_eq!((open("a").await, open("b").await), (1, 0));
    b.pass().await;
    assert_eq!((open("a").await, open("b").await), (0, 0), "used up: the next claim asks for nothing");
    b.amend("b", Change::Skip { cycle: 1 }).await;
    b.amend("b", Change::Move { cycle: 2, to: day("2027-03-20") }).await;
    assert_eq!(open("b").await, 2);
    b.until("2027-02-15T11:00:00Z");
    b.pass().await;
    assert_eq!(open("b").await, 1);
    b.amend("b", Change::Clear { cycle: 2 }).await;
    assert_eq!(open("b").await, 0);
    // Without the tables, nothing of it is asked for.
    database.execute_unprepared("ALTER TABLE cycle_override RENAME TO elsewhere").await.unwrap();
    b.until("2027-03-15T11:00:00Z");
    assert_eq!(b.taken().await.len(), 2);
}
