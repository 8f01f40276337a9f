//! Requests that no client sends: never an error of the sandbox's own making, never a dead connection.

use proptest::prelude::*;
use sandbox::{Behaviour, method_id};
use serde_json::{Value, json};

use crate::support::{Request, World, order, wait_ms};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,60}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

const PLACES: [&str; 14] = [
    "/merchantTransactionId",
    "/amount",
    "/currencyCode",
    "/authorizeCard",
    "/partialAuthorization",
    "/customer",
    "/customer/hsid",
    "/paymentAllocations",
    "/paymentAllocations/0",
    "/paymentAllocations/0/amount",
    "/paymentAllocations/0/paymentMethodId",
    "/metadata",
    "/metadata/cycle",
    "/consent",
];

#[derive(Clone, Debug)]
enum Odd {
    Field(usize, Value),
    Whole(Value),
    Bytes(Vec<u8>),
    Cut(usize),
    Header(usize, String),
    Path(String),
}

fn odd() -> impl Strategy<Value = Odd> {
    prop_oneof![
        4 => (0..PLACES.len(), any_json()).prop_map(|(place, value)| Odd::Field(place, value)),
        1 => any_json().prop_map(Odd::Whole),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Odd::Bytes),
        1 => (0..400_usize).prop_map(Odd::Cut),
        1 => (0..4_usize, "[ -~]{0,70}").prop_map(|(name, value)| Odd::Header(name, value)),
        1 => "[!-~]{0,70}".prop_map(Odd::Path),
    ]
}

fn requests(world: &World, odd: Odd) -> Vec<Request> {
    let mut body = order("torture", 100, method_id(Behaviour::Pays, 1));
    body["consent"] = json!({});
    let good = world.post_request(&body);
    match odd {
        Odd::Field(place, value) => {
            *body.pointer_mut(PLACES[place]).unwrap() = value;
            vec![world.post_request(&body)]
        }
        Odd::Whole(value) => {
            let text = value.to_string();
            let admin = ["faults/next", "idempotency", "methods", "clock/advance"];
            let mut all = vec![good.body(&text), Request::new("POST", "/oauth2/token").body(&text)];
            all.extend(admin.map(|path| Request::new("POST", &format!("/sandbox/{path}")).body(&text)));
            all
        }
        Odd::Bytes(bytes) => vec![good.body(&bytes), Request::new("POST", "/oauth2/token").body(&bytes)],
        Odd::Cut(at) => {
            let text = body.to_string();
            vec![good.body(&text.as_bytes()[..at.min(text.len())])]
        }
        Odd::Header(name, value) => {
            let name = ["authorization", "x-merchant-id", "content-type", "x-request-id"][name];
            vec![good.header(name, &value)]
        }
        Odd::Path(tail) => {
            let tail = tail.replace(['#', '?'], "");
            vec![
                world.get_request(&format!("/v2/payments/{tail}")),
                world.get_request(&format!("/v2/payments?merchantTransactionId={tail}")),
                world.get_request(&format!("/sandbox/ledger/rate?{tail}")),
            ]
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_is_sent_the_sandbox_answers_without_an_error_of_its_own() {
    let world = World::new().await;
    tokio::task::block_in_place(|| {
        let runtime = tokio::runtime::Handle::current();
        let mut runner =
            proptest::test_runner::TestRunner::new(ProptestConfig { cases: 600, ..ProptestConfig::default() });
        runner
            .run(&odd(), |odd| {
                for request in requests(&world, odd) {
                    let answer = runtime.block_on(request.send(world.to));
                    let answer = answer.map_err(|error| TestCaseError::fail(format!("{error}: {request:?}")))?;
                    prop_assert!(answer.status < 500, "{answer:?} to {request:?}");
                }
                Ok(())
            })
            .unwrap();
    });
    assert_eq!(world.read("/sandbox/ledger").await.status, 200);
}

#[tokio::test]
async fn a_body_too_large_is_refused_and_nothing_is_kept() {
    let world = World::new().await;
    let mut body = order("k", 100, method_id(Behaviour::Pays, 1));
    body["description"] = json!("x".repeat(2 << 20));
    let answer = world.try_post(&body).await;
    // The answer may overtake the rest of the request, which the closed connection then resets.
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 413));
    wait_ms(10).await;
    assert_eq!(world.sandbox.ledger().summary().submissions, 0);
}
