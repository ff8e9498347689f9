//! Our client and a real Gitea: what it sends is taken, and what comes of it is where people see it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::repository::git;
use gitea::{Account, DAEMON_SCOPES, Gitea, Project};
use reqwest::Method;
use serde_json::{Value, json};
use storekeeper::forge::{
    Annotated, DEFAULT_TIMEOUT, Forge, ForgeError, ForgeKind, ForgeSettings, Login, Pull,
};
use storekeeper::names::comment_marker;
use storekeeper::report::CommitState::{Failure, Pending, Success};
use storekeeper::report::{Annotation, CommitStatus};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A commit that no repository has.
const UNKNOWN: &str = "0123456789012345678901234567890123456789";

struct World {
    gitea: Arc<Gitea>,
    folder: TempDir,
    project: Project,
    /// Who storekeeper is.
    keeper: Account,
    runtime: Runtime,
    forge: Forge,
}

impl World {
    /// Makes a repository with one store, and a user for storekeeper who may push to it, and no more.
    fn new(owner: &str) -> Self {
        let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
        let account = gitea.account(owner);
        let checkout = folder.path().join("checkout");
        fs::create_dir_all(checkout.join("stores")).unwrap();
        git(&checkout, &["init", "--quiet", "--initial-branch=main"]);
        fs::write(checkout.join("stores/acme.yaml"), "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n")
            .unwrap();
        git(&checkout, &["add", "--all"]);
        git(&checkout, &["commit", "--quiet", "--message", "first"]);
        let project = gitea.project(&account, "stores", &checkout);
        let keeper = gitea.account(&format!("keeper-of-{owner}"));
        project.admit(&keeper);
        let token = gitea.token(&keeper, &DAEMON_SCOPES);
        let forge = open(&gitea, &project, folder.path(), &token);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { gitea, folder, project, keeper, runtime, forge }
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Opens a pull request that changes the second line and adds a file of three lines.
    fn propose(&self, branch: &str) -> Pull {
        self.project.begin(branch);
        self.project.write("stores/acme.yaml", "one\nTWO\nthree\nfour\nfive\nsix\nseven\neight\n");
        self.project.write("stores/new.yaml", "one\ntwo\nthree\n");
        self.project.push(branch, branch);
        let number = self.project.open(&self.project.owner, branch, branch);
        self.wait(self.forge.pull(number)).unwrap().unwrap()
    }

    /// The reviews of a pull request: state, and lines with what they say.
    fn reviews(&self, number: u64) -> Vec<(String, Vec<(String, u64)>)> {
        let reviews = self.project.reviews(number);
        let lines = |review: &Value| {
            let lines = review["lines"].as_array().unwrap().iter();
            let line = |line: &Value| {
                (line["path"].as_str().unwrap().to_owned(), line["position"].as_u64().unwrap())
            };
            let mut lines: Vec<_> = lines.map(line).collect();
            lines.sort();
            lines
        };
        reviews.iter().map(|review| (review["state"].as_str().unwrap().to_owned(), lines(review))).collect()
    }
}

fn open(gitea: &Gitea, project: &Project, folder: &Path, token: &str) -> Forge {
    let file = folder.join(format!("token-{}", &token[..6]));
    fs::write(&file, token).unwrap();
    let settings = ForgeSettings {
        kind: ForgeKind::Gitea,
        api: Some(gitea.url("")),
        repository: project.full_name(),
        login: Login::Token { file },
        ca_file: Some(gitea.ca_file()),
        timeout: DEFAULT_TIMEOUT,
        cluster: None,
    };
    Forge::new(settings, Arc::new(|| 0)).unwrap()
}

fn note(path: &str, line: u32, message: &str) -> Annotation {
    Annotation { path: path.to_owned(), line, column: None, message: message.to_owned() }
}

#[test]
fn a_status_is_where_gitea_shows_it_and_the_newest_counts() {
    let world = World::new("nan");
    let pull = world.propose("first");
    for (state, text) in [(Pending, "applying"), (Failure, "no such image"), (Success, "READY 🛒")] {
        let status =
            CommitStatus::new("storekeeper/acme", state, text, Some("https://shops.example/stores/acme"));
        world.wait(world.forge.set_status(&pull.head, &status)).unwrap();
    }
    let shown = world.project.statuses(&pull.head)["storekeeper/acme"].clone();
    assert_eq!((&shown["status"], &shown["description"]), (&json!("success"), &json!("READY 🛒")));
    assert_eq!(shown["target_url"], "https://shops.example/stores/acme");
    let status = CommitStatus::new("storekeeper/acme", Success, "", None);
    let error = world.wait(world.forge.set_status(UNKNOWN, &status)).unwrap_err();
    assert!(error.is_final() && error.to_string().ends_with("there is no such commit"), "{error}");
}

#[test]
fn open_pull_requests_are_listed_with_what_is_needed_to_fetch_them() {
    let world = World::new("oda");
    let (first, second) = (world.propose("first"), world.propose("second"));
    let stranger = world.gitea.account("stranger-to-oda");
    let fork = world.project.fork(&stranger, &world.folder.path().join("fork"));
    fork.begin("theirs");
    fork.write("stores/new.yaml", "1\n");
    let head = fork.push("theirs", "theirs");
    let number = world.project.open(&stranger, "stranger-to-oda:theirs", "their *markup* @oda");
    let pulls = world.wait(world.forge.open_pulls("main")).unwrap();
    let expected = Pull {
        number,
        head: head.clone(),
        base: "main".to_owned(),
        reference: Some(format!("refs/pull/{number}/head")),
        author: "stranger-to-oda".to_owned(),
        fork: true,
        title: "their *markup* @oda".to_owned(),
        url: world.gitea.url(&format!("/oda/stores/pulls/{number}")),
    };
    assert_eq!(pulls, [expected.clone(), second.clone(), first.clone()]);
    assert_eq!(world.project.refs()[expected.reference.as_ref().unwrap()], head);
    assert_eq!((first.author.as_str(), first.fork), ("oda", false));
    assert_eq!(world.wait(world.forge.open_pulls("next")).unwrap(), []);
    world.project.close(first.number);
    assert_eq!(world.wait(world.forge.pull(first.number)).unwrap(), None);
    assert_eq!(world.wait(world.forge.pull(99)).unwrap(), None);
    assert_eq!(world.wait(world.forge.open_pulls("main")).unwrap(), [expected.clone(), second.clone()]);

    // Only whoever administers the repository may ask about others.
    let error = world.wait(world.forge.may_write(&expected)).unwrap_err();
    assert!(matches!(error, ForgeError::LoginRefused { status: 403, .. }), "{error}");
    let token = world.gitea.token(&world.project.owner, &DAEMON_SCOPES);
    let forge = open(&world.gitea, &world.project, world.folder.path(), &token);
    assert!(!world.wait(forge.may_write(&expected)).unwrap());
    assert!(world.wait(forge.may_write(&second)).unwrap());
    assert!(
        world.wait(forge.may_write(&Pull { author: world.keeper.name.clone(), ..second.clone() })).unwrap()
    );
    assert!(!world.wait(forge.may_write(&Pull { author: "nobody-there".to_owned(), ..second })).unwrap());
}

#[test]
fn there_is_one_comment_of_ours_and_a_locked_conversation_is_no_trouble_with_the_login() {
    let world = World::new("pia");
    let pull = world.propose("first");
    let path = format!("/issues/{}/comments", pull.number);
    let marker = comment_marker(None);
    world.project.send(Method::POST, &path, &json!({ "body": format!("{marker}\na stranger's") }));
    for text in ["one **store**", "two stores\n\n| a | b |", "two stores\n\n| a | b |"] {
        world.wait(world.forge.put_comment(pull.number, &marker, text)).unwrap();
    }
    let comments = world.project.comments(pull.number);
    assert_eq!(comments.len(), 2);
    assert_eq!(comments[1]["body"], format!("{marker}\ntwo stores\n\n| a | b |"));
    assert_eq!(comments[1]["user"]["login"], world.keeper.name);
    let long = "a long line of text\n".repeat(5_000);
    world.wait(world.forge.put_comment(pull.number, &marker, &long)).unwrap();
    assert!(world.project.comments(pull.number)[1]["body"].as_str().unwrap().contains("(cut: "));

    let stranger = world.gitea.account("stranger-to-pia");
    let token = world.gitea.token(&stranger, &DAEMON_SCOPES);
    let forge = open(&world.gitea, &world.project, world.folder.path(), &token);
    let lock = format!("/issues/{}/lock", pull.number);
    world.project.send(Method::PUT, &lock, &json!({}));
    let error = world.wait(forge.put_comment(pull.number, &marker, "text")).unwrap_err();
    assert!(matches!(error, ForgeError::Refused { .. }) && error.is_final(), "{error:?}");
}

#[test]
fn annotations_are_one_review_at_lines_of_the_diff() {
    let world = World::new("qim");
    let pull = world.propose("first");
    let notes = [
        note("stores/acme.yaml", 2, "unknown field @qim\n```\n/close"),
        note("stores/acme.yaml", 4, "unchanged, but shown"),
        note("stores/acme.yaml", 8, "not shown"),
        note("stores/new.yaml", 3, "the last line"),
        note("stores/new.yaml", 900, "beyond the end"),
        note("stores/other.yaml", 1, "no such file"),
    ];
    let annotated = world.wait(world.forge.annotate(&pull, &notes)).unwrap();
    assert_eq!(annotated, Annotated { shown: 3, left_out: 3, changed: true });
    let line = |path: &str, line| (path.to_owned(), line);
    let lines = vec![line("stores/acme.yaml", 2), line("stores/acme.yaml", 4), line("stores/new.yaml", 3)];
    assert_eq!(world.reviews(pull.number), [("COMMENT".to_owned(), lines)]);
    let again = world.wait(world.forge.annotate(&pull, &notes)).unwrap();
    assert_eq!(again, Annotated { changed: false, ..annotated });
    let older = Pull { head: UNKNOWN.to_owned(), ..pull.clone() };
    assert!(!world.wait(world.forge.annotate(&older, &notes)).unwrap().changed);
    assert_eq!(world.reviews(pull.number).len(), 1);
    let body = world.project.reviews(pull.number)[0]["lines"][0]["body"].as_str().unwrap().to_owned();
    assert!(body.starts_with("<!-- storekeeper:files "), "{body}");
}

#[test]
fn a_draft_of_ours_that_was_left_behind_is_not_published_with_the_next_review() {
    let world = World::new("rue");
    let pull = world.propose("first");
    let keeper = world.gitea.account("keeper2-of-rue");
    world.project.admit(&keeper);
    let review = |lines: &[(&str, u32)]| {
        let comments: Vec<_> = lines
            .iter()
            .map(|(body, line)| json!({ "path": "stores/acme.yaml", "new_position": line, "body": body }))
            .collect();
        let body = json!({ "event": "COMMENT", "body": "", "commit_id": pull.head, "comments": comments });
        let path = world.project.path(&format!("/pulls/{}/reviews", pull.number));
        let login = format!("token {}", keeper.token);
        world.gitea.ask(Some(&login), Method::POST, &path, &body).status
    };
    let ours = "<!-- storekeeper:files 0a -->\ntext";
    assert_eq!(review(&[(ours, 2), (ours, 900)]), 500);
    let token = world.gitea.token(&keeper, &DAEMON_SCOPES);
    let forge = open(&world.gitea, &world.project, world.folder.path(), &token);
    let notes = [note("stores/acme.yaml", 1, "wrong")];
    assert!(world.wait(forge.annotate(&pull, &notes)).unwrap().changed);
    let lines = vec![("stores/acme.yaml".to_owned(), 1)];
    assert_eq!(world.reviews(pull.number), [("COMMENT".to_owned(), lines)]);
}
