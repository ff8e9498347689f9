//! The charts that stores are rendered with: loaded when a store needs them, and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chart::{Chart, ChartError};
use crate::store::{ChartSource, StoreChart};

/// How many charts beside the built-in one are kept parsed. A fleet file names fewer; pull requests bring others.
const KEPT: usize = 64;

/// Loads charts. Cloned handles share what is loaded.
#[derive(Clone)]
pub struct ChartCache(Arc<Shared>);

struct Shared {
    built_in: Arc<Chart>,
    loaded: Mutex<Loaded>,
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
    #[error("load chart `{name}` ({place}): {source}")]
    Broken {
        /// The name that the fleet file gives it.
        name: String,
        /// Where it comes from.
        place: String,
        /// What is wrong with it.
        source: Box<ChartError>,
    },
    /// It lies elsewhere.
    #[error("load chart `{name}` ({place}): charts are taken from the watched repository only")]
    NotFetched {
        /// The name that the fleet file gives it.
        name: String,
        /// Where it comes from.
        place: String,
    },
}

impl ChartCache {
    /// Knows the built-in chart.
    pub fn new(built_in: Arc<Chart>) -> Self {
        Self(Arc::new(Shared { built_in, loaded: Mutex::default() }))
    }

    /// Returns the chart that comes with storekeeper.
    pub fn built_in(&self) -> &Arc<Chart> {
        &self.0.built_in
    }

    /// Returns what the fingerprint of a store's inputs has to hold beside the store's own: the built-in chart changes
    /// with storekeeper, every other one with its store's file or fleet.
    pub fn digest_for(&self, chart: &StoreChart) -> &str {
        if chart.source.is_built_in() { self.0.built_in.digest() } else { "" }
    }

    /// Returns a store's chart, loading it where need be.
    pub async fn load(&self, chart: &StoreChart) -> Result<Arc<Chart>, ChartUnavailable> {
        let identity = chart.source.identity();
        let files = match &chart.source {
            ChartSource::BuiltIn => return Ok(Arc::clone(&self.0.built_in)),
            _ if let Some(known) = self.loaded().find(&identity) => return Ok(known),
            ChartSource::Folder(folder) => Arc::clone(&folder.files),
            ChartSource::Git { .. } | ChartSource::Oci { .. } | ChartSource::Repository { .. } => {
                let (name, place) = (chart.name.clone(), chart.source.to_string());
                return Err(ChartUnavailable::NotFetched { name, place });
            }
        };
        // A large one takes a while to parse.
        let loaded = tokio::task::spawn_blocking(move || Chart::load(files.as_ref().clone())).await;
        let loaded = loaded.unwrap_or_else(|broken| std::panic::resume_unwind(broken.into_panic()));
        let (name, place) = (chart.name.clone(), chart.source.to_string());
        let loaded =
            loaded.map_err(|source| ChartUnavailable::Broken { name, place, source: Box::new(source) })?;
        let loaded = Arc::new(loaded);
        self.loaded().keep(identity, &loaded);
        Ok(loaded)
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
