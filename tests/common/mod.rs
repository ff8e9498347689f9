//! What tests on the real parts share: a repository that is pushed to, a daemon that runs as users run it, and
//! a look at the API server from outside the daemon.
//!
//! Each [`World`] has a source and store names of its own, so that tests run side by side on one cluster, and
//! removes what it made.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

pub mod api_proxy;
pub mod cluster;
pub mod daemon;
pub mod fake_fleet;
pub mod policies;
pub mod postgres;
pub mod programs;
pub mod repository;
pub mod rights;
pub mod shop;
pub mod small_chart;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use cluster::Cluster;
use daemon::Daemon;
use repository::Repository;

/// How long a test waits for what must come. Generous, because machines are shared; never what is measured.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// One test's surroundings.
pub struct World {
    pub prefix: String,
    pub source: String,
    pub repository: Repository,
    pub cluster: Cluster,
    pub folder: TempDir,
}

impl World {
    /// Makes a repository without stores, with a deletion budget of 2.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("t{:x}-{count}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::new(folder.path());
        let world = Self {
            source: format!("{prefix}-source"),
            prefix,
            repository,
            cluster: Cluster::from_environment(),
            folder,
        };
        world.write_fleet("deletionBudget: {maxStores: 2, maxPercent: 100, windowMinutes: 0}");
        world.repository.push("the fleet");
        world
    }

    /// Makes a world with these stores, READY, and the daemon that made them so.
    pub fn with_ready(names: &[&str]) -> (Self, Daemon) {
        let world = Self::new();
        let daemon = world.start_daemon();
        for name in names {
            world.write_store(name, name);
        }
        world.repository.push("the first stores");
        for name in names {
            world.until_state(&daemon, name, "READY");
        }
        (world, daemon)
    }

    /// Writes the fleet file; `more` are further lines of its spec. Removed stores go at once, unless those say
    /// otherwise.
    pub fn write_fleet(&self, more: &str) {
        let grace = if more.contains("deletionGracePeriodSeconds") {
            ""
        } else {
            "\n  deletionGracePeriodSeconds: 0"
        };
        let text = format!(
            "apiVersion: storekeeper.dev/v1\nkind: Fleet\nspec:\n  domain: shops.example.com\n  domains: [example.com]\n  valueFiles:\n    \
             - chart:values-local.yaml\n  {more}{grace}\n"
        );
        self.repository.write("storekeeper.yaml", &text);
    }

    /// Returns the full name of a store of this world.
    pub fn store(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Returns the namespace of a store of this world.
    pub fn namespace(&self, name: &str) -> String {
        format!("store-{}", self.store(name))
    }

    /// Returns the path of a store's file in the repository.
    pub fn file(&self, name: &str) -> String {
        format!("stores/{}.yaml", self.store(name))
    }

    /// Writes a store file.
    pub fn write_store(&self, name: &str, display_name: &str) {
        let text = format!(
            "apiVersion: storekeeper.dev/v1\nkind: Store\nmetadata:\n  name: {}\nspec:\n  displayName: {display_name}\n",
            self.store(name)
        );
        self.repository.write(&self.file(name), &text);
    }

    /// Starts a daemon on this world; the second one of a world takes over where the first one ended.
    pub fn start_daemon(&self) -> Daemon {
        self.start_daemon_on(&self.cluster.kubeconfig)
    }

    /// Starts a daemon that reaches the cluster by this kubeconfig: through an [`api_proxy::ApiProxy`], for example.
    pub fn start_daemon_on(&self, kubeconfig: &std::path::Path) -> Daemon {
        Daemon::start(self.folder.path(), &self.repository.url(), &self.source, kubeconfig)
    }

    /// Starts a daemon that asks shops at this address before they are READY; the arguments are further ones.
    pub fn start_probing(&self, shop: &str, more: &[&str]) -> Daemon {
        let (url, folder) = (self.repository.url(), self.folder.path());
        let probe = [&["--probe-address", shop, "--probe-interval-seconds", "1"], more].concat();
        Daemon::start_on("127.0.0.1:0", folder, &url, &self.source, &self.cluster.kubeconfig, &probe)
    }

    /// Waits until the daemon says that a store is in this state.
    pub fn until_state(&self, daemon: &Daemon, name: &str, state: &str) -> serde_json::Value {
        let store = self.store(name);
        let mut last = serde_json::Value::Null;
        until(&format!("store {store} is {state}"), || {
            last = daemon.store(&store).unwrap_or_default();
            (last["state"] == state).then(|| last.clone())
        })
    }

    /// Waits until the daemon says that a store is FAILED, with all these words, and returns the reason.
    pub fn until_failed(&self, daemon: &Daemon, name: &str, words: &[&str]) -> String {
        let store = self.store(name);
        let mut last = serde_json::Value::Null;
        until(&format!("store {store} is FAILED with {words:?}"), || {
            last = daemon.store(&store).unwrap_or_default();
            let reason = last["reason"].as_str().unwrap_or_default();
            let said = words.iter().all(|word| reason.contains(word));
            (last["state"] == "FAILED" && said).then(|| reason.to_owned())
        })
    }

    /// Waits until a store's namespace is gone from the API server.
    pub fn until_gone(&self, name: &str) {
        let namespace = self.namespace(name);
        until(&format!("namespace {namespace} is gone"), || {
            self.cluster.namespace(&namespace).is_none().then_some(())
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.cluster.delete_namespaces(&format!("storekeeper.dev/source={}", self.source));
    }
}

/// Waits for a condition, looking often, and panics with its name when patience ends.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with another patience: real pods take longer than simulated ones.
pub fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} s", patience.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a path from an environment variable that `make test` sets.
pub fn required_path(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => panic!("{variable} is not set: this test needs real parts, run it through `make test`"),
    }
}
