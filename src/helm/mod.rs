//! Renders charts with the real Helm binary, for those that need exactly what it does.
//!
//! Each run has a private folder with the chart, its values and nothing of this machine: no plugins, no repositories,
//! no kubeconfig but one that names an API server of ours on the loopback interface (`answers.rs`). That server tells
//! what the cluster can do, and answers look-ups of the release's own namespace through the caller. Nothing else is
//! asked of any cluster, and nothing is written to one: `helm template` leaves its output in the folder.
//!
//! What is deliberately absent: notes, the files in `crds/`, post-renderers and look-ups of names in the DNS.

mod answers;
mod error;
mod folder;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tracing::debug;

use crate::chart::{self, Capabilities, LookupQuery, Release, Rendering};

use self::answers::{ApiServer, Question};
use self::folder::Folder;
use self::process::Process;

pub use self::error::HelmError;

/// Says how Helm is run.
#[derive(Debug, Clone)]
pub struct HelmSettings {
    /// The binary.
    pub path: PathBuf,
    /// The folder in which each run gets a private one, such as `/tmp`.
    pub folder: PathBuf,
    /// How long a run may take, look-ups included.
    pub time_limit: Duration,
    /// The most bytes that all templates of a run may write together.
    pub output_bytes: u64,
    /// The most memory that a run may hold, in bytes. It is looked at many times a second, on Linux only.
    pub memory_bytes: u64,
    /// How many runs there may be at once; more wait.
    pub at_once: usize,
}

impl HelmSettings {
    /// Describes runs with a minute, 16 MiB of output and 512 MiB of memory each, two at once.
    pub fn new(path: &Path, folder: &Path) -> Self {
        Self {
            path: path.to_owned(),
            folder: folder.to_owned(),
            time_limit: Duration::from_mins(1),
            output_bytes: 16 << 20,
            memory_bytes: 512 << 20,
            at_once: 2,
        }
    }
}

/// Everything that decides what Helm renders a chart to, but look-ups, the time and chance.
#[derive(Debug, Clone, Copy)]
pub struct HelmRequest<'a> {
    /// The release. Its revision is 1 for Helm, whatever is said here.
    pub release: &'a Release,
    /// The user's values, all layers merged; a null deletes a default of the chart.
    pub values: &'a Map<String, Value>,
    /// What the cluster can do. A kind that is not listed with its API version is never looked up: nothing is found.
    pub capabilities: &'a Capabilities,
}

/// Runs one Helm binary. Clones share the limit on how many run at once.
#[derive(Debug, Clone)]
pub struct HelmBinary {
    settings: Arc<HelmSettings>,
    places: Arc<Semaphore>,
}

impl HelmBinary {
    /// Prepares for runs; starts none.
    pub fn new(settings: HelmSettings) -> Self {
        let places = Arc::new(Semaphore::new(settings.at_once.max(1)));
        Self { settings: Arc::new(settings), places }
    }

    /// Renders a chart, given by its files and their paths in it.
    ///
    /// `look_up` is asked for objects of the release's namespace, for each once; it answers with the object, with a
    /// list when the query names none, or with `{}` when there is none. Its error ends the run and is returned. A
    /// future that is dropped ends the run too.
    ///
    /// The objects come in the order of the templates' paths; those of one template in the order in which Helm
    /// installs kinds, hooks last.
    pub async fn render<Answer, E>(
        &self,
        files: Arc<BTreeMap<String, Vec<u8>>>,
        request: HelmRequest<'_>,
        look_up: impl Fn(LookupQuery) -> Answer,
    ) -> Result<Rendering, E>
    where
        Answer: Future<Output = Result<Value, E>>,
        E: From<HelmError>,
    {
        // It is never closed; were it, the run would only not wait.
        let _place = self.places.acquire().await.ok();
        let limit = self.settings.time_limit;
        match tokio::time::timeout(limit, self.run(files, request, look_up)).await {
            Ok(rendered) => rendered,
            Err(_) => Err(HelmError::TimedOut { limit }.into()),
        }
    }

    async fn run<Answer, E>(
        &self,
        files: Arc<BTreeMap<String, Vec<u8>>>,
        request: HelmRequest<'_>,
        look_up: impl Fn(LookupQuery) -> Answer,
    ) -> Result<Rendering, E>
    where
        Answer: Future<Output = Result<Value, E>>,
        E: From<HelmError>,
    {
        let Release { name, namespace, is_upgrade, revision: _ } = request.release;
        let mut server = ApiServer::start(request.capabilities, namespace).await?;
        let values = folder::values_text(request.values);
        let folder = Folder::make(&self.settings.folder, files, values, &server.url()).await?;
        let mut process = Process::start(&self.settings, folder, &arguments(name, namespace, *is_upgrade))?;
        let status = loop {
            tokio::select! {
                ended = process.ended() => break ended?,
                Some(Question { query, answer }) = server.asked.recv() => {
                    let found = look_up(query).await?;
                    // Whoever asked may have been ended in between.
                    let _ = answer.send(found);
                }
            }
        };
        let outputs = process.finish(status).await?.outputs(self.settings.output_bytes).await?;
        debug!(release.name = name, templates = outputs.len(), "rendered with helm");
        Ok(objects(&outputs)?)
    }
}

/// What `helm template` is told; paths are those of the private folder. With `--output-dir` what was rendered never
/// comes to the step that compares it with the API server's kinds and objects.
fn arguments<'a>(name: &'a str, namespace: &'a str, is_upgrade: bool) -> Vec<&'a str> {
    let mut arguments = vec!["template", name, folder::CHART, "--namespace", namespace];
    arguments.extend(["--values", folder::VALUES, "--output-dir", folder::OUTPUT]);
    arguments.extend(["--dry-run=server", "--disable-openapi-validation", "--skip-crds"]);
    if is_upgrade {
        arguments.push("--is-upgrade");
    }
    arguments
}

fn objects(outputs: &BTreeMap<String, String>) -> Result<Rendering, HelmError> {
    let mut objects = Vec::new();
    for (template, output) in outputs {
        objects.extend(chart::parse_output(template, output)?);
    }
    Ok(Rendering { objects, crds: Vec::new(), notes: None })
}
