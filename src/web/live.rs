//! Keeps an open page up to date: whenever something moves, the page is drawn anew, once for all who have it open, and each is
//! sent those of its regions and rows that look otherwise than before. Everything is drawn where the page itself is.

mod drawings;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use http::Uri;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::WebState;
use super::pages::{Page, commit, fleet, plan, store};
use super::problem::Problem;
use crate::names::StoreId;

pub(super) use drawings::Drawings;
use drawings::{Drawing, Marks};

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

/// One of our pages that can be kept up to date.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Shown {
    Fleet(fleet::Question),
    Store(StoreId, store::Question),
    Commits,
    Commit(String),
    PlanList,
}

/// Somebody who has a page open.
struct Viewer {
    drawings: watch::Receiver<Option<Arc<Drawing>>>,
    /// What the reader has.
    sent: Option<Arc<Marks>>,
}

/// Streams what changes of a page.
pub(super) async fn live(
    State(state): State<WebState>,
    Query(open): Query<Open>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let shown = Shown::understand(&open.path);
    let shown = shown.ok_or_else(|| Problem::not_found("this page is not kept up to date".to_owned()))?;
    let now = state.version();
    let mut drawings = state.drawings.follow(&state, shown);
    // One from before this reader came would show him what was.
    let first = drawings.wait_for(|it| it.as_ref().is_some_and(|it| it.begun.covers(now))).await;
    let first = first.ok().and_then(|it| it.clone());
    let had = first.filter(|first| first.shows(&open.version)).map(|first| first.known());
    if had.is_none() {
        drawings.mark_changed();
    }
    let viewer = Viewer { drawings, sent: had };
    let events = futures::stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok(event), viewer))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Shown {
    /// Finds which page a path is.
    fn understand(path: &str) -> Option<Self> {
        let uri: Uri = format!("/{}", path.trim_start_matches('/')).parse().ok()?;
        let parts: Vec<_> = uri.path().trim_matches('/').split('/').collect();
        Some(match parts.as_slice() {
            [""] => Self::Fleet(Query::try_from_uri(&uri).ok()?.0),
            ["stores", name] => Self::Store(name.parse().ok()?, Query::try_from_uri(&uri).ok()?.0),
            ["commits"] => Self::Commits,
            ["commits", revision] => Self::Commit((*revision).to_owned()),
            ["plans"] => Self::PlanList,
            _ => return None,
        })
    }

    async fn draw(&self, state: &WebState, now: i64) -> Page {
        let page = match self {
            Self::Fleet(question) => fleet::page(state, question, now).ok(),
            Self::Store(id, question) => store::page(state, id, question, now).await,
            Self::Commits => Some(commit::list_page(state, now)),
            Self::Commit(revision) => commit::page(state, revision, now),
            Self::PlanList => Some(plan::list_page(state, now)),
        };
        page.unwrap_or_default()
    }
}

impl Viewer {
    async fn next(&mut self) -> Option<Event> {
        loop {
            self.drawings.changed().await.ok()?;
            let Some(drawing) = self.drawings.borrow_and_update().clone() else { continue };
            let had = self.sent.replace(Arc::clone(&drawing.marks));
            if let Some(update) = Update::of(&drawing, had.as_deref()) {
                return Some(Event::default().data(serde_json::to_string(&update).unwrap_or_default()));
            }
        }
    }
}

impl<'a> Update<'a> {
    /// Finds what a reader does not have; without anything, that is everything.
    fn of(drawing: &'a Drawing, had: Option<&Marks>) -> Option<Self> {
        let Drawing { page, marks, .. } = drawing;
        let Page { title, regions, rows } = page;
        let regions: BTreeMap<_, _> = regions
            .iter()
            .filter(|(id, _)| had.is_none_or(|had| had.regions.get(*id) != marks.regions.get(*id)))
            .map(|(id, html)| (*id, html.as_str()))
            .collect();
        let had_rows = had.map_or(&[][..], |had| &had.rows);
        let known: HashMap<&str, u64> = had_rows.iter().map(|(id, mark)| (&**id, *mark)).collect();
        let changed: BTreeMap<_, _> = rows
            .iter()
            .zip(&marks.rows)
            .filter(|((id, _), (_, mark))| known.get(id.as_str()) != Some(mark))
            .map(|((id, html), _)| (id.as_str(), html.as_str()))
            .collect();
        let ids = |rows: &'a [(String, String)]| rows.iter().map(|(id, _)| id.as_str());
        let is_same_order = had.is_some() && ids(rows).eq(had_rows.iter().map(|(id, _)| &**id));
        let order = (!is_same_order).then(|| ids(rows).collect());
        let is_same_title = had.is_some_and(|had| had.title == marks.title);
        let nothing = regions.is_empty() && changed.is_empty() && order.is_none() && is_same_title;
        (!nothing).then_some(Self { title, regions, rows: changed, order })
    }
}
