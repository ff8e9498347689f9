//! A small HTTP server on loopback for fakes of forges' APIs: it keeps every request, and misbehaves as told.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use storekeeper::forge::{Forge, ForgeKind, ForgeSettings, Login};
use storekeeper::report::{Annotation, CommitState, CommitStatus};
use tempfile::TempDir;

/// 2026-11-22T10:00:00Z
pub const NOW: i64 = 1_795_341_600;

/// The token that fakes take.
pub const TOKEN: &str = "canary-5f1c";

pub const HEAD: &str = "1111111111111111111111111111111111111111";
pub const MAIN: &str = "2222222222222222222222222222222222222222";

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// As it was sent, encoded, without the query.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// By lower-case names.
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Request {
    /// The path's segments, decoded.
    pub fn segments(&self) -> Vec<String> {
        self.path.trim_matches('/').split('/').map(decode).collect()
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.query.get(name)?.parse().ok()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    pub fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::raw(status, "application/json; charset=utf-8", body.to_string().as_bytes())
    }

    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }

    pub fn raw(status: u16, kind: &str, body: &[u8]) -> Self {
        Self { status, headers: vec![("content-type", kind.to_owned())], body: body.to_vec() }
    }

    pub fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// What goes wrong once.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The request is not looked at.
    Instead(Reply),
    /// The request is carried out, and the connection breaks before its answer.
    LoseAnswer,
    /// Nothing is ever answered.
    Hang,
}

type Answers = dyn Fn(&Request) -> Reply + Send + Sync;

/// Looks at every request and its answer.
type Judge = dyn Fn(&Request, &Reply) + Send + Sync;

/// The server. Its threads end with the process.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    answers: Box<Answers>,
    judge: Box<Judge>,
    requests: Mutex<Vec<Request>>,
    /// Method, part of the path, and what happens.
    faults: Mutex<Vec<(String, String, Fault)>>,
}

impl Server {
    pub fn start(answers: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_judged(answers, |_, _| {})
    }

    pub fn start_judged(
        answers: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        judge: impl Fn(&Request, &Reply) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            answers: Box::new(answers),
            judge: Box::new(judge),
            requests: Mutex::default(),
            faults: Mutex::default(),
        });
        let state = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets something go wrong at the next request of this method whose path holds this text.
    pub fn fault(&self, method: &str, path: &str, fault: Fault) {
        self.shared.faults.lock().unwrap().push((method.to_owned(), path.to_owned(), fault));
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Method and path of each request since the last call.
    pub fn calls(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.shared.requests.lock().unwrap());
        requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    /// Those of them that change something.
    pub fn changes(&self) -> Vec<String> {
        self.calls().into_iter().filter(|call| !call.starts_with("GET ")).collect()
    }
}

fn serve(stream: &TcpStream, state: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let fault = {
            let mut faults = state.faults.lock().unwrap();
            let fits = |(method, path, _): &(String, String, Fault)| {
                *method == request.method && request.path.contains(path.as_str())
            };
            faults.iter().position(fits).map(|index| faults.remove(index).2)
        };
        state.requests.lock().unwrap().push(request.clone());
        let reply = match fault {
            Some(Fault::Instead(reply)) => reply,
            Some(Fault::Hang) => loop {
                std::thread::park();
            },
            Some(Fault::LoseAnswer) => {
                let reply = (state.answers)(&request);
                (state.judge)(&request, &reply);
                return;
            }
            None => (state.answers)(&request),
        };
        (state.judge)(&request, &reply);
        let mut head = format!("HTTP/1.1 {} x\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        // In one piece: the end of two would wait for the other side to acknowledge the first.
        let mut whole = head.into_bytes();
        whole.extend_from_slice(&reply.body);
        let mut out = stream;
        if out.write_all(&whole).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = pairs.map(|(name, value)| (decode(name), decode(&value.replace('+', " ")))).collect();
    Some(Request { method, path: path.to_owned(), query, headers, body })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}

/// One page of a list, as `per_page`, `pagelen` or `limit` and `page` ask for it; and whether there is a next one.
pub fn page_of(request: &Request, items: &[Value], size: &str, default: usize) -> (Vec<Value>, usize, bool) {
    let size = request.number(size).unwrap_or(default);
    let page = request.number("page").unwrap_or(1);
    let items: Vec<_> = items.iter().skip((page - 1) * size).cloned().collect();
    let more = items.len() > size;
    (items.into_iter().take(size).collect(), page, more)
}

/// What a test needs besides a fake: a token's file and a clock.
pub struct Desk {
    pub folder: TempDir,
    pub clock: Arc<AtomicI64>,
}

impl Desk {
    pub fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap(), clock: Arc::new(AtomicI64::new(NOW)) };
        desk.set_token(TOKEN);
        desk
    }

    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    pub fn set_token(&self, token: &str) {
        std::fs::write(self.token_file(), format!("{token}\n")).unwrap();
    }

    pub fn settings(&self, kind: ForgeKind, api: &str, repository: &str) -> ForgeSettings {
        ForgeSettings {
            kind,
            api: Some(api.to_owned()),
            repository: repository.to_owned(),
            login: Login::Token { file: self.token_file() },
            ca_file: None,
            timeout: Duration::from_secs(20),
            cluster: None,
        }
    }

    pub fn forge(&self, kind: ForgeKind, api: &str, repository: &str) -> Forge {
        self.open(self.settings(kind, api, repository))
    }

    pub fn open(&self, settings: ForgeSettings) -> Forge {
        let clock = self.clock.clone();
        Forge::new(settings, Arc::new(move || clock.load(Ordering::Relaxed))).unwrap()
    }
}

pub fn status(context: &str, state: CommitState, description: &str) -> CommitStatus {
    CommitStatus::new(context, state, description, Some("https://shops.example/stores/acme"))
}

pub fn note(path: &str, line: u32, message: &str) -> Annotation {
    Annotation { path: path.to_owned(), line, column: Some(3), message: message.to_owned() }
}

/// A diff that adds a file of so many lines.
pub fn added(lines: u32) -> String {
    let mut diff = format!("@@ -0,0 +1,{lines} @@");
    for line in 1..=lines {
        write!(diff, "\n+line {line}").unwrap();
    }
    diff
}
