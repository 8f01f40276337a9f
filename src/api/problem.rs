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

/// The start of a path, for a message.
fn shown(uri: &Uri) -> String {
    uri.path().chars().take(100).collect()
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
