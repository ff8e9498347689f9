//! Keeps to what the API server can take: a layer around every request of the client.
//!
//! An answer 429, or 503 with `Retry-After`, holds back every further request of the daemon (open watches go on) until
//! the time it names, and the refused request is sent again then. Afterwards half as many requests as before may be
//! under way at once, and one more with each round of good answers. kube's own retries are switched off: they know
//! one request each, so that a hundred of them would come back together, again and again.

use std::collections::{HashMap, HashSet};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt};
use tracing::{Instrument, field};

use super::lease::Fence;
use crate::metrics::{ApiAnswer, Metrics, Verb};
use crate::names::StoreId;

/// How long an answer may take to begin, waiting for our turn not counted.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long a request counts as one of those under way, if others are served: what hangs in one namespace must not use up
/// the places of all.
const PLACE_LIMIT: Duration = Duration::from_secs(1);

/// The wait when the server names none.
const USUAL_WAIT: Duration = Duration::from_secs(1);

/// The shortest wait, and the longest: after that it is tried whether the server still means it.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_mins(1));

/// How often a refused request is sent again; client-go does it as often.
const SENT_AGAIN: usize = 10;

/// By how much of a wait those who waited come back one after the other.
const SPREAD: f64 = 0.2;

/// How many namespaces are refused at the same time, with no other served, before it counts as a refusal of everybody.
const REFUSED_TOGETHER: usize = 3;

/// How fresh a good answer has to be to prove that the server serves others.
const FRESH: Duration = Duration::from_secs(2);

/// No answer began in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", ANSWER_LIMIT.as_secs())]
pub(super) struct NoAnswer;

/// Another replica may write there by now.
#[derive(Debug, thiserror::Error)]
#[error("another replica keeps this store")]
pub(super) struct Fenced;

/// How the API server is asked at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceReport {
    /// Until when every request waits, if they do.
    pub held_until: Option<std::time::Instant>,
    /// How many requests may be under way at once.
    pub at_once: usize,
    /// How many answers have told us to wait.
    pub refusals: u64,
}

/// What a request is about. A refusal may mean that alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    /// A namespace and what is in it.
    Namespace(Arc<str>),
    /// What lies at a path outside of them, such as all objects of a kind.
    Path(Arc<str>),
}

impl Subject {
    fn of(path: &str) -> Self {
        let mut parts = path.split('/');
        parts.any(|part| part == "namespaces");
        match parts.next().filter(|name| !name.is_empty()) {
            Some(name) => Self::Namespace(name.into()),
            None => Self::Path(path.into()),
        }
    }

    fn is_namespace(&self) -> bool {
        matches!(self, Self::Namespace(_))
    }
}

/// Decides when requests are sent. Cloned handles share what was learnt.
#[derive(Clone)]
pub struct Pace(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    room: Semaphore,
    news: watch::Sender<PaceReport>,
    /// Which stores may be written; none where no other replica could.
    fence: OnceLock<Fence>,
    metrics: Metrics,
}

/// What was learnt from answers. Pure: the time comes in.
struct State {
    /// The newest wait for all, over or not: when it began and when it ends.
    held: Option<(Instant, Instant)>,
    /// How long the waits before that took together.
    held_before: Duration,
    /// What waits alone, and until when.
    alone: HashMap<Subject, Instant>,
    /// Namespaces whose last request had no answer in time: their requests take no place while others are served.
    hanging: HashSet<Subject>,
    /// How many requests under way have given their places back.
    lent: usize,
    /// The newest good answers that came in time, about two subjects.
    served: [Option<(Subject, Instant)>; 2],
    most: usize,
    at_once: usize,
    /// Good answers since `at_once` changed.
    good: usize,
    /// Places to take away as they become free.
    owed: usize,
    refusals: u64,
    tickets: u32,
}

impl State {
    fn new(most: usize) -> Self {
        Self {
            held: None,
            held_before: Duration::ZERO,
            alone: HashMap::new(),
            hanging: HashSet::new(),
            lent: 0,
            served: [None, None],
            most,
            at_once: most,
            good: 0,
            owed: 0,
            refusals: 0,
            tickets: 0,
        }
    }

    fn report(&self, now: Instant) -> PaceReport {
        let held_until = self.held.map(|(_, until)| until).filter(|until| *until > now);
        PaceReport {
            held_until: held_until.map(Instant::into_std),
            at_once: self.at_once,
            refusals: self.refusals,
        }
    }

    /// Until when a request about this has to wait.
    fn held_until(&self, now: Instant, subject: &Subject) -> Option<Instant> {
        let alone = self.alone.get(subject).copied();
        let until = self.held.map(|(_, until)| until).max(alone)?;
        (until > now).then_some(until)
    }

    /// The same, with those who wait one after the other.
    fn turn(&mut self, now: Instant, subject: &Subject) -> Option<Instant> {
        let until = self.held_until(now, subject)?;
        self.tickets = self.tickets.wrapping_add(1);
        // Multiples of the golden ratio spread evenly, however many there are.
        let share = (f64::from(self.tickets) * 0.618_033_988_749_895).fract();
        Some(until + (until - now).mul_f64(SPREAD * share))
    }

    /// For how long all requests have had to wait until now.
    fn held(&self, now: Instant) -> Duration {
        let newest = self
            .held
            .map_or(Duration::ZERO, |(since, until)| until.min(now).saturating_duration_since(since));
        self.held_before + newest
    }

    /// The server told a request to wait. Its own words about overload are plain text and mean everybody; a JSON
    /// status comes from what guards one namespace or one kind, such as a webhook. Returns whether a wait for all began.
    fn refused(&mut self, now: Instant, subject: &Subject, wait: Duration, is_text: bool) -> bool {
        self.refusals += 1;
        let until = now + wait.clamp(WAITS.0, WAITS.1);
        self.alone.retain(|_, until| *until > now);
        if !is_text && self.is_about(now, subject) {
            self.alone.insert(subject.clone(), until);
            return false;
        }
        if let Some((_, newest)) = self.held.as_mut().filter(|(_, newest)| *newest > now) {
            *newest = until.max(*newest);
            return false;
        }
        self.held_before = self.held(now);
        self.held = Some((now, until));
        let fewer = (self.at_once / 2).max(1);
        self.owed += self.at_once - fewer;
        (self.at_once, self.good) = (fewer, 0);
        true
    }

    /// Whether a refusal in JSON is about its subject alone, and not the words of something that refuses everybody.
    fn is_about(&self, now: Instant, subject: &Subject) -> bool {
        let others = self.alone.keys().filter(|other| other.is_namespace() && *other != subject);
        !subject.is_namespace() || others.count() + 1 < REFUSED_TOGETHER || self.serves_others(now, subject)
    }

    fn serves_others(&self, now: Instant, subject: &Subject) -> bool {
        let other = |(served, when): &(Subject, Instant)| served != subject && now <= *when + FRESH;
        self.served.iter().flatten().any(other)
    }

    /// Whether requests about this take no place: they hang, and it is not the server that is slow.
    fn is_hanging(&self, now: Instant, subject: &Subject) -> bool {
        self.hanging.contains(subject) && self.serves_others(now, subject)
    }

    /// Whether a request that takes long may give its place back. As many as there are places always may, or those
    /// that hang could use them all up; more only while others are served.
    fn lends(&self, now: Instant, subject: &Subject) -> bool {
        self.lent < self.most || self.serves_others(now, subject)
    }

    /// The server answered, in time or not; returns whether one more request may be under way from now on.
    fn answered(&mut self, now: Instant, subject: &Subject, in_time: bool) -> bool {
        if in_time {
            if self.served[0].as_ref().is_some_and(|(served, _)| served != subject) {
                self.served.swap(0, 1);
            }
            self.served[0] = Some((subject.clone(), now));
        }
        self.good += 1;
        if self.at_once >= self.most || self.good < self.at_once {
            return false;
        }
        (self.at_once, self.good) = (self.at_once + 1, 0);
        true
    }
}

impl Pace {
    /// Begins with so many requests at once as the most.
    pub(super) fn new(most: usize, metrics: Metrics) -> Self {
        let state = State::new(most.max(1));
        let (news, _) = watch::channel(state.report(Instant::now()));
        let (room, state) = (Semaphore::new(state.most), Mutex::new(state));
        Self(Arc::new(Shared { room, state, news, fence: OnceLock::new(), metrics }))
    }

    /// Has every write into a store's namespace ask this fence, right before it is sent.
    pub(super) fn guard(&self, fence: Fence) {
        // A second one would come from a second membership of this process, of which there is none.
        let _ = self.0.fence.set(fence);
    }

    /// Returns the fence that writes ask.
    pub(super) fn fence(&self) -> Fence {
        self.0.fence.get().cloned().unwrap_or_else(Fence::alone)
    }

    /// Tells how the API server is asked, and of each change.
    pub fn reports(&self) -> watch::Receiver<PaceReport> {
        self.0.news.subscribe()
    }

    /// Whether no request is under way: then what nobody waits for may be sent.
    pub fn is_quiet(&self) -> bool {
        let state = self.state();
        let is_held = state.held.is_some_and(|(_, until)| until > Instant::now());
        !is_held && self.0.room.available_permits() >= state.at_once
    }

    /// Returns for how long all requests together have had to wait until now.
    pub fn held(&self) -> Duration {
        self.state().held(Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent. A watch takes no place: it would never give it back.
    async fn turn(&self, subject: &Subject, is_watch: bool) -> Option<Place> {
        loop {
            let turn = self.state().turn(Instant::now(), subject);
            if let Some(until) = turn {
                tokio::time::sleep_until(until).await;
                continue;
            }
            if is_watch || self.state().is_hanging(Instant::now(), subject) {
                return None;
            }
            // It is closed never.
            let place = self.0.room.acquire().await.ok()?;
            place.forget();
            let place = Place(self.clone());
            if self.state().held_until(Instant::now(), subject).is_none() {
                return Some(place);
            }
        }
    }

    /// Waits for an answer to begin; a place is given back when that takes long.
    async fn answer<T>(
        &self,
        mut place: Option<Place>,
        subject: &Subject,
        answer: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let mut answer = pin!(answer);
        let mut lent = None;
        for limits in 0..ANSWER_LIMIT.as_secs() / PLACE_LIMIT.as_secs() {
            let answer = tokio::time::timeout(PLACE_LIMIT, &mut answer).await;
            let mut state = self.state();
            match answer {
                Ok(answer) if limits == 0 => {
                    state.hanging.remove(subject);
                    return answer;
                }
                Ok(answer) => return answer,
                Err(_) if limits == 0 && subject.is_namespace() => _ = state.hanging.insert(subject.clone()),
                Err(_) => {}
            }
            if place.is_some() && state.lends(Instant::now(), subject) {
                state.lent += 1;
                drop(state);
                (lent, place) = (Some(Lent(self.clone())), None);
            }
        }
        drop(lent);
        Err(NoAnswer.into())
    }

    /// Learns from an answer; returns whether the request has to be sent again.
    fn learn<B>(&self, subject: &Subject, in_time: bool, response: &Response<B>) -> bool {
        let (now, mut state) = (Instant::now(), self.state());
        let Some(wait) = asked_to_wait(response) else {
            if state.answered(now, subject, in_time) {
                match state.owed {
                    0 => self.0.room.add_permits(1),
                    _ => state.owed -= 1,
                }
                self.tell(&state, now);
            }
            return false;
        };
        if state.refused(now, subject, wait, !is_json(response)) {
            state.owed -= self.0.room.forget_permits(state.owed);
            let (at_once, seconds) = (state.at_once, wait.as_secs());
            tracing::warn!(seconds, at_once, "the API server asks to wait: every request does");
        }
        self.tell(&state, now);
        true
    }

    fn tell(&self, state: &State, now: Instant) {
        let _ = self.0.news.send_replace(state.report(now));
    }
}

/// A request's place among those under way.
struct Place(Pace);

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.state();
        match state.owed {
            0 => self.0.0.room.add_permits(1),
            _ => state.owed -= 1,
        }
    }
}

/// A request under way that has given its place back.
struct Lent(Pace);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.state().lent -= 1;
    }
}

/// Returns how long an answer tells us to wait.
fn asked_to_wait<B>(response: &Response<B>) -> Option<Duration> {
    let named = response.headers().get(RETRY_AFTER);
    let seconds = named.and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS => Some(seconds.unwrap_or(USUAL_WAIT)),
        // A date, which only something between the server and us would write, is as good as a second.
        StatusCode::SERVICE_UNAVAILABLE if named.is_some() => Some(seconds.unwrap_or(USUAL_WAIT)),
        _ => None,
    }
}

fn is_json<B>(response: &Response<B>) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

fn is_watch(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|part| part == "watch=true" || part == "watch=1"))
}

/// Returns the store that a request writes to: everything but reads and dry runs.
fn written<B>(request: &Request<B>) -> Option<StoreId> {
    let is_dry = request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "dryRun=All"));
    if is_dry || [Method::GET, Method::HEAD].contains(request.method()) {
        return None;
    }
    match Subject::of(request.uri().path()) {
        Subject::Namespace(name) => StoreId::of_namespace(&name),
        Subject::Path(_) => None,
    }
}

/// Tells what a request is, by its method and whether its path is that of one object.
fn verb<B>(request: &Request<B>) -> Verb {
    let patch = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(APPLY));
    match *request.method() {
        Method::GET if is_watch(request.uri().query()) => Verb::Watch,
        Method::GET if is_collection(request.uri().path()) => Verb::List,
        Method::GET => Verb::Get,
        Method::POST => Verb::Create,
        Method::PATCH if patch => Verb::Apply,
        Method::PATCH | Method::PUT => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => Verb::Other,
    }
}

/// The content type of a server-side apply.
const APPLY: &[u8] = b"application/apply-patch";

/// Whether a path is that of all objects of a kind, in one namespace or in all.
fn is_collection(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let prefix = match parts.next() {
        Some("api") => 1,
        Some("apis") => 2,
        _ => return false,
    };
    let parts: Vec<_> = parts.skip(prefix).collect();
    matches!(parts.as_slice(), [_] | ["namespaces", _, _])
}

/// Copies a request whose body can be sent twice, as all of ours can.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, service: S) -> Paced<S> {
        Paced { pace: self.clone(), service: Arc::new(tokio::sync::Mutex::new(service)) }
    }
}

/// A client that keeps to a pace.
pub struct Paced<S> {
    pace: Pace,
    /// Locked to hand a request over, never while it is answered.
    service: Arc<tokio::sync::Mutex<S>>,
}

impl<S, B> Service<Request<Body>> for Paced<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(send(self.pace.clone(), Arc::clone(&self.service), request))
    }
}

/// Sends a request when it may be sent, and again when the server asked for that.
async fn send<S, B>(
    pace: Pace,
    service: Arc<tokio::sync::Mutex<S>>,
    mut request: Request<Body>,
) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
{
    let (subject, is_watch) = (Subject::of(request.uri().path()), is_watch(request.uri().query()));
    let written = written(&request);
    let (mut left, verb, path) = (SENT_AGAIN, verb(&request), request.uri().path().to_owned());
    loop {
        let next = copy(&request);
        let place = pace.turn(&subject, is_watch).await;
        let answer = {
            let mut service = service.lock().await;
            let ready = service.ready().await?;
            // After everything that it may have waited for.
            if written.as_ref().is_some_and(|store| !pace.fence().permits(store)) {
                return Err(Fenced.into());
            }
            ready.call(request)
        };
        let begun = Instant::now();
        let span = tracing::debug_span!(
            "api.request",
            k8s.verb = verb.label(),
            url.path = &*path,
            http.response.status_code = field::Empty
        );
        let answer = pace.answer(place, &subject, answer).instrument(span.clone()).await;
        let status = answer.as_ref().ok().map(|response| response.status().as_u16());
        span.record("http.response.status_code", status);
        pace.0.metrics.api_requested(verb, ApiAnswer::of(status), begun.elapsed());
        let response = answer?;
        let refused = pace.learn(&subject, begun.elapsed() < PLACE_LIMIT, &response);
        // Who watches tries again by himself, and says meanwhile why his cache is not complete.
        let again = refused && !(is_watch && is_json(&response));
        match next.filter(|_| again && left > 0) {
            Some(next) => request = next,
            None => return Ok(response),
        }
        left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tower::service_fn;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn namespace(name: &str) -> Subject {
        Subject::Namespace(name.into())
    }

    fn path(path: &str) -> Subject {
        Subject::of(path)
    }

    #[test]
    fn requests_are_told_apart_by_what_they_ask_for() {
        let of = |method: &str, path: &str| {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(CONTENT_TYPE, "application/apply-patch+yaml");
            verb(&request.body(()).unwrap())
        };
        for (path, verb) in [
            ("/api/v1/namespaces", Verb::List),
            ("/api/v1/namespaces/store-acme", Verb::Get),
            ("/api/v1/namespaces/store-acme/pods?limit=5", Verb::List),
            ("/api/v1/namespaces/store-acme/pods/medusa-0", Verb::Get),
            ("/apis/apps/v1/deployments?watch=true", Verb::Watch),
            ("/apis/apps/v1/deployments", Verb::List),
            ("/apis/apps/v1", Verb::Get),
            ("/apis", Verb::Get),
            ("/version", Verb::Get),
        ] {
            assert_eq!(of("GET", path), verb, "{path}");
        }
        assert_eq!(of("PATCH", "/api/v1/namespaces/store-acme"), Verb::Apply);
        assert_eq!((of("POST", "/api/v1/namespaces"), of("DELETE", "/x")), (Verb::Create, Verb::Delete));
    }

    #[test]
    fn what_writes_into_a_store_is_told_from_what_reads_or_tries() {
        let of = |method: &str, path: &str| {
            written(&Request::builder().method(method).uri(path).body(()).unwrap())
                .map(|store| store.to_string())
        };
        let acme = Some("acme".to_owned());
        assert_eq!(of("PATCH", "/api/v1/namespaces/store-acme"), acme);
        assert_eq!(of("DELETE", "/apis/apps/v1/namespaces/store-acme/deployments/x?a=b"), acme);
        assert_eq!(of("POST", "/api/v1/namespaces/store-acme/events?dryRun=None"), acme);
        for (method, path) in [
            ("PATCH", "/api/v1/namespaces/store-acme/services/x?force=true&dryRun=All"),
            ("GET", "/api/v1/namespaces/store-acme/pods"),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
            ("PUT", "/api/v1/namespaces/ops/configmaps/x"),
        ] {
            assert_eq!(of(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn a_refusal_holds_everybody_back_until_its_time_and_those_who_wait_come_one_after_the_other() {
        let (mut state, now) = (State::new(64), Instant::now());
        assert_eq!(state.turn(now, &path("/version")), None);
        assert!(state.refused(now, &namespace("a"), seconds(10), true));
        let mut turns: Vec<_> = (0..10).map(|_| state.turn(now, &namespace("b")).unwrap()).collect();
        turns.sort();
        assert!(turns[0] >= now + seconds(10) && turns[9] <= now + seconds(12), "{turns:?}");
        assert!(turns.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_millis(20)), "{turns:?}");
        assert_eq!(state.turn(now + seconds(10), &path("/version")), None);
    }

    #[test]
    fn a_wait_is_neither_too_short_nor_endless() {
        for (asked, waited) in [(0, Duration::from_millis(250)), (7, seconds(7)), (86_400, seconds(60))] {
            let (mut state, now) = (State::new(64), Instant::now());
            state.refused(now, &path("/version"), seconds(asked), true);
            assert_eq!(state.held_until(now, &path("/version")), Some(now + waited));
        }
    }

    #[test]
    fn each_wait_halves_what_is_under_way_once_and_good_answers_bring_it_back_one_by_one() {
        let (mut state, now) = (State::new(8), Instant::now());
        state.refused(now, &path("/version"), seconds(1), true);
        assert!(!state.refused(now, &path("/version"), seconds(2), true), "the same wait");
        assert_eq!((state.at_once, state.owed), (4, 4));
        assert_eq!(state.held_until(now, &path("/version")), Some(now + seconds(2)), "the later end counts");
        state.refused(now + seconds(2), &path("/version"), seconds(1), true);
        state.refused(now + seconds(4), &path("/version"), seconds(1), true);
        state.refused(now + seconds(6), &path("/version"), seconds(1), true);
        assert_eq!((state.at_once, state.owed), (1, 7), "never none");
        let grown: Vec<_> =
            (0..40).map(|_| usize::from(state.answered(now, &path("/version"), true))).collect();
        assert_eq!(grown[..6], [1, 0, 1, 0, 0, 1]);
        assert_eq!((grown.iter().sum::<usize>(), state.at_once), (7, 8), "no more than the most");
    }

    #[test]
    fn what_refuses_one_namespace_while_others_are_served_holds_only_that_one_back() {
        let (mut state, now) = (State::new(8), Instant::now());
        let (a, b) = (namespace("a"), namespace("b"));
        state.answered(now, &b, true);
        state.answered(now, &a, true);
        assert!(!state.refused(now + seconds(1), &a, seconds(5), false));
        assert_eq!(state.held_until(now + seconds(1), &a), Some(now + seconds(6)));
        assert_eq!((state.held_until(now + seconds(1), &b), state.at_once), (None, 8));
        // The server's own words about overload mean everybody.
        assert!(state.refused(now + seconds(1), &a, seconds(5), true));
    }

    #[test]
    fn a_server_that_refuses_three_namespaces_and_serves_no_other_means_everybody() {
        let (mut state, now) = (State::new(8), Instant::now());
        for name in ["a", "b"] {
            assert!(!state.refused(now, &namespace(name), seconds(5), false));
        }
        assert_eq!(state.held_until(now, &namespace("d")), None, "nobody else has asked for anything yet");
        assert!(state.refused(now, &namespace("c"), seconds(5), false));
        assert!(state.held_until(now, &namespace("d")).is_some());
    }

    #[test]
    fn what_refuses_one_kind_holds_nothing_else_back() {
        let (mut state, now) = (State::new(8), Instant::now());
        for kind in ["orders", "invoices", "claims"] {
            let kind = path(&format!("/apis/example.com/v1/{kind}"));
            assert!(!state.refused(now, &kind, seconds(30), false));
            assert_eq!(state.held_until(now, &kind), Some(now + seconds(30)));
        }
        assert_eq!((state.held_until(now, &path("/api/v1/secrets")), state.at_once), (None, 8));
        assert_eq!(state.held_until(now, &namespace("a")), None);
    }

    #[test]
    fn what_hangs_takes_no_place_only_while_others_are_served_in_time() {
        let (mut state, now) = (State::new(1), Instant::now());
        state.hanging.insert(namespace("a"));
        state.answered(now, &namespace("b"), false);
        assert!(!state.is_hanging(now, &namespace("a")), "the server is slow for all");
        assert!(state.lends(now, &namespace("a")), "one in place of each place");
        state.lent = 1;
        assert!(!state.lends(now, &namespace("a")));
        state.answered(now, &namespace("b"), true);
        assert!(state.is_hanging(now, &namespace("a")) && state.lends(now, &namespace("a")));
        assert!(!state.is_hanging(now + FRESH + seconds(1), &namespace("a")));
    }

    #[test]
    fn the_time_of_all_waits_is_added_up() {
        let (mut state, now) = (State::new(8), Instant::now());
        state.refused(now, &path("/version"), seconds(4), true);
        assert_eq!(state.held(now + seconds(3)), seconds(3));
        assert_eq!(state.held(now + seconds(9)), seconds(4));
        state.refused(now + seconds(10), &path("/version"), seconds(4), true);
        assert_eq!(state.held(now + seconds(11)), seconds(5));
    }

    #[test]
    fn waits_are_read_from_answers() {
        let answer = |code: u16, wait: Option<&str>| {
            let mut response = Response::builder().status(code);
            if let Some(wait) = wait {
                response = response.header(RETRY_AFTER, wait);
            }
            asked_to_wait(&response.body(()).unwrap())
        };
        assert_eq!(answer(429, Some("7")), Some(seconds(7)));
        assert_eq!(answer(429, None), Some(seconds(1)));
        assert_eq!(answer(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")), Some(seconds(1)));
        assert_eq!((answer(503, None), answer(500, Some("7")), answer(200, Some("7"))), (None, None, None));
    }

    #[test]
    fn namespaces_are_found_in_paths() {
        for inside in ["/api/v1/namespaces/store-a/secrets/b", "/apis/apps/v1/namespaces/store-a"] {
            assert_eq!(path(inside), namespace("store-a"));
        }
        for outside in ["/api/v1/namespaces", "/api/v1/secrets", "/version"] {
            assert_eq!(path(outside), Subject::Path(outside.into()));
        }
    }

    fn get(path: &str) -> Request<Body> {
        Request::get(path).body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_refused_request_is_sent_again_when_its_time_has_come_and_keeps_others_waiting_until_then() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let pace = Pace::new(4, Metrics::new());
        let mut client = pace.layer(service_fn(move |request: Request<Body>| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                let refusal = Response::builder().status(429).header(RETRY_AFTER, "0");
                let served = Response::builder().status(200);
                Ok::<_, BoxError>(
                    if first { refusal } else { served }.body(request.uri().to_string()).unwrap(),
                )
            }
        }));
        let begun = Instant::now();
        let refused = client.call(get("/a"));
        let (answer, later) = tokio::join!(refused, async {
            tokio::time::sleep(WAITS.0 / 5).await;
            assert_eq!((sent.load(Ordering::SeqCst), pace.held() > Duration::ZERO), (1, true));
            client.call(get("/b")).await
        });
        assert_eq!((answer.unwrap().into_body(), later.unwrap().into_body()), ("/a".into(), "/b".into()));
        assert!(begun.elapsed() >= WAITS.0 && sent.load(Ordering::SeqCst) == 3);
        let report = *pace.reports().borrow();
        assert_eq!(
            (report.refusals, report.at_once),
            (1, 3),
            "two of four, and one more after two good answers"
        );
    }

    #[tokio::test]
    async fn a_server_that_refuses_for_ever_is_asked_a_bounded_number_of_times() {
        let pace = Pace::new(4, Metrics::new());
        let refusal = |_: Request<Body>| async {
            Ok::<_, BoxError>(Response::builder().status(429).header(RETRY_AFTER, "0").body(()).unwrap())
        };
        let response = pace.layer(service_fn(refusal)).call(get("/a")).await.unwrap();
        assert_eq!((response.status().as_u16(), pace.reports().borrow().refusals), (429, 11));
    }

    #[tokio::test]
    async fn a_watch_that_is_refused_alone_is_told_so_at_once() {
        let refusal = |_: Request<Body>| async {
            let response = Response::builder().status(429).header(CONTENT_TYPE, "application/json");
            Ok::<_, BoxError>(response.header(RETRY_AFTER, "30").body(()).unwrap())
        };
        let pace = Pace::new(4, Metrics::new());
        let watch = pace.layer(service_fn(refusal)).call(get("/apis/example.com/v1/orders?watch=true"));
        let response = tokio::time::timeout(seconds(5), watch).await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), pace.held()), (429, Duration::ZERO));
    }

    #[tokio::test]
    async fn a_server_that_is_slow_for_all_has_no_more_under_way_than_twice_the_most() {
        let sent = Arc::new(AtomicUsize::new(0));
        let (pace, counted) = (Pace::new(1, Metrics::new()), Arc::clone(&sent));
        let client = pace.layer(service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Response<()>, BoxError>>()
        }));
        let client = Arc::new(tokio::sync::Mutex::new(client));
        let ask = |number| {
            let client = Arc::clone(&client);
            let path = format!("/api/v1/namespaces/{number}/secrets");
            tokio::spawn(async move {
                let answer = client.lock().await.call(get(&path));
                answer.await
            })
        };
        let asked: Vec<_> = (0..5).map(ask).collect();
        tokio::time::sleep(3 * PLACE_LIMIT).await;
        assert_eq!(sent.load(Ordering::SeqCst), 2);
        asked.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn requests_that_hang_in_one_namespace_leave_their_places_to_others() {
        let pace = Pace::new(2, Metrics::new());
        let client = || {
            pace.layer(service_fn(|request: Request<Body>| async move {
                if request.uri().path().contains("/hangs/") {
                    std::future::pending::<()>().await;
                }
                Ok::<_, BoxError>(Response::new(()))
            }))
        };
        let hang =
            |number| tokio::spawn(client().call(get(&format!("/api/v1/namespaces/hangs/pods/{number}"))));
        let mut hanging: Vec<_> = (0..2).map(hang).collect();
        tokio::task::yield_now().await;
        assert_eq!(pace.0.room.available_permits(), 0);
        client().call(get("/version")).await.unwrap();
        // The place of one was enough for that; the other gives its own back when its second is over too.
        while pace.0.room.available_permits() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Known by now: further ones take no place at all.
        hanging.extend((2..9).map(hang));
        tokio::task::yield_now().await;
        assert_eq!(pace.0.room.available_permits(), 2);
        hanging.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_gives_its_place_back() {
        let pace = Pace::new(1, Metrics::new());
        let never = |_: Request<Body>| std::future::pending::<Result<Response<()>, BoxError>>();
        let hanging = tokio::spawn(pace.layer(service_fn(never)).call(get("/a")));
        tokio::task::yield_now().await;
        assert_eq!(pace.0.room.available_permits(), 0);
        hanging.abort();
        assert!(hanging.await.unwrap_err().is_cancelled());
        assert_eq!(pace.0.room.available_permits(), 1);
    }
}
