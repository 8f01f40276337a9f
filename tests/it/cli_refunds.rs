//! Money given back, questions and findings by command, with the real binary against the sandbox.

use std::time::{Duration, Instant};

use sandbox::{CallKind, Fault, Sandbox};

use crate::cli_book::{due_now, with_sandbox};
use crate::cli_support::Bench;

/// Two paid charges of 1,079.00.
async fn paid() -> (Bench, Sandbox, Vec<String>) {
    let (bench, sandbox) = with_sandbox().await;
    due_now(&bench, &["a", "b"]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        bench.run(&["run", "once", "-q"]);
        let listed = bench.run(&["charges", "list", "--state", "paid", "-o", "json"]).exits(0).json();
        let ids: Vec<String> =
            listed.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        if ids.len() == 2 {
            return (bench, sandbox, ids);
        }
        assert!(Instant::now() < deadline, "never paid");
    }
}

fn sent(sandbox: &Sandbox) -> usize {
    sandbox.ledger().calls().iter().filter(|call| call.kind == CallKind::Refund).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_is_looked_at_confirmed_recorded_and_sent_once() {
    let (bench, sandbox, ids) = paid().await;
    let (a, b) = (ids[0].as_str(), ids[1].as_str());
    let refund = ["charges", "refund", a, "--reason", "order cancelled", "-o", "json"];
    let dry = bench.run(&[&refund[..], &["--dry-run"]].concat()).exits(0).json();
    assert_eq!(
        (&dry["amount"], &dry["left_before"], &dry["number"]),
        (&"1079.00".into(), &"1079.00".into(), &1.into())
    );
    bench.run(&refund).exits(2).complains(&["--confirm 1079.00"]);
    bench.run(&[&refund[..], &["--confirm", "1078.00"]].concat()).exits(2).complains(&["1079.00"]);
    bench.run(&[&refund[..], &["--amount", "1079.01"]].concat()).exits(7).complains(&["1,079.00"]);
    bench.run(&[&refund[..], &["--amount", "x"]].concat()).exits(2);
    bench.run(&["charges", "refund", a, "--reason", &"x".repeat(51)]).exits(2).complains(&["50 characters"]);
    assert_eq!(bench.run(&["refunds", "list", "-o", "json"]).exits(0).json(), serde_json::json!([]));
    assert_eq!(sent(&sandbox), 0);
    // A part needs no confirmation; recorded, nothing is sent.
    let part = bench.run(&[&refund[..], &["--amount", "79.00"]].concat()).exits(0).json();
    let id = part["id"].as_str().unwrap();
    assert_eq!(sent(&sandbox), 0);
    assert!(bench.run(&["run", "once", "--dry-run"]).exits(0).err.contains("1 recorded refund(s)"));
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        bench.run(&["run", "once", "-q"]).exits(0);
        let shown = bench.run(&["refunds", "show", id, "-o", "json"]).exits(0).json();
        if shown["state"] == "refunded" {
            assert_eq!((&shown["given_back"], &shown["money_moved"]), (&"79.00".into(), &"yes".into()), "{shown}");
            assert_eq!(
                (&shown["recorded_by"], &shown["history"][0]["event"]),
                (&"tester".into(), &"refund.recorded".into())
            );
            break;
        }
        assert!(Instant::now() < deadline, "never refunded: {shown}");
    }
    // The rest, now, and waited for.
    let rest = bench.run(&[&refund[..], &["--confirm", "1000.00", "--wait"]].concat()).exits(0).json();
    assert_eq!((&rest["state"], &rest["number"]), (&"refunded".into(), &2.into()), "{rest}");
    bench.run(&[&refund[..], &["--confirm", "1.00"]].concat()).exits(7).complains(&["nothing is left"]);
    let shown = bench.run(&["charges", "show", a, "-o", "json"]).exits(0).json();
    assert_eq!((&shown["state"], &shown["refunded"]), (&"paid".into(), &"1079.00".into()));
    assert_eq!(shown["refunds"].as_array().unwrap().len(), 2);
    let listed = bench.run(&["charges", "list", "--state", "paid", "-o", "json"]).exits(0).json();
    let refunded =
        |id: &str| listed.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap()["refunded"].clone();
    assert_eq!((refunded(a), refunded(b)), ("1079.00".into(), serde_json::Value::Null));
    let timeline = bench.run(&["charges", "timeline", a, "-o", "json"]).exits(0).out;
    assert!(timeline.contains("refund.refunded"));
    assert_eq!(sent(&sandbox), 2);
    bench.run(&["charges", "refund", "ch_00000000000000000000000000000000", "--reason", "x"]).exits(5);
    bench.run(&["refunds", "show", "re_00000000000000000000000000000000"]).exits(5);
    bench.run(&["refunds", "list", "--state", "lost"]).exits(2).complains(&["outcome_unknown"]);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_a_persons_and_the_gateways_id_settles_it() {
    let (bench, sandbox, ids) = paid().await;
    sandbox.fail_next_post(Fault::CutAfterCommit);
    let lost = ["charges", "refund", &ids[0], "--reason", "returned", "--amount", "10.00", "--wait", "-o", "json"];
    let shown = bench.run(&lost).exits(12).json();
    let id = shown["id"].as_str().unwrap();
    assert_eq!((&shown["state"], &shown["money_moved"]), (&"outcome_unknown".into(), &"not known".into()));
    bench.run(&["run", "once"]).exits(12).complains(&["refunds list --state outcome_unknown"]);
    let waiting = bench.run(&["refunds", "list", "--state", "outcome_unknown", "-o", "json"]).exits(0).json();
    assert_eq!(waiting[0]["id"], id);
    assert_eq!(sent(&sandbox), 1, "never sent again");
    bench.run(&["charges", "resolve", id, "--ask"]).exits(7).complains(&["--gateway-id"]);
    bench.run(&["charges", "resolve", id]).exits(2);
    let judge = ["charges", "resolve", id, "--reason", "seen in the dashboard", "--confirm", "10.00"];
    let early = [&judge[..], &["--as", "not-executed"]].concat();
    bench.run(&early).exits(7).complains(&["quarter of an hour"]);
    bench.run(&[&judge[..], &["--as", "paid"]].concat()).exits(2).complains(&["refunded or not-executed"]);
    let known = sandbox.ledger().refunds().remove(0).id.to_string();
    let found = [&judge[..5], &["--as", "refunded", "--gateway-id", &known]].concat();
    bench.run(&found).exits(2).complains(&["--confirm 10.00"]);
    let wrong = [&judge[..5], &["--as", "refunded", "--gateway-id", "not/an/id", "--confirm", "10.00"]].concat();
    bench.run(&wrong).exits(2).complains(&["letters, digits and hyphens"]);
    let settled = bench.run(&[&found[..], &["--confirm", "10.00", "-o", "json"]].concat()).exits(0).json();
    assert_eq!((&settled["state"], &settled["gateway_id"]), (&"refunded".into(), &known.clone().into()), "{settled}");
    bench.run(&[&judge[..], &["--as", "not-executed"]].concat()).exits(7);
    bench.run(&["run", "once", "-q"]).exits(0);
    assert_eq!(sent(&sandbox), 1);
    // What was only recorded is withdrawn.
    let recorded = bench
        .run(&["charges", "refund", &ids[1], "--reason", "mistake", "--amount", "5.00", "-o", "json"])
        .exits(0)
        .json();
    let id = recorded["id"].as_str().unwrap();
    let withdraw = ["charges", "resolve", id, "--as", "not-executed", "--reason", "typed wrongly", "--confirm", "5.00"];
    let withdrawn = bench.run(&[&withdraw[..], &["-o", "json"]].concat()).exits(0).json();
    assert_eq!((&withdrawn["state"], &withdrawn["money_moved"]), (&"failed".into(), &"no".into()));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_that_are_not_in_doubt_are_neither_resolved_nor_cancelled() {
    let (bench, sandbox, ids) = paid().await;
    let id = ids[0].as_str();
    bench.run(&["charges", "resolve", id, "--ask"]).exits(7).complains(&["nothing unknown"]);
    let judge = ["charges", "resolve", id, "--as", "not-paid", "--reason", "x", "--confirm", "1079.00"];
    bench.run(&judge).exits(7);
    bench.run(&["charges", "cancel", id, "--reason", "duplicate"]).exits(7).complains(&["refunded"]);
    bench.run(&["charges", "cancel", id, "--reason", "mood"]).exits(2).complains(&["requested-by-customer"]);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_opened_and_its_address_printed() {
    let (bench, sandbox) = with_sandbox().await;
    let entry = ["session", "create", "--mode", "payment-method-entry", "--customer", "C-1", "-o", "json"];
    let made = bench.run(&entry).exits(0).json();
    assert!(made["url"].as_str().is_some_and(|url| url.starts_with("http")), "{made}");
    let pay = [
        "session",
        "create",
        "--mode",
        "PAYMENT",
        "--customer",
        "enterprise:778812",
        "--amount",
        "42.00",
        "-o",
        "json",
    ];
    let made = bench.run(&pay).exits(0).json();
    assert!(made["session_id"].is_string() && made["merchant_transaction_id"].is_string(), "{made}");
    bench.run(&["session", "create", "--mode", "PAYMENT"]).exits(2).complains(&["payment is required"]);
    bench.run(&["session", "create", "--mode", "SHOP"]).exits(2).complains(&["PAYMENT_WITH_WALLET"]);
    bench.run(&["session", "create", "--mode", "WALLET", "--customer", "4242 4242 4242 4242"]).exits(2);
    sandbox.stop().await;
}

#[test]
fn every_answer_is_in_one_table_in_every_form_and_by_origin_and_class() {
    let bench = Bench::new();
    let all = |more: &[&str]| {
        let listed = bench.run(&[&["gateway", "codes", "-o", "json"], more].concat()).exits(0).json();
        listed.as_array().unwrap().clone()
    };
    let codes = all(&[]);
    assert!(codes.len() >= ccg::codes::CODES.len() + domain::verdict::Decline::table().len());
    for code in &codes {
        for name in ["origin", "code", "message", "class", "consequence", "fall_through", "source"] {
            // An answer of which the contract names no words has none.
            assert!(code[name].as_str().is_some_and(|text| !text.is_empty() || name == "message"), "{name}: {code}");
        }
        assert!(code["dunning_step"].is_boolean(), "{code}");
    }
    let of = |call: &str, message: &str| {
        let row = codes.iter().find(|code| {
            code["message"] == message && code["calls"].as_str().unwrap().split(' ').any(|one| one == call)
        });
        row.unwrap_or_else(|| panic!("{call} {message}"))["consequence"].as_str().unwrap()
    };
    assert!(of("create_refund", "merchantTransactionId already used").contains("never sent again"));
    assert!(of("get_payment", "access_token is missing").contains("asked again"));
    assert!(of("create_payment", "amount is required").contains("parked as rejected"));
    // `gateway declines` is a part of it, told in fewer columns.
    let declines = bench.run(&["gateway", "declines", "-o", "json"]).exits(0).json();
    for decline in declines.as_array().unwrap() {
        let same = |code: &&serde_json::Value| {
            ["origin", "code", "class", "consequence", "not_before_hours", "most_retries", "source"]
                .iter()
                .all(|name| code[name] == decline[name])
        };
        assert_eq!(codes.iter().filter(same).count(), 1, "{decline}");
    }
    let never = all(&["--origin", "ach", "--origin", "ach_change", "--class", "never"]);
    assert!(never.iter().any(|code| code["code"] == "R07") && never.iter().all(|code| code["class"] == "never"));
    assert!(never.iter().all(|code| code["origin"] == "ach"), "a notice of change ends nothing for good");
    assert!(all(&["--class", "not_an_attempt"]).iter().all(|code| code["dunning_step"] == false));
    bench.run(&["gateway", "codes", "--class", "nonsense"]).exits(2).complains(&["not_an_attempt"]);
    let csv = bench.run(&["gateway", "codes", "-o", "csv"]).exits(0);
    assert!(
        csv.out.starts_with("origin,code,message,calls,class,consequence,dunning_step,fall_through,"),
        "{}",
        csv.out
    );
    assert_eq!(csv.out.lines().count(), codes.len() + 1);
    assert!(bench.run(&["gateway", "codes", "--origin", "transport"]).exits(0).out.contains("wrong_payment"));
    assert_eq!(bench.run(&["gateway", "codes", "-o", "jsonl"]).exits(0).out.lines().count(), codes.len());
}
