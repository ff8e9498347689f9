//! A store that asks for a final backup is deleted after it, and not without it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::Instant;

use common::{World, until};
use serde_json::json;

fn budget(approved: &str) -> String {
    format!("deletionBudget: {{maxStores: 9, maxPercent: 100, windowMinutes: 0, approved: [{approved}]}}")
}

fn with_backup(how: &str) -> (World, common::daemon::Daemon) {
    let world = World::new();
    world.write_fleet(&budget(""));
    world.write_store_with("acme", &format!("values: {{backup: {how}}}"));
    world.repository.push("add acme");
    let daemon = world.start_small();
    world.until_state(&daemon, "acme", "READY");
    (world, daemon)
}

#[test]
fn the_backup_is_made_of_the_cronjob_and_the_namespace_goes_when_it_is_complete() {
    let (world, _daemon) = with_backup("good");
    let labels = format!("storekeeper.dev/source={}", world.source);
    let witness = world.cluster.witness(&[("batch/v1", "Job"), ("v1", "Namespace")], &labels);
    let since = Instant::now();
    world.remove_store("acme");
    let made = witness.until("the Job is made", since, |it| it.kind == "Job" && it.name == "final-backup");
    let deleting = witness.until("the deletion begins", since, |it| it.kind == "Namespace" && it.deleting);
    assert!(made.at < deleting.at);
    world.until_gone("acme");
}

#[test]
fn a_backup_that_fails_keeps_the_store_until_it_is_approved_and_a_restart_makes_no_second_one() {
    let (world, daemon) = with_backup("bad");
    let namespace = world.namespace("acme");
    let job = || world.cluster.get("batch/v1", "Job", &namespace, "final-backup");
    world.remove_store("acme");
    let failed = |daemon: &common::daemon::Daemon| {
        let words = ["Job/final-backup failed (DeadlineExceeded", "spec.deletionBudget.approved"];
        world.until_failed(daemon, "acme", &words);
        assert!(world.stays("acme"));
    };
    failed(&daemon);
    let first = job().unwrap()["metadata"]["uid"].clone();
    daemon.kill();
    let daemon = world.start_small();
    failed(&daemon);
    assert_eq!(job().unwrap()["metadata"]["uid"], first);

    // The file that comes back takes the Job with it: the next removal needs a backup of its own.
    world.write_store_with("acme", "values: {backup: bad}");
    world.repository.push("acme is back");
    world.until_state(&daemon, "acme", "READY");
    until("the Job is gone", || job().is_none().then_some(()));
    world.remove_store("acme");
    failed(&daemon);
    assert_ne!(job().unwrap()["metadata"]["uid"], first);

    // Without its CronJob there is no backup either, and that is no reason to do without.
    world.cluster.delete("batch/v1", "Job", &namespace, "final-backup");
    world.cluster.delete("batch/v1", "CronJob", &namespace, "backup");
    until("the missing CronJob is named", || {
        let shown = daemon.store(&world.store("acme"))?;
        shown["reason"].as_str()?.contains("CronJob/backup is gone").then_some(())
    });
    assert!(world.stays("acme"));

    world.write_fleet(&budget(&world.store("acme")));
    world.repository.push("approve acme");
    world.until_gone("acme");
}

#[test]
fn a_backup_that_is_old_is_made_anew() {
    let (world, daemon) = with_backup("good");
    // The grace period keeps the store until the removal has a backup that ended long ago.
    world.write_fleet(&format!("{}\n  deletionGracePeriodSeconds: 600", budget("")));
    world.remove_store("acme");
    let since = until("the time is written down", || world.mark("acme", "removal-since"));
    let (namespace, old) = (world.namespace("acme"), "2020-01-01T00:00:00Z");
    let spec = json!({
        // Its end is told by this test.
        "managedBy": "example.com/test",
        "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "backup", "image": "backup" }] } },
    });
    let labels = world.cluster.namespace(&namespace).unwrap()["metadata"]["labels"].clone();
    let annotations = json!({ "storekeeper.dev/final-backup": since });
    let metadata = json!({ "name": "final-backup", "labels": labels, "annotations": annotations });
    world.cluster.create("batch/v1", "Job", &namespace, json!({ "metadata": metadata, "spec": spec }));
    let conditions = ["SuccessCriteriaMet", "Complete"].map(
        |name| json!({ "type": name, "status": "True", "lastTransitionTime": old, "lastProbeTime": old }),
    );
    let status = json!({ "startTime": old, "completionTime": old, "succeeded": 1, "conditions": conditions });
    world.cluster.patch_status("batch/v1", "Job", &namespace, "final-backup", &status);
    let job = || world.cluster.get("batch/v1", "Job", &namespace, "final-backup");
    let first = job().unwrap()["metadata"]["uid"].clone();

    world.refuse_deletion("acme");
    world.write_fleet(&budget(""));
    world.repository.push("no grace period");
    until("the deletion is asked for", || {
        let shown = daemon.store(&world.store("acme"))?;
        shown["reason"].as_str()?.contains("on a Sunday").then_some(())
    });
    assert_ne!(job().unwrap()["metadata"]["uid"], first, "the old backup counted");
    world.allow_deletion("acme");
    world.until_gone("acme");
}
