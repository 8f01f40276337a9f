use std::time::Duration;

use sandbox::{Behaviour, Options, RateLimit, method_id};
use uuid::Uuid;

use crate::support::{World, order};

const CARD: Uuid = method_id(Behaviour::Pays, 1);

#[tokio::test]
async fn calls_over_the_limit_are_told_when_to_come_back() {
    let limit = RateLimit { per_second: 0.5, burst: 3 };
    let world = World::with(Options { rate_limit: Some(limit), ..Options::default() }).await;
    let mut statuses = Vec::new();
    for n in 0..3 {
        statuses.push(world.post(&order(&format!("k{n}"), 100, CARD)).await.status);
    }
    let refused = world.post(&order("k4", 100, CARD)).await;
    assert_eq!((statuses, refused.status), (vec![202; 3], 429));
    assert_eq!(refused.header("retry-after"), Some("2"));
    assert_eq!(world.by_key("k0").await.status, 429, "look-ups are calls too");
    let ledger = world.sandbox.ledger();
    assert_eq!(ledger.success_count(), 3);
    assert_eq!(ledger.summary().rejections[&429], 1);
    assert!(ledger.check_rate(0.5, 3).is_some(), "the client did not keep to it");
}

#[tokio::test]
async fn arrivals_are_recorded_and_questioned() {
    let world = World::new().await;
    for n in 0..10 {
        world.post(&order(&format!("k{n}"), 100, CARD)).await;
        world.by_key(&format!("k{n}")).await;
    }
    let ledger = world.sandbox.ledger();
    assert_eq!(ledger.max_in_window(Duration::from_secs(60)), 20);
    assert_eq!(ledger.max_posts_in_window(Duration::from_secs(60)), 10);
    assert_eq!(ledger.check_rate(1e-9, 20), None);
    assert_eq!(ledger.check_rate(1e-9, 19).unwrap().count, 20);
    assert_eq!(ledger.check_post_rate(1e-9, 10), None);
    assert_eq!(ledger.check_rate_of(sandbox::DEFAULT_MERCHANT, 1e-9, 20), None);
    assert_eq!(ledger.arrivals(Some(Uuid::max()), false), Vec::<u64>::new());
    let answer = world.read("/sandbox/ledger/rate?rate=0.000001&burst=5&posts=true").await.json();
    assert_eq!(answer["violation"]["count"], 10);
}

#[tokio::test]
async fn arrivals_are_not_kept_when_not_wanted() {
    let world = World::with(Options { record_arrivals: false, keep_bodies: false, ..Options::default() }).await;
    world.post(&order("k", 100, CARD)).await;
    let ledger = world.sandbox.ledger();
    assert_eq!(ledger.max_in_window(Duration::from_secs(60)), 0);
    assert_eq!(ledger.submissions_of("k")[0].body, None);
    assert_eq!(ledger.successes().next().unwrap().metadata["subscription"], "sub-1", "metadata is always kept");
}

#[tokio::test]
async fn the_ledger_is_read_over_http() {
    let world = World::new().await;
    world.post(&order("a", 100, CARD)).await;
    world.post(&order("b", 100, method_id(Behaviour::DeclinesPlainly, 1))).await;
    world.post(&order("a", 101, CARD)).await;
    let summary = world.read("/sandbox/ledger").await.json();
    assert_eq!(
        (&summary["submissions"], &summary["payments"], &summary["successes"]),
        (&3.into(), &2.into(), &1.into())
    );
    assert_eq!(summary["collected"]["USD"], 100);
    assert_eq!(summary["by_status"]["FAILED"], 1);
    assert_eq!(summary["keys_with_changed_bodies"][0], "a");
    for (path, lines) in [("submissions", 3), ("payments", 2), ("rejections", 0)] {
        let text = String::from_utf8(world.read(&format!("/sandbox/ledger/{path}")).await.body).unwrap();
        assert_eq!(text.lines().count(), lines, "{path}");
        for line in text.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].is_string());
        }
    }
}
