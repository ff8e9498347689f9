//! Stores as earlier commits had them, from the mirror of the followed repository.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::chart::Chart;
use crate::git::{Mirror, ReadLimits};
use crate::names::{STORES_FOLDER, StoreId};
use crate::store::{self, Limits, RepositoryTree, Store, StoreEntry};

/// Reads a store as it was at an earlier commit. Cloned handles share the mirror.
///
/// The mirror holds the whole history of the followed branch. What a force-push took out of it is readable until
/// the mirror is fetched anew (it was lost, was damaged, or lay in too many packs); then that commit is gone.
#[derive(Clone)]
pub struct Past {
    /// Empty until the mirror is opened, which the follower of the repository does.
    mirror: Arc<OnceLock<Mirror>>,
    chart: Arc<Chart>,
}

/// Why a store could not be read as it was; fits "failed to {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read store {store} as it was at commit {revision}: {reason}")]
pub struct PastError {
    /// The store.
    pub store: StoreId,
    /// The commit.
    pub revision: String,
    /// What was in the way, and what to do about it.
    pub reason: String,
}

impl Past {
    /// Reads from a mirror, with the value files of a chart. The mirror may be opened later.
    pub fn new(mirror: Arc<OnceLock<Mirror>>, chart: Arc<Chart>) -> Self {
        Self { mirror, chart }
    }

    /// Returns the store as its file, the fleet file and the value files of a commit describe it. The chart is
    /// today's: files that it ships, and its defaults, are not in the repository's history.
    ///
    /// `revision` is a full commit id. Another store's claim on the same host is not looked at.
    pub async fn store_at(&self, revision: &str, id: &StoreId) -> Result<Arc<Store>, PastError> {
        let (past, commit, store) = (self.clone(), revision.to_owned(), id.clone());
        let read = tokio::task::spawn_blocking(move || past.read(&commit, &store));
        let found = read.await.unwrap_or_else(|broken| Err(format!("reading broke off: {broken}")));
        found.map_err(|reason| PastError { store: id.clone(), revision: revision.to_owned(), reason })
    }

    fn read(&self, commit: &str, id: &StoreId) -> Result<Arc<Store>, String> {
        let mirror = self.mirror.get().ok_or("the repository has not been opened yet")?;
        let (folder, file) = (format!("{STORES_FOLDER}/"), format!("{STORES_FOLDER}/{id}.yaml"));
        // Of 10,000 store files one is read.
        let wants =
            |path: &str| store::wants(path) && (path == folder || path == file || !path.starts_with(&folder));
        let files = mirror
            .read(commit, &wants, &ReadLimits::default())
            .map_err(|error| format!("failed to {error}"))?;
        let revision = commit.parse().map_err(|error: store::RevisionError| error.to_string())?;
        let tree = RepositoryTree { revision, files };
        let chart_file = |path: &str| self.chart.file(path);
        let snapshot = store::read(&tree, &chart_file, &BTreeMap::new(), &Limits::default())
            .map_err(|freeze| format!("that commit can't be used: {freeze}"))?;
        match snapshot.stores.get(id) {
            Some(StoreEntry::Accepted(store)) => Ok(Arc::clone(store)),
            Some(StoreEntry::Rejected(problems)) => {
                let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
                Err(format!("its file was broken then: {}", all.join("; ")))
            }
            None => Err(format!("there was no `{file}`")),
        }
    }
}
