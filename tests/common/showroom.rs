//! The web side without a daemon: whatever a test puts on the board, asked as a browser or a program asks.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value;
use storekeeper::metrics::Metrics;
use storekeeper::report::{Bell, Board, Event, History, Inspection, Plans};
use storekeeper::web::{Door, DoorSettings, Links, LoginSettings, Sources, router};
use tower::ServiceExt;

/// What time it is here, in seconds since 1970.
pub const NOW: i64 = 1_795_354_556;

/// A text that would be a script if it could.
pub const HOSTILE: &str = "<script>alert('&\"')</script>";

pub struct Showroom {
    pub board: Board,
    pub history: History,
    pub plans: Plans,
    pub metrics: Metrics,
    pub links: Option<Links>,
    pub inside: Result<Inspection, String>,
    /// What the journal holds.
    pub journal: Result<Vec<Event>, String>,
    /// Whether other replicas write it too.
    pub journal_first: bool,
    /// How often somebody looked into a namespace.
    pub looks: Arc<AtomicUsize>,
    bell: Bell,
    router: OnceLock<Router>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Showroom {
    pub fn new() -> Self {
        let bell = Bell::default();
        let (board, history) = (Board::new(bell.clone()), History::new(bell.clone()));
        let (plans, metrics) = (Plans::new(bell.clone()), Metrics::new());
        let inside = Err("the cluster is not reached yet".to_owned());
        let journal = Ok(Vec::new());
        let (looks, router) = (Arc::default(), OnceLock::new());
        let journal_first = false;
        Self {
            board,
            history,
            plans,
            metrics,
            links: None,
            inside,
            journal,
            journal_first,
            looks,
            bell,
            router,
        }
    }

    /// Returns the routes, with what was set until they were asked for first; what is pushed and put later is shown anyway.
    pub fn router(&self) -> Router {
        self.router.get_or_init(|| self.build()).clone()
    }

    /// A door that lets everybody in, as often as they like.
    pub fn door(&self) -> Door {
        Door::new(DoorSettings {
            trusted_proxies: Vec::new(),
            login: LoginSettings::default(),
            rate_per_client: None,
            rate_total: None,
            meter: self.metrics.door(),
        })
    }

    fn build(&self) -> Router {
        let (inside, journal) = (self.inside.clone(), self.journal.clone());
        let looks = Arc::clone(&self.looks);
        let sources = Sources {
            board: self.board.reader(),
            metrics: self.metrics.reader(),
            plans: self.plans.reader(),
            history: self.history.reader(),
            older: Arc::new(move |_| Box::pin(std::future::ready(journal.clone()))),
            journal_first: self.journal_first,
            inspect: Arc::new(move |_| {
                looks.fetch_add(1, Ordering::SeqCst);
                Box::pin(std::future::ready(inside.clone()))
            }),
            links: self.links.clone(),
            clock: || NOW,
            process: 7,
        };
        router(sources, &self.bell, Router::new())
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = self.router().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[]).await
    }

    /// Asks as a browser does.
    pub async fn page(&self, path: &str) -> Answer {
        self.send("GET", path, &[("accept", "text/html,application/xhtml+xml;q=0.9")]).await
    }
}

/// Takes out of a page the names of its assets, which change with their content.
pub fn plain(page: &str) -> String {
    let mut shown = page.to_owned();
    for (stem, extension) in [("assets/style-", ".css"), ("assets/live-", ".js")] {
        while let Some(at) = shown.find(stem) {
            let end = at + shown[at..].find(extension).unwrap();
            shown.replace_range(at + stem.len() - 1..end, "");
        }
    }
    shown
}

/// Counts a character.
pub fn count(page: &str, character: char) -> usize {
    page.chars().filter(|found| *found == character).count()
}
