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

/// A limit is told before sending in the words the gateway would use: those words are rows of the table.
#[test]
fn what_is_refused_before_sending_is_worded_as_the_table_words_it() {
    use ccg::{Agent, CollectionDetails, Consent, ConsentKind, CreatePayment, CreateRefund, Customer, PaymentDetails};
    let long = |n: usize| "x".repeat(n);
    let notes = |n: usize| (0..n).map(|i| (format!("{i}{}", long(40)), long(101))).collect();
    let bad = Customer {
        enterprise_id: Some("a".into()),
        hsid: Some(uuid::Uuid::nil()),
        metadata: notes(21),
        first_name: Some(long(101)),
        last_name: Some(long(101)),
        email: Some("nobody".into()),
        ssn_last_four: Some("1".into()),
        ..Customer::default()
    };
    let mut payment = CreatePayment::sale("", 0, uuid::Uuid::nil(), bad);
    payment.amount = 1;
    payment.partial_authorization = Some(true);
    payment.description = Some(long(101));
    payment.statement_descriptor_suffix = Some(format!("{}?", long(10)));
    payment.metadata = notes(21);
    payment.agent = Some(Agent {
        first_name: Some(long(51)),
        last_name: Some(long(51)),
        user_id: String::new(),
        ..Agent::default()
    });
    payment.consent = Some(Consent {
        merchant_consent_id: None,
        merchant_consent_text: Some("{".into()),
        collection_timestamp: chrono::DateTime::UNIX_EPOCH.fixed_offset(),
        collection_details: CollectionDetails {
            kind: ConsentKind::Ppd,
            web: Some(ccg::WebConsent { ip_address: String::new(), user_agent: String::new() }),
            tel: None,
        },
    });
    payment.payment_details = Some(PaymentDetails::qualified(5).with_prescription(6));
    let mut staffless = payment.clone();
    staffless.agent = None;
    staffless.customer = None;
    staffless.payment_details = Some(PaymentDetails::default());
    staffless.payment_allocations.clear();
    staffless.merchant_transaction_id = long(51);

    let mut words: Vec<String> = Vec::new();
    for payment in [payment, staffless] {
        words.extend(payment.freeze().unwrap_err().into_iter().map(|broken| broken.message));
    }
    assert!(words.len() > 30, "{words:?}");
    for message in &words {
        let found = [(400, "INVALID_REQUEST"), (422, "UNPROCESSABLE_ENTITY")]
            .into_iter()
            .any(|(status, title)| codes::look_up(Operation::CreatePayment, status, title, message).is_some());
        assert!(found, "{message}");
    }
    let refund = CreateRefund::credit("r", uuid::Uuid::nil(), Customer::default(), 1_000_001).freeze().unwrap_err();
    for message in refund.iter().map(|broken| &broken.message).filter(|message| !message.ends_with("is required")) {
        assert!(codes::look_up(Operation::CreateRefund, 400, "INVALID_REQUEST", message).is_some(), "{message}");
    }
    let needed = codes::look_up(Operation::CreateRefund, 400, "INVALID_REQUEST", &refund[0].message);
    assert_eq!(needed.unwrap().detail, "paymentId or paymentMethodId is required");
}
