//! Which kinds the API server serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kube::Client;
use kube::discovery::{Discovery, Scope};

use super::{ClusterError, bounded};
use crate::manifest::{Fingerprint, Resource};

/// The kinds served, by API version and kind.
#[derive(Debug)]
pub(super) struct ResourceTable {
    server_version: String,
    resources: BTreeMap<(String, String), Resource>,
    /// Every `group/version` and `group/version/Kind`, sorted; shared with everyone who renders.
    served: Arc<[String]>,
    fingerprint: Fingerprint,
}

impl ResourceTable {
    /// Asks the API server: three requests (version, aggregated discovery of core and of all groups).
    pub(super) async fn discover(client: &Client) -> Result<Self, ClusterError> {
        let version = bounded("ask the cluster's version", client.apiserver_version()).await?;
        let discovery = Discovery::new(client.clone()).run_aggregated();
        let discovery = bounded("ask which kinds the cluster serves", discovery).await?;
        let mut resources = BTreeMap::new();
        for group in discovery.groups() {
            for served in group.versions() {
                for (kind, capabilities) in group.versioned_resources(served) {
                    let resource = Resource {
                        group: kind.group,
                        version: kind.version,
                        kind: kind.kind.clone(),
                        plural: kind.plural,
                        namespaced: capabilities.scope == Scope::Namespaced,
                    };
                    resources.insert((resource.api_version(), kind.kind), resource);
                }
            }
        }
        let names: Vec<_> = resources.keys().map(|(version, kind)| format!("{version}/{kind}")).collect();
        let described = format!("{}\n{}", version.git_version, names.join("\n"));
        let fingerprint = Fingerprint::of_bytes(described.as_bytes());
        let served = served(&resources);
        Ok(Self { server_version: version.git_version, resources, served, fingerprint })
    }

    pub(super) fn get(&self, api_version: &str, kind: &str) -> Option<Resource> {
        self.resources.get(&(api_version.to_owned(), kind.to_owned())).cloned()
    }

    pub(super) fn any_version(&self, group: &str, kind: &str) -> Option<Resource> {
        let mut all = self.resources.values();
        all.find(|resource| resource.group == group && resource.kind == kind).cloned()
    }

    pub(super) fn by_plural(&self, group: &str, plural: &str) -> Option<Resource> {
        let mut all = self.resources.values();
        all.find(|resource| resource.group == group && resource.plural == plural).cloned()
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn served(&self) -> (String, Arc<[String]>) {
        (self.server_version.clone(), Arc::clone(&self.served))
    }
}

fn served(resources: &BTreeMap<(String, String), Resource>) -> Arc<[String]> {
    let names = resources
        .keys()
        .flat_map(|(api_version, kind)| [api_version.clone(), format!("{api_version}/{kind}")]);
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) fn read(table: &RwLock<ResourceTable>) -> RwLockReadGuard<'_, ResourceTable> {
    table.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(table: &RwLock<ResourceTable>) -> RwLockWriteGuard<'_, ResourceTable> {
    table.write().unwrap_or_else(PoisonError::into_inner)
}
