//! Secrets, where the daemon may not watch all of the cluster's: asked for by their metadata, namespace by namespace, in
//! rounds of ten minutes, and whenever there is reason to. A watch in each namespace would show a change at once, for 0.2
//! MiB of the API server's memory each and as many requests, for a watch is begun anew every ten minutes too.

use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use super::follow::{Depth, SILENCE, Source};
use super::watch::{Progress, selecting_labels};
use super::{Cluster, ClusterError, collection};
use crate::manifest::{Owner, Resource};
use crate::metrics::WatchKind;
use crate::names::StoreId;

/// How long a round takes.
const ROUND: Duration = Duration::from_mins(10);

/// How many namespaces are asked at once in the first round, which everything waits for.
const FIRST_AT_ONCE: usize = 16;

/// The wait before a first round that could not be ended is begun anew.
const AGAIN: Duration = Duration::from_secs(2);

/// The kind that is never watched where rights are small, as group and kind.
const UNWATCHED: (&str, &str) = ("", "Secret");

/// Whether a kind is asked for in rounds.
pub(super) fn is_unwatched(group: &str, kind: &str) -> bool {
    UNWATCHED == (group, kind)
}

impl Cluster {
    /// Asks for what is not watched in a store's namespace, if anything is not.
    pub async fn look_at_unwatched(&self, store: &StoreId) -> Result<(), ClusterError> {
        if self.access.is_none() {
            return Ok(());
        }
        let Some(resource) = self.resolve("v1", UNWATCHED.1) else { return Ok(()) };
        self.ask(&resource, store).await
    }

    /// The same, beside what is going on.
    pub fn look_at_unwatched_soon(&self, store: &StoreId) {
        if self.access.is_none() {
            return;
        }
        let (cluster, store) = (self.clone(), store.clone());
        tokio::spawn(async move {
            if let Err(error) = cluster.look_at_unwatched(&store).await {
                tracing::warn!(store.id = %store, %error, "a look at what is not watched failed");
            }
        });
    }

    async fn ask(&self, resource: &Resource, store: &StoreId) -> Result<(), ClusterError> {
        let namespace = store.namespace();
        let source = Source {
            client: self.client.clone(),
            path: collection(resource, Some(&namespace)),
            depth: Depth::Metadata,
            labels: Some(
                selecting_labels(&self.source).map(|(label, value)| format!("{label}={value}")).join(","),
            ),
            fields: None,
            silence: SILENCE,
        };
        let (objects, version) = source.list().await.map_err(|detail| ClusterError::Unreachable {
            act: format!("list objects of kind {} in {namespace}", resource.kind),
            detail,
        })?;
        self.metrics.watch_listed(WatchKind::Others);
        self.index.relist(store, UNWATCHED, &objects, &version);
        Ok(())
    }

    /// Goes round for ever. The first round counts as the first list of a watch: all namespaces that were open to us at its
    /// beginning have been asked, or say why not.
    pub(super) async fn go_round(self, resource: Resource, progress: watch::Sender<Progress>) {
        loop {
            match self.first_round(&resource).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, "a first look at what is not watched failed and is begun anew");
                    progress.send_replace(Progress::Failing(error.to_string()));
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        progress.send_replace(Progress::Synced);
        loop {
            let (stores, begun) = (self.open_stores(), Instant::now());
            let most = u32::try_from(stores.len()).unwrap_or(u32::MAX).max(1);
            for (place, store) in stores.iter().enumerate() {
                let due = ROUND * u32::try_from(place).unwrap_or(most) / most;
                tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
                if let Err(error) = self.ask(&resource, store).await {
                    tracing::warn!(store.id = %store, %error, "a look at what is not watched failed");
                }
            }
            tokio::time::sleep(ROUND.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn first_round(&self, resource: &Resource) -> Result<(), ClusterError> {
        let stores = self.open_stores();
        let asked: Vec<_> = stores.iter().map(|store| self.ask(resource, store).boxed()).collect();
        let mut asked = futures::stream::iter(asked).buffer_unordered(FIRST_AT_ONCE);
        while let Some(answer) = asked.next().await {
            answer?;
        }
        Ok(())
    }

    /// Returns this source's stores whose namespaces let us in, as far as is known.
    fn open_stores(&self) -> Vec<StoreId> {
        let ours = self.index.stores_where(|store, namespace| {
            let owner = Owner { store, source: &self.source };
            namespace.deleting_since.is_none() && namespace.ownership(owner).may_be_had()
        });
        ours.into_iter().filter(|store| self.index.access(store).is_some()).collect()
    }
}
