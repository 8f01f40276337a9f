//! `/sandbox/...`: tokens, the ledger, the faults and the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::books::App;
use crate::clock::real_us;
use crate::faults::{Dice, Fault, Faults};
use crate::form::field;
use crate::journal::LineOut;
use crate::ledger::LedgerView;
use crate::method::Behaviour;
use crate::problem::{self, Problem};
use crate::request::object;
use crate::settlement::SettlementFaults;
use crate::switches::{Idempotency, TokenPath};

/// A token for client credentials, sent as a form.
#[utoipa::path(post, path = "/oauth2/token", tag = "tokens", request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "access_token, token_type, expires_in, scope"), (status = 400, description = "As OAuth says"),
        (status = 401, description = "invalid_client"), (status = 404, description = "A switch"), (status = 503, description = "A fault")))]
pub(crate) async fn token(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match app.switches().token_path {
        TokenPath::Both | TokenPath::Unversioned => give_token(&app, &body),
        TokenPath::V1 => nothing_here().await,
    }
}

/// A token for client credentials, sent as a form.
#[utoipa::path(post, path = "/v1/oauth2/token", tag = "tokens", request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "access_token, token_type, expires_in, scope"), (status = 400, description = "As OAuth says"),
        (status = 401, description = "invalid_client"), (status = 404, description = "A switch"), (status = 503, description = "A fault")))]
pub(crate) async fn token_v1(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match app.switches().token_path {
        TokenPath::Both | TokenPath::V1 => give_token(&app, &body),
        TokenPath::Unversioned => nothing_here().await,
    }
}

/// Everything else.
pub(crate) async fn nothing_here() -> Response {
    Problem::not_found("There is nothing here; GET / explains what there is.").into_response()
}

fn give_token(app: &App, body: &Bytes) -> Response {
    let number = app.desk.next_request();
    let rate = app.faults().token_5xx;
    if Dice::of(app.options.seed, Uuid::nil(), "token").hits(rate, Fault::Token5xx, number) {
        return Problem::internal(503).into_response();
    }
    let text = String::from_utf8_lossy(body);
    let of = |name| field(&text, name).unwrap_or_default();
    let refuse = |status: u16, error: &str| {
        let text = match error {
            "invalid_client" => "The client is unknown or its secret is wrong.",
            "invalid_scope" => "The scope does not exist or is not this client's.",
            "unsupported_grant_type" => "grant_type must be client_credentials.",
            _ => "grant_type, client_id and client_secret are required, as a form.",
        };
        problem::json(status, &json!({ "error": error, "error_description": text }))
    };
    let grant = of("grant_type");
    if grant.is_empty() || of("client_id").is_empty() || of("client_secret").is_empty() {
        return refuse(400, "invalid_request");
    }
    if grant != "client_credentials" {
        return refuse(400, "unsupported_grant_type");
    }
    match app.desk.issue(&of("client_id"), &of("client_secret"), &of("scope"), number) {
        Err((status, error)) => refuse(status, error),
        Ok((token, scope)) => {
            let seconds = app.options.token_lifetime.as_secs();
            let body = json!({ "access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope });
            let mut response = problem::json(200, &body);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
    }
}

/// The ledger in a few numbers.
#[utoipa::path(get, path = "/sandbox/ledger", tag = "sandbox",
    responses((status = 200, description = "Done")))]
pub(crate) async fn ledger(State(app): State<Arc<App>>) -> Response {
    problem::json(200, &LedgerView(app).summary())
}

/// Every submission to pay, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/submissions", tag = "sandbox",
    responses((status = 200, description = "Done")))]
pub(crate) async fn submissions(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).submissions())
}

/// Every payment, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/payments", tag = "sandbox",
    responses((status = 200, description = "Done")))]
pub(crate) async fn payments(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).payments())
}

/// The last requests to pay that were refused, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/rejections", tag = "sandbox",
    responses((status = 200, description = "Done")))]
pub(crate) async fn rejections(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).rejections())
}

/// Every capture, cancellation and refund that was submitted, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/calls", tag = "sandbox", responses((status = 200, description = "Done")))]
pub(crate) async fn calls(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).calls())
}

/// Every refund, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/refunds", tag = "sandbox", responses((status = 200, description = "Done")))]
pub(crate) async fn refunds(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).refunds())
}

/// Every movement of money, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/movements", tag = "sandbox", responses((status = 200, description = "Done")))]
pub(crate) async fn movements(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).movements())
}

/// Every open hold, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/holds", tag = "sandbox", responses((status = 200, description = "Done")))]
pub(crate) async fn holds(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).open_holds())
}

/// Every dispute, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/disputes", tag = "sandbox", responses((status = 200, description = "Done")))]
pub(crate) async fn disputes(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).disputes())
}

/// Every webhook and what became of it, as JSON lines.
#[utoipa::path(get, path = "/sandbox/ledger/deliveries", tag = "sandbox", responses((status = 200, description = "Done")))]
pub(crate) async fn deliveries(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).deliveries())
}

fn lines<T: Serialize>(rows: Vec<T>) -> Response {
    let mut text = Vec::new();
    for row in rows {
        if serde_json::to_writer(&mut text, &row).is_ok() {
            text.push(b'\n');
        }
    }
    ([(header::CONTENT_TYPE, "application/x-ndjson")], text).into_response()
}

#[derive(Deserialize)]
pub(crate) struct RateQuery {
    rate: f64,
    burst: u64,
    #[serde(default)]
    posts: bool,
}

/// Whether calls kept to a rate: `?rate=50&burst=5[&posts=true]`.
#[utoipa::path(get, path = "/sandbox/ledger/rate", tag = "sandbox",
    responses((status = 200, description = "Done"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn rate(State(app): State<Arc<App>>, Query(query): Query<RateQuery>) -> Response {
    let ledger = LedgerView(app);
    let second = Duration::from_secs(1);
    let (most, violation) = if query.posts {
        (ledger.max_posts_in_window(second), ledger.check_post_rate(query.rate, query.burst))
    } else {
        (ledger.max_in_window(second), ledger.check_rate(query.rate, query.burst))
    };
    problem::json(200, &json!({ "max_in_one_second": most, "violation": violation }))
}

#[derive(Deserialize)]
pub(crate) struct SettlementQuery {
    from: NaiveDate,
    until: NaiveDate,
    #[serde(default)]
    drop: f64,
    #[serde(default)]
    double: f64,
    #[serde(default)]
    alter: f64,
    #[serde(default)]
    seed: u64,
}

/// The settlement file of some days, as CSV: `?from=2027-01-01&until=2027-01-31[&drop=0.01&double=0.01&alter=0.01&seed=7]`.
#[utoipa::path(get, path = "/sandbox/settlement", tag = "sandbox",
    responses((status = 200, description = "Done"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn settlement(State(app): State<Arc<App>>, Query(query): Query<SettlementQuery>) -> Response {
    let SettlementQuery { from, until, drop, double, alter, seed } = query;
    let text = LedgerView(app).settlement_file(from, until, &SettlementFaults { drop, double, alter, seed });
    ([(header::CONTENT_TYPE, "text/csv")], text).into_response()
}

/// What goes wrong, and how often.
#[utoipa::path(get, path = "/sandbox/faults", tag = "sandbox",
    responses((status = 200, description = "Done")))]
pub(crate) async fn faults(State(app): State<Arc<App>>) -> Response {
    problem::json(200, &*app.faults())
}

/// Sets what goes wrong: `{"slow": 0.1}`; `{}` heals.
#[utoipa::path(post, path = "/sandbox/faults", tag = "sandbox", request_body = Object,
    responses((status = 200, description = "Done"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn set_faults(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match object::<Faults>(&body).and_then(|faults| faults.check().map(|()| faults)) {
        Err(reason) => Problem::invalid(reason).into_response(),
        Ok(faults) => {
            app.set_faults(faults);
            problem::json(200, &*app.faults())
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    post: Option<Fault>,
    get: Option<Fault>,
    key: Option<String>,
}

/// The next call suffers this fault: `{"post": "cut_after_commit", "key": "optional"}`, `{"get": "get_5xx"}`.
#[utoipa::path(post, path = "/sandbox/faults/next", tag = "sandbox", request_body = Object,
    responses((status = 200, description = "Done"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn next_fault(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match object::<Next>(&body) {
        Err(error) => Problem::invalid(error).into_response(),
        Ok(next) => {
            if let Some(fault) = next.post {
                app.inject_post(next.key.as_deref(), fault);
            }
            if let Some(fault) = next.get {
                app.inject_get(fault);
            }
            problem::json(200, &json!({}))
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdempotencyBody {
    idempotency: Idempotency,
}

/// Sets the switch of its name: `{"idempotency": "replay"}`.
#[utoipa::path(post, path = "/sandbox/idempotency", tag = "sandbox", request_body = Object,
    responses((status = 200, description = "Done"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn set_idempotency(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match object::<IdempotencyBody>(&body) {
        Err(error) => Problem::invalid(error).into_response(),
        Ok(body) => {
            app.set_switches(|switches| switches.idempotency = body.idempotency);
            problem::json(200, &body)
        }
    }
}

/// Scripts methods: `{"<uuid>": "pays", "<uuid>": {"declines_with": "lost_card"}}`.
#[utoipa::path(post, path = "/sandbox/methods", tag = "sandbox", request_body = Object,
    responses((status = 200, description = "Done"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn set_methods(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match object::<BTreeMap<Uuid, Behaviour>>(&body) {
        Err(error) => Problem::invalid(error).into_response(),
        Ok(methods) => {
            for (method, behaviour) in &methods {
                app.register(*method, *behaviour);
            }
            problem::json(200, &methods)
        }
    }
}

/// Every token given out so far is refused.
#[utoipa::path(post, path = "/sandbox/tokens/revoke", tag = "sandbox",
    responses((status = 200, description = "Done")))]
pub(crate) async fn revoke(State(app): State<Arc<App>>) -> Response {
    app.desk.revoke();
    problem::json(200, &json!({}))
}

/// The sandbox's time.
#[utoipa::path(get, path = "/sandbox/clock", tag = "sandbox",
    responses((status = 200, description = "Done")))]
pub(crate) async fn clock(State(app): State<Arc<App>>) -> Response {
    problem::json(200, &json!({ "now": app.options.clock.now(), "turned": app.options.clock.is_turned() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    #[serde(default)]
    days: u64,
    #[serde(default)]
    seconds: u64,
    #[serde(default)]
    ms: u64,
    to: Option<DateTime<Utc>>,
}

/// Turns the clock: `{"days": 1}`, `{"seconds": 60}`, `{"ms": 5}` or `{"to": "<RFC 3339>"}`.
#[utoipa::path(post, path = "/sandbox/clock/advance", tag = "sandbox", request_body = Object,
    responses((status = 200, description = "Done"), (status = 400, description = "INVALID_REQUEST")))]
pub(crate) async fn advance(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let turn = match object::<Turn>(&body) {
        Ok(turn) if turn.days <= 36_525 && turn.seconds <= 3_155_760_000 && turn.ms <= 3_155_760_000_000 => turn,
        Ok(_) => return Problem::invalid("the clock is turned by a hundred years at most").into_response(),
        Err(error) => return Problem::invalid(error).into_response(),
    };
    let clock = &app.options.clock;
    if let Some(to) = turn.to {
        clock.set(to);
    }
    clock.advance(Duration::from_secs(turn.days * 86_400 + turn.seconds) + Duration::from_millis(turn.ms));
    if let Some(journal) = &app.journal {
        journal.note(&LineOut::clock(clock.now_us(), real_us()));
    }
    self::clock(State(app)).await
}
