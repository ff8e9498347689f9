//! A broken file is its own store's trouble and nobody else's, and never a reason to remove anything.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};

#[test]
fn a_broken_file_is_explained_and_its_running_store_is_left_alone() {
    let (world, daemon) = World::with_ready(&["acme", "bonsai"]);

    world.repository.write(
        &world.file("acme"),
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: x\nspec:\n  hots: acme.example.com\n",
    );
    world.write_store("bonsai", "Bonsai II");
    let commit = world.repository.push("break acme, change bonsai");

    // File and line, and the text that is wrong.
    world.until_failed(&daemon, "acme", &[&format!("{}:6:", world.file("acme")), "hots"]);
    assert!(world.cluster.namespace(&world.namespace("acme")).is_some());
    until("the other store's change is applied", || {
        let shown = daemon.store(&world.store("bonsai"))?;
        (shown["appliedRevision"] == commit && shown["state"] == "READY").then_some(())
    });

    // While its file is broken, the last good version is still kept healthy.
    let namespace = world.namespace("acme");
    let services = world.cluster.list("v1", "Service", &namespace);
    let name = services[0]["metadata"]["name"].as_str().unwrap();
    world.cluster.delete("v1", "Service", &namespace, name);
    until("the deleted Service is back", || world.cluster.get("v1", "Service", &namespace, name));

    world.write_store("acme", "Acme");
    world.repository.push("mend acme");
    world.until_state(&daemon, "acme", "READY");
}

#[test]
fn a_broken_file_protects_its_store_also_from_a_daemon_that_never_saw_it_whole() {
    let (world, daemon) = World::with_ready(&["acme"]);
    daemon.kill();

    world.repository.write(&world.file("acme"), "{{{ not YAML");
    world.repository.push("break acme");
    std::fs::remove_dir_all(world.folder.path().join("state")).unwrap();
    let daemon = world.start_daemon();
    world.until_state(&daemon, "acme", "FAILED");
    let namespace = world.cluster.namespace(&world.namespace("acme")).unwrap();
    assert!(namespace["metadata"]["deletionTimestamp"].is_null());
}

#[test]
fn of_two_files_that_claim_one_host_the_running_store_keeps_it() {
    let world = World::new();
    let daemon = world.start_daemon();
    let file = |name: &str| {
        format!(
            "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {}\nspec:\n  host: {}.example.com\n",
            world.store(name),
            world.prefix
        )
    };
    world.repository.write(&world.file("second"), &file("second"));
    world.repository.push("the first to come");
    world.until_state(&daemon, "second", "READY");
    world.repository.write(&world.file("first"), &file("first"));
    world.repository.push("the second to come");
    world.until_failed(&daemon, "first", &[&world.store("second")]);
    assert_eq!(daemon.store(&world.store("second")).unwrap()["state"], "READY");
    assert!(world.cluster.namespace(&world.namespace("first")).is_none());
}
