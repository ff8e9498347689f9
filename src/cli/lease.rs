//! How several replicas share the stores, and the command that shows how they do.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::arguments::ClusterArguments;
use crate::cluster::{Changes, Cluster, Enrolled, LeaseSettings, Roster, Spread};
use crate::report::moment;

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

/// Which replicas are shown.
#[derive(Debug, Args)]
pub(super) struct ReplicasArguments {
    /// The namespace in which the replicas of the source settle who keeps which stores.
    #[arg(long, env = "STOREKEEPER_LEASE_NAMESPACE")]
    lease_namespace: String,
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl ReplicasArguments {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let cluster = Cluster::connect(self.cluster.settings()?, Changes::default()).await?;
        let Roster { members, unkept, since } = cluster.roster(&self.lease_namespace).await?;
        let known = |time: Option<i64>, unknown: &str| time.map_or_else(|| unknown.to_owned(), moment::utc);
        let width = members.iter().map(|member| member.identity.len()).max().unwrap_or(0).max(8);
        let mut out = anstream::stdout().lock();
        writeln!(out, "{:width$}  SHARDS  FAILED  JOINED                RENEWED", "REPLICA")?;
        for Enrolled { identity, shards, joined, renewed, failed } in members {
            let (joined, renewed) = (known(joined, "no Lease"), known(renewed, ""));
            let line = format!("{identity:width$}  {shards:<6}  {failed:<6}  {joined:20}  {renewed}");
            writeln!(out, "{}", line.trim_end())?;
        }
        writeln!(out, "shared like this since {}", known(since, "never"))?;
        if unkept > 0 {
            writeln!(out, "{unkept} shards are kept by nobody who has a Lease")?;
        }
        Ok(ExitCode::from(u8::from(unkept > 0)))
    }
}
