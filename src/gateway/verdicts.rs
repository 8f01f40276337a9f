//! The one table from CCG's answers to ours. Every arm is written out: a new kind of answer breaks the build, not the book.
//!
//! The rule behind each line: only an authenticated answer about the very payment asked for proves anything, and everything
//! that is not provably something else is silence.

use ccg::{Ambiguity, Answer, CallError, Evidence, NotSent, Payment, Status};

use domain::id::{Key, MerchantId};
use domain::money::Money;
use domain::verdict::{Decline, NotExecuted, Seen};

use crate::ports::captures::Placed;
use crate::ports::{Asked, Observation, Question};

/// Longest message kept as evidence, in characters.
pub(super) const DETAIL_MAX: usize = 200;

/// Titles that say of the payment asked about that it failed, where the answer does not carry the payment (contract §4.7).
const FAILED_TITLES: [&str; 2] = ["PAYMENT_ERROR", "PAYMENT_METHOD_ERROR"];

type Outcome = Result<Answer<Payment>, CallError>;

/// What a create showed.
pub(super) fn submitted(merchant: MerchantId, key: Key, amount: Money, outcome: &Outcome) -> Observation {
    let of_payment = |payment: &Payment| of_our_payment(merchant, key, amount, payment, None);
    observation(Asked::Submit, outcome, of_payment, of_failed_create)
}

/// What an order about something set aside showed: as little as a create, unless the gateway answers with the payment.
pub(super) fn settled(merchant: MerchantId, placed: &Placed, amount: Money, outcome: &Outcome) -> Observation {
    let of_payment =
        |payment: &Payment| of_our_payment(merchant, placed.key, amount, payment, Some(&placed.payment_id));
    observation(Asked::Order, outcome, of_payment, of_failed_create)
}

/// A recorded order that is no longer what was recorded: nothing is sent.
pub(super) fn damaged_order() -> Observation {
    Observation { asked: Asked::Order, ..damaged_body() }
}

/// What a question showed.
pub(super) fn asked(merchant: MerchantId, question: &Question, asked: Asked, outcome: &Outcome) -> Observation {
    let id = question.payment_id.as_deref().filter(|_| asked == Asked::ById);
    let of_payment = |payment: &Payment| of_our_payment(merchant, question.key, question.amount, payment, id);
    observation(asked, outcome, of_payment, of_failed_question)
}

/// A payment that must prove to be ours: by our key, or where it names none by the id that was asked for.
fn of_our_payment(merchant: MerchantId, key: Key, amount: Money, payment: &Payment, id: Option<&str>) -> Seen {
    match payment.merchant_transaction_id.as_deref() {
        Some(found) if found.eq_ignore_ascii_case(&key.to_string()) => of_payment(merchant, amount, payment),
        Some(_) => Seen::Mismatch,
        None if id.is_some_and(|id| id.eq_ignore_ascii_case(&payment.id)) => of_payment(merchant, amount, payment),
        None => Seen::Silent,
    }
}

/// What a look-up by hand showed; no amount is expected.
pub(super) fn looked_up(merchant: MerchantId, outcome: &Outcome) -> Observation {
    let expected = |payment: &Payment| {
        let currency = payment.currency_code.as_deref().and_then(|code| domain::money::Currency::parse(code).ok());
        Money::new(payment.amount.unwrap_or(0), currency.unwrap_or(domain::money::Currency::USD))
    };
    observation(Asked::ByKey, outcome, |payment| of_payment(merchant, expected(payment), payment), of_failed_question)
}

/// A recorded body that is no longer what was recorded: nothing is sent. It is due again, and the store, which reads the
/// body then, sets the charge aside for what it is.
pub(super) fn damaged_body() -> Observation {
    Observation {
        asked: Asked::Submit,
        seen: nothing_sent(),
        payment_id: None,
        http_status: None,
        gateway_status: None,
        detail: Some("the stored request was changed after it was recorded: nothing was sent".to_owned()),
        body_sha256: None,
        request_id: None,
    }
}

fn observation(
    asked: Asked,
    outcome: &Outcome,
    of_payment: impl Fn(&Payment) -> Seen,
    of_error: impl Fn(&CallError, &dyn Fn(&Payment) -> Seen) -> Seen,
) -> Observation {
    match outcome {
        Ok(answer) => Observation {
            asked,
            seen: of_payment(&answer.value),
            payment_id: Some(answer.value.id.clone()),
            http_status: Some(answer.http_status),
            gateway_status: Some(answer.value.status.as_str().to_owned()),
            detail: legs(&answer.value),
            body_sha256: Some(hex::encode(answer.body_sha256)),
            request_id: answer.request_id.clone(),
        },
        Err(error) => {
            let evidence: &Evidence = error.evidence();
            let payment = evidence.payment.as_deref();
            let said = payment.and_then(Payment::error_message).or(evidence.detail.as_deref());
            let detail = said.map_or_else(|| error.to_string(), ToOwned::to_owned);
            Observation {
                asked,
                seen: of_error(error, &of_payment),
                payment_id: payment.map(|payment| payment.id.clone()).filter(|id| !id.is_empty()),
                http_status: evidence.http_status,
                gateway_status: payment.map(|payment| payment.status.as_str().to_owned()),
                detail: Some(
                    [payment.and_then(legs), Some(detail)]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join("; ")
                        .chars()
                        .take(DETAIL_MAX)
                        .collect(),
                ),
                body_sha256: evidence.body_sha256.map(hex::encode),
                request_id: evidence.request_id.clone(),
            }
        }
    }
}

/// Where the parts of a shared payment stand, as evidence: the verdict is the payment's own (contract §4.12).
fn legs(payment: &Payment) -> Option<String> {
    let parts = payment.payment_allocations.as_slice();
    let word = |part: &ccg::Allocation| part.status.as_ref().map_or("?", Status::as_str).to_owned();
    (parts.len() > 1).then(|| format!("parts {}", parts.iter().map(word).collect::<Vec<_>>().join("+")))
}

/// A payment the gateway showed us, under our key.
fn of_payment(merchant: MerchantId, asked: Money, payment: &Payment) -> Seen {
    let foreign = |id: &str| !id.eq_ignore_ascii_case(&merchant.to_string());
    if payment.merchant.as_ref().and_then(|merchant| merchant.id.as_deref()).is_some_and(foreign) {
        return Seen::Mismatch;
    }
    if payment.currency_code.as_deref().is_some_and(|code| code != asked.currency().code()) {
        return Seen::Mismatch;
    }
    match &payment.status {
        // What was captured counts; a payment that names neither figure proves no amount.
        Status::Completed => match payment.captured_amount.or(payment.amount) {
            Some(minor) => Seen::Succeeded { amount: Money::new(minor, asked.currency()) },
            None => Seen::Silent,
        },
        Status::Failed => Seen::Declined(declined(payment)),
        // Somebody cancelled it at the gateway: nothing was collected, and trying again is for a person to say.
        Status::Cancelled => Seen::Declined(Decline::cancelled()),
        Status::CancelFailed => Seen::Mismatch,
        Status::Accepted => Seen::Accepted { settles_in_days: true },
        Status::Authorized => authorized(asked, payment),
        Status::Initiated
        | Status::Pending
        | Status::PendingForCustomerCreation
        | Status::PendingForPaymentMethodCreation
        | Status::Processing
        | Status::ProcessingDedupCheck
        | Status::AuthRequired
        | Status::ConfirmationInitialized
        | Status::CaptureInitialized
        | Status::CancelInitialized
        | Status::RolledBack => Seen::Accepted { settles_in_days: false },
        // A word this build does not know: the gateway has it, and nothing more is proven. Never taken for a failure.
        Status::Other(word) => {
            tracing::warn!(event = "unknown_gateway_status", status = %word, "kept as not finished; teach this build the word");
            Seen::Accepted { settles_in_days: false }
        }
    }
}

/// A hold, unless the gateway says that it is one step of a sale. Where it does not say how much is held, all of it is, if the
/// issuer was not allowed to approve less.
fn authorized(asked: Money, payment: &Payment) -> Seen {
    let whole = payment.amount.filter(|_| payment.partial_authorization != Some(true));
    match (payment.authorized_amount.or(whole), payment.authorize_card) {
        (_, Some(false)) => Seen::Accepted { settles_in_days: false },
        (Some(minor), said) => {
            Seen::Authorized { amount: Money::new(minor, asked.currency()), asked_for: said == Some(true) }
        }
        (None, Some(true) | None) => Seen::Accepted { settles_in_days: false },
    }
}

fn declined(payment: &Payment) -> Decline {
    Decline::classify(
        payment.error_code().unwrap_or_default(),
        payment.decline_code(),
        payment.error_message().unwrap_or_default(),
    )
}

/// A create that was not answered with a payment.
fn of_failed_create(error: &CallError, of_payment: &dyn Fn(&Payment) -> Seen) -> Seen {
    match error {
        CallError::NotSent { why: NotSent::Invalid(_), .. } => Seen::Rejected,
        CallError::NotSent { why: NotSent::Connect { .. } | NotSent::Token(_), .. } => nothing_sent(),
        CallError::Rejected { .. } => Seen::Rejected,
        CallError::Unauthorized { .. } => refused_unprocessed(NotExecuted::Unauthorized, error),
        CallError::RateLimited { .. } => refused_unprocessed(NotExecuted::RateLimited, error),
        // 422 or 406 with the payment itself: the processor's word about our key.
        CallError::Processing { evidence } => evidence.payment.as_deref().map_or(Seen::Silent, of_payment),
        // 403 may mean "this id exists"; 404 and the other 422s may be about an earlier submission: ask.
        CallError::Forbidden { .. }
        | CallError::NotFound { .. }
        | CallError::RetryLimit { .. }
        | CallError::Unprocessable { .. } => Seen::Silent,
        CallError::Ambiguous { why, .. } => match why {
            Ambiguity::Cut { .. }
            | Ambiguity::TimedOut
            | Ambiguity::Status(_)
            | Ambiguity::Redirect
            | Ambiguity::TooLarge { .. }
            | Ambiguity::Undecodable { .. }
            // The answer to a create is about another payment: ours may exist all the same, so we ask.
            | Ambiguity::WrongPayment { .. } => Seen::Silent,
        },
    }
}

/// A question that was not answered with a payment.
fn of_failed_question(error: &CallError, of_payment: &dyn Fn(&Payment) -> Seen) -> Seen {
    match error {
        CallError::NotSent { why: NotSent::Invalid(_), .. } => Seen::Rejected,
        CallError::NotSent { why: NotSent::Connect { .. } | NotSent::Token(_), .. } => nothing_sent(),
        CallError::Rejected { .. } => Seen::Rejected,
        CallError::Unauthorized { .. } => refused_unprocessed(NotExecuted::Unauthorized, error),
        CallError::RateLimited { .. } => refused_unprocessed(NotExecuted::RateLimited, error),
        CallError::NotFound { .. } => Seen::Absent,
        // Failed payments are answered 422 with the payment, or by the older pages 406 without it (contract §3.2). Either is the
        // gateway's word about the very payment we asked for. NOT_ACCEPTABLE alone is not: it has other meanings at the
        // gateway, and is what any proxy says to headers it does not like.
        CallError::Processing { evidence } => match evidence.payment.as_deref() {
            Some(payment) => of_payment(payment),
            None if !evidence.title.as_deref().is_some_and(|title| FAILED_TITLES.contains(&title)) => Seen::Silent,
            None => Seen::Declined(Decline::classify(
                evidence.title.as_deref().unwrap_or_default(),
                None,
                evidence.detail.as_deref().unwrap_or_default(),
            )),
        },
        CallError::Forbidden { .. } | CallError::RetryLimit { .. } | CallError::Unprocessable { .. } => Seen::Silent,
        CallError::Ambiguous { why, .. } => match why {
            Ambiguity::WrongPayment { .. } => Seen::Mismatch,
            Ambiguity::Cut { .. }
            | Ambiguity::TimedOut
            | Ambiguity::Status(_)
            | Ambiguity::Redirect
            | Ambiguity::TooLarge { .. }
            | Ambiguity::Undecodable { .. } => Seen::Silent,
        },
    }
}

const fn nothing_sent() -> Seen {
    Seen::NotExecuted { why: NotExecuted::NothingSent, retry_after: None }
}

fn refused_unprocessed(why: NotExecuted, error: &CallError) -> Seen {
    Seen::NotExecuted { why, retry_after: error.evidence().retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::money::Currency;
    use domain::verdict::DeclineClass;

    fn payment(json: serde_json::Value) -> Payment {
        serde_json::from_value(json).unwrap()
    }

    fn merchant() -> MerchantId {
        "11111111-1111-4111-8111-111111111111".parse().unwrap()
    }

    fn dollars(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    fn seen(status: &str) -> Seen {
        let json = serde_json::json!({"id": "p", "status": status, "amount": 500, "currencyCode": "USD"});
        of_payment(merchant(), dollars(500), &payment(json))
    }

    #[test]
    fn each_documented_status_means_one_thing() {
        assert_eq!(seen("COMPLETED"), Seen::Succeeded { amount: dollars(500) });
        assert!(matches!(seen("FAILED"), Seen::Declined(_)));
        assert!(matches!(seen("CANCELLED"), Seen::Declined(decline) if decline.class == DeclineClass::Never));
        assert_eq!(seen("CANCEL_FAILED"), Seen::Mismatch);
        assert_eq!(seen("ACCEPTED"), Seen::Accepted { settles_in_days: true });
        let transient = [
            "INITIATED",
            "PENDING",
            "PENDING_FOR_CUSTOMER_CREATION",
            "PENDING_FOR_PAYMENT_METHOD_CREATION",
            "PROCESSING",
            "PROCESSING_DEDUP_CHECK",
            "AUTH_REQUIRED",
            "CONFIRMATION_INITIALIZED",
            "CAPTURE_INITIALIZED",
            "CANCEL_INITIALIZED",
            "A_WORD_OF_NEXT_YEAR",
        ];
        for status in transient {
            assert_eq!(seen(status), Seen::Accepted { settles_in_days: false }, "{status}");
        }
    }

    #[test]
    fn a_hold_is_told_from_a_step_of_a_sale_and_counts_what_is_held() {
        let seen = |more: serde_json::Value| {
            let mut json = serde_json::json!({"id": "p", "status": "AUTHORIZED", "amount": 500, "currencyCode": "USD"});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            of_payment(merchant(), dollars(500), &payment(json))
        };
        let held = |minor, asked_for| Seen::Authorized { amount: dollars(minor), asked_for };
        assert_eq!(seen(serde_json::json!({"authorizeCard": true, "authorizedAmount": 300})), held(300, true));
        assert_eq!(seen(serde_json::json!({"authorizeCard": true})), held(500, true));
        assert_eq!(seen(serde_json::json!({"authorizedAmount": 500})), held(500, false));
        let unclear = serde_json::json!({"authorizeCard": true, "partialAuthorization": true});
        assert_eq!(seen(unclear), Seen::Accepted { settles_in_days: false });
        let sale = serde_json::json!({"authorizeCard": false, "authorizedAmount": 500});
        assert_eq!(seen(sale), Seen::Accepted { settles_in_days: false });
    }

    #[test]
    fn the_parts_of_a_shared_payment_are_evidence_and_the_payment_decides() {
        let json = serde_json::json!({"id": "p", "status": "FAILED", "amount": 500, "currencyCode": "USD",
            "merchantTransactionId": Key(uuid::Uuid::from_u128(5)).to_string(), "paymentAllocations": [
                {"id": "a", "status": "ROLLED_BACK", "amount": 200, "remediation": {"action": "CANCELLED"}},
                {"id": "b", "status": "FAILED", "amount": 300, "error": {"code": "card_declined", "message": "No."}}]});
        let outcome = processing("PAYMENT_ERROR", Some(json));
        let shown = submitted(merchant(), Key(uuid::Uuid::from_u128(5)), dollars(500), &outcome);
        assert!(matches!(&shown.seen, Seen::Declined(decline) if decline.code == "card_declined"), "{:?}", shown.seen);
        assert_eq!(shown.detail.as_deref(), Some("parts ROLLED_BACK+FAILED; No."));
    }

    #[test]
    fn answers_about_other_money_are_mismatches() {
        let other = |json| of_payment(merchant(), dollars(500), &payment(json));
        let currency = serde_json::json!({"id": "p", "status": "COMPLETED", "amount": 500, "currencyCode": "EUR"});
        assert_eq!(other(currency), Seen::Mismatch);
        let foreign = serde_json::json!({"id": "p", "status": "COMPLETED", "amount": 500,
            "merchant": {"id": "22222222-2222-4222-8222-222222222222"}});
        assert_eq!(other(foreign), Seen::Mismatch);
        // Another amount is a success of that amount: the domain parks the charge and the difference stays visible.
        let more = serde_json::json!({"id": "p", "status": "COMPLETED", "amount": 501});
        assert_eq!(other(more), Seen::Succeeded { amount: dollars(501) });
    }

    fn processing(title: &str, payment: Option<serde_json::Value>) -> Outcome {
        let evidence = Evidence {
            http_status: Some(406),
            title: Some(title.to_owned()),
            payment: payment.map(|json| Box::new(self::payment(json))),
            ..Evidence::default()
        };
        Err(CallError::Processing { evidence: Box::new(evidence) })
    }

    #[test]
    fn a_failure_counts_only_if_it_is_said_of_our_payment() {
        let key = Key(uuid::Uuid::from_u128(5));
        let question = |id: Option<&str>| Question { key, payment_id: id.map(ToOwned::to_owned), amount: dollars(500) };
        let ask = |id: Option<&str>, outcome: &Outcome| {
            let how = if id.is_some() { Asked::ById } else { Asked::ByKey };
            asked(merchant(), &question(id), how, outcome).seen
        };
        for id in [None, Some("p")] {
            assert!(matches!(ask(id, &processing("PAYMENT_METHOD_ERROR", None)), Seen::Declined(_)));
            assert_eq!(ask(id, &processing("NOT_ACCEPTABLE", None)), Seen::Silent);
        }
        let nameless = || processing("PAYMENT_ERROR", Some(serde_json::json!({"id": "p", "status": "FAILED"})));
        assert_eq!(ask(None, &nameless()), Seen::Silent);
        assert!(matches!(ask(Some("p"), &nameless()), Seen::Declined(_)));
        assert_eq!(submitted(merchant(), key, dollars(500), &nameless()).seen, Seen::Silent);
        let other = serde_json::json!({"id": "p", "status": "FAILED", "merchantTransactionId": "another"});
        assert_eq!(ask(Some("p"), &processing("PAYMENT_ERROR", Some(other))), Seen::Mismatch);
    }

    #[test]
    fn the_most_precise_decline_code_is_used() {
        let json = serde_json::json!({"id": "p", "status": "FAILED", "paymentAllocations": [
            {"error": {"code": "card_declined", "declineCode": "insufficient_funds", "message": "x"}}]});
        let Seen::Declined(decline) = of_payment(merchant(), dollars(500), &payment(json)) else {
            panic!("not a decline")
        };
        assert_eq!((decline.class, decline.code.as_str()), (DeclineClass::LaterFunds, "insufficient_funds"));
    }
}
