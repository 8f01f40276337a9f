//! Creating a payment when the connection holds.

use ccg::{Ambiguity, CallError, FrozenPayment, Status};
use sha2::{Digest, Sha256};
use std::time::Duration;

use crate::server::{Reply, json, with_headers};
use crate::world::{ACCEPTED, MERCHANT, PAYMENT_ID, TOKEN, TRANSACTION, World, frozen};

/// The gateway's answer to one create.
async fn create_answered(bytes: Vec<u8>) -> Result<ccg::Answer<ccg::Payment>, CallError> {
    let world = World::new(move |_, _| Reply::Say(bytes.clone())).await;
    let result = world.client.create_payment(&frozen()).await;
    assert_eq!(world.gateway.count(), 1, "a create is sent once, whatever the answer");
    result
}

#[tokio::test]
async fn an_accepted_payment_names_its_id_and_carries_the_evidence() {
    let bytes = with_headers(202, &[("x-request-id", "req-77"), ("content-type", "application/json")], ACCEPTED);
    let answer = create_answered(bytes).await.unwrap();
    assert_eq!((answer.value.id.as_str(), answer.value.status), (PAYMENT_ID, Status::Initiated));
    assert_eq!((answer.value.amount, answer.value.currency_code.as_deref()), (Some(4_200), Some("USD")));
    assert_eq!((answer.http_status, answer.request_id.as_deref()), (202, Some("req-77")));
    assert_eq!(answer.received_bytes, ACCEPTED.len());
    assert_eq!(answer.body_sha256, <[u8; 32]>::from(Sha256::digest(ACCEPTED)));
}

#[tokio::test]
async fn the_request_carries_the_headers_of_the_contract_and_no_others() {
    let world = World::new(|_, _| Reply::Say(json(202, ACCEPTED))).await;
    world.client.create_payment(&frozen()).await.unwrap();
    let seen = world.gateway.seen().remove(0);
    assert_eq!(seen.line, "POST /checkout/v2/payments HTTP/1.1");
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(seen.header("x-merchant-id"), Some(MERCHANT.to_string().as_str()));
    let mut names: Vec<String> = seen.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    let expected = [
        "accept",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-merchant-id",
        "x-source",
        "x-upstream-env",
    ];
    assert_eq!(names, expected);
    for (name, value) in [("accept", "application/json"), ("content-type", "application/json")] {
        assert_eq!(seen.header(name), Some(value));
    }
    assert_eq!((seen.header("x-upstream-env"), seen.header("x-source")), (Some("stage"), Some("tests")));
}

#[tokio::test]
async fn another_merchant_shares_connections_and_tokens() {
    let world = World::new(|_, _| Reply::Say(json(202, ACCEPTED))).await;
    let other = uuid::Uuid::from_u128(77);
    world.client.create_payment(&frozen()).await.unwrap();
    world.client.with_merchant(other).create_payment(&frozen()).await.unwrap();
    let ids: Vec<String> =
        world.gateway.seen().iter().map(|seen| seen.header("x-merchant-id").unwrap().to_owned()).collect();
    assert_eq!(ids, [MERCHANT.to_string(), other.to_string()]);
    assert_eq!((world.gateway.connections(), world.tokens.count()), (1, 1));
}

#[tokio::test]
async fn the_same_bytes_go_out_again_after_being_stored() {
    let world = World::new(|_, _| Reply::Say(json(202, ACCEPTED))).await;
    let first = frozen();
    world.client.create_payment(&first).await.unwrap();
    let again = FrozenPayment::from_stored(TRANSACTION, first.body()).unwrap();
    assert_eq!(again, first);
    world.client.create_payment(&again).await.unwrap();
    let seen = world.gateway.seen();
    assert_eq!(seen[0].body, first.body().as_bytes());
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&seen[1].body)), *first.sha256());
}

#[tokio::test]
async fn an_acceptance_that_does_not_name_this_payment_is_not_believed() {
    let id =
        |field: &str| Ambiguity::WrongPayment { field: if field == "id" { "id" } else { "merchantTransactionId" } };
    let whole = |body: &str| (body.to_owned(), None);
    let table = [
        (ACCEPTED.replace(TRANSACTION, "inv-7731-a2"), Some(id("merchantTransactionId"))),
        (ACCEPTED.replace(TRANSACTION, "INV-7731-A1"), Some(id("merchantTransactionId"))),
        (ACCEPTED.replace(&format!("\"id\": \"{PAYMENT_ID}\""), "\"id\": \"\""), Some(id("id"))),
        (ACCEPTED.replace("merchantTransactionId", "transactionId"), Some(id("merchantTransactionId"))),
        whole(&ACCEPTED.replace(&format!("\"id\": \"{PAYMENT_ID}\","), "")),
        whole(&ACCEPTED.replace("4200", "\"4200\"")),
        whole(&ACCEPTED.replace("\"amount\"", "\"status\": \"FAILED\", \"amount\"")),
        whole(&ACCEPTED[..ACCEPTED.len() - 20]),
        whole(r#"{"url":"x"}"#),
        whole("{}"),
        whole("null"),
        whole("<html>ok</html>"),
        whole(""),
        whole(&format!("{ACCEPTED}{ACCEPTED}")),
        whole(&"[".repeat(10_000)),
    ];
    for (body, expected) in table {
        for status in [200, 201, 202] {
            let error = create_answered(json(status, &body)).await.unwrap_err();
            assert!(error.is_ambiguous_for_create() && !error.nothing_sent(), "{status} {body}");
            let CallError::Ambiguous { why, evidence } = error else { panic!("{status} {body}") };
            assert_eq!(evidence.http_status, Some(status));
            assert_eq!(evidence.body_sha256, Some(<[u8; 32]>::from(Sha256::digest(&body))));
            match &expected {
                Some(expected) => assert_eq!(why, *expected, "{body}"),
                None => assert!(matches!(why, Ambiguity::Undecodable { .. }), "{body}: {why:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_status_word_and_unknown_fields_are_kept_or_passed_over() {
    let body =
        ACCEPTED.replace("INITIATED", "WAITING_FOR_GODOT").replace("\"amount\"", "\"brandNew\": [{}], \"amount\"");
    let answer = create_answered(json(202, &body)).await.unwrap();
    assert_eq!(answer.value.status, Status::Other("WAITING_FOR_GODOT".into()));
    assert!(!answer.value.status.is_final());
}

#[tokio::test]
async fn each_error_of_the_contract_becomes_its_own_kind() {
    let failed = include_str!("../shapes/get_failed_422.json");
    let rule = r#"{"title":"UNPROCESSABLE_ENTITY","status":422,"detail":"sum cannot exceed amount"}"#;
    let strange = r#"{"title":"REFUND_ERROR","status":422,"detail":"?"}"#;
    let still_going = failed.replace("FAILED", "PROCESSING");
    let nameless = failed.replace("merchantTransactionId", "x");
    let not_json = "<html>blocked</html>";
    let html_detail = r#"{"title":null,"status":400,"detail":["a"]}"#;
    // status, body, kind, must the payment be looked up?
    let table = [
        (400, include_str!("../shapes/invalid_request.json"), "rejected", false),
        (400, not_json, "ambiguous", true),
        (400, html_detail, "ambiguous", true),
        (401, include_str!("../shapes/unauthorized.json"), "unauthorized", false),
        (401, not_json, "unauthorized", false),
        (403, include_str!("../shapes/forbidden.json"), "forbidden", true),
        (403, not_json, "forbidden", true),
        (404, include_str!("../shapes/not_found.json"), "not_found", true),
        (406, include_str!("../shapes/get_failed_406.json"), "processing", true),
        (406, r#"{"title":"NOT_ACCEPTABLE","detail":"x"}"#, "processing", true),
        (406, not_json, "ambiguous", true),
        (422, failed, "processing", false),
        (422, &still_going, "processing", true),
        (422, &nameless, "processing", true),
        (422, include_str!("../shapes/retry_limit.json"), "retry_limit", true),
        (422, rule, "unprocessable", false),
        (422, strange, "unprocessable", true),
        (422, not_json, "ambiguous", true),
        (429, not_json, "rate_limited", false),
        (204, "", "ambiguous", true),
        (206, ACCEPTED, "ambiguous", true),
        (405, rule, "ambiguous", true),
        (408, rule, "ambiguous", true),
        (409, rule, "ambiguous", true),
        (413, rule, "ambiguous", true),
        (500, r#"{"title":"INTERNAL_ERROR","status":500}"#, "ambiguous", true),
        (502, not_json, "ambiguous", true),
        (503, not_json, "ambiguous", true),
        (504, "", "ambiguous", true),
        (599, ACCEPTED, "ambiguous", true),
    ];
    for (status, body, kind, look_up) in table {
        let error = create_answered(json(status, body)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_ambiguous_for_create()), (kind, look_up), "{status} {body}");
        assert_eq!(error.evidence().http_status, Some(status));
        assert!(!error.nothing_sent());
        assert!(error.to_string().contains(&format!("HTTP {status}")), "{error}");
    }
}

#[tokio::test]
async fn a_failure_answer_hands_its_payment_over() {
    let error = create_answered(json(422, include_str!("../shapes/get_failed_422.json"))).await.unwrap_err();
    let evidence = error.into_evidence();
    assert_eq!(evidence.title.as_deref(), Some("PAYMENT_ERROR"));
    assert!(evidence.detail.unwrap().starts_with("Payment processing failed"));
    let payment = evidence.payment.unwrap();
    assert_eq!((payment.status.clone(), payment.error_code()), (Status::Failed, Some("card_declined")));
}

#[tokio::test]
async fn a_failure_answer_about_another_payment_is_hostile() {
    let body = include_str!("../shapes/get_failed_422.json").replace(TRANSACTION, "inv-1");
    let error = create_answered(json(422, &body)).await.unwrap_err();
    assert!(error.is_ambiguous_for_create());
    assert!(matches!(
        &error,
        CallError::Ambiguous { why: Ambiguity::WrongPayment { field: "merchantTransactionId" }, evidence }
            if evidence.payment.is_none()
    ));
}

#[tokio::test]
async fn redirects_are_refused_and_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = crate::server::Server::start(|_, _| Reply::Say(json(202, ACCEPTED))).await;
        let location = format!("http://{}/checkout/v2/payments", elsewhere.address);
        let bytes = with_headers(status, &[("location", &location)], "");
        let error = create_answered(bytes).await.unwrap_err();
        assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::Redirect, .. }), "{error:?}");
        assert_eq!(elsewhere.connections(), 0);
    }
}

#[tokio::test]
async fn the_pause_of_a_429_is_read_and_bounded() {
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    let table = [
        (None, None),
        (Some("17"), Some(17)),
        (Some("0"), Some(1)),
        (Some("100000000000000000000000"), Some(3600)),
        (Some("-1"), None),
        (Some("Wed, 21 Oct 2026 07:28:45 GMT"), Some(45)),
        (Some("Wed, 21 Oct 2026 07:00:00 GMT"), Some(1)),
        (Some("Wed, 21 Oct 2099 07:28:45 GMT"), Some(3600)),
    ];
    for (value, seconds) in table {
        let mut headers = vec![("date", date)];
        headers.extend(value.map(|value| ("retry-after", value)));
        let error = create_answered(with_headers(429, &headers, "{}")).await.unwrap_err();
        assert!(matches!(error, CallError::RateLimited { .. }));
        assert_eq!(error.evidence().retry_after, seconds.map(Duration::from_secs), "{value:?}");
    }
}

#[tokio::test]
async fn a_create_is_not_sent_again_after_a_401_but_the_next_one_has_a_new_token() {
    let world = World::new(|seen, _| {
        let old = seen.header("authorization") == Some(format!("Bearer {TOKEN}").as_str());
        Reply::Say(if old { json(401, include_str!("../shapes/unauthorized.json")) } else { json(202, ACCEPTED) })
    })
    .await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert!(matches!(error, CallError::Unauthorized { .. }));
    assert_eq!((world.gateway.count(), world.tokens.count()), (1, 1));
    world.client.create_payment(&frozen()).await.unwrap();
    assert_eq!((world.gateway.count(), world.tokens.count()), (2, 2));
}
