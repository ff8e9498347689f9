//! GitLab: statuses, merge requests, comments and discussions at lines.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use fake_forge::{Desk, Fault, HEAD, MAIN, Reply, TOKEN, note, status};
use fake_gitlab::{Discussion, GitLab, MergeRequest, Note};
use serde_json::json;
use storekeeper::forge::{Annotated, Forge, ForgeError, ForgeKind, Pull};
use storekeeper::report::CommitState::{Failure, Pending, Success};

#[path = "common/fake_forge.rs"]
mod fake_forge;
#[path = "common/fake_gitlab.rs"]
mod fake_gitlab;

const MARKER: &str = "<!-- storekeeper:plan -->";

fn start() -> (GitLab, Desk, Forge) {
    let (gitlab, desk) = (GitLab::start(), Desk::new());
    let forge = desk.forge(ForgeKind::GitLab, &gitlab.server.url(), "acme/eu/stores");
    (gitlab, desk, forge)
}

fn states(gitlab: &GitLab) -> Vec<String> {
    gitlab.state().statuses.iter().map(|status| status.state.clone()).collect()
}

#[tokio::test]
async fn a_status_goes_from_pending_to_its_end_and_back() {
    let (gitlab, _desk, forge) = start();
    for state in [Pending, Success, Pending, Failure] {
        forge.set_status(HEAD, &status("storekeeper/acme", state, "applying")).await.unwrap();
    }
    assert_eq!(states(&gitlab), ["success", "failed"]);
    let first = gitlab.state().statuses[0].clone();
    assert_eq!((first.sha.as_str(), first.name.as_str()), (HEAD, "storekeeper/acme"));
    assert_eq!(gitlab.server.calls()[0], format!("POST /api/v4/projects/acme%2Feu%2Fstores/statuses/{HEAD}"));
}

#[tokio::test]
async fn a_status_that_is_pending_already_counts_as_set() {
    let (gitlab, _desk, forge) = start();
    gitlab.server.fault("POST", "/statuses/", Fault::LoseAnswer);
    let pending = status("storekeeper/acme", Pending, "applying");
    forge.set_status(HEAD, &pending).await.unwrap_err();
    forge.set_status(HEAD, &pending).await.unwrap();
    assert_eq!(states(&gitlab), ["pending"]);
}

#[tokio::test]
async fn a_status_that_runs_for_somebody_else_is_not_pending() {
    let (gitlab, _desk, forge) = start();
    forge.set_status(HEAD, &status("storekeeper/acme", Pending, "")).await.unwrap();
    gitlab.state().statuses[0].state = "running".to_owned();
    let error = forge.set_status(HEAD, &status("storekeeper/acme", Pending, "")).await.unwrap_err();
    assert!(error.is_final() && error.to_string().contains("from :running"), "{error}");
}

#[tokio::test]
async fn the_head_of_a_fork_gets_its_status_through_its_merge_request() {
    let (gitlab, _desk, forge) = start();
    gitlab.state().on_branches.clear();
    forge.set_status(HEAD, &status("storekeeper/plan", Success, "1 store")).await.unwrap();
    assert_eq!(gitlab.state().statuses[0].reference.as_deref(), Some("refs/merge-requests/7/head"));
    let error = forge.set_status(MAIN, &status("storekeeper/plan", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Refused { status: 404, .. }), "{error}");
    let error = forge.set_status(&"dead".repeat(10), &status("x", Success, "")).await.unwrap_err();
    assert!(error.to_string().contains("404 Commit Not Found"), "{error}");
}

#[tokio::test]
async fn open_merge_requests_come_newest_first_over_all_pages() {
    let (gitlab, _desk, forge) = start();
    let mut all: Vec<_> = (1..=205).map(MergeRequest::new).collect();
    all[0].state = "merged";
    all[1].target = "next".to_owned();
    all[2].sha = None;
    gitlab.state().requests = all;
    let pulls = forge.open_pulls("main").await.unwrap();
    let numbers: Vec<_> = pulls.iter().map(|pull| pull.number).collect();
    assert_eq!(numbers, (4..=205).rev().collect::<Vec<_>>(), "one is prepared still");
    assert_eq!(gitlab.server.calls().len(), 3);
}

#[tokio::test]
async fn a_merge_request_says_what_is_needed_to_fetch_and_judge_it() {
    let (gitlab, _desk, forge) = start();
    let fork = MergeRequest { source_project: Some(9), ..MergeRequest::new(8) };
    let gone = MergeRequest { source_project: None, ..MergeRequest::new(9) };
    let closed = MergeRequest { state: "closed", ..MergeRequest::new(10) };
    gitlab.state().requests.extend([fork, gone, closed]);
    let expected = Pull {
        number: 7,
        head: HEAD.to_owned(),
        base: "main".to_owned(),
        reference: Some("refs/merge-requests/7/head".to_owned()),
        author: "alice".to_owned(),
        fork: false,
        title: "Pull request 7".to_owned(),
        url: "https://gitlab.com/acme/eu/stores/-/merge_requests/7".to_owned(),
    };
    assert_eq!(forge.pull(7).await.unwrap(), Some(expected));
    assert!(forge.pull(8).await.unwrap().unwrap().fork && forge.pull(9).await.unwrap().unwrap().fork);
    assert_eq!(forge.pull(10).await.unwrap(), None);
    assert_eq!(forge.pull(11).await.unwrap(), None);
}

#[tokio::test]
async fn only_an_active_developer_may_write() {
    let (gitlab, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    assert!(!forge.may_write(&pull).await.unwrap(), "no member");
    for (level, state, may) in
        [(20, "active", false), (30, "active", true), (50, "active", true), (40, "blocked", false)]
    {
        gitlab.state().members.insert(5, (level, state));
        assert_eq!(forge.may_write(&pull).await.unwrap(), may, "{level} {state}");
    }
    let gone = Pull { number: 99, ..pull };
    assert!(!forge.may_write(&gone).await.unwrap());
}

#[tokio::test]
async fn one_comment_is_made_edited_and_left_alone() {
    let (gitlab, _desk, forge) = start();
    for number in 0..110 {
        gitlab.state().note(5, &format!("comment {number}"));
    }
    let system = Note { id: 1, author: 41, body: format!("{MARKER}\nchanged the title"), system: true };
    gitlab.state().notes.push(system);
    gitlab.state().note(5, &format!("{MARKER}\na stranger's"));
    gitlab.server.fault("POST", "/notes", Fault::LoseAnswer);
    forge.put_comment(7, MARKER, "two stores").await.unwrap_err();
    gitlab.server.calls();
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(gitlab.server.changes(), [""; 0], "the lost one was made");
    forge.put_comment(7, MARKER, "three stores").await.unwrap();
    let last = gitlab.state().bodies()[112].to_owned();
    assert_eq!((gitlab.state().notes.len(), last.as_str()), (113, "<!-- storekeeper:plan -->\nthree stores"));
}

#[tokio::test]
async fn a_comment_carries_no_command_out() {
    let (gitlab, _desk, forge) = start();
    forge.put_comment(7, MARKER, "stores:\n/merge\n  /approve").await.unwrap();
    assert_eq!(gitlab.state().bodies()[0], "<!-- storekeeper:plan -->\nstores:\n\\/merge\n  \\/approve");
}

#[tokio::test]
async fn annotations_become_discussions_at_added_and_kept_lines() {
    let (gitlab, _desk, forge) = start();
    let diff = "@@ -4,3 +4,4 @@ spec:\n kept\n-old\n+new\n+more\n kept too\n";
    gitlab.state().files.push(("stores/old.yaml".to_owned(), "stores/new.yaml".to_owned(), diff.to_owned()));
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes = [
        note("stores/acme.yaml", 3, "/close\nunknown field"),
        note("stores/new.yaml", 4, "kept"),
        note("stores/new.yaml", 6, "added"),
        note("stores/new.yaml", 7, "kept below"),
        note("stores/new.yaml", 1, "not shown"),
        note("stores/other.yaml", 1, "not there"),
    ];
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 4, left_out: 2, changed: true });
    let places: Vec<_> = {
        let state = gitlab.state();
        assert!(state.discussions[0].body.ends_with("```text\n/close\nunknown field\n```"));
        let place = |found: &Discussion| {
            (found.position["new_line"].as_u64().unwrap(), found.position["old_line"].as_u64())
        };
        state.discussions.iter().map(place).collect()
    };
    assert_eq!(places, [(3, None), (4, Some(4)), (6, None), (7, Some(6))]);
    gitlab.server.calls();
    let again = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(again, Annotated { shown: 4, left_out: 2, changed: false });
    assert_eq!(gitlab.server.changes(), [""; 0]);
}

#[tokio::test]
async fn a_discussion_whose_answer_was_lost_is_not_begun_twice() {
    let (gitlab, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes = [note("stores/acme.yaml", 3, "one"), note("stores/acme.yaml", 4, "two")];
    gitlab.server.fault("POST", "/discussions", Fault::LoseAnswer);
    forge.annotate(&pull, &notes).await.unwrap_err();
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 2, left_out: 0, changed: true });
    assert_eq!(gitlab.state().discussions.len(), 2);
}

#[tokio::test]
async fn the_next_push_keeps_what_is_true_still_and_resolves_the_rest() {
    let (gitlab, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let (one, two) = (note("stores/acme.yaml", 3, "one"), note("stores/acme.yaml", 4, "two"));
    forge.annotate(&pull, &[one.clone(), two]).await.unwrap();
    let somebody_else = Discussion { author: 5, ..gitlab.state().discussions[1].clone() };
    gitlab.state().discussions.push(Discussion { id: "e1".to_owned(), ..somebody_else });
    gitlab.state().requests[0].sha = Some(MAIN.to_owned());
    let pull = forge.pull(7).await.unwrap().unwrap();
    let annotated = forge.annotate(&pull, &[one]).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 1, left_out: 0, changed: true });
    let resolved = || gitlab.state().discussions.iter().map(|found| found.resolved).collect::<Vec<_>>();
    assert_eq!(resolved(), [false, true, false]);
    assert!(forge.annotate(&pull, &[]).await.unwrap().changed);
    assert_eq!(resolved(), [true, true, false]);
    assert!(!forge.annotate(&pull, &[]).await.unwrap().changed);
}

#[tokio::test]
async fn annotations_of_an_older_head_are_left_out() {
    let (gitlab, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    gitlab.state().requests[0].sha = Some(MAIN.to_owned());
    let annotated = forge.annotate(&pull, &[note("stores/acme.yaml", 3, "one")]).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 0, left_out: 1, changed: false });
}

#[tokio::test]
async fn a_line_that_gitlab_refuses_leaves_the_others() {
    let (gitlab, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let refusal =
        Reply::json(400, &json!({ "message": "400 Bad request - Note {:line_code=>[\"can't be blank\"]}" }));
    gitlab.server.fault("POST", "/discussions", Fault::Instead(refusal));
    let notes = [note("stores/acme.yaml", 3, "one"), note("stores/acme.yaml", 4, "two")];
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 1, left_out: 1, changed: true });
}

#[tokio::test]
async fn gitlabs_ways_of_refusing_are_understood() {
    let (gitlab, _desk, forge) = start();
    let later = Reply::raw(429, "text/plain", b"Retry later\n");
    for (reply, seconds) in [
        (later.clone().with("ratelimit-reset", fake_forge::NOW + 42), 42),
        (later.clone().with("retry-after", 7), 7),
        (later, 60),
    ] {
        gitlab.server.fault("POST", "/statuses/", Fault::Instead(reply));
        let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)), "{error}");
    }
    let scope = json!({ "error": "insufficient_scope", "error_description": "The request requires higher privileges",
        "scope": "api" });
    gitlab.server.fault("POST", "/statuses/", Fault::Instead(Reply::json(403, &scope)));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::LoginRefused { status: 403, .. }) && !error.is_final());
    assert!(error.to_string().contains("requires higher privileges"), "{error}");
    let locked = Reply::message(409, "Resource is locked");
    gitlab.server.fault("POST", "/statuses/", Fault::Instead(locked));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(!error.is_final(), "{error}");
}

#[tokio::test]
async fn a_token_may_be_replaced_and_is_never_printed() {
    let (gitlab, desk, forge) = start();
    desk.set_token("wrong-canary");
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::LoginRefused { status: 401, .. }));
    assert!(!format!("{error} {error:?} {forge:?}").contains("canary"));
    desk.set_token(TOKEN);
    forge.set_status(HEAD, &status("x", Success, "")).await.unwrap();
    assert_eq!(states(&gitlab), ["success"]);
}
