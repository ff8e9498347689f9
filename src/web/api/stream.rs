//! What changes, as it does: server-sent events. A reader that comes back says where it was and gets what it missed, or is
//! told to begin anew where that is forgotten.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::Stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use super::shapes::{CommitVerdict, Fleet, Happening, Store};
use crate::names::StoreId;
use crate::report::{HistoryReader, Picture};
use crate::web::WebState;

/// How long changes are gathered before they are sent.
const GATHERED: Duration = Duration::from_millis(100);

/// How often a silent stream says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How many events of the journal one batch carries.
const BATCH: usize = 1_000;

/// Where a reader is: which process told it, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    process: u64,
    version: u64,
    event: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}-{}", self.process, self.version, self.event)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(());
        let process = u64::from_str_radix(part()?, 16).map_err(|_| ())?;
        let version = part()?.parse().map_err(|_| ())?;
        Ok(Self { process, version, event: part()?.parse().map_err(|_| ())? })
    }
}

/// Streams changes: `store` with a store as it is now, `gone` with the name of one that is no more, `fleet`, `commit` with the
/// newest commit, `event` with what happened, and `reset` when what was missed is forgotten and lists are to be read anew.
/// Send the last `id` as `Last-Event-ID` to go on where a connection ended.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "Where an earlier connection ended")),
    responses((status = 200, description = "Server-sent events without end", body = String, content_type = "text/event-stream"))
)]
pub(super) async fn stream(
    State(state): State<WebState>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let place = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let reader = Reader::new(state, place);
    let events = futures::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Reader {
    state: WebState,
    changes: watch::Receiver<()>,
    place: Place,
    ready: VecDeque<Event>,
    /// Whether there is more to be told than was gathered.
    is_behind: bool,
}

impl Reader {
    fn new(state: WebState, place: Option<&str>) -> Self {
        let now = Place {
            process: state.process,
            version: state.board.read(Picture::version),
            event: state.history.last(),
        };
        let asked = place.map(|text| text.parse::<Place>().ok().filter(|place| place.process == now.process));
        let changes = state.changes.clone();
        let mut ready = VecDeque::new();
        let place = match asked {
            Some(Some(place)) => place,
            Some(None) => {
                ready.push_back(reset(now));
                now
            }
            None => now,
        };
        Self { state, changes, place, ready, is_behind: true }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            // What was missed comes at once, what is new when it comes.
            if !std::mem::replace(&mut self.is_behind, false) {
                self.changes.changed().await.ok()?;
                sleep(GATHERED).await;
            }
            self.changes.borrow_and_update();
            self.gather();
        }
    }

    fn gather(&mut self) {
        let from = self.place;
        let history: &HistoryReader = &self.state.history;
        let news = self.state.board.read(|picture| News::since(picture, from.version));
        let happened = history.since(from.event, BATCH);
        let (Some(news), Some(happened)) = (news, happened) else {
            let version = self.state.board.read(Picture::version);
            self.place = Place { version, event: history.last(), ..from };
            self.ready.push_back(reset(self.place));
            return;
        };
        // Whoever is cut off within a batch gets it again: the place moves with its last event.
        let News { version, stores, gone, fleet, commit } = news;
        let event = happened.last().map_or(from.event, |last| last.id);
        let mut all = Vec::new();
        all.extend(gone.iter().map(|name| told("gone", &Gone { name })));
        all.extend(stores.iter().map(|store| told("store", store)));
        all.extend(fleet.iter().map(|fleet| told("fleet", fleet)));
        all.extend(commit.iter().map(|commit| told("commit", commit)));
        all.extend(happened.iter().map(|event| told("event", &Happening::of(event))));
        self.place = Place { version, event, ..from };
        self.is_behind = happened.len() == BATCH;
        if let Some(last) = all.pop() {
            all.push(last.id(self.place.to_string()));
        }
        self.ready.extend(all);
    }
}

#[derive(Serialize)]
struct Gone<'a> {
    name: &'a StoreId,
}

/// What a picture has that an earlier version of it did not.
struct News {
    version: u64,
    stores: Vec<Store>,
    gone: Vec<StoreId>,
    fleet: Option<Fleet>,
    commit: Option<CommitVerdict>,
}

impl News {
    fn since(picture: &Picture, version: u64) -> Option<Self> {
        let changed = picture.stores.after(None).filter(|(_, changed)| *changed > version);
        let stores = changed.map(|(store, _)| Store::of(store)).collect();
        let gone = picture.stores.gone_since(version)?;
        let gone = gone.filter(|id| !picture.stores.contains_key(id)).cloned().collect();
        let fleet = (picture.fleet_changed() > version).then(|| Fleet::of(picture));
        let newest = picture.commits.commits().next().filter(|_| picture.commits_changed() > version);
        let commit = newest.map(|commit| CommitVerdict::of(commit, false));
        Some(Self { version: picture.version(), stores, gone, fleet, commit })
    }
}

fn told(name: &'static str, what: &impl Serialize) -> Event {
    // JSON has no line breaks, so no text can begin a field of its own.
    let data = serde_json::to_string(what).unwrap_or_default();
    Event::default().event(name).data(data)
}

fn reset(place: Place) -> Event {
    Event::default().event("reset").id(place.to_string()).data("{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_as_it_was_given() {
        let place = Place { process: 0xfeed, version: 7, event: 1_760_000_000_000_001 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "1-2", "x-1-2", "1-2-3-4", "1-a-2"] {
            assert_eq!(bad.parse::<Place>(), Err(()), "{bad}");
        }
    }
}
