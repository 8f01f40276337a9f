//! Every error the contract names, with what autopay does about it: the client's table, put through autopay's own verdicts.
//!
//! Nothing here is written down a second time. Each row's answer is built as the client would report it and handed to the very
//! functions that judge real answers, so the page cannot say other than what happens.

use ccg::codes::{CODES, Class, Code};
use ccg::{CallError, CreateRefundError, Evidence, Operation};
use domain::id::{ChargeId, Key, MerchantId, RefundId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::refund::{Event, Reason, Refund, State};
use domain::verdict::{NotExecuted, Seen};

use super::{refunds, verdicts};
use crate::ports::{Asked, Question};

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRow {
    /// HTTP status.
    pub http_status: u16,
    /// The gateway's error class.
    pub title: &'static str,
    /// The gateway's message; `{word}` stands for any text.
    pub detail: &'static str,
    /// The calls of autopay that it can answer, in the same words for what follows.
    pub calls: Vec<&'static str>,
    /// Where the contract names it.
    pub section: &'static str,
    /// What the client makes of it.
    pub class: &'static str,
    /// The class in which a charge's attempt falls by it; `None` where the call is about no charge.
    pub verdict: Option<&'static str>,
    /// What autopay does.
    pub reaction: &'static str,
}

/// The table: one line for each error and each way in which autopay takes it.
#[must_use]
pub fn codes() -> Vec<CodeRow> {
    let mut rows = Vec::new();
    for code in CODES {
        let mut ways: Vec<(Way, Vec<&'static str>)> = Vec::new();
        for call in code.calls {
            let way = reaction(*call, code);
            match ways.iter_mut().find(|(known, _)| *known == way) {
                Some((_, calls)) => calls.push(call.name()),
                None => ways.push((way, vec![call.name()])),
            }
        }
        rows.extend(ways.into_iter().map(|((verdict, reaction), calls)| CodeRow {
            http_status: code.http_status,
            title: code.title,
            detail: code.detail,
            calls,
            section: code.section,
            class: code.class.name(),
            verdict,
            reaction,
        }));
    }
    rows
}

/// The class of a charge's attempt, and what autopay does.
type Way = (Option<&'static str>, &'static str);

/// What this call answered so comes to.
fn reaction(call: Operation, code: &Code) -> Way {
    let error = error_of(code);
    match call {
        Operation::CreatePayment => {
            let seen = verdicts::submitted(MerchantId(NIL), Key(NIL), nothing(), &Err(error)).seen;
            (Some(verdict_of(&seen)), of_create(&seen))
        }
        Operation::FindPayment => {
            let seen = verdicts::asked(MerchantId(NIL), &question(), Asked::ByKey, &Err(error)).seen;
            (Some(verdict_of(&seen)), of_question(&seen))
        }
        Operation::GetPayment => {
            let question = Question { payment_id: Some(NIL.to_string()), ..question() };
            let seen = verdicts::asked(MerchantId(NIL), &question, Asked::ById, &Err(error)).seen;
            (Some(verdict_of(&seen)), of_question(&seen))
        }
        Operation::CancelPayment
        | Operation::CreateRefund
        | Operation::GetRefund
        | Operation::CapturePayment
        | Operation::CreateTokenPayment
        | Operation::CreateSession
        | Operation::GetSession
        | Operation::SearchPaymentMethods
        | Operation::UpdatePaymentMethod
        | Operation::DeletePaymentMethod
        | Operation::SetUpPaymentMethod
        | Operation::FindCustomer => (None, aside(call, code, error)),
    }
}

/// The class in which an attempt falls by what was seen. Whatever uses no try of a charge and no step of its policy is no attempt.
fn verdict_of(seen: &Seen) -> &'static str {
    match seen {
        Seen::NotExecuted { .. } | Seen::Rejected => "not_an_attempt",
        Seen::Silent | Seen::Absent | Seen::Mismatch => "unknown",
        Seen::Declined(decline) => decline.class.as_str(),
        Seen::Succeeded { .. } | Seen::Accepted { .. } | Seen::Authorized { .. } => "by_the_payment",
    }
}

/// What autopay does when a call that is no charge's attempt is answered so.
fn aside(call: Operation, code: &Code, error: CallError) -> &'static str {
    match call {
        Operation::CancelPayment => "told to the person; what became of the payment is learnt by asking for it",
        Operation::CreateRefund => {
            let Some(refund) = refund() else { return code.class.advice() };
            let error = CreateRefundError::from(error);
            of_refund(&refunds::submitted(MerchantId(NIL), &refund, &Err(error)).event)
        }
        Operation::GetRefund => {
            let Some(refund) = refund() else { return code.class.advice() };
            of_refund_question(&refunds::asked(MerchantId(NIL), &refund, &Err(error)).event)
        }
        Operation::CreatePayment
        | Operation::FindPayment
        | Operation::GetPayment
        | Operation::CapturePayment
        | Operation::CreateTokenPayment
        | Operation::CreateSession
        | Operation::GetSession
        | Operation::SearchPaymentMethods
        | Operation::UpdatePaymentMethod
        | Operation::DeletePaymentMethod
        | Operation::SetUpPaymentMethod
        // Calls that only people make, or that no verdict of this room is about: the client's own advice.
        | Operation::FindCustomer => code.class.advice(),
    }
}

const NIL: uuid::Uuid = uuid::Uuid::nil();

const fn nothing() -> Money {
    Money::new(0, Currency::USD)
}

fn question() -> Question {
    Question { key: Key(NIL), payment_id: None, amount: nothing() }
}

/// A refund to judge answers about; none of them shows one. The words are plain names, so there always is one.
fn refund() -> Option<Refund> {
    let (charge, number) = (ChargeId(NIL), 1);
    let at = chrono::DateTime::UNIX_EPOCH;
    Some(Refund {
        id: RefundId::of(charge, number),
        charge,
        number,
        merchant: MerchantId(NIL),
        subscription: SubscriptionId::parse("codes").ok()?,
        key: Key(NIL),
        payment_id: String::new(),
        amount: nothing(),
        whole: true,
        from: None,
        reason: Reason::parse("codes").ok()?,
        recorded_at: at,
        gateway_id: Some(NIL.to_string()),
        hint: None,
        state: State::Sending { since: at, lease_until: at },
    })
}

/// The error as the client would report it.
fn error_of(code: &Code) -> CallError {
    let evidence = Box::new(Evidence {
        http_status: Some(code.http_status),
        title: Some(code.title.to_owned()).filter(|title| !title.is_empty()),
        detail: Some(code.detail.to_owned()).filter(|detail| !detail.is_empty()),
        ..Evidence::default()
    });
    match code.class {
        Class::Rejected => CallError::Rejected { evidence },
        Class::Unauthorized => CallError::Unauthorized { evidence },
        Class::RateLimited => CallError::RateLimited { evidence },
        Class::Forbidden => CallError::Forbidden { evidence },
        Class::NotFound => CallError::NotFound { evidence },
        Class::Processing => CallError::Processing { evidence },
        Class::RetryLimit => CallError::RetryLimit { evidence },
        Class::Unprocessable => CallError::Unprocessable { evidence },
        Class::Ambiguous => CallError::Ambiguous { why: ccg::Ambiguity::Status(code.http_status), evidence },
    }
}

fn of_create(seen: &Seen) -> &'static str {
    match seen {
        Seen::NotExecuted { why: NotExecuted::RateLimited, .. } => {
            "nothing was sent to be processed: everybody waits, then the same key and body"
        }
        Seen::NotExecuted { .. } => "not executed: due again with the same key and body, after a pause",
        Seen::Rejected => "parked as rejected: a person mends the request; no money moved",
        // With the payment in the answer its own state counts; a bare answer proves nothing.
        Seen::Silent => {
            "outcome unknown: asked about by its key until known; a payment in the answer counts by its own state"
        }
        Seen::Succeeded { .. } | Seen::Declined(_) | Seen::Accepted { .. } | Seen::Authorized { .. } => {
            "the payment's own state counts"
        }
        Seen::Absent | Seen::Mismatch => "parked: a person looks",
    }
}

fn of_question(seen: &Seen) -> &'static str {
    match seen {
        Seen::NotExecuted { .. } => "asked again after a pause; no rung of the ladder is used",
        Seen::Rejected => "proves nothing: asked again at the next rung, then a person",
        Seen::Absent => "no proof: asked again; after the quiesce time the same key and body may go out once more",
        Seen::Silent => "proves nothing: asked again at the next rung, then a person",
        Seen::Declined(_) => "declined: the dunning policy decides about another try",
        Seen::Succeeded { .. } | Seen::Accepted { .. } | Seen::Authorized { .. } => "the payment's own state counts",
        Seen::Mismatch => "parked as mismatch: a person looks",
    }
}

fn of_refund(event: &Event) -> &'static str {
    match event {
        Event::NotExecuted { .. } => "the refund failed, not executed; it is not sent again, record a new one",
        Event::Rejected { .. } => "the refund failed, refused; no money moved",
        Event::KeyUsed => "outcome unknown: a refund of this key exists, a person finds it; never sent again",
        Event::Silent => {
            "outcome unknown: a person's, or its event's; never sent again. A failed refund in the answer counts"
        }
        Event::Declined { .. } => "the refund failed; no money moved",
        Event::Accepted { .. } | Event::Completed { .. } | Event::PartlyCompleted { .. } => {
            "the refund's own state counts"
        }
        Event::Send
        | Event::PutOff { .. }
        | Event::Refuse { .. }
        | Event::Withdraw
        | Event::LeaseRanOut
        | Event::Absent
        | Event::Mismatch
        | Event::Learnt { .. }
        | Event::JudgedRefunded { .. }
        | Event::JudgedNotExecuted => "a person looks",
    }
}

fn of_refund_question(event: &Event) -> &'static str {
    match event {
        Event::NotExecuted { .. } => "asked again after a pause; no rung of the ladder is used",
        Event::Declined { .. } => "the refund failed; no money moved",
        Event::Accepted { .. } | Event::Completed { .. } | Event::PartlyCompleted { .. } => {
            "the refund's own state counts"
        }
        Event::Rejected { .. } | Event::Absent | Event::Silent => {
            "proves nothing: asked again at the next rung, then a person"
        }
        Event::KeyUsed
        | Event::Mismatch
        | Event::Send
        | Event::PutOff { .. }
        | Event::Refuse { .. }
        | Event::Withdraw
        | Event::LeaseRanOut
        | Event::Learnt { .. }
        | Event::JudgedRefunded { .. }
        | Event::JudgedNotExecuted => "a person looks",
    }
}
