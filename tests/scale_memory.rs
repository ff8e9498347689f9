//! What a fleet costs in memory and at a restart: a daemon that finds a thousand converged stores.
//!
//! `STOREKEEPER_SCALE_STORES=10000 cargo test --release --test scale_memory -- --nocapture` measures more, with the
//! optimised binary, and prints it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/chart.rs"]
mod chart;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use common::fake_fleet::FakeFleet;
use common::{World, until_within};

/// What 1,000 stores may take at most beside the program's own pages, which are twice as many in the unoptimised binary
/// that tests run and belong to the file that they come from. The goal for both together is measured by `make bench`.
const LIMIT_MIB: f64 = 64.0;

/// How long a fleet at rest is watched.
const REST: Duration = Duration::from_secs(5);

#[test]
fn a_thousand_stores_that_need_nothing_are_held_in_little_memory_and_restarted_without_a_write() {
    let stores = std::env::var("STOREKEEPER_SCALE_STORES").ok();
    let stores = stores.map_or(1000, |text| text.parse().unwrap());
    let found = restart(stores, true);
    println!("{stores} stores: {found:?}");
    assert_eq!(found.writes, 0, "a restart writes nothing");
    assert_eq!(found.whole_secrets, 0, "no Secret's data is asked for");
    // The test itself asks once, as the daemon does.
    assert_eq!(found.requests["GET /apis"], 2, "what is served is asked for once: {:?}", found.requests);
    assert_eq!(found.at_rest, BTreeMap::new(), "a fleet at rest is not read either");
    if stores <= 1000 {
        assert!(found.anonymous_mib < LIMIT_MIB, "{found:?}, at most {LIMIT_MIB} MiB");
    }
}

#[test]
fn a_server_that_cannot_stream_its_lists_is_read_page_by_page() {
    let found = restart(60, false);
    assert_eq!(found.writes, 0, "{found:?}");
    assert!(found.requests["GET /api/v1/secrets"] >= 2, "pages: {:?}", found.requests);
}

#[derive(Debug)]
#[allow(dead_code, reason = "what is printed is read by people")]
struct Found {
    objects: usize,
    seconds_until_ready: f64,
    rss_mib: f64,
    anonymous_mib: f64,
    peak_mib: f64,
    writes: usize,
    whole_secrets: usize,
    requests: BTreeMap<String, usize>,
    /// What was asked for in some seconds when everything was READY.
    at_rest: BTreeMap<String, usize>,
}

/// Shows a daemon this many copies of a real store, and looks at what it costs.
fn restart(stores: usize, streams: bool) -> Found {
    let world = World::new();
    let fake = FakeFleet::converged(&world, chart::load().unwrap(), stores, streams);
    let objects = fake.objects();

    let begun = Instant::now();
    let daemon = Daemon::start(world.folder.path(), &world.repository.url(), &world.source, &fake.kubeconfig);
    let patience = Duration::from_secs(120 + u64::try_from(stores).unwrap() / 5);
    // By the log, for asking costs time as well.
    until_within(patience, "the first pass is done", || {
        std::thread::sleep(Duration::from_millis(100));
        let ready = fs::read_to_string(&daemon.log).unwrap().matches("\"state\":\"READY\"").count();
        (ready >= stores).then_some(())
    });
    let seconds_until_ready = begun.elapsed().as_secs_f64();
    let ready = daemon.get("/metrics").1;
    let expected = format!("storekeeper_stores{{state=\"ready\"}} {stores}");
    assert!(ready.to_lowercase().contains(&expected), "{ready}");
    std::thread::sleep(Duration::from_secs(1));
    let requests = fake.requests();
    std::thread::sleep(REST);
    let mut at_rest = fake.requests();
    at_rest.retain(|what, count| requests.get(what) != Some(count));
    Found {
        objects,
        seconds_until_ready,
        rss_mib: mib(daemon.pid(), "VmRSS:"),
        anonymous_mib: mib(daemon.pid(), "RssAnon:"),
        peak_mib: mib(daemon.pid(), "VmHWM:"),
        writes: fake.writes(),
        whole_secrets: fake.whole_secrets(),
        requests,
        at_rest,
    }
}

fn mib(process: u32, field: &str) -> f64 {
    let text = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
