//! Bitbucket Cloud as its clients see it on the wire, written from its published API. What it does not know in a request
//! is a problem, which fails the test.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::fake_forge::{HEAD, Reply, Request, Server, TOKEN};

pub struct Bitbucket {
    pub server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    /// By commit and key.
    pub statuses: BTreeMap<(String, String), Value>,
    pub pulls: Vec<Pull>,
    /// By the id of the user.
    pub permissions: BTreeMap<String, &'static str>,
    pub comments: Vec<Comment>,
    /// By commit: the report and its annotations by their ids.
    pub reports: BTreeMap<String, (Value, BTreeMap<String, Value>)>,
    /// An access token of the repository may not ask who it is.
    pub is_access_token: bool,
    /// What links to next pages begin with, when it is not the server itself.
    pub links: Option<String>,
    pub problems: Vec<String>,
    next: u64,
}

#[derive(Clone)]
pub struct Pull {
    pub id: u64,
    pub head: String,
    pub base: String,
    pub branch: String,
    pub state: &'static str,
    pub author: Option<&'static str>,
    /// The repository that the head is in.
    pub repository: Option<&'static str>,
}

#[derive(Clone)]
pub struct Comment {
    pub id: u64,
    pub user: &'static str,
    pub raw: String,
    pub deleted: bool,
}

pub const ME: &str = "{00000000-0000-4000-8000-000000000041}";
pub const ALICE: &str = "{00000000-0000-4000-8000-000000000005}";

impl Bitbucket {
    pub fn start() -> Self {
        let state = State { pulls: vec![Pull::new(7)], next: 100, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let answering = state.clone();
        Self { server: Server::start(move |request| answer(request, &mut answering.lock().unwrap())), state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Bitbucket {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let problems = &self.state().problems;
            assert!(problems.is_empty(), "Bitbucket does not know this:\n  {}", problems.join("\n  "));
        }
    }
}

impl Pull {
    pub fn new(id: u64) -> Self {
        Self {
            id,
            head: HEAD.to_owned(),
            base: "main".to_owned(),
            branch: "change".to_owned(),
            state: "OPEN",
            author: Some(ALICE),
            repository: Some("{stores}"),
        }
    }

    fn value(&self) -> Value {
        let repository =
            self.repository.map(|uuid| json!({ "type": "repository", "uuid": uuid, "full_name": "x/y" }));
        let author =
            self.author.map(|uuid| json!({ "uuid": uuid, "nickname": "alice", "display_name": "Alice" }));
        // By twelve digits, as everywhere in pull requests.
        let commit = repository.as_ref().map(|_| json!({ "type": "commit", "hash": self.head[..12] }));
        json!({
            "type": "pullrequest", "id": self.id, "title": format!("Pull request {}", self.id), "state": self.state,
            "author": author, "draft": false,
            "source": { "branch": { "name": self.branch }, "commit": commit, "repository": repository },
            "destination": { "branch": { "name": self.base }, "commit": { "hash": "222222222222" },
                "repository": { "type": "repository", "uuid": "{stores}", "full_name": "acme/stores" } },
            "links": { "html": { "href": format!("https://bitbucket.org/acme/stores/pull-requests/{}", self.id) } },
        })
    }
}

impl State {
    pub fn comment(&mut self, user: &'static str, raw: &str) {
        self.next += 1;
        self.comments.push(Comment { id: self.next, user, raw: raw.to_owned(), deleted: false });
    }

    pub fn bodies(&self) -> Vec<&str> {
        self.comments.iter().map(|comment| comment.raw.as_str()).collect()
    }

    fn knows(&mut self, request: &Request, query: &[&str], body: &[&str]) {
        let mut known = query.to_vec();
        if request.method == "GET" {
            known.extend(["page", "pagelen"]);
        }
        let unknown = request.query.keys().filter(|name| !known.contains(&name.as_str()));
        let fields = request.body.as_object().into_iter().flat_map(|fields| fields.keys());
        let unknown = unknown.chain(fields.filter(|name| !body.contains(&name.as_str())));
        let call = format!("{} {}", request.method, request.path);
        self.problems.extend(unknown.map(|name| format!("{call}: {name}")));
    }
}

pub fn refusal(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "type": "error", "error": { "message": message } }))
}

fn answer(request: &Request, state: &mut State) -> Reply {
    // `user:token` as Basic, base64 of `me@example.com:canary-5f1c`, or the token alone as Bearer.
    let basic = "Basic bWVAZXhhbXBsZS5jb206Y2FuYXJ5LTVmMWM=";
    let bearer = format!("Bearer {TOKEN}");
    if ![basic, &bearer].contains(&request.header("authorization")) {
        return refusal(401, "Token is invalid, expired, or not supported for this endpoint.");
    }
    let segments = request.segments();
    let segments: Vec<_> = segments.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    match (method, segments.as_slice()) {
        ("GET", ["2.0", "user"]) if state.is_access_token => {
            refusal(403, "This API is only accessible with...")
        }
        ("GET", ["2.0", "user"]) => {
            Reply::json(200, &json!({ "type": "user", "uuid": ME, "nickname": "keeper" }))
        }
        ("GET", ["2.0", "workspaces", "acme", "permissions", "repositories", "stores"]) => {
            state.knows(request, &["q"], &[]);
            let asked = request.query["q"].strip_prefix("user.uuid=\"").unwrap().strip_suffix('"').unwrap();
            let found = state.permissions.get(asked).map(|permission| {
                json!({ "type": "repository_permission", "permission": permission, "user": { "uuid": asked } })
            });
            paged(request, &found.into_iter().collect::<Vec<_>>(), state)
        }
        (_, ["2.0", "repositories", "acme", "stores", "pullrequests", rest @ ..]) => {
            answer_pulls(request, rest, state)
        }
        (_, ["2.0", "repositories", "acme", "stores", "commit", commit, rest @ ..]) => {
            answer_commit(request, commit, rest, state)
        }
        _ => refusal(404, "Repository not found"),
    }
}

/// One page, with the URL of the next one, whose form only Bitbucket knows.
fn paged(request: &Request, items: &[Value], state: &State) -> Reply {
    let size = request.number("pagelen").unwrap_or(10);
    let page: usize =
        request.query.get("page").map_or(1, |page| page.strip_prefix("p-").unwrap().parse().unwrap());
    let rest: Vec<_> = items.iter().skip((page - 1) * size).cloned().collect();
    let mut answer = json!({ "pagelen": size, "values": rest.iter().take(size).collect::<Vec<_>>() });
    if rest.len() > size {
        let host = format!("http://{}", request.header("host"));
        let host = state.links.as_deref().unwrap_or(&host);
        answer["next"] = format!("{host}{}?pagelen={size}&page=p-{}", request.path, page + 1).into();
    }
    Reply::json(200, &answer)
}

fn answer_pulls(request: &Request, rest: &[&str], state: &mut State) -> Reply {
    if rest.is_empty() {
        state.knows(request, &["q", "sort"], &[]);
        // Later pages are asked for by a URL that says no more than it must.
        if let Some(query) = request.query.get("q") {
            assert_eq!(query, "state=\"OPEN\" AND destination.branch.name=\"main\"");
            assert_eq!(request.query["sort"], "-created_on");
        }
        let mut found: Vec<_> = state.pulls.iter().filter(|pull| pull.state == "OPEN").collect();
        found.sort_by_key(|pull| std::cmp::Reverse(pull.id));
        let found: Vec<_> = found.into_iter().map(Pull::value).collect();
        return paged(request, &found, state);
    }
    let Some(pull) = state.pulls.iter().find(|pull| pull.id.to_string() == rest[0]).cloned() else {
        return refusal(404, "Pull request not found");
    };
    let value = |comment: &Comment| {
        json!({ "type": "pullrequest_comment", "id": comment.id, "deleted": comment.deleted,
            "content": { "type": "rendered", "raw": comment.raw, "markup": "markdown" },
            "user": { "type": "user", "uuid": comment.user } })
    };
    match (request.method.as_str(), &rest[1..]) {
        ("GET", []) => Reply::json(200, &pull.value()),
        ("GET", ["commits"]) => paged(request, &[json!({ "type": "commit", "hash": pull.head })], state),
        ("GET", ["comments"]) => {
            state.knows(request, &["sort"], &[]);
            let comments: Vec<_> = state.comments.iter().map(value).collect();
            paged(request, &comments, state)
        }
        ("POST", ["comments"]) => {
            state.knows(request, &[], &["content"]);
            let raw = request.text("/content/raw").to_owned();
            state.comment(ME, &raw);
            Reply::json(201, &value(state.comments.last().unwrap()))
        }
        ("PUT", ["comments", id]) => {
            state.knows(request, &[], &["content"]);
            let comment = state.comments.iter_mut().find(|comment| comment.id.to_string() == *id).unwrap();
            if comment.user != ME {
                return refusal(403, "You can't edit this comment");
            }
            request.text("/content/raw").clone_into(&mut comment.raw);
            Reply::json(200, &value(comment))
        }
        _ => refusal(404, "Not found"),
    }
}

fn answer_commit(request: &Request, commit: &str, rest: &[&str], state: &mut State) -> Reply {
    if commit.starts_with("dead") {
        return refusal(404, "Commit not found");
    }
    let commit = commit.to_owned();
    match (request.method.as_str(), rest) {
        ("POST", ["statuses", "build"]) => {
            state.knows(request, &[], &["key", "state", "name", "url", "description", "refname"]);
            let (key, url) = (request.text("/key").to_owned(), request.text("/url"));
            let known = ["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"].contains(&request.text("/state"));
            if key.is_empty() || key.chars().count() > 40 || !url.starts_with("http") || !known {
                return refusal(400, "Bad request");
            }
            let status =
                if state.statuses.insert((commit, key), request.body.clone()).is_some() { 200 } else { 201 };
            Reply::json(status, &over_type(&request.body, "build"))
        }
        ("GET", ["reports", "storekeeper-files"]) => match state.reports.get(&commit) {
            Some((report, _)) => Reply::json(200, report),
            None => refusal(404, "Report not found"),
        },
        ("PUT", ["reports", "storekeeper-files"]) => {
            state.knows(request, &[], &["title", "details", "report_type", "reporter", "result", "link"]);
            assert!(["PASSED", "FAILED", "PENDING"].contains(&request.text("/result")));
            assert!(["SECURITY", "COVERAGE", "TEST", "BUG"].contains(&request.text("/report_type")));
            let report = over_type(&request.body, "report");
            state.reports.entry(commit).or_default().0 = report.clone();
            Reply::json(200, &report)
        }
        ("DELETE", ["reports", "storekeeper-files"]) => {
            state.reports.remove(&commit);
            Reply { status: 204, headers: Vec::new(), body: Vec::new() }
        }
        ("POST", ["reports", "storekeeper-files", "annotations"]) => {
            let Some((_, annotations)) = state.reports.get_mut(&commit) else {
                return refusal(404, "Report not found");
            };
            let batch = request.body.as_array().unwrap();
            if batch.len() > 100 {
                return refusal(400, "at most 100 annotations");
            }
            for annotation in batch {
                assert!(annotation["summary"].as_str().unwrap().chars().count() <= 450);
                annotations
                    .insert(annotation["external_id"].as_str().unwrap().to_owned(), annotation.clone());
            }
            assert!(annotations.len() <= 1_000);
            Reply::json(200, &request.body)
        }
        _ => refusal(404, "Not found"),
    }
}

fn over_type(value: &Value, kind: &str) -> Value {
    let mut value = value.clone();
    value["type"] = kind.into();
    value
}
