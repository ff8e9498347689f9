//! Deleting: objects that are no longer rendered, and the namespaces of stores whose files are gone.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::index::observed_namespace;
use super::rounds::is_unwatched;
use super::{Cluster, ClusterError, bounded};
use crate::manifest::{ObjectKey, Owner, Uid};
use crate::names::StoreId;
use crate::plan::Ownership;

impl Cluster {
    /// Deletes one object of a store, if it is still the one that was observed. With a resource version it must not have
    /// changed since either: then it stays, its event starts the next run, and false is returned.
    pub async fn prune(
        &self,
        key: &ObjectKey,
        namespace: &str,
        uid: &Uid,
        version: Option<u64>,
    ) -> Result<bool, ClusterError> {
        // A kind that is no longer served has taken its objects with it.
        let Some(resource) = self.resolve_any_version(&key.group, &key.kind) else { return Ok(true) };
        // A Job is there until its pods have ended: as long as it is seen, it may be at work.
        let params = if key.kind == "Job" { DeleteParams::foreground() } else { DeleteParams::background() };
        let resource_version = version.map(|version| version.to_string());
        let params = params.preconditions(Preconditions { resource_version, ..only(&uid.to_string()) });
        let act = format!("delete {key}");
        match bounded(act, self.api(&resource, namespace).delete(&key.name, &params)).await {
            Err(error) if version.is_some() && error.is_conflict() => return Ok(false),
            answer => gone(answer)?,
        }
        if is_unwatched(&key.group, &key.kind)
            && let Some(store) = StoreId::of_namespace(namespace)
        {
            self.look_at_unwatched(&store).await?;
        }
        Ok(true)
    }

    /// Deletes the namespace of a store with this identity. The watch found it; here a fresh copy has to confirm that
    /// it still is that one and still this store's, and the server checks that exactly that copy is
    /// deleted.
    /// When `called_off` resolves, a request that waits for its turn is not sent; returns whether it was answered.
    pub async fn delete_namespace(
        &self,
        owner: Owner<'_>,
        uid: &str,
        called_off: impl Future<Output = ()>,
    ) -> Result<bool, ClusterError> {
        let name = owner.store.namespace();
        let api = Api::<Namespace>::all(self.client.clone());
        let fresh = match self.read_namespace(&name).await {
            Err(error) if error.is_not_found() => {
                self.index.forget_namespace(owner.store);
                return Ok(true);
            }
            fresh => fresh?,
        };
        let found = observed_namespace(&fresh);
        if found.uid != uid || found.ownership(owner) != Ownership::Ours {
            return Err(ClusterError::Changed { namespace: name });
        }
        let resource_version = Some(fresh.metadata.resource_version).filter(|version| !version.is_empty());
        let preconditions = Preconditions { resource_version, ..only(uid) };
        let params = DeleteParams::background().preconditions(preconditions);
        let delete = bounded(format!("delete namespace {name}"), api.delete(&name, &params));
        let answer = tokio::select! {
            biased;
            () = called_off => return Ok(false),
            answer = delete => answer,
        };
        gone(answer)?;
        Ok(true)
    }
}

fn only(uid: &str) -> Preconditions {
    Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() }
}

/// Treats "not found" as done.
fn gone<T>(answer: Result<T, ClusterError>) -> Result<(), ClusterError> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
