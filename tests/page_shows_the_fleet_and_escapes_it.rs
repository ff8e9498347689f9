//! The page shows everything that is known of the fleet, and no text in it can become markup.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use storekeeper::metrics::Metrics;
use storekeeper::report::{Board, FleetReport, Picture, Plans, Step, StoreReport, StoreState};
use storekeeper::web::{WebState, router};
use tower::ServiceExt;

const NOW: i64 = 1_760_000_000;
const HOSTILE: &str = "<script>alert('&\"')</script>";
const ESCAPED: &str = "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;";

async fn page(picture: Picture) -> String {
    let board = Board::default();
    board.update(|shown| *shown = picture);
    let state = WebState {
        board: board.reader(),
        metrics: Metrics::new().reader(),
        plans: Plans::default().reader(),
        clock: || NOW,
    };
    let response = router(state, axum::Router::new())
        .oneshot(Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

/// Fills every text of a picture with its field's name behind `mark`. No `..`: a new field must get its canary.
fn marked(mark: &str) -> Picture {
    let text = |field: &str| format!("{mark}{field}");
    let some = |field: &str| Some(text(field));
    let store = StoreReport {
        name: "acme".parse().unwrap(),
        display_name: some("display_name"),
        state: StoreState::Provisioning,
        step: Some(Step::Database),
        reason: text("reason"),
        since: NOW - 61,
        url: Some(format!("https://acme.example.com/{mark}url")),
        revision: some("revision"),
        applied_revision: some("applied_revision"),
        created: Some(NOW - 7_320),
        last_error: some("last_error"),
        next_retry: Some(NOW + 30),
        answered: Some(NOW - 12),
        deletes_at: Some(NOW + 250),
    };
    let other = StoreReport { name: "other".parse().unwrap(), url: some("not_a_link"), ..store.clone() };
    let fleet = FleetReport {
        paused: Some("1 store is paused (acme); the next pause ends at 2026-12-01T00:00:00Z".to_owned()),
        window: None,
        revision: some("fleet_revision"),
        signer: some("signer"),
        distrust: some("distrust"),
        frozen: some("frozen"),
        removals_refused: some("removals_refused"),
        problems: vec![text("problem_1"), text("problem_2")],
        ready: false,
        not_asked: some("not_asked"),
        held_until: Some(1_760_000_005),
        admission: some("admission"),
        forge: Some(format!("3 to be told: {HOSTILE}")),
        journal: Some("the disk is full".to_owned()),
    };
    picture(fleet, [store, other])
}

fn picture(fleet: FleetReport, stores: impl IntoIterator<Item = StoreReport>) -> Picture {
    let mut picture = Picture::default();
    (picture.fleet, picture.stores) = (fleet, stores.into_iter().collect());
    picture
}

fn count(page: &str, character: char) -> usize {
    page.chars().filter(|found| *found == character).count()
}

/// Takes out what changes with the design alone.
fn without_style(page: &str) -> String {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    format!("{before}<style>…</style>{after}")
}

#[tokio::test]
async fn every_text_is_shown_and_none_can_become_markup() {
    let (hostile, harmless) = (page(marked(HOSTILE)).await, page(marked("canary-")).await);
    assert!(!hostile.contains("<script"));
    for field in [
        "display_name",
        "reason",
        "url",
        "not_a_link",
        "revision",
        "applied_revision",
        "last_error",
        "fleet_revision",
        "signer",
        "distrust",
        "frozen",
        "removals_refused",
        "problem_1",
        "problem_2",
    ] {
        assert!(hostile.contains(&format!("{ESCAPED}{field}")), "{field} is missing or not escaped");
    }
    for character in ['<', '>', '"', '\''] {
        assert_eq!(count(&hostile, character), count(&harmless, character), "a text added a {character}");
    }
}

#[tokio::test]
async fn only_http_addresses_become_links() {
    for (url, is_link) in [
        ("https://a.example", true),
        ("HTTP://a.example", true),
        ("javascript:alert(1)", false),
        (" https://a.example", false),
        ("data:text/html,x", false),
        ("ä", false),
    ] {
        let mut picture = marked("");
        for name in ["acme", "other"] {
            picture.stores.get_mut(&name.parse().unwrap()).unwrap().url = Some(url.to_owned());
        }
        let page = page(picture).await;
        assert!(page.contains(url));
        assert_eq!(page.contains(&format!("href=\"{url}\"")), is_link, "{url}");
    }
}

#[tokio::test]
async fn the_page_of_a_busy_fleet_is_as_reviewed() {
    let mut picture = marked("");
    let mut failed = StoreReport::new("broken".parse().unwrap(), NOW - 100);
    failed.enter(StoreState::Failed, "the chart has no such value".to_owned(), NOW - 5);
    failed.next_retry = Some(NOW - 1);
    picture.stores.insert(failed.name.clone(), failed);
    insta::assert_snapshot!(without_style(&page(picture).await));
}

#[tokio::test]
async fn the_page_without_stores_says_what_to_do() {
    let fleet = FleetReport { ready: true, ..FleetReport::default() };
    insta::assert_snapshot!(without_style(&page(picture(fleet, [])).await));
    let starting = page(Picture::default()).await;
    assert!(starting.contains("No stores seen yet") && !starting.contains("watched branch"));
}

#[tokio::test]
async fn the_policy_allows_the_style_sheet_on_the_page_and_nothing_else() {
    use base64::Engine;
    use sha2::Digest;
    let state = WebState {
        board: Board::default().reader(),
        metrics: Metrics::new().reader(),
        plans: Plans::default().reader(),
        clock: || NOW,
    };
    let response = router(state, axum::Router::new())
        .oneshot(Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let page = page(Picture::default()).await;
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(style));
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        )
    );
    assert!(!page.contains("src=") && !page.contains("url(") && !page.contains("style=\""));
}
