//! Every error the contract names, and the class the client puts it in.
//!
//! [`CODES`] is what the client classifies by: an answer whose status, title and message are a row of the table gets the
//! row's class, and any other answer gets the class of its status and title. So a page printed from the table and the
//! client cannot disagree.
//!
//! ```
//! use ccg::codes::{CODES, Class};
//!
//! let refused: Vec<_> = CODES.iter().filter(|code| code.class == Class::Rejected).collect();
//! assert!(refused.iter().any(|code| code.detail == "amount is required" && code.section == "§4.7"));
//! for code in CODES {
//!     let calls: Vec<_> = code.calls.iter().map(|call| call.name()).collect();
//!     let line = format!("{} {}: {} ({})", code.http_status, code.title, code.class.name(), calls.join(", "));
//!     assert!(!code.class.advice().is_empty(), "{line}");
//! }
//! ```

mod table;

use crate::operation::{Operation, Resource};

pub use table::CODES;

/// One error the contract names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The HTTP status of the answer.
    pub http_status: u16,
    /// The gateway's error class; empty where the answer has none.
    pub title: &'static str,
    /// The gateway's message; `{word}` stands for any text. Empty where the answer has none.
    pub detail: &'static str,
    /// The calls that can be answered with it.
    pub calls: &'static [Operation],
    /// Where the contract names it.
    pub section: &'static str,
    /// What the client makes of it.
    pub class: Class,
}

/// What the client makes of an answer that is not a success. Each is the [`CallError`](crate::CallError) variant of the
/// same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request is wrong; nothing was processed.
    Rejected,
    /// The token was not accepted; nothing was processed.
    Unauthorized,
    /// Too many calls; nothing was processed.
    RateLimited,
    /// Not allowed, or the id exists already.
    Forbidden,
    /// Not known, or another merchant's.
    NotFound,
    /// It failed in processing.
    Processing,
    /// No further submission of this id is taken.
    RetryLimit,
    /// A business rule, or a session that is over.
    Unprocessable,
    /// It says nothing about the outcome.
    Ambiguous,
}

impl Class {
    /// The name in small letters; the same as [`CallError::kind`](crate::CallError::kind).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Processing => "processing",
            Self::RetryLimit => "retry_limit",
            Self::Unprocessable => "unprocessable",
            Self::Ambiguous => "ambiguous",
        }
    }

    /// What a caller can do about it, in one sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Rejected => "nothing was processed: mend the request, sending it again as it is cannot help",
            Self::Unauthorized => "nothing was processed: the next call fetches another token",
            Self::RateLimited => "nothing was processed: wait, then send it again",
            Self::Forbidden => "ask what became of the id before anything else; then check merchant, client and scope",
            Self::NotFound => "no proof about what was sent a moment ago: ask again before acting on it",
            Self::Processing => "read the record in the answer: a failed one is final, any other is still under way",
            Self::RetryLimit => "look the payment up; this id is taken no further",
            Self::Unprocessable => "the state or a rule forbids it: look the resource up, then decide",
            Self::Ambiguous => "the outcome is not known: ask before anything else, never send it again first",
        }
    }
}

impl Code {
    fn fits(&self, operation: Operation, http_status: u16, title: &str, detail: &str) -> bool {
        self.http_status == http_status
            && self.title == title
            && self.calls.contains(&operation)
            && matches(self.detail, detail)
    }
}

/// The row of the table that an answer is, if it is one the contract names.
pub fn look_up(operation: Operation, http_status: u16, title: &str, detail: &str) -> Option<&'static Code> {
    CODES.iter().find(|code| code.fits(operation, http_status, title, detail))
}

/// The class of any answer that is not a success: the table's, or else that of its status and title. Total.
pub fn classify(operation: Operation, http_status: u16, title: &str, detail: &str) -> Class {
    match look_up(operation, http_status, title, detail) {
        Some(code) => code.class,
        None => by_status(operation, http_status, title, detail),
    }
}

fn by_status(operation: Operation, http_status: u16, title: &str, detail: &str) -> Class {
    let session = operation.resource() == Resource::Session;
    match http_status {
        401 if session && title == "SESSION_TIMEOUT" => Class::Unprocessable,
        410 if session && title == "SESSION_CANCELED" => Class::Unprocessable,
        400 => Class::Rejected,
        401 => Class::Unauthorized,
        403 => Class::Forbidden,
        404 => Class::NotFound,
        429 => Class::RateLimited,
        406 | 422 if detail.to_ascii_lowercase().contains("retry limit exceeded") => Class::RetryLimit,
        406 | 422 if is_processing(operation, http_status, title) => Class::Processing,
        406 | 422 => Class::Unprocessable,
        _ => Class::Ambiguous,
    }
}

/// Titles under which the processor's verdict is told (contract §3.2): the newest and the older ones.
fn is_processing(operation: Operation, http_status: u16, title: &str) -> bool {
    match operation.resource() {
        Resource::Refund => {
            matches!(title, "REFUND_ERROR" | "PAYMENT_ERROR") || (http_status == 406 && title == "NOT_ACCEPTABLE")
        }
        Resource::Payment | Resource::Session | Resource::PaymentMethod | Resource::Customer => {
            matches!(title, "PAYMENT_ERROR" | "PAYMENT_METHOD_ERROR")
                || (http_status == 406 && title == "NOT_ACCEPTABLE")
        }
    }
}

/// Whether `text` is `pattern` with some text in the place of each `{word}`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut literals = Vec::new();
    let mut rest = pattern;
    while let Some((literal, (_, after))) = rest.split_once('{').and_then(|(a, b)| Some((a, b.split_once('}')?))) {
        literals.push(literal);
        rest = after;
    }
    let Some((first, middle)) = literals.split_first() else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    for literal in middle {
        match left.find(literal) {
            Some(at) => left = left.get(at + literal.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    left.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_any_text_in_its_gaps_and_nothing_else() {
        let pattern = "Payment method ending with {last4} is not {what}.";
        assert!(matches(pattern, "Payment method ending with 4242 is not configured."));
        assert!(!matches(pattern, "Payment method ending with 4242 is configured."));
        assert!(!matches(pattern, "payment method ending with 4242 is not configured."));
        assert!(matches("plain", "plain") && !matches("plain", "plainer"));
        assert!(matches("starts {rest}", "starts with this") && !matches("starts {rest}", "it starts"));
        assert!(matches("", "") && !matches("", "x"));
    }

    /// A message in other words must not land in another class than the documented one under the same title.
    #[test]
    fn a_reworded_message_keeps_its_class() {
        let exceptions = [
            // Told apart by its words alone: the title is that of every other declined payment.
            "Payment failed after maximum retries.",
        ];
        for code in CODES {
            for call in code.calls {
                let reworded = if code.class == Class::RetryLimit { code.detail } else { "other words" };
                let class = by_status(*call, code.http_status, code.title, reworded);
                assert!(class == code.class || exceptions.contains(&code.detail), "{code:?} as {call:?}: {class:?}");
            }
        }
    }

    #[test]
    fn no_two_rows_fit_the_same_answer() {
        for (n, code) in CODES.iter().enumerate() {
            for other in &CODES[n + 1..] {
                let same =
                    (code.http_status, code.title, code.detail) == (other.http_status, other.title, other.detail);
                let shared = code.calls.iter().any(|call| other.calls.contains(call));
                assert!(!(same && shared), "{code:?} and {other:?}");
            }
            assert!(!code.calls.is_empty() && code.section.starts_with('§'), "{code:?}");
        }
    }
}
