//! A small text that all replicas share, in a ConfigMap of the daemon's own namespace: each sees what another one wrote, and
//! none writes over what it has not seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource as _};
use serde_json::json;
use tokio::task::JoinHandle;

use super::follow::{Depth, News, SILENCE, Source, Tries};
use super::watch::selecting_labels;
use super::{Cluster, ClusterError, bounded};
use crate::names::{FIELD_MANAGER, RECORD_KEY};

/// A text as it was seen. It can be replaced by who has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenText {
    /// The text; empty when nobody has written one.
    pub text: String,
    version: Option<String>,
}

/// The text, followed for as long as anybody holds it. Cloned handles share what is known.
#[derive(Clone)]
pub struct SharedRecord(Arc<Inner>);

struct Inner {
    api: Api<ConfigMap>,
    name: String,
    labels: [(&'static str, String); 2],
    known: Arc<Mutex<Option<SeenText>>>,
    following: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Cluster {
    /// Follows the text in this ConfigMap, which need not be there yet.
    pub fn share_record(&self, namespace: &str, name: &str) -> SharedRecord {
        let source = Source {
            client: self.prompt.clone(),
            path: ConfigMap::url_path(&(), Some(namespace)),
            depth: Depth::Full,
            labels: None,
            fields: Some(format!("metadata.name={name}")),
            silence: SILENCE,
        };
        let known = Arc::default();
        let following = tokio::spawn(follow(source, Arc::clone(&known)));
        let [(managed, ours), (label, source)] = selecting_labels(&self.source);
        SharedRecord(Arc::new(Inner {
            api: Api::namespaced(self.prompt.clone(), namespace),
            name: name.to_owned(),
            labels: [(managed, ours.to_owned()), (label, source.to_owned())],
            known,
            following,
        }))
    }
}

async fn follow(source: Source, known: Arc<Mutex<Option<SeenText>>>) {
    let mut tries = Tries::new();
    loop {
        let mut listed = false;
        let take_in = |news: News<ConfigMap>| match news {
            News::Listing => listed = false,
            News::There(found) => {
                listed = true;
                *lock(&known) = Some(seen(&found));
            }
            News::Complete(_) if !listed => *lock(&known) = Some(SeenText::nothing()),
            News::Gone(_) => *lock(&known) = Some(SeenText::nothing()),
            News::Complete(_) => {}
            News::Broken(words) => tracing::warn!("failed to watch a record that replicas share: {words}"),
            News::Unstreamed(words) => {
                tracing::debug!("a record that replicas share is not streamed: {words}");
            }
        };
        source.follow(&mut tries, take_in).await;
    }
}

impl SeenText {
    fn nothing() -> Self {
        Self { text: String::new(), version: None }
    }
}

impl SharedRecord {
    /// Returns what is written there, as far as was heard; none before anything was.
    pub fn read(&self) -> Option<SeenText> {
        lock(&self.0.known).clone()
    }

    /// Replaces what was seen. It fails when somebody else wrote meanwhile; what he wrote is known then.
    pub async fn replace(&self, before: &SeenText, text: &str) -> Result<(), ClusterError> {
        let Inner { api, name, labels, known, following: _ } = &*self.0;
        let act = format!("write ConfigMap/{name}");
        let data = json!({ RECORD_KEY: text });
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(label, value)| ((*label).to_owned(), value.as_str().into())).collect();
        let manager = Some(FIELD_MANAGER.to_owned());
        let written = if let Some(version) = &before.version {
            let patch = Patch::Merge(json!({ "metadata": { "resourceVersion": version }, "data": data }));
            let params = PatchParams { field_manager: manager, ..PatchParams::default() };
            bounded(act, api.patch(name, &params, &patch)).await
        } else {
            let made = json!({ "metadata": { "name": name, "labels": labels }, "data": data });
            let made: ConfigMap = serde_json::from_value(made).unwrap_or_default();
            let params = PostParams { field_manager: manager, ..PostParams::default() };
            bounded(act, api.create(&params, &made)).await
        };
        match written {
            Ok(written) => {
                *lock(known) = Some(seen(&written));
                Ok(())
            }
            Err(error) => {
                if error.is_conflict() || error.is_taken() || error.is_not_found() {
                    let found = bounded(format!("read ConfigMap/{name}"), api.get_opt(name)).await?;
                    *lock(known) = Some(found.as_ref().map_or_else(SeenText::nothing, seen));
                }
                Err(error)
            }
        }
    }
}

fn seen(found: &ConfigMap) -> SeenText {
    let text = found.data.as_ref().and_then(|data| data.get(RECORD_KEY)).cloned().unwrap_or_default();
    SeenText { text, version: found.metadata.resource_version.clone() }
}

fn lock<T>(known: &Mutex<T>) -> MutexGuard<'_, T> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
