//! The pages that commit statuses link to: a commit store by store, and a store as a commit wanted it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use storekeeper::metrics::Metrics;
use storekeeper::report::{
    Board, Change, CommitBook, CommitHead, CommitReport, CommitState, Plans, StoreReport, StoreState,
    StoreVerdict,
};
use storekeeper::web::{WebState, router};
use tower::ServiceExt;

const NOW: i64 = 1_800_000_000;
const REVISION: &str = "1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b";
const HOSTILE: &str = "<script>alert('x')</script>\"";

fn board(words: &str) -> Board {
    let verdict = |change, state, reason: &str| StoreVerdict {
        change,
        state,
        reason: reason.to_owned(),
        since: NOW - 60,
    };
    let stores = BTreeMap::from([
        (
            "acme".parse().unwrap(),
            verdict(Change::Added, CommitState::Success, "READY at https://acme.example.com/"),
        ),
        ("bold".parse().unwrap(), verdict(Change::Changed, CommitState::Failure, words)),
        (
            "calm".parse().unwrap(),
            verdict(Change::Removed, CommitState::Pending, "kept for its grace period"),
        ),
    ]);
    let head =
        CommitHead { revision: REVISION.to_owned(), author: words.to_owned(), subject: words.to_owned() };
    let board = Board::default();
    board.update(|picture| {
        picture.commits = CommitBook::resume(vec![CommitReport::new(head, NOW - 90, None, stores)]);
        let mut acme = StoreReport::new("acme".parse().unwrap(), NOW - 90);
        acme.enter(StoreState::Failed, words.to_owned(), NOW - 30);
        acme.revision = Some(REVISION.to_owned());
        picture.stores.insert(acme.name.clone(), acme);
    });
    board
}

async fn get(board: &Board, path: &str) -> (StatusCode, String) {
    let (metrics, plans) = (Metrics::new().reader(), Plans::default().reader());
    let state = WebState { board: board.reader(), metrics, plans, clock: || NOW };
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router(state, axum::Router::new()).oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn without_style(page: &str) -> String {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    format!("{before}<style>…</style>{after}")
}

#[tokio::test]
async fn a_commit_is_shown_store_by_store() {
    let (status, page) = get(&board("no quota"), &format!("/commits/{REVISION}")).await;
    assert_eq!(status, StatusCode::OK);
    insta::assert_snapshot!(without_style(&page));
}

#[tokio::test]
async fn a_store_is_shown_as_it_is_and_as_the_commit_left_it() {
    let (status, page) = get(&board("no quota"), &format!("/stores/acme?revision={REVISION}")).await;
    assert_eq!(status, StatusCode::OK);
    insta::assert_snapshot!(without_style(&page));
    let (_, plain) = get(&board("no quota"), "/stores/acme").await;
    assert!(plain.contains("FAILED") && !plain.contains("With commit"), "{plain}");
    let (status, gone) = get(&board("no quota"), &format!("/stores/calm?revision={REVISION}")).await;
    assert!(status == StatusCode::OK && gone.contains("The store is gone"), "{gone}");
}

#[tokio::test]
async fn what_nobody_knows_is_not_found_and_says_where_to_look() {
    for path in ["/commits/0000000", "/stores/calm", "/stores/UPPER", "/stores/none?revision=1"] {
        let (status, problem) = get(&board("x"), path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(problem.contains("detail"), "{problem}");
    }
}

#[tokio::test]
async fn no_text_becomes_markup() {
    for path in [format!("/commits/{REVISION}"), format!("/stores/acme?revision={REVISION}")] {
        let (_, hostile) = get(&board(HOSTILE), &path).await;
        let (_, harmless) = get(&board("harmless"), &path).await;
        for character in ['<', '>', '"', '\''] {
            let count = |page: &str| page.chars().filter(|found| *found == character).count();
            assert_eq!(count(&hostile), count(&harmless), "{path}: a text added a {character}");
        }
    }
}
