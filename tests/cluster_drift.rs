//! What somebody else deletes or changes is put back; what is not ours is left alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::Instant;

use common::{World, until};
use serde_json::{Value, json};

#[test]
fn a_hand_deleted_object_comes_back() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    for (version, kind) in
        [("apps/v1", "Deployment"), ("networking.k8s.io/v1", "Ingress"), ("v1", "ConfigMap")]
    {
        let ours =
            |object: &&serde_json::Value| !object["metadata"]["labels"]["storekeeper.dev/store"].is_null();
        let all = world.cluster.list(version, kind, &namespace);
        let name = all.iter().find(ours).unwrap()["metadata"]["name"].as_str().unwrap();
        let uid = |object: serde_json::Value| object["metadata"]["uid"].clone();
        let before = uid(world.cluster.get(version, kind, &namespace, name).unwrap());
        world.cluster.delete(version, kind, &namespace, name);
        until(&format!("{kind}/{name} is back"), || {
            world.cluster.get(version, kind, &namespace, name).map(uid).filter(|now| *now != before)
        });
    }
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn a_changed_field_is_put_back_and_a_field_of_somebody_else_stays() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    let healed = daemon.metric("storekeeper_drift_healed_total");

    let theirs = json!({ "metadata": { "annotations": { "example.com/theirs": "yes" } } });
    world.cluster.patch("v1", "Service", &namespace, "medusa", &theirs);
    let port = json!({ "spec": { "replicas": 0 } });
    world.cluster.patch("apps/v1", "Deployment", &namespace, "medusa", &port);
    until("the replicas are back", || {
        let deployment = world.cluster.get("apps/v1", "Deployment", &namespace, "medusa")?;
        (deployment["spec"]["replicas"] == 1).then_some(())
    });
    until("the healing is counted", || {
        (daemon.metric("storekeeper_drift_healed_total") >= healed + 1.0).then_some(())
    });
    let service = world.cluster.get("v1", "Service", &namespace, "medusa").unwrap();
    assert_eq!(service["metadata"]["annotations"]["example.com/theirs"], "yes");
}

#[test]
fn an_object_that_is_no_longer_rendered_is_pruned_and_one_that_is_not_ours_is_not() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    let theirs = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "theirs" } });
    world.cluster.create("v1", "ConfigMap", &namespace, theirs);
    assert!(world.cluster.get("v1", "Service", &namespace, "storefront").is_some());

    let text = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {}\nspec:\n  values:\n    storefront:\n      enabled: false\n",
        world.store("acme")
    );
    world.repository.write(&world.file("acme"), &text);
    world.repository.push("without a storefront");
    for (version, kind) in [("v1", "Service"), ("apps/v1", "Deployment"), ("v1", "ServiceAccount")] {
        until(&format!("{kind}/storefront is pruned"), || {
            world.cluster.get(version, kind, &namespace, "storefront").is_none().then_some(())
        });
    }
    world.until_state(&daemon, "acme", "READY");
    assert!(world.cluster.get("v1", "ConfigMap", &namespace, "theirs").is_some());
}

#[test]
fn a_deleted_secret_is_not_replaced_by_another_one_unless_asked_for() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    world.cluster.delete("v1", "Secret", &namespace, "postgres");
    world.until_failed(&daemon, "acme", &["Secret/postgres", "backup"]);
    assert!(world.cluster.get("v1", "Secret", &namespace, "postgres").is_none());

    world.cluster.delete("v1", "ConfigMap", &namespace, "storekeeper-inventory");
    world.until_state(&daemon, "acme", "READY");
    assert!(world.cluster.get("v1", "Secret", &namespace, "postgres").is_some());
}

#[test]
fn a_secret_that_lost_one_label_of_ours_gets_it_back_and_keeps_its_values() {
    let (world, daemon) = World::with_small(&["acme"], "deletionBudget: {maxPercent: 100}");
    let namespace = world.namespace("acme");
    let get = || world.cluster.get("v1", "Secret", &namespace, "password").unwrap();
    let before = get();
    for label in ["storekeeper.dev/source", "app.kubernetes.io/managed-by", "storekeeper.dev/store"] {
        // As `kubectl label secret password storekeeper.dev/source-` does.
        let off = json!({ "metadata": { "labels": { label: null } } });
        world.cluster.patch("v1", "Secret", &namespace, "password", &off);
        until(&format!("{label} is back"), || {
            (get()["metadata"]["labels"] == before["metadata"]["labels"]).then_some(())
        });
        let after = get();
        assert_eq!(
            (&after["metadata"]["uid"], &after["data"]),
            (&before["metadata"]["uid"], &before["data"]),
            "{label}"
        );
        world.until_state(&daemon, "acme", "READY");
    }
}

/// Returns the time of the entry of a field manager's applies.
fn time_of(object: &Value, manager: &str) -> String {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let ours = entries.iter().find(|entry| entry["manager"] == manager && entry["operation"] == "Apply");
    ours.unwrap()["time"].as_str().unwrap().to_owned()
}

/// The drift detector rests on this behaviour of the API server.
#[test]
fn the_time_of_a_field_manager_moves_exactly_when_an_apply_of_its_own_changes_something() {
    let world = World::new();
    let namespace = world.namespace("times");
    world.cluster.create_namespace(&namespace, &json!({ "storekeeper.dev/source": world.source }));
    let map = |data: Value| {
        let metadata = json!({ "name": "times", "namespace": namespace });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })
    };
    let made = world.cluster.apply_as("storekeeper", &map(json!({ "a": "1" })));
    let begun = time_of(&made, "storekeeper");
    // Times have whole seconds, so a later one has to be possible.
    until("the server's clock moves on", || {
        let other =
            world.cluster.apply_as("clock", &map(json!({ "clock": format!("{:?}", Instant::now()) })));
        (time_of(&other, "clock") > begun).then_some(())
    });
    let same = world.cluster.apply_as("storekeeper", &map(json!({ "a": "1" })));
    assert_eq!(time_of(&same, "storekeeper"), begun, "an apply that changes nothing");
    world.cluster.patch("v1", "ConfigMap", &namespace, "times", &json!({ "data": { "b": "2" } }));
    let others = world.cluster.apply_as("another", &map(json!({ "a": "1", "c": "3" })));
    assert_eq!(time_of(&others, "storekeeper"), begun, "what others write, though it is the same value");
    let changed = world.cluster.apply_as("storekeeper", &map(json!({ "a": "2" })));
    assert!(time_of(&changed, "storekeeper") > begun, "an apply that changes a value and no field");
}

#[test]
fn a_request_of_ours_that_lands_late_is_undone() {
    let (world, _daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    let all = world.cluster.list("v1", "ConfigMap", &namespace);
    let ours = |map: &&Value| {
        map["metadata"]["name"] != "storekeeper-inventory"
            && !map["metadata"]["labels"]["storekeeper.dev/store"].is_null()
            && map["data"].is_object()
    };
    let mut map = all.iter().find(ours).unwrap().clone();
    let name = map["metadata"]["name"].as_str().unwrap().to_owned();
    let data = map["data"].clone();
    for part in ["managedFields", "uid", "resourceVersion", "creationTimestamp"] {
        map["metadata"].as_object_mut().unwrap().remove(part);
    }
    (map["apiVersion"], map["kind"]) = ("v1".into(), "ConfigMap".into());
    let (key, _) = data.as_object().unwrap().iter().next().unwrap();
    map["data"][key] = "as an earlier commit had it".into();
    // The same fields under our own name: their set does not tell.
    world.cluster.apply_as("storekeeper", &map);
    until("the data are as git has them", || {
        (world.cluster.get("v1", "ConfigMap", &namespace, &name)?["data"] == data).then_some(())
    });
}

#[test]
fn what_the_chart_does_not_set_is_left_to_others_also_when_the_object_is_healed() {
    let world = World::new();
    let daemon = world.start_daemon();
    let text = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {}\nspec:\n  values:\n    storefront:\n      autoscaling:\n        enabled: true\n",
        world.store("acme")
    );
    world.repository.write(&world.file("acme"), &text);
    world.repository.push("a storefront that scales");
    world.until_state(&daemon, "acme", "READY");
    let namespace = world.namespace("acme");
    let healed = daemon.metric("storekeeper_drift_healed_total");
    let get = || world.cluster.get("apps/v1", "Deployment", &namespace, "storefront").unwrap();
    let patch = |patch: &Value| world.cluster.patch("apps/v1", "Deployment", &namespace, "storefront", patch);
    patch(
        &json!({ "spec": { "replicas": 3 }, "metadata": { "annotations": { "example.com/cloud": "yes" } } }),
    );
    let container = json!({ "name": "sidecar", "image": "example.com/sidecar:1" });
    world.cluster.apply_as("injector", &json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "storefront", "namespace": namespace },
        "spec": { "template": { "spec": { "containers": [container] } } },
    }));
    // Something of ours, so that the object is applied once more.
    patch(&json!({ "metadata": { "labels": { "app.kubernetes.io/name": "theirs" } } }));
    until("the label is back", || {
        (get()["metadata"]["labels"]["app.kubernetes.io/name"] == "medusa-store").then_some(())
    });
    until("the healing is counted", || {
        (daemon.metric("storekeeper_drift_healed_total") >= healed + 1.0).then_some(())
    });
    let deployment = get();
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(deployment["metadata"]["annotations"]["example.com/cloud"], "yes");
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert!(containers.iter().any(|container| container["name"] == "sidecar"), "{containers:?}");
    assert!(
        (daemon.metric("storekeeper_drift_healed_total") - healed - 1.0).abs() < 0.5,
        "and nothing else was written"
    );
}
