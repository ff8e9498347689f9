//! What is lost when a store is deleted: its claims, and what becomes of their volumes. And which images its pods run.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::ListParams;

use super::{Cluster, ClusterError, bounded};

/// How many objects of a kind one look reads at most.
const MOST: u32 = 200;

/// A claim of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// How much was asked for, as Kubernetes writes it.
    pub requested: Option<String>,
    /// How much its volume has; none before there is one.
    pub actual: Option<String>,
    /// The `StorageClass` that its volume is made by.
    pub storage_class: Option<String>,
    /// When it was made, in seconds since 1970.
    pub created: Option<i64>,
}

impl Cluster {
    /// Lists the claims in a namespace, at most 200.
    pub async fn claims(&self, namespace: &str) -> Result<Vec<Claim>, ClusterError> {
        let api = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        let act = format!("list the PersistentVolumeClaims in {namespace}");
        let list = bounded(act, api.list(&ListParams::default().limit(MOST))).await?;
        Ok(list.items.into_iter().map(claim).collect())
    }

    /// Returns the `StorageClasses` whose volumes stay when their claims go.
    pub async fn retaining_classes(&self) -> Result<BTreeSet<String>, ClusterError> {
        let api = Api::<StorageClass>::all(self.client.clone());
        let list = bounded("list the StorageClasses", api.list(&ListParams::default().limit(MOST))).await?;
        let retains = |class: &StorageClass| class.reclaim_policy.as_deref() == Some("Retain");
        Ok(list.items.into_iter().filter(retains).filter_map(|class| class.metadata.name).collect())
    }

    /// Returns which images, by identity, the pods in a namespace run under which name.
    pub async fn running_images(
        &self,
        namespace: &str,
    ) -> Result<BTreeMap<String, BTreeSet<String>>, ClusterError> {
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let act = format!("list the pods in {namespace}");
        let list = bounded(act, api.list(&ListParams::default().limit(MOST))).await?;
        let mut images = BTreeMap::<String, BTreeSet<String>>::new();
        for pod in list.items {
            let (Some(spec), Some(status)) = (pod.spec, pod.status) else { continue };
            for running in status.container_statuses.into_iter().flatten() {
                // What the pod asks for: its status may name the same image otherwise.
                let asked = spec.containers.iter().find(|container| container.name == running.name);
                let Some(image) = asked.and_then(|container| container.image.clone()) else { continue };
                if !running.image_id.is_empty() {
                    images.entry(image).or_default().insert(running.image_id);
                }
            }
        }
        Ok(images)
    }
}

fn claim(claim: PersistentVolumeClaim) -> Claim {
    let spec = claim.spec.unwrap_or_default();
    let size = |sizes: Option<BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
        sizes.and_then(|sizes| sizes.get("storage").map(|size| size.0.clone()))
    };
    Claim {
        name: claim.metadata.name.unwrap_or_default(),
        requested: size(spec.resources.and_then(|resources| resources.requests)),
        actual: size(claim.status.and_then(|status| status.capacity)),
        storage_class: spec.storage_class_name,
        created: claim.metadata.creation_timestamp.map(|time| time.0.as_second()),
    }
}
