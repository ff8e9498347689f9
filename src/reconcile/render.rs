//! Renders a store with the chart, answering its look-ups from the store's own namespace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Context;
use crate::chart::{Capabilities, Chart, LookupQuery, Release, RenderError, RenderLimits, RenderRequest};
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::ObjectKey;
use crate::names::{INVENTORY_NAME, StoreId};
use crate::plan::ObservedStore;
use crate::store::Store;

/// How often a chart may come up with look-ups that depend on the answers of others.
const LOOKUP_ROUNDS: usize = 8;

/// Why a store could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderFailure {
    /// The chart refused the values, or a template failed.
    #[error(transparent)]
    Chart(#[from] RenderError),
    /// An object that the chart looks up could not be read.
    #[error(transparent)]
    LookUp(#[from] ClusterError),
    /// The watch knows an object that a read does not find.
    #[error("look up {object}: the watch knows it, the read finds nothing")]
    Contradiction {
        /// Kind and name.
        object: String,
    },
    /// A Secret that was applied is gone.
    #[error(
        "keep {object}: it was applied and somebody deleted it, and a new one would not fit what the old one was used \
         for; put it back from a backup, or delete ConfigMap {INVENTORY_NAME} in the store's namespace to have a new one made"
    )]
    SecretGone {
        /// Kind and name.
        object: String,
    },
    /// The chart's look-ups never end.
    #[error("render the chart: it still asked for new objects after {LOOKUP_ROUNDS} rounds of look-ups")]
    EndlessLookUps,
}

/// Returns seconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Fills a slice with random bytes fit for secrets.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// What rendering takes from the outside: the time and random bytes.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// Chance.
    pub entropy: Entropy,
}

/// Tells charts what the cluster serves.
fn capabilities(cluster: &Cluster) -> Capabilities {
    let (version, served) = cluster.served();
    Capabilities::new(&version, served)
}

/// Renders a store as the cluster would hold it. The rendering itself is pure: it runs with the answers known
/// so far, and again when it asked for more.
pub(super) async fn render(
    context: &Context,
    store: &Arc<Store>,
    observed: &ObservedStore,
) -> Result<Vec<(String, Value)>, RenderFailure> {
    let namespace = store.id.namespace();
    let attempt = Arc::new(Attempt {
        chart: Arc::clone(&context.chart),
        store: Arc::clone(store),
        surroundings: context.surroundings.clone(),
        capabilities: capabilities(&context.cluster),
        has_namespace: observed.namespace.is_some(),
        is_upgrade: observed.inventory.is_some(),
    });
    let mut answers = BTreeMap::new();
    for _ in 0..LOOKUP_ROUNDS {
        let attempt = Arc::clone(&attempt);
        // On a thread of its own: a chart may compute for a second, and the page must not stand still.
        let task = tokio::task::spawn_blocking(move || {
            let (rendered, asked) = attempt.render(&answers);
            (rendered, asked, answers)
        });
        let (rendered, asked, known) = match task.await {
            Ok(done) => done,
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        };
        if asked.is_empty() {
            return Ok(rendered?);
        }
        answers = known;
        for query in asked {
            let (version, kind, name) = (&query.api_version, &query.kind, &query.name);
            let found = context.cluster.look_up(version, kind, &namespace, name).await?;
            if found.is_none() {
                check_absence(&query, observed)?;
            }
            answers.insert(query, found.unwrap_or_else(nothing));
        }
    }
    Err(RenderFailure::EndlessLookUps)
}

/// Doubts that an object is absent which the chart looks up: what generates a password when it finds none would
/// replace one that a database was made with.
fn check_absence(query: &LookupQuery, observed: &ObservedStore) -> Result<(), RenderFailure> {
    let group = query.api_version.split_once('/').map_or("", |(group, _)| group);
    let key = ObjectKey::new(group, query.kind.as_str(), query.name.as_str());
    if observed.objects.contains_key(&key) {
        return Err(RenderFailure::Contradiction { object: key.to_string() });
    }
    let entry = observed.inventory.as_ref().and_then(|inventory| inventory.get(&key));
    if key.kind == "Secret" && entry.is_some_and(|entry| entry.manifest.is_some()) {
        return Err(RenderFailure::SecretGone { object: key.to_string() });
    }
    Ok(())
}

/// What a look-up answers that finds nothing.
fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

type Rendered = Result<Vec<(String, Value)>, RenderError>;

/// Everything that a rendering needs but the answers to its look-ups.
struct Attempt {
    chart: Arc<Chart>,
    store: Arc<Store>,
    surroundings: Surroundings,
    capabilities: Capabilities,
    has_namespace: bool,
    is_upgrade: bool,
}

impl Attempt {
    /// Renders once and returns, besides, the look-ups that had no answer yet.
    fn render(&self, answers: &BTreeMap<LookupQuery, Value>) -> (Rendered, Vec<LookupQuery>) {
        let namespace = self.store.id.namespace();
        let asked = RefCell::new(Vec::new());
        let lookup = |query: &LookupQuery| {
            // A store sees its own namespace and nothing else; before that exists there is nothing to see.
            if query.namespace != namespace || !self.has_namespace {
                return nothing();
            }
            answers.get(query).cloned().unwrap_or_else(|| {
                asked.borrow_mut().push(query.clone());
                nothing()
            })
        };
        let rendered = with_chart(
            &self.chart,
            &self.store,
            self.is_upgrade,
            &self.capabilities,
            &lookup,
            &self.surroundings,
        );
        (rendered, asked.into_inner())
    }
}

/// Renders a store without a cluster, as `helm template` does: every look-up finds nothing.
pub fn render_offline(chart: &Chart, store: &Store, surroundings: &Surroundings) -> Rendered {
    with_chart(chart, store, false, &Capabilities::default(), &|_| nothing(), surroundings)
}

fn with_chart(
    chart: &Chart,
    store: &Store,
    is_upgrade: bool,
    capabilities: &Capabilities,
    lookup: &dyn Fn(&LookupQuery) -> Value,
    surroundings: &Surroundings,
) -> Rendered {
    let rendering = chart.render(&RenderRequest {
        release: release(&store.id, is_upgrade),
        values: &store.merged(),
        capabilities,
        lookup,
        entropy: &*surroundings.entropy,
        now: (surroundings.clock)(),
        limits: RenderLimits::default(),
    })?;
    Ok(rendering.objects.into_iter().map(|object| (object.template, object.value)).collect())
}

fn release(store: &StoreId, is_upgrade: bool) -> Release {
    Release { name: store.to_string(), namespace: store.namespace(), is_upgrade, revision: 1 }
}
