//! Refusals that are about who asks and for whom: tokens, headers, customers, agents (contract §1, §2, §3.4, §3.5).

use ccg::Operation;
use sandbox::{Fault, Faults};
use serde_json::{Value, json};

use super::bodies::{self, notes, with};
use super::refusals::{Case, invalid, put};
use super::relay::Change;
use super::stage::{NOBODYS, Stage};

type Said = (u16, &'static str, &'static str);

const WITH_CUSTOMER: [Operation; 6] = [
    Operation::CreatePayment,
    Operation::CreateTokenPayment,
    Operation::CreateSession,
    Operation::SearchPaymentMethods,
    Operation::SetUpPaymentMethod,
    Operation::FindCustomer,
];
const WITH_AGENT: [Operation; 5] = [
    Operation::CreatePayment,
    Operation::CreateTokenPayment,
    Operation::CreateRefund,
    Operation::CreateSession,
    Operation::SetUpPaymentMethod,
];

const MISSING: Said = (401, "UNAUTHORIZED", "access_token is missing");
const EXPIRED: Said = (401, "UNAUTHORIZED", "jwt signature verification failed: 'exp' claim expired at {time}");
const MALFORMED: Said = (401, "UNAUTHORIZED", "invalid jwt: invalid jwt string");
const FOREIGN: Said = (403, "FORBIDDEN", "403 FORBIDDEN. RequestId: {request}");
const FOREIGN_V1: Said = (403, "FORBIDDEN", "403 FORBIDDEN");
const SCOPE: Said = (403, "FORBIDDEN", "insufficient scope");
const NO_MERCHANT_V1: Said =
    (400, "BAD_REQUEST", "Missing request header 'X-Merchant-Id' for method parameter of type UUID");
const NO_MERCHANT: Said = invalid("X-Merchant-Id is required");
const NOT_A_MERCHANT: Said = invalid("X-Merchant-Id must be valid UUID");
const SOURCE: Said = invalid("source header cannot exceed 50 characters");
const INTERNAL: Said = (500, "INTERNAL_ERROR", "{message}");
const NO_CUSTOMER: Said = invalid("customer object is required");
const UNKNOWN_CUSTOMER: Said = (404, "NOT_FOUND", "Customer not found for given customer.enterpriseId");

/// What is wrong with a customer, and how it is said (contract §3.4).
fn customers() -> Vec<(Value, Said)> {
    let one = |field: &str, value: Value| json!({ "enterpriseId": "778812", field: value });
    vec![
        (
            json!({ "firstName": "Ada" }),
            invalid(
                "customer object must include at least one of customer.hsid, customer.enterpriseId, or customer.metadata",
            ),
        ),
        (json!({ "enterpriseId": "77x" }), invalid("customer.enterpriseId is invalid")),
        (json!({ "hsid": "ada" }), invalid("customer.hsid must be a valid UUID")),
        (one("metadata", notes(21)), invalid("customer.metadata cannot exceed 20 entries")),
        (one("metadata", json!({ "k".repeat(41): "v" })), invalid("customer.metadata key cannot exceed 40 characters")),
        (
            one("metadata", json!({ "k": "v".repeat(101) })),
            invalid("customer.metadata value cannot exceed 100 characters"),
        ),
        (one("email", json!("ada")), invalid("customer.email must be a valid email address")),
        (one("firstName", json!("a".repeat(101))), invalid("customer.firstName cannot exceed 100 characters")),
        (one("lastName", json!("a".repeat(101))), invalid("customer.lastName cannot exceed 100 characters")),
        (one("ssnLastFour", json!("12x4")), invalid("customer.ssnLastFour must be 4 digits")),
    ]
}

/// What is wrong with an agent, and how it is said (contract §3.5).
fn agents() -> Vec<(Value, Said)> {
    vec![
        (json!({ "firstName": "Sam" }), invalid("agent.userId is required")),
        (json!({ "userId": "u".repeat(51) }), invalid("agent.userId cannot exceed 50 characters")),
        (json!({ "userId": "u", "firstName": "f".repeat(51) }), invalid("agent.firstName cannot exceed 50 characters")),
        (json!({ "userId": "u", "lastName": "l".repeat(51) }), invalid("agent.lastName cannot exceed 50 characters")),
    ]
}

/// What the tests below put to the sandbox.
pub(crate) fn said() -> Vec<Said> {
    let doors = [
        MISSING,
        EXPIRED,
        MALFORMED,
        FOREIGN,
        FOREIGN_V1,
        SCOPE,
        NO_MERCHANT_V1,
        NO_MERCHANT,
        NOT_A_MERCHANT,
        SOURCE,
        INTERNAL,
        NO_CUSTOMER,
        UNKNOWN_CUSTOMER,
    ];
    let people = customers().into_iter().chain(agents()).map(|(_, said)| said);
    doors.into_iter().chain(people).collect()
}

#[tokio::test]
async fn a_call_without_a_good_token_or_a_merchant_of_its_own_is_refused() {
    let stage = Stage::new("doors").await;
    let wrong_scope = stage.bearer("user").await;
    let (create, search) = (Operation::CreatePayment, Operation::SearchPaymentMethods);
    let stranger = NOBODYS.to_string();
    put(
        &stage,
        vec![
            Case::new(create, Change::without("authorization"), MISSING),
            Case::new(create, Change::header("authorization", "Bearer x.y"), MALFORMED),
            Case::new(create, Change::header("authorization", &wrong_scope), SCOPE),
            Case::new(search, Change::header("authorization", &wrong_scope), SCOPE),
            Case::new(create, Change::header("x-merchant-id", &stranger), FOREIGN),
            Case::new(search, Change::header("x-merchant-id", &stranger), FOREIGN_V1),
            Case::new(create, Change::without("x-merchant-id"), NO_MERCHANT),
            Case::new(search, Change::without("x-merchant-id"), NO_MERCHANT_V1),
            Case::new(create, Change::header("x-merchant-id", "autopay"), NOT_A_MERCHANT),
            Case::new(create, Change::header("x-source", "s".repeat(51)), SOURCE),
        ],
    )
    .await;
    // A token of before is refused; a call that changes something is not made again by itself.
    stage.call(create, "", Change::default()).await.unwrap();
    stage.sandbox.revoke_tokens();
    put(&stage, vec![Case::new(create, Change::default(), EXPIRED)]).await;
    assert!(stage.call(create, "", Change::default()).await.is_ok(), "the next call has a token of its own");
}

#[tokio::test]
async fn trouble_of_the_gateways_own_is_never_an_answer() {
    let stage = Stage::new("trouble").await;
    stage.sandbox.set_faults(Faults { error_status: Some(500), ..Faults::none() });
    stage.sandbox.fail_next_post(Fault::ErrorBeforeCommit);
    put(&stage, vec![Case::new(Operation::CreatePayment, Change::default(), INTERNAL)]).await;
}

#[tokio::test]
async fn a_customer_who_cannot_be_read_is_refused_by_every_call_that_takes_one() {
    let stage = Stage::new("customers").await;
    let mut cases = Vec::new();
    for call in WITH_CUSTOMER {
        for (customer, said) in customers() {
            cases.push(Case::new(call, Change::body(&with(bodies::of(call), "/customer", customer)), said));
        }
    }
    let nobody = |call| Change::body(&with(bodies::of(call), "/customer", Value::Null));
    cases.push(Case::new(Operation::CreatePayment, nobody(Operation::CreatePayment), NO_CUSTOMER));
    cases.push(Case::new(Operation::FindCustomer, nobody(Operation::FindCustomer), NO_CUSTOMER));
    cases.push(Case::new(Operation::SetUpPaymentMethod, nobody(Operation::SetUpPaymentMethod), NO_CUSTOMER));
    // Pay and store excludes guests.
    cases.push(Case::new(Operation::CreateTokenPayment, nobody(Operation::CreateTokenPayment), NO_CUSTOMER));
    let unknown = json!({ "customer": { "enterpriseId": "000778812" } });
    cases.push(Case::new(Operation::FindCustomer, Change::body(&unknown), UNKNOWN_CUSTOMER));
    put(&stage, cases).await;
}

#[tokio::test]
async fn an_agent_who_cannot_be_read_is_refused_by_every_call_that_takes_one() {
    let stage = Stage::new("agents").await;
    let mut cases = Vec::new();
    for call in WITH_AGENT {
        for (agent, said) in agents() {
            cases.push(Case::new(call, Change::body(&with(bodies::of(call), "/agent", agent)), said));
        }
    }
    let method = super::refused_wallet::stored_card(&stage, 1).await;
    for (agent, said) in agents() {
        // A deletion has the agent's fields at the top of its body.
        cases.push(Case::new(Operation::DeletePaymentMethod, Change::body(&agent), said).about(method.to_string()));
        let update = json!({ "nickname": "Household", "agent": agent });
        cases.push(Case::new(Operation::UpdatePaymentMethod, Change::body(&update), said).about(method.to_string()));
    }
    put(&stage, cases).await;
    assert!(stage.sandbox.stored_method(method).is_some(), "what was refused deleted nothing");
}
