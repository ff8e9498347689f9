//! Writing: the namespace, the inventory, and objects by server-side apply.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::index::{Feed, Origin, owned_fields};
use super::watch::{read_inventory, workload_of};
use super::{Cluster, ClusterError, bounded};
use crate::manifest::{Fingerprint, Manifest, Owner};
use crate::names::{FIELD_MANAGER, INVENTORY_KEY, INVENTORY_NAME};
use crate::plan::{Inventory, NamespaceSpec};

impl Cluster {
    /// Makes a store's namespace. It is created, not applied: applying would take over a namespace that
    /// somebody else made between our look and our act.
    pub async fn create_namespace(&self, spec: &NamespaceSpec) -> Result<(), ClusterError> {
        let api = Api::<Namespace>::all(self.client.clone());
        let mut body = Namespace::default();
        body.metadata.name = Some(spec.name.clone());
        body.metadata.labels = Some(spec.labels.clone());
        body.metadata.annotations = Some(spec.annotations.clone());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let act = format!("create namespace {}", spec.name);
        match bounded(act, api.create(&params, &body)).await {
            Ok(made) => {
                self.index.put_namespace(Origin::Answer, &made.metadata, None);
                Ok(())
            }
            Err(error) if error.is_taken() => {
                // Perhaps ours: an answer that was lost, or a cache behind. The next run looks at it.
                let found = bounded(format!("read namespace {}", spec.name), api.get(&spec.name)).await?;
                self.index.put_namespace(Origin::Watch, &found.metadata, None);
                Err(ClusterError::Changed { namespace: spec.name.clone() })
            }
            Err(error) => Err(error),
        }
    }

    /// Puts the labels and annotations of our namespace right.
    pub async fn apply_namespace(&self, spec: &NamespaceSpec) -> Result<(), ClusterError> {
        let api = Api::<Namespace>::all(self.client.clone());
        // With its identity, or a namespace made anew by somebody else meanwhile would be taken over.
        let metadata = json!({
            "name": spec.name, "uid": spec.uid, "labels": spec.labels, "annotations": spec.annotations,
        });
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        let act = format!("apply namespace {}", spec.name);
        let made = bounded(act, api.patch(&spec.name, &params(), &Patch::Apply(&body))).await?;
        self.index.put_namespace(Origin::Answer, &made.metadata, None);
        Ok(())
    }

    /// Applies one object and returns the fingerprint of the fields that are ours from now on.
    pub async fn apply(
        &self,
        manifest: &Manifest,
        namespace: &str,
    ) -> Result<Option<Fingerprint>, ClusterError> {
        let api = self.api(&manifest.resource, namespace);
        let act = format!("apply {}", manifest.key);
        let (params, patch) = (params(), Patch::Apply(&manifest.body));
        let answer = bounded(act, api.patch(&manifest.key.name, &params, &patch)).await;
        let is_secret = manifest.key.kind == "Secret";
        let made = answer.map_err(|error| if is_secret { error.without_content() } else { error })?;
        let feed = Feed::Objects { group: manifest.key.group.clone(), kind: manifest.key.kind.clone() };
        self.index.put_object(Origin::Answer, &feed, &made.metadata, workload_of(&feed, &made));
        Ok(owned_fields(&made.metadata))
    }

    /// Writes a store's inventory.
    pub async fn record(&self, owner: Owner<'_>, inventory: &Inventory) -> Result<(), ClusterError> {
        let namespace = owner.store.namespace();
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &namespace);
        let text = serde_json::to_string(inventory).unwrap_or_default();
        let labels: serde_json::Map<_, _> =
            owner.labels().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        let body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": INVENTORY_NAME, "namespace": namespace, "labels": labels },
            "data": { INVENTORY_KEY: text },
        });
        let act = format!("record the inventory of {namespace}");
        let made = bounded(act, api.patch(INVENTORY_NAME, &params(), &Patch::Apply(&body))).await?;
        self.index.put_inventory(Origin::Answer, &made.metadata, read_inventory(&made));
        Ok(())
    }
}

/// Force: git is the only way in, so whoever else set a field of ours loses it. Strict: a misspelt field is an
/// error, as with `kubectl apply`.
fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force().validation_strict()
}
