//! Contract §11: every place where the vendor's pages disagree is a switch, with a page, and turning it changes what is
//! documented.

use std::path::Path;
use std::time::Duration;

use sandbox::{Behaviour, DEFAULT_MERCHANT, Options, Switch, Switches, WalletMethod, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{CREDENTIALS, Request, World, bank_order, hold, order, problem, split};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const OTHER: Uuid = method_id(Behaviour::Pays, 2);
const BANK: Uuid = method_id(Behaviour::AchSettles { days: None }, 1);

#[test]
fn every_row_has_a_switch_and_every_switch_a_page_that_tells_its_values() {
    let rows: Vec<_> = Switch::ALL.iter().filter_map(|switch| switch.row()).collect();
    assert_eq!(rows, (1..=20).collect::<Vec<_>>());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sandbox");
    for switch in Switch::ALL {
        let name = switch.name();
        let page = std::fs::read_to_string(folder.join(format!("{name}.md"))).unwrap_or_else(|_| panic!("{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for value in switch.values() {
            assert!(page.contains(&format!("`{value}`")), "{name}: {value}");
        }
        let (default, section) = (switch.values()[0], switch.section());
        assert!(page.contains(&format!("Default: `{default}`")), "{name}");
        assert!(page.contains(section), "{name}: {section}");
        assert!(page.contains(&format!("--switch {name}=")), "{name}");
        if let Some(row) = switch.row() {
            assert!(page.contains(&format!("row {row} ")), "{name}: row {row}");
        }
    }
    let pages = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(pages, Switch::ALL.len() + 1, "a page for each, and the list of them");
}

#[tokio::test]
async fn switches_are_read_and_set_over_http_all_or_none() {
    let world = World::new().await;
    let read = world.read("/sandbox/switches").await.json();
    for switch in Switch::ALL {
        assert_eq!(read[switch.name()]["value"], switch.values()[0]);
        assert_eq!(read[switch.name()]["values"], json!(switch.values()));
        for value in switch.values() {
            world.switch(switch.name(), value).await;
            assert_eq!(world.sandbox.switches().get(*switch), *value);
        }
    }
    world.sandbox.set_switches(Switches::default());
    let half = json!({ "late-return": "report", "brake": "on" });
    assert_eq!(world.admin("/sandbox/switches", &half).await.status, 400);
    assert_eq!(world.sandbox.switches(), Switches::default());
    let mut switches = Switches::default();
    switches.apply("minimum-amount=50").unwrap();
    let world = World::with(Options { switches, ..Options::default() }).await;
    assert_eq!(world.post(&order("k", 49, CARD)).await.status, 400);
}

#[tokio::test]
async fn the_consent_is_taken_in_the_shapes_that_are_asked_for() {
    let world = World::new().await;
    let mut flat = bank_order("flat", 100, BANK);
    flat["consent"] = json!({ "type": "ONLINE", "timestamp": "2026-01-01T00:00:00Z" });
    for (reading, public_taken, flat_taken) in [("both", true, true), ("public", true, false), ("flat", false, true)] {
        world.switch("consent-shape", reading).await;
        for (body, taken) in [(bank_order("public", 100, BANK), public_taken), (flat.clone(), flat_taken)] {
            let answer = world.post(&body).await;
            assert_eq!(answer.status, if taken { 202 } else { 400 }, "{reading}");
        }
        let mut neither = bank_order("neither", 100, BANK);
        neither["consent"] = json!({});
        assert_eq!(world.post(&neither).await.status, 400, "{reading}");
    }
}

#[tokio::test]
async fn failures_keys_and_flags_of_holds_follow_their_switches() {
    let world = World::new().await;
    world.post(&order("f", 100, method_id(Behaviour::DeclinesPlainly, 1))).await;
    assert_eq!(world.by_key("f").await.status, 422);
    world.switch("failure-status", "406").await;
    assert_eq!(world.by_key("f").await.problem(), problem(406, "PAYMENT_METHOD_ERROR", "Your card was declined."));
    world.switch("idempotency", "reject-duplicate").await;
    assert_eq!(world.post(&order("f", 100, CARD)).await.status, 403);
    assert_eq!(world.post(&hold("h", 100, CARD)).await.status, 202);
    world.switch("partial-authorization", "coupled").await;
    let detail = "authorizeCard requires partialAuthorization to be true";
    assert_eq!(world.post(&hold("h2", 100, CARD)).await.problem(), problem(400, "INVALID_REQUEST", detail));
}

#[tokio::test]
async fn allocations_are_counted_and_mixed_as_their_switches_say() {
    let world = World::new().await;
    world.switch("allocation-count", "two").await;
    let detail = "paymentAllocations is required and must contain at least 2 items";
    assert_eq!(world.post(&order("one", 100, CARD)).await.problem(), problem(400, "INVALID_REQUEST", detail));
    assert_eq!(world.post(&split("two", [(1, CARD), (2, OTHER)])).await.status, 202);
    let mut held = split("held", [(1, CARD), (2, OTHER)]);
    held["authorizeCard"] = json!(true);
    let mixed = split("mixed", [(1, CARD), (2, BANK)]);
    for (reading, status) in [("cards", 400), ("mixed", 202)] {
        world.switch("split-tender", reading).await;
        assert_eq!(world.post(&mixed).await.status, status, "{reading}");
        assert_eq!(world.post(&held).await.status, status, "{reading}");
    }
    held["paymentAllocations"][1]["paymentMethodId"] = json!(BANK);
    assert_eq!(world.post(&held).await.status, 400, "a bank account is never held");
}

#[tokio::test]
async fn the_shorter_set_of_states_hides_what_only_allocations_show() {
    let world = World::turned(Options { settle: Duration::from_secs(6), ..Options::default() }).await;
    let id = world.pay(&hold("k", 100, CARD)).await;
    world.sandbox.clock().advance(Duration::from_secs(6));
    world.call("PATCH", &format!("/v2/payments/{id}/capture"), &json!({})).await;
    assert_eq!(world.by_id(&id).await.payment_status(), "CAPTURE_INITIALIZED");
    world.switch("status-set", "domain-model").await;
    let data = world.by_id(&id).await.json()["data"].clone();
    assert_eq!(data["status"], "AUTHORIZED");
    assert_eq!(data["paymentAllocations"][0]["status"], "CAPTURE_INITIALIZED");
    let fails = method_id(Behaviour::CancelFails { bank: false }, 1);
    let id = world.pay(&hold("stuck", 100, fails)).await;
    world.sandbox.clock().advance(Duration::from_secs(6));
    let reason = json!({ "paymentCancellationReason": "DUPLICATE" });
    world.call("PATCH", &format!("/v2/payments/{id}/cancel"), &reason).await;
    world.sandbox.clock().advance(Duration::from_secs(6));
    assert_eq!(world.by_id(&id).await.payment_status(), "AUTHORIZED");
}

#[tokio::test]
async fn a_bank_payment_takes_the_days_of_its_switch() {
    for (reading, least, most) in [("fixed", 3, 3), ("1-3", 1, 5), ("3-5", 3, 7)] {
        let world = World::turned(Options::default()).await;
        world.switch("ach-settlement", reading).await;
        let mut days = Vec::new();
        for n in 0..12 {
            world.post(&bank_order(&format!("k{n}"), 100, BANK)).await;
        }
        for day in 0..=8 {
            for n in 0..12 {
                if world.by_key(&format!("k{n}")).await.payment_status() == "ACCEPTED" {
                    continue;
                }
                if !days.iter().any(|(known, _)| *known == n) {
                    days.push((n, day));
                }
            }
            world.sandbox.clock().advance(Duration::from_secs(86_400));
        }
        assert_eq!(days.len(), 12, "{reading}");
        assert!(days.iter().all(|(_, day)| (least..=most).contains(day)), "{reading}: {days:?}");
        let different = days.iter().any(|(_, day)| *day != days[0].1);
        assert_eq!(different, reading != "fixed", "{reading}: {days:?}");
    }
}

#[tokio::test]
async fn errors_of_allocations_have_the_shape_of_their_switch() {
    let world = World::new().await;
    let failing = method_id(Behaviour::RefundFails(sandbox::RefundError::TooOld), 1);
    world.post(&order("f", 100, method_id(Behaviour::DeclinesPlainly, 1))).await;
    let id = world.pay(&order("r", 100, failing)).await;
    let refund = json!({ "merchantTransactionId": "r", "paymentId": id });
    let refund = world.call("POST", "/v2/refunds", &refund).await.payment_id();
    for (reading, payment_long, refund_long) in
        [("as-documented", false, true), ("code-message", false, false), ("error-details", true, true)]
    {
        world.switch("allocation-error", reading).await;
        let payment = world.by_key("f").await.json()["data"]["paymentAllocations"][0]["error"].clone();
        let found = world.get(&format!("/v2/refunds/{refund}")).await.json();
        let refund = found["data"]["refundAllocations"][0]["error"].clone();
        for (error, long) in [(payment, payment_long), (refund, refund_long)] {
            assert_eq!(error.get("errorDetails").is_some(), long, "{reading}: {error}");
            assert_eq!(error.get("code").is_some(), !long, "{reading}: {error}");
        }
    }
}

#[tokio::test]
async fn tokens_are_given_where_the_switch_says() {
    let world = World::new().await;
    let ask = |path: &str| {
        let request = Request::new("POST", path).body(CREDENTIALS);
        let to = world.to;
        async move { request.send(to).await.unwrap().status }
    };
    for (reading, plain, v1) in [("both", 200, 200), ("oauth2", 200, 404), ("v1", 404, 200)] {
        world.switch("token-path", reading).await;
        assert_eq!((ask("/oauth2/token").await, ask("/v1/oauth2/token").await), (plain, v1), "{reading}");
    }
}

#[tokio::test]
async fn the_environment_is_checked_as_the_switch_says() {
    let world = World::new().await;
    for (reading, known) in [
        ("three", vec!["dev", "stage", "test"]),
        ("five", vec!["dev", "stage", "test", "reg", "perf"]),
        ("ignored", vec!["dev", "stage", "test", "reg", "perf", "moon"]),
    ] {
        world.switch("upstream-env", reading).await;
        for name in ["dev", "stage", "test", "reg", "perf", "moon"] {
            let request = world.get_request("/v2/payments?merchantTransactionId=k").header("x-upstream-env", name);
            let status = request.send(world.to).await.unwrap().status;
            assert_eq!(status, if known.contains(&name) { 404 } else { 400 }, "{reading}: {name}");
        }
    }
}

#[tokio::test]
async fn limits_follow_their_switches() {
    let world = World::new().await;
    let long = |length: usize| {
        let mut body = order(&format!("d{length}"), 100, CARD);
        body["description"] = json!("x".repeat(length));
        body
    };
    assert_eq!(world.post(&long(100)).await.status, 202);
    assert_eq!(world.post(&order("one", 1, CARD)).await.status, 202);
    world.switch("description-limit", "50").await;
    world.switch("minimum-amount", "50").await;
    assert_eq!(world.post(&long(51)).await.problem().2, "description cannot exceed 50 characters");
    assert_eq!(world.post(&long(50)).await.status, 202);
    let detail = "amount must be an integer between 50 and 99999999";
    assert_eq!(world.post(&order("few", 49, CARD)).await.problem().2, detail);
    assert_eq!(world.post(&order("enough", 50, CARD)).await.status, 202);
}

#[tokio::test]
async fn a_v1_create_answers_and_reads_as_its_switches_say() {
    let world = World::new().await;
    let body = |key: &str, method: Uuid| {
        json!({
            "merchantTransactionId": key, "amount": 100, "paymentMethodId": method, "customer": { "enterpriseId": "1" },
            "metadata": { "from": "metadata" }, "metaData": { "from": "metaData" }
        })
    };
    let declined = method_id(Behaviour::DeclinesPlainly, 1);
    assert_eq!(world.call("POST", "/v1/payments", &body("a", CARD)).await.status, 202);
    world.switch("v1-create", "200").await;
    let answer = world.call("POST", "/v1/payments", &body("b", CARD)).await;
    assert_eq!((answer.status, answer.payment_status().as_str()), (200, "COMPLETED"));
    assert_eq!(world.call("POST", "/v1/payments", &body("c", declined)).await.status, 406);
    for (n, (reading, seen)) in
        [("both", "metadata"), ("metadata", "metadata"), ("metaData", "metaData")].into_iter().enumerate()
    {
        world.switch("metadata-spelling", reading).await;
        let answer = world.call("POST", "/v1/payments", &body(&format!("m{n}"), CARD)).await;
        assert_eq!(answer.json()["data"]["metadata"]["from"], seen, "{reading}");
    }
    world.switch("metadata-spelling", "both").await;
    let mut old = body("old", CARD);
    old.as_object_mut().unwrap().remove("metadata");
    let answer = world.call("POST", "/v1/payments", &old).await;
    assert_eq!(answer.json()["data"]["metadata"]["from"], "metaData");
}

#[tokio::test]
async fn the_flag_of_the_default_method_is_spelled_as_its_switch_says() {
    let world = World::new().await;
    let customer = json!({ "enterpriseId": "1" });
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer, WalletMethod::card(CARD)).unwrap();
    let id = world.pay(&order("k", 100, CARD)).await;
    for (reading, wallet, payment) in [
        ("as-documented", "default", "isDefault"),
        ("default", "default", "default"),
        ("isDefault", "isDefault", "isDefault"),
    ] {
        world.switch("default-flag", reading).await;
        let body = json!({ "customer": customer });
        let found = world.call("POST", "/v1/payment-methods/search", &body).await.json()["data"][0].clone();
        let method = world.by_id(&id).await.json()["data"]["paymentAllocations"][0]["paymentMethod"].clone();
        for (shape, name) in [(found, wallet), (method, payment)] {
            assert_eq!(shape.get(name), Some(&json!(false)), "{reading}");
            let other = if name == "default" { "isDefault" } else { "default" };
            assert_eq!(shape.get(other), None, "{reading}");
        }
    }
}

#[tokio::test]
async fn the_type_of_a_method_is_in_webhooks_if_their_sample_is_right() {
    let (receiver, url) = crate::webhooks::Receiver::start().await;
    let world = World::turned(Options::default()).await;
    assert_eq!(world.admin("/sandbox/webhooks", &json!({ "url": url })).await.status, 200);
    for (reading, shown) in [("removed", Value::Null), ("webhooks", json!("CARD"))] {
        world.switch("payment-method-type", reading).await;
        let id = world.pay(&order(reading, 100, CARD)).await;
        world.sandbox.webhooks_settled().await;
        let told = receiver.last_payload()["paymentAllocations"][0]["paymentMethod"]["paymentMethodType"].clone();
        assert_eq!(told, shown, "{reading}");
        let answer = world.by_id(&id).await.json()["data"]["paymentAllocations"][0]["paymentMethod"].clone();
        assert_eq!(answer.get("paymentMethodType"), None, "{reading}");
    }
}
