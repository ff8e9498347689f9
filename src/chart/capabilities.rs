//! What templates see of the cluster.

use std::sync::Arc;

use super::error::RenderError;
use super::objects::Object;
use super::value::Value;

/// What templates see as `.Capabilities`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The version of Kubernetes, such as `v1.37.0`.
    pub kube_version: String,
    /// The API versions the cluster serves, such as `apps/v1`, and kinds, such as `apps/v1/Deployment`.
    pub api_versions: Arc<[String]>,
}

impl Capabilities {
    /// Describes a cluster by its version and what its discovery lists.
    pub fn new(kube_version: &str, api_versions: impl IntoIterator<Item = String>) -> Self {
        Self { kube_version: kube_version.to_owned(), api_versions: api_versions.into_iter().collect() }
    }
}

impl Default for Capabilities {
    /// What `helm template` of Helm 4.3.1 claims without a cluster.
    fn default() -> Self {
        Self {
            kube_version: "v1.37.0".to_owned(),
            api_versions: DEFAULT_API_VERSIONS.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Capabilities {
    /// Describes a cluster that nobody asks, as `helm template` does with `--kube-version` and `--api-versions`: the
    /// default version unless another is given, and the API versions besides the default ones.
    pub fn without_cluster(
        kube_version: Option<&str>,
        api_versions: impl IntoIterator<Item = String>,
    ) -> Result<Self, RenderError> {
        let mut capabilities = Self::default();
        if let Some(version) = kube_version {
            let plain = plain_version(version);
            let mut parts = plain.trim_start_matches('v').split('.');
            let is_number = |part: &str| part.parse::<u64>().is_ok();
            let major = parts.next().unwrap_or_default();
            if !is_number(major)
                || (major.starts_with('0') && major != "0")
                || parts.next().is_none_or(|minor| !is_number(minor))
            {
                return Err(RenderError::NotAVersion { version: version.to_owned() });
            }
            version.trim().clone_into(&mut capabilities.kube_version);
        }
        let known = capabilities.api_versions.iter().cloned();
        capabilities.api_versions = known.chain(api_versions).collect();
        Ok(capabilities)
    }

    /// The version without suffixes: `v1.33.4-gke.1` is compared as `v1.33.4`.
    pub(crate) fn plain_version(&self) -> String {
        plain_version(&self.kube_version)
    }

    /// Returns `.Capabilities`.
    pub(crate) fn for_templates(&self) -> Value {
        let version = format!("v{}", self.kube_version.trim_start_matches('v'));
        let normalized = self.plain_version();
        let mut parts = normalized.trim_start_matches('v').split('.').map(ToOwned::to_owned);
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        Value::object(Object::Capabilities {
            kube_version: Value::object(Object::KubeVersion { version, normalized, major, minor }),
            api_versions: Value::object(Object::ApiVersions(Arc::clone(&self.api_versions))),
        })
    }
}

/// The numbers that a version begins with, behind a `v`.
fn plain_version(version: &str) -> String {
    let version = version.trim().trim_start_matches('v');
    let end = version
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(version.len());
    format!("v{}", version[..end].trim_end_matches('.'))
}

const DEFAULT_API_VERSIONS: [&str; 57] = [
    "v1",
    "admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1alpha1",
    "admissionregistration.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "apps/v1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1",
    "authentication.k8s.io/v1alpha1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "batch/v1beta1",
    "certificates.k8s.io/v1",
    "certificates.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "coordination.k8s.io/v1alpha2",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "lifecycle.k8s.io/v1alpha1",
    "networking.k8s.io/v1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "resource.k8s.io/v1",
    "resource.k8s.io/v1beta2",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1beta1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "storage.k8s.io/v1alpha1",
    "storagemigration.k8s.io/v1",
    "storagemigration.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_nobody_asks_serves_what_is_named_beside_the_default() {
        let named = Capabilities::without_cluster(Some("1.30"), ["example.com/v1".to_owned()]).unwrap();
        assert_eq!((named.kube_version.as_str(), named.plain_version().as_str()), ("1.30", "v1.30"));
        assert_eq!(named.api_versions.len(), DEFAULT_API_VERSIONS.len() + 1);
        assert_eq!(named.api_versions.last().map(String::as_str), Some("example.com/v1"));
        assert_eq!(Capabilities::without_cluster(None, []).unwrap(), Capabilities::default());
        let suffixed = Capabilities::without_cluster(Some("v1.33.4-gke.1"), []).unwrap();
        assert_eq!(suffixed.plain_version(), "v1.33.4");
        for version in ["", "1", "x.1", "01.2"] {
            let error = Capabilities::without_cluster(Some(version), []).unwrap_err();
            assert_eq!(error.to_string(), format!("read the version `{version}`: use one such as 1.34.0"));
        }
    }
}
