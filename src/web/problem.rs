//! Answers with an RFC 9457 problem: machines read the status, people the detail. Browsers get a page.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not answered with what it asked for.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) detail: String,
}

/// A problem as RFC 9457 writes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body<'a> {
    /// What kind of problem; `about:blank` means no other than the status says.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What is wrong and what to do about it.
    detail: &'a str,
}

impl Problem {
    /// Says that there is nothing here, and where to look instead.
    pub(super) fn not_found(detail: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// Says what is wrong and what to do about it.
    pub(super) fn new(status: StatusCode, detail: String) -> Self {
        Self { status, detail }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Body {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or_default(),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let mut response = (self.status, Json(body)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, problem);
        // A page may take its place for whoever reads pages.
        response.extensions_mut().insert(self);
        response
    }
}
