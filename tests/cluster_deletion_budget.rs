//! More removals at once than the fleet allows are refused as a whole.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use common::{World, until};
use serde_json::json;

#[test]
fn removals_over_the_budget_are_refused_said_so_and_done_once_approved_by_name() {
    let names = ["acme", "bonsai", "chocolate"];
    let (world, mut daemon) =
        World::with_small(&names, "deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}");
    for name in names {
        world.repository.remove(&world.file(name));
    }
    world.repository.push("remove all three");
    let refusal =
        until("the refusal is shown", || daemon.fleet()["removalsRefused"].as_str().map(str::to_owned));
    assert!(refusal.contains("3 stores") && refusal.contains("budget is 2"), "{refusal}");
    for name in names {
        world.until_failed(&daemon, name, &["deletion budget"]);
        assert!(
            world.cluster.namespace(&world.namespace(name)).unwrap()["metadata"]["deletionTimestamp"]
                .is_null()
        );
    }

    // A restart does not forget the refusal, even with a budget that one of them would fit.
    daemon.kill();
    daemon = world.start_small();
    for name in names {
        world.until_state(&daemon, name, "FAILED");
    }

    // A start during an outage goes by the last good commit, and carries out none of its removals, not even one
    // that the budget would allow: a newer commit may have brought the file back.
    daemon.kill();
    let unmarked = json!({ "metadata": { "annotations": { "storekeeper.dev/removal-refused": null } } });
    for name in names {
        world.cluster.patch_namespace(&world.namespace(name), &unmarked);
    }
    world.cluster.delete_namespace(&world.namespace("chocolate"));
    world.until_gone("chocolate");
    let aside = world.folder.path().join("aside.git");
    std::fs::rename(&world.repository.bare, &aside).unwrap();
    daemon = world.start_small();
    for name in ["acme", "bonsai"] {
        world.until_failed(&daemon, name, &["nothing is removed for now"]);
        assert!(
            world.cluster.namespace(&world.namespace(name)).unwrap()["metadata"]["deletionTimestamp"]
                .is_null()
        );
    }
    daemon.kill();
    std::fs::rename(&aside, &world.repository.bare).unwrap();

    world.write_fleet("deletionBudget:\n    maxStores: 1");
    world.repository.push("a smaller budget");
    daemon = world.start_small();
    until("the refusal is shown again", || daemon.fleet()["removalsRefused"].as_str().map(str::to_owned));

    let approved = format!(
        "deletionBudget:\n    maxStores: 2\n    approved: [{}]",
        names.map(|name| world.store(name)).join(", ")
    );
    world.write_fleet(&approved);
    world.repository.push("approve");
    for name in names {
        world.until_gone(name);
    }
    assert!(daemon.fleet()["removalsRefused"].is_null());
}
