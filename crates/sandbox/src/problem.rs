//! The gateway's error answers, with the texts of its pages.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An error answer: `{title, status, detail}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
    pub(crate) retry_after: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct ProblemBody<'a, T> {
    pub(crate) title: &'a str,
    pub(crate) status: u16,
    pub(crate) detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<T>,
}

impl Problem {
    pub(crate) fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), retry_after: None }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(400, "INVALID_REQUEST", detail)
    }

    pub(crate) fn malformed() -> Self {
        Self::invalid("Invalid request format. Please check JSON structure and field types")
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(422, "UNPROCESSABLE_ENTITY", detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "UNAUTHORIZED", detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "FORBIDDEN", detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "NOT_FOUND", detail)
    }

    pub(crate) fn internal(status: u16) -> Self {
        Self::new(status, "INTERNAL_ERROR", "The request could not be processed.")
    }

    pub(crate) fn too_many(retry_after: Option<String>) -> Self {
        let mut problem = Self::new(429, "TOO_MANY_REQUESTS", "Too many requests.");
        problem.retry_after = retry_after;
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody::<()> { title: self.title, status: self.status, detail: &self.detail, data: None };
        let mut response = json(self.status, &body);
        if let Some(value) = self.retry_after.and_then(|value| HeaderValue::from_str(&value).ok()) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

pub(crate) fn json<T: Serialize>(status: u16, body: &T) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
}
