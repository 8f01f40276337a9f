//! Widget sessions.

use ccg::{
    Ambiguity, CallError, Channel, CreateSession, Session, SessionEnd, SessionMode, SessionPayment, SessionStatus,
};
use chrono::DateTime;
use serde_json::{Value, json as value};

use crate::calls::{SESSION_ID, somebody};
use crate::server::{Reply, json};
use crate::world::{PAYMENT_ID, World};

async fn asked(status: u16, body: &'static str) -> Result<Session, CallError> {
    let world = World::new(move |_, _| Reply::Say(json(status, body))).await;
    let answer = world.client.get_session(SESSION_ID).await;
    assert!(world.gateway.count() <= 2);
    answer.map(|answer| answer.value)
}

fn said(session: &CreateSession) -> Vec<String> {
    session.ready().err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

fn spoken(text: &str) -> ccg::Consent {
    ccg::Consent {
        merchant_consent_id: None,
        merchant_consent_text: Some(text.into()),
        collection_timestamp: DateTime::parse_from_rfc3339("2026-06-01T09:00:00-05:00").unwrap(),
        collection_details: ccg::CollectionDetails { kind: ccg::ConsentKind::Web, web: None, tel: None },
    }
}

#[tokio::test]
async fn a_session_is_asked_for_with_all_it_can_hold() {
    let mut session = CreateSession::new(SessionMode::PaymentWithWallet)
        .for_customer(somebody())
        .with_payment(SessionPayment {
            description: Some("June".into()),
            consent: Some(spoken("I agree to be debited.")),
            ..SessionPayment::sale("inv-7731-s1", 4_200)
        })
        .with_card_channels([Channel::Webform, Channel::GooglePay])
        .with_bank_channels([Channel::Text]);
    session.appearance = Some(value!({ "logo": "https%3A%2F%2Fshop.example%2Flogo.png" }));
    session.payment_method = Some(ccg::SessionMethod { id: "m-1".into() });
    session.config.other = [("locale".to_owned(), value!("en"))].into();
    let world = World::new(|_, _| Reply::Say(json(202, include_str!("../shapes/session_accepted.json")))).await;
    let made = world.client.create_session(&session.ready().unwrap()).await.unwrap().value;
    assert_eq!((made.id.as_str(), made.status.clone()), (SESSION_ID, SessionStatus::Accepted));
    assert_eq!(made.hosted_url.as_deref(), Some("https://wallet.example/s/made-up-secret"));
    assert!(!format!("{made:?}").contains("made-up-secret"));

    let sent: Value = serde_json::from_slice(&world.gateway.seen()[0].body).unwrap();
    assert_eq!(
        sent,
        value!({
            "payment": {
                "merchantTransactionId": "inv-7731-s1", "amount": 4200, "currencyCode": "USD", "description": "June",
                "consent": { "merchantConsentText": "I agree to be debited.",
                    "collectionTimestamp": "2026-06-01T09:00:00-05:00", "collectionDetails": { "type": "WEB" } },
            },
            "customer": { "enterpriseId": "778812", "firstName": "Peter" },
            "appearance": { "logo": "https%3A%2F%2Fshop.example%2Flogo.png" },
            "config": { "modes": ["PAYMENT_WITH_WALLET"],
                "paymentMethodChannel": { "card": ["WEBFORM", "GOOGLE_PAY"], "bankAccount": ["TEXT"] }, "locale": "en" },
            "paymentMethod": { "id": "m-1" },
        })
    );
}

#[test]
fn every_documented_mode_and_channel_has_its_word_and_others_are_kept() {
    for word in [
        "PAYMENT",
        "PAYMENT_METHOD_ENTRY",
        "PAYMENT_WITH_WALLET",
        "WALLET",
        "PAYMENT_METHOD_SELECT",
        "PAYMENT_METHOD_DISPLAY",
        "PAYMENT_AND_SAVE",
    ] {
        assert!(!matches!(SessionMode::from(word), SessionMode::Other(_)), "{word}");
        assert_eq!(SessionMode::from(word).as_str(), word);
    }
    for word in ["TEXT", "EMAIL", "WEBFORM", "TELEPHONIC_ENTRY", "TERMINAL", "GOOGLE_PAY", "APPLE_PAY"] {
        assert!(!matches!(Channel::from(word), Channel::Other(_)), "{word}");
        assert_eq!(Channel::from(word).as_str(), word);
    }
    assert_eq!(SessionMode::from("TELEPATHY"), SessionMode::Other("TELEPATHY".into()));
    assert_eq!(serde_json::to_string(&Channel::Other("PIGEON".into())).unwrap(), "\"PIGEON\"");
}

#[tokio::test]
async fn each_state_of_a_session_is_read() {
    let created = asked(200, include_str!("../shapes/session_created.json")).await.unwrap();
    assert_eq!(created.status, SessionStatus::Created);
    assert_eq!(created.customer_id.as_deref(), Some("ffffffff-0000-4000-8000-000000000001"));
    let waiting = asked(202, include_str!("../shapes/session_accepted.json")).await.unwrap();
    assert_eq!(waiting.status, SessionStatus::Accepted);
    for body in [include_str!("../shapes/session_completed.json"), include_str!("../shapes/session_v1.json")] {
        let done = asked(200, body).await.unwrap();
        assert_eq!(done.status, SessionStatus::Completed);
        assert_eq!(done.payment_id.as_deref(), Some(PAYMENT_ID));
        assert_eq!(done.payment_method_id.as_deref(), Some("bbbbbbbb-0000-4000-8000-000000000002"));
    }
    let error = asked(410, include_str!("../shapes/session_canceled.json")).await.unwrap_err();
    assert_eq!(error.session_end(), Some(SessionEnd::Canceled));
    let error = asked(404, include_str!("../shapes/session_not_found.json")).await.unwrap_err();
    assert!(matches!(error, CallError::NotFound { .. }));
    assert_eq!(error.session_end(), None);
}

#[tokio::test]
async fn a_session_that_ran_out_of_time_is_no_refused_token() {
    let world = World::new(|_, _| Reply::Say(json(401, include_str!("../shapes/session_timeout.json")))).await;
    for n in 1..=2 {
        let error = world.client.get_session(SESSION_ID).await.unwrap_err();
        assert_eq!(error.session_end(), Some(SessionEnd::TimedOut));
        assert_eq!((world.gateway.count(), world.tokens.count()), (n, 1));
    }
}

#[tokio::test]
async fn an_answer_about_another_session_is_not_believed() {
    let world = World::new(|_, _| Reply::Say(json(200, include_str!("../shapes/session_created.json")))).await;
    let error = world.client.get_session("dddddddd-0000-4000-8000-000000000009").await.unwrap_err();
    assert!(matches!(error, CallError::Ambiguous { why: Ambiguity::WrongPayment { field: "sessionId" }, .. }));
}

#[test]
fn the_limits_are_named_in_the_gateways_words() {
    let pays = || CreateSession::new(SessionMode::Payment);
    let mut nothing = pays();
    nothing.config.modes.clear();
    let mut plain = CreateSession::new(SessionMode::PaymentMethodEntry);
    plain.appearance = Some(value!({ "fonts": [{ "cssSrc": "https://fonts.example/a.css" }] }));
    let sale = |consent| SessionPayment { consent, ..SessionPayment::sale("a", 1) };
    let table = [
        (nothing, vec!["config.modes is required"]),
        (pays(), vec!["payment is required"]),
        (CreateSession::new(SessionMode::Wallet), vec!["Customer identifier is missing"]),
        (pays().with_payment(sale(None)).with_bank_channels([Channel::Webform]), vec!["Consent is required!"]),
        (pays().with_payment(sale(Some(spoken("")))), vec!["consent.merchantConsentText is required"]),
        (
            pays().with_payment(SessionPayment::sale("", 0)),
            vec!["merchantTransactionId is required", "payment.amount must be an integer between 1 and 99999999"],
        ),
        (plain, vec!["appearance must carry web addresses percent-encoded: the gateway's firewall blocks others"]),
    ];
    for (session, expected) in table {
        assert_eq!(said(&session), expected);
    }
    assert!(said(&pays().with_payment(sale(None)).with_card_channels([Channel::ApplePay])).is_empty());
    assert!(said(&CreateSession::new(SessionMode::PaymentMethodDisplay)).is_empty());
}
