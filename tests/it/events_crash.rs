//! The real binary, killed between a delivery and its commit: the receiver hears twice under one id, and never not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use autopay::clock::TurnedClock;
use autopay::ports::outbox::{DeliveryFilter, DeliveryState, Outbox};
use autopay::store::{DatabaseStore, DatabaseUrl, Pool, open};
use chrono::Utc;
use sandbox::Options;

use crate::crash::{Moments, WallTime as _, backlog, configuration, rest, serve};
use crate::events::{Receiver, SECRET};
use crate::postgres::TestDatabase;
use crate::world::database_store;

/// Kills of a test, each within moments of a delivery.
const KILLS: usize = 12;
const CHARGES: u64 = 60;

async fn killed_while_delivering(database: &str, salt: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut moments = Moments::seeded(salt);
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let clock = Arc::new(TurnedClock::new(Utc::now_of_the_test()));
    let store = database_store(database, clock.clone()).await;
    backlog(&store, CHARGES).await;
    let receiver = Receiver::default();
    let url = receiver.listen().await;
    let secret = folder.path().join("whsec");
    std::fs::write(&secret, SECRET).unwrap();
    let more = format!(
        "
[rate]
per_second = 20
burst = 2

[engine]
batch = 4
in_flight = 2
settle_wait_ms = 20

[events]
endpoints = [\"billing={url}\"]
secret_files = [\"billing={}\"]

[testing]
events_to_loopback = \"on\"
lease_seconds = 8
quiesce_seconds = 3
ladder_seconds = [1, 2, 4, 6, 8, 10, 15, 20, 30, 60]
window_seconds = 3600
",
        secret.display()
    );
    let configuration = configuration(folder.path(), database, &sandbox, &more);
    let log = folder.path().join("log");
    for _ in 0..KILLS {
        let before = receiver.heard().len();
        let mut process = serve(&configuration, &log);
        for _ in 0..300 {
            if receiver.heard().len() > before {
                break;
            }
            rest(Duration::from_millis(10)).await;
        }
        // Between nothing and a few commits after the receiver heard.
        rest(Duration::from_millis(moments.below(12))).await;
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert!(!receiver.heard().is_empty(), "no delivery met the kills: nothing was tested");
    // What was leased when a process died is due when its lease has run out; a person need not wait for that.
    let url = DatabaseUrl::parse(database).unwrap();
    let outbox = DatabaseStore::new(open(&url, Pool::engine(2)).await.unwrap(), clock);
    let mut process = serve(&configuration, &log);
    let deadline = Instant::now() + Duration::from_secs(420);
    let told = loop {
        rest(Duration::from_millis(500)).await;
        let (rows, next) = outbox.deliveries(&DeliveryFilter::default(), &None, 10_000).await.unwrap();
        assert_eq!(next, None);
        let charges = store.attention().await.unwrap();
        let busy = ["due", "sending", "outcome_unknown"].iter().any(|word| charges.contains_key(*word));
        let all_there = !busy && rows.iter().all(|row| row.state == DeliveryState::Delivered);
        if all_there && u64::try_from(rows.len()).unwrap() >= CHARGES {
            break rows;
        }
        assert!(Instant::now() < deadline, "not done in time: {charges:?}\n{}", std::fs::read_to_string(&log).unwrap());
    };
    process.kill().unwrap();
    process.wait().unwrap();
    let heard = receiver.heard();
    let ids: BTreeSet<&str> = heard.iter().map(|one| one.id.as_str()).collect();
    let written: BTreeSet<&str> = told.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, written, "every event was heard, and none that was not written");
    let mut bodies: BTreeMap<&str, &str> = BTreeMap::new();
    for one in &heard {
        assert!(one.is_signed_with(SECRET));
        let first = bodies.entry(&one.id).or_insert(&one.body);
        assert_eq!(*first, one.body, "repeated with other bytes");
    }
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_delivery_and_commit_on_sqlite_an_event_is_repeated_and_never_lost() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("autopay.db").display());
    killed_while_delivering(&database, 71).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_delivery_and_commit_on_postgresql_an_event_is_repeated_and_never_lost() {
    let Some(database) = TestDatabase::create("events and kills").await else { return };
    killed_while_delivering(&database.url, 72).await;
}
