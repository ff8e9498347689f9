//! What holds a removal up is named, tried again for ever, and holds up no other store.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::api_proxy::{ApiProxy, Call, Fault, Rule};
use common::{World, until};
use serde_json::json;

const BUDGET: &str = "deletionBudget: {maxStores: 9, maxPercent: 100, windowMinutes: 0}";

#[test]
fn an_object_with_a_finalizer_is_named_with_it_and_its_age_and_other_stores_go_on() {
    let (world, daemon) = World::with_small(&["acme", "bonsai"], BUDGET);
    let namespace = world.namespace("acme");
    let held = json!({ "metadata": { "name": "held", "finalizers": ["example.com/held"] } });
    world.cluster.create("v1", "ConfigMap", &namespace, held);
    world.remove_store("acme");
    world.until_state(&daemon, "acme", "DELETING");
    assert!((daemon.metric("storekeeper_removals_under_way") - 1.0).abs() < f64::EPSILON);
    assert!(daemon.metric("storekeeper_removal_oldest_timestamp_seconds") > 1_700_000_000.0);

    world.write_store("chocolate", "Chocolate");
    world.remove_store("bonsai");
    world.until_state(&daemon, "chocolate", "READY");
    world.until_gone("bonsai");

    until("the object is named", || {
        let shown = daemon.store(&world.store("acme"))?;
        let reason = shown["reason"].as_str()?;
        let named = reason.contains("ConfigMap/held (being deleted since ")
            && reason.contains("held by finalizer example.com/held")
            && reason.contains("its namespace is being deleted since ");
        named.then_some(())
    });
    // A file that comes back meanwhile waits for the end, and says so.
    world.write_store("acme", "Acme");
    world.repository.push("acme is back");
    until("the store waits for the end", || {
        let shown = daemon.store(&world.store("acme"))?;
        shown["reason"].as_str()?.contains("is made anew afterwards").then_some(())
    });
    let before = world.uid("acme");
    let released = json!({ "metadata": { "finalizers": null } });
    world.cluster.patch("v1", "ConfigMap", &namespace, "held", &released);
    world.until_state(&daemon, "acme", "READY");
    assert_ne!(world.uid("acme"), before);
    until("no removal is under way", || {
        (daemon.metric("storekeeper_removals_under_way") < 0.5).then_some(())
    });
}

#[test]
fn a_delete_that_the_api_server_refuses_is_told_in_its_words_and_tried_again() {
    let (world, daemon) = World::with_small(&["acme"], BUDGET);
    world.refuse_deletion("acme");
    world.remove_store("acme");
    world.until_failed(&daemon, "acme", &["nobody deletes acme on a Sunday"]);
    let retry = daemon.store(&world.store("acme")).unwrap()["nextRetry"].clone();
    assert!(retry.is_string(), "{retry}");
    let since = || daemon.metric("storekeeper_removal_oldest_timestamp_seconds");
    let begun = since();
    until("it is tried again", || {
        let shown = daemon.store(&world.store("acme"))?;
        (shown["nextRetry"].is_string() && shown["nextRetry"] != retry).then_some(())
    });
    let shown = daemon.store(&world.store("acme")).unwrap();
    assert!(shown["reason"].as_str().unwrap().contains("; its file is gone since "), "{shown}");
    assert!((since() - begun).abs() < f64::EPSILON, "it has an age: {begun} {}", since());
    world.allow_deletion("acme");
    world.until_gone("acme");
}

#[test]
fn a_kind_that_cannot_be_listed_hides_neither_what_holds_a_namespace_nor_other_stores() {
    let (world, daemon) = World::with_small(&["acme", "bonsai"], BUDGET);
    daemon.kill();
    let proxy = ApiProxy::start(&world.cluster.kubeconfig, world.folder.path(), 7);
    let refused = Fault::status(500, "InternalError", "conversion webhook for claims failed");
    let claims = |call: &Call| call.verb == "GET" && call.path.ends_with("/persistentvolumeclaims");
    proxy.add(Rule::new(refused, claims));
    let daemon = world.start_small_on(&proxy.kubeconfig);
    for store in ["acme", "bonsai"] {
        let held = json!({ "metadata": { "name": "held", "finalizers": ["example.com/held"] } });
        world.cluster.create("v1", "ConfigMap", &world.namespace(store), held);
        world.remove_store(store);
    }
    until("both say what holds them and what could not be asked", || {
        let named = |store: &str| {
            let shown = daemon.store(&world.store(store))?;
            let reason = shown["reason"].as_str()?;
            let named = reason.contains("ConfigMap/held (being deleted since ")
                && reason.contains("could not be listed: PersistentVolumeClaim");
            named.then_some(())
        };
        named("acme").and(named("bonsai"))
    });
    let released = json!({ "metadata": { "finalizers": null } });
    for store in ["acme", "bonsai"] {
        world.cluster.patch("v1", "ConfigMap", &world.namespace(store), "held", &released);
        world.until_gone(store);
    }
}
