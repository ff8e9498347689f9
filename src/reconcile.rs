//! One store's run, as named steps, each pure or bound to the cluster:
//! look, decide, render, prepare, plan, act, record, conclude.
//!
//! A run decides from now: what git wants at this moment against what the caches hold at this moment. It can be
//! cut off anywhere; the next one continues.

mod act;
mod render;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use crate::chart::Chart;
use crate::cluster::{Cluster, ClusterError};
use crate::manifest::{Fingerprint, Manifest, ManifestError, ObjectKey, Owner, Resource};
use crate::names::{SourceId, StoreId};
use crate::plan::{
    self, DesiredStore, Inventory, InventoryEntry, NamespaceSpec, ObservedStore, Ownership, StorePlan,
};
use crate::report::{self, StoreState};
use crate::store::Store;

pub use render::{RenderFailure, Surroundings, render_offline};

/// What every run needs.
#[derive(Clone)]
pub struct Context {
    /// The cluster.
    pub cluster: Cluster,
    /// The chart that stores are rendered with.
    pub chart: Arc<Chart>,
    /// The source that the stores come from.
    pub source: SourceId,
    /// Time and chance, for charts.
    pub surroundings: Surroundings,
}

/// What git says about a store at the moment of its run.
#[derive(Debug, Clone)]
pub enum Wish {
    /// Its file is good, or was at the last good commit: the cluster shall hold this.
    Present {
        /// The store.
        store: Arc<Store>,
        /// The commit.
        revision: String,
    },
    /// Its file exists and was never good: nothing is changed.
    Unreadable,
    /// No file names it, and it may go.
    Absent,
    /// No file names it, but nothing is removed for now, for this reason.
    AbsentForNow(String),
    /// No file names it, but the deletion budget keeps it, for this reason.
    AbsentButKept(String),
}

impl Wish {
    /// Returns the commit that the wish comes from, for logs; empty when it has none.
    pub fn revision(&self) -> &str {
        if let Self::Present { revision, .. } = self { revision } else { "" }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// What was done.
    pub done: Done,
    /// The state the store is in; none when nothing is left of it.
    pub state: Option<StoreState>,
    /// Why.
    pub reason: String,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing was to do.
    Nothing,
    /// Objects were applied or pruned.
    Applied {
        /// How many steps it took.
        steps: usize,
        /// How many of them put back what somebody else had changed or deleted.
        healed: usize,
        /// Whether the namespace was made.
        created: bool,
    },
    /// The namespace's deletion was asked for.
    Deleted,
    /// The deletion budget forbade the removal.
    Refused,
    /// Something else must end first.
    Waiting,
}

/// Why a run failed; fits "failed to {error}".
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The namespace belongs to somebody else.
    #[error("use namespace {namespace}: {detail}")]
    NotOurs {
        /// The namespace.
        namespace: String,
        /// Whose it is and what to do.
        detail: String,
    },
    /// The chart could not be rendered with this store's values.
    #[error(transparent)]
    Render(#[from] RenderFailure),
    /// The rendered objects can't be this store's.
    #[error("prepare the objects: {0}")]
    Manifest(#[from] ManifestError),
    /// The API server refused or did not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A mistake of ours: the run panicked. It must cost no other store anything.
    #[error("finish the run, which is a mistake in storekeeper, please report it: {0}")]
    Panicked(String),
}

impl RunError {
    /// Returns how long the API server asks to wait before the next try, in seconds; 0 when it does not say.
    pub fn retry_after(&self) -> u32 {
        match self {
            Self::Cluster(ClusterError::Refused { retry_after, .. })
            | Self::Render(RenderFailure::LookUp(ClusterError::Refused { retry_after, .. })) => *retry_after,
            _ => 0,
        }
    }
}

/// Runs one store once.
pub async fn run(context: &Context, id: &StoreId, wish: &Wish) -> Result<Conclusion, RunError> {
    let steps = AssertUnwindSafe(decide(context, id, wish));
    steps.catch_unwind().await.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(RunError::Panicked(words.unwrap_or_else(|| "without a word".to_owned())))
    })
}

async fn decide(context: &Context, id: &StoreId, wish: &Wish) -> Result<Conclusion, RunError> {
    let observed = context.cluster.observe(id);
    let owner = Owner { store: id, source: &context.source };
    match wish {
        Wish::Present { store, revision } => sync(context, owner, store, revision).await,
        Wish::Unreadable => {
            Ok(Conclusion { done: Done::Nothing, state: Some(StoreState::Failed), reason: String::new() })
        }
        Wish::Absent => remove(context, owner, &observed).await,
        Wish::AbsentForNow(reason) => {
            let state = owns(owner, &observed).then_some(StoreState::Failed);
            let reason = format!("its file is gone, but nothing is removed for now: {reason}");
            Ok(Conclusion { done: Done::Waiting, state, reason })
        }
        Wish::AbsentButKept(reason) => refuse_removal(context, owner, &observed, reason).await,
    }
}

async fn sync(
    context: &Context,
    owner: Owner<'_>,
    store: &Store,
    revision: &str,
) -> Result<Conclusion, RunError> {
    let planned = plan_store(context, store, revision).await?;
    let Planned { plan, observed, inputs, manifests } = planned;
    let waves = match plan {
        StorePlan::Converged => return Ok(conclude(Done::Nothing, &observed)),
        StorePlan::AwaitDeletion => return Ok(awaiting_deletion(&observed)),
        StorePlan::NotOurs(ownership) => return Err(not_ours(owner, &ownership)),
        StorePlan::Sync(waves) => waves,
    };
    let done = act::count(&waves);
    let applied = act::carry_out(&context.cluster, owner, waves).await?;
    let desired = DesiredStore { owner, host: &store.host, inputs: &inputs, revision, manifests: &manifests };
    let inventory = achieved(&desired, &observed, &applied);
    if observed.inventory.as_ref() != Some(&inventory) {
        context.cluster.record(owner, &inventory).await?;
    }
    Ok(conclude(done, &context.cluster.observe(owner.store)))
}

/// A plan with what it was made from.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: StorePlan,
    observed: ObservedStore,
    inputs: Fingerprint,
    manifests: Vec<Manifest>,
}

/// Plans one store that git wants, without acting: what a run would do now.
pub async fn plan_store(context: &Context, store: &Store, revision: &str) -> Result<Planned, RunError> {
    let owner = Owner { store: &store.id, source: &context.source };
    let observed = context.cluster.observe(&store.id);
    let inputs = inputs(context, store);
    let planned = |plan, observed, inputs, manifests| Ok(Planned { plan, observed, inputs, manifests });
    if plan::is_converged(owner, &store.host, &inputs, &observed) {
        return planned(StorePlan::Converged, observed, inputs, Vec::new());
    }
    // Before anything is rendered or read: what isn't ours is none of our business.
    let untouched = DesiredStore { owner, host: &store.host, inputs: &inputs, revision, manifests: &[] };
    match plan::store(&untouched, &observed) {
        StorePlan::Converged | StorePlan::Sync(_) => {}
        not_now => return planned(not_now, observed, inputs, Vec::new()),
    }
    let manifests = manifests(context, owner, store, &observed).await?;
    context.cluster.watch_kinds(kinds_of(&manifests)).await?;
    let observed = context.cluster.observe(&store.id);
    let desired = DesiredStore { owner, host: &store.host, inputs: &inputs, revision, manifests: &manifests };
    let plan = plan::store(&desired, &observed);
    planned(plan, observed, inputs, manifests)
}

/// Everything the rendering depends on: same inputs, same manifests (but for generated secrets, which the
/// chart keeps by looking them up).
fn inputs(context: &Context, store: &Store) -> Fingerprint {
    let served = context.cluster.served_fingerprint();
    Fingerprint::of_bytes(
        // The version of storekeeper too: a release may render or stamp otherwise.
        [env!("CARGO_PKG_VERSION"), store.digest(), context.chart.digest(), served.as_str()]
            .join("\n")
            .as_bytes(),
    )
}

/// Renders and prepares; when a kind is unknown, the cluster is asked once more what it serves.
async fn manifests(
    context: &Context,
    owner: Owner<'_>,
    store: &Store,
    observed: &ObservedStore,
) -> Result<Vec<Manifest>, RunError> {
    let rendered = render::render(context, store, observed).await?;
    let resolve = |version: &str, kind: &str| context.cluster.resolve(version, kind);
    match crate::manifest::prepare(rendered.clone(), owner, &resolve) {
        Err(error) if error.unknown_kind().is_some() => {
            context.cluster.rediscover().await?;
            Ok(crate::manifest::prepare(rendered, owner, &resolve)?)
        }
        result => Ok(result?),
    }
}

fn kinds_of(manifests: &[Manifest]) -> Vec<Resource> {
    let mut kinds: Vec<_> = manifests.iter().map(|manifest| manifest.resource.clone()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// What the namespace holds once every step has succeeded.
fn achieved(
    desired: &DesiredStore<'_>,
    observed: &ObservedStore,
    applied: &BTreeMap<ObjectKey, Option<Fingerprint>>,
) -> Inventory {
    let old = observed.inventory.as_ref();
    let objects: Vec<_> = desired
        .manifests
        .iter()
        .map(|manifest| {
            let before = old.and_then(|inventory| inventory.get(&manifest.key));
            let (fingerprint, fields) = match applied.get(&manifest.key) {
                Some(fields) => (Some(manifest.fingerprint.clone()), fields.clone()),
                None => match before {
                    Some(entry) => (entry.manifest.clone(), entry.fields.clone()),
                    None => (None, None),
                },
            };
            InventoryEntry {
                key: manifest.key.clone(),
                version: manifest.resource.version.clone(),
                manifest: fingerprint,
                fields,
            }
        })
        .collect();
    let unchanged =
        old.is_some_and(|old| old.inputs.as_ref() == Some(desired.inputs) && old.objects == objects);
    let revision = match old {
        Some(old) if unchanged => old.revision.clone(),
        _ => desired.revision.to_owned(),
    };
    let url = crate::manifest::url(desired.manifests, desired.host);
    Inventory { inputs: Some(desired.inputs.clone()), revision, url, objects }
}

fn conclude(done: Done, observed: &ObservedStore) -> Conclusion {
    let deleting = observed.objects.iter().find(|(_, object)| object.deleting);
    let workloads = observed.objects.iter().filter_map(|(key, object)| {
        let known = observed.inventory.as_ref().is_some_and(|inventory| inventory.get(key).is_some());
        object.readiness.as_ref().filter(|_| known).map(|readiness| (key.to_string(), readiness))
    });
    let (state, reason) = match deleting {
        Some((key, _)) => (StoreState::Provisioning, format!("waiting for the deletion of {key} to end")),
        None => report::conclude(workloads),
    };
    Conclusion { done, state: Some(state), reason }
}

fn awaiting_deletion(observed: &ObservedStore) -> Conclusion {
    let held = observed.namespace.as_ref().and_then(|namespace| namespace.held_by.clone());
    let held = held.map(|words| format!(": {words}")).unwrap_or_default();
    Conclusion {
        done: Done::Waiting,
        state: Some(StoreState::Deleting),
        reason: format!("its namespace is being deleted; the store is made anew afterwards{held}"),
    }
}

async fn remove(
    context: &Context,
    owner: Owner<'_>,
    observed: &ObservedStore,
) -> Result<Conclusion, RunError> {
    let Some(namespace) = observed.namespace.as_ref().filter(|_| owns(owner, observed)) else {
        return Ok(Conclusion { done: Done::Nothing, state: None, reason: String::new() });
    };
    let done = if namespace.deleting_since.is_some() {
        Done::Waiting
    } else {
        context.cluster.delete_namespace(owner).await?;
        Done::Deleted
    };
    let held = namespace.held_by.clone().unwrap_or_else(|| "its namespace is being deleted".to_owned());
    Ok(Conclusion { done, state: Some(StoreState::Deleting), reason: held })
}

fn owns(owner: Owner<'_>, observed: &ObservedStore) -> bool {
    observed.namespace.as_ref().is_some_and(|namespace| namespace.ownership(owner) == Ownership::Ours)
}

/// Writes the refusal down where a restart finds it.
async fn refuse_removal(
    context: &Context,
    owner: Owner<'_>,
    observed: &ObservedStore,
    reason: &str,
) -> Result<Conclusion, RunError> {
    if let Some(namespace) = observed.namespace.as_ref().filter(|_| owns(owner, observed)) {
        let spec = NamespaceSpec::refused(owner, namespace);
        if !spec.matches(namespace) {
            context.cluster.apply_namespace(&spec).await?;
        }
    }
    let reason = format!("its file is gone, but it is kept: {reason}");
    Ok(Conclusion { done: Done::Refused, state: Some(StoreState::Failed), reason })
}

fn not_ours(owner: Owner<'_>, ownership: &Ownership) -> RunError {
    let detail = match ownership {
        Ownership::OtherSource(source) => format!(
            "it belongs to the store of the same name from source {source}; rename this store or remove the other"
        ),
        Ownership::Ours | Ownership::Foreign => {
            "it exists and storekeeper did not make it (or its storekeeper \
             labels were taken off); rename the store, remove that namespace, or put the labels back"
                .to_owned()
        }
    };
    RunError::NotOurs { namespace: owner.store.namespace(), detail }
}
