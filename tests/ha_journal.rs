//! Replicas that share a PostgreSQL journal write one history, and each of them shows all of it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/replicas.rs"]
mod replicas;

use std::process::Command;

use common::daemon::binary;
use common::postgres::Postgres;
use common::{World, until};
use replicas::{Replica, Replicas, until_at};
use serde_json::Value;

const STORES: usize = 8;

/// Returns the events that a replica shows of a store, or of all, newest first.
fn events(replica: &Replica, path: &str) -> Vec<Value> {
    let (status, body) = replica.daemon.get(&format!("/api/v1/{path}?limit=1000"));
    assert_eq!(status, 200, "{body}");
    let shown: Value = serde_json::from_str(&body).unwrap();
    assert!(shown["incomplete"].is_null(), "{shown}");
    shown["events"].as_array().unwrap().clone()
}

fn of_kind(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["kind"] == kind).count()
}

#[test]
fn what_each_replica_did_is_in_one_chain_and_on_every_page() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database();
    let world = World::new();
    let file = world.folder.path().join("journal-url");
    std::fs::write(&file, &url).unwrap();
    let replicas = Replicas::new(&world, "spread");
    let more = ["--poll-seconds", "1", "--journal-url-file", file.to_str().unwrap()];
    let repository = world.repository.url();
    let both = ["one", "two"].map(|identity| replicas.start_with(identity, &repository, &more));
    until("they share the stores", || {
        let kept = both.each_ref().map(|replica| replica.daemon.metric("storekeeper_shards_kept"));
        let alive = both.iter().all(|it| it.daemon.metric("storekeeper_replicas_alive") > 1.0);
        (alive && kept[0] > 0.0 && kept[1] > 0.0 && kept[0] + kept[1] > 63.0).then_some(())
    });
    let names: Vec<_> = (0..STORES).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.write_store(name, name);
    }
    let commit = world.repository.push("all stores");
    for name in &names {
        for replica in &both {
            until_at(replica, &world, name, &commit);
        }
    }
    let mut keepers = Vec::new();
    for name in &names {
        let path = format!("stores/{}/events", world.store(name));
        let shown = until(&format!("both tell the whole story of {name}"), || {
            let [one, two] = both.each_ref().map(|replica| events(replica, &path));
            let is_ready = one.iter().any(|it| it["kind"] == "state-entered" && it["state"] == "READY");
            (is_ready && one == two).then_some(one)
        });
        for (kind, times) in [("file-changed", 1), ("namespace-made", 1)] {
            assert_eq!(of_kind(&shown, kind), times, "{kind} of {name}: {shown:#?}");
        }
        assert!(of_kind(&shown, "applied") >= 1, "{shown:#?}");
        let page = both[0].daemon.get(&format!("/stores/{}", world.store(name))).1;
        assert!(page.contains("Namespace made") && page.contains("Chart applied"), "{page}");
        keepers.push(both[0].daemon.store(&world.store(name)).unwrap()["keeper"].clone());
    }
    assert!(keepers.contains(&"one".into()) && keepers.contains(&"two".into()), "{keepers:?}");
    let all = events(&both[1], "events");
    let followed =
        all.iter().filter(|it| it["kind"] == "commit-followed" && it["commit"]["revision"] == commit);
    assert_eq!(followed.count(), 1, "what concerns all is told once: {all:#?}");
    drop(both);
    verify(&url);
}

#[test]
fn a_history_goes_on_where_a_leader_that_was_killed_left_it() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database();
    let world = World::new();
    let file = world.folder.path().join("journal-url");
    std::fs::write(&file, &url).unwrap();
    let replicas = Replicas::new(&world, "leader");
    let more = ["--poll-seconds", "1", "--journal-url-file", file.to_str().unwrap()];
    let repository = world.repository.url();
    let first = replicas.start_with("first", &repository, &more);
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme");
    until_at(&first, &world, "acme", &commit);
    let second = replicas.start_with("second", &repository, &more);
    until_at(&second, &world, "acme", &commit);
    first.signal("KILL");
    world.write_store("brew", "Brew");
    let commit = world.repository.push("brew");
    until_at(&second, &world, "brew", &commit);
    for name in ["acme", "brew"] {
        let path = format!("stores/{}/events", world.store(name));
        let shown = until("it is written that the store is READY", || {
            let shown = events(&second, &path);
            shown.iter().any(|it| it["kind"] == "state-entered" && it["state"] == "READY").then_some(shown)
        });
        let once = ["file-changed", "namespace-made"].map(|kind| of_kind(&shown, kind));
        assert_eq!(once, [1, 1], "of {name}: {shown:#?}");
    }
    verify(&url);
}

/// Goes through the chain of events as people do.
fn verify(url: &str) {
    let verified = Command::new(binary())
        .args(["journal", "verify"])
        .env("STOREKEEPER_JOURNAL_URL", url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout);
    println!("{said}");
    assert!(verified.status.success(), "{said}");
}
