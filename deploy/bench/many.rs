//! A repository with 10,000 store files: what one changed file costs. A cap on the fleet's size keeps the daemon from
//! installing them all; everything before that is done.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::common::daemon::Daemon;
use super::common::until_within;
use super::figures::rounded;
use super::fleet::Fleet;
use super::process;
use super::server::Server;
use super::statistics::percentile;

const FILES: usize = 10_000;
const EDITS: usize = 15;
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts a daemon that may install one store, and edits one file at a time.
pub fn measure(server: &Server, folder: &Path, chart: &Path) -> Value {
    let fleet = Fleet::new(folder, "many", chart, &server.cluster.kubeconfig);
    for number in 0..FILES {
        fleet.write(number, "1");
    }
    let first = fleet.commit("ten thousand stores");
    fleet.publish(&first);
    let begun = Instant::now();
    let daemon = fleet.start(&["--max-stores", "1"]);
    until_in_force(&daemon, &first);
    let start = begun.elapsed().as_secs_f64();
    let (mut known, mut pushed_to_known) = (Vec::new(), Vec::new());
    for turn in 0..EDITS {
        fleet.write(turn * 631 % FILES, &format!("edit-{turn}"));
        let commit = fleet.commit("edit");
        std::thread::sleep(Duration::from_millis(300));
        let pushed = fleet.publish(&commit);
        known.push(until_in_force(&daemon, &commit));
        pushed_to_known.push(pushed.elapsed().as_secs_f64() * 1000.0);
    }
    json!({
        "stores": FILES, "edits": EDITS, "p50_ms": rounded(percentile(&known, 50.0)),
        "p99_ms": rounded(percentile(&known, 99.0)),
        "push_to_known_p50_ms": rounded(percentile(&pushed_to_known, 50.0)),
        "start_seconds": rounded(start), "daemon_peak_rss_mib": rounded(process::peak_rss_mib(daemon.pid())),
    })
}

/// Waits until a commit is in force and returns the milliseconds between the end of its fetch and the moment the
/// daemon knew which stores to run, as its log says.
fn until_in_force(daemon: &Daemon, commit: &str) -> f64 {
    let line = until_within(PATIENCE, "the commit is in force", || {
        daemon.lines().find(|line| line["git.commit"] == commit && line["message"] == IN_FORCE)
    });
    let fields = ["read_ms", "mark_ms"];
    fields
        .iter()
        .map(|field| line[*field].as_f64().unwrap_or_else(|| panic!("the log says no {field}: {line}")))
        .sum()
}

/// The line of the log.
const IN_FORCE: &str = "a new commit is in force";
