//! The edge to Kubernetes: everything that is read from or written to the API server.
//!
//! - `index`: what the watches say, in memory; synchronous, without a client
//! - `watch`: the watches that feed it, `follow`: one of them at the wire, `seen`: what is read of an object
//! - `changes`: the stores that something was seen of
//! - `access`: the way into a store's namespace, where rights are small; `rounds`: Secrets there, which are not watched
//! - `resources`: which kinds the API server serves
//! - `lease`: which replica may write for which stores; `record`: a text that replicas share
//! - `apply`, `delete`, `lookup`: one verb each
//! - `pace`: when requests are sent, and how many at once
//! - `final_backup`: the Job before a store is deleted; `remains`: what holds a namespace that is being deleted
//! - `lease`: which replica may write for which stores
//! - `announce`: Kubernetes Events of ours, for who uses kubectl
//! - `symptoms`: why a store does not come up
//! - `try_out`: what an apply would do; `volumes`: what a removal loses
//! - `error`: why the API server did not do what was asked; `mask`: what its sentences must not show

mod access;
mod announce;
mod apply;
mod changes;
mod delete;
mod error;
mod final_backup;
mod follow;
mod index;
mod lease;
mod lookup;
mod mask;
mod pace;
mod record;
mod remains;
mod resources;
mod rounds;
mod seen;
mod symptoms;
mod try_out;
mod volumes;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Config, Resource as _};

use crate::manifest::{Fingerprint, Owner, Resource};
use crate::metrics::Metrics;
use crate::names::{ANNOTATION_HOST, Host, SourceId, StoreId};
use crate::plan::{ObservedNamespace, ObservedStore, Ownership};

pub use access::{NoServiceAccount, ServiceAccountName, StoreAccess};
pub use announce::Announcement;
pub use changes::Changes;
pub use error::{ClusterError, RefusalCause};
use index::Index;
pub use lease::{
    Clock, Enrolled, Fence, Holdings, Leadership, LeaseSettings, Member, Pass, Roster, Shard, Spread, Voice,
    Word,
};
pub use mask::Mask;
pub use pace::{Pace, PaceReport};
pub use record::{SeenText, SharedRecord};
pub use remains::Remains;
use resources::Kinds;
pub use volumes::Claim;
use watch::Watches;

/// How long one request may take before it counts as failed, the waits that the API server asks for included. (No
/// answer at all counts as failed sooner: see `pace`.)
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// Where objects are tried out unless somebody names another namespace: this one is always there.
pub const DEFAULT_TRY_OUT_NAMESPACE: &str = "default";

/// The path of all namespaces.
const NAMESPACES: &str = "/api/v1/namespaces";

/// Which cluster, as whom, and for which source.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// A kubeconfig file; without one, `KUBECONFIG`, the default file or the pod's service account.
    pub kubeconfig: Option<std::path::PathBuf>,
    /// The context of the kubeconfig; without one its current context.
    pub context: Option<String>,
    /// The source whose stores are watched and written.
    pub source: SourceId,
    /// How many requests may be under way at once, open watches aside.
    pub requests_at_once: usize,
    /// How stores' namespaces are opened to us, where our rights outside them are small; none: they need no opening.
    pub access: Option<StoreAccess>,
    /// The namespace in which objects of stores are tried out that have none yet.
    pub try_out_namespace: String,
    /// Counts requests and watches.
    pub metrics: Metrics,
}

impl ClusterSettings {
    /// Names a source, on the cluster that the surroundings name, with rights enough.
    pub fn new(source: SourceId) -> Self {
        Self {
            kubeconfig: None,
            context: None,
            source,
            requests_at_once: 64,
            access: None,
            try_out_namespace: DEFAULT_TRY_OUT_NAMESPACE.to_owned(),
            metrics: Metrics::new(),
        }
    }
}

/// A handle on the cluster. Cloned handles share caches and connections.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// Asks at once, whatever the API server has asked us to wait for: a Lease that is renewed late is lost.
    prompt: Client,
    pace: Pace,
    source: SourceId,
    kinds: Arc<Kinds>,
    index: Arc<Index>,
    watches: Arc<Mutex<Watches>>,
    access: Option<StoreAccess>,
    try_out_namespace: Arc<str>,
    metrics: Metrics,
}

impl Cluster {
    /// Connects and asks once which kinds are served. Ids of stores whose observation changes go to `changes`.
    pub async fn connect(settings: ClusterSettings, changes: Changes) -> Result<Self, ClusterError> {
        let config = client_config(settings.kubeconfig.as_deref(), settings.context).await?;
        let pace = Pace::new(settings.requests_at_once, settings.metrics.clone());
        let (client, prompt) = clients(prepared(config), &pace)?;
        let kinds = Arc::new(Kinds::discover(client.clone()).await?);
        Ok(Self {
            client,
            prompt,
            pace,
            source: settings.source,
            kinds,
            index: Arc::new(Index::new(changes)),
            watches: Arc::default(),
            access: settings.access,
            try_out_namespace: settings.try_out_namespace.into(),
            metrics: settings.metrics,
        })
    }

    /// Returns the namespace in which objects of stores are tried out that have none yet.
    pub fn try_out_namespace(&self) -> &str {
        &self.try_out_namespace
    }

    /// Has every write into a store's namespace ask this fence, right before it is sent. Once.
    pub fn guard(&self, fence: Fence) {
        self.pace.guard(fence);
    }

    /// Tells which stores this replica may write for.
    pub fn fence(&self) -> Fence {
        self.pace.fence()
    }

    /// Returns how the API server is asked.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Returns what the caches hold of one store.
    pub fn observe(&self, store: &StoreId) -> ObservedStore {
        self.index.observe(store)
    }

    /// Returns the namespace with this store's name, whoever made it.
    pub fn namespace(&self, store: &StoreId) -> Option<ObservedNamespace> {
        self.index.namespace(store)
    }

    /// Whether there is a namespace with this store's name, whoever made it.
    pub fn has_namespace(&self, store: &StoreId) -> bool {
        self.index.has_namespace(store)
    }

    /// Returns the namespaces that stores with files may have, by store: found by name, confirmed by identity.
    pub fn our_namespaces(&self) -> BTreeMap<StoreId, ObservedNamespace> {
        self.index.namespaces_as(|store, namespace| {
            let ours = namespace.ownership(Owner { store, source: &self.source }).may_be_had();
            ours.then(|| (store.clone(), namespace.clone()))
        })
    }

    /// Returns the namespaces that are this source's and whose stores are such, by store.
    pub fn our_namespaces_where(
        &self,
        such: impl Fn(&StoreId) -> bool,
    ) -> BTreeMap<StoreId, ObservedNamespace> {
        self.index.namespaces_as(|store, namespace| {
            let ours = || namespace.ownership(Owner { store, source: &self.source }) == Ownership::Ours;
            (such(store) && ours()).then(|| (store.clone(), namespace.clone()))
        })
    }

    /// Returns the namespaces of this source whose stores have no file, by store, and how many namespaces it has.
    pub fn without_file(
        &self,
        has_file: &dyn Fn(&StoreId) -> bool,
    ) -> (BTreeMap<StoreId, ObservedNamespace>, usize) {
        let ours = self.index.stores_where(|store, namespace| {
            namespace.ownership(Owner { store, source: &self.source }) == Ownership::Ours
        });
        let fleet = ours.len();
        let absent = ours.into_iter().filter(|store| !has_file(store));
        let found = absent.filter_map(|store| Some((store.clone(), self.index.namespace(&store)?)));
        (found.collect(), fleet)
    }

    /// Whether a store has a namespace that is this source's.
    pub fn is_ours(&self, store: &StoreId) -> bool {
        let owner = Owner { store, source: &self.source };
        self.index.namespace(store).is_some_and(|namespace| namespace.ownership(owner) == Ownership::Ours)
    }

    /// Whether a store with a file has a namespace already, be it one that does not say yet which cluster it is on.
    pub fn has_its_namespace(&self, store: &StoreId) -> bool {
        let owner = Owner { store, source: &self.source };
        self.index.namespace(store).is_some_and(|namespace| namespace.ownership(owner).may_be_had())
    }

    /// Tells of namespaces of this source that no run can be trusted with, for fear of the wrong API server: by the cluster
    /// that they name, or none. `has_file` tells which stores have a file.
    pub fn strays(&self, has_file: &dyn Fn(&StoreId) -> bool) -> BTreeMap<Option<String>, Vec<StoreId>> {
        let found: Vec<_> = self.index.namespaces_as(|store, namespace| {
            match namespace.ownership(Owner { store, source: &self.source }) {
                Ownership::OtherCluster(cluster) => Some((Some(cluster), store.clone())),
                Ownership::NoCluster if !has_file(store) => Some((None, store.clone())),
                _ => None,
            }
        });
        let mut strays = BTreeMap::<_, Vec<_>>::new();
        for (cluster, store) in found {
            strays.entry(cluster).or_default().push(store);
        }
        strays
    }

    /// Returns this source's stores whose namespaces hold a host.
    pub fn holders(&self, host: &Host) -> Vec<StoreId> {
        self.index.stores_where(|store, namespace| {
            namespace.annotations.get(ANNOTATION_HOST).map(String::as_str) == Some(host.as_str())
                && namespace.ownership(Owner { store, source: &self.source }).may_be_had()
        })
    }

    /// Tells which of this source's stores holds which host now.
    pub fn incumbents(&self) -> BTreeMap<Host, StoreId> {
        self.index.namespaces_as(|store, namespace| {
            let ours = namespace.ownership(Owner { store, source: &self.source }).may_be_had();
            let host = namespace.annotations.get(ANNOTATION_HOST).filter(|_| ours)?;
            Some((host.parse().ok()?, store.clone()))
        })
    }

    /// Finds how the API server serves a kind.
    pub fn resolve(&self, api_version: &str, kind: &str) -> Option<Resource> {
        self.kinds.read().get(api_version, kind)
    }

    fn resolve_any_version(&self, group: &str, kind: &str) -> Option<Resource> {
        self.kinds.read().any_version(group, kind)
    }

    fn resolve_plural(&self, group: &str, plural: &str) -> Option<Resource> {
        self.kinds.read().by_plural(group, plural)
    }

    /// Asks anew which kinds are served, unless that was done a moment ago: a store may need one that was installed since.
    pub async fn rediscover(&self) -> Result<(), ClusterError> {
        self.kinds.rediscover().await
    }

    /// Returns the server's version and every `group/version` and `group/version/Kind` it serves, as charts
    /// ask for them.
    pub fn served(&self) -> (String, Arc<[String]>) {
        self.kinds.read().served()
    }

    /// Returns the fingerprint of what the server is and serves: charts may render otherwise when it changes.
    pub fn served_fingerprint(&self) -> Fingerprint {
        self.kinds.read().fingerprint()
    }

    fn api(&self, resource: &Resource, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &api_resource(resource))
    }
}

fn api_resource(resource: &Resource) -> ApiResource {
    ApiResource {
        group: resource.group.clone(),
        version: resource.version.clone(),
        api_version: resource.api_version(),
        kind: resource.kind.clone(),
        plural: resource.plural.clone(),
    }
}

/// Returns the path of a kind's collection, in one namespace or in all.
fn collection(resource: &Resource, namespace: Option<&str>) -> String {
    DynamicObject::url_path(&api_resource(resource), namespace)
}

async fn client_config(kubeconfig: Option<&Path>, context: Option<String>) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let unusable = |error: &dyn std::error::Error| ClusterError::Settings(error::chain(error));
    match kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(&error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(&error))
        }
        None if options.context.is_some() => {
            Config::from_kubeconfig(&options).await.map_err(|error| unusable(&error))
        }
        None => Config::infer().await.map_err(|error| unusable(&error)),
    }
}

/// Makes a client that keeps to the pace, and one that does not.
fn clients(config: Config, pace: &Pace) -> Result<(Client, Client), ClusterError> {
    let unusable = || ClusterError::request("connect to the cluster", Mask::default);
    let prompt = ClientBuilder::try_from(config.clone()).map_err(unusable())?;
    let paced = ClientBuilder::try_from(config).map_err(unusable())?.with_layer(pace);
    Ok((paced.build(), prompt.build()))
}

/// Names us in the API server's audit log, and leaves waiting and sending again to our own pace.
fn prepared(mut config: Config) -> Config {
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("storekeeper/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    config
}

/// Sends one request, bounded in time; `act` names it for the error.
async fn bounded<T>(
    act: impl Into<String>,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    bounded_and_masked(act, Mask::default, request).await
}

/// The same for a request whose refusal may repeat what was sent.
async fn bounded_and_masked<T>(
    act: impl Into<String>,
    mask: impl FnOnce() -> Mask,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClusterError> {
    let act = act.into();
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(ClusterError::request(act, mask)),
        Err(_) => Err(ClusterError::TimedOut { act, seconds: REQUEST_TIMEOUT.as_secs() }),
    }
}
