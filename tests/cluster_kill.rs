//! The daemon may be killed at any moment.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::Duration;

use common::{World, until};

#[test]
fn killed_in_the_middle_of_provisioning_it_converges_after_a_restart() {
    let world = World::new();
    let mut daemon = world.start_daemon();
    for name in ["acme", "bonsai", "chocolate"] {
        world.write_store(name, name);
    }
    let commit = world.repository.push("add three");
    until("the first namespace is there", || world.cluster.namespace(&world.namespace("acme")));
    // Several crashes, each a bit further into the work.
    for milliseconds in [0, 40, 120, 250] {
        std::thread::sleep(Duration::from_millis(milliseconds));
        daemon.kill();
        daemon = world.start_daemon();
    }
    for name in ["acme", "bonsai", "chocolate"] {
        let shown = world.until_state(&daemon, name, "READY");
        assert_eq!(shown["appliedRevision"], commit);
        let namespace = world.namespace(name);
        assert_eq!(world.cluster.list("batch/v1", "Job", &namespace).len(), 1, "one bootstrap Job, run once");
    }
    // Converged means that another restart writes nothing.
    let versions = || -> Vec<String> {
        let namespace = world.namespace("acme");
        let kinds =
            [("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Service"), ("networking.k8s.io/v1", "Ingress")];
        let all = kinds.iter().flat_map(|(version, kind)| world.cluster.list(version, kind, &namespace));
        all.map(|object| object["metadata"]["resourceVersion"].to_string()).collect()
    };
    let before = versions();
    daemon.kill();
    let daemon = world.start_daemon();
    world.until_state(&daemon, "acme", "READY");
    assert_eq!(before, versions());
}

#[test]
fn killed_in_the_middle_of_a_change_that_is_then_reverted_it_ends_at_the_reverted_state() {
    let world = World::new();
    let daemon = world.start_daemon();
    world.write_store("acme", "Before");
    world.repository.push("add acme");
    world.until_state(&daemon, "acme", "READY");
    world.write_store("acme", "Between");
    world.repository.push("change acme");
    daemon.until_logged("the change is in force", |line| line["git.subject"] == "change acme");
    std::thread::sleep(Duration::from_millis(60));
    daemon.kill();
    world.write_store("acme", "Before");
    world.repository.push("revert");
    let daemon = world.start_daemon();
    world.until_state(&daemon, "acme", "READY");
    let namespace = world.namespace("acme");
    until("nothing of the change is left", || {
        let mut all = world.cluster.list("v1", "ConfigMap", &namespace);
        all.extend(world.cluster.list("apps/v1", "Deployment", &namespace));
        (!serde_json::to_string(&all).unwrap().contains("Between")).then_some(())
    });
}

#[test]
fn asked_to_end_it_ends_well_within_ten_seconds() {
    let world = World::new();
    let daemon = world.start_daemon();
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    until("the namespace is there", || world.cluster.namespace(&world.namespace("acme")));
    let (status, took) = daemon.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}
