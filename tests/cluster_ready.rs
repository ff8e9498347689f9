//! READY is said truthfully: the shop itself is asked, each step has its reason and its time, and a shop that stops
//! is DEGRADED.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::shop::{Mood, Shop};
use common::{World, until};
use serde_json::Value;

/// Waits until a store is shown with this state, step (`""` for none) and words.
fn until_said(
    world: &World,
    daemon: &common::daemon::Daemon,
    name: &str,
    (state, step): (&str, &str),
    words: &str,
) -> Value {
    let mut last = Value::Null;
    until(&format!("{name} is {state} at {step} with \"{words}\""), || {
        last = daemon.store(&world.store(name)).unwrap_or_default();
        let said = last["reason"].as_str().is_some_and(|reason| reason.contains(words));
        let at = last["step"].as_str().unwrap_or_default() == step;
        (last["state"] == state && at && said).then(|| last.clone())
    })
}

#[test]
fn a_store_is_ready_once_its_shop_answers_through_its_own_host() {
    let (world, shop) = (World::new(), Shop::open(Mood::Away));
    let daemon = world.start_probing(&shop.address, &[]);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    let shown = until_said(&world, &daemon, "acme", ("PROVISIONING", "ingress"), "503");
    assert_eq!(shown["answered"], Value::Null);

    shop.set(Mood::Priceless);
    until_said(&world, &daemon, "acme", ("PROVISIONING", "probe"), "a product that has a price");
    shop.set(Mood::Pageless);
    until_said(&world, &daemon, "acme", ("PROVISIONING", "probe"), "500");
    shop.set(Mood::Open);
    let shown = world.until_state(&daemon, "acme", "READY");
    assert_eq!(shown["step"], Value::Null);
    assert!(shown["answered"].is_string());

    let secret = world.cluster.get("v1", "Secret", &world.namespace("acme"), "medusa").unwrap();
    let encoded = secret["data"]["publishable-key"].as_str().unwrap();
    let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, encoded).unwrap();
    let host = format!("{}.shops.example.com", world.store("acme"));
    let visits = shop.visits();
    assert!(visits.iter().all(|visit| visit.host == host), "{visits:?}");
    let asked = visits.iter().find(|visit| visit.path.starts_with("/store/")).unwrap();
    assert_eq!(asked.key.as_deref().map(str::as_bytes), Some(key.as_slice()));
    let page = visits.iter().find(|visit| visit.path == "/").unwrap();
    assert_eq!(page.key, None, "a page is asked for as a browser does");
}

#[test]
fn a_ready_shop_that_stops_is_degraded_over_restarts_too_and_comes_back() {
    let (world, shop) = (World::new(), Shop::open(Mood::Open));
    let daemon = world.start_probing(&shop.address, &[]);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_state(&daemon, "acme", "READY");

    shop.set(Mood::Away);
    let shown = until_said(&world, &daemon, "acme", ("DEGRADED", "ingress"), "503");
    assert_eq!(shown["lastError"], shown["reason"]);
    let (_, metrics) = daemon.get("/metrics");
    assert!(metrics.contains("storekeeper_stores{state=\"DEGRADED\"} 1"), "{metrics}");

    daemon.kill();
    let daemon = world.start_probing(&shop.address, &[]);
    until_said(&world, &daemon, "acme", ("DEGRADED", "ingress"), "503");

    shop.set(Mood::Open);
    let shown = world.until_state(&daemon, "acme", "READY");
    assert_eq!(shown["lastError"], Value::Null);
    assert!((daemon.metric("provisioning_failures_total")).abs() < f64::EPSILON);
}

#[test]
fn a_shop_that_fails_once_stays_ready() {
    let (world, shop) = (World::new(), Shop::open(Mood::Open));
    let daemon = world.start_probing(&shop.address, &[]);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_state(&daemon, "acme", "READY");

    shop.set(Mood::Hiccup);
    until("the shop is asked and fails", || {
        shop.visits().iter().any(|visit| visit.status == 503).then_some(())
    });
    until("it is asked again and answers", || {
        let visits = shop.visits();
        let failed = visits.iter().rposition(|visit| visit.status == 503)?;
        visits[failed..].iter().any(|visit| visit.path == "/").then_some(())
    });
    let shown = until_said(&world, &daemon, "acme", ("READY", ""), "it answers as a shopper needs it");
    assert_eq!(shown["lastError"], Value::Null);
    let degraded = daemon.lines().find(|line| line["state"] == "DEGRADED");
    assert_eq!(degraded, None);
}

#[test]
fn an_answer_of_the_version_before_makes_no_new_version_ready() {
    let (world, shop) = (World::new(), Shop::open(Mood::Open));
    // So seldom that only a question of the new version's own can make it READY.
    let seldom = ["--probe-interval-seconds", "3600"];
    let (url, folder) = (world.repository.url(), world.folder.path());
    let arguments = [&["--probe-address", shop.address.as_str()][..], &seldom].concat();
    let daemon = common::daemon::Daemon::start_on(
        "127.0.0.1:0",
        folder,
        &url,
        &world.source,
        &world.cluster.kubeconfig,
        &arguments,
    );
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    world.until_state(&daemon, "acme", "READY");
    shop.set(Mood::Away);
    world.write_store("acme", "Acme and Sons");
    let changed = world.repository.push("rename acme");
    until_said(&world, &daemon, "acme", ("PROVISIONING", "ingress"), "503");
    shop.set(Mood::Open);
    let shown = world.until_state(&daemon, "acme", "READY");
    assert_eq!(shown["appliedRevision"], changed);
}

#[test]
fn a_step_that_takes_too_long_fails_and_the_store_is_ready_all_the_same_when_it_comes() {
    let (world, shop) = (World::new(), Shop::open(Mood::Away));
    let daemon = world.start_probing(&shop.address, &["--step-timeout", "ingress=2,probe=77"]);
    world.write_store("acme", "Acme");
    world.repository.push("add acme");
    until_said(
        &world,
        &daemon,
        "acme",
        ("FAILED", "ingress"),
        "not done after 2 s and still waited for: ingress:",
    );
    assert!((daemon.metric("provisioning_failures_total") - 1.0).abs() < f64::EPSILON);
    shop.set(Mood::Open);
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn a_store_that_waits_says_what_its_pods_wait_for() {
    let world = World::new();
    let daemon = world.start_daemon();
    for (name, values) in [
        ("homeless", "nodeSelector:\n      no-node-has: this"),
        ("poor", "quota:\n      hard:\n        pods: \"0\""),
    ] {
        world.write_store(name, name);
        let text = std::fs::read_to_string(world.repository.checkout.join(world.file(name))).unwrap();
        world.repository.write(&world.file(name), &format!("{text}  values:\n    {values}\n"));
    }
    world.repository.push("two stores that can't come up");
    until_said(
        &world,
        &daemon,
        "homeless",
        ("PROVISIONING", "database"),
        "pod postgres-0: cannot be scheduled: 0/1 nodes",
    );
    until_said(&world, &daemon, "poor", ("PROVISIONING", "database"), "exceeded quota: store");
}

#[test]
fn where_shops_are_not_asked_that_is_said() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let shown = daemon.store(&world.store("acme")).unwrap();
    assert!(shown["reason"].as_str().unwrap().contains("(--probe objects)"), "{shown}");
    assert!(daemon.fleet()["notAsked"].as_str().unwrap().contains("--probe objects"));
    assert!(daemon.get("/").1.contains("--probe objects"), "on the page too");
}
