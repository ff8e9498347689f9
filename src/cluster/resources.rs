//! Which kinds the API server serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use kube::Client;
use kube::discovery::{Discovery, Scope};

use super::{ClusterError, bounded};
use crate::manifest::{Fingerprint, Resource};

/// How old an answer has to be before the server is asked anew: a thousand stores that miss one kind ask once.
const OLD: Duration = Duration::from_secs(10);

/// What the API server serves, as it said last.
pub(super) struct Kinds {
    client: Client,
    table: RwLock<ResourceTable>,
    /// When that was; locked while it is asked.
    asked: tokio::sync::Mutex<Instant>,
}

impl Kinds {
    pub(super) async fn discover(client: Client) -> Result<Self, ClusterError> {
        let table = ResourceTable::discover(&client).await?;
        Ok(Self { client, table: RwLock::new(table), asked: tokio::sync::Mutex::new(Instant::now()) })
    }

    /// Asks anew, unless that was done a moment ago.
    pub(super) async fn rediscover(&self) -> Result<(), ClusterError> {
        let mut asked = self.asked.lock().await;
        if asked.elapsed() >= OLD {
            let table = ResourceTable::discover(&self.client).await?;
            *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
            *asked = Instant::now();
        }
        Ok(())
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, ResourceTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    async fn discover(client: &Client) -> Result<Self, ClusterError> {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;

    /// A client of a server that serves nothing, and how many requests it had.
    fn server() -> (Client, Arc<AtomicUsize>) {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let answer = move |request: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let version = json!({ "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "",
                "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" });
            let nothing = json!({ "kind": "APIGroupDiscoveryList", "metadata": {}, "items": [],
                "apiVersion": "apidiscovery.k8s.io/v2" });
            let body = if request.uri().path() == "/version" { version } else { nothing };
            async move { Ok::<_, std::io::Error>(Response::new(Body::from(body.to_string().into_bytes()))) }
        };
        (Client::new(service_fn(answer), "default"), requests)
    }

    #[tokio::test]
    async fn many_who_miss_a_kind_ask_once() {
        let (client, requests) = server();
        let kinds = Kinds::discover(client).await.unwrap();
        let first = requests.load(Ordering::Relaxed);
        kinds.rediscover().await.unwrap();
        assert_eq!(requests.load(Ordering::Relaxed), first, "it was asked a moment ago");
        *kinds.asked.lock().await -= OLD;
        join_all((0..20).map(|_| kinds.rediscover())).await;
        assert_eq!(requests.load(Ordering::Relaxed), 2 * first);
    }
}
