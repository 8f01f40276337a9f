//! Every call, made in one way: what goes on the wire, under which scope, and how often.

use ccg::{
    CallError, Cancel, CancellationReason, Capture, Client, CreateRefund, CreateSession, CreateTokenPayment, Customer,
    DeleteMethod, MethodType, Operation, SessionMode, SetUpMethod, UpdateMethod, VendorMethod,
};

use crate::server::{Reply, json};
use crate::world::{MERCHANT, PAYMENT_ID, TRANSACTION, World, frozen};

pub(crate) const REFUND_ID: &str = "cccccccc-0000-4000-8000-000000000001";
pub(crate) const SESSION_ID: &str = "dddddddd-0000-4000-8000-000000000001";
pub(crate) const METHOD_ID: &str = "bbbbbbbb-0000-4000-8000-000000000002";
pub(crate) const REFUND_TRANSACTION: &str = "ref-7731-1";
pub(crate) const IVR_TRANSACTION: &str = "ivr-7731-a1";

pub(crate) fn somebody() -> Customer {
    Customer { enterprise_id: Some("778812".into()), first_name: Some("Peter".into()), ..Customer::default() }
}

pub(crate) fn vendor_method() -> VendorMethod {
    VendorMethod::stripe(MethodType::Card, "pm_secret_token")
}

/// Makes the call with a request that breaks no limit.
pub(crate) async fn make(client: &Client, operation: Operation) -> Result<(), CallError> {
    match operation {
        Operation::CreatePayment => client.create_payment(&frozen()).await.map(drop),
        Operation::CreateTokenPayment => {
            let payment = CreateTokenPayment::one_time(IVR_TRANSACTION, 4_200, vendor_method());
            client.create_token_payment(&payment.freeze().unwrap()).await.map(drop)
        }
        Operation::GetPayment => client.get_payment(PAYMENT_ID).await.map(drop),
        Operation::FindPayment => client.find_payment(TRANSACTION).await.map(drop),
        Operation::CapturePayment => {
            client.capture_payment(PAYMENT_ID, &Capture::amount(1_500).ready().unwrap()).await.map(drop)
        }
        Operation::CancelPayment => {
            let cancel = Cancel::because(CancellationReason::Abandoned);
            client.cancel_payment(PAYMENT_ID, &cancel.ready().unwrap()).await.map(drop)
        }
        Operation::CreateRefund => {
            let refund = CreateRefund::full(REFUND_TRANSACTION, PAYMENT_ID).freeze().unwrap();
            client.create_refund(&refund).await.map(drop).map_err(ccg::CreateRefundError::into_call)
        }
        Operation::GetRefund => client.get_refund(REFUND_ID).await.map(drop),
        Operation::CreateSession => {
            let session = CreateSession::new(SessionMode::PaymentMethodEntry);
            client.create_session(&session.ready().unwrap()).await.map(drop)
        }
        Operation::GetSession => client.get_session(SESSION_ID).await.map(drop),
        Operation::SearchPaymentMethods => client.search_payment_methods(&somebody().ready().unwrap()).await.map(drop),
        Operation::UpdatePaymentMethod => {
            let update = UpdateMethod { is_default: Some(true), ..UpdateMethod::default() };
            client.update_payment_method(METHOD_ID, &update.ready().unwrap()).await.map(drop)
        }
        Operation::DeletePaymentMethod => {
            client.delete_payment_method(METHOD_ID, &DeleteMethod::default().ready().unwrap()).await.map(drop)
        }
        Operation::SetUpPaymentMethod => {
            let set_up = SetUpMethod::new("req-1", somebody(), vendor_method());
            client.set_up_payment_method(&set_up.ready().unwrap()).await.map(drop)
        }
        Operation::FindCustomer => client.find_customer(&somebody().ready().unwrap()).await.map(drop),
    }
}

/// The answer the contract promises for the call.
pub(crate) fn promised(operation: Operation) -> (u16, &'static str) {
    match operation {
        Operation::CreatePayment => (202, include_str!("../shapes/create_accepted.json")),
        Operation::CreateTokenPayment => (202, include_str!("../shapes/token_payment_accepted.json")),
        Operation::GetPayment | Operation::FindPayment => (200, include_str!("../shapes/get_completed.json")),
        Operation::CapturePayment => (202, include_str!("../shapes/capture_initialized.json")),
        Operation::CancelPayment => (202, include_str!("../shapes/cancel_initialized.json")),
        Operation::CreateRefund => (202, include_str!("../shapes/refund_initiated.json")),
        Operation::GetRefund => (200, include_str!("../shapes/refund_completed.json")),
        Operation::CreateSession => (202, include_str!("../shapes/session_accepted.json")),
        Operation::GetSession => (200, include_str!("../shapes/session_created.json")),
        Operation::SearchPaymentMethods => (200, include_str!("../shapes/wallet_search_data.json")),
        Operation::UpdatePaymentMethod => (200, include_str!("../shapes/wallet_update.json")),
        Operation::DeletePaymentMethod => (204, ""),
        Operation::SetUpPaymentMethod => (202, include_str!("../shapes/set_up_accepted.json")),
        Operation::FindCustomer => (200, include_str!("../shapes/customer_found.json")),
    }
}

/// The request line and the scope by hand, from the contract's tables (§2, §4.1, §5, §6, §7).
fn documented(operation: Operation) -> (String, &'static str) {
    let (line, scope) = match operation {
        Operation::CreatePayment => ("POST /checkout/v2/payments".to_owned(), "merchant"),
        Operation::CreateTokenPayment => ("POST /checkout/v1/token/payments".to_owned(), "merchant-pci"),
        Operation::GetPayment => (format!("GET /checkout/v2/payments/{PAYMENT_ID}"), "merchant"),
        Operation::FindPayment => {
            (format!("GET /checkout/v2/payments?merchantTransactionId={TRANSACTION}"), "merchant")
        }
        Operation::CapturePayment => (format!("PATCH /checkout/v2/payments/{PAYMENT_ID}/capture"), "merchant"),
        Operation::CancelPayment => (format!("PATCH /checkout/v2/payments/{PAYMENT_ID}/cancel"), "merchant"),
        Operation::CreateRefund => ("POST /checkout/v2/refunds".to_owned(), "merchant"),
        Operation::GetRefund => (format!("GET /checkout/v2/refunds/{REFUND_ID}"), "merchant"),
        Operation::CreateSession => ("POST /checkout/v2/sessions".to_owned(), "merchant"),
        Operation::GetSession => (format!("GET /checkout/v2/sessions/{SESSION_ID}"), "merchant"),
        Operation::SearchPaymentMethods => {
            ("POST /checkout/v1/payment-methods/search".to_owned(), "merchant-wallet-management")
        }
        Operation::UpdatePaymentMethod => {
            (format!("PATCH /checkout/v1/payment-methods/{METHOD_ID}"), "merchant-wallet-management")
        }
        Operation::DeletePaymentMethod => {
            (format!("DELETE /checkout/v1/payment-methods/{METHOD_ID}"), "merchant-wallet-management")
        }
        Operation::SetUpPaymentMethod => ("POST /checkout/v1/token/setup-payment-methods".to_owned(), "merchant-pci"),
        Operation::FindCustomer => ("POST /checkout/v2/customers/find".to_owned(), "merchant"),
    };
    (format!("{line} HTTP/1.1"), scope)
}

#[tokio::test]
async fn each_call_goes_to_its_address_under_its_scope_with_its_headers() {
    for operation in Operation::ALL {
        let (status, body) = promised(operation);
        let world = World::new(move |_, _| Reply::Say(json(status, body))).await;
        make(&world.client, operation).await.unwrap();
        let (line, scope) = documented(operation);
        let seen = world.gateway.seen().remove(0);
        assert_eq!(seen.line, line, "{operation:?}");
        assert!(line.starts_with(operation.verb().as_str()), "{operation:?}");
        assert_eq!(seen.header("x-merchant-id"), Some(MERCHANT.to_string().as_str()));
        assert_eq!((seen.header("x-upstream-env"), seen.header("x-source")), (Some("stage"), Some("tests")));
        assert_eq!(seen.header("accept"), Some("application/json"), "{operation:?}");
        let has_body = !line.starts_with("GET ");
        assert_eq!(seen.header("content-type").is_some(), has_body, "{operation:?}");
        assert_eq!(seen.body.is_empty(), !has_body, "{operation:?}");
        assert_eq!(seen.header("transfer-encoding"), None);

        let asked = String::from_utf8(world.tokens.seen().remove(0).body).unwrap();
        let scope = format!("scope=financial%2Fcommerce%2Fnonprodcheckout%3A{scope}&");
        assert!(format!("{asked}&").contains(&scope), "{operation:?}: {asked}");
    }
}

#[tokio::test]
async fn in_production_no_environment_is_named_and_the_scopes_are_productions() {
    let (status, body) = promised(Operation::SearchPaymentMethods);
    let gateway = crate::server::Server::start(move |_, _| Reply::Say(json(status, body))).await;
    let tokens = crate::server::Server::start(crate::world::issue).await;
    let world = World::of(gateway, tokens, |config| {
        config.environment = None;
        config.scope_prefix = "financial/commerce/checkout".into();
    })
    .await;
    make(&world.client, Operation::SearchPaymentMethods).await.unwrap();
    assert_eq!(world.gateway.seen()[0].header("x-upstream-env"), None);
    let asked = String::from_utf8(world.tokens.seen().remove(0).body).unwrap();
    assert!(asked.contains("financial%2Fcommerce%2Fcheckout%3Amerchant-wallet-management"), "{asked}");
}

#[tokio::test]
async fn each_scope_has_a_token_of_its_own_that_is_fetched_once() {
    let world = World::new(|seen, _| {
        let path = seen.line.split(' ').nth(1).unwrap().to_owned();
        let operation = match path.as_str() {
            "/checkout/v1/token/payments" => Operation::CreateTokenPayment,
            "/checkout/v1/payment-methods/search" => Operation::SearchPaymentMethods,
            _ => Operation::CreatePayment,
        };
        let (status, body) = promised(operation);
        Reply::Say(json(status, body))
    })
    .await;
    for _ in 0..2 {
        for operation in [Operation::CreatePayment, Operation::CreateTokenPayment, Operation::SearchPaymentMethods] {
            make(&world.client, operation).await.unwrap();
        }
    }
    let seen = world.gateway.seen();
    let token = |n: usize| seen[n].header("authorization").unwrap().to_owned();
    assert_eq!(world.tokens.count(), 3);
    assert!(token(0) != token(1) && token(1) != token(2) && token(0) != token(2));
    assert_eq!([token(0), token(1), token(2)], [token(3), token(4), token(5)]);
}

#[tokio::test]
async fn only_a_call_that_only_asks_is_made_again_after_a_401() {
    for operation in Operation::ALL {
        let world = World::new(|_, _| Reply::Say(json(401, include_str!("../shapes/unauthorized.json")))).await;
        let error = make(&world.client, operation).await.unwrap_err();
        assert!(matches!(error, CallError::Unauthorized { .. }), "{operation:?}");
        let asks = matches!(
            operation,
            Operation::GetPayment
                | Operation::FindPayment
                | Operation::GetRefund
                | Operation::GetSession
                | Operation::SearchPaymentMethods
                | Operation::FindCustomer
        );
        assert_eq!(world.gateway.count(), if asks { 2 } else { 1 }, "{operation:?}");
    }
}

#[tokio::test]
async fn no_call_is_repeated_redirected_or_left_waiting_whatever_the_gateway_does() {
    for operation in Operation::ALL {
        let close = World::new(|_, _| Reply::Close).await;
        let error = make(&close.client, operation).await.unwrap_err();
        assert!(matches!(error, CallError::Ambiguous { .. }), "{operation:?}: {error:?}");
        assert_eq!(close.gateway.count(), 1, "{operation:?}");

        let elsewhere = crate::server::with_headers(307, &[("location", "/elsewhere")], "");
        let redirect = World::new(move |_, _| Reply::Say(elsewhere.clone())).await;
        let error = make(&redirect.client, operation).await.unwrap_err();
        assert_eq!(error.kind(), "ambiguous", "{operation:?}");
        assert_eq!(redirect.gateway.count(), 1, "{operation:?}");

        let long = vec![b' '; 300 * 1024];
        let long = World::new(move |_, _| Reply::Say(json(200, &String::from_utf8_lossy(&long)))).await;
        let error = make(&long.client, operation).await.unwrap_err();
        assert!(matches!(error, CallError::Ambiguous { why: ccg::Ambiguity::TooLarge { .. }, .. }), "{operation:?}");
    }
    let hang = World::of(
        crate::server::Server::start(|_, _| Reply::Hang).await,
        crate::server::Server::start(crate::world::issue).await,
        |config| {
            config.time_limit = std::time::Duration::from_millis(300);
            config.connect_timeout = std::time::Duration::from_millis(100);
        },
    )
    .await;
    for operation in Operation::ALL {
        let error = make(&hang.client, operation).await.unwrap_err();
        assert!(
            matches!(error, CallError::Ambiguous { why: ccg::Ambiguity::TimedOut, .. }),
            "{operation:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn ids_that_would_ask_for_something_else_are_not_sent_by_any_call() {
    let world = World::new(|_, _| Reply::Say(json(200, "{}"))).await;
    let client = &world.client;
    for id in ["", "..", "a/b", "a?b", "a b"] {
        let capture = client.capture_payment(id, &Capture::full().ready().unwrap()).await.unwrap_err();
        let cancel = Cancel::because(CancellationReason::Duplicate).ready().unwrap();
        let cancel = client.cancel_payment(id, &cancel).await.unwrap_err();
        let refund = client.get_refund(id).await.unwrap_err();
        let session = client.get_session(id).await.unwrap_err();
        let delete = client.delete_payment_method(id, &DeleteMethod::default().ready().unwrap()).await.unwrap_err();
        for error in [capture, cancel, refund, session, delete] {
            assert!(error.nothing_sent(), "{id:?}");
        }
    }
    assert_eq!(world.gateway.count(), 0);
}
