//! What happened, newest first: from memory, and from the journal where memory ends; where several replicas write one
//! journal, from that as long as it can be read.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::shapes::{Happening, Happenings};
use crate::names::StoreId;
use crate::report::{Event, EventsWanted};
use crate::web::problem::{Body, Problem};
use crate::web::{WebState, store_id};

/// How many events a page has where nobody says how many.
const USUAL: usize = 100;

/// How many events a page has at most.
const MOST: usize = 1_000;

/// Which events are asked for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Pages {
    /// How many events a page has, 1 to 1,000.
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
    /// Where the page before ended: its `next`.
    #[param(required = false)]
    cursor: Option<i64>,
}

/// Lists what happened in the fleet.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", params(Pages),
    responses((status = 200, body = Happenings), (status = 400, description = "The question is not understood", body = Body, content_type = "application/problem+json"))
)]
pub(super) async fn all(
    State(state): State<WebState>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Result<Json<Happenings>, Problem> {
    page(&state, None, pages).await
}

/// Lists what happened to one store, also one that is gone.
#[utoipa::path(
    get, path = "/api/v1/stores/{name}/events", tag = "events", params(("name" = String, Path, description = "The store's name"), Pages),
    responses(
        (status = 200, body = Happenings),
        (status = 400, description = "The question is not understood", body = Body, content_type = "application/problem+json"),
        (status = 404, description = "No store can have that name", body = Body, content_type = "application/problem+json"),
    )
)]
pub(super) async fn of_store(
    State(state): State<WebState>,
    name: Result<Path<String>, PathRejection>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Result<Json<Happenings>, Problem> {
    let store = store_id(name)?;
    page(&state, Some(store), pages).await
}

async fn page(
    state: &WebState,
    store: Option<StoreId>,
    pages: Result<Query<Pages>, QueryRejection>,
) -> Result<Json<Happenings>, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(Pages { limit, cursor }) = pages.map_err(|error| wrong(error.body_text()))?;
    let limit = limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(wrong(format!("a page has 1 to {MOST} events, not {limit}")));
    }
    let (events, incomplete) = newest(state, store, cursor, limit + 1).await;
    let next = events.get(limit).and_then(|_| events.get(limit - 1)).map(|last| last.id.to_string());
    let events = events.iter().take(limit).map(|event| Happening::of(event)).collect();
    Ok(Json(Happenings { events, next, incomplete }))
}

/// Finds events, newest first, and says why older ones can't be had, if they can't.
pub(in crate::web) async fn newest(
    state: &WebState,
    store: Option<StoreId>,
    before: Option<i64>,
    most: usize,
) -> (Vec<Arc<Event>>, Option<String>) {
    let shared = if state.journal_first {
        Some((state.older)(EventsWanted { store: store.clone(), before, most }).await)
    } else {
        None
    };
    let reason = match shared {
        Some(Ok(events)) => return (events.into_iter().map(Arc::new).collect(), None),
        Some(Err(reason)) => Some(reason),
        None => None,
    };
    let found = state.history.newest(store.as_ref(), before, most);
    if reason.is_some() {
        return (found.events, reason);
    }
    if !found.partial {
        return (found.events, None);
    }
    let mut events = found.events;
    let before = events.last().map(|event| event.id).or(before);
    let wanted = EventsWanted { store, before, most: most - events.len() };
    match (state.older)(wanted).await {
        Ok(older) => {
            events.extend(older.into_iter().map(Arc::new));
            (events, None)
        }
        Err(reason) => (events, Some(reason)),
    }
}
