//! The document, the front page and the routes say the same.

use std::collections::BTreeSet;

use sandbox::{Options, Switch, openapi};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::World;

/// The calls of the contract: §2, §4.1, §5, §6, §7.
const CONTRACT: [(&str, &str); 24] = [
    ("post", "/oauth2/token"),
    ("post", "/v1/oauth2/token"),
    ("post", "/v2/payments"),
    ("get", "/v2/payments"),
    ("get", "/v2/payments/{id}"),
    ("patch", "/v2/payments/{id}/capture"),
    ("patch", "/v2/payments/{id}/cancel"),
    ("post", "/v1/payments"),
    ("get", "/v1/payments"),
    ("get", "/v1/payments/{id}"),
    ("post", "/v1/payments/{id}/capture"),
    ("post", "/v1/payments/{id}/cancel"),
    ("post", "/v1/token/payments"),
    ("post", "/v2/refunds"),
    ("get", "/v2/refunds/{id}"),
    ("post", "/v1/refunds"),
    ("get", "/v1/refunds/{id}"),
    ("post", "/v1/payment-methods/search"),
    ("patch", "/v1/payment-methods/{id}"),
    ("delete", "/v1/payment-methods/{id}"),
    ("post", "/v1/token/setup-payment-methods"),
    ("post", "/v2/customers/find"),
    ("post", "/v2/sessions"),
    ("get", "/v2/sessions/{id}"),
];

fn documented(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone()))
    });
    each.collect()
}

#[tokio::test]
async fn every_call_of_the_contract_is_in_the_document_and_the_document_is_served() {
    let world = World::new().await;
    let document = world.read("/openapi.json").await.json();
    assert_eq!(document, openapi());
    assert!(document["openapi"].as_str().unwrap().starts_with('3'));
    let calls = documented(&document);
    for (method, path) in CONTRACT {
        assert!(calls.contains(&(method.to_owned(), path.to_owned())), "{method} {path}");
    }
    let payment = &document["components"]["schemas"]["PaymentRequest"]["properties"];
    assert_eq!(payment["paymentAllocations"]["items"]["$ref"], "#/components/schemas/AllocationBody");
}

#[tokio::test]
async fn every_call_of_the_document_answers_and_nothing_else_does() {
    let world = World::new().await;
    for (method, path) in documented(&openapi()) {
        // Stopping to wait for webhooks that nobody sends is at once.
        let path = path.replace("{id}", &Uuid::max().to_string());
        let answer = world.call(&method.to_uppercase(), &path, &json!({})).await;
        let nowhere = answer.status == 404 && answer.problem().2.starts_with("There is nothing here");
        assert!(!nowhere && answer.status != 405, "{method} {path}: {}", answer.status);
    }
    assert_eq!(world.call("GET", "/v2/elsewhere", &json!({})).await.status, 404);
    assert_eq!(world.call("PUT", "/v2/payments", &json!({})).await.status, 405);
}

#[tokio::test]
async fn the_front_page_names_every_call_and_every_switch_with_its_value() {
    let mut switches = sandbox::Switches::default();
    switches.apply("late-return=report").unwrap();
    let world = World::with(Options { switches, ..Options::default() }).await;
    let page = String::from_utf8(world.read("/").await.body).unwrap();
    for (method, path) in documented(&openapi()) {
        let named = page.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(method.to_uppercase().as_str()) && words.next() == Some(path.as_str())
        });
        assert!(named, "{method} {path}");
    }
    for switch in Switch::ALL {
        let value = world.sandbox.switches().get(*switch);
        assert!(page.contains(&format!("{} = {value} (", switch.name())), "{}", switch.name());
    }
    assert!(page.contains("late-return = report (failed | dispute | report)"));
    for code in sandbox::RefundError::ALL.iter().map(|error| error.code()) {
        assert!(page.contains(code), "{code}");
    }
    for (n, code) in sandbox::DeclineCode::ALL.iter().enumerate() {
        assert!(page.contains(&format!("{n:02x} {code}")), "{code}");
    }
    for (n, code) in sandbox::ReturnCode::ALL.iter().enumerate() {
        assert!(page.contains(&format!("{n:02x} {code}")), "{code}");
    }
}
