//! What Gitea and Forgejo are sent, request by request. That a real Gitea takes it is for the tests that start one.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::{Arc, Mutex};

use fake_forge::{Desk, Fault, HEAD, MAIN, Reply, Request, Server, TOKEN, added, note, status};
use serde_json::{Value, json};
use storekeeper::forge::{self, Annotated, Forge, ForgeError, ForgeKind};
use storekeeper::report::CommitState::{Failure, Pending, Success};

#[path = "common/fake_forge.rs"]
mod fake_forge;

const MARKER: &str = "<!-- storekeeper:plan -->";

/// What the fake keeps.
#[derive(Default)]
struct State {
    pulls: Vec<Value>,
    comments: Vec<Value>,
    reviews: Vec<Value>,
    permission: Option<&'static str>,
    /// Whether the token may ask about others.
    is_plain_user: bool,
    /// Commits that are not there.
    unknown: Vec<&'static str>,
}

fn pull(number: u64, head_repository: i64) -> Value {
    json!({ "number": number, "state": "open", "title": format!("Pull request {number}"),
        "html_url": format!("https://git.example.com/acme/stores/pulls/{number}"),
        "user": { "id": 5, "login": "alice" },
        "head": { "ref": "change", "sha": HEAD, "repo_id": head_repository },
        "base": { "ref": "main", "sha": MAIN, "repo_id": 1 } })
}

fn start() -> (Server, Arc<Mutex<State>>, Desk, Forge) {
    let state = Arc::new(Mutex::new(State { pulls: vec![pull(7, 1)], ..State::default() }));
    let answering = state.clone();
    let server = Server::start(move |request| answer(request, &mut answering.lock().unwrap()));
    let desk = Desk::new();
    let forge = desk.forge(ForgeKind::Gitea, &server.url(), "acme/stores");
    (server, state, desk, forge)
}

fn answer(request: &Request, state: &mut State) -> Reply {
    if request.header("authorization") != format!("Bearer {TOKEN}") {
        return Reply::message(401, "user does not exist [uid: 0, name: ]");
    }
    let rest = request.path.strip_prefix("/api/v1/").unwrap_or_default();
    let repository = rest.strip_prefix("repos/acme/stores/").unwrap_or_default();
    match (request.method.as_str(), rest, repository) {
        ("GET", "user", _) => Reply::json(200, &json!({ "id": 41, "login": "keeper" })),
        ("POST", _, _) if state.unknown.iter().any(|sha| repository == format!("statuses/{sha}")) => {
            Reply::message(500, "")
        }
        ("GET", _, _) if repository.starts_with("git/commits/") => {
            let unknown = state.unknown.iter().any(|sha| repository.ends_with(sha));
            if unknown { Reply::message(404, "not found") } else { Reply::json(200, &json!({ "sha": HEAD })) }
        }
        ("POST", _, _) if repository.starts_with("statuses/") => Reply::json(
            201,
            &json!({ "id": 1, "status": request.body["state"], "context": request.body["context"] }),
        ),
        ("GET", _, "pulls") => counted(request, &state.pulls, true),
        ("GET", _, "collaborators/alice/permission") => match state.permission {
            _ if state.is_plain_user => Reply::message(403, "Only admins can query all permissions"),
            Some(permission) => {
                Reply::json(200, &json!({ "permission": permission, "role_name": permission }))
            }
            None => Reply::message(404, "user does not exist"),
        },
        ("GET", _, "issues/7/comments") => counted(request, &state.comments, false),
        ("POST", _, "issues/7/comments") => {
            let id = 100 + state.comments.len();
            let comment =
                json!({ "id": id, "body": request.body["body"], "user": { "id": 41, "login": "keeper" } });
            state.comments.push(comment.clone());
            Reply::json(201, &comment)
        }
        ("PATCH", _, _) if repository.starts_with("issues/comments/") => {
            let id: u64 = repository.rsplit('/').next().unwrap().parse().unwrap();
            let comment = state.comments.iter_mut().find(|comment| comment["id"] == id).unwrap();
            comment["body"] = request.body["body"].clone();
            Reply::json(200, comment)
        }
        ("GET", _, "pulls/7.diff") => Reply::raw(200, "text/plain; charset=utf-8", diff().as_bytes()),
        (_, _, _) if repository.starts_with("pulls/7/reviews") => answer_reviews(request, repository, state),
        ("GET", _, _) if repository.starts_with("pulls/") => {
            let found = state.pulls.iter().find(|pull| repository == format!("pulls/{}", pull["number"]));
            found.map_or_else(|| Reply::message(404, "not found"), |found| Reply::json(200, found))
        }
        _ => Reply::message(404, "not found"),
    }
}

fn diff() -> String {
    let file = "stores/acme.yaml";
    format!("diff --git a/{file} b/{file}\n--- /dev/null\n+++ b/{file}\n{}\n", added(60))
}

/// Gitea makes a draft comment by comment, or goes on with the one that is there, and publishes it at the end.
fn answer_reviews(request: &Request, path: &str, state: &mut State) -> Reply {
    let id = path.split('/').nth(3).map(|id| id.parse::<u64>().unwrap());
    let index = state.reviews.iter().position(|review| Some(review["id"].as_u64().unwrap()) == id);
    match (request.method.as_str(), index) {
        ("GET", None) => counted(request, &state.reviews, false),
        ("GET", Some(index)) => counted(request, state.reviews[index]["lines"].as_array().unwrap(), false),
        ("DELETE", Some(index)) => {
            state.reviews.remove(index);
            Reply { status: 204, headers: Vec::new(), body: Vec::new() }
        }
        _ => {
            let comments = request.body["comments"].as_array().unwrap().clone();
            let mut review = match state.reviews.iter().position(|review| review["state"] == "PENDING") {
                Some(draft) => state.reviews.remove(draft),
                None => json!({ "id": 200 + state.reviews.len(), "user": { "id": 41, "login": "keeper" },
                    "state": "PENDING", "body": "", "lines": [] }),
            };
            for mut comment in comments {
                if comment["new_position"].as_u64().unwrap() > 60 {
                    state.reviews.push(review);
                    return Reply::message(500, "");
                }
                comment["id"] = 1.into();
                review["lines"].as_array_mut().unwrap().push(comment);
            }
            review["state"] = request.body["event"].clone();
            review["body"] = request.body["body"].clone();
            review["commit_id"] = request.body["commit_id"].clone();
            state.reviews.push(review.clone());
            Reply::json(200, &review)
        }
    }
}

/// A list with Gitea's count of all items. Only some lists have pages and links to them; links name the host by which
/// Gitea knows itself.
fn counted(request: &Request, items: &[Value], has_pages: bool) -> Reply {
    let asked = request.number("limit").unwrap_or(30).min(50);
    let size = if has_pages { asked } else { items.len().max(1) };
    let page = request.number("page").unwrap_or(1);
    let some: Vec<_> = items.iter().skip((page - 1) * size).take(size).cloned().collect();
    let reply = Reply::json(200, &some.into()).with("x-total-count", items.len());
    if has_pages && page * size < items.len() {
        return reply.with("link", format!("<https://git.example.com/x?page={}>; rel=\"next\"", page + 1));
    }
    reply
}

#[tokio::test]
async fn a_status_is_sent_as_gitea_has_it() {
    let (server, _state, _desk, forge) = start();
    for state in [Pending, Success, Failure] {
        forge.set_status(HEAD, &status("storekeeper/acme", state, "applying")).await.unwrap();
    }
    let requests = server.requests();
    let states: Vec<_> = requests.iter().map(|request| request.text("/state").to_owned()).collect();
    assert_eq!(states, ["pending", "success", "failure"]);
    assert_eq!(requests[0].path, format!("/api/v1/repos/acme/stores/statuses/{HEAD}"));
    assert_eq!(
        requests[0].body,
        json!({ "state": "pending", "context": "storekeeper/acme", "description": "applying",
            "target_url": "https://shops.example/stores/acme" })
    );
}

#[tokio::test]
async fn open_pull_requests_come_over_all_pages_and_only_those_into_the_branch() {
    let (server, state, _desk, forge) = start();
    let mut pulls: Vec<_> = (1..=120).rev().map(|number| pull(number, 1)).collect();
    // Older ones don't know `base_branch` and list everything.
    pulls[0]["base"]["ref"] = "next".into();
    pulls[1]["head"]["sha"] = "".into();
    pulls[2]["user"] = json!({ "id": -1, "login": "Ghost" });
    pulls[3]["head"]["repo_id"] = (-1).into();
    state.lock().unwrap().pulls = pulls;
    let found = forge.open_pulls("main").await.unwrap();
    let numbers: Vec<_> = found.iter().map(|pull| pull.number).collect();
    assert_eq!(numbers, (1..=118).rev().collect::<Vec<_>>());
    assert_eq!((found[0].author.as_str(), found[1].fork, found[2].fork), ("", true, false));
    let first = &server.requests()[0];
    assert_eq!((first.query["base_branch"].as_str(), first.query["state"].as_str()), ("main", "open"));
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn a_pull_request_says_what_is_needed_to_fetch_and_judge_it() {
    let (_server, state, _desk, forge) = start();
    let expected = forge::Pull {
        number: 7,
        head: HEAD.to_owned(),
        base: "main".to_owned(),
        reference: Some("refs/pull/7/head".to_owned()),
        author: "alice".to_owned(),
        fork: false,
        title: "Pull request 7".to_owned(),
        url: "https://git.example.com/acme/stores/pulls/7".to_owned(),
    };
    assert_eq!(forge.pull(7).await.unwrap(), Some(expected));
    assert_eq!(forge.pull(8).await.unwrap(), None);
    state.lock().unwrap().pulls[0]["state"] = "closed".into();
    assert_eq!(forge.pull(7).await.unwrap(), None);
}

#[tokio::test]
async fn only_who_may_push_may_write_and_asking_needs_an_admins_token() {
    let (_server, state, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    assert!(!forge.may_write(&pull).await.unwrap());
    for (permission, may) in
        [("owner", true), ("admin", true), ("write", true), ("read", false), ("none", false)]
    {
        state.lock().unwrap().permission = Some(permission);
        assert_eq!(forge.may_write(&pull).await.unwrap(), may, "{permission}");
    }
    state.lock().unwrap().is_plain_user = true;
    let error = forge.may_write(&pull).await.unwrap_err();
    assert!(matches!(error, ForgeError::LoginRefused { status: 403, .. }), "{error}");
}

#[tokio::test]
async fn one_comment_is_made_edited_and_left_alone() {
    let (server, state, _desk, forge) = start();
    let by = |id: u64, user: u64, body: &str| json!({ "id": id, "body": body, "user": { "id": user, "login": "x" } });
    state.lock().unwrap().comments = vec![
        by(3, 5, &format!("{MARKER}\na stranger's")),
        by(9, 41, &format!("{MARKER}\nnewer")),
        by(4, 41, &format!("{MARKER}\nolder")),
        by(12, 41, &format!("{MARKER}\nnewest")),
    ];
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(server.changes(), ["PATCH /api/v1/repos/acme/stores/issues/comments/4"]);
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(server.changes(), [""; 0]);
    state.lock().unwrap().comments.clear();
    server.fault("POST", "/comments", Fault::LoseAnswer);
    forge.put_comment(7, MARKER, "two stores").await.unwrap_err();
    forge.put_comment(7, MARKER, "two stores").await.unwrap();
    assert_eq!(state.lock().unwrap().comments.len(), 1);
}

#[tokio::test]
async fn a_status_of_a_commit_that_is_not_there_is_final_though_gitea_says_server_error() {
    let (server, state, _desk, forge) = start();
    state.lock().unwrap().unknown.push(MAIN);
    let error = forge.set_status(MAIN, &status("x", Success, "")).await.unwrap_err();
    assert!(error.is_final() && error.to_string().ends_with("there is no such commit"), "{error}");
    server.fault("POST", "/statuses/", Fault::Instead(Reply::message(500, "")));
    let error = forge.set_status(HEAD, &status("x", Success, "")).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn annotations_become_one_review_for_each_head_at_lines_of_the_diff() {
    let (server, state, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let notes = [
        note("stores/acme.yaml", 3, "@everybody"),
        note("stores/acme.yaml", 60, "two"),
        note("stores/acme.yaml", 61, "beyond the end"),
        note("stores/other.yaml", 1, "not in the diff"),
    ];
    server.fault("POST", "/reviews", Fault::LoseAnswer);
    forge.annotate(&pull, &notes).await.unwrap_err();
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 2, left_out: 2, changed: false });
    {
        let reviews = &state.lock().unwrap().reviews;
        assert_eq!(
            (reviews.len(), &reviews[0]["state"], &reviews[0]["commit_id"]),
            (1, &json!("COMMENT"), &json!(HEAD))
        );
        let lines = reviews[0]["lines"].as_array().unwrap();
        assert_eq!(
            (lines.len(), &lines[0]["new_position"], &lines[0]["path"]),
            (2, &json!(3), &json!("stores/acme.yaml"))
        );
        assert!(lines[0]["body"].as_str().unwrap().ends_with("-->\n```text\n@everybody\n```"));
    }
    state.lock().unwrap().pulls[0]["head"]["sha"] = MAIN.into();
    let older = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(older, Annotated { shown: 0, left_out: 4, changed: false }, "there is a newer head");
    let pull = forge.pull(7).await.unwrap().unwrap();
    assert!(forge.annotate(&pull, &notes).await.unwrap().changed);
    let many: Vec<_> = (1..=60).map(|line| note("stores/acme.yaml", line, "wrong")).collect();
    let annotated = forge.annotate(&pull, &many).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 50, left_out: 10, changed: true });
    assert_eq!(forge.annotate(&pull, &[]).await.unwrap(), Annotated::default());
}

#[tokio::test]
async fn a_draft_that_was_left_behind_is_deleted_and_a_persons_is_not_published() {
    let (_server, state, _desk, forge) = start();
    let pull = forge.pull(7).await.unwrap().unwrap();
    let ours = "<!-- storekeeper:files 0a -->\ntext";
    let draft = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|body| json!({ "id": 1, "body": body })).collect();
        json!({ "id": 150, "user": { "id": 41, "login": "keeper" }, "state": "PENDING", "body": "", "lines": lines })
    };
    state.lock().unwrap().reviews = vec![draft(&[ours, ours])];
    let notes = [note("stores/acme.yaml", 3, "one")];
    assert!(forge.annotate(&pull, &notes).await.unwrap().changed);
    {
        let reviews = &mut state.lock().unwrap().reviews;
        assert_eq!((reviews.len(), reviews[0]["lines"].as_array().unwrap().len()), (1, 1));
        *reviews = vec![draft(&[ours, "what I think of this"])];
    }
    let annotated = forge.annotate(&pull, &notes).await.unwrap();
    assert_eq!(annotated, Annotated { shown: 0, left_out: 1, changed: false });
    assert_eq!(state.lock().unwrap().reviews[0]["state"], "PENDING");
}
