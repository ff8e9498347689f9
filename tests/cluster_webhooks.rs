//! An admission webhook that denies, fails or hangs costs its own objects their change, and nobody else anything: it is
//! said in the API server's words, with what was sent masked, and mended by the next try.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/turned_chart.rs"]
mod turned_chart;
#[path = "common/webhook.rs"]
mod webhook;

use common::daemon::Daemon;
use common::{World, until};
use serde_json::{Value, json};
use webhook::{Mood, Webhook};

fn start(world: &World) -> Daemon {
    let chart = turned_chart::write(world.folder.path());
    let (url, folder) = (world.repository.url(), world.folder.path());
    let more =
        ["--probe", "objects", "--chart", chart.to_str().unwrap(), "--chart-kinds", turned_chart::KIND];
    Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, &world.cluster.kubeconfig, &more)
}

/// Waits until the API server asks the webhook, which denies: configurations come into force a moment after they are made.
fn until_in_force(world: &World, object: &Value) {
    until("the webhook is in force", || {
        world.cluster.try_apply(object).is_err_and(|words| words.contains("denied the request")).then_some(())
    });
}

#[test]
fn a_webhook_that_denies_is_quoted_without_what_was_sent_and_one_that_fails_is_named() {
    let world = World::new();
    let labels = json!({"storekeeper.dev/source": world.source});
    let probe = format!("{}-probe", world.prefix);
    world.cluster.create_namespace(&probe, &labels);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": probe}});
    let sets = Webhook::start(Mood::Denies("/spec/template/spec/containers/0/env/0/value"));
    let _sets = sets.guard(&world, ("apps", "statefulsets"));
    let secrets = Webhook::start(Mood::Denies("/data/canary"));
    let _secrets = secrets.guard(&world, ("", "secrets"));
    until_in_force(&world, &secret);

    let daemon = start(&world);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    let name = format!("admission webhook \"{}.secrets.example.com\" denied the request", world.prefix);
    let words = ["apply Secret/frozen: ", &name, "(its words", "not tried before this is mended: "];
    world.until_failed(&daemon, "acme", &words);
    let again = |webhook: &Webhook, mood: Mood, text: &str| {
        webhook.set(mood);
        // A commit lifts the backoff.
        world.write_store("acme", text);
        world.repository.push(text);
    };
    again(&secrets, Mood::Allows, "Acme 2");
    let name = format!("admission webhook \"{}.statefulsets.example.com\" denied the request", world.prefix);
    world.until_failed(&daemon, "acme", &["apply StatefulSet/database: ", &name, "not here: ***"]);
    let failing = format!("failed calling webhook \"{}.statefulsets.example.com\"", world.prefix);
    again(&sets, Mood::HangsUp, "Acme 3");
    world.until_failed(&daemon, "acme", &["apply StatefulSet/database: ", &failing, "EOF"]);
    again(&sets, Mood::Hangs, "Acme 4");
    world.until_failed(&daemon, "acme", &["apply StatefulSet/database: ", &failing, "deadline exceeded"]);
    again(&sets, Mood::Allows, "Acme 5");
    world.until_state(&daemon, "acme", "READY");
    let log = std::fs::read_to_string(&daemon.log).unwrap();
    assert!(!log.contains("canary") && !log.contains("Y2FuYXJ5"), "what was sent is nowhere:\n{log}");
    world.cluster.delete_namespace(&probe);
}

#[test]
fn a_webhook_that_hangs_delays_no_other_store() {
    let world = World::new();
    let daemon = start(&world);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_state(&daemon, "acme", "READY");
    let maps = Webhook::start(Mood::Denies("/metadata/name"));
    let _maps = maps.guard(&world, ("", "configmaps"));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": world.namespace("acme")}});
    until_in_force(&world, &map);
    maps.set(Mood::Hangs);
    // A Service is none of its business: it is put back while the new store can't even be recorded.
    world.write_store("birch", "Birch");
    world.repository.push("add birch");
    until("birch is FAILED", || {
        let shown = daemon.store(&world.store("birch"))?;
        let said = shown["reason"].as_str()?.contains("failed calling webhook");
        (shown["state"] == "FAILED" && said).then_some(())
    });
    world.cluster.delete("v1", "Service", &world.namespace("acme"), "web");
    until("acme is healed", || world.cluster.get("v1", "Service", &world.namespace("acme"), "web"));
    maps.set(Mood::Allows);
    world.until_state(&daemon, "birch", "READY");
}
