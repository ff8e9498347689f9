//! Stores, selected and in pages. What was written once is kept for all who ask the same, packed too: a dashboard that polls
//! costs a look at a version.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;

use super::shapes::{Fleet, Store, Stores};
use crate::report::{Picture, StoreState};
use crate::web::problem::{Body, Problem};
use crate::web::select::{Selection, Selector};
use crate::web::{WebState, etag};

/// How many stores a page has where nobody says how many.
const USUAL: usize = 1_000;

/// How many stores a page has at most.
const MOST: usize = 10_000;

/// How many different questions are remembered with their answers.
const REMEMBERED: usize = 32;

/// How old an answer may be while the fleet changes all the time: less than anybody notices.
const FRESH: Duration = Duration::from_millis(100);

/// Which page of a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Pages {
    /// How many stores a page has, 1 to 10,000.
    #[param(required = false, minimum = 1, maximum = 10_000, default = 1_000)]
    pub(super) limit: Option<usize>,
    /// Where the page before ended: its `next`.
    #[param(required = false)]
    pub(super) cursor: Option<String>,
}

/// A list that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Question {
    q: String,
    state: String,
    sort: String,
    #[serde(deserialize_with = "number")]
    limit: Option<usize>,
    cursor: Option<String>,
}

/// An answer, as it is sent.
#[derive(Debug, Clone)]
struct Answer {
    version: u64,
    made: Instant,
    etag: HeaderValue,
    plain: Bytes,
    packed: Bytes,
}

/// Answers that were given, by what was asked.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct ListCache(Arc<Mutex<HashMap<Question, Answer>>>);

/// Lists stores.
#[utoipa::path(
    get, path = "/api/v1/stores", tag = "stores", params(Selection, Pages),
    responses((status = 200, body = Stores), (status = 400, description = "The question is not understood", body = Body, content_type = "application/problem+json"))
)]
pub(super) async fn stores(
    State(state): State<WebState>,
    question: Result<Query<Question>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Query(question) = question.map_err(|error| wrong(error.body_text()))?;
    let answer = state.lists.answer(&state, question).map_err(wrong)?;
    Ok(answer.response(&headers))
}

impl ListCache {
    fn answer(&self, state: &WebState, question: Question) -> Result<Answer, String> {
        let version = state.board.read(Picture::version);
        let is_fresh = |it: &Answer| it.version == version || it.made.elapsed() < FRESH;
        if let Some(known) = self.lock().get(&question).filter(|it| is_fresh(it)) {
            return Ok(known.clone());
        }
        let answer = Answer::make(state, &question)?;
        let mut known = self.lock();
        if known.len() >= REMEMBERED && !known.contains_key(&question) {
            known.clear();
        }
        known.insert(question, answer.clone());
        Ok(answer)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Question, Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn make(state: &WebState, question: &Question) -> Result<Self, String> {
        let Question { q, state: states, sort, limit, cursor } = question.clone();
        let selector = Selection { q, state: states, sort }.understand()?;
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(format!("a page has 1 to {MOST} stores, not {limit}"));
        }
        let place = cursor.as_deref().map(read_cursor).transpose()?;
        let (version, stores) =
            state.board.read(|picture| (picture.version(), page(picture, &selector, limit, place.as_ref())));
        let plain = serde_json::to_vec(&stores).map_err(|error| error.to_string())?;
        let packed = etag::pack(&plain);
        let (plain, packed) = (Bytes::from(plain), Bytes::from(packed));
        Ok(Self { version, made: Instant::now(), etag: etag::of(&plain), plain, packed })
    }

    fn response(self, headers: &HeaderMap) -> Response {
        let vary = (header::VARY, HeaderValue::from_static("accept-encoding"));
        let tag = (header::ETAG, self.etag.clone());
        if etag::is_known(headers, &self.etag) {
            return (StatusCode::NOT_MODIFIED, [tag, vary]).into_response();
        }
        let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if etag::takes_gzip(headers) {
            let gzip = (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            ([json, tag, vary, gzip], self.packed).into_response()
        } else {
            ([json, tag, vary], self.plain).into_response()
        }
    }
}

fn page(picture: &Picture, selector: &Selector, limit: usize, after: Option<&(String, String)>) -> Stores {
    let mut counts: BTreeMap<_, usize> = StoreState::ALL.map(|state| (state.as_str(), 0)).into();
    for store in picture.stores.values().filter(|store| selector.names(store)) {
        *counts.entry(store.state.as_str()).or_default() += 1;
    }
    let all = selector.select(picture);
    let begin = after.map_or(0, |place| all.partition_point(|store| !selector.is_after(store, place)));
    let shown = &all[begin..all.len().min(begin + limit)];
    let next =
        shown.last().filter(|_| begin + limit < all.len()).map(|last| write_cursor(&selector.place(last)));
    let stores = shown.iter().map(|store| Store::of(store)).collect();
    Stores { fleet: Fleet::of(picture), counts, total: all.len(), stores, next }
}

fn write_cursor((key, name): &(String, String)) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{key}\n{name}"))
}

fn read_cursor(cursor: &str) -> Result<(String, String), String> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let place = text.as_deref().and_then(|text| text.split_once('\n'));
    let place = place.map(|(key, name)| (key.to_owned(), name.to_owned()));
    place.ok_or_else(|| "the cursor is not one that this list gave: begin without one".to_owned())
}

/// Reads a number, and says what is wrong with it in words.
fn number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let wrong = |text: &str| serde::de::Error::custom(format!("`{text}` is no number of stores"));
    text.filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
}
