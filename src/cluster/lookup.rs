//! Reading single objects of a store's own namespace, for charts that look them up.

use serde_json::Value;

use super::{Cluster, ClusterError, bounded};

impl Cluster {
    /// Returns an object of this namespace as JSON, or none if it does not exist or its kind is not served.
    /// With an empty name, the list of all objects of that kind.
    pub async fn look_up(
        &self,
        api_version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ClusterError> {
        let Some(resource) = self.resolve(api_version, kind).filter(|resource| resource.namespaced) else {
            return Ok(None);
        };
        let api = self.api(&resource, namespace);
        let act = format!("look up {kind}/{name} in {namespace}");
        if name.is_empty() {
            let list = bounded(act, api.list(&kube::api::ListParams::default())).await?;
            return Ok(serde_json::to_value(list).ok());
        }
        match bounded(act, api.get(name)).await {
            Err(error) if error.is_not_found() => Ok(None),
            object => Ok(serde_json::to_value(object?).ok()),
        }
    }
}
