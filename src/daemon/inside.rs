//! Looks into a store's namespace for people: from memory but for its pods, for which the API server is asked, seldom enough
//! that no reader of a page can keep it busy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::cluster::Cluster;
use crate::names::StoreId;
use crate::plan::inspection::{objects, versions};
use crate::report::{Inspection, PodHealth};

/// How long pods are told as they were.
const FRESH: Duration = Duration::from_secs(3);

/// How many stores' pods are remembered.
const REMEMBERED: usize = 64;

/// How many questions to the API server may be under way at once.
const AT_ONCE: usize = 2;

/// How long to wait for a place among those.
const PATIENCE: Duration = Duration::from_secs(5);

type Pods = Result<Vec<PodHealth>, String>;

/// A handle on what the daemon knows of stores' namespaces. Cloned handles share it; before the daemon has reached the
/// cluster it knows nothing.
#[derive(Clone)]
pub struct Inside(Arc<Shared>);

struct Shared {
    cluster: OnceLock<Cluster>,
    pods: Mutex<BTreeMap<StoreId, (Instant, Pods)>>,
    places: Semaphore,
}

impl Default for Inside {
    fn default() -> Self {
        let (cluster, pods) = (OnceLock::new(), Mutex::default());
        Self(Arc::new(Shared { cluster, pods, places: Semaphore::new(AT_ONCE) }))
    }
}

impl Inside {
    /// Says how the cluster is reached.
    pub(super) fn open(&self, cluster: Cluster) {
        let _ = self.0.cluster.set(cluster);
    }

    /// Tells what a store's namespace holds, or why that is not known.
    pub async fn inspect(&self, store: &StoreId) -> Result<Inspection, String> {
        let Some(cluster) = self.0.cluster.get() else {
            return Err("the cluster is not reached yet".to_owned());
        };
        let observed = cluster.observe(store);
        let (runs, wants) = versions(&observed);
        let pods = match observed.namespace {
            Some(_) => self.pods(cluster, store).await,
            None => Ok(Vec::new()),
        };
        Ok(Inspection { runs, wants, objects: objects(&observed), pods })
    }

    async fn pods(&self, cluster: &Cluster, store: &StoreId) -> Pods {
        let place = tokio::time::timeout(PATIENCE, self.0.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err("too many readers ask for pods at once; try again".to_owned());
        };
        // Who waited for a place may find what he wanted to ask.
        if let Some((at, pods)) = self.lock().get(store)
            && at.elapsed() < FRESH
        {
            return pods.clone();
        }
        let pods = cluster.pods(store).await.map_err(|error| format!("failed to {error}"));
        let mut known = self.lock();
        known.retain(|_, (at, _)| at.elapsed() < FRESH);
        if known.len() < REMEMBERED {
            known.insert(store.clone(), (Instant::now(), pods.clone()));
        }
        pods
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<StoreId, (Instant, Pods)>> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
