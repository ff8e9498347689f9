//! A store whose file is gone is kept for the grace period, and one that comes back after its removal is a fresh one.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};
use serde_json::json;

const LONG: &str = "deletionBudget: {maxPercent: 100}\n  deletionGracePeriodSeconds: 600";

#[test]
fn a_removal_waits_for_its_grace_period_over_restarts_and_a_file_that_comes_back_calls_it_off() {
    let (world, daemon) = World::with_small(&["acme"], LONG);
    let before = world.uid("acme");
    world.remove_store("acme");
    let shown = world.until_state(&daemon, "acme", "DELETING");
    let at = shown["deletesAt"].as_str().unwrap().to_owned();
    assert!(shown["reason"].as_str().unwrap().contains(&format!("it is deleted at {at} unless")), "{shown}");
    let since = until("the time is written down", || world.mark("acme", "removal-since"));
    assert!(since < at, "{since} {at}");
    let (_, page) = daemon.get("/");
    assert!(page.contains("<small>deleted <time") && page.contains("\">in "), "{page}");

    daemon.kill();
    let daemon = world.start_small();
    let shown = world.until_state(&daemon, "acme", "DELETING");
    assert_eq!((shown["deletesAt"].as_str(), world.mark("acme", "removal-since")), (Some(&*at), Some(since)));

    // While the repository can't be followed nothing is deleted, though the time is over.
    world.write_fleet("deletionGracePeriodSeconds: 0\n  domian: wrong");
    world.repository.push("a fleet file that is wrong");
    until("the fleet is frozen", || daemon.fleet()["frozen"].as_str().map(str::to_owned));
    assert!(world.stays("acme"));

    world.write_fleet(LONG);
    world.write_store("acme", "Acme");
    world.repository.push("acme is back");
    let shown = world.until_state(&daemon, "acme", "READY");
    assert!(shown["deletesAt"].is_null());
    until("the mark is gone", || world.mark("acme", "removal-since").is_none().then_some(()));
    assert_eq!(world.uid("acme"), before);
}

#[test]
fn a_store_that_was_removed_and_added_again_is_a_fresh_one() {
    let (world, daemon) = World::with_small(&["acme"], "deletionGracePeriodSeconds: 1");
    let password = || {
        let secret = world.cluster.get("v1", "Secret", &world.namespace("acme"), "password");
        secret.map(|secret| secret["data"]["password"].clone())
    };
    let before = (world.uid("acme"), password());
    assert!(before.0.is_some() && before.1.is_some());
    world.remove_store("acme");
    world.until_gone("acme");
    world.write_store("acme", "Acme");
    world.repository.push("add acme again");
    world.until_state(&daemon, "acme", "READY");
    let after = (world.uid("acme"), password());
    assert!(after.0 != before.0 && after.1.is_some() && after.1 != before.1, "{before:?} {after:?}");
}

#[test]
fn marks_that_somebody_else_wrote_on_a_store_with_a_file_are_taken_off() {
    let (world, _daemon) = World::with_small(&["acme"], LONG);
    let marks = json!({ "metadata": { "annotations": {
        "storekeeper.dev/removal-since": "2020-01-01T00:00:00Z", "storekeeper.dev/protect": "true",
    } } });
    world.cluster.patch_namespace(&world.namespace("acme"), &marks);
    for mark in ["removal-since", "protect"] {
        until(&format!("{mark} is gone"), || world.mark("acme", mark).is_none().then_some(()));
    }
}
