//! The watches that feed the index: namespaces, inventories, and our objects of every kind in use. Secrets and
//! most kinds are watched by their metadata alone; workloads in full, for their status.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Resource as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::follow::{Depth, News, SILENCE, Source, Tries};
use super::index::{Feed, Index, Origin};
use super::resources::Kinds;
use super::rounds::is_unwatched;
use super::{Cluster, ClusterError, NAMESPACES, collection};
use crate::manifest::{Resource, USUAL_KINDS, api_version};
use crate::metrics::{Metrics, WatchKind};
use crate::names::{INVENTORY_NAME, LABEL_MANAGED_BY, LABEL_SOURCE, LABEL_STORE, MANAGED_BY, SourceId};
use crate::plan::Inventory;
use crate::report::WORKLOAD_KINDS;

/// How long a run waits for a watch to show its first complete list; the next try finds it further on.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);

/// The same at the start, when nothing else is to be done: a large fleet on a slow server takes its time.
const START_TIMEOUT: Duration = Duration::from_mins(5);

/// How far a watch has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Its first list is under way.
    Listing,
    /// Its first list failed, with these words; it is tried again.
    Failing(String),
    /// Its cache is complete.
    Synced,
}

/// The watches that run. Dropping them ends them.
#[derive(Default)]
pub(super) struct Watches {
    tasks: JoinSet<()>,
    progress: HashMap<Feed, watch::Receiver<Progress>>,
}

impl Cluster {
    /// Starts watching and returns when every cache is complete: only then may absence be believed.
    pub async fn start_watching(&self) -> Result<(), ClusterError> {
        let first = [Feed::Namespaces, Feed::Inventories].into_iter();
        let first =
            first.chain(self.access.as_ref().map(|_| Feed::Access)).map(|feed| self.watch(feed, None));
        synced(first.collect::<Vec<_>>(), START_TIMEOUT).await?;
        let inventoried = self.index.inventoried_kinds();
        let inventoried =
            inventoried.iter().filter_map(|(group, version, kind)| self.served_as(group, version, kind));
        let usual = USUAL_KINDS.iter().filter_map(|(version, kind)| self.resolve(version, kind));
        let watches: Vec<_> = inventoried.chain(usual).map(|resource| self.watch_kind(resource)).collect();
        // Waited for, or every store would look changed to its first run. A kind that can't be listed is the trouble
        // of the stores that use it: their runs wait for it.
        if let Err(error) = synced(watches, START_TIMEOUT).await {
            tracing::warn!(%error, "failed to fill every cache; stores without such objects do not wait");
        }
        Ok(())
    }

    /// Returns when the caches of all kinds that an inventory names are complete: before that, what is missing in
    /// them has not been looked for.
    pub async fn watch_inventoried(&self, inventory: &Inventory) -> Result<(), ClusterError> {
        let kinds: BTreeSet<_> = inventory
            .all()
            .map(|entry| (entry.key.group.as_str(), &*entry.version, entry.key.kind.as_str()))
            .collect();
        let served =
            kinds.into_iter().filter_map(|(group, version, kind)| self.served_as(group, version, kind));
        let watches: Vec<_> = served.map(|resource| self.watch_kind(resource)).collect();
        synced(watches, SYNC_TIMEOUT).await
    }

    /// Finds how a kind is served now: its version may be gone, and the kind served under another.
    fn served_as(&self, group: &str, version: &str, kind: &str) -> Option<Resource> {
        let exact = self.resolve(&api_version(group, version), kind);
        exact.or_else(|| self.resolve_any_version(group, kind))
    }

    /// Sees to it that these kinds are watched, and returns when their caches are complete.
    pub async fn watch_kinds(
        &self,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Result<(), ClusterError> {
        let watches: Vec<_> = resources.into_iter().map(|resource| self.watch_kind(resource)).collect();
        synced(watches, SYNC_TIMEOUT).await
    }

    fn watch_kind(&self, resource: Resource) -> (Feed, watch::Receiver<Progress>) {
        let feed = Feed::Objects { group: resource.group.clone(), kind: resource.kind.clone() };
        self.watch(feed, Some(resource))
    }

    /// Starts a watch unless it runs, and returns where its progress shows.
    fn watch(&self, feed: Feed, resource: Option<Resource>) -> (Feed, watch::Receiver<Progress>) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = watches.progress.get(&feed) {
            return (feed, progress.clone());
        }
        if let (Feed::Objects { group, kind }, Some(resource), Some(_)) = (&feed, &resource, &self.access)
            && is_unwatched(group, kind)
        {
            let (sender, receiver) = watch::channel(Progress::Listing);
            // What the rounds hold of the cluster must not hold the rounds themselves, or neither would end.
            let cluster = Self { watches: Arc::default(), ..self.clone() };
            watches.tasks.spawn(cluster.go_round(resource.clone(), sender));
            watches.progress.insert(feed.clone(), receiver.clone());
            return (feed, receiver);
        }
        let (sender, receiver) = watch::channel(Progress::Listing);
        let Some(source) = self.source_of(&feed, resource) else { return (feed, receiver) };
        let kinds = Arc::clone(&self.kinds);
        let index = Arc::clone(&self.index);
        watches.tasks.spawn(run(source, kinds, index, feed.clone(), sender, self.metrics.clone()));
        watches.progress.insert(feed.clone(), receiver.clone());
        (feed, receiver)
    }

    /// Says what to ask for. Secrets and most kinds by their metadata alone; workloads in full, for their status, and
    /// namespaces, for the conditions that say what holds a deletion up.
    fn source_of(&self, feed: &Feed, resource: Option<Resource>) -> Option<Source> {
        let client = self.client.clone();
        let source = &self.source;
        Some(match feed {
            Feed::Namespaces => Source {
                client,
                path: NAMESPACES.to_owned(),
                depth: Depth::Full,
                labels: None,
                fields: None,
                silence: SILENCE,
            },
            Feed::Inventories => Source {
                client,
                path: ConfigMap::url_path(&(), None),
                depth: Depth::Full,
                labels: Some(format!("{LABEL_STORE},{LABEL_SOURCE}={source}")),
                fields: Some(format!("metadata.name={INVENTORY_NAME}")),
                silence: SILENCE,
            },
            Feed::Access => Source {
                client,
                path: RoleBinding::url_path(&(), None),
                depth: Depth::Full,
                labels: Some(format!("{LABEL_STORE},{LABEL_SOURCE}={source}")),
                fields: Some(format!("metadata.name={}", self.access.as_ref()?.role)),
                silence: SILENCE,
            },
            Feed::Objects { kind, .. } => Source {
                client,
                path: collection(&resource?, None),
                depth: if WORKLOAD_KINDS.contains(&kind.as_str()) { Depth::Full } else { Depth::Metadata },
                labels: Some(
                    selecting_labels(source).map(|(label, value)| format!("{label}={value}")).join(","),
                ),
                fields: None,
                silence: SILENCE,
            },
        })
    }
}

/// The labels that objects are watched by: one that lacks any of them is not seen.
pub(super) fn selecting_labels(source: &SourceId) -> [(&'static str, &str); 2] {
    [(LABEL_MANAGED_BY, MANAGED_BY), (LABEL_SOURCE, source.as_str())]
}

/// Waits until all these caches are complete or say that they can't be, and returns the first error.
async fn synced(
    watches: impl IntoIterator<Item = (Feed, watch::Receiver<Progress>)>,
    limit: Duration,
) -> Result<(), ClusterError> {
    let all = watches.into_iter().map(|(feed, progress)| synced_one(feed, progress, limit));
    join_all(all).await.into_iter().collect()
}

async fn synced_one(
    feed: Feed,
    mut progress: watch::Receiver<Progress>,
    limit: Duration,
) -> Result<(), ClusterError> {
    let act = match &feed {
        Feed::Namespaces => "list namespaces".to_owned(),
        Feed::Inventories => "list the inventories of stores".to_owned(),
        Feed::Access => "list the RoleBindings in stores' namespaces".to_owned(),
        Feed::Objects { kind, .. } => format!("list objects of kind {kind}"),
    };
    let outcome = progress.wait_for(|progress| *progress != Progress::Listing);
    let detail = match tokio::time::timeout(limit, outcome).await {
        Ok(Ok(progress)) => match &*progress {
            Progress::Failing(detail) => detail.clone(),
            Progress::Listing | Progress::Synced => return Ok(()),
        },
        Ok(Err(_)) => "the watch ended".to_owned(),
        Err(_) => return Err(ClusterError::TimedOut { act, seconds: limit.as_secs() }),
    };
    Err(ClusterError::Unreachable { act, detail })
}

/// Feeds the index for ever, whatever the version under which the kind is served.
async fn run(
    mut source: Source,
    kinds: Arc<Kinds>,
    index: Arc<Index>,
    feed: Feed,
    progress: watch::Sender<Progress>,
    metrics: Metrics,
) {
    let mut tries = Tries::new();
    loop {
        let take_in = |news: News| {
            count(&news, &feed, &metrics);
            take_in(news, &index, &feed, &progress);
        };
        source.follow(&mut tries, take_in).await;
        let Feed::Objects { group, kind } = &feed else { continue };
        if let Err(error) = kinds.rediscover().await {
            tracing::warn!(watch = ?feed, %error, "failed to ask how a kind is served that was not found");
        }
        if let Some(resource) = kinds.read().any_version(group, kind) {
            source.path = collection(&resource, None);
        }
    }
}

fn count(news: &News, feed: &Feed, metrics: &Metrics) {
    let kind = match feed {
        Feed::Namespaces => WatchKind::Namespaces,
        Feed::Inventories => WatchKind::Inventories,
        Feed::Objects { kind, .. } if WORKLOAD_KINDS.contains(&kind.as_str()) => WatchKind::Workloads,
        Feed::Access | Feed::Objects { .. } => WatchKind::Others,
    };
    match news {
        News::Listing => metrics.watch_listed(kind),
        News::Broken(_) | News::Unstreamed(_) => metrics.watch_failed(kind),
        News::There(_) | News::Gone(_) | News::Complete(_) => {}
    }
}

fn take_in(news: News, index: &Index, feed: &Feed, progress: &watch::Sender<Progress>) {
    match news {
        News::Listing => index.begin_relist(feed),
        News::There(object) => index.put(Origin::Watch, feed, &object),
        News::Gone(object) => index.remove(feed, &object),
        News::Complete(version) => {
            index.end_relist(feed, &version);
            progress.send_replace(Progress::Synced);
        }
        News::Unstreamed(words) => {
            tracing::warn!(watch = ?feed, error = %words, "a streamed list failed; it is tried again, page by page at last");
        }
        News::Broken(words) => {
            tracing::warn!(watch = ?feed, error = %words, "a watch failed and is started again");
            // Once complete, a cache stays: an outage makes it old, not wrong about absence.
            progress.send_if_modified(|progress| {
                let first = *progress != Progress::Synced;
                if first {
                    *progress = Progress::Failing(words);
                }
                first
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn kind(kind: &str) -> (Feed, watch::Sender<Progress>) {
        let feed = Feed::Objects { group: String::new(), kind: kind.to_owned() };
        (feed, watch::channel(Progress::Listing).0)
    }

    #[tokio::test]
    async fn a_kind_that_can_not_be_listed_keeps_nobody_from_waiting_for_the_others() {
        let ((claims, failing), (secrets, slow)) = (kind("PersistentVolumeClaim"), kind("Secret"));
        failing.send_replace(Progress::Failing("no".to_owned()));
        let all = [(claims, failing.subscribe()), (secrets, slow.subscribe())];
        let mut waiting = Box::pin(synced(all, SYNC_TIMEOUT));
        assert!((&mut waiting).now_or_never().is_none(), "the other one may come yet");
        slow.send_replace(Progress::Synced);
        assert_eq!(waiting.await.unwrap_err().to_string(), "list objects of kind PersistentVolumeClaim: no");
    }
}
