//! Whatever is sent, the answer is one of the gateway's, never a 5xx that nobody asked for, and the sandbox lives on.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sandbox::{Behaviour, Options, method_id, openapi};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support::{Request, World, order};

const CARD: Uuid = method_id(Behaviour::Pays, 1);

/// Names that some body reads, so that random bodies get past the first check.
const NAMES: [&str; 34] = [
    "merchantTransactionId",
    "amount",
    "currencyCode",
    "authorizeCard",
    "partialAuthorization",
    "description",
    "customer",
    "hsid",
    "enterpriseId",
    "metadata",
    "paymentAllocations",
    "paymentMethodId",
    "paymentId",
    "refundAllocations",
    "paymentAllocationId",
    "consent",
    "agent",
    "userId",
    "paymentDetails",
    "paymentMethod",
    "paymentMethodDetails",
    "vendorPaymentMethodId",
    "savePaymentMethod",
    "requestId",
    "config",
    "modes",
    "payment",
    "paymentCancellationReason",
    "reason",
    "nickname",
    "id",
    "accountNumber",
    "expiryMonth",
    "cardCategories",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("k".to_owned()),
        Just("DUPLICATE".to_owned()),
        Just("WALLET".to_owned()),
        Just("BANK_ACCOUNT".to_owned()),
        Just(CARD.to_string()),
        Just(Uuid::max().to_string()),
        Just(method_id(Behaviour::AchNoc { days: None, new_id: true }, 3).to_string()),
        "[0-9]{1,20}",
        "\\PC{0,60}",
        "x{101}",
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1_i64..100_000_001).prop_map(Value::from),
        (-1e300_f64..1e300).prop_map(Value::from),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text().prop_map(Value::from),];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,20}"]
}

/// A good body with one random change.
fn changed(good: Vec<Value>) -> impl Strategy<Value = Value> {
    (prop::sample::select(good), name(), json_value()).prop_map(|(mut body, name, value)| {
        if let Some(fields) = body.as_object_mut() {
            let nested: Vec<String> =
                fields.iter().filter(|(_, value)| value.is_object()).map(|(name, _)| name.clone()).collect();
            let inside = nested.first().filter(|_| name.len() % 2 == 0).cloned();
            let target: &mut Map<String, Value> = match inside {
                Some(inside) => fields.get_mut(&inside).and_then(Value::as_object_mut).unwrap(),
                None => fields,
            };
            target.insert(name, value);
        }
        body
    })
}

fn good_bodies() -> Vec<Value> {
    vec![
        order("k", 100, CARD),
        json!({ "merchantTransactionId": "k", "amount": 100, "paymentMethodId": CARD, "customer": { "enterpriseId": "1" } }),
        json!({ "merchantTransactionId": "r", "paymentId": Uuid::max(), "refundAllocations": [] }),
        json!({ "requestId": "q", "customer": { "enterpriseId": "1" }, "paymentMethod": { "vendorPaymentMethodId": "t" } }),
        json!({ "customer": { "enterpriseId": "1" }, "config": { "modes": ["WALLET"] } }),
        json!({ "paymentCancellationReason": "DUPLICATE" }),
        json!({}),
    ]
}

#[derive(Clone, Debug)]
struct Attempt {
    method: String,
    path: String,
    body: Vec<u8>,
    drop_header: Option<&'static str>,
}

fn attempts() -> impl Strategy<Value = Attempt> {
    let document = openapi();
    let paths: Vec<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let known = prop::sample::select(paths);
    let id = prop_oneof![
        Just(Uuid::max().to_string()),
        Just(CARD.to_string()),
        Just("x".to_owned()),
        Just("%00%ff".to_owned()),
        "[!-.0-~]{1,40}"
            .prop_map(|text: String| text.replace(['?', '#', '%', '\\', '^', '`', '{', '|', '}', '"', '<', '>'], "_"))
    ];
    let wild = ("GET|POST|PATCH|DELETE|PUT|HEAD", "(/[a-z0-9.-]{0,12}){1,4}").prop_map(|(method, path)| (method, path));
    let target = prop_oneof![9 => known, 1 => wild];
    let body = prop_oneof![
        3 => json_value().prop_map(|body| body.to_string().into_bytes()),
        4 => changed(good_bodies()).prop_map(|body| body.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    let dropped = prop_oneof![
        6 => Just(None),
        1 => prop::sample::select(vec!["authorization", "x-merchant-id", "content-type", "accept"]).prop_map(Some)
    ];
    (target, id, body, dropped).prop_map(|((method, path), id, body, drop_header)| {
        let path = path.replace("{id}", &id);
        let path = if path.ends_with("payments") && method == "GET" {
            format!("{path}?merchantTransactionId={id}")
        } else {
            path
        };
        Attempt { method, path, body, drop_header }
    })
}

#[test]
fn no_request_is_answered_with_a_5xx_and_none_kills_the_sandbox() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::with(Options::default()));
    runtime.block_on(world.pay(&order("before", 100, CARD)));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&attempts(), |attempt| {
            // These would turn the world itself upside down for the cases after them.
            let own =
                ["/sandbox/faults", "/sandbox/webhooks", "/sandbox/clock", "/sandbox/tokens", "/sandbox/switches"];
            prop_assume!(attempt.method == "GET" || !own.iter().any(|path| attempt.path.starts_with(path)));
            let mut request = Request::new(&attempt.method, &attempt.path)
                .header("authorization", &format!("Bearer {}", world.token))
                .header("x-merchant-id", &sandbox::DEFAULT_MERCHANT.to_string())
                .header("accept", "application/json")
                .header("content-type", "application/json")
                .body(&attempt.body);
            if let Some(name) = attempt.drop_header {
                request = request.without(name);
            }
            if attempt.method == "HEAD" {
                request.method = "OPTIONS".to_owned();
            }
            let answer =
                runtime.block_on(request.send(world.to)).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(answer.status < 500, "{} {}: {:?}", attempt.method, attempt.path, answer);
            if answer.status >= 400 && answer.status != 405 {
                let body: Result<Value, _> = serde_json::from_slice(&answer.body);
                let shaped = body.is_ok_and(|body| body["title"].is_string() || body["error"].is_string());
                let extractor =
                    ["/sandbox/ledger/rate", "/sandbox/settlement"].iter().any(|path| attempt.path.starts_with(path));
                prop_assert!(shaped || extractor, "{} {}: {:?}", attempt.method, attempt.path, answer);
            }
            Ok(())
        })
        .unwrap();
    let found = runtime.block_on(world.by_key("before"));
    assert_eq!(found.payment_status(), "COMPLETED", "it lives on");
}

#[test]
fn the_admin_interface_survives_nonsense_too() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = runtime.block_on(World::with(Options::default()));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() });
    let paths =
        vec!["/sandbox/faults", "/sandbox/webhooks", "/sandbox/clock/advance", "/sandbox/switches", "/sandbox/wallet"];
    let settings = prop_oneof![
        json_value(),
        Just(json!({ "loss": -1 })),
        Just(json!({ "days": u64::MAX })),
        Just(json!({ "to": "9999-12-31T23:59:59Z" })),
        Just(json!({ "slow": 1.5 })),
        Just(json!({ "late-return": 1 })),
    ];
    runner
        .run(&(prop::sample::select(paths), settings), |(path, body)| {
            let answer = runtime.block_on(world.admin(path, &body));
            prop_assert!(answer.status < 500, "{path} {body}: {answer:?}");
            Ok(())
        })
        .unwrap();
}
