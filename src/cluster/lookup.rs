//! Reading single objects of a store's own namespace: for charts that look them up, and the key for asking a shop.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
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

    /// Returns an entry of a Secret as text; none when there is no such Secret or entry.
    pub async fn secret_entry(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<String>, ClusterError> {
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        let secret = bounded(format!("read Secret/{name} in {namespace}"), api.get_opt(name)).await?;
        let entry = secret.and_then(|secret| secret.data?.remove(key));
        Ok(entry.and_then(|bytes| String::from_utf8(bytes.0).ok()))
    }
}
