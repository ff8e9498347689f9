//! Keeps an open page up to date: whenever something moves, the page is drawn anew and those of its regions are sent that look
//! otherwise than before. Everything is drawn where the page itself is.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use http::Uri;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::WebState;
use super::pages::{Page, commit, fleet, plan, store};
use super::problem::Problem;

/// How long changes are gathered before a page is drawn anew.
const GATHERED: Duration = Duration::from_millis(250);

/// How often a silent stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which page is open.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Open {
    /// Its path from our root, with its query.
    path: String,
    /// The version that it shows.
    #[serde(default)]
    version: String,
}

/// What of a page looks otherwise than before.
#[derive(Debug, Default, Serialize)]
struct Update<'a> {
    title: &'a str,
    /// Regions by id, with what is in them.
    regions: BTreeMap<&'static str, &'a str>,
    /// Rows by id, whole.
    rows: BTreeMap<&'a str, &'a str>,
    /// All rows in order, where that has changed.
    order: Option<Vec<&'a str>>,
}

/// One of our pages.
enum Shown {
    Fleet(fleet::Question),
    Store(crate::names::StoreId, store::Question),
    Commits,
    Commit(String),
    PlanList,
}

struct Viewer {
    state: WebState,
    shown: Shown,
    changes: watch::Receiver<()>,
    /// Ages are told as of the beginning, and moved on by the reader's own machine.
    begun: i64,
    hasher: RandomState,
    sent: Option<Sent>,
}

/// What the reader has, as hashes.
struct Sent {
    title: u64,
    regions: BTreeMap<&'static str, u64>,
    rows: Vec<(String, u64)>,
}

/// Streams what changes of a page.
pub(super) async fn live(
    State(state): State<WebState>,
    Query(open): Query<Open>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let shown = understand(&open.path);
    let shown = shown.ok_or_else(|| Problem::not_found("this page is not kept up to date".to_owned()))?;
    let (changes, begun) = (state.changes.clone(), (state.clock)());
    let mut viewer = Viewer { state, shown, changes, begun, hasher: RandomState::new(), sent: None };
    if open.version == viewer.state.version() {
        // The reader has all of it.
        viewer.changes.borrow_and_update();
        let page = viewer.draw().await;
        viewer.update(&page);
    }
    let events = futures::stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok(event), viewer))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Finds which page a path is.
fn understand(path: &str) -> Option<Shown> {
    let uri: Uri = format!("/{}", path.trim_start_matches('/')).parse().ok()?;
    let parts: Vec<_> = uri.path().trim_matches('/').split('/').collect();
    Some(match parts.as_slice() {
        [""] => Shown::Fleet(Query::try_from_uri(&uri).ok()?.0),
        ["stores", name] => Shown::Store(name.parse().ok()?, Query::try_from_uri(&uri).ok()?.0),
        ["commits"] => Shown::Commits,
        ["commits", revision] => Shown::Commit((*revision).to_owned()),
        ["plans"] => Shown::PlanList,
        _ => return None,
    })
}

impl Viewer {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.sent.is_some() {
                self.changes.changed().await.ok()?;
                sleep(GATHERED).await;
            }
            self.changes.borrow_and_update();
            let page = self.draw().await;
            if let Some(event) = self.update(&page) {
                return Some(event);
            }
        }
    }

    async fn draw(&self) -> Page {
        let Self { state, shown, begun: now, .. } = self;
        let page = match shown {
            Shown::Fleet(question) => fleet::page(state, question, *now).ok(),
            Shown::Store(id, question) => store::page(state, id, question, *now).await,
            Shown::Commits => Some(commit::list_page(state, *now)),
            Shown::Commit(revision) => commit::page(state, revision, *now),
            Shown::PlanList => Some(plan::list_page(state, *now)),
        };
        page.unwrap_or_default()
    }

    /// Finds what the reader does not have; the first time that is everything.
    fn update(&mut self, page: &Page) -> Option<Event> {
        let hash = |text: &str| self.hasher.hash_one(text);
        let now = Sent {
            title: hash(&page.title),
            regions: page.regions.iter().map(|(id, html)| (*id, hash(html))).collect(),
            rows: page.rows.iter().map(|(id, html)| (id.clone(), hash(html))).collect(),
        };
        let had = self.sent.replace(now);
        let (now, had_rows) = (self.sent.as_ref()?, had.as_ref().map(|had| &*had.rows));
        let known: BTreeMap<_, _> =
            had_rows.unwrap_or_default().iter().map(|(id, hash)| (id, hash)).collect();
        let is_new_region =
            |id: &&'static str| had.as_ref().is_none_or(|had| had.regions.get(*id) != now.regions.get(*id));
        let regions: BTreeMap<_, _> = page
            .regions
            .iter()
            .filter(|(id, _)| is_new_region(id))
            .map(|(id, html)| (*id, html.as_str()))
            .collect();
        let rows: BTreeMap<_, _> = page
            .rows
            .iter()
            .zip(&now.rows)
            .filter(|(_, (id, hash))| known.get(id) != Some(&hash))
            .map(|((id, html), _)| (id.as_str(), html.as_str()))
            .collect();
        let ids = |rows: &[(String, u64)]| rows.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        let is_same_order = had_rows.is_some_and(|had| ids(had) == ids(&now.rows));
        let order = (!is_same_order).then(|| page.rows.iter().map(|(id, _)| id.as_str()).collect());
        let same_title = had.as_ref().is_some_and(|had| had.title == now.title);
        if regions.is_empty() && rows.is_empty() && order.is_none() && same_title {
            return None;
        }
        let update = Update { title: &page.title, regions, rows, order };
        Some(Event::default().data(serde_json::to_string(&update).unwrap_or_default()))
    }
}
