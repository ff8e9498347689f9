//! What makes the daemon look at once, besides webhooks: SIGHUP, and an annotation on a store's namespace.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/forge_world.rs"]
mod forge_world;
#[path = "common/git_server.rs"]
mod git_server;
#[path = "common/gitea.rs"]
mod gitea;

use std::process::Command;

use common::until;
use forge_world::ForgeWorld;
use serde_json::json;

const ALL: &str = "storekeeper/all";

fn hang_up(pid: u32) {
    assert!(Command::new("kill").args(["-HUP", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn sighup_and_the_annotation_make_it_look_at_the_repository_at_once() {
    let forge = ForgeWorld::new();
    // Without a webhook, and with the next poll in an hour.
    let daemon = forge.start_daemon(&[]);
    until("the first look is over", || daemon.fleet()["revision"].as_str().map(|_| ()));
    forge.world.write_store("acme", "Acme");
    let added = forge.world.repository.push("acme");
    assert_ne!(daemon.fleet()["revision"], added, "nobody has told yet");
    hang_up(daemon.pid());
    forge.until(&added, ALL, "success");
    forge.world.until_state(&daemon, "acme", "READY");

    forge.world.write_store("acme", "Acme Outdoor");
    let changed = forge.world.repository.push("acme again");
    let asked =
        json!({"metadata": {"annotations": {"storekeeper.dev/requested-at": "2026-11-22T10:00:00Z"}}});
    forge.world.cluster.patch_namespace(&forge.world.namespace("acme"), &asked);
    forge.until(&changed, ALL, "success");
    let annotations = forge.world.cluster.namespace(&forge.world.namespace("acme")).unwrap();
    let annotations = annotations["metadata"]["annotations"].clone();
    assert_eq!(annotations["storekeeper.dev/requested-at"], "2026-11-22T10:00:00Z", "it is theirs");
}

#[test]
fn a_store_that_waits_for_its_next_try_has_it_at_sighup() {
    let forge = ForgeWorld::new();
    let daemon = forge.start_daemon(&[]);
    forge.hook(&daemon);
    let held = forge.hold_back("acme");
    forge.world.write_store("acme", "Acme");
    forge.world.repository.push("acme");
    let tries = || {
        let (_, text) = daemon.get("/metrics");
        let name = "storekeeper_reconcile_duration_seconds_count{outcome=\"failed\"} ";
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse::<u64>().unwrap()
    };
    // By then the next try is eight seconds or more away.
    until("it has failed four times", || (tries() >= 4).then_some(()));
    let shown = daemon.store(&forge.world.store("acme")).unwrap();
    assert_eq!(shown["state"], "FAILED", "{shown}");
    let before = tries();
    let began = std::time::Instant::now();
    hang_up(daemon.pid());
    until("it is tried again", || (tries() > before).then_some(()));
    assert!(began.elapsed().as_secs() < 6, "the next try by itself was further away");
    drop(held);
    forge.world.until_state(&daemon, "acme", "READY");
}
