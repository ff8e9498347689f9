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
    /// Of many products the last one has a price.
    PricedLate,
    /// Products are of a shape that nobody knows.
    Odd,
    /// Products can't be had, as without a database.
    Databaseless,
    /// The publishable key is unknown.
    Keyless,
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

fn answer(mood: Mood, path: &str) -> (&'static str, &'static str, String) {
    const JSON: &str = "application/json; charset=utf-8";
    let json = |status, body: &str| (status, JSON, body.to_owned());
    let text = |status, kind, body: &str| (status, kind, body.to_owned());
    let (place, _) = path.split_once('?').unwrap_or((path, ""));
    match (mood, place) {
        (Mood::Away, _) => text("503 Service Unavailable", "text/plain", "no endpoint"),
        (Mood::Keyless, place) if place.starts_with("/store/") => {
            json("400 Bad Request", r#"{"type":"not_allowed"}"#)
        }
        (_, "/store/regions") => json("200 OK", r#"{"regions":[{"id":"reg_1"}]}"#),
        (Mood::Databaseless, "/store/products") => json("500 Internal Server Error", "{}"),
        (Mood::Odd, "/store/products") => json("200 OK", "[]"),
        (_, "/store/products") if path.contains("?region_id=reg_1&") => json("200 OK", &products(mood, path)),
        (Mood::Pageless, "/") => text("500 Internal Server Error", "text/html", "oh"),
        (_, "/") => text("200 OK", "text/html; charset=utf-8", "<!doctype html>"),
        _ => text("404 Not Found", "text/plain", "nothing here"),
    }
}

/// Lists as many products as are asked for, of eight.
fn products(mood: Mood, path: &str) -> String {
    let limit =
        path.split("limit=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok()).unwrap_or(8);
    let price = |number: usize| match mood {
        Mood::Priceless => "null",
        Mood::PricedLate if number < 7 => "null",
        _ => "15",
    };
    let all = (0..8).take(limit).map(|number| {
        format!(r#"{{"variants":[{{"calculated_price":{{"calculated_amount":{}}}}}]}}"#, price(number))
    });
    format!(r#"{{"products":[{}]}}"#, all.collect::<Vec<_>>().join(","))
}
