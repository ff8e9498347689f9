//! How several replicas share the stores.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::cluster::{LeaseSettings, Spread};

/// How the stores are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shards {
    /// One replica keeps all stores, the others wait for its end.
    Leader,
    /// Each replica keeps its part.
    Spread,
}

/// Who of several replicas may write.
#[derive(Debug, Args)]
pub(super) struct LeaseArguments {
    /// The namespace in which the replicas of this source settle who keeps which stores. Without it there is one replica, and
    /// nobody is asked.
    #[arg(long, env = "STOREKEEPER_LEASE_NAMESPACE", requires = "identity")]
    lease_namespace: Option<String>,
    /// The name of this replica, which no other one has at the same time: the pod's.
    #[arg(long, env = "STOREKEEPER_IDENTITY")]
    identity: Option<String>,
    /// How long a replica that says nothing counts as alive, in seconds: that much later at most another one takes over.
    #[arg(long, env = "STOREKEEPER_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=3600))]
    lease_seconds: u64,
    /// How the replicas share the stores.
    #[arg(long, env = "STOREKEEPER_SHARDS", value_enum, default_value = "leader")]
    shards: Shards,
}

impl LeaseArguments {
    /// Returns how this replica takes part; none when it is alone.
    pub(super) fn settings(&self) -> anyhow::Result<Option<LeaseSettings>> {
        let Some(namespace) = &self.lease_namespace else { return Ok(None) };
        let identity = self.identity.clone().context("--lease-namespace needs --identity")?;
        Ok(Some(LeaseSettings {
            namespace: namespace.clone(),
            identity,
            duration: Duration::from_secs(self.lease_seconds),
            spread: match self.shards {
                Shards::Leader => Spread::Leader,
                Shards::Spread => Spread::Spread,
            },
            clock: super::surroundings().clock,
        }))
    }
}
