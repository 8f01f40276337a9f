//! `/v1/payment-methods` and `/v2/customers/find`: wallets, seen from outside (contract §6).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Right;
use crate::books::App;
use crate::call::Version;
use crate::lock;
use crate::payments::Envelope;
use crate::problem::{Problem, json as answer};
use crate::request::{Agent, Customer, check_agent, customer, is_nobody, map, object, uuid};
use crate::switches::WalletEnvelope;
use crate::tokens::{VendorDetails, card_fields, check_nickname};
use crate::wallet::{Durable, MethodKind, MethodRow, MethodStatus, is_durable};
use crate::wire::Connection;

/// Whose wallet.
#[derive(Deserialize, ToSchema)]
pub(crate) struct CustomerRequest<'a> {
    #[serde(borrow)]
    #[schema(value_type = Option<Customer>)]
    customer: Option<&'a RawValue>,
}

/// What is new about a stored method. The body of the `merchant-wallet-management` scope is our reading.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UpdateRequest<'a> {
    is_default: Option<bool>,
    default: Option<bool>,
    nickname: Option<String>,
    payment_method_details: Option<VendorDetails>,
    card: Option<VendorDetails>,
    #[serde(borrow)]
    #[schema(value_type = Option<Agent>)]
    agent: Option<&'a RawValue>,
}

/// The methods in a customer's wallet; an unknown customer is made and has none.
#[utoipa::path(post, path = "/v1/payment-methods/search", tag = "wallet", request_body = CustomerRequest,
    responses((status = 200, description = "The stored methods"), (status = 400, description = "INVALID_REQUEST"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    searched(&app, &connection, &headers, body).await.unwrap_or_else(Problem::into_response)
}

/// The customer that these fields name, made if there is none.
#[utoipa::path(post, path = "/v2/customers/find", tag = "wallet", request_body = CustomerRequest,
    responses((status = 200, description = "The customer"), (status = 400, description = "INVALID_REQUEST"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN"),
        (status = 404, description = "NOT_FOUND")))]
pub(crate) async fn find(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    found(&app, &headers, body).await.unwrap_or_else(Problem::into_response)
}

/// Updates a stored method.
#[utoipa::path(patch, path = "/v1/payment-methods/{id}", tag = "wallet", request_body = UpdateRequest,
    params(("id" = String, Path, description = "paymentMethodId")),
    responses((status = 200, description = "The method, in an array"), (status = 400, description = "INVALID_REQUEST or PAYMENT_METHOD_ERROR"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Response {
    updated(&app, &headers, id, body).await.unwrap_or_else(Problem::into_response)
}

/// Removes a stored method.
#[utoipa::path(delete, path = "/v1/payment-methods/{id}", tag = "wallet", request_body = Option<Agent>,
    params(("id" = String, Path, description = "paymentMethodId")),
    responses((status = 204, description = "It is gone"), (status = 400, description = "INVALID_REQUEST"),
        (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")))]
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Response {
    deleted(&app, &headers, id, body).await.unwrap_or_else(Problem::into_response)
}

async fn wait_for(durable: Durable) -> Result<(), Problem> {
    if is_durable(durable).await { Ok(()) } else { Err(Problem::internal(500)) }
}

/// The customer of a request, checked, and its fields as they were sent.
fn read_customer(raw: &RawValue) -> Result<(Customer, Value), Problem> {
    let who: Customer = map(raw)?;
    customer(&who)?;
    Ok((who, serde_json::from_str(raw.get()).map_err(|_| Problem::malformed())?))
}

async fn searched(
    app: &Arc<App>,
    connection: &Connection,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (merchant, body) = app.open(headers, body, Right::Wallet, Version::V1).await?;
    let read: CustomerRequest<'_> = object(&body).map_err(|_| Problem::malformed())?;
    let raw = read.customer.ok_or_else(|| Problem::invalid("customer is required"))?;
    let (who, fields) = read_customer(raw)?;
    let (row, durable) = app.find_or_create(app.merchants[merchant], &who, &fields);
    wait_for(durable).await?;
    let switches = app.switches();
    let methods = lock(&app.wallet).methods_of(row.id);
    let items: Vec<Value> = methods.iter().map(|method| method.shown(&switches)).collect();
    let found = match switches.wallet_envelope {
        WalletEnvelope::Bare => answer(200, &items),
        WalletEnvelope::Data => {
            answer(200, &Envelope { url: format!("{}/v1/payment-methods/search", app.base), data: items })
        }
    };
    Ok(app.look_answer(merchant, &format!("wallet {}", row.id), connection, found).await)
}

async fn found(app: &Arc<App>, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
    let (merchant, body) = app.open(headers, body, Right::Merchant, Version::V2).await?;
    let read: CustomerRequest<'_> = object(&body).map_err(|_| Problem::malformed())?;
    let raw = read.customer.ok_or_else(|| Problem::invalid("customer object is required"))?;
    let (who, fields) = read_customer(raw)?;
    if is_nobody(&who) {
        return Err(Problem::not_found("Customer not found for given customer.enterpriseId"));
    }
    let (row, durable) = app.find_or_create(app.merchants[merchant], &who, &fields);
    wait_for(durable).await?;
    let mut data = row.customer.clone();
    data["id"] = json!(row.id);
    Ok(answer(200, &Envelope { url: format!("{}/v2/customers/{}", app.base, row.id), data }))
}

/// The method that a path names, if it is in a wallet that this merchant may see.
fn stored(app: &App, merchant: usize, id: Result<Path<String>, PathRejection>) -> Result<MethodRow, Problem> {
    let wrong = || Problem::invalid("Invalid paymentMethodId");
    let id: Uuid = id.ok().and_then(|Path(id)| uuid(&id)).ok_or_else(wrong)?;
    let row = lock(&app.wallet).method(id);
    row.filter(|row| row.merchant == app.merchants[merchant]).ok_or_else(wrong)
}

async fn updated(
    app: &Arc<App>,
    headers: &HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let (merchant, body) = app.open(headers, body, Right::Wallet, Version::V1).await?;
    let mut row = stored(app, merchant, id)?;
    let read: UpdateRequest<'_> = object(&body).map_err(|_| Problem::malformed())?;
    if let Some(raw) = read.agent {
        check_agent(&map::<Agent>(raw)?)?;
    }
    if row.method.status == MethodStatus::Invalidated {
        return Err(Problem::forbidden("Cannot update invalid payment method"));
    }
    let default = read.is_default.or(read.default);
    if row.method.manufacturer && read.agent.is_none() {
        return Err(Problem::invalid("Agent is required to update manufacturer card"));
    }
    if row.method.manufacturer && default == Some(true) {
        return Err(Problem::invalid("Manufacturer card cannot be default"));
    }
    if let Some(nickname) = &read.nickname {
        check_nickname(nickname)?;
        row.method.nickname = Some(nickname.clone());
    }
    if let Some(details) = read.payment_method_details.as_ref().or(read.card.as_ref()) {
        change_details(&mut row, details)?;
    }
    row.method.is_default = default.unwrap_or(row.method.is_default);
    let agent = read.agent.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let shown = row.method.shown(&app.switches());
    wait_for(app.update_method(&row, app.options.clock.now_us(), agent.as_ref())).await?;
    Ok(answer(200, &[shown]))
}

fn change_details(row: &mut MethodRow, details: &VendorDetails) -> Result<(), Problem> {
    let kind = match row.method.kind {
        MethodKind::Card => "CARD",
        MethodKind::BankAccount => "BANK_ACCOUNT",
    };
    if details.r#type.as_deref().is_some_and(|asked| asked != kind) {
        return Err(Problem::invalid("Payment method type in request does not match the existing payment method"));
    }
    match row.method.kind {
        MethodKind::Card => card_fields(details, &mut row.method),
        MethodKind::BankAccount => {
            let error = |text: &str| Problem::new(400, "PAYMENT_METHOD_ERROR", text);
            let kind = details.account_type.as_deref().unwrap_or("");
            if kind.trim().is_empty() {
                return Err(error("Account type must not be blank."));
            }
            let kind = kind.to_ascii_uppercase();
            if kind != "CHECKING" && kind != "SAVINGS" {
                return Err(error("accountType is not valid"));
            }
            row.method.account_type = kind;
            if let Some(name) = &details.name_on_account {
                row.method.name.clone_from(name);
            }
            Ok(())
        }
    }
}

async fn deleted(
    app: &Arc<App>,
    headers: &HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Response, Problem> {
    let (merchant, body) = app.open(headers, body, Right::Wallet, Version::V1).await?;
    let agent: Agent = object(&body).map_err(|_| Problem::malformed())?;
    let fields: Value = serde_json::from_slice(&body).map_err(|_| Problem::malformed())?;
    let sent = fields.as_object().is_some_and(|fields| !fields.is_empty());
    if sent {
        check_agent(&agent)?;
    }
    let row = stored(app, merchant, id)?;
    let at_us = app.options.clock.now_us();
    let durable = app.delete_method(row.method.id, at_us, sent.then_some(&fields));
    wait_for(durable.flatten()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
