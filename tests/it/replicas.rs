//! Two real processes on one PostgreSQL drain one backlog: each obligation once, and the gateway sees no window above the rate
//! that both share.

use std::sync::Arc;
use std::time::Duration;

use autopay::clock::TurnedClock;
use chrono::Utc;
use sandbox::Options;

use crate::crash::{WallTime as _, agree, backlog, configuration, drained, serve};
use crate::postgres::TestDatabase;
use crate::world::database_store;

const BACKLOG: u64 = 600;
const PER_SECOND: u32 = 120;
const BURST: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_one_backlog_and_one_rate() {
    let Some(database) = TestDatabase::create("two replicas").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let store = database_store(&database.url, Arc::new(TurnedClock::new(Utc::now_of_the_test()))).await;
    backlog(&store, BACKLOG).await;
    let more = format!(
        "\n[rate]\nper_second = {PER_SECOND}\nburst = {BURST}\n\n[engine]\nbatch = 25\nin_flight = 32\nsettle_wait_ms = 50\n"
    );
    let configuration = configuration(folder.path(), &database.url, &sandbox, &more);
    let logs = [folder.path().join("one"), folder.path().join("two")];
    let mut processes = logs.each_ref().map(|log| serve(&configuration, log));
    drained(&store, BACKLOG, || {
        for (process, log) in processes.iter_mut().zip(&logs) {
            assert!(process.try_wait().unwrap().is_none(), "it ended: {}", std::fs::read_to_string(log).unwrap());
        }
    })
    .await;
    for process in &mut processes {
        terminate(process);
    }
    for (process, log) in processes.iter_mut().zip(&logs) {
        let status = process.wait().unwrap();
        assert_eq!(status.code(), Some(0), "SIGTERM drains and ends well\n{}", std::fs::read_to_string(log).unwrap());
    }
    agree(&store, &sandbox, BACKLOG, 0).await;
    let ledger = sandbox.ledger();
    let violation = ledger.check_rate(f64::from(PER_SECOND), u64::from(BURST));
    assert!(violation.is_none(), "above the rate: {violation:?}");
    let busiest = ledger.max_in_window(Duration::from_secs(1));
    assert!(busiest > u64::from(PER_SECOND) / 2, "the rate was hardly used: {busiest} in the busiest second");
    sandbox.stop().await;
}

/// SIGTERM, by the system's own command: no unsafe code for one signal.
pub(crate) fn terminate(process: &std::process::Child) {
    let sent = std::process::Command::new("kill").arg("-TERM").arg(process.id().to_string()).status().unwrap();
    assert!(sent.success());
}
