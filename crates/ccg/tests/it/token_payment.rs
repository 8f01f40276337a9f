//! Paying with a vendor's token.

use ccg::{CallError, CreateTokenPayment, FrozenTokenPayment, MethodType, SourceProvider, Status, VendorMethodDetails};
use serde_json::{Value, json as value};

use crate::calls::{IVR_TRANSACTION, somebody, vendor_method};
use crate::server::{Reply, json};
use crate::world::{TOKEN, World};

const ACCEPTED: &str = include_str!("../shapes/token_payment_accepted.json");

fn said(payment: &CreateTokenPayment) -> Vec<String> {
    payment.freeze().err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_one_time_payment_leaves_nothing_stored() {
    let payment = CreateTokenPayment::one_time(IVR_TRANSACTION, 4_200, vendor_method()).freeze().unwrap();
    let world = World::new(|_, _| Reply::Say(json(202, ACCEPTED))).await;
    let made = world.client.create_token_payment(&payment).await.unwrap().value;
    assert_eq!((made.status, made.amount), (Status::Pending, Some(4_200)));
    assert_eq!(made.merchant.unwrap().id.as_deref(), Some("8d0b0f2e-0000-4000-8000-000000000001"));
    let sent: Value = serde_json::from_slice(&world.gateway.seen()[0].body).unwrap();
    assert_eq!(
        sent,
        value!({
            "merchantTransactionId": IVR_TRANSACTION, "amount": 4200,
            "paymentMethod": { "type": "CARD", "vendorPaymentMethodId": "pm_secret_token", "vendor": "STRIPE",
                "savePaymentMethod": false },
        })
    );
    let kept = FrozenTokenPayment::from_stored(IVR_TRANSACTION, payment.body()).unwrap();
    assert_eq!(kept, payment);
    assert!(format!("{kept:?}").starts_with("FrozenTokenPayment"));
}

#[test]
fn a_payment_that_stores_its_method_is_written_with_all_it_can_hold() {
    let mut method = vendor_method();
    method.default = Some(true);
    method.nickname = Some("Household".into());
    method.name_on_card = Some("Peter Pan".into());
    method.source_provider = Some(SourceProvider { name: "IVR".into() });
    method.payment_method_details =
        Some(VendorMethodDetails { kind: MethodType::Card, name_on_card: Some("Peter Pan".into()) });
    let mut payment = CreateTokenPayment::pay_and_store(IVR_TRANSACTION, 4_200, method, somebody());
    payment.authorize_card = Some(true);
    payment.partial_authorization = Some(true);
    payment.description = Some("June".into());
    payment.statement_descriptor_suffix = Some("Shop 1".into());
    let body: Value = serde_json::from_str(payment.freeze().unwrap().body()).unwrap();
    assert_eq!(
        body,
        value!({
            "merchantTransactionId": IVR_TRANSACTION, "amount": 4200, "authorizeCard": true,
            "partialAuthorization": true, "paymentDescription": "June", "statementDescriptorSuffix": "Shop 1",
            "customer": { "enterpriseId": "778812", "firstName": "Peter" },
            "paymentMethod": { "type": "CARD", "vendorPaymentMethodId": "pm_secret_token", "vendor": "STRIPE",
                "savePaymentMethod": true, "default": true, "nickname": "Household", "nameOnCard": "Peter Pan",
                "sourceProvider": { "name": "IVR" },
                "paymentMethodDetails": { "type": "CARD", "nameOnCard": "Peter Pan" } },
        })
    );
    let shown = format!("{payment:?}");
    assert!(!shown.contains("pm_secret_token") && !shown.contains("Peter"), "{shown}");
}

#[test]
fn the_limits_are_named_in_the_gateways_words() {
    let good = || CreateTokenPayment::one_time("a", 1, vendor_method());
    let mut nobody = CreateTokenPayment::pay_and_store("a", 1, vendor_method(), somebody());
    nobody.customer = None;
    assert_eq!(said(&nobody), ["customer object is required"]);
    let mut account = good();
    account.payment_method.kind = MethodType::BankAccount;
    assert_eq!(said(&account), ["Consent is required!"]);
    let mut part = good();
    part.partial_authorization = Some(true);
    assert_eq!(said(&part), ["partialAuthorization requires authorizeCard to be true"]);
    let mut bare = CreateTokenPayment::one_time("", 0, vendor_method());
    bare.payment_method.vendor_payment_method_id.clear();
    bare.payment_method.vendor.clear();
    assert_eq!(
        said(&bare),
        [
            "merchantTransactionId is required",
            "amount must be an integer between 1 and 99999999",
            "paymentMethod.vendorPaymentMethodId is required",
            "paymentMethod.vendor is required",
        ]
    );
    assert!(said(&good()).is_empty(), "a guest may pay once");
}

#[tokio::test]
async fn a_spent_token_is_a_rejection_and_a_refused_one_is_sent_once() {
    let spent = r#"{"title":"PAYMENT_METHOD_ERROR","status":400,"detail":"VendorPaymentMethodId cannot be reused"}"#;
    let payment = CreateTokenPayment::one_time(IVR_TRANSACTION, 4_200, vendor_method()).freeze().unwrap();
    let world = World::new(move |_, _| Reply::Say(json(400, spent))).await;
    let error = world.client.create_token_payment(&payment).await.unwrap_err();
    assert!(matches!(error, CallError::Rejected { .. }) && !error.is_ambiguous_for_create());
    let world = World::new(|seen, _| {
        let old = seen.header("authorization") == Some(format!("Bearer {TOKEN}").as_str());
        Reply::Say(if old { json(401, "{}") } else { json(202, ACCEPTED) })
    })
    .await;
    assert!(matches!(world.client.create_token_payment(&payment).await, Err(CallError::Unauthorized { .. })));
    assert_eq!(world.gateway.count(), 1);
    world.client.create_token_payment(&payment).await.unwrap();
}
