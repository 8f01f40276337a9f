//! `/v2/refunds` and `/v1/refunds`: create and look up (contract §5).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Right;
use crate::books::App;
use crate::call::{CallKind, Deal, News, Submission, Version, header_text};
use crate::clock::{micros, real_us};
use crate::deeds::Deed;
use crate::lock;
use crate::making::end_of_month;
use crate::method::{Behaviour, RefundError};
use crate::payment::{Payment, Status};
use crate::payments::Envelope;
use crate::problem::{Problem, ProblemBody, json};
use crate::refund::{Refund, RefundFacts, RefundPart, RefundStatus, Refunds, flat, shown};
use crate::request::{
    Agent, Customer, amount_from, check_agent, customer, key, limit, map, metadata_limits, object, uuid,
};
use crate::resource::Place;
use crate::switches::{FailureStatus, RefundChecks, RefundDuplicate};
use crate::wallet::MethodStatus;
use crate::wire::Connection;

const FAILED: &str = "Refund allocation processing failed for all records. Check individual records for error details";
const DAY_US: i64 = 86_400_000_000;
/// How old a payment may be (contract §5).
const REFUND_WINDOW_DAYS: i64 = 180;
/// The most that an unlinked credit may give: 10,000 USD (contract §5).
const CREDIT_MAX: i64 = 1_000_000;

/// A refund of a payment, or a credit without one. Amounts are cents.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefundRequest<'a> {
    merchant_transaction_id: Option<String>,
    payment_id: Option<String>,
    payment_method_id: Option<String>,
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
    reason: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(value_type = Option<Agent>)]
    agent: Option<&'a RawValue>,
    #[serde(borrow)]
    #[schema(value_type = Option<Customer>)]
    customer: Option<&'a RawValue>,
    refund_allocations: Option<Vec<RefundPartRequest>>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RefundPartRequest {
    payment_allocation_id: Option<String>,
    #[schema(value_type = Option<i64>)]
    amount: Option<Number>,
}

/// A checked request.
struct Ask {
    key: String,
    of: Of,
    reason: Option<String>,
    metadata: Option<Box<RawValue>>,
    agent: Option<Box<RawValue>>,
    source: Option<Box<str>>,
    version: Version,
}

enum Of {
    Payment { id: Uuid, what: What },
    Credit { method: Uuid, amount: i64, named: bool },
}

enum What {
    Everything,
    Amount(i64),
    Parts(Vec<(Uuid, i64)>),
}

/// Makes a refund, at once or as the clock goes by. A repeated key is refused, not replayed.
#[utoipa::path(post, path = "/v2/refunds", tag = "refunds", request_body = RefundRequest,
    responses((status = 202, description = "The refund, INITIATED"), (status = 400, description = "INVALID_REQUEST"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    created(&app, connection, &headers, body, Version::V2).await.unwrap_or_else(Problem::into_response)
}

/// Makes a refund, in the shape of v1.
#[utoipa::path(post, path = "/v1/refunds", tag = "refunds", request_body = RefundRequest,
    responses((status = 202, description = "The refund, INITIATED"), (status = 400, description = "INVALID_REQUEST"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
pub(crate) async fn create_v1(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    created(&app, connection, &headers, body, Version::V1).await.unwrap_or_else(Problem::into_response)
}

/// A refund by its id.
#[utoipa::path(get, path = "/v2/refunds/{id}", tag = "refunds", params(("id" = String, Path, description = "refundId")),
    responses((status = 200, description = "The refund, final"), (status = 202, description = "The refund, in progress"),
        (status = 404, description = "NOT_FOUND"), (status = 422, description = "REFUND_ERROR with the failed refund in data")))]
pub(crate) async fn by_id(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    looked_up(&app, &connection, &headers, id, Version::V2).await.unwrap_or_else(Problem::into_response)
}

/// A refund by its id, in the shape of v1.
#[utoipa::path(get, path = "/v1/refunds/{id}", tag = "refunds", params(("id" = String, Path, description = "refundId")),
    responses((status = 200, description = "The refund, final"), (status = 202, description = "The refund, in progress"),
        (status = 404, description = "NOT_FOUND"), (status = 406, description = "NOT_ACCEPTABLE")))]
pub(crate) async fn by_id_v1(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    looked_up(&app, &connection, &headers, id, Version::V1).await.unwrap_or_else(Problem::into_response)
}

async fn created(
    app: &Arc<App>,
    connection: Connection,
    headers: &HeaderMap,
    body: Body,
    version: Version,
) -> Result<Response, Problem> {
    let (merchant, body) = app.open(headers, body, Right::Merchant, version).await?;
    let mut ask = read(&body, version)?;
    ask.source = header_text(headers, "x-source").map(Into::into);
    let submission = Submission { kind: CallKind::Refund, merchant, subject: ask.key.clone(), body, connection };
    Ok(app.submit(submission, move |app| app.refund(merchant, ask).unwrap_or_else(Deal::from)).await)
}

async fn looked_up(
    app: &Arc<App>,
    connection: &Connection,
    headers: &HeaderMap,
    id: Result<Path<String>, PathRejection>,
    version: Version,
) -> Result<Response, Problem> {
    let merchant = app.look(headers, Right::Merchant, version)?;
    let id = id.map(|Path(id)| id).unwrap_or_default();
    let id = uuid(&id).ok_or_else(|| Problem::invalid("refundId must be valid UUID"))?;
    let found = lock(&app.refunds).by_id(app.merchants[merchant], id);
    let refund = found.ok_or_else(|| Problem::not_found("refundId not found"))?;
    let answer = app.show_refund(merchant, &refund, version);
    Ok(app.look_answer(merchant, &format!("refund {id}"), connection, answer).await)
}

fn read(body: &[u8], version: Version) -> Result<Ask, Problem> {
    let read: RefundRequest<'_> = object(body).map_err(|_| Problem::malformed())?;
    let key = key(read.merchant_transaction_id)?;
    if let Some(reason) = &read.reason {
        limit(reason, 50, "reason")?;
    }
    if let Some(raw) = read.metadata {
        metadata_limits(&map::<BTreeMap<String, String>>(raw)?, "metadata")?;
    }
    if let Some(raw) = read.agent {
        check_agent(&map::<Agent>(raw)?)?;
    }
    let amount = read.amount.as_ref().map(|amount| amount_from(Some(amount), "amount", 1)).transpose()?;
    let of = match (read.payment_id, read.payment_method_id) {
        (None, None) => return Err(Problem::invalid("paymentId or paymentMethodId is required")),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("Either paymentId or paymentMethodId should be provided."));
        }
        (Some(id), None) => {
            let id = uuid(&id).ok_or_else(|| Problem::invalid("paymentId must be valid UUID"))?;
            let what = match (read.refund_allocations.filter(|parts| !parts.is_empty()), amount) {
                (Some(parts), None) => What::Parts(read_parts(parts)?),
                (Some(_), Some(_)) => return Err(Problem::malformed()),
                (None, Some(amount)) => What::Amount(amount),
                (None, None) => What::Everything,
            };
            Of::Payment { id, what }
        }
        (None, Some(method)) => {
            let method = uuid(&method).ok_or_else(|| Problem::invalid("paymentMethodId must be valid UUID"))?;
            let missing = || Problem::invalid("When paymentMethodId is present, amount is required");
            let amount = amount.ok_or_else(missing)?;
            let raw = read.customer.ok_or_else(|| Problem::invalid("customer object is required"))?;
            let who: Customer = map(raw)?;
            customer(&who)?;
            let named = who.first_name.is_some() && who.last_name.is_some() && who.hsid.is_some();
            Of::Credit { method, amount, named }
        }
    };
    let owned = |raw: Option<&RawValue>| raw.map(ToOwned::to_owned);
    Ok(Ask {
        key,
        of,
        reason: read.reason,
        metadata: owned(read.metadata),
        agent: owned(read.agent),
        source: None,
        version,
    })
}

fn read_parts(parts: Vec<RefundPartRequest>) -> Result<Vec<(Uuid, i64)>, Problem> {
    let part = |(n, part): (usize, RefundPartRequest)| {
        let name = format!("refundAllocations[{n}].paymentAllocationId");
        let id = part.payment_allocation_id.as_deref().and_then(uuid);
        let id = id.ok_or_else(|| Problem::invalid(format!("{name} must be valid UUID")))?;
        Ok((id, amount_from(part.amount.as_ref(), &format!("refundAllocations[{n}].amount"), 1)?))
    };
    parts.into_iter().enumerate().map(part).collect()
}

impl App {
    fn refund(&self, merchant: usize, ask: Ask) -> Result<Deal, Problem> {
        let (owner, switches) = (self.merchants[merchant], self.switches());
        let now = self.options.clock.now_us();
        let mut refunds = lock(&self.refunds);
        if let Some(known) = refunds.by_key(owner, &ask.key) {
            return match switches.refund_duplicate {
                RefundDuplicate::Reject => Err(Problem::invalid("merchantTransactionId already used")),
                RefundDuplicate::Replay => {
                    let status = known.status(now);
                    let answer = self.answer_refund(202, merchant, &known, status, ask.version);
                    Ok(Deal { answer, durable: None, news: News::None })
                }
            };
        }
        let (payment, currency, parts) = match &ask.of {
            Of::Payment { id, what } => {
                let payment = self.by_id(merchant, *id).ok_or_else(|| Problem::invalid("paymentId not found"))?;
                let parts = self.parts(&refunds, &payment, what, now)?;
                (Some(*id), payment.facts.currency.clone(), parts)
            }
            Of::Credit { method, amount, named } => {
                let part = self.credit(*method, *amount, *named)?;
                (None, "USD".to_owned(), vec![part])
            }
        };
        if switches.refund_checks == RefundChecks::AtOnce
            && let Some(error) = parts.iter().find_map(|part| part.failure)
        {
            return Err(Problem::invalid(error.message()));
        }
        let settled_us = now.saturating_add(micros(self.options.settle));
        let pends = parts.iter().find_map(|part| match self.behaviour(part.method) {
            Behaviour::RefundPends { days } => Some(self.days_or_default(days)),
            _ => None,
        });
        let name = [&self.options.seed.to_le_bytes(), owner.as_bytes().as_slice(), b"refund", ask.key.as_bytes()];
        let facts = RefundFacts {
            id: Uuid::new_v5(&Uuid::NAMESPACE_OID, &name.concat()),
            key: ask.key,
            payment,
            currency,
            parts,
            reason: ask.reason,
            metadata: ask.metadata,
            agent: ask.agent,
            made_us: now,
            made_real_us: real_us(),
            pending_us: pends.map(|_| settled_us),
            ends_us: settled_us.saturating_add(pends.unwrap_or(0)),
            source: ask.source,
        };
        let durable = self.note(owner, now, &Deed::Refunded(facts.clone()));
        let refund = Arc::new(Refund { merchant: owner, facts });
        refunds.insert(Arc::clone(&refund));
        drop(refunds);
        let answer = self.answer_refund(202, merchant, &refund, RefundStatus::Initiated, ask.version);
        Ok(Deal { answer, durable, news: News::Refund(refund) })
    }

    /// The parts of a refund of a payment, each with what makes it fail later.
    fn parts(&self, refunds: &Refunds, payment: &Payment, what: &What, now: i64) -> Result<Vec<RefundPart>, Problem> {
        if payment.status(now) != Status::Completed {
            return Err(Problem::invalid("Refunds can only be processed for captured payments"));
        }
        let taken = payment.captured_parts();
        let left = |n: usize| taken.get(n).copied().unwrap_or(0) - refunds.given_back(payment.facts.id, n);
        let places = 0..payment.facts.allocations.len();
        let asked: Vec<(usize, i64)> = match what {
            What::Everything => {
                let open: Vec<_> = places.map(|n| (n, left(n))).filter(|(_, left)| *left > 0).collect();
                if open.is_empty() { vec![(0, taken.first().copied().unwrap_or(0))] } else { open }
            }
            What::Amount(amount) => {
                if payment.facts.allocations.len() > 1 {
                    // A part of a split payment names its allocation: nothing is distributed (contract §5).
                    return Err(Problem::invalid("refundAllocations is required"));
                }
                vec![(0, *amount)]
            }
            What::Parts(parts) => {
                let place = |(id, amount): &(Uuid, i64)| {
                    let n = places.clone().find(|n| payment.part_id(*n) == *id);
                    n.map(|n| (n, *amount)).ok_or_else(|| Problem::invalid("paymentAllocationId not found"))
                };
                parts.iter().map(place).collect::<Result<_, _>>()?
            }
        };
        let mut spent: BTreeMap<usize, i64> = BTreeMap::new();
        let part = |(n, amount): (usize, i64)| {
            let already = spent.entry(n).or_default();
            let open = left(n) - *already;
            let failure = self.refund_failure(payment, n, amount, (taken.get(n).copied().unwrap_or(0), open), now);
            if failure.is_none() {
                *already += amount;
            }
            let method = payment.facts.allocations.get(n).map_or(Uuid::nil(), |part| part.method);
            RefundPart { allocation: n, method, bank: payment.is_bank_payment(), amount, failure }
        };
        Ok(asked.into_iter().map(part).collect())
    }

    /// Why the processor will not give back `amount` of an allocation of which `taken` was captured and `open` is left.
    fn refund_failure(
        &self,
        payment: &Payment,
        n: usize,
        amount: i64,
        (taken, open): (i64, i64),
        now: i64,
    ) -> Option<RefundError> {
        let paid_us = payment.paid_us().unwrap_or(now);
        let disputes = payment.disputes(now);
        let disputed = disputes
            .iter()
            .any(|dispute| dispute.allocation == n && dispute.status() != crate::timeline::DisputeStatus::Won);
        if disputed {
            Some(RefundError::InDispute)
        } else if now.saturating_sub(paid_us) > REFUND_WINDOW_DAYS * DAY_US {
            Some(RefundError::TooOld)
        } else if open <= 0 {
            Some(RefundError::AlreadyRefunded)
        } else if amount > taken {
            Some(RefundError::MoreThanPayment)
        } else if amount > open {
            Some(RefundError::MoreThanUnrefunded)
        } else {
            let method = payment.facts.allocations.get(n).map_or(Uuid::nil(), |part| part.method);
            match self.behaviour(method) {
                Behaviour::RefundFails(error) => Some(error),
                _ => None,
            }
        }
    }

    /// A credit to a card without a payment: contract §5.
    fn credit(&self, method: Uuid, amount: i64, named: bool) -> Result<RefundPart, Problem> {
        let behaviour = self.behaviour(method);
        if amount > CREDIT_MAX {
            return Err(Problem::invalid(RefundError::OverLimit.message()));
        }
        if behaviour.is_bank_account() || !named {
            return Err(Problem::invalid(RefundError::CannotIssue.message()));
        }
        let stored = lock(&self.wallet).method(method);
        let dead = stored.is_some_and(|row| row.method.status == MethodStatus::Invalidated);
        let failure = match behaviour {
            Behaviour::RefundFails(error) => Some(error),
            Behaviour::NotFound | Behaviour::Refused(_) => Some(RefundError::MethodCanceled),
            Behaviour::Expires { year, month } if self.options.clock.now() >= end_of_month(year, month) => {
                Some(RefundError::MethodCanceled)
            }
            _ if dead => Some(RefundError::MethodCanceled),
            _ => None,
        };
        Ok(RefundPart { allocation: 0, method, bank: false, amount, failure })
    }

    fn answer_refund(
        &self,
        code: u16,
        merchant: usize,
        refund: &Refund,
        status: RefundStatus,
        version: Version,
    ) -> Response {
        let url = format!("{}/{}/refunds/{}", self.base, version.name(), refund.facts.id);
        let switches = self.switches();
        match version {
            Version::V1 => json(code, &Envelope { url, data: flat(refund, status, &switches) }),
            Version::V2 => {
                let payment = refund.facts.payment.and_then(|id| self.by_id(merchant, id));
                let data = shown(refund, payment.as_deref(), status, Place::Answer, &switches);
                json(code, &Envelope { url, data })
            }
        }
    }

    fn show_refund(&self, merchant: usize, refund: &Refund, version: Version) -> Response {
        let switches = self.switches();
        let status = refund.status(self.options.clock.now_us());
        if status != RefundStatus::Failed {
            let code = if status.in_progress() { 202 } else { 200 };
            return self.answer_refund(code, merchant, refund, status, version);
        }
        if version == Version::V1 || switches.failure_status == FailureStatus::NotAcceptable {
            let error = refund.facts.parts.iter().find_map(|part| part.failure);
            return Problem::new(406, "NOT_ACCEPTABLE", error.map_or("", RefundError::message)).into_response();
        }
        let payment = refund.facts.payment.and_then(|id| self.by_id(merchant, id));
        let data = shown(refund, payment.as_deref(), status, Place::Answer, &switches);
        json(422, &ProblemBody { title: "REFUND_ERROR", status: 422, detail: FAILED, data: Some(data) })
    }
}
