//! A shop at the wire: what the daemon's questions see of a Medusa store, and the faults that a real one does not
//! show on demand.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the shop answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As a shopper needs it.
    Open,
    /// As an ingress controller answers with nothing behind it.
    Away,
    /// Away from the next request on, for as long as [`HICCUP`], then open: shorter than any retry waits.
    Hiccup,
    /// Products have no price.
    Priceless,
    /// The Store API works, the pages fail.
    Pageless,
}

/// How long [`Mood::Hiccup`] lasts.
pub const HICCUP: Duration = Duration::from_millis(400);

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Visit {
    pub path: String,
    pub host: String,
    pub key: Option<String>,
    /// The status code it got.
    pub status: u16,
}

/// What the shop's threads share.
struct Inner {
    mood: Mood,
    /// When a hiccup began.
    hiccup: Option<Instant>,
    visits: Vec<Visit>,
}

/// A server on a free port that plays all shops.
pub struct Shop {
    pub address: String,
    inner: Arc<Mutex<Inner>>,
}

impl Shop {
    pub fn open(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inner = Arc::new(Mutex::new(Inner { mood, hiccup: None, visits: Vec::new() }));
        let shared = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream.unwrap(), &shared));
            }
        });
        Self { address, inner }
    }

    pub fn set(&self, mood: Mood) {
        let mut inner = self.inner.lock().unwrap();
        (inner.mood, inner.hiccup) = (mood, None);
    }

    pub fn visits(&self) -> Vec<Visit> {
        self.inner.lock().unwrap().visits.clone()
    }
}

fn serve(stream: &TcpStream, shared: &Mutex<Inner>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let mut visit = Visit {
        path: request.split(' ').nth(1).unwrap_or_default().to_owned(),
        host: String::new(),
        key: None,
        status: 0,
    };
    for line in lines.take_while(|line| !line.is_empty()) {
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("host") => value.clone_into(&mut visit.host),
            Some((name, value)) if name.eq_ignore_ascii_case("x-publishable-api-key") => {
                visit.key = Some(value.to_owned());
            }
            _ => {}
        }
    }
    let (status, kind, body) = {
        let mut inner = shared.lock().unwrap();
        let answer = answer(inner.mood_now(), &visit.path);
        visit.status = answer.0[..3].parse().unwrap();
        inner.visits.push(visit);
        answer
    };
    let mut stream = stream;
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

impl Inner {
    fn mood_now(&mut self) -> Mood {
        match self.mood {
            Mood::Hiccup if self.hiccup.get_or_insert_with(Instant::now).elapsed() < HICCUP => Mood::Away,
            Mood::Hiccup => Mood::Open,
            mood => mood,
        }
    }
}

fn answer(mood: Mood, path: &str) -> (&'static str, &'static str, &'static str) {
    const JSON: &str = "application/json; charset=utf-8";
    match (mood, path) {
        (Mood::Away, _) => ("503 Service Unavailable", "text/plain", "no endpoint"),
        (_, path) if path.starts_with("/store/regions") => {
            ("200 OK", JSON, r#"{"regions":[{"id":"reg_1"}]}"#)
        }
        (Mood::Priceless, path) if path.starts_with("/store/products?region_id=reg_1&") => (
            "200 OK",
            JSON,
            r#"{"products":[{"variants":[{"calculated_price":{"calculated_amount":null}}]}]}"#,
        ),
        (_, path) if path.starts_with("/store/products?region_id=reg_1&") => {
            ("200 OK", JSON, r#"{"products":[{"variants":[{"calculated_price":{"calculated_amount":15}}]}]}"#)
        }
        (Mood::Pageless, "/") => ("500 Internal Server Error", "text/html", "oh"),
        (_, "/") => ("200 OK", "text/html; charset=utf-8", "<!doctype html>"),
        _ => ("404 Not Found", "text/plain", "nothing here"),
    }
}
