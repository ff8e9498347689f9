//! Plans are shown as pages and JSON by their commit, and no text in them can become markup.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/plan_report.rs"]
mod plan_report;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use plan_report::{rich, with_everywhere};
use storekeeper::metrics::Metrics;
use storekeeper::report::{Board, PlanReport, Plans};
use storekeeper::web::{WebState, router};
use tower::ServiceExt;

const NOW: i64 = 1_795_354_556;
const COMMIT: &str = "1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304";
const HOSTILE: &str = "<script>alert('&\"')</script>";

async fn get(plans: &Plans, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let state = WebState {
        board: Board::default().reader(),
        metrics: Metrics::new().reader(),
        plans: plans.reader(),
        clock: || NOW,
    };
    let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
    let (head, body) = router(state, axum::Router::new()).oneshot(request).await.unwrap().into_parts();
    let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    (head.status, head.headers, body)
}

fn book(plans: impl IntoIterator<Item = PlanReport>) -> Plans {
    let book = Plans::default();
    plans.into_iter().for_each(|plan| book.put(plan));
    book
}

/// Takes out what changes with the design alone.
fn without_style(page: &str) -> String {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    format!("{before}<style>…</style>{after}")
}

#[tokio::test]
async fn the_page_of_a_plan_is_as_reviewed() {
    let (status, headers, page) = get(&book([rich()]), &format!("/plans/{COMMIT}"), "text/html").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert!(
        headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'; style-src 'sha256-")
    );
    assert!(!page.contains("src=") && !page.contains("url(") && !page.contains("style=\""));
    insta::assert_snapshot!(without_style(&page));
}

#[tokio::test]
async fn the_list_of_plans_is_as_reviewed() {
    let other = PlanReport { head: Some("2".repeat(40)), pull: None, ..rich() };
    let (_, _, page) = get(&book([rich(), other]), "/plans", "*/*").await;
    insta::assert_snapshot!(without_style(&page));
    let (status, _, page) = get(&Plans::default(), "/plans", "*/*").await;
    assert!(status == StatusCode::OK && page.contains("No plans yet"));
}

#[tokio::test]
async fn whoever_asks_for_json_gets_it() {
    let book = book([rich()]);
    for (path, accept) in
        [(COMMIT, "application/json"), ("1a2b3c4.json", "text/html"), (&COMMIT[..7], "application/json")]
    {
        let (status, headers, body) = get(&book, &format!("/plans/{path}"), accept).await;
        assert_eq!(
            (status, &headers["content-type"]),
            (StatusCode::OK, &"application/json".parse().unwrap())
        );
        assert_eq!(serde_json::from_str::<PlanReport>(&body).unwrap(), rich());
    }
    for accept in ["text/html,application/json;q=0.9", "*/*", ""] {
        let (_, headers, _) = get(&book, &format!("/plans/{COMMIT}"), accept).await;
        assert_eq!(headers["content-type"], "text/html; charset=utf-8", "{accept}");
    }
}

#[tokio::test]
async fn a_commit_without_a_plan_is_not_found_and_told_why() {
    for path in ["/plans/1a2b3c", "/plans/9999999", "/plans/9999999.json", "/plans/%ff"] {
        let (status, headers, body) = get(&book([rich()]), path, "text/html").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert!(body.contains("/plans lists them") || path.ends_with("%ff"), "{body}");
    }
}

fn count(page: &str, character: char) -> usize {
    page.chars().filter(|found| *found == character).count()
}

#[tokio::test]
async fn no_text_of_a_plan_can_become_markup() {
    let of = async |text: &str| {
        let plan = PlanReport { head: Some(COMMIT.to_owned()), ..with_everywhere(text) };
        let book = book([plan]);
        let (_, _, page) = get(&book, &format!("/plans/{COMMIT}"), "text/html").await;
        let (_, _, list) = get(&book, "/plans", "text/html").await;
        page + &list
    };
    let (hostile, harmless) = (of(HOSTILE).await, of("canary").await);
    assert!(!hostile.contains("<script"));
    for character in ['<', '>', '"', '\''] {
        assert_eq!(count(&hostile, character), count(&harmless, character), "a text added a {character}");
    }
}
