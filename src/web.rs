//! Shows the fleet over HTTP: pages, JSON, probes and metrics. Git is the only way in; nothing here can change anything, and
//! the state it holds consists of readers.
//!
//! - `pages`: what people read, drawn on the server, and `live` keeps open pages up to date
//! - `api`: what programs read
//! - `select`: which stores a list shows, the same for both
//! - `assets`, `badge`, `charts`, `links`: style sheet and script, pictures, ways to the forge
//! - `escape`: no text becomes markup
//! - `etag`, `problem`, `when`: what answers have in common
//! - `door`: who may ask, how often, and how much; `inner` is what needs none
//! - `serve`: the socket, with its limits, and `stall` cuts off who does not read

mod api;
mod assets;
mod badge;
mod charts;
mod door;
pub(crate) mod escape;
mod etag;
mod inner;
mod links;
mod live;
mod pages;
mod problem;
mod select;
mod serve;
mod stall;
mod when;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::Response;
use axum::routing::get;
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;

use crate::metrics::MetricsReader;
use crate::names::{STORES_FOLDER, StoreId};
use crate::report::{Bell, BoardReader, EventReader, HistoryReader, Inspection, Picture, PlansReader};

pub use api::{
    Commit, CommitVerdict, Commits, Fleet, Happening, Happenings, Inside, Object, Pod, Replica, Replicas,
    RunningVersion, Store, StoreOutcome, Stores,
};
pub use door::{Door, DoorSettings, LoginSettings, READ_TOKEN_MIN, Visitor};
pub use inner::inner_router;
pub use links::{ForgePages, Links};
pub use serve::serve;

use api::ListCache;
use live::Drawings;
use problem::Problem;

/// Looks into a store's namespace; an error is a whole sentence.
pub type Inspector =
    Arc<dyn Fn(StoreId) -> Pin<Box<dyn Future<Output = Result<Inspection, String>> + Send>> + Send + Sync>;

/// Everything that the web side is told. It can only read.
#[derive(Clone)]
pub struct Sources {
    /// What is known of the fleet.
    pub board: BoardReader,
    /// What was counted and timed.
    pub metrics: MetricsReader,
    /// The newest plans of pull requests.
    pub plans: PlansReader,
    /// What happened lately.
    pub history: HistoryReader,
    /// What happened before that.
    pub older: EventReader,
    /// Whether several replicas write what happened there, so that it knows what this one does not.
    pub journal_first: bool,
    /// What is inside stores' namespaces.
    pub inspect: Inspector,
    /// Where people see the repository.
    pub links: Option<Links>,
    /// Tells the time in seconds since 1970, for the ages on pages.
    pub clock: fn() -> i64,
    /// Tells this process from every other, for streams that go on after a restart.
    pub process: u64,
}

/// What handlers share.
#[derive(Clone)]
struct WebState {
    board: BoardReader,
    metrics: MetricsReader,
    plans: PlansReader,
    history: HistoryReader,
    older: EventReader,
    journal_first: bool,
    inspect: Inspector,
    links: Option<Links>,
    clock: fn() -> i64,
    process: u64,
    changes: watch::Receiver<()>,
    lists: ListCache,
    drawings: Drawings,
}

/// What there is to be seen, as counts that only grow: other counts, another picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    process: u64,
    board: u64,
    event: i64,
    plans: u64,
}

impl Sources {
    fn state(self, bell: &Bell) -> WebState {
        let Self { board, metrics, plans, history, older, journal_first, inspect, links, clock, process } =
            self;
        let (rung, changes) = watch::channel(());
        bell.listen(move || {
            rung.send_replace(());
        });
        WebState {
            board,
            metrics,
            plans,
            history,
            older,
            journal_first,
            inspect,
            links,
            clock,
            process,
            changes,
            lists: ListCache::default(),
            drawings: Drawings::default(),
        }
    }
}

impl WebState {
    /// Tells what there is to be seen.
    fn version(&self) -> Version {
        let board = self.board.read(Picture::version);
        Version { process: self.process, board, event: self.history.last(), plans: self.plans.count() }
    }
}

impl Version {
    /// Whether it has everything that the other has.
    fn covers(self, other: Self) -> bool {
        self.board >= other.board && self.event >= other.event && self.plans >= other.plans
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, board, event, plans } = self;
        write!(f, "{process:x}-{board}-{event}-{plans}")
    }
}

/// Builds the read-only routes, which answer GET and HEAD only, beside those that somebody else answers for. The bell rings
/// when something moves.
pub fn router(sources: Sources, bell: &Bell, others: Router) -> Router {
    let pages = Router::new()
        .route("/", get(pages::fleet::show))
        .route("/new", get(pages::new::show))
        .route("/api", get(pages::docs::show))
        .route("/commits", get(pages::commit::list))
        .route("/commits/{revision}", get(pages::commit::show))
        .route("/stores/{name}", get(pages::store::show))
        .route("/plans", get(pages::plan::list))
        .route("/plans/{commit}", get(pages::plan::show))
        .route("/badge/{name}", get(badge::badge))
        .route("/live", get(live::live));
    let vitals = inner_router(&sources);
    pages
        .merge(api::routes())
        .merge(assets::routes())
        .with_state(sources.state(bell))
        .merge(vitals)
        .merge(others)
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn(readable))
        .layer(CompressionLayer::new())
        .layer(map_response(protect))
}

/// Shows a problem as a page to whoever reads pages.
async fn readable(request: Request, next: Next) -> Response {
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let reads_pages = accepted.is_some_and(|accepted| accepted.contains("text/html"));
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let is_for_programs = path.starts_with("/api/v1") || path.starts_with("/hooks");
    match response.extensions().get::<Problem>().cloned() {
        Some(problem) if reads_pages && !is_for_programs => {
            pages::problem(&problem, path.matches('/').count().saturating_sub(1))
        }
        _ => response,
    }
}

fn store_id(name: Result<Path<String>, PathRejection>) -> Result<StoreId, Problem> {
    let Path(name) = name.map_err(|error| Problem::not_found(error.body_text()))?;
    name.parse().map_err(|error| Problem::not_found(format!("no store can have this name: {error}")))
}

fn unknown_store(state: &WebState, id: &StoreId) -> Problem {
    let (ready, elsewhere) =
        state.board.read(|picture| (picture.fleet.ready, picture.fleet.elsewhere.get(id).cloned()));
    if let Some(cluster) = elsewhere {
        return Problem::not_found(format!(
            "no store is named `{id}` here: `{STORES_FOLDER}/{id}.yaml` is for cluster {cluster}, whose own storekeeper tells \
             of it"
        ));
    }
    let early = if ready { "" } else { "; the first pass is not finished, it may still appear" };
    Problem::not_found(format!(
        "no store is named `{id}`: the watched branch has no {STORES_FOLDER}/{id}.yaml and the cluster nothing left of \
         such a store{early}. /api/v1/stores lists all stores"
    ))
}

fn unknown_commit() -> Problem {
    Problem::not_found(
        "nothing is known of this commit: it is not on the watched branch, came with a newer one in one push, or is older \
         than the hundred that are remembered"
            .to_owned(),
    )
}

fn unknown_plan(commit: &str) -> Problem {
    Problem::not_found(format!(
        "no plan is known of a commit `{commit}`: only those of the newest commits of pull requests are kept, and 7 digits \
         name one that no other plan's commit begins with. /plans lists them"
    ))
}

async fn unknown_path(uri: Uri) -> Problem {
    let path = uri.path();
    Problem::not_found(format!("nothing is at {path}; the page is at / and the stores at /api/v1/stores"))
}

async fn unknown_method(method: Method) -> Problem {
    let detail = format!("{method} is not answered: this side only shows, changes go through git");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Adds to every answer what keeps a browser from doing more with it than showing it.
async fn protect(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_SECURITY_POLICY, assets::CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What a tag names is asked for again each time, and what has none is not kept.
    let kept = if headers.contains_key(header::ETAG) { "no-cache" } else { "no-store" };
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(kept));
    response
}
