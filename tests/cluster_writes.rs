//! No write more than it needs: each object of a new store once, an edit what it changes, a record before and after.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::path::Path;
use std::time::Instant;

use common::World;
use common::cluster::Witness;
use common::daemon::Daemon;
use common::until;

const INVENTORY: &str = "storekeeper-inventory";

/// Starts a daemon with the bench's small chart: 20 `ConfigMaps` and 4 Deployments without replicas.
fn start(world: &World) -> Daemon {
    let fleet = "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n";
    world.repository.write("storekeeper.yaml", fleet);
    world.repository.push("a fleet of small stores");
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/bench/chart");
    let more = ["--probe", "objects", "--chart", chart.to_str().unwrap()];
    let (folder, url) = (world.folder.path(), world.repository.url());
    Daemon::start_on("127.0.0.1:0", folder, &url, &world.source, &world.cluster.kubeconfig, &more)
}

fn push(world: &World, edition: &str) -> String {
    let name = world.store("acme");
    let text = format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {name}\nspec:\n  values:\n    edition: \"{edition}\"\n"
    );
    world.repository.write(&world.file("acme"), &text);
    world.repository.push(edition)
}

fn until_ready_at(world: &World, daemon: &Daemon, commit: &str) {
    until("the store is READY at the commit", || {
        let store = daemon.store(&world.store("acme"))?;
        (store["state"] == "READY" && store["appliedRevision"] == commit).then_some(())
    });
}

/// Counts the changes of the inventory and of all other ConfigMaps, once no more come.
fn counts(witness: &Witness, since: Instant, others: usize) -> (usize, usize) {
    let count = || {
        let events = witness.since(since);
        let inventory = events.iter().filter(|event| event.name == INVENTORY).count();
        (inventory, events.len() - inventory)
    };
    until("every ConfigMap has changed", || (count().1 >= others).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(500));
    count()
}

#[test]
fn a_new_store_and_an_edit_cost_no_write_too_many() {
    let world = World::new();
    let daemon = start(&world);
    let labels = format!("storekeeper.dev/store={}", world.store("acme"));
    let witness = world.cluster.witness(&[("v1", "ConfigMap")], &labels);

    let begun = Instant::now();
    let commit = push(&world, "1");
    until_ready_at(&world, &daemon, &commit);
    let (records, others) = counts(&witness, begun, 20);
    assert_eq!(others, 20, "each object is applied once");
    assert!(records <= 2, "written down when it is applied and when it is READY, not {records} times");

    let begun = Instant::now();
    let commit = push(&world, "2");
    until_ready_at(&world, &daemon, &commit);
    let (records, others) = counts(&witness, begun, 20);
    assert_eq!((records, others), (2, 20), "a record before the change and one after it, READY included");
}
