//! Renders a store with the chart, answering its look-ups from the store's own namespace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Context;
use crate::chart::{Capabilities, Chart, LookupQuery, Release, RenderError, RenderLimits, RenderRequest};
use crate::cluster::{Cluster, ClusterError};
use crate::names::StoreId;
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
    store: &Store,
    observed: &ObservedStore,
) -> Result<Vec<(String, Value)>, RenderFailure> {
    let namespace = store.id.namespace();
    let capabilities = capabilities(&context.cluster);
    let mut answers = BTreeMap::new();
    for _ in 0..LOOKUP_ROUNDS {
        let (rendered, asked) = attempt(context, store, observed, &capabilities, &answers);
        if asked.is_empty() {
            return Ok(rendered?);
        }
        for query in asked {
            let (version, kind, name) = (&query.api_version, &query.kind, &query.name);
            let found = context.cluster.look_up(version, kind, &namespace, name).await?;
            answers.insert(query, found.unwrap_or_else(nothing));
        }
    }
    Err(RenderFailure::EndlessLookUps)
}

/// What a look-up answers that finds nothing.
fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

type Rendered = Result<Vec<(String, Value)>, RenderError>;

/// Renders once and returns, besides, the look-ups that had no answer yet.
fn attempt(
    context: &Context,
    store: &Store,
    observed: &ObservedStore,
    capabilities: &Capabilities,
    answers: &BTreeMap<LookupQuery, Value>,
) -> (Rendered, Vec<LookupQuery>) {
    let namespace = store.id.namespace();
    let asked = RefCell::new(Vec::new());
    let lookup = |query: &LookupQuery| {
        // A store sees its own namespace and nothing else; before that exists there is nothing to see.
        if query.namespace != namespace || observed.namespace.is_none() {
            return nothing();
        }
        answers.get(query).cloned().unwrap_or_else(|| {
            asked.borrow_mut().push(query.clone());
            nothing()
        })
    };
    let is_upgrade = observed.inventory.is_some();
    let rendered =
        with_chart(&context.chart, store, is_upgrade, capabilities, &lookup, &context.surroundings);
    (rendered, asked.into_inner())
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
