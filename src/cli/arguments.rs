//! Arguments and environment variables, and the settings they stand for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::charts::ChartArguments;
use super::door::WebArguments;
use super::forge::ForgeArguments;
use super::journal::{JournalArguments, JournalCommand};
use super::lease::{LeaseArguments, ReplicasArguments};
use super::trust::{AcknowledgeArguments, TrustArguments};
use crate::chart::Capabilities;
use crate::cluster::{ClusterSettings, DEFAULT_TRY_OUT_NAMESPACE, ServiceAccountName, StoreAccess};
use crate::daemon::{AskingOptions, SourceOptions};
use crate::git::{Auth, DEFAULT_TOKEN_USERNAME, Secret, SourceSettings};
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::names::SourceId;
use crate::plan::Caps;
use crate::probe::{ProbeAddress, ProbeSettings, Prober};
use crate::reconcile::ChartCache;
use crate::report::{StepTimeout, StepTimeouts};

/// GitOps for Medusa stores on Kubernetes: one file in git is one shop.
#[derive(Debug, Parser)]
#[command(name = "storekeeper", version)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Watch a repository and keep the cluster as it says.
    Run(Box<RunArguments>),
    /// Show what a run would do now with the files of a folder; exits 0: nothing, 1: changes, 2: an error,
    /// 3: blocked by the deletion budget or by protection.
    Plan(PlanArguments),
    /// Print a store's objects as YAML, rendered without a cluster.
    Render(RenderArguments),
    /// Verify or export the journal: what happened, event by event.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Show which replicas share the stores, and how many shards each keeps; exits 0: each shard is kept, 1: not each.
    Replicas(ReplicasArguments),
    /// Let a daemon that follows no rewritten history follow this commit.
    Acknowledge(AcknowledgeArguments),
    /// Print the JSON Schemas of store and fleet files, for editors.
    Schema {
        /// Which file; without it, one schema that accepts both.
        #[arg(value_enum)]
        kind: Option<SchemaKind>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum SchemaKind {
    /// `stores/<name>.yaml`
    Store,
    /// `storekeeper.yaml`
    Fleet,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The repository: an https or ssh URL, or the path of a local one.
    #[arg(long, env = "STOREKEEPER_REPOSITORY")]
    repository: String,
    /// The branch to follow.
    #[arg(long, env = "STOREKEEPER_BRANCH", default_value = "main")]
    branch: String,
    /// How often the repository is asked for news, in seconds; chance moves it by a tenth.
    #[arg(long, env = "STOREKEEPER_POLL_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    poll_seconds: u64,
    /// A file with the token for an https repository; it is read before each fetch.
    #[arg(long, env = "STOREKEEPER_GIT_TOKEN_FILE", conflicts_with = "git_ssh_key_file")]
    git_token_file: Option<PathBuf>,
    /// The user name that goes with the token.
    #[arg(long, env = "STOREKEEPER_GIT_USERNAME", default_value = DEFAULT_TOKEN_USERNAME)]
    git_username: String,
    /// A PEM file of certificate authorities that are trusted for https besides the system's.
    #[arg(long, env = "STOREKEEPER_GIT_CA_FILE")]
    git_ca_file: Option<PathBuf>,
    /// The private key for an ssh repository.
    #[arg(long, env = "STOREKEEPER_GIT_SSH_KEY_FILE", requires = "git_known_hosts_file")]
    git_ssh_key_file: Option<PathBuf>,
    /// The `known_hosts` file that the ssh server's key is checked against.
    #[arg(long, env = "STOREKEEPER_GIT_KNOWN_HOSTS_FILE")]
    git_known_hosts_file: Option<PathBuf>,
    /// The folder for the mirror of the repository; it may be lost at any time.
    #[arg(long, env = "STOREKEEPER_STATE_FOLDER", default_value = "/var/lib/storekeeper")]
    state_folder: PathBuf,
    #[command(flatten)]
    pub(super) web: WebArguments,
    /// How many stores may have a run under way at once.
    #[arg(long, env = "STOREKEEPER_CONCURRENCY", default_value_t = 8, value_parser = parse_concurrency)]
    pub(super) concurrency: usize,
    /// How many stores the cluster may hold of this source; further new ones wait. Without it, any number.
    #[arg(long, env = "STOREKEEPER_MAX_STORES")]
    max_stores: Option<usize>,
    /// How many new stores may be made within any hour; further ones wait. Without it, any number.
    #[arg(long, env = "STOREKEEPER_MAX_NEW_STORES_PER_HOUR")]
    max_new_stores_per_hour: Option<usize>,
    #[command(flatten)]
    pub(super) leases: LeaseArguments,
    #[command(flatten)]
    journal: JournalArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    probe: ProbeArguments,
    #[command(flatten)]
    pub(super) forge: ForgeArguments,
    #[arg(long, env = "STOREKEEPER_LOG_FORMAT", value_enum, default_value = "json")]
    pub(super) log_format: LogFormat,
    #[command(flatten)]
    pub(super) cluster: ClusterArguments,
    #[command(flatten)]
    chart: ChartArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProbeMode {
    /// The shop itself, through its own address.
    Ingress,
    /// The status of its objects alone, for clusters whose stores can't be reached from here.
    Objects,
}

/// What makes a store READY.
#[derive(Debug, Args)]
pub(super) struct ProbeArguments {
    /// What is asked before a store is READY.
    #[arg(long, env = "STOREKEEPER_PROBE", value_enum, default_value = "ingress")]
    probe: ProbeMode,
    /// Connect to this IP or IP:PORT when asking a shop, instead of to what its host resolves to.
    #[arg(long, env = "STOREKEEPER_PROBE_ADDRESS")]
    probe_address: Option<ProbeAddress>,
    /// How often a shop that answers is asked, in seconds; chance moves it by a tenth.
    #[arg(long, env = "STOREKEEPER_PROBE_INTERVAL_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    probe_interval_seconds: u64,
    /// A PEM file of certificate authorities that are trusted for asking shops besides the system's.
    #[arg(long, env = "STOREKEEPER_PROBE_CA_FILE")]
    probe_ca_file: Option<PathBuf>,
    /// How long a store may be at a step before it counts as failed, as step=seconds; may be given again.
    #[arg(long = "step-timeout", env = "STOREKEEPER_STEP_TIMEOUT", value_delimiter = ',')]
    step_timeout: Vec<StepTimeout>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PlanOutput {
    /// For people, in colour on a terminal.
    Text,
    /// For programs.
    Json,
    /// For a comment on a pull request.
    Markdown,
}

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    /// The folder of a watched repository, as it lies on disk.
    #[arg(default_value = ".")]
    pub(super) folder: PathBuf,
    /// How the plan is printed.
    #[arg(long, short, value_enum, default_value = "text")]
    pub(super) output: PlanOutput,
    /// Another folder, with the files as they are in force: only stores that differ from it are planned.
    #[arg(long)]
    pub(super) base: Option<PathBuf>,
    /// Ask the API server for no dry runs: objects are listed without the fields that would change, and nothing is told of
    /// what it would refuse.
    #[arg(long)]
    pub(super) fast: bool,
    #[arg(long, env = "STOREKEEPER_LOG_FORMAT", value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    #[command(flatten)]
    pub(super) cluster: ClusterArguments,
    #[command(flatten)]
    pub(super) chart: ChartArguments,
}

#[derive(Debug, Args)]
pub(super) struct RenderArguments {
    /// The name of the store.
    pub(super) store: String,
    /// The folder of a watched repository, as it lies on disk.
    #[arg(default_value = ".")]
    pub(super) folder: PathBuf,
    /// The version of Kubernetes that charts see, such as 1.33.4; without it the newest that is known.
    #[arg(long)]
    kube_version: Option<String>,
    /// API versions, and kinds such as `monitoring.coreos.com/v1/ServiceMonitor`, that charts see besides those of
    /// Kubernetes itself.
    #[arg(long, value_delimiter = ',')]
    api_versions: Vec<String>,
    #[command(flatten)]
    pub(super) chart: ChartArguments,
}

impl RenderArguments {
    /// Returns what charts see of a cluster.
    pub(super) fn capabilities(&self) -> anyhow::Result<Capabilities> {
        let api_versions = self.api_versions.iter().cloned();
        Capabilities::without_cluster(self.kube_version.as_deref(), api_versions)
            .context("understand --kube-version")
    }
}

#[derive(Debug, Args)]
pub(super) struct ClusterArguments {
    /// Names this source on the cluster: a daemon touches only stores of its own source.
    #[arg(long, env = "STOREKEEPER_SOURCE", default_value = "default")]
    source: String,
    /// What the fleet file calls this cluster, where it lists several: only stores of this cluster are kept.
    #[arg(long = "cluster", env = "STOREKEEPER_CLUSTER")]
    cluster_name: Option<String>,
    /// The kubeconfig file; without it KUBECONFIG, the default file or the pod's service account.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it the current one.
    #[arg(long)]
    context: Option<String>,
    /// The `ClusterRole` that holds what is done in a store's namespace, for a daemon that may do little outside: it binds this
    /// role to its own service account in each, and Secrets are asked for there in rounds, not watched in all of the cluster.
    #[arg(long, env = "STOREKEEPER_STORE_ROLE", requires = "service_account")]
    store_role: Option<String>,
    /// The service account that it runs as, as namespace:name.
    #[arg(long, env = "STOREKEEPER_SERVICE_ACCOUNT")]
    service_account: Option<ServiceAccountName>,
    /// The namespace in which a plan tries out, by dry runs, the objects of a store that has none yet.
    #[arg(long, env = "STOREKEEPER_TRY_OUT_NAMESPACE", default_value = DEFAULT_TRY_OUT_NAMESPACE)]
    try_out_namespace: String,
    /// How many requests to the API server may be under way at once, open watches aside; fewer after it asked to wait.
    #[arg(long, env = "STOREKEEPER_MAX_REQUESTS_IN_FLIGHT", default_value_t = 64, value_parser = parse_requests)]
    max_requests_in_flight: usize,
}

impl ClusterArguments {
    pub(super) fn settings(&self) -> anyhow::Result<ClusterSettings> {
        let source: SourceId = self.source.parse().context("understand --source")?;
        let cluster = self
            .cluster_name
            .as_ref()
            .map(|name| name.parse())
            .transpose()
            .context("understand --cluster")?;
        Ok(ClusterSettings {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            source: source.on(cluster),
            access: self
                .store_role
                .clone()
                .zip(self.service_account.clone())
                .map(|(role, account)| StoreAccess { role, account }),
            try_out_namespace: self.try_out_namespace.clone(),
            requests_at_once: self.max_requests_in_flight,
            metrics: Metrics::new(),
        })
    }
}

impl ProbeArguments {
    fn asking(&self) -> anyhow::Result<Option<AskingOptions>> {
        if self.probe == ProbeMode::Objects {
            return Ok(None);
        }
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("read the authorities in {}", path.display()))
        };
        let authorities = self.probe_ca_file.as_ref().map(read).transpose()?;
        let prober = Prober::new(&ProbeSettings { address: self.probe_address, authorities })?;
        Ok(Some(AskingOptions { prober, interval: Duration::from_secs(self.probe_interval_seconds) }))
    }

    fn timeouts(&self) -> StepTimeouts {
        let mut timeouts = StepTimeouts::default();
        for StepTimeout { step, timeout } in &self.step_timeout {
            timeouts.set(*step, *timeout);
        }
        timeouts
    }
}

impl RunArguments {
    pub(super) fn asking(&self) -> anyhow::Result<Option<AskingOptions>> {
        self.probe.asking()
    }

    pub(super) fn caps(&self) -> Caps {
        Caps { max_stores: self.max_stores, max_new_stores_per_hour: self.max_new_stores_per_hour }
    }

    pub(super) fn timeouts(&self) -> StepTimeouts {
        self.probe.timeouts()
    }

    pub(super) fn source_options(&self) -> anyhow::Result<SourceOptions> {
        let url = self.repository.parse().context("understand --repository")?;
        let mut settings = SourceSettings::new(url, &self.branch);
        settings.ca_file.clone_from(&self.git_ca_file);
        settings.auth = self.auth()?;
        settings.pulls = self.forge.pulls();
        Ok(SourceOptions {
            settings,
            token_file: self.git_token_file.clone(),
            mirror: self.state_folder.join("mirror"),
            pulls: self.state_folder.join("pulls"),
            poll: Duration::from_secs(self.poll_seconds),
            trust: self.trust.options(&self.state_folder)?,
        })
    }

    pub(super) fn charts(&self) -> anyhow::Result<ChartCache> {
        self.chart.charts(Some(&self.state_folder))
    }

    pub(super) fn journal(&self, writer: &str) -> anyhow::Result<Journal> {
        self.journal.journal(&self.state_folder, writer)
    }

    pub(super) fn removals(&self) -> PathBuf {
        self.state_folder.join("removals.json")
    }

    fn auth(&self) -> anyhow::Result<Auth> {
        if let Some(path) = &self.git_token_file {
            let token = std::fs::read_to_string(path)
                .with_context(|| format!("read the token in {}", path.display()))?;
            return Ok(Auth::Token { username: self.git_username.clone(), token: Secret::new(&token) });
        }
        match (&self.git_ssh_key_file, &self.git_known_hosts_file) {
            (Some(key), Some(known_hosts)) => Ok(Auth::SshKey {
                private_key: key.clone(),
                passphrase: None,
                known_hosts: known_hosts.clone(),
            }),
            _ => Ok(Auth::Anonymous),
        }
    }
}

fn parse_requests(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("a number from 1 to 10000 is needed".to_owned()),
    }
}

fn parse_concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err("a number from 1 to 256 is needed".to_owned()),
    }
}
