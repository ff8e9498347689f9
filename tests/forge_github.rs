//! GitHub: statuses, pull requests, comments and annotations, as a token and as a GitHub App, each request and answer
//! held against GitHub's OpenAPI description.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use fake_forge::{Desk, Fault, HEAD, MAIN, Reply, TOKEN, note, status};
use fake_github::{App, GitHub, Pull, refusal};
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use serde_json::json;
use storekeeper::forge::{Annotated, Forge, ForgeError, ForgeKind, Login};
use storekeeper::report::CommitState::{Failure, Pending, Success};

#[path = "common/fake_forge.rs"]
mod fake_forge;
#[path = "common/fake_github.rs"]
mod fake_github;
#[path = "common/openapi.rs"]
mod openapi;

const MARKER: &str = "<!-- storekeeper:plan -->";

fn start() -> (GitHub, Desk, Forge) {
    let (github, desk) = (GitHub::start(), Desk::new());
    let forge = desk.forge(ForgeKind::GitHub, &github.server.url(), "acme/stores");
    (github, desk, forge)
}

/// A forge whose login is an App that is installed on the repository.
fn start_app() -> (GitHub, Desk, Forge) {
    let (github, desk, _) = start();
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let key_file = desk.folder.path().join("app.pem");
    std::fs::write(&key_file, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    github.state().app = Some(App {
        id: "Iv23canaryid".to_owned(),
        slug: "shops".to_owned(),
        key: PKey::public_key_from_pem(&key.public_key_to_pem().unwrap()).unwrap(),
        clock: desk.clock.clone(),
        tokens: 0,
    });
    let mut settings = desk.settings(ForgeKind::GitHub, &github.server.url(), "acme/stores");
    settings.login = Login::App { id: "Iv23canaryid".to_owned(), key_file };
    let forge = desk.open(settings);
    (github, desk, forge)
}

#[tokio::test]
async fn a_status_is_set_with_its_context_and_where_to_read_more() {
    let (github, _desk, forge) = start();
    for state in [Pending, Failure, Success] {
        forge.set_status(HEAD, &status("storekeeper/acme", state, "applying")).await.unwrap();
    }
    let statuses = github.state().statuses.clone();
    let states: Vec<_> = statuses.iter().map(|status| status["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["pending", "failure", "success"]);
    assert_eq!(
        statuses[0],
        json!({ "sha": HEAD, "state": "pending", "context": "storekeeper/acme", "description": "applying",
            "target_url": "https://shops.example/stores/acme" })
    );
    assert_eq!(forge.name(), "github acme/stores");
}

#[tokio::test]
async fn a_description_of_any_length_fits() {
    let (github, _desk, forge) = start();
    let long = "ä\u{1f6d2} ".repeat(200);
    forge.set_status(HEAD, &status("storekeeper/acme", Failure, &long)).await.unwrap();
    let sent = github.state().statuses[0]["description"].as_str().unwrap().to_owned();
    assert!(sent.chars().count() <= 140 && sent.ends_with('…'), "{sent}");
}

#[tokio::test]
async fn the_same_status_again_after_a_lost_answer_leaves_the_same_verdict() {
    let (github, _desk, forge) = start();
    github.server.fault("POST", "/statuses/", Fault::LoseAnswer);
    let verdict = status("storekeeper/all", Success, "3 of 3");
    let lost = forge.set_status(HEAD, &verdict).await.unwrap_err();
    assert!(matches!(lost, ForgeError::Unavailable { .. }) && !lost.is_final(), "{lost}");
    forge.set_status(HEAD, &verdict).await.unwrap();
    assert!(github.state().statuses.iter().all(|status| status["state"] == "success"));
}

#[tokio::test]
async fn the_thousandth_status_of_a_context_is_the_last_and_the_refusal_is_final() {
    let (github, _desk, forge) = start();
    let there = json!({ "sha": HEAD, "context": "Storekeeper/acme", "state": "success" });
    github.state().statuses = vec![there; 999];
    forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap();
    let error = forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap_err();
    assert!(error.is_final() && error.retry_after().is_none());
    assert!(error.to_string().contains("maximum number of statuses"), "{error}");
    forge.set_status(MAIN, &status("storekeeper/acme", Success, "")).await.unwrap();
    let unknown = forge.set_status(&"dead".repeat(10), &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(unknown, ForgeError::Refused { status: 422, .. }), "{unknown}");
}

#[tokio::test]
async fn what_is_no_commit_is_never_sent() {
    let (github, _desk, forge) = start();
    for bad in ["", "main", "1111", "../../../user", &"g".repeat(40), &"1".repeat(41)] {
        let error = forge.set_status(bad, &status("x", Success, "")).await.unwrap_err();
        assert!(matches!(error, ForgeError::Unfit { .. }) && error.is_final(), "{error}");
    }
    assert!(github.server.calls().is_empty());
}

#[tokio::test]
async fn open_pull_requests_come_newest_first_over_all_pages() {
    let (github, _desk, forge) = start();
    github.state().pulls = (1..=230).map(Pull::new).collect();
    github.state().pulls[3].state = "closed";
    github.state().pulls[4].base = "next".to_owned();
    let pulls = forge.open_pulls("main").await.unwrap();
    let numbers: Vec<_> = pulls.iter().map(|pull| pull.number).collect();
    let expected: Vec<_> = (1..=230).rev().filter(|number| ![4, 5].contains(number)).collect();
    assert_eq!(numbers, expected);
    assert_eq!(github.server.calls().len(), 3);
}

#[tokio::test]
async fn at_most_a_thousand_pull_requests_are_read() {
    let (github, _desk, forge) = start();
    github.state().pulls = (1..=1_150).map(Pull::new).collect();
    let pulls = forge.open_pulls("main").await.unwrap();
    assert_eq!((pulls.len(), pulls[0].number), (1_000, 1_150));
    assert_eq!(github.server.calls().len(), 10);
}

#[tokio::test]
async fn a_next_page_on_another_host_is_asked_for_on_ours() {
    let (github, _desk, forge) = start();
    github.state().links = Some("https://elsewhere.example".to_owned());
    github.state().pulls = (1..=101).map(Pull::new).collect();
    assert_eq!(forge.open_pulls("main").await.unwrap().len(), 101);
}

#[tokio::test]
async fn a_pull_request_says_what_is_needed_to_fetch_and_judge_it() {
    let (github, _desk, forge) = start();
    let fork = Pull { repository: Some(9), ..Pull::new(8) };
    let closed = Pull { state: "closed", ..Pull::new(9) };
    github.state().pulls.extend([fork, closed]);
    let pull = forge.pull(7).await.unwrap().unwrap();
    assert_eq!((pull.number, pull.head.as_str(), pull.base.as_str()), (7, HEAD, "main"));
    assert_eq!(pull.reference.as_deref(), Some("refs/pull/7/head"));
    assert_eq!((pull.author.as_str(), pull.fork, pull.title.as_str()), ("alice", false, "Pull request 7"));
    assert_eq!(pull.url, "https://github.com/acme/stores/pull/7");
    assert!(forge.pull(8).await.unwrap().unwrap().fork);
    assert_eq!(forge.pull(9).await.unwrap(), None, "it is closed");
    assert_eq!(forge.pull(10).await.unwrap(), None, "there is none");
}

#[tokio::test]
async fn a_pull_request_whose_fork_and_author_are_gone_is_a_strangers() {
    let (github, _desk, forge) = start();
    // The description has no word for it, but GitHub answers so.
    github.state().known = vec!["answer/0/head/repo"];
    github.state().pulls = vec![Pull { author: None, repository: None, ..Pull::new(7) }];
    let pull = forge.open_pulls("main").await.unwrap().remove(0);
    assert_eq!((pull.author.as_str(), pull.fork), ("", true));
    github.server.calls();
    assert!(!forge.may_write(&pull).await.unwrap());
    assert!(github.server.calls().is_empty());
}

#[tokio::test]
async fn only_who_may_push_may_write() {
    let (github, _desk, forge) = start();
    let mut pull = forge.pull(7).await.unwrap().unwrap();
    for (permission, may) in [("admin", true), ("write", true), ("read", false), ("none", false)] {
        github.state().permissions.insert("alice".to_owned(), permission);
        assert_eq!(forge.may_write(&pull).await.unwrap(), may, "{permission}");
    }
    github.server.calls();
    pull.author = "../../pulls/7?x=#".to_owned();
    assert!(!forge.may_write(&pull).await.unwrap());
    let asked = github.server.calls();
    assert_eq!(asked, ["GET /repos/acme/stores/collaborators/..%2F..%2Fpulls%2F7%3Fx=%23/permission"]);
}

#[tokio::test]
async fn one_comment_is_made_edited_and_left_alone() {
    let (github, _desk, forge) = start();
    github.state().comment((5, "alice"), "first!");
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(github.state().bodies(), ["first!", "<!-- storekeeper:plan -->\r\ntwo stores"]);
    github.server.calls();
    forge.put_comment(7, MARKER, "two stores\n").await.unwrap();
    assert_eq!(github.server.changes(), [""; 0], "it says so already");
    forge.put_comment(7, MARKER, "three stores").await.unwrap();
    assert_eq!(github.server.changes().len(), 1);
    assert_eq!(github.state().bodies(), ["first!", "<!-- storekeeper:plan -->\r\nthree stores"]);
}

#[tokio::test]
async fn a_strangers_comment_with_our_marker_is_not_ours() {
    let (github, _desk, forge) = start();
    github.state().comment((5, "alice"), "<!-- storekeeper:plan -->\neverything is fine");
    github.state().comment((41, "keeper"), "I saw <!-- storekeeper:plan -->");
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(github.state().bodies()[2], "<!-- storekeeper:plan -->\r\ntwo stores");
}

#[tokio::test]
async fn of_several_comments_of_ours_the_oldest_is_edited_whatever_page_it_is_on() {
    let (github, _desk, forge) = start();
    for _ in 0..130 {
        github.state().comment((5, "alice"), "me too");
    }
    for text in ["older", "newer"] {
        github.state().comment((41, "keeper"), &format!("{MARKER}\n{text}"));
    }
    forge.put_comment(7, MARKER, "now").await.unwrap();
    let bodies = github.state().bodies().join("|");
    assert!(bodies.ends_with("-->\r\nnow|<!-- storekeeper:plan -->\nnewer"), "{bodies}");
}

#[tokio::test]
async fn a_comment_whose_answer_was_lost_is_found_again() {
    let (github, _desk, forge) = start();
    github.server.fault("POST", "/comments", Fault::LoseAnswer);
    assert!(forge.put_comment(7, MARKER, "two stores").await.is_err());
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(github.state().comments.len(), 1);
}

#[tokio::test]
async fn a_comment_that_is_too_long_is_cut() {
    let (github, _desk, forge) = start();
    forge.put_comment(7, MARKER, &"a long line\n".repeat(9_000)).await.unwrap();
    assert!(github.state().bodies()[0].contains("cut"));
}

#[tokio::test]
async fn annotations_of_a_user_become_one_review_at_lines_of_the_diff() {
    let (github, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes = [
        note("stores/acme.yaml", 3, "unknown field `replica`\n@everybody ```"),
        note("stores/acme.yaml", 21, "not in the diff"),
        note("stores/other.yaml", 1, "not in the pull request"),
        note("stores/acme.yaml", 20, "the last line"),
        note("stores/acme.yaml", 20, "the last line"),
    ];
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 2, left_out: 2, changed: true });
    let comments = github.state().line_comments.clone();
    assert_eq!(comments.iter().map(|comment| comment.line.unwrap()).collect::<Vec<_>>(), [3, 20]);
    let body = &comments[0].body;
    assert!(body.ends_with("````text\nunknown field `replica`\n@everybody ```\n````"), "{body}");
    assert_eq!(github.state().reviews, 1);

    github.server.calls();
    let again = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(again, Annotated { shown: 2, left_out: 2, changed: false });
    assert_eq!(github.server.changes(), [""; 0]);
}

#[tokio::test]
async fn an_annotation_that_is_shown_still_is_not_put_again_and_an_outdated_one_is() {
    let (github, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes = [note("stores/acme.yaml", 3, "one"), note("stores/acme.yaml", 4, "two")];
    forge.annotate(&pull, &notes).await.unwrap();
    github.state().line_comments[0].line = None;
    let pull = storekeeper::forge::Pull { head: MAIN.to_owned(), ..pull };
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 2, left_out: 0, changed: true });
    let lines: Vec<_> = github.state().line_comments.iter().map(|comment| comment.line).collect();
    assert_eq!(lines, [None, Some(4), Some(3)]);
}

#[tokio::test]
async fn a_review_whose_answer_was_lost_is_not_made_twice() {
    let (github, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes = [note("stores/acme.yaml", 3, "one")];
    github.server.fault("POST", "/reviews", Fault::LoseAnswer);
    assert!(forge.annotate(&pull, &notes).await.is_err());
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 1, left_out: 0, changed: false });
    assert_eq!(github.state().line_comments.len(), 1);
}

#[tokio::test]
async fn when_github_refuses_a_line_the_other_annotations_are_put_all_the_same() {
    let (github, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes = [
        note("stores/acme.yaml", 3, "one"),
        note("stores/acme.yaml", 15, "two"),
        note("stores/acme.yaml", 4, "three"),
    ];
    let files = github.state().files.clone();
    github.server.fault("POST", "/reviews", Fault::Instead(refusal(422, "Unprocessable Entity")));
    // The diff has become shorter since it was read.
    let short = vec![("stores/acme.yaml".to_owned(), Some(fake_forge::added(10)))];
    let answer = json!([{ "sha": HEAD, "filename": "stores/acme.yaml", "status": "added", "additions": 20,
        "deletions": 0, "changes": 20, "blob_url": "https://github.com/x", "raw_url": "https://github.com/x",
        "contents_url": "https://github.com/x", "patch": files[0].1 }]);
    github.server.fault("GET", "/files", Fault::Instead(Reply::json(200, &answer)));
    github.state().files = short;
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 2, left_out: 1, changed: true });
    let lines: Vec<_> = github.state().line_comments.iter().map(|comment| comment.line.unwrap()).collect();
    assert_eq!(lines, [3, 4]);
}

#[tokio::test]
async fn a_review_has_at_most_fifty_comments() {
    let (github, _desk, forge) = start();
    github.state().files[0].1 = Some(fake_forge::added(80));
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes: Vec<_> = (1..=70).map(|line| note("stores/acme.yaml", line, "wrong")).collect();
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 50, left_out: 20, changed: true });
    assert_eq!(github.state().line_comments.len(), 50);
    assert_eq!(forge.annotate(&pull, &[]).await.unwrap(), Annotated::default());
}

#[tokio::test]
async fn an_app_logs_in_with_a_signed_token_and_keeps_what_it_gets_until_shortly_before_its_end() {
    let (github, desk, forge) = start_app();
    for _ in 0..3 {
        forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap();
    }
    assert_eq!(github.state().app.as_ref().unwrap().tokens, 1);
    desk.clock.fetch_add(3600 - 301, Ordering::Relaxed);
    forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap();
    assert_eq!(github.state().app.as_ref().unwrap().tokens, 1);
    desk.clock.fetch_add(2, Ordering::Relaxed);
    forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap();
    assert_eq!(github.state().app.as_ref().unwrap().tokens, 2);
}

#[tokio::test]
async fn many_calls_at_once_of_an_app_need_one_token() {
    let (github, _desk, forge) = start_app();
    let verdict = status("storekeeper/acme", Success, "");
    let calls = (0..8).map(|_| forge.set_status(HEAD, &verdict));
    for result in futures::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(github.state().app.as_ref().unwrap().tokens, 1);
}

#[tokio::test]
async fn an_apps_token_that_is_refused_is_replaced_by_the_next_call() {
    let (github, _desk, forge) = start_app();
    forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap();
    github.state().users.retain(|token, _| !token.starts_with("ghs_"));
    let error = forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::LoginRefused { status: 401, .. }) && !error.is_final());
    forge.set_status(HEAD, &status("storekeeper/acme", Success, "")).await.unwrap();
}

#[tokio::test]
async fn an_app_with_a_wrong_key_or_no_installation_says_what_is_wrong() {
    let (github, desk, forge) = start_app();
    github.server.fault("GET", "/installation", Fault::Instead(refusal(404, "Not Found")));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Refused { status: 404, .. }) && !error.is_final(), "{error}");
    let key_file = desk.folder.path().join("app.pem");
    let other = Rsa::generate(2048).unwrap().private_key_to_pem().unwrap();
    std::fs::write(&key_file, other).unwrap();
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(error.to_string().contains("the signature is wrong"), "{error}");
    std::fs::write(&key_file, "canary").unwrap();
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Settings { .. }) && error.to_string().contains("app.pem"), "{error}");
    assert!(!error.to_string().contains("canary"));
}

#[tokio::test]
async fn an_app_finds_its_own_comment_by_its_bots_name() {
    let (github, _desk, forge) = start_app();
    github.state().comment((5, "shops"), &format!("{MARKER}\nnot the bot"));
    github.state().comment((77, "shops[bot]"), &format!("{MARKER}\nold"));
    forge.put_comment(7, MARKER, "new").await.unwrap();
    assert_eq!(github.state().bodies()[1], "<!-- storekeeper:plan -->\r\nnew");
    assert_eq!(github.state().comments.len(), 2);
}

#[tokio::test]
async fn annotations_of_an_app_become_one_check_run_in_batches_of_fifty() {
    let (github, _desk, forge) = start_app();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes: Vec<_> = (1..=120).map(|line| note("stores/acme.yaml", line, "wrong\u{1b}[1m")).collect();
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 120, left_out: 0, changed: true });
    let runs = github.state().runs.clone();
    assert_eq!((runs.len(), runs[0].annotations.len()), (1, 120));
    assert_eq!(runs[0].value["status"], "completed");
    assert_eq!(runs[0].value["conclusion"], "failure");
    assert_eq!(runs[0].value["name"], "storekeeper/plan files");
    assert_eq!(
        runs[0].annotations[119],
        json!({ "path": "stores/acme.yaml", "start_line": 120, "end_line": 120, "annotation_level": "failure",
            "message": "wrong [1m", "start_column": 3, "end_column": 3 })
    );
    github.server.calls();
    let again = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(again, Annotated { shown: 120, left_out: 0, changed: false });
    assert_eq!(github.server.changes(), [""; 0]);
}

#[tokio::test]
async fn a_check_run_that_broke_off_is_continued_where_it_was() {
    let (github, _desk, forge) = start_app();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes: Vec<_> = (1..=120).map(|line| note("stores/acme.yaml", line, "wrong")).collect();
    for (method, fault) in [
        ("POST", Fault::LoseAnswer),
        ("PATCH", Fault::Instead(refusal(502, "Bad gateway"))),
        ("PATCH", Fault::LoseAnswer),
        ("PATCH", Fault::LoseAnswer),
    ] {
        github.server.fault(method, "/check-runs", fault);
        forge.annotate(&pull, &notes).await.unwrap_err();
    }
    // The last answer was lost after everything was done.
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 120, left_out: 0, changed: false });
    let runs = github.state().runs.clone();
    let lines: Vec<_> = runs[0].annotations.iter().map(|note| note["start_line"].as_u64().unwrap()).collect();
    assert_eq!((runs.len(), lines), (1, (1..=120).collect::<Vec<_>>()));
}

#[tokio::test]
async fn when_nothing_is_wrong_any_more_a_red_check_run_turns_green() {
    let (github, _desk, forge) = start_app();
    let pull = forge.pull(7).await.unwrap().unwrap();
    assert_eq!(forge.annotate(&pull, &[]).await.unwrap(), Annotated::default());
    assert!(github.state().runs.is_empty());
    forge.annotate(&pull, &[note("stores/acme.yaml", 1, "wrong")]).await.unwrap();
    for changed in [true, false] {
        let annotated = forge.annotate(&pull, &[]).await.unwrap();
        assert_eq!(annotated, Annotated { changed, ..Annotated::default() });
    }
    let runs = github.state().runs.clone();
    assert_eq!((runs.len(), &runs[1].value["conclusion"]), (2, &json!("success")));
}

#[tokio::test]
async fn every_way_of_asking_to_wait_is_understood() {
    let (github, _desk, forge) = start();
    let secondary = "You have exceeded a secondary rate limit. Please wait a few minutes.";
    let primary = refusal(403, "API rate limit exceeded").with("x-ratelimit-remaining", 0);
    for (reply, seconds) in [
        (refusal(429, "x").with("retry-after", 17), 17),
        (refusal(403, secondary), 60),
        (refusal(403, secondary).with("retry-after", "Sun, 22 Nov 2026 10:01:30 GMT"), 90),
        (primary.clone().with("x-ratelimit-reset", fake_forge::NOW + 600), 600),
        (primary.with("x-ratelimit-reset", fake_forge::NOW + 86_400), 3600),
        (refusal(503, "x").with("retry-after", 5), 5),
    ] {
        github.server.fault("POST", "/statuses/", Fault::Instead(reply));
        let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
        assert!(matches!(error, ForgeError::Busy { .. }) && !error.is_final(), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)), "{error}");
    }
    assert_eq!(github.server.calls().len(), 6, "nothing is tried twice");
    assert!(github.state().statuses.is_empty());
}

#[tokio::test]
async fn a_refusal_says_whether_trying_again_helps() {
    let (github, _desk, forge) = start();
    for (code, is_final, words) in [
        (
            401,
            false,
            "failed to set the status x of 1111111111 on github acme/stores: the forge refuses the login (401): why",
        ),
        (
            403,
            false,
            "failed to set the status x of 1111111111 on github acme/stores: the forge refuses the login (403): why",
        ),
        (
            404,
            false,
            "failed to set the status x of 1111111111 on github acme/stores: the forge refuses it (404): why",
        ),
        (
            422,
            true,
            "failed to set the status x of 1111111111 on github acme/stores: the forge refuses it (422): why",
        ),
        (
            500,
            false,
            "failed to set the status x of 1111111111 on github acme/stores: the forge answers 500: why",
        ),
    ] {
        github.server.fault("POST", "/statuses/", Fault::Instead(refusal(code, "why")));
        let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
        assert_eq!((format!("failed to {error}").as_str(), error.is_final()), (words, is_final));
        assert_eq!(error.retry_after(), None);
    }
}

#[tokio::test]
async fn a_locked_conversation_is_no_trouble_with_the_login() {
    let (github, _desk, forge) = start();
    let locked = refusal(403, "Unable to create comment because issue is locked.");
    github.server.fault("POST", "/comments", Fault::Instead(locked));
    let error = forge.put_comment(7, MARKER, "text").await.unwrap_err();
    assert!(matches!(error, ForgeError::Refused { status: 403, .. }) && error.is_final(), "{error:?}");
}

#[tokio::test]
async fn a_token_may_be_replaced_at_any_time() {
    let (github, desk, forge) = start();
    forge.put_comment(7, MARKER, "one").await.unwrap();
    {
        let mut state = github.state();
        state.users.clear();
        state.users.insert("another-canary".to_owned(), (42, "keeper2".to_owned()));
    }
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::LoginRefused { status: 401, .. }), "{error}");
    desk.set_token("another-canary");
    forge.set_status(HEAD, &status("x", Success, "")).await.unwrap();
    // Another user has comments of its own.
    forge.put_comment(7, MARKER, "two").await.unwrap();
    assert_eq!(github.state().comments.len(), 2);
    std::fs::remove_file(desk.token_file()).unwrap();
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Settings { .. }) && !error.is_final(), "{error}");
}

#[tokio::test]
async fn no_login_is_ever_printed() {
    let (github, desk, forge) = start();
    github.server.fault("POST", "/statuses/", Fault::Instead(refusal(401, &format!("bad token {TOKEN}"))));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    let settings = desk.settings(ForgeKind::GitHub, &github.server.url(), "acme/stores");
    let printed = format!("{error} {error:?} {forge:?} {settings:?} {}", forge.name());
    assert!(printed.contains("bad token …") && !printed.contains(TOKEN), "{printed}");

    let (github, _desk, forge) = start_app();
    github.server.fault("POST", "/statuses/", Fault::Instead(refusal(401, "bad token ghs_canary-1")));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(!format!("{error} {error:?} {forge:?}").contains("canary-1"), "{error}");
}
