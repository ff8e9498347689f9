//! The repository of a fleet and the daemon on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::common::daemon::Daemon;
use super::common::repository::{Repository, git};
use super::common::until_within;

pub struct Fleet {
    folder: PathBuf,
    repository: Repository,
    /// The source on the cluster, and the beginning of every store's name.
    pub source: String,
    chart: PathBuf,
    kubeconfig: PathBuf,
}

impl Fleet {
    /// Makes a repository without stores.
    pub fn new(folder: &Path, source: &str, chart: &Path, kubeconfig: &Path) -> Self {
        let folder = folder.join(source);
        fs::create_dir_all(&folder).unwrap();
        let repository = Repository::new(&folder);
        let fleet = Self {
            folder,
            repository,
            source: source.to_owned(),
            chart: chart.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        };
        fleet.repository.write("storekeeper.yaml", &fleet_file());
        fleet.repository.push("the fleet");
        fleet
    }

    pub fn store(&self, number: usize) -> String {
        format!("{}-{number:05}", self.source)
    }

    pub fn namespace(&self, number: usize) -> String {
        format!("store-{}", self.store(number))
    }

    /// The prefix of all its namespaces.
    pub fn prefix(&self) -> String {
        format!("store-{}-", self.source)
    }

    pub fn write(&self, number: usize, edition: &str) {
        self.repository.write(&self.file(number), &store_file(&self.store(number), edition));
    }

    pub fn remove(&self, number: usize) {
        self.repository.remove(&self.file(number));
    }

    fn file(&self, number: usize) -> String {
        format!("stores/{}.yaml", self.store(number))
    }

    /// Commits everything and brings the commit to the repository, where the branch does not have it yet.
    pub fn commit(&self, message: &str) -> String {
        let checkout = &self.repository.checkout;
        git(checkout, &["add", "--all"]);
        git(checkout, &["commit", "--quiet", "--message", message]);
        git(checkout, &["push", "--quiet", "--force", "origin", "HEAD:refs/bench/next"]);
        git(checkout, &["rev-parse", "HEAD"])
    }

    /// Moves the branch to a commit, as the last act of a push does, and returns the moment before.
    pub fn publish(&self, commit: &str) -> Instant {
        let bare = git2::Repository::open_bare(&self.repository.bare).unwrap();
        let commit = git2::Oid::from_str(commit).unwrap();
        let moment = Instant::now();
        bare.reference("refs/heads/main", commit, true, "bench").unwrap();
        moment
    }

    /// Starts the daemon. Objects alone make stores READY: nothing runs that could be asked.
    pub fn start(&self, more: &[&str]) -> Daemon {
        self.start_with_chart(&self.chart, more)
    }

    /// Starts the daemon on the same fleet in another repository, with a state of its own.
    pub fn start_at(&self, url: &str, folder: &Path, more: &[&str]) -> Daemon {
        let options = ["--probe", "objects", "--chart", self.chart.to_str().unwrap()];
        let all = [&options, more].concat();
        Daemon::start_on("127.0.0.1:0", folder, url, &self.source, &self.kubeconfig, &all)
    }

    /// Starts a daemon on the fleet that logs in by another kubeconfig, with a state of its own.
    pub fn start_as(&self, kubeconfig: &Path, folder: &Path, more: &[&str]) -> Daemon {
        let options = ["--probe", "objects", "--chart", self.chart.to_str().unwrap()];
        let (url, all) = (self.repository.url(), [&options, more].concat());
        Daemon::start_on("127.0.0.1:0", folder, &url, &self.source, kubeconfig, &all)
    }

    /// Returns where the repository is.
    pub fn url(&self) -> String {
        self.repository.url()
    }

    pub fn start_with_chart(&self, chart: &Path, more: &[&str]) -> Daemon {
        let options = ["--probe", "objects", "--chart", chart.to_str().unwrap()];
        let (url, all) = (self.repository.url(), [&options, more].concat());
        Daemon::start_on("127.0.0.1:0", &self.folder, &url, &self.source, &self.kubeconfig, &all)
    }
}

/// Waits until the daemon has finished its first pass.
pub fn until_first_pass(daemon: &Daemon, patience: Duration) {
    until_within(patience, "the daemon has finished its first pass", || {
        (daemon.get("/readyz").0 == 200).then_some(())
    });
}

/// Returns how many stores are READY, as the daemon's metrics say.
pub fn ready(daemon: &Daemon) -> usize {
    let ready = daemon.metric("storekeeper_stores{state=\"READY\"}");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of stores")]
    let ready = ready as usize;
    ready
}

/// No grace and a budget for everything: what is measured is how fast, not whether.
pub fn fleet_file() -> String {
    "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n  \
     deletionGracePeriodSeconds: 0\n  deletionBudget: {maxStores: 1000000, maxPercent: 100}\n"
        .to_owned()
}

pub fn store_file(name: &str, edition: &str) -> String {
    format!(
        "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {name}\nspec:\n  values:\n    edition: \
         \"{edition}\"\n"
    )
}
