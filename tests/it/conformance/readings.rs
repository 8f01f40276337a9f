//! Every row of contract §11, under each of its readings: what the sandbox then does, and that the client still says the
//! right thing. [`ROWS`] is the list; a test holds it against the sandbox's switches.

use std::time::Duration;

use ccg::webhook::EventName;
use ccg::{CreateRefund, Operation, RefundStatus, Status};
use sandbox::{Behaviour, DeclineCode, Options, Switch, method_id};
use serde_json::{Value, json};

use super::bodies::{self, KEY, consent, debit, flat_consent, hold, sale, split, with};
use super::relay::Change;
use super::stage::{Stage, bank, card};

/// Row of §11, the switch, its readings, and the test that shows them.
const ROWS: &[(u8, &str, &[&str], &str)] = &[
    (1, "idempotency", &["replay", "new-attempt-after-failed", "reject-duplicate"], "row_1_a_repeated_id"),
    (2, "consent-shape", &["both", "public", "flat"], "row_2_the_shape_of_a_consent"),
    (3, "failure-status", &["422", "406"], "row_3_the_status_of_a_failure"),
    (4, "partial-authorization", &["optional", "coupled"], "row_4_a_hold_that_may_be_smaller"),
    (5, "allocation-count", &["one-or-two", "two"], "row_5_how_many_allocations"),
    (6, "split-tender", &["cards", "mixed"], "row_6_what_may_be_split"),
    (7, "status-set", &["lifecycle", "domain-model"], "row_7_which_states_are_shown"),
    (8, "cancelled-event", &["cancelled", "canceled", "both"], "row_8_the_spelling_of_a_cancellation"),
    (9, "ach-settlement", &["fixed", "1-3", "3-5"], "row_9_the_days_of_a_debit"),
    (10, "refund-names", &["newest", "older"], "row_10_the_names_of_refund_outcomes"),
    (11, "allocation-error", &["as-documented", "code-message", "error-details"], "row_11_the_shape_of_an_error"),
    (12, "token-path", &["both", "oauth2", "v1"], "row_12_where_tokens_are_given_out"),
    (13, "upstream-env", &["three", "five", "ignored"], "row_13_the_names_of_environments"),
    (14, "payment-method-type", &["removed", "webhooks"], "row_14_the_type_beside_its_shape"),
    (15, "webhook-signature", &["none", "payload"], "row_15_a_signature_of_the_body"),
    (16, "minimum-amount", &["1", "50"], "row_16_the_smallest_amount"),
    (17, "description-limit", &["100", "50"], "row_17_the_longest_description"),
    (18, "v1-create", &["202", "200"], "row_18_the_answer_to_a_create_of_version_1"),
    (19, "default-flag", &["as-documented", "default", "isDefault"], "row_19_the_spelling_of_the_default"),
    (20, "metadata-spelling", &["both", "metadata", "metaData"], "row_20_the_spelling_of_metadata"),
];

/// No row of §11 and no reading of one can be forgotten here.
#[test]
fn every_row_and_every_reading_has_a_test() {
    let source = include_str!("readings.rs");
    let rows: Vec<(u8, &str, &[&str])> = ROWS.iter().map(|(row, name, values, _)| (*row, *name, *values)).collect();
    let switches: Vec<(u8, &str, &[&str])> =
        Switch::ALL.iter().filter_map(|switch| Some((switch.row()?, switch.name(), switch.values()))).collect();
    assert_eq!(rows, switches);
    assert_eq!(rows.iter().map(|(row, ..)| *row).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    for (_, _, _, test) in ROWS {
        assert!(source.contains(&format!("async fn {test}(")), "{test}");
    }
}

/// Goes through the readings of a row, each on a stage of its own.
async fn readings(row: u8) -> Vec<(&'static str, Stage)> {
    let (_, name, values, _) = ROWS.iter().find(|(own, ..)| *own == row).unwrap();
    let mut stages = Vec::new();
    for value in *values {
        let stage = Stage::new(&format!("row_{row}_{value}")).await;
        stage.set(name, value);
        stages.push((*value, stage));
    }
    stages
}

/// What the gateway said to a payment that it did not take.
async fn refusal(stage: &Stage, body: &Value) -> (&'static str, Option<String>) {
    let error = stage.call(Operation::CreatePayment, "", Change::body(body)).await.unwrap_err();
    (error.kind(), error.evidence().detail.clone())
}

#[tokio::test]
async fn row_1_a_repeated_id() {
    for (value, stage) in readings(1).await {
        let once = method_id(Behaviour::declines(1), 1);
        let frozen = ccg::FrozenPayment::from_stored("again", sale("again", 700, once).to_string()).unwrap();
        let first = stage.client.create_payment(&frozen).await.unwrap().value.id;
        assert_eq!(stage.status(&first).await, "FAILED");
        let again = stage.client.create_payment(&frozen).await;
        match value {
            "replay" => assert_eq!(again.unwrap().value.status, Status::Failed),
            "new-attempt-after-failed" => {
                assert_eq!(again.unwrap().value.id, first, "the same payment, charged again");
                assert_eq!(stage.status(&first).await, "COMPLETED");
            }
            _ => {
                let error = again.unwrap_err();
                assert_eq!((error.kind(), error.is_ambiguous_for_create()), ("forbidden", true));
            }
        }
        let successes = stage.sandbox.ledger().success_count();
        assert_eq!(successes, u64::from(value == "new-attempt-after-failed"), "{value}");
        for _ in 0..3 {
            let _at_most_once = stage.client.create_payment(&frozen).await;
        }
        assert_eq!(stage.sandbox.ledger().success_count(), successes, "{value}");
    }
}

#[tokio::test]
async fn row_2_the_shape_of_a_consent() {
    for (value, stage) in readings(2).await {
        for (shape, consent) in [("public", consent()), ("flat", flat_consent())] {
            let body = with(debit(shape, 700, bank(1)), "/consent", consent);
            if value == "both" || value == shape {
                let id = stage.pays(&body).await;
                assert_eq!(stage.status(&id).await, "ACCEPTED");
            } else {
                assert_eq!(refusal(&stage, &body).await, ("rejected", Some("Consent is Invalid!".into())));
            }
        }
        let neither = with(debit("neither", 700, bank(1)), "/consent", json!({ "agreed": true }));
        assert_eq!(refusal(&stage, &neither).await.0, "rejected", "{value}: a body with neither shape is refused");
    }
}

#[tokio::test]
async fn row_3_the_status_of_a_failure() {
    for (value, stage) in readings(3).await {
        let declined = method_id(Behaviour::DeclinesWith(DeclineCode::LostCard), 1);
        let id = stage.pays(&sale("declined", 700, declined)).await;
        let error = stage.client.get_payment(&id).await.unwrap_err();
        let evidence = error.evidence();
        assert_eq!((error.kind(), evidence.http_status), ("processing", Some(value.parse().unwrap())));
        let newest = value == "422";
        assert_eq!(evidence.title.as_deref(), Some(if newest { "PAYMENT_ERROR" } else { "PAYMENT_METHOD_ERROR" }));
        assert_eq!(evidence.payment.is_some(), newest, "only the newest pages carry the payment");
        // Without the payment in it, the answer says that it failed and not which payment: the caller may not rely on it.
        assert_eq!(error.is_ambiguous_for_create(), !newest);
    }
}

#[tokio::test]
async fn row_4_a_hold_that_may_be_smaller() {
    for (value, stage) in readings(4).await {
        let both = with(hold("both", 700, card(1)), "/partialAuthorization", json!(true));
        stage.pays(&both).await;
        let partial_alone = with(sale("partial", 700, card(1)), "/partialAuthorization", json!(true));
        let (kind, detail) = refusal(&stage, &partial_alone).await;
        assert_eq!(
            (kind, detail.as_deref()),
            ("rejected", Some("partialAuthorization requires authorizeCard to be true"))
        );
        let hold_alone = hold("hold", 700, card(1));
        if value == "optional" {
            assert_eq!(stage.status(&stage.pays(&hold_alone).await).await, "AUTHORIZED");
        } else {
            assert_eq!(refusal(&stage, &hold_alone).await.0, "rejected");
        }
    }
}

#[tokio::test]
async fn row_5_how_many_allocations() {
    for (value, stage) in readings(5).await {
        stage.pays(&split("two", [(300, card(1).to_string()), (400, card(2).to_string())])).await;
        let one = sale("one", 700, card(1));
        if value == "one-or-two" {
            stage.pays(&one).await;
        } else {
            let text = "paymentAllocations is required and must contain at least 2 items";
            assert_eq!(refusal(&stage, &one).await, ("rejected", Some(text.into())));
        }
    }
}

#[tokio::test]
async fn row_6_what_may_be_split() {
    for (value, stage) in readings(6).await {
        stage.pays(&split("cards", [(300, card(1).to_string()), (400, card(2).to_string())])).await;
        let held = split("held", [(300, card(1).to_string()), (400, card(2).to_string())]);
        let held = with(held, "/authorizeCard", json!(true));
        let accounts =
            with(split("accounts", [(300, bank(1).to_string()), (400, bank(2).to_string())]), "/consent", consent());
        if value == "cards" {
            for body in [held, accounts] {
                assert_eq!(refusal(&stage, &body).await.0, "rejected");
            }
        } else {
            assert_eq!(stage.status(&stage.pays(&held).await).await, "AUTHORIZED");
            let id = stage.pays(&accounts).await;
            assert_eq!(stage.status(&id).await, "ACCEPTED");
            stage.pass(3);
            assert_eq!(stage.status(&id).await, "COMPLETED");
        }
    }
}

#[tokio::test]
async fn row_7_which_states_are_shown() {
    for value in ["lifecycle", "domain-model"] {
        let name = format!("row_7_{value}");
        let stage = Stage::of(&name, Options { settle: Duration::from_secs(60), ..Options::default() }).await;
        stage.set("status-set", value);
        let id = stage.pays(&hold("held", 700, card(1))).await;
        stage.sandbox.clock().advance(Duration::from_secs(60));
        stage.client.capture_payment(&id, &ccg::Capture::full().ready().unwrap()).await.unwrap();
        let capturing = stage.look(&id).await;
        let part = capturing.payment_allocations[0].status.clone();
        assert_eq!(part, Some(Status::CaptureInitialized), "{value}: the allocation says it in both");
        let shown = if value == "lifecycle" { "CAPTURE_INITIALIZED" } else { "AUTHORIZED" };
        assert_eq!(capturing.status.as_str(), shown);
        assert!(!capturing.status.is_final());
        stage.sandbox.clock().advance(Duration::from_secs(60));
        assert_eq!(stage.status(&id).await, "COMPLETED");
    }
}

#[tokio::test]
async fn row_8_the_spelling_of_a_cancellation() {
    for (value, stage) in readings(8).await {
        let inbox = stage.listens().await;
        let id = stage.pays(&hold("held", 700, card(1))).await;
        let body = json!({ "paymentCancellationReason": "ABANDONED" });
        stage.call(Operation::CancelPayment, &id, Change::body(&body)).await.unwrap();
        let told = inbox.events(&stage).await;
        let told: Vec<_> = told.iter().filter(|event| *event.name() == EventName::PaymentCancelled).collect();
        let spelled: Vec<&str> = told.iter().map(|event| event.spelled()).collect();
        match value {
            "cancelled" => assert_eq!(spelled, ["PAYMENT_CANCELLED"]),
            "canceled" => assert_eq!(spelled, ["PAYMENT_CANCELED"]),
            _ => {
                assert_eq!(spelled.len(), 2);
                assert_eq!(told[0].dedupe_key(), told[1].dedupe_key(), "two spellings are one event");
            }
        }
    }
}

#[tokio::test]
async fn row_9_the_days_of_a_debit() {
    // 1 June 2026 is a Monday: business days and days of the calendar are the same until Saturday.
    for (value, stage) in readings(9).await {
        let account = method_id(Behaviour::AchSettles { days: None }, 1);
        let mut ids = Vec::new();
        for n in 0..24 {
            ids.push(stage.pays(&debit(&format!("debit-{n}"), 700, account)).await);
        }
        let mut days = std::collections::BTreeSet::new();
        for day in 1..=8 {
            stage.pass(1);
            for id in &ids {
                if stage.status(id).await == "COMPLETED" {
                    days.insert((id.clone(), day));
                }
            }
        }
        let first = |id: &String| days.iter().find(|(own, _)| own == id).unwrap().1;
        let took: std::collections::BTreeSet<i32> = ids.iter().map(first).collect();
        match value {
            "fixed" => assert_eq!(took.into_iter().collect::<Vec<_>>(), [3]),
            "1-3" => assert_eq!(took.into_iter().collect::<Vec<_>>(), [1, 2, 3]),
            // The fifth business day after Monday is the next Monday, seven days on.
            _ => assert_eq!(took.into_iter().collect::<Vec<_>>(), [3, 4, 7]),
        }
    }
}

#[tokio::test]
async fn row_10_the_names_of_refund_outcomes() {
    for (value, stage) in readings(10).await {
        let stubborn = method_id(Behaviour::RefundFails(sandbox::RefundError::OverLimit), 1);
        let parts = [(300, card(2).to_string()), (400, stubborn.to_string())];
        for (key, body, older, newest) in [
            ("whole", sale("whole", 700, card(1)), "REFUNDED", RefundStatus::Completed),
            ("half", split("half", parts), "PARTIAL_REFUND", RefundStatus::PartialSuccess),
            ("none", sale("none", 700, stubborn), "REFUND_FAILED", RefundStatus::Failed),
        ] {
            let paid = stage.pays(&body).await;
            let refund = CreateRefund::full(format!("r-{key}"), &paid).freeze().unwrap();
            let id = stage.client.create_refund(&refund).await.unwrap().value.id;
            let status = match stage.client.get_refund(&id).await {
                Ok(answer) => answer.value.status,
                Err(error) => error.into_evidence().refund.unwrap().status,
            };
            assert_eq!(status, newest, "{value}: the client reads both names alike");
            let said = stage.relay.last().answer["data"]["status"].as_str().map(str::to_owned);
            let expected = if value == "older" { older } else { newest.as_str() };
            assert_eq!(said.as_deref(), Some(expected));
        }
    }
}

#[tokio::test]
async fn row_11_the_shape_of_an_error() {
    for (value, stage) in readings(11).await {
        let declined = method_id(Behaviour::DeclinesWith(DeclineCode::DoNotHonor), 1);
        let id = stage.pays(&sale("declined", 700, declined)).await;
        let payment = stage.look(&id).await;
        assert_eq!(payment.error_code(), Some("card_declined"), "{value}");
        assert!(payment.error_message().is_some());
        let error = stage.relay.last().answer["data"]["paymentAllocations"][0]["error"].clone();
        assert_eq!(error["errorDetails"].is_array(), value == "error-details");
        assert_eq!(error["code"].is_string(), value != "error-details");

        let stubborn = method_id(Behaviour::RefundFails(sandbox::RefundError::TooOld), 1);
        let paid = stage.pays(&sale("paid", 700, stubborn)).await;
        let refund = CreateRefund::full("refund", &paid).freeze().unwrap();
        let id = stage.client.create_refund(&refund).await.unwrap().value.id;
        let failed = stage.client.get_refund(&id).await.unwrap_err().into_evidence().refund.unwrap();
        assert_eq!(failed.error_message(), Some("This payment is too old to be refunded"), "{value}");
        let error = stage.relay.last().answer["data"]["refundAllocations"][0]["error"].clone();
        assert_eq!(error["errorDetails"].is_array(), value != "code-message");
    }
}

#[tokio::test]
async fn row_12_where_tokens_are_given_out() {
    for (value, stage) in readings(12).await {
        for (path, name) in [("oauth2/token", "oauth2"), ("v1/oauth2/token", "v1")] {
            let client = stage.client_at(format!("{}/{path}", stage.sandbox.url()));
            let outcome = client.ping().await;
            assert_eq!(outcome.is_ok(), value == "both" || value == name, "{value} {path}: {outcome:?}");
            let asked = client.find_payment("unknown").await.unwrap_err();
            let expected = if outcome.is_ok() { "not_found" } else { "not_sent" };
            assert_eq!(asked.kind(), expected, "without a token nothing is sent");
        }
    }
}

#[tokio::test]
async fn row_13_the_names_of_environments() {
    for (value, stage) in readings(13).await {
        for (name, known) in [("dev", true), ("stage", true), ("test", true), ("reg", false), ("perf", false)] {
            let outcome = stage.call(Operation::CreatePayment, "", Change::header("x-upstream-env", name)).await;
            assert_eq!(outcome.is_ok(), known || value != "three", "{value} {name}");
        }
        let odd = stage.call(Operation::FindCustomer, "", Change::header("x-upstream-env", "moon")).await;
        assert_eq!(odd.is_ok(), value == "ignored");
    }
}

#[tokio::test]
async fn row_14_the_type_beside_its_shape() {
    for (value, stage) in readings(14).await {
        let inbox = stage.listens().await;
        let id = stage.pays(&sale("paid", 700, card(1))).await;
        let told = inbox.bodies(&stage).await;
        let method = &told[0]["payload"]["paymentAllocations"][0]["paymentMethod"];
        assert_eq!(method["paymentMethodType"].is_string(), value == "webhooks");
        let event = inbox.events(&stage).await.remove(0);
        let kind = event.payment().unwrap().payment_allocations[0].payment_method.clone().unwrap().kind;
        assert_eq!(kind, Some(ccg::MethodType::Card), "{value}: the kind is known either way");
        let asked = stage.look(&id).await.payment_allocations[0].payment_method.clone().unwrap();
        assert_eq!(asked.kind, kind);
        let answer = &stage.relay.last().answer["data"]["paymentAllocations"][0]["paymentMethod"];
        assert!(answer["paymentMethodType"].is_null(), "answers of version 2 have lost it");
    }
}

#[tokio::test]
async fn row_15_a_signature_of_the_body() {
    for (value, stage) in readings(15).await {
        let inbox = stage.listens().await;
        stage.pays(&sale("paid", 700, card(1))).await;
        let headers = inbox.headers(&stage).await;
        assert_eq!(headers[0].contains_key("x-payload-signature"), value == "payload");
        let keys = stage.sandbox.webhook_keys().unwrap();
        let verifier = ccg::webhook::Verifier::new(sandbox::DEFAULT_MERCHANT, &keys).unwrap();
        let token = headers[0].get("authorization").unwrap().to_str().unwrap();
        assert!(verifier.verify_header(Some(token), stage.sandbox.clock().now()).is_ok(), "{value}");
    }
}

#[tokio::test]
async fn row_16_the_smallest_amount() {
    for (value, stage) in readings(16).await {
        stage.pays(&sale("fifty", 50, card(1))).await;
        for amount in [1, 49] {
            let body = sale(&format!("small-{amount}"), amount, card(1));
            if value == "1" {
                stage.pays(&body).await;
            } else {
                let text = "amount must be an integer between 50 and 99999999";
                assert_eq!(refusal(&stage, &body).await, ("rejected", Some(text.into())));
            }
        }
    }
}

#[tokio::test]
async fn row_17_the_longest_description() {
    for (value, stage) in readings(17).await {
        let described = |length: usize| {
            with(sale(&format!("described-{length}"), 100, card(1)), "/description", json!("d".repeat(length)))
        };
        let most: usize = value.parse().unwrap();
        stage.pays(&described(most)).await;
        let text = format!("description cannot exceed {most} characters");
        assert_eq!(refusal(&stage, &described(most + 1)).await, ("rejected", Some(text)));
    }
}

#[tokio::test]
async fn row_18_the_answer_to_a_create_of_version_1() {
    for (value, stage) in readings(18).await {
        let paid =
            ccg::FrozenTokenPayment::from_stored("token", bodies::by_token("token", "pm_row18", false).to_string());
        let answer = stage.client.create_token_payment(&paid.unwrap()).await.unwrap();
        assert_eq!(answer.http_status, value.parse::<u16>().unwrap());
        let status = if value == "200" { Status::Completed } else { Status::Initiated };
        assert_eq!(answer.value.status, status);
        // The documented call of version 1 for a recurring charge, sent in the place of the client's.
        let flat = json!({ "merchantTransactionId": KEY, "amount": 700, "customer": bodies::customer(),
            "paymentMethodId": card(3).to_string(), "paymentDescription": "June", "metadata": { "invoice": "7731" } });
        let older = Change::elsewhere(axum::http::Method::POST, "/v1/payments", &flat);
        let exchange = stage.call(Operation::CreatePayment, "", older).await.unwrap();
        assert_eq!(exchange.status, value.parse::<u16>().unwrap());
        let declined = with(flat, "/paymentMethodId", json!(method_id(Behaviour::DeclinesPlainly, 5).to_string()));
        let declined = with(declined, "/merchantTransactionId", json!("declined"));
        let older = Change::elsewhere(axum::http::Method::POST, "/v1/payments", &declined);
        let outcome = stage.call(Operation::CreatePayment, "", older).await;
        match (value, outcome) {
            // The answer is about another id than the client's own, and it is not believed.
            ("202", Err(error)) => assert_eq!(error.kind(), "ambiguous"),
            (_, Err(error)) => assert_eq!((error.kind(), error.evidence().http_status), ("processing", Some(406))),
            (_, Ok(exchange)) => panic!("{exchange:?}"),
        }
    }
}

#[tokio::test]
async fn row_19_the_spelling_of_the_default() {
    for (value, stage) in readings(19).await {
        let method = sandbox::WalletMethod { is_default: true, ..sandbox::WalletMethod::card(card(1)) };
        stage.sandbox.fill_wallet(sandbox::DEFAULT_MERCHANT, &bodies::customer(), method).unwrap();
        let who = super::stage::customer().ready().unwrap();
        let found = stage.client.search_payment_methods(&who).await.unwrap().value;
        assert_eq!(found[0].is_default, Some(true), "{value}: read alike");
        let item = stage.relay.last().answer["data"][0].clone();
        assert_eq!(item["isDefault"].is_boolean(), value == "isDefault", "version 1 says `default`");
        let id = stage.pays(&sale("paid", 100, card(1))).await;
        assert_eq!(
            stage.look(&id).await.payment_allocations[0].payment_method.as_ref().unwrap().is_default,
            Some(false)
        );
        let shown = stage.relay.last().answer["data"]["paymentAllocations"][0]["paymentMethod"].clone();
        assert_eq!(shown["isDefault"].is_boolean(), value != "default", "version 2 says `isDefault`");
    }
}

#[tokio::test]
async fn row_20_the_spelling_of_metadata() {
    for (value, stage) in readings(20).await {
        for (spelling, read) in [("metadata", value != "metaData"), ("metaData", value != "metadata")] {
            let key = format!("noted-{spelling}");
            let body = bodies::by_token(&key, &format!("pm_{spelling}"), false);
            let body = with(body, &format!("/{spelling}"), json!({ "invoice": "7731" }));
            let frozen = ccg::FrozenTokenPayment::from_stored(&*key, body.to_string()).unwrap();
            stage.client.create_token_payment(&frozen).await.unwrap();
            let notes = stage.client.find_payment(&key).await.unwrap().value.metadata;
            assert_eq!(notes.is_some_and(|notes| notes["invoice"] == "7731"), read, "{value} {spelling}");
        }
    }
}

/// The switches beside §11 that a client could notice: what is open in §12, and the sandbox's own choices.
#[tokio::test]
async fn what_the_contract_leaves_open_is_read_in_every_way() {
    let stage = Stage::new("open_questions").await;
    let method = sandbox::WalletMethod::card(card(1));
    stage.sandbox.fill_wallet(sandbox::DEFAULT_MERCHANT, &bodies::customer(), method).unwrap();
    let who = super::stage::customer().ready().unwrap();
    for envelope in ["data", "bare"] {
        stage.set("wallet-envelope", envelope);
        assert_eq!(stage.client.search_payment_methods(&who).await.unwrap().value.len(), 1, "{envelope}");
    }
    for (late, status) in [("failed", "FAILED"), ("dispute", "COMPLETED"), ("report", "COMPLETED")] {
        stage.set("late-return", late);
        let id = stage.pays(&debit(late, 700, bank(1))).await;
        stage.pass(2);
        assert_eq!(stage.status(&id).await, "COMPLETED");
        stage.sandbox.return_payment(id.parse().unwrap(), sandbox::ReturnCode::R10).unwrap();
        assert_eq!(stage.status(&id).await, status, "{late}");
        let disputes = stage.sandbox.ledger().disputes();
        assert_eq!(disputes.iter().any(|dispute| dispute.payment_id.to_string() == id), late == "dispute");
    }
    let paid = stage.pays(&sale("paid", 700, card(1))).await;
    let refund = CreateRefund::full("refund", &paid).freeze().unwrap();
    let first = stage.client.create_refund(&refund).await.unwrap().value.id;
    for (duplicate, replayed) in [("reject", false), ("replay", true)] {
        stage.set("refund-duplicate", duplicate);
        let again = stage.client.create_refund(&refund).await;
        assert_eq!(again.map(|answer| answer.value.id).ok(), replayed.then(|| first.clone()), "{duplicate}");
    }
    for (spelling, spelled) in [
        ("succeeded", vec!["PAYMENT_SUCCEEDED"]),
        ("misspelt", vec!["PAYMENT_SUCCEDED"]),
        ("both", vec!["PAYMENT_SUCCEDED", "PAYMENT_SUCCEEDED"]),
    ] {
        let stage = Stage::new(&format!("succeeded_{spelling}")).await;
        stage.set("succeeded-event", spelling);
        let inbox = stage.listens().await;
        stage.pays(&sale("told", 700, card(1))).await;
        let told = inbox.events(&stage).await;
        assert_eq!(told.iter().map(|event| event.spelled()).collect::<Vec<_>>(), spelled);
        assert!(told.iter().all(|event| *event.name() == EventName::PaymentSucceeded));
    }
}
