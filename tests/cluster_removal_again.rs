//! A store that is removed a second time has a grace period and a backup of its own: what happened to it before counts
//! for nothing, though its file was of no use meanwhile.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::daemon::Daemon;
use common::{World, until};

const GRACE: &str = "deletionBudget: {maxPercent: 100}\n  deletionGracePeriodSeconds: 6";

/// Waits until a store is shown with a time of deletion, which has to be another one than this.
fn deletes_at(world: &World, daemon: &Daemon, before: &str) -> String {
    until("it has its grace period", || {
        assert!(world.stays("acme"), "it was deleted at once");
        let shown = daemon.store(&world.store("acme"))?;
        let at = shown["deletesAt"].as_str()?;
        (shown["state"] == "DELETING" && at != before).then(|| at.to_owned())
    })
}

/// Removes a store, brings it back by a file that is of no use, and removes it again when the first grace period is
/// over.
fn removed_twice(with: &str, restarted: bool) {
    let (world, daemon) = World::with_small(&["acme"], GRACE);
    world.remove_store("acme");
    let first = deletes_at(&world, &daemon, "");
    let mark = until("the time is written down", || world.mark("acme", "removal-since"));
    world.write_store_with("acme", with);
    world.repository.push("acme is back, after a fashion");
    world.until_state(&daemon, "acme", "FAILED");
    until("the mark is gone", || world.mark("acme", "removal-since").is_none().then_some(()));
    until("the first grace period is over", || (now() > first).then_some(()));
    let daemon = if restarted {
        daemon.kill();
        world.remove_store("acme");
        world.start_small()
    } else {
        world.remove_store("acme");
        daemon
    };
    let second = deletes_at(&world, &daemon, &first);
    assert!(second > first, "{first} {second}");
    let again = until("the time is written down", || world.mark("acme", "removal-since"));
    assert!(again > mark, "{mark} {again}");
    world.until_gone("acme");
}

fn now() -> String {
    let output = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_file_that_was_broken_ends_the_first_removal() {
    removed_twice("domian: wrong", false);
}

#[test]
fn a_file_that_did_not_render_ends_the_first_removal() {
    removed_twice("values: {wrong: not today}", false);
}

#[test]
fn a_file_that_was_broken_ends_the_first_removal_for_the_next_start_too() {
    removed_twice("domian: wrong", true);
}

#[test]
fn the_final_backup_of_the_first_removal_is_none_of_the_second() {
    let (world, daemon) = World::with_small(&["acme"], "deletionBudget: {maxPercent: 100}");
    world.write_store_with("acme", "values: {backup: good}");
    world.repository.push("with a backup");
    let cron_job = || world.cluster.get("batch/v1", "CronJob", &world.namespace("acme"), "backup");
    until("the CronJob is there", cron_job);
    world.until_state(&daemon, "acme", "READY");
    world.refuse_deletion("acme");
    world.remove_store("acme");
    let refused = |daemon: &Daemon| {
        until("the deletion is refused", || {
            let shown = daemon.store(&world.store("acme"))?;
            shown["reason"].as_str()?.contains("on a Sunday").then_some(())
        });
    };
    let job = || {
        let job = world.cluster.get("batch/v1", "Job", &world.namespace("acme"), "final-backup")?;
        job["metadata"]["uid"].as_str().map(str::to_owned)
    };
    refused(&daemon);
    let first = job().unwrap();
    world.write_store_with("acme", "domian: wrong");
    let broken = world.repository.push("acme is back, after a fashion");
    until("the commit is seen", || (daemon.fleet()["revision"] == broken).then_some(()));
    world.remove_store("acme");
    refused(&daemon);
    until("there is another backup", || job().filter(|uid| *uid != first));
    world.allow_deletion("acme");
    world.until_gone("acme");
}
