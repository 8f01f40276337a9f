//! `autopay charges capture`, and what the other commands show of money that is set aside.

use sandbox::{Behaviour, Options, Sandbox, method_id};

use crate::cli_support::{Bench, PLAN};

const ROSTER: &str = "subscription_id,plan,payment_method_id,method_kind,customer_reference,start_on\n";

/// A folder whose gateway is a sandbox, and a plan of every day that sets money aside, due by now.
pub(crate) async fn boxes(collect: &str, method: Behaviour) -> (Bench, Sandbox, String) {
    let sandbox = sandbox::start(Options::default()).await.unwrap();
    let mut bench = Bench::migrated();
    let secret = bench.write("secret", sandbox::DEFAULT_CLIENT_SECRET);
    bench.env("AUTOPAY_GATEWAY_BASE_URL", sandbox.url());
    bench.env("AUTOPAY_GATEWAY_TOKEN_URL", sandbox.token_url());
    bench.env("AUTOPAY_GATEWAY_CLIENT_ID", sandbox::DEFAULT_CLIENT_ID);
    bench.env("AUTOPAY_GATEWAY_CLIENT_SECRET_FILE", secret.display().to_string());
    let daily = PLAN
        .replace("1 month", "1 day")
        .replace("06:00:00", "00:00:00")
        .replace("America/Chicago", "Pacific/Kiritimati");
    bench.write("plans/wellness.toml", format!("{daily}\n[collect]\nmode = \"authorize\"\n{collect}"));
    bench.run(&["plans", "apply", "plans", "-q"]).exits(0);
    let row = format!("a,wellness,{},card,C-1,2026-01-01\n", method_id(method, 1));
    bench.write("roster.csv", format!("{ROSTER}{row}"));
    bench.run(&["subscriptions", "import", "roster.csv", "-q"]).exits(0);
    let run = bench.run(&["run", "once", "-o", "json"]).exits(0).json();
    assert_eq!((&run["sent"], &run["authorized"], &run["paid"]), (&1.into(), &1.into(), &0.into()), "{run}");
    let listed = bench.run(&["charges", "list", "--state", "authorized", "-o", "json"]).exits(0).json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    assert!(listed[0]["expires_at"].is_string(), "{listed}");
    (bench, sandbox, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_is_planned_ordered_once_and_shown() {
    let (bench, sandbox, id) = boxes("", Behaviour::Pays).await;
    let id = id.as_str();
    assert_eq!(bench.run(&["charges", "list", "--expiring", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    let shown = bench.run(&["charges", "show", id, "-o", "json"]).exits(0).json();
    assert_eq!((&shown["state"], &shown["money_moved"]), (&"authorized".into(), &"no".into()));
    assert_eq!((&shown["authorized"], &shown["collected"]), (&"1079.00".into(), &serde_json::Value::Null), "{shown}");

    let dry = bench.run(&["charges", "capture", id, "--amount", "30.00", "--dry-run", "-o", "json"]).exits(0).json();
    assert_eq!(
        (&dry["captured"], &dry["released"], &dry["applied"]),
        (&"30.00".into(), &"1049.00".into(), &false.into()),
        "{dry}"
    );
    assert!(sandbox.ledger().calls().is_empty(), "a dry run sends nothing");
    for (amount, code, said) in [
        ("0.00", 2, "write an amount above zero"),
        ("1079.01", 2, "cannot be taken"),
        ("30,00", 2, "--amount"),
        ("1.001", 2, "--amount"),
    ] {
        bench.run(&["charges", "capture", id, "--amount", amount]).exits(code).complains(&[said]);
    }
    bench.run(&["charges", "capture", "ch_00000000-0000-5000-8000-000000000000"]).exits(5);
    let done = bench.run(&["charges", "capture", id, "--amount", "30.00", "-o", "json"]).exits(0).json();
    assert_eq!((&done["state"], &done["captured"], &done["applied"]), (&"paid".into(), &"30.00".into(), &true.into()));
    bench.run(&["charges", "capture", id]).exits(7).complains(&["nothing is set aside", "Paid"]);
    let shown = bench.run(&["charges", "show", id, "-o", "json"]).exits(0).json();
    assert_eq!((&shown["collected"], &shown["money_moved"]), (&"30.00".into(), &"yes".into()), "{shown}");
    let timeline = bench.run(&["charges", "timeline", id, "-o", "json"]).exits(0).out;
    assert!(timeline.contains("\"tester\"") && timeline.contains("capture of USD 30.00 ordered"), "{timeline}");
    assert_eq!(sandbox.ledger().total_collected("USD"), 3_000);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_approval_needs_its_amount_said() {
    let (bench, sandbox, id) =
        boxes("partial_authorization = \"accept\"\n", Behaviour::ApprovesPart { percent: 50 }).await;
    bench
        .run(&["charges", "capture", &id])
        .exits(2)
        .complains(&["only USD 539.50 of USD 1,079.00", "how much to take"]);
    bench.run(&["charges", "capture", &id, "--amount", "539.50", "-q"]).exits(0);
    assert_eq!(sandbox.ledger().total_collected("USD"), 53_950);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_while_the_gateway_is_away_is_recorded_and_goes_out_later() {
    let (bench, sandbox, id) = boxes("", Behaviour::Pays).await;
    sandbox.set_faults(sandbox::Faults { refused: 1.0, ..sandbox::Faults::none() });
    let said = bench.run(&["charges", "capture", &id]).exits(11);
    said.complains(&["do not order it again"]);
    bench.run(&["charges", "capture", &id]).exits(7);
    sandbox.set_faults(sandbox::Faults::none());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while bench.run(&["charges", "list", "--state", "paid", "-o", "jsonl"]).exits(0).out.lines().count() < 1 {
        assert!(std::time::Instant::now() < deadline, "never paid");
        bench.run(&["run", "once", "-q"]);
    }
    assert_eq!(sandbox.ledger().total_collected("USD"), 107_900);
    sandbox.stop().await;
}
