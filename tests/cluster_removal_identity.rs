//! Only the namespace that was looked at is deleted, and only by a daemon that has seen all of them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::future::{pending, ready};
use std::time::Duration;

use common::api_proxy::{ApiProxy, Call, Fault, Rule};
use common::{World, until};
use serde_json::json;
use storekeeper::cluster::{Changes, Cluster, ClusterError, ClusterSettings};
use storekeeper::manifest::Owner;
use storekeeper::names::{SourceId, StoreId};

#[test]
fn a_namespace_that_was_made_anew_between_the_look_and_the_delete_stays() {
    let (world, daemon) = World::with_small(&["acme"], "deletionGracePeriodSeconds: 0");
    let (namespace, seen) = (world.namespace("acme"), world.uid("acme").unwrap());
    daemon.kill();
    let labels = world.cluster.namespace(&namespace).unwrap()["metadata"]["labels"].clone();
    world.cluster.delete_namespace(&namespace);
    world.until_gone("acme");
    world.cluster.create_namespace(&namespace, &labels);

    let source: SourceId = world.source.parse().unwrap();
    let store: StoreId = world.store("acme").parse().unwrap();
    let kubeconfig = Some(world.cluster.kubeconfig.clone());
    let settings = ClusterSettings { kubeconfig, ..ClusterSettings::new(source.clone()) };
    let uid = world.uid("acme").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::connect(settings, Changes::default()).await.unwrap();
        let owner = Owner { store: &store, source: &source };
        let result = cluster.delete_namespace(owner, &seen, pending()).await;
        assert!(matches!(result, Err(ClusterError::Changed { .. })), "{result:?}");
        let foreign: SourceId = "another".parse().unwrap();
        let foreign = Owner { store: &store, source: &foreign };
        let result = cluster.delete_namespace(foreign, &uid, pending()).await;
        assert!(matches!(result, Err(ClusterError::Changed { .. })), "{result:?}");
        let result = cluster.delete_namespace(owner, &uid, ready(())).await;
        assert!(matches!(result, Ok(false)), "{result:?}");
    });
    assert!(world.stays("acme"));
}

#[test]
fn a_daemon_that_could_not_list_all_namespaces_deletes_none() {
    let (world, daemon) = World::with_small(&["acme", "bonsai"], "deletionBudget: {maxPercent: 100}");
    daemon.kill();
    world.remove_store("acme");
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 7);
    let namespaces =
        |verb: &'static str| move |call: &Call| call.path == "/api/v1/namespaces" && call.verb == verb;
    // First as a stream that breaks off, then as lists: cut in the middle, and truncated as if they were whole.
    proxy.add(Rule::new(Fault::CutBody, namespaces("WATCH")).times(2));
    let refused = Fault::status(422, "Invalid", "sendInitialEvents: Forbidden: not here");
    proxy.add(Rule::new(refused, namespaces("WATCH")));
    proxy.add(Rule::new(Fault::CutBody, namespaces("GET")).times(2));
    proxy.add(Rule::new(Fault::ShortBody, namespaces("GET")));
    let daemon = world.start_small_on(&proxy.kubeconfig);
    until("lists broke off and were truncated", || {
        let met = |fault: &Fault| proxy.seen().iter().any(|seen| seen.fault.as_ref() == Some(fault));
        (met(&Fault::CutBody) && met(&Fault::ShortBody)).then_some(())
    });
    assert!(world.stays("acme") && world.stays("bonsai"));
    assert_eq!(proxy.count(|call| call.verb == "DELETE"), 0);
    proxy.clear();
    world.until_gone("acme");
    world.until_state(&daemon, "bonsai", "READY");
    assert!(world.stays("bonsai"));
}

#[test]
fn a_file_that_comes_back_while_the_removal_is_carried_out_stops_it_before_the_delete() {
    let (world, daemon) = World::with_small(&["acme"], "deletionGracePeriodSeconds: 0");
    daemon.kill();
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 7);
    let daemon = world.start_small_on(&proxy.kubeconfig);
    world.until_state(&daemon, "acme", "READY");
    // The last look before the delete takes its time.
    let path = format!("/api/v1/namespaces/{}", world.namespace("acme"));
    let look = move |call: &Call| call.path == path && call.verb == "GET";
    let (rule, looking) = Rule::new(Fault::Delay(Duration::from_secs(3)), look).times(1).told();
    proxy.add(rule);
    let before = world.uid("acme");
    world.remove_store("acme");
    looking.blocking_recv().unwrap();
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme is back");
    until("the commit is seen", || (daemon.fleet()["revision"] == commit).then_some(()));
    until("acme is READY with it", || {
        let shown = daemon.store(&world.store("acme"))?;
        (shown["state"] == "READY" && shown["appliedRevision"] == commit).then_some(())
    });
    assert_eq!(proxy.count(|call| call.verb == "DELETE"), 0);
    assert_eq!((world.uid("acme"), world.stays("acme")), (before, true));
}

#[test]
fn labels_taken_off_objects_come_back_and_nothing_is_made_anew() {
    let (world, _daemon) = World::with_small(&["acme"], "deletionBudget: {maxPercent: 100}");
    let namespace = world.namespace("acme");
    let before = world.cluster.get("v1", "Secret", &namespace, "password").unwrap();
    let off = json!({ "metadata": { "labels": {
        "app.kubernetes.io/managed-by": null, "storekeeper.dev/store": null, "storekeeper.dev/source": null,
    } } });
    world.cluster.patch("v1", "Secret", &namespace, "password", &off);
    let after = until("the labels are back", || {
        let secret = world.cluster.get("v1", "Secret", &namespace, "password")?;
        (secret["metadata"]["labels"] == before["metadata"]["labels"]).then_some(secret)
    });
    assert_eq!((&after["metadata"]["uid"], &after["data"]), (&before["metadata"]["uid"], &before["data"]));
}
