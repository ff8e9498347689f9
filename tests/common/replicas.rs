//! Several replicas of the daemon, each with a state folder and a way to the API server of its own.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::common::api_proxy::{ApiProxy, Seen};
use super::common::daemon::Daemon;
use super::common::{World, until};

/// How long a replica that says nothing counts as alive.
pub const LEASE: Duration = Duration::from_secs(4);

/// A replica with a state folder and a way to the API server of its own.
pub struct Replica {
    pub daemon: Daemon,
    pub proxy: ApiProxy,
}

/// A fleet of replicas that share a source.
pub struct Replicas<'a> {
    world: &'a World,
    pub namespace: String,
    shards: &'static str,
}

impl<'a> Replicas<'a> {
    pub fn new(world: &'a World, shards: &'static str) -> Self {
        let namespace = format!("{}-system", world.prefix);
        world.cluster.create_namespace(&namespace, &json!({ "storekeeper.dev/source": world.source }));
        Self { world, namespace, shards }
    }

    pub fn start(&self, identity: &str) -> Replica {
        let url = self.world.repository.url();
        self.start_with(identity, &url, &["--poll-seconds", "1"])
    }

    /// The same with the repository at another URL, and with more arguments.
    pub fn start_with(&self, identity: &str, url: &str, more: &[&str]) -> Replica {
        let folder = self.world.folder.path().join(identity);
        std::fs::create_dir_all(&folder).unwrap();
        let proxy = ApiProxy::start(&self.world.cluster.kubeconfig, &folder, 1);
        let seconds = LEASE.as_secs().to_string();
        let ours = [
            ["--probe", "objects"],
            ["--lease-namespace", &self.namespace],
            ["--identity", identity],
            ["--lease-seconds", &seconds],
            ["--shards", self.shards],
        ];
        let (more, source) = ([&ours.concat(), more].concat(), &self.world.source);
        let daemon = Daemon::start_on("127.0.0.1:0", &folder, url, source, &proxy.kubeconfig, &more);
        Replica { daemon, proxy }
    }
}

impl Replica {
    /// When it wrote into stores' namespaces.
    pub fn writes(&self) -> Vec<(Instant, String)> {
        let is_write = |seen: &&Seen| {
            seen.call.is_write()
                && !seen.call.query.contains("dryRun=All")
                && seen.call.path.contains("/namespaces/store-")
        };
        let seen = self.proxy.seen();
        seen.iter()
            .filter(is_write)
            .map(|seen| (seen.at, format!("{} {}", seen.call.verb, seen.call.path)))
            .collect()
    }

    pub fn writes_since(&self, since: Instant) -> Vec<String> {
        self.writes().into_iter().filter(|(at, _)| *at >= since).map(|(_, what)| what).collect()
    }

    /// Returns how many shards it keeps of a fleet of three, once it is giving none away.
    pub fn share(&self) -> Option<u64> {
        let line =
            self.daemon.lines().filter(|line| line["message"] == "the stores are shared anew").last()?;
        (line["members"] == 3 && line["leaving"] == 0).then(|| line["shards"].as_u64())?
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.daemon.pid().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    pub fn is_at(&self, world: &World, name: &str, state: &str, commit: &str) -> bool {
        let shown = self.daemon.store(&world.store(name)).unwrap_or_default();
        shown["state"] == state && shown["appliedRevision"] == commit
    }
}

pub fn until_at(replica: &Replica, world: &World, name: &str, commit: &str) {
    until(&format!("{name} is READY at {commit}"), || {
        replica.is_at(world, name, "READY", commit).then_some(())
    });
}
