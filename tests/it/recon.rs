//! Journeys of the reconciliation against the sandbox: what it finds, and that nothing is found where nothing is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use autopay::engine::recon::{ReconError, Reconciler, Wanted};
use autopay::engine::{Engine, Refunds};
use autopay::gateway::CcgGateway;
use autopay::ports::recon::{BegunRun, Exception, ExceptionFilter, Run, Span, Stage, Sum, Sums};
use autopay::ports::{Gateway, Observation, Question, Recorded};
use chrono::TimeDelta;
use domain::agenda::Scope;
use domain::attempt::{Body, Intent};
use domain::charge::Charge;
use domain::id::{Key, SubscriptionId};
use domain::money::Currency;
use domain::plan::Plan;
use domain::recon::{Kind, Standing};
use domain::subscription::{Method, Subscription};
use sandbox::{Behaviour, DeclineCode, Fault, Faults, LateReturn, ReturnCode};
use tokio_util::sync::CancellationToken;

use crate::world::{Backend, MERCHANT, World, bank, card, client, day, everywhere, fresh_store, plan, subscriber};

everywhere! {
    a_day_on_which_everything_agrees_has_no_difference;
    a_lost_answer_is_learnt_and_is_no_difference_any_more;
    what_settles_ends_its_difference_in_the_run_of_any_later_day;
    a_bank_that_took_the_money_back_is_found_by_the_question_alone;
    a_restored_book_finds_what_it_has_forgotten_and_takes_it_over_under_the_same_key;
    a_restored_book_is_held_where_a_later_attempt_exists;
    what_the_same_process_sends_while_it_asks_is_no_orphan_and_holds_nobody;
    a_cycle_that_is_charged_while_it_is_asked_about_is_no_orphan;
    a_gateway_that_is_away_ends_the_run_and_the_same_run_goes_on;
    yesterday_is_compared_once_by_the_scheduler;
}

pub(crate) fn reconciler(world: &World) -> Reconciler {
    let gateway = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
    Reconciler::new(Refunds::new(world.engine.clone(), gateway))
}

fn wanted(from: &str, until: &str) -> Wanted {
    Wanted { span: Span { from: day(from), until: day(until) }, finals: true, by: "ann".to_owned(), daily: false }
}

/// A run to its end, with what it found, the first found first.
pub(crate) async fn compare(world: &World, from: &str, until: &str) -> (Run, Sums, Vec<Exception>) {
    compare_wanted(world, &wanted(from, until)).await
}

/// As [`compare`], of what is not final alone.
pub(crate) async fn compare_open(world: &World, from: &str, until: &str) -> (Run, Sums, Vec<Exception>) {
    compare_wanted(world, &Wanted { finals: false, ..wanted(from, until) }).await
}

async fn compare_wanted(world: &World, wanted: &Wanted) -> (Run, Sums, Vec<Exception>) {
    let reconciler = reconciler(world);
    let begun = reconciler.begin(wanted).await.unwrap();
    let BegunRun::New(run) = begun else { panic!("{begun:?}") };
    let (run, sums) = reconciler.carry_on(run.id, &CancellationToken::new()).await.unwrap();
    (run.clone(), sums, found(world, run.id).await)
}

async fn found(world: &World, run: i64) -> Vec<Exception> {
    let filter = ExceptionFilter { run: Some(run), ..ExceptionFilter::default() };
    let mut found = world.store.exceptions(MERCHANT, &filter, 0, 1_000).await.unwrap();
    found.reverse();
    found
}

fn kinds(found: &[Exception]) -> Vec<Kind> {
    found.iter().map(|one| one.finding.kind).collect()
}

/// The one sum there is.
fn usd(sums: &Sums) -> Sum {
    assert_eq!(sums.len(), 1);
    sums[&Currency::USD]
}

/// A world in which these methods are charged 79.00 on the 15th.
async fn world(backend: Backend, test: &str, methods: &[Option<Method>]) -> Option<World> {
    let world = World::begin(backend, "2027-01-15T10:00:00Z", test).await?;
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let rows = methods
        .iter()
        .zip(1..)
        .map(|(method, n)| subscriber(&format!("sub-{n}"), "gold", "2027-01-15", method.clone()));
    world.enrol(rows.collect()).await;
    world.turn_to("2027-01-15T11:00:00Z");
    Some(world)
}

fn declines() -> Behaviour {
    Behaviour::DeclinesWith(DeclineCode::InsufficientFunds)
}

async fn a_day_on_which_everything_agrees_has_no_difference(backend: Backend) {
    let methods = [card(Behaviour::Pays, 1), card(declines(), 2), card(Behaviour::Pays, 3), None];
    let Some(world) = world(backend, "a day agrees", &methods).await else { return };
    world.run().await;
    let before = world.story("sub-1").await;
    let (run, sums, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(found, []);
    assert_eq!(usd(&sums), Sum { ours: 15_800, theirs: 15_800, listed: 0 });
    assert_eq!((run.stage, run.moved), (Stage::Done, 0));
    // Each charge's own key, and the one that a forgotten attempt would have.
    assert_eq!(run.asked, 7);
    assert_eq!(world.story("sub-1").await, before, "what agrees leaves no trace");
    let (_, sums, _) = compare(&world, "2027-01-14", "2027-01-14").await;
    assert_eq!(sums.get(&Currency::USD).map_or(0, |sum| sum.theirs), 0, "what fell due later belongs to a later day");
    world.balance().await;
}

async fn a_lost_answer_is_learnt_and_is_no_difference_any_more(backend: Backend) {
    let Some(world) = world(backend, "a lost answer", &[card(Behaviour::Pays, 1)]).await else { return };
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    assert_eq!(world.run().await.unknown, 1);
    let (run, sums, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!((kinds(&found), run.moved), (vec![], 1));
    assert_eq!(usd(&sums), Sum { ours: 7_900, theirs: 7_900, listed: 0 });
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "paid");
    world.balance().await;
}

async fn what_settles_ends_its_difference_in_the_run_of_any_later_day(backend: Backend) {
    let Some(world) = world(backend, "settled since", &[card(Behaviour::Pays, 1)]).await else { return };
    world.sandbox().fail_next_post(Fault::CutAfterCommit);
    assert_eq!(world.run().await.unknown, 1);
    world.sandbox().set_faults(Faults { lookup_404_for_ms: 600_000, ..Faults::only(Fault::Lookup404For, 1.0) });
    let (_, _, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(kinds(&found), [Kind::Unknown]);
    world.run_until("2027-01-17T12:00:00Z").await;
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "paid");
    assert_eq!(world.store.exceptions_open(MERCHANT).await.unwrap(), 1);
    world.sandbox().set_faults(Faults::none());
    let (_, sums, found) = compare(&world, "2027-01-16", "2027-01-16").await;
    assert_eq!((kinds(&found), usd(&sums)), (vec![], Sum { ours: 7_900, theirs: 7_900, listed: 0 }));
    let solved = ExceptionFilter { standings: vec![Standing::Solved], ..ExceptionFilter::default() };
    let solved = world.store.exceptions(MERCHANT, &solved, 0, 10).await.unwrap();
    assert_eq!(solved[0].note.as_deref(), Some("looked at again: it differs no more"));
    let (run, _, _) = compare(&world, "2027-01-16", "2027-01-16").await;
    assert_eq!(run.asked, 0, "and is looked at no more");
}

async fn a_bank_that_took_the_money_back_is_found_by_the_question_alone(backend: Backend) {
    let Some(world) = world(backend, "taken back", &[bank(Behaviour::AchSettles { days: Some(1) }, 1)]).await else {
        return;
    };
    world.run_until("2027-01-18T12:00:00Z").await;
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "paid");
    let mut switches = world.sandbox().switches();
    switches.late_return = LateReturn::Failed;
    world.sandbox().set_switches(switches);
    let payment = world.sandbox().ledger().payments()[0].id;
    world.sandbox().return_payment(payment, ReturnCode::R01).unwrap();
    let (run, sums, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!((kinds(&found), run.moved), (vec![Kind::Returned], 1));
    assert_eq!(usd(&sums), Sum { ours: 0, theirs: 0, listed: 0 });
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "returned");
    let (_, _, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(kinds(&found), [], "both say so now");
}

/// The book as it was before anything was charged; the gateway keeps what it has.
async fn restored(mut world: World, backend: Backend, test: &str, methods: &[Option<Method>]) -> World {
    let now = world.now();
    let (store, keep, _) = fresh_store(backend, world.clock.clone(), test).await.unwrap();
    std::mem::forget(keep);
    world.store = store;
    world.resettle(|_| ());
    world.apply(&[plan("gold", "1 month", "America/New_York", "06:00", "79.00")]).await;
    let rows = methods.iter().zip(1..).map(|(method, n)| {
        let mut row = subscriber(&format!("sub-{n}"), "gold", "2027-01-15", method.clone());
        (row.next_cycle, row.next_due_at) = (0, Some(crate::world::at("2027-01-15T11:00:00Z")));
        row
    });
    let rows: Vec<_> = rows.collect();
    world.store.import(&rows, "test", now).await.unwrap();
    world
}

async fn a_restored_book_finds_what_it_has_forgotten_and_takes_it_over_under_the_same_key(backend: Backend) {
    let methods = [card(Behaviour::Pays, 1), card(Behaviour::Pays, 2)];
    let Some(world) = world(backend, "forgotten", &methods).await else { return };
    assert_eq!(world.run().await.paid, 2);
    let world = restored(world, backend, "forgotten, restored", &methods).await;
    let (_, sums, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(kinds(&found), [Kind::Orphan, Kind::Orphan]);
    assert_eq!((usd(&sums), usd(&sums).residue()), (Sum { ours: 0, theirs: 15_800, listed: 15_800 }, 0));
    assert_eq!(world.store.holds().await.unwrap(), [], "the same key is safe");
    assert_eq!(world.run().await.paid, 2);
    assert_eq!(world.sandbox().ledger().success_count(), 2, "nobody was charged again");
    let (_, sums, again) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(again, []);
    assert_eq!(usd(&sums), Sum { ours: 15_800, theirs: 15_800, listed: 0 });
    // The book knows of one submission where the gateway had two: it was restored.
    assert_eq!(world.store.exceptions_open(MERCHANT).await.unwrap(), 0, "solved by itself");
}

async fn a_restored_book_is_held_where_a_later_attempt_exists(backend: Backend) {
    let behaviour = Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds };
    let methods = [card(behaviour, 1)];
    let Some(world) = world(backend, "a later attempt", &methods).await else { return };
    world.run_until("2027-02-10T00:00:00Z").await;
    assert_eq!(world.charges_of("sub-1").await[0].state.word(), "paid");
    assert_eq!(world.charges_of("sub-1").await[0].tries.attempt, 2);
    let world = restored(world, backend, "a later attempt, restored", &methods).await;
    let (_, sums, found) = compare(&world, "2027-01-15", "2027-01-15").await;
    assert_eq!(kinds(&found), [Kind::Orphan, Kind::Orphan], "the declined one and the paid one");
    assert_eq!(found[1].finding.sides.theirs, 7_900);
    assert_eq!(usd(&sums).residue(), 0);
    let holds: Vec<Scope> = world.store.holds().await.unwrap().into_iter().map(|hold| hold.scope).collect();
    assert_eq!(holds, [Scope::Subscription(found[0].finding.subscription.clone().unwrap())]);
    assert_eq!((world.run().await.sent, world.sandbox().ledger().success_count()), (0, 1));
}

/// A gateway that answers the first question about one of these keys only after the dispatcher did what was due.
struct Overtaken {
    inner: CcgGateway,
    keys: Vec<Key>,
    dispatcher: Engine,
    left: AtomicU32,
}

#[async_trait]
impl Gateway for Overtaken {
    fn compose(
        &self,
        charge: &Charge,
        subscription: &Subscription,
        plan: &Plan,
        method: &Method,
        key: Key,
    ) -> Result<Body, String> {
        self.inner.compose(charge, subscription, plan, method, key)
    }
    async fn submit(&self, intent: &Recorded<Intent>) -> Observation {
        self.inner.submit(intent).await
    }
    async fn ask(&self, question: &Question) -> Observation {
        let first = || self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if self.keys.contains(&question.key) && first() {
            self.dispatcher.run_once().await.unwrap();
        }
        self.inner.ask(question).await
    }
}

/// Compares a day while the dispatcher sends what is due, right before the first answer about attempt `attempt` of cycle 0.
async fn overtaken(world: &World, on: &str, attempt: u16) -> (Run, Sums, Vec<Exception>) {
    let mut settings = world.engine.settings().clone();
    // One look after the other: the second charge is looked at as it was read before the dispatcher came.
    settings.in_flight = 1;
    let key = |charged: &str| {
        let subscription = SubscriptionId::parse(charged).unwrap();
        Key::of(&settings.environment, MERCHANT, &subscription, 0, attempt)
    };
    let gateway = Arc::new(Overtaken {
        inner: CcgGateway::new(client(world.sandbox()), MERCHANT),
        keys: ["sub-1", "sub-2"].map(key).to_vec(),
        dispatcher: world.engine.clone(),
        left: AtomicU32::new(1),
    });
    let engine = Engine::new(world.store.clone(), gateway.clone(), world.clock.clone(), settings);
    let refunds = Arc::new(CcgGateway::new(client(world.sandbox()), MERCHANT));
    let reconciler = Reconciler::new(Refunds::new(engine, refunds));
    let BegunRun::New(run) = reconciler.begin(&wanted(on, on)).await.unwrap() else { panic!() };
    let (run, sums) = reconciler.carry_on(run.id, &CancellationToken::new()).await.unwrap();
    assert_eq!(gateway.left.load(Ordering::SeqCst), 0, "the dispatcher came in between");
    (run.clone(), sums, found(world, run.id).await)
}

/// One of the two is read as it stood before its next try, the other's attempts are read after it: neither differs from the gateway.
async fn what_the_same_process_sends_while_it_asks_is_no_orphan_and_holds_nobody(backend: Backend) {
    let again = Behaviour::DeclinesThenPays { times: 1, code: DeclineCode::InsufficientFunds };
    for (n, (behaviour, paid)) in [(declines(), 0), (again, 15_800)].into_iter().enumerate() {
        let methods = [card(behaviour, 1), card(behaviour, 2)];
        let Some(world) = world(backend, &format!("overtaken {n}"), &methods).await else { return };
        world.run().await;
        let due = world.charges().await.iter().filter_map(|charge| charge.state.next_at()).max().unwrap();
        world.turn(due - world.now());
        let (_, sums, found) = overtaken(&world, "2027-01-15", 2).await;
        assert_eq!(found, []);
        assert_eq!(usd(&sums), Sum { ours: paid, theirs: paid, listed: 0 });
        assert_eq!(world.store.holds().await.unwrap(), []);
        assert!(world.charges().await.iter().all(|charge| charge.tries.attempt == 2));
        world.balance().await;
    }
}

async fn a_cycle_that_is_charged_while_it_is_asked_about_is_no_orphan(backend: Backend) {
    let methods = [card(Behaviour::Pays, 1), card(Behaviour::Pays, 2)];
    let Some(world) = world(backend, "charged meanwhile", &methods).await else { return };
    let (_, sums, found) = overtaken(&world, "2027-01-15", 1).await;
    assert_eq!(found, []);
    assert_eq!(usd(&sums), Sum { ours: 15_800, theirs: 15_800, listed: 0 });
    assert_eq!(world.sandbox().ledger().success_count(), 2);
    world.balance().await;
}

async fn a_gateway_that_is_away_ends_the_run_and_the_same_run_goes_on(backend: Backend) {
    let methods = [card(Behaviour::Pays, 1), card(Behaviour::Pays, 2)];
    let Some(world) = world(backend, "away", &methods).await else { return };
    assert_eq!(world.run().await.paid, 2);
    world.sandbox().set_faults(Faults::only(Fault::RateLimited, 1.0));
    let reconciler = reconciler(&world);
    let wanted = wanted("2027-01-15", "2027-01-15");
    let BegunRun::New(run) = reconciler.begin(&wanted).await.unwrap() else { panic!() };
    let stop = CancellationToken::new();
    assert!(matches!(reconciler.carry_on(run.id, &stop).await, Err(ReconError::Gateway(_))));
    world.sandbox().set_faults(Faults::none());
    let stopped = CancellationToken::new();
    stopped.cancel();
    assert!(matches!(reconciler.carry_on(run.id, &stopped).await, Err(ReconError::Stopped)));
    let BegunRun::GoesOn(again) = reconciler.begin(&wanted).await.unwrap() else { panic!() };
    assert_eq!(again.id, run.id);
    let (run, sums) = reconciler.carry_on(run.id, &stop).await.unwrap();
    assert_eq!((run.stage, usd(&sums)), (Stage::Done, Sum { ours: 15_800, theirs: 15_800, listed: 0 }));
    assert!(matches!(reconciler.carry_on(run.id, &stop).await, Err(ReconError::NotOpen(_))), "it has ended");
    assert_eq!(found(&world, run.id).await, []);
}

async fn yesterday_is_compared_once_by_the_scheduler(backend: Backend) {
    let Some(world) = world(backend, "yesterday", &[card(Behaviour::Pays, 1)]).await else { return };
    assert_eq!(world.run().await.paid, 1);
    world.turn_to("2027-01-16T02:00:00Z");
    let reconciler = reconciler(&world);
    let stop = CancellationToken::new();
    reconciler.make_up(&stop).await.unwrap();
    let runs = world.store.recons(MERCHANT, 0, 100).await.unwrap();
    assert_eq!(runs[0].0.span.until, day("2027-01-14"), "the 15th is not over everywhere");
    assert_eq!(runs.len(), 7, "days that were missed are made up for");
    world.turn(TimeDelta::hours(2));
    for _ in 0..2 {
        reconciler.make_up(&stop).await.unwrap();
    }
    let runs = world.store.recons(MERCHANT, 0, 100).await.unwrap();
    assert_eq!((runs.len(), runs[0].0.span.until, runs[0].0.by.as_str()), (8, day("2027-01-15"), "autopay"));
    assert_eq!(usd(&runs[0].1), Sum { ours: 7_900, theirs: 7_900, listed: 0 });
    assert!(runs.iter().all(|(run, _)| run.ended_at.is_some()));
    let open = ExceptionFilter { standings: vec![Standing::Open], ..ExceptionFilter::default() };
    assert_eq!(world.store.exceptions(MERCHANT, &open, 0, 10).await.unwrap(), []);
}
