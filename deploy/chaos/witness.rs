//! An own watch at the API server, not through the proxy: when which namespace, Secret and Job came, changed and went.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::TryStreamExt;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use crate::common::cluster;

/// One change of an object.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub at: Instant,
    pub kind: Kind,
    /// Empty for a namespace.
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// When the server made it, as it writes times.
    pub created: String,
    pub deleting: bool,
    pub gone: bool,
    /// Of a Secret: hashes of its entries.
    pub entries: BTreeMap<String, String>,
    /// Of a Job: whether it has run to its end.
    pub complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Namespace,
    Secret,
    Job,
}

/// The watch; it ends when this is dropped.
pub struct Witness {
    seen: Arc<Mutex<Vec<Sighting>>>,
    _runtime: Runtime,
}

impl Witness {
    /// Watches what carries a source's label.
    pub fn start(kubeconfig: &Path, source: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = cluster::client(&runtime, kubeconfig, true);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for (kind, group, version) in
            [(Kind::Namespace, "", "v1"), (Kind::Secret, "", "v1"), (Kind::Job, "batch", "v1")]
        {
            let resource =
                ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &format!("{kind:?}")));
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let config = watcher::Config::default().labels(&format!("storekeeper.dev/source={source}"));
            let seen = Arc::clone(&seen);
            runtime.spawn(async move {
                let mut events = std::pin::pin!(watcher(api, config).default_backoff());
                loop {
                    let (object, gone) = match events.try_next().await {
                        Ok(Some(Event::Apply(object) | Event::InitApply(object))) => (object, false),
                        Ok(Some(Event::Delete(object))) => (object, true),
                        Ok(Some(_)) | Err(_) => continue,
                        Ok(None) => return,
                    };
                    seen.lock().unwrap().push(sighting(kind, &object, gone));
                }
            });
        }
        Self { seen, _runtime: runtime }
    }

    pub fn seen(&self) -> Vec<Sighting> {
        self.seen.lock().unwrap().clone()
    }
}

fn sighting(kind: Kind, object: &DynamicObject, gone: bool) -> Sighting {
    let metadata = &object.metadata;
    let entries = object.data.get("data").and_then(Value::as_object).into_iter().flatten();
    let entries = entries.filter(|_| kind == Kind::Secret).map(|(key, value)| (key.clone(), hash(value)));
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let complete = |condition: &Value| condition["type"] == "Complete" && condition["status"] == "True";
    Sighting {
        at: Instant::now(),
        kind,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
        deleting: metadata.deletion_timestamp.is_some(),
        gone,
        entries: entries.collect(),
        complete: conditions.is_some_and(|conditions| conditions.iter().any(complete)),
    }
}

/// Enough to tell values apart; what a Secret holds goes into no report.
fn hash(value: &Value) -> String {
    STANDARD.encode(&Sha256::digest(value.to_string())[..9])
}
