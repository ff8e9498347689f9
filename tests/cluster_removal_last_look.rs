//! Before a store is deleted, the repository is looked at once more: a file that came back in time is seen.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;

use std::time::Duration;

use common::daemon::Daemon;
use common::{World, until};
use git_server::{Answer, Identity, Server};

/// A world of one store, whose repository is polled as often as this.
fn polled(seconds: &str) -> (World, Server, Daemon) {
    let world = World::new();
    world.write_fleet("deletionBudget: {maxPercent: 100}\n  deletionGracePeriodSeconds: 6");
    world.write_store("acme", "acme");
    world.repository.push("a store");
    let authority = Identity::new("Test CA", None, true, &[], 30);
    let identity = Identity::new("localhost", Some(&authority), false, &["localhost"], 30);
    let ca_file = world.folder.path().join("ca.pem");
    authority.write_pem(&ca_file);
    let server = Server::start(&identity, &[], git(&world));
    let url = format!("https://localhost:{}/fleet.git", server.port);
    let more = ["--poll-seconds", seconds, "--git-ca-file", ca_file.to_str().unwrap()];
    let daemon = world.start_small_with(&url, &world.cluster.kubeconfig, &more);
    world.until_state(&daemon, "acme", "READY");
    (world, server, daemon)
}

fn git(world: &World) -> Answer {
    Answer::Git { root: world.folder.path().to_owned(), token: None }
}

#[test]
fn a_file_that_came_back_before_the_next_poll_is_seen() {
    let (world, _server, daemon) = polled("20");
    let before = world.uid("acme");
    world.remove_store("acme");
    world.until_state(&daemon, "acme", "DELETING");
    world.write_store("acme", "acme");
    let back = world.repository.push("acme is back");
    until("the last look sees it", || {
        assert!(world.stays("acme"), "deleted without a look");
        (daemon.fleet()["revision"] == back).then_some(())
    });
    world.until_state(&daemon, "acme", "READY");
    assert_eq!(world.uid("acme"), before);
}

#[test]
fn a_file_that_came_back_while_the_server_is_slow_is_seen() {
    let (world, server, daemon) = polled("1");
    let before = world.uid("acme");
    world.remove_store("acme");
    world.until_state(&daemon, "acme", "DELETING");
    server.set(Answer::Slow { root: world.folder.path().to_owned(), delay: Duration::from_secs(12) });
    let connections = || *server.connections.lock().unwrap();
    let known = connections();
    until("a slow look has begun", || (connections() > known).then_some(()));
    world.write_store("acme", "acme");
    let back = world.repository.push("acme is back");
    until("the slow look sees it", || {
        assert!(world.stays("acme"), "deleted while a look was under way");
        (daemon.fleet()["revision"] == back).then_some(())
    });
    world.until_state(&daemon, "acme", "READY");
    assert_eq!(world.uid("acme"), before);
}

#[test]
fn a_store_whose_file_stays_away_goes_after_the_last_look_and_not_with_the_next_poll() {
    let (world, _server, daemon) = polled("40");
    world.remove_store("acme");
    world.until_state(&daemon, "acme", "DELETING");
    let begun = std::time::Instant::now();
    world.until_gone("acme");
    assert!(begun.elapsed() < Duration::from_secs(30), "it waited for the next poll");
}
