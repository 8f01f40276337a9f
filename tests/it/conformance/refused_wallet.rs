//! Refusals that are about stored methods and sessions (contract §6, §7).

use ccg::Operation;
use sandbox::{Behaviour, Refusal, SessionOutcome, Switches, WalletMethod, method_id};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bodies::{self, set_up, set_up_bank, with};
use super::refusals::{Case, invalid, put};
use super::relay::Change;
use super::stage::{OTHER, Stage, bank, card};

type Said = (u16, &'static str, &'static str);

const fn method_error(detail: &'static str) -> Said {
    (400, "PAYMENT_METHOD_ERROR", detail)
}

const SPENT: Said = method_error("VendorPaymentMethodId cannot be reused");
const NOT_ENABLED: Said = method_error("MANUFACTURER_CARD category type is not enabled");
const RETRIES: Said = (406, "NOT_ACCEPTABLE", "Maximum number of retries reached.");
const NOT_CONFIGURED: Said =
    (403, "PAYMENT_METHOD_ERROR", "Payment method: {type} not configured in Merchant: {merchantId}");
const NO_CUSTOMER: Said = invalid("customer is required");
const NO_METHOD: Said = invalid("Invalid paymentMethodId");
const INVALIDATED: Said = (403, "FORBIDDEN", "Cannot update invalid payment method");
const OTHER_TYPE: Said = invalid("Payment method type in request does not match the existing payment method");
const UPDATE_AGENT: Said = invalid("Agent is required to update manufacturer card");
const UPDATE_DEFAULT: Said = invalid("Manufacturer card cannot be default");
const NICKNAME: Said = method_error("Nickname must be alphanumeric and up to 30 characters.");
const CARD_NUMBER: Said = method_error("Please make sure that the nickname field doesn't contain a card number.");
const ZIP: Said = method_error("ZipCode must be exactly 5 digits long.");
const MONTH: Said = method_error("invalid expiryMonth");
const BLANK: Said = method_error("Account type must not be blank.");
const NO_SESSION: Said = (404, "NOT_FOUND", "Session Id not found");
const CANCELED: Said = (410, "SESSION_CANCELED", "Your session has been canceled");
const TIMED_OUT: Said = (401, "SESSION_TIMEOUT", "Your session is no longer valid");
const FOREIGN_SESSION: Said = (403, "FORBIDDEN", "Not allowed to access this session");

/// What is wrong with a manufacturer's card that is to be stored, if the merchant may store such cards.
fn manufacturer_cards() -> Vec<(Value, Said)> {
    let category = |medications: Value| json!([{ "categoryType": "MANUFACTURER_CARD", "medications": medications }]);
    let card = |categories: Value, agent: Value, default: bool| {
        let body = with(set_up("m", "pm_m"), "/paymentMethod/paymentMethodDetails/cardCategories", categories);
        with(with(body, "/agent", agent), "/paymentMethod/default", json!(default))
    };
    vec![
        (card(category(json!(["a"])), Value::Null, false), method_error("Agent is required to add manufacturer card")),
        (
            card(category(json!([])), bodies::agent(), false),
            method_error("Medication is required to add manufacturer card"),
        ),
        (
            card(category(json!(["a", "b"])), bodies::agent(), false),
            method_error("Only one medication can be associated per manufacturer card"),
        ),
        (card(category(json!(["a"])), bodies::agent(), true), method_error("Manufacturer card cannot be default")),
    ]
}

/// What is wrong with a bank account that is to be stored.
fn bank_accounts() -> Vec<(Value, Said)> {
    let account = |field: &str, value: Value| {
        with(set_up_bank("b", "ba_b"), &format!("/paymentMethod/paymentMethodDetails/{field}"), value)
    };
    vec![
        (account("accountNumber", Value::Null), method_error("accountNumber is required")),
        (account("accountNumber", json!("12-34")), method_error("accountNumber is not valid")),
        (account("accountNumber", json!("1".repeat(18))), method_error("accountNumber can be upto 17 digits")),
        (account("accountType", json!("PIGGY_BANK")), method_error("accountType is not valid")),
        (
            account("nameOnAccount", json!("Ada 000123456789")),
            method_error("nameOnAccount shouldn't contain account number"),
        ),
        (
            with(set_up_bank("b", "ba_b"), "/paymentMethod/nickname", json!("mine000123456789")),
            method_error("nickname shouldn't contain account number"),
        ),
    ]
}

/// What is wrong with a nickname, wherever one is given.
fn nicknames() -> Vec<(Value, Said)> {
    vec![
        (json!("n".repeat(31)), NICKNAME),
        (json!("Ada's"), NICKNAME),
        (json!("Household card"), NICKNAME),
        (json!("4242424242424242"), CARD_NUMBER),
    ]
}

/// What is wrong with a session that is to be made (contract §7).
fn sessions() -> Vec<(Value, Said)> {
    let refused = method_id(Behaviour::Refused(Refusal::Invalid), 1);
    let debit = json!({ "card": ["WEBFORM"], "bankAccount": ["WEBFORM"] });
    vec![
        (with(bodies::session("WALLET"), "/customer", Value::Null), invalid("Customer identifier is missing")),
        (with(bodies::session("PAYMENT"), "/payment", Value::Null), invalid("payment is required")),
        (with(bodies::session("PAYMENT"), "/config/paymentMethodChannel", debit), invalid("Consent is required!")),
        (
            with(bodies::session("PAYMENT_METHOD_DISPLAY"), "/paymentMethod", json!({ "id": refused.to_string() })),
            invalid("Card WS2 check has failed."),
        ),
    ]
}

/// What the tests below put to the sandbox.
pub(crate) fn said() -> Vec<Said> {
    let mut said = vec![
        SPENT,
        NOT_ENABLED,
        RETRIES,
        NOT_CONFIGURED,
        NO_CUSTOMER,
        NO_METHOD,
        INVALIDATED,
        OTHER_TYPE,
        UPDATE_AGENT,
        UPDATE_DEFAULT,
        ZIP,
        MONTH,
        BLANK,
        NO_SESSION,
        CANCELED,
        TIMED_OUT,
        FOREIGN_SESSION,
    ];
    let listed = [manufacturer_cards(), bank_accounts(), nicknames(), sessions()];
    said.extend(listed.into_iter().flatten().map(|(_, said)| said));
    said
}

/// Puts a card into the suite's customer's wallet.
pub(crate) async fn stored_card(stage: &Stage, n: u64) -> Uuid {
    let method = card(900 + n);
    stage.sandbox.fill_wallet(sandbox::DEFAULT_MERCHANT, &bodies::customer(), WalletMethod::card(method)).unwrap();
    method
}

#[tokio::test]
async fn a_method_that_cannot_be_stored_is_refused() {
    let stage = Stage::new("set_ups_refused").await;
    let set = Operation::SetUpPaymentMethod;
    let fresh = |n: usize, body: Value| Change::body(&with(body, "/requestId", json!(format!("setup-{n}"))));
    let mut cases: Vec<Case> =
        bank_accounts().into_iter().enumerate().map(|(n, (body, said))| Case::new(set, fresh(n, body), said)).collect();
    for (n, (nickname, said)) in nicknames().into_iter().enumerate() {
        let body = with(set_up("x", "pm_x"), "/paymentMethod/nickname", nickname.clone());
        cases.push(Case::new(set, fresh(100 + n, body), said));
        let paid = with(bodies::of(Operation::CreateTokenPayment), "/paymentMethod/nickname", nickname);
        cases.push(Case::new(Operation::CreateTokenPayment, Change::body(&paid), said));
    }
    cases.push(Case::new(set, fresh(200, manufacturer_cards()[1].0.clone()), NOT_ENABLED));
    put(&stage, cases).await;

    stage.set("manufacturer-cards", "enabled");
    let cases = manufacturer_cards().into_iter().enumerate();
    put(&stage, cases.map(|(n, (body, said))| Case::new(set, fresh(300 + n, body), said)).collect()).await;

    stage.set("bank-accounts", "not-configured");
    put(&stage, vec![Case::new(set, fresh(400, set_up_bank("b", "ba_c")), NOT_CONFIGURED)]).await;

    // A token serves once, whatever it served for; and one request may try five times.
    stage.read(Switches::default());
    stage.takes(set, &set_up("once", "pm_once")).await;
    put(&stage, vec![Case::new(set, fresh(500, set_up("twice", "pm_once")), SPENT)]).await;
    let spent = bodies::by_token("by-token", "pm_once", false);
    put(&stage, vec![Case::new(Operation::CreateTokenPayment, Change::body(&spent), SPENT)]).await;
    for n in 0..5 {
        stage.takes(set, &set_up("often", &format!("pm_often_{n}"))).await;
    }
    put(&stage, vec![Case::new(set, Change::body(&set_up("often", "pm_often_5")), RETRIES)]).await;
}

#[tokio::test]
async fn a_change_of_a_method_that_cannot_be_is_refused() {
    let stage = Stage::new("updates_refused").await;
    let (update, delete) = (Operation::UpdatePaymentMethod, Operation::DeletePaymentMethod);
    let mine = stored_card(&stage, 1).await.to_string();
    let account = bank(900).to_string();
    let manufacturers = card(905).to_string();
    let dead = card(906);
    let owner = sandbox::DEFAULT_MERCHANT;
    let fill = |method: WalletMethod| stage.sandbox.fill_wallet(owner, &bodies::customer(), method).unwrap();
    fill(WalletMethod::bank_account(bank(900)));
    fill(WalletMethod { manufacturer: true, ..WalletMethod::card(card(905)) });
    fill(WalletMethod::card(dead));
    assert!(stage.sandbox.invalidate_method(dead));
    let details = |fields: Value| Change::body(&json!({ "paymentMethodDetails": fields }));
    let mut cases = vec![
        Case::new(update, details(json!({ "type": "CARD", "zipCode": "5534" })), ZIP).about(&mine),
        Case::new(update, details(json!({ "type": "CARD", "expiryMonth": "13" })), MONTH).about(&mine),
        Case::new(update, details(json!({ "type": "CARD", "expiryMonth": 13 })), MONTH).about(&mine),
        Case::new(update, details(json!({ "type": "BANK_ACCOUNT", "accountType": "CHECKING" })), OTHER_TYPE)
            .about(&mine),
        Case::new(update, details(json!({ "type": "BANK_ACCOUNT", "accountType": " " })), BLANK).about(&account),
        Case::new(update, Change::body(&json!({ "isDefault": false })), UPDATE_AGENT).about(&manufacturers),
        Case::new(update, Change::body(&json!({ "isDefault": true, "agent": bodies::agent() })), UPDATE_DEFAULT)
            .about(&manufacturers),
        Case::new(update, Change::default(), INVALIDATED).about(dead.to_string()),
        Case::new(update, Change::default(), NO_METHOD),
        Case::new(update, Change::default(), NO_METHOD).about("my-card"),
        Case::new(delete, Change::default(), NO_METHOD),
        Case::new(Operation::SearchPaymentMethods, Change::body(&json!({})), NO_CUSTOMER),
    ];
    for (nickname, said) in nicknames() {
        cases.push(Case::new(update, Change::body(&json!({ "nickname": nickname })), said).about(&mine));
    }
    put(&stage, cases).await;
    // A method of another merchant's customers is nobody's here.
    let other = Change::header("x-merchant-id", OTHER.to_string());
    put(&stage, vec![Case::new(delete, other, NO_METHOD).about(&mine)]).await;
}

#[tokio::test]
async fn a_session_that_cannot_be_or_is_over_says_so() {
    let stage = Stage::new("sessions_refused").await;
    let create = Operation::CreateSession;
    put(&stage, sessions().into_iter().map(|(body, said)| Case::new(create, Change::body(&body), said)).collect())
        .await;

    let mut made = Vec::new();
    for _ in 0..3 {
        let session = stage.takes(create, &bodies::session("PAYMENT")).await;
        made.push(session.answer["data"]["sessionId"].as_str().unwrap().to_owned());
    }
    let play = |n: usize, outcome| assert!(stage.sandbox.play_session(made[n].parse().unwrap(), outcome));
    play(0, SessionOutcome::Canceled);
    play(1, SessionOutcome::TimedOut);
    let get = Operation::GetSession;
    put(
        &stage,
        vec![
            Case::new(get, Change::default(), NO_SESSION),
            Case::new(get, Change::default(), CANCELED).about(&made[0]),
            Case::new(get, Change::default(), TIMED_OUT).about(&made[1]),
            Case::new(get, Change::header("x-merchant-id", OTHER.to_string()), FOREIGN_SESSION).about(&made[2]),
        ],
    )
    .await;
    for (n, end) in [(0, ccg::SessionEnd::Canceled), (1, ccg::SessionEnd::TimedOut)] {
        let error = stage.client.get_session(&made[n]).await.unwrap_err();
        assert_eq!(error.session_end(), Some(end));
    }
    assert!(stage.client.get_session(&made[2]).await.is_ok(), "a session that is over costs no token");
}
