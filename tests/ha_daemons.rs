//! Several replicas of the daemon: one writes for each store at a time, the others show, and one that ends is followed.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;
#[path = "common/replicas.rs"]
mod replicas;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Instant;

use common::{World, until};
use replicas::{LEASE, Replica, Replicas, until_at};

#[test]
fn a_leader_that_dies_is_followed_within_the_time_of_its_lease_and_done_work_is_not_done_again() {
    let world = World::new();
    let replicas = Replicas::new(&world, "leader");
    let first = replicas.start("first");
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme");
    until_at(&first, &world, "acme", &commit);

    let second = replicas.start("second");
    until_at(&second, &world, "acme", &commit);
    world.write_store("brew", "Brew");
    let commit = world.repository.push("brew");
    until_at(&first, &world, "brew", &commit);
    // The other one shows the same, from its own watches.
    until_at(&second, &world, "brew", &commit);
    assert_eq!(second.writes(), [], "who follows writes nothing");

    first.signal("KILL");
    let killed = Instant::now();
    world.write_store("corn", "Corn");
    let commit = world.repository.push("corn");
    until_at(&second, &world, "corn", &commit);
    let (began, _) = second.writes()[0];
    println!("taken over {:.1} s after the leader was killed", began.duration_since(killed).as_secs_f64());
    assert!(began >= killed, "nothing is written while the leader lives");
    let untouched = [world.namespace("acme"), world.namespace("brew")];
    let again: Vec<_> = second.writes_since(killed);
    assert!(again.iter().all(|write| !untouched.iter().any(|it| write.contains(it.as_str()))), "{again:?}");
}

#[test]
fn what_one_leader_removed_counts_against_the_budget_of_the_next() {
    let world = World::new();
    world.write_fleet("deletionBudget: {maxStores: 1, maxPercent: 100, windowMinutes: 60}");
    let replicas = Replicas::new(&world, "leader");
    let first = replicas.start("first");
    for name in ["acme", "brew"] {
        world.write_store(name, name);
    }
    let commit = world.repository.push("two stores");
    until_at(&first, &world, "brew", &commit);
    until_at(&first, &world, "acme", &commit);
    world.remove_store("acme");
    world.until_gone("acme");
    first.daemon.kill();
    let second = replicas.start("second");
    until_at(&second, &world, "brew", &commit);
    world.remove_store("brew");
    let words = ["its file is gone, but it is kept"];
    world.until_failed(&second.daemon, "brew", &words);
    assert!(world.stays("brew"));
}

#[test]
fn a_leader_that_ends_hands_over_at_once_and_the_page_is_there_all_the_time() {
    let world = World::new();
    let replicas = Replicas::new(&world, "leader");
    let first = replicas.start("first");
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme");
    until_at(&first, &world, "acme", &commit);
    let second = replicas.start("second");
    until_at(&second, &world, "acme", &commit);

    let Replica { daemon, proxy: _proxy } = first;
    let begun = Instant::now();
    daemon.terminate();
    world.cluster.delete("v1", "Service", &world.namespace("acme"), "medusa");
    until("what was deleted is back", || {
        world.cluster.get("v1", "Service", &world.namespace("acme"), "medusa").map(|_| ())
    });
    let took = begun.elapsed();
    println!("handed over and healed {:.1} s after the leader was told to end", took.as_secs_f64());
    assert!(took < LEASE, "the end of the Lease was waited for: {took:?}");
    assert_eq!(second.daemon.get("/api/v1/stores").0, 200);
}

#[test]
fn a_leader_that_was_paused_for_long_writes_nothing_when_it_wakes() {
    let world = World::new();
    let replicas = Replicas::new(&world, "leader");
    let first = replicas.start("first");
    world.write_store("acme", "Acme");
    let commit = world.repository.push("acme");
    until_at(&first, &world, "acme", &commit);
    let second = replicas.start("second");
    until_at(&second, &world, "acme", &commit);

    first.signal("STOP");
    // Work that it would do at once when it wakes.
    world.write_store("acme", "Acme Limited");
    let commit = world.repository.push("another name");
    until_at(&second, &world, "acme", &commit);
    world.write_store("acme", "Acme Again");
    let woken = Instant::now();
    first.signal("CONT");
    let commit = world.repository.push("a third name");
    until_at(&second, &world, "acme", &commit);
    until_at(&first, &world, "acme", &commit);
    sleep(LEASE / 2);
    assert_eq!(first.writes_since(woken), Vec::<String>::new(), "it is the leader no more");
}

#[test]
fn three_replicas_share_the_stores_and_none_is_worked_on_twice() {
    const STORES: usize = 12;
    let world = World::new();
    world.write_fleet("deletionBudget: {maxStores: 20, maxPercent: 100, windowMinutes: 0}");
    let replicas = Replicas::new(&world, "spread");
    let all = ["one", "two", "three"].map(|identity| replicas.start(identity));
    until("all shards are shared by three", || {
        let shares: Vec<_> = all.iter().filter_map(Replica::share).collect();
        (shares.len() == 3 && shares.iter().sum::<u64>() == 64).then_some(())
    });
    let names: Vec<_> = (0..STORES).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.write_store(name, name);
    }
    let commit = world.repository.push("all stores");
    for name in &names {
        until_at(&all[0], &world, name, &commit);
    }
    let mut writers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for name in &names {
        let path = format!("/namespaces/{}/", world.namespace(name));
        for (place, replica) in all.iter().enumerate() {
            if replica.writes().iter().any(|(_, write)| write.contains(&path)) {
                writers.entry(name.clone()).or_default().push(place);
            }
        }
    }
    println!("who wrote: {writers:?}");
    assert!(writers.len() == STORES && writers.values().all(|of| of.len() == 1), "{writers:?}");
    let shares: Vec<_> =
        (0..3).map(|place| writers.values().filter(|of| of.contains(&place)).count()).collect();
    assert!(shares.iter().filter(|share| **share > 0).count() >= 2, "nothing is shared: {shares:?}");

    // One ends: the others take its share, without touching what is done.
    let before = Instant::now();
    let [one, two, three] = all;
    let Replica { daemon, proxy: _proxy } = one;
    daemon.terminate();
    world.write_store("late", "late");
    let commit = world.repository.push("a late one");
    for replica in [&two, &three] {
        until_at(replica, &world, "late", &commit);
    }
    let late = format!("/namespaces/{}", world.namespace("late"));
    let writes = [two.writes_since(before), three.writes_since(before)].concat();
    // Events of what happened before may still be told.
    let others = |write: &&String| !write.contains(&late) && !write.ends_with("/events");
    let others: Vec<_> = writes.iter().filter(others).collect();
    assert!(others.is_empty(), "{others:?}");
}
