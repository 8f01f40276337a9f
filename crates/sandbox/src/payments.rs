//! `/v2/payments` and `/v1/payments`: create and look up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::Right;
use crate::books::{App, Arrived, Outcome, Receipt, Rejected, Sha};
use crate::call::{Version, header_text, is_json};
use crate::clock::{pause, real_us};
use crate::faults::Fault;
use crate::form::field;
use crate::payment::{Failure, Payment, Status};
use crate::problem::{Problem, ProblemBody, json};
use crate::request::{self, BodyV1, Order, uuid};
use crate::resource::{Lie, Place, brief, flat, full};
use crate::switches::{FailureStatus, V1Create};
use crate::wallet::is_durable;
use crate::wire::Connection;

/// The largest body that is read.
pub(crate) const BODY_MAX: usize = 1 << 20;
const SPLIT_FAILED: &str = "One of the split tender card payments failed during processing.";
const FAILED: &str = "Payment processing failed for all records. Check individual records for error details";

/// What a good answer is wrapped in (contract §3.1).
#[derive(Serialize)]
pub(crate) struct Envelope<T> {
    pub(crate) url: String,
    pub(crate) data: T,
}

/// Makes a payment, at once or as the clock goes by.
#[utoipa::path(post, path = "/v2/payments", tag = "payments", request_body = request::Body,
    responses((status = 202, description = "The payment, INITIATED; of a repeated key, as it stands"),
        (status = 400, description = "INVALID_REQUEST"), (status = 401, description = "UNAUTHORIZED"),
        (status = 403, description = "FORBIDDEN"), (status = 422, description = "UNPROCESSABLE_ENTITY")))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    app.catch_up();
    let named = app.merchant_named(&headers);
    app.arrivals.record(named, true);
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return Problem::new(413, "INVALID_REQUEST", "The request body is too large.").into_response();
    };
    let sha: Sha = Sha256::digest(&body).into();
    let checked = app.admit(&headers, named, Right::Merchant, Version::V2).and_then(|merchant| {
        if !is_json(&headers) {
            return Err(Problem::malformed());
        }
        Ok((merchant, request::read(&body, &app.switches(), |method| app.behaviour(method))?))
    });
    match checked {
        Ok((merchant, order)) => pay(&app, &connection, &headers, merchant, order, sha, body, Version::V2).await,
        Err(problem) => app.refuse(&headers, problem, sha, &body),
    }
}

/// Makes a payment of one method, in the shape of v1.
#[utoipa::path(post, path = "/v1/payments", tag = "payments", request_body = BodyV1,
    responses((status = 202, description = "The payment, INITIATED"), (status = 200, description = "The payment, final: a switch"),
        (status = 400, description = "INVALID_REQUEST"), (status = 401, description = "UNAUTHORIZED"),
        (status = 403, description = "FORBIDDEN"), (status = 406, description = "PAYMENT_METHOD_ERROR")))]
pub(crate) async fn create_v1(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    app.catch_up();
    let named = app.merchant_named(&headers);
    app.arrivals.record(named, true);
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return Problem::new(413, "INVALID_REQUEST", "The request body is too large.").into_response();
    };
    let sha: Sha = Sha256::digest(&body).into();
    let checked = app.admit(&headers, named, Right::Merchant, Version::V1).and_then(|merchant| {
        if !is_json(&headers) {
            return Err(Problem::malformed());
        }
        let read: BodyV1<'_> = request::object(&body).map_err(|_| Problem::malformed())?;
        Ok((merchant, request::read_v1(read, &app.switches(), false, |method| app.behaviour(method))?))
    });
    match checked {
        Ok((merchant, order)) => pay(&app, &connection, &headers, merchant, order, sha, body, Version::V1).await,
        Err(problem) => app.refuse(&headers, problem, sha, &body),
    }
}

/// A checked order: processed, answered, and struck by its fault on the way.
#[expect(clippy::too_many_arguments, reason = "what a request is made of, three callers")]
pub(crate) async fn pay(
    app: &Arc<App>,
    connection: &Connection,
    headers: &HeaderMap,
    merchant: usize,
    mut order: Order,
    sha: Sha,
    body: Bytes,
    version: Version,
) -> Response {
    order.source = header_text(headers, "x-source").map(Into::into);
    let dice = app.dice(merchant, &order.key);
    match app.receive(Arrived { merchant, order: &order, sha, body }) {
        Receipt::Stopped { fault, status, number } => {
            if fault == Fault::LateCommit {
                commit_later(app, merchant, order);
            } else if status.is_some() {
                return app.fault_answer(fault, status.unwrap_or(500));
            }
            app.cut(connection, dice, number)
        }
        Receipt::Processed { outcome, fault, number, error_status, durable } => {
            if !is_durable(durable).await {
                return Problem::internal(500).into_response();
            }
            let lie = lie_of(fault);
            let answer = match outcome {
                Outcome::Made(payment) => {
                    app.announce(&payment);
                    app.created(&payment, lie, version, app.options.create_answers_final)
                }
                Outcome::Replayed(payment) => app.created(&payment, lie, version, true),
                Outcome::LimitReached => Problem::unprocessable(
                    "Retry limit exceeded for merchantTransactionId. Please use a new merchantTransactionId.",
                )
                .into_response(),
                Outcome::Reused => Problem::forbidden("MerchantTransaction Id cannot be reused").into_response(),
            };
            match fault {
                Some(Fault::CutAfterCommit) => app.cut(connection, dice, number),
                Some(Fault::ErrorAfterCommit) => Problem::internal(error_status).into_response(),
                fault => app.send(answer, fault, connection).await,
            }
        }
    }
}

fn commit_later(app: &Arc<App>, merchant: usize, order: Order) {
    let (app, wait) = (Arc::clone(app), Duration::from_millis(app.faults().late_commit_ms));
    let late = app.late.clone();
    late.spawn(async move {
        tokio::select! {
            () = pause(wait) => {}
            () = app.stop.cancelled() => return,
        }
        let Some((payment, durable)) = app.receive_late(merchant, &order) else { return };
        if is_durable(durable).await {
            app.announce(&payment);
        }
    });
}

/// A payment by its id.
#[utoipa::path(get, path = "/v2/payments/{id}", tag = "payments", params(("id" = String, Path, description = "paymentId")),
    responses((status = 200, description = "The payment, held or final"), (status = 202, description = "The payment, in progress"),
        (status = 404, description = "NOT_FOUND"), (status = 406, description = "PAYMENT_METHOD_ERROR: a switch"),
        (status = 422, description = "PAYMENT_ERROR with the failed payment in data")))]
pub(crate) async fn by_id(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    look_by_id(&app, &connection, &headers, id, Version::V2).await
}

/// A payment by its id, in the shape of v1.
#[utoipa::path(get, path = "/v1/payments/{id}", tag = "payments", params(("id" = String, Path, description = "paymentId")),
    responses((status = 200, description = "The payment, held or final"), (status = 202, description = "The payment, in progress"),
        (status = 404, description = "NOT_FOUND"), (status = 406, description = "PAYMENT_METHOD_ERROR")))]
pub(crate) async fn by_id_v1(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    look_by_id(&app, &connection, &headers, id, Version::V1).await
}

async fn look_by_id(
    app: &App,
    connection: &Connection,
    headers: &HeaderMap,
    id: Result<Path<String>, PathRejection>,
    version: Version,
) -> Response {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let merchant = match app.look(headers, Right::Merchant, version) {
        Ok(merchant) => merchant,
        Err(problem) => return problem.into_response(),
    };
    let Some(id) = uuid(&id) else { return Problem::invalid("paymentId must be valid UUID").into_response() };
    let found = app.by_id(merchant, id);
    app.show(merchant, found, &id.to_string(), "paymentId not found", connection, version).await
}

/// A payment by its `merchantTransactionId`.
#[utoipa::path(get, path = "/v2/payments", tag = "payments", params(("merchantTransactionId" = String, Query)),
    responses((status = 200, description = "The payment, held or final"), (status = 202, description = "The payment, in progress"),
        (status = 400, description = "INVALID_REQUEST"), (status = 404, description = "NOT_FOUND"),
        (status = 422, description = "PAYMENT_ERROR with the failed payment in data")))]
pub(crate) async fn by_key(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    look_by_key(&app, &connection, &headers, query, Version::V2).await
}

/// A payment by its `merchantTransactionId`, in the shape of v1.
#[utoipa::path(get, path = "/v1/payments", tag = "payments", params(("merchantTransactionId" = String, Query)),
    responses((status = 200, description = "The payment, held or final"), (status = 202, description = "The payment, in progress"),
        (status = 400, description = "INVALID_REQUEST"), (status = 404, description = "NOT_FOUND"),
        (status = 406, description = "PAYMENT_METHOD_ERROR")))]
pub(crate) async fn by_key_v1(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    look_by_key(&app, &connection, &headers, query, Version::V1).await
}

async fn look_by_key(
    app: &App,
    connection: &Connection,
    headers: &HeaderMap,
    query: Option<String>,
    version: Version,
) -> Response {
    let merchant = match app.look(headers, Right::Merchant, version) {
        Ok(merchant) => merchant,
        Err(problem) => return problem.into_response(),
    };
    let key = field(query.as_deref().unwrap_or(""), "merchantTransactionId").filter(|key| !key.trim().is_empty());
    let Some(key) = key else { return Problem::invalid("merchantTransactionId is required").into_response() };
    if key.chars().count() > 50 {
        return Problem::invalid("merchantTransactionId cannot exceed 50 characters").into_response();
    }
    let found = app.by_key(merchant, &key);
    app.show(merchant, found, &key, "Payment information not found.", connection, version).await
}

const fn lie_of(fault: Option<Fault>) -> Option<Lie> {
    match fault {
        Some(Fault::WrongKey) => Some(Lie::Key),
        Some(Fault::WrongAmount) => Some(Lie::Amount),
        _ => None,
    }
}

impl App {
    /// Refuses a request to pay before it counts as a submission.
    pub(crate) fn refuse(&self, headers: &HeaderMap, problem: Problem, sha: Sha, body: &[u8]) -> Response {
        self.reject(Rejected {
            merchant: header_text(headers, "x-merchant-id").and_then(uuid),
            key: request::key_of(body),
            sha,
            at_us: self.options.clock.now_us(),
            real_us: real_us(),
            status: problem.status,
            detail: problem.detail.clone(),
        });
        problem.into_response()
    }

    /// The answer to a create: what was asked for, or with `whole` the payment as a look-up shows it.
    fn created(&self, payment: &Payment, lie: Option<Lie>, version: Version, whole: bool) -> Response {
        let (now, switches) = (self.options.clock.now_us(), self.switches());
        let url = self.payment_url(payment.facts.id, version);
        match version {
            Version::V2 if !whole => json(202, &Envelope { url, data: brief(payment, Status::Initiated, lie) }),
            Version::V2 => {
                let view = payment.view(now, None);
                json(202, &Envelope { url, data: full(payment, &view, lie, Place::Answer, &switches) })
            }
            Version::V1 if switches.v1_create == V1Create::Final => {
                let view = payment.view(now, None);
                if view.status == Status::Failed {
                    return self.shown(payment, lie, version);
                }
                json(200, &Envelope { url, data: flat(payment, &view, lie, Place::Answer, &switches) })
            }
            Version::V1 => {
                let view = payment.view(if whole { now } else { i64::MIN }, None);
                json(202, &Envelope { url, data: flat(payment, &view, lie, Place::Answer, &switches) })
            }
        }
    }

    pub(crate) fn payment_url(&self, id: Uuid, version: Version) -> String {
        format!("{}/{}/payments/{id}", self.base, version.name())
    }

    /// Answers a look-up, or does what its fault says.
    async fn show(
        &self,
        merchant: usize,
        found: Option<Arc<Payment>>,
        name: &str,
        missing: &'static str,
        connection: &Connection,
        version: Version,
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
            Some(payment) => self.shown(&payment, lie_of(fault), version),
        };
        self.send(answer, fault, connection).await
    }

    fn shown(&self, payment: &Payment, lie: Option<Lie>, version: Version) -> Response {
        let switches = self.switches();
        let view = payment.view(self.options.clock.now_us(), None);
        let older = version == Version::V1 || switches.failure_status == FailureStatus::NotAcceptable;
        if view.status == Status::Failed && older {
            let split = payment.facts.allocations.len() > 1 && !payment.is_bank_payment();
            let detail = view.failure().map(|(n, failure)| match failure {
                Failure::Declined(_) if split => SPLIT_FAILED.to_owned(),
                failure => {
                    let method = payment.facts.allocations.get(n).map_or(Uuid::nil(), |part| part.method);
                    failure.message_about(n, method)
                }
            });
            return Problem::new(406, "PAYMENT_METHOD_ERROR", detail.unwrap_or_default()).into_response();
        }
        let url = self.payment_url(payment.facts.id, version);
        let code = if view.status.in_progress() { 202 } else { 200 };
        match version {
            Version::V1 => json(code, &Envelope { url, data: flat(payment, &view, lie, Place::Answer, &switches) }),
            Version::V2 => {
                let data = full(payment, &view, lie, Place::Answer, &switches);
                if view.status == Status::Failed {
                    let body = ProblemBody { title: "PAYMENT_ERROR", status: 422, detail: FAILED, data: Some(data) };
                    return json(422, &body);
                }
                json(code, &Envelope { url, data })
            }
        }
    }
}
