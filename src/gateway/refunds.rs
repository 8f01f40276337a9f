//! Refunds over `ccg`, and the one table from its answers about them to ours.
//!
//! The client says in its error's first word whether a refund may exist; what is not provably one thing or the other here is
//! [`Event::Silent`], and after a create that means a person's queue, never a second try.

use std::time::Instant;

use async_trait::async_trait;
use ccg::{
    Ambiguity, Answer, CallError, CreateRefund, CreateRefundError, Evidence, NotSent, Payment, RefundPart,
    RefundStatus, Status,
};
use chrono::TimeDelta;
use uuid::Uuid;

use domain::attempt::Body;
use domain::id::{MerchantId, PaymentMethodId};
use domain::money::Money;
use domain::refund::{Event, Refund};

use super::CcgGateway;
use super::verdicts::DETAIL_MAX;
use crate::ports::refund::{Look, PaymentPart, RefundAsked, RefundGateway, RefundObservation, Sendable};

#[async_trait]
impl RefundGateway for CcgGateway {
    async fn look(&self, refund: &Refund) -> Look {
        if Uuid::try_parse(&refund.payment_id).is_err() {
            return Look::NotComplete("payment id is none of the gateway's".to_owned());
        }
        let started = Instant::now();
        let look = looked(self.merchant, &self.client.get_payment(&refund.payment_id).await);
        let outcome = match &look {
            Look::Complete(_) => "complete",
            Look::NotComplete(_) => "not_complete",
            Look::NotNow { .. } => "not_now",
        };
        measure("refund_look", started, outcome);
        look
    }

    fn compose_refund(&self, refund: &Refund, parts: &[PaymentPart]) -> Result<Body, String> {
        let (key, payment) = (refund.key.to_string(), refund.payment_id.clone());
        let request = match parts {
            // The documented way to give all of a payment back; our reading of the allocations' fields is not needed then.
            _ if refund.whole => CreateRefund::full(key, payment),
            parts => {
                let id = part_of(refund, parts)?.to_owned();
                let part = RefundPart { payment_allocation_id: id, amount: refund.amount.minor() };
                CreateRefund::partial(key, payment, vec![part])
            }
        };
        let mut request = request.with_reason(refund.reason.as_str());
        // What a person at the gateway needs to find the refund here; ids only.
        request.metadata =
            [("charge".to_owned(), refund.charge.to_string()), ("refund".to_owned(), refund.id.to_string())].into();
        let frozen = request.freeze().map_err(|broken| {
            let all: Vec<String> = broken.iter().map(ToString::to_string).collect();
            format!("the gateway would refuse this refund: {}", all.join("; "))
        })?;
        let sha256 = hex::encode(frozen.sha256());
        Ok(Body { text: frozen.body().to_owned(), sha256 })
    }

    async fn send(&self, refund: Sendable) -> RefundObservation {
        let (of, body) = (refund.refund(), refund.body());
        let frozen = match ccg::FrozenRefund::from_stored(of.key.to_string(), body.text.clone()) {
            Ok(frozen) if hex::encode(frozen.sha256()) == body.sha256 => frozen,
            Ok(_) | Err(_) => return damaged_body(),
        };
        let started = Instant::now();
        let outcome = self.client.create_refund(&frozen).await;
        let seen = submitted(self.merchant, of, &outcome);
        measure("refund_create", started, seen.event.name());
        seen
    }

    async fn ask_refund(&self, refund: &Refund, id: &str) -> RefundObservation {
        let started = Instant::now();
        let outcome = self.client.get_refund(id).await;
        let seen = asked(self.merchant, refund, &outcome);
        measure("refund_by_id", started, seen.event.name());
        seen
    }
}

/// The gateway's id of the part that a refund of less than the whole is taken from. The gateway distributes nothing among the
/// parts (contract §5), and neither do we: which method gets money back is a person's choice.
fn part_of<'a>(refund: &Refund, parts: &'a [PaymentPart]) -> Result<&'a str, String> {
    let nameless = || "the gateway names no part of the payment".to_owned();
    let part = match (refund.from, parts) {
        (_, []) => return Err(nameless()),
        (None, [part]) => part,
        (None, [_, _, ..]) => {
            return Err(
                "two methods shared the payment, and the gateway distributes nothing: refund all of it, or name the \
                        method whose part goes back with --from"
                    .to_owned(),
            );
        }
        (Some(method), parts) => parts.iter().find(|part| part.method == Some(method)).ok_or_else(|| {
            format!("the gateway shows no part of the payment that method {method} paid: look at the charge's methods")
        })?,
    };
    if let (Some(_), Some(paid)) = (refund.from, part.amount)
        && refund.amount.minor() > paid
    {
        let paid = Money::new(paid, refund.amount.currency());
        return Err(format!("{} is more than the {paid} that this method paid", refund.amount));
    }
    part.id.as_deref().ok_or_else(nameless)
}

fn measure(call: &'static str, started: Instant, outcome: &'static str) {
    metrics::histogram!("autopay_gateway_request_duration_seconds", "call" => call, "outcome" => outcome)
        .record(started.elapsed().as_secs_f64());
}

/// What a look at the payment showed.
fn looked(merchant: MerchantId, outcome: &Result<Answer<Payment>, CallError>) -> Look {
    let payment = match outcome {
        Ok(answer) => &answer.value,
        Err(error) => {
            let evidence = error.evidence();
            match evidence.payment.as_deref() {
                Some(payment) => payment,
                None => {
                    let wait = evidence.retry_after.and_then(|wait| TimeDelta::from_std(wait).ok());
                    let rate_limited = matches!(error, CallError::RateLimited { .. });
                    return Look::NotNow { wait, why: error.to_string(), rate_limited };
                }
            }
        }
    };
    let not_now = |why: String| Look::NotNow { wait: None, why, rate_limited: false };
    if is_foreign(merchant, payment.merchant.as_ref()) {
        return not_now("the gateway shows another merchant's payment".to_owned());
    }
    match &payment.status {
        Status::Completed => {
            let part = |one: &ccg::Allocation| {
                let method = one.payment_method.as_ref().and_then(|method| method.id.as_deref());
                let method = method.and_then(|id| id.parse().ok()).map(PaymentMethodId);
                PaymentPart { id: one.id.clone(), method, amount: one.amount }
            };
            Look::Complete(payment.payment_allocations.iter().map(part).collect())
        }
        Status::Failed | Status::Cancelled | Status::RolledBack => {
            Look::NotComplete(format!("the payment is {}", payment.status.as_str()))
        }
        Status::Initiated
        | Status::Pending
        | Status::PendingForCustomerCreation
        | Status::PendingForPaymentMethodCreation
        | Status::Processing
        | Status::ProcessingDedupCheck
        | Status::AuthRequired
        | Status::ConfirmationInitialized
        | Status::Authorized
        | Status::Accepted
        | Status::CaptureInitialized
        | Status::CancelInitialized
        | Status::CancelFailed
        | Status::Other(_) => not_now(format!("the payment is {}", payment.status.as_str())),
    }
}

fn is_foreign(merchant: MerchantId, named: Option<&ccg::Merchant>) -> bool {
    let id = named.and_then(|named| named.id.as_deref());
    id.is_some_and(|id| !id.eq_ignore_ascii_case(&merchant.to_string()))
}

/// What a create showed.
pub(super) fn submitted(
    merchant: MerchantId,
    refund: &Refund,
    outcome: &Result<Answer<ccg::Refund>, CreateRefundError>,
) -> RefundObservation {
    match outcome {
        Ok(answer) => answered(RefundAsked::Submit, merchant, refund, answer),
        Err(error) => {
            let event = match error {
                CreateRefundError::NotMade(call) => not_made(merchant, refund, call),
                CreateRefundError::IdUsed(_) => Event::KeyUsed,
                CreateRefundError::MayExist(_) => Event::Silent,
            };
            failed(RefundAsked::Submit, refund, event, error.call())
        }
    }
}

/// What a question by the gateway's id showed.
pub(super) fn asked(
    merchant: MerchantId,
    refund: &Refund,
    outcome: &Result<Answer<ccg::Refund>, CallError>,
) -> RefundObservation {
    match outcome {
        Ok(answer) => answered(RefundAsked::ById, merchant, refund, answer),
        Err(error) => failed(RefundAsked::ById, refund, of_failed_question(merchant, refund, error), error),
    }
}

fn answered(
    how: RefundAsked,
    merchant: MerchantId,
    refund: &Refund,
    answer: &Answer<ccg::Refund>,
) -> RefundObservation {
    RefundObservation {
        asked: how,
        event: of_refund(merchant, refund, &answer.value),
        named: None,
        http_status: Some(answer.http_status),
        gateway_status: Some(answer.value.status.as_str().to_owned()),
        detail: answer.value.error_message().map(shortened),
        body_sha256: Some(hex::encode(answer.body_sha256)),
        request_id: answer.request_id.clone(),
    }
}

fn failed(how: RefundAsked, refund: &Refund, event: Event, error: &CallError) -> RefundObservation {
    let evidence: &Evidence = error.evidence();
    let shown = evidence.refund.as_deref();
    let said = shown.and_then(ccg::Refund::error_message).or(evidence.detail.as_deref());
    // An answer that proves nothing may still name the refund: by that id it can be asked about.
    let named = shown
        .filter(|_| event == Event::Silent)
        .filter(|shown| is_ours(refund, shown) && !shown.id.is_empty())
        .map(|shown| shown.id.clone());
    RefundObservation {
        asked: how,
        event,
        named,
        http_status: evidence.http_status,
        gateway_status: shown.map(|shown| shown.status.as_str().to_owned()),
        detail: Some(said.map_or_else(|| shortened(&error.to_string()), shortened)),
        body_sha256: evidence.body_sha256.map(hex::encode),
        request_id: evidence.request_id.clone(),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(DETAIL_MAX).collect()
}

/// A recorded body that is no longer what was recorded: nothing is sent.
fn damaged_body() -> RefundObservation {
    let why = "the recorded request does not match its digest; nothing was sent";
    RefundObservation {
        asked: RefundAsked::Submit,
        event: Event::NotExecuted { wait: None, code: "damaged_body".to_owned() },
        named: None,
        http_status: None,
        gateway_status: None,
        detail: Some(why.to_owned()),
        body_sha256: None,
        request_id: None,
    }
}

/// Does it bear our key?
fn is_ours(refund: &Refund, shown: &ccg::Refund) -> bool {
    let key = shown.merchant_transaction_id.as_deref();
    key.is_some_and(|key| key.eq_ignore_ascii_case(&refund.key.to_string()))
}

/// A refund the gateway showed us. It must prove to be ours by its key: an id alone may have been named by anybody.
fn of_refund(merchant: MerchantId, refund: &Refund, shown: &ccg::Refund) -> Event {
    if shown.merchant_transaction_id.is_none() {
        return Event::Silent;
    }
    let other_payment = shown.payment_id().is_some_and(|id| !id.eq_ignore_ascii_case(&refund.payment_id));
    if !is_ours(refund, shown) || is_foreign(merchant, shown.merchant.as_ref()) || other_payment {
        return Event::Mismatch;
    }
    let id = shown.id.clone();
    let money = |minor| Money::new(minor, refund.amount.currency());
    match &shown.status {
        // A refund that names no amount proves none.
        RefundStatus::Completed => {
            shown.total().map_or(Event::Silent, |minor| Event::Completed { id, amount: money(minor) })
        }
        RefundStatus::PartialSuccess => {
            let good = shown.refund_allocations.iter().filter(|part| part.status == Some(RefundStatus::Completed));
            let sum = good.map(|part| part.amount).try_fold(0_i64, |sum, part| sum.checked_add(part?));
            sum.map_or(Event::Silent, |minor| Event::PartlyCompleted {
                id,
                given_back: money(minor),
                code: code_of(shown, "partial_success"),
            })
        }
        RefundStatus::Failed => Event::Declined { id: Some(id), code: code_of(shown, "refund_error") },
        RefundStatus::Initiated | RefundStatus::Pending => Event::Accepted { id },
        RefundStatus::Other(word) => {
            tracing::warn!(event = "unknown_gateway_status", status = %word, "kept as not finished; teach this build the word");
            Event::Accepted { id }
        }
    }
}

fn code_of(shown: &ccg::Refund, otherwise: &str) -> String {
    shown.error_code().or(shown.error_message()).map_or_else(|| otherwise.to_owned(), shortened)
}

/// Titles that say of the refund asked about that it failed (contract §3.2).
fn says_failed(title: &str) -> bool {
    ["REFUND_ERROR", "PAYMENT_ERROR"].contains(&title)
}

/// A create of which the client proves that no refund came.
fn not_made(merchant: MerchantId, refund: &Refund, error: &CallError) -> Event {
    let evidence = error.evidence();
    let wait = evidence.retry_after.and_then(|wait| TimeDelta::from_std(wait).ok());
    let not_executed = || Event::NotExecuted { wait, code: error.kind().to_owned() };
    let said = || evidence.detail.as_deref().or(evidence.title.as_deref()).map_or_else(String::new, shortened);
    match error {
        CallError::NotSent { why: NotSent::Invalid(why), .. } => Event::Rejected { code: (*why).to_owned() },
        CallError::NotSent { why: NotSent::Connect { .. } | NotSent::Token(_), .. }
        | CallError::Unauthorized { .. }
        | CallError::RateLimited { .. } => not_executed(),
        CallError::Rejected { .. } | CallError::Unprocessable { .. } => Event::Rejected { code: said() },
        CallError::Processing { .. } => {
            evidence.refund.as_deref().map_or(Event::Silent, |shown| of_refund(merchant, refund, shown))
        }
        // The client files none of these under "not made".
        CallError::Forbidden { .. }
        | CallError::NotFound { .. }
        | CallError::RetryLimit { .. }
        | CallError::Ambiguous { .. } => Event::Silent,
    }
}

/// A question that was not answered with a refund.
fn of_failed_question(merchant: MerchantId, refund: &Refund, error: &CallError) -> Event {
    let evidence = error.evidence();
    let wait = evidence.retry_after.and_then(|wait| TimeDelta::from_std(wait).ok());
    match error {
        CallError::NotSent { why: NotSent::Invalid(why), .. } => Event::Rejected { code: (*why).to_owned() },
        CallError::NotSent { why: NotSent::Connect { .. } | NotSent::Token(_), .. }
        | CallError::Unauthorized { .. }
        | CallError::RateLimited { .. } => Event::NotExecuted { wait, code: error.kind().to_owned() },
        CallError::Rejected { .. } => Event::Rejected { code: "rejected".to_owned() },
        CallError::NotFound { .. } => Event::Absent,
        // Failed refunds are answered 422 with the refund. Without it the answer names no key, and counts only where the id that
        // was asked about is proven to be ours. NOT_ACCEPTABLE, the older pages' word, has other meanings and never counts.
        CallError::Processing { .. } => match evidence.refund.as_deref() {
            Some(shown) => of_refund(merchant, refund, shown),
            None if refund.gateway_id.is_some() && evidence.title.as_deref().is_some_and(says_failed) => {
                Event::Declined { id: None, code: evidence.detail.as_deref().map_or_else(String::new, shortened) }
            }
            None => Event::Silent,
        },
        CallError::Forbidden { .. } | CallError::RetryLimit { .. } | CallError::Unprocessable { .. } => Event::Silent,
        CallError::Ambiguous { why, .. } => match why {
            Ambiguity::WrongPayment { .. } => Event::Mismatch,
            Ambiguity::Cut { .. }
            | Ambiguity::TimedOut
            | Ambiguity::Status(_)
            | Ambiguity::Redirect
            | Ambiguity::TooLarge { .. }
            | Ambiguity::Undecodable { .. } => Event::Silent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::id::{ChargeId, Key, RefundId, SubscriptionId};
    use domain::money::Currency;
    use domain::refund::{Reason, State};
    use serde_json::json;

    fn merchant() -> MerchantId {
        "11111111-1111-4111-8111-111111111111".parse().unwrap()
    }

    fn ours() -> Refund {
        let charge = ChargeId(Uuid::from_u128(3));
        let at = chrono::DateTime::UNIX_EPOCH;
        Refund {
            id: RefundId::of(charge, 1),
            charge,
            number: 1,
            merchant: merchant(),
            subscription: SubscriptionId::parse("sub-1").unwrap(),
            key: Key(Uuid::from_u128(5)),
            payment_id: "pay-1".to_owned(),
            amount: Money::new(500, Currency::USD),
            whole: false,
            from: None,
            reason: Reason::parse("returned").unwrap(),
            recorded_at: at,
            gateway_id: None,
            hint: None,
            state: State::Sending { since: at, lease_until: at },
        }
    }

    fn event(status: &str, more: &serde_json::Value) -> Event {
        let mut json =
            json!({"id": "rf-1", "merchantTransactionId": ours().key.to_string(), "status": status, "amount": 500});
        for (name, value) in more.as_object().unwrap() {
            json[name] = value.clone();
        }
        of_refund(merchant(), &ours(), &serde_json::from_value(json).unwrap())
    }

    #[test]
    fn each_documented_status_means_one_thing_under_both_names() {
        let (id, amount) = ("rf-1".to_owned(), Money::new(500, Currency::USD));
        for done in ["COMPLETED", "REFUNDED"] {
            assert_eq!(event(done, &json!({})), Event::Completed { id: id.clone(), amount });
        }
        for failed in ["FAILED", "REFUND_FAILED"] {
            assert!(matches!(event(failed, &json!({})), Event::Declined { id: Some(_), .. }));
        }
        for open in ["INITIATED", "PENDING", "A_WORD_OF_NEXT_YEAR"] {
            assert_eq!(event(open, &json!({})), Event::Accepted { id: id.clone() });
        }
        let parts = json!([{"amount": 200, "status": "COMPLETED"}, {"amount": 300, "status": "FAILED",
            "error": {"title": "REFUND_ERROR", "errorDetails": [{"code": "method_canceled", "message": "gone"}]}}]);
        for partly in ["PARTIAL_SUCCESS", "PARTIAL_REFUND"] {
            let given_back = Money::new(200, Currency::USD);
            let expected = Event::PartlyCompleted { id: id.clone(), given_back, code: "method_canceled".to_owned() };
            assert_eq!(event(partly, &json!({"refundAllocations": parts})), expected);
        }
        // A done refund that names no amount proves none.
        assert_eq!(event("COMPLETED", &json!({"amount": null})), Event::Silent);
    }

    #[test]
    fn a_refund_of_somebody_else_is_a_mismatch_and_one_without_a_key_proves_nothing() {
        for other in [
            json!({"merchantTransactionId": "another"}),
            json!({"payment": {"id": "pay-2"}}),
            json!({"merchant": {"id": "22222222-2222-4222-8222-222222222222"}}),
        ] {
            assert_eq!(event("COMPLETED", &other), Event::Mismatch, "{other}");
        }
        assert_eq!(event("COMPLETED", &json!({"merchantTransactionId": null})), Event::Silent);
    }

    fn evidence(status: u16, title: &str, detail: &str) -> Box<Evidence> {
        Box::new(Evidence {
            http_status: Some(status),
            title: Some(title.to_owned()),
            detail: Some(detail.to_owned()),
            ..Evidence::default()
        })
    }

    #[test]
    fn a_create_is_failed_only_where_it_provably_made_nothing() {
        let of = |error: CallError| submitted(merchant(), &ours(), &Err(CreateRefundError::from(error))).event;
        let rejected = of(CallError::Rejected { evidence: evidence(400, "INVALID_REQUEST", "paymentId not found") });
        assert_eq!(rejected, Event::Rejected { code: "paymentId not found".to_owned() });
        let used = evidence(400, "INVALID_REQUEST", "merchantTransactionId already used");
        assert_eq!(of(CallError::Rejected { evidence: used }), Event::KeyUsed);
        for error in [
            CallError::Forbidden { evidence: evidence(403, "FORBIDDEN", "no") },
            CallError::NotFound { evidence: evidence(404, "NOT_FOUND", "no") },
            CallError::Processing { evidence: evidence(422, "REFUND_ERROR", "failed") },
            CallError::Unprocessable { evidence: evidence(406, "NOT_ACCEPTABLE", "no") },
            CallError::Ambiguous { why: Ambiguity::Status(503), evidence: evidence(503, "", "") },
            CallError::Ambiguous { why: Ambiguity::TimedOut, evidence: Box::default() },
            CallError::Ambiguous { why: Ambiguity::WrongPayment { field: "id" }, evidence: evidence(202, "", "") },
        ] {
            assert_eq!(of(error.clone()), Event::Silent, "{error}");
        }
        for error in [
            CallError::RateLimited { evidence: evidence(429, "", "") },
            CallError::Unauthorized { evidence: evidence(401, "UNAUTHORIZED", "") },
        ] {
            assert!(matches!(of(error), Event::NotExecuted { .. }));
        }
    }

    #[test]
    fn a_failure_without_the_refund_counts_only_of_an_id_that_is_proven_ours() {
        let error = |title| Err(CallError::Processing { evidence: evidence(422, title, "declined") });
        let proven = Refund { gateway_id: Some("rf-1".to_owned()), ..ours() };
        let hinted = Refund { hint: Some("rf-1".to_owned()), ..ours() };
        assert!(matches!(asked(merchant(), &proven, &error("REFUND_ERROR")).event, Event::Declined { .. }));
        assert_eq!(asked(merchant(), &proven, &error("NOT_ACCEPTABLE")).event, Event::Silent);
        assert_eq!(asked(merchant(), &hinted, &error("REFUND_ERROR")).event, Event::Silent);
    }

    #[test]
    fn an_answer_that_proves_nothing_may_still_name_the_refund() {
        let shown = json!({"id": "rf-1", "merchantTransactionId": ours().key.to_string(), "status": "PENDING"});
        let mut carried = evidence(422, "REFUND_ERROR", "strange");
        carried.refund = Some(Box::new(serde_json::from_value(shown).unwrap()));
        let error = CreateRefundError::from(CallError::Processing { evidence: carried });
        let seen = submitted(merchant(), &ours(), &Err(error));
        assert_eq!((seen.event, seen.named.as_deref()), (Event::Silent, Some("rf-1")));
    }
}
