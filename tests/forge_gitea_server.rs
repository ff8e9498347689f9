//! What the tests of forges stand on: a real Gitea, and what it does where its documentation is silent.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "common/git_sshd.rs"]
mod git_sshd;
#[path = "common/gitea.rs"]
mod gitea;
#[path = "common/hooks.rs"]
mod hooks;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::repository::git;
use common::until;
use git_sshd::{Sshd, make_key};
use gitea::{Account, Answer, DAEMON_SCOPES, Gitea, Project};
use hooks::{Hooks, signature};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A commit that no repository has.
const UNKNOWN: &str = "0123456789012345678901234567890123456789";

const EVENTS: [&str; 3] = ["push", "pull_request", "pull_request_comment"];

/// Makes a user with a repository of one file, in which every line can be changed.
fn project(gitea: &Arc<Gitea>, owner: &str, folder: &TempDir) -> Project {
    let owner = gitea.account(owner);
    let checkout = folder.path().join("checkout");
    fs::create_dir(&checkout).unwrap();
    git(&checkout, &["init", "--quiet", "--initial-branch=main"]);
    fs::write(checkout.join("file"), "one\ntwo\nthree\n").unwrap();
    git(&checkout, &["add", "--all"]);
    git(&checkout, &["commit", "--quiet", "--message", "first"]);
    gitea.project(&owner, "stores", &checkout)
}

/// Pushes a branch with a changed second line and opens a pull request; returns its number and its head.
fn proposal(project: &Project, branch: &str) -> (u64, String) {
    project.begin(branch);
    project.write("file", &format!("one\n{branch}\nthree\n"));
    let head = project.push(branch, branch);
    (project.open(&project.owner, branch, branch), head)
}

fn head_ref(number: u64) -> String {
    format!("refs/pull/{number}/head")
}

fn post(gitea: &Gitea, account: &Account, path: &str, body: &Value) -> Answer {
    let token = format!("token {}", account.token);
    gitea.ask(Some(&token), Method::POST, path, body)
}

#[test]
fn a_pull_request_has_a_ref_of_its_head_that_a_push_moves_before_it_returns_and_none_of_a_merge() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "ann", &folder);
    let (number, head) = proposal(&project, "first");
    let names = ["HEAD".to_owned(), "refs/heads/first".into(), "refs/heads/main".into(), head_ref(number)];
    let refs = project.refs();
    assert_eq!(refs.keys().cloned().collect::<Vec<_>>(), names);
    assert_eq!(refs[&head_ref(number)], head);
    project.write("file", "one\nanother\nthree\n");
    let next = project.push("first", "next");
    assert_eq!(project.refs()[&head_ref(number)], next);
    project.send(Method::DELETE, "/branches/first", &Value::Null);
    assert_eq!(project.refs()[&head_ref(number)], next, "the ref outlives its branch");
}

#[test]
fn deliveries_are_signed_over_their_bytes_and_come_when_the_refs_have_moved() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "ben", &folder);
    let hooks = Hooks::listen();
    project.hook(&hooks.url("/hooks/gitea"), "a secret", &EVENTS);
    let (number, head) = proposal(&project, "first");
    let opened = hooks.until("the opening is told", |delivery| delivery.event().0 == "pull_request");
    assert_eq!(
        (opened.json()["action"].as_str(), &opened.json()["number"]),
        (Some("opened"), &json!(number))
    );
    assert_eq!(opened.json()["pull_request"]["head"]["sha"], head);
    let next = project.push("first", "next");
    let moved = hooks.until("the next push is told", |delivery| {
        delivery.event() == ("pull_request", "pull_request_sync") && project.refs()[&head_ref(number)] == next
    });
    assert_eq!(moved.json()["action"], "synchronized");
    let push = hooks.until("the push itself too", |delivery| {
        delivery.event() == ("push", "push") && delivery.json()["after"] == next
    });
    assert_eq!(push.json()["ref"], "refs/heads/first");
    project.send(Method::POST, &format!("/issues/{number}/comments"), &json!({ "body": "a comment" }));
    hooks.until("the comment is told", |delivery| {
        delivery.event() == ("issue_comment", "pull_request_comment")
    });
    for delivery in hooks.deliveries() {
        assert_eq!(delivery.path, "/hooks/gitea");
        assert_eq!(delivery.header("content-type"), "application/json");
        let signed = signature("a secret", &delivery.body);
        assert_eq!(delivery.header("x-gitea-signature"), signed);
        assert_eq!(delivery.header("x-hub-signature-256"), format!("sha256={signed}"));
        assert_ne!(delivery.header("x-gitea-signature"), signature("another", &delivery.body));
        assert_eq!(delivery.header("x-gitea-delivery").len(), 36);
    }
}

#[test]
fn a_delivery_that_failed_is_never_tried_again() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "cleo", &folder);
    let hooks = Hooks::listen();
    hooks.refuse(true);
    project.hook(&hooks.url("/"), "a secret", &["push"]);
    let first = project.push("first", "first");
    let is_of = |commit: &str, delivery: &hooks::Delivery| delivery.json()["after"] == *commit;
    hooks.until("it is told", |delivery| is_of(&first, delivery));
    hooks.refuse(false);
    let second = project.push("second", "second");
    hooks.until("the next push is told", |delivery| is_of(&second, delivery));
    assert_eq!(hooks.deliveries().iter().filter(|delivery| is_of(&first, delivery)).count(), 1);
}

#[test]
fn a_status_is_what_was_sent_last_for_its_context_and_a_protected_branch_waits_for_it() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "dora", &folder);
    let (number, head) = proposal(&project, "first");
    project.protect(&["storekeeper/all"]);
    let merge = project.path(&format!("/pulls/{number}/merge"));
    let refused = |state: &str| {
        until(&format!("{state}: the merge is refused"), || {
            let answer = post(&gitea, &project.owner, &merge, &json!({ "Do": "merge" }));
            assert_eq!(answer.status, 405, "{answer:?}");
            (answer.body["message"] == "Not all required status checks successful").then_some(())
        });
    };
    refused("none");
    let description = "ä".repeat(140);
    for state in ["pending", "failure", "error"] {
        project.set_status(&head, "storekeeper/all", state, &description);
        refused(state);
    }
    let shown = &project.statuses(&head)["storekeeper/all"];
    assert_eq!((&shown["status"], &shown["description"]), (&json!("error"), &json!(description)));
    project.set_status(&head, "storekeeper/all", "success", "it fits");
    let merged = project.merge(number, "merge");
    assert_eq!(project.refs()["refs/heads/main"], merged);
    let states: Vec<_> =
        project.status_history(&head).iter().map(|status| status["status"].clone()).collect();
    assert_eq!(states, ["pending", "failure", "error", "success"]);
}

#[test]
fn of_many_contexts_the_first_pages_state_is_shown_as_the_state_of_all() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "emil", &folder);
    let head = project.push("main", "many");
    project.set_status(&head, "first", "failure", "");
    for number in 0..50 {
        project.set_status(&head, &format!("store-{number}"), "success", "");
    }
    let combined = |page: u32| project.get(&format!("/commits/{head}/status?limit=50&page={page}"));
    let states = [combined(1)["state"].clone(), combined(2)["state"].clone()];
    assert!(states.contains(&json!("success")) && states.contains(&json!("failure")), "{states:?}");
    assert_eq!(project.statuses(&head).len(), 51);
}

#[test]
fn a_status_for_a_commit_that_is_not_there_is_an_internal_error() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "fay", &folder);
    let path = project.path(&format!("/statuses/{UNKNOWN}"));
    let answer = post(&gitea, &project.owner, &path, &json!({ "state": "success", "context": "x" }));
    assert_eq!((answer.status, &answer.body["message"]), (500, &json!("")));
    let path = project.path(&format!("/commits/{UNKNOWN}/statuses"));
    let token = format!("token {}", project.owner.token);
    assert_eq!(gitea.ask(Some(&token), Method::GET, &path, &Value::Null).status, 404);
}

#[test]
fn a_token_does_what_its_scopes_and_its_owner_may() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "gus", &folder);
    let (number, head) = proposal(&project, "first");
    let try_all = |account: &Account| {
        let send = |path: String, body: Value| post(&gitea, account, &project.path(&path), &body).status;
        [
            send(format!("/statuses/{head}"), json!({ "state": "success", "context": "x" })),
            send(format!("/issues/{number}/comments"), json!({ "body": "a comment" })),
            send(format!("/pulls/{number}/reviews"), json!({ "event": "COMMENT", "body": "a review" })),
        ]
    };
    let with = |scopes: &[&str]| {
        let token = gitea.token(&project.owner, scopes);
        try_all(&Account { token, ..project.owner.clone() })
    };
    assert_eq!(with(&DAEMON_SCOPES), [201, 201, 200]);
    assert_eq!(with(&["write:repository"]), [201, 403, 200]);
    assert_eq!(with(&["write:issue"]), [403, 201, 403]);
    assert_eq!(with(&["read:repository", "read:issue"]), [403, 403, 403]);
    assert_eq!(try_all(&gitea.account("stranger-to-gus")), [403, 201, 200]);
    assert_eq!(try_all(&Account { token: "wrong".to_owned(), ..project.owner.clone() }), [401, 401, 401]);
}

#[test]
fn each_way_to_merge_leaves_its_own_history_on_main() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "hal", &folder);
    let mut subjects = vec!["first".to_owned()];
    for (style, commits) in [("merge", 2), ("squash", 1), ("rebase", 1)] {
        let before = project.refs()["refs/heads/main"].clone();
        project.begin(style);
        project.write(style, "new\n");
        let head = project.push(style, style);
        let number = project.open(&project.owner, style, style);
        let merged = project.merge(number, style);
        assert_eq!(project.refs()["refs/heads/main"], merged);
        assert_eq!(project.refs()[&head_ref(number)], head, "the ref stays at what was proposed");
        git(&project.checkout, &["fetch", "--quiet", "origin", "main"]);
        let parents = git(&project.checkout, &["log", "-1", "--format=%P", &merged]);
        assert!(parents.starts_with(&before), "{style}: {parents}");
        let since = git(&project.checkout, &["rev-list", "--count", &format!("{before}..{merged}")]);
        assert_eq!(since, commits.to_string(), "{style}");
        // A single commit on top of main needs no other one to be rebased.
        assert_eq!(merged == head, style == "rebase", "{style}");
        subjects.push(git(&project.checkout, &["log", "-1", "--format=%s", &merged]));
    }
    let said = ["first", "Merge pull request 'merge' (#1) from merge into main", "squash (#2)", "rebase"];
    assert_eq!(subjects, said);
}

#[test]
fn the_head_of_a_fork_is_in_the_repository_that_it_is_proposed_to() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "ida", &folder);
    let stranger = gitea.account("stranger-to-ida");
    let fork = project.fork(&stranger, &folder.path().join("fork"));
    fork.begin("theirs");
    fork.write("new", "1\n");
    let head = fork.push("theirs", "theirs");
    let number = project.open(&stranger, "stranger-to-ida:theirs", "theirs");
    assert_eq!(project.refs()[&head_ref(number)], head);
    let pull = project.pull(number);
    assert_eq!(pull["head"]["repo"]["full_name"], "stranger-to-ida/stores");
    let permission = project.get("/collaborators/stranger-to-ida/permission");
    assert_eq!(permission["permission"], "read");
    project.set_status(&head, "storekeeper/plan", "success", "on a commit of a fork");
    fork.write("new", "2\n");
    let next = fork.push("theirs", "more");
    until("the ref follows the fork", || (project.refs()[&head_ref(number)] == next).then_some(()));
}

#[test]
fn the_ref_of_a_closed_pull_request_stands_still_even_when_it_is_opened_again_and_merged() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "jo", &folder);
    let (number, head) = proposal(&project, "first");
    project.close(number);
    project.write("file", "one\nunseen\nthree\n");
    let unseen = project.push("first", "unseen");
    project.send(Method::PATCH, &format!("/issues/{number}"), &json!({ "state": "open" }));
    assert_eq!(project.pull(number)["head"]["sha"], unseen, "what the API says");
    assert_eq!(project.refs()[&head_ref(number)], head, "what git says");
    let merged = project.merge(number, "merge");
    git(&project.checkout, &["fetch", "--quiet", "origin", "main"]);
    let parents = git(&project.checkout, &["log", "-1", "--format=%P", &merged]);
    assert!(parents.ends_with(&unseen), "the API is right about what is merged: {parents}");
}

#[test]
fn a_review_that_names_a_line_beyond_the_end_stays_as_a_draft_that_the_next_one_takes_along() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "kim", &folder);
    let (number, head) = proposal(&project, "first");
    let path = project.path(&format!("/pulls/{number}/reviews"));
    let review = |commit: &str, lines: &[(u32, &str)]| {
        let lines =
            lines.iter().map(|(line, body)| json!({ "path": "file", "new_position": line, "body": body }));
        let lines = lines.collect::<Vec<_>>();
        let body = json!({ "event": "COMMENT", "body": "", "commit_id": commit, "comments": lines });
        post(&gitea, &project.owner, &path, &body).status
    };
    let shown = || {
        let reviews = project.reviews(number).into_iter();
        let lines = |review: &Value| {
            let lines = review["lines"].as_array().unwrap().iter();
            lines.map(|line| line["body"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let reviews = reviews.map(|review| (review["state"].as_str().unwrap().to_owned(), lines(&review)));
        reviews.collect::<Vec<_>>()
    };
    assert_eq!(review(&head, &[(2, "changed"), (3, "unchanged")]), 200);
    assert_eq!(review(&head, &[(1, "left behind"), (900, "no such line")]), 500);
    assert_eq!(review(&head, &[(2, "next")]), 200);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let said = |lines: &[&str]| ("COMMENT".to_owned(), names(lines));
    assert_eq!(shown(), [said(&["changed", "unchanged"]), said(&["left behind", "next"])]);
    // One for a commit that is not there spoils all later ones, until the draft is deleted.
    assert_eq!(review(UNKNOWN, &[(1, "lost")]), 500);
    assert_eq!(review(&head, &[(1, "refused")]), 500);
    let draft = project.reviews(number).into_iter().find(|review| review["state"] == "PENDING").unwrap();
    project.send(Method::DELETE, &format!("/pulls/{number}/reviews/{}", draft["id"]), &Value::Null);
    assert_eq!(review(&head, &[(1, "accepted")]), 200);
}

#[test]
fn after_an_outage_everything_is_there_at_the_same_address() {
    let (gitea, folder) = (Gitea::start(), TempDir::new().unwrap());
    let project = project(&gitea, "lea", &folder);
    let (number, head) = proposal(&project, "first");
    let hooks = Hooks::listen();
    project.hook(&hooks.url("/"), "a secret", &EVENTS);
    project.set_status(&head, "storekeeper/plan", "success", "before");
    let before = project.refs();
    gitea.stop();
    let listed = Command::new("git").args(["ls-remote", &project.url()]).output().unwrap();
    assert!(!listed.status.success(), "it is down");
    gitea.resume();
    assert_eq!(project.refs(), before);
    assert_eq!(project.statuses(&head)["storekeeper/plan"]["description"], "before");
    let next = project.push("first", "after");
    hooks.until("a push is told", |delivery| delivery.json()["after"] == next);
    project.merge(number, "squash");
}

#[test]
fn pull_requests_are_read_over_ssh_too() {
    let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
    let project = project(&gitea, "mia", &folder);
    let (number, head) = proposal(&project, "first");
    let key = make_key(&folder.path().join("key"), "ed25519", "");
    let server = Sshd::start(folder.path(), "ed25519", &key);
    let bare = gitea.bare("mia", "stores");
    let url = format!("ssh://{}@127.0.0.1:{}{}", server.user, server.port, bare.display());
    let ssh = "ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o IdentitiesOnly=yes -i";
    let listed = Command::new("git")
        .args(["ls-remote", &url])
        .env("GIT_SSH_COMMAND", format!("{ssh} {}", key.display()))
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(text.contains(&format!("{head}\t{}", head_ref(number))), "{text}");
}

#[test]
fn a_dropped_server_leaves_neither_processes_nor_files() {
    let folder = {
        let (gitea, folder) = (Gitea::start(), TempDir::new().unwrap());
        project(&gitea, "ned", &folder);
        let folder = gitea.bare("", "").ancestors().nth(3).unwrap().to_owned();
        assert!(!processes_of(&folder).is_empty() && folder.join("program/gitea").is_file());
        folder
    };
    assert_eq!(processes_of(&folder), BTreeMap::new());
    assert!(!folder.exists());
}

/// Returns the command lines that name a folder, by process.
fn processes_of(folder: &Path) -> BTreeMap<String, String> {
    let folder = folder.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| {
        let line = fs::read_to_string(process.path().join("cmdline")).ok()?.replace('\0', " ");
        Some((process.file_name().to_str()?.to_owned(), line))
    });
    lines.filter(|(_, line)| line.contains(folder)).collect()
}
