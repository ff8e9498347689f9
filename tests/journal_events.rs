//! What happens to a store stands in the journal, each thing once, with the commit behind it; a restart adds nothing.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::daemon::{Daemon, binary};
use common::{World, until};
use serde_json::{Value, json};

/// Returns what the journal of a state folder holds, as the command prints it.
fn exported(state: &Path, more: &[&str]) -> Vec<Value> {
    let output = Command::new(binary())
        .args(["journal", "export", "--state-folder"])
        .arg(state)
        .args(more)
        .env_remove("STOREKEEPER_JOURNAL_URL")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(world: &World) -> Vec<Value> {
    exported(&world.folder.path().join("state"), &[])
}

/// Returns the kinds of a store's events, with the state or step where there is one.
fn told(events: &[Value], store: &str) -> Vec<String> {
    let of_store = events.iter().filter(|event| event["store"] == store);
    let words = |event: &Value| {
        let detail = ["change", "state", "step"].iter().find_map(|key| event[*key].as_str());
        [event["kind"].as_str(), detail].into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    of_store.map(words).collect()
}

/// Waits until a store's events end with this one.
fn until_told(world: &World, store: &str, last: &str) -> Vec<Value> {
    until(&format!("{store}: {last}"), || {
        let events = events(world);
        told(&events, store).last().is_some_and(|it| it == last).then_some(events)
    })
}

fn verify(world: &World) -> bool {
    let state = world.folder.path().join("state");
    Command::new(binary())
        .args(["journal", "verify", "--state-folder"])
        .arg(state)
        .status()
        .unwrap()
        .success()
}

#[test]
fn a_store_s_life_is_told_in_order_with_the_commit_behind_it() {
    let (world, daemon) = World::with_ready(&["acme"]);
    let store = world.store("acme");
    let life = until_told(&world, &store, "state-entered READY");
    let first = told(&life, &store);
    assert_eq!(
        first[..3],
        ["file-changed added", "state-entered PROVISIONING", "namespace-made"],
        "{first:?}"
    );
    for wanted in ["applied", "step-done namespace"] {
        assert_eq!(first.iter().filter(|it| *it == wanted).count(), 1, "{wanted} in {first:?}");
    }
    let made = life.iter().find(|event| event["kind"] == "namespace-made").unwrap();
    assert_eq!(
        (&made["origin"]["author"], made["origin"]["revision"].as_str().unwrap().len()),
        (&json!("Test"), 40)
    );
    let ready = life.last().unwrap();
    assert!(ready["tookMs"].as_u64().unwrap() > 0, "since it was seen in git: {ready}");
    // A change, by a merge of a pull request.
    world.write_store("acme", "Acme the second");
    let merge = world.repository.push("Merge pull request 'More acme' (#12) from acme into main");
    let changed = until("the change is told", || {
        let events = events(&world);
        let mut after = events.iter().skip_while(|event| event["origin"]["revision"] != *merge);
        after.any(|event| event["kind"] == "state-entered" && event["state"] == "READY").then_some(events)
    });
    let followed =
        changed.iter().find(|event| event["kind"] == "commit-followed" && event["origin"]["pull"] == 12);
    assert_eq!(followed.unwrap()["origin"]["revision"], *merge);
    let of_merge = changed.iter().filter(|event| event["origin"]["revision"] == *merge);
    assert!(of_merge.clone().any(|event| event["kind"] == "applied" && event["origin"]["pull"] == 12));
    // Drift.
    let patch = json!({"spec": {"replicas": 7}});
    world.cluster.patch("apps/v1", "Deployment", &world.namespace("acme"), "medusa", &patch);
    let healed =
        until("drift is told", || events(&world).into_iter().find(|event| event["kind"] == "drift-healed"));
    let words = healed["words"].as_str().unwrap();
    assert!(words.contains("Deployment/medusa") && words.contains("somebody-else"), "{words}");
    // A file that can't be used, and one that is gone.
    world.repository.write(&world.file("acme"), "nonsense: [");
    world.repository.push("broken");
    until_told(&world, &store, "state-entered FAILED");
    world.repository.remove(&world.file("acme"));
    world.repository.push("no acme any more");
    world.until_gone("acme");
    let end = until_told(&world, &store, "deleted");
    let end = told(&end, &store);
    let from = end.iter().rposition(|it| it == "file-changed removed").unwrap();
    assert_eq!(end[from..], ["file-changed removed", "deletion-begun", "state-entered DELETING", "deleted"]);
    assert!(verify(&world));
    drop(daemon);
}

#[test]
fn a_restart_that_finds_everything_as_it_was_writes_nothing() {
    let (world, daemon) = World::with_ready(&["acme", "bold"]);
    until_told(&world, &world.store("bold"), "state-entered READY");
    until_told(&world, &world.store("acme"), "state-entered READY");
    let (status, _) = daemon.terminate();
    assert!(status.success());
    let before = events(&world);
    for kills in [true, false] {
        let daemon = world.start_daemon();
        for store in ["acme", "bold"] {
            world.until_state(&daemon, store, "READY");
        }
        until("the first pass is over", || (daemon.fleet()["ready"] == true).then_some(()));
        if kills {
            daemon.kill();
        } else {
            assert!(daemon.terminate().0.success());
        }
        assert_eq!(events(&world), before);
    }
    // Without the journal neither: what runs already is no news.
    let state = world.folder.path().join("state");
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(state.join(file));
    }
    let daemon = world.start_daemon();
    until("the first pass is over", || (daemon.fleet()["ready"] == true).then_some(()));
    assert!(daemon.terminate().0.success());
    assert_eq!(events(&world), Vec::<Value>::new());
}

#[test]
fn what_happened_while_no_process_looked_is_told_by_the_next_one() {
    let (world, daemon) = World::with_ready(&["acme", "bold"]);
    until_told(&world, &world.store("bold"), "state-entered READY");
    until_told(&world, &world.store("acme"), "state-entered READY");
    daemon.kill();
    world.repository.remove(&world.file("acme"));
    world.write_store("bold", "Bolder");
    world.repository.push("while nobody looked");
    world.cluster.delete_namespace(&world.namespace("acme"));
    world.until_gone("acme");
    let before = events(&world).len();
    let daemon = world.start_daemon();
    world.until_state(&daemon, "bold", "READY");
    let after = until("all is told", || {
        let after = events(&world).split_off(before);
        told(&after, &world.store("bold")).iter().any(|it| it == "applied").then_some(after)
    });
    assert_eq!(told(&after, &world.store("acme")), ["file-changed removed", "deleted"]);
    assert_eq!(told(&after, &world.store("bold"))[0], "file-changed changed");
    drop(daemon);
}

#[test]
fn a_refusal_and_a_standstill_are_told_once() {
    let (world, daemon) = World::with_ready(&["a", "b", "c"]);
    for store in ["a", "b", "c"] {
        world.repository.remove(&world.file(store));
    }
    world.write_store("d", "D");
    world.repository.push("three at once");
    let refused = || -> Vec<String> {
        let refused = events(&world).into_iter().filter(|event| event["kind"] == "removal-refused");
        refused.map(|event| event["store"].as_str().unwrap().to_owned()).collect()
    };
    let all: Vec<_> = ["a", "b", "c"].map(|store| world.store(store)).to_vec();
    until("three are refused", || (refused() == all).then_some(()));
    daemon.kill();
    let daemon = world.start_daemon();
    until("the first pass is over", || (daemon.fleet()["ready"] == true).then_some(()));
    world.repository.write("storekeeper.yaml", "nonsense: [");
    let bad = world.repository.push("a broken fleet");
    until("the standstill is told", || {
        events(&world).iter().any(|event| event["kind"] == "frozen").then_some(())
    });
    world.write_fleet("deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}");
    world.repository.push("mended");
    until("the end of it is told", || {
        events(&world).iter().any(|event| event["kind"] == "thawed").then_some(())
    });
    let events = events(&world);
    let of = |kind: &str| events.iter().filter(|event| event["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of("removal-refused").len(), 3, "a restart refuses nothing anew");
    assert_eq!((of("frozen").len(), of("thawed").len(), of("commit-refused").len()), (1, 1, 1));
    assert_eq!(
        of("commit-refused")[0]["origin"],
        json!({"revision": bad, "author": "Test", "signer": null, "pull": null})
    );
    drop::<Daemon>(daemon);
}

#[test]
fn a_pause_and_its_end_are_told_once_each_of_a_store_and_of_the_fleet() {
    let (world, daemon) = World::with_small(&["acme"], "");
    let store = world.store("acme");
    world.write_fleet("pause: {until: 2099-01-01, reason: stocktaking}");
    world.repository.push("pause them all");
    until_told(&world, &store, "state-entered PAUSED");
    daemon.kill();
    let daemon = world.start_small();
    until("the first pass is finished", || (daemon.fleet()["ready"] == true).then_some(()));
    world.write_fleet("");
    world.repository.push("go on");
    until_told(&world, &store, "state-entered READY");
    let count = |kind: &str, of_store: bool| {
        let all = events(&world).into_iter();
        all.filter(|event| event["kind"] == kind && event["store"].is_string() == of_store).count()
    };
    until("the end of the fleet's pause is told", || (count("resumed", false) == 1).then_some(()));
    for of_store in [true, false] {
        assert_eq!((count("paused", of_store), count("resumed", of_store)), (1, 1), "store: {of_store}");
    }
}
