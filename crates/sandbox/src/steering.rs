//! `/sandbox/...`: the doors to what control.rs does, to the switches and to the webhooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::books::App;
use crate::lock;
use crate::method::{Behaviour, ReturnCode};
use crate::problem::{self, Problem};
use crate::request::{object, uuid};
use crate::sessions::SessionOutcome;
use crate::switches::{Switch, Switches};
use crate::wallet::{Durable, WalletMethod, is_durable};
use crate::webhooks::WebhookOptions;

type Id = Result<Path<String>, PathRejection>;

fn id_of(id: Id) -> Result<Uuid, Problem> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    uuid(&id).ok_or_else(|| Problem::invalid("The id in the path must be a UUID."))
}

/// A body that may be empty.
fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Problem> {
    let bytes: &[u8] = if body.is_empty() { b"{}" } else { body };
    object(bytes).map_err(Problem::invalid)
}

async fn done(durable: Durable, body: Value) -> Response {
    if is_durable(durable).await { problem::json(200, &body) } else { Problem::internal(500).into_response() }
}

async fn answer(outcome: Result<(Durable, Value), Problem>) -> Response {
    match outcome {
        Err(problem) => problem.into_response(),
        Ok((durable, body)) => done(durable, body).await,
    }
}

/// Every switch, its value, its values and its section of the contract.
#[utoipa::path(get, path = "/sandbox/switches", tag = "sandbox", responses((status = 200, description = "By name")))]
pub(crate) async fn switches(State(app): State<Arc<App>>) -> Response {
    let switches = app.switches();
    let one = |switch: &Switch| {
        let about = json!({
            "value": switches.get(*switch), "values": switch.values(), "row": switch.row(),
            "section": switch.section(),
        });
        (switch.name(), about)
    };
    problem::json(200, &Switch::ALL.iter().map(one).collect::<BTreeMap<_, _>>())
}

/// Sets switches: `{"late-return": "dispute"}`. All of them or none.
#[utoipa::path(post, path = "/sandbox/switches", tag = "sandbox", request_body = BTreeMap<String, String>,
    responses((status = 200, description = "Every switch"), (status = 400, description = "There is no such switch or value")))]
pub(crate) async fn set_switches(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let asked = match object::<BTreeMap<String, String>>(&body) {
        Ok(asked) => asked,
        Err(error) => return Problem::invalid(error).into_response(),
    };
    let set = |switches: &mut Switches| -> Result<(), String> {
        asked.iter().try_for_each(|(name, value)| switches.set(Switch::named(name)?, value))
    };
    let mut trial = app.switches();
    if let Err(reason) = set(&mut trial) {
        return Problem::invalid(reason).into_response();
    }
    app.set_switches(|switches| {
        // Checked above on a copy.
        let _ = set(switches);
    });
    self::switches(State(app)).await
}

/// Where webhooks go, and how reliably.
#[utoipa::path(get, path = "/sandbox/webhooks", tag = "sandbox", responses((status = 200, description = "The settings")))]
pub(crate) async fn webhooks(State(app): State<Arc<App>>) -> Response {
    problem::json(200, &*lock(&app.outbox.options))
}

/// Sets where webhooks go, and how reliably: `{"url": "http://127.0.0.1:8080/webhooks/ccg", "loss": 0.1}`. What is left
/// out has its default; `{}` tells nobody.
#[utoipa::path(post, path = "/sandbox/webhooks", tag = "sandbox", request_body = Object,
    responses((status = 200, description = "The settings"), (status = 400, description = "A rate is not one")))]
pub(crate) async fn set_webhooks(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let set = object::<WebhookOptions>(&body).and_then(|options| app.set_webhooks(options));
    match set {
        Err(reason) => Problem::invalid(reason).into_response(),
        Ok(()) => webhooks(State(app)).await,
    }
}

/// The public keys: the one that signs now, and the one after the next rotation.
#[utoipa::path(get, path = "/sandbox/webhooks/keys", tag = "sandbox", responses((status = 200, description = "current and next, as PEM")))]
pub(crate) async fn webhook_keys(State(app): State<Arc<App>>) -> Response {
    match app.public_keys() {
        Ok([current, next]) => problem::json(200, &json!({ "current": current, "next": next })),
        Err(reason) => Problem::new(500, "INTERNAL_ERROR", reason).into_response(),
    }
}

/// Signs with the next key from now on.
#[utoipa::path(post, path = "/sandbox/webhooks/rotate", tag = "sandbox", responses((status = 200, description = "current and next, as PEM")))]
pub(crate) async fn rotate_key(State(app): State<Arc<App>>) -> Response {
    app.rotate_key();
    webhook_keys(State(app)).await
}

/// Returns when nothing is due and nothing is on its way.
#[utoipa::path(post, path = "/sandbox/webhooks/settle", tag = "sandbox", responses((status = 200, description = "Nothing is due")))]
pub(crate) async fn settle_webhooks(State(app): State<Arc<App>>) -> Response {
    app.webhooks_settled().await;
    problem::json(200, &json!({}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filling {
    merchant: Option<Uuid>,
    customer: Value,
    methods: Vec<FilledMethod>,
}

#[derive(Deserialize)]
struct FilledMethod {
    method: WalletMethod,
    behaviour: Option<Behaviour>,
}

/// Every customer and the methods in the wallet.
#[utoipa::path(get, path = "/sandbox/wallet", tag = "sandbox", responses((status = 200, description = "The wallets")))]
pub(crate) async fn wallet(State(app): State<Arc<App>>) -> Response {
    app.catch_up();
    problem::json(200, &app.wallet_json())
}

/// Fills a wallet: `{"customer": {"hsid": ..}, "methods": [{"method": {"id": .., "kind": "CARD"}, "behaviour": "pays"}]}`.
#[utoipa::path(post, path = "/sandbox/wallet", tag = "sandbox", request_body = Object,
    responses((status = 200, description = "The wallets"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn fill_wallet(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let filling = match object::<Filling>(&body) {
        Ok(filling) => filling,
        Err(error) => return Problem::invalid(error).into_response(),
    };
    let merchant = filling.merchant.or(app.merchants.first().copied()).unwrap_or_default();
    let mut last = None;
    for FilledMethod { method, behaviour } in filling.methods {
        match app.fill_wallet(merchant, &filling.customer, method, behaviour) {
            Err(problem) => return problem.into_response(),
            Ok((_, durable)) => last = durable,
        }
    }
    done(last, json!(app.wallet_json())).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Replacement {
    new_id: Option<Uuid>,
}

/// Puts another method in the place of this one: `{"newId": ".."}`, or an id that follows from the old one.
#[utoipa::path(post, path = "/sandbox/methods/{id}/replace", tag = "sandbox", request_body = Object, params(("id" = String, Path)),
    responses((status = 200, description = "The new id"), (status = 404, description = "NOT_FOUND")))]
pub(crate) async fn replace_method(State(app): State<Arc<App>>, id: Id, body: Bytes) -> Response {
    let outcome = id_of(id).and_then(|id| {
        let new_id = read::<Replacement>(&body)?.new_id;
        let replaced = app.replace_method(id, new_id, app.now_us());
        let (new_id, durable) = replaced.ok_or_else(|| Problem::not_found("paymentMethodId not found"))?;
        Ok((durable, json!({ "newId": new_id })))
    });
    answer(outcome).await
}

/// Removes this method, as its owner would.
#[utoipa::path(post, path = "/sandbox/methods/{id}/delete", tag = "sandbox", params(("id" = String, Path)),
    responses((status = 200, description = "It is gone"), (status = 404, description = "NOT_FOUND")))]
pub(crate) async fn delete_method(State(app): State<Arc<App>>, id: Id) -> Response {
    let outcome = id_of(id).and_then(|id| {
        let deleted = app.delete_method(id, app.now_us(), None);
        Ok((deleted.ok_or_else(|| Problem::not_found("paymentMethodId not found"))?, json!({})))
    });
    answer(outcome).await
}

/// Makes this method unusable.
#[utoipa::path(post, path = "/sandbox/methods/{id}/invalidate", tag = "sandbox", params(("id" = String, Path)),
    responses((status = 200, description = "It is invalid"), (status = 404, description = "NOT_FOUND")))]
pub(crate) async fn invalidate_method(State(app): State<Arc<App>>, id: Id) -> Response {
    let outcome = id_of(id).and_then(|id| {
        let invalidated = app.invalidate_method(id, app.now_us());
        Ok((invalidated.ok_or_else(|| Problem::not_found("paymentMethodId not found"))?, json!({})))
    });
    answer(outcome).await
}

/// Changes the stored details of this bank account, as a notification of change does.
#[utoipa::path(post, path = "/sandbox/methods/{id}/correct", tag = "sandbox", params(("id" = String, Path)),
    responses((status = 200, description = "It was changed"), (status = 404, description = "NOT_FOUND")))]
pub(crate) async fn correct_method(State(app): State<Arc<App>>, id: Id) -> Response {
    let outcome = id_of(id).and_then(|id| {
        let corrected = app.correct_method(id, app.now_us());
        Ok((corrected.ok_or_else(|| Problem::not_found("paymentMethodId not found"))?, json!({})))
    });
    answer(outcome).await
}

/// Lets a hold run out now.
#[utoipa::path(post, path = "/sandbox/payments/{id}/expire", tag = "sandbox", params(("id" = String, Path)),
    responses((status = 200, description = "It ran out"), (status = 404, description = "NOT_FOUND"), (status = 422, description = "It is no hold")))]
pub(crate) async fn expire_hold(State(app): State<Arc<App>>, id: Id) -> Response {
    answer(id_of(id).and_then(|id| Ok((app.expire_hold(id)?, json!({}))))).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Returned {
    code: Option<ReturnCode>,
}

/// Lets the bank return a payment now: `{"code": "R02"}`.
#[utoipa::path(post, path = "/sandbox/payments/{id}/return", tag = "sandbox", request_body = Object, params(("id" = String, Path)),
    responses((status = 200, description = "It was returned"), (status = 404, description = "NOT_FOUND"), (status = 422, description = "It is no bank payment under way or paid")))]
pub(crate) async fn return_payment(State(app): State<Arc<App>>, id: Id, body: Bytes) -> Response {
    let outcome = id_of(id).and_then(|id| {
        let code = read::<Returned>(&body)?.code.unwrap_or(ReturnCode::R01);
        Ok((app.return_payment(id, code)?, json!({})))
    });
    answer(outcome).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    #[serde(default)]
    allocation: usize,
    reason: Option<String>,
}

/// Opens a dispute about a payment: `{"allocation": 0, "reason": "FRAUDULENT"}`.
#[utoipa::path(post, path = "/sandbox/payments/{id}/dispute", tag = "sandbox", request_body = Object, params(("id" = String, Path)),
    responses((status = 200, description = "The dispute's id"), (status = 404, description = "NOT_FOUND"), (status = 422, description = "It is not paid")))]
pub(crate) async fn open_dispute(State(app): State<Arc<App>>, id: Id, body: Bytes) -> Response {
    let outcome = id_of(id).and_then(|id| {
        let opened = read::<Opened>(&body)?;
        let reason = opened.reason.unwrap_or_else(|| "FRAUDULENT".to_owned());
        let (dispute, durable) = app.open_dispute(id, opened.allocation, &reason)?;
        Ok((durable, json!({ "id": dispute })))
    });
    answer(outcome).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Closed {
    won: bool,
}

/// Closes a dispute: `{"won": true}`.
#[utoipa::path(post, path = "/sandbox/disputes/{id}/close", tag = "sandbox", request_body = Object, params(("id" = String, Path)),
    responses((status = 200, description = "It is closed"), (status = 404, description = "NOT_FOUND"), (status = 422, description = "It was closed before")))]
pub(crate) async fn close_dispute(State(app): State<Arc<App>>, id: Id, body: Bytes) -> Response {
    let outcome = id_of(id).and_then(|id| Ok((app.close_dispute(id, read::<Closed>(&body)?.won)?, json!({}))));
    answer(outcome).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Played {
    outcome: SessionOutcome,
}

/// Does what the customer in front of a session would: `{"outcome": "completed"}`, `canceled`, `timed_out` or `failed`.
#[utoipa::path(post, path = "/sandbox/sessions/{id}", tag = "sandbox", request_body = Object, params(("id" = String, Path)),
    responses((status = 200, description = "Done"), (status = 404, description = "There is no such session, or it has ended")))]
pub(crate) async fn play_session(State(app): State<Arc<App>>, id: Id, body: Bytes) -> Response {
    let outcome = id_of(id).and_then(|id| {
        let played = read::<Played>(&body)?;
        let known = app.play_session(id, played.outcome);
        if known { Ok((None, json!({}))) } else { Err(Problem::not_found("Session Id not found")) }
    });
    answer(outcome).await
}
