//! What commits change is carried out in change windows; drift is healed all the time.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::daemon::Daemon;
use common::{World, until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Returns the time of the day in so many seconds, in UTC.
fn time_in(seconds: i64) -> String {
    (Timestamp::now() + SignedDuration::from_secs(seconds)).strftime("%H:%M:%S").to_string()
}

/// A window that opens in so many seconds, for an hour.
fn opens_in(seconds: i64) -> String {
    let (from, to) = (time_in(seconds), time_in(seconds + 3600));
    format!("changeWindows: [{{from: '{from}', to: '{to}', timeZone: UTC}}]")
}

fn until_said(world: &World, daemon: &Daemon, name: &str, state: &str, words: &str) -> Value {
    let mut last = Value::Null;
    until(&format!("{name} is {state} with {words}"), || {
        last = daemon.store(&world.store(name)).unwrap_or_default();
        let said = last["reason"].as_str().unwrap_or_default().contains(words);
        (last["state"] == state && said).then(|| last.clone())
    })
}

fn setting(world: &World, name: &str) -> Value {
    let settings = world.cluster.get("v1", "ConfigMap", &world.namespace(name), "settings");
    settings.unwrap_or_default()["data"]["name"].clone()
}

fn until_setting(world: &World, name: &str, value: &str) {
    until(&format!("{name} says {value}"), || (setting(world, name) == value).then_some(()));
}

fn page(daemon: &Daemon, commit: &str) -> String {
    daemon.get(&format!("/commits/{commit}")).1
}

#[test]
fn outside_its_window_a_store_waits_and_the_version_in_force_is_healed() {
    let (world, daemon) = World::with_small(&["acme", "bonsai"], "deletionBudget: {maxPercent: 100}");
    let waits = opens_in(7200);
    world.write_fleet(&format!("{waits}\n  deletionBudget: {{maxPercent: 100}}"));
    world.write_store("acme", "Renamed");
    world.write_store("chocolate", "Chocolate");
    world.repository.remove(&world.file("bonsai"));
    let commit = world.repository.push("all that windows hold back");
    until_said(
        &world,
        &daemon,
        "acme",
        "READY",
        "a commit's change waits: outside its change window, which opens",
    );
    until_said(&world, &daemon, "chocolate", "REQUESTED", "outside its change window");
    until_said(&world, &daemon, "bonsai", "DELETING", "it is outside its change window");
    assert!(page(&daemon, &commit).contains("applied then"), "{}", page(&daemon, &commit));
    until("the fleet says how many wait", || {
        let said = daemon.fleet()["window"].as_str().unwrap_or_default().to_owned();
        said.starts_with("3 stores wait for their change windows").then_some(())
    });
    let patch = json!({ "data": { "name": "by hand" } });
    world.cluster.patch("v1", "ConfigMap", &world.namespace("acme"), "settings", &patch);
    until_setting(&world, "acme", "acme");
    daemon.kill();

    let daemon = world.start_small();
    until_said(&world, &daemon, "acme", "READY", "a commit's change waits");
    world.cluster.patch("v1", "ConfigMap", &world.namespace("acme"), "settings", &patch);
    until_setting(&world, "acme", "acme");
    assert!(world.stays("bonsai") && world.cluster.namespace(&world.namespace("chocolate")).is_none());

    let emergency = "overrideWindows: {until: 2099-01-01, reason: everything burns}";
    world.write_fleet(&format!("{waits}\n  {emergency}\n  deletionBudget: {{maxPercent: 100}}"));
    world.repository.push("open all windows");
    until_setting(&world, "acme", "Renamed");
    world.until_state(&daemon, "chocolate", "READY");
    world.until_gone("bonsai");
    until("the fleet says so", || {
        let said = daemon.fleet()["window"].as_str().unwrap_or_default().to_owned();
        said.starts_with("all change windows are open until 2099-01-01T00:00:00Z: everything burns")
            .then_some(())
    });
}

#[test]
fn a_window_that_opens_lets_changes_in_by_itself_after_a_crash_too() {
    let (world, daemon) = World::with_small(&["acme"], "");
    world.write_fleet(&opens_in(12));
    world.write_store("acme", "Renamed");
    let commit = world.repository.push("rename acme when the window opens");
    until_said(&world, &daemon, "acme", "READY", "a commit's change waits");
    daemon.kill();
    let daemon = world.start_small();
    until_said(&world, &daemon, "acme", "READY", "a commit's change waits");
    assert_eq!(setting(&world, "acme"), "acme");
    until_setting(&world, "acme", "Renamed");
    until("it is the commit's success", || {
        let shown = daemon.store(&world.store("acme"))?;
        let reason = shown["reason"].as_str()?.to_owned();
        (shown["appliedRevision"] == commit && !reason.contains("window")).then_some(())
    });
    until("nobody waits", || daemon.fleet()["window"].is_null().then_some(()));
}

#[test]
fn a_window_is_for_the_stores_that_it_names() {
    let (world, daemon) = World::with_small(&["acme", "bonsai"], "");
    let (from, to) = (time_in(7200), time_in(10_800));
    let stores = format!("stores: ['*-bonsai', '{}']", world.store("nobody"));
    world.write_fleet(&format!("changeWindows: [{{from: '{from}', to: '{to}', timeZone: UTC, {stores}}}]"));
    for name in ["acme", "bonsai"] {
        world.write_store(name, "Renamed");
    }
    world.repository.push("rename both");
    until_setting(&world, "acme", "Renamed");
    until_said(&world, &daemon, "bonsai", "READY", "a commit's change waits");
    assert_eq!(setting(&world, "bonsai"), "bonsai");
}
