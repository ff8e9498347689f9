//! What the forge tests stand on: a real Gitea does what they take for granted.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[allow(dead_code, reason = "these tests use a part of it")]
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;
#[path = "common/hooks.rs"]
mod hooks;

use std::path::Path;

use common::repository::git;
use gitea::{Account, Gitea, Project};
use tempfile::TempDir;

#[test]
fn probe() {
    let begun = std::time::Instant::now();
    let gitea = Gitea::start();
    println!("start: {:?}", begun.elapsed());
    let folder = TempDir::new().unwrap();
    let alice = gitea.account("alice");
    println!("account: {:?}", begun.elapsed());
    let project = project(&gitea, &alice, folder.path());
    println!("pushed: {:?} {:?}", begun.elapsed(), project.refs());
}

fn project<'a>(gitea: &'a Gitea, owner: &Account, folder: &Path) -> Project<'a> {
    let checkout = folder.join("checkout");
    std::fs::create_dir(&checkout).unwrap();
    git(&checkout, &["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(checkout.join("a"), "1\n").unwrap();
    git(&checkout, &["add", "--all"]);
    git(&checkout, &["commit", "--quiet", "--message", "first"]);
    gitea.project(owner, "stores", &checkout)
}
