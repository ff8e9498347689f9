//! A namespace that storekeeper did not make is never touched.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};
use serde_json::json;

#[test]
fn a_namespace_made_by_somebody_else_is_neither_taken_over_nor_removed() {
    let world = World::new();
    let namespace = world.namespace("acme");
    world.cluster.create_namespace(&namespace, &json!({ "theirs": "yes" }));
    let before = world.cluster.namespace(&namespace).unwrap();
    let daemon = world.start_daemon();
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_failed(&daemon, "acme", &["storekeeper did not make it"]);
    assert!(world.cluster.list("v1", "Secret", &namespace).is_empty());

    world.repository.remove(&world.file("acme"));
    let commit = world.repository.push("remove acme");
    until("the removal is seen", || (daemon.fleet()["revision"] == commit).then_some(()));
    until("the store is forgotten", || daemon.store(&world.store("acme")).is_none().then_some(()));
    let after = world.cluster.namespace(&namespace).unwrap();
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]);
    world.cluster.delete_namespace(&namespace);
}

#[test]
fn the_store_of_another_source_is_not_ours() {
    let world = World::new();
    let namespace = world.namespace("acme");
    let labels = json!({
        "app.kubernetes.io/managed-by": "storekeeper",
        "storekeeper.dev/store": world.store("acme"),
        "storekeeper.dev/source": "another",
    });
    world.cluster.create_namespace(&namespace, &labels);
    let daemon = world.start_daemon();
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_failed(&daemon, "acme", &["source another"]);
    world.cluster.delete_namespace(&namespace);
}

#[test]
fn a_store_whose_labels_were_taken_off_is_neither_removed_nor_made_again() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    let off = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": null } } });
    world.cluster.patch_namespace(&namespace, &off);
    world.until_state(&daemon, "acme", "FAILED");
    world.repository.remove(&world.file("acme"));
    let commit = world.repository.push("remove acme");
    until("the removal is seen", || (daemon.fleet()["revision"] == commit).then_some(()));
    until("the store is forgotten", || daemon.store(&world.store("acme")).is_none().then_some(()));
    assert!(world.cluster.namespace(&namespace).unwrap()["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn a_store_that_loses_its_labels_in_its_grace_period_is_not_said_to_be_gone() {
    let (world, daemon) = World::with_small(&["acme"], "deletionGracePeriodSeconds: 600");
    let namespace = world.namespace("acme");
    world.remove_store("acme");
    world.until_state(&daemon, "acme", "DELETING");
    let off = json!({ "metadata": { "labels": { "storekeeper.dev/source": null } } });
    world.cluster.patch_namespace(&namespace, &off);
    let said = daemon.until_logged("the store is no longer shown", |line| {
        line["store.id"] == world.store("acme").as_str()
            && (line["level"] == "WARN" || line["message"] == "the store is gone")
    });
    let message = said["message"].as_str().unwrap();
    assert!(message.contains(&format!("namespace {namespace} is still there")), "{said}");
    assert!(world.stays("acme"));
    world.cluster.delete_namespace(&namespace);
}
