//! Errors as RFC 9457 problems. Each says whether money moved and whether to try again.

use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: String,
    money_moved: &'a str,
    retry: &'a str,
}

fn answer(status: StatusCode, kind: &str, title: &str, detail: String) -> Response {
    problem(status, (kind, title), detail, "no")
}

fn problem(status: StatusCode, (kind, title): (&str, &str), detail: String, retry: &str) -> Response {
    let problem = Problem { kind, title, status: status.as_u16(), detail, money_moved: "no", retry };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// Digits in a path from which on it is not repeated: a card number would fit, in whatever encoding.
const TOO_MANY_DIGITS: usize = 12;

/// The start of a path, for a message.
fn shown(uri: &Uri) -> String {
    let path = uri.path();
    if path.bytes().filter(u8::is_ascii_digit).count() > TOO_MANY_DIGITS {
        return "This address".to_owned();
    }
    path.chars().take(100).collect()
}

/// Gives what a layer refused the form that every other error has.
pub(super) async fn in_form(answer: Response) -> Response {
    let status = answer.status();
    match status {
        StatusCode::PAYLOAD_TOO_LARGE if !answer.headers().contains_key(header::CONTENT_TYPE) || is_plain(&answer) => {
            body_too_large()
        }
        StatusCode::SERVICE_UNAVAILABLE if !answer.headers().contains_key(header::CONTENT_TYPE) => too_slow(),
        _ => answer,
    }
}

/// Said by a layer, not by us.
fn is_plain(answer: &Response) -> bool {
    answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

fn body_too_large() -> Response {
    let detail = format!("A request here has no body, and never one of more than {} bytes.", super::LARGEST_BODY);
    answer(StatusCode::PAYLOAD_TOO_LARGE, "/problems/body-too-large", "The request is too large", detail)
}

fn too_slow() -> Response {
    let detail = format!("The answer took more than {} s; ask again.", super::REQUEST_LIMIT.as_secs());
    answer(StatusCode::SERVICE_UNAVAILABLE, "/problems/too-slow", "The answer took too long", detail)
}

pub(super) async fn not_found(uri: Uri) -> Response {
    let detail = format!("{} is not here. There are /livez, /readyz, /startupz and /metrics.", shown(&uri));
    answer(StatusCode::NOT_FOUND, "/problems/not-found", "There is nothing at this address", detail)
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not take {method}; ask with GET.", shown(&uri));
    answer(StatusCode::METHOD_NOT_ALLOWED, "/problems/method-not-allowed", "This address takes another method", detail)
}

pub(super) fn internal() -> Response {
    let detail = "A bug; the log has the details. Probes do not touch charges.".to_owned();
    answer(StatusCode::INTERNAL_SERVER_ERROR, "/problems/internal", "Something broke", detail)
}

pub(super) async fn only_post(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not take {method}; deliver with POST.", shown(&uri));
    answer(StatusCode::METHOD_NOT_ALLOWED, "/problems/method-not-allowed", "This address takes another method", detail)
}

pub(super) fn unauthorized(why: &str) -> Response {
    let detail = format!("The delivery {why}.");
    let mut answer = answer(StatusCode::UNAUTHORIZED, "/problems/unauthorized", "Not the gateway's", detail);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    answer
}

pub(super) fn forbidden() -> Response {
    let detail = "The delivery is for another merchant.".to_owned();
    answer(StatusCode::FORBIDDEN, "/problems/forbidden", "Another merchant's", detail)
}

pub(super) fn too_large(most: usize) -> Response {
    let detail = format!("The delivery is larger than {most} bytes.");
    answer(StatusCode::PAYLOAD_TOO_LARGE, "/problems/too-large", "Too large", detail)
}

pub(super) fn unavailable(why: &str) -> Response {
    let detail = format!("Not kept, since {why}. Deliver it again.");
    let kind = ("/problems/unavailable", "Come again");
    problem(StatusCode::SERVICE_UNAVAILABLE, kind, detail, "yes")
}
