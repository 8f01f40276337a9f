//! Every documented request shape is taken, its answer is read, and the client writes the same shapes by itself.

use ccg::codes::CODES;
use ccg::{Agent, Cancel, CancellationReason, Capture, CaptureAllocation, Channel, CollectionDetails, Consent};
use ccg::{CardUpdate, MethodStatus, MethodType, MethodUpdate, NewAllocation, Operation, PaymentDetails, RefundPart};
use ccg::{ConsentKind, ConsentShape, CreatePayment, CreateRefund, CreateSession, CreateTokenPayment, DeleteMethod};
use ccg::{SessionMode, SessionPayment, SessionStatus, SetUpMethod, SourceProvider, UpdateMethod, VendorMethod};
use ccg::{VendorMethodDetails, WebConsent};
use sandbox::{SessionOutcome, WalletMethod};
use serde_json::{Value, json};

use super::bodies::{
    self, agent, by_token, consent, customer, debit, flat_consent, hold, notes, sale, set_up, split, with,
};
use super::refused_wallet::stored_card;
use super::relay::Change;
use super::stage::{self, Stage, bank, card};

/// Each field of contract §4.2, alone and all together.
#[tokio::test]
async fn every_documented_payment_is_taken() {
    let stage = Stage::new("payments").await;
    let details = json!({ "healthcare": {
        "iias": { "qualifiedAmount": 3000, "qualifiedAmountDetails": { "prescriptionAmount": 1000 } },
        "visionAmount": 500 } });
    let optional = [
        ("/currencyCode", Value::Null),
        ("/authorizeCard", Value::Null),
        ("/authorizeCard", json!(true)),
        ("/description", json!("d".repeat(100))),
        ("/statementDescriptorSuffix", json!("JUNE-26. x")),
        ("/agent", agent()),
        ("/paymentDetails", details.clone()),
        ("/metadata", Value::Null),
        ("/metadata", notes(20)),
        ("/customer", json!({ "enterpriseId": "778812" })),
        ("/customer", json!({ "metadata": { "patientId": "p-1" } })),
    ];
    for (n, (pointer, value)) in optional.into_iter().enumerate() {
        let body = with(sale(&format!("one-{n}"), 4_200, card(1)), pointer, value);
        let id = stage.pays(&body).await;
        let found = stage.client.get_payment(&id).await.unwrap();
        assert_eq!((found.value.amount, found.http_status), (Some(4_200), 200), "{body}");
    }
    let whole = json!({
        "hsid": "3f1d6c0a-58b4-4b0c-9a0e-6f2b1f3c7d10", "enterpriseId": "778812", "metadata": notes(20),
        "firstName": "A".repeat(100), "lastName": "B".repeat(100), "email": "ada@example.org", "ssnLastFour": "0042",
        "dateOfBirth": "1990-12-10", "phoneNumber": { "countryCode": "1", "number": "6125550100" }, "zip5": "55344",
    });
    let mut all = with(hold(&"k".repeat(50), 99_999_999, card(2)), "/partialAuthorization", json!(true));
    all = with(with(all, "/customer", whole), "/agent", agent());
    all = with(with(all, "/paymentDetails", details), "/description", json!("June"));
    let id = stage.pays(&all).await;
    let held = stage.client.find_payment(&"k".repeat(50)).await.unwrap().value;
    assert_eq!((held.id, held.authorized_amount), (id, Some(99_999_999)));
    let smallest = stage.pays(&sale("smallest", 1, card(3))).await;
    assert_eq!(stage.client.get_payment(&smallest).await.unwrap().value.captured_amount, Some(1));
}

/// Contract §3.6: three ways in the public shape, three in the guide's; §4.13: the card flags are ignored.
#[tokio::test]
async fn a_bank_debit_is_taken_with_a_consent_in_either_shape() {
    let stage = Stage::new("debits_taken").await;
    let tel = json!({ "type": "TEL", "tel": { "inboundPhoneNumber": { "countryCode": "1", "number": "6125550100" } } });
    let with_text = with(consent(), "/merchantConsentText", json!("I agree, at any time."));
    let mut consents = vec![consent(), with_text, with(consent(), "/collectionDetails", tel), flat_consent()];
    for kind in ["WRITTEN", "VERBAL"] {
        consents.push(json!({ "type": kind, "timestamp": "2026-06-01T09:00:00-05:00" }));
    }
    for (n, consent) in consents.into_iter().enumerate() {
        let body = with(debit(&format!("debit-{n}"), 800, bank(1)), "/consent", consent);
        let id = stage.pays(&body).await;
        assert_eq!(stage.client.get_payment(&id).await.unwrap().value.status.as_str(), "ACCEPTED", "{body}");
    }
    let paper = with(debit("paper", 800, bank(1)), "/consent/collectionDetails", json!({ "type": "PPD" }));
    stage.pays(&with(paper, "/agent", agent())).await;
    let flagged = with(debit("flagged", 800, bank(1)), "/authorizeCard", json!(true));
    let id = stage.pays(&with(flagged, "/partialAuthorization", json!(true))).await;
    let taken = stage.client.get_payment(&id).await.unwrap().value;
    assert_eq!((taken.status.as_str(), taken.authorize_card), ("ACCEPTED", Some(false)));
}

/// What the client writes by itself is, field by field, what the contract shows.
#[tokio::test]
async fn the_client_writes_the_shapes_of_the_contract() {
    let stage = Stage::new("written").await;
    let who = stage::customer();
    let desk = Agent {
        first_name: Some("Sam".into()),
        last_name: Some("Desk".into()),
        user_id: "sdesk1".into(),
        is_access_verified: Some(true),
    };
    let agreed = Consent {
        merchant_consent_id: Some("consent-9".into()),
        merchant_consent_text: None,
        collection_timestamp: "2026-06-01T09:00:00-05:00".parse().unwrap(),
        collection_details: CollectionDetails {
            kind: ConsentKind::Web,
            web: Some(WebConsent { ip_address: "192.0.2.7".into(), user_agent: "Browser".into() }),
            tel: None,
        },
    };
    let sent = |stage: &Stage| stage.relay.last().sent["body"].clone();

    let mut payment = CreatePayment::authorize("w-1", 4_200, card(1), who.clone());
    payment.metadata.insert("invoice".into(), "7731".into());
    payment.agent = Some(desk.clone());
    payment.payment_details = Some(PaymentDetails::qualified(3_000).with_prescription(1_000).with_vision(500));
    stage.client.create_payment(&payment.freeze().unwrap()).await.unwrap();
    let details = json!({ "healthcare": {
        "iias": { "qualifiedAmount": 3000, "qualifiedAmountDetails": { "prescriptionAmount": 1000 } },
        "visionAmount": 500 } });
    let shape = with(with(hold("w-1", 4_200, card(1)), "/agent", agent()), "/paymentDetails", details);
    assert_eq!(sent(&stage), shape);

    for (key, shape, written) in
        [("w-2", ConsentShape::Public, consent()), ("w-3", ConsentShape::Guide, flat_consent())]
    {
        let mut payment = CreatePayment::sale(key, 800, bank(1), who.clone());
        payment.consent = Some(agreed.clone().in_shape(shape));
        stage.client.create_payment(&payment.freeze().unwrap()).await.unwrap();
        assert_eq!(sent(&stage)["consent"], written);
    }

    let parts = [
        NewAllocation { amount: 3_000, payment_method_id: card(1) },
        NewAllocation { amount: 1_200, payment_method_id: card(2) },
    ];
    let payment = CreatePayment::split("w-4", parts, who.clone()).freeze().unwrap();
    let paid = stage.client.create_payment(&payment).await.unwrap().value.id;
    let shape = split("w-4", [(3_000, card(1).to_string()), (1_200, card(2).to_string())]);
    let shape = with(with(shape, "/metadata", Value::Null), "/partialAuthorization", Value::Null);
    assert_eq!(sent(&stage), shape);

    let held = stage.pays(&hold("w-5", 4_200, card(1))).await;
    let hold_of = stage.client.get_payment(&held).await.unwrap().value;
    let part = hold_of.payment_allocations[0].id.clone().unwrap();
    let capture = Capture::allocations(vec![CaptureAllocation { id: part.clone(), amount: 2_000 }]);
    stage.client.capture_payment(&held, &capture.ready_for(&hold_of).unwrap()).await.unwrap();
    assert_eq!(sent(&stage), json!({ "paymentAllocations": [{ "id": part, "amount": 2000 }] }));
    let held = stage.pays(&hold("w-6", 4_200, card(1))).await;
    let cancel = Cancel { message: Some("twice".into()), ..Cancel::because(CancellationReason::Duplicate) };
    stage.client.cancel_payment(&held, &cancel.ready().unwrap()).await.unwrap();
    let shape = json!({ "paymentCancellationReason": "DUPLICATE", "paymentCancellationMessage": "twice" });
    assert_eq!(sent(&stage), shape);

    let paid = stage.client.get_payment(&paid).await.unwrap().value;
    let part = paid.payment_allocations[1].id.clone().unwrap();
    let refund = CreateRefund {
        agent: Some(desk.clone()),
        ..CreateRefund::partial("w-7", &paid.id, vec![RefundPart { payment_allocation_id: part.clone(), amount: 200 }])
            .with_reason("returned")
    };
    stage.client.create_refund(&refund.freeze().unwrap()).await.unwrap();
    let shape = json!({ "merchantTransactionId": "w-7", "paymentId": paid.id, "reason": "returned", "agent": agent(),
        "refundAllocations": [{ "paymentAllocationId": part, "amount": 200 }] });
    assert_eq!(sent(&stage), shape);
    let credit = CreateRefund::credit("w-8", card(1), who.clone(), 1_000_000);
    stage.client.create_refund(&credit.freeze().unwrap()).await.unwrap();
    let shape = json!({ "merchantTransactionId": "w-8", "paymentMethodId": card(1).to_string(),
        "customer": customer(), "amount": 1_000_000 });
    assert_eq!(sent(&stage), shape);

    let mut method = VendorMethod::stripe(MethodType::Card, "pm_w9");
    method.nickname = Some("Household".into());
    method.name_on_card = Some("Ada Byron".into());
    method.default = Some(false);
    method.source_provider = Some(SourceProvider { name: "IVR".into() });
    method.payment_method_details =
        Some(VendorMethodDetails { kind: MethodType::Card, name_on_card: Some("Ada Byron".into()) });
    let mut payment = CreateTokenPayment::pay_and_store("w-9", 4_200, method, who.clone());
    payment.authorize_card = Some(false);
    payment.partial_authorization = Some(false);
    stage.client.create_token_payment(&payment.freeze().unwrap()).await.unwrap();
    assert_eq!(sent(&stage), by_token("w-9", "pm_w9", true));

    let mut method = VendorMethod::stripe(MethodType::Card, "pm_w10");
    method.default = Some(false);
    method.payment_method_details =
        Some(VendorMethodDetails { kind: MethodType::Card, name_on_card: Some("Ada Byron".into()) });
    stage.client.set_up_payment_method(&SetUpMethod::new("w-10", who.clone(), method).ready().unwrap()).await.unwrap();
    assert_eq!(sent(&stage), set_up("w-10", "pm_w10"));

    let session = CreateSession::new(SessionMode::PaymentWithWallet)
        .for_customer(who)
        .with_payment(SessionPayment { description: Some("June".into()), ..SessionPayment::sale(bodies::KEY, 4_200) })
        .with_card_channels([Channel::Webform, Channel::ApplePay]);
    stage.client.create_session(&session.ready().unwrap()).await.unwrap();
    let shape = with(bodies::session("PAYMENT_WITH_WALLET"), "/payment/currencyCode", json!("USD"));
    assert_eq!(sent(&stage), shape);

    let stored = stored_card(&stage, 5).await.to_string();
    let delete = DeleteMethod { agent: Some(desk) }.ready().unwrap();
    stage.client.delete_payment_method(&stored, &delete).await.unwrap();
    assert_eq!(sent(&stage), agent(), "the agent's fields stand at the top of the body");
}

/// Contract §4.1, §4.2: guests may pay once; whoever stores a method has a name.
#[tokio::test]
async fn a_vendors_token_pays_once_and_may_be_stored() {
    let stage = Stage::new("token_payments").await;
    let guest = with(by_token("guest", "pm_guest", false), "/customer", Value::Null);
    let exchange = stage.takes_payment_by_token(&guest).await;
    assert_eq!((exchange.0, exchange.1.as_str()), (202, "INITIATED"));
    let paid = stage.client.find_payment("guest").await.unwrap().value;
    assert_eq!(paid.captured_amount, Some(4_200));
    let method = VendorMethod::stripe(MethodType::Card, "pm_guest_2");
    let one_time = CreateTokenPayment::one_time("guest-2", 900, method).freeze().unwrap();
    stage.client.create_token_payment(&one_time).await.unwrap();

    stage.takes_payment_by_token(&by_token("stored", "pm_stored", true)).await;
    let account = with(by_token("account", "ba_1", false), "/paymentMethod/type", json!("BANK_ACCOUNT"));
    let account = with(with(account, "/consent", consent()), "/paymentMethod/paymentMethodDetails", Value::Null);
    stage.takes_payment_by_token(&account).await;
    assert_eq!(stage.client.find_payment("account").await.unwrap().value.status.as_str(), "ACCEPTED");
    let found = stage.client.search_payment_methods(&stage::customer().ready().unwrap()).await.unwrap().value;
    assert_eq!(found.len(), 1, "only what was to be stored is stored");
    assert_eq!((found[0].nickname.as_deref(), found[0].kind.clone()), (Some("Household"), Some(MethodType::Card)));
}

impl Stage {
    async fn takes_payment_by_token(&self, body: &Value) -> (u16, String) {
        let key = body["merchantTransactionId"].as_str().unwrap();
        let frozen = ccg::FrozenTokenPayment::from_stored(key, body.to_string()).unwrap();
        let answer = self.client.create_token_payment(&frozen).await.unwrap_or_else(|e| panic!("{body}: {e:?}"));
        (answer.http_status, answer.value.status.as_str().to_owned())
    }
}

/// Contract §6: search, update, delete, set up, find.
#[tokio::test]
async fn a_wallet_is_searched_changed_and_emptied() {
    let stage = Stage::new("wallet").await;
    let who = stage::customer().ready().unwrap();
    assert!(stage.client.search_payment_methods(&who).await.unwrap().value.is_empty(), "an unknown customer is made");
    let made = stage.takes(Operation::SetUpPaymentMethod, &set_up("s-1", "pm_s1")).await;
    let id = made.answer["data"]["paymentMethodId"].as_str().unwrap().to_owned();
    stage.takes(Operation::SetUpPaymentMethod, &bodies::set_up_bank("s-2", "ba_s2")).await;
    let account = stage.sandbox.fill_wallet(
        sandbox::DEFAULT_MERCHANT,
        &customer(),
        WalletMethod { nickname: Some("Joint".into()), is_default: true, ..WalletMethod::bank_account(bank(77)) },
    );
    account.unwrap();
    let found = stage.client.search_payment_methods(&who).await.unwrap().value;
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|method| method.status == Some(MethodStatus::Active) && method.last4.is_some()));
    assert_eq!(found.iter().filter(|method| method.is_default == Some(true)).count(), 1);
    let account = found[2].bank_account.as_ref().unwrap();
    assert!(account.account_type.is_some() && account.bank_name.is_some() && account.name_on_account.is_some());
    let shown = found[0].card.as_ref().unwrap();
    assert_eq!((shown.brand.as_deref(), shown.expiry_month, shown.expiry_year), (Some("VISA"), Some(12), Some(2030)));

    let newer = CardUpdate {
        expiry_month: Some(4),
        expiry_year: Some(2031),
        zip_code: Some("55401".into()),
        ..CardUpdate::default()
    };
    let update = UpdateMethod {
        is_default: Some(true),
        nickname: Some("Household".into()),
        payment_method_details: Some(MethodUpdate::Card(newer)),
        agent: None,
    };
    let listed = stage.client.update_payment_method(&id, &update.ready().unwrap()).await.unwrap().value;
    assert_eq!(listed[0].card.as_ref().unwrap().expiry_month, Some(4));
    assert!(stage.relay.last().answer.is_array(), "an update answers with a bare array");
    let found = stage.client.search_payment_methods(&who).await.unwrap().value;
    let defaults: Vec<_> = found.iter().filter(|method| method.is_default == Some(true)).collect();
    assert_eq!((defaults.len(), defaults[0].id.as_deref()), (1, Some(id.as_str())), "at most one is the default");
    assert_eq!(defaults[0].card.as_ref().unwrap().expiry_year, Some(2031));

    stage.client.delete_payment_method(&id, &DeleteMethod::default().ready().unwrap()).await.unwrap();
    assert_eq!(stage.relay.last().status, 204);
    assert_eq!(stage.client.search_payment_methods(&who).await.unwrap().value.len(), 2);
    let one = stage.client.find_customer(&who).await.unwrap().value;
    assert_eq!(stage.client.find_customer(&who).await.unwrap().value, one, "found the second time");
}

/// Contract §6: the stored one is updated, the wish for a default is not honoured, and the answer warns.
#[tokio::test]
async fn a_method_that_is_stored_already_is_updated_with_a_warning() {
    let stage = Stage::new("duplicate_method").await;
    let id = card(42);
    let first = VendorMethod::stripe(MethodType::Card, format!("pm_first_{id}"));
    let mut again = VendorMethod::stripe(MethodType::Card, format!("pm_again_{id}"));
    again.default = Some(true);
    again.nickname = Some("Newer".into());
    let set_up = |request: &str, method| SetUpMethod::new(request, stage::customer(), method).ready().unwrap();
    let made = stage.client.set_up_payment_method(&set_up("r-1", first)).await.unwrap().value;
    let warned = stage.client.set_up_payment_method(&set_up("r-2", again)).await.unwrap().value;
    assert!(!made.is_duplicate() && warned.is_duplicate());
    assert_eq!(made.payment_method_id, warned.payment_method_id);
    let stored = stage.sandbox.stored_method(id).unwrap();
    assert_eq!((stored.is_default, stored.nickname.as_deref()), (false, Some("Newer")));
}

/// Contract §7: every mode, every channel, every status.
#[tokio::test]
async fn a_session_is_made_in_every_mode_and_asked_about() {
    let stage =
        Stage::of("sessions", sandbox::Options { settle: std::time::Duration::from_secs(5), ..Default::default() })
            .await;
    for mode in [
        "PAYMENT",
        "PAYMENT_METHOD_ENTRY",
        "PAYMENT_WITH_WALLET",
        "WALLET",
        "PAYMENT_METHOD_SELECT",
        "PAYMENT_METHOD_DISPLAY",
        "PAYMENT_AND_SAVE",
    ] {
        let channels = json!({
            "card": ["TEXT", "EMAIL", "WEBFORM", "TELEPHONIC_ENTRY", "TERMINAL", "GOOGLE_PAY", "APPLE_PAY"],
            "bankAccount": ["TEXT", "EMAIL", "WEBFORM"],
        });
        let body = with(bodies::session(mode), "/config/paymentMethodChannel", channels);
        let body = with(with(body, "/payment/consent", consent()), "/agent", agent());
        let body = with(body, "/appearance", json!({ "theme": "plain" }));
        let made = stage.takes(Operation::CreateSession, &body).await;
        let id = made.answer["data"]["sessionId"].as_str().unwrap().to_owned();
        let waiting = stage.client.get_session(&id).await.unwrap();
        assert_eq!((waiting.http_status, waiting.value.status), (202, SessionStatus::Accepted), "{mode}");
        stage.sandbox.clock().advance(std::time::Duration::from_secs(5));
        let ready = stage.client.get_session(&id).await.unwrap();
        assert_eq!((ready.http_status, ready.value.status), (200, SessionStatus::Created), "{mode}");
        assert!(ready.value.hosted_url.is_some());
        assert!(stage.sandbox.play_session(id.parse().unwrap(), SessionOutcome::Completed));
        assert_eq!(stage.client.get_session(&id).await.unwrap().value.status, SessionStatus::Completed, "{mode}");
    }
    let guest = with(bodies::session("PAYMENT"), "/customer", Value::Null);
    stage.takes(Operation::CreateSession, &guest).await;
}

/// Contract §7: five failed attempts end a session that pays, and start another's count again.
#[tokio::test]
async fn a_session_ends_with_its_fifth_failed_attempt_if_it_pays() {
    let stage = Stage::new("session_attempts").await;
    for (mode, ends) in [("PAYMENT", true), ("PAYMENT_METHOD_ENTRY", true), ("PAYMENT_WITH_WALLET", false)] {
        let made = stage.takes(Operation::CreateSession, &bodies::session(mode)).await;
        let id = made.answer["data"]["sessionId"].as_str().unwrap().to_owned();
        for _ in 0..4 {
            assert!(stage.sandbox.play_session(id.parse().unwrap(), SessionOutcome::Failed));
        }
        assert!(stage.client.get_session(&id).await.is_ok(), "{mode}");
        assert!(stage.sandbox.play_session(id.parse().unwrap(), SessionOutcome::Failed));
        assert_eq!(stage.client.get_session(&id).await.is_err(), ends, "{mode}");
    }
}

/// Contract §1: the firewall in front of the gateway blocks a GET without `Accept`.
#[tokio::test]
async fn a_question_without_accept_is_blocked_and_the_client_always_has_one() {
    let stage = Stage::new("firewall").await;
    let id = stage.pays(&sale("asked", 100, card(1))).await;
    let token = stage.bearer("merchant").await;
    for (accept, status) in [("", "403"), ("Accept: application/json\r\n", "200")] {
        let request = format!(
            "GET /v2/payments/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{accept}Authorization: {token}\r\n\
             X-Merchant-Id: {}\r\n\r\n",
            sandbox::DEFAULT_MERCHANT
        );
        assert!(stage.raw(&request).await.starts_with(&format!("HTTP/1.1 {status}")), "{accept:?}");
    }
    for call in [Operation::GetPayment, Operation::GetRefund, Operation::GetSession] {
        let _whatever_it_says = stage.call(call, &id, Change::default()).await;
        assert_eq!(stage.relay.last().sent["accept"], "application/json", "{call:?}");
        assert_eq!(stage.relay.last().sent["environment"], "stage", "{call:?}");
    }
}

/// The sections that the client's table of errors cites are sections of the contract.
#[test]
fn every_error_cites_a_section_of_the_contract() {
    for code in CODES {
        assert!(super::page::SECTIONS.contains(&code.section), "{code:?}");
    }
    for call in Operation::ALL {
        assert!(super::page::SECTIONS.contains(&call.section()), "{call:?}");
    }
}
