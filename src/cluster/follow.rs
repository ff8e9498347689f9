//! One list and watch at the wire. Written here and not taken from kube's runtime, because that one asks for whole
//! objects even where metadata is enough (a Secret's data would come along), keeps whole pages in memory, may begin
//! from a stale list, and never recovers from an API server whose versions went back (a restored backup).

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::header::{ACCEPT, HeaderValue};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::runtime::watcher::DefaultBackoff;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::seen::Seen;
use super::{REQUEST_TIMEOUT, error};

/// After which time the server ends a watch, in seconds; the next goes on where it ended. Long, because each is a
/// request.
const WATCH_SECONDS: u32 = 570;

/// How long nothing may come before a connection counts as dead. Servers send a bookmark every minute.
pub(super) const SILENCE: Duration = Duration::from_secs(150);

/// The same while the first objects come.
const SILENCE_AT_FIRST: Duration = Duration::from_secs(20);

/// Objects in a page, where the server can't stream its list: what is in memory at once.
const PAGE: u32 = 100;

/// The shortest time between two requests of one feed: a server that hangs up at once is not hammered.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a watch has to have lasted for its end to be no word against the server: proxies cut what is quiet, some
/// after twenty seconds, and a bookmark comes once a minute.
const SOUND: Duration = Duration::from_secs(5);

/// How many streamed lists may fail one after the other, for whatever reason, before one is asked for page by page.
const STREAMS_TRIED: u32 = 2;

/// Asks for an object's metadata alone.
pub(super) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const FULL: &str = "application/json";

/// How much of each object is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The metadata alone.
    Metadata,
    /// All of it.
    Full,
}

/// What to follow.
pub(super) struct Source {
    pub(super) client: Client,
    /// The path of the collection.
    pub(super) path: String,
    pub(super) depth: Depth,
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
    /// How long nothing may come before the connection counts as dead, once the list is complete.
    pub(super) silence: Duration,
}

/// An object as much of it as is read.
pub(super) trait Followed: Clone + DeserializeOwned {
    /// Returns the resource version; empty when there is none.
    fn version(&self) -> &str;
}

impl Followed for Seen {
    fn version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// What is learnt by following.
pub(super) enum News<T = Seen> {
    /// A list is about to be asked for anew.
    Listing,
    /// An object is there, or is there still, or has changed.
    There(Box<T>),
    /// An object is gone.
    Gone(Box<T>),
    /// The list is complete, at this resource version: what it did not show is gone.
    Complete(String),
    /// It does not work, for this reason; it is tried again.
    Broken(String),
    /// A streamed list failed, for this reason. That says nothing yet: pages are still to be tried.
    Unstreamed(String),
}

/// Where to go on.
enum Place {
    /// At the beginning, with a list.
    Nowhere,
    /// Behind this resource version.
    At(String),
}

/// What earlier passes taught.
pub(super) struct Tries {
    waits: DefaultBackoff,
    /// Whether the server streams lists, as far as is known.
    streams: bool,
    /// Lists that failed since one was complete.
    failed_lists: u32,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self { waits: DefaultBackoff::default(), streams: true, failed_lists: 0 }
    }

    /// Whether to ask for the next list as a stream. Some servers fail at it in words that nobody foresaw.
    fn stream(&self) -> bool {
        self.streams && self.failed_lists < STREAMS_TRIED
    }

    /// A pass ended well; returns the wait before the next one.
    fn went_well(&mut self) -> Duration {
        (self.waits, self.failed_lists) = (DefaultBackoff::default(), 0);
        PAUSE
    }

    /// A pass ended early, in the middle of a list or behind it; returns the wait before the next one.
    fn failed(&mut self, broken: &Broken, listing: bool) -> Duration {
        self.failed_lists = if listing { self.failed_lists + 1 } else { 0 };
        if broken.no_streaming && self.streams {
            self.streams = false;
            return PAUSE;
        }
        self.waits.next().unwrap_or(PAUSE)
    }
}

/// Why a pass ended early.
struct Broken {
    words: String,
    /// Whether the place is lost, so that everything has to be listed anew.
    lost: bool,
    /// Whether the server can't stream lists.
    no_streaming: bool,
    /// Whether there is nothing at this path.
    not_served: bool,
}

impl From<kube::Error> for Broken {
    fn from(error: kube::Error) -> Self {
        let (mut lost, mut no_streaming, mut not_served) = (false, false, false);
        if let kube::Error::Api(status) = &error {
            (lost, no_streaming) = judge(status.code, &status.message);
            not_served = status.code == 404;
        }
        Self { words: error::chain(&error), lost, no_streaming, not_served }
    }
}

/// Tells whether an answer says that the place is lost, and whether that lists can't be streamed.
fn judge(code: u16, message: &str) -> (bool, bool) {
    let no_streaming = matches!(code, 400 | 403 | 422) && message.contains("sendInitialEvents");
    // A server that knows only older versions than ours was restored: it answers 504 for ever.
    let unknown = message.contains("resource version") || message.contains("resourceVersion");
    let lost = code == 410 || (matches!(code, 400 | 422 | 500 | 504) && unknown);
    (lost, no_streaming)
}

impl Broken {
    fn silent(seconds: Duration) -> Self {
        let words = format!("nothing came for {} s", seconds.as_secs());
        broken(words)
    }
}

#[derive(Deserialize)]
struct Page<T> {
    metadata: ListMeta,
    /// An empty list of metadata comes as null.
    items: Option<Vec<T>>,
}

impl Source {
    /// Follows for as long as there is something to follow at this path. Every error is told and retried with backoff; a
    /// list that breaks off is never complete. No list counts as broken before it was asked for page by page: who waits for
    /// the first one would give up, and begin with streams again.
    pub(super) async fn follow<T: Followed>(&self, tries: &mut Tries, mut tell: impl FnMut(News<T>)) {
        let mut place = Place::Nowhere;
        loop {
            let streams = tries.stream();
            let result = match &place {
                Place::Nowhere if streams => self.watch(&mut place, true, &mut tell).await,
                Place::Nowhere => self.page(&mut place, &mut tell).await,
                Place::At(_) => self.watch(&mut place, false, &mut tell).await,
            };
            let not_served = result.as_ref().is_err_and(|broken| broken.not_served);
            let wait = match result {
                Ok(()) => tries.went_well(),
                Err(broken) => {
                    let listing = matches!(place, Place::Nowhere);
                    let known = broken.no_streaming && tries.streams;
                    let wait = tries.failed(&broken, listing);
                    if broken.lost {
                        place = Place::Nowhere;
                    }
                    let pages_to_try = listing && streams && !not_served;
                    if !known {
                        tell(if pages_to_try { News::Unstreamed } else { News::Broken }(broken.words));
                    }
                    wait
                }
            };
            tokio::time::sleep(wait).await;
            if not_served {
                return;
            }
        }
    }

    /// Watches from a place on until the server ends it, or from the very beginning with all objects first.
    async fn watch<T: Followed>(
        &self,
        place: &mut Place,
        from_the_beginning: bool,
        tell: &mut impl FnMut(News<T>),
    ) -> Result<(), Broken> {
        // No version asks for a consistent list, as new as the request.
        let version = if let Place::At(version) = &*place { version.as_str() } else { "" };
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            send_initial_events: from_the_beginning,
        };
        let request = Request::new(self.path.as_str()).watch(&params, version).map_err(broken)?;
        if from_the_beginning {
            tell(News::Listing);
        }
        let events = self.client.request_events::<T>(self.accepting(request, METADATA));
        let events = tokio::time::timeout(REQUEST_TIMEOUT, events).await;
        let events = events.map_err(|_| Broken::silent(REQUEST_TIMEOUT))??;
        let mut events = std::pin::pin!(events);
        let (begun, mut some) = (Instant::now(), false);
        loop {
            let silence = if matches!(place, Place::Nowhere) { SILENCE_AT_FIRST } else { self.silence };
            let Ok(event) = tokio::time::timeout(silence, events.next()).await else {
                // A server that does not know how to stream a list may say nothing at all.
                let no_streaming = matches!(place, Place::Nowhere);
                return Err(Broken { no_streaming, ..Broken::silent(silence) });
            };
            let listing = matches!(place, Place::Nowhere);
            let Some(event) = sort(event, listing, some, begun.elapsed())? else { return Ok(()) };
            some = true;
            take(event, place, tell)?;
        }
    }

    /// Lists once, page by page: everything that is there, and the version that it is as of.
    pub(super) async fn list(&self) -> Result<(Vec<Seen>, String), String> {
        let (mut objects, mut version) = (Vec::new(), String::new());
        let mut tell = |news| match news {
            News::There(object) => objects.push(*object),
            News::Complete(complete) => version = complete,
            _ => {}
        };
        self.page(&mut Place::Nowhere, &mut tell).await.map_err(|broken| broken.words)?;
        Ok((objects, version))
    }

    /// Lists page by page.
    async fn page<T: Followed>(
        &self,
        place: &mut Place,
        tell: &mut impl FnMut(News<T>),
    ) -> Result<(), Broken> {
        let mut params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        tell(News::Listing);
        loop {
            let request = Request::new(self.path.as_str()).list(&params).map_err(broken)?;
            let page = self.client.request::<Page<T>>(self.accepting(request, METADATA_LIST));
            let page = tokio::time::timeout(REQUEST_TIMEOUT, page).await;
            let Page { metadata, items } = page.map_err(|_| Broken::silent(REQUEST_TIMEOUT))??;
            for object in items.into_iter().flatten() {
                tell(News::There(Box::new(object)));
            }
            params.continue_token = metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = metadata.resource_version.filter(|version| !version.is_empty());
                let version = version.ok_or_else(|| broken("the list has no resource version"))?;
                *place = Place::At(version.clone());
                tell(News::Complete(version));
                return Ok(());
            }
        }
    }

    fn accepting(
        &self,
        mut request: http::Request<Vec<u8>>,
        metadata: &'static str,
    ) -> http::Request<Vec<u8>> {
        let form = if self.depth == Depth::Metadata { metadata } else { FULL };
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(form));
        request
    }
}

/// Tells events, the end that every watch has, and trouble apart.
fn sort<T>(
    event: Option<Result<T, kube::Error>>,
    listing: bool,
    some: bool,
    lasted: Duration,
) -> Result<Option<T>, Broken> {
    match event {
        Some(Ok(event)) => Ok(Some(event)),
        _ if !listing && lasted >= SOUND => Ok(None),
        Some(Err(error)) => Err(error.into()),
        None if listing => Err(broken("the list broke off")),
        None if some => Ok(None),
        None => Err(broken("the server ended the watch at once")),
    }
}

/// Takes one event in.
fn take<T: Followed>(
    event: WatchEvent<T>,
    place: &mut Place,
    tell: &mut impl FnMut(News<T>),
) -> Result<(), Broken> {
    let listing = matches!(place, Place::Nowhere);
    let (object, gone) = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
        WatchEvent::Deleted(object) => (object, true),
        WatchEvent::Bookmark(bookmark) => {
            let version = bookmark.metadata.resource_version;
            if bookmark.metadata.annotations.contains_key("k8s.io/initial-events-end") && listing {
                tell(News::Complete(version.clone()));
                *place = Place::At(version);
            } else if !listing {
                *place = Place::At(version);
            }
            return Ok(());
        }
        WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
    };
    let version = object.version().to_owned();
    if version.is_empty() {
        return Err(Broken { lost: true, ..broken("an object has no resource version") });
    }
    if !listing {
        *place = Place::At(version);
    }
    tell(if gone { News::Gone(Box::new(object)) } else { News::There(Box::new(object)) });
    Ok(())
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken { words: error.to_string(), lost: false, no_streaming: false, not_served: false }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    fn source(client: Client, path: String) -> Source {
        Source { client, path, depth: Depth::Metadata, labels: None, fields: None, silence: SILENCE }
    }

    /// How a watch that ends is judged: whether all is well.
    fn is_well(torn: bool, listing: bool, some: bool, seconds: u64) -> bool {
        let error = || kube::Error::ReadEvents(std::io::Error::other("connection reset"));
        let event = torn.then(|| Err::<(), _>(error()));
        sort(event, listing, some, Duration::from_secs(seconds)).is_ok()
    }

    #[test]
    fn a_watch_that_lasted_may_end_in_any_way_and_one_that_ends_at_once_is_waited_for() {
        assert!(is_well(false, false, false, 20) && is_well(true, false, false, 20), "it was quiet, and cut");
        assert!(is_well(false, false, true, 1));
        assert!(!is_well(false, false, false, 1) && !is_well(true, false, true, 1));
        assert!(!is_well(false, true, true, 20) && !is_well(true, true, true, 20), "a list has to be whole");
    }

    #[tokio::test]
    async fn a_list_is_told_of_before_it_is_asked_for() {
        let told = AtomicBool::new(false);
        let never = |_: Request<Body>| std::future::pending::<Result<Response<Body>, std::io::Error>>();
        let (client, path) = (Client::new(service_fn(never), "default"), "/api/v1/secrets".to_owned());
        let source = source(client, path);
        let note = |news: News| told.store(matches!(news, News::Listing), Ordering::Relaxed);
        // What is applied while the answer is on its way is newer than the list, or in it.
        let mut tries = Tries::new();
        let follow = tokio::time::timeout(Duration::from_millis(50), source.follow(&mut tries, note));
        assert!(follow.await.is_err() && told.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn where_nothing_is_served_any_more_nothing_is_followed() {
        let not_found = |_: Request<Body>| async {
            let body = Body::from(b"404 page not found\n".to_vec());
            Ok::<_, std::io::Error>(Response::builder().status(404).body(body).unwrap())
        };
        let (client, path) = (Client::new(service_fn(not_found), "default"), "/apis/a/v1beta1/bs".to_owned());
        let source = source(client, path);
        let (mut told, mut tries) = (false, Tries::new());
        let follow = source.follow(&mut tries, |news: News| told |= matches!(news, News::Broken(_)));
        tokio::time::timeout(Duration::from_secs(10), follow).await.unwrap();
        assert!(told);
    }

    /// What is told while this is the answer to every streamed list and to every page, until it is told that it does not
    /// work: how many streams failed, and why it does not work.
    async fn told(stream: u16, page: u16) -> (usize, String) {
        let answer = move |request: Request<Body>| async move {
            let streams = request.uri().query().is_some_and(|query| query.contains("sendInitialEvents"));
            let (code, message) = if streams { (stream, "no stream") } else { (page, "no page") };
            let status = serde_json::json!({ "kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "message": message, "reason": "InternalError", "code": code });
            let body = Body::from(status.to_string().into_bytes());
            Ok::<_, std::io::Error>(Response::builder().status(code).body(body).unwrap())
        };
        let (client, path) = (Client::new(service_fn(answer), "default"), "/api/v1/secrets".to_owned());
        let source = source(client, path);
        let (sender, mut broken) = tokio::sync::mpsc::unbounded_channel();
        let (mut unstreamed, mut tries) = (0, Tries::new());
        let follow = source.follow(&mut tries, |news: News| match news {
            News::Unstreamed(_) => unstreamed += 1,
            News::Broken(words) => _ = sender.send(words),
            _ => {}
        });
        let words = tokio::select! {
            () = follow => None,
            words = broken.recv() => words,
        };
        (unstreamed, words.unwrap_or_default())
    }

    #[tokio::test]
    async fn a_list_counts_as_broken_when_its_pages_are() {
        let (unstreamed, words) = told(500, 500).await;
        assert!(unstreamed == 2 && words.contains("no page"), "{unstreamed} {words}");
        let (unstreamed, words) = told(404, 500).await;
        assert!(
            unstreamed == 0 && words.contains("no stream"),
            "where nothing is served there are no pages: {words}"
        );
    }

    #[test]
    fn a_lost_place_is_told_from_other_trouble() {
        assert_eq!(judge(410, "too old resource version: 1 (2)"), (true, false));
        assert_eq!(judge(504, "Too large resource version: 900, current: 7"), (true, false));
        assert_eq!(judge(504, "the server was unable to return a response in time"), (false, false));
        assert_eq!(judge(403, "configmaps is forbidden: User \"x\" cannot watch"), (false, false));
        let refused = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
                       feature gate is enabled";
        assert_eq!(judge(422, refused), (false, true));
    }

    #[test]
    fn a_server_that_fails_at_streams_in_unknown_words_is_asked_for_pages() {
        let mut tries = Tries::new();
        for _ in 0..STREAMS_TRIED {
            assert!(tries.stream());
            tries.failed(&broken("etcd can't say how far it is"), true);
        }
        assert!(!tries.stream());
        tries.went_well();
        assert!(tries.stream(), "for that list alone");
        let refusal = Broken { no_streaming: true, ..broken("what is sendInitialEvents?") };
        assert_eq!(tries.failed(&refusal, true), PAUSE);
        tries.went_well();
        assert!(!tries.stream(), "it has said so itself");
    }

    #[test]
    fn waits_grow_until_a_pass_ends_well() {
        let mut tries = Tries::new();
        let waits: Vec<_> = (0..8).map(|_| tries.failed(&broken("refused"), false)).collect();
        assert!(waits[7] > 10 * waits[0], "{waits:?}");
        assert!(tries.stream(), "no list has failed");
        assert_eq!(tries.went_well(), PAUSE);
        assert!(tries.failed(&broken("refused"), false) < Duration::from_secs(2));
    }
}
