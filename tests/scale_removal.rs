//! A commit that takes nearly all files away stops nothing else: every removal is refused, and the next commit is followed
//! at once.
//!
//! `STOREKEEPER_SCALE_STORES=10000 cargo test --release --test scale_removal -- --nocapture` measures more, with the
//! optimised binary, and prints it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart.rs"]
mod chart;
mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::fake_fleet::FakeFleet;
use common::{World, until_within};

/// How long a commit may take that comes while the removals are refused.
const SOON: Duration = Duration::from_secs(15);

/// How long it may take until all are marked, at the least. It takes 6 s for 4,000 in a debug build on a quiet machine; a
/// plan of the fleet for each of them takes minutes.
const MARKED: Duration = Duration::from_secs(30);

#[test]
fn a_fleet_whose_files_are_gone_is_refused_as_a_whole_and_followed_meanwhile() {
    let stores = std::env::var("STOREKEEPER_SCALE_STORES").ok();
    let stores: usize = stores.map_or(4000, |text| text.parse().unwrap());
    let world = World::new();
    let fake = FakeFleet::converged(&world, chart::load().unwrap(), stores, true);
    let daemon = Daemon::start(world.folder.path(), &world.repository.url(), &world.source, &fake.kubeconfig);
    let logged = |words: &str| fs::read_to_string(&daemon.log).unwrap().matches(words).count();
    let patience = Duration::from_secs(120 + u64::try_from(stores).unwrap() / 5);
    let waits = || std::thread::sleep(Duration::from_millis(100));
    until_within(patience, "the first pass is done", || {
        waits();
        (logged("\"state\":\"READY\"") >= stores).then_some(())
    });
    for number in 1..stores {
        world.repository.remove(&world.file(&format!("shop-{number:05}")));
    }
    world.repository.push("the folder has another name now, but for one file");
    let begun = Instant::now();
    until_within(patience, "the removals are refused", || {
        waits();
        (logged("the deletion budget is 2") > 1).then_some(())
    });
    world.write_store("shop-00000", "another name");
    let commit = world.repository.push("something else");
    let pushed = Instant::now();
    until_within(patience, "the next commit is in force", || {
        waits();
        (logged(&commit) > 0).then_some(())
    });
    let followed = pushed.elapsed();
    until_within(MARKED + patience / 8, "all are marked", || {
        waits();
        (fake.writes() >= stores - 1).then_some(())
    });
    let refused = begun.elapsed();
    println!("{stores} stores: the next commit was followed in {followed:?}, all refused in {refused:?}");
    assert!(followed < SOON, "{followed:?}");
}
