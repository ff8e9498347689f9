//! What a cluster asks for itself, for an address that only it can reach: metrics, and whether the process is well. No door
//! stands before it.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::WebState;
use crate::metrics;

/// Builds the routes for an address of their own: no login, no rate limits.
pub fn inner_router(state: &WebState) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(show_readiness))
        .route("/metrics", get(show_metrics))
        .with_state(state.clone())
}

async fn show_readiness(State(state): State<WebState>) -> (StatusCode, &'static str) {
    if state.board.read(|picture| picture.fleet.ready) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the first pass over all stores is not finished")
    }
}

async fn show_metrics(State(state): State<WebState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.encode())
}
