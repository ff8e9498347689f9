//! What concerns a whole fleet: rest, a restart, another release of the chart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::cold::{Bench, Running, patience};
use super::common::daemon::Daemon;
use super::common::until_within;
use super::figures::rounded;
use super::fleet;
use super::process;
use super::say;
use super::witness::Kind;

/// How long after a restart writes are still counted as its own.
const AFTERMATH: Duration = Duration::from_secs(10);

/// Lets a converged fleet rest and counts what that costs.
pub fn idle(bench: &Bench<'_>, running: &Running, minutes: f64) -> Value {
    std::thread::sleep(Duration::from_secs(5));
    let (audit, server_cpu) = (bench.server.audit(), bench.server.cpu_seconds());
    let pid = running.daemon.pid();
    let cpu = process::cpu_seconds(pid);
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        std::thread::sleep(rest.min(Duration::from_mins(1)));
        say(&format!("idle: {:.0} s to go", end.saturating_duration_since(Instant::now()).as_secs_f64()));
    }
    let requests = audit.count("storekeeper/");
    json!({
        "stores": running.stores, "minutes": minutes, "requests": requests.total(),
        "cpu_seconds": rounded(process::cpu_seconds(pid) - cpu),
        "watches_reopened": requests.watches, "lease_requests": requests.leases,
        "requests_by_kind": requests.kinds, "server_cpu_seconds": rounded(bench.server.cpu_seconds() - server_cpu),
        "daemon_rss_mib": rounded(process::rss_mib(pid)),
    })
}

/// Stops the daemon and starts it again.
pub fn restart(bench: &Bench<'_>, mut running: Running) -> (Value, Running) {
    stop(running.daemon);
    let (audit, begun) = (bench.server.audit(), Instant::now());
    running.daemon = running.fleet.start(&[]);
    let steady = until_steady(&running.daemon, running.stores);
    let cpu = process::cpu_seconds(running.daemon.pid());
    std::thread::sleep(AFTERMATH);
    let requests = audit.count("storekeeper/");
    let figures = json!({
        "stores": running.stores, "seconds": rounded(steady.duration_since(begun).as_secs_f64()),
        "writes": requests.writes(), "reads": requests.total() - requests.writes(),
        "cpu_seconds": rounded(cpu), "peak_rss_mib": rounded(process::peak_rss_mib(running.daemon.pid())),
    });
    (figures, running)
}

/// Restarts with a release of the chart that changes every Deployment of every store.
pub fn chart_change(bench: &Bench<'_>, mut running: Running) -> (Value, Running) {
    let chart = other_release(bench.folder, bench.chart);
    stop(running.daemon);
    let (audit, server_cpu) = (bench.server.audit(), bench.server.cpu_seconds());
    let (mark, begun) = (bench.witness.mark(), Instant::now());
    running.daemon = running.fleet.start_with_chart(&chart, &[]);
    let (prefix, wanted) = (running.fleet.prefix(), running.stores * super::DEPLOYMENTS);
    let changed = bench.witness.until(patience(running.stores), "every Deployment changes", mark, |events| {
        let mut names = BTreeSet::new();
        events.iter().find_map(|event| {
            let ours = event.kind == Kind::Deployment && event.namespace.starts_with(&prefix);
            (ours && names.insert((&event.namespace, &event.name)) && names.len() == wanted)
                .then_some(event.at)
        })
    });
    let steady = until_steady(&running.daemon, running.stores);
    let seconds = |at: Instant| rounded(at.duration_since(begun).as_secs_f64());
    let requests = audit.count("storekeeper/");
    let figures = json!({
        "stores": running.stores, "objects": wanted, "seconds": seconds(changed), "ready_seconds": seconds(steady),
        "writes_per_object": rounded(requests.writes() as f64 / wanted as f64),
        "daemon_cpu_seconds": rounded(process::cpu_seconds(running.daemon.pid())),
        "server_cpu_seconds": rounded(bench.server.cpu_seconds() - server_cpu),
    });
    (figures, running)
}

fn other_release(folder: &Path, chart: &Path) -> PathBuf {
    let copy = folder.join("other-release");
    std::fs::create_dir_all(copy.join("templates")).unwrap();
    for file in ["Chart.yaml", "values.yaml", "templates/configmaps.yaml", "templates/deployments.yaml"] {
        std::fs::copy(chart.join(file), copy.join(file)).unwrap();
    }
    let values = std::fs::read_to_string(copy.join("values.yaml")).unwrap();
    let changed = values.replace("release: \"1\"", "release: \"2\"");
    assert_ne!(values, changed, "the bench's chart has a release to change");
    std::fs::write(copy.join("values.yaml"), changed).unwrap();
    copy
}

pub fn stop(daemon: Daemon) {
    let (status, _) = daemon.terminate();
    assert!(status.success(), "the daemon ended with {status}");
}

/// Waits until the first pass is over and every store is READY.
pub fn until_steady(daemon: &Daemon, stores: usize) -> Instant {
    until_within(patience(stores), "the daemon is steady", || {
        (daemon.get("/readyz").0 == 200 && fleet::ready(daemon) == stores).then(Instant::now)
    })
}
