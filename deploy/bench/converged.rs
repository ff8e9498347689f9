//! What a daemon costs that finds ten thousand converged stores. A server shows them that is made of copies of one real store
//! (`tests/common/fake_fleet.rs`): a real one with a quarter of a million objects wants more than the machines have that
//! this runs on.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};
use storekeeper::reconcile::{ChartCache, ChartPlaces, inputs};

use super::OBJECTS;
use super::cold::{Bench, Running};
use super::common::fake_fleet::{Copy, FakeFleet, Template};
use super::figures::rounded;
use super::fleet::{self, Fleet};
use super::fleetwide::until_steady;
use super::{process, render};

const STORES: usize = 10_000;

/// Starts a daemon on copies of a store of a fleet that is up.
pub fn measure(bench: &Bench<'_>, running: &Running) -> Value {
    let source = &running.fleet.source;
    let template = running.fleet.store(0).parse().unwrap();
    let template = Template::of(&bench.server.cluster.kubeconfig, source, &template);
    let folder = bench.folder.join("converged");
    std::fs::create_dir_all(&folder).unwrap();
    let server = FakeFleet::start(template, &folder, true);
    let fleet = Fleet::new(&folder, source, bench.chart, &server.kubeconfig);
    for number in 0..STORES {
        fleet.write(number, "1");
    }
    let commit = fleet.commit("ten thousand stores");
    fleet.publish(&commit);
    server.set(copies(bench, &fleet, &server));
    let begun = Instant::now();
    let daemon = fleet.start(&[]);
    let steady = until_steady(&daemon, STORES);
    json!({
        "stores": STORES, "objects_per_store": OBJECTS,
        "seconds": rounded(steady.duration_since(begun).as_secs_f64()), "writes": server.writes(),
        "cpu_seconds": rounded(process::cpu_seconds(daemon.pid())),
        "daemon_peak_rss_mib": rounded(process::peak_rss_mib(daemon.pid())),
        "daemon_rss_mib": rounded(process::rss_mib(daemon.pid())),
    })
}

/// Returns every store with the fingerprint of what it would be made from: then there is nothing to do.
fn copies(bench: &Bench<'_>, fleet: &Fleet, server: &FakeFleet) -> Vec<Copy> {
    let chart = render::load(bench.chart);
    let served = server.connect(&fleet.source).served_fingerprint();
    let files: BTreeMap<_, _> = (0..STORES)
        .map(|number| {
            let name = fleet.store(number);
            let text = fleet::store_file(&name, "1");
            (name, text)
        })
        .collect();
    let stores = render::stores(&chart, &fleet::fleet_file(), &files);
    let charts = ChartCache::new(chart.into(), ChartPlaces::repository());
    let inputs = |store: &_| inputs(store, &charts, served).to_string();
    stores.iter().map(|store| (store.id.clone(), inputs(store))).collect()
}
