//! A push to a local repository is noticed at once, and reading the repository is not.
#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use storekeeper::git::{GitError, LocalWatch, watch_local};

#[path = "common/git_origin.rs"]
mod git_origin;
use git_origin::{Origin, git};

const DEADLINE: Duration = Duration::from_secs(10);

fn watched(path: &Path) -> (LocalWatch, Receiver<Instant>) {
    let (sender, receiver) = mpsc::channel();
    let watch = watch_local(path, move || {
        let _ = sender.send(Instant::now());
    })
    .unwrap();
    (watch, receiver)
}

/// Waits until nothing was reported for a while, so that the next report belongs to the next change.
fn settle(changes: &Receiver<Instant>) {
    while changes.recv_timeout(Duration::from_millis(300)).is_ok() {}
}

#[test]
fn a_push_to_a_bare_repository_is_seen_within_a_second() {
    let origin = Origin::with_a_store();
    let (_watch, changes) = watched(&origin.bare);
    for round in 0..3 {
        origin.push(&[("stores/acme.yaml", &format!("round: {round}\n"))]);
        let pushed = Instant::now();
        let seen = changes.recv_timeout(DEADLINE).unwrap();
        println!("seen {:?} after the push returned", seen.saturating_duration_since(pushed));
        assert!(seen.saturating_duration_since(pushed) < Duration::from_secs(1));
        settle(&changes);
    }
}

#[test]
fn a_commit_a_new_branch_and_packed_refs_are_seen() {
    let origin = Origin::with_a_store();
    let (_watch, changes) = watched(&origin.work);
    for command in [
        &["commit", "-q", "--allow-empty", "-m", "x"][..],
        &["branch", "feature/nested"],
        &["pack-refs", "--all"],
        &["branch", "feature/nested2"],
        &["checkout", "-q", "feature/nested"],
    ] {
        git(&origin.work, command);
        assert!(changes.recv_timeout(DEADLINE).is_ok(), "git {command:?} must be seen");
        settle(&changes);
    }
}

#[test]
fn a_fetch_does_not_call_for_the_next_one() {
    let origin = Origin::with_a_store();
    let mirror = origin.mirror();
    let (_watch, changes) = watched(&origin.bare);
    mirror.fetch().unwrap();
    mirror.fetch().unwrap();
    assert!(changes.recv_timeout(Duration::from_millis(500)).is_err());
}

#[test]
fn a_linked_working_tree_is_watched_where_its_refs_are() {
    let origin = Origin::with_a_store();
    git(&origin.work, &["worktree", "add", "-q", "../linked", "-b", "linked"]);
    let (_watch, changes) = watched(&origin.folder.path().join("linked"));
    git(&origin.work, &["commit", "-q", "--allow-empty", "-m", "x"]);
    assert!(changes.recv_timeout(DEADLINE).is_ok());
}

#[test]
fn a_folder_without_a_repository_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let error = watch_local(folder.path(), || {}).unwrap_err();
    assert!(matches!(error, GitError::Watch { .. }), "{error}");
}
