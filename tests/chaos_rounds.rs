//! A short round of `make chaos`: killed amid commits and faults, the cluster ends equal to git, and nothing happens on
//! the way that must not.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../deploy/chaos/mod.rs"]
mod chaos;
mod common;
#[path = "common/git_server.rs"]
mod git_server;

use chaos::harness::{Chaos, Place};
use common::required_path;

#[test]
fn killed_amid_commits_and_faults_the_cluster_ends_equal_to_git() {
    const SEED: u64 = 5;
    let folder = tempfile::tempdir().unwrap();
    let place = Place {
        kubeconfig: required_path("STOREKEEPER_TEST_KUBECONFIG"),
        folder: folder.path().to_owned(),
        prefix: format!("c{:x}", std::process::id()),
        seed: SEED,
    };
    let figures = Chaos::start(place).run(&chaos::plan::rounds(SEED, 4, 2));
    println!("{}", figures.line(SEED));
    assert!(figures.violations.is_empty(), "{:#?}", figures.violations);
    assert_eq!(figures.kills, 4);
    assert!(figures.stores > 0 && figures.commits > 1, "{figures:?}");
}
