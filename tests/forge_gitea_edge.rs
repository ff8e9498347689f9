//! The edge to forges against a real Gitea: what it sends is accepted, and read back it says the same.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use std::fs;
use std::sync::Arc;

use common::repository::git;
use gitea::{Account, DAEMON_SCOPES, Gitea, Project};
use serde_json::{Value, json};
use storekeeper::forge::{DEFAULT_TIMEOUT, Forge, ForgeError, ForgeKind, ForgeSettings, Login};
use storekeeper::report::{Annotation, CommitState, CommitStatus};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A repository that storekeeper may write to, as a user of its own.
struct Scene {
    gitea: Arc<Gitea>,
    project: Project,
    machine: Account,
    forge: Forge,
    runtime: Runtime,
    folder: TempDir,
}

impl Scene {
    fn new(owner: &str) -> Self {
        let (gitea, folder) = (Gitea::shared(), TempDir::new().unwrap());
        let (person, machine) = (gitea.account(owner), gitea.account(&format!("machine-of-{owner}")));
        let checkout = folder.path().join("checkout");
        fs::create_dir_all(checkout.join("stores")).unwrap();
        git(&checkout, &["init", "--quiet", "--initial-branch=main"]);
        fs::write(checkout.join("stores/acme.yaml"), "one\ntwo\nthree\n").unwrap();
        git(&checkout, &["add", "--all"]);
        git(&checkout, &["commit", "--quiet", "--message", "first"]);
        let project = gitea.project(&person, "stores", &checkout);
        project.admit(&machine);
        let token_file = folder.path().join("token");
        fs::write(&token_file, gitea.token(&machine, &DAEMON_SCOPES)).unwrap();
        let settings = ForgeSettings {
            kind: ForgeKind::Gitea,
            api: Some(gitea.url("")),
            repository: project.full_name(),
            login: Login::Token { file: token_file },
            ca_file: Some(gitea.ca_file()),
            timeout: DEFAULT_TIMEOUT,
            cluster: None,
        };
        let forge = Forge::new(settings, Arc::new(|| 0)).unwrap();
        let runtime = Runtime::new().unwrap();
        Self { gitea, project, machine, forge, runtime, folder }
    }

    /// Opens a pull request that changes the second line; returns its number and its head.
    fn propose(&self, branch: &str) -> (u64, String) {
        self.project.begin(branch);
        self.project.write("stores/acme.yaml", &format!("one\n{branch}\nthree\n"));
        let head = self.project.push(branch, branch);
        (self.project.open(&self.project.owner, branch, &format!("{branch} it")), head)
    }

    fn annotate(&self, number: u64, lines: &[u32]) -> Result<usize, String> {
        let note = |line: &u32| Annotation {
            path: "stores/acme.yaml".to_owned(),
            line: *line,
            column: Some(1),
            message: format!("line {line} is wrong"),
        };
        let notes: Vec<_> = lines.iter().map(note).collect();
        self.runtime.block_on(async {
            let pull = self.forge.pull(number).await.unwrap().unwrap();
            let annotated = self.forge.annotate(&pull, &notes).await.map_err(|error| error.to_string())?;
            Ok(annotated.shown)
        })
    }

    /// Leaves a draft of ours with a comment on the first line, the only way that the API has for it: by a failure.
    fn leave_draft(&self, number: u64, comment: &str) {
        let line = |line: u32| json!({ "path": "stores/acme.yaml", "new_position": line, "body": comment });
        let review = json!({ "event": "COMMENT", "body": "", "comments": [line(1), line(900)] });
        let path = self.project.path(&format!("/pulls/{number}/reviews"));
        let token = format!("token {}", self.machine.token);
        let answer = self.gitea.ask(Some(&token), reqwest::Method::POST, &path, &review);
        assert_eq!(answer.status, 500, "{answer:?}");
    }

    /// Returns the lines that our reviews speak of, review by review, with their states.
    fn annotated(&self, number: u64) -> Vec<(String, Vec<u64>)> {
        let reviews = self.project.reviews(number).into_iter();
        let lines = |review: &Value| {
            review["lines"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line["position"].as_u64().unwrap())
                .collect()
        };
        reviews.map(|review| (review["state"].as_str().unwrap().to_owned(), lines(&review))).collect()
    }
}

#[test]
fn a_status_is_shown_with_state_reason_and_link() {
    let scene = Scene::new("ann");
    let commit = scene.project.refs()["refs/heads/main"].clone();
    let states = [CommitState::Pending, CommitState::Failure, CommitState::Success];
    for state in states {
        let reason = format!("{state:?} ä \"<b>\" {}", "x".repeat(200));
        let status = CommitStatus::new("storekeeper/acme", state, &reason, Some("https://example.com/x?y=1"));
        scene.runtime.block_on(scene.forge.set_status(&commit, &status)).unwrap();
        let shown = &scene.project.statuses(&commit)["storekeeper/acme"];
        assert_eq!(shown["status"], state.as_str());
        assert_eq!(shown["description"], status.description);
        assert_eq!(shown["target_url"], "https://example.com/x?y=1");
        assert_eq!(shown["creator"]["login"], scene.machine.name);
    }
    let status = CommitStatus::new("x", CommitState::Success, "", None);
    let unknown = "0123456789012345678901234567890123456789";
    let error = scene.runtime.block_on(scene.forge.set_status(unknown, &status)).unwrap_err();
    assert!(matches!(error, ForgeError::Unfit { .. }), "the forge itself is well: {error}");
}

#[test]
fn open_pull_requests_are_listed_with_their_heads_and_who_may_write() {
    let scene = Scene::new("ben");
    let (number, head) = scene.propose("change");
    let stranger = scene.gitea.account("stranger-to-ben");
    let fork = scene.project.fork(&stranger, &scene.folder.path().join("fork"));
    fork.begin("theirs");
    fork.write("new", "1\n");
    let theirs = fork.push("theirs", "theirs");
    let foreign = scene.project.open(&stranger, "stranger-to-ben:theirs", "theirs");
    let pulls = scene.runtime.block_on(scene.forge.open_pulls("main")).unwrap();
    let shown: Vec<_> =
        pulls.iter().map(|pull| (pull.number, pull.head.as_str(), pull.author.as_str(), pull.fork)).collect();
    assert_eq!(
        shown,
        [(foreign, theirs.as_str(), "stranger-to-ben", true), (number, head.as_str(), "ben", false)]
    );
    assert_eq!(pulls[1].title, "change it");
    assert_eq!(pulls[1].url, scene.gitea.url(&format!("/ben/stores/pulls/{number}")));
    let may_write = |pull| scene.runtime.block_on(scene.forge.may_write(pull));
    for pull in &pulls {
        assert_eq!(scene.project.refs()[pull.reference.as_ref().unwrap()], pull.head);
        let error = may_write(pull).unwrap_err().to_string();
        assert!(error.contains("repo admins can query all repo permissions"), "{error}");
    }
    scene.project.admit_as(&scene.machine, "admin");
    for pull in &pulls {
        assert_eq!(may_write(pull).unwrap(), !pull.fork);
    }
    assert_eq!(scene.runtime.block_on(scene.forge.open_pulls("other")).unwrap(), []);
    scene.project.merge(number, "squash");
    assert_eq!(scene.runtime.block_on(scene.forge.pull(number)).unwrap(), None);
    assert_eq!(scene.runtime.block_on(scene.forge.pull(999)).unwrap(), None);
}

#[test]
fn one_comment_is_kept_up_to_date_and_nobody_elses_is_touched() {
    let scene = Scene::new("cleo");
    let (number, _) = scene.propose("change");
    let put = |text: &str| {
        scene.runtime.block_on(scene.forge.put_comment(number, "<!-- storekeeper plan -->", text)).unwrap();
    };
    put("first");
    let body = scene.project.comments(number)[0]["body"].clone();
    // Somebody else says the very same, marker included.
    let path = format!("/issues/{number}/comments");
    scene.project.send(reqwest::Method::POST, &path, &json!({ "body": body }));
    put("second, with `code` and\n\n| a | table |\n|---|---|\n| x | y |\n");
    put("second, with `code` and\n\n| a | table |\n|---|---|\n| x | y |\n");
    let comments = scene.project.comments(number);
    assert_eq!(comments.len(), 2);
    assert_eq!(comments[0]["user"]["login"], scene.machine.name);
    assert!(comments[0]["body"].as_str().unwrap().contains("second, with `code`"), "{comments:?}");
    assert_eq!(comments[1]["body"], body);
    let long = "ää\n".repeat(30_000);
    put(&long);
    let shown = scene.project.comments(number)[0]["body"].as_str().unwrap().to_owned();
    assert!(shown.contains("ää") && shown.contains("cut"), "{}", shown.chars().count());
}

#[test]
fn annotations_are_at_their_lines_once() {
    let scene = Scene::new("dora");
    let (number, _) = scene.propose("change");
    let commented = |lines: &[u64]| ("COMMENT".to_owned(), lines.to_vec());
    assert_eq!(scene.annotate(number, &[2, 3]), Ok(2));
    assert_eq!(scene.annotate(number, &[2, 3]), Ok(2));
    assert_eq!(scene.annotated(number), [commented(&[2, 3])]);
    scene.project.push("change", "another head");
    assert_eq!(scene.annotate(number, &[2]), Ok(1));
    assert_eq!(scene.annotated(number), [commented(&[2, 3]), commented(&[2])]);
}

#[test]
fn a_line_that_the_pull_request_does_not_show_is_left_out_and_spoils_nothing() {
    let scene = Scene::new("emil");
    let (number, _) = scene.propose("change");
    let commented = |lines: &[u64]| ("COMMENT".to_owned(), lines.to_vec());
    assert_eq!(scene.annotate(number, &[900]), Ok(0));
    assert_eq!(scene.annotated(number), []);
    assert_eq!(scene.annotate(number, &[2, 3]), Ok(2));
    // As a crash between two requests leaves it.
    let review = scene.project.reviews(number)[0].clone();
    scene.leave_draft(number, review["lines"][0]["body"].as_str().unwrap());
    assert_eq!(scene.annotate(number, &[2, 900]), Ok(1));
    assert_eq!(scene.annotate(number, &[2, 900]), Ok(1));
    assert_eq!(scene.annotated(number), [commented(&[2, 3]), commented(&[2])]);
}

#[test]
fn a_review_that_somebody_began_by_hand_is_neither_sent_nor_deleted() {
    let scene = Scene::new("fay");
    let (number, _) = scene.propose("change");
    scene.leave_draft(number, "hm");
    assert_eq!(scene.annotate(number, &[2]), Ok(0));
    let path = scene.project.path(&format!("/pulls/{number}/reviews"));
    let reviews = scene.gitea.get(&scene.machine, &path);
    let states: Vec<_> = reviews.as_array().unwrap().iter().map(|review| &review["state"]).collect();
    assert_eq!(states, ["PENDING"]);
}
