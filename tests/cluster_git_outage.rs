//! Nothing is removed because of git's troubles.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::repository::git;
use common::{World, until};

/// Breaks the repository in some way, and sees that the daemon says so, removes nothing and recovers.
fn outage(break_it: impl Fn(&World), mend_it: impl Fn(&World)) {
    let (world, daemon) = World::with_ready(&["acme"]);

    break_it(&world);
    let reason = until("the freeze is shown", || daemon.fleet()["frozen"].as_str().map(str::to_owned));
    assert!(!reason.is_empty());
    assert_eq!(daemon.store(&world.store("acme")).unwrap()["state"], "READY");

    // Also a daemon that starts during the outage removes nothing, and keeps the store healthy.
    daemon.kill();
    let daemon = world.start_daemon();
    until("the freeze is shown after a restart", || daemon.fleet()["frozen"].as_str().map(str::to_owned));
    let namespace = world.namespace("acme");
    world.until_state(&daemon, "acme", "READY");
    world.cluster.delete("v1", "Service", &namespace, "medusa");
    until("the deleted Service is back", || world.cluster.get("v1", "Service", &namespace, "medusa"));
    assert!(world.cluster.namespace(&namespace).unwrap()["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(daemon.get("/healthz").0, 200, "an outage elsewhere fails no liveness");

    mend_it(&world);
    world.write_store("acme", "Acme is back");
    let commit = world.repository.push("after the outage");
    until("the newest commit is followed again", || (daemon.fleet()["revision"] == commit).then_some(()));
    assert!(daemon.fleet()["frozen"].is_null());
}

#[test]
fn an_unreachable_repository_freezes_and_prunes_nothing() {
    let aside = |world: &World| world.folder.path().join("aside.git");
    outage(
        |world| std::fs::rename(&world.repository.bare, aside(world)).unwrap(),
        |world| std::fs::rename(aside(world), &world.repository.bare).unwrap(),
    );
}

#[test]
fn a_deleted_branch_freezes_and_prunes_nothing() {
    outage(|world| drop(git(&world.repository.bare, &["update-ref", "-d", "refs/heads/main"])), |_| {});
}

#[test]
fn an_emptied_repository_freezes_and_prunes_nothing() {
    outage(
        |world| {
            let tree = git(&world.repository.checkout, &["mktree", "--missing"]);
            let commit = git(&world.repository.checkout, &["commit-tree", &tree, "-m", "empty"]);
            git(
                &world.repository.checkout,
                &["push", "--quiet", "--force", "origin", &format!("{commit}:main")],
            );
        },
        |_| {},
    );
}

#[test]
fn a_broken_fleet_file_freezes_and_prunes_nothing() {
    outage(
        |world| {
            world.repository.write("storekeeper.yaml", "kind: [");
            world.repository.push("break the fleet file");
        },
        |world| world.write_fleet("deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}"),
    );
}
