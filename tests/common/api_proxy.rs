//! An API server that misbehaves: a proxy in front of the real one, with faults that a test sets at any time.
//!
//! It listens on plain HTTP, so that it needs no certificate, and forwards by kube's own client, so that it needs no
//! login. Bodies are streamed, so watches work. [`Rule`]s look at each [`Call`] in turn, and the first that fits decides
//! what happens to it. Open watches are met by [`ApiProxy::interrupt_watches`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The largest request body that is forwarded.
const LARGEST_REQUEST: usize = 8 << 20;

/// A request as rules see it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The HTTP method, or `WATCH` for the GET that opens a watch.
    pub verb: String,
    pub path: String,
    /// The query as it came; empty without one.
    pub query: String,
    /// How many calls of this verb and path came before.
    pub nth: usize,
    /// A number from 0 to 1, which the proxy's seed, the verb, the path and `nth` decide: however calls interleave,
    /// the same call meets the same chance.
    pub chance: f64,
}

impl Call {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        ["POST", "PATCH", "PUT", "DELETE"].contains(&self.verb.as_str())
    }

    pub fn is_watch(&self) -> bool {
        self.verb == "WATCH"
    }

    /// Whether it is a watch that begins with everything there is.
    pub fn is_streamed_list(&self) -> bool {
        self.is_watch() && self.query.split('&').any(|part| part == "sendInitialEvents=true")
    }

    /// Whether it is about one namespace or what lies in it.
    pub fn concerns(&self, namespace: &str) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| part == "namespaces") && parts.next() == Some(namespace)
    }
}

/// What happens to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is answered with this status instead of being forwarded.
    Status { code: u16, retry_after: Option<u32>, kind: &'static str, body: String },
    /// It is forwarded after a while, also when whoever sent it has gone meanwhile.
    Delay(Duration),
    /// It is neither forwarded nor answered.
    Hang,
    /// The connection ends instead of its being forwarded.
    Reset,
    /// It takes effect, and the connection ends without an answer.
    LoseAnswer,
    /// It takes effect, and is never answered.
    HoldAnswer,
    /// The connection ends in the middle of the answer's body.
    CutBody,
    /// The answer's body ends in its middle as if it were whole: a list is truncated.
    ShortBody,
    /// It is answered as a watch that is told at once that its version is gone.
    WatchGone,
    /// The watch ends after so many events, as the API server ends watches.
    EndAfter(usize),
    /// The connection ends after so many events of the watch.
    BreakAfter(usize),
}

impl Fault {
    /// 429 as API priority and fairness sends it: plain text.
    pub fn too_many_requests(retry_after: u32) -> Self {
        let body = "Too many requests, please try again later.\n".to_owned();
        Self::Status { code: 429, retry_after: Some(retry_after), kind: "text/plain; charset=utf-8", body }
    }

    /// An error as the API server itself writes it: 500 `InternalError`, 409 `Conflict`, 410 `Expired`.
    pub fn status(code: u16, reason: &str, message: &str) -> Self {
        Self::Status {
            code,
            retry_after: None,
            kind: "application/json",
            body: status(code, reason, message),
        }
    }

    /// Its word in counts and figures.
    pub fn name(&self) -> String {
        match self {
            Self::Status { code, .. } => code.to_string(),
            Self::Delay(_) => "delay".to_owned(),
            Self::Hang => "hang".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::LoseAnswer => "answer lost".to_owned(),
            Self::HoldAnswer => "answer held".to_owned(),
            Self::CutBody => "body cut".to_owned(),
            Self::ShortBody => "body short".to_owned(),
            Self::WatchGone => "watch 410".to_owned(),
            Self::EndAfter(_) => "list ended".to_owned(),
            Self::BreakAfter(_) => "list broken".to_owned(),
        }
    }
}

/// What happens to an open watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// It ends as the API server ends watches.
    End,
    /// It is told that its version is gone, and ends.
    Gone,
    /// Its connection breaks.
    Break,
    /// It stays open and says nothing any more, until [`ApiProxy::end_silence`].
    Silence,
}

type Test = Box<dyn Fn(&Call) -> bool + Send>;

/// Which calls meet a fault.
pub struct Rule {
    fits: Test,
    fault: Fault,
    spare: usize,
    left: usize,
    told: Option<oneshot::Sender<Call>>,
}

impl Rule {
    /// Every call that fits meets the fault.
    pub fn new(fault: Fault, fits: impl Fn(&Call) -> bool + Send + 'static) -> Self {
        Self { fits: Box::new(fits), fault, spare: 0, left: usize::MAX, told: None }
    }

    /// The first calls that fit are spared.
    pub fn after(self, spare: usize) -> Self {
        Self { spare, ..self }
    }

    /// Not more than this many calls meet the fault.
    pub fn times(self, left: usize) -> Self {
        Self { left, ..self }
    }

    /// Tells of the first call that meets the fault: before it is forwarded or answered, for [`Fault::Delay`] when it is
    /// sure to be forwarded, but for [`Fault::LoseAnswer`] and [`Fault::HoldAnswer`], where it has taken effect by then.
    pub fn told(self) -> (Self, oneshot::Receiver<Call>) {
        let (sender, receiver) = oneshot::channel();
        (Self { told: Some(sender), ..self }, receiver)
    }
}

/// Names a rule, to take it away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId(usize);

/// One call as it came, and what happened to it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Instant,
    pub call: Call,
    /// The fault it met.
    pub fault: Option<Fault>,
}

/// What connections share.
#[derive(Default)]
struct State {
    seed: u64,
    rules: BTreeMap<RuleId, Rule>,
    next: usize,
    seen: Vec<Seen>,
    occurrences: HashMap<(String, String), usize>,
    watches: BTreeMap<usize, (Call, oneshot::Sender<Interruption>)>,
    interrupted: BTreeMap<String, usize>,
    silent: Vec<oneshot::Sender<()>>,
}

impl State {
    fn number(&mut self) -> usize {
        self.next += 1;
        self.next
    }
}

/// The proxy; it ends when this is dropped.
pub struct ApiProxy {
    /// A kubeconfig that leads through it.
    pub kubeconfig: PathBuf,
    state: Arc<Mutex<State>>,
    // Dropped last: it ends every connection.
    _runtime: Runtime,
}

impl ApiProxy {
    /// Starts in front of the API server of a kubeconfig, and writes its own kubeconfig into the folder.
    pub fn start(kubeconfig: &Path, folder: &Path, seed: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = super::cluster::client(&runtime, kubeconfig, false);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let path = folder.join(format!("through-proxy-{}.kubeconfig", address.port()));
        std::fs::write(&path, kubeconfig_for(&format!("http://{address}"))).unwrap();
        let state = Arc::new(Mutex::new(State { seed, ..State::default() }));
        runtime.spawn(accept(listener, client, Arc::clone(&state)));
        Self { kubeconfig: path, state, _runtime: runtime }
    }

    /// Adds a rule behind those that are there.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut state = self.state();
        let id = RuleId(state.number());
        state.rules.insert(id, rule);
        id
    }

    /// Takes a rule away; what hangs by it, hangs on.
    pub fn remove(&self, id: RuleId) {
        self.state().rules.remove(&id);
    }

    /// Takes all rules away.
    pub fn clear(&self) {
        self.state().rules.clear();
    }

    /// Meets the open watches that fit; returns how many.
    pub fn interrupt_watches(&self, how: Interruption, fits: impl Fn(&Call) -> bool) -> usize {
        let mut state = self.state();
        let ids: Vec<_> =
            state.watches.iter().filter(|(_, (call, _))| fits(call)).map(|(id, _)| *id).collect();
        let mut count = 0;
        for id in ids {
            if let Some((_, watch)) = state.watches.remove(&id) {
                count += usize::from(watch.send(how).is_ok());
            }
        }
        *state.interrupted.entry(format!("watch {how:?}").to_lowercase()).or_default() += count;
        count
    }

    /// Breaks the watches that were told to be silent.
    pub fn end_silence(&self) {
        self.state().silent.clear();
    }

    /// Every call since the start, in the order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// How many calls fit.
    pub fn count(&self, fits: impl Fn(&Call) -> bool) -> usize {
        self.state().seen.iter().filter(|seen| fits(&seen.call)).count()
    }

    /// How many calls came, by verb and path.
    pub fn counts(&self) -> BTreeMap<(String, String), usize> {
        self.state().occurrences.iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// How many faults there were, by their words.
    pub fn faults(&self) -> BTreeMap<String, usize> {
        let state = self.state();
        let mut faults = state.interrupted.clone();
        for fault in state.seen.iter().filter_map(|seen| seen.fault.as_ref()) {
            *faults.entry(fault.name()).or_default() += 1;
        }
        faults.retain(|_, count| *count > 0);
        faults
    }

    /// Forgets the calls until now, but not which of a path's calls comes next.
    pub fn forget(&self) {
        let mut state = self.state();
        state.seen.clear();
        state.interrupted.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, client: Client, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, client.clone(), Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, client: Client, state: Arc<Mutex<State>>) {
    let service = service_fn(move |request| answer(request, client.clone(), Arc::clone(&state)));
    // Faults end connections, and a client that is killed does, too.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A reason to end a connection.
#[derive(Debug, thiserror::Error)]
#[error("the proxy ends this connection")]
struct Ended;

async fn answer(
    request: Request<Incoming>,
    client: Client,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, Ended> {
    let (call, met) = meet(&mut state.lock().unwrap(), &request);
    let Some((fault, told)) = met else { return forward(request, &call, client, &state).await };
    let mut told = told;
    let is_told_later = matches!(fault, Fault::LoseAnswer | Fault::HoldAnswer | Fault::Delay(_));
    if !is_told_later && let Some(told) = told.take() {
        let _ = told.send(call.clone());
    }
    let answered = match fault {
        Fault::Status { code, retry_after, kind, body } => return Ok(refusal(code, retry_after, kind, body)),
        Fault::WatchGone => return Ok(json(200, gone())),
        Fault::Reset => return Err(Ended),
        Fault::Hang => return std::future::pending().await,
        Fault::Delay(time) => {
            let (request, shared) = (read(request).await?, Arc::clone(&state));
            if let Some(told) = told {
                let _ = told.send(call.clone());
            }
            // A task of its own: a call that is under way lands though its sender has been killed.
            let late = tokio::spawn(async move {
                tokio::time::sleep(time).await;
                send(request, &call, client, &shared).await
            });
            return late.await.map_err(|_| Ended)?;
        }
        Fault::EndAfter(events) | Fault::BreakAfter(events) => {
            let breaks = matches!(fault, Fault::BreakAfter(_));
            let (head, body) = forward(request, &call, client, &state).await?.into_parts();
            return Ok(Response::from_parts(head, Body::from_stream(first_events(body, events, breaks))));
        }
        Fault::LoseAnswer | Fault::HoldAnswer | Fault::CutBody | Fault::ShortBody => {
            forward(request, &call, client, &state).await?
        }
    };
    let (head, body) = answered.into_parts();
    // A watch has no end to wait for.
    let body = if call.is_watch() { Bytes::new() } else { whole(body).await? };
    if let Some(told) = told {
        let _ = told.send(call);
    }
    let half = body.slice(..body.len() / 2);
    match fault {
        Fault::HoldAnswer => std::future::pending().await,
        Fault::CutBody => {
            let parts = stream::iter([Ok(half), Err(Ended)]);
            let mut response = Response::from_parts(head, Body::from_stream(parts));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            Ok(response)
        }
        Fault::ShortBody => {
            let mut response = Response::from_parts(head, Body::from(half));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            Ok(response)
        }
        _ => Err(Ended),
    }
}

type Met = Option<(Fault, Option<oneshot::Sender<Call>>)>;

/// Notes a call and finds the fault it meets.
fn meet(state: &mut State, request: &Request<Incoming>) -> (Call, Met) {
    let (path, query) =
        (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let watches = query.split('&').any(|part| part == "watch=true" || part == "watch=1");
    let verb = if watches { "WATCH".to_owned() } else { request.method().to_string() };
    let nth = state.occurrences.entry((verb.clone(), path.clone())).or_default();
    let chance = chance(state.seed, &format!("{verb} {path} {nth}"));
    let call = Call { verb, path, query, nth: *nth, chance };
    *nth += 1;
    let mut met = None;
    for rule in state.rules.values_mut().filter(|rule| rule.left > 0) {
        if !(rule.fits)(&call) {
            continue;
        }
        if rule.spare > 0 {
            rule.spare -= 1;
            continue;
        }
        rule.left -= 1;
        met = Some((rule.fault.clone(), rule.told.take()));
        break;
    }
    let fault = met.as_ref().map(|(fault, _)| fault.clone());
    state.seen.push(Seen { at: Instant::now(), call: call.clone(), fault });
    (call, met)
}

/// Forwards a call and streams the answer.
async fn forward(
    request: Request<Incoming>,
    call: &Call,
    client: Client,
    state: &Arc<Mutex<State>>,
) -> Result<Response<Body>, Ended> {
    send(read(request).await?, call, client, state).await
}

/// Reads a call to its end and makes it the proxy's own.
async fn read(request: Request<Incoming>) -> Result<Request<kube::client::Body>, Ended> {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(Body::new(body), LARGEST_REQUEST).await.map_err(|_| Ended)?;
    head.uri = head.uri.path_and_query().ok_or(Ended)?.as_str().parse().map_err(|_| Ended)?;
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    Ok(Request::from_parts(head, kube::client::Body::from(body)))
}

async fn send(
    request: Request<kube::client::Body>,
    call: &Call,
    client: Client,
    state: &Arc<Mutex<State>>,
) -> Result<Response<Body>, Ended> {
    // A task of its own: what was sent takes effect, also when whoever sent it has been killed since.
    let sent = tokio::spawn(async move { client.send(request).await });
    let answer = sent.await.map_err(|_| Ended)?.map_err(|_| Ended)?;
    let (mut head, body) = answer.into_parts();
    strip_hop_by_hop(&mut head.headers);
    let length = body.size_hint().exact();
    let body = Body::new(body).into_data_stream().map_err(|_| Ended);
    if call.is_watch() && head.status.is_success() {
        return Ok(Response::from_parts(head, Body::from_stream(watched(body.boxed(), call, state))));
    }
    // Without this a body of a known length would be sent in chunks: half of one could not be told from a whole.
    if let Some(length) = length {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(Response::from_parts(head, Body::from_stream(body)))
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

/// Streams a watch until it is interrupted.
fn watched(
    body: BoxStream<'static, Result<Bytes, Ended>>,
    call: &Call,
    state: &Arc<Mutex<State>>,
) -> BoxStream<'static, Result<Bytes, Ended>> {
    let (sender, interrupted) = oneshot::channel();
    let guard = {
        let mut inner = state.lock().unwrap();
        let id = inner.number();
        inner.watches.insert(id, (call.clone(), sender));
        OpenWatch { id, state: Arc::clone(state) }
    };
    let interrupted = interrupted.shared();
    let state = Arc::clone(state);
    let rest = interrupted.clone().into_stream().flat_map(move |how| match how {
        Ok(Interruption::Gone) => stream::iter([Ok(Bytes::from(gone()))]).boxed(),
        Ok(Interruption::Break) => stream::iter([Err(Ended)]).boxed(),
        Ok(Interruption::Silence) => {
            let (sender, ended) = oneshot::channel::<()>();
            state.lock().unwrap().silent.push(sender);
            ended.into_stream().map(|_| Err(Ended)).boxed()
        }
        // Without a word the server itself has ended it.
        Ok(Interruption::End) | Err(_) => stream::empty().boxed(),
    });
    // Dropped with the stream, also when the client has gone.
    let body = body.map(move |part| {
        let _open = &guard;
        part
    });
    body.take_until(interrupted).chain(rest).boxed()
}

/// Lets the first events of a watch through, one a line, and ends it.
fn first_events(body: Body, events: usize, breaks: bool) -> BoxStream<'static, Result<Bytes, Ended>> {
    let body = body.into_data_stream().map_err(|_| Ended);
    let first = stream::unfold((body, events), |(mut body, left)| async move {
        let part = if left == 0 { None } else { body.next().await }?;
        let Ok(part) = part else { return Some((part, (body, 0))) };
        let ends: Vec<_> =
            part.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        let part = ends.get(left - 1).map_or(part.clone(), |end| part.slice(..*end));
        Some((Ok(part), (body, left.saturating_sub(ends.len()))))
    });
    // Once the events are on their way: an error right behind them would take them back.
    let end =
        stream::once(async { tokio::time::sleep(Duration::from_millis(50)).await }).map(|()| Err(Ended));
    if breaks { first.chain(end).boxed() } else { first.boxed() }
}

/// An entry in the list of open watches.
struct OpenWatch {
    id: usize,
    state: Arc<Mutex<State>>,
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.state.lock().unwrap().watches.remove(&self.id);
    }
}

async fn whole(body: Body) -> Result<Bytes, Ended> {
    to_bytes(body, usize::MAX).await.map_err(|_| Ended)
}

fn refusal(code: u16, retry_after: Option<u32>, kind: &str, body: String) -> Response<Body> {
    let mut response = Response::builder().status(code).header(header::CONTENT_TYPE, kind);
    if let Some(seconds) = retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    response.body(Body::from(body)).unwrap()
}

fn json(code: u16, body: String) -> Response<Body> {
    refusal(code, None, "application/json", body)
}

/// The event by which the API server says that a watch's version is gone.
fn gone() -> String {
    let status = status(410, "Expired", "too old resource version: 1 (2)");
    format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n")
}

fn status(code: u16, reason: &str, message: &str) -> String {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    body.to_string()
}

/// A number from 0 to 1 that a seed and a text decide: FNV-1a, then the finish of `SplitMix64`.
pub fn chance(seed: u64, text: &str) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let top = u32::try_from((hash ^ (hash >> 31)) >> 32).unwrap();
    f64::from(top) / f64::from(u32::MAX)
}

fn kubeconfig_for(server: &str) -> String {
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{ "name": "proxy", "cluster": { "server": server } }],
        "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
        "users": [{ "name": "proxy", "user": {} }],
    });
    config.to_string()
}
