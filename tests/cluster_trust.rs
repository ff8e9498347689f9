//! A commit that nobody who is believed has signed changes and removes nothing, and says so; a signed one goes on.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::daemon::{Daemon, binary};
use common::repository::git;
use common::{World, until};
use serde_json::Value;

/// Makes an SSH key and returns the line that allows it.
fn key(world: &World, name: &str) -> (PathBuf, String) {
    let path = world.folder.path().join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    (path, format!("{name}@example.com namespaces=\"git\" {public}"))
}

/// Commits everything with a signature, pushes, and returns the commit.
fn push_signed(world: &World, key: &Path) -> String {
    let checkout = &world.repository.checkout;
    git(checkout, &["add", "--all"]);
    let signer = format!("user.signingkey={}", key.display());
    git(
        checkout,
        &["-c", "gpg.format=ssh", "-c", &signer, "commit", "--quiet", "--allow-empty", "-S", "-m", "signed"],
    );
    git(checkout, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
    git(checkout, &["rev-parse", "HEAD"])
}

fn start(world: &World, more: &[&str]) -> Daemon {
    let allowed = world.folder.path().join("allowed_signers");
    let arguments =
        ["--probe", "objects", "--poll-seconds", "1", "--allowed-signers-file", allowed.to_str().unwrap()];
    let arguments = [&arguments[..], more].concat();
    let (url, kubeconfig) = (world.repository.url(), &world.cluster.kubeconfig);
    Daemon::start_on("127.0.0.1:0", world.folder.path(), &url, &world.source, kubeconfig, &arguments)
}

fn allow(world: &World, lines: &str) {
    fs::write(world.folder.path().join("allowed_signers"), lines).unwrap();
}

fn until_frozen(daemon: &Daemon, words: &[&str]) -> String {
    until(&format!("frozen: {words:?}"), || {
        let frozen = daemon.fleet()["frozen"].as_str().map(str::to_owned)?;
        words.iter().all(|word| frozen.contains(word)).then_some(frozen)
    })
}

fn until_followed(daemon: &Daemon, commit: &str) -> Value {
    until(&format!("commit {commit} is followed"), || {
        let fleet = daemon.fleet();
        (fleet["revision"] == *commit && fleet["frozen"].is_null()).then_some(fleet)
    })
}

/// Returns a metric that counts.
#[expect(clippy::cast_possible_truncation, reason = "a count is whole and small")]
fn count(daemon: &Daemon, name: &str) -> i64 {
    daemon.metric(name) as i64
}

fn uid(world: &World, name: &str) -> Value {
    world.cluster.namespace(&world.namespace(name)).unwrap()["metadata"]["uid"].clone()
}

#[test]
fn an_unsigned_removal_removes_nothing_and_a_signed_one_does() {
    let world = World::new();
    let (ada, line) = key(&world, "ada");
    allow(&world, &line);
    for name in ["acme", "birch"] {
        world.write_store(name, name);
    }
    let good = push_signed(&world, &ada);
    let daemon = start(&world, &["--verify-commits", "require"]);
    world.until_state(&daemon, "acme", "READY");
    world.until_state(&daemon, "birch", "READY");
    let signer = daemon.fleet()["signer"].as_str().unwrap().to_owned();
    assert!(signer.starts_with("ada@example.com (SSH key SHA256:"), "{signer}");
    assert!(daemon.get("/").1.contains("signed by ada@example.com"));
    let before = uid(&world, "birch");

    world.repository.remove(&world.file("birch"));
    let unsigned = world.repository.push("an unsigned removal");
    let frozen = until_frozen(&daemon, &[&unsigned[..12], "is not signed", "push a commit on top of it"]);
    assert_eq!(count(&daemon, "storekeeper_git_frozen"), 1);
    assert_eq!(count(&daemon, "storekeeper_commits_distrusted_total{problem=\"unsigned\"}"), 1);
    let page = daemon.get("/").1;
    assert!(page.contains("Newer commits are not followed") && page.contains("is not signed"), "{page}");
    assert_eq!(daemon.fleet()["revision"], good);

    // What is in force stays so after a crash, and is healed meanwhile.
    daemon.kill();
    let daemon = start(&world, &["--verify-commits", "require"]);
    assert_eq!(until_frozen(&daemon, &["is not signed"]), frozen);
    world.until_state(&daemon, "birch", "READY");
    assert_eq!(daemon.fleet()["revision"], good);
    assert_eq!(uid(&world, "birch"), before);
    let looks = || daemon.metric("storekeeper_git_fetches_total{result=\"failed\"}");
    until("some looks have passed", || (looks() >= 3.0).then_some(()));
    assert_eq!(count(&daemon, "storekeeper_commits_distrusted_total{problem=\"unsigned\"}"), 1);
    let said = daemon.lines().filter(|line| line.to_string().contains("is not signed")).count();
    assert_eq!(said, 1, "it is said once");
    assert_eq!(uid(&world, "birch"), before);

    let signed = push_signed(&world, &ada);
    until_followed(&daemon, &signed);
    world.until_gone("birch");
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn keys_are_read_at_each_look_and_unreadable_ones_freeze() {
    let world = World::new();
    let ((ada, ada_line), (bob, bob_line)) = (key(&world, "ada"), key(&world, "bob"));
    allow(&world, &ada_line);
    world.write_store("acme", "acme");
    let good = push_signed(&world, &ada);
    let daemon = start(&world, &["--verify-commits", "require"]);
    until_followed(&daemon, &good);
    world.write_store("acme", "By Bob");
    let by_bob = push_signed(&world, &bob);
    until_frozen(&daemon, &["is signed by SSH key SHA256:", "which is no allowed signer's"]);
    allow(&world, &format!("{ada_line}{bob_line}"));
    let fleet = until_followed(&daemon, &by_bob);
    assert!(fleet["signer"].as_str().unwrap().starts_with("bob@example.com"));
    // Bob's key is taken back: his commit stays in force and nothing goes on until somebody else signs.
    allow(&world, &ada_line);
    until_frozen(&daemon, &["which is no allowed signer's"]);
    assert_eq!(daemon.fleet()["revision"], by_bob);
    allow(&world, "ada@example.com ssh-ed25519\n");
    until_frozen(&daemon, &["failed to understand line 1 of the allowed signers"]);
    fs::remove_file(world.folder.path().join("allowed_signers")).unwrap();
    until_frozen(&daemon, &["failed to read the keys in"]);
    allow(&world, &ada_line);
    let again = push_signed(&world, &ada);
    until_followed(&daemon, &again);
}

#[test]
fn a_warning_follows_the_commit_and_says_so() {
    let world = World::new();
    let (ada, line) = key(&world, "ada");
    allow(&world, &line);
    world.write_store("acme", "acme");
    let unsigned = world.repository.push("unsigned");
    let daemon = start(&world, &["--verify-commits", "warn"]);
    let fleet = until_followed(&daemon, &unsigned);
    assert!(fleet["signer"].is_null());
    assert!(fleet["distrust"].as_str().unwrap().contains("is not signed"), "{fleet}");
    assert!(daemon.get("/").1.contains("The commit in force is not believed"));
    world.until_state(&daemon, "acme", "READY");
    let signed = push_signed(&world, &ada);
    let fleet = until_followed(&daemon, &signed);
    assert!(fleet["distrust"].is_null() && fleet["signer"].is_string(), "{fleet}");
}

#[test]
fn rewritten_history_freezes_until_it_is_acknowledged_once() {
    let world = World::new();
    allow(&world, "");
    world.write_store("acme", "One");
    let first = world.repository.push("one");
    let daemon = start(&world, &["--fast-forward-only"]);
    until_followed(&daemon, &first);
    let checkout = &world.repository.checkout;
    let rewrite = |name: &str| {
        git(checkout, &["checkout", "--quiet", "--orphan", name]);
        world.write_store("acme", name);
        world.repository.push(name)
    };
    let two = rewrite("Two");
    let frozen = until_frozen(&daemon, &["history was rewritten", &format!("storekeeper acknowledge {two}")]);
    assert!(frozen.contains(&first[..12]), "{frozen}");
    assert_eq!(count(&daemon, "storekeeper_commits_distrusted_total{problem=\"rewritten\"}"), 1);

    let acknowledge = |commit: &str| {
        let state = world.folder.path().join("state");
        Command::new(binary()).args(["acknowledge", commit, "--state-folder"]).arg(state).output().unwrap()
    };
    let short = acknowledge(&two[..12]);
    assert!(!short.status.success());
    assert!(
        String::from_utf8_lossy(&short.stderr).contains("the full id of a commit is needed"),
        "{short:?}"
    );
    assert!(acknowledge(&first).status.success());
    // Of that very commit, not of another one.
    let looks = || daemon.metric("storekeeper_git_fetches_total{result=\"failed\"}");
    let seen = looks();
    until("some looks have passed", || (looks() >= seen + 2.0).then_some(()));
    until_frozen(&daemon, &["history was rewritten"]);
    assert!(acknowledge(&two).status.success());
    until_followed(&daemon, &two);

    // Once: the same commit after another one is refused again.
    let three = rewrite("Three");
    until_frozen(&daemon, &[&three]);
    assert!(acknowledge(&three).status.success());
    until_followed(&daemon, &three);
    // Going on from what is in force needs no leave.
    let four = world.repository.push("four");
    until_followed(&daemon, &four);
    let back = |commit: &str| {
        git(checkout, &["push", "--quiet", "--force", "origin", &format!("{commit}:refs/heads/main")]);
    };
    back(&three);
    until_frozen(&daemon, &[&three]);
    // And ends the freeze.
    back(&four);
    until_followed(&daemon, &four);
}
