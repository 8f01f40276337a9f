//! Contract §6: stored methods, vendor tokens and customers; and what each scope opens (contract §2).

use sandbox::{Behaviour, DEFAULT_MERCHANT, MethodKind, MethodStatus, Options, WalletMethod, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, World, bank_order, hold, order, problem};

const CARD: Uuid = method_id(Behaviour::Pays, 1);
const BANK: Uuid = method_id(Behaviour::AchSettles { days: None }, 1);

fn customer() -> Value {
    json!({ "hsid": "6f1e9a52-3a35-4d2f-9b52-0d2f3a3c9c11" })
}

async fn search(world: &World) -> Answer {
    world.call("POST", "/v1/payment-methods/search", &json!({ "customer": customer() })).await
}

async fn setup(world: &World, token: &str, more: &Value) -> Answer {
    let mut method = json!({ "type": "CARD", "vendorPaymentMethodId": token, "vendor": "STRIPE" });
    method.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let body = json!({
        "requestId": format!("req {token}"), "customer": customer(), "agent": { "userId": "u" }, "paymentMethod": method
    });
    world.call("POST", "/v1/token/setup-payment-methods", &body).await
}

#[tokio::test]
async fn a_wallet_shows_what_was_put_into_it_in_the_documented_shape() {
    let world = World::new().await;
    let empty = search(&world).await;
    assert_eq!((empty.status, &empty.json()["data"]), (200, &json!([])), "an unknown customer is made");
    let card = WalletMethod { is_default: true, nickname: Some("Blue".into()), ..WalletMethod::card(CARD) };
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), card).unwrap();
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), WalletMethod::bank_account(BANK)).unwrap();
    let items = search(&world).await.json()["data"].clone();
    let details = json!({
        "type": "CARD", "last4": items[0]["paymentMethodDetails"]["last4"], "status": "ACTIVE", "cardBrand": "VISA",
        "expiryYear": "2030", "expiryMonth": "12", "nameOnCard": "Sandbox Customer", "zipCode": "55344",
        "manufacturerCard": false
    });
    let expected = json!({
        "id": CARD, "default": true, "paymentMethodType": "CARD", "nickname": "Blue",
        "sourceProvider": { "name": "SANDBOX" }, "paymentMethodDetails": details
    });
    assert_eq!(items[0], expected);
    assert_eq!(items[1]["paymentMethodDetails"]["accountType"], "CHECKING");
    assert_eq!(items[1]["paymentMethodType"], "BANK_ACCOUNT");
    let other = json!({ "customer": { "enterpriseId": "77" } });
    assert_eq!(world.call("POST", "/v1/payment-methods/search", &other).await.json()["data"], json!([]));
    world.switch("wallet-envelope", "bare").await;
    assert_eq!(search(&world).await.json().as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_wallet_is_filled_and_read_over_http_too() {
    let world = World::new().await;
    let id = Uuid::from_u128(5);
    let declines = json!({ "method": { "id": id, "nickname": "Red" }, "behaviour": "declines_plainly" });
    let bank = json!({ "method": { "id": BANK, "kind": "BANK_ACCOUNT" } });
    let body = json!({ "customer": customer(), "methods": [declines, bank] });
    let filled = world.admin("/sandbox/wallet", &body).await;
    assert_eq!(filled.status, 200);
    assert_eq!(world.read("/sandbox/wallet").await.json(), filled.json());
    let methods = filled.json()[0]["methods"].clone();
    assert_eq!((&methods[0]["nickname"], &methods[1]["id"]), (&json!("Red"), &json!(BANK)));
    assert_eq!(search(&world).await.json()["data"], methods);
    world.post(&order("k", 100, id)).await;
    assert_eq!(world.by_key("k").await.payment_status(), "FAILED");
    assert_eq!(world.admin(&format!("/sandbox/methods/{BANK}/correct"), &json!({})).await.status, 200);
    assert_eq!(search(&world).await.json()["data"][1]["paymentMethodDetails"]["routingNumber"], "021000021");
    let wrong = json!({ "customer": { "hsid": "x" }, "methods": [bank] });
    assert_eq!(world.admin("/sandbox/wallet", &wrong).await.problem().2, "customer.hsid must be a valid UUID");
}

#[tokio::test]
async fn a_stored_method_is_updated_and_answered_as_an_array() {
    let world = World::new().await;
    let first = WalletMethod { is_default: true, ..WalletMethod::card(CARD) };
    let second = method_id(Behaviour::Pays, 2);
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), first).unwrap();
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), WalletMethod::card(second)).unwrap();
    let body = json!({
        "isDefault": true, "nickname": "Red2",
        "paymentMethodDetails": { "type": "CARD", "expiryMonth": "03", "expiryYear": "2031", "zipCode": "10001" }
    });
    let answer = world.call("PATCH", &format!("/v1/payment-methods/{second}"), &body).await;
    let item = answer.json()[0].clone();
    assert_eq!((answer.status, &item["nickname"], &item["default"]), (200, &json!("Red2"), &json!(true)));
    assert_eq!(item["paymentMethodDetails"]["expiryMonth"], "03");
    let flags: Vec<_> =
        search(&world).await.json()["data"].as_array().unwrap().iter().map(|item| item["default"].clone()).collect();
    assert_eq!(flags, [json!(false), json!(true)], "one default at most");
}

#[tokio::test]
async fn updates_are_refused_with_the_documented_texts() {
    let world = World::new().await;
    let card = |n: u64, method: WalletMethod| {
        let id = method_id(Behaviour::Pays, n);
        world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), WalletMethod { id, ..method }).unwrap();
        id
    };
    let plain = card(1, WalletMethod::card(CARD));
    let maker = card(2, WalletMethod { manufacturer: true, ..WalletMethod::card(CARD) });
    let dead = card(3, WalletMethod { status: MethodStatus::Invalidated, ..WalletMethod::card(CARD) });
    let bank = card(4, WalletMethod::bank_account(CARD));
    let details = |details: Value| json!({ "paymentMethodDetails": details });
    let cases = [
        (Uuid::max(), json!({}), 400, "INVALID_REQUEST", "Invalid paymentMethodId"),
        (dead, json!({}), 403, "FORBIDDEN", "Cannot update invalid payment method"),
        (maker, json!({}), 400, "INVALID_REQUEST", "Agent is required to update manufacturer card"),
        (
            maker,
            json!({ "agent": { "userId": "u" }, "isDefault": true }),
            400,
            "INVALID_REQUEST",
            "Manufacturer card cannot be default",
        ),
        (
            plain,
            details(json!({ "type": "BANK_ACCOUNT" })),
            400,
            "INVALID_REQUEST",
            "Payment method type in request does not match the existing payment method",
        ),
        (
            plain,
            details(json!({ "zipCode": "1234" })),
            400,
            "PAYMENT_METHOD_ERROR",
            "ZipCode must be exactly 5 digits long.",
        ),
        (plain, details(json!({ "expiryMonth": "13" })), 400, "PAYMENT_METHOD_ERROR", "invalid expiryMonth"),
        (bank, details(json!({ "accountType": " " })), 400, "PAYMENT_METHOD_ERROR", "Account type must not be blank."),
        (bank, details(json!({ "accountType": "GOLD" })), 400, "PAYMENT_METHOD_ERROR", "accountType is not valid"),
        (
            plain,
            json!({ "nickname": "a-b" }),
            400,
            "PAYMENT_METHOD_ERROR",
            "Nickname must be alphanumeric and up to 30 characters.",
        ),
        (
            plain,
            json!({ "nickname": "4242 4242 4242 4242" }),
            400,
            "PAYMENT_METHOD_ERROR",
            "Please make sure that the nickname field doesn't contain a card number.",
        ),
        (plain, json!({ "agent": {} }), 400, "INVALID_REQUEST", "agent.userId is required"),
    ];
    for (id, body, status, title, detail) in cases {
        let answer = world.call("PATCH", &format!("/v1/payment-methods/{id}"), &body).await;
        assert_eq!(answer.problem(), problem(status, title, detail), "{body}");
    }
    let nobody = world.call("POST", "/v1/payment-methods/search", &json!({})).await;
    assert_eq!(nobody.problem(), problem(400, "INVALID_REQUEST", "customer is required"));
}

#[tokio::test]
async fn a_deleted_method_is_gone_and_pays_no_more() {
    let world = World::new().await;
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), WalletMethod::card(CARD)).unwrap();
    let path = format!("/v1/payment-methods/{CARD}");
    assert_eq!(world.call("DELETE", &path, &json!({ "firstName": "A" })).await.problem().2, "agent.userId is required");
    let answer = world.request("DELETE", &path, &Value::Null).body("").send(world.to).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(search(&world).await.json()["data"], json!([]));
    assert_eq!(world.call("DELETE", &path, &json!({})).await.problem().2, "Invalid paymentMethodId");
    world.post(&order("k", 100, CARD)).await;
    let error = world.by_key("k").await.json()["data"]["paymentAllocations"][0]["error"].clone();
    assert_eq!(
        error["message"],
        "paymentAllocations[0].paymentMethodId not found. Please provide a valid payment method"
    );
}

#[tokio::test]
async fn a_replaced_method_leaves_its_place_to_the_new_one() {
    let world = World::new().await;
    let first = WalletMethod { is_default: true, nickname: Some("Blue".into()), ..WalletMethod::card(CARD) };
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), first).unwrap();
    let answer = world.admin(&format!("/sandbox/methods/{CARD}/replace"), &json!({})).await;
    let new: Uuid = answer.json()["newId"].as_str().unwrap().parse().unwrap();
    let items = search(&world).await.json()["data"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1);
    assert_eq!(
        (&items[0]["id"], &items[0]["nickname"], &items[0]["default"]),
        (&json!(new), &json!("Blue"), &json!(true))
    );
    assert_eq!(items[0]["paymentMethodDetails"]["expiryYear"], "2033");
    world.post(&order("old", 100, CARD)).await;
    world.post(&order("new", 100, new)).await;
    assert_eq!(world.by_key("old").await.payment_status(), "FAILED");
    assert_eq!(world.by_key("new").await.payment_status(), "COMPLETED");
    assert_eq!(world.sandbox.replace_method(CARD, None), None, "it is gone");
}

#[tokio::test]
async fn an_invalidated_method_is_refused_and_can_only_be_removed() {
    let world = World::new().await;
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), WalletMethod::card(CARD)).unwrap();
    assert_eq!(world.admin(&format!("/sandbox/methods/{CARD}/invalidate"), &json!({})).await.status, 200);
    assert_eq!(search(&world).await.json()["data"][0]["paymentMethodDetails"]["status"], "INVALIDATED");
    world.post(&order("k", 100, CARD)).await;
    let error = world.by_key("k").await.json()["data"]["paymentAllocations"][0]["error"].clone();
    let message = error["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("Payment method ending with ") && message.contains(" is invalid."), "{message}");
    assert_eq!(world.admin(&format!("/sandbox/methods/{CARD}/delete"), &json!({})).await.status, 200);
    assert_eq!(world.admin(&format!("/sandbox/methods/{CARD}/delete"), &json!({})).await.status, 404);
}

#[tokio::test]
async fn a_token_is_stored_once_and_a_duplicate_updates_what_is_there() {
    let world = World::new().await;
    let answer = setup(&world, &format!("pm_{CARD}"), &json!({ "default": true, "nickname": "Blue" })).await;
    let data = answer.json()["data"].clone();
    assert_eq!((answer.status, &data["status"], &data["paymentMethodId"]), (202, &json!("COMPLETED"), &json!(CARD)));
    assert_eq!(data.get("warning"), None);
    let again = setup(&world, &format!("pm_{CARD}"), &json!({})).await;
    assert_eq!(again.problem(), problem(400, "PAYMENT_METHOD_ERROR", "VendorPaymentMethodId cannot be reused"));
    let fresh = setup(&world, &format!("pm_2_{CARD}"), &json!({ "nickname": "Red" })).await.json();
    assert_eq!(fresh["data"]["warning"]["code"], "DUPLICATE_ENTRY");
    let items = search(&world).await.json()["data"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1);
    assert_eq!((&items[0]["nickname"], &items[0]["default"]), (&json!("Red"), &json!(true)), "the flag stays");
    let plain = setup(&world, "tok_visa", &json!({})).await.json()["data"]["paymentMethodId"].clone();
    let id: Uuid = plain.as_str().unwrap().parse().unwrap();
    assert_eq!(world.sandbox.stored_method(id).unwrap().kind, MethodKind::Card);
}

#[tokio::test]
async fn tokens_are_refused_with_the_documented_texts() {
    let world = World::new().await;
    let bank = |details: Value, more: Value| {
        let mut body = json!({ "type": "BANK_ACCOUNT", "paymentMethodDetails": details });
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        body
    };
    let account = |number: &str| json!({ "accountNumber": number, "accountType": "CHECKING" });
    let maker = |categories: Value| json!({ "paymentMethodDetails": { "cardCategories": [categories] } });
    let category = |medications: Value| json!({ "categoryType": "MANUFACTURER_CARD", "medications": medications });
    let disabled = setup(&world, "m0", &maker(category(json!(["x"])))).await;
    assert_eq!(disabled.problem().2, "MANUFACTURER_CARD category type is not enabled");
    world.switch("manufacturer-cards", "enabled").await;
    let mut default = maker(category(json!(["x"])));
    default["default"] = json!(true);
    let cases = [
        (maker(category(Value::Null)), "Medication is required to add manufacturer card"),
        (maker(category(json!(["x", "y"]))), "Only one medication can be associated per manufacturer card"),
        (default, "Manufacturer card cannot be default"),
        (bank(json!({ "accountType": "CHECKING" }), json!({})), "accountNumber is required"),
        (bank(account("12a"), json!({})), "accountNumber is not valid"),
        (bank(account(&"1".repeat(18)), json!({})), "accountNumber can be upto 17 digits"),
        (bank(json!({ "accountNumber": "123", "accountType": "GOLD" }), json!({})), "accountType is not valid"),
        (bank(account("12345"), json!({ "nickname": "my12345" })), "nickname shouldn't contain account number"),
        (
            bank(json!({ "accountNumber": "12345", "accountType": "savings", "nameOnAccount": "A 12345" }), json!({})),
            "nameOnAccount shouldn't contain account number",
        ),
    ];
    for (n, (more, detail)) in cases.into_iter().enumerate() {
        let answer = setup(&world, &format!("tok{n}"), &more).await;
        assert_eq!(answer.problem(), problem(400, "PAYMENT_METHOD_ERROR", detail), "{more}");
    }
    let no_agent = json!({
        "requestId": "r", "customer": customer(),
        "paymentMethod": { "vendorPaymentMethodId": "t", "paymentMethodDetails": { "cardCategories": [category(json!(["x"]))] } }
    });
    let answer = world.call("POST", "/v1/token/setup-payment-methods", &no_agent).await;
    assert_eq!(answer.problem().2, "Agent is required to add manufacturer card");
    for _ in 0..4 {
        world.call("POST", "/v1/token/setup-payment-methods", &no_agent).await;
    }
    let answer = world.call("POST", "/v1/token/setup-payment-methods", &no_agent).await;
    assert_eq!(answer.problem(), problem(406, "NOT_ACCEPTABLE", "Maximum number of retries reached."));
    world.switch("bank-accounts", "not-configured").await;
    let answer = setup(&world, "last", &bank(account("12345"), json!({}))).await;
    let detail = format!("Payment method: BANK_ACCOUNT not configured in Merchant: {DEFAULT_MERCHANT}");
    assert_eq!(answer.problem(), problem(403, "PAYMENT_METHOD_ERROR", &detail));
}

#[tokio::test]
async fn a_token_pays_once_and_is_stored_if_asked() {
    let world = World::new().await;
    let pay = |key: &str, token: &str, save: bool| {
        json!({
            "merchantTransactionId": key, "amount": 500, "customer": customer(),
            "paymentMethod": {
                "type": "CARD", "vendorPaymentMethodId": token, "vendor": "STRIPE", "savePaymentMethod": save,
                "default": false, "nickname": "Phone", "nameOnCard": "A B", "sourceProvider": { "name": "IVR" },
                "paymentMethodDetails": { "type": "CARD", "nameOnCard": "A B" }
            }
        })
    };
    let answer = world.call("POST", "/v1/token/payments", &pay("once", "tok_1", false)).await;
    assert_eq!((answer.status, answer.payment_status().as_str()), (202, "INITIATED"));
    assert_eq!(world.by_key("once").await.payment_status(), "COMPLETED");
    assert_eq!(search(&world).await.json()["data"], json!([]));
    let declines = method_id(Behaviour::DeclinesPlainly, 9);
    world.call("POST", "/v1/token/payments", &pay("declined", &format!("tok_{declines}"), false)).await;
    assert_eq!(world.by_key("declined").await.payment_status(), "FAILED");
    let reused = world.call("POST", "/v1/token/payments", &pay("again", &format!("tok_{declines}"), false)).await;
    assert_eq!(reused.problem().2, "VendorPaymentMethodId cannot be reused", "used up, whatever the outcome");
    assert_eq!(world.call("POST", "/v1/token/payments", &pay("saved", "tok_2", true)).await.status, 202);
    let items = search(&world).await.json()["data"].clone();
    assert_eq!((items.as_array().unwrap().len(), &items[0]["nickname"]), (1, &json!("Phone")));
    let stored: Uuid = items[0]["id"].as_str().unwrap().parse().unwrap();
    world.post(&order("later", 100, stored)).await;
    assert_eq!(world.by_key("later").await.payment_status(), "COMPLETED");
}

#[tokio::test]
async fn a_customer_is_found_by_what_names_it_or_made() {
    let world = World::new().await;
    let find = |customer: Value| {
        let body = json!({ "customer": customer });
        let request = world.request("POST", "/v2/customers/find", &body);
        let to = world.to;
        async move { request.send(to).await.unwrap() }
    };
    let made = find(json!({ "enterpriseId": "77", "hsid": Uuid::max(), "metadata": { "patientId": "9" } })).await;
    let id = made.json()["data"]["id"].clone();
    assert_eq!((made.status, &made.json()["data"]["enterpriseId"]), (200, &json!("77")));
    for same in
        [json!({ "enterpriseId": "77" }), json!({ "hsid": Uuid::max() }), json!({ "metadata": { "patientId": "9" } })]
    {
        assert_eq!(find(same).await.json()["data"]["id"], id);
    }
    assert_ne!(find(json!({ "metadata": { "patientId": "10" } })).await.json()["data"]["id"], id);
    let nobody = find(json!({ "enterpriseId": "0001" })).await;
    assert_eq!(nobody.problem(), problem(404, "NOT_FOUND", "Customer not found for given customer.enterpriseId"));
    assert_eq!(find(json!({ "email": "x" })).await.status, 400);
}

#[tokio::test]
async fn a_payment_whose_customer_cannot_be_made_is_taken_and_fails() {
    let world = World::turned(Options { settle: std::time::Duration::from_secs(10), ..Options::default() }).await;
    let mut body = order("k", 100, CARD);
    body["customer"] = json!({ "enterpriseId": "0001" });
    assert_eq!(world.post(&body).await.status, 202);
    world.sandbox.clock().advance(std::time::Duration::from_secs(5));
    assert_eq!(world.by_key("k").await.payment_status(), "PENDING_FOR_CUSTOMER_CREATION");
    world.sandbox.clock().advance(std::time::Duration::from_secs(5));
    let found = world.by_key("k").await;
    assert_eq!((found.status, found.payment_status().as_str()), (422, "FAILED"));
}

#[tokio::test]
async fn each_scope_opens_its_own_calls_and_no_others() {
    let world = World::new().await;
    let id = world.pay(&hold("k", 100, CARD)).await;
    let nothing = Uuid::max();
    let calls = [
        ("POST", "/v2/payments".to_owned(), "merchant"),
        ("GET", format!("/v2/payments/{id}"), "merchant"),
        ("GET", "/v2/payments?merchantTransactionId=k".to_owned(), "merchant"),
        ("PATCH", format!("/v2/payments/{nothing}/capture"), "merchant"),
        ("PATCH", format!("/v2/payments/{nothing}/cancel"), "merchant"),
        ("POST", "/v1/payments".to_owned(), "merchant"),
        ("GET", format!("/v1/payments/{id}"), "merchant"),
        ("GET", "/v1/payments?merchantTransactionId=k".to_owned(), "merchant"),
        ("POST", format!("/v1/payments/{nothing}/capture"), "merchant"),
        ("POST", format!("/v1/payments/{nothing}/cancel"), "merchant"),
        ("POST", "/v2/refunds".to_owned(), "merchant"),
        ("GET", format!("/v2/refunds/{nothing}"), "merchant"),
        ("POST", "/v1/refunds".to_owned(), "merchant"),
        ("GET", format!("/v1/refunds/{nothing}"), "merchant"),
        ("POST", "/v2/sessions".to_owned(), "merchant"),
        ("GET", format!("/v2/sessions/{nothing}"), "merchant"),
        ("POST", "/v2/customers/find".to_owned(), "merchant"),
        ("POST", "/v1/payment-methods/search".to_owned(), "merchant-wallet-management"),
        ("PATCH", format!("/v1/payment-methods/{nothing}"), "merchant-wallet-management"),
        ("DELETE", format!("/v1/payment-methods/{nothing}"), "merchant-wallet-management"),
        ("POST", "/v1/token/payments".to_owned(), "merchant-pci"),
        ("POST", "/v1/token/setup-payment-methods".to_owned(), "merchant-pci"),
    ];
    for right in ["merchant", "merchant-wallet-management", "merchant-pci", "user", "all"] {
        let token = world.scoped(right).await;
        for (method, path, needs) in &calls {
            let request = world.request(method, path, &json!({})).header("authorization", &format!("Bearer {token}"));
            let answer = request.send(world.to).await.unwrap();
            let refused = answer.status == 403 && answer.problem() == problem(403, "FORBIDDEN", "insufficient scope");
            assert_eq!(refused, right != "all" && right != *needs, "{right}: {method} {path}");
        }
    }
}

#[tokio::test]
async fn a_notification_of_change_updates_an_account_or_gives_it_a_new_id() {
    let world = World::turned(Options::default()).await;
    let details = method_id(Behaviour::AchNoc { days: Some(1), new_id: false }, 1);
    let number = method_id(Behaviour::AchNoc { days: Some(1), new_id: true }, 1);
    for (key, id) in [("details", details), ("number", number)] {
        world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), WalletMethod::bank_account(id)).unwrap();
        assert_eq!(world.post(&bank_order(key, 100, id)).await.status, 202);
    }
    world.sandbox.clock().advance(std::time::Duration::from_secs(86_400));
    let items = search(&world).await.json()["data"].clone();
    assert_eq!(items[0]["id"], details.to_string());
    assert_eq!(items[0]["paymentMethodDetails"]["routingNumber"], "021000021");
    assert_ne!(items[1]["id"], number.to_string());
    assert_eq!(world.sandbox.stored_method(number), None);
    world.sandbox.clock().advance(std::time::Duration::from_secs(5 * 86_400));
    assert_eq!(search(&world).await.json()["data"], items, "a bank tells its news once");
    assert_eq!(world.sandbox.ledger().success_count(), 2, "the payments were good");
}

#[tokio::test]
async fn an_account_that_turns_out_closed_becomes_invalid_in_its_wallet() {
    let world = World::turned(Options::default()).await;
    let closed = method_id(Behaviour::AchReturned { days: Some(2), code: sandbox::ReturnCode::R02 }, 1);
    world.sandbox.fill_wallet(DEFAULT_MERCHANT, &customer(), WalletMethod::bank_account(closed)).unwrap();
    world.post(&bank_order("k", 100, closed)).await;
    assert_eq!(world.sandbox.stored_method(closed).unwrap().status, MethodStatus::Active);
    world.sandbox.clock().advance(std::time::Duration::from_secs(2 * 86_400));
    assert_eq!(world.sandbox.stored_method(closed).unwrap().status, MethodStatus::Invalidated);
}
