//! Trying out: what the API server would make of an object, with everything that has a say in it, and nothing changed.

use kube::api::{Patch, PatchParams};
use kube::core::{DynamicObject, Request};
use serde_json::Value;

use super::mask::Mask;
use super::{Cluster, ClusterError, bounded_and_masked, collection};
use crate::manifest::Manifest;
use crate::names::FIELD_MANAGER;

impl Cluster {
    /// Returns an object as it would be after [`Cluster::apply`], from a dry run. A Secret comes with what it holds.
    pub async fn try_apply(&self, manifest: &Manifest, namespace: &str) -> Result<Value, ClusterError> {
        let act = format!("apply {}", manifest.key);
        let params = PatchParams { dry_run: true, ..PatchParams::apply(FIELD_MANAGER).force() };
        let request = Request::new(collection(&manifest.resource, Some(namespace)));
        let request =
            request.patch(&manifest.key.name, &params.validation_strict(), &Patch::Apply(&*manifest.body));
        let request = request
            .map_err(|error| ClusterError::Unreachable { act: act.clone(), detail: error.to_string() })?;
        let answer = self.client.request::<DynamicObject>(request);
        let answer = bounded_and_masked(act, || Mask::of(&manifest.body), answer).await;
        let is_secret = manifest.key.kind == "Secret";
        let object = answer.map_err(|error| if is_secret { error.without_content() } else { error })?;
        Ok(serde_json::to_value(object).unwrap_or_default())
    }
}
