//! GitLab as its clients see it on the wire, written from its published API and what it does with statuses. What it does
//! not know in a request is a problem, which fails the test.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use crate::fake_forge::{HEAD, MAIN, Reply, Request, Server, TOKEN, added, page_of};

pub struct GitLab {
    pub server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub statuses: Vec<Status>,
    /// Commits that are on a branch of the project.
    pub on_branches: Vec<String>,
    pub requests: Vec<MergeRequest>,
    /// Access level and state by user id.
    pub members: BTreeMap<u64, (u32, &'static str)>,
    pub notes: Vec<Note>,
    pub discussions: Vec<Discussion>,
    /// Older and newer path and diff of each file that a merge request changes.
    pub files: Vec<(String, String, String)>,
    pub problems: Vec<String>,
    next: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub sha: String,
    pub name: String,
    pub state: String,
    pub description: String,
    pub reference: Option<String>,
}

#[derive(Clone)]
pub struct MergeRequest {
    pub iid: u64,
    pub sha: Option<String>,
    pub target: String,
    pub state: &'static str,
    pub author: u64,
    pub source_project: Option<u64>,
}

#[derive(Clone)]
pub struct Note {
    pub id: u64,
    pub author: u64,
    pub body: String,
    pub system: bool,
}

#[derive(Clone)]
pub struct Discussion {
    pub id: String,
    pub author: u64,
    pub body: String,
    pub position: Value,
    pub resolved: bool,
}

impl GitLab {
    /// The token's user has the id 41.
    pub fn start() -> Self {
        let state = State {
            on_branches: vec![HEAD.to_owned(), MAIN.to_owned()],
            requests: vec![MergeRequest::new(7)],
            files: vec![("stores/acme.yaml".to_owned(), "stores/acme.yaml".to_owned(), added(20))],
            next: 100,
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let answering = state.clone();
        Self { server: Server::start(move |request| answer(request, &mut answering.lock().unwrap())), state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for GitLab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let problems = &self.state().problems;
            assert!(problems.is_empty(), "GitLab does not know this:\n  {}", problems.join("\n  "));
        }
    }
}

impl MergeRequest {
    pub fn new(iid: u64) -> Self {
        Self {
            iid,
            sha: Some(HEAD.to_owned()),
            target: "main".to_owned(),
            state: "opened",
            author: 5,
            source_project: Some(1),
        }
    }

    fn value(&self) -> Value {
        let sha = &self.sha;
        json!({
            "id": 9000 + self.iid, "iid": self.iid, "project_id": 1, "title": format!("Pull request {}", self.iid),
            "state": self.state, "sha": sha, "target_branch": self.target, "source_branch": "change",
            "source_project_id": self.source_project, "target_project_id": 1, "draft": false,
            "author": { "id": self.author, "username": "alice", "state": "active" },
            "web_url": format!("https://gitlab.com/acme/eu/stores/-/merge_requests/{}", self.iid),
            "diff_refs": { "base_sha": MAIN, "start_sha": MAIN, "head_sha": sha },
        })
    }
}

impl State {
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn note(&mut self, author: u64, body: &str) {
        let id = self.id();
        self.notes.push(Note { id, author, body: body.to_owned(), system: false });
    }

    pub fn bodies(&self) -> Vec<&str> {
        self.notes.iter().map(|note| note.body.as_str()).collect()
    }

    /// Notes what a request has that the documentation does not know.
    fn knows(&mut self, request: &Request, query: &[&str], body: &[&str]) {
        let mut known = query.to_vec();
        if request.method == "GET" {
            known.extend(["page", "per_page"]);
        }
        let unknown = request.query.keys().filter(|name| !known.contains(&name.as_str()));
        let fields = request.body.as_object().into_iter().flat_map(|fields| fields.keys());
        let unknown = unknown.chain(fields.filter(|name| !body.contains(&name.as_str())));
        let call = format!("{} {}", request.method, request.path);
        self.problems.extend(unknown.map(|name| format!("{call}: {name}")));
    }
}

fn missing(what: &str) -> Reply {
    Reply::message(404, &format!("404 {what} Not Found"))
}

fn answer(request: &Request, state: &mut State) -> Reply {
    if request.header("authorization") != format!("Bearer {TOKEN}") {
        return Reply::message(401, "401 Unauthorized");
    }
    let segments = request.segments();
    let segments: Vec<_> = segments.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    if segments == ["api", "v4", "user"] {
        return Reply::json(200, &json!({ "id": 41, "username": "keeper", "state": "active" }));
    }
    // A slash in the project's path is encoded, or it would not be one.
    let ["api", "v4", "projects", "acme/eu/stores", rest @ ..] = segments.as_slice() else {
        return missing("Project");
    };
    match (method, rest) {
        ("POST", ["statuses", sha]) => set_status(request, sha, state),
        ("GET", ["repository", "commits", sha, "merge_requests"]) => {
            let fits = |found: &&MergeRequest| found.sha.as_deref() == Some(sha);
            let found: Vec<_> = state.requests.iter().filter(fits).map(MergeRequest::value).collect();
            paged(request, &found)
        }
        ("GET", ["merge_requests"]) => {
            state.knows(request, &["state", "target_branch", "order_by", "sort"], &[]);
            let fits = |found: &&MergeRequest| {
                request.query["state"] == found.state && request.query["target_branch"] == found.target
            };
            let mut found: Vec<_> = state.requests.iter().filter(fits).collect();
            assert_eq!(
                (request.query["order_by"].as_str(), request.query["sort"].as_str()),
                ("created_at", "desc")
            );
            found.sort_by_key(|found| std::cmp::Reverse(found.iid));
            paged(request, &found.into_iter().map(MergeRequest::value).collect::<Vec<_>>())
        }
        ("GET", ["members", "all", id]) => match state.members.get(&id.parse().unwrap()) {
            Some((level, kind)) => Reply::json(
                200,
                &json!({ "id": 5, "username": "alice", "state": kind, "access_level": level }),
            ),
            None => missing("Not found"),
        },
        (_, ["merge_requests", iid, rest @ ..]) => {
            let found = state.requests.iter().find(|found| found.iid.to_string() == *iid).cloned();
            let Some(found) = found else { return missing("Not found") };
            match (method, rest) {
                ("GET", []) => Reply::json(200, &found.value()),
                _ => answer_notes(request, rest, &found, state),
            }
        }
        _ => missing("Not found"),
    }
}

fn paged(request: &Request, items: &[Value]) -> Reply {
    let (items, page, more) = page_of(request, items, "per_page", 20);
    let next = if more { (page + 1).to_string() } else { String::new() };
    Reply::json(200, &items.into()).with("x-next-page", next).with("x-page", page)
}

fn set_status(request: &Request, sha: &str, state: &mut State) -> Reply {
    state.knows(request, &[], &["state", "name", "description", "target_url", "ref"]);
    if sha.starts_with("dead") {
        return missing("Commit");
    }
    let reference = request.body["ref"].as_str().map(str::to_owned);
    if reference.is_none() && !state.on_branches.iter().any(|there| there == sha) {
        return missing("References for commit");
    }
    let (name, wanted) = (request.text("/name").to_owned(), request.text("/state").to_owned());
    assert!(["pending", "running", "success", "failed", "canceled", "skipped"].contains(&wanted.as_str()));
    let status = Status {
        sha: sha.to_owned(),
        name: name.clone(),
        state: wanted.clone(),
        description: request.text("/description").to_owned(),
        reference,
    };
    // One that has ended stays, and a new one is made beside it.
    let under_way = state.statuses.iter_mut().find(|there| {
        there.sha == sha && there.name == name && ["pending", "running"].contains(&there.state.as_str())
    });
    match under_way {
        Some(there) if wanted == "pending" => {
            let message = format!(
                "Cannot transition status via :enqueue from :{} (Reason(s): Status cannot transition via \"enqueue\")",
                there.state
            );
            return Reply::message(400, &message);
        }
        Some(there) => *there = status,
        None => state.statuses.push(status),
    }
    Reply::json(201, &json!({ "id": 1, "sha": sha, "name": name, "status": wanted }))
}

fn note_value(note: &Note) -> Value {
    json!({ "id": note.id, "body": note.body, "system": note.system, "noteable_type": "MergeRequest",
        "author": { "id": note.author, "username": "x" }, "resolvable": false })
}

fn answer_notes(request: &Request, rest: &[&str], found: &MergeRequest, state: &mut State) -> Reply {
    let body = request.text("/body").to_owned();
    match (request.method.as_str(), rest) {
        ("GET", ["notes"]) => {
            state.knows(request, &["sort", "order_by"], &[]);
            assert_eq!(
                (request.query["order_by"].as_str(), request.query["sort"].as_str()),
                ("created_at", "asc")
            );
            paged(request, &state.notes.iter().map(note_value).collect::<Vec<_>>())
        }
        ("POST", ["notes"]) => {
            state.knows(request, &[], &["body"]);
            state.note(41, &body);
            Reply::json(201, &note_value(state.notes.last().unwrap()))
        }
        ("PUT", ["notes", id]) => {
            state.knows(request, &[], &["body"]);
            let note = state.notes.iter_mut().find(|note| note.id.to_string() == *id).unwrap();
            if note.author != 41 {
                return Reply::message(403, "403 Forbidden");
            }
            note.body = body;
            Reply::json(200, &note_value(note))
        }
        ("GET", ["diffs"]) => {
            let value = |(old, new, diff): &(String, String, String)| json!({ "old_path": old, "new_path": new, "diff": diff, "new_file": false, "a_mode": "100644" });
            paged(request, &state.files.iter().map(value).collect::<Vec<_>>())
        }
        ("GET", ["discussions"]) => {
            paged(request, &state.discussions.iter().map(discussion_value).collect::<Vec<_>>())
        }
        ("POST", ["discussions"]) => {
            state.knows(request, &[], &["body", "position"]);
            if !is_shown(&request.body["position"], found, state) {
                let message = "400 Bad request - Note {:line_code=>[\"can't be blank\", \"must be a valid line code\"]}";
                return Reply::message(400, message);
            }
            let id = format!("{:040x}", state.id());
            let position = request.body["position"].clone();
            state.discussions.push(Discussion { id, author: 41, body, position, resolved: false });
            Reply::json(201, &discussion_value(state.discussions.last().unwrap()))
        }
        ("PUT", ["discussions", id]) => {
            state.knows(request, &[], &["resolved"]);
            let discussion = state.discussions.iter_mut().find(|discussion| discussion.id == *id).unwrap();
            discussion.resolved = request.body["resolved"].as_bool().unwrap();
            Reply::json(200, &discussion_value(discussion))
        }
        _ => missing("Not found"),
    }
}

fn discussion_value(discussion: &Discussion) -> Value {
    let Discussion { id, author, body, position, resolved } = discussion;
    json!({ "id": id, "individual_note": false, "notes": [{ "id": 1, "type": "DiffNote", "body": body, "system": false,
        "author": { "id": author, "username": "x" }, "resolvable": true, "resolved": resolved, "position": position }] })
}

/// Tells whether a position is one of the diff, as GitLab wants it: a line that both versions have needs both numbers.
fn is_shown(position: &Value, found: &MergeRequest, state: &State) -> bool {
    let fields: Vec<_> = position.as_object().unwrap().keys().map(String::as_str).collect();
    let known = [
        "position_type",
        "base_sha",
        "start_sha",
        "head_sha",
        "old_path",
        "new_path",
        "new_line",
        "old_line",
    ];
    assert!(fields.iter().all(|field| known.contains(field)), "{fields:?}");
    assert_eq!(
        (position["base_sha"].as_str(), position["head_sha"].as_str()),
        (Some(MAIN), found.sha.as_deref())
    );
    let file =
        state.files.iter().find(|(old, new, _)| position["old_path"] == *old && position["new_path"] == *new);
    let Some((_, _, diff)) = file else { return false };
    let (mut old, mut new) = (0, 0);
    for line in diff.lines() {
        match line.as_bytes()[0] {
            b'@' => {
                let numbers: Vec<i64> =
                    line.split([' ', ',', '-', '+', '@']).filter_map(|number| number.parse().ok()).collect();
                (old, new) = (numbers[0] - 1, numbers[2] - 1);
            }
            b'+' => {
                new += 1;
                if position["new_line"] == new && position.get("old_line").is_none() {
                    return true;
                }
            }
            b'-' => old += 1,
            _ => {
                (old, new) = (old + 1, new + 1);
                if position["new_line"] == new && position["old_line"] == old {
                    return true;
                }
            }
        }
    }
    false
}
