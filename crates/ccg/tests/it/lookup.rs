//! Asking for a payment.

use ccg::{Ambiguity, CallError, NotSent, Status};

use crate::server::{Reply, json};
use crate::world::{COMPLETED, PAYMENT_ID, TOKEN, TRANSACTION, World};

#[tokio::test]
async fn a_payment_is_asked_for_by_either_id() {
    let world = World::new(|_, _| Reply::Say(json(200, COMPLETED))).await;
    let by_id = world.client.get_payment(PAYMENT_ID).await.unwrap();
    let by_ours = world.client.find_payment(TRANSACTION).await.unwrap();
    assert_eq!(by_id.value, by_ours.value);
    let lines: Vec<String> = world.gateway.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines,
        [
            format!("GET /checkout/v2/payments/{PAYMENT_ID} HTTP/1.1"),
            format!("GET /checkout/v2/payments?merchantTransactionId={TRANSACTION} HTTP/1.1"),
        ]
    );
    let seen = world.gateway.seen();
    assert_eq!(seen[0].header("accept"), Some("application/json"));
    assert_eq!(seen[0].header("content-type"), None);
    assert_eq!(seen[0].header("transfer-encoding"), None);
    assert!(seen[0].body.is_empty());
}

#[tokio::test]
async fn the_recorded_shapes_are_read() {
    let world = World::new(|_, _| Reply::Say(json(200, COMPLETED))).await;
    let payment = world.client.get_payment(PAYMENT_ID).await.unwrap().value;
    assert_eq!((payment.status, payment.captured_amount), (Status::Completed, Some(4_200)));
    assert_eq!(payment.merchant.unwrap().name.as_deref(), Some("Shop"));
    assert_eq!(payment.payment_date_utc.as_deref(), Some("2026-06-01T14:03:22Z"));
    let part = &payment.payment_allocations[0];
    assert_eq!(part.vendor_payment_id.as_deref(), Some("pi_made_up"));
    assert_eq!(part.payment_method.as_ref().unwrap().id.as_deref(), Some("bbbbbbbb-0000-4000-8000-000000000002"));

    let world = World::new(|_, _| Reply::Say(json(202, include_str!("../shapes/split_rolled_back.json")))).await;
    let answer = world.client.find_payment(TRANSACTION).await.unwrap();
    assert_eq!(answer.http_status, 202);
    assert_eq!(answer.value.payment_allocations[0].status, Some(Status::RolledBack));
    assert!(answer.value.payment_allocations[0].remediation.is_some());
    assert_eq!((answer.value.error_code(), answer.value.error_message()), (Some("card_declined"), Some("no")));

    for (status, body) in
        [(422, include_str!("../shapes/get_failed_422.json")), (406, include_str!("../shapes/get_failed_406.json"))]
    {
        let world = World::new(move |_, _| Reply::Say(json(status, body))).await;
        let error = world.client.get_payment(PAYMENT_ID).await.unwrap_err();
        assert!(matches!(error, CallError::Processing { .. }), "{error:?}");
        assert_eq!(error.evidence().payment.is_some(), status == 422);
    }
}

#[tokio::test]
async fn a_flat_payment_of_version_1_is_read_as_one_of_version_2() {
    let world = World::new(|_, _| Reply::Say(json(200, include_str!("../shapes/payment_v1_flat.json")))).await;
    let flat = world.client.get_payment(PAYMENT_ID).await.unwrap().value;
    assert_eq!((flat.status.clone(), flat.captured_amount), (Status::Completed, Some(4_200)));
    assert_eq!(flat.merchant.as_ref().unwrap().id.as_deref(), Some("8d0b0f2e-0000-4000-8000-000000000001"));
    assert_eq!(flat.metadata.as_ref().unwrap()["invoice"], "7731");
    assert!(flat.payment_allocations.is_empty() && flat.error.is_none());
    let method = flat.payment_method.unwrap();
    assert_eq!((method.is_default, method.kind), (Some(true), Some(ccg::MethodType::Card)));
    let card = method.card.unwrap();
    assert_eq!((card.expiry_month, card.expiry_year, card.zip_code.as_deref()), (Some(4), Some(2031), Some("55401")));
}

#[tokio::test]
async fn an_answer_about_another_payment_is_not_believed() {
    let world = World::new(|_, _| Reply::Say(json(200, COMPLETED))).await;
    let error = world.client.get_payment("9f0c1d52-6a0e-4b0b-8f4e-000000000000").await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::WrongPayment { field: "id" }, .. }));
    let error = world.client.find_payment("inv-1").await.unwrap_err();
    let field = "merchantTransactionId";
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::WrongPayment { field: f }, .. } if f == field));
}

#[tokio::test]
async fn ids_that_would_ask_for_something_else_are_not_sent() {
    let world = World::new(|_, _| Reply::Say(json(200, COMPLETED))).await;
    for id in ["", ".", "..", "a/b", "a?b", "a#b", "a b", "%2e%2e", &"a".repeat(65)] {
        let error = world.client.get_payment(id).await.unwrap_err();
        assert!(matches!(error, CallError::NotSent { why: NotSent::Invalid(_), .. }), "{id}");
    }
    for id in ["", &"a".repeat(51)] {
        assert!(world.client.find_payment(id).await.unwrap_err().nothing_sent());
    }
    assert_eq!((world.gateway.count(), world.tokens.count()), (0, 0));

    let _wrong_payment = world.client.find_payment("a&b=c d/é").await.unwrap_err();
    let line = &world.gateway.seen()[0].line;
    assert_eq!(line, "GET /checkout/v2/payments?merchantTransactionId=a%26b%3Dc+d%2F%C3%A9 HTTP/1.1");
}

#[tokio::test]
async fn a_look_up_is_asked_once_more_after_a_401_with_a_new_token() {
    let world = World::new(|seen, _| {
        let old = seen.header("authorization") == Some(format!("Bearer {TOKEN}").as_str());
        Reply::Say(json(if old { 401 } else { 200 }, COMPLETED))
    })
    .await;
    world.client.get_payment(PAYMENT_ID).await.unwrap();
    assert_eq!((world.gateway.count(), world.tokens.count()), (2, 2));
}

#[tokio::test]
async fn a_gateway_that_refuses_every_token_is_asked_twice_and_does_not_drain_the_token_endpoint() {
    let world = World::new(|_, _| Reply::Say(json(401, "{}"))).await;
    let error = world.client.get_payment(PAYMENT_ID).await.unwrap_err();
    assert!(matches!(error, CallError::Unauthorized { .. }));
    assert_eq!((world.gateway.count(), world.tokens.count()), (2, 2));
    for _ in 0..5 {
        assert!(matches!(world.client.get_payment(PAYMENT_ID).await, Err(CallError::Unauthorized { .. })));
    }
    assert_eq!((world.gateway.count(), world.tokens.count()), (7, 2));
    world.clock.turn(std::time::Duration::from_secs(2));
    assert!(matches!(world.client.get_payment(PAYMENT_ID).await, Err(CallError::Unauthorized { .. })));
    assert_eq!((world.gateway.count(), world.tokens.count()), (9, 3));
}

#[tokio::test]
async fn a_look_up_that_gets_trouble_says_so_and_is_not_repeated() {
    const MISSING: &str = r#"{"title":"NOT_FOUND","status":404,"detail":"Payment information not found."}"#;
    for (status, body, kind) in [
        (403, "{}", "forbidden"),
        (404, MISSING, "not_found"),
        // A page that is not the gateway's says nothing about the payment.
        (404, "{}", "ambiguous"),
        (404, "<html>no such page</html>", "ambiguous"),
        (429, "{}", "rate_limited"),
        (500, "{}", "ambiguous"),
    ] {
        let world = World::new(move |_, _| Reply::Say(json(status, body))).await;
        assert_eq!(world.client.find_payment(TRANSACTION).await.unwrap_err().kind(), kind);
        assert_eq!(world.gateway.count(), 1);
    }
}
