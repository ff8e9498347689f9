//! Where charts come from: the built-in one, and what the operator allows besides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use include_dir::{Dir, include_dir};

use super::workdir;
use crate::chart::{Chart, ChartError};
use crate::chart_source::{AllowedSource, ChartFetchSettings, ChartFetcher};
use crate::git::Auth;
use crate::helm::{HelmBinary, HelmSettings};
use crate::manifest::{AllowedKinds, GroupKind};
use crate::reconcile::{ChartCache, ChartPlaces};

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/charts/medusa-store");

#[derive(Debug, Args)]
pub(super) struct ChartArguments {
    /// A chart folder to use in place of the built-in medusa-store chart.
    #[arg(long, env = "STOREKEEPER_CHART")]
    chart: Option<PathBuf>,
    /// Places outside the watched repository that fleet files may name charts from, by what their addresses begin with:
    /// `https://charts.example.com/`, `oci://registry.example.com/charts/`, `git+https://git.example.com/charts/`. Without
    /// it, none.
    #[arg(long, env = "STOREKEEPER_CHART_SOURCES", value_delimiter = ',')]
    chart_sources: Vec<AllowedSource>,
    /// Refuse charts in folders of the watched repository.
    #[arg(long, env = "STOREKEEPER_NO_CHART_FOLDERS")]
    no_chart_folders: bool,
    /// Kinds that charts may render besides those that every store may have, as group/Kind:
    /// `monitoring.coreos.com/ServiceMonitor`.
    #[arg(long, env = "STOREKEEPER_CHART_KINDS", value_delimiter = ',')]
    chart_kinds: Vec<GroupKind>,
    /// A file with logins for chart sources, in the format of Docker's config.json; it is read before each fetch.
    #[arg(long, env = "STOREKEEPER_CHART_CREDENTIALS_FILE")]
    chart_credentials_file: Option<PathBuf>,
    /// A PEM file of certificate authorities that are trusted for chart sources besides the system's.
    #[arg(long, env = "STOREKEEPER_CHART_CA_FILE")]
    chart_ca_file: Option<PathBuf>,
    /// The private key for charts in git over ssh.
    #[arg(long, env = "STOREKEEPER_CHART_SSH_KEY_FILE", requires = "chart_known_hosts_file")]
    chart_ssh_key_file: Option<PathBuf>,
    /// The `known_hosts` file that the keys of these ssh servers are checked against.
    #[arg(long, env = "STOREKEEPER_CHART_KNOWN_HOSTS_FILE")]
    chart_known_hosts_file: Option<PathBuf>,
    /// OpenPGP public keys, ASCII-armoured: with them a packed chart needs a provenance file that one of them has signed.
    #[arg(long, env = "STOREKEEPER_CHART_KEYRING_FILE")]
    chart_keyring_file: Option<PathBuf>,
    /// The folder for fetched charts, at most 512 MiB; it may be lost at any time. Without it, `charts` in the state folder,
    /// or storekeeper's folder among the user's caches.
    #[arg(long, env = "STOREKEEPER_CHART_CACHE_FOLDER")]
    chart_cache_folder: Option<PathBuf>,
    /// The helm program, for charts whose fleet file says `renderer: helm`. Without it such charts are refused.
    #[arg(long, env = "STOREKEEPER_HELM_PROGRAM")]
    helm: Option<PathBuf>,
}

impl ChartArguments {
    /// Loads the built-in chart and prepares for others.
    pub(super) fn charts(&self, state_folder: Option<&Path>) -> anyhow::Result<ChartCache> {
        let built_in = Arc::new(self.built_in()?);
        let helm = self.helm.as_ref().map(|path| helm(path, state_folder)).transpose()?;
        let places = ChartPlaces {
            folders: !self.no_chart_folders,
            fetcher: Some(self.fetcher(state_folder)?),
            helm,
            kinds: AllowedKinds::with(self.chart_kinds.iter().cloned()),
        };
        Ok(ChartCache::new(built_in, places))
    }

    fn built_in(&self) -> anyhow::Result<Chart> {
        let files = match &self.chart {
            Some(folder) => workdir::read_all(folder)
                .with_context(|| format!("read the chart in {}", folder.display()))?,
            None => files_in(&BUILT_IN),
        };
        Chart::load(files)
            .map_err(|error| super::with_line(error, ChartError::snippet))
            .context("load the chart")
    }

    fn fetcher(&self, state_folder: Option<&Path>) -> anyhow::Result<ChartFetcher> {
        let cache = match (&self.chart_cache_folder, state_folder) {
            (Some(folder), _) => folder.clone(),
            (None, Some(state)) => state.join("charts"),
            (None, None) => user_caches().join(env!("CARGO_PKG_NAME")).join("charts"),
        };
        let mut settings = ChartFetchSettings::new(&cache);
        settings.allowed.clone_from(&self.chart_sources);
        settings.credentials_file.clone_from(&self.chart_credentials_file);
        settings.ca_file.clone_from(&self.chart_ca_file);
        settings.keyring_file.clone_from(&self.chart_keyring_file);
        if let (Some(key), Some(known_hosts)) = (&self.chart_ssh_key_file, &self.chart_known_hosts_file) {
            settings.git_ssh = Some(Auth::SshKey {
                private_key: key.clone(),
                passphrase: None,
                known_hosts: known_hosts.clone(),
            });
        }
        ChartFetcher::new(settings, Arc::new(super::seconds_now)).context("prepare for charts from elsewhere")
    }
}

/// Prepares for runs of the helm program. What a daemon that was killed left of its runs goes.
fn helm(path: &Path, state_folder: Option<&Path>) -> anyhow::Result<HelmBinary> {
    let Some(state) = state_folder else {
        return Ok(HelmBinary::new(HelmSettings::new(path, &std::env::temp_dir())));
    };
    let folder = state.join("helm");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(&folder),
    }
    .with_context(|| format!("empty the folder {}", folder.display()))?;
    Ok(HelmBinary::new(HelmSettings::new(path, &folder)))
}

/// Where programs of this user keep what they can make anew.
fn user_caches() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
}

fn files_in(folder: &Dir<'_>) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for file in folder.files() {
        files.insert(file.path().to_string_lossy().into_owned(), file.contents().to_vec());
    }
    for inner in folder.dirs() {
        files.append(&mut files_in(inner));
    }
    files
}
