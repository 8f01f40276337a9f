//! Capture and cancel, in both versions (contract §4.9, §4.11).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Number;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Right;
use crate::books::App;
use crate::call::{CallKind, Deal, News, Submission, Version};
use crate::clock::micros;
use crate::deeds::Deed;
use crate::lock;
use crate::method::Behaviour;
use crate::payment::{Failure, Payment, Status};
use crate::payments::Envelope;
use crate::problem::{Problem, json};
use crate::request::{AMOUNT_MAX, amount_from, metadata_limits, object, uuid};
use crate::resource::{Place, flat, full};
use crate::timeline::Act;
use crate::wire::Connection;

const TOO_MUCH: &str = "Capture amount exceeds authorized amount or no amount authorized for capture";
const REASONS: [&str; 4] = ["DUPLICATE", "FRAUDULENT", "REQUESTED_BY_CUSTOMER", "ABANDONED"];

/// What to capture, in cents; nothing means everything that is held. The shape is our reading: no page shows it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CaptureRequest {
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
    payment_allocations: Option<Vec<CapturePart>>,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, ToSchema)]
struct CapturePart {
    id: Option<String>,
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
}

/// Why a payment is cancelled.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CancelRequest {
    payment_cancellation_reason: Option<String>,
    #[expect(dead_code, reason = "read so that something other than text is refused")]
    payment_cancellation_message: Option<String>,
}

/// A checked capture.
enum What {
    Everything,
    Amount(i64),
    Parts(Vec<(Uuid, i64)>),
}

/// Captures a hold, all or part of it.
#[utoipa::path(patch, path = "/v2/payments/{id}/capture", tag = "payments", request_body = CaptureRequest,
    params(("id" = String, Path, description = "paymentId")),
    responses((status = 202, description = "The payment, CAPTURE_INITIALIZED"), (status = 400, description = "INVALID_REQUEST"),
        (status = 404, description = "NOT_FOUND"), (status = 422, description = "UNPROCESSABLE_ENTITY")))]
pub(crate) async fn capture(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Response {
    captured(&app, connection, &headers, id, body, Version::V2).await.unwrap_or_else(Problem::into_response)
}

/// Captures a hold, all or part of it.
#[utoipa::path(post, path = "/v1/payments/{id}/capture", tag = "payments", request_body = CaptureRequest,
    params(("id" = String, Path, description = "paymentId")),
    responses((status = 202, description = "The payment, CAPTURE_INITIALIZED"), (status = 400, description = "INVALID_REQUEST"),
        (status = 403, description = "FORBIDDEN"), (status = 404, description = "NOT_FOUND")))]
pub(crate) async fn capture_v1(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Response {
    captured(&app, connection, &headers, id, body, Version::V1).await.unwrap_or_else(Problem::into_response)
}

/// Cancels a hold or a bank payment that has not settled.
#[utoipa::path(patch, path = "/v2/payments/{id}/cancel", tag = "payments", request_body = CancelRequest,
    params(("id" = String, Path, description = "paymentId")),
    responses((status = 202, description = "The payment, CANCEL_INITIALIZED"), (status = 400, description = "INVALID_REQUEST"),
        (status = 404, description = "NOT_FOUND"), (status = 422, description = "UNPROCESSABLE_ENTITY")))]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Response {
    cancelled(&app, connection, &headers, id, body, Version::V2).await.unwrap_or_else(Problem::into_response)
}

/// Cancels a hold or a bank payment that has not settled.
#[utoipa::path(post, path = "/v1/payments/{id}/cancel", tag = "payments", request_body = CancelRequest,
    params(("id" = String, Path, description = "paymentId")),
    responses((status = 202, description = "The payment, CANCEL_INITIALIZED"), (status = 400, description = "INVALID_REQUEST"),
        (status = 403, description = "FORBIDDEN"), (status = 404, description = "NOT_FOUND")))]
pub(crate) async fn cancel_v1(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Response {
    cancelled(&app, connection, &headers, id, body, Version::V1).await.unwrap_or_else(Problem::into_response)
}

async fn captured(
    app: &Arc<App>,
    connection: Connection,
    headers: &HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
    version: Version,
) -> Result<Response, Problem> {
    let (merchant, body) = app.open(headers, body, Right::Merchant, version).await?;
    let payment = find(app, merchant, id, version, "capture")?;
    let what = read_capture(&body, version)?;
    let submission = submission(CallKind::Capture, merchant, &payment, body, connection);
    Ok(app.submit(submission, move |app| app.capture(&payment, &what, version).unwrap_or_else(Deal::from)).await)
}

async fn cancelled(
    app: &Arc<App>,
    connection: Connection,
    headers: &HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
    version: Version,
) -> Result<Response, Problem> {
    let (merchant, body) = app.open(headers, body, Right::Merchant, version).await?;
    let payment = find(app, merchant, id, version, "cancel")?;
    let read: CancelRequest = object(&body).map_err(|_| Problem::malformed())?;
    let reason = read.payment_cancellation_reason.filter(|reason| REASONS.contains(&reason.as_str()));
    let reason = reason.ok_or_else(|| {
        Problem::invalid(
            "Invalid enum in paymentCancellationReason. paymentCancellationReason should accept only allowed enums",
        )
    })?;
    let submission = submission(CallKind::Cancel, merchant, &payment, body, connection);
    Ok(app.submit(submission, move |app| app.cancel(&payment, reason, version).unwrap_or_else(Deal::from)).await)
}

fn submission(kind: CallKind, merchant: usize, payment: &Payment, body: Bytes, connection: Connection) -> Submission {
    Submission { kind, merchant, subject: payment.facts.id.to_string(), body, connection }
}

fn find(
    app: &App,
    merchant: usize,
    id: Result<Path<String>, PathRejection>,
    version: Version,
    verb: &str,
) -> Result<Arc<Payment>, Problem> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let id = uuid(&id).ok_or_else(|| Problem::invalid("paymentId must be valid UUID"))?;
    app.by_id(merchant, id).ok_or_else(|| match version {
        Version::V1 if app.payment_exists(id) => Problem::forbidden(format!("Not authorized to {verb} this payment")),
        Version::V1 | Version::V2 => Problem::not_found("paymentId not found"),
    })
}

fn read_capture(body: &[u8], version: Version) -> Result<What, Problem> {
    let read: CaptureRequest = object(body).map_err(|_| Problem::malformed())?;
    if let Some(metadata) = &read.metadata {
        metadata_limits(metadata, if version == Version::V1 { "payment.metadata" } else { "metadata" })?;
    }
    match (read.amount, read.payment_allocations) {
        (None, None) => Ok(What::Everything),
        (Some(amount), None) => {
            let checked = amount_from(Some(&amount), "amount", 1);
            checked.map(What::Amount).map_err(|problem| match version {
                Version::V1 => {
                    Problem::invalid(format!("amount Invalid amount {amount}, it must be between 1 and {AMOUNT_MAX}"))
                }
                Version::V2 => problem,
            })
        }
        (None, Some(parts)) if version == Version::V2 && !parts.is_empty() => {
            let part = |(n, part): (usize, CapturePart)| {
                let id = part.id.as_deref().and_then(uuid);
                let id =
                    id.ok_or_else(|| Problem::invalid(format!("paymentAllocations[{n}].id must be valid UUID")))?;
                Ok((id, amount_from(part.amount.as_ref(), &format!("paymentAllocations[{n}].amount"), 1)?))
            };
            Ok(What::Parts(parts.into_iter().enumerate().map(part).collect::<Result<_, Problem>>()?))
        }
        // Alternatives, and v1 knows no allocations.
        (Some(_) | None, Some(_)) => Err(Problem::malformed()),
    }
}

impl App {
    /// Whether any merchant has this payment.
    fn payment_exists(&self, id: Uuid) -> bool {
        (0..self.merchants.len()).any(|merchant| self.by_id(merchant, id).is_some())
    }

    fn capture(&self, payment: &Arc<Payment>, what: &What, version: Version) -> Result<Deal, Problem> {
        let at_us = self.options.clock.now_us();
        let declined = payment.facts.allocations.iter().find_map(|part| match self.behaviour(part.method) {
            Behaviour::CaptureFails(code) => Some(Failure::Declined(Some(code))),
            _ => None,
        });
        let act = self.act(payment, at_us, |status| {
            if status != Status::Authorized {
                return Err(match version {
                    Version::V1 => Problem::invalid(format!(
                        "Payment with {} is in invalid status: {}",
                        payment.facts.id,
                        status.name()
                    )),
                    Version::V2 => {
                        Problem::unprocessable(format!("Payment cannot be captured in {} state", status.name()))
                    }
                });
            }
            let parts = shares(payment, what).ok_or_else(|| match version {
                Version::V1 => Problem::invalid(TOO_MUCH),
                Version::V2 => Problem::unprocessable(TOO_MUCH),
            })?;
            Ok(Act::Captured {
                at_us,
                ends_us: at_us.saturating_add(micros(self.options.settle)),
                parts,
                failure: declined,
            })
        })?;
        Ok(self.acted(payment, act, at_us, Status::CaptureInitialized, version))
    }

    fn cancel(&self, payment: &Arc<Payment>, reason: String, version: Version) -> Result<Deal, Problem> {
        let at_us = self.options.clock.now_us();
        let behaviours = payment.facts.allocations.iter().map(|part| self.behaviour(part.method));
        let fails = behaviours.into_iter().any(|behaviour| matches!(behaviour, Behaviour::CancelFails { .. }));
        let act = self.act(payment, at_us, |status| {
            let may = matches!(status, Status::Authorized | Status::Accepted | Status::Pending | Status::Initiated);
            if !may {
                return Err(Problem::unprocessable(format!("Payment cannot be cancelled in {} state", status.name())));
            }
            Ok(Act::Cancelled { at_us, ends_us: at_us.saturating_add(micros(self.options.settle)), fails, reason })
        })?;
        Ok(self.acted(payment, act, at_us, Status::CancelInitialized, version))
    }

    /// Adds an act to a payment whose state at `at_us` allows it. One act at a time: the state is read under its lock.
    pub(crate) fn act(
        &self,
        payment: &Payment,
        at_us: i64,
        decide: impl FnOnce(Status) -> Result<Act, Problem>,
    ) -> Result<Act, Problem> {
        let _turn = lock(&payment.turn);
        let act = decide(payment.status(at_us))?;
        lock(&payment.acts).push(act.clone());
        Ok(act)
    }

    fn acted(&self, payment: &Arc<Payment>, act: Act, at_us: i64, shown: Status, version: Version) -> Deal {
        let durable = self.note(payment.merchant, at_us, &Deed::Acted { payment: payment.facts.id, act });
        let (view, switches) = (payment.view(i64::MAX, Some(shown)), self.switches());
        let url = self.payment_url(payment.facts.id, version);
        let answer = match version {
            Version::V1 => json(202, &Envelope { url, data: flat(payment, &view, None, Place::Answer, &switches) }),
            Version::V2 => json(202, &Envelope { url, data: full(payment, &view, None, Place::Answer, &switches) }),
        };
        Deal { answer, durable, news: News::Payment(Arc::clone(payment)) }
    }
}

/// The cents to take of each allocation, if that much is held.
fn shares(payment: &Payment, what: &What) -> Option<Vec<i64>> {
    let held: Vec<i64> = payment.facts.allocations.iter().map(|part| part.approved()).collect();
    match what {
        What::Everything => Some(held),
        What::Amount(amount) => {
            let mut left = *amount;
            let shares = held.iter().map(|held| {
                let share = left.min(*held);
                left -= share;
                share
            });
            let shares: Vec<i64> = shares.collect();
            (left == 0).then_some(shares)
        }
        What::Parts(parts) => {
            let mut shares = vec![0; held.len()];
            for (id, amount) in parts {
                let n = (0..held.len()).find(|n| payment.part_id(*n) == *id)?;
                shares[n] += amount;
            }
            shares.iter().zip(&held).all(|(share, held)| share <= held).then_some(shares)
        }
    }
}
