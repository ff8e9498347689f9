//! A store whose last file says `protect: true` is never deleted.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};

#[test]
fn a_protected_store_outlives_its_file_and_every_approval_until_a_commit_takes_the_protection_off() {
    let world = World::new();
    let approved = |names: &str| {
        format!("deletionBudget: {{maxStores: 9, maxPercent: 100, windowMinutes: 0, approved: [{names}]}}")
    };
    world.write_fleet(&approved(&world.store("acme")));
    world.write_store_with("acme", "protect: true");
    world.write_store("bonsai", "Bonsai");
    world.repository.push("two stores");
    let daemon = world.start_small();
    for name in ["acme", "bonsai"] {
        world.until_state(&daemon, name, "READY");
    }
    assert_eq!(
        (world.mark("acme", "protect").as_deref(), world.mark("bonsai", "protect")),
        (Some("true"), None)
    );

    let problems = daemon.fleet()["problems"].to_string();
    let early = format!(
        "so their next removal is approved already: take out those that stay ({})",
        world.store("acme")
    );
    assert!(problems.contains(&early), "{problems}");

    // The protection comes, and the file goes before the namespace can have been written.
    world.write_store_with("bonsai", "protect: true");
    world.repository.push("protect bonsai");
    world.repository.remove(&world.file("acme"));
    world.remove_store("bonsai");
    let said = |daemon: &common::daemon::Daemon, name: &str| {
        world.until_failed(daemon, name, &["bring the file back with `protect: false`"]);
        assert!(world.stays(name));
    };
    said(&daemon, "acme");
    let refused = daemon.fleet()["removalsRefused"].as_str().unwrap().to_owned();
    assert!(refused.contains(&world.store("acme")), "{refused}");
    assert!(daemon.metric("storekeeper_removals_refused") >= 1.0);

    daemon.kill();
    let daemon = world.start_small();
    said(&daemon, "acme");

    world.write_store_with("acme", "protect: false");
    world.repository.push("acme may go");
    world.until_state(&daemon, "acme", "READY");
    until("the protection is off", || world.mark("acme", "protect").is_none().then_some(()));
    world.remove_store("acme");
    world.until_gone("acme");
}

#[test]
fn a_protection_that_was_read_and_not_written_yet_counts() {
    let (world, daemon) = World::with_small(&["acme", "bonsai"], "deletionBudget: {maxPercent: 100}");
    // What is not ours is not written to: the namespace never gets the mark.
    let namespace = world.namespace("acme");
    let label = |value: serde_json::Value| {
        let labels = serde_json::json!({ "metadata": { "labels": { "storekeeper.dev/source": value } } });
        world.cluster.patch_namespace(&namespace, &labels);
    };
    label("elsewhere".into());
    world.write_store_with("acme", "protect: true");
    let protecting = world.repository.push("protect acme");
    until("the protection is read", || (daemon.fleet()["revision"] == protecting).then_some(()));
    // Another store that goes by the same commit is none of its business.
    world.repository.remove(&world.file("bonsai"));
    let commit = world.remove_store("acme");
    until("the removal is seen", || (daemon.fleet()["revision"] == commit).then_some(()));
    world.until_gone("bonsai");
    assert_eq!(world.mark("acme", "protect"), None);
    label(world.source.clone().into());
    world.until_failed(&daemon, "acme", &["protect: true"]);
    until("it is written down for the next start", || world.mark("acme", "protect"));
    assert!(world.stays("acme"));
}

#[test]
fn a_protection_counts_though_the_version_that_brings_it_does_not_render() {
    let (world, daemon) = World::with_small(&["acme"], "deletionBudget: {maxPercent: 100}");
    world.write_store_with("acme", "protect: true\n  values: {wrong: not today}");
    world.repository.push("protect acme, with a mistake");
    world.until_failed(&daemon, "acme", &["not today"]);
    assert_eq!(world.mark("acme", "protect").as_deref(), Some("true"));
    // Nobody runs while the file goes.
    daemon.kill();
    world.remove_store("acme");
    let daemon = world.start_small();
    world.until_failed(&daemon, "acme", &["protect: true"]);
    assert!(world.stays("acme"));
}
