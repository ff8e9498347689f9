//! Cold installs: many new stores in one push, and the floor under them.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::daemon::Daemon;
use super::common::until_within;
use super::figures::rounded;
use super::fleet::{self, Fleet};
use super::floor;
use super::process;
use super::server::Server;
use super::statistics::median;
use super::witness::Witness;
use super::{OBJECTS, say};

/// What a size is measured with.
pub struct Bench<'a> {
    pub server: &'a Server,
    pub witness: &'a Witness,
    pub folder: &'a Path,
    pub chart: &'a Path,
}

/// A fleet that is up, with its daemon.
pub struct Running {
    pub fleet: Fleet,
    pub daemon: Daemon,
    pub stores: usize,
}

/// One measurement, of the floor or of the daemon.
struct Measured {
    /// Until the last object was there.
    seconds: f64,
    /// Until the controllers had seen everything; for the daemon, until it said READY of all stores too.
    settled_seconds: f64,
    cpu_seconds: f64,
    server_cpu_seconds: f64,
    requests: usize,
    peak_rss_mib: f64,
}

/// How long a size may take: far more than on any machine that is worth measuring on.
pub fn patience(stores: usize) -> Duration {
    Duration::from_secs(60 + stores as u64 / 2)
}

/// Small sizes are over in a blink, so that one measurement says little.
fn rounds(stores: usize) -> usize {
    match stores {
        0..=30 => 5,
        31..=300 => 3,
        _ => 1,
    }
}

/// Measures a size: floor and daemon in turn, a floor first and a floor last. Returns the figures and the fleet of
/// the last round, up.
pub fn measure(bench: &Bench<'_>, stores: usize) -> (Value, Running) {
    warm_up(bench);
    let (mut floors, mut ours, mut running) = (Vec::new(), Vec::new(), None);
    for round in 0..rounds(stores) {
        drop(running.take());
        floors.push(measure_floor(bench, &format!("f{round}"), stores));
        let (measured, fleet, daemon) = measure_daemon(bench, &format!("s{round}"), stores);
        ours.push(measured);
        running = Some((fleet, daemon));
    }
    let (fleet, daemon) = running.unwrap();
    // Without the daemon, whose watches would cost the server something.
    assert!(daemon.terminate().0.success(), "the daemon did not end well");
    floors.push(measure_floor(bench, "last", stores));
    let daemon = fleet.start(&[]);
    until_within(patience(stores), "the daemon has all stores READY again", || {
        (fleet::ready(&daemon) == stores).then_some(())
    });
    (figures(bench, stores, &floors, &ours), Running { fleet, daemon, stores })
}

/// The first applies of a kind make the API server read its schemas.
fn warm_up(bench: &Bench<'_>) {
    say("warming the server up");
    let stores = 20;
    floor::run(&bench.server.cluster.kubeconfig, bench.chart, "warm", stores);
    until_settled(bench, &floor::prefix("warm"), stores);
}

/// Waits until all stores are whole and their controllers have seen them.
pub fn until_settled(bench: &Bench<'_>, prefix: &str, stores: usize) -> Instant {
    let mut shown = Instant::now();
    until_within(patience(stores), "all objects are there and their controllers have seen them", || {
        let (settled, last) = bench.witness.settled(prefix);
        if shown.elapsed() > Duration::from_secs(5) {
            shown = Instant::now();
            eprintln!("    {} stores whole, {settled} settled of {stores}", bench.witness.whole(prefix).0);
        }
        last.filter(|_| settled == stores)
    })
}

fn measure_floor(bench: &Bench<'_>, source: &str, stores: usize) -> Measured {
    let (audit, cpu) = (bench.server.audit(), bench.server.cpu_seconds());
    let figures = floor::run(&bench.server.cluster.kubeconfig, bench.chart, source, stores);
    let prefix = floor::prefix(source);
    let settled = until_settled(bench, &prefix, stores);
    let server_cpu_seconds = bench.server.cpu_seconds() - cpu;
    let (_, whole) = bench.witness.whole(&prefix);
    let seconds = figures["seconds"].as_f64().unwrap();
    let measured = Measured {
        seconds,
        settled_seconds: seconds + settled.duration_since(whole.unwrap()).as_secs_f64(),
        cpu_seconds: figures["cpu_seconds"].as_f64().unwrap(),
        server_cpu_seconds,
        requests: audit.count("floor").total(),
        peak_rss_mib: 0.0,
    };
    eprintln!("  floor   {stores} stores in {seconds:.2} s, server {server_cpu_seconds:.1} CPU-s");
    calm_down(bench);
    measured
}

fn measure_daemon(bench: &Bench<'_>, source: &str, stores: usize) -> (Measured, Fleet, Daemon) {
    let fleet = Fleet::new(bench.folder, source, bench.chart, &bench.server.cluster.kubeconfig);
    let daemon = fleet.start(&[]);
    fleet::until_first_pass(&daemon, Duration::from_mins(1));
    for number in 0..stores {
        fleet.write(number, "1");
    }
    let commit = fleet.commit("the stores");
    calm_down(bench);
    let (audit, server_cpu) = (bench.server.audit(), bench.server.cpu_seconds());
    let cpu = process::cpu_seconds(daemon.pid());
    let pushed = fleet.publish(&commit);
    let settled = until_settled(bench, &fleet.prefix(), stores);
    let ready = until_within(patience(stores), "the daemon has all stores READY", || {
        (fleet::ready(&daemon) == stores).then(Instant::now)
    });
    let server_cpu_seconds = bench.server.cpu_seconds() - server_cpu;
    let (_, whole) = bench.witness.whole(&fleet.prefix());
    let requests = audit.count("storekeeper/");
    let measured = Measured {
        seconds: whole.unwrap().duration_since(pushed).as_secs_f64(),
        settled_seconds: settled.max(ready).duration_since(pushed).as_secs_f64(),
        cpu_seconds: process::cpu_seconds(daemon.pid()) - cpu,
        server_cpu_seconds,
        requests: requests.total(),
        peak_rss_mib: process::peak_rss_mib(daemon.pid()),
    };
    eprintln!(
        "  daemon  {stores} stores in {:.2} s, server {server_cpu_seconds:.1} CPU-s, daemon {:.1} CPU-s, {:?}",
        measured.seconds, measured.cpu_seconds, requests.kinds
    );
    calm_down(bench);
    (measured, fleet, daemon)
}

/// Waits until the server has digested what was done to it.
fn calm_down(bench: &Bench<'_>) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut before = bench.server.cpu_seconds();
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        let now = bench.server.cpu_seconds();
        if now - before < 0.15 {
            return;
        }
        before = now;
    }
    eprintln!("    the server does not come to rest; going on");
}

fn figures(bench: &Bench<'_>, stores: usize, floors: &[Measured], ours: &[Measured]) -> Value {
    let middle =
        |all: &[Measured], of: &dyn Fn(&Measured) -> f64| median(&all.iter().map(of).collect::<Vec<_>>());
    let both = |of: &dyn Fn(&Measured) -> f64| (middle(ours, of), middle(floors, of));
    let objects = (stores * OBJECTS) as f64;
    let (seconds, floor_seconds) = both(&|it| it.seconds);
    let (settled, floor_settled) = both(&|it| it.settled_seconds);
    let (cpu, floor_cpu) = both(&|it| it.cpu_seconds);
    let (server_cpu, floor_server_cpu) = both(&|it| it.server_cpu_seconds);
    let (requests, floor_requests) = both(&|it| it.requests as f64);
    json!({
        "stores": stores,
        "objects_per_store": OBJECTS,
        "rounds": ours.len(),
        "seconds": rounded(seconds),
        "floor_seconds": rounded(floor_seconds),
        "ratio": rounded(seconds / floor_seconds),
        "ready_seconds": rounded(settled),
        "floor_ready_seconds": rounded(floor_settled),
        "ready_ratio": rounded(settled / floor_settled),
        "daemon_cpu_seconds": rounded(cpu),
        "server_cpu_seconds": rounded(server_cpu),
        "floor_cpu_seconds": rounded(floor_cpu),
        "floor_server_cpu_seconds": rounded(floor_server_cpu),
        "cpu_ratio": rounded((cpu + server_cpu) / (floor_cpu + floor_server_cpu)),
        "daemon_peak_rss_mib": rounded(ours.iter().map(|it| it.peak_rss_mib).fold(0.0, f64::max)),
        "server_peak_rss_mib": bench.server.peaks(),
        "requests_per_object": rounded(requests / objects),
        "floor_requests_per_object": rounded(floor_requests / objects),
        "all_seconds": ours.iter().map(|it| rounded(it.seconds)).collect::<Vec<_>>(),
        "all_floor_seconds": floors.iter().map(|it| rounded(it.seconds)).collect::<Vec<_>>(),
    })
}
