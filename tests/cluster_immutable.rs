//! A change of a field that can't change is carried out by making the object anew where nothing is lost, and refused
//! with what to do where data would go or work be done twice; the rest of the store goes on.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/turned_chart.rs"]
mod turned_chart;

use common::daemon::Daemon;
use common::policies::refuse;
use common::{World, until};
use serde_json::{Value, json};

/// Kinds of the chart that hold nothing but what is rendered.
const RECREATED: [(&str, &str, &str); 6] = [
    ("apps/v1", "Deployment", "web"),
    ("apps/v1", "DaemonSet", "agent"),
    ("v1", "Service", "web"),
    ("v1", "ConfigMap", "frozen"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "reader"),
    ("v1", "ResourceQuota", "pods"),
];

/// Kinds of the chart where data would go or work be done twice.
const REFUSED: [(&str, &str, &str); 4] = [
    ("apps/v1", "StatefulSet", "database"),
    ("batch/v1", "Job", "migrate"),
    ("v1", "PersistentVolumeClaim", "pictures"),
    ("v1", "Secret", "frozen"),
];

fn start(world: &World) -> Daemon {
    let chart = turned_chart::write(world.folder.path());
    let (url, folder) = (world.repository.url(), world.folder.path());
    let more =
        ["--probe", "objects", "--chart", chart.to_str().unwrap(), "--chart-kinds", turned_chart::KIND];
    Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, &world.cluster.kubeconfig, &more)
}

/// Writes the store with these values, pushes, and returns the commit.
fn push(world: &World, values: &[(&str, &str)]) -> String {
    let lines: Vec<_> = values.iter().map(|(key, value)| format!("    {key}: {value}\n")).collect();
    world.write_store("acme", "Acme");
    let text = std::fs::read_to_string(world.repository.checkout.join(world.file("acme"))).unwrap();
    world.repository.write(&world.file("acme"), &format!("{text}  values:\n{}", lines.concat()));
    world.repository.push("turn")
}

fn uid(world: &World, (version, kind, name): (&str, &str, &str)) -> Value {
    let object = world.cluster.get(version, kind, &world.namespace("acme"), name);
    object.unwrap_or_else(|| panic!("{kind}/{name} is not there"))["metadata"]["uid"].clone()
}

/// Waits until a store is applied at a commit and READY.
fn until_ready_at(world: &World, daemon: &Daemon, commit: &str) {
    until(&format!("acme is READY at {commit}"), || {
        let shown = daemon.store(&world.store("acme"))?;
        (shown["state"] == "READY" && shown["appliedRevision"] == commit).then_some(())
    });
}

#[test]
fn what_holds_nothing_but_what_is_rendered_is_made_anew() {
    let world = World::new();
    let daemon = start(&world);
    let first = push(&world, &[("recreated", "one")]);
    until_ready_at(&world, &daemon, &first);
    let before = RECREATED.map(|object| uid(&world, object));
    let kept = REFUSED.map(|object| uid(&world, object));

    let second = push(&world, &[("recreated", "two")]);
    until_ready_at(&world, &daemon, &second);
    for (object, before) in RECREATED.into_iter().zip(before) {
        assert_ne!(uid(&world, object), before, "{object:?} was made anew");
    }
    assert_eq!(REFUSED.map(|object| uid(&world, object)), kept, "nothing else was");
    let namespace = world.namespace("acme");
    let service = world.cluster.get("v1", "Service", &namespace, "web").unwrap();
    assert_eq!(service["spec"]["clusterIP"], "None");
    let deployment = world.cluster.get("apps/v1", "Deployment", &namespace, "web").unwrap();
    assert_eq!(deployment["spec"]["selector"]["matchLabels"]["turn"], "two");
}

fn deployment(namespace: &str, name: &str, turn: &str, note: &str) -> Value {
    let labels = json!({"turn": turn, "note": note});
    let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"turn": turn}}, "template": pod}})
}

/// Whether a policy is in force that refuses this Deployment.
fn is_refused(world: &World, deployment: &Value) -> bool {
    world.cluster.try_apply(deployment).is_err_and(|words| words.contains("denied request"))
}

const WEB: (&str, &str, &str) = ("apps/v1", "Deployment", "web");

#[test]
fn a_policy_that_speaks_of_what_is_immutable_deletes_nothing() {
    let world = World::new();
    let daemon = start(&world);
    let first = push(&world, &[("note", "one")]);
    until_ready_at(&world, &daemon, &first);
    let before = uid(&world, WEB);
    let unless = "object.spec.template.metadata.labels.note == 'one'";
    let words = "'field is immutable: image tags may not change'";
    let _policy = refuse(&world, ("apps", "deployments"), &["UPDATE"], (unless, words));
    let namespace = world.namespace("acme");
    world.cluster.apply_as("test", &deployment(&namespace, "other", "one", "one"));
    until("the policy is in force", || {
        is_refused(&world, &deployment(&namespace, "other", "one", "two")).then_some(())
    });
    push(&world, &[("note", "two")]);
    world.until_failed(&daemon, "acme", &["denied request: field is immutable"]);
    assert_eq!(uid(&world, WEB), before, "what runs is left as it was");
}

#[test]
fn what_could_not_be_made_anew_is_not_deleted() {
    let world = World::new();
    let daemon = start(&world);
    let first = push(&world, &[("recreated", "one")]);
    until_ready_at(&world, &daemon, &first);
    let before = uid(&world, WEB);
    push(&world, &[("recreated", "two"), ("note", "\"-no label-\"")]);
    world.until_failed(&daemon, "acme", &["spec.template.labels"]);
    assert_eq!(uid(&world, WEB), before, "it is invalid for another reason too");

    let unless = "object.spec.template.metadata.labels.turn == 'one'";
    let _policy = refuse(&world, ("apps", "deployments"), &["CREATE"], (unless, "'not this turn'"));
    let namespace = world.namespace("acme");
    until("the policy is in force", || {
        is_refused(&world, &deployment(&namespace, "new", "two", "one")).then_some(())
    });
    push(&world, &[("recreated", "two")]);
    world.until_failed(&daemon, "acme", &["make Deployment/web anew: "]);
    world.until_failed(&daemon, "acme", &["denied request: not this turn"]);
    assert_eq!(uid(&world, WEB), before, "a policy forbids the new one");
}

#[test]
fn a_crash_while_an_object_is_made_anew_is_continued() {
    let world = World::new();
    let daemon = start(&world);
    let first = push(&world, &[("recreated", "one")]);
    until_ready_at(&world, &daemon, &first);
    let namespace = world.namespace("acme");
    let hold = |on: bool| {
        let finalizers = if on { json!(["example.com/hold"]) } else { json!([]) };
        let patch = json!({ "metadata": { "finalizers": finalizers } });
        world.cluster.patch("v1", "ConfigMap", &namespace, "frozen", &patch);
    };
    hold(true);
    let second = push(&world, &[("recreated", "two")]);
    until("the store waits for the end of what is made anew", || {
        let shown = daemon.store(&world.store("acme"))?;
        let reason = shown["reason"].as_str()?;
        let waits = reason.contains("waiting for the deletion of ConfigMap/frozen");
        (shown["state"] == "PROVISIONING" && waits).then_some(())
    });
    daemon.kill();
    hold(false);
    let daemon = start(&world);
    until_ready_at(&world, &daemon, &second);
    let map = world.cluster.get("v1", "ConfigMap", &namespace, "frozen").unwrap();
    assert_eq!(map["data"]["turn"], "two");
}

#[test]
fn where_data_would_go_or_work_be_done_twice_the_change_is_refused_and_the_rest_goes_on() {
    let world = World::new();
    let daemon = start(&world);
    let first = push(&world, &[("refused", "one")]);
    until_ready_at(&world, &daemon, &first);
    let before = REFUSED.map(|object| uid(&world, object));

    let second = push(&world, &[("refused", "two"), ("free", "two")]);
    let words = [
        "change Secret/frozen: `data` can't be changed in place",
        "change PersistentVolumeClaim/pictures: `spec` can't be changed in place",
        "change StatefulSet/database: `spec` can't be changed in place",
        "delete statefulset/database --cascade=orphan",
        "change Job/migrate: `spec.template` can't be changed in place",
        "name it by a hash of its content",
    ];
    let reason = world.until_failed(&daemon, "acme", &words);
    let log = std::fs::read_to_string(&daemon.log).unwrap();
    assert!(!reason.contains("canary") && !log.contains("canary"), "what was sent is not said: {reason}");
    assert_eq!(REFUSED.map(|object| uid(&world, object)), before, "all of them are what they were");
    let namespace = world.namespace("acme");
    let last = world.cluster.get("batch/v1", "CronJob", &namespace, "last").unwrap();
    assert_eq!(last["spec"]["jobTemplate"]["metadata"]["labels"]["turn"], "two", "the rest went on");

    let failed_runs = || {
        let (_, text) = daemon.get("/metrics");
        let line = text.lines().find_map(|line| {
            line.strip_prefix("storekeeper_reconcile_duration_seconds_count{outcome=\"failed\"} ")
        });
        line.map_or(0.0, |number| number.parse::<f64>().unwrap())
    };
    until("it is tried again", || (failed_runs() >= 2.0).then_some(()));
    let applied = daemon.lines().filter(|line| line["message"] == "applied" && line["git.commit"] == second);
    assert_eq!(applied.count(), 1, "what was applied is not applied again");

    let third = push(&world, &[("refused", "one"), ("free", "two")]);
    until_ready_at(&world, &daemon, &third);
    assert_eq!(REFUSED.map(|object| uid(&world, object)), before);
}

#[test]
fn a_claim_that_can_not_get_its_size_is_refused_with_what_to_do_and_the_rest_goes_on() {
    let world = World::new();
    let daemon = world.start_daemon();
    let sized = |size: &str| {
        let quota = ("quota", "{hard: {requests.storage: 20Gi}}");
        let storage = format!("{{storage: {{size: {size}}}}}");
        push(&world, &[("files", &storage), quota])
    };
    let first = sized("2Gi");
    until_ready_at(&world, &daemon, &first);
    for (size, words) in [("3Gi", "must support resize"), ("1Gi", "can not be less than")] {
        sized(size);
        world.until_failed(&daemon, "acme", &[words]);
        let shown = daemon.store(&world.store("acme")).unwrap();
        let reason = shown["reason"].as_str().unwrap();
        assert!(reason.contains("`spec.resources.requests.storage` can't be changed in place"), "{reason}");
        assert!(!reason.contains("not tried"), "{reason}");
    }
}

#[test]
fn what_a_quota_has_no_room_to_try_out_is_not_deleted_and_the_rest_goes_on() {
    let world = World::new();
    let daemon = start(&world);
    let first = push(&world, &[("recreated", "one")]);
    until_ready_at(&world, &daemon, &first);
    let (namespace, before) = (world.namespace("acme"), uid(&world, WEB));
    let spec = json!({"hard": {"count/deployments.apps": "1"}});
    let metadata = json!({"name": "full", "namespace": namespace});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec});
    world.cluster.apply_as("test", &quota);
    until("the quota has counted", || {
        let quota = world.cluster.get("v1", "ResourceQuota", &namespace, "full")?;
        (quota["status"]["used"]["count/deployments.apps"] == "1").then_some(())
    });
    push(&world, &[("recreated", "two"), ("free", "two")]);
    let words = format!(
        "exceeded quota: full, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: \
        count/deployments.apps=1): raise the quota, take the change back in git, or run `kubectl -n {namespace} delete"
    );
    world.until_failed(&daemon, "acme", &[&words]);
    assert_eq!(uid(&world, WEB), before, "what runs is left as it was");
    until("the rest is applied", || {
        let free = world.cluster.get("v1", "ConfigMap", &namespace, "free")?;
        (free["data"]["turn"] == "two").then_some(())
    });
    world.cluster.delete("apps/v1", "Deployment", &namespace, "web");
    until("it is made anew", || {
        let made = world.cluster.get("apps/v1", "Deployment", &namespace, "web")?;
        (made["spec"]["selector"]["matchLabels"]["turn"] == "two").then_some(())
    });
}
