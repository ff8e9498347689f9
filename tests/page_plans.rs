//! Plans are shown as pages and JSON by their commit, and no text in them can become markup.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "common/plan_report.rs"]
mod plan_report;

#[path = "common/showroom.rs"]
mod showroom;

use axum::http::{HeaderMap, StatusCode};
use plan_report::{rich, with_everywhere};
use showroom::{HOSTILE, Showroom, count, plain};
use storekeeper::report::{PlanReport, Plans};

const COMMIT: &str = "1a2b3c4d5e6f7081920a1b2c3d4e5f6071829304";

async fn get(plans: &Plans, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let mut showroom = Showroom::new();
    showroom.plans = plans.clone();
    let answer = showroom.send("GET", path, &[("accept", accept)]).await;
    (answer.status, answer.headers, answer.body)
}

fn book(plans: impl IntoIterator<Item = PlanReport>) -> Plans {
    let book = Plans::default();
    plans.into_iter().for_each(|plan| book.put(plan));
    book
}

#[tokio::test]
async fn the_page_of_a_plan_is_as_reviewed() {
    let (status, headers, page) = get(&book([rich()]), &format!("/plans/{COMMIT}"), "text/html").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    insta::assert_snapshot!(plain(&page));
}

#[tokio::test]
async fn the_list_of_plans_is_as_reviewed() {
    let other = PlanReport { head: Some("2".repeat(40)), pull: None, ..rich() };
    let (_, _, page) = get(&book([rich(), other]), "/plans", "*/*").await;
    insta::assert_snapshot!(plain(&page));
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
        let (status, headers, body) = get(&book([rich()]), path, "application/json").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(headers["content-type"], "application/problem+json");
        let (status, headers, page) = get(&book([rich()]), path, "text/html").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert!(page.contains("Nothing is here"), "{page}");
        assert!(body.contains("/plans lists them") || path.ends_with("%ff"), "{body}");
    }
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
    assert!(!hostile.contains("<script>"));
    for character in ['<', '>', '"', '\''] {
        assert_eq!(count(&hostile, character), count(&harmless, character), "a text added a {character}");
    }
}
