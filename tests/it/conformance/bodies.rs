//! Requests in the shapes of the contract, written by hand: what a merchant's programmer would write who has the pages and
//! neither the client nor the sandbox.

use ccg::Operation;
use serde_json::{Value, json};

use super::stage::{NOBODYS, bank, card};

/// The `merchantTransactionId` of requests that are refused before it counts.
pub(crate) const KEY: &str = "inv-7731-a1";

/// Contract §3.4.
pub(crate) fn customer() -> Value {
    json!({ "hsid": "3f1d6c0a-58b4-4b0c-9a0e-6f2b1f3c7d10", "firstName": "Ada", "lastName": "Byron" })
}

/// Contract §3.5.
pub(crate) fn agent() -> Value {
    json!({ "firstName": "Sam", "lastName": "Desk", "userId": "sdesk1", "isAccessVerified": true })
}

/// Contract §3.6, the public pages' shape.
pub(crate) fn consent() -> Value {
    json!({
        "merchantConsentId": "consent-9", "collectionTimestamp": "2026-06-01T09:00:00-05:00",
        "collectionDetails": { "type": "WEB", "web": { "ipAddress": "192.0.2.7", "userAgent": "Browser" } },
    })
}

/// Contract §3.6, the engineering guide's shape.
pub(crate) fn flat_consent() -> Value {
    json!({ "type": "ONLINE", "timestamp": "2026-06-01T09:00:00-05:00", "ipAddress": "192.0.2.7" })
}

/// Contract §4.2: a card sale.
pub(crate) fn sale(key: &str, amount: i64, method: impl Into<String>) -> Value {
    json!({
        "merchantTransactionId": key, "amount": amount, "currencyCode": "USD", "authorizeCard": false,
        "partialAuthorization": false, "customer": customer(),
        "paymentAllocations": [{ "amount": amount, "paymentMethodId": method.into() }],
        "metadata": { "invoice": "7731" },
    })
}

/// Contract §4.9: a hold.
pub(crate) fn hold(key: &str, amount: i64, method: impl Into<String>) -> Value {
    let mut body = sale(key, amount, method);
    body["authorizeCard"] = json!(true);
    body
}

/// Contract §4.13: a bank debit.
pub(crate) fn debit(key: &str, amount: i64, method: impl Into<String>) -> Value {
    let mut body = sale(key, amount, method);
    body["consent"] = consent();
    body
}

/// Contract §4.12: two methods, one payment.
pub(crate) fn split(key: &str, parts: [(i64, String); 2]) -> Value {
    let [(one, first), (two, second)] = parts;
    let mut body = sale(key, one + two, &first);
    body["paymentAllocations"] =
        json!([{ "amount": one, "paymentMethodId": first }, { "amount": two, "paymentMethodId": second }]);
    body
}

/// Contract §4.2, version 1: by a vendor's token.
pub(crate) fn by_token(key: &str, token: &str, saves: bool) -> Value {
    json!({
        "merchantTransactionId": key, "amount": 4200, "authorizeCard": false, "partialAuthorization": false,
        "customer": customer(),
        "paymentMethod": {
            "type": "CARD", "vendorPaymentMethodId": token, "vendor": "STRIPE", "savePaymentMethod": saves,
            "default": false, "nickname": "Household", "nameOnCard": "Ada Byron", "sourceProvider": { "name": "IVR" },
            "paymentMethodDetails": { "type": "CARD", "nameOnCard": "Ada Byron" },
        },
    })
}

/// Contract §6: a method to be stored by a vendor's token.
pub(crate) fn set_up(request: &str, token: &str) -> Value {
    json!({
        "requestId": request, "customer": customer(),
        "paymentMethod": {
            "type": "CARD", "vendorPaymentMethodId": token, "vendor": "STRIPE", "default": false,
            "paymentMethodDetails": { "type": "CARD", "nameOnCard": "Ada Byron" },
        },
    })
}

/// Contract §6: a bank account to be stored.
pub(crate) fn set_up_bank(request: &str, token: &str) -> Value {
    let mut body = set_up(request, token);
    body["paymentMethod"]["type"] = json!("BANK_ACCOUNT");
    body["paymentMethod"]["paymentMethodDetails"] = json!({
        "type": "BANK_ACCOUNT", "accountNumber": "000123456789", "accountType": "CHECKING",
        "routingNumber": "110000000", "nameOnAccount": "Ada Byron",
    });
    body
}

/// Contract §7.
pub(crate) fn session(mode: &str) -> Value {
    json!({
        "payment": { "merchantTransactionId": KEY, "amount": 4200, "description": "June" },
        "customer": customer(),
        "config": { "modes": [mode], "paymentMethodChannel": { "card": ["WEBFORM", "APPLE_PAY"] } },
    })
}

/// A documented body for each call that has one; what changes state has ids of its own in its tests.
pub(crate) fn of(operation: Operation) -> Value {
    match operation {
        Operation::CreatePayment => sale(KEY, 4_200, card(1)),
        Operation::CreateTokenPayment => by_token(KEY, "pm_unused", true),
        Operation::CapturePayment | Operation::DeletePaymentMethod => json!({}),
        Operation::CancelPayment => json!({ "paymentCancellationReason": "REQUESTED_BY_CUSTOMER" }),
        Operation::CreateRefund => json!({ "merchantTransactionId": KEY, "paymentId": NOBODYS.to_string() }),
        Operation::CreateSession => session("PAYMENT"),
        Operation::SearchPaymentMethods | Operation::FindCustomer => json!({ "customer": customer() }),
        Operation::UpdatePaymentMethod => json!({ "nickname": "Household" }),
        Operation::SetUpPaymentMethod => set_up("setup-1", "pm_unused"),
        Operation::GetPayment | Operation::FindPayment | Operation::GetRefund | Operation::GetSession => Value::Null,
    }
}

/// The body of a bank debit with another consent.
pub(crate) fn with_consent(consent: Value) -> Value {
    let mut body = debit(KEY, 100, bank(1));
    body["consent"] = consent;
    body
}

/// `body` with another value at `pointer`; `null` takes the field away.
pub(crate) fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = if parent.is_empty() { &mut body } else { body.pointer_mut(parent).unwrap() };
    match parent {
        Value::Array(entries) => entries[field.parse::<usize>().unwrap()] = value,
        parent if value.is_null() => drop(parent.as_object_mut().unwrap().remove(field)),
        parent => parent[field] = value,
    }
    body
}

/// So many notes.
pub(crate) fn notes(count: usize) -> Value {
    (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
}
