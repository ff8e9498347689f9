//! The daemon may be killed at any moment.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::{Duration, Instant};

use common::api_proxy::{ApiProxy, Call, Fault, Rule};
use common::daemon::Daemon;
use common::{World, until};
use serde_json::Value;

/// Returns the objects of ours in a namespace, but for the inventory.
fn ours(world: &World, namespace: &str) -> Vec<Value> {
    let kinds = [
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("v1", "ServiceAccount"),
        ("v1", "Secret"),
        ("v1", "ConfigMap"),
        ("v1", "Service"),
        ("apps/v1", "Deployment"),
        ("networking.k8s.io/v1", "Ingress"),
    ];
    let all = kinds.iter().flat_map(|(version, kind)| world.cluster.list(version, kind, namespace));
    let labelled = all.filter(|object| !object["metadata"]["labels"]["storekeeper.dev/store"].is_null());
    labelled.filter(|object| object["metadata"]["name"] != "storekeeper-inventory").collect()
}

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
    for objects in [0, 4, 9, 14] {
        let enough = || (ours(&world, &world.namespace("acme")).len() >= objects).then_some(());
        until("some objects are there", enough);
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
        let all = ours(&world, &world.namespace("acme")).into_iter();
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
    let (world, daemon) = World::with_ready(&["acme"]);
    // The Ingress comes last, and the API server refuses this key: the change stays half done.
    let half = "  displayName: Between\n  values:\n    ingress:\n      annotations:\n        not a key!: x\n";
    let head = "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: ";
    world.repository.write(&world.file("acme"), &format!("{head}{}\nspec:\n{half}", world.store("acme")));
    world.repository.push("change acme");
    let namespace = world.namespace("acme");
    let changed = || serde_json::to_string(&ours(&world, &namespace)).unwrap().contains("Between");
    world.until_state(&daemon, "acme", "FAILED");
    assert!(changed(), "a part of the change is applied");
    daemon.kill();
    world.write_store("acme", "acme");
    world.repository.push("revert");
    let daemon = world.start_daemon();
    world.until_state(&daemon, "acme", "READY");
    until("nothing of the change is left", || (!changed()).then_some(()));
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

#[test]
fn asked_to_end_during_a_fetch_from_a_silent_remote_it_does_not_wait_for_it() {
    let world = World::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/fleet.git", silent.local_addr().unwrap());
    let daemon = Daemon::start(world.folder.path(), &url, &world.source, &world.cluster.kubeconfig);
    let (_connection, _) = silent.accept().unwrap();
    let (status, took) = daemon.terminate();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_secret_that_lands_after_its_daemon_was_killed_replaces_no_password_that_is_in_use() {
    let world = World::new();
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 7);
    let secret = |call: &Call| call.verb == "PATCH" && call.path.ends_with("/secrets/password");
    let (late, held) = Rule::new(Fault::Delay(Duration::from_secs(5)), secret).times(1).told();
    proxy.add(late);
    world.write_fleet("deletionGracePeriodSeconds: 0");
    world.write_store("acme", "Acme");
    world.repository.push("acme");
    let daemon = world.start_small_on(&proxy.kubeconfig);
    held.blocking_recv().unwrap();
    let lands = Instant::now() + Duration::from_secs(5);
    daemon.kill();
    let daemon = world.start_small_on(&proxy.kubeconfig);
    world.until_state(&daemon, "acme", "READY");
    let password =
        || world.cluster.get("v1", "Secret", &world.namespace("acme"), "password").unwrap()["data"].clone();
    let before = password();
    assert!(Instant::now() < lands, "the first daemon's request landed too early to prove anything");
    until("it has landed", || (Instant::now() > lands + Duration::from_secs(1)).then_some(()));
    assert_eq!(password(), before);
}
