//! The way into a store's namespace, for a daemon that may do little outside: a `RoleBinding` that it makes there for
//! itself. It is no object of the store: it is made before anything is read or written there, and goes with the namespace.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::api::{Patch, PostParams};
use kube::core::Request;
use kube::{Api, Resource as _};
use serde_json::{Value, json};

use super::apply::params;
use super::index::{Feed, Grant, Origin};
use super::{Cluster, ClusterError, bounded};
use crate::manifest::Owner;
use crate::names::StoreId;

/// How long a right may take from the binding until the API server goes by it: it learns of bindings by a watch of its own.
const EFFECT: Duration = Duration::from_secs(10);

/// The wait between two questions whether it does.
const QUESTION: Duration = Duration::from_millis(20);

/// Whom a store's namespace is opened to, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAccess {
    /// The `ClusterRole` that holds what a run may do in a store's namespace. The binding has its name.
    pub role: String,
    /// The daemon's own account.
    pub account: ServiceAccountName,
}

/// A service account by its namespace and name, written `namespace:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountName {
    namespace: String,
    name: String,
}

/// A text names no service account; fits "failed to parse: {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no service account: write namespace:name")]
pub struct NoServiceAccount(String);

impl FromStr for ServiceAccountName {
    type Err = NoServiceAccount;

    fn from_str(text: &str) -> Result<Self, NoServiceAccount> {
        match text.split_once(':') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains(':') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(NoServiceAccount(text.to_owned())),
        }
    }
}

impl fmt::Display for ServiceAccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

impl StoreAccess {
    fn grant(&self) -> Grant {
        let ServiceAccountName { namespace, name } = &self.account;
        let subjects = json!([{ "kind": "ServiceAccount", "name": name, "namespace": namespace }]);
        Grant { role: self.role.clone(), subjects }
    }
}

impl Cluster {
    /// Sees to it that a run may do its work in a store's namespace, if that is there, this source's and stays. Sends
    /// nothing when the binding is as it should be, or none is needed.
    pub async fn gain_access(&self, owner: Owner<'_>) -> Result<(), ClusterError> {
        let Some(access) = &self.access else { return Ok(()) };
        let grant = access.grant();
        if !self.takes_announcements(owner.store) || self.index.access(owner.store).as_ref() == Some(&grant) {
            return Ok(());
        }
        let namespace = owner.store.namespace();
        let request = Request::new(RoleBinding::url_path(&(), Some(&namespace)));
        let body = binding(owner, &grant);
        let request = request.patch(&grant.role, &params(), &Patch::Apply(&body));
        let made = self.answer(format!("apply RoleBinding/{} in {namespace}", grant.role), request).await?;
        self.await_effect(&namespace).await?;
        // As if a watch had told it: one that was seen and forgotten with an earlier namespace may be told no more.
        self.index.put(Origin::Watch, &Feed::Access, &made);
        self.look_at_unwatched(owner.store).await
    }

    /// A request was forbidden: what is known of the way in is not believed any longer.
    pub fn doubt_access(&self, store: &StoreId) {
        if self.access.is_some() {
            self.index.forget_access(store);
        }
    }

    /// Waits until the API server goes by a binding that was just made.
    async fn await_effect(&self, namespace: &str) -> Result<(), ClusterError> {
        let api = Api::<SelfSubjectAccessReview>::all(self.client.clone());
        let mut review = SelfSubjectAccessReview::default();
        review.spec.resource_attributes = Some(ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            verb: Some("list".to_owned()),
            resource: Some("secrets".to_owned()),
            ..ResourceAttributes::default()
        });
        let begun = Instant::now();
        loop {
            let act = format!("ask what is allowed in {namespace}");
            let answer = bounded(act.clone(), api.create(&PostParams::default(), &review)).await?;
            let status = answer.status.unwrap_or_default();
            if status.allowed {
                return Ok(());
            }
            if begun.elapsed() >= EFFECT {
                let why = status.reason.filter(|why| !why.is_empty()).map(|why| format!(" ({why})"));
                let why = why.unwrap_or_default();
                let detail = format!(
                    "its RoleBinding is there and allows nothing{why}; is there a ClusterRole of that name?"
                );
                return Err(ClusterError::Unreachable { act, detail });
            }
            tokio::time::sleep(QUESTION).await;
        }
    }
}

fn binding(owner: Owner<'_>, grant: &Grant) -> Value {
    let labels: serde_json::Map<_, _> =
        owner.labels().into_iter().map(|(label, value)| (label.to_owned(), value.into())).collect();
    json!({
        "apiVersion": RoleBinding::api_version(&()),
        "kind": RoleBinding::kind(&()),
        "metadata": { "name": grant.role, "namespace": owner.store.namespace(), "labels": labels },
        "roleRef": { "apiGroup": ClusterRole::group(&()), "kind": ClusterRole::kind(&()), "name": grant.role },
        "subjects": grant.subjects,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_named_by_namespace_and_name() {
        let account: ServiceAccountName = "ops:storekeeper".parse().unwrap();
        assert_eq!(account.to_string(), "ops:storekeeper");
        for text in ["", "ops", "ops:", ":storekeeper", "system:serviceaccount:ops:storekeeper"] {
            assert!(text.parse::<ServiceAccountName>().is_err(), "{text}");
        }
    }
}
