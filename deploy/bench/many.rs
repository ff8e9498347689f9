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
const PATIENCE: Duration = Duration::from_mins(3);

/// The line of the log that a commit gets when the daemon knows which stores to run.
const IN_FORCE: &str = "a new commit is in force";

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
    let (start, mut known, mut followed) = (begun.elapsed().as_secs_f64(), Vec::new(), Vec::new());
    std::thread::sleep(Duration::from_secs(5));
    for turn in 0..EDITS {
        // Not the one store that may be there: its run would be none of this.
        fleet.write(1 + turn * 631 % (FILES - 1), &format!("edit-{turn}"));
        let commit = fleet.commit("edit");
        std::thread::sleep(Duration::from_millis(300));
        let before = read_seconds(&daemon);
        let pushed = fleet.publish(&commit);
        let line = until_in_force(&daemon, &commit);
        followed.push(pushed.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(
            (&line["touched"], &line["parsed"]),
            (&json!(1), &json!(1)),
            "one file and one store: {line}"
        );
        known.push((read_seconds(&daemon) - before) * 1000.0);
    }
    json!({
        "stores": FILES, "edits": EDITS, "p50_ms": rounded(percentile(&known, 50.0)),
        "p99_ms": rounded(percentile(&known, 99.0)),
        "push_to_known_p50_ms": rounded(percentile(&followed, 50.0)),
        "start_seconds": rounded(start), "daemon_peak_rss_mib": rounded(process::peak_rss_mib(daemon.pid())),
        "daemon_rss_mib": rounded(process::rss_mib(daemon.pid())),
    })
}

/// Returns the seconds that commits have taken from the end of their fetch to their stores in the queue, all together.
fn read_seconds(daemon: &Daemon) -> f64 {
    daemon.metric("storekeeper_git_read_seconds_sum")
}

fn until_in_force(daemon: &Daemon, commit: &str) -> Value {
    until_within(PATIENCE, "the commit is in force", || {
        daemon.lines().find(|line| line["git.commit"] == commit && line["message"] == IN_FORCE)
    })
}
