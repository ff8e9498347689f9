//! Whoever undoes what is put back is named, and healing pauses for his store alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};
use serde_json::json;

#[test]
fn a_fight_over_the_namespace_or_the_inventory_is_one_too() {
    let (world, daemon) = World::with_ready(&["walls", "memory"]);
    let reason = |name: &str| daemon.store(&world.store(name)).unwrap()["reason"].clone();
    let (walls, memory) = (world.namespace("walls"), world.namespace("memory"));
    let label = "pod-security.kubernetes.io/warn";
    let warns = || world.cluster.namespace(&walls).unwrap()["metadata"]["labels"][label].clone();
    let undo = json!({ "metadata": { "labels": { label: "privileged" } } });
    until("both fights are seen", || {
        if warns() != "privileged" {
            world.cluster.patch_namespace(&walls, &undo);
        }
        if world.cluster.get("v1", "ConfigMap", &memory, "storekeeper-inventory").is_some() {
            world.cluster.delete("v1", "ConfigMap", &memory, "storekeeper-inventory");
        }
        (daemon.metric("storekeeper_fights_total") >= 2.0).then_some(())
    });
    until("the objects are named", || {
        let named = reason("walls").to_string().contains(&format!("Namespace/{walls}"));
        (named && reason("memory").to_string().contains("ConfigMap/storekeeper-inventory")).then_some(())
    });
    world.cluster.patch_namespace(&walls, &undo);
    world.write_store("walls", "Another name");
    world.repository.push("something new of this store");
    until("the commit ends the pause", || (warns() != "privileged").then_some(()));
}

#[test]
fn a_fight_over_what_is_marked_on_a_store_with_a_file_is_one_too() {
    let (world, daemon) = World::with_ready(&["guarded", "marked"]);
    let (guarded, marked) = (world.namespace("guarded"), world.namespace("marked"));
    let has = |namespace: &str, mark: &str| {
        !world.cluster.namespace(namespace).unwrap()["metadata"]["annotations"][mark].is_null()
    };
    let (protect, since) = ("storekeeper.dev/protect", "storekeeper.dev/removal-since");
    let set = |namespace: &str, mark: &str, value: serde_json::Value| {
        world.cluster.patch_namespace(namespace, &json!({ "metadata": { "annotations": { mark: value } } }));
    };
    let file = world.file("guarded");
    let text = std::fs::read_to_string(world.repository.checkout.join(&file)).unwrap();
    world.repository.write(&file, &format!("{text}  protect: true\n"));
    world.repository.push("protect one");
    until("it is marked", || has(&guarded, protect).then_some(()));
    assert_eq!(daemon.metric("storekeeper_drift_healed_total").to_string(), "0", "a commit heals nothing");
    until("both fights are seen", || {
        if has(&guarded, protect) {
            set(&guarded, protect, serde_json::Value::Null);
        }
        if !has(&marked, since) {
            set(&marked, since, json!("2026-01-01T00:00:00Z"));
        }
        (daemon.metric("storekeeper_fights_total") >= 2.0).then_some(())
    });
    for (name, namespace) in [("guarded", &guarded), ("marked", &marked)] {
        until("the object is named", || {
            let reason = daemon.store(&world.store(name)).unwrap()["reason"].to_string();
            let named = reason.contains(&format!("Namespace/{namespace}"));
            (named && reason.contains("again and again")).then_some(())
        });
    }
    set(&guarded, protect, serde_json::Value::Null);
    set(&marked, since, json!("2026-01-01T00:00:00Z"));
    for name in ["guarded", "marked"] {
        world.write_store(name, "Another name");
    }
    let text = std::fs::read_to_string(world.repository.checkout.join(&file)).unwrap();
    world.repository.write(&file, &format!("{text}  protect: true\n"));
    world.repository.push("something new of both");
    until("the commit ends the pause", || (has(&guarded, protect) && !has(&marked, since)).then_some(()));
}

#[test]
fn a_fight_is_detected_named_and_paused_and_a_new_commit_ends_the_pause() {
    let (world, daemon) = World::with_ready(&["acme", "calm"]);
    let replicas = |name: &str| {
        let deployment = world.cluster.get("apps/v1", "Deployment", &world.namespace(name), "medusa");
        deployment.unwrap()["spec"]["replicas"].clone()
    };
    let undo = |name: &str| {
        let patch = json!({ "spec": { "replicas": 0 } });
        world.cluster.patch("apps/v1", "Deployment", &world.namespace(name), "medusa", &patch);
    };
    let store = world.store("acme");
    let reason = || daemon.store(&store).unwrap()["reason"].as_str().unwrap_or_default().to_owned();
    // The sixth heal within a minute is one too many.
    until("the fight is seen", || {
        if replicas("acme") != 0 {
            undo("acme");
        }
        (daemon.metric("storekeeper_fights_total") >= 1.0).then_some(())
    });
    until("the other field manager is named", || {
        let reason = reason();
        (reason.contains("Deployment/medusa") && reason.contains("field manager somebody-else")).then_some(())
    });
    let shown = daemon.store(&store).unwrap();
    assert!(
        !shown["next_retry"].is_null() || !shown["nextRetry"].is_null(),
        "the next try is shown: {shown}"
    );
    assert_eq!(daemon.metric("storekeeper_stores_fighting").to_string(), "1");

    // Another store is healed while this one is not.
    undo("acme");
    undo("calm");
    until("the calm store is healed", || (replicas("calm") == 1).then_some(()));
    assert_eq!(replicas("acme"), 0, "healing pauses");

    world.write_store("acme", "Another name");
    world.repository.push("something new of this store");
    until("the commit is applied at once, and what had drifted too", || {
        (replicas("acme") == 1).then_some(())
    });
    until("the fight is forgotten", || (!reason().contains("again and again")).then_some(()));
    assert_eq!(daemon.metric("storekeeper_fights_total").to_string(), "1", "it was told once");
}
