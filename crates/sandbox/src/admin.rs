//! `/sandbox/...`: the ledger, the switches and the clock; and `/`, which explains them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
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
use crate::options::Idempotency;
use crate::problem::{self, Problem};
use crate::request::object;

/// `POST /oauth2/token`, `POST /v1/oauth2/token`
pub(crate) async fn token(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let number = app.desk.next_request();
    let rate = app.faults().token_5xx;
    if Dice::of(app.options.seed, Uuid::nil(), "token").hits(rate, Fault::Token5xx, number) {
        return Problem::internal(503).into_response();
    }
    let text = String::from_utf8_lossy(&body);
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

/// `GET /sandbox/ledger`
pub(crate) async fn ledger(State(app): State<Arc<App>>) -> Response {
    problem::json(200, &LedgerView(app).summary())
}

/// `GET /sandbox/ledger/submissions`
pub(crate) async fn submissions(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).submissions())
}

/// `GET /sandbox/ledger/payments`
pub(crate) async fn payments(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).payments())
}

/// `GET /sandbox/ledger/rejections`
pub(crate) async fn rejections(State(app): State<Arc<App>>) -> Response {
    lines(LedgerView(app).rejections())
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

/// `GET /sandbox/ledger/rate?rate=50&burst=5[&posts=true]`
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

/// `GET /sandbox/faults`
pub(crate) async fn faults(State(app): State<Arc<App>>) -> Response {
    problem::json(200, &*app.faults())
}

/// `POST /sandbox/faults`
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

/// `POST /sandbox/faults/next`
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

/// `POST /sandbox/idempotency`
pub(crate) async fn set_idempotency(State(app): State<Arc<App>>, body: Bytes) -> Response {
    match object::<IdempotencyBody>(&body) {
        Err(error) => Problem::invalid(error).into_response(),
        Ok(body) => {
            app.set_idempotency(body.idempotency);
            problem::json(200, &body)
        }
    }
}

/// `POST /sandbox/methods`: `{"<uuid>": <behaviour>, ...}`
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

/// `POST /sandbox/tokens/revoke`
pub(crate) async fn revoke(State(app): State<Arc<App>>) -> Response {
    app.desk.revoke();
    problem::json(200, &json!({}))
}

/// `GET /sandbox/clock`
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

/// `POST /sandbox/clock/advance`: `{"days": 1}`, `{"seconds": 60}`, `{"ms": 5}` or `{"to": "<RFC 3339>"}`
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

/// `GET /`
pub(crate) async fn explain(State(app): State<Arc<App>>) -> String {
    EXPLANATION.replace("{base}", &app.base).replace("{merchants}", &names(&app))
}

fn names(app: &App) -> String {
    app.merchants.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
}

const EXPLANATION: &str = "\
A Convenient Checkout Gateway that runs on your machine and misbehaves on request.
It moves no money and talks to nobody.

Listening on {base}
Merchants: {merchants}

THE GATEWAY
  POST /oauth2/token, /v1/oauth2/token      client credentials, as a form
  POST /v2/payments                         202; Authorization, X-Merchant-Id, Content-Type
  GET  /v2/payments/{id}                    202 in progress, 200 final, 422 or 406 failed; needs Accept
  GET  /v2/payments?merchantTransactionId=  the same, by key

THE LEDGER
  GET  /sandbox/ledger                      a summary
  GET  /sandbox/ledger/submissions          JSON lines
  GET  /sandbox/ledger/payments             JSON lines
  GET  /sandbox/ledger/rejections           JSON lines
  GET  /sandbox/ledger/rate?rate=50&burst=5[&posts=true]

SWITCHES
  GET, POST /sandbox/faults                 {\"cut_after_commit\": 0.1, \"slow\": 0.05, \"slow_ms\": 3000}; {} heals
  POST /sandbox/faults/next                 {\"post\": \"cut_after_commit\", \"key\": \"optional\"} or {\"get\": \"get_5xx\"}
  POST /sandbox/idempotency                 {\"idempotency\": \"replay\" | \"new-attempt-after-failed\" | \"reject-duplicate\"}
  POST /sandbox/methods                     {\"<uuid>\": \"pays\", \"<uuid>\": {\"declines_with\": \"lost_card\"}}
  POST /sandbox/tokens/revoke               every token given out so far is refused
  GET  /sandbox/clock
  POST /sandbox/clock/advance               {\"days\": 1}, {\"seconds\": 60}, {\"ms\": 5}, {\"to\": \"2026-03-01T00:00:00Z\"}

FAULTS (each a share from 0 to 1)
  refused rate_limited unauthorized error_before_commit error_after_commit cut_before_commit cut_after_commit
  truncated_answer slow late_commit lookup_404_for wrong_key wrong_amount duplicate_charge get_5xx token_5xx

PAYMENT METHODS, by the digits of their id: 5a4db0c5-BBPP-8QQQ-8nnn-nnnnnnnnnnnn
  BB  behaviour                         PP            QQQ
  00  pays                              00            000
  01  declines PP times, then pays      01 to 0f      decline code
  02  declines with a decline code      decline code  000
  03  declines without a decline code   00            000
  04  bank account, settles             00            days, fff = default
  05  bank account, returned            return code   days, fff = default
  06  demands 3DS                       00            000
  07  not found                         00            000
  Decline codes: 00 insufficient_funds 01 lost_card 02 stolen_card 03 expired_card 04 do_not_honor
    05 processing_error 06 generic_decline 07 card_velocity_exceeded 08 try_again_later 09 pickup_card
    0a restricted_card 0b fraudulent 0c incorrect_number 0d invalid_account 0e issuer_not_available
    0f reenter_transaction 10 transaction_not_allowed 11 withdrawal_count_limit_exceeded
    12 revocation_of_authorization 13 stop_payment_order 14 call_issuer 15 currency_not_supported
  Return codes: 00 R01  01 R02  02 R03  03 R04  04 R05  05 R07  06 R08  07 R09  08 R10  09 R16  0a R20  0b R29
  Any other id is a card that pays, or is not found (a switch).
";

#[cfg(test)]
mod tests {
    use crate::faults::Fault;
    use crate::method::{DeclineCode, ReturnCode};

    #[test]
    fn the_explanation_names_every_fault_and_numbers_every_code() {
        for fault in Fault::ALL {
            assert!(super::EXPLANATION.contains(fault.name()), "{fault:?}");
        }
        for (n, code) in DeclineCode::ALL.iter().enumerate() {
            assert!(super::EXPLANATION.contains(&format!("{n:02x} {code}")), "{code}");
        }
        for (n, code) in ReturnCode::ALL.iter().enumerate() {
            assert!(super::EXPLANATION.contains(&format!("{n:02x} {code}")), "{code}");
        }
    }
}
