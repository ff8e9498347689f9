//! The JSON, the probes and the metrics: their shapes, and that nothing but reading is answered.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeMap;

#[path = "common/showroom.rs"]
mod showroom;

use axum::http::StatusCode;
use showroom::{Answer, NOW, Showroom};
use storekeeper::metrics::Metrics;
use storekeeper::report::{Board, Origin, Replica, Replicas, Step, StoreReport, StoreState};

const PATHS: [&str; 12] = [
    "/",
    "/new",
    "/commits",
    "/plans",
    "/api",
    "/api/v1/stores",
    "/api/v1/stores/acme",
    "/api/v1/events",
    "/healthz",
    "/readyz",
    "/metrics",
    "/metrics/summary",
];

async fn send(board: &Board, metrics: &Metrics, method: &str, path: &str) -> Answer {
    let mut showroom = Showroom::new();
    (showroom.board, showroom.metrics) = (board.clone(), metrics.clone());
    showroom.send(method, path, &[]).await
}

async fn get(board: &Board, path: &str) -> Answer {
    send(board, &Metrics::new(), "GET", path).await
}

/// A fleet of two: a store of which everything is known, and one just heard of.
fn fleet() -> Board {
    let board = Board::default();
    board.update(|picture| {
        picture.fleet.revision = Some("5f1c".repeat(10));
        picture.fleet.signer = Some("ada@example.com (SSH key SHA256:abc)".to_owned());
        picture.fleet.removals_refused = Some("4 of 6 stores would go".to_owned());
        picture.fleet.problems = vec!["stores/A B.yaml: not a store id".to_owned()];
        picture.fleet.ready = true;
        picture.fleet.cluster = Some("eu-1".to_owned());
        picture.fleet.elsewhere =
            std::sync::Arc::new([("there".parse().unwrap(), "us-1".parse().unwrap())].into());
        picture.fleet.replicas = Some(Replicas {
            here: "storekeeper-1".to_owned(),
            since: Some(NOW - 40),
            shards: 64,
            unkept: 0,
            all: [("storekeeper-0", 64), ("storekeeper-1", 0)]
                .map(|(name, shards)| (name.to_owned(), Replica { alive: true, shards }))
                .into(),
        });
        let acme = StoreReport {
            name: "acme".parse().unwrap(),
            display_name: Some("Acme".to_owned()),
            state: StoreState::Failed,
            step: Some(Step::Migration),
            reason: "Job/migrate: BackoffLimitExceeded".to_owned(),
            since: NOW - 30,
            url: Some("https://acme.example.com".to_owned()),
            revision: Some("5f1c".repeat(10)),
            applied_revision: Some("aaaa".repeat(10)),
            created: Some(NOW - 90_000),
            last_error: Some("Job/migrate: BackoffLimitExceeded".to_owned()),
            next_retry: Some(NOW + 60),
            answered: Some(NOW - 600),
            deletes_at: Some(NOW + 300),
            origin: Some(Origin {
                revision: "aaaa".repeat(10),
                author: "Ada".to_owned(),
                signer: None,
                pull: Some(12),
            }),
            cluster: Some("eu-1".to_owned()),
            keeper: Some("storekeeper-0".to_owned()),
        };
        let fresh = StoreReport::new("fresh".parse().unwrap(), NOW);
        picture.stores = [acme, fresh].into_iter().collect();
    });
    board
}

#[tokio::test]
async fn the_stores_come_with_the_fleet_in_the_promised_shape() {
    let answer = get(&fleet(), "/api/v1/stores").await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (StatusCode::OK, &"application/json".parse().unwrap())
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&answer.json()).unwrap());
}

#[tokio::test]
async fn one_store_looks_the_same_alone_as_in_the_list() {
    let (one, all) = (get(&fleet(), "/api/v1/stores/acme").await, get(&fleet(), "/api/v1/stores").await);
    assert_eq!(one.json(), all.json()["stores"][0]);
}

#[tokio::test]
async fn an_unknown_store_is_a_problem_that_says_why() {
    for (path, words) in [
        ("/api/v1/stores/nope", "stores/nope.yaml"),
        ("/api/v1/stores/there", "`stores/there.yaml` is for cluster us-1"),
        ("/api/v1/stores/..%2Fx", "not a DNS label"),
        ("/api/v1/stores/%FF", "UTF-8"),
        ("/api/v1/nothing", "/api/v1/nothing"),
        ("/metrics/", "/metrics/"),
    ] {
        let answer = get(&fleet(), path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
        let problem = answer.json();
        assert_eq!((&problem["status"], &problem["title"]), (&404.into(), &"Not Found".into()));
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    let early = get(&Board::default(), "/api/v1/stores/nope").await;
    assert!(early.body.contains("may still appear"));
}

#[tokio::test]
async fn nothing_but_reading_is_answered() {
    for path in PATHS {
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            let answer = send(&fleet(), &Metrics::new(), method, path).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.headers["allow"], "GET,HEAD", "{method} {path}");
        }
        let head = send(&fleet(), &Metrics::new(), "HEAD", path).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_protect_it() {
    for path in PATHS.into_iter().chain(["/nothing", "/api/v1/stores/nope"]) {
        let headers = get(&fleet(), path).await.headers;
        let kept = if headers.contains_key("etag") { "no-cache" } else { "no-store" };
        assert_eq!(headers["cache-control"], kept, "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; "));
    }
}

#[tokio::test]
async fn ready_means_that_the_first_pass_is_finished_and_healthy_that_the_process_runs() {
    let board = Board::default();
    let before = get(&board, "/readyz").await;
    assert_eq!(before.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(before.body.contains("first pass"));
    assert_eq!(get(&board, "/healthz").await.body, "ok");
    board.update(|picture| {
        picture.fleet.ready = true;
        picture.fleet.frozen = Some("git does not answer".to_owned());
    });
    assert_eq!(get(&board, "/readyz").await.status, StatusCode::OK, "an outage outside does not unready");
    assert_eq!(get(&board, "/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_metrics_are_shown_as_text_and_summed_up_as_json() {
    let metrics = Metrics::new();
    metrics.store_created();
    metrics.set_states(&BTreeMap::from([(StoreState::Ready, 2), (StoreState::Failed, 1)]));
    metrics.provisioned(std::time::Duration::from_secs(70));
    let text = send(&fleet(), &metrics, "GET", "/metrics").await;
    assert_eq!(text.headers["content-type"], "text/plain; version=0.0.4");
    assert!(text.body.contains("\nstores_created_total 1\n"));
    let summary = send(&fleet(), &metrics, "GET", "/metrics/summary").await;
    insta::assert_snapshot!(serde_json::to_string_pretty(&summary.json()).unwrap());
}
