//! From an answer to what a caller can do: by the table in [`codes`](crate::codes), and by whether the answer is the
//! gateway's own at all.
//!
//! Not allowed here: sending anything, and reading more into an answer than it says. What is in doubt is ambiguous.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::codes::{self, Class};
use crate::error::{Ambiguity, CallError, Evidence};
use crate::operation::{Operation, Resource};
use crate::payment::Payment;
use crate::refund::Refund;
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
    /// The call names nothing that the answer could be compared with.
    Nothing,
}

/// What an answer is about: something with the gateway's id and the sender's.
pub(crate) trait Record: DeserializeOwned {
    fn id(&self) -> &str;
    fn transaction(&self) -> Option<&str>;
}

impl Record for Payment {
    fn id(&self) -> &str {
        &self.id
    }

    fn transaction(&self) -> Option<&str> {
        self.merchant_transaction_id.as_deref()
    }
}

impl Record for Refund {
    fn id(&self) -> &str {
        &self.id
    }

    fn transaction(&self) -> Option<&str> {
        self.merchant_transaction_id.as_deref()
    }
}

impl Expected<'_> {
    /// The field in which a record differs from what was asked about. An error answer may leave the sender's id out.
    fn differs<R: Record>(self, record: &R, may_be_missing: bool) -> Option<&'static str> {
        match self {
            Self::Transaction(asked) => match record.transaction() {
                Some(id) if id == asked => None,
                None if may_be_missing => None,
                Some(_) | None => Some("merchantTransactionId"),
            },
            Self::Id(asked) => (!record.id().eq_ignore_ascii_case(asked)).then_some("id"),
            Self::Nothing => None,
        }
    }
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

/// What a 2xx answer carries in its envelope.
pub(crate) fn data<T: DeserializeOwned>(body: &[u8]) -> Result<T, Ambiguity> {
    serde_json::from_slice(body).map(|Envelope { data }| data).map_err(|error| undecodable(&error))
}

/// The payment or the refund out of a 2xx answer.
pub(crate) fn record<R: Record>(body: &[u8], expected: Expected<'_>) -> Result<R, Ambiguity> {
    let record: R = data(body)?;
    if record.id().is_empty() {
        return Err(Ambiguity::WrongPayment { field: "id" });
    }
    match expected.differs(&record, false) {
        None => Ok(record),
        Some(field) => Err(Ambiguity::WrongPayment { field }),
    }
}

pub(crate) fn undecodable(error: &serde_json::Error) -> Ambiguity {
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

/// The record an error answer carries: `None` if it carries none that can be read.
fn carried<R: Record>(raw: Option<&RawValue>, expected: Expected<'_>) -> Result<Option<Box<R>>, &'static str> {
    match raw.and_then(|raw| serde_json::from_str::<R>(raw.get()).ok()) {
        None => Ok(None),
        Some(record) => match expected.differs(&record, true) {
            None => Ok(Some(Box::new(record))),
            Some(field) => Err(field),
        },
    }
}

/// The error for an answer that is not a success. `secret` is the token the call was made with.
pub(crate) fn failure(
    operation: Operation,
    status: u16,
    body: &[u8],
    mut evidence: Box<Evidence>,
    expected: Expected<'_>,
    secret: &str,
) -> CallError {
    let ambiguous = |why, evidence| CallError::Ambiguous { why, evidence };
    let problem = serde_json::from_slice::<Problem<'_>>(body);
    let (mut title, mut detail) = (String::new(), String::new());
    if let Ok(problem) = &problem {
        let kept = |text: String, max| text::clean(&text::without_secret(text, Some(secret)), max);
        let (said_title, said_detail) = (words(problem.title), words(problem.detail));
        title = said_title.clone().unwrap_or_default();
        detail = said_detail.clone().unwrap_or_default();
        evidence.title = said_title.map(|title| kept(title, TITLE_MAX));
        evidence.detail = said_detail.map(|detail| kept(detail, DETAIL_MAX));
        let carried = match operation.resource() {
            Resource::Payment => carried(problem.data, expected).map(|payment| evidence.payment = payment),
            Resource::Refund => carried(problem.data, expected).map(|refund| evidence.refund = refund),
            Resource::Session | Resource::PaymentMethod | Resource::Customer => Ok(()),
        };
        if let Err(field) = carried {
            return ambiguous(Ambiguity::WrongPayment { field }, evidence);
        }
    }
    // What a proxy in front says in HTML is not the gateway's word, so it proves nothing about the payment.
    let unread = match &problem {
        Ok(_) if evidence.title.is_some() || evidence.detail.is_some() => None,
        Ok(_) => Some(Ambiguity::Undecodable { line: 0, column: 0 }),
        Err(error) => Some(undecodable(error)),
    };
    let class = codes::classify(operation, status, &title, &detail);
    match (class, unread) {
        (Class::Unauthorized, _) => CallError::Unauthorized { evidence },
        (Class::Forbidden, _) => CallError::Forbidden { evidence },
        (Class::RateLimited, _) => CallError::RateLimited { evidence },
        (Class::Ambiguous, _) if (300..400).contains(&status) => ambiguous(Ambiguity::Redirect, evidence),
        (Class::Ambiguous, _) => ambiguous(Ambiguity::Status(status), evidence),
        // Only the gateway's own "not found" counts: a proxy's page says nothing about the payment.
        (
            Class::Rejected | Class::NotFound | Class::Processing | Class::RetryLimit | Class::Unprocessable,
            Some(why),
        ) => ambiguous(why, evidence),
        (Class::Rejected, None) => CallError::Rejected { evidence },
        (Class::NotFound, None) => CallError::NotFound { evidence },
        (Class::Processing, None) => CallError::Processing { evidence },
        (Class::RetryLimit, None) => CallError::RetryLimit { evidence },
        (Class::Unprocessable, None) if tells_what_failed(operation, &evidence) => CallError::Processing { evidence },
        (Class::Unprocessable, None) => CallError::Unprocessable { evidence },
    }
}

/// Whether the record in the answer is the answer. A refused capture or cancel may show the payment it left as it was.
fn tells_what_failed(operation: Operation, evidence: &Evidence) -> bool {
    match operation {
        Operation::CapturePayment | Operation::CancelPayment => false,
        Operation::CreatePayment
        | Operation::CreateTokenPayment
        | Operation::GetPayment
        | Operation::FindPayment
        | Operation::CreateRefund
        | Operation::GetRefund
        | Operation::CreateSession
        | Operation::GetSession
        | Operation::SearchPaymentMethods
        | Operation::UpdatePaymentMethod
        | Operation::DeletePaymentMethod
        | Operation::SetUpPaymentMethod
        | Operation::FindCustomer => evidence.payment.is_some() || evidence.refund.is_some(),
    }
}
