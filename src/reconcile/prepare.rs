//! Up to the plan: looks at the store, finds what to work towards, renders and checks its objects.

use std::sync::Arc;

use super::render::{LookUps, Rendered};
use super::rollback::{self, Aim};
use super::{ChartCache, Context, RunError, render};
use crate::manifest::{self, Fingerprint, Manifest, ManifestError, Owner, Resource};
use crate::plan::{self, ObservedStore, StorePlan};
use crate::report::ProbeTarget;
use crate::store::Store;

/// How often a run looks again when the namespace changes under it.
const LOOKS: usize = 3;

/// A plan with what it was made from.
#[derive(Debug)]
pub struct Planned {
    /// The plan.
    pub plan: StorePlan,
    /// What the caches held.
    pub observed: ObservedStore,
    pub(super) inputs: Fingerprint,
    /// What was rendered; empty when nothing had to be.
    pub manifests: Vec<Manifest>,
    pub(super) probe: Option<ProbeTarget>,
    pub(super) aim: Aim,
}

impl Planned {
    /// Returns the store as the objects describe it: as git wants it, or as it was when it last came up.
    pub fn store(&self) -> &Arc<Store> {
        &self.aim.store
    }
}

/// Plans one store that git wants, without acting: what a run would do now.
pub async fn plan_store(
    context: &Context,
    store: &Arc<Store>,
    revision: &str,
    look_ups: &LookUps,
) -> Result<Planned, RunError> {
    let owner = Owner { store: &store.id, source: &context.source };
    for _ in 0..LOOKS {
        if let Some(inventory) = context.cluster.observe(&store.id).inventory {
            context.cluster.watch_inventoried(&inventory).await?;
        }
        let observed = context.cluster.observe(&store.id);
        let aim = rollback::aim(context, store, revision, observed.inventory.as_deref()).await;
        let (aim, stuck) = match aim {
            Ok(aim) => (aim, None),
            Err(reason) => (Aim::at(store, revision), Some(reason)),
        };
        let inputs = inputs(&aim.store, &context.charts, context.cluster.served_fingerprint());
        let unrendered =
            |plan, observed, aim| Planned { plan, observed, inputs, manifests: Vec::new(), probe: None, aim };
        if stuck.is_none() && plan::is_converged(owner, (&aim.store.host, aim.protect), &inputs, &observed) {
            return Ok(unrendered(StorePlan::Converged, observed, aim));
        }
        // Before anything is rendered or read: what isn't ours is none of our business.
        match (plan::store(&aim.desired(owner, &inputs, &[]), &observed), stuck) {
            (StorePlan::Converged | StorePlan::Sync(_), None) => {}
            (StorePlan::Converged | StorePlan::Sync(_), Some(reason)) => {
                return Ok(unrendered(StorePlan::Held(reason), observed, aim));
            }
            (not_now, _) => return Ok(unrendered(not_now, observed, aim)),
        }
        let manifests = manifests(context, owner, &aim.store, &observed, look_ups).await?;
        if let Some(reason) = aim.is_lost(&observed, &inputs, &manifests) {
            return Ok(unrendered(StorePlan::Held(reason), observed, aim));
        }
        // Before anything is applied: a store that can't be asked would never be READY.
        let probe = ProbeTarget::of(&manifests)?;
        context.cluster.watch_kinds(kinds_of(&manifests)).await?;
        let newest = context.cluster.observe(&store.id);
        // Rendered without a namespace, secrets are new ones: they must never meet a namespace that has come since.
        if identity(&newest) == identity(&observed) {
            let plan = plan::store(&aim.desired(owner, &inputs, &manifests), &newest);
            return Ok(Planned { plan, observed: newest, inputs, manifests, probe, aim });
        }
    }
    Err(RunError::Unsettled { namespace: store.id.namespace() })
}

fn identity(observed: &ObservedStore) -> Option<&str> {
    observed.namespace.as_ref().map(|namespace| namespace.uid.as_str())
}

/// Everything the rendering depends on, with what the cluster serves: same inputs, same manifests (but for generated
/// secrets, which the chart keeps by looking them up).
pub fn inputs(store: &Store, charts: &ChartCache, served: Fingerprint) -> Fingerprint {
    Fingerprint::of_bytes(
        // The version of storekeeper too: a release may render or stamp otherwise.
        [env!("CARGO_PKG_VERSION"), store.digest(), charts.digest_for(&store.chart), &served.to_string()]
            .join("\n")
            .as_bytes(),
    )
}

/// Renders and prepares a store's objects; when a kind is unknown, the cluster is asked once more what it serves.
pub async fn manifests(
    context: &Context,
    owner: Owner<'_>,
    store: &Arc<Store>,
    observed: &ObservedStore,
    look_ups: &LookUps,
) -> Result<Vec<Manifest>, RunError> {
    let Rendered { objects, crds } = render::render(context, store, observed, look_ups).await?;
    let resolve = |version: &str, kind: &str| context.cluster.resolve(version, kind);
    let defined: Vec<_> = crds.iter().filter_map(|crd| manifest::defined(&crd.file, &crd.value)).collect();
    let is_unknown = |defined: &manifest::Defined| resolve(&defined.api_version, &defined.kind).is_none();
    if manifest::has_unknown_kind(&objects, &resolve) || defined.iter().any(is_unknown) {
        context.cluster.rediscover().await?;
    }
    if let Some(missing) = defined.into_iter().find(is_unknown) {
        return Err(ManifestError::KindNotInstalled(missing).into());
    }
    Ok(manifest::prepare(objects, owner, &store.host, &resolve)?)
}

fn kinds_of(manifests: &[Manifest]) -> Vec<Resource> {
    let mut kinds: Vec<_> = manifests.iter().map(|manifest| manifest.resource.clone()).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}
