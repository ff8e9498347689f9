//! Who uses kubectl sees what happens to a store among the Events of its namespace: few of them, and nothing waits for them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::api_proxy::{ApiProxy, Fault, Rule};
use common::{World, until};
use serde_json::{Value, json};

/// Returns our Events of a store's namespace, as `kubectl get events` lists them.
fn events(world: &World, store: &str) -> Vec<Value> {
    let all = world.cluster.list("v1", "Event", &world.namespace(store));
    all.into_iter().filter(|event| event["reportingComponent"] == "storekeeper").collect()
}

fn reasons(events: &[Value]) -> Vec<&str> {
    let mut reasons: Vec<_> = events.iter().map(|event| event["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    reasons
}

#[test]
fn a_store_that_is_made_has_three_and_drift_is_a_warning() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let made = until("READY is shown", || {
        let events = events(&world, "acme");
        reasons(&events).contains(&"Ready").then_some(events)
    });
    assert!(made.len() <= 3 && reasons(&made).contains(&"NamespaceMade"), "{:?}", reasons(&made));
    let ready = made.iter().find(|event| event["reason"] == "Ready").unwrap();
    let namespace = world.namespace("acme");
    let uid = &world.cluster.namespace(&namespace).unwrap()["metadata"]["uid"];
    let about = json!({"apiVersion": "v1", "kind": "Namespace", "name": namespace, "namespace": namespace, "uid": uid});
    assert_eq!(ready["involvedObject"], about);
    assert_eq!(
        (&ready["type"], &ready["action"], ready["reportingInstance"].as_str().unwrap()),
        (&json!("Normal"), &json!("Reconcile"), format!("storekeeper-{}", world.source).as_str())
    );
    let patch = json!({"spec": {"replicas": 7}});
    world.cluster.patch("apps/v1", "Deployment", &namespace, "medusa", &patch);
    let healed = until("drift is shown", || {
        events(&world, "acme").into_iter().find(|event| event["reason"] == "DriftHealed")
    });
    let words = healed["message"].as_str().unwrap();
    assert!(words.starts_with("Deployment/medusa was put back; field manager somebody-else"), "{words}");
    assert_eq!(healed["type"], "Warning");
    drop(daemon);
}

#[test]
fn a_daemon_that_may_not_make_them_goes_on() {
    let world = World::new();
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 1);
    let forbidden = Fault::status(403, "Forbidden", "events.events.k8s.io is forbidden");
    let (rule, refused) =
        Rule::new(forbidden, |call| call.is_write() && call.path.contains("/events.k8s.io/")).told();
    proxy.add(rule);
    let daemon = world.start_daemon_on(&proxy.kubeconfig);
    world.write_store("acme", "acme");
    world.repository.push("acme");
    world.until_state(&daemon, "acme", "READY");
    refused.blocking_recv().unwrap();
    assert_eq!(events(&world, "acme"), Vec::<Value>::new());
    drop(daemon);
}
