//! What somebody else deletes or changes is put back; what is not ours is left alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};
use serde_json::json;

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
    let shown = world.until_state(&daemon, "acme", "FAILED");
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("Secret/postgres") && reason.contains("backup"), "{reason}");
    assert!(world.cluster.get("v1", "Secret", &namespace, "postgres").is_none());

    world.cluster.delete("v1", "ConfigMap", &namespace, "storekeeper-inventory");
    world.until_state(&daemon, "acme", "READY");
    assert!(world.cluster.get("v1", "Secret", &namespace, "postgres").is_some());
}
