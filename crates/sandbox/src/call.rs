//! What every call goes through: the checks at the door, and the faults on the way out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::{Right, expired};
use crate::books::App;
use crate::clock::{instant, pause, real_us};
use crate::deeds::Deed;
use crate::faults::{Dice, Fault, RetryAfter};
use crate::lock;
use crate::payment::Payment;
use crate::payments::BODY_MAX;
use crate::problem::Problem;
use crate::refund::Refund;
use crate::request::uuid;
use crate::resource::LIED_KEY;
use crate::switches::UpstreamEnv;
use crate::wallet::{Durable, is_durable};
use crate::wire::Connection;

/// The version in the path of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// What a call that changes something does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallKind {
    /// Captures a hold.
    Capture,
    /// Cancels a payment.
    Cancel,
    /// Makes a refund.
    Refund,
}

impl CallKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Cancel => "cancel",
            Self::Refund => "refund",
        }
    }
}

/// A capture, cancellation or refund as it was submitted: a line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallRow {
    pub(crate) kind: CallKind,
    pub(crate) merchant: Uuid,
    /// The payment's id, or the refund's `merchantTransactionId`.
    pub(crate) subject: String,
    pub(crate) number: u32,
    pub(crate) sha256: String,
    pub(crate) at_us: i64,
    pub(crate) real_us: i64,
    pub(crate) answered: Option<u16>,
    pub(crate) fault: Option<Fault>,
}

/// Every capture, cancellation and refund that was submitted.
#[derive(Default)]
pub(crate) struct Calls {
    numbers: HashMap<(CallKind, Uuid, String), u32>,
    pub(crate) rows: Vec<CallRow>,
}

impl Calls {
    pub(crate) fn push(&mut self, row: CallRow) {
        let count = self.numbers.entry((row.kind, row.merchant, row.subject.clone())).or_default();
        *count = (*count).max(row.number);
        self.rows.push(row);
    }

    fn next(&mut self, kind: CallKind, merchant: Uuid, subject: &str) -> u32 {
        let count = self.numbers.entry((kind, merchant, subject.to_owned())).or_default();
        *count += 1;
        *count
    }
}

/// A submission that may be struck by a fault.
pub(crate) struct Submission {
    pub(crate) kind: CallKind,
    pub(crate) merchant: usize,
    pub(crate) subject: String,
    pub(crate) body: Bytes,
    pub(crate) connection: Connection,
}

/// What a submission came to.
pub(crate) struct Deal {
    pub(crate) answer: Response,
    pub(crate) durable: Durable,
    pub(crate) news: News,
}

/// Whose states webhooks have to tell, once the deal is durable.
pub(crate) enum News {
    None,
    Payment(Arc<Payment>),
    Refund(Arc<Refund>),
}

impl From<Problem> for Deal {
    fn from(problem: Problem) -> Self {
        Self { answer: problem.into_response(), durable: None, news: News::None }
    }
}

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = header_text(headers, "content-type").unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json")
}

impl App {
    /// The index of the merchant that the headers name, if it is one of ours.
    pub(crate) fn merchant_named(&self, headers: &HeaderMap) -> Option<usize> {
        header_text(headers, "x-merchant-id").and_then(uuid).and_then(|merchant| self.index_of(merchant))
    }

    /// The checks of every call: token, merchant, scope, source, environment, and the rate limit.
    pub(crate) fn admit(
        &self,
        headers: &HeaderMap,
        named: Option<usize>,
        right: Right,
        version: Version,
    ) -> Result<usize, Problem> {
        let grant = self.desk.check(header_text(headers, "authorization"))?;
        let merchant = headers.get("x-merchant-id").ok_or_else(|| match version {
            Version::V1 => Problem::new(
                400,
                "BAD_REQUEST",
                "Missing request header 'X-Merchant-Id' for method parameter of type UUID",
            ),
            Version::V2 => Problem::invalid("X-Merchant-Id is required"),
        })?;
        let merchant = merchant.to_str().ok().and_then(uuid);
        let merchant = merchant.ok_or_else(|| Problem::invalid("X-Merchant-Id must be valid UUID"))?;
        let index = named.filter(|_| grant.allows(merchant)).ok_or_else(|| match version {
            Version::V1 => Problem::forbidden("403 FORBIDDEN"),
            Version::V2 => self.foreign(headers),
        })?;
        if !grant.has(right) {
            return Err(Problem::forbidden("insufficient scope"));
        }
        if headers.get("x-source").is_some_and(|source| source.len() > 50) {
            return Err(Problem::invalid("source header cannot exceed 50 characters"));
        }
        if let Some(environment) = headers.get("x-upstream-env") {
            self.check_environment(environment.as_bytes())?;
        }
        if let Some(limiter) = self.limiters.get(index)
            && let Err(wait) = limiter.admit(self.arrivals.since.elapsed().as_secs_f64())
        {
            return Err(Problem::too_many(Some(format!("{}", wait.ceil().max(1.0)))));
        }
        Ok(index)
    }

    /// The 403 of a merchant that is not the client's.
    pub(crate) fn foreign(&self, headers: &HeaderMap) -> Problem {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let made = || Uuid::new_v5(&Uuid::from_u128(u128::from(self.options.seed)), &number.to_le_bytes());
        let request = header_text(headers, "x-request-id").map_or_else(|| made().to_string(), str::to_owned);
        Problem::forbidden(format!("403 FORBIDDEN. RequestId: {request}"))
    }

    fn check_environment(&self, name: &[u8]) -> Result<(), Problem> {
        let known = match self.switches().upstream_env {
            UpstreamEnv::Ignored => true,
            UpstreamEnv::Three => matches!(name, b"dev" | b"stage" | b"test"),
            UpstreamEnv::Five => matches!(name, b"dev" | b"stage" | b"test" | b"reg" | b"perf"),
        };
        // No page has a text for it.
        if known { Ok(()) } else { Err(Problem::invalid("X-Upstream-Env is invalid")) }
    }

    /// The checks of a look-up.
    pub(crate) fn look(&self, headers: &HeaderMap, right: Right, version: Version) -> Result<usize, Problem> {
        self.catch_up();
        let named = self.merchant_named(headers);
        self.arrivals.record(named, false);
        self.lookups.fetch_add(1, Ordering::Relaxed);
        // The firewall in front of the gateway refuses both; with which status is not known.
        if !headers.contains_key(header::ACCEPT) || headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(Problem::forbidden("The request was blocked."));
        }
        self.admit(headers, named, right, version)
    }

    /// The checks of a call with a body, other than a create of payments; an empty body is `{}`.
    pub(crate) async fn open(
        &self,
        headers: &HeaderMap,
        body: Body,
        right: Right,
        version: Version,
    ) -> Result<(usize, Bytes), Problem> {
        self.catch_up();
        let named = self.merchant_named(headers);
        self.arrivals.record(named, true);
        let too_large = |_| Problem::new(413, "INVALID_REQUEST", "The request body is too large.");
        let body = to_bytes(body, BODY_MAX).await.map_err(too_large)?;
        let merchant = self.admit(headers, named, right, version)?;
        if body.is_empty() {
            return Ok((merchant, Bytes::from_static(b"{}")));
        }
        if !is_json(headers) {
            return Err(Problem::malformed());
        }
        Ok((merchant, body))
    }

    /// Does what was submitted, or what its fault says, and writes the submission down.
    pub(crate) async fn submit(
        self: &Arc<Self>,
        submission: Submission,
        act: impl FnOnce(&Arc<Self>) -> Deal + Send + 'static,
    ) -> Response {
        let Submission { kind, merchant, subject, body, connection } = submission;
        let id = self.merchants[merchant];
        let number = lock(&self.calls).next(kind, id, &subject);
        let dice = self.dice(merchant, &format!("{} {subject}", kind.name()));
        let faults = self.faults();
        let asked = self.injected_post(&subject).filter(|fault| *fault != Fault::DuplicateCharge);
        let fault = asked.or_else(|| faults.of_post(dice, number));
        let error_status = faults.error_status(dice, number);
        let mut row = CallRow {
            kind,
            merchant: id,
            subject,
            number,
            sha256: hex::encode(Sha256::digest(&body)),
            at_us: self.options.clock.now_us(),
            real_us: real_us(),
            answered: None,
            fault,
        };
        match fault {
            Some(fault @ (Fault::RateLimited | Fault::Unauthorized | Fault::ErrorBeforeCommit | Fault::Get5xx)) => {
                let answer = self.fault_answer(fault, error_status);
                row.answered = Some(answer.status().as_u16());
                self.write_call(row);
                return answer;
            }
            Some(Fault::CutBeforeCommit) => {
                self.write_call(row);
                return self.cut(&connection, dice, number);
            }
            Some(Fault::LateCommit) => {
                self.write_call(row);
                self.deal_later(act);
                return self.cut(&connection, dice, number);
            }
            _ => {}
        }
        let deal = act(self);
        row.answered = match fault {
            Some(Fault::CutAfterCommit) => None,
            Some(Fault::ErrorAfterCommit) => Some(error_status),
            _ => Some(deal.answer.status().as_u16()),
        };
        self.write_call(row);
        let Some(answer) = self.seal(deal).await else { return Problem::internal(500).into_response() };
        match fault {
            Some(Fault::CutAfterCommit) => self.cut(&connection, dice, number),
            Some(Fault::ErrorAfterCommit) => Problem::internal(error_status).into_response(),
            Some(Fault::WrongKey | Fault::WrongAmount) => lied(answer, fault).await,
            fault => self.send(answer, fault, &connection).await,
        }
    }

    /// Waits until a deal is durable and tells of it; `None` when it never will be.
    pub(crate) async fn seal(&self, deal: Deal) -> Option<Response> {
        if !is_durable(deal.durable).await {
            return None;
        }
        match deal.news {
            News::None => {}
            News::Payment(payment) => self.announce(&payment),
            News::Refund(refund) => self.announce_refund(&refund),
        }
        Some(deal.answer)
    }

    fn deal_later(self: &Arc<Self>, act: impl FnOnce(&Arc<Self>) -> Deal + Send + 'static) {
        let (app, wait) = (Arc::clone(self), Duration::from_millis(self.faults().late_commit_ms));
        self.late.spawn(async move {
            tokio::select! {
                () = pause(wait) => {}
                () = app.stop.cancelled() => return,
            }
            let deal = act(&app);
            drop(app.seal(deal).await);
        });
    }

    fn write_call(&self, row: CallRow) {
        // The line of what was done follows this one, and whoever waits, waits for that.
        drop(self.note(row.merchant, row.at_us, &Deed::Called(row.clone())));
        lock(&self.calls).rows.push(row);
    }

    /// Lets an answer out, late or not all of it.
    pub(crate) async fn send(&self, answer: Response, fault: Option<Fault>, connection: &Connection) -> Response {
        match fault {
            Some(Fault::Slow) => {
                pause(Duration::from_millis(self.faults().slow_ms)).await;
                answer
            }
            Some(Fault::TruncatedAnswer) => {
                let (parts, body) = answer.into_parts();
                let bytes: Bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
                connection.0.cut_after(bytes.len() / 2);
                Response::from_parts(parts, Body::from(bytes))
            }
            _ => answer,
        }
    }

    pub(crate) fn fault_answer(&self, fault: Fault, status: u16) -> Response {
        match fault {
            Fault::RateLimited => Problem::too_many(match self.faults().retry_after {
                RetryAfter::Seconds(seconds) => Some(seconds.to_string()),
                RetryAfter::Date(seconds) => {
                    let ahead = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                    let at = instant(real_us().saturating_add(ahead));
                    Some(at.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
                }
                RetryAfter::Absent => None,
            })
            .into_response(),
            Fault::Unauthorized => expired(real_us()).into_response(),
            _ => Problem::internal(status).into_response(),
        }
    }

    /// Kills the connection; the seed decides whether the peer sees a reset or an end of stream.
    pub(crate) fn cut(&self, connection: &Connection, dice: Dice, number: u32) -> Response {
        connection.0.cut(dice.value(0xc7, u64::from(number)) & 1 == 1);
        // Writing this is what finds the wire dead.
        Problem::internal(500).into_response()
    }

    /// Answers a look-up of something that is not a payment, or does what its fault says.
    pub(crate) async fn look_answer(
        &self,
        merchant: usize,
        name: &str,
        connection: &Connection,
        answer: Response,
    ) -> Response {
        let faults = self.faults();
        let asked = self.injected_get();
        if asked.is_none() && faults.is_none() {
            return answer;
        }
        let (dice, number) = (self.dice(merchant, name), self.number_stranger(merchant, name));
        match asked.or_else(|| faults.of_get(dice, number)) {
            Some(fault @ (Fault::RateLimited | Fault::Unauthorized)) => self.fault_answer(fault, 0),
            Some(Fault::Get5xx | Fault::ErrorBeforeCommit | Fault::ErrorAfterCommit) => {
                Problem::internal(503).into_response()
            }
            Some(Fault::CutBeforeCommit | Fault::CutAfterCommit | Fault::LateCommit) => self.cut(connection, dice, 0),
            fault @ Some(Fault::WrongKey | Fault::WrongAmount) => lied(answer, fault).await,
            fault => self.send(answer, fault, connection).await,
        }
    }
}

/// The answer with another key or amount in it.
async fn lied(answer: Response, fault: Option<Fault>) -> Response {
    let (mut parts, body) = answer.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    if let Some(data) = json.get_mut("data").and_then(serde_json::Value::as_object_mut) {
        match fault {
            Some(Fault::WrongKey) => {
                data.insert("merchantTransactionId".to_owned(), LIED_KEY.into());
            }
            _ => {
                for (_, amount) in data.iter_mut().filter(|(name, _)| name.ends_with("mount")) {
                    *amount = (amount.as_i64().unwrap_or(0) + 1).into();
                }
            }
        }
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(json.to_string()))
}
