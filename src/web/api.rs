//! `/api/v1`: JSON for everything that the pages show.
//!
//! - `shapes`: what is answered, a promise to other programs
//! - `list`: stores, selected, in pages, packed once for all readers
//! - `events`: what happened, in pages
//! - `stream`: what changes, as it does
//! - `document`: the description of all this in OpenAPI

mod document;
pub(super) mod events;
mod list;
mod shapes;
mod stream;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::problem::{Body, Problem};
use super::{WebState, etag, store_id, unknown_store};
use crate::metrics::Summary;
use crate::report::PlanReport;

pub use shapes::{
    Commit, CommitVerdict, Commits, Fleet, Happening, Happenings, Inside, Object, Pod, Replica, Replicas,
    RunningVersion, Store, StoreOutcome, Stores,
};

pub(super) use document::{DOCUMENT, document};
pub(super) use list::ListCache;

/// How many commits and plans are listed.
const LISTED: usize = 100;

/// Builds the routes.
pub(super) fn routes() -> Router<WebState> {
    Router::new()
        .route("/api/v1/fleet", get(fleet))
        .route("/api/v1/stores", get(list::stores))
        .route("/api/v1/stores/{name}", get(store))
        .route("/api/v1/stores/{name}/inside", get(inside))
        .route("/api/v1/stores/{name}/events", get(events::of_store))
        .route("/api/v1/events", get(events::all))
        .route("/api/v1/commits", get(commits))
        .route("/api/v1/commits/{revision}", get(commit))
        .route("/api/v1/plans", get(plans))
        .route("/api/v1/plans/{commit}", get(plan))
        .route("/api/v1/check", get(super::pages::new::check))
        .route("/api/v1/openapi.json", get(async || Json(document())))
        .route("/metrics/summary", get(summary))
        .layer(from_fn(etag::tag))
        .route("/api/v1/stream", get(stream::stream))
}

/// Tells what holds for the fleet as a whole.
#[utoipa::path(get, path = "/api/v1/fleet", tag = "fleet", responses((status = 200, body = Fleet)))]
async fn fleet(State(state): State<WebState>) -> Json<Fleet> {
    Json(state.board.read(Fleet::of))
}

/// Tells where one store is.
#[utoipa::path(
    get, path = "/api/v1/stores/{name}", tag = "stores", params(("name" = String, Path, description = "The store's name")),
    responses((status = 200, body = Store), (status = 404, description = "No such store", body = Body, content_type = "application/problem+json"))
)]
async fn store(
    State(state): State<WebState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Store>, Problem> {
    let id = store_id(name)?;
    let store = state.board.read(|picture| picture.stores.get(&id).map(Store::of));
    store.map(Json).ok_or_else(|| unknown_store(&state, &id))
}

/// Tells what is inside a store's namespace now: versions, objects with health and drift, pods.
#[utoipa::path(
    get, path = "/api/v1/stores/{name}/inside", tag = "stores", params(("name" = String, Path, description = "The store's name")),
    responses(
        (status = 200, body = Inside),
        (status = 404, description = "No such store", body = Body, content_type = "application/problem+json"),
        (status = 503, description = "The cluster is not reached", body = Body, content_type = "application/problem+json"),
    )
)]
async fn inside(
    State(state): State<WebState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Inside>, Problem> {
    let id = store_id(name)?;
    if !state.board.read(|picture| picture.stores.contains_key(&id)) {
        return Err(unknown_store(&state, &id));
    }
    let found = (state.inspect)(id).await;
    let found = found.map_err(|reason| Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason))?;
    Ok(Json(Inside::of(found)))
}

/// Lists the newest commits and what became of them.
#[utoipa::path(get, path = "/api/v1/commits", tag = "commits", responses((status = 200, body = Commits)))]
async fn commits(State(state): State<WebState>) -> Json<Commits> {
    let newest = |picture: &crate::report::Picture| {
        picture.commits.commits().take(LISTED).map(|commit| CommitVerdict::of(commit, false)).collect()
    };
    Json(Commits { commits: state.board.read(newest) })
}

/// Tells what became of one commit, store by store.
#[utoipa::path(
    get, path = "/api/v1/commits/{revision}", tag = "commits", params(("revision" = String, Path, description = "The commit's id")),
    responses((status = 200, body = CommitVerdict), (status = 404, description = "Nothing is known of it", body = Body, content_type = "application/problem+json"))
)]
async fn commit(
    State(state): State<WebState>,
    revision: Result<Path<String>, PathRejection>,
) -> Result<Json<CommitVerdict>, Problem> {
    let Path(revision) = revision.map_err(|error| Problem::not_found(error.body_text()))?;
    let found = state
        .board
        .read(|picture| picture.commits.commit(&revision).map(|commit| CommitVerdict::of(commit, true)));
    found.map(Json).ok_or_else(super::unknown_commit)
}

/// Lists the newest plans of pull requests, newest first.
#[utoipa::path(get, path = "/api/v1/plans", tag = "plans", responses((status = 200, body = Vec<PlanReport>)))]
async fn plans(State(state): State<WebState>) -> Response {
    let plans = state.plans.newest(LISTED);
    Json(plans.iter().map(|plan| &**plan).collect::<Vec<_>>()).into_response()
}

/// Tells what a commit of a pull request would do.
#[utoipa::path(
    get, path = "/api/v1/plans/{commit}", tag = "plans", params(("commit" = String, Path, description = "The commit's id, or at least 7 digits of it")),
    responses((status = 200, body = PlanReport), (status = 404, description = "No plan is known of it", body = Body, content_type = "application/problem+json"))
)]
async fn plan(
    State(state): State<WebState>,
    commit: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(commit) = commit.map_err(|error| Problem::not_found(error.body_text()))?;
    let plan = state.plans.get(&commit).ok_or_else(|| super::unknown_plan(&commit))?;
    Ok(Json(&*plan).into_response())
}

/// Tells the numbers that people ask for first.
#[utoipa::path(get, path = "/metrics/summary", tag = "fleet", responses((status = 200, body = Summary)))]
async fn summary(State(state): State<WebState>) -> Json<Summary> {
    Json(state.metrics.summary())
}
