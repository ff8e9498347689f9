//! Sees what happens at the API server, from outside the daemon and without asking it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use tokio::runtime::Runtime;

use super::OBJECTS;
use super::client;

/// Finds what the daemon and the floor make alike.
const LABELS: &str = "app.kubernetes.io/managed-by=storekeeper";

/// The daemon's own ConfigMap, which the floor does not have.
const INVENTORY: &str = "storekeeper-inventory";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    ConfigMap,
    Inventory,
    Deployment,
}

/// Something that happened to an object.
#[derive(Debug, Clone)]
pub struct Event {
    pub at: Instant,
    pub kind: Kind,
    /// The namespace, also of the namespace itself.
    pub namespace: String,
    pub name: String,
    pub generation: i64,
    pub deleting: bool,
    pub gone: bool,
}

/// What is known of one store's namespace.
#[derive(Default)]
struct Contents {
    exists: bool,
    objects: HashMap<(Kind, String), i64>,
    /// Deployments whose controller has seen what is wanted of them.
    observed: BTreeSet<String>,
    whole: Option<Instant>,
    settled: Option<Instant>,
}

#[derive(Default)]
struct Seen {
    namespaces: HashMap<String, Contents>,
    events: Vec<Event>,
    synced: usize,
    broken: Option<String>,
}

pub struct Witness {
    // Its end ends the watches.
    _runtime: Runtime,
    seen: Arc<Mutex<Seen>>,
}

impl Witness {
    /// Begins to watch and returns when it has seen what is there.
    pub fn new(kubeconfig: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(client::connect(kubeconfig, "witness"));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let watches = [Kind::Namespace, Kind::ConfigMap, Kind::Deployment];
        for kind in watches {
            runtime.spawn(watch(client.clone(), kind, Arc::clone(&seen)));
        }
        let witness = Self { _runtime: runtime, seen };
        witness.wait(Duration::from_mins(1), "the witness has listed everything", |seen| {
            (seen.synced == watches.len()).then_some(())
        });
        witness
    }

    /// Where the list of events ends now.
    pub fn mark(&self) -> usize {
        self.lock().events.len()
    }

    /// Returns how many namespaces of this prefix hold all their objects, and since when the last of them does.
    pub fn whole(&self, prefix: &str) -> (usize, Option<Instant>) {
        self.reached(prefix, |contents| contents.whole)
    }

    /// The same with all Deployments seen by their controller.
    pub fn settled(&self, prefix: &str) -> (usize, Option<Instant>) {
        self.reached(prefix, |contents| contents.settled)
    }

    fn reached(&self, prefix: &str, when: impl Fn(&Contents) -> Option<Instant>) -> (usize, Option<Instant>) {
        let seen = self.lock();
        let ours = seen.namespaces.iter().filter(|(name, _)| name.starts_with(prefix));
        let times: Vec<_> = ours.filter_map(|(_, contents)| when(contents)).collect();
        (times.len(), times.into_iter().max())
    }

    /// Returns the generation of an object as last seen.
    pub fn generation(&self, kind: Kind, namespace: &str, name: &str) -> Option<i64> {
        let seen = self.lock();
        seen.namespaces.get(namespace)?.objects.get(&(kind, name.to_owned())).copied()
    }

    /// Waits until the events after a mark show something.
    pub fn until<T>(
        &self,
        patience: Duration,
        what: &str,
        mark: usize,
        look: impl Fn(&[Event]) -> Option<T>,
    ) -> T {
        self.wait(patience, what, |seen| look(&seen.events[mark..]))
    }

    fn wait<T>(&self, patience: Duration, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + patience;
        loop {
            let begun = Instant::now();
            {
                let seen = self.lock();
                if let Some(found) = look(&seen) {
                    return found;
                }
                if let Some(broken) = &seen.broken {
                    panic!("the witness's watch broke off: {broken}");
                }
            }
            assert!(Instant::now() < deadline, "{what}: not within {} s", patience.as_secs());
            // A long list takes long to look through: most of the time is not spent on that.
            std::thread::sleep(Duration::from_millis(2).max(begun.elapsed() * 10));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Namespaces and ConfigMaps are watched by their metadata, Deployments in full: their status says when their
/// controller has seen them.
async fn watch(client: Client, kind: Kind, seen: Arc<Mutex<Seen>>) {
    let result = match kind {
        Kind::Namespace => {
            let api = Api::<PartialObjectMeta<Namespace>>::all(client);
            follow(api, &seen, |object| (kind, &object.metadata, true)).await
        }
        Kind::ConfigMap | Kind::Inventory => {
            let api = Api::<PartialObjectMeta<ConfigMap>>::all(client);
            let which = |name: &str| if name == INVENTORY { Kind::Inventory } else { Kind::ConfigMap };
            follow(api, &seen, |object| (which(&object.name_any()), &object.metadata, true)).await
        }
        Kind::Deployment => {
            let api = Api::<Deployment>::all(client);
            follow(api, &seen, |object| {
                let observed = object.status.as_ref().and_then(|status| status.observed_generation);
                (kind, &object.metadata, observed >= object.metadata.generation)
            })
            .await
        }
    };
    if let Err(error) = result {
        seen.lock().unwrap_or_else(PoisonError::into_inner).broken = Some(error.to_string());
    }
}

async fn follow<K>(
    api: Api<K>,
    seen: &Mutex<Seen>,
    look: impl Fn(&K) -> (Kind, &ObjectMeta, bool),
) -> Result<(), watcher::Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, watcher::Config::default().labels(LABELS)));
    while let Some(event) = events.try_next().await? {
        let at = Instant::now();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Init => {}
            watcher::Event::InitDone => seen.synced += 1,
            watcher::Event::InitApply(object) => drop(seen.note(at, look(&object), false)),
            watcher::Event::Apply(object) => {
                let event = seen.note(at, look(&object), false);
                seen.events.push(event);
            }
            watcher::Event::Delete(object) => {
                let event = seen.note(at, look(&object), true);
                seen.events.push(event);
            }
        }
    }
    Ok(())
}

impl Seen {
    fn note(&mut self, at: Instant, (kind, meta, observed): (Kind, &ObjectMeta, bool), gone: bool) -> Event {
        let name = meta.name.clone().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_else(|| name.clone());
        let generation = meta.generation.unwrap_or_default();
        let contents = self.namespaces.entry(namespace.clone()).or_default();
        match kind {
            Kind::Namespace => contents.exists = !gone,
            Kind::Inventory => {}
            Kind::ConfigMap | Kind::Deployment => contents.note(kind, &name, generation, observed, gone),
        }
        contents.conclude(at);
        let deleting = meta.deletion_timestamp.is_some();
        Event { at, kind, namespace, name, generation, deleting, gone }
    }
}

impl Contents {
    fn note(&mut self, kind: Kind, name: &str, generation: i64, observed: bool, gone: bool) {
        if gone {
            self.objects.remove(&(kind, name.to_owned()));
        } else {
            self.objects.insert((kind, name.to_owned()), generation);
        }
        if kind == Kind::Deployment {
            if observed && !gone {
                self.observed.insert(name.to_owned())
            } else {
                self.observed.remove(name)
            };
        }
    }

    /// Notes when everything is there for the first time, and when controllers have seen it.
    fn conclude(&mut self, at: Instant) {
        // The namespace is one of its objects.
        let whole = self.exists && self.objects.len() + 1 >= OBJECTS;
        if whole && self.whole.is_none() {
            self.whole = Some(at);
        }
        let deployments = self.objects.keys().filter(|(kind, _)| *kind == Kind::Deployment).count();
        if whole && self.settled.is_none() && self.observed.len() == deployments {
            self.settled = Some(at);
        }
    }
}
