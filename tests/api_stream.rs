//! The stream of changes: what changes comes as it does, and a reader that comes back misses nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/plan_report.rs"]
mod plan_report;
#[path = "common/showroom.rs"]
mod showroom;

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures::StreamExt;
use serde_json::Value;
use showroom::{HOSTILE, NOW, Showroom};
use storekeeper::report::{Event, EventKind, StoreReport, StoreState};
use tower::ServiceExt;

/// One message of a stream.
#[derive(Debug, Default, Clone)]
struct Message {
    name: String,
    id: Option<String>,
    data: Value,
}

struct Stream {
    body: BodyDataStream,
    text: String,
}

impl Stream {
    async fn open(showroom: &Showroom, path: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = showroom.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(!response.headers().contains_key("content-encoding"), "a packed stream would come late");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Waits for the next message; that the stream is there, which it says by itself, is none.
    async fn next(&mut self) -> Message {
        tokio::time::timeout(Duration::from_secs(20), self.message()).await.expect("a message comes")
    }

    async fn message(&mut self) -> Message {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let whole: String = self.text.drain(..end + 2).collect();
                if whole.starts_with(':') {
                    continue;
                }
                let mut message = Message::default();
                for line in whole.lines() {
                    match line.split_once(": ").or_else(|| line.split_once(':')) {
                        Some(("event", name)) => name.clone_into(&mut message.name),
                        Some(("id", id)) => message.id = Some(id.to_owned()),
                        Some(("data", data)) => message.data = serde_json::from_str(data).unwrap(),
                        _ => {}
                    }
                }
                return message;
            }
            let chunk = self.body.next().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Collects messages up to the one with an id, which ends a batch.
    async fn batch(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let message = self.next().await;
            let ends = message.id.is_some();
            all.push(message);
            if ends {
                return all;
            }
        }
    }
}

fn names(batch: &[Message]) -> Vec<&str> {
    batch.iter().map(|message| message.name.as_str()).collect()
}

fn put(showroom: &Showroom, name: &str, state: StoreState, words: &str) {
    showroom.board.update(|picture| {
        let id = name.parse().unwrap();
        let report = picture.stores.get_or_insert_with(&id, || StoreReport::new(id.clone(), NOW));
        report.enter(state, words.to_owned(), NOW);
    });
}

#[tokio::test]
async fn what_changes_is_told_once_and_in_whole() {
    let showroom = Showroom::new();
    put(&showroom, "acme", StoreState::Ready, "before anybody looked");
    let mut stream = Stream::open(&showroom, "/api/v1/stream", None).await;
    let told = tokio::spawn(async move { (stream.batch().await, stream) });
    // It waits for the first change, whenever that comes.
    tokio::task::yield_now().await;
    put(&showroom, "bold", StoreState::Failed, &format!("two\nlines and {HOSTILE}\r\nevent: gone"));
    showroom.history.push(Event::new(NOW, EventKind::Deleted, Some("old".parse().unwrap()), "gone"));
    let (batch, mut stream) = told.await.unwrap();
    let store = batch.iter().find(|message| message.name == "store").unwrap();
    assert_eq!((&store.data["name"], &store.data["state"]), (&"bold".into(), &"FAILED".into()));
    assert!(store.data["reason"].as_str().unwrap().contains("event: gone"), "a text is a text: {store:?}");
    assert!(!names(&batch).contains(&"gone"), "{batch:?}");
    let mut seen = names(&batch).contains(&"event");
    while !seen {
        seen = names(&stream.batch().await).contains(&"event");
    }
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_and_nothing_twice() {
    let showroom = Showroom::new();
    for name in ["acme", "calm", "gone"] {
        put(&showroom, name, StoreState::Ready, "so");
    }
    showroom.history.push(Event::new(NOW, EventKind::Applied, None, "so"));
    let mut stream = Stream::open(&showroom, "/api/v1/stream", Some("7-0-0")).await;
    let first = stream.batch().await;
    assert_eq!(
        names(&first),
        ["store", "store", "store", "event"],
        "all that has changed since the beginning"
    );
    let place = first.last().unwrap().id.clone().unwrap();
    drop(stream);
    put(&showroom, "acme", StoreState::Degraded, "worse");
    put(&showroom, "acme", StoreState::Failed, "bad");
    showroom.board.update(|picture| picture.stores.remove(&"gone".parse().unwrap()));
    let mut stream = Stream::open(&showroom, "/api/v1/stream", Some(&place)).await;
    let missed = stream.batch().await;
    assert_eq!(names(&missed), ["gone", "store"]);
    assert_eq!((&missed[0].data["name"], &missed[1].data["state"]), (&"gone".into(), &"FAILED".into()));
}

#[tokio::test]
async fn who_missed_a_lot_gets_all_of_it_at_once() {
    let showroom = Showroom::new();
    for at in 0..2_500 {
        showroom.history.push(Event::new(NOW + at, EventKind::Applied, None, at.to_string()));
    }
    let mut stream = Stream::open(&showroom, "/api/v1/stream", Some("7-0-0")).await;
    let mut told = Vec::new();
    while told.len() < 2_500 {
        told.extend(stream.batch().await.into_iter().map(|message| message.data["words"].clone()));
    }
    assert_eq!(told, (0..2_500).map(|at| Value::from(at.to_string())).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_comes_back_to_another_process_or_too_late_is_told_to_begin_anew() {
    let showroom = Showroom::new();
    put(&showroom, "acme", StoreState::Ready, "so");
    for place in ["8-1-1", "nonsense", ""] {
        let mut stream = Stream::open(&showroom, "/api/v1/stream", Some(place)).await;
        let message = stream.next().await;
        assert_eq!((message.name.as_str(), message.id.is_some()), ("reset", true), "{place}");
    }
    // More happened than is remembered.
    for at in 0..20_005 {
        showroom.history.push(Event::new(NOW + at, EventKind::Applied, None, "so"));
    }
    let mut stream = Stream::open(&showroom, "/api/v1/stream", Some("7-0-1")).await;
    assert_eq!(stream.next().await.name, "reset");
}

#[tokio::test]
async fn an_open_page_is_sent_what_looks_otherwise_and_only_that() {
    let showroom = Showroom::new();
    for name in ["acme", "bold"] {
        put(&showroom, name, StoreState::Ready, "so");
    }
    let mut stream = Stream::open(&showroom, "/live?path=", None).await;
    let all = stream.next().await.data;
    assert_eq!(all["rows"].as_object().unwrap().len(), 2, "a page of another version gets everything");
    put(&showroom, "bold", StoreState::Failed, "no");
    let news = stream.next().await.data;
    assert_eq!(news["rows"].as_object().unwrap().keys().collect::<Vec<_>>(), ["store-bold"]);
    assert!(
        news["order"].is_null() && news["regions"]["counts"].is_string() && news["regions"]["head"].is_null(),
        "{news}"
    );
    for unknown in ["/live?path=api", "/live?path=stores/UPPER", "/live?path=http://elsewhere"] {
        assert_eq!(showroom.get(unknown).await.status.as_u16(), 404, "{unknown}");
    }
}

/// Loads a page and returns the version that it shows.
async fn load(showroom: &Showroom, path: &str) -> String {
    let page = showroom.page(&format!("/{path}")).await.body;
    page.split("data-live=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// Loads a page, and opens the stream that keeps it up to date, as its script does.
async fn open_page(showroom: &Showroom, path: &str) -> Stream {
    let version = load(showroom, path).await;
    Stream::open(showroom, &format!("/live?path={path}&version={version}"), None).await
}

#[tokio::test]
async fn a_page_that_was_just_loaded_is_sent_nothing_that_it_shows() {
    let showroom = Showroom::new();
    put(&showroom, "acme", StoreState::Ready, "so");
    let mut streams = Vec::new();
    for path in ["", "?state=READY", "commits", "plans"] {
        streams.push((path, open_page(&showroom, path).await));
    }
    put(&showroom, "bold", StoreState::Ready, "so");
    for (path, stream) in &mut streams {
        if matches!(*path, "commits" | "plans") {
            continue;
        }
        let news = stream.next().await.data;
        assert_eq!(news["rows"].as_object().unwrap().keys().collect::<Vec<_>>(), ["store-bold"], "{path}");
    }
    // Nothing else moves with a plan.
    showroom.plans.put(plan_report::rich());
    let (_, plans) = streams.last_mut().unwrap();
    let news = plans.next().await.data;
    assert!(news["regions"]["list"].as_str().unwrap().contains("1a2b3c4d"), "{news}");
    // What is inside a namespace has no version, so that alone is sent again.
    let mut store = open_page(&showroom, "stores/acme").await;
    let news = store.next().await.data;
    assert_eq!(news["regions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["inside"]);
}

#[tokio::test]
async fn what_moves_between_a_page_and_its_stream_is_sent_at_once() {
    let showroom = Showroom::new();
    put(&showroom, "acme", StoreState::Ready, "so");
    let moves: [(&str, &str, &dyn Fn()); 3] = [
        ("", "counts", &|| put(&showroom, "bold", StoreState::Ready, "so")),
        ("plans", "list", &|| showroom.plans.put(plan_report::rich())),
        ("stores/acme", "timeline", &|| {
            let acme = "acme".parse().unwrap();
            showroom.history.push(Event::new(NOW, EventKind::Applied, Some(acme), "so"));
        }),
    ];
    for (path, region, happens) in moves {
        let version = load(&showroom, path).await;
        happens();
        let address = format!("/live?path={path}&version={version}");
        let news = Stream::open(&showroom, &address, None).await.next().await.data;
        assert!(news["regions"][region].is_string(), "{path}: {news}");
    }
}

#[tokio::test]
async fn a_page_is_drawn_once_for_all_who_have_it_open_and_no_more_when_they_are_gone() {
    let showroom = Showroom::new();
    put(&showroom, "acme", StoreState::Ready, "so");
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = Stream::open(&showroom, "/live?path=stores/acme", None).await;
        assert!(stream.next().await.data["regions"]["now"].is_string());
        streams.push(stream);
    }
    let looks = || showroom.looks.load(std::sync::atomic::Ordering::SeqCst);
    let begun = std::time::Instant::now();
    let before = looks();
    for at in 0..3 {
        put(&showroom, "acme", StoreState::Failed, &format!("no {at}"));
        for stream in &mut streams {
            let news = stream.next().await.data;
            assert!(news["regions"]["now"].as_str().unwrap().contains(&format!("no {at}")), "{news}");
        }
    }
    // Pods move without a word, so the page of a store is drawn every 5 seconds, too.
    let most = 3 + usize::try_from(begun.elapsed().as_secs() / 5).unwrap();
    assert!(looks() - before <= most, "{} drawings", looks() - before);
    drop(streams);
    put(&showroom, "acme", StoreState::Ready, "so");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let before = looks();
    put(&showroom, "acme", StoreState::Failed, "no");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(looks(), before, "nobody has it open");
    let mut again = Stream::open(&showroom, "/live?path=stores/acme", None).await;
    assert!(again.next().await.data["regions"]["now"].as_str().unwrap().contains("no"));
}
