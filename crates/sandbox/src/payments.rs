//! `/v2/payments`: create and look up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::expired;
use crate::books::{App, Arrived, Outcome, Receipt, Rejected, Sha};
use crate::clock::{instant, pause, real_us};
use crate::faults::{Dice, Fault, RetryAfter};
use crate::form::field;
use crate::options::FailureStatus;
use crate::payment::{Lie, Payment, Resource, Status, brief, full};
use crate::problem::{Problem, ProblemBody, json};
use crate::request::{self, uuid};
use crate::wire::Connection;

/// The largest body that is read.
const BODY_MAX: usize = 1 << 20;
const FAILED: &str = "Payment processing failed for all records. Check individual records for error details";

#[derive(Serialize)]
struct Envelope<T> {
    url: String,
    data: T,
}

/// `POST /v2/payments`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let named = app.merchant_named(&headers);
    app.arrivals.record(named, true);
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return Problem::new(413, "INVALID_REQUEST", "The request body is too large.").into_response();
    };
    let sha: Sha = Sha256::digest(&body).into();
    let checked = app.admit(&headers, named).and_then(|merchant| {
        if !is_json(&headers) {
            return Err(Problem::malformed());
        }
        Ok((merchant, request::read(&body, |method| app.behaviour(method))?))
    });
    let (merchant, order) = match checked {
        Ok(checked) => checked,
        Err(problem) => {
            app.reject(Rejected {
                merchant: header_text(&headers, "x-merchant-id").and_then(uuid),
                key: request::key_of(&body),
                sha,
                at_us: app.options.clock.now_us(),
                real_us: real_us(),
                status: problem.status,
                detail: problem.detail.clone(),
            });
            return problem.into_response();
        }
    };
    let dice = app.dice(merchant, &order.key);
    match app.receive(Arrived { merchant, order: &order, sha, body }) {
        Receipt::Stopped { fault, status, number } => {
            if fault == Fault::LateCommit {
                commit_later(&app, merchant, order);
            } else if status.is_some() {
                return app.fault_answer(fault, status.unwrap_or(500));
            }
            app.cut(&connection, dice, number)
        }
        Receipt::Processed { outcome, fault, number, error_status, durable } => {
            if let Some(durable) = durable
                && !durable.await.unwrap_or(false)
            {
                return Problem::internal(500).into_response();
            }
            let lie = lie_of(fault);
            let answer = match outcome {
                Outcome::Made(payment) if !app.options.create_answers_final => {
                    app.created(brief(&payment, Status::Initiated, lie, LIED_KEY), payment.facts.id)
                }
                Outcome::Made(payment) | Outcome::Replayed(payment) => {
                    app.created(full(&payment, app.options.clock.now_us(), lie, LIED_KEY), payment.facts.id)
                }
                Outcome::LimitReached => Problem::unprocessable(
                    "Retry limit exceeded for merchantTransactionId. Please use a new merchantTransactionId.",
                )
                .into_response(),
                Outcome::Reused => Problem::forbidden("MerchantTransaction Id cannot be reused").into_response(),
            };
            match fault {
                Some(Fault::CutAfterCommit) => app.cut(&connection, dice, number),
                Some(Fault::ErrorAfterCommit) => Problem::internal(error_status).into_response(),
                fault => app.send(answer, fault, &connection).await,
            }
        }
    }
}

fn commit_later(app: &Arc<App>, merchant: usize, order: request::Order) {
    let (app, wait) = (Arc::clone(app), Duration::from_millis(app.faults().late_commit_ms));
    let late = app.late.clone();
    late.spawn(async move {
        tokio::select! {
            () = pause(wait) => app.receive_late(merchant, &order),
            () = app.stop.cancelled() => {}
        }
    });
}

/// `GET /v2/payments/{id}`
pub(crate) async fn by_id(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Response {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let merchant = match app.look(&headers) {
        Ok(merchant) => merchant,
        Err(problem) => return problem.into_response(),
    };
    let Some(id) = uuid(&id) else { return Problem::invalid("paymentId must be valid UUID").into_response() };
    let found = app.by_id(merchant, id);
    app.show(merchant, found, &id.to_string(), "paymentId not found", &connection).await
}

/// `GET /v2/payments?merchantTransactionId=`
pub(crate) async fn by_key(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let merchant = match app.look(&headers) {
        Ok(merchant) => merchant,
        Err(problem) => return problem.into_response(),
    };
    let key = field(query.as_deref().unwrap_or(""), "merchantTransactionId").filter(|key| !key.trim().is_empty());
    let Some(key) = key else { return Problem::invalid("merchantTransactionId is required").into_response() };
    if key.chars().count() > 50 {
        return Problem::invalid("merchantTransactionId cannot exceed 50 characters").into_response();
    }
    let found = app.by_key(merchant, &key);
    app.show(merchant, found, &key, "Payment information not found.", &connection).await
}

const LIED_KEY: &str = "another-merchant-transaction";

const fn lie_of(fault: Option<Fault>) -> Option<Lie> {
    match fault {
        Some(Fault::WrongKey) => Some(Lie::Key),
        Some(Fault::WrongAmount) => Some(Lie::Amount),
        _ => None,
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = header_text(headers, "content-type").unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/json")
}

impl App {
    /// The index of the merchant that the headers name, if it is one of ours.
    fn merchant_named(&self, headers: &HeaderMap) -> Option<usize> {
        header_text(headers, "x-merchant-id").and_then(uuid).and_then(|merchant| self.index_of(merchant))
    }

    /// The checks of every payment call: token, merchant, scope, source, and the rate limit.
    fn admit(&self, headers: &HeaderMap, named: Option<usize>) -> Result<usize, Problem> {
        let grant = self.desk.check(header_text(headers, "authorization"))?;
        let merchant = headers.get("x-merchant-id").ok_or_else(|| Problem::invalid("X-Merchant-Id is required"))?;
        let merchant = merchant.to_str().ok().and_then(uuid);
        let merchant = merchant.ok_or_else(|| Problem::invalid("X-Merchant-Id must be valid UUID"))?;
        let index = named.filter(|_| grant.allows(merchant)).ok_or_else(|| {
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            let made = || Uuid::new_v5(&Uuid::from_u128(u128::from(self.options.seed)), &number.to_le_bytes());
            let request = header_text(headers, "x-request-id").map_or_else(|| made().to_string(), str::to_owned);
            Problem::forbidden(format!("403 FORBIDDEN. RequestId: {request}"))
        })?;
        if !grant.may_pay {
            return Err(Problem::forbidden("insufficient scope"));
        }
        if headers.get("x-source").is_some_and(|source| source.len() > 50) {
            return Err(Problem::invalid("source header cannot exceed 50 characters"));
        }
        if let Some(limiter) = self.limiters.get(index)
            && let Err(wait) = limiter.admit(self.arrivals.since.elapsed().as_secs_f64())
        {
            return Err(Problem::too_many(Some(format!("{}", wait.ceil().max(1.0)))));
        }
        Ok(index)
    }

    /// The checks of a look-up.
    fn look(&self, headers: &HeaderMap) -> Result<usize, Problem> {
        let named = self.merchant_named(headers);
        self.arrivals.record(named, false);
        self.lookups.fetch_add(1, Ordering::Relaxed);
        // The firewall in front of the gateway refuses both; with which status is not known.
        if !headers.contains_key(header::ACCEPT) || headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(Problem::forbidden("The request was blocked."));
        }
        self.admit(headers, named)
    }

    fn created(&self, resource: Resource<'_>, id: Uuid) -> Response {
        json(202, &Envelope { url: self.url_of(id), data: resource })
    }

    fn url_of(&self, id: Uuid) -> String {
        format!("{}/v2/payments/{id}", self.base)
    }

    /// Answers a look-up, or does what its fault says.
    async fn show(
        &self,
        merchant: usize,
        found: Option<Arc<Payment>>,
        name: &str,
        missing: &'static str,
        connection: &Connection,
    ) -> Response {
        let faults = self.faults();
        let dice = self.dice(merchant, found.as_ref().map_or(name, |payment| &payment.key));
        let asked = self.injected_get();
        let fault = if asked.is_none() && faults.is_none() {
            None
        } else {
            let number = match &found {
                Some(payment) => payment.lookups.fetch_add(1, Ordering::Relaxed) + 1,
                None => self.number_stranger(merchant, name),
            };
            asked.or_else(|| faults.of_get(dice, number))
        };
        match fault {
            Some(fault @ (Fault::RateLimited | Fault::Unauthorized)) => return self.fault_answer(fault, 0),
            Some(fault @ (Fault::Get5xx | Fault::ErrorBeforeCommit | Fault::ErrorAfterCommit)) => {
                return self.fault_answer(fault, 503);
            }
            Some(Fault::CutBeforeCommit | Fault::CutAfterCommit | Fault::LateCommit) => {
                return self.cut(connection, dice, 0);
            }
            Some(Fault::Lookup404For) => return Problem::not_found(missing).into_response(),
            _ => {}
        }
        let hidden = |payment: &Arc<Payment>| {
            let age_ms = (real_us() - payment.facts.made_real_us) / 1_000;
            dice.hits(faults.lookup_404_for, Fault::Lookup404For, 0)
                && u64::try_from(age_ms).unwrap_or(0) < faults.lookup_404_for_ms
        };
        let answer = match found.filter(|payment| !hidden(payment)) {
            None => Problem::not_found(missing).into_response(),
            Some(payment) => self.shown(&payment, lie_of(fault)),
        };
        self.send(answer, fault, connection).await
    }

    fn shown(&self, payment: &Payment, lie: Option<Lie>) -> Response {
        let now = self.options.clock.now_us();
        let resource = full(payment, now, lie, LIED_KEY);
        match payment.status(now) {
            Status::Failed if self.options.failure_status == FailureStatus::NotAcceptable => {
                let detail = payment.failure().map(|(n, failure)| failure.message(n)).unwrap_or_default();
                Problem::new(406, "PAYMENT_METHOD_ERROR", detail).into_response()
            }
            Status::Failed => {
                let body = ProblemBody { title: "PAYMENT_ERROR", status: 422, detail: FAILED, data: Some(resource) };
                json(422, &body)
            }
            status => {
                let code = if status.in_progress() { 202 } else { 200 };
                json(code, &Envelope { url: self.url_of(payment.facts.id), data: resource })
            }
        }
    }

    /// Lets an answer out, late or not all of it.
    async fn send(&self, answer: Response, fault: Option<Fault>, connection: &Connection) -> Response {
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

    fn fault_answer(&self, fault: Fault, status: u16) -> Response {
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
    fn cut(&self, connection: &Connection, dice: Dice, number: u32) -> Response {
        connection.0.cut(dice.value(0xc7, u64::from(number)) & 1 == 1);
        // Writing this is what finds the wire dead.
        Problem::internal(500).into_response()
    }
}
