//! From an answer to what a caller can do: one table, by status.
//!
//! Not allowed here: sending anything, and reading more into an answer than it says. What is in doubt is ambiguous.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Ambiguity, CallError, Evidence};
use crate::payment::Payment;
use crate::text;

/// Longest title and message kept, in characters.
const TITLE_MAX: usize = 60;
const DETAIL_MAX: usize = 300;

/// What the call was about; an answer about anything else is not believed.
#[derive(Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// The sender's id.
    Transaction(&'a str),
    /// The gateway's id.
    Id(&'a str),
}

impl Expected<'_> {
    /// The field in which the payment differs from what was asked about. An error answer may leave the sender's id out.
    fn differs(self, payment: &Payment, may_be_missing: bool) -> Option<&'static str> {
        match self {
            Self::Transaction(asked) => match payment.merchant_transaction_id.as_deref() {
                Some(id) if id == asked => None,
                None if may_be_missing => None,
                Some(_) | None => Some("merchantTransactionId"),
            },
            Self::Id(asked) => (!payment.id.eq_ignore_ascii_case(asked)).then_some("id"),
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    data: Payment,
}

/// The payment out of a 2xx answer.
pub(crate) fn payment(body: &[u8], expected: Expected<'_>) -> Result<Payment, Ambiguity> {
    let Envelope { data } = serde_json::from_slice(body).map_err(|error| undecodable(&error))?;
    if data.id.is_empty() {
        return Err(Ambiguity::WrongPayment { field: "id" });
    }
    match expected.differs(&data, false) {
        None => Ok(data),
        Some(field) => Err(Ambiguity::WrongPayment { field }),
    }
}

fn undecodable(error: &serde_json::Error) -> Ambiguity {
    Ambiguity::Undecodable { line: error.line(), column: error.column() }
}

/// The gateway's error object (contract §3.2). Fields of an unexpected type do not hide the others.
#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

fn words(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
}

/// The error for an answer that is not a success. `secret` is the token the call was made with.
pub(crate) fn failure(
    status: u16,
    body: &[u8],
    mut evidence: Box<Evidence>,
    expected: Expected<'_>,
    secret: &str,
) -> CallError {
    let ambiguous = |why, evidence| CallError::Ambiguous { why, evidence };
    let problem = serde_json::from_slice::<Problem<'_>>(body);
    let mut full_detail = None;
    if let Ok(problem) = &problem {
        let kept = |text: String, max| text::clean(&text::without_secret(text, Some(secret)), max);
        full_detail = words(problem.detail);
        evidence.title = words(problem.title).map(|title| kept(title, TITLE_MAX));
        evidence.detail = full_detail.clone().map(|detail| kept(detail, DETAIL_MAX));
        evidence.payment = problem.data.and_then(|raw| serde_json::from_str::<Payment>(raw.get()).ok()).map(Box::new);
    }
    if let Some(payment) = evidence.payment.take() {
        match expected.differs(&payment, true) {
            None => evidence.payment = Some(payment),
            Some(field) => return ambiguous(Ambiguity::WrongPayment { field }, evidence),
        }
    }
    // What a proxy in front says in HTML is not the gateway's word, so it proves nothing about the payment.
    let unread = match &problem {
        Ok(_) if evidence.title.is_some() || evidence.detail.is_some() => None,
        Ok(_) => Some(Ambiguity::Undecodable { line: 0, column: 0 }),
        Err(error) => Some(undecodable(error)),
    };
    match (status, unread) {
        (401, _) => CallError::Unauthorized { evidence },
        (403, _) => CallError::Forbidden { evidence },
        // Only the gateway's own "not found" counts: a proxy's page says nothing about the payment.
        (404, Some(why)) => ambiguous(why, evidence),
        (404, None) => CallError::NotFound { evidence },
        (429, _) => CallError::RateLimited { evidence },
        (300..=399, _) => ambiguous(Ambiguity::Redirect, evidence),
        (400 | 406 | 422, Some(why)) => ambiguous(why, evidence),
        (400, None) => CallError::Rejected { evidence },
        (406 | 422, None) => {
            let says_limit =
                full_detail.is_some_and(|detail| detail.to_ascii_lowercase().contains("retry limit exceeded"));
            let title = evidence.title.as_deref();
            let failed = matches!(title, Some("PAYMENT_ERROR" | "PAYMENT_METHOD_ERROR"))
                || (status == 406 && title == Some("NOT_ACCEPTABLE"));
            if says_limit {
                CallError::RetryLimit { evidence }
            } else if failed || evidence.payment.is_some() {
                CallError::Processing { evidence }
            } else {
                CallError::Unprocessable { evidence }
            }
        }
        (_, _) => ambiguous(Ambiguity::Status(status), evidence),
    }
}
