//! Every route, with its place in the OpenAPI document: what is not in the document cannot be called.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::books::App;
use crate::problem::json;
use crate::{admin, captures, explain, methods, payments, refunds, sessions, steering, tokens};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Convenient Checkout Gateway, sandbox",
        description = "The gateway's contract as it was reconstructed from its public pages, and the sandbox's own /sandbox/ calls."
    ),
    tags(
        (name = "payments", description = "Scope merchant"),
        (name = "refunds", description = "Scope merchant"),
        (name = "sessions", description = "Scope merchant"),
        (name = "wallet", description = "Scope merchant-wallet-management; customers: merchant"),
        (name = "tokens", description = "Scope merchant-pci; OAuth tokens: none"),
        (name = "sandbox", description = "Not the gateway's: the ledger, the switches, and what happens by itself")
    )
)]
struct Document;

fn all() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(explain::front_page))
        .routes(routes!(document))
        .routes(routes!(admin::token))
        .routes(routes!(admin::token_v1))
        .routes(routes!(payments::create, payments::by_key))
        .routes(routes!(payments::by_id))
        .routes(routes!(captures::capture))
        .routes(routes!(captures::cancel))
        .routes(routes!(payments::create_v1, payments::by_key_v1))
        .routes(routes!(payments::by_id_v1))
        .routes(routes!(captures::capture_v1))
        .routes(routes!(captures::cancel_v1))
        .routes(routes!(tokens::token_payment))
        .routes(routes!(refunds::create))
        .routes(routes!(refunds::by_id))
        .routes(routes!(refunds::create_v1))
        .routes(routes!(refunds::by_id_v1))
        .routes(routes!(sessions::create))
        .routes(routes!(sessions::by_id))
        .routes(routes!(methods::search))
        .routes(routes!(methods::update, methods::delete))
        .routes(routes!(tokens::setup))
        .routes(routes!(methods::find))
        .merge(own())
}

/// The sandbox's own calls.
fn own() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(admin::ledger))
        .routes(routes!(admin::submissions))
        .routes(routes!(admin::payments))
        .routes(routes!(admin::rejections))
        .routes(routes!(admin::calls))
        .routes(routes!(admin::refunds))
        .routes(routes!(admin::movements))
        .routes(routes!(admin::holds))
        .routes(routes!(admin::disputes))
        .routes(routes!(admin::deliveries))
        .routes(routes!(admin::rate))
        .routes(routes!(admin::settlement))
        .routes(routes!(admin::faults, admin::set_faults))
        .routes(routes!(admin::next_fault))
        .routes(routes!(admin::set_idempotency))
        .routes(routes!(admin::set_methods))
        .routes(routes!(admin::revoke))
        .routes(routes!(admin::clock))
        .routes(routes!(admin::advance))
        .routes(routes!(steering::switches, steering::set_switches))
        .routes(routes!(steering::webhooks, steering::set_webhooks))
        .routes(routes!(steering::webhook_keys))
        .routes(routes!(steering::rotate_key))
        .routes(routes!(steering::settle_webhooks))
        .routes(routes!(steering::wallet, steering::fill_wallet))
        .routes(routes!(steering::replace_method))
        .routes(routes!(steering::delete_method))
        .routes(routes!(steering::invalidate_method))
        .routes(routes!(steering::correct_method))
        .routes(routes!(steering::expire_hold))
        .routes(routes!(steering::return_payment))
        .routes(routes!(steering::open_dispute))
        .routes(routes!(steering::close_dispute))
        .routes(routes!(steering::play_session))
}

pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, _) = all().split_for_parts();
    router.fallback(admin::nothing_here).with_state(app)
}

/// The OpenAPI document of everything that a sandbox answers.
#[must_use]
pub fn openapi() -> serde_json::Value {
    let (_, document) = all().split_for_parts();
    serde_json::to_value(&document).unwrap_or_default()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "sandbox", responses((status = 200, description = "The OpenAPI document")))]
async fn document(State(_app): State<Arc<App>>) -> Response {
    json(200, &openapi())
}
