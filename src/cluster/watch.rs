//! The watches that feed the index: namespaces, inventories, and our objects of every kind in use. Secrets and
//! most kinds are watched by their metadata alone; workloads in full, for their status.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::index::{Feed, Index, Origin};
use super::{Cluster, ClusterError, api_resource};
use crate::manifest::{Resource, api_version};
use crate::names::{INVENTORY_KEY, INVENTORY_NAME, LABEL_MANAGED_BY, LABEL_SOURCE, LABEL_STORE, MANAGED_BY};
use crate::plan::Inventory;
use crate::report::{WORKLOAD_KINDS, Workload, workload};

/// How long a run waits for a watch to show its first complete list; the next try finds it further on.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);

/// Kinds that nearly every store has: watched from the start, so that the first store need not wait for them.
const USUAL_KINDS: [(&str, &str); 11] = [
    ("v1", "ConfigMap"),
    ("v1", "LimitRange"),
    ("v1", "ResourceQuota"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

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
        let first = [Feed::Namespaces, Feed::Inventories].map(|feed| self.watch(feed, None));
        synced(first).await?;
        // Started, so that no run need wait long, but not waited for: each run waits for the kinds it needs, and a
        // kind that can't be listed is the trouble of the stores that use it.
        for (group, version, kind) in self.index.inventoried_kinds() {
            let exact = self.resolve(&api_version(&group, &version), &kind);
            // The version may be gone and the kind served under another.
            if let Some(resource) = exact.or_else(|| self.resolve_any_version(&group, &kind)) {
                self.watch_kind(resource);
            }
        }
        for (version, kind) in USUAL_KINDS {
            self.resolve(version, kind).map(|resource| self.watch_kind(resource));
        }
        Ok(())
    }

    /// Sees to it that these kinds are watched, and returns when their caches are complete.
    pub async fn watch_kinds(
        &self,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Result<(), ClusterError> {
        let watches: Vec<_> = resources.into_iter().map(|resource| self.watch_kind(resource)).collect();
        synced(watches).await
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
        let (sender, receiver) = watch::channel(Progress::Listing);
        let follower = Follower {
            client: self.client.clone(),
            index: Arc::clone(&self.index),
            ours: format!("{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_SOURCE}={}", self.source),
            inventories: format!("{LABEL_STORE},{LABEL_SOURCE}={}", self.source),
            feed: feed.clone(),
            progress: sender,
        };
        watches.tasks.spawn(follower.run(resource));
        watches.progress.insert(feed.clone(), receiver.clone());
        (feed, receiver)
    }
}

/// Waits until all these caches are complete, or one of them says that it can't be.
async fn synced(
    watches: impl IntoIterator<Item = (Feed, watch::Receiver<Progress>)>,
) -> Result<(), ClusterError> {
    for (feed, mut progress) in watches {
        let act = match &feed {
            Feed::Namespaces => "list namespaces".to_owned(),
            Feed::Inventories => "list the inventories of stores".to_owned(),
            Feed::Objects { kind, .. } => format!("list objects of kind {kind}"),
        };
        let outcome = progress.wait_for(|progress| *progress != Progress::Listing);
        match tokio::time::timeout(SYNC_TIMEOUT, outcome).await {
            Ok(Ok(progress)) => match &*progress {
                Progress::Failing(detail) => {
                    return Err(ClusterError::Unreachable { act, detail: detail.clone() });
                }
                Progress::Listing | Progress::Synced => {}
            },
            Ok(Err(_)) => {
                return Err(ClusterError::Unreachable { act, detail: "the watch ended".to_owned() });
            }
            Err(_) => return Err(ClusterError::TimedOut { act, seconds: SYNC_TIMEOUT.as_secs() }),
        }
    }
    Ok(())
}

/// One watch at work.
struct Follower {
    client: Client,
    index: Arc<Index>,
    /// The selector of our objects.
    ours: String,
    /// The selector of our inventories.
    inventories: String,
    feed: Feed,
    progress: watch::Sender<Progress>,
}

impl Follower {
    async fn run(self, resource: Option<Resource>) {
        let config = watcher::Config::default();
        let (client, index, feed) = (self.client.clone(), &*self.index, &self.feed);
        match (feed, resource) {
            (Feed::Namespaces, _) => {
                // In full, for the conditions that say what holds a deletion up.
                let api = Api::<Namespace>::all(client);
                self.follow(api, config, |event| namespace_event(index, event)).await;
            }
            (Feed::Inventories, _) => {
                let api = Api::<ConfigMap>::all(client);
                let config =
                    config.labels(&self.inventories).fields(&format!("metadata.name={INVENTORY_NAME}"));
                self.follow(api, config, |event| inventory_event(index, event)).await;
            }
            (Feed::Objects { kind, .. }, Some(resource)) if WORKLOAD_KINDS.contains(&kind.as_str()) => {
                let api = Api::<DynamicObject>::all_with(client, &api_resource(&resource));
                let config = config.labels(&self.ours);
                self.follow(api, config, |event| workload_event(index, feed, event)).await;
            }
            (Feed::Objects { .. }, Some(resource)) => {
                let kind = api_resource(&resource);
                let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &kind);
                let config = config.labels(&self.ours);
                self.follow(api, config, |event| metadata_event(index, feed, event)).await;
            }
            (Feed::Objects { .. }, None) => {}
        }
    }

    /// Follows one watch for ever: errors are logged and retried with backoff, and a list that fails half-way
    /// never reaches its end.
    async fn follow<K>(&self, api: Api<K>, config: watcher::Config, mut handle: impl FnMut(watcher::Event<K>))
    where
        K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    let complete = matches!(event, watcher::Event::InitDone);
                    handle(event);
                    if complete {
                        self.progress.send_replace(Progress::Synced);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    let words = super::error::chain(&error);
                    tracing::warn!(watch = ?self.feed, error = %words, "a watch failed and is started again");
                    // Once complete, a cache stays: an outage makes it old, not wrong about absence.
                    self.progress.send_if_modified(|progress| {
                        let first = *progress != Progress::Synced;
                        if first {
                            *progress = Progress::Failing(words);
                        }
                        first
                    });
                }
            }
        }
    }
}

fn namespace_event(index: &Index, event: watcher::Event<Namespace>) {
    match event {
        watcher::Event::Init => index.begin_relist(&Feed::Namespaces),
        watcher::Event::InitDone => index.end_relist(&Feed::Namespaces),
        watcher::Event::Apply(namespace) | watcher::Event::InitApply(namespace) => {
            index.put_namespace(Origin::Watch, namespace.meta(), held_by(&namespace));
        }
        watcher::Event::Delete(namespace) => index.remove_namespace(namespace.meta()),
    }
}

/// Says what holds the deletion of a namespace up, in the namespace controller's own words.
fn held_by(namespace: &Namespace) -> Option<String> {
    namespace.metadata.deletion_timestamp.as_ref()?;
    let conditions = namespace.status.as_ref()?.conditions.as_ref()?;
    let holding = conditions.iter().filter(|condition| condition.status == "True");
    let words: Vec<_> = holding.filter_map(|condition| condition.message.clone()).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn inventory_event(index: &Index, event: watcher::Event<ConfigMap>) {
    match event {
        watcher::Event::Init => index.begin_relist(&Feed::Inventories),
        watcher::Event::InitDone => index.end_relist(&Feed::Inventories),
        watcher::Event::Apply(map) | watcher::Event::InitApply(map) => {
            index.put_inventory(Origin::Watch, map.meta(), read_inventory(&map));
        }
        watcher::Event::Delete(map) => index.remove_inventory(map.meta()),
    }
}

/// Reads an inventory; one that does not parse counts as empty, which costs one idempotent apply.
pub(super) fn read_inventory(map: &ConfigMap) -> Inventory {
    let text = map.data.as_ref().and_then(|data| data.get(INVENTORY_KEY));
    let parsed = text.map(|text| serde_json::from_str(text));
    match parsed {
        Some(Ok(inventory)) => inventory,
        Some(Err(error)) => {
            let namespace = map.metadata.namespace.as_deref().unwrap_or_default();
            tracing::warn!(namespace, %error, "an inventory does not parse and is written anew");
            Inventory::default()
        }
        None => Inventory::default(),
    }
}

fn workload_event(index: &Index, feed: &Feed, event: watcher::Event<DynamicObject>) {
    match event {
        watcher::Event::Init => index.begin_relist(feed),
        watcher::Event::InitDone => index.end_relist(feed),
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
            index.put_object(Origin::Watch, feed, &object.metadata, workload_of(feed, &object));
        }
        watcher::Event::Delete(object) => index.remove_object(feed, &object.metadata),
    }
}

/// Judges a workload by its status. List items come without their kind: the feed knows it.
pub(super) fn workload_of(feed: &Feed, object: &DynamicObject) -> Option<Workload> {
    let Feed::Objects { kind, .. } = feed else { return None };
    let metadata = &object.metadata;
    let mut value = serde_json::json!({
        "kind": kind,
        "metadata": { "generation": metadata.generation, "labels": metadata.labels },
    });
    for part in ["spec", "status"] {
        value[part] = object.data.get(part).cloned().unwrap_or_default();
    }
    workload(&value)
}

fn metadata_event(index: &Index, feed: &Feed, event: watcher::Event<PartialObjectMeta<DynamicObject>>) {
    match event {
        watcher::Event::Init => index.begin_relist(feed),
        watcher::Event::InitDone => index.end_relist(feed),
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
            index.put_object(Origin::Watch, feed, &object.metadata, None);
        }
        watcher::Event::Delete(object) => index.remove_object(feed, &object.metadata),
    }
}
