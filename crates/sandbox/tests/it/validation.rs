use std::time::Duration;

use sandbox::{Behaviour, Client, DEFAULT_MERCHANT, Options, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{CREDENTIALS, Request, World, bank_order, order, token};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const BANK: Uuid = method_id(Behaviour::AchSettles { days: None }, 1);

#[tokio::test]
async fn a_token_is_given_for_credentials_on_both_paths() {
    let world = World::new().await;
    for path in ["/oauth2/token", "/v1/oauth2/token"] {
        let form = format!("{CREDENTIALS}https%3A%2F%2Fapi.uhg.com%2F.default");
        let answer = Request::new("POST", path).body(form).send(world.to).await.unwrap();
        let json = answer.json();
        assert_eq!(answer.status, 200);
        assert_eq!((&json["token_type"], &json["expires_in"]), (&json!("Bearer"), &json!(1800)));
        assert_eq!(json["scope"], "https://api.uhg.com/.default");
        assert_eq!(json["access_token"].as_str().unwrap().split('.').count(), 3);
    }
    let cases = [
        ("grant_type=client_credentials&client_id=sandbox-client&client_secret=wrong", 401, "invalid_client"),
        ("grant_type=client_credentials&client_id=nobody&client_secret=sandbox-secret", 401, "invalid_client"),
        ("grant_type=password&client_id=sandbox-client&client_secret=sandbox-secret", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials", 400, "invalid_request"),
        ("{\"grant_type\": 1}", 400, "invalid_request"),
        ("", 400, "invalid_request"),
        (&format!("{CREDENTIALS}everything"), 400, "invalid_scope"),
    ];
    for (form, status, error) in cases {
        let answer = token(world.to, form).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)), "{form}");
    }
}

#[tokio::test]
async fn headers_are_checked_with_the_documented_texts() {
    let other = Uuid::from_u128(7);
    let clients =
        vec![Client::default(), Client { id: "other".into(), merchants: Some(vec![other]), ..Client::default() }];
    let world = World::with(Options { clients, merchants: vec![DEFAULT_MERCHANT, other], ..Options::default() }).await;
    let good = world.post_request(&order("k", 100, CARD));
    let narrow = token(world.to, &format!("{CREDENTIALS}financial/commerce/checkout:merchant-pci")).await.json();
    let foreign = token(world.to, &CREDENTIALS.replace("client_id=sandbox-client", "client_id=other")).await.json();
    let bearer = |token: &Value| format!("Bearer {}", token["access_token"].as_str().unwrap());
    let cases = [
        (good.clone().without("authorization"), 401, "UNAUTHORIZED", "access_token is missing"),
        (good.clone().header("authorization", "Bearer x"), 401, "UNAUTHORIZED", "invalid jwt: invalid jwt string"),
        (good.clone().without("x-merchant-id"), 400, "INVALID_REQUEST", "X-Merchant-Id is required"),
        (good.clone().header("x-merchant-id", "x"), 400, "INVALID_REQUEST", "X-Merchant-Id must be valid UUID"),
        (
            good.clone().header("x-merchant-id", &Uuid::max().to_string()).header("x-request-id", "r-1"),
            403,
            "FORBIDDEN",
            "403 FORBIDDEN. RequestId: r-1",
        ),
        (
            good.clone().header("authorization", &bearer(&foreign)).header("x-request-id", "r-2"),
            403,
            "FORBIDDEN",
            "403 FORBIDDEN. RequestId: r-2",
        ),
        (good.clone().header("authorization", &bearer(&narrow)), 403, "FORBIDDEN", "insufficient scope"),
        (
            good.clone().header("x-source", &"s".repeat(51)),
            400,
            "INVALID_REQUEST",
            "source header cannot exceed 50 characters",
        ),
        (
            good.clone().without("content-type"),
            400,
            "INVALID_REQUEST",
            "Invalid request format. Please check JSON structure and field types",
        ),
    ];
    for (request, status, title, detail) in cases {
        let answer = request.send(world.to).await.unwrap();
        assert_eq!(answer.problem(), (status, title.to_owned(), detail.to_owned()), "{request:?}");
        let look = Request { method: "GET".into(), path: "/v2/payments?merchantTransactionId=k".into(), ..request };
        let answer = look.header("accept", "*/*").send(world.to).await.unwrap();
        assert!(detail.starts_with("Invalid request") || answer.problem().2 == detail, "{detail}");
    }
    assert_eq!(good.send(world.to).await.unwrap().status, 202);
    assert_eq!(world.sandbox.ledger().rejections().len(), 9, "refused requests are in the ledger, apart");
}

#[tokio::test]
async fn an_expired_or_revoked_token_is_refused() {
    let world = World::with(Options { token_lifetime: Duration::ZERO, ..Options::default() }).await;
    let text = "jwt signature verification failed: 'exp' claim expired at";
    let (status, title, detail) = world.post(&order("k", 100, CARD)).await.problem();
    assert_eq!((status, title.as_str()), (401, "UNAUTHORIZED"));
    assert!(detail.starts_with(text), "{detail}");
    let world = World::new().await;
    world.sandbox.revoke_tokens();
    assert_eq!(world.post(&order("k", 100, CARD)).await.status, 401);
    assert_eq!(world.sandbox.ledger().summary().submissions, 0);
}

#[tokio::test]
async fn bodies_are_checked_with_the_documented_texts() {
    let world = World::new().await;
    let change = |path: &str, value: Value| {
        let mut body = order("k", 4200, CARD);
        *body.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        body
    };
    let with = |name: &str, value: Value| {
        let mut body = order("k", 4200, CARD);
        body[name] = value;
        body
    };
    let part = json!({ "amount": 4200, "paymentMethodId": CARD });
    let entries = |count: usize| -> Value { (0..count).map(|n| (n.to_string(), json!("v"))).collect() };
    let amount = "amount must be an integer between 1 and 99999999";
    let part_amount = "paymentAllocations[0].amount must be an integer between 1 and 99999999";
    let malformed = "Invalid request format. Please check JSON structure and field types";
    let at_least_one =
        "customer object must include at least one of customer.hsid, customer.enterpriseId, or customer.metadata";
    let suffix = "statementDescriptorSuffix only allows alphanumeric, space, hyphen and dot, and must contain at least one letter";
    let two = "paymentAllocations is required and must contain at least 2 items";
    let customer = |name: &str, value: Value| with("customer", json!({ "enterpriseId": "1", name: value }));
    let cases = [
        (change("/amount", Value::Null), "amount is required"),
        (change("/amount", json!(0)), amount),
        (change("/amount", json!(-5)), amount),
        (change("/amount", json!(42.5)), amount),
        (change("/amount", json!(100_000_000)), amount),
        (change("/amount", json!(u64::MAX)), amount),
        (change("/amount", json!("4200")), malformed),
        (change("/amount", json!(4201)), "amount must equal the sum of paymentAllocations[:].amount"),
        (change("/merchantTransactionId", Value::Null), "merchantTransactionId is required"),
        (change("/merchantTransactionId", json!(" ")), "merchantTransactionId is required"),
        (change("/merchantTransactionId", json!("x".repeat(51))), "merchantTransactionId cannot exceed 50 characters"),
        (change("/merchantTransactionId", json!(5)), malformed),
        (with("description", json!("d".repeat(101))), "description cannot exceed 100 characters"),
        (
            with("statementDescriptorSuffix", json!("12345678901")),
            "statementDescriptorSuffix cannot exceed 10 characters",
        ),
        (with("statementDescriptorSuffix", json!("123")), suffix),
        (with("statementDescriptorSuffix", json!("a*b")), suffix),
        (with("metadata", entries(21)), "metadata cannot exceed 20 entries"),
        (with("metadata", json!({ "k".repeat(41): "v" })), "metadata key cannot exceed 40 characters"),
        (with("metadata", json!({ "k": "v".repeat(101) })), "metadata value cannot exceed 100 characters"),
        (with("metadata", json!({ "k": 1 })), malformed),
        (with("metadata", json!(["k"])), malformed),
        (change("/paymentAllocations", Value::Null), two),
        (change("/paymentAllocations", json!([])), two),
        (
            change("/paymentAllocations", json!([part, part, part])),
            "paymentAllocations cannot contain more than 2 items",
        ),
        (change("/paymentAllocations/0/amount", Value::Null), "paymentAllocations[0].amount is required"),
        (change("/paymentAllocations/0/amount", json!(0)), part_amount),
        (
            change("/paymentAllocations/0/paymentMethodId", Value::Null),
            "paymentAllocations[0].paymentMethodId is required",
        ),
        (
            change("/paymentAllocations/0/paymentMethodId", json!("x")),
            "paymentAllocations[0].paymentMethodId must be valid UUID",
        ),
        (change("/partialAuthorization", json!(true)), "partialAuthorization requires authorizeCard to be true"),
        (change("/customer", Value::Null), "customer object is required"),
        (with("customer", json!({})), at_least_one),
        (with("customer", json!("me")), malformed),
        (with("customer", json!({ "enterpriseId": "12a" })), "customer.enterpriseId is invalid"),
        (with("customer", json!({ "hsid": "x" })), "customer.hsid must be a valid UUID"),
        (with("customer", json!({ "metadata": entries(21) })), "customer.metadata cannot exceed 20 entries"),
        (customer("metadata", json!({ "k".repeat(41): "v" })), "customer.metadata key cannot exceed 40 characters"),
        (customer("metadata", json!({ "k": "v".repeat(101) })), "customer.metadata value cannot exceed 100 characters"),
        (customer("email", json!("nobody")), "customer.email must be a valid email address"),
        (customer("firstName", json!("f".repeat(101))), "customer.firstName cannot exceed 100 characters"),
        (customer("lastName", json!("l".repeat(101))), "customer.lastName cannot exceed 100 characters"),
        (customer("ssnLastFour", json!("12a4")), "customer.ssnLastFour must be 4 digits"),
        (with("agent", json!({})), "agent.userId is required"),
        (with("agent", json!({ "userId": "u".repeat(51) })), "agent.userId cannot exceed 50 characters"),
        (
            with("agent", json!({ "userId": "u", "firstName": "f".repeat(51) })),
            "agent.firstName cannot exceed 50 characters",
        ),
        (
            with("agent", json!({ "userId": "u", "lastName": "f".repeat(51) })),
            "agent.lastName cannot exceed 50 characters",
        ),
    ];
    for (body, detail) in cases {
        let answer = world.post(&body).await;
        assert_eq!(answer.problem(), (400, "INVALID_REQUEST".into(), detail.to_owned()), "{body}");
    }
    for text in ["", "{", "[]", "null", "\u{feff}{}", "{\"amount\": 1, \"amount\": 2}", &"[".repeat(10_000)] {
        let answer = world.post_request(&Value::Null).body(text).send(world.to).await.unwrap();
        assert_eq!(answer.problem().2, malformed, "{text:.20}");
    }
    let details = |iias: Value| with("paymentDetails", json!({ "healthcare": iias }));
    let cases = [
        (details(json!({})), "paymentDetails.qualifiedAmount is required when paymentDetails is provided"),
        (
            details(json!({ "iias": { "qualifiedAmount": 4000 }, "visionAmount": 201 })),
            "sum of paymentDetails.qualifiedAmount and paymentDetails.visionAmount cannot exceed amount",
        ),
        (
            details(
                json!({ "iias": { "qualifiedAmount": 10, "qualifiedAmountDetails": { "prescriptionAmount": 11 } } }),
            ),
            "paymentDetails.prescriptionAmount cannot exceed paymentDetails.qualifiedAmount",
        ),
    ];
    for (body, detail) in cases {
        let answer = world.post(&body).await;
        assert_eq!(answer.problem(), (422, "UNPROCESSABLE_ENTITY".into(), detail.to_owned()), "{body}");
    }
    assert_eq!(world.sandbox.ledger().summary().keys, 0, "nothing that was refused left a key behind");
}

#[tokio::test]
async fn a_bank_account_needs_consent_in_either_shape() {
    let world = World::new().await;
    let with = |consent: Value| {
        let mut body = order("k", 100, BANK);
        body["consent"] = consent;
        body
    };
    let public = |name: &str, value: Value| {
        let mut body = bank_order("k", 100, BANK);
        body["consent"][name] = value;
        body
    };
    let ppd = json!({ "type": "PPD" });
    let cases = [
        (order("k", 100, BANK), "Consent is required!"),
        (with(json!({})), "Consent is required!"),
        (with(json!({ "ipAddress": "192.0.2.1" })), "Consent is required!"),
        (with(json!({ "type": "ONLINE" })), "Consent is Invalid!"),
        (with(json!({ "type": "SIGNAL", "timestamp": "2026-01-01T00:00:00Z" })), "Consent is Invalid!"),
        (public("merchantConsentId", Value::Null), "consent.merchantConsentId is required"),
        (
            public("merchantConsentText", json!("I <agree>")),
            "consent.merchantConsentText contains unsupported characters",
        ),
        (public("collectionTimestamp", Value::Null), "consent.collectionTimestamp is required"),
        (public("collectionTimestamp", json!("yesterday")), "consent.collectionTimestamp is required"),
        (public("collectionDetails", Value::Null), "consent.collectionDetails are not valid"),
        (public("collectionDetails", json!({ "type": "FAX" })), "consent.collectionDetails are not valid"),
        (public("collectionDetails", ppd.clone()), "agent is required when consent.collectionDetails.type is PPD"),
    ];
    for (body, detail) in cases {
        assert_eq!(world.post(&body).await.problem(), (400, "INVALID_REQUEST".into(), detail.to_owned()), "{body}");
    }
    let mut with_agent = public("collectionDetails", ppd);
    with_agent["agent"] = json!({ "userId": "u" });
    let flat = with(json!({ "type": "WRITTEN", "timestamp": "2026-01-01T00:00:00Z", "ipAddress": "192.0.2.1" }));
    for (n, mut body) in [bank_order("k", 100, BANK), with_agent, flat].into_iter().enumerate() {
        body["merchantTransactionId"] = json!(format!("ok-{n}"));
        assert_eq!(world.post(&body).await.status, 202, "{body}");
    }
    assert_eq!(world.post(&order("card", 100, CARD)).await.status, 202, "a card needs none");
}

#[tokio::test]
async fn look_ups_are_checked_too() {
    let world = World::new().await;
    let answer = world.by_id("x").await;
    assert_eq!(answer.problem(), (400, "INVALID_REQUEST".into(), "paymentId must be valid UUID".into()));
    let answer = world.by_id(&Uuid::max().to_string()).await;
    assert_eq!(answer.problem(), (404, "NOT_FOUND".into(), "paymentId not found".into()));
    let answer = world.by_key("nobody").await;
    assert_eq!(answer.problem(), (404, "NOT_FOUND".into(), "Payment information not found.".into()));
    assert_eq!(world.by_key("").await.problem().2, "merchantTransactionId is required");
    assert_eq!(world.by_key(&"x".repeat(51)).await.problem().2, "merchantTransactionId cannot exceed 50 characters");
    let blocked = world.get_request("/v2/payments?merchantTransactionId=k").without("accept");
    assert_eq!(blocked.send(world.to).await.unwrap().status, 403, "the firewall blocks a GET without Accept");
    assert_eq!(world.read("/elsewhere").await.status, 404);
}

#[tokio::test]
async fn a_payment_is_seen_by_its_own_merchant_only() {
    let other = Uuid::from_u128(7);
    let world = World::with(Options { merchants: vec![DEFAULT_MERCHANT, other], ..Options::default() }).await;
    let id = world.post(&order("k", 100, CARD)).await.payment_id();
    assert_eq!(world.by_id(&id).await.status, 200);
    let look = world.get_request(&format!("/v2/payments/{id}")).header("x-merchant-id", &other.to_string());
    assert_eq!(look.send(world.to).await.unwrap().problem().2, "paymentId not found");
    let same_key = world.post_request(&order("k", 250, CARD)).header("x-merchant-id", &other.to_string());
    assert_ne!(same_key.send(world.to).await.unwrap().payment_id(), id, "another merchant may use the same key");
    assert_eq!(world.sandbox.ledger().total_collected("USD"), 350);
}

#[tokio::test]
async fn the_front_page_explains_itself() {
    let world = World::new().await;
    let page = world.read("/").await;
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains(&world.sandbox.url()) && text.contains("5a4db0c5-BBPP") && text.contains("cut_after_commit"));
}
