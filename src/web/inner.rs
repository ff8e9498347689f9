//! What a cluster asks for itself, for an address that only it can reach: metrics, and whether the process is well. No door
//! stands before it.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Sources;
use crate::metrics::{self, MetricsReader};
use crate::report::BoardReader;

/// What these routes tell.
#[derive(Clone)]
struct Vitals {
    board: BoardReader,
    metrics: MetricsReader,
}

/// Builds the routes: for an address of their own without login and rate limits, and beside the pages.
pub fn inner_router(sources: &Sources) -> Router {
    let vitals = Vitals { board: sources.board.clone(), metrics: sources.metrics.clone() };
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(show_readiness))
        .route("/metrics", get(show_metrics))
        .with_state(vitals)
}

async fn show_readiness(State(state): State<Vitals>) -> (StatusCode, &'static str) {
    if state.board.read(|picture| picture.fleet.ready) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: the first pass over all stores is not finished")
    }
}

async fn show_metrics(State(state): State<Vitals>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.encode())
}
