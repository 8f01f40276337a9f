//! Every error the contract names is produced and lands where the table says.

use ccg::codes::{self, CODES, Class};
use ccg::{CallError, Operation};
use serde_json::json as value;
use std::sync::{Arc, Mutex};

use crate::calls::make;
use crate::server::{Reply, json};
use crate::world::World;

/// The message with its gaps filled.
fn filled(pattern: &str) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some((before, (_, after))) = rest.split_once('{').and_then(|(a, b)| Some((a, b.split_once('}')?))) {
        text.push_str(before);
        text.push_str("some 7");
        rest = after;
    }
    text + rest
}

#[tokio::test]
async fn each_row_of_the_table_is_what_the_client_makes_of_that_answer() {
    let answer = Arc::new(Mutex::new((0, String::new())));
    let told = Arc::clone(&answer);
    let world = World::new(move |_, _| {
        let (status, body) = told.lock().unwrap().clone();
        Reply::Say(json(status, &body))
    })
    .await;
    let mut driven = 0;
    for code in CODES {
        let detail = filled(code.detail);
        let body = value!({ "title": code.title, "status": code.http_status, "detail": detail }).to_string();
        *answer.lock().unwrap() = (code.http_status, body);
        for operation in code.calls {
            let error = make(&world.client, *operation).await.unwrap_err();
            assert_eq!(error.kind(), code.class.name(), "{code:?} as {operation:?}");
            assert_eq!(error.evidence().title.as_deref(), Some(code.title));
            assert_eq!(error.evidence().http_status, Some(code.http_status));
            assert_eq!(codes::look_up(*operation, code.http_status, code.title, &detail), Some(code));
            driven += 1;
        }
    }
    assert!(driven > CODES.len(), "{driven}");
}

/// What the statuses mean, by hand (contract §3.2), so that the table is not its own only witness.
#[test]
fn the_table_keeps_to_the_documented_classes() {
    for code in CODES {
        let expected = match (code.http_status, code.title) {
            (401, "SESSION_TIMEOUT") | (410, "SESSION_CANCELED") => Class::Unprocessable,
            (400, "INVALID_REQUEST" | "BAD_REQUEST" | "PAYMENT_METHOD_ERROR" | "PAYMENT_ERROR") => Class::Rejected,
            (401, "UNAUTHORIZED") => Class::Unauthorized,
            (403, "PAYMENT_ERROR") => Class::RetryLimit,
            (403, "FORBIDDEN" | "PAYMENT_METHOD_ERROR") => Class::Forbidden,
            (404, "NOT_FOUND") => Class::NotFound,
            (406, "PAYMENT_METHOD_ERROR" | "NOT_ACCEPTABLE") | (422, "PAYMENT_ERROR" | "REFUND_ERROR") => {
                Class::Processing
            }
            (422, "UNPROCESSABLE_ENTITY") if code.detail.starts_with("Retry limit exceeded") => Class::RetryLimit,
            (422, "UNPROCESSABLE_ENTITY") => Class::Unprocessable,
            (500, "INTERNAL_ERROR") => Class::Ambiguous,
            other => panic!("an undocumented pair {other:?}"),
        };
        assert_eq!(code.class, expected, "{code:?}");
    }
}

#[test]
fn every_call_and_every_section_with_errors_is_in_the_table() {
    for operation in Operation::ALL {
        let own = CODES.iter().filter(|code| code.calls.contains(&operation) && code.calls.len() < 15);
        assert!(own.count() > 0, "{operation:?}");
    }
    for section in ["§2", "§3.2", "§3.4", "§3.5", "§3.6", "§3.7", "§4.6", "§4.7", "§4.9", "§4.11", "§5", "§6", "§7"]
    {
        assert!(CODES.iter().any(|code| code.section == section), "{section}");
    }
}

#[tokio::test]
async fn a_class_is_a_kind_of_error_and_both_have_one_name() {
    let classes = [
        (400, "INVALID_REQUEST", Class::Rejected),
        (401, "UNAUTHORIZED", Class::Unauthorized),
        (403, "FORBIDDEN", Class::Forbidden),
        (404, "NOT_FOUND", Class::NotFound),
        (422, "PAYMENT_ERROR", Class::Processing),
        (422, "UNPROCESSABLE_ENTITY", Class::Unprocessable),
        (429, "TOO_MANY_REQUESTS", Class::RateLimited),
        (500, "INTERNAL_ERROR", Class::Ambiguous),
    ];
    for (status, title, class) in classes {
        assert_eq!(codes::classify(Operation::CreatePayment, status, title, "other words"), class);
        let body = value!({ "title": title, "detail": "other words" }).to_string();
        let world = World::new(move |_, _| Reply::Say(json(status, &body))).await;
        let error: CallError = make(&world.client, Operation::CreatePayment).await.unwrap_err();
        assert_eq!(error.kind(), class.name());
    }
}
