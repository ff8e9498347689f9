//! The deletion budget holds by percentage and over its window, after a restart too.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};

#[test]
fn what_was_deleted_within_the_window_counts_after_a_kill_too() {
    let budget = "deletionBudget: {maxStores: 1, maxPercent: 100, windowMinutes: 60}";
    let (world, daemon) = World::with_small(&["acme", "bonsai"], budget);
    world.remove_store("acme");
    world.until_gone("acme");
    daemon.kill();
    let daemon = world.start_small();
    world.until_state(&daemon, "bonsai", "READY");
    world.remove_store("bonsai");
    let words = ["2 stores would be removed within 60 min (1 of them are gone already)"];
    world.until_failed(&daemon, "bonsai", &words);
    assert!(world.stays("bonsai"));

    // A memory that is broken is no empty one, and is said.
    daemon.kill();
    let memory = world.folder.path().join("state/removals.json");
    assert!(std::fs::read_to_string(&memory).unwrap().contains(&world.store("acme")));
    std::fs::write(&memory, "{\"removed\": [").unwrap();
    world.write_store("bonsai", "Bonsai");
    world.repository.push("bonsai is back");
    let daemon = world.start_small();
    world.until_state(&daemon, "bonsai", "READY");
    world.remove_store("bonsai");
    world.until_failed(&daemon, "bonsai", &["record of what was removed before was broken"]);
    daemon.until_logged("the broken record is said", |line| {
        line["message"].as_str().is_some_and(|words| words.contains("record of removals can't be read"))
    });
    assert!(world.stays("bonsai"));
}

#[test]
fn more_than_the_percentage_of_a_small_fleet_is_refused_though_the_number_would_fit() {
    let names = ["acme", "bonsai", "chocolate"];
    let budget = |approved: &str| {
        format!("deletionBudget: {{maxStores: 3, maxPercent: 34, windowMinutes: 0, approved: [{approved}]}}")
    };
    let (world, daemon) = World::with_small(&names, &budget(""));
    for name in names {
        world.repository.remove(&world.file(name));
    }
    world.repository.push("remove all three");
    let refusal =
        until("the refusal is shown", || daemon.fleet()["removalsRefused"].as_str().map(str::to_owned));
    assert!(refusal.contains("the deletion budget is 2, 34 % of a fleet of 3"), "{refusal}");
    for name in names {
        world.until_state(&daemon, name, "FAILED");
        assert!(world.stays(name));
    }
    world.write_fleet(&budget(&world.store("acme")));
    world.repository.push("approve acme");
    world.until_gone("acme");
    assert!(world.stays("bonsai") && world.stays("chocolate"), "an approval is for the store that it names");
}
