use std::io::Write;
use std::path::Path;

use sandbox::{Behaviour, Fault, Faults, Idempotency, Journal, Options, SandboxClock, method_id};
use uuid::Uuid;

use crate::support::{World, bank_order, new_year, order, wait_ms};

const CARD: Uuid = method_id(Behaviour::Pays, 1);

fn options(journal: &Path) -> Options {
    Options { journal: Some(journal.to_owned()), ..Options::default() }
}

#[tokio::test]
async fn a_crashed_sandbox_goes_on_with_the_same_payments_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let flaky = method_id(Behaviour::declines(2), 1);
    let world = World::with(options(&path)).await;
    let first = world.post(&order("k", 100, CARD)).await;
    world.post(&order("k", 100, CARD)).await;
    world.post(&order("flaky-1", 100, flaky)).await;
    world.sandbox.fail_next_post(Fault::CutAfterCommit);
    assert!(world.try_post(&order("lost", 700, CARD)).await.is_err());
    let before = world.sandbox.ledger();
    let (payments, submissions) = (before.payments(), before.submissions());
    world.sandbox.crash().await;

    let world = World::with(options(&path)).await;
    let ledger = world.sandbox.ledger();
    assert_eq!(ledger.payments(), payments);
    let bare: Vec<_> =
        submissions.into_iter().map(|submission| sandbox::Submission { body: None, ..submission }).collect();
    assert_eq!(ledger.submissions(), bare);
    assert_eq!(world.by_id(&first.payment_id()).await.payment_status(), "COMPLETED");
    assert_eq!(world.by_key("lost").await.status, 200);
    for n in 3..=6 {
        let answer = world.post(&order("k", 100, CARD)).await;
        assert_eq!(answer.status, if n <= 5 { 202 } else { 422 }, "submission {n}");
    }
    for (key, status) in [("flaky-2", "FAILED"), ("flaky-3", "COMPLETED")] {
        world.post(&order(key, 100, flaky)).await;
        assert_eq!(world.by_key(key).await.payment_status(), status, "the card remembers its charges");
    }
}

#[tokio::test]
async fn faults_go_on_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let run = |path: std::path::PathBuf, crash: bool| async move {
        let faults = Faults { cut_after_commit: 0.3, error_before_commit: 0.3, ..Faults::none() };
        let mut world = World::with(options(&path)).await;
        world.sandbox.set_faults(faults.clone());
        for round in 0..4 {
            for n in 0..20 {
                let _ = world.try_post(&order(&format!("k{n}"), 100, CARD)).await;
            }
            if crash && round == 1 {
                // Nobody waits for the line of a submission that made nothing, and a crash may lose it. Lines are written
                // in order, so a good answer after it says that it is on the disk.
                world.sandbox.set_faults(Faults::none());
                assert_eq!(world.post(&order("fence", 100, CARD)).await.status, 202);
                world.sandbox.crash().await;
                world = World::with(options(&path)).await;
                world.sandbox.set_faults(faults.clone());
            }
        }
        let all = world.sandbox.ledger().submissions();
        let all = all.into_iter().filter(|submission| submission.key != "fence");
        all.map(|s| (s.key, s.number, s.answered, s.fault)).collect::<Vec<_>>()
    };
    let whole = run(folder.path().join("whole"), false).await;
    assert_eq!(whole, run(folder.path().join("crashed"), true).await);
}

#[tokio::test]
async fn a_torn_last_line_is_dropped_and_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let world = World::with(options(&path)).await;
    world.post(&order("a", 100, CARD)).await;
    world.sandbox.stop().await;
    let whole = std::fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let line = whole[last..].to_vec();
    for torn in [1, line.len() / 2, line.len() - 1] {
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&line[..torn]).unwrap();
        let ledger = Journal::read(&path).unwrap();
        assert!(ledger.torn);
        assert_eq!(ledger.payments(), 1);
        let world = World::with(options(&path)).await;
        assert_eq!(world.sandbox.ledger().summary().payments, 1);
        world.sandbox.stop().await;
        assert!(!Journal::read(&path).unwrap().torn);
    }
    let world = World::with(options(&path)).await;
    world.post(&order("b", 100, CARD)).await;
    world.sandbox.stop().await;
    let ledger = Journal::read(&path).unwrap();
    assert_eq!((ledger.payments(), ledger.starts, ledger.seed), (2, 5, Some(1)));
}

#[tokio::test]
async fn a_broken_line_inside_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    std::fs::write(&path, "{\"event\":\"start\",\"at_us\":1,\"real_us\":1}\nnonsense\n").unwrap();
    let error = Journal::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    assert!(sandbox::start(options(&path)).await.is_err());
    assert!(Journal::read(folder.path().join("none")).is_err());
}

#[tokio::test]
async fn the_file_alone_tells_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let clock = SandboxClock::turned(new_year());
    let world = World::with(Options {
        clock: clock.clone(),
        idempotency: Idempotency::NewAttemptAfterFailed,
        ..options(&path)
    })
    .await;
    world.post(&order("paid", 100, CARD)).await;
    world.post(&order("paid", 101, CARD)).await;
    world.post(&order("failed", 200, method_id(Behaviour::DeclinesPlainly, 1))).await;
    world.post(&bank_order("bank", 400, method_id(Behaviour::AchSettles { days: Some(2) }, 1))).await;
    world.post(&order("again", 800, method_id(Behaviour::declines(1), 9))).await;
    world.post(&order("again", 800, method_id(Behaviour::declines(1), 9))).await;
    world.sandbox.fail_next_post(Fault::DuplicateCharge);
    world.post(&order("evil", 1600, CARD)).await;
    world.sandbox.set_faults(Faults { late_commit_ms: 1, ..Faults::only(Fault::LateCommit, 1.0) });
    assert!(world.try_post(&order("late", 3200, CARD)).await.is_err());
    wait_ms(100).await;

    let file = Journal::read(&path).unwrap();
    let live = world.sandbox.ledger();
    assert_eq!(file.submissions_by_key(), live.submissions_by_key());
    assert_eq!(file.successes_by_key(Some(clock.now())), live.successes_by_key());
    assert_eq!(file.total_collected("USD", Some(clock.now())), live.total_collected("USD"));
    assert_eq!(file.total_collected("USD", Some(clock.now())), 100 + 800 + 2 * 1600 + 3200);
    assert_eq!(file.total_collected("USD", None), 100 + 400 + 800 + 2 * 1600 + 3200);
    assert_eq!(file.keys_with_changed_bodies(), ["paid"]);
    assert_eq!(file.successes(None).next().unwrap().metadata["cycle"], "4");
    assert_eq!(file.payments(), live.summary().payments);
}

#[tokio::test]
async fn a_turned_clock_does_not_run_back_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let start = || Options { clock: SandboxClock::turned(new_year()), ..options(&path) };
    let world = World::with(start()).await;
    world.post(&bank_order("k", 100, method_id(Behaviour::AchSettles { days: None }, 1))).await;
    world.admin("/sandbox/clock/advance", &serde_json::json!({ "days": 3 })).await;
    world.sandbox.stop().await;
    let world = World::with(start()).await;
    assert_eq!(world.by_key("k").await.payment_status(), "COMPLETED");
}

#[tokio::test]
async fn two_sandboxes_never_share_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let _world = World::with(options(&path)).await;
    let second = sandbox::start(options(&path)).await;
    assert!(second.is_err_and(|error| error.to_string().contains("in use by another sandbox")));
}

#[tokio::test]
async fn everything_acknowledged_under_load_is_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let world = World::with(options(&path)).await;
    let to = world.to;
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let request = world.post_request(&order(&format!("k{n}"), 100, CARD));
            tokio::spawn(async move { request.send(to).await.is_ok_and(|answer| answer.status == 202).then_some(n) })
        })
        .collect();
    wait_ms(30).await;
    world.sandbox.crash().await;
    let kept = Journal::read(&path).unwrap().successes_by_key(None);
    for task in tasks {
        if let Some(n) = task.await.unwrap() {
            assert_eq!(kept.get(&format!("k{n}")), Some(&1), "k{n} was acknowledged");
        }
    }
}
