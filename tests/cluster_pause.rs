//! Nothing of a paused store is created, changed, healed or deleted until its pause ends, by itself or by a commit.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::daemon::Daemon;
use common::{World, until};
use serde_json::{Value, json};

/// Returns so many seconds from now as store files write it.
fn from_now(seconds: u32) -> String {
    let moment = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds.into());
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn pause(until: &str) -> String {
    format!("pause: {{until: {until}, reason: stocktaking}}")
}

fn until_shown(world: &World, daemon: &Daemon, name: &str, state: &str, words: &[&str]) -> Value {
    let mut last = Value::Null;
    until(&format!("{name} is {state} with {words:?}"), || {
        last = daemon.store(&world.store(name)).unwrap_or_default();
        let reason = last["reason"].as_str().unwrap_or_default();
        (last["state"] == state && words.iter().all(|word| reason.contains(word))).then(|| last.clone())
    })
}

fn settings(world: &World, name: &str) -> Value {
    world.cluster.get("v1", "ConfigMap", &world.namespace(name), "settings").unwrap_or_default()
}

fn change_by_hand(world: &World, name: &str) {
    let patch = json!({ "data": { "name": "by hand" } });
    world.cluster.patch("v1", "ConfigMap", &world.namespace(name), "settings", &patch);
}

fn verdict(daemon: &Daemon, world: &World, commit: &str, name: &str) -> String {
    let (_, page) = daemon.get(&format!("/commits/{commit}"));
    let at = page.find(&world.store(name)).unwrap_or(0);
    page.get(at..).unwrap_or_default().to_owned()
}

#[test]
fn a_paused_store_is_left_as_it_is_over_a_crash_until_a_commit_ends_the_pause() {
    let (world, daemon) = World::with_small(&["acme"], "");
    world.write_store_with("acme", &pause("2099-01-01"));
    let pausing = world.repository.push("pause acme");
    let words = ["paused until 2099-01-01T00:00:00Z: stocktaking", "it is READY: "];
    until_shown(&world, &daemon, "acme", "PAUSED", &words);
    let (_, answer) = daemon.get("/metrics");
    assert!(answer.contains("storekeeper_stores{state=\"PAUSED\"} 1\n"), "{answer}");
    until("the commit that pauses it is done", || {
        let said = verdict(&daemon, &world, &pausing, "acme");
        (said.contains("Done") && said.contains("paused until 2099")).then_some(())
    });
    until("the fleet says so", || {
        let said = daemon.fleet()["paused"].as_str().unwrap_or_default().to_owned();
        (said.starts_with("1 store is paused") && said.contains(&world.store("acme"))).then_some(())
    });

    world.write_store("acme", "Renamed");
    let text = std::fs::read_to_string(world.repository.checkout.join(world.file("acme"))).unwrap();
    world.repository.write(&world.file("acme"), &format!("{text}  {}\n", pause("2099-01-01")));
    let changing = world.repository.push("rename acme, which is paused");
    until_shown(&world, &daemon, "acme", "PAUSED", &["what git wants now is applied then"]);
    let said = verdict(&daemon, &world, &changing, "acme");
    assert!(said.contains("Pending") && said.contains("applied then"), "{said}");
    change_by_hand(&world, "acme");
    daemon.kill();

    let daemon = world.start_small();
    until_shown(&world, &daemon, "acme", "PAUSED", &words);
    until("the first pass is finished", || (daemon.fleet()["ready"] == true).then_some(()));
    assert_eq!(settings(&world, "acme")["data"]["name"], "by hand");
    assert_eq!(world.mark("acme", "paused-until").as_deref(), Some("2099-01-01T00:00:00Z"));

    world.write_store("acme", "Renamed");
    let ending = world.repository.push("resume acme");
    until("it is READY at what git wants", || {
        let shown = daemon.store(&world.store("acme"))?;
        (shown["state"] == "READY" && shown["revision"] == ending).then_some(())
    });
    until("its drift is healed and the change is applied", || {
        (settings(&world, "acme")["data"]["name"] == "Renamed").then_some(())
    });
    until("its mark is gone", || world.mark("acme", "paused-until").is_none().then_some(()));
    until("the fleet says so", || daemon.fleet()["paused"].is_null().then_some(()));
}

#[test]
fn a_paused_new_store_is_made_when_its_pause_ends_by_itself() {
    let world = World::new();
    world.write_store_with("acme", &pause(&from_now(8)));
    world.repository.push("acme, later");
    let daemon =
        world.start_small_with(&world.repository.url(), &world.cluster.kubeconfig, &["--max-stores", "1"]);
    until_shown(&world, &daemon, "acme", "PAUSED", &["it is REQUESTED"]);
    assert_eq!(world.cluster.namespace(&world.namespace("acme")), None);
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn a_pause_ends_by_itself_after_a_crash_too() {
    let (world, daemon) = World::with_small(&["acme"], "");
    world.write_store_with("acme", &pause(&from_now(12)));
    world.repository.push("pause acme");
    world.until_state(&daemon, "acme", "PAUSED");
    change_by_hand(&world, "acme");
    daemon.kill();
    let daemon = world.start_small();
    world.until_state(&daemon, "acme", "PAUSED");
    assert_eq!(settings(&world, "acme")["data"]["name"], "by hand");
    world.until_state(&daemon, "acme", "READY");
    until("its drift is healed", || (settings(&world, "acme")["data"]["name"] == "acme").then_some(()));
}

#[test]
fn a_paused_store_outlives_its_file_until_its_pause_ends() {
    let (world, daemon) = World::with_small(&["acme"], "deletionBudget: {maxPercent: 100}");
    world.write_store_with("acme", &pause(&from_now(15)));
    world.repository.push("pause acme");
    world.until_state(&daemon, "acme", "PAUSED");
    until("it is written down", || world.mark("acme", "paused-until"));
    world.remove_store("acme");
    let words = ["its file is gone, but it is paused until", "it is deleted at"];
    let shown = until_shown(&world, &daemon, "acme", "PAUSED", &words);
    assert!(shown["deletesAt"].is_string(), "{shown}");
    daemon.kill();
    let daemon = world.start_small();
    until_shown(&world, &daemon, "acme", "PAUSED", &words);
    assert!(world.stays("acme"));
    world.until_gone("acme");
}

#[test]
fn a_paused_fleet_is_left_as_it_is_and_a_broken_file_keeps_its_pause() {
    let (world, daemon) = World::with_small(&["acme", "bonsai"], "");
    world.write_fleet(&pause("2099-01-01"));
    world.write_store_with("bonsai", &pause("2098-01-01"));
    world.repository.push("pause them all");
    for name in ["acme", "bonsai"] {
        until_shown(&world, &daemon, name, "PAUSED", &["paused with the whole fleet until 2099"]);
    }
    until("the fleet says so", || {
        let said = daemon.fleet()["paused"].as_str().unwrap_or_default().to_owned();
        said.starts_with("the whole fleet is paused until 2099-01-01T00:00:00Z: stocktaking").then_some(())
    });
    world.remove_store("acme");
    until_shown(&world, &daemon, "acme", "PAUSED", &["its file is gone"]);
    world.write_fleet("");
    world.write_store_with("bonsai", "nonsense: 1");
    world.repository.push("the fleet goes on, and bonsai has a mistake");
    world.until_gone("acme");
    world.until_failed(&daemon, "bonsai", &["nonsense"]);
    change_by_hand(&world, "bonsai");
    // Another store's whole life: whoever would heal the first one has had the time.
    world.write_store("chocolate", "Chocolate");
    world.repository.push("chocolate");
    world.until_state(&daemon, "chocolate", "READY");
    assert_eq!(settings(&world, "bonsai")["data"]["name"], "by hand");
}
