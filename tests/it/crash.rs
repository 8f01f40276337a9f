//! The real binary, killed with SIGKILL at random moments while it drains a backlog through a faulty gateway.
//!
//! Afterwards the sandbox's own ledger is asked, not autopay: no obligation has two successes, none is missing, submissions
//! per key never exceed the recorded ones, and the cents agree. `AUTOPAY_TEST_SEED` repeats a run.
//!
//! A kill strands what was recorded and not yet sent: at most two batches. Each of those is looked up when its lease has run
//! out, and sent again under the same key when the quiesce time has passed; small batches keep most of the backlog for the
//! kills to come. One kill in four falls at any moment from the start of the process on, the others within a quarter of a
//! second of a submission that the gateway received, so that they fall into the sending however slow the machine starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use autopay::clock::TurnedClock;
use autopay::ports::audit::AuditFilter;
use autopay::ports::{ChargeFilter, Store};
use chrono::{SubsecRound as _, Utc};
use domain::audit::Link;
use domain::charge::Charge;
use domain::id::Key;
use sandbox::{Behaviour, DeclineCode, Faults, Idempotency, Options, Sandbox};

use crate::contract_audit::{lines, whole};
use crate::postgres::TestDatabase;
use crate::world::{MERCHANT, card, database_store, plan, subscriber};

/// Kills for each reading of idempotency; three readings a test.
const KILLS: u32 = 100;
const BACKLOG: u64 = 1_300;

/// A small deterministic generator: the tests choose moments, not secrets.
pub(crate) struct Moments(u64);

impl Moments {
    pub(crate) fn seeded(salt: u64) -> Self {
        let seed = std::env::var("AUTOPAY_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_122_u64);
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Writes a configuration whose patience is counted in seconds instead of minutes.
pub(crate) fn configuration(folder: &Path, database: &str, sandbox: &Sandbox, more: &str) -> std::path::PathBuf {
    let secret = folder.join("secret");
    std::fs::write(&secret, sandbox::DEFAULT_CLIENT_SECRET).unwrap();
    let text = format!(
        r#"
environment = "test"

[database]
url = "{database}"
pool = 4

[merchant]
id = "{merchant}"

[gateway]
base_url = "{base}"
token_url = "{token}"
client_id = "{client}"
client_secret_file = "{secret}"
time_limit_seconds = 3
connect_timeout_seconds = 1

[http]
listen = "127.0.0.1:0"

[log]
level = "warn"
{more}
"#,
        merchant = sandbox::DEFAULT_MERCHANT,
        base = sandbox.url(),
        token = sandbox.token_url(),
        client = sandbox::DEFAULT_CLIENT_ID,
        secret = secret.display(),
    );
    let path = folder.join("autopay.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Starts `autopay serve` as a child of this test.
pub(crate) fn serve(configuration: &Path, log: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    Command::new(env!("CARGO_BIN_EXE_autopay"))
        .arg("--config")
        .arg(configuration)
        .arg("serve")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

pub(crate) fn storm(rate: f64) -> Faults {
    Faults {
        refused: rate,
        rate_limited: rate,
        unauthorized: rate / 4.0,
        error_before_commit: rate,
        error_after_commit: rate,
        cut_before_commit: rate,
        cut_after_commit: rate,
        truncated_answer: rate,
        slow: rate / 2.0,
        slow_ms: 3_400,
        late_commit: rate,
        late_commit_ms: 700,
        lookup_404_for: rate,
        lookup_404_for_ms: 700,
        get_5xx: rate,
        ..Faults::none()
    }
}

/// Ten subscriptions in a row behave like this; the book repeats them.
fn method(n: u64) -> Behaviour {
    match n % 10 {
        0 => Behaviour::DeclinesWith(DeclineCode::StolenCard),
        1 => Behaviour::declines(1),
        _ => Behaviour::Pays,
    }
}

pub(crate) async fn backlog(store: &Arc<dyn Store>, count: u64) {
    let now = Utc::now_of_the_test();
    let yesterday = (now - chrono::TimeDelta::days(1)).date_naive().to_string();
    let spec = plan("storm", "1 month", "UTC", "00:00", "42.00");
    let understood = domain::plan::Plan::from_spec(&spec, 0).unwrap();
    let change = autopay::ports::CatalogChange { plans: vec![(spec, understood)], policies: Vec::new() };
    store.apply(&change, "test", now).await.unwrap();
    let plan = store.catalog().await.unwrap().plans.into_values().next().unwrap();
    let rows: Vec<_> = (0..count)
        .map(|n| {
            let mut row = subscriber(&format!("sub-{n:05}"), "storm", &yesterday, card(method(n), n));
            // Somebody of their own each: one customer charged so often would be stopped by a brake.
            row.customer.enterprise_id = Some(n.to_string());
            let (charge, _) = domain::agenda::planned(&plan, &row, 0).unwrap().unwrap();
            row.next_due_at = Some(charge.due_at);
            row
        })
        .collect();
    store.import(&rows, "test", now).await.unwrap();
}

/// The tests' own reading of the wall clock: the binaries under test run on it.
pub(crate) trait WallTime {
    fn now_of_the_test() -> chrono::DateTime<Utc>;
}

impl WallTime for Utc {
    #[expect(clippy::disallowed_methods, reason = "the binaries under test run on the real clock")]
    fn now_of_the_test() -> chrono::DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes live in real time")]
pub(crate) async fn rest(time: Duration) {
    tokio::time::sleep(time).await;
}

fn received(sandbox: &Sandbox) -> u64 {
    sandbox.ledger().submissions_by_key().values().sum()
}

async fn killed_a_hundred_times(database: &str, reading: Idempotency, salt: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut moments = Moments::seeded(salt);
    let options =
        Options { idempotency: reading, seed: moments.below(u64::MAX), faults: storm(0.03), ..Options::default() };
    let sandbox = sandbox::start(options).await.unwrap();
    let clock = Arc::new(TurnedClock::new(Utc::now_of_the_test()));
    let store = database_store(database, clock).await;
    backlog(&store, BACKLOG).await;
    // The rate spreads the backlog over all the kills: under the storm's errors it shrinks to a sixteenth, and stays there.
    let more = "
[rate]
per_second = 300
burst = 30

[engine]
batch = 8
in_flight = 8
settle_wait_ms = 50

[testing]
lease_seconds = 8
quiesce_seconds = 3
ladder_seconds = [1, 2, 4, 6, 8, 10, 15, 20, 30, 60, 120, 240, 480]
window_seconds = 3600
";
    let configuration = configuration(folder.path(), database, &sandbox, more);
    let log = folder.path().join("log");
    for _ in 0..KILLS {
        let before = received(&sandbox);
        let mut process = serve(&configuration, &log);
        if moments.below(4) == 0 {
            rest(Duration::from_millis(60 + moments.below(420))).await;
        } else {
            // Bounded: while the leases of the killed run, there may be nothing to send. Long enough for a start beside other tests.
            for _ in 0..500 {
                if received(&sandbox) > before {
                    break;
                }
                rest(Duration::from_millis(10)).await;
            }
            rest(Duration::from_millis(moments.below(250))).await;
        }
        process.kill().unwrap();
        let status = process.wait().unwrap();
        assert!(status.code().is_none(), "it ended by itself: {status}\n{}", std::fs::read_to_string(&log).unwrap());
    }
    let killed_at = sandbox.ledger().success_count();
    let submitted = received(&sandbox);
    assert!(submitted >= u64::from(KILLS), "only {submitted} submissions met the kills: nothing was tested");
    // The storm ends; one process finishes the work.
    sandbox.set_faults(Faults::none());
    let mut process = serve(&configuration, &log);
    drained(&store, BACKLOG, || {
        assert!(process.try_wait().unwrap().is_none(), "it ended: {}", std::fs::read_to_string(&log).unwrap());
    })
    .await;
    process.kill().unwrap();
    process.wait().unwrap();
    agree(&store, &sandbox, BACKLOG, killed_at).await;
    sandbox.stop().await;
}

/// Waits until every obligation of a backlog has an answer; `look` sees to the processes meanwhile.
pub(crate) async fn drained(store: &Arc<dyn Store>, backlog: u64, mut look: impl FnMut()) {
    // A bound for a process that hangs, not a measure: after a storm the shared rate grows back slowly.
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        rest(Duration::from_millis(250)).await;
        let totals = store.totals().await.unwrap();
        let answered = |word: &str| ["paid", "failed", "failing"].contains(&word);
        let done: u64 = totals.iter().filter(|((word, _), _)| answered(word)).map(|(_, (n, _))| n).sum();
        if done >= backlog {
            return;
        }
        look();
        assert!(Instant::now() < deadline, "not done in time: {totals:?}");
    }
}

/// Three lists: the book's, the store's, the gateway's own.
pub(crate) async fn agree(store: &Arc<dyn Store>, sandbox: &Sandbox, obligations: u64, before: u64) {
    let ledger = sandbox.ledger();
    let mut successes: BTreeMap<(String, String), u64> = BTreeMap::new();
    for success in ledger.successes() {
        assert_eq!(success.amount_minor, 4_200);
        *successes.entry((success.metadata["subscription"].clone(), success.metadata["cycle"].clone())).or_default() +=
            1;
    }
    let doubles: Vec<_> = successes.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubles.is_empty(), "charged twice: {doubles:?}");
    let pays = (0..obligations).filter(|n| n % 10 > 1).count();
    assert_eq!(successes.len(), pays, "forgotten or charged without reason");
    assert!(
        usize::try_from(before).unwrap() < pays,
        "the backlog was drained before the last kill: nothing was tested"
    );
    let submitted = ledger.submissions_by_key();
    let charges = store.charges(&ChargeFilter::default(), &None, 1_000_000).await.unwrap();
    assert_eq!(u64::try_from(charges.len()).unwrap(), obligations);
    let environment = domain::id::Environment::parse("test").unwrap();
    let mut keys = std::collections::BTreeSet::new();
    let mut collected = 0;
    for charge in &charges {
        let key = Key::of(&environment, MERCHANT, &charge.subscription, charge.cycle, charge.tries.attempt).to_string();
        let received = submitted.get(&key).copied().unwrap_or(0);
        assert!(received <= u64::from(charge.tries.submissions), "{received} submissions at the gateway of {charge:?}");
        assert!(charge.tries.spent() <= 4, "{charge:?}");
        let paid = charge.state.word() == "paid";
        collected += if paid { charge.amount.minor() } else { 0 };
        let there = successes.contains_key(&(charge.subscription.to_string(), charge.cycle.to_string()));
        assert_eq!(paid, there, "{charge:?}");
        keys.insert(key);
    }
    assert_eq!(collected, ledger.total_collected("USD"), "the cents disagree");
    assert!(submitted.keys().all(|key| keys.contains(key)), "the gateway knows a key that the book does not");
    audited(store, &charges).await;
    assert_eq!(ledger.keys_with_changed_bodies(), Vec::<String>::new());
}

/// The audit is whole, and tells of every submission that was recorded and every step that was learnt: no change without its line, no
/// line without its change, wherever the kills fell.
async fn audited(store: &Arc<dyn Store>, charges: &[Charge]) {
    whole(&**store).await;
    let mut intents: BTreeMap<String, u64> = BTreeMap::new();
    let mut stands: BTreeMap<String, String> = BTreeMap::new();
    for Link { line, .. } in
        lines(&**store, &AuditFilter { action: Some("charge".into()), ..AuditFilter::default() }).await
    {
        match line.action.as_str() {
            "charge.intent" => *intents.entry(line.object.clone()).or_default() += 1,
            "charge.learnt" => {
                assert_eq!(
                    line.before.as_ref().map(|facts| state(facts)),
                    stands.get(&line.object).cloned(),
                    "{line:?}"
                );
            }
            other => panic!("{other}"),
        }
        stands.insert(line.object.clone(), state(line.after.as_ref().unwrap()));
    }
    for charge in charges {
        let object = charge.id.to_string();
        assert_eq!(intents.get(&object), Some(&u64::from(charge.tries.submissions)), "{charge:?}");
        assert_eq!(stands.get(&object).map(String::as_str), Some(charge.state.name()), "{charge:?}");
    }
}

fn state(facts: &str) -> String {
    let facts: serde_json::Value = serde_json::from_str(facts).unwrap();
    facts["state"].as_str().unwrap().to_owned()
}

const READINGS: [Idempotency; 3] =
    [Idempotency::Replay, Idempotency::NewAttemptAfterFailed, Idempotency::RejectDuplicate];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_three_hundred_times_on_sqlite_it_charges_each_obligation_once() {
    for (salt, reading) in (1..).zip(READINGS) {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("autopay.db").display());
        killed_a_hundred_times(&database, reading, salt).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_three_hundred_times_on_postgresql_it_charges_each_obligation_once() {
    for (salt, reading) in (11..).zip(READINGS) {
        let Some(database) = TestDatabase::create("the crash rig").await else { return };
        killed_a_hundred_times(&database.url, reading, salt).await;
    }
}
