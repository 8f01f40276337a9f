//! The one table from every answer to what autopay makes of it: what the contract names, what HTTP and the wire can do, and the codes by
//! which declines are classed.
//!
//! Nothing here is written down a second time. Each answer is built as the client would report it and handed to the very functions
//! that judge real answers, and each decline is a row of the domain's own table, so the page cannot say other than what happens.

use std::fmt;

use ccg::codes::{CODES, Class, Code, classify};
use ccg::{Ambiguity, CallError, CreateRefundError, Evidence, NotSent, Operation, TokenError};
use domain::id::{ChargeId, Key, MerchantId, RefundId, SubscriptionId};
use domain::money::{Currency, Money};
use domain::refund::{Event, Reason, Refund, State};
use domain::verdict::{self, Decline, DeclineClass, FallThrough, NotExecuted, Seen};

use super::{refunds, verdicts};
use crate::ports::{Asked, Question};

/// Whose word an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CodeOrigin {
    /// An error that the contract names.
    Contract,
    /// An HTTP status with words that the contract does not name.
    Http,
    /// What became of the connection; no answer at all.
    Transport,
    /// A code by which a decline is classed.
    Decline(verdict::Origin),
}

impl CodeOrigin {
    /// Every one, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        let declines = verdict::Origin::ALL.into_iter().map(Self::Decline);
        [Self::Contract, Self::Http, Self::Transport].into_iter().chain(declines)
    }

    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contract => "contract",
            Self::Http => "http",
            Self::Transport => "transport",
            Self::Decline(origin) => origin.as_str(),
        }
    }
}

/// What an answer is to a charge's attempt: how a decline is classed, or that it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeClass {
    /// A decline.
    Decline(DeclineClass),
    /// It uses no try of a charge and no step of its policy.
    NotAnAttempt,
    /// It proves nothing: asked about until known.
    Unknown,
}

impl CodeClass {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Self> {
        DeclineClass::ALL.into_iter().map(Self::Decline).chain([Self::NotAnAttempt, Self::Unknown])
    }

    /// The word in tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decline(class) => class.as_str(),
            Self::NotAnAttempt => "not_an_attempt",
            Self::Unknown => "unknown",
        }
    }

    const fn takes_step(self) -> bool {
        match self {
            Self::Decline(class) => class.takes_step(),
            Self::NotAnAttempt | Self::Unknown => false,
        }
    }

    const fn fall_through(self) -> FallThrough {
        match self {
            Self::Decline(class) => class.fall_through(),
            Self::NotAnAttempt | Self::Unknown => FallThrough::No,
        }
    }
}

impl fmt::Display for CodeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRow {
    /// Whose word.
    pub origin: CodeOrigin,
    /// The code: of an answer its status and title, of several statuses that come to the same the first and the last.
    pub code: String,
    /// The gateway's message, `{word}` for any text, or what a code says.
    pub message: &'static str,
    /// The calls of autopay that it can answer, in the same words for what follows; none where a payment bears it.
    pub calls: Vec<&'static str>,
    /// What it is to a charge's attempt.
    pub class: CodeClass,
    /// What autopay does.
    pub reaction: &'static str,
    /// Whether the policy takes its next step by it.
    pub takes_step: bool,
    /// Whether another method of the customer may be charged in its place.
    pub fall_through: FallThrough,
    /// No try earlier than so many hours after it; 0 where it says nothing of that.
    pub wait_hours: u16,
    /// So many further tries of the charge at most, where it says so.
    pub most_retries: Option<u16>,
    /// Where it is written.
    pub source: String,
}

/// The table: one line for each answer and each way in which autopay takes it.
#[must_use]
pub fn codes() -> Vec<CodeRow> {
    let mut rows: Vec<CodeRow> = CODES.iter().flat_map(of_contract).collect();
    rows.extend(of_statuses());
    rows.extend(of_the_wire());
    rows.extend(declines());
    rows
}

/// The part of the table by which declines are classed. A code that is not in it is `unclassified`.
#[must_use]
pub fn declines() -> Vec<CodeRow> {
    let row = |row: &verdict::CodeRow| CodeRow {
        origin: CodeOrigin::Decline(row.origin),
        code: row.code.to_owned(),
        message: row.meaning,
        calls: Vec::new(),
        class: CodeClass::Decline(row.class),
        reaction: row.consequence(),
        takes_step: row.takes_step(),
        fall_through: row.fall_through(),
        wait_hours: row.wait_hours,
        most_retries: row.most_retries,
        source: row.origin.source().to_owned(),
    };
    Decline::table().iter().map(row).collect()
}

/// What an error comes to for each of the calls, those alike together.
fn rows_of(
    origin: CodeOrigin,
    (code, message): (&str, &'static str),
    (calls, advice): (&[Operation], &'static str),
    source: &str,
    error: impl Fn() -> CallError,
) -> Vec<CodeRow> {
    let mut ways: Vec<(Way, Vec<&'static str>)> = Vec::new();
    for call in calls {
        let way = reaction(*call, error(), advice);
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, calls)) => calls.push(call.name()),
            None => ways.push((way, vec![call.name()])),
        }
    }
    let row = |((class, reaction), calls): (Way, Vec<&'static str>)| CodeRow {
        origin,
        code: code.to_owned(),
        message,
        calls,
        class,
        reaction,
        takes_step: class.takes_step(),
        fall_through: class.fall_through(),
        wait_hours: 0,
        most_retries: None,
        source: source.to_owned(),
    };
    ways.into_iter().map(row).collect()
}

/// The rows of an error that the contract names.
fn of_contract(code: &Code) -> Vec<CodeRow> {
    let name = format!("{} {}", code.http_status, code.title);
    let source = format!("contract of the gateway, {}", code.section);
    rows_of(CodeOrigin::Contract, (&name, code.detail), (code.calls, code.class.advice()), &source, || {
        error_of(code.class, code.http_status, code.title, code.detail)
    })
}

/// The calls about a charge's own payment that autopay makes by itself.
const OF_CHARGES: &[Operation] = &[Operation::CreatePayment, Operation::FindPayment, Operation::GetPayment];

/// Statuses from 300 to 599 under words that the contract does not name, those that come to the same side by side together.
fn of_statuses() -> Vec<CodeRow> {
    let mut runs: Vec<(u16, u16, Class)> = Vec::new();
    for status in 300..=599 {
        let class = classify(Operation::CreatePayment, status, "", "");
        match runs.last_mut() {
            Some((_, last, known)) if *known == class => *last = status,
            Some(_) | None => runs.push((status, status, class)),
        }
    }
    let rows = |(first, last, class): (u16, u16, Class)| {
        let name = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let error = || error_of(class, first, "", "");
        let said = (name.as_str(), "in words that the contract does not name");
        rows_of(CodeOrigin::Http, said, (OF_CHARGES, class.advice()), "contract of the gateway, §3.2", error)
    };
    runs.into_iter().flat_map(rows).collect()
}

/// What can become of a call that is not answered, or not with an answer.
fn of_the_wire() -> Vec<CodeRow> {
    let cause = String::new;
    let unsent = [
        NotSent::Connect { timed_out: false, cause: cause() },
        NotSent::Connect { timed_out: true, cause: cause() },
        NotSent::Token(TokenError::Unreachable { cause: cause() }),
        NotSent::Token(TokenError::TimedOut),
        NotSent::Token(TokenError::Refused { http_status: 401, code: None }),
        NotSent::Token(TokenError::Failed { http_status: 500 }),
        NotSent::Token(TokenError::Malformed { what: "" }),
        NotSent::Invalid(""),
    ];
    let silent = [
        Ambiguity::Cut { cause: cause() },
        Ambiguity::TimedOut,
        Ambiguity::Status(200),
        Ambiguity::Redirect,
        Ambiguity::TooLarge { limit: 0 },
        Ambiguity::Undecodable { line: 0, column: 0 },
        Ambiguity::WrongPayment { field: "" },
    ];
    let evidence = Box::<Evidence>::default;
    let unsent = unsent.into_iter().map(|why| (unsent_as(&why), CallError::NotSent { why, evidence: evidence() }));
    let silent = silent.into_iter().map(|why| (silent_as(&why), CallError::Ambiguous { why, evidence: evidence() }));
    let source = "the client of the gateway: what left this machine, and what came back";
    let rows = |(said, error): ((&'static str, &'static str), CallError)| {
        rows_of(CodeOrigin::Transport, said, (OF_CHARGES, ""), source, || error.clone())
    };
    let mut all: Vec<CodeRow> = unsent.chain(silent).flat_map(rows).collect();
    let damaged = verdicts::damaged_body().seen;
    all.push(CodeRow {
        origin: CodeOrigin::Transport,
        code: "request_damaged".to_owned(),
        message: "the stored request was changed after it was recorded",
        calls: vec![Operation::CreatePayment.name()],
        class: class_of(&damaged),
        reaction: "nothing was sent: the charge is set aside for a person",
        takes_step: class_of(&damaged).takes_step(),
        fall_through: class_of(&damaged).fall_through(),
        wait_hours: 0,
        most_retries: None,
        source: source.to_owned(),
    });
    all
}

/// Why nothing was sent, by name and in words.
const fn unsent_as(why: &NotSent) -> (&'static str, &'static str) {
    match why {
        NotSent::Connect { timed_out: false, .. } => ("connect", "no connection: name, refusal or TLS"),
        NotSent::Connect { timed_out: true, .. } => ("connect_timeout", "no connection in time"),
        NotSent::Token(TokenError::Unreachable { .. }) => {
            ("token_unreachable", "no token: its endpoint is out of reach")
        }
        NotSent::Token(TokenError::TimedOut) => ("token_timeout", "no token in time"),
        NotSent::Token(TokenError::Refused { .. }) => ("token_refused", "no token: the credentials are refused"),
        NotSent::Token(TokenError::Failed { .. }) => ("token_failed", "no token: its endpoint is in trouble, 5xx"),
        NotSent::Token(TokenError::Malformed { .. }) => ("token_malformed", "no token: the answer holds none"),
        // The client may learn of other troubles with tokens.
        NotSent::Token(_) => ("token_trouble", "no token"),
        NotSent::Invalid(_) => ("request_invalid", "the request breaks a limit of the contract: our own mistake"),
    }
}

/// Why nothing is proven, by name and in words.
const fn silent_as(why: &Ambiguity) -> (&'static str, &'static str) {
    match why {
        Ambiguity::Cut { .. } => ("cut", "the connection ended before the answer did"),
        Ambiguity::TimedOut => ("timeout", "no answer in time, after it was sent"),
        Ambiguity::Status(_) => ("status", "a status that says nothing, 1xx or 2xx"),
        Ambiguity::Redirect => ("redirect", "a redirect; never followed"),
        Ambiguity::TooLarge { .. } => ("too_large", "an answer over the limit"),
        Ambiguity::Undecodable { .. } => ("undecodable", "an answer that is not what it should be"),
        Ambiguity::WrongPayment { .. } => ("wrong_payment", "an answer about another payment"),
    }
}

/// What it is to a charge's attempt, and what autopay does.
type Way = (CodeClass, &'static str);

/// What this call answered so comes to; `advice` is the client's own, for calls about which this room has no verdict.
fn reaction(call: Operation, error: CallError, advice: &'static str) -> Way {
    match call {
        Operation::CreatePayment => {
            let seen = verdicts::submitted(MerchantId(NIL), Key(NIL), nothing(), &Err(error)).seen;
            (class_of(&seen), of_create(&seen))
        }
        Operation::FindPayment => {
            let seen = verdicts::asked(MerchantId(NIL), &question(), Asked::ByKey, &Err(error)).seen;
            (class_of(&seen), of_question(&seen))
        }
        Operation::GetPayment => {
            let question = Question { payment_id: Some(NIL.to_string()), ..question() };
            let seen = verdicts::asked(MerchantId(NIL), &question, Asked::ById, &Err(error)).seen;
            (class_of(&seen), of_question(&seen))
        }
        Operation::CreateRefund => {
            let Some(refund) = refund() else { return (CodeClass::NotAnAttempt, advice) };
            let event = refunds::submitted(MerchantId(NIL), &refund, &Err(CreateRefundError::from(error))).event;
            (class_of_refund(&event), of_refund(&event))
        }
        Operation::GetRefund => {
            let Some(refund) = refund() else { return (CodeClass::NotAnAttempt, advice) };
            let event = refunds::asked(MerchantId(NIL), &refund, &Err(error)).event;
            (class_of_refund(&event), of_refund_question(&event))
        }
        Operation::CancelPayment => {
            (class_of_call(&error), "told to the person; what became of the payment is learnt by asking for it")
        }
        // Calls that only people make, or that no verdict of this room is about: the client's own advice.
        Operation::CapturePayment
        | Operation::CreateTokenPayment
        | Operation::CreateSession
        | Operation::GetSession
        | Operation::SearchPaymentMethods
        | Operation::UpdatePaymentMethod
        | Operation::DeletePaymentMethod
        | Operation::SetUpPaymentMethod
        | Operation::FindCustomer => (class_of_call(&error), advice),
    }
}

/// What was seen, as the table says it. What is about no try of a charge, or used none, is no attempt.
const fn class_of(seen: &Seen) -> CodeClass {
    match seen {
        Seen::NotExecuted { .. } | Seen::Rejected => CodeClass::NotAnAttempt,
        Seen::Declined(decline) => CodeClass::Decline(decline.class),
        // No error shows a payment here: with one, its own state would count.
        Seen::Silent
        | Seen::Absent
        | Seen::Mismatch
        | Seen::Succeeded { .. }
        | Seen::Accepted { .. }
        | Seen::Authorized { .. } => CodeClass::Unknown,
    }
}

/// A refund is no attempt of a charge; whether it is known what became of it is all that is asked here.
const fn class_of_refund(event: &Event) -> CodeClass {
    match event {
        Event::NotExecuted { .. } | Event::Rejected { .. } | Event::Declined { .. } => CodeClass::NotAnAttempt,
        Event::KeyUsed
        | Event::Silent
        | Event::Absent
        | Event::Mismatch
        | Event::Accepted { .. }
        | Event::Completed { .. }
        | Event::PartlyCompleted { .. }
        | Event::Send
        | Event::PutOff { .. }
        | Event::Refuse { .. }
        | Event::Withdraw
        | Event::LeaseRanOut
        | Event::Learnt { .. }
        | Event::JudgedRefunded { .. }
        | Event::JudgedNotExecuted => CodeClass::Unknown,
    }
}

/// A call that is no attempt of a charge: only whether it is known what became of it.
const fn class_of_call(error: &CallError) -> CodeClass {
    match error {
        CallError::Ambiguous { .. } => CodeClass::Unknown,
        CallError::NotSent { .. }
        | CallError::Rejected { .. }
        | CallError::Unauthorized { .. }
        | CallError::RateLimited { .. }
        | CallError::Forbidden { .. }
        | CallError::NotFound { .. }
        | CallError::Processing { .. }
        | CallError::RetryLimit { .. }
        | CallError::Unprocessable { .. } => CodeClass::NotAnAttempt,
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
fn error_of(class: Class, http_status: u16, title: &str, detail: &str) -> CallError {
    let evidence = Box::new(Evidence {
        http_status: Some(http_status),
        title: Some(title.to_owned()).filter(|title| !title.is_empty()),
        detail: Some(detail.to_owned()).filter(|detail| !detail.is_empty()),
        ..Evidence::default()
    });
    match class {
        Class::Rejected => CallError::Rejected { evidence },
        Class::Unauthorized => CallError::Unauthorized { evidence },
        Class::RateLimited => CallError::RateLimited { evidence },
        Class::Forbidden => CallError::Forbidden { evidence },
        Class::NotFound => CallError::NotFound { evidence },
        Class::Processing => CallError::Processing { evidence },
        Class::RetryLimit => CallError::RetryLimit { evidence },
        Class::Unprocessable => CallError::Unprocessable { evidence },
        Class::Ambiguous => CallError::Ambiguous { why: Ambiguity::Status(http_status), evidence },
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the table has an answer for a call.
    fn lines<'r>(rows: &'r [CodeRow], origin: CodeOrigin, code: &str, call: Operation) -> Vec<&'r CodeRow> {
        let fits = |row: &&CodeRow| row.origin == origin && row.code == code && row.calls.contains(&call.name());
        rows.iter().filter(fits).collect()
    }

    #[test]
    fn each_answer_that_can_be_has_exactly_one_line_for_each_call() {
        let rows = codes();
        for code in CODES {
            for call in code.calls {
                let name = format!("{} {}", code.http_status, code.title);
                let section = format!("contract of the gateway, {}", code.section);
                let mut found = lines(&rows, CodeOrigin::Contract, &name, *call);
                found.retain(|row| row.message == code.detail && row.source == section);
                assert_eq!(found.len(), 1, "{code:?} {call:?}");
            }
        }
        for status in 300..=599 {
            for call in OF_CHARGES {
                let holds = |row: &&CodeRow| {
                    let (first, last) = row.code.split_once('-').unwrap_or((&row.code, &row.code));
                    let [first, last] = [first, last].map(|text| text.parse::<u16>().unwrap());
                    (first..=last).contains(&status) && row.calls.contains(&call.name())
                };
                let found: Vec<&CodeRow> =
                    rows.iter().filter(|row| row.origin == CodeOrigin::Http).filter(holds).collect();
                assert_eq!(found.len(), 1, "{status} {call:?}");
                let error = error_of(classify(*call, status, "", ""), status, "", "");
                assert_eq!((found[0].class, found[0].reaction), reaction(*call, error, ""), "{status} {call:?}");
            }
        }
        let declines = rows.iter().filter(|row| matches!(row.origin, CodeOrigin::Decline(_)));
        assert_eq!(declines.count(), Decline::table().len());
        for origin in CodeOrigin::all() {
            assert!(rows.iter().any(|row| row.origin == origin), "{origin:?}");
        }
    }

    #[test]
    fn each_way_in_which_the_wire_fails_has_a_name_of_its_own() {
        let rows: Vec<CodeRow> = of_the_wire();
        let mut names: Vec<&str> = rows.iter().map(|row| row.code.as_str()).collect();
        names.dedup();
        assert_eq!(names.len(), 16, "{names:?}");
        for row in &rows {
            assert!(!row.message.is_empty() && !row.reaction.is_empty() && !row.source.is_empty(), "{row:?}");
        }
    }

    /// The rule of billing-rules.md §1.4.
    #[test]
    fn what_is_no_decline_uses_no_step_and_no_other_method() {
        let rows = codes();
        for row in rows.iter().filter(|row| !matches!(row.class, CodeClass::Decline(_))) {
            assert!(!row.takes_step && row.fall_through == FallThrough::No, "{row:?}");
        }
        let of = |origin, code: &str| lines(&rows, origin, code, Operation::CreatePayment)[0].class;
        for code in ["400", "401", "429"] {
            assert_eq!(of(CodeOrigin::Http, code), CodeClass::NotAnAttempt, "{code}");
        }
        for code in
            ["connect", "connect_timeout", "token_failed", "token_refused", "request_invalid", "request_damaged"]
        {
            assert_eq!(of(CodeOrigin::Transport, code), CodeClass::NotAnAttempt, "{code}");
        }
        for code in ["timeout", "cut", "wrong_payment"] {
            assert_eq!(of(CodeOrigin::Transport, code), CodeClass::Unknown, "{code}");
        }
        // 403 may mean that the id exists: never a decline, never sent again first.
        assert_eq!(of(CodeOrigin::Http, "403"), CodeClass::Unknown);
    }
}
