//! A listener on the loopback interface that a forge delivers webhooks to.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::Value;

use crate::common::until;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub at: Instant,
    pub path: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Delivery {
    /// Returns a header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Returns the event and the more exact type of it, as Gitea names them.
    pub fn event(&self) -> (&str, &str) {
        (self.header("x-gitea-event"), self.header("x-gitea-event-type"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Keeps what is delivered. Its threads end with the process.
pub struct Hooks {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    deliveries: Mutex<Vec<Delivery>>,
    refuses: AtomicBool,
}

impl Hooks {
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hooks = Self { port, shared: Arc::default() };
        let shared = Arc::clone(&hooks.shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A forge that goes away in the middle delivers nothing.
                thread::spawn(move || serve(&stream, &shared));
            }
        });
        hooks
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Answers with an error from now on, or no longer.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Returns what was delivered so far, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.deliveries.lock().unwrap().clone()
    }

    /// Waits for a delivery that this accepts.
    pub fn until(&self, what: &str, accept: impl Fn(&Delivery) -> bool) -> Delivery {
        until(what, || {
            self.shared.deliveries.lock().unwrap().iter().find(|delivery| accept(delivery)).cloned()
        })
    }
}

/// Returns the HMAC-SHA256 of a body in hexadecimal digits.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let key = PKey::hmac(secret.as_bytes()).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    let bytes = signer.sign_oneshot_to_vec(body).unwrap();
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let at = Instant::now();
        let path = line.split(' ').nth(1)?.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        shared.deliveries.lock().unwrap().push(Delivery { at, path, headers, body });
        let refuses = shared.refuses.load(Ordering::Relaxed);
        let status = if refuses { "503 Service Unavailable\r\nContent-Length: 0" } else { "204 No Content" };
        stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).ok()?;
    }
}
