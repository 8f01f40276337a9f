//! What can come of a call, sorted by what a caller can do about it.

use std::fmt;
use std::time::Duration;

use crate::payment::Payment;
use crate::refund::Refund;
use crate::status::Status;
use crate::token::TokenError;

/// A call the gateway answered as hoped.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// The HTTP status. A look-up may answer 202 while the payment is still under way (contract §4.4).
    pub http_status: u16,
    /// The gateway's id of this call, for its support; letters, digits and `_ - . :` only.
    pub request_id: Option<String>,
    /// SHA-256 of the answer's body.
    pub body_sha256: [u8; 32],
    /// Length of the answer's body, in bytes.
    pub received_bytes: usize,
}

/// What is known about a call that did not go as hoped. It never holds a token or a secret; `detail`, `payment` and `refund` may
/// quote the gateway and so may hold what the gateway knows of a customer's payment method.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// The HTTP status, if an answer of the gateway began. The token endpoint's status is in [`TokenError`].
    pub http_status: Option<u16>,
    /// The gateway's error class, for example `PAYMENT_ERROR` (contract §3.2).
    pub title: Option<String>,
    /// The gateway's message: control characters stripped, at most 300 characters.
    pub detail: Option<String>,
    /// The gateway's id of this call.
    pub request_id: Option<String>,
    /// SHA-256 of the answer's body, if it arrived whole.
    pub body_sha256: Option<[u8; 32]>,
    /// How many bytes of the answer's body arrived.
    pub received_bytes: usize,
    /// The payment an error answer carries (contract §3.2, §4.7): the one that was asked about, except that
    /// an error answer may leave the `merchantTransactionId` out.
    pub payment: Option<Box<Payment>>,
    /// The refund an error answer about a refund carries (contract §5), under the same conditions.
    pub refund: Option<Box<Refund>>,
    /// How long the gateway asks to wait, bounded to 1 second to 1 hour.
    pub retry_after: Option<Duration>,
}

/// A call that did not go as hoped. The variants are about *this one submission*: none of them says anything about an
/// earlier submission of the same payment.
#[derive(Debug, Clone, PartialEq)]
pub enum CallError {
    /// Provably no byte of the request left this machine. It may be sent again as if it had never been tried.
    NotSent {
        /// Why.
        why: NotSent,
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// 400: the gateway refused the request and processed nothing. Sending it again cannot help.
    Rejected {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// 401: the token was not accepted; nothing was processed. The token is dropped, the next call fetches another.
    Unauthorized {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// 429: too many calls; nothing was processed. Wait for [`Evidence::retry_after`], or as the caller sees fit.
    RateLimited {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// 403: on a create it may mean "this id exists" (contract §4.6), so it is *never* a decline; on a look-up it means
    /// that the merchant id and the client do not belong together.
    Forbidden {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// 404: not known, or another merchant's. Not a proof that a payment sent a moment ago does not exist.
    NotFound {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// 422 or 406 about a processing failure; [`Evidence::payment`] or [`Evidence::refund`] tells what failed, if the
    /// gateway said so.
    Processing {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// 422, or 403 in older words: the fifth submission of this id was the last; look the payment up (contract §4.6).
    RetryLimit {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// Any other 422 or 406: a business rule, such as a payment in the wrong state. Also a session that is over (410
    /// `SESSION_CANCELED`, 401 `SESSION_TIMEOUT`, contract §7); see [`CallError::session_end`].
    Unprocessable {
        /// What is known.
        evidence: Box<Evidence>,
    },
    /// Something was or may have been sent, and what became of it is not known. For a create: look it up before
    /// anything else. For a look-up: ask again.
    Ambiguous {
        /// Why.
        why: Ambiguity,
        /// What is known.
        evidence: Box<Evidence>,
    },
}

/// How a session ended without its purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// Somebody cancelled it.
    Canceled,
    /// Its time ran out.
    TimedOut,
}

/// Why nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// No connection: name not found, refused, connect time limit, TLS handshake.
    Connect {
        /// Whether the time limit for connecting ran out.
        timed_out: bool,
        /// The system's words, cleaned, without any address of a resource.
        cause: String,
    },
    /// No access token to send it with.
    Token(TokenError),
    /// The call cannot be made as asked; the words say which limit it breaks.
    Invalid(&'static str),
}

/// Why the outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ambiguity {
    /// The connection ended before the answer did.
    Cut {
        /// The system's words, cleaned, without any address of a resource.
        cause: String,
    },
    /// The time limit ran out.
    TimedOut,
    /// A status that says nothing about the payment: 5xx, 1xx, an undocumented 2xx or 4xx.
    Status(u16),
    /// A redirect. It is never followed: nobody redirects payments with good intent.
    Redirect,
    /// An answer longer than the limit.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// An answer that is not the JSON it should be.
    Undecodable {
        /// Line of the first thing that could not be read, from 1; 0 if unknown.
        line: usize,
        /// Column of it; 0 if unknown.
        column: usize,
    },
    /// An answer about another payment (or refund, or session) than the one asked about. Treat it as hostile.
    WrongPayment {
        /// Which field differs, or is missing.
        field: &'static str,
    },
}

impl CallError {
    /// What is known about the call.
    pub fn evidence(&self) -> &Evidence {
        match self {
            Self::NotSent { evidence, .. }
            | Self::Rejected { evidence }
            | Self::Unauthorized { evidence }
            | Self::RateLimited { evidence }
            | Self::Forbidden { evidence }
            | Self::NotFound { evidence }
            | Self::Processing { evidence }
            | Self::RetryLimit { evidence }
            | Self::Unprocessable { evidence }
            | Self::Ambiguous { evidence, .. } => evidence,
        }
    }

    /// As [`evidence`](Self::evidence), taken out.
    pub fn into_evidence(self) -> Evidence {
        match self {
            Self::NotSent { evidence, .. }
            | Self::Rejected { evidence }
            | Self::Unauthorized { evidence }
            | Self::RateLimited { evidence }
            | Self::Forbidden { evidence }
            | Self::NotFound { evidence }
            | Self::Processing { evidence }
            | Self::RetryLimit { evidence }
            | Self::Unprocessable { evidence }
            | Self::Ambiguous { evidence, .. } => *evidence,
        }
    }

    /// Whether provably no byte of the request left this machine.
    pub fn nothing_sent(&self) -> bool {
        matches!(self, Self::NotSent { .. })
    }

    /// Whether, after *this submission* of a payment's create, money may have moved or may still move, so that the payment
    /// has to be looked up before anything else is done. Refunds have no such look-up:
    /// [`CreateRefundError`](crate::CreateRefundError) speaks about theirs.
    ///
    /// False for what provably processed nothing (`NotSent`, `Rejected`, `Unauthorized`, `RateLimited`, a broken
    /// business rule titled `UNPROCESSABLE_ENTITY`) and for a `Processing` answer that carries the payment, under its
    /// `merchantTransactionId`, in the state `FAILED`. True for all the rest, a 403 and a 404 included: no
    /// page of the contract says that those processed nothing.
    pub fn is_ambiguous_for_create(&self) -> bool {
        match self {
            Self::NotSent { .. } | Self::Rejected { .. } | Self::Unauthorized { .. } | Self::RateLimited { .. } => {
                false
            }
            Self::Processing { evidence } => evidence
                .payment
                .as_deref()
                .is_none_or(|payment| payment.status != Status::Failed || payment.merchant_transaction_id.is_none()),
            Self::Unprocessable { evidence } => evidence.title.as_deref() != Some("UNPROCESSABLE_ENTITY"),
            Self::Forbidden { .. } | Self::NotFound { .. } | Self::RetryLimit { .. } | Self::Ambiguous { .. } => true,
        }
    }

    /// How a session ended, if that is what the answer says (contract §7).
    pub fn session_end(&self) -> Option<SessionEnd> {
        let Self::Unprocessable { evidence } = self else { return None };
        match evidence.title.as_deref() {
            Some("SESSION_CANCELED") => Some(SessionEnd::Canceled),
            Some("SESSION_TIMEOUT") => Some(SessionEnd::TimedOut),
            Some(_) | None => None,
        }
    }

    /// The variant's name in small letters, for counters and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotSent { .. } => "not_sent",
            Self::Rejected { .. } => "rejected",
            Self::Unauthorized { .. } => "unauthorized",
            Self::RateLimited { .. } => "rate_limited",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not_found",
            Self::Processing { .. } => "processing",
            Self::RetryLimit { .. } => "retry_limit",
            Self::Unprocessable { .. } => "unprocessable",
            Self::Ambiguous { .. } => "ambiguous",
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent { why, .. } => write!(f, "nothing was sent to the gateway: {why}")?,
            Self::Rejected { .. } => f.write_str("the gateway refused the request and processed nothing")?,
            Self::Unauthorized { .. } => {
                f.write_str("the gateway did not accept the access token; nothing was processed")?;
            }
            Self::RateLimited { .. } => f.write_str("the gateway asks for fewer calls; nothing was processed")?,
            Self::Forbidden { .. } => {
                f.write_str("the gateway forbids the call, or a payment of this id exists already")?;
            }
            Self::NotFound { .. } => f.write_str("the gateway does not know it")?,
            Self::Processing { .. } => f.write_str("it failed in processing")?,
            Self::RetryLimit { .. } => {
                f.write_str("the gateway takes no further submission of this id; look the payment up")?;
            }
            Self::Unprocessable { .. } => f.write_str("the request breaks a business rule of the gateway")?,
            Self::Ambiguous { why, .. } => write!(f, "the outcome is not known: {why}")?,
        }
        let evidence = self.evidence();
        let title = evidence.title.as_deref().and_then(|title| crate::text::plain_word(title, 40));
        match (evidence.http_status, title) {
            (Some(status), Some(title)) => write!(f, " (HTTP {status} {title}")?,
            (Some(status), None) => write!(f, " (HTTP {status}")?,
            (None, _) => return Ok(()),
        }
        if let Some(id) = &evidence.request_id {
            write!(f, ", request {id}")?;
        }
        if let Some(pause) = evidence.retry_after {
            write!(f, ", try again after {} s", pause.as_secs())?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotSent { why: NotSent::Token(error), .. } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { timed_out: true, .. } => f.write_str("connecting took too long"),
            Self::Connect { cause, .. } => write!(f, "no connection ({cause})"),
            Self::Token(error) => write!(f, "{error}"),
            Self::Invalid(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { cause } => write!(f, "the connection ended before the answer did ({cause})"),
            Self::TimedOut => f.write_str("no whole answer within the time limit"),
            Self::Status(_) => f.write_str("the status says nothing about the outcome"),
            Self::Redirect => f.write_str("the answer is a redirect, which is never followed"),
            Self::TooLarge { limit } => write!(f, "the answer is longer than {limit} bytes"),
            Self::Undecodable { line, column } => {
                write!(f, "the answer is not the JSON it should be (line {line}, column {column})")
            }
            Self::WrongPayment { field } => write!(f, "the answer is not about what was asked: its {field} differs"),
        }
    }
}
