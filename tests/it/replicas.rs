//! Two real processes on one PostgreSQL drain one backlog: each obligation once, and the gateway sees no window above the rate
//! that both share.

use std::sync::Arc;
use std::time::Duration;

use autopay::clock::TurnedClock;
use chrono::Utc;
use sandbox::Options;

use crate::crash::{WallTime as _, agree, backlog, configuration, drained, rest, serve};
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

/// How long a hold may take until no process sends any more, in every process.
const HOLD_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_set_by_one_process_stops_two_others_within_two_seconds() {
    let Some(database) = TestDatabase::create("a hold over replicas").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let store = database_store(&database.url, Arc::new(TurnedClock::new(Utc::now_of_the_test()))).await;
    backlog(&store, BACKLOG).await;
    // A backlog for a quarter of a minute at least, of which each pass of a process takes five seconds.
    let more = "\n[rate]\nper_second = 40\nburst = 20\n\n[engine]\nbatch = 25\nin_flight = 32\nsettle_wait_ms = 50\n";
    let configuration = configuration(folder.path(), &database.url, &sandbox, more);
    let text = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, text.replace("level = \"warn\"", "level = \"info\"")).unwrap();
    let logs = [folder.path().join("one"), folder.path().join("two")];
    let mut processes = logs.each_ref().map(|log| serve(&configuration, log));
    let said = |log: &std::path::PathBuf| std::fs::read_to_string(log).unwrap();
    // Both have made a pass of their own and are in the midst of the next one.
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while !logs.iter().all(|log| said(log).contains("pass over what is due")) {
        assert!(std::time::Instant::now() < deadline, "{}\n{}", said(&logs[0]), said(&logs[1]));
        rest(Duration::from_millis(50)).await;
    }
    let autopay = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_autopay"));
        let done = command.arg("--config").arg(&configuration).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let submitted = || sandbox.ledger().submissions_by_key().values().sum::<u64>();
    autopay(&["hold", "on", "--scope", "all", "--reason", "gateway double-posting"]);
    rest(HOLD_WITHIN).await;
    let before = submitted();
    assert!(before < BACKLOG, "nothing was left to be stopped");
    rest(Duration::from_secs(5)).await;
    assert_eq!(submitted(), before, "something was sent under the hold");
    for process in &mut processes {
        assert!(process.try_wait().unwrap().is_none(), "both go on running");
    }
    // What was recorded and kept back goes out again when it is lifted, and nothing is lost.
    autopay(&["hold", "off", "--scope", "all"]);
    drained(&store, BACKLOG, || ()).await;
    for process in &mut processes {
        terminate(process);
        assert_eq!(process.wait().unwrap().code(), Some(0));
    }
    agree(&store, &sandbox, BACKLOG, 0).await;
    sandbox.stop().await;
}

/// SIGTERM, by the system's own command: no unsafe code for one signal.
pub(crate) fn terminate(process: &std::process::Child) {
    let sent = std::process::Command::new("kill").arg("-TERM").arg(process.id().to_string()).status().unwrap();
    assert!(sent.success());
}
