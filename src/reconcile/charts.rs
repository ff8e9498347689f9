//! The charts that stores are rendered with: loaded when a store needs them, and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::render::line_of;
use crate::chart::{Chart, ChartError};
use crate::chart_source::{ChartFetcher, ChartSourceError, Fetched};
use crate::helm::HelmBinary;
use crate::manifest::AllowedKinds;
use crate::store::{ChartSource, StoreChart};

/// How many charts beside the built-in one are kept parsed. A fleet file names fewer; pull requests bring others.
const KEPT: usize = 64;

/// Loads charts. Cloned handles share what is loaded.
#[derive(Clone)]
pub struct ChartCache(Arc<Shared>);

struct Shared {
    built_in: Arc<Chart>,
    places: ChartPlaces,
    loaded: Mutex<Loaded>,
}

/// Where charts may come from besides storekeeper itself, and what may render them: the operator's choice.
pub struct ChartPlaces {
    /// Whether folders of the watched repository count.
    pub folders: bool,
    /// What fetches charts from elsewhere.
    pub fetcher: Option<ChartFetcher>,
    /// The helm program.
    pub helm: Option<HelmBinary>,
    /// What may be rendered.
    pub kinds: AllowedKinds,
}

impl ChartPlaces {
    /// The watched repository and nothing else.
    pub fn repository() -> Self {
        Self { folders: true, fetcher: None, helm: None, kinds: AllowedKinds::default() }
    }
}

/// What has been loaded, by what it was loaded from.
#[derive(Default)]
struct Loaded {
    charts: HashMap<String, (u64, Arc<Chart>)>,
    /// Counts uses, to know which was not used for the longest time.
    uses: u64,
}

impl Loaded {
    fn find(&mut self, identity: &str) -> Option<Arc<Chart>> {
        self.uses += 1;
        let (used, chart) = self.charts.get_mut(identity)?;
        *used = self.uses;
        Some(Arc::clone(chart))
    }

    fn keep(&mut self, identity: String, chart: &Arc<Chart>) {
        while self.charts.len() >= KEPT {
            let oldest = self.charts.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.charts.remove(&key));
        }
        self.charts.insert(identity, (self.uses, Arc::clone(chart)));
    }
}

/// Why a store's chart is not at hand; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum ChartUnavailable {
    /// Its files are no chart.
    #[error("load chart `{name}` ({place}): {source}{}", line_of(.source.snippet()))]
    Broken {
        /// The name that the fleet file gives it.
        name: String,
        /// Where it comes from.
        place: String,
        /// What is wrong with it.
        source: Box<ChartError>,
    },
    /// It is another one than the fleet file says.
    #[error(
        "load chart `{name}` ({place}): it is {found}; name that in the fleet file, or pin the digest of the one that is meant"
    )]
    Another {
        /// The name that the fleet file gives it.
        name: String,
        /// Where it comes from.
        place: String,
        /// What its Chart.yaml says.
        found: String,
    },
    /// It can't be had from where it lies.
    #[error("get chart `{name}`: failed to {source}")]
    NotFetched {
        /// The name that the fleet file gives it.
        name: String,
        /// Why not.
        source: Box<ChartSourceError>,
    },
    /// Nothing is fetched from elsewhere.
    #[error("load chart `{name}` ({place}): charts are taken from the watched repository only")]
    Elsewhere {
        /// The name that the fleet file gives it.
        name: String,
        /// Where it comes from.
        place: String,
    },
    /// It lies in the watched repository.
    #[error(
        "load chart `{name}` ({place}): the operator takes no charts from the watched repository (--no-chart-folders)"
    )]
    InRepository {
        /// The name that the fleet file gives it.
        name: String,
        /// Where it comes from.
        place: String,
    },
    /// It wants the helm program.
    #[error(
        "render chart `{name}` with helm: the operator has named no program with --helm; write `renderer: native`, or leave \
         the line out"
    )]
    NoHelm {
        /// The name that the fleet file gives it.
        name: String,
    },
}

impl ChartCache {
    /// Knows the built-in chart, and where others come from.
    pub fn new(built_in: Arc<Chart>, places: ChartPlaces) -> Self {
        Self(Arc::new(Shared { built_in, places, loaded: Mutex::default() }))
    }

    /// Returns the chart that comes with storekeeper.
    pub fn built_in(&self) -> &Arc<Chart> {
        &self.0.built_in
    }

    /// Returns what charts may render.
    pub fn kinds(&self) -> &AllowedKinds {
        &self.0.places.kinds
    }

    /// Returns the helm program, for charts that are rendered with it.
    pub fn helm(&self, chart: &StoreChart) -> Result<&HelmBinary, ChartUnavailable> {
        self.0.places.helm.as_ref().ok_or_else(|| ChartUnavailable::NoHelm { name: chart.name.clone() })
    }

    /// Returns what the fingerprint of a store's inputs has to hold beside the store's own: the built-in chart changes
    /// with storekeeper, every other one with its store's file or fleet.
    pub fn digest_for(&self, chart: &StoreChart) -> &str {
        if chart.source.is_built_in() { self.0.built_in.digest() } else { "" }
    }

    /// Returns a store's chart, loading it where need be.
    pub async fn load(&self, chart: &StoreChart) -> Result<Arc<Chart>, ChartUnavailable> {
        let identity = chart.source.identity();
        let fetched = match &chart.source {
            ChartSource::BuiltIn => return Ok(Arc::clone(&self.0.built_in)),
            ChartSource::Folder(_) if !self.0.places.folders => {
                let (name, place) = (chart.name.clone(), chart.source.to_string());
                return Err(ChartUnavailable::InRepository { name, place });
            }
            _ if let Some(known) = self.loaded().find(&identity) => return Ok(known),
            ChartSource::Folder(folder) => Fetched::Files(Arc::clone(&folder.files)),
            source @ (ChartSource::Git { .. } | ChartSource::Oci { .. } | ChartSource::Repository { .. }) => {
                self.fetch(&chart.name, source).await?
            }
        };
        // A large one takes a while to parse.
        let loaded = tokio::task::spawn_blocking(move || match fetched {
            Fetched::Archive(packed) => Chart::load_archive(&packed),
            Fetched::Files(files) => Chart::load(files.as_ref().clone()),
        });
        let loaded = loaded.await.unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()));
        let (name, place) = (chart.name.clone(), chart.source.to_string());
        let loaded = match loaded {
            Ok(loaded) => Arc::new(loaded),
            Err(source) => return Err(ChartUnavailable::Broken { name, place, source: Box::new(source) }),
        };
        if !is_meant(&chart.source, &loaded) {
            let found = format!("{} {}", loaded.name(), loaded.version());
            return Err(ChartUnavailable::Another { name, place, found });
        }
        self.loaded().keep(identity, &loaded);
        Ok(loaded)
    }

    async fn fetch(&self, name: &str, source: &ChartSource) -> Result<Fetched, ChartUnavailable> {
        let Some(fetcher) = &self.0.places.fetcher else {
            return Err(ChartUnavailable::Elsewhere { name: name.to_owned(), place: source.to_string() });
        };
        let fetched = fetcher.fetch(source).await;
        fetched.map_err(|source| ChartUnavailable::NotFetched {
            name: name.to_owned(),
            source: Box::new(source),
        })
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a chart is what its source says of it: the digest alone decides which one is taken, but people read name and
/// version.
fn is_meant(source: &ChartSource, chart: &Chart) -> bool {
    let same = |name: &str, version: &str| {
        name == chart.name() && version.trim_start_matches('v') == chart.version().trim_start_matches('v')
    };
    match source {
        ChartSource::BuiltIn | ChartSource::Folder(_) | ChartSource::Git { .. } => true,
        ChartSource::Oci { reference, version, digest: _ } => {
            same(reference.rsplit('/').next().unwrap_or_default(), version)
        }
        ChartSource::Repository { url: _, name, version, digest: _ } => same(name, version),
    }
}
