//! Shows the fleet over HTTP: a page, JSON, probes and metrics. Git is the only way in; nothing here can change
//! anything, and the state it holds consists of readers.

mod api;
mod commit;
mod door;
mod html;
mod inner;
mod page;
mod plan;
mod problem;
mod serve;
mod stall;
mod store;
mod when;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::metrics::{self, MetricsReader, Summary};
use crate::names::{STORES_FOLDER, StoreId};
use crate::report::{BoardReader, PlansReader};

pub use api::{Fleet, Store, Stores};
pub use door::{Door, DoorSettings, LoginSettings, READ_TOKEN_MIN, Visitor};
pub use inner::inner_router;
pub use serve::serve;

use problem::Problem;

/// How many plans are listed.
const LISTED_PLANS: usize = 100;

/// Everything that the web side knows. It can only read.
#[derive(Debug, Clone)]
pub struct WebState {
    /// What is known of the fleet.
    pub board: BoardReader,
    /// What was counted and timed.
    pub metrics: MetricsReader,
    /// The newest plans of pull requests.
    pub plans: PlansReader,
    /// Tells the time in seconds since 1970, for the ages on the page.
    pub clock: fn() -> i64,
}

/// Builds the read-only routes, which answer GET and HEAD only, beside those that somebody else answers for.
pub fn router(state: WebState, others: Router) -> Router {
    Router::new()
        .route("/", get(show_page))
        .route("/commits/{revision}", get(show_commit))
        .route("/stores/{name}", get(show_store_page))
        .route("/api/v1/stores", get(show_stores))
        .route("/api/v1/stores/{name}", get(show_store))
        .route("/plans", get(show_plans))
        .route("/plans/{commit}", get(show_plan))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(show_readiness))
        .route("/metrics", get(show_metrics))
        .route("/metrics/summary", get(show_summary))
        .with_state(state)
        .merge(others)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(map_response(protect))
}

async fn show_page(State(state): State<WebState>) -> Html<String> {
    let now = (state.clock)();
    Html(state.board.read(|picture| page::render(picture, now)))
}

async fn show_commit(
    State(state): State<WebState>,
    revision: Result<Path<String>, PathRejection>,
) -> Result<Html<String>, Problem> {
    let now = (state.clock)();
    let Path(revision) = revision.map_err(|error| Problem::not_found(error.body_text()))?;
    let page =
        state.board.read(|picture| picture.commits.commit(&revision).map(|it| commit::render(it, now)));
    page.map(Html).ok_or_else(|| {
        Problem::not_found(
            "nothing is known of this commit: it is not on the watched branch, came with a newer one in one push, or \
             is older than the hundred that are remembered"
                .to_owned(),
        )
    })
}

async fn show_store_page(
    State(state): State<WebState>,
    name: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Html<String>, Problem> {
    let id = store_id(name)?;
    // Where the reader comes from, as commit statuses link it: hexadecimal digits, which no URL encodes.
    let revision = uri.query().and_then(|query| query.split('&').find_map(|it| it.strip_prefix("revision=")));
    let now = (state.clock)();
    let page = state.board.read(|picture| store::render(picture, &id, revision, now));
    page.map(Html).ok_or_else(|| unknown_store(&state, &id))
}

async fn show_stores(State(state): State<WebState>) -> Json<Stores> {
    Json(state.board.read(Stores::of))
}

async fn show_store(
    State(state): State<WebState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Store>, Problem> {
    let id = store_id(name)?;
    let store = state.board.read(|picture| picture.stores.get(&id).map(Store::of));
    store.map(Json).ok_or_else(|| unknown_store(&state, &id))
}

fn store_id(name: Result<Path<String>, PathRejection>) -> Result<StoreId, Problem> {
    let Path(name) = name.map_err(|error| Problem::not_found(error.body_text()))?;
    name.parse().map_err(|error| Problem::not_found(format!("no store can have this name: {error}")))
}

fn unknown_store(state: &WebState, id: &StoreId) -> Problem {
    let ready = state.board.read(|picture| picture.fleet.ready);
    let early = if ready { "" } else { "; the first pass is not finished, it may still appear" };
    Problem::not_found(format!(
        "no store is named `{id}`: the watched branch has no {STORES_FOLDER}/{id}.yaml and the cluster nothing left of \
         such a store{early}. /api/v1/stores lists all stores"
    ))
}

async fn show_plans(State(state): State<WebState>) -> Html<String> {
    let now = (state.clock)();
    Html(plan::render_list(&state.plans.newest(LISTED_PLANS), now))
}

/// The plan of a commit: a page, or JSON for those who ask for it by the path or by what they accept.
async fn show_plan(
    State(state): State<WebState>,
    commit: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = |detail: String| Problem::new(StatusCode::NOT_FOUND, detail);
    let Path(name) = commit.map_err(|error| unknown(error.body_text()))?;
    let (commit, by_path) = match name.strip_suffix(".json") {
        Some(commit) => (commit, true),
        None => (name.as_str(), false),
    };
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wants_json = by_path || accepted.contains("application/json") && !accepted.contains("text/html");
    let plan = state.plans.get(commit).ok_or_else(|| {
        unknown(format!(
            "no plan is known of a commit `{commit}`: only those of the newest commits of pull requests are kept, and 7 \
             digits name one that no other plan's commit begins with. /plans lists them"
        ))
    })?;
    let vary = [(header::VARY, "accept")];
    Ok(if wants_json {
        (vary, Json(&*plan)).into_response()
    } else {
        (vary, Html(plan::render(&plan, (state.clock)()))).into_response()
    })
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

async fn show_summary(State(state): State<WebState>) -> Json<Summary> {
    Json(state.metrics.summary())
}

async fn unknown_path(uri: Uri) -> Problem {
    let detail = format!("nothing is at {}; the page is at / and the stores at /api/v1/stores", uri.path());
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn unknown_method(method: Method) -> Problem {
    let detail = format!("{method} is not answered: this side only shows, changes go through git");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Adds to every answer what keeps a browser from doing more with it than showing it.
async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY.clone());
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
