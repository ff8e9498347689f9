//! GitHub as its clients see it on the wire, written from its published API. Every request and answer is held against the
//! OpenAPI description; what is not in the tests' interest is the description's own example.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::sign::Verifier;
use serde_json::{Value, json};

use crate::fake_forge::{HEAD, Reply, Request, Server, TOKEN, added, page_of};
use crate::openapi::{Operation, operation};

/// GitHub's own bound on statuses of one context.
const STATUSES_MAX: usize = 1_000;

pub struct GitHub {
    pub server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    /// Who a token is.
    pub users: BTreeMap<String, (u64, String)>,
    /// When the tokens of installations end.
    pub ends: BTreeMap<String, i64>,
    pub statuses: Vec<Value>,
    pub pulls: Vec<Pull>,
    pub permissions: BTreeMap<String, &'static str>,
    /// On pull requests.
    pub comments: Vec<Comment>,
    /// At lines.
    pub line_comments: Vec<Comment>,
    pub reviews: usize,
    /// Name and diff of each file that a pull request changes.
    pub files: Vec<(String, Option<String>)>,
    pub runs: Vec<Run>,
    pub app: Option<App>,
    /// What links in answers begin with, when it is not the server itself.
    pub links: Option<String>,
    /// What the description does not allow.
    pub problems: Vec<String>,
    /// Of these, what GitHub does all the same: parts of the messages.
    pub known: Vec<&'static str>,
    next: u64,
}

#[derive(Clone)]
pub struct Pull {
    pub number: u64,
    pub head: String,
    pub base: String,
    pub author: Option<String>,
    /// The repository that the head is in.
    pub repository: Option<u64>,
    pub state: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    pub id: u64,
    pub pull: u64,
    pub user: (u64, String),
    pub body: String,
    pub path: String,
    pub line: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Run {
    pub id: u64,
    pub value: Value,
    pub annotations: Vec<Value>,
}

pub struct App {
    pub id: String,
    pub slug: String,
    pub key: PKey<Public>,
    pub clock: Arc<AtomicI64>,
    /// How many tokens were made.
    pub tokens: usize,
}

impl GitHub {
    pub fn start() -> Self {
        let state = State {
            users: BTreeMap::from([(TOKEN.to_owned(), (41, "keeper".to_owned()))]),
            pulls: vec![Pull::new(7)],
            files: vec![("stores/acme.yaml".to_owned(), Some(added(20)))],
            next: 100,
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let (answering, judging) = (state.clone(), state.clone());
        let answer = move |request: &Request| match operation(request) {
            Some(operation) => answer(request, &operation, &mut answering.lock().unwrap()),
            None => refusal(404, "Not Found"),
        };
        let judge = move |request: &Request, reply: &Reply| {
            let mut problems = match operation(request) {
                Some(operation) => {
                    let mut problems = operation.problems_of_request(request);
                    if reply.headers.iter().any(|(_, value)| value.starts_with("application/json")) {
                        problems.extend(operation.problems_of_reply(reply));
                    }
                    problems
                }
                None => vec!["there is no such operation".to_owned()],
            };
            if request.header("x-github-api-version") != "2022-11-28"
                || request.header("user-agent").is_empty()
            {
                problems.push("a header is missing".to_owned());
            }
            let call = format!("{} {} ({})", request.method, request.path, reply.status);
            let mut state = judging.lock().unwrap();
            problems.retain(|problem| !state.known.iter().any(|known| problem.contains(known)));
            state.problems.extend(problems.into_iter().map(|problem| format!("{call}: {problem}")));
        };
        Self { server: Server::start_judged(answer, judge), state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let problems = &self.state().problems;
            let some: Vec<_> = problems.iter().take(20).map(String::as_str).collect();
            assert!(some.is_empty(), "GitHub's description says otherwise:\n  {}", some.join("\n  "));
        }
    }
}

impl Pull {
    pub fn new(number: u64) -> Self {
        Self {
            number,
            head: HEAD.to_owned(),
            base: "main".to_owned(),
            author: Some("alice".to_owned()),
            repository: Some(1),
            state: "open",
        }
    }
}

impl State {
    pub fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn comment(&mut self, user: (u64, &str), body: &str) {
        let (id, user) = (self.id(), (user.0, user.1.to_owned()));
        let body = body.to_owned();
        self.comments.push(Comment { id, pull: 7, user, body, path: String::new(), line: None });
    }

    pub fn bodies(&self) -> Vec<&str> {
        self.comments.iter().map(|comment| comment.body.as_str()).collect()
    }

    /// Returns who asks with a token.
    fn user(&self, request: &Request) -> Option<(u64, String)> {
        let token = request.header("authorization").strip_prefix("Bearer ")?;
        let clock = self.app.as_ref().map_or(0, |app| app.clock.load(Ordering::Relaxed));
        let over = self.ends.get(token).is_some_and(|ends| *ends <= clock);
        self.users.get(token).filter(|_| !over).cloned()
    }

    /// Says what is wrong with the JSON Web Token of an App.
    fn app_problem(&self, request: &Request) -> Option<&'static str> {
        let Some(app) = &self.app else { return Some("there is no App") };
        let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        let parts: Vec<_> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Some("A JSON web token could not be decoded");
        };
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let signed = format!("{header}.{claims}");
        let mut verifier = Verifier::new(MessageDigest::sha256(), &app.key).unwrap();
        if !verifier.verify_oneshot(&decoded(signature), signed.as_bytes()).unwrap() {
            return Some("the signature is wrong");
        }
        let header: Value = serde_json::from_slice(&decoded(header)).unwrap();
        let claims: Value = serde_json::from_slice(&decoded(claims)).unwrap();
        let now = app.clock.load(Ordering::Relaxed);
        let (begins, ends) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        match () {
            () if header["alg"] != "RS256" => Some("alg is not RS256"),
            () if claims["iss"] != app.id.as_str() => Some("iss is not the App"),
            () if begins >= now => Some("iat is not in the past"),
            () if ends <= now => Some("exp has passed"),
            () if ends > now + 600 => Some("exp is too far in the future"),
            () => None,
        }
    }
}

/// Makes an answer of an example and what differs from it.
fn over(mut base: Value, changes: Value) -> Value {
    merge(&mut base, changes);
    base
}

fn merge(base: &mut Value, changes: Value) {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(base.entry(name).or_insert(Value::Null), change);
            }
        }
        (base, changes) => *base = changes,
    }
}

pub fn refusal(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
}

fn invalid(errors: &Value) -> Reply {
    let body = json!({
        "message": "Validation Failed", "errors": errors, "documentation_url": "https://docs.github.com/rest"
    });
    Reply::json(422, &body)
}

fn user_value(user: &(u64, String)) -> Value {
    let kind = if user.1.ends_with("[bot]") { "Bot" } else { "User" };
    json!({ "id": user.0, "login": user.1, "type": kind })
}

fn answer(request: &Request, operation: &Operation, state: &mut State) -> Reply {
    let rest = operation.path.strip_prefix("/repos/{owner}/{repo}");
    let as_app = operation.path.starts_with("/app") || rest == Some("/installation");
    if as_app {
        return match state.app_problem(request) {
            Some(problem) => refusal(401, problem),
            None => answer_app(request, operation, state),
        };
    }
    let Some(user) = state.user(request) else { return refusal(401, "Bad credentials") };
    if operation.path == "/user" {
        if user.1.ends_with("[bot]") {
            return refusal(403, "Resource not accessible by integration");
        }
        return Reply::json(200, &over(operation.example(200), user_value(&user)));
    }
    if request.segments()[1..3] != ["acme", "stores"] {
        return refusal(404, "Not Found");
    }
    let rest = rest.unwrap();
    if rest.contains("check-runs") {
        return answer_checks(request, operation, state, &user);
    }
    if rest.starts_with("/pulls") {
        return answer_pulls(request, operation, state, &user);
    }
    match (request.method.as_str(), rest) {
        ("POST", "/statuses/{sha}") => set_status(request, operation, state),
        ("GET", "/collaborators/{username}/permission") => {
            match state.permissions.get(&request.segments()[4]) {
                Some(permission) => {
                    let role = json!({ "role_name": permission });
                    let changes = json!({ "permission": permission, "role_name": permission, "user": role });
                    Reply::json(200, &over(operation.example(200), changes))
                }
                None => refusal(404, "Not Found"),
            }
        }
        _ => answer_comments(request, operation, state, &user),
    }
}

fn answer_app(request: &Request, operation: &Operation, state: &mut State) -> Reply {
    let app = state.app.as_mut().unwrap();
    match (request.method.as_str(), operation.path.as_str()) {
        ("GET", "/app") => Reply::json(200, &over(operation.example(200), json!({ "slug": app.slug }))),
        ("GET", "/repos/{owner}/{repo}/installation") => {
            Reply::json(200, &over(operation.example(200), json!({ "id": 900, "app_slug": app.slug })))
        }
        ("POST", "/app/installations/{installation_id}/access_tokens") => {
            assert_eq!(request.body, json!({ "repositories": ["stores"] }));
            assert_eq!(request.segments()[2], "900");
            app.tokens += 1;
            let token = format!("ghs_canary-{}", app.tokens);
            let ends = app.clock.load(Ordering::Relaxed) + 3600;
            let expires = storekeeper::report::moment::utc(ends);
            let bot = (77, format!("{}[bot]", app.slug));
            state.ends.insert(token.clone(), ends);
            state.users.insert(token.clone(), bot);
            Reply::json(201, &over(operation.example(201), json!({ "token": token, "expires_at": expires })))
        }
        _ => refusal(404, "Not Found"),
    }
}

fn set_status(request: &Request, operation: &Operation, state: &mut State) -> Reply {
    let sha = request.segments()[4].clone();
    let context = request.text("/context").to_lowercase();
    let there = state.statuses.iter().filter(|status| {
        status["sha"] == sha.as_str() && status["context"].as_str().unwrap().to_lowercase() == context
    });
    if there.count() >= STATUSES_MAX {
        let message = "This SHA and context has reached the maximum number of statuses.";
        return invalid(&json!([{ "resource": "Status", "code": "custom", "message": message }]));
    }
    if request.text("/description").chars().count() > 140 {
        return invalid(&json!([{ "resource": "Status", "code": "custom", "field": "description",
            "message": "description is too long (maximum is 140 characters)" }]));
    }
    if sha.starts_with("dead") {
        return refusal(422, &format!("No commit found for SHA: {sha}"));
    }
    let mut status = request.body.clone();
    status["sha"] = sha.into();
    state.statuses.push(status);
    Reply::json(201, &over(operation.example(201), request.body.clone()))
}

/// One page, with a link to the next one.
fn paged(request: &Request, items: &[Value], state: &State) -> Reply {
    let (items, page, more) = page_of(request, items, "per_page", 30);
    let reply = Reply::json(200, &items.into());
    if !more {
        return reply;
    }
    let host = format!("http://{}", request.header("host"));
    let host = state.links.as_deref().unwrap_or(&host);
    let link = |page, rel| format!("<{host}{}?page={page}>; rel=\"{rel}\"", request.path);
    reply.with("link", format!("{}, {}", link(1, "first"), link(page + 1, "next")))
}

fn pull_value(pull: &Pull, example: Value) -> Value {
    let number = pull.number;
    let author = pull.author.as_ref().map_or(Value::Null, |author| user_value(&(5, author.clone())));
    let mut value = over(
        example,
        json!({
            "number": number,
            "state": pull.state,
            "title": format!("Pull\nrequest {number}"),
            "html_url": format!("https://github.com/acme/stores/pull/{number}"),
            "head": { "sha": pull.head, "ref": "change" },
            "base": { "ref": pull.base, "repo": { "id": 1 } },
            // The example lacks fields here that the description demands.
            "requested_teams": [],
        }),
    );
    if author.is_null() {
        value["user"] = author;
    } else {
        merge(&mut value["user"], author);
    }
    match pull.repository {
        Some(id) => merge(&mut value["head"]["repo"], json!({ "id": id })),
        None => value["head"]["repo"] = Value::Null,
    }
    value
}

fn answer_pulls(request: &Request, operation: &Operation, state: &mut State, user: &(u64, String)) -> Reply {
    let segments = request.segments();
    let number = segments.get(4).map(|number| number.parse::<u64>().unwrap());
    let rest = operation.path.trim_start_matches("/repos/{owner}/{repo}");
    if let Some(number) = number
        && !state.pulls.iter().any(|pull| pull.number == number)
    {
        return refusal(404, "Not Found");
    }
    match (request.method.as_str(), rest) {
        ("GET", "/pulls") => {
            let base = request.query.get("base").unwrap();
            let fits = |pull: &&Pull| pull.state == "open" && pull.base == *base;
            let mut found: Vec<_> = state.pulls.iter().filter(fits).collect();
            found.sort_by_key(|pull| std::cmp::Reverse(pull.number));
            let found: Vec<_> = found.iter().map(|pull| pull_value(pull, operation.example(200))).collect();
            paged(request, &found, state)
        }
        ("GET", "/pulls/{pull_number}") => {
            let pull = state.pulls.iter().find(|pull| Some(pull.number) == number).unwrap();
            Reply::json(200, &pull_value(pull, operation.example(200)))
        }
        ("GET", "/pulls/{pull_number}/files") => {
            let file = |(name, patch): &(String, Option<String>)| {
                let mut value =
                    over(operation.example(200), json!({ "filename": name, "status": "modified" }));
                match patch {
                    Some(patch) => value["patch"] = patch.as_str().into(),
                    None => drop(value.as_object_mut().unwrap().remove("patch")),
                }
                value
            };
            let files: Vec<_> = state.files.iter().map(file).collect();
            paged(request, &files, state)
        }
        ("GET", "/pulls/{pull_number}/comments") => {
            let value = |comment: &Comment| line_comment_value(comment, operation.example(200));
            let comments: Vec<_> = state.line_comments.iter().map(value).collect();
            paged(request, &comments, state)
        }
        ("POST", "/pulls/{pull_number}/comments") => match line_comment(&request.body, state, user) {
            Some(comment) => {
                state.line_comments.push(comment.clone());
                Reply::json(201, &line_comment_value(&comment, operation.example(201)))
            }
            None => invalid(&json!([{ "resource": "PullRequestReviewComment", "code": "invalid",
                "field": "pull_request_review_thread.line" }])),
        },
        ("POST", "/pulls/{pull_number}/reviews") => {
            let comments = request.body["comments"].as_array().unwrap();
            let comments: Option<Vec<_>> =
                comments.iter().map(|comment| line_comment(comment, state, user)).collect();
            let Some(comments) = comments else {
                return Reply::json(
                    422,
                    &json!({ "message": "Unprocessable Entity", "errors": ["Line could not be resolved"],
                        "documentation_url": "https://docs.github.com/rest" }),
                );
            };
            assert_eq!(request.text("/event"), "COMMENT");
            state.line_comments.extend(comments);
            state.reviews += 1;
            Reply::json(200, &operation.example(200))
        }
        _ => refusal(404, "Not Found"),
    }
}

/// Makes a comment at a line; none where the pull request does not show it.
fn line_comment(body: &Value, state: &mut State, user: &(u64, String)) -> Option<Comment> {
    let (path, line) = (body["path"].as_str()?.to_owned(), body["line"].as_u64()?);
    let patch = state.files.iter().find(|(name, _)| *name == path)?.1.clone()?;
    assert_eq!(body["side"], "RIGHT");
    (line < patch.lines().count() as u64).then(|| Comment {
        id: state.id(),
        pull: 7,
        user: user.clone(),
        body: body["body"].as_str().unwrap().to_owned(),
        path,
        line: Some(line),
    })
}

fn line_comment_value(comment: &Comment, example: Value) -> Value {
    let mut value = over(
        example,
        json!({ "id": comment.id, "body": comment.body, "path": comment.path, "user": user_value(&comment.user) }),
    );
    match comment.line {
        Some(line) => value["line"] = line.into(),
        None => drop(value.as_object_mut().unwrap().remove("line")),
    }
    value
}

fn answer_comments(
    request: &Request,
    operation: &Operation,
    state: &mut State,
    user: &(u64, String),
) -> Reply {
    let value = |comment: &Comment, example: Value| {
        over(example, json!({ "id": comment.id, "body": comment.body, "user": user_value(&comment.user) }))
    };
    let segments = request.segments();
    if request.text("/body").chars().count() > 65_536 {
        return invalid(&json!([{ "resource": "IssueComment", "code": "unprocessable", "field": "data",
            "message": "Body is too long (maximum is 65536 characters)" }]));
    }
    // As a browser that edits it would leave it.
    let body = request.text("/body").replace('\n', "\r\n");
    match (request.method.as_str(), operation.path.trim_start_matches("/repos/{owner}/{repo}")) {
        ("GET", "/issues/{issue_number}/comments") => {
            let found: Vec<_> =
                state.comments.iter().map(|comment| value(comment, operation.example(200))).collect();
            paged(request, &found, state)
        }
        ("POST", "/issues/{issue_number}/comments") => {
            let pull = segments[4].parse().unwrap();
            let id = state.id();
            let comment = Comment { id, pull, user: user.clone(), body, path: String::new(), line: None };
            state.comments.push(comment.clone());
            Reply::json(201, &value(&comment, operation.example(201)))
        }
        ("PATCH", "/issues/comments/{comment_id}") => {
            let id: u64 = segments[5].parse().unwrap();
            let Some(comment) = state.comments.iter_mut().find(|comment| comment.id == id) else {
                return refusal(404, "Not Found");
            };
            if comment.user != *user {
                return refusal(403, "Must have admin rights to Repository.");
            }
            comment.body = body;
            Reply::json(200, &value(comment, operation.example(200)))
        }
        _ => refusal(404, "Not Found"),
    }
}

fn run_value(run: &Run, example: Value) -> Value {
    let output = json!({ "annotations_count": run.annotations.len() });
    let base = json!({ "conclusion": null, "external_id": null });
    over(over(over(example, base), run.value.clone()), json!({ "id": run.id, "output": output }))
}

fn answer_checks(request: &Request, operation: &Operation, state: &mut State, user: &(u64, String)) -> Reply {
    let segments = request.segments();
    let rest = operation.path.trim_start_matches("/repos/{owner}/{repo}");
    if !user.1.ends_with("[bot]") && request.method != "GET" {
        return refusal(403, "You must authenticate via a GitHub App.");
    }
    let mut value = request.body.clone();
    let annotations = value.pointer_mut("/output/annotations").map(Value::take).unwrap_or_default();
    let annotations = annotations.as_array().cloned().unwrap_or_default();
    if let Some(output) = value.get_mut("output").and_then(Value::as_object_mut) {
        output.remove("annotations");
    }
    match (request.method.as_str(), rest) {
        ("GET", "/commits/{ref}/check-runs") => {
            let name = request.query.get("check_name").unwrap();
            let fits = |run: &&Run| {
                run.value["head_sha"] == segments[4].as_str() && run.value["name"] == name.as_str()
            };
            // The newest alone.
            let example = operation.example(200);
            let example = &example["check_runs"][0];
            let found: Vec<_> = state.runs.iter().filter(fits).max_by_key(|run| run.id).into_iter().collect();
            let runs: Vec<_> = found.iter().map(|run| run_value(run, example.clone())).collect();
            Reply::json(200, &json!({ "total_count": runs.len(), "check_runs": runs }))
        }
        ("POST", "/check-runs") => {
            let run = Run { id: state.id(), value, annotations };
            state.runs.push(run.clone());
            Reply::json(201, &run_value(&run, operation.example(201)))
        }
        ("PATCH", "/check-runs/{check_run_id}") => {
            let id: u64 = segments[4].parse().unwrap();
            let Some(run) = state.runs.iter_mut().find(|run| run.id == id) else {
                return refusal(404, "Not Found");
            };
            merge(&mut run.value, value);
            run.annotations.extend(annotations);
            Reply::json(200, &run_value(run, operation.example(200)))
        }
        _ => refusal(404, "Not Found"),
    }
}
