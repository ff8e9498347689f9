//! A bucket as S3 clients see it on the wire: put, get, head, list and delete of whole objects. Signatures are not checked.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// The server. Its threads end with the process.
pub struct FakeBucket {
    port: u16,
    state: Arc<State>,
}

struct State {
    bucket: &'static str,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    refuses_uploads: AtomicBool,
}

impl FakeBucket {
    pub fn start(bucket: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let objects = Mutex::new(BTreeMap::new());
        let state = Arc::new(State { bucket, objects, refuses_uploads: AtomicBool::new(false) });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn put(&self, name: &str, content: &[u8]) {
        self.state.objects.lock().unwrap().insert(name.to_owned(), content.to_vec());
    }

    pub fn names(&self) -> Vec<String> {
        self.state.objects.lock().unwrap().keys().cloned().collect()
    }

    /// From now on every upload is answered with 403.
    pub fn refuse_uploads(&self) {
        self.state.refuses_uploads.store(true, Ordering::Relaxed);
    }
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn serve(stream: &TcpStream, state: &State) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader, stream) {
        let (status, content_type, body) = answer(&request, state);
        let length = body.len();
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             ETag: \"none-1\"\r\nLast-Modified: Sun, 22 Nov 2026 10:00:00 GMT\r\n\r\n"
        )
        .into_bytes();
        if request.method != "HEAD" {
            head.extend(body);
        }
        let mut out = stream;
        if out.write_all(&head).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>, mut stream: &TcpStream) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut expects) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        expects |= header.starts_with("expect:");
    }
    if expects {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = query.map(|(name, value)| (name.to_owned(), value.replace("%2F", "/"))).collect();
    Some(Request { method, path: path.to_owned(), query, body })
}

fn answer(request: &Request, state: &State) -> (&'static str, &'static str, Vec<u8>) {
    const XML: &str = "application/xml";
    let inside = request.path.strip_prefix(&format!("/{}", state.bucket));
    let Some(name) = inside.map(|path| path.trim_start_matches('/')) else {
        return ("404 Not Found", XML, b"<Error><Code>NoSuchBucket</Code></Error>".to_vec());
    };
    let mut objects = state.objects.lock().unwrap();
    match (request.method.as_str(), name) {
        ("GET", "") => ("200 OK", XML, list(&objects, &request.query)),
        ("PUT", _) if state.refuses_uploads.load(Ordering::Relaxed) => {
            ("403 Forbidden", XML, b"<Error><Code>AccessDenied</Code></Error>".to_vec())
        }
        ("PUT", name) => {
            objects.insert(name.to_owned(), request.body.clone());
            ("200 OK", XML, Vec::new())
        }
        ("DELETE", name) => {
            objects.remove(name);
            ("204 No Content", XML, Vec::new())
        }
        (_, name) => match objects.get(name) {
            Some(content) => ("200 OK", "application/octet-stream", content.clone()),
            None => ("404 Not Found", XML, b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
        },
    }
}

fn list(objects: &BTreeMap<String, Vec<u8>>, query: &BTreeMap<String, String>) -> Vec<u8> {
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let (prefix, delimiter) = (text("prefix"), text("delimiter"));
    let (mut found, mut folders) = (String::new(), Vec::new());
    for (name, content) in objects.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let rest = &name[prefix.len()..];
        if let (false, Some(end)) = (delimiter.is_empty(), rest.find('/')) {
            folders.push(format!("{prefix}{}/", &rest[..end]));
            continue;
        }
        write!(
            found,
            "<Contents><Key>{name}</Key><LastModified>2026-11-22T10:00:00.000Z</LastModified>\
             <ETag>\"none-1\"</ETag><Size>{}</Size></Contents>",
            content.len()
        )
        .unwrap();
    }
    folders.dedup();
    for folder in folders {
        write!(found, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>").unwrap();
    }
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>").into_bytes()
}
