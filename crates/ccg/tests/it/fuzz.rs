//! Whatever arrives: no panic, and nothing that is no answer is taken for one.

use ccg::codes::{self, Class};
use ccg::webhook::{Event, Verifier};
use ccg::{Operation, Payment, PaymentMethod, Refund, RefundStatus, Session, Status};
use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex};

use crate::calls::make;
use crate::server::{Reply, json};
use crate::world::{MERCHANT, PAYMENT_ID, TRANSACTION, World};

/// Field names the parsers look for, so that arbitrary JSON gets past the first look.
const KEYS: [&str; 30] = [
    "id",
    "refundId",
    "sessionId",
    "status",
    "amount",
    "data",
    "title",
    "detail",
    "name",
    "payload",
    "source",
    "paymentMethods",
    "paymentMethod",
    "paymentMethodDetails",
    "paymentAllocations",
    "refundAllocations",
    "paymentAllocation",
    "error",
    "errorDetails",
    "code",
    "message",
    "type",
    "default",
    "isDefault",
    "cardCategory",
    "expiryMonth",
    "metadata",
    "metaData",
    "merchantTransactionId",
    "merchant",
];

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(PAYMENT_ID.to_owned()),
        Just(TRANSACTION.to_owned()),
        prop::sample::select(vec![
            "COMPLETED",
            "FAILED",
            "CARD",
            "BANK_ACCOUNT",
            "INVALID_REQUEST",
            "UNPROCESSABLE_ENTITY",
            "PAYMENT_ERROR",
            "SESSION_TIMEOUT",
            "PAYMENT_SUCCEEDED",
            "REFUND_FAILED",
            "PAYMENT_METHOD_REPLACED",
            "DISPUTE_CREATED",
            "Retry limit exceeded",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let key = prop_oneof![4 => prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..10)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn arbitrary_json_never_panics_a_parser(value in anything()) {
        let text = value.to_string();
        let _read = serde_json::from_str::<Payment>(&text);
        let _read = serde_json::from_str::<Refund>(&text);
        let _read = serde_json::from_str::<Session>(&text);
        let _read = serde_json::from_str::<PaymentMethod>(&text);
    }

    #[test]
    fn arbitrary_events_are_read_or_refused_and_have_a_printable_key(name in words(), payload in anything()) {
        let body = serde_json::json!({ "name": name, "source": "s", "payload": payload }).to_string();
        match Event::parse(body.as_bytes()) {
            Ok(event) => {
                let key = event.dedupe_key();
                prop_assert!(key.len() <= 240 && key.bytes().all(|b| b.is_ascii_graphic()), "{}", key);
                let again = Event::parse(body.as_bytes()).map(|event| event.dedupe_key());
                prop_assert_eq!(Ok(key), again);
                let _shown = format!("{event:?} {:?} {:?}", event.payment_id(), event.deleted_payment_method_id());
            }
            Err(_) => prop_assert!(name.is_empty()),
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_event_and_no_token(bytes in prop::collection::vec(any::<u8>(), 0..200), text in any::<String>()) {
        let _refused = Event::parse(&bytes);
        let verifier = Verifier::new(MERCHANT, &[include_str!("../keys/test_only_a.public.pem")]).unwrap();
        let now = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        prop_assert!(verifier.verify(&text, now).is_err());
        let header = format!("Bearer {text}");
        prop_assert!(verifier.verify_header(Some(&header), now).is_err());
    }

    #[test]
    fn classification_is_total_and_never_kinder_than_the_status(
        operation in prop::sample::select(Operation::ALL.to_vec()),
        status in any::<u16>(),
        title in words(),
        detail in words(),
    ) {
        let class = codes::classify(operation, status, &title, &detail);
        let proves_nothing_done = matches!(class, Class::Rejected | Class::Unauthorized | Class::RateLimited);
        prop_assert_eq!(proves_nothing_done && class != Class::Unauthorized, status == 400 || status == 429);
        prop_assert!(!(proves_nothing_done && status >= 500));
        match status {
            400 | 401 | 403 | 404 | 406 | 410 | 422 | 429 => (),
            _ => prop_assert_eq!(class, Class::Ambiguous),
        }
    }

    #[test]
    fn status_words_survive_the_round_trip(word in words()) {
        let status = Status::from(word.as_str());
        prop_assert_eq!(Status::from(status.as_str()), status);
        let status = RefundStatus::from(word.as_str());
        prop_assert_eq!(RefundStatus::from(status.as_str()), status);
    }
}

#[test]
fn whatever_the_gateway_says_every_call_ends_and_only_a_2xx_is_a_success() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let told = Arc::new(Mutex::new((0, String::new())));
    let hears = Arc::clone(&told);
    let world = runtime.block_on(World::new(move |_, _| {
        let (status, body) = hears.lock().unwrap().clone();
        Reply::Say(json(status, &body))
    }));
    let statuses = prop_oneof![
        prop::sample::select(vec![200_u16, 201, 202, 400, 401, 403, 404, 406, 410, 422, 429, 500, 503]),
        200_u16..600,
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    runner
        .run(&(prop::sample::select(Operation::ALL.to_vec()), statuses, anything()), |(operation, status, body)| {
            // Answers without a body by definition would leave ours unread on the connection.
            prop_assume!(status != 204 && status != 304);
            *told.lock().unwrap() = (status, body.to_string());
            let result = runtime.block_on(make(&world.client, operation));
            match result {
                Ok(()) => prop_assert!((200..300).contains(&status)),
                Err(error) => {
                    prop_assert!(!error.nothing_sent());
                    let said = format!("{error} {error:?}");
                    prop_assert!(!said.contains(crate::world::SECRET));
                    if status >= 500 || (status < 400 && status != 401) {
                        prop_assert_eq!(error.kind(), "ambiguous");
                    }
                }
            }
            Ok(())
        })
        .unwrap();
}
