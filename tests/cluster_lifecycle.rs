//! A push adds, changes and removes a store.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};
use serde_json::Value;

#[test]
fn a_pushed_store_file_becomes_a_ready_store_and_its_removal_leaves_nothing() {
    let world = World::new();
    let daemon = world.start_daemon();
    world.write_store("acme", "Acme Tools");
    let added = world.repository.push("add acme");

    let shown = world.until_state(&daemon, "acme", "READY");
    assert_eq!(shown["url"], format!("http://{}.shops.example.com/", world.store("acme")));
    assert_eq!(shown["appliedRevision"], added);

    let namespace = world.namespace("acme");
    let labels = world.cluster.namespace(&namespace).unwrap()["metadata"]["labels"].clone();
    assert_eq!(labels["app.kubernetes.io/managed-by"], "storekeeper");
    assert_eq!(labels["storekeeper.dev/store"], world.store("acme"));
    assert_eq!(labels["storekeeper.dev/source"], world.source);
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    let kinds = [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("batch/v1", "Job"),
        ("v1", "Service"),
        ("v1", "Secret"),
        ("v1", "ResourceQuota"),
        ("v1", "LimitRange"),
        ("v1", "PersistentVolumeClaim"),
        ("networking.k8s.io/v1", "Ingress"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
    ];
    for (version, kind) in kinds {
        assert!(!world.cluster.list(version, kind, &namespace).is_empty(), "no {kind} in {namespace}");
    }
    assert!((daemon.metric("stores_created_total") - 1.0).abs() < f64::EPSILON);
    assert!((daemon.metric("active_stores") - 1.0).abs() < f64::EPSILON);
    assert!((daemon.metric("provisioning_duration_seconds_count") - 1.0).abs() < f64::EPSILON);

    world.repository.remove(&world.file("acme"));
    world.repository.push("remove acme");
    world.until_state(&daemon, "acme", "DELETING");
    world.until_gone("acme");
    until("the API forgets the store", || daemon.store(&world.store("acme")).is_none().then_some(()));
    let volumes = world.cluster.list("v1", "PersistentVolume", "");
    let left = volumes.iter().filter(|volume| volume["spec"]["claimRef"]["namespace"] == namespace.as_str());
    let left: Vec<_> = left.filter(|volume| volume["status"]["phase"] == "Bound").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_change_reaches_the_cluster_and_generated_secrets_stay_as_they_are() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    let secrets = || -> Vec<Value> {
        let all = world.cluster.list("v1", "Secret", &namespace);
        all.into_iter().map(|secret| secret["data"].clone()).collect()
    };
    let before = secrets();

    world.write_store("acme", "After");
    let changed = world.repository.push("rename acme");
    until("the change is applied", || {
        let shown = daemon.store(&world.store("acme"))?;
        (shown["appliedRevision"] == changed && shown["state"] == "READY").then_some(())
    });
    let maps = serde_json::to_string(&world.cluster.list("v1", "ConfigMap", &namespace)).unwrap();
    let deployments =
        serde_json::to_string(&world.cluster.list("apps/v1", "Deployment", &namespace)).unwrap();
    let jobs = serde_json::to_string(&world.cluster.list("batch/v1", "Job", &namespace)).unwrap();
    assert!(
        [maps, deployments, jobs].iter().any(|text| text.contains("After")),
        "the new name is in the cluster"
    );
    assert_eq!(before, secrets(), "a Secret was generated anew");
}

#[test]
fn an_unrelated_commit_changes_nothing_in_the_cluster() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let namespace = world.namespace("acme");
    let versions = || -> Vec<String> {
        let kinds =
            [("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Service"), ("networking.k8s.io/v1", "Ingress")];
        let all = kinds.iter().flat_map(|(version, kind)| world.cluster.list(version, kind, &namespace));
        all.map(|object| object["metadata"]["resourceVersion"].to_string()).collect()
    };
    let before = versions();
    world.repository.write("NOTES.md", "nothing of ours\n");
    let commit = world.repository.push("notes");
    until("the commit is seen", || (daemon.fleet()["revision"] == commit).then_some(()));
    assert_eq!(daemon.store(&world.store("acme")).unwrap()["state"], "READY");
    assert_eq!(before, versions());
}

#[test]
fn a_store_that_comes_back_while_its_namespace_is_going_is_made_anew() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let uid = || world.cluster.namespace(&world.namespace("acme")).map(|it| it["metadata"]["uid"].clone());
    let before = uid();
    world.repository.remove(&world.file("acme"));
    world.repository.push("remove acme");
    world.until_state(&daemon, "acme", "DELETING");
    world.write_store("acme", "Acme again");
    world.repository.push("add acme again");
    until("the namespace is a new one", || uid().filter(|uid| Some(uid) != before.as_ref()));
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn a_store_waits_for_its_host_until_the_removed_store_that_holds_it_is_gone() {
    let world = World::new();
    let daemon = world.start_daemon();
    let file = |name: &str| {
        let head = "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: ";
        format!("{head}{}\nspec:\n  host: {}.example.com\n", world.store(name), world.prefix)
    };
    world.repository.write(&world.file("old"), &file("old"));
    world.repository.push("add old");
    world.until_state(&daemon, "old", "READY");
    world.repository.remove(&world.file("old"));
    world.repository.write(&world.file("new"), &file("new"));
    world.repository.push("rename old to new");
    let shown = until("the new store waits", || {
        let shown = daemon.store(&world.store("new"))?;
        shown["reason"].as_str()?.contains("is held by store").then_some(shown)
    });
    assert!(shown["reason"].as_str().unwrap().contains(&world.store("old")), "{shown}");
    world.until_gone("old");
    world.until_state(&daemon, "new", "READY");
}
