//! Nothing that can be printed holds a secret.

use ccg::{Agent, CollectionDetails, Consent, ConsentKind, FrozenPayment, PhoneNumber, TelConsent, WebConsent};
use chrono::DateTime;

use crate::server::{Reply, Server, json, with_headers};
use crate::world::{ACCEPTED, SECRET, TOKEN, World, config, frozen, issue, payment};

fn assert_clean(what: &str, text: &str) {
    for secret in [SECRET, "s3cret", TOKEN, "made.up-token", "Peter", "peter@example.org", "778812"] {
        assert!(!text.contains(secret), "{what} shows {secret}: {text}");
    }
    assert!(!text.chars().any(char::is_control) || what.ends_with("pretty"), "{what}: {text:?}");
}

#[tokio::test]
async fn no_debug_or_display_shows_a_secret() {
    let echo =
        format!(r#"{{"title":"UNAUTHORIZED","status":401,"detail":"invalid jwt: {TOKEN}\r\n\u001b[31m is not one"}}"#);
    let world = World::new(move |_, _| Reply::Say(json(401, &echo))).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert_eq!(error.evidence().detail.as_deref(), Some("invalid jwt: [token][31m is not one"));
    let settings = config(&world.gateway, &world.tokens);
    for (what, text) in [
        ("error debug", format!("{error:?}")),
        ("error", error.to_string()),
        ("config debug", format!("{settings:?}")),
        ("client debug", format!("{:?}", world.client)),
        ("payment debug", format!("{:?}", payment())),
        ("customer debug", format!("{:?}", payment().customer)),
        ("frozen debug", format!("{:?}", frozen())),
    ] {
        assert_clean(what, &text);
    }

    for status in [400, 401, 500, 200] {
        let body = format!(r#"{{"error":"{SECRET}","error_description":"{SECRET}","access_token":7,"x":"{TOKEN}"}}"#);
        let tokens = Server::start(move |_, _| Reply::Say(json(status, &body))).await;
        let world = World::of(Server::start(|_, _| Reply::Close).await, tokens, |_| ()).await;
        let error = world.client.create_payment(&frozen()).await.unwrap_err();
        assert_clean("token error debug", &format!("{error:?}"));
        assert_clean("token error", &error.to_string());
    }
}

#[tokio::test]
async fn an_answer_shows_nothing_of_the_customer() {
    let body =
        ACCEPTED.replace("\"amount\"", r#""customer": {"firstName": "Peter", "enterpriseId": "778812"}, "amount""#);
    let world = World::new(move |_, _| Reply::Say(json(202, &body))).await;
    let answer = world.client.create_payment(&frozen()).await.unwrap();
    assert_clean("answer debug", &format!("{answer:?}"));
}

#[tokio::test]
async fn hostile_titles_and_ids_do_not_reach_a_sentence() {
    let body = r#"{"title":"PAY\u001b[2J <script>","detail":"x"}"#;
    let bytes = with_headers(403, &[("x-request-id", "a b<script>")], body);
    let world = World::new(move |_, _| Reply::Say(bytes.clone())).await;
    let error = world.client.create_payment(&frozen()).await.unwrap_err();
    assert_eq!(error.evidence().request_id, None);
    assert_eq!(error.to_string(), "the gateway forbids the call, or a payment of this id exists already (HTTP 403)");
    assert_eq!(error.evidence().title.as_deref(), Some("PAY[2J <script>"));
}

#[tokio::test]
async fn a_long_message_is_cut_short() {
    let body = format!(r#"{{"title":"{}","detail":"{}"}}"#, "T".repeat(500), "é".repeat(5_000));
    let world =
        World::of(Server::start(move |_, _| Reply::Say(json(400, &body))).await, Server::start(issue).await, |_| ())
            .await;
    let evidence = world.client.create_payment(&frozen()).await.unwrap_err().into_evidence();
    assert_eq!(evidence.title.unwrap().chars().count(), 60);
    assert_eq!(evidence.detail.unwrap().chars().count(), 300);
}

#[test]
fn parts_of_a_request_that_name_people_print_nothing() {
    let phone = || PhoneNumber { country_code: "1".into(), number: "6125550123".into() };
    let consent = Consent {
        merchant_consent_id: Some("consent-9".into()),
        merchant_consent_text: None,
        collection_timestamp: DateTime::parse_from_rfc3339("2026-06-01T09:00:00-05:00").unwrap(),
        collection_details: CollectionDetails {
            kind: ConsentKind::Web,
            web: Some(WebConsent { ip_address: "192.0.2.77".into(), user_agent: "Browser".into() }),
            tel: Some(TelConsent { inbound_phone_number: phone() }),
        },
    };
    let agent = Agent { user_id: "u-1".into(), last_name: Some("Smith".into()), ..Agent::default() };
    assert_eq!(format!("{:?}", phone()), "PhoneNumber { .. }");
    assert_eq!(format!("{consent:?}"), "Consent { .. }");
    assert_eq!(format!("{:?}", consent.collection_details), "CollectionDetails { .. }");
    assert_eq!(format!("{agent:?}"), "Agent { .. }");
    let stored = FrozenPayment::from_stored("a", r#"{"merchantTransactionId":"a","customer":"Peter"}"#).unwrap();
    assert_clean("frozen debug", &format!("{stored:?}"));
}

#[test]
fn requests_of_every_group_print_nothing_of_a_person_or_a_token() {
    use crate::calls::{somebody, vendor_method};
    use ccg::{CreateRefund, CreateSession, CreateTokenPayment, SessionMode, SetUpMethod, UpdateMethod};
    let credit = CreateRefund::credit("r", uuid::Uuid::from_u128(2), somebody(), 1);
    let stored = CreateTokenPayment::pay_and_store("t", 1, vendor_method(), somebody());
    let session = CreateSession::new(SessionMode::Wallet).for_customer(somebody());
    let set_up = SetUpMethod::new("req-1", somebody(), vendor_method());
    let update = UpdateMethod { nickname: Some("Peter".into()), ..UpdateMethod::default() };
    for (what, text) in [
        ("credit", format!("{credit:?}")),
        ("token payment", format!("{stored:?} {:?}", stored.freeze())),
        ("session", format!("{session:?} {:?}", session.ready())),
        ("set-up", format!("{set_up:?} {:?}", set_up.ready())),
        ("update", format!("{update:?} {:?}", update.ready())),
        ("customer", format!("{:?} {:?}", somebody(), somebody().ready())),
    ] {
        assert_clean(what, &text);
        assert!(!text.contains("pm_secret_token"), "{what}: {text}");
    }
}
